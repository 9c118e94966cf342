"""A JSON schema with all the documents it refers to: their dialect, their places, and what every C{$ref} names.

Nothing is ever fetched: what is no reference of the schema in its registry cannot be resolved. All documents are read
in the dialect of the first one, draft 7 where it names none that is known, as Confluent's clients do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Protocol, TypeAlias

from jsonschema import (
    Draft4Validator,
    Draft6Validator,
    Draft7Validator,
    Draft201909Validator,
    Draft202012Validator,
    FormatChecker,
)
from jsonschema.exceptions import SchemaError
from referencing import Registry, Resource, Specification
from referencing.exceptions import NoSuchResource, Unresolvable
from referencing.jsonschema import DRAFT4, DRAFT6, DRAFT7, DRAFT201909, DRAFT202012

from kgw.schema.json_patterns import Search, searcher
from kgw.schema.json_text import read_json
from kgw.schema.model import ResolvedSchema, Undecodable

#: All documents together, in characters.
MOST_CHARACTERS = 2 << 20
#: Schemas within schemas, of all documents together.
MOST_SCHEMAS = 20_000
MOST_DOCUMENTS = 500
MOST_PATTERNS = 500
#: Longer names of places are cut.
_MOST_PLACE = 160

#: What a schema is in JSON: an object, or true or false.
Node: TypeAlias = Any


class Resolver(Protocol):
    """What finds schemas by their names, seen from one place; one of C{referencing}'s."""

    def lookup(self, ref: str) -> Any:
        """What a name stands for: C{contents}, and the C{resolver} that is seen from there."""

    def in_subresource(self, subresource: Resource[Any]) -> Resolver:
        """As seen from a schema within the one at hand, which may have a name itself."""


class Dialect(NamedTuple):
    """
    A draft of JSON Schema.

    @ivar number: 4, 6, 7, 2019 or 2020.
    @ivar validator: C{jsonschema}'s class for it.
    """

    number: int
    validator: Any
    specification: Specification[Any]


_DIALECTS = {
    "json-schema.org/draft-04/schema": Dialect(4, Draft4Validator, DRAFT4),
    "json-schema.org/draft-06/schema": Dialect(6, Draft6Validator, DRAFT6),
    "json-schema.org/draft-07/schema": Dialect(7, Draft7Validator, DRAFT7),
    "json-schema.org/draft/2019-09/schema": Dialect(2019, Draft201909Validator, DRAFT201909),
    "json-schema.org/draft/2020-12/schema": Dialect(2020, Draft202012Validator, DRAFT202012),
}
_DEFAULT = _DIALECTS["json-schema.org/draft-07/schema"]

#: Where schemas stand within a schema: alone, in a list, by names.
_ALONE = frozenset(
    (
        "additionalItems",
        "additionalProperties",
        "contains",
        "else",
        "if",
        "items",
        "not",
        "propertyNames",
        "then",
        "unevaluatedItems",
        "unevaluatedProperties",
    )
)
_LISTED = frozenset(("allOf", "anyOf", "items", "oneOf", "prefixItems"))
_NAMED = frozenset(("$defs", "definitions", "dependencies", "dependentSchemas", "patternProperties", "properties"))
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
#: What turns verdicts round or counts them, so that a pattern nobody holds against a value would do harm.
_TURNING = frozenset(("contains", "if", "not", "oneOf"))
#: "then" and "else" are no keywords of their own for the library.
_BESIDE = frozenset(("definitions", "then", "else"))

_MALFORMED = (AttributeError, KeyError, LookupError, RecursionError, TypeError, ValueError)


class SchemaDocument:
    """
    A schema that can be used: whole, in bounds, all it names found.

    @ivar root: the schema.
    @ivar resolver: as seen from the root.
    @ivar registry: the schema and the documents it refers to, and nothing else.
    @ivar targets: what the schemas within refer to, by C{id} of the schema and keyword.
    @ivar places: of every schema within, by C{id} of its object: a JSON pointer.
    @ivar references: the keywords of the dialect that name a schema elsewhere.
    @ivar keywords: all that stand in any of the schemas, as far as the dialect knows them; C{prefixItems} also where
        older ones have tuples.
    @ivar patterns: what looks for the regular expressions within; C{None} where RE2 cannot.
    """

    def __init__(self, resolved: ResolvedSchema) -> None:
        """
        @raise Undecodable: the schema cannot be used.
        """
        texts = [resolved.schema.text, *(other.text for other in resolved.imports.values())]
        if len(texts) > MOST_DOCUMENTS or sum(map(len, texts)) > MOST_CHARACTERS:
            raise Undecodable("the schema and what it refers to are too large")
        self.root = _read(resolved.schema.text)
        self.dialect = _dialect(self.root)
        documents = {name: _read(other.text) for name, other in resolved.imports.items()}
        self.places: dict[int, str] = {}
        self.targets: dict[tuple[int, str], tuple[Node, Resolver]] = {}
        self.keywords: set[str] = set()
        self.patterns: dict[str, Search | None] = {}
        self._dynamic = Counter[str]()
        self._known = frozenset(self.dialect.validator.VALIDATORS) | _BESIDE
        if self.dialect.number >= 2019:
            self._known |= {"$defs"}
        self.references = tuple(keyword for keyword in _REFERENCES if keyword in self._known)
        try:
            for name, document in (("", self.root), *documents.items()):
                self._enter(document, f"{name}#")
            base, self.registry = self._registry(documents)
            self.resolver: Resolver = self.registry.resolver(base)
            self._follow_all(documents)
        except _MALFORMED:
            raise Undecodable("the schema is malformed") from None
        self._see_patterns()
        self._see_dynamic()

    def inside(self, node: Node, resolver: Resolver) -> Resolver:
        """A resolver as seen from a schema within the one at hand."""
        return resolver.in_subresource(self._resource(node)) if isinstance(node, dict) else resolver

    def place(self, node: Node) -> str:
        """Where a schema stands."""
        return self.places.get(id(node), "#")

    def _resource(self, contents: Node) -> Resource[Any]:
        return self.dialect.specification.create_resource(contents)

    def _enter(self, document: Node, place: str) -> None:
        """Check a document against the schema of schemas, and see what stands within."""
        try:
            # the texts of errors are not looked at, nor formats: patterns are seen to elsewhere
            self.dialect.validator.check_schema(document, format_checker=FormatChecker(formats=()))
        except SchemaError as error:
            path = "".join(f"/{part}" for part in error.absolute_path)
            raise Undecodable(f"the schema is malformed at {_cut(place + path)}") from None
        stack = [(document, place)]
        while stack:
            node, at = stack.pop()
            if not isinstance(node, dict) or id(node) in self.places:
                continue
            self.places[id(node)] = _cut(at)
            if len(self.places) > MOST_SCHEMAS:
                raise Undecodable(f"there are more than {MOST_SCHEMAS} schemas within the schema")
            # the library would change to a dialect named here, and to a validator without our bounds
            node.pop("$schema", None)
            if self.dialect.number == 4:
                node.pop("const", None)
            for keyword in node:
                if keyword in self._known:
                    self.keywords.add(keyword)
            if isinstance(node.get("items"), list):
                self.keywords.add("prefixItems")
            for keyword in ("$dynamicAnchor", "$recursiveAnchor"):
                if keyword in node and self.dialect.number >= 2019:
                    self._dynamic[f"{keyword} {node[keyword]}"] += 1
            for pattern in (node.get("pattern"), *node.get("patternProperties", ())):
                if isinstance(pattern, str):
                    self.patterns.setdefault(pattern, None)
            stack.extend((child, f"{at}{steps}") for child, steps in self._within(node))

    def _within(self, node: dict[str, Any]) -> Iterator[tuple[Node, str]]:
        for keyword, value in node.items():
            if keyword not in self._known:
                continue
            if keyword in _NAMED and isinstance(value, dict):
                yield from ((child, f"/{keyword}/{name}") for name, child in value.items())
            elif keyword in _LISTED and isinstance(value, list):
                yield from ((child, f"/{keyword}/{index}") for index, child in enumerate(value))
            elif keyword in _ALONE:
                yield value, f"/{keyword}"

    def _registry(self, documents: Mapping[str, Node]) -> tuple[str, Registry[Any]]:
        """All documents by their names, and the name of the root."""
        root = self._resource(self.root)
        base = root.id() or ""
        resources = {base: root}
        for name, document in documents.items():
            resources.setdefault(name.rstrip("#"), self._resource(document))
        # a document is also known by its own name, which what refers to it may have or not
        for document in documents.values():
            resource = self._resource(document)
            resources.setdefault(resource.id() or base, resource)

        def retrieve(uri: str) -> Resource[Any]:
            for name, resource in resources.items():
                if name and (uri.endswith(f"/{name}") or name.endswith(f"/{uri}")):
                    return resource
            raise NoSuchResource(uri)

        registry: Registry[Any] = Registry(retrieve=retrieve)  # type: ignore[call-arg]
        return base, registry.with_resources(resources.items()).crawl()

    def _follow_all(self, documents: Mapping[str, Node]) -> None:
        """Resolve everything that anything refers to, and enter what nobody has seen so far."""
        stack = [(self.root, self.resolver)]
        stack.extend((document, self.registry.resolver(name)) for name, document in documents.items())
        seen: set[int] = set()
        while stack:
            node, resolver = stack.pop()
            if not isinstance(node, dict) or id(node) in seen:
                continue
            seen.add(id(node))
            for keyword in self.references:
                ref = node.get(keyword)
                if isinstance(ref, str):
                    target, there = self.targets[id(node), keyword] = self.resolve(ref, resolver)
                    if isinstance(target, dict) and id(target) not in self.places:
                        self._enter(target, ref)
                    stack.append((target, there))
            stack.extend((child, self.inside(child, resolver)) for child, _ in self._within(node))

    def resolve(self, ref: str, resolver: Resolver) -> tuple[Node, Resolver]:
        """
        The schema that a name stands for, and what is seen from there.

        @raise Undecodable: there is none, or what is there is no schema.
        """
        try:
            found = resolver.lookup(ref)
        except Unresolvable:
            raise Undecodable(f"the schema refers to {_cut(ref)}, which is no reference of it") from None
        except _MALFORMED:
            raise Undecodable(f"the schema refers to {_cut(ref)}, which is nowhere") from None
        if not isinstance(found.contents, dict | bool):
            raise Undecodable(f"the schema refers to {_cut(ref)}, which is no schema")
        return found.contents, found.resolver

    def _see_patterns(self) -> None:
        if len(self.patterns) > MOST_PATTERNS:
            raise Undecodable(f"the schema has more than {MOST_PATTERNS} patterns")
        for pattern in self.patterns:
            self.patterns[pattern] = searcher(pattern)
        if None in self.patterns.values() and (self.keywords & _TURNING or "patternProperties" in self.keywords):
            raise Undecodable("the schema has a pattern that cannot be matched in bounded time, where it decides")
        if "patternProperties" in self.keywords and "unevaluatedProperties" in self.keywords:
            # the library matches those with expressions of its own, in unbounded time
            raise Undecodable("the schema has unevaluatedProperties and patternProperties")

    def _see_dynamic(self) -> None:
        """What depends on the way by which a schema was reached is resolved once, so there must not be two of it."""
        if any(count > 1 for count in self._dynamic.values()):
            raise Undecodable("the schema has the same dynamic anchor more than once")


def _read(text: str) -> Node:
    try:
        found = read_json(text.encode())
    except UnicodeEncodeError:
        raise Undecodable("the schema is malformed: it is not UTF-8") from None
    except Undecodable as error:
        raise Undecodable(f"the schema is malformed: {error.reason.replace('the value', 'its text')}") from None
    if not isinstance(found, dict | bool):
        raise Undecodable("the schema is malformed: it is no object")
    return found


def _dialect(root: Node) -> Dialect:
    named = root.get("$schema") if isinstance(root, dict) else None
    if not isinstance(named, str):
        return _DEFAULT
    return _DIALECTS.get(named.rstrip("#").partition("://")[2], _DEFAULT)


def _cut(name: str) -> str:
    return name if len(name) <= _MOST_PLACE else f"{name[:_MOST_PLACE]}..."
