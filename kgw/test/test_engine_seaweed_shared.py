"""Two gateways' engines on one real SeaweedMQ: each leads what it is given, and passes it on."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from kgw.engine.seaweed.filer_state import FilerStateStore
from kgw.engine.seaweed.history_cache import HistoryCache
from kgw.engine.seaweed.layout import Layout
from kgw.engine.seaweed.publishing import Publishing
from kgw.engine.seaweed.shared_engine import SharedSeaweedLogEngine
from kgw.errors import ErrorCode, KafkaError
from kgw.interfaces import ILogEngine, ISharedLogs
from kgw.model import EpochEnd, LogConfig, Topic
from kgw.test.builders import EPOCH_S, batch, idempotent_batch, new_era, offsets_in, topic
from kgw.test.seaweed_stage import reactor, shared_links, spin, turn


class Gateway:
    """
    What one gateway has.

    @ivar leads: whether its lease is valid.
    """

    def __init__(self, root: str, journal: str) -> None:
        self.leads = True
        self.links = links = shared_links()
        links.use()
        self.clock = Clock()
        self.clock.advance(EPOCH_S)
        self.store = FilerStateStore(links.filer, reactor, root, journal=journal, may_write=self.may_lead)
        spin(self.store.open())
        self.layout = Layout(self.store, links.broker, links.filer, self.clock)
        publishing = Publishing(
            reactor=reactor,
            clock=self.clock,
            timer=reactor,
            discovery=links.discovery,
            broker=links.broker,
            filer=links.filer,
            may_send=self.may_lead,
        )
        self.engine = SharedSeaweedLogEngine(
            where="test",
            layout=self.layout,
            broker=links.broker,
            filer=links.filer,
            store=self.store,
            publishing=publishing,
            cache=HistoryCache(links.decoder, 32 << 20),
            clock=self.clock,
            timer=reactor,
            acks_all_flushed=False,
            may_lead=self.may_lead,
        )

    def may_lead(self) -> bool:
        """The lease."""
        return self.leads

    def append(self, topic: Topic, index: int, *batches: Any) -> list[int]:
        """Base offsets."""
        log = self.engine.partition(topic.name, index)
        return [spin(log.append(one)).base_offset for one in batches]

    def read(self, topic: Topic, index: int) -> list[int]:
        """All offsets."""
        log = self.engine.partition(topic.name, index)
        found: list[int] = []
        bounds = spin(log.bounds())
        while len(found) < bounds.high_watermark:
            found += [one for one in offsets_in(spin(log.read(len(found), 1 << 20))) if one >= len(found)]
        return found

    def close(self) -> None:
        """Let go of all."""
        spin(self.engine.stop())
        spin(self.store.close())
        self.links.leave()


class SharedTests(SynchronousTestCase):
    """A topic of three partitions, two gateways."""

    def setUp(self) -> None:
        new_era()
        self.root = f"/topics/kafka/.meta/kgw-test/shared-{os.getpid()}-{time.time_ns()}"
        self.a, self.b = self.gateway("a"), self.gateway("b")
        self.topic = topic(f"shared-{time.time_ns()}", 3)
        for one in (self.a, self.b):
            spin(one.engine.start([]))
        spin(self.a.engine.create(self.topic, LogConfig()))
        spin(self.a.store.drained())
        spin(self.b.engine.learn(self.topic, LogConfig()))

    def gateway(self, name: str) -> Gateway:
        """One more."""
        gateway = Gateway(self.root, name * 32)
        self.addCleanup(gateway.close)
        return gateway

    def code(self, call: Callable[[], Any]) -> ErrorCode:
        """What a call raises, or fires with."""
        try:
            found = call()
            if isinstance(found, Deferred):
                spin(found)
        except KafkaError as error:
            return error.code
        self.fail("it was done")

    def code_of(self, gateway: Gateway, index: int) -> ErrorCode:
        """What is said of a partition that is not here."""
        return self.code(lambda: gateway.engine.partition(self.topic.name, index))

    def test_interface(self) -> None:
        self.assertTrue(verifyObject(ILogEngine, self.a.engine))
        self.assertTrue(verifyObject(ISharedLogs, self.a.engine))

    def test_each_leads_what_it_is_given(self) -> None:
        spin(self.a.engine.lead(self.topic, {0: 5, 1: 5}))
        spin(self.b.engine.lead(self.topic, {2: 6}))
        self.assertEqual(self.a.engine.epochs(), {(self.topic.id, 0): 5, (self.topic.id, 1): 5})
        self.assertEqual(self.b.engine.epochs(), {(self.topic.id, 2): 6})
        self.assertEqual(self.a.append(self.topic, 0, batch(), batch()), [0, 1])
        self.assertEqual(self.b.append(self.topic, 2, batch()), [0])
        self.assertEqual(self.code_of(self.a, 2), ErrorCode.NOT_LEADER_OR_FOLLOWER)
        self.assertEqual(self.code_of(self.b, 0), ErrorCode.NOT_LEADER_OR_FOLLOWER)
        self.assertEqual(self.code_of(self.b, 3), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        # once more is as good as once
        spin(self.a.engine.lead(self.topic, {0: 5, 1: 5}))
        self.assertEqual(self.a.append(self.topic, 0, batch()), [2])

    def test_leadership_passes_on_in_order(self) -> None:
        """With producers' sequences, and every record."""
        epoch = 3
        leader, other = self.a, self.b
        sent = 0
        spin(leader.engine.lead(self.topic, {0: epoch}))
        for _ in range(3):
            for _ in range(4):
                self.assertEqual(leader.append(self.topic, 0, idempotent_batch(sent)), [sent])
                sent += 1
            old = leader.engine.partition(self.topic.name, 0)
            spin(leader.engine.resign(self.topic, [0]))
            spin(leader.store.drained())
            self.assertEqual(self.code(partial(old.append, batch())), ErrorCode.NOT_LEADER_OR_FOLLOWER)
            leader, other = other, leader
            epoch += 4
            spin(leader.engine.lead(self.topic, {0: epoch}))
            log = leader.engine.partition(self.topic.name, 0)
            self.assertTrue(spin(log.append(idempotent_batch(sent - 1))).duplicate)
            self.assertEqual(leader.read(self.topic, 0), list(range(sent)))
            self.assertEqual(leader.engine.epochs(), {(self.topic.id, 0): epoch})
            ends = [spin(log.end_of_epoch(one)) for one in (epoch - 4, epoch)]
            self.assertEqual(ends, [EpochEnd(epoch - 4, sent), EpochEnd(epoch, sent)])

    def test_a_fenced_leader_says_and_writes_nothing(self) -> None:
        """What it was publishing is not acknowledged, and its successor's facts are what counts."""
        spin(self.a.engine.lead(self.topic, {0: 3, 1: 3}))
        self.assertEqual(self.a.append(self.topic, 0, batch(), batch()), [0, 1])
        log = self.a.engine.partition(self.topic.name, 0)
        waiting = log.append(batch())
        self.a.leads = False
        late = log.append(batch())
        self.assertEqual(self.code(lambda: late), ErrorCode.NOT_LEADER_OR_FOLLOWER)
        fenced = self.a.engine.fence()
        self.assertEqual(self.code(lambda: waiting), ErrorCode.NOT_LEADER_OR_FOLLOWER)
        self.assertEqual((self.a.engine.epochs(), self.code_of(self.a, 0)), ({}, ErrorCode.NOT_LEADER_OR_FOLLOWER))
        spin(fenced)
        spin(self.b.store.replay("a" * 32))
        spin(self.b.engine.lead(self.topic, {0: 9}))
        end = spin(self.b.engine.partition(self.topic.name, 0).bounds()).high_watermark
        # the one that waited may be there or not
        self.assertIn(end, (2, 3))
        self.assertEqual(self.b.append(self.topic, 0, batch()), [end])
        turn(0.5)
        self.assertEqual(self.b.read(self.topic, 0), list(range(end + 1)))

    def test_leading_is_broken_off(self) -> None:
        leading = self.a.engine.lead(self.topic, {0: 3})
        spin(self.a.engine.resign(self.topic, [0]))
        self.assertEqual(self.code(lambda: leading), ErrorCode.NOT_LEADER_OR_FOLLOWER)
        leading = self.a.engine.lead(self.topic, {0: 3, 1: 3})
        spin(self.a.engine.fence())
        self.assertEqual(self.code(lambda: leading), ErrorCode.NOT_LEADER_OR_FOLLOWER)
        self.assertEqual(self.a.engine.epochs(), {})
        spin(self.b.engine.lead(self.topic, {0: 4, 1: 4}))
        self.assertEqual(self.b.append(self.topic, 1, batch()), [0])

    def test_an_epoch_that_is_not_above_all_is_passed_over(self) -> None:
        """And shown, so that others can be told."""
        spin(self.a.engine.lead(self.topic, {0: 7}))
        spin(self.a.engine.resign(self.topic, [0]))
        spin(self.a.store.drained())
        spin(self.b.engine.lead(self.topic, {0: 6}))
        self.assertEqual(self.b.engine.epochs(), {(self.topic.id, 0): 8})

    def test_topics_of_others(self) -> None:
        """Made, extended and deleted by one, led by the other."""
        other = topic(f"other-{time.time_ns()}", 1, number=2)
        self.assertEqual(self.code(lambda: self.a.engine.lead(other, {0: 1})), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        spin(self.b.engine.create(other, LogConfig()))
        spin(self.b.store.drained())
        spin(self.a.engine.learn(other, LogConfig()))
        spin(self.a.engine.lead(other, {0: 1}))
        self.assertEqual(self.a.append(other, 0, batch()), [0])
        more = Topic(other.name, other.id, 3, assignments=(0,) * 3)
        spin(self.b.engine.create(more, LogConfig()))
        spin(self.b.store.drained())
        spin(self.a.engine.learn(more, LogConfig(retention_ms=5)))
        spin(self.a.engine.lead(more, {0: 1, 2: 2}))
        self.assertEqual(self.a.append(more, 0, batch()), [1])
        self.assertEqual(self.a.append(more, 2, batch()), [0])
        log = self.a.engine.partition(more.name, 0)
        self.assertEqual(log.config.retention_ms, 5)
        spin(self.b.engine.delete(more))
        spin(self.b.store.drained())
        spin(self.a.engine.forget(more))
        self.assertEqual(self.code(lambda: log.append(batch())), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        self.assertEqual(self.code(lambda: self.a.engine.partition(more.name, 0)), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        # what is left of a topic that nobody knows goes when that is asked for
        spin(self.b.engine.tidy([]))
        self.assertEqual(spin(self.b.store.scan("seaweed/layout/")), [])
        self.assertEqual([one for one in spin(self.b.store.scan("seaweed/partitions/")) if more.id.hex() in one[0]], [])

    def test_leading_waits_until_it_may(self) -> None:
        spin(self.a.engine.lead(self.topic, {0: 3}))
        self.a.leads = False
        leading = self.a.engine.lead(self.topic, {0: 3, 1: 3})
        turn(0.5)
        self.assertNoResult(leading)
        self.a.leads = True
        spin(leading)
        self.assertEqual(self.a.append(self.topic, 1, batch()), [0])
