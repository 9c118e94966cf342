"""ElectLeaders (key 43): another leader for partitions, which have the only one they can have (KIP-183, KIP-460)."""

from __future__ import annotations

from enum import IntEnum

from kgw.errors import ErrorCode, KafkaError
from kgw.handlers.contract import Api, Call
from kgw.model import Topic
from kgw.wire.message import array, field, message
from kgw.wire.primitives import INT8, INT16, INT32, STRING


class ElectionType(IntEnum):
    """Which leader is wanted: the first of the replicas, or any one at the price of records."""

    PREFERRED = 0
    UNCLEAN = 1


@message
class RequestTopic:
    topic: str = field(STRING)
    partitions: list[int] = field(array(INT32))


@message
class Request:
    """
    Kafka: ElectLeadersRequest.

    @ivar topic_partitions: null for all there are.
    """

    election_type: int = field(INT8, since=1, default=0)
    topic_partitions: list[RequestTopic] | None = field(array(RequestTopic), nullable=0)
    timeout_ms: int = field(INT32, default=60_000)


@message
class ResponsePartition:
    partition_id: int = field(INT32)
    error_code: int = field(INT16, default=ErrorCode.NONE)
    error_message: str | None = field(STRING, nullable=0)


@message
class ResponseTopic:
    topic: str = field(STRING)
    partition_result: list[ResponsePartition] = field(array(ResponsePartition))


@message
class Response:
    throttle_time_ms: int = field(INT32)
    error_code: int = field(INT16, since=1, default=ErrorCode.NONE)
    replica_election_results: list[ResponseTopic] = field(array(ResponseTopic))


async def handle(request: Request, call: Call) -> Response:
    """
    Answer that no election is needed: every partition is led by its only replica.

    Who asks for all partitions gets, as from Kafka, only rows of those that needed one: none.

    @raise KafkaError: C{INVALID_REQUEST} for an unknown kind of election.
    """
    if request.election_type not in (ElectionType.PREFERRED, ElectionType.UNCLEAN):
        raise KafkaError(ErrorCode.INVALID_REQUEST, f"Unknown election type {request.election_type}")
    if request.topic_partitions is None:
        return Response(replica_election_results=[ResponseTopic(topic.name) for topic in call.services.topics.all()])
    return Response(replica_election_results=[_elect(asked, call) for asked in request.topic_partitions])


def _elect(asked: RequestTopic, call: Call) -> ResponseTopic:
    topic = call.services.topics.get(asked.topic)
    found = ResponseTopic(asked.topic)
    for index in asked.partitions:
        error = _refusal(asked.topic, topic, index)
        found.partition_result.append(ResponsePartition(index, error.code, error.message))
    return found


def _refusal(name: str, topic: Topic | None, index: int) -> KafkaError:
    if topic is None:
        return KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"No such topic as {name}")
    if not 0 <= index < topic.partitions:
        return KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"No such partition as {name}-{index}")
    return KafkaError(ErrorCode.ELECTION_NOT_NEEDED, "Leader election not needed for topic partition.")


def refuse(request: Request, code: ErrorCode) -> Response:
    """The error for all, and for every partition that was named."""
    return Response(
        error_code=code,
        replica_election_results=[
            ResponseTopic(asked.topic, [ResponsePartition(index, code, None) for index in asked.partitions])
            for asked in request.topic_partitions or ()
        ],
    )


API = Api(
    key=43,
    name="ElectLeaders",
    versions=range(0, 3),
    flexible=2,
    request=Request,
    response=Response,
    handle=handle,
    refuse=refuse,
)
