"""The newest offset of each key, in bounded memory; and the loops that read keys out of a batch's records."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b

from kgw.errors import WireError
from kgw.wire.primitives import decode_varlong

#: What a key costs, in bytes: its entry in a table that is half full on the average, itself or its digest, its offset.
ENTRY_BYTES = 192
#: Keys of fewer bytes are kept as they are; longer ones as digests of this length, so that the two never meet.
_DIGEST = 32
#: Tables; a table that grows stops all threads for as long as that takes.
_TABLES = 64
#: Records between two chances to pause.
_STRIDE = 64


class KeyMap:
    """
    Keys and the offset of the last record with each (Kafka: C{SkimpyOffsetMap}).

    Kafka keeps digests of 16 bytes; those here have 32, as two keys with the same digest would be one.

    @ivar end_offset: the map knows the keys of all records from its beginning to in front of this offset.
    @ivar most: the number of keys for which there is room.
    """

    def __init__(self, limit: int, begin: int) -> None:
        """
        @param limit: bytes (C{log.cleaner.dedupe.buffer.size}).
        @param begin: the offset from which on records are added.
        """
        self.end_offset = begin
        self.most = max(1, limit // ENTRY_BYTES)
        self._tables: list[dict[bytes, int]] = [{} for _ in range(_TABLES)]

    def __len__(self) -> int:
        return sum(map(len, self._tables))

    def add(self, data: bytes, count: int, base_offset: int) -> Iterator[None]:
        """
        Take note of the keys of a batch's records; yields now and then for the caller to pause.

        @param data: the records, decompressed.
        @raise WireError: they are damaged; some keys may have been taken then.
        """
        tables, digest = self._tables, blake2b
        for _, _, delta, key, _ in _records(data, count):
            if key is not None:
                if len(key) >= _DIGEST:
                    key = digest(key, digest_size=_DIGEST).digest()
                tables[hash(key) & 63][key] = base_offset + delta
            elif delta < 0:
                yield

    def survivors(
        self, data: bytes, count: int, base_offset: int, tombstones: bool
    ) -> Iterator[tuple[int, int, bool] | None]:
        """
        The records of a batch that stay: where each begins and ends, and whether it is a tombstone.

        Records without a key go. Yields C{None} now and then for the caller to pause.

        @param tombstones: whether those stay that are the last of their key.
        @raise WireError: the records are damaged.
        """
        tables, digest, end_offset = self._tables, blake2b, self.end_offset
        for start, end, delta, key, has_value in _records(data, count):
            if key is None:
                if delta < 0:
                    yield None
                    continue
                if base_offset + delta >= end_offset:
                    yield start, end, not has_value
                continue
            offset = base_offset + delta
            if offset < end_offset:
                if len(key) >= _DIGEST:
                    key = digest(key, digest_size=_DIGEST).digest()
                if tables[hash(key) & 63].get(key, -1) > offset or not (has_value or tombstones):
                    continue
            yield start, end, not has_value


def _records(data: bytes, count: int) -> Iterator[tuple[int, int, int, bytes | None, bool]]:
    """
    Of each record where it begins and ends, its offset delta, its key and whether it has a value.

    Between records, now and then, comes one with a delta of -1 and no key, which is none.
    """
    at, size = 0, len(data)
    left = _STRIDE
    try:
        for _ in range(count):
            start = at
            # Numbers of one byte, and lengths of two, are read in place, as in kgw.wire.record.
            n = data[at]
            if n < 128:
                at += 1
            elif (c := data[at + 1]) < 128:
                n += (c - 1) << 7
                at += 2
            else:
                n, at = _zigzag(data, at)
            end = at + (n >> 1)
            if n & 1 or end > size:
                raise WireError("a record is longer than its batch")
            at += 1  # attributes
            while data[at] & 128:  # the timestamp
                at += 1
            at += 1
            n = data[at]
            if n < 128:
                at += 1
            elif (c := data[at + 1]) < 128:
                n += (c - 1) << 7
                at += 2
            else:
                n, at = _zigzag(data, at)
            delta = n >> 1
            n = data[at]
            if n < 128:
                at += 1
            elif (c := data[at + 1]) < 128:
                n += (c - 1) << 7
                at += 2
            else:
                n, at = _zigzag(data, at)
            key: bytes | None
            if n & 1:
                key = None
            else:
                n >>= 1
                key = data[at : at + n]
                at += n
            if at >= end:
                raise WireError("a record does not fill its length")
            # A null value has the length -1: the odd number 1.
            yield start, end, delta, key, data[at] != 1
            at = end
            left -= 1
            if not left:
                left = _STRIDE
                yield at, at, -1, None, False
    except IndexError:
        raise WireError("the data end inside a record") from None
    if at != size:
        raise WireError(f"{size - at} bytes behind the last record of a batch")


def _zigzag(data: bytes, offset: int) -> tuple[int, int]:
    """The number at C{offset}, not turned back from zig-zag, and the offset behind it."""
    number, offset = decode_varlong(data, offset)
    return (number << 1 if number >= 0 else ~number << 1 | 1), offset
