"""One HTTP/2 stream as its connection sees it: its windows and what is to be sent on it."""

from __future__ import annotations

from collections import deque
from typing import Protocol

from kgw.engine.seaweed.h2.blocks import Headers

#: How much the peer may send on a stream, and on the connection, before it must wait for us, in bytes.
STREAM_WINDOW = 4 << 20
CONNECTION_WINDOW = 16 << 20

#: A writer that sees more than this unsent on its stream should wait for C{drained}, in bytes.
HIGH_MARK = 1 << 20

#: C{drained} is called when no more than this is unsent, after it was more, in bytes.
LOW_MARK = 256 << 10


class StreamEvents(Protocol):
    """
    What happens to a stream. After L{reset}, L{broken}, L{lost}, L{end} or L{headers} with C{end} nothing more does.
    """

    def request(self) -> Headers:
        """The stream is being opened now; what are its headers?"""

    def headers(self, headers: Headers, end: bool) -> None:
        """The answer's headers; a second time: its trailers, C{end} is set then."""

    def body(self, data: bytes) -> None:
        """Bytes of the answer."""

    def end(self) -> None:
        """The answer is complete and has no trailers."""

    def drained(self) -> None:
        """What is unsent fell to the low mark."""

    def reset(self, code: int) -> None:
        """The peer reset the stream with this HTTP/2 error code."""

    def broken(self, reason: str) -> None:
        """The peer broke the rules on this stream; it was reset."""

    def lost(self, reason: str, unprocessed: bool) -> None:
        """The connection ended, or will without having looked at this stream: C{unprocessed}."""


class Stream:
    """
    A stream's state.

    @ivar id: 0 until it is opened.
    @ivar window: bytes the peer lets us send; may be negative.
    @ivar unsent: bytes written and not taken for sending.
    @ivar pending: these bytes.
    @ivar over: L{unsent} was above the low mark and C{drained} was not called since.
    @ivar finishing: nothing more will be written.
    @ivar ready: waits for its turn to send.
    @ivar answered: the answer's headers came.
    @ivar receive_window: bytes we still let the peer send.
    @ivar owed: bytes received whose room was not given back.
    @ivar held: no room is given back.
    """

    __slots__ = (
        "answered",
        "closed",
        "events",
        "finishing",
        "held",
        "id",
        "over",
        "owed",
        "pending",
        "ready",
        "receive_window",
        "unsent",
        "window",
    )

    def __init__(self, events: StreamEvents) -> None:
        self.id = 0
        self.events = events
        self.window = 0
        self.unsent = 0
        self.pending: deque[bytes | memoryview] = deque()
        self.over = False
        self.finishing = False
        self.ready = False
        self.answered = False
        self.closed = False
        self.receive_window = STREAM_WINDOW
        self.owed = 0
        self.held = False
