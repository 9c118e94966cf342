"""The keeper of all partition logs in one data directory."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import TypeVar

from twisted.internet.defer import Deferred, DeferredLock, fail, gatherResults, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from kgw.engine.bridge import IBridge
from kgw.engine.local.checkpoint import (
    CLEANER_OFFSETS,
    LOG_START_OFFSETS,
    RECOVERY_POINTS,
    format_offsets,
    replace_file,
)
from kgw.engine.local.cleaner import Cleaner, CleanerLimits
from kgw.engine.local.directory import DataDirectory
from kgw.engine.local.folders import Folders, Opened, remove
from kgw.engine.local.pages import PageReads
from kgw.engine.local.partition import LocalPartitionLog
from kgw.engine.local.retention import find_ages
from kgw.engine.local.rounds import Rounds
from kgw.engine.local.segment import Handles
from kgw.engine.local.spares import Spares, unlink_all
from kgw.engine.local.surroundings import Surroundings
from kgw.engine.tail import TailBudget
from kgw.errors import ErrorCode, KafkaError
from kgw.interfaces import ILogEngine, IPartitionLog
from kgw.model import LogConfig, LogDir, Topic, TopicPartition

T = TypeVar("T")

#: A roll is followed by a checkpoint this much later, in seconds, so that one serves many.
_CHECKPOINT_DELAY = 1.0
#: So many partitions are made or removed at a time, so that neither the reactor nor a flush waits for thousands.
_SLICE = 50
#: So many folders are named in one line of the log.
_NAMED = 20


@implementer(ILogEngine)
class LocalLogEngine:
    """
    See L{ILogEngine}. The layout of the directory and the formats of its files are Kafka's.

    The directory and the bridge, which has to be started, are those of whoever made the engine; they are to be
    closed and stopped after it.

    @ivar cleaner: compacts logs; its C{facts} say what it did.
    """

    tables = None
    _log = Logger()

    def __init__(
        self,
        directory: DataDirectory,
        clock: IReactorTime,
        bridge: IBridge,
        *,
        tail_bytes: int = 64 << 20,
        retention_check_ms: int = 300_000,
        producer_id_expiration_ms: int = 86_400_000,
        checkpoint_ms: int = 60_000,
        open_files: int = 512,
        recycle_bytes: int = 1 << 30,
        small_bytes: int = 1 << 20,
        reader: IBridge | None = None,
        sync: Callable[[int], None] = os.fdatasync,
        cleaning: IBridge | None = None,
        cleaner_limits: CleanerLimits | None = None,
    ) -> None:
        """
        @param clock: C{seconds()} is epoch seconds.
        @param tail_bytes: what the newest batches of all partitions may take in memory.
        @param retention_check_ms: how often old segments are looked for (C{log.retention.check.interval.ms}).
        @param checkpoint_ms: how often logs are flushed so that recovery need not look at what is older
            (C{log.flush.offset.checkpoint.interval.ms}).
        @param open_files: at most this many segments are open at a time.
        @param recycle_bytes: in files of deleted segments that are kept to be written again
            (C{kgw.recycle.max.bytes}).
        @param small_bytes: segments with fewer get no disk space ahead of what is written, and are not kept.
        @param reader: runs reads that wait for the disk; C{bridge} where there is none of their own.
        @param sync: makes a file durable, given its descriptor.
        @param cleaning: runs compactions, which take minutes; C{bridge} where there is none of their own.
        @param cleaner_limits: what they may use (C{log.cleaner.*}).
        """
        self._directory = directory
        self._path = directory.path
        self._clock = clock
        self._bridge = bridge
        self._handles = Handles(open_files)
        self._folders = Folders(directory, self._handles, producer_id_expiration_ms)
        self._changes = DeferredLock()
        #: By topic and index: equal to a TopicPartition, and made for each look-up in a fourth of the time.
        self._logs: dict[tuple[str, int], LocalPartitionLog] = {}
        self._starts = Rounds("log start offsets cannot be written", self._write_starts)
        self._points = Rounds("recovery points cannot be written", self._write_points)
        self._checkpoints = Rounds("checkpoint", self._checkpoint)
        self._cleaned = Rounds("cleaner offsets cannot be written", self._write_cleaned)
        self.cleaner = Cleaner(
            self._logs.values, clock, cleaning or bridge, cleaner_limits or CleanerLimits(), self._cleaned.join
        )
        pages = PageReads(directory.path)
        self._spares = Spares(bridge, pages, recycle_bytes, small_bytes)
        self._around = Surroundings(
            clock,
            bridge,
            reader or bridge,
            pages,
            self._spares,
            TailBudget(tail_bytes),
            self._handles,
            persist_starts=self._starts.join,
            unlink_later=self._unlink_later,
            checkpoint_due=self._checkpoint_due,
            small_bytes=small_bytes,
            sync=sync,
        )
        self._ids: dict[str, bytes] = {}
        self._due: dict[LocalPartitionLog, None] = {}
        self._due_call: IDelayedCall | None = None
        self._unlinks: dict[IDelayedCall, list[str]] = {}
        self._loops = [(LoopingCall(self._maintain), retention_check_ms), (LoopingCall(self._tick), checkpoint_ms)]
        self._running = False
        self._checkpoint_count = 0
        self._checkpoint_time = clock.seconds()

    def measure(self) -> dict[str, float]:
        """See L{ILogEngine.measure}."""
        flushes, logs, cleaned = self._around.flushes, self._logs.values(), self.cleaner.facts
        return {
            "kgw_partitions_offline": sum([log.is_offline for log in logs]),
            "kgw_tail_bytes": self._around.budget.used,
            "kgw_local_segments": sum([log.segment_count for log in logs]),
            "kgw_local_bytes": sum([log.size for log in logs]),
            "kgw_local_spare_bytes": self._spares.used,
            "kgw_local_flushes_total": flushes.count,
            "kgw_local_flush_seconds_total": flushes.seconds,
            "kgw_local_flush_failures_total": flushes.failures,
            "kgw_local_checkpoints_total": self._checkpoint_count,
            "kgw_local_checkpoint_age_seconds": max(self._clock.seconds() - self._checkpoint_time, 0.0),
            "kafka_log_logcleanermanager_max_dirty_percent": 100 * cleaned.max_dirty_ratio,
            "kafka_log_logcleanermanager_uncleanable_partitions_count": len(cleaned.uncleanable),
            "kgw_local_compactions_total": cleaned.runs,
            "kgw_local_compacted_bytes_total": cleaned.bytes_before,
            "kgw_local_compaction_kept_bytes_total": cleaned.bytes_after,
        }

    def describe(self) -> str:
        """See L{ILogEngine.describe}."""
        return f"local, {self._path}"

    # Start and stop

    def start(self, topics: Iterable[tuple[Topic, LogConfig]]) -> Deferred[None]:
        """See L{ILogEngine.start}."""
        return Deferred.fromCoroutine(self._start(list(topics)))

    async def _start(self, topics: list[tuple[Topic, LogConfig]]) -> None:
        try:
            result: tuple[list[Opened], list[str]] = await self._bridge.call(self._folders.open, topics)
        except OSError as error:
            where = error.filename or self._path
            raise KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, f"{where} cannot be used: {error.strerror}") from None
        found, strays = result
        self._tell_of_strays(strays)
        self._logs.clear()
        self._ids.clear()
        self._due.clear()
        for each in found:
            for note in each.found.notes:
                self._log.warn("{name}: {note}", name=each.name, note=note)
            self._ids[each.name.topic] = each.topic_id
            self._logs[each.name] = self._log_of(each)
        self._running = True
        for loop, period_ms in self._loops:
            loop.clock = self._clock
            # A failure of a round is a bug; the next ones go on from the next start.
            loop.start(period_ms / 1000, now=False).addErrback(
                lambda failure: self._log.failure("what is done now and then has ended", failure)
            )
        self.cleaner.start()

    def _log_of(self, opened: Opened) -> LocalPartitionLog:
        return LocalPartitionLog(
            opened.name,
            self._folders.path(opened.name),
            opened.config,
            opened.found,
            self._around,
            start_offset=opened.start_offset,
            recovery_point=opened.recovery_point,
            cleaned_to=opened.cleaned_to,
        )

    def _tell_of_strays(self, strays: list[str]) -> None:
        if strays:
            self._log.warn(
                "{path}: {count} partition folder(s) belong to no topic and are named NAME.HEX-stray from now on; "
                "kgw does not touch them again, remove them by hand when nobody needs them: {names}",
                path=self._path,
                count=len(strays),
                names=", ".join(sorted(strays)[:_NAMED]) + (", ..." if len(strays) > _NAMED else ""),
            )

    def stop(self) -> Deferred[None]:
        """See L{ILogEngine.stop}."""
        if not self._running:
            return succeed(None)
        self._running = False
        for loop, _ in self._loops:
            loop.stop()
        if self._due_call is not None:
            self._due_call.cancel()
            self._due_call = None
        for call in list(self._unlinks):
            call.cancel()
            self._unlink(call)
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        await self.cleaner.stop()
        # A change that was begun finds the engine stopped and takes itself back.
        await self._changes.run(succeed, None)
        self._spares.release()
        failures: list[Failure] = []
        await gatherResults([log.close().addErrback(failures.append) for log in self._logs.values()])
        try:
            await self._points.join()
            await self._starts.join()
            if failures:
                failures[0].raiseException()
            await self._bridge.call(self._directory.mark_clean)
        except OSError as error:
            raise KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, f"{self._path}: {error.strerror}") from None

    # Topics

    def create(self, topic: Topic, config: LogConfig) -> Deferred[None]:
        """See L{ILogEngine.create}."""
        return self._changes.run(self._create, topic, config)

    async def _create(self, topic: Topic, config: LogConfig) -> None:
        self._folders.check(topic.name)
        owner = self._ids.get(topic.name)
        names = [TopicPartition(topic.name, index) for index in range(topic.partitions)]
        names = [name for name in names if name not in self._logs]
        made: dict[TopicPartition, LocalPartitionLog] = {}
        try:
            self._check_running()
            for some in _slices(names):
                strays: list[str] = await self._bridge.call(self._folders.make, some, topic.id)
                made.update((name, self._log_of(self._folders.empty(name, topic.id, config))) for name in some)
                self._tell_of_strays(strays)
                self._check_running()
            if self._ids.get(topic.name) != owner:
                raise KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"{topic.name} was deleted meanwhile")
        except (OSError, KafkaError) as error:
            await self._unmake(made)
            if isinstance(error, KafkaError):
                raise
            reason = f"{topic.name} cannot be made: {error.strerror}"
            raise KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, reason) from None
        # Seen all at once: nobody is to find a topic with some of its partitions.
        self._ids[topic.name] = topic.id
        self._logs.update((log.name, log) for log in made.values())

    async def _unmake(self, made: dict[TopicPartition, LocalPartitionLog]) -> None:
        for log in made.values():
            log.delete()
        for some in _slices(list(made)):
            await self._bridge.call(self._folders.discard, some).addErrback(self._stays)

    def _check_running(self) -> None:
        if not self._running:
            raise KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, "the engine is not running")

    def configure(self, topic: Topic, config: LogConfig) -> None:
        """See L{ILogEngine.configure}."""
        for index in range(topic.partitions):
            log = self._logs.get((topic.name, index))
            if log is not None:
                log.config = config

    def check_config(self, config: LogConfig) -> None:
        """See L{ILogEngine.check_config}; nothing is refused."""

    def delete(self, topic: Topic) -> Deferred[None]:
        """See L{ILogEngine.delete}."""
        if self._ids.get(topic.name) != topic.id:
            return succeed(None)
        if not self._running:
            return fail(KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, "the engine is not running"))
        del self._ids[topic.name]
        names = [log.name for log in self._logs.values() if log.name.topic == topic.name]
        for name in names:
            log = self._logs.pop(name)
            self._due.pop(log, None)
            log.delete()
        return self._changes.run(self._delete, names)

    async def _delete(self, names: list[TopicPartition]) -> None:
        folders: list[str] = []
        for some in _slices(names):
            aside, failures = await self._bridge.call(self._folders.set_aside, some)
            folders += aside
            for failure in failures:
                # They are in nobody's way: as strays, if not before.
                self._log.error("files of a deleted topic stay: {reason}", reason=failure)
        Deferred.fromCoroutine(self._remove(folders)).addErrback(self._stays)
        # A later topic of this name begins anew.
        await self._points.join()
        await self._starts.join()
        await self._cleaned.join()

    async def _remove(self, folders: list[str]) -> None:
        for some in _slices(folders):
            await self._bridge.call(remove, some)
            if not self._running:
                # The next start removes the others.
                break

    def _stays(self, failure: Failure) -> None:
        self._log.failure("folders of deleted partitions stay", failure)

    def partition(self, name: str, index: int) -> IPartitionLog:
        """See L{ILogEngine.partition}."""
        try:
            return self._logs[name, index]
        except KeyError:
            raise KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"{name}-{index} is not here") from None

    def log_dir(self, wanted: Collection[TopicPartition] | None = None) -> Deferred[LogDir]:
        """See L{ILogEngine.log_dir}; sizes are those of the segments' batches, the volume is the file system's."""
        return Deferred.fromCoroutine(self._log_dir(wanted))

    async def _log_dir(self, wanted: Collection[TopicPartition] | None) -> LogDir:
        self._check_running()
        try:
            volume = await self._bridge.call(os.statvfs, self._path)
        except OSError as error:
            reason = f"{self._path} cannot be looked at: {error.strerror}"
            raise KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, reason) from None
        # what was read meanwhile may be gone by now, so the logs are looked at only now
        logs = self._logs.values() if wanted is None else filter(None, map(self._logs.get, frozenset(wanted)))
        block = volume.f_frsize
        sizes = {log.name: log.size for log in logs}
        return LogDir(self._path, sizes, volume.f_blocks * block, volume.f_bavail * block)

    # What is done now and then

    def _maintain(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._maintain_each())

    async def _maintain_each(self) -> None:
        segments = [segment for log in self._logs.values() for segment in log.ageless()]
        if segments:
            views = [segment.view() for segment in segments]
            await self._around.reader.call(find_ages, views)
            for segment, view in zip(segments, views, strict=True):
                segment.adopt(view)
        now_ms = int(self._clock.seconds() * 1000)
        for log in list(self._logs.values()):
            try:
                log.maintain(now_ms)
            except OSError as error:
                self._log.error("{name}: old segments stay: {reason}", name=log.name, reason=error.strerror)

    def _tick(self) -> Deferred[None]:
        self._due.update(dict.fromkeys(self._logs.values()))
        return self._checkpoints.join()

    def _checkpoint_due(self, log: LocalPartitionLog) -> None:
        self._due[log] = None
        if self._due_call is None and self._running:
            self._due_call = self._clock.callLater(_CHECKPOINT_DELAY, self._checkpoint_now)

    def _checkpoint_now(self) -> None:
        self._due_call = None
        self._checkpoints.join()

    def _checkpoint(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._checkpoint_each())

    async def _checkpoint_each(self) -> None:
        """Flush the logs whose turn it is, one after the other, and write down how far all of them are flushed."""
        due, self._due = self._due, {}
        before = {name: log.recovery_point for name, log in self._logs.items()}
        for log in due:
            await log.checkpoint().addErrback(self._no_checkpoint)
        self._checkpoint_count += 1
        self._checkpoint_time = self._clock.seconds()
        if self._running and before != {name: log.recovery_point for name, log in self._logs.items()}:
            await self._points.join().addErrback(self._no_checkpoint)

    def _no_checkpoint(self, failure: Failure) -> None:
        # Whoever waits for a flush is told by the partition; recovery has more to look at, that is all.
        failure.trap(KafkaError)
        self._log.error("checkpoint: {reason}", reason=failure.getErrorMessage())

    def _write_points(self) -> Deferred[None]:
        content = format_offsets({log.name: log.recovery_point for log in self._logs.values()})
        return self._bridge.call(_replace_durably, os.path.join(self._path, RECOVERY_POINTS), content)

    def _write_starts(self) -> Deferred[None]:
        moved = {
            log.name: log.log_start_offset
            for log in self._logs.values()
            if log.log_start_offset > log.first_file_offset
        }
        return self._bridge.call(_replace_durably, os.path.join(self._path, LOG_START_OFFSETS), format_offsets(moved))

    def _write_cleaned(self) -> Deferred[None]:
        cleaned = {log.name: log.cleaned_to for log in self._logs.values() if log.cleaned_to}
        path = os.path.join(self._path, CLEANER_OFFSETS)
        if not cleaned and not os.path.exists(path):
            return succeed(None)
        return self._bridge.call(_replace_durably, path, format_offsets(cleaned))

    def _unlink_later(self, paths: list[str], delay_ms: int) -> None:
        call = self._clock.callLater(delay_ms / 1000, lambda: self._unlink(call))
        self._unlinks[call] = paths

    def _unlink(self, call: IDelayedCall) -> None:
        self._bridge.call(unlink_all, self._unlinks.pop(call)).addErrback(
            lambda failure: self._log.error("old segments stay: {reason}", reason=failure.getErrorMessage())
        )


def _slices(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[at : at + _SLICE] for at in range(0, len(items), _SLICE))


def _replace_durably(path: str, content: bytes) -> None:
    replace_file(path, content, durable=True)
