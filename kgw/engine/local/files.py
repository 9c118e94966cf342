"""The files of one partition's log: its segments in order, and the snapshots of its producers."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Callable, Sequence

from kgw.engine.local.checkpoint import replace_file
from kgw.engine.local.pages import NotInMemory
from kgw.engine.local.recovery import SNAPSHOT, Recovered
from kgw.engine.local.segment import (
    DAMAGED,
    DELETED,
    INDEX,
    LOG,
    RECYCLED,
    TIME_INDEX,
    Handles,
    Segment,
    file_name,
    unlink_if_there,
)
from kgw.log.producer_state import ProducerStates
from kgw.model import Buffer

#: The newest snapshot, and one more for when that is found to be damaged.
_KEPT_SNAPSHOTS = 2


class LogFiles:
    """
    One partition's files. All methods but L{read} may raise C{OSError}, having changed nothing that matters.

    @ivar segments: in order, one at least.
    @ivar bases: their base offsets.
    @ivar active: the last one, which is written.
    @ivar folder: where they are.
    @ivar closed: nothing is to be read any more.
    """

    def __init__(self, folder: str, found: Recovered, handles: Handles) -> None:
        self.segments = found.segments
        self.bases = [segment.base_offset for segment in found.segments]
        self.active = found.segments[-1]
        self.folder = folder
        self.closed = False
        self._handles = handles
        self._snapshots = found.snapshots

    def below(self, offset: int) -> list[Segment]:
        """The sealed segments that hold nothing at or behind C{offset}."""
        return self.segments[: max(0, bisect_right(self.bases, offset) - 1)]

    def unsynced(self, recovery_point: int) -> list[Segment]:
        """The sealed segments that hold something at or behind a recovery point."""
        return self.segments[len(self.below(recovery_point)) : -1]

    def roll(self, base_offset: int, producers: ProducerStates, spare: tuple[str, int] | None = None) -> Segment:
        """
        Seal the active segment and begin another one.

        @param spare: an old file of this log for it, and its length; gone with an error.
        @return: the one that was sealed.
        """
        sealed = self.active
        segment = Segment(self.folder, base_offset, self._handles)
        try:
            if spare is not None:
                segment.begin_in(*spare)
            segment.create()
            segment.start_indexes()
            self.save_snapshot(base_offset, producers)
            # Whoever opens a sealed segment takes the file's end for the log's.
            sealed.trim()
            sealed.seal()
        except OSError:
            segment.release()
            for path in (segment.stem + LOG, segment.stem + RECYCLED, *(spare[:1] if spare else ())):
                unlink_if_there(path)
            raise
        self.segments.append(segment)
        self.bases.append(base_offset)
        self.active = segment
        return sealed

    def has_snapshot(self, offset: int) -> bool:
        """Whether the newest snapshot is of this offset."""
        return bool(self._snapshots) and self._snapshots[-1] == offset

    def save_snapshot(self, offset: int, producers: ProducerStates) -> None:
        """Write down what is known of the producers at the log's end, from which recovery goes on."""
        if self.has_snapshot(offset):
            return
        replace_file(self._snapshot_path(offset), producers.snapshot(), durable=False)
        self._snapshots.append(offset)
        while len(self._snapshots) > _KEPT_SNAPSHOTS:
            unlink_if_there(self._snapshot_path(self._snapshots[0]))
            del self._snapshots[0]

    def _snapshot_path(self, offset: int) -> str:
        return os.path.join(self.folder, file_name(offset) + SNAPSHOT)

    def read(
        self, offset: int, max_bytes: int, at_least_one: bool, pread: Callable[[int, int, int], Buffer]
    ) -> tuple[list[Buffer], int]:
        """
        Whole batches from the one that holds C{offset}, one buffer for each segment that is touched.

        @param pread: see L{Segment.read}.
        @raise KafkaError: C{CORRUPT_MESSAGE} where the first of them is damaged.
        @raise NotInMemory: a thread has to read the first of them.
        """
        at, size = bisect_right(self.bases, offset) - 1, 0
        records: list[Buffer] = []
        while True:
            segment = self.segments[at]
            try:
                if not segment.at_hand:
                    raise NotInMemory
                found, length, at_end = segment.read(offset, max_bytes - size, at_least_one and not size, pread)
            except NotInMemory:
                if size:
                    return records, size
                raise
            if length:
                records.append(found)
                size += length
            at += 1
            if not at_end or size >= max_bytes or at == len(self.segments):
                return records, size
            if size and self.segments[at].holes:
                # What was found is good; the next read says what is not.
                return records, size
            offset = self.bases[at]

    def holding(self, offset: int) -> Segment:
        """The segment in which an offset is."""
        return self.segments[bisect_right(self.bases, offset) - 1]

    def behind(self, segment: Segment) -> Segment | None:
        """The next segment; C{None} behind the last."""
        at = bisect_right(self.bases, segment.base_offset)
        return self.segments[at] if at < len(self.segments) else None

    def discard(self, segment: Segment) -> list[str]:
        """
        Take the first segment, which is sealed, out of the log.

        @return: its files, which are left to be unlinked.
        @raise OSError: it stays, or some small file of it does, which does no harm.
        """
        os.rename(segment.stem + LOG, segment.stem + LOG + DELETED)
        segment.gone = True
        segment.release()
        del self.segments[0], self.bases[0]
        paths = [segment.stem + LOG + DELETED]
        for path in (segment.stem + ending for ending in (INDEX, TIME_INDEX, DAMAGED, RECYCLED)):
            if os.path.exists(path):
                os.rename(path, path + DELETED)
                paths.append(path + DELETED)
        return paths

    def replace(self, old: Sequence[Segment], new: Segment, put_in_place: Callable[[str], None]) -> list[str]:
        """
        Put one sealed segment in the place of others, which follow one another; it has the base offset of the first.

        @param put_in_place: gives the new one's files their names, see L{kgw.engine.local.swaps}.
        @return: the files of the old ones, which are left to be unlinked.
        @raise OSError: nothing is to be read any more, as files have changed; the next start finishes it.
        """
        paths = []
        for segment in old:
            # Before its files go: a thread that misses an index now must not write another over the new one.
            segment.gone = True
        for segment in old:
            for path in (segment.stem + ending for ending in (LOG, INDEX, TIME_INDEX, DAMAGED, RECYCLED)):
                if os.path.exists(path):
                    os.rename(path, path + DELETED)
                    paths.append(path + DELETED)
        put_in_place(new.stem)
        at = self.segments.index(old[0])
        self.segments[at : at + len(old)] = [new]
        self.bases[at : at + len(old)] = [new.base_offset]
        for segment in old:
            segment.release()
        return paths

    def release(self) -> None:
        """Close everything, for good."""
        self.closed = True
        for segment in self.segments:
            segment.gone = True
            segment.release()
