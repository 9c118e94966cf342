"""Blocking gRPC calls to the engine: answers, deadlines, errors, TLS, servers that go and come back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from threading import Event
from typing import Any

import grpc
from cryptography.x509 import DNSName, IPAddress
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from kgw.engine.bridge import InlineBridge
from kgw.engine.seaweed.addresses import Server, parse_server
from kgw.engine.seaweed.calls import Calls
from kgw.engine.seaweed.errors import EngineUnavailable, EntryChanged, from_fetch, from_publish, from_status
from kgw.engine.seaweed.h2.security import Security
from kgw.engine.seaweed.proto import filer_pb2
from kgw.errors import ErrorCode, KafkaError
from kgw.test.authority import Authority

GET = "/filer_pb.SeaweedFiler/KvGet"
LIST = "/filer_pb.SeaweedFiler/ListEntries"


class Peer:
    """
    A gRPC server on loopback.

    @ivar answer: what KvGet does with a request's bytes.
    """

    def __init__(self, port: int = 0, credentials: Any = None) -> None:
        self.answer: Callable[[bytes, Any], bytes] = lambda request, context: b""
        self._server = grpc.server(ThreadPoolExecutor(2), options=[("grpc.so_reuseport", 0)])
        methods = {
            "KvGet": grpc.unary_unary_rpc_method_handler(lambda request, context: self.answer(request, context)),
            "ListEntries": grpc.unary_stream_rpc_method_handler(self.entries),
        }
        self._server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("filer_pb.SeaweedFiler", methods)])
        address = f"127.0.0.1:{port}"
        if credentials is None:
            self.port = self._server.add_insecure_port(address)
        else:
            self.port = self._server.add_secure_port(address, credentials)
        self._server.start()
        self.address = f"127.0.0.1:{self.port}"

    def entries(self, request: bytes, context: Any) -> Iterator[bytes]:
        """As many entries as the request's limit says; a directory /torn breaks off behind the first."""
        asked = filer_pb2.ListEntriesRequest.FromString(request)
        for number in range(asked.limit):
            if number and asked.directory == "/torn":
                context.abort(grpc.StatusCode.UNAVAILABLE, "torn")
            yield filer_pb2.ListEntriesResponse(entry=filer_pb2.Entry(name=f"{number}")).SerializeToString()

    def stop(self) -> None:
        """End it now."""
        self._server.stop(None).wait()


def refusal(code: grpc.StatusCode, words: str) -> Callable[[bytes, Any], bytes]:
    """An answer that is a status."""

    def answer(request: bytes, context: Any) -> bytes:
        context.abort(code, words)
        raise AssertionError

    return answer


class CallsTests(SynchronousTestCase):
    """L{Calls} against a server in this process."""

    def setUp(self) -> None:
        self.peer = self.start()
        self.calls = Calls(InlineBridge(), None, timeout_s=5.0)
        self.addCleanup(self.calls.stop)

    def start(self, port: int = 0, credentials: Any = None) -> Peer:
        peer = Peer(port, credentials)
        self.addCleanup(peer.stop)
        return peer

    def get(self, key: bytes = b"k", timeout_s: float | None = None) -> Deferred[filer_pb2.KvGetResponse]:
        return self.calls.unary(
            self.peer.address, GET, filer_pb2.KvGetRequest(key=key), filer_pb2.KvGetResponse, timeout_s
        )

    def test_unary(self) -> None:
        """The request arrives, the answer comes back."""
        self.peer.answer = lambda request, context: filer_pb2.KvGetResponse(
            value=filer_pb2.KvGetRequest.FromString(request).key * 2
        ).SerializeToString()
        self.assertEqual(self.successResultOf(self.get(b"ab")).value, b"abab")

    def test_large_answer(self) -> None:
        """An answer may be larger than the 4 MiB gRPC allows unasked."""
        big = filer_pb2.KvGetResponse(value=bytes(6 << 20)).SerializeToString()
        self.peer.answer = lambda request, context: big
        self.assertEqual(len(self.successResultOf(self.get()).value), 6 << 20)

    def test_stream(self) -> None:
        """A stream is taken to its end; one that breaks off is a failure and not a shorter answer."""

        def listing(directory: str) -> Deferred[list[filer_pb2.ListEntriesResponse]]:
            request = filer_pb2.ListEntriesRequest(directory=directory, limit=3)
            return self.calls.stream(self.peer.address, LIST, request, filer_pb2.ListEntriesResponse)

        self.assertEqual([row.entry.name for row in self.successResultOf(listing("/"))], ["0", "1", "2"])
        self.failureResultOf(listing("/torn"), EngineUnavailable)

    def test_status(self) -> None:
        """A status becomes a Kafka error by the table, with the server's words."""
        self.peer.answer = refusal(grpc.StatusCode.INVALID_ARGUMENT, "what is this?")
        error = self.failureResultOf(self.get(), KafkaError).value
        self.assertEqual(error.code, ErrorCode.INVALID_REQUEST)
        self.assertIn("what is this?", error.message)
        self.assertIn("KvGet", error.message)

    def test_deadline(self) -> None:
        """A server that does not answer is given up in time."""
        done = Event()
        self.addCleanup(done.set)
        self.peer.answer = lambda request, context: b"late" if done.wait(30) else b""
        self.failureResultOf(self.get(timeout_s=0.05), EngineUnavailable)

    def test_answer_that_does_not_parse(self) -> None:
        """What is no protobuf comes from something that is not the engine."""
        self.peer.answer = lambda request, context: b"\xff"
        self.failureResultOf(self.get(), EngineUnavailable)

    def test_server_that_comes_back(self) -> None:
        """A server that was gone is reached by the next call after it is back."""
        self.successResultOf(self.get())
        self.peer.stop()
        self.failureResultOf(self.get(), EngineUnavailable)
        self.peer = self.start(self.peer.port)
        self.successResultOf(self.get())

    def test_stop(self) -> None:
        """After the stop calls fail at once."""
        self.successResultOf(self.get())
        self.calls.stop()
        self.failureResultOf(self.get(), EngineUnavailable)
        self.failureResultOf(self.calls.blocking(int), EngineUnavailable)

    def test_blocking(self) -> None:
        """Other blocking work: what a network fails with is an outage, a bug stays one."""
        self.assertEqual(self.successResultOf(self.calls.blocking(int, "7")), 7)
        self.failureResultOf(self.calls.blocking(open, "/nowhere/at/all"), EngineUnavailable)
        self.failureResultOf(self.calls.blocking(int, "seven"), ValueError)

    def test_tls(self) -> None:
        """Both sides show a certificate; its name may be another than the host's where that is said."""
        authority = Authority()
        names = [DNSName("engine"), IPAddress(ip_address("192.0.2.1"))]
        server_key, server_certificate = authority.issue("other", names)
        key, certificate = authority.issue("kgw")
        credentials = grpc.ssl_server_credentials([(server_key, server_certificate)], authority.pem, True)
        self.peer = self.start(credentials=credentials)
        for security, works in [
            (Security(authority.pem, certificate, key, "engine"), True),
            (Security(authority.pem, certificate, key, "other"), False),
            (Security(authority.pem, certificate, key), False),
            (Security(authority.pem, certificate, key, check_name=False), True),
            (Security(Authority().pem, certificate, key, check_name=False), False),
            (Security(authority.pem, server_name="engine"), False),
            (Security(Authority().pem, certificate, key, "engine"), False),
            (None, False),
        ]:
            self.calls = Calls(InlineBridge(), security, timeout_s=2.0)
            self.addCleanup(self.calls.stop)
            if works:
                self.successResultOf(self.get())
            else:
                self.failureResultOf(self.get(), EngineUnavailable)

    def test_certificate_that_changes(self) -> None:
        """Where no name is looked at, a server may come back under another, as may one that was not there before."""
        authority = Authority()
        key, certificate = authority.issue("kgw")
        self.calls = Calls(InlineBridge(), Security(authority.pem, certificate, key, check_name=False), timeout_s=2.0)
        self.addCleanup(self.calls.stop)
        port = self.peer.port
        for name in ("one", "other"):
            self.peer.stop()
            self.failureResultOf(self.get(), EngineUnavailable)
            credentials = grpc.ssl_server_credentials([authority.issue(name)], authority.pem, True)
            self.peer = self.start(port, credentials)
            self.successResultOf(self.get())
            self.successResultOf(self.get())


class ErrorTests(SynchronousTestCase):
    """What the engine says, for clients."""

    def test_outages_are_retried(self) -> None:
        """Whatever may pass is answered with a code that all clients retry."""
        passing = [from_status(code, "", "call") for code in (1, 2, 4, 8, 10, 13, 14)]
        passing += [from_publish(code, "") for code in (2, 6, 102, 9999)]
        passing += [from_fetch(code, "") for code in (1, 9999)]
        for error in passing:
            self.assertIsInstance(error, EngineUnavailable)
            self.assertEqual(error.code, ErrorCode.KAFKA_STORAGE_ERROR)
            self.assertTrue(error.code.retriable)

    def test_others(self) -> None:
        """What does not pass by itself says what it is; a status nobody knows is a storage error."""
        self.assertIsInstance(from_status(9, "", "call"), EntryChanged)
        self.assertEqual(from_status(5, "", "call").code, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        self.assertEqual(from_status(12, "", "call").code, ErrorCode.UNSUPPORTED_VERSION)
        for code in (7, 15, 16, 99):
            self.assertEqual(from_status(code, "", "call").code, ErrorCode.KAFKA_STORAGE_ERROR)
            self.assertNotIsInstance(from_status(code, "", "call"), EngineUnavailable)
        self.assertEqual(from_publish(42, "").code, ErrorCode.UNKNOWN_SERVER_ERROR)
        self.assertEqual(from_fetch(2, "").code, ErrorCode.OFFSET_OUT_OF_RANGE)


class AddressTests(SynchronousTestCase):
    """Addresses of SeaweedFS."""

    def test_forms(self) -> None:
        """The gRPC port is named, or 10000 above."""
        self.assertEqual(parse_server("127.0.0.1:9333"), Server("127.0.0.1:9333", "127.0.0.1:19333"))
        self.assertEqual(parse_server(" filer:8888.18000 "), Server("filer:8888", "filer:18000"))
        self.assertEqual(parse_server("[::1]:9333"), Server("[::1]:9333", "[::1]:19333"))

    def test_refused(self) -> None:
        """Anything else is refused, a port without room for the one above it too."""
        for text in ("", "host", ":9333", "host:", "host:0", "host:x", "host:1.", "host:1.x", "host:60000", "h:99999"):
            self.assertRaises(ValueError, parse_server, text)
