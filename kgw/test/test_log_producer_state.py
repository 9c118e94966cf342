"""The sequence checks of idempotent producers: each rule, and a simple model of all of them."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kgw.errors import ErrorCode, KafkaError
from kgw.log.producer_state import MAX_SEQUENCE, BatchMetadata, ProducerStates
from kgw.model import ActiveProducer
from kgw.test.builders import EPOCH_MS, batch, idempotent_batch
from kgw.wire.records import RecordBatch, peek

_DAY_MS = 86_400_000
_GAP = ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
_OLD_EPOCH = ErrorCode.INVALID_PRODUCER_EPOCH


class _Log:
    """Offsets, and the states beside them."""

    def __init__(self) -> None:
        self.states = ProducerStates(_DAY_MS)
        self.end = 0
        self.now_ms = EPOCH_MS

    def send(self, one: RecordBatch) -> int | ErrorCode:
        """The base offset the producer is told, negative for a duplicate (-1 for offset 0), or its error."""
        try:
            earlier = self.states.check(one, self.now_ms)
        except KafkaError as error:
            return error.code
        if earlier is not None:
            return -1 - earlier.base_offset
        base_offset = self.end
        self.end += one.last_offset_delta + 1
        self.states.appended(one, base_offset, self.now_ms)
        return base_offset

    def restored(self) -> _Log:
        """Another one, made from this one's snapshot."""
        other = _Log()
        other.end, other.now_ms = self.end, self.now_ms
        other.states.restore(self.states.snapshot())
        return other


class RuleTests(SynchronousTestCase):
    """Each rule as a table: what was sent as (sequence, count, epoch), and what the producer is told."""

    def check_table(self, *rows: tuple[int, int, int, int | ErrorCode]) -> None:
        """Send each row's batch; its last column is the answer."""
        log = _Log()
        told = [log.send(idempotent_batch(sequence, count, epoch=epoch)) for sequence, count, epoch, _ in rows]
        self.assertEqual(told, [row[3] for row in rows])

    def test_in_sequence(self) -> None:
        self.check_table((0, 1, 0, 0), (1, 3, 0, 1), (4, 2, 0, 4), (6, 1, 0, 6))

    def test_gaps(self) -> None:
        self.check_table((0, 2, 0, 0), (3, 1, 0, _GAP), (2, 1, 0, 2), (9, 1, 0, _GAP), (3, 1, 0, 3))

    def test_duplicates(self) -> None:
        self.check_table((0, 2, 0, 0), (0, 2, 0, -1), (2, 1, 0, 2), (0, 2, 0, -1), (2, 1, 0, -3), (3, 1, 0, 3))

    def test_parts_of_a_batch_are_no_duplicates(self) -> None:
        self.check_table((0, 3, 0, 0), (0, 2, 0, _GAP), (1, 2, 0, _GAP), (0, 4, 0, _GAP), (2, 1, 0, _GAP), (3, 1, 0, 3))

    def test_only_five_batches_are_remembered(self) -> None:
        sent = [(n, 1, 0, n) for n in range(6)]
        self.check_table(*sent, (0, 1, 0, _GAP), (1, 1, 0, -2), (5, 1, 0, -6), (6, 1, 0, 6), (1, 1, 0, _GAP))

    def test_an_old_epoch(self) -> None:
        self.check_table((0, 1, 5, 0), (1, 1, 4, _OLD_EPOCH), (0, 1, 4, _OLD_EPOCH), (1, 1, 5, 1))

    def test_a_new_epoch_starts_at_zero(self) -> None:
        self.check_table(
            (0, 1, 5, 0), (1, 1, 6, _GAP), (0, 1, 6, 1), (0, 1, 6, -2), (0, 1, 5, _OLD_EPOCH), (1, 1, 6, 2)
        )

    def test_epochs_may_leap(self) -> None:
        self.check_table((0, 1, 0, 0), (0, 1, 32767, 1), (0, 1, 32766, _OLD_EPOCH))

    def test_an_unknown_producer_starts_anywhere(self) -> None:
        self.check_table((77, 1, 3, 0), (79, 1, 3, _GAP), (78, 1, 3, 1))

    def test_sequences_wrap(self) -> None:
        self.check_table((MAX_SEQUENCE, 1, 0, 0), (1, 1, 0, _GAP), (0, 1, 0, 1), (MAX_SEQUENCE, 1, 0, -1))

    def test_sequences_wrap_inside_a_batch(self) -> None:
        self.check_table((MAX_SEQUENCE - 1, 4, 0, 0), (2, 1, 0, 4), (MAX_SEQUENCE - 1, 4, 0, -1), (0, 1, 0, _GAP))

    def test_no_sequence_or_no_epoch(self) -> None:
        self.check_table((-1, 1, 0, ErrorCode.INVALID_RECORD), (0, 1, -1, ErrorCode.INVALID_RECORD), (0, 1, 0, 0))

    def test_the_message_says_what_was_expected(self) -> None:
        log = _Log()
        log.send(idempotent_batch(0, 5))
        error = self.assertRaises(KafkaError, log.states.check, idempotent_batch(9), log.now_ms)
        self.assertEqual(error.message, "Producer 7 sent sequence 9 where 5 comes next.")

    def test_batches_without_a_producer_leave_nothing(self) -> None:
        log = _Log()
        self.assertEqual([log.send(batch()), log.send(batch())], [0, 1])
        log.states.replay(batch(), EPOCH_MS)
        self.assertEqual(len(log.states), 0)


class MemoryTests(SynchronousTestCase):
    """What is forgotten, restored and replayed."""

    def setUp(self) -> None:
        """Producer 7 wrote offsets 0 and 1, 2 and 3; producer 8 offset 4."""
        self.log = _Log()
        self.log.send(idempotent_batch(0, 2))
        self.log.send(idempotent_batch(2, 2))
        self.log.now_ms += 1000
        self.log.send(idempotent_batch(0, producer_id=8))

    def test_a_duplicate_tells_all_about_the_first(self) -> None:
        self.assertEqual(self.log.states.check(idempotent_batch(2, 2), self.log.now_ms), BatchMetadata(2, 3, 2, 3, -1))
        stamped = idempotent_batch(4).with_timestamp_type(EPOCH_MS + 99)
        self.log.send(stamped)
        found = self.log.states.check(stamped, self.log.now_ms)
        self.assertEqual(found, BatchMetadata(4, 4, 5, 5, EPOCH_MS + 99))

    def test_a_check_alone_remembers_nothing(self) -> None:
        for _ in range(2):
            self.assertIs(self.log.states.check(idempotent_batch(4), self.log.now_ms), None)
        self.assertIs(self.log.states.check(idempotent_batch(0, producer_id=9), self.log.now_ms), None)
        self.assertNotIn(9, self.log.states)

    def test_expiry(self) -> None:
        states = self.log.states
        self.assertEqual(states.expire(EPOCH_MS + _DAY_MS - 1), 0)
        self.assertEqual(states.expire(EPOCH_MS + _DAY_MS), 1)
        self.assertEqual((7 in states, 8 in states), (False, True))

    def test_who_is_active(self) -> None:
        states = self.log.states
        both = [ActiveProducer(7, 0, 3, EPOCH_MS), ActiveProducer(8, 0, 0, EPOCH_MS + 1000)]
        self.assertEqual(states.active(EPOCH_MS + _DAY_MS - 1), both)
        # as if they had been swept
        self.assertEqual(states.active(EPOCH_MS + _DAY_MS), both[1:])
        self.assertEqual(self.log.restored().states.active(EPOCH_MS), both)
        marker = batch(control=True, transactional=True, producer_id=8, producer_epoch=2)
        states.replay(marker, EPOCH_MS)
        self.assertEqual(states.active(EPOCH_MS)[1], ActiveProducer(8, 2, -1, EPOCH_MS))

    def test_an_expired_producer_starts_anywhere_before_it_is_swept(self) -> None:
        self.log.now_ms = EPOCH_MS + _DAY_MS
        self.assertEqual(self.log.send(idempotent_batch(50)), 5)
        self.assertEqual(self.log.send(idempotent_batch(2, 2)), _GAP)
        self.assertEqual(self.log.send(idempotent_batch(51)), 6)

    def test_who_writes_does_not_expire(self) -> None:
        self.log.now_ms = EPOCH_MS + _DAY_MS - 1
        self.log.send(idempotent_batch(4))
        self.log.states.expire(EPOCH_MS + _DAY_MS + 1000)
        self.assertEqual(self.log.send(idempotent_batch(4)), -6)

    def test_truncation(self) -> None:
        self.log.states.truncate(3)
        self.log.end = 2
        self.assertNotIn(8, self.log.states)
        self.assertEqual(self.log.send(idempotent_batch(4)), _GAP)
        self.assertEqual(self.log.send(idempotent_batch(2, 2)), 2)
        self.log.states.truncate(0)
        self.assertEqual(len(self.log.states), 0)

    def test_truncation_behind_the_end_changes_nothing(self) -> None:
        before = self.log.states.snapshot()
        self.log.states.truncate(5)
        self.assertEqual(self.log.states.snapshot(), before)

    def test_clear(self) -> None:
        self.log.states.clear()
        self.assertEqual(self.log.send(idempotent_batch(9)), 5)

    def test_replay_of_headers(self) -> None:
        states = ProducerStates(_DAY_MS)
        for base_offset, one in [(0, idempotent_batch(0, 2)), (2, idempotent_batch(2, 2)), (4, batch())]:
            states.replay(peek(one.header(base_offset, 0) + one.tail), EPOCH_MS)
        self.log.states = states
        self.assertEqual(self.log.send(idempotent_batch(2, 2)), -3)
        self.assertEqual(self.log.send(idempotent_batch(5)), _GAP)
        self.assertEqual(self.log.send(idempotent_batch(4)), 5)

    def test_replay_takes_gaps_as_they_are(self) -> None:
        for sequence, epoch in ((40, 3), (90, 3), (5, 4)):
            self.log.states.replay(idempotent_batch(sequence, epoch=epoch), EPOCH_MS)
        self.assertEqual(self.log.send(idempotent_batch(6, epoch=4)), 5)
        self.assertEqual(self.log.send(idempotent_batch(91, epoch=3)), _OLD_EPOCH)

    def test_the_end_of_a_transaction_counts_for_its_epoch(self) -> None:
        for producer_id in (7, 30):
            marker = batch(control=True, transactional=True, producer_id=producer_id, producer_epoch=2)
            self.log.states.replay(marker, EPOCH_MS)
            old = idempotent_batch(4, producer_id=producer_id, epoch=1)
            self.assertEqual(self.log.send(old), _OLD_EPOCH)
            restored = self.log.restored()
            for log in (self.log, restored):
                self.assertEqual(log.send(idempotent_batch(1, producer_id=producer_id, epoch=2)), _GAP)
                self.assertIsInstance(log.send(idempotent_batch(0, producer_id=producer_id, epoch=2)), int)

    def test_a_snapshot_restores_all(self) -> None:
        other = self.log.restored()
        self.assertEqual(other.states.snapshot(), self.log.states.snapshot())
        self.assertEqual(other.send(idempotent_batch(0, 2)), -1)
        self.assertEqual(other.send(idempotent_batch(4)), 5)
        self.assertEqual(other.states.expire(EPOCH_MS + _DAY_MS + 999), 0)

    def test_an_empty_snapshot(self) -> None:
        self.log.states.restore(ProducerStates(1).snapshot())
        self.assertEqual(len(self.log.states), 0)

    def test_a_damaged_snapshot_changes_nothing(self) -> None:
        snapshot = self.log.states.snapshot()
        for index in range(len(snapshot)):
            damaged = bytearray(snapshot)
            damaged[index] ^= 0x40
            self.assertRaises(ValueError, self.log.states.restore, bytes(damaged))
            self.assertRaises(ValueError, self.log.states.restore, snapshot[:index])
        self.assertRaises(ValueError, self.log.states.restore, snapshot + b"\0")
        self.assertEqual(self.log.states.snapshot(), snapshot)

    def test_a_snapshot_that_promises_more_than_it_holds(self) -> None:
        body = (1 << 31).to_bytes(4, "big")
        made_up = b"\0\1" + zlib.crc32(body).to_bytes(4, "big") + body
        self.assertRaises(ValueError, self.log.states.restore, made_up)
        self.assertRaises(ValueError, self.log.states.restore, b"\0\2" + made_up[2:])


@dataclass
class _Model:
    """One producer as a list of all it wrote in its epoch: plain and slow."""

    epoch: int = -1
    written: list[tuple[range, int]] = field(default_factory=list)

    def send(self, sequence: int, count: int, epoch: int, end: int) -> int | ErrorCode:
        sent = range(sequence, sequence + count)
        if epoch < self.epoch:
            return _OLD_EPOCH
        if epoch == self.epoch:
            for known, offset in self.written[-5:]:
                if known == sent:
                    return -1 - offset
            if sequence != self.written[-1][0].stop:
                return _GAP
        elif self.epoch >= 0 and sequence:
            return _GAP
        if epoch != self.epoch:
            self.written = []
        self.epoch = epoch
        self.written.append((sent, end))
        return end


_SENDS = st.lists(
    st.tuples(
        st.integers(1, 2),  # producer id
        st.one_of(st.none(), st.integers(0, 12)),  # sequence; None is the one that comes next
        st.integers(1, 3),  # count
        st.one_of(st.none(), st.integers(0, 2)),  # epoch; None is the current one
        st.booleans(),  # whether to restart before it
    ),
    max_size=40,
)


class ModelTests(SynchronousTestCase):
    """Any run of batches and restarts."""

    @settings(deadline=None, max_examples=150)
    @given(_SENDS)
    def test_any_run(self, sends: list[tuple[int, int | None, int, int | None, bool]]) -> None:
        log = _Log()
        models = {1: _Model(), 2: _Model()}
        for producer_id, sequence, count, epoch, restart in sends:
            if restart:
                log = log.restored()
            model = models[producer_id]
            epoch = max(model.epoch, 0) if epoch is None else epoch
            if sequence is None:
                sequence = model.written[-1][0].stop if model.written else 0
            expected = model.send(sequence, count, epoch, log.end)
            told = log.send(idempotent_batch(sequence, count, producer_id, epoch))
            self.assertEqual(told, expected)
