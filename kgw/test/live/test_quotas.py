"""Real clients that want more than their quotas have."""

from __future__ import annotations

import time
from typing import Any

from confluent_kafka import Producer

from kgw.handlers import alter_client_quotas, describe_client_quotas
from kgw.test.live.clients import (
    Record,
    aiokafka_consume,
    aiokafka_produce,
    confluent_consume,
    kafka_python_consume,
    kafka_python_produce,
    librdkafka,
)
from kgw.test.live.raw import RawClient, create, produce_frame
from kgw.test.live.server import LiveTestCase

#: Bytes a second, and what is sent; the windows let a client begin with one second's worth.
LIMIT = 100_000
RECORDS = [Record(None, bytes([65 + number]) * 10_000, 1_700_000_000_000 + number) for number in range(30)]


class QuotaCase(LiveTestCase):
    """A gateway with two windows of a second."""

    def open(self) -> None:
        self.server = self.serve("--set", "quota.window.num=2")
        create(self.server.port, "t")

    def limit(self, key: str, value: float | None, who: str = "client-id") -> None:
        """Set a default quota, or remove it."""
        with RawClient(self.server.port) as client:
            entity = [alter_client_quotas.RequestEntity(who, None)]
            ops = [alter_client_quotas.RequestOp(key, value or 0.0, value is None)]
            request = alter_client_quotas.Request([alter_client_quotas.RequestEntry(entity, ops)])
            answer = client.ask(alter_client_quotas.API, 1, request)
        self.assertEqual([row.error_message for row in answer.entries], [None])

    def quotas(self) -> list[tuple[str, float]]:
        with RawClient(self.server.port) as client:
            answer = client.ask(describe_client_quotas.API, 0, describe_client_quotas.Request())
        return [(one.key, one.value) for entry in answer.entries for one in entry.values]

    def takes(self, least: float, most: float, work: Any, *args: Any) -> Any:
        """Its result, where it takes so many seconds."""
        began = time.monotonic()
        result = work(*args)
        seconds = time.monotonic() - began
        self.assertTrue(least <= seconds <= most, f"{work.__name__} took {seconds:.2f} s")
        return result

    def read(self, consume: Any) -> None:
        """Have a consumer read what is there already, in batches of one record."""
        self.open()
        with RawClient(self.server.port) as client:
            for record in RECORDS:
                client.send(produce_frame("t", record.value or b""))
                client.receive()
        self.limit("consumer_byte_rate", LIMIT)
        found = self.takes(1.0, 8.0, consume, self.server.bootstrap, "t", len(RECORDS))
        self.assertEqual([record.value for record in found], [record.value for record in RECORDS])


def produce_slowly(bootstrap: str) -> None:
    """
    librdkafka's producer with batches of two records, one after the other: what is on its way is not held back, and
    where that takes long to become durable (SeaweedMQ, a second) several would be.
    """
    failed: list[Any] = []
    producer = Producer(librdkafka(bootstrap, batch_size=20_500, max_in_flight=1, acks=1))
    for record in RECORDS:
        producer.produce(
            "t", record.value, partition=0, on_delivery=lambda error, _: failed.append(error) if error else None
        )
    left = producer.flush(15)
    assert not left and not failed, f"{left} records left, errors {failed[:3]}"


class ProducerTests(QuotaCase):
    """Three times as much as a second allows, of which the first is free."""

    def test_confluent(self) -> None:
        """librdkafka is as slow as it should be, and the quota survives a crash."""
        self.open()
        self.limit("producer_byte_rate", LIMIT)
        self.server.kill()
        self.server.start()
        self.assertEqual(self.quotas(), [("producer_byte_rate", LIMIT)])
        self.takes(1.0, 6.0, produce_slowly, self.server.bootstrap)
        self.limit("producer_byte_rate", None)
        self.assertEqual(self.quotas(), [])
        self.takes(0.0, 1.0, produce_slowly, self.server.bootstrap)
        found = confluent_consume(self.server.bootstrap, "t", len(RECORDS) * 2)
        self.assertEqual([record.value for record in found], [record.value for record in RECORDS * 2])


class ClientTests(QuotaCase):
    """The other clients' producers."""

    def test_kafka_python(self) -> None:
        """kafka-python."""
        self.open()
        self.limit("producer_byte_rate", LIMIT, "user")
        self.takes(1.0, 6.0, kafka_python_produce, self.server.bootstrap, "t", RECORDS, "none")

    def test_aiokafka(self) -> None:
        """aiokafka."""
        self.open()
        self.limit("producer_byte_rate", LIMIT, "user")
        self.takes(1.0, 6.0, aiokafka_produce, self.server.bootstrap, "t", RECORDS, "none")


class ConsumerTests(QuotaCase):
    """The same on the way out."""

    def test_confluent(self) -> None:
        """librdkafka."""
        self.read(confluent_consume)

    def test_kafka_python(self) -> None:
        """kafka-python, which keeps a fetch session."""
        self.read(kafka_python_consume)

    def test_aiokafka(self) -> None:
        """aiokafka."""
        self.read(aiokafka_consume)


class ConnectionTests(QuotaCase):
    """How fast one may connect."""

    def test_turned_away(self) -> None:
        """Connections above the rate are closed; those that are there go on."""
        self.open()
        with RawClient(self.server.port) as client:
            # a rate over one second and a bit
            entity = [alter_client_quotas.RequestEntity("ip", "127.0.0.1")]
            ops = [alter_client_quotas.RequestOp("connection_creation_rate", 2, False)]
            request = alter_client_quotas.Request([alter_client_quotas.RequestEntry(entity, ops)])
            client.ask(alter_client_quotas.API, 1, request)
            others = [RawClient(self.server.port) for _ in range(5)]
            for one in others:
                self.addCleanup(one.socket.close)
            self.assertEqual([one.closed() for one in others[2:]], [True] * 3)
            self.assertEqual(
                len(client.ask(describe_client_quotas.API, 1, describe_client_quotas.Request()).entries), 1
            )


class SeaweedTests(ProducerTests):
    """The same with SeaweedMQ as the engine."""

    engine = "seaweedmq"

    def test_consumer(self) -> None:
        """librdkafka's consumer."""
        self.read(confluent_consume)
