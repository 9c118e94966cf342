"""From what the engine stored to Kafka's records and batches: raw entries, ours in envelopes, and those of others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from kgw.engine.seaweed.envelope import (
    MARK_BYTE,
    NO_HEADERS,
    VARINTS,
    BatchFacts,
    DamagedRecord,
    beginning,
    header_pairs,
    unseal,
    value_behind,
    varint,
)
from kgw.engine.seaweed.log_file import LogEntry, parse_log
from kgw.errors import ErrorCode, KafkaError
from kgw.wire.records import Header, Record, wrap_records

__all__ = ["BATCH_BYTES", "LogEntry", "StoredRecord", "Stretch", "batches_of", "build_batches", "decode_entry"]

#: A batch that is built ends with the first record that makes it so large.
BATCH_BYTES = 128 << 10
#: So many entries are parsed at a time: more would only go through more memory.
_ENTRIES = 256
_NS_PER_MS = 1_000_000
_INT64 = 1 << 63
#: The lengths of null, and of no bytes.
_NULL, _EMPTY = b"\x01", b"\x00"
_KEY_OF_NULL = "a null key has bytes"


class StoredRecord(NamedTuple):
    """
    One record as it was produced, as far as the engine could keep it.

    @ivar ts_ns: the engine's time of it; C{timestamp} is Kafka's, in ms.
    @ivar headers: the section as in a Kafka record; see L{header_pairs}.
    @ivar facts: of the batch of an idempotent producer, at the first record that it sent.
    @ivar expected_offset: where the gateway that wrote it thought it would be; C{None} in raw entries.
    """

    offset: int
    ts_ns: int
    timestamp: int
    is_log_append_time: bool
    key: bytes | None
    value: bytes | None
    headers: bytes = NO_HEADERS
    facts: BatchFacts | None = None
    expected_offset: int | None = None

    @property
    def header_pairs(self) -> tuple[Header, ...]:
        """The headers in the order sent; names that are not UTF-8 have replacement characters, as in Kafka."""
        return header_pairs(self.headers)

    def record(self) -> Record:
        """As consumers see it."""
        return Record(self.offset, self.timestamp, self.key, self.value, self.header_pairs)


class Stretch(NamedTuple):
    """
    Batches made of consecutive entries.

    @ivar batches: whole Kafka batches in the order of their offsets, not compressed. Where the log has a gap, a batch
        ends before it and another begins behind it.
    @ivar next_offset: behind the last record in them; what was asked for where there is none.
    @ivar consumed: where the last whole entry that was read ends.
    @ivar damage: why nothing more was read, where an entry is damaged: C{CORRUPT_MESSAGE}. Reading from
        C{next_offset} on raises it.
    """

    batches: list[bytes]
    next_offset: int
    consumed: int
    damage: KafkaError | None = None


def decode_entry(entry: LogEntry) -> StoredRecord:
    """
    The record that is stored in an entry.

    Without an envelope, no key and no value are null: nothing tells them from empty ones, and kgw wrote neither so.

    @raise KafkaError: C{CORRUPT_MESSAGE}, its envelope is damaged or a newer kgw's.
    """
    offset, ts_ns, key, value = entry
    try:
        opened = unseal(value)
        if opened is None:
            return StoredRecord(offset, ts_ns, ts_ns // _NS_PER_MS, False, key or None, value or None)
        if opened.stand_in_key:
            key = b""
        elif opened.null_key and key:
            raise DamagedRecord(_KEY_OF_NULL)
    except DamagedRecord as error:
        raise _damaged(offset, error) from None
    return StoredRecord(
        offset,
        ts_ns,
        opened.timestamp,
        opened.log_append_time,
        None if opened.null_key else key,
        opened.value,
        opened.headers,
        opened.facts,
        opened.expected_offset,
    )


def _damaged(offset: int, error: DamagedRecord) -> KafkaError:
    return KafkaError(ErrorCode.CORRUPT_MESSAGE, f"the record at offset {offset} is damaged in the engine: {error}")


def batches_of(
    data: bytes, first_offset: int = 0, *, leader_epoch: int = -1, batch_bytes: int = BATCH_BYTES, start: int = 0
) -> Stretch:
    """
    Make Kafka batches of the bytes of a log file.

    Hot: about 1.4 us per raw record of 100 bytes.

    @param first_offset: entries below are passed over; and so are entries whose offset does not go on from the one
        before, but back (the engine gave offsets twice, after a crash without repair).
    @param batch_bytes: a batch ends with the record that makes it so large.
    @param start: where in C{data} an entry begins.
    @raise KafkaError: C{CORRUPT_MESSAGE}, an entry is damaged and there is nothing to be read before it.
    """
    pieces = _Pieces(data, start)
    stretch = build_batches(pieces, first_offset, leader_epoch=leader_epoch, batch_bytes=batch_bytes)
    return stretch._replace(consumed=pieces.at)


class _Pieces:
    """The entries in some bytes, a few at a time; damage is told behind the last entry before it."""

    def __init__(self, data: bytes, start: int) -> None:
        self._data = data
        self.at = start

    def __iter__(self) -> Iterator[list[LogEntry]]:
        data, most = self._data, _ENTRIES
        while True:
            try:
                entries, self.at = parse_log(data, self.at, most)
            except KafkaError:
                if most == 1:
                    raise
                most = 1
                continue
            if not entries:
                return
            yield entries


def build_batches(
    pieces: Iterable[list[LogEntry]],
    first_offset: int = 0,
    *,
    leader_epoch: int = -1,
    batch_bytes: int = BATCH_BYTES,
) -> Stretch:
    """
    Make Kafka batches of entries; see L{batches_of}.

    Records of different timestamp types do not share a batch, nor do those of LogAppendTime with different times:
    there the batch has them.

    @param pieces: lists of entries that follow one another.
    @return: C{consumed} is 0.
    @raise KafkaError: as L{batches_of}.
    """
    batches: list[bytes] = []
    out: list[bytes] = []
    varints = VARINTS
    index = used = base_timestamp = max_timestamp = base_offset = 0
    log_append = False
    expected, wanted = -1, first_offset
    damage: KafkaError | None = None
    # What differs little from record to record: what one begins with (length excepted), up to the offset; what stands
    # for a key without bytes; the headers. A raw entry that has the next offset and a time within the same millisecond
    # as the raw one before it has the same.
    first_ns, last_ns, head, no_key, headers = 1, 0, b"", _NULL, NO_HEADERS
    # An envelope that begins as the one before it holds a record that does.
    begins = b""
    key: bytes | None
    value: bytes | None
    try:
        for entries in pieces:
            for entry in entries:
                offset, ts_ns, key, value = entry
                if begins and value and value[0] == MARK_BYTE and offset == expected and used < batch_bytes:
                    behind = value_behind(begins, value)
                else:
                    behind = None
                if behind is not None:
                    value = behind
                elif (
                    offset != expected
                    or not first_ns <= ts_ns <= last_ns
                    or not value
                    or value[0] == MARK_BYTE
                    or used >= batch_bytes
                ):
                    if offset < wanted:
                        continue
                    is_raw = True
                    begins = b""
                    if value and value[0] == MARK_BYTE and (opened := unseal(value)) is not None:
                        begins = beginning(opened)
                        timestamp, is_log_append, null_key, value, headers, _, _, stand_in = opened
                        if stand_in:
                            key = b""
                        elif null_key and key:
                            raise DamagedRecord(_KEY_OF_NULL)
                        no_key, is_raw = _NULL if null_key else _EMPTY, False
                    else:
                        timestamp, is_log_append, value, headers = ts_ns // _NS_PER_MS, False, value or None, NO_HEADERS
                        no_key = _NULL
                    delta = timestamp - base_timestamp
                    if (
                        not index
                        or offset != expected
                        or used >= batch_bytes
                        or is_log_append != log_append
                        or (log_append and delta)
                        or not -_INT64 <= delta < _INT64
                    ):
                        if index:
                            batches.append(
                                _closed(
                                    out, index, base_offset, leader_epoch, base_timestamp, max_timestamp, log_append
                                )
                            )
                        out = []
                        index = used = delta = 0
                        base_offset, base_timestamp, max_timestamp = offset, timestamp, timestamp
                        log_append = is_log_append
                    elif timestamp > max_timestamp:
                        max_timestamp = timestamp
                    n = delta << 1 ^ delta >> 63
                    head = b"\0" + (varints[n] if n < 16384 else varint(n))
                    if is_raw:
                        first_ns = timestamp * _NS_PER_MS
                        last_ns = first_ns + (_NS_PER_MS - 1)
                    else:
                        first_ns, last_ns = 1, 0
                n = index + index
                front = head + (varints[n] if n < 16384 else varint(n))
                if key:
                    size = len(key) * 2
                    front += (varints[size] if size < 16384 else varint(size)) + key
                else:
                    front += no_key
                if value is None:
                    front += _NULL
                    n = len(front) + len(headers)
                    out += (varint(n * 2), front, headers)
                else:
                    n = len(value)
                    size = n * 2
                    front += varints[size] if size < 16384 else varint(size)
                    n += len(front) + len(headers)
                    size = n * 2
                    out += (varints[size] if size < 16384 else varint(size), front, value, headers)
                used += n
                index += 1
                expected = wanted = offset + 1
    except KafkaError as error:
        damage = error
    except DamagedRecord as error:
        damage = _damaged(offset, error)
    if damage is not None and not index:
        raise damage
    if index:
        batches.append(_closed(out, index, base_offset, leader_epoch, base_timestamp, max_timestamp, log_append))
    return Stretch(batches, wanted, 0, damage)


def _closed(
    out: list[bytes],
    count: int,
    base_offset: int,
    leader_epoch: int,
    base_timestamp: int,
    max_timestamp: int,
    log_append: bool,
) -> bytes:
    return wrap_records(
        b"".join(out),
        count,
        base_offset=base_offset,
        leader_epoch=leader_epoch,
        base_timestamp=base_timestamp,
        max_timestamp=max_timestamp,
        log_append_time=log_append,
    )
