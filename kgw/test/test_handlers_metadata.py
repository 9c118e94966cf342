"""Metadata, DescribeCluster and DescribeTopicPartitions: what clients learn of brokers and topics."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kgw.errors import ErrorCode, KafkaError
from kgw.handlers import describe_cluster, describe_topic_partitions
from kgw.handlers.metadata import API, Request, RequestTopic, Response
from kgw.model import CLUSTER_OPERATIONS, OPERATIONS_OMITTED, TOPIC_OPERATIONS
from kgw.test.stage import Stage
from kgw.wire.primitives import ZERO_UUID


def by_name(*names: str) -> Request:
    """A request for these topics."""
    return Request(topics=[RequestTopic(name=name) for name in names])


class MetadataTests(SynchronousTestCase):
    """Requests on a node with the topics C{a} and C{b}."""

    def setUp(self) -> None:
        """The services and the topics."""
        self.stage = Stage(self)
        self.a = self.stage.create("a", 2)
        self.b = self.stage.create("b", 1)

    def ask(self, request: Request, version: int = 12) -> Response:
        """The answer."""
        response: Response = self.stage.call(API, version, request)
        return response

    def names(self, response: Response) -> list[tuple[str | None, int]]:
        """Topics and their error codes."""
        return [(topic.name, topic.error_code) for topic in response.topics]

    def test_broker(self) -> None:
        """Every version names this node, at the address the client came to."""
        for version in API.versions:
            (broker,) = self.ask(by_name("a"), version).brokers
            self.assertEqual((broker.node_id, broker.host, broker.port), (1, "10.0.0.7", 9092), f"v{version}")

    def test_all_topics(self) -> None:
        """All topics: an empty list in version 0, null from version 1 on."""
        both = [("a", 0), ("b", 0)]
        self.assertEqual(self.names(self.ask(Request(topics=[]), 0)), both)
        for version in range(1, 14):
            self.assertEqual(self.names(self.ask(Request(topics=None), version)), both)
            self.assertEqual(self.names(self.ask(Request(topics=[]), version)), [])

    def test_partitions(self) -> None:
        """Each partition is led by this node, which is its only replica."""
        (topic,) = self.ask(by_name("a")).topics
        self.assertEqual(topic.topic_id, self.a.id)
        self.assertEqual(
            [(p.partition_index, p.leader_id, p.leader_epoch, p.replica_nodes, p.isr_nodes) for p in topic.partitions],
            [(0, 1, 0, [1], [1]), (1, 1, 0, [1], [1])],
        )

    def test_by_id(self) -> None:
        """From version 12 on topics are found by id; unknown ids are told."""
        known, unknown = RequestTopic(self.b.id, None), RequestTopic(b"no such topic id", None)
        self.assertEqual(
            self.names(self.ask(Request(topics=[known, unknown]))), [("b", 0), (None, ErrorCode.UNKNOWN_TOPIC_ID)]
        )
        failure = self.failureResultOf(self.stage.begin(API, 11, Request(topics=[RequestTopic(self.b.id, "b")])))
        self.assertEqual(failure.trap(KafkaError) and failure.value.code, ErrorCode.INVALID_REQUEST)

    def test_refused_without_a_name(self) -> None:
        """Versions 10 and 11 can leave the name out of a request and not of an answer: it is empty then."""
        for version in (10, 11, 12):
            request = Request(topics=[RequestTopic(self.b.id, None), RequestTopic(name="a")])
            answer = self.stage.refuse(API, version, request, ErrorCode.INVALID_REQUEST)
            self.assertEqual(self.names(answer), [("", ErrorCode.INVALID_REQUEST), ("a", ErrorCode.INVALID_REQUEST)])

    def test_named_again(self) -> None:
        """A topic is told once, however often a request names it."""
        names = ["b", "a", "b", "none", "none", "b"] * 10
        answer = self.ask(Request(topics=[RequestTopic(name=name) for name in names], allow_auto_topic_creation=False))
        self.assertEqual(self.names(answer), [("b", 0), ("a", 0), ("none", ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)])

    def test_auto_creation(self) -> None:
        """A topic is created before the answer where client and server allow it."""
        self.assertEqual(self.names(self.ask(by_name("new"))), [("new", 0)])
        self.assertEqual(len(self.ask(by_name("new")).topics[0].partitions), 1)

    def test_no_auto_creation(self) -> None:
        """Neither a client nor a server that forbids it gets a topic created."""
        request = by_name("new")
        request.allow_auto_topic_creation = False
        unknown = [("new", ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)]
        self.assertEqual(self.names(self.ask(request)), unknown)
        self.stage = Stage(self, {"auto.create.topics.enable": "false"})
        self.assertEqual(self.names(self.ask(by_name("new"))), unknown)
        self.assertIsNone(self.stage.topics.get("new"))

    def test_invalid_name(self) -> None:
        """A name that no topic can have is told apart from one that is not there."""
        for allow in (True, False):
            request = by_name("no spaces")
            request.allow_auto_topic_creation = allow
            self.assertEqual(self.names(self.ask(request)), [("no spaces", ErrorCode.INVALID_TOPIC_EXCEPTION)])

    def test_authorized_operations(self) -> None:
        """Operations are told when asked for, and only then (KIP-430)."""
        plain = self.ask(by_name("a"), 9)
        self.assertEqual(plain.topics[0].topic_authorized_operations, OPERATIONS_OMITTED)
        self.assertEqual(plain.cluster_authorized_operations, OPERATIONS_OMITTED)
        request = by_name("a")
        request.include_topic_authorized_operations = request.include_cluster_authorized_operations = True
        told = self.ask(request, 9)
        self.assertEqual(told.topics[0].topic_authorized_operations, TOPIC_OPERATIONS)
        self.assertEqual(told.cluster_authorized_operations, CLUSTER_OPERATIONS)

    def test_refusal(self) -> None:
        """A refusal names every topic."""
        refused = self.stage.refuse(API, 13, by_name("a", "x"), ErrorCode.UNKNOWN_SERVER_ERROR)
        self.assertEqual(self.names(refused), [("a", -1), ("x", -1)])
        self.assertEqual(refused.error_code, ErrorCode.UNKNOWN_SERVER_ERROR)


class DescribeClusterTests(SynchronousTestCase):
    """DescribeCluster."""

    def test_brokers(self) -> None:
        """Id, controller and brokers, in every version."""
        stage = Stage(self, {"broker.rack": "r1"})
        for version in describe_cluster.API.versions:
            request = describe_cluster.Request(endpoint_type=1)
            answer = stage.call(describe_cluster.API, version, request)
            self.assertEqual((answer.cluster_id, answer.controller_id), (stage.cluster.cluster_id, 1))
            self.assertEqual(
                [(b.broker_id, b.host, b.port, b.rack) for b in answer.brokers], [(1, "10.0.0.7", 9092, "r1")]
            )
            self.assertEqual(answer.cluster_authorized_operations, OPERATIONS_OMITTED)

    def test_endpoint_types(self) -> None:
        """Controllers are not to be had here, other types not at all."""
        stage = Stage(self)
        for kind, code in ((2, ErrorCode.MISMATCHED_ENDPOINT_TYPE), (3, ErrorCode.UNSUPPORTED_ENDPOINT_TYPE)):
            request = describe_cluster.Request(endpoint_type=kind)
            failure = self.failureResultOf(stage.begin(describe_cluster.API, 1, request), KafkaError)
            self.assertEqual(failure.value.code, code)


class DescribeTopicPartitionsTests(SynchronousTestCase):
    """DescribeTopicPartitions."""

    def page(self, stage: Stage, limit: int, cursor: tuple[str, int] | None, *names: str) -> list[object]:
        """One page: topics with the indexes told, and where the next page begins."""
        request = describe_topic_partitions.Request(
            topics=[describe_topic_partitions.RequestTopic(name) for name in names],
            response_partition_limit=limit,
            cursor=describe_topic_partitions.RequestCursor(*cursor) if cursor else None,
        )
        answer = stage.call(describe_topic_partitions.API, 0, request)
        told: list[object] = [(t.name, t.error_code, [p.partition_index for p in t.partitions]) for t in answer.topics]
        end = answer.next_cursor
        return [*told, (end.topic_name, end.partition_index) if end else None]

    def test_pages(self) -> None:
        """Topics come by name, cut at the limit, and the cursor goes on where the page ended."""
        stage = Stage(self)
        stage.create("b", 3)
        stage.create("a", 2)
        self.assertEqual(self.page(stage, 2000, None), [("a", 0, [0, 1]), ("b", 0, [0, 1, 2]), None])
        self.assertEqual(self.page(stage, 3, None), [("a", 0, [0, 1]), ("b", 0, [0]), ("b", 1)])
        self.assertEqual(self.page(stage, 3, ("b", 1)), [("b", 0, [1, 2]), None])
        self.assertEqual(self.page(stage, 2, None), [("a", 0, [0, 1]), ("b", 0)])

    def test_unknown(self) -> None:
        """Topics that are not there, or cannot be, are told by row."""
        stage = Stage(self)
        self.assertEqual(
            self.page(stage, 10, None, "x", "y z"),
            [
                ("x", ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, []),
                ("y z", ErrorCode.INVALID_TOPIC_EXCEPTION, []),
                None,
            ],
        )

    def test_bad_cursor(self) -> None:
        """Negative cursors and limits below one are refused."""
        stage = Stage(self)
        for limit, cursor in ((10, ("a", -1)), (0, None)):
            request = describe_topic_partitions.Request(
                response_partition_limit=limit,
                cursor=describe_topic_partitions.RequestCursor(*cursor) if cursor else None,
            )
            failure = self.failureResultOf(stage.begin(describe_topic_partitions.API, 0, request), KafkaError)
            self.assertEqual(failure.value.code, ErrorCode.INVALID_REQUEST)


class TopicIdTests(SynchronousTestCase):
    """Topic ids."""

    def test_never_zero(self) -> None:
        """A topic's id is told and is not the zero id."""
        stage = Stage(self)
        stage.create("a")
        (topic,) = stage.call(API, 12, by_name("a")).topics
        self.assertNotEqual(topic.topic_id, ZERO_UUID)
