"""What every place where gateways meet must do."""

from __future__ import annotations

from dataclasses import replace

from zope.interface.verify import verifyObject

from kgw.brokers.interfaces import IMeetingPlace
from kgw.brokers.model import (
    COORDINATORS,
    NO_VERSION,
    Assignment,
    Hold,
    Led,
    NodeEntry,
    Process,
    Slot,
    State,
    Taken,
    Version,
)
from kgw.test.contracts.cases import WaitingCase

TTL_S = 3.0


def entry(node_id: int, incarnation: int = 1) -> NodeEntry:
    """An entry with something in every field."""
    return NodeEntry(
        node_id,
        f"{incarnation:032x}",
        {"PLAINTEXT": ("gw.example", 9092), "inside": ("10.0.0.1", 19092)},
        "rack ä/1",
        "kgw 1.0",
        Process("8a6ef1b2-0000", "4026531836", 4711, 123456),
        7,
        State.LEAVING,
        Version(3, 2, "00c0ffee"),
        {Slot(b"t" * 16, 0): 5, Slot(b"t" * 16, 11): 6, Slot(COORDINATORS, 49): 7},
        "token",
        (f"{incarnation + 1:032x}",),
    )


def assignment(number: int, node_id: int = 1, stamp: str = "00000001", partitions: int = 3) -> Assignment:
    """An assignment of one topic and of coordinators to nodes 1 and 2."""
    led = Led(tuple(1 + one % 2 for one in range(partitions)), (number,) * partitions, 1)
    topics = {b"t" * 16: led, COORDINATORS: Led((1, -1), (1, 2), 0)}
    return Assignment(Version(number, node_id, stamp), {1: f"{1:032x}", 2: f"{2:032x}"}, topics, False)


class MeetingPlaceContract(WaitingCase):
    """What L{IMeetingPlace} promises."""

    place: IMeetingPlace
    other: IMeetingPlace

    def make_place(self) -> IMeetingPlace:
        """One more gateway's way to this test's own place, which is empty at first."""
        raise NotImplementedError

    def pass_time(self, seconds: float) -> None:
        """Let the place's clock go on."""
        raise NotImplementedError

    def let_happen(self, listener: list[int]) -> None:
        """Return when C{listener}, to which each call of a watcher adds, is not empty; fail after some seconds."""
        raise NotImplementedError

    def setUp(self) -> None:
        """Two gateways find the place."""
        super().setUp()
        self.place = self.make_place()
        self.other = self.make_place()

    def test_interface(self) -> None:
        self.assertTrue(verifyObject(IMeetingPlace, self.place))

    def test_an_empty_place(self) -> None:
        seen = self.wait(self.place.read())
        self.assertEqual((seen.assignment, seen.versions, dict(seen.entries)), (Assignment(), (), {}))
        self.assertEqual(seen.assignment.version, NO_VERSION)
        self.assertFalse(seen.contested)

    def test_entries_are_seen_by_the_others(self) -> None:
        self.wait(self.place.write(entry(1)))
        self.wait(self.other.write(entry(2147483647)))
        changed = replace(entry(1), counter=8, applied=Version(4, 1, "0000000a"), rack=None, process=None)
        self.wait(self.place.write(changed))
        for place in (self.place, self.other):
            seen = self.wait(place.read())
            self.assertEqual(seen.entries, {1: changed, 2147483647: entry(2147483647)})

    def test_a_removed_entry_is_gone(self) -> None:
        self.wait(self.place.write(entry(1)))
        self.wait(self.place.write(entry(2)))
        self.wait(self.other.remove(1))
        self.wait(self.other.remove(3))
        self.assertEqual(set(self.wait(self.place.read()).entries), {2})

    def test_the_greatest_assignment_is_the_one(self) -> None:
        for one in (assignment(9), assignment(10, 2), assignment(10, 11), assignment(8, 3)):
            self.wait(self.place.publish(one))
        seen = self.wait(self.other.read())
        self.assertEqual(seen.assignment, assignment(10, 11))
        self.assertEqual([one.number for one in seen.versions], [8, 9, 10, 10])
        self.assertTrue(seen.contested)
        self.wait(self.place.publish(assignment(11, 1)))
        seen = self.wait(self.other.read())
        self.assertEqual((seen.assignment, seen.contested), (assignment(11, 1), False))

    def test_a_withdrawn_assignment_is_gone(self) -> None:
        for one in (assignment(1), assignment(2)):
            self.wait(self.place.publish(one))
        self.wait(self.other.withdraw(assignment(1).version))
        self.wait(self.other.withdraw(assignment(7).version))
        self.assertEqual(self.wait(self.place.read()).versions, (assignment(2).version,))

    def test_a_large_assignment(self) -> None:
        large = assignment(1, partitions=20_000)
        self.wait(self.place.publish(large))
        self.assertEqual(self.wait(self.other.read()).assignment, large)

    def test_a_lock_is_one_holders(self) -> None:
        held = self.wait(self.place.lock("a", "one", TTL_S))
        assert isinstance(held, Hold)
        self.assertEqual(self.wait(self.other.lock("a", "two", TTL_S)), Taken("one"))
        self.assertIsInstance(self.wait(self.other.lock("b", "two", TTL_S)), Hold)
        self.wait(self.place.unlock("a", "one", held.token))
        self.assertIsInstance(self.wait(self.other.lock("a", "two", TTL_S)), Hold)
        self.wait(self.place.unlock("a", "one", held.token))
        self.assertEqual(self.wait(self.place.lock("a", "one", TTL_S)), Taken("two"))

    def test_a_lock_is_kept_by_renewing_it(self) -> None:
        first = self.wait(self.place.lock("a", "one", TTL_S))
        assert isinstance(first, Hold)
        renewed = self.wait(self.place.renew("a", "one", first.token, TTL_S))
        assert renewed is not None
        self.assertEqual(renewed.generation, first.generation)
        self.assertIs(self.wait(self.place.renew("a", "one", first.token, TTL_S)), None)
        self.assertIsInstance(self.wait(self.place.renew("a", "one", renewed.token, TTL_S)), Hold)

    def test_a_lock_runs_out(self) -> None:
        first = self.wait(self.place.lock("a", "one", TTL_S))
        assert isinstance(first, Hold)
        self.pass_time(TTL_S + 1)
        second = self.wait(self.other.lock("a", "two", TTL_S))
        assert isinstance(second, Hold)
        self.assertGreater(second.generation, first.generation)
        self.assertIs(self.wait(self.place.renew("a", "one", first.token, TTL_S)), None)

    def test_changes_are_told(self) -> None:
        told: list[int] = []

        def listener() -> None:
            told.append(1)

        self.place.watch(listener)
        for work in (
            lambda: self.other.write(entry(1)),
            lambda: self.other.publish(assignment(1)),
            lambda: self.place.write(entry(2)),
            lambda: self.other.withdraw(assignment(1).version),
            lambda: self.other.remove(1),
        ):
            told.clear()
            self.wait(work())
            self.let_happen(told)
        self.place.unwatch(listener)
        self.place.unwatch(listener)
