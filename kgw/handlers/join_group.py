"""JoinGroup (key 11): a member asks to be in the next generation, and waits for it (KIP-345, KIP-394, KIP-814)."""

from __future__ import annotations

from kgw.errors import ErrorCode, KafkaError
from kgw.group_model import GroupProtocol, Joined, JoinRequest
from kgw.handlers.contract import Api, Call
from kgw.wire.message import array, field, message
from kgw.wire.primitives import BOOL, BYTES, INT16, INT32, STRING

#: The first version whose client comes again with the member id it was given (KIP-394).
_MEMBER_ID_REQUIRED = 4

#: The first version whose protocol name may be null.
_NULL_PROTOCOL = 7

#: The first version whose leader may be told to skip the assignment (KIP-814).
_SKIP_ASSIGNMENT = 9

_NO_GENERATION = -1


@message
class RequestProtocol:
    """A protocol the member can do, the one it likes best in front; C{metadata} is for the leader."""

    name: str = field(STRING)
    metadata: bytes = field(BYTES)


@message
class Request:
    """Kafka: JoinGroupRequest."""

    group_id: str = field(STRING)
    session_timeout_ms: int = field(INT32)
    rebalance_timeout_ms: int = field(INT32, since=1, default=-1)
    member_id: str = field(STRING)
    group_instance_id: str | None = field(STRING, since=5, nullable=5, default=None)
    protocol_type: str = field(STRING)
    protocols: list[RequestProtocol] = field(array(RequestProtocol))
    reason: str | None = field(STRING, since=8, nullable=8, default=None)


@message
class ResponseMember:
    """A member, as its leader is told of it."""

    member_id: str = field(STRING)
    group_instance_id: str | None = field(STRING, since=5, nullable=5, default=None)
    metadata: bytes = field(BYTES)


@message
class Response:
    """Kafka: JoinGroupResponse; C{members} is empty for all but the leader."""

    throttle_time_ms: int = field(INT32, since=2)
    error_code: int = field(INT16, default=ErrorCode.NONE)
    generation_id: int = field(INT32, default=_NO_GENERATION)
    protocol_type: str | None = field(STRING, since=7, nullable=7, default=None)
    protocol_name: str | None = field(STRING, nullable=7)
    leader: str = field(STRING)
    skip_assignment: bool = field(BOOL, since=9, default=False)
    member_id: str = field(STRING)
    members: list[ResponseMember] = field(array(ResponseMember))


async def handle(request: Request, call: Call) -> Response:
    """Answer once the generation stands that the member is in, or with why it will be in none."""
    version = call.version
    try:
        joined: Joined = await call.services.groups.join(
            JoinRequest(
                group_id=request.group_id,
                member_id=request.member_id,
                instance_id=request.group_instance_id,
                session_timeout_ms=request.session_timeout_ms,
                # version 0 knows one timeout
                rebalance_timeout_ms=request.rebalance_timeout_ms if version >= 1 else request.session_timeout_ms,
                protocol_type=request.protocol_type,
                protocols=tuple(GroupProtocol(one.name, bytes(one.metadata)) for one in request.protocols),
                caller=call.caller,
                reason=request.reason or "",
                needs_member_id=version >= _MEMBER_ID_REQUIRED,
                may_skip_assignment=version >= _SKIP_ASSIGNMENT,
            )
        )
    except KafkaError as error:
        member_id = "" if error.code == ErrorCode.GROUP_MAX_SIZE_REACHED else request.member_id
        return _refused(error.code, member_id, version)
    name = joined.protocol_name
    return Response(
        error_code=joined.error,
        generation_id=joined.generation_id,
        protocol_type=joined.protocol_type,
        protocol_name="" if name is None and version < _NULL_PROTOCOL else name,
        leader=joined.leader,
        skip_assignment=joined.skip_assignment,
        member_id=joined.member_id,
        members=[ResponseMember(one.member_id, one.instance_id, one.metadata) for one in joined.members],
    )


def _refused(code: ErrorCode, member_id: str, version: int) -> Response:
    name = "" if version < _NULL_PROTOCOL else None
    return Response(error_code=code, protocol_name=name, member_id=member_id)


def refuse(request: Request, code: ErrorCode) -> Response:
    """The error, with the member id the client came with; the empty protocol name is lawful in every version."""
    return Response(error_code=code, member_id=request.member_id)


API = Api(
    key=11,
    name="JoinGroup",
    versions=range(0, 10),
    flexible=6,
    request=Request,
    response=Response,
    handle=handle,
    refuse=refuse,
    # a client whose connection ends comes again with its member id, which a restarted gateway still knows
    parks=True,
)
