"""What objects and arrays may hold, and what covers a name or an item that one of two JSON Schemas lacks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kgw.schema.compatibility.document import shown
from kgw.schema.compatibility.findings import UnusableSchema
from kgw.schema.compatibility.json_types import ANY, Kind, Node
from kgw.schema.json_patterns import Search, searcher


@dataclass(frozen=True, slots=True)
class Properties:
    """
    The properties of an object's schema.

    @ivar named: those it names.
    @ivar patterns: those it names by a regular expression.
    @ivar others: all others.
    @ivar defaults: the names of those that have a default.
    @ivar searches: what looks for the patterns, C{None} where RE2 has no means.
    """

    named: Mapping[str, Node]
    patterns: Mapping[str, Node]
    others: Node
    required: frozenset[str]
    defaults: frozenset[str]
    searches: Mapping[str, Search | None]

    def fits(self, pattern: str, name: str) -> bool:
        """Whether one of the patterns may fit a name; one that RE2 does not take may fit any."""
        search = self.searches[pattern]
        return search is None or bool(search(name))

    def covering(self, name: str) -> tuple[list[Node], bool]:
        """
        The nodes that a property which is not named has to satisfy.

        @return: them, and whether they are known for certain: a pattern that RE2 does not take may fit or not.
        """
        nodes, certain = [], True
        for pattern, node in self.patterns.items():
            certain = certain and self.searches[pattern] is not None
            if self.fits(pattern, name):
                nodes.append(node)
        if not nodes or not certain:
            nodes.append(self.others)
        return nodes, certain


@dataclass(frozen=True, slots=True)
class Items:
    """
    The items of an array's schema.

    @ivar first: those that have a schema of their own each.
    @ivar others: those behind them.
    @ivar keyword: the keyword that says what others are.
    """

    first: tuple[Node, ...]
    others: Node
    keyword: str


def properties(node: Node) -> Properties:
    """The properties of an object's schema."""
    required = node.says.get("required", [])
    if not isinstance(required, list):
        raise UnusableSchema(f"required {shown(required)} is no list")
    patterns = _schemas(node, "patternProperties")
    return Properties(
        _schemas(node, "properties"),
        patterns,
        rest(node, "additionalProperties"),
        frozenset(one for one in required if isinstance(one, str)),
        frozenset(
            name for name, one in _table(node, "properties").items() if isinstance(one, dict) and "default" in one
        ),
        {pattern: searcher(pattern) for pattern in patterns},
    )


def items(node: Node) -> Items:
    """The items of an array's schema, in the forms before and since draft 2020-12."""
    listed, others = node.says.get("prefixItems"), "items"
    if listed is None and isinstance(node.says.get("items"), list):
        listed, others = node.says["items"], "additionalItems"
    if listed is not None and not isinstance(listed, list):
        raise UnusableSchema(f"prefixItems {shown(listed)} is no list")
    return Items(tuple(node.below(one) for one in listed or ()), rest(node, others), others)


def rest(node: Node, keyword: str) -> Node:
    """What a keyword says of all that nothing else says anything of; anything, where it is not there."""
    return node.below(node.says[keyword]) if keyword in node.says else ANY


def dependencies(node: Node) -> tuple[dict[str, frozenset[str]], dict[str, Node]]:
    """What else must be there, or hold, where a property is there."""
    names: dict[str, frozenset[str]] = {}
    schemas: dict[str, Node] = {}
    for keyword in ("dependencies", "dependentRequired", "dependentSchemas"):
        for name, one in _table(node, keyword).items():
            if isinstance(one, list):
                names[name] = frozenset(other for other in one if isinstance(other, str))
            else:
                schemas[name] = node.below(one)
    return names, schemas


def is_empty(node: Node) -> bool:
    """Whether anything passes."""
    return node.kind is Kind.ANY


def _schemas(node: Node, keyword: str) -> dict[str, Node]:
    return {name: node.below(one) for name, one in _table(node, keyword).items()}


def _table(node: Node, keyword: str) -> Mapping[str, Any]:
    table = node.says.get(keyword, {})
    if not isinstance(table, dict):
        raise UnusableSchema(f"{keyword} {shown(table)} is no object")
    return table
