"""The page that Prometheus reads: what it says, how long it may get, and that what is drawn from it is there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

import kgw
from kgw.gateway import Gateway
from kgw.group_model import Caller, CommitRequest, CommittedOffset
from kgw.model import NewTopic
from kgw.test.builders import EPOCH_MS, batch
from kgw.test.pages import page as docs_page
from kgw.test.web_stage import WebStage
from kgw.testing import start_gateway
from kgw.web.families import FAMILIES, page
from kgw.web.metrics_page import render, render_in_turns

_PACKAGE = Path(kgw.__file__).parent
#: In the checkout, or within the package once it is installed.
_DOCKER = next(path for path in (_PACKAGE.parent / "docker", _PACKAGE / "docker") if (path / "grafana").exists())
_NAME = re.compile(r"\b(?:kafka|kgw|process)_[a-z0-9_]+")

Labels = frozenset[tuple[str, str]]
Found = dict[tuple[str, Labels], float]


def parse(text: bytes) -> Found:
    """All samples by name and labels; a name whose heading comes twice is an error."""
    found: Found = {}
    headings = [line.split()[2] for line in text.decode().splitlines() if line.startswith("# TYPE")]
    assert len(headings) == len(set(headings)), "a metric is there twice"
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in found, key
            found[key] = sample.value
    return found


def value(found: Found, name: str, **labels: str) -> float:
    """One sample."""
    return found[name, frozenset(labels.items())]


def rows(found: Found, name: str, label: str) -> dict[str, float]:
    """The samples of a metric that have a label, by its value."""
    return {
        dict(labels)[label]: value for (one, labels), value in found.items() if one == name and label in dict(labels)
    }


class DocumentTests(SynchronousTestCase):
    """What people read, and what draws and warns."""

    def test_page(self) -> None:
        """It is printed by C{python -m kgw.web --metrics > docs/metrics.md}."""
        self.assertEqual(docs_page("metrics.md").splitlines(), list(page()))

    def test_meanings(self) -> None:
        """Every metric has a sentence, a kind that Prometheus knows, and the ending its kind asks for."""
        for family in FAMILIES.values():
            self.assertTrue(family.meaning.endswith("."), family.name)
            self.assertIn(family.kind, ("counter", "gauge", "histogram"))
            self.assertEqual(family.name.endswith("_total"), family.kind == "counter", family.name)

    def names_in(self, texts: Iterable[str]) -> set[str]:
        """Metrics that expressions ask for, without what a histogram adds to its name."""
        found = {name for text in texts for name in _NAME.findall(text)}
        return {re.sub(r"_(bucket|sum|count)$", "", name) if name not in FAMILIES else name for name in found}

    def assertExist(self, names: set[str]) -> None:
        """Each is ours, or prometheus_client's."""
        text = render(WebStage(self).gateway).decode()
        theirs = set(re.findall(r"^# TYPE (process_\S+)", text, re.MULTILINE))
        self.assertEqual(names - FAMILIES.keys() - theirs, set())

    def test_dashboard(self) -> None:
        """Grafana's panels and variables ask for metrics that exist, and most of ours are drawn."""
        board = json.loads((_DOCKER / "grafana" / "kgw.json").read_text("utf-8"))
        texts = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
        texts += [variable["query"]["query"] for variable in board["templating"]["list"] if variable["type"] == "query"]
        names = self.names_in(texts)
        self.assertGreater(len(names), 30)
        self.assertExist(names)
        ids = [panel["id"] for panel in board["panels"]]
        self.assertEqual(len(ids), len(set(ids)))

    def test_alerts(self) -> None:
        """The rules ask for metrics that exist."""
        text = (_DOCKER / "prometheus" / "alerts.yaml").read_text("utf-8")
        names = self.names_in(re.findall(r"expr:((?:.|\n)*?)\n        (?:for|labels):", text))
        self.assertGreater(len(names), 10)
        self.assertExist(names)


def work(bootstrap: str) -> Producer:
    """Seven records in two topics, four of them read, one of these committed; the producer is still connected."""
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0, "client.id": "metrics"})
    for topic, count in (("orders", 4), ("payments", 3)):
        for number in range(count):
            producer.produce(topic, b"%d" % number, partition=0)
            assert producer.flush(10) == 0
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "readers", "enable.auto.commit": False})
    consumer.assign([TopicPartition("orders", 0, 0)])
    for _ in range(4):
        message = consumer.poll(10)
        assert message is not None
        assert message.error() is None
    consumer.commit(offsets=[TopicPartition("orders", 0, 1)], asynchronous=False)
    consumer.close()
    return producer


class ClientTests(TestCase):
    """What real clients did is what the page says."""

    async def check(self, **options: Any) -> None:
        """Do some work, and read about it."""
        running = await start_gateway(reactor, {"kgw.metrics.spelling": "both"}, **options)
        try:
            producer = await deferToThread(work, running.bootstrap)
            text = await render_in_turns(running.gateway, running.gateway.services.clock)
            del producer
        finally:
            await running.stop()
        found = parse(text)
        prefix = "kafka_server_brokertopicmetrics_"
        for name in ("messagesin", "messagesinpersec"):
            self.assertEqual(value(found, f"{prefix}{name}_total"), 7)
            self.assertEqual(rows(found, f"{prefix}{name}_total", "topic"), {"orders": 4, "payments": 3})
        size = value(found, "kafka_log_log_size", topic="orders", partition="0")
        self.assertEqual(value(found, f"{prefix}bytesin_total", topic="orders"), size)
        self.assertEqual(value(found, f"{prefix}bytesout_total", topic="orders"), size)
        self.assertEqual(rows(found, f"{prefix}totalproducerequests_total", "topic"), {"orders": 4, "payments": 3})
        self.assertGreaterEqual(value(found, f"{prefix}totalfetchrequests_total", topic="orders"), 1)
        self.assertEqual(value(found, f"{prefix}failedproducerequests_total"), 0)
        self.assertEqual(rows(found, "kafka_topic_partition_current_offset", "topic"), {"orders": 4, "payments": 3})
        place = {"consumergroup": "readers", "topic": "orders"}
        self.assertEqual(value(found, "kafka_consumergroup_current_offset", **place, partition="0"), 1)
        self.assertEqual(value(found, "kafka_consumergroup_lag", **place, partition="0"), 3)
        self.assertEqual(value(found, "kafka_consumergroup_lag_sum", **place), 3)
        produced = sum(
            count
            for (name, labels), count in found.items()
            if name == "kgw_request_seconds_count" and ("api", "Produce") in labels
        )
        self.assertEqual(produced, 7)
        self.assertTrue(any("rdkafka" in version for version in rows(found, "kgw_clients", "software_version")))
        self.assertGreater(value(found, "kafka_server_socket_server_metrics_incoming_byte_total"), 500)
        self.assertGreater(value(found, "kafka_server_socket_server_metrics_outgoing_byte_total"), size)
        self.assertEqual(value(found, "kgw_partitions_offline"), 0)
        self.assertGreater(value(found, "process_cpu_seconds_total"), 0)

    async def test_memory(self) -> None:
        """With logs in memory."""
        await self.check()

    async def test_local(self) -> None:
        """With logs on the disk."""
        await self.check(durable=True)


class BoundTests(SynchronousTestCase):
    """The page has an end, however much there is."""

    def gateway(self, topics: int, **properties: str) -> Gateway:
        """A gateway with so many topics of two partitions, with a record in each first one."""
        stage = WebStage(
            self, True, **{f"kgw.metrics.{name.replace('_', '.')}": text for name, text in properties.items()}
        )
        services = stage.gateway.services
        for number in range(topics):
            name = f"t{number}"
            self.successResultOf(services.topics.create(NewTopic(name, 2)))
            self.successResultOf(services.logs.partition(name, 0).append(batch(EPOCH_MS)))
            services.metrics.topics.of(name).messages_in += 1
        self.stage = stage
        return stage.gateway

    def test_topics(self) -> None:
        """Topics above the bound share a row, which no topic can have as its name."""
        found = parse(render(self.gateway(5, max_topics="2")))
        counts = rows(found, "kafka_server_brokertopicmetrics_messagesin_total", "topic")
        self.assertEqual((sum(counts.values()), len(counts), counts["(other)"]), (5, 3, 3))
        self.assertEqual(value(found, "kafka_server_brokertopicmetrics_messagesin_total"), 5)
        self.assertEqual(rows(found, "kafka_topic_partitions", "topic"), {"t0": 2, "t1": 2, "(other)": 6})
        self.assertEqual(value(found, "kafka_server_replicamanager_partitioncount"), 10)

    def test_partitions(self) -> None:
        """There are rows for whole topics only."""
        found = parse(render(self.gateway(4, max_partitions="5")))
        self.assertEqual(set(rows(found, "kafka_topic_partition_current_offset", "topic")), {"t0", "t1"})

    def test_groups(self) -> None:
        """Groups above the bound have no rows, and are counted by their state."""
        gateway = self.gateway(1, max_groups="2")
        for name in ("a", "b", "c"):
            offsets = {("t0", 0): CommittedOffset(0), ("gone", 0): CommittedOffset(7)}
            request = CommitRequest(name, -1, "", None, offsets, Caller("c", "/h"))
            committing = gateway.services.groups.commit(request)
            self.stage.reactor.advance(0)
            self.successResultOf(committing)
        found = parse(render(gateway))
        self.assertEqual(value(found, "kgw_consumergroups", state="Empty"), 3)
        self.assertEqual(rows(found, "kafka_consumergroup_members", "consumergroup"), {"a": 0, "b": 0})
        self.assertEqual(value(found, "kafka_consumergroup_lag_sum", consumergroup="a", topic="t0"), 1)
        self.assertNotIn("gone", rows(found, "kafka_consumergroup_lag", "topic"))
        self.assertIn("gone", rows(found, "kafka_consumergroup_current_offset", "topic"))

    def commit(self, group: str) -> None:
        """Have a group that has committed an offset of the first topic."""
        request = CommitRequest(group, -1, "", None, {("t0", 0): CommittedOffset(0)}, Caller("c", "/h"))
        committing = self.stage.gateway.services.groups.commit(request)
        self.stage.reactor.advance(0)
        self.successResultOf(committing)

    def test_strange_names(self) -> None:
        """Whatever a client calls its group is text of one label."""
        gateway = self.gateway(1)
        names = {'a"} 1\nkgw_build_info{x="', "back\\slash", "€ \x00\x1b[31m", "{}"}
        for name in names:
            self.commit(name)
        found = parse(render(gateway))
        self.assertEqual(set(rows(found, "kafka_consumergroup_members", "consumergroup")), names)

    def test_long_names(self) -> None:
        """A group whose name is longer than any person's would fill the page, and has no rows."""
        gateway = self.gateway(1, max_groups="2")
        for name in ("a" * 20_000, "b", "c" * 500):
            self.commit(name)
        found = parse(render(gateway))
        names = rows(found, "kafka_consumergroup_members", "consumergroup")
        self.assertEqual([len(name) for name in names], [1, 500])
        self.assertEqual(value(found, "kgw_consumergroups", state="Empty"), 3)

    def test_other_topics_go_on(self) -> None:
        """What was counted together stays where it is when one of the others is deleted."""
        gateway = self.gateway(3, max_topics="2")
        self.successResultOf(gateway.services.topics.delete("t0"))
        counts = rows(parse(render(gateway)), "kafka_server_brokertopicmetrics_messagesin_total", "topic")
        self.assertEqual(counts, {"t1": 1, "(other)": 1})

    def test_labels(self) -> None:
        """Every row has the labels that the page about metrics promises."""
        for name, labels in parse(render(self.gateway(2))):
            family = FAMILIES.get(name) or FAMILIES.get(re.sub(r"_(bucket|sum|count)$", "", name))
            if family is not None:
                self.assertLessEqual({label for label, _ in labels} - {"le"}, set(family.labels), name)
            else:
                self.assertTrue(name.startswith("process_"), name)

    def test_in_turns(self) -> None:
        """Others get their turn while it is made, and the page is the same."""
        gateway = self.gateway(400)
        expected = parse(render(gateway))
        making: Deferred[bytes] = render_in_turns(gateway, self.stage.reactor)
        self.assertNoResult(making)
        for _ in range(50):
            self.stage.reactor.advance(0)
        found = parse(self.successResultOf(making))
        theirs = {key for key in expected if key[0].startswith("process_")}
        self.assertEqual(
            {key: number for key, number in found.items() if key not in theirs},
            {key: number for key, number in expected.items() if key not in theirs},
        )
