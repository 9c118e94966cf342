"""Evolution of JSON Schemas: tables of pairs for every rule, an oracle, and bounds."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator
from twisted.trial.unittest import SynchronousTestCase

from kgw.schema.compatibility import Level, UnusableSchema, incompatibilities
from kgw.schema.model import RegisteredSchema, ResolvedSchema, SchemaType


def document(schema: Any, imports: dict[str, Any] | None = None) -> ResolvedSchema:
    """A schema, and those it refers to by name."""

    def registered(one: Any) -> RegisteredSchema:
        return RegisteredSchema(1, SchemaType.JSON, one if isinstance(one, str) else json.dumps(one))

    return ResolvedSchema(registered(schema), {name: registered(one) for name, one in (imports or {}).items()})


STRING, INTEGER, NUMBER, NULL = ({"type": name} for name in ("string", "integer", "number", "null"))


def properties(named: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": named, **more}


def closed(named: dict[str, Any], **more: Any) -> dict[str, Any]:
    return properties(named, additionalProperties=False, **more)


def array(**more: Any) -> dict[str, Any]:
    return {"type": "array", **more}


A, AB = properties({"a": STRING}), properties({"a": STRING, "b": INTEGER})
CLOSED_A, CLOSED_AB = closed({"a": STRING}), closed({"a": STRING, "b": INTEGER})
NEEDS_A = {"required": ["a"]}
WITH_DEFAULT = {"type": "string", "default": ""}
MODERN = {"$schema": "https://json-schema.org/draft/2020-12/schema"}

Rules = list[tuple[str, str]]


def bound(kind: str, keyword: str, low: Any, high: Any, upper: bool, rule: str) -> list[tuple[Any, Any, Rules, Rules]]:
    """A keyword with a number: two steps of it, and with and without it."""
    base = {"type": kind}
    less, more = base | {keyword: low}, base | {keyword: high}
    tight, loose = (less, more) if upper else (more, less)
    moved = f"{rule}_{'DECREASED' if upper else 'INCREASED'}"
    return [
        (loose, tight, [], [(moved, f"/{keyword}")]),
        (base, tight, [], [(f"{rule}_ADDED", f"/{keyword}")]),
    ]


#: A new schema, an old one, what stands in the way BACKWARD, and FORWARD.
PAIRS: list[tuple[Any, Any, Rules, Rules]] = [
    # types
    (STRING, STRING, [], []),
    (STRING, INTEGER, [("TYPE_CHANGED", "/")], [("TYPE_CHANGED", "/")]),
    (NUMBER, INTEGER, [], [("TYPE_NARROWED", "/")]),
    (True, STRING, [], [("TYPE_CHANGED", "/")]),
    ({"title": "anything"}, STRING, [], [("TYPE_CHANGED", "/")]),
    (STRING, False, [], [("TYPE_CHANGED", "/")]),
    ({"type": ["string", "null"]}, STRING, [], [("TYPE_CHANGED", "/")]),
    (
        {"type": ["number", "string"]},
        {"type": ["string", "integer"]},
        [],
        [("COMBINED_TYPE_SUBSCHEMAS_CHANGED", "/anyOf")],
    ),
    ({"minLength": 3}, {"type": "string", "minLength": 3}, [], [("TYPE_NARROWED", "/")]),
    (STRING | {"title": "x", "description": "y", "default": ""}, STRING, [], []),
    # strings and numbers
    *bound("string", "maxLength", 5, 9, True, "MAX_LENGTH"),
    *bound("string", "minLength", 5, 9, False, "MIN_LENGTH"),
    (STRING | {"minLength": 0}, STRING, [], []),
    (STRING, STRING | {"pattern": "^a"}, [], [("PATTERN_ADDED", "/pattern")]),
    (
        STRING | {"pattern": "^b"},
        STRING | {"pattern": "^a"},
        [("PATTERN_CHANGED", "/pattern")],
        [("PATTERN_CHANGED", "/pattern")],
    ),
    *bound("number", "maximum", 5, 9.5, True, "MAXIMUM"),
    *bound("number", "minimum", 5, 9.5, False, "MINIMUM"),
    *bound("number", "exclusiveMaximum", 5, 9, True, "EXCLUSIVE_MAXIMUM"),
    *bound("number", "exclusiveMinimum", 5, 9, False, "EXCLUSIVE_MINIMUM"),
    (NUMBER, NUMBER | {"multipleOf": 2}, [], [("MULTIPLE_OF_ADDED", "/multipleOf")]),
    (NUMBER | {"multipleOf": 0.1}, NUMBER | {"multipleOf": 0.3}, [], [("MULTIPLE_OF_EXPANDED", "/multipleOf")]),
    (
        NUMBER | {"multipleOf": 2},
        NUMBER | {"multipleOf": 3},
        [("MULTIPLE_OF_CHANGED", "/multipleOf")],
        [("MULTIPLE_OF_CHANGED", "/multipleOf")],
    ),
    (
        {
            "$schema": "http://json-schema.org/draft-04/schema#",
            "type": "number",
            "maximum": 9,
            "exclusiveMaximum": True,
        },
        {
            "$schema": "http://json-schema.org/draft-04/schema#",
            "type": "number",
            "maximum": 5,
            "exclusiveMaximum": True,
        },
        [],
        [("EXCLUSIVE_MAXIMUM_DECREASED", "/exclusiveMaximum")],
    ),
    # enums
    ({"enum": ["a", "b"]}, {"enum": ["a"]}, [], [("ENUM_ARRAY_NARROWED", "/enum")]),
    ({"enum": ["a", "c"]}, {"enum": ["a", "b"]}, [("ENUM_ARRAY_CHANGED", "/enum")], [("ENUM_ARRAY_CHANGED", "/enum")]),
    ({"enum": [1.0, None]}, {"enum": [None, 1]}, [], []),
    ({"enum": [1]}, {"enum": [True]}, [("ENUM_ARRAY_CHANGED", "/enum")], [("ENUM_ARRAY_CHANGED", "/enum")]),
    ({"enum": [{"x": [1, 2]}]}, {"const": {"x": [1, 2]}}, [], []),
    (STRING, STRING | {"enum": ["a"]}, [], [("PRODUCT_TYPE_EXTENDED", "/")]),
    # objects: open, closed and partially open ones
    (AB, A, [("OPTIONAL_PROPERTY_ADDED_TO_OPEN_CONTENT_MODEL", "/properties/b")], []),
    (CLOSED_AB, CLOSED_A, [], [("PROPERTY_REMOVED_FROM_CLOSED_CONTENT_MODEL", "/properties/b")]),
    (properties({"a": STRING, "b": True}), A, [], []),
    (
        AB | {"required": ["b"]},
        A,
        [("REQUIRED_PROPERTY_ADDED_TO_OPEN_CONTENT_MODEL", "/properties/b")],
        [],
    ),
    (
        properties({"a": WITH_DEFAULT}) | NEEDS_A,
        properties({}),
        [("REQUIRED_PROPERTY_WITH_DEFAULT_ADDED_TO_OPEN_CONTENT_MODEL", "/properties/a")],
        [],
    ),
    (
        CLOSED_A | NEEDS_A,
        closed({}),
        [("REQUIRED_PROPERTY_ADDED_TO_UNOPEN_CONTENT_MODEL", "/properties/a")],
        [("PROPERTY_REMOVED_FROM_CLOSED_CONTENT_MODEL", "/properties/a")],
    ),
    (
        closed({"a": WITH_DEFAULT}) | NEEDS_A,
        closed({}),
        [],
        [("PROPERTY_REMOVED_FROM_CLOSED_CONTENT_MODEL", "/properties/a")],
    ),
    (closed({"a": STRING, "b": False}), CLOSED_A, [], []),
    (
        properties({"a": STRING}, additionalProperties=STRING),
        properties({}, additionalProperties=STRING),
        [],
        [],
    ),
    (
        properties({"a": INTEGER}, additionalProperties=STRING),
        properties({}, additionalProperties=STRING),
        [
            ("TYPE_CHANGED", "/properties/a"),
            ("PROPERTY_ADDED_NOT_COVERED_BY_PARTIALLY_OPEN_CONTENT_MODEL", "/properties/a"),
        ],
        [
            ("TYPE_CHANGED", "/properties/a"),
            ("PROPERTY_REMOVED_NOT_COVERED_BY_PARTIALLY_OPEN_CONTENT_MODEL", "/properties/a"),
        ],
    ),
    (
        closed({"x-a": STRING}, patternProperties={"^x-": STRING}),
        closed({}, patternProperties={"^x-": STRING}),
        [],
        [],
    ),
    (
        closed({"y": STRING}, patternProperties={"^x-": STRING}),
        closed({}, patternProperties={"^x-": STRING}),
        [],
        [("PROPERTY_REMOVED_FROM_CLOSED_CONTENT_MODEL", "/properties/y")],
    ),
    (
        closed({"x-a": STRING}, patternProperties={"^x-": INTEGER}),
        closed({"x-a": STRING}),
        [("TYPE_CHANGED", "/properties/x-a")],
        [("TYPE_CHANGED", "/patternProperties/^x-")],
    ),
    (
        closed({}, patternProperties={"^x-": NUMBER}),
        closed({}, patternProperties={"^x-": INTEGER}),
        [],
        [("TYPE_NARROWED", "/patternProperties/^x-")],
    ),
    (A, CLOSED_A, [], [("ADDITIONAL_PROPERTIES_REMOVED", "/additionalProperties")]),
    (A, A | {"additionalProperties": STRING}, [], [("ADDITIONAL_PROPERTIES_NARROWED", "/additionalProperties")]),
    (
        A | {"additionalProperties": NUMBER},
        A | {"additionalProperties": INTEGER},
        [],
        [("TYPE_NARROWED", "/additionalProperties")],
    ),
    (A, A | NEEDS_A, [], [("REQUIRED_ATTRIBUTE_ADDED", "/required/a")]),
    (properties({"a": WITH_DEFAULT}), properties({"a": WITH_DEFAULT}) | NEEDS_A, [], []),
    ({"type": "object"}, {"type": "object"} | NEEDS_A, [], [("REQUIRED_ATTRIBUTE_ADDED", "/required/a")]),
    (
        A,
        A | {"dependencies": {"a": ["b"]}},
        [],
        [("DEPENDENCY_ARRAY_ADDED", "/dependencies/a")],
    ),
    (
        A | {"dependencies": {"a": ["b"]}},
        A | {"dependencies": {"a": ["b", "c"]}},
        [],
        [("DEPENDENCY_ARRAY_EXTENDED", "/dependencies/a")],
    ),
    (
        A | {"dependencies": {"a": ["b"]}},
        A | {"dependencies": {"a": ["c"]}},
        [("DEPENDENCY_ARRAY_CHANGED", "/dependencies/a")],
        [("DEPENDENCY_ARRAY_CHANGED", "/dependencies/a")],
    ),
    (A, A | {"dependencies": {"a": AB}}, [], [("DEPENDENCY_SCHEMA_ADDED", "/dependencies/a")]),
    (
        A | {"dependencies": {"a": properties({"n": NUMBER})}},
        A | {"dependencies": {"a": properties({"n": INTEGER})}},
        [],
        [("TYPE_NARROWED", "/dependencies/a/properties/n")],
    ),
    *bound("object", "maxProperties", 5, 9, True, "MAX_PROPERTIES"),
    *bound("object", "minProperties", 5, 9, False, "MIN_PROPERTIES"),
    (A, A | {"propertyNames": {"type": "string", "maxLength": 3}}, [], [("SCHEMA_ADDED", "/propertyNames")]),
    (
        MODERN | A,
        MODERN | A | {"unevaluatedProperties": False},
        [],
        [("UNEVALUATED_PROPERTIES_REMOVED", "/unevaluatedProperties")],
    ),
    (
        properties({"o": A}),
        properties({"o": properties({"a": INTEGER})}),
        [("TYPE_CHANGED", "/properties/o/properties/a")],
        [("TYPE_CHANGED", "/properties/o/properties/a")],
    ),
    # arrays
    *bound("array", "maxItems", 5, 9, True, "MAX_ITEMS"),
    *bound("array", "minItems", 5, 9, False, "MIN_ITEMS"),
    (array(), array(uniqueItems=True), [], [("UNIQUE_ITEMS_ADDED", "/uniqueItems")]),
    (array(), array(items=STRING), [], [("SCHEMA_ADDED", "/items")]),
    (array(items=NUMBER), array(items=INTEGER), [], [("TYPE_NARROWED", "/items")]),
    (array(), array(contains=STRING), [], [("SCHEMA_ADDED", "/contains")]),
    (array(items=[NUMBER]), array(items=[INTEGER]), [], [("TYPE_NARROWED", "/items/0")]),
    (array(items=[STRING]), array(items=[STRING, INTEGER]), [], [("ITEM_ADDED_TO_OPEN_CONTENT_MODEL", "/items/1")]),
    (
        array(items=[STRING], additionalItems=False),
        array(items=[STRING, INTEGER], additionalItems=False),
        [("ITEM_REMOVED_FROM_CLOSED_CONTENT_MODEL", "/items/1")],
        [],
    ),
    (
        array(items=[STRING], additionalItems=NUMBER),
        array(items=[STRING, STRING], additionalItems=NUMBER),
        [("TYPE_CHANGED", "/items/1"), ("ITEM_REMOVED_NOT_COVERED_BY_PARTIALLY_OPEN_CONTENT_MODEL", "/items/1")],
        [("TYPE_CHANGED", "/items/1"), ("ITEM_ADDED_NOT_COVERED_BY_PARTIALLY_OPEN_CONTENT_MODEL", "/items/1")],
    ),
    (
        array(items=[STRING]),
        array(items=[STRING], additionalItems=False),
        [],
        [("ADDITIONAL_ITEMS_REMOVED", "/additionalItems")],
    ),
    (
        array(items=[STRING]),
        array(items=[STRING], additionalItems=INTEGER),
        [],
        [("ADDITIONAL_ITEMS_NARROWED", "/additionalItems")],
    ),
    (
        MODERN | array(prefixItems=[NUMBER], items=False),
        MODERN | array(prefixItems=[INTEGER], items=False),
        [],
        [("TYPE_NARROWED", "/items/0")],
    ),
    # several at once
    ({"oneOf": [STRING, INTEGER, NULL]}, {"oneOf": [INTEGER, STRING]}, [], [("SUM_TYPE_NARROWED", "/")]),
    ({"anyOf": [STRING, INTEGER]}, {"oneOf": [INTEGER, STRING]}, [], [("COMBINED_TYPE_CHANGED", "/")]),
    (
        {"oneOf": [STRING, NULL]},
        {"oneOf": [STRING, INTEGER]},
        [("COMBINED_TYPE_SUBSCHEMAS_CHANGED", "/oneOf")],
        [("COMBINED_TYPE_SUBSCHEMAS_CHANGED", "/oneOf")],
    ),
    ({"oneOf": [STRING, STRING]}, STRING, [], []),
    ({"oneOf": [NUMBER, INTEGER]}, {"oneOf": [INTEGER, NUMBER]}, [], []),
    (NUMBER, {"anyOf": [NUMBER, INTEGER]}, [], []),
    (
        {"allOf": [A, properties({"c": STRING})]},
        {"allOf": [A, properties({"c": STRING}), properties({"d": STRING})]},
        [],
        [("PRODUCT_TYPE_EXTENDED", "/")],
    ),
    (A, {"allOf": [A, properties({"c": STRING})]}, [], [("PRODUCT_TYPE_EXTENDED", "/")]),
    ({"not": STRING | {"maxLength": 3}}, {"not": STRING}, [], [("NOT_TYPE_EXTENDED", "/not")]),
    (
        {"if": A, "then": AB, "else": {"minProperties": 1}},
        {"if": A, "then": AB, "else": {"minProperties": 2}},
        [],
        [("MIN_PROPERTIES_INCREASED", "/else/minProperties")],
    ),
    ({"if": A, "then": AB}, {"if": AB, "then": AB}, [("TYPE_CHANGED", "/if")], [("TYPE_CHANGED", "/if")]),
    # references
    (
        {
            "$ref": "#/definitions/n",
            "definitions": {"n": properties({"v": NUMBER, "next": {"$ref": "#/definitions/n"}})},
        },
        {
            "$ref": "#/definitions/n",
            "definitions": {"n": properties({"v": INTEGER, "next": {"$ref": "#/definitions/n"}})},
        },
        [],
        [("TYPE_NARROWED", "/properties/v")],
    ),
]


def leaves() -> st.SearchStrategy[Any]:
    numbers = st.integers(0, 3)
    return st.one_of(
        st.just(True),
        st.sampled_from([STRING, INTEGER, NUMBER, NULL, {"type": "boolean"}, {"type": ["string", "null"]}]),
        st.builds(lambda n: STRING | {"maxLength": n}, numbers),
        st.builds(lambda n: STRING | {"minLength": n}, numbers),
        st.builds(lambda n: INTEGER | {"minimum": n}, numbers),
        st.builds(lambda n: NUMBER | {"exclusiveMaximum": n}, numbers),
        st.builds(lambda n: INTEGER | {"multipleOf": n + 1}, numbers),
        st.builds(lambda v: {"enum": v}, st.lists(st.sampled_from(["", "a", 0, 1, None]), min_size=1, unique=True)),
    )


def larger(below: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    names = st.sampled_from(["a", "b", "x-c"])
    optional = st.one_of(st.none(), below, st.just(False))

    def build_object(named: dict[str, Any], rest: Any, required: list[str], pattern: Any) -> dict[str, Any]:
        made = properties(named, required=required)
        made |= {} if rest is None else {"additionalProperties": rest}
        return made if pattern is None else made | {"patternProperties": {"^x-": pattern}}

    def build_array(first: list[Any], rest: Any, least: int) -> dict[str, Any]:
        made = array(minItems=least) if not first else array(items=first, minItems=least)
        return made if rest is None else made | {"additionalItems" if first else "items": rest}

    some = st.lists(below, min_size=1, max_size=3)
    return st.one_of(
        st.builds(
            build_object,
            st.dictionaries(names, below, max_size=3),
            optional,
            st.lists(names, max_size=2, unique=True),
            st.one_of(st.none(), below),
        ),
        st.builds(build_array, st.lists(below, max_size=2), optional, st.integers(0, 2)),
        st.builds(lambda parts: {"allOf": parts}, some),
        st.builds(lambda parts: {"anyOf": parts}, some),
        st.builds(lambda part: {"not": part}, below),
    )


SCHEMAS = st.recursive(leaves(), larger, max_leaves=6)
VALUES = st.recursive(
    st.sampled_from([None, True, 0, 1, 2, 6, 1.5, "", "a", "abc"]),
    lambda below: st.one_of(
        st.lists(below, max_size=3), st.dictionaries(st.sampled_from(["a", "b", "x-c", "z"]), below, max_size=3)
    ),
    max_leaves=5,
)


def judged(new: Any, old: Any, level: Level = Level.BACKWARD) -> Rules:
    return [(one.rule, one.path) for one in incompatibilities(document(new), [document(old)], level)]


class PairTests(SynchronousTestCase):
    """What a change of a schema does."""

    def test_table(self) -> None:
        """Each pair has what the table says, in one direction and in the other."""
        for new, old, backward, forward in PAIRS:
            with self.subTest(new=new, old=old):
                self.assertEqual(judged(new, old), backward)
                self.assertEqual(judged(new, old, Level.FORWARD), forward)

    def test_imports(self) -> None:
        """What is referred to by its name, or by an address, is compared as well."""
        schema = properties({"by": {"$ref": "customer.json#/definitions/c"}})
        old, new = (
            document(schema, {"customer.json": {"definitions": {"c": properties({"id": kind})}}})
            for kind in (NUMBER, INTEGER)
        )
        self.assertEqual(
            [(one.rule, one.path) for one in incompatibilities(new, [old])],
            [("TYPE_NARROWED", "/properties/by/properties/id")],
        )
        self.assertEqual(incompatibilities(old, [new]), [])

    @settings(deadline=None, max_examples=100)
    @given(SCHEMAS)
    def test_itself(self, schema: Any) -> None:
        """Every schema is fully compatible with itself."""
        self.assertEqual(judged(schema, schema, Level.FULL), [])

    @settings(deadline=None, max_examples=300)
    @given(SCHEMAS, SCHEMAS, st.lists(VALUES, min_size=5, max_size=20))
    def test_validation(self, new: Any, old: Any, values: list[Any]) -> None:
        """
        What an old schema takes, a compatible one takes too.

        But for where Confluent's rules let something through: parts of an anyOf are held against one another one by
        one, and each needs only one that covers it if there are not more of the new.
        """
        if judged(new, old):
            return
        was, now = Draft7Validator(old), Draft7Validator(new)
        for value in values:
            if was.is_valid(value):
                self.assertTrue(now.is_valid(value), value)


class BoundTests(SynchronousTestCase):
    """Schemas of strangers."""

    def test_unusable(self) -> None:
        """What is no JSON Schema is said to be none."""
        for schema in (
            "{",
            "[]",
            "5",
            '{"type": "strange"}',
            '{"$ref": "elsewhere.json"}',
            '{"$ref": "#/definitions/none"}',
            '{"$ref": "#"}',
            '{"allOf": [{"$ref": "#"}]}',
            '{"required": "a"}',
            '{"enum": 5}',
            '{"maximum": NaN}',
            "[" * 100_000,
            '{"not":' * 500 + "{}" + "}" * 500,
        ):
            with self.subTest(schema=schema[:60]):
                one = document(schema)
                self.assertRaises(UnusableSchema, incompatibilities, one, [one])

    def test_blow_up(self) -> None:
        """Alternatives within alternatives do not multiply, nor do references that fan out."""

        def fan(bottom: Any) -> Any:
            definitions = {"d0": bottom}
            for level in range(1, 25):
                below = {"$ref": f"#/definitions/d{level - 1}"}
                definitions[f"d{level}"] = {
                    "oneOf": [properties({"a": below}), properties({"b": below}), array(items=below)]
                }
            return {"$ref": "#/definitions/d24", "definitions": definitions}

        self.assertEqual(judged(fan(NUMBER), fan(INTEGER)), [])
        self.assertTrue(judged(fan(INTEGER), fan(NUMBER)))

    def test_too_many(self) -> None:
        """More pairs than bounds allow are refused, in seconds."""
        many = {"oneOf": [STRING | {"maxLength": at, "minLength": 400 - at} for at in range(400)]}
        self.assertRaises(UnusableSchema, judged, many, many)

    def test_patterns(self) -> None:
        """No regular expression of a stranger is run without a bound on its time."""
        name = "a" * 60 + "!"
        new = closed({name: STRING}, patternProperties={"^(a+)+$": STRING})
        old = closed({}, patternProperties={"^(a+)+$": STRING})
        self.assertEqual(judged(new, old), [])

    def test_huge_numbers(self) -> None:
        """Numbers of any size are compared."""
        self.assertEqual(
            judged(INTEGER | {"multipleOf": 10**300}, INTEGER | {"multipleOf": 10**301}),
            [],
        )
        self.assertTrue(judged(NUMBER | {"multipleOf": 1e300}, NUMBER | {"multipleOf": 1e-300}))
