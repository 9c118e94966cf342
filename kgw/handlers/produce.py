"""Produce (key 0): record batches into partition logs (KIP-98, KIP-467, KIP-516)."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from kgw.errors import ErrorCode, KafkaError, WireError
from kgw.handlers.contract import Api, Call
from kgw.interfaces import IPartitionLog
from kgw.model import Appended, LogConfig
from kgw.wire.compression import CompressionType
from kgw.wire.message import array, field, message
from kgw.wire.primitives import INT16, INT32, INT64, RECORDS, STRING, UUID
from kgw.wire.records import RecordBatch, WrongMagic

Records = bytes | memoryview

#: Versions below it carry message formats 0 and 1, which nobody stores any more (KIP-724).
_FIRST_SERVED = 3
#: The first version that may carry zstd (KIP-110).
_ZSTD = 7
#: The first version that names topics by id (KIP-516).
_TOPIC_IDS = 13
#: As large as one batch's records may become when the broker has to look into it.
MAX_DECOMPRESSED_BYTES = 256 << 20


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
    topics = []
    pending: list[tuple[ResponsePartition, Deferred[Appended]]] = []
    for topic in request.topic_data:
        rows = []
        for partition in topic.partition_data:
            row = ResponsePartition(partition.index)
            try:
                log = call.log_of(_name(topic.topic_id, call) if by_id else topic.name, partition.index)
                # started one after the other, awaited together: they share what the log does for a group
                pending.append((row, log.append(_admit(partition.records, log, call))))
            except Rejected as error:
                _fail(row, error)
                row.record_errors = [ResponseRecordError(index, text) for index, text in error.records]
            except KafkaError as error:
                _fail(row, error)
            rows.append(row)
        topics.append(ResponseTopic(topic.name, topic.topic_id, rows))
    for row, appending in pending:
        try:
            appended = await appending
        except KafkaError as error:
            _fail(row, error)
        else:
            row.base_offset = appended.base_offset
            row.log_append_time_ms = appended.log_append_time_ms
            row.log_start_offset = appended.log_start_offset
    if request.acks == 0:
        _raise_first(topics)
        return None
    return Response(topics)


def _name(topic_id: bytes, call: Call) -> str:
    topic = call.services.topics.by_id(topic_id)
    if topic is None:
        raise KafkaError(ErrorCode.UNKNOWN_TOPIC_ID)
    return topic.name


def _fail(row: ResponsePartition, error: KafkaError) -> None:
    row.error_code = error.code
    row.error_message = error.message or None
    row.base_offset = -1


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


class Rejected(KafkaError):
    """
    Single records of a batch are refused (KIP-467).

    @ivar records: index in the batch and reason, of each.
    """

    def __init__(self, code: ErrorCode, message: str, records: list[tuple[int, str]]) -> None:
        super().__init__(code, message)
        self.records = records


def _admit(records: Records | None, log: IPartitionLog, call: Call) -> RecordBatch:
    """
    Check one partition's bytes in Kafka's order and make of them the batch that will be stored.

    Kafka: C{ProduceRequest.validateRecords}, C{UnifiedLog.analyzeAndValidateRecords}, C{LogValidator}.

    @raise KafkaError: C{INVALID_RECORD}, C{CORRUPT_MESSAGE}, C{MESSAGE_TOO_LARGE}, C{RECORD_LIST_TOO_LARGE},
        C{INVALID_TIMESTAMP} or C{UNSUPPORTED_COMPRESSION_TYPE}.
    """
    if not records:
        raise KafkaError(ErrorCode.INVALID_RECORD, "a partition's data must hold one record batch")
    try:
        batch = RecordBatch.parse(records)
    except WrongMagic as error:
        raise KafkaError(ErrorCode.INVALID_RECORD, f"record batches must have magic 2: {error}") from None
    except WireError as error:
        raise KafkaError(ErrorCode.CORRUPT_MESSAGE, str(error)) from None
    if batch.size != len(records):
        raise KafkaError(ErrorCode.INVALID_RECORD, "a partition's data must hold exactly one record batch")
    if batch.base_offset:
        raise KafkaError(ErrorCode.INVALID_RECORD, f"the batch's base offset must be 0, it is {batch.base_offset}")
    config = log.config
    if batch.size > config.max_message_bytes:
        raise KafkaError(
            ErrorCode.MESSAGE_TOO_LARGE,
            f"the batch has {batch.size} bytes, max.message.bytes is {config.max_message_bytes}",
        )
    if batch.size > config.segment_bytes:
        raise KafkaError(
            ErrorCode.RECORD_LIST_TOO_LARGE,
            f"the batch has {batch.size} bytes, segment.bytes is {config.segment_bytes}",
        )
    if not batch.crc_valid():
        raise KafkaError(ErrorCode.CORRUPT_MESSAGE, "the batch's CRC is wrong")
    if (
        batch.attributes
        or batch.count != batch.last_offset_delta + 1
        or batch.count <= 0
        or batch.base_sequence < 0 <= batch.producer_id
    ):
        _check_header(batch, call.header.api_version)
    now_ms = int(call.services.clock.seconds() * 1000)
    if config.verbatim and batch.max_timestamp <= now_ms + config.message_timestamp_after_max_ms:
        return batch
    _check_records(batch, config, now_ms)
    return _converted(batch, config, now_ms)


def _check_header(batch: RecordBatch, version: int) -> None:
    if batch.count <= 0 or batch.last_offset_delta + 1 != batch.count:
        raise KafkaError(
            ErrorCode.INVALID_RECORD,
            f"the batch counts {batch.count} records, its offsets say {batch.last_offset_delta + 1}",
        )
    if batch.producer_id >= 0 and batch.base_sequence < 0:
        raise KafkaError(ErrorCode.INVALID_RECORD, f"an idempotent batch has sequence {batch.base_sequence}")
    if batch.is_control:
        raise KafkaError(ErrorCode.INVALID_RECORD, "clients are not allowed to write control records")
    if batch.is_transactional:
        raise KafkaError(ErrorCode.INVALID_RECORD, "a transactional batch outside a transaction")
    if batch.is_log_append_time:
        raise KafkaError(ErrorCode.INVALID_TIMESTAMP, "a producer must not set the timestamp type LogAppendTime")
    if batch.compression > CompressionType.ZSTD:
        raise KafkaError(ErrorCode.UNSUPPORTED_COMPRESSION_TYPE, f"unknown compression {batch.compression}")
    if batch.compression == CompressionType.ZSTD and version < _ZSTD:
        raise KafkaError(ErrorCode.UNSUPPORTED_COMPRESSION_TYPE, f"Produce v{version} cannot carry zstd")


def _check_records(batch: RecordBatch, config: LogConfig, now_ms: int) -> None:
    """Look at single records, but only where the topic asks for what the header cannot tell."""
    create_time = config.message_timestamp_type == "CreateTime"
    latest = now_ms + config.message_timestamp_after_max_ms
    earliest = now_ms - config.message_timestamp_before_max_ms
    times = create_time and (batch.max_timestamp > latest or earliest > 0)
    keys = "compact" in config.cleanup_policy
    if not (times or keys):
        return
    late: list[tuple[int, str]] = []
    keyless: list[tuple[int, str]] = []
    try:
        for index, record in enumerate(batch.records(MAX_DECOMPRESSED_BYTES)):
            if times and record.timestamp != -1 and not earliest <= record.timestamp <= latest:
                late.append(
                    (
                        index,
                        f"timestamp {record.timestamp} of the record with offset {index} is out of range, it must be"
                        f" within [{earliest}, {latest}]",
                    )
                )
            if keys and record.key is None:
                keyless.append((index, "a compacted topic takes no record without a key"))
    except WireError as error:
        raise KafkaError(ErrorCode.CORRUPT_MESSAGE, str(error)) from None
    if keyless:
        raise Rejected(ErrorCode.INVALID_RECORD, "one or more records have no key, the topic is compacted", keyless)
    if late:
        raise Rejected(ErrorCode.INVALID_TIMESTAMP, "one or more records have timestamps out of range", late)


def _converted(batch: RecordBatch, config: LogConfig, now_ms: int) -> RecordBatch:
    """The batch as the topic wants it: its own bytes, unless the topic sets timestamps or compression."""
    if config.compression_type != "producer":
        wanted = CompressionType.of(config.compression_type)
        if batch.compression != wanted:
            level = {
                CompressionType.GZIP: config.compression_gzip_level,
                CompressionType.LZ4: config.compression_lz4_level,
                CompressionType.ZSTD: config.compression_zstd_level,
            }.get(wanted)
            try:
                batch = batch.recompressed(wanted, level, MAX_DECOMPRESSED_BYTES)
            except WireError as error:
                raise KafkaError(ErrorCode.CORRUPT_MESSAGE, str(error)) from None
            if batch.size > config.max_message_bytes:
                raise KafkaError(
                    ErrorCode.MESSAGE_TOO_LARGE,
                    f"with compression.type={config.compression_type} the batch has {batch.size} bytes,"
                    f" max.message.bytes is {config.max_message_bytes}",
                )
    if config.message_timestamp_type == "LogAppendTime":
        batch = batch.with_timestamp_type(now_ms)
    return batch


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
)
