"""Record batches of format v2 (KIP-98): parsed and patched without touching the records, iterated, built."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from kgw.errors import WireError
from kgw.wire.compression import compress, decompress
from kgw.wire.crc32c import crc32c
from kgw.wire.record import Header, NewRecord, Record, decode_records, encode_records

__all__ = [
    "BatchHeader",
    "Header",
    "NewRecord",
    "Record",
    "RecordBatch",
    "WrongMagic",
    "build_batch",
    "decode_records",
    "empty_batch",
    "encode_records",
    "peek",
    "scan",
    "wrap_records",
]

#: The only format there is since Kafka 4.0.
MAGIC = 2
#: Bytes of a batch in front of its records.
HEADER_SIZE = 61
#: Bytes in front of what the length field counts: base offset and length.
LOG_OVERHEAD = 12
#: Where the part begins that the CRC covers: everything behind the CRC itself.
CRC_END = 21
#: The records section, as an offset into the tail.
_RECORDS = HEADER_SIZE - CRC_END
_MAGIC_AT = 16

_HEADER = struct.Struct(">qiibIhiqqqhii")
_HEAD = struct.Struct(">qiibI")
_TAIL = struct.Struct(">hiqqqhii")
_ATTRIBUTES = struct.Struct(">h")
#: Attributes, last offset delta, base and max timestamp.
_TIMES = struct.Struct(">hiqq")

COMPRESSION_MASK = 0x07
LOG_APPEND_TIME = 0x08
TRANSACTIONAL = 0x10
CONTROL = 0x20
DELETE_HORIZON = 0x40


class WrongMagic(WireError):
    """
    The batch has another format than v2: an old client (0 and 1, gone since Kafka 4.0, KIP-724) or garbage.

    @ivar magic: the byte that says which.
    """

    def __init__(self, magic: int) -> None:
        super().__init__(f"a record batch with magic {magic}, not {MAGIC}")
        self.magic = magic


@dataclass(slots=True, eq=False)
class BatchHeader:
    """
    The fields of a batch's header.

    @ivar base_offset: as found.
    @ivar size: of the whole batch in bytes.
    @ivar count: of records.
    """

    base_offset: int
    size: int
    leader_epoch: int
    magic: int
    crc: int
    attributes: int
    last_offset_delta: int
    base_timestamp: int
    max_timestamp: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    count: int

    @property
    def last_offset(self) -> int:
        """The offset of the last record, or of the last one there was before compaction."""
        return self.base_offset + self.last_offset_delta

    @property
    def next_offset(self) -> int:
        """The offset behind the batch."""
        return self.base_offset + self.last_offset_delta + 1

    @property
    def compression(self) -> int:
        """The number of the compression; 5 to 7 name none (L{kgw.wire.compression.CompressionType})."""
        return self.attributes & COMPRESSION_MASK

    @property
    def is_log_append_time(self) -> bool:
        """Whether all records have the max timestamp, which the broker set (KIP-32)."""
        return self.attributes & LOG_APPEND_TIME != 0

    @property
    def is_transactional(self) -> bool:
        """Whether the batch belongs to a transaction (KIP-98)."""
        return self.attributes & TRANSACTIONAL != 0

    @property
    def is_control(self) -> bool:
        """Whether the records are the broker's own markers, hidden from applications (KIP-98)."""
        return self.attributes & CONTROL != 0

    @property
    def has_delete_horizon(self) -> bool:
        """Whether the base timestamp says when compaction may drop the tombstones (KIP-534)."""
        return self.attributes & DELETE_HORIZON != 0


def peek(data: bytes | memoryview, offset: int = 0) -> BatchHeader:
    """
    Read the header of the batch at C{offset}; the records need not be there, and are not looked at.

    @raise WrongMagic: the batch is not v2.
    @raise WireError: less than a header is there, or the length is less than a header.
    """
    try:
        base_offset, length, *rest = _HEADER.unpack_from(data, offset)
    except struct.error:
        raise _no_header(data, offset) from None
    if rest[1] != MAGIC:
        raise WrongMagic(rest[1])
    if length < HEADER_SIZE - LOG_OVERHEAD:
        raise _bad_length(length)
    return BatchHeader(base_offset, length + LOG_OVERHEAD, *rest)


def scan(data: bytes | memoryview, offset: int = 0, end: int | None = None) -> Iterator[tuple[int, BatchHeader]]:
    """
    Walk over whole batches that follow one another, by their headers only.

    Ends where the last whole batch ends: what is left there is less than a header or less than its batch.

    @param end: where to stop; the end of the data by default.
    @return: pairs of the place in C{data} and the header of the batch there.
    @raise WireError: what begins at the end of a batch is no batch (L{WrongMagic}, or a bad length).
    """
    end = len(data) if end is None else end
    while end - offset >= HEADER_SIZE:
        header = peek(data, offset)
        if header.size > end - offset:
            return
        yield offset, header
        offset += header.size


def _no_header(data: bytes | memoryview, offset: int) -> WireError:
    left = max(0, len(data) - offset)
    if left > _MAGIC_AT:
        # messages of the old formats may be shorter than a v2 header; their magic is at the same place
        (magic,) = struct.unpack_from(">b", data, offset + _MAGIC_AT)
        if magic != MAGIC:
            return WrongMagic(magic)
    return WireError(f"{left} bytes hold no record batch")


def _bad_length(length: int) -> WireError:
    return WireError(f"a record batch of length {length}, less than its header")


@dataclass(slots=True, eq=False, repr=False)
class RecordBatch(BatchHeader):
    """
    One batch: its header as fields, and its bytes behind the CRC as they came.

    @ivar tail: bytes 21 to the end, the part that C{crc} covers; a copy of its own, so that keeping it does not
        keep the frame it came in.
    """

    tail: bytes

    @classmethod
    def parse(cls, data: bytes | memoryview, offset: int = 0) -> RecordBatch:
        """
        Read the batch at C{offset}; more may follow it. Neither the CRC nor the records are checked.

        @raise WrongMagic: the batch is not v2.
        @raise WireError: the data end inside the batch, or its length is less than a header.
        """
        batch = cls.__new__(cls)  # the fields go straight from the header to their slots
        try:
            (
                batch.base_offset,
                length,
                batch.leader_epoch,
                batch.magic,
                batch.crc,
                batch.attributes,
                batch.last_offset_delta,
                batch.base_timestamp,
                batch.max_timestamp,
                batch.producer_id,
                batch.producer_epoch,
                batch.base_sequence,
                batch.count,
            ) = _HEADER.unpack_from(data, offset)
        except struct.error:
            raise _no_header(data, offset) from None
        if batch.magic != 2:
            raise WrongMagic(batch.magic)
        if length < 49:
            raise _bad_length(length)
        size = batch.size = length + 12
        # of bytes the slice is the copy, of a view bytes() is
        tail = batch.tail = bytes(data[offset + 21 : offset + size])
        if len(tail) != size - 21:
            raise WireError(f"a record batch of {size} bytes, {len(data) - offset} are there")
        return batch

    def __repr__(self) -> str:
        return (
            f"<RecordBatch {self.base_offset}..{self.last_offset} count={self.count} size={self.size} "
            f"attributes={self.attributes:#x} producer={self.producer_id}/{self.producer_epoch}/{self.base_sequence}>"
        )

    def crc_valid(self) -> bool:
        """Whether the bytes are those that the producer summed up."""
        return crc32c(self.tail) == self.crc

    def header(self, base_offset: int, leader_epoch: int) -> bytes:
        """The first 21 bytes, with another offset and epoch; the CRC does not cover those."""
        return _HEAD.pack(base_offset, self.size - LOG_OVERHEAD, leader_epoch, MAGIC, self.crc)

    def buffers(self, base_offset: int, leader_epoch: int) -> list[bytes]:
        """The whole batch with that offset and epoch, in two pieces; the second is C{tail} itself."""
        return [self.header(base_offset, leader_epoch), self.tail]

    def records(self, limit: int) -> list[Record]:
        """
        All records, decompressed and decoded.

        @param limit: the most bytes that the records may have, decompressed.
        @raise WireError: they are damaged, not as many as the header says, or larger than C{limit}.
        """
        return decode_records(
            decompress(self.attributes & COMPRESSION_MASK, memoryview(self.tail)[_RECORDS:], limit),
            self.count,
            self.last_offset_delta,
            base_offset=self.base_offset,
            base_timestamp=self.base_timestamp,
            log_append_ms=self.max_timestamp if self.is_log_append_time else None,
        )

    def plain_records(self, limit: int) -> bytes:
        """
        The bytes of the records, decompressed.

        @param limit: the most bytes that the records may have, decompressed.
        @raise WireError: they cannot be decompressed, or are larger than C{limit}.
        """
        return decompress(self.attributes & COMPRESSION_MASK, memoryview(self.tail)[_RECORDS:], limit)

    def with_timestamp_type(self, log_append_ms: int) -> RecordBatch:
        """
        The same batch as of type LogAppendTime (KIP-32): marked so, and with that max timestamp.

        The base timestamp and the records stay as they are; readers take the max timestamp for all of them.
        """
        attributes = self.attributes | LOG_APPEND_TIME
        start = _TIMES.pack(attributes, self.last_offset_delta, self.base_timestamp, log_append_ms)
        return self._with_tail(start + self.tail[_TIMES.size :])

    def recompressed(self, codec: int, level: int | None, limit: int) -> RecordBatch:
        """
        The same batch with its records compressed otherwise (C{compression.type} of the topic).

        @param codec: one of L{kgw.wire.compression.CompressionType}.
        @param level: of that compression; C{None} for Kafka's default.
        @param limit: the most bytes that the records may have, decompressed.
        @raise WireError: the records can't be decompressed.
        """
        plain = decompress(self.attributes & COMPRESSION_MASK, memoryview(self.tail)[_RECORDS:], limit)
        attributes = _ATTRIBUTES.pack(self.attributes & ~COMPRESSION_MASK | codec)
        return self._with_tail(attributes + self.tail[_ATTRIBUTES.size : _RECORDS] + compress(codec, plain, level))

    def with_records(
        self, records: bytes, count: int, *, base_timestamp: int, max_timestamp: int, delete_horizon: bool
    ) -> RecordBatch:
        """
        What compaction leaves of the batch: its offsets, producer and compression stay, its records are fewer.

        @param records: as many as C{count}, not compressed; their offset deltas count from the base offset that stays.
        @param base_timestamp: from which the records' timestamps count, and as of when tombstones may go where
            C{delete_horizon} is set (KIP-534).
        """
        codec = self.attributes & COMPRESSION_MASK if count else 0
        attributes = self.attributes & ~COMPRESSION_MASK & ~DELETE_HORIZON | codec
        tail = _TAIL.pack(
            attributes | (DELETE_HORIZON if delete_horizon else 0),
            self.last_offset_delta,
            base_timestamp,
            max_timestamp,
            self.producer_id,
            self.producer_epoch,
            self.base_sequence,
            count,
        )
        return self._with_tail(tail + (compress(codec, records) if count else b""))

    def _with_tail(self, tail: bytes) -> RecordBatch:
        fields = (*_TAIL.unpack_from(tail), tail)
        return RecordBatch(self.base_offset, CRC_END + len(tail), self.leader_epoch, MAGIC, crc32c(tail), *fields)


def build_batch(
    records: Iterable[tuple[bytes | None, bytes | None, Sequence[Header], int]],
    *,
    compression: int = 0,
    level: int | None = None,
    base_offset: int = 0,
    leader_epoch: int = -1,
    producer_id: int = -1,
    producer_epoch: int = -1,
    base_sequence: int = -1,
    transactional: bool = False,
    control: bool = False,
) -> bytes:
    """
    Build a batch as a producer does: offsets from C{base_offset} on, timestamps relative to the first one.

    @param records: L{NewRecord}s, or plain tuples of the same order; one at least.
    @param level: of the compression; C{None} for Kafka's default.
    @raise ValueError: there is no record, or no such compression.
    """
    records = records if isinstance(records, list) else list(records)
    if not records:
        raise ValueError("a record batch holds one record at least")
    base_timestamp = records[0][3]
    body = compress(compression, encode_records(records, base_timestamp), level)
    tail = _TAIL.pack(
        compression | (TRANSACTIONAL if transactional else 0) | (CONTROL if control else 0),
        len(records) - 1,
        base_timestamp,
        max([record[3] for record in records]),
        producer_id,
        producer_epoch,
        base_sequence,
        len(records),
    )
    tail += body
    return _HEAD.pack(base_offset, len(tail) + CRC_END - LOG_OVERHEAD, leader_epoch, MAGIC, crc32c(tail)) + tail


def empty_batch(base_offset: int, last_offset: int, leader_epoch: int) -> bytes:
    """A batch without records, as compaction leaves it: it only says that these offsets are over."""
    tail = _TAIL.pack(0, last_offset - base_offset, -1, -1, -1, -1, -1, 0)
    return _HEAD.pack(base_offset, HEADER_SIZE - LOG_OVERHEAD, leader_epoch, MAGIC, crc32c(tail)) + tail


def wrap_records(
    records: bytes,
    count: int,
    *,
    base_offset: int,
    leader_epoch: int,
    base_timestamp: int,
    max_timestamp: int,
    log_append_time: bool = False,
) -> bytes:
    """
    Make a batch, without a producer, of records that are encoded already and not compressed.

    @param records: their offset deltas are 0, 1, 2 ..., their timestamp deltas count from C{base_timestamp}.
    @param log_append_time: all records have the max timestamp, set by the broker (KIP-32).
    """
    attributes = LOG_APPEND_TIME if log_append_time else 0
    tail = _TAIL.pack(attributes, count - 1, base_timestamp, max_timestamp, -1, -1, -1, count) + records
    return _HEAD.pack(base_offset, len(tail) + CRC_END - LOG_OVERHEAD, leader_epoch, MAGIC, crc32c(tail)) + tail
