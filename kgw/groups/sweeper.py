"""What groups forget: offsets that expired or whose topics were deleted, and groups that have nothing any more."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from kgw.errors import KafkaError
from kgw.groups.facts import group_prefix, offset_key
from kgw.groups.group import Group
from kgw.groups.journal import GroupJournal
from kgw.groups.offsets import Place

log = Logger("kgw.group")


class Sweeper:
    """Looks for what the groups of a coordinator are to forget."""

    def __init__(self, groups: Mapping[str, Group], journal: GroupJournal, clock: IReactorTime) -> None:
        """
        @param groups: the coordinator's, by id.
        """
        self._groups = groups
        self._journal = journal
        self._sweeping = LoopingCall(self._sweep)
        self._sweeping.clock = clock
        # keys of offsets of deleted topics that could not be deleted yet, by group id and place
        self._orphans: set[tuple[str, Place]] = set()

    def start(self, interval_s: float) -> None:
        """Look every so many seconds."""
        self._sweeping.start(interval_s, now=False).addErrback(self._broke)

    def stop(self) -> None:
        """Look no more; nothing happens where it does not."""
        if self._sweeping.running:
            self._sweeping.stop()

    def forget(self, group_ids: Collection[str]) -> None:
        """These groups are somebody else's now, who will find their offsets of deleted topics when he loads them."""
        self._orphans = {one for one in self._orphans if one[0] not in group_ids}

    async def topic_deleted(self, name: str) -> None:
        """Forget what groups have committed for a topic; what the store does not take is tried again later."""
        under_way = []
        for group in list(self._groups.values()):
            places = group.places_of(name)
            if places:
                under_way.append(group.drop(places).addErrback(self._orphaned, group, places))
        for one in under_way:
            await one

    def _orphaned(self, failure: Failure, group: Group, places: Sequence[Place]) -> None:
        failure.trap(KafkaError)
        # The topic is gone whatever the store says: nobody may read these again.
        group.offsets.drop(places)
        self._orphans.update((group.id, place) for place in places)

    def _sweep(self) -> None:
        """Forget what has expired, and groups that have neither members nor offsets (Kafka: KIP-211)."""
        self._bury_orphans()
        for group in list(self._groups.values()):
            places = group.expired()
            if places:
                topics = ", ".join(sorted({topic for topic, _ in places}))
                group.note(f"{len(places)} committed offset(s) expired, of {topics}")
            if places or group.is_idle:
                group.drop(places).addCallback(self._forget_idle, group).addErrback(self._try_again_later)

    def _forget_idle(self, _: None, group: Group) -> Deferred[None] | None:
        return group.forget() if group.is_idle else None

    def _bury_orphans(self) -> None:
        orphans, self._orphans = self._orphans, set()
        keys = []
        for group_id, place in orphans:
            group = self._groups.get(group_id)
            # a topic of that name may be there again, and an offset in it
            if group is None or place not in group.places_of(place[0]):
                keys.append(offset_key(group_prefix(group_id), *place))
        if keys:
            self._journal.write({}, keys, lambda error: self._orphans.update(orphans) if error else None)

    def _try_again_later(self, failure: Failure) -> None:
        # the journal has logged it; what could not be forgotten is found again by the next sweep
        failure.trap(KafkaError)

    def _broke(self, failure: Failure) -> None:
        log.failure("offsets expire no more until the next start", failure=failure)
