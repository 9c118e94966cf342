"""confluent-kafka's serializers and deserializers on both sides of kgw, with a schema registry beside it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from confluent_kafka import Consumer, Producer
from confluent_kafka.schema_registry import (
    Schema,
    SchemaReference,
    SchemaRegistryClient,
    header_schema_id_serializer,
)
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.schema_registry.json_schema import JSONDeserializer, JSONSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufDeserializer, ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from kgw.errors import ErrorCode
from kgw.handlers import produce
from kgw.schema.columns import Column, RecordOf, Scalar
from kgw.test.live import tables
from kgw.test.live.clients import PATIENCE, librdkafka
from kgw.test.live.raw import RawClient, produce_frame
from kgw.test.live.schematized import SchematizedTestCase, avro_schema
from kgw.test.live.test_schema_registry import ITEM, ORDER, order_class
from kgw.test.seaweed import engine

ITEM_JSON = {"$id": "item.json", "type": "object", "properties": {"sku": {"type": "string"}}, "required": ["sku"]}
ORDER_JSON = {
    "title": "Order",
    "type": "object",
    "properties": {"item": {"$ref": "item.json"}, "count": {"type": "integer"}},
    "required": ["item"],
}
#: What all three make of an order's item.
SKU = RecordOf((Column("sku", Scalar.STRING, True),))
COUNT = 20

Serializer = Callable[[Any, SerializationContext], bytes | None]
Deserializer = Callable[[bytes | None, SerializationContext], Any]


class ClientCase(SchematizedTestCase):
    """What the clients here share: a topic that takes nothing but what has a schema."""

    engine = "seaweedmq"

    def setUp(self) -> None:
        super().setUp()
        self.kgw = self.gateway("strict")
        self.create(self.kgw.bootstrap)

    def client(self) -> SchemaRegistryClient:
        """One that knows nothing yet."""
        return SchemaRegistryClient({"url": self.registry.url})

    def write(self, serialize: Serializer, values: list[Any], headers: bool = False) -> None:
        """Produce values."""
        errors: list[str] = []
        producer = Producer(librdkafka(self.kgw.bootstrap, linger_ms=50))
        for number, value in enumerate(values):
            context = SerializationContext(self.topic, MessageField.VALUE, [])
            data = serialize(value, context)
            producer.produce(
                self.topic,
                data,
                b"%d" % number,
                headers=context.headers if headers else [],
                on_delivery=lambda error, _: errors.append(str(error)) if error else None,
            )
        self.assertEqual((producer.flush(PATIENCE), errors), (0, []))

    def read(self, deserialize: Deserializer, count: int = COUNT) -> list[Any]:
        """Consume values as a member of a group."""
        consumer = Consumer(librdkafka(self.kgw.bootstrap, group_id=self.topic, auto_offset_reset="earliest"))
        found: list[Any] = []
        try:
            consumer.subscribe([self.topic])
            while len(found) < count:
                message = consumer.poll(PATIENCE)
                assert message is not None, f"only {len(found)} of {count} values came"
                assert message.error() is None, message.error()
                context = SerializationContext(self.topic, MessageField.VALUE, message.headers() or [])
                found.append(deserialize(message.value(), context))
        finally:
            consumer.close()
        return found

    def check_table(self, format: str, rows: list[dict[str, Any]]) -> None:
        """The engine has columns and rows."""
        self.assertEqual(tables.topic_conf(engine(), self.topic)["schemaFormat"], format)
        self.assertEqual(tables.columns(engine(), self.topic).columns[0].name, "item")
        self.assertEqual([one.row for one in tables.stored(engine(), self.topic, len(rows))], rows)


class ClientTests(ClientCase):
    """Schemas that refer to others."""

    def test_avro(self) -> None:
        orders = [{"item": {"sku": f"sku-{number}"}} for number in range(COUNT)]
        client = self.client()
        subject = f"{self.topic}-item"
        client.register_schema(subject, Schema(json.dumps(ITEM), "AVRO"))
        schema = Schema(json.dumps(ORDER), "AVRO", [SchemaReference("shop.Item", subject, 1)])
        self.write(AvroSerializer(client, schema), orders)
        self.assertEqual(self.read(AvroDeserializer(self.client())), orders)
        self.check_table("AVRO", orders)
        self.assertEqual(tables.columns(engine(), self.topic), RecordOf((Column("item", SKU, True),)))

    def test_json(self) -> None:
        orders = [{"item": {"sku": f"sku-{number}"}, "count": number} for number in range(COUNT)]
        client = self.client()
        subject = f"{self.topic}-item"
        client.register_schema(subject, Schema(json.dumps(ITEM_JSON), "JSON"))
        schema = Schema(json.dumps(ORDER_JSON), "JSON", [SchemaReference("item.json", subject, 1)])
        self.write(JSONSerializer(schema, client), orders)
        reader = JSONDeserializer(schema, schema_registry_client=self.client())
        self.assertEqual(self.read(reader), orders)
        self.check_table("JSON_SCHEMA", orders)
        columns = (Column("item", SKU, True), Column("count", Scalar.INT64))
        self.assertEqual(tables.columns(engine(), self.topic), RecordOf(columns))

    def test_protobuf(self) -> None:
        """Imports are registered under their paths by the serializer itself."""
        order = order_class()
        orders = []
        for number in range(COUNT):
            orders.append(order())
            orders[-1].item.sku = f"sku-{number}"
        settings = {"use.deprecated.format": False}
        self.write(ProtobufSerializer(order, self.client(), settings), orders)
        self.assertEqual(self.read(ProtobufDeserializer(order, settings, self.client())), orders)
        self.check_table("PROTOBUF", [{"item": {"sku": one.item.sku}} for one in orders])

    def test_refused(self) -> None:
        """The client is told which record and why, and nothing of the batch is written."""
        good = self.value("AVRO", avro_schema(("n", "int")), b"\x02")
        theirs = self.value("AVRO", avro_schema(("n", "long")), b"\x02", topic="another")
        with RawClient(self.kgw.port) as client:
            client.send(produce_frame(self.topic, good, good + b"more", b"plain", theirs))
            ((row,),) = [topic.partition_responses for topic in client.answer(produce.API, 8).responses]
        self.assertEqual(row.error_code, ErrorCode.INVALID_RECORD)
        self.assertEqual([error.batch_index for error in row.record_errors], [1, 2, 3])
        reasons = [error.batch_index_error_message for error in row.record_errors]
        for reason, word in zip(reasons, ("behind", "names no schema", "subject"), strict=True):
            self.assertIn(word, reason)
        self.assertIn("record 1, and 2 more", row.error_message)
        self.write(lambda value, _: value, [good])
        self.assertEqual(self.read(lambda value, _: value, 1), [good])


class GuidTests(ClientCase):
    """Where the registry gives schemas a GUID, as not all do."""

    def test_header(self) -> None:
        """Values that name their schema in a header."""
        settings = {"schema.id.serializer": header_schema_id_serializer}
        items = [{"sku": f"longer than six bytes {number}"} for number in range(COUNT)]
        self.write(AvroSerializer(self.client(), json.dumps(ITEM), conf=settings), items, headers=True)
        self.assertEqual(self.read(AvroDeserializer(self.client())), items)
        self.assertEqual(tables.columns(engine(), self.topic), SKU)
        self.assertEqual([one.row for one in tables.stored(engine(), self.topic, COUNT)], items)
