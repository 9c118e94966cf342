"""The error gate: what a client and the log see of every way a request can go."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from kgw.errors import ErrorCode
from kgw.net.dispatcher import Answer, Hangup
from kgw.test.connection_stage import Answers, Stage, frame, read_answers


@dataclass
class Peer:
    listener: str = "PLAINTEXT"
    local_host: str = "10.0.0.1"
    local_port: int = 9092
    remote: str = "10.0.0.2:5000"
    software_name: str = "librdkafka"
    software_version: str = "2.0"
    client_id: str = ""

    def watch_end(self, ended: Callable[[], None]) -> None:
        raise AssertionError("nothing waits here")

    def unwatch_end(self, ended: Callable[[], None]) -> None:
        raise AssertionError("nothing waits here")

    def claim_answer(self, size: int) -> int:
        raise AssertionError("nothing is claimed here")

    def give_back_answer(self, claimed: int) -> None:
        raise AssertionError("nothing is claimed here")

    def mute(self, seconds: float) -> None:
        raise AssertionError("nobody is muted here")


class Dispatching(SynchronousTestCase):
    def setUp(self) -> None:
        self.stage = Stage()

    def dispatch(self, whole: bytes) -> Answer | Deferred[Answer]:
        return self.stage.dispatcher.dispatch(whole[4:], Peer())

    def ask(self, what: str, size: int = 0, version: int = 0, key: int = 3) -> Answers:
        answer = self.dispatch(frame(7, what, size, key=key, version=version))
        if isinstance(answer, Deferred):
            answer = self.successResultOf(answer)
        assert answer is not None
        return read_answers(b"".join(answer), version, plain=key == 18)

    def test_each_header_flavour(self) -> None:
        """Flexible versions have a flexible header on both sides, but where the Api says otherwise."""
        self.assertEqual(self.ask("hello"), [(7, 0, "hello")])
        self.assertEqual(self.ask("hello", version=1), [(7, 0, "hello")])
        self.assertEqual(self.ask("hello", version=1, key=18), [(7, 0, "hello")])

    def test_large_answers_are_whole(self) -> None:
        """The size counts everything, however many buffers the answer has."""
        self.assertEqual(self.ask("hello", size=100_000), [(7, 0, "hello")])

    def test_no_answer(self) -> None:
        """A handler that answers None wants nothing sent."""
        self.assertIsNone(self.dispatch(frame(1, "silent")))
        waiting = self.dispatch(frame(1, "wait-silent"))
        assert isinstance(waiting, Deferred)
        self.stage.fire("wait-silent")
        self.assertIsNone(self.successResultOf(waiting))

    def test_handlers_that_wait(self) -> None:
        """The answer comes when the handler goes on, and is the same."""
        for what, answer in (
            ("wait-hello", (7, 0, "hello")),
            ("wait-kafka", (7, int(ErrorCode.NOT_CONTROLLER), "refused")),
            ("wait-bug", (7, -1, "refused")),
        ):
            waiting = self.dispatch(frame(7, what, version=1))
            assert isinstance(waiting, Deferred)
            self.assertNoResult(waiting)
            self.stage.fire(what)
            buffers = self.successResultOf(waiting)
            assert buffers is not None
            self.assertEqual(read_answers(b"".join(buffers), 1), [answer])

    def test_what_a_handler_waits_for_may_fail(self) -> None:
        """A failure arrives in the handler as its exception."""
        waiting = self.dispatch(frame(7, "wait-hello"))
        assert isinstance(waiting, Deferred)
        self.stage.waiting["wait-hello"].errback(ValueError("lost"))
        buffers = self.successResultOf(waiting)
        assert buffers is not None
        self.assertEqual(read_answers(b"".join(buffers)), [(7, -1, "refused")])
        self.assertIn("ValueError: lost", self.stage.events[-1]["log_failure"].getTraceback())

    def test_kafka_error(self) -> None:
        """A KafkaError is an error code, and nothing for the log."""
        self.assertEqual(self.ask("kafka"), [(7, int(ErrorCode.NOT_CONTROLLER), "refused")])
        self.assertEqual(self.stage.events, [])

    def test_bug(self) -> None:
        """A bug is answered UNKNOWN_SERVER_ERROR and logged with its traceback and the peer."""
        self.assertEqual(self.ask("bug"), [(7, -1, "refused")])
        (event,) = self.stage.events
        self.assertIn("a bug in a handler", event["log_failure"].getTraceback())
        self.assertIn("_handle", event["log_failure"].getTraceback())
        self.assertEqual((event["api"], event["version"], event["client_id"]), ("Ask", 0, "tester"))
        self.assertGreaterEqual(event["ms"], 0)
        (line,) = self.stage.lines
        self.assertIn("Ask v0 from 10.0.0.2:5000 (client id 'tester', software 'librdkafka' '2.0') failed", line)

    def test_refusal_that_fails(self) -> None:
        """Where there is no way to say it, the connection is closed and the log has both."""
        self.assertRaises(Hangup, self.dispatch, frame(7, "bug", size=-2))
        self.assertEqual([event["log_failure"].type for event in self.stage.events], [ZeroDivisionError] * 2)

    def test_error_without_answer(self) -> None:
        """acks=0: the one way to tell the client is to close."""
        self.assertRaises(Hangup, self.dispatch, frame(7, "kafka", size=-1))
        (line,) = self.stage.lines
        self.assertIn("NOT_CONTROLLER: ask another", line)

    def test_answer_that_cannot_be_written(self) -> None:
        """It is a bug, and nothing half-written is sent."""
        self.assertRaises(Hangup, self.dispatch, frame(7, "bad"))
        (event,) = self.stage.events
        self.assertIs(event["log_failure"].type, ValueError)

    def test_unreadable_requests(self) -> None:
        """One line with peer, client id, API, version and reason."""
        self.assertRaises(Hangup, self.dispatch, frame(7, "hello")[:-5])
        (line,) = self.stage.lines
        for part in ("Ask v0", "10.0.0.2:5000", "'tester'", "closing"):
            self.assertIn(part, line)

    def test_unreadable_to_the_handler(self) -> None:
        """A WireError that a handler lets through has the same end."""
        self.assertRaises(Hangup, self.dispatch, frame(7, "wire"))
        (line,) = self.stage.lines
        self.assertIn("Unreadable Ask v0", line)
        self.assertIn("not a batch", line)

    def test_short_frames(self) -> None:
        """Frames too short for any header close the connection."""
        for size in range(10):
            self.assertRaises(Hangup, self.stage.dispatcher.dispatch, bytes(frame(7, "hello")[4 : 4 + size]), Peer())
        self.assertEqual(len(self.stage.lines), 10)

    def test_unknown_api(self) -> None:
        """The log says who asked for what."""
        self.assertRaises(Hangup, self.dispatch, frame(7, "hello", key=77))
        (line,) = self.stage.lines
        for part in ("key 77", "v0", "not served", "'librdkafka' '2.0'", "'tester'"):
            self.assertIn(part, line)

    def test_unknown_version(self) -> None:
        """The log says what is served."""
        self.assertRaises(Hangup, self.dispatch, frame(7, "hello", version=2))
        (line,) = self.stage.lines
        for part in ("Ask v2", "v0 to v1", "'librdkafka' '2.0'"):
            self.assertIn(part, line)

    def test_unknown_version_that_is_answered(self) -> None:
        """ApiVersions: version 0's form with UNSUPPORTED_VERSION, whatever follows the correlation id (KIP-511)."""
        for rest in (b"", b"\xff", bytes(100)):
            answer = self.stage.dispatcher.dispatch(struct.pack(">hhi", 18, 99, 7) + rest, Peer())
            assert isinstance(answer, list)
            self.assertEqual(read_answers(b"".join(answer)), [(7, int(ErrorCode.UNSUPPORTED_VERSION), "refused")])
        self.assertEqual(self.stage.started, [])

    def test_cancel(self) -> None:
        """A cancelled request cancels what its handler waits for, and is no error."""
        waiting = self.dispatch(frame(7, "wait-hello"))
        assert isinstance(waiting, Deferred)
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.assertEqual(self.stage.cancelled, ["wait-hello"])
        self.assertEqual(self.stage.events, [])

    def test_names_in_the_log_are_quoted(self) -> None:
        """A client cannot write lines of its own into the log."""
        name = b"x\nkgw started"
        whole = struct.pack(">hhih", 77, 0, 1, len(name)) + name
        self.assertRaises(Hangup, self.stage.dispatcher.dispatch, whole, Peer())
        (line,) = self.stage.lines
        self.assertNotIn("\n", line)
