"""The engine that keeps partition logs in SeaweedMQ."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred, DeferredList, DeferredSemaphore, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from kgw.engine.seaweed.broker import Broker
from kgw.engine.seaweed.filer import Filer
from kgw.engine.seaweed.history_cache import HistoryCache
from kgw.engine.seaweed.layout import Layout, Place
from kgw.engine.seaweed.opening import open_partition
from kgw.engine.seaweed.partition import SeaweedPartitionLog
from kgw.engine.seaweed.partition_facts import forget_facts
from kgw.engine.seaweed.publishing import Publishing
from kgw.engine.seaweed.surroundings import Surroundings
from kgw.engine.tail import TailBudget
from kgw.errors import ErrorCode, KafkaError
from kgw.interfaces import ILogEngine, IPartitionLog, IStateStore
from kgw.model import LogConfig, LogDir, Topic, TopicPartition

T = TypeVar("T")

#: How many partitions are opened at a time.
_OPENING = 16
#: How many partitions' log files are listed at a time.
_MEASURING = 16
#: Seconds between two looks for engine topics that are to be removed.
_SWEEP = 60.0


@implementer(ILogEngine)
class SeaweedLogEngine:
    """
    Keeps partition logs in SeaweedMQ, one message for each record.

    One gateway writes to a partition. While it runs, each partition has a stream open to its broker, for the broker
    forgets what it knows of partitions that nobody writes to.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        where: str,
        layout: Layout,
        broker: Broker,
        filer: Filer,
        store: IStateStore,
        publishing: Publishing,
        cache: HistoryCache,
        clock: IReactorTime,
        timer: IReactorTime | None = None,
        acks_all_flushed: bool = True,
        tail_bytes: int = 64 << 20,
        retention_check_ms: int = 300_000,
        producer_id_expiration_ms: int = 86_400_000,
        snapshot_ms: int = 60_000,
    ) -> None:
        """
        @param where: the masters, for people.
        @param clock: C{seconds()} is epoch seconds.
        @param timer: measures pauses, where that is another one.
        @param snapshot_ms: how often it is stored what is known of producers, so that a start after a crash has
            less to read (C{log.flush.offset.checkpoint.interval.ms}).
        """
        self._where = where
        self._layout = layout
        self._clock = clock
        self._around = Surroundings(
            clock=clock,
            timer=timer or clock,
            store=store,
            filer=filer,
            broker=broker,
            publishing=publishing,
            cache=cache,
            tail=TailBudget(tail_bytes),
            opening=DeferredSemaphore(_OPENING),
            acks_all_flushed=acks_all_flushed,
            producer_id_expiration_ms=producer_id_expiration_ms,
        )
        self._topics: dict[str, tuple[Topic, list[SeaweedPartitionLog]]] = {}
        self._starting: Deferred[None] = succeed(None)
        #: Topics being made, by their ids.
        self._making: dict[bytes, Deferred[None]] = {}
        self._loops = [
            (LoopingCall(self._each, SeaweedPartitionLog.maintain), retention_check_ms / 1000),
            (LoopingCall(self._each, SeaweedPartitionLog.checkpoint), snapshot_ms / 1000),
            (LoopingCall(self._sweep), _SWEEP),
        ]
        self._ended: list[Deferred[Any]] = []
        self._measuring = DeferredSemaphore(_MEASURING)
        self._running = False

    def measure(self) -> dict[str, float]:
        """See L{ILogEngine.measure}."""
        return {
            **self._around.publishing.measure(),
            "kgw_tail_bytes": self._around.tail.used,
            "kgw_seaweedmq_history_cache_bytes": self._around.cache.size,
            "kgw_seaweedmq_history_loads_total": self._around.cache.loads,
        }

    def describe(self) -> str:
        """See L{ILogEngine.describe}."""
        return f"seaweedmq, {self._where}"

    # Start and stop

    def start(self, topics: Iterable[tuple[Topic, LogConfig]]) -> Deferred[None]:
        """See L{ILogEngine.start}; may be called again where it failed."""
        answer: Deferred[None] = Deferred()
        self._starting = Deferred.fromCoroutine(self._start(list(topics)))
        self._starting.addErrback(_cut_short).addCallbacks(answer.callback, answer.errback)
        return answer

    async def _start(self, topics: list[tuple[Topic, LogConfig]]) -> None:
        await self._layout.load()
        named = {topic.id for topic, _ in topics}
        for id in self._layout.known():
            if id not in named:
                forgotten = Topic("", id, 0)
                await self._layout.retire(forgotten)
                await forget_facts(self._around.store, forgotten)
        self._around.publishing.start()
        try:
            opening = [Deferred.fromCoroutine(self._found(topic, config)) for topic, config in topics]
            opened = await _together(opening, _abandon)
        except Exception:
            await self._around.publishing.stop()
            raise
        self._topics = {topic.name: (topic, logs) for (topic, _), logs in zip(topics, opened, strict=True)}
        self._running = True
        for loop, period in self._loops:
            loop.clock = self._around.timer
            self._ended.append(loop.start(period, now=False).addErrback(self._loop_failed))

    def _loop_failed(self, failure: Failure) -> None:
        self._log.failure("what is done now and then has ended", failure)

    async def _found(self, topic: Topic, config: LogConfig) -> list[SeaweedPartitionLog]:
        try:
            places = self._layout.places(topic)
        except KafkaError:
            places = await self._layout.create(topic)
        return await self._opened(topic, config, places, 0)

    async def _opened(
        self, topic: Topic, config: LogConfig, places: list[Place], first: int
    ) -> list[SeaweedPartitionLog]:
        """The partitions from C{first} on, all or none."""

        def begin(index: int) -> Deferred[SeaweedPartitionLog]:
            return self._around.opening.run(open_partition, topic, index, places[index], config, self._around)

        return await _together([begin(index) for index in range(first, len(places))], lambda log: _abandon([log]))

    def stop(self) -> Deferred[None]:
        """See L{ILogEngine.stop}; a start, or a creation, that is going on is broken off."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._starting.cancel()
        await self._starting
        if not self._running:
            return
        self._running = False
        for loop, _ in self._loops:
            if loop.running:
                loop.stop()
        ended, self._ended = self._ended, []
        await DeferredList([*ended, *[_broken_off(making) for making in list(self._making.values())]])
        logs = [log for _, logs in self._topics.values() for log in logs]
        failures: list[Failure] = []
        await DeferredList([Deferred.fromCoroutine(log.close()).addErrback(failures.append) for log in logs])
        await self._around.publishing.stop()
        if failures:
            self._log.error(
                "{count} of {all} partitions could not be closed in order: {reason}",
                count=len(failures),
                all=len(logs),
                reason=failures[0].getErrorMessage(),
            )

    # Topics

    def create(self, topic: Topic, config: LogConfig) -> Deferred[None]:
        """See L{ILogEngine.create}."""
        answer: Deferred[None] = Deferred()
        making = self._making[topic.id] = Deferred.fromCoroutine(self._create(topic, config))
        making.addBoth(self._made, topic, making).addCallbacks(answer.callback, answer.errback)
        return answer

    def _made(self, result: T, topic: Topic, making: Deferred[None]) -> T:
        if self._making.get(topic.id) is making:
            del self._making[topic.id]
        return result

    async def _create(self, topic: Topic, config: LogConfig) -> None:
        self._check_running()
        held = self._held(topic)
        try:
            made = await self._opened(topic, config, await self._layout.create(topic), len(held))
        except (KafkaError, CancelledError) as error:
            await self._undo(topic)
            self._check_running()
            if isinstance(error, KafkaError):
                raise
            raise KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"{topic.name} was deleted meanwhile") from error
        self._topics[topic.name] = topic, [*held, *made]

    async def _undo(self, topic: Topic) -> None:
        try:
            await self._layout.abandon(topic)
            if topic.id not in self._layout.known():
                await forget_facts(self._around.store, topic)
        except KafkaError as error:
            self._log.warn("what was made of topic {name} stays for now: {reason}", name=topic.name, reason=error)

    def _check_running(self) -> None:
        if not self._running:
            raise KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, "the engine is not running")

    def _held(self, topic: Topic) -> list[SeaweedPartitionLog]:
        held = self._topics.get(topic.name)
        return held[1] if held is not None and held[0].id == topic.id else []

    def configure(self, topic: Topic, config: LogConfig) -> None:
        """See L{ILogEngine.configure}."""
        for log in self._held(topic):
            log.config = config

    def check_config(self, config: LogConfig) -> None:
        """See L{ILogEngine.check_config}; there is no compaction: SeaweedMQ rewrites no log file."""
        if "compact" in config.cleanup_policy:
            raise KafkaError(
                ErrorCode.INVALID_CONFIG,
                f"cleanup.policy={','.join(config.cleanup_policy)} is not available with kgw.engine=seaweedmq, which"
                " cannot compact logs; use cleanup.policy=delete (with retention.ms=-1 to keep every record), or the"
                " local engine",
            )

    def delete(self, topic: Topic) -> Deferred[None]:
        """See L{ILogEngine.delete}."""
        return Deferred.fromCoroutine(self._delete(topic))

    async def _delete(self, topic: Topic) -> None:
        if topic.id not in self._layout.known():
            return
        self._check_running()
        held = self._held(topic)
        if held:
            del self._topics[topic.name]
        written = [log.delete() for log in held]
        if topic.id in self._making:
            written.append(_broken_off(self._making[topic.id]))
        await self._layout.retire(topic)
        await DeferredList(written)
        await forget_facts(self._around.store, topic)

    def partition(self, name: str, index: int) -> IPartitionLog:
        """See L{ILogEngine.partition}."""
        held = self._topics.get(name)
        if held is None or not 0 <= index < len(held[1]):
            raise KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"{name}-{index} is not here")
        log: IPartitionLog = held[1][index]
        return log

    def log_dir(self, wanted: Collection[TopicPartition] | None = None) -> Deferred[LogDir]:
        """
        See L{ILogEngine.log_dir}.

        Sizes are those of log files, so what is in a broker's memory alone is not counted; the volumes belong to the
        cluster, and nobody says what is left in them for us.
        """
        return Deferred.fromCoroutine(self._log_dir(None if wanted is None else frozenset(wanted)))

    async def _log_dir(self, wanted: frozenset[TopicPartition] | None) -> LogDir:
        self._check_running()
        logs = {
            TopicPartition(name, index): log
            for name, (_, logs) in self._topics.items()
            for index, log in enumerate(logs)
            if wanted is None or (name, index) in wanted
        }
        measured = [self._measuring.run(self._measure, name, log) for name, log in logs.items()]
        sizes = await _together(measured, lambda _: None)
        found = {name: size for name, size in zip(logs, sizes, strict=True) if size is not None}
        return LogDir(f"seaweedmq:{self._where}", found)

    async def _measure(self, name: TopicPartition, log: SeaweedPartitionLog) -> int | None:
        """A partition's bytes; C{None} where its topic has been deleted."""
        try:
            size = await log.size()
        except KafkaError:
            if self._is_here(log, name.topic):
                raise
            return None
        return size if self._is_here(log, name.topic) else None

    def _is_here(self, log: SeaweedPartitionLog, topic: str) -> bool:
        held = self._topics.get(topic)
        return held is not None and log in held[1]

    # What is done now and then

    async def _do_each(self, work: Callable[[SeaweedPartitionLog, int], Awaitable[None]]) -> None:
        now_ms = int(self._clock.seconds() * 1000)
        for _, logs in list(self._topics.values()):
            for log in list(logs):
                if not self._running:
                    return
                try:
                    await work(log, now_ms)
                except KafkaError as error:
                    # the next round looks at it again
                    self._log.warn("{name}: {reason}", name=log.name, reason=error)
                except Exception:
                    self._log.failure("{name}: what is done now and then has failed by a bug", name=log.name)

    def _each(self, work: Callable[[SeaweedPartitionLog, int], Awaitable[None]]) -> Deferred[None]:
        return Deferred.fromCoroutine(self._do_each(work))

    def _sweep(self) -> Deferred[None]:
        swept = self._layout.sweep()
        return swept.addCallbacks(lambda _: None, self._not_swept)

    def _not_swept(self, failure: Failure) -> None:
        failure.trap(KafkaError)
        self._log.warn("directories of deleted topics stay for now: {reason}", reason=failure.getErrorMessage())


def _abandon(logs: list[SeaweedPartitionLog]) -> None:
    """They were opened in vain."""
    for log in logs:
        log.abandon(ErrorCode.KAFKA_STORAGE_ERROR, f"{log.name} is not open")


def _cut_short(failure: Failure) -> Failure:
    if failure.check(CancelledError):
        raise KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, "the engine was stopped while it started")
    return failure


def _broken_off(running: Deferred[None]) -> Deferred[None]:
    """Fires when it has ended, having been cancelled."""
    ended: Deferred[None] = Deferred()
    running.addBoth(lambda _: ended.callback(None))
    running.cancel()
    return ended


async def _together(running: list[Deferred[T]], undo: Callable[[T], None]) -> list[T]:
    """
    All results; where one fails the others are cancelled, and once all have ended the first failure is raised.

    @param undo: called with each result there is then.
    """
    failures: list[Failure] = []

    def failed(failure: Failure) -> None:
        failures.append(failure)
        if len(failures) == 1:
            for one in running:
                one.cancel()

    for one in running:
        one.addErrback(failed)
    results = [result for _, result in await DeferredList(running)]
    if failures:
        for result in results:
            if result is not None:
                undo(result)
        failures[0].raiseException()
    return results
