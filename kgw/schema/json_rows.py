"""Values of JSON as the fields of a C{RecordValue}, by the plan of their schema's columns."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from math import isfinite
from typing import Any, TypeAlias

from kgw.schema.json_columns import Elements, Form, Members, Plan, scalar
from kgw.schema.model import Undecodable
from kgw.schema.record_value import TAG_OF, Heads, Tag, signed

#: Makes the data of a value, without tag and length. Null is never given to it.
Writer: TypeAlias = Callable[[Any], bytes]

_INT32_MAX = (1 << 31) - 1
_INT64_MAX = (1 << 63) - 1
#: Doubles up to here are no other integer than the text says.
_EXACT = (1 << 53) - 1
#: Longer names of columns are cut.
_MOST_PATH = 160

_float = struct.Struct("<f").pack
_double = struct.Struct("<d").pack
_dump = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def write_fields(plan: Members) -> Writer:
    """What makes the fields of a record: all entries of an object that have a column, in the order of the columns."""
    return _members(plan, "")


def _tag(plan: Plan) -> Tag:
    if isinstance(plan, Form):
        return TAG_OF[scalar(plan)]
    return Tag.LIST if isinstance(plan, Elements) else Tag.RECORD


def _writer(plan: Plan, path: str) -> Writer:
    if isinstance(plan, Members):
        return _members(plan, path)
    if isinstance(plan, Elements):
        return _elements(plan, path)
    at = path if len(path) <= _MOST_PATH else f"{path[:_MOST_PATH]}..."
    return _FORMS[plan](at)


def _refusal(path: str, what: str) -> Callable[[], Undecodable]:
    reason = f"column {path} {what}"
    return lambda: Undecodable(reason)


def _members(plan: Members, path: str) -> Writer:
    refused = _refusal(path or "of the whole", "has what is no object")
    before = f"{path}." if path else ""
    rows = tuple(
        (member.name, Heads(_tag(member.plan), member.name), _writer(member.plan, before + member.name))
        for member in plan.members
    )

    def write(given: Any) -> bytes:
        if type(given) is not dict:
            raise refused()
        out = []
        for name, heads, write_one in rows:
            found = given.get(name)
            if found is not None:
                data = write_one(found)
                out.append(heads[len(data)])
                out.append(data)
        return b"".join(out)

    return write


def _elements(plan: Elements, path: str) -> Writer:
    refused = _refusal(path, "has what is no array")
    write_one, heads = _writer(plan.element, f"{path}[]"), Heads(_tag(plan.element))

    def write(given: Any) -> bytes:
        if type(given) is not list:
            raise refused()
        return b"".join([heads[len(data)] + data for data in [write_one(one) for one in given if one is not None]])

    return write


def _bool(path: str) -> Writer:
    refused = _refusal(path, "has what is no boolean")

    def write(given: Any) -> bytes:
        if given is True:
            return b"\1"
        if given is False:
            return b"\0"
        raise refused()

    return write


def _integer(given: Any) -> int | None:
    """An integer, which may be written with a fraction of zero or an exponent; C{None}: it is not known exactly."""
    if type(given) is int:
        return given
    if type(given) is float and -_EXACT <= given <= _EXACT and given.is_integer():
        return int(given)
    return None


def _int32(path: str) -> Writer:
    refused = _refusal(path, "has what is no integer of 32 bits")

    def write(given: Any) -> bytes:
        number = given if type(given) is int else _integer(given)
        if number is None or not ~_INT32_MAX <= number <= _INT32_MAX:
            raise refused()
        return signed(number)

    return write


def _int64(path: str) -> Writer:
    refused = _refusal(path, "has what is no integer of 64 bits")

    def write(given: Any) -> bytes:
        number = given if type(given) is int else _integer(given)
        if number is None or not ~_INT64_MAX <= number <= _INT64_MAX:
            raise refused()
        return signed(number)

    return write


def _digits(path: str) -> Writer:
    refused = _refusal(path, "has what is no integer")

    def write(given: Any) -> bytes:
        number = _integer(given)
        if number is None:
            raise refused()
        return str(number).encode()

    return write


def _number(pack: Callable[[float], bytes], bits: int) -> Callable[[str], Writer]:
    def form(path: str) -> Writer:
        refused = _refusal(path, f"has what is no number of {bits} bits")

        def write(given: Any) -> bytes:
            if (type(given) is float and not isfinite(given)) or type(given) not in (float, int):
                raise refused()
            try:
                return pack(given)
            except (OverflowError, struct.error):
                raise refused() from None

        return write

    return form


def _string(path: str) -> Writer:
    refused = _refusal(path, "has what is no string")

    def write(given: Any) -> bytes:
        if type(given) is not str:
            raise refused()
        return given.encode()

    return write


def _text(path: str) -> Writer:
    refused = _refusal(path, "has a number that is no double")

    def write(given: Any) -> bytes:
        try:
            return _dump(given).encode()
        except ValueError:
            raise refused() from None

    return write


_FORMS: dict[Form, Callable[[str], Writer]] = {
    Form.BOOL: _bool,
    Form.INT32: _int32,
    Form.INT64: _int64,
    Form.FLOAT: _number(_float, 32),
    Form.DOUBLE: _number(_double, 64),
    Form.STRING: _string,
    Form.DIGITS: _digits,
    Form.TEXT: _text,
}
