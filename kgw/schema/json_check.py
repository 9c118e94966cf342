"""Whether a JSON value is what its schema says, where the schema has the commonest keywords only: told in microseconds.

A schema becomes functions, one for each of its schemas, that give C{None} or where in the schema it says otherwise.
What has any other keyword is for C{kgw.schema.json_validator}; a property holds both against each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sized
from typing import Any, TypeAlias

from kgw.schema.json_document import Node, Resolver, SchemaDocument
from kgw.schema.json_patterns import Search
from kgw.schema.json_text import frozen, same
from kgw.schema.model import Undecodable

#: Gives where the schema says otherwise, or C{None}.
Check: TypeAlias = Callable[[Any], str | None]

#: What is understood here.
KEYWORDS = frozenset(
    (
        "$ref",
        "additionalProperties",
        "allOf",
        "anyOf",
        "const",
        "definitions",
        "$defs",
        "enum",
        "exclusiveMaximum",
        "exclusiveMinimum",
        "format",
        "items",
        "maxItems",
        "maxLength",
        "maxProperties",
        "maximum",
        "minItems",
        "minLength",
        "minProperties",
        "minimum",
        "oneOf",
        "pattern",
        "properties",
        "required",
        "type",
    )
)
#: How often a value may be held against a schema of several, or have elements and members, before it is refused:
#: schemas can be made so that this grows without measure.
MOST_STEPS = 1_000_000

_TYPES: dict[str, tuple[type, ...]] = {
    "array": (list,),
    "boolean": (bool,),
    "integer": (int,),
    "null": (type(None),),
    "number": (int, float),
    "object": (dict,),
    "string": (str,),
}


class FastCheck:
    """Holds values against one schema of which L{understands} says yes."""

    def __init__(self, document: SchemaDocument) -> None:
        self._document = document
        self._steps = 0
        self._made: dict[int, list[Check]] = {}
        self._check = self._compile(document.root, document.resolver)

    @staticmethod
    def understands(document: SchemaDocument) -> bool:
        """Whether all keywords of a schema are understood here."""
        return document.keywords <= KEYWORDS and (
            document.dialect.number != 4 or not document.keywords & {"exclusiveMaximum", "exclusiveMinimum"}
        )

    def __call__(self, value: Any) -> None:
        """
        @raise Undecodable: the value is not what the schema says, or it takes too long to say.
        """
        self._steps = MOST_STEPS
        try:
            place = self._check(value)
        except RecursionError:
            raise Undecodable("the value goes down the schema too far") from None
        if place is not None:
            raise Undecodable(f"the value is not what the schema says at {place}")

    def _spend(self, steps: int) -> None:
        self._steps -= steps
        if self._steps < 0:
            raise Undecodable("it takes too long to hold the value against the schema")

    def _compile(self, node: Node, resolver: Resolver) -> Check:
        """One function for each schema, which may stand in itself: it is looked up when it is called."""
        if node is True:
            return _anything
        if node is False:
            return lambda value: "false"
        cell = self._made.get(id(node))
        if cell is None:
            cell = self._made[id(node)] = []
            cell.append(_all_of(self._checks(node, resolver)))
        if cell:
            return cell[0]
        return lambda value: cell[0](value)

    def _checks(self, node: dict[str, Any], resolver: Resolver) -> list[Check]:
        at = self._document.place(node)
        checks: list[Check] = []
        target = self._document.targets.get((id(node), "$ref"))
        if target is not None:
            checks.append(self._compile(*target))
            if self._document.dialect.number <= 7:
                return checks
        if "type" in node:
            checks.append(_type(node["type"], f"{at}/type", self._document.dialect.number))
        if "enum" in node:
            checks.append(_enum(node["enum"], f"{at}/enum"))
        if "const" in node:
            checks.append(_enum([node["const"]], f"{at}/const"))
        checks.extend(_bounds(node, at))
        search = self._document.patterns.get(node["pattern"]) if "pattern" in node else None
        if search is not None:
            checks.append(self._pattern(search, f"{at}/pattern"))
        checks.extend(self._object(node, resolver, at))
        if "items" in node:
            checks.append(self._items(self._compile(*self._child(node["items"], resolver))))
        if "allOf" in node:
            checks.append(self._all([self._compile(*self._child(branch, resolver)) for branch in node["allOf"]]))
        for keyword, join in (("anyOf", self._any), ("oneOf", self._one)):
            if keyword in node:
                branches = [self._compile(*self._child(branch, resolver)) for branch in node[keyword]]
                checks.append(join(branches, f"{at}/{keyword}"))
        return checks

    def _child(self, node: Node, resolver: Resolver) -> tuple[Node, Resolver]:
        return node, self._document.inside(node, resolver)

    def _object(self, node: dict[str, Any], resolver: Resolver, at: str) -> list[Check]:
        checks: list[Check] = []
        if "required" in node:
            checks.append(self._required(tuple(node["required"]), f"{at}/required"))
        named = node.get("properties", {})
        if named:
            rows = [(name, self._compile(*self._child(child, resolver))) for name, child in named.items()]
            checks.append(self._properties(tuple(row for row in rows if row[1] is not _anything)))
        others = node.get("additionalProperties", True)
        if others is False:
            checks.append(self._closed(frozenset(named), f"{at}/additionalProperties"))
        elif others is not True:
            checks.append(self._others(frozenset(named), self._compile(*self._child(others, resolver))))
        return checks

    def _properties(self, rows: tuple[tuple[str, Check], ...]) -> Check:
        steps = 1 + len(rows) // 8

        def properties(value: Any) -> str | None:
            if type(value) is dict:
                self._spend(steps)
                for name, one in rows:
                    if name in value:
                        place = one(value[name])
                        if place is not None:
                            return place
            return None

        return properties

    def _required(self, names: tuple[str, ...], at: str) -> Check:
        steps = len(names) // 8

        def required(value: Any) -> str | None:
            if type(value) is dict:
                if steps:
                    self._spend(steps)
                for name in names:
                    if name not in value:
                        return at
            return None

        return required

    def _closed(self, names: frozenset[str], at: str) -> Check:
        def closed(value: Any) -> str | None:
            if type(value) is not dict:
                return None
            if len(value) > 8:
                self._spend(len(value) // 8)
            return None if names.issuperset(value) else at

        return closed

    def _pattern(self, search: Search, at: str) -> Check:
        def pattern(value: Any) -> str | None:
            if type(value) is not str:
                return None
            self._spend(1 + len(value) // 16)
            return None if search(value) else at

        return pattern

    def _others(self, named: frozenset[str], check: Check) -> Check:
        def others(value: Any) -> str | None:
            if type(value) is dict:
                self._spend(len(value))
                for name, one in value.items():
                    if name not in named:
                        place = check(one)
                        if place is not None:
                            return place
            return None

        return others

    def _items(self, check: Check) -> Check:
        def items(value: Any) -> str | None:
            if type(value) is list:
                self._spend(len(value))
                for one in value:
                    place = check(one)
                    if place is not None:
                        return place
            return None

        return items

    def _all(self, branches: list[Check]) -> Check:
        def every(value: Any) -> str | None:
            self._spend(len(branches))
            for branch in branches:
                place = branch(value)
                if place is not None:
                    return place
            return None

        return every

    def _any(self, branches: list[Check], at: str) -> Check:
        def some(value: Any) -> str | None:
            self._spend(len(branches))
            for branch in branches:
                if branch(value) is None:
                    return None
            return at

        return some

    def _one(self, branches: list[Check], at: str) -> Check:
        def one(value: Any) -> str | None:
            self._spend(len(branches))
            fitting = 0
            for branch in branches:
                if branch(value) is None:
                    fitting += 1
            return None if fitting == 1 else at

        return one


def _anything(_value: Any) -> None:
    return None


def _all_of(checks: list[Check]) -> Check:
    if not checks:
        return _anything
    if len(checks) == 1:
        return checks[0]
    if len(checks) == 2:
        first, second = checks
        return lambda value: first(value) or second(value)

    def every(value: Any) -> str | None:
        for check in checks:
            place = check(value)
            if place is not None:
                return place
        return None

    return every


def _type(said: str | list[str], at: str, dialect: int) -> Check:
    names = [said] if isinstance(said, str) else said
    kinds = frozenset(kind for name in names for kind in _TYPES[name])
    whole = "integer" in names and "number" not in names and dialect != 4
    if not whole and len(kinds) == 1:
        (only,) = kinds
        return lambda value: None if type(value) is only else at

    def check(value: Any) -> str | None:
        kind = type(value)
        return None if kind in kinds or (whole and kind is float and value.is_integer()) else at

    return check


def _enum(values: list[Any], at: str) -> Check:
    scalars = frozenset(frozen(value) for value in values if not isinstance(value, list | dict))
    others = [value for value in values if isinstance(value, list | dict)]

    def check(value: Any) -> str | None:
        if type(value) is str:
            return None if value in scalars else at
        if type(value) is list or type(value) is dict:
            return None if any(same(value, other) for other in others) else at
        return None if frozen(value) in scalars else at

    return check


def _bounds(node: dict[str, Any], at: str) -> list[Check]:
    checks: list[Check] = []
    numbers = [node.get(keyword) for keyword in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")]
    if numbers != [None] * 4:
        checks.append(_range(numbers, at))
    sized: tuple[tuple[type[Sized], str], ...] = ((str, "Length"), (list, "Items"), (dict, "Properties"))
    for kind, name in sized:
        least, most = node.get(f"min{name}", 0), node.get(f"max{name}")
        if least or most is not None:
            checks.append(_size(kind, least, most, f"{at}/min{name}", f"{at}/max{name}"))
    return checks


def _range(bounds: list[float | None], at: str) -> Check:
    least, most, above, below = bounds

    def check(value: Any) -> str | None:
        if type(value) is int or type(value) is float:
            if least is not None and value < least:
                return f"{at}/minimum"
            if most is not None and value > most:
                return f"{at}/maximum"
            if above is not None and value <= above:
                return f"{at}/exclusiveMinimum"
            if below is not None and value >= below:
                return f"{at}/exclusiveMaximum"
        return None

    return check


def _size(kind: type[Sized], least: float, most: float | None, at_least: str, at_most: str) -> Check:
    def check(value: Any) -> str | None:
        if isinstance(value, kind):
            size = len(value)
            if size < least:
                return at_least
            if most is not None and size > most:
                return at_most
        return None

    return check
