"""Changing facts in turn with other gateways: under a lock, knowing what they did, seen by them afterwards."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import CancelledError, Deferred, DeferredLock
from twisted.python.failure import Failure

from kgw.brokers.interfaces import CATALOG_LOCK
from kgw.errors import ErrorCode, KafkaError

T = TypeVar("T")


class Hold(Protocol):
    """A lock while it is held."""

    def valid(self) -> bool:
        """Whether it is held for sure, now."""

    def when_lost(self, listener: Callable[[], None]) -> None:
        """Call C{listener} when the lock is found lost while the work goes on; at most once."""


class Sections(Protocol):
    """Runs what one gateway at a time may do."""

    def run(self, name: str, work: Callable[[Any], Coroutine[Deferred[Any], Any, T]]) -> Deferred[T]:
        """Take a lock, wait for the work, and give the lock back; see L{kgw.engine.seaweed.locks.Sections.run}."""


class ClusterTurns:
    """
    The turns of this gateway (L{kgw.turns.Turns}).

    @ivar refreshing: what is to be read anew before each change: methods that return Deferreds.
    """

    def __init__(
        self, sections: Sections, drained: Callable[[], Deferred[None]], over: Callable[[], Deferred[None]]
    ) -> None:
        """
        @param drained: fires when others can read what was committed before.
        @param over: writes no more of it, and fires, never with a failure, when nothing of it is under way.
        """
        self._sections = sections
        self._drained = drained
        self._over = over
        # the others of this gateway wait here, and not for a lock that it has
        self._own = DeferredLock()
        self._hold: Hold | None = None
        self.refreshing: list[Callable[[], Deferred[None]]] = []

    def may_write(self) -> bool:
        """
        Whether what is being changed may be written now.

        A gateway that was stopped while it had its turn may have lost it before it goes on.
        """
        # asked by other threads, too
        hold = self._hold
        return hold is None or hold.valid()

    def run(self, work: Callable[..., Deferred[T]], *args: Any) -> Deferred[T]:
        """See L{kgw.turns.Turns.run}."""
        begun = False

        async def turn(hold: Hold) -> T:
            nonlocal begun
            begun = True
            self._hold = hold
            try:
                for refresh in self.refreshing:
                    await refresh()
                result = await work(*args)
                await self._all_read(hold)
                if not hold.valid():
                    raise _lost()
                return result
            finally:
                # before others may have their turn: what is still to be written they find in the journal
                await self._over()
                self._hold = None

        def not_begun(failure: Failure) -> Failure:
            if begun or not isinstance(failure.value, KafkaError):
                return failure
            # nothing was done, whatever kept it from the lock
            return Failure(KafkaError(ErrorCode.REQUEST_TIMED_OUT, failure.value.message))

        running: Deferred[T] = self._own.run(self._sections.run, CATALOG_LOCK, turn)
        return running.addErrback(not_begun)

    async def _all_read(self, hold: Hold) -> None:
        """Wait until others can read what was changed, which may never come where it may not be written any more."""
        waiting = self._drained()
        hold.when_lost(waiting.cancel)
        try:
            await waiting
        except CancelledError:
            raise _lost() from None


def _lost() -> KafkaError:
    # whether it was written nobody knows: somebody else's turn may have come in between
    return KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, "the cluster's lock was lost during a change")
