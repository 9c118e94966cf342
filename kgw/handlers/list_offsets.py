"""ListOffsets (key 2)."""

from __future__ import annotations

from kgw.errors import ErrorCode
from kgw.handlers.contract import Api, Call
from kgw.wire.message import array, field, message
from kgw.wire.primitives import INT16, INT32, INT64, INT8, STRING


@message
class RequestPartition:
    partition_index: int = field(INT32)
    current_leader_epoch: int = field(INT32, since=4, default=-1)
    timestamp: int = field(INT64)


@message
class RequestTopic:
    name: str = field(STRING)
    partitions: list[RequestPartition] = field(array(RequestPartition))


@message
class Request:
    replica_id: int = field(INT32)
    isolation_level: int = field(INT8, since=2)
    topics: list[RequestTopic] = field(array(RequestTopic))
    timeout_ms: int = field(INT32, since=10)


@message
class ResponsePartition:
    partition_index: int = field(INT32)
    error_code: int = field(INT16, default=ErrorCode.NONE)
    timestamp: int = field(INT64, since=1, default=-1)
    offset: int = field(INT64, since=1, default=-1)
    leader_epoch: int = field(INT32, since=4, default=-1)


@message
class ResponseTopic:
    name: str = field(STRING)
    partitions: list[ResponsePartition] = field(array(ResponsePartition))


@message
class Response:
    throttle_time_ms: int = field(INT32, since=2)
    topics: list[ResponseTopic] = field(array(ResponseTopic))


async def handle(request: Request, call: Call) -> Response:
    """Answer."""
    raise NotImplementedError


def refuse(request: Request, code: ErrorCode) -> Response:
    """One error for all that was asked for."""
    return Response(error_code=code)


API = Api(
    key=2,
    name="ListOffsets",
    versions=range(1, 12),
    flexible=6,
    request=Request,
    response=Response,
    handle=handle,
    refuse=refuse,
)
