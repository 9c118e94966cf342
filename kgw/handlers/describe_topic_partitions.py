"""DescribeTopicPartitions (key 75)."""

from __future__ import annotations

from kgw.errors import ErrorCode
from kgw.handlers.contract import Api, Call
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
    topic_authorized_operations: int = field(INT32, default=-(1 << 31))


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
    """Answer."""
    raise NotImplementedError


def refuse(request: Request, code: ErrorCode) -> Response:
    """One error for all that was asked for."""
    return Response(error_code=code)


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
