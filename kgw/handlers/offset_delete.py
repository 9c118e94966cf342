"""OffsetDelete (key 47): committed offsets go, of topics that the group is not subscribed to (KIP-496)."""

from __future__ import annotations

from collections.abc import Mapping

from kgw.errors import ErrorCode
from kgw.handlers.contract import Api, Call
from kgw.wire.message import array, field, message
from kgw.wire.primitives import INT16, INT32, STRING


@message
class RequestPartition:
    """A partition whose offset is to go."""

    partition_index: int = field(INT32)


@message
class RequestTopic:
    """The partitions of one topic."""

    name: str = field(STRING)
    partitions: list[RequestPartition] = field(array(RequestPartition))


@message
class Request:
    """Kafka: OffsetDeleteRequest."""

    group_id: str = field(STRING)
    topics: list[RequestTopic] = field(array(RequestTopic))


@message
class ResponsePartition:
    """What became of one."""

    partition_index: int = field(INT32)
    error_code: int = field(INT16, default=ErrorCode.NONE)


@message
class ResponseTopic:
    """The partitions of one topic."""

    name: str = field(STRING)
    partitions: list[ResponsePartition] = field(array(ResponsePartition))


@message
class Response:
    """Kafka: OffsetDeleteResponse; with an error for the whole request there are no topics."""

    error_code: int = field(INT16, default=ErrorCode.NONE)
    throttle_time_ms: int = field(INT32)
    topics: list[ResponseTopic] = field(array(ResponseTopic))


async def handle(request: Request, call: Call) -> Response:
    """
    Forget the offsets of partitions that are there; durable when the answer says C{NONE}.

    @raise KafkaError: C{INVALID_GROUP_ID}, C{GROUP_ID_NOT_FOUND}, or C{NON_EMPTY_GROUP} where the members are no
        consumers, so that nobody can tell what they are subscribed to.
    """
    wanted = []
    for asked in request.topics:
        topic = call.services.topics.get(asked.name)
        if topic is not None:
            indexes = (one.partition_index for one in asked.partitions)
            wanted += [(topic.name, index) for index in indexes if 0 <= index < topic.partitions]
    errors: Mapping[tuple[str, int], ErrorCode] = {}
    if wanted:
        errors = await call.services.groups.delete_offsets(request.group_id, wanted)
    missing = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    return Response(
        topics=[
            ResponseTopic(
                asked.name,
                [
                    ResponsePartition(one.partition_index, errors.get((asked.name, one.partition_index), missing))
                    for one in asked.partitions
                ],
            )
            for asked in request.topics
        ]
    )


def refuse(request: Request, code: ErrorCode) -> Response:
    """The error for the whole request."""
    return Response(error_code=code)


API = Api(
    key=47,
    name="OffsetDelete",
    versions=range(0, 1),
    flexible=None,
    request=Request,
    response=Response,
    handle=handle,
    refuse=refuse,
)
