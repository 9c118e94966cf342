"""Records on their way to SeaweedMQ: what is sent is what protobuf reads, and all of a record comes back."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kgw.engine.seaweed.codec import RecordCodec, same
from kgw.engine.seaweed.envelope import BatchFacts, header_pairs, seal, unseal
from kgw.engine.seaweed.incoming import StoredRecord, decode_entry
from kgw.engine.seaweed.log_file import LogEntry
from kgw.engine.seaweed.outgoing import RAW_AHEAD_MS, RAW_BEHIND_MS, Outgoing, Stamps, encode_batch
from kgw.errors import ErrorCode, KafkaError
from kgw.test.seaweed_records import NOW_MS, NOW_NS, messages_of, record_lists, record_value, stored
from kgw.wire.compression import CompressionType
from kgw.wire.crc32c import crc32c
from kgw.wire.primitives import encode_varlong
from kgw.wire.records import NewRecord, RecordBatch, build_batch

EXAMPLES = 150


def batch_of(*records: NewRecord, **options: Any) -> RecordBatch:
    """A batch as a producer sends it."""
    return RecordBatch.parse(build_batch(list(records), **options))


def plain(value: bytes | None = b"value", key: bytes | None = None, timestamp: int = NOW_MS) -> NewRecord:
    """A record without headers."""
    return NewRecord(key, value, (), timestamp)


def encoded(batch: RecordBatch, offset: int = 0, last_ts_ns: int = 0, skip: int = 0) -> Outgoing:
    """Encode with times of its own."""
    return encode_batch(batch, offset, Stamps(last_ts_ns), NOW_NS, skip)


def come_back(batch: RecordBatch, offset: int = 0, last_ts_ns: int = 0, skip: int = 0) -> list[StoredRecord]:
    """Encode, store and decode."""
    return [decode_entry(entry) for entry in stored(encoded(batch, offset, last_ts_ns, skip).data, offset)]


class RoundTripTests(SynchronousTestCase):
    @settings(deadline=None, max_examples=EXAMPLES)
    @given(
        record_lists,
        st.sampled_from(list(CompressionType)),
        st.integers(0, 1 << 50),
        st.none() | st.integers(NOW_MS - 20_000, NOW_MS + 20_000),
        st.booleans(),
        st.integers(-20_000, 20_000),
        st.data(),
    )
    def test_everything_comes_back(
        self,
        records: list[NewRecord],
        codec: CompressionType,
        offset: int,
        append_ms: int | None,
        idempotent: bool,
        last_ms: int,
        data: st.DataObject,
    ) -> None:
        skip = data.draw(st.integers(0, len(records) - 1))
        producer = {"producer_id": 1 << 40, "producer_epoch": 7, "base_sequence": (1 << 31) - 2} if idempotent else {}
        batch = batch_of(*records, compression=codec, **producer)
        if append_ms is not None:
            batch = batch.with_timestamp_type(append_ms)
        last_ts_ns = NOW_NS + last_ms * 1_000_000
        stamps = Stamps(last_ts_ns)
        outgoing = encode_batch(batch, offset, stamps, NOW_NS, skip)
        entries = stored(outgoing.data, offset)
        self.assertEqual(outgoing.count, len(records) - skip)
        self.assertEqual(len(entries), outgoing.count)
        times = [last_ts_ns, *(entry.ts_ns for entry in entries)]
        self.assertTrue(all(a < b for a, b in pairwise(times)))
        self.assertLessEqual(times[-1], max(last_ts_ns, NOW_NS + RAW_AHEAD_MS * 1_000_000) + len(records))
        self.assertEqual(stamps.last_ts_ns, times[-1])
        wanted = [r._replace(offset=r.offset - skip + offset) for r in batch.records(1 << 30)[skip:]]
        self.assertEqual([decode_entry(entry).record() for entry in entries], wanted)
        sealed = 0
        for index, entry in enumerate(entries, skip):
            record = decode_entry(entry)
            self.assertEqual(record.is_log_append_time, append_ms is not None)
            facts = BatchFacts(1 << 40, 7, (1 << 31) - 2, len(records), skip)
            self.assertEqual(record.facts, facts if idempotent and index == skip else None)
            if record.expected_offset is not None:
                self.assertEqual(record.expected_offset, entry.offset)
                sealed += 1
            self.assertEqual(same(batch, index, entry), not (idempotent and index == 0 and skip))
        self.assertEqual(sealed, outgoing.sealed)

    def test_plain_records_are_stored_as_they_are(self) -> None:
        batch = batch_of(plain(b"a"), plain(b"b", b"key"), plain(b"c" * 500, timestamp=NOW_MS + 1))
        outgoing = encoded(batch, last_ts_ns=NOW_NS - 1)
        first = NOW_NS
        self.assertEqual(outgoing.sealed, 0)
        self.assertEqual(
            messages_of(outgoing.data),
            [(b"", b"a", first), (b"key", b"b", first + 1), (b"", b"c" * 500, (NOW_MS + 1) * 1_000_000)],
        )

    def test_what_a_message_cannot_tell_is_sealed(self) -> None:
        for record in (
            plain(None),
            plain(b""),
            plain(key=b""),
            plain(b"\xc2\x3e anything"),
            plain(timestamp=-1),
            plain(timestamp=NOW_MS - RAW_BEHIND_MS - 1),
            plain(timestamp=NOW_MS + RAW_AHEAD_MS + 1),
            NewRecord(None, b"value", (("name", None),), NOW_MS),
        ):
            self.assertEqual(encoded(batch_of(record)).sealed, 1, record)
        for record in (
            plain(b"\xc2"),
            plain(b"\xc2\x3f"),
            plain(timestamp=NOW_MS - RAW_BEHIND_MS),
            plain(timestamp=NOW_MS + RAW_AHEAD_MS),
        ):
            self.assertEqual(encoded(batch_of(record)).sealed, 0, record)

    def test_only_the_first_record_of_an_idempotent_batch_is_sealed(self) -> None:
        batch = batch_of(*[plain()] * 5, producer_id=3, producer_epoch=0, base_sequence=40)
        self.assertEqual(encoded(batch).sealed, 1)
        records = come_back(batch, 100, skip=2)
        self.assertEqual(records[0].facts, BatchFacts(3, 0, 40, 5, 2))
        self.assertEqual([record.facts for record in records[1:]], [None, None])
        self.assertEqual(records[0].expected_offset, 100)

    def test_a_time_behind_the_last_one_goes_into_the_envelope(self) -> None:
        last = (NOW_MS + 50) * 1_000_000
        (record,) = come_back(batch_of(plain()), last_ts_ns=last)
        self.assertEqual((record.timestamp, record.ts_ns), (NOW_MS, last + 1))

    def test_many_records_share_a_millisecond(self) -> None:
        batch = batch_of(*[plain(b"%d" % n, b"k") for n in range(20_000)])
        outgoing = encoded(batch)
        self.assertEqual(outgoing.sealed, 0)
        messages = messages_of(outgoing.data)
        self.assertEqual([message[2] - NOW_MS * 1_000_000 for message in messages], list(range(20_000)))
        self.assertEqual(messages[19_999][:2], (b"k", b"19999"))

    def test_a_clock_near_the_epoch(self) -> None:
        data = encode_batch(batch_of(plain(timestamp=1), plain(timestamp=2)), 0, Stamps(), 3_000_000).data
        entries = stored(data, 0, shortest=False)
        self.assertEqual([decode_entry(entry).timestamp for entry in entries], [1, 2])


class EnvelopeTests(SynchronousTestCase):
    def test_it_is_the_first_field_of_a_record_value(self) -> None:
        message: Any = record_value(seal(0, NOW_MS, 5, b"the value"))
        self.assertTrue(message.envelope.startswith(b"kg\x01"))
        self.assertTrue(message.envelope.endswith(b"the value"))
        self.assertEqual(list(message.fields), [])

    def test_columns_behind_it_are_passed_over(self) -> None:
        columns = b"\x0a\x05abcde"
        opened = unseal(seal(0, NOW_MS, 5, b"the value") + columns)
        assert opened is not None
        self.assertEqual((opened.value, opened.timestamp, opened.expected_offset), (b"the value", NOW_MS, 5))

    def test_its_bytes_are_as_documented(self) -> None:
        facts = BatchFacts(300, 2, 7, 3, 1)
        body = bytes([0x18]) + b"\x03" + b"\x05" + b"\xac\x02\x02\x07\x03\x01" + b"\x05\x02\x02a\x02b" + b"v"
        check = crc32c(body).to_bytes(4, "big")
        data = b"\xc2\x3e" + bytes([7 + len(body)]) + b"kg\x01" + check + body
        headers = b"\x02\x02a\x02b"
        self.assertEqual(seal(0, -2, 5, b"v", headers, facts), data)
        opened = unseal(data)
        assert opened is not None
        self.assertEqual((opened.timestamp, opened.facts), (-2, facts))
        self.assertEqual(header_pairs(opened.headers), (("a", b"b"),))

    def test_every_damaged_byte_is_noticed(self) -> None:
        facts = BatchFacts(300, 2, 7, 3, 1)
        data = seal(0x01, NOW_MS, 5, b"the value", b"\x02\x02a\x02b", facts)
        for place in range(5, len(data)):
            for bit in range(8):
                changed = bytearray(data)
                changed[place] ^= 1 << bit
                self.refused(bytes(changed))
        for size in range(5, len(data)):
            self.refused(data[:size])

    def test_what_another_version_wrote_is_not_guessed(self) -> None:
        self.assertIn("version 2", self.refused(b"\xc2\x3e\x10kg\x02" + bytes(13)))
        body = b"\x40" + bytes(10)
        data = b"kg\x01" + crc32c(body).to_bytes(4, "big") + body
        self.assertIn("flags 0x40", self.refused(b"\xc2\x3e" + bytes([len(data)]) + data))

    def test_sound_checksum_and_senseless_content(self) -> None:
        for body in (
            b"\x00",
            b"\x00\x80",
            b"\x00\x00" + b"\xff" * 10,
            b"\x00\x00" + b"\xff" * 9 + b"\x01",
            b"\x08\x00\x00\x05\x02",
            b"\x08\x00\x00\x02\x02\x01",
            b"\x10\x00\x00\x01\x01\x01\x01\x01",
            b"\x10\x00\x00\x01\x80\x80\x02\x01\x01\x00",
            b"\x02\x00\x00value",
        ):
            data = b"kg\x01" + crc32c(body).to_bytes(4, "big") + body
            self.refused(b"\xc2\x3e" + bytes([len(data)]) + data)
        self.refused(seal(0x01, 0, 0, b"v"), b"a key")

    def refused(self, value: bytes, key: bytes = b"") -> str:
        error: KafkaError = self.assertRaises(KafkaError, decode_entry, LogEntry(77, NOW_NS, key, value))
        self.assertEqual(error.code, ErrorCode.CORRUPT_MESSAGE)
        self.assertIn("offset 77", error.message)
        return error.message

    def test_values_of_others(self) -> None:
        for value in (
            b"\xc2",
            b"\xc2\x3e",
            b"\xc2\x3e\x80",
            b"\xc2\x3e\x02kG\x01",
            b"\x0a\x07\x0a\x01a\x12\x02\x10\x05",
        ):
            record = decode_entry(LogEntry(3, NOW_NS, b"key", value))
            self.assertEqual((record.key, record.value, record.timestamp), (b"key", value, NOW_MS))
            self.assertIsNone(record.expected_offset)
        # the Go gateway stores null as no bytes
        record = decode_entry(LogEntry(3, NOW_NS, b"", b""))
        self.assertEqual((record.key, record.value), (None, None))

    @settings(deadline=None, max_examples=EXAMPLES)
    @given(st.binary(max_size=60), st.booleans())
    def test_any_bytes(self, data: bytes, sound: bool) -> None:
        if sound:
            data = b"kg\x01" + crc32c(data).to_bytes(4, "big") + data
        try:
            decode_entry(LogEntry(0, NOW_NS, b"", b"\xc2\x3e" + bytes([len(data)]) + data))
        except KafkaError as error:
            self.assertEqual(error.code, ErrorCode.CORRUPT_MESSAGE)


class RefusalTests(SynchronousTestCase):
    def refused(self, batch: RecordBatch, code: ErrorCode = ErrorCode.INVALID_RECORD, **options: int) -> None:
        stamps = Stamps(5)
        error: KafkaError = self.assertRaises(KafkaError, encode_batch, batch, 0, stamps, NOW_NS, **options)
        self.assertEqual(error.code, code)
        self.assertEqual(stamps.last_ts_ns, 5)

    def of(self, body: bytes, count: int, base_timestamp: int = 0) -> RecordBatch:
        batch = batch_of(*[plain(timestamp=base_timestamp)] * count)
        batch.tail = batch.tail[:40] + body
        return batch

    def test_damaged_records(self) -> None:
        good = b"\x10\x00\x00\x00\x02k\x02v\x00"  # attributes, two deltas, key, value, headers
        self.assertEqual(encoded(self.of(good, 1)).count, 1)
        for bad in (
            good[:-1],
            good + b"\0",
            b"\x0e" + good[1:],
            b"\x12" + good[1:],
            b"\x10\x00\x00\x02\x02k\x02v\x00",  # offset 1
            b"\x10\x00\x00\x00\x03k\x02v\x00",  # key of length -2
            b"\x10\x00\x00\x00\x02k\x03v\x00",
            b"\x10\x00\x00\x00\x02k\x7fv\x00",
            b"\x14\x00\x00\x00\x02k\x02v\x02\x01\x00",  # header without a name
            b"\x14\x00\x00\x00\x02k\x02v\x02\x00\x03",
            b"\x14\x00\x00\x00\x02k\x02v\x7f\x00\x01",
            b"\xff" * 11 + good,
            b"\x10\x00" + b"\xff" * 12,
        ):
            self.refused(self.of(bad, 1))
        self.refused(self.of(good, 2))
        self.refused(self.of(b"", 1))
        far = encode_varlong(1 << 62)
        body = b"\x00" + far + b"\x00\x01\x02v\x00"
        self.refused(self.of(encode_varlong(len(body)) + body, 1, 1 << 62))

    @settings(deadline=None, max_examples=EXAMPLES)
    @given(record_lists, st.data())
    def test_any_damage_ends(self, records: list[NewRecord], data: st.DataObject) -> None:
        batch = batch_of(*records)
        body = bytearray(batch.tail[40:])
        for _ in range(data.draw(st.integers(1, 3))):
            body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
        batch.tail = batch.tail[:40] + bytes(body)
        try:
            entries = stored(encoded(batch).data, 0)
        except KafkaError as error:
            self.assertEqual(error.code, ErrorCode.INVALID_RECORD)
        else:
            # what it still is must be what kgw's own reader makes of it
            self.assertEqual([decode_entry(entry).record() for entry in entries], batch.records(1 << 30))

    def test_headers_of_a_batch(self) -> None:
        for name, number in (("last_offset_delta", 3), ("count", 1), ("attributes", 0x20), ("attributes", 0x10)):
            batch = batch_of(plain(), plain())
            setattr(batch, name, number)
            self.refused(batch)
        self.refused(batch_of(plain(), producer_id=1, producer_epoch=-1, base_sequence=0))
        self.refused(batch_of(plain(), producer_id=1, producer_epoch=0, base_sequence=-1))

    def test_what_is_too_much(self) -> None:
        batch = batch_of(*[plain(b"x" * 1000)] * 100)
        self.refused(batch, ErrorCode.MESSAGE_TOO_LARGE, limit=10_000)
        batch = batch_of(*[plain(b"x" * 1000)] * 100, compression=CompressionType.ZSTD)
        self.refused(batch, ErrorCode.CORRUPT_MESSAGE, limit=10_000)
        batch = batch_of(plain())
        batch.count, batch.last_offset_delta = 1 << 30, (1 << 30) - 1
        self.refused(batch, ErrorCode.MESSAGE_TOO_LARGE)

    def test_what_cannot_be_decompressed(self) -> None:
        batch = batch_of(plain(), compression=CompressionType.LZ4)
        batch.tail = batch.tail[:45] + b"nonsense"
        self.refused(batch, ErrorCode.CORRUPT_MESSAGE)
        batch.attributes = 7
        self.refused(batch, ErrorCode.CORRUPT_MESSAGE)


class SameTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.codec = RecordCodec(Stamps(NOW_NS))
        self.batch = batch_of(plain(b"a"), plain(b"b"), plain(b"c"), producer_id=1, producer_epoch=0, base_sequence=3)

    def test_an_entry_is_known_again(self) -> None:
        entries = stored(self.codec.encode(self.batch, 10, NOW_NS), 10)
        for index, entry in enumerate(entries):
            for other in range(3):
                self.assertEqual(self.codec.same(self.batch, other, entry), index == other)
        self.codec.forget()
        self.assertTrue(self.codec.same(self.batch, 2, entries[2]))

    def test_whatever_differs_makes_another_record(self) -> None:
        headers = (("h", b"1"),)
        for record, other in (
            (plain(b"a"), plain(b"b")),
            (plain(key=None), plain(key=b"")),
            (plain(None), plain(b"")),
            (plain(), plain(timestamp=NOW_MS - 1)),
            (NewRecord(None, b"a", headers, NOW_MS), NewRecord(None, b"a", (("h", b"2"),), NOW_MS)),
        ):
            (entry,) = stored(encoded(batch_of(record)).data, 0)
            self.assertTrue(self.codec.same(batch_of(record), 0, entry))
            self.assertFalse(self.codec.same(batch_of(other), 0, entry))
        (entry,) = stored(encoded(batch_of(plain())).data, 0)
        self.assertFalse(self.codec.same(batch_of(plain()).with_timestamp_type(NOW_MS), 0, entry))

    def test_another_batch_of_a_producer_is_another_one(self) -> None:
        entry = stored(self.codec.encode(self.batch, 10, NOW_NS), 10)[0]
        again = batch_of(plain(b"a"), plain(b"b"), plain(b"c"), producer_id=1, producer_epoch=0, base_sequence=6)
        self.assertFalse(self.codec.same(again, 0, entry))
        self.assertFalse(self.codec.same(batch_of(plain(b"a")), 0, entry))

    def test_damage_is_no_record(self) -> None:
        entry = stored(self.codec.encode(self.batch, 10, NOW_NS), 10)[0]
        self.assertFalse(self.codec.same(self.batch, 0, entry._replace(value=entry.value[:-1])))

    def test_a_check_gives_no_time(self) -> None:
        self.codec.check(self.batch, NOW_NS)
        self.assertEqual(self.codec.stamps.last_ts_ns, NOW_NS)
        self.batch.count = 2
        self.assertRaises(KafkaError, self.codec.check, self.batch, NOW_NS)
