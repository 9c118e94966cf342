"""The envelope: what keeps all of a Kafka record in the value of an engine message, which has a key and a value only.

It is a field of a protobuf C{RecordValue} that no reader of the engine knows, number 1000, and the first one::

    C2 3E | length, varint | "kg" | version 1 | CRC-32C, 4 bytes | flags | timestamp in ms, zig-zag varint
    | expected offset, varint | facts of the batch, five varints | headers: length, varint, and bytes | value

Facts and headers are there where the flags say so; the checksum covers what comes after it in the field. What comes
after the field is not ours (columns of a schema), and is skipped.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from kgw.wire.crc32c import crc32c
from kgw.wire.records import Header

#: The tag of field 1000 of wire type 2. No text in UTF-8 begins with it.
MARK = b"\xc2\x3e"
#: The first byte of L{MARK}, for a glance.
MARK_BYTE = MARK[0]
_MAGIC = b"kg"
_VERSION = 1
#: What precedes the flags within the field: magic, version, checksum.
_PREFIX = len(_MAGIC) + 1 + 4
_MAGIC_AND_VERSION = _MAGIC + bytes([_VERSION])

NULL_KEY = 0x01
NULL_VALUE = 0x02
LOG_APPEND_TIME = 0x04
HAS_HEADERS = 0x08
HAS_FACTS = 0x10
#: The message has a key that the record has not: L{STAND_IN}, as the engine's tables pass over what has none. The
#: record's own is null or, without L{NULL_KEY}, empty.
STAND_IN_KEY = 0x20
_KNOWN_FLAGS = 0x3F
STAND_IN = b"\0"

#: The headers section of a record without headers, as in a Kafka record.
NO_HEADERS = b"\0"

_MASK64 = (1 << 64) - 1
_INT64_MAX = (1 << 63) - 1


class DamagedRecord(Exception):
    """
    Stored bytes begin as what kgw writes and do not go on so, or a newer kgw wrote them.

    It never leaves this package: reading turns it into C{CORRUPT_MESSAGE} with the offset.
    """


@dataclass(frozen=True, slots=True)
class BatchFacts:
    """
    What the first record that a batch of an idempotent producer sends keeps of the batch.

    @ivar base_sequence: that of the batch's first record.
    @ivar count: of the batch's records.
    @ivar index: of the record that has the facts within the batch: 0, or more where only the rest was sent again.
    """

    producer_id: int
    producer_epoch: int
    base_sequence: int
    count: int
    index: int


class Opened(NamedTuple):
    """
    What an envelope holds.

    @ivar headers: the section as in a Kafka record, count included; L{NO_HEADERS} where there are none.
    @ivar stand_in_key: the key of the message is not the record's.
    """

    timestamp: int
    log_append_time: bool
    null_key: bool
    value: bytes | None
    headers: bytes
    facts: BatchFacts | None
    expected_offset: int
    stand_in_key: bool


def varint(number: int) -> bytes:
    """An unsigned varint of any length; C{number} is 0 or more."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


#: The varints that records are full of.
VARINTS = [varint(number) for number in range(16384)]


def read_varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """
    The unsigned 64-bit varint at C{at}, and the place behind it.

    @raise DamagedRecord: it does not end before C{end}, or does not fit 64 bits.
    """
    number = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            if number > _MASK64:
                break
            return number, at
        shift += 7
    raise DamagedRecord("a number has no end or does not fit 64 bits")


@lru_cache(maxsize=256)
def _timestamp(timestamp: int) -> bytes:
    return varint(timestamp << 1 ^ timestamp >> 63)


def seal(
    flags: int,
    timestamp: int,
    expected_offset: int,
    value: bytes | None,
    headers: bytes = NO_HEADERS,
    facts: BatchFacts | None = None,
) -> bytes:
    """
    The value of the engine message of a record.

    @param flags: L{NULL_KEY}, L{STAND_IN_KEY} and L{LOG_APPEND_TIME}; the others follow from what is given.
    @param headers: the section as in a Kafka record.
    """
    body = _timestamp(timestamp) + varint(expected_offset)
    if facts is not None:
        flags |= HAS_FACTS
        body += varint(facts.producer_id) + varint(facts.producer_epoch) + varint(facts.base_sequence)
        body += varint(facts.count) + varint(facts.index)
    if headers != NO_HEADERS:
        flags |= HAS_HEADERS
        body += varint(len(headers)) + headers
    if value is None:
        flags |= NULL_VALUE
    else:
        body += value
    body = bytes((flags,)) + body
    size = len(body) + _PREFIX
    return b"".join(
        (
            MARK,
            VARINTS[size] if size < 16384 else varint(size),
            _MAGIC_AND_VERSION,
            crc32c(body).to_bytes(4, "big"),
            body,
        )
    )


def unseal(data: bytes) -> Opened | None:
    """
    Read the envelope that C{data} begin with.

    @return: C{None} where they begin with none: they are the value itself.
    @raise DamagedRecord: it is ours and not whole, or of a version or with flags not known here.
    """
    if not data.startswith(MARK):
        return None
    size = len(data)
    try:
        length, start = read_varint(data, 2, size)
    except DamagedRecord:
        return None
    if not data.startswith(_MAGIC, start):
        return None
    end = start + length
    if end > size or length <= _PREFIX:
        raise DamagedRecord(f"an envelope of {length} bytes, {size - start} are there")
    if data[start + 2] != _VERSION:
        raise DamagedRecord(f"an envelope of version {data[start + 2]}, this kgw knows {_VERSION}")
    body = data[start + _PREFIX : end]
    if crc32c(body) != int.from_bytes(data[start + 3 : start + _PREFIX], "big"):
        raise DamagedRecord("the checksum of an envelope is wrong")
    return _read(body)


def beginning(opened: Opened) -> bytes:
    """What envelopes of the same time begin with behind the checksum, for L{value_behind}; empty where it is rare."""
    timestamp, log_append, null_key, value, headers, facts, _, stand_in = opened
    if log_append or null_key or value is None or headers != NO_HEADERS or facts is not None or stand_in:
        return b""
    return b"\0" + _timestamp(timestamp)


def value_behind(begins: bytes, data: bytes) -> bytes | None:
    """
    The value in an envelope that goes on as another one did; half the work of L{unseal}.

    @param begins: what L{beginning} said of the other one, not empty.
    @param data: beginning with L{MARK_BYTE}.
    @return: C{None}: it does not, or is not whole, or has something rare: L{unseal} knows.
    """
    try:
        length, start = data[2], 3
        if length > 127:
            more = data[3]
            if more > 127:
                return None
            length, start = length + ((more - 1) << 7), 4
        at = start + _PREFIX
        if not data.startswith(begins, at) or not data.startswith(_MAGIC_AND_VERSION, start) or data[1] != MARK[1]:
            return None
        body = data[at : start + length]
        if crc32c(body) != int.from_bytes(data[start + 3 : at], "big"):
            return None
        # the expected offset, which nobody asks for here, has few bytes
        at = len(begins)
        if body[at] > 127:
            at += 1
            if body[at] > 127:
                at += 1
                if body[at] > 127:
                    at += 1
                    if body[at] > 127:
                        return None
        return body[at + 1 :]
    except IndexError:
        return None


def _read(body: bytes) -> Opened:
    flags, end = body[0], len(body)
    if flags > _KNOWN_FLAGS:
        raise DamagedRecord(f"an envelope with flags {flags:#x}, this kgw knows {_KNOWN_FLAGS:#x}")
    timestamp, at = _read_timestamp(body[1:11] if end < 7 or body[6] > 127 else body[1:7])
    expected_offset, at = read_varint(body, at, end)
    if expected_offset > _INT64_MAX:
        raise DamagedRecord("the offset in an envelope does not fit 63 bits")
    facts = None
    if flags & HAS_FACTS:
        facts, at = _read_facts(body, at, end)
    headers = NO_HEADERS
    if flags & HAS_HEADERS:
        length, at = read_varint(body, at, end)
        headers = body[at : at + length]
        if skip_headers(headers, 0, length) != length:
            raise DamagedRecord("the headers in an envelope are damaged")
        at += length
    value: bytes | None = body[at:]
    if flags & NULL_VALUE:
        if value:
            raise DamagedRecord("a null value in an envelope has bytes")
        value = None
    log_append, null_key, stand_in = flags & LOG_APPEND_TIME != 0, flags & NULL_KEY != 0, flags & STAND_IN_KEY != 0
    # as Opened(...) does, in a third of the time
    return tuple.__new__(Opened, (timestamp, log_append, null_key, value, headers, facts, expected_offset, stand_in))


@lru_cache(maxsize=1024)
def _read_timestamp(data: bytes) -> tuple[int, int]:
    """The timestamp that C{data} begin with, and where it ends in the body; the same ones come again and again."""
    number, size = read_varint(data, 0, len(data))
    return number >> 1 ^ -(number & 1), size + 1


def _read_facts(body: bytes, at: int, end: int) -> tuple[BatchFacts, int]:
    numbers = []
    for bits in (63, 15, 31, 31, 31):
        number, at = read_varint(body, at, end)
        if number >> bits:
            raise DamagedRecord("the batch facts in an envelope are out of range")
        numbers.append(number)
    facts = BatchFacts(*numbers)
    if facts.index >= facts.count:
        raise DamagedRecord("the batch facts in an envelope are out of range")
    return facts, at


def skip_headers(data: bytes, at: int, end: int) -> int:
    """
    Walk over the headers section of a Kafka record, whose count is at C{at}.

    @return: the place behind it; -1 where it is damaged or does not end at C{end} or before.
    """
    try:
        number, at = read_varint(data, at, end)
        # the lengths are zig-zag: even ones are not negative; a header has two bytes at least
        if number & 1 or number > end - at:
            return -1
        for _ in range(number >> 1):
            size = data[at]
            if size < 128:
                at += 1
            else:
                size, at = read_varint(data, at, end)
            if size & 1:
                return -1
            at += size >> 1
            size = data[at]
            if size < 128:
                at += 1
            else:
                size, at = read_varint(data, at, end)
            if size & 1:
                if size != 1:
                    return -1
            else:
                at += size >> 1
    except (DamagedRecord, IndexError):
        return -1
    return at if at <= end else -1


def header_pairs(section: bytes) -> tuple[Header, ...]:
    """
    The headers in a section as in a Kafka record; names that are not UTF-8 have replacement characters.

    @raise DamagedRecord: the section is damaged.
    """
    end = len(section)
    if skip_headers(section, 0, end) != end:
        raise DamagedRecord("the headers of a record are damaged")
    number, at = read_varint(section, 0, end)
    pairs: list[Header] = []
    for _ in range(number >> 1):
        size, at = read_varint(section, at, end)
        name = section[at : at + (size >> 1)].decode(errors="replace")
        size, at = read_varint(section, at + (size >> 1), end)
        if size & 1:
            pairs.append((name, None))
        else:
            pairs.append((name, section[at : at + (size >> 1)]))
            at += size >> 1
    return tuple(pairs)
