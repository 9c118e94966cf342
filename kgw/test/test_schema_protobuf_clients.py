"""Values that confluent-kafka's Protobuf serializer writes, and the schemas it registers, read by the codec."""

from __future__ import annotations

from typing import Any

from confluent_kafka.schema_registry import SchemaRegistryClient, header_schema_id_serializer
from confluent_kafka.schema_registry.protobuf import ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext
from google.protobuf import message_factory
from twisted.trial.unittest import SynchronousTestCase

from kgw.schema.framing import Framed, of_record
from kgw.schema.model import RegisteredSchema, ResolvedSchema, SchemaType
from kgw.schema.protobuf import ProtobufCodec
from kgw.schema.protobuf_files import file_descriptor
from kgw.test.protobuf_schemas import EVERYTHING, resolved, values_of
from kgw.test.record_values import read
from kgw.test.test_schema_protobuf_files import IMPORTS, IN_COLUMNS, ORDER


class SerializerTests(SynchronousTestCase):
    """The serializer, with the registry that its makers test it with."""

    def setUp(self) -> None:
        self.registry: Any = SchemaRegistryClient.new_client({"url": "mock://"})

    def serialized(self, message: Any, **configuration: Any) -> Framed:
        """A message as it gets to a topic."""
        serializer = ProtobufSerializer(type(message), self.registry, configuration)
        headers: list[tuple[str, str | bytes | None]] = []
        value = serializer(message, SerializationContext("orders", MessageField.VALUE, headers))
        assert value is not None
        framed = of_record(value, [(name, data) for name, data in headers if isinstance(data, bytes)])
        assert framed is not None
        return framed

    def codec(self, subject: str = "orders-value") -> ProtobufCodec:
        """The codec of the schema that was registered last."""
        imports: dict[str, RegisteredSchema] = {}

        def collect(schema: Any) -> RegisteredSchema:
            for reference in schema.references or []:
                version = self.registry.get_version(reference.subject, reference.version)
                imports[reference.name] = collect(version.schema)
            return RegisteredSchema(1, SchemaType.PROTOBUF, schema.schema_str)

        whole = collect(self.registry.get_latest_version(subject).schema)
        return ProtobufCodec(ResolvedSchema(whole, imports))

    def messages(self, text: str, imports: dict[str, str] | None = None) -> dict[str, Any]:
        """The classes of a file's messages, by full name, with those within them."""
        found = {}
        left = list(file_descriptor(resolved(text, imports)).message_types_by_name.values())
        while left:
            descriptor = left.pop()
            left += descriptor.nested_types
            found[descriptor.full_name] = message_factory.GetMessageClass(descriptor)
        return found

    def test_everything(self) -> None:
        """Messages of a file, the first, others, and those within."""
        made = self.messages(EVERYTHING)
        for message in (
            made["shop.Everything"](small=5, at={"seconds": 7}, counts={"a": 1}, maybe=0),
            made["shop.Tree"](name="x", others=[{"name": "y"}]),
            made["shop.Everything.Inner"](id=3, label="x"),
            made["shop.Everything.Inner.Deeper"](yes=True),
        ):
            framed = self.serialized(message)
            codec = self.codec()
            self.assertEqual(read(codec.row(framed.payload, framed.indexes)[1]), values_of(message))
            self.assertEqual(codec.message_name(framed.payload), message.DESCRIPTOR.full_name)

    def test_references(self) -> None:
        """Imports are registered by themselves, as base64 like the schema that refers to them."""
        made = self.messages(ORDER, IMPORTS)["Order"](item={"price": {"units": 5}}, fee={"sum": {"units": 6}})
        framed = self.serialized(made)
        self.assertEqual(read(self.codec().row(framed.payload)[1]), IN_COLUMNS)

    def test_header(self) -> None:
        """A GUID in a header, the way to the message behind it, and the message bare."""
        made = self.messages(EVERYTHING)["shop.Tree"](name="x")
        framed = self.serialized(made, **{"schema.id.serializer": header_schema_id_serializer})
        self.assertEqual((framed.schema_id, framed.indexes), (None, (1,)))
        self.assertEqual(framed.payload, made.SerializeToString())
        self.assertEqual(read(self.codec().row(framed.payload, framed.indexes)[1]), {"name": "x"})
