"""One gRPC call on one HTTP/2 stream: what it asks, what comes back, and how it ends, exactly once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from zope.interface import Interface

from kgw.engine.seaweed.h2.connection import Connection
from kgw.engine.seaweed.h2.framing import Deframer, Malformed
from kgw.engine.seaweed.h2.status import (
    CANCELLED,
    DEADLINE_EXCEEDED,
    INTERNAL,
    OK,
    UNAVAILABLE,
    UNKNOWN,
    GrpcStatus,
    of_http,
    of_reset,
    of_trailers,
    timeout_value,
)
from kgw.engine.seaweed.h2.stream import HIGH_MARK

if TYPE_CHECKING:
    from kgw.engine.seaweed.h2.blocks import Headers


class IGrpcReceiver(Interface):
    """Who is told what comes of a call. None of it is called before C{open} or from within C{write}."""

    def received(data: bytes) -> None:
        """One or more whole messages with their prefixes, back to back."""

    def drained() -> None:
        """What is unsent fell to the low mark, after it had been above it."""

    def ended(status: GrpcStatus) -> None:
        """
        The call is over, whichever way; called exactly once, and nothing after it. It may come from within
        C{cancel} of the stream and C{close} of the connection.
        """


class Target(NamedTuple):
    """
    What all calls of a connection have in common.

    @ivar flush: sends what can be sent.
    @ivar settle: also closes the connection if this was the last call on one that takes no more.
    @ivar max_message: the largest message taken, in bytes.
    """

    connection: Connection
    clock: IReactorTime
    flush: Callable[[], None]
    settle: Callable[[], None]
    authority: bytes
    scheme: bytes
    max_message: int


class GrpcStream:
    """
    One call. Nothing is refused while it waits for room: a writer looks at L{unsent} and stops at its own bound,
    or at L{full}, until its receiver is told C{drained}.

    @ivar status: how it ended; C{None}: it did not yet.
    @ivar unprocessed: it ended, and the server certainly never looked at it: it may be made again.
    """

    _log = Logger()

    def __init__(
        self,
        target: Target,
        path: bytes,
        receiver: Any,
        timeout_s: float | None,
        metadata: Sequence[tuple[bytes, bytes]],
    ) -> None:
        """Made by the connection. It opens, or waits until the server allows one more stream."""
        self.status: GrpcStatus | None = None
        self.unprocessed = False
        self._target = target
        self._connection = target.connection
        self._flush = target.flush
        self._path = path
        self._receiver = receiver
        self._metadata = metadata
        self._deframer = Deframer(target.max_message)
        self._answer: GrpcStatus | None = None
        self._finished = False
        self._expires_at = 0.0
        self._timer: IDelayedCall | None = None
        if timeout_s is not None:
            timeout_s = max(0.0, timeout_s)
            self._expires_at = target.clock.seconds() + timeout_s
            self._timer = target.clock.callLater(timeout_s, self._expired)
        self._stream = target.connection.open(self)

    @property
    def unsent(self) -> int:
        """Bytes written and not handed to the transport, for want of room there or in the server's windows."""
        return self._stream.unsent

    @property
    def full(self) -> bool:
        """Whether so much is unsent that nothing should be written until C{drained}."""
        return self._stream.unsent > HIGH_MARK

    @property
    def waiting(self) -> bool:
        """Whether it is not opened yet, for the server allows no more streams at a time."""
        return not self._stream.id

    def write(self, data: bytes) -> None:
        """
        Send whole messages with their prefixes, any number at once; C{data} must not change. Nothing happens where
        the call ended.

        @raise RuntimeError: after L{finish}.
        """
        if self._finished:
            raise RuntimeError("written to a gRPC stream that is finished")
        self._connection.write(self._stream, data)
        self._flush()
        self._connection.above_low_mark(self._stream)

    def finish(self) -> None:
        """There is no more to send: half-close. What is unsent still goes out."""
        self._finished = True
        self._connection.finish(self._stream)
        self._flush()

    def cancel(self) -> None:
        """End the call with C{CANCELLED}, here and at the server."""
        self._abandon(GrpcStatus(CANCELLED, "cancelled"))

    def hold(self) -> None:
        """Have the server send no more for now; what is under way, a window at most, is still received."""
        self._connection.hold(self._stream, True)

    def go_on(self) -> None:
        """The opposite of L{hold}."""
        self._connection.hold(self._stream, False)
        self._flush()

    # --- what happens to the stream: StreamEvents

    def request(self) -> Headers:
        """The headers, with the time that is left."""
        target = self._target
        headers = [
            (b":method", b"POST"),
            (b":scheme", target.scheme),
            (b":path", self._path),
            (b":authority", target.authority),
            (b"te", b"trailers"),
            (b"content-type", b"application/grpc"),
            (b"user-agent", b"kgw"),
        ]
        if self._timer is not None:
            headers.append((b"grpc-timeout", timeout_value(self._expires_at - target.clock.seconds())))
        return [*headers, *self._metadata]

    def headers(self, headers: Headers, end: bool) -> None:
        """Headers, trailers, or both in one."""
        found = dict(headers)
        if end:
            self._complete(found)
        elif found[b":status"] != b"200":
            self._abandon(of_http(found[b":status"]))
        elif not found.get(b"content-type", b"application/grpc").startswith(b"application/grpc"):
            shown = found[b"content-type"].decode("latin-1")[:64]
            self._abandon(GrpcStatus(UNKNOWN, f"the server answered with {shown}, no gRPC"))

    def body(self, data: bytes) -> None:
        """Bytes of messages."""
        try:
            whole = self._deframer.feed(data)
        except Malformed as malformed:
            self._abandon(malformed.status)
            return
        if whole:
            try:
                self._receiver.received(whole)
            except Exception:
                self._log.failure("a receiver of {path} failed; the call ends", path=self._path)
                self._abandon(GrpcStatus(INTERNAL, "the receiver failed"))

    def end(self) -> None:
        """An end without trailers."""
        self._end(GrpcStatus(INTERNAL, "the server ended the stream without a status"))

    def drained(self) -> None:
        """There is room again."""
        if self.status is None:
            try:
                self._receiver.drained()
            except Exception:
                self._log.failure("a receiver of {path} failed; the call ends", path=self._path)
                self._abandon(GrpcStatus(INTERNAL, "the receiver failed"))

    def reset(self, code: int) -> None:
        """The server gave up, or says that it never began: REFUSED_STREAM."""
        status = of_reset(code)
        if status.code == CANCELLED and self._timer is not None and self._expires_at <= self._target.clock.seconds():
            status = GrpcStatus(DEADLINE_EXCEEDED, "the time is up")
        self._end(status, status.code == UNAVAILABLE)

    def broken(self, reason: str) -> None:
        """What the server sent makes no sense."""
        self._end(GrpcStatus(INTERNAL, reason))

    def lost(self, reason: str, unprocessed: bool) -> None:
        """The connection ended, or passes this stream by."""
        self._end(GrpcStatus(UNAVAILABLE, reason), unprocessed)

    # --- the end

    def _complete(self, found: dict[bytes, bytes]) -> None:
        """The stream ended with these headers."""
        code = found.get(b"grpc-status")
        if code is not None:
            status = of_trailers(code, found.get(b"grpc-message", b""))
        elif found.get(b":status", b"200") != b"200":
            status = of_http(found[b":status"])
        else:
            status = GrpcStatus(UNKNOWN, "the server ended the stream without a status")
        if status.code == OK and self._deframer.held:
            status = GrpcStatus(INTERNAL, "the server ended the stream within a message")
        self._end(status)

    def _expired(self) -> None:
        self._abandon(GrpcStatus(DEADLINE_EXCEEDED, "the time is up"))

    def _abandon(self, status: GrpcStatus) -> None:
        """End the call from our side."""
        if self.status is None:
            unprocessed = not self._stream.id
            self._connection.reset(self._stream)
            self._end(status, unprocessed)
            self._target.settle()

    def _end(self, status: GrpcStatus, unprocessed: bool = False) -> None:
        if self.status is not None:
            return
        self.status = status
        self.unprocessed = unprocessed
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        try:
            self._receiver.ended(status)
        except Exception:
            self._log.failure("a receiver of {path} failed at its end", path=self._path)
