"""Record batches: what clients write is read, what is written they read, and no bytes do harm."""

from __future__ import annotations

import struct
from dataclasses import fields
from typing import Any

from aiokafka.record import default_records as aiokafka_records
from hypothesis import example, given, settings
from hypothesis import strategies as st
from kafka.record import default_records as kafka_records
from twisted.trial.unittest import SynchronousTestCase

from kgw.errors import WireError
from kgw.wire.compression import CompressionType
from kgw.wire.crc32c import crc32c
from kgw.wire.primitives import encode_varlong
from kgw.wire.records import (
    BatchHeader,
    NewRecord,
    Record,
    RecordBatch,
    WrongMagic,
    build_batch,
    decode_records,
    encode_records,
    peek,
    scan,
)

MIB = 1 << 20
NOW = 1_760_000_000_000

#: Keys, values, headers and times of every kind: null, empty, of one, two and three length bytes, out of order.
SAMPLE = [
    NewRecord(b"key", b"value", (), NOW),
    NewRecord(None, None, (), NOW + 5),
    NewRecord(b"", b"", (("trace", b"\x00\x01"), ("empty", b""), ("null", None), ("Grüße", b"x" * 70)), NOW - 1),
    NewRecord(b"k" * 200, b"v" * 20_000, (("n" * 100, b"h" * 300),), NOW + 3_600_000),
    NewRecord(b"last", bytes(100_000), (), NOW + 10),
]


def expected(records: list[NewRecord], base_offset: int = 0) -> list[Record]:
    return [
        Record(base_offset + index, record.timestamp, record.key, record.value, tuple(record.headers))
        for index, record in enumerate(records)
    ]


def built_by_kafka_python(records: list[NewRecord], compression: int, **producer: Any) -> bytes:
    builder = kafka_records.DefaultRecordBatchBuilder(
        2,
        compression,
        producer.get("transactional", False),
        producer.get("producer_id", -1),
        producer.get("producer_epoch", -1),
        producer.get("base_sequence", -1),
        1 << 24,
    )
    for offset, record in enumerate(records):
        builder.append(offset, record.timestamp, record.key, record.value, list(record.headers))
    return bytes(builder.build())


def built_by_aiokafka(records: list[NewRecord], compression: int) -> bytes:
    builder = aiokafka_records.DefaultRecordBatchBuilder(2, compression, 0, -1, -1, -1, 1 << 24)
    for offset, record in enumerate(records):
        builder.append(offset, record.timestamp, record.key, record.value, list(record.headers))
    return bytes(builder.build())


def read_by(batch_class: Any, data: bytes) -> list[Record]:
    batch = batch_class(data)
    valid = batch.validate_crc()
    records = [Record(r.offset, r.timestamp, r.key, r.value, tuple(r.headers)) for r in batch]
    if not valid:
        raise AssertionError("the other implementation finds the CRC wrong")
    return records


def section(*fields: bytes) -> bytes:
    """One record of these fields, with its length in front."""
    body = b"".join(fields)
    return encode_varlong(len(body)) + body


class InteroperationTests(SynchronousTestCase):
    def test_batches_of_kafka_python_are_read(self) -> None:
        for kind in CompressionType:
            data = built_by_kafka_python(SAMPLE, kind, producer_id=9, producer_epoch=2, base_sequence=70)
            batch = RecordBatch.parse(data)
            self.assertTrue(batch.crc_valid())
            self.assertEqual(batch.compression, kind)
            self.assertEqual((batch.producer_id, batch.producer_epoch, batch.base_sequence), (9, 2, 70))
            self.assertEqual((batch.size, batch.count, batch.last_offset), (len(data), 5, 4))
            self.assertEqual(batch.max_timestamp, NOW + 3_600_000)
            self.assertEqual(batch.records(MIB), expected(SAMPLE), kind.text)

    def test_batches_of_aiokafka_are_read(self) -> None:
        for kind in CompressionType:
            batch = RecordBatch.parse(built_by_aiokafka(SAMPLE, kind))
            self.assertTrue(batch.crc_valid())
            self.assertEqual(batch.records(MIB), expected(SAMPLE), kind.text)

    def test_others_read_what_is_built(self) -> None:
        readers = (kafka_records.DefaultRecordBatch, aiokafka_records.DefaultRecordBatch)
        for kind in CompressionType:
            data = build_batch(SAMPLE, compression=kind, base_offset=1000)
            for reader in readers:
                self.assertEqual(read_by(reader, data), expected(SAMPLE, 1000), f"{kind.text} {reader}")

    def test_plain_batches_are_equal_byte_for_byte(self) -> None:
        producer: dict[str, Any] = {"producer_id": 47, "producer_epoch": 3, "base_sequence": 12, "transactional": True}
        ours = build_batch(SAMPLE, leader_epoch=0, **producer)
        theirs = RecordBatch.parse(built_by_kafka_python(SAMPLE, 0, **producer))
        self.assertEqual(ours, b"".join(theirs.buffers(0, 0)))


class RecordBatchTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.data = build_batch(SAMPLE[:3], producer_id=5, producer_epoch=1, base_sequence=0)
        self.batch = RecordBatch.parse(self.data)

    def refuse(self, data: bytes, offset: int = 0) -> WireError:
        self.assertRaises(WireError, peek, data[: offset + 61], offset)
        error: WireError = self.assertRaises(WireError, RecordBatch.parse, data, offset)
        return error

    def test_one_batch_of_many(self) -> None:
        other = build_batch(SAMPLE[3:], base_offset=3)
        frame = memoryview(b"in front" + self.data + other + b"behind")
        first = RecordBatch.parse(frame, 8)
        second = RecordBatch.parse(frame, 8 + first.size)
        self.assertEqual(b"".join(first.buffers(0, -1)), self.data)
        self.assertEqual(b"".join(second.buffers(3, -1)), other)
        self.assertIsInstance(second.tail, bytes)

    def test_offset_and_epoch_are_patched_and_the_crc_stays_valid(self) -> None:
        for reader in (kafka_records.DefaultRecordBatch, aiokafka_records.DefaultRecordBatch):
            data = b"".join(self.batch.buffers(1 << 40, 17))
            self.assertEqual(read_by(reader, data), expected(SAMPLE[:3], 1 << 40))
        patched = RecordBatch.parse(data)
        self.assertEqual((patched.base_offset, patched.leader_epoch), (1 << 40, 17))
        self.assertEqual((patched.last_offset, patched.next_offset), ((1 << 40) + 2, (1 << 40) + 3))
        self.assertTrue(patched.crc_valid())
        self.assertIs(self.batch.buffers(7, 0)[1], self.batch.tail)

    def test_every_flipped_bit_behind_the_crc_is_noticed(self) -> None:
        for place in range(17, len(self.data)):
            data = bytearray(self.data)
            data[place] ^= 1 << place % 8
            self.assertFalse(RecordBatch.parse(bytes(data)).crc_valid(), place)

    def test_attributes(self) -> None:
        batch = RecordBatch.parse(build_batch(SAMPLE, compression=4, transactional=True, control=True))
        self.assertEqual(batch.compression, CompressionType.ZSTD)
        self.assertTrue(batch.is_transactional)
        self.assertTrue(batch.is_control)
        self.assertFalse(batch.is_log_append_time or batch.has_delete_horizon)
        data = bytearray(self.data)
        data[22] |= 0x48
        batch = RecordBatch.parse(bytes(data))
        self.assertTrue(batch.is_log_append_time and batch.has_delete_horizon)
        self.assertFalse(batch.is_transactional or batch.is_control)

    def test_log_append_time(self) -> None:
        for kind in CompressionType:
            created = RecordBatch.parse(build_batch(SAMPLE, compression=kind))
            batch = created.with_timestamp_type(NOW + 99)
            self.assertTrue(batch.is_log_append_time and batch.crc_valid())
            self.assertEqual((batch.base_timestamp, batch.max_timestamp), (NOW, NOW + 99))
            self.assertEqual(batch.size, created.size)
            self.assertEqual({record.timestamp for record in batch.records(MIB)}, {NOW + 99})
            data = b"".join(batch.buffers(0, 0))
            self.assertEqual({r.timestamp for r in read_by(kafka_records.DefaultRecordBatch, data)}, {NOW + 99})
            self.assertEqual(created.max_timestamp, NOW + 3_600_000)

    def test_other_compression(self) -> None:
        for before in CompressionType:
            batch = RecordBatch.parse(
                build_batch(SAMPLE, compression=before, producer_id=8, producer_epoch=0, base_sequence=3, base_offset=6)
            )
            for after in CompressionType:
                other = batch.recompressed(after, None, MIB)
                self.assertEqual(other.compression, after)
                self.assertTrue(other.crc_valid())
                self.assertEqual(other.records(MIB), expected(SAMPLE, 6))
                self.assertEqual((other.producer_id, other.base_sequence, other.count), (8, 3, 5))
                self.assertEqual(other.size, len(b"".join(other.buffers(6, 0))))
                read_by(aiokafka_records.DefaultRecordBatch, b"".join(other.buffers(6, 0)))

    def test_records_larger_than_the_limit(self) -> None:
        for kind in CompressionType:
            batch = RecordBatch.parse(build_batch(SAMPLE, compression=kind))
            self.assertRaises(WireError, batch.records, 100_000)
            self.assertRaises(WireError, batch.recompressed, CompressionType.NONE, None, 100_000)

    def test_unknown_compression(self) -> None:
        data = bytearray(self.data)
        data[22] |= 7
        self.assertRaises(WireError, RecordBatch.parse(bytes(data)).records, MIB)

    def test_a_batch_cut_short_anywhere(self) -> None:
        for size in range(len(self.data)):
            error = self.assertRaises(WireError, RecordBatch.parse, self.data[:size])
            self.assertNotIsInstance(error, WrongMagic)
        self.assertRaises(WireError, RecordBatch.parse, self.data, len(self.data))

    def test_lengths_that_are_none(self) -> None:
        for length in (-(1 << 31), -1, 0, 48):
            self.assertIn(str(length), str(self.refuse(self.data[:8] + struct.pack(">i", length) + self.data[12:])))
        too_long = self.data[:8] + struct.pack(">i", (1 << 31) - 1) + self.data[12:]
        self.assertRaises(WireError, RecordBatch.parse, too_long)

    def test_other_formats_are_told_from_damage(self) -> None:
        for magic in (0, 1, 3, -1):
            error = self.refuse(self.data[:16] + struct.pack(">b", magic) + self.data[17:])
            self.assertIsInstance(error, WrongMagic)
            self.assertEqual(getattr(error, "magic", None), magic)
        # a message of format 1 that is shorter than a header of format 2
        old = struct.pack(">qiIbbqii", 0, 25, 0, 1, 0, NOW, -1, 3) + b"old"
        self.assertIsInstance(self.assertRaises(WireError, RecordBatch.parse, old), WrongMagic)

    def test_nothing_to_build(self) -> None:
        self.assertRaises(ValueError, build_batch, [])
        self.assertRaises(ValueError, build_batch, SAMPLE, compression=5)


class ScanTests(SynchronousTestCase):
    def test_the_header_alone(self) -> None:
        data = build_batch(SAMPLE, compression=1, base_offset=40, leader_epoch=2, producer_id=1, producer_epoch=0)
        header, batch = peek(data[:61]), RecordBatch.parse(data)
        for field in fields(BatchHeader):
            self.assertEqual(getattr(header, field.name), getattr(batch, field.name), field.name)
        self.assertEqual((header.last_offset, header.next_offset, header.size), (44, 45, len(data)))

    def test_batches_one_after_another(self) -> None:
        batches = [build_batch(SAMPLE[: n + 1], base_offset=n * 10) for n in range(4)]
        data = b"".join(batches)
        found = [(place, header.base_offset, header.count) for place, header in scan(data)]
        ends = [0, *(sum(map(len, batches[: n + 1])) for n in range(4))]
        self.assertEqual(found, [(ends[n], n * 10, n + 1) for n in range(4)])
        self.assertEqual([h.base_offset for _, h in scan(memoryview(data), ends[1], ends[3])], [10, 20])

    def test_a_torn_tail_ends_the_scan(self) -> None:
        whole, torn = build_batch(SAMPLE[:1]), build_batch(SAMPLE[:2], base_offset=1)
        for size in range(len(torn)):
            self.assertEqual(len(list(scan(whole + torn[:size]))), 1)

    def test_what_is_no_batch_is_an_error(self) -> None:
        whole = build_batch(SAMPLE[:1])
        places = scan(whole + bytes(100))
        self.assertEqual(next(places)[0], 0)
        self.assertRaises(WireError, next, places)


class DamagedRecordsTests(SynchronousTestCase):
    ATTRIBUTES, TIME, FIRST, NULL, NONE = b"\0", b"\0", b"\0", b"\1", b"\0"

    def refuse(self, data: bytes, count: int = 1, last_offset_delta: int = 0) -> None:
        self.assertRaises(WireError, decode_records, data, count, last_offset_delta)

    def test_the_least_record(self) -> None:
        data = section(self.ATTRIBUTES, self.TIME, self.FIRST, self.NULL, self.NULL, self.NONE)
        self.assertEqual(decode_records(data, 1, 0), [Record(0, 0, None, None, ())])
        for size in range(len(data)):
            self.refuse(data[:size])
        self.refuse(data + b"\0")

    def test_counts(self) -> None:
        data = encode_records(SAMPLE, NOW)
        self.assertEqual(len(decode_records(data, 5, 4, base_timestamp=NOW)), 5)
        for count in (-(1 << 31), -1, 0, 4, 6, (1 << 31) - 1):
            self.refuse(data, count, 4)
        self.assertEqual(decode_records(b"", 0, -1), [])

    def test_offset_deltas(self) -> None:
        def record(delta: int) -> bytes:
            return section(self.ATTRIBUTES, self.TIME, encode_varlong(delta), self.NULL, self.NULL, self.NONE)

        # compaction leaves gaps, at the end too
        compacted = decode_records(record(1) + record(300), 2, 400, base_offset=10)
        self.assertEqual([r.offset for r in compacted], [11, 310])
        self.refuse(record(1) + record(1), 2, 1)
        self.refuse(record(1) + record(0), 2, 1)
        self.refuse(record(0) + record(2), 2, 1)
        self.refuse(record(-1), 1, 0)
        self.assertRaises(WireError, decode_records, record(0), 1, 0, base_offset=1 << 63)

    def test_lengths(self) -> None:
        start = (self.ATTRIBUTES, self.TIME, self.FIRST)
        for length in (-2, 1, 100, 1 << 31, -(1 << 31), (1 << 63) - 1, -(1 << 63)):
            number = encode_varlong(length)
            self.refuse(number + b"".join(start) + bytes(6))
            self.refuse(section(*start, number, self.NULL, self.NONE))
            self.refuse(section(*start, self.NULL, number, self.NONE))
            self.refuse(section(*start, self.NULL, self.NULL, number))
            self.refuse(section(*start, self.NULL, self.NULL, b"\2", number, self.NULL))
            self.refuse(section(*start, self.NULL, self.NULL, b"\2", b"\2k", number))
        self.refuse(section(*start, self.NULL, self.NULL, b"\2", self.NULL, self.NULL))

    def test_a_record_may_not_reach_into_the_next(self) -> None:
        start = (self.ATTRIBUTES, self.TIME, self.FIRST, self.NULL)
        longer = b"".join((*start, encode_varlong(9), b"12345", self.NONE))
        self.refuse(encode_varlong(len(longer)) + longer + bytes(40), 2, 1)

    def test_endless_numbers(self) -> None:
        for size in (5, 10, 11, 500):
            self.refuse(b"\xff" * size + bytes(10))
            self.refuse(section(self.ATTRIBUTES, b"\xff" * size, bytes(10)))

    def test_timestamps(self) -> None:
        def at(delta: int, base: int) -> list[int]:
            data = section(self.ATTRIBUTES, encode_varlong(delta), self.FIRST, self.NULL, self.NULL, self.NONE)
            return [record.timestamp for record in decode_records(data, 1, 0, base_timestamp=base)]

        highest, lowest = (1 << 63) - 1, -(1 << 63)
        for delta, base in ((highest, 0), (lowest, 0), (-1, 0), (0, highest), (0, lowest), (lowest, highest)):
            self.assertEqual(at(delta, base), [delta + base])
        for delta, base in ((highest, 1), (1, highest), (lowest, -1), (-1, lowest)):
            self.assertRaises(WireError, at, delta, base)

    def test_header_names_that_are_not_utf8_do_not_stop_the_others(self) -> None:
        start = (self.ATTRIBUTES, self.TIME, self.FIRST, self.NULL, self.NULL)
        data = section(*start, encode_varlong(1), encode_varlong(2), b"a\xff", self.NULL)
        self.assertEqual(decode_records(data, 1, 0)[0].headers, (("a\ufffd", None),))


BLOB = st.none() | st.binary(max_size=20) | st.binary(min_size=60, max_size=140) | st.just(bytes(9000))
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
HEADERS = st.lists(st.tuples(NAMES, st.none() | st.binary(max_size=80)), max_size=3).map(tuple)
RECORDS = st.lists(
    st.builds(NewRecord, BLOB, BLOB, HEADERS, st.integers(-1, 1 << 42) | st.integers(NOW, NOW + 200)),
    min_size=1,
    max_size=8,
)


class PropertyTests(SynchronousTestCase):
    @settings(deadline=None, max_examples=150)
    @given(RECORDS, st.sampled_from(CompressionType), st.integers(0, 1 << 50))
    def test_what_is_built_is_read(self, records: list[NewRecord], kind: CompressionType, base_offset: int) -> None:
        data = build_batch(records, compression=kind, base_offset=base_offset)
        batch = RecordBatch.parse(data)
        self.assertTrue(batch.crc_valid())
        self.assertEqual(batch.records(MIB), expected(records, base_offset))
        self.assertEqual(batch.max_timestamp, max(record.timestamp for record in records))
        self.assertEqual(b"".join(batch.buffers(base_offset, -1)), data)

    @settings(deadline=None, max_examples=50)
    @given(RECORDS)
    def test_kafka_python_agrees(self, records: list[NewRecord]) -> None:
        data = build_batch(records)
        self.assertEqual(read_by(kafka_records.DefaultRecordBatch, data), expected(records))

    @settings(deadline=None, max_examples=300)
    @given(st.binary(max_size=200), st.integers(-3, 30), st.integers(-3, 30))
    @example(b"", 0, 0)
    def test_any_bytes_are_records_or_a_wire_error(self, data: bytes, count: int, last_offset_delta: int) -> None:
        try:
            records = decode_records(data, count, last_offset_delta)
        except WireError:
            return
        self.assertEqual(len(records), count)

    @settings(deadline=None, max_examples=200)
    @given(st.binary(max_size=150))
    def test_any_bytes_are_a_batch_or_a_wire_error(self, data: bytes) -> None:
        self.check(data)
        # most bytes fail at the magic; these get further
        length = struct.pack(">i", len(data) + 49)
        self.check(bytes(8) + length + bytes(4) + b"\2" + bytes(44) + data)

    @settings(deadline=None, max_examples=300)
    @given(
        RECORDS,
        st.sampled_from(CompressionType),
        st.lists(st.tuples(st.integers(0, 100_000), st.integers(1, 255)), min_size=1, max_size=3),
    )
    def test_damaged_batches_are_noticed_or_read(
        self, records: list[NewRecord], kind: CompressionType, flips: list[tuple[int, int]]
    ) -> None:
        data = bytearray(build_batch(records, compression=kind))
        for place, bits in flips:
            data[place % len(data)] ^= bits
        if bytes(data[21:]) != build_batch(records, compression=kind)[21:]:
            # as a client would that means it: the sum is right, the records are not
            data[17:21] = struct.pack(">I", crc32c(bytes(data[21:])))
        self.check(bytes(data))

    def check(self, data: bytes) -> None:
        try:
            batch = RecordBatch.parse(data)
        except WireError:
            return
        self.assertLessEqual(batch.size, len(data))
        batch.crc_valid()
        try:
            self.assertEqual(len(batch.records(MIB)), batch.count)
        except WireError:
            return
        self.assertEqual(batch.recompressed(CompressionType.ZSTD, None, MIB).records(MIB), batch.records(MIB))
        self.assertLessEqual(sum(1 for _ in scan(data[: batch.size])), 1)
