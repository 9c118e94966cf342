"""Messages declared as classes, one declaration for all versions of an API (house rule R1).

A class decorated with L{message} is a plain slotted value. L{Codec} compiles it, once per version, to
straight-line functions (C{kgw.wire.compiler}).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar, dataclass_transform

from kgw.wire.primitives import BYTES, RECORDS, STRING, Scalar

T = TypeVar("T")

#: "and every later version"
FOREVER = 1 << 15


@dataclass(frozen=True, slots=True)
class Array:
    """An array type; C{element} is a L{Scalar} or a message class."""

    element: Scalar | type


def array(element: Scalar | type) -> Array:
    """Declare the type of an array field."""
    return Array(element)


FieldType = Scalar | Array | type

#: The default of a field that declares none and is no scalar.
_UNSET: Any = object()


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """
    What a field is on the wire (Kafka's message definitions use the same notions).

    @ivar since: first version that has the field.
    @ivar until: last version that has it.
    @ivar nullable: first version in which it may be null, or C{None}.
    @ivar tag: its tag in the tag section, or C{None} for a regular field.
    @ivar flexible: whether it takes the compact form in flexible versions.
    @ivar default: its value where a version does not carry it, C{()} for an empty array; a tagged field with this
        value is left out. For a struct that may not be null it means nothing: the default is a struct of defaults.
    """

    name: str
    type: FieldType
    since: int
    until: int
    nullable: int | None
    tag: int | None
    flexible: bool
    default: object

    def present(self, version: int) -> bool:
        """Whether messages of this version carry the field."""
        return self.since <= version <= self.until

    def may_be_null(self, version: int) -> bool:
        """Whether the field may be null in this version."""
        return self.nullable is not None and self.nullable <= version


@dataclass(frozen=True, slots=True)
class _Declared:
    type: FieldType
    since: int
    until: int
    nullable: int | None
    tag: int | None
    flexible: bool
    default: Any


def field(
    kind: FieldType,
    *,
    since: int = 0,
    until: int = FOREVER,
    nullable: int | None = None,
    tag: int | None = None,
    flexible: bool = True,
    default: Any = _UNSET,
) -> Any:
    """
    Declare a field of a L{message}; see L{FieldSpec}.

    A field without C{default} starts as its type's zero value, so every field may be left out of a call.
    """
    return _Declared(kind, since, until, nullable, tag, flexible, default)


def _zero(kind: FieldType) -> Any:
    """The C{dataclasses.field} of a field without a declared default."""
    if isinstance(kind, Array):
        return dataclasses.field(default_factory=list)
    if isinstance(kind, Scalar):
        return dataclasses.field(default=kind.zero)
    return dataclasses.field(default_factory=kind)


# field() is no "field specifier" here: to a type checker it is the default that every field has
@dataclass_transform()
def message(cls: type[T]) -> type[T]:
    """
    Make a class whose attributes are L{field}s into a slotted value class that L{Codec} can compile.

    @raise TypeError: an attribute is not declared with L{field}, or an array or struct has a default but null.
    """
    specs = []
    for name in cls.__annotations__:
        declared = cls.__dict__[name]
        if not isinstance(declared, _Declared):
            raise TypeError(f"{cls.__qualname__}.{name} is not declared with field()")
        if declared.default is _UNSET:
            setattr(cls, name, _zero(declared.type))
            default: object = declared.type.zero if isinstance(declared.type, Scalar) else ()
        elif declared.default is None or isinstance(declared.type, Scalar):
            setattr(cls, name, dataclasses.field(default=declared.default))
            default = declared.default
        else:
            raise TypeError(f"{cls.__qualname__}.{name}: an array or struct can have no default but null")
        specs.append(
            FieldSpec(
                name,
                declared.type,
                declared.since,
                declared.until,
                declared.nullable,
                declared.tag,
                declared.flexible,
                default,
            )
        )
    made = dataclasses.dataclass(slots=True)(cls)
    made.FIELDS = tuple(specs)  # type: ignore[attr-defined]
    return made


def fields_of(cls: type) -> tuple[FieldSpec, ...]:
    """
    The declared fields of a message class, in wire order.

    @raise TypeError: the class is no message.
    """
    try:
        return cls.FIELDS  # type: ignore[attr-defined, no-any-return]
    except AttributeError:
        raise TypeError(f"{cls!r} is not a @message") from None


def split_fields(cls: type, version: int, flexible: bool) -> tuple[list[FieldSpec], list[FieldSpec]]:
    """
    The regular fields in wire order and the tagged fields in tag order, as they are in one version.

    @raise TypeError: a tagged field is present in a version without a tag section.
    """
    regular, tagged = [], []
    for spec in fields_of(cls):
        if not spec.present(version):
            continue
        if spec.tag is None:
            regular.append(spec)
        elif flexible:
            tagged.append(spec)
        else:
            raise TypeError(f"{cls.__qualname__}.{spec.name} is tagged, version {version} has no tags")
    return regular, sorted(tagged, key=lambda spec: spec.tag or 0)


def least_size(kind: FieldType, version: int, flexible: bool) -> int:
    """The fewest bytes one value of this type takes, to hold array counts against the bytes that are left."""
    if isinstance(kind, Array):
        return 1 if flexible else 4
    if isinstance(kind, Scalar):
        if kind.code:
            return kind.size
        return 1 if flexible else 2 if kind is STRING else 4
    regular, _ = split_fields(kind, version, flexible)
    size = sum(
        1
        if isinstance(spec.type, type) and spec.may_be_null(version)
        else least_size(spec.type, version, flexible and spec.flexible)
        for spec in regular
    )
    return size + (1 if flexible else 0)


def walk_messages(cls: type) -> Iterator[type]:
    """A message class and every message class inside it."""
    yield cls
    for spec in fields_of(cls):
        inner = spec.type.element if isinstance(spec.type, Array) else spec.type
        if isinstance(inner, type):
            yield from walk_messages(inner)


def holds_records(cls: type) -> bool:
    """Whether a message carries record batches anywhere."""
    return any(spec.type is RECORDS for inner in walk_messages(cls) for spec in fields_of(inner))


def describe(cls: type) -> list[dict[str, Any]]:
    """The declared fields in the form of Kafka's message definitions (C{python -m kgw.handlers --dump})."""
    rows = []
    for spec in fields_of(cls):
        inner = spec.type.element if isinstance(spec.type, Array) else spec.type
        name = inner.name if isinstance(inner, Scalar) else "struct"
        row: dict[str, Any] = {
            "name": spec.name,
            "type": "[]" + name if isinstance(spec.type, Array) else name,
            "versions": _range(spec.since, spec.until),
        }
        if spec.nullable is not None:
            row["nullable"] = _range(spec.nullable, spec.until)
        if spec.tag is not None:
            row["tagged"] = row["versions"]
            row["tag"] = spec.tag
        if not spec.flexible:
            row["flexible"] = "none"
        if spec.default is None:
            row["default"] = "null"
        elif isinstance(inner, Scalar) and not isinstance(spec.type, Array) and inner not in (BYTES, RECORDS):
            default = spec.default
            if isinstance(default, bool):
                row["default"] = "true" if default else "false"
            elif isinstance(default, bytes):
                row["default"] = ""
            else:
                row["default"] = str(int(default) if isinstance(default, int) else default)
        if isinstance(inner, type):
            row["fields"] = describe(inner)
        rows.append(row)
    return rows


def _range(since: int, until: int) -> str:
    if until == FOREVER:
        return f"{since}+"
    return str(since) if since == until else f"{since}-{until}"
