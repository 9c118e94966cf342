"""Fetch (key 1)."""

from __future__ import annotations

from kgw.errors import ErrorCode
from kgw.handlers.contract import Api, Call
from kgw.wire.message import array, field, message
from kgw.wire.primitives import INT16, INT32, INT64, INT8, RECORDS, STRING, UUID

Records = bytes | memoryview | list[bytes | memoryview]


@message
class RequestReplicaState:
    replica_id: int = field(INT32, since=15, default=-1)
    replica_epoch: int = field(INT64, since=15, default=-1)


@message
class RequestPartition:
    partition: int = field(INT32)
    current_leader_epoch: int = field(INT32, since=9, default=-1)
    fetch_offset: int = field(INT64)
    last_fetched_epoch: int = field(INT32, since=12, default=-1)
    log_start_offset: int = field(INT64, since=5, default=-1)
    partition_max_bytes: int = field(INT32)
    replica_directory_id: bytes = field(UUID, since=17, tag=0)
    high_watermark: int = field(INT64, since=18, tag=1, default=(1 << 63) - 1)


@message
class RequestTopic:
    topic: str = field(STRING, until=12)
    topic_id: bytes = field(UUID, since=13)
    partitions: list[RequestPartition] = field(array(RequestPartition))


@message
class RequestForgottenTopic:
    topic: str = field(STRING, since=7, until=12)
    topic_id: bytes = field(UUID, since=13)
    partitions: list[int] = field(array(INT32), since=7)


@message
class Request:
    cluster_id: str | None = field(STRING, since=12, nullable=12, tag=0, default=None)
    replica_id: int = field(INT32, until=14, default=-1)
    replica_state: RequestReplicaState = field(RequestReplicaState, since=15, tag=1)
    max_wait_ms: int = field(INT32)
    min_bytes: int = field(INT32)
    max_bytes: int = field(INT32, since=3, default=(1 << 31) - 1)
    isolation_level: int = field(INT8, since=4, default=0)
    session_id: int = field(INT32, since=7, default=0)
    session_epoch: int = field(INT32, since=7, default=-1)
    topics: list[RequestTopic] = field(array(RequestTopic))
    forgotten_topics_data: list[RequestForgottenTopic] = field(array(RequestForgottenTopic), since=7)
    rack_id: str = field(STRING, since=11, default="")


@message
class ResponseDivergingEpoch:
    epoch: int = field(INT32, since=12, default=-1)
    end_offset: int = field(INT64, since=12, default=-1)


@message
class ResponseCurrentLeader:
    leader_id: int = field(INT32, since=12, default=-1)
    leader_epoch: int = field(INT32, since=12, default=-1)


@message
class ResponseSnapshotId:
    end_offset: int = field(INT64, default=-1)
    epoch: int = field(INT32, default=-1)


@message
class ResponseAbortedTransaction:
    producer_id: int = field(INT64, since=4)
    first_offset: int = field(INT64, since=4)


@message
class ResponsePartition:
    partition_index: int = field(INT32)
    error_code: int = field(INT16, default=ErrorCode.NONE)
    high_watermark: int = field(INT64)
    last_stable_offset: int = field(INT64, since=4, default=-1)
    log_start_offset: int = field(INT64, since=5, default=-1)
    diverging_epoch: ResponseDivergingEpoch = field(ResponseDivergingEpoch, since=12, tag=0)
    current_leader: ResponseCurrentLeader = field(ResponseCurrentLeader, since=12, tag=1)
    snapshot_id: ResponseSnapshotId = field(ResponseSnapshotId, since=12, tag=2)
    aborted_transactions: list[ResponseAbortedTransaction] | None = field(array(ResponseAbortedTransaction), since=4, nullable=4)
    preferred_read_replica: int = field(INT32, since=11, default=-1)
    records: Records | None = field(RECORDS, nullable=0)


@message
class ResponseTopic:
    topic: str = field(STRING, until=12)
    topic_id: bytes = field(UUID, since=13)
    partitions: list[ResponsePartition] = field(array(ResponsePartition))


@message
class ResponseNodeEndpoint:
    node_id: int = field(INT32, since=16)
    host: str = field(STRING, since=16)
    port: int = field(INT32, since=16)
    rack: str | None = field(STRING, since=16, nullable=16, default=None)


@message
class Response:
    throttle_time_ms: int = field(INT32, since=1)
    error_code: int = field(INT16, since=7, default=ErrorCode.NONE)
    session_id: int = field(INT32, since=7, default=0)
    responses: list[ResponseTopic] = field(array(ResponseTopic))
    node_endpoints: list[ResponseNodeEndpoint] = field(array(ResponseNodeEndpoint), since=16, tag=0)


async def handle(request: Request, call: Call) -> Response:
    """Answer."""
    raise NotImplementedError


def refuse(request: Request, code: ErrorCode) -> Response:
    """One error for all that was asked for."""
    return Response(error_code=code)


API = Api(
    key=1,
    name="Fetch",
    versions=range(4, 19),
    flexible=12,
    request=Request,
    response=Response,
    handle=handle,
    refuse=refuse,
)
