"""DescribeProducers (key 61): the idempotent producers that partitions remember (KIP-664)."""

from __future__ import annotations

from kgw.errors import ErrorCode, KafkaError
from kgw.handlers.contract import Api, Call
from kgw.wire.message import array, field, message
from kgw.wire.primitives import INT16, INT32, INT64, STRING


@message
class RequestTopic:
    name: str = field(STRING)
    partition_indexes: list[int] = field(array(INT32))


@message
class Request:
    topics: list[RequestTopic] = field(array(RequestTopic))


@message
class ResponseProducer:
    """
    One producer id.

    @ivar last_timestamp: when its last batch came in, in ms; where Kafka gives that batch's own newest timestamp.
    @ivar coordinator_epoch: of the last end of a transaction, -1 where there was none.
    @ivar current_txn_start_offset: -1 while no transaction is open.
    """

    producer_id: int = field(INT64)
    producer_epoch: int = field(INT32)
    last_sequence: int = field(INT32, default=-1)
    last_timestamp: int = field(INT64, default=-1)
    coordinator_epoch: int = field(INT32)
    current_txn_start_offset: int = field(INT64, default=-1)


@message
class ResponsePartition:
    partition_index: int = field(INT32)
    error_code: int = field(INT16, default=ErrorCode.NONE)
    error_message: str | None = field(STRING, nullable=0, default=None)
    active_producers: list[ResponseProducer] = field(array(ResponseProducer))


@message
class ResponseTopic:
    name: str = field(STRING)
    partitions: list[ResponsePartition] = field(array(ResponsePartition))


@message
class Response:
    throttle_time_ms: int = field(INT32)
    topics: list[ResponseTopic] = field(array(ResponseTopic))


async def handle(request: Request, call: Call) -> Response:
    """
    Answer each partition from its log.

    One that is named again is told once, or a small request could ask for an answer of any size.
    """
    asked: dict[str, dict[int, None]] = {}
    for topic in request.topics:
        asked.setdefault(topic.name, {}).update(dict.fromkeys(topic.partition_indexes))
    return Response(
        topics=[ResponseTopic(name, [await _row(name, index, call) for index in rows]) for name, rows in asked.items()]
    )


async def _row(topic: str, index: int, call: Call) -> ResponsePartition:
    try:
        found = await call.log_of(topic, index).producers()
    except KafkaError as error:
        return ResponsePartition(index, error.code, error.message or None)
    producers = [
        ResponseProducer(one.producer_id, one.epoch, one.last_sequence, one.last_ms, coordinator_epoch=-1)
        for one in found
    ]
    return ResponsePartition(index, active_producers=producers)


def refuse(request: Request, code: ErrorCode) -> Response:
    """The error for every partition that was asked for."""
    return Response(
        topics=[
            ResponseTopic(asked.name, [ResponsePartition(index, code) for index in asked.partition_indexes])
            for asked in request.topics
        ]
    )


API = Api(
    key=61,
    name="DescribeProducers",
    versions=range(0, 1),
    flexible=0,
    request=Request,
    response=Response,
    handle=handle,
    refuse=refuse,
)
