"""The embedded engine keeps the contracts of L{kgw.interfaces}, in several shapes."""

from __future__ import annotations

from dataclasses import replace

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kgw.engine.local import DataDirectory, InlineBridge, LocalLogEngine
from kgw.interfaces import IPartitionLog
from kgw.model import LogConfig, Topic
from kgw.test import contracts


class _Local(SynchronousTestCase):
    """
    Makes engines over a directory of the test's own.

    @cvar tail_bytes: what they keep in memory.
    """

    tail_bytes = 1 << 20
    directory: DataDirectory | None = None

    def make_engine(self, clock: Clock) -> LocalLogEngine:
        """The next engine over the directory; the one before it has stopped."""
        if self.directory is None:
            self.path = self.mktemp()
        else:
            self.directory.close()
        directory = self.directory = DataDirectory.open(self.path, 1)
        self.addCleanup(directory.close)
        return LocalLogEngine(directory, clock, InlineBridge(), tail_bytes=self.tail_bytes)


class PartitionLogTests(contracts.PartitionLogContract, _Local):
    """A partition log that reads what is new from memory."""


class ProducersTests(contracts.ProducersContract, _Local):
    """Idempotent producers."""


class LogEngineTests(contracts.LogEngineContract, _Local):
    """The engine."""


class WithoutTailTests(contracts.PartitionLogContract, _Local):
    """A partition log that reads everything from its files."""

    tail_bytes = 0


class SmallSegmentsTests(contracts.PartitionLogContract, _Local):
    """A partition log that rolls with almost every batch, and indexes each."""

    tail_bytes = 0

    def created(self, topic: Topic, config: LogConfig | None = None) -> IPartitionLog:
        """The first partition of a new topic, with small segments."""
        small = replace(config or LogConfig(), segment_bytes=300, index_interval_bytes=0)
        return super().created(topic, small)


class FlushingTests(contracts.PartitionLogContract, _Local):
    """A partition log that acknowledges only what was flushed."""

    def created(self, topic: Topic, config: LogConfig | None = None) -> IPartitionLog:
        """The first partition of a new topic, flushed with each record."""
        return super().created(topic, replace(config or LogConfig(), flush_messages=1))
