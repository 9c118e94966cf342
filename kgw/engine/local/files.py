"""The files of one partition's log: its segments in order, and the snapshots of its producers."""

from __future__ import annotations

import os
from bisect import bisect_right

from kgw.engine.local.checkpoint import replace_file
from kgw.engine.local.recovery import SNAPSHOT, Recovered
from kgw.engine.local.segment import DAMAGED, DELETED, INDEX, LOG, TIME_INDEX, Handles, Segment, file_name
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
    """

    def __init__(self, folder: str, found: Recovered, handles: Handles) -> None:
        self.segments = found.segments
        self.bases = [segment.base_offset for segment in found.segments]
        self.active = found.segments[-1]
        self._folder = folder
        self._handles = handles
        self._snapshots = found.snapshots

    def below(self, offset: int) -> list[Segment]:
        """The sealed segments that hold nothing at or behind C{offset}."""
        return self.segments[: max(0, bisect_right(self.bases, offset) - 1)]

    def unsynced(self, recovery_point: int) -> list[Segment]:
        """The sealed segments that hold something at or behind a recovery point."""
        return self.segments[len(self.below(recovery_point)) : -1]

    def roll(self, base_offset: int, producers: ProducerStates) -> Segment:
        """
        Seal the active segment and begin another one.

        @return: the one that was sealed.
        """
        sealed = self.active
        segment = Segment(self._folder, base_offset, self._handles)
        segment.descriptor()
        segment.start_indexes()
        try:
            self.save_snapshot(base_offset, producers)
            sealed.seal()
        except OSError:
            segment.release()
            os.unlink(segment.stem + LOG)
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
            os.unlink(self._snapshot_path(self._snapshots[0]))
            del self._snapshots[0]

    def _snapshot_path(self, offset: int) -> str:
        return os.path.join(self._folder, file_name(offset) + SNAPSHOT)

    def read(self, offset: int, max_bytes: int, at_least_one: bool) -> tuple[list[Buffer], int]:
        """
        Whole batches from the one that holds C{offset}, one buffer for each segment that is touched.

        @raise KafkaError: C{CORRUPT_MESSAGE} where the first of them is damaged.
        """
        at, size = bisect_right(self.bases, offset) - 1, 0
        records: list[Buffer] = []
        while True:
            found, length, at_end = self.segments[at].read(offset, max_bytes - size, at_least_one and not size)
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

    def discard(self, offset: int) -> list[str]:
        """
        Take the sealed segments below C{offset} out of the log.

        @return: the files that are left to be unlinked.
        """
        gone, paths = self.below(offset), []
        for segment in gone:
            segment.release()
            for path in (segment.stem + ending for ending in (LOG, INDEX, TIME_INDEX, DAMAGED)):
                if os.path.exists(path):
                    os.rename(path, path + DELETED)
                    paths.append(path + DELETED)
        del self.segments[: len(gone)], self.bases[: len(gone)]
        return paths

    def release(self) -> None:
        """Close everything."""
        for segment in self.segments:
            segment.release()
