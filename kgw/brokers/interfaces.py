"""The seam of this room: the place where gateways meet, which is all that they know of one another."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from zope.interface import Interface

from kgw.brokers.model import Assignment, Hold, NodeEntry, Sighting, Taken, Version

#: The lock whose holder computes assignments.
CONTROLLER_LOCK = "kgw-controller"
#: The lock under which a gateway takes a node id.
NODES_LOCK = "kgw-nodes"
#: The lock under which topics and other facts of the whole cluster are changed.
CATALOG_LOCK = "kgw-catalog"


class IMeetingPlace(Interface):
    """
    Where gateways leave word for one another: an entry each, assignments, and locks by name.

    What was written is seen by every reading that begins after the writing's Deferred fired. A writing that failed may
    come to light all the same, at any time. All Deferreds fail with C{KAFKA_STORAGE_ERROR} where the place does not
    answer, within seconds; cancelling one only gives up waiting.
    """

    def read() -> Deferred[Sighting]:
        """
        All that is there: the assignments first, the entries after them.

        @return: fails also where something there cannot be understood.
        """

    def write(entry: NodeEntry) -> Deferred[None]:
        """Put an entry in its node id's place, whatever is there; durable when it fires."""

    def remove(node_id: int) -> Deferred[None]:
        """Remove an entry; nothing happens where there is none."""

    def publish(assignment: Assignment) -> Deferred[None]:
        """Put an assignment beside those that are there; durable when it fires."""

    def withdraw(version: Version) -> Deferred[None]:
        """Remove an assignment; nothing happens where it is not there."""

    def lock(name: str, owner: str, ttl_s: float) -> Deferred[Hold | Taken]:
        """
        Try to take a lock; at once, without waiting for it.

        Locks are advice: the place may forget all of them at any time (as the filer does when it restarts), so two may
        believe that they have one. A holder that has lost its token waits out its own C{ttl_s} as anybody does.

        @param owner: what the others are told.
        @param ttl_s: after this without a renewal it is free again.
        """

    def renew(name: str, owner: str, token: str, ttl_s: float) -> Deferred[Hold | None]:
        """
        Keep a lock for another C{ttl_s}.

        @return: fires with another token, which alone counts from then on; with C{None} where the lock is lost.
        """

    def unlock(name: str, owner: str, token: str) -> Deferred[None]:
        """Give a lock back; nothing happens where it is lost already."""

    def watch(listener: Callable[[], None]) -> None:
        """
        Call C{listener} soon after anything written, removed, published or withdrawn by anybody; never from within a
        method of this interface, sometimes without cause. Nothing is promised: who must know reads now and then.
        """

    def unwatch(listener: Callable[[], None]) -> None:
        """Stop calling C{listener}; nothing happens where it is not watching."""
