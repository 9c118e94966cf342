"""Columns and rows of JSON Schema, held against google.protobuf with the engine's own descriptors."""

from __future__ import annotations

import json
import struct
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kgw.schema.columns import Column, ColumnType, ListOf, RecordOf, Scalar
from kgw.schema.json_columns import MOST_COLUMNS
from kgw.schema.model import Undecodable
from kgw.test.json_schemas import ANYTHING, VALUES, codec, members, schemas
from kgw.test.record_values import read, read_kinds

INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
NULL: dict[str, Any] = {"type": "null"}
STRING: dict[str, Any] = {"type": "string"}
INTEGER: dict[str, Any] = {"type": "integer"}


def column_of(schema: Any, **imports: Any) -> ColumnType:
    """The type of the column that a member of such a schema has."""
    (column,) = codec(members(m=schema) | {"definitions": {"s": STRING}}, **imports).columns.columns
    return column.type


def row_of(schema: Any, value: Any, **imports: Any) -> dict[str, Any]:
    """What protobuf reads of a value's row."""
    text = value if isinstance(value, str) else json.dumps(value)
    return read(codec(schema, **imports).row(text.encode())[1])


class ColumnTests(SynchronousTestCase):
    def test_scalars(self) -> None:
        """Each type has its column."""
        for schema, scalar in (
            ({"type": "boolean"}, Scalar.BOOL),
            (INTEGER, Scalar.INT64),
            ({"type": "integer", "format": "int32"}, Scalar.INT32),
            ({"type": "integer", "maximum": 1 << 64}, Scalar.STRING),
            ({"type": "number"}, Scalar.DOUBLE),
            ({"type": "number", "format": "float"}, Scalar.FLOAT),
            ({"type": ["integer", "number", "null"]}, Scalar.DOUBLE),
            ({"type": "string", "format": "date-time"}, Scalar.STRING),
            ({"type": ["null", "boolean"]}, Scalar.BOOL),
            ({"enum": ["a", "b", None]}, Scalar.STRING),
            ({"enum": [1, 2]}, Scalar.INT64),
            ({"enum": [1, 2.5]}, Scalar.DOUBLE),
            ({"const": True}, Scalar.BOOL),
            ({"oneOf": [NULL, INTEGER]}, Scalar.INT64),
            ({"anyOf": [{"type": "number"}, NULL]}, Scalar.DOUBLE),
            ({"oneOf": [{"const": "a", "title": "A"}, {"const": "b"}]}, Scalar.STRING),
            ({"$ref": "#/definitions/s"}, Scalar.STRING),
            ({"allOf": [{"$ref": "#/definitions/s"}, {"maxLength": 3}]}, Scalar.STRING),
            ({"allOf": [{"type": ["integer", "string"]}, {"type": ["integer", "null"]}]}, Scalar.INT64),
        ):
            self.assertEqual(column_of(schema), scalar, schema)

    def test_text(self) -> None:
        """What columns cannot say is JSON text."""
        for schema in (
            {},
            True,
            {"oneOf": [STRING, INTEGER]},
            {"type": ["string", "integer"]},
            {"type": "object"},
            {"type": "object", "additionalProperties": INTEGER},
            {"not": STRING},
            {"enum": ["a", 1]},
        ):
            found = codec(members(m=schema))
            self.assertEqual(found.columns, RecordOf((Column("m", Scalar.STRING),)), schema)
        text = '{"b":[1,{"a":"ü"}], "a":12345678901234567890, "c":null}'
        self.assertEqual(
            row_of(members(m={}), f'{{"m": {text}}}'), {"m": '{"b":[1,{"a":"ü"}],"a":12345678901234567890,"c":null}'}
        )

    def test_nested(self) -> None:
        """Objects are records, arrays lists, in the order of the schema."""
        schema = members(
            z=members(b=STRING, a=INTEGER) | {"required": ["a"]},
            a={"type": "array", "items": {"type": "array", "items": INTEGER}},
            t={"type": "array"},
            p={"type": "array", "items": [STRING, INTEGER]},
        )
        self.assertEqual(
            codec(schema).columns,
            RecordOf(
                (
                    Column("z", RecordOf((Column("b", Scalar.STRING), Column("a", Scalar.INT64, True)))),
                    Column("a", ListOf(ListOf(Scalar.INT64))),
                    Column("t", ListOf(Scalar.STRING)),
                    Column("p", ListOf(Scalar.STRING)),
                )
            ),
        )
        value = {"z": {"a": -1, "b": ""}, "a": [[1, 2], [], [3]], "t": ["x", 1], "p": ["y", 2], "other": 1}
        want = {"z": {"a": -1, "b": ""}, "a": [[1, 2], [], [3]], "t": ['"x"', "1"], "p": ['"y"', "2"]}
        self.assertEqual(row_of(schema, value), want)

    def test_required(self) -> None:
        """A column is required where every row has a value."""
        schema = members(
            a=STRING, b={"type": ["string", "null"]}, c=STRING, d={}, e={"oneOf": [NULL, STRING]}, f={"type": "object"}
        )
        schema["required"] = ["a", "b", "d", "e", "f"]
        found = {column.name: column.required for column in codec(schema).columns.columns}
        self.assertEqual(found, {"a": True, "b": False, "c": False, "d": False, "e": False, "f": True})

    def test_all_of(self) -> None:
        """Parts that hold together have their columns together, in the order in which they stand."""
        schema = {
            "allOf": [{"$ref": "#/definitions/base"}, members(name={"minLength": 1}, age=INTEGER)],
            "properties": {"last": STRING},
            "required": ["age"],
            "definitions": {"base": members(id=INTEGER, name=STRING) | {"required": ["id"]}},
        }
        self.assertEqual(
            codec(schema).columns,
            RecordOf(
                (
                    Column("id", Scalar.INT64, True),
                    Column("name", Scalar.STRING),
                    Column("age", Scalar.INT64, True),
                    Column("last", Scalar.STRING),
                )
            ),
        )

    def test_roots(self) -> None:
        """A root that is no object with members has one column."""
        for schema, value, want in (
            (INTEGER, 5, 5),
            ({"type": "array", "items": STRING}, ["a", "b"], ["a", "b"]),
            (STRING, '"x"', "x"),
            (True, {"a": 1}, '{"a":1}'),
            ({"type": "object"}, {}, "{}"),
            ({"oneOf": [members(a=STRING), members(b=INTEGER)]}, {"a": "x", "b": "y"}, '{"a":"x","b":"y"}'),
        ):
            self.assertEqual(row_of(schema, value), {"value": want}, schema)
        self.assertEqual(codec(INTEGER).columns, RecordOf((Column("value", Scalar.INT64, True),)))
        self.assertEqual(row_of({"type": ["null", "integer"]}, None), {})
        self.assertEqual(row_of({"oneOf": [NULL, members(a=STRING)]}, None), {})

    def test_recursion(self) -> None:
        """Where a schema comes back to itself, there is text."""
        schema = members(name=STRING, next={"$ref": "#"}, twins={"type": "array", "items": {"$ref": "#"}})
        self.assertEqual(
            codec(schema).columns,
            RecordOf(
                (
                    Column("name", Scalar.STRING),
                    Column("next", Scalar.STRING),
                    Column("twins", ListOf(Scalar.STRING)),
                )
            ),
        )
        value = {"name": "a", "next": {"name": "b", "next": {}}, "twins": [{"name": "c"}]}
        self.assertEqual(
            row_of(schema, value), {"name": "a", "next": '{"name":"b","next":{}}', "twins": ['{"name":"c"}']}
        )

    def test_used_twice(self) -> None:
        """A definition used again is no recursion."""
        schema = members(a={"$ref": "#/$defs/p"}, b={"$ref": "#/$defs/p"})
        schema["$defs"] = {"p": members(x=INTEGER)}
        point = RecordOf((Column("x", Scalar.INT64),))
        self.assertEqual(codec(schema).columns, RecordOf((Column("a", point), Column("b", point))))

    def test_bounded(self) -> None:
        """Definitions that double at each level end."""
        levels = {
            f"d{depth}": members(a={"$ref": f"#/definitions/d{depth + 1}"}, b={"$ref": f"#/definitions/d{depth + 1}"})
            for depth in range(40)
        }
        schema = {"$ref": "#/definitions/d0", "definitions": {**levels, "d40": STRING}}

        def count(kind: ColumnType) -> int:
            return sum(1 + count(column.type) for column in kind.columns) if isinstance(kind, RecordOf) else 0

        self.assertLessEqual(count(codec(schema).columns), MOST_COLUMNS)

    def test_same_object(self) -> None:
        """All rows have the same columns."""
        found = codec(members(a=INTEGER))
        self.assertIs(found.row(b"{}")[0], found.row(b'{"a":1}')[0])


class RowTests(SynchronousTestCase):
    def test_integers(self) -> None:
        """Integers are exact however they are written, and what is not known exactly is refused."""
        schema = members(i=INTEGER, s=INTEGER | {"format": "int32"})
        for text, want in (
            ("9223372036854775807", (1 << 63) - 1),
            ("-9223372036854775808", -1 << 63),
            ("1.0", 1),
            ("1e2", 100),
            ("-0", 0),
            ("-0.0", 0),
            ("9007199254740991.0", (1 << 53) - 1),
        ):
            self.assertEqual(row_of(schema, f'{{"i":{text}}}'), {"i": want}, text)
        found = codec(schema)
        for text in ("12345678901234567890", "-9223372036854775809", "9007199254740993.0", "1e400", "1" * 5000):
            self.assertRaises(Undecodable, found.row, f'{{"i":{text}}}'.encode())
        found.check(b'{"i":12345678901234567890}')
        self.assertEqual(row_of(schema, '{"s":-2147483648}'), {"s": -(1 << 31)})
        self.assertRaises(Undecodable, found.row, b'{"s":2147483648}')

    def test_digits(self) -> None:
        """Integers whose bounds are beyond 64 bits are their digits."""
        schema = members(m=INTEGER | {"minimum": 0, "maximum": 18446744073709551615})
        self.assertEqual(row_of(schema, '{"m":12345678901234567890}'), {"m": "12345678901234567890"})

    def test_numbers(self) -> None:
        """Numbers are doubles; what is none is refused."""
        schema = members(d={"type": "number"}, f={"type": "number", "format": "float"})
        self.assertEqual(
            row_of(schema, '{"d":1,"f":0.1}'), {"d": 1.0, "f": struct.unpack("f", struct.pack("f", 0.1))[0]}
        )
        self.assertEqual(row_of(schema, '{"d":5e-324}'), {"d": 5e-324})
        self.assertEqual(str(row_of(schema, '{"d":-0.0}')["d"]), "-0.0")
        self.assertEqual(row_of(schema, f'{{"d":{1 << 1000}}}'), {"d": float(1 << 1000)})
        for text in ('{"d":1e400}', '{"f":1e39}', f'{{"d":{10**400}}}', '{"d":NaN}', '{"d":-Infinity}'):
            self.assertRaises(Undecodable, codec(schema).row, text.encode())
        self.assertRaises(Undecodable, codec(members(t={})).row, b'{"t":[1e400]}')

    def test_kinds(self) -> None:
        """Values are of the columns' kinds."""
        schema = members(b={"type": "boolean"}, i=INTEGER, s=INTEGER | {"format": "int32"}, d={"type": "number"}, t={})
        row = codec(schema).row(b'{"b":true,"i":1,"s":1,"d":1,"t":1}')[1]
        self.assertEqual(
            read_kinds(row),
            {"b": "bool_value", "i": "int64_value", "s": "int32_value", "d": "double_value", "t": "string_value"},
        )

    def test_absent(self) -> None:
        """Null and absent have no entry, within lists neither; of equal names the last one counts."""
        schema = members(a={"type": ["string", "null"]}, b={"type": "array", "items": {"type": ["integer", "null"]}})
        self.assertEqual(row_of(schema, '{"a":null}'), {})
        self.assertEqual(row_of(schema, '{"b":[1,null,2]}'), {"b": [1, 2]})
        self.assertEqual(row_of(schema, '{"a":"x","a":"y"}'), {"a": "y"})

    def test_other_kinds(self) -> None:
        """A value that is valid and not of its column's kind is refused, not changed."""
        loose = codec({"properties": {"a": {"properties": {"b": {}}}}})
        self.assertEqual(read(loose.row(b'{"a":{"b":1}}')[1]), {"a": {"b": "1"}})
        loose.check(b"5")
        loose.check(b'{"a":5}')
        refused = self.assertRaises(Undecodable, loose.row, b'{"a":5}')
        self.assertEqual(refused.reason, "column a has what is no object")
        self.assertRaises(Undecodable, loose.row, b"5")

    @settings(deadline=None, max_examples=80)
    @given(
        st.fixed_dictionaries(
            {},
            optional={
                "b": st.booleans(),
                "i": INT64,
                "s": st.text(st.characters(exclude_categories=["Cs"])),
                "d": st.floats(allow_nan=False, allow_infinity=False),
                "l": st.lists(INT64, max_size=40),
                "r": st.fixed_dictionaries({}, optional={"i": INT64, "l": st.lists(st.text(max_size=3), max_size=3)}),
            },
        ),
        st.booleans(),
    )
    def test_round_trip(self, value: dict[str, Any], ascii_only: bool) -> None:
        """What protobuf reads is what was in the text."""
        texts = {"type": "array", "items": STRING}
        schema = members(
            b={"type": "boolean"},
            i=INTEGER,
            s=STRING,
            d={"type": "number"},
            l={"type": "array", "items": INTEGER},
            r=members(i=INTEGER, l=texts),
        )
        try:
            payload = json.dumps(value, ensure_ascii=ascii_only).encode()
        except UnicodeEncodeError:
            return
        try:
            found = read(codec(schema).row(payload)[1])
        except Undecodable as refused:
            self.assertIn("surrogate", refused.reason)
            return
        self.assertEqual(found, value)

    @settings(deadline=None, max_examples=100)
    @given(schemas(full=True), VALUES | ANYTHING)
    def test_any_schema(self, schema: dict[str, Any], value: Any) -> None:
        """A row is what protobuf reads without loss, with names of its columns only; or it is refused."""
        payload = json.dumps(value).encode()
        try:
            made = codec(schema)
            columns, row = made.row(payload)
        except Undecodable as refused:
            self.assertLess(len(refused.reason), 300)
            return
        made.check(payload)
        found = read(row)
        self.assertLessEqual(set(found), {column.name for column in columns.columns})
        for column in columns.columns:
            self.assertTrue(not column.required or column.name in found, column)


class ReferenceTests(SynchronousTestCase):
    def test_diamond(self) -> None:
        """What two documents refer to both is there for both."""
        order = members(
            billing={"$ref": "customer.json"}, items={"type": "array", "items": {"$ref": "item.json#/$defs/i"}}
        )
        customer = {"$id": "http://example.com/customer.json", **members(money={"$ref": "money.json"})}
        item = {"$defs": {"i": members(price={"$ref": "money.json#/properties/amount"})}}
        money = members(amount=INTEGER, currency={"enum": ["EUR", "USD"]})
        found = codec(order, customer__json=customer, item__json=item, money__json=money)
        value = {"billing": {"money": {"amount": 1, "currency": "EUR"}}, "items": [{"price": 2}]}
        self.assertEqual(read(found.row(json.dumps(value).encode())[1]), value)
        value["billing"]["money"]["currency"] = "XXX"  # type: ignore[index]
        refused = self.assertRaises(Undecodable, found.check, json.dumps(value).encode())
        self.assertEqual(
            refused.reason, "the value is not what the schema says at money.json#/properties/currency/enum"
        )

    def test_names(self) -> None:
        """A document is found by the name it is referred to, by its own, and by what both end with."""
        other = {"$id": "http://example.com/schemas/other.json", **members(x=INTEGER)}
        for ref in ("other.json", "http://example.com/schemas/other.json"):
            for root in ({}, {"$id": "http://example.com/schemas/root.json"}):
                schema = {**root, **members(o={"$ref": ref})}
                self.assertEqual(row_of(schema, {"o": {"x": 1}}, other__json=other), {"o": {"x": 1}}, (ref, root))

    def test_circle(self) -> None:
        """Documents that refer to each other end in text."""
        author = {"$id": "author.json", **members(name=STRING, books={"type": "array", "items": {"$ref": "book.json"}})}
        book = members(title=STRING, author={"$ref": "author.json"})
        found = codec(author, book__json=book)
        value = {"name": "a", "books": [{"title": "t", "author": {"name": "a", "books": []}}]}
        row = read(found.row(json.dumps(value).encode())[1])
        self.assertEqual(row, {"name": "a", "books": [{"title": "t", "author": '{"name":"a","books":[]}'}]})
        value["books"][0]["author"]["name"] = 5  # type: ignore[index]
        self.assertRaises(Undecodable, found.check, json.dumps(value).encode())

    def test_pointers(self) -> None:
        """Pointers with escapes, anchors and names within the document."""
        schema = members(
            a={"$ref": "#/definitions/a~1b%25c~0d"}, b={"$ref": "#there"}, c={"$ref": "http://x.example/inner"}
        )
        schema["definitions"] = {
            "a/b%c~d": INTEGER,
            "anchored": {"$id": "#there", "type": "boolean"},
            "named": {"$id": "http://x.example/inner", "type": "number"},
        }
        self.assertEqual(
            [column.type for column in codec(schema).columns.columns], [Scalar.INT64, Scalar.BOOL, Scalar.DOUBLE]
        )
        new = {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            **members(a={"$ref": "#x"}, n={"$dynamicRef": "#node"}),
            "$defs": {"x": {"$anchor": "x", **INTEGER}},
            "$dynamicAnchor": "node",
        }
        found = codec(new)
        self.assertEqual([column.type for column in found.columns.columns], [Scalar.INT64, Scalar.STRING])
        self.assertEqual(read(found.row(b'{"a":1,"n":{"a":2}}')[1]), {"a": 1, "n": '{"a":2}'})
        self.assertRaises(Undecodable, found.check, b'{"n":{"n":{"a":"x"}}}')

    def test_nowhere(self) -> None:
        """What is no reference is never looked for anywhere else."""
        for ref in (
            "http://example.com/x.json",
            "x.json",
            "#/definitions/none",
            "#none",
            "file:///etc/passwd",
            "#/a/0",
        ):
            refused = self.assertRaises(Undecodable, codec, members(m={"$ref": ref}))
            self.assertIn(ref, refused.reason)
