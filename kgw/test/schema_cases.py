"""Values with what a gateway could change of them, and tables of types with what their columns are; for live tests."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Mapping
from typing import Any, NamedTuple

import fastavro
from google.protobuf import message_factory

from kgw.schema.columns import Column, ColumnType, ListOf, RecordOf, Scalar
from kgw.schema.framing import index_array
from kgw.schema.protobuf_files import file_descriptor
from kgw.test.protobuf_schemas import resolved

AVRO, JSON, PROTOBUF = "AVRO", "JSON", "PROTOBUF"


class Case(NamedTuple):
    """
    A value that does not come back from every gateway as it was sent.

    @ivar payload: what stands behind the id; of Protobuf with the indexes in front.
    @ivar sound: it is what the schema says.
    """

    name: str
    type: str
    schema: str
    payload: bytes
    sound: bool = True


def record(*fields: Any, name: str = "kgw.Row") -> dict[str, Any]:
    """An Avro record; fields are types, called C{a}, C{b} ..., or whole fields."""
    made = [
        field if isinstance(field, dict) and "default" in field else {"name": "abcdefgh"[index], "type": field}
        for index, field in enumerate(fields)
    ]
    return {"type": "record", "name": name, "fields": made}


def logical(kind: str, name: str, **more: Any) -> dict[str, Any]:
    """A logical type of Avro."""
    return {"type": kind, "logicalType": name, **more}


def without_logical(schema: Any) -> Any:
    """A schema whose values are given as they are written: dates as numbers."""
    if isinstance(schema, list):
        return [without_logical(one) for one in schema]
    if isinstance(schema, dict):
        return {name: without_logical(one) for name, one in schema.items() if name not in ("logicalType", "scale")}
    return schema


def avro(schema: Any, value: Any) -> bytes:
    """A value as fastavro writes it."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(without_logical(schema)), value)
    return out.getvalue()


def _avro_cases() -> list[Case]:
    def case(name: str, schema: Any, value: Any) -> Case:
        return Case(f"avro, {name}", AVRO, json.dumps(schema), avro(schema, value))

    def given(name: str, schema: Any, payload: bytes, sound: bool = True) -> Case:
        return Case(f"avro, {name}", AVRO, json.dumps(schema), payload, sound)

    numbers = {"type": "array", "items": "long"}
    counts = {"type": "map", "values": "int"}
    tree = record("string", ["null", "kgw.Row"])
    inner = record("int", name="kgw.Inner")
    return [
        case("null in a union", record(["null", "string"]), {"a": None}),
        case("null of a default", record({"name": "a", "type": ["null", "int"], "default": None}), {"a": None}),
        case("a union's other order", record(["string", "null"], ["int", "string"]), {"a": None, "b": "x"}),
        case("null fields", record("null", "int"), {"a": None, "b": 1}),
        case("root array", numbers, [1, 2, 3]),
        case("root scalar", "string", "bare"),
        case("root null", "null", None),
        case("no fields", record(), {}),
        case("named type again", record(inner, "kgw.Inner"), {"a": {"a": 1}, "b": {"a": 2}}),
        case("recursion", tree, {"a": "x", "b": {"a": "y", "b": None}}),
        case("earlier version", record("int"), {"a": 1}),
        case("later version", record("int", {"name": "b", "type": "string", "default": ""}), {"a": 1, "b": "new"}),
        case("timestamp-millis", record(logical("long", "timestamp-millis")), {"a": 1_700_000_000_123}),
        case("timestamp beyond years", record(logical("long", "timestamp-micros")), {"a": (1 << 63) - 1}),
        case("date", record(logical("int", "date")), {"a": 19_000}),
        case("times", record(logical("int", "time-millis"), logical("long", "time-micros")), {"a": 1, "b": 2}),
        case("decimal", record(logical("bytes", "decimal", precision=9, scale=2)), {"a": b"\xcf\xc7"}),
        case("map", record(counts), {"a": {"z": 1, "a": 2, "m": 3}}),
        given("number of many bytes", record("int"), b"\x82\x80\x80\x00"),
        given("array in blocks", record(numbers), b"\x02\x02\x03\x04\x04\x06\x00"),
        given("map in blocks", record(counts), b"\x02\x02a\x02\x01\x06\x02b\x04\x00"),
        given("the same key twice", record(counts), b"\x04\x02a\x02\x02a\x04\x00"),
        given("NaN with a payload", record("double", "float"), b"\1\2\3\4\5\6\xf8\x7f" + b"\1\2\xc0\xff"),
        case("negative zero", record("double", "float"), {"a": -0.0, "b": -0.0}),
        given("bytes behind", record("int"), b"\x02behind", sound=False),
        given("cut short", record("string"), b"\x10abc", sound=False),
    ]


def _json_cases() -> list[Case]:
    anything = '{"type": "object"}'
    order = json.dumps(
        {"type": "object", "properties": {"n": {"type": "integer"}, "x": {"type": "number"}, "s": {"type": "string"}}}
    )

    def case(name: str, payload: str, schema: str = order, sound: bool = True) -> Case:
        return Case(f"json, {name}", JSON, schema, payload.encode(), sound)

    return [
        case("spaces", ' {\n\t"n" : 1 , "s":"a" }\r\n'),
        case("1.0", '{"x": 1.0, "n": 2.0}'),
        case("numbers as written", '{"x": 1E+2, "n": -0}'),
        case("big integer", '{"n": 12345678901234567890123}'),
        case("null", '{"s": null}', '{"properties": {"s": {"type": ["string", "null"]}}}'),
        case("unknown members", '{"z": {"b": [1, null], "a": "x"}, "n": 1}'),
        case("order of keys", '{"s": "", "x": 0.5, "n": 1}'),
        case("escapes", '{"s": "\\u00fc\\/\\ud83d\\ude00\\n"}'),
        case("no escapes", '{"s": "ü/😀"}'),
        case("root array", "[1, 2.50]", '{"type": "array"}'),
        case("root scalar", '"x"', '{"type": "string"}'),
        case("root null", "null", "{}"),
        case("nothing named", '{"a": {}}', anything),
        case("wrong type", '{"n": "one"}', sound=False),
        case("no JSON", '{"n": 1', sound=False),
    ]


MESSAGES = """
syntax = "proto3";
package kgw;
message First {
  uint32 small = 1;
  uint64 large = 2;
  repeated int32 numbers = 3;
  repeated string texts = 4;
  map<string, int32> counts = 5;
  string text = 6;
  message Within { string name = 1; }
  message Other { int64 id = 1; }
}
message Second { string name = 1; }
"""


def message(name: str, schema: str = MESSAGES, /, **values: Any) -> bytes:
    """A Protobuf message of a schema."""
    made = message_factory.GetMessageClass(file_descriptor(resolved(schema)).pool.FindMessageTypeByName(name))
    return bytes(made(**values).SerializeToString(deterministic=True))


def _protobuf_cases() -> list[Case]:
    def case(name: str, payload: bytes, sound: bool = True) -> Case:
        return Case(f"protobuf, {name}", PROTOBUF, MESSAGES, payload, sound)

    first = message("kgw.First", small=1 << 31, large=1 << 63, numbers=[1, -1], text="x")
    return [
        case("unsigned", b"\0" + first),
        case("unsigned, three bytes of indexes", b"\2\0" + first),
        case("repeated", b"\0" + message("kgw.First", numbers=[3, 2, 1], texts=["", "a"])),
        case("repeated, not packed", b"\0\x18\1\x18\2"),
        case("map", b"\0" + message("kgw.First", counts={"b": 1, "a": 2})),
        case("map, an entry without a value", b"\0\x2a\x03\x0a\x01k"),
        case("unknown fields", b"\0\xf2\x3e\x03new" + first),
        case("fields in another order", b"\0\x32\x01x\x08\x01"),
        case("a field twice", b"\0\x08\x01\x08\x02"),
        case("a zero that is written", b"\0\x08\x00"),
        case("JSON in a string", b"\0" + message("kgw.First", text='{"a": [1]}')),
        case("no fields", b"\0"),
        case("second message", index_array((1,)) + message("kgw.Second", name="s")),
        case("message within", index_array((0, 1)) + message("kgw.First.Other", id=5)),
        case("indexes of old", index_array((0, 0), zigzag=False) + message("kgw.First.Within", name="w")),
        case("no indexes", first),
        case("no message", b"\0\xff\xff", sound=False),
        case("no such message", index_array((7,)) + b"\x0f", sound=False),
    ]


def cases() -> list[Case]:
    """All that L{Case} says, one after the other; names are different, schemas not all."""
    return [*_avro_cases(), *_json_cases(), *_protobuf_cases()]


# Tables of types

#: There is no entry.
NOTHING: Any = object()
#: The engine's parquet writer makes nothing of it.
LOST: Any = object()


class Typed(NamedTuple):
    """
    A field, and what it is as a column.

    @ivar type: as a schema has it.
    @ivar value: as the serializer takes it.
    @ivar column: C{None}: it has no column.
    @ivar cell: what the row has; L{NOTHING}: no entry.
    @ivar parquet: what the engine's parquet has where that is something else than C{cell}.
    """

    name: str
    type: Any
    value: Any
    column: ColumnType | None
    cell: Any
    required: bool = True
    parquet: Any = None

    @property
    def archived(self) -> Any:
        """What is in the parquet; text is bytes there, and what its writer cannot write is L{LOST} or empty."""
        if self.parquet is LOST:
            return None
        return _as_bytes(self.cell if self.parquet is None else self.parquet)


def _as_bytes(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, list):
        return [_as_bytes(one) for one in value]
    if isinstance(value, Mapping):
        return {name: _as_bytes(one) for name, one in value.items()}
    return value


def columns_of(table: list[Typed]) -> RecordOf:
    """The columns of a table."""
    return RecordOf(tuple(Column(one.name, one.column, one.required) for one in table if one.column is not None))


def row_of(table: list[Typed]) -> dict[str, Any]:
    """The row of a table's values."""
    return {one.name: one.cell for one in table if one.cell is not NOTHING}


_POINT = RecordOf((Column("a", Scalar.INT32, True), Column("b", Scalar.STRING, True)))
_FLOAT = struct.unpack("<f", struct.pack("<f", 0.1))[0]

AVRO_TABLE = [
    Typed("truth", "boolean", True, Scalar.BOOL, True),
    Typed("small", "int", -5, Scalar.INT32, -5),
    Typed("large", "long", 1 << 62, Scalar.INT64, 1 << 62),
    Typed("single", "float", _FLOAT, Scalar.FLOAT, _FLOAT),
    Typed("number", "double", 0.1, Scalar.DOUBLE, 0.1),
    Typed("raw", "bytes", b"\0\xff", Scalar.BYTES, b"\0\xff"),
    Typed("text", "string", "grün", Scalar.STRING, "grün"),
    Typed("symbol", {"type": "enum", "name": "kgw.E", "symbols": ["A", "B"]}, "B", Scalar.STRING, "B"),
    Typed("exact", {"type": "fixed", "name": "kgw.F", "size": 3}, b"\1\2\3", Scalar.BYTES, b"\1\2\3"),
    Typed("at_date", logical("int", "date"), 19_000, Scalar.INT32, 19_000),
    Typed("at_time_ms", logical("int", "time-millis"), 1, Scalar.INT32, 1),
    Typed("at_time_us", logical("long", "time-micros"), 2, Scalar.INT64, 2),
    Typed("at_ms", logical("long", "timestamp-millis"), 1_700_000_000_123, Scalar.INT64, 1_700_000_000_123),
    Typed("at_us", logical("long", "timestamp-micros"), 1_700_000_000_123_456, Scalar.INT64, 1_700_000_000_123_456),
    Typed("at_local", logical("long", "local-timestamp-millis"), 7, Scalar.INT64, 7),
    Typed("price", logical("bytes", "decimal", precision=9, scale=2), b"\xcf\xc7", Scalar.BYTES, b"\xcf\xc7"),
    Typed("id", logical("string", "uuid"), "6f2c-1", Scalar.STRING, "6f2c-1"),
    Typed("nothing", "null", None, None, NOTHING),
    Typed("maybe", ["null", "long"], 9, Scalar.INT64, 9, False),
    Typed("maybe_not", ["null", "long"], None, Scalar.INT64, NOTHING, False, parquet=0),
    Typed(
        "either",
        ["int", "string"],
        "s",
        RecordOf((Column("int", Scalar.INT32), Column("string", Scalar.STRING))),
        {"string": "s"},
        parquet={"int": 0, "string": "s"},
    ),
    Typed("texts", {"type": "array", "items": "string"}, ["a", "b"], ListOf(Scalar.STRING), ["a", "b"]),
    Typed("numbers", {"type": "array", "items": "long"}, [3, -1], ListOf(Scalar.INT64), [3, -1]),
    Typed("point", record("int", "string", name="kgw.Point"), {"a": 1, "b": "x"}, _POINT, {"a": 1, "b": "x"}),
    Typed("point_again", "kgw.Point", {"a": 2, "b": "y"}, _POINT, {"a": 2, "b": "y"}),
    Typed(
        "points",
        {"type": "array", "items": "kgw.Point"},
        [{"a": 3, "b": "z"}],
        ListOf(_POINT),
        [{"a": 3, "b": "z"}],
        parquet=[],
    ),
    Typed("counts", {"type": "map", "values": "long"}, {"x": 1, "y": 2}, RecordOf(), {"x": 1, "y": 2}, parquet=LOST),
    Typed(
        "tree",
        {
            "type": "record",
            "name": "kgw.Tree",
            "fields": [{"name": "name", "type": "string"}, {"name": "left", "type": ["null", "kgw.Tree"]}],
        },
        {"name": "x", "left": {"name": "y", "left": None}},
        RecordOf((Column("name", Scalar.STRING, True), Column("left", Scalar.STRING))),
        {"name": "x", "left": '{"name":"y","left":null}'},
    ),
]


def avro_table() -> tuple[str, bytes]:
    """The schema of L{AVRO_TABLE}, and the payload."""
    fields = [{"name": one.name, "type": one.type} for one in AVRO_TABLE]
    schema = {"type": "record", "name": "kgw.Types", "fields": fields}
    return json.dumps(schema), avro(schema, {one.name: one.value for one in AVRO_TABLE})


_PLACE = RecordOf((Column("street", Scalar.STRING, True), Column("number", Scalar.INT64)))

JSON_TABLE = [
    Typed("truth", {"type": "boolean"}, True, Scalar.BOOL, True),
    Typed("whole", {"type": "integer"}, 1 << 62, Scalar.INT64, 1 << 62),
    Typed("small", {"type": "integer", "format": "int32"}, -5, Scalar.INT32, -5),
    Typed("number", {"type": "number"}, 0.1, Scalar.DOUBLE, 0.1),
    Typed("single", {"type": "number", "format": "float"}, _FLOAT, Scalar.FLOAT, _FLOAT),
    Typed("text", {"type": "string"}, "grün", Scalar.STRING, "grün"),
    Typed(
        "at", {"type": "string", "format": "date-time"}, "2026-01-02T03:04:05Z", Scalar.STRING, "2026-01-02T03:04:05Z"
    ),
    Typed("colour", {"enum": ["red", "blue"]}, "blue", Scalar.STRING, "blue"),
    Typed("huge", {"type": "integer", "maximum": 1 << 80}, 1 << 70, Scalar.STRING, str(1 << 70)),
    Typed("maybe", {"type": ["integer", "null"]}, 9, Scalar.INT64, 9, False),
    Typed("maybe_not", {"type": ["integer", "null"]}, None, Scalar.INT64, NOTHING, False, parquet=0),
    Typed("either", {"type": ["integer", "string"]}, 7, Scalar.STRING, "7"),
    Typed("texts", {"type": "array", "items": {"type": "string"}}, ["a", "b"], ListOf(Scalar.STRING), ["a", "b"]),
    Typed("anything", {}, {"b": [1, None]}, Scalar.STRING, '{"b":[1,null]}', False),
    Typed("open", {"type": "object"}, {"z": 1}, Scalar.STRING, '{"z":1}'),
    Typed(
        "place",
        {
            "type": "object",
            "properties": {"street": {"type": "string"}, "number": {"type": "integer"}},
            "required": ["street"],
        },
        {"street": "s", "number": 1},
        _PLACE,
        {"street": "s", "number": 1},
    ),
    Typed(
        "referred",
        {"$ref": "#/properties/place"},
        {"street": "t", "number": 2},
        _PLACE,
        {"street": "t", "number": 2},
    ),
    Typed("absent", {"type": "string"}, NOTHING, Scalar.STRING, NOTHING, False, parquet=""),
]


def json_table() -> tuple[str, bytes]:
    """The schema of L{JSON_TABLE}, and the payload."""
    schema = {
        "type": "object",
        "properties": {one.name: one.type for one in JSON_TABLE},
        "required": [one.name for one in JSON_TABLE if one.value is not NOTHING],
    }
    value = {one.name: one.value for one in JSON_TABLE if one.value is not NOTHING}
    return json.dumps(schema), json.dumps(value, ensure_ascii=False).encode()


_NESTED = RecordOf((Column("label", Scalar.STRING), Column("id", Scalar.INT64)))
_ENTRY = RecordOf((Column("key", Scalar.STRING, True), Column("value", Scalar.INT64)))

PROTOBUF_TABLE = [
    Typed("truth", "bool", True, Scalar.BOOL, True, False),
    Typed("small", "sint32", -5, Scalar.INT32, -5, False),
    Typed("large", "int64", 1 << 62, Scalar.INT64, 1 << 62, False),
    Typed("small_unsigned", "uint32", (1 << 32) - 1, Scalar.INT64, (1 << 32) - 1, False),
    Typed("large_unsigned", "fixed64", (1 << 64) - 1, Scalar.INT64, -1, False),
    Typed("single", "float", _FLOAT, Scalar.FLOAT, _FLOAT, False),
    Typed("number", "double", 0.1, Scalar.DOUBLE, 0.1, False),
    Typed("text", "string", "grün", Scalar.STRING, "grün", False),
    Typed("raw", "bytes", b"\0\xff", Scalar.BYTES, b"\0\xff", False),
    Typed("colour", "Colour", 3, Scalar.INT32, 3, False),
    Typed("zero", "int32", 0, Scalar.INT32, NOTHING, False, parquet=0),
    Typed("maybe_zero", "optional int32", 0, Scalar.INT32, 0, False),
    Typed("texts", "repeated string", ["a", "b"], ListOf(Scalar.STRING), ["a", "b"], False),
    Typed("numbers", "repeated int32", [3, -1], ListOf(Scalar.INT32), [3, -1], False),
    Typed("nested", "Nested", {"label": "l", "id": 4}, _NESTED, {"label": "l", "id": 4}, False),
    Typed("counts", "map<string, int64>", {"x": 1}, ListOf(_ENTRY), [{"key": "x", "value": 1}], False, []),
    Typed("one", "oneof", "chosen", Scalar.STRING, "chosen", False),
    Typed("other", "oneof", NOTHING, Scalar.STRING, NOTHING, False, parquet=""),
]


def protobuf_table() -> tuple[str, bytes]:
    """The schema of L{PROTOBUF_TABLE}, and the payload with its indexes."""
    fields, members = [], []
    for number, one in enumerate(PROTOBUF_TABLE, 1):
        if one.type == "oneof":
            members.append(f"string {one.name} = {number};")
        else:
            fields.append(f"{one.type} {one.name} = {number};")
    text = (
        'syntax = "proto3"; package kgw; message Types {'
        + "".join(fields)
        + "oneof choice {"
        + "".join(members)
        + "} enum Colour { NONE = 0; RED = 3; } message Nested { string label = 1; int64 id = 2; } }"
    )
    values = {one.name: one.value for one in PROTOBUF_TABLE if one.value is not NOTHING}
    return text, b"\0" + message("kgw.Types", text, **values)
