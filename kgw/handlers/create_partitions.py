"""CreatePartitions (key 37)."""

from __future__ import annotations

from kgw.errors import ErrorCode
from kgw.handlers.contract import Api, Call
from kgw.wire.message import array, field, message
from kgw.wire.primitives import BOOL, INT16, INT32, STRING


@message
class RequestAssignment:
    broker_ids: list[int] = field(array(INT32))


@message
class RequestTopic:
    name: str = field(STRING)
    count: int = field(INT32)
    assignments: list[RequestAssignment] | None = field(array(RequestAssignment), nullable=0)


@message
class Request:
    topics: list[RequestTopic] = field(array(RequestTopic))
    timeout_ms: int = field(INT32)
    validate_only: bool = field(BOOL)


@message
class ResponseResult:
    name: str = field(STRING)
    error_code: int = field(INT16, default=ErrorCode.NONE)
    error_message: str | None = field(STRING, nullable=0, default=None)


@message
class Response:
    throttle_time_ms: int = field(INT32)
    results: list[ResponseResult] = field(array(ResponseResult))


async def handle(request: Request, call: Call) -> Response:
    """Answer."""
    raise NotImplementedError


def refuse(request: Request, code: ErrorCode) -> Response:
    """One error for all that was asked for."""
    return Response(error_code=code)


API = Api(
    key=37,
    name="CreatePartitions",
    versions=range(0, 4),
    flexible=2,
    request=Request,
    response=Response,
    handle=handle,
    refuse=refuse,
)
