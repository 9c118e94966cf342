"""Configs altered through the clients' own admin interfaces: obeyed at once, and after a restart."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin import NewTopic as AioNewTopic
from aiokafka.admin.config_resource import ConfigResource as AioConfigResource
from aiokafka.admin.config_resource import ConfigResourceType as AioConfigResourceType
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ConfigSource,
    NewTopic,
    ResourceType,
)
from kafka.admin import ConfigResource as PythonConfigResource
from kafka.admin import ConfigResourceType, KafkaAdminClient

from kgw.test.live.clients import PATIENCE, Record, confluent_produce, librdkafka
from kgw.test.live.server import LiveTestCase

SET, DELETE, APPEND, SUBTRACT = AlterConfigOpType


def resource(kind: ResourceType, name: str, *changes: tuple[str, AlterConfigOpType, str | None]) -> ConfigResource:
    """Changes of one resource, as librdkafka takes them."""
    entries = [ConfigEntry(config, value, incremental_operation=operation) for config, operation, value in changes]
    return ConfigResource(kind, name, incremental_configs=entries)


class ConfluentCase(LiveTestCase):
    """librdkafka's admin client and producer."""

    def open(self, *options: str) -> None:
        """Start a gateway with one topic, C{t}."""
        self.server = self.serve(*options)
        self.connect()
        (future,) = self.admin.create_topics([NewTopic("t", 1, 1)]).values()
        future.result(15)

    def connect(self) -> None:
        """A client of its own for each life of the gateway: librdkafka's does not outlive a kill."""
        self.admin = AdminClient(librdkafka(self.server.bootstrap))

    def tearDown(self) -> None:
        if hasattr(self, "admin"):
            # it lives as long as something names it, and the test itself is kept
            del self.admin
        super().tearDown()

    def alter(self, *resources: ConfigResource) -> list[str]:
        """Alter them; the name of the error of each, empty where there is none."""
        futures = self.admin.incremental_alter_configs(list(resources))
        answers = []
        for one in resources:
            try:
                futures[one].result(15)
                answers.append("")
            except KafkaException as error:
                answers.append(str(error.args[0].name()))
        return answers

    def described(self, kind: ResourceType, name: str) -> dict[str, ConfigEntry]:
        (future,) = self.admin.describe_configs([ConfigResource(kind, name)]).values()
        entries: dict[str, ConfigEntry] = future.result(15)
        return entries

    def node(self) -> str:
        return str(next(iter(self.admin.list_topics(timeout=10).brokers)))

    def outcome(self, size: int) -> str:
        """What becomes of a record of so many bytes: the name of its error, or nothing."""
        outcomes: list[Any] = []
        producer = Producer(librdkafka(self.server.bootstrap, **{"message.max.bytes": 5_000_000}))
        producer.produce("t", b"x" * size, partition=0, on_delivery=lambda error, _: outcomes.append(error))
        self.assertEqual(producer.flush(15), 0)
        return outcomes[0].name() if outcomes[0] is not None else ""


class ConfluentTests(ConfluentCase):
    """What any engine does."""

    def test_topic(self) -> None:
        """A smaller max.message.bytes refuses the next large record, after a crash too; reset, it takes it again."""
        self.open()
        self.assertEqual(self.outcome(5000), "")
        small = ("max.message.bytes", SET, "1000")
        policy = ("retention.bytes", SET, "123456")
        self.assertEqual(self.alter(resource(ResourceType.TOPIC, "t", small, policy)), [""])
        self.assertEqual(self.outcome(5000), "MSG_SIZE_TOO_LARGE")
        self.assertEqual(self.outcome(500), "")
        entry = self.described(ResourceType.TOPIC, "t")["max.message.bytes"]
        self.assertEqual((entry.value, entry.source), ("1000", ConfigSource.DYNAMIC_TOPIC_CONFIG.value))
        del self.admin
        self.server.kill()
        self.server.start()
        self.connect()
        self.admin.list_topics(timeout=10)
        self.assertEqual(self.outcome(5000), "MSG_SIZE_TOO_LARGE")
        self.assertEqual(self.alter(resource(ResourceType.TOPIC, "t", ("max.message.bytes", DELETE, None))), [""])
        self.assertEqual(self.outcome(5000), "")
        self.assertEqual(self.described(ResourceType.TOPIC, "t")["retention.bytes"].value, "123456")

    def test_broker_defaults(self) -> None:
        """Topics obey an altered default of the broker at once, and after a restart."""
        self.open()
        node = self.node()
        self.assertEqual(self.alter(resource(ResourceType.BROKER, node, ("message.max.bytes", SET, "1000"))), [""])
        self.assertEqual(self.outcome(5000), "MSG_SIZE_TOO_LARGE")
        del self.admin
        self.assertEqual(self.server.terminate(), 0)
        self.server.start()
        self.connect()
        self.assertEqual(self.outcome(5000), "MSG_SIZE_TOO_LARGE")
        entry = self.described(ResourceType.TOPIC, "t")["max.message.bytes"]
        self.assertEqual((entry.value, entry.source), ("1000", ConfigSource.DYNAMIC_BROKER_CONFIG.value))
        self.assertEqual(self.alter(resource(ResourceType.BROKER, node, ("message.max.bytes", DELETE, None))), [""])
        self.assertEqual(self.outcome(5000), "")

    def bounds(self) -> tuple[int, int]:
        """First and next offset of the topic."""
        consumer = Consumer(librdkafka(self.server.bootstrap, group_id="bounds"))
        try:
            low, high = consumer.get_watermark_offsets(TopicPartition("t", 0), PATIENCE, False)
            return low, high
        finally:
            consumer.close()

    def write_old(self, count: int) -> None:
        """So many records of years ago, each with its own flush: SeaweedMQ keeps what is in its last file."""
        for _ in range(count):
            confluent_produce(self.server.bootstrap, "t", [Record(b"k", b"v", 1_700_000_000_000)], "none")

    def assertGoes(self, before: int) -> None:
        """Records up to C{before} are deleted soon."""
        until = time.monotonic() + PATIENCE
        while self.bounds()[0] < before:
            self.assertLess(time.monotonic(), until, self.bounds())
            time.sleep(0.1)

    def test_retention(self) -> None:
        """A shorter retention.ms deletes old records at once, and goes on after a crash."""
        self.open("--set", "log.retention.check.interval.ms=200", "--set", "log.retention.ms=-1")
        self.write_old(2)
        self.assertEqual(self.bounds(), (0, 2))
        self.assertEqual(self.alter(resource(ResourceType.TOPIC, "t", ("retention.ms", SET, "60000"))), [""])
        self.assertGoes(1)
        del self.admin
        self.server.kill()
        self.server.start()
        self.connect()
        self.write_old(2)
        self.assertEqual(self.bounds()[1], 4)
        self.assertGoes(3)

    def test_refusals(self) -> None:
        """Each resource for itself."""
        self.open()
        answers = self.alter(
            resource(ResourceType.TOPIC, "t", ("no.such", SET, "1")),
            resource(ResourceType.TOPIC, "missing", ("retention.ms", SET, "1")),
            resource(ResourceType.BROKER, self.node(), ("num.partitions", SET, "3")),
        )
        self.assertEqual(answers, ["INVALID_CONFIG", "UNKNOWN_TOPIC_OR_PART", "INVALID_REQUEST"])


class ConfluentLocalTests(ConfluentCase):
    """What no engine has a part in, or asks for what one has."""

    def test_lists(self) -> None:
        """Items are added to cleanup.policy and taken from it."""
        self.open()
        for operation, item, want in (
            (APPEND, "compact", "delete,compact"),
            (SUBTRACT, "delete", "compact"),
            (APPEND, "compact", "compact"),
        ):
            self.assertEqual(self.alter(resource(ResourceType.TOPIC, "t", ("cleanup.policy", operation, item))), [""])
            self.assertEqual(self.described(ResourceType.TOPIC, "t")["cleanup.policy"].value, want)

    def test_limit_of_connections(self) -> None:
        """From then on nobody else is let in, until the limit is lifted."""
        self.open()
        node = self.node()
        self.assertEqual(self.alter(resource(ResourceType.BROKER, node, ("max.connections", SET, "1"))), [""])
        with socket.create_connection(("127.0.0.1", self.server.port), 10) as refused:
            self.assertEqual(refused.recv(1), b"")
        self.assertEqual(self.alter(resource(ResourceType.BROKER, node, ("max.connections", DELETE, None))), [""])
        self.assertEqual(self.outcome(10), "")


class KafkaPythonTests(LiveTestCase):
    """kafka-python's admin client."""

    def test_alter(self) -> None:
        """Both APIs, a topic, the broker and a group."""
        server = self.serve()
        admin = KafkaAdminClient(bootstrap_servers=server.bootstrap)
        self.addCleanup(admin.close)
        admin.create_topics({"t": {"num_partitions": 1, "replication_factor": 1}})

        def own(kind: ConfigResourceType, name: str) -> dict[str, str]:
            (found,) = admin.describe_configs([PythonConfigResource(kind, name)]).values()
            return {config: row["value"] for config, row in found[name].items()}

        topic, broker, group = ConfigResourceType.TOPIC, ConfigResourceType.BROKER, ConfigResourceType.GROUP
        for incremental in (True, False):
            configs = {"retention.ms": "60000" if incremental else "70000"}
            admin.alter_configs([PythonConfigResource(topic, "t", configs=configs)], incremental=incremental)
            self.assertEqual(own(topic, "t"), configs)
        session = {"consumer.session.timeout.ms": "50000"}
        admin.alter_configs([PythonConfigResource(group, "g", configs=session)])
        self.assertEqual(own(group, "g"), session)
        node = str(admin.describe_cluster()["controller_id"])
        admin.alter_configs([PythonConfigResource(broker, node, configs={"log.retention.ms": "80000"})])
        self.assertEqual(own(broker, node)["log.retention.ms"], "80000")
        self.assertEqual(admin.list_config_resources(), {"topic": ["t"], "broker": [node], "group": ["g"]})


class AiokafkaTests(LiveTestCase):
    """aiokafka's admin client."""

    def test_alter(self) -> None:
        """A topic's configs, all at once."""
        asyncio.run(self.alter(self.serve().bootstrap))

    async def alter(self, bootstrap: str) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        await admin.start()
        try:
            await admin.create_topics([AioNewTopic("t", 1, 1)])
            asked = AioConfigResource(AioConfigResourceType.TOPIC, "t", configs={"retention.ms": "60000"})
            (answer,) = [row for each in await admin.alter_configs([asked]) for row in each.resources]
            self.assertEqual(answer[0], 0)
            (told,) = await admin.describe_configs([AioConfigResource(AioConfigResourceType.TOPIC, "t")])
            self.assertEqual({row[0]: row[1] for row in told.resources[0][4]}["retention.ms"], "60000")
        finally:
            await admin.close()


class SeaweedTests(ConfluentTests):
    """The same with SeaweedMQ as the engine."""

    engine = "seaweedmq"

    def test_compaction_is_refused(self) -> None:
        """In words that say what to do instead, for topics that are there and new ones."""
        self.open()
        row = resource(ResourceType.TOPIC, "t", ("cleanup.policy", SET, "compact"))
        (future,) = self.admin.incremental_alter_configs([row]).values()
        error = self.assertRaises(KafkaException, future.result, 15).args[0]
        self.assertEqual(error.name(), "INVALID_CONFIG")
        self.assertIn("use cleanup.policy=delete", error.str())
        (future,) = self.admin.create_topics([NewTopic("u", 1, 1, config={"cleanup.policy": "compact"})]).values()
        error = self.assertRaises(KafkaException, future.result, 15).args[0]
        self.assertEqual(error.name(), "INVALID_CONFIG")


class SeaweedKafkaPythonTests(KafkaPythonTests):
    """The same with SeaweedMQ as the engine."""

    engine = "seaweedmq"


class SeaweedAiokafkaTests(AiokafkaTests):
    """The same with SeaweedMQ as the engine."""

    engine = "seaweedmq"
