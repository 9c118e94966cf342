"""kgw and SeaweedFS' own gateway in Go, side by side on one engine: each reads what the other wrote."""

from __future__ import annotations

import time
from functools import cache
from typing import NamedTuple

import confluent_kafka
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from kgw.test.live.clients import PATIENCE, Record, confluent_consume, confluent_produce, librdkafka
from kgw.test.live.go_gateway import GoGateway
from kgw.test.live.server import GatewayProcess, LiveTestCase
from kgw.test.seaweed import Engine


class Stage(NamedTuple):
    """What the tests share: an engine of their own, as kgw takes up all topics there are when it starts."""

    engine: Engine
    go: GoGateway


@cache
def stage() -> Stage:
    """Started when first asked for; both are ended with the process."""
    engine = Engine().start()
    return Stage(engine, GoGateway(engine.masters).start())


def create(bootstrap: str, topic: str, partitions: int = 1) -> None:
    """Create a topic."""
    admin = AdminClient(librdkafka(bootstrap))
    for created in admin.create_topics([NewTopic(topic, partitions, 1)]).values():
        created.result(PATIENCE)


def some_records(who: str, count: int) -> list[Record]:
    """Plain ones, of now; every third without a key, the last one a large one."""
    now = int(time.time() * 1000)
    records = [
        Record(None if number % 3 == 0 else b"key-%d" % number, f"{who} {number} \0\xff".encode("latin-1"), now)
        for number in range(count - 1)
    ]
    return [*records, Record(b"large", who.encode() * 20_000, now)]


def plain(records: list[Record]) -> list[tuple[bytes | None, bytes | None]]:
    """Keys and values, which is all that the Go gateway keeps of a record."""
    return [(record.key, record.value) for record in records]


def consume_as_member(bootstrap: str, group: str, topic: str, count: int) -> list[tuple[int | None, bytes | None]]:
    """Join a group, read C{count} records of partition 0 from where it stands, commit that, and leave."""
    configs = {"auto_offset_reset": "earliest", "enable_auto_commit": False, "fetch_wait_max_ms": 100}
    consumer = confluent_kafka.Consumer(librdkafka(bootstrap, group_id=group, **configs))
    found: list[tuple[int | None, bytes | None]] = []
    try:
        consumer.subscribe([topic])
        while len(found) < count:
            message = consumer.poll(PATIENCE)
            assert message is not None, f"only {len(found)} of {count} records came"
            assert message.error() is None, message.error()
            found.append((message.offset(), message.value()))
        (position,) = consumer.position([TopicPartition(topic, 0)])
        consumer.commit(offsets=[position], asynchronous=False)
    finally:
        consumer.close()
    return found


def committed(bootstrap: str, group: str, topic: str) -> int:
    """The offset a group has committed of partition 0."""
    consumer = confluent_kafka.Consumer(librdkafka(bootstrap, group_id=group, enable_auto_commit=False))
    try:
        (found,) = consumer.committed([TopicPartition(topic, 0)], PATIENCE)
        offset: int = found.offset
        return offset
    finally:
        consumer.close()


class GoGatewayTests(LiveTestCase):
    """Records, offsets and topics go both ways."""

    def setUp(self) -> None:
        super().setUp()
        self.go = stage().go.bootstrap

    def account(self) -> str:
        """See L{LiveTestCase.account}."""
        return f"{super().account()}\n--- the Go gateway\n{stage().go.output()}"

    def kgw(self) -> str:
        """Start a kgw, which ends in order with the test: where to reach it."""
        masters = ",".join(stage().engine.masters)
        server: GatewayProcess = self.serve("--masters", masters, "--set", "group.initial.rebalance.delay.ms=0")
        self.addCleanup(server.terminate)
        return server.bootstrap

    def test_from_go(self) -> None:
        """A topic of the Go gateway is there when kgw starts, with its records; its groups go on where they were."""
        records = some_records("go", 30)
        create(self.go, "from-go", partitions=2)
        confluent_produce(self.go, "from-go", records, "none")
        consume_as_member(self.go, "group-of-go", "from-go", 7)
        kgw = self.kgw()
        topic = AdminClient(librdkafka(kgw)).list_topics("from-go", PATIENCE).topics["from-go"]
        self.assertEqual(sorted(topic.partitions), [0, 1])
        found = confluent_consume(kgw, "from-go", len(records))
        self.assertEqual(plain(found), plain(records))
        self.assertEqual([record.offset for record in found], list(range(len(records))))
        self.assertEqual(committed(kgw, "group-of-go", "from-go"), 7)
        went_on = consume_as_member(kgw, "group-of-go", "from-go", 5)
        self.assertEqual(went_on, [(offset, records[offset].value) for offset in range(7, 12)])

    def test_from_kgw(self) -> None:
        """What kgw made is there for the Go gateway: topic, records and the offsets of groups."""
        records = some_records("kgw", 30)
        kgw = self.kgw()
        create(kgw, "from-kgw", partitions=2)
        confluent_produce(kgw, "from-kgw", records, "zstd")
        consume_as_member(kgw, "group-of-kgw", "from-kgw", 11)
        topic = AdminClient(librdkafka(self.go)).list_topics("from-kgw", PATIENCE).topics["from-kgw"]
        self.assertEqual(sorted(topic.partitions), [0, 1])
        found = confluent_consume(self.go, "from-kgw", len(records))
        self.assertEqual(plain(found), plain(records))
        self.assertEqual([record.offset for record in found], list(range(len(records))))
        self.assertEqual(committed(self.go, "group-of-kgw", "from-kgw"), 11)
        went_on = consume_as_member(self.go, "group-of-kgw", "from-kgw", 5)
        self.assertEqual(went_on, [(offset, records[offset].value) for offset in range(11, 16)])
        # each gateway knows the offsets of its groups by heart; others' it finds when it starts
        self.servers[0].terminate()
        self.assertEqual(committed(self.kgw(), "group-of-kgw", "from-kgw"), 16)

    def test_in_turn(self) -> None:
        """Both write to one partition; both read the same."""
        kgw = self.kgw()
        create(kgw, "shared")
        written: list[Record] = []
        for turn in range(3):
            for name, bootstrap in (("kgw", kgw), ("go", self.go)):
                records = some_records(f"{name} {turn}", 10)
                confluent_produce(bootstrap, "shared", records, "none")
                written += records
                # a consumer of kgw is told of what came by the other way
                self.assertEqual(plain(confluent_consume(kgw, "shared", len(written))), plain(written))
        found = confluent_consume(self.go, "shared", len(written))
        self.assertEqual(plain(found), plain(written))
        self.assertEqual([record.offset for record in found], list(range(len(written))))
