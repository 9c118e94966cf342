"""kgw doctor against kgw processes, on both engines."""

from __future__ import annotations

import os
import signal
import ssl
from pathlib import Path

from kgw.doctor.connection import Address
from kgw.doctor.examination import examine
from kgw.test.certificates import self_signed
from kgw.test.live.server import LiveTestCase

PATIENCE = 15.0


class DoctorTests(LiveTestCase):
    """A process that is well, and one that is not."""

    def test_good(self) -> None:
        """Nothing is wrong; that acks=all waits for a log file is no problem."""
        server = self.serve()
        findings = examine(Address("127.0.0.1", server.port), PATIENCE)
        self.assertEqual([row for row in findings.rows if row.level.value == "problem"], [])
        checks = [row.check for row in findings.rows]
        self.assertEqual(checks[-6:], ["create", "produce", "clock", "fetch", "group", "offsets"])
        self.assertEqual(findings.status, 0)


class StoppedProcessTests(LiveTestCase):
    """One that hangs."""

    def test_hangs(self) -> None:
        """The kernel takes connections for a process that is stopped; nobody answers."""
        server = self.serve()
        os.kill(server.pid, signal.SIGSTOP)
        self.addCleanup(os.kill, server.pid, signal.SIGCONT)
        findings = examine(Address("127.0.0.1", server.port), 0.5)
        self.assertEqual(findings.status, 2)
        self.assertIn("It takes connections but says nothing", findings.rows[0].text)


class TlsTests(LiveTestCase):
    """A listener with TLS."""

    def test_certificate(self) -> None:
        """With TLS everything is as without; a certificate that nobody vouches for is a problem."""
        pem = Path(self.mktemp())
        pem.write_bytes(self_signed())
        listener = f"SECURE=ssl:0:interface=127.0.0.1:privateKey={pem.absolute()}:certKey={pem.absolute()}"
        server = self.serve("--listen", listener, "--set", "group.initial.rebalance.delay.ms=0")
        address = Address("127.0.0.1", server.ports["SECURE"])
        findings = examine(address, PATIENCE, tls=ssl.create_default_context(cafile=pem))
        self.assertEqual((findings.status, findings.problems), (0, 0), findings.rows)
        self.assertEqual(findings.rows[-1].check, "offsets")
        findings = examine(address, PATIENCE, tls=ssl.create_default_context())
        self.assertEqual(findings.status, 2)
        self.assertIn(f"the certificate of {address} is not accepted: self-signed certificate", findings.rows[0].text)


class SeaweedDoctorTests(DoctorTests):
    """The same on the real SeaweedMQ."""

    engine = "seaweedmq"
