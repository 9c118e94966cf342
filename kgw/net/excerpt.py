"""A request or an answer as one line of text for people: bounded, and without what is nobody's business."""

from __future__ import annotations

import base64
from typing import Any

from kgw.config.config import definitions
from kgw.config.kafka import TOPIC
from kgw.errors import ErrorCode, WireError
from kgw.wire.message import Array, FieldSpec, fields_of
from kgw.wire.primitives import BYTES, RECORDS, STRING, UUID
from kgw.wire.records import scan

#: Characters of a whole excerpt, and of one text in it.
MOST_CHARACTERS = 500
_MOST_OF_TEXT = 60
#: Items of an array that are written out; the others are a number.
_MOST_ITEMS = 4
#: Batches that are looked at to count records.
_MOST_BATCHES = 1000
#: Texts that clients keep for themselves.
_PRIVATE = frozenset({"committed_metadata", "metadata"})
_ERRORS = {int(code): name for name, code in ErrorCode.__members__.items()}


class _Full(Exception):
    """There is no room for more."""


class _Line:
    """Text that is never longer than it may be, so that large messages cost no more than small ones."""

    def __init__(self, most: int) -> None:
        self._left = most
        self._parts: list[str] = []

    def add(self, text: str) -> None:
        """
        Write C{text}.

        @raise _Full: it does not fit.
        """
        if len(text) > self._left:
            self._parts.append(text[: self._left] + "...")
            raise _Full
        self._left -= len(text)
        self._parts.append(text)

    def __str__(self) -> str:
        return "".join(self._parts)


def excerpt(message: Any, version: int, most: int = MOST_CHARACTERS) -> str:
    """
    What a message says, in the form C{name=value name=[...]}; what has its default is left out.

    Of record batches, of bytes of any other meaning (SASL, what members of a group say and get), of what clients keep
    with their offsets and of configs that may be secret only the size is told, or nothing. Characters that a terminal
    could obey are escaped.

    @param message: a value of a class made by L{kgw.wire.message.message}.
    @param most: characters at most; an excerpt that was cut ends with three dots.
    """
    line = _Line(most)
    try:
        _fields(line, message, version)
    except _Full:
        return str(line)
    return str(line)


def _fields(line: _Line, message: Any, version: int) -> None:
    separator = ""
    specs = fields_of(type(message))
    hidden = _hides_value(message, specs)
    for spec in specs:
        if not spec.present(version):
            continue
        value = getattr(message, spec.name)
        if _says_nothing(spec, value):
            continue
        line.add(f"{separator}{spec.name}=")
        separator = " "
        if hidden and spec.name == "value":
            line.add("(hidden)")
        elif spec.name in _PRIVATE and isinstance(value, str):
            line.add(f"<{len(value)} characters>")
        else:
            _value(line, spec, value, version)


def _says_nothing(spec: FieldSpec, value: Any) -> bool:
    if value is None or isinstance(value, list | tuple):
        return not value
    if isinstance(value, int | float | str):
        return bool(value == spec.default) and spec.name not in ("acks", "offset", "fetch_offset", "partition")
    if isinstance(spec.type, type):
        return all(_says_nothing(inner, getattr(value, inner.name)) for inner in fields_of(spec.type))
    return spec.type is UUID and value == UUID.zero


def _hides_value(message: Any, specs: tuple[FieldSpec, ...]) -> bool:
    """Whether the message is a config (it has a name and a value) that may be a secret: a password, or not known."""
    texts = {spec.name for spec in specs if spec.type is STRING}
    if not {"name", "value"} <= texts:
        return False
    definition = TOPIC.get(message.name) or definitions().get(message.name)
    return definition is None or definition.sensitive


def _value(line: _Line, spec: FieldSpec, value: Any, version: int) -> None:
    if isinstance(spec.type, Array):
        element = spec.type.element
        line.add("[")
        for index, item in enumerate(value[:_MOST_ITEMS]):
            line.add(", " if index else "")
            _one(line, element, spec.name, item, version)
        line.add(f", and {len(value) - _MOST_ITEMS} more]" if len(value) > _MOST_ITEMS else "]")
    else:
        _one(line, spec.type, spec.name, value, version)


def _one(line: _Line, kind: Any, name: str, value: Any, version: int) -> None:
    if isinstance(kind, type):
        line.add("{")
        _fields(line, value, version)
        line.add("}")
    elif kind is RECORDS:
        line.add(_records(value))
    elif kind is BYTES:
        line.add(f"<{len(value)} bytes>")
    elif kind is UUID:
        line.add(base64.urlsafe_b64encode(value).rstrip(b"=").decode())
    elif kind is STRING:
        line.add(_quoted(value))
    elif name == "error_code":
        line.add(_ERRORS.get(value) or str(value))
    else:
        line.add(str(value))


def _quoted(text: str | None) -> str:
    if text is None:
        return "null"
    return repr(text) if len(text) <= _MOST_OF_TEXT else f"{text[:_MOST_OF_TEXT]!r}..."


def _records(data: bytes | memoryview) -> str:
    """How many batches and records there are, and where they begin."""
    batches = records = 0
    first: int | None = None
    more = ""
    try:
        for _, header in scan(data):
            if batches >= _MOST_BATCHES:
                more = "more than "
                break
            first = header.base_offset if first is None else first
            batches += 1
            records += header.count
    except WireError:
        more = "at least "
    if first is None:
        return f"<{len(data)} bytes>"
    return f"<{more}{records} records in {batches} batches from offset {first}, {len(data)} bytes>"
