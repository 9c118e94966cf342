"""Batches that are looked at before a log takes them: one after the other in each partition, nobody overtakes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from kgw.errors import ErrorCode, KafkaError

T = TypeVar("T")
R = TypeVar("R")

#: Seconds for which a lane may go on before others have their turn.
TURN_S = 0.002

_log = Logger("kgw.schema")


@dataclass(frozen=True, slots=True)
class Room:
    """
    How much may wait.

    @ivar lane: batches in one lane, and C{lane_bytes} of them.
    @ivar bytes: in all lanes.
    """

    lane: int = 1000
    lane_bytes: int = 64 << 20
    bytes: int = 256 << 20


class _Waiting(Generic[T, R]):
    """One that waits, or is looked at just now."""

    __slots__ = ("answer", "examine", "go", "size")

    def __init__(
        self, size: int, examine: Callable[[], Coroutine[Any, Any, T]], go: Callable[[T], Deferred[R]]
    ) -> None:
        self.size = size
        self.examine = examine
        self.go = go
        # whose client has gone is let through all the same: it was received, and others stand behind it
        self.answer: Deferred[R] = Deferred()


class Turnstile:
    """
    Lets one through at a time in each lane, in the order they came, once it was examined.

    A lane is there while somebody is in it. Who is examined without waiting for anything passes at once.

    @ivar waiting_bytes: of all that wait.
    """

    def __init__(self, clock: IReactorTime, timer: Callable[[], float], room: Room | None = None) -> None:
        """
        @param timer: seconds of a clock that only goes forward.
        """
        self._clock = clock
        self._timer = timer
        self._room = room or Room()
        self._lanes: dict[Hashable, deque[_Waiting[Any, Any]]] = {}
        self.waiting_bytes = 0

    def __len__(self) -> int:
        """How many wait."""
        return sum(map(len, self._lanes.values()))

    def enter(
        self,
        lane: Hashable,
        size: int,
        examine: Callable[[], Coroutine[Any, Any, T]],
        go: Callable[[T], Deferred[R]],
    ) -> Deferred[R]:
        """
        Have C{examine} called when those in front have gone, and C{go} with what it found.

        The lane is free again when C{go} returns, whatever becomes of its Deferred. Cancelling stops nothing.

        @param size: in bytes.
        @return: fires as that of C{go}; fails with what C{examine} raises, or with C{REQUEST_TIMED_OUT} where too many
            wait.
        """
        queue = self._lanes.get(lane)
        if queue is not None:
            return self._queue(queue, _Waiting(size, examine, go))
        queue = self._lanes[lane] = deque()
        running = Deferred.fromCoroutine(examine())
        if running.called:
            # in go() others may come, of whom it lets nobody through before it returns
            passing: Deferred[R] = running.addCallback(go)
            if queue:
                self._drain(lane, queue)
            else:
                del self._lanes[lane]
            return passing
        one = _Waiting(size, examine, go)
        # in front of those that its beginning has brought here
        queue.appendleft(one)
        self.waiting_bytes += size
        running.addBoth(self._examined, lane, queue)
        return one.answer

    def _queue(self, queue: deque[_Waiting[Any, Any]], one: _Waiting[Any, R]) -> Deferred[R]:
        room = self._room
        if (
            len(queue) >= room.lane
            or (queue and sum([each.size for each in queue]) + one.size > room.lane_bytes)
            or self.waiting_bytes + one.size > room.bytes
        ):
            return fail(KafkaError(ErrorCode.REQUEST_TIMED_OUT, "too many batches wait for the schema registry"))
        queue.append(one)
        self.waiting_bytes += one.size
        return one.answer

    def _examined(self, result: Any, lane: Hashable, queue: deque[_Waiting[Any, Any]]) -> None:
        """The first of a lane was examined, which took a while."""
        self._pass(queue, result)
        self._drain(lane, queue)

    def _drain(self, lane: Hashable, queue: deque[_Waiting[Any, Any]]) -> None:
        until = self._timer() + TURN_S
        while queue:
            if self._timer() > until:
                self._clock.callLater(0, self._drain, lane, queue)
                return
            running = Deferred.fromCoroutine(queue[0].examine())
            if not running.called:
                running.addBoth(self._examined, lane, queue)
                return
            running.addBoth(lambda result: self._pass(queue, result))
        del self._lanes[lane]

    def _pass(self, queue: deque[_Waiting[Any, Any]], result: Any) -> None:
        one = queue[0]
        try:
            if isinstance(result, Failure):
                one.answer.errback(result)
            else:
                one.go(result).addCallbacks(one.answer.callback, one.answer.errback)
        except Exception:
            _log.failure("letting a batch into its log")
            if not one.answer.called:
                one.answer.errback(KafkaError(ErrorCode.UNKNOWN_SERVER_ERROR))
        finally:
            # not before: what go() brings about may send others here
            queue.popleft()
            self.waiting_bytes -= one.size
