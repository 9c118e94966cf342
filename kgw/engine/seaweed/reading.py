"""Reading a partition's older records: from log files, and from the broker what is in no file yet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from kgw.engine.seaweed.incoming import build_batches, decode_entry
from kgw.engine.seaweed.log_directory import FileGone
from kgw.engine.seaweed.log_file import LogEntry
from kgw.errors import ErrorCode, KafkaError, WireError
from kgw.model import NO_OFFSET, Buffer, Fetched, LogConfig, TimestampOffset
from kgw.wire.records import Record, RecordBatch, build_batch

if TYPE_CHECKING:
    from kgw.engine.seaweed.broker import Broker
    from kgw.engine.seaweed.history import History
    from kgw.engine.seaweed.layout import Place
    from kgw.engine.seaweed.log_directory import LogFile
    from kgw.engine.seaweed.partition_facts import PartitionFacts
    from kgw.interfaces import IPartitionLog

#: The most records and bytes asked of the broker at a time.
_FETCH_RECORDS, _FETCH_BYTES = 10_000, 4 << 20
#: Bytes read at a time to look at timestamps.
_STRETCH = 1 << 20
#: The most bytes the records of one batch may have when they are decompressed to look at their timestamps.
_MAX_RECORDS_BYTES = 256 << 20

_log = Logger("kgw.engine.seaweed")


class Reading:
    """
    What can be read of one partition besides the newest batches in memory.

    Everything here fails with C{KAFKA_STORAGE_ERROR} while the engine is away.
    """

    def __init__(self, name: str, place: Place, history: History, broker: Broker) -> None:
        """
        @param name: topic and partition, for messages.
        """
        self.history = history
        self._name = name
        self._place = place
        self._broker = broker

    async def read(self, offset: int, end: int, max_bytes: int, leader_epoch: int, at_least_one: bool) -> list[bytes]:
        """
        Batches from the one that holds C{offset}.

        @param end: behind what readers may see.
        @raise KafkaError: C{KAFKA_STORAGE_ERROR}, also where the record is nowhere.
        """
        history = self.history
        found = await history.read(offset, max_bytes, leader_epoch)
        if found is None:
            # it may be in a file that is newer than what is known of them
            await history.refresh()
            found = await history.read(offset, max_bytes, leader_epoch)
        if found is None:
            found = await self._fetch(offset, end, max_bytes, leader_epoch)
            if not found:
                # the broker let go of it just now: then it has written it to a file
                await history.refresh()
                found = await history.read(offset, max_bytes, leader_epoch)
        if not found:
            raise KafkaError(
                ErrorCode.KAFKA_STORAGE_ERROR,
                f"{self._name}: the record at {offset} is in no log file, and the broker does not give it",
            )
        return _limited(_below(found, end), max_bytes, at_least_one)

    async def _fetch(self, offset: int, end: int, max_bytes: int, leader_epoch: int) -> list[bytes]:
        """From the broker; nothing where it does not have the record at C{offset}."""
        size = max(min(max_bytes, _FETCH_BYTES), 1)
        answer = await self._broker.fetch(
            self._place.engine_topic, self._place.range, offset, min(end - offset, _FETCH_RECORDS), size
        )
        count = len(answer.messages)
        # the broker says no offsets: where it begins is where it ends less what it gave
        first = answer.next_offset - count
        if not count or first != offset:
            return []
        entries = [LogEntry(offset + n, ts_ns, key, value) for n, (key, value, ts_ns) in enumerate(answer.messages)]
        entries = [entry for entry in entries if entry.offset < end]
        expected = decode_entry(entries[0]).expected_offset
        if expected is not None and expected > offset:
            raise KafkaError(
                ErrorCode.KAFKA_STORAGE_ERROR,
                f"{self._name}: the broker gives the record of offset {expected} at {offset}",
            )
        return build_batches([entries], offset, leader_epoch=leader_epoch).batches

    def high_watermark(self) -> Deferred[int]:
        """Where the broker says the log ends."""
        return self._broker.high_watermark(self._place.engine_topic, self._place.range)

    # Times

    async def offset_for_time(
        self, log: IPartitionLog, facts: PartitionFacts, end: int, timestamp: int
    ) -> TimestampOffset:
        """The first record at or behind C{timestamp} (ms), as L{IPartitionLog.offset_for_time} wants it."""
        await self.history.refresh()
        covered = self.history.end
        found = await self.history.offset_for_time(timestamp, facts.start)
        if found is not None:
            timestamp, offset = found
            return TimestampOffset(timestamp, offset, facts.epoch_at(offset)) if offset < end else NO_OFFSET
        async for record in _Records(log, self.history.aside, max(covered, facts.start), end, timestamp):
            if record.timestamp >= timestamp:
                return TimestampOffset(record.timestamp, record.offset, facts.epoch_at(record.offset))
        return NO_OFFSET

    async def offset_of_max_timestamp(self, log: IPartitionLog, facts: PartitionFacts, end: int) -> TimestampOffset:
        """The first of the records with the largest timestamp."""
        await self.history.refresh()
        covered = self.history.end
        best = await self.history.max_timestamp(facts.start) or (-1, -1)
        if best[1] >= end:
            # readers may not see that one yet, so all are looked at
            best, covered = (-1, -1), 0
        records = _Records(log, self.history.aside, max(covered, facts.start), end, best[0] + 1)
        async for record in records:
            if record.timestamp > best[0]:
                best = record.timestamp, record.offset
                records.floor = record.timestamp + 1
        if best[1] < 0:
            return NO_OFFSET
        return TimestampOffset(best[0], best[1], facts.epoch_at(best[1]))

    # Retention

    async def retained_from(self, config: LogConfig, now_ms: int, start: int) -> int:
        """Where the log is to start by C{retention.ms} and C{retention.bytes}; whole files, and never the last one."""
        try:
            await self.history.refresh()
            return await self._retained_from(config, now_ms, start)
        except FileGone:
            # somebody else has removed a file
            await self.history.refresh(whole=True)
            return await self._retained_from(config, now_ms, start)

    async def _retained_from(self, config: LogConfig, now_ms: int, start: int) -> int:
        history = self.history
        files = history.files[:-1]
        excess = sum([file.size for file in history.files]) - config.retention_bytes
        for file in files:
            if file.end <= start and file.end >= 0:
                excess -= file.size
                continue
            too_many = config.retention_bytes >= 0 and excess >= file.size
            if not too_many and not (
                config.retention_ms >= 0 and await self._older(file, now_ms - config.retention_ms)
            ):
                break
            start = await history.log.end_of(file)
            excess -= file.size
        return start

    async def _older(self, file: LogFile, than_ms: int) -> bool:
        """Whether every record of a file is."""
        if file.max_timestamp is None:
            await self.history.newest_in(file)
        newest = file.max_timestamp
        return newest is not None and newest < than_ms

    def free_below(self, offset: int) -> None:
        """Remove log files that hold nothing at or behind C{offset}; what cannot be removed now goes another time."""
        self.history.delete_before(offset).addErrback(self._stay)

    def _stay(self, failure: Failure) -> None:
        failure.trap(KafkaError)
        _log.warn("{name}: old log files stay for now: {reason}", name=self._name, reason=failure.getErrorMessage())

    def forget_from(self, offset: int) -> None:
        """What was read at and behind C{offset} is not there any more."""
        self.history.forget_from(offset)

    def forget(self) -> None:
        """Let go of what is kept in memory."""
        self.history.close()


def in_their_epochs(batches: list[bytes], facts: PartitionFacts) -> list[bytes]:
    """
    The same batches, those of several epochs' records as batches of the last of them.

    Who has read a batch asks where its epoch ends, and may not be told of an offset before the batch's end.
    """
    found: list[bytes] = []
    for data in batches:
        batch = RecordBatch.parse(data)
        epoch = facts.epoch_at(batch.next_offset - 1)
        found.append(data if epoch == batch.leader_epoch else b"".join(batch.buffers(batch.base_offset, epoch)))
    return found


def _below(batches: list[bytes], end: int) -> list[bytes]:
    """What readers may see of batches made of log files, which may have records that are not to be seen yet."""
    seen: list[bytes] = []
    for data in batches:
        header = RecordBatch.parse(data)
        if header.next_offset <= end:
            seen.append(data)
        elif header.base_offset < end:
            seen.append(_shortened(header, end - header.base_offset))
    return seen


def _shortened(batch: RecordBatch, count: int) -> bytes:
    """The first records of a batch."""
    records = batch.records(_MAX_RECORDS_BYTES)[:count]
    made = RecordBatch.parse(build_batch([(one.key, one.value, one.headers, one.timestamp) for one in records]))
    if batch.is_log_append_time:
        made = made.with_timestamp_type(batch.max_timestamp)
    return b"".join(made.buffers(batch.base_offset, batch.leader_epoch))


def _limited(batches: list[bytes], max_bytes: int, at_least_one: bool) -> list[bytes]:
    taken: list[bytes] = []
    for batch in batches:
        max_bytes -= len(batch)
        if max_bytes < 0 and (taken or not at_least_one):
            break
        taken.append(batch)
    return taken


class _Records:
    """
    The records of a log between two offsets, one after the other.

    @ivar floor: batches that have no timestamp as late as this are left out; may be raised at any time.
    """

    def __init__(
        self, log: IPartitionLog, aside: Callable[..., Deferred[Any]], offset: int, end: int, floor: int
    ) -> None:
        """
        @param aside: calls a function away from the reactor's thread, as there may be millions of records.
        """
        self.floor = floor
        self._log = log
        self._aside = aside
        self._offset = offset
        self._end = end
        self._found: Iterator[Record] = iter(())

    def __aiter__(self) -> _Records:
        return self

    async def __anext__(self) -> Record:
        while True:
            for record in self._found:
                return record
            if self._offset >= self._end:
                raise StopAsyncIteration
            fetched: Fetched = await self._log.read(self._offset, _STRETCH)
            records, following = await self._aside(_decoded, fetched.records, self._offset, self.floor)
            if following <= self._offset:
                raise StopAsyncIteration
            self._offset = following
            self._found = iter(records)


def _decoded(buffers: list[Buffer], offset: int, floor: int) -> tuple[list[Record], int]:
    """The records from C{offset} on, without batches whose timestamps are all below C{floor}; and what follows."""
    data = b"".join(buffers)
    records: list[Record] = []
    following = at = 0
    try:
        while at < len(data):
            batch = RecordBatch.parse(data, at)
            if batch.max_timestamp >= floor:
                records += [record for record in batch.records(_MAX_RECORDS_BYTES) if record.offset >= offset]
            following = batch.next_offset
            at += batch.size
    except WireError as error:
        raise KafkaError(ErrorCode.CORRUPT_MESSAGE, str(error)) from error
    return records, following
