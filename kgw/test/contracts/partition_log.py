"""What every log of a partition must do, save what is about producers."""

from __future__ import annotations

import random
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface.verify import verifyObject

from kgw.errors import ErrorCode
from kgw.interfaces import IPartitionLog
from kgw.model import NO_OFFSET, Appended, Bounds, EpochEnd, TimestampOffset
from kgw.test.builders import (
    EPOCH_MS,
    batch,
    batches_in,
    offsets_in,
    raw_batch,
)
from kgw.test.contracts.cases import EngineCase
from kgw.wire.compression import CompressionType
from kgw.wire.records import RecordBatch

#: A batch's bytes 0-7 are its base offset and 12-15 its leader epoch; a log may change nothing else.
_LENGTH = slice(8, 12)
_REST = slice(16, None)


class PartitionLogContract(EngineCase):
    """What L{IPartitionLog} promises, save what is about producers."""

    def test_interface(self) -> None:
        self.assertTrue(verifyObject(IPartitionLog, self.log))

    def test_an_empty_log(self) -> None:
        bounds = self.wait(self.log.bounds())
        self.assertEqual(bounds._replace(start_epoch=-1), Bounds(0, 0, 0, self.log.leader_epoch, -1))
        found = self.wait(self.log.read(0, 1000))
        self.assertEqual((list(found.records), found.size), ([], 0))
        self.assertEqual(self.wait(self.log.offset_for_time(0)), NO_OFFSET)
        self.assertEqual(self.wait(self.log.offset_of_max_timestamp()), NO_OFFSET)

    def test_offsets_are_contiguous(self) -> None:
        appended = self.append(batch(EPOCH_MS), batch(*[EPOCH_MS] * 3), batch(*[EPOCH_MS] * 2))
        self.assertEqual(appended, [Appended(0, -1, 0), Appended(1, -1, 0), Appended(4, -1, 0)])
        bounds = self.wait(self.log.bounds())
        epoch = self.log.leader_epoch
        self.assertEqual(bounds, Bounds(0, 6, 6, epoch, epoch))

    def test_appends_that_were_not_waited_for_keep_their_order(self) -> None:
        started = [self.log.append(batch(*[EPOCH_MS] * count)) for count in (2, 1, 3)]
        self.assertEqual([self.wait(one).base_offset for one in started], [0, 2, 3])

    def test_a_batch_keeps_its_bytes(self) -> None:
        sent = [
            raw_batch(EPOCH_MS, EPOCH_MS - 5, value=b"a"),
            raw_batch(EPOCH_MS, value=b"b" * 3000, compression=CompressionType.GZIP),
            raw_batch(EPOCH_MS, producer_id=1 << 40, producer_epoch=3, base_sequence=17),
        ]
        offsets = [one.base_offset for one in self.append(*map(RecordBatch.parse, sent))]
        kept = batches_in(self.wait(self.log.read(0, 1 << 20)))
        self.assertEqual(len(kept), len(sent))
        for given, got, offset in zip(sent, kept, offsets, strict=True):
            self.assertEqual((got[_LENGTH], got[_REST]), (given[_LENGTH], given[_REST]))
            header = RecordBatch.parse(got)
            self.assertEqual((header.base_offset, header.leader_epoch), (offset, self.log.leader_epoch))
            self.assertTrue(header.crc_valid())

    def test_columns_are_nothing_that_readers_see(self) -> None:
        sent = [
            raw_batch(*[EPOCH_MS] * 3, value=b"a"),
            raw_batch(EPOCH_MS, value=b"b", compression=CompressionType.ZSTD),
        ]
        columns: list[list[bytes | None]] = [[b"\x0a\x07\x0a\x01n\x12\x02\x10\x07", None, b""], [b"\x0a\x00"]]
        for one, fields in zip(sent, columns, strict=True):
            self.wait(self.log.append(RecordBatch.parse(one), -1, fields))
        kept = batches_in(self.wait(self.log.read(0, 1 << 20)))
        self.assertEqual([one[_REST] for one in kept], [one[_REST] for one in sent])

    def test_the_callers_batch_is_left_alone(self) -> None:
        one = batch(EPOCH_MS, EPOCH_MS)
        self.append(one, one)
        self.assertEqual(one.base_offset, 0)
        self.assertEqual(self.offsets(0), [0, 1, 2, 3])

    def test_reading_at_every_offset(self) -> None:
        self.append(batch(*[EPOCH_MS] * 3), batch(EPOCH_MS), batch(*[EPOCH_MS] * 2))
        starts = [0, 0, 0, 3, 4, 4]
        self.assertEqual([self.offsets(offset) for offset in range(6)], [list(range(n, 6)) for n in starts])
        self.assertEqual(self.offsets(6), [])

    def test_max_bytes(self) -> None:
        self.append(*[batch(EPOCH_MS, EPOCH_MS)] * 3)
        size = batch(EPOCH_MS, EPOCH_MS).size
        for at_least_one in (True, False):
            self.assertEqual(self.offsets(0, 3 * size, at_least_one), [0, 1, 2, 3, 4, 5])
            self.assertEqual(self.offsets(0, 3 * size - 1, at_least_one), [0, 1, 2, 3])
            self.assertEqual(self.offsets(3, 2 * size, at_least_one), [2, 3, 4, 5])
            self.assertEqual(self.offsets(0, size, at_least_one), [0, 1])
        for too_small in (size - 1, 1, 0):
            self.assertEqual(self.offsets(1, too_small, True), [0, 1])
            self.assertEqual(self.offsets(1, too_small, False), [])

    def test_the_size_of_what_was_read(self) -> None:
        self.append(*[batch(EPOCH_MS)] * 3)
        found = self.wait(self.log.read(1, 1 << 20))
        self.assertEqual(found.size, 2 * batch(EPOCH_MS).size)
        self.assertEqual(found.size, sum(len(piece) for piece in found.records))
        self.assertEqual((found.bounds.log_start_offset, found.bounds.high_watermark), (0, 3))

    def test_out_of_range(self) -> None:
        self.append(batch(EPOCH_MS, EPOCH_MS))
        for offset in (-1, 3, 1 << 40):
            self.assertEqual(self.refusal(self.log.read, offset, 1000), ErrorCode.OFFSET_OUT_OF_RANGE)

    def test_a_large_batch(self) -> None:
        given = raw_batch(EPOCH_MS, value=random.Random(1).randbytes(1_000_000))
        self.append(batch(), RecordBatch.parse(given), batch())
        self.assertEqual(batches_in(self.wait(self.log.read(1, 1)))[0][_REST], given[_REST])
        self.assertEqual(self.offsets(0, 10_000, at_least_one=False), [0])

    def test_many_batches_read_from_everywhere(self) -> None:
        chance = random.Random(20)
        sizes: list[tuple[int, list[int]]] = []
        first: list[int] = []
        for _ in range(60):
            count = chance.randint(1, 9)
            one = batch(*[EPOCH_MS] * count, value=bytes(chance.randint(0, 400)))
            (appended,) = self.append(one)
            first += [len(sizes)] * count
            sizes.append((one.size, list(range(appended.base_offset, appended.base_offset + count))))
        for offset, index in enumerate(first):
            max_bytes = chance.choice((0, 100, 1000, 5000, 1 << 20))
            expected, left = sizes[index][1], max_bytes - sizes[index][0]
            for size, offsets in sizes[index + 1 :]:
                left -= size
                if left < 0:
                    break
                expected = expected + offsets
            self.assertEqual(self.offsets(offset, max_bytes), expected)

    def test_what_was_read_outlives_the_log(self) -> None:
        given = raw_batch(EPOCH_MS, EPOCH_MS)
        self.append(RecordBatch.parse(given))
        found = self.wait(self.log.read(0, 1000))
        self.wait(self.log.trim(-1))
        self.wait(self.engine.delete(self.topic))
        self.assertEqual(b"".join(found.records)[_REST], given[_REST])

    # Time

    def test_the_time_a_batch_was_given(self) -> None:
        stamped = batch(1000, 2000).with_timestamp_type(EPOCH_MS + 7)
        self.assertEqual(self.append(stamped), [Appended(0, EPOCH_MS + 7, 0)])
        found = TimestampOffset(EPOCH_MS + 7, 0, self.log.leader_epoch)
        self.assertEqual(self.wait(self.log.offset_for_time(1500)), found)
        self.assertEqual(self.wait(self.log.offset_of_max_timestamp()), found)

    def found_at(self, timestamp: int) -> tuple[int, int]:
        """Offset and timestamp of the first record at or behind C{timestamp}, both since L{EPOCH_MS}."""
        found = self.wait(self.log.offset_for_time(EPOCH_MS + timestamp))
        if found == NO_OFFSET:
            return -1, -1
        self.assertEqual(found.leader_epoch, self.log.leader_epoch)
        return found.offset, found.timestamp - EPOCH_MS

    def test_offset_for_time(self) -> None:
        self.append(
            batch(EPOCH_MS + 10, EPOCH_MS + 20),
            batch(EPOCH_MS + 30, EPOCH_MS + 40, EPOCH_MS + 50, compression=CompressionType.GZIP),
            batch(EPOCH_MS + 60),
        )
        expected = {0: (0, 10), 10: (0, 10), 11: (1, 20), 21: (2, 30), 31: (3, 40), 50: (4, 50), 51: (5, 60)}
        self.assertEqual({time: self.found_at(time) for time in expected}, expected)
        self.assertEqual(self.wait(self.log.offset_for_time(EPOCH_MS + 61)), NO_OFFSET)

    def test_offset_for_time_where_timestamps_go_back(self) -> None:
        self.append(batch(EPOCH_MS + 50, EPOCH_MS + 10), batch(EPOCH_MS + 20, EPOCH_MS + 70), batch(EPOCH_MS + 30))
        expected = {5: (0, 50), 15: (0, 50), 50: (0, 50), 51: (3, 70), 70: (3, 70), 71: (-1, -1)}
        self.assertEqual({time: self.found_at(time) for time in expected}, expected)

    def test_times_of_trimmed_records_are_not_found(self) -> None:
        self.append(batch(EPOCH_MS + 90, EPOCH_MS + 10, EPOCH_MS + 20), batch(EPOCH_MS + 30))
        self.wait(self.log.trim(1))
        self.assertEqual((self.found_at(0), self.found_at(15), self.found_at(40)), ((1, 10), (2, 20), (-1, -1)))
        self.wait(self.log.trim(-1))
        self.assertEqual(self.wait(self.log.offset_for_time(0)), NO_OFFSET)
        self.assertEqual(self.wait(self.log.offset_of_max_timestamp()), NO_OFFSET)

    def test_offset_of_max_timestamp(self) -> None:
        epoch = self.log.leader_epoch
        self.append(batch(EPOCH_MS + 10), batch(EPOCH_MS + 5, EPOCH_MS + 80, EPOCH_MS + 80), batch(EPOCH_MS + 80))
        self.assertEqual(self.wait(self.log.offset_of_max_timestamp()), TimestampOffset(EPOCH_MS + 80, 2, epoch))
        self.append(batch(EPOCH_MS + 81))
        self.assertEqual(self.wait(self.log.offset_of_max_timestamp()), TimestampOffset(EPOCH_MS + 81, 5, epoch))

    def test_end_of_epoch(self) -> None:
        self.append(batch(EPOCH_MS, EPOCH_MS))
        epoch = self.log.leader_epoch
        self.assertEqual(self.wait(self.log.end_of_epoch(epoch)), EpochEnd(epoch, 2))
        self.assertEqual(self.wait(self.log.end_of_epoch(epoch + 1)), EpochEnd(-1, -1))
        self.assertEqual(self.wait(self.log.end_of_epoch(-1)), EpochEnd(-1, -1))

    # Trimming

    def test_trim(self) -> None:
        self.append(batch(EPOCH_MS), batch(*[EPOCH_MS] * 3), batch(EPOCH_MS))
        self.assertEqual(self.wait(self.log.trim(2)), 2)
        self.assertEqual(self.bounds(), (2, 5))
        self.assertEqual(self.refusal(self.log.read, 1, 1000), ErrorCode.OFFSET_OUT_OF_RANGE)
        self.assertEqual(self.offsets(2), [1, 2, 3, 4])
        self.assertEqual(self.append(batch(EPOCH_MS)), [Appended(5, -1, 2)])

    def test_trim_never_goes_back(self) -> None:
        self.append(batch(*[EPOCH_MS] * 4))
        self.wait(self.log.trim(3))
        self.assertEqual([self.wait(self.log.trim(offset)) for offset in (0, 2, 3)], [3, 3, 3])

    def test_trim_all(self) -> None:
        self.append(batch(*[EPOCH_MS] * 4))
        self.assertEqual(self.wait(self.log.trim(-1)), 4)
        self.assertEqual(self.bounds(), (4, 4))
        self.assertEqual(self.offsets(4), [])
        self.append(batch(EPOCH_MS))
        self.assertEqual(self.offsets(4), [4])

    def test_trim_outside_the_log(self) -> None:
        self.append(batch(EPOCH_MS))
        for offset in (2, -2):
            self.assertEqual(self.refusal(self.log.trim, offset), ErrorCode.OFFSET_OUT_OF_RANGE)
        self.assertEqual(self.bounds(), (0, 1))

    # Watching

    def test_watch(self) -> None:
        seen: list[int] = []
        self.log.watch(seen.append)
        self.clock.advance(0)
        self.assertEqual(seen, [])
        self.append(batch(EPOCH_MS))
        self.append(batch(EPOCH_MS, EPOCH_MS))
        self.assertEqual(seen, [batch(EPOCH_MS).size, batch(EPOCH_MS, EPOCH_MS).size])
        self.wait(self.log.trim(1))
        self.clock.advance(0)
        self.assertEqual(seen[2:], [-1])

    def test_a_listener_can_read_what_it_is_told_of(self) -> None:
        seen: list[Deferred[Any]] = []

        def listener(_: int) -> None:
            seen.append(self.log.read(0, 1000))

        self.log.watch(listener)
        self.append(batch(EPOCH_MS))
        self.log.unwatch(listener)
        self.assertEqual([offsets_in(self.wait(read)) for read in seen], [[0]])

    def test_unwatch(self) -> None:
        first: list[int] = []
        second: list[int] = []
        self.log.watch(first.append)
        self.log.watch(second.append)
        self.log.unwatch(first.append)
        self.append(batch(EPOCH_MS))
        self.assertEqual((len(first), len(second)), (0, 1))
        self.log.unwatch(first.append)
        self.log.unwatch(second.append)
        self.append(batch(EPOCH_MS))
        self.assertEqual((len(first), len(second)), (0, 1))

    def test_listeners_may_stop_while_they_are_called(self) -> None:
        seen: list[str] = []

        def once(_: int) -> None:
            seen.append("once")
            self.log.unwatch(once)

        def always(_: int) -> None:
            seen.append("always")

        self.log.watch(once)
        self.log.watch(always)
        self.append(batch(EPOCH_MS))
        self.append(batch(EPOCH_MS))
        self.assertEqual(seen, ["once", "always", "always"])
