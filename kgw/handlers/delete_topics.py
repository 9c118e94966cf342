"""DeleteTopics (key 20)."""

from __future__ import annotations

from kgw.errors import ErrorCode
from kgw.handlers.contract import Api, Call
from kgw.wire.message import array, field, message
from kgw.wire.primitives import INT16, INT32, STRING, UUID


@message
class RequestTopic:
    name: str | None = field(STRING, since=6, nullable=6, default=None)
    topic_id: bytes = field(UUID, since=6)


@message
class Request:
    topics: list[RequestTopic] = field(array(RequestTopic), since=6)
    topic_names: list[str] = field(array(STRING), until=5)
    timeout_ms: int = field(INT32)


@message
class ResponseTopic:
    name: str | None = field(STRING, nullable=6)
    topic_id: bytes = field(UUID, since=6)
    error_code: int = field(INT16, default=ErrorCode.NONE)
    error_message: str | None = field(STRING, since=5, nullable=5, default=None)


@message
class Response:
    throttle_time_ms: int = field(INT32, since=1)
    responses: list[ResponseTopic] = field(array(ResponseTopic))


async def handle(request: Request, call: Call) -> Response:
    """Answer."""
    raise NotImplementedError


def refuse(request: Request, code: ErrorCode) -> Response:
    """One error for all that was asked for."""
    return Response(error_code=code)


API = Api(
    key=20,
    name="DeleteTopics",
    versions=range(1, 7),
    flexible=4,
    request=Request,
    response=Response,
    handle=handle,
    refuse=refuse,
)
