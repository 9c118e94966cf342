"""The Avro codec: its rows as google.protobuf reads them, against what was written."""

from __future__ import annotations

import json
import math
import struct
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kgw.schema.avro import AvroCodec
from kgw.schema.columns import Column, ColumnType, ListOf, RecordOf, Scalar
from kgw.schema.model import RegisteredSchema, ResolvedSchema, SchemaType, Undecodable
from kgw.schema.record_type import record_type
from kgw.test.avro_strategies import NOTHING, Made, codec, for_fastavro, text_of, told, written
from kgw.test.record_values import read, read_kinds

LOOSE = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])


def record(*fields: Any, name: str = "R") -> dict[str, Any]:
    """A record of types with names C{a}, C{b}, ..."""
    return {
        "type": "record",
        "name": name,
        "fields": [{"name": "abcdefgh"[i], "type": t} for i, t in enumerate(fields)],
    }


def zigzag(number: int) -> bytes:
    """A number as Avro writes it."""
    left, out = number << 1 ^ number >> 63, bytearray()
    while left > 127:
        out.append(left & 127 | 128)
        left >>= 7
    return bytes((*out, left))


class TypeTests(SynchronousTestCase):
    """What each type is as a column."""

    def one(self, schema: Any, value: Any, column: ColumnType | None, expected: Any, kind: Any) -> None:
        """One field of a type."""
        whole = record(schema)
        made = codec(whole)
        payload = written(whole, {"a": value})
        made.check(payload)
        columns, fields = made.row(payload)
        self.assertEqual([one.type for one in columns.columns], [] if column is None else [column])
        self.assertEqual(read(fields), {} if expected is None else {"a": expected})
        self.assertEqual(read_kinds(fields), {} if kind is None else {"a": kind})

    def test_scalars(self) -> None:
        """Scalars are scalars, at their edges too."""
        self.one("boolean", True, Scalar.BOOL, True, "bool_value")
        self.one("boolean", False, Scalar.BOOL, False, "bool_value")
        for number in (0, -1, 1, 63, 64, -64, -65, 8191, 8192, -8193, (1 << 31) - 1, -(1 << 31)):
            self.one("int", number, Scalar.INT32, number, "int32_value")
            self.one("long", number, Scalar.INT64, number, "int64_value")
        for bits in range(63):
            for number in (1 << bits, -(1 << bits), (1 << bits) - 1):
                self.one("long", number, Scalar.INT64, number, "int64_value")
        self.one("long", -(1 << 63), Scalar.INT64, -(1 << 63), "int64_value")
        self.one("float", 1.5, Scalar.FLOAT, 1.5, "float_value")
        self.one("double", math.inf, Scalar.DOUBLE, math.inf, "double_value")
        for size in (0, 1, 63, 64, 127, 128, 300, 20000):
            self.one("bytes", b"\xff" * size, Scalar.BYTES, b"\xff" * size, "bytes_value")
            self.one("string", "é" * size, Scalar.STRING, "é" * size, "string_value")

    def test_named(self) -> None:
        """Enums are their symbols, fixed types bytes, records records."""
        self.one({"type": "enum", "name": "E", "symbols": ["X", "Y"]}, "Y", Scalar.STRING, "Y", "string_value")
        self.one({"type": "fixed", "name": "F", "size": 3}, b"abc", Scalar.BYTES, b"abc", "bytes_value")
        inner = RecordOf((Column("a", Scalar.INT64, True), Column("b", Scalar.STRING)))
        self.one(
            record("long", ["null", "string"], name="I"), {"a": 1, "b": None}, inner, {"a": 1}, {"a": "int64_value"}
        )

    def test_logical_types(self) -> None:
        """Logical types are what they are written as, in their own unit, whatever a date could not be."""
        for base, logical, value, column, kind in (
            ("int", "date", 2_000_000_000, Scalar.INT32, "int32_value"),
            ("int", "time-millis", 86_399_999, Scalar.INT32, "int32_value"),
            ("long", "time-micros", 1, Scalar.INT64, "int64_value"),
            ("long", "timestamp-millis", -(1 << 60), Scalar.INT64, "int64_value"),
            ("long", "timestamp-micros", 1 << 62, Scalar.INT64, "int64_value"),
            ("long", "local-timestamp-millis", 1_700_000_000_123, Scalar.INT64, "int64_value"),
            ("string", "uuid", "not a uuid", Scalar.STRING, "string_value"),
            ("bytes", "decimal", b"\xf6\x5b", Scalar.BYTES, "bytes_value"),
        ):
            schema = record({"type": base, "logicalType": logical, "precision": 4, "scale": 2})
            columns, fields = codec(schema).row(written(record(base), {"a": value}))
            self.assertEqual(columns, RecordOf((Column("a", column, True),)))
            self.assertEqual((read(fields), read_kinds(fields)), ({"a": value}, {"a": kind}))

    def test_unions(self) -> None:
        """Null and one type is that type; more are a record with the branch that is there, of two numbers too."""
        for union in (["null", "long"], ["long", "null"]):
            self.one(union, 5, Scalar.INT64, 5, "int64_value")
            self.one(union, None, Scalar.INT64, None, None)
        self.one(["string"], "x", Scalar.STRING, "x", "string_value")
        self.one(["null"], None, None, None, None)
        numbers = RecordOf((Column("int", Scalar.INT32), Column("long", Scalar.INT64)))
        made = codec(record(["int", "long"]))
        for index, name in enumerate(("int", "long")):
            columns, fields = made.row(zigzag(index) + zigzag(7))
            self.assertEqual(columns, RecordOf((Column("a", numbers, True),)))
            self.assertEqual(read(fields), {"a": {name: 7}})
            self.assertEqual(read_kinds(fields), {"a": {name: f"{name}{32 << index}_value".replace("long", "int")}})
        three: list[Any] = [
            "null",
            "string",
            {"type": "record", "name": "x.y.I", "fields": [{"name": "z", "type": "long"}]},
        ]
        column = RecordOf(
            (Column("string", Scalar.STRING), Column("x.y.I", RecordOf((Column("z", Scalar.INT64, True),))))
        )
        self.one(three, {"z": 3}, column, {"x.y.I": {"z": 3}}, {"x.y.I": {"z": "int64_value"}})
        self.one(three, "t", column, {"string": "t"}, {"string": "string_value"})
        self.one(three, None, column, None, None)

    def test_required(self) -> None:
        """Required is what null is not among."""
        columns = codec(
            record("long", ["null", "long"], ["long"], ["int", "string"], ["int", "null", "string"])
        ).columns
        self.assertEqual([column.required for column in columns.columns], [True, False, True, True, False])

    def test_arrays_and_maps(self) -> None:
        """Arrays are lists without nulls, maps records by key without nulls; in one another as well."""
        longs = {"type": "array", "items": "long"}
        self.one(longs, [], ListOf(Scalar.INT64), [], [])
        self.one(longs, [1, -2], ListOf(Scalar.INT64), [1, -2], ["int64_value"] * 2)
        nested = {"type": "array", "items": {"type": "map", "values": longs}}
        value = [{"x": [1], "y": []}, {}]
        self.one(nested, value, ListOf(RecordOf()), value, [{"x": ["int64_value"], "y": []}, {}])
        self.one({"type": "array", "items": ["null", "string"]}, ["a", None, "b"], ListOf(Scalar.STRING), ["a", "b"],
                 ["string_value"] * 2)  # fmt: skip
        self.one({"type": "map", "values": ["null", "int"]}, {"a": 1, "b": None}, RecordOf(), {"a": 1},
                 {"a": "int32_value"})  # fmt: skip

    def test_what_has_no_bytes(self) -> None:
        """Null, records without fields and arrays of them have no column, and an empty payload is a value."""
        empty = record(name="Empty")
        self.one("null", None, None, None, None)
        self.one(empty, {}, None, None, None)
        self.one({"type": "array", "items": "null"}, [None] * 3, None, None, None)
        self.one(["null", {"type": "array", "items": empty}], [{}], None, None, None)
        for schema in (empty, "null", record("null", empty)):
            made = codec(schema)
            made.check(b"")
            self.assertEqual(made.row(b""), (RecordOf(), b""))
            self.assertRaises(Undecodable, made.check, b"\0")

    def test_roots(self) -> None:
        """A schema that is no record has one column."""
        for schema, value, column, expected in (
            ("long", 7, Column("value", Scalar.INT64, True), 7),
            (["null", "string"], "x", Column("value", Scalar.STRING), "x"),
            ({"type": "array", "items": "int"}, [1, 2], Column("value", ListOf(Scalar.INT32), True), [1, 2]),
            ({"type": "map", "values": "int"}, {"a": 1}, Column("value", RecordOf(), True), {"a": 1}),
        ):
            columns, fields = codec(schema).row(written(schema, value))
            self.assertEqual(columns, RecordOf((column,)))
            self.assertEqual(read(fields), {"value": expected})
        self.assertEqual(codec(["null", "string"]).row(b"\0")[1], b"")

    def test_blocks(self) -> None:
        """Arrays and maps come in blocks, with their bytes told in front or not; numbers may have more bytes."""
        blocks = zigzag(-2) + zigzag(2) + zigzag(1) + zigzag(2) + zigzag(1) + zigzag(3) + b"\0"
        self.assertEqual(read(codec(record({"type": "array", "items": "int"})).row(blocks)[1]), {"a": [1, 2, 3]})
        entries = zigzag(-1) + zigzag(3) + b"\x02k" + zigzag(5) + zigzag(1) + b"\x02l" + zigzag(6) + b"\0"
        self.assertEqual(read(codec(record({"type": "map", "values": "int"})).row(entries)[1]), {"a": {"k": 5, "l": 6}})
        padded = codec(record("long", ["null", "string"]))
        self.assertEqual(read(padded.row(b"\x8e\x80\x00" + b"\x82\x80\x00" + b"\x82\x00x")[1]), {"a": 7, "b": "x"})

    def test_many_branches(self) -> None:
        """A union may have very many branches."""
        union = [{"type": "fixed", "name": f"F{index}", "size": 1} for index in range(1500)]
        made = codec(record(union))
        for index in (0, 1, 15, 16, 17, 747, 1499):
            made.check(zigzag(index) + b"x")
            self.assertEqual(read(made.row(zigzag(index) + b"x")[1]), {"a": {f"F{index}": b"x"}})
        for number in (-1, -8, 1500, 1 << 40):
            self.assertRaises(Undecodable, made.check, zigzag(number) + b"x")
            self.assertRaises(Undecodable, made.row, zigzag(number) + b"x")

    def test_columns_are_the_same_object(self) -> None:
        """Who keeps the type may ask whether it is the one."""
        made = codec(record("long"))
        self.assertIs(made.row(b"\2")[0], made.row(b"\4")[0])


class NameTests(SynchronousTestCase):
    """Types by their names, in one text and in several."""

    def test_used_again(self) -> None:
        """A named type is there wherever it is named, in its own name space first."""
        schema = {
            "type": "record", "name": "n.s.R", "fields": [
                {"name": "x", "type": {"type": "fixed", "name": "F", "size": 1}},
                {"name": "y", "type": {"type": "record", "name": "I", "namespace": "other", "fields": [
                    {"name": "z", "type": "n.s.F"},
                    {"name": "e", "type": {"type": "enum", "name": "F", "symbols": ["S"]}},
                    {"name": "f", "type": "F"}]}},
                {"name": "w", "type": ["null", "F"]},
                {"name": "v", "type": {"type": "array", "items": "other.I"}}]}  # fmt: skip
        _columns, fields = codec(schema).row(b"1" + b"2\0\0" + b"\x023" + b"\x02" + b"4\0\0" + b"\0")
        self.assertEqual(
            read(fields),
            {"x": b"1", "y": {"z": b"2", "e": "S", "f": "S"}, "w": b"3", "v": [{"z": b"4", "e": "S", "f": "S"}]},
        )

    def test_references(self) -> None:
        """What a schema refers to is known by its names, and what that refers to."""
        address = {"type": "record", "name": "t.Address", "fields": [{"name": "street", "type": "string"}]}
        person = {"type": "record", "name": "t.Person", "fields": [{"name": "home", "type": "Address"}]}
        made = codec(record("t.Person", ["null", "t.Address"]), {"t.Address": address, "t.Person": person})
        self.assertEqual(read(made.row(b"\x02x\x02\x02y")[1]), {"a": {"home": {"street": "x"}}, "b": {"street": "y"}})

    def test_names_do_not_leak(self) -> None:
        """Two codecs that know a name by different types keep to their own; what one knows another does not."""
        one = codec(record({"type": "fixed", "name": "T", "size": 1}, "T"))
        other = codec(record({"type": "enum", "name": "T", "symbols": ["S"]}, "T"))
        third = codec(record("T"), {"T": record("long", name="T")})
        self.assertEqual(read(one.row(b"xy")[1]), {"a": b"x", "b": b"y"})
        self.assertEqual(read(other.row(b"\0\0")[1]), {"a": "S", "b": "S"})
        self.assertEqual(read(third.row(b"\2")[1]), {"a": {"a": 1}})
        self.assertRaises(Undecodable, codec, record("T"))

    def test_recursion(self) -> None:
        """A record within itself is JSON, once, whichever way it comes back; beyond 200 it is refused."""
        tree = record("long", {"type": "array", "items": "R"}, ["null", "R"], {"type": "map", "values": "R"})
        leaf: dict[str, Any] = {"a": 1, "b": [], "c": None, "d": {}}
        inner = {"a": 2, "b": [leaf], "c": leaf, "d": {"k": leaf}}
        columns, fields = codec(tree).row(written(tree, {"a": 3, "b": [inner, leaf], "c": inner, "d": {"é": leaf}}))
        self.assertEqual(
            columns,
            RecordOf(
                (
                    Column("a", Scalar.INT64, True),
                    Column("b", ListOf(Scalar.STRING), True),
                    Column("c", Scalar.STRING),
                    Column("d", RecordOf(), True),
                )
            ),
        )
        row = read(fields)
        self.assertEqual([json.loads(text) for text in row["b"]], [inner, leaf])
        self.assertEqual((json.loads(row["c"]), json.loads(row["d"]["é"])), (inner, leaf))
        self.assertEqual(row["d"]["é"], '{"a":1,"b":[],"c":null,"d":{}}')

    def test_json_of_all_types(self) -> None:
        """What is JSON has all types as JSON has them."""
        parts = record(
            "boolean", "int", "bytes", "double", "float", {"type": "enum", "name": "E", "symbols": ["S"]},
            {"type": "fixed", "name": "F", "size": 2}, ["null", "string"], name="P",
        )  # fmt: skip
        node = record(["null", "R"], ["null", parts])
        value = {"a": True, "b": -5, "c": b"\0\xff", "d": math.nan, "e": 0.5, "f": "S", "g": b"ab", "h": "ü"}
        payload = written(node, {"a": {"a": None, "b": value}, "b": None})
        expected = {"a": None, "b": dict(value, c="\0\xff", d="nan", g="ab")}
        self.assertEqual(json.loads(read(codec(node).row(payload)[1])["a"]), expected)


class HostileTests(SynchronousTestCase):
    """Payloads and schemas made to break the reader."""

    def refused(self, schema: Any, payload: bytes, reason: str) -> None:
        """A payload is refused by both ways, for one reason."""
        made = codec(schema)
        for way in (made.check, made.row):
            error = self.assertRaises(Undecodable, way, payload)
            self.assertIn(reason, error.reason)

    def test_payloads(self) -> None:
        """What is no value is refused, with a reason that has nothing of the data."""
        array = {"type": "array", "items": "int"}
        for schema, payload, reason in (
            ("long", b"\x02\x00", "bytes behind the value"),
            ("long", b"", "too early"),
            ("long", b"\x80", "too early"),
            ("long", b"\xff" * 9 + b"\x02", "64 bits"),
            ("long", b"\x80" * 10 + b"\x00", "64 bits"),
            ("int", b"\x80\x80\x80\x80\x10", "32 bits"),
            ("float", b"123", "too early"),
            ("double", b"1234567", "too early"),
            ("string", b"\x06ab", "too early"),
            ("string", b"\x04\xc3\x28", "UTF-8"),
            ("string", b"\x06\xed\xa0\x80", "UTF-8"),
            ("string", b"\x01", "negative"),
            ("string", zigzag(1 << 62) + b"ab", "too early"),
            ("bytes", b"\x01", "negative"),
            ("boolean", b"\x02", "neither 0 nor 1"),
            ({"type": "fixed", "name": "F", "size": 4}, b"abc", "too early"),
            ({"type": "enum", "name": "E", "symbols": ["S"]}, b"\x02", "no such symbol"),
            ({"type": "enum", "name": "E", "symbols": ["S"]}, b"\x01", "no such symbol"),
            ({"type": "enum", "name": "E", "symbols": []}, b"\x00", "no such symbol"),
            (["null", "int"], b"\x04", "no such branch"),
            (["null", "int"], b"\x01", "no such branch"),
            (["long", "int"], b"\x04\0", "no such branch"),
            ([], b"\x00", "no such branch"),
            (array, b"\x02\x02", "too early"),
            (array, zigzag(1 << 60), "too early"),
            (array, zigzag(-(1 << 63)) + b"\0", "too early"),
            (array, zigzag(-1) + zigzag(-1) + b"\0\0", "negative"),
            ({"type": "map", "values": "null"}, b"\x02\x03", "negative"),
            ({"type": "map", "values": "null"}, b"\x02\x02\xff\x00", "UTF-8"),
            ({"type": "array", "items": "double"}, zigzag(1 << 50) + b"\0" * 80, "too early"),
        ):  # fmt: skip
            self.refused(schema, payload, reason)
            self.refused(record(schema), payload, reason)

    def test_items_without_bytes(self) -> None:
        """Any number of items that take no bytes takes no time."""
        for items in ("null", record(), {"type": "fixed", "name": "F", "size": 0}):
            made = codec({"type": "array", "items": items})
            payload = zigzag(1 << 60) + zigzag(-(1 << 61)) + b"\0" + b"\0"
            made.check(payload)
            self.assertEqual(made.row(payload)[1], b"")
        made = codec({"type": "array", "items": {"type": "array", "items": "null"}})
        made.check(zigzag(3) + (zigzag(1 << 62) + b"\0") * 3 + b"\0")

    def test_deep_values(self) -> None:
        """Values in values go so deep and no deeper, and never break the stack."""
        chain = record(["null", "R"])
        made = codec(chain)
        made.check(b"\2" * 150 + b"\0")
        self.assertEqual(list(read(made.row(b"\2" * 150 + b"\0")[1])), ["a"])
        self.refused(chain, b"\2" * 100_000 + b"\0", "deep")
        lists = record({"type": "array", "items": "R"})
        self.refused(lists, b"\2" * 100_000, "deep")
        self.refused(record("R"), b"\2" * 1000, "bytes behind the value")

    def test_many_values_of_few_bytes(self) -> None:
        """A row does not become many times what it is made of without end."""
        fields = [{"name": "x" * 1000 + str(index), "type": "int"} for index in range(10)]
        wide = {"type": "array", "items": {"type": "record", "name": "W", "fields": fields}}
        whole = record(wide, {"type": "array", "items": "W"})
        payload = zigzag(1000) + b"\0" * 10_000 + b"\0"
        made = codec(whole)
        made.row(payload + b"\0")
        large = zigzag(2000) + b"\0" * 20_000 + b"\0"
        made.check(large + b"\0")
        error = self.assertRaises(Undecodable, made.row, large + b"\0")
        self.assertIn("16 MiB", error.reason)
        self.assertRaises(Undecodable, made.row, payload + payload)

    def test_floats_behind_the_end(self) -> None:
        """Records in records of floats, more than the payload could have, are not walked over one by one."""
        kinds: Any = "float"
        for level in range(30):
            kinds = {"type": "record", "name": f"L{level}", "fields": [
                {"name": "a", "type": kinds}, {"name": "b", "type": kinds["name"] if level else kinds}]}  # fmt: skip
        made = codec(kinds)
        self.assertRaises(Undecodable, made.check, b"\0" * 100)
        self.assertRaises(Undecodable, made.row, b"\0" * 100)

    def test_wide_and_deep_schemas(self) -> None:
        """Types used again and again do not make columns without end, nor deeper than the engine takes."""
        kinds: Any = ["null", "string"]
        for level in range(28):
            name = kinds["name"] if level else kinds
            kinds = {"type": "record", "name": f"L{level}", "fields": [
                {"name": "a", "type": ["null", kinds] if level else kinds},
                *({"name": f"b{index}", "type": ["null", name] if level else name} for index in range(4))]}  # fmt: skip
        made = codec(kinds)
        self.assertLess(len(record_type(made.columns)), 1 << 20)
        made.check(b"\0" * 5)
        self.assertEqual(made.row(b"\0" * 5)[1], b"")
        nested: Any = "long"
        for _level in range(50):
            nested = {"type": "array", "items": nested}
        columns, fields = codec(record(nested)).row(b"\2" * 50 + b"\6" + b"\0" * 50)
        record_type(columns)
        found = read(fields)["a"]
        while isinstance(found, list):
            (found,) = found
        self.assertEqual(found.strip("[]"), "3")

    def test_schemas(self) -> None:
        """What is no Avro schema is refused as such."""
        deep: Any = "long"
        for _level in range(100):
            deep = {"type": "array", "items": deep}
        for schema in (
            "", "{", "7", "null", '"unknown"', "[" * 100_000, '{"type": ' * 100_000, "[[]]", '["int", "int"]',
            '[["int"]]', "{}", '{"type": "array"}', '{"type": "map"}', '{"type": "record"}', '{"type": "enum"}',
            '{"type": "fixed", "name": "F"}', '{"type": "fixed", "name": "F", "size": -1}',
            '{"type": "fixed", "name": "F", "size": 1e9}', '{"type": "fixed", "name": "F", "size": true}',
            '{"type": "record", "name": "R", "fields": [7]}', '{"type": "record", "name": "", "fields": []}',
            '{"type": "record", "name": "\\ud800", "fields": []}', '{"type": "record", "name": 7, "fields": []}',
            '{"type": "record", "name": "R", "namespace": 7, "fields": []}',
            '{"type": "enum", "name": "E", "symbols": [7]}',
            deep, record("long", record("long")), record("Other"), {"type": "record", "name": "R", "fields": [
                {"name": "a", "type": "int"}, {"name": "a", "type": "int"}]},
            {"type": "record", "name": "R", "fields": [{"name": f"f{i}", "type": "int"} for i in range(5_001)]},
        ):  # fmt: skip
            text = schema if isinstance(schema, str) else json.dumps(schema)
            alone = ResolvedSchema(RegisteredSchema(1, SchemaType.AVRO, text))
            self.assertRaises(Undecodable, AvroCodec, alone)
        other = RegisteredSchema(2, SchemaType.JSON, "{}")
        mixed = ResolvedSchema(RegisteredSchema(1, SchemaType.AVRO, '"int"'), {"x": other})
        self.assertRaises(Undecodable, AvroCodec, mixed)

    def test_names_are_never_code(self) -> None:
        """Names and symbols that would be code in Python are names."""
        evil = "x'\"\\\n    raise SystemExit #"
        schema = {"type": "record", "name": evil, "__fastavro_parsed": True, "fields": [
            {"name": evil, "type": {"type": "enum", "name": "E" + evil, "symbols": [evil]}},
            {"name": "u", "type": ["int", {"type": "fixed", "name": "F" + evil, "size": 1}]}]}  # fmt: skip
        self.assertEqual(read(codec(schema).row(b"\0\2z")[1]), {evil: evil, "u": {"F" + evil: b"z"}})


class PropertyTests(SynchronousTestCase):
    """Any schema, any value, any bytes."""

    @LOOSE
    @given(st.data())
    def test_rows_tell_what_was_written(self, data: st.DataObject) -> None:
        """What fastavro writes by a schema is in the row, as protobuf reads it; half of it, or more, is refused."""
        made = Made(data)
        schema = {"type": "record", "name": "kgw.Root", "fields": [
            {"name": f"f{index}", "type": made.schema()} for index in range(data.draw(st.integers(1, 4)))]}  # fmt: skip
        value = made.value(schema)
        text = text_of(schema)
        payload = written(text, for_fastavro(schema, value))
        found = codec(text)
        found.check(payload)
        columns, fields = found.row(payload)
        expected = told(schema, value)
        self.assertEqual(read(fields), {} if expected is NOTHING else expected)
        names = {column.name for column in columns.columns}
        self.assertLessEqual(set(read(fields)), names)
        for column in columns.columns:
            if column.required:
                self.assertIn(column.name, read(fields))
        for broken in (payload[:-1], payload + b"\0"):
            if broken != payload:
                self.assertRaises(Undecodable, found.check, broken)
                self.assertRaises(Undecodable, found.row, broken)

    @LOOSE
    @given(st.data())
    def test_any_bytes(self, data: st.DataObject) -> None:
        """Any bytes are a value or Undecodable, and both ways agree which."""
        made = Made(data)
        schema = made.schema()
        text = text_of(schema)
        payload = data.draw(st.binary(max_size=60))
        if data.draw(st.booleans()):
            # a value with one byte of it another one: it goes wrong further in
            payload = written(text, for_fastavro(schema, made.value(schema)))
            if payload:
                at = data.draw(st.integers(0, len(payload) - 1))
                payload = payload[:at] + data.draw(st.binary(min_size=1, max_size=2)) + payload[at + 1 :]
        found = codec(text)
        outcomes = []
        for way in (found.check, found.row):
            try:
                way(payload)
                outcomes.append("")
            except Undecodable as error:
                outcomes.append(error.reason)
        self.assertEqual(bool(outcomes[0]), bool(outcomes[1]), outcomes)

    def test_floats_are_copied(self) -> None:
        """The bits of NaN stay as they are."""
        bits = struct.pack("<Q", 0x7FF8_0000_DEAD_BEEF)
        _columns, fields = codec(record("double")).row(bits)
        self.assertTrue(fields.endswith(bits))
