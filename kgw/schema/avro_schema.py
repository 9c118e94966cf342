"""Avro schemas as trees of types: the text of one and of those it refers to, read within bounds.

Logical types are passed over: a value is what it is written as. Defaults, aliases and documentation are too, for
nothing is resolved here. Names are taken as they come; what Avro allows in them is for the registry to see to.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from kgw.schema.model import RegisteredSchema, ResolvedSchema, SchemaType, Undecodable

#: How deep a schema's types may stand in one another as text. Java's parser and fastavro go by recursion as well.
MOST_DEPTH = 64
#: Types in a schema and what it refers to, each use counted.
MOST_TYPES = 20_000
#: Bytes of a C{fixed}.
_MOST_FIXED = 1 << 30

PRIMITIVES = frozenset(("null", "boolean", "int", "long", "float", "double", "bytes", "string"))
#: The least bytes that a value of a type has.
_LEAST: Mapping[str, int] = {
    "null": 0,
    "boolean": 1,
    "int": 1,
    "long": 1,
    "float": 4,
    "double": 8,
    "bytes": 1,
    "string": 1,
}

#: More bytes than any payload has; records in records many times over would have to have more.
_MOST_LEAST = 1 << 48


@dataclass(frozen=True, slots=True)
class Primitive:
    """
    A primitive type.

    @ivar name: one of L{PRIMITIVES}.
    """

    name: str


@dataclass(frozen=True, slots=True, eq=False)
class Fixed:
    """Always so many bytes."""

    name: str
    size: int


@dataclass(frozen=True, slots=True, eq=False)
class Enumeration:
    """One of some symbols."""

    name: str
    symbols: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Array:
    """Any number of items of one type."""

    items: Type


@dataclass(frozen=True, slots=True, eq=False)
class Map:
    """Values of one type by text."""

    values: Type


@dataclass(frozen=True, slots=True, eq=False)
class Union:
    """One of some types, none of them a union."""

    branches: tuple[Type, ...]


@dataclass(slots=True, eq=False)
class Record:
    """
    Fields with names, all different.

    @ivar least: the least bytes that a value has; 0 until the schema is read, and of one that always has none.
    """

    name: str
    fields: tuple[tuple[str, Type], ...] = ()
    least: int = 0


Type: TypeAlias = Primitive | Fixed | Enumeration | Array | Map | Union | Record
_Named: TypeAlias = Fixed | Enumeration | Record

_PRIMITIVES: Mapping[str, Primitive] = {name: Primitive(name) for name in PRIMITIVES}


def least(kind: Type) -> int:
    """The least bytes that a value has: 0 of a type whose values never have any, at least 1 of all others."""
    if isinstance(kind, Primitive):
        return _LEAST[kind.name]
    if isinstance(kind, Fixed):
        return kind.size
    return kind.least if isinstance(kind, Record) else 1


def branch_name(kind: Type) -> str:
    """What Avro calls a branch of a union: the full name of a named type, the type's own of others."""
    if isinstance(kind, Array):
        return "array"
    if isinstance(kind, Map):
        return "map"
    return "union" if isinstance(kind, Union) else kind.name


def parse(resolved: ResolvedSchema) -> Type:
    """
    Read a schema and all it refers to.

    What is referred to is read first, in order, and gives its names to what comes behind: those that it defines, and
    the name of the reference. A text that defines a name which an earlier one has defined means its own from there on.

    @raise Undecodable: it is no Avro schema, refers to what is not there, or is beyond the bounds.
    """
    reader = _Reader()
    for name, schema in resolved.imports.items():
        kind = reader.read(schema)
        reader.names.setdefault(name, kind)
    return reader.read(resolved.schema)


@dataclass(slots=True)
class _Reader:
    """
    What has been read.

    @ivar names: the named types so far, by their full names.
    @ivar defined: those of the text that is read now.
    """

    names: dict[str, Type] = field(default_factory=dict)
    defined: set[str] = field(default_factory=set)
    records: list[Record] = field(default_factory=list)
    types: int = 0

    def read(self, schema: RegisteredSchema) -> Type:
        """The type that one text defines."""
        if schema.type is not SchemaType.AVRO:
            raise Undecodable("an Avro schema refers to a schema of another kind")
        try:
            found = json.loads(schema.text)
        except (ValueError, RecursionError) as error:
            raise Undecodable("the Avro schema is no JSON, or too deep") from error
        self.defined.clear()
        kind = self._type(found, "", 0)
        self._measure()
        return kind

    def _type(self, found: Any, space: str, depth: int) -> Type:
        self.types += 1
        if depth > MOST_DEPTH or self.types > MOST_TYPES:
            raise Undecodable(
                f"the Avro schema has more than {MOST_TYPES} types, or more than {MOST_DEPTH} in each other"
            )
        if isinstance(found, str):
            return _PRIMITIVES.get(found) or self._named(found, space)
        if isinstance(found, list):
            return self._union(found, space, depth)
        if not isinstance(found, dict):
            raise Undecodable("the Avro schema has something else where a type belongs")
        kind = found.get("type")
        if kind == "array":
            return Array(self._type(found.get("items"), space, depth + 1))
        if kind == "map":
            return Map(self._type(found.get("values"), space, depth + 1))
        if kind in ("record", "error"):
            return self._record(found, space, depth)
        if kind == "enum":
            return self._enumeration(found, space)
        if kind == "fixed":
            return self._fixed(found, space)
        # {"type": "long", "logicalType": ...}, {"type": {...}}
        return self._type(kind, space, depth + 1)

    def _named(self, name: str, space: str) -> Type:
        kind = self.names.get(f"{space}.{name}") if space and "." not in name else None
        if kind is None:
            kind = self.names.get(name)
        if kind is None:
            raise Undecodable("the Avro schema names a type that it does not define or refer to")
        return kind

    def _define(self, found: dict[str, Any], space: str) -> tuple[str, str]:
        """The full name of a type that is defined here, and the name space within it."""
        name, given = _text(found.get("name")), found.get("namespace")
        if "." in name:
            full = name
        else:
            space = space if given is None else given
            if not isinstance(space, str):
                raise Undecodable("the Avro schema has a name space that is no text")
            full = f"{_text(space)}.{name}" if space else name
        if full in self.defined:
            raise Undecodable("the Avro schema defines a name twice")
        self.defined.add(full)
        return full, full.rpartition(".")[0]

    def _record(self, found: dict[str, Any], space: str, depth: int) -> Record:
        name, inner = self._define(found, space)
        record = Record(name)
        self.names[name] = record
        rows = _list(found.get("fields"))
        fields: dict[str, Type] = {}
        for row in rows:
            if not isinstance(row, dict):
                raise Undecodable("the Avro schema has a field that is none")
            field_name = _text(row.get("name"))
            if field_name in fields:
                raise Undecodable("the Avro schema has two fields of one name in a record")
            fields[field_name] = self._type(row.get("type"), inner, depth + 1)
        record.fields = tuple(fields.items())
        self.records.append(record)
        return record

    def _enumeration(self, found: dict[str, Any], space: str) -> Enumeration:
        name, _inner = self._define(found, space)
        kind = Enumeration(name, tuple(_text(symbol) for symbol in _list(found.get("symbols"))))
        self.names[name] = kind
        return kind

    def _fixed(self, found: dict[str, Any], space: str) -> Fixed:
        name, _inner = self._define(found, space)
        size = found.get("size")
        if type(size) is not int or not 0 <= size <= _MOST_FIXED:
            raise Undecodable("the Avro schema has a fixed type of no size that can be")
        kind = Fixed(name, size)
        self.names[name] = kind
        return kind

    def _union(self, found: list[Any], space: str, depth: int) -> Union:
        branches = tuple(self._type(one, space, depth + 1) for one in found)
        names = {branch_name(one) for one in branches}
        if len(names) != len(branches) or "union" in names:
            raise Undecodable("the Avro schema has a union in a union, or a type twice in one")
        return Union(branches)

    def _measure(self) -> None:
        """
        Find what the values of records have at least.

        A record that holds itself other than by choice has no values at all: it is as if it held nothing there.
        """
        pending, self.records = self.records, []
        # those within are done first, as they end before; what they refer to and is not, is what holds them: once more
        for _again in range(2):
            for record in pending:
                record.least = min(sum(least(kind) for _name, kind in record.fields), _MOST_LEAST)


def _text(found: Any) -> str:
    try:
        if isinstance(found, str) and found.encode():
            return found
    except UnicodeEncodeError:
        # the same complaint as of one that is no text
        pass
    raise Undecodable("the Avro schema has a name that is none")


def _list(found: Any) -> Iterable[Any]:
    if not isinstance(found, list):
        raise Undecodable("the Avro schema has something else where a list belongs")
    return found
