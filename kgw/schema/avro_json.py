"""Avro values as JSON text, for what cannot be columns: types that stand in themselves, or too deep.

It is plain JSON as people expect it, not the JSON encoding of Avro: the branch of a union does not stand in it. Bytes
are text, each byte the character of its number, as in Avro's own; NaN and the infinities, which JSON has not, are
text too.
"""

from __future__ import annotations

import json
import math
import struct
from typing import Any

from kgw.schema.avro_reading import number
from kgw.schema.avro_schema import Array, Enumeration, Fixed, Map, Primitive, Record, Type, Union
from kgw.schema.model import Undecodable

#: Values in a text, each of an array counted, and of a record.
MOST_VALUES = 100_000


def json_text(kind: Type, payload: bytes) -> bytes:
    """
    The text of a value, in UTF-8, compact, keys in the order in which they come.

    @param payload: the value and nothing else, which has been checked.
    @raise Undecodable: it has more values in it than L{MOST_VALUES}.
    @raise IndexError: the payload ends too early.
    """
    found = _Reader(payload).value(kind)
    return json.dumps(found, ensure_ascii=False, separators=(",", ":")).encode()


class _Reader:
    """Reads one payload, going down by recursion as deep as the check before it lets values be."""

    def __init__(self, payload: bytes) -> None:
        self._payload = payload
        self._at = 0
        self._values = 0

    def value(self, kind: Type) -> Any:
        """The value that comes next."""
        self._values += 1
        if self._values > MOST_VALUES:
            raise Undecodable(f"a value for a column of JSON has more than {MOST_VALUES} values in it")
        while isinstance(kind, Union):
            kind = kind.branches[self._number()]
        if isinstance(kind, Primitive):
            return self._primitive(kind.name)
        if isinstance(kind, Record):
            found = {}
            for name, one in kind.fields:
                found[name] = self.value(one)
            return found
        if isinstance(kind, Enumeration):
            return kind.symbols[self._number()]
        if isinstance(kind, Fixed):
            return self._bytes(kind.size).decode("latin-1")
        return self._map(kind) if isinstance(kind, Map) else self._array(kind)

    def _primitive(self, name: str) -> Any:
        if name == "null":
            return None
        if name == "boolean":
            return self._bytes(1) == b"\1"
        if name in ("int", "long"):
            return self._number()
        if name in ("float", "double"):
            code, size = ("<f", 4) if name == "float" else ("<d", 8)
            found: float = struct.unpack(code, self._bytes(size))[0]
            return found if math.isfinite(found) else str(found)
        return self._bytes(self._number()).decode("utf-8" if name == "string" else "latin-1")

    def _array(self, kind: Array) -> list[Any]:
        found = []
        while size := self._block():
            for _item in range(size):
                found.append(self.value(kind.items))
        return found

    def _map(self, kind: Map) -> dict[str, Any]:
        found = {}
        while size := self._block():
            for _item in range(size):
                key = self._bytes(self._number()).decode()
                found[key] = self.value(kind.values)
        return found

    def _block(self) -> int:
        size = self._number()
        if size < 0:
            self._number()
        return abs(size)

    def _number(self) -> int:
        found, self._at = number(self._payload, self._at)
        return found >> 1 ^ -(found & 1)

    def _bytes(self, size: int) -> bytes:
        found = self._payload[self._at : self._at + size]
        if len(found) != size:
            raise IndexError
        self._at += size
        return found
