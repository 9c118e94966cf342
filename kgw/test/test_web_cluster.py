"""What an operator is told of several gateways: JSON, metrics and the prompt."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from kgw.cluster import Cluster
from kgw.engine.bridge import InlineBridge
from kgw.errors import ErrorCode
from kgw.log.topics import TopicCatalog
from kgw.manhole.names import Names
from kgw.model import HEALTH_TOPIC, Leader, NewTopic, Topic
from kgw.test.shared_stage import SharedStage
from kgw.test.stage import Stage
from kgw.test.test_web_metrics import parse, rows, value
from kgw.test.web_stage import WebStage
from kgw.web.metrics_page import render
from kgw.web.readiness import Readiness


class SeveralTests(SynchronousTestCase):
    """A gateway's pages, where there is another one; it leads three of five partitions."""

    def setUp(self) -> None:
        self.shared = SharedStage(self)
        self.first = self.shared.started(broker_rack="a")
        self.second = self.shared.started(broker_rack="b")
        self.first.create("orders", 5)
        self.shared.run(1)
        self.web = WebStage(self)
        self.web.gateway.services.cluster = self.first.cluster

    def test_brokers(self) -> None:
        """Each node with its listeners, its rack, and how much it leads."""
        page = self.web.get("/api/brokers")
        one, two = page["brokers"]
        ids = [node.sharing.member.node_id for node in self.shared.nodes]
        self.assertEqual([one["node_id"], two["node_id"]], ids)
        self.assertEqual((page["node_id"], page["controller_id"]), (ids[0], ids[0]))
        self.assertEqual((one["rack"], two["rack"]), ("a", "b"))
        self.assertEqual((one["controller"], two["controller"]), (True, False))
        self.assertEqual(one["partitions_led"] + two["partitions_led"], 5)
        self.assertEqual(one["group_slots"] + two["group_slots"], 50)
        self.assertEqual(two["listeners"], [{"name": "PLAINTEXT", "advertised": "gw1:9092"}])
        self.assertEqual(two["incarnation"], self.second.sharing.member.incarnation)
        self.assertLess(two["heartbeat_age_seconds"], 2.1)
        self.assertGreater(page["lease_seconds"], 5)
        self.assertEqual((page["fences"], page["unled_partitions"]), (0, 0))

    def test_one_is_gone(self) -> None:
        """Its partitions are led by nobody, until the others are sure; then by them."""
        lost = self.web.get("/api/brokers")["brokers"][1]["partitions_led"]
        self.second.door.cut = True
        self.shared.run(5)
        self.assertGreater(self.web.get("/api/brokers")["brokers"][1]["heartbeat_age_seconds"], 2.9)
        self.web.gateway.services.cluster = self.second.cluster
        self.shared.run(3.5)
        page = self.web.get("/api/brokers")
        self.assertEqual(page["lease_seconds"], 0)
        self.assertGreaterEqual(page["unled_partitions"], lost)
        self.assertIn(self.second.sharing.member.node_id, [node["node_id"] for node in page["brokers"]])
        self.web.gateway.services.cluster = self.first.cluster
        self.shared.run(3)
        page = self.web.get("/api/brokers")
        self.assertEqual([node["partitions_led"] for node in page["brokers"]], [5])
        self.assertEqual(page["unled_partitions"], 0)

    def test_metrics(self) -> None:
        """The numbers of both, and of this one's lease."""
        found = parse(render(self.web.gateway))
        self.assertEqual(value(found, "kafka_brokers"), 2)
        self.assertEqual(value(found, "kafka_controller_kafkacontroller_activebrokercount"), 2)
        self.assertEqual(value(found, "kafka_controller_kafkacontroller_activecontrollercount"), 1)
        led = self.first.leads()
        one, two = (str(node.sharing.member.node_id) for node in self.shared.nodes)
        self.assertEqual(rows(found, "kgw_cluster_partitions", "node"), {one: led, two: 5 - led})
        self.assertEqual(sum(rows(found, "kgw_cluster_group_slots", "node").values()), 50)
        self.assertEqual(set(rows(found, "kgw_cluster_heartbeat_age_seconds", "node")), {one, two})
        self.assertEqual(value(found, "kafka_server_replicamanager_leadercount"), led)
        self.assertGreater(value(found, "kgw_cluster_lease_seconds"), 5)
        self.assertEqual(value(found, "kgw_cluster_fences_total"), 0)
        self.assertEqual(rows(found, "kafka_broker_info", "address"), {"gw0:9092": 1, "gw1:9092": 1})
        self.web.gateway.services.cluster = self.second.cluster
        found = parse(render(self.web.gateway))
        self.assertEqual(value(found, "kafka_controller_kafkacontroller_activecontrollercount"), 0)

    def test_prompt(self) -> None:
        """The same as a table."""
        names = Names(self.web.gateway, lambda line: None, lambda: True, InlineBridge())
        table = names.brokers()
        self.assertEqual(
            [row[1:4] for row in table.rows], [("gw0:9092", "a", "this one, controller"), ("gw1:9092", "b", "")]
        )
        self.assertEqual(sum(int(str(row[4])) for row in table.rows), 5)


class AloneTests(SynchronousTestCase):
    """The same of a gateway that has an engine of its own."""

    def test_pages(self) -> None:
        """It leads everything, and there is nothing to tell of a cluster."""
        web = WebStage(self, node_id="7")
        page = web.get("/api/brokers")
        (node,) = page["brokers"]
        self.assertEqual((page["lease_seconds"], page["fences"], page["unled_partitions"]), (None, 0, 0))
        self.assertEqual((node["partitions_led"], node["group_slots"], node["controller"]), (None, None, True))
        self.successResultOf(web.gateway.services.topics.create(NewTopic("orders", 3)))
        found = parse(render(web.gateway))
        self.assertEqual(value(found, "kafka_server_replicamanager_leadercount"), 3)
        self.assertFalse([name for name, _ in found if name.startswith("kgw_cluster")])
        (row,) = Names(web.gateway, lambda line: None, lambda: True, InlineBridge()).brokers().rows
        self.assertEqual(row[:6], (7, "as it was reached", None, "this one, controller", "all", "all"))


class Two(Cluster):
    """
    This node and another one.

    @ivar led: by whom the partitions of all topics are led.
    """

    def __init__(self) -> None:
        super().__init__("stageStageStageStage01", 1, None, {})
        self.led = [1, 2]
        self.live = [1, 2]

    def node_ids(self) -> list[int]:
        return self.live

    def leader(self, topic: Topic, index: int) -> Leader:
        return Leader(self.led[index], 0)


class Overtaken(TopicCatalog):
    """Somebody else is always sooner to extend a topic."""

    def extend(self, name: str, count: int, *args: object, **named: object) -> Deferred[Topic]:
        super().extend(name, count)
        return super().extend(name, count)


class ReadinessTests(SynchronousTestCase):
    """Whether a gateway that is one of several is ready."""

    def setUp(self) -> None:
        self.stage = Stage(self)
        self.cluster = self.stage.services.cluster = Two()
        self.readiness = Readiness(self.stage.services, self.stage.store)

    def reasons(self) -> dict[str, str]:
        self.stage.clock.advance(10)
        report = self.successResultOf(Deferred.fromCoroutine(self.readiness.report()))
        return {name: finding.reason for name, finding in report.items() if not finding.ok}

    def records(self) -> list[int]:
        """In each partition of the health topic."""
        topic = self.stage.topics.get(HEALTH_TOPIC)
        assert topic is not None
        logs = [self.stage.engine.partition(HEALTH_TOPIC, index) for index in range(topic.partitions)]
        return [self.successResultOf(log.bounds()).high_watermark for log in logs]

    def test_a_partition_each(self) -> None:
        """The health topic has as many as there are nodes, and each writes to its own."""
        self.assertEqual(self.reasons(), {})
        self.assertEqual(self.records(), [1, 0])
        self.cluster.led = [2, 1]
        self.assertEqual(self.reasons(), {})
        self.assertEqual(self.records(), [1, 1])

    def test_leading_none_of_it(self) -> None:
        """A node that has just come, or is about to go, is ready: it answers who leads, and takes what it is given."""
        self.cluster.led = [2, 2]
        self.assertEqual(self.reasons(), {})
        self.assertEqual(self.records(), [0, 0])

    def test_out_of_the_cluster(self) -> None:
        """A node that was fenced is not."""
        self.cluster.live = [2]
        self.assertIn("not in the cluster", self.reasons()["engine"])

    def test_nobody_leads(self) -> None:
        """Nor is any while nothing is led."""
        self.cluster.led = [-1, -1]
        self.assertIn(ErrorCode.NOT_LEADER_OR_FOLLOWER.name, self.reasons()["engine"])

    def test_extended_by_another(self) -> None:
        """Two that see at a time that there are too few partitions do not disturb one another."""
        stage = self.stage
        catalog = Overtaken(stage.store, stage.engine, stage.config, 1)
        self.successResultOf(catalog.start())
        stage.services.topics = catalog
        self.assertEqual(self.reasons(), {})
