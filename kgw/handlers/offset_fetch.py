"""OffsetFetch (key 9): how far groups have come, several groups at once (KIP-447, KIP-709, KIP-848)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kgw.errors import ErrorCode, KafkaError
from kgw.group_model import NO_COMMITTED_OFFSET, CommittedOffset
from kgw.handlers.contract import Api, Call
from kgw.wire.message import array, field, message
from kgw.wire.primitives import BOOL, INT16, INT32, INT64, STRING, UUID

#: The first version with an error for the whole group, and with C{None} for all partitions.
_GROUP_ERROR = 2

#: The first version that asks for several groups.
_GROUPS = 8

#: The first version that names topics by id.
_TOPIC_IDS = 10


@message
class RequestTopic:
    """Partitions of one topic, for the one group of versions before 8."""

    name: str = field(STRING, until=7)
    partition_indexes: list[int] = field(array(INT32), until=7)


@message
class RequestGroupTopic:
    """Partitions of one topic."""

    name: str = field(STRING, since=8, until=9)
    topic_id: bytes = field(UUID, since=10)
    partition_indexes: list[int] = field(array(INT32), since=8)


@message
class RequestGroup:
    """One group; null C{topics} ask for all that is committed. Classic groups do not look at member and epoch."""

    group_id: str = field(STRING, since=8)
    member_id: str | None = field(STRING, since=9, nullable=9, default=None)
    member_epoch: int = field(INT32, since=9, default=-1)
    topics: list[RequestGroupTopic] | None = field(array(RequestGroupTopic), since=8, nullable=8)


@message
class Request:
    """Kafka: OffsetFetchRequest."""

    group_id: str = field(STRING, until=7)
    topics: list[RequestTopic] | None = field(array(RequestTopic), until=7, nullable=2)
    groups: list[RequestGroup] = field(array(RequestGroup), since=8)
    require_stable: bool = field(BOOL, since=7, default=False)


@message
class ResponsePartition:
    """What is committed of one partition; offset -1 where nothing is."""

    partition_index: int = field(INT32, until=7)
    committed_offset: int = field(INT64, until=7)
    committed_leader_epoch: int = field(INT32, since=5, until=7, default=-1)
    metadata: str | None = field(STRING, until=7, nullable=0)
    error_code: int = field(INT16, until=7, default=ErrorCode.NONE)


@message
class ResponseTopic:
    """Partitions of one topic."""

    name: str = field(STRING, until=7)
    partitions: list[ResponsePartition] = field(array(ResponsePartition), until=7)


@message
class ResponseGroupPartition:
    """What is committed of one partition; offset -1 where nothing is."""

    partition_index: int = field(INT32, since=8)
    committed_offset: int = field(INT64, since=8)
    committed_leader_epoch: int = field(INT32, since=8, default=-1)
    metadata: str | None = field(STRING, since=8, nullable=8)
    error_code: int = field(INT16, since=8, default=ErrorCode.NONE)


@message
class ResponseGroupTopic:
    """Partitions of one topic."""

    name: str = field(STRING, since=8, until=9)
    topic_id: bytes = field(UUID, since=10)
    partitions: list[ResponseGroupPartition] = field(array(ResponseGroupPartition), since=8)


@message
class ResponseGroup:
    """One group's partitions, or its error and none."""

    group_id: str = field(STRING, since=8)
    topics: list[ResponseGroupTopic] = field(array(ResponseGroupTopic), since=8)
    error_code: int = field(INT16, since=8, default=ErrorCode.NONE)


@message
class Response:
    """Kafka: OffsetFetchResponse."""

    throttle_time_ms: int = field(INT32, since=3)
    topics: list[ResponseTopic] = field(array(ResponseTopic), until=7)
    error_code: int = field(INT16, since=2, until=7, default=ErrorCode.NONE)
    groups: list[ResponseGroup] = field(array(ResponseGroup), since=8)


async def handle(request: Request, call: Call) -> Response:
    """Answer every group; a partition that nothing was committed for has offset -1, so has one that is not there."""
    version = call.version
    if version >= _GROUPS:
        return Response(
            groups=[await _group(group, request.require_stable, call) for group in _distinct(request.groups)]
        )
    # versions before 8 ask the same of one group
    asked = request.topics
    if asked is None:
        topics = None
    else:
        topics = [RequestGroupTopic(name=one.name, partition_indexes=one.partition_indexes) for one in asked]
    only = await _group(RequestGroup(group_id=request.group_id, topics=topics), request.require_stable, call)
    if only.error_code:
        return _refuse_one(request, ErrorCode(only.error_code))
    return Response(
        topics=[
            ResponseTopic(
                topic.name,
                [
                    ResponsePartition(
                        one.partition_index,
                        one.committed_offset,
                        one.committed_leader_epoch,
                        one.metadata,
                        one.error_code,
                    )
                    for one in topic.partitions
                ],
            )
            for topic in only.topics
        ]
    )


def _distinct(groups: Sequence[RequestGroup]) -> list[RequestGroup]:
    """Each group once, with the topics of all places where it is named: an answer must not outgrow its request."""
    found: dict[str, RequestGroup] = {}
    for group in groups:
        known = found.setdefault(group.group_id, group)
        if known is group:
            continue
        if known.topics is None or group.topics is None:
            known.topics = None
        else:
            known.topics = [*known.topics, *group.topics]
    return list(found.values())


async def _group(asked: RequestGroup, require_stable: bool, call: Call) -> ResponseGroup:
    by_id = call.version >= _TOPIC_IDS
    try:
        if asked.topics is None:
            topics = await _everything(asked.group_id, require_stable, by_id, call)
        else:
            topics = await _some(asked.group_id, asked.topics, require_stable, by_id, call)
    except KafkaError as error:
        return ResponseGroup(group_id=asked.group_id, error_code=error.code)
    return ResponseGroup(asked.group_id, topics)


async def _everything(group_id: str, require_stable: bool, by_id: bool, call: Call) -> list[ResponseGroupTopic]:
    services = call.services
    committed: Mapping[tuple[str, int], CommittedOffset] = await services.groups.committed(
        group_id, None, require_stable
    )
    topics: dict[str, ResponseGroupTopic] = {}
    for name, partition in sorted(committed):
        row = topics.get(name)
        if row is None:
            row = topics[name] = ResponseGroupTopic(name=name)
            if by_id:
                topic = services.topics.get(name)
                # what has no id any more cannot be said in this version; those without a row are not told
                row.topic_id = topic.id if topic is not None else row.topic_id
        row.partitions.append(_row(partition, committed[name, partition]))
    if by_id:
        return [row for row in topics.values() if any(row.topic_id)]
    return list(topics.values())


async def _some(
    group_id: str, asked: list[RequestGroupTopic], require_stable: bool, by_id: bool, call: Call
) -> list[ResponseGroupTopic]:
    asked = _once(asked)
    names: list[str | None] = []
    for one in asked:
        topic = call.services.topics.by_id(one.topic_id) if by_id else None
        names.append((topic.name if topic else None) if by_id else one.name)
    wanted = [
        (name, partition)
        for one, name in zip(asked, names, strict=True)
        if name is not None
        for partition in one.partition_indexes
    ]
    committed: Mapping[tuple[str, int], CommittedOffset] = await call.services.groups.committed(
        group_id, wanted, require_stable
    )
    found = []
    for one, name in zip(asked, names, strict=True):
        if name is None:
            rows = [_row(index, NO_COMMITTED_OFFSET, ErrorCode.UNKNOWN_TOPIC_ID) for index in one.partition_indexes]
        else:
            rows = [_row(index, committed.get((name, index), NO_COMMITTED_OFFSET)) for index in one.partition_indexes]
        found.append(ResponseGroupTopic(one.name, one.topic_id, rows))
    return found


def _once(topics: Sequence[RequestGroupTopic]) -> list[RequestGroupTopic]:
    """The same topics, each of their partitions once; a topic that only repeats others is not there."""
    seen: dict[tuple[str, bytes], set[int]] = {}
    found = []
    for topic in topics:
        known = seen.setdefault((topic.name, topic.topic_id), set())
        fresh = [index for index in dict.fromkeys(topic.partition_indexes) if index not in known]
        known.update(fresh)
        if fresh or not topic.partition_indexes:
            found.append(RequestGroupTopic(topic.name, topic.topic_id, fresh))
    return found


def _row(index: int, offset: CommittedOffset, code: ErrorCode = ErrorCode.NONE) -> ResponseGroupPartition:
    return ResponseGroupPartition(index, offset.offset, offset.leader_epoch, offset.metadata, code)


def _refuse_one(request: Request, code: ErrorCode) -> Response:
    """
    The error for the one group of versions before 8: for the group and, as version 1 has no place for that, for every
    partition.
    """
    none = NO_COMMITTED_OFFSET
    return Response(
        error_code=code,
        topics=[
            ResponseTopic(
                topic.name,
                [
                    ResponsePartition(index, none.offset, none.leader_epoch, none.metadata, code)
                    for index in topic.partition_indexes
                ],
            )
            for topic in request.topics or ()
        ],
    )


def refuse(request: Request, code: ErrorCode) -> Response:
    """The error for every group that was asked for."""
    response = _refuse_one(request, code)
    response.groups = [
        ResponseGroup(group_id=group_id, error_code=code)
        for group_id in dict.fromkeys(group.group_id for group in request.groups)
    ]
    return response


API = Api(
    key=9,
    name="OffsetFetch",
    versions=range(1, 11),
    flexible=6,
    request=Request,
    response=Response,
    handle=handle,
    refuse=refuse,
)
