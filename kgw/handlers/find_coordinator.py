"""FindCoordinator (key 10)."""

from __future__ import annotations

from kgw.errors import ErrorCode
from kgw.handlers.contract import Api, Call
from kgw.wire.message import array, field, message
from kgw.wire.primitives import INT16, INT32, INT8, STRING


@message
class Request:
    key: str = field(STRING, until=3)
    key_type: int = field(INT8, since=1, default=0)
    coordinator_keys: list[str] = field(array(STRING), since=4)


@message
class ResponseCoordinator:
    key: str = field(STRING, since=4)
    node_id: int = field(INT32, since=4)
    host: str = field(STRING, since=4)
    port: int = field(INT32, since=4)
    error_code: int = field(INT16, since=4, default=ErrorCode.NONE)
    error_message: str | None = field(STRING, since=4, nullable=4)


@message
class Response:
    throttle_time_ms: int = field(INT32, since=1)
    error_code: int = field(INT16, until=3, default=ErrorCode.NONE)
    error_message: str | None = field(STRING, since=1, until=3, nullable=1)
    node_id: int = field(INT32, until=3)
    host: str = field(STRING, until=3)
    port: int = field(INT32, until=3)
    coordinators: list[ResponseCoordinator] = field(array(ResponseCoordinator), since=4)


async def handle(request: Request, call: Call) -> Response:
    """Answer."""
    raise NotImplementedError


def refuse(request: Request, code: ErrorCode) -> Response:
    """One error for all that was asked for."""
    return Response(error_code=code)


API = Api(
    key=10,
    name="FindCoordinator",
    versions=range(0, 7),
    flexible=3,
    request=Request,
    response=Response,
    handle=handle,
    refuse=refuse,
)
