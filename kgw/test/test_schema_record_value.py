"""Record values and record types written by hand, held against google.protobuf with the engine's own descriptors."""

from __future__ import annotations

import json
import math
import struct
from typing import Any

from google.protobuf import json_format
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kgw.schema.columns import Column, ColumnType, ListOf, RecordOf, Scalar
from kgw.schema.record_type import MOST_DEPTH, UnknownRecordType, from_json, merge, record_type, to_json
from kgw.schema.record_value import (
    Heads,
    Tag,
    entry,
    entry_writer,
    fields_writer,
    list_data,
    seen,
    signed,
    value,
    value_writer,
    varint,
)
from kgw.test.record_values import RecordType, message, read, read_kinds
from kgw.test.strategies import TEXT

INT32 = st.integers(-(1 << 31), (1 << 31) - 1)
INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
VALUES: dict[Scalar, st.SearchStrategy[Any]] = {
    Scalar.BOOL: st.booleans(),
    Scalar.INT32: INT32,
    Scalar.INT64: INT64,
    Scalar.FLOAT: st.floats(width=32, allow_nan=False),
    Scalar.DOUBLE: st.floats(allow_nan=False),
    Scalar.BYTES: st.binary(max_size=300),
    Scalar.STRING: TEXT | TEXT.map(lambda text: text * 60),
}
KINDS = {
    Scalar.BOOL: "bool_value",
    Scalar.INT32: "int32_value",
    Scalar.INT64: "int64_value",
    Scalar.FLOAT: "float_value",
    Scalar.DOUBLE: "double_value",
    Scalar.BYTES: "bytes_value",
    Scalar.STRING: "string_value",
}
NAMES = st.sampled_from(["a", "b", "c", "d", "e", "naïve", "x" * 140])


def records(types: st.SearchStrategy[ColumnType], least: int = 0) -> st.SearchStrategy[RecordOf]:
    """Records whose columns have such types."""
    column = st.builds(Column, NAMES, types, st.booleans())
    columns = st.lists(column, min_size=least, max_size=4, unique_by=lambda found: found.name)
    return columns.map(lambda found: RecordOf(tuple(found)))


SCALARS: st.SearchStrategy[ColumnType] = st.sampled_from(list(Scalar))
TYPES: st.SearchStrategy[ColumnType] = st.recursive(
    SCALARS, lambda inner: st.builds(ListOf, inner) | records(inner, least=1), max_leaves=6
)
RECORDS = records(TYPES)


def values(column: ColumnType) -> st.SearchStrategy[Any]:
    """Values of a type."""
    if isinstance(column, Scalar):
        return VALUES[column]
    if isinstance(column, ListOf):
        return st.lists(values(column.element), max_size=3)
    return st.fixed_dictionaries({}, optional={one.name: values(one.type) for one in column.columns})


def kinds_of(given_value: Any, column: ColumnType) -> Any:
    """The kinds that a value of a type has on the wire."""
    if isinstance(column, Scalar):
        return KINDS[column]
    if isinstance(column, ListOf):
        return [kinds_of(one, column.element) for one in given_value]
    types = {one.name: one.type for one in column.columns}
    return {name: kinds_of(one, types[name]) for name, one in given_value.items()}


class RecordValueTests(SynchronousTestCase):
    """What protobuf reads is what was given."""

    @settings(deadline=None, max_examples=60)
    @given(st.data())
    def test_fields(self, data: st.DataObject) -> None:
        """Fields of all types, nested too, are read as they were, each of the kind that its column says."""
        columns = data.draw(RECORDS)
        row = data.draw(values(columns))
        made = fields_writer(columns)(row)
        if columns.columns:
            self.assertEqual(read(made), row)
            self.assertEqual(read_kinds(made), kinds_of(row, columns))

    @settings(deadline=None, max_examples=200)
    @given(INT64)
    def test_integers(self, number: int) -> None:
        """Integers of 64 bits are as protobuf has them, byte for byte."""
        expected = message("Value")(int64_value=number).SerializeToString()
        self.assertEqual(value_writer(Scalar.INT64)(number), expected)
        self.assertEqual(b"\x18" + signed(number), expected)

    def test_edges_of_integers(self) -> None:
        """Each length of a varint begins and ends where it should, and beyond 64 bits nothing is written."""
        for bits in range(64):
            for number in ((1 << bits) - 1, 1 << bits, (1 << bits) + 1, -(1 << bits), 1 - (1 << bits)):
                if -(1 << 63) <= number < 1 << 63:
                    expected = message("Value")(int64_value=number).SerializeToString()[1:]
                    self.assertEqual(signed(number), expected, number)
                    if number >= 0:
                        self.assertEqual(varint(number), expected, number)
        for number in (1 << 63, -(1 << 63) - 1, 1 << 80, -(1 << 80)):
            self.assertRaises(OverflowError, signed, number)
        self.assertRaises(OverflowError, entry_writer("a", Scalar.INT32), 1 << 31)
        self.assertRaises(OverflowError, entry_writer("a", Scalar.FLOAT), 1e300)
        self.assertRaises(UnicodeEncodeError, entry_writer("a", Scalar.STRING), "\ud800")

    def test_heads_of_all_lengths(self) -> None:
        """A head fits the data behind it around every length at which a varint grows, kept or not."""
        heads = Heads(Tag.STRING, "name")
        for size in (*range(140), 250, 255, 256, 257, 16370, 16383, 16384, 16400, 1 << 21):
            for _again in range(2):
                self.assertEqual(read(heads[size] + b"x" * size), {"name": "x" * size})
        self.assertLessEqual(len(heads), Heads.KEPT)

    def test_nan_and_zero(self) -> None:
        """NaN, minus zero and false stay what they are: a value of zero is there, where null is not."""
        columns = RecordOf((Column("d", Scalar.DOUBLE), Column("b", Scalar.BOOL), Column("i", Scalar.INT64)))
        row = read(fields_writer(columns)({"d": -0.0, "b": False, "i": 0}))
        self.assertEqual(row, {"d": 0.0, "b": False, "i": 0})
        self.assertEqual(math.copysign(1, row["d"]), -1)
        self.assertTrue(math.isnan(read(fields_writer(columns)({"d": math.nan}))["d"]))
        self.assertEqual(fields_writer(columns)({"d": None, "other": 1}), b"")

    def test_seen_values(self) -> None:
        """Values in maps have the kinds that they have themselves."""
        row = {
            "t": True,
            "i": 1 << 40,
            "f": 1.5,
            "s": "ü",
            "b": b"\xff",
            "l": [1, "a", [2.5]],
            "m": {"x": {}},
            "n": None,
        }
        made = fields_writer(RecordOf((Column("m", RecordOf()),)))({"m": row})
        del row["n"]
        self.assertEqual(read(made), {"m": row})
        self.assertRaises(TypeError, seen, object())

    def test_by_parts(self) -> None:
        """Entries of names known only with the data, lists and records put together by hand."""
        elements = list_data([value(Tag.INT64, signed(7)), value(Tag.STRING, b"seven")])
        inner = entry(b"l", value(Tag.LIST, elements)) + entry(b"d", value(Tag.DOUBLE, struct.pack("<d", 2.5)))
        self.assertEqual(read(entry(b"k" * 200, value(Tag.RECORD, inner))), {"k" * 200: {"l": [7, "seven"], "d": 2.5}})


class RecordTypeTests(SynchronousTestCase):
    """Columns to and from what the engine keeps."""

    @settings(deadline=None, max_examples=60)
    @given(RECORDS)
    def test_as_protobuf_reads_it(self, columns: RecordOf) -> None:
        """The bytes are those that protobuf makes of the JSON, and the JSON, as the engine writes it, comes back."""
        made = record_type(columns)
        parsed = RecordType.FromString(made)
        self.assertEqual(parsed.SerializeToString(deterministic=True), made)
        self.assertEqual(json_format.ParseDict(to_json(columns), RecordType()), parsed)
        self.assertEqual([field.field_index for field in parsed.fields], list(range(len(columns.columns))))
        self.assertEqual(from_json(to_json(columns)), kept(columns))
        # zeros left out, as protobuf may
        self.assertEqual(from_json(json.loads(json_format.MessageToJson(parsed))), kept(columns))

    def test_within_records(self) -> None:
        """By name, as the engine has the columns of parquet's groups; maps, of which it makes empty ones, not."""
        inner = RecordOf((Column("z", Scalar.INT32), Column("map", RecordOf()), Column("a", Scalar.STRING)))
        outer = RecordOf((Column("z", inner), Column("maps", ListOf(RecordOf())), Column("a", inner)))
        told = from_json(to_json(outer))
        self.assertEqual([column.name for column in told.columns], ["z", "maps", "a"])
        self.assertEqual(told.columns[0].type, RecordOf((Column("a", Scalar.STRING), Column("z", Scalar.INT32))))

    def test_names_of_the_engine(self) -> None:
        """Its own columns are not declared again; within records they mean nothing."""
        own = tuple(Column(name, Scalar.STRING) for name in ("_key", "_ts_ns", "_offset"))
        told = from_json(to_json(RecordOf((*own, Column("a", RecordOf(own)), Column("_value", Scalar.STRING)))))
        self.assertEqual([column.name for column in told.columns], ["a", "_value"])
        self.assertEqual(told.columns[0].type, RecordOf((own[0], own[2], own[1])))

    def test_as_the_engine_keeps_it(self) -> None:
        """What weed 4.48 wrote to a topic.conf is read, and so is what its own gateway declares for an array."""
        kept = json.loads(KEPT)
        self.assertEqual(from_json(kept), COLUMNS)
        self.assertEqual(to_json(COLUMNS), kept)
        field = {"name": "tags", "fieldIndex": 0, "type": {"scalarType": "STRING"}, "isRepeated": True}
        self.assertEqual(from_json({"fields": [field]}), RecordOf((Column("tags", ListOf(Scalar.STRING)),)))
        self.assertEqual(from_json(None), RecordOf())
        self.assertEqual(from_json({}), RecordOf())

    def test_what_is_no_type(self) -> None:
        """Types that kgw does not write, and JSON that is something else, are told from columns."""
        deep: dict[str, Any] = {"scalarType": "BOOL"}
        for _level in range(MOST_DEPTH + 5):
            deep = {"listType": {"elementType": deep}}
        wrong: tuple[Any, ...] = (
            [],
            "x",
            {"fields": 7},
            {"fields": [7]},
            {"fields": [{"name": 7}]},
            {"fields": [{"name": "a"}]},
            {"fields": [{"name": "a", "type": {"scalarType": "DECIMAL"}}]},
            {"fields": [{"name": "a", "type": {"scalarType": 10}}]},
            {"fields": [{"name": "a", "type": {"scalarType": "INT32"}}] * 2},
            {"fields": [{"name": "a", "type": deep}]},
        )
        for found in wrong:
            self.assertRaises(UnknownRecordType, from_json, found)

    def test_depth(self) -> None:
        """Columns deeper than the engine should have to go are not written."""
        column: ColumnType = Scalar.BOOL
        for _level in range(MOST_DEPTH + 1):
            column = ListOf(column)
        self.assertRaises(ValueError, record_type, RecordOf((Column("a", column),)))
        self.assertRaises(ValueError, to_json, RecordOf((Column("a", column),)))


def kept(columns: RecordOf) -> RecordOf:
    """What comes back of columns that the engine was told of."""

    def of(kind: ColumnType) -> ColumnType | None:
        if isinstance(kind, RecordOf):
            return within(kind)
        if isinstance(kind, ListOf):
            element = of(kind.element)
            return None if element is None else ListOf(element)
        return kind

    def within(record: RecordOf) -> RecordOf | None:
        found = [(column, of(column.type)) for column in record.columns]
        there = [Column(one.name, kind, one.required) for one, kind in found if kind is not None]
        return RecordOf(tuple(sorted(there, key=lambda one: one.name.encode()))) if there else None

    def top(kind: ColumnType) -> ColumnType:
        if isinstance(kind, ListOf):
            return ListOf(top(kind.element))
        return (within(kind) or RecordOf()) if isinstance(kind, RecordOf) else kind

    return RecordOf(tuple(Column(one.name, top(one.type), one.required) for one in columns.columns))


#: As a topic.conf of weed 4.48 has it.
KEPT = """
{"fields": [
  {"name": "b", "fieldIndex": 0, "type": {"scalarType": "BOOL"}, "isRepeated": false, "isRequired": true},
  {"name": "i", "fieldIndex": 1, "type": {"scalarType": "INT32"}, "isRepeated": false, "isRequired": false},
  {"name": "l", "fieldIndex": 2, "type": {"listType": {"elementType": {"scalarType": "STRING"}}},
    "isRepeated": true, "isRequired": false},
  {"name": "r", "fieldIndex": 3, "type": {"recordType": {"fields": [
    {"name": "x", "fieldIndex": 0, "type": {"scalarType": "BOOL"}, "isRepeated": false,
    "isRequired": false}]}},
    "isRepeated": false, "isRequired": false},
  {"name": "e", "fieldIndex": 4, "type": {"recordType": {"fields": []}}, "isRepeated": false, "isRequired": false}
]}
"""
COLUMNS = RecordOf(
    (
        Column("b", Scalar.BOOL, required=True),
        Column("i", Scalar.INT32),
        Column("l", ListOf(Scalar.STRING)),
        Column("r", RecordOf((Column("x", Scalar.BOOL),))),
        Column("e", RecordOf()),
    )
)


class MergeTests(SynchronousTestCase):
    """The columns of a topic whose schema changes."""

    @settings(deadline=None, max_examples=150)
    @given(RECORDS, RECORDS)
    def test_properties(self, old: RecordOf, new: RecordOf) -> None:
        """It changes nothing a second time, loses no column, moves none, and requires only what both require."""
        self.assertEqual(merge(old, old), (old, []))
        merged, conflicts = merge(old, new)
        again, still = merge(merged, new)
        self.assertIs(again, merged)
        self.assertEqual(still, conflicts)
        self.assertEqual(merge(merged, old)[0], merged)
        names = [column.name for column in merged.columns]
        self.assertEqual(names[: len(old.columns)], [column.name for column in old.columns])
        self.assertEqual(set(names), {column.name for record in (old, new) for column in record.columns})
        required = {column.name for column in merged.columns if column.required}
        both = [{column.name for column in record.columns if column.required} for record in (old, new)]
        self.assertEqual(required, both[0] & both[1])

    @settings(deadline=None, max_examples=100)
    @given(RECORDS, RECORDS, RECORDS)
    def test_names_do_not_depend_on_grouping(self, first: RecordOf, second: RecordOf, third: RecordOf) -> None:
        """Three versions have the same columns in the same order, whichever two are merged first."""
        left = merge(merge(first, second)[0], third)[0]
        right = merge(first, merge(second, third)[0])[0]
        self.assertEqual([column.name for column in left.columns], [column.name for column in right.columns])

    def test_widening(self) -> None:
        """Numbers become the wider of the two, or DOUBLE; anything else stays, and is told by its path."""
        cases: list[tuple[ColumnType, ColumnType, ColumnType]] = [
            (Scalar.INT32, Scalar.INT64, Scalar.INT64),
            (Scalar.INT64, Scalar.INT32, Scalar.INT64),
            (Scalar.FLOAT, Scalar.DOUBLE, Scalar.DOUBLE),
            (Scalar.INT32, Scalar.DOUBLE, Scalar.DOUBLE),
            (Scalar.INT64, Scalar.FLOAT, Scalar.DOUBLE),
            (ListOf(Scalar.INT32), ListOf(Scalar.INT64), ListOf(Scalar.INT64)),
        ]
        for old, new, wide in cases:
            merged = merge(RecordOf((Column("a", old, True),)), RecordOf((Column("a", new, True),)))
            self.assertEqual(merged, (RecordOf((Column("a", wide, True),)), []))

    def test_conflicts(self) -> None:
        """A column that is text here and a number there keeps what it was, within records and lists too."""
        old = RecordOf(
            (
                Column("a", Scalar.STRING),
                Column("r", RecordOf((Column("x", Scalar.BYTES), Column("y", Scalar.BOOL)))),
                Column("l", ListOf(RecordOf((Column("z", Scalar.BOOL),)))),
            )
        )
        new = RecordOf(
            (
                Column("l", ListOf(RecordOf((Column("z", Scalar.STRING),)))),
                Column("r", RecordOf((Column("new", Scalar.BOOL, True), Column("x", Scalar.STRING)))),
                Column("a", ListOf(Scalar.STRING)),
                Column("b", Scalar.INT32, True),
            )
        )
        merged, conflicts = merge(old, new)
        inner = RecordOf((Column("x", Scalar.BYTES), Column("y", Scalar.BOOL), Column("new", Scalar.BOOL)))
        self.assertEqual(
            merged,
            RecordOf((old.columns[0], Column("r", inner), old.columns[2], Column("b", Scalar.INT32))),
        )
        self.assertEqual(conflicts, ["a", "r.x", "l[].z"])
