"""ListOffsets (key 2): offsets by time, and where a log begins and ends (KIP-79, KIP-734, KIP-405)."""

from __future__ import annotations

from collections import Counter
from enum import IntEnum

from kgw.errors import ErrorCode, KafkaError
from kgw.handlers.contract import Api, Call
from kgw.interfaces import IPartitionLog
from kgw.model import NO_OFFSET, TimestampOffset
from kgw.wire.message import array, field, message
from kgw.wire.primitives import INT8, INT16, INT32, INT64, STRING


@message
class RequestPartition:
    partition_index: int = field(INT32)
    current_leader_epoch: int = field(INT32, since=4, default=-1)
    timestamp: int = field(INT64)


@message
class RequestTopic:
    name: str = field(STRING)
    partitions: list[RequestPartition] = field(array(RequestPartition))


@message
class Request:
    replica_id: int = field(INT32)
    isolation_level: int = field(INT8, since=2)
    topics: list[RequestTopic] = field(array(RequestTopic))
    timeout_ms: int = field(INT32, since=10)


@message
class ResponsePartition:
    partition_index: int = field(INT32)
    error_code: int = field(INT16, default=ErrorCode.NONE)
    timestamp: int = field(INT64, since=1, default=-1)
    offset: int = field(INT64, since=1, default=-1)
    leader_epoch: int = field(INT32, since=4, default=-1)


@message
class ResponseTopic:
    name: str = field(STRING)
    partitions: list[ResponsePartition] = field(array(ResponsePartition))


@message
class Response:
    throttle_time_ms: int = field(INT32, since=2)
    topics: list[ResponseTopic] = field(array(ResponseTopic))


class Sentinel(IntEnum):
    """Timestamps that ask for something else than a time, each with the first version that knows it."""

    since: int

    def __new__(cls, value: int, since: int) -> Sentinel:
        """An enum member that carries its first version along."""
        made = int.__new__(cls, value)
        made._value_ = value
        made.since = since
        return made

    LATEST = -1, 0
    EARLIEST = -2, 0
    MAX_TIMESTAMP = -3, 7
    EARLIEST_LOCAL = -4, 8
    LATEST_TIERED = -5, 9
    EARLIEST_PENDING_UPLOAD = -6, 11


_SENTINELS = {int(sentinel): sentinel for sentinel in Sentinel}

_READ_COMMITTED = 1


async def handle(request: Request, call: Call) -> Response:
    """Answer each partition; one that is named twice is refused, as Kafka does."""
    named = Counter((topic.name, p.partition_index) for topic in request.topics for p in topic.partitions)
    topics = []
    for asked in request.topics:
        rows = []
        for partition in asked.partitions:
            try:
                if named[asked.name, partition.partition_index] > 1:
                    raise KafkaError(ErrorCode.INVALID_REQUEST, "the partition is named twice")
                log = call.log_of(asked.name, partition.partition_index, partition.current_leader_epoch)
                found = await _find(log, partition.timestamp, request.isolation_level, call.version)
            except KafkaError as error:
                rows.append(ResponsePartition(partition.partition_index, error.code))
            else:
                rows.append(
                    ResponsePartition(
                        partition.partition_index, ErrorCode.NONE, found.timestamp, found.offset, found.leader_epoch
                    )
                )
        topics.append(ResponseTopic(asked.name, rows))
    return Response(topics=topics)


async def _find(log: IPartitionLog, timestamp: int, isolation_level: int, version: int) -> TimestampOffset:
    if timestamp >= 0:
        found: TimestampOffset = await log.offset_for_time(timestamp)
        if isolation_level == _READ_COMMITTED and found.offset >= (await log.bounds()).last_stable_offset:
            return NO_OFFSET
        return found
    sentinel = _SENTINELS.get(timestamp)
    if sentinel is None or version < sentinel.since:
        raise KafkaError(ErrorCode.UNSUPPORTED_VERSION, f"timestamp {timestamp} means nothing in v{version}")
    if sentinel is Sentinel.MAX_TIMESTAMP:
        newest: TimestampOffset = await log.offset_of_max_timestamp()
        return newest
    bounds = await log.bounds()
    if sentinel is Sentinel.LATEST:
        end = bounds.last_stable_offset if isolation_level == _READ_COMMITTED else bounds.high_watermark
        return TimestampOffset(-1, end, bounds.leader_epoch)
    if sentinel in (Sentinel.EARLIEST, Sentinel.EARLIEST_LOCAL):
        return TimestampOffset(-1, bounds.log_start_offset, bounds.start_epoch)
    # nothing is ever tiered here, so there is no tiered offset and none that waits for its upload
    return NO_OFFSET


def refuse(request: Request, code: ErrorCode) -> Response:
    """The error for every partition that was asked for."""
    return Response(
        topics=[
            ResponseTopic(t.name, [ResponsePartition(p.partition_index, code) for p in t.partitions])
            for t in request.topics
        ]
    )


API = Api(
    key=2,
    name="ListOffsets",
    versions=range(1, 12),
    flexible=6,
    request=Request,
    response=Response,
    handle=handle,
    refuse=refuse,
)
