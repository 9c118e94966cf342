"""DescribeCluster (key 60)."""

from __future__ import annotations

from kgw.errors import ErrorCode
from kgw.handlers.contract import Api, Call
from kgw.wire.message import array, field, message
from kgw.wire.primitives import BOOL, INT16, INT32, INT8, STRING


@message
class Request:
    include_cluster_authorized_operations: bool = field(BOOL)
    endpoint_type: int = field(INT8, since=1, default=1)
    include_fenced_brokers: bool = field(BOOL, since=2)


@message
class ResponseBroker:
    broker_id: int = field(INT32)
    host: str = field(STRING)
    port: int = field(INT32)
    rack: str | None = field(STRING, nullable=0, default=None)
    is_fenced: bool = field(BOOL, since=2)


@message
class Response:
    throttle_time_ms: int = field(INT32)
    error_code: int = field(INT16, default=ErrorCode.NONE)
    error_message: str | None = field(STRING, nullable=0, default=None)
    endpoint_type: int = field(INT8, since=1, default=1)
    cluster_id: str = field(STRING)
    controller_id: int = field(INT32, default=-1)
    brokers: list[ResponseBroker] = field(array(ResponseBroker))
    cluster_authorized_operations: int = field(INT32, default=-(1 << 31))


async def handle(request: Request, call: Call) -> Response:
    """Answer."""
    raise NotImplementedError


def refuse(request: Request, code: ErrorCode) -> Response:
    """One error for all that was asked for."""
    return Response(error_code=code)


API = Api(
    key=60,
    name="DescribeCluster",
    versions=range(0, 3),
    flexible=0,
    request=Request,
    response=Response,
    handle=handle,
    refuse=refuse,
)
