"""kgw.testing: a broker inside somebody else's test, with its own thread or on the test's reactor."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from kgw.config import ConfigError
from kgw.errors import StartError
from kgw.testing import KafkaGateway, start_gateway


def produce(bootstrap: str, value: bytes) -> None:
    """Send one record to C{t} and wait until it is acknowledged."""
    failures: list[object] = []
    producer = Producer({"bootstrap.servers": bootstrap})
    producer.produce("t", value, on_delivery=lambda error, _: failures.append(error))
    assert producer.flush(10) == 0
    if failures != [None]:
        raise KafkaException(failures[0])


def consume(bootstrap: str) -> bytes | None:
    """The first record of C{t}."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "g", "enable.auto.commit": False})
    consumer.assign([TopicPartition("t", 0, 0)])
    try:
        message = consumer.poll(10)
        return None if message is None else message.value()
    finally:
        consumer.close()


class KafkaGatewayTests(SynchronousTestCase):
    """The blocking form."""

    def test_real_client(self) -> None:
        """A real client produces and consumes inside the block; nothing runs after it."""
        threads = threading.active_count()
        with KafkaGateway() as kgw:
            produce(kgw.bootstrap, b"hello")
            self.assertEqual(consume(kgw.bootstrap), b"hello")
        self.assertEqual(threading.active_count(), threads)
        with self.assertRaises(RuntimeError):
            kgw.bootstrap  # noqa: B018

    def test_two_at_a_time(self) -> None:
        """Each gateway has its own topics."""
        with KafkaGateway() as one, KafkaGateway() as two:
            self.assertNotEqual(one.port, two.port)
            produce(one.bootstrap, b"1")
            produce(two.bootstrap, b"2")
            self.assertEqual((consume(one.bootstrap), consume(two.bootstrap)), (b"1", b"2"))

    def test_directory(self) -> None:
        """What a directory keeps is there for the next gateway on it."""
        directory = self.mktemp()
        with KafkaGateway(directory=directory) as kgw:
            produce(kgw.bootstrap, b"kept")
        with KafkaGateway(directory=directory) as kgw:
            self.assertEqual(consume(kgw.bootstrap), b"kept")

    def test_durable(self) -> None:
        """The temporary directory of a durable gateway is removed."""
        with KafkaGateway(durable=True) as kgw:
            directory = kgw._running.gateway.config.data_directory  # type: ignore[union-attr]
            self.assertTrue(os.path.isdir(directory))
            produce(kgw.bootstrap, b"x")
        self.assertFalse(os.path.exists(directory))

    def test_properties(self) -> None:
        """Kafka's properties are obeyed, and a wrong one is told and leaves nothing running."""
        with KafkaGateway({"num.partitions": "3"}) as kgw:
            topic = Producer({"bootstrap.servers": kgw.bootstrap}).list_topics("t", 10).topics["t"]
            self.assertEqual(len(topic.partitions), 3)
        threads = threading.active_count()
        with self.assertRaises(ConfigError):
            KafkaGateway({"num.partition": "3"}).start()
        self.assertEqual(threading.active_count(), threads)

    def test_directory_in_use(self) -> None:
        """A directory that another gateway holds is refused."""
        directory = self.mktemp()
        with KafkaGateway(directory=directory), self.assertRaises(StartError) as caught:
            KafkaGateway(directory=directory).start()
        self.assertIn(str(os.getpid()), str(caught.exception))


class StartGatewayTests(TestCase):
    """The form for trial, on the reactor that runs the test."""

    async def test_real_client(self) -> None:
        """A client in a thread talks to a gateway on this reactor, which leaves nothing behind."""
        kgw = await start_gateway(reactor, durable=True)
        try:
            await deferToThread(produce, kgw.bootstrap, b"hello")
            self.assertEqual(await deferToThread(consume, kgw.bootstrap), b"hello")
        finally:
            await kgw.stop()


class PytestTests(SynchronousTestCase):
    """The pytest fixture."""

    def test_fixture(self) -> None:
        """A test project that only names the fixture passes."""
        with tempfile.TemporaryDirectory() as folder:
            test = Path(folder, "test_fixture.py")
            test.write_text(
                "from confluent_kafka import Producer\n"
                "def test_topics(kgw):\n"
                "    assert Producer({'bootstrap.servers': kgw.bootstrap}).list_topics(timeout=10).topics == {}\n"
            )
            done = subprocess.run(
                [
                    sys.executable,
                    "-m",
                    "pytest",
                    "-q",
                    "-p",
                    "kgw.testing.pytest_plugin",
                    "-p",
                    "no:cacheprovider",
                    folder,
                ],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
                    # named above, for where kgw is not installed; where it is it would come twice
                    "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
                },
            )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("1 passed", done.stdout)
