"""Heartbeat (key 12): a member is alive, and learns whether its generation still stands (KIP-345)."""

from __future__ import annotations

from kgw.errors import ErrorCode, KafkaError
from kgw.handlers.contract import Api, Call
from kgw.wire.message import field, message
from kgw.wire.primitives import INT16, INT32, STRING


@message
class Request:
    """Kafka: HeartbeatRequest."""

    group_id: str = field(STRING)
    generation_id: int = field(INT32)
    member_id: str = field(STRING)
    group_instance_id: str | None = field(STRING, since=3, nullable=3, default=None)


@message
class Response:
    """Kafka: HeartbeatResponse."""

    throttle_time_ms: int = field(INT32, since=1)
    error_code: int = field(INT16, default=ErrorCode.NONE)


async def handle(request: Request, call: Call) -> Response:
    """Renew the member's session; C{REBALANCE_IN_PROGRESS} tells it to join again."""
    try:
        await call.services.groups.heartbeat(
            request.group_id, request.generation_id, request.member_id, request.group_instance_id
        )
    except KafkaError as error:
        # while groups are being read from the store their members live, as far as anybody knows (Kafka does this)
        if error.code != ErrorCode.COORDINATOR_LOAD_IN_PROGRESS:
            raise
    return Response()


def refuse(request: Request, code: ErrorCode) -> Response:
    """The error."""
    return Response(error_code=code)


API = Api(
    key=12,
    name="Heartbeat",
    versions=range(0, 5),
    flexible=4,
    request=Request,
    response=Response,
    handle=handle,
    refuse=refuse,
)
