"""Columns beside records in SeaweedMQ: they are stored, sent again with what is sent again, and never read back."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from kgw.engine.seaweed.codec import same
from kgw.engine.seaweed.envelope import STAND_IN
from kgw.engine.seaweed.incoming import batches_of, decode_entry
from kgw.engine.seaweed.outgoing import Stamps, encode_batch
from kgw.engine.seaweed.tables import SeaweedTables
from kgw.engine.seaweed.topic_file import TopicFile
from kgw.errors import ErrorCode, KafkaError
from kgw.schema.columns import Column, ListOf, RecordOf, Scalar
from kgw.test.partition_stage import PartitionStage
from kgw.test.seaweed_log_stage import log_entry
from kgw.test.seaweed_records import NOW_MS, NOW_NS, messages_of, record_lists, record_value, stored
from kgw.wire.compression import CompressionType
from kgw.wire.records import NewRecord, RecordBatch, build_batch

SEVEN = b"\x0a\x07\x0a\x01n\x12\x02\x10\x07"


def batch_of(*records: NewRecord, **options: Any) -> RecordBatch:
    """A batch as a producer sends it."""
    return RecordBatch.parse(build_batch(list(records), **options))


def plain(value: bytes | None = b"value", key: bytes | None = b"key") -> NewRecord:
    """A record of now."""
    return NewRecord(key, value, (), NOW_MS)


class StoredTests(SynchronousTestCase):
    """What is written and what is read back of it."""

    @settings(deadline=None, max_examples=100)
    @given(record_lists, st.sampled_from(list(CompressionType)), st.booleans(), st.data())
    def test_records_come_back_whatever_is_beside_them(
        self, records: list[NewRecord], codec: CompressionType, idempotent: bool, data: st.DataObject
    ) -> None:
        producer = {"producer_id": 1 << 40, "producer_epoch": 7, "base_sequence": 3} if idempotent else {}
        batch = batch_of(*records, compression=codec, **producer)
        some = st.none() | st.binary(max_size=40)
        columns = data.draw(st.lists(some, min_size=len(records), max_size=len(records)))
        skip = data.draw(st.integers(0, len(records) - 1))
        entries = stored(encode_batch(batch, 50, Stamps(), NOW_NS, skip, columns=columns).data, 50)
        wanted = [one._replace(offset=one.offset - skip + 50) for one in batch.records(1 << 30)[skip:]]
        self.assertEqual([decode_entry(entry).record() for entry in entries], wanted)
        for index, entry in enumerate(entries, skip):
            fields = columns[index]
            if fields is not None:
                self.assertTrue(entry.key)
                self.assertTrue(entry.value.endswith(fields))
            self.assertTrue(same(batch, index, entry) or (idempotent and index == 0 and skip > 0))
        files = b"".join(log_entry(one.offset, one.value, one.ts_ns, one.key) for one in entries)
        read = [record for one in batches_of(files, 50).batches for record in RecordBatch.parse(one).records(1 << 30)]
        self.assertEqual(read, wanted)

    def test_the_engine_reads_a_row(self) -> None:
        batch = batch_of(plain(), plain(key=None), plain(key=b""), plain())
        messages = messages_of(encode_batch(batch, 0, Stamps(), NOW_NS, columns=[SEVEN, SEVEN, SEVEN, None]).data)
        self.assertEqual([key for key, _, _ in messages], [b"key", STAND_IN, STAND_IN, b"key"])
        for _, value, _ in messages[:3]:
            row: Any = record_value(value)
            self.assertTrue(row.envelope.endswith(b"value"))
            self.assertEqual(list(row.fields), [SEVEN[2:]])
        # what has no row is stored as without columns at all
        self.assertEqual(messages[3][1], b"value")

    @settings(deadline=None, max_examples=60)
    @given(
        st.lists(st.tuples(st.sampled_from([b"key", b"", None]), st.none() | st.binary(max_size=300), st.booleans())),
        st.data(),
    )
    def test_many_of_one_time(self, rows: list[tuple[bytes | None, bytes | None, bool]], data: st.DataObject) -> None:
        """Envelopes that are much alike are read faster, and damage in one is seen all the same."""
        records = [NewRecord(key, value, (), NOW_MS) for key, value, _ in rows] + [plain()]
        columns = [SEVEN if beside else None for _, _, beside in rows] + [SEVEN]
        first = data.draw(st.sampled_from([0, 100, 20_000, 3_000_000, 1 << 40]))
        entries = stored(encode_batch(batch_of(*records), first, Stamps(), NOW_NS, columns=columns).data, first)
        wanted = [NewRecord(one.key, one.value, (), NOW_MS) for one in records]

        def read(files: bytes) -> list[NewRecord]:
            found: list[NewRecord] = []
            for one in batches_of(files, first).batches:
                for each in RecordBatch.parse(one).records(1 << 30):
                    found.append(NewRecord(each.key, each.value, (), each.timestamp))
            return found

        self.assertEqual(
            read(b"".join(log_entry(one.offset, one.value, one.ts_ns, one.key) for one in entries)), wanted
        )
        at = data.draw(st.integers(7, len(entries[-1].value) - len(SEVEN) - 1))
        damaged = bytearray(entries[-1].value)
        damaged[at] ^= 1
        entries[-1] = entries[-1]._replace(value=bytes(damaged))
        files = b"".join(log_entry(one.offset, one.value, one.ts_ns, one.key) for one in entries)
        if rows:
            self.assertEqual(read(files), wanted[:-1])
        else:
            self.assertRaises(KafkaError, read, files)

    def test_as_many_as_records(self) -> None:
        self.assertRaises(ValueError, encode_batch, batch_of(plain()), 0, Stamps(), NOW_NS, columns=[None, None])


class PublishedTests(SynchronousTestCase):
    """Columns of batches that are sent more than once."""

    def test_what_is_sent_again_has_its_columns(self) -> None:
        stage = PartitionStage()
        batch = batch_of(*[plain(b"%d" % number) for number in range(4)])
        stage.broker.takes = 2
        waiting = stage.log.append(batch, 1, [SEVEN] * 4)
        stage.broker.takes = None
        stage.clock.pump([1.0] * 20)
        self.assertEqual(self.successResultOf(waiting).base_offset, 0)
        values = [value for _, value, _ in stage.broker.records]
        self.assertEqual(len(values), 4)
        for value in values:
            self.assertTrue(value.endswith(SEVEN))


class StubBroker:
    """
    @ivar types: the columns and the format of each engine topic.
    @ivar asked: how often something was declared.
    """

    def __init__(self) -> None:
        self.types: dict[str, tuple[RecordOf, str]] = {}
        self.asked = 0

    def declared(self, topic: str) -> Deferred[tuple[RecordOf, str]]:
        """See L{Declaring.declared}."""
        return succeed(self.types.get(topic, (RecordOf(), "")))

    def declare(self, topic: str, columns: RecordOf, format: str) -> Deferred[list[str]]:
        """See L{Declaring.declare}."""
        self.asked += 1
        self.types[topic] = columns, format
        return succeed(["n"])


NUMBER = RecordOf((Column("n", Scalar.INT32, True), Column("tags", ListOf(Scalar.STRING))))


class TablesTests(SynchronousTestCase):
    """A Kafka topic and its engine topics."""

    def test_all_of_them(self) -> None:
        broker = StubBroker()
        tables = SeaweedTables(broker, lambda topic: [topic, f"{topic}.p1"])
        self.assertEqual(self.successResultOf(tables.declare("t", NUMBER, "AVRO")), ["n"])
        self.assertEqual(broker.types, {"t": (NUMBER, "AVRO"), "t.p1": (NUMBER, "AVRO")})

    def test_those_that_are_added(self) -> None:
        broker = StubBroker()
        tables = SeaweedTables(broker, lambda topic: [topic])
        self.successResultOf(tables.spread(["t", "t.p1"]))
        self.assertEqual(broker.asked, 0)
        broker.types["t"] = NUMBER, "AVRO"
        self.successResultOf(tables.spread(["t", "t.p1", "t.p2"]))
        self.assertEqual(broker.types["t.p2"], (NUMBER, "AVRO"))


def conf(**more: Any) -> bytes:
    """A C{topic.conf} of one partition."""
    partition = {"ringSize": 2520, "rangeStop": 2520, "unixTimeNs": "5"}
    return json.dumps({"brokerPartitionAssignments": [{"partition": partition}], **more}).encode()


class TopicFileTests(SynchronousTestCase):
    """C{topic.conf}, and what is sent back of it."""

    def test_a_topic_of_bytes(self) -> None:
        value = {"name": "_value", "type": {"scalarType": "BYTES"}}
        for found in (conf(), conf(messageRecordType=None), conf(messageRecordType={"fields": [value]})):
            self.assertEqual(TopicFile.read("t", found).columns(), RecordOf())

    def test_columns_of_others(self) -> None:
        found = conf(messageRecordType={"fields": [{"name": "at", "type": {"scalarType": "TIMESTAMP"}}]})
        error: KafkaError = self.assertRaises(KafkaError, TopicFile.read("t", found).columns)
        self.assertEqual(error.code, ErrorCode.INVALID_CONFIG)

    def test_nonsense(self) -> None:
        for content in (b"", b"[]", b"{}", b"[" * 100_000):
            error: KafkaError = self.assertRaises(KafkaError, TopicFile.read, "t", content)
            self.assertEqual(error.code, ErrorCode.KAFKA_STORAGE_ERROR)

    def test_everything_is_sent_back(self) -> None:
        kept = conf(retention={"retentionSeconds": "60", "enabled": True}, keyColumns=["n"])
        request = TopicFile.read("t", kept).request("t", NUMBER, "AVRO")
        self.assertEqual((request.partition_count, request.schema_format), (1, "AVRO"))
        self.assertEqual((request.retention.retention_seconds, request.retention.enabled), (60, True))
        self.assertEqual(list(request.key_columns), ["n"])
        names = [(field.name, field.field_index, field.is_required) for field in request.message_record_type.fields]
        self.assertEqual(names, [("n", 0, True), ("tags", 1, False)])
