"""A SeaweedMQ whose servers have certificates and want one of kgw, by weed's security.toml."""

from __future__ import annotations

import os
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography.x509 import IPAddress
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from kgw.config import Config
from kgw.engine.seaweed.h2.security import Security
from kgw.gateway import Gateway
from kgw.model import NewTopic
from kgw.test.authority import Authority
from kgw.test.builders import batches_in
from kgw.test.seaweed import Engine
from kgw.wire.record import NewRecord
from kgw.wire.records import RecordBatch, build_batch

reactor: Any = global_reactor

TOPIC = "orders"
#: The sections of security.toml; weed's parts are clients of each other by them, too.
PARTS = ("master", "volume", "filer", "msg_broker", "client")


@implementer(ILogObserver)
class Complaint:
    """
    Waits for what is said of an engine that cannot be used.

    @ivar line: fires with it.
    """

    def __init__(self) -> None:
        self.line: Deferred[str] = Deferred()

    def __call__(self, event: LogEvent) -> None:
        line = formatEvent(event)
        if line.startswith("SeaweedMQ cannot be used") and not self.line.called:
            self.line.callback(line)


class TlsTests(TestCase):
    """The whole storage and engine on a real SeaweedMQ with mutual TLS."""

    timeout = 180

    def setUp(self) -> None:
        self.authority = Authority()
        key, certificate = self.authority.issue("kgw")
        self.engine = Engine(Security(self.authority.pem, certificate, key, check_name=False))
        self.addCleanup(self.engine.discard)
        self.files = Path(self.engine.directory)
        self.write("ca.pem", self.authority.pem)
        self.write("kgw.key", key)
        self.write("kgw.pem", certificate)
        lines = ["[grpc]", f'ca = "{self.files}/ca.pem"']
        for part in PARTS:
            lines += [f"[grpc.{part}]", f'cert = "{self.files}/{part}.pem"', f'key = "{self.files}/{part}.key"']
        self.write("security.toml", "\n".join(lines).encode())

    def write(self, name: str, content: bytes) -> None:
        (self.files / name).write_bytes(content)

    def gateway(self, check_names: bool) -> Gateway:
        properties = {
            "listeners": "tcp:0:interface=127.0.0.1",
            "kgw.engine": "seaweedmq",
            "kgw.seaweedmq.masters": self.engine.masters[0],
            "kgw.seaweedmq.tls.ca.file": os.fspath(self.files / "ca.pem"),
            "kgw.seaweedmq.tls.cert.file": os.fspath(self.files / "kgw.pem"),
            "kgw.seaweedmq.tls.key.file": os.fspath(self.files / "kgw.key"),
            "kgw.seaweedmq.tls.check.names": str(check_names).lower(),
        }
        gateway = Gateway(Config(properties), reactor)
        gateway.startService()
        self.addCleanup(lambda: gateway.stopService() if gateway.running else None)
        return gateway

    async def records(self, gateway: Gateway) -> list[bytes | None]:
        """The values of all there are."""
        fetched = await gateway.services.logs.partition(TOPIC, 0).read(0, 1 << 20)
        return [record.value for batch in batches_in(fetched) for record in RecordBatch.parse(batch).records(1000)]

    async def test_served(self) -> None:
        """
        With certificates as SeaweedFS' manual has them made, which have no host's name, kgw serves where it is told
        not to look at names, and only there; with better ones it always does. Everything is stored and read again.
        """
        for part in PARTS:
            key, certificate = self.authority.issue(f"{part}01")
            self.write(f"{part}.key", key)
            self.write(f"{part}.pem", certificate)
        self.engine.start()
        await self.refused()
        gateway = self.gateway(False)
        await gateway.started
        await gateway.services.topics.create(NewTopic(TOPIC, 1, 1))
        log = gateway.services.logs.partition(TOPIC, 0)
        appended = await log.append(RecordBatch.parse(build_batch([NewRecord(None, b"first", (), 1)])), -1)
        self.assertEqual(appended.base_offset, 0)
        self.assertEqual(await self.records(gateway), [b"first"])
        await gateway.stopService()

        self.engine.kill()
        for part in PARTS:
            key, certificate = self.authority.issue(part, [IPAddress(ip_address("127.0.0.1"))])
            self.write(f"{part}.key", key)
            self.write(f"{part}.pem", certificate)
        self.engine.start()
        for check_names in (True, False):
            gateway = self.gateway(check_names)
            await gateway.started
            self.assertEqual(await self.records(gateway), [b"first"])
            await gateway.stopService()

    async def refused(self) -> None:
        """The certificates' names are looked at, which the operator is told."""
        complaint = Complaint()
        globalLogPublisher.addObserver(complaint)
        self.addCleanup(globalLogPublisher.removeObserver, complaint)
        gateway = self.gateway(True)
        line = await complaint.line
        self.assertFalse(gateway.started.called, "certificates of other names were taken")
        gateway.started.addErrback(lambda failure: failure.trap(CancelledError))
        self.assertIn("Hostname Verification Check failed", line)
        await gateway.stopService()
