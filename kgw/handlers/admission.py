"""What a record batch must be to enter a partition's log, and what it is made into where the topic asks for it."""

from __future__ import annotations

from kgw.errors import ErrorCode, KafkaError, Rejected, WireError
from kgw.model import LogConfig
from kgw.wire.compression import CompressionType
from kgw.wire.records import RecordBatch, WrongMagic

#: The first version of Produce that may carry zstd (KIP-110).
_ZSTD = 7
#: As large as one batch's records may become when the broker has to look into it.
MAX_DECOMPRESSED_BYTES = 256 << 20


def admit(records: bytes | memoryview | None, config: LogConfig, version: int, now_ms: int) -> RecordBatch:
    """
    Check one partition's bytes in Kafka's order and make of them the batch that will be stored.

    Kafka: C{ProduceRequest.validateRecords}, C{UnifiedLog.analyzeAndValidateRecords}, C{LogValidator}.

    @param records: what the request holds for the partition; the batch keeps a copy, not a view.
    @param version: of the Produce request.
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
        _check_header(batch, version)
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
