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
from kgw.engine.seaweed.led_topic import LedTopic, broken_off, together
from kgw.engine.seaweed.opening import open_partition
from kgw.engine.seaweed.partition import SeaweedPartitionLog
from kgw.engine.seaweed.partition_facts import forget_facts
from kgw.engine.seaweed.publishing import Publishing
from kgw.engine.seaweed.surroundings import Surroundings
from kgw.engine.seaweed.tables import Alone, SeaweedTables
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

    One gateway writes to all partitions. While it runs, each partition has a stream open to its broker, for the broker
    forgets what it knows of partitions that nobody writes to. Where several gateways share the partitions it is
    L{kgw.engine.seaweed.shared_engine.SharedSeaweedLogEngine} instead.
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
        may_lead: Callable[[], bool] = lambda: True,
        may_wait: Callable[[], bool] = lambda: False,
        when_known: Callable[[], Deferred[None]] = lambda: succeed(None),
        alone: Alone | None = None,
        drain_s: float = 10.0,
        sweeps: bool = True,
    ) -> None:
        """
        @param where: the masters, for people.
        @param clock: C{seconds()} is epoch seconds.
        @param timer: measures pauses, where that is another one.
        @param snapshot_ms: how often it is stored what is known of producers, so that a start after a crash has
            less to read (C{log.flush.offset.checkpoint.interval.ms}).
        @param may_lead: see L{Surroundings}. So are C{may_wait} and C{when_known}.
        @param alone: runs what only one gateway at a time may do to the columns of topics, where there are several.
        @param drain_s: see L{Surroundings}.
        @param sweeps: look for engine topics that are to be removed, from time to time.
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
            may_lead=may_lead,
            may_wait=may_wait,
            when_known=when_known,
            drain_s=drain_s,
        )
        self.tables = SeaweedTables(broker, self._engine_topics, alone)
        self._topics: dict[str, LedTopic] = {}
        self._starting: Deferred[None] = succeed(None)
        #: Topics being made, by their ids.
        self._making: dict[bytes, Deferred[None]] = {}
        self._loops = [
            (LoopingCall(self._each, SeaweedPartitionLog.maintain), retention_check_ms / 1000),
            (LoopingCall(self._each, SeaweedPartitionLog.checkpoint), snapshot_ms / 1000),
        ]
        if sweeps:
            self._loops.append((LoopingCall(self._sweep), _SWEEP))
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
            opened = await together(opening, _abandon)
        except Exception:
            await self._around.publishing.stop()
            raise
        self._topics = {
            topic.name: LedTopic(topic, config, logs) for (topic, config), logs in zip(topics, opened, strict=True)
        }
        self._begin_loops()

    def _begin_loops(self) -> None:
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

        return await together([begin(index) for index in range(first, len(places))], lambda log: _abandon([log]))

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
        await DeferredList([*ended, *[broken_off(making) for making in list(self._making.values())]])
        await DeferredList([broken_off(taking) for led in self._topics.values() for taking in led.give_up()])
        logs = [log for led in self._topics.values() for log in led.logs.values()]
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
            places = await self._layout.create(topic)
            engine_topics = engine_topics_of(places)
            if held and len(engine_topics) > 1:
                await self._spread(engine_topics)
            made = await self._opened(topic, config, places, len(held))
        except (KafkaError, CancelledError) as error:
            await self._undo(topic)
            self._check_running()
            if isinstance(error, KafkaError):
                raise
            raise KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"{topic.name} was deleted meanwhile") from error
        self._topics[topic.name] = LedTopic(topic, config, [*held, *made])

    async def _spread(self, engine_topics: list[str]) -> None:
        try:
            await self.tables.spread(engine_topics)
        except KafkaError as error:
            if error.code != ErrorCode.INVALID_CONFIG:
                raise
            # what others declared stays as it is, and records without columns are records all the same
            self._log.warn("new partitions have no columns: {reason}", reason=error.message)

    def _engine_topics(self, name: str) -> list[str]:
        held = self._topics.get(name)
        if held is None:
            raise KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"{name} is not here")
        return engine_topics_of(self._layout.places(held.topic))

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
        led = self._topics.get(topic.name)
        return list(led.logs.values()) if led is not None and led.topic.id == topic.id else []

    def configure(self, topic: Topic, config: LogConfig) -> None:
        """See L{ILogEngine.configure}."""
        led = self._topics.get(topic.name)
        if led is not None and led.topic.id == topic.id:
            led.configure(config)

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
        written = self._let_go(topic)
        if topic.id in self._making:
            written.append(broken_off(self._making[topic.id]))
        await self._layout.retire(topic)
        await DeferredList(written)
        await forget_facts(self._around.store, topic)

    def _let_go(self, topic: Topic) -> list[Deferred[None]]:
        """The topic is gone; what fires when nothing more is stored of it."""
        led = self._topics.get(topic.name)
        if led is None or led.topic.id != topic.id:
            return []
        del self._topics[topic.name]
        return [*[log.delete() for log in led.logs.values()], *[broken_off(taking) for taking in led.give_up()]]

    def partition(self, name: str, index: int) -> IPartitionLog:
        """See L{ILogEngine.partition}."""
        led = self._topics.get(name)
        log = None if led is None else led.logs.get(index)
        if log is None:
            if led is not None and 0 <= index < led.topic.partitions:
                raise KafkaError(ErrorCode.NOT_LEADER_OR_FOLLOWER, f"{name}-{index} is not led here")
            raise KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"{name}-{index} is not here")
        found: IPartitionLog = log
        return found

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
            for name, led in self._topics.items()
            for index, log in led.logs.items()
            if wanted is None or (name, index) in wanted
        }
        measured = [self._measuring.run(self._measure, name, log) for name, log in logs.items()]
        sizes = await together(measured, lambda _: None)
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
        led = self._topics.get(topic)
        return led is not None and log in led.logs.values()

    # What is done now and then

    async def _do_each(self, work: Callable[[SeaweedPartitionLog, int], Awaitable[None]]) -> None:
        now_ms = int(self._clock.seconds() * 1000)
        for led in list(self._topics.values()):
            for log in list(led.logs.values()):
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


def engine_topics_of(places: list[Place]) -> list[str]:
    """The engine topics that a Kafka topic is in, in the order of its partitions."""
    return list(dict.fromkeys(place.engine_topic for place in places))


def _abandon(logs: list[SeaweedPartitionLog]) -> None:
    """They were opened in vain."""
    for log in logs:
        log.abandon(ErrorCode.KAFKA_STORAGE_ERROR, f"{log.name} is not open")


def _cut_short(failure: Failure) -> Failure:
    if failure.check(CancelledError):
        raise KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, "the engine was stopped while it started")
    return failure
