"""SeaweedMQ's log files: entries are read as protobuf reads them, and Kafka's clients read the batches made of them."""

from __future__ import annotations

import struct

from hypothesis import given, settings
from hypothesis import strategies as st
from kafka.record.default_records import DefaultRecordBatch
from twisted.trial.unittest import SynchronousTestCase

from kgw.engine.seaweed.envelope import seal
from kgw.engine.seaweed.incoming import batches_of, build_batches
from kgw.engine.seaweed.log_file import MAX_ENTRY_BYTES, LogEntry, LogSpan, count_log, parse_log
from kgw.engine.seaweed.outgoing import Stamps, encode_batch
from kgw.engine.seaweed.proto import filer_pb2
from kgw.errors import ErrorCode, KafkaError
from kgw.test.seaweed_records import NOW_MS, NOW_NS, blobs, entry_bytes, framed, log_bytes, record_lists, stored
from kgw.wire.records import NewRecord, Record, RecordBatch, build_batch

EXAMPLES = 150

entries_strategy = st.lists(
    st.builds(
        LogEntry,
        st.one_of(st.integers(0, 200), st.integers(16_000, 17_000), st.integers(0, (1 << 63) - 1)),
        st.one_of(st.integers(NOW_NS, NOW_NS + 40_000), st.integers(1, (1 << 63) - 1)),
        st.just(b"") | blobs,
        blobs,
    ),
    max_size=12,
)


def raw(offset: int, value: bytes = b"value", ts_ns: int = 0, key: bytes = b"") -> LogEntry:
    """An entry like the Go gateway's."""
    return LogEntry(offset, ts_ns or NOW_NS + offset, key, value)


def opened(batches: list[bytes]) -> list[Record]:
    """The records of batches, each of which is sound."""
    records = []
    for data in batches:
        batch = RecordBatch.parse(data)
        if batch.size != len(data) or not batch.crc_valid():
            raise AssertionError("a batch is not whole")
        found = batch.records(1 << 30)
        if batch.count != len(found) or batch.last_offset_delta != len(found) - 1:
            raise AssertionError("offsets within a batch have gaps")
        if batch.max_timestamp != max(record.timestamp for record in found):
            raise AssertionError("the max timestamp is wrong")
        records += found
    return records


class ParseTests(SynchronousTestCase):
    @settings(deadline=None, max_examples=EXAMPLES)
    @given(entries_strategy, st.integers(0, 30), st.integers(1, 5))
    def test_entries_are_read_as_protobuf_writes_them(self, entries: list[LogEntry], cut: int, most: int) -> None:
        data = log_bytes(entries)
        self.assertEqual(parse_log(data), (entries, len(data)))
        self.assertEqual(parse_log(b"front" + data, 5), (entries, len(data) + 5))
        self.assertEqual(parse_log(data, 0, most)[0], entries[:most])
        last = len(framed([entry_bytes(entry) for entry in entries[-1:]]))
        torn = data[: len(data) - min(cut, last - 1)] if cut and entries else data
        whole = entries if torn == data else entries[:-1]
        self.assertEqual(parse_log(torn), (whole, len(log_bytes(whole))))
        span = count_log(torn)
        self.assertEqual((span.count, span.consumed), (len(whole), len(log_bytes(whole))))
        if whole and not span.contiguous:
            offsets = [entry.offset for entry in whole]
            self.assertEqual((span.first_offset, span.last_offset), (min(offsets), max(offsets)))
            self.assertEqual(span.max_ts_ns, max(entry.ts_ns for entry in whole))

    def test_long_runs(self) -> None:
        # over the places where offset and time get another byte, with hashes of all lengths
        for first, key, step in (
            (100, b"", 30),
            (16_300, b"key", 1),
            (2_097_100, b"", 1_000_000),
            (268_435_400, b"another", 77_777_777),
        ):
            entries = [
                raw(first + n, b"v" * (n % 300), NOW_NS + n * step, key + b"%d" % n if key else b"") for n in range(700)
            ]
            data = log_bytes(entries)
            self.assertEqual(parse_log(data), (entries, len(data)))
            self.assertEqual(count_log(data), LogSpan(first, first + 699, NOW_NS + 699 * step, 700, len(data)))

    @settings(deadline=None, max_examples=EXAMPLES)
    @given(st.integers(-(1 << 31), (1 << 31) - 1), st.integers(0, 1 << 20), st.binary(max_size=3))
    def test_any_hash(self, number: int, offset: int, value: bytes) -> None:
        data = framed(
            [
                filer_pb2.LogEntry(
                    ts_ns=NOW_NS + n, partition_key_hash=number, data=value, offset=offset + n
                ).SerializeToString()
                for n in range(4)
            ]
        )
        self.assertEqual(parse_log(data)[0], [LogEntry(offset + n, NOW_NS + n, b"", value) for n in range(4)])

    def test_fields_in_any_order_and_new_ones(self) -> None:
        whole = entry_bytes(raw(300, b"value", key=b"key"))
        other = filer_pb2.LogEntry(offset=300).SerializeToString()
        fields = b"\x22\x03key" + other + b"\x7a\x02??\x71" + bytes(8) + b"\x75" + bytes(4) + b"\x78\x01\x1a\x05value"
        mixed = fields + whole[:10]
        self.assertEqual(parse_log(framed([whole, mixed, whole]))[0], [raw(300, b"value", key=b"key")] * 3)

    def test_spans_that_are_not_contiguous(self) -> None:
        data = log_bytes([raw(5), raw(6), raw(9), raw(7)])
        span = count_log(data)
        self.assertEqual(span, LogSpan(5, 9, NOW_NS + 9, 4, len(data)))
        self.assertFalse(span.contiguous)
        self.assertEqual(count_log(b"\0\0"), LogSpan(-1, -1, -1, 0, 0))

    def test_damage_is_told(self) -> None:
        good = log_bytes([raw(500), raw(501)])
        for bad in (
            bytes(8),
            struct.pack(">I", MAX_ENTRY_BYTES + 1) + bytes(40),
            framed([b"\x08"]),
            framed([b"\x08\x01\x1a\x05abc"]),
            framed([b"\x08\x01\x0b"]),
            framed([b"\x08" + b"\xff" * 9 + b"\x01"]),
            framed([b"\x08\x01\x28" + b"\xff" * 9 + b"\x01"]),
            framed([b"\x08\x01\x71abc"]),
        ):
            for front in (b"", good):
                error: KafkaError = self.assertRaises(KafkaError, parse_log, front + bad + good)
                self.assertEqual(error.code, ErrorCode.CORRUPT_MESSAGE)
                self.assertIn(f"byte {len(front)}", error.message)

    @settings(deadline=None, max_examples=EXAMPLES)
    @given(entries_strategy, st.data())
    def test_damage_reads_as_protobuf_or_not_at_all(self, entries: list[LogEntry], data: st.DataObject) -> None:
        entries = [raw(1000), raw(1001), *entries]
        pieces = [bytearray(entry_bytes(entry)) for entry in entries]
        for _ in range(data.draw(st.integers(1, 4))):
            piece = data.draw(st.sampled_from(pieces))
            piece[data.draw(st.integers(0, len(piece) - 1))] = data.draw(st.integers(0, 255))
        try:
            found, _ = parse_log(framed([bytes(piece) for piece in pieces]))
        except KafkaError:
            return
        for piece, entry in zip(pieces, found, strict=True):
            message = filer_pb2.LogEntry.FromString(bytes(piece))
            self.assertEqual(entry, (message.offset, message.ts_ns, message.key, message.data))

    @settings(deadline=None, max_examples=EXAMPLES)
    @given(st.binary(max_size=200))
    def test_any_bytes_end(self, data: bytes) -> None:
        for read in (parse_log, count_log, batches_of):
            try:
                read(data)
            except KafkaError as error:
                self.assertEqual(error.code, ErrorCode.CORRUPT_MESSAGE)


class BatchTests(SynchronousTestCase):
    @settings(deadline=None, max_examples=EXAMPLES)
    @given(
        st.lists(st.tuples(record_lists, st.none() | st.integers(NOW_MS - 9_000, NOW_MS + 90)), min_size=1, max_size=4),
        st.one_of(st.integers(0, 300), st.integers(0, 1 << 50)),
        st.sampled_from([1, 200, 1 << 20]),
        st.integers(0, 12),
    )
    def test_produced_records_are_consumed(
        self, sent: list[tuple[list[NewRecord], int | None]], offset: int, batch_bytes: int, ahead: int
    ) -> None:
        stamps, now_ns = Stamps(), NOW_NS
        entries: list[LogEntry] = []
        wanted: list[Record] = []
        types: list[bool] = []
        for records, append_ms in sent:
            batch = RecordBatch.parse(build_batch(records))
            if append_ms is not None:
                batch = batch.with_timestamp_type(append_ms)
            place = offset + len(entries)
            entries += stored(encode_batch(batch, place, stamps, now_ns).data, place)
            wanted += [record._replace(offset=record.offset + place) for record in batch.records(1 << 30)]
            types += [append_ms is not None] * len(records)
            now_ns += 1_000
        data = log_bytes(entries)
        ahead = min(ahead, len(entries))
        found = batches_of(data, offset + ahead, leader_epoch=6, batch_bytes=batch_bytes)
        self.assertEqual(opened(found.batches), wanted[ahead:])
        self.assertEqual((found.next_offset, found.consumed, found.damage), (offset + len(entries), len(data), None))
        theirs: list[Record] = []
        found_types: list[bool] = []
        for built in found.batches:
            self.assertEqual(RecordBatch.parse(built).leader_epoch, 6)
            batch_of_theirs = DefaultRecordBatch(built)
            self.assertTrue(batch_of_theirs.validate_crc())
            for r in batch_of_theirs:
                theirs.append(Record(r.offset, r.timestamp, r.key, r.value, tuple(r.headers)))
                found_types.append(r.timestamp_type == 1)
        self.assertEqual(theirs, wanted[ahead:])
        self.assertEqual(found_types, types[ahead:])
        self.assertEqual(
            build_batches([entries], offset + ahead, leader_epoch=6, batch_bytes=batch_bytes).batches, found.batches
        )

    def test_sizes(self) -> None:
        data = log_bytes([raw(n, b"v" * 1000) for n in range(2_000)])
        found = batches_of(data, batch_bytes=100_000)
        self.assertEqual(len(opened(found.batches)), 2_000)
        self.assertEqual({len(batch) // 1000 for batch in found.batches[:-1]}, {100})
        large = batches_of(log_bytes([raw(7, bytes(300_000)), raw(8)]), batch_bytes=1000)
        self.assertEqual([len(batch) > 300_000 for batch in large.batches], [True, False])

    def test_many_records_of_one_batch(self) -> None:
        entries = [raw(n, b"v%d" % n, NOW_NS + n * 1_000, b"k" * (n % 200)) for n in range(20_000)]
        (batch,) = batches_of(log_bytes(entries), batch_bytes=1 << 30).batches
        wanted = [Record(e.offset, e.ts_ns // 1_000_000, e.key or None, e.value, ()) for e in entries]
        self.assertEqual(opened([batch]), wanted)

    def test_gaps_and_offsets_given_twice(self) -> None:
        data = log_bytes([raw(3, b"a"), raw(4, b"b"), raw(8, b"c"), raw(4, b"d"), raw(8, b"e"), raw(9, b"f")])
        found = batches_of(data)
        self.assertEqual(
            [(r.offset, r.value) for r in opened(found.batches)], [(3, b"a"), (4, b"b"), (8, b"c"), (9, b"f")]
        )
        self.assertEqual([RecordBatch.parse(batch).base_offset for batch in found.batches], [3, 8])
        self.assertEqual(found.next_offset, 10)

    def test_timestamps_too_far_apart_for_one_batch(self) -> None:
        low, high = -(1 << 63), (1 << 63) - 1
        values = [seal(1, time, n, b"v") for n, time in enumerate((low, high, low, -1, high))]
        found = batches_of(log_bytes([raw(n, value) for n, value in enumerate(values)]))
        self.assertEqual([record.timestamp for record in opened(found.batches)], [low, high, low, -1, high])

    def test_nothing_to_read(self) -> None:
        data = log_bytes([raw(3), raw(4)])
        for some, first in ((b"", 7), (data, 5), (data[:10], 3)):
            found = batches_of(some, first)
            self.assertEqual((found.batches, found.next_offset), ([], first))
        found = batches_of(data[:-1], 3)
        self.assertEqual((found.next_offset, found.consumed), (4, len(log_bytes([raw(3)]))))

    def test_what_is_before_damage_is_served(self) -> None:
        sound = [raw(n) for n in range(600)]
        damaged = raw(600, seal(1, NOW_MS, 600, b"value")[:-1])
        for broken, behind in (
            (log_bytes([damaged]), log_bytes([raw(601)])),
            (framed([b"\x08\x01\x0b"]), log_bytes([raw(601)])),
            (struct.pack(">I", 1 << 31), b"anything"),
        ):
            data = log_bytes(sound) + broken + behind
            found = batches_of(data)
            self.assertEqual([record.offset for record in opened(found.batches)], list(range(600)))
            self.assertEqual(found.next_offset, 600)
            assert found.damage is not None
            self.assertEqual(found.damage.code, ErrorCode.CORRUPT_MESSAGE)
            error: KafkaError = self.assertRaises(KafkaError, batches_of, data, 600)
            self.assertEqual(error.code, ErrorCode.CORRUPT_MESSAGE)
        # records behind a damaged one can be read where the entries themselves are sound
        data = log_bytes([*sound, damaged, raw(601)])
        self.assertEqual([record.offset for record in opened(batches_of(data, 601).batches)], [601])
