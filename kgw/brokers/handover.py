"""What passes from one gateway to another, and when: the pure machine that keeps two from leading the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from kgw.brokers.model import NO_VERSION, Assignment, NodeEntry, Sighting, Slot, State, Version


class Release(NamedTuple):
    """Let go of these, and say L{Handover.released} when nothing of them is held or under way any more."""

    slots: frozenset[Slot]


class Report(NamedTuple):
    """Write into the own entry that this is applied, and say L{Handover.reported} when it is written."""

    version: Version


class Take(NamedTuple):
    """Lead these from now on, with these leader epochs."""

    slots: Mapping[Slot, int]


Effect = Release | Report | Take


def settled(
    assignment: Assignment, entries: Mapping[int, NodeEntry], stirs: Callable[[str], bool], node_id: int
) -> bool:
    """
    Whether no other gateway holds anything that an assignment does not give it.

    That is so when each member of it has said that it applied it, or has left. A member that is gone is waited for
    until there is an assignment without it: whoever publishes that has seen it gone, and to what it left in its
    journal. So who is no member holds nothing; it is waited for all the same while it is seen to be alive.

    @param entries: read after the assignment was.
    @param stirs: whether an incarnation is alive, and was seen to be, by own observation.
    @param node_id: this gateway, which is not asked.
    """
    for other, entry in entries.items():
        if other == node_id or entry.state is State.LEFT or entry.applied >= assignment.version:
            continue
        if assignment.members.get(other) == entry.incarnation or stirs(entry.incarnation):
            return False
    for other, incarnation in assignment.members.items():
        if other != node_id and (other not in entries or entries[other].incarnation != incarnation):
            return False
    return True


class Handover:
    """
    What one incarnation holds, and what it is to let go of and to take up.

    It obeys the greatest assignment that it has seen. First it lets go of all that this does not give it, then says
    so; it takes up what it is newly given when all others have said so as well (L{settled}), or where nobody else can
    ever have held it.

    @ivar held: what it leads, with the leader epochs; also what it is letting go of.
    @ivar target: the assignment that it obeys.
    @ivar releasing: what it is letting go of.
    @ivar applied: what its entry says.
    """

    def __init__(self, node_id: int, incarnation: str, applied: Version = NO_VERSION) -> None:
        """
        @param applied: what the first writing of its entry said; it holds nothing then.
        """
        self._node_id = node_id
        self._incarnation = incarnation
        self.held: dict[Slot, int] = {}
        self.target = Assignment()
        self.releasing: frozenset[Slot] = frozenset()
        self.applied = applied
        self._reporting = applied
        self._given: dict[Slot, int] = {}
        self._wanted: dict[Slot, int] = {}

    @property
    def is_calm(self) -> bool:
        """Whether nothing is to be let go of, said or taken up any more for the assignment that it obeys."""
        return not self.releasing and not self._wanted and self.applied >= self.target.version

    def see(self, sighting: Sighting, stirs: Callable[[str], bool]) -> list[Effect]:
        """
        Take in a reading, or go on with the last one after something was done.

        @param stirs: whether an incarnation is alive, and was seen to be, by own observation.
        @return: what to do, in this order.
        """
        if sighting.assignment.version > self.target.version:
            self.target = sighting.assignment
            self._given = self.target.given(self._node_id, self._incarnation)
            self._reckon()
        effects: list[Effect] = []
        if not self.releasing:
            # another leader epoch is another leadership: the log is opened anew
            lost = frozenset(slot for slot, epoch in self.held.items() if self._given.get(slot, -1) != epoch)
            if lost:
                self.releasing = lost
                effects.append(Release(lost))
            elif self._reporting < self.target.version:
                self._reporting = self.target.version
                effects.append(Report(self._reporting))
        taken = self._may_take(sighting, stirs)
        if taken:
            self.held.update(taken)
            self._reckon()
            effects.append(Take(taken))
        return effects

    def released(self) -> None:
        """What was being let go of is gone; L{see} says what is next."""
        for slot in self.releasing:
            self.held.pop(slot, None)
        self.releasing = frozenset()
        self._reckon()

    def reported(self, version: Version) -> None:
        """The own entry says so now."""
        self.applied = max(self.applied, version)

    def refused(self, slots: Mapping[Slot, int]) -> None:
        """These could not be taken up after all, and nothing of them is held: they are taken up once more."""
        for slot, epoch in slots.items():
            if self.held.get(slot) == epoch and slot not in self.releasing:
                del self.held[slot]
        self._reckon()

    def _reckon(self) -> None:
        self._wanted = {slot: epoch for slot, epoch in self._given.items() if slot not in self.held}

    def _may_take(self, sighting: Sighting, stirs: Callable[[str], bool]) -> dict[Slot, int]:
        if not self._wanted or sighting.contested or sighting.assignment.version != self.target.version:
            return {}
        if self.applied >= self.target.version and settled(self.target, sighting.entries, stirs, self._node_id):
            return self._wanted
        topics = self.target.topics
        return {slot: epoch for slot, epoch in self._wanted.items() if slot.partition >= topics[slot.topic_id].fresh}
