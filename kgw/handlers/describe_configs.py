"""DescribeConfigs (key 32)."""

from __future__ import annotations

from kgw.errors import ErrorCode
from kgw.handlers.contract import Api, Call
from kgw.wire.message import array, field, message
from kgw.wire.primitives import BOOL, INT16, INT32, INT8, STRING


@message
class RequestResource:
    resource_type: int = field(INT8)
    resource_name: str = field(STRING)
    configuration_keys: list[str] | None = field(array(STRING), nullable=0)


@message
class Request:
    resources: list[RequestResource] = field(array(RequestResource))
    include_synonyms: bool = field(BOOL, since=1, default=False)
    include_documentation: bool = field(BOOL, since=3, default=False)


@message
class ResponseSynonym:
    name: str = field(STRING, since=1)
    value: str | None = field(STRING, since=1, nullable=0)
    source: int = field(INT8, since=1)


@message
class ResponseConfig:
    name: str = field(STRING)
    value: str | None = field(STRING, nullable=0)
    read_only: bool = field(BOOL)
    config_source: int = field(INT8, since=1, default=-1)
    is_sensitive: bool = field(BOOL)
    synonyms: list[ResponseSynonym] = field(array(ResponseSynonym), since=1)
    config_type: int = field(INT8, since=3, default=0)
    documentation: str | None = field(STRING, since=3, nullable=0)


@message
class ResponseResult:
    error_code: int = field(INT16, default=ErrorCode.NONE)
    error_message: str | None = field(STRING, nullable=0)
    resource_type: int = field(INT8)
    resource_name: str = field(STRING)
    configs: list[ResponseConfig] = field(array(ResponseConfig))


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
    key=32,
    name="DescribeConfigs",
    versions=range(1, 5),
    flexible=4,
    request=Request,
    response=Response,
    handle=handle,
    refuse=refuse,
)
