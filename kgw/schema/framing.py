"""How a record says which schema its value has: Confluent's wire formats, in front of the value or in a header.

In front of a value stand magic byte 0 and the schema's id, four bytes; in a header C{__value_schema_id} (or
C{__key_schema_id}) magic byte 1 and the schema's GUID, sixteen bytes, and the value is bare. Of Protobuf a file of
messages is the schema, and the way to the message from the file down follows: how many indexes, and the indexes, as
zig-zag varints; C{00} is short for the first message. Old serializers of Java write plain varints instead, and kafkajs
writes nothing, so what stands there is a guess (L{readings}).

Nothing here raises for what peers send: what is not framed is answered with C{None}. That something looks framed is no
proof that it is, since plain data may begin with a zero byte as well.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

#: The headers that name the schema of a record's value, and of its key.
VALUE_HEADER = "__value_schema_id"
KEY_HEADER = "__key_schema_id"

#: In front of an id.
MAGIC_ID = 0
#: In front of a GUID.
MAGIC_GUID = 1
#: How much stands in front of a framed value.
PREFIX_BYTES = 5
GUID_BYTES = 16

#: The way to a message is no longer than this: a Protobuf compiler takes messages within messages 32 deep.
MOST_INDEXES = 32
#: No file has more messages than this, whatever a number in front of a value says.
MOST_INDEX = (1 << 31) - 1
_MOST_ID = (1 << 31) - 1
#: A varint is no longer than this where numbers have 32 bits, in zig-zag 33.
_MOST_VARINT_BYTES = 5

_ID = struct.Struct(">I")
#: The first message of the file, which has a short form.
FIRST = (0,)


class Framed(NamedTuple):
    """
    A value that names its schema, by id or by GUID: one of them is C{None}.

    @ivar schema_id: 1 or more.
    @ivar guid: 16 bytes.
    @ivar payload: what is left of the value. Where the id stood in front and the schema is one of Protobuf, it begins
        with the message indexes.
    @ivar indexes: where a header had them behind the GUID, the way to the message.
    """

    schema_id: int | None
    guid: bytes | None
    payload: bytes
    indexes: tuple[int, ...] | None = None


def of_value(value: bytes) -> Framed | None:
    """A value with a schema's id in front of it; C{None}: it is none."""
    if len(value) < PREFIX_BYTES or value[0] != MAGIC_ID:
        return None
    (schema_id,) = _ID.unpack_from(value, 1)
    # registries count from 1, in Java's int
    return Framed(schema_id, None, value[PREFIX_BYTES:]) if 0 < schema_id <= _MOST_ID else None


def of_header(header: bytes, value: bytes) -> Framed | None:
    """
    A value whose schema stands in a header.

    @param header: the header's value. An id in it, which readers of this format take as well as a GUID, will do.
    @return: C{None}: nothing of the kind stands there.
    """
    if len(header) > GUID_BYTES and header[0] == MAGIC_GUID:
        guid, rest = header[1 : 1 + GUID_BYTES], header[1 + GUID_BYTES :]
        return Framed(None, guid, value, _indexes_only(rest))
    framed = of_value(header)
    if framed is None:
        return None
    return Framed(framed.schema_id, None, value, _indexes_only(framed.payload))


def of_record(
    value: bytes | None, headers: Iterable[tuple[str, bytes | None]] = (), header: str = VALUE_HEADER
) -> Framed | None:
    """
    What a record says of the schema of its value, or of its key; the header is asked first, as readers do.

    @param value: the value or key; a null is never framed.
    @param headers: the record's; the last of a name counts.
    @param header: L{VALUE_HEADER} or L{KEY_HEADER}.
    @return: C{None}: it names no schema.
    """
    if value is None:
        return None
    if headers:
        found = None
        for name, data in headers:
            if name == header:
                found = data
        if found is not None:
            framed = of_header(found, value)
            if framed is not None:
                return framed
    return of_value(value)


def prefixed(schema_id: int, payload: bytes, indexes: tuple[int, ...] | None = None) -> bytes:
    """
    A value as serializers write it.

    @param indexes: of a Protobuf message: the way to it, to be written in front of the payload.
    """
    return b"".join(
        (bytes((MAGIC_ID,)), _ID.pack(schema_id), b"" if indexes is None else index_array(indexes), payload)
    )


def guid_header(guid: bytes, indexes: tuple[int, ...] | None = None) -> bytes:
    """The value of the header that names a schema by its GUID; C{indexes} as of L{prefixed}."""
    return b"".join((bytes((MAGIC_GUID,)), guid, b"" if indexes is None else index_array(indexes)))


def index_array(indexes: tuple[int, ...], zigzag: bool = True) -> bytes:
    """
    The way to a message as serializers write it.

    @param zigzag: C{False} is the deprecated form of plain varints.
    """
    if indexes == FIRST:
        return b"\0"
    return b"".join(_varint(number << 1 if zigzag else number) for number in (len(indexes), *indexes))


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def read_indexes(data: bytes, zigzag: bool = True) -> tuple[tuple[int, ...], int] | None:
    """
    The way to a message from where it stands, and the offset behind it.

    @return: C{None}: no such thing stands there.
    """
    found = _read_varint(data, 0, zigzag)
    if found is None:
        return None
    count, at = found
    if count == 0:
        return FIRST, at
    # each has a byte at least
    if not 0 < count <= min(MOST_INDEXES, len(data) - at):
        return None
    indexes = []
    for _ in range(count):
        found = _read_varint(data, at, zigzag)
        if found is None:
            return None
        index, at = found
        if not 0 <= index <= MOST_INDEX:
            return None
        indexes.append(index)
    return tuple(indexes), at


def _read_varint(data: bytes, at: int, zigzag: bool) -> tuple[int, int] | None:
    number = 0
    for place, byte in enumerate(data[at : at + _MOST_VARINT_BYTES]):
        number |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return number >> 1 ^ -(number & 1) if zigzag else number, at + place + 1
    return None


def _indexes_only(data: bytes) -> tuple[int, ...] | None:
    """The way to a message where nothing may stand behind it."""
    found = read_indexes(data)
    return found[0] if found is not None and found[1] == len(data) else None


def readings(payload: bytes) -> Iterator[tuple[tuple[int, ...], int]]:
    """
    What a Protobuf payload may begin with, the likeliest first: ways to messages, and where the message begins.

    Those are at most three: the indexes in zig-zag, in plain varints where that is something else, and none at all,
    which is the first message. None of them is proven before a message of that type can be read there.
    """
    # one that is not there may be read as one, hardly the reverse: no message begins with a byte below 8
    modern = read_indexes(payload)
    if modern is not None:
        yield modern
    old = read_indexes(payload, zigzag=False)
    if old is not None and old != modern:
        yield old
    yield FIRST, 0
