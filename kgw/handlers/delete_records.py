"""DeleteRecords (key 21)."""

from __future__ import annotations

from kgw.errors import ErrorCode
from kgw.handlers.contract import Api, Call
from kgw.wire.message import array, field, message
from kgw.wire.primitives import INT16, INT32, INT64, STRING


@message
class RequestPartition:
    partition_index: int = field(INT32)
    offset: int = field(INT64)


@message
class RequestTopic:
    name: str = field(STRING)
    partitions: list[RequestPartition] = field(array(RequestPartition))


@message
class Request:
    topics: list[RequestTopic] = field(array(RequestTopic))
    timeout_ms: int = field(INT32)


@message
class ResponsePartition:
    partition_index: int = field(INT32)
    low_watermark: int = field(INT64)
    error_code: int = field(INT16, default=ErrorCode.NONE)


@message
class ResponseTopic:
    name: str = field(STRING)
    partitions: list[ResponsePartition] = field(array(ResponsePartition))


@message
class Response:
    throttle_time_ms: int = field(INT32)
    topics: list[ResponseTopic] = field(array(ResponseTopic))


async def handle(request: Request, call: Call) -> Response:
    """Answer."""
    raise NotImplementedError


def refuse(request: Request, code: ErrorCode) -> Response:
    """One error for all that was asked for."""
    return Response(error_code=code)


API = Api(
    key=21,
    name="DeleteRecords",
    versions=range(0, 3),
    flexible=2,
    request=Request,
    response=Response,
    handle=handle,
    refuse=refuse,
)
