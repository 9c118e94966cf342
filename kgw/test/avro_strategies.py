"""Avro schemas and values of them, made by Hypothesis; and what columns should say of a value, by a slower way."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from itertools import count
from typing import Any

import fastavro
from hypothesis import strategies as st

from kgw.schema.avro import AvroCodec
from kgw.schema.model import Reference, RegisteredSchema, ResolvedSchema, SchemaType
from kgw.test.strategies import TEXT

#: Types that the values of others are written to, and their values.
PRIMITIVES: dict[str, st.SearchStrategy[Any]] = {
    "null": st.none(),
    "boolean": st.booleans(),
    "int": st.integers(-(1 << 31), (1 << 31) - 1),
    "long": st.integers(-(1 << 63), (1 << 63) - 1),
    "float": st.floats(width=32, allow_nan=False),
    "double": st.floats(allow_nan=False),
    "bytes": st.binary(max_size=80),
    "string": TEXT | TEXT.map(lambda text: text * 20),
}


def resolved(schema: Any, imports: Mapping[str, Any] | None = None) -> ResolvedSchema:
    """A schema with what it refers to, as JSON's values in Python."""
    found = {
        name: RegisteredSchema(number + 2, SchemaType.AVRO, json.dumps(text))
        for number, (name, text) in enumerate((imports or {}).items())
    }
    references = tuple(Reference(name, name, 1) for name in found)
    return ResolvedSchema(RegisteredSchema(1, SchemaType.AVRO, json.dumps(schema), references), found)


def codec(schema: Any, imports: Mapping[str, Any] | None = None) -> AvroCodec:
    """A codec of a schema."""
    return AvroCodec(resolved(schema, imports))


def written(schema: Any, value: Any) -> bytes:
    """A value as fastavro writes it; branches of unions may be given as pairs of name and value."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), value)
    return out.getvalue()


def name_of(schema: Any) -> str:
    """What a branch is called."""
    if isinstance(schema, dict):
        return str(schema["name"] if schema["type"] in ("record", "enum", "fixed") else schema["type"])
    return str(schema)


class Made:
    """Makes schemas whose named types all have names of their own, or are used again."""

    def __init__(self, data: st.DataObject) -> None:
        self._data = data
        self._names = count()
        self._known: list[Any] = []

    def schema(self, depth: int = 0, in_union: bool = False) -> Any:
        """A schema."""
        kinds = [*PRIMITIVES, "enum", "fixed"]
        if depth < 3:
            kinds += ["array", "map", "record", "record"] + ([] if in_union else ["union", "union"])
        if self._known:
            kinds.append("again")
        kind = self._data.draw(st.sampled_from(kinds))
        if kind == "again":
            return self._data.draw(st.sampled_from(self._known))
        if kind in PRIMITIVES:
            return kind
        if kind == "array":
            return {"type": "array", "items": self.schema(depth + 1)}
        if kind == "map":
            return {"type": "map", "values": self.schema(depth + 1)}
        if kind == "union":
            branches: dict[str, Any] = {}
            for _branch in range(self._data.draw(st.integers(1, 4))):
                branch = self.schema(depth + 1, in_union=True)
                branches.setdefault(name_of(branch), branch)
            return list(branches.values())
        made: dict[str, Any] = {"type": kind, "name": f"kgw.N{next(self._names)}"}
        if kind == "enum":
            made["symbols"] = ["A", "B", "C"][: self._data.draw(st.integers(1, 3))]
        elif kind == "fixed":
            made["size"] = self._data.draw(st.integers(1, 20))
        else:
            made["fields"] = [
                {"name": f"f{index}", "type": self.schema(depth + 1)}
                for index in range(self._data.draw(st.integers(0, 4)))
            ]
        self._known.append(made)
        return made

    def value(self, schema: Any) -> Any:
        """A value of a schema, of which branches of unions are pairs of index and value."""
        if isinstance(schema, list):
            index = self._data.draw(st.integers(0, len(schema) - 1))
            return index, self.value(schema[index])
        if isinstance(schema, str):
            return self._data.draw(PRIMITIVES[schema])
        if schema["type"] == "array":
            return [self.value(schema["items"]) for _item in range(self._data.draw(st.integers(0, 3)))]
        if schema["type"] == "map":
            keys = self._data.draw(st.lists(TEXT, max_size=3, unique=True))
            return {key: self.value(schema["values"]) for key in keys}
        if schema["type"] == "enum":
            return self._data.draw(st.sampled_from(schema["symbols"]))
        if schema["type"] == "fixed":
            return self._data.draw(st.binary(min_size=schema["size"], max_size=schema["size"]))
        return {field["name"]: self.value(field["type"]) for field in schema["fields"]}


def text_of(schema: Any, seen: set[str] | None = None) -> Any:
    """The schema as it is registered: a named type is defined where it comes first, and named where it comes again."""
    seen = set() if seen is None else seen
    if isinstance(schema, list):
        return [text_of(branch, seen) for branch in schema]
    if isinstance(schema, str):
        return schema
    if "name" in schema:
        if schema["name"] in seen:
            return schema["name"]
        seen.add(schema["name"])
    made = dict(schema)
    for key in ("items", "values"):
        if key in schema:
            made[key] = text_of(schema[key], seen)
    if "fields" in schema:
        made["fields"] = [dict(field, type=text_of(field["type"], seen)) for field in schema["fields"]]
    return made


def for_fastavro(schema: Any, value: Any) -> Any:
    """A value as fastavro takes it, so that it writes the branch that is meant."""
    if isinstance(schema, list):
        index, inner = value
        branch = schema[index]
        given = for_fastavro(branch, inner)
        return name_of(branch), given
    if isinstance(schema, str) or schema["type"] in ("enum", "fixed"):
        return value
    if schema["type"] == "array":
        return [for_fastavro(schema["items"], one) for one in value]
    if schema["type"] == "map":
        return {key: for_fastavro(schema["values"], one) for key, one in value.items()}
    return {field["name"]: for_fastavro(field["type"], value[field["name"]]) for field in schema["fields"]}


#: What a type has that has no column, in L{told}.
NOTHING = object()


def is_nothing(schema: Any) -> bool:
    """Whether the values of a type take no bytes."""
    if isinstance(schema, str):
        return schema == "null"
    if isinstance(schema, list) or schema["type"] != "record":
        return False
    return all(is_nothing(field["type"]) for field in schema["fields"])


def has_column(schema: Any) -> bool:
    """Whether a type has a column."""
    if isinstance(schema, list):
        return any(map(has_column, schema))
    if isinstance(schema, dict) and schema["type"] == "array":
        return has_column(schema["items"])
    return not is_nothing(schema)


def told(schema: Any, value: Any) -> Any:
    """What a row tells of a value, as Python has it; L{NOTHING} where it has no entry."""
    if not has_column(schema):
        return NOTHING
    if isinstance(schema, list):
        index, inner = value
        found = told(schema[index], inner)
        real = [branch for branch in schema if has_column(branch)]
        return found if len(real) < 2 or found is NOTHING else {name_of(schema[index]): found}
    if isinstance(schema, str) or schema["type"] in ("enum", "fixed"):
        return value
    if schema["type"] == "array":
        items = [told(schema["items"], one) for one in value]
        return [item for item in items if item is not NOTHING]
    if schema["type"] == "map":
        rows = {key: told(schema["values"], one) for key, one in value.items()}
    else:
        rows = {field["name"]: told(field["type"], value[field["name"]]) for field in schema["fields"]}
    return {key: row for key, row in rows.items() if row is not NOTHING}
