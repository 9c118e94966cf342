"""Three real clients behind one small face: confluent-kafka (librdkafka), kafka-python and aiokafka."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiokafka
import confluent_kafka
import kafka

#: Kafka's names of the codecs that every client knows.
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
PATIENCE = 20.0


def librdkafka(bootstrap: str, **configs: Any) -> dict[str, Any]:
    """A configuration for confluent-kafka's clients; underscores stand for dots. Silent when a server goes away."""
    named = {name.replace("_", "."): value for name, value in configs.items()}
    return {"bootstrap.servers": bootstrap, "log_level": 0, **named}


@dataclass(frozen=True)
class Record:
    """What a client wrote or read; the timestamp is in milliseconds."""

    key: bytes | None
    value: bytes | None
    timestamp: int
    headers: tuple[tuple[str, bytes | None], ...] = ()
    offset: int = field(default=-1, compare=False)


def confluent_produce(bootstrap: str, topic: str, records: Sequence[Record], codec: str) -> None:
    """Write records to partition 0 with librdkafka."""
    failed: list[Any] = []
    producer = confluent_kafka.Producer(
        librdkafka(bootstrap, compression_type=codec, linger_ms=20, message_timeout_ms=15000)
    )
    for record in records:
        producer.produce(
            topic,
            key=record.key,
            value=record.value,
            partition=0,
            timestamp=record.timestamp,
            headers=list(record.headers),
            on_delivery=lambda error, _: failed.append(error) if error else None,
        )
    left = producer.flush(PATIENCE)
    assert not left and not failed, f"{left} records left, errors {failed[:3]}"


def confluent_consume(bootstrap: str, topic: str, count: int, partition: int = 0) -> list[Record]:
    """Read C{count} records from the start with librdkafka, checking CRCs."""
    consumer = confluent_kafka.Consumer(
        librdkafka(
            bootstrap,
            group_id="unused",
            enable_auto_commit=False,
            check_crcs=True,
            auto_offset_reset="error",
            fetch_wait_max_ms=100,
        )
    )
    found: list[Record] = []
    try:
        consumer.assign([confluent_kafka.TopicPartition(topic, partition, confluent_kafka.OFFSET_BEGINNING)])
        while len(found) < count:
            messages: list[Any] = consumer.consume(count - len(found), PATIENCE)
            assert messages, f"only {len(found)} of {count} records came"
            for message in messages:
                assert message.error() is None, message.error()
                found.append(
                    Record(
                        message.key(),
                        message.value(),
                        message.timestamp()[1],
                        tuple(message.headers() or ()),
                        message.offset(),
                    )
                )
    finally:
        consumer.close()
    return found


def kafka_python_produce(bootstrap: str, topic: str, records: Sequence[Record], codec: str) -> None:
    """Write records to partition 0 with kafka-python."""
    producer = kafka.KafkaProducer(
        bootstrap_servers=bootstrap, compression_type=None if codec == "none" else codec, linger_ms=20
    )
    try:
        sent = [
            producer.send(
                topic,
                value=record.value,
                key=record.key,
                headers=list(record.headers),
                partition=0,
                timestamp_ms=record.timestamp,
            )
            for record in records
        ]
        producer.flush(PATIENCE)
        for future in sent:
            future.get(PATIENCE)
    finally:
        producer.close(PATIENCE)


def kafka_python_consume(bootstrap: str, topic: str, count: int, partition: int = 0) -> list[Record]:
    """Read C{count} records from the start with kafka-python."""
    consumer = kafka.KafkaConsumer(
        bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="none", consumer_timeout_ms=15000
    )
    found: list[Record] = []
    try:
        where = kafka.TopicPartition(topic, partition)
        consumer.assign([where])
        consumer.seek(where, 0)
        for message in consumer:
            found.append(Record(message.key, message.value, message.timestamp, tuple(message.headers), message.offset))
            if len(found) == count:
                break
    finally:
        consumer.close()
    return found


def aiokafka_produce(bootstrap: str, topic: str, records: Sequence[Record], codec: str) -> None:
    """Write records to partition 0 with aiokafka."""

    async def produce() -> None:
        producer = aiokafka.AIOKafkaProducer(
            bootstrap_servers=bootstrap, compression_type=None if codec == "none" else codec, linger_ms=20
        )
        await producer.start()
        try:
            sent = [
                await producer.send(
                    topic,
                    value=record.value,
                    key=record.key,
                    headers=list(record.headers),
                    partition=0,
                    timestamp_ms=record.timestamp,
                )
                for record in records
            ]
            await asyncio.wait_for(asyncio.gather(*sent), PATIENCE)
        finally:
            await producer.stop()

    asyncio.run(produce())


def aiokafka_consume(bootstrap: str, topic: str, count: int, partition: int = 0) -> list[Record]:
    """Read C{count} records from the start with aiokafka."""

    async def consume() -> list[Record]:
        consumer = aiokafka.AIOKafkaConsumer(
            bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="none", check_crcs=True
        )
        await consumer.start()
        found: list[Record] = []
        try:
            where = aiokafka.TopicPartition(topic, partition)
            consumer.assign([where])
            consumer.seek(where, 0)
            while len(found) < count:
                message = await asyncio.wait_for(consumer.getone(), PATIENCE)
                found.append(
                    Record(message.key, message.value, message.timestamp, tuple(message.headers), message.offset)
                )
        finally:
            await consumer.stop()
        return found

    return asyncio.run(consume())


@dataclass(frozen=True)
class Client:
    """
    One client library.

    @ivar null_headers: whether its producer can send a header without a value.
    @ivar null_records: whether its producer can send a record without key and value.
    """

    name: str
    produce: Callable[[str, str, Sequence[Record], str], None]
    consume: Callable[..., list[Record]]
    null_headers: bool
    null_records: bool


CLIENTS = (
    Client("confluent-kafka", confluent_produce, confluent_consume, True, True),
    Client("kafka-python", kafka_python_produce, kafka_python_consume, False, False),
    Client("aiokafka", aiokafka_produce, aiokafka_consume, True, False),
)
