"""SyncGroup (key 14): the leader brings everybody's assignment, each member gets its own (KIP-345, KIP-559)."""

from __future__ import annotations

from kgw.errors import ErrorCode, KafkaError
from kgw.group_model import Synced, SyncRequest
from kgw.handlers.contract import Api, Call
from kgw.wire.message import array, field, message
from kgw.wire.primitives import BYTES, INT16, INT32, STRING

#: The first version that has to say which protocol type and name it means (KIP-559).
_PROTOCOL_REQUIRED = 5


@message
class RequestAssignment:
    """One member's assignment, opaque to the broker."""

    member_id: str = field(STRING)
    assignment: bytes = field(BYTES)


@message
class Request:
    """Kafka: SyncGroupRequest; C{assignments} is empty for all but the leader."""

    group_id: str = field(STRING)
    generation_id: int = field(INT32)
    member_id: str = field(STRING)
    group_instance_id: str | None = field(STRING, since=3, nullable=3, default=None)
    protocol_type: str | None = field(STRING, since=5, nullable=5, default=None)
    protocol_name: str | None = field(STRING, since=5, nullable=5, default=None)
    assignments: list[RequestAssignment] = field(array(RequestAssignment))


@message
class Response:
    """Kafka: SyncGroupResponse."""

    throttle_time_ms: int = field(INT32, since=1)
    error_code: int = field(INT16, default=ErrorCode.NONE)
    protocol_type: str | None = field(STRING, since=5, nullable=5, default=None)
    protocol_name: str | None = field(STRING, since=5, nullable=5, default=None)
    assignment: bytes = field(BYTES)


async def handle(request: Request, call: Call) -> Response:
    """
    Answer with the member's assignment once the leader has brought it.

    @raise KafkaError: C{INCONSISTENT_GROUP_PROTOCOL} where the version has to name the protocol and does not, or
        what the group says.
    """
    if call.version >= _PROTOCOL_REQUIRED and (request.protocol_type is None or request.protocol_name is None):
        raise KafkaError(ErrorCode.INCONSISTENT_GROUP_PROTOCOL, "protocol type and name are missing")
    synced: Synced = await call.services.groups.sync(
        SyncRequest(
            group_id=request.group_id,
            generation_id=request.generation_id,
            member_id=request.member_id,
            instance_id=request.group_instance_id,
            protocol_type=request.protocol_type,
            protocol_name=request.protocol_name,
            assignments={one.member_id: bytes(one.assignment) for one in request.assignments},
        )
    )
    return Response(
        protocol_type=synced.protocol_type, protocol_name=synced.protocol_name, assignment=synced.assignment
    )


def refuse(request: Request, code: ErrorCode) -> Response:
    """The error, and no assignment."""
    return Response(error_code=code)


API = Api(
    key=14,
    name="SyncGroup",
    versions=range(0, 6),
    flexible=4,
    request=Request,
    response=Response,
    handle=handle,
    refuse=refuse,
    # as with JoinGroup, the client comes again
    parks=True,
)
