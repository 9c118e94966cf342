"""The filer: entries on a real one, and files over HTTP from servers that behave oddly."""

from __future__ import annotations

from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.request import Request, urlopen

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, execute
from twisted.trial.unittest import SynchronousTestCase

from kgw.engine.bridge import InlineBridge
from kgw.engine.seaweed.calls import Calls
from kgw.engine.seaweed.errors import EngineUnavailable, EntryChanged
from kgw.engine.seaweed.filer import Entry, Filer, entry_of
from kgw.engine.seaweed.http_files import MOST_BYTES, HttpFiles
from kgw.engine.seaweed.proto import filer_pb2
from kgw.errors import ErrorCode, KafkaError
from kgw.test.seaweed import engine

#: Names as the state store's escaped keys and other people's files may have them.
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=40).filter(
    lambda name: name not in (".", "..")
)


class FilerTests(SynchronousTestCase):
    """L{Filer} on a real filer."""

    def setUp(self) -> None:
        self.engine = engine()
        calls = Calls(InlineBridge(), None, timeout_s=20.0)
        self.addCleanup(calls.stop)
        self.filer = Filer(calls, lambda: self.engine.filer, lambda: self.engine.filer_http, lambda: 1234.5)
        self.addCleanup(self.filer.stop)
        self.root = f"/kgw-test-{self.id().rpartition('.')[2]}"
        self.addCleanup(lambda: self.successResultOf(self.filer.delete("/", self.root[1:], recursive=True)))

    def look(self, name: str, directory: str | None = None) -> Entry:
        entry = self.successResultOf(self.filer.lookup(directory or self.root, name))
        assert entry is not None
        return entry

    def upload(self, name: str, content: bytes) -> None:
        """Write a file in chunks, as the broker does."""
        request = Request(f"http://{self.engine.filer_http}{self.root}/{name}", content, method="PUT")
        urlopen(request, timeout=20).close()
        self.assertTrue(self.look(name).raw.chunks)

    def test_put_and_lookup(self) -> None:
        """An entry is read as it was written; directories above it are made."""
        directory = f"{self.root}/a/b"
        self.successResultOf(self.filer.put(directory, "x", b"hello", {"k": b"\0\xff"}))
        entry = self.look("x", directory)
        self.assertEqual(entry[:6], ("x", False, 5, b"hello", {"k": b"\0\xff"}, 1234))
        self.assertTrue(self.look("b", f"{self.root}/a").is_directory)

    def test_put_replaces(self) -> None:
        """Writing again leaves nothing of what was there."""
        self.successResultOf(self.filer.put(self.root, "x", b"longer than before", {"k": b"v"}))
        self.successResultOf(self.filer.put(self.root, "x", b"short"))
        entry = self.look("x")
        self.assertEqual((entry.content, entry.size, entry.extended), (b"short", 5, {}))

    def test_put_over_directory(self) -> None:
        """A directory is not replaced."""
        self.successResultOf(self.filer.put(f"{self.root}/a", "x", b""))
        error = self.failureResultOf(self.filer.put(self.root, "a", b""), KafkaError).value
        self.assertEqual(error.code, ErrorCode.KAFKA_STORAGE_ERROR)
        self.assertNotIsInstance(error, EngineUnavailable)

    def test_missing(self) -> None:
        """What is not there is not found, lists as nothing, reads as nothing, and goes away without a word."""
        self.assertIsNone(self.successResultOf(self.filer.lookup(self.root, "x")))
        self.assertEqual(self.successResultOf(self.filer.list(f"{self.root}/nowhere")), [])
        self.assertEqual(self.successResultOf(self.filer.read(self.root, "x")), b"")
        self.successResultOf(self.filer.delete(f"{self.root}/nowhere", "x"))

    @settings(deadline=None, max_examples=25)
    @given(NAMES, st.binary(max_size=300))
    def test_any_name_and_content(self, name: str, content: bytes) -> None:
        """Any name and content come back, by lookup and over HTTP."""
        self.successResultOf(self.filer.put(self.root, name, content))
        self.assertEqual((self.look(name).name, self.look(name).content), (name, content))
        self.assertEqual(self.successResultOf(self.filer.read(self.root, name)), content)
        self.successResultOf(self.filer.delete(self.root, name))
        self.assertIsNone(self.successResultOf(self.filer.lookup(self.root, name)))

    def test_list(self) -> None:
        """A listing is whole, however many calls it takes, and in the order of names; or a stretch of it."""
        names = [f"{number:04}" for number in range(1100)]
        for name in reversed(names):
            self.successResultOf(self.filer.put(self.root, name, name.encode()))
        listed = self.successResultOf(self.filer.list(self.root))
        self.assertEqual([entry.name for entry in listed], names)
        self.assertEqual(listed[7].content, b"0007")
        stretch = self.successResultOf(self.filer.list(self.root, "0004", 3))
        self.assertEqual([entry.name for entry in stretch], names[5:8])
        long = self.successResultOf(self.filer.list(self.root, "0004", 1050))
        self.assertEqual([entry.name for entry in long], names[5:1055])

    def test_large_content(self) -> None:
        """An entry holds a value of the state store's full size."""
        value = bytes(range(256)) * 4096
        self.successResultOf(self.filer.put(self.root, "x", value))
        self.assertEqual(self.look("x").content, value)

    def test_extended(self) -> None:
        """Attributes are set beside others, and the file's bytes stay."""
        self.upload("x", b"0123456789" * 500)
        self.successResultOf(self.filer.set_extended(self.root, self.look("x"), {"a": b"1", "b": b"2"}))
        self.successResultOf(self.filer.set_extended(self.root, self.look("x"), {"b": b"3"}))
        entry = self.look("x")
        self.assertEqual((entry.extended["a"], entry.extended["b"], entry.size), (b"1", b"3", 5000))
        self.assertEqual(self.successResultOf(self.filer.read(self.root, "x")), b"0123456789" * 500)

    def test_changed_meanwhile(self) -> None:
        """Attributes are not set on a file whose chunks are others now: the new ones would be lost."""
        self.upload("x", b"old" * 1000)
        entry = self.look("x")
        self.upload("x", b"new" * 1000)
        self.failureResultOf(self.filer.set_extended(self.root, entry, {"a": b"1"}), EntryChanged)
        self.assertEqual(self.successResultOf(self.filer.read(self.root, "x")), b"new" * 1000)

    def test_update_of_missing(self) -> None:
        """An entry that has gone is not made anew."""
        self.successResultOf(self.filer.put(self.root, "x", b"1"))
        entry = self.look("x")
        self.successResultOf(self.filer.delete(self.root, "x"))
        self.failureResultOf(self.filer.set_extended(self.root, entry, {"a": b"1"}), EngineUnavailable)
        self.assertIsNone(self.successResultOf(self.filer.lookup(self.root, "x")))

    def test_write_content(self) -> None:
        """The content is replaced, attributes stay, and the entry that was looked up too."""
        self.successResultOf(self.filer.put(self.root, "x", b"longer", {"k": b"v"}))
        before = self.look("x")
        self.successResultOf(self.filer.write_content(self.root, before, b"new"))
        after = self.look("x")
        self.assertEqual((after.content, after.size, after.extended), (b"new", 3, {"k": b"v"}))
        self.assertEqual(before.raw.content, b"longer")

    def test_delete(self) -> None:
        """A directory goes only when asked for with all that is in it."""
        self.successResultOf(self.filer.put(f"{self.root}/a/b", "x", b"1"))
        self.failureResultOf(self.filer.delete(self.root, "a"), EngineUnavailable)
        self.successResultOf(self.filer.delete(self.root, "a", recursive=True))
        self.assertIsNone(self.successResultOf(self.filer.lookup(f"{self.root}/a/b", "x")))

    def test_read(self) -> None:
        """Any stretch of a file, and less or nothing at its end."""
        content = bytes(range(256)) * 20
        self.upload("x", content)

        def read(*stretch: int) -> bytes:
            return self.successResultOf(self.filer.read(self.root, "x", *stretch))

        self.assertEqual(read(), content)
        self.assertEqual(read(100), content[100:])
        self.assertEqual(read(100, 50), content[100:150])
        self.assertEqual(read(5000, 500), content[5000:])
        self.assertEqual(read(0, 0), b"")
        self.assertEqual(read(5120), b"")
        self.assertEqual(read(9999, 1), b"")

    def test_usual_http_port(self) -> None:
        """Where nobody says where the filer's HTTP is, it is 10000 below gRPC."""
        calls = Calls(InlineBridge(), None)
        self.addCleanup(calls.stop)
        filer = Filer(calls, lambda: self.engine.filer)
        self.addCleanup(filer.stop)
        self.successResultOf(filer.put(self.root, "x", b"1"))
        self.assertEqual(self.successResultOf(filer.read(self.root, "x")), b"1")


class LaterBridge(InlineBridge):
    """Makes calls when it is told to, as threads that are busy do."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Deferred[Any], Callable[..., Any], tuple[Any, ...]]] = []

    def call(self, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        """Wait."""
        answer: Deferred[Any] = Deferred()
        self.waiting.append((answer, function, args))
        return answer

    def run(self) -> None:
        """Make the calls that wait."""
        while self.waiting:
            answer, function, args = self.waiting.pop(0)
            execute(function, *args).chainDeferred(answer)


class GuardTests(SynchronousTestCase):
    """A gateway that may not write any more by the time a thread comes to it."""

    def test_nothing_is_changed(self) -> None:
        found = engine()
        bridge = LaterBridge()
        calls = Calls(bridge, None, timeout_s=20.0)
        self.addCleanup(calls.stop)
        allowed = [True]
        filer = Filer(calls, lambda: found.filer, may_write=lambda: allowed[0])
        root = f"/kgw-test-{self.id()}"
        first = filer.put(root, "a", b"1")
        bridge.run()
        self.successResultOf(first)
        looking = filer.lookup(root, "a")
        bridge.run()
        entry = self.successResultOf(looking)
        assert entry is not None
        changes: list[Deferred[Any]] = [
            filer.put(root, "b", b"2"),
            filer.delete(root, "a"),
            filer.write_content(root, entry, b"3"),
            filer.set_extended(root, entry, {"x": b"4"}),
        ]
        allowed[0] = False
        bridge.run()
        for one in changes:
            self.assertEqual(self.failureResultOf(one, KafkaError).value.code, ErrorCode.KAFKA_STORAGE_ERROR)
        # it may look, though
        listing = filer.list(root)
        bridge.run()
        left = [(one.name, one.content, one.extended) for one in self.successResultOf(listing)]
        self.assertEqual(left, [("a", b"1", {})])
        allowed[0] = True
        removing = filer.delete("/", root[1:], recursive=True)
        bridge.run()
        self.successResultOf(removing)


class OutageTests(SynchronousTestCase):
    """Without a filer."""

    def test_every_call_fails(self) -> None:
        """Whatever is asked is answered as an outage."""

        def nowhere() -> str:
            raise EngineUnavailable("no filer was found yet")

        calls = Calls(InlineBridge(), None)
        self.addCleanup(calls.stop)
        for address in (nowhere, lambda: "127.0.0.1:10001"):  # 10001 - 10000: nobody listens there either
            filer = Filer(calls, address)
            entry = entry_of(filer_pb2.Entry(name="x"))
            attempts: list[Deferred[Any]] = [
                filer.lookup("/", "x"),
                filer.list("/"),
                filer.put("/", "x", b""),
                filer.delete("/", "x"),
                filer.set_extended("/", entry, {}),
                filer.write_content("/", entry, b""),
                filer.read("/", "x"),
            ]
            for attempt in attempts:
                self.failureResultOf(attempt, EngineUnavailable)


class Oddity(ThreadingHTTPServer):
    """
    An HTTP server on loopback that answers as a test says.

    @ivar answers: what to do with each request, in order; the last one again and again.
    @ivar connections: how many there were.
    """

    daemon_threads = True

    def __init__(self) -> None:
        self.answers: list[Callable[[BaseHTTPRequestHandler], None]] = []
        self.connections = 0
        super().__init__(("127.0.0.1", 0), _Answering)
        self.address = f"127.0.0.1:{self.server_address[1]}"
        self._thread = Thread(target=self.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def end(self) -> None:
        """End it."""
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        assert isinstance(self.server, Oddity)
        self.server.connections += 1

    def do_GET(self) -> None:
        """Answer."""
        assert isinstance(self.server, Oddity)
        answers = self.server.answers
        (answers.pop(0) if len(answers) > 1 else answers[0])(self)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def answer(status: int, body: bytes, length: int | None = None) -> Callable[[BaseHTTPRequestHandler], None]:
    """Answer with a status and a body, which may say it is longer than it is and break off."""

    def perform(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body) if length is None else length))
        handler.end_headers()
        handler.wfile.write(body)
        handler.close_connection = length is not None

    return perform


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    """Close the connection without an answer."""
    handler.close_connection = True


class HttpFilesTests(SynchronousTestCase):
    """L{HttpFiles} and servers that behave oddly."""

    def setUp(self) -> None:
        self.server = Oddity()
        self.addCleanup(self.server.end)
        self.files = HttpFiles(2.0)
        self.addCleanup(self.files.close)

    def read(self, offset: int = 0, size: int = 4) -> bytes:
        return self.files.read(self.server.address, "/x", offset, size)

    def test_connection_is_kept(self) -> None:
        """Reads one after another use one connection, those that find nothing too."""
        self.server.answers = [answer(206, b"abcd"), answer(404, b"no"), answer(416, b""), answer(206, b"efgh")]
        self.assertEqual([self.read() for _ in range(4)], [b"abcd", b"", b"", b"efgh"])
        self.assertEqual(self.server.connections, 1)

    def test_connection_closed_meanwhile(self) -> None:
        """A kept connection that the server has closed is replaced without anyone noticing."""
        self.server.answers = [answer(206, b"abcd"), hang_up, answer(206, b"efgh")]
        self.assertEqual([self.read(), self.read()], [b"abcd", b"efgh"])
        self.assertEqual(self.server.connections, 2)

    def test_no_answer(self) -> None:
        """A server that closes new connections cannot be used."""
        self.server.answers = [hang_up]
        self.assertRaises(EngineUnavailable, self.read)

    def test_torn_answer(self) -> None:
        """Half an answer is none: it is not taken for the end of the file."""
        self.server.answers = [answer(206, b"ab", 4)]
        self.assertRaises(EngineUnavailable, self.read)

    def test_error(self) -> None:
        """A volume that is away is an outage, with the filer's words."""
        self.server.answers = [answer(500, b"volume 3 not found")]
        self.assertIn("volume 3 not found", self.assertRaises(EngineUnavailable, self.read).message)

    def test_whole_file(self) -> None:
        """A server that sends the file from its beginning is understood."""
        self.server.answers = [answer(200, b"0123456789")]
        self.assertEqual(self.read(3), b"3456")
        self.assertEqual(self.read(8), b"89")
        self.assertEqual(self.read(20), b"")

    def test_more_than_asked_for(self) -> None:
        """A server cannot make us keep more than was asked for."""
        self.server.answers = [answer(206, b"0123456789")]
        self.assertRaises(EngineUnavailable, self.read)

    def test_bound(self) -> None:
        """One read is bounded, whatever was asked for."""
        asked: list[str | None] = []

        def record(handler: BaseHTTPRequestHandler) -> None:
            asked.append(handler.headers["Range"])
            answer(206, b"")(handler)

        self.server.answers = [record]
        self.read(10, -1)
        self.read(10, 1 << 40)
        self.assertEqual(asked, [f"bytes=10-{10 + MOST_BYTES - 1}"] * 2)
