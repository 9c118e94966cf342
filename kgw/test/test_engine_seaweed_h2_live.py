"""The gRPC client against gRPC's own server on loopback: calls of all shapes, statuses, deadlines, TLS."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from kgw.engine.seaweed.h2.client import GrpcConnection, GrpcError, Security, connect
from kgw.engine.seaweed.h2.framing import frame
from kgw.engine.seaweed.h2.grpc import IGrpcReceiver
from kgw.engine.seaweed.h2.status import (
    CANCELLED,
    DEADLINE_EXCEEDED,
    FAILED_PRECONDITION,
    NOT_FOUND,
    OK,
    RESOURCE_EXHAUSTED,
    UNAVAILABLE,
    UNIMPLEMENTED,
    GrpcStatus,
)

_LIMITS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


def unframe(data: bytes) -> list[bytes]:
    """The messages in C{data}."""
    found = []
    while data:
        size = int.from_bytes(data[1:5], "big")
        found.append(data[5 : 5 + size])
        data = data[5 + size :]
    return found


@implementer(IGrpcReceiver)
class Receiver:
    """Keeps what it is told."""

    def __init__(self, on_drained: Callable[[], None] = lambda: None) -> None:
        self.messages: list[bytes] = []
        self.over: Deferred[GrpcStatus] = Deferred()
        self.drained = on_drained

    def received(self, data: bytes) -> None:
        """Messages."""
        self.messages += unframe(data)

    def ended(self, status: GrpcStatus) -> None:
        """The end."""
        self.over.callback(status)


class Handler(grpc.GenericRpcHandler):  # type: ignore[misc]
    """A server with one method for each thing to be seen."""

    def service(self, details: Any) -> grpc.RpcMethodHandler | None:
        """The method asked for."""
        name = details.method.rpartition("/")[2]
        if name == "Echo":
            return grpc.unary_unary_rpc_method_handler(lambda request, context: request)
        if name == "Chat":
            return grpc.stream_stream_rpc_method_handler(self.chat)
        if name == "Many":
            return grpc.unary_stream_rpc_method_handler(self.many)
        if name == "Fail":
            return grpc.unary_unary_rpc_method_handler(self.fail)
        if name == "Sleep":
            return grpc.unary_unary_rpc_method_handler(self.sleep)
        if name == "Metadata":
            return grpc.unary_unary_rpc_method_handler(self.metadata)
        return None

    def chat(self, requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        """Each message back."""
        yield from requests

    def many(self, request: bytes, context: Any) -> Iterator[bytes]:
        """As many messages as asked for, and then a status."""
        for number in range(int(request)):
            yield b"%d" % number
        context.set_code(grpc.StatusCode.NOT_FOUND)
        context.set_details("no more: größer 100%")

    def fail(self, request: bytes, context: Any) -> None:
        """A status and no message."""
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not\nnow: größer")

    def sleep(self, request: bytes, context: Any) -> bytes:
        """Wait until the client is gone."""
        assert context.time_remaining() < 30
        while context.is_active():
            time.sleep(0.01)
        return b""

    def metadata(self, request: bytes, context: Any) -> bytes:
        """What the client sent beside the message."""
        return repr(sorted(tuple(pair) for pair in context.invocation_metadata())).encode()


def make_pem() -> tuple[bytes, bytes]:
    """A certificate for C{engine.test} that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "engine.test")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("engine.test")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return (
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )


class LiveTests(TestCase):
    """One server for each test."""

    timeout = 60

    def serve(self, credentials: grpc.ServerCredentials | None = None) -> str:
        """Start a server; where it listens."""
        pool = ThreadPoolExecutor(4)
        server = grpc.server(pool, handlers=[Handler()], options=_LIMITS)
        if credentials is None:
            port = server.add_insecure_port("127.0.0.1:0")
        else:
            port = server.add_secure_port("127.0.0.1:0", credentials)
        server.start()

        def stop() -> None:
            server.stop(0).wait()
            pool.shutdown()

        self.addCleanup(stop)
        return f"127.0.0.1:{port}"

    async def connected(self, address: str, security: Security | None = None) -> GrpcConnection:
        """A connection that is closed after the test."""
        connection = await connect(reactor, address, security)
        self.addCleanup(connection.close)
        return connection

    async def failure(self, doomed: Deferred[Any]) -> GrpcError:
        """How it failed."""
        try:
            await doomed
        except GrpcError as error:
            return error
        raise self.failureException("it did not fail")

    async def test_unary(self) -> None:
        """One message each way, small, empty and large, many at a time."""
        connection = await self.connected(self.serve())
        self.assertEqual(await connection.unary(b"/test.T/Echo", b"hello", 20), b"hello")
        self.assertEqual(await connection.unary(b"/test.T/Echo", b"", 20), b"")
        large = b"0123456789" * 2_000_000
        self.assertTrue(await connection.unary(b"/test.T/Echo", large, 30) == large)
        answers = [connection.unary(b"/test.T/Echo", b"%d" % number) for number in range(300)]
        for number, answer in enumerate(answers):
            self.assertEqual(await answer, b"%d" % number)

    async def test_bidirectional(self) -> None:
        """A stream whose messages come back while others are sent, written whenever there is room."""
        connection = await self.connected(self.serve())
        sent = [b"%d " % number * (number % 50) for number in range(20_000)]
        batches = [b"".join(map(frame, sent[begin : begin + 100])) for begin in range(0, len(sent), 100)]
        batches.reverse()

        def write() -> None:
            while batches and not stream.full:
                stream.write(batches.pop())
            if not batches and not finished:
                finished.append(True)
                stream.finish()

        finished: list[bool] = []
        receiver = Receiver(write)
        stream = connection.open(b"/test.T/Chat", receiver)
        write()
        self.assertEqual(await receiver.over, GrpcStatus(OK))
        self.assertTrue(receiver.messages == sent)
        self.assertEqual(stream.unsent, 0)

    async def test_streams_share(self) -> None:
        """Large messages on several streams come back whole."""
        connection = await self.connected(self.serve())
        receivers = [Receiver() for _ in range(4)]
        for number, receiver in enumerate(receivers):
            stream = connection.open(b"/test.T/Chat", receiver)
            stream.write(b"".join(frame(bytes([number]) * size) for size in (1, 3_000_000, 70_000, 0)))
            stream.finish()
        for number, receiver in enumerate(receivers):
            self.assertEqual(await receiver.over, GrpcStatus(OK))
            self.assertTrue(receiver.messages == [bytes([number]) * size for size in (1, 3_000_000, 70_000, 0)])

    async def test_status(self) -> None:
        """Statuses with words of all kinds, with and without messages before them."""
        connection = await self.connected(self.serve())
        receiver = Receiver()
        stream = connection.open(b"/test.T/Many", receiver)
        stream.write(frame(b"5000"))
        stream.finish()
        self.assertEqual(await receiver.over, GrpcStatus(NOT_FOUND, "no more: größer 100%"))
        self.assertEqual(receiver.messages, [b"%d" % number for number in range(5000)])
        error = await self.failure(connection.unary(b"/test.T/Fail", b""))
        self.assertEqual(error.status, GrpcStatus(FAILED_PRECONDITION, "not\nnow: größer"))
        error = await self.failure(connection.unary(b"/test.T/Other", b""))
        self.assertEqual(error.status.code, UNIMPLEMENTED)

    async def test_deadline_and_cancel(self) -> None:
        """A call ends when its time is up or nobody wants it; the server is told and the connection goes on."""
        connection = await self.connected(self.serve())
        error = await self.failure(connection.unary(b"/test.T/Sleep", b"", 0.2))
        self.assertEqual(error.status.code, DEADLINE_EXCEEDED)
        receiver = Receiver()
        stream = connection.open(b"/test.T/Sleep", receiver, 20)
        stream.write(frame(b""))
        stream.cancel()
        self.assertEqual((await receiver.over).code, CANCELLED)
        self.assertEqual(await connection.unary(b"/test.T/Echo", b"on", 20), b"on")

    async def test_message_limit(self) -> None:
        """A message larger than allowed ends its call only."""
        address = self.serve()
        connection = await connect(reactor, address, max_message=1000)
        self.addCleanup(connection.close)
        error = await self.failure(connection.unary(b"/test.T/Echo", b"x" * 1001))
        self.assertEqual(error.status.code, RESOURCE_EXHAUSTED)
        self.assertEqual(await connection.unary(b"/test.T/Echo", b"x" * 1000, 20), b"x" * 1000)

    async def test_metadata(self) -> None:
        """Headers reach the server, also such as need several frames."""
        connection = await self.connected(self.serve())
        pairs = [(b"x-short", b"1"), (b"x-long", b"~" * 6000)]
        for _ in range(2):
            seen = await connection.unary(b"/test.T/Metadata", b"", 20, pairs)
            self.assertIn(b"('x-short', '1')", seen)
            self.assertIn(b"~" * 6000, seen)

    async def test_tls(self) -> None:
        """Certificates are shown and checked on both sides."""
        certificate, key = make_pem()
        address = self.serve(grpc.ssl_server_credentials([(key, certificate)], certificate, True))
        security = Security(certificate, certificate, key, "engine.test")
        connection = await self.connected(address, security)
        large = b"abc" * 1_000_000
        self.assertTrue(await connection.unary(b"/test.T/Echo", large, 30) == large)

    async def test_tls_refused(self) -> None:
        """A server of another name, one nobody trusts, one that does not know us, one without TLS."""
        certificate, key = make_pem()
        other, other_key = make_pem()
        address = self.serve(grpc.ssl_server_credentials([(key, certificate)], certificate, True))
        for security in (
            Security(certificate, certificate, key),
            Security(other, certificate, key, "engine.test"),
            Security(certificate, None, None, "engine.test"),
            Security(certificate, other, other_key, "engine.test"),
        ):
            error = await self.failure(connect(reactor, address, security, 20))
            self.assertEqual(error.status.code, UNAVAILABLE)
        plain = self.serve()
        error = await self.failure(connect(reactor, plain, Security(certificate), 20))
        self.assertEqual(error.status.code, UNAVAILABLE)

    async def test_server_stops(self) -> None:
        """Calls end, and it is known that no more can be made, when the server goes away."""
        pool = ThreadPoolExecutor(2)
        server = grpc.server(pool, handlers=[Handler()], options=_LIMITS)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        connection = await self.connected(f"127.0.0.1:{port}")
        receiver = Receiver()
        connection.open(b"/test.T/Chat", receiver)
        await connection.unary(b"/test.T/Echo", b"", 20)
        lost = connection.lost()
        server.stop(0)
        self.assertEqual((await lost).code, UNAVAILABLE)
        self.assertIn((await receiver.over).code, (UNAVAILABLE, CANCELLED))
        self.assertFalse(connection.is_open)
        self.assertRaises(GrpcError, connection.open, b"/test.T/Chat", Receiver())
        pool.shutdown()

    async def test_nobody_there(self) -> None:
        """A port where nobody listens."""
        error = await self.failure(connect(reactor, "127.0.0.1:1", timeout_s=20))
        self.assertEqual(error.status.code, UNAVAILABLE)
        self.assertTrue(error.unprocessed)
