"""Which columns the values of a JSON schema have.

Members that the schema names are columns, in the order it names them; others are none, and stay in the original bytes
only. What has no type of its own in columns is a column of JSON text: objects that name no members, unions of two
kinds or more, anything whose type is not said, tuples' elements, and where a schema comes back to itself, or goes down
too far. An integer whose bounds go beyond 64 bits is a column of its digits. A root that is no object with members has
one column, C{value}.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias

from kgw.schema.columns import Column, ColumnType, ListOf, RecordOf, Scalar
from kgw.schema.json_document import Node, Resolver, SchemaDocument
from kgw.schema.model import Undecodable

#: How deep columns are in one another; further down is text.
MOST_DEPTH = 12
#: Columns of one schema, at all depths; the rest has none.
MOST_COLUMNS = 2000
#: Schemas looked at for the columns of one, as often as they are.
MOST_LOOKS = 300_000
#: Schemas that hold for one and the same value, by C{allOf} and C{$ref}.
_MOST_PARTS = 200
ROOT = "value"

_INT64 = range(-1 << 63, 1 << 63)
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "const")


class Form(Enum):
    """How a value that has a scalar's column is in it."""

    BOOL = Scalar.BOOL
    INT32 = Scalar.INT32
    INT64 = Scalar.INT64
    FLOAT = Scalar.FLOAT
    DOUBLE = Scalar.DOUBLE
    STRING = Scalar.STRING
    #: An integer as the text of its digits.
    DIGITS = "digits"
    #: Anything but null, as JSON text.
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Elements:
    """A list."""

    element: Plan


@dataclass(frozen=True, slots=True)
class Member:
    """
    A member of an object.

    @ivar required: it has to be there, and cannot be null.
    """

    name: str
    plan: Plan
    required: bool


@dataclass(frozen=True, slots=True)
class Members:
    """An object with members that the schema names."""

    members: tuple[Member, ...]


Plan: TypeAlias = Form | Elements | Members

#: A schema, and the resolver as seen from it.
_Part: TypeAlias = tuple[dict[str, Any], Resolver]


def column_type(plan: Plan) -> ColumnType:
    """The column of values that are written by a plan."""
    if isinstance(plan, Elements):
        return ListOf(column_type(plan.element))
    if isinstance(plan, Members):
        return RecordOf(
            tuple(Column(member.name, column_type(member.plan), member.required) for member in plan.members)
        )
    return scalar(plan)


def scalar(form: Form) -> Scalar:
    """The column of a scalar, or of what is text instead."""
    return form.value if isinstance(form.value, Scalar) else Scalar.STRING


def plan_root(document: SchemaDocument) -> tuple[Plan, bool]:
    """
    How the values of a schema are written.

    @return: also whether null is none of them.
    @raise Undecodable: so many schemas hold for the same values that nobody could tell in time.
    """
    return _Planner(document).plan([(document.root, document.resolver)], frozenset(), 0)


class _TooMany(Exception):
    """So many schemas hold for one value that nobody wants to know."""


class _Kind:
    """What all schemas that hold for one value say of its type together."""

    def __init__(self) -> None:
        self.types: set[str] | None = None
        self.null_by_union = False

    def only(self, types: set[str]) -> None:
        if "number" in types:
            types = types | {"integer"}
        self.types = types if self.types is None else self.types & types

    @property
    def nullable(self) -> bool:
        return self.null_by_union or self.types is None or "null" in self.types

    @property
    def real(self) -> set[str] | None:
        """Without null; a number that may be an integer is a number."""
        if self.types is None:
            return None
        types = self.types - {"null"}
        return types - {"integer"} if "number" in types else types


class _Planner:
    def __init__(self, document: SchemaDocument) -> None:
        self._document = document
        self._left = MOST_COLUMNS
        self._looks = MOST_LOOKS

    def plan(self, given: list[tuple[Node, Resolver]], above: frozenset[int], depth: int) -> tuple[Plan, bool]:
        """
        @param given: the schemas that hold for the value.
        @param above: by C{id}, those of the values it is in.
        """
        self._left -= 1
        try:
            kind, parts, unions = self._combine(given)
        except _TooMany:
            return Form.TEXT, False
        own = {id(node) for node, _ in parts}
        # a schema that stands in itself would have columns without end
        if own & above or depth >= MOST_DEPTH or self._left < 0:
            return Form.TEXT, not kind.nullable
        inside = above | own
        types = kind.real
        if types is None:
            if any("properties" in node for node, _ in parts):
                types = {"object"}
            elif any("items" in node or "prefixItems" in node for node, _ in parts):
                types = {"array"}
            elif unions:
                return self._union(unions), not kind.nullable
        if types is None or len(types) != 1:
            return Form.TEXT, not kind.nullable
        (name,) = types
        if name == "object":
            return self._members(parts, inside, depth), not kind.nullable
        if name == "array":
            return self._elements(parts, inside, depth), not kind.nullable
        return _scalar(name, parts), not kind.nullable

    def _combine(self, given: list[tuple[Node, Resolver]]) -> tuple[_Kind, list[_Part], list[list[_Part]]]:
        """All parts, with the branch of each union that has one beside null; and the unions that have more."""
        kind, parts, unions, seen = _Kind(), list[_Part](), list[list[_Part]](), set[int]()
        waiting = list(given)
        while waiting:
            node, resolver = waiting.pop(0)
            for part, there in self._expand(node, resolver, seen):
                parts.append((part, there))
                if len(parts) > _MOST_PARTS:
                    raise _TooMany
                types = _types(part)
                if types is not None:
                    kind.only(types)
                for keyword in ("oneOf", "anyOf"):
                    branches = part.get(keyword)
                    if not isinstance(branches, list):
                        continue
                    self._looks -= len(branches)
                    real = [(branch, self._document.inside(branch, there)) for branch in branches if not _null(branch)]
                    kind.null_by_union = kind.null_by_union or len(real) < len(branches)
                    if len(real) == 1:
                        waiting.append(real[0])
                    elif real:
                        unions.append(real)
        return kind, parts, unions

    def _expand(self, node: Node, resolver: Resolver, seen: set[int]) -> Iterator[_Part]:
        """A schema with what it refers to and consists of, in the order of its keywords."""
        stack: list[tuple[Node, Resolver, bool]] = [(node, resolver, False)]
        while stack:
            node, resolver, whole = stack.pop()
            self._looks -= 1
            if self._looks < 0:
                raise Undecodable("the schema has too many schemas for one value")
            if whole:
                yield node, resolver
                continue
            if not isinstance(node, dict) or id(node) in seen:
                continue
            seen.add(id(node))
            alone = "$ref" in node and self._document.dialect.number <= 7
            found: list[tuple[Node, Resolver, bool]] = []
            own = False
            for keyword, value in node.items():
                target = self._document.targets.get((id(node), keyword))
                if target is not None:
                    found.append((*target, False))
                elif alone:
                    continue
                elif keyword == "allOf" and isinstance(value, list):
                    found.extend((one, self._document.inside(one, resolver), False) for one in value)
                elif keyword == "properties":
                    found.append((node, resolver, True))
                    own = True
            if not own and not alone:
                found.append((node, resolver, True))
            stack.extend(reversed(found))

    def _members(self, parts: list[_Part], inside: frozenset[int], depth: int) -> Plan:
        named: dict[str, list[tuple[Node, Resolver]]] = {}
        required: set[str] = set()
        for node, resolver in parts:
            for name, child in node.get("properties", {}).items():
                named.setdefault(name, []).append((child, self._document.inside(child, resolver)))
            names = node.get("required")
            if isinstance(names, list):
                required.update(names)
        members = []
        for name, schemas in named.items():
            # what must not be there has no column
            if self._left > 0 and not any(child is False for child, _ in schemas):
                plan, never_null = self.plan(schemas, inside, depth + 1)
                members.append(Member(name, plan, never_null and name in required))
        return Members(tuple(members)) if members else Form.TEXT

    def _elements(self, parts: list[_Part], inside: frozenset[int], depth: int) -> Plan:
        schemas: list[tuple[Node, Resolver]] = []
        for node, resolver in parts:
            items = node.get("items")
            if isinstance(items, list) or "prefixItems" in node:
                return Elements(Form.TEXT)
            if items is not None:
                schemas.append((items, self._document.inside(items, resolver)))
        return Elements(self.plan(schemas, inside, depth + 1)[0])

    def _union(self, unions: list[list[_Part]]) -> Plan:
        """The scalar that all branches are, or text."""
        forms: set[Form] = set()
        for branch in unions[0]:
            try:
                kind, parts, _ = self._combine([branch])
            except _TooMany:
                return Form.TEXT
            types = kind.real
            if types is None or len(types) != 1 or types & {"object", "array"}:
                return Form.TEXT
            (name,) = types
            forms.add(_scalar(name, parts))
        return forms.pop() if len(forms) == 1 else Form.TEXT


def _null(node: Node) -> bool:
    """Whether nothing but null is what a schema says."""
    return isinstance(node, dict) and _types(node) == {"null"}


def _types(node: dict[str, Any]) -> set[str] | None:
    """The types that one schema leaves, by itself; C{None}: all."""
    said = node.get("type")
    if isinstance(said, str):
        return {said}
    if isinstance(said, list):
        return set(said)
    values = [node["const"]] if "const" in node else node.get("enum")
    return {_type_of(value) for value in values} if isinstance(values, list) else None


def _type_of(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "number"
    return "string" if isinstance(value, str) else "array" if isinstance(value, list) else "object"


def _scalar(name: str, parts: list[_Part]) -> Form:
    if name == "boolean":
        return Form.BOOL
    if name == "string":
        return Form.STRING
    formats = {node["format"] for node, _ in parts if isinstance(node.get("format"), str)}
    if name == "number":
        return Form.FLOAT if "float" in formats else Form.DOUBLE
    if name != "integer":
        return Form.TEXT
    for node, _ in parts:
        for bound in (*(node.get(keyword) for keyword in _BOUNDS), *node.get("enum", ())):
            if isinstance(bound, int | float) and not _INT64.start <= bound < _INT64.stop:
                return Form.DIGITS
    return Form.INT32 if "int32" in formats else Form.INT64
