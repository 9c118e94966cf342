"""DeleteGroups (key 42): groups without members go, and their offsets with them (KIP-229)."""

from __future__ import annotations

from kgw.errors import ErrorCode, KafkaError
from kgw.handlers.contract import Api, Call
from kgw.wire.message import array, field, message
from kgw.wire.primitives import INT16, INT32, STRING


@message
class Request:
    """Kafka: DeleteGroupsRequest."""

    groups_names: list[str] = field(array(STRING))


@message
class ResponseResult:
    """What became of one group."""

    group_id: str = field(STRING)
    error_code: int = field(INT16, default=ErrorCode.NONE)


@message
class Response:
    """Kafka: DeleteGroupsResponse."""

    throttle_time_ms: int = field(INT32)
    results: list[ResponseResult] = field(array(ResponseResult))


async def handle(request: Request, call: Call) -> Response:
    """Delete each group that has no members; durable when the answer says C{NONE}."""
    # one row for a group that is named twice, as Kafka does
    return Response(results=[await _delete(group_id, call) for group_id in dict.fromkeys(request.groups_names)])


async def _delete(group_id: str, call: Call) -> ResponseResult:
    try:
        await call.services.groups.delete_group(group_id)
    except KafkaError as error:
        return ResponseResult(group_id, error.code)
    return ResponseResult(group_id)


def refuse(request: Request, code: ErrorCode) -> Response:
    """The error for every group that was to be deleted."""
    return Response(results=[ResponseResult(group_id, code) for group_id in dict.fromkeys(request.groups_names)])


API = Api(
    key=42,
    name="DeleteGroups",
    versions=range(0, 3),
    flexible=2,
    request=Request,
    response=Response,
    handle=handle,
    refuse=refuse,
)
