"""Pieces of log files turned into Kafka batches, or looked through for times; run in the bridge's threads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from kgw.engine.seaweed.history_cache import Section
from kgw.engine.seaweed.incoming import StoredRecord, build_batches, decode_entry
from kgw.engine.seaweed.log_file import LogEntry, LogSpan, parse_log
from kgw.errors import KafkaError

#: So many entries are parsed at a time: more would only go through more memory.
_ENTRIES = 256
#: Where a Kafka batch has its max timestamp.
_MAX_TIMESTAMP = slice(35, 43)


class Decoded(NamedTuple):
    """
    What some pieces hold.

    @ivar section: C{None} where there is no whole entry.
    @ivar spans: of each piece, as far as it was read.
    @ivar newest: the largest timestamp, C{None} where it is not known or there is more than one piece.
    """

    section: Section | None
    spans: list[LogSpan]
    newest: int | None


class Timed(NamedTuple):
    """
    What a piece says about times.

    @ivar span: all of the piece.
    @ivar found: the timestamp and offset of the first record that was looked for.
    @ivar newest: the largest timestamp of the piece.
    """

    span: LogSpan
    found: tuple[int, int] | None
    newest: int | None


class Entries(NamedTuple):
    """The whole entries of a piece, and what they span."""

    span: LogSpan
    entries: list[LogEntry]


def decode(pieces: list[bytes], leader_epoch: int) -> Decoded:
    """
    Turn pieces that follow each other into one section.

    It ends before what is damaged. Where an unclean stop let offsets be given twice, the records that come first in the
    files are taken.

    @raise KafkaError: C{CORRUPT_MESSAGE}, where there is nothing before it.
    """
    spans = [LogSpan(-1, -1, -1, 0, 0)] * len(pieces)
    found = build_batches(_entries_of(pieces, spans), leader_epoch=leader_epoch)
    if not found.batches:
        return Decoded(None, spans, None)
    newest = None
    if len(pieces) == 1 and found.damage is None:
        newest = max([int.from_bytes(batch[_MAX_TIMESTAMP], "big", signed=True) for batch in found.batches])
    return Decoded(Section.of(found.batches, found.next_offset, leader_epoch), spans, newest)


def _entries_of(pieces: list[bytes], spans: list[LogSpan]) -> Iterator[list[LogEntry]]:
    """The entries of all pieces, a few at a time; C{spans} say what was given of each."""
    for number, piece in enumerate(pieces):
        at, most = 0, _ENTRIES
        first = last = -1
        count = 0
        while True:
            try:
                entries, at = parse_log(piece, at, most)
            except KafkaError:
                if most == 1:
                    raise
                most = 1  # as far as it is sound
                continue
            if not entries:
                break
            if first < 0:
                first = entries[0].offset
            last = max(last, entries[-1].offset)
            count += len(entries)
            spans[number] = LogSpan(first, last, -1, count, at)
            yield entries


def look_for_time(piece: bytes, timestamp: int, from_offset: int) -> Timed:
    """
    Find the first record at or behind C{from_offset} whose timestamp is C{timestamp} or later.

    @raise KafkaError: C{CORRUPT_MESSAGE}.
    """
    entries, consumed = parse_log(piece)
    decoded = [decode_entry(entry) for entry in entries]
    newest = _newest(decoded)
    found = None
    if newest is not None and newest[0] >= timestamp:
        for record in decoded:
            if record.timestamp >= timestamp and record.offset >= from_offset:
                found = (record.timestamp, record.offset)
                break
    return Timed(span_of(entries, consumed), found, newest and newest[0])


def look_for_newest(piece: bytes, from_offset: int) -> Timed:
    """
    Find the first of the records with the largest timestamp, at or behind C{from_offset}.

    @raise KafkaError: C{CORRUPT_MESSAGE}.
    """
    entries, consumed = parse_log(piece)
    decoded = [decode_entry(entry) for entry in entries]
    behind = [record for record in decoded if record.offset >= from_offset]
    newest = _newest(decoded)
    return Timed(span_of(entries, consumed), _newest(behind), newest and newest[0])


def read_entries(piece: bytes) -> Entries:
    """
    All whole entries of a piece.

    @raise KafkaError: C{CORRUPT_MESSAGE}.
    """
    entries, consumed = parse_log(piece)
    return Entries(span_of(entries, consumed), entries)


def span_of(entries: list[LogEntry], consumed: int) -> LogSpan:
    """What L{kgw.engine.seaweed.log_file.count_log} says, of entries that were read."""
    if not entries:
        return LogSpan(-1, -1, -1, 0, consumed)
    first, last = entries[0], entries[-1]
    if last.offset - first.offset + 1 == len(entries):
        return LogSpan(first.offset, last.offset, max(first.ts_ns, last.ts_ns), len(entries), consumed)
    offsets = [entry.offset for entry in entries]
    return LogSpan(min(offsets), max(offsets), max([entry.ts_ns for entry in entries]), len(entries), consumed)


def _newest(records: list[StoredRecord]) -> tuple[int, int] | None:
    """The largest timestamp and its first offset."""
    if not records:
        return None
    timestamp = max([record.timestamp for record in records])
    return next((timestamp, record.offset) for record in records if record.timestamp == timestamp)
