"""What user interfaces ask a cluster, through the clients' own admin interfaces (aiokafka's has none of it)."""

from __future__ import annotations

from typing import Any

import confluent_kafka
import kafka
from confluent_kafka.admin import AdminClient, NewTopic
from kafka.admin import KafkaAdminClient
from kafka.errors import TransactionalIdNotFoundError

from kgw.test.live.clients import PATIENCE, librdkafka
from kgw.test.live.server import GatewayProcess, LiveTestCase


class KafkaPythonTests(LiveTestCase):
    """kafka-python's admin client."""

    def setUp(self) -> None:
        super().setUp()
        self.server = self.serve("--set", "auto.create.topics.enable=false")
        self.admin = self.client()

    def client(self) -> Any:
        """An admin client, closed with the test; one does not outlive its server."""
        admin = KafkaAdminClient(bootstrap_servers=self.server.bootstrap)
        self.addCleanup(admin.close)
        return admin

    def produce(self, count: int) -> None:
        """Write so many records of 1000 bytes with one new idempotent producer."""
        producer = confluent_kafka.Producer(librdkafka(self.server.bootstrap, enable_idempotence=True, acks="all"))
        for _ in range(count):
            producer.produce("orders", bytes(1000), partition=1)
        self.assertEqual(producer.flush(PATIENCE), 0)

    def log_dir(self) -> dict[str, Any]:
        """The only directory of the only broker."""
        (broker,) = self.admin.describe_log_dirs()
        (found,) = broker["log_dirs"]
        self.assertEqual(found["error_code"], 0)
        return dict(found)

    def sizes(self) -> dict[str, dict[int, int]]:
        """Bytes by topic and partition."""
        return {
            topic["name"]: {row["partition_index"]: row["partition_size"] for row in topic["partitions"]}
            for topic in self.log_dir()["topics"]
        }

    def check_place(self, server: GatewayProcess) -> None:
        """What is said of the directory itself."""
        found = self.log_dir()
        self.assertEqual(found["log_dir"], str(server.data))
        self.assertTrue(0 < found["usable_bytes"] <= found["total_bytes"])

    def test_log_dirs_and_producers(self) -> None:
        """Sizes grow with what is written; who wrote it is known, after a restart too."""
        self.admin.create_topics({"orders": {"num_partitions": 2, "replication_factor": 1}})
        self.check_place(self.server)
        self.assertEqual(self.sizes(), {"orders": {0: 0, 1: 0}})
        self.produce(10)
        first = self.sizes()["orders"]
        self.assertTrue(first[0] == 0 and 10_000 < first[1] < 12_000, first)
        self.produce(10)
        second = self.sizes()["orders"]
        self.assertTrue(20_000 < second[1] < 24_000, second)
        where = kafka.TopicPartition("orders", 1)
        for _ in range(2):
            producers = self.admin.describe_producers([where])[where].active_producers
            self.assertEqual([(one.producer_epoch, one.last_sequence) for one in producers], [(0, 9), (0, 9)])
            self.assertEqual({one.current_transaction_start_offset for one in producers}, {-1})
            self.assertEqual(self.server.terminate(), 0)
            self.server.start()
            self.admin = self.client()
        self.assertEqual(self.sizes()["orders"], second)

    def test_leaders_and_moves(self) -> None:
        """No election is needed, nothing moves, and nothing can be made to."""
        self.admin.create_topics({"orders": {"num_partitions": 2, "replication_factor": 1}})
        where = kafka.TopicPartition("orders", 1)
        for kind in (0, 1):
            elected = self.admin.elect_leaders(kind, {"orders": [0, 1]})
            codes = [row.error_code for topic in elected.replica_election_results for row in topic.partition_result]
            self.assertEqual(codes, [84, 84])
        self.assertEqual(dict(self.admin.list_partition_reassignments()), {})
        self.assertEqual(dict(self.admin.list_partition_reassignments({"orders": [0]})), {})
        node = self.admin.describe_cluster()["controller_id"]
        codes = []
        for replicas in ([node], [node + 1], None):
            answer = self.admin.alter_partition_reassignments({where: replicas})[where]
            codes.append(0 if answer is None else answer.errno)
        self.assertEqual(codes, [0, 39, 85])

    def test_quorum_transactions_and_features(self) -> None:
        """A quorum of one, no transactions, no features."""
        node = self.admin.describe_cluster()["controller_id"]
        quorum = self.admin.describe_metadata_quorum()
        (partition,) = quorum["topics"][0]["partitions"]
        self.assertEqual((partition["leader_id"], partition["error"]), (node, None))
        self.assertEqual([voter["replica_id"] for voter in partition["current_voters"]], [node])
        (listener,) = quorum["nodes"][0]["listeners"]
        self.assertEqual((listener["host"], listener["port"]), ("127.0.0.1", self.server.port))
        self.assertEqual(self.admin.list_transactions(), {node: []})
        self.assertEqual(self.admin.list_transactions(transactional_id_pattern="tx-.*"), {node: []})
        self.assertEqual(self.admin.find_hanging_transactions(), [])
        self.assertRaises(TransactionalIdNotFoundError, self.admin.describe_transactions, ["tx"])
        self.assertEqual(self.admin.describe_features(), {})
        error = self.assertRaises(kafka.errors.KafkaError, self.admin.update_features, {"metadata.version": 20})
        self.assertIn("InvalidUpdateVersion", type(error).__name__)
        self.assertEqual(self.admin.update_features({"metadata.version": 0}), {"metadata.version": "OK"})


class ConfluentTests(LiveTestCase):
    """librdkafka's admin client, which has elections only."""

    def test_elections(self) -> None:
        """None is needed; unknown partitions are told apart."""
        server = self.serve()
        admin = AdminClient(librdkafka(server.bootstrap))
        (created,) = admin.create_topics([NewTopic("orders", 2, 1)]).values()
        created.result(PATIENCE)
        asked = [confluent_kafka.TopicPartition("orders", index) for index in (0, 1, 2)]
        for kind in (confluent_kafka.ElectionType.PREFERRED, confluent_kafka.ElectionType.UNCLEAN):
            found = admin.elect_leaders(kind, asked).result(PATIENCE)
            errors = [found[one].name() for one in asked]
            self.assertEqual(errors, ["ELECTION_NOT_NEEDED", "ELECTION_NOT_NEEDED", "UNKNOWN_TOPIC_OR_PART"])
        self.assertEqual(admin.elect_leaders(confluent_kafka.ElectionType.PREFERRED).result(PATIENCE), {})
