"""Metadata (key 3): brokers, topics and who leads each partition."""

from __future__ import annotations

from kgw.errors import ErrorCode, KafkaError
from kgw.handlers.contract import Api, Call
from kgw.model import CLUSTER_OPERATIONS, OPERATIONS_OMITTED, TOPIC_OPERATIONS, Leader, Topic
from kgw.wire.message import array, field, message
from kgw.wire.primitives import BOOL, INT16, INT32, STRING, UUID, ZERO_UUID


@message
class RequestTopic:
    topic_id: bytes = field(UUID, since=10)
    name: str | None = field(STRING, nullable=10)


@message
class Request:
    topics: list[RequestTopic] | None = field(array(RequestTopic), nullable=1)
    allow_auto_topic_creation: bool = field(BOOL, since=4, default=True)
    include_cluster_authorized_operations: bool = field(BOOL, since=8, until=10)
    include_topic_authorized_operations: bool = field(BOOL, since=8)


@message
class ResponseBroker:
    node_id: int = field(INT32)
    host: str = field(STRING)
    port: int = field(INT32)
    rack: str | None = field(STRING, since=1, nullable=1, default=None)


@message
class ResponsePartition:
    error_code: int = field(INT16, default=ErrorCode.NONE)
    partition_index: int = field(INT32)
    leader_id: int = field(INT32)
    leader_epoch: int = field(INT32, since=7, default=-1)
    replica_nodes: list[int] = field(array(INT32))
    isr_nodes: list[int] = field(array(INT32))
    offline_replicas: list[int] = field(array(INT32), since=5)


@message
class ResponseTopic:
    error_code: int = field(INT16, default=ErrorCode.NONE)
    name: str | None = field(STRING, nullable=12)
    topic_id: bytes = field(UUID, since=10)
    is_internal: bool = field(BOOL, since=1, default=False)
    partitions: list[ResponsePartition] = field(array(ResponsePartition))
    topic_authorized_operations: int = field(INT32, since=8, default=OPERATIONS_OMITTED)


@message
class Response:
    throttle_time_ms: int = field(INT32, since=3)
    brokers: list[ResponseBroker] = field(array(ResponseBroker))
    cluster_id: str | None = field(STRING, since=2, nullable=2, default=None)
    controller_id: int = field(INT32, since=1, default=-1)
    topics: list[ResponseTopic] = field(array(ResponseTopic))
    cluster_authorized_operations: int = field(INT32, since=8, until=10, default=OPERATIONS_OMITTED)
    error_code: int = field(INT16, since=13, default=ErrorCode.NONE)


async def handle(request: Request, call: Call) -> Response:
    """
    Answer with every broker, and with the topics asked for, creating them where client and server allow it.

    @raise KafkaError: C{INVALID_REQUEST} where a version that knows no topic ids in requests carries one.
    """
    cluster, catalog = call.services.cluster, call.services.topics
    response = Response(
        brokers=[ResponseBroker(b.node_id, b.host, b.port, b.rack) for b in cluster.brokers(call.peer)],
        cluster_id=cluster.cluster_id,
        controller_id=cluster.controller_id,
    )
    if request.include_cluster_authorized_operations:
        response.cluster_authorized_operations = CLUSTER_OPERATIONS
    # version 0 has no null, it asks for all topics with an empty list
    if request.topics is None or (call.version == 0 and not request.topics):
        response.topics = [_describe(topic, call) for topic in catalog.all()]
    else:
        # a topic that is named again is told once (Kafka: KafkaApis.handleTopicMetadataRequest); else a small request
        # could ask for an answer of any size
        for asked in {(topic.topic_id, topic.name): topic for topic in request.topics}.values():
            response.topics.append(await _topic(asked, request.allow_auto_topic_creation, call))
    if request.include_topic_authorized_operations:
        for row in response.topics:
            if not row.error_code:
                row.topic_authorized_operations = TOPIC_OPERATIONS
    return response


async def _topic(asked: RequestTopic, may_create: bool, call: Call) -> ResponseTopic:
    catalog = call.services.topics
    if call.version < 12 and (asked.name is None or asked.topic_id != ZERO_UUID):
        raise KafkaError(ErrorCode.INVALID_REQUEST, f"Metadata v{call.version} asks for topics by name only")
    if asked.topic_id != ZERO_UUID:
        topic = catalog.by_id(asked.topic_id)
        if topic is None:
            return ResponseTopic(error_code=ErrorCode.UNKNOWN_TOPIC_ID, name=None, topic_id=asked.topic_id)
        return _describe(topic, call)
    if asked.name is None:
        return ResponseTopic(error_code=ErrorCode.INVALID_REQUEST, name=None)
    topic = catalog.get(asked.name)
    try:
        if topic is None:
            if not (may_create and call.services.config.auto_create_topics_enable):
                catalog.check_name(asked.name)
                raise KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
            if call.services.schemas is not None:
                await call.services.schemas.check_topic(asked.name)
            topic = await catalog.auto_create(asked.name)
    except KafkaError as error:
        return ResponseTopic(error_code=error.code, name=asked.name)
    return _describe(topic, call)


def _describe(topic: Topic, call: Call) -> ResponseTopic:
    return ResponseTopic(
        name=topic.name,
        topic_id=topic.id,
        is_internal=topic.is_internal,
        partitions=[_partition(index, call.services.cluster.leader(topic, index)) for index in range(topic.partitions)],
    )


def _partition(index: int, leader: Leader) -> ResponsePartition:
    if leader.node_id < 0:
        return ResponsePartition(
            error_code=ErrorCode.LEADER_NOT_AVAILABLE, partition_index=index, leader_id=-1, leader_epoch=leader.epoch
        )
    nodes = [leader.node_id]
    return ResponsePartition(
        partition_index=index,
        leader_id=leader.node_id,
        leader_epoch=leader.epoch,
        replica_nodes=nodes,
        isr_nodes=nodes,
    )


def refuse(request: Request, code: ErrorCode) -> Response:
    """The error for every topic that was asked for."""
    # before version 12 answers have no null for the name that requests of version 10 may leave out
    # (Kafka: MetadataRequest.getErrorResponse)
    rows = [ResponseTopic(error_code=code, name=t.name or "", topic_id=t.topic_id) for t in request.topics or ()]
    return Response(error_code=code, topics=rows)


API = Api(
    key=3,
    name="Metadata",
    versions=range(0, 14),
    flexible=9,
    request=Request,
    response=Response,
    handle=handle,
    refuse=refuse,
)
