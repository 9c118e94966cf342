"""What user interfaces ask a cluster: disks, leaders, moves, producers, the quorum, transactions and features."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kgw.cluster import Cluster
from kgw.errors import ErrorCode, KafkaError
from kgw.handlers import (
    alter_partition_reassignments,
    api_versions,
    describe_log_dirs,
    describe_producers,
    describe_quorum,
    describe_transactions,
    elect_leaders,
    list_partition_reassignments,
    list_transactions,
    update_features,
)
from kgw.handlers.contract import Api
from kgw.model import HEALTH_TOPIC, Feature
from kgw.test.builders import idempotent_batch
from kgw.test.stage import START, Stage

_UNKNOWN = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
_NOW_MS = int(START * 1000)


class DescribeLogDirsTests(SynchronousTestCase):
    """DescribeLogDirs."""

    def setUp(self) -> None:
        self.stage = Stage(self)
        self.stage.create("orders", 2)
        self.stage.create("payments")
        self.stage.append("orders", 1, records=3)
        self.size = len(self.found(self.stage.engine.partition("orders", 1).read(0, 1 << 20)))

    def found(self, read: Any) -> bytes:
        return b"".join(self.successResultOf(read).records)

    def ask(self, version: int, topics: list[describe_log_dirs.RequestTopic] | None) -> describe_log_dirs.Response:
        request = describe_log_dirs.Request(topics)
        response: describe_log_dirs.Response = self.stage.call(describe_log_dirs.API, version, request)
        return response

    def sizes(self, response: describe_log_dirs.Response) -> dict[str, dict[int, int]]:
        (row,) = response.results
        return {
            topic.name: {one.partition_index: one.partition_size for one in topic.partitions} for topic in row.topics
        }

    def test_every_version_tells_the_size_of_all(self) -> None:
        for version in describe_log_dirs.API.versions:
            response = self.ask(version, None)
            (row,) = response.results
            self.assertEqual((response.error_code, row.error_code, row.log_dir), (0, 0, "memory"))
            self.assertEqual(self.sizes(response), {"orders": {0: 0, 1: self.size}, "payments": {0: 0}})
            self.assertEqual((row.total_bytes, row.usable_bytes), (-1, -1))
            for topic in row.topics:
                self.assertEqual({(one.offset_lag, one.is_future_key) for one in topic.partitions}, {(0, False)})

    def test_only_what_is_asked_for(self) -> None:
        asked = [
            describe_log_dirs.RequestTopic("orders", [1, 1, 7, -1]),
            describe_log_dirs.RequestTopic("ghosts", [0]),
            describe_log_dirs.RequestTopic("orders", [1]),
        ]
        self.assertEqual(self.sizes(self.ask(4, asked)), {"orders": {1: self.size}})
        self.assertEqual(self.sizes(self.ask(4, [])), {})

    def test_topics_of_the_gateway_itself(self) -> None:
        """They are in no list of all."""
        self.stage.create(HEALTH_TOPIC)
        self.assertEqual(set(self.sizes(self.ask(4, None))), {"orders", "payments"})
        asked = [describe_log_dirs.RequestTopic(HEALTH_TOPIC, [0])]
        self.assertEqual(self.sizes(self.ask(4, asked)), {HEALTH_TOPIC: {0: 0}})

    def test_a_disk_that_cannot_be_looked_at(self) -> None:
        self.successResultOf(self.stage.engine.stop())
        for version in describe_log_dirs.API.versions:
            (row,) = self.ask(version, None).results
            self.assertEqual((row.error_code, row.topics), (ErrorCode.KAFKA_STORAGE_ERROR, []))
            self.assertTrue(row.log_dir)

    def test_refusal(self) -> None:
        for version in describe_log_dirs.API.versions:
            refused = self.stage.refuse(
                describe_log_dirs.API, version, describe_log_dirs.Request(None), ErrorCode.CLUSTER_AUTHORIZATION_FAILED
            )
            self.assertEqual(refused.results, [])
            if version >= 3:
                self.assertEqual(refused.error_code, ErrorCode.CLUSTER_AUTHORIZATION_FAILED)


class ElectLeadersTests(SynchronousTestCase):
    """ElectLeaders."""

    def setUp(self) -> None:
        self.stage = Stage(self)
        self.stage.create("orders", 2)

    def test_none_is_needed(self) -> None:
        asked = [elect_leaders.RequestTopic("orders", [0, 1, 2]), elect_leaders.RequestTopic("ghosts", [0])]
        for version in elect_leaders.API.versions:
            for kind in (0, 1) if version else (0,):
                answer = self.stage.call(elect_leaders.API, version, elect_leaders.Request(kind, asked))
                self.assertEqual(answer.error_code, 0)
                self.assertEqual(
                    [
                        (topic.topic, one.partition_id, one.error_code, one.error_message)
                        for topic in answer.replica_election_results
                        for one in topic.partition_result
                    ],
                    [
                        ("orders", 0, 84, "Leader election not needed for topic partition."),
                        ("orders", 1, 84, "Leader election not needed for topic partition."),
                        ("orders", 2, _UNKNOWN, "No such partition as orders-2"),
                        ("ghosts", 0, _UNKNOWN, "No such topic as ghosts"),
                    ],
                )

    def test_all_partitions(self) -> None:
        """Those that need no election have no row, as in Kafka."""
        for version in elect_leaders.API.versions:
            answer = self.stage.call(elect_leaders.API, version, elect_leaders.Request(0, None))
            self.assertEqual(
                [(one.topic, one.partition_result) for one in answer.replica_election_results], [("orders", [])]
            )

    def test_a_long_name(self) -> None:
        """The answer has room for it."""
        asked = [elect_leaders.RequestTopic("x" * 32_767, [0])]
        answer = self.stage.call(elect_leaders.API, 1, elect_leaders.Request(0, asked))
        self.assertEqual(answer.replica_election_results[0].partition_result[0].error_code, _UNKNOWN)

    def test_an_unknown_kind(self) -> None:
        failure = self.failureResultOf(
            self.stage.begin(elect_leaders.API, 2, elect_leaders.Request(2, None)), KafkaError
        )
        self.assertEqual(failure.value.code, ErrorCode.INVALID_REQUEST)

    def test_refusal(self) -> None:
        asked = elect_leaders.Request(0, [elect_leaders.RequestTopic("orders", [1])])
        for version in elect_leaders.API.versions:
            refused = self.stage.refuse(elect_leaders.API, version, asked, ErrorCode.NOT_CONTROLLER)
            (row,) = refused.replica_election_results
            self.assertEqual([one.error_code for one in row.partition_result], [ErrorCode.NOT_CONTROLLER])
            self.assertEqual(refused.error_code, ErrorCode.NOT_CONTROLLER if version else 0)


class ReassignmentTests(SynchronousTestCase):
    """AlterPartitionReassignments and ListPartitionReassignments."""

    def setUp(self) -> None:
        self.stage = Stage(self)
        self.stage.create("orders")

    def alter(self, version: int, name: str, index: int, replicas: list[int] | None) -> tuple[int, str | None]:
        """Error code and message of one partition."""
        asked = alter_partition_reassignments.RequestPartition(index, replicas)
        request = alter_partition_reassignments.Request(
            topics=[alter_partition_reassignments.RequestTopic(name, [asked])]
        )
        answer = self.stage.call(alter_partition_reassignments.API, version, request)
        self.assertEqual((answer.error_code, answer.error_message), (0, None))
        (topic,) = answer.responses
        (row,) = topic.partitions
        self.assertEqual((topic.name, row.partition_index), (name, index))
        return row.error_code, row.error_message

    def test_alter(self) -> None:
        here, bad = self.stage.node_id, ErrorCode.INVALID_REPLICA_ASSIGNMENT
        said = "The manual partition assignment includes"
        for version in alter_partition_reassignments.API.versions:
            self.assertEqual(self.alter(version, "orders", 0, [here]), (0, None))
            other = (bad, f"{said} broker {here + 1}, but no such broker is registered.")
            self.assertEqual(self.alter(version, "orders", 0, [here + 1]), other)
            self.assertEqual(self.alter(version, "orders", 0, [here, here + 1]), other)
            self.assertEqual(self.alter(version, "orders", 0, []), (bad, f"{said} an empty replica list."))
            twice = (bad, f"{said} the broker {here} more than once.")
            self.assertEqual(self.alter(version, "orders", 0, [here, here]), twice)
            self.assertEqual(
                self.alter(version, "orders", 0, None),
                (ErrorCode.NO_REASSIGNMENT_IN_PROGRESS, "No partition reassignment is in progress."),
            )
            for index in (1, -1):
                missing = (_UNKNOWN, f"Unable to find partition orders:{index}.")
                self.assertEqual(self.alter(version, "orders", index, [here]), missing)
            self.assertEqual(self.alter(version, "ghosts", 0, None), (_UNKNOWN, "Unable to find a topic named ghosts."))

    def test_alter_says_whether_the_number_of_replicas_may_change(self) -> None:
        for allowed in (True, False):
            request = alter_partition_reassignments.Request(allow_replication_factor_change=allowed)
            answer = self.stage.call(alter_partition_reassignments.API, 1, request)
            self.assertEqual(answer.allow_replication_factor_change, allowed)

    def test_list(self) -> None:
        """Nothing moves; what does not exist is skipped, as Kafka's controller does."""
        some = [list_partition_reassignments.RequestTopic(name, [0, 7]) for name in ("orders", "ghosts")]
        for topics in (None, [], some):
            request = list_partition_reassignments.Request(topics=topics)
            answer = self.stage.call(list_partition_reassignments.API, 0, request)
            self.assertEqual((answer.error_code, answer.error_message, answer.topics), (0, None, []))

    def test_refusal(self) -> None:
        asked = alter_partition_reassignments.RequestPartition(3, None)
        request = alter_partition_reassignments.Request(
            topics=[alter_partition_reassignments.RequestTopic("orders", [asked])]
        )
        refused = self.stage.refuse(alter_partition_reassignments.API, 1, request, ErrorCode.NOT_CONTROLLER)
        self.assertEqual(refused.error_code, ErrorCode.NOT_CONTROLLER)
        (row,) = refused.responses[0].partitions
        self.assertEqual((row.partition_index, row.error_code), (3, ErrorCode.NOT_CONTROLLER))
        listing = list_partition_reassignments.Request()
        refused = self.stage.refuse(list_partition_reassignments.API, 0, listing, ErrorCode.NOT_CONTROLLER)
        self.assertEqual((refused.error_code, refused.topics), (ErrorCode.NOT_CONTROLLER, []))


class DescribeProducersTests(SynchronousTestCase):
    """DescribeProducers."""

    def test_those_who_wrote(self) -> None:
        stage = Stage(self, {"producer.id.expiration.ms": "60000"})
        stage.create("orders", 2)
        log = stage.engine.partition("orders", 1)
        self.successResultOf(log.append(idempotent_batch(0, 3, producer_id=9)))
        stage.clock.advance(59)
        self.successResultOf(log.append(idempotent_batch(70, producer_id=5, epoch=2)))
        stage.append("orders", 1)
        request = describe_producers.Request(
            [describe_producers.RequestTopic("orders", [0, 1, 2]), describe_producers.RequestTopic("ghosts", [0])]
        )
        orders, ghosts = stage.call(describe_producers.API, 0, request).topics
        self.assertEqual((orders.name, ghosts.name), ("orders", "ghosts"))
        rows = [(one.partition_index, one.error_code) for one in orders.partitions + ghosts.partitions]
        self.assertEqual(rows, [(0, 0), (1, 0), (2, _UNKNOWN), (0, _UNKNOWN)])
        producer = describe_producers.ResponseProducer
        self.assertEqual(orders.partitions[0].active_producers, [])
        self.assertEqual(
            orders.partitions[1].active_producers,
            [producer(5, 2, 70, _NOW_MS + 59_000, -1, -1), producer(9, 0, 2, _NOW_MS, -1, -1)],
        )
        stage.clock.advance(1)
        orders, _ = stage.call(describe_producers.API, 0, request).topics
        self.assertEqual([one.producer_id for one in orders.partitions[1].active_producers], [5])

    def test_named_again(self) -> None:
        """A partition is told once, however often a request names it."""
        stage = Stage(self)
        stage.create("orders", 2)
        asked = [
            describe_producers.RequestTopic("orders", [0, 1, 0, 0]),
            describe_producers.RequestTopic("orders", [1]),
        ]
        (orders,) = stage.call(describe_producers.API, 0, describe_producers.Request(asked)).topics
        self.assertEqual([one.partition_index for one in orders.partitions], [0, 1])

    def test_refusal(self) -> None:
        request = describe_producers.Request([describe_producers.RequestTopic("orders", [0, 1])])
        refused = Stage(self).refuse(describe_producers.API, 0, request, ErrorCode.REQUEST_TIMED_OUT)
        self.assertEqual([one.error_code for one in refused.topics[0].partitions], [ErrorCode.REQUEST_TIMED_OUT] * 2)


class DescribeQuorumTests(SynchronousTestCase):
    """DescribeQuorum."""

    def ask(self, version: int, *asked: tuple[str, list[int]]) -> describe_quorum.Response:
        topics = [
            describe_quorum.RequestTopic(name, [describe_quorum.RequestPartition(index) for index in indexes])
            for name, indexes in asked
        ]
        response: describe_quorum.Response = Stage(self).call(
            describe_quorum.API, version, describe_quorum.Request(topics)
        )
        self.assertEqual(response.error_code, 0)
        return response

    def test_this_node_alone(self) -> None:
        for version in describe_quorum.API.versions:
            response = self.ask(version, ("__cluster_metadata", [0]))
            (topic,) = response.topics
            (row,) = topic.partitions
            self.assertEqual((topic.topic_name, row.partition_index, row.error_code), ("__cluster_metadata", 0, 0))
            self.assertEqual((row.leader_id, row.observers), (1, []))
            (voter,) = row.current_voters
            # what user interfaces show as lag
            self.assertEqual((voter.replica_id, row.high_watermark - voter.log_end_offset), (1, 0))
            if version >= 1:
                self.assertEqual((voter.last_fetch_timestamp, voter.last_caught_up_timestamp), (_NOW_MS, _NOW_MS))
            if version >= 2:
                (node,) = response.nodes
                (listener,) = node.listeners
                self.assertEqual((node.node_id, listener.host, listener.port), (1, "10.0.0.7", 9092))

    def test_nothing_else_has_a_quorum(self) -> None:
        several: list[list[tuple[str, list[int]]]] = [
            [("orders", [0])],
            [("__cluster_metadata", [0, 1])],
            [("__cluster_metadata", [0]), ("a", [])],
        ]
        for asked in several:
            for version in describe_quorum.API.versions:
                response = self.ask(version, *asked)
                self.assertEqual([topic.topic_name for topic in response.topics], [name for name, _ in asked])
                for topic in response.topics:
                    self.assertEqual({one.error_code for one in topic.partitions} - {_UNKNOWN}, set())

    def test_refusal(self) -> None:
        refused = Stage(self).refuse(describe_quorum.API, 2, describe_quorum.Request(), ErrorCode.NOT_CONTROLLER)
        self.assertEqual((refused.error_code, refused.topics, refused.nodes), (ErrorCode.NOT_CONTROLLER, [], []))


class TransactionsTests(SynchronousTestCase):
    """DescribeTransactions and ListTransactions."""

    def list(self, version: int, **fields: Any) -> list_transactions.Response:
        response: list_transactions.Response = Stage(self).call(
            list_transactions.API, version, list_transactions.Request(**fields)
        )
        return response

    def test_none_is_known(self) -> None:
        request = describe_transactions.Request(["tx", ""])
        answer = Stage(self).call(describe_transactions.API, 0, request)
        self.assertEqual(
            [(one.transactional_id, one.error_code) for one in answer.transaction_states],
            [("tx", ErrorCode.TRANSACTIONAL_ID_NOT_FOUND), ("", ErrorCode.INVALID_REQUEST)],
        )

    def test_none_is_listed(self) -> None:
        for version in list_transactions.API.versions:
            answer = self.list(version, state_filters=["Ongoing", "ongoing", "Asleep"], producer_id_filters=[4])
            self.assertEqual((answer.error_code, answer.transaction_states), (0, []))
            self.assertEqual(answer.unknown_state_filters, ["ongoing", "Asleep"])

    def test_patterns(self) -> None:
        for pattern in (None, "", "tx-.*", "^(a|b)[0-9]+$"):
            self.assertEqual(self.list(2, transactional_id_pattern=pattern).error_code, 0)
        for pattern in ("(", "a{99999999999999999999}", "(" * 4000 + ")" * 96, "(?au)x", "x" * 5000):
            request = list_transactions.Request(transactional_id_pattern=pattern)
            failure = self.failureResultOf(Stage(self).begin(list_transactions.API, 2, request), KafkaError)
            self.assertEqual(failure.value.code, ErrorCode.INVALID_REGULAR_EXPRESSION)

    @settings(deadline=None, max_examples=60, database=None)
    @given(st.text(st.sampled_from("ab()[]{}*+?|\\^$.,0123456789-:<>=!PiLuxs#&~"), max_size=40))
    def test_any_pattern_is_taken_or_refused(self, pattern: str) -> None:
        request = list_transactions.Request(transactional_id_pattern=pattern)
        begun = Stage(self).begin(list_transactions.API, 2, request)
        begun.addErrback(lambda failure: failure.trap(KafkaError))
        self.successResultOf(begun)

    def test_refusal(self) -> None:
        stage, code = Stage(self), ErrorCode.COORDINATOR_NOT_AVAILABLE
        refused = stage.refuse(describe_transactions.API, 0, describe_transactions.Request(["a", "b"]), code)
        self.assertEqual(
            [(one.transactional_id, one.error_code) for one in refused.transaction_states], [("a", code), ("b", code)]
        )
        self.assertEqual(stage.refuse(list_transactions.API, 2, list_transactions.Request(), code).error_code, code)


class UpdateFeaturesTests(SynchronousTestCase):
    """UpdateFeatures, and what ApiVersions says of features."""

    def setUp(self) -> None:
        self.stage = Stage(self)

    def with_features(self) -> None:
        """A node that had features."""
        features = {"group.version": Feature(0, 2, 1), "other.version": Feature(1, 1, 1)}
        self.stage.services.cluster = Cluster("id", 1, None, {}, features)

    def update(self, version: int, *updates: tuple[str, int, int]) -> list[tuple[int, str | None]]:
        """Code and message of each of the updates: feature, level, upgrade type (2 is a downgrade)."""
        rows = [
            update_features.RequestUpdate(name, level, upgrade == 2, upgrade if version else 1)
            for name, level, upgrade in updates
        ]
        answer = self.stage.call(update_features.API, version, update_features.Request(feature_updates=rows))
        if version >= 2:
            self.assertEqual(len(updates), 1)
            return [(answer.error_code, answer.error_message)]
        self.assertEqual((answer.error_code, answer.error_message), (0, None))
        self.assertEqual([one.feature for one in answer.results], [name for name, _, _ in updates])
        return [(one.error_code, one.error_message) for one in answer.results]

    def check(self, update: tuple[str, int, int], code: ErrorCode, reason: str = "") -> None:
        """What every version says of one update."""
        for version in update_features.API.versions:
            ((found, message),) = self.update(version, update)
            self.assertEqual(found, code, (version, update))
            self.assertIn(reason, message or "")

    def refused(self, update: tuple[str, int, int], reason: str) -> None:
        """An update that there cannot be."""
        name, level, _ = update
        said = f"Invalid update version {level} for feature {name}. {reason}"
        self.check(update, ErrorCode.INVALID_UPDATE_VERSION, said)

    def test_a_feature_that_is_not_supported(self) -> None:
        self.refused(("metadata.version", 20, 1), "Local controller 1 does not support this feature.")
        self.refused(("metadata.version", -1, 1), "A feature version cannot be less than 0.")
        self.check(("metadata.version", 0, 1), ErrorCode.NONE)

    def test_levels(self) -> None:
        self.with_features()
        self.check(("group.version", 1, 1), ErrorCode.NONE)
        self.check(("group.version", 2, 1), ErrorCode.FEATURE_UPDATE_FAILED, "stays at level 1")
        self.check(("group.version", 0, 2), ErrorCode.FEATURE_UPDATE_FAILED, "stays at level 1")
        self.refused(("group.version", 3, 1), "Local controller 1 only supports versions 0-2")
        self.refused(("group.version", 0, 1), "Can't downgrade the version of this feature without")
        self.refused(("group.version", 2, 2), "Can't downgrade to a newer version.")

    def test_an_unknown_way_to_upgrade(self) -> None:
        for version in (1, 2):
            for upgrade in (0, 4, -1):
                ((code, message),) = self.update(version, ("group.version", 1, upgrade))
                self.assertEqual(code, ErrorCode.INVALID_UPDATE_VERSION)
                self.assertIn("The controller does not support the given upgrade type.", message or "")

    def test_each_has_its_own_row(self) -> None:
        self.with_features()
        rows = self.update(1, ("group.version", 1, 1), ("ghost", 1, 1), ("other.version", 1, 3))
        self.assertEqual([code for code, _ in rows], [0, ErrorCode.INVALID_UPDATE_VERSION, 0])

    def test_one_error_is_that_of_all(self) -> None:
        rows = [update_features.RequestUpdate("a", 0), update_features.RequestUpdate("b", 4)]
        answer = self.stage.call(update_features.API, 2, update_features.Request(feature_updates=rows))
        self.assertEqual(answer.error_code, ErrorCode.INVALID_UPDATE_VERSION)
        self.assertTrue((answer.error_message or "").startswith("The update failed for all features since"))

    def test_refusal(self) -> None:
        request = update_features.Request(feature_updates=[update_features.RequestUpdate("a", 1)])
        for version in update_features.API.versions:
            refused = self.stage.refuse(update_features.API, version, request, ErrorCode.NOT_CONTROLLER)
            self.assertEqual(refused.error_code, ErrorCode.NOT_CONTROLLER)
            self.assertEqual(len(refused.results), 1 if version < 2 else 0)

    def test_what_api_versions_says(self) -> None:
        api: Api = api_versions.API
        none = self.stage.call(api, 4, api_versions.Request("x", "1"))
        self.assertEqual((none.supported_features, none.finalized_features), ([], []))
        self.assertEqual(none.finalized_features_epoch, -1)
        self.with_features()
        some = self.stage.call(api, 4, api_versions.Request("x", "1"))
        self.assertEqual(
            [(one.name, one.min_version, one.max_version) for one in some.supported_features],
            [("group.version", 0, 2), ("other.version", 1, 1)],
        )
        self.assertEqual(
            [(one.name, one.max_version_level) for one in some.finalized_features],
            [("group.version", 1), ("other.version", 1)],
        )
        self.assertEqual(some.finalized_features_epoch, 0)
