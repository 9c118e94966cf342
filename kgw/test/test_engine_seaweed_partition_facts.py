"""What is stored of a partition in SeaweedMQ besides its records: its start, its epochs, its producers."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from kgw.engine.memory_state import MemoryStateStore
from kgw.engine.seaweed.partition_facts import (
    PartitionFacts,
    encoded_facts,
    encoded_producers,
    forget_facts,
    former_keys,
    load_facts,
)
from kgw.errors import KafkaError
from kgw.model import EpochEnd, Topic

ID = b"i" * 16


class EpochTests(SynchronousTestCase):
    """Leader epochs."""

    def test_epochs(self) -> None:
        facts = PartitionFacts()
        facts.begin_epoch(10)
        facts.begin_epoch(20)
        self.assertEqual([facts.epoch_at(offset) for offset in (0, 9, 10, 19, 20, 99)], [0, 0, 1, 1, 2, 2])
        ends = [facts.end_of(epoch, 30) for epoch in range(-1, 4)]
        self.assertEqual(ends, [EpochEnd(-1, -1), EpochEnd(0, 10), EpochEnd(1, 20), EpochEnd(2, 30), EpochEnd(-1, -1)])

    def test_an_epoch_that_never_was(self) -> None:
        """The log is cut before an epoch's begin: that has no records, and whoever has seen some is told so."""
        facts = PartitionFacts()
        facts.begin_epoch(10)
        facts.begin_epoch(10)
        self.assertEqual(facts.epochs, [(0, 0), (2, 10)])
        self.assertEqual(facts.end_of(1, 15), EpochEnd(0, 10))
        facts.begin_epoch(0)
        self.assertEqual((facts.epochs, facts.end_of(2, 15)), ([(3, 0)], EpochEnd(2, 0)))

    def test_given_epochs_only_grow(self) -> None:
        facts = PartitionFacts()
        facts.begin_epoch(10, 7)
        facts.begin_epoch(20, 7)
        facts.begin_epoch(30, 3)
        self.assertEqual(facts.epochs, [(0, 0), (7, 10), (8, 20), (9, 30)])

    def test_taking_up(self) -> None:
        """A leader begins the epoch it was given; alone in the world, one begins only after a crash."""
        for clean_end, end, epoch, epochs, reign in (
            (10, 10, None, [(0, 0), (2, 5)], 2),
            (-1, 10, None, [(0, 0), (2, 5), (3, 10)], 2),
            (-1, 0, None, [(0, 0), (2, 5)], 2),
            (10, 10, 4, [(0, 0), (2, 5), (4, 10)], 4),
            (-1, 10, 4, [(0, 0), (2, 5), (4, 10)], 4),
            # once more by the one that led it last
            (10, 10, 2, [(0, 0), (2, 5)], 2),
            (-1, 10, 2, [(0, 0), (2, 5), (3, 10)], 3),
            # there were greater ones
            (10, 10, 1, [(0, 0), (2, 5), (3, 10)], 3),
        ):
            facts = PartitionFacts(0, [(0, 0), (2, 5)], clean_end, reign=2)
            facts.take_up(end, epoch)
            self.assertEqual((facts.epochs, facts.reign, facts.clean_end), (epochs, reign, -1), (clean_end, end, epoch))

    def test_old_epochs_go_with_their_records(self) -> None:
        facts = PartitionFacts()
        facts.begin_epoch(10)
        facts.begin_epoch(20)
        facts.begin_at(15)
        self.assertEqual((facts.start, facts.epochs, facts.epoch_at(15)), (15, [(1, 10), (2, 20)], 1))
        facts.begin_at(20)
        self.assertEqual(facts.epochs, [(2, 20)])
        self.assertEqual((facts.end_of(0, 30), facts.end_of(2, 30)), (EpochEnd(0, 20), EpochEnd(2, 30)))


class StoredTests(SynchronousTestCase):
    """In a state store."""

    def setUp(self) -> None:
        self.store = MemoryStateStore()
        self.successResultOf(self.store.open())

    def loaded(self, index: int = 0) -> PartitionFacts:
        """What is there."""
        return self.successResultOf(Deferred.fromCoroutine(load_facts(self.store, ID, index)))

    def commit(self, puts: dict[str, bytes]) -> None:
        """Store it."""
        self.successResultOf(self.store.commit(puts))

    def test_nothing(self) -> None:
        self.assertEqual(self.loaded(), PartitionFacts())

    epochs = st.lists(st.integers(0, 1 << 40), max_size=5)

    @settings(deadline=None, max_examples=40)
    @given(st.integers(0, 1 << 40), epochs, st.integers(-1, 1 << 40), st.binary(max_size=50))
    def test_round_trip(self, start: int, epochs: list[int], clean_end: int, producers: bytes) -> None:
        self.setUp()
        facts = PartitionFacts(start, clean_end=clean_end, producers=producers)
        for offset in epochs:
            facts.begin_epoch(offset)
        self.commit({**encoded_facts(ID, 1, facts), **encoded_producers(ID, 1, producers)})
        self.commit(encoded_facts(ID, 10, PartitionFacts(7)))
        self.assertEqual(self.loaded(1), facts)

    def test_large_producers(self) -> None:
        """They are cut into values that a store takes; what is left of longer ones does no harm."""
        for size in (5 << 20, (1 << 20) - 8, 1, 0):
            self.commit(encoded_producers(ID, 0, b"x" * size))
            self.assertEqual(self.loaded().producers, b"x" * size)

    def test_a_late_write_of_a_former_leader_is_not_heard(self) -> None:
        former = PartitionFacts(3, [(4, 0)], reign=4)
        self.commit({**encoded_facts(ID, 0, former), **encoded_producers(ID, 0, b"former", 4)})
        taken = self.loaded()
        self.assertEqual((taken.reign, taken.start, taken.producers), (4, 3, b"former"))
        taken.take_up(20, 10)
        kept = {**encoded_facts(ID, 0, taken), **encoded_producers(ID, 0, b"newer", 10)}
        self.successResultOf(self.store.commit(kept, former_keys(ID, 0, taken)))
        stored: Any = self.successResultOf(self.store.scan(""))
        self.assertEqual(dict(stored), kept)
        # and now it wakes up
        late = PartitionFacts(15, [(4, 0)], 15, reign=4)
        self.commit({**encoded_facts(ID, 0, late), **encoded_producers(ID, 0, b"late" * 9, 4)})
        found = self.loaded()
        self.assertEqual((found.start, found.epochs, found.producers), (3, [(4, 0), (10, 20)], b"newer"))
        # whoever comes next throws it away
        self.assertEqual(len(former_keys(ID, 0, found)), 2)

    def test_facts_of_an_earlier_version(self) -> None:
        """They had no leader in their keys."""
        old = f"seaweed/partitions/{ID.hex()}/3/"
        self.commit(
            {
                f"{old}facts": b'{"start":5,"epochs":[[1,2]],"clean_end":7,"trusted":null}',
                f"{old}producers/0000": (4).to_bytes(8, "big") + b"snap",
            }
        )
        facts = self.loaded(3)
        self.assertEqual((facts.start, facts.epochs, facts.clean_end, facts.producers), (5, [(1, 2)], 7, b"snap"))
        facts.take_up(7)
        former = former_keys(ID, 3, facts)
        self.successResultOf(self.store.commit(encoded_facts(ID, 3, facts), former))
        left: Any = self.successResultOf(self.store.scan(old))
        self.assertEqual([key for key, _ in left], [f"{old}0000000000/facts"])
        self.assertEqual(self.loaded(3).epochs, [(1, 2)])

    def test_damaged(self) -> None:
        (key,) = encoded_facts(ID, 0, PartitionFacts())
        for bad in (b"", b"[]", b"{}", b'{"start":0,"clean_end":0,"epochs":[[1]]}'):
            self.commit({key: bad})
            loading = Deferred.fromCoroutine(load_facts(self.store, ID, 0))
            self.assertIn("damaged", str(self.failureResultOf(loading, KafkaError).value))

    def test_forgotten(self) -> None:
        """All partitions of the topic, and of no other."""
        other = b"j" * 16
        self.commit({**encoded_facts(ID, 0, PartitionFacts()), **encoded_producers(ID, 12, b"x")})
        self.commit(encoded_facts(other, 0, PartitionFacts(5)))
        self.successResultOf(Deferred.fromCoroutine(forget_facts(self.store, Topic("orders", ID, 13))))
        left: Any = self.successResultOf(self.store.scan(""))
        self.assertEqual([key for key, _ in left], list(encoded_facts(other, 0, PartitionFacts())))
