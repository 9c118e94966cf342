"""What every log of a partition must do for idempotent producers."""

from __future__ import annotations

from kgw.errors import ErrorCode
from kgw.model import ActiveProducer, Appended
from kgw.test.builders import (
    EPOCH_MS,
    batch,
    idempotent_batch,
)
from kgw.test.contracts.cases import EngineCase


class ProducerContract(EngineCase):
    """What L{IPartitionLog} promises to idempotent producers (KIP-98)."""

    def test_batches_in_sequence(self) -> None:
        appended = self.append(idempotent_batch(0, 3), idempotent_batch(3), idempotent_batch(4, 2))
        self.assertEqual([(one.base_offset, one.duplicate) for one in appended], [(0, False), (3, False), (4, False)])

    def test_any_of_the_last_five_is_a_duplicate(self) -> None:
        self.append(*(idempotent_batch(2 * n, 2) for n in range(7)))
        seen: list[int] = []
        self.log.watch(seen.append)
        repeated = self.append(*(idempotent_batch(2 * n, 2) for n in range(2, 7)))
        self.assertEqual(repeated, [Appended(2 * n, -1, 0, duplicate=True) for n in range(2, 7)])
        self.assertEqual((self.bounds(), seen), ((0, 14), []))
        for n in (0, 1):
            refused = self.refusal(self.log.append, idempotent_batch(2 * n, 2))
            self.assertEqual(refused, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)

    def test_a_duplicate_has_the_time_of_the_first(self) -> None:
        first = idempotent_batch(0).with_timestamp_type(EPOCH_MS + 1)
        again = idempotent_batch(0).with_timestamp_type(EPOCH_MS + 9)
        self.assertEqual([one.log_append_time_ms for one in self.append(first, again)], [EPOCH_MS + 1] * 2)

    def test_a_repeated_start_of_another_length_is_no_duplicate(self) -> None:
        self.append(idempotent_batch(0, 2))
        self.assertEqual(self.refusal(self.log.append, idempotent_batch(0, 3)), ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)

    def test_a_gap_is_refused_and_leaves_no_trace(self) -> None:
        self.append(idempotent_batch(0))
        self.assertEqual(self.refusal(self.log.append, idempotent_batch(2)), ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
        self.assertEqual([one.base_offset for one in self.append(idempotent_batch(1), idempotent_batch(2))], [1, 2])

    def test_requests_in_flight(self) -> None:
        started = [self.log.append(idempotent_batch(n)) for n in (0, 1, 1, 2)]
        self.assertEqual([self.wait(one).base_offset for one in started], [0, 1, 1, 2])

    def test_epochs(self) -> None:
        self.append(idempotent_batch(0), idempotent_batch(1), idempotent_batch(0, epoch=4))
        for sequence in (1, 2, 0):
            refused = self.refusal(self.log.append, idempotent_batch(sequence, epoch=3))
            self.assertEqual(refused, ErrorCode.INVALID_PRODUCER_EPOCH)
        refused = self.refusal(self.log.append, idempotent_batch(1, epoch=5))
        self.assertEqual(refused, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
        self.assertEqual([one.base_offset for one in self.append(idempotent_batch(1, epoch=4))], [3])

    def test_sequences_start_again_after_the_largest(self) -> None:
        largest = (1 << 31) - 1
        self.append(idempotent_batch(largest - 1, 3), idempotent_batch(1))
        self.assertTrue(self.append(idempotent_batch(largest - 1, 3))[0].duplicate)
        self.assertEqual(self.append(idempotent_batch(2)), [Appended(4, -1, 0)])

    def test_an_unknown_producer_starts_anywhere(self) -> None:
        self.assertEqual(self.append(idempotent_batch(1000, epoch=9)), [Appended(0, -1, 0)])

    def test_producers_do_not_meet(self) -> None:
        self.append(idempotent_batch(0, producer_id=1), idempotent_batch(0, producer_id=2), batch(), batch())
        self.append(idempotent_batch(1, producer_id=1), idempotent_batch(1, producer_id=2))
        self.assertEqual(self.bounds(), (0, 6))

    def test_trimmed_batches_are_still_duplicates(self) -> None:
        self.append(idempotent_batch(0), idempotent_batch(1))
        self.wait(self.log.trim(-1))
        self.assertTrue(self.append(idempotent_batch(1))[0].duplicate)
        self.assertEqual(self.append(idempotent_batch(2)), [Appended(2, -1, 2)])

    def test_who_writes(self) -> None:
        self.assertEqual(self.wait(self.log.producers()), [])
        self.append(idempotent_batch(0, 3, producer_id=9), batch(), idempotent_batch(5, producer_id=2, epoch=4))
        first_ms = int(self.clock.seconds() * 1000)
        expected = [ActiveProducer(2, 4, 5, first_ms), ActiveProducer(9, 0, 2, first_ms)]
        self.assertEqual(self.wait(self.log.producers()), expected)
        self.clock.advance(1)
        self.append(idempotent_batch(3, 2, producer_id=9))
        self.append(idempotent_batch(3, 2, producer_id=9))
        expected = [ActiveProducer(2, 4, 5, first_ms), ActiveProducer(9, 0, 4, first_ms + 1000)]
        self.assertEqual(self.wait(self.log.producers()), expected)
        self.reopen(self.topic)
        self.assertEqual(self.wait(self.log.producers()), expected)

    def test_the_last_sequence_is_the_largest(self) -> None:
        largest = (1 << 31) - 1
        self.append(idempotent_batch(largest - 1, 2))
        self.assertEqual([one.last_sequence for one in self.wait(self.log.producers())], [largest])

    def test_producers_survive_a_restart(self) -> None:
        self.append(*(idempotent_batch(n, epoch=2) for n in range(6)))
        self.reopen(self.topic)
        repeated = self.append(*(idempotent_batch(n, epoch=2) for n in range(1, 6)))
        self.assertEqual([(one.base_offset, one.duplicate) for one in repeated], [(n, True) for n in range(1, 6)])
        refused = self.refusal(self.log.append, idempotent_batch(7, epoch=2))
        self.assertEqual(refused, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
        self.assertEqual(self.refusal(self.log.append, idempotent_batch(6, epoch=1)), ErrorCode.INVALID_PRODUCER_EPOCH)
        self.assertEqual(self.append(idempotent_batch(6, epoch=2)), [Appended(6, -1, 0)])

    def test_producers_survive_a_restart_of_a_trimmed_log(self) -> None:
        self.append(idempotent_batch(0), idempotent_batch(1))
        self.wait(self.log.trim(-1))
        self.reopen(self.topic)
        self.assertEqual(self.refusal(self.log.append, idempotent_batch(5)), ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
        self.assertEqual([one.base_offset for one in self.append(idempotent_batch(2))], [2])
