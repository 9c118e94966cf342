"""Produce: what is stored, and what each wrong batch is answered."""

from __future__ import annotations

import gc
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from kgw.errors import ErrorCode, KafkaError
from kgw.handlers.produce import API, Request, RequestPartition, RequestTopic, Response, ResponsePartition
from kgw.model import Appended
from kgw.test.stage import START, Stage
from kgw.wire.compression import CompressionType
from kgw.wire.records import RecordBatch, build_batch

NOW = int(START * 1000)


def batch(*values: bytes | None, timestamp: int = NOW, key: bytes | None = b"k", **fields: Any) -> bytes:
    """A batch of these values, as a producer sends it."""
    return build_batch([(key, value, (("h", None),), timestamp) for value in values], **fields)


class ProduceTests(SynchronousTestCase):
    """Requests on one topic C{t} with two partitions."""

    def setUp(self) -> None:
        """The services and the topic."""
        self.stage = Stage(self)
        self.topic = self.stage.create("t", 2)

    def request(self, *partitions: tuple[int, bytes | None], acks: int = -1, name: str = "t") -> Request:
        """A request with these records by partition."""
        data = [RequestPartition(index, records) for index, records in partitions]
        return Request(acks=acks, timeout_ms=1000, topic_data=[RequestTopic(name, self.topic.id, data)])

    def produce(self, records: bytes | None, version: int = 11) -> ResponsePartition:
        """The answer's row for one batch to C{t}-0."""
        response: Response = self.stage.call(API, version, self.request((0, records)))
        return response.responses[0].partition_responses[0]

    def refused(self, records: bytes | None, code: ErrorCode, version: int = 11) -> ResponsePartition:
        """The row of a batch that must be refused with C{code}, and leave the log as it is."""
        log = self.stage.engine.partition("t", 0)
        before = self.successResultOf(log.bounds())
        row = self.produce(records, version)
        self.assertEqual((ErrorCode(row.error_code), row.base_offset), (code, -1))
        self.assertEqual(self.successResultOf(log.bounds()), before)
        return row

    def stored(self, partition: int = 0) -> list[RecordBatch]:
        """The batches in a log."""
        log = self.stage.engine.partition("t", partition)
        data = b"".join(self.successResultOf(log.read(0, 1 << 20)).records)
        batches, at = [], 0
        while at < len(data):
            batches.append(RecordBatch.parse(data, at))
            at += batches[-1].size
        return batches

    def test_client_goes_away(self) -> None:
        """Appends that fail when their client has gone are told to nobody, and are no error of the program."""
        waiting: list[Deferred[Appended]] = []

        class Slow:
            config = self.stage.engine.partition("t", 0).config

            def append(self, batch: RecordBatch, acks: int = -1) -> Deferred[Appended]:
                waiting.append(Deferred())
                return waiting[-1]

        self.patch(self.stage.engine, "partition", lambda name, index: Slow())
        answer = self.stage.begin(API, 11, self.request((0, batch(b"a")), (1, batch(b"b"))))
        self.assertNoResult(answer)
        answer.cancel()
        self.failureResultOf(answer, CancelledError)
        for one in waiting:
            if not one.called:
                one.errback(KafkaError(ErrorCode.NOT_LEADER_OR_FOLLOWER, "another leads it"))
        del one
        waiting.clear()
        gc.collect()
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_every_version(self) -> None:
        """All served versions store a batch and tell its offset."""
        for count, version in enumerate(range(3, 14)):
            row = self.produce(batch(b"v"), version)
            self.assertEqual((row.error_code, row.base_offset), (0, count), f"v{version}")

    def test_kept_byte_for_byte(self) -> None:
        """All but the base offset and the leader epoch is stored as it was sent."""
        sent = [batch(b"a", None, b"", compression=codec) for codec in CompressionType]
        for data in sent:
            self.assertEqual(self.produce(data).error_code, 0)
        self.assertEqual([b.tail for b in self.stored()], [data[21:] for data in sent])
        self.assertEqual([b.base_offset for b in self.stored()], [0, 3, 6, 9, 12])
        self.assertTrue(all(b.crc_valid() and b.leader_epoch == 0 for b in self.stored()))

    def test_partitions_are_on_their_own(self) -> None:
        """One bad partition does not hurt the others of its request."""
        request = self.request((0, b"rubbish"), (1, batch(b"v")), (7, batch(b"v")))
        rows = self.stage.call(API, 11, request).responses[0].partition_responses
        self.assertEqual(
            [row.error_code for row in rows],
            [ErrorCode.CORRUPT_MESSAGE, ErrorCode.NONE, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION],
        )

    def test_unknown_topics(self) -> None:
        """A topic that is not there is told by name and by id."""
        row = self.stage.call(API, 11, self.request((0, batch(b"v")), name="x")).responses[0].partition_responses[0]
        self.assertEqual(row.error_code, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        request = self.request((0, batch(b"v")))
        request.topic_data[0].topic_id = b"no such topic id"
        answer = self.stage.call(API, 13, request).responses[0]
        self.assertEqual(answer.partition_responses[0].error_code, ErrorCode.UNKNOWN_TOPIC_ID)
        self.assertEqual(answer.topic_id, b"no such topic id")

    def test_old_versions(self) -> None:
        """Versions 0 to 2, promised for librdkafka's sake, are refused."""
        for version in range(3):
            failure = self.failureResultOf(self.stage.begin(API, version, self.request((0, batch(b"v")))), KafkaError)
            self.assertEqual(failure.value.code, ErrorCode.UNSUPPORTED_VERSION)
            refused = self.stage.refuse(API, version, self.request((0, batch(b"v"))), ErrorCode.UNSUPPORTED_VERSION)
            self.assertEqual(refused.responses[0].partition_responses[0].error_code, ErrorCode.UNSUPPORTED_VERSION)

    def test_acks(self) -> None:
        """acks=0 is stored and not answered, acks=1 is answered, anything else is refused."""
        self.assertIsNone(self.stage.call(API, 11, self.request((0, batch(b"v")), acks=0)))
        self.assertEqual(len(self.stored()), 1)
        self.assertIsNotNone(self.stage.call(API, 11, self.request((0, batch(b"v")), acks=1)))
        failure = self.failureResultOf(self.stage.begin(API, 11, self.request((0, batch(b"v")), acks=2)), KafkaError)
        self.assertEqual(failure.value.code, ErrorCode.INVALID_REQUIRED_ACKS)

    def test_unanswered_failure(self) -> None:
        """With acks=0 an error is raised, and cannot be answered: the connection ends."""
        request = self.request((0, b"rubbish"), acks=0)
        self.assertEqual(
            self.failureResultOf(self.stage.begin(API, 11, request), KafkaError).value.code, ErrorCode.CORRUPT_MESSAGE
        )
        self.assertIsNone(API.refuse(request, ErrorCode.CORRUPT_MESSAGE))

    def test_transactional_id(self) -> None:
        """A transactional producer is refused with an error it takes as fatal."""
        request = self.request((0, batch(b"v")))
        request.transactional_id = "tx"
        failure = self.failureResultOf(self.stage.begin(API, 11, request), KafkaError)
        self.assertEqual(failure.value.code, ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED)

    def test_form(self) -> None:
        """Null, empty, torn and doubled data, another magic and a base offset are refused."""
        good = batch(b"v")
        self.refused(None, ErrorCode.INVALID_RECORD)
        self.refused(b"", ErrorCode.INVALID_RECORD)
        self.refused(good[:-1], ErrorCode.CORRUPT_MESSAGE)
        self.refused(good + good, ErrorCode.INVALID_RECORD)
        self.refused(good[:16] + b"\1" + good[17:], ErrorCode.INVALID_RECORD)
        self.refused(batch(b"v", base_offset=3), ErrorCode.INVALID_RECORD)

    def test_crc(self) -> None:
        """A flipped bit anywhere behind the CRC is seen."""
        good = batch(b"v")
        for at in range(21, len(good)):
            self.refused(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :], ErrorCode.CORRUPT_MESSAGE)

    def test_counts_and_kinds(self) -> None:
        """A count that contradicts the offsets, control and transactional batches, negative sequences are refused."""

        def changed(at: int, raw: bytes) -> bytes:
            parsed = RecordBatch.parse(batch(b"v", b"w", producer_id=1, producer_epoch=0, base_sequence=0))
            tail = parsed.tail[: at - 21] + raw + parsed.tail[at - 21 + len(raw) :]
            made = parsed._with_tail(tail)
            return b"".join(made.buffers(0, -1))

        self.refused(changed(57, (3).to_bytes(4, "big")), ErrorCode.INVALID_RECORD)
        self.refused(changed(57, (0).to_bytes(4, "big")), ErrorCode.INVALID_RECORD)
        self.refused(changed(53, (-1).to_bytes(4, "big", signed=True)), ErrorCode.INVALID_RECORD)
        self.refused(changed(21, (0x20).to_bytes(2, "big")), ErrorCode.INVALID_RECORD)
        self.refused(changed(21, (0x10).to_bytes(2, "big")), ErrorCode.INVALID_RECORD)
        self.refused(changed(21, (0x08).to_bytes(2, "big")), ErrorCode.INVALID_TIMESTAMP)
        self.refused(changed(21, (0x05).to_bytes(2, "big")), ErrorCode.UNSUPPORTED_COMPRESSION_TYPE)

    def test_zstd_needs_version_7(self) -> None:
        """Older versions cannot carry zstd (KIP-110)."""
        data = batch(b"v", compression=CompressionType.ZSTD)
        self.refused(data, ErrorCode.UNSUPPORTED_COMPRESSION_TYPE, 6)
        self.assertEqual(self.produce(data, 7).error_code, 0)

    def configure(self, **configs: str) -> None:
        """Create C{t} anew with these configs."""
        self.successResultOf(self.stage.topics.delete("t"))
        self.topic = self.stage.create("t", 1, {name.replace("_", "."): value for name, value in configs.items()})

    def test_too_large(self) -> None:
        """max.message.bytes holds, and the answer says by how much it is missed."""
        data = batch(b"v" * 100)
        self.configure(max_message_bytes=str(len(data) - 1))
        self.assertIn(str(len(data)), self.refused(data, ErrorCode.MESSAGE_TOO_LARGE).error_message or "")
        self.configure(max_message_bytes=str(len(data)))
        self.assertEqual(self.produce(data).error_code, 0)

    def test_timestamps(self) -> None:
        """Records from the far future, or the far past where the topic minds, are named one by one."""
        hour = 3_600_000
        self.assertEqual(self.produce(batch(b"v", timestamp=NOW + hour)).error_code, 0)
        row = self.refused(batch(b"v", b"w", timestamp=NOW + hour + 1), ErrorCode.INVALID_TIMESTAMP)
        self.assertEqual([error.batch_index for error in row.record_errors], [0, 1])
        self.assertIn(str(NOW + hour), row.record_errors[0].batch_index_error_message or "")
        self.assertEqual(self.produce(batch(b"v", timestamp=0)).error_code, 0)
        self.configure(message_timestamp_before_max_ms="1000")
        self.refused(batch(b"v", timestamp=NOW - 1001), ErrorCode.INVALID_TIMESTAMP)
        self.assertEqual(self.produce(batch(b"v", timestamp=NOW - 1000)).error_code, 0)
        self.assertEqual(self.produce(batch(b"v", timestamp=-1)).error_code, 0, "no timestamp is no wrong one")

    def test_log_append_time(self) -> None:
        """The log's time replaces the producer's, and the answer tells it."""
        self.configure(message_timestamp_type="LogAppendTime")
        row = self.produce(batch(b"v", b"w", timestamp=5))
        self.assertEqual(row.log_append_time_ms, NOW)
        (stored,) = self.stored()
        self.assertTrue(stored.crc_valid() and stored.is_log_append_time)
        self.assertEqual([record.timestamp for record in stored.records(1 << 20)], [NOW, NOW])

    def test_create_time(self) -> None:
        """With CreateTime the answer tells no time."""
        self.assertEqual(self.produce(batch(b"v")).log_append_time_ms, -1)

    def test_compression_type(self) -> None:
        """The topic's compression replaces the producer's; the records stay what they were."""
        for name in ("gzip", "snappy", "lz4", "zstd", "uncompressed"):
            self.configure(compression_type=name)
            for codec in CompressionType:
                self.assertEqual(self.produce(batch(b"a" * 50, None, compression=codec)).error_code, 0)
            for stored in self.stored():
                self.assertEqual(stored.compression, CompressionType.of(name))
                self.assertTrue(stored.crc_valid())
                self.assertEqual([record.value for record in stored.records(1 << 20)], [b"a" * 50, None])

    def test_compacted_topics_want_keys(self) -> None:
        """A record without a key is named where the topic is compacted."""
        self.configure(cleanup_policy="compact")
        row = self.refused(batch(b"v", key=None), ErrorCode.INVALID_RECORD)
        self.assertEqual([error.batch_index for error in row.record_errors], [0])
        self.assertEqual(self.produce(batch(b"v")).error_code, 0)

    def test_idempotence(self) -> None:
        """A batch sent twice is stored once and answered with the first offset; a gap is refused."""

        def sent(sequence: int) -> bytes:
            return batch(b"v", b"w", producer_id=9, producer_epoch=0, base_sequence=sequence)

        self.assertEqual([self.produce(sent(0)).base_offset, self.produce(sent(0)).base_offset], [0, 0])
        self.assertEqual(len(self.stored()), 1)
        self.refused(sent(4), ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
        self.assertEqual(self.produce(sent(2)).base_offset, 2)
