"""AlterPartitionReassignments (key 45): other replicas for partitions, which kgw chooses itself (KIP-455)."""

from __future__ import annotations

from kgw.errors import ErrorCode, KafkaError
from kgw.handlers.contract import Api, Call
from kgw.wire.message import array, field, message
from kgw.wire.primitives import BOOL, INT16, INT32, STRING


@message
class RequestPartition:
    """
    One partition.

    @ivar replicas: the nodes that are to hold it; null to call off a move that is going on.
    """

    partition_index: int = field(INT32)
    replicas: list[int] | None = field(array(INT32), nullable=0, default=None)


@message
class RequestTopic:
    name: str = field(STRING)
    partitions: list[RequestPartition] = field(array(RequestPartition))


@message
class Request:
    """Kafka: AlterPartitionReassignmentsRequest."""

    timeout_ms: int = field(INT32, default=60_000)
    allow_replication_factor_change: bool = field(BOOL, since=1, default=True)
    topics: list[RequestTopic] = field(array(RequestTopic))


@message
class ResponsePartition:
    partition_index: int = field(INT32)
    error_code: int = field(INT16, default=ErrorCode.NONE)
    error_message: str | None = field(STRING, nullable=0)


@message
class ResponseTopic:
    name: str = field(STRING)
    partitions: list[ResponsePartition] = field(array(ResponsePartition))


@message
class Response:
    throttle_time_ms: int = field(INT32)
    allow_replication_factor_change: bool = field(BOOL, since=1, default=True)
    error_code: int = field(INT16, default=ErrorCode.NONE)
    error_message: str | None = field(STRING, nullable=0)
    responses: list[ResponseTopic] = field(array(ResponseTopic))


async def handle(request: Request, call: Call) -> Response:
    """
    Check each partition's new replicas as Kafka's controller does.

    What passes is the assignment there is already, for a partition has one replica, and kgw itself says which broker
    leads it; so nothing moves, ever.
    """
    response = Response(allow_replication_factor_change=request.allow_replication_factor_change, error_message=None)
    for asked in request.topics:
        topic = ResponseTopic(asked.name)
        response.responses.append(topic)
        for partition in asked.partitions:
            row = ResponsePartition(partition.partition_index, error_message=None)
            try:
                _check(asked.name, partition, call)
            except KafkaError as error:
                row.error_code, row.error_message = error.code, error.message
            topic.partitions.append(row)
    return response


def _check(name: str, asked: RequestPartition, call: Call) -> None:
    topic, index = call.services.topics.get(name), asked.partition_index
    if topic is None:
        raise KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"Unable to find a topic named {name}.")
    if not 0 <= index < topic.partitions:
        raise KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"Unable to find partition {name}:{index}.")
    if asked.replicas is None:
        raise KafkaError(ErrorCode.NO_REASSIGNMENT_IN_PROGRESS, "No partition reassignment is in progress.")
    cluster = call.services.cluster
    _check_replicas(asked.replicas, cluster.leader(topic, index).node_id, cluster.node_ids())


def _check_replicas(replicas: list[int], leader: int, nodes: list[int]) -> None:
    """In the words of Kafka's C{ReplicationControlManager.validateManualPartitionAssignment}."""
    said = "The manual partition assignment includes"
    if not replicas:
        raise KafkaError(ErrorCode.INVALID_REPLICA_ASSIGNMENT, f"{said} an empty replica list.")
    for replica in sorted(replicas):
        if replica not in nodes:
            reason = f"{said} broker {replica}, but no such broker is registered."
            raise KafkaError(ErrorCode.INVALID_REPLICA_ASSIGNMENT, reason)
    for replica in set(replicas):
        if replicas.count(replica) > 1:
            raise KafkaError(ErrorCode.INVALID_REPLICA_ASSIGNMENT, f"{said} the broker {replica} more than once.")
    if replicas != [leader]:
        reason = f"{said} brokers {replicas}, but the partition has one replica, and kgw keeps it at broker {leader}."
        raise KafkaError(ErrorCode.INVALID_REPLICA_ASSIGNMENT, reason)


def refuse(request: Request, code: ErrorCode) -> Response:
    """The error for all, and for every partition that was named."""
    return Response(
        error_code=code,
        error_message=None,
        responses=[
            ResponseTopic(asked.name, [ResponsePartition(one.partition_index, code, None) for one in asked.partitions])
            for asked in request.topics
        ],
    )


API = Api(
    key=45,
    name="AlterPartitionReassignments",
    versions=range(0, 2),
    flexible=0,
    request=Request,
    response=Response,
    handle=handle,
    refuse=refuse,
)
