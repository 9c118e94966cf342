"""The two sparse indexes of a segment, in Kafka's file formats and, while in use, in memory."""

from __future__ import annotations

import os
import sys
from array import array
from bisect import bisect_left, bisect_right
from struct import Struct

_TIME = Struct(">qi")
_SWAP = sys.byteorder == "little"


def _load(path: str, width: int) -> bytes | None:
    """The whole entries in an index file, or C{None} where there is no file."""
    try:
        with open(path, "rb") as file:
            content = file.read()
    except FileNotFoundError:
        return None
    return content[: len(content) // width * width]


def last_time(path: str) -> tuple[int, int] | None:
    """The last entry of a time index file, a timestamp and a relative offset; C{None} where there is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        at = os.fstat(descriptor).st_size // _TIME.size - 1
        return _TIME.unpack(os.pread(descriptor, _TIME.size, at * _TIME.size)) if at >= 0 else None
    finally:
        os.close(descriptor)


def _append(path: str, position: int, content: bytes) -> None:
    """Write at C{position} and end the file there."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        os.ftruncate(descriptor, position)
        view = memoryview(content)
        while view:
            written = os.pwrite(descriptor, view, position)
            view, position = view[written:], position + written
    finally:
        os.close(descriptor)


def _rising(values: array[int]) -> bool:
    return all(map(int.__lt__, values, values[1:]))


class OffsetIndex:
    """
    Pairs of a batch's last offset and the position where that batch begins, both rising.

    Offsets are relative to the segment's base offset (Kafka: C{OffsetIndex}, 4 + 4 bytes an entry).

    @ivar offsets: relative offsets.
    @ivar positions: bytes from the start of the segment's file.
    """

    __slots__ = ("_saved", "offsets", "path", "positions")

    def __init__(self, path: str) -> None:
        self.path = path
        self.offsets: array[int] = array("i")
        self.positions: array[int] = array("i")
        #: Entries that the file holds; -1 where there is no file of ours.
        self._saved = -1

    def __len__(self) -> int:
        return len(self.offsets)

    def append(self, relative: int, position: int) -> None:
        """Add an entry behind all others."""
        # In this order: another thread may look, and finds a position to each offset.
        self.positions.append(position)
        self.offsets.append(relative)

    def before(self, relative: int) -> int:
        """Where to begin looking for the batch that holds an offset."""
        at = bisect_right(self.offsets, relative) - 1
        return self.positions[at] if at >= 0 else 0

    def before_position(self, position: int) -> int:
        """The last indexed batch start at or before C{position}, or 0."""
        at = bisect_right(self.positions, position) - 1
        return self.positions[at] if at >= 0 else 0

    def cut(self, relative: int, position: int) -> None:
        """Keep only entries of batches that end before one offset and begin before a position, in the file too."""
        keep = min(bisect_left(self.offsets, relative), bisect_left(self.positions, position))
        del self.offsets[keep:], self.positions[keep:]
        if keep < self._saved:
            os.truncate(self.path, keep * 8)
            self._saved = keep

    def load(self, size: int) -> bool:
        """
        Take over what the file holds.

        @param size: the length of the log file; entries behind it are nonsense.
        @return: whether there is a file and it makes sense.
        """
        content = _load(self.path, 8)
        if content is None:
            return False
        pairs = array("i")
        pairs.frombytes(content)
        if _SWAP:
            pairs.byteswap()
        offsets, positions = pairs[0::2], pairs[1::2]
        if len(pairs):
            inside = offsets[0] >= 0 and positions[0] >= 0 and positions[-1] < size
            if not inside or not _rising(offsets) or not _rising(positions):
                return False
        self.offsets, self.positions, self._saved = offsets, positions, len(offsets)
        return True

    @property
    def saved(self) -> bool:
        """Whether the file holds all entries."""
        return self._saved == len(self.offsets)

    def save(self) -> None:
        """Write the entries that the file does not hold yet."""
        if self.saved:
            return
        saved = max(0, self._saved)
        pairs = array("i", bytes(8 * (len(self.offsets) - saved)))
        pairs[0::2] = self.offsets[saved:]
        pairs[1::2] = self.positions[saved:]
        if _SWAP:
            pairs.byteswap()
        _append(self.path, saved * 8, pairs.tobytes())
        self._saved = len(self.offsets)


class TimeIndex:
    """
    Pairs of a timestamp and an offset: nothing up to that offset is newer; both rise.

    Offsets are relative to the segment's base offset (Kafka: C{TimeIndex}, 8 + 4 bytes an entry).

    @ivar timestamps: ms since the epoch.
    @ivar offsets: relative offsets.
    """

    __slots__ = ("_saved", "offsets", "path", "timestamps")

    def __init__(self, path: str) -> None:
        self.path = path
        self.timestamps: array[int] = array("q")
        self.offsets: array[int] = array("i")
        #: Entries that the file holds; -1 where there is no file of ours.
        self._saved = -1

    def __len__(self) -> int:
        return len(self.timestamps)

    def append(self, timestamp: int, relative: int) -> None:
        """Add an entry, unless it says nothing new."""
        if not self.offsets or (timestamp > self.timestamps[-1] and relative > self.offsets[-1]):
            # In this order, as above.
            self.offsets.append(relative)
            self.timestamps.append(timestamp)

    def before(self, timestamp: int) -> int:
        """The relative offset behind which the first record at or behind C{timestamp} is, or 0."""
        at = bisect_left(self.timestamps, timestamp) - 1
        return self.offsets[at] if at >= 0 else 0

    def cut(self, relative: int) -> None:
        """Keep only entries below one offset, in the file too."""
        keep = bisect_left(self.offsets, relative)
        del self.offsets[keep:], self.timestamps[keep:]
        if keep < self._saved:
            os.truncate(self.path, keep * 12)
            self._saved = keep

    def load(self) -> bool:
        """
        Take over what the file holds.

        @return: whether there is a file and it makes sense.
        """
        content = _load(self.path, 12)
        if content is None:
            return False
        words = array("i")
        words.frombytes(content)
        if _SWAP:
            words.byteswap()
        offsets = words[2::3]
        halves = array("i", bytes(8 * len(offsets)))
        # Low half first on a little machine, so that two words lie as one 64-bit number does.
        halves[_SWAP::2], halves[1 - _SWAP :: 2] = words[0::3], words[1::3]
        timestamps = array("q")
        timestamps.frombytes(halves.tobytes())
        if len(offsets) and (offsets[0] < 0 or not _rising(offsets) or not _rising(timestamps)):
            return False
        self.timestamps, self.offsets, self._saved = timestamps, offsets, len(offsets)
        return True

    @property
    def saved(self) -> bool:
        """Whether the file holds all entries."""
        return self._saved == len(self.offsets)

    def save(self) -> None:
        """Write the entries that the file does not hold yet."""
        if self.saved:
            return
        saved = max(0, self._saved)
        offsets = self.offsets[saved:]
        halves = array("i")
        halves.frombytes(self.timestamps[saved:].tobytes())
        words = array("i", bytes(12 * len(offsets)))
        words[0::3], words[1::3], words[2::3] = halves[_SWAP::2], halves[1 - _SWAP :: 2], offsets
        if _SWAP:
            words.byteswap()
        _append(self.path, saved * 12, words.tobytes())
        self._saved = len(self.offsets)
