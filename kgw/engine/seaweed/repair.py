"""Makes the engine's notes about a partition agree with its log files, after a stop that was not clean.

The engine gives the next record the offset behind C{checkpoint.offset}, which it writes now and then, and counts what
it reads from the attributes of the files. After a crash they differ from the files and from each other: offsets are
given twice or left out, and records are read at wrong places. The engine looks at both once, when it first touches the
partition, so they have to be put right before anything makes it do so.
"""

from __future__ import annotations

from typing import NamedTuple

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from kgw.engine.seaweed.errors import EngineUnavailable, EntryChanged
from kgw.engine.seaweed.filer import Entry
from kgw.engine.seaweed.history import History
from kgw.engine.seaweed.log_directory import (
    CHECKPOINT,
    OFFSET_MAX,
    OFFSET_MIN,
    FileGone,
    LogDirectory,
    LogFile,
    claimed_by,
    together,
)
from kgw.errors import ErrorCode, KafkaError

#: How many files are looked at, at a time.
_AT_ONCE = 8
#: How often a file that changes meanwhile is looked at again.
_ATTEMPTS = 10

_log = Logger("kgw.engine.seaweed")


class Trusted(NamedTuple):
    """
    What an earlier look at the log files found, to be kept where it outlives kgw.

    @ivar name: of the last file there was.
    @ivar size: its bytes then.
    @ivar end_offset: the offset behind its records.
    @ivar last_ts_ns: the latest time the engine gave a record.
    """

    name: str
    size: int
    end_offset: int
    last_ts_ns: int


class Repaired(NamedTuple):
    """
    @ivar end_offset: the offset the next record will have.
    @ivar last_ts_ns: the latest time the engine gave a record, 0 where there is none.
    @ivar trusted: for the next time; C{None} where there is no file.
    @ivar files_read: how many files were looked through.
    @ivar changed: how many attributes and notes were put right.
    """

    end_offset: int
    last_ts_ns: int
    trusted: Trusted | None
    files_read: int
    changed: int


class _Found(NamedTuple):
    """The end of one file, its latest time, and whether its attributes were changed."""

    end: int
    max_ts_ns: int
    size: int
    changed: bool


def repair(history: History, trusted: Trusted | None = None) -> Deferred[Repaired]:
    """
    Put C{checkpoint.offset} and the attributes of the log files right, from the entries in the files.

    Does no harm where the engine is writing to the partition meanwhile; C{end_offset} is then that of some moment.

    @param trusted: what an earlier call returned; files it covers are not looked at again.
    @return: fires when the partition may be touched; C{history} knows the files then. Fails with C{KAFKA_STORAGE_ERROR}
        while the filer cannot be reached.
    """
    return Deferred.fromCoroutine(_repair(history.log, trusted))


def attribute_first(history: History) -> Deferred[bool]:
    """
    Have the first log file say which offsets it holds.

    The engine leaves that out where a flush begins with offset 0, and takes a partition for empty where no file says
    it, once it has to look again. Nothing else is touched, as the engine may be writing meanwhile.

    @return: fires with whether there is no more to be done; until the engine has written a file with a record behind
        that at offset 0 there is. Fails as L{repair}.
    """
    return Deferred.fromCoroutine(_attribute_first(history.log))


async def _attribute_first(log: LogDirectory) -> bool:
    entries = await log.list()
    if not log.files:
        return False
    first, others = log.files[0], log.files[1:]
    await _put_right(log, first, entries[first.name])
    return first.claimed is not None or bool(others)


async def _repair(log: LogDirectory, trusted: Trusted | None) -> Repaired:
    for _ in range(_ATTEMPTS):
        try:
            return await _attempt(log, trusted)
        except FileGone:
            continue  # somebody removes old files
    raise EngineUnavailable(f"the log files of {log.name} keep changing")


async def _attempt(log: LogDirectory, trusted: Trusted | None) -> Repaired:
    entries = await log.list()
    end = last_ts_ns = changed = 0
    wanted = log.files
    if trusted is not None:
        end, last_ts_ns = trusted.end_offset, trusted.last_ts_ns
        wanted = [file for file in log.files if file.name >= trusted.name]
        if wanted and _covered(wanted[0], trusted):
            wanted[0].end = trusted.end_offset
            del wanted[0]
    size = 0
    for at in range(0, len(wanted), _AT_ONCE):
        looks = [_put_right(log, file, entries[file.name]) for file in wanted[at : at + _AT_ONCE]]
        for found in await together([Deferred.fromCoroutine(look) for look in looks]):
            end, last_ts_ns = max(end, found.end), max(last_ts_ns, found.max_ts_ns)
            changed += found.changed
            size = found.size
    changed += await _set_checkpoint(log, end)
    await log.refresh()
    if changed:
        _log.info(
            "{name}: {count} notes of the engine put right, its log ends at {end}",
            name=log.name,
            count=changed,
            end=end,
        )
    covered = trusted
    if wanted:
        covered = Trusted(wanted[-1].name, size, end, last_ts_ns)
    return Repaired(end, last_ts_ns, covered, len(wanted), changed)


def _covered(file: LogFile, trusted: Trusted) -> bool:
    """Whether a file is as it was, and its attributes say so."""
    named = file.claimed is not None and file.claimed[1] == trusted.end_offset - 1
    return file.name == trusted.name and file.size == trusted.size and (named or trusted.end_offset == 1)


async def _put_right(log: LogDirectory, file: LogFile, entry: Entry) -> _Found:
    """Make the attributes of a file say what its entries do."""
    changed = False
    for _ in range(_ATTEMPTS):
        try:
            first, last, max_ts_ns = await _walk(log, file)
        except KafkaError as error:
            if error.code != ErrorCode.CORRUPT_MESSAGE:
                raise
            said = -1 if file.claimed is None else file.claimed[1]
            _log.error("{path}/{name}: {error}", path=log.path, name=file.name, error=error)
            return _Found(said + 1, 0, file.size, False)
        claimed = claimed_by(entry)
        # the engine takes an offset_max of 0 for none, so that of the very first record alone need not be there
        if last < 0 or claimed == (first, last) or (last == 0 and claimed is None):
            return _Found(last + 1, max_ts_ns, file.size, changed)
        named = {OFFSET_MIN: first.to_bytes(8, "big"), OFFSET_MAX: last.to_bytes(8, "big")}
        try:
            await log.filer.set_extended(log.path, entry, named)
        except EntryChanged:
            pass  # the engine has written to it since, so it is looked at again
        else:
            changed = True
        again = await log.filer.lookup(log.path, file.name)
        if again is None:
            raise FileGone(f"{log.path}/{file.name} was removed")
        entry = again
        file.grown(entry.size, claimed_by(entry))
    raise EngineUnavailable(f"{log.path}/{file.name} keeps changing")


async def _walk(log: LogDirectory, file: LogFile) -> tuple[int, int, int]:
    """The lowest and highest offset of a file and its latest time, from its entries."""
    first, last, max_ts_ns = -1, -1, 0
    position = 0
    while position < file.size:
        span = await log.count(file, position)
        if not span.count:
            break
        first = span.first_offset if first < 0 else min(first, span.first_offset)
        last, max_ts_ns = max(last, span.last_offset), max(max_ts_ns, span.max_ts_ns)
        position += span.consumed
    return first, last, max_ts_ns


async def _set_checkpoint(log: LogDirectory, end: int) -> int:
    """Make C{checkpoint.offset} name the last record; how many entries were written."""
    there = log.checkpoint
    content = (end - 1).to_bytes(8, "big") if end else b""
    if there is None:
        if end:
            await log.filer.put(log.path, CHECKPOINT, content)
        return int(end > 0)
    if there.content == content:
        return 0
    if end:
        await log.filer.write_content(log.path, there, content)
    else:
        await log.filer.delete(log.path, CHECKPOINT)
    return 1
