"""Schematized records through kgw on the real SeaweedMQ: columns there, and the bytes that were sent to consumers."""

from __future__ import annotations

import json
from datetime import date, timedelta
from typing import Any
from uuid import uuid4

import grpc
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from kgw.engine.bridge import InlineBridge
from kgw.engine.seaweed.broker import Broker
from kgw.engine.seaweed.calls import Calls
from kgw.engine.seaweed.filer import Filer
from kgw.test.live.clients import PATIENCE, librdkafka
from kgw.test.live.registry import RegistryProcess
from kgw.test.live.server import GatewayProcess, LiveTestCase
from kgw.test.seaweed import engine

SCHEMA = {
    "type": "record",
    "name": "Order",
    "namespace": "shop",
    "fields": [
        {"name": "id", "type": "long"},
        {"name": "who", "type": "string"},
        {"name": "amount", "type": "double"},
        {"name": "paid", "type": "boolean"},
        {"name": "tags", "type": {"type": "array", "items": "string"}},
        {"name": "note", "type": ["null", "string"]},
        {"name": "at", "type": {"type": "int", "logicalType": "date"}},
    ],
}
WANTED = [
    ("id", {"scalarType": "INT64"}, True),
    ("who", {"scalarType": "STRING"}, True),
    ("amount", {"scalarType": "DOUBLE"}, True),
    ("paid", {"scalarType": "BOOL"}, True),
    ("tags", {"listType": {"elementType": {"scalarType": "STRING"}}}, True),
    ("note", {"scalarType": "STRING"}, False),
    ("at", {"scalarType": "INT32"}, True),
]


def order(number: int) -> dict[str, Any]:
    """A value of the schema, as it is in the table: a date as the number of days."""
    return {
        "id": number,
        "who": f"who-{number}",
        "amount": number / 3,
        "paid": number % 2 == 0,
        "tags": ["a"] * (number % 3),
        "note": None if number % 2 else "to the door",
        "at": number,
    }


class SchemaTests(LiveTestCase):
    """One registry, which is stopped half way."""

    engine = "seaweedmq"

    def setUp(self) -> None:
        super().setUp()
        self.registry = RegistryProcess().start()
        self.addCleanup(self.registry.stop)
        self.topic = f"orders-{uuid4().hex[:8]}"
        client = SchemaRegistryClient({"url": self.registry.url})
        self.serialize = AvroSerializer(client, json.dumps(SCHEMA))

    def framed(self, number: int) -> bytes:
        """An order as its producer sends it."""
        value = {**order(number), "at": date(1970, 1, 1) + timedelta(days=number)}
        found: bytes = self.serialize(value, SerializationContext(self.topic, MessageField.VALUE))
        return found

    def gateway(self, policy: str) -> GatewayProcess:
        """A gateway with this policy."""
        return self.serve("--schema-registry", self.registry.url, "--set", f"kgw.schema.validation={policy}")

    def create(self, bootstrap: str, partitions: int = 1) -> None:
        """Create the topic."""
        admin = AdminClient(librdkafka(bootstrap))
        for created in admin.create_topics([NewTopic(self.topic, partitions, 1)]).values():
            created.result(PATIENCE)

    def produce(self, bootstrap: str, *values: bytes | None, partition: int = 0) -> list[str]:
        """Produce them; the names of the errors."""
        producer = Producer(librdkafka(bootstrap, linger_ms=100))
        errors: list[str] = []
        for number, value in enumerate(values):
            producer.produce(
                self.topic,
                value,
                None if number % 3 == 0 else b"key-%d" % number,
                partition=partition,
                on_delivery=lambda error, _: errors.append(error.name()) if error else None,
            )
        self.assertEqual(producer.flush(PATIENCE), 0)
        return errors

    def consume(self, bootstrap: str, count: int) -> list[tuple[bytes | None, bytes | None]]:
        """Keys and values of partition 0."""
        consumer = Consumer(librdkafka(bootstrap, group_id="readers"))
        found: list[tuple[bytes | None, bytes | None]] = []
        try:
            consumer.assign([TopicPartition(self.topic, 0, 0)])
            while len(found) < count:
                message = consumer.poll(PATIENCE)
                assert message is not None, f"only {len(found)} of {count} records came"
                assert message.error() is None, message.error()
                found.append((message.key(), message.value()))
        finally:
            consumer.close()
        return found

    def conf(self, engine_topic: str) -> Any:
        """What C{topic.conf} says."""
        calls = Calls(InlineBridge(), None, timeout_s=20.0)
        filer = Filer(calls, lambda: engine().filer, lambda: engine().filer_http)
        try:
            entry = self.successResultOf(filer.lookup(f"/topics/kafka/{engine_topic}", "topic.conf"))
            assert entry is not None
            return json.loads(entry.content)
        finally:
            filer.stop()
            calls.stop()

    def columns(self, engine_topic: str) -> list[tuple[str, Any, bool]]:
        """The columns that are declared: name, type, and whether each row has them."""
        fields = self.conf(engine_topic)["messageRecordType"]["fields"]
        return [(field["name"], field["type"], field["isRequired"]) for field in fields]

    def rows(self, count: int) -> list[dict[str, Any]]:
        """The rows of partition 0, read by the engine's own description of them."""
        calls = Calls(InlineBridge(), None, timeout_s=20.0)
        filer = Filer(calls, lambda: engine().filer, lambda: engine().filer_http)
        broker = Broker(calls, filer, lambda: engine().broker)
        try:
            ranges = self.successResultOf(broker.existing(self.topic))
            assert ranges is not None
            fetched = self.successResultOf(broker.fetch(self.topic, ranges[0], 0, count, 1 << 20))
        finally:
            filer.stop()
            calls.stop()
        record_value = _record_value()
        found = []
        for key, value, _ in fetched.messages:
            self.assertTrue(key, "a record without a key is in no table")
            found.append({name: _plain(one) for name, one in record_value.FromString(value).fields.items()})
        return found

    def test_strict_from_producer_to_consumer_and_table(self) -> None:
        gateway = self.gateway("strict")
        self.create(gateway.bootstrap, 2)
        values = [self.framed(number) for number in range(20)]
        self.assertEqual(self.produce(gateway.bootstrap, *values), [])
        self.assertEqual(self.produce(gateway.bootstrap, b"plain"), ["INVALID_RECORD"])
        self.assertEqual(self.produce(gateway.bootstrap, None), ["INVALID_RECORD"])
        self.assertEqual(self.columns(self.topic), WANTED)
        self.assertEqual(self.conf(self.topic)["schemaFormat"], "AVRO")
        # null is no entry
        wanted = [{name: one for name, one in order(number).items() if one is not None} for number in range(20)]
        self.assertEqual(self.rows(20), wanted)
        # partitions that are added have the same columns
        admin = AdminClient(librdkafka(gateway.bootstrap))
        for added in admin.create_partitions([NewPartitions(self.topic, 3)]).values():
            added.result(PATIENCE)
        calls = Calls(InlineBridge(), None, timeout_s=20.0)
        filer = Filer(calls, lambda: engine().filer, lambda: engine().filer_http)
        names = [one.name for one in self.successResultOf(filer.list("/topics/kafka"))]
        filer.stop()
        calls.stop()
        (extension,) = [name for name in names if name.startswith(f"{self.topic}.")]
        self.assertEqual(self.columns(extension), WANTED)
        # what consumers get takes no registry, and outlives the gateway
        keys = [None if number % 3 == 0 else b"key-%d" % number for number in range(20)]
        sent = list(zip(keys, values, strict=True))
        self.assertEqual(self.consume(gateway.bootstrap, 20), sent)
        self.registry.stop()
        self.assertEqual(self.produce(gateway.bootstrap, values[0]), [])
        gateway.terminate()
        gateway.start()
        self.assertEqual(self.consume(gateway.bootstrap, 20), sent)

    def test_permissive_without_a_registry(self) -> None:
        values = [self.framed(number) for number in range(4)]
        self.registry.stop()
        gateway = self.gateway("permissive")
        self.create(gateway.bootstrap)
        self.assertEqual(self.produce(gateway.bootstrap, *values, b"plain", None), [])
        found = [value for _, value in self.consume(gateway.bootstrap, 6)]
        self.assertEqual(found, [*values, b"plain", None])
        self.assertIsNone(self.conf(self.topic)["messageRecordType"])


def _record_value() -> Any:
    """The engine's C{RecordValue}, as the broker itself describes it."""
    with grpc.insecure_channel(engine().broker) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        asked = reflection_pb2.ServerReflectionRequest(file_containing_symbol="schema_pb.RecordValue")
        (answer,) = stub.ServerReflectionInfo(iter([asked]), timeout=10)
    pool = descriptor_pool.DescriptorPool()
    for file in answer.file_descriptor_response.file_descriptor_proto:
        pool.Add(descriptor_pb2.FileDescriptorProto.FromString(file))
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("schema_pb.RecordValue"))


def _plain(value: Any) -> Any:
    kind = value.WhichOneof("kind")
    found = getattr(value, kind)
    return [_plain(one) for one in found.values] if kind == "list_value" else found
