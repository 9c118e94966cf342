"""CreateTopics (key 19)."""

from __future__ import annotations

from kgw.errors import ErrorCode
from kgw.handlers.contract import Api, Call
from kgw.wire.message import array, field, message
from kgw.wire.primitives import BOOL, INT16, INT32, INT8, STRING, UUID


@message
class RequestAssignment:
    partition_index: int = field(INT32)
    broker_ids: list[int] = field(array(INT32))


@message
class RequestConfig:
    name: str = field(STRING)
    value: str | None = field(STRING, nullable=0)


@message
class RequestTopic:
    name: str = field(STRING)
    num_partitions: int = field(INT32)
    replication_factor: int = field(INT16)
    assignments: list[RequestAssignment] = field(array(RequestAssignment))
    configs: list[RequestConfig] = field(array(RequestConfig))


@message
class Request:
    topics: list[RequestTopic] = field(array(RequestTopic))
    timeout_ms: int = field(INT32, default=60000)
    validate_only: bool = field(BOOL, since=1, default=False)


@message
class ResponseConfig:
    name: str = field(STRING, since=5)
    value: str | None = field(STRING, since=5, nullable=5)
    read_only: bool = field(BOOL, since=5)
    config_source: int = field(INT8, since=5, default=-1)
    is_sensitive: bool = field(BOOL, since=5)


@message
class ResponseTopic:
    name: str = field(STRING)
    topic_id: bytes = field(UUID, since=7)
    error_code: int = field(INT16, default=ErrorCode.NONE)
    error_message: str | None = field(STRING, since=1, nullable=0)
    topic_config_error_code: int = field(INT16, since=5, tag=0)
    num_partitions: int = field(INT32, since=5, default=-1)
    replication_factor: int = field(INT16, since=5, default=-1)
    configs: list[ResponseConfig] | None = field(array(ResponseConfig), since=5, nullable=5)


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
    key=19,
    name="CreateTopics",
    versions=range(2, 8),
    flexible=5,
    request=Request,
    response=Response,
    handle=handle,
    refuse=refuse,
)
