"""Values of Protobuf: which message they are, whether they are one, and what columns and rows they are."""

from __future__ import annotations

import math
import struct
import threading
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kgw.schema.codec import Codec
from kgw.schema.columns import Column, ListOf, RecordOf, Scalar
from kgw.schema.framing import index_array, of_value
from kgw.schema.model import Undecodable
from kgw.schema.protobuf import ProtobufCodec
from kgw.schema.protobuf_columns import MOST_COLUMNS, MOST_NAME
from kgw.schema.record_type import record_type
from kgw.test.protobuf_schemas import EVERYTHING, message_class, messages, resolved, values_of
from kgw.test.record_values import RecordType, read, read_kinds

PROTO2 = """
syntax = "proto2";
message Order {
  required int64 id = 1;
  optional string note = 2;
  repeated group Line = 3 { optional int32 amount = 1 [default = 7]; }
  optional Part part = 4;
  map<string, int32> counts = 5;
  extensions 100 to 200;
  message Part { required bool whole = 1; }
}
message Free { optional string note = 1; }
"""
#: Which message a value is, of several with fields that tell them apart: none reads another's without fail.
NESTED = """
syntax = "proto3";
message First { string one = 1; message Own { int32 deep = 1; } }
message Second {
  map<string, int32> entries = 1;
  message Left { int32 left = 1; }
  message Right { string right = 1; }
}
message Third { fixed32 three = 1; }
"""


class CodecStage(SynchronousTestCase):
    """Codecs and what they say."""

    def codec(self, text: str) -> ProtobufCodec:
        """The codec of a schema that imports nothing that is not known."""
        made = ProtobufCodec(resolved(text))
        kept: Codec = made
        self.assertEqual(kept.format, "PROTOBUF")
        return made

    def refused(self, codec: ProtobufCodec, payload: bytes, indexes: tuple[int, ...] | None = None) -> str:
        """Why neither L{Codec.check} nor L{Codec.row} takes a value."""
        reasons = [
            self.assertRaises(Undecodable, codec.check, payload, indexes).reason,
            self.assertRaises(Undecodable, codec.row, payload, indexes).reason,
        ]
        self.assertEqual(len(set(reasons)), 1)
        return str(reasons[0])


class ColumnTests(CodecStage):
    """What columns a message has."""

    def test_everything(self) -> None:
        """In the order declared, not that of the numbers; every kind as the map of types has it."""
        record, _ = self.codec(EVERYTHING).row(b"\0")
        found = {column.name: column.type for column in record.columns}
        inner = RecordOf(
            (
                Column("id", Scalar.INT64),
                Column("label", Scalar.STRING),
                Column("parts", ListOf(Scalar.BYTES)),
                Column("deeper", RecordOf((Column("yes", Scalar.BOOL),))),
            )
        )

        def map_of(key: Scalar, value: Any) -> ListOf:
            return ListOf(RecordOf((Column("key", key, required=True), Column("value", value))))

        tree = RecordOf(
            (
                Column("name", Scalar.STRING),
                Column("left", Scalar.BYTES),
                Column("others", ListOf(Scalar.BYTES)),
                Column("named", map_of(Scalar.STRING, Scalar.BYTES)),
            )
        )
        self.assertEqual(
            found,
            {
                "truth": Scalar.BOOL,
                **dict.fromkeys(("small", "zigzag", "fixed_signed", "colour", "maybe"), Scalar.INT32),
                **dict.fromkeys(("large", "large_zigzag", "large_fixed"), Scalar.INT64),
                **dict.fromkeys(("unsigned", "unsigned_fixed", "huge", "huge_fixed", "number_of_it"), Scalar.INT64),
                "single": Scalar.FLOAT,
                **dict.fromkeys(("number", "maybe_number"), Scalar.DOUBLE),
                **dict.fromkeys(("text", "maybe_text", "name"), Scalar.STRING),
                "raw": Scalar.BYTES,
                **dict.fromkeys(("inner", "inner_of_it"), inner),
                "numbers": ListOf(Scalar.INT32),
                "texts": ListOf(Scalar.STRING),
                "inners": ListOf(inner),
                "colours": ListOf(Scalar.INT32),
                "huges": ListOf(Scalar.INT64),
                "truths": ListOf(Scalar.BOOL),
                "singles": ListOf(Scalar.FLOAT),
                "counts": map_of(Scalar.STRING, Scalar.INT64),
                "by_number": map_of(Scalar.INT32, inner),
                "by_truth": map_of(Scalar.BOOL, Scalar.BYTES),
                "by_huge": map_of(Scalar.INT64, Scalar.DOUBLE),
                "at": RecordOf((Column("seconds", Scalar.INT64), Column("nanos", Scalar.INT32))),
                "wrapped": RecordOf((Column("value", Scalar.STRING),)),
                "nothing": RecordOf(),
                "tree": tree,
            },
        )
        self.assertEqual([column.name for column in record.columns][:4], ["truth", "small", "zigzag", "fixed_signed"])
        self.assertEqual([column.name for column in inner.columns][:2], ["id", "label"])
        self.assertFalse(any(column.required for column in record.columns))

    def test_same_object(self) -> None:
        """Columns of one type are the same object each time."""
        codec = self.codec(NESTED)
        self.assertIs(codec.row(b"\0")[0], codec.row(b"\0")[0])
        self.assertIs(codec.row(b"\2\4")[0], codec.row(b"", (2,))[0])
        self.assertIsNot(codec.row(b"\0")[0], codec.row(b"\2\4")[0])

    def test_proto2(self) -> None:
        """What has to be there is required; a group is a record; extensions have no columns."""
        record, _ = self.codec(PROTO2).row(b"", (1,))
        self.assertEqual(record.columns, (Column("note", Scalar.STRING),))
        record, _ = self.codec(PROTO2).row(b"\0\x08\1")
        self.assertEqual(
            record.columns[:4],
            (
                Column("id", Scalar.INT64, required=True),
                Column("note", Scalar.STRING),
                Column("line", ListOf(RecordOf((Column("amount", Scalar.INT32),)))),
                Column("part", RecordOf((Column("whole", Scalar.BOOL, required=True),))),
            ),
        )

    def test_struct(self) -> None:
        """Google's Struct, which has itself within, comes to an end."""
        text = 'syntax = "proto3"; import "google/protobuf/struct.proto"; message A { google.protobuf.Struct any = 1; }'
        codec = self.codec(text)
        made = message_class(resolved(text), "A")()
        made.any.update({"a": 1, "b": ["x", None], "c": {"d": True}})
        record, fields = codec.row(b"\0" + made.SerializeToString())
        self.assertEqual(read(fields), values_of(made))
        self.assertEqual([entry["key"] for entry in read(fields)["any"]["fields"]], ["a", "b", "c"])
        record_type(record)

    def test_messages_without_end(self) -> None:
        """Messages that share others over and over have so many columns and no more."""
        text = 'syntax = "proto3"; message M60 { int32 x = 1; }' + "".join(
            f"message M{n} {{ M{n + 1} a = 1; repeated M{n + 1} b = 2; map<string, M{n + 1}> c = 3; }}"
            for n in range(60)
        )
        codec = self.codec(text)
        record, _ = codec.row(b"", (1,))
        self.assertLess(len(RecordType.FromString(record_type(record)).SerializeToString()), 40 * MOST_COLUMNS)
        self.assertLess(self.size(record), 2 * MOST_COLUMNS)

    def size(self, kind: Any) -> int:
        """How many columns there are in all."""
        if isinstance(kind, ListOf):
            return self.size(kind.element)
        return sum(1 + self.size(column.type) for column in kind.columns) if isinstance(kind, RecordOf) else 0

    def test_chain(self) -> None:
        """Messages that stand deep in one another end in bytes, and the row has them."""
        text = 'syntax = "proto3"; ' + "".join(f"message M{n} {{ map<int32, M{n + 1}> m = 1; }}" for n in range(30))
        codec = self.codec(text + "message M30 { int32 x = 1; }")
        made = message_class(resolved(text + "message M30 { int32 x = 1; }"), "M0")()
        inner = made
        for _ in range(30):
            inner = inner.m[5]
        inner.x = 9
        record, fields = codec.row(b"\0" + made.SerializeToString())
        record_type(record)
        value: Any = read(fields)
        while isinstance(value, dict):
            value = value["m"][0]["value"]
        self.assertTrue(value.endswith(b"\x08\x09"))

    def test_long_names(self) -> None:
        """Names stand in every row: a field whose name is very long has no column, and its message is read."""
        long = "n" * (MOST_NAME + 1)
        record, fields = self.codec(f'syntax = "proto3"; message A {{ int32 {long} = 1; int32 b = 2; }}').row(
            b"\0\x08\1\x10\2"
        )
        self.assertEqual((record.columns, read(fields)), ((Column("b", Scalar.INT32),), {"b": 2}))

    def test_names_of_python(self) -> None:
        """Fields may be called as Python's words and as the methods of its messages are."""
        names = ("class", "None", "ListFields", "DESCRIPTOR", "HasField", "__class__", "from")
        text = "".join(f"int32 {name} = {n};" for n, name in enumerate(names, 1))
        text += "".join(f"optional int32 {name}2 = {n + 7};" for n, name in enumerate(names, 1))
        record, fields = self.codec(f'syntax = "proto3"; message A {{ {text} }}').row(
            b"\0" + b"".join(bytes((n << 3, n)) for n in range(1, 15))
        )
        self.assertEqual(read(fields), {column.name: n for n, column in enumerate(record.columns, 1)})
        self.assertEqual([column.name for column in record.columns][:7], list(names))
        codec = self.codec(
            'syntax = "proto2"; message A { required int32 IsInitialized = 1; optional int32 HasField = 2;'
            " optional A SerializePartialToString = 3; message FromString {} }"
        )
        self.assertEqual(
            read(codec.row(b"\0\x08\1\x1a\2\x08\2")[1]), {"IsInitialized": 1, "SerializePartialToString": b"\x08\2"}
        )
        self.assertIn("requires", self.refused(codec, b"\0\x10\1"))


class RowTests(CodecStage):
    """What rows messages are."""

    def test_everything(self) -> None:
        """Each kind of value by a message with all of them."""
        made = message_class(resolved(EVERYTHING), "shop.Everything")(
            truth=True, small=-1, zigzag=-2, fixed_signed=-3, large=-4, large_zigzag=-5, large_fixed=1 << 40,
            unsigned=(1 << 32) - 1, unsigned_fixed=1 << 31, huge=(1 << 64) - 1, huge_fixed=1 << 63, single=0.1,
            number=0.1, text="é", raw=b"\xff", colour=-2, maybe=0, maybe_text="", maybe_number=0.0,
            inner={"id": 0, "label": "x", "deeper": {}}, numbers=[0, 1, -1], texts=["", "a"], inners=[{}, {"id": 3}],
            colours=[3, 99], huges=[1 << 63], counts={"b": 2, "a": 0}, by_number={-1: {"id": 1}, 1: {}},
            by_truth={True: b"t", False: b""}, by_huge={(1 << 64) - 1: 0.0, 1: 1.0}, inner_of_it={},
            at={"seconds": 1_700_000_000, "nanos": 5}, wrapped={}, truths=[False, True], singles=[0.5],
            nothing={}, tree={"name": "root", "left": {"name": "l"}, "others": [{}], "named": {"k": {"name": "v"}}},
        )  # fmt: skip
        _, fields = self.codec(EVERYTHING).row(b"\0" + made.SerializeToString())
        single = struct.unpack("<f", struct.pack("<f", 0.1))[0]
        self.assertEqual(
            read(fields),
            {
                "truth": True, "small": -1, "zigzag": -2, "fixed_signed": -3, "large": -4, "large_zigzag": -5,
                "large_fixed": 1 << 40, "unsigned": (1 << 32) - 1, "unsigned_fixed": 1 << 31, "huge": -1,
                "huge_fixed": -1 << 63, "single": single, "number": 0.1, "text": "é", "raw": b"\xff", "colour": -2,
                "maybe": 0, "maybe_text": "", "maybe_number": 0.0, "inner": {"label": "x", "deeper": {}},
                "numbers": [0, 1, -1], "texts": ["", "a"], "inners": [{}, {"id": 3}], "colours": [3, 99],
                "huges": [-1 << 63], "counts": [{"key": "a", "value": 0}, {"key": "b", "value": 2}],
                "by_number": [{"key": -1, "value": {"id": 1}}, {"key": 1, "value": {}}],
                "by_truth": [{"key": False, "value": b""}, {"key": True, "value": b"t"}],
                "by_huge": [{"key": 1, "value": 1.0}, {"key": -1, "value": 0.0}],
                "inner_of_it": {}, "at": {"seconds": 1_700_000_000, "nanos": 5}, "wrapped": {},
                "truths": [False, True], "singles": [0.5], "nothing": {},
                "tree": {"name": "root", "left": b"\x0a\1l", "others": [b""],
                         "named": [{"key": "k", "value": b"\x0a\1v"}]},
            },
        )  # fmt: skip
        kinds = read_kinds(fields)
        self.assertEqual(kinds["small"], "int32_value")
        self.assertEqual(kinds["unsigned"], "int64_value")
        self.assertEqual(kinds["single"], "float_value")
        self.assertEqual(kinds["colours"], ["int32_value", "int32_value"])
        self.assertEqual(kinds["by_huge"][0], {"key": "int64_value", "value": "double_value"})
        self.assertEqual(kinds["tree"]["left"], "bytes_value")

    def test_any_message(self) -> None:
        """The row of any message is what google.protobuf says is in it."""
        codec = self.codec(EVERYTHING)
        made = message_class(resolved(EVERYTHING), "shop.Everything")

        @given(messages(made))
        @settings(max_examples=150, deadline=None)
        def examine(message: Any) -> None:
            record, fields = codec.row(b"\0" + message.SerializeToString())
            self.assertEqual(repr(read(fields)), repr(self.in_order(values_of(message), read(fields))))
            self.conforms(read_kinds(fields), record)

        examine()

    def in_order(self, want: Any, found: dict[str, Any]) -> Any:
        """What was wanted with the names in the order found, so that minus zero is told from zero by its text."""
        self.assertEqual(want, found)
        return {name: self.same_order(want[name], found[name]) for name in found}

    def same_order(self, want: Any, found: Any) -> Any:
        """As L{in_order} of any value."""
        if isinstance(found, dict):
            return self.in_order(want, found)
        return [self.same_order(*pair) for pair in zip(want, found, strict=True)] if isinstance(found, list) else want

    def conforms(self, kinds: Any, declared: Any) -> None:
        """Whether values are of the kinds that their columns say."""
        if isinstance(declared, RecordOf):
            columns = {column.name: column.type for column in declared.columns}
            for name, kind in kinds.items():
                self.conforms(kind, columns[name])
        elif isinstance(declared, ListOf):
            for kind in kinds:
                self.conforms(kind, declared.element)
        else:
            self.assertEqual(kinds, f"{declared.name.lower()}_value")

    def test_numbers_without_equals(self) -> None:
        """NaN and infinity, which proto3 has too."""
        _, fields = self.codec(EVERYTHING).row(
            b"\0" + b"\x65" + struct.pack("<f", math.nan) + b"\x69" + struct.pack("<d", -math.inf)
        )
        row = read(fields)
        self.assertTrue(math.isnan(row["single"]))
        self.assertEqual(row["number"], -math.inf)

    def test_parts_in_pieces(self) -> None:
        """Fields may come in any order, packed or not, and a message in pieces, of which later ones add."""
        payload = b"".join(
            (
                b"\xa2\1\2\x10\5",  # inner.id = 5
                b"\xa8\1\1",  # numbers, one by one
                b"\xa2\1\3\x0a\1x",  # inner.label
                b"\xaa\1\2\2\3",  # numbers, packed
                b"\x10\1\x10\2",  # small, the last one counts
                b"\xf8\x3f\1",  # a field that is not known
            )
        )
        _, fields = self.codec(EVERYTHING).row(b"\0" + payload)
        self.assertEqual(read(fields), {"small": 2, "inner": {"id": 5, "label": "x"}, "numbers": [1, 2, 3]})

    def test_text_that_is_none(self) -> None:
        """proto2 lets pass text that is no UTF-8; a row has it with replacement characters."""
        _, fields = self.codec(PROTO2).row(b"\0\x08\1\x12\2a\xff")
        self.assertEqual(read(fields), {"id": 1, "note": "a\ufffd"})

    def test_defaults_of_proto2(self) -> None:
        """A default is for who reads: what was not set is not in the row."""
        _, fields = self.codec(PROTO2).row(b"\0\x08\0\x1b\x1c\x1b\x08\7\x1c")
        self.assertEqual(read(fields), {"id": 0, "line": [{}, {"amount": 7}]})

    def test_editions(self) -> None:
        """Files of an edition instead of a syntax, with presence as it says."""
        codec = self.codec(
            'edition = "2023"; message A { int32 set = 1; int32 implied = 2 [features.field_presence = IMPLICIT];'
            " A.B group = 3 [features.message_encoding = DELIMITED]; message B { bool c = 1; } }"
        )
        record, fields = codec.row(b"\0\x08\0\x10\0\x1b\x08\1\x1c")
        self.assertEqual([column.name for column in record.columns], ["set", "implied", "group"])
        self.assertEqual(read(fields), {"set": 0, "group": {"c": True}})


class WayTests(CodecStage):
    """Which message a value is."""

    def test_zigzag(self) -> None:
        """As serializers write it now: the short form, others of the file, and those within."""
        codec = self.codec(NESTED)
        self.assertEqual(read(codec.row(b"\0\x0a\1x")[1]), {"one": "x"})
        self.assertEqual(read(codec.row(index_array((2,)) + b"\x0d\1\0\0\0")[1]), {"three": 1})
        self.assertEqual(read(codec.row(index_array((0, 0)) + b"\x08\3")[1]), {"deep": 3})
        self.assertEqual(read(codec.row(b"\2\0\x0a\1x")[1]), {"one": "x"})

    def test_deprecated(self) -> None:
        """As Java's serializer once wrote it, in plain varints."""
        codec = self.codec(NESTED)
        self.assertEqual(read(codec.row(index_array((2,), zigzag=False) + b"\x0d\1\0\0\0")[1]), {"three": 1})
        self.assertEqual(read(codec.row(index_array((0, 0), zigzag=False) + b"\x08\3")[1]), {"deep": 3})

    def test_absent(self) -> None:
        """As kafkajs writes it: there is nothing in front of the first message."""
        codec = self.codec(NESTED)
        self.assertEqual(read(codec.row(b"\x0a\1x")[1]), {"one": "x"})
        self.assertEqual(read(codec.row(b"")[1]), {})
        made = message_class(resolved(EVERYTHING), "shop.Everything")
        everything = self.codec(EVERYTHING)

        @given(messages(made))
        @settings(max_examples=40, deadline=None)
        def examine(message: Any) -> None:
            self.assertEqual(read(everything.row(message.SerializeToString())[1]), values_of(message))

        examine()

    def test_given(self) -> None:
        """As a header has it: the payload is nothing but the message."""
        codec = self.codec(NESTED)
        self.assertEqual(read(codec.row(b"\x0a\1x", (0,))[1]), {"one": "x"})
        self.assertEqual(read(codec.row(b"\x0a\1x", (1, 2))[1]), {"right": "x"})
        self.assertIn("does not have", self.refused(codec, b"", (7,)))
        self.assertIn("does not have", self.refused(codec, b"", (0, 0, 0)))
        self.assertIn("no message", self.refused(codec, b"\0\x0a\1x", (0,)))

    def test_entries_of_maps(self) -> None:
        """
        Clients that count in descriptors count the entries of maps among messages, Java's does not; both are read.

        Where a number means two messages, it is the one that the bytes are.
        """
        codec = self.codec(NESTED)
        # the entry, Left, Right; and Left, Right
        self.assertEqual(read(codec.row(index_array((1, 2)) + b"\x0a\1x")[1]), {"right": "x"})
        self.assertEqual(read(codec.row(index_array((1, 0)) + b"\x08\5")[1]), {"left": 5})
        self.assertEqual(read(codec.row(index_array((1, 1)) + b"\x08\5")[1]), {"left": 5})
        text = NESTED.replace("int32 left = 1;", "repeated fixed64 left = 1;")
        codec = self.codec(text)
        self.assertEqual(read(codec.row(index_array((1, 1)) + b"\x0a\1x")[1]), {"right": "x"})

    def test_names(self) -> None:
        """A value says the name of its message, of which subjects may be made."""
        codec = self.codec(EVERYTHING)
        self.assertEqual(codec.message_name(b"\0"), "shop.Everything")
        self.assertEqual(codec.message_name(index_array((0, 0))), "shop.Everything.Inner")
        self.assertEqual(codec.message_name(b"", (1,)), "shop.Tree")
        self.assertEqual(codec.message_name(b""), "shop.Everything")
        self.assertEqual(codec.message_name(b"\xff\xff"), "")
        self.assertEqual(codec.message_name(b"", (9,)), "")

    def test_many_types(self) -> None:
        """A file may have more messages than are kept ready; each is read as its own, again and again."""
        fields = "".join(f"int32 a{n} = {n};" for n in range(1, 1000))
        codec = self.codec('syntax = "proto3"; ' + "".join(f"message M{n} {{ {fields} }}" for n in range(8)))
        for _ in range(2):
            for index in range(8):
                record, row = codec.row(index_array((index,)) + b"\x08\5")
                self.assertEqual((len(record.columns), read(row)), (999, {"a1": 5}))
                self.assertEqual(codec.message_name(b"", (index,)), f"M{index}")


class RefusalTests(CodecStage):
    """What is no message."""

    def test_malformed(self) -> None:
        """Bytes that are no fields, cut ones, text that is no UTF-8, unknown indexes, other formats."""
        codec = self.codec(NESTED)
        for payload in (
            b"\0\x0a\5x",
            b"\0\x0a\1x\0",
            b"\0\x0a\2\xff\xfe",
            b"\0\x0b",
            b"\0\x0c",
            b"\x12\xff",
            b"\6\2\2\2\x0a\1x",
            b'{"one": "x"}',
            b"\x80" * 30,
        ):
            self.assertIn("no message", self.refused(codec, payload))

    def test_required(self) -> None:
        """A field that proto2 requires is missing, in the message or one within."""
        codec = self.codec(PROTO2)
        self.assertIn("requires", self.refused(codec, b"\0\x12\1x"))
        self.assertIn("requires", self.refused(codec, b"\0\x08\1\x22\0"))
        self.assertEqual(read(codec.row(b"\0\x08\1\x22\2\x08\0")[1]), {"id": 1, "part": {"whole": False}})
        self.assertIn("requires", self.refused(codec, b""))

    def test_keys_that_are_no_text(self) -> None:
        """proto2 lets them pass, and no record has such names."""
        codec = self.codec(PROTO2)
        payload = b"\0\x08\1\x2a\6\x0a\2\xff\xfe\x10\5"
        codec.check(payload)
        self.assertIn("UTF-8", self.assertRaises(Undecodable, codec.row, payload).reason)

    def test_depth(self) -> None:
        """Messages that are deeper than parsers go are refused by all of them."""
        codec = self.codec(EVERYTHING)
        payload = b""
        for _ in range(120):
            payload = b"\x12" + self.length(len(payload)) + payload
        self.assertIn("no message", self.refused(codec, payload, (1,)))
        self.assertIn("no message", self.refused(codec, b"\xf3\7" * 50_000, (1,)))

    def length(self, number: int) -> bytes:
        """A short varint."""
        return bytes((number,)) if number < 128 else bytes((number & 0x7F | 0x80, number >> 7))

    def test_reasons_have_no_data(self) -> None:
        """The same is said of all values of which the same is wrong."""
        codec = self.codec(NESTED)
        self.assertEqual(len({self.refused(codec, b"\0\x0a\5" + secret) for secret in (b"abc", b"xyz", b"")}), 1)

    def test_any_bytes(self) -> None:
        """Any bytes are a row or no message, and nothing else happens."""
        codecs = [self.codec(text) for text in (EVERYTHING, PROTO2, NESTED)]

        @given(st.binary(max_size=60))
        @settings(max_examples=200, deadline=None)
        def examine(payload: bytes) -> None:
            for codec in codecs:
                try:
                    record, fields = codec.row(payload)
                except Undecodable:
                    continue
                self.conforms(fields, record)

        examine()

    def conforms(self, fields: bytes, record: RecordOf) -> None:
        """Whether a row has nothing but what is declared."""
        self.assertLessEqual(set(read(fields)), {column.name for column in record.columns})

    def test_damaged_messages(self) -> None:
        """Messages of which a byte is another one."""
        codec = self.codec(EVERYTHING)
        made = message_class(resolved(EVERYTHING), "shop.Everything")

        @given(messages(made), st.integers(0, 1 << 20), st.integers(0, 255))
        @settings(max_examples=100, deadline=None)
        def examine(message: Any, place: int, byte: int) -> None:
            data = bytearray(b"\0" + message.SerializeToString())
            data[place % len(data)] = byte
            try:
                record, fields = codec.row(bytes(data))
            except Undecodable:
                return
            self.conforms(fields, record)

        examine()


class ThreadTests(CodecStage):
    """Codecs are made and used on any thread."""

    def test_threads(self) -> None:
        """Threads that ask for a type at the same time get the same columns."""
        codec = self.codec(NESTED)
        found: list[RecordOf] = []
        barrier = threading.Barrier(4)

        def ask() -> None:
            barrier.wait()
            found.append(codec.row(b"", (1, 2))[0])

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(len({id(record) for record in found}), 1)
        self.assertEqual(len(found), 4)

    def test_framed(self) -> None:
        """A whole value, from its frame to its row."""
        framed = of_value(b"\0\0\0\0\7\4\2\4\x0a\1x")
        assert framed is not None
        self.assertEqual(read(self.codec(NESTED).row(framed.payload, framed.indexes)[1]), {"right": "x"})
