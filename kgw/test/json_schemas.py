"""JSON schemas for tests: codecs of schemas written as Python's values, and strategies of both."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from kgw.schema.json_schema import JsonCodec
from kgw.schema.model import RegisteredSchema, ResolvedSchema, SchemaType
from kgw.test.strategies import TEXT

_NAMES = ("a", "b", "ü")
_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.sampled_from([1.0, 0.5, -2.0, 1e300, 2**61 - 1, 2.0**61])
    | st.sampled_from(["", "a", "aa", "ab", "ü", "a\n"])
)
#: Values that a schema of L{schemas} may well say something of.
VALUES: st.SearchStrategy[Any] = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_NAMES), inner, max_size=3),
    max_leaves=6,
)
#: Any values of JSON.
ANYTHING: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


def resolved(schema: Any, **imports: Any) -> ResolvedSchema:
    """A schema and what it refers to; names of these have two underscores for each dot."""
    others = {
        name.replace("__", "."): RegisteredSchema(2, SchemaType.JSON, json.dumps(other))
        for name, other in imports.items()
    }
    return ResolvedSchema(RegisteredSchema(1, SchemaType.JSON, json.dumps(schema)), others)


def codec(schema: Any, **imports: Any) -> JsonCodec:
    """As of L{resolved}."""
    return JsonCodec(resolved(schema, **imports))


def members(**named: Any) -> dict[str, Any]:
    """The schema of an object with such members."""
    return {"type": "object", "properties": named}


@st.composite
def _keywords(draw: st.DrawFn, inner: st.SearchStrategy[Any], full: bool) -> dict[str, Any]:
    sizes, numbers = st.integers(0, 3), st.integers(-3, 3) | st.sampled_from([0.5, 1e300, 2**61])
    some = st.lists(inner, min_size=1, max_size=3)
    named = st.dictionaries(st.sampled_from(_NAMES), inner, max_size=2)
    types = st.sampled_from(["null", "boolean", "integer", "number", "string", "array", "object"])
    known: dict[str, st.SearchStrategy[Any]] = {
        "type": types | st.lists(types, min_size=1, max_size=3, unique=True),
        "enum": st.lists(VALUES, min_size=1, max_size=4),
        "const": VALUES,
        "minimum": numbers,
        "maximum": numbers,
        "exclusiveMinimum": numbers,
        "exclusiveMaximum": numbers,
        "minLength": sizes,
        "maxLength": sizes,
        "minItems": sizes,
        "maxItems": sizes,
        "minProperties": sizes,
        "maxProperties": sizes,
        "pattern": st.sampled_from(["a", "^a+b", "b|ü"]),
        "properties": named,
        "required": st.lists(st.sampled_from(_NAMES), min_size=1, max_size=2, unique=True),
        "additionalProperties": inner,
        "items": inner,
        "anyOf": some,
        "oneOf": some,
        "allOf": some,
        "$ref": st.sampled_from(["#/definitions/x", "#/definitions/y"]),
        "format": st.sampled_from(["date", "int32", "float"]),
    }
    if full:
        known |= {
            "not": inner,
            "if": inner,
            "then": inner,
            "else": inner,
            "contains": inner,
            "uniqueItems": st.booleans(),
            "multipleOf": st.sampled_from([1, 2, 0.5]),
            "patternProperties": st.dictionaries(st.sampled_from(["a", "b|ü"]), inner, max_size=2),
            "propertyNames": inner,
            "dependencies": st.dictionaries(st.sampled_from(_NAMES), inner, max_size=2),
        }
    chosen = draw(st.lists(st.sampled_from(sorted(known)), max_size=4, unique=True))
    return {keyword: draw(known[keyword]) for keyword in chosen}


@st.composite
def schemas(draw: st.DrawFn, full: bool = False) -> dict[str, Any]:
    """
    Schemas of draft 7, with two definitions that may refer to themselves within a member.

    @param full: also of keywords that the fast way does not know.
    """
    leaf = st.booleans() | _keywords(st.booleans(), full).map(lambda one: {k: v for k, v in one.items() if k != "$ref"})
    nodes = st.recursive(leaf, lambda inner: _keywords(inner, full), max_leaves=5)
    found = draw(nodes)
    root: dict[str, Any] = found if isinstance(found, dict) else {"allOf": [found]}
    # behind a member: a schema that refers to itself at once has no end
    root["definitions"] = {"x": draw(leaf), "y": {"properties": {"a": {"$ref": "#/definitions/y"}, "b": draw(leaf)}}}
    return root
