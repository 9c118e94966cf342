"""Answers on their way into a socket: whole, in order, without copies and without mountains."""

from __future__ import annotations

import socket
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet import reactor, tcp
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, connectProtocol
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IReactorTCP
from twisted.internet.protocol import Protocol
from twisted.internet.task import deferLater
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from kgw.net.sender import Sender
from kgw.test.connection_stage import Stage, frame, read_answers


class Socketed:
    """A Twisted TCP transport on one end of a socket pair, driven by hand, and the other end."""

    def __init__(self, buffer: int = 8192) -> None:
        ours, self.peer = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        self.peer.setblocking(False)
        self.lost: Failure | None = None
        protocol = Protocol()
        self.transport: Any = tcp.Connection(ours, protocol, cast(Any, MemoryReactorClock()))
        self.transport.connected = 1
        protocol.makeConnection(self.transport)
        self.readied = 0
        self.sender = Sender(self.transport, self._ready)

    def _ready(self) -> None:
        self.readied += 1
        self.sender.flush()

    def read(self) -> bytes:
        """Everything there is for the peer, until nothing more comes."""
        pieces = []
        while True:
            try:
                pieces.append(self.peer.recv(1 << 20))
            except BlockingIOError:
                if not (self.transport.dataBuffer or self.transport._tempDataBuffer):
                    return b"".join(pieces)
                self.transport.doWrite()

    def buffered(self) -> int:
        """Bytes in Twisted's own buffers."""
        return len(self.transport.dataBuffer) + sum(map(len, self.transport._tempDataBuffer))

    def close(self) -> None:
        self.peer.close()
        self.transport.connectionLost(Failure(ConnectionDone()))


class Sending(SynchronousTestCase):
    def test_small_answers_go_past_the_transport(self) -> None:
        """Nothing waits for the reactor to find the socket writable."""
        pair = Socketed()
        self.addCleanup(pair.close)
        pair.sender.add([b"one", memoryview(b"two")])
        pair.sender.add([bytearray(b"three")])
        pair.sender.flush()
        self.assertEqual(pair.peer.recv(100), b"onetwothree")
        self.assertEqual(pair.sender.pending, 0)

    def test_many_buffers(self) -> None:
        """More than one system call can take."""
        pair = Socketed(1 << 20)
        self.addCleanup(pair.close)
        pieces = [bytes([index % 251]) * 40 for index in range(5000)]
        pair.sender.add(pieces)
        pair.sender.flush()
        self.assertEqual(pair.read(), b"".join(pieces))

    def test_slow_peer(self) -> None:
        """What the kernel does not take stays as it is, but for one piece in Twisted's buffer; all arrives in order."""
        pair = Socketed()
        self.addCleanup(pair.close)
        large = bytes(range(256)) * 8192
        pair.sender.add([b"head", memoryview(large), b"tail"])
        pair.sender.flush()
        self.assertTrue(pair.sender.blocked)
        self.assertGreater(pair.sender.pending, len(large) // 2)
        self.assertLess(pair.buffered(), 100_000)
        pair.sender.add([b"more"])
        pair.sender.flush()
        self.assertLess(pair.buffered(), 100_000)
        self.assertEqual(pair.read(), b"head" + large + b"tailmore")
        self.assertFalse(pair.sender.blocked)

    def test_behind_bytes_in_the_transport(self) -> None:
        """While Twisted still holds bytes, nothing overtakes them."""
        pair = Socketed()
        self.addCleanup(pair.close)
        pair.transport.write(b"first ")
        pair.sender.add([b"second"])
        pair.sender.flush()
        self.assertEqual(pair.read(), b"first second")

    def test_peer_is_gone(self) -> None:
        """The error of the socket is left to Twisted, which closes the connection."""
        pair = Socketed()
        pair.peer.close()
        pair.sender.add([b"to nobody"])
        pair.sender.flush()
        self.assertIsNotNone(pair.transport.doWrite())
        pair.close()
        pair.sender.add([b"later"])
        pair.sender.flush()

    def test_other_transports(self) -> None:
        """TLS and the like get bytes, however they were made."""
        transport = StringTransport()
        sender = Sender(transport, lambda: None)
        self.assertFalse(sender.direct)
        large = bytes(range(256)) * 4096
        sender.add([memoryview(b"a"), large, bytearray(b"z")])
        sender.flush()
        self.assertEqual(transport.value(), b"a" + large + b"z")

    @given(data=st.data(), sizes=st.lists(st.sampled_from([0, 1, 50, 4000, 40_000, 200_000]), max_size=12))
    @settings(deadline=None, max_examples=40)
    def test_any_sizes(self, sizes: list[int], data: st.DataObject) -> None:
        """Any buffers, flushed and read at any moment, arrive as they were added."""
        pair = Socketed()
        expected, got = b"", b""
        for index, size in enumerate(sizes):
            piece = bytes([index + 1]) * size
            expected += piece
            pair.sender.add([memoryview(piece) if data.draw(st.booleans()) else piece])
            if data.draw(st.booleans()):
                pair.sender.flush()
            if data.draw(st.booleans()):
                got += pair.read()
        pair.sender.flush()
        got += pair.read()
        self.assertEqual(got, expected)
        self.assertEqual(pair.sender.pending, 0)
        pair.close()


class Reader(Protocol):
    """A client that collects what it reads."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.wanted = 0
        self.enough: Deferred[None] = Deferred()
        self.gone: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.data += data
        if len(self.data) >= self.wanted and not self.enough.called:
            self.enough.callback(None)

    def connectionLost(self, reason: Failure | None = None) -> None:
        self.gone.callback(None)

    def ask(self, requests: bytes, wanted: int) -> Deferred[None]:
        self.wanted = wanted
        self.enough = Deferred()
        transport: Any = self.transport
        transport.write(requests)
        return self.enough


class SlowReader(TestCase):
    """On real sockets."""

    timeout = 20

    async def test_slow_reader(self) -> None:
        """A peer that asks and does not read costs little and delays nobody; when it reads, it gets everything."""
        loop = cast(IReactorTCP, reactor)
        stage = Stage()
        port = await TCP4ServerEndpoint(loop, 0, interface="127.0.0.1").listen(stage.factory)
        self.addCleanup(port.stopListening)
        endpoint = TCP4ClientEndpoint(loop, "127.0.0.1", port.getHost().port)
        slow, quick = await connectProtocol(endpoint, Reader()), await connectProtocol(endpoint, Reader())
        size = 1_000_000
        whole = len(frame(0, "slow")) + size  # the answer is no longer than this
        cast(Any, slow.transport).pauseProducing()
        everything = slow.ask(b"".join(frame(i, "slow", size=size) for i in range(60)), 60 * size)
        for round_number in range(50):
            await quick.ask(frame(round_number, "quick"), 1)
            quick.data.clear()
        await deferLater(cast(Any, reactor), 0)
        connection = next(c for c in cast(Any, stage.connections) if c.unsent)
        self.assertLess(stage.started.count("slow"), 30)
        self.assertLess(connection.unsent, 4 * whole)
        cast(Any, slow.transport).resumeProducing()
        await everything
        self.assertEqual([correlation_id for correlation_id, _, _ in read_answers(bytes(slow.data))], list(range(60)))
        done = stage.connections.stop()
        await slow.gone
        await quick.gone
        await done

    async def test_options(self) -> None:
        """Small answers are not held back by the kernel, and dead peers are found."""
        loop = cast(IReactorTCP, reactor)
        stage = Stage()
        port = await TCP4ServerEndpoint(loop, 0, interface="127.0.0.1").listen(stage.factory)
        self.addCleanup(port.stopListening)
        client = await connectProtocol(TCP4ClientEndpoint(loop, "127.0.0.1", port.getHost().port), Reader())
        await client.ask(frame(1, "a"), 1)
        (connection,) = cast(Any, stage.connections)
        self.assertTrue(connection.transport.getTcpNoDelay())
        self.assertTrue(connection.transport.getTcpKeepAlive())
        self.assertEqual(connection.local_port, port.getHost().port)
        cast(Any, client.transport).write(frame(2, "x", padding=200_000)[:100_000])
        while connection.transport.bufferSize == 65536:
            await deferLater(cast(Any, reactor), 0)
        done = stage.connections.stop()
        await client.gone
        await done
