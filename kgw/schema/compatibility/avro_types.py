"""
Avro schemas as graphs for the comparison of two: every name stands for the type it names, recursion is a circle.

L{kgw.schema.avro_schema} reads schemas for the sake of values, and has no aliases and defaults, which count here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kgw.schema.compatibility.document import parsed, shown
from kgw.schema.compatibility.findings import UnusableSchema
from kgw.schema.model import ResolvedSchema

PRIMITIVES = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})


@dataclass(slots=True, eq=False)
class AvroField:
    """A field of a record."""

    name: str
    type: AvroType
    aliases: tuple[str, ...]
    has_default: bool


@dataclass(slots=True, eq=False)
class AvroType:
    """
    A type.

    @ivar kind: a primitive's name, or C{array}, C{map}, C{union}, C{record}, C{enum}, C{fixed}.
    @ivar name: the full name of a record, an enum or a fixed.
    @ivar aliases: other full names it had.
    @ivar below: the items of an array, the values of a map or the branches of a union.
    @ivar default: of an enum: the symbol that stands for those it does not know.
    """

    kind: str
    name: str = ""
    aliases: tuple[str, ...] = ()
    below: tuple[AvroType, ...] = ()
    fields: tuple[AvroField, ...] = ()
    symbols: tuple[str, ...] = ()
    default: str | None = None
    size: int = 0

    @property
    def simple_name(self) -> str:
        """The name without its namespace."""
        return self.name.rpartition(".")[2]

    def __str__(self) -> str:
        return f"{self.kind} {self.name}" if self.name else self.kind


def avro_type(schema: ResolvedSchema) -> AvroType:
    """
    The type that a schema declares.

    @raise UnusableSchema: it is no Avro schema.
    """
    reading = _Reading()
    for name, one in schema.imports.items():
        type_ = reading.text(one.text)
        reading.names.setdefault(name, type_)
    return reading.text(schema.schema.text)


@dataclass(slots=True)
class _Reading:
    """
    One pass over a schema and those it refers to.

    @ivar names: all types so far.
    @ivar defined: the names that the text at hand defines; those of earlier ones may be defined anew.
    """

    names: dict[str, AvroType] = field(default_factory=dict)
    defined: set[str] = field(default_factory=set)

    def text(self, text: str) -> AvroType:
        """Read one text."""
        self.defined.clear()
        return self.read(parsed(text), "")

    def read(self, declared: Any, namespace: str) -> AvroType:
        """
        Read a type.

        @param namespace: of the named type around it.
        """
        if isinstance(declared, str):
            return self._named(declared, namespace)
        if isinstance(declared, list):
            branches = tuple(self.read(branch, namespace) for branch in declared)
            if any(branch.kind == "union" for branch in branches):
                raise UnusableSchema("an Avro union stands directly in another")
            return AvroType("union", below=branches)
        if not isinstance(declared, dict):
            raise UnusableSchema(f"{shown(declared)} is no Avro type")
        kind = declared.get("type")
        if kind in ("array", "map"):
            step = "items" if kind == "array" else "values"
            if step not in declared:
                raise UnusableSchema(f"the Avro {kind} {shown(declared)} has no {step}")
            return AvroType(kind, below=(self.read(declared[step], namespace),))
        if kind in ("record", "error", "enum", "fixed"):
            return self._define(declared, "record" if kind == "error" else kind, namespace)
        if kind is None:
            raise UnusableSchema(f"{shown(declared)} has no type")
        # {"type": "int", "logicalType": "date"}, and the type within a type that some generators write
        return self.read(kind, namespace)

    def _named(self, name: str, namespace: str) -> AvroType:
        if name in PRIMITIVES:
            return self.names.setdefault(name, AvroType(name))
        for full in (_full(name, namespace), name):
            if full in self.names:
                return self.names[full]
        raise UnusableSchema(f"the Avro type {shown(name)} is declared nowhere")

    def _define(self, declared: Mapping[str, Any], kind: str, namespace: str) -> AvroType:
        name = declared.get("name")
        if not isinstance(name, str) or not name:
            raise UnusableSchema(f"the Avro {kind} {shown(declared)} has no name")
        own = declared.get("namespace")
        full = _full(name, own if isinstance(own, str) else namespace)
        if full in PRIMITIVES or full in self.defined:
            raise UnusableSchema(f"the Avro type {shown(full)} is declared twice")
        self.defined.add(full)
        space = full.rpartition(".")[0]
        made = AvroType(kind, full, tuple(_full(alias, space) for alias in _texts(declared, "aliases")))
        self.names[full] = made
        if kind == "record":
            made.fields = self._fields(declared, full, space)
        elif kind == "enum":
            made.symbols = _texts(declared, "symbols")
            default = declared.get("default")
            made.default = default if default in made.symbols else None
        else:
            size = declared.get("size")
            if not isinstance(size, int) or isinstance(size, bool) or size < 0:
                raise UnusableSchema(f"the Avro fixed {full} has no size")
            made.size = size
        return made

    def _fields(self, declared: Mapping[str, Any], full: str, namespace: str) -> tuple[AvroField, ...]:
        listed = declared.get("fields")
        if not isinstance(listed, list):
            raise UnusableSchema(f"the Avro record {full} has no list of fields")
        fields: dict[str, AvroField] = {}
        for one in listed:
            name = one.get("name") if isinstance(one, dict) else None
            if not isinstance(name, str) or "type" not in one:
                raise UnusableSchema(f"a field of the Avro record {full} has no name or no type")
            if name in fields:
                raise UnusableSchema(f"the Avro record {full} has two fields {shown(name)}")
            type_ = self.read(one["type"], namespace)
            fields[name] = AvroField(name, type_, _texts(one, "aliases"), "default" in one)
        return tuple(fields.values())


def _full(name: str, namespace: str) -> str:
    """A name with its namespace; a name with a dot in it has one."""
    return name if "." in name or not namespace else f"{namespace}.{name}"


def _texts(declared: Mapping[str, Any], key: str) -> tuple[str, ...]:
    listed = declared.get(key, [])
    if not isinstance(listed, list) or not all(isinstance(one, str) for one in listed):
        raise UnusableSchema(f"{key} of {shown(dict(declared))} is no list of names")
    return tuple(listed)
