"""Produce (key 0)."""

from __future__ import annotations

from kgw.errors import ErrorCode
from kgw.handlers.contract import Api, Call
from kgw.wire.message import array, field, message
from kgw.wire.primitives import INT16, INT32, INT64, RECORDS, STRING, UUID

Records = bytes | memoryview | list[bytes | memoryview]


@message
class RequestPartition:
    index: int = field(INT32)
    records: Records | None = field(RECORDS, nullable=0)


@message
class RequestTopic:
    name: str = field(STRING, until=12)
    topic_id: bytes = field(UUID, since=13)
    partition_data: list[RequestPartition] = field(array(RequestPartition))


@message
class Request:
    transactional_id: str | None = field(STRING, since=3, nullable=3, default=None)
    acks: int = field(INT16)
    timeout_ms: int = field(INT32)
    topic_data: list[RequestTopic] = field(array(RequestTopic))


@message
class ResponseRecordError:
    batch_index: int = field(INT32, since=8)
    batch_index_error_message: str | None = field(STRING, since=8, nullable=8, default=None)


@message
class ResponseCurrentLeader:
    leader_id: int = field(INT32, since=10, default=-1)
    leader_epoch: int = field(INT32, since=10, default=-1)


@message
class ResponsePartition:
    index: int = field(INT32)
    error_code: int = field(INT16, default=ErrorCode.NONE)
    base_offset: int = field(INT64)
    log_append_time_ms: int = field(INT64, since=2, default=-1)
    log_start_offset: int = field(INT64, since=5, default=-1)
    record_errors: list[ResponseRecordError] = field(array(ResponseRecordError), since=8)
    error_message: str | None = field(STRING, since=8, nullable=8, default=None)
    current_leader: ResponseCurrentLeader = field(ResponseCurrentLeader, since=10, tag=0)


@message
class ResponseTopic:
    name: str = field(STRING, until=12)
    topic_id: bytes = field(UUID, since=13)
    partition_responses: list[ResponsePartition] = field(array(ResponsePartition))


@message
class ResponseNodeEndpoint:
    node_id: int = field(INT32, since=10)
    host: str = field(STRING, since=10)
    port: int = field(INT32, since=10)
    rack: str | None = field(STRING, since=10, nullable=10, default=None)


@message
class Response:
    responses: list[ResponseTopic] = field(array(ResponseTopic))
    throttle_time_ms: int = field(INT32, since=1, default=0)
    node_endpoints: list[ResponseNodeEndpoint] = field(array(ResponseNodeEndpoint), since=10, tag=0)


async def handle(request: Request, call: Call) -> Response:
    """Answer."""
    raise NotImplementedError


def refuse(request: Request, code: ErrorCode) -> Response:
    """One error for all that was asked for."""
    return Response(error_code=code)


API = Api(
    key=0,
    name="Produce",
    versions=range(0, 14),
    flexible=9,
    request=Request,
    response=Response,
    handle=handle,
    refuse=refuse,
)
