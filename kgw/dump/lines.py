"""Batches, records and index entries as lines of text, in the form of Kafka's own kafka-dump-log.sh."""

from __future__ import annotations

from collections.abc import Iterator

from kgw.dump.segment_file import Found, Gap
from kgw.errors import WireError
from kgw.wire.compression import CompressionType
from kgw.wire.record import Record
from kgw.wire.records import BatchHeader

#: The most bytes that the records of one batch may have, decompressed, to be shown.
_MOST_RECORDS = 256 << 20
_MAX_SEQUENCE = (1 << 31) - 1


def batch_line(found: Found) -> str:
    """One batch."""
    header = found.header
    codec = CompressionType(header.compression).text
    valid = "unknown" if found.valid is None else _truth(found.valid)
    horizon = str(header.base_timestamp) if header.has_delete_horizon else "none"
    return (
        f"baseOffset: {header.base_offset} lastOffset: {header.last_offset} count: {header.count}"
        f" baseSequence: {header.base_sequence} lastSequence: {_sequence(header, header.last_offset_delta)}"
        f" producerId: {header.producer_id} producerEpoch: {header.producer_epoch}"
        f" partitionLeaderEpoch: {header.leader_epoch}"
        f" isTransactional: {_truth(header.is_transactional)} isControl: {_truth(header.is_control)}"
        f" deleteHorizonMs: {horizon} position: {found.position}"
        f" {_time_type(header)}: {header.max_timestamp} size: {header.size} magic: {header.magic}"
        f" compresscodec: {codec} crc: {header.crc} isvalid: {valid}" + (" old: true" if found.old else "")
    )


def gap_line(gap: Gap) -> str:
    """Bytes that are no batch."""
    size = gap.end - gap.position
    if gap.zeros:
        return f"space: {size} bytes of zeros at position: {gap.position}, allocated ahead"
    return f"damaged: {size} bytes at position: {gap.position} are no batch: {gap.reason}"


def record_lines(found: Found) -> Iterator[str]:
    """
    The records of a batch.

    @raise WireError: they cannot be decoded.
    """
    if found.whole is None:
        raise WireError(f"a batch of {found.header.size} bytes is too large to be shown")
    for record in found.whole.records(_MOST_RECORDS):
        yield _record_line(found.header, record)


def _record_line(header: BatchHeader, record: Record) -> str:
    names = ",".join(name for name, _ in record.headers)
    sequence = _sequence(header, record.offset - header.base_offset)
    return (
        f"| offset: {record.offset} {_time_type(header)}: {record.timestamp}"
        f" keySize: {_size(record.key)} valueSize: {_size(record.value)} sequence: {sequence}"
        f" headerKeys: [{names}]"
        + (f" key: {_text(record.key)}" if record.key is not None else "")
        + (f" payload: {_text(record.value)}" if record.value is not None else "")
    )


def _sequence(header: BatchHeader, delta: int) -> int:
    return -1 if header.base_sequence < 0 else (header.base_sequence + delta) & _MAX_SEQUENCE


def _time_type(header: BatchHeader) -> str:
    return "LogAppendTime" if header.is_log_append_time else "CreateTime"


def _truth(value: bool) -> str:
    return "true" if value else "false"


def _size(data: bytes | None) -> int:
    return -1 if data is None else len(data)


def _text(data: bytes) -> str:
    """Bytes as text on one line, what is no text escaped."""
    text = data.decode("utf-8", "backslashreplace")
    return text if text.isprintable() else text.encode("unicode_escape").decode("ascii")
