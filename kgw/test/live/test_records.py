"""What one client writes, in every compression, the others read unchanged."""

from __future__ import annotations

import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

from confluent_kafka import Consumer, Producer, TopicPartition

from kgw.test.live.clients import CLIENTS, CODECS, Client, Record, confluent_consume, confluent_produce, librdkafka
from kgw.test.live.server import LiveTestCase
from kgw.testing import KafkaGateway

STAMP = 1_700_000_000_000


def samples(writer: Client) -> list[Record]:
    """Keys, values and headers of every kind it can send, then enough alike for a codec to bite on."""
    odd = [
        Record(b"key", b"value", STAMP),
        Record(None, b"no key", STAMP + 5),
        Record(b"no value", None, STAMP + 1),
        Record(b"", b"", STAMP + 2),
        Record("größe".encode(), bytes(range(256)), STAMP + 3, (("h", b"1"), ("h", b"2"), ("leer", b""))),
        Record(b"large", b"0123456789abcdef" * 4096, STAMP + 4),
    ]
    if writer.null_records:
        odd.append(Record(None, None, STAMP))
    if writer.null_headers:
        odd.append(Record(b"headers", b"", STAMP, (("null", None), ("名前", b"\xff\x00"))))
    return odd + [Record(b"%d" % n, b"value number %d, value number %d" % (n, n), STAMP + n) for n in range(300)]


class RecordTests(LiveTestCase):
    """One kgw, three client libraries, five codecs."""

    def check(self, writer: Client) -> None:
        server = self.serve()
        records = samples(writer)

        def write(codec: str) -> None:
            writer.produce(server.bootstrap, f"{writer.name}-{codec}", records, codec)

        # side by side, as each waits for what it wrote to be durable
        with ThreadPoolExecutor(len(CODECS)) as pool:
            list(pool.map(write, CODECS))
        for reader in CLIENTS:
            if reader is writer:
                continue
            for codec in CODECS:
                where = f"{writer.name} -> {reader.name}, {codec}"
                found = reader.consume(server.bootstrap, f"{writer.name}-{codec}", len(records))
                self.assertEqual([record.offset for record in found], list(range(len(records))), where)
                self.assertEqual(found, records, where)

    def test_confluent(self) -> None:
        """librdkafka writes."""
        self.check(CLIENTS[0])

    def test_kafka_python(self) -> None:
        """kafka-python writes."""
        self.check(CLIENTS[1])

    def test_aiokafka(self) -> None:
        """aiokafka writes."""
        self.check(CLIENTS[2])

    def test_survive_restarts(self) -> None:
        """After an orderly stop and after a crash everything is still there, and the port is the same."""
        server = self.serve()
        records = samples(CLIENTS[0])
        confluent_produce(server.bootstrap, "kept", records, "zstd")
        self.assertEqual(server.terminate(), 0)
        server.start()
        self.assertEqual(confluent_consume(server.bootstrap, "kept", len(records)), records)
        confluent_produce(server.bootstrap, "kept", records, "none")
        server.kill()
        server.start()
        self.assertEqual(confluent_consume(server.bootstrap, "kept", 2 * len(records)), records * 2)

    def test_acks(self) -> None:
        """Without acknowledgement, or with the leader's only, records arrive all the same."""
        server = self.serve()
        for acks in (0, 1):
            producer = Producer(librdkafka(server.bootstrap, acks=acks))
            for number in range(50):
                producer.produce(f"acks-{acks}", b"%d" % number)
            self.assertEqual(producer.flush(15), 0)
            found = confluent_consume(server.bootstrap, f"acks-{acks}", 50)
            self.assertEqual([record.value for record in found], [b"%d" % number for number in range(50)])

    def test_waiting_consumer_is_woken(self) -> None:
        """A record reaches a consumer that waits at the end of the log, long before its wait is over."""
        server = self.serve()
        confluent_produce(server.bootstrap, "live", [Record(None, b"first", STAMP)], "none")
        consumer = Consumer(librdkafka(server.bootstrap, group_id="unused", fetch_wait_max_ms=20000, fetch_min_bytes=1))
        self.addCleanup(consumer.close)
        consumer.assign([TopicPartition("live", 0, 0)])
        first = consumer.consume(1, 10)
        self.assertEqual([message.value() for message in first], [b"first"])
        confluent_produce(server.bootstrap, "live", [Record(None, b"second", STAMP)], "none")
        second = consumer.consume(1, 5)
        self.assertEqual([message.value() for message in second], [b"second"])


class LocalEngineTests(LiveTestCase):
    """The engines that need nothing but this machine."""

    def test_in_this_process(self) -> None:
        """A gateway inside the test's own process, on disk and in memory, serves all three clients."""
        for durable in (True, False):
            with KafkaGateway(durable=durable) as kgw:
                for writer, reader in zip(CLIENTS, CLIENTS[1:] + CLIENTS[:1], strict=True):
                    records = samples(writer)
                    writer.produce(kgw.bootstrap, writer.name, records, "lz4")
                    self.assertEqual(reader.consume(kgw.bootstrap, writer.name, len(records)), records)

    def test_memory_engine(self) -> None:
        """The memory engine serves the same clients."""
        server = self.serve("--engine", "memory")
        records = samples(CLIENTS[0])
        confluent_produce(server.bootstrap, "t", records, "lz4")
        self.assertEqual(CLIENTS[1].consume(server.bootstrap, "t", len(records)), records)


KCAT = shutil.which("kcat")

if KCAT is not None:

    class KcatTests(LiveTestCase):
        """kcat, as Debian has it."""

        def kcat(self, server: str, *arguments: str, stdin: bytes = b"") -> bytes:
            command = [str(KCAT), "-b", server, "-X", "message.timeout.ms=15000", *arguments]
            return subprocess.run(command, input=stdin, stdout=subprocess.PIPE, timeout=30, check=True).stdout

        def test_pipe(self) -> None:
            """Lines piped in come out, with keys, offsets and headers; the listing names the topic."""
            server = self.serve().bootstrap
            lines = b"".join(b"k%d:v%d\n" % (n, n) for n in range(100))
            self.kcat(server, "-P", "-t", "cat", "-K", ":", "-H", "a=b", "-z", "snappy", stdin=lines)
            found = self.kcat(server, "-C", "-t", "cat", "-o", "beginning", "-e", "-q", "-f", "%o %k:%s %h\n")
            self.assertEqual(found, b"".join(b"%d k%d:v%d a=b\n" % (n, n, n) for n in range(100)))
            self.assertIn(b'topic "cat" with 1 partitions', self.kcat(server, "-L"))
