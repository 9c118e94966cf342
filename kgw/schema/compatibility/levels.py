"""Levels of compatibility, and what stands between a new schema and earlier ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from kgw.schema.compatibility.findings import MOST_FINDINGS, Findings, UnusableSchema, found
from kgw.schema.model import ResolvedSchema, SchemaType

#: Earlier schemas that a new one is compared with.
MOST_EARLIER = 1000
#: Characters of a place and of a text that are shown.
_MOST_PATH = 300
_MOST_DETAIL = 400


class Level(StrEnum):
    """What a subject asks of a new schema; the names are those of a registry."""

    NONE = "NONE"
    BACKWARD = "BACKWARD"
    BACKWARD_TRANSITIVE = "BACKWARD_TRANSITIVE"
    FORWARD = "FORWARD"
    FORWARD_TRANSITIVE = "FORWARD_TRANSITIVE"
    FULL = "FULL"
    FULL_TRANSITIVE = "FULL_TRANSITIVE"

    @property
    def backward(self) -> bool:
        """Readers with the new schema read what was written with earlier ones."""
        return self.startswith(("BACKWARD", "FULL"))

    @property
    def forward(self) -> bool:
        """Readers with earlier schemas read what is written with the new one."""
        return self.startswith(("FORWARD", "FULL"))

    @property
    def transitive(self) -> bool:
        """All earlier schemas count, not only the latest."""
        return self.endswith("_TRANSITIVE")


@dataclass(frozen=True, slots=True)
class Incompatibility:
    """
    One thing that stands in the way.

    @ivar rule: the name that Confluent's registry has for it.
    @ivar path: where in the schemas, from the root down.
    @ivar message: what and where, for people.
    @ivar forward: it is an earlier schema that does not read what the new one writes; else the other way round.
    @ivar earlier: which of the earlier schemas, from 0.
    """

    rule: str
    path: str
    message: str
    forward: bool
    earlier: int


def incompatibilities(
    new: ResolvedSchema, earlier: Sequence[ResolvedSchema], level: Level = Level.BACKWARD
) -> list[Incompatibility]:
    """
    What stands in the way of a new schema.

    It takes time that grows with the schemas, up to seconds for the largest: in a process that serves clients a
    thread's work.

    @param earlier: the latest first; a level that is not transitive looks at that one only.
    @return: nothing if the schema is compatible; 100 are told of each pair and direction, at most.
    @raise UnusableSchema: a schema cannot be read, or two are too large or too intricate to be compared.
    """
    if len(earlier) > MOST_EARLIER:
        raise UnusableSchema(f"{len(earlier)} earlier schemas, more than {MOST_EARLIER}")
    kind = new.schema.type
    read, unreadable = _rules(kind)
    every: list[Incompatibility] = []
    try:
        one = read(new)
        for at, old in enumerate(earlier if level.transitive else earlier[:1]):
            if old.schema.type is kind:
                other = read(old)
                backward = unreadable(one, other) if level.backward else ()
                forward = unreadable(other, one) if level.forward else ()
            else:
                different = found("SCHEMA_TYPE_CHANGED", f"{old.schema.type.value} became {kind.value}")
                backward, forward = (different if asked else () for asked in (level.backward, level.forward))
            every.extend(_told(backward, "the new schema", "the earlier", False, at))
            every.extend(_told(forward, "the earlier schema", "the new", True, at))
    except RecursionError:
        raise UnusableSchema("the schemas are nested too deep to be compared") from None
    return every


def _told(findings: Findings, reader: str, writer: str, forward: bool, at: int) -> list[Incompatibility]:
    every = []
    for one in findings[:MOST_FINDINGS]:
        path = _printable(one.path or "/", _MOST_PATH)
        detail = _printable(one.detail, _MOST_DETAIL)
        message = f"{reader} does not read what {writer} writes, at {path}: {detail} ({one.rule})"
        every.append(Incompatibility(one.rule, path, message, forward, at))
    return every


def _printable(text: str, most: int) -> str:
    """Text that no terminal obeys: names in it are a stranger's."""
    cut = text if len(text) <= most else text[: most - 3] + "..."
    return cut if cut.isprintable() else "".join(one if one.isprintable() else "?" for one in cut)


def _rules(kind: SchemaType) -> tuple[Callable[[ResolvedSchema], Any], Callable[[Any, Any], Findings]]:
    """
    What reads a schema, and tells of two so read what of the second one's data the first does not read.

    They are imported now, as each needs libraries of its own.
    """
    match kind:
        case SchemaType.AVRO:
            from kgw.schema.compatibility import avro

            return avro.read, avro.unreadable
        case SchemaType.JSON:
            from kgw.schema.compatibility import json_schema

            return json_schema.read, json_schema.unreadable
        case SchemaType.PROTOBUF:
            from kgw.schema.compatibility import protobuf

            return protobuf.read, protobuf.unreadable
