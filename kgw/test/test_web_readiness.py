"""Readiness: what is looked at, how often, and what is told while there is no answer."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kgw.engine.memory import MemoryLogEngine
from kgw.errors import ErrorCode, KafkaError
from kgw.handlers import delete_topics, describe_topic_partitions, metadata
from kgw.interfaces import Columns, IPartitionLog
from kgw.model import HEALTH_TOPIC, Appended
from kgw.test.stage import START, HeldStore, Stage
from kgw.web.readiness import FRESH_SECONDS, PATIENCE_SECONDS, Finding, Readiness
from kgw.wire.records import RecordBatch


class SilentLog:
    """A partition of an engine that answers when it is back."""

    def __init__(self, log: IPartitionLog, engine: SilentEngine) -> None:
        self._log = log
        self._engine = engine

    def append(self, batch: RecordBatch, acks: int = -1, columns: Columns | None = None) -> Deferred[Appended]:
        """See L{IPartitionLog.append}."""
        self._engine.appends += 1
        if self._engine.broken:
            return fail(KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, "no space left"))
        gate: Deferred[Any] = Deferred()
        if self._engine.silent:
            self._engine.waiting.append(gate)
        else:
            gate.callback(None)
        return gate.addCallback(lambda _: self._log.append(batch, acks))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)


class SilentEngine(MemoryLogEngine):
    """
    A memory engine whose appends wait while C{silent}, and fail while C{broken}.

    @ivar appends: how many there were.
    """

    silent = False
    broken = False
    appends = 0

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.waiting: list[Deferred[Any]] = []

    def partition(self, name: str, index: int) -> Any:
        """See L{ILogEngine.partition}."""
        return SilentLog(super().partition(name, index), self)

    def come_back(self) -> None:
        """Answer all that wait."""
        self.silent = False
        waiting, self.waiting = self.waiting, []
        for one in waiting:
            one.callback(None)


class ReadinessTests(SynchronousTestCase):
    """The two checks."""

    def setUp(self) -> None:
        self.store = HeldStore()
        self.successResultOf(self.store.open())
        clock = Clock()
        self.engine = SilentEngine(clock)
        self.stage = Stage(self, engine=self.engine, store=self.store)
        self.clock = self.stage.clock
        self.readiness = Readiness(self.stage.services, self.store)

    def ask(self) -> Deferred[dict[str, Finding]]:
        return Deferred.fromCoroutine(self.readiness.report())

    def reasons(self) -> dict[str, str]:
        return {name: finding.reason for name, finding in self.successResultOf(self.ask()).items() if not finding.ok}

    def test_ready(self) -> None:
        """A record and a fact are written, and read."""
        self.assertEqual(self.reasons(), {})
        log = self.engine.partition(HEALTH_TOPIC, 0)
        self.assertEqual(self.successResultOf(log.bounds()).high_watermark, 1)

    def test_not_too_often(self) -> None:
        """However many ask, one record is written in a while."""
        for _ in range(100):
            self.assertEqual(self.reasons(), {})
        self.assertEqual(self.engine.appends, 1)
        self.clock.advance(FRESH_SECONDS)
        self.reasons()
        self.assertEqual(self.engine.appends, 2)

    def test_together(self) -> None:
        """Those who ask while a look is under way share it."""
        self.engine.silent = True
        asked = [self.ask() for _ in range(50)]
        self.engine.come_back()
        for one in asked:
            self.assertTrue(all(finding.ok for finding in self.successResultOf(one).values()))
        self.assertEqual(self.engine.appends, 1)

    def test_silence(self) -> None:
        """Red within 5 seconds after an engine has fallen silent, without a further record; green when it is back."""
        self.assertEqual(self.reasons(), {})
        self.engine.silent = True
        told: list[dict[str, str]] = []
        while not told or told[-1] == {}:
            asked = self.ask()
            if not asked.called:
                self.clock.advance(PATIENCE_SECONDS)
            told.append({name: f.reason for name, f in self.successResultOf(asked).items() if not f.ok})
            self.clock.advance(0.5)
        self.assertEqual(told[-1], {"engine": "no answer for 2 s"})
        self.assertLess(self.clock.seconds() - START, 5)
        self.clock.advance(3600)
        # at once: it is known that there is none
        self.assertRegex(self.reasons()["engine"], r"^no answer for 360\d s$")
        self.assertEqual(self.engine.appends, 2)
        self.engine.come_back()
        self.assertEqual(self.reasons(), {})

    def test_broken_engine(self) -> None:
        """An engine that fails is told with its own words."""
        self.engine.broken = True
        self.assertEqual(self.reasons(), {"engine": "KAFKA_STORAGE_ERROR: no space left"})
        self.engine.broken = False
        self.clock.advance(FRESH_SECONDS)
        self.assertEqual(self.reasons(), {})

    def test_broken_store(self) -> None:
        """So is a state store; before the topic is there the engine cannot be tried without it."""
        self.reasons()
        self.clock.advance(FRESH_SECONDS)
        self.store.broken = True
        self.assertEqual(self.reasons(), {"state": "KAFKA_STORAGE_ERROR: no space left"})
        self.store.broken = False
        self.clock.advance(FRESH_SECONDS)
        self.assertEqual(self.reasons(), {})

    def test_clock_set_back(self) -> None:
        """A clock that is set back does not make an old finding last."""
        self.reasons()
        self.engine.broken = True
        self.clock.rightNow -= 3600
        self.assertEqual(list(self.reasons()), ["engine"])

    def test_gone_client(self) -> None:
        """Who does not wait for the answer leaves nothing behind."""
        self.engine.silent = True
        asked = self.ask()
        calls = len(self.clock.getDelayedCalls())
        asked.cancel()
        # as any that is cancelled: no failure for the log
        self.failureResultOf(asked, CancelledError)
        self.assertEqual(len(self.clock.getDelayedCalls()), calls - 1)
        self.engine.come_back()
        self.assertEqual(self.reasons(), {})


class HealthTopicTests(SynchronousTestCase):
    """The topic that probes write to."""

    def setUp(self) -> None:
        self.stage = Stage(self)
        self.readiness = Readiness(self.stage.services, self.stage.store)
        self.stage.create("orders")
        self.probe()

    def probe(self) -> None:
        report = self.successResultOf(Deferred.fromCoroutine(self.readiness.report()))
        self.assertTrue(all(finding.ok for finding in report.values()))

    def test_in_no_list(self) -> None:
        """Clients that ask for all topics are not told of it."""
        listed = self.stage.call(metadata.API, 12, metadata.Request(topics=None)).topics
        self.assertEqual([topic.name for topic in listed], ["orders"])
        listed = self.stage.call(describe_topic_partitions.API, 0, describe_topic_partitions.Request()).topics
        self.assertEqual([topic.name for topic in listed], ["orders"])

    def test_by_name(self) -> None:
        """Who asks for it by name is told that it is internal."""
        asked = [metadata.RequestTopic(name=name) for name in (HEALTH_TOPIC, "orders")]
        answer = self.stage.call(metadata.API, 12, metadata.Request(topics=asked, allow_auto_topic_creation=False))
        self.assertEqual([(topic.error_code, topic.is_internal) for topic in answer.topics], [(0, True), (0, False)])

    def test_does_not_grow(self) -> None:
        """Its records go soon, by age and by size."""
        topic = self.stage.topics.get(HEALTH_TOPIC)
        assert topic is not None
        config = self.stage.config.log_config(topic.configs)
        self.assertEqual((config.cleanup_policy, config.retention_ms), (("delete",), 3_600_000))
        self.assertEqual((config.retention_bytes, config.segment_bytes), (1 << 20, 1 << 20))

    def test_deleted(self) -> None:
        """Where somebody deletes it, the next probe makes it again."""
        request = delete_topics.Request(topic_names=[HEALTH_TOPIC], timeout_ms=1000)
        self.assertEqual(self.stage.call(delete_topics.API, 5, request).responses[0].error_code, 0)
        self.stage.clock.advance(FRESH_SECONDS)
        self.probe()
        self.assertTrue(self.stage.has_topic(HEALTH_TOPIC))
