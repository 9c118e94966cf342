"""Calls of the engine's gRPC client: answers, ends, deadlines, and bytes of any kind from the server."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any

from h2.settings import SettingCodes
from hyperframe.frame import HeadersFrame
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kgw.engine.seaweed.h2.client import split_address
from kgw.engine.seaweed.h2.framing import Deframer, Malformed, frame
from kgw.engine.seaweed.h2.security import Security, read_security
from kgw.engine.seaweed.h2.status import (
    CANCELLED,
    DEADLINE_EXCEEDED,
    INTERNAL,
    NOT_FOUND,
    OK,
    PERMISSION_DENIED,
    RESOURCE_EXHAUSTED,
    UNAUTHENTICATED,
    UNAVAILABLE,
    UNIMPLEMENTED,
    UNKNOWN,
    GrpcError,
    GrpcStatus,
    timeout_value,
)
from kgw.test.h2_stage import RESPONSE, TRAILERS, Receiver, Stage

MESSAGES = st.lists(st.binary(max_size=300) | st.integers(0, 40_000).map(bytes), max_size=12)


def _first(functions: list[Callable[[], object]]) -> object:
    return functions[0]()


class EndTests(SynchronousTestCase):
    """How calls end."""

    def ended(self, *answer: tuple[list[tuple[str, str]], bool], data: bytes = b"") -> GrpcStatus:
        """The status after these headers, C{data} between the first and the second, and the call went on until then."""
        stage = Stage(max_message=1000)
        receiver = Receiver()
        stage.open(receiver)
        stage.pump()
        for number, (headers, end) in enumerate(answer):
            stage.server.send_headers(1, headers, end_stream=end)
            if data and not number:
                stage.server.send_data(1, data)
        stage.pump()
        self.assertEqual(stage.client.is_open, True)
        assert receiver.status is not None
        return receiver.status

    def test_trailers_only(self) -> None:
        """A call that fails at once has a status in its only headers."""
        self.assertEqual(
            self.ended(([*RESPONSE, ("grpc-status", "5"), ("grpc-message", "no%20such%20%C3%B6%")], True)),
            GrpcStatus(NOT_FOUND, "no such ö%"),
        )
        self.assertEqual(self.ended(([*RESPONSE, ("grpc-status", "0")], True)), GrpcStatus(OK))

    def test_http(self) -> None:
        """Answers of proxies and the like."""
        for status, code in (
            ("400", INTERNAL),
            ("401", UNAUTHENTICATED),
            ("403", PERMISSION_DENIED),
            ("404", UNIMPLEMENTED),
            ("429", UNAVAILABLE),
            ("503", UNAVAILABLE),
            ("500", UNKNOWN),
            ("302", UNKNOWN),
        ):
            for end in (True, False):
                self.assertEqual(self.ended(([(":status", status), ("content-type", "text/html")], end)).code, code)
        self.assertEqual(self.ended(([(":status", "503"), ("grpc-status", "7")], True)).code, PERMISSION_DENIED)
        self.assertEqual(self.ended(([(":status", "200"), ("content-type", "text/html")], False)).code, UNKNOWN)

    def test_status_missing_or_odd(self) -> None:
        """Ends without a status, or with one that is none."""
        self.assertEqual(self.ended((RESPONSE, True)).code, UNKNOWN)
        self.assertEqual(self.ended((RESPONSE, False), ([("x-other", "1")], True)).code, UNKNOWN)
        for odd in ("", "-1", "x", "1" * 50, "1.0"):
            self.assertEqual(self.ended((RESPONSE, False), ([("grpc-status", odd)], True)).code, UNKNOWN, odd)
        self.assertEqual(
            self.ended((RESPONSE, False), ([("grpc-status", "3"), ("grpc-message", "%ff%zz%4")], True)),
            GrpcStatus(3, "\ufffd%zz%4"),
        )
        stage = Stage()
        receiver = Receiver()
        stage.open(receiver)
        stage.pump()
        stage.server.send_headers(1, RESPONSE)
        stage.server.send_data(1, frame(b"x"), end_stream=True)
        stage.pump()
        assert receiver.status is not None
        self.assertEqual((receiver.status.code, receiver.data), (INTERNAL, frame(b"x")))

    def test_messages_that_are_none(self) -> None:
        """Compressed messages, odd prefixes, too large and torn ones."""
        self.assertEqual(self.ended((RESPONSE, False), data=b"\1\0\0\0\1x").code, UNIMPLEMENTED)
        self.assertEqual(self.ended((RESPONSE, False), data=b"\2\0\0\0\1x").code, INTERNAL)
        self.assertEqual(self.ended((RESPONSE, False), data=b"\0\0\0\x03\xe9").code, RESOURCE_EXHAUSTED)
        for torn in (b"\0\0\0\0\2x", b"\0", b"\0\0\0\0\0\0\0"):
            self.assertEqual(self.ended((RESPONSE, False), (TRAILERS, True), data=torn).code, INTERNAL)
        self.assertEqual(self.ended((RESPONSE, False), (TRAILERS, True), data=frame(b"x" * 1000)).code, OK)

    def test_resets(self) -> None:
        """Streams the server resets."""
        for code, status, unprocessed in (
            (0, INTERNAL, False),
            (1, INTERNAL, False),
            (2, INTERNAL, False),
            (7, UNAVAILABLE, True),
            (8, CANCELLED, False),
            (11, RESOURCE_EXHAUSTED, False),
            (12, PERMISSION_DENIED, False),
            (99, INTERNAL, False),
        ):
            stage = Stage()
            receiver = Receiver()
            stream = stage.open(receiver)
            stream.write(b"x" * 100_000)
            stage.pump()
            stage.server.reset_stream(1, code)
            stage.pump()
            assert receiver.status is not None
            self.assertEqual((receiver.status.code, stream.unprocessed), (status, unprocessed))
            self.assertEqual(stream.unsent, 0)
            stream.write(b"late")
            stream.finish()
            stage.pump()

    def test_server_ends_first(self) -> None:
        """A call that the server ends while we still write is over on our side, too."""
        stage = Stage()
        receiver = Receiver()
        stream = stage.open(receiver)
        stream.write(b"x" * 100_000)
        stage.pump()
        stage.answer(1, b"enough")
        self.assertEqual(receiver.status, GrpcStatus(OK))
        self.assertEqual(stage.resets, {1: 0})
        self.assertEqual(stream.unsent, 0)

    def test_cancel(self) -> None:
        """A call that nobody wants ends at once, and the server is told."""
        stage = Stage()
        receiver = Receiver()
        stream = stage.open(receiver, 10)
        stage.pump()
        stage.server.send_headers(1, RESPONSE)
        stream.cancel()
        stream.cancel()
        assert receiver.status is not None
        self.assertEqual(receiver.status.code, CANCELLED)
        stage.server.send_data(1, frame(b"on its way"))
        stage.pump()
        self.assertEqual(stage.resets, {1: 8})
        self.assertEqual(receiver.data, b"")
        self.assertEqual(len(stage.clock.getDelayedCalls()), 1)

    def test_cancelled_by_its_receiver(self) -> None:
        """A receiver may end its call, or the connection, over what it is told."""
        for whole in (False, True):
            stage = Stage()
            ends: list[Callable[[], object]] = []
            receiver = Receiver(partial(_first, ends))
            other = Receiver()
            stream = stage.open(receiver)
            ends.append(stage.client.close if whole else stream.cancel)
            stage.open(other)
            stage.pump()
            for stream_id in (3, 1):
                stage.server.send_headers(stream_id, RESPONSE)
                stage.server.send_data(stream_id, frame(b"one"))
                stage.server.send_data(stream_id, frame(b"two"))
                stage.server.send_headers(stream_id, TRAILERS, end_stream=True)
            stage.client.dataReceived(stage.server.data_to_send())
            assert receiver.status is not None and other.status is not None
            self.assertEqual(receiver.status.code, UNAVAILABLE if whole else CANCELLED)
            self.assertEqual(other.status.code, OK)

    def test_receiver_fails(self) -> None:
        """A receiver with a bug loses its call, the connection goes on."""

        def fail() -> None:
            raise ZeroDivisionError

        stage = Stage()
        receiver, other = Receiver(fail), Receiver()
        stage.open(receiver)
        stage.open(other)
        stage.pump()
        stage.answer(1, b"x")
        stage.answer(3, b"x")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        assert receiver.status is not None
        self.assertEqual(receiver.status.code, INTERNAL)
        self.assertEqual(other.status, GrpcStatus(OK))


class DeadlineTests(SynchronousTestCase):
    """Calls that have only so much time."""

    def test_expires(self) -> None:
        """The server is told how long it has; when the time is up the call ends here, whatever the server does."""
        stage = Stage()
        receiver = Receiver()
        stage.open(receiver, 2.5)
        stage.pump()
        self.assertEqual(stage.headers[1]["grpc-timeout"], "2500000u")
        stage.clock.advance(2.4)
        self.assertIsNone(receiver.status)
        stage.clock.advance(0.2)
        assert receiver.status is not None
        self.assertEqual(receiver.status.code, DEADLINE_EXCEEDED)
        stage.pump()
        self.assertEqual(stage.resets, {1: 8})

    def test_in_time(self) -> None:
        """A call that ends in time leaves no timer."""
        stage = Stage()
        answer = stage.client.unary(b"/a", b"x", 5)
        stage.pump()
        stage.answer(1, b"y")
        self.assertEqual(self.successResultOf(answer), b"y")
        self.assertEqual(len(stage.clock.getDelayedCalls()), 1, "of the connection")

    def test_header(self) -> None:
        """At most eight digits, and never more time than there is."""
        for seconds, text in (
            (0.0, b"1u"),
            (-1.0, b"1u"),
            (0.001, b"1000u"),
            (99.999999, b"99999999u"),
            (100.0, b"100000m"),
            (100_000.0, b"100000S"),
            (1e9, b"16666666M"),
            (1e12, b"99999999H"),
        ):
            self.assertEqual(timeout_value(seconds), text)


class UnaryTests(SynchronousTestCase):
    """Single calls."""

    def test_answers(self) -> None:
        """Calls end with their own answers, or statuses, in any order."""
        stage = Stage()
        first, second, third = (stage.client.unary(b"/a", b"%d" % number) for number in range(3))
        stage.pump()
        self.assertEqual(stage.data, {1: frame(b"0"), 3: frame(b"1"), 5: frame(b"2")})
        self.assertEqual(stage.finished, {1, 3, 5})
        stage.answer(5, b"c")
        stage.answer(1, b"")
        stage.answer(3, trailers=[("grpc-status", "5")])
        self.assertEqual(self.successResultOf(first), b"")
        self.assertEqual(self.failureResultOf(second, GrpcError).value.status.code, NOT_FOUND)
        self.assertEqual(self.successResultOf(third), b"c")

    def test_not_one_message(self) -> None:
        """None, or several."""
        for messages in ((), (b"a", b"b"), (b"a", b"b" * 30_000)):
            stage = Stage()
            answer = stage.client.unary(b"/a", b"")
            stage.pump()
            stage.answer(1, *messages)
            self.assertEqual(self.failureResultOf(answer, GrpcError).value.status.code, INTERNAL)

    def test_one_message_bad_end(self) -> None:
        """The status counts, not the message."""
        stage = Stage()
        answer = stage.client.unary(b"/a", b"")
        stage.pump()
        stage.answer(1, b"x", trailers=[("grpc-status", "13")])
        self.assertEqual(self.failureResultOf(answer, GrpcError).value.status.code, INTERNAL)

    def test_cancel(self) -> None:
        """Cancelling the Deferred cancels the call."""
        stage = Stage()
        answer = stage.client.unary(b"/a", b"")
        stage.pump()
        answer.cancel()
        self.assertEqual(self.failureResultOf(answer, GrpcError).value.status.code, CANCELLED)
        stage.pump()
        self.assertEqual(stage.resets, {1: 8})

    def test_refused(self) -> None:
        """It is known where the server never began."""
        stage = Stage()
        answer = stage.client.unary(b"/a", b"")
        stage.pump()
        stage.server.reset_stream(1, 7)
        stage.pump()
        self.assertTrue(self.failureResultOf(answer, GrpcError).value.unprocessed)


def cutter(seed: int | None) -> Any:
    """Cuts bytes to pieces: single bytes where there is no seed."""
    choose = random.Random(seed)

    def cut(data: bytes) -> list[bytes]:
        pieces = []
        while data:
            size = choose.choice((1, 3, 9, 20, 500, 20_000)) if seed is not None else 1
            pieces.append(data[:size])
            data = data[size:]
        return pieces

    return cut


class ConversationTests(SynchronousTestCase):
    """Whole conversations with the h2 library, however the bytes are cut."""

    def converse(self, calls: list[tuple[list[bytes], list[bytes]]], cut: Any, window: int, largest: int) -> None:
        """Messages both ways on several streams; everything arrives, in order."""
        stage = Stage({SettingCodes.INITIAL_WINDOW_SIZE: window, SettingCodes.MAX_FRAME_SIZE: largest})
        stage.pump(cut)
        receivers = []
        for requests, _ in calls:
            receiver = Receiver()
            stream = stage.open(receiver)
            for request in requests:
                stream.write(frame(request))
            stream.finish()
            receivers.append(receiver)
        stage.pump(cut)
        for number, (_, answers) in enumerate(calls):
            stage.server.send_headers(2 * number + 1, RESPONSE)
            for message in answers:
                stage.send(2 * number + 1, frame(message), padding=number % 3)
            stage.pump(cut)
        for number in range(len(calls)):
            stage.server.send_headers(2 * number + 1, TRAILERS, end_stream=True)
        stage.pump(cut)
        for number, (requests, answers) in enumerate(calls):
            self.assertTrue(stage.data[2 * number + 1] == b"".join(map(frame, requests)))
            self.assertTrue(receivers[number].data == b"".join(map(frame, answers)))
            self.assertEqual(receivers[number].status, GrpcStatus(OK))
        self.assertEqual(stage.resets, {})

    @given(
        st.lists(st.tuples(MESSAGES, MESSAGES), min_size=1, max_size=4),
        st.integers(),
        st.sampled_from([1, 100, 65535, 1 << 20]),
        st.sampled_from([16384, 50_000]),
    )
    @settings(deadline=None, max_examples=40)
    def test_cut_anywhere(
        self, calls: list[tuple[list[bytes], list[bytes]]], seed: int, window: int, largest: int
    ) -> None:
        """In random pieces, with windows of all sizes."""
        if window == 1:
            calls = [([request[:20] for request in requests], answers) for requests, answers in calls]
        self.converse(calls, cutter(seed), window, largest)

    def test_byte_by_byte(self) -> None:
        """In single bytes."""
        self.converse([([b"a", b"", b"b" * 200], [b"c" * 2000, b"", b"d"]), ([], [])], cutter(None), 100, 16384)


class DeframerTests(SynchronousTestCase):
    """Messages in bytes."""

    @given(st.lists(st.binary(max_size=40), max_size=20), st.integers())
    @settings(deadline=None, max_examples=100)
    def test_whole_messages(self, messages: list[bytes], seed: int) -> None:
        """Only whole messages come out, as soon as they are whole."""
        deframer = Deframer(40)
        fed, found = b"", b""
        for piece in cutter(seed)(b"".join(map(frame, messages))):
            fed += piece
            found += deframer.feed(piece)
            self.assertEqual(len(fed), len(found) + deframer.held)
            self.assertTrue(deframer.held < 45)
        self.assertEqual(found, b"".join(map(frame, messages)))

    @given(st.lists(st.binary(max_size=30), max_size=10))
    @settings(deadline=None, max_examples=100)
    def test_anything(self, pieces: list[bytes]) -> None:
        """Any bytes are messages or are refused."""
        deframer = Deframer(100)
        try:
            for piece in pieces:
                deframer.feed(piece)
        except Malformed as malformed:
            self.assertNotEqual(malformed.status.code, OK)


def raw_frame(parts: tuple[int, int, int, bytes]) -> bytes:
    """A frame of any kind."""
    kind, flags, stream_id, body = parts
    return len(body).to_bytes(3, "big") + bytes([kind, flags]) + stream_id.to_bytes(4, "big") + body


FRAMES = st.tuples(
    st.integers(0, 11),
    st.sampled_from([0, 1, 4, 5, 8, 9, 12, 0x20, 0x24, 255]),
    st.sampled_from([0, 1, 1, 3, 3, 5, 7, 2, 0x7FFFFFFF, 0x80000001]),
    st.binary(max_size=20) | st.sampled_from([b"\x88", b"\x88\x5f\x10application/grpc", b"\0\0\0\1", b"\0\0\0\0\0"]),
).map(raw_frame)


class AnythingTests(SynchronousTestCase):
    """Whatever the server sends: no exception, no hang, every call ends once, in the end."""

    def check(self, cut: Any, *pieces: bytes, settled: bool = True) -> None:
        """Three calls, and these bytes."""
        stage = Stage({SettingCodes.MAX_CONCURRENT_STREAMS: 2})
        if settled:
            stage.pump()
        receivers = [Receiver() for _ in range(3)]
        streams = [stage.open(receiver, 50) for receiver in receivers]
        for stream in streams:
            stream.write(b"x" * 40_000)
        streams[0].finish()
        for piece in pieces:
            for part in cut(piece):
                stage.client.dataReceived(part)
        if stage.client.is_open:
            stage.client.pauseProducing()
            stage.client.resumeProducing()
        goodbye = stage.hung_up
        if goodbye:
            self.assertFalse(stage.client.is_open)
        stage.transport.hang_up()
        self.assertTrue(all(receiver.status is not None for receiver in receivers))
        self.assertEqual(stage.clock.getDelayedCalls(), [])
        stage.client.ready.addErrback(lambda failure: failure.trap(GrpcError) and None)

    @given(st.binary(max_size=200), st.integers(), st.booleans())
    @settings(deadline=None, max_examples=150)
    def test_bytes(self, data: bytes, seed: int, settled: bool) -> None:
        """Bytes."""
        self.check(cutter(seed), data, settled=settled)

    @given(st.lists(FRAMES, max_size=15), st.integers())
    @settings(deadline=None, max_examples=300)
    def test_frames(self, sent: list[bytes], seed: int) -> None:
        """Frames that do not mean anything, among those that do."""
        opening = HeadersFrame(1, b"\x88", flags=("END_HEADERS",)).serialize()
        self.check(cutter(seed), opening, *sent)

    @given(st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 255)), min_size=1, max_size=4), st.integers())
    @settings(deadline=None, max_examples=150)
    def test_mutated(self, changes: list[tuple[int, int]], seed: int) -> None:
        """A good conversation with some bytes changed."""
        stage = Stage()
        for _ in range(3):
            stage.open(Receiver())
        stage.pump()
        for stream_id in (1, 3):
            stage.server.send_headers(stream_id, RESPONSE)
            for number in range(8):
                stage.server.send_data(stream_id, frame(b"m" * number * 10))
            stage.server.ping(b"12345678")
            stage.server.update_settings(
                {SettingCodes.INITIAL_WINDOW_SIZE: 70_000, SettingCodes.HEADER_TABLE_SIZE: 100}
            )
            stage.server.send_headers(stream_id, [*TRAILERS, ("grpc-message", "all%20is%20well")], end_stream=True)
        stage.server.close_connection(0, b"bye", 5)
        data = bytearray(stage.server.data_to_send())
        for position, value in changes:
            data[position % len(data)] = value
        self.check(cutter(seed), bytes(data))


class AddressTests(SynchronousTestCase):
    """Where servers are, and who is trusted."""

    def test_addresses(self) -> None:
        """Hosts, addresses of both kinds, and what is neither."""
        self.assertEqual(split_address("engine.test:80"), ("engine.test", 80))
        self.assertEqual(split_address("127.0.0.1:65535"), ("127.0.0.1", 65535))
        self.assertEqual(split_address("[::1]:1"), ("::1", 1))
        for wrong in ("", ":", "a", "a:", ":1", "a:0", "a:65536", "a:x", "a:1²", "a:-1"):
            self.assertRaises(ValueError, split_address, wrong)

    def test_files(self) -> None:
        """A certificate needs its key."""
        self.assertRaises(ValueError, read_security, None, "a", None)
        self.assertRaises(OSError, read_security, self.mktemp(), None, None)
        self.assertEqual(read_security(None, None, None), Security())
