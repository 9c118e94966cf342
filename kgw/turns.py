"""Changes of facts that several gateways have in memory: one after the other in the whole cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred

T = TypeVar("T")


class Turns(Protocol):
    """Gives whoever is about to change facts his turn."""

    def run(self, work: Callable[..., Deferred[T]], *args: Any) -> Deferred[T]:
        """
        Do C{work(*args)} while nobody else changes facts of the cluster, and what others changed before is known here.

        @return: fires with what the work gives, when others may read what it wrote; fails with C{REQUEST_TIMED_OUT}
            where the turn does not come, and nothing was done. Cancelling it gives up waiting.
        """


class OwnTurns:
    """Nobody else has these facts: it is always the turn of whoever asks."""

    def run(self, work: Callable[..., Deferred[T]], *args: Any) -> Deferred[T]:
        """See L{Turns.run}."""
        return maybeDeferred(work, *args)
