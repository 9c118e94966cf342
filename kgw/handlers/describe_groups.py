"""DescribeGroups (key 15): state, protocol and members of groups (KIP-345, KIP-430, KIP-1043)."""

from __future__ import annotations

from kgw.errors import ErrorCode, KafkaError
from kgw.group_model import GroupDescription
from kgw.handlers.contract import Api, Call
from kgw.model import GROUP_OPERATIONS, OPERATIONS_OMITTED
from kgw.wire.message import array, field, message
from kgw.wire.primitives import BOOL, BYTES, INT16, INT32, STRING

#: The first version in which a group that is not there is an error, not a group in state Dead (KIP-1043).
_NOT_FOUND = 6

_DEAD = "Dead"


@message
class Request:
    """Kafka: DescribeGroupsRequest."""

    groups: list[str] = field(array(STRING))
    include_authorized_operations: bool = field(BOOL, since=3)


@message
class ResponseMember:
    """A member; what it said is told while the group is stable only, what it got as long as that stands."""

    member_id: str = field(STRING)
    group_instance_id: str | None = field(STRING, since=4, nullable=4, default=None)
    client_id: str = field(STRING)
    client_host: str = field(STRING)
    member_metadata: bytes = field(BYTES)
    member_assignment: bytes = field(BYTES)


@message
class ResponseGroup:
    """A group, or its error."""

    error_code: int = field(INT16, default=ErrorCode.NONE)
    error_message: str | None = field(STRING, since=6, nullable=6, default=None)
    group_id: str = field(STRING)
    group_state: str = field(STRING)
    protocol_type: str = field(STRING)
    protocol_data: str = field(STRING)
    members: list[ResponseMember] = field(array(ResponseMember))
    authorized_operations: int = field(INT32, since=3, default=OPERATIONS_OMITTED)


@message
class Response:
    """Kafka: DescribeGroupsResponse."""

    throttle_time_ms: int = field(INT32, since=1)
    groups: list[ResponseGroup] = field(array(ResponseGroup))


async def handle(request: Request, call: Call) -> Response:
    """Describe each group once; one that is not there is Dead, and from version 6 on an error as well."""
    response = Response(groups=[await _describe(group_id, call) for group_id in dict.fromkeys(request.groups)])
    if request.include_authorized_operations:
        for row in response.groups:
            if not row.error_code:
                row.authorized_operations = GROUP_OPERATIONS
    return response


async def _describe(group_id: str, call: Call) -> ResponseGroup:
    try:
        found: GroupDescription = await call.services.groups.describe(group_id)
    except KafkaError as error:
        if error.code != ErrorCode.GROUP_ID_NOT_FOUND:
            return ResponseGroup(error_code=error.code, error_message=error.message or None, group_id=group_id)
        row = ResponseGroup(group_id=group_id, group_state=_DEAD)
        if call.version >= _NOT_FOUND:
            row.error_code = error.code
            row.error_message = f"Group {group_id} not found."
        return row
    return ResponseGroup(
        group_id=group_id,
        group_state=found.state,
        protocol_type=found.protocol_type,
        protocol_data=found.protocol_name,
        members=[
            ResponseMember(one.member_id, one.instance_id, one.client_id, one.client_host, one.metadata, one.assignment)
            for one in found.members
        ],
    )


def refuse(request: Request, code: ErrorCode) -> Response:
    """The error for every group that was asked for."""
    return Response(
        groups=[ResponseGroup(error_code=code, group_id=group_id) for group_id in dict.fromkeys(request.groups)]
    )


API = Api(
    key=15,
    name="DescribeGroups",
    versions=range(0, 7),
    flexible=5,
    request=Request,
    response=Response,
    handle=handle,
    refuse=refuse,
)
