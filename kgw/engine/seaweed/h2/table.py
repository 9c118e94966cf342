"""The streams of one HTTP/2 connection: which are open, which wait to be, and their numbers."""

from __future__ import annotations

from collections import deque

from kgw.engine.seaweed.h2.stream import Stream
from kgw.engine.seaweed.h2.violation import PROTOCOL_ERROR, Violation

_LAST_ID = (1 << 31) - 1


class Streams:
    """
    All streams of a connection that are not over.

    @ivar open: those the peer knows, by number.
    @ivar most: how many the peer allows at a time.
    """

    def __init__(self) -> None:
        self.open: dict[int, Stream] = {}
        self.most = 1 << 30
        self._waiting: deque[Stream] = deque()
        self._next_id = 1

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    @property
    def exhausted(self) -> bool:
        """Whether there are no more numbers."""
        return self._next_id > _LAST_ID

    def check_past(self, stream_id: int) -> None:
        """
        A stream that is not open must be one that was.

        @raise Violation: it was never opened.
        """
        if not stream_id & 1 or stream_id >= self._next_id:
            raise Violation(PROTOCOL_ERROR, f"a frame on stream {stream_id}, which was never opened")

    def wait(self, stream: Stream) -> None:
        """Have the stream wait for its turn."""
        self._waiting.append(stream)

    def next(self) -> Stream | None:
        """The next stream that can be opened now, with its number."""
        if not self._waiting or len(self.open) >= self.most or self.exhausted:
            return None
        stream = self._waiting.popleft()
        stream.id = self._next_id
        self._next_id += 2
        self.open[stream.id] = stream
        return stream

    def remove(self, stream: Stream) -> None:
        """The stream is over."""
        if stream.id:
            self.open.pop(stream.id, None)
        elif stream in self._waiting:
            self._waiting.remove(stream)

    def above(self, last: int) -> list[Stream]:
        """The streams with numbers above C{last}, and all that wait."""
        return [stream for stream in self.open.values() if stream.id > last] + list(self._waiting)
