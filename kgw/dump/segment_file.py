"""A walk over the batches of a segment's file, one after the other, that goes on behind damage where it can."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from kgw.errors import WireError
from kgw.wire.records import HEADER_SIZE, BatchHeader, RecordBatch, peek

#: No batch beyond this is read: its checksum is not looked at, nor its records.
MOST_BATCH = 256 << 20
_CHUNK = 1 << 20
_MAGIC_AT = 16
_MAGIC = b"\x02"
#: Of the codecs that a batch's attributes can name, the last that there is.
_LAST_CODEC = 4
_MOST_OFFSETS = (1 << 31) - 1


@dataclass(frozen=True, slots=True)
class Found:
    """
    A batch.

    @ivar position: where in the file it begins.
    @ivar whole: header and records; C{None} where the batch is too large to be read.
    @ivar valid: whether its checksum is right; C{None} where that was not looked at.
    @ivar old: its offset is below those in front of it, or the file's first: it was left by an older segment.
    """

    position: int
    header: BatchHeader
    whole: RecordBatch | None
    valid: bool | None
    old: bool = False


@dataclass(frozen=True, slots=True)
class Gap:
    """
    Bytes that are no batch.

    @ivar zeros: they are all 0: space that was allocated ahead of the writer.
    @ivar reason: why the first of them are no batch.
    """

    position: int
    end: int
    zeros: bool
    reason: str


class SegmentFile:
    """
    A file of batches, read piece by piece.

    @ivar size: of the file, in bytes.
    """

    def __init__(self, descriptor: int, base_offset: int = 0) -> None:
        """
        @param descriptor: of the open file, which stays the caller's.
        @param base_offset: the first that belongs here.
        """
        self.size = os.fstat(descriptor).st_size
        self._descriptor = descriptor
        self._base_offset = base_offset

    def walk(self) -> Iterator[Found | Gap]:
        """All that is in the file, in order; each byte is in one of what is found."""
        at, next_offset = 0, self._base_offset
        while at < self.size:
            header, reason = self._header(at)
            if header is None:
                gap = self._gap(at, reason)
                yield gap
                at = gap.end
                continue
            found = self._batch(at, header, next_offset)
            yield found
            if found.valid is False and not found.old and self._header(at + header.size)[0] is None:
                # who knows whether its length is right
                after = self._next(at + 1)
                if after < at + header.size:
                    at = after
                    continue
            at += header.size
            if not found.old and found.valid is not False:
                next_offset = max(next_offset, header.next_offset)

    def _batch(self, at: int, header: BatchHeader, next_offset: int) -> Found:
        whole = valid = None
        if header.size <= MOST_BATCH:
            whole = RecordBatch.parse(self._read(at, header.size))
            valid = whole.crc_valid()
        return Found(at, header, whole, valid, header.base_offset < next_offset)

    def _header(self, at: int) -> tuple[BatchHeader | None, str]:
        """What looks like a batch, or why nothing does; at the end of the file, too."""
        try:
            header = peek(self._read(at, HEADER_SIZE))
        except WireError as error:
            return None, str(error)
        if header.size > self.size - at:
            return None, f"a batch of {header.size} bytes, but the file ends after {self.size - at}"
        if not _plausible(header):
            return None, "a header that makes no sense"
        return header, ""

    def _gap(self, at: int, reason: str) -> Gap:
        written = self._first_written(at)
        if written - at >= HEADER_SIZE or written == self.size:
            # a batch whose base offset begins with zeros may follow: those are its own
            end = written if written == self.size else self._next(max(at, written - HEADER_SIZE))
            zeros = min(end, written)
            if zeros > at and (zeros == end or zeros - at >= HEADER_SIZE):
                return Gap(at, zeros, True, "zeros")
        return Gap(at, self._next(at + 1), False, reason)

    def _first_written(self, at: int) -> int:
        """The first byte from C{at} on that is not 0, or the file's end."""
        while at < self.size:
            chunk = self._read(at, _CHUNK)
            kept = len(chunk.lstrip(b"\0"))
            if kept:
                return at + len(chunk) - kept
            at += len(chunk)
        return self.size

    def _next(self, at: int) -> int:
        """Where the next sound batch begins, from C{at} on; the file's end where there is none."""
        while at < self.size:
            chunk = self._read(at, _CHUNK + _MAGIC_AT)
            found = chunk.find(_MAGIC, _MAGIC_AT)
            while found >= 0:
                position = at + found - _MAGIC_AT
                header, _ = self._header(position)
                if header is not None and self._batch(position, header, -1).valid:
                    return position
                found = chunk.find(_MAGIC, found + 1)
            at += _CHUNK
        return self.size

    def _read(self, at: int, size: int) -> bytes:
        data = bytearray()
        while len(data) < size and (more := os.pread(self._descriptor, size - len(data), at + len(data))):
            data += more
        return bytes(data)


def _plausible(header: BatchHeader) -> bool:
    return (
        header.base_offset >= 0
        and 0 <= header.last_offset_delta <= _MOST_OFFSETS
        # compaction leaves fewer records than offsets, and none at all
        and 0 <= header.count <= header.last_offset_delta + 1
        and header.compression <= _LAST_CODEC
        and header.producer_id >= -1
    )
