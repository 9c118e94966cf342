"""All facts of groups as they stand in the state store when a node starts, with what is damaged put aside."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from twisted.logger import Logger

from kgw.groups.effects import GroupSnapshot
from kgw.groups.facts import (
    PREFIX,
    QUARANTINE_PREFIX,
    Amendment,
    AmendmentPlace,
    DamagedFact,
    KeptOffset,
    StatePlace,
    Stored,
    decode_amendment,
    decode_offset,
    decode_state,
    place_of,
)
from kgw.groups.offsets import Place
from kgw.interfaces import IStateStore

log = Logger("kgw.group")


@dataclass(slots=True)
class Shelf:
    """
    What the store holds of groups.

    @ivar states: by group id, as amended, with what the store holds of each.
    @ivar offsets: by group id.
    @ivar damaged: keys and values of facts that cannot be read.
    """

    states: dict[str, tuple[GroupSnapshot, Stored]] = field(default_factory=dict)
    offsets: dict[str, dict[Place, KeptOffset]] = field(default_factory=dict)
    damaged: dict[str, bytes] = field(default_factory=dict)


async def load(store: IStateStore, wanted: Callable[[str], bool] = lambda group_id: True) -> Shelf:
    """
    Read the facts of all groups, or of those wanted.

    One that is damaged is logged and moved to another key, C{damaged/} before its own, where nothing looks at it but
    people. A damaged state costs a group its members and generation, they join anew; a damaged offset costs the
    group its place in that partition. Neither costs anything else, and neither keeps the node from starting.

    @raise KafkaError: C{KAFKA_STORAGE_ERROR}: the store cannot be read, or a later version of kgw wrote to it, whose
        facts must not be lost here.
    """
    shelf = _sort(await store.scan(PREFIX), wanted)
    if shelf.damaged:
        moved = {QUARANTINE_PREFIX + key: value for key, value in shelf.damaged.items()}
        await store.commit(moved, list(shelf.damaged))
    return shelf


def _sort(facts: Iterable[tuple[str, bytes]], wanted: Callable[[str], bool]) -> Shelf:
    shelf = Shelf()
    parts: dict[str, dict[int, tuple[str, bytes]]] = {}
    amendments: dict[str, Amendment] = {}
    for key, value in facts:
        try:
            place = place_of(key)
            if place is None:
                log.warn("leaving {key} alone: this version of kgw does not know what it is", key=key)
            elif not wanted(place.group_id):
                continue
            elif isinstance(place, StatePlace):
                parts.setdefault(place.group_id, {})[place.part] = (key, value)
            elif isinstance(place, AmendmentPlace):
                amendments[place.group_id] = decode_amendment(value)
            else:
                offsets = shelf.offsets.setdefault(place.group_id, {})
                offsets[place.topic, place.partition] = decode_offset(value)
        except DamagedFact as error:
            _set_aside(shelf, key, value, error)
    for group_id, numbered in parts.items():
        rows = [numbered[number] for number in sorted(numbered)]
        try:
            snapshot = decode_state(group_id, [value for _, value in rows])
            shelf.states[group_id] = (snapshot, Stored(len(rows), tuple(one.member_id for one in snapshot.members)))
        except DamagedFact as error:
            for key, value in rows:
                _set_aside(shelf, key, value, error)
    for group_id, amendment in amendments.items():
        # a group has no state until its first generation has its assignments
        fresh = (GroupSnapshot(group_id, 0, None, None, None, 0.0), Stored())
        snapshot, stored = shelf.states.get(group_id, fresh)
        shelf.states[group_id] = (_amended(snapshot, amendment), replace(stored, amended=True))
    return shelf


def _amended(snapshot: GroupSnapshot, amendment: Amendment) -> GroupSnapshot:
    left = set(amendment.left)
    members = tuple(member for place, member in enumerate(snapshot.members) if place not in left)
    return replace(
        snapshot,
        # no number is ever given out twice
        generation_id=max(snapshot.generation_id, amendment.generation_id),
        protocol_name=snapshot.protocol_name if members else None,
        members=members,
        unsettled=True,
    )


def _set_aside(shelf: Shelf, key: str, value: bytes, error: DamagedFact) -> None:
    log.error(
        "the stored fact {key} is damaged and moved to {to}: {error}", key=key, to=QUARANTINE_PREFIX + key, error=error
    )
    shelf.damaged[key] = value
