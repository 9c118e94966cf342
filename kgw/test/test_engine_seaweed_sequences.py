"""What a partition in SeaweedMQ knows of idempotent producers: half-stored batches, replay, snapshots."""

from __future__ import annotations

import struct

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kgw.engine.seaweed.envelope import BatchFacts
from kgw.engine.seaweed.incoming import StoredRecord
from kgw.engine.seaweed.sequences import Half, Sequences
from kgw.errors import ErrorCode, KafkaError
from kgw.test.builders import EPOCH_MS, idempotent_batch
from kgw.wire.records import RecordBatch

HOUR = 3_600_000


def found(first: int, count: int, sequence: int, index: int = 0, producer_id: int = 7) -> list[StoredRecord]:
    """What C{first} on is in the log of a batch of C{count} records, whose rest from C{index} on was sent."""
    facts = BatchFacts(producer_id, 0, sequence, count, index)
    return [
        StoredRecord(first + n, 1, EPOCH_MS, False, b"k", b"v", facts=facts if not n else None)
        for n in range(count - index)
    ]


class SequencesTests(SynchronousTestCase):
    """One producer, unless it is said otherwise."""

    def setUp(self) -> None:
        self.sequences = Sequences(HOUR)

    def restored(self, covered: int = 0) -> Sequences:
        """Another one, from a snapshot."""
        other = Sequences(HOUR)
        other.restore(self.sequences.snapshot()(covered))
        return other

    def is_duplicate(self, batch: RecordBatch) -> bool:
        return self.sequences.check(batch, EPOCH_MS) is not None

    def test_replay(self) -> None:
        """Whole batches are duplicates from then on; records without facts say nothing."""
        records = [*found(0, 2, 0), StoredRecord(2, 1, EPOCH_MS, False, None, b"raw"), *found(3, 1, 2)]
        self.sequences.replay(records, 4, EPOCH_MS)
        self.assertTrue(self.is_duplicate(idempotent_batch(0, 2)))
        earlier = self.sequences.check(idempotent_batch(2), EPOCH_MS)
        assert earlier is not None
        self.assertEqual((earlier.base_offset, self.sequences.covered), (3, 4))
        self.assertRaises(KafkaError, self.sequences.check, idempotent_batch(5), EPOCH_MS)
        self.assertIsNone(self.sequences.check(idempotent_batch(3), EPOCH_MS))

    def test_half_a_batch(self) -> None:
        """The log ends within a batch: it is no duplicate, and only that very batch is the other half."""
        self.sequences.replay(found(10, 5, 0)[:3], 13, EPOCH_MS)
        whole = idempotent_batch(0, 5)
        self.assertFalse(self.is_duplicate(whole))
        self.assertEqual(self.sequences.half_of(whole), Half(0, 0, 5, 10, 3))
        for other in (idempotent_batch(0, 4), idempotent_batch(5, 5), idempotent_batch(0, 5, producer_id=8)):
            self.assertIsNone(self.sequences.half_of(other))
        self.assertEqual(self.restored().half_of(whole), Half(0, 0, 5, 10, 3))

    def test_its_rest_is_published(self) -> None:
        self.sequences.replay(found(10, 5, 0)[:3], 13, EPOCH_MS)
        whole = idempotent_batch(0, 5)
        self.sequences.appended(whole, 10, EPOCH_MS)
        self.assertIsNone(self.sequences.half_of(whole))
        self.assertTrue(self.is_duplicate(whole))

    def test_the_producer_goes_on(self) -> None:
        """A half that is not what comes next stays as it is, and is forgotten."""
        self.sequences.replay(found(10, 5, 0)[:3], 13, EPOCH_MS)
        self.sequences.appended(idempotent_batch(9), 13, EPOCH_MS)
        self.assertIsNone(self.sequences.half_of(idempotent_batch(0, 5)))

    def test_a_rest_is_found(self) -> None:
        """Both halves make one batch, whose offset is that of the first; a rest without a beginning says nothing."""
        self.sequences.replay(found(10, 5, 0)[:3], 13, EPOCH_MS)
        self.sequences.replay([*found(13, 1, 7, producer_id=8), *found(14, 5, 0, 3)], 16, EPOCH_MS)
        earlier = self.sequences.check(idempotent_batch(0, 5), EPOCH_MS)
        assert earlier is not None
        self.assertEqual(earlier.base_offset, 10)
        self.sequences.replay(found(16, 5, 5, 3), 18, EPOCH_MS)
        self.assertFalse(self.is_duplicate(idempotent_batch(5, 5)))

    def test_half_a_rest(self) -> None:
        """The rest was cut, too."""
        self.sequences.replay(found(10, 5, 0)[:2], 12, EPOCH_MS)
        self.sequences.replay(found(12, 5, 0, 2)[:1], 13, EPOCH_MS)
        self.assertEqual(self.sequences.half_of(idempotent_batch(0, 5)), Half(0, 0, 5, 10, 3))

    def test_truncate(self) -> None:
        """What is behind the end never was."""
        self.sequences.replay([*found(0, 2, 0), *found(2, 5, 0, producer_id=8)[:3]], 5, EPOCH_MS)
        self.sequences.truncate(4)
        self.assertIsNone(self.sequences.half_of(idempotent_batch(0, 5, producer_id=8)))
        self.assertTrue(self.is_duplicate(idempotent_batch(0, 2)))
        self.assertEqual(self.sequences.covered, 4)
        self.sequences.truncate(1)
        self.assertFalse(self.is_duplicate(idempotent_batch(0, 2)))

    def test_expired(self) -> None:
        self.sequences.appended(idempotent_batch(0), 0, EPOCH_MS)
        self.sequences.expire(EPOCH_MS + HOUR)
        self.assertFalse(self.is_duplicate(idempotent_batch(0)))

    def test_a_snapshot_is_of_its_moment(self) -> None:
        """What is published afterwards is not in it, and it covers what it is told."""
        self.sequences.appended(idempotent_batch(0), 0, EPOCH_MS)
        encode = self.sequences.snapshot()
        self.sequences.appended(idempotent_batch(1), 1, EPOCH_MS)
        self.sequences.restore(encode(1))
        self.assertEqual(self.sequences.covered, 1)
        self.assertTrue(self.is_duplicate(idempotent_batch(0)))
        self.assertFalse(self.is_duplicate(idempotent_batch(1)))

    def test_a_snapshot_that_cannot_be_used_changes_nothing(self) -> None:
        self.sequences.appended(idempotent_batch(0), 0, EPOCH_MS)
        good = self.sequences.snapshot()(1)
        for bad in (b"", good[:9], good[:-1], b"\0\2" + good[2:], good[:-1] + bytes([good[-1] ^ 1])):
            self.assertRaises(ValueError, self.sequences.restore, bad)
        many = good[:10] + struct.pack(">I", 1 << 30) + good[14:]
        self.assertRaises(ValueError, self.sequences.restore, many)
        self.assertTrue(self.is_duplicate(idempotent_batch(0)))
        self.assertEqual(self.sequences.covered, 0)

    batches = st.lists(st.tuples(st.integers(1, 3), st.integers(1, 4)), min_size=1, max_size=12)

    @settings(deadline=None, max_examples=60)
    @given(batches, st.data())
    def test_a_restart_at_any_moment(self, batches: list[tuple[int, int]], data: st.DataObject) -> None:
        """A snapshot of any moment and the log behind it give what the whole log gives, wherever that was cut."""
        next_sequence: dict[int, int] = {}
        log: list[StoredRecord] = []
        ends = [0]
        sent: list[RecordBatch] = []
        for producer_id, count in batches:
            sequence = next_sequence.get(producer_id, 0)
            next_sequence[producer_id] = sequence + count
            log += found(len(log), count, sequence, producer_id=producer_id)
            sent.append(idempotent_batch(sequence, count, producer_id))
            ends.append(len(log))
        end = data.draw(st.integers(0, len(log)))
        covered = data.draw(st.sampled_from([at for at in ends if at <= end]))
        whole, early = Sequences(HOUR), Sequences(HOUR)
        whole.replay(log[:end], end, EPOCH_MS)
        early.replay(log[:covered], covered, EPOCH_MS)
        again = Sequences(HOUR)
        again.restore(early.snapshot()(covered))
        self.assertEqual(again.covered, covered)
        again.truncate(end)
        again.replay(log[covered:end], end, EPOCH_MS)
        self.assertEqual(self.knowledge(again, sent), self.knowledge(whole, sent))
        third = Sequences(HOUR)
        third.restore(again.snapshot()(end))
        self.assertEqual(self.knowledge(third, sent), self.knowledge(whole, sent))

    def knowledge(self, sequences: Sequences, sent: list[RecordBatch]) -> list[object]:
        """What is said to each batch."""
        told: list[object] = []
        for batch in sent:
            try:
                told.append((sequences.check(batch, EPOCH_MS), sequences.half_of(batch)))
            except KafkaError as error:
                self.assertEqual(error.code, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
                told.append(error.code)
        return told
