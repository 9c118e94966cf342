"""The five compressions of record batches: none, gzip, snappy, lz4 and zstd."""

from __future__ import annotations

import mmap
import struct
import zlib
from enum import IntEnum
from typing import Any

import cramjam

from kgw.errors import WireError

_INT32 = struct.Struct(">i")

#: Start of the framing that Java's snappy library (xerial) puts around its blocks.
_XERIAL_MAGIC = b"\x82SNAPPY\x00"
#: The magic, the version of the framing and the oldest version that can read it.
_XERIAL_HEADER = _XERIAL_MAGIC + struct.pack(">ii", 1, 1)
_XERIAL_BLOCK = 32 * 1024

#: zlib's code for "with a gzip header and trailer".
_GZIP_WINDOW = 31

#: Kafka's default lz4 level; it means lz4's fast compressor, all others the high one (KIP-390).
_LZ4_DEFAULT_LEVEL = 9
#: Kafka's default zstd level.
_ZSTD_DEFAULT_LEVEL = 3

#: The first output buffer: this many times the input, and not less than _LEAST_OUTPUT bytes.
_USUAL_RATIO = 12
_LEAST_OUTPUT = 64 * 1024


class CompressionType(IntEnum):
    """Kafka's compressions by the number in a batch's attributes."""

    NONE = 0
    GZIP = 1
    SNAPPY = 2
    LZ4 = 3
    ZSTD = 4

    @property
    def text(self) -> str:
        """The name that producers and C{kafka-configs} use: C{"none"}, C{"gzip"} ..."""
        return self.name.lower()

    @classmethod
    def of(cls, text: str) -> CompressionType:
        """
        The compression a config value names; both C{none} and the topic config's C{uncompressed} are known.

        @raise ValueError: there is none of that name (C{producer} names no compression).
        """
        if text == "uncompressed":
            return cls.NONE
        for member in cls:
            if member.text == text:
                return member
        raise ValueError(f"there is no compression called {text!r}")


def compress(codec: int, data: bytes, level: int | None = None) -> bytes:
    """
    Compress the records section of a batch as Kafka's Java clients can read it.

    @param codec: one of L{CompressionType}.
    @param level: the level by Kafka's config of that compression (C{compression.gzip.level} -1 or 1-9,
        C{compression.lz4.level} 1-17, C{compression.zstd.level} -131072-22); C{None} for Kafka's default.
    @raise ValueError: there is no such compression.
    """
    if codec == CompressionType.NONE:
        return data
    if codec == CompressionType.GZIP:
        packer = zlib.compressobj(zlib.Z_DEFAULT_COMPRESSION if level is None else level, zlib.DEFLATED, _GZIP_WINDOW)
        return packer.compress(data) + packer.flush()
    if codec == CompressionType.SNAPPY:
        return _compress_snappy(data)
    if codec == CompressionType.LZ4:
        fast = level is None or level == _LZ4_DEFAULT_LEVEL
        # Kafka's Java reader refuses frames whose blocks refer to each other
        stream = cramjam.lz4.Compressor(level=0 if fast else level, content_checksum=False, block_linked=False)
        stream.compress(data)
        return bytes(stream.finish())
    if codec == CompressionType.ZSTD:
        return bytes(cramjam.zstd.compress(data, level=_ZSTD_DEFAULT_LEVEL if level is None else level))
    raise ValueError(f"there is no compression number {codec}")


def decompress(codec: int, data: bytes | memoryview, limit: int) -> bytes:
    """
    Decompress the records section of a batch.

    Snappy is read with xerial's framing and without, since both are in use (librdkafka writes none).

    @param codec: the number in the batch's attributes.
    @param limit: the most bytes that may come out; no more than that is allocated for them.
    @raise WireError: the data are damaged, hold more than C{limit} bytes, or the compression is unknown.
    """
    if codec == CompressionType.NONE:
        if len(data) > limit:
            raise _over(codec, limit)
        return bytes(data)
    if codec == CompressionType.GZIP:
        return _decompress_gzip(data, limit)
    if codec == CompressionType.SNAPPY:
        return _decompress_snappy(data, limit)
    if codec == CompressionType.LZ4:
        return _decompress_into(codec, cramjam.lz4, data, limit)
    if codec == CompressionType.ZSTD:
        return _decompress_into(codec, cramjam.zstd, data, limit)
    raise WireError(f"there is no compression number {codec}")


def _over(codec: int, limit: int) -> WireError:
    return WireError(f"{CompressionType(codec).text} records are larger than {limit} bytes")


def _damaged(codec: int, reason: object) -> WireError:
    return WireError(f"{CompressionType(codec).text} records are damaged: {reason}")


def _decompress_gzip(data: bytes | memoryview, limit: int) -> bytes:
    stream = zlib.decompressobj(_GZIP_WINDOW)
    try:
        # one byte more than allowed tells "too much" from "just enough"; 0 would mean "no bound"
        output = stream.decompress(data, limit + 1)
    except zlib.error as error:
        raise _damaged(CompressionType.GZIP, error) from None
    if len(output) > limit:
        raise _over(CompressionType.GZIP, limit)
    if not stream.eof:
        raise _damaged(CompressionType.GZIP, "the data end too soon")
    if stream.unused_data:
        raise _damaged(CompressionType.GZIP, "bytes behind the end")
    return output


def _compress_snappy(data: bytes) -> bytes:
    view = memoryview(data)
    pieces = [_XERIAL_HEADER]
    for start in range(0, len(data), _XERIAL_BLOCK):
        block = bytes(cramjam.snappy.compress_raw(view[start : start + _XERIAL_BLOCK]))
        pieces += (_INT32.pack(len(block)), block)
    return b"".join(pieces)


def _decompress_snappy(data: bytes | memoryview, limit: int) -> bytes:
    view = memoryview(data)
    if bytes(view[: len(_XERIAL_MAGIC)]) != _XERIAL_MAGIC:
        return _decompress_snappy_block(view, limit, limit)
    pieces = []
    offset, left = len(_XERIAL_HEADER), limit
    while offset < len(view):
        if len(view) - offset < _INT32.size:
            raise _damaged(CompressionType.SNAPPY, "the data end inside the size of a block")
        (size,) = _INT32.unpack_from(view, offset)
        offset += _INT32.size
        if not 0 < size <= len(view) - offset:
            raise _damaged(CompressionType.SNAPPY, f"a block of {size} bytes, {len(view) - offset} are left")
        piece = _decompress_snappy_block(view[offset : offset + size], left, limit)
        pieces.append(piece)
        left -= len(piece)
        offset += size
    return b"".join(pieces)


def _decompress_snappy_block(block: memoryview, left: int, limit: int) -> bytes:
    try:
        # the block says how long it is; snappy makes it that long or fails
        if cramjam.snappy.decompress_raw_len(block) > left:
            raise _over(CompressionType.SNAPPY, limit)
        return bytes(cramjam.snappy.decompress_raw(block))
    except cramjam.DecompressionError as error:
        raise _damaged(CompressionType.SNAPPY, error) from None


def _decompress_into(codec: int, library: Any, data: bytes | memoryview, limit: int) -> bytes:
    """
    Decompress into a buffer of fixed size, which the library cannot grow.

    How large the output is can't be asked beforehand (the field in the frame is optional and a claim). So a
    buffer that is nearly always enough comes first, and then one of the whole limit: anonymous memory, whose
    pages cost nothing until they are written.
    """
    guess = min(limit, max(_LEAST_OUTPUT, len(data) * _USUAL_RATIO))
    output = bytearray(guess)
    try:
        written = library.decompress_into(data, output)
        return bytes(memoryview(output)[:written])
    except cramjam.DecompressionError as error:
        if guess == limit:
            raise _damaged_or_over(codec, error, limit) from None
    with mmap.mmap(-1, limit) as pages:
        try:
            return pages[: library.decompress_into(data, pages)]
        except cramjam.DecompressionError as error:
            raise _damaged_or_over(codec, error, limit) from None


def _damaged_or_over(codec: int, error: Exception, limit: int) -> WireError:
    return _damaged(codec, f"{error}, or they hold more than {limit} bytes")
