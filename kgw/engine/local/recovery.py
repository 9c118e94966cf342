"""Opening a partition's folder: trust what a clean stop or a checkpoint vouches for, check the rest byte by byte."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Collection
from dataclasses import dataclass, field

from kgw.engine.local.checkpoint import LEADER_EPOCHS, format_pairs, read_file, read_pairs, replace_file
from kgw.engine.local.segment import (
    CLEANED,
    DAMAGED,
    DELETED,
    INDEX,
    LOG,
    RECYCLED,
    SWAP,
    TIME_INDEX,
    Handles,
    Hole,
    Segment,
    file_name,
    unlink_if_there,
)
from kgw.engine.local.spares import SPOILT
from kgw.engine.local.swaps import finish
from kgw.errors import WireError
from kgw.log.producer_state import ProducerStates
from kgw.wire.crc32c import crc32c
from kgw.wire.records import CRC_END, HEADER_SIZE, BatchHeader, peek

SNAPSHOT = ".snapshot"
_LEFTOVERS = (DELETED, ".tmp", CLEANED, SWAP)
_CHUNK = 1 << 20
_ZEROS = bytes(_CHUNK)


@dataclass(slots=True)
class Recovered:
    """
    What a partition's folder holds.

    @ivar segments: in order, one at least; the last one is to be written, the others are sealed.
    @ivar end_offset: that of the next record.
    @ivar epochs: each leader epoch and its first offset, both rising; one at least.
    @ivar snapshots: the offsets of the producer snapshots there are, rising.
    @ivar notes: what people should know of the recovery, one line each.
    """

    segments: list[Segment]
    end_offset: int
    epochs: list[tuple[int, int]]
    producers: ProducerStates
    snapshots: list[int]
    notes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Recovery:
    """
    How to open folders.

    @ivar clean: the last stop was clean, so the files are complete.
    @ivar index_interval: bytes between index entries that are made anew.
    """

    clean: bool
    handles: Handles
    producer_expiration_ms: int

    def open(self, folder: str, start_offset: int, recovery_point: int, index_interval: int) -> Recovered:
        """
        Open one folder. Blocks; runs on any thread as long as nothing else uses the folder.

        @param start_offset: the log start offset, which was written down durably; it may be behind what a power
            cut has left, and offsets must not be given a second time.
        @param recovery_point: offsets below it are known to be good.
        @raise OSError: a file cannot be read or written.
        """
        names = set(os.listdir(folder))
        if finish(folder, names):
            names = set(os.listdir(folder))
        for name in names:
            if name.endswith(_LEFTOVERS):
                os.unlink(os.path.join(folder, name))
        bases = sorted(int(name[:20]) for name in names if name[20:] == LOG and name[:20].isdigit())
        segments = [Segment(folder, base, self.handles) for base in bases or [start_offset]]
        notes: list[str] = []
        end = segments[0].base_offset
        for at, segment in enumerate(segments):
            following = segments[at + 1].base_offset if at + 1 < len(segments) else None
            end = self._open_segment(segment, following, recovery_point, index_interval, names, notes)
        for name in names:
            if name.endswith(RECYCLED):
                # All files end where the log in them does by now.
                unlink_if_there(os.path.join(folder, name))
        producers = ProducerStates(self.producer_expiration_ms)
        snapshots = _restore(folder, names, segments, end, producers, notes)
        if end < start_offset:
            notes.append(f"the log ends at offset {end}, in front of where it starts; it goes on at {start_offset}")
            segments, end = [self._begin_anew(folder, segments, start_offset)], start_offset
        epochs = self._epochs(folder, segments, end, self.clean and not notes)
        return Recovered(segments, end, epochs, producers, snapshots, notes)

    def _open_segment(
        self,
        segment: Segment,
        following: int | None,
        recovery_point: int,
        interval: int,
        names: Collection[str],
        notes: list[str],
    ) -> int:
        """Make one segment ready; returns the offset behind it."""
        name = file_name(segment.base_offset)
        indexed = name + INDEX in names and name + TIME_INDEX in names
        if name + LOG not in names:
            segment.create()
        size = segment.position = os.stat(segment.stem + LOG).st_size
        segment.recycled = name + RECYCLED in names
        if name + DAMAGED in names:
            segment.load_holes()
        if following is not None and (self.clean or following <= recovery_point):
            if not indexed:
                notes.append(f"{segment.stem}{LOG}: indexes built anew")
                segment.build_indexes(interval)
                segment.seal()
            segment.sealed = True
            segment.flushed = size
            return following
        if self.clean and following is None and (not size or indexed):
            found = _trusted_end(segment, interval)
            if found is not None:
                segment.flushed = size
                return found
        end = _check(segment, following, recovery_point, interval, indexed, notes)
        segment.recycled = False
        if following is None:
            return end
        segment.seal()
        return following

    def _begin_anew(self, folder: str, segments: list[Segment], start_offset: int) -> Segment:
        """Remove segments that hold nothing but what was trimmed away; returns an empty one."""
        for segment in segments:
            segment.release()
            for ending in (LOG, INDEX, TIME_INDEX, DAMAGED):
                unlink_if_there(segment.stem + ending)
        segment = Segment(folder, start_offset, self.handles)
        segment.create()
        segment.start_indexes()
        return segment

    def _epochs(self, folder: str, segments: list[Segment], end: int, clean: bool) -> list[tuple[int, int]]:
        """The leader epochs; an unclean stop begins another, because what clients saw may have been cut."""
        path = os.path.join(folder, LEADER_EPOCHS)
        found = read_pairs(path)
        epochs = [pair for pair in found if pair[1] <= end]
        if not epochs:
            last = [header.leader_epoch for _, header in segments[-1].headers(max(end - 1, 0))]
            epochs = [(max([0, *last]), segments[0].base_offset)]
        if not clean:
            epoch = epochs[-1][0] + 1
            epochs = [pair for pair in epochs if pair[1] < end]
            epochs.append((epoch, end))
        if epochs != found:
            replace_file(path, format_pairs(epochs), durable=False)
        return epochs


def _trusted_end(segment: Segment, interval: int) -> int | None:
    """The offset behind a segment that was closed cleanly; C{None} where its files contradict each other."""
    if not segment.position:
        segment.start_indexes()
        return segment.base_offset
    if not segment.load_indexes():
        return None
    at = _resume_at_index(segment)
    if at is None:
        return None
    end, position = segment.base_offset, at
    holes = {hole.position: hole for hole in segment.holes}
    for found, header in segment.headers(segment.base_offset if not at else _first_offset(segment, at)):
        if found < at:
            continue
        if header.base_offset < end:
            return None
        segment.account(header.size, header.last_offset, header.max_timestamp, found, interval)
        end, position = header.next_offset, found + header.size
    if position in holes:
        end, position = holes[position].last_offset + 1, holes[position].end
    return end if position == segment.position else None


def _first_offset(segment: Segment, position: int) -> int:
    return peek(os.pread(segment.descriptor(), HEADER_SIZE, position)).base_offset


def _resume_at_index(segment: Segment) -> int | None:
    """
    Make ready to go on from the last entry of the indexes.

    @return: the position of that entry's batch, 0 where there is no entry; C{None} where the entry is wrong.
    """
    offsets, times = segment.offsets(), segment.times()
    segment.unindexed = 0
    if len(times):
        segment.max_timestamp = times.timestamps[-1]
        segment.max_timestamp_offset = segment.base_offset + times.offsets[-1]
    try:
        head = peek(os.pread(segment.descriptor(), HEADER_SIZE, 0))
        if not len(offsets):
            return 0
        segment.first_timestamp = head.max_timestamp
        position = offsets.positions[-1]
        header = peek(os.pread(segment.descriptor(), HEADER_SIZE, position))
    except WireError:
        return 0 if not len(offsets) else None
    return position if header.last_offset == segment.base_offset + offsets.offsets[-1] else None


def _check(
    segment: Segment, following: int | None, recovery_point: int, interval: int, indexed: bool, notes: list[str]
) -> int:
    """
    Check a segment's batches from the recovery point on, and cut what is not whole at the end of the log.

    @param following: the base offset of the next segment.
    @return: the offset behind the last sound batch.
    """
    position, expected = _begin_check(segment, recovery_point, indexed)
    segment.flushed = position
    known = len(segment.holes)
    size = segment.position
    reader = _Reader(segment.descriptor(), size, segment.base_offset if segment.recycled else -1)
    while position < size and expected != following:
        header = reader.batch(position)
        if header is not None and (
            header.base_offset == expected or reader.is_behind_gap(position, header, expected, following)
        ):
            segment.account(header.size, header.last_offset, header.max_timestamp, position, interval)
            position += header.size
            expected = header.next_offset
            continue
        if reader.is_zero(position):
            break
        found = reader.neighbour(position, expected) or reader.search(position + 1, expected)
        if found is None:
            break
        segment.holes.append(Hole(expected, found[1] - 1, position, found[0]))
        position, expected = found
    if following is not None and expected < following:
        segment.holes.append(Hole(expected, following - 1, position, size))
    elif position < size:
        # Space allocated ahead and an old file's batches are to be expected there, and nothing to speak of.
        if not segment.recycled and not reader.is_zero(position):
            cut = f"cut what is no whole batch from byte {position} on"
            notes.append(f"{segment.stem}{LOG}: {cut}; the log ends at offset {expected}")
        os.ftruncate(segment.descriptor(), position)
        segment.position = position
    for hole in segment.holes[known:]:
        notes.append(
            f"{segment.stem}{LOG}: bytes {hole.position} to {hole.end} are damaged; readers of offsets "
            f"{hole.first_offset} to {hole.last_offset} get CORRUPT_MESSAGE"
        )
    if segment.holes or os.path.exists(segment.stem + DAMAGED):
        replace_file(segment.stem + DAMAGED, segment.save_holes(), durable=False)
    return expected


def _begin_check(segment: Segment, recovery_point: int, indexed: bool) -> tuple[int, int]:
    """The position and offset of the batch to check first; the indexes then hold what is before it."""
    base = segment.base_offset
    if indexed and recovery_point > base and segment.load_indexes():
        segment.offsets().cut(recovery_point - base, segment.position)
        segment.times().cut(recovery_point - base)
        position = _resume_at_index(segment)
        if position:
            segment.holes = [hole for hole in segment.holes if hole.end <= position]
            return position, _first_offset(segment, position)
    segment.start_indexes()
    segment.holes = []
    segment.max_timestamp, segment.max_timestamp_offset, segment.first_timestamp = -1, base, -1
    return 0, base


class _Reader:
    """Reads a segment from front to back in large pieces."""

    def __init__(self, descriptor: int, size: int, stale: int) -> None:
        """
        @param stale: batches with offsets below it are left from when the file was another segment's; -1 for none.
        """
        self._descriptor = descriptor
        self._size = size
        self._stale = stale
        self._start = 0
        self._data = b""

    def _view(self, position: int, length: int) -> int:
        """Have C{length} bytes from C{position} on in C{_data}, if the file has them; returns where."""
        if not self._start <= position <= self._start + len(self._data) - length:
            length = max(length, _CHUNK)
            self._data = os.pread(self._descriptor, min(length, self._size - position), position)
            self._start = position
        return position - self._start

    def batch(self, position: int, spoilt: int = 0) -> BatchHeader | None:
        """
        The header of the whole and sound batch at C{position}; C{None} where there is none.

        @param spoilt: by what the checksum is known to be wrong.
        """
        try:
            at = self._view(position, HEADER_SIZE)
            header = peek(self._data, at)
        except WireError:
            return None
        if position + header.size > self._size:
            return None
        at = self._view(position, header.size)
        sound = crc32c(self._data[at + CRC_END : at + header.size]) == header.crc ^ spoilt
        return header if sound and header.last_offset_delta >= 0 else None

    def is_behind_gap(self, position: int, header: BatchHeader, expected: int, following: int | None) -> bool:
        """
        Whether offsets in front of a sound batch were compacted away, or its own is damaged, which no checksum covers.

        They were if what is behind it still agrees with its offset: without compaction there would be one offset too
        few. The active segment is never compacted.
        """
        if following is None or not expected < header.base_offset < header.next_offset <= following:
            return False
        behind = position + header.size
        after = self.batch(behind) if behind < self._size else None
        return after is None or after.base_offset >= header.next_offset

    def neighbour(self, position: int, expected: int) -> tuple[int, int] | None:
        """The sound batch right behind a damaged one whose length is right, for nothing is surer than that."""
        try:
            at = self._view(position, HEADER_SIZE)
            behind = position + peek(self._data, at).size
        except WireError:
            return None
        header = self.batch(behind) if behind < self._size else None
        return (behind, header.base_offset) if header is not None and header.base_offset > expected else None

    def is_zero(self, position: int) -> bool:
        """Whether there are nothing but zeros to the end of the file: space that was allocated and not written."""
        while position < self._size:
            try:
                # Over space that no block was written of, at once.
                position = max(position, os.lseek(self._descriptor, position, os.SEEK_DATA))
            except OSError as error:
                if error.errno == errno.ENXIO:
                    return True
            data = os.pread(self._descriptor, min(_CHUNK, self._size - position), position)
            if not data or data != _ZEROS[: len(data)]:
                return not data
            position += len(data)
        return True

    def search(self, position: int, expected: int) -> tuple[int, int] | None:
        """
        The position and base offset of the next sound batch behind damage, with an offset above C{expected}.

        A batch left of the segment whose file this was before (L{Spares}) ends the search: a log is written from
        front to back over what is there, so nothing new is behind it that was ever durable.
        """
        # A base offset's upper half, a length below 112 MiB and the magic byte leave few places to look at.
        prefix = re.escape(expected.to_bytes(8, "big")[:4])
        pattern = re.compile(b"(?s)(?=" + prefix + b".{4}[\\x00-\\x06].{7}\\x02)")
        while position + HEADER_SIZE <= self._size:
            data = os.pread(self._descriptor, min(_CHUNK, self._size - position), position)
            for match in pattern.finditer(data):
                at = position + match.start()
                header = self.batch(at)
                if header is not None and header.base_offset > expected:
                    return at, header.base_offset
                old = self.batch(at, SPOILT) if self._stale >= 0 and header is None else None
                if old is not None and old.next_offset <= self._stale:
                    return None
            position += max(1, len(data) - HEADER_SIZE)
        return None


def _restore(
    folder: str, names: Collection[str], segments: list[Segment], end: int, producers: ProducerStates, notes: list[str]
) -> list[int]:
    """Bring back the producers' state from the newest snapshot and the batches behind it."""
    snapshots = sorted(int(name[:20]) for name in names if name.endswith(SNAPSHOT) and name[:20].isdigit())
    start = segments[0].base_offset
    while snapshots:
        path = os.path.join(folder, file_name(snapshots[-1]) + SNAPSHOT)
        if snapshots[-1] <= end:
            try:
                producers.restore(read_file(path) or b"")
                start = snapshots[-1]
                break
            except ValueError as error:
                notes.append(f"{path}: not used: {error}")
        os.unlink(path)
        snapshots.pop()
    for at, segment in enumerate(segments):
        behind = segments[at + 1].base_offset if at + 1 < len(segments) else end
        if start < behind and segment.position:
            written_ms = int(os.stat(segment.stem + LOG).st_mtime * 1000)
            for _, header in segment.headers(start):
                if header.producer_id >= 0 and header.base_offset >= start:
                    producers.replay(header, written_ms)
    return snapshots
