"""What is going to be written to the filer, as one entry's bytes that are there whole or not at all."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from zlib import crc32

from kgw.errors import ErrorCode, KafkaError

#: New values by key, C{None} where the key is to go.
Changes = Mapping[str, bytes | None]

_MARK = b"kgj\x01"
_LENGTHS = struct.Struct(">Ii")
_CRC_BYTES = 4
_GONE = -1


def encode(changes: Changes) -> bytes:
    """The bytes of these changes."""
    parts = [_MARK]
    for key, value in changes.items():
        name = key.encode()
        parts += (_LENGTHS.pack(len(name), _GONE if value is None else len(value)), name, value or b"")
    body = b"".join(parts)
    return body + crc32(body).to_bytes(_CRC_BYTES, "big")


def decode(data: bytes) -> dict[str, bytes | None]:
    """
    The changes that L{encode} was given.

    @raise KafkaError: C{KAFKA_STORAGE_ERROR}: these bytes are damaged, or a later kgw wrote them.
    """
    body = data[:-_CRC_BYTES]
    if not body.startswith(_MARK) or crc32(body) != int.from_bytes(data[-_CRC_BYTES:], "big"):
        raise KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, "an entry in the journal of the state store is damaged")
    changes: dict[str, bytes | None] = {}
    at = len(_MARK)
    while at < len(body):
        key_size, value_size = _LENGTHS.unpack_from(body, at)
        at += _LENGTHS.size
        key = body[at : at + key_size].decode()
        at += key_size
        changes[key] = None if value_size == _GONE else body[at : at + value_size]
        at += max(value_size, 0)
    return changes
