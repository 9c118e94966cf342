"""Topics created, described, extended, trimmed and deleted through the clients' own admin interfaces."""

from __future__ import annotations

import asyncio
from typing import Any

import kafka
from aiokafka import TopicPartition as AioTopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.admin import NewPartitions as AioNewPartitions
from aiokafka.admin import NewTopic as AioNewTopic
from aiokafka.admin.config_resource import ConfigResource as AioConfigResource
from aiokafka.admin.config_resource import ConfigResourceType as AioConfigResourceType
from confluent_kafka import Consumer, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewPartitions, NewTopic, OffsetSpec, ResourceType
from kafka.admin import ConfigResource as PythonConfigResource
from kafka.admin import ConfigResourceType, KafkaAdminClient

from kgw.test.live.clients import Record, confluent_consume, confluent_produce, librdkafka
from kgw.test.live.server import GatewayProcess, LiveTestCase

STAMP = 1_700_000_000_000
TEN = [Record(None, b"%d" % number, STAMP + number) for number in range(10)]


class ConfluentAdminTests(LiveTestCase):
    """librdkafka's admin client."""

    def setUp(self) -> None:
        super().setUp()
        self.server = self.serve("--set", "auto.create.topics.enable=false")
        self.admin = AdminClient(librdkafka(self.server.bootstrap))
        # it lives as long as something names it, and the test itself is kept
        self.addCleanup(delattr, self, "admin")

    def done(self, futures: dict[Any, Any]) -> Any:
        """The results of an admin call that names one thing."""
        (future,) = futures.values()
        return future.result(15)

    def create(self, name: str, partitions: int = 1, **configs: str) -> None:
        self.done(
            self.admin.create_topics(
                [NewTopic(name, partitions, 1, config={key.replace("_", "."): v for key, v in configs.items()})]
            )
        )

    def error(self, futures: dict[Any, Any]) -> str:
        """The name of Kafka's error that an admin call ends with."""
        raised = self.assertRaises(KafkaException, self.done, futures)
        return str(raised.args[0].name())

    def test_create_describe_extend_delete(self) -> None:
        """A topic's life, as others see it."""
        self.create("t", 3)
        self.assertEqual(sorted(self.admin.list_topics(timeout=10).topics["t"].partitions), [0, 1, 2])
        described = self.done(self.admin.describe_topics(TopicCollection(["t"])))
        self.assertEqual((described.name, described.is_internal, len(described.partitions)), ("t", False, 3))
        for partition in described.partitions:
            self.assertEqual([node.id for node in partition.isr], [partition.leader.id])
            self.assertEqual((partition.leader.host, partition.leader.port), ("127.0.0.1", self.server.port))
        self.done(self.admin.create_partitions([NewPartitions("t", 5)]))
        self.assertEqual(len(self.admin.list_topics(timeout=10).topics["t"].partitions), 5)
        again = self.done(self.admin.describe_topics(TopicCollection(["t"])))
        self.assertEqual(str(again.topic_id), str(described.topic_id))
        self.done(self.admin.delete_topics(["t"]))
        self.assertNotIn("t", self.admin.list_topics(timeout=10).topics)
        self.create("t")
        born_again = self.done(self.admin.describe_topics(TopicCollection(["t"])))
        self.assertNotEqual(str(born_again.topic_id), str(described.topic_id))

    def test_refusals(self) -> None:
        """What cannot be done is refused with Kafka's error."""
        self.create("t", 2)
        self.assertEqual(self.error(self.admin.create_topics([NewTopic("t", 1, 1)])), "TOPIC_ALREADY_EXISTS")
        self.assertEqual(self.error(self.admin.create_topics([NewTopic("a/b", 1, 1)])), "TOPIC_EXCEPTION")
        self.assertEqual(self.error(self.admin.create_topics([NewTopic("u", 0, 1)])), "INVALID_PARTITIONS")
        bad = [NewTopic("u", 1, 1, config={"no.such.config": "1"})]
        self.assertEqual(self.error(self.admin.create_topics(bad)), "INVALID_CONFIG")
        self.assertEqual(self.error(self.admin.create_partitions([NewPartitions("t", 2)])), "INVALID_PARTITIONS")
        self.assertEqual(self.error(self.admin.delete_topics(["u"])), "UNKNOWN_TOPIC_OR_PART")
        beyond = [TopicPartition("t", 0, 7)]
        self.assertEqual(self.error(self.admin.delete_records(beyond)), "OFFSET_OUT_OF_RANGE")

    def test_validate_only(self) -> None:
        """A dry run says yes or no and changes nothing."""
        self.done(self.admin.create_topics([NewTopic("dry", 1, 1)], validate_only=True))
        self.assertNotIn("dry", self.admin.list_topics(timeout=10).topics)
        self.create("wet")
        self.done(self.admin.create_partitions([NewPartitions("wet", 4)], validate_only=True))
        self.assertEqual(len(self.admin.list_topics(timeout=10).topics["wet"].partitions), 1)

    def test_configs(self) -> None:
        """A topic's own configs are stored and survive a crash; all others are there with where they come from."""
        self.create("t", 1, retention_ms="86400000", compression_type="lz4")
        for _ in range(2):
            configs = self.done(self.admin.describe_configs([ConfigResource(ResourceType.TOPIC, "t")]))
            self.assertEqual(configs["retention.ms"].value, "86400000")
            self.assertEqual(configs["compression.type"].value, "lz4")
            self.assertFalse(configs["retention.ms"].is_default)
            self.assertEqual(configs["max.message.bytes"].value, "1048588")
            self.assertTrue(configs["max.message.bytes"].is_default)
            self.server.kill()
            self.server.start()
        node = str(next(iter(self.admin.list_topics(timeout=10).brokers)))
        broker = self.done(self.admin.describe_configs([ConfigResource(ResourceType.BROKER, node)]))
        self.assertEqual(broker["num.partitions"].value, "1")
        self.assertEqual(broker["auto.create.topics.enable"].value, "false")

    def test_trim(self) -> None:
        """Deleted records are gone for all, from then on and after a restart."""
        self.create("t")
        confluent_produce(self.server.bootstrap, "t", TEN, "none")
        trimmed = self.done(self.admin.delete_records([TopicPartition("t", 0, 4)]))
        self.assertEqual(trimmed.low_watermark, 4)
        for _ in range(2):
            found = confluent_consume(self.server.bootstrap, "t", 6)
            self.assertEqual([record.offset for record in found], list(range(4, 10)))
            first = self.done(self.admin.list_offsets({TopicPartition("t", 0): OffsetSpec.earliest()}))
            self.assertEqual(first.offset, 4)
            self.assertEqual(self.server.terminate(), 0)
            self.server.start()
            # with no connection librdkafka says that there is no leader, without asking anybody
            self.admin.list_topics(timeout=10)
        self.assertEqual(self.done(self.admin.delete_records([TopicPartition("t", 0, -1)])).low_watermark, 10)

    def test_offsets(self) -> None:
        """First, last, by time and the one with the largest timestamp."""
        self.create("t")
        confluent_produce(self.server.bootstrap, "t", [*TEN, Record(None, b"late", STAMP + 5)], "none")

        def offset(spec: OffsetSpec) -> int:
            return int(self.done(self.admin.list_offsets({TopicPartition("t", 0): spec})).offset)

        self.assertEqual(offset(OffsetSpec.earliest()), 0)
        self.assertEqual(offset(OffsetSpec.latest()), 11)
        self.assertEqual(offset(OffsetSpec.for_timestamp(STAMP + 3)), 3)
        self.assertEqual(offset(OffsetSpec.for_timestamp(STAMP + 60)), -1)
        self.assertEqual(offset(OffsetSpec.max_timestamp()), 9)
        consumer = Consumer(librdkafka(self.server.bootstrap, group_id="unused"))
        self.addCleanup(consumer.close)
        self.assertEqual(consumer.get_watermark_offsets(TopicPartition("t", 0), 10), (0, 11))
        (found,) = consumer.offsets_for_times([TopicPartition("t", 0, STAMP + 7)], 10)
        self.assertEqual(found.offset, 7)

    def test_cluster(self) -> None:
        """One node, which is the controller, at the address clients came to."""
        cluster = self.admin.describe_cluster().result(10)
        self.assertEqual(len(cluster.cluster_id), 22)
        self.assertEqual([(n.host, n.port) for n in cluster.nodes], [("127.0.0.1", self.server.port)])
        self.assertEqual(cluster.controller.id, cluster.nodes[0].id)

    def test_no_auto_creation(self) -> None:
        """Where the server does not allow it, nobody's metadata request makes a topic."""
        self.assertIsNotNone(self.admin.list_topics("ghost", timeout=10).topics["ghost"].error)
        self.assertNotIn("ghost", self.admin.list_topics(timeout=10).topics)


class KafkaPythonAdminTests(LiveTestCase):
    """kafka-python's admin client."""

    def test_life_of_a_topic(self) -> None:
        """Created, described, extended, trimmed, deleted."""
        server = self.serve()
        admin = KafkaAdminClient(bootstrap_servers=server.bootstrap)
        self.addCleanup(admin.close)
        admin.create_topics(
            {"t": {"num_partitions": 2, "replication_factor": 1, "configs": {"retention.ms": "1000000"}}}
        )
        self.assertIn("t", admin.list_topics())
        (topic,) = admin.describe_topics(["t"])
        self.assertEqual(sorted(p["partition_index"] for p in topic["partitions"]), [0, 1])
        self.assertEqual({p["leader_id"] for p in topic["partitions"]}, {admin.describe_cluster()["controller_id"]})
        configs = admin.describe_configs([PythonConfigResource(ConfigResourceType.TOPIC, "t")])
        own = configs["topic"]["t"]
        self.assertEqual({name: row["value"] for name, row in own.items()}, {"retention.ms": "1000000"})
        admin.create_partitions({"t": 3})
        self.assertEqual(len(admin.describe_topics(["t"])[0]["partitions"]), 3)
        confluent_produce(server.bootstrap, "t", TEN, "none")
        where = kafka.TopicPartition("t", 0)
        admin.delete_records({where: 6})
        consumer = kafka.KafkaConsumer(bootstrap_servers=server.bootstrap)
        self.addCleanup(consumer.close)
        self.assertEqual(consumer.beginning_offsets([where]), {where: 6})
        self.assertEqual(consumer.end_offsets([where]), {where: 10})
        self.assertEqual(consumer.offsets_for_times({where: STAMP + 8})[where].offset, 8)
        admin.delete_topics(["t"])
        self.assertNotIn("t", admin.list_topics())


class AiokafkaAdminTests(LiveTestCase):
    """aiokafka's admin client."""

    def test_life_of_a_topic(self) -> None:
        """Created, described, extended, trimmed, deleted."""
        server = self.serve()
        asyncio.run(self.life(server))

    async def life(self, server: GatewayProcess) -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=server.bootstrap)
        await admin.start()
        try:
            await admin.create_topics([AioNewTopic("t", 2, 1, topic_configs={"retention.ms": "1000000"})])
            self.assertIn("t", await admin.list_topics())
            (topic,) = await admin.describe_topics(["t"])
            self.assertEqual(sorted(p["partition"] for p in topic["partitions"]), [0, 1])
            self.assertEqual(
                [(b["host"], b["port"]) for b in (await admin.describe_cluster())["brokers"]],
                [("127.0.0.1", server.port)],
            )
            (answer,) = await admin.describe_configs([AioConfigResource(AioConfigResourceType.TOPIC, "t")])
            self.assertEqual({row[0]: row[1] for row in answer.resources[0][4]}["retention.ms"], "1000000")
            await admin.create_partitions({"t": AioNewPartitions(3)})
            self.assertEqual(len((await admin.describe_topics(["t"]))[0]["partitions"]), 3)
            confluent_produce(server.bootstrap, "t", TEN, "none")
            where = AioTopicPartition("t", 0)
            self.assertEqual(await admin.delete_records({where: RecordsToDelete(5)}), {where: 5})
            self.assertEqual(confluent_consume(server.bootstrap, "t", 5)[0].offset, 5)
            await admin.delete_topics(["t"])
            self.assertNotIn("t", await admin.list_topics())
        finally:
            await admin.close()


class AutoCreationTests(LiveTestCase):
    """Topics that come to be by being written to."""

    def test_partitions_from_config(self) -> None:
        """The first record makes the topic, with C{num.partitions} partitions."""
        server = self.serve("--set", "num.partitions=4")
        confluent_produce(server.bootstrap, "new", TEN, "none")
        topics = AdminClient(librdkafka(server.bootstrap)).list_topics(timeout=10).topics
        self.assertEqual(len(topics["new"].partitions), 4)

    def test_consumers_do_not_create(self) -> None:
        """A client that does not allow it (KIP-361) makes no topic by looking for one."""
        server = self.serve()
        consumer = Consumer(librdkafka(server.bootstrap, group_id="unused"))
        self.addCleanup(consumer.close)
        self.assertIsNotNone(consumer.list_topics("ghost", 10).topics["ghost"].error)
        self.assertEqual(list(consumer.list_topics(timeout=10).topics), [])
