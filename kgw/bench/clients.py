"""Produce and consume with librdkafka, which is what most people's clients stand on; needs confluent-kafka."""

from __future__ import annotations

import random
from itertools import cycle, islice
from typing import Any

from kgw.bench.machine import Spent, Stopwatch
from kgw.bench.requests import BenchError
from kgw.bench.server import Server

#: How long a client waits for anything, in seconds.
_PATIENCE = 60.0
#: Values to choose from: together larger than the window of any codec, so that records compress as text does, not
#: by being all the same.
_VALUES = 1000


def library() -> str | None:
    """The version of librdkafka, or C{None} where confluent-kafka is not installed."""
    try:
        import confluent_kafka
    except ImportError:
        return None
    return str(confluent_kafka.libversion()[0])


def produce(server: Server, topic: str, count: int, size: int, codec: str) -> Spent:
    """
    Hand over C{count} records of C{size} bytes and wait until all are acknowledged (acks=all).

    @param topic: exists.
    @raise BenchError: records are not acknowledged.
    """
    from confluent_kafka import Producer

    refused: list[Any] = []
    producer = Producer(
        {
            "bootstrap.servers": str(server.address),
            "linger.ms": 5,
            "compression.type": codec,
            "queue.buffering.max.messages": 10_000_000,
            "queue.buffering.max.kbytes": 2_000_000,
            "delivery.report.only.error": True,
            "on_delivery": lambda error, _: refused.append(error),
        }
    )
    # metadata and connection are there before the clock starts
    producer.list_topics(topic, timeout=_PATIENCE)
    digits = random.Random(size)
    values = [digits.randbytes(size // 2).hex().encode() for _ in range(_VALUES)]
    send, poll = producer.produce, producer.poll
    watch = Stopwatch(server.pid)
    for value in islice(cycle(values), count):
        try:
            send(topic, value)
        except BufferError:
            poll(0.1)
            send(topic, value)
    left = producer.flush(_PATIENCE)
    spent = watch.stop()
    if left or refused:
        raise BenchError(f"{left or len(refused)} records were not acknowledged: {refused[:1]}")
    return spent


def consume(server: Server, topic: str, count: int, partitions: int) -> Spent:
    """
    Read a topic of C{count} records from its start to its end.

    @raise BenchError: they do not come.
    """
    from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

    consumer = Consumer(
        {
            "bootstrap.servers": str(server.address),
            "group.id": "unused",
            "enable.auto.commit": False,
            # by default librdkafka pauses for a second whenever its queue is full
            "fetch.queue.backoff.ms": 2,
        }
    )
    try:
        consumer.list_topics(topic, _PATIENCE)
        watch = Stopwatch(server.pid)
        consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in range(partitions)])
        seen = 0
        while seen < count:
            messages = consumer.consume(10_000, _PATIENCE if not seen else 10.0)
            if not messages:
                raise BenchError(f"only {seen} of {count} records came")
            error = messages[0].error() or messages[-1].error()
            if error is not None:
                raise BenchError(f"consuming failed: {error}")
            seen += len(messages)
        spent = watch.stop()
        ends = [consumer.get_watermark_offsets(TopicPartition(topic, n), _PATIENCE) for n in range(partitions)]
        if sum(end - start for start, end in ends) != count:
            raise BenchError(f"the topic has not the {count} records sent to it: {ends}")
        return spent
    finally:
        consumer.close()
