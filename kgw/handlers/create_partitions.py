"""CreatePartitions (key 37): more partitions for topics that exist (KIP-195)."""

from __future__ import annotations

from collections import Counter

from kgw.errors import ErrorCode, KafkaError
from kgw.handlers.contract import Api, Call
from kgw.wire.message import array, field, message
from kgw.wire.primitives import BOOL, INT16, INT32, STRING


@message
class RequestAssignment:
    """The replicas of one new partition, chosen by the client."""

    broker_ids: list[int] = field(array(INT32))


@message
class RequestTopic:
    """
    One topic to be extended.

    @ivar count: how many partitions it is to have in all.
    @ivar assignments: one for each new partition, in order; null where the server chooses.
    """

    name: str = field(STRING)
    count: int = field(INT32)
    assignments: list[RequestAssignment] | None = field(array(RequestAssignment), nullable=0)


@message
class Request:
    """Kafka: CreatePartitionsRequest."""

    topics: list[RequestTopic] = field(array(RequestTopic))
    timeout_ms: int = field(INT32)
    validate_only: bool = field(BOOL)


@message
class ResponseResult:
    """What became of one topic."""

    name: str = field(STRING)
    error_code: int = field(INT16, default=ErrorCode.NONE)
    error_message: str | None = field(STRING, nullable=0, default=None)


@message
class Response:
    """Kafka: CreatePartitionsResponse."""

    throttle_time_ms: int = field(INT32)
    results: list[ResponseResult] = field(array(ResponseResult))


async def handle(request: Request, call: Call) -> Response:
    """
    Extend the topics one after the other, each to its C{count}; what is there stays as it is.

    A name that stands in the request several times is refused once.
    """
    deadline = call.services.clock.seconds() + request.timeout_ms / 1000
    count = Counter(topic.name for topic in request.topics)
    response = Response()
    for asked in {topic.name: topic for topic in request.topics}.values():
        row = ResponseResult(asked.name)
        try:
            if count[asked.name] > 1:
                raise KafkaError(ErrorCode.INVALID_REQUEST, "Duplicate topic name.")
            if call.services.topics.get(asked.name) is None:
                # at once: to stand in line for each of thousands of these would keep everybody else waiting
                raise KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
            await _extend(asked, request.validate_only, deadline, call)
        except KafkaError as error:
            row.error_code, row.error_message = error.code, error.message or None
        response.results.append(row)
    return response


async def _extend(asked: RequestTopic, validate_only: bool, deadline: float, call: Call) -> None:
    assignments = None if asked.assignments is None else [one.broker_ids for one in asked.assignments]
    await call.before(
        deadline, lambda: call.services.topics.extend(asked.name, asked.count, assignments, validate_only)
    )


def refuse(request: Request, code: ErrorCode) -> Response:
    """The error for every topic that was to be extended."""
    names = dict.fromkeys(topic.name for topic in request.topics)
    return Response(results=[ResponseResult(name, code) for name in names])


API = Api(
    key=37,
    name="CreatePartitions",
    versions=range(0, 4),
    flexible=2,
    request=Request,
    response=Response,
    handle=handle,
    refuse=refuse,
)
