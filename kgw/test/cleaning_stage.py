"""A compacted topic on the embedded engine: what was written to it, and what must be left of that."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from kgw.engine.local.cleaner import CleanerLimits
from kgw.engine.local.partition import LocalPartitionLog
from kgw.interfaces import IPartitionLog
from kgw.model import Fetched, LogConfig
from kgw.test.builders import batches_in
from kgw.test.disk import OnePartition
from kgw.wire.records import Record, RecordBatch, build_batch

DAY_MS = 86_400_000
#: Seconds until a checkpoint and then the cleaner have come by.
WHILE = 80

#: A key, and a value or C{None}.
Pair = tuple[bytes | None, bytes | None]


def keyed(*pairs: Pair, timestamp: int = -1, **options: Any) -> RecordBatch:
    """
    A batch of these records.

    @param timestamp: of all of them, ms.
    @param options: of L{build_batch}.
    """
    return RecordBatch.parse(build_batch([(key, value, (), timestamp) for key, value in pairs], **options))


def records_in(fetched: Fetched) -> list[Record]:
    """All records that a read found."""
    return [record for data in batches_in(fetched) for record in RecordBatch.parse(data).records(1 << 28)]


@dataclass
class History:
    """
    What was appended to one log.

    @ivar records: all records by offset.
    @ivar since_ms: when each was appended.
    """

    records: dict[int, Record] = field(default_factory=dict)
    since_ms: dict[int, int] = field(default_factory=dict)

    def appended(self, base_offset: int, batch: RecordBatch, now_ms: int) -> None:
        """Take note of a batch that was acknowledged."""
        for record in batch.records(1 << 28):
            offset = base_offset + record.offset
            self.records[offset] = record._replace(offset=offset)
            self.since_ms[offset] = now_ms

    def faults(
        self, found: Sequence[Record], start: int, cleaned_to: int, active: int, now_ms: int, delete_retention_ms: int
    ) -> list[str]:
        """
        What is wrong with the records that a log has from its start on.

        @param cleaned_to: as far as compaction has come.
        @param active: where the active segment begins.
        """
        faults = []
        newest: dict[bytes | None, int] = {}
        newest_cleaned: dict[bytes | None, int] = {}
        for offset, record in sorted(self.records.items()):
            newest[record.key] = offset
            if offset < cleaned_to:
                newest_cleaned[record.key] = offset
        there = {record.offset: record for record in found}
        left = {record.key: record.offset for record in found}
        faults += [
            f"{there[offset]} is there, and {newest[key]}, the last of that key, is not"
            for key, offset in left.items()
            if newest.get(key, -1) > offset
        ]
        if sorted(there) != [record.offset for record in found]:
            faults.append("the offsets do not rise")
        faults += [f"{one} was never written" for one in found if self.records.get(one.offset) != one]
        for offset, record in self.records.items():
            if offset < start:
                continue
            is_there = offset in there
            if offset >= active and not is_there:
                faults.append(f"{record} is gone, and is not to be compacted")
            if offset < cleaned_to and newest_cleaned[record.key] != offset and is_there:
                faults.append(f"{record} is there, and {newest_cleaned[record.key]} has the same key")
            if newest[record.key] == offset and not is_there:
                may_go = record.value is None and now_ms >= self.since_ms[offset] + delete_retention_ms
                if not may_go:
                    faults.append(f"{record} is gone, and was the last of its key")
        return faults


class OneCompacted(OnePartition):
    """
    A started engine with the compacted topic C{orders}.

    @ivar history: what was written to it by L{write}.
    """

    config = LogConfig(
        cleanup_policy=("compact",),
        segment_bytes=1500,
        index_interval_bytes=150,
        delete_retention_ms=DAY_MS,
        min_cleanable_dirty_ratio=0.0,
    )
    options: ClassVar[dict[str, Any]] = {"cleaner_limits": CleanerLimits(sleep=lambda _: None)}

    def setUp(self) -> None:
        """Begin with an empty log."""
        super().setUp()
        self.history = History()

    @property
    def log(self) -> IPartitionLog:
        """The partition."""
        return self.local

    @property
    def local(self) -> LocalPartitionLog:
        """The same, as what it is."""
        log = self.engine.partition("orders", 0)
        assert isinstance(log, LocalPartitionLog)
        return log

    @property
    def now_ms(self) -> int:
        """What the engine's clock says."""
        return int(self.clock.seconds() * 1000)

    def write(self, *pairs: Pair, **options: Any) -> int:
        """Append one batch, with the time that it is; returns its base offset."""
        one = keyed(*pairs, **{"timestamp": self.now_ms, **options})
        (appended,) = self.append(one)
        if not appended.duplicate:
            self.history.appended(appended.base_offset, one, self.now_ms)
        return appended.base_offset

    def roll(self) -> None:
        """Fill the active segment with a record of a key of its own, so that another one begins behind it."""
        before = len(self.files())
        while len(self.files()) == before:
            self.write((b"filler", bytes(400)))

    def clean(self) -> None:
        """Let a checkpoint and the cleaner come by."""
        self.clock.advance(61)
        self.clock.advance(WHILE - 61)

    def read_all(self, offset: int = -1, max_bytes: int = 1 << 20) -> list[Record]:
        """All records from an offset, or from the log start, to the end."""
        start, end = self.bounds()
        offset = max(offset, start)
        found: list[Record] = []
        while offset < end:
            fetched = self.successResultOf(self.log.read(offset, max_bytes))
            batches = [RecordBatch.parse(data) for data in batches_in(fetched)]
            assert batches and batches[-1].next_offset > offset, f"no way on from {offset}"
            found += [record for record in records_in(fetched) if record.offset >= offset]
            offset = batches[-1].next_offset
        return found

    def check(self) -> list[Record]:
        """Everything is there that must be, and nothing else; returns it."""
        found = self.read_all()
        active = int(os.path.basename(self.files()[-1])[:20])
        faults = self.history.faults(
            found, self.bounds()[0], self.local.cleaned_to, active, self.now_ms, self.config.delete_retention_ms
        )
        assert not faults, "\n".join(fault[:200] for fault in faults[:5])
        return found

    def keys(self) -> list[bytes | None]:
        """The keys of what is there, but the fillers."""
        return [record.key for record in self.check() if record.key != b"filler"]
