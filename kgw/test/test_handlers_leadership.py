"""What a gateway answers about partitions and groups that another one, or nobody, leads; on all versions."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from kgw.cluster import Arrival, Cluster
from kgw.engine.memory import MemoryLogEngine
from kgw.errors import ErrorCode, KafkaError
from kgw.handlers import (
    alter_partition_reassignments,
    describe_cluster,
    describe_quorum,
    describe_topic_partitions,
    fetch,
    find_coordinator,
    list_offsets,
    metadata,
    produce,
)
from kgw.handlers.produce_shortcut import ProduceShortcut
from kgw.interfaces import IPartitionLog
from kgw.model import NO_LEADER, Broker, Leader, NewTopic, Topic
from kgw.test.shared_stage import SharedStage
from kgw.test.stage import Stage
from kgw.wire.records import build_batch

#: The stage's node, another one, and one that is gone.
HERE, THERE, GONE = 1, 2, 3


class Others(Cluster):
    """
    This node and another one.

    @ivar leaders: of partitions of any topic; nobody leads others.
    @ivar controlled: whether anybody controls.
    @ivar coordinators: by group; C{None} of others.
    """

    def __init__(self, leaders: Mapping[int, Leader]) -> None:
        super().__init__("stageStageStageStage01", HERE, None, {})
        self.leaders = dict(leaders)
        self.controlled = True
        self.coordinators: dict[str, int] = {}

    @property
    def controller_id(self) -> int:
        return THERE if self.controlled else -1

    def node_ids(self) -> list[int]:
        return [HERE, THERE]

    def brokers(self, arrival: Arrival) -> list[Broker]:
        return [self.here(arrival), Broker(THERE, "gw2", 9092, "b")]

    def leader(self, topic: Topic, index: int) -> Leader:
        return self.leaders.get(index, NO_LEADER)

    def coordinator(self, group_id: str, arrival: Arrival) -> Broker | None:
        return self.broker(self.coordinators.get(group_id, -1), arrival)


class PartlyLed(MemoryLogEngine):
    """Leads partition 0 of every topic only, in epoch 7."""

    def partition(self, name: str, index: int) -> IPartitionLog:
        log = super().partition(name, index)
        if index:
            raise KafkaError(ErrorCode.NOT_LEADER_OR_FOLLOWER, f"{name}-{index} is not led here")
        log.leader_epoch = 7
        return log


def batch() -> bytes:
    return build_batch([(None, b"x", (), 1_700_000_000_000)])


class LeadershipTests(SynchronousTestCase):
    """Partition 0 is led here, 1 elsewhere, 2 by one that is gone, and 3 by nobody."""

    def setUp(self) -> None:
        self.stage = Stage(self)
        engine = PartlyLed(self.stage.clock)
        self.stage = Stage(self, engine=engine)
        self.cluster = self.stage.services.cluster = Others(
            {0: Leader(HERE, 7), 1: Leader(THERE, 4), 2: Leader(GONE, 5)}
        )
        self.topic = self.stage.create("t", 4)

    def each(self, api: Any, first: int, ask: Callable[[int], Any]) -> list[tuple[int, Any]]:
        """The answer on each version from C{first} on."""
        versions = [version for version in api.versions if version >= first]
        self.assertTrue(versions)
        return [(version, self.stage.call(api, version, ask(version))) for version in versions]

    def test_produce(self) -> None:
        """The row says who leads, where the version has room for that, and the answer how to reach him."""

        def ask(version: int) -> produce.Request:
            rows = [produce.RequestPartition(index, batch()) for index in range(4)]
            return produce.Request(
                acks=-1, timeout_ms=1000, topic_data=[produce.RequestTopic("t", self.topic.id, rows)]
            )

        for version, answer in self.each(produce.API, 3, ask):
            (topic,) = answer.responses
            rows = topic.partition_responses
            moved = ErrorCode.NOT_LEADER_OR_FOLLOWER
            self.assertEqual([row.error_code for row in rows], [0, moved, moved, moved], version)
            said = [(row.current_leader.leader_id, row.current_leader.leader_epoch) for row in rows]
            nodes = [(one.node_id, one.host, one.port, one.rack) for one in answer.node_endpoints]
            if version >= 10:
                self.assertEqual(said, [(-1, -1), (THERE, 4), (GONE, 5), (-1, -1)])
                self.assertEqual(nodes, [(THERE, "gw2", 9092, "b")])
            else:
                self.assertEqual((set(said), nodes), ({(-1, -1)}, []))

    def test_produce_by_the_short_way(self) -> None:
        """A partition that is taken away while a batch is on its way: the answer says to whom it went."""
        version = 11
        waiting: Deferred[Any] = Deferred()
        log = self.stage.engine.partition("t", 0)
        request = produce.Request(
            acks=-1,
            timeout_ms=1000,
            topic_data=[produce.RequestTopic("t", bytes(16), [produce.RequestPartition(0, batch())])],
        )
        head = struct.pack(">hhih", 0, version, 7, 1) + b"c\0"
        frame = head + b"".join(produce.API.request_codec(version).encode(request))
        shortcut = ProduceShortcut(self.stage.services, version)
        self.assertIs(shortcut(frame, self.stage.peer), None)

        class Slow:
            config = log.config

            def append(self, batch: object, acks: int) -> Deferred[Any]:
                return waiting

        self.patch(self.stage.engine, "partition", lambda name, index: Slow())
        answering: Any = shortcut(frame, self.stage.peer)
        assert isinstance(answering, Deferred)
        self.cluster.leaders[0] = Leader(THERE, 8)
        waiting.errback(KafkaError(ErrorCode.NOT_LEADER_OR_FOLLOWER, "t-0 is not led here any more"))
        answer, _ = produce.API.response_codec(version).decode(b"".join(self.successResultOf(answering)), 9)
        (row,) = answer.responses[0].partition_responses
        self.assertEqual(row.error_code, ErrorCode.NOT_LEADER_OR_FOLLOWER)
        self.assertEqual((row.current_leader.leader_id, row.current_leader.leader_epoch), (THERE, 8))
        self.assertEqual([(one.node_id, one.host) for one in answer.node_endpoints], [(THERE, "gw2")])

    def fetch(self, version: int, epoch: int = -1) -> fetch.Request:
        rows = [
            fetch.RequestPartition(index, fetch_offset=0, partition_max_bytes=1000, current_leader_epoch=epoch)
            for index in range(4)
        ]
        topic = fetch.RequestTopic(topic="t", topic_id=self.topic.id, partitions=rows)
        return fetch.Request(max_wait_ms=60_000, min_bytes=1, max_bytes=1000, topics=[topic])

    def test_fetch(self) -> None:
        """The same, and nobody waits for records meanwhile."""
        moved = ErrorCode.NOT_LEADER_OR_FOLLOWER
        for version, answer in self.each(fetch.API, 4, self.fetch):
            rows = answer.responses[0].partitions
            self.assertEqual([row.error_code for row in rows], [0, moved, moved, moved], version)
            said = [(row.current_leader.leader_id, row.current_leader.leader_epoch) for row in rows]
            nodes = [(one.node_id, one.host, one.port, one.rack) for one in answer.node_endpoints]
            expected = [(-1, -1), (THERE, 4), (GONE, 5), (-1, -1)] if version >= 12 else [(-1, -1)] * 4
            self.assertEqual(said, expected, version)
            self.assertEqual(nodes, [(THERE, "gw2", 9092, "b")] if version >= 16 else [], version)

    def test_an_old_epoch(self) -> None:
        """Who knows an older leadership is told the epoch of this one, as well as who leads: this node."""
        fenced = ErrorCode.FENCED_LEADER_EPOCH
        for version, answer in self.each(fetch.API, 9, lambda version: self.fetch(version, epoch=6)):
            row = answer.responses[0].partitions[0]
            self.assertEqual(row.error_code, fenced, version)
            if version >= 12:
                self.assertEqual((row.current_leader.leader_id, row.current_leader.leader_epoch), (HERE, 7))
            if version >= 16:
                self.assertEqual([one.node_id for one in answer.node_endpoints], [HERE, THERE])

    def test_a_newer_epoch(self) -> None:
        """Who knows more than this node comes again."""
        answer = self.stage.call(fetch.API, 12, self.fetch(12, epoch=8))
        self.assertEqual(answer.responses[0].partitions[0].error_code, ErrorCode.UNKNOWN_LEADER_EPOCH)

    def test_list_offsets(self) -> None:
        """Only the leader knows them."""

        def ask(version: int) -> list_offsets.Request:
            rows = [list_offsets.RequestPartition(index, timestamp=-1) for index in range(2)]
            return list_offsets.Request(replica_id=-1, topics=[list_offsets.RequestTopic("t", rows)])

        for version, answer in self.each(list_offsets.API, 1, ask):
            codes = [row.error_code for row in answer.topics[0].partitions]
            self.assertEqual(codes, [0, ErrorCode.NOT_LEADER_OR_FOLLOWER], version)

    def test_metadata(self) -> None:
        """A partition that nobody leads is there, without a leader, which clients come back for."""

        def ask(version: int) -> metadata.Request:
            return metadata.Request(topics=[metadata.RequestTopic(name="t")])

        for version, answer in self.each(metadata.API, 0, ask):
            self.assertEqual([one.node_id for one in answer.brokers], [HERE, THERE])
            (topic,) = answer.topics
            self.assertEqual(topic.error_code, 0)
            self.assertEqual([row.leader_id for row in topic.partitions], [HERE, THERE, GONE, -1], version)
            missing = topic.partitions[3]
            self.assertEqual(missing.error_code, ErrorCode.LEADER_NOT_AVAILABLE)
            self.assertEqual((missing.replica_nodes, missing.isr_nodes), ([], []))
            if version >= 7:
                self.assertEqual([row.leader_epoch for row in topic.partitions], [7, 4, 5, -1])
            if version >= 1:
                self.assertEqual(answer.controller_id, THERE)

    def test_describe_topic_partitions(self) -> None:
        """The same, page by page."""
        request = describe_topic_partitions.Request(
            topics=[describe_topic_partitions.RequestTopic("t")], response_partition_limit=10
        )
        rows = self.stage.call(describe_topic_partitions.API, 0, request).topics[0].partitions
        self.assertEqual([row.leader_id for row in rows], [HERE, THERE, GONE, -1])
        self.assertEqual([row.error_code for row in rows], [0, 0, 0, ErrorCode.LEADER_NOT_AVAILABLE])
        self.assertEqual((rows[3].replica_nodes, rows[3].isr_nodes), ([], []))

    def test_find_coordinator(self) -> None:
        """Of each group another one; of one that is on its way none for now. Any broker gives out producer ids."""
        self.cluster.coordinators = {"here": HERE, "there": THERE, "gone": GONE}
        for version in find_coordinator.API.versions:
            found = []
            for group in ("here", "there", "gone", "lost"):
                request = find_coordinator.Request(key=group, coordinator_keys=[group])
                answer = self.stage.call(find_coordinator.API, version, request)
                row = answer.coordinators[0] if version >= 4 else answer
                found.append((row.error_code, row.node_id))
            away = (ErrorCode.COORDINATOR_NOT_AVAILABLE, -1)
            self.assertEqual(found, [(0, HERE), (0, THERE), away, away], version)
        request = find_coordinator.Request(key_type=1, coordinator_keys=["tx"])
        self.assertEqual(self.stage.call(find_coordinator.API, 4, request).coordinators[0].node_id, HERE)

    def test_describe_cluster(self) -> None:
        """All brokers, and the controller, if there is one."""
        answer = self.stage.call(describe_cluster.API, 0, describe_cluster.Request())
        self.assertEqual(([one.broker_id for one in answer.brokers], answer.controller_id), ([HERE, THERE], THERE))
        self.cluster.controlled = False
        self.assertEqual(self.stage.call(describe_cluster.API, 0, describe_cluster.Request()).controller_id, -1)

    def test_describe_quorum(self) -> None:
        """All brokers are voters, the controller leads them."""
        request = describe_quorum.Request(
            [describe_quorum.RequestTopic("__cluster_metadata", [describe_quorum.RequestPartition(0)])]
        )
        for version, answer in self.each(describe_quorum.API, 0, lambda version: request):
            (row,) = answer.topics[0].partitions
            self.assertEqual((row.leader_id, [one.replica_id for one in row.current_voters]), (THERE, [HERE, THERE]))
            if version >= 2:
                self.assertEqual([one.node_id for one in answer.nodes], [HERE, THERE])

    def reassigned(self, index: int, replicas: list[int]) -> tuple[int, str]:
        request = alter_partition_reassignments.Request(
            topics=[
                alter_partition_reassignments.RequestTopic(
                    "t", [alter_partition_reassignments.RequestPartition(index, replicas)]
                )
            ]
        )
        row = self.stage.call(alter_partition_reassignments.API, 0, request).responses[0].partitions[0]
        return row.error_code, row.error_message or ""

    def test_reassignments(self) -> None:
        """What is so already is taken; who asks for another broker is told that kgw chooses."""
        self.assertEqual(self.reassigned(1, [THERE]), (0, ""))
        for index, replicas, words in ((1, [HERE], "keeps it at broker 2"), (0, [9], "no such broker is registered")):
            code, message = self.reassigned(index, replicas)
            self.assertEqual(code, ErrorCode.INVALID_REPLICA_ASSIGNMENT)
            self.assertIn(words, message)


class SeveralBrokersTests(SynchronousTestCase):
    """Topics that name brokers, where there are several."""

    def catalog(self, **properties: str) -> Any:
        """The catalog of a node that knows of two."""
        stage = SharedStage(self)
        first, _ = stage.started(**properties), stage.started(**properties)
        return first.catalog

    def test_manual_assignments(self) -> None:
        """Any broker that there is may be named, and no other."""
        catalog = self.catalog()
        new = NewTopic("t", -1, -1, assignments=[(0, [1]), (1, [2])])
        self.assertEqual(self.successResultOf(catalog.create(new, validate_only=True)).partitions, 2)
        error = self.failureResultOf(
            catalog.create(NewTopic("t", -1, -1, assignments=[(0, [9])]), validate_only=True), KafkaError
        ).value
        self.assertEqual(error.code, ErrorCode.INVALID_REPLICA_ASSIGNMENT)

    def test_strict_replication(self) -> None:
        """The reason is the right one."""
        catalog = self.catalog(kgw_strict_replication="true")
        for factor, words in ((2, "a partition has one replica here"), (3, "only 2 broker(s) are registered")):
            creating = catalog.create(NewTopic("t", 1, factor), validate_only=True)
            self.assertIn(words, self.failureResultOf(creating, KafkaError).value.message)
