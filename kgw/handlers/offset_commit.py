"""OffsetCommit (key 8): how far a group has come is kept (KIP-320, KIP-345, KIP-848)."""

from __future__ import annotations

from collections.abc import Mapping

from kgw.errors import ErrorCode, KafkaError
from kgw.group_model import CommitRequest, CommittedOffset
from kgw.handlers.contract import Api, Call
from kgw.model import Topic
from kgw.wire.message import array, field, message
from kgw.wire.primitives import INT16, INT32, INT64, STRING, UUID

#: The first version whose client knows that a group may not be there (KIP-848).
_GROUP_NOT_FOUND = 9

#: The first version that names topics by id.
_TOPIC_IDS = 10


@message
class RequestPartition:
    """The offset of the next record to consume, and what the client keeps with it."""

    partition_index: int = field(INT32)
    committed_offset: int = field(INT64)
    committed_leader_epoch: int = field(INT32, since=6, default=-1)
    committed_metadata: str | None = field(STRING, nullable=0)


@message
class RequestTopic:
    """The partitions of one topic."""

    name: str = field(STRING, until=9)
    topic_id: bytes = field(UUID, since=10)
    partitions: list[RequestPartition] = field(array(RequestPartition))


@message
class Request:
    """Kafka: OffsetCommitRequest."""

    group_id: str = field(STRING)
    generation_id_or_member_epoch: int = field(INT32, since=1, default=-1)
    member_id: str = field(STRING, since=1)
    group_instance_id: str | None = field(STRING, since=7, nullable=7, default=None)
    retention_time_ms: int = field(INT64, since=2, until=4, default=-1)
    topics: list[RequestTopic] = field(array(RequestTopic))


@message
class ResponsePartition:
    """What became of one partition's offset."""

    partition_index: int = field(INT32)
    error_code: int = field(INT16, default=ErrorCode.NONE)


@message
class ResponseTopic:
    """The partitions of one topic."""

    name: str = field(STRING, until=9)
    topic_id: bytes = field(UUID, since=10)
    partitions: list[ResponsePartition] = field(array(ResponsePartition))


@message
class Response:
    """Kafka: OffsetCommitResponse."""

    throttle_time_ms: int = field(INT32, since=3)
    topics: list[ResponseTopic] = field(array(ResponseTopic))


async def handle(request: Request, call: Call) -> Response:
    """
    Keep the offsets of partitions that are there; durable when the answer says C{NONE}.

    What the group says of the member that commits is said of all partitions that are there, and of no others.
    """
    by_id = call.version >= _TOPIC_IDS
    catalog = call.services.topics
    found = [catalog.by_id(asked.topic_id) if by_id else catalog.get(asked.name) for asked in request.topics]
    offsets: dict[tuple[str, int], CommittedOffset] = {}
    for asked, topic in zip(request.topics, found, strict=True):
        if topic is None:
            continue
        for one in asked.partitions:
            if 0 <= one.partition_index < topic.partitions:
                offsets[topic.name, one.partition_index] = CommittedOffset(
                    one.committed_offset, one.committed_leader_epoch, one.committed_metadata or ""
                )
    errors = await _commit(request, offsets, call) if offsets else {}
    missing = ErrorCode.UNKNOWN_TOPIC_ID if by_id else ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    return Response(
        topics=[_answer(asked, topic, errors, missing) for asked, topic in zip(request.topics, found, strict=True)]
    )


async def _commit(
    request: Request, offsets: Mapping[tuple[str, int], CommittedOffset], call: Call
) -> Mapping[tuple[str, int], ErrorCode]:
    try:
        errors: Mapping[tuple[str, int], ErrorCode] = await call.services.groups.commit(
            CommitRequest(
                group_id=request.group_id,
                generation_id=request.generation_id_or_member_epoch,
                member_id=request.member_id,
                instance_id=request.group_instance_id,
                offsets=offsets,
                caller=call.caller,
                retention_ms=request.retention_time_ms,
            )
        )
    except KafkaError as error:
        if error.code == ErrorCode.GROUP_ID_NOT_FOUND and call.version < _GROUP_NOT_FOUND:
            return dict.fromkeys(offsets, ErrorCode.ILLEGAL_GENERATION)
        return dict.fromkeys(offsets, error.code)
    return errors


def _answer(
    asked: RequestTopic, topic: Topic | None, errors: Mapping[tuple[str, int], ErrorCode], missing: ErrorCode
) -> ResponseTopic:
    rows = []
    for one in asked.partitions:
        if topic is None:
            code = missing
        else:
            code = errors.get((topic.name, one.partition_index), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        rows.append(ResponsePartition(one.partition_index, code))
    return ResponseTopic(asked.name, asked.topic_id, rows)


def refuse(request: Request, code: ErrorCode) -> Response:
    """The error for every partition: there is no place for it but there."""
    return Response(
        topics=[
            ResponseTopic(
                asked.name, asked.topic_id, [ResponsePartition(one.partition_index, code) for one in asked.partitions]
            )
            for asked in request.topics
        ]
    )


API = Api(
    key=8,
    name="OffsetCommit",
    versions=range(2, 11),
    flexible=8,
    request=Request,
    response=Response,
    handle=handle,
    refuse=refuse,
)
