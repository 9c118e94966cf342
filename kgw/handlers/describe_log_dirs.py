"""DescribeLogDirs (key 35): what partitions take where they are stored, and what is left there (KIP-113, KIP-827)."""

from __future__ import annotations

from kgw.errors import ErrorCode, KafkaError
from kgw.handlers.contract import Api, Call
from kgw.model import HEALTH_TOPIC, TopicPartition
from kgw.wire.message import array, field, message
from kgw.wire.primitives import BOOL, INT16, INT32, INT64, STRING


@message
class RequestTopic:
    topic: str = field(STRING)
    partitions: list[int] = field(array(INT32))


@message
class Request:
    """
    Kafka: DescribeLogDirsRequest.

    @ivar topics: null for all partitions there are.
    """

    topics: list[RequestTopic] | None = field(array(RequestTopic), nullable=0)


@message
class ResponsePartition:
    """
    @ivar offset_lag: how far the replica is behind; this node's are the only ones.
    @ivar is_future_key: the replica is being moved to another directory, which never happens here.
    """

    partition_index: int = field(INT32)
    partition_size: int = field(INT64)
    offset_lag: int = field(INT64)
    is_future_key: bool = field(BOOL)


@message
class ResponseTopic:
    name: str = field(STRING)
    partitions: list[ResponsePartition] = field(array(ResponsePartition))


@message
class ResponseResult:
    """
    One directory.

    @ivar total_bytes: of its volume, -1 where there is none.
    """

    error_code: int = field(INT16, default=ErrorCode.NONE)
    log_dir: str = field(STRING)
    topics: list[ResponseTopic] = field(array(ResponseTopic))
    total_bytes: int = field(INT64, since=4, default=-1)
    usable_bytes: int = field(INT64, since=4, default=-1)
    is_cordoned: bool = field(BOOL, since=5, default=False)


@message
class Response:
    throttle_time_ms: int = field(INT32)
    error_code: int = field(INT16, since=3, default=ErrorCode.NONE)
    results: list[ResponseResult] = field(array(ResponseResult))


async def handle(request: Request, call: Call) -> Response:
    """
    Answer with the one place where the engine keeps logs.

    Who asks for all partitions gets those of kgw's own topics as little as from Metadata.
    As in Kafka, partitions that are not here are left out, and a directory that cannot be looked at is a row with
    C{KAFKA_STORAGE_ERROR}.
    """
    wanted = None
    if request.topics is not None:
        wanted = {TopicPartition(asked.topic, index) for asked in request.topics for index in asked.partitions}
    logs = call.services.logs
    try:
        found = await logs.log_dir(wanted)
    except KafkaError as error:
        return Response(results=[ResponseResult(error_code=error.code, log_dir=logs.describe())])
    row = ResponseResult(log_dir=found.path, total_bytes=found.total_bytes, usable_bytes=found.usable_bytes)
    topic: ResponseTopic | None = None
    for name, size in sorted(found.sizes.items()):
        if wanted is None and name.topic == HEALTH_TOPIC:
            continue
        if topic is None or topic.name != name.topic:
            topic = ResponseTopic(name.topic)
            row.topics.append(topic)
        topic.partitions.append(ResponsePartition(name.partition, size))
    return Response(results=[row])


def refuse(request: Request, code: ErrorCode) -> Response:
    """The error, which versions before 3 have no place for."""
    return Response(error_code=code)


API = Api(
    key=35,
    name="DescribeLogDirs",
    versions=range(1, 6),
    flexible=2,
    request=Request,
    response=Response,
    handle=handle,
    refuse=refuse,
)
