"""Gateways that join, tell clients of one another, learn what others change, and leave."""

from __future__ import annotations

import socket

from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, LogEvent, LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from kgw.config import Config
from kgw.errors import ErrorCode, KafkaError, StartError
from kgw.model import Broker, ConfigChange, ConfigOperation, NewTopic
from kgw.shared.sharing import told_addresses
from kgw.test.shared_stage import Node, SharedStage
from kgw.test.test_cluster import Arrived


class ToldAddressesTests(SynchronousTestCase):
    """What other gateways tell clients of this one."""

    def told(self, bound: dict[str, tuple[str, int]], **properties: str) -> dict[str, tuple[str, int]]:
        return told_addresses(Config({name.replace("_", "."): text for name, text in properties.items()}), bound)

    def test_bound(self) -> None:
        """Where it listens, with the port that it really has."""
        told = self.told({"PLAINTEXT": ("192.0.2.7", 40001)}, listeners="PLAINTEXT://192.0.2.7:0")
        self.assertEqual(told, {"PLAINTEXT": ("192.0.2.7", 40001)})

    def test_advertised(self) -> None:
        """What is advertised goes before that, for the listeners it names."""
        told = self.told(
            {"PLAINTEXT": ("0.0.0.0", 9092), "INNER": ("127.0.0.1", 9093)},
            listeners="PLAINTEXT://:9092,INNER://127.0.0.1:9093",
            listener_security_protocol_map="INNER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            advertised_listeners="PLAINTEXT://kafka-1.example.com:19092",
        )
        self.assertEqual(told, {"PLAINTEXT": ("kafka-1.example.com", 19092), "INNER": ("127.0.0.1", 9093)})

    def test_wildcard(self) -> None:
        """No client can reach that, so it is the machine's name."""
        for host in ("0.0.0.0", "::", ""):
            self.assertEqual(self.told({"PLAINTEXT": (host, 9092)}), {"PLAINTEXT": (socket.getfqdn(), 9092)})

    def test_no_port(self) -> None:
        """A UNIX socket is known to others by what is advertised for it, or not at all."""
        self.assertEqual(self.told({}, listeners="unix:/run/kgw.sock"), {})
        advertised = "PLAINTEXT://kafka-1.example.com:19092"
        told = self.told({}, listeners="unix:/run/kgw.sock", advertised_listeners=advertised)
        self.assertEqual(told, {"PLAINTEXT": ("kafka-1.example.com", 19092)})


class JoiningTests(SynchronousTestCase):
    """How a gateway becomes one of several."""

    def setUp(self) -> None:
        self.stage = SharedStage(self)

    def test_node_ids(self) -> None:
        """The smallest that is free, from 1 on, unless one is configured; which another one then cannot have."""
        first, second = self.stage.started(), self.stage.started()
        seventh = self.stage.started(node_id="7")
        ids = [node.sharing.member.node_id for node in (first, second, seventh)]
        self.assertEqual(len(set(ids)), 3)
        self.assertEqual(ids[1], ids[0] + 1)
        self.assertEqual(ids[2], 7)
        again = self.stage.node(node_id="7")
        joining = again.join()
        self.stage.run(15)
        self.assertIn("7", str(self.failureResultOf(joining, StartError).value))
        self.successResultOf(again.sharing.stop())

    def test_timeouts_that_do_not_fit(self) -> None:
        """An operator is told which."""
        node = self.stage.node(broker_heartbeat_interval_ms="5000")
        with self.assertRaises(StartError) as caught:
            node.join()
        self.assertIn("broker.session.timeout.ms", str(caught.exception))

    def test_joining_again(self) -> None:
        """
        After an answer that was lost it knows that the entry it finds is its own, and does not wait for it to die.
        """
        node = self.stage.node(node_id="3")
        node.door.deaf = True
        failing = node.join()
        self.stage.run(0.1)
        self.failureResultOf(failing, KafkaError)
        node.door.deaf = False
        joining = node.join()
        self.stage.run(0.1)
        self.assertEqual(self.successResultOf(joining), 3)

    def test_nothing_may_be_done_before(self) -> None:
        node = self.stage.node()
        self.assertFalse(node.sharing.may_lead() or node.sharing.may_write())
        node.join()
        self.stage.run(0.5)
        self.assertTrue(node.sharing.may_lead() and node.sharing.may_write())

    def test_given_something_before_it_can_lead(self) -> None:
        """It takes it up once it has what to lead it with, unless that was taken away again."""
        first = self.stage.started()
        first.create("orders", 4)
        second = self.stage.node()
        second.join()
        self.stage.run(3)
        self.assertEqual((first.leads(), second.leads()), (2, 0))
        third = self.stage.node()
        third.join()
        self.stage.run(3)
        second.begin()
        third.begin()
        self.stage.run(3)
        self.assertEqual(sorted(node.leads() for node in self.stage.nodes), [1, 1, 2])
        led = [place for node in self.stage.nodes for place in node.logs.led]
        self.assertEqual(len(led), len(set(led)))

    def test_fenced_before_it_can_lead(self) -> None:
        """What the former incarnation was given is not led, and the store has the journal of the one there is now."""
        first = self.stage.started()
        first.create("orders", 4)
        second = self.stage.node()
        second.join()
        self.stage.run(3)
        self.successResultOf(second.sharing.enter())
        before = second.sharing.member.incarnation
        second.door.cut = True
        self.stage.run(12)
        second.door.cut = False
        for _ in range(100):
            self.stage.run(0.01)
            if not second.sharing.member.incarnation:
                # another journal than that of an incarnation there is would be anybody's
                self.failureResultOf(second.sharing.enter(), KafkaError)
        self.stage.run(5)
        incarnation = second.sharing.member.incarnation
        self.assertNotEqual(incarnation, before)
        second.begin()
        self.stage.run(3)
        self.assertEqual(
            [call for call in second.store.calls if call in ("leave", f"enter {incarnation}")][:2],
            ["leave", f"enter {incarnation}"],
        )
        self.assertEqual((first.leads(), second.leads()), (2, 2))

    def test_settled(self) -> None:
        """A gateway that starts lets clients in when it leads its share."""
        first = self.stage.started()
        first.create("orders", 4)
        second = self.stage.node()
        first.logs.closing = Deferred()
        second.join()
        self.stage.run(0.5)
        second.begin()
        settled = second.sharing.settled()
        self.stage.run(1)
        self.assertNoResult(settled)
        first.logs.closing.callback(None)
        self.stage.run(3)
        self.successResultOf(settled)
        self.assertEqual(second.leads(), 2)

    def test_settled_though_nobody_leads(self) -> None:
        """A topic that cannot be led is waited for some seconds, and created all the same."""
        node = self.stage.started()
        node.logs.failing = KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, "no broker")
        node.door.cut = True
        creating = node.catalog.create(NewTopic("orders", 1))
        self.stage.run(1)
        self.assertNoResult(creating)
        self.stage.run(5)
        self.assertEqual(self.successResultOf(creating).name, "orders")

    def test_stopped_while_joining(self) -> None:
        """Whatever it waits for, the stop does not wait for it."""
        self.stage.started(node_id="7")
        node = self.stage.node(node_id="7")
        joining = node.join()
        joining.addErrback(lambda _: None)
        joining.cancel()
        self.successResultOf(node.sharing.stop())

    def test_stopped_before_it_can_lead(self) -> None:
        """A start that was broken off lets go of what it was given, and others lead it."""
        first = self.stage.started()
        first.create("orders", 4)
        second = self.stage.node()
        second.join()
        self.stage.run(3)
        stopping = second.sharing.stop()
        self.stage.run(3)
        self.successResultOf(stopping)
        self.assertEqual(first.leads(), 4)

    def test_stopping_in_order(self) -> None:
        """Others lead what was led here before the stop is done."""
        first, second = self.stage.started(), self.stage.started()
        first.create("orders", 4)
        self.stage.run(2)
        stopping = first.sharing.stop()
        self.stage.run(3)
        self.successResultOf(stopping)
        self.assertEqual((first.leads(), second.leads()), (0, 4))
        self.assertTrue(second.sharing.is_controller())


class SharedClusterTests(SynchronousTestCase):
    """What clients are told of several gateways."""

    def setUp(self) -> None:
        self.stage = SharedStage(self)
        self.first = self.stage.started(broker_rack="a")
        self.second = self.stage.started(
            listeners="PLAINTEXT://gw1:9092,INNER://10.0.0.2:9093",
            listener_security_protocol_map="INNER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            advertised_listeners="PLAINTEXT://kafka-2.example.com:19092",
            broker_rack="b",
        )
        self.stage.run(1)

    def ids(self, *nodes: Node) -> list[int]:
        return [node.sharing.member.node_id for node in nodes]

    def test_brokers(self) -> None:
        """Each by what it advertises, or where it listens; this one by where the client came to."""
        one, two = self.ids(self.first, self.second)
        self.assertEqual(
            self.first.cluster.brokers(Arrived()),
            [Broker(one, "192.0.2.7", 9092, "a"), Broker(two, "kafka-2.example.com", 19092, "b")],
        )
        self.assertEqual(
            self.second.cluster.brokers(Arrived()),
            [Broker(one, "gw0", 9092, "a"), Broker(two, "kafka-2.example.com", 19092, "b")],
        )
        self.assertEqual(self.first.cluster.node_ids(), [one, two])

    def test_another_listener(self) -> None:
        """Who has no listener of that name is not told of, as in Kafka."""
        (two,) = self.ids(self.second)
        self.assertEqual(
            self.second.cluster.brokers(Arrived("INNER", "10.0.0.2", 9093)), [Broker(two, "10.0.0.2", 9093, "b")]
        )

    def test_controller(self) -> None:
        """All name the same one."""
        controllers = {node.cluster.controller_id for node in self.stage.nodes}
        self.assertEqual(controllers, {self.ids(self.first)[0]})
        self.assertEqual([node.sharing.is_controller() for node in self.stage.nodes], [True, False])

    def test_leaders_and_coordinators(self) -> None:
        """All name the same ones, who do lead."""
        topic = self.first.create("orders", 4)
        self.stage.run(1)
        for index in range(4):
            named = {node.cluster.leader(topic, index) for node in self.stage.nodes}
            self.assertEqual(len(named), 1)
            ((node_id, epoch),) = [(leader.node_id, leader.epoch) for leader in named]
            leading = next(node for node in self.stage.nodes if node.sharing.member.node_id == node_id)
            self.assertEqual(leading.logs.epochs()[topic.id, index], epoch)
        for group in map(str, range(20)):
            named_ids = {
                (node.cluster.coordinator(group, Arrived()) or Broker(-1, "", 0, None)).node_id
                for node in self.stage.nodes
            }
            self.assertEqual(len(named_ids), 1)
            (node_id,) = named_ids
            leading = next(node for node in self.stage.nodes if node.sharing.member.node_id == node_id)
            self.successResultOf(leading.groups.committed(group))

    def test_one_that_is_gone(self) -> None:
        """Nobody leads what it led until another does, and it is no broker any more."""
        topic = self.first.create("orders", 4)
        self.stage.run(1)
        one, two = self.ids(self.first, self.second)
        lost = [index for index in range(4) if self.first.cluster.leader(topic, index).node_id == two]
        self.second.door.cut = True
        # it knows that it may not speak, the others are not yet sure
        self.stage.run(8.2)
        self.assertFalse(self.second.sharing.may_lead())
        self.assertNotIn(two, self.second.cluster.node_ids())
        self.assertEqual({self.second.cluster.leader(topic, index).node_id for index in lost}, {-1})
        self.stage.run(4)
        self.assertEqual(self.first.cluster.node_ids(), [one])
        self.assertEqual({self.first.cluster.leader(topic, index).node_id for index in range(4)}, {one})
        self.assertEqual(self.first.leads(), 4)
        self.second.door.cut = False
        self.stage.run(5)
        self.assertEqual(self.second.sharing.member.fences, 1)
        self.assertEqual(self.first.cluster.node_ids(), [one, two])
        self.assertEqual((self.first.leads(), self.second.leads()), (2, 2))


@implementer(ILogObserver)
class Noting:
    """Takes down what is said of the cluster."""

    def __init__(self, lines: list[tuple[LogLevel, str]]) -> None:
        self.lines = lines

    def __call__(self, event: LogEvent) -> None:
        if event.get("log_namespace") == "kgw.cluster":
            self.lines.append((event["log_level"], str(event["log_format"])))


class LearningTests(SynchronousTestCase):
    """How what others change comes to be known here."""

    def setUp(self) -> None:
        self.stage = SharedStage(self)
        self.first, self.second = self.stage.started(), self.stage.started()
        self.lines: list[tuple[LogLevel, str]] = []
        noting = Noting(self.lines)
        globalLogPublisher.addObserver(noting)
        self.addCleanup(globalLogPublisher.removeObserver, noting)

    def scans(self) -> int:
        return self.second.logs.calls.count("learn orders/1")

    def test_soon(self) -> None:
        """Word of a change is followed at once; any number of words together are one look."""
        self.first.create("orders")
        self.second.logs.calls.clear()
        self.successResultOf(
            self.first.catalog.alter("orders", [ConfigChange("retention.ms", ConfigOperation.SET, "1000")])
        )
        for _ in range(100):
            self.second.sharing.changed()
        self.stage.run(0.05)
        self.assertEqual(self.scans(), 1)
        topic = self.second.catalog.get("orders")
        assert topic is not None
        self.assertEqual(topic.configs, {"retention.ms": "1000"})

    def test_word_during_a_look(self) -> None:
        """It is looked at once more afterwards: what was read already may have changed."""
        self.second.store.slow = Deferred()
        self.second.sharing.changed()
        self.stage.run(0.05)
        self.first.create("orders")
        self.second.sharing.changed()
        slow, self.second.store.slow = self.second.store.slow, None
        slow.callback(None)
        self.stage.run(0.05)
        self.assertIsNot(self.second.catalog.get("orders"), None)

    def test_without_a_word(self) -> None:
        """Within five seconds."""
        self.successResultOf(
            self.first.configs.alter_broker(
                [ConfigChange("log.retention.ms", ConfigOperation.SET, "777000")], cluster=True
            )
        )
        self.successResultOf(self.first.quotas.alter([({"client-id": "billing"}, [("producer_byte_rate", 1000.0)])]))
        self.stage.run(5.1)
        self.assertEqual(self.second.configs.config.log_retention_ms, 777000)
        self.assertTrue(self.second.quotas.active)

    def test_something_that_cannot_be_read(self) -> None:
        """It is said once, hides nothing else, and is read when it can be."""
        self.second.store.broken = ("configs/",)
        self.first.create("orders")
        self.stage.run(20)
        self.assertIsNot(self.second.catalog.get("orders"), None)
        told = [line for level, line in self.lines if level is LogLevel.warn]
        self.assertEqual(len(told), 1, self.lines)
        self.second.store.broken = ()
        self.stage.run(6)
        self.assertIn((LogLevel.info, "{what} are read again"), self.lines)

    def test_only_the_controller_tidies(self) -> None:
        """Now and then, in its turn; journals that nobody keeps are finished at the second look, others never."""
        kept = self.second.sharing.member.incarnation
        for node in self.stage.nodes:
            node.store.left = ["c" * 32, kept]
        self.stage.run(61)
        tidied = [any(call.startswith("tidy") for call in node.logs.calls) for node in self.stage.nodes]
        self.assertEqual(tidied, [True, False])
        self.assertNotIn("replay " + "c" * 32, self.first.store.calls)
        self.stage.run(61)
        self.assertIn("replay " + "c" * 32, self.first.store.calls)
        self.assertNotIn(f"replay {kept}", self.first.store.calls)

    def test_tidying_that_fails(self) -> None:
        """It is tried again."""
        self.stage.locks.missing = True
        self.stage.run(61)
        self.stage.locks.missing = False
        self.assertEqual([call for call in self.first.logs.calls if call.startswith("tidy")], [])
        self.stage.run(61)
        self.assertEqual(self.first.logs.calls.count("tidy []"), 1)

    def test_stopped(self) -> None:
        """Nothing is looked at any more, and no alarm is left."""
        for node in self.stage.nodes:
            stopping = node.sharing.stop()
            self.stage.run(10)
            self.successResultOf(stopping)
            node.sharing.changed()
            self.successResultOf(node.logs.stop())
            self.successResultOf(node.groups.stop())
        self.assertEqual(self.stage.clock.getDelayedCalls(), [])
