"""Partition logs in memory: the twin of the local engine for tests, and C{--engine memory}."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple

from twisted.internet.defer import Deferred, execute, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from kgw.engine.local.key_map import KeyMap
from kgw.engine.local.pace import Pace
from kgw.engine.local.rewriting import Rules, add_keys, rewritten
from kgw.errors import ErrorCode, KafkaError, WireError
from kgw.interfaces import Columns, ILogEngine, IPartitionLog
from kgw.log.producer_state import ProducerStates
from kgw.model import (
    NO_OFFSET,
    ActiveProducer,
    Appended,
    Bounds,
    Buffer,
    EpochEnd,
    Extent,
    Fetched,
    LogConfig,
    LogDir,
    TimestampOffset,
    Topic,
    TopicPartition,
)
from kgw.wire.records import Record, RecordBatch, peek

#: The most bytes the records of one batch may have when they are decompressed to look at their timestamps.
_MAX_RECORDS_BYTES = 256 << 20
#: For the keys of one compaction.
_MAX_KEY_BYTES = 128 << 20

_log = Logger("kgw.engine.memory")


class _Stored(NamedTuple):
    """
    One batch in the log.

    @ivar data: as it is sent to readers.
    @ivar age_from_ms: what C{retention.ms} counts from: its max timestamp, or when it came in if it has none.
    """

    data: bytes
    base_offset: int
    next_offset: int
    max_timestamp: int
    age_from_ms: int


@implementer(IPartitionLog)
class MemoryPartitionLog:
    """
    One partition's log as a list of batches.

    Made and closed by L{MemoryLogEngine}. The oldest batches go when C{retention.ms} or C{retention.bytes} say so;
    where the local engine drops whole segments this one drops single batches, but never the newest one for its size.
    Where the topic is compacted, all batches but the newest are, as often as old ones are looked for.
    """

    #: There is one broker and it forgets all when it ends, so nothing ever starts another epoch.
    leader_epoch = 0

    def __init__(self, name: str, config: LogConfig, clock: IReactorTime, producer_expiration_ms: int) -> None:
        """
        @param name: topic and partition, for messages.
        """
        self.config = config
        self._name = name
        self._clock = clock
        self._refusal: KafkaError | None = None
        self._producers = ProducerStates(producer_expiration_ms)
        self._batches: list[_Stored] = []
        #: C{next_offset} of each batch, to search in.
        self._ends: list[int] = []
        self._size = 0
        self._start = 0
        self._end = 0
        self._listeners: dict[Callable[[int], None], None] = {}

    def append(self, batch: RecordBatch, acks: int = -1, columns: Columns | None = None) -> Deferred[Appended]:
        """Append one batch; fires at once, whatever C{acks}."""
        return execute(self._append, batch)

    def _append(self, batch: RecordBatch) -> Appended:
        self._check_open()
        now_ms = self._now_ms()
        earlier = self._producers.check(batch, now_ms)
        if earlier is not None:
            return Appended(earlier.base_offset, earlier.log_append_time_ms, self._start, duplicate=True)
        base_offset, newest = self._end, batch.max_timestamp
        data = b"".join(batch.buffers(base_offset, self.leader_epoch))
        self._end = base_offset + batch.last_offset_delta + 1
        self._batches.append(_Stored(data, base_offset, self._end, newest, newest if newest >= 0 else now_ms))
        self._ends.append(self._end)
        self._size += len(data)
        self._producers.appended(batch, base_offset, now_ms)
        appended = Appended(base_offset, newest if batch.is_log_append_time else -1, self._start)
        self._notify(len(data))
        self._drop_oversize()
        return appended

    def read(self, offset: int, max_bytes: int, at_least_one: bool = True) -> Deferred[Fetched]:
        """Read whole batches from the one that holds C{offset}; fires at once."""
        return execute(self._read, offset, max_bytes, at_least_one)

    def _read(self, offset: int, max_bytes: int, at_least_one: bool) -> Fetched:
        self._check_open()
        if not self._start <= offset <= self._end:
            raise KafkaError(
                ErrorCode.OFFSET_OUT_OF_RANGE, f"{self._name} holds {self._start} to {self._end}, not {offset}"
            )
        records: list[Buffer] = []
        size = 0
        for index in range(bisect_right(self._ends, offset), len(self._batches)):
            data = self._batches[index].data
            if size + len(data) > max_bytes and (records or not at_least_one):
                break
            records.append(data)
            size += len(data)
        return Fetched(records, size, self._bounds())

    def bounds(self) -> Deferred[Bounds]:
        """The log's bounds now."""
        return execute(self._bounds)

    def _bounds(self) -> Bounds:
        self._check_open()
        return Bounds(self._start, self._end, self._end, self.leader_epoch, self.leader_epoch)

    def offset_for_time(self, timestamp: int) -> Deferred[TimestampOffset]:
        """The first record at or behind C{timestamp}; decodes the batch that holds it."""
        return execute(self._offset_for_time, timestamp)

    def _offset_for_time(self, timestamp: int) -> TimestampOffset:
        self._check_open()
        for batch in self._batches:
            if batch.max_timestamp >= timestamp:
                for record in self._records(batch):
                    if record.timestamp >= timestamp:
                        return TimestampOffset(record.timestamp, record.offset, self.leader_epoch)
        return NO_OFFSET

    def offset_of_max_timestamp(self) -> Deferred[TimestampOffset]:
        """The first of the records with the largest timestamp."""
        return execute(self._offset_of_max_timestamp)

    def _offset_of_max_timestamp(self) -> TimestampOffset:
        self._check_open()
        best = NO_OFFSET
        for batch in self._batches:
            if batch.max_timestamp > best.timestamp:
                for record in self._records(batch):
                    if record.timestamp > best.timestamp:
                        best = TimestampOffset(record.timestamp, record.offset, self.leader_epoch)
        return best

    def end_of_epoch(self, leader_epoch: int) -> Deferred[EpochEnd]:
        """Where an epoch ends: the only one there is ends where the log does."""
        return execute(self._end_of_epoch, leader_epoch)

    def _end_of_epoch(self, leader_epoch: int) -> EpochEnd:
        self._check_open()
        return EpochEnd(leader_epoch, self._end) if leader_epoch == self.leader_epoch else EpochEnd(-1, -1)

    def trim(self, offset: int) -> Deferred[int]:
        """Move the log start offset up to C{offset}; -1 means the high watermark."""
        return execute(self._trim, offset)

    def _trim(self, offset: int) -> int:
        self._check_open()
        if offset == -1:
            offset = self._end
        if not 0 <= offset <= self._end:
            raise KafkaError(
                ErrorCode.OFFSET_OUT_OF_RANGE, f"{self._name} ends at {self._end}, cannot trim to {offset}"
            )
        self._move_start(offset)
        return self._start

    def producers(self) -> Deferred[list[ActiveProducer]]:
        """The idempotent producers that are remembered now."""
        return execute(self._active_producers)

    def _active_producers(self) -> list[ActiveProducer]:
        self._check_open()
        return self._producers.active(self._now_ms())

    def watch(self, listener: Callable[[int], None]) -> None:
        """Call C{listener} on changes, from within the calls that make them."""
        self._listeners[listener] = None

    def unwatch(self, listener: Callable[[int], None]) -> None:
        """Stop calling C{listener}."""
        self._listeners.pop(listener, None)

    # For the engine.

    @property
    def extent(self) -> Extent:
        """Bounds and bytes, at once."""
        return Extent(self._start, self._end, self._size)

    def reopen(self, config: LogConfig) -> None:
        """Serve again what was there when L{close} was called."""
        self.config = config
        if self._refusal is not None:
            self._refusal = None
            self._notify(-1)

    def close(self) -> None:
        """Refuse all with C{KAFKA_STORAGE_ERROR}, and tell the listeners."""
        self._refuse(KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, "the engine has stopped"))

    def delete(self) -> None:
        """Let go of the batches for good, refuse all with C{UNKNOWN_TOPIC_OR_PARTITION}, and tell the listeners."""
        self._batches, self._ends, self._size = [], [], 0
        self._producers.clear()
        self._refuse(KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"{self._name} was deleted"))
        self._listeners.clear()

    def retain(self) -> None:
        """Drop batches that are too old or too many, and forget idle producers; to be called now and then."""
        now_ms = self._now_ms()
        self._producers.expire(now_ms)
        if "delete" in self.config.cleanup_policy and self.config.retention_ms >= 0:
            oldest_ms = now_ms - self.config.retention_ms
            kept = next((b.base_offset for b in self._batches if b.age_from_ms >= oldest_ms), self._end)
            self._move_start(kept)
        self._drop_oversize()
        if "compact" in self.config.cleanup_policy:
            self._compact(now_ms)

    def _compact(self, now_ms: int) -> None:
        """Compact all but the newest batch; by lag, but however little is dirty."""
        batches = self._batches[:-1]
        young = now_ms - self.config.min_compaction_lag_ms
        count = next((at for at, each in enumerate(batches) if each.age_from_ms > young), len(batches))
        if not count:
            return
        keys, pace = KeyMap(_MAX_KEY_BYTES, batches[0].base_offset), Pace(sleep=lambda _: None)
        for batch in batches[:count]:
            if len(keys) >= keys.most:
                break
            add_keys(keys, peek(batch.data), batch.data, 0, pace)
            keys.end_offset = batch.next_offset
        rules = Rules(now_ms, self.config.delete_retention_ms, self._producers.last_offsets())
        kept: list[_Stored] = []
        for batch in batches[:count]:
            left = rewritten(peek(batch.data), batch.data, 0, keys, rules, pace)
            if left is None:
                kept.append(batch)
            elif left:
                kept.append(batch._replace(data=left, max_timestamp=peek(left).max_timestamp))
        self._batches[:count] = kept
        self._ends = [batch.next_offset for batch in self._batches]
        self._size = sum([len(batch.data) for batch in self._batches])

    def _drop_oversize(self) -> None:
        limit = self.config.retention_bytes
        if limit < 0 or self._size <= limit or "delete" not in self.config.cleanup_policy:
            return
        # As Kafka does with segments: the oldest goes only where what is left still fills the limit.
        excess = self._size - limit
        start = self._start
        for batch in self._batches[:-1]:
            excess -= len(batch.data)
            if excess < 0:
                break
            start = batch.next_offset
        self._move_start(start)

    def _move_start(self, offset: int) -> None:
        if offset <= self._start:
            return
        self._start = offset
        dropped = bisect_right(self._ends, offset)
        self._size -= sum(len(batch.data) for batch in self._batches[:dropped])
        del self._batches[:dropped]
        del self._ends[:dropped]
        self._notify(-1)

    def _records(self, batch: _Stored) -> list[Record]:
        try:
            records = RecordBatch.parse(batch.data).records(_MAX_RECORDS_BYTES)
        except WireError as error:
            raise KafkaError(ErrorCode.CORRUPT_MESSAGE, f"{self._name} at {batch.base_offset}: {error}") from error
        return [record for record in records if record.offset >= self._start]

    def _check_open(self) -> None:
        if self._refusal is not None:
            raise KafkaError(self._refusal.code, self._refusal.message)

    def _refuse(self, reason: KafkaError) -> None:
        self._refusal = reason
        self._notify(-1)

    def _now_ms(self) -> int:
        return int(self._clock.seconds() * 1000)

    def _notify(self, new_bytes: int) -> None:
        for listener in tuple(self._listeners):
            if listener in self._listeners:  # another one may have made it stop
                with _log.failuresHandled("a listener of {name} failed", name=self._name):
                    listener(new_bytes)


@implementer(ILogEngine)
class MemoryLogEngine:
    """
    Keeps partition logs in memory.

    They last as long as this object: stopped and started again it still holds those of the topics that are named.
    """

    tables = None

    def __init__(
        self,
        clock: IReactorTime,
        producer_expiration_ms: int = 86_400_000,
        retention_check_interval_s: float = 300.0,
    ) -> None:
        """
        @param producer_expiration_ms: C{producer.id.expiration.ms}.
        @param retention_check_interval_s: C{log.retention.check.interval.ms}, in seconds.
        """
        self._clock = clock
        self._producer_expiration_ms = producer_expiration_ms
        self._check_interval_s = retention_check_interval_s
        self._next_check: IDelayedCall | None = None
        self._topics: dict[str, tuple[bytes, list[MemoryPartitionLog]]] = {}

    def start(self, topics: Iterable[tuple[Topic, LogConfig]]) -> Deferred[None]:
        """Serve these topics, and forget all others."""
        wanted = list(topics)
        names = {topic.name for topic, _ in wanted}
        for name in [name for name in self._topics if name not in names]:
            self._remove(name)
        for topic, config in wanted:
            for log in self._opened(topic, config):
                log.reopen(config)
        if self._next_check is None:
            self._next_check = self._clock.callLater(self._check_interval_s, self._check)
        return succeed(None)

    def stop(self) -> Deferred[None]:
        """Refuse everything until it is started again."""
        if self._next_check is not None:
            self._next_check.cancel()
            self._next_check = None
        for _, logs in self._topics.values():
            for log in logs:
                log.close()
        return succeed(None)

    def create(self, topic: Topic, config: LogConfig) -> Deferred[None]:
        """Make the partition logs of C{topic} that are not there yet."""
        self._opened(topic, config)
        return succeed(None)

    def configure(self, topic: Topic, config: LogConfig) -> None:
        """Obey other configs from now on."""
        for log in self._held(topic):
            log.config = config

    def check_config(self, config: LogConfig) -> None:
        """Nothing is refused."""

    def delete(self, topic: Topic) -> Deferred[None]:
        """Remove the topic's logs."""
        if self._held(topic):
            self._remove(topic.name)
        return succeed(None)

    def partition(self, name: str, index: int) -> IPartitionLog:
        """
        The log of one partition.

        @raise KafkaError: C{UNKNOWN_TOPIC_OR_PARTITION}.
        """
        held = self._topics.get(name)
        if held is None or not 0 <= index < len(held[1]):
            raise KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"there is no {name}-{index}")
        log: IPartitionLog = held[1][index]
        return log

    def log_dir(self, wanted: Collection[TopicPartition] | None = None) -> Deferred[LogDir]:
        """The bytes that each partition holds; there is no volume."""
        return execute(self._log_dir, None if wanted is None else frozenset(wanted))

    def _log_dir(self, wanted: frozenset[TopicPartition] | None) -> LogDir:
        if self._next_check is None:
            raise KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, "the engine is not running")
        sizes = {
            TopicPartition(name, index): log.extent.size
            for name, (_, logs) in self._topics.items()
            for index, log in enumerate(logs)
            if wanted is None or (name, index) in wanted
        }
        return LogDir("memory", sizes)

    def measure(self) -> dict[str, float]:
        """Nothing can go wrong here."""
        return {"kgw_partitions_offline": 0}

    def describe(self) -> str:
        """The engine's kind."""
        return "memory"

    def _held(self, topic: Topic) -> list[MemoryPartitionLog]:
        held = self._topics.get(topic.name)
        return held[1] if held is not None and held[0] == topic.id else []

    def _opened(self, topic: Topic, config: LogConfig) -> list[MemoryPartitionLog]:
        if topic.name in self._topics and not self._held(topic):
            self._remove(topic.name)  # another topic of that name
        _, logs = self._topics.setdefault(topic.name, (topic.id, []))
        for index in range(len(logs), topic.partitions):
            name = f"{topic.name}-{index}"
            logs.append(MemoryPartitionLog(name, config, self._clock, self._producer_expiration_ms))
        return logs

    def _remove(self, name: str) -> None:
        _, logs = self._topics.pop(name)
        for log in logs:
            log.delete()

    def _check(self) -> None:
        self._next_check = self._clock.callLater(self._check_interval_s, self._check)
        for _, logs in self._topics.values():
            for log in logs:
                log.retain()
