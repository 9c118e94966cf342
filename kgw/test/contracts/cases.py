"""What the contracts stand on: waiting for results, and an engine that is started, stopped and reopened."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from kgw.errors import ErrorCode, KafkaError
from kgw.interfaces import ILogEngine, IPartitionLog
from kgw.model import Appended, Fetched, LogConfig, Topic
from kgw.test.builders import (
    EPOCH_S,
    batches_in,
    new_era,
    offsets_in,
    topic,
)
from kgw.wire.records import RecordBatch

# The mixins call a test case's methods, but must not be collected as test cases themselves.
if TYPE_CHECKING:
    Case = SynchronousTestCase
else:
    Case = object

T = TypeVar("T")


class WaitingCase(Case):
    """How a mixin's tests wait for results and look at errors."""

    def wait(self, deferred: Deferred[T]) -> T:
        """The result; an implementation that takes threads or time says how to wait for it."""
        return self.successResultOf(deferred)

    def error(self, call: Callable[..., Any], *args: Any) -> Exception:
        """What the call raises or fires with."""
        caught: list[Failure] = []
        result: object = self.wait(maybeDeferred(call, *args).addErrback(caught.append))
        if not caught:
            self.fail(f"it should have failed, and answered {result!r}")
        error = caught[0].value
        assert isinstance(error, Exception)
        return error

    def refusal(self, call: Callable[..., Any], *args: Any) -> ErrorCode:
        """The code of the L{KafkaError} that the call raises or fires with."""
        error = self.error(call, *args)
        if not isinstance(error, KafkaError):
            raise error
        return error.code


class EngineCase(WaitingCase):
    """
    A started engine with the topic C{orders}; C{self.log} is its only partition.

    Concrete tests say how to make an engine.
    """

    clock: Clock
    engine: ILogEngine
    log: IPartitionLog
    topic: Topic

    def make_engine(self, clock: Clock) -> ILogEngine:
        """
        An engine over this test's own place, not started.

        The first finds it empty; each further one finds what the one before it left when it stopped.
        """
        raise NotImplementedError

    def setUp(self) -> None:
        """Start an engine and make the topic."""
        super().setUp()
        new_era()
        self.clock = Clock()
        self.clock.advance(EPOCH_S)
        self.engine = self.make_engine(self.clock)
        self.wait(self.engine.start([]))
        self.addCleanup(lambda: self.wait(self.engine.stop()))
        self.topic = topic()
        self.log = self.created(self.topic)

    def created(self, topic: Topic, config: LogConfig | None = None) -> IPartitionLog:
        """The first partition of a new topic."""
        self.wait(self.engine.create(topic, config or LogConfig()))
        log: IPartitionLog = self.engine.partition(topic.name, 0)
        return log

    def reopen(self, *topics: Topic) -> None:
        """Stop the engine and start another one on the same place, which is told of these topics."""
        self.wait(self.engine.stop())
        self.engine = self.make_engine(self.clock)
        self.wait(self.engine.start([(topic, LogConfig()) for topic in topics]))
        if self.topic in topics:
            self.log = self.engine.partition(self.topic.name, 0)

    def append(self, *batches: RecordBatch) -> list[Appended]:
        """Append each and wait for it."""
        appended = [self.wait(self.log.append(one)) for one in batches]
        self.clock.advance(0)
        return appended

    def offsets(self, offset: int, max_bytes: int = 1 << 20, at_least_one: bool = True) -> list[int]:
        """The offsets of the records that a read finds."""
        return offsets_in(self.wait(self.log.read(offset, max_bytes, at_least_one)))

    def kept(self, fetched: Fetched, offset: int) -> Sequence[object]:
        """
        What a read from C{offset} on found, in a form that is equal before and after a restart.

        That is the batches' bytes, where the engine keeps those; one that keeps records says so.
        """
        return batches_in(fetched)

    def bounds(self) -> tuple[int, int]:
        """Log start offset and high watermark."""
        bounds = self.wait(self.log.bounds())
        return bounds.log_start_offset, bounds.high_watermark
