"""InitProducerId (key 22)."""

from __future__ import annotations

from kgw.errors import ErrorCode
from kgw.handlers.contract import Api, Call
from kgw.wire.message import field, message
from kgw.wire.primitives import INT16, INT32, INT64, STRING


@message
class Request:
    transactional_id: str | None = field(STRING, nullable=0)
    transaction_timeout_ms: int = field(INT32)
    producer_id: int = field(INT64, since=3, default=-1)
    producer_epoch: int = field(INT16, since=3, default=-1)


@message
class Response:
    throttle_time_ms: int = field(INT32)
    error_code: int = field(INT16, default=ErrorCode.NONE)
    producer_id: int = field(INT64, default=-1)
    producer_epoch: int = field(INT16)


async def handle(request: Request, call: Call) -> Response:
    """Answer."""
    raise NotImplementedError


def refuse(request: Request, code: ErrorCode) -> Response:
    """One error for all that was asked for."""
    return Response(error_code=code)


API = Api(
    key=22,
    name="InitProducerId",
    versions=range(0, 6),
    flexible=2,
    request=Request,
    response=Response,
    handle=handle,
    refuse=refuse,
)
