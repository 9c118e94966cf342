"""Produce (key 0): record batches into partition logs (KIP-98, KIP-467, KIP-516)."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from kgw.errors import ErrorCode, KafkaError, Rejected
from kgw.handlers.admission import admit
from kgw.handlers.contract import Api, Call, Peer, Services
from kgw.handlers.leadership import MOVED, current_leader, endpoints
from kgw.metrics import TopicMeter
from kgw.model import Appended
from kgw.wire.message import array, field, message
from kgw.wire.primitives import INT16, INT32, INT64, RECORDS, STRING, UUID
from kgw.wire.records import RecordBatch

Records = bytes | memoryview

#: Errors for which nobody asks the broker: they are not counted as failed requests. Kafka leaves out one more, that its
#: disk fails, which it counts elsewhere.
EXPECTED = frozenset(
    {
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        ErrorCode.UNKNOWN_TOPIC_ID,
        ErrorCode.NOT_LEADER_OR_FOLLOWER,
        ErrorCode.MESSAGE_TOO_LARGE,
        ErrorCode.RECORD_LIST_TOO_LARGE,
        ErrorCode.CORRUPT_MESSAGE,
    }
)

#: Versions below it carry message formats 0 and 1, which nobody stores any more (KIP-724).
_FIRST_SERVED = 3
#: The first version that names topics by id (KIP-516).
_TOPIC_IDS = 13


@message
class RequestPartition:
    index: int = field(INT32)
    records: Records | None = field(RECORDS, nullable=0)


@message
class RequestTopic:
    name: str = field(STRING, until=12)
    topic_id: bytes = field(UUID, since=13)
    partition_data: list[RequestPartition] = field(array(RequestPartition))


@message
class Request:
    transactional_id: str | None = field(STRING, since=3, nullable=3, default=None)
    acks: int = field(INT16)
    timeout_ms: int = field(INT32)
    topic_data: list[RequestTopic] = field(array(RequestTopic))


@message
class ResponseRecordError:
    batch_index: int = field(INT32, since=8)
    batch_index_error_message: str | None = field(STRING, since=8, nullable=8, default=None)


@message
class ResponseCurrentLeader:
    leader_id: int = field(INT32, since=10, default=-1)
    leader_epoch: int = field(INT32, since=10, default=-1)


@message
class ResponsePartition:
    index: int = field(INT32)
    error_code: int = field(INT16, default=ErrorCode.NONE)
    base_offset: int = field(INT64)
    log_append_time_ms: int = field(INT64, since=2, default=-1)
    log_start_offset: int = field(INT64, since=5, default=-1)
    record_errors: list[ResponseRecordError] = field(array(ResponseRecordError), since=8)
    error_message: str | None = field(STRING, since=8, nullable=8, default=None)
    current_leader: ResponseCurrentLeader = field(ResponseCurrentLeader, since=10, tag=0)


@message
class ResponseTopic:
    name: str = field(STRING, until=12)
    topic_id: bytes = field(UUID, since=13)
    partition_responses: list[ResponsePartition] = field(array(ResponsePartition))


@message
class ResponseNodeEndpoint:
    node_id: int = field(INT32, since=10)
    host: str = field(STRING, since=10)
    port: int = field(INT32, since=10)
    rack: str | None = field(STRING, since=10, nullable=10, default=None)


@message
class Response:
    responses: list[ResponseTopic] = field(array(ResponseTopic))
    throttle_time_ms: int = field(INT32, since=1, default=0)
    node_endpoints: list[ResponseNodeEndpoint] = field(array(ResponseNodeEndpoint), since=10, tag=0)


async def handle(request: Request, call: Call) -> Response | None:
    """
    Append each partition's batch and answer when all are durable; with C{acks=0} do not answer.

    Versions 0 to 2 are promised because librdkafka stops compressing otherwise, and are refused here, as no client
    that speaks version 3 uses them (KIP-896).

    @raise KafkaError: C{UNSUPPORTED_VERSION}, C{INVALID_REQUIRED_ACKS}, or C{TRANSACTIONAL_ID_AUTHORIZATION_FAILED}
        for a transactional producer.
    """
    if call.version < _FIRST_SERVED:
        raise KafkaError(ErrorCode.UNSUPPORTED_VERSION, f"Produce v{call.version} carries an old message format")
    if request.acks not in (-1, 0, 1):
        raise KafkaError(ErrorCode.INVALID_REQUIRED_ACKS, f"acks={request.acks} is none of -1, 0 and 1")
    if request.transactional_id is not None:
        raise KafkaError(ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, "transactions are not built yet")
    by_id = call.version >= _TOPIC_IDS
    now_ms = int(call.services.clock.seconds() * 1000)
    topics = []
    meters = call.services.metrics.topics
    schemas = call.services.schemas
    pending: list[tuple[ResponsePartition, Deferred[Appended], RecordBatch, TopicMeter]] = []
    for topic in request.topic_data:
        rows = []
        for partition in topic.partition_data:
            row = ResponsePartition(partition.index)
            meter = meters.unknown
            try:
                name = _name(topic.topic_id, call) if by_id else topic.name
                log = call.log_of(name, partition.index)
                meter = meters.of(name)
                # started one after the other, awaited together: they share what the log does for a group
                batch = admit(partition.records, log.config, call.version, now_ms)
                if schemas is None or not schemas.looks_into(name, log.config):
                    appending = log.append(batch, request.acks)
                else:
                    where = (name, partition.index)
                    appending = schemas.append(log, where, batch, request.acks, request.timeout_ms / 1000)
                pending.append((row, appending, batch, meter))
            except KafkaError as error:
                _fail(row, error)
                meter.failed_produce_requests += error.code not in EXPECTED
            meter.produce_requests += 1
            rows.append(row)
        topics.append(ResponseTopic(topic.name, topic.topic_id, rows))
    try:
        for row, appending, batch, meter in pending:
            try:
                appended = await appending
            except KafkaError as error:
                _fail(row, error)
                meter.failed_produce_requests += error.code not in EXPECTED
            else:
                meter.messages_in += batch.last_offset_delta + 1
                meter.bytes_in += batch.size
                row.base_offset = appended.base_offset
                row.log_append_time_ms = appended.log_append_time_ms
                row.log_start_offset = appended.log_start_offset
    except CancelledError:
        # the client has gone: there is nobody to tell of those that fail later
        for _, appending, _, _ in pending:
            appending.addErrback(_untold)
        raise
    if request.acks == 0:
        _raise_first(topics)
        return None
    response = Response(topics)
    tell_leaders(response, call.services, call.peer)
    return response


def tell_leaders(response: Response, services: Services, peer: Peer) -> None:
    """Say of the partitions that are led elsewhere by whom, and how to reach them (KIP-951)."""
    moved = [
        (topic, row) for topic in response.responses for row in topic.partition_responses if row.error_code in MOVED
    ]
    if not moved:
        return
    for topic, row in moved:
        leader = current_leader(topic.name or topic.topic_id, row.index, services)
        row.current_leader = ResponseCurrentLeader(leader.node_id, leader.epoch)
    nodes = endpoints((row.current_leader.leader_id for _, row in moved), services, peer)
    response.node_endpoints = [ResponseNodeEndpoint(one.node_id, one.host, one.port, one.rack) for one in nodes]


def _name(topic_id: bytes, call: Call) -> str:
    topic = call.services.topics.by_id(topic_id)
    if topic is None:
        raise KafkaError(ErrorCode.UNKNOWN_TOPIC_ID)
    return topic.name


def _fail(row: ResponsePartition, error: KafkaError) -> None:
    row.error_code = error.code
    row.error_message = error.message or None
    row.base_offset = -1
    if isinstance(error, Rejected):
        row.record_errors = [ResponseRecordError(index, text) for index, text in error.records]


def _untold(failure: Failure) -> None:
    failure.trap(KafkaError, CancelledError)


def _raise_first(topics: list[ResponseTopic]) -> None:
    """
    The end of a request with C{acks=0}.

    @raise KafkaError: of the first partition that failed; the dispatcher closes the connection then, which is the
        only way to tell such a producer that something is wrong.
    """
    for topic in topics:
        for row in topic.partition_responses:
            if row.error_code:
                raise KafkaError(ErrorCode(row.error_code), f"{topic.name}-{row.index}: {row.error_message or ''}")


def refuse(request: Request, code: ErrorCode) -> Response | None:
    """The error for every partition; C{None} with C{acks=0}, which has no answers."""
    if request.acks == 0:
        return None
    return Response(
        [
            ResponseTopic(
                t.name, t.topic_id, [ResponsePartition(p.index, code, base_offset=-1) for p in t.partition_data]
            )
            for t in request.topic_data
        ]
    )


API = Api(
    key=0,
    name="Produce",
    versions=range(0, 14),
    flexible=9,
    request=Request,
    response=Response,
    handle=handle,
    refuse=refuse,
    produces=True,
)
