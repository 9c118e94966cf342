"""What an HTTP/2 connection has to send, and how much of it the peer's windows allow now, streams taking turns."""

from __future__ import annotations

import struct
from collections import deque

from kgw.engine.seaweed.h2.frames import MAX_WINDOW
from kgw.engine.seaweed.h2.stream import LOW_MARK, Stream
from kgw.engine.seaweed.h2.violation import ENHANCE_YOUR_CALM, FLOW_CONTROL_ERROR, Violation

#: Length (24 bits) and type, flags, stream.
_HEADER = struct.Struct(">IBI")
_END_STREAM = 1

#: The largest frames we make, whatever the peer allows: one stream's turn.
_FRAME_MOST = 64 * 1024

#: Bytes of answers to what the peer asks (PING, SETTINGS) that may wait while it does not read.
_MAX_ANSWERS = 1 << 20


class Sending:
    """
    The way out of one connection. Bytes of streams stay here until L{take} finds room for them.

    @ivar window: bytes the peer lets us send on the connection.
    @ivar initial_window: what streams begin with.
    @ivar max_frame: the largest frame we make.
    """

    def __init__(self) -> None:
        self.window = 65535
        self.initial_window = 65535
        self.max_frame = 16384
        self._control: list[bytes] = []
        self._answers = 0
        self._ready: deque[Stream] = deque()
        self._drained: list[Stream] = []

    def control(self, frame: bytes) -> None:
        """Send this before any bytes of streams."""
        self._control.append(frame)

    def answer(self, frame: bytes) -> None:
        """
        Send this, which the peer asked for.

        @raise Violation: it asks without reading the answers.
        """
        self._answers += len(frame)
        if self._answers > _MAX_ANSWERS:
            raise Violation(ENHANCE_YOUR_CALM, "too many frames to answer that are not read")
        self._control.append(frame)

    def opened(self, stream: Stream) -> None:
        """The stream's HEADERS are on their way; what was written to it before can follow."""
        stream.window = self.initial_window
        if stream.unsent:
            self._make_ready(stream)
        elif stream.finishing:
            self._control.append(_HEADER.pack(0, _END_STREAM, stream.id))

    def write(self, stream: Stream, data: bytes) -> None:
        """Send these bytes on the stream when there is room."""
        size = len(data)
        if not size:
            return
        stream.pending.append(data)
        stream.unsent += size
        if not stream.ready and stream.window > 0 and stream.id:
            stream.ready = True
            self._ready.append(stream)

    def finish(self, stream: Stream) -> None:
        """Nothing more will be written to the stream."""
        if stream.finishing:
            return
        stream.finishing = True
        if stream.id and not stream.unsent:
            # may be sent whatever the windows are
            self._control.append(_HEADER.pack(0, _END_STREAM, stream.id))

    def drop(self, stream: Stream) -> None:
        """The stream is over: forget its bytes."""
        stream.pending.clear()
        stream.unsent = 0
        stream.over = False

    def grow(self, increment: int) -> None:
        """
        The connection's window grows.

        @raise Violation: beyond what there may be.
        """
        self.window += increment
        if self.window > MAX_WINDOW:
            raise Violation(FLOW_CONTROL_ERROR, "the connection's window grew too large")

    def grow_stream(self, stream: Stream, increment: int) -> None:
        """
        A stream's window changes; C{increment} may be negative.

        @raise Violation: beyond what there may be; ends the stream.
        """
        stream.window += increment
        if stream.window > MAX_WINDOW:
            raise Violation(FLOW_CONTROL_ERROR, "the stream's window grew too large", stream.id)
        if stream.unsent:
            self._make_ready(stream)

    def take(self, most: int) -> list[bytes | memoryview]:
        """
        What to send now: all control frames, and about C{most} bytes of streams at most.

        While several streams have something, each gives one frame in turn.
        """
        out: list[bytes | memoryview] = []
        if self._control:
            out += self._control
            self._control = []
            self._answers = 0
        ready = self._ready
        while ready and most > 0 and self.window > 0:
            stream = ready.popleft()
            room = min(most, self.window, stream.window, stream.unsent)
            if room <= 0:
                stream.ready = False
                continue
            if ready:
                room = min(room, self.max_frame)
            self._frames(stream, room, out)
            most -= room
            if stream.unsent and stream.window > 0:
                ready.append(stream)
            else:
                stream.ready = False
            if stream.over and stream.unsent <= LOW_MARK:
                self._drained.append(stream)
        return out

    def take_drained(self) -> list[Stream]:
        """The streams that fell to the low mark since the last call."""
        drained = self._drained
        if drained:
            self._drained = []
        return drained

    def _make_ready(self, stream: Stream) -> None:
        if not stream.ready and stream.window > 0:
            stream.ready = True
            self._ready.append(stream)

    def _frames(self, stream: Stream, size: int, out: list[bytes | memoryview]) -> None:
        """Frames with the first C{size} bytes of the stream."""
        stream.window -= size
        self.window -= size
        stream.unsent -= size
        last = _END_STREAM if stream.finishing and not stream.unsent else 0
        pending, largest, stream_id = stream.pending, self.max_frame, stream.id
        while size:
            rest = size if size < largest else largest
            size -= rest
            out.append(_HEADER.pack(rest << 8, 0 if size else last, stream_id))
            while rest:
                piece = pending[0]
                length = len(piece)
                if length <= rest:
                    out.append(piece)
                    pending.popleft()
                    rest -= length
                else:
                    view = memoryview(piece)
                    out.append(view[:rest])
                    pending[0] = view[rest:]
                    rest = 0

    def allow_frames(self, size: int) -> None:
        """The peer's SETTINGS_MAX_FRAME_SIZE."""
        self.max_frame = min(size, _FRAME_MOST)
