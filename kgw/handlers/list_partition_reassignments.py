"""ListPartitionReassignments (key 46): partitions that are moved to other nodes; on a single node none is (KIP-455)."""

from __future__ import annotations

from kgw.errors import ErrorCode
from kgw.handlers.contract import Api, Call
from kgw.wire.message import array, field, message
from kgw.wire.primitives import INT16, INT32, STRING


@message
class RequestTopic:
    name: str = field(STRING)
    partition_indexes: list[int] = field(array(INT32))


@message
class Request:
    """
    Kafka: ListPartitionReassignmentsRequest.

    @ivar topics: null for all there are.
    """

    timeout_ms: int = field(INT32, default=60_000)
    topics: list[RequestTopic] | None = field(array(RequestTopic), nullable=0, default=None)


@message
class ResponsePartition:
    partition_index: int = field(INT32)
    replicas: list[int] = field(array(INT32))
    adding_replicas: list[int] = field(array(INT32))
    removing_replicas: list[int] = field(array(INT32))


@message
class ResponseTopic:
    name: str = field(STRING)
    partitions: list[ResponsePartition] = field(array(ResponsePartition))


@message
class Response:
    throttle_time_ms: int = field(INT32)
    error_code: int = field(INT16, default=ErrorCode.NONE)
    error_message: str | None = field(STRING, nullable=0)
    topics: list[ResponseTopic] = field(array(ResponseTopic))


async def handle(request: Request, call: Call) -> Response:
    """Answer that nothing moves; for topics and partitions that do not exist too, which Kafka's controller skips."""
    return Response(error_message=None)


def refuse(request: Request, code: ErrorCode) -> Response:
    """The error alone."""
    return Response(error_code=code, error_message=None)


API = Api(
    key=46,
    name="ListPartitionReassignments",
    versions=range(0, 1),
    flexible=0,
    request=Request,
    response=Response,
    handle=handle,
    refuse=refuse,
)
