"""An operation that takes a while, done once for all who asked for it while it was running."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python.failure import Failure

from kgw.errors import ErrorCode, KafkaError


class Rounds:
    """
    Runs an operation in rounds, never two at a time.

    Who asks gets a round that begins after it asked: the next one, which starts at once where none is running.
    """

    def __init__(self, what: str, run: Callable[[], Deferred[None]]) -> None:
        """
        @param what: what it is that fails, for people.
        """
        self._what = what
        self._run = run
        self._waiting: list[Deferred[None]] = []
        self._running = False

    def join(self) -> Deferred[None]:
        """
        Ask for a round.

        @return: fires when it is over; fails with C{KAFKA_STORAGE_ERROR}.
        """
        waiter: Deferred[None] = Deferred()
        self._waiting.append(waiter)
        if not self._running:
            self._begin()
        return waiter

    def _begin(self) -> None:
        waiting, self._waiting = self._waiting, []
        self._running = True
        maybeDeferred(self._run).addBoth(self._over, waiting)

    def _over(self, result: Failure | None, waiting: list[Deferred[None]]) -> None:
        self._running = False
        if self._waiting:
            self._begin()
        for waiter in waiting:
            if isinstance(result, Failure):
                waiter.errback(_storage_error(self._what, result))
            else:
                waiter.callback(None)


def _storage_error(what: str, failure: Failure) -> KafkaError:
    """An error of its own for each who waits; a shared one would gather everybody's tracebacks."""
    if isinstance(failure.value, KafkaError):
        return KafkaError(failure.value.code, failure.value.message)
    reason = failure.value.strerror if isinstance(failure.value, OSError) else failure.getErrorMessage()
    return KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, f"{what}: {reason}")
