"""The keeper of all partition logs in one data directory."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from twisted.internet.defer import Deferred, fail, gatherResults, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from kgw.engine.local.bridge import IBridge
from kgw.engine.local.checkpoint import (
    LEADER_EPOCHS,
    LOG_START_OFFSETS,
    PARTITION_METADATA,
    RECOVERY_POINTS,
    format_offsets,
    format_pairs,
    read_file,
    read_offsets,
    replace_file,
)
from kgw.engine.local.directory import DataDirectory, decode_id, encode_id
from kgw.engine.local.pages import PageReads
from kgw.engine.local.partition import LocalPartitionLog
from kgw.engine.local.recovery import Recovered, Recovery
from kgw.engine.local.retention import find_ages
from kgw.engine.local.rounds import Rounds
from kgw.engine.local.segment import Handles
from kgw.engine.local.spares import Spares, unlink_all
from kgw.engine.local.surroundings import Surroundings
from kgw.engine.local.tail import TailBudget
from kgw.errors import ErrorCode, KafkaError
from kgw.interfaces import ILogEngine, IPartitionLog
from kgw.model import LogConfig, Topic, TopicPartition

_DELETED = "-delete"
#: A roll is followed by a checkpoint this much later, in seconds, so that one serves many.
_CHECKPOINT_DELAY = 1.0


@dataclass(slots=True)
class _Opened:
    """What a start found in one partition's folder, or made."""

    name: TopicPartition
    topic_id: bytes
    config: LogConfig
    found: Recovered
    start_offset: int
    recovery_point: int


@implementer(ILogEngine)
class LocalLogEngine:
    """
    See L{ILogEngine}. The layout of the directory and the formats of its files are Kafka's.

    The directory and the bridge, which has to be started, are those of whoever made the engine; they are to be
    closed and stopped after it.
    """

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
        """
        self._directory = directory
        self._path = directory.path
        self._clock = clock
        self._bridge = bridge
        self._producer_expiration_ms = producer_id_expiration_ms
        self._handles = Handles(open_files)
        self._logs: dict[TopicPartition, LocalPartitionLog] = {}
        self._starts = Rounds("log start offsets cannot be written", self._write_starts)
        self._points = Rounds("recovery points cannot be written", self._write_points)
        self._checkpoints = Rounds("checkpoint", self._checkpoint)
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

    def describe(self) -> str:
        """See L{ILogEngine.describe}."""
        return f"local, {self._path}"

    # Start and stop

    def start(self, topics: Iterable[tuple[Topic, LogConfig]]) -> Deferred[None]:
        """See L{ILogEngine.start}."""
        return Deferred.fromCoroutine(self._start(list(topics)))

    async def _start(self, topics: list[tuple[Topic, LogConfig]]) -> None:
        try:
            found: list[_Opened] = await self._bridge.call(self._open_all, topics)
        except OSError as error:
            where = error.filename or self._path
            raise KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, f"{where} cannot be used: {error.strerror}") from None
        self._logs.clear()
        self._ids.clear()
        self._due.clear()
        for each in found:
            for note in each.found.notes:
                self._log.warn("{name}: {note}", name=each.name, note=note)
            self._add(each)
        self._running = True
        for loop, period_ms in self._loops:
            loop.clock = self._clock
            # A failure of a round is a bug; the next ones go on from the next start.
            loop.start(period_ms / 1000, now=False).addErrback(
                lambda failure: self._log.failure("what is done now and then has ended", failure)
            )

    def _add(self, opened: _Opened) -> None:
        self._ids[opened.name.topic] = opened.topic_id
        self._logs[opened.name] = LocalPartitionLog(
            opened.name,
            self._folder(opened.name),
            opened.config,
            opened.found,
            self._around,
            start_offset=opened.start_offset,
            recovery_point=opened.recovery_point,
        )

    def _open_all(self, topics: list[tuple[Topic, LogConfig]]) -> list[_Opened]:
        """Open what is wanted, make what is missing, set aside what is not wanted; blocks."""
        clean = self._directory.was_clean
        points = read_offsets(os.path.join(self._path, RECOVERY_POINTS))
        starts = read_offsets(os.path.join(self._path, LOG_START_OFFSETS))
        wanted = {TopicPartition(topic.name, index): topic for topic, _ in topics for index in range(topic.partitions)}
        there: set[TopicPartition] = set()
        for entry in os.scandir(self._path):
            if not entry.is_dir(follow_symlinks=False):
                continue
            if entry.name.endswith(_DELETED):
                shutil.rmtree(entry.path, ignore_errors=True)
                continue
            name = _parse_folder(entry.name)
            metadata = _topic_id(entry.path)
            if name in wanted and metadata in (wanted[name].id, b""):
                there.add(name)
            elif name is not None and metadata:
                shutil.rmtree(self._set_aside(entry.path), ignore_errors=True)
        self._directory.unmark_clean()
        recovery = Recovery(clean, self._handles, self._producer_expiration_ms)
        opened = []
        for topic, config in topics:
            for index in range(topic.partitions):
                name = TopicPartition(topic.name, index)
                if name not in there:
                    opened.append(self._make(name, topic, config))
                    continue
                folder, start = self._folder(name), starts.get(name, 0)
                _write_metadata(folder, topic.id)
                found = recovery.open(folder, start, points.get(name, 0), config.index_interval_bytes)
                point = found.end_offset if clean else min(points.get(name, 0), found.end_offset)
                opened.append(_Opened(name, topic.id, config, found, start, point))
        # Rows of partitions that are gone must not speak for later ones of the same name.
        content = format_offsets({each.name: each.recovery_point for each in opened})
        replace_file(os.path.join(self._path, RECOVERY_POINTS), content, durable=True)
        content = format_offsets({each.name: each.start_offset for each in opened if each.start_offset})
        replace_file(os.path.join(self._path, LOG_START_OFFSETS), content, durable=True)
        return opened

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
        made: list[_Opened] = []
        try:
            if not self._running:
                raise KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, "the engine is not running")
            for index in range(topic.partitions):
                name = TopicPartition(topic.name, index)
                if name not in self._logs:
                    if os.path.exists(self._folder(name)):
                        self._remove(self._set_aside(self._folder(name)))
                    made.append(self._make(name, topic, config))
        except OSError as error:
            for each in made:
                shutil.rmtree(self._folder(each.name), ignore_errors=True)
            reason = f"{topic.name} cannot be made: {error.strerror}"
            return fail(KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, reason))
        except KafkaError as error:
            return fail(error)
        for each in made:
            self._add(each)
        return succeed(None)

    def configure(self, topic: Topic, config: LogConfig) -> None:
        """See L{ILogEngine.configure}."""
        for index in range(topic.partitions):
            log = self._logs.get(TopicPartition(topic.name, index))
            if log is not None:
                log.config = config

    def delete(self, topic: Topic) -> Deferred[None]:
        """See L{ILogEngine.delete}."""
        if self._ids.get(topic.name) != topic.id:
            return succeed(None)
        del self._ids[topic.name]
        names = [name for name in self._logs if name.topic == topic.name]
        for name in names:
            log = self._logs.pop(name)
            self._due.pop(log, None)
            log.delete()
            try:
                self._remove(self._set_aside(self._folder(name)))
            except OSError as error:
                # The next start removes what no topic owns.
                self._log.error("{name}: its files stay: {reason}", name=name, reason=error.strerror)
        if not self._running:
            return succeed(None)
        # A later topic of this name begins anew.
        return Deferred.fromCoroutine(self._forget())

    async def _forget(self) -> None:
        await self._points.join()
        await self._starts.join()

    def partition(self, name: str, index: int) -> IPartitionLog:
        """See L{ILogEngine.partition}."""
        try:
            return self._logs[TopicPartition(name, index)]
        except KeyError:
            raise KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"{name}-{index} is not here") from None

    def _folder(self, name: TopicPartition) -> str:
        return os.path.join(self._path, f"{name.topic}-{name.partition}")

    def _make(self, name: TopicPartition, topic: Topic, config: LogConfig) -> _Opened:
        """A new partition's folder, with an empty log."""
        folder = self._folder(name)
        if os.path.dirname(folder) != self._path:
            raise KafkaError(ErrorCode.INVALID_TOPIC_EXCEPTION, f"{name.topic!r} cannot be the name of a folder")
        os.makedirs(folder, exist_ok=True)
        _write_metadata(folder, topic.id)
        replace_file(os.path.join(folder, LEADER_EPOCHS), format_pairs([(0, 0)]), durable=False)
        recovery = Recovery(True, self._handles, self._producer_expiration_ms)
        found = recovery.open(folder, 0, 0, config.index_interval_bytes)
        return _Opened(name, topic.id, config, found, 0, 0)

    def _set_aside(self, folder: str) -> str:
        """Rename a folder so that the next start removes it, whatever happens now."""
        ending = f".{uuid.uuid4().hex}{_DELETED}"
        parent, name = os.path.split(folder)
        aside = os.path.join(parent, name[: 255 - len(ending)] + ending)
        os.rename(folder, aside)
        return aside

    def _remove(self, folder: str) -> None:
        self._bridge.call(shutil.rmtree, folder, True).addErrback(
            lambda failure: self._log.failure("{folder} stays", failure, folder=folder)
        )

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
        if self._running and before != {name: log.recovery_point for name, log in self._logs.items()}:
            await self._points.join().addErrback(self._no_checkpoint)

    def _no_checkpoint(self, failure: Failure) -> None:
        # Whoever waits for a flush is told by the partition; recovery has more to look at, that is all.
        failure.trap(KafkaError)
        self._log.error("checkpoint: {reason}", reason=failure.getErrorMessage())

    def _write_points(self) -> Deferred[None]:
        content = format_offsets({name: log.recovery_point for name, log in self._logs.items()})
        return self._bridge.call(_replace_durably, os.path.join(self._path, RECOVERY_POINTS), content)

    def _write_starts(self) -> Deferred[None]:
        starts = {name: log.log_start_offset for name, log in self._logs.items()}
        moved = {name: start for name, start in starts.items() if start > self._logs[name].first_file_offset}
        return self._bridge.call(_replace_durably, os.path.join(self._path, LOG_START_OFFSETS), format_offsets(moved))

    def _unlink_later(self, paths: list[str], delay_ms: int) -> None:
        call = self._clock.callLater(delay_ms / 1000, lambda: self._unlink(call))
        self._unlinks[call] = paths

    def _unlink(self, call: IDelayedCall) -> None:
        self._bridge.call(unlink_all, self._unlinks.pop(call)).addErrback(
            lambda failure: self._log.error("old segments stay: {reason}", reason=failure.getErrorMessage())
        )


def _parse_folder(name: str) -> TopicPartition | None:
    topic, _, partition = name.rpartition("-")
    return TopicPartition(topic, int(partition)) if topic and partition.isdecimal() else None


def _topic_id(folder: str) -> bytes | None:
    """The id in partition.metadata; nothing but empty where the file is not there, C{None} where it is damaged."""
    content = read_file(os.path.join(folder, PARTITION_METADATA))
    if content is None:
        return b""
    for line in content.decode("ascii", "replace").splitlines():
        if line.startswith("topic_id:"):
            return decode_id(line.partition(":")[2].strip())
    return None


def _write_metadata(folder: str, topic_id: bytes) -> None:
    path = os.path.join(folder, PARTITION_METADATA)
    if not os.path.exists(path):
        replace_file(path, f"version: 0\ntopic_id: {encode_id(topic_id)}\n".encode(), durable=False)


def _replace_durably(path: str, content: bytes) -> None:
    replace_file(path, content, durable=True)
