"""What gateways tell one another survives its form in the meeting place, and nonsense there is told as such."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kgw.brokers.interfaces import IMeetingPlace
from kgw.brokers.memory import MemoryRoom
from kgw.brokers.model import (
    Assignment,
    Led,
    NodeEntry,
    Slot,
    Version,
)
from kgw.errors import ErrorCode, KafkaError
from kgw.test.contracts.meeting_place import MeetingPlaceContract, assignment, entry


class MemoryMeetingPlaceTests(MeetingPlaceContract, SynchronousTestCase):
    """The twin in memory."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.room = MemoryRoom(self.clock)
        super().setUp()

    def make_place(self) -> IMeetingPlace:
        return self.room.door()

    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def let_happen(self, listener: list[int]) -> None:
        self.clock.advance(0)
        self.assertTrue(listener)

    def test_a_place_that_does_not_answer(self) -> None:
        self.room.failing = True
        self.assertIs(self.refusal(self.place.write, entry(1)), ErrorCode.KAFKA_STORAGE_ERROR)
        self.room.failing = False
        self.assertEqual(dict(self.wait(self.place.read()).entries), {})

    def test_an_answer_that_is_lost(self) -> None:
        door = self.room.door()
        door.deaf = True
        self.assertIs(self.refusal(door.write, entry(1)), ErrorCode.KAFKA_STORAGE_ERROR)
        self.assertEqual(dict(self.wait(self.place.read()).entries), {1: entry(1)})

    def test_a_gateway_that_stands_still_hears_nothing(self) -> None:
        own = Clock()
        door = self.room.door(own)
        door.delays_s = (0.5, 0.5)
        writing = door.write(entry(1))
        self.clock.advance(2)
        self.assertEqual(set(self.wait(self.place.read()).entries), {1})
        self.assertNoResult(writing)
        own.advance(2)
        self.wait(writing)


class FormTests(SynchronousTestCase):
    """Encoding and decoding."""

    def test_an_entry(self) -> None:
        self.assertEqual(NodeEntry.decode(entry(3).encode()), entry(3))

    def test_an_entry_of_a_later_release(self) -> None:
        later = entry(3).encode()[:-1] + b',"colour":"green"}'
        self.assertEqual(NodeEntry.decode(later), entry(3))

    def test_versions_sort_as_their_names(self) -> None:
        versions = [Version(number, 1, "0000000a") for number in (1, 9, 10, 123456789)]
        self.assertEqual(sorted(one.name for one in versions), [one.name for one in versions])
        for one in versions:
            self.assertEqual(Version.of(one.name), one)
        self.assertRaises(ValueError, Version.of, "head")

    def test_ten_thousand_partitions_are_small(self) -> None:
        nodes = {node: f"{node:032x}" for node in range(10)}
        topics = {
            topic.to_bytes(16, "big"): Led(tuple(one % 10 for one in range(100)), (topic + 3,) * 100, 0)
            for topic in range(100)
        }
        made = Assignment(Version(200, 3, "0000000a"), nodes, topics)
        encoded = made.encode()
        self.assertLess(len(encoded), 60_000)
        self.assertEqual(Assignment.decode(encoded), made)

    def test_what_is_too_large_is_refused(self) -> None:
        huge = replace(entry(1), epochs={Slot(b"t" * 16, one): one * 7919 % 2**31 for one in range(400_000)})
        refused = self.assertRaises(KafkaError, huge.encode)
        self.assertIs(refused.code, ErrorCode.KAFKA_STORAGE_ERROR)

    def test_what_is_out_of_bounds_is_refused(self) -> None:
        for changes in (
            {"node_id": -1},
            {"incarnation": "x"},
            {"listeners": {"A": ("h" * 256, 1)}},
            {"listeners": {"A": ("h", 65536)}},
            {"counter": -1},
            {"rack": "r" * 1001},
            {"formers": ("0" * 32,) * 17},
        ):
            self.assertRaises(ValueError, replace, entry(1), **changes)

    @settings(deadline=None, max_examples=200)
    @given(st.one_of(st.binary(max_size=60), st.integers(0, 900).map(lambda end: assignment(3).encode()[:end])))
    def test_nonsense_is_told(self, value: bytes) -> None:
        if value == assignment(3).encode():
            return
        for kind in (Assignment, NodeEntry):
            self.assertRaises(ValueError, kind.decode, value)

    @settings(deadline=None, max_examples=60)
    @given(st.lists(st.tuples(st.sampled_from([-1, 4, 7, 900]), st.integers(0, 2**31 - 1)), max_size=30))
    def test_assignments_of_all_kinds(self, led: list[tuple[int, int]]) -> None:
        members = {node: f"{node:032x}" for node in (4, 7, 900)}
        topics = {b"t" * 16: Led(tuple(one for one, _ in led), tuple(epoch for _, epoch in led), len(led))}
        made = Assignment(Version(1, 4, "0000000a"), members, topics)
        self.assertEqual(Assignment.decode(made.encode()), made)
