"""The records inside a batch (KIP-98): decoded and encoded in flat loops, headers and all checks included.

Per record of 100 bytes about 1.1 us to decode and 0.45 us to encode, on a machine where kafka-python takes
2.7 us to decode one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from kgw.errors import WireError
from kgw.wire.primitives import decode_varlong, encode_varlong

_INT64_MIN, _INT64_MAX = -(1 << 63), (1 << 63) - 1
#: A record's least size: its length, attributes, two deltas, key and value length, and header count.
_LEAST_RECORD = 7
#: A header's least size: the lengths of its key and value.
_LEAST_HEADER = 2

#: The zig-zag varints of the numbers from 0 on that batches are full of.
_VARINTS = [encode_varlong(number) for number in range(16384)]
_CACHED = len(_VARINTS)
_NULL = encode_varlong(-1)

Header = tuple[str, bytes | None]


class Record(NamedTuple):
    """
    One record as consumers see it.

    @ivar offset: in the partition, not in the batch.
    @ivar timestamp: ms since the epoch; the batch's max timestamp where it is of type LogAppendTime.
    @ivar headers: pairs in the order sent; names that are not UTF-8 have replacement characters, as in Kafka.
    """

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...]


class NewRecord(NamedTuple):
    """
    One record to be built into a batch.

    @ivar timestamp: ms since the epoch.
    """

    key: bytes | None
    value: bytes | None
    headers: Sequence[Header] = ()
    timestamp: int = -1


def encode_records(
    records: Iterable[tuple[bytes | None, bytes | None, Sequence[Header], int]], base_timestamp: int
) -> bytes:
    """
    Encode the records section of a batch, not compressed; offset deltas count from 0.

    @param records: L{NewRecord}s, or plain tuples of the same order.
    """
    out: list[bytes] = []
    add = out.append
    varints, cached, varint = _VARINTS, _CACHED, encode_varlong
    for index, (key, value, headers, timestamp) in enumerate(records):
        delta = timestamp - base_timestamp
        body = (
            b"\0"
            + (varints[delta] if 0 <= delta < cached else varint(delta))
            + (varints[index] if index < cached else varint(index))
        )
        if key is None:
            body += _NULL
        else:
            size = len(key)
            body += (varints[size] if size < cached else varint(size)) + key
        if value is None:
            body += _NULL
        else:
            size = len(value)
            body += (varints[size] if size < cached else varint(size)) + value
        body += _encode_headers(headers) if headers else b"\0"
        size = len(body)
        add(varints[size] if size < cached else varint(size))
        add(body)
    return b"".join(out)


def _encode_headers(headers: Sequence[Header]) -> bytes:
    out = [_varint(len(headers))]
    for name, value in headers:
        raw = name.encode()
        out += (_varint(len(raw)), raw)
        out += (_NULL,) if value is None else (_varint(len(value)), value)
    return b"".join(out)


def _varint(number: int) -> bytes:
    return _VARINTS[number] if number < _CACHED else encode_varlong(number)


def decode_records(
    data: bytes,
    count: int,
    last_offset_delta: int,
    *,
    base_offset: int = 0,
    base_timestamp: int = 0,
    log_append_ms: int | None = None,
) -> list[Record]:
    """
    Decode the records section of a batch, already decompressed.

    The offset deltas rise and none is over C{last_offset_delta}; they have gaps in a compacted log.

    @param count: how many records there are; they fill C{data} exactly.
    @param log_append_ms: the timestamp of all records, where the batch is of type LogAppendTime.
    @raise WireError: anything is not so, or a record is damaged.
    """
    size = len(data)
    if not 0 <= count * _LEAST_RECORD <= size:
        raise WireError(f"{count} records in {size} bytes")
    if base_offset + last_offset_delta > _INT64_MAX:
        raise WireError("offsets of a record batch do not fit 64 bits")
    records: list[Record] = []
    add, make, varint = records.append, tuple.__new__, _zigzag
    previous, at = -1, 0
    timestamps_fit = 0 <= base_timestamp < 1 << 62
    try:
        for _ in range(count):
            # Numbers of one byte, and lengths of two, are read in place; a call per number would cost more than
            # all the rest. They are zig-zag encoded: odd ones are negative, and only -1 (as 1) is lawful: null.
            n = data[at]
            if n < 128:
                at += 1
            elif (c := data[at + 1]) < 128:
                n += (c - 1) << 7
                at += 2
            else:
                n, at = varint(data, at)
            end = at + at + n  # twice the record's end, so that a negative (odd) length is never met
            at += 1  # the record's attributes, which have no meaning yet
            n = data[at]
            if n < 128:
                at += 1
            elif (c := data[at + 1]) < 128:
                n += (c - 1) << 7
                at += 2
            else:
                n, at = varint(data, at)
                timestamps_fit = timestamps_fit and n < 1 << 62
            timestamp = base_timestamp + (~(n >> 1) if n & 1 else n >> 1)
            n = data[at]
            if n < 128:
                at += 1
            elif (c := data[at + 1]) < 128:
                n += (c - 1) << 7
                at += 2
            else:
                n, at = varint(data, at)
            delta = n >> 1
            if n & 1 or not previous < delta <= last_offset_delta:
                raise WireError("the offsets of a record batch are not in order")
            previous = delta
            n = data[at]
            if n < 128:
                at += 1
            elif (c := data[at + 1]) < 128:
                n += (c - 1) << 7
                at += 2
            else:
                n, at = varint(data, at)
            key: bytes | None
            if n & 1:
                if n != 1:
                    raise WireError("a record's key has a negative length")
                key = None
            else:
                n >>= 1
                key = data[at : at + n]
                at += n
            n = data[at]
            if n < 128:
                at += 1
            elif (c := data[at + 1]) < 128:
                n += (c - 1) << 7
                at += 2
            else:
                n, at = varint(data, at)
            value: bytes | None
            if n & 1:
                if n != 1:
                    raise WireError("a record's value has a negative length")
                value = None
            else:
                n >>= 1
                value = data[at : at + n]
                at += n
            headers: tuple[Header, ...]
            if data[at]:
                headers, at = _decode_headers(data, at, end >> 1)
            else:
                headers = ()
                at += 1
            # slices end silently at the end of the data; the record they cut short does not end here
            if at + at != end:
                raise WireError("a record does not fill its length")
            if log_append_ms is not None:
                timestamp = log_append_ms
            add(make(Record, (base_offset + delta, timestamp, key, value, headers)))
    except IndexError:
        raise WireError("the data end inside a record") from None
    if at != size:
        raise WireError(f"{size - at} bytes behind the last record of a batch")
    if not timestamps_fit and any(not _INT64_MIN <= record.timestamp <= _INT64_MAX for record in records):
        raise WireError("a record's timestamp does not fit 64 bits")
    return records


def _zigzag(data: bytes, offset: int) -> tuple[int, int]:
    """The number at C{offset} as it is on the wire, not turned back from zig-zag; and the offset behind it."""
    number, offset = decode_varlong(data, offset)
    raw = number << 1 if number >= 0 else ~number << 1 | 1
    if raw >> 64:
        raise WireError("a variable-length integer does not fit 64 bits")
    return raw, offset


def _decode_headers(data: bytes, at: int, end: int) -> tuple[tuple[Header, ...], int]:
    """The headers whose count is at C{at}, and the offset behind them; the caller checks that."""
    count, at = decode_varlong(data, at)
    if not 0 <= count * _LEAST_HEADER <= end - at:
        raise WireError(f"{count} headers in a record with {end - at} bytes left")
    headers: list[Header] = []
    for _ in range(count):
        size = data[at]
        if size < 128:
            at += 1
        else:
            size, at = _zigzag(data, at)
        if size & 1:
            raise WireError("the name of a record's header is null")
        size >>= 1
        name = data[at : at + size].decode(errors="replace")
        at += size
        size = data[at]
        if size < 128:
            at += 1
        else:
            size, at = _zigzag(data, at)
        if size == 1:
            headers.append((name, None))
            continue
        if size & 1:
            raise WireError("the value of a record's header has a negative length")
        size >>= 1
        headers.append((name, data[at : at + size]))
        at += size
    return tuple(headers), at
