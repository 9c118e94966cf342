"""Values as SeaweedMQ's C{RecordValue} in protobuf's wire format, written by hand because it is done for every record.

A C{RecordValue} is a map of names to values (field 1), of which every entry is written as::

    0A | length of the entry | 0A | length of the name | name | 12 | length of the value | tag | data

and a C{ListValue} has its values as C{0A | length of the value | tag | data}. Data of bytes, text, lists and records
begin with their length. What stands before the data of one column depends on nothing but how long they are, so it is
made once for each length: L{Heads}. L{entry_writer} and L{fields_writer} are for values that are Python's; a codec
that has the data as bytes already puts a head before them itself.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping
from enum import IntEnum
from typing import Any, TypeAlias

from kgw.schema.columns import ColumnType, RecordOf, Scalar

#: Makes bytes of one value of a type.
Writer: TypeAlias = Callable[[Any], bytes]


class Tag(IntEnum):
    """The tags of protobuf that the kinds of C{Value} have: number of the field and wire type."""

    BOOL = 0x08
    INT32 = 0x10
    INT64 = 0x18
    FLOAT = 0x25
    DOUBLE = 0x29
    BYTES = 0x32
    STRING = 0x3A
    LIST = 0x72
    RECORD = 0x7A


#: Those whose data begin with their length.
_WITH_LENGTH = frozenset((Tag.BYTES, Tag.STRING, Tag.LIST, Tag.RECORD))

TAG_OF: Mapping[Scalar, Tag] = {
    Scalar.BOOL: Tag.BOOL,
    Scalar.INT32: Tag.INT32,
    Scalar.INT64: Tag.INT64,
    Scalar.FLOAT: Tag.FLOAT,
    Scalar.DOUBLE: Tag.DOUBLE,
    Scalar.BYTES: Tag.BYTES,
    Scalar.STRING: Tag.STRING,
}

_INT32_MAX = (1 << 31) - 1
_INT64_MAX = (1 << 63) - 1


def _any_varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


#: The varints of the numbers below 16,384.
VARINTS = tuple(_any_varint(number) for number in range(1 << 14))
#: The same 14 bits where more follow.
_MORE = tuple(bytes((number & 0x7F | 0x80, number >> 7 | 0x80)) for number in range(1 << 14))

#: The upper 50 bits of a small negative number, and the upper 8 of any, of which the last byte has one bit.
_MINUS_ONE = b"\xff" * 7 + b"\1"
_LAST_OF_NEGATIVE = tuple(bytes((number | 0x80, 1)) for number in range(128))


def varint(number: int) -> bytes:
    """An unsigned varint; C{number} is 0 or more."""
    if number < 1 << 14:
        return VARINTS[number]
    if number < 1 << 28:
        return _MORE[number & 0x3FFF] + VARINTS[number >> 14]
    if number < 1 << 42:
        return _MORE[number & 0x3FFF] + _MORE[number >> 14 & 0x3FFF] + VARINTS[number >> 28]
    if number < 1 << 56:
        return (
            _MORE[number & 0x3FFF] + _MORE[number >> 14 & 0x3FFF] + _MORE[number >> 28 & 0x3FFF] + VARINTS[number >> 42]
        )
    return _any_varint(number)


def signed(number: int) -> bytes:
    """
    The data of C{int32} or C{int64}: those below 0 have ten bytes.

    @raise OverflowError: it does not fit 64 bits.
    """
    if number >= 0:
        if number <= _INT64_MAX:
            return varint(number)
    elif number >= -1 << 14:
        return _MORE[number & 0x3FFF] + _MINUS_ONE
    elif number >= ~_INT64_MAX:
        return b"".join(
            (
                _MORE[number & 0x3FFF],
                _MORE[number >> 14 & 0x3FFF],
                _MORE[number >> 28 & 0x3FFF],
                _MORE[number >> 42 & 0x3FFF],
                _LAST_OF_NEGATIVE[number >> 56 & 0x7F],
            )
        )
    raise OverflowError("an integer does not fit 64 bits")


class Heads(dict[int, bytes]):
    """
    What precedes the data of a value, by the length of the data: C{heads[len(data)] + data} is the whole.

    @cvar KEPT: heads for longer data, or of longer names, are made each time, so that they do not fill the memory.
    """

    __slots__ = ("_before", "_length", "_tag")

    KEPT = 128

    def __init__(self, tag: Tag, name: str | None = None) -> None:
        """
        @param name: of the entry in a record; C{None}: the value is one of a list's.
        @raise UnicodeEncodeError: the name is no text that UTF-8 can have.
        """
        self._before = b"" if name is None else key_part(name)
        self._tag = bytes((tag,))
        self._length = tag in _WITH_LENGTH

    def __missing__(self, size: int) -> bytes:
        start = self._tag + varint(size) if self._length else self._tag
        value = varint(len(start) + size) if self._before else b""
        whole = len(self._before) + len(value) + len(start) + size
        head = b"".join((b"\x0a", varint(whole), self._before, value, start))
        if size < self.KEPT and len(head) < self.KEPT:
            self[size] = head
        return head


class ValueHeads(dict[int, bytes]):
    """As L{Heads}, without what belongs to an entry or a list: tag, and length where the data have one."""

    __slots__ = ("_length", "_tag")

    def __init__(self, tag: Tag) -> None:
        self._tag = bytes((tag,))
        self._length = tag in _WITH_LENGTH

    def __missing__(self, size: int) -> bytes:
        head = self._tag + varint(size) if self._length else self._tag
        if size < Heads.KEPT:
            self[size] = head
        return head


def key_part(name: str) -> bytes:
    """The name in the entry of a map, with the tag of the value behind it."""
    key = name.encode()
    return b"".join((b"\x0a", varint(len(key)), key, b"\x12"))


def entry(key: bytes, value: bytes) -> bytes:
    """
    One entry of a C{RecordValue}, where names are not known beforehand.

    @param key: the name in UTF-8.
    @param value: a C{Value}: tag and data, as L{value_writer} makes them.
    """
    key_size, value_size = varint(len(key)), varint(len(value))
    size = 2 + len(key_size) + len(key) + len(value_size) + len(value)
    return b"".join((b"\x0a", varint(size), b"\x0a", key_size, key, b"\x12", value_size, value))


def list_data(values: Iterable[bytes]) -> bytes:
    """The data of a list, without their length; C{values} are tags and data, as L{value_writer} makes them."""
    return b"".join([b"".join((b"\x0a", varint(len(value)), value)) for value in values])


def value(tag: Tag, data: bytes) -> bytes:
    """A C{Value} of data: bytes, text in UTF-8, the fields of a record, L{list_data}, L{signed} and so on."""
    return bytes((tag,)) + varint(len(data)) + data if tag in _WITH_LENGTH else bytes((tag,)) + data


def _bool(given: object) -> bytes:
    return b"\1" if given else b"\0"


def _int32(given: int) -> bytes:
    if ~_INT32_MAX <= given <= _INT32_MAX:
        return signed(given)
    raise OverflowError("an integer does not fit 32 bits")


_SCALARS: Mapping[Scalar, Writer] = {
    Scalar.BOOL: _bool,
    Scalar.INT32: _int32,
    Scalar.INT64: signed,
    Scalar.FLOAT: struct.Struct("<f").pack,
    Scalar.DOUBLE: struct.Struct("<d").pack,
    Scalar.BYTES: bytes,
    Scalar.STRING: str.encode,
}


def data_writer(column: ColumnType) -> tuple[Tag, Writer]:
    """
    How values of a type become data, without length, and the tag that goes with them.

    They are given as Python's: bool, int, float, bytes, str, a sequence, a mapping by names. A record without columns
    takes any mapping of values whose types are seen from themselves: see L{seen}.

    @return: the function raises C{OverflowError} where a number does not fit, C{UnicodeEncodeError} for text that
        UTF-8 cannot have, and C{TypeError}, C{AttributeError} or C{struct.error} for another kind of value.
    """
    if isinstance(column, Scalar):
        return TAG_OF[column], _SCALARS[column]
    if isinstance(column, RecordOf):
        return Tag.RECORD, fields_writer(column) if column.columns else _seen_fields
    tag, write = data_writer(column.element)
    heads = Heads(tag)

    def write_list(given: Iterable[Any]) -> bytes:
        return b"".join([heads[len(data)] + data for data in map(write, (one for one in given if one is not None))])

    return Tag.LIST, write_list


def value_writer(column: ColumnType) -> Writer:
    """What makes C{Value}s of a type: tag and data. As of L{data_writer}."""
    tag, write = data_writer(column)
    return lambda given: value(tag, write(given))


def entry_writer(name: str, column: ColumnType) -> Writer:
    """What makes whole entries of one column. As of L{data_writer}; C{None} is for who calls to leave out."""
    tag, write = data_writer(column)
    heads = Heads(tag, name)
    if column is Scalar.STRING:

        def write_text(given: str) -> bytes:
            data = given.encode()
            return heads[len(data)] + data

        return write_text
    if column is Scalar.DOUBLE:
        head, pack = heads[8], struct.Struct("<d").pack
        return lambda given: head + pack(given)
    if column is Scalar.BOOL:
        false, true = heads[1] + b"\0", heads[1] + b"\1"
        return lambda given: true if given else false

    def write_any(given: Any) -> bytes:
        data = write(given)
        return heads[len(data)] + data

    return write_any


def fields_writer(record: RecordOf) -> Writer:
    """
    What makes the fields of a C{RecordValue} of a mapping; names that have C{None} or are not there have no entry.

    Names that are no columns are passed over. As of L{data_writer}.
    """
    writers = tuple((column.name, entry_writer(column.name, column.type)) for column in record.columns)

    def write(given: Mapping[str, Any]) -> bytes:
        out = []
        get = given.get
        for name, write_entry in writers:
            found = get(name)
            if found is not None:
                out.append(write_entry(found))
        return b"".join(out)

    return write


def seen(given: Any) -> bytes:
    """
    A C{Value} of the type that a value has itself: int is C{INT64}, float C{DOUBLE}, mappings are records.

    It goes down by recursion: how deep values are is for the caller to bound.

    @raise TypeError: it is of no type that has one.
    """
    if given is True or given is False:
        return b"\x08\1" if given else b"\x08\0"
    if isinstance(given, int):
        return b"\x18" + signed(given)
    if isinstance(given, float):
        return b"\x29" + struct.pack("<d", given)
    if isinstance(given, str):
        return value(Tag.STRING, given.encode())
    if isinstance(given, bytes):
        return value(Tag.BYTES, given)
    if isinstance(given, Mapping):
        return value(Tag.RECORD, _seen_fields(given))
    if isinstance(given, list | tuple):
        return value(Tag.LIST, list_data([seen(one) for one in given if one is not None]))
    raise TypeError("a value is of no type that columns have")


def _seen_fields(given: Mapping[str, Any]) -> bytes:
    return b"".join([entry(name.encode(), seen(one)) for name, one in given.items() if one is not None])
