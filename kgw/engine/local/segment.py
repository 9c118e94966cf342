"""One segment of a partition log: a file of record batches, its two indexes, and how to find a batch in it."""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Callable, Iterator
from struct import Struct
from typing import NamedTuple

from kgw.engine.local.checkpoint import read_pairs
from kgw.engine.local.index import OffsetIndex, TimeIndex
from kgw.errors import ErrorCode, KafkaError, WireError
from kgw.model import Buffer
from kgw.wire.records import HEADER_SIZE, BatchHeader, peek

LOG, INDEX, TIME_INDEX, DAMAGED, DELETED = ".log", ".index", ".timeindex", ".damaged", ".deleted"
#: An empty file beside a log file that has stale batches of an older segment behind its own.
RECYCLED = ".recycled"
#: Endings of a segment's files while compaction writes it, and while it takes the place of others.
CLEANED, SWAP = ".cleaned", ".swap"

#: Base offset, length behind the first 12 bytes, last offset delta.
_frame = Struct(">qi11xi").unpack_from
_FRAME_SIZE = 27
#: A read begins this much before the batch it wants, at most, with Kafka's default index.interval.bytes.
_SLACK = 4096 + HEADER_SIZE
_CHUNK = 1 << 16
#: Offsets in the indexes are 32 bits.
MAX_RELATIVE = (1 << 31) - 1


def file_name(offset: int) -> str:
    """The 20 digits that name a segment's files, or a snapshot's."""
    return f"{offset:020d}"


def write_rest(fd: int, data: bytes, written: int, position: int) -> None:
    """Go on after a short write, until all is written or the disk says why not."""
    while written < len(data):
        more = os.pwrite(fd, memoryview(data)[written:], position + written)
        if not more:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        written += more


def unlink_if_there(path: str) -> None:
    """Remove a file that somebody else may have removed."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return


class Hole(NamedTuple):
    """
    Damaged bytes in the middle of a segment: readers of these offsets are told so, nobody skips them unawares.

    @ivar position: where the damage begins in the file; C{end} is where sound batches go on.
    """

    first_offset: int
    last_offset: int
    position: int
    end: int


class Handles:
    """
    Keeps the number of open segment files below a bound, closing those that were not used lately.

    A segment opens its file again when it is next needed.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open: deque[Segment] = deque()

    def opened(self, segment: Segment) -> None:
        """Take note of a file just opened, and close others where there are too many."""
        queue = self._open
        queue.append(segment)
        chances = len(queue)
        while len(queue) > self._limit:
            oldest = queue.popleft()
            if oldest.used and chances > 0 and oldest is not segment:
                oldest.used = False
                queue.append(oldest)
                chances -= 1
            elif oldest is not segment:
                oldest.release()
            else:
                queue.append(oldest)
                chances -= 1
                if chances < -1:
                    return


class Segment:
    """
    One segment; the last of a log is written, all others are sealed.

    The file may be longer than the log in it; what counts is C{position}.

    @ivar base_offset: the first offset it may hold.
    @ivar position: the end of the log in the file: where the next batch goes.
    @ivar max_timestamp: the largest in it, -1 where it has none; C{max_timestamp_offset} is the last offset
        of the batch that holds it.
    @ivar first_timestamp: the largest timestamp of its first batch, by which it grows old; -1 unknown.
    @ivar unindexed: bytes since the last entry in the offset index.
    @ivar used: was needed since L{Handles} last looked.
    @ivar fd: the open file, or -1.
    @ivar allocated: where the file may end, if that is behind C{position}; else less than it.
    @ivar flushed: bytes in front of this position survive the end of the machine.
    @ivar recycled: was begun in the file of an older segment.
    @ivar gone: is no longer in the log; what was read from its file since then may be anything.
    """

    __slots__ = (
        "_handles",
        "_offsets",
        "_source",
        "_times",
        "allocated",
        "base_offset",
        "fd",
        "first_timestamp",
        "flushed",
        "gone",
        "holes",
        "max_timestamp",
        "max_timestamp_offset",
        "position",
        "recycled",
        "sealed",
        "stem",
        "unindexed",
        "used",
    )

    def __init__(self, folder: str, base_offset: int, handles: Handles) -> None:
        self.stem = os.path.join(folder, file_name(base_offset))
        self.base_offset = base_offset
        self.position = 0
        self.max_timestamp = -1
        self.max_timestamp_offset = base_offset
        self.first_timestamp = -1
        self.unindexed = 0
        self.sealed = False
        self.used = False
        self.fd = -1
        self.allocated = 0
        self.flushed = 0
        self.recycled = False
        self.gone = False
        self.holes: list[Hole] = []
        self._handles = handles
        self._offsets: OffsetIndex | None = None
        self._times: TimeIndex | None = None
        #: Of what this is a view.
        self._source: Segment | None = None

    def __repr__(self) -> str:
        return f"<Segment {self.stem}{LOG} {self.position} bytes>"

    # The file

    def create(self) -> None:
        """Begin with an empty file, or with the one that is there."""
        self.fd = os.open(self.stem + LOG, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._handles.opened(self)

    def descriptor(self) -> int:
        """The open file."""
        self.used = True
        if self.fd < 0:
            if self.gone:
                # Its path may by now be that of another topic of the same name.
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.stem + LOG)
            self.fd = os.open(self.stem + LOG, os.O_RDWR | os.O_CLOEXEC)
            self._handles.opened(self)
        return self.fd

    def begin_in(self, path: str, size: int) -> None:
        """Take over the file of an older segment of the same log, with what is in it."""
        os.close(os.open(self.stem + RECYCLED, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644))
        os.rename(path, self.stem + LOG)
        self.recycled = True
        self.allocated = size

    def trim(self) -> bool:
        """
        Let the file end where the log does.

        @return: whether it was longer.
        """
        longer = self.allocated > self.position
        if longer:
            os.ftruncate(self.descriptor(), self.position)
        self.allocated = 0
        if self.recycled:
            unlink_if_there(self.stem + RECYCLED)
            self.recycled = False
        return longer

    def release(self) -> None:
        """Close the file; and forget the indexes of a sealed segment, which their files hold."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
        if self.sealed:
            self._offsets = self._times = None

    # Another thread's look at it

    def view(self) -> Segment:
        """The same, as far as it is now, for one thread to read; afterwards L{adopt} or L{release} it."""
        view = Segment(os.path.dirname(self.stem), self.base_offset, Handles(1))
        view.position, view.sealed, view.holes = self.position, self.sealed, list(self.holes)
        view.max_timestamp, view.max_timestamp_offset = self.max_timestamp, self.max_timestamp_offset
        view._offsets, view._times = self._offsets, self._times
        view._source = self
        return view

    def adopt(self, view: Segment) -> None:
        """Take over what a view opened and loaded, and let go of it."""
        if not self.gone and self.sealed:
            if self._offsets is None or self._times is None:
                self._offsets, self._times = view._offsets, view._times
            if self.max_timestamp < 0:
                self.max_timestamp, self.max_timestamp_offset = view.max_timestamp, view.max_timestamp_offset
        if not self.gone and self.fd < 0 <= view.fd:
            self.fd, view.fd = view.fd, -1
            self.used = True
            self._handles.opened(self)
        view.release()

    @property
    def at_hand(self) -> bool:
        """Whether the file is open and its offset index in memory."""
        return self.fd >= 0 and self._offsets is not None

    # The indexes

    def start_indexes(self, ending: str = "") -> None:
        """Begin with empty indexes; C{ending} is put behind the names of their files."""
        self._offsets = OffsetIndex(self.stem + INDEX + ending)
        self._times = TimeIndex(self.stem + TIME_INDEX + ending)
        self.unindexed = 0

    def load_indexes(self) -> bool:
        """Take the indexes from their files; false where one is missing or makes no sense."""
        offsets, times = OffsetIndex(self.stem + INDEX), TimeIndex(self.stem + TIME_INDEX)
        if not offsets.load(self.position) or not times.load():
            return False
        self._offsets, self._times = offsets, times
        return True

    def offsets(self) -> OffsetIndex:
        """The offset index, loaded or built anew where it is not in memory."""
        if self._offsets is None:
            self._ready_indexes()
            assert self._offsets is not None
        return self._offsets

    def times(self) -> TimeIndex:
        """The time index, loaded or built anew where it is not in memory."""
        if self._times is None:
            self._ready_indexes()
            assert self._times is not None
        return self._times

    def _ready_indexes(self) -> None:
        # Their files may be taken away while we run; the log is all that is needed.
        if not self.load_indexes():
            self.build_indexes(4096)
            if self._source is None or not self._source.gone:
                self.seal()

    def build_indexes(self, interval: int) -> None:
        """Make both indexes from the batches."""
        self.start_indexes()
        self.max_timestamp, self.max_timestamp_offset, self.first_timestamp = -1, self.base_offset, -1
        for position, header in self.headers(0):
            self.account(header.size, header.last_offset, header.max_timestamp, position, interval)

    def account(self, size: int, last_offset: int, max_timestamp: int, position: int, interval: int) -> None:
        """Take note of one batch in the indexes, as Kafka does: an entry each time C{interval} bytes went by."""
        if max_timestamp > self.max_timestamp:
            self.max_timestamp = max_timestamp
            self.max_timestamp_offset = last_offset
        if self.first_timestamp < 0:
            self.first_timestamp = max_timestamp
        if self.unindexed > interval:
            relative = last_offset - self.base_offset
            self.offsets().append(relative, position)
            self.times().append(self.max_timestamp, self.max_timestamp_offset - self.base_offset)
            self.unindexed = 0
        self.unindexed += size

    @property
    def indexed(self) -> bool:
        """Whether the index files hold what the indexes do."""
        return self.offsets().saved and self.times().saved

    def save_indexes(self) -> None:
        """Bring the index files up to date; the time index then ends with the largest timestamp."""
        if self.position and self.max_timestamp >= 0:
            self.times().append(self.max_timestamp, self.max_timestamp_offset - self.base_offset)
        self.offsets().save()
        self.times().save()

    def seal(self) -> None:
        """Nothing more will be written."""
        self.save_indexes()
        self.sealed = True

    def largest_timestamp_ms(self) -> int:
        """By what the segment's age is counted: its largest timestamp, or where it has none the file's time."""
        if self.max_timestamp < 0 and self.sealed:
            times = self.times()
            if len(times):
                self.max_timestamp = times.timestamps[-1]
                self.max_timestamp_offset = self.base_offset + times.offsets[-1]
        if self.max_timestamp >= 0:
            return self.max_timestamp
        return int(os.stat(self.stem + LOG).st_mtime * 1000)

    # Reading

    def read(
        self,
        offset: int,
        max_bytes: int,
        at_least_one: bool,
        pread: Callable[[int, int, int], Buffer] = os.pread,
    ) -> tuple[Buffer, int, bool]:
        """
        Whole batches from the one that holds C{offset}, or from the first one behind it.

        @param pread: reads from a descriptor so many bytes at a position.
        @return: the bytes, their number, and whether they are the last in the segment.
        @raise KafkaError: C{CORRUPT_MESSAGE} where there is no telling where the batch begins or ends.
        """
        fd, index = self.descriptor(), self.offsets()
        at, end = index.before(offset - self.base_offset), self.position
        if self.holes:
            floor, end = self._around(offset)
            at = max(at, floor)
        data = pread(fd, min(max_bytes + _SLACK, end - at), at)
        start, have = 0, len(data)
        while True:
            if start + _FRAME_SIZE > have:
                if at + start >= end:
                    return b"", 0, end == self.position
                at, start = at + start, 0
                data = pread(fd, min(max_bytes + _SLACK, end - at), at)
                have = len(data)
                if have < _FRAME_SIZE:
                    raise self._corrupt(at)
            base, length, delta = _frame(data, start)
            size = length + 12
            if size < HEADER_SIZE or at + start + size > end:
                raise self._corrupt(at + start)
            if base + delta >= offset:
                break
            start += size
        if size > max_bytes and not at_least_one:
            return b"", 0, False
        if size > max_bytes or start + size > have:
            whole = pread(fd, size, at + start)
            if len(whole) < size:
                raise self._corrupt(at + start)
            return whole, size, at + start + size == self.position
        limit = min(start + max_bytes, have)
        stop = max(start, index.before_position(at + limit) - at)
        while stop + _FRAME_SIZE <= limit:
            size = _frame(data, stop)[1] + 12
            if size < HEADER_SIZE or stop + size > limit:
                break
            stop += size
        at_end = at + stop == self.position
        if start == 0 and stop == have:
            return data, have, at_end
        return memoryview(data)[start:stop], stop - start, at_end

    def headers(self, offset: int) -> Iterator[tuple[int, BatchHeader]]:
        """
        Each batch's position and header, from the batch that holds C{offset} or the first one behind it.

        Damaged ranges are passed over; the walk ends where a header makes no sense.
        """
        fd, end = self.descriptor(), self.position
        at = 0
        if offset > self.base_offset:
            at = self.offsets().before(offset - self.base_offset)
        jumps = {hole.position: hole.end for hole in self.holes}
        data, start = b"", at
        while at < end:
            if at in jumps:
                at = jumps[at]
                continue
            if not start <= at <= start + len(data) - HEADER_SIZE:
                fd = self.descriptor()
                data, start = os.pread(fd, min(_CHUNK, end - at), at), at
                if len(data) < HEADER_SIZE:
                    return
            try:
                header = peek(data, at - start)
            except WireError:
                return
            if at + header.size > end:
                return
            if header.last_offset >= offset:
                yield at, header
            at += header.size

    def _around(self, offset: int) -> tuple[int, int]:
        """The stretch of the file without damage in which to look for C{offset}."""
        floor, end = 0, self.position
        for hole in self.holes:
            if hole.first_offset <= offset <= hole.last_offset:
                raise KafkaError(
                    ErrorCode.CORRUPT_MESSAGE,
                    f"offsets {hole.first_offset} to {hole.last_offset} are damaged on disk: "
                    f"{self.stem}{LOG}, bytes {hole.position} to {hole.end}",
                )
            if hole.last_offset < offset:
                floor = hole.end
            else:
                end = min(end, hole.position)
        return floor, end

    def _corrupt(self, position: int) -> KafkaError:
        return KafkaError(ErrorCode.CORRUPT_MESSAGE, f"no whole batch at byte {position} of {self.stem}{LOG}")

    # Damage, kept in a file of its own

    def save_holes(self) -> bytes:
        """The damaged ranges in the form of their file."""
        rows = [f"{h.first_offset} {h.last_offset}\n{h.position} {h.end}\n" for h in self.holes]
        return f"0\n{2 * len(rows)}\n{''.join(rows)}".encode()

    def load_holes(self) -> None:
        """Take the damaged ranges from their file."""
        pairs = read_pairs(self.stem + DAMAGED)
        self.holes = [Hole(*a, *b) for a, b in zip(pairs[0::2], pairs[1::2], strict=False)]
