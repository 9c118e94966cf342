"""What live tests of schematized records share: a registry, gateways that know it, and records with headers and all."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple
from uuid import uuid4

import confluent_kafka
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from kgw.schema.framing import prefixed
from kgw.test.live.clients import PATIENCE, librdkafka
from kgw.test.live.registry import RegistryProcess
from kgw.test.live.server import GatewayProcess, LiveTestCase


class Sent(NamedTuple):
    """A record with all that a consumer is told of it."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    timestamp: int


class SchematizedTestCase(LiveTestCase):
    """
    One registry, which a test may stop.

    @ivar topic: the name of a topic that no other test has.
    """

    def setUp(self) -> None:
        super().setUp()
        self.registry = self.found().start()
        self.addCleanup(self.registry.stop)
        self.topic = f"schemas-{uuid4().hex[:8]}"

    def found(self) -> RegistryProcess:
        """The registry, which has not been started."""
        return RegistryProcess()

    def gateway(self, policy: str, *options: str) -> GatewayProcess:
        """A gateway that asks the registry."""
        more = ("--schema-registry", self.registry.url, "--set", f"kgw.schema.validation={policy}", *options)
        return self.serve(*more, "--set", "group.initial.rebalance.delay.ms=0")

    def create(self, bootstrap: str, *topics: str) -> None:
        """Create topics of one partition."""
        admin = AdminClient(librdkafka(bootstrap))
        for created in admin.create_topics([NewTopic(topic, 1, 1) for topic in topics or (self.topic,)]).values():
            created.result(PATIENCE)

    def register(self, kind: str, schema: str, topic: str = "") -> int:
        """Register a schema for the values of a topic: its id."""
        subject = f"{topic or self.topic}-value"
        answer = self.registry.call("POST", f"/subjects/{subject}/versions", {"schema": schema, "schemaType": kind})
        return int(answer["id"])

    def value(self, kind: str, schema: str, payload: bytes, topic: str = "") -> bytes:
        """A value as serializers frame it; its schema is registered."""
        return prefixed(self.register(kind, schema, topic), payload)

    def produce(
        self, bootstrap: str, records: Sequence[Sent], topic: str = "", together: bool = True, **configs: object
    ) -> list[str]:
        """
        Write records to partition 0.

        @param together: in as few batches as it takes; else each in its own.
        @return: of each record the name of its error, empty where it was taken.
        """
        errors = [""] * len(records)
        batches = {"linger_ms": 200} if together else {"batch_num_messages": 1, "linger_ms": 0}
        producer = confluent_kafka.Producer(librdkafka(bootstrap, **{**batches, **configs}))

        def told(index: int, error: Any, message: Any) -> None:
            errors[index] = "" if error is None else error.name()

        for index, record in enumerate(records):
            producer.produce(
                topic or self.topic,
                record.value,
                record.key,
                partition=0,
                timestamp=record.timestamp,
                headers=list(record.headers),
                on_delivery=partial(told, index),
            )
        self.assertEqual(producer.flush(PATIENCE), 0)
        return errors

    def consume(self, bootstrap: str, count: int, topic: str = "") -> list[Sent]:
        """The first records of partition 0."""
        consumer = confluent_kafka.Consumer(librdkafka(bootstrap, group_id="readers", check_crcs=True))
        found: list[Sent] = []
        try:
            consumer.assign([TopicPartition(topic or self.topic, 0, 0)])
            while len(found) < count:
                message = consumer.poll(PATIENCE)
                assert message is not None, f"only {len(found)} of {count} records came"
                assert message.error() is None, message.error()
                headers: Any = tuple(message.headers() or [])
                found.append(Sent(message.key(), message.value(), headers, message.timestamp()[1]))
        finally:
            consumer.close()
        return found


def sent(values: Sequence[bytes | None]) -> list[Sent]:
    """Records of some values: of now and of long ago, some without keys, some with headers."""
    now = int(time.time() * 1000)
    return [
        Sent(
            None if index % 4 == 0 else b"" if index % 4 == 1 else b"key-%d" % index,
            value,
            (("h", b"1"), ("h", None), ("ü", b"\0")) if index % 5 == 0 else (),
            now if index % 3 else 1_700_000_000_000 + index,
        )
        for index, value in enumerate(values)
    ]


def avro_schema(*fields: tuple[str, object]) -> str:
    """The text of an Avro record."""
    made = [{"name": name, "type": kind} for name, kind in fields]
    return json.dumps({"type": "record", "name": "kgw.Record", "fields": made})
