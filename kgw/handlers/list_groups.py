"""ListGroups (key 16): all groups, or those in some states and of some types (KIP-518, KIP-848)."""

from __future__ import annotations

from kgw.errors import ErrorCode
from kgw.group_model import GroupListing
from kgw.handlers.contract import Api, Call
from kgw.wire.message import array, field, message
from kgw.wire.primitives import INT16, INT32, STRING


@message
class Request:
    """Kafka: ListGroupsRequest; an empty filter lets all pass."""

    states_filter: list[str] = field(array(STRING), since=4)
    types_filter: list[str] = field(array(STRING), since=5)


@message
class ResponseGroup:
    """One group."""

    group_id: str = field(STRING)
    protocol_type: str = field(STRING)
    group_state: str = field(STRING, since=4)
    group_type: str = field(STRING, since=5)


@message
class Response:
    """Kafka: ListGroupsResponse."""

    throttle_time_ms: int = field(INT32, since=1)
    error_code: int = field(INT16, default=ErrorCode.NONE)
    groups: list[ResponseGroup] = field(array(ResponseGroup))


async def handle(request: Request, call: Call) -> Response:
    """Answer with the groups whose state and type are among those asked for, in whatever case they are written."""
    found: list[GroupListing] = await call.services.groups.list_groups(
        [state.strip().lower() for state in request.states_filter],
        [kind.strip().lower() for kind in request.types_filter],
    )
    return Response(groups=[ResponseGroup(one.group_id, one.protocol_type, one.state, one.group_type) for one in found])


def refuse(request: Request, code: ErrorCode) -> Response:
    """The error, and no groups."""
    return Response(error_code=code)


API = Api(
    key=16,
    name="ListGroups",
    versions=range(0, 6),
    flexible=3,
    request=Request,
    response=Response,
    handle=handle,
    refuse=refuse,
)
