"""The log files of one partition: which there are, which offsets they hold, and where in them an offset is.

The engine begins a file for the second of a flush's first record and appends to it what else it flushes of that second;
a file followed by another does not grow any more. Attributes say which offsets a file holds, but may be one too high,
begin too late or be missing: they only say where to look, and what counts is what the entries say.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import Deferred, DeferredLock, FirstError, gatherResults
from twisted.logger import Logger

from kgw.engine.seaweed.errors import EngineUnavailable
from kgw.engine.seaweed.filer import Entry
from kgw.engine.seaweed.log_file import LENGTH_SIZE, MAX_ENTRY_BYTES, LogSpan, count_log

#: How much of a file is read at a time.
PIECE_BYTES = 4 << 20
CHECKPOINT = "checkpoint.offset"
OFFSET_MIN, OFFSET_MAX = "offset_min", "offset_max"

_LOG_NAME = re.compile(r"\d{4}(-\d\d){5}")
#: An entry ends with its offset: a tag and at most nine bytes; that of offset 0 has neither.
_TAIL_BYTES = 10
_OFFSET_TAG = 0x28

T = TypeVar("T")

_log = Logger("kgw.engine.seaweed")


class Located(Protocol):
    """What has its log in a directory of the filer."""

    @property
    def directory(self) -> str:
        """Where the log files are."""


class ReadsFiles(Protocol):
    """The part of L{kgw.engine.seaweed.filer.Filer} that log files need."""

    def lookup(self, directory: str, name: str) -> Deferred[Entry | None]:
        """One entry."""

    def list(self, directory: str, start_after: str = "", limit: int | None = None) -> Deferred[list[Entry]]:
        """The entries of a directory."""

    def put(self, directory: str, name: str, content: bytes) -> Deferred[None]:
        """Write an entry."""

    def set_extended(self, directory: str, entry: Entry, extended: dict[str, bytes]) -> Deferred[None]:
        """Set attributes."""

    def write_content(self, directory: str, entry: Entry, content: bytes) -> Deferred[None]:
        """Replace a content."""

    def delete(self, directory: str, name: str, recursive: bool = False) -> Deferred[None]:
        """Remove an entry."""

    def read(self, directory: str, name: str, offset: int = 0, size: int = -1) -> Deferred[bytes]:
        """Read from a file."""


class FileGone(EngineUnavailable):
    """A file that was listed is not there any more."""


@dataclass(slots=True, eq=False)
class LogFile:
    """
    One log file, as far as it is known.

    @ivar name: the UTC second it begins in, which sorts as its records do.
    @ivar size: bytes, when it was listed.
    @ivar claimed: the first and last offset that its attributes say, or C{None}.
    @ivar first: the offset of its first record, -1 while nothing of it was read.
    @ivar end: the offset behind its last whole record, -1 while that is not known.
    @ivar walked: so many bytes from its start have been looked at, to the end of an entry.
    @ivar walked_end: the offset behind the records in those, -1 where there is none.
    @ivar cut_at: the size with which there was no whole entry behind those.
    @ivar marks: first offset, the one behind the last, and position of each piece that was looked at.
    @ivar newest: the largest Kafka timestamp in the first C{timed} bytes.
    """

    name: str
    size: int
    claimed: tuple[int, int] | None
    first: int = -1
    end: int = -1
    walked: int = 0
    walked_end: int = -1
    cut_at: int = -1
    marks: list[tuple[int, int, int]] = field(default_factory=list)
    newest: int | None = None
    timed: int = 0

    @property
    def exhausted(self) -> bool:
        """Whether all of it, as it was listed, was looked at."""
        return self.walked >= self.size or self.cut_at == self.size

    @property
    def max_timestamp(self) -> int | None:
        """The largest Kafka timestamp in it (ms), C{None} while not all of it was decoded."""
        done = self.newest is not None and self.timed >= (self.walked if self.exhausted else self.size)
        return self.newest if done else None

    def grown(self, size: int, claimed: tuple[int, int] | None) -> None:
        """It was listed again."""
        self.claimed = claimed
        if size != self.size:
            self.size, self.end = size, -1

    def position_of(self, offset: int) -> int:
        """Where to begin to read for an offset that is in the part looked at."""
        at = max(bisect_right(self.marks, offset, key=lambda mark: mark[0]) - 1, 0)
        if self.marks[at][1] <= offset and at + 1 < len(self.marks):
            at += 1  # it is in a gap
        return self.marks[at][2]

    def noted(self, position: int, span: LogSpan, newest: int | None = None) -> None:
        """
        Entries from C{position} on were read.

        @param newest: as the attribute, of these entries, where they were decoded.
        """
        behind = position + span.consumed
        if position == self.walked:
            if span.count:
                if self.first < 0:
                    self.first = span.first_offset
                self.marks.append((span.first_offset, span.last_offset + 1, position))
                self.walked, self.walked_end = behind, max(self.walked_end, span.last_offset + 1)
            else:
                self.cut_at = self.size
            if self.exhausted:
                self.end = self.walked_end
        if newest is not None and position == self.timed:
            self.timed = behind
            self.newest = newest if self.newest is None else max(self.newest, newest)


class LogDirectory:
    """
    Keeps the list of one partition's log files and finds offsets in them.

    @ivar files: in the order of their names.
    @ivar end: the offset behind the last record there was at the last L{refresh}; 0 where there is none.
    @ivar checkpoint: the engine's note of its last offset, C{None} where there is none.
    @ivar path: the directory.
    """

    def __init__(
        self, filer: ReadsFiles, path: str, run: Callable[..., Deferred[Any]], name: str, piece_bytes: int = PIECE_BYTES
    ) -> None:
        """
        @param run: calls a function away from the reactor's thread.
        @param name: topic and partition, for messages.
        """
        self.filer = filer
        self.path = path
        self.name = name
        self.piece_bytes = piece_bytes
        self.files: list[LogFile] = []
        self.end = 0
        self.checkpoint: Entry | None = None
        self._run = run
        self._lock = DeferredLock()
        #: Where each file may begin, for all that is known without reading it.
        self._starts: list[int] = []
        self._foreign = False

    async def refresh(self, whole: bool = False) -> None:
        """
        List what is new, and find out where the log ends.

        @param whole: list all, not only from the last file on that is known.
        @raise KafkaError: as L{kgw.engine.seaweed.filer.Filer}; C{CORRUPT_MESSAGE} where the last file is damaged.
        """
        async with self._lock:
            for _ in range(3):
                await self._list(whole)
                try:
                    self.end = max(self.end, await self._find_end())
                    return
                except FileGone:
                    whole = True
            raise EngineUnavailable(f"the last log file of {self.name} cannot be read")

    async def list(self) -> dict[str, Entry]:
        """
        List all, without looking into any file.

        @return: the log files' entries by name.
        """
        async with self._lock:
            return await self._list(whole=True)

    async def measure(self) -> int:
        """
        How many bytes the log files have now; none of them is looked into.

        @raise KafkaError: as L{kgw.engine.seaweed.filer.Filer}.
        """
        async with self._lock:
            await self._list(whole=False)
            return sum([file.size for file in self.files])

    async def _list(self, whole: bool) -> dict[str, Entry]:
        whole = whole or len(self.files) < 2
        # the last one may have grown
        kept = [] if whole else self.files[:-1]
        known = {file.name: file for file in (self.files if whole else self.files[-1:])}
        entries = await self.filer.list(self.path, "" if whole else kept[-1].name)
        found: dict[str, Entry] = {}
        files: list[LogFile] = []
        self.checkpoint = None
        for entry in entries:
            if entry.name == CHECKPOINT:
                self.checkpoint = entry
            elif entry.is_directory or not _LOG_NAME.fullmatch(entry.name):
                self._say_foreign(entry.name)
            else:
                found[entry.name] = entry
                file = known.get(entry.name)
                if file is None or entry.size < file.size:
                    file = LogFile(entry.name, entry.size, claimed_by(entry))
                else:
                    file.grown(entry.size, claimed_by(entry))
                files.append(file)
        self.files = kept + files
        self._index(len(kept))
        return found

    def _index(self, first: int) -> None:
        """Work out where each file may begin, from file C{first} on."""
        del self._starts[first:]
        for file in self.files[first:]:
            before = self._starts[-1] if self._starts else 0
            begins = file.first if file.first >= 0 else file.claimed[0] if file.claimed else 0
            self._starts.append(max(before, begins))

    def _say_foreign(self, name: str) -> None:
        if not self._foreign:
            self._foreign = True
            _log.info("{path} holds {name}, which is no log file; such ones are not read", path=self.path, name=name)

    async def _find_end(self) -> int:
        # what older files claim may be one too high, which is still not above the end
        end = max((file.claimed[1] for file in self.files[-3:-1] if file.claimed), default=0)
        for file in reversed(self.files):
            found = await self.end_of(file)
            if found >= 0:
                return max(end, found)
        return end

    async def end_of(self, file: LogFile) -> int:
        """
        The offset behind the last whole record of a file, -1 where it has none.

        Read off its last bytes where its attributes agree with them, else by walking through it.

        @raise KafkaError: C{CORRUPT_MESSAGE}; L{FileGone}.
        """
        if file.end < 0 and file.claimed is not None and not file.exhausted:
            start = max(file.size - _TAIL_BYTES, 0)
            tail = await self.filer.read(self.path, file.name, start, file.size - start)
            last = _last_offset(tail)
            if last > 0 and last in (file.claimed[1], file.claimed[1] - 1):
                file.end = last + 1
        while file.end < 0 and not file.exhausted:
            await self.advance(file)
        return file.end

    async def advance(self, file: LogFile) -> LogSpan:
        """Walk through the next piece of a file."""
        return await self.count(file, file.walked)

    async def count(self, file: LogFile, position: int) -> LogSpan:
        """Find out what a piece of a file holds; it begins where an entry does."""
        span: LogSpan = await self._run(count_log, await self.piece(file, position))
        file.noted(position, span)
        return span

    async def piece(self, file: LogFile, position: int) -> bytes:
        """
        Read a piece of a file, where an entry begins: one whole entry at least, unless the file ends within it.

        @raise FileGone: there is less than was listed.
        """
        wanted = min(self.piece_bytes, file.size - position)
        parts: list[bytes] = []
        have = 0
        while have < wanted:
            part = await self.filer.read(self.path, file.name, position + have, wanted - have)
            if not part:
                raise FileGone(f"{self.path}/{file.name} ends at {position + have}, not at {file.size}")
            parts.append(part)
            have += len(part)
            if len(parts) == 1 and len(part) >= LENGTH_SIZE:
                length = int.from_bytes(part[:LENGTH_SIZE], "big")
                if length <= MAX_ENTRY_BYTES:
                    wanted = max(wanted, min(LENGTH_SIZE + length, file.size - position))
        return b"".join(parts) if len(parts) != 1 else parts[0]

    async def locate(self, offset: int) -> tuple[int, int] | None:
        """
        Find where to read for an offset.

        @return: the index of a file and a position where an entry begins, at or before the record; or, where there is
            no such record, at or before the next one. What is there may turn out to be nothing: once that was noted,
            the next call looks further on. C{None} behind the end.
        @raise KafkaError: C{CORRUPT_MESSAGE}; L{FileGone}.
        """
        files = self.files
        index = max(bisect_right(self._starts, offset) - 1, 0)
        forward = False
        while index < len(files):
            file = files[index]
            if file.first < 0 and not file.exhausted:
                # where it is what follows next, it is read anyway, and will show what it begins with
                if index == 0 or forward or (file.claimed is not None and offset <= file.claimed[0]):
                    return index, 0
                await self.advance(file)
            elif file.first < 0:
                forward = forward or index == 0
                index += 1 if forward else -1
            elif file.first > offset:
                if forward or index == 0:
                    return index, 0
                index -= 1
            elif offset < file.walked_end:
                return index, file.position_of(offset)
            elif file.exhausted or 0 <= file.end <= offset:
                forward = True
                index += 1
            elif offset == file.walked_end:
                return index, file.walked
            else:
                await self.advance(file)
        return None

    def removed(self, names: set[str]) -> None:
        """These files are there no more."""
        self.files = [file for file in self.files if file.name not in names]
        self._index(0)


async def together(running: list[Deferred[T]]) -> list[T]:
    """The results of all, or the failure of the first that fails, as itself."""
    try:
        return await gatherResults(running, consumeErrors=True)
    except FirstError as error:
        error.subFailure.raiseException()
        raise


def claimed_by(entry: Entry) -> tuple[int, int] | None:
    """The first and last offset that a log file's attributes say, C{None} where they say nothing."""
    first, last = entry.extended.get(OFFSET_MIN), entry.extended.get(OFFSET_MAX)
    if first is None or last is None or len(first) != 8 or len(last) != 8:
        return None
    return int.from_bytes(first, "big"), int.from_bytes(last, "big")


def _last_offset(tail: bytes) -> int:
    """The offset that the last bytes of a log file end with, if they are the end of an entry; else anything, or -1."""
    at = len(tail) - 1
    if at < 1 or tail[at] >= 0x80:
        return -1
    number = tail[at]
    while at > 0 and tail[at - 1] >= 0x80:
        at -= 1
        number = number << 7 | tail[at] & 0x7F
    return number if at > 0 and tail[at - 1] == _OFFSET_TAG else -1
