"""What a crash, a torn write or a damaged disk leaves of a partition log."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from kgw.errors import ErrorCode
from kgw.model import Appended, EpochEnd, LogConfig
from kgw.test.builders import EPOCH_MS, batch, idempotent_batch, offsets_in
from kgw.test.disk import OnePartition

_POINTS = "recovery-point-offset-checkpoint"


class CrashTests(OnePartition, SynchronousTestCase):
    """After C{kill -9}."""

    def test_everything_acknowledged_is_there(self) -> None:
        self.append(*(batch(EPOCH_MS + n, EPOCH_MS + n) for n in range(50)))
        self.crash()
        self.assertEqual(self.offsets(), list(range(100)))
        self.assertEqual(self.append(batch()), [Appended(100, -1, 0)])
        self.assertEqual(self.successResultOf(self.log.offset_for_time(EPOCH_MS + 49)).offset, 98)

    def test_a_torn_batch_is_cut_wherever_it_was_torn(self) -> None:
        self.append(batch(), batch(EPOCH_MS, EPOCH_MS), batch())
        whole = os.path.getsize(self.files()[0])
        for length in range(batch(EPOCH_MS, EPOCH_MS).size):
            self.assertEqual(self.append(batch(EPOCH_MS, EPOCH_MS))[0].base_offset, 4)
            os.truncate(self.files()[0], whole + length)
            self.crash()
            self.assertEqual(self.bounds(), (0, 4))
            self.assertEqual(os.path.getsize(self.files()[0]), whole)
        self.assertEqual(self.offsets(), [0, 1, 2, 3])

    def test_zeros_behind_the_last_batch_are_cut(self) -> None:
        self.append(batch(), batch())
        whole = os.path.getsize(self.files()[0])
        os.truncate(self.files()[0], whole + 100_000)
        self.crash()
        self.assertEqual((self.offsets(), os.path.getsize(self.files()[0])), ([0, 1], whole))

    def test_stale_batches_behind_the_last_one_are_cut(self) -> None:
        self.append(batch(), batch())
        file = Path(self.files()[0])
        file.write_bytes(file.read_bytes() * 3)
        self.crash()
        self.assertEqual(self.offsets(), [0, 1])

    def test_rolled_segments(self) -> None:
        self.engine.configure(self.topic, LogConfig(segment_bytes=1000, index_interval_bytes=0))
        self.append(*(batch(EPOCH_MS + n) for n in range(40)))
        self.assertGreater(len(self.files()), 3)
        self.crash()
        self.assertEqual(self.offsets(), list(range(40)))
        self.assertEqual(self.offsets(max_bytes=1), list(range(40)))
        self.assertEqual(self.successResultOf(self.log.offset_for_time(EPOCH_MS + 11)).offset, 11)

    def test_only_what_no_checkpoint_covers_is_checked(self) -> None:
        self.append(*[batch()] * 20)
        self.clock.advance(60)
        self.assertEqual(Path(self.path, _POINTS).read_text(), "0\n1\norders 0 20\n")
        self.append(*[batch()] * 20)
        # Nothing but a check would see this; the client's own does.
        self.flip(10)
        self.crash()
        self.assertEqual(self.offsets(), list(range(40)))
        self.assertEqual(self.offsets(39), [39])

    def flip(self, position: int) -> None:
        """Change one byte in the middle of the batch at the start of the file."""
        with open(self.files()[0], "r+b") as file:
            file.seek(61 + position)
            byte = file.read(1)[0]
            file.seek(61 + position)
            file.write(bytes([byte ^ 0xFF]))

    def test_lost_checkpoints_cost_time_only(self) -> None:
        self.append(*[batch()] * 20)
        self.clock.advance(60)
        os.unlink(os.path.join(self.path, _POINTS))
        for name in ("leader-epoch-checkpoint", "partition.metadata"):
            os.unlink(os.path.join(self.path, "orders-0", name))
        self.crash()
        self.assertEqual(self.offsets(), list(range(20)))

    def test_a_trimmed_log(self) -> None:
        self.append(batch(EPOCH_MS, EPOCH_MS), batch())
        self.assertEqual(self.successResultOf(self.log.trim(1)), 1)
        self.crash()
        self.assertEqual(self.bounds(), (1, 3))

    def test_a_log_trimmed_to_its_end(self) -> None:
        self.append(*[batch()] * 3)
        self.successResultOf(self.log.trim(-1))
        self.crash()
        self.assertEqual(self.bounds(), (3, 3))
        self.assertEqual(self.append(batch()), [Appended(3, -1, 3)])

    def test_the_epoch_tells_that_something_may_be_missing(self) -> None:
        self.append(batch(), batch())
        self.restart()
        self.assertEqual(self.log.leader_epoch, 0)
        self.crash()
        self.append(batch())
        self.assertEqual(self.log.leader_epoch, 1)
        self.restart()
        ends = [self.successResultOf(self.log.end_of_epoch(epoch)) for epoch in (0, 1, 2)]
        self.assertEqual(ends, [EpochEnd(0, 2), EpochEnd(1, 3), EpochEnd(-1, -1)])
        self.assertEqual(self.successResultOf(self.log.bounds()).start_epoch, 0)


class ProducerCrashTests(OnePartition, SynchronousTestCase):
    """Idempotent producers after C{kill -9}."""

    def repeat(self, sequence: int) -> Appended:
        """Send a batch again that is in the log."""
        return self.append(idempotent_batch(sequence))[0]

    def test_producers_are_known_from_the_log(self) -> None:
        self.append(*(idempotent_batch(n) for n in range(8)))
        self.crash()
        self.assertEqual([self.repeat(n).base_offset for n in range(3, 8)], [3, 4, 5, 6, 7])
        refused = self.refusal(lambda: self.log.append(idempotent_batch(9)))
        self.assertEqual(refused, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
        self.assertEqual(self.append(idempotent_batch(8)), [Appended(8, -1, 0)])

    def test_producers_are_known_from_a_snapshot_and_the_log(self) -> None:
        self.append(idempotent_batch(0), idempotent_batch(0, producer_id=8))
        self.clock.advance(60)
        self.append(idempotent_batch(1))
        self.crash()
        self.assertEqual([self.repeat(n).base_offset for n in range(2)], [0, 2])
        self.assertTrue(self.append(idempotent_batch(0, producer_id=8))[0].duplicate)

    def test_producers_are_known_when_their_segments_are_gone(self) -> None:
        self.engine.configure(self.topic, LogConfig(segment_bytes=300))
        self.append(*(idempotent_batch(n) for n in range(10)))
        self.successResultOf(self.log.trim(-1))
        self.crash()
        self.assertTrue(self.repeat(9).duplicate)
        self.assertEqual(self.append(idempotent_batch(10)), [Appended(10, -1, 10)])

    def test_damaged_snapshots_are_done_without(self) -> None:
        self.append(idempotent_batch(0), idempotent_batch(1))
        self.clock.advance(60)
        (snapshot,) = self.files(".snapshot")
        Path(snapshot).write_bytes(b"\x00" * 20)
        self.crash()
        self.assertTrue(self.repeat(1).duplicate)

    def test_what_was_cut_can_be_sent_again(self) -> None:
        self.append(idempotent_batch(0))
        whole = os.path.getsize(self.files()[0])
        self.append(idempotent_batch(1))
        os.truncate(self.files()[0], whole + 70)
        self.crash()
        self.assertEqual(self.append(idempotent_batch(1)), [Appended(1, -1, 0)])


class DamageTests(OnePartition, SynchronousTestCase):
    """Bytes that are not what was written."""

    def damage(self, pristine: bytes, position: int, value: int) -> None:
        """Write the file with another byte at C{position}, and forget what is known of it."""
        Path(self.files()[0]).write_bytes(pristine[:position] + bytes([value]) + pristine[position + 1 :])
        for path in (*self.files(".damaged"), os.path.join(self.path, _POINTS)):
            os.unlink(path)

    def test_no_record_is_skipped_unawares(self) -> None:
        """A byte is flipped anywhere in the middle: the batch is there, or its readers are told."""
        self.append(batch(), batch(EPOCH_MS, EPOCH_MS), batch(), batch(EPOCH_MS, EPOCH_MS))
        pristine = Path(self.files()[0]).read_bytes()
        first, second = batch().size, batch(EPOCH_MS, EPOCH_MS).size
        told = 0
        for position in range(first, first + second):
            self.damage(pristine, position, pristine[position] ^ 0x81)
            self.crash()
            self.assertEqual(self.bounds(), (0, 6))
            self.assertEqual(self.offsets(3), [3, 4, 5], position)
            if first + 12 <= position < first + 16:
                # The leader epoch is in no checksum, and tells readers nothing.
                self.assertEqual(self.offsets(), [0, 1, 2, 3, 4, 5])
                continue
            told += 1
            for offset in (1, 2):
                self.assertEqual(self.refusal(partial(self.log.read, offset, 1000)), ErrorCode.CORRUPT_MESSAGE)
            self.assertEqual(self.offsets_at(0), [0])
        self.assertEqual(told, second - 4)

    def offsets_at(self, offset: int) -> list[int]:
        """The offsets that one read finds."""
        return offsets_in(self.successResultOf(self.log.read(offset, 1 << 20)))

    def test_damage_is_remembered_and_appends_go_on(self) -> None:
        self.append(batch(), batch(), batch())
        pristine = Path(self.files()[0]).read_bytes()
        self.damage(pristine, batch().size + 70, 0xEE)
        self.crash()
        self.append(batch(EPOCH_MS + 5))
        for again in (self.restart, self.crash, self.restart):
            again()
            self.assertEqual(self.refusal(lambda: self.log.read(1, 1000)), ErrorCode.CORRUPT_MESSAGE)
            self.assertEqual(self.offsets(2), [2, 3])
            self.assertEqual(self.successResultOf(self.log.offset_for_time(EPOCH_MS + 1)).offset, 3)

    def test_damage_at_the_end_of_a_segment(self) -> None:
        self.engine.configure(self.topic, LogConfig(segment_bytes=2 * batch().size))
        self.append(*[batch()] * 5)
        os.truncate(self.files()[0], batch().size + 30)
        self.crash()
        self.assertEqual(self.refusal(lambda: self.log.read(1, 1000)), ErrorCode.CORRUPT_MESSAGE)
        self.assertEqual((self.offsets_at(0), self.offsets(2)), ([0], [2, 3, 4]))

    def test_a_damaged_first_batch(self) -> None:
        self.append(batch(), batch())
        self.damage(Path(self.files()[0]).read_bytes(), 16, 0)
        self.crash()
        self.assertEqual(self.refusal(lambda: self.log.read(0, 1000)), ErrorCode.CORRUPT_MESSAGE)
        self.assertEqual(self.offsets(1), [1])


class IndexLossTests(OnePartition, SynchronousTestCase):
    """Indexes that are missing or damaged are made anew."""

    config = LogConfig(segment_bytes=2000, index_interval_bytes=200)

    def setUp(self) -> None:
        """Append to several segments."""
        super().setUp()
        self.append(*(batch(EPOCH_MS + n) for n in range(100)))
        self.assertGreater(len(self.files()), 3)

    def check(self) -> None:
        """Everything is found, and the index files are there."""
        self.assertEqual(self.offsets(), list(range(100)))
        for offset in (0, 17, 50, 99):
            self.assertEqual(self.offsets(offset, 1), list(range(offset, 100)))
            self.assertEqual(self.successResultOf(self.log.offset_for_time(EPOCH_MS + offset)).offset, offset)
        self.successResultOf(self.engine.stop())
        for ending in (".index", ".timeindex"):
            self.assertEqual(len(self.files(ending)), len(self.files()))

    def remove(self) -> None:
        """Remove all index files."""
        for path in self.files(".index") + self.files(".timeindex"):
            os.unlink(path)

    def test_removed_after_a_clean_stop(self) -> None:
        self.successResultOf(self.engine.stop())
        self.remove()
        self.crash()
        self.check()

    def test_removed_after_a_crash(self) -> None:
        self.clock.advance(60)
        self.remove()
        self.crash()
        self.check()

    def test_removed_while_running(self) -> None:
        self.restart()
        self.remove()
        self.assertEqual(self.offsets(), list(range(100)))
        self.restart()
        self.check()

    def test_overwritten(self) -> None:
        self.successResultOf(self.engine.stop())
        for path in self.files(".index") + self.files(".timeindex"):
            os.truncate(path, 0)
            os.truncate(path, 120)
        self.crash()
        self.check()

    def test_a_file_shorter_than_at_the_clean_stop(self) -> None:
        self.successResultOf(self.engine.stop())
        os.truncate(self.files()[-1], os.path.getsize(self.files()[-1]) - 1)
        self.crash()
        self.assertEqual(self.offsets(), list(range(99)))
