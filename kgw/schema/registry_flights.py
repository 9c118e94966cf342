"""One question on its way for all who ask the same, and few questions at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.python.failure import Failure

from kgw.schema.model import RegistryUnavailable

T = TypeVar("T")


class Turns:
    """
    So many at a time, the others in the order in which they came.

    Any number may come to their turn and end it at once, which in C{DeferredSemaphore} is a recursion.
    """

    def __init__(self, most: int) -> None:
        self._free = most
        self._waiting: deque[Deferred[None]] = deque()
        self._calling = False

    def acquire(self) -> Deferred[None]:
        """Fires when it is one's turn; cancelled, it never is."""
        if self._free and not self._waiting:
            self._free -= 1
            return succeed(None)
        waiting: Deferred[None] = Deferred(self._waiting.remove)
        self._waiting.append(waiting)
        return waiting

    def release(self) -> None:
        """One's turn is over."""
        self._free += 1
        if self._calling:
            return
        self._calling = True
        while self._free and self._waiting:
            self._free -= 1
            self._waiting.popleft().callback(None)
        self._calling = False


class _Flight(Generic[T]):
    """
    A question and those who wait for its answer.

    @ivar question: C{None} until it has started, which it may do and be answered at once.
    """

    def __init__(self) -> None:
        self.question: Deferred[None] | None = None
        self.waiting: list[Deferred[T]] = []

    def land(self, result: T | Failure) -> None:
        """Tell all who wait."""
        waiting, self.waiting = self.waiting, []
        for one in waiting:
            if isinstance(result, Failure):
                one.errback(result)
            else:
                one.callback(result)


class Flights(Generic[T]):
    """The questions on their way, by what they ask; a bounded number."""

    def __init__(self, most: int) -> None:
        """
        @param most: different questions at a time; further ones fail at once.
        """
        self._most = most
        self._flights: dict[Hashable, _Flight[T]] = {}

    def __len__(self) -> int:
        return len(self._flights)

    def join(self, key: Hashable, ask: Callable[[], Deferred[T]]) -> Deferred[T]:
        """
        Wait for the answer to a question that is on its way, or send it.

        @param ask: sends it. It is cancelled when the last of those who wait has cancelled.
        @return: fails as the question does, and with L{RegistryUnavailable} where there are too many.
        """
        flight = self._flights.get(key)
        if flight is not None:
            return self._wait(key, flight)
        if len(self._flights) >= self._most:
            return fail(RegistryUnavailable("too many questions wait for the schema registry"))
        flight = self._flights[key] = _Flight()
        waiting = self._wait(key, flight)
        flight.question = ask().addBoth(self._land, key, flight)
        return waiting

    def stop(self) -> None:
        """Cancel all; those who wait are told that the registry cannot be asked."""
        for flight in list(self._flights.values()):
            if flight.question is not None:
                flight.question.cancel()

    def _wait(self, key: Hashable, flight: _Flight[T]) -> Deferred[T]:
        def leave(waiting: Deferred[T]) -> None:
            flight.waiting = [one for one in flight.waiting if one is not waiting]
            if not flight.waiting and self._flights.get(key) is flight:
                del self._flights[key]
                if flight.question is not None:
                    flight.question.cancel()

        waiting: Deferred[T] = Deferred(leave)
        flight.waiting.append(waiting)
        return waiting

    def _land(self, result: T | Failure, key: Hashable, flight: _Flight[T]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]
        if isinstance(result, Failure) and result.check(CancelledError):
            result = Failure(RegistryUnavailable("the schema registry is not asked any more"))
        flight.land(result)
