"""Log files as the engine writes them, in a filer in memory, and ways to look at what is read from them."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred, fail, succeed

from kgw.engine.bridge import InlineBridge
from kgw.engine.seaweed.errors import EngineUnavailable, EntryChanged
from kgw.engine.seaweed.filer import Entry, entry_of
from kgw.engine.seaweed.history import History
from kgw.engine.seaweed.history_cache import HistoryCache
from kgw.engine.seaweed.proto import filer_pb2
from kgw.wire.records import Record, RecordBatch

DIRECTORY = "/topics/kafka/orders/v2026-11-21-11-20-35/0000-2520"
#: When record 0 is written.
BEGIN_NS = 1_795_260_000_000_000_000


class Directory(NamedTuple):
    """A place."""

    directory: str = DIRECTORY


def value_of(offset: int) -> bytes:
    """What the record at an offset holds, in all tests."""
    return b"%08d" % offset + b"x" * (offset % 30)


def ts_ns_of(offset: int) -> int:
    """When it is written: one each millisecond."""
    return BEGIN_NS + offset * 1_000_000


def log_entry(offset: int, value: bytes | None = None, ts_ns: int | None = None, key: bytes = b"k") -> bytes:
    """One entry of a log file."""
    entry: bytes = filer_pb2.LogEntry(
        ts_ns=ts_ns_of(offset) if ts_ns is None else ts_ns,
        partition_key_hash=-1234567,
        data=value_of(offset) if value is None else value,
        key=key,
        offset=offset,
    ).SerializeToString()
    return struct.pack(">I", len(entry)) + entry


def log_entries(offsets: Iterable[int]) -> bytes:
    """Entries of a log file."""
    return b"".join(map(log_entry, offsets))


def file_name(number: int) -> str:
    """The name of the log file of a second."""
    return f"2026-11-21-{number // 3600:02d}-{number // 60 % 60:02d}-{number % 60:02d}"


class LogFiler:
    """
    One directory of a filer.

    @ivar reads: what was read: name, offset and size.
    @ivar writes: the names of entries that were written or deleted.
    @ivar held: whether reads wait for L{release}.
    @ivar meanwhile: is called once before the next entry is updated, as if the engine had been quicker.
    @ivar failing: whether nothing answers.
    """

    def __init__(self) -> None:
        self.entries: dict[str, filer_pb2.Entry] = {}
        self.contents: dict[str, bytes] = {}
        self.reads: list[tuple[str, int, int]] = []
        self.writes: list[str] = []
        self.held = False
        self.meanwhile: Callable[[], None] | None = None
        self.failing = False
        self._waiting: list[Callable[[], None]] = []
        self._chunks = 0

    def append(self, name: str, data: bytes, claimed: tuple[int, int] | None = None) -> None:
        """Write a file, or more of it, as a flush of the engine does."""
        entry = self.entries.setdefault(name, filer_pb2.Entry(name=name))
        old = self.contents.get(name, b"")
        self._chunks += 1
        entry.chunks.append(filer_pb2.FileChunk(file_id=f"7,{self._chunks:x}", offset=len(old), size=len(data)))
        self.contents[name] = old + data
        entry.attributes.file_size = len(old) + len(data)
        if claimed is not None:
            entry.extended["offset_min"] = claimed[0].to_bytes(8, "big")
            entry.extended["offset_max"] = claimed[1].to_bytes(8, "big")

    def records(self, number: int, offsets: range, slip: int = 0) -> None:
        """A flush of these records to the file of a second; C{slip} is what its attributes say too much."""
        claimed = (offsets[0], offsets[-1] + slip) if offsets[0] else None
        self.append(file_name(number), log_entries(offsets), claimed)

    def inline(self, name: str, content: bytes) -> None:
        """Write a small file."""
        self.entries[name] = filer_pb2.Entry(name=name, content=content)
        self.contents[name] = content

    def claimed(self, name: str) -> tuple[int, int] | None:
        """What a file's attributes say."""
        extended = self.entries[name].extended
        if "offset_min" not in extended:
            return None
        return int.from_bytes(extended["offset_min"], "big"), int.from_bytes(extended["offset_max"], "big")

    @property
    def checkpoint(self) -> int | None:
        """What the checkpoint says."""
        found = self.entries.get("checkpoint.offset")
        return None if found is None else int.from_bytes(found.content, "big")

    def release(self) -> None:
        """Do the reads that wait, and those that they lead to."""
        while self._waiting:
            self._waiting.pop(0)()

    def lookup(self, directory: str, name: str) -> Deferred[Entry | None]:
        """One entry."""
        return self._answer(lambda: self._entry(name) if name in self.entries else None)

    def list(self, directory: str, start_after: str = "", limit: int | None = None) -> Deferred[list[Entry]]:
        """The entries behind a name."""
        assert directory == DIRECTORY
        return self._answer(lambda: [self._entry(name) for name in sorted(self.entries) if name > start_after])

    def put(self, directory: str, name: str, content: bytes, extended: Any = None) -> Deferred[None]:
        """Write an entry."""
        self.writes.append(name)
        return self._answer(lambda: self.inline(name, content))

    def set_extended(self, directory: str, entry: Entry, extended: dict[str, bytes]) -> Deferred[None]:
        """Set attributes."""
        if self.meanwhile is not None:
            happens, self.meanwhile = self.meanwhile, None
            happens()
        there = self.entries[entry.name]
        if list(there.chunks) != list(entry.raw.chunks):
            return fail(EntryChanged(f"{entry.name} has other chunks"))
        self.writes.append(entry.name)
        for name, value in extended.items():
            there.extended[name] = value
        return self._answer(lambda: None)

    def write_content(self, directory: str, entry: Entry, content: bytes) -> Deferred[None]:
        """Replace a content."""
        self.writes.append(entry.name)
        return self._answer(lambda: self.inline(entry.name, content))

    def delete(self, directory: str, name: str, recursive: bool = False) -> Deferred[None]:
        """Remove an entry."""
        self.writes.append(name)
        self.entries.pop(name, None)
        self.contents.pop(name, None)
        return self._answer(lambda: None)

    def read(self, directory: str, name: str, offset: int = 0, size: int = -1) -> Deferred[bytes]:
        """Read from a file."""
        self.reads.append((name, offset, size))

        def reading() -> bytes:
            content = self.contents.get(name, b"")[offset:]
            return content if size < 0 else content[:size]

        if not self.held:
            return self._answer(reading)
        waiting: Deferred[bytes] = Deferred()
        self._waiting.append(lambda: waiting.callback(reading()))
        return waiting

    def _entry(self, name: str) -> Entry:
        raw = filer_pb2.Entry()
        raw.CopyFrom(self.entries[name])
        return entry_of(raw)

    def _answer(self, work: Callable[[], Any]) -> Deferred[Any]:
        if self.failing:
            return fail(EngineUnavailable("the filer does not answer"))
        return succeed(work())


def history_of(filer: LogFiler, piece_bytes: int = 4 << 20, limit: int = 1 << 30) -> History:
    """A history of what a filer holds, not refreshed yet."""
    return History(filer, Directory(), HistoryCache(InlineBridge(), limit), "orders-0", piece_bytes)


def records_in(batches: Iterable[bytes]) -> list[Record]:
    """The records of batches, which are sound."""
    found: list[Record] = []
    for data in batches:
        batch = RecordBatch.parse(data)
        assert batch.crc_valid()
        found += batch.records(1 << 30)
    return found
