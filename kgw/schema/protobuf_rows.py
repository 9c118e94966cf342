"""Protobuf messages as the fields of a C{RecordValue}: a function for each message, made once.

Messages are read by the parser of google.protobuf, which is C. Its C{ListFields} would say what is there, but makes an
object for each field; to ask for all fields by name in one go takes a third of the time. A field has an entry where
the message has it: one without presence, as proto3 has them, where it is not its zero; others where they were set.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Any, TypeAlias

from google.protobuf import message_factory
from google.protobuf.descriptor import FieldDescriptor

from kgw.schema.columns import Scalar
from kgw.schema.protobuf_columns import FieldColumn, MessageColumns, scalar_of
from kgw.schema.record_value import TAG_OF, VARINTS, Heads, Tag, signed, varint

#: Makes the data of a value, without tag and length.
Data: TypeAlias = Callable[[Any], bytes]
#: Makes the entry of a field; no bytes where the value is one that is not there.
Entry: TypeAlias = Callable[[Any], bytes]

_SMALL = len(VARINTS)


def _bool(given: bool) -> bytes:
    return b"\1" if given else b"\0"


def _text(given: str | bytes) -> bytes:
    # proto2 lets pass what is no UTF-8, which the parser then gives as bytes; a Value has nothing but UTF-8 as text
    return given.encode() if isinstance(given, str) else given.decode("utf-8", "replace").encode()


def _message_bytes(given: Any) -> bytes:
    # by way of the class: what is asked of a message may be a field that is called so
    return bytes(type(given).SerializePartialToString(given, deterministic=True))


_UNSIGNED = frozenset(
    (
        FieldDescriptor.TYPE_UINT32,
        FieldDescriptor.TYPE_FIXED32,
        FieldDescriptor.TYPE_UINT64,
        FieldDescriptor.TYPE_FIXED64,
    )
)
_DATA: dict[Scalar, Data] = {
    Scalar.BOOL: _bool,
    Scalar.INT32: signed,
    Scalar.INT64: signed,
    Scalar.FLOAT: struct.Struct("<f").pack,
    Scalar.DOUBLE: struct.Struct("<d").pack,
    Scalar.BYTES: bytes,
    Scalar.STRING: _text,
}


def row_writer(message: MessageColumns) -> Data:
    """
    What makes the fields of a C{RecordValue} of messages of one type.

    @return: it raises C{UnicodeDecodeError} where the keys of a map are text that is no UTF-8, which proto2 lets pass.
    """
    asked: list[tuple[str, Entry]] = []
    listed: list[tuple[str, Entry]] = []
    for one in message.fields:
        name = one.descriptor.name
        if one.descriptor.is_repeated:
            listed.append((name, _repeated_entry(one)))
        elif one.descriptor.has_presence:
            asked.append((name, _entry(name, *_tag_and_data(one))))
        else:
            listed.append((name, _implicit_entry(one)))
    write_listed = _write_listed(listed)
    if not asked:
        return write_listed
    present = tuple(asked)
    # of the class, since a field may be called so too
    has = message_factory.GetMessageClass(message.descriptor).HasField

    def write(given: Any) -> bytes:
        out = [write_listed(given)]
        for name, entry in present:
            if has(given, name):
                out.append(entry(getattr(given, name)))
        return b"".join(out)

    return write


def _write_listed(listed: list[tuple[str, Entry]]) -> Data:
    """The fields that are asked for all at once."""
    if not listed:
        return lambda given: b""
    if len(listed) == 1:
        ((name, entry),) = listed
        return lambda given: entry(getattr(given, name))
    values = attrgetter(*(name for name, _entry in listed))
    entries = tuple(entry for _name, entry in listed)
    return lambda given: b"".join([entry(value) for entry, value in zip(entries, values(given), strict=True)])


def _tag_and_data(one: FieldColumn) -> tuple[Tag, Data]:
    """How one value is written, of a list or map each."""
    if one.message is not None:
        return Tag.RECORD, row_writer(one.message)
    if one.value.message_type is not None:
        return Tag.BYTES, _message_bytes
    return _scalar(one.value)


def _scalar(descriptor: Any) -> tuple[Tag, Data]:
    column = scalar_of(descriptor)
    # varints of 64 bits are the same, taken as unsigned or in two's complement
    return TAG_OF[column], varint if descriptor.type in _UNSIGNED else _DATA[column]


def _entry(name: str, tag: Tag, data: Data) -> Entry:
    heads = Heads(tag, name)

    def write(given: Any) -> bytes:
        made = data(given)
        return heads[len(made)] + made

    return write


def _implicit_entry(one: FieldColumn) -> Entry:
    """A field of which its zero is not there."""
    name, scalar = one.descriptor.name, scalar_of(one.descriptor)
    tag, data = _tag_and_data(one)
    heads = Heads(tag, name)
    if scalar is Scalar.BOOL:
        true = heads[1] + b"\1"
        return lambda given: true if given else b""
    if scalar in (Scalar.FLOAT, Scalar.DOUBLE):
        size = 4 if scalar is Scalar.FLOAT else 8
        # minus zero is there: it is not all bits zero
        head, zero = heads[size], bytes(size)

        def write_number(given: float) -> bytes:
            made = data(given)
            return head + made if made != zero else b""

        return write_number
    if scalar in (Scalar.INT32, Scalar.INT64):

        def write_integer(given: int) -> bytes:
            if not given:
                return b""
            if given < 0:
                made = signed(given)
            elif given < _SMALL:
                made = VARINTS[given]
            else:
                made = varint(given)
            return heads[len(made)] + made

        return write_integer

    def write(given: str | bytes) -> bytes:
        if not given:
            return b""
        made = data(given)
        return heads[len(made)] + made

    return write


def _repeated_entry(one: FieldColumn) -> Entry:
    write_list = _list_data(*_tag_and_data(one)) if one.key is None else _map_data(one)
    heads = Heads(Tag.LIST, one.descriptor.name)

    def write(given: Any) -> bytes:
        if not given:
            return b""
        made = write_list(given)
        return heads[len(made)] + made

    return write


def _list_data(tag: Tag, data: Data) -> Data:
    heads = Heads(tag)

    def write(given: Iterable[Any]) -> bytes:
        return b"".join([heads[len(made)] + made for made in map(data, given)])

    return write


def _map_data(one: FieldColumn) -> Data:
    """A map as a list of its entries by key, so that the same message is the same row; both parts are always there."""
    key = _entry("key", *_scalar(one.key))
    value = _entry("value", *_tag_and_data(one))
    heads = Heads(Tag.RECORD)

    def write(given: Any) -> bytes:
        made = [key(name) + value(given[name]) for name in sorted(given)]
        return b"".join([heads[len(entry)] + entry for entry in made])

    return write
