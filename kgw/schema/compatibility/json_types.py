"""JSON Schemas as nodes of one kind each: what a schema says side by side is an allOf, a list of types an anyOf."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from kgw.schema.compatibility.document import Alike, frozen, shown
from kgw.schema.compatibility.findings import UnusableSchema
from kgw.schema.json_document import Resolver, SchemaDocument
from kgw.schema.model import ResolvedSchema, Undecodable

#: References that lead to references.
_MOST_STEPS = 30


class Kind(Enum):
    """What a node says of values."""

    ANY = "anything"
    NOTHING = "nothing"
    STRING = "string"
    NUMBER = "number"
    BOOLEAN = "boolean"
    NULL = "null"
    OBJECT = "object"
    ARRAY = "array"
    ENUM = "enum"
    COMBINED = "combined"
    NOT = "not"
    CONDITIONAL = "if"


#: What tells the type of a schema that names none.
_KEYWORDS: dict[str, frozenset[str]] = {
    "string": frozenset({"minLength", "maxLength", "pattern"}),
    "number": frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}),
    "object": frozenset(
        {"properties", "required", "additionalProperties", "minProperties", "maxProperties", "dependencies"}
        | {"patternProperties", "propertyNames", "dependentRequired", "dependentSchemas", "unevaluatedProperties"}
    ),
    "array": frozenset(
        {"items", "additionalItems", "minItems", "maxItems", "uniqueItems", "contains", "prefixItems"}
        | {"unevaluatedItems", "minContains", "maxContains"}
    ),
}
_COMBINED = ("allOf", "anyOf", "oneOf")
_KINDS = {
    "string": Kind.STRING,
    "number": Kind.NUMBER,
    "integer": Kind.NUMBER,
    "boolean": Kind.BOOLEAN,
    "null": Kind.NULL,
    "object": Kind.OBJECT,
    "array": Kind.ARRAY,
}


@dataclass(slots=True, eq=False)
class Node:
    """
    A schema.

    @ivar says: its keywords.
    @ivar place: where they stand, for what is below.
    @ivar integer: of numbers: only whole ones.
    @ivar loose: of strings, numbers, objects and arrays: values of other types pass as well.
    @ivar criterion: of a combined one: C{allOf}, C{anyOf} or C{oneOf}.
    @ivar parts: of a combined one, none there twice; of a C{not} what must not be.
    @ivar values: of an enum, as L{frozen} has them.
    """

    kind: Kind
    says: Mapping[str, Any] = field(default_factory=dict)
    place: Place | None = None
    integer: bool = False
    loose: bool = False
    criterion: str = ""
    parts: tuple[Node, ...] = ()
    values: frozenset[Hashable] = frozenset()

    def below(self, schema: Any) -> Node:
        """A schema that stands within this one."""
        assert self.place is not None
        return self.place.node(schema)


ANY = Node(Kind.ANY)
NOTHING = Node(Kind.NOTHING)


def json_root(schema: ResolvedSchema) -> Node:
    """
    The root of a schema.

    @raise UnusableSchema: it is no JSON Schema that kgw can use.
    """
    try:
        document = SchemaDocument(schema)
        return Place(document, document.resolver, {}, Alike()).node(document.root)
    except Undecodable as error:
        raise UnusableSchema(error.reason) from None


class Place:
    """Somewhere in a document, whose schemas become a node each, once."""

    def __init__(self, document: SchemaDocument, resolver: Resolver, nodes: dict[int, Node], alike: Alike) -> None:
        """
        @param resolver: finds what schemas here refer to.
        @param nodes: what was made already, by the identity of schemas, which the document keeps alive.
        @param alike: tells equal schemas.
        """
        self._document = document
        self._resolver = resolver
        self._nodes = nodes
        self._alike = alike

    def node(self, schema: Any, steps: int = 0) -> Node:
        """
        The node of a schema.

        @param steps: references that led here.
        @raise UnusableSchema: it is no schema, or a reference leads nowhere.
        """
        if schema is True or schema == {}:
            return ANY
        if schema is False:
            return NOTHING
        if not isinstance(schema, dict):
            raise UnusableSchema(f"{shown(schema)} is no JSON Schema")
        if id(schema) not in self._nodes:
            self._nodes[id(schema)] = self._at(self._document.inside(schema, self._resolver))._made(schema, steps)
        return self._nodes[id(schema)]

    def _at(self, resolver: Resolver) -> Place:
        return Place(self._document, resolver, self._nodes, self._alike)

    def _made(self, schema: Mapping[str, Any], steps: int) -> Node:
        parts = [self._referred(schema[key], steps) for key in self._document.references if key in schema]
        if "enum" in schema or "const" in schema:
            parts.append(_enum(schema))
        for criterion in _COMBINED:
            if criterion in schema:
                listed = schema[criterion]
                if not isinstance(listed, list):
                    raise UnusableSchema(f"{criterion} {shown(listed)} is no list")
                parts.append(combined(criterion, self._each(listed, steps)))
        if "not" in schema:
            parts.append(Node(Kind.NOT, schema, self, parts=(self.node(schema["not"], steps),)))
        if "if" in schema and ("then" in schema or "else" in schema):
            parts.append(Node(Kind.CONDITIONAL, schema, self))
        parts.extend(self._typed(schema))
        return combined("allOf", parts)

    def _each(self, listed: list[Any], steps: int) -> list[Node]:
        """The nodes of a list, without those that stand in it twice."""
        different = {self._alike.number(one): one for one in listed}
        return [self.node(one, steps) for one in different.values()]

    def _referred(self, reference: Any, steps: int) -> Node:
        if not isinstance(reference, str):
            raise UnusableSchema(f"the reference {shown(reference)} is no text")
        if steps >= _MOST_STEPS:
            raise UnusableSchema(f"the reference {shown(reference)} leads through more than {_MOST_STEPS} others")
        contents, resolver = self._document.resolve(reference, self._resolver)
        return self._at(resolver).node(contents, steps + 1)

    def _typed(self, schema: Mapping[str, Any]) -> list[Node]:
        types = schema.get("type")
        if types is None:
            # a schema need not name the type that its keywords are about
            loose = [name for name, keywords in _KEYWORDS.items() if not keywords.isdisjoint(schema)]
            return [Node(_KINDS[name], schema, self, loose=True) for name in loose]
        listed = [types] if isinstance(types, str) else types
        if not isinstance(listed, list) or not all(isinstance(one, str) and one in _KINDS for one in listed):
            raise UnusableSchema(f"{shown(types)} is no type of JSON Schema")
        names = list(dict.fromkeys(listed))
        return [combined("anyOf", [Node(_KINDS[one], schema, self, integer=one == "integer") for one in names])]


def combined(criterion: str, parts: list[Node]) -> Node:
    """Several nodes as one; one alone is itself, and no condition at all is met by anything."""
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return ANY if criterion == "allOf" else NOTHING
    return Node(Kind.COMBINED, criterion=criterion, parts=tuple(parts))


def _enum(schema: Mapping[str, Any]) -> Node:
    """The values that C{enum} and C{const} leave."""
    listed = schema.get("enum", [schema.get("const")])
    if not isinstance(listed, list):
        raise UnusableSchema(f"enum {shown(listed)} is no list")
    values = frozenset(frozen(one) for one in listed)
    if "const" in schema:
        values &= {frozen(schema["const"])}
    return Node(Kind.ENUM, schema, values=values)
