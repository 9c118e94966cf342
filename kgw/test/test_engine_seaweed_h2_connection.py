"""HTTP/2 of the engine's client against the h2 library: windows, settings, turns, backpressure, silence, farewells."""

from __future__ import annotations

from h2.settings import SettingCodes
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    PushPromiseFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)
from twisted.trial.unittest import SynchronousTestCase

from kgw.engine.seaweed.h2.framing import frame
from kgw.engine.seaweed.h2.protocol import KeepAlive
from kgw.engine.seaweed.h2.status import INTERNAL, OK, UNAVAILABLE, GrpcError, GrpcStatus
from kgw.engine.seaweed.h2.stream import LOW_MARK
from kgw.test.h2_stage import RESPONSE, Receiver, Stage, frames


class WindowTests(SynchronousTestCase):
    """What the server's windows allow is sent, the rest waits."""

    def test_waits_for_room(self) -> None:
        """Bytes beyond the windows wait, are told as unsent, and follow in order; the writer hears of it once."""
        stage = Stage()
        stage.gives_room = False
        stage.pump()
        receiver = Receiver()
        stream = stage.open(receiver)
        content = bytes(range(256)) * 4096
        for begin in range(0, len(content), 10_000):
            stream.write(content[begin : begin + 10_000])
        stage.pump()
        self.assertEqual(stage.data[1], content[:65535])
        self.assertEqual(stream.unsent, len(content) - 65535)
        self.assertFalse(stream.full)
        self.assertEqual(receiver.drains, 0)
        stage.server.increment_flow_control_window(1 << 20)
        stage.server.increment_flow_control_window(len(content) - 65535 - LOW_MARK - 1, 1)
        stage.pump()
        self.assertEqual((stream.unsent, receiver.drains), (LOW_MARK + 1, 0))
        stage.server.increment_flow_control_window(1, 1)
        stage.pump()
        self.assertEqual((stream.unsent, receiver.drains), (LOW_MARK, 1))
        stream.finish()
        stage.server.increment_flow_control_window(LOW_MARK, 1)
        stage.pump()
        self.assertEqual((stream.unsent, receiver.drains), (0, 1))
        self.assertEqual(stage.data[1], content)
        self.assertEqual(stage.finished, {1})

    def test_writes_when_drained(self) -> None:
        """A writer that writes more whenever there is room again gets everything across."""
        stage = Stage()
        stage.pump()
        rest = [b"%d" % number * 30_000 for number in range(100)]
        whole = b"".join(rest)
        rest.reverse()

        class Writer(Receiver):
            def drained(self) -> None:
                while rest and not stream.full:
                    stream.write(rest.pop())

        stream = stage.open(Writer())
        while not stream.full:
            stream.write(rest.pop())
        stage.pump()
        self.assertEqual(rest, [])
        self.assertEqual(stage.data[1], whole)

    def test_negative_window(self) -> None:
        """A smaller initial window makes windows negative; they must be filled up before anything is sent."""
        stage = Stage()
        stage.gives_room = False
        stage.pump()
        stream = stage.open(Receiver())
        stream.write(b"x" * 70_000)
        stage.pump()
        stage.server.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 100})
        stage.server.increment_flow_control_window(1 << 20)
        stage.pump()
        # the window is 100 - 65535 now
        stage.raw(WindowUpdateFrame(1, 65535 - 100))
        self.assertEqual(frames(stage.transport.value()), [])
        stage.raw(WindowUpdateFrame(1, 7))
        (sent,) = frames(stage.transport.value())
        assert isinstance(sent, DataFrame)
        self.assertEqual(len(sent.data), 7)
        self.assertEqual(stream.unsent, 70_000 - 65535 - 7)

    def test_larger_initial_window(self) -> None:
        """A larger initial window lets open streams go on, and new ones begin with it."""
        stage = Stage({SettingCodes.INITIAL_WINDOW_SIZE: 10})
        stage.gives_room = False
        stage.pump()
        stage.open(Receiver()).write(b"a" * 50)
        stage.pump()
        self.assertEqual(stage.data[1], b"a" * 10)
        stage.server.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 30})
        stage.pump()
        self.assertEqual(stage.data[1], b"a" * 30)
        stage.open(Receiver()).write(b"b" * 50)
        stage.pump()
        self.assertEqual(stage.data[3], b"b" * 30)

    def test_end_needs_no_room(self) -> None:
        """A call that has nothing more to send is half-closed whatever the windows are."""
        stage = Stage({SettingCodes.INITIAL_WINDOW_SIZE: 0})
        stage.pump()
        stream = stage.open(Receiver())
        stream.finish()
        stage.pump()
        self.assertEqual(stage.finished, {1})
        self.assertRaises(RuntimeError, stream.write, b"more")

    def test_turns(self) -> None:
        """Streams share a short window of the connection, frame by frame."""
        stage = Stage({SettingCodes.INITIAL_WINDOW_SIZE: 1 << 20})
        stage.gives_room = False
        stage.pump()
        streams = [stage.open(Receiver()) for _ in range(3)]
        stage.client.pauseProducing()
        for stream in streams:
            stream.write(b"x" * 500_000)
        stage.client.resumeProducing()
        stage.pump()
        for _ in range(4):
            stage.server.increment_flow_control_window(50_000)
            stage.pump()
        sizes = [len(stage.data[stream_id]) for stream_id in (1, 3, 5)]
        self.assertEqual(sum(sizes), 65535 + 200_000)
        self.assertTrue(max(sizes) - min(sizes) <= 2 * 16384, sizes)

    def test_frame_size(self) -> None:
        """Frames are as large as the server allows."""
        for allowed, largest in ((None, 16384), (40_000, 40_000), (1 << 20, 65536)):
            settings = {SettingCodes.INITIAL_WINDOW_SIZE: 1 << 20}
            stage = Stage(settings | ({SettingCodes.MAX_FRAME_SIZE: allowed} if allowed else {}))
            stage.pump()
            stage.server.increment_flow_control_window(1 << 20)
            stage.pump()
            stage.open(Receiver()).write(b"x" * 200_000)
            sizes = [len(one.data) for one in frames(stage.transport.value()) if isinstance(one, DataFrame)]
            self.assertEqual((max(sizes), sum(sizes)), (largest, 200_000))

    def test_small_writes_share_frames(self) -> None:
        """What was written in small pieces while there was no room is sent in large frames."""
        stage = Stage({SettingCodes.INITIAL_WINDOW_SIZE: 0})
        stage.pump()
        stream = stage.open(Receiver())
        for _ in range(1000):
            stream.write(frame(b"message"))
        stage.transport.clear()
        stage.raw(WindowUpdateFrame(1, 100_000))
        self.assertEqual([len(one.data) for one in frames(stage.transport.value())], [12_000])  # type: ignore[attr-defined]

    def test_overflow(self) -> None:
        """A stream's window that grows too large ends the stream, the connection's ends the connection."""
        stage = Stage()
        stage.pump()
        first, second = Receiver(), Receiver()
        stage.open(first)
        stage.open(second)
        stage.pump()
        stage.raw(WindowUpdateFrame(1, 0x7FFFFFFF))
        assert first.status is not None
        self.assertEqual(first.status.code, INTERNAL)
        stage.pump()
        self.assertEqual(stage.resets, {1: 3})
        self.assertIsNone(second.status)
        stage.raw(WindowUpdateFrame(0, 0x7FFFFFFF))
        assert second.status is not None
        self.assertEqual(second.status.code, UNAVAILABLE)
        self.assertEqual(getattr(stage.goodbye(), "error_code", None), 3)
        self.assertTrue(stage.hung_up)


class ReceiveTests(SynchronousTestCase):
    """What we let the server send."""

    def test_much(self) -> None:
        """The server never runs out of room while what it sends is taken."""
        stage = Stage()
        receiver = Receiver()
        stage.open(receiver)
        stage.pump()
        message = b"x" * 3_000_000
        stage.answer(1, *[message] * 12)
        self.assertEqual(receiver.status, GrpcStatus(OK))
        self.assertTrue(receiver.data == frame(message) * 12)

    def test_held(self) -> None:
        """While a call is held the server may send one window, and others go on; then the rest."""
        stage = Stage()
        held, other = Receiver(), Receiver()
        stream = stage.open(held)
        stage.open(other)
        stage.pump()
        stream.hold()
        message = b"x" * 59_995
        stage.server.send_headers(1, RESPONSE)
        count = 0
        while stage.server.local_flow_control_window(1) >= 60_000:
            stage.send(1, frame(message))
            stage.pump()
            count += 1
        self.assertTrue(20 <= count <= 100, count)
        self.assertEqual(len(held.data), count * 60_000)
        stage.answer(3, *[message] * 200)
        self.assertEqual(len(other.data), 200 * 60_000)
        stream.go_on()
        stage.pump()
        self.assertTrue(stage.server.local_flow_control_window(1) >= 4 << 20)

    def test_beyond_window(self) -> None:
        """A server that sends more than allowed on a stream loses the stream."""
        stage = Stage()
        receiver, other = Receiver(), Receiver()
        stream = stage.open(receiver)
        stage.open(other)
        stage.pump()
        stream.hold()
        stage.server.send_headers(1, RESPONSE)
        stage.pump()
        piece = DataFrame(1, frame(b"x" * 49_995)).serialize()
        for _ in range((4 << 20) // 50_000 + 1):
            stage.raw(piece)
        assert receiver.status is not None
        self.assertEqual(receiver.status.code, INTERNAL)
        self.assertIsNone(other.status)
        self.assertIn("RstStreamFrame", [type(one).__name__ for one in frames(stage.transport.value())])

    def test_padding(self) -> None:
        """Padding is dropped, and counts."""
        stage = Stage()
        receiver = Receiver()
        stage.open(receiver)
        stage.pump()
        stage.server.send_headers(1, RESPONSE)
        for _ in range(300):
            stage.server.send_data(1, frame(b"abc" * 1000), pad_length=255)
            stage.pump()
        stage.server.send_data(1, b"", pad_length=3)
        stage.server.send_headers(1, [("grpc-status", "0")], end_stream=True)
        stage.pump()
        self.assertEqual(receiver.status, GrpcStatus(OK))
        self.assertEqual(receiver.data, frame(b"abc" * 1000) * 300)

    def test_continuation(self) -> None:
        """Headers in several frames, padded and with a priority, and trailers too."""
        stage = Stage()
        receiver = Receiver()
        stage.open(receiver)
        stage.pump()
        block = stage.server.encoder.encode([*RESPONSE, ("x-long", "a" * 9000)])
        first = HeadersFrame(1, block[:10], flags=("PADDED", "PRIORITY"), pad_length=7, stream_weight=3)
        stage.raw(
            first, ContinuationFrame(1, block[10:3000]), ContinuationFrame(1, block[3000:], flags=("END_HEADERS",))
        )
        trailers = stage.server.encoder.encode([("grpc-status", "5"), ("grpc-message", "b" * 9000)])
        stage.raw(
            HeadersFrame(1, b"", flags=("END_STREAM",)),
            ContinuationFrame(1, trailers[:100]),
            ContinuationFrame(1, trailers[100:], flags=("END_HEADERS",)),
        )
        self.assertEqual(receiver.status, GrpcStatus(5, "b" * 9000))


class SettingsTests(SynchronousTestCase):
    """What the server asks for is done."""

    def test_acknowledged(self) -> None:
        """Settings are acknowledged, PING is answered."""
        stage = Stage()
        stage.pump()
        stage.raw(SettingsFrame(0, {1: 100}), PingFrame(0, b"12345678"))
        acknowledged, pong = frames(stage.transport.value())
        self.assertEqual((type(acknowledged), set(acknowledged.flags)), (SettingsFrame, {"ACK"}))
        assert isinstance(pong, PingFrame)
        self.assertEqual((set(pong.flags), pong.opaque_data), ({"ACK"}, b"12345678"))

    def test_header_table(self) -> None:
        """The server's decoder agrees with us through changes of its table's size, which it checks."""
        stage = Stage()
        stage.pump()
        for sizes in ((0,), (4096,), (0, 4096), (100, 50, 70), (70,), (1 << 16,), (64, 64, 64)):
            for size in sizes:
                stage.server.update_settings({SettingCodes.HEADER_TABLE_SIZE: size})
            stage.pump()
            for _ in range(2):
                stage.open(Receiver(), 5.0)
                stage.pump()
        self.assertEqual(len(stage.headers), 14)
        self.assertEqual(
            {tuple(headers.items())[:7] for headers in stage.headers.values()},
            {
                (
                    (":method", "POST"),
                    (":scheme", "http"),
                    (":path", "/test.T/M"),
                    (":authority", "engine:1"),
                    ("te", "trailers"),
                    ("content-type", "application/grpc"),
                    ("user-agent", "kgw"),
                )
            },
        )

    def test_long_headers(self) -> None:
        """Headers that need several frames."""
        stage = Stage()
        stage.pump()
        stage.client.open(b"/" + b"p" * 40_000, Receiver(), metadata=[(b"x-a", b"~" * 3)])
        self.assertEqual(
            [type(one) for one in frames(stage.transport.value())],
            [HeadersFrame] + [ContinuationFrame] * (len(frames(stage.transport.value())) - 1),
        )
        self.assertTrue(len(frames(stage.transport.value())) > 1)
        stage.pump()
        self.assertEqual(stage.headers[1][":path"], "/" + "p" * 40_000)

    def test_streams_at_a_time(self) -> None:
        """Calls beyond what the server allows wait, with what was written to them, and are opened in order."""
        stage = Stage({SettingCodes.MAX_CONCURRENT_STREAMS: 2})
        stage.pump()
        receivers = [Receiver() for _ in range(5)]
        streams = [stage.open(receiver, 10.0) for receiver in receivers]
        for number, stream in enumerate(streams):
            stream.write(b"%d" % number)
            stream.finish()
        stage.pump()
        self.assertEqual(stage.data, {1: b"0", 3: b"1"})
        self.assertEqual([stream.waiting for stream in streams], [False, False, True, True, True])
        self.assertEqual(streams[4].unsent, 1)
        streams[2].cancel()
        self.assertTrue(streams[2].unprocessed)
        stage.clock.advance(4)
        stage.answer(3, b"done")
        self.assertEqual(stage.data, {1: b"0", 3: b"1", 5: b"3"})
        self.assertEqual(stage.finished, {1, 3, 5})
        self.assertEqual(stage.headers[5]["grpc-timeout"], "6000000u")
        stage.server.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: 0})
        stage.pump()
        stage.answer(1, b"done")
        stage.answer(5, b"done")
        self.assertTrue(streams[4].waiting)
        stage.server.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: 1})
        stage.pump()
        stage.answer(7, b"done")
        self.assertEqual([receiver.status and receiver.status.code for receiver in receivers], [OK, OK, 1, OK, OK])


class FarewellTests(SynchronousTestCase):
    """How connections end."""

    def test_goaway(self) -> None:
        """Calls the server has not looked at end as such, others go on; nothing new begins; then it is closed."""
        stage = Stage({SettingCodes.MAX_CONCURRENT_STREAMS: 2})
        stage.pump()
        receivers = [Receiver() for _ in range(3)]
        streams = [stage.open(receiver) for receiver in receivers]
        lost = stage.client.lost()
        stage.pump()
        self.assertNoResult(lost)
        stage.raw(GoAwayFrame(0, 0x7FFFFFFF, 0, b"soon"))
        self.assertEqual(self.successResultOf(lost).code, UNAVAILABLE)
        self.assertFalse(stage.client.is_open)
        self.assertTrue(streams[2].unprocessed, "it had waited")
        stage.raw(GoAwayFrame(0, 1, 0, b"now"))
        self.assertEqual([stream.unprocessed for stream in streams], [False, True, True])
        assert receivers[1].status is not None
        self.assertEqual(receivers[1].status.code, UNAVAILABLE)
        self.assertIn("now", receivers[1].status.message)
        error = self.assertRaises(GrpcError, stage.open, Receiver())
        self.assertTrue(error.unprocessed)
        self.failureResultOf(stage.client.unary(b"/p", b"", 1), GrpcError)
        self.assertFalse(stage.hung_up)
        stage.answer(1, b"last")
        self.assertEqual(receivers[0].status, GrpcStatus(OK))
        self.assertTrue(stage.hung_up)

    def test_goaway_and_cancel(self) -> None:
        """A connection that takes no more calls is closed when the last one is cancelled, too."""
        for cancels in (True, False):
            stage = Stage()
            stage.pump()
            stream = stage.open(Receiver(), 5)
            stage.pump()
            stage.raw(GoAwayFrame(0, 1, 0))
            self.assertFalse(stage.hung_up)
            if cancels:
                stream.cancel()
            else:
                stage.clock.advance(5)
            self.assertTrue(stage.hung_up)

    def test_lost(self) -> None:
        """All calls end when the connection does, and who waits is told."""
        stage = Stage({SettingCodes.MAX_CONCURRENT_STREAMS: 1})
        stage.pump()
        receivers = [Receiver(), Receiver()]
        streams = [stage.open(receiver, 10) for receiver in receivers]
        lost = stage.client.lost()
        stage.transport.hang_up()
        self.assertEqual(self.successResultOf(lost).code, UNAVAILABLE)
        self.assertEqual([receiver.status and receiver.status.code for receiver in receivers], [UNAVAILABLE] * 2)
        self.assertEqual([stream.unprocessed for stream in streams], [False, True])
        self.assertEqual(self.successResultOf(stage.client.lost()).code, UNAVAILABLE)
        self.successResultOf(stage.client.close())
        self.assertEqual(stage.clock.getDelayedCalls(), [])
        streams[0].write(b"x")
        streams[0].cancel()
        self.assertEqual(streams[0].unsent, 0)

    def test_close(self) -> None:
        """Closing ends calls and says goodbye; a server that does not let go is left after a while."""
        stage = Stage()
        stage.pump()
        receiver = Receiver()
        stage.open(receiver)
        stage.pump()
        closed = stage.client.close()
        assert receiver.status is not None
        self.assertEqual(receiver.status.code, UNAVAILABLE)
        self.assertEqual(getattr(stage.goodbye(), "error_code", None), 0)
        self.assertTrue(stage.transport.disconnecting)
        self.assertIsNone(stage.transport.producer)
        self.assertNoResult(closed)
        stage.clock.advance(60)
        self.assertTrue(stage.transport.aborted)
        self.successResultOf(closed)
        self.assertEqual(stage.clock.getDelayedCalls(), [])

    def test_not_ready(self) -> None:
        """Who connects learns that the server speaks something else, or hung up."""
        stage = Stage()
        ready = stage.client.ready
        self.assertNoResult(ready)
        stage.raw(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        stage.transport.hang_up()
        error = self.failureResultOf(ready, GrpcError).value
        self.assertIn("HTTP/1", error.status.message)
        stage = Stage()
        stage.transport.hang_up()
        self.failureResultOf(stage.client.ready, GrpcError)
        stage = Stage()
        stage.pump()
        self.assertIs(self.successResultOf(stage.client.ready), stage.client)


class BackpressureTests(SynchronousTestCase):
    """A transport that has enough is given no more."""

    def test_paused(self) -> None:
        """Bytes stay unsent until the transport has room again."""
        stage = Stage({SettingCodes.INITIAL_WINDOW_SIZE: 1 << 22})
        stage.pump()
        stage.server.increment_flow_control_window(1 << 22)
        stage.pump()
        receiver = Receiver()
        stream = stage.open(receiver)
        stage.pump()
        stage.client.pauseProducing()
        stream.write(b"x" * 2_000_000)
        self.assertEqual(stage.transport.value(), b"")
        self.assertEqual(stream.unsent, 2_000_000)
        self.assertTrue(stream.full)
        stage.client.resumeProducing()
        self.assertEqual((stream.unsent, receiver.drains), (0, 1))
        stage.pump()
        self.assertEqual(len(stage.data[1]), 2_000_000)

    def test_pauses_within(self) -> None:
        """What is handed over after the transport has enough is bounded."""
        stage = Stage({SettingCodes.INITIAL_WINDOW_SIZE: 1 << 24})
        stage.pump()
        stage.server.increment_flow_control_window(1 << 24)
        stage.pump()
        transport = stage.transport
        plain = transport.write

        def write(data: bytes) -> None:
            plain(data)
            if len(transport.value()) > 100_000:
                stage.client.pauseProducing()

        transport.write = write  # type: ignore[method-assign]
        stream = stage.open(Receiver())
        stream.write(b"x" * 10_000_000)
        self.assertTrue(len(transport.value()) < 1_000_000)
        while stream.unsent:
            stage.pump()
            stage.client.resumeProducing()
        stage.pump()
        self.assertEqual(len(stage.data[1]), 10_000_000)

    def test_questions_without_reading(self) -> None:
        """A server that asks and asks and does not read the answers is left."""
        stage = Stage()
        stage.pump()
        stage.client.pauseProducing()
        questions = PingFrame(0, b"12345678").serialize() * 3000
        for _ in range(40):
            stage.client.dataReceived(questions)
        self.assertTrue(stage.hung_up)
        self.assertTrue(len(stage.transport.value()) < 1 << 21)
        self.assertEqual(getattr(stage.goodbye(), "error_code", None), 0xB)


class SilenceTests(SynchronousTestCase):
    """Servers that are gone without a word."""

    def test_asked_and_gone(self) -> None:
        """A silent server is asked, and left where it does not answer."""
        stage = Stage(keep_alive=KeepAlive(20, 10))
        stage.pump()
        receiver = Receiver()
        stage.open(receiver)
        stage.pump()
        stage.clock.advance(19)
        self.assertEqual(stage.transport.value(), b"")
        stage.clock.advance(1)
        self.assertEqual([type(one) for one in frames(stage.transport.value())], [PingFrame])
        stage.clock.advance(9)
        self.assertIsNone(receiver.status)
        stage.clock.advance(1)
        assert receiver.status is not None
        self.assertEqual(receiver.status.code, UNAVAILABLE)
        self.assertTrue(stage.transport.aborted)
        self.assertFalse(stage.client.is_open)

    def test_answers(self) -> None:
        """A server that answers, or says anything else, is kept; it is asked only when it is silent."""
        stage = Stage(keep_alive=KeepAlive(20, 10))
        stage.pump()
        asked = 0
        for _ in range(10):
            stage.clock.advance(15)
            asked += bool(stage.transport.value())
            stage.pump()
        self.assertTrue(4 <= asked <= 6, asked)
        for _ in range(20):
            stage.raw(PingFrame(0, b"server's"))
            stage.transport.clear()
            stage.clock.advance(15)
            self.assertEqual(stage.transport.value(), b"")
        self.assertFalse(stage.hung_up)


class ViolationTests(SynchronousTestCase):
    """What a server must not send."""

    def check(self, code: int, *sent: Frame | bytes) -> None:
        """The connection ends with GOAWAY and this code."""
        stage = Stage()
        stage.pump()
        receiver = Receiver()
        stage.open(receiver)
        stage.pump()
        stage.raw(*sent)
        self.assertEqual(getattr(stage.goodbye(), "error_code", None), code, sent)
        assert receiver.status is not None
        self.assertEqual(receiver.status.code, UNAVAILABLE)
        self.assertTrue(stage.hung_up)
        stage.raw(PingFrame(0, b"anything"))

    def check_stream(self, code: int, *sent: Frame | bytes) -> None:
        """The stream ends with this code, the connection goes on."""
        stage = Stage()
        stage.pump()
        receiver = Receiver()
        stage.open(receiver)
        stage.pump()
        stage.raw(*sent)
        assert receiver.status is not None
        self.assertEqual(receiver.status.code, INTERNAL)
        resets = [one for one in frames(stage.transport.value()) if isinstance(one, RstStreamFrame)]
        self.assertEqual([(one.stream_id, one.error_code) for one in resets], [(1, code)])
        self.assertFalse(stage.hung_up)
        self.assertTrue(stage.client.is_open)

    def test_connection(self) -> None:
        """Things that end the connection."""
        block = Stage().server.encoder.encode(RESPONSE)
        whole = ("END_HEADERS",)
        self.check(1, DataFrame(0x7, b"x"))
        self.check(1, HeadersFrame(2, block, flags=whole))
        self.check(1, HeadersFrame(3, block, flags=whole))
        self.check(1, b"\0\0\1\0\0\0\0\0\0x")
        self.check(1, HeadersFrame(1, block), PingFrame(0, b"12345678"))
        self.check(1, HeadersFrame(1, block), DataFrame(1, b"x"))
        self.check(1, HeadersFrame(1, block), b"\0\0\0\x77\0\0\0\0\1")
        self.check(1, HeadersFrame(1, block), ContinuationFrame(3, b""))
        self.check(1, ContinuationFrame(1, block, flags=whole))
        self.check(1, PushPromiseFrame(1, 2, block, flags=whole))
        self.check(1, WindowUpdateFrame(0, 0))
        self.check(1, WindowUpdateFrame(9, 1))
        self.check(1, RstStreamFrame(9, 1))
        self.check(1, SettingsFrame(0, {5: 100}))
        self.check(1, b"\0\0\4\3\0\0\0\0\0\0\0\0\0")
        self.check(3, SettingsFrame(0, {4: 1 << 31}))
        self.check(3, WindowUpdateFrame(1, 0x7FFF0000), SettingsFrame(0, {4: 0x7FFFFFFF}))
        self.check(6, b"\0\0\3\4\0\0\0\0\0abc")
        self.check(6, b"\0\0\7\6\0\0\0\0\0abcdefg")
        self.check(6, b"\0\0\3\x08\0\0\0\0\0abc")
        self.check(6, b"\0\0\3\3\0\0\0\0\1abc")
        self.check(6, b"\x02\0\0\0\0\0\0\0\1")
        self.check(9, HeadersFrame(1, b"\xff\xff\xff\xff", flags=whole))
        self.check(9, HeadersFrame(1, b"\x00\x7fabc", flags=whole))
        self.check(0xB, HeadersFrame(1, b""), *[ContinuationFrame(1, b"")] * 100)
        self.check(0xB, HeadersFrame(1, b"a" * 16000), *[ContinuationFrame(1, b"a" * 16000)] * 3)

    def test_too_much_for_the_connection(self) -> None:
        """Bytes beyond the connection's window, on streams that are held."""
        stage = Stage()
        stage.pump()
        receiver = Receiver()
        stage.open(receiver)
        stage.pump()
        stage.raw(HeadersFrame(1, stage.server.encoder.encode(RESPONSE), flags=("END_HEADERS",)))
        stage.raw(DataFrame(1, b"x" * 50_000).serialize() * 400)
        self.assertEqual(getattr(stage.goodbye(), "error_code", None), 3)

    def test_stream(self) -> None:
        """Things that end a stream only."""
        encode = Stage().server.encoder.encode
        whole, end = ("END_HEADERS",), ("END_HEADERS", "END_STREAM")
        self.check_stream(1, DataFrame(1, b"x"))
        self.check_stream(1, WindowUpdateFrame(1, 0))
        self.check_stream(1, HeadersFrame(1, encode([("grpc-status", "0")]), flags=whole))
        self.check_stream(1, HeadersFrame(1, encode([(":status", "2x0")]), flags=whole))
        self.check_stream(1, HeadersFrame(1, encode([(":status", "100")]), flags=end))
        good = HeadersFrame(1, b"\x88", flags=whole)
        self.check_stream(1, good, HeadersFrame(1, b"\x88", flags=whole))
        self.check_stream(1, good, HeadersFrame(1, b"\x88", flags=end))

    def test_padding(self) -> None:
        """More padding than frame."""
        good = HeadersFrame(1, b"\x88", flags=("END_HEADERS",))
        self.check(1, good, b"\0\0\3\0\x08\0\0\0\1\x03ab")
        self.check(1, good, b"\0\0\0\0\x08\0\0\0\1")
        self.check(1, b"\0\0\3\1\x0c\0\0\0\1\x03ab")

    def test_settings_first(self) -> None:
        """A server that does not begin with its settings."""
        for sent in (PingFrame(0, b"12345678"), SettingsFrame(0, flags=("ACK",)), DataFrame(1, b"x")):
            stage = Stage()
            stage.raw(sent)
            self.assertEqual(getattr(stage.goodbye(), "error_code", None), 1)
            stage.transport.hang_up()
            self.failureResultOf(stage.client.ready, GrpcError)

    def test_ignored(self) -> None:
        """What one may send: frames of unknown kinds, priorities, interim answers, frames of streams that ended."""
        stage = Stage()
        stage.pump()
        receiver = Receiver()
        stage.open(receiver)
        stage.pump()
        stage.raw(
            b"\0\0\3\x77\0\0\0\0\1abc",
            PriorityFrame(1, 0, 3),
            HeadersFrame(1, stage.server.encoder.encode([(":status", "103")]), flags=("END_HEADERS",)),
            SettingsFrame(0, {0x77: 1}),
            HeadersFrame(1, b"\x88", flags=("END_HEADERS",)),
        )
        self.assertTrue(stage.client.is_open)
        stage.raw(RstStreamFrame(1, 0x2))
        assert receiver.status is not None
        self.assertEqual(receiver.status.code, INTERNAL)
        stage.raw(DataFrame(1, b"x"), WindowUpdateFrame(1, 5), RstStreamFrame(1, 0))
        stage.raw(HeadersFrame(1, b"\x88", flags=("END_HEADERS",)))
        self.assertTrue(stage.client.is_open)
