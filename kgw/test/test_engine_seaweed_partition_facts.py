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
