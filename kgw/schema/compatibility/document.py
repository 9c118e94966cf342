"""Reads the JSON text of a schema within bounds, and compares JSON values as JSON means it."""

from __future__ import annotations

import json
from collections.abc import Hashable
from typing import Any

from kgw.schema.compatibility.findings import UnusableSchema
from kgw.schema.json_text import read_json
from kgw.schema.model import Undecodable

#: Characters of a schema.
MOST_TEXT = 1 << 20


def parsed(text: str) -> Any:
    """
    A schema's JSON.

    @raise UnusableSchema: it is no JSON, or too much of it.
    """
    if len(text) > MOST_TEXT:
        raise UnusableSchema(f"a schema of {len(text)} characters, more than {MOST_TEXT}")
    try:
        return read_json(text.encode("utf-8", "surrogatepass"))
    except Undecodable as error:
        raise UnusableSchema(f"the schema cannot be read: {error.reason}") from None


def frozen(value: Any) -> Hashable:
    """What is equal for equal JSON values: 1 and 1.0 are, 1 and true are not, nor does the order of names matter."""
    if isinstance(value, dict):
        return ("object", frozenset((name, frozen(one)) for name, one in value.items()))
    if isinstance(value, list):
        return ("array", tuple(frozen(one) for one in value))
    if isinstance(value, bool):
        return ("boolean", value)
    same: Hashable = value
    return same


class Alike:
    """Gives equal JSON values equal numbers, and looks at each value once, however often it is asked about it."""

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}
        self._seen: dict[int, int] = {}

    def number(self, value: Any) -> int:
        """
        The number of a value.

        @param value: which lives at least as long as this.
        """
        if not isinstance(value, dict | list):
            return self._numbers.setdefault(frozen(value), len(self._numbers))
        if id(value) not in self._seen:
            key: Hashable
            if isinstance(value, dict):
                key = ("object", frozenset((name, self.number(one)) for name, one in value.items()))
            else:
                key = ("array", tuple(self.number(one) for one in value))
            self._seen[id(value)] = self._numbers.setdefault(key, len(self._numbers))
        return self._seen[id(value)]


def shown(value: Any) -> str:
    """A JSON value in a message, not all of it where it is long."""
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."
