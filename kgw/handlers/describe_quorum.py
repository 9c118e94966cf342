"""DescribeQuorum (key 55): who keeps the metadata: all brokers, led by the controller (KIP-595, KIP-836, KIP-853)."""

from __future__ import annotations

from kgw.errors import ErrorCode
from kgw.handlers.contract import Api, Call
from kgw.wire.message import array, field, message
from kgw.wire.primitives import INT16, INT32, INT64, STRING, UINT16, UUID

#: The log in which Kafka keeps its metadata; it is never among the topics.
METADATA_TOPIC = "__cluster_metadata"


@message
class RequestPartition:
    partition_index: int = field(INT32)


@message
class RequestTopic:
    topic_name: str = field(STRING)
    partitions: list[RequestPartition] = field(array(RequestPartition))


@message
class Request:
    topics: list[RequestTopic] = field(array(RequestTopic))


@message
class ResponseReplica:
    """
    One node that has the metadata.

    @ivar replica_directory_id: zero where the quorum's members are not told apart by their directories.
    @ivar last_fetch_timestamp: in ms; the leader's is now. So is C{last_caught_up_timestamp}.
    """

    replica_id: int = field(INT32)
    replica_directory_id: bytes = field(UUID, since=2)
    log_end_offset: int = field(INT64)
    last_fetch_timestamp: int = field(INT64, since=1, default=-1)
    last_caught_up_timestamp: int = field(INT64, since=1, default=-1)


@message
class ResponsePartition:
    partition_index: int = field(INT32)
    error_code: int = field(INT16, default=ErrorCode.NONE)
    error_message: str | None = field(STRING, since=2, nullable=2)
    leader_id: int = field(INT32)
    leader_epoch: int = field(INT32)
    high_watermark: int = field(INT64)
    current_voters: list[ResponseReplica] = field(array(ResponseReplica))
    observers: list[ResponseReplica] = field(array(ResponseReplica))


@message
class ResponseTopic:
    topic_name: str = field(STRING)
    partitions: list[ResponsePartition] = field(array(ResponsePartition))


@message
class ResponseListener:
    name: str = field(STRING, since=2)
    host: str = field(STRING, since=2)
    port: int = field(UINT16, since=2)


@message
class ResponseNode:
    node_id: int = field(INT32, since=2)
    listeners: list[ResponseListener] = field(array(ResponseListener), since=2)


@message
class Response:
    error_code: int = field(INT16, default=ErrorCode.NONE)
    error_message: str | None = field(STRING, since=2, nullable=2)
    topics: list[ResponseTopic] = field(array(ResponseTopic))
    nodes: list[ResponseNode] = field(array(ResponseNode), since=2)


async def handle(request: Request, call: Call) -> Response:
    """
    Answer that the brokers are the voters of a quorum, which the controller leads.

    The metadata is in the state store and not in a log, so all its offsets are 0: nothing is ever behind. As in Kafka
    there is one thing to ask for, partition 0 of C{__cluster_metadata}; for anything else all rows are
    C{UNKNOWN_TOPIC_OR_PARTITION}.
    """
    asked = [(topic.topic_name, [one.partition_index for one in topic.partitions]) for topic in request.topics]
    if asked != [(METADATA_TOPIC, [0])]:
        return Response(error_message=None, topics=[_unknown(topic) for topic in request.topics])
    now_ms = int(call.services.clock.seconds() * 1000)
    cluster = call.services.cluster
    brokers = cluster.brokers(call.peer)
    voters = [
        ResponseReplica(node_id, last_fetch_timestamp=now_ms, last_caught_up_timestamp=now_ms)
        for node_id in cluster.node_ids()
    ]
    partition = ResponsePartition(error_message=None, leader_id=cluster.controller_id, current_voters=voters)
    return Response(
        error_message=None,
        topics=[ResponseTopic(METADATA_TOPIC, [partition])],
        nodes=[
            ResponseNode(one.node_id, [ResponseListener(call.peer.listener, one.host, one.port)]) for one in brokers
        ],
    )


def _unknown(topic: RequestTopic) -> ResponseTopic:
    code, why = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"Only partition 0 of {METADATA_TOPIC} has a quorum."
    return ResponseTopic(
        topic.topic_name, [ResponsePartition(one.partition_index, code, why) for one in topic.partitions]
    )


def refuse(request: Request, code: ErrorCode) -> Response:
    """The error alone."""
    return Response(error_code=code, error_message=None)


API = Api(
    key=55,
    name="DescribeQuorum",
    versions=range(0, 3),
    flexible=0,
    request=Request,
    response=Response,
    handle=handle,
    refuse=refuse,
)
