"""Groups and their offsets through the clients' admin interfaces: listed, described, moved, deleted; and their lag."""

from __future__ import annotations

import shutil
import subprocess
from typing import Any

import confluent_kafka
import kafka
from confluent_kafka import (
    ConsumerGroupState,
    ConsumerGroupTopicPartitions,
    ConsumerGroupType,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType
from kafka.admin import KafkaAdminClient, MemberToRemove
from kafka.errors import NoError, UnknownMemberIdError
from kafka.structs import OffsetAndMetadata

from kgw.test.live.clients import Record, confluent_produce, librdkafka
from kgw.test.live.server import GatewayProcess, LiveTestCase

STAMP = 1_700_000_000_000
TEN = [Record(None, b"%d" % number, STAMP + number) for number in range(10)]


class GroupAdminTestCase(LiveTestCase):
    """Ten records in C{t}-0, of which group C{g} has consumed four, with a member that is still there."""

    def setUp(self) -> None:
        super().setUp()
        self.server: GatewayProcess = self.serve("--set", "group.initial.rebalance.delay.ms=0")
        confluent_produce(self.server.bootstrap, "t", TEN, "none")

    def consumer(self, group: str = "g", **configs: Any) -> Any:
        """A member that has consumed and committed four records."""
        consumer = confluent_kafka.Consumer(
            librdkafka(
                self.server.bootstrap,
                group_id=group,
                client_id="reader",
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                **configs,
            )
        )
        consumer.subscribe(["t"])
        seen = 0
        while seen < 4:
            messages = consumer.consume(4 - seen, 20)
            self.assertTrue(messages)
            seen += len(messages)
        consumer.commit(offsets=[TopicPartition("t", 0, 4, "four", 0)], asynchronous=False)
        return consumer


class ConfluentTests(GroupAdminTestCase):
    """librdkafka's admin client."""

    def setUp(self) -> None:
        super().setUp()
        self.admin = AdminClient(librdkafka(self.server.bootstrap))
        self.addCleanup(delattr, self, "admin")

    def listed(self, **filters: Any) -> dict[str, tuple[Any, Any, bool]]:
        """State, type and whether it is a simple one, by group."""
        found = self.admin.list_consumer_groups(request_timeout=10, **filters).result()
        self.assertEqual(found.errors, [])
        return {one.group_id: (one.state, one.type, one.is_simple_consumer_group) for one in found.valid}

    def described(self, group: str) -> Any:
        """One group."""
        return self.admin.describe_consumer_groups([group], request_timeout=10)[group].result()

    def offsets(self, group: str, partitions: list[TopicPartition] | None = None) -> list[Any]:
        """Partition, offset, metadata of what is committed."""
        asked = [ConsumerGroupTopicPartitions(group, partitions)]
        found = self.admin.list_consumer_group_offsets(asked, request_timeout=10)[group].result()
        return [(one.topic, one.partition, one.offset, one.metadata or "") for one in found.topic_partitions]

    def test_list_and_describe(self) -> None:
        """States and types, and a member with its client id, its address and what it has."""
        consumer = self.consumer()
        self.addCleanup(consumer.close)
        classic = ConsumerGroupType.CLASSIC
        self.assertEqual(self.listed(), {"g": (ConsumerGroupState.STABLE, classic, False)})
        self.assertEqual(set(self.listed(states={ConsumerGroupState.STABLE})), {"g"})
        self.assertEqual(self.listed(states={ConsumerGroupState.EMPTY}), {})
        self.assertEqual(set(self.listed(types={classic})), {"g"})
        found = self.described("g")
        self.assertEqual((found.state, found.partition_assignor), (ConsumerGroupState.STABLE, "range"))
        cluster = self.admin.describe_cluster(request_timeout=10).result()
        self.assertEqual([found.coordinator.id], [node.id for node in cluster.nodes])
        (member,) = found.members
        self.assertEqual((member.client_id, member.host), ("reader", "/127.0.0.1"))
        self.assertEqual([(one.topic, one.partition) for one in member.assignment.topic_partitions], [("t", 0)])
        missing = self.admin.describe_consumer_groups(["nowhere"], request_timeout=10)["nowhere"].result()
        self.assertEqual((missing.state, missing.members), (ConsumerGroupState.DEAD, []))

    def test_offsets(self) -> None:
        """Listed, moved while nobody is there, and lag as the difference to the end."""
        consumer = self.consumer()
        self.assertEqual(self.offsets("g"), [("t", 0, 4, "four")])
        moved = [ConsumerGroupTopicPartitions("g", [TopicPartition("t", 0, 2)])]
        refused = self.admin.alter_consumer_group_offsets(moved, request_timeout=10)["g"].result()
        self.assertEqual(refused.topic_partitions[0].error.name(), "UNKNOWN_MEMBER_ID")
        consumer.close()
        done = self.admin.alter_consumer_group_offsets(moved, request_timeout=10)["g"].result()
        self.assertIsNone(done.topic_partitions[0].error)
        self.assertEqual(self.offsets("g", [TopicPartition("t", 0)]), [("t", 0, 2, "")])
        reader = confluent_kafka.Consumer(librdkafka(self.server.bootstrap, group_id="g"))
        self.addCleanup(reader.close)
        (committed,) = reader.committed([TopicPartition("t", 0)], 10)
        _, end = reader.get_watermark_offsets(TopicPartition("t", 0), 10)
        self.assertEqual(end - committed.offset, 8)

    def test_delete(self) -> None:
        """A group with members stays; an empty one goes, and its offsets with it."""
        consumer = self.consumer()
        refused = self.admin.delete_consumer_groups(["g"], request_timeout=10)["g"]
        self.assertIn("NON_EMPTY_GROUP", str(self.assertRaises(KafkaException, refused.result)))
        consumer.close()
        self.assertEqual(set(self.listed(states={ConsumerGroupState.EMPTY})), {"g"})
        self.admin.delete_consumer_groups(["g"], request_timeout=10)["g"].result()
        self.assertEqual(self.listed(), {})
        self.assertEqual(self.offsets("g"), [])
        again = self.admin.delete_consumer_groups(["g"], request_timeout=10)["g"]
        self.assertIn("GROUP_ID_NOT_FOUND", str(self.assertRaises(KafkaException, again.result)))

    def test_survives(self) -> None:
        """Groups and offsets are there after a crash; deleted ones are not."""
        self.consumer("a").close()
        self.consumer("b").close()
        self.admin.delete_consumer_groups(["b"], request_timeout=10)["b"].result()
        self.server.kill()
        self.server.start()
        # another client: librdkafka's asks a coordinator it remembers from before the crash nothing, and times out
        self.admin = AdminClient(librdkafka(self.server.bootstrap))
        self.assertEqual(set(self.listed()), {"a"})
        self.assertEqual(self.offsets("a"), [("t", 0, 4, "four")])
        self.assertEqual(self.offsets("b"), [])

    def test_a_deleted_topic(self) -> None:
        """Takes its offsets with it: a topic of that name starts anew."""
        self.consumer().close()
        for future in self.admin.delete_topics(["t"]).values():
            future.result(10)
        self.assertEqual(self.offsets("g"), [])
        confluent_produce(self.server.bootstrap, "t", TEN, "none")
        self.assertEqual(self.offsets("g", [TopicPartition("t", 0)])[0][2], confluent_kafka.OFFSET_INVALID)

    def test_configs(self) -> None:
        """librdkafka knows group configs too."""
        (found,) = self.admin.describe_configs([ConfigResource(ResourceType.GROUP, "g")]).values()
        self.assertEqual(found.result(10)["consumer.session.timeout.ms"].value, "45000")


class KafkaPythonTests(GroupAdminTestCase):
    """kafka-python's admin client."""

    def setUp(self) -> None:
        super().setUp()
        self.admin = KafkaAdminClient(bootstrap_servers=self.server.bootstrap)
        self.addCleanup(self.admin.close)

    def test_a_groups_life(self) -> None:
        """Listed, described, its offsets listed, moved, deleted, and the group deleted."""
        where = kafka.TopicPartition("t", 0)
        consumer = self.consumer()
        (row,) = self.admin.list_groups()
        self.assertEqual((row["group_id"], row["protocol_type"], row["group_state"]), ("g", "consumer", "Stable"))
        described = self.admin.describe_groups(["g"])["g"]
        self.assertEqual((described["group_state"], described["protocol_data"]), ("Stable", "range"))
        self.assertEqual(described["members"][0]["client_id"], "reader")
        self.assertEqual(self.offset(where), 4)
        self.assertEqual(self.admin.delete_groups(["g"])["g"], "NonEmptyGroupError")
        consumer.close()
        self.admin.alter_group_offsets("g", {where: OffsetAndMetadata(7, "seven", -1)})
        self.assertEqual(self.offset(where), 7)
        end = self.admin.list_partition_offsets({where: -1})[where].offset
        self.assertEqual(end - self.offset(where), 3)
        self.assertEqual(self.admin.delete_group_offsets("g", [where]), {where: NoError})
        self.assertEqual(self.offset(where), -1)
        self.admin.delete_groups(["g"])
        self.assertEqual(self.admin.list_groups(), [])
        self.assertEqual(self.admin.delete_groups(["g"])["g"], "GroupIdNotFoundError")

    def offset(self, where: Any) -> int:
        """The committed offset of a partition, -1 for none."""
        found = self.admin.list_group_offsets("g")["g"]
        return int(found[where].offset) if where in found else -1

    def test_remove_a_static_member(self) -> None:
        """An operator removes a static member that will not come back, by its instance id."""
        consumer = self.consumer(group_instance_id="one")
        # a static member that closes does not leave
        consumer.close()
        gone, unknown = MemberToRemove(group_instance_id="one"), MemberToRemove(group_instance_id="two")
        self.assertEqual(self.admin.describe_groups(["g"])["g"]["group_state"], "Stable")
        result = self.admin.remove_group_members("g", [gone, unknown])
        self.assertEqual(set(result.values()), {NoError, UnknownMemberIdError})
        self.assertEqual(self.admin.describe_groups(["g"])["g"]["group_state"], "Empty")


KCAT = shutil.which("kcat")

if KCAT is not None:

    class KcatTests(GroupAdminTestCase):
        """kcat -G, where it is installed."""

        def test_balanced_consumer(self) -> None:
            """It consumes all, commits, and a second run finds nothing more."""
            command = [str(KCAT), "-b", self.server.bootstrap, "-X", "auto.offset.reset=earliest", "-e"]
            command += ["-G", "shell", "t"]
            first = subprocess.run(command, capture_output=True, timeout=40, check=True)
            self.assertEqual(first.stdout.split(), [record.value for record in TEN])
            second = subprocess.run(command, capture_output=True, timeout=40, check=True)
            self.assertEqual(second.stdout, b"")
