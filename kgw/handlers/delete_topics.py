"""DeleteTopics (key 20): topics and their records go, by name or by id (KIP-4, KIP-516)."""

from __future__ import annotations

from collections import Counter

from kgw.errors import ErrorCode, KafkaError
from kgw.handlers.contract import Api, Call
from kgw.wire.message import array, field, message
from kgw.wire.primitives import INT16, INT32, STRING, UUID, ZERO_UUID


@message
class RequestTopic:
    """A topic to be deleted, by either its name or its id."""

    name: str | None = field(STRING, since=6, nullable=6, default=None)
    topic_id: bytes = field(UUID, since=6)


@message
class Request:
    """Kafka: DeleteTopicsRequest; names only up to version 5, C{topics} from 6 on."""

    topics: list[RequestTopic] = field(array(RequestTopic), since=6)
    topic_names: list[str] = field(array(STRING), until=5)
    timeout_ms: int = field(INT32)


@message
class ResponseTopic:
    """What became of one topic."""

    name: str | None = field(STRING, nullable=6)
    topic_id: bytes = field(UUID, since=6)
    error_code: int = field(INT16, default=ErrorCode.NONE)
    error_message: str | None = field(STRING, since=5, nullable=5, default=None)


@message
class Response:
    """Kafka: DeleteTopicsResponse."""

    throttle_time_ms: int = field(INT32, since=1)
    responses: list[ResponseTopic] = field(array(ResponseTopic))


async def handle(request: Request, call: Call) -> Response:
    """
    Delete the topics one after the other; waiting fetches end at once, the disk is freed soon.

    A name or id that stands in the request several times is refused once. With C{delete.topic.enable=false} all are
    refused: C{TOPIC_DELETION_DISABLED}, below version 3 C{INVALID_REQUEST}.
    """
    if not call.services.config.delete_topic_enable:
        code = ErrorCode.TOPIC_DELETION_DISABLED if call.version >= 3 else ErrorCode.INVALID_REQUEST
        return _refuse(request, code, "Topic deletion is disabled.")
    deadline = call.services.clock.seconds() + request.timeout_ms / 1000
    count = Counter(_asked(request))
    response = Response()
    for (name, topic_id), times in count.items():
        row = ResponseTopic(name=name, topic_id=topic_id)
        try:
            if times > 1:
                what = "id" if name is None else "name"
                raise KafkaError(ErrorCode.INVALID_REQUEST, f"Duplicate topic {what}.")
            found_name, found_id = _find(name, topic_id, call)
            if name is not None and (None, found_id) in count:
                row.topic_id = found_id
                raise KafkaError(
                    ErrorCode.INVALID_REQUEST, "The provided topic name maps to an ID that was already supplied."
                )
            await _delete(found_name, found_id, deadline, call)
            row.name, row.topic_id = found_name, found_id
        except KafkaError as error:
            row.error_code, row.error_message = error.code, error.message or None
        response.responses.append(row)
    return response


def _asked(request: Request) -> list[tuple[str | None, bytes]]:
    """What versions up to 5 and from 6 on ask for, in one form."""
    return [(name, ZERO_UUID) for name in request.topic_names] + [(one.name, one.topic_id) for one in request.topics]


def _find(name: str | None, topic_id: bytes, call: Call) -> tuple[str, bytes]:
    if name is None:
        if topic_id == ZERO_UUID:
            raise KafkaError(ErrorCode.INVALID_REQUEST, "Neither topic name nor id were specified.")
        topic = call.services.topics.by_id(topic_id)
        if topic is None:
            raise KafkaError(ErrorCode.UNKNOWN_TOPIC_ID)
    else:
        if topic_id != ZERO_UUID:
            raise KafkaError(ErrorCode.INVALID_REQUEST, "You may not specify both topic name and topic id.")
        topic = call.services.topics.get(name)
        if topic is None:
            raise KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
    return topic.name, topic.id


async def _delete(name: str, topic_id: bytes, deadline: float, call: Call) -> None:
    await call.before(deadline, lambda: call.services.topics.delete(name, topic_id))


def refuse(request: Request, code: ErrorCode) -> Response:
    """The error for every topic that was to be deleted."""
    return _refuse(request, code, None)


def _refuse(request: Request, code: ErrorCode, reason: str | None) -> Response:
    rows = [ResponseTopic(name, topic_id, code, reason) for name, topic_id in dict.fromkeys(_asked(request))]
    return Response(responses=rows)


API = Api(
    key=20,
    name="DeleteTopics",
    versions=range(1, 7),
    flexible=4,
    request=Request,
    response=Response,
    handle=handle,
    refuse=refuse,
)
