"""The embedded engine keeps the contracts of L{kgw.interfaces}, in several shapes."""

from __future__ import annotations

from dataclasses import replace

from twisted.trial.unittest import SynchronousTestCase

from kgw.interfaces import IPartitionLog
from kgw.model import LogConfig, Topic
from kgw.test import contracts
from kgw.test.disk import OnDisk


class PartitionLogTests(OnDisk, contracts.PartitionLogContract, SynchronousTestCase):
    """A partition log that reads what is new from memory."""


class ProducerTests(OnDisk, contracts.ProducerContract, SynchronousTestCase):
    """Idempotent producers."""


class LogEngineTests(OnDisk, contracts.LogEngineContract, SynchronousTestCase):
    """The engine."""


class WithoutTailTests(OnDisk, contracts.PartitionLogContract, SynchronousTestCase):
    """A partition log that reads everything from its files."""

    tail_bytes = 0


class SmallSegmentsTests(OnDisk, contracts.PartitionLogContract, SynchronousTestCase):
    """A partition log that rolls with almost every batch, and indexes each."""

    tail_bytes = 0

    def created(self, topic: Topic, config: LogConfig | None = None) -> IPartitionLog:
        """The first partition of a new topic, with small segments."""
        small = replace(config or LogConfig(), segment_bytes=300, index_interval_bytes=0)
        return super().created(topic, small)


class FlushingTests(OnDisk, contracts.PartitionLogContract, SynchronousTestCase):
    """A partition log that acknowledges only what was flushed."""

    def created(self, topic: Topic, config: LogConfig | None = None) -> IPartitionLog:
        """The first partition of a new topic, flushed with each record."""
        return super().created(topic, replace(config or LogConfig(), flush_messages=1))
