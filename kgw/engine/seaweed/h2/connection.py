"""The client's side of one HTTP/2 connection without input or output: bytes in, events of streams and bytes out."""

from __future__ import annotations

import struct
from collections.abc import Callable

from hyperframe.frame import (
    ContinuationFrame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PushPromiseFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from kgw.engine.seaweed.h2.blocks import MAX_HEADER_LIST, HeaderDecoder, HeaderEncoder, Headers
from kgw.engine.seaweed.h2.frames import check_first, check_trailers, increment, is_interim, parse, settings, unpadded
from kgw.engine.seaweed.h2.sending import Sending
from kgw.engine.seaweed.h2.stream import CONNECTION_WINDOW, LOW_MARK, STREAM_WINDOW, Stream, StreamEvents
from kgw.engine.seaweed.h2.table import Streams
from kgw.engine.seaweed.h2.violation import (
    CANCEL,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    NO_ERROR,
    PROTOCOL_ERROR,
    Violation,
)

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#: Length (24 bits) and type, flags, stream.
_HEADER = struct.Struct(">IBI")
_DATA, _WINDOW_UPDATE = 0, 8
_END_STREAM, _PADDED = 1, 8
#: The largest frame the peer may send; told to it.
_MAX_FRAME = 64 * 1024
_LAST_ID = (1 << 31) - 1


class Connection:
    """
    One connection. L{receive} never raises: what the peer must not send ends the stream or, with GOAWAY, all of it.

    @ivar settled: the peer's first SETTINGS came, so it speaks HTTP/2.
    @ivar draining: why no stream is opened any more; C{None}: they are.
    @ivar closed: nothing comes or goes any more but what L{take} still has.
    """

    def __init__(self, ponged: Callable[[bytes], None]) -> None:
        """
        @param ponged: called with what a L{ping} held when it was answered.
        """
        self.settled = False
        self.draining: str | None = None
        self.closed = False
        self._ponged = ponged
        self._sending = Sending()
        self._encoder = HeaderEncoder()
        self._decoder = HeaderDecoder()
        self._table = Streams()
        self._streams = self._table.open
        self._partial = b""
        self._receive_window = CONNECTION_WINDOW
        self._arrived: dict[int, list[bytes]] = {}
        ours = {
            SettingsFrame.ENABLE_PUSH: 0,
            SettingsFrame.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
            SettingsFrame.MAX_FRAME_SIZE: _MAX_FRAME,
            SettingsFrame.MAX_HEADER_LIST_SIZE: MAX_HEADER_LIST,
        }
        self._sending.control(
            _PREFACE + SettingsFrame(0, ours).serialize() + WindowUpdateFrame(0, CONNECTION_WINDOW - 65535).serialize()
        )
        #: See L{Sending}.
        self.take = self._sending.take
        self.take_drained = self._sending.take_drained

    @property
    def streams(self) -> int:
        """How many streams are open."""
        return len(self._streams)

    @property
    def waiting(self) -> int:
        """How many streams wait because the peer allows no more at a time."""
        return self._table.waiting

    # --- what we do

    def open(self, events: StreamEvents) -> Stream:
        """
        Open a stream, or have it wait until the peer allows it. Only while not L{draining}.

        C{events.request} is called when it is opened, perhaps before this returns.
        """
        stream = Stream(events)
        self._table.wait(stream)
        self._open_waiting()
        return stream

    def write(self, stream: Stream, data: bytes) -> None:
        """Send bytes on the stream; nothing happens where it is over."""
        if not stream.closed:
            self._sending.write(stream, data)

    def finish(self, stream: Stream) -> None:
        """End our side of the stream behind what was written."""
        if not stream.closed:
            self._sending.finish(stream)

    def reset(self, stream: Stream, code: int = CANCEL) -> None:
        """End the stream; its events hear nothing of it."""
        if not stream.closed:
            self._reset(stream, code)
            self._open_waiting()

    def hold(self, stream: Stream, held: bool) -> None:
        """Give the peer no more room on this stream, or again: one window of bytes may still come."""
        stream.held = held
        if not held and not stream.closed:
            self._give_back(stream)

    def ping(self, data: bytes) -> None:
        """Ask whether the peer is there; C{data} is eight bytes."""
        self._sending.control(PingFrame(0, data).serialize())

    def close(self, reason: str, code: int = NO_ERROR) -> None:
        """Say goodbye and end all streams."""
        if self.closed:
            return
        self._partial = b""
        self._sending.control(GoAwayFrame(0, 0, code, reason.encode()[:1024]).serialize())
        self.lost(reason)

    def lost(self, reason: str) -> None:
        """The connection is gone: end all streams."""
        if self.closed:
            return
        self.closed = True
        self.draining = self.draining or reason
        self._arrived.clear()
        streams = self._table.above(0)
        for stream in streams:
            self._forget(stream)
        for stream in streams:
            stream.events.lost(reason, not stream.id)

    # --- what the peer does

    def receive(self, data: bytes) -> None:
        """Obey these bytes."""
        if self.closed:
            return
        if self._partial:
            data = self._partial + data
        try:
            used = self._walk(data)
            self._partial = data[used:]
            self._deliver()
        except Violation as violation:
            try:
                self._deliver()
            except Violation:
                self._arrived.clear()
            self.close(f"HTTP/2 error of the server: {violation}", violation.code)

    def _walk(self, data: bytes) -> int:
        """Go through all whole frames; how many bytes they are."""
        position, end = 0, len(data)
        unpack = _HEADER.unpack_from
        arrived, decoder = self._arrived, self._decoder
        block = decoder.stream_id
        while end - position >= 9 and not self.closed:
            head, flags, stream_id = unpack(data, position)
            size = head >> 8
            begin = position + 9
            stop = begin + size
            # most frames: more of an answer that something came of before; counted in L{_deliver}
            if not head & 0xFF and not flags and stop <= end and size <= _MAX_FRAME and not block:
                pieces = arrived.get(stream_id)
                if pieces is not None:
                    pieces.append(data[begin:stop])
                    position = stop
                    continue
            if not self.settled:
                check_first(data)
            if size > _MAX_FRAME:
                raise Violation(FRAME_SIZE_ERROR, f"a frame of {size} bytes")
            if stop > end:
                break
            try:
                if block or head & 0xFF not in (_DATA, _WINDOW_UPDATE):
                    self._control(data[position:stop])
                    block = decoder.stream_id
                elif head & 0xFF == _DATA:
                    self._data(stream_id & _LAST_ID, flags, data[begin:stop])
                else:
                    self._grow(stream_id & _LAST_ID, data[begin:stop])
            except Violation as violation:
                if not violation.stream_id:
                    raise
                block = decoder.stream_id
                self._broken(violation)
            position = stop
        return position

    def _data(self, stream_id: int, flags: int, body: bytes) -> None:
        """Obey a DATA frame."""
        stream = self._streams.get(stream_id)
        if stream is None:
            self._table.check_past(stream_id)
            self._receive_window -= len(body)
            return
        piece = unpadded(body) if flags & _PADDED else body
        padding = len(body) - len(piece)
        self._receive_window -= padding
        stream.receive_window -= padding
        stream.owed += padding
        if not stream.answered:
            self._receive_window -= len(piece)
            raise Violation(PROTOCOL_ERROR, "DATA before HEADERS", stream_id)
        self._arrived.setdefault(stream_id, []).append(piece)
        if flags & _END_STREAM:
            self._deliver()
            if not stream.closed:
                self._over(stream)
                stream.events.end()
                self._open_waiting()

    def _control(self, data: bytes) -> None:
        """Obey a frame of one of the rarer kinds."""
        if self._decoder.stream_id and data[3] != ContinuationFrame.type:
            raise Violation(PROTOCOL_ERROR, "another frame within a header block")
        frame = parse(data)
        if isinstance(frame, HeadersFrame):
            self._table.check_past(frame.stream_id)
            block = self._decoder.begin(frame)
            if block is not None:
                self._headers(frame.stream_id, *block)
        elif isinstance(frame, ContinuationFrame):
            block = self._decoder.go_on(frame)
            if block is not None:
                self._headers(frame.stream_id, *block)
        elif isinstance(frame, SettingsFrame):
            if "ACK" not in frame.flags:
                self.settled = True
                for name, value in settings(data):
                    self._set(name, value)
                self._sending.answer(SettingsFrame(0, flags=("ACK",)).serialize())
                self._open_waiting()
        elif isinstance(frame, PingFrame):
            if "ACK" in frame.flags:
                self._ponged(frame.opaque_data)
            else:
                self._sending.answer(PingFrame(0, frame.opaque_data, flags=("ACK",)).serialize())
        elif isinstance(frame, RstStreamFrame):
            self._table.check_past(frame.stream_id)
            stream = self._streams.get(frame.stream_id)
            if stream is not None:
                self._deliver()
                if not stream.closed:
                    self._forget(stream)
                    stream.events.reset(frame.error_code)
                    self._open_waiting()
        elif isinstance(frame, GoAwayFrame):
            self._goaway(frame)
        elif isinstance(frame, PushPromiseFrame):
            raise Violation(PROTOCOL_ERROR, "PUSH_PROMISE, though push is off")

    def _set(self, name: int, value: int) -> None:
        """Obey one of the peer's settings."""
        if name == SettingsFrame.HEADER_TABLE_SIZE:
            self._encoder.allow(value)
        elif name == SettingsFrame.MAX_CONCURRENT_STREAMS:
            self._table.most = value
        elif name == SettingsFrame.MAX_FRAME_SIZE:
            self._sending.allow_frames(value)
        elif name == SettingsFrame.INITIAL_WINDOW_SIZE:
            change = value - self._sending.initial_window
            self._sending.initial_window = value
            for stream in self._streams.values():
                try:
                    self._sending.grow_stream(stream, change)
                except Violation as violation:
                    raise Violation(violation.code, str(violation)) from violation

    def _grow(self, stream_id: int, body: bytes) -> None:
        """Obey WINDOW_UPDATE."""
        added = increment(body, stream_id)
        if not stream_id:
            self._sending.grow(added)
            return
        self._table.check_past(stream_id)
        stream = self._streams.get(stream_id)
        if stream is not None:
            self._sending.grow_stream(stream, added)

    def _headers(self, stream_id: int, headers: Headers, end: bool) -> None:
        """Obey a whole header block."""
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        if stream.answered:
            check_trailers(headers, end, stream_id)
        elif is_interim(headers, end, stream_id):
            return
        stream.answered = True
        self._deliver()
        if stream.closed:
            return
        if end:
            self._over(stream)
        stream.events.headers(headers, end)
        self._open_waiting()

    def _over(self, stream: Stream) -> None:
        """The answer is complete; where we are not, nobody waits for the rest."""
        if not stream.finishing or stream.unsent:
            self._reset(stream, NO_ERROR)
        else:
            self._forget(stream)

    def _broken(self, violation: Violation) -> None:
        """The peer broke the rules on one stream."""
        stream = self._streams.get(violation.stream_id)
        if stream is not None:
            self._deliver()
            if not stream.closed:
                self._reset(stream, violation.code)
                stream.events.broken(str(violation))
                self._open_waiting()

    def _goaway(self, frame: GoAwayFrame) -> None:
        """The peer takes no new streams; those above the last it names it has not looked at."""
        words = frame.additional_data.decode("utf-8", "replace")[:256]
        reason = f"the server closes the connection (HTTP/2 error code {frame.error_code})" + (words and f": {words}")
        self._deliver()
        self._pass_by(frame.last_stream_id & _LAST_ID, reason)

    # --- streams

    def _open_waiting(self) -> None:
        """Open what waits, as far as the peer allows."""
        while not self.draining:
            stream = self._table.next()
            if stream is None:
                return
            headers = stream.events.request()
            self._sending.control(self._encoder.frames(stream.id, headers, self._sending.max_frame))
            self._sending.opened(stream)
            if self._table.exhausted:
                self._pass_by(_LAST_ID, "the connection had all the streams it can have")

    def _pass_by(self, last: int, reason: str) -> None:
        """No streams are opened any more, and those above C{last} end: the peer has not looked at them."""
        self.draining = self.draining or reason
        streams = self._table.above(last)
        for stream in streams:
            self._forget(stream)
        for stream in streams:
            stream.events.lost(reason, True)

    def _forget(self, stream: Stream) -> None:
        """The stream is over on both sides."""
        stream.closed = True
        self._table.remove(stream)
        self._arrived.pop(stream.id, None)
        self._sending.drop(stream)

    def _reset(self, stream: Stream, code: int) -> None:
        """End the stream and tell the peer, where it knows of it."""
        self._forget(stream)
        if stream.id:
            self._sending.control(RstStreamFrame(stream.id, code).serialize())

    # --- what came

    def _deliver(self) -> None:
        """
        Hand on what came for each stream in one piece, and give back the room.

        @raise Violation: it was more than there was room for on the connection.
        """
        arrived = self._arrived
        while arrived:
            stream_id, pieces = arrived.popitem()
            stream = self._streams[stream_id]
            body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            size = len(body)
            self._receive_window -= size
            stream.receive_window -= size
            stream.owed += size
            if self._receive_window < 0:
                raise Violation(FLOW_CONTROL_ERROR, "more bytes than the connection's window")
            if stream.receive_window < 0:
                self._broken(Violation(FLOW_CONTROL_ERROR, "more bytes than the stream's window", stream_id))
            elif size:
                stream.events.body(body)
                if not stream.closed and not stream.held:
                    self._give_back(stream)
        if self._receive_window < CONNECTION_WINDOW // 2 and not self.closed:
            if self._receive_window < 0:
                raise Violation(FLOW_CONTROL_ERROR, "more bytes than the connection's window")
            self._sending.control(WindowUpdateFrame(0, CONNECTION_WINDOW - self._receive_window).serialize())
            self._receive_window = CONNECTION_WINDOW

    def _give_back(self, stream: Stream) -> None:
        if stream.owed >= STREAM_WINDOW // 2:
            self._sending.control(WindowUpdateFrame(stream.id, stream.owed).serialize())
            stream.receive_window += stream.owed
            stream.owed = 0

    def above_low_mark(self, stream: Stream) -> None:
        """Have C{drained} called once less is unsent on the stream, if it is above the mark now."""
        if stream.unsent > LOW_MARK:
            stream.over = True
