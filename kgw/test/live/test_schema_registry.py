"""Schemas as standard clients register them, through the stub of a registry, and as kgw's client then has them."""

from __future__ import annotations

import json
import uuid
from typing import Any

from confluent_kafka.schema_registry import Schema, SchemaReference, SchemaRegistryClient, header_schema_id_serializer
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.schema_registry.json_schema import JSONSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufDeserializer, ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from kgw.config import Config
from kgw.schema.composition import registry_of
from kgw.schema.interfaces import ISchemaRegistry
from kgw.schema.model import SchemaNotFound, SchemaType
from kgw.test.live.registry import RegistryProcess

ITEM = {"type": "record", "name": "Item", "namespace": "shop", "fields": [{"name": "sku", "type": "string"}]}
ORDER = {"type": "record", "name": "Order", "namespace": "shop", "fields": [{"name": "item", "type": "shop.Item"}]}
PROTO = 'syntax = "proto3"; import "shop/item.proto"; message Order { shop.Item item = 1; }'
ITEM_PROTO = 'syntax = "proto3"; package shop; message Item { string sku = 1; }'


def number(framed: bytes) -> int:
    """The number of the schema that a value names."""
    assert framed[0] == 0
    return int.from_bytes(framed[1:5], "big")


def order_class() -> Any:
    """A message class of a file that imports another one."""
    text, message = FieldDescriptorProto.TYPE_STRING, FieldDescriptorProto.TYPE_MESSAGE
    sku = FieldDescriptorProto(name="sku", number=1, type=text, label=1)
    of = FieldDescriptorProto(name="item", number=1, type=message, label=1, type_name=".shop.Item")
    pool = DescriptorPool()
    for name, one, imports in (("Item", sku, []), ("Order", of, ["shop/item.proto"])):
        pool.Add(
            FileDescriptorProto(
                name=f"shop/{name.lower()}.proto",
                package="shop",
                syntax="proto3",
                dependency=imports,
                message_type=[DescriptorProto(name=name, field=[one])],
            )
        )
    return GetMessageClass(pool.FindMessageTypeByName("shop.Order"))


class StandardClientsTests(TestCase):
    """confluent-kafka's serializers on one side of a registry, kgw on the other."""

    def setUp(self) -> None:
        self.process = RegistryProcess().start()
        self.addCleanup(self.process.stop)

    async def registry(self) -> ISchemaRegistry:
        """kgw's client."""
        client = registry_of(Config({"kgw.schema.registry.url": self.process.url}), reactor)
        await client.start()
        self.addCleanup(client.stop)
        return client

    def client(self) -> SchemaRegistryClient:
        """confluent-kafka's client."""
        return SchemaRegistryClient({"url": self.process.url})

    def value(self, topic: str) -> SerializationContext:
        return SerializationContext(topic, MessageField.VALUE, [])

    async def threaded(self, call: Any, *arguments: Any) -> Any:
        """What a blocking call returns."""
        done: Deferred[Any] = deferToThread(call, *arguments)
        return await done

    async def test_avro(self) -> None:
        """With a schema that refers to another subject's."""

        def produce() -> tuple[bytes, Any]:
            client = self.client()
            client.register_schema("item/v1", Schema(json.dumps(ITEM), "AVRO"))
            schema = Schema(json.dumps(ORDER), "AVRO", [SchemaReference("shop.Item", "item/v1", 1)])
            framed = AvroSerializer(client, schema)({"item": {"sku": "a"}}, self.value("avro"))
            assert framed is not None
            return framed, AvroDeserializer(self.client())(framed, self.value("avro"))

        framed, read = await self.threaded(produce)
        self.assertEqual(read, {"item": {"sku": "a"}})
        registry = await self.registry()
        found = await registry.by_id(number(framed))
        self.assertEqual((found.schema.type, json.loads(found.schema.text)), (SchemaType.AVRO, ORDER))
        self.assertEqual({name: json.loads(one.text) for name, one in found.imports.items()}, {"shop.Item": ITEM})
        self.assertTrue(await registry.is_under(number(framed), "avro-value"))
        self.assertFalse(await registry.is_under(number(framed), "other-value"))

    async def test_json(self) -> None:
        schema = '{"title": "Order", "type": "object", "properties": {"n": {"type": "integer"}}}'

        def produce() -> bytes:
            framed = JSONSerializer(schema, self.client())({"n": 1}, self.value("json"))
            return bytes(framed or b"")

        found = await (await self.registry()).by_id(number(await self.threaded(produce)))
        self.assertEqual((found.schema.type, found.schema.text), (SchemaType.JSON, schema))

    async def test_protobuf(self) -> None:
        """Imports are registered under their paths, all of it as descriptors in base64."""

        def produce() -> bytes:
            order = order_class()()
            order.item.sku = "a"
            framed = ProtobufSerializer(type(order), self.client(), {"use.deprecated.format": False})(
                order, self.value("proto")
            )
            return bytes(framed or b"")

        registry = await self.registry()
        found = await registry.by_id(number(await self.threaded(produce)))
        self.assertEqual((found.schema.type, list(found.imports)), (SchemaType.PROTOBUF, ["shop/item.proto"]))
        self.assertTrue(await registry.exists("shop/item.proto"))
        self.assertFalse(found.schema.text.startswith("syntax"))

    async def test_protobuf_as_text(self) -> None:
        """As other clients register it; confluent-kafka then asks for descriptors."""
        items = {"schema": ITEM_PROTO, "schemaType": "PROTOBUF"}
        self.process.call("POST", "/subjects/items/versions", items)
        reference = {"name": "shop/item.proto", "subject": "items", "version": -1}
        body = {"schema": PROTO, "schemaType": "PROTOBUF", "references": [reference]}
        made = self.process.call("POST", "/subjects/text-value/versions?normalize=false", body)

        def consume() -> Any:
            framed = b"\0" + made["id"].to_bytes(4, "big") + b"\0" + b"\x0a\x03\x0a\x01a"
            # it reads imports by the names they were registered under
            read = ProtobufDeserializer(order_class(), {"use.deprecated.format": False}, self.client())
            return read(framed, self.value("text"))

        read = await self.threaded(consume)
        self.assertEqual(read.item.sku, "a")
        found = await (await self.registry()).by_id(made["id"])
        self.assertEqual((found.schema.text, found.imports["shop/item.proto"].text), (PROTO, ITEM_PROTO))

    async def test_header(self) -> None:
        """Values that name their schema in a header, by its GUID."""

        def produce() -> tuple[bytes | None, Any]:
            context = self.value("header")
            settings = {"schema.id.serializer": header_schema_id_serializer}
            framed = AvroSerializer(self.client(), json.dumps(ITEM), conf=settings)({"sku": "a"}, context)
            return framed, context.headers

        framed, headers = await self.threaded(produce)
        self.assertEqual(framed, b"\x02a")
        ((name, header),) = headers
        self.assertEqual((name, header[:1]), ("__value_schema_id", b"\x01"))
        registry = await self.registry()
        found = await registry.by_guid(header[1:])
        self.assertEqual(json.loads(found.schema.text), ITEM)
        self.assertTrue(await registry.is_under(header[1:], "header-value"))
        with self.assertRaises(SchemaNotFound):
            await registry.by_guid(uuid.uuid4().bytes)

    async def test_told_to_behave(self) -> None:
        """The registry in another process can be told to fail, and says what it was asked."""
        registry = await self.registry()
        self.process.behave(lacking=["GET /schemas/guids"])
        with self.assertRaises(SchemaNotFound):
            await registry.by_guid(b"x" * 16)
        self.process.behave(lacking=[])
        self.assertIn(f"GET /schemas/guids/{uuid.UUID(bytes=b'x' * 16)}", self.process.asked())
