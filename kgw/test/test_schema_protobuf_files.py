"""Protobuf schemas as registries have them: text and base64, with imports, and what must not be done to kgw by them."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kgw.schema.columns import Column, RecordOf, Scalar
from kgw.schema.model import RegisteredSchema, ResolvedSchema, SchemaType, Undecodable
from kgw.schema.protobuf import ProtobufCodec
from kgw.schema.protobuf_compiler import safe_name
from kgw.schema.protobuf_files import MOST_BYTES, MOST_IMPORTS, ROOT, file_descriptor
from kgw.schema.protobuf_known import known_files
from kgw.test.protobuf_schemas import EVERYTHING, as_base64, descriptor_text, resolved
from kgw.test.record_values import read

MONEY = 'syntax = "proto3"; package m; message Money { int64 units = 1; }'
ITEM = 'syntax = "proto3"; package i; import "common/money.proto"; message Item { m.Money price = 1; }'
FEE = 'syntax = "proto3"; package f; import "common/money.proto"; message Fee { m.Money sum = 1; }'
ORDER = (
    'syntax = "proto3"; import "item.proto"; import "more/fee.proto"; message Order { i.Item item = 1; f.Fee fee = 2; }'
)
IMPORTS = {"common/money.proto": MONEY, "item.proto": ITEM, "more/fee.proto": FEE}
#: Order{item{price{units: 5}}, fee{sum{units: 6}}} as the first message.
ORDERED = b"\0\x0a\4\x0a\2\x08\5\x12\4\x0a\2\x08\6"
IN_COLUMNS = {"item": {"price": {"units": 5}}, "fee": {"sum": {"units": 6}}}


class FileStage(SynchronousTestCase):
    """Schemas that are made into codecs."""

    def setUp(self) -> None:
        self.enterContext(_temporary(self.mktemp()))

    def reason(self, schema: ResolvedSchema | str) -> str:
        """Why a schema cannot be used."""
        started = time.monotonic()
        schema = resolved(schema) if isinstance(schema, str) else schema
        reason = self.assertRaises(Undecodable, ProtobufCodec, schema).reason
        self.assertLess(time.monotonic() - started, 20)
        self.assertLess(len(reason), 300)
        self.assertNotIn(tempfile.gettempdir(), reason)
        self.assertEqual(os.listdir(tempfile.gettempdir()), [])
        return str(reason)


class _temporary:
    """Temporary files in a folder of the test's own while it lasts."""

    def __init__(self, folder: str) -> None:
        self._folder = str(Path(folder).absolute())
        self._before = tempfile.tempdir

    def __enter__(self) -> None:
        Path(self._folder).mkdir(parents=True)
        tempfile.tempdir = self._folder

    def __exit__(self, *_why: object) -> None:
        tempfile.tempdir = self._before


class ImportTests(FileStage):
    """What schemas refer to."""

    def test_diamond(self) -> None:
        """Two imports that import the same one."""
        record, fields = ProtobufCodec(resolved(ORDER, IMPORTS)).row(ORDERED)
        money = RecordOf((Column("units", Scalar.INT64),))
        self.assertEqual(record.columns[0], Column("item", RecordOf((Column("price", money),))))
        self.assertEqual(read(fields), IN_COLUMNS)
        self.assertEqual(os.listdir(tempfile.gettempdir()), [])

    def test_base64(self) -> None:
        """As the serializer of Python registers: descriptors, of files that had names of their own."""
        pool = file_descriptor(resolved(ORDER, IMPORTS)).pool
        imports = {name: as_base64(pool.FindFileByName(name)) for name in IMPORTS}
        order = as_base64(pool.FindFileByName(ROOT))
        self.assertEqual(read(ProtobufCodec(resolved(order, imports)).row(ORDERED)[1]), IN_COLUMNS)
        # and as registries may give them back
        wrapped = f"  {order}\n"
        urlsafe = {name: text.replace("+", "-").replace("/", "_") for name, text in imports.items()}
        self.assertEqual(read(ProtobufCodec(resolved(wrapped, urlsafe)).row(ORDERED)[1]), IN_COLUMNS)

    def test_mixed(self) -> None:
        """Each may be text or base64, whatever those are that import it."""
        pool = file_descriptor(resolved(ORDER, IMPORTS)).pool
        texts = {**IMPORTS, ROOT: ORDER}
        for which in range(1, 15):
            mixed = {
                name: as_base64(pool.FindFileByName(name)) if which >> n & 1 else text
                for n, (name, text) in enumerate(texts.items())
            }
            order = mixed.pop(ROOT)
            self.assertEqual(read(ProtobufCodec(resolved(order, mixed)).row(ORDERED)[1]), IN_COLUMNS)

    def test_known(self) -> None:
        """Nobody registers Google's well-known types, google/type, and Confluent's files."""
        self.assertTrue({"google/type/date.proto", "confluent/meta.proto"} < set(known_files()))
        text = """
            syntax = "proto3";
            import "confluent/meta.proto"; import "confluent/type/decimal.proto"; import "google/type/money.proto";
            import "google/protobuf/any.proto"; import "confluent/types/decimal.proto";
            option (confluent.file_meta).doc = "of things";
            message A {
              option (confluent.message_meta) = { doc: "a thing", params: [{ key: "a", value: "b" }] };
              confluent.type.Decimal cost = 1 [(confluent.field_meta).tags = "PII"];
              google.type.Money money = 2;
              google.protobuf.Any any = 3;
            }
        """
        for schema in (text, as_base64(file_descriptor(resolved(text)))):
            record, fields = ProtobufCodec(resolved(schema)).row(b"\0\x0a\5\x0a\1\x7b\x18\2\x1a\3\x0a\1u")
            self.assertEqual(read(fields), {"cost": {"value": b"\x7b", "scale": 2}, "any": {"type_url": "u"}})
            self.assertEqual([column.name for column in record.columns], ["cost", "money", "any"])
        for name in known_files():
            ProtobufCodec(resolved(f'syntax = "proto3"; import "{name}"; message A {{}}'))

    def test_known_but_registered(self) -> None:
        """Some register them all the same: Google's are taken as kgw has them, others as they are registered."""
        text = 'syntax = "proto3"; import "google/protobuf/duration.proto"; import "google/type/date.proto";'
        text += "message A { google.protobuf.Duration a = 1; google.type.Date b = 2; }"
        date = 'syntax = "proto3"; package google.type; message Date { int32 day = 1; }'
        record, _ = ProtobufCodec(
            resolved(text, {"google/protobuf/duration.proto": "nonsense", "google/type/date.proto": date})
        ).row(b"\0")
        kinds = [column.type for column in record.columns]
        self.assertEqual([len(kind.columns) for kind in kinds if isinstance(kind, RecordOf)], [2, 1])

    def test_features(self) -> None:
        """Files that only the compiler has with it."""
        text = 'edition = "2023"; import "google/protobuf/java_features.proto"; message A { int32 a = 1; }'
        self.assertEqual(read(ProtobufCodec(resolved(text)).row(b"\0\x08\1")[1]), {"a": 1})

    def test_private(self) -> None:
        """Schemas with the same names in them do not know of each other."""
        one = ProtobufCodec(resolved('syntax = "proto3"; message A { int32 a = 1; }'))
        two = ProtobufCodec(resolved('syntax = "proto3"; message A { string b = 1; }'))
        self.assertEqual(read(one.row(b"\0\x08\1")[1]), {"a": 1})
        self.assertEqual(read(two.row(b"\0\x0a\1x")[1]), {"b": "x"})

    def test_missing(self) -> None:
        """An import that has no reference."""
        self.assertIn("item.proto", self.reason(ORDER))
        pool = file_descriptor(resolved(ORDER, IMPORTS)).pool
        self.assertIn("item.proto", self.reason(as_base64(pool.FindFileByName(ROOT))))

    def test_circle(self) -> None:
        """Files that import each other, and themselves."""
        imports = {"a.proto": 'import "b.proto";', "b.proto": 'import "a.proto";'}
        text = 'syntax = "proto3"; import "a.proto"; message A {}'
        self.assertIn("recursively", self.reason(resolved(text, imports)))
        self.assertIn("recursively", self.reason(text.replace("a.proto", ROOT)))

    def test_names(self) -> None:
        """No import is written or read anywhere but in a folder that is gone afterwards."""
        names = (
            "/etc/cron.d/x.proto", "../x.proto", "a/../../x.proto", "a\\b.proto", "./x.proto", "a//b.proto", "", "a/",
            "-I/etc", "@/etc/passwd", "a\0b", "a\nb", "x" * 300, "a/" * 600 + "a", ROOT, 'a"b', "C:x", "a\u0301.proto",
        )  # fmt: skip
        for name in names:
            self.assertTrue(name == ROOT or not safe_name(name), name)
            self.assertIn("name", self.reason(resolved(MONEY, {name: MONEY})))
        self.assertTrue(safe_name("com/acme/v1.2/some-file_name+x y.proto"))
        for path in ("/etc/passwd", "../../../../../../etc/passwd", "../known"):
            self.assertIn(path, self.reason(f'syntax = "proto3"; import "{path}"; message A {{}}'))

    def test_names_in_each_other(self) -> None:
        """A name that is a file and a folder."""
        self.assertIn("beside", self.reason(resolved(MONEY, {"a": MONEY, "a/b": MONEY})))

    def test_other_kinds(self) -> None:
        """An import that is of another kind of schema."""
        other = ResolvedSchema(
            RegisteredSchema(1, SchemaType.PROTOBUF, MONEY), {"a.proto": RegisteredSchema(2, SchemaType.AVRO, '"int"')}
        )
        self.assertIn("imports", self.reason(other))

    def test_too_much(self) -> None:
        """Too many imports, or too large ones."""
        self.assertIn("more than", self.reason(resolved(MONEY, {f"a{n}": MONEY for n in range(MOST_IMPORTS + 1)})))
        self.assertIn("MiB", self.reason(MONEY + " " * MOST_BYTES))


class FaultTests(FileStage):
    """Schemas that are none, and such as are meant to do harm."""

    def test_faults(self) -> None:
        """What protoc has to say of a fault is told, in a line."""
        self.assertIn(f"{ROOT}:1:", self.reason('syntax = "proto3"; message A { strng a = 1; }'))
        self.assertIn("strng", self.reason('syntax = "proto3"; message A { strng a = 1; }'))
        self.assertIn("end of input", self.reason('syntax = "proto3"; message A {'))
        self.assertIn("no messages", self.reason('syntax = "proto3"; enum A { B = 0; }'))
        self.assertIn("no messages", self.reason(""))
        self.assertIn("base64", self.reason("AAAA"))
        self.assertIn("base64", self.reason("A"))
        self.assertIn("UTF-8", self.reason("// \ud800\nmessage A {}"))
        for text in ("\0", '{"type": "string"}', "message A { int32 a = 1; int32 a = 2; }", "import public;"):
            self.assertIn("compile", self.reason(text))

    def test_crashes(self) -> None:
        """What protoc does not survive, kgw does."""
        groups = 'syntax = "proto2"; message A {' + "optional group A = 1 {" * 100_000 + "}" * 100_000 + "}"
        self.assertIn("does not get through", self.reason(groups))
        option = (
            'syntax = "proto2"; import "google/protobuf/descriptor.proto"; message O { optional O o = 1; }'
            " extend google.protobuf.MessageOptions { optional O o = 50000; } message A { option (o) = {"
            + "o {" * 50_000 + "}" * 50_000 + "}; }"
        )  # fmt: skip
        self.assertIn("does not get through", self.reason(option))

    def test_large(self) -> None:
        """A great many complaints, fields or messages take their time, and no more of anything."""
        unknown = "".join(f"x{n} a{n} = {n};" for n in range(1, 15_000))
        self.assertIn("x1", self.reason(f'syntax = "proto3"; message A {{ {unknown} }}'))
        many = 'syntax = "proto3"; ' + "".join(f"message A{n} {{}}" for n in range(20_000))
        codec = ProtobufCodec(resolved(many))
        self.assertEqual(codec.message_name(b"", (19_999,)), "A19999")
        self.assertEqual(codec.message_name(b"", (20_000,)), "")

    def test_false_descriptors(self) -> None:
        """Descriptors that no compiler made are looked through before anything is done with them."""
        file = descriptor_pb2.FileDescriptorProto(name="a", syntax="proto3")
        message = file.message_type.add(name="A")
        entry = message.nested_type.add(name="BEntry")
        entry.options.map_entry = True
        message.field.add(name="b", number=1, type=11, label=3, type_name=".A.BEntry")
        self.assertIn("compile", self.reason(descriptor_text(file)))
        deep: Any = file.message_type[0]
        for _ in range(60):
            deep = deep.nested_type.add(name="A")
        self.assertIn("compile", self.reason(descriptor_text(file)))

    def test_damaged_descriptors(self) -> None:
        """Descriptors with some bytes changed are schemas or not, and nothing else happens."""
        whole = file_descriptor(resolved(EVERYTHING)).serialized_pb

        @given(st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255)), min_size=1, max_size=4))
        @settings(max_examples=25, deadline=None)
        def examine(changes: list[tuple[int, int]]) -> None:
            data = bytearray(whole)
            for place, byte in changes:
                data[place] = byte
            try:
                file = descriptor_pb2.FileDescriptorProto.FromString(bytes(data))
                codec = ProtobufCodec(resolved(descriptor_text(file)))
                codec.row(b"\0\x08\1\x10\2")
            except (Undecodable, DecodeError):
                return

        examine()

    @given(st.text(max_size=60))
    @settings(max_examples=15, deadline=None)
    def test_any_text(self, text: str) -> None:
        """No text does anything but not be a schema."""
        try:
            ProtobufCodec(resolved(text))
        except Undecodable:
            return
