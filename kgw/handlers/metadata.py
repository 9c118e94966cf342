"""Metadata (key 3)."""

from __future__ import annotations

from kgw.errors import ErrorCode
from kgw.handlers.contract import Api, Call
from kgw.wire.message import array, field, message
from kgw.wire.primitives import BOOL, INT16, INT32, STRING, UUID


@message
class RequestTopic:
    topic_id: bytes = field(UUID, since=10)
    name: str | None = field(STRING, nullable=10)


@message
class Request:
    topics: list[RequestTopic] | None = field(array(RequestTopic), nullable=1)
    allow_auto_topic_creation: bool = field(BOOL, since=4, default=True)
    include_cluster_authorized_operations: bool = field(BOOL, since=8, until=10)
    include_topic_authorized_operations: bool = field(BOOL, since=8)


@message
class ResponseBroker:
    node_id: int = field(INT32)
    host: str = field(STRING)
    port: int = field(INT32)
    rack: str | None = field(STRING, since=1, nullable=1, default=None)


@message
class ResponsePartition:
    error_code: int = field(INT16, default=ErrorCode.NONE)
    partition_index: int = field(INT32)
    leader_id: int = field(INT32)
    leader_epoch: int = field(INT32, since=7, default=-1)
    replica_nodes: list[int] = field(array(INT32))
    isr_nodes: list[int] = field(array(INT32))
    offline_replicas: list[int] = field(array(INT32), since=5)


@message
class ResponseTopic:
    error_code: int = field(INT16, default=ErrorCode.NONE)
    name: str | None = field(STRING, nullable=12)
    topic_id: bytes = field(UUID, since=10)
    is_internal: bool = field(BOOL, since=1, default=False)
    partitions: list[ResponsePartition] = field(array(ResponsePartition))
    topic_authorized_operations: int = field(INT32, since=8, default=-(1 << 31))


@message
class Response:
    throttle_time_ms: int = field(INT32, since=3)
    brokers: list[ResponseBroker] = field(array(ResponseBroker))
    cluster_id: str | None = field(STRING, since=2, nullable=2, default=None)
    controller_id: int = field(INT32, since=1, default=-1)
    topics: list[ResponseTopic] = field(array(ResponseTopic))
    cluster_authorized_operations: int = field(INT32, since=8, until=10, default=-(1 << 31))
    error_code: int = field(INT16, since=13, default=ErrorCode.NONE)


async def handle(request: Request, call: Call) -> Response:
    """Answer."""
    raise NotImplementedError


def refuse(request: Request, code: ErrorCode) -> Response:
    """One error for all that was asked for."""
    return Response(error_code=code)


API = Api(
    key=3,
    name="Metadata",
    versions=range(0, 14),
    flexible=9,
    request=Request,
    response=Response,
    handle=handle,
    refuse=refuse,
)
