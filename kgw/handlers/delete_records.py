"""DeleteRecords (key 21): everything in front of an offset goes (KIP-107)."""

from __future__ import annotations

from kgw.errors import ErrorCode, KafkaError
from kgw.handlers.contract import Api, Call
from kgw.wire.message import array, field, message
from kgw.wire.primitives import INT16, INT32, INT64, STRING

#: The low watermark of a partition where nothing was deleted for an error.
NO_LOW_WATERMARK = -1


@message
class RequestPartition:
    """A partition to be trimmed; C{offset} is the first to stay, -1 the high watermark."""

    partition_index: int = field(INT32)
    offset: int = field(INT64)


@message
class RequestTopic:
    """The partitions of one topic."""

    name: str = field(STRING)
    partitions: list[RequestPartition] = field(array(RequestPartition))


@message
class Request:
    """Kafka: DeleteRecordsRequest."""

    topics: list[RequestTopic] = field(array(RequestTopic))
    timeout_ms: int = field(INT32)


@message
class ResponsePartition:
    """What became of one partition; C{low_watermark} is where its log starts now."""

    partition_index: int = field(INT32)
    low_watermark: int = field(INT64)
    error_code: int = field(INT16, default=ErrorCode.NONE)


@message
class ResponseTopic:
    """The partitions of one topic."""

    name: str = field(STRING)
    partitions: list[ResponsePartition] = field(array(ResponsePartition))


@message
class Response:
    """Kafka: DeleteRecordsResponse."""

    throttle_time_ms: int = field(INT32)
    topics: list[ResponseTopic] = field(array(ResponseTopic))


async def handle(request: Request, call: Call) -> Response:
    """
    Move the start of each log up to the offset asked for, -1 for its end; durable when the answer says C{NONE}.

    The partition's only replica is here, so there is nothing that C{timeout_ms} could cut short.
    """
    return Response(
        topics=[
            ResponseTopic(topic.name, [await _trim(topic.name, partition, call) for partition in topic.partitions])
            for topic in request.topics
        ]
    )


async def _trim(topic: str, asked: RequestPartition, call: Call) -> ResponsePartition:
    row = ResponsePartition(asked.partition_index, NO_LOW_WATERMARK)
    try:
        log = call.log_of(topic, asked.partition_index)
        if "delete" not in log.config.cleanup_policy:
            # what compaction keeps is the topic's meaning: only where time or size may delete may a client, too
            raise KafkaError(ErrorCode.POLICY_VIOLATION)
        if asked.offset < -1:
            raise KafkaError(ErrorCode.OFFSET_OUT_OF_RANGE)
        row.low_watermark = await log.trim(asked.offset)
    except KafkaError as error:
        row.error_code = error.code
    return row


def refuse(request: Request, code: ErrorCode) -> Response:
    """The error for every partition that was to be trimmed."""
    return Response(
        topics=[
            ResponseTopic(
                topic.name, [ResponsePartition(one.partition_index, NO_LOW_WATERMARK, code) for one in topic.partitions]
            )
            for topic in request.topics
        ]
    )


API = Api(
    key=21,
    name="DeleteRecords",
    versions=range(0, 3),
    flexible=2,
    request=Request,
    response=Response,
    handle=handle,
    refuse=refuse,
)
