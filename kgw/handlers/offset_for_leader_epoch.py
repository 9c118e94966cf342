"""OffsetForLeaderEpoch (key 23): where an epoch ends, so that a client sees what was cut off (KIP-320)."""

from __future__ import annotations

from kgw.errors import ErrorCode, KafkaError
from kgw.handlers.contract import Api, Call
from kgw.wire.message import array, field, message
from kgw.wire.primitives import INT16, INT32, INT64, STRING


@message
class RequestPartition:
    partition: int = field(INT32)
    current_leader_epoch: int = field(INT32, since=2, default=-1)
    leader_epoch: int = field(INT32)


@message
class RequestTopic:
    topic: str = field(STRING)
    partitions: list[RequestPartition] = field(array(RequestPartition))


@message
class Request:
    replica_id: int = field(INT32, since=3, default=-2)
    topics: list[RequestTopic] = field(array(RequestTopic))


@message
class ResponsePartition:
    error_code: int = field(INT16, default=ErrorCode.NONE)
    partition: int = field(INT32)
    leader_epoch: int = field(INT32, since=1, default=-1)
    end_offset: int = field(INT64, default=-1)


@message
class ResponseTopic:
    topic: str = field(STRING)
    partitions: list[ResponsePartition] = field(array(ResponsePartition))


@message
class Response:
    throttle_time_ms: int = field(INT32, since=2)
    topics: list[ResponseTopic] = field(array(ResponseTopic))


async def handle(request: Request, call: Call) -> Response:
    """Answer each partition from its log's history of epochs."""
    topics = []
    for asked in request.topics:
        rows = [await _row(asked.topic, partition, call) for partition in asked.partitions]
        topics.append(ResponseTopic(asked.topic, rows))
    return Response(topics=topics)


async def _row(topic: str, asked: RequestPartition, call: Call) -> ResponsePartition:
    try:
        log = call.log_of(topic, asked.partition, asked.current_leader_epoch)
        end = await log.end_of_epoch(asked.leader_epoch)
    except KafkaError as error:
        return ResponsePartition(error_code=error.code, partition=asked.partition)
    return ResponsePartition(partition=asked.partition, leader_epoch=end.leader_epoch, end_offset=end.end_offset)


def refuse(request: Request, code: ErrorCode) -> Response:
    """The error for every partition that was asked for."""
    return Response(
        topics=[
            ResponseTopic(t.topic, [ResponsePartition(error_code=code, partition=p.partition) for p in t.partitions])
            for t in request.topics
        ]
    )


API = Api(
    key=23,
    name="OffsetForLeaderEpoch",
    versions=range(2, 5),
    flexible=4,
    request=Request,
    response=Response,
    handle=handle,
    refuse=refuse,
)
