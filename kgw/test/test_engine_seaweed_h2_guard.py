"""A connection that may not send any more: on real sockets, with bytes that wait in every place there is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

from hyperframe.frame import SettingsFrame
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.ssl import CertificateOptions, PrivateCertificate
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

import kgw
from kgw.engine.seaweed.h2.client import GrpcConnection, connect
from kgw.engine.seaweed.h2.framing import frame
from kgw.engine.seaweed.h2.security import Security
from kgw.engine.seaweed.h2.status import GrpcError
from kgw.test.certificates import self_signed
from kgw.test.h2_stage import PATH, Receiver
from kgw.test.seaweed_stage import reactor, spin, turn

MARK = b"published"


class Server(Protocol):
    """Says that it speaks HTTP/2, and keeps what comes."""

    def __init__(self) -> None:
        self.data = b""
        self.lost: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        """Greet."""
        assert self.transport is not None
        self.transport.write(SettingsFrame(0, {SettingsFrame.INITIAL_WINDOW_SIZE: 1 << 30}).serialize())

    def dataReceived(self, data: bytes) -> None:
        """Keep it."""
        self.data += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """It is over."""
        self.lost.callback(None)


class GuardTests(SynchronousTestCase):
    """In one process, the guard in the test's hand."""

    def setUp(self) -> None:
        self.allowed = True
        self.asked = 0
        self.server = Server()
        port = reactor.listenTCP(0, Factory.forProtocol(lambda: self.server), interface="127.0.0.1")
        self.addCleanup(lambda: spin(port.stopListening()))
        self.address = f"127.0.0.1:{port.getHost().port}"

    def may_send(self) -> bool:
        """The guard."""
        self.asked += 1
        return self.allowed

    def connected(self) -> GrpcConnection:
        """A connection that was greeted."""
        connection = spin(connect(reactor, self.address, may_send=self.may_send))
        turn(0.05)
        return connection

    def test_what_waits_in_the_transport_does_not_go(self) -> None:
        connection = self.connected()
        receiver = Receiver()
        stream = connection.open(PATH, receiver)
        for number in range(3):
            # the first goes at once, the others in the reactor's next turn
            stream.write(frame(MARK + b"%d" % number))
        self.allowed = False
        spin(self.server.lost)
        self.assertNotIn(MARK + b"1", self.server.data)
        self.assertNotIn(MARK + b"2", self.server.data)
        assert receiver.status is not None
        self.assertFalse(connection.is_open)
        self.assertRaises(GrpcError, connection.open, PATH, Receiver())

    def test_what_would_go_at_once_does_not(self) -> None:
        connection = self.connected()
        self.allowed = False
        connection.open(PATH, Receiver()).write(frame(MARK))
        spin(self.server.lost)
        self.assertNotIn(MARK, self.server.data)

    def test_nothing_goes_later_either(self) -> None:
        """Also where it would be allowed again: what was under way is not known to be wanted any more."""
        connection = self.connected()
        stream = connection.open(PATH, Receiver())
        stream.write(frame(b"first"))
        stream.write(frame(MARK))
        self.allowed = False
        turn(0.02)
        self.allowed = True
        spin(self.server.lost)
        turn(0.05)
        self.assertNotIn(MARK, self.server.data)

    def test_while_it_is_allowed_everything_goes(self) -> None:
        connection = self.connected()
        stream = connection.open(PATH, Receiver())
        for number in range(50):
            stream.write(frame(MARK + b"%d." % number))
        deadline = time.monotonic() + 10
        while MARK + b"49." not in self.server.data:
            self.assertLess(time.monotonic(), deadline)
            turn(0.01)
        # not once for each message
        self.assertLess(self.asked, 15)
        spin(connection.close())

    def test_over_tls(self) -> None:
        pem = self_signed()
        server = Server()
        options = PrivateCertificate.loadPEM(pem).options()
        # what PrivateCertificate makes offers no protocols
        offering = CertificateOptions(options.privateKey, options.certificate, acceptableProtocols=[b"h2"])
        port = reactor.listenSSL(0, Factory.forProtocol(lambda: server), offering, interface="127.0.0.1")
        self.addCleanup(lambda: spin(port.stopListening()))
        security = Security(pem, check_name=False)
        address = f"127.0.0.1:{port.getHost().port}"
        connection = spin(connect(reactor, address, security, may_send=self.may_send))
        turn(0.05)
        stream = connection.open(PATH, Receiver())
        stream.write(frame(MARK))
        self.allowed = False
        spin(server.lost)
        self.assertNotIn(MARK, server.data)


_ZOMBIE = """
    import sys, time
    from twisted.internet import reactor
    from kgw.engine.seaweed.h2.client import connect
    from kgw.engine.seaweed.h2.framing import frame
    from kgw.test.h2_stage import PATH, Receiver

    until = time.monotonic() + 1000

    def begin(connection):
        global until
        until = time.monotonic() + 0.5
        stream = connection.open(PATH, Receiver())
        stream.write(frame(b"first"))
        stream.write(frame(b"published"))
        # what was just written waits for the reactor's next turn, and this process does so, too
        print("written", flush=True)
        sys.stdin.readline()

    connecting = connect(reactor, sys.argv[1], may_send=lambda: time.monotonic() < until)
    connecting.addCallback(lambda it: reactor.callLater(0.2, begin, it))
    reactor.callLater(20, reactor.stop)
    reactor.run()
"""


class StoppedProcessTests(SynchronousTestCase):
    """A process that is stopped for longer than it may send, between a write and the reactor's next turn."""

    def test_stopped_and_woken_up(self) -> None:
        server = Server()
        port = reactor.listenTCP(0, Factory.forProtocol(lambda: server), interface="127.0.0.1")
        self.addCleanup(lambda: spin(port.stopListening()))
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(_ZOMBIE), f"127.0.0.1:{port.getHost().port}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(Path(kgw.__file__).parents[1])},
        )
        self.addCleanup(self.end, process)
        assert process.stdin is not None and process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        deadline = time.monotonic() + 20
        while b"written" not in (process.stdout.read() or b""):
            self.assertLess(time.monotonic(), deadline)
            turn(0.02)
        process.send_signal(signal.SIGSTOP)
        turn(1.5)
        process.stdin.write(b"\n")
        process.stdin.flush()
        process.send_signal(signal.SIGCONT)
        spin(server.lost)
        self.assertNotIn(b"published", server.data)

    def end(self, process: Any) -> None:
        """It is not needed any more."""
        process.kill()
        process.communicate()
