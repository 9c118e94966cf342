"""Having done what a handover asks for: what is to be let go of, and what is to be taken up."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from twisted.internet.defer import maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from kgw.brokers.alarms import Alarms
from kgw.brokers.duties import Duties
from kgw.brokers.model import COORDINATORS, Slot
from kgw.errors import KafkaError

log = Logger("kgw.cluster")


class Work:
    """What one incarnation asks of its L{Duties}."""

    def __init__(
        self,
        duties: Duties,
        alarms: Alarms,
        session_s: float,
        node_id: int,
        released: Callable[[], None],
        untaken: Callable[[Mapping[Slot, int]], None],
        fence: Callable[[str], None],
    ) -> None:
        """
        @param session_s: how long a release may take, in seconds.
        @param released: called when what was to be let go of is let go of.
        @param untaken: called with what could not be taken up.
        @param fence: called with the reason where something cannot be let go of in order.
        """
        self._duties = duties
        self._alarms = alarms
        self._session_s = session_s
        self._node_id = node_id
        self._on_released = released
        self._on_untaken = untaken
        self._fence = fence

    def release(self, slots: frozenset[Slot]) -> None:
        """Let go of these; one release at a time."""
        log.info("node {node} lets go of {what}", node=self._node_id, what=_told(slots))
        self.watch_release()
        releasing = maybeDeferred(self._duties.release, slots)
        releasing.addCallbacks(self._released, self._unreleased).addErrback(broken)

    def watch_release(self) -> None:
        """The release that is under way may take so long from now on."""
        self._alarms.set("release", self._session_s, self._overdue)

    def take(self, slots: Mapping[Slot, int]) -> None:
        """Take these up, with these leader epochs."""
        log.info("node {node} takes up {what}", node=self._node_id, what=_told(slots))
        maybeDeferred(self._duties.take, slots).addErrback(self._untaken, slots)

    def _released(self, _: None) -> None:
        self._alarms.cancel("release")
        self._on_released()

    def _unreleased(self, failure: Failure) -> None:
        broken(failure)
        self._fence("something could not be released")

    def _overdue(self) -> None:
        self._fence("a release took longer than the session timeout")

    def _untaken(self, failure: Failure, slots: Mapping[Slot, int]) -> None:
        broken(failure)
        self._on_untaken(slots)


def _told(slots: Collection[Slot]) -> str:
    groups = sum(slot.topic_id == COORDINATORS for slot in slots)
    told = ((len(slots) - groups, "partition(s)"), (groups, "share(s) of the groups"))
    return " and ".join(f"{count} {what}" for count, what in told if count)


def broken(failure: Failure) -> None:
    """Say that something failed that nobody waits for."""
    if failure.check(KafkaError) is None:
        log.failure("the membership's work failed", failure)
    else:
        log.warn("the membership's work failed: {error}", error=failure.value)
