"""DescribeTopicPartitions (key 75): topics in pages, for clusters with very many partitions (KIP-966)."""

from __future__ import annotations

from kgw.errors import ErrorCode, KafkaError
from kgw.handlers.contract import Api, Call
from kgw.model import OPERATIONS_OMITTED, TOPIC_OPERATIONS, Leader, Topic
from kgw.wire.message import array, field, message
from kgw.wire.primitives import BOOL, INT16, INT32, STRING, UUID


@message
class RequestTopic:
    name: str = field(STRING)


@message
class RequestCursor:
    topic_name: str = field(STRING)
    partition_index: int = field(INT32)


@message
class Request:
    topics: list[RequestTopic] = field(array(RequestTopic))
    response_partition_limit: int = field(INT32, default=2000)
    cursor: RequestCursor | None = field(RequestCursor, nullable=0, default=None)


@message
class ResponsePartition:
    error_code: int = field(INT16, default=ErrorCode.NONE)
    partition_index: int = field(INT32)
    leader_id: int = field(INT32)
    leader_epoch: int = field(INT32, default=-1)
    replica_nodes: list[int] = field(array(INT32))
    isr_nodes: list[int] = field(array(INT32))
    eligible_leader_replicas: list[int] | None = field(array(INT32), nullable=0, default=None)
    last_known_elr: list[int] | None = field(array(INT32), nullable=0, default=None)
    offline_replicas: list[int] = field(array(INT32))


@message
class ResponseTopic:
    error_code: int = field(INT16, default=ErrorCode.NONE)
    name: str | None = field(STRING, nullable=0)
    topic_id: bytes = field(UUID)
    is_internal: bool = field(BOOL, default=False)
    partitions: list[ResponsePartition] = field(array(ResponsePartition))
    topic_authorized_operations: int = field(INT32, default=OPERATIONS_OMITTED)


@message
class ResponseNextCursor:
    topic_name: str = field(STRING)
    partition_index: int = field(INT32)


@message
class Response:
    throttle_time_ms: int = field(INT32)
    topics: list[ResponseTopic] = field(array(ResponseTopic))
    next_cursor: ResponseNextCursor | None = field(ResponseNextCursor, nullable=0, default=None)


async def handle(request: Request, call: Call) -> Response:
    """
    Answer with topics in the order of their names, from the cursor on, until the page is full.

    @raise KafkaError: C{INVALID_REQUEST} where the cursor or the limit is below its bounds.
    """
    cursor = request.cursor
    if cursor is not None and cursor.partition_index < 0:
        raise KafkaError(ErrorCode.INVALID_REQUEST, "the cursor's partition index is negative")
    if request.response_partition_limit < 1:
        raise KafkaError(ErrorCode.INVALID_REQUEST, "response_partition_limit is below 1")
    catalog = call.services.topics
    room = min(request.response_partition_limit, call.services.config.max_request_partition_size_limit)
    names = sorted({asked.name for asked in request.topics} or {topic.name for topic in catalog.all()})
    response = Response()
    for name in names:
        first = 0
        if cursor is not None:
            if name < cursor.topic_name:
                continue
            if name == cursor.topic_name:
                first = cursor.partition_index
        if room <= 0:
            response.next_cursor = ResponseNextCursor(name, first)
            break
        topic = catalog.get(name)
        if topic is None:
            response.topics.append(_unknown(name, call))
            continue
        last = min(topic.partitions, first + room)
        response.topics.append(_describe(topic, range(first, last), call))
        room -= max(last - first, 0)
        if last < topic.partitions:
            response.next_cursor = ResponseNextCursor(name, last)
            break
    return response


def _unknown(name: str, call: Call) -> ResponseTopic:
    try:
        call.services.topics.check_name(name)
    except KafkaError as error:
        return ResponseTopic(error_code=error.code, name=name)
    return ResponseTopic(error_code=ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, name=name)


def _describe(topic: Topic, indexes: range, call: Call) -> ResponseTopic:
    return ResponseTopic(
        name=topic.name,
        topic_id=topic.id,
        is_internal=topic.is_internal,
        partitions=[_partition(index, call.services.cluster.leader(topic, index)) for index in indexes],
        topic_authorized_operations=TOPIC_OPERATIONS,
    )


def _partition(index: int, leader: Leader) -> ResponsePartition:
    nodes = [leader.node_id] if leader.node_id >= 0 else []
    return ResponsePartition(
        error_code=ErrorCode.NONE if nodes else ErrorCode.LEADER_NOT_AVAILABLE,
        partition_index=index,
        leader_id=leader.node_id,
        leader_epoch=leader.epoch,
        replica_nodes=nodes,
        isr_nodes=nodes,
        eligible_leader_replicas=[],
        last_known_elr=[],
    )


def refuse(request: Request, code: ErrorCode) -> Response:
    """The error for every topic that was asked for."""
    return Response(topics=[ResponseTopic(error_code=code, name=asked.name) for asked in request.topics])


API = Api(
    key=75,
    name="DescribeTopicPartitions",
    versions=range(0, 1),
    flexible=0,
    request=Request,
    response=Response,
    handle=handle,
    refuse=refuse,
)
