"""The engine in SeaweedMQ over fakes: starts that fail half way, stops and deletions while partitions are opened."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kgw.engine.bridge import InlineBridge
from kgw.engine.seaweed.engine import SeaweedLogEngine
from kgw.engine.seaweed.errors import EngineUnavailable
from kgw.engine.seaweed.history_cache import HistoryCache
from kgw.engine.seaweed.layout import Layout
from kgw.errors import ErrorCode, KafkaError
from kgw.model import LogConfig, Topic, TopicPartition
from kgw.test.builders import EPOCH_S
from kgw.test.seaweed_fakes import FakeBroker, FakeFiler
from kgw.test.stage import HeldStore

ORDERS = Topic("orders", b"o" * 16, 3)
PAYMENTS = Topic("payments", b"p" * 16, 1)
FACTS = "seaweed/partitions/"


class FakePublisher:
    """
    A publisher to an empty partition.

    @ivar ready: fires when its stream is open.
    @ivar state: what became of it.
    """

    end_offset = 0
    is_idle = True

    def __init__(self, name: str) -> None:
        self.name = name
        self.ready: Deferred[None] = Deferred()
        self.state = "new"
        self.outbox = SimpleNamespace(end_offset=0, visible_end=0, held=[])

    def start(self) -> Deferred[None]:
        """See L{Publisher.start}."""
        self.state = "started"
        return self.ready

    def close(self) -> None:
        """See L{Publisher.close}."""
        self.state = "closed"

    def abandon(self, error: KafkaError) -> None:
        """See L{Publisher.abandon}."""
        self.state = "closed"

    def drain(self) -> Deferred[bool]:
        """See L{Publisher.drain}."""
        self.state = "drained"
        return succeed(True)

    def flushed(self, end_offset: int) -> None:
        """See L{Publisher.flushed}."""


class FakePublishing:
    """
    Makes fakes.

    @ivar slow: whether their streams open when the test says so.
    @ivar running: whether it was started, and not stopped.
    """

    def __init__(self) -> None:
        self.made: list[FakePublisher] = []
        self.slow = self.running = False
        self.watched = 0

    def start(self) -> None:
        """See L{Publishing.start}."""
        assert not self.running
        self.running = True

    def stop(self) -> Deferred[None]:
        """See L{Publishing.stop}."""
        assert self.running
        self.running = False
        return succeed(None)

    def publisher(self, name: str, place: Any, owner: Any) -> FakePublisher:
        """See L{Publishing.publisher}."""
        made = FakePublisher(name)
        self.made.append(made)
        self.watched += 1
        if not self.slow:
            made.ready.callback(None)
        return made

    def forget(self, place: Any) -> None:
        """See L{Publishing.forget}."""
        self.watched -= 1


class EngineTests(SynchronousTestCase):
    """On one state store."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(EPOCH_S)
        self.filer = FakeFiler()
        self.store = HeldStore()
        self.store.open()
        self.publishing = FakePublishing()
        self.engine = self.made()

    def made(self) -> SeaweedLogEngine:
        """Another engine."""
        filer: Any = self.filer
        broker: Any = FakeBroker(self.filer)
        publishing: Any = self.publishing
        self.layout = Layout(self.store, broker, filer, self.clock)
        return SeaweedLogEngine(
            where="test",
            layout=self.layout,
            broker=broker,
            filer=filer,
            store=self.store,
            publishing=publishing,
            cache=HistoryCache(InlineBridge(), 1 << 20),
            clock=self.clock,
        )

    def start(self, *topics: Topic) -> Deferred[None]:
        return self.engine.start([(topic, LogConfig()) for topic in topics])

    def refusal(self, deferred: Deferred[Any]) -> ErrorCode:
        """What it fails with."""
        error = self.failureResultOf(deferred, KafkaError).value
        assert isinstance(error, KafkaError)
        return error.code

    def stored(self, prefix: str = FACTS) -> int:
        """How many facts there are."""
        found: Deferred[Any] = self.store.scan(prefix)
        return len(self.successResultOf(found))

    def assertNothingLeft(self) -> None:
        """All that was opened is closed."""
        self.assertEqual([one.name for one in self.publishing.made if one.state not in ("closed", "drained")], [])
        self.assertEqual((self.publishing.watched, self.publishing.running), (0, False))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_start_that_fails_half_way(self) -> None:
        """Partitions that were opened are closed, those that were being opened given up; it can be called again."""
        self.publishing.slow = True
        starting = self.start(ORDERS, PAYMENTS)
        self.assertEqual(len(self.publishing.made), 4)
        self.publishing.made[0].ready.callback(None)
        self.publishing.made[1].ready.errback(EngineUnavailable("gone"))
        self.assertEqual(self.refusal(starting), ErrorCode.KAFKA_STORAGE_ERROR)
        self.assertNothingLeft()
        self.publishing.slow = False
        self.successResultOf(self.start(ORDERS, PAYMENTS))
        self.assertEqual(self.engine.partition("orders", 2).leader_epoch, 0)
        self.successResultOf(self.engine.stop())
        self.assertNothingLeft()

    def test_nothing_can_be_stored_of_a_new_topic(self) -> None:
        self.successResultOf(self.start())
        self.store.broken = True
        self.assertEqual(self.refusal(self.engine.create(ORDERS, LogConfig())), ErrorCode.KAFKA_STORAGE_ERROR)
        self.successResultOf(self.engine.stop())
        self.assertNothingLeft()

    def test_stopped_while_it_starts(self) -> None:
        """The start fails, and nothing goes on."""
        self.publishing.slow = True
        starting = self.start(ORDERS, PAYMENTS)
        self.publishing.made[0].ready.callback(None)
        self.successResultOf(self.engine.stop())
        self.assertEqual(self.refusal(starting), ErrorCode.KAFKA_STORAGE_ERROR)
        self.assertNothingLeft()

    def test_stopped_while_a_topic_is_made(self) -> None:
        """The creation fails; the topics that were there are closed in order."""
        self.successResultOf(self.start(PAYMENTS))
        self.publishing.slow = True
        creating = self.engine.create(ORDERS, LogConfig())
        self.publishing.made[-1].ready.callback(None)
        self.assertNoResult(creating)
        self.successResultOf(self.engine.stop())
        self.assertEqual(self.refusal(creating), ErrorCode.KAFKA_STORAGE_ERROR)
        self.assertEqual(self.publishing.made[0].state, "drained")
        self.assertNothingLeft()

    def test_a_creation_that_fails_half_way(self) -> None:
        """Its partitions are closed, nothing is stored of it, and it can be made again."""
        self.successResultOf(self.start())
        self.publishing.slow = True
        creating = self.engine.create(ORDERS, LogConfig())
        self.publishing.made[0].ready.callback(None)
        self.publishing.made[2].ready.errback(EngineUnavailable("gone"))
        self.assertEqual(self.refusal(creating), ErrorCode.KAFKA_STORAGE_ERROR)
        self.assertEqual(([one.state for one in self.publishing.made], self.publishing.watched), (["closed"] * 3, 0))
        self.assertEqual((self.stored(), self.layout.known()), (0, []))
        self.assertRaises(KafkaError, self.engine.partition, "orders", 0)
        self.publishing.slow = False
        self.successResultOf(self.engine.create(ORDERS, LogConfig()))
        self.successResultOf(self.engine.stop())

    def test_an_extension_that_fails(self) -> None:
        """The partitions there were stay."""
        self.successResultOf(self.start(PAYMENTS))
        self.publishing.slow = True
        creating = self.engine.create(replace(PAYMENTS, partitions=3), LogConfig())
        self.publishing.made[1].ready.errback(EngineUnavailable("gone"))
        self.assertEqual(self.refusal(creating), ErrorCode.KAFKA_STORAGE_ERROR)
        self.assertEqual([one.state for one in self.publishing.made], ["started", "closed", "closed"])
        self.successResultOf(self.engine.partition("payments", 0).end_of_epoch(0))
        self.assertRaises(KafkaError, self.engine.partition, "payments", 1)
        self.successResultOf(self.engine.stop())
        self.assertNothingLeft()

    def test_deleted_while_it_is_made(self) -> None:
        """The topic does not come back."""
        self.successResultOf(self.start())
        self.publishing.slow = True
        creating = self.engine.create(ORDERS, LogConfig())
        self.successResultOf(self.engine.delete(ORDERS))
        self.assertEqual(self.refusal(creating), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        for one in self.publishing.made:
            self.assertEqual(one.state, "closed")
        self.assertRaises(KafkaError, self.engine.partition, "orders", 0)
        self.assertEqual((self.stored(), self.layout.known()), (0, []))
        self.successResultOf(self.engine.stop())
        self.assertNothingLeft()

    def test_nothing_is_kept_of_topics_that_are_gone(self) -> None:
        """Neither of those deleted, nor of those a start does not name."""
        self.successResultOf(self.start(ORDERS, PAYMENTS))
        self.successResultOf(self.engine.delete(ORDERS))
        self.assertEqual(self.stored(), self.stored(FACTS + PAYMENTS.id.hex()))
        self.successResultOf(self.engine.stop())
        self.engine = self.made()
        self.successResultOf(self.start())
        self.assertEqual((self.stored(), self.layout.known()), (0, []))
        self.successResultOf(self.engine.stop())

    def test_sizes_while_a_topic_is_deleted(self) -> None:
        """A partition that goes away while its files are listed is left out."""
        self.successResultOf(self.start(ORDERS, PAYMENTS))
        self.filer.held = True
        asked = self.engine.log_dir()
        self.assertNoResult(asked)
        self.filer.held = False
        self.successResultOf(self.engine.delete(ORDERS))
        self.filer.run()
        found = self.successResultOf(asked)
        self.assertEqual((found.path, found.sizes), ("seaweedmq:test", {TopicPartition("payments", 0): 0}))
        self.successResultOf(self.engine.stop())

    def test_no_sizes_in_an_outage(self) -> None:
        """Who asks for them is told, and gets them when it is over."""
        self.successResultOf(self.start(PAYMENTS))
        self.filer.writes_left = 0
        self.failureResultOf(self.filer.put("/topics", "x", b""), EngineUnavailable)
        self.assertEqual(self.refusal(self.engine.log_dir()), ErrorCode.KAFKA_STORAGE_ERROR)
        self.assertEqual(self.successResultOf(self.engine.log_dir([])).sizes, {})
        self.filer.restore()
        self.assertEqual(self.successResultOf(self.engine.log_dir()).sizes, {TopicPartition("payments", 0): 0})
        self.successResultOf(self.engine.stop())

    def test_stopped_while_it_looks_after_its_partitions(self) -> None:
        """What is done now and then is finished before the partitions are closed."""
        self.successResultOf(self.start(PAYMENTS))
        self.filer.held = True
        self.clock.advance(300)
        stopping = self.engine.stop()
        self.assertNoResult(stopping)
        self.assertEqual(self.publishing.made[0].state, "started")
        self.filer.held = False
        self.filer.run()
        self.successResultOf(stopping)
        self.assertEqual(self.publishing.made[0].state, "drained")
        self.assertNothingLeft()

    def test_what_is_done_now_and_then_survives_an_outage(self) -> None:
        """A round that fails is followed by others."""
        self.successResultOf(self.start(PAYMENTS))
        self.filer.writes_left = 0
        self.failureResultOf(self.filer.put("/topics", "x", b""), EngineUnavailable)
        before = len(self.filer.calls)
        for _ in range(3):
            self.clock.advance(300)
        self.assertEqual(len(self.filer.calls), before + 3)
        self.filer.restore()
        self.successResultOf(self.engine.stop())
        self.assertNothingLeft()
