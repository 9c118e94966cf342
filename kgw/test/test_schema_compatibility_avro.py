"""Evolution of Avro schemas: tables of pairs, two oracles, and bounds."""

from __future__ import annotations

import contextlib
import io
import json
import warnings
from typing import Any

import fastavro
from avro.compatibility import ReaderWriterCompatibilityChecker, SchemaCompatibilityType
from avro.schema import parse
from fastavro.utils import generate_one
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kgw.schema.compatibility import Level, UnusableSchema, incompatibilities
from kgw.schema.model import RegisteredSchema, ResolvedSchema, SchemaType


def avro(schema: Any, **imports: Any) -> ResolvedSchema:
    """A schema, and those it refers to by name."""

    def registered(one: Any) -> RegisteredSchema:
        return RegisteredSchema(1, SchemaType.AVRO, json.dumps(one))

    return ResolvedSchema(registered(schema), {name: registered(one) for name, one in imports.items()})


def record(name: str, *fields: Any, **more: Any) -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": list(fields), **more}


def field(name: str, kind: Any, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, **more}


def enum(*symbols: str, **more: Any) -> dict[str, Any]:
    return {"type": "enum", "name": "E", "symbols": list(symbols), **more}


def fixed(size: int, name: str = "F") -> dict[str, Any]:
    return {"type": "fixed", "name": name, "size": size}


def array(items: Any) -> dict[str, Any]:
    return {"type": "array", "items": items}


def mapped(values: Any) -> dict[str, Any]:
    return {"type": "map", "values": values}


LIST = record("Node", field("value", "int"), field("next", ["null", "Node"]))
LONG_LIST = record("Node", field("value", "long"), field("next", ["null", "Node"]))

#: A reader, a writer, and what the reader cannot read: rules with their places.
PAIRS: list[tuple[Any, Any, list[tuple[str, str]]]] = [
    *((kind, kind, []) for kind in ("null", "boolean", "int", "long", "float", "double", "bytes", "string")),
    *(
        (reader, writer, [])
        for reader, writers in (("long", "int"), ("float", "int long"), ("double", "int long float"))
        for writer in writers.split()
    ),
    ("string", "bytes", []),
    ("bytes", "string", []),
    ("int", "long", [("TYPE_MISMATCH", "/")]),
    ("float", "double", [("TYPE_MISMATCH", "/")]),
    ("long", "float", [("TYPE_MISMATCH", "/")]),
    ("boolean", "int", [("TYPE_MISMATCH", "/")]),
    ("null", "string", [("TYPE_MISMATCH", "/")]),
    ({"type": "int", "logicalType": "date"}, "int", []),
    (array("long"), array("int"), []),
    (array("int"), array("string"), [("TYPE_MISMATCH", "/items")]),
    (mapped("double"), mapped("float"), []),
    (mapped("int"), mapped("double"), [("TYPE_MISMATCH", "/values")]),
    (array("int"), mapped("int"), [("TYPE_MISMATCH", "/")]),
    # unions
    (["null", "int"], "int", []),
    ("int", ["int"], []),
    ("int", ["null", "int"], [("TYPE_MISMATCH", "/")]),
    (["null", "long"], ["int", "null"], []),
    (["null", "int"], ["null", "string"], [("MISSING_UNION_BRANCH", "/1")]),
    (["null", "int"], "string", [("MISSING_UNION_BRANCH", "/")]),
    ([], "int", [("MISSING_UNION_BRANCH", "/")]),
    ("int", [], []),
    # enums
    (enum("A", "B"), enum("A"), []),
    (enum("A"), enum("A", "B"), [("MISSING_ENUM_SYMBOLS", "/symbols")]),
    (enum("A", default="A"), enum("A", "B"), []),
    (enum("A", default="C"), enum("A", "B"), [("MISSING_ENUM_SYMBOLS", "/symbols")]),
    (enum("A") | {"name": "Other"}, enum("A"), [("NAME_MISMATCH", "/name")]),
    # fixed
    (fixed(4), fixed(4), []),
    (fixed(4), fixed(5), [("FIXED_SIZE_MISMATCH", "/size")]),
    (fixed(4, "G"), fixed(4), [("NAME_MISMATCH", "/name")]),
    (fixed(4), "bytes", [("TYPE_MISMATCH", "/")]),
    # records
    (record("R"), record("R", field("a", "int")), []),
    (record("R", field("a", "int", default=1)), record("R"), []),
    (record("R", field("a", ["null", "int"], default=None)), record("R"), []),
    (record("R", field("a", ["null", "int"])), record("R"), [("READER_FIELD_MISSING_DEFAULT_VALUE", "/fields/0")]),
    (record("R", field("a", "int")), record("R"), [("READER_FIELD_MISSING_DEFAULT_VALUE", "/fields/0")]),
    (record("R", field("b", "int"), field("a", "long")), record("R", field("a", "int"), field("b", "int")), []),
    (
        record("R", field("x", "int"), field("a", "int")),
        record("R", field("a", "string")),
        [("READER_FIELD_MISSING_DEFAULT_VALUE", "/fields/0"), ("TYPE_MISMATCH", "/fields/1/type")],
    ),
    (
        record("R", field("a", array(["null", "int"]))),
        record("R", field("a", array(["null", "string", "int"]))),
        [("MISSING_UNION_BRANCH", "/fields/0/type/items/1")],
    ),
    ({"type": "error", "name": "R", "fields": []}, record("R"), []),
    # names and aliases: the name counts without its namespace, an alias with that of its type
    (record("a.R"), record("b.R"), []),
    (record("New"), record("Old"), [("NAME_MISMATCH", "/name")]),
    (record("New", aliases=["Old"]), record("Old"), []),
    (record("New", namespace="ns", aliases=["Old"]), record("Old", namespace="ns"), []),
    (record("New", namespace="ns", aliases=["Old"]), record("Old", namespace="other"), [("NAME_MISMATCH", "/name")]),
    (record("R", field("new", "int", aliases=["old"])), record("R", field("old", "int")), []),
    # names used again, and recursion
    (
        record("R", field("a", record("I", field("x", "int"))), field("b", "I")),
        record("R", field("a", record("I", field("x", "int"))), field("b", "string")),
        [("TYPE_MISMATCH", "/fields/1/type")],
    ),
    (LIST, LIST, []),
    (LONG_LIST, LIST, []),
    (LIST, LONG_LIST, [("TYPE_MISMATCH", "/fields/0/type")]),
]

NAMES = st.sampled_from(["A", "B", "C"])
PRIMITIVES = st.sampled_from(["null", "boolean", "int", "long", "float", "double", "bytes", "string"])


@st.composite
def schemas(draw: st.DrawFn) -> Any:
    """Schemas that are like each other often enough; each name is defined once."""
    taken: set[str] = set()

    def named(prefix: str) -> str | None:
        free = [f"{prefix}{one}" for one in range(3) if f"{prefix}{one}" not in taken]
        if not free:
            return None
        taken.add(free[0])
        return free[0]

    def kind(depth: int) -> Any:
        shape = draw(st.sampled_from("pppaumref" if depth < 3 else "p"))
        name = named(shape) if shape in "ref" else None
        if shape == "a":
            return array(kind(depth + 1))
        if shape == "m":
            return mapped(kind(depth + 1))
        if shape == "u":
            return draw(st.lists(PRIMITIVES, min_size=1, max_size=3, unique=True))
        if name is None:
            return draw(PRIMITIVES)
        if shape == "e":
            symbols = draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
            made = {"type": "enum", "name": name, "symbols": symbols}
            return made | ({"default": symbols[0]} if draw(st.booleans()) else {})
        if shape == "f":
            return fixed(draw(st.integers(1, 2)), name)
        fields = []
        for one in draw(st.lists(NAMES, max_size=3, unique=True)):
            if draw(st.booleans()):
                fields.append(field(one, ["null", draw(PRIMITIVES.filter(lambda p: p != "null"))], default=None))
            else:
                fields.append(field(one, kind(depth + 1)))
        return record(name, *fields)

    return kind(0)


def judged(reader: Any, writer: Any) -> list[tuple[str, str]]:
    return [(one.rule, one.path) for one in incompatibilities(avro(reader), [avro(writer)])]


class PairTests(SynchronousTestCase):
    """What readers read."""

    def test_table(self) -> None:
        """Each pair has what the table says, in one direction and in the other."""
        for reader, writer, want in PAIRS:
            with self.subTest(reader=reader, writer=writer):
                self.assertEqual(judged(reader, writer), want)
                forward = incompatibilities(avro(writer), [avro(reader)], Level.FORWARD)
                self.assertEqual([(one.rule, one.path, one.forward) for one in forward], [(*one, True) for one in want])

    def test_message(self) -> None:
        """A message says who does not read what, where and why."""
        (one,) = incompatibilities(avro(record("R", field("a", "int"))), [avro(record("R"))])
        self.assertEqual(
            one.message,
            'the new schema does not read what the earlier writes, at /fields/0: the reader\'s field "a" is not written'
            " and has no default (READER_FIELD_MISSING_DEFAULT_VALUE)",
        )

    def test_references(self) -> None:
        """Types that another schema declares are compared as well."""
        outer = record("Order", field("by", "shop.Customer"))
        old, new = (record("shop.Customer", field("id", kind)) for kind in ("long", "int"))
        found = incompatibilities(avro(outer, c=new), [avro(outer, c=old)])
        self.assertEqual([(one.rule, one.path) for one in found], [("TYPE_MISMATCH", "/fields/0/type/fields/0/type")])
        self.assertEqual(incompatibilities(avro(outer, c=old), [avro(outer, c=new)]), [])

    @settings(deadline=None, max_examples=100)
    @given(schemas())
    def test_itself(self, schema: Any) -> None:
        """Every schema is fully compatible with itself."""
        self.assertEqual(incompatibilities(avro(schema), [avro(schema)], Level.FULL), [])

    @settings(deadline=None, max_examples=300)
    @given(schemas(), schemas())
    def test_library(self, reader: Any, writer: Any) -> None:
        """The verdict is that of the C{avro} package, for schemas without the cases it has wrong."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = ReaderWriterCompatibilityChecker().get_compatibility(
                parse(json.dumps(reader)), parse(json.dumps(writer))
            )
        self.assertEqual(not judged(reader, writer), theirs.compatibility is SchemaCompatibilityType.compatible)

    @settings(deadline=None, max_examples=200)
    @given(schemas(), st.data())
    def test_reading(self, writer: Any, data: st.DataObject) -> None:
        """What is said to be readable is read by fastavro."""
        reader = data.draw(st.one_of(st.just(writer), schemas(), st.just(evolved(writer))))
        if judged(reader, writer):
            return
        value = generate_one(writer)
        written = io.BytesIO()
        fastavro.schemaless_writer(written, fastavro.parse_schema(writer), value)
        written.seek(0)
        # bytes may be read as a string, as the Avro specification has it, though not all of them are UTF-8
        with contextlib.suppress(UnicodeDecodeError):
            fastavro.schemaless_reader(written, fastavro.parse_schema(writer), fastavro.parse_schema(reader))


def evolved(schema: Any) -> Any:
    """A schema that reads more: numbers wider, records with a field more that has a default."""
    wider = {"int": "long", "long": "double", "float": "double"}
    if isinstance(schema, str):
        return wider.get(schema, schema)
    if isinstance(schema, list):
        return schema if "null" in schema else ["null", *schema]
    kind = schema["type"]
    if kind == "array":
        return array(evolved(schema["items"]))
    if kind == "map":
        return mapped(evolved(schema["values"]))
    if kind == "record":
        fields = [one if "default" in one else one | {"type": evolved(one["type"])} for one in schema["fields"]]
        return schema | {"fields": [*fields, field("added", "string", default="")]}
    return schema


class BoundTests(SynchronousTestCase):
    """Schemas of strangers."""

    def refused(self, schema: Any) -> str:
        return str(self.assertRaises(UnusableSchema, incompatibilities, avro(schema), [avro("int")]))

    def test_unusable(self) -> None:
        """What is no Avro schema is said to be none."""
        for schema in (
            None,
            7,
            {},
            "Nothing",
            {"type": "record"},
            record("R", field("a", "Nothing")),
            record("R", {"name": "a"}),
            record("R", field("a", "int"), field("a", "int")),
            record("R", field("a", record("R"))),
            {"type": "array"},
            {"type": "enum", "name": "E", "symbols": 5},
            {"type": "fixed", "name": "F", "size": "4"},
            [["int"]],
        ):
            with self.subTest(schema=schema):
                self.assertTrue(self.refused(schema))

    def test_no_json(self) -> None:
        """Text that is no JSON is refused; so is too much of it."""
        for text in ("{", "[" * 100_000, '"' + "x" * (1 << 20) + '"', "\udc00", "NaN"):
            wrong = ResolvedSchema(RegisteredSchema(1, SchemaType.AVRO, text))
            self.assertRaises(UnusableSchema, incompatibilities, wrong, [wrong])

    def test_deep(self) -> None:
        """Types within types are compared or refused, whichever, but at once."""
        for levels in (10, 60, 95):
            schema: Any = "int"
            for _ in range(levels):
                schema = array(schema)
            try:
                self.assertEqual(judged(schema, schema), [])
            except UnusableSchema as error:
                self.assertGreater(levels, 50, error)
        chain: Any = [record(f"R{at}", field("next", f"R{at + 1}")) for at in range(500)]
        imports = {f"n{at}": one for at, one in enumerate([record("R500"), *reversed(chain)])}
        one = avro("R0", **imports)
        self.assertIn("too deep", str(self.assertRaises(UnusableSchema, incompatibilities, one, [one])))

    def test_blow_up(self) -> None:
        """Unions of records that differ at the bottom do not multiply."""

        def branching(bottom: str) -> list[Any]:
            last: list[Any] = [record("L", field("x", bottom))]
            for level in range(30):
                names = [f"A{level}", f"B{level}"]
                below = [f"A{level - 1}", f"B{level - 1}"] if level else ["L"]
                last += [record(name, field("down", below)) for name in names]
            return last

        def schema(bottom: str) -> ResolvedSchema:
            return avro(["A29", "B29"], **{f"n{at}": one for at, one in enumerate(branching(bottom))})

        found = incompatibilities(schema("int"), [schema("long")])
        self.assertEqual({one.rule for one in found}, {"MISSING_UNION_BRANCH"})

    def test_wide_unions(self) -> None:
        """Unions of unions of records are refused when that takes too long."""

        def schema(bottom: str) -> ResolvedSchema:
            return avro([record(f"R{at}", field("a", [f"R{to}" for to in range(at)] or bottom)) for at in range(120)])

        self.assertRaises(UnusableSchema, incompatibilities, schema("int"), [schema("string")])

    def test_many_findings(self) -> None:
        """No more are told than anybody reads, and none with what a terminal obeys."""
        fields = [field(f"a{at}\x1b[2J", "int") for at in range(1000)]
        found = incompatibilities(avro(record("R", *fields)), [avro(record("R"))])
        self.assertEqual(len(found), 100)
        self.assertTrue(all(one.message.isprintable() for one in found))
