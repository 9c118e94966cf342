"""Produce and consume with confluent-kafka, which is what most people's clients stand on."""

from __future__ import annotations

from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition

from bench.measure import Measured, Stopwatch

TOPIC = "bench"
PATIENCE = 60.0


def produce(bootstrap: str, server: int, count: int, size: int, **configs: Any) -> Measured:
    """
    Hand C{count} records of C{size} bytes to one partition and wait until all are acknowledged (acks=all).

    @param server: the server's process id.
    @param configs: further properties, with underscores for dots.
    """
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "linger.ms": 5,
            "queue.buffering.max.messages": 10_000_000,
            "queue.buffering.max.kbytes": 2_000_000,
            "delivery.report.only.error": True,
            "on_delivery": _failed,
            **{name.replace("_", "."): value for name, value in configs.items()},
        }
    )
    # the topic is made, and the connection up, before the clock starts
    producer.produce(TOPIC, b"first")
    assert not producer.flush(PATIENCE)
    value = bytes(number * 7 % 251 for number in range(size))
    send, poll = producer.produce, producer.poll
    watch = Stopwatch(server)
    for _ in range(count):
        try:
            send(TOPIC, value)
        except BufferError:
            poll(0.1)
            send(TOPIC, value)
    left = producer.flush(PATIENCE)
    measured = watch.stop(count, size)
    assert not left, f"{left} records were not acknowledged"
    return measured


def _failed(error: Any, _: Any) -> None:
    raise AssertionError(f"a record was not acknowledged: {error}")


def consume(bootstrap: str, server: int, count: int, size: int) -> Measured:
    """Read C{count} records from the start of partition 0."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "unused",
            "enable.auto.commit": False,
            # by default librdkafka pauses for a second whenever its queue is full
            "fetch.queue.backoff.ms": 2,
        }
    )
    try:
        consumer.list_topics(TOPIC, PATIENCE)
        watch = Stopwatch(server)
        consumer.assign([TopicPartition(TOPIC, 0, OFFSET_BEGINNING)])
        seen = 0
        while seen < count:
            messages = consumer.consume(10_000, PATIENCE if not seen else 5.0)
            assert messages, f"only {seen} of {count} records came"
            assert messages[0].error() is None and messages[-1].error() is None
            seen += len(messages)
        measured = watch.stop(seen, size)
        assert messages[-1].offset() == seen - 1, "offsets with gaps"
        return measured
    finally:
        consumer.close()
