"""LeaveGroup (key 13): members go, by member id or, static ones, by instance id alone (KIP-345, KIP-800)."""

from __future__ import annotations

from kgw.errors import ErrorCode, KafkaError
from kgw.group_model import Leaving, Left
from kgw.handlers.contract import Api, Call
from kgw.wire.message import array, field, message
from kgw.wire.primitives import INT16, INT32, STRING

#: The first version in which several members may go at once.
_SEVERAL = 3


@message
class RequestMember:
    """One that goes; C{reason} is for the group's history."""

    member_id: str = field(STRING, since=3)
    group_instance_id: str | None = field(STRING, since=3, nullable=3, default=None)
    reason: str | None = field(STRING, since=5, nullable=5, default=None)


@message
class Request:
    """Kafka: LeaveGroupRequest."""

    group_id: str = field(STRING)
    member_id: str = field(STRING, until=2)
    members: list[RequestMember] = field(array(RequestMember), since=3)


@message
class ResponseMember:
    """What became of one."""

    member_id: str = field(STRING, since=3)
    group_instance_id: str | None = field(STRING, since=3, nullable=3)
    error_code: int = field(INT16, since=3, default=ErrorCode.NONE)


@message
class Response:
    """Kafka: LeaveGroupResponse."""

    throttle_time_ms: int = field(INT32, since=1)
    error_code: int = field(INT16, default=ErrorCode.NONE)
    members: list[ResponseMember] = field(array(ResponseMember), since=3)


async def handle(request: Request, call: Call) -> Response:
    """Remove the members; each has its own error, which is the answer's where the version knows only one member."""
    several = call.version >= _SEVERAL
    if several:
        leavings = [Leaving(one.member_id, one.group_instance_id, one.reason) for one in request.members]
    else:
        leavings = [Leaving(request.member_id, None)]
    try:
        lefts: list[Left] = await call.services.groups.leave(request.group_id, leavings)
    except KafkaError as error:
        if not several or error.code != ErrorCode.UNKNOWN_MEMBER_ID:
            raise
        # where there is no group, nobody is in it: no error of the request, but of each member, as in Kafka
        lefts = [Left(one.member_id, one.instance_id, error.code) for one in leavings]
    if several:
        return Response(members=[ResponseMember(one.member_id, one.instance_id, one.error) for one in lefts])
    return Response(error_code=next((one.error for one in lefts if one.error), ErrorCode.NONE))


def refuse(request: Request, code: ErrorCode) -> Response:
    """The error for the whole request, without members."""
    return Response(error_code=code)


API = Api(
    key=13,
    name="LeaveGroup",
    versions=range(0, 6),
    flexible=4,
    request=Request,
    response=Response,
    handle=handle,
    refuse=refuse,
)
