"""kill -9 in the middle of producing: every acknowledged record is there once, and offsets have no gap."""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from typing import Any

import kafka
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from kgw.test.live.clients import confluent_consume, librdkafka
from kgw.test.live.server import GatewayProcess, LiveTestCase

#: How often kgw is killed; C{KGW_CRASH_ROUNDS=200} is the long run.
ROUNDS = int(os.environ.get("KGW_CRASH_ROUNDS", "20"))
PARTITIONS = 3
#: A writer stops for this long after so many records, so that the long run stays readable.
PAUSE, BURST = 0.002, 10


class Writer:
    """
    Produces numbered records until it is told to stop, remembering what was acknowledged and where.

    @ivar acknowledged: (partition, offset) to value.
    @ivar handed_over: how many records it has produced.
    """

    def __init__(self, name: str, bootstrap: str, topic: str = "t", **configs: Any) -> None:
        self.name = name
        self.topic = topic
        self.acknowledged: dict[tuple[int, int], bytes] = {}
        self.handed_over = 0
        self.failed = 0
        self._enough = threading.Event()
        self._some = threading.Semaphore(0)
        self._producer = Producer(
            librdkafka(
                bootstrap,
                reconnect_backoff_ms=20,
                reconnect_backoff_max_ms=200,
                retry_backoff_ms=20,
                linger_ms=2,
                queue_buffering_max_messages=5000,
                **configs,
            )
        )
        self._thread = threading.Thread(target=self._run, name=name)
        self._thread.start()

    def wait_for_acknowledgements(self, count: int) -> None:
        """Return when C{count} more records have been acknowledged."""
        for _ in range(count):
            assert self._some.acquire(timeout=20), f"{self.name}: nothing is acknowledged any more"

    def finish(self) -> None:
        """Stop producing, and wait for the answers that are still to come."""
        self._enough.set()
        self._thread.join()
        left = self._producer.flush(20)
        assert not left, f"{self.name}: {left} records neither acknowledged nor failed"

    def _run(self) -> None:
        while not self._enough.is_set():
            value = b"%s:%d:" % (self.name.encode(), self.handed_over) + b"x" * (self.handed_over % 300)
            try:
                self._producer.produce(
                    self.topic, value, partition=self.handed_over % PARTITIONS, on_delivery=self._delivered
                )
            except BufferError:
                self._producer.poll(0.05)
                continue
            self.handed_over += 1
            self._producer.poll(0)
            if self.handed_over % BURST == 0:
                self._enough.wait(PAUSE)

    def _delivered(self, error: Any, message: Any) -> None:
        if error is None:
            self.acknowledged[message.partition(), message.offset()] = message.value()
            self._some.release()
        else:
            self.failed += 1


def bounds(consumer: Consumer, topic: str, partition: int) -> tuple[int, int]:
    """First and next offset, once retention has come to rest."""
    before = None
    while True:
        now: tuple[int, int] = consumer.get_watermark_offsets(TopicPartition(topic, partition), 10)
        if now == before:
            return now
        before = now
        time.sleep(0.5 if now[0] else 0)


def content(bootstrap: str, topic: str = "t") -> dict[tuple[int, int], bytes]:
    """All records of the topic, each partition from its first offset to its end."""
    consumer = Consumer(librdkafka(bootstrap, group_id="unused"))
    found: dict[tuple[int, int], bytes] = {}
    try:
        for partition in range(PARTITIONS):
            low, high = bounds(consumer, topic, partition)
            assert low == 0 or topic != "t", low
            records = confluent_consume(bootstrap, topic, high - low, partition)
            offsets = [record.offset for record in records]
            assert offsets == list(range(low, high)), f"partition {partition} has gaps"
            found.update(((partition, record.offset), record.value or b"") for record in records)
    finally:
        consumer.close()
    return found


class KillTests(LiveTestCase):
    """SIGKILL under load, and a start on what is left."""

    def create(self, server: GatewayProcess, topic: str = "t", **configs: str) -> None:
        named = {name.replace("_", "."): value for name, value in configs.items()}
        admin = AdminClient(librdkafka(server.bootstrap))
        for future in admin.create_topics([NewTopic(topic, PARTITIONS, 1, config=named)]).values():
            future.result(10)

    def check(self, writers: list[Writer], found: dict[tuple[int, int], bytes]) -> None:
        """Each acknowledged record stands where its acknowledgement said, and nowhere else."""
        times = Counter(found.values())
        for writer in writers:
            self.assertGreater(len(writer.acknowledged), 0, writer.name)
            lost = {where: value for where, value in writer.acknowledged.items() if found.get(where) != value}
            self.assertEqual(lost, {}, f"{writer.name}: acknowledged, but not there")
            twice = [value for value in writer.acknowledged.values() if times[value] != 1]
            self.assertEqual(twice, [], f"{writer.name}: acknowledged, and there more than once")

    def test_rounds(self) -> None:
        """
        Producers that do not retry lose nothing that was acknowledged; idempotent ones, which go on through all
        crashes, end with all their records there, once. Segments are rolled, deleted and checkpointed all the while.
        """
        chance = random.Random(5)
        server = self.serve(
            "--set", "log.retention.check.interval.ms=200", "--set", "log.flush.offset.checkpoint.interval.ms=300"
        )  # fmt: skip
        self.create(server, segment_ms="250")
        self.create(server, "trimmed", segment_ms="100", retention_bytes="50000", file_delete_delay_ms="0")
        through = Writer("idempotent", server.bootstrap, enable_idempotence=True)
        self.addCleanup(through.finish)
        trimmed = Writer("trimmed", server.bootstrap, "trimmed", enable_idempotence=True)
        self.addCleanup(trimmed.finish)
        writers = [through]
        for turn in range(ROUNDS):
            codec = ("none", "lz4")[turn % 2]
            once = Writer(f"{codec}-{turn}", server.bootstrap, retries=0, acks=-1, compression_type=codec)
            self.addCleanup(once.finish)
            writers.append(once)
            for writer in (once, through, trimmed):
                writer.wait_for_acknowledgements(20)
            time.sleep(chance.random() * 0.4)
            server.kill()
            server.start()
            once.finish()
        for writer in (through, trimmed):
            writer.wait_for_acknowledgements(100)
            writer.finish()
            self.assertEqual(writer.failed, 0)
            self.assertEqual(len(writer.acknowledged), writer.handed_over)
        self.check(writers, content(server.bootstrap))
        left = content(server.bootstrap, "trimmed")
        first = {partition: min(offset for one, offset in left if one == partition) for partition in range(PARTITIONS)}
        self.assertTrue(all(first.values()), "retention has deleted nothing")
        for (partition, offset), value in trimmed.acknowledged.items():
            if offset >= first[partition]:
                self.assertEqual(left[partition, offset], value)
        self.assertTrue(set(left) <= set(trimmed.acknowledged), "records that nobody was told of")
        if ROUNDS > 20:
            print(f"\n{ROUNDS} rounds: {sum(len(writer.acknowledged) for writer in writers)} records acknowledged")

    def test_idempotent_kafka_python(self) -> None:
        """kafka-python's idempotent producer gets over a crash too."""
        server = self.serve()
        self.create(server)
        producer = kafka.KafkaProducer(
            bootstrap_servers=server.bootstrap, enable_idempotence=True, linger_ms=2, reconnect_backoff_ms=20
        )
        self.addCleanup(producer.close, 10)
        sent = [producer.send("t", b"%d" % number, partition=number % PARTITIONS) for number in range(1000)]
        sent[0].get(20)
        server.kill()
        server.start()
        sent += [producer.send("t", b"%d" % number, partition=number % PARTITIONS) for number in range(1000, 2000)]
        acknowledged = {(m.partition, m.offset): b"%d" % n for n, m in enumerate(f.get(30) for f in sent)}
        self.assertEqual(content(server.bootstrap), acknowledged)

    def test_orderly_stop_under_load(self) -> None:
        """SIGTERM answers what is in flight, ends with status 0, and loses nothing either."""
        server = self.serve()
        self.create(server)
        writer = Writer("steady", server.bootstrap, retries=0)
        self.addCleanup(writer.finish)
        writer.wait_for_acknowledgements(1000)
        self.assertEqual(server.terminate(), 0)
        server.start()
        writer.finish()
        self.check([writer], content(server.bootstrap))

    def test_deleted_topic_stays_deleted(self) -> None:
        """A topic whose deletion was acknowledged does not come back after a crash."""
        server = self.serve("--set", "auto.create.topics.enable=false")
        self.create(server)
        admin = AdminClient(librdkafka(server.bootstrap))
        for future in admin.delete_topics(["t"]).values():
            future.result(10)
        server.kill()
        server.start()
        self.assertNotIn("t", admin.list_topics(timeout=10).topics)
        self.create(server)
        self.assertEqual(content(server.bootstrap), {})

    def test_transactions_are_refused(self) -> None:
        """A transactional producer is told at once, and finally."""
        server = self.serve()
        producer = Producer(librdkafka(server.bootstrap, transactional_id="x"))
        raised = self.assertRaises(KafkaException, producer.init_transactions, 10)
        self.assertFalse(raised.args[0].retriable())
        fatal = self.assertRaises(KafkaException, producer.poll, 5)
        self.assertTrue(fatal.args[0].fatal())
