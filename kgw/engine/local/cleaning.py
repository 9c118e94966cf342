"""The work of one compaction, in a thread: the map of the newest offsets, then segments written without the rest."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kgw.engine.local.key_map import KeyMap
from kgw.engine.local.pace import Pace
from kgw.engine.local.rewriting import Rules, add_keys, rewritten
from kgw.engine.local.segment import CLEANED, LOG, MAX_RELATIVE, Handles, Segment, write_rest
from kgw.engine.local.swaps import discard
from kgw.errors import WireError
from kgw.model import LogConfig
from kgw.wire.records import HEADER_SIZE, BatchHeader, empty_batch, peek

#: Bytes copied at a time of batches that stay as they are.
_COPY = 1 << 18
#: Bytes written between two waits for the disk; a single one at the end might take long, and a stop waits for it.
_SYNC = 1 << 25
#: Positions in a segment have 31 bits.
_MOST_BYTES = (1 << 31) - 1


class Uncleanable(Exception):
    """The log's files are not what they should be; compaction leaves them alone."""


@dataclass(frozen=True, slots=True)
class Source:
    """
    One segment to be cleaned, as this thread sees it.

    @ivar following: the base offset of the next one.
    """

    view: Segment
    following: int


@dataclass(slots=True)
class Cleaned:
    """
    What was made of some segments.

    @ivar count: how many.
    @ivar segment: the one in their place, at its C{.cleaned} names; C{None} where a single one stays as it is.
    @ivar bytes_before: in the old ones.
    @ivar bytes_after: in the new one.
    """

    count: int
    segment: Segment | None
    bytes_before: int
    bytes_after: int


def newest_offsets(sources: Sequence[Source], begin: int, limit: int, chunk: int, pace: Pace) -> KeyMap:
    """
    Map the keys from offset C{begin} on, as many as there is room for; blocks.

    The map ends behind a batch, and has those of one batch at least.

    @param limit: bytes of the map.
    @param chunk: bytes read at a time.
    @raise Uncleanable: a segment is damaged.
    @raise NotWanted: stopped.
    @raise OSError: the files cannot be read.
    """
    keys = KeyMap(limit, begin)
    for source in sources:
        if source.following <= begin:
            continue
        for _, header, data, at in _batches(source.view, chunk, pace, begin):
            add_keys(keys, header, data, at, pace)
            keys.end_offset = header.next_offset
            if len(keys) >= keys.most:
                return keys
        keys.end_offset = source.following
    return keys


def clean(sources: Sequence[Source], keys: KeyMap, rules: Rules, config: LogConfig, chunk: int, pace: Pace) -> Cleaned:
    """
    Write one segment of the first of C{sources}, and of as many behind it as fit in with it; blocks.

    The new segment ends with the offset that the last of them did, if need be with a batch without records: so
    nothing that is missing at the end of a file is ever taken for compacted away. It is on the disk, under its
    C{.cleaned} names.

    @raise Uncleanable: a segment is damaged.
    @raise NotWanted: stopped; nothing is left behind.
    @raise OSError: the disk does not do as told; nothing is left behind.
    """
    stem = sources[0].view.stem
    output = _Output(sources[0].view, config)
    count = before = 0
    try:
        for source in sources:
            if count and not output.has_room(source):
                break
            output.begin(source.view, pace)
            for position, header, data, at in _batches(source.view, chunk, pace, 0):
                if not header.count and header.producer_id < 0 and header.next_offset == source.following:
                    # It was put there by an earlier run, as may be one by this.
                    output.ends_empty = True
                    continue
                left = rewritten(header, data, at, keys, rules, pace)
                if left is None:
                    output.keep(position, header, pace)
                else:
                    output.replace(position, left, pace)
            count += 1
            before += source.view.position
        made = output.finish(sources[count - 1].following, pace)
    except BaseException:
        output.close()
        discard(stem)
        raise
    return Cleaned(count, made, before, made.position if made else before)


class _Output:
    """
    One segment in the making.

    While all batches of the first source stay, nothing is written; runs of batches that stay are copied at once.

    @ivar ends_empty: the last batch of the source has no records, and was passed over.
    """

    def __init__(self, first: Segment, config: LogConfig) -> None:
        self._config = config
        self._segment = Segment(os.path.dirname(first.stem), first.base_offset, Handles(1))
        self._segment.start_indexes(CLEANED)
        self._path = first.stem + LOG + CLEANED
        self._descriptor = -1
        self._source: Segment | None = None
        self.ends_empty = False
        #: What stays of the source and was not copied yet, from one position to another.
        self._run = (0, 0)
        self._end = first.base_offset
        self._epoch = -1
        self._unsynced = 0

    def has_room(self, source: Source) -> bool:
        """Whether all of one more segment could stay."""
        segment, config = self._segment, self._config
        entries = segment.position // max(1, config.index_interval_bytes) + 2
        entries += source.view.position // max(1, config.index_interval_bytes)
        return (
            segment.position + source.view.position <= config.segment_bytes
            and source.following - 1 - segment.base_offset <= MAX_RELATIVE
            and entries * 8 <= config.segment_index_bytes
        )

    def begin(self, view: Segment, pace: Pace) -> None:
        """Go on with another source."""
        if self._source is not None:
            self._write()
            self._flush(pace)
        self._source, self.ends_empty = view, False

    def keep(self, position: int, header: BatchHeader, pace: Pace) -> None:
        """A batch of the source stays."""
        if self._descriptor >= 0 and self._run[1] - self._run[0] >= _COPY:
            self._flush(pace)
        begin, end = self._run
        self._run = (begin if end == position and begin != end else position, position + header.size)
        self._account(header)

    def replace(self, position: int, data: bytes, pace: Pace) -> None:
        """A batch of the source becomes another, or nothing."""
        self._write()
        self._flush(pace)
        if data:
            header = peek(data)
            self._account(header)
            self._put(data, self._segment.position - header.size)
            pace.moved(len(data))

    def _account(self, header: BatchHeader) -> None:
        segment = self._segment
        if segment.position + header.size > _MOST_BYTES:
            raise Uncleanable(f"{segment} becomes too long")
        segment.account(
            header.size, header.last_offset, header.max_timestamp, segment.position, self._config.index_interval_bytes
        )
        segment.position += header.size
        self._end, self._epoch = header.next_offset, max(self._epoch, header.leader_epoch)

    def _write(self) -> None:
        """Have a file."""
        if self._descriptor < 0:
            flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
            self._descriptor = os.open(self._path, flags, 0o644)

    def _put(self, data: bytes, position: int) -> None:
        write_rest(self._descriptor, data, 0, position)
        self._unsynced += len(data)
        if self._unsynced >= _SYNC:
            os.fdatasync(self._descriptor)
            self._unsynced = 0

    def _flush(self, pace: Pace) -> None:
        """Copy the run."""
        begin, end = self._run
        self._run = (0, 0)
        if begin == end:
            return
        assert self._source is not None
        # All of the run was accounted for, and nothing behind it.
        to = self._segment.position - (end - begin)
        while begin < end:
            data = os.pread(self._source.descriptor(), min(_COPY, end - begin), begin)
            if not data:
                raise Uncleanable(f"{self._source} is cut short")
            self._put(data, to)
            begin, to = begin + len(data), to + len(data)
            pace.moved(2 * len(data))

    def finish(self, following: int, pace: Pace) -> Segment | None:
        """
        Bring all of it to the disk.

        @return: C{None} where nothing was written, as nothing has changed.
        """
        segment = self._segment
        if self._descriptor < 0 and self.ends_empty:
            return None
        if self._end < following:
            self._write()
            self._flush(pace)
            data = empty_batch(self._end, following - 1, max(self._epoch, 0))
            self._account(peek(data))
            write_rest(self._descriptor, data, 0, segment.position - len(data))
        if self._descriptor < 0:
            return None
        self._flush(pace)
        segment.seal()
        assert self._source is not None
        # By this the age of records without timestamps is counted.
        written_ns = os.fstat(self._source.descriptor()).st_mtime_ns
        os.utime(self._descriptor, ns=(written_ns, written_ns))
        os.fsync(self._descriptor)
        self.close()
        for path in (segment.offsets().path, segment.times().path):
            _sync(path)
        segment.flushed = segment.position
        return segment

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _batches(view: Segment, chunk: int, pace: Pace, begin: int) -> Iterator[tuple[int, BatchHeader, bytes, int]]:
    """
    Each batch from the one that holds offset C{begin} on, its position, its header, and where all of its bytes are.
    """
    end = view.position
    at = view.offsets().before(begin - view.base_offset) if begin > view.base_offset else 0
    data, start = b"", at
    while at < end:
        if at - start + HEADER_SIZE > len(data):
            data, start = os.pread(view.descriptor(), min(chunk, end - at), at), at
            pace.moved(len(data))
        try:
            header = peek(data, at - start)
        except WireError as error:
            raise Uncleanable(f"byte {at} of {view}: {error}") from None
        if at - start + header.size > len(data):
            data, start = os.pread(view.descriptor(), min(max(chunk, header.size), end - at), at), at
            pace.moved(len(data))
            if header.size > len(data):
                raise Uncleanable(f"no whole batch at byte {at} of {view}")
        if header.last_offset >= begin:
            yield at, header, data, at - start
        at += header.size
        pace.step()
