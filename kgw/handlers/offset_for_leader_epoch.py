"""OffsetForLeaderEpoch (key 23)."""

from __future__ import annotations

from kgw.errors import ErrorCode
from kgw.handlers.contract import Api, Call
from kgw.wire.message import array, field, message
from kgw.wire.primitives import INT16, INT32, INT64, STRING


@message
class RequestPartition:
    partition: int = field(INT32)
    current_leader_epoch: int = field(INT32, since=2, default=-1)
    leader_epoch: int = field(INT32)


@message
class RequestTopic:
    topic: str = field(STRING)
    partitions: list[RequestPartition] = field(array(RequestPartition))


@message
class Request:
    replica_id: int = field(INT32, since=3, default=-2)
    topics: list[RequestTopic] = field(array(RequestTopic))


@message
class ResponsePartition:
    error_code: int = field(INT16, default=ErrorCode.NONE)
    partition: int = field(INT32)
    leader_epoch: int = field(INT32, since=1, default=-1)
    end_offset: int = field(INT64, default=-1)


@message
class ResponseTopic:
    topic: str = field(STRING)
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
    key=23,
    name="OffsetForLeaderEpoch",
    versions=range(2, 5),
    flexible=4,
    request=Request,
    response=Response,
    handle=handle,
    refuse=refuse,
)
