"""Listeners that are not plain TCP: TLS with real clients, and UNIX sockets."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl
import tempfile
from pathlib import Path

import kafka
from confluent_kafka import Consumer, Producer, TopicPartition
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from kgw.handlers import api_versions, fetch, produce
from kgw.test.live.clients import librdkafka
from kgw.test.live.raw import Prober, RawClient, create, fetch_frame, framed, produce_frame
from kgw.test.live.server import GatewayProcess, LiveTestCase


def certificate(folder: Path) -> tuple[Path, Path]:
    """A key and a certificate that it signed itself, for 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "kgw")])
    now = datetime.datetime.now(datetime.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    key_file, certificate_file = folder / "key.pem", folder / "certificate.pem"
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    certificate_file.write_bytes(built.public_bytes(serialization.Encoding.PEM))
    return key_file, certificate_file


class ListenerTests(LiveTestCase):
    """One kgw, several ways in."""

    def folder(self) -> Path:
        """One that goes with the test."""
        made = tempfile.TemporaryDirectory(prefix="kgw-live-")
        self.addCleanup(made.cleanup)
        return Path(made.name)

    def serve_tls(self) -> tuple[GatewayProcess, Path]:
        """A kgw that has a TLS listener called SSL as well, and its certificate."""
        key, trusted = certificate(self.folder())
        return self.serve("--listen", f"ssl:0:privateKey={key}:certKey={trusted}:interface=127.0.0.1"), trusted

    def test_tls_librdkafka(self) -> None:
        """A megabyte record goes in and comes out."""
        server, trusted = self.serve_tls()
        bootstrap = f"127.0.0.1:{server.ports['SSL']}"
        configs = librdkafka(
            bootstrap, security_protocol="ssl", ssl_ca_location=str(trusted), message_max_bytes=2 << 20
        )
        value = bytes(range(250)) * 4000
        producer = Producer(configs)
        for _ in range(3):
            producer.produce("t", value)
        self.assertEqual(producer.flush(20), 0)
        consumer = Consumer({**configs, "group.id": "unused"})
        self.addCleanup(consumer.close)
        consumer.assign([TopicPartition("t", 0, 0)])
        for offset in range(3):
            message = consumer.poll(20)
            assert message is not None, "nothing comes"
            self.assertIsNone(message.error())
            self.assertEqual((message.offset(), message.value()), (offset, value))

    def test_tls_kafka_python(self) -> None:
        """Python's own TLS speaks with it too, and clients stay on the listener they came to."""
        server, trusted = self.serve_tls()
        configs = {
            "bootstrap_servers": f"127.0.0.1:{server.ports['SSL']}",
            "security_protocol": "SSL",
            "ssl_cafile": str(trusted),
        }
        producer = kafka.KafkaProducer(**configs)
        self.addCleanup(producer.close, 10)
        self.assertEqual(producer.send("t", b"secret").get(20).offset, 0)
        consumer = kafka.KafkaConsumer(**configs, consumer_timeout_ms=15_000, auto_offset_reset="earliest")
        self.addCleanup(consumer.close)
        consumer.assign([kafka.TopicPartition("t", 0)])
        self.assertEqual(next(consumer).value, b"secret")

    def test_tls_pipelines(self) -> None:
        """Many answers, some of them large, come whole and in order through TLS."""
        server, trusted = self.serve_tls()
        create(server.port, "t")
        context = ssl.create_default_context(cafile=str(trusted))
        with RawClient(server.ports["SSL"]) as client:
            client.socket = context.wrap_socket(client.socket, server_hostname="127.0.0.1")
            client.send(produce_frame("t", bytes(700_000)))
            (row,) = client.answer(produce.API, 8).responses[0].partition_responses
            self.assertEqual(row.error_code, 0)
            client.send(b"".join(fetch_frame("t", correlation_id=number) for number in range(20)))
            for _ in range(20):
                (read,) = client.answer(fetch.API, 11).responses[0].partitions
                self.assertGreater(len(read.records), 700_000)

    def test_not_tls(self) -> None:
        """Who does not speak TLS to a TLS listener is sent away, without a traceback or a flood in the log."""
        server, _ = self.serve_tls()
        good = Prober(server.port)
        self.addCleanup(good.finish)
        logged, descriptors = server.logged, server.descriptors
        for number in range(300):
            with RawClient(server.ports["SSL"]) as client:
                if number % 3:
                    client.send(
                        (framed(api_versions.API, 0, api_versions.Request()), b"\x16\x03\x01\x02\0")[number % 2]
                    )
                if number % 3 == 1:
                    client.socket.shutdown(socket.SHUT_WR)
                    while not client.closed():
                        pass
        self.assertLess(good.finish(), 2.0)
        self.assertLess(server.logged - logged, 10_000)
        self.assertNotIn("Traceback", server.stderr())
        self.assertLess(server.descriptors - descriptors, 10)

    def test_unix(self) -> None:
        """A UNIX socket serves the same topics, and is gone after an orderly stop."""
        path = self.folder() / "kgw.sock"
        server = self.serve("--listen", f"unix:{path}")
        create(server.port, "t")
        with RawClient(server.port) as client:
            client.socket.close()
            client.socket = socket.socket(socket.AF_UNIX)
            client.socket.settimeout(20)
            client.socket.connect(str(path))
            self.assertEqual(client.ask(api_versions.API, 0, api_versions.Request()).error_code, 0)
            client.send(produce_frame("t", b"local"))
            client.answer(produce.API, 8)
            client.send(fetch_frame("t"))
            (read,) = client.answer(fetch.API, 11).responses[0].partitions
            self.assertIn(b"local", bytes(read.records))
        self.assertEqual(server.terminate(), 0)
        self.assertFalse(path.exists())
