"""The history of one partition: what is in log files, read as Kafka batches, looked up by time, deleted by files."""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from kgw.engine.seaweed.history_cache import HistoryCache, Section
from kgw.engine.seaweed.log_directory import PIECE_BYTES, FileGone, Located, LogDirectory, LogFile, ReadsFiles, together
from kgw.engine.seaweed.log_file import LogEntry
from kgw.engine.seaweed.sections import Decoded, Entries, Timed, decode, look_for_newest, look_for_time, read_entries

#: How many small files are read together, and how many reads are under way for them at a time.
_MOST_FILES, _READS = 64, 16
#: Ends of reads that are remembered, to know who reads on.
_READERS = 64

T = TypeVar("T", Entries, Timed)

_log = Logger("kgw.engine.seaweed")


class History:
    """
    Reads the log files of one partition.

    Records are found by the offsets that stand in the files. What is decoded is kept in the cache, which all partitions
    share; who reads on has the next piece read ahead. Every method fails with C{KAFKA_STORAGE_ERROR} while the filer
    cannot be reached, and with C{CORRUPT_MESSAGE} where a file is damaged.

    @ivar log: the directory, also for repair.
    """

    def __init__(
        self, filer: ReadsFiles, place: Located, cache: HistoryCache, name: str, piece_bytes: int = PIECE_BYTES
    ) -> None:
        """
        @param name: topic and partition, for messages.
        @param piece_bytes: how much of the files is read and decoded at a time.
        """
        self.log = LogDirectory(filer, place.directory, cache.call, name, piece_bytes)
        self._cache = cache
        self._name = name
        #: In the order of their first offsets.
        self._sections: list[Section] = []
        self._loads: dict[tuple[str, int], list[Deferred[Section | None]]] = {}
        self._readers: dict[int, None] = {}
        self._closed = False

    @property
    def files(self) -> list[LogFile]:
        """The log files as of the last L{refresh}, in their order."""
        return self.log.files

    @property
    def end(self) -> int:
        """The offset behind what is in log files as of the last L{refresh}."""
        return self.log.end

    def aside(self, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        """Run C{function(*args)} where log files are decoded, away from the reactor's thread."""
        return self._cache.call(function, *args)

    def refresh(self, whole: bool = False) -> Deferred[None]:
        """
        Find out what was written to log files since the last time.

        @param whole: list all files, not only from the last one on that is known.
        """
        return Deferred.fromCoroutine(self.log.refresh(whole))

    def forget_from(self, offset: int) -> None:
        """The files that had the records at and behind C{offset} were lost; others may come to have those offsets."""
        self._drop([section for section in self._sections if section.next > offset])
        self.log.end = min(self.log.end, offset)

    def _drop(self, sections: list[Section]) -> None:
        for section in sections:
            self._sections.remove(section)
            self._cache.drop(section)

    def close(self) -> None:
        """Let go of what is in the cache."""
        self._closed = True
        for section in self._sections:
            self._cache.drop(section)
        self._sections.clear()

    # Reading.

    def read(self, offset: int, max_bytes: int, leader_epoch: int) -> Deferred[list[bytes] | None]:
        """
        Read batches from the one that holds C{offset}, or else the next one; one at least, more as C{max_bytes} allow.

        Less is given where more would have to be read from the filer first.

        @param leader_epoch: to stand in the batches.
        @return: fires with C{None} where no log file has the record or a later one.
        """
        return Deferred.fromCoroutine(self._whole_again(partial(self._read, offset, max_bytes, leader_epoch)))

    async def _read(self, offset: int, max_bytes: int, leader_epoch: int) -> list[bytes] | None:
        reads_on = self._readers.pop(offset, offset) is None
        section = self._cached(offset) or await self._fetched(offset, leader_epoch)
        if section is None:
            return None
        taken: list[bytes] = []
        left = max_bytes
        last = section
        while section is not None:
            last = section
            self._cache.used(section)
            batches, size, offset = section.take(offset, left, not taken, leader_epoch)
            taken += batches
            left -= size
            section = self._cached(offset) if offset == last.next else None
        self._readers[offset] = None
        if len(self._readers) > _READERS:
            del self._readers[next(iter(self._readers))]
        if reads_on and last.next < self.end and self._cached(last.next) is None:
            Deferred.fromCoroutine(self._fetched(last.next, leader_epoch)).addErrback(self._not_ahead)
        return taken

    def _not_ahead(self, failure: Failure) -> None:
        # whoever reads on is told, having tried it again
        _log.debug("{name} was not read ahead: {why}", name=self._name, why=failure.getErrorMessage())

    def _cached(self, offset: int) -> Section | None:
        at = bisect_right(self._sections, offset, key=_first) - 1
        if at >= 0 and offset < self._sections[at].next:
            return self._sections[at]
        return None

    async def _fetched(self, offset: int, leader_epoch: int) -> Section | None:
        """The section that holds an offset or is the next one behind it, from the filer."""
        seen: set[tuple[str, int]] = set()
        while (where := await self.log.locate(offset)) is not None:
            index, position = where
            key = (self.files[index].name, position)
            section = await self._loaded(key, index, position, leader_epoch)
            if section is not None and section.next > offset and (section.first <= offset or key in seen):
                return section
            if key in seen:
                break
            seen.add(key)
        return None

    def _loaded(self, key: tuple[str, int], index: int, position: int, epoch: int) -> Deferred[Section | None]:
        """Load a section, together with all who want the same one."""
        waiting: Deferred[Section | None] = Deferred()
        if key in self._loads:
            self._loads[key].append(waiting)
            return waiting
        self._loads[key] = [waiting]
        segments = self._segments(index, position)
        load: Deferred[Any] = self._cache.in_turn(lambda: Deferred.fromCoroutine(self._load(segments, epoch)))
        load.addBoth(self._deliver, key)
        return waiting

    def _deliver(self, result: Any, key: tuple[str, int]) -> None:
        for waiting in self._loads.pop(key):
            waiting.callback(result)

    def _segments(self, index: int, position: int) -> list[tuple[LogFile, int]]:
        """What to read at once: a piece of one file, or what is left of it and whole files behind it."""
        files = self.files
        room = self.log.piece_bytes - (files[index].size - position)
        segments = [(files[index], position)]
        for file in files[index + 1 : index + _MOST_FILES]:
            room -= file.size
            if room < 0:
                break
            segments.append((file, 0))
        return segments

    async def _load(self, segments: list[tuple[LogFile, int]], epoch: int) -> Section | None:
        pieces: list[bytes] = []
        for at in range(0, len(segments), _READS):
            reads = [
                Deferred.fromCoroutine(self.log.piece(file, position)) for file, position in segments[at : at + _READS]
            ]
            pieces += await together(reads)
        decoded: Decoded = await self._cache.call(decode, pieces, epoch)
        for (file, position), span in zip(segments, decoded.spans, strict=True):
            file.noted(position, span, decoded.newest)
        section = decoded.section
        if section is not None and not self._closed and section.size <= self._cache.limit:
            insort(self._sections, section, key=_first)
            self._cache.keep(section, self._sections.remove)
        return section

    async def _whole_again(self, work: Callable[[], Any]) -> Any:
        """Do it once more with a new list where a file is gone."""
        try:
            return await work()
        except FileGone:
            await self.log.refresh(whole=True)
            return await work()

    # Looking through.

    async def _look_through(
        self, from_offset: int, look: Callable[[bytes], T], use: Callable[[LogFile, int, T], bool], floor: int | None
    ) -> None:
        """
        Look at each piece from an offset on.

        @param look: runs in the bridge's threads.
        @param use: is given what C{look} found in which file and where; says whether that is enough.
        @param floor: leave out files of which it is known that no timestamp in them is as late as this.
        """
        where = await self.log.locate(from_offset)
        if where is None:
            return
        index, position = where
        for file in self.files[index:]:
            while position < file.size:
                if floor is not None and file.max_timestamp is not None and file.max_timestamp < floor:
                    break
                piece = await self.log.piece(file, position)
                found = await self._cache.call(look, piece)
                file.noted(position, found.span, found.newest if isinstance(found, Timed) else None)
                if use(file, position, found):
                    return
                if not found.span.count:
                    break
                position += found.span.consumed
            position = 0

    def entries(self, from_offset: int, receive: Callable[[list[LogEntry]], None]) -> Deferred[int]:
        """
        Hand over all entries from an offset on, in pieces, each once it was read; for recovery.

        @return: fires with the offset behind the last one, which is C{from_offset} where there was none.
        """
        return Deferred.fromCoroutine(self._entries(from_offset, receive))

    async def _entries(self, from_offset: int, receive: Callable[[list[LogEntry]], None]) -> int:
        following = from_offset

        def use(_file: LogFile, _position: int, found: Entries) -> bool:
            nonlocal following
            wanted = [entry for entry in found.entries if entry.offset >= following]
            if wanted:
                following = found.span.last_offset + 1
                receive(wanted)
            return False

        await self._look_through(from_offset, read_entries, use, None)
        return following

    def offset_for_time(self, timestamp: int, from_offset: int = 0) -> Deferred[tuple[int, int] | None]:
        """
        Find the first record at or behind C{from_offset} whose Kafka timestamp (ms) is C{timestamp} or later.

        Files that were never decoded are; what is learnt of their timestamps is remembered.

        @return: fires with its timestamp and offset, C{None} where no log file has one.
        """

        async def look() -> tuple[int, int] | None:
            found: tuple[int, int] | None = None

            def use(_file: LogFile, _position: int, timed: Timed) -> bool:
                nonlocal found
                found = timed.found
                return found is not None

            await self._look_through(
                from_offset, partial(look_for_time, timestamp=timestamp, from_offset=from_offset), use, timestamp
            )
            return found

        return Deferred.fromCoroutine(self._whole_again(look))

    def max_timestamp(self, from_offset: int = 0) -> Deferred[tuple[int, int] | None]:
        """
        Find the first of the records with the largest Kafka timestamp.

        @return: fires with its timestamp and offset, C{None} where no log file has a record.
        """

        async def look() -> tuple[int, int] | None:
            best: tuple[int, int] | None = None
            # what is known already saves looking at most files
            known = [file.max_timestamp for file in self.files if from_offset <= file.first]
            floor = max([newest for newest in known if newest is not None], default=None)

            def use(_file: LogFile, _position: int, timed: Timed) -> bool:
                nonlocal best
                if timed.found is not None and (best is None or _rank(timed.found) > _rank(best)):
                    best = timed.found
                return False

            await self._look_through(from_offset, partial(look_for_newest, from_offset=from_offset), use, floor)
            return best

        return Deferred.fromCoroutine(self._whole_again(look))

    def newest_in(self, file: LogFile) -> Deferred[int | None]:
        """
        Find the largest Kafka timestamp in one of L{files}, for retention by time.

        @return: fires with C{None} where it has no record.
        """

        async def look() -> int | None:
            position = file.timed
            while file.max_timestamp is None and position < file.size:
                timed: Timed = await self._cache.call(look_for_newest, await self.log.piece(file, position), 0)
                file.noted(position, timed.span, timed.newest)
                if not timed.span.count:
                    break
                position += timed.span.consumed
            return file.newest

        return Deferred.fromCoroutine(look())

    # Deleting.

    def delete_before(self, offset: int) -> Deferred[int]:
        """
        Remove the files at the beginning of which no record is at or behind C{offset}.

        The last file whose attributes name its offsets stays, and so do those behind it: from them the engine knows
        where its log ends.

        @return: fires with how many were removed.
        """
        return Deferred.fromCoroutine(self._whole_again(partial(self._delete_before, offset)))

    async def _delete_before(self, offset: int) -> int:
        await self.log.refresh()
        attributed = [at for at, file in enumerate(self.files) if file.claimed is not None]
        last_to_go = attributed[-1] if attributed else 0
        removed: set[str] = set()
        try:
            for file in self.files[:last_to_go]:
                # what the entries say, and not the attributes
                if await self.log.end_of(file) > offset:
                    break
                await self.log.filer.delete(self.log.path, file.name)
                removed.add(file.name)
        finally:
            if removed:
                self.log.removed(removed)
                first = self.files[0].first if self.files else offset
                self._drop([section for section in self._sections if section.next <= first])
        return len(removed)


def _rank(one: tuple[int, int]) -> tuple[int, int]:
    return one[0], -one[1]


def _first(section: Section) -> int:
    return section.first
