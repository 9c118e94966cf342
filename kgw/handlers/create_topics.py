"""CreateTopics (key 19): new topics with their configs (KIP-4, KIP-464, KIP-525)."""

from __future__ import annotations

from collections import Counter

from kgw.errors import ErrorCode, KafkaError
from kgw.handlers.contract import Api, Call
from kgw.model import NewTopic
from kgw.wire.message import array, field, message
from kgw.wire.primitives import BOOL, INT8, INT16, INT32, STRING, UUID

#: Most partitions that one request may ask for (Kafka: C{ReplicationControlManager.MAX_PARTITIONS_PER_BATCH}).
MAX_PARTITIONS_PER_REQUEST = 10_000


@message
class RequestAssignment:
    """The replicas of one partition, chosen by the client."""

    partition_index: int = field(INT32)
    broker_ids: list[int] = field(array(INT32))


@message
class RequestConfig:
    """A config to be set on the topic itself."""

    name: str = field(STRING)
    value: str | None = field(STRING, nullable=0)


@message
class RequestTopic:
    """
    One topic to be created.

    @ivar num_partitions: -1 for the server's default, or where assignments are given.
    @ivar replication_factor: as C{num_partitions}.
    """

    name: str = field(STRING)
    num_partitions: int = field(INT32)
    replication_factor: int = field(INT16)
    assignments: list[RequestAssignment] = field(array(RequestAssignment))
    configs: list[RequestConfig] = field(array(RequestConfig))


@message
class Request:
    """Kafka: CreateTopicsRequest."""

    topics: list[RequestTopic] = field(array(RequestTopic))
    timeout_ms: int = field(INT32, default=60000)
    validate_only: bool = field(BOOL, since=1, default=False)


@message
class ResponseConfig:
    """A config in force on the new topic; C{config_source} says where it comes from."""

    name: str = field(STRING, since=5)
    value: str | None = field(STRING, since=5, nullable=5)
    read_only: bool = field(BOOL, since=5)
    config_source: int = field(INT8, since=5, default=-1)
    is_sensitive: bool = field(BOOL, since=5)


@message
class ResponseTopic:
    """What became of one topic."""

    name: str = field(STRING)
    topic_id: bytes = field(UUID, since=7)
    error_code: int = field(INT16, default=ErrorCode.NONE)
    error_message: str | None = field(STRING, since=1, nullable=0)
    topic_config_error_code: int = field(INT16, since=5, tag=0)
    num_partitions: int = field(INT32, since=5, default=-1)
    replication_factor: int = field(INT16, since=5, default=-1)
    configs: list[ResponseConfig] | None = field(array(ResponseConfig), since=5, nullable=5)


@message
class Response:
    """Kafka: CreateTopicsResponse."""

    throttle_time_ms: int = field(INT32, since=2)
    topics: list[ResponseTopic] = field(array(ResponseTopic))


async def handle(request: Request, call: Call) -> Response:
    """
    Create the topics one after the other; each is durable and usable when the answer says C{NONE}.

    A name that stands in the request several times is refused once. From version 5 on the answer tells the
    partitions, the replication factor and all configs of each new topic.
    """
    config = call.services.config
    if _partitions(request, config.num_partitions) > MAX_PARTITIONS_PER_REQUEST:
        return _refuse(request, ErrorCode.POLICY_VIOLATION, "Excessively large number of partitions per request.")
    deadline = call.services.clock.seconds() + request.timeout_ms / 1000
    count = Counter(topic.name for topic in request.topics)
    response = Response()
    for asked in {topic.name: topic for topic in request.topics}.values():
        try:
            if count[asked.name] > 1:
                raise KafkaError(ErrorCode.INVALID_REQUEST, "Duplicate topic name.")
            row = await _create(asked, request.validate_only, deadline, call)
        except KafkaError as error:
            row = ResponseTopic(name=asked.name, error_code=error.code, error_message=error.message or None)
        response.topics.append(row)
    return response


async def _create(asked: RequestTopic, validate_only: bool, deadline: float, call: Call) -> ResponseTopic:
    new = NewTopic(
        asked.name,
        asked.num_partitions,
        asked.replication_factor,
        [(one.partition_index, one.broker_ids) for one in asked.assignments],
        {one.name: one.value for one in asked.configs},
    )
    if call.services.schemas is not None and call.services.topics.get(asked.name) is None:
        await call.services.schemas.check_topic(asked.name)
    topic = await call.before(deadline, lambda: call.services.topics.create(new, validate_only))
    row = ResponseTopic(name=topic.name, topic_id=topic.id, error_message=None)
    if call.version >= 5:
        row.num_partitions = topic.partitions
        row.replication_factor = 1
        row.configs = [
            ResponseConfig(entry.name, entry.value, entry.read_only, entry.source, entry.sensitive)
            for entry in call.services.config.describe_topic(topic.configs)
        ]
    return row


def _partitions(request: Request, default: int) -> int:
    total = 0
    for topic in request.topics:
        if topic.assignments:
            total += len(topic.assignments)
        elif topic.num_partitions == -1:
            total += default
        else:
            total += max(topic.num_partitions, 0)
    return total


def refuse(request: Request, code: ErrorCode) -> Response:
    """The error for every topic that was to be created."""
    return _refuse(request, code, None)


def _refuse(request: Request, code: ErrorCode, reason: str | None) -> Response:
    names = dict.fromkeys(topic.name for topic in request.topics)
    return Response(topics=[ResponseTopic(name=name, error_code=code, error_message=reason) for name in names])


API = Api(
    key=19,
    name="CreateTopics",
    versions=range(2, 8),
    flexible=5,
    request=Request,
    response=Response,
    handle=handle,
    refuse=refuse,
)
