"""Even shares, moved as little as can be."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kgw.brokers.balance import next_assignment, spread
from kgw.brokers.model import COORDINATORS, NO_VERSION, Assignment, Slot, Version

Leaders = Mapping[bytes, Sequence[int]]


def id_of(number: int) -> bytes:
    return number.to_bytes(16, "big")


def loads(leaders: Leaders, nodes: Sequence[int]) -> list[int]:
    """How many each node leads, the least first."""
    counts = Counter(leader for row in leaders.values() for leader in row)
    return sorted(counts[node] for node in nodes)


def moved(before: Leaders, after: Leaders) -> int:
    """How many partitions that were there have another leader."""
    return sum(old != new for id, row in before.items() for old, new in zip(row, after.get(id, ()), strict=False))


class SpreadTests(SynchronousTestCase):
    """Who leads what."""

    def test_a_hundred_partitions_over_three(self) -> None:
        topics = {id_of(1): 100}
        three = spread({}, topics, [1, 2, 3])
        self.assertEqual(loads(three, [1, 2, 3]), [33, 33, 34])
        four = spread(three, topics, [1, 2, 3, 4])
        self.assertEqual(loads(four, [1, 2, 3, 4]), [25, 25, 25, 25])
        self.assertEqual(moved(three, four), 25)
        again = spread(four, topics, [1, 3, 4])
        self.assertEqual(loads(again, [1, 3, 4]), [33, 33, 34])
        self.assertEqual(moved(four, again), 25)

    def test_each_topic_is_spread(self) -> None:
        topics = {id_of(number): 6 for number in range(20)}
        leaders = spread({}, topics, [1, 2, 3])
        for row in leaders.values():
            self.assertEqual(sorted(Counter(row).values()), [2, 2, 2])
        joined = spread(leaders, topics, [1, 2, 3, 4])
        for row in joined.values():
            counts = Counter(row)
            self.assertLessEqual(max(counts.values()) - min(counts[node] for node in (1, 2, 3, 4)), 2)

    def test_topics_of_one_partition_are_spread(self) -> None:
        topics = {id_of(number): 1 for number in range(31)}
        self.assertEqual(loads(spread({}, topics, [1, 2, 3]), [1, 2, 3]), [10, 10, 11])

    def test_nobody_there(self) -> None:
        self.assertEqual(spread({id_of(1): [1, 2]}, {id_of(1): 2}, []), {id_of(1): [-1, -1]})

    def test_ten_thousand_partitions(self) -> None:
        topics = {id_of(number): 10 for number in range(1000)}
        began = time.perf_counter()
        leaders = spread({}, topics, range(10))
        leaders = spread(leaders, topics, range(11))
        self.assertLess(time.perf_counter() - began, 2.0)
        counts = loads(leaders, range(11))
        self.assertLessEqual(counts[-1] - counts[0], 1)

    @settings(deadline=None, max_examples=150)
    @given(
        st.lists(st.integers(0, 12), max_size=8),
        st.lists(st.sets(st.integers(0, 6), min_size=1), min_size=1, max_size=6),
    )
    def test_joins_and_leaves(self, sizes: list[int], steps: list[set[int]]) -> None:
        topics = {id_of(number): size for number, size in enumerate(sizes)}
        total = sum(sizes)
        before: Leaders = {}
        members: set[int] = set()
        for nodes in steps:
            after = spread(before, topics, nodes)
            counts = loads(after, sorted(nodes))
            self.assertLessEqual(counts[-1] - counts[0], 1)
            self.assertEqual(sum(counts), total)
            self.assertEqual(after, spread(before, topics, sorted(nodes, reverse=True)))
            if before:
                left = sum(leader not in nodes for row in before.values() for leader in row)
                joined = len(nodes - members)
                # those that left leave theirs, those that join get their share, and no other partition moves
                self.assertLessEqual(moved(before, after), max(left, joined * (total // len(nodes) + 1)))
            before, members = after, nodes


class NextTests(SynchronousTestCase):
    """The next assignment."""

    def follow(
        self,
        base: Assignment,
        topics: Mapping[bytes, int],
        nodes: Sequence[int],
        raised: Mapping[Slot, int] | None = None,
        settled: bool = True,
        contested: bool = False,
        generation: int = 1,
    ) -> Assignment | None:
        """What follows upon C{base} with these nodes alive."""
        members = {node: f"{generation:016x}{node:016x}" for node in nodes}
        version = Version(base.version.number + 1, 1, "0000000a")
        return next_assignment(base, topics, members, nodes, raised or {}, settled, contested, version)

    def some(
        self,
        base: Assignment,
        topics: Mapping[bytes, int],
        nodes: Sequence[int],
        settled: bool = True,
        contested: bool = False,
    ) -> Assignment:
        """The same where something is to change."""
        made = self.follow(base, topics, nodes, None, settled, contested)
        assert made is not None
        return made

    def test_nothing_to_change(self) -> None:
        topics = {id_of(1): 7, COORDINATORS: 50}
        base = self.some(Assignment(), topics, [1, 2, 3])
        self.assertEqual(base.version.number, NO_VERSION.number + 1)
        self.assertIs(self.follow(base, topics, [1, 2, 3]), None)
        self.assertIsNot(self.follow(base, topics, [1, 2, 3], contested=True), None)
        self.assertIsNot(self.follow(base, topics, [1, 2]), None)
        self.assertIsNot(self.follow(base, topics, [1, 2, 3], generation=2), None)

    def test_coordinators_are_spread_on_their_own(self) -> None:
        made = self.some(Assignment(), {id_of(1): 4, COORDINATORS: 50}, [1, 2, 3])
        slots = {COORDINATORS: made.topics[COORDINATORS].leaders}
        self.assertEqual(loads(slots, [1, 2, 3]), [16, 17, 17])

    def test_an_epoch_rises_with_each_change(self) -> None:
        topics = {id_of(1): 6}
        first = self.some(Assignment(), topics, [1, 2])
        second = self.some(first, topics, [1])
        for partition in range(6):
            leader, epoch = first.leader(Slot(id_of(1), partition))
            self.assertEqual(second.leader(Slot(id_of(1), partition)), (1, epoch if leader == 1 else 2))
        raised = {Slot(id_of(1), 0): 40, Slot(id_of(1), 1): 41}
        third = self.follow(second, topics, [2], raised)
        assert third is not None
        self.assertEqual(third.topics[id_of(1)].epochs, (41, 42, 3, 3, 3, 3))

    def test_a_restarted_leader_gets_another_epoch(self) -> None:
        first = self.some(Assignment(), {id_of(1): 2}, [1])
        second = self.follow(first, {id_of(1): 2}, [1], generation=2)
        assert second is not None
        self.assertEqual(second.topics[id_of(1)].epochs, (2, 2))

    def test_all_epochs_rise_where_it_is_contested(self) -> None:
        first = self.some(Assignment(), {id_of(1): 3}, [1, 2])
        second = self.some(first, {id_of(1): 3}, [1, 2], contested=True)
        self.assertEqual(second.topics[id_of(1)].epochs, (2, 2, 2))
        self.assertEqual(second.topics[id_of(1)].fresh, 3)

    def test_what_is_new_can_be_taken_up_at_once(self) -> None:
        first = self.some(Assignment(), {id_of(1): 3}, [1, 2])
        self.assertEqual(first.topics[id_of(1)].fresh, 0)
        grown = {id_of(1): 5, id_of(2): 2}
        second = self.some(first, grown, [1, 2], settled=False)
        self.assertEqual([second.topics[id_of(one)].fresh for one in (1, 2)], [0, 0])
        # it is gone for a while, and somebody may hold it yet
        without = self.some(second, {id_of(1): 5}, [1, 2], settled=False)
        again = self.some(without, grown, [1, 2], settled=False)
        self.assertEqual(again.topics[id_of(2)].fresh, 2)
        again = self.some(without, grown, [1, 2], settled=True)
        self.assertEqual(again.topics[id_of(2)].fresh, 0)
