"""An embedded engine over a directory of the test's own, that can be stopped, crashed and opened again."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from stat import S_ISREG
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from twisted.internet.defer import Deferred, execute, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from kgw.engine.bridge import IBridge, InlineBridge
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


@implementer(IBridge)
class HeldBridge:
    """
    Runs calls when the test says so.

    @ivar broken: let calls fail instead.
    """

    def __init__(self) -> None:
        self.calls: list[Callable[[], object]] = []
        self.broken = False
        self.held = False

    def start(self) -> None:
        """Nothing to do."""

    def stop(self) -> None:
        """Nothing to do."""

    def call(self, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        """Keep the call, or run it now."""
        if self.broken:
            return fail(OSError(errno.EIO, "the disk is on fire"))
        if not self.held:
            return execute(function, *args)
        waiter: Deferred[Any] = Deferred()
        self.calls.append(lambda: execute(function, *args).chainDeferred(waiter))
        return waiter

    def run(self) -> int:
        """Run the calls held now; returns how many there were."""
        calls, self.calls = self.calls, []
        for call in calls:
            call()
        return len(calls)


class OnDisk(_Case):
    """
    Makes engines over one directory.

    @ivar tail_bytes: what they keep in memory.
    @ivar options: others of L{LocalLogEngine}.
    @ivar path: the directory.
    """

    tail_bytes = 1 << 20
    options: ClassVar[Mapping[str, Any]] = {}
    path = ""
    directory: DataDirectory | None = None

    def make_engine(self, clock: Clock, bridge: IBridge | None = None, **options: Any) -> LocalLogEngine:
        """
        The next engine over the directory, not started; the one before it stopped or crashed.

        @param options: of L{LocalLogEngine}, over C{self.options}.
        """
        if self.directory is not None:
            self.directory.close()
        self.path = self.path or self.mktemp()
        directory = self.directory = DataDirectory.open(self.path, 1)
        self.addCleanup(directory.close)
        options = {"tail_bytes": self.tail_bytes, **self.options, **options}
        return LocalLogEngine(directory, clock, bridge or InlineBridge(), **options)


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

    def image(self) -> str:
        """A copy of the directory as C{kill -9} would leave it now."""
        path: str = self.mktemp()
        shutil.copytree(self.path, path)
        return path

    def crash(self, *topics: tuple[Topic, LogConfig], image: str = "") -> None:
        """
        Start another engine on what C{kill -9} would leave now; its clock goes on from there.

        @param image: what was left, if something else happened.
        """
        now, self.clock = self.clock.seconds(), Clock()
        self.clock.advance(now)
        self.path = image or self.image()
        # Only what was copied counts; this gives back the descriptors.
        self.engine.stop().addErrback(lambda _: None)
        self.start_again(*topics)

    def start_again(self, *topics: tuple[Topic, LogConfig], bridge: IBridge | None = None, **options: Any) -> None:
        """Start another engine on the same files."""
        self.engine = self.make_engine(self.clock, bridge, **options)
        self.successResultOf(self.engine.start(topics or [(self.topic, self.config)]))

    def restart(self, bridge: IBridge | None = None, **options: Any) -> None:
        """Stop the engine and start another."""
        self.successResultOf(self.engine.stop())
        self.start_again(bridge=bridge, **options)

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

    def refused(self, waiting: Deferred[Any]) -> ErrorCode:
        """The code that something begun before has failed with."""
        return self.refusal(lambda: waiting)

    def files(self, ending: str = ".log") -> list[str]:
        """The partition's files with that ending, in the order of their offsets."""
        folder = os.path.join(self.path, "orders-0")
        return sorted(os.path.join(folder, name) for name in os.listdir(folder) if name.endswith(ending))


def largest_open_file() -> int:
    """
    The bytes in the largest file this process has open: trial's log, mostly.

    A test that limits the size of files for a while leaves that one room.
    """
    stats = []
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # the descriptor of the folder being listed is there no more
            stats.append(os.fstat(int(name)))
    return max((each.st_size for each in stats if S_ISREG(each.st_mode)), default=0)
