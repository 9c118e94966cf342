"""One partition's log on the local disk: appended and read on the reactor's thread, made durable off it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from kgw.engine.local.durability import Durability
from kgw.engine.local.files import LogFiles
from kgw.engine.local.readable import ReadableLog
from kgw.engine.local.reads import Reads
from kgw.engine.local.recovery import Recovered
from kgw.engine.local.retention import ageless, expired
from kgw.engine.local.room import Room
from kgw.engine.local.segment import Segment, write_rest
from kgw.engine.local.surroundings import Surroundings
from kgw.engine.local.swaps import put_in_place
from kgw.engine.tail import Tail
from kgw.errors import ErrorCode, KafkaError
from kgw.interfaces import Columns, IPartitionLog
from kgw.log.producer_state import BatchMetadata
from kgw.model import (
    Appended,
    Bounds,
    Extent,
    LogConfig,
    TopicPartition,
)
from kgw.wire.records import LOG_APPEND_TIME, RecordBatch

_NEVER = (1 << 63) - 1
#: Batches up to this many bytes are joined with their header: cheaper than to write two buffers.
_JOIN_MAX = 4096


@implementer(IPartitionLog)
class LocalPartitionLog(ReadableLog):
    """
    See L{IPartitionLog}.

    An append is one write at the end of the active segment. The high watermark is the end of the log: there
    is no other replica to wait for. The file may be longer than the log, so nothing but positions says where
    the next batch goes.

    @ivar leader_epoch: goes up by one when an unclean stop was recovered from.
    @ivar recovery_point: offsets below it survive the end of the machine.
    @ivar cleaned_to: as far as compaction has come; the cleaner moves it.
    """

    _log = Logger()

    def __init__(
        self,
        name: TopicPartition,
        folder: str,
        config: LogConfig,
        found: Recovered,
        around: Surroundings,
        *,
        start_offset: int,
        recovery_point: int,
        cleaned_to: int = 0,
    ) -> None:
        self.name, self.folder = name, folder
        self.cleaned_to = cleaned_to
        self.recovery_point = min(recovery_point, found.end_offset)
        self._around, self._clock = around, around.clock
        self._files = LogFiles(folder, found, around.handles)
        self._active = self._files.active
        self._end, self._epochs, self._producers = found.end_offset, found.epochs, found.producers
        self._start = min(max(start_offset, self.first_file_offset), self._end)
        self.leader_epoch = found.epochs[-1][0]
        self._tail = Tail(around.budget)
        self._watchers: dict[Callable[[int], None], None] = {}
        self._bounds: Bounds | None = None
        self._gone: tuple[ErrorCode, str] | None = None
        #: Whether the last write failed; the next append finds out whether the disk is well again.
        self._offline = False
        #: Whether files are being exchanged, so that none may be removed.
        self._held = False
        unsynced = self._files.unsynced(self.recovery_point)
        self._durability = Durability(folder, around, lambda: (self._end, self._active), self.recovery_point, unsynced)
        self._reads = Reads(self._files, around.reader)
        self._room = Room(self._files, around, config)
        self._obey(config)

    def __repr__(self) -> str:
        return f"<LocalPartitionLog {self.name} {self._start}..{self._end}>"

    @property
    def config(self) -> LogConfig:
        """The L{LogConfig} in force."""
        return self._config

    @config.setter
    def config(self, config: LogConfig) -> None:
        self._obey(config)
        self._room.configure(config)

    def _obey(self, config: LogConfig) -> None:
        self._config = config
        self._interval = config.index_interval_bytes
        self._syncing = config.flush_messages < _NEVER or config.flush_ms < _NEVER

    @property
    def log_start_offset(self) -> int:
        """The first offset a consumer may ask for."""
        return self._start

    @property
    def end_offset(self) -> int:
        """The offset of the next record."""
        return self._end

    @property
    def first_file_offset(self) -> int:
        """Where the files begin, at or below the log start offset."""
        return self._files.bases[0]

    @property
    def size(self) -> int:
        """Bytes of the batches in all segments."""
        return sum([segment.position for segment in self._files.segments])

    @property
    def extent(self) -> Extent:
        """See L{IPartitionLog}."""
        return Extent(self._start, self._end, self.size)

    @property
    def segment_count(self) -> int:
        """How many segments there are, one at least."""
        return len(self._files.segments)

    @property
    def is_offline(self) -> bool:
        """Whether the last write failed, or the files are in doubt until a restart."""
        return self._offline

    # Appending

    def append(self, batch: RecordBatch, acks: int = -1, columns: Columns | None = None) -> Deferred[Appended]:
        """See L{IPartitionLog.append}."""
        if self._gone is not None:
            return fail(KafkaError(*self._gone))
        producer_id, now_ms = batch.producer_id, 0
        if producer_id >= 0:
            now_ms = int(self._clock.seconds() * 1000)
            try:
                earlier = self._producers.check(batch, now_ms)
            except KafkaError as error:
                return fail(error)
            if earlier is not None:
                return self._repeated(earlier)
        segment, base, size, timestamp = self._active, self._end, batch.size, batch.max_timestamp
        last = base + batch.last_offset_delta
        position = segment.position
        header, rest, room = batch.header(base, self.leader_epoch), batch.tail, self._room
        try:
            if position + size > room.bytes or timestamp > room.timestamp or last > room.offset:
                if room.is_over(position + size, timestamp, last):
                    self._roll()
                    segment = self._active
                    position = segment.position
                else:
                    room.grow()
            fd = segment.fd
            if fd < 0:
                fd = segment.descriptor()
            small = size <= _JOIN_MAX
            written = os.pwrite(fd, header + rest, position) if small else os.pwritev(fd, (header, rest), position)
            if written != size:
                write_rest(fd, header + rest, written, position)
        except OSError as error:
            return fail(self._write_failed(error))
        segment.position = position + size
        segment.used = True
        segment.account(size, last, timestamp, position, self._interval)
        self._end = last + 1
        self._bounds = None
        self._tail.append(base, header, rest, size)
        if not position:
            room.measure()
        if producer_id >= 0:
            self._producers.appended(batch, base, now_ms)
        if self._offline:
            self._offline = False
            self._log.warn("{name} can be written again", name=self.name)
        appended = Appended(base, timestamp if batch.attributes & LOG_APPEND_TIME else -1, self._start)
        if self._watchers:
            self._notify(size)
        if self._syncing:
            return self._durability.acknowledge(appended, batch.last_offset_delta + 1, self._config)
        return succeed(appended)

    def _repeated(self, earlier: BatchMetadata) -> Deferred[Appended]:
        appended = Appended(earlier.base_offset, earlier.log_append_time_ms, self._start, duplicate=True)
        if (
            self._config.flush_messages == 1 or not self._config.flush_ms
        ) and self._durability.synced <= earlier.last_offset:
            # The first attempt may have failed in this very step.
            return self._durability.sync().addCallback(lambda _: appended)
        return succeed(appended)

    def _write_failed(self, error: OSError) -> KafkaError:
        """Forget what was written of a batch; the partition is offline until a write works."""
        if not self._offline:
            self._offline = True
            reason = error.strerror
            self._log.error("{name} cannot be written: {reason}; producers are told", name=self.name, reason=reason)
        try:
            self._room.write_failed(error)
        except OSError:
            # The next batch goes over what is there, and recovery cuts it; this only tidies up.
            self._log.debug("{name}: the torn end stays", name=self.name)
        return KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, f"{self.name} cannot be written: {error.strerror}")

    # Rolling

    def _roll(self) -> None:
        """
        Seal the active segment and begin another.

        @raise OSError: nothing has changed.
        """
        self._durability.sealed(self._room.roll(self._end, self._producers))
        self._active = self._files.active
        self._around.checkpoint_due(self)

    # Durability

    def checkpoint(self) -> Deferred[None]:
        """
        Move the recovery point to the log's end: indexes and producers written, batches durable.

        @return: fails with C{KAFKA_STORAGE_ERROR}.
        """
        end = self._end
        if self._gone is not None:
            return succeed(None)
        try:
            if end == self.recovery_point and self._is_written_down(end):
                # All is written down, but a file may have been cut.
                return self._durability.sync()
            self._active.save_indexes()
            self._files.save_snapshot(end, self._producers)
        except OSError as error:
            return fail(KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, f"{self.name} cannot be written: {error.strerror}"))

        def synced(_: None) -> None:
            self.recovery_point = max(self.recovery_point, end)

        return self._durability.sync().addCallback(synced)

    def _is_written_down(self, end: int) -> bool:
        """Whether the small files say all there is to say; for a log that never held anything none need be there."""
        if not end:
            return True
        return self._files.has_snapshot(end) and (self._active.indexed or not self._active.position)

    def close(self) -> Deferred[None]:
        """
        Stop, with everything durable and written down when it fires.

        @return: fails with C{KAFKA_STORAGE_ERROR} where the disk does not take it; the log is closed all the same.
        """
        try:
            if self._gone is None and self._room.settle():
                self._durability.shortened()
        except OSError as error:
            # The next start cuts it.
            self._log.debug("{name}: the file stays long: {reason}", name=self.name, reason=error.strerror)
        if self._gone is not None and self._offline:
            checkpoint: Deferred[None] = fail(KafkaError(*self._gone))
        else:
            checkpoint = self.checkpoint()
        self._retire(ErrorCode.KAFKA_STORAGE_ERROR, f"{self.name} is closed")

        def closed(result: Failure | None) -> Failure | None:
            self._files.release()
            return result

        return checkpoint.addBoth(closed)

    def delete(self) -> None:
        """Fail from now on with C{UNKNOWN_TOPIC_OR_PARTITION}; the caller removes the folder."""
        code, reason = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"{self.name} was deleted"
        self._durability.abandon((code, reason))
        self._retire(code, reason)
        self._around.spares.release(self.folder)
        self._files.release()

    def _retire(self, code: ErrorCode, reason: str) -> None:
        self._gone = (code, reason)
        self._durability.stop()
        self._tail.clear()
        self._notify(-1)

    # Trimming and retention

    def trim(self, offset: int) -> Deferred[int]:
        """See L{IPartitionLog.trim}."""
        if self._gone is not None:
            return fail(KafkaError(*self._gone))
        if offset == -1:
            offset = self._end
        if not 0 <= offset <= self._end:
            return fail(self._out_of_range(offset))
        if offset <= self._start:
            return succeed(self._start)
        self._start, self._bounds = offset, None
        self._notify(-1)

        def trimmed(_: None) -> int:
            self._drop_below_start()
            return self._start

        return self._around.persist_starts().addCallback(trimmed)

    def ageless(self) -> list[Segment]:
        """The segments that L{find_ages} should look at before L{maintain} does."""
        return ageless(self._files.segments, self._config) if self._gone is None else []

    def maintain(self, now_ms: int) -> None:
        """
        Let go of what C{retention.ms}, C{retention.bytes} and C{producer.id.expiration.ms} no longer keep.

        @raise OSError: the disk does not do as told; the next time may be better.
        """
        if self._gone is not None:
            return
        self._producers.expire(now_ms)
        count = expired(self._files.segments, self._config, now_ms)
        if not count:
            return
        if count == len(self._files.segments):
            self._roll()
        start = self._files.bases[count]
        if start > self._start:
            self._start, self._bounds = start, None
        self._drop_below_start()
        self._notify(-1)

    def _drop_below_start(self) -> None:
        """Remove the segments that end at or below the log start offset."""
        if self._gone is not None or self._held:
            return
        paths: list[str] = []
        try:
            if self._start == self._end and self._active.position:
                self._roll()
            for segment in self._files.below(self._start):
                removed = self._files.discard(segment)
                # Nobody but readers that will be refused uses the file, so it may be written again.
                if self._durability.forget(segment) and self._around.spares.keep(removed[0], segment.position):
                    del removed[0]
                paths += removed
        except OSError as error:
            self._log.error("{name}: old segments stay: {reason}", name=self.name, reason=error.strerror)
        if paths:
            self._around.unlink_later(paths, self._config.file_delete_delay_ms)

    # Compaction

    @property
    def is_gone(self) -> bool:
        """Whether the log was closed or deleted; may be asked by any thread."""
        return self._gone is not None

    def cleanable(self) -> list[tuple[Segment, int]]:
        """
        The segments that compaction may replace, each with the base offset of the next one.

        None that is written, that a power cut might take, or that has damage in it or in front of it.
        """
        found: list[tuple[Segment, int]] = []
        if self._gone is None and "compact" in self._config.cleanup_policy:
            for segment, following in zip(self._files.segments, self._files.bases[1:], strict=False):
                if following > self.recovery_point or segment.holes:
                    break
                found.append((segment, following))
        return found

    def last_offsets(self) -> dict[int, int]:
        """The last offset of each known producer's newest batch."""
        return self._producers.last_offsets()

    def hold_files(self) -> None:
        """Remove no segment until L{release_files}."""
        self._held = True

    def release_files(self) -> None:
        """Do what had to wait since L{hold_files}."""
        self._held = False
        self._drop_below_start()

    def replace(self, old: Sequence[Segment], cleaned: Segment) -> None:
        """
        Put a cleaned segment, whose files stand ready (L{kgw.engine.local.swaps}), in the place of others.

        @raise OSError: the log is to go L{offline}.
        """
        new = Segment(self.folder, cleaned.base_offset, self._around.handles)
        new.position, new.flushed, new.sealed = cleaned.position, cleaned.position, True
        new.max_timestamp, new.max_timestamp_offset = cleaned.max_timestamp, cleaned.max_timestamp_offset
        new.first_timestamp = cleaned.first_timestamp
        paths = self._files.replace(old, new, put_in_place)
        for segment in old:
            self._durability.forget(segment)
        self._around.unlink_later(paths, self._config.file_delete_delay_ms)

    def offline(self, reason: str) -> None:
        """Refuse everything from now on; only a restart helps."""
        self._offline = True
        self._log.error("{name} is offline until a restart: {reason}", name=self.name, reason=reason)
        self._retire(ErrorCode.KAFKA_STORAGE_ERROR, f"{self.name} is offline: {reason}")

    # Watching

    def watch(self, listener: Callable[[int], None]) -> None:
        """See L{IPartitionLog.watch}."""
        self._watchers[listener] = None

    def unwatch(self, listener: Callable[[int], None]) -> None:
        """See L{IPartitionLog.unwatch}."""
        self._watchers.pop(listener, None)

    def _notify(self, size: int) -> None:
        for listener in tuple(self._watchers):
            if listener in self._watchers:  # another one may have made it stop
                with self._log.failuresHandled("a listener of {name} failed", name=self.name):
                    listener(size)
