"""Values held against JSON Schema: both ways to do it, what is refused, and what strangers may try."""

from __future__ import annotations

import json
import time
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator
from twisted.trial.unittest import SynchronousTestCase

from kgw.schema import json_text
from kgw.schema.json_check import FastCheck
from kgw.schema.json_document import MOST_CHARACTERS, SchemaDocument
from kgw.schema.json_patterns import searcher
from kgw.schema.json_schema import JsonCodec
from kgw.schema.json_validator import FullCheck
from kgw.schema.model import RegisteredSchema, ResolvedSchema, SchemaType, Undecodable
from kgw.test.json_schemas import ANYTHING, VALUES, codec, members, resolved, schemas

DIALECTS = {
    4: "http://json-schema.org/draft-04/schema#",
    6: "http://json-schema.org/draft-06/schema#",
    7: "http://json-schema.org/draft-07/schema",
    2019: "https://json-schema.org/draft/2019-09/schema",
    2020: "https://json-schema.org/draft/2020-12/schema",
}
#: A value or a schema that would harm takes less than this, in seconds, on a machine that does other things as well.
SOON = 8.0


def accepted(check: Any, value: Any) -> bool:
    """Whether a check, or a codec's, lets a value pass."""
    try:
        check(value)
    except Undecodable:
        return False
    return True


def passes(schema: Any, value: Any, **imports: Any) -> bool:
    """Whether a codec of the schema lets a value pass."""
    return accepted(codec(schema, **imports).check, json.dumps(value).encode())


class VerdictTests(SynchronousTestCase):
    @settings(deadline=None, max_examples=150)
    @given(schemas(), st.lists(VALUES, min_size=1, max_size=4))
    def test_fast(self, schema: dict[str, Any], values: list[Any]) -> None:
        """The fast way says what the library says."""
        document = SchemaDocument(resolved(schema))
        self.assertTrue(FastCheck.understands(document))
        fast, library = FastCheck(document), Draft7Validator(schema)
        for value in values:
            self.assertEqual(accepted(fast, value), library.is_valid(value), (schema, value))

    @settings(deadline=None, max_examples=100)
    @given(schemas(full=True), st.lists(VALUES, min_size=1, max_size=4))
    def test_full(self, schema: dict[str, Any], values: list[Any]) -> None:
        """With our bounds the library says what it says without."""
        full, library = FullCheck(SchemaDocument(resolved(schema))), Draft7Validator(schema)
        for value in values:
            try:
                want = library.is_valid(value)
            except ArithmeticError:
                want = False
            self.assertEqual(accepted(full, value), want, (schema, value))

    def test_dialects(self) -> None:
        """A schema is read as the draft that it names; draft 7 where it names none."""
        for number, uri in DIALECTS.items():
            self.assertEqual(SchemaDocument(resolved({"$schema": uri})).dialect.number, number)
        self.assertEqual(SchemaDocument(resolved({})).dialect.number, 7)
        self.assertEqual(SchemaDocument(resolved({"$schema": "http://example.com/own"})).dialect.number, 7)
        bound = {"$schema": DIALECTS[4], "type": "integer", "minimum": 1, "exclusiveMinimum": True}
        self.assertEqual([passes(bound, value) for value in (1, 2, 2.0)], [False, True, False])
        self.assertTrue(passes({"type": "integer"}, 2.0))
        beside = {"$ref": "#/definitions/n", "minimum": 5, "definitions": {"n": {"type": "integer"}}}
        self.assertTrue(passes(beside, 1))
        self.assertFalse(passes(beside | {"$schema": DIALECTS[2020]}, 1))

    def test_newest(self) -> None:
        """Keywords of the newest drafts."""
        for number in (2019, 2020):
            schema = {
                "$schema": DIALECTS[number],
                "allOf": [{"properties": {"a": {"type": "integer"}}}],
                "properties": {"b": {"$ref": "other.json#part"}},
                "unevaluatedProperties": False,
                "dependentRequired": {"a": ["b"]},
            }
            other = {"$defs": {"p": {"$anchor": "part", "type": "array", "contains": {"const": 1}, "minContains": 2}}}
            found = codec(schema, other__json=other)
            for value, want in (
                ({"a": 1, "b": [1, 1]}, True),
                ({"a": 1, "b": [1]}, False),
                ({"a": 1}, False),
                ({"b": [1, 1], "c": 1}, False),
                ({}, True),
            ):
                self.assertEqual(accepted(found.check, json.dumps(value).encode()), want, (number, value))
        tree = {
            "$schema": DIALECTS[2019],
            "$recursiveAnchor": True,
            **members(child={"$recursiveRef": "#"}),
            "additionalProperties": False,
        }
        self.assertTrue(passes(tree, {"child": {"child": {}}}))
        self.assertFalse(passes(tree, {"child": {"child": {"x": 1}}}))
        tuples = {"$schema": DIALECTS[2020], "prefixItems": [{"type": "string"}], "items": {"type": "integer"}}
        self.assertEqual([passes(tuples, value) for value in (["a", 1], ["a", "b"], [1])], [True, False, False])

    def test_other_members(self) -> None:
        """What is said of other members holds for those that are not named, in both ways."""
        schema = members(a={"type": "string"}) | {"additionalProperties": {"type": "integer"}}
        for found in (schema, schema | {"patternProperties": {"^x": {"type": "boolean"}}}):
            for value, want in (({"a": "x"}, True), ({"a": "x", "b": 1}, True), ({"b": "x"}, False), ({"a": 1}, False)):
                self.assertEqual(passes(found, value), want, value)
        self.assertTrue(passes(found, {"xa": True, "b": 1}))
        self.assertFalse(passes(found, {"xa": 1}))

    def test_formats(self) -> None:
        """Formats are not held against values, as clients do not."""
        self.assertTrue(passes({"type": "string", "format": "date"}, "no date"))
        self.assertTrue(passes({"type": "string", "format": "date", "not": {"const": 1}}, "no date"))

    def test_equal(self) -> None:
        """True is not 1, and 1 is 1.0."""
        for schema in ({"enum": [1, [True], {"a": 0}]}, {"enum": [1, [True], {"a": 0}], "not": {"type": "null"}}):
            for value, want in (
                (1, True),
                (1.0, True),
                (True, False),
                ([True], True),
                ([1], False),
                ({"a": 0.0}, True),
            ):
                self.assertEqual(passes(schema, value), want, value)

    def test_patterns(self) -> None:
        """Patterns are ECMA-262's: $ is the end, digits are ASCII, characters may be written by number."""
        for pattern, text, want in (
            ("^a$", "a\n", False),
            ("^\\d$", "٣", False),
            ("^\\u00fc\\/$", "ü/", True),
            ("^\\\\u00fc$", "\\u00fc", True),
            ("^\\p{L}+$", "für", True),
            ("b", "abc", True),
        ):
            self.assertEqual(passes({"pattern": pattern}, text), want, pattern)
            self.assertEqual(passes({"pattern": pattern, "not": {"type": "null"}}, text), want, pattern)

    def test_reasons(self) -> None:
        """A reason says where in the schema, without anything of the value, in both ways alike."""
        secret = "secret-of-a-customer"
        schema = members(
            a={"type": "array", "items": members(b={"type": "integer"})}, c={"anyOf": [{"const": 1}, {"const": 2}]}
        )
        schema |= {"required": ["a"], "additionalProperties": False}
        for value, place in (
            ({"a": [{}, {"b": secret}]}, "#/properties/a/items/properties/b/type"),
            ({"a": [], secret: 1}, "#/additionalProperties"),
            ({}, "#/required"),
            ({"a": [], "c": secret}, "#/properties/c/anyOf"),
            (secret, "#/type"),
        ):
            for found in (schema, schema | {"propertyNames": True}):
                refused = self.assertRaises(Undecodable, codec(found).check, json.dumps(value).encode())
                self.assertEqual(refused.reason, f"the value is not what the schema says at {place}")


class TextTests(SynchronousTestCase):
    def test_no_json(self) -> None:
        """What RFC 8259 does not have is refused, by check and row alike, whatever the schema."""
        found = codec(True)
        for payload in (
            b"",
            b" ",
            b"{",
            b"{'a':1}",
            b"[1,]",
            b"01",
            b"+1",
            b"1.",
            b"nul",
            b"NaN",
            b"[Infinity]",
            b'{"a":-Infinity}',
            b'"a\nb"',
            b"1 2",
            b"\xef\xbb\xbf{}",
            b'"\xff"',
            b'"\xed\xa0\x80"',
            '"x"'.encode("utf-16"),
            b'"\\ud800"',
            b'{"\\uDFFF":1}',
            b'[["\\ud800\\u0041"]]',
            b"1" * 5000,
        ):
            self.assertRaises(Undecodable, found.check, payload)
            self.assertRaises(Undecodable, found.row, payload)
        for payload in (b' {"a" : 1}\n', b'"\\ud83d\\ude00"', b'"\\\\ud800"', "\ufeff".join(('"', '"')).encode()):
            found.row(payload)

    def test_depth(self) -> None:
        """Nested to the bound is read, deeper is refused, and nothing breaks."""
        for schema in (True, members(a={"$ref": "#"}), members(a={"$ref": "#"}) | {"not": {"type": "null"}}):
            found = codec(schema)
            for depth, want in ((50, True), (json_text.MOST_DEPTH + 1, False), (200_000, False)):
                payload = b'{"a":' * depth + b"{}" + b"}" * depth
                self.assertEqual(accepted(found.row, payload), want, (schema, depth))
        self.assertFalse(accepted(codec(True).check, b"[" * 500_000))

    def test_size(self) -> None:
        """Larger values are not read."""
        text = b'"%b"' % (b"x" * json_text.MOST_BYTES)
        self.assertFalse(accepted(codec(True).check, text))

    @settings(deadline=None, max_examples=100)
    @given(ANYTHING)
    def test_anything(self, value: Any) -> None:
        """Any value of JSON passes where the schema says nothing."""
        payload = json.dumps(value).encode()
        self.assertEqual(json_text.read_json(payload), value)

    @settings(deadline=None, max_examples=100)
    @given(st.binary(max_size=40) | st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")))
    def test_any_bytes(self, payload: bytes) -> None:
        """Any bytes are a value or refused."""
        found = codec(members(a={"type": "integer"}))
        accepted(found.check, payload)
        accepted(found.row, payload)


class StrangerTests(SynchronousTestCase):
    def setUp(self) -> None:
        """Each has its time."""
        self.started = time.process_time()

    def tearDown(self) -> None:
        """It was not used up."""
        self.assertLess(time.process_time() - self.started, SOON)

    def test_malformed(self) -> None:
        """Schemas that are none cannot be used, and the reason says so."""
        deep = '{"not":' * 300 + "{}" + "}" * 300
        chain = {f"d{number}": {"$ref": f"#/definitions/d{number + 1}"} for number in range(3000)}
        texts = [
            "",
            "5",
            '"string"',
            "null",
            "[]",
            "{",
            "\ud800",
            '{"a":NaN}',
            '{"type":"text"}',
            '{"type":5}',
            '{"properties":[]}',
            '{"$id":5}',
            '{"$id":"http://[", "$ref":"x"}',
            '{"$ref":5}',
            '{"$ref":"#/$defs/x","$defs":{"x":{"type":"text"}}}',
            '{"$ref":"#/$defs/x","$defs":{"x":{"minLength":"a"}}}',
            '{"$ref":"#/$defs/x/0","$defs":{"x":"abc"}}',
            '{"$ref":"#/title","title":"x"}',
            '{"properties":{"\\ud800":{}}}',
            '{"$schema":"https://json-schema.org/draft/2020-12/schema","items":[]}',
            deep,
            json.dumps({"definitions": chain, "$ref": "#/definitions/d0"}),
            json.dumps({"description": "x" * MOST_CHARACTERS}),
        ]
        for text in texts:
            schema = ResolvedSchema(RegisteredSchema(1, SchemaType.JSON, text))
            refused = self.assertRaises(Undecodable, JsonCodec, schema)
            self.assertIn("schema", refused.reason)
            self.assertLess(len(refused.reason), 300)

    def test_endless(self) -> None:
        """A schema that refers to itself at once never says anything."""
        for schema in (
            {"$ref": "#"},
            {"allOf": [{"$ref": "#"}]},
            {"anyOf": [{"$ref": "#/definitions/a"}], "definitions": {"a": {"oneOf": [{"$ref": "#"}]}}},
            {"not": {"$ref": "#"}},
            {"$schema": DIALECTS[2020], "$dynamicAnchor": "x", "$dynamicRef": "#x"},
            {"$schema": DIALECTS[2020], "$ref": "#", "unevaluatedProperties": False},
        ):
            self.assertFalse(passes(schema, {}), schema)

    def test_doubling(self) -> None:
        """Schemas that double at every step, and values that make them do so."""
        for keyword in ("allOf", "anyOf", "oneOf"):
            for extra in ({}, {"uniqueItems": True}):
                doubled = {f"d{depth}": {keyword: [{"$ref": f"#/definitions/d{depth + 1}"}] * 2} for depth in range(40)}
                schema = {"definitions": {**doubled, "d40": {"type": "string", **extra}}, "$ref": "#/definitions/d0"}
                self.assertFalse(passes(schema, 5), keyword)
                child = {"properties": {"a": {keyword: [{"$ref": "#"}, {"$ref": "#"}, {"$ref": "#"}]}}}
                value: Any = {}
                for _ in range(30):
                    value = {"a": value}
                if keyword != "anyOf":
                    self.assertFalse(passes(child | extra, value), keyword)

    def test_patterns(self) -> None:
        """Patterns take time in proportion to the text; others are not asserted, or refused where they decide."""
        for pattern in ("^(a+)+$", "^(a|aa)*$", "(.*)*x", "^(([a-z])+.)+[A-Z]([a-z])+$"):
            text = "a" * 50_000 + "!"
            for schema, value in (
                ({"pattern": pattern}, text),
                ({"not": {"pattern": pattern}}, text),
                ({"patternProperties": {pattern: False}}, {text: 1}),
            ):
                accepted(codec(schema).check, json.dumps(value).encode())
        ahead = "^(?=.*[A-Z]).{8,}$"
        self.assertIsNone(searcher(ahead))
        self.assertIsNone(searcher("(a{1000}){1000}"))
        self.assertIsNone(searcher("(" * 200_000))
        self.assertTrue(passes(members(p={"type": "string", "pattern": ahead}), {"p": "short"}))
        decided: list[Any] = [{"not": {"pattern": ahead}}, {"patternProperties": {ahead: {}}}]
        for turned in (*decided, {"oneOf": [{"pattern": ahead}]}):
            self.assertRaises(Undecodable, codec, turned)

    def test_large_values(self) -> None:
        """Large values against many branches, equal elements, chosen numbers."""
        branches = {"anyOf": [{"type": "string"}] * 2000}
        large = [{"a": ["x" * 100] * 10}] * 1000
        for extra in ({}, {"not": {"type": "null"}}):
            self.assertFalse(passes(branches | extra, large))
        self.assertFalse(passes({"anyOf": [{"uniqueItems": True}] * 500}, [large, large]))
        self.assertTrue(passes({"uniqueItems": True}, [{"a": number} for number in range(3000)]))
        # all of the same hash in Python
        self.assertTrue(passes({"uniqueItems": True}, [number * (2**61 - 1) for number in range(20_000)]))
        wide = {"items": members(**{f"m{number}": {} for number in range(2000)})}
        accepted(codec({"type": "array", **wide}).row, b"[" + b"{}," * 500_000 + b"{}]")

    def test_numbers(self) -> None:
        """Numbers that arithmetic does not take."""
        for schema, text in (
            ({"multipleOf": 0.1}, b"1" * 1000),
            ({"multipleOf": 1e-320}, b"1e308"),
            ({"multipleOf": 3}, b"1e400"),
            ({"multipleOf": 0.5}, b"1e400"),
            ({"type": "integer"}, b"1e400"),
        ):
            self.assertFalse(accepted(codec(schema).check, text), (schema, text[:10]))

    def test_dialect_within(self) -> None:
        """A dialect named within a schema does not lead around the bounds."""
        bad = {"$schema": DIALECTS[4], "pattern": "^(a+)+$"}
        schema = {"type": "object", "patternProperties": {"x": bad}, "properties": {"$schema": bad}}
        payload = json.dumps({"x": "a" * 40 + "!", "$schema": "a" * 40 + "!"}).encode()
        self.assertFalse(accepted(codec(schema).check, payload))

    def test_odd_dynamics(self) -> None:
        """What depends on the way to a schema is refused where there is more than one."""
        schema = {
            "$schema": DIALECTS[2020],
            "$dynamicAnchor": "x",
            "$defs": {"y": {"$id": "y", "$dynamicAnchor": "x"}},
            "properties": {"a": {"$dynamicRef": "#x"}},
        }
        self.assertRaises(Undecodable, codec, schema)

    def test_large_schema(self) -> None:
        """A large schema of the common kind can be used."""
        row = members(**{f"m{number}": {"type": ["string", "null"], "maxLength": 10} for number in range(20)})
        found = codec(members(**{f"r{number}": row for number in range(50)}))
        found.row(b'{"r7":{"m3":"x"}}')

    @settings(deadline=None, max_examples=150)
    @given(ANYTHING | st.dictionaries(st.sampled_from(["$ref", "$id", "type", "items", "properties"]), ANYTHING))
    def test_any_schema(self, schema: Any) -> None:
        """Any JSON is a schema or refused."""
        try:
            found = codec(schema)
        except Undecodable:
            return
        accepted(found.row, b'{"a":[1]}')
