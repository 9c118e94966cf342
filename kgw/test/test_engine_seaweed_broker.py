"""The broker's calls on a real one, and what it must never be asked."""

from __future__ import annotations

import json
import time
from itertools import count
from typing import Any
from uuid import uuid4

import grpc
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from kgw.engine.bridge import InlineBridge
from kgw.engine.seaweed.broker import (
    RING_SIZE,
    ROOT,
    Broker,
    PartitionRange,
    check_name,
    partition_directory,
    partition_message,
    topic_directory,
    topic_message,
)
from kgw.engine.seaweed.calls import Calls
from kgw.engine.seaweed.errors import EngineUnavailable
from kgw.engine.seaweed.filer import Filer
from kgw.engine.seaweed.proto import mq_broker_pb2, mq_schema_pb2
from kgw.errors import ErrorCode, KafkaError
from kgw.schema.columns import Column, ListOf, RecordOf, Scalar
from kgw.schema.record_type import record_type
from kgw.test.seaweed import engine


class BrokerTests(SynchronousTestCase):
    """L{Broker} on a real broker."""

    def setUp(self) -> None:
        self.engine = engine()
        calls = Calls(InlineBridge(), None, timeout_s=20.0)
        self.addCleanup(calls.stop)
        self.filer = Filer(calls, lambda: self.engine.filer, lambda: self.engine.filer_http)
        self.addCleanup(self.filer.stop)
        self.broker = Broker(calls, self.filer, lambda: self.engine.broker)
        self.topic = f"t-{uuid4().hex[:12]}"

    def conf(self) -> dict[str, Any]:
        """What C{topic.conf} says."""
        entry = self.successResultOf(self.filer.lookup(topic_directory(self.topic), "topic.conf"))
        assert entry is not None
        found: dict[str, Any] = json.loads(entry.content)
        return found

    def declare(self, *columns: Column, format: str = "AVRO") -> list[str]:
        """Declare columns."""
        found: list[str] = self.successResultOf(self.broker.declare(self.topic, RecordOf(columns), format))
        return found

    def test_columns_are_added_and_all_else_stays(self) -> None:
        """The partitions keep their generation, and what was published its offsets."""
        partition, _ = made = self.successResultOf(self.broker.configure_topic(self.topic, 2))
        self.publish(partition, [b"a", b"b"])
        assigned = self.conf()["brokerPartitionAssignments"]
        self.assertEqual(self.successResultOf(self.broker.declared(self.topic)), (RecordOf(), ""))
        number, text = Column("n", Scalar.INT32, True), Column("text", Scalar.STRING, True)
        self.assertEqual(self.declare(number), [])
        self.assertEqual(self.successResultOf(self.broker.declared(self.topic)), (RecordOf((number,)), "AVRO"))
        address = Column("address", RecordOf((Column("lines", ListOf(Scalar.STRING)),)))
        self.assertEqual(self.declare(Column("n", Scalar.INT64, True), text, address, format="JSON_SCHEMA"), [])
        self.assertEqual(self.declare(Column("n", Scalar.BYTES)), ["n"])
        wanted = RecordOf((Column("n", Scalar.INT64), Column("text", Scalar.STRING), address))
        self.assertEqual(self.successResultOf(self.broker.declared(self.topic)), (wanted, "AVRO"))
        self.assertEqual(self.conf()["brokerPartitionAssignments"], assigned)
        self.assertEqual(self.successResultOf(self.broker.existing(self.topic)), made)
        self.assertEqual(self.publish(partition, [b"c"]), [2])

    def test_what_others_configured_goes_along(self) -> None:
        """Retention, and the columns that make the key."""
        self.successResultOf(self.broker.configure_topic(self.topic, 1))
        typed = mq_schema_pb2.RecordType.FromString(record_type(RecordOf((Column("k", Scalar.STRING),))))
        request = mq_broker_pb2.ConfigureTopicRequest(
            topic=topic_message(self.topic),
            partition_count=1,
            retention=mq_broker_pb2.TopicRetention(retention_seconds=3600, enabled=True),
            message_record_type=typed,
            key_columns=["k"],
            schema_format="PROTOBUF",
        )
        with grpc.insecure_channel(self.engine.broker) as channel:
            channel.unary_unary("/messaging_pb.SeaweedMessaging/ConfigureTopic")(
                request.SerializeToString(), timeout=20
            )
        before = self.conf()
        self.declare(Column("n", Scalar.INT32))
        after = self.conf()
        self.assertEqual([field["name"] for field in after["messageRecordType"]["fields"]], ["k", "n"])
        for name in ("retention", "keyColumns", "schemaFormat", "brokerPartitionAssignments"):
            self.assertEqual(after[name], before[name], name)

    def publish(self, partition: PartitionRange, values: list[bytes]) -> list[int]:
        """Publish over a stream that is closed then, which flushes; the offsets that were assigned."""
        init = mq_broker_pb2.PublishMessageRequest.InitMessage(
            topic=topic_message(self.topic), partition=partition_message(partition), publisher_name="test"
        )
        requests = [mq_broker_pb2.PublishMessageRequest(init=init)]
        stamps = count(time.time_ns())
        for value in values:
            data = mq_broker_pb2.DataMessage(key=b"k", value=value, ts_ns=next(stamps))
            requests.append(mq_broker_pb2.PublishMessageRequest(data=data))
        with grpc.insecure_channel(self.engine.broker) as channel:
            call = channel.stream_stream("/messaging_pb.SeaweedMessaging/PublishMessage")
            answers = call(iter([request.SerializeToString() for request in requests]), timeout=20)
            _hello, *acks = [mq_broker_pb2.PublishMessageResponse.FromString(answer) for answer in answers]
        self.assertEqual([ack.error for ack in acks], [""] * len(values))
        return [ack.assigned_offset for ack in acks]

    def test_configure(self) -> None:
        """A topic gets its ranges of the ring, all of one generation; asking again changes nothing."""
        self.assertIsNone(self.successResultOf(self.broker.existing(self.topic)))
        made = self.successResultOf(self.broker.configure_topic(self.topic, 3))
        self.assertEqual([(p.start, p.stop) for p in made], [(0, 840), (840, 1680), (1680, 2520)])
        self.assertEqual(len({p.unix_time_ns for p in made}), 1)
        self.assertEqual(self.successResultOf(self.broker.configure_topic(self.topic, 3)), made)
        self.assertEqual(self.successResultOf(self.broker.existing(self.topic)), made)

    def test_other_count(self) -> None:
        """Another count would begin the topic anew, so it is refused before the engine hears of it."""
        made = self.successResultOf(self.broker.configure_topic(self.topic, 1))
        error = self.failureResultOf(self.broker.configure_topic(self.topic, 2), KafkaError).value
        self.assertEqual(error.code, ErrorCode.INVALID_PARTITIONS)
        self.assertEqual(self.successResultOf(self.broker.existing(self.topic)), made)

    def test_configuration_that_is_not_understood(self) -> None:
        """A topic.conf of some other kind is not taken for a topic that is not there."""
        self.addCleanup(lambda: self.successResultOf(self.filer.delete(ROOT, self.topic, recursive=True)))
        for content in (b"{}", b"[]", b"not JSON", b'{"brokerPartitionAssignments": [{}]}'):
            self.successResultOf(self.filer.put(topic_directory(self.topic), "topic.conf", content))
            error = self.failureResultOf(self.broker.configure_topic(self.topic, 1), KafkaError).value
            self.assertEqual(error.code, ErrorCode.KAFKA_STORAGE_ERROR)

    def test_leader(self) -> None:
        """The only broker leads; what is not there is led by nobody."""
        self.successResultOf(self.broker.configure_topic(self.topic, 2))
        self.assertEqual(self.successResultOf(self.broker.leader(self.topic, 1)), self.engine.broker)
        for index in (2, -1):
            self.failureResultOf(self.broker.leader(self.topic, index), EngineUnavailable)

    def test_fetch(self) -> None:
        """What was published is fetched by offset, in parts; beyond the end there is nothing."""
        (partition,) = self.successResultOf(self.broker.configure_topic(self.topic, 1))
        self.assertEqual(self.successResultOf(self.broker.high_watermark(self.topic, partition)), 0)
        empty = self.successResultOf(self.broker.fetch(self.topic, partition, 0, 10, 1000))
        self.assertEqual(empty, ([], 0, 0))
        values = [b"v%d" % number for number in range(5)]
        self.assertEqual(self.publish(partition, values[:3]), [0, 1, 2])
        self.assertEqual(self.publish(partition, values[3:]), [3, 4])
        self.assertEqual(self.successResultOf(self.broker.high_watermark(self.topic, partition)), 5)
        fetched: list[bytes] = []
        while len(fetched) < 5:
            found = self.successResultOf(self.broker.fetch(self.topic, partition, len(fetched), 2, 1000))
            self.assertTrue(1 <= len(found.messages) <= 2)
            self.assertEqual(found.next_offset, len(fetched) + len(found.messages))
            self.assertEqual([key for key, _, _ in found.messages], [b"k"] * len(found.messages))
            fetched += [value for _, value, _ in found.messages]
        self.assertEqual(fetched, values)
        beyond = self.successResultOf(self.broker.fetch(self.topic, partition, 5, 2, 1000))
        self.assertEqual(beyond.messages, [])

    def test_directory(self) -> None:
        """The log files are where they are said to be."""
        first, second = self.successResultOf(self.broker.configure_topic(self.topic, 2))
        self.publish(second, [b"v"])
        files = self.successResultOf(self.filer.list(partition_directory(self.topic, second)))
        self.assertIn(
            b"v", self.successResultOf(self.filer.read(partition_directory(self.topic, second), files[0].name))
        )
        self.assertEqual(self.successResultOf(self.filer.list(partition_directory(self.topic, first))), [])

    def test_unknown_partition(self) -> None:
        """A partition the engine does not have is an error, and no empty log."""
        self.successResultOf(self.broker.configure_topic(self.topic, 1))
        partition = PartitionRange(0, 630, time.time_ns())
        self.failureResultOf(self.broker.fetch(self.topic, partition, 0, 1, 1), EngineUnavailable)


class NeverAskedTests(SynchronousTestCase):
    """What crashes the engine, or makes it mix up its logs, does not reach it."""

    def setUp(self) -> None:
        def nobody() -> str:
            raise AssertionError("the engine was about to be asked")

        calls = Calls(InlineBridge(), None)
        self.broker = Broker(calls, Filer(calls, nobody), nobody)
        self.partition = PartitionRange(0, RING_SIZE, 1)

    def assert_refused(self, code: ErrorCode, attempt: Deferred[Any]) -> None:
        self.assertEqual(self.failureResultOf(attempt, KafkaError).value.code, code)

    def test_counts(self) -> None:
        """No partitions, fewer, or more than the ring has slots."""
        for number in (0, -1, RING_SIZE + 1):
            self.assert_refused(ErrorCode.INVALID_PARTITIONS, self.broker.configure_topic("t", number))

    def test_names(self) -> None:
        """Names that make other paths, in any call."""
        for name in ("", ".", "..", "a/b", "../t", "a b", "é", "t\n", "t" * 250):
            for attempt in (
                self.broker.configure_topic(name, 1),
                self.broker.existing(name),
                self.broker.leader(name, 0),
                self.broker.fetch(name, self.partition, 0, 1, 1),
                self.broker.high_watermark(name, self.partition),
            ):
                self.assert_refused(ErrorCode.INVALID_TOPIC_EXCEPTION, attempt)

    @settings(deadline=None, max_examples=200)
    @given(st.text(max_size=300))
    def test_any_name(self, name: str) -> None:
        """A name that passes is one folder below the namespace's."""
        try:
            check_name(name)
        except KafkaError:
            return
        self.assertEqual(len(name.encode()), len(name))
        self.assertFalse({"/", "\0"} & set(name) or name in ("", ".", "..") or len(name) > 249)

    def test_ranges(self) -> None:
        """Ranges the engine never gave, and generations it cannot have."""
        for partition in (
            PartitionRange(-1, 2, 1),
            PartitionRange(5, 5, 1),
            PartitionRange(0, RING_SIZE + 1, 1),
            PartitionRange(0, RING_SIZE, 0),
        ):
            for attempt in (
                self.broker.fetch("t", partition, 0, 1, 1),
                self.broker.high_watermark("t", partition),
            ):
                self.assert_refused(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, attempt)

    def test_offsets(self) -> None:
        """Negative offsets, which mean other things to the engine."""
        self.assert_refused(ErrorCode.OFFSET_OUT_OF_RANGE, self.broker.fetch("t", self.partition, -2, 1, 1))

    def test_directory(self) -> None:
        """A partition's directory carries the generation in UTC and the range in four digits."""
        partition = PartitionRange(157, 314, 1795260197345318715)
        self.assertEqual(partition_directory("t", partition), "/topics/kafka/t/v2026-11-21-11-23-17/0157-0314")
