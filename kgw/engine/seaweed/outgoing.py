"""From a Kafka batch to what is written to the engine: a gRPC message for each record, decoded and encoded at once."""

from __future__ import annotations

from dataclasses import dataclass

from kgw.engine.seaweed.envelope import (
    LOG_APPEND_TIME,
    MARK,
    MARK_BYTE,
    NO_HEADERS,
    NULL_KEY,
    STAND_IN,
    STAND_IN_KEY,
    VARINTS,
    BatchFacts,
    DamagedRecord,
    read_varint,
    seal,
    skip_headers,
    varint,
)
from kgw.errors import ErrorCode, KafkaError, WireError
from kgw.interfaces import Columns
from kgw.wire.records import CRC_END, HEADER_SIZE, RecordBatch

#: What a batch may hold before a producer is told to send smaller ones: each record becomes a message of its own.
MAX_RECORDS = 1 << 20
MAX_RECORDS_BYTES = 128 << 20
#: A record's time is told by the engine's own where it is no older than this, and no further ahead.
RAW_BEHIND_MS = 10_000
RAW_AHEAD_MS = 100

_NS_PER_MS = 1_000_000
_INT64 = 1 << 63
#: Where a batch's records begin in its tail.
_RECORDS_AT = HEADER_SIZE - CRC_END
#: A record's least size.
_LEAST_RECORD = 7
#: The tag of a message's time and the lowest seven bits of it; and such bits where others are in front of them.
_TIME = [b"\x18" + bytes((bits | 0x80,)) for bits in range(128)]
_MORE = [bytes((bits | 0x80,)) for bits in range(128)]


class Stamps:
    """
    The times that the messages of one partition are given; the engine wants each to be later than the one before.

    @ivar last_ts_ns: the last one given, in ns since the epoch; to be set from the log when a partition is taken up.
    """

    __slots__ = ("last_ts_ns",)

    def __init__(self, last_ts_ns: int = 0) -> None:
        self.last_ts_ns = last_ts_ns


@dataclass(frozen=True, slots=True)
class Outgoing:
    """
    The messages of a batch.

    @ivar data: C{PublishMessageRequest}s, each with its length in front as gRPC wants it.
    @ivar count: how many.
    @ivar sealed: how many of them carry an envelope.
    """

    data: bytes
    count: int
    sealed: int


class _Frames(dict[int, bytes]):
    """
    What stands in front of a C{DataMessage}, by its size: gRPC's prefix, and the tag and length of the field it is in.
    """

    def __missing__(self, size: int) -> bytes:
        length = varint(size)
        frame = b"\0" + (1 + len(length) + size).to_bytes(4, "big") + b"\x12" + length
        if size < len(VARINTS):
            self[size] = frame
        return frame


class _Tags(dict[int, bytes]):
    """The tag of a field of bytes and its length, by that."""

    def __init__(self, tag: bytes) -> None:
        super().__init__()
        self._tag = tag

    def __missing__(self, size: int) -> bytes:
        front = self._tag + varint(size)
        if size < len(VARINTS):
            self[size] = front
        return front


_FRAMES = _Frames()
_KEYS = _Tags(b"\x0a")
_VALUES = _Tags(b"\x12")


def encode_batch(
    batch: RecordBatch,
    expected_offset: int,
    stamps: Stamps,
    now_ns: int,
    skip: int = 0,
    limit: int = MAX_RECORDS_BYTES,
    columns: Columns | None = None,
) -> Outgoing:
    """
    Make engine messages of the records of a batch; the CRC is not looked at.

    A record is stored raw, its key and value as they are, where nothing of it is lost so: it has a value with bytes,
    no headers, no empty key, and its CreateTime is that of the message, which is possible where it is about now and
    not before that of the record in front of it. Every other one has an envelope, and so has the first one of an
    idempotent producer's batch, and each that has columns, which stand behind it. Hot: about 1.1 us per raw record of
    100 bytes.

    @param expected_offset: of the first record that is encoded.
    @param stamps: changed unless it fails.
    @param now_ns: the time, in ns since the epoch.
    @param skip: how many records to leave out, which are stored already.
    @param limit: the most bytes that the records may have, decompressed.
    @param columns: of all records, those left out too.
    @raise KafkaError: C{INVALID_RECORD}, the records are damaged, or not what a client may send; C{CORRUPT_MESSAGE},
        they cannot be decompressed; C{MESSAGE_TOO_LARGE}, there are too many.
    """
    facts = _check(batch, skip)
    if columns is not None and len(columns) != batch.count:
        raise ValueError(f"columns of {len(columns)} records with a batch of {batch.count}")
    first_offset = expected_offset - skip - 1
    data, at = _plain(batch, limit)
    size = len(data)
    base_timestamp = batch.base_timestamp
    flags = 0
    common_timestamp = batch.max_timestamp
    log_append = batch.is_log_append_time
    if log_append:
        flags = LOG_APPEND_TIME
    now_ms = now_ns // _NS_PER_MS
    earliest, latest = now_ms - RAW_BEHIND_MS, now_ms + RAW_AHEAD_MS
    frames, keys, values, times, more = _FRAMES, _KEYS, _VALUES, _TIME, _MORE
    out: list[bytes] = []
    stamp = stamps.last_ts_ns
    sealed = index = 0
    # Of times: what is the same for records of the same millisecond, and for stamps of the same 128 ns and 2**21 ns.
    previous = block = upper_block = -1
    timestamp = wanted_ns = last_ns = time_size = 0
    high = upper = b""
    key: bytes | None
    value: bytes | None
    try:
        while index < batch.count:
            # Numbers of one byte, and lengths of two, are read in place, as in kgw.wire.record. They are zig-zag
            # encoded: odd ones are negative, and only -1 (as 1) is lawful: null.
            n = data[at]
            if n < 128:
                at += 1
            elif (c := data[at + 1]) < 128:
                n += (c - 1) << 7
                at += 2
            else:
                n, at = read_varint(data, at, size)
            end = at + at + n  # twice the record's end
            at += 1  # the record's attributes, which have no meaning yet
            n = data[at]
            if n < 128:
                at += 1
            elif (c := data[at + 1]) < 128:
                n += (c - 1) << 7
                at += 2
            else:
                n, at = read_varint(data, at, size)
            if n != previous:
                previous = n
                timestamp = base_timestamp + (~(n >> 1) if n & 1 else n >> 1)
                if not -_INT64 <= timestamp < _INT64:
                    raise DamagedRecord("a timestamp does not fit 64 bits")
                if log_append:
                    timestamp = common_timestamp
                if earliest <= timestamp <= latest:
                    wanted_ns = timestamp * _NS_PER_MS
                    last_ns = -1 if log_append else wanted_ns + (_NS_PER_MS - 1)
                else:
                    wanted_ns, last_ns = now_ns, -1
            n = data[at]
            if n < 128:
                at += 1
            elif (c := data[at + 1]) < 128:
                n += (c - 1) << 7
                at += 2
            else:
                n, at = read_varint(data, at, size)
            if n != index + index:
                raise DamagedRecord("offsets are not 0, 1, 2 ...")
            n = data[at]
            if n < 128:
                at += 1
            elif (c := data[at + 1]) < 128:
                n += (c - 1) << 7
                at += 2
            else:
                n, at = read_varint(data, at, size)
            if n & 1:
                if n != 1:
                    raise DamagedRecord("a key has a negative length")
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
                n, at = read_varint(data, at, size)
            if n & 1:
                if n != 1:
                    raise DamagedRecord("a value has a negative length")
                value = None
            else:
                n >>= 1
                value = data[at : at + n]
                at += n
            if data[at]:
                start = at
                at = skip_headers(data, at, min(end >> 1, size))
                headers = data[start:at]
            else:
                headers = NO_HEADERS
                at += 1
            # slices end silently at the end of the data; the record they cut short does not end here
            if at + at != end or at > size:
                raise DamagedRecord("a record does not fill its length")
            index += 1
            if index <= skip:
                continue
            stamp += 1
            if stamp < wanted_ns:
                stamp = wanted_ns
            if (
                not value
                or stamp > last_ns
                or headers != NO_HEADERS
                or facts is not None
                or (value[0] == MARK_BYTE and value.startswith(MARK))
                or (key is not None and not key)
                or (columns is not None and columns[index - 1] is not None)
            ):
                kind = flags if key is not None else flags | NULL_KEY
                fields = None if columns is None else columns[index - 1]
                if fields is None:
                    value = seal(kind, timestamp, first_offset + index, value, headers, facts)
                else:
                    if not key:
                        kind |= STAND_IN_KEY
                        key = STAND_IN
                    value = seal(kind, timestamp, first_offset + index, value, headers, facts) + fields
                facts = None
                sealed += 1
            if stamp >> 7 != block:
                block = stamp >> 7
                if block >> 14 != upper_block:
                    upper_block = block >> 14
                    upper = varint(upper_block)
                    time_size = len(upper) + 4
                high = more[block & 127] + more[(block >> 7) & 127] + upper
            front = values[len(value)]
            if key:
                front = keys[len(key)] + key + front
            out += (frames[len(front) + len(value) + time_size], front, value, times[stamp & 127], high)
    except IndexError:
        raise _invalid("the data end inside a record") from None
    except DamagedRecord as error:
        raise _invalid(str(error)) from None
    if at != size:
        raise _invalid(f"{size - at} bytes are behind the last record")
    stamps.last_ts_ns = stamp
    return Outgoing(b"".join(out), index - skip, sealed)


def _check(batch: RecordBatch, skip: int) -> BatchFacts | None:
    count = batch.count
    if not 0 <= skip < max(count, 1):
        raise ValueError(f"{skip} records of {count} cannot be left out")
    if count <= 0 or batch.last_offset_delta != count - 1:
        raise _invalid(f"it counts {count} records, its offsets say {batch.last_offset_delta + 1}")
    if batch.is_control or batch.is_transactional:
        raise _invalid("it belongs to a transaction")
    if count > MAX_RECORDS:
        raise KafkaError(ErrorCode.MESSAGE_TOO_LARGE, f"a batch of {count} records, {MAX_RECORDS} are taken")
    if batch.producer_id < 0:
        return None
    if batch.producer_epoch < 0 or batch.base_sequence < 0:
        raise _invalid("it has a producer id without epoch or sequence")
    return BatchFacts(batch.producer_id, batch.producer_epoch, batch.base_sequence, count, skip)


def _plain(batch: RecordBatch, limit: int) -> tuple[bytes, int]:
    """The records, decompressed, and where they begin."""
    if batch.compression:
        try:
            data, at = batch.plain_records(limit), 0
        except WireError as error:
            raise KafkaError(ErrorCode.CORRUPT_MESSAGE, str(error)) from None
    else:
        data, at = batch.tail, _RECORDS_AT
        if len(data) - at > limit:
            raise KafkaError(ErrorCode.MESSAGE_TOO_LARGE, f"a batch of {len(data)} bytes, {limit} are taken")
    if batch.count * _LEAST_RECORD > len(data) - at:
        raise _invalid(f"{batch.count} records in {len(data) - at} bytes")
    return data, at


def _invalid(reason: str) -> KafkaError:
    return KafkaError(ErrorCode.INVALID_RECORD, f"a batch's records cannot be read: {reason}")
