"""One partition's log in SeaweedMQ: what Kafka expects of a log, on top of publishing, log files and memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, DeferredLock, fail, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from kgw.engine.seaweed.closing import drained
from kgw.engine.seaweed.lookout import Lookout
from kgw.engine.seaweed.newest import Newest
from kgw.engine.seaweed.partition_facts import PartitionFacts, encoded_facts, encoded_producers
from kgw.engine.seaweed.reading import Reading, in_their_epochs
from kgw.engine.seaweed.sequences import Sequences
from kgw.errors import ErrorCode, KafkaError
from kgw.interfaces import Columns, IPartitionLog
from kgw.log.producer_state import BatchMetadata
from kgw.model import ActiveProducer, Appended, Bounds, EpochEnd, Extent, Fetched, LogConfig, TimestampOffset
from kgw.wire.records import RecordBatch

if TYPE_CHECKING:
    from kgw.engine.seaweed.held import Held
    from kgw.engine.seaweed.log_file import LogEntry
    from kgw.engine.seaweed.opening import Preparation
    from kgw.engine.seaweed.publication import Publication
    from kgw.engine.seaweed.publisher import Doubt, Prepared, Publisher
    from kgw.engine.seaweed.surroundings import Surroundings

_STOPPED = "the engine has stopped"
_log = Logger("kgw.engine.seaweed")


@implementer(IPartitionLog)
class SeaweedPartitionLog:
    """
    One partition's log. Made, opened and closed by the engine.

    The newest batches are read from memory as they came; what is older is put together anew from the single records
    in the log files, so batches have other bounds and no compression then. Offsets, timestamps, keys, values and
    headers are the same.
    """

    def __init__(
        self,
        name: str,
        topic_id: bytes,
        index: int,
        config: LogConfig,
        around: Surroundings,
        reading: Reading,
        preparation: Preparation,
        facts: PartitionFacts,
        sequences: Sequences,
    ) -> None:
        """
        @param name: topic and partition, for messages.
        @param reading: of what is in log files, or with the broker.
        @param preparation: of the partition, before its stream is opened.
        @param facts: as they were stored; put right until it is opened, and its own from then on. So are C{sequences}.
        """
        self.config = config
        self.name = name
        self._topic_id = topic_id
        self._index = index
        self._around = around
        self._clock = around.clock
        self._reading = reading
        self._preparation = preparation
        self._facts = facts
        self._sequences = sequences
        self._tail = Newest(around.tail)
        self._publisher: Publisher | None = None
        self._end = 0
        self._gone: tuple[ErrorCode, str] | None = (ErrorCode.KAFKA_STORAGE_ERROR, f"{name} is not open")
        self._listeners: dict[Callable[[int], None], None] = {}
        self._lookout = Lookout(name, self._look_for_others, around.timer)
        self._keeping = DeferredLock()
        self._changed = self._silent = False
        #: The batch published last.
        self._newest: Publication | None = None
        #: From here on batches have come to other offsets than it was told, -1 where they have not.
        self._moved_from = -1

    @property
    def leader_epoch(self) -> int:
        """The current leader epoch."""
        return self._facts.leader_epoch

    @property
    def extent(self) -> Extent:
        """See L{IPartitionLog}; how large the log files are only the filer knows."""
        return Extent(self._facts.start, self._end, -1)

    # Appending

    def append(self, batch: RecordBatch, acks: int = -1, columns: Columns | None = None) -> Deferred[Appended]:
        """See L{IPartitionLog.append}."""
        publisher = self._publisher
        if self._gone is not None or publisher is None:
            return fail(self._refusal())
        now_ms = int(self._clock.seconds() * 1000)
        whole = acks == -1 and self._around.acks_all_flushed
        stored: tuple[int, int] | None = None
        try:
            self._around.check_taking(self.name)
            if batch.producer_id >= 0:
                earlier = self._sequences.check(batch, now_ms)
                if earlier is not None:
                    return self._repeated(publisher, earlier, whole)
                half = self._sequences.half_of(batch)
                stored = (half.base_offset, half.have) if half is not None else None
            publication = publisher.publish(batch, stored, columns)
        except KafkaError as error:
            return fail(error)
        self._changed = True
        self._newest = publication
        self._sequences.appended(batch, publication.base_offset, now_ms)
        append_time = batch.max_timestamp if batch.is_log_append_time else -1
        answer: Deferred[Appended] = Deferred()
        done = publication.flushed if whole else publication.acknowledged
        appended = done.addCallback(lambda base: Appended(base, append_time, self._facts.start))
        appended.addCallback(self._around.check_leading, self.name).addCallbacks(answer.callback, answer.errback)
        return answer

    def _repeated(self, publisher: Publisher, earlier: BatchMetadata, whole: bool) -> Deferred[Appended]:
        """The producer has sent this before: it is answered when that is as safe as it wants this to be."""
        appended = Appended(earlier.base_offset, earlier.log_append_time_ms, self._facts.start, duplicate=True)
        answer: Deferred[Appended] = Deferred()
        safe = publisher.when_safe(earlier.last_offset + 1, whole)
        safe.addCallback(lambda _: self._around.check_leading(appended, self.name))
        safe.addCallbacks(answer.callback, answer.errback)
        return answer

    # Called by the publisher, whose owner this is

    def prepare(self, doubt: Doubt, compare: Callable[[list[LogEntry]], None]) -> Deferred[Prepared]:
        """See L{kgw.engine.seaweed.publisher.Owner.prepare}."""
        return Deferred.fromCoroutine(self._preparation.prepare(doubt, compare))

    def visible(self, end_offset: int, batches: list[Held]) -> None:
        """Readers may see everything below C{end_offset}; these batches are new to them."""
        if self._moved_from >= 0:
            self._learn_again(self._moved_from, batches)
            self._moved_from = -1
        size = self._tail.extend(batches, end_offset, self.leader_epoch)
        self._end = end_offset
        self._notify(size or 1)

    def moved(self, offset: int) -> None:
        """The engine lost records from C{offset} on that readers may have seen: a new leader epoch begins there."""
        _log.warn(
            "{name}: the engine lost records that consumers may have read; from offset {offset} on there are others",
            name=self.name,
            offset=offset,
        )
        self._tail.clear()
        self._reading.forget_from(offset)
        self._end = min(self._end, offset)
        self._facts.start = min(self._facts.start, offset)
        self._facts.begin_epoch(offset)
        self._learn_again(offset, [])
        self._moved_from = offset
        self._store(self._encoded_facts).addErrback(self._not_stored)
        self._notify(-1)

    def _learn_again(self, offset: int, batches: list[Held]) -> None:
        """What producers have published from C{offset} on has other offsets now; these batches are in files already."""
        self._sequences.truncate(offset)
        self._changed = True
        held = self._publisher.outbox.held if self._publisher is not None else []
        known = {id(one) for one in held}
        now_ms = int(self._clock.seconds() * 1000)
        for one in [*(one for one in batches if id(one) not in known), *held]:
            if one.base_offset >= offset:
                self._sequences.appended(one.batch, one.base_offset, now_ms)

    # Reading

    def read(self, offset: int, max_bytes: int, at_least_one: bool = True) -> Deferred[Fetched]:
        """See L{IPartitionLog.read}."""
        if self._gone is not None:
            return fail(self._refusal())
        if not self._facts.start <= offset <= self._end:
            return fail(self._out_of_range(offset))
        if offset == self._end:
            return succeed(Fetched([], 0, self._bounds()))
        if 0 <= self._tail.first <= offset:
            buffers, size = self._tail.read(offset, max_bytes, at_least_one)
            return succeed(Fetched(buffers, size, self._bounds()))
        return Deferred.fromCoroutine(self._read_old(offset, max_bytes, at_least_one))

    def _out_of_range(self, offset: int) -> KafkaError:
        what = f"{self.name} holds {self._facts.start} to {self._end}, not {offset}"
        return KafkaError(ErrorCode.OFFSET_OUT_OF_RANGE, what)

    async def _read_old(self, offset: int, max_bytes: int, at_least_one: bool) -> Fetched:
        publisher = self._publisher
        found = None if publisher is None else publisher.tail(offset, max_bytes, self.leader_epoch, at_least_one)
        if found is None:
            epoch = self._facts.epoch_at(offset)
            batches = await self._reading.read(offset, self._end, max_bytes, epoch, at_least_one)
            found = list(batches if epoch == self.leader_epoch else in_their_epochs(batches, self._facts))
        if self._gone is not None:
            raise self._refusal()
        return Fetched(found, sum([len(one) for one in found]), self._bounds())

    def bounds(self) -> Deferred[Bounds]:
        """The log's bounds now, with what others have written."""
        if self._gone is not None:
            return fail(self._refusal())
        return Deferred.fromCoroutine(self._bounds_now())

    async def _bounds_now(self) -> Bounds:
        await self._look_for_others()
        if self._gone is not None:
            raise self._refusal()
        return self._bounds()

    def _bounds(self) -> Bounds:
        start = self._facts.start
        return Bounds(start, self._end, self._end, self.leader_epoch, self._facts.epoch_at(start))

    def offset_for_time(self, timestamp: int) -> Deferred[TimestampOffset]:
        """See L{IPartitionLog.offset_for_time}."""
        if self._gone is not None:
            return fail(self._refusal())
        return Deferred.fromCoroutine(self._reading.offset_for_time(self, self._facts, self._end, timestamp))

    def offset_of_max_timestamp(self) -> Deferred[TimestampOffset]:
        """See L{IPartitionLog.offset_of_max_timestamp}."""
        if self._gone is not None:
            return fail(self._refusal())
        return Deferred.fromCoroutine(self._reading.offset_of_max_timestamp(self, self._facts, self._end))

    def end_of_epoch(self, leader_epoch: int) -> Deferred[EpochEnd]:
        """See L{IPartitionLog.end_of_epoch}."""
        if self._gone is not None:
            return fail(self._refusal())
        return succeed(self._facts.end_of(leader_epoch, self._end))

    def producers(self) -> Deferred[list[ActiveProducer]]:
        """See L{IPartitionLog.producers}."""
        if self._gone is not None:
            return fail(self._refusal())
        return succeed(self._sequences.active(int(self._clock.seconds() * 1000)))

    # Trimming

    def trim(self, offset: int) -> Deferred[int]:
        """See L{IPartitionLog.trim}."""
        if self._gone is not None:
            return fail(self._refusal())
        if offset == -1:
            offset = self._end
        if not 0 <= offset <= self._end:
            return fail(self._out_of_range(offset))
        answer: Deferred[int] = Deferred()  # who gives up waiting must not break it off half way
        self._keeping.run(self._trim, offset).addCallbacks(answer.callback, answer.errback)
        return answer

    async def _trim(self, offset: int) -> int:
        """Holding the lock, so that another one to the same offset waits until this one is stored."""
        if self._gone is not None:
            raise self._refusal()
        if offset > self._facts.start:
            moved = replace(self._facts)
            moved.begin_at(offset)
            await self._around.store.commit(encoded_facts(self._topic_id, self._index, moved))
            if self._gone is not None:
                raise self._refusal()
            # the log may have become shorter meanwhile
            self._facts.begin_at(min(offset, self._end))
            self._notify(-1)
            self._reading.free_below(offset)
        return self._facts.start

    async def maintain(self, now_ms: int) -> None:
        """
        Move the start up as C{retention.ms} and C{retention.bytes} say, by whole log files; forget idle producers.

        What was in front of the start already and could not be removed then goes now.

        @raise KafkaError: the engine cannot be asked now.
        """
        if self._gone is not None:
            return
        self._sequences.expire(now_ms)
        if "delete" in self.config.cleanup_policy:
            start = await self._reading.retained_from(self.config, now_ms, self._facts.start)
            if start > self._facts.start and self._gone is None:
                await self._keeping.run(self._trim, min(start, self._end))
                return
        if self._facts.start and self._gone is None:
            self._reading.free_below(self._facts.start)

    async def checkpoint(self, now_ms: int) -> None:
        """
        Store what is known of producers, if it has changed, so that a start after a crash has less to read.

        @raise KafkaError: the engine is away.
        """
        publisher = self._publisher
        if self._gone is not None or publisher is None:
            return
        if self._changed:
            await self._store_producers(publisher)
        await self._attribute(publisher)

    async def _attribute(self, publisher: Publisher) -> None:
        # the record at offset 0 alone has no name that the engine would take
        if publisher.end_offset > 1 and not self._silent:
            await self._preparation.attribute()

    async def _store_producers(self, publisher: Publisher) -> None:
        newest = self._newest
        self._changed = False
        encode = self._sequences.snapshot()
        if newest is None or publisher.is_idle:
            stored = self._store(partial(self._encoded, encode, publisher.end_offset))
            await stored.addErrback(self._not_stored)
            return
        # what is on its way may never be in the log, so it waits for that; and nobody waits for it
        stored = newest.acknowledged.addCallback(lambda _: self._store_behind(newest.held, encode))
        stored.addErrback(self._not_stored)

    def _store_behind(self, newest: Held, encode: Callable[[int], bytes]) -> Deferred[None] | None:
        """Store what was known of producers, unless the batch that was the newest then was given up."""
        whole = newest.acknowledged == newest.count
        return self._store(partial(self._encoded, encode, newest.next_offset)) if whole else None

    # Listeners

    def watch(self, listener: Callable[[int], None]) -> None:
        """See L{IPartitionLog.watch}."""
        self._listeners[listener] = None
        if self._gone is None:
            self._lookout.start()

    def unwatch(self, listener: Callable[[int], None]) -> None:
        """See L{IPartitionLog.unwatch}."""
        self._listeners.pop(listener, None)
        if not self._listeners:
            self._lookout.stop()

    def _notify(self, new_bytes: int) -> None:
        for listener in tuple(self._listeners):
            if listener in self._listeners:  # another one may have made it stop
                with _log.failuresHandled("a listener of {name} failed", name=self.name):
                    listener(new_bytes)

    async def _look_for_others(self) -> bool:
        """
        Somebody else may write to the partition, too: the broker knows, and says nothing unasked.

        @return: whether somebody has.
        """
        publisher = self._publisher
        if publisher is None or not publisher.is_idle:
            return False
        try:
            end = await self._reading.high_watermark()
        except KafkaError:
            return False  # the broker is away; what is known stands until it is back
        if self._gone is not None or not publisher.is_idle or end <= publisher.end_offset:
            return False
        publisher.others_wrote(end)
        return True

    # For the engine

    def size(self) -> Deferred[int]:
        """Bytes of the log files, with what brokers have written by now; fails with C{KAFKA_STORAGE_ERROR}."""
        return Deferred.fromCoroutine(self._reading.history.log.measure())

    def opened(self, publisher: Publisher) -> None:
        """Serve what was found."""
        self._publisher = publisher
        self._end = max(publisher.outbox.visible_end, self._facts.start)
        self._gone = None

    def _encoded_facts(self) -> dict[str, bytes]:
        return encoded_facts(self._topic_id, self._index, self._facts)

    def _encoded(self, producers: Callable[[int], bytes], covered: int) -> dict[str, bytes]:
        snapshot = producers(covered)
        return self._encoded_facts() | encoded_producers(self._topic_id, self._index, snapshot, self._facts.reign)

    def _store(self, encode: Callable[[], dict[str, bytes]]) -> Deferred[None]:
        """Store what is encoded when its turn comes; nothing once all was let go of as it is."""
        return self._keeping.run(self._stored, encode)

    async def _stored(self, encode: Callable[[], dict[str, bytes]]) -> None:
        if not self._silent:
            await self._around.store.commit(encode())

    def _not_stored(self, failure: Failure) -> None:
        self._changed = True  # so that the next checkpoint tries it again
        if self._gone is None:
            _log.error("{name}: facts about it are not stored: {why}", name=self.name, why=failure.getErrorMessage())

    async def close(self, code: ErrorCode = ErrorCode.KAFKA_STORAGE_ERROR, message: str = _STOPPED) -> None:
        """
        Have everything in log files, and refuse all with this from now on.

        @raise KafkaError: the engine is away.
        """
        publisher = self._publisher
        if self._gone is not None or publisher is None:
            return
        self._refuse(code, message)
        try:
            if await drained(self.name, publisher, self._preparation, self._around):
                self._facts.clean_end = publisher.end_offset
                await self._store(partial(self._encoded, self._sequences.snapshot(), publisher.end_offset))
                await self._attribute(publisher)
        finally:
            self._let_go()

    def delete(self) -> Deferred[None]:
        """Let go of all, and refuse all with C{UNKNOWN_TOPIC_OR_PARTITION}; fires when nothing more is stored of it."""
        self.abandon(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"{self.name} was deleted")
        return self._keeping.run(lambda: None)

    def abandon(self, code: ErrorCode, message: str) -> None:
        """Let go of everything, as it is, store nothing more, and refuse all with this."""
        self._silent = True
        self._refuse(code, message)
        if self._publisher is not None:
            self._publisher.abandon(self._refusal())
        self._let_go()
        self._listeners.clear()

    def _let_go(self) -> None:
        self._around.publishing.forget(self._preparation.place)
        self._tail.clear()
        self._reading.forget()

    def _refuse(self, code: ErrorCode, message: str) -> None:
        self._gone = (code, message)
        self._lookout.stop()
        self._notify(-1)

    def _refusal(self) -> KafkaError:
        return KafkaError(*(self._gone or (ErrorCode.KAFKA_STORAGE_ERROR, f"{self.name} is not open")))
