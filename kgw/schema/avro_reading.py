"""What compiled Avro readers call for the rarer things: numbers of more than one byte, and complaints."""

from __future__ import annotations

from typing import NoReturn

from kgw.schema.model import Undecodable
from kgw.schema.record_value import signed, varint

#: Bytes that a row's columns may have. Names of fields stand in a row for every item of an array, so that a row may
#: be many times its payload.
MOST_ROW = 16 << 20
#: How deep values may stand in one another.
MOST_DEPTH = 200

#: Bytes of what L{Small} keeps for a number.
_MOST_KEPT = 128
#: The data of numbers by the zig-zag number in two bytes of a varint.
_SHORT = tuple(signed(number >> 1 ^ -(number & 1)) for number in range(1 << 14))


def number(payload: bytes, at: int) -> tuple[int, int]:
    """
    The zig-zag number at C{at}, as it stands there, and the place behind it.

    @raise IndexError: it does not end.
    @raise Undecodable: it has more than 64 bits.
    """
    byte = payload[at]
    at += 1
    if byte < 128:
        return byte, at
    found = byte & 0x7F
    byte = payload[at]
    at += 1
    if byte < 128:
        return found | byte << 7, at
    found |= (byte & 0x7F) << 7
    shift = 14
    while True:
        byte = payload[at]
        at += 1
        if byte < 128:
            break
        if shift > 56:
            raise Undecodable("a number has more than 64 bits")
        found |= (byte & 0x7F) << shift
        shift += 7
    found |= byte << shift
    if found >> 64:
        raise Undecodable("a number has more than 64 bits")
    return found, at


def long(payload: bytes, at: int) -> tuple[bytes, int]:
    """
    The C{long} of two bytes or more at C{at} as protobuf has it, and the place behind it; as L{number}.

    It does what L{number} does once more, as times are read by it.
    """
    first, second = payload[at], payload[at + 1]
    at += 2
    if second < 128:
        return _SHORT[first - 128 | second << 7], at
    # both without the bit that says that more follow
    found, shift = first + (second << 7) - 0x4080, 14
    for byte in payload[at : at + 8]:
        at += 1
        if byte < 128:
            break
        found += byte - 128 << shift
        shift += 7
    else:
        if shift < 70:
            raise IndexError
        raise Undecodable("a number has more than 64 bits")
    found += byte << shift
    if found >> 64:
        raise Undecodable("a number has more than 64 bits")
    if found & 1:
        return signed(~(found >> 1)), at
    return varint(found >> 1), at


def integer(payload: bytes, at: int) -> tuple[bytes, int]:
    """The C{int} at C{at} as protobuf has it, and the place behind it; as L{number}."""
    found, at = number(payload, at)
    if found >> 32:
        raise Undecodable("an int has more than 32 bits")
    return _SHORT[found] if found < 1 << 14 else signed(found >> 1 ^ -(found & 1)), at


class Small(dict[int, bytes]):
    """Numbers with all that stands before them, by the one byte that Avro has for them; made as they come."""

    __slots__ = ("_heads",)

    def __init__(self, heads: dict[int, bytes]) -> None:
        self._heads = heads

    def __missing__(self, byte: int) -> bytes:
        data = _SHORT[byte]
        made = self._heads[len(data)] + data
        # very long names would fill the memory
        if len(made) < _MOST_KEPT:
            self[byte] = made
        return made


def ended(payload: bytes, at: int) -> NoReturn:
    """Complain that a value does not end with its payload."""
    if at > len(payload):
        raise IndexError
    raise Undecodable("bytes behind the value")


def bad_length() -> NoReturn:
    """Complain of a length."""
    raise Undecodable("a length is negative")


def bad_branch() -> NoReturn:
    """Complain of a union."""
    raise Undecodable("a union has no such branch")


def bad_symbol() -> NoReturn:
    """Complain of an enum."""
    raise Undecodable("an enum has no such symbol")


def too_large() -> NoReturn:
    """Complain of a row."""
    raise Undecodable(f"its columns have more than {MOST_ROW >> 20} MiB")


def too_deep() -> NoReturn:
    """Complain of values in values."""
    raise Undecodable(f"values stand in one another more than {MOST_DEPTH} deep")
