"""kgw and twistd as processes: started, stopped by a signal, refused."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ProcessDone, ProcessTerminated
from twisted.internet.interfaces import IProcessTransport
from twisted.internet.protocol import ProcessProtocol, ServerFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

import kgw

#: Another kgw on this machine may have the default one.
NO_HTTP = ["--set", "kgw.http.endpoint="]
KGW = ["-m", "kgw.cli"]
TWISTD = ["-c", "from twisted.scripts.twistd import run; run()", "-n", "--pidfile=", "kgw"]


class Run(ProcessProtocol):
    """
    One process.

    @ivar ready: fires when it has printed the ready line, fails where it ends before.
    @ivar ended: fires with its exit status.
    """

    transport: IProcessTransport

    def __init__(self) -> None:
        self.ready: Deferred[None] = Deferred()
        self.ended: Deferred[int | None] = Deferred()
        self.out = b""
        self.err = b""

    def outReceived(self, data: bytes) -> None:
        self.out += data
        if re.search(rb"kgw started\b", self.out) and not self.ready.called:
            self.ready.callback(None)

    def errReceived(self, data: bytes) -> None:
        self.err += data

    def processEnded(self, reason: Failure) -> None:
        if not self.ready.called:
            self.ready.errback(Failure(ConnectionDone((self.out + self.err).decode())))
        assert isinstance(reason.value, ProcessDone | ProcessTerminated)
        self.ended.callback(reason.value.exitCode)


class ProcessTests(TestCase):
    """What a shell or a supervisor sees."""

    timeout = 60

    def run_python(self, *arguments: str) -> Run:
        environ = {name: text for name, text in os.environ.items() if not name.startswith(("KAFKA_", "KGW_"))}
        environ["PYTHONPATH"] = str(Path(kgw.__file__).parent.parent)
        process = Run()
        process.ready.addErrback(lambda failure: failure.trap(ConnectionDone) and None)
        reactor.spawnProcess(process, sys.executable, [sys.executable, *arguments], environ)
        return process

    async def test_term(self) -> None:
        """SIGTERM after the ready line is an orderly end; the banner names the port that was chosen."""
        process = self.run_python(*KGW, *NO_HTTP, "--data", self.mktemp(), "--listen", "tcp:0:interface=127.0.0.1")
        await process.ready
        process.transport.signalProcess("TERM")
        self.assertEqual(await process.ended, 0, process.err)
        self.assertRegex(process.out, rb"listener PLAINTEXT 127\.0\.0\.1:[1-9]\d*.*\nkgw started\n\Z")

    async def test_port_in_use(self) -> None:
        """One line on stderr and exit status 2, of kgw and of twistd."""
        port = reactor.listenTCP(0, ServerFactory(), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        address = port.getHost()
        assert isinstance(address, IPv4Address)
        endpoint = f"tcp:{address.port}:interface=127.0.0.1"
        for command in (KGW, TWISTD):
            process = self.run_python(*command, *NO_HTTP, "--engine", "memory", "--listen", endpoint)
            self.assertEqual(await process.ended, 2, process.out + process.err)
            self.assertRegex(
                process.err, rb"\Akgw: listener PLAINTEXT cannot listen on " + endpoint.encode() + rb".*\n\Z"
            )

    async def test_twistd_configuration(self) -> None:
        """A bad setting ends twistd likewise."""
        process = self.run_python(*TWISTD, "--set", "num.partition=3")
        self.assertEqual(await process.ended, 2, process.out + process.err)
        self.assertRegex(process.err, rb"\Akgw: num\.partition \(--set\) is no property.*num\.partitions\?\n\Z")
