"""One batch on its way into a log file, and what the outbox asks its shell to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from kgw.engine.seaweed.log_file import LogEntry
    from kgw.interfaces import Columns
    from kgw.wire.records import RecordBatch


class Codec(Protocol):
    """How the batches of one partition become engine messages, and how they are known again."""

    def encode(
        self, batch: RecordBatch, expected_offset: int, now_ns: int, skip: int, columns: Columns | None
    ) -> bytes:
        """
        The engine messages of the records from number C{skip} on, to be sent behind everything encoded before.

        @param expected_offset: of the first one encoded.
        @param columns: of all records.
        @raise KafkaError: a record cannot be read.
        """

    def check(self, batch: RecordBatch, now_ns: int) -> None:
        """
        See whether C{encode} will do.

        @raise KafkaError: as C{encode}.
        """

    def same(self, batch: RecordBatch, index: int, entry: LogEntry) -> bool:
        """Whether an entry of a log file is record C{index} of this batch."""

    def learnt(self, last_ts_ns: int) -> None:
        """A record in the log has this time; those encoded from now on have later ones."""

    def forget(self) -> None:
        """Nothing is compared for now: let go of what was kept for it."""


class Held:
    """
    One batch that was published and is not known to be in a log file.

    @ivar token: whatever the shell wants to find with it.
    @ivar columns: what is stored beside the records; C{size} are the bytes of both.
    @ivar count: of records.
    @ivar base_offset: of its first record: as expected, and actual once the engine is known to have that record.
    @ivar runs: where the engine has its first records: pairs of an offset and the one behind the last.
    @ivar acknowledged: how many records those are.
    @ivar settled: how many of those log files are known to have.
    @ivar attempted: it was sent, and what became of it is not known but for C{acknowledged}.
    @ivar counted: its bytes are counted as unflushed.
    @ivar data: encoded, where that is done and it is not sent.
    @ivar told: C{runs} when the shell was told that it is acknowledged; empty before.
    """

    __slots__ = (
        "acknowledged",
        "attempted",
        "base_offset",
        "batch",
        "columns",
        "count",
        "counted",
        "data",
        "runs",
        "settled",
        "size",
        "token",
        "told",
    )

    def __init__(self, batch: RecordBatch, token: object, base_offset: int, columns: Columns | None = None) -> None:
        self.batch = batch
        self.columns = columns
        self.size = batch.size
        if columns is not None:
            self.size += sum([len(fields) for fields in columns if fields])
        self.token = token
        self.count = batch.count
        self.base_offset = base_offset
        self.runs: list[tuple[int, int]] = []
        self.acknowledged = self.settled = 0
        self.attempted = False
        self.counted = False
        self.data: bytes | None = None
        self.told: list[tuple[int, int]] = []

    def __repr__(self) -> str:
        return f"<Held {self.base_offset} {self.acknowledged} of {self.count} at {self.runs}>"

    @property
    def next_offset(self) -> int:
        """The offset behind the last record; the engine is known to have that one."""
        return self.runs[-1][1]

    @property
    def contiguous(self) -> bool:
        """Whether the engine has all of it at offsets like those of the batch itself."""
        return (
            len(self.runs) == 1 and self.acknowledged == self.count and self.batch.last_offset_delta == self.count - 1
        )

    def add(self, start: int, stop: int) -> None:
        """The engine has the next records at these offsets."""
        runs = self.runs
        if not runs:
            self.base_offset = start
            runs.append((start, stop))
        elif runs[-1][1] == start:
            runs[-1] = (runs[-1][0], stop)
        else:
            runs.append((start, stop))
        self.acknowledged += stop - start

    def offset_of(self, index: int) -> int:
        """Where the engine has record C{index}; -1 where that is not known."""
        for start, stop in self.runs:
            if index < stop - start:
                return start + index
            index -= stop - start
        return -1

    def settled_runs(self) -> list[tuple[int, int]]:
        """Where log files are known to have its first records."""
        runs, left = [], self.settled
        for start, stop in self.runs:
            if left <= 0:
                break
            runs.append((start, min(stop, start + left)))
            left -= stop - start
        return runs

    def keep(self, runs: list[tuple[int, int]], acknowledged: int, data: bytes | None = None) -> None:
        """Log files have so many records and not the rest; that is to be sent again."""
        self.runs = runs
        self.acknowledged = self.settled = acknowledged
        self.attempted = False
        self.data = data
        if runs:
            self.base_offset = runs[0][0]


class Visible(NamedTuple):
    """
    The engine has everything below C{end_offset}, and readers may see it.

    @ivar batches: those that are new to readers, in the order of their offsets.
    """

    end_offset: int
    batches: list[Held]


class Acknowledged(NamedTuple):
    """The engine has all records of a batch in memory or in a file; told once for each."""

    held: Held


class Durable(NamedTuple):
    """All records of a batch are in log files, and it is held no longer."""

    held: Held


class Moved(NamedTuple):
    """
    The engine lost records that readers may have seen: from C{offset} on the log is another one.

    Happens where somebody else writes to the partition, too, or the engine lost files.
    """

    offset: int


class Broken(NamedTuple):
    """What the engine says on this stream cannot be; go on with another one."""

    reason: str


Effect = Visible | Acknowledged | Durable | Moved | Broken
