"""Which records a log holds at a time, and which of its segments are due to go."""

from __future__ import annotations

import os
from collections.abc import Sequence

from kgw.engine.local.index import last_time
from kgw.engine.local.segment import TIME_INDEX, Segment
from kgw.errors import ErrorCode, KafkaError, WireError
from kgw.model import NO_OFFSET, LogConfig, TimestampOffset
from kgw.wire.records import BatchHeader, Record, RecordBatch

#: The most bytes that one batch may have when its records are decompressed to look at their timestamps.
_DECODE_LIMIT = 256 << 20


def expired(segments: Sequence[Segment], config: LogConfig, now_ms: int) -> int:
    """
    How many segments, from the first on, C{retention.ms} and C{retention.bytes} no longer keep.

    As in Kafka (C{UnifiedLog.deleteOldSegments}) a segment goes as a whole, by its largest timestamp, or when
    what is left without it is still C{retention.bytes} or more. All of them may be due, the active one too; an
    empty active one never is.
    """
    if "delete" not in config.cleanup_policy:
        return 0
    count = 0
    candidates = len(segments) if segments[-1].position else len(segments) - 1
    if config.retention_ms >= 0:
        while count < candidates and now_ms - segments[count].largest_timestamp_ms() > config.retention_ms:
            count += 1
    if config.retention_bytes >= 0:
        excess = sum(segment.position for segment in segments[count:]) - config.retention_bytes
        while count < candidates and excess >= segments[count].position:
            excess -= segments[count].position
            count += 1
    return count


def ageless(segments: Sequence[Segment], config: LogConfig) -> list[Segment]:
    """The sealed segments that L{find_ages} should look at before L{expired} does."""
    if "delete" not in config.cleanup_policy or config.retention_ms < 0:
        return []
    return [segment for segment in segments if segment.sealed and segment.max_timestamp < 0]


def find_ages(views: Sequence[Segment]) -> None:
    """Have the largest timestamps of segments in memory, by what their time indexes end with; blocks."""
    for view in views:
        try:
            found = last_time(view.stem + TIME_INDEX)
        except OSError:
            # Whoever needs it looks again.
            continue
        if found is not None and found[0] >= 0:
            view.max_timestamp, view.max_timestamp_offset = found[0], view.base_offset + found[1]


def first_at(segments: Sequence[Segment], timestamp: int, start_offset: int) -> TimestampOffset:
    """
    The first record at or behind C{timestamp} with an offset of C{start_offset} or more.

    @raise KafkaError: C{CORRUPT_MESSAGE} where the batch cannot be decoded.
    """
    for segment in segments:
        if not segment.position or segment.largest_timestamp_ms() < timestamp:
            continue
        begin = segment.base_offset + segment.times().before(timestamp)
        for position, header in segment.headers(max(begin, start_offset)):
            if header.max_timestamp >= timestamp:
                for record in _records(segment, position, header):
                    if record.timestamp >= timestamp and record.offset >= start_offset:
                        return TimestampOffset(record.timestamp, record.offset, header.leader_epoch)
    return NO_OFFSET


def newest(segments: Sequence[Segment], start_offset: int) -> TimestampOffset:
    """
    The first of the records that have the largest timestamp (KIP-734).

    @raise KafkaError: C{CORRUPT_MESSAGE} where the batch cannot be decoded.
    """
    best: tuple[int, Segment, int] | None = None
    for segment in segments:
        if not segment.position:
            continue
        segment.largest_timestamp_ms()
        largest, offset = segment.max_timestamp, segment.max_timestamp_offset
        if offset < start_offset:
            # The newest one was trimmed away; only a walk tells which is now.
            largest, offset = -1, -1
            for _, header in segment.headers(start_offset):
                if header.max_timestamp > largest:
                    largest, offset = header.max_timestamp, header.last_offset
        if largest >= 0 and (best is None or largest > best[0]):
            best = (largest, segment, offset)
    if best is None:
        return NO_OFFSET
    for position, header in best[1].headers(best[2]):
        records = [record for record in _records(best[1], position, header) if record.offset >= start_offset]
        if records:
            record = max(records, key=lambda record: record.timestamp)
            return TimestampOffset(record.timestamp, record.offset, header.leader_epoch)
    return NO_OFFSET


def _records(segment: Segment, position: int, header: BatchHeader) -> list[Record]:
    try:
        batch = RecordBatch.parse(os.pread(segment.descriptor(), header.size, position))
        return batch.records(_DECODE_LIMIT)
    except WireError as error:
        raise KafkaError(ErrorCode.CORRUPT_MESSAGE, f"the batch at offset {header.base_offset}: {error}") from None
