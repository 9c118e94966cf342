"""Finding the engine: the gentle order, restarts of the broker, masters that go and come back."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from kgw.engine.bridge import InlineBridge
from kgw.engine.seaweed.calls import Calls
from kgw.engine.seaweed.discovery import POLL_S, RETRY_S, SETTLE_S, Discovery
from kgw.engine.seaweed.errors import EngineUnavailable
from kgw.engine.seaweed.proto import filer_pb2, master_pb2, mq_broker_pb2
from kgw.test.seaweed import Engine, engine

NOW_S = 1_800_000_000.0
#: A broker that has been there for long joined then.
LONG_AGO = int((NOW_S - 3600) * 1e9)
MASTER = "m1:19333"
OTHER_MASTER = "m2:19333"
FILER = "f1:18888"
BROKER = "b1:17777"


class Cluster(Calls):
    """
    The engine as its callers see it.

    @ivar filers: what the masters list; as SeaweedFS writes addresses.
    @ivar brokers: when each joined.
    @ivar down: addresses that cannot be reached.
    @ivar leading: the master that knows the others.
    @ivar balancer: what brokers answer to FindBrokerLeader.
    @ivar topics_ready: whether ListTopics is answered.
    @ivar asked: address and method of each call.
    @ivar held: whether calls wait for L{release}.
    """

    def __init__(self) -> None:
        super().__init__(InlineBridge(), None)
        self.filers = ["f1:8888.18888"]
        self.brokers = {BROKER: LONG_AGO}
        self.down: set[str] = set()
        self.leading = MASTER
        self.balancer = BROKER
        self.topics_ready = True
        self.asked: list[tuple[str, str]] = []
        self.held = False
        self._waiting: list[tuple[Deferred[Any], str, str, Any]] = []

    def unary(
        self,
        address: str,
        method_path: str,
        request: Any,
        response_type: Any,
        timeout_s: float | None = None,
        may_call: object = None,
    ) -> Deferred[Any]:
        """Answer as the cluster is."""
        method = method_path.rpartition("/")[2]
        self.asked.append((address, method))
        if self.held:
            waiter: Deferred[Any] = Deferred()
            self._waiting.append((waiter, address, method, request))
            return waiter
        return self._answer(address, method, request)

    def release(self) -> None:
        """Answer what waits, and hold no more."""
        self.held = False
        waiting, self._waiting = self._waiting, []
        for waiter, *call in waiting:
            self._answer(*call).chainDeferred(waiter)

    def methods(self) -> list[str]:
        """The methods asked for since the last time."""
        asked, self.asked = self.asked, []
        return [method for _, method in asked]

    def _answer(self, address: str, method: str, request: Any) -> Deferred[Any]:
        if address in self.down:
            return fail(EngineUnavailable(f"{address} is down"))
        if method == "ListClusterNodes":
            listed = dict.fromkeys(self.filers, 1) if request.client_type == "filer" else self.brokers
            if address != self.leading:
                listed = {}
            answer = master_pb2.ListClusterNodesResponse()
            for node, joined in listed.items():
                answer.cluster_nodes.add(address=node, created_at_ns=joined)
            return succeed(answer)
        if method == "KvGet":
            return succeed(filer_pb2.KvGetResponse())
        if method == "FindBrokerLeader":
            return succeed(mq_broker_pb2.FindBrokerLeaderResponse(broker=self.balancer))
        if not self.topics_ready:
            return fail(EngineUnavailable("missing address"))
        return succeed(mq_broker_pb2.ListTopicsResponse())


LIST = "ListClusterNodes"
WHOLE = [LIST, LIST, "KvGet", "FindBrokerLeader", "ListTopics"]


class DiscoveryTests(SynchronousTestCase):
    """L{Discovery} and a cluster that does as it is told."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW_S)
        self.cluster = Cluster()
        self.discovery = Discovery(self.cluster, self.clock, ["m1:9333", "m2:9333"])
        self.addCleanup(self.discovery.stop)
        self.changes = 0
        self.discovery.watch(self.changed)

    def changed(self) -> None:
        self.changes += 1

    def test_found(self) -> None:
        """Filer and broker are where the masters say, and asked in the gentle order."""
        self.discovery.start()
        self.successResultOf(self.discovery.ready())
        self.assertEqual(self.cluster.methods(), WHOLE)
        self.assertEqual(self.discovery.filer_address(), FILER)
        self.assertEqual(self.discovery.filer_http(), "f1:8888")
        self.assertEqual(self.discovery.broker_address(), BROKER)
        self.assertEqual(self.discovery.incarnation, LONG_AGO)
        self.assertEqual(self.changes, 1)

    def test_nothing_known_yet(self) -> None:
        """Before anything was found there is no address, and who waits goes on waiting."""
        self.cluster.down = {MASTER, OTHER_MASTER}
        self.discovery.start()
        ready = self.discovery.ready()
        self.clock.pump([RETRY_S] * 20)
        self.assertNoResult(ready)
        for address in (self.discovery.filer_address, self.discovery.filer_http, self.discovery.broker_address):
            self.assertRaises(EngineUnavailable, address)
        self.cluster.down = set()
        self.clock.advance(RETRY_S)
        self.successResultOf(ready)

    def test_young_broker(self) -> None:
        """A broker that has only just joined is not asked about topics before it had time to settle."""
        self.cluster.brokers = {BROKER: int((NOW_S - 2) * 1e9)}
        self.cluster.balancer = ""
        self.discovery.start()
        ready = self.discovery.ready()
        self.clock.pump([RETRY_S] * 20)
        self.assertNotIn("ListTopics", self.cluster.methods())
        self.cluster.balancer = BROKER
        self.clock.advance(RETRY_S)
        self.clock.advance(SETTLE_S - 0.1)
        self.assertNotIn("ListTopics", self.cluster.methods())
        self.assertNoResult(ready)
        self.clock.advance(0.1)
        self.successResultOf(ready)
        self.assertEqual(self.cluster.methods(), ["FindBrokerLeader", "ListTopics"])

    def test_topics_not_ready(self) -> None:
        """A broker that cannot answer about topics yet is asked again."""
        self.cluster.topics_ready = False
        self.discovery.start()
        ready = self.discovery.ready()
        self.assertNoResult(ready)
        self.cluster.topics_ready = True
        self.clock.advance(RETRY_S)
        self.successResultOf(ready)

    def test_keeps_asking(self) -> None:
        """While all is well the masters are asked every few seconds, and nobody else."""
        self.discovery.start()
        self.cluster.methods()
        for _ in range(3):
            self.clock.advance(POLL_S)
            self.assertEqual(self.cluster.methods(), [LIST, LIST])
        self.assertEqual(self.changes, 1)

    def test_broker_restarted(self) -> None:
        """A broker that joined anew is another incarnation, told when it can be used."""
        self.discovery.start()
        young = int(self.clock.seconds() * 1e9)
        self.cluster.brokers = {BROKER: young}
        self.clock.advance(POLL_S)
        self.assertFalse(self.discovery.usable)
        self.assertEqual((self.discovery.incarnation, self.changes), (LONG_AGO, 1))
        self.clock.advance(SETTLE_S)
        self.assertEqual((self.discovery.incarnation, self.changes), (young, 2))
        self.assertTrue(self.discovery.usable)

    def test_broker_away(self) -> None:
        """While no broker is listed none can be used."""
        self.discovery.start()
        self.cluster.brokers = {}
        self.clock.advance(POLL_S)
        ready = self.discovery.ready()
        self.assertNoResult(ready)
        self.assertRaises(EngineUnavailable, self.discovery.broker_address)
        self.cluster.brokers = {"b2:17777": LONG_AGO}
        self.clock.advance(RETRY_S)
        self.successResultOf(ready)
        self.assertEqual(self.discovery.broker_address(), "b2:17777")
        self.assertEqual(self.changes, 2)

    def test_stays_with_its_broker(self) -> None:
        """A broker that joins later, or a filer, does not take over."""
        self.discovery.start()
        self.cluster.brokers = {"a:17777": LONG_AGO, BROKER: LONG_AGO}
        self.cluster.filers = ["a:8888.18888", "f1:8888.18888"]
        self.clock.advance(POLL_S)
        self.successResultOf(self.discovery.suspect())
        self.assertEqual((self.discovery.broker_address(), self.discovery.filer_address()), (BROKER, FILER))
        self.assertEqual(self.changes, 1)

    def test_other_filer(self) -> None:
        """A filer that does not answer is left for one that does, once somebody suspects it."""
        self.discovery.start()
        self.cluster.filers = ["f1:8888.18888", "f2:8888.18888"]
        self.cluster.down = {FILER}
        self.successResultOf(self.discovery.suspect())
        self.assertEqual(self.discovery.filer_address(), "f2:18888")
        self.assertEqual(self.changes, 2)

    def test_masters_away(self) -> None:
        """An outage of the masters hinders nobody who has found the others."""
        self.discovery.start()
        self.cluster.down = {MASTER, OTHER_MASTER}
        self.clock.pump([POLL_S] * 5)
        self.successResultOf(self.discovery.ready())
        self.assertEqual(self.discovery.broker_address(), BROKER)

    def test_suspect_while_masters_are_away(self) -> None:
        """But only a master can tell a broker from the one that was there before it."""
        self.discovery.start()
        self.cluster.down = {MASTER, OTHER_MASTER}
        suspected = self.discovery.suspect()
        self.clock.pump([RETRY_S] * 5)
        self.assertNoResult(suspected)
        self.cluster.down = set()
        self.clock.advance(RETRY_S)
        self.assertEqual(self.successResultOf(suspected), LONG_AGO)

    def test_outage_in_the_log(self) -> None:
        """Each reason of an outage is told once, however they take turns, and its end."""
        self.discovery.start()
        with capturedLogs() as events:
            for down in ({BROKER}, {FILER}) * 20:
                self.cluster.down = down
                self.discovery.suspect()
                self.clock.advance(RETRY_S)
            self.cluster.down = set()
            self.clock.advance(RETRY_S)
        self.assertEqual(
            [formatEvent(event) for event in events],
            [
                f"SeaweedMQ cannot be used: KAFKA_STORAGE_ERROR: {BROKER} is down",
                f"SeaweedMQ cannot be used: KAFKA_STORAGE_ERROR: {FILER} is down",
                f"SeaweedMQ: broker {BROKER}, filer {FILER}",
            ],
        )

    def test_suspected_broker(self) -> None:
        """A broker that may have been started again is nobody's before it was looked at with care."""
        self.discovery.start()
        self.cluster.held = True
        suspected = self.discovery.suspect()
        self.assertRaises(EngineUnavailable, self.discovery.broker_address)
        self.assertEqual(self.discovery.filer_address(), FILER)
        again = self.discovery.suspect()
        self.cluster.brokers = {BROKER: int(self.clock.seconds() * 1e9)}
        self.cluster.release()
        self.clock.advance(SETTLE_S - 0.1)
        self.assertRaises(EngineUnavailable, self.discovery.broker_address)
        self.clock.advance(0.1)
        self.successResultOf(suspected)
        self.clock.advance(0)
        self.successResultOf(again)
        self.assertEqual(self.discovery.broker_address(), BROKER)

    def test_other_master_leads(self) -> None:
        """Masters that follow know nobody: the one that leads is found, and asked first from then on."""
        self.cluster.leading = OTHER_MASTER
        self.discovery.start()
        self.successResultOf(self.discovery.ready())
        self.cluster.asked.clear()
        self.clock.advance(POLL_S)
        self.assertEqual(self.cluster.asked, [(OTHER_MASTER, LIST)] * 2)
        self.cluster.down = {OTHER_MASTER}
        self.cluster.leading = MASTER
        self.assertEqual(self.successResultOf(self.discovery.suspect()), LONG_AGO)

    def test_suspect_asks_all(self) -> None:
        """Whoever suspects the engine has it looked at now, filer and broker too."""
        self.discovery.start()
        self.cluster.methods()
        self.assertEqual(self.successResultOf(self.discovery.suspect()), LONG_AGO)
        self.assertEqual(self.cluster.methods(), WHOLE)
        self.cluster.down = {BROKER}
        suspected = self.discovery.suspect()
        self.assertNoResult(suspected)
        self.assertFalse(self.discovery.usable)
        self.cluster.down = set()
        self.clock.advance(RETRY_S)
        self.successResultOf(suspected)
        self.assertEqual(self.changes, 1)

    def test_suspect_during_a_look(self) -> None:
        """A look that began before says nothing about now: another one follows, for all who wait."""
        self.discovery.start()
        self.cluster.held = True
        self.clock.advance(POLL_S)
        suspected = [self.discovery.suspect(), self.discovery.suspect()]
        self.cluster.release()
        for deferred in suspected:
            self.assertNoResult(deferred)
        self.cluster.methods()
        self.clock.advance(0)
        self.assertEqual(self.cluster.methods(), WHOLE)
        for deferred in suspected:
            self.assertEqual(self.successResultOf(deferred), LONG_AGO)

    def test_cancel(self) -> None:
        """Who does not want to wait any more is forgotten, even by somebody told earlier."""
        self.cluster.down = {MASTER, OTHER_MASTER}
        self.discovery.start()
        gone, first, second = self.discovery.ready(), self.discovery.ready(), self.discovery.ready()
        gone.cancel()
        self.failureResultOf(gone)
        first.addCallback(lambda _: second.cancel())
        self.cluster.down = set()
        self.clock.advance(RETRY_S)
        self.successResultOf(first)
        self.failureResultOf(second)

    def test_listener_that_suspects(self) -> None:
        """A listener may have the engine looked at again; one that was taken away hears nothing."""
        found: list[int] = []
        self.discovery.unwatch(self.changed)
        self.discovery.watch(lambda: void(self.discovery.suspect().addCallback(found.append)))
        self.discovery.start()
        self.assertEqual((found, self.changes), ([LONG_AGO], 0))
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_stop(self) -> None:
        """After the stop nobody is asked, and who waits is told."""
        self.cluster.held = True
        self.discovery.start()
        ready = self.discovery.ready()
        self.discovery.stop()
        self.failureResultOf(ready, EngineUnavailable)
        self.failureResultOf(self.discovery.suspect(), EngineUnavailable)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.cluster.methods()
        self.clock.advance(60)
        self.assertEqual(self.cluster.methods(), [])

    def test_stop_while_a_broker_settles(self) -> None:
        """The stop leaves nothing behind in the middle of a look either."""
        self.cluster.brokers = {BROKER: int(NOW_S * 1e9)}
        self.discovery.start()
        self.discovery.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_filer_address_that_is_none(self) -> None:
        """What a master says may be nonsense; that is an outage too."""
        self.cluster.filers = ["nonsense"]
        self.discovery.start()
        ready = self.discovery.ready()
        self.assertNoResult(ready)
        self.assertEqual(self.flushLoggedErrors(), [])
        self.cluster.filers = ["f1:8888"]
        self.clock.advance(RETRY_S)
        self.successResultOf(ready)

    def test_masters_are_checked(self) -> None:
        """Without a master, or with something that is none, nothing is looked for."""
        for masters in ([], ["nonsense"]):
            self.assertRaises(ValueError, Discovery, self.cluster, self.clock, masters)


def void(value: object) -> None:
    """Drop a value."""


class RealTests(SynchronousTestCase):
    """L{Discovery} and a real engine."""

    def discover(self, real: Engine) -> tuple[Discovery, Clock]:
        calls = Calls(InlineBridge(), None)
        self.addCleanup(calls.stop)
        clock = Clock()
        discovery = Discovery(calls, clock, real.masters)
        self.addCleanup(discovery.stop)
        discovery.start()
        # the clock knows nothing of the time of day, so the broker counts as young
        clock.advance(SETTLE_S)
        return discovery, clock

    def test_found(self) -> None:
        """A running engine is found."""
        real = engine()
        discovery, _ = self.discover(real)
        self.successResultOf(discovery.ready())
        self.assertEqual(discovery.broker_address(), real.broker)
        self.assertEqual(discovery.filer_address(), real.filer)
        self.assertEqual(discovery.filer_http(), real.filer_http)

    def test_broker_killed(self) -> None:
        """A broker that was killed is missed by whoever asks, and another incarnation when it is back."""
        real = Engine().start()
        self.addCleanup(real.discard)
        discovery, clock = self.discover(real)
        before = self.successResultOf(discovery.suspect())
        real.kill_broker()
        suspected = discovery.suspect()
        self.assertNoResult(suspected)
        real.start()
        clock.advance(RETRY_S)
        clock.advance(SETTLE_S)
        self.assertNotEqual(self.successResultOf(suspected), before)
