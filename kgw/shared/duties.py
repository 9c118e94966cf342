"""Leading partitions and groups for the cluster, as a member is asked to (L{kgw.brokers.duties.Duties})."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol

from twisted.internet.defer import Deferred, DeferredList, DeferredLock, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from kgw.brokers.model import COORDINATORS, Slot
from kgw.errors import ErrorCode, KafkaError
from kgw.groups.coordinator import GroupCoordinator
from kgw.interfaces import ISharedLogs
from kgw.log.topics import TopicCatalog

log = Logger("kgw.cluster")


class Journalled(Protocol):
    """The state store, as far as it is one of several on the same facts."""

    def enter(self, journal: str) -> Deferred[None]:
        """Take commits from now on, with a journal of this name; what was open before is closed."""

    def leave(self) -> Deferred[None]:
        """Take no more commits; fires when none is under way."""

    def recover(self) -> Deferred[None]:
        """Finish what a gateway left that died in its turn."""

    def drained(self) -> Deferred[None]:
        """Fires when others can read what was committed before."""

    def turn_over(self) -> Deferred[None]:
        """Write no more of what was changed in a turn; fires, never with a failure, when nothing is under way."""

    def replay(self, journal: str) -> Deferred[None]:
        """Do what a store that is no more has left in its journal, and remove it."""

    def journals(self) -> Deferred[list[str]]:
        """The names of the journals of incarnations."""


class LeadingDuties:
    """The work of leading."""

    def __init__(
        self,
        store: Journalled,
        logs: ISharedLogs,
        groups: GroupCoordinator,
        catalog: TopicCatalog,
        slots: int,
        incarnation: Callable[[], str],
        entered: str,
    ) -> None:
        """
        @param slots: of groups (C{offsets.topic.num.partitions}).
        @param incarnation: of this gateway, now; empty where it was fenced.
        @param entered: the one whose journal the state store has.
        """
        self._store = store
        self._logs = logs
        self._groups = groups
        self._catalog = catalog
        self._slots = slots
        self._incarnation = incarnation
        self._entered = entered
        self._entering = DeferredLock()
        #: By which call of L{take} something is to be led; what was released or fenced since is in none.
        self._wanted: dict[Slot, object] = {}

    def topics(self) -> Deferred[Mapping[bytes, int]]:
        """See L{Duties}."""
        return Deferred.fromCoroutine(self._topics())

    async def _topics(self) -> Mapping[bytes, int]:
        await self._catalog.refresh()
        return {**self._catalog.partition_counts(), COORDINATORS: self._slots}

    def take(self, gained: Mapping[Slot, int]) -> Deferred[None]:
        """See L{Duties}."""
        ticket = object()
        self._wanted.update(dict.fromkeys(gained, ticket))
        return Deferred.fromCoroutine(self._take(gained, ticket))

    async def _take(self, gained: Mapping[Slot, int], ticket: object) -> None:
        await self._entering.run(self._enter)
        work: list[Deferred[Any]] = [
            Deferred.fromCoroutine(self._take_groups(gained, ticket)),
            Deferred.fromCoroutine(self._take_topics(gained, ticket)),
        ]
        await _all(work)

    def _still(self, gained: Mapping[Slot, int], ticket: object) -> tuple[list[int], dict[bytes, dict[int, int]]]:
        """What of it was not released, or taken anew, while this waited."""
        return _sorted({slot: epoch for slot, epoch in gained.items() if self._wanted.get(slot) is ticket})

    async def _take_groups(self, gained: Mapping[Slot, int], ticket: object) -> None:
        slots, _ = self._still(gained, ticket)
        if slots:
            await self._groups.take(slots)

    async def _take_topics(self, gained: Mapping[Slot, int], ticket: object) -> None:
        if any(slot.topic_id != COORDINATORS and self._catalog.by_id(slot.topic_id) is None for slot in gained):
            await self._catalog.refresh()
        work = []
        for id, epochs in self._still(gained, ticket)[1].items():
            topic = self._catalog.by_id(id)
            # else it was deleted meanwhile, and the next assignment knows
            if topic is not None:
                work.append(self._logs.lead(topic, epochs))
        await _all(work)

    async def _enter(self) -> None:
        """After it was fenced, with the incarnation that it has now: a journal of its own, and what others changed."""
        incarnation = self._incarnation()
        if not incarnation:
            raise KafkaError(ErrorCode.NOT_LEADER_OR_FOLLOWER, "this gateway was fenced meanwhile")
        if incarnation != self._entered:
            await self._store.enter(incarnation)
            await self._catalog.refresh()
            self._entered = incarnation

    def release(self, lost: Collection[Slot]) -> Deferred[None]:
        """See L{Duties}."""
        for slot in lost:
            self._wanted.pop(slot, None)
        return Deferred.fromCoroutine(self._release(lost))

    async def _release(self, lost: Collection[Slot]) -> None:
        slots, by_topic = _sorted(dict.fromkeys(lost, 0))
        work: list[Deferred[Any]] = [self._groups.release(slots)] if slots else []
        for id, epochs in by_topic.items():
            topic = self._catalog.by_id(id)
            if topic is not None:
                work.append(self._logs.resign(topic, list(epochs)))
        await _all(work)
        await self._store.drained()

    def replay(self, incarnation: str) -> Deferred[None]:
        """See L{Duties}."""
        return self._store.replay(incarnation)

    def fenced(self) -> Deferred[None]:
        """See L{Duties}."""
        self._wanted.clear()
        # each at once, whatever becomes of the others
        work = [
            maybeDeferred(self._logs.fence),
            maybeDeferred(self._groups.release, range(self._slots)),
            maybeDeferred(self._store.leave),
        ]
        return DeferredList([one.addErrback(_not_thrown_away) for one in work]).addCallback(lambda _: None)


async def _all(work: list[Deferred[Any]]) -> None:
    """Wait for all of them, then raise what the first one failed with."""
    for done, result in await DeferredList(work, consumeErrors=True):
        if not done and isinstance(result, Failure):
            result.raiseException()


def _not_thrown_away(failure: Failure) -> None:
    log.failure("something could not be thrown away after this gateway was fenced", failure)


def _sorted(slots: Mapping[Slot, int]) -> tuple[list[int], dict[bytes, dict[int, int]]]:
    """The slots of groups, and what there is of each topic."""
    by_topic: dict[bytes, dict[int, int]] = {}
    for slot, epoch in slots.items():
        by_topic.setdefault(slot.topic_id, {})[slot.partition] = epoch
    return sorted(by_topic.pop(COORDINATORS, {})), by_topic
