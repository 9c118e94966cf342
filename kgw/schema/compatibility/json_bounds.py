"""The bounds that a JSON Schema sets: which of them may be moved, and where to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal, DecimalException
from typing import Any, NamedTuple

from kgw.schema.compatibility.document import shown
from kgw.schema.compatibility.findings import Findings, found
from kgw.schema.compatibility.json_types import Kind

Number = int | float


class _Bound(NamedTuple):
    """
    A keyword that has a number.

    @ivar upper: more passes if it is raised; otherwise if it is lowered.
    @ivar idle: the number with which it says nothing, as if it were not there.
    """

    keyword: str
    rule: str
    upper: bool
    idle: int | None = None


_BOUNDS: dict[Kind, tuple[_Bound, ...]] = {
    Kind.STRING: (_Bound("maxLength", "MAX_LENGTH", True), _Bound("minLength", "MIN_LENGTH", False, 0)),
    Kind.NUMBER: (
        _Bound("maximum", "MAXIMUM", True),
        _Bound("minimum", "MINIMUM", False),
        _Bound("exclusiveMaximum", "EXCLUSIVE_MAXIMUM", True),
        _Bound("exclusiveMinimum", "EXCLUSIVE_MINIMUM", False),
    ),
    Kind.OBJECT: (
        _Bound("maxProperties", "MAX_PROPERTIES", True),
        _Bound("minProperties", "MIN_PROPERTIES", False, 0),
    ),
    Kind.ARRAY: (
        _Bound("maxItems", "MAX_ITEMS", True),
        _Bound("minItems", "MIN_ITEMS", False, 0),
        _Bound("maxContains", "MAX_CONTAINS", True),
        _Bound("minContains", "MIN_CONTAINS", False, 1),
    ),
}


def bounds(kind: Kind, original: Mapping[str, Any], update: Mapping[str, Any]) -> Iterator[Findings]:
    """What bounds were tightened between two schemas of one kind."""
    was, now = _limits(original), _limits(update)
    for bound in _BOUNDS[kind]:
        before, after = was.get(bound.keyword), now.get(bound.keyword)
        if after is None or after == bound.idle or after == before:
            continue
        path = f"/{bound.keyword}"
        if before is None:
            yield found(f"{bound.rule}_ADDED", f"{bound.keyword} {shown(after)} is new", path)
        elif (after < before) is bound.upper:
            moved = "DECREASED" if bound.upper else "INCREASED"
            yield found(f"{bound.rule}_{moved}", f"{bound.keyword} was {shown(before)}, is {shown(after)}", path)


def multiple(original: Mapping[str, Any], update: Mapping[str, Any]) -> Findings:
    """Whether numbers have to be multiples of another number than before."""
    before, after = _number(original.get("multipleOf")), _number(update.get("multipleOf"))
    if after is None or after == before:
        return ()
    path = "/multipleOf"
    if before is None:
        return found("MULTIPLE_OF_ADDED", f"multipleOf {shown(after)} is new", path)
    if _divides(after, before):
        return ()
    rule = "MULTIPLE_OF_EXPANDED" if _divides(before, after) else "MULTIPLE_OF_CHANGED"
    return found(rule, f"multipleOf was {shown(before)}, is {shown(after)}", path)


def _divides(divisor: Number, number: Number) -> bool:
    if isinstance(divisor, int) and isinstance(number, int):
        return divisor != 0 and number % divisor == 0
    try:
        # the numbers as they are written, not the nearest that binary fractions have
        return Decimal(str(number)) % Decimal(str(divisor)) == 0
    except DecimalException:
        return False  # nothing, or too far apart to be told


def _limits(schema: Mapping[str, Any]) -> dict[str, Number]:
    """The numbers of a schema; draft 4 had true for an exclusive bound."""
    limits = {name: number for name, one in schema.items() if (number := _number(one)) is not None}
    for bound, exclusive in (("maximum", "exclusiveMaximum"), ("minimum", "exclusiveMinimum")):
        if schema.get(exclusive) is True and bound in limits:
            limits[exclusive] = limits.pop(bound)
    return limits


def _number(value: Any) -> Number | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
