"""FindCoordinator (key 10): which node keeps a group or a transactional id (KIP-699)."""

from __future__ import annotations

from enum import IntEnum

from kgw.errors import ErrorCode
from kgw.handlers.contract import Api, Call
from kgw.wire.message import array, field, message
from kgw.wire.primitives import INT8, INT16, INT32, STRING


@message
class Request:
    key: str = field(STRING, until=3)
    key_type: int = field(INT8, since=1, default=0)
    coordinator_keys: list[str] = field(array(STRING), since=4)


@message
class ResponseCoordinator:
    key: str = field(STRING, since=4)
    node_id: int = field(INT32, since=4)
    host: str = field(STRING, since=4)
    port: int = field(INT32, since=4)
    error_code: int = field(INT16, since=4, default=ErrorCode.NONE)
    error_message: str | None = field(STRING, since=4, nullable=4)


@message
class Response:
    throttle_time_ms: int = field(INT32, since=1)
    error_code: int = field(INT16, until=3, default=ErrorCode.NONE)
    error_message: str | None = field(STRING, since=1, until=3, nullable=1)
    node_id: int = field(INT32, until=3)
    host: str = field(STRING, until=3)
    port: int = field(INT32, until=3)
    coordinators: list[ResponseCoordinator] = field(array(ResponseCoordinator), since=4)


class KeyType(IntEnum):
    """What a key names."""

    GROUP = 0
    TRANSACTION = 1
    SHARE = 2


async def handle(request: Request, call: Call) -> Response:
    """Answer with the broker of every group, and with this node for transactional ids."""
    keys = request.coordinator_keys if call.version >= 4 else [request.key]
    if request.key_type not in (KeyType.GROUP, KeyType.TRANSACTION):
        what = "share groups are not served here" if request.key_type == KeyType.SHARE else "unknown key type"
        return _answer([_row(key, ErrorCode.INVALID_REQUEST, what) for key in keys], call.version)
    return _answer([_found(key, request.key_type, call) for key in keys], call.version)


def _found(key: str, key_type: int, call: Call) -> ResponseCoordinator:
    cluster = call.services.cluster
    # whoever is asked gives out producer ids
    broker = cluster.coordinator(key, call.peer) if key_type == KeyType.GROUP else cluster.here(call.peer)
    if broker is None:
        return _row(key, ErrorCode.COORDINATOR_NOT_AVAILABLE, "the group is on its way to another broker")
    return ResponseCoordinator(key=key, node_id=broker.node_id, host=broker.host, port=broker.port)


def _row(key: str, code: ErrorCode, message: str | None = None) -> ResponseCoordinator:
    return ResponseCoordinator(key=key, node_id=-1, port=-1, error_code=code, error_message=message)


def _answer(rows: list[ResponseCoordinator], version: int) -> Response:
    """From version 4 on there is a row for each key, before that one answer."""
    if version >= 4:
        return Response(coordinators=rows)
    row = rows[0]
    return Response(
        error_code=row.error_code, error_message=row.error_message, node_id=row.node_id, host=row.host, port=row.port
    )


def refuse(request: Request, code: ErrorCode) -> Response:
    """The error for every key that was asked for."""
    rows = [_row(key, code) for key in request.coordinator_keys]
    return Response(error_code=code, node_id=-1, port=-1, coordinators=rows)


API = Api(
    key=10,
    name="FindCoordinator",
    versions=range(0, 7),
    flexible=3,
    request=Request,
    response=Response,
    handle=handle,
    refuse=refuse,
)
