"""JSON as strangers send it: text to Python's values, all that could harm refused."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from kgw.schema.model import Undecodable

#: Values larger than this are not read, in bytes.
MOST_BYTES = 16 << 20
#: How deep objects and arrays may stand in one another.
MOST_DEPTH = 100

_TOO_DEEP = f"objects and arrays stand in one another more than {MOST_DEPTH} deep"
#: Text has half a pair only where it is written so.
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def _no_number(_name: str) -> NoReturn:
    raise Undecodable("the value has NaN or Infinity, which are no JSON")


_DECODER = json.JSONDecoder(parse_constant=_no_number)


def read_json(payload: bytes) -> Any:
    """
    The value of JSON text: integers are exact, other numbers doubles; of equal names in an object the last one counts.

    @raise Undecodable: it is no JSON as RFC 8259 has it in UTF-8 without a byte order mark; or is too large, too deep,
        has an integer of thousands of digits, or half of a surrogate pair, which UTF-8 cannot have.
    """
    if len(payload) > MOST_BYTES:
        raise Undecodable(f"the value is larger than {MOST_BYTES} bytes")
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        raise Undecodable("the value is not UTF-8") from None
    if text.startswith("\ufeff"):
        raise Undecodable("the value begins with a byte order mark")
    try:
        found = _DECODER.decode(text)
    except RecursionError:
        raise Undecodable(_TOO_DEEP) from None
    except ValueError as error:
        # the only other one is Python's, about converting thousands of digits
        kind = (
            "the value is not JSON"
            if isinstance(error, json.JSONDecodeError)
            else "the value has an integer of too many digits"
        )
        raise Undecodable(kind) from None
    if text.count("[") + text.count("{") > MOST_DEPTH:
        _see_depth(found)
    if "\\u" in text and _SURROGATE.search(text):
        _see_surrogates(found)
    return found


def _see_depth(found: Any) -> None:
    row = [found]
    for _ in range(MOST_DEPTH + 1):
        row = [
            one
            for each in row
            if isinstance(each, list | dict)
            for one in (each.values() if isinstance(each, dict) else each)
            if isinstance(one, list | dict)
        ]
        if not row:
            return
    raise Undecodable(_TOO_DEEP)


def _see_surrogates(found: Any) -> None:
    stack = [found]
    try:
        while stack:
            one = stack.pop()
            if isinstance(one, str):
                one.encode()
            elif isinstance(one, list):
                stack.extend(one)
            elif isinstance(one, dict):
                stack.extend(one)
                stack.extend(one.values())
    except UnicodeEncodeError:
        raise Undecodable("the value has half of a surrogate pair") from None


def frozen(value: Any) -> Any:
    """
    What is equal for values that are equal as JSON has it, and can be in a set: 1 is 1.0, and neither is true.

    @param value: as L{read_json} gives it.
    """
    if isinstance(value, list):
        return ("list", *map(frozen, value))
    if isinstance(value, dict):
        return frozenset((name, frozen(one)) for name, one in value.items())
    if isinstance(value, bool):
        return (value,)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    # large integers can be chosen so that all have the same hash
    return ("integer", str(value)) if isinstance(value, int) and value.bit_length() > 60 else value


def same(value: Any, constant: Any) -> bool:
    """
    Whether two values are equal as JSON has it.

    @param constant: how large it is says how long this takes.
    """
    if isinstance(constant, list):
        return isinstance(value, list) and len(value) == len(constant) and all(map(same, value, constant))
    if isinstance(constant, dict):
        return (
            isinstance(value, dict)
            and value.keys() == constant.keys()
            and all(same(value[name], one) for name, one in constant.items())
        )
    return not isinstance(value, list | dict) and bool(frozen(value) == frozen(constant))
