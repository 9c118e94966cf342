"""Who is to lead what: even shares, moved as little as can be; pure functions."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from kgw.brokers.model import COORDINATORS, Assignment, Led, Slot, Version

#: By topic id, the leader of each partition; -1 stands for nobody.
Leaders = dict[bytes, list[int]]


def spread(before: Mapping[bytes, Sequence[int]], topics: Mapping[bytes, int], nodes: Collection[int]) -> Leaders:
    """
    Leaders for all partitions, so that the nodes lead equally many, give or take one.

    Partitions stay where they are, but for those of nodes that are not there any more and those that must move to make
    the shares even: a node that joins is given its share, one that goes leaves no more than its own. Which ones move,
    and where to, is chosen so that each topic is well spread, too. The same question always has the same answer.

    @param before: the leaders there were.
    @param topics: how many partitions each topic has.
    """
    if not nodes:
        return {id: [-1] * count for id, count in topics.items()}
    leaders: Leaders = {}
    loads = dict.fromkeys(sorted(nodes), 0)
    # how many of each topic a node leads, by node and topic
    shares: dict[int, dict[bytes, int]] = {node: {} for node in loads}
    homeless: dict[bytes, list[int]] = {}
    for id in sorted(topics):
        former = before.get(id, ())
        row = leaders[id] = [-1] * topics[id]
        for partition in range(topics[id]):
            node = former[partition] if partition < len(former) else -1
            if node in loads:
                row[partition] = node
                loads[node] += 1
                shares[node][id] = shares[node].get(id, 0) + 1
            else:
                homeless.setdefault(id, []).append(partition)
    total = sum(topics.values())
    least, more = divmod(total, len(loads))
    # those who lead most anyhow get the odd ones
    ranked = sorted(loads, key=lambda node: (-loads[node], node))
    room = {node: least + (rank < more) - loads[node] for rank, node in enumerate(ranked)}
    for node in ranked:
        if room[node] < 0:
            for id, partition in _surplus(leaders, node, shares[node], -room[node], topics, len(loads)):
                leaders[id][partition] = -1
                homeless.setdefault(id, []).append(partition)
            room[node] = 0
    _house(leaders, homeless, shares, room)
    return leaders


def _surplus(
    leaders: Leaders, node: int, share: dict[bytes, int], count: int, topics: Mapping[bytes, int], nodes: int
) -> list[Slot]:
    """What a node gives up: each time one of the topic that it leads the most of beyond its share."""
    heap = [(topics[id] / nodes - held, id) for id, held in share.items()]
    heapq.heapify(heap)
    taken: dict[bytes, int] = {}
    for _ in range(count):
        excess, id = heap[0]
        taken[id] = taken.get(id, 0) + 1
        share[id] -= 1
        if share[id]:
            heapq.heapreplace(heap, (excess + 1, id))
        else:
            heapq.heappop(heap)
    given = []
    for id, number in taken.items():
        held = [partition for partition, leader in enumerate(leaders[id]) if leader == node]
        given += [Slot(id, partition) for partition in held[-number:]]
    return given


def _house(
    leaders: Leaders, homeless: Mapping[bytes, list[int]], shares: dict[int, dict[bytes, int]], room: dict[int, int]
) -> None:
    """Give each homeless partition to a node with room: who leads the least of its topic, or else has most room."""
    # large topics first, while there is a choice
    for id in sorted(homeless, key=lambda id: (-len(homeless[id]), id)):
        heap = [(shares[node].get(id, 0), -free, node) for node, free in room.items() if free]
        heapq.heapify(heap)
        for partition in sorted(homeless[id]):
            share, free, node = heap[0]
            leaders[id][partition] = node
            shares[node][id] = share + 1
            room[node] = -free - 1
            if room[node]:
                heapq.heapreplace(heap, (share + 1, free + 1, node))
            else:
                heapq.heappop(heap)


def next_assignment(
    base: Assignment,
    topics: Mapping[bytes, int],
    members: Mapping[int, str],
    nodes: Collection[int],
    raised: Mapping[Slot, int],
    settled: bool,
    contested: bool,
    version: Version,
) -> Assignment | None:
    """
    The assignment that follows upon C{base}, C{None} where nothing is to change.

    The coordinators' slots are spread on their own. A leader epoch rises with each change of the leader or of its
    incarnation, above all there was; where C{base} is contested all of them do, as two leaders may have been given one
    and the same.

    @param topics: partitions by topic id, with L{COORDINATORS}.
    @param members: incarnations by node id of all who live.
    @param nodes: those of them that may lead: not those that are about to leave.
    @param raised: leader epochs that are above those of C{base}; they matter where the leader changes.
    @param settled: whether nobody holds anything that C{base} does not give it.
    @param contested: whether there is another assignment of C{base}'s number.
    @param version: of the new assignment; its number is one more than C{base}'s.
    """
    before = {id: led.leaders for id, led in base.topics.items()}
    slots = {id: count for id, count in topics.items() if id == COORDINATORS}
    others = {id: count for id, count in topics.items() if id != COORDINATORS}
    leaders = spread(before, others, nodes) | spread(before, slots, nodes)
    if not contested and not base.parting and dict(members) == dict(base.members) and _same(base, leaders):
        return None
    return _successor(base, leaders, members, raised, settled, contested, version)


def expulsion(
    base: Assignment,
    silent: Mapping[str, int],
    raised: Mapping[Slot, int],
    settled: bool,
    contested: bool,
    version: Version,
) -> Assignment:
    """
    The assignment that has some members of C{base} no more, and gives what they led to nobody yet.

    @param silent: node ids by incarnation.
    """
    members = {node_id: name for node_id, name in base.members.items() if name not in silent}
    leaders = {id: [one if one in members else -1 for one in led.leaders] for id, led in base.topics.items()}
    made = _successor(base, leaders, members, raised, settled, contested, version)
    return replace(made, parting={**base.parting, **silent})


def _successor(
    base: Assignment,
    leaders: Leaders,
    members: Mapping[int, str],
    raised: Mapping[Slot, int],
    settled: bool,
    contested: bool,
    version: Version,
) -> Assignment:
    stayed = {node for node, incarnation in members.items() if base.members.get(node) == incarnation}
    by_topic: dict[bytes, dict[int, int]] = {}
    for slot, epoch in raised.items():
        by_topic.setdefault(slot.topic_id, {})[slot.partition] = epoch
    additive = base.grown and not contested
    grown = (additive or settled) and all(
        len(leaders.get(id, ())) >= len(led.leaders) for id, led in base.topics.items()
    )
    made: dict[bytes, Led] = {}
    for id, row in leaders.items():
        led = base.topics.get(id)
        if led is None:
            led = Led((), (), 0)
        epochs = _epochs(led, row, stayed, by_topic.get(id, {}), version.number, contested)
        known = min(len(led.leaders), len(row))
        fresh = len(row)
        if not contested and (base.grown or settled):
            unchanged = all(
                led.leaders[one] == row[one] and led.epochs[one] == epochs[one] for one in range(led.fresh, known)
            )
            fresh = min(led.fresh, known) if unchanged else known
        made[id] = Led(tuple(row), tuple(epochs), fresh)
    return Assignment(version, dict(members), made, grown)


def _same(base: Assignment, leaders: Leaders) -> bool:
    return base.topics.keys() == leaders.keys() and all(
        base.topics[id].leaders == tuple(row) for id, row in leaders.items()
    )


def _epochs(
    led: Led, row: Sequence[int], stayed: Collection[int], raised: Mapping[int, int], number: int, contested: bool
) -> list[int]:
    epochs = []
    for partition, leader in enumerate(row):
        if partition >= len(led.leaders):
            epochs.append(number)
            continue
        epoch = led.epochs[partition]
        if contested or leader != led.leaders[partition] or (leader not in stayed and leader >= 0):
            epoch = max(number, epoch + 1, raised.get(partition, 0) + 1)
        epochs.append(epoch)
    return epochs
