"""What compaction makes of one batch: itself, less of it, an empty one, or nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kgw.engine.local.key_map import KeyMap
from kgw.engine.local.pace import Pace
from kgw.errors import WireError
from kgw.wire.compression import CompressionType
from kgw.wire.primitives import decode_varlong, encode_varlong
from kgw.wire.records import BatchHeader, RecordBatch

#: The most bytes that a batch's records may have when they are decompressed.
DECODE_LIMIT = 256 << 20


@dataclass(frozen=True, slots=True)
class Rules:
    """
    By what records go.

    @ivar now_ms: the time of the whole run.
    @ivar delete_retention_ms: how long tombstones stay once they are in a clean part (C{delete.retention.ms}).
    @ivar last_offsets: the last offset of each producer's newest batch; that batch stays.
    """

    now_ms: int
    delete_retention_ms: int
    last_offsets: Mapping[int, int]


def _is_opaque(header: BatchHeader) -> bool:
    """Whether a batch is kept as it is, unread: what belongs to transactions, and what nobody can decompress."""
    return header.is_control or header.is_transactional or header.compression > CompressionType.ZSTD


def _readable(header: BatchHeader, data: bytes, at: int) -> tuple[RecordBatch, bytes] | None:
    """A batch and its records, decompressed; C{None} where they are damaged."""
    try:
        batch = RecordBatch.parse(data, at)
        return (batch, batch.plain_records(DECODE_LIMIT)) if batch.crc_valid() else None
    except WireError:
        return None


def add_keys(keys: KeyMap, header: BatchHeader, data: bytes, at: int, pace: Pace) -> None:
    """Take note of the keys in the batch at C{at}, as far as it can be read."""
    found = None if _is_opaque(header) or not header.count else _readable(header, data, at)
    if found is None:
        return
    try:
        for _ in keys.add(found[1], header.count, header.base_offset):
            pace.step()
    except WireError:
        # The batch stays as it is, so that what the map has of it by now is there.
        return


def rewritten(header: BatchHeader, data: bytes, at: int, keys: KeyMap, rules: Rules, pace: Pace) -> bytes | None:
    """
    What stays of the batch at C{at}: nothing where it goes, C{None} where it stays as it is.

    A damaged batch stays, so that who reads it is told; a new checksum would hide the damage.

    Kafka: C{Cleaner.cleanInto} and C{MemoryRecords.filterTo}.
    """
    if _is_opaque(header) or header.base_offset >= keys.end_offset:
        return None
    is_last = header.producer_id >= 0 and rules.last_offsets.get(header.producer_id) == header.last_offset
    if not header.count:
        return None if is_last else b""
    found = _readable(header, data, at)
    if found is None:
        return None
    batch, plain = found
    tombstones = not header.has_delete_horizon or rules.now_ms < header.base_timestamp
    kept: list[tuple[int, int]] = []
    is_doomed = False
    try:
        for survivor in keys.survivors(plain, header.count, header.base_offset, tombstones):
            if survivor is None:
                pace.step()
                continue
            kept.append(survivor[:2])
            is_doomed = is_doomed or survivor[2]
    except WireError:
        return None
    starts_horizon = is_doomed and not header.has_delete_horizon
    if len(kept) == header.count and not starts_horizon:
        return None
    if not kept:
        return _emptied(batch) if is_last else b""
    horizon = rules.now_ms + rules.delete_retention_ms if starts_horizon else None
    return _with(batch, plain, kept, horizon, pace)


def _emptied(batch: RecordBatch) -> bytes:
    # Without a timestamp: ListOffsets by time looks for records only where a batch has one.
    left = batch.with_records(b"", 0, base_timestamp=-1, max_timestamp=-1, delete_horizon=False)
    return left.header(left.base_offset, left.leader_epoch) + left.tail


def _with(batch: RecordBatch, plain: bytes, kept: list[tuple[int, int]], horizon: int | None, pace: Pace) -> bytes:
    """
    The batch with some of its records.

    @param horizon: the base timestamp from now on; C{None} where it stays.
    """
    base, newest = batch.base_timestamp, -1
    records: list[bytes] = []
    for number, (start, end) in enumerate(kept):
        _, attributes = decode_varlong(plain, start)
        delta, rest = decode_varlong(plain, attributes + 1)
        timestamp = base + delta
        newest = max(newest, timestamp)
        if horizon is None:
            records.append(plain[start:end])
        else:
            body = plain[attributes : attributes + 1] + encode_varlong(timestamp - horizon) + plain[rest:end]
            records += (encode_varlong(len(body)), body)
        if not number % 64:
            pace.step()
    left = batch.with_records(
        b"".join(records),
        len(kept),
        base_timestamp=base if horizon is None else horizon,
        max_timestamp=batch.max_timestamp if batch.is_log_append_time else newest,
        delete_horizon=horizon is not None or batch.has_delete_horizon,
    )
    return left.header(left.base_offset, left.leader_epoch) + left.tail
