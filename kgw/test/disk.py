"""An embedded engine over a directory of the test's own, that can be stopped, crashed and opened again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kgw.engine.local.bridge import IBridge, InlineBridge
from kgw.engine.local.directory import DataDirectory
from kgw.engine.local.engine import LocalLogEngine
from kgw.errors import ErrorCode, KafkaError
from kgw.interfaces import IPartitionLog
from kgw.model import Appended, LogConfig, Topic
from kgw.test.builders import EPOCH_S, offsets_in, topic
from kgw.wire.records import RecordBatch

# A mixin for test cases, not to be collected as one itself.
if TYPE_CHECKING:
    _Case = SynchronousTestCase
else:
    _Case = object

T = TypeVar("T")


class OnDisk(_Case):
    """
    Makes engines over one directory.

    @ivar tail_bytes: what they keep in memory.
    @ivar path: the directory.
    """

    tail_bytes = 1 << 20
    path = ""
    directory: DataDirectory | None = None

    def make_engine(self, clock: Clock, bridge: IBridge | None = None) -> LocalLogEngine:
        """The next engine over the directory, not started; the one before it stopped or crashed."""
        if self.directory is not None:
            self.directory.close()
        self.path = self.path or self.mktemp()
        directory = self.directory = DataDirectory.open(self.path, 1)
        self.addCleanup(directory.close)
        return LocalLogEngine(directory, clock, bridge or InlineBridge(), tail_bytes=self.tail_bytes)


class OnePartition(OnDisk):
    """
    A started engine with the topic C{orders}, whose only partition is C{self.log}.

    @cvar config: the topic's.
    """

    tail_bytes = 0
    config = LogConfig(index_interval_bytes=200)

    def setUp(self) -> None:
        """Start an engine and make the topic."""
        super().setUp()
        self.clock = Clock()
        self.clock.advance(EPOCH_S)
        self.topic = topic()
        self.engine = self.make_engine(self.clock)
        self.successResultOf(self.engine.start([]))
        self.addCleanup(lambda: self.engine.stop().addErrback(lambda _: None))
        self.successResultOf(self.engine.create(self.topic, self.config))

    @property
    def log(self) -> IPartitionLog:
        """The partition."""
        return self.engine.partition("orders", 0)

    def crash(self, *topics: tuple[Topic, LogConfig]) -> None:
        """Start another engine on what C{kill -9} would leave now; its clock goes on from there."""
        now, self.clock = self.clock.seconds(), Clock()
        self.clock.advance(now)
        left, self.path = self.path, self.mktemp()
        shutil.copytree(left, self.path)
        # Only what was copied counts; this gives back the descriptors.
        self.engine.stop().addErrback(lambda _: None)
        self.start_again(*topics)

    def start_again(self, *topics: tuple[Topic, LogConfig]) -> None:
        """Start another engine on the same files."""
        self.engine = self.make_engine(self.clock)
        self.successResultOf(self.engine.start(topics or [(self.topic, self.config)]))

    def restart(self) -> None:
        """Stop the engine and start another."""
        self.successResultOf(self.engine.stop())
        self.start_again()

    def append(self, *batches: RecordBatch) -> list[Appended]:
        """Append each and wait for it."""
        return [self.successResultOf(self.log.append(one)) for one in batches]

    def offsets(self, offset: int = 0, max_bytes: int = 1 << 20) -> list[int]:
        """The offsets of the records that reads find from C{offset} to the end."""
        found: list[int] = []
        while new := offsets_in(self.successResultOf(self.log.read(offset, max_bytes))):
            found += new
            offset = new[-1] + 1
        return found

    def bounds(self) -> tuple[int, int]:
        """Log start offset and high watermark."""
        bounds = self.successResultOf(self.log.bounds())
        return bounds.log_start_offset, bounds.high_watermark

    def refusal(self, call: Callable[[], Deferred[T]]) -> ErrorCode:
        """The code that the call fails with."""
        error = self.failureResultOf(call(), KafkaError).value
        assert isinstance(error, KafkaError)
        return error.code

    def files(self, ending: str = ".log") -> list[str]:
        """The partition's files with that ending, in the order of their offsets."""
        folder = os.path.join(self.path, "orders-0")
        return sorted(os.path.join(folder, name) for name in os.listdir(folder) if name.endswith(ending))
