"""A gRPC connection over a Twisted transport: bytes both ways, backpressure, TLS, silence found out, the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet import tcp
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IDelayedCall,
    IHandshakeListener,
    IPushProducer,
    IReactorTime,
    ITCPTransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from kgw.engine.seaweed.h2.connection import Connection
from kgw.engine.seaweed.h2.framing import frame
from kgw.engine.seaweed.h2.grpc import GrpcStream, Target
from kgw.engine.seaweed.h2.sending_guard import guard
from kgw.engine.seaweed.h2.status import RESOURCE_EXHAUSTED, UNAVAILABLE, GrpcError, GrpcStatus
from kgw.engine.seaweed.h2.unary import Unary
from kgw.engine.seaweed.h2.violation import PROTOCOL_ERROR

#: The largest message taken from a server unless said otherwise, in bytes.
MAX_MESSAGE = 128 << 20

#: Streams that may wait for the server to allow them.
MAX_WAITING = 10_000

#: What the transport is handed at a time, and how much it may hold before it makes us wait, in bytes.
_PIECE = 256 * 1024

#: How long a connection may take to get rid of its goodbye, in seconds. Only that is still to be sent; over TLS many
#: servers never say theirs, which is otherwise waited for.
_CLOSE_SECONDS = 1.0


class KeepAlive:
    """
    How a silent server is found out.

    @ivar idle_s: nothing heard for so long, and it is asked by PING. Servers written in Go close connections on which
        they are asked too often while they have nothing to say: SeaweedFS 4.48 at the fourth PING where they come every
        19 s, and not where they come every 28 s.
    @ivar timeout_s: nothing heard for so long after that, and the connection is lost.
    """

    def __init__(self, idle_s: float = 30.0, timeout_s: float = 10.0) -> None:
        self.idle_s = idle_s
        self.timeout_s = timeout_s


@implementer(IPushProducer, IHandshakeListener)
class GrpcClient(Protocol):
    """
    The C{GrpcConnection} over a transport, TCP or TLS.

    @ivar ready: fires with this when the server's settings came; fails with L{GrpcError}.
    """

    def __init__(
        self,
        clock: IReactorTime,
        authority: bytes,
        secure: bool = False,
        keep_alive: KeepAlive | None = None,
        max_message: int = MAX_MESSAGE,
        may_send: Callable[[], bool] | None = None,
    ) -> None:
        """
        @param may_send: asked whenever bytes are about to go to the socket; where it says no, none do any more.
        """
        self.ready: Deferred[GrpcClient] = Deferred(self._give_up)
        self._clock = clock
        self._secure = secure
        self._keep_alive = keep_alive or KeepAlive()
        self._may_send = may_send
        self._connection = Connection(self._ponged)
        self._target = Target(
            self._connection, clock, self._flush, self._settle, authority, b"https" if secure else b"http", max_message
        )
        self._corked = True  # until there is a transport
        self._paused = False
        self._flushing = False
        self._gone = False
        self._closing = False
        self._settled = False
        self._heard = 0.0
        #: Something came since bytes last went past the transport's buffer.
        self._answered = True
        self._timer: IDelayedCall | None = None
        self._lost_waiters: list[Deferred[GrpcStatus]] = []
        self._gone_waiters: list[Deferred[None]] = []

    # --- kgw.engine.seaweed.h2.client.GrpcConnection

    @property
    def is_open(self) -> bool:
        """Whether calls can be made on it."""
        return self._connection.draining is None

    def open(
        self,
        path: bytes,
        receiver: Any,
        timeout_s: float | None = None,
        metadata: Sequence[tuple[bytes, bytes]] = (),
        max_message: int | None = None,
    ) -> GrpcStream:
        """See C{GrpcConnection.open}."""
        reason = self._connection.draining
        if reason is not None:
            raise GrpcError(GrpcStatus(UNAVAILABLE, reason), True)
        if self._connection.waiting >= MAX_WAITING:
            raise GrpcError(GrpcStatus(RESOURCE_EXHAUSTED, "too many calls wait for the server"), True)
        target = self._target if max_message is None else self._target._replace(max_message=max_message)
        stream = GrpcStream(target, path, receiver, timeout_s, metadata)
        self._flush()
        return stream

    def unary(
        self, path: bytes, request: bytes, timeout_s: float | None = None, metadata: Sequence[tuple[bytes, bytes]] = ()
    ) -> Deferred[bytes]:
        """See C{GrpcConnection.unary}."""
        call = Unary()
        corked, self._corked = self._corked, True
        try:
            call.stream = self.open(path, call, timeout_s, metadata)
            call.stream.write(frame(request))
            call.stream.finish()
        except GrpcError as error:
            call.answer.errback(error)
        finally:
            self._corked = corked
        self._flush()
        return call.answer

    def lost(self) -> Deferred[GrpcStatus]:
        """See C{GrpcConnection.lost}."""
        waiter: Deferred[GrpcStatus] = Deferred()
        self._lost_waiters.append(waiter)
        self._tell_lost()
        return waiter

    def close(self) -> Deferred[None]:
        """See C{GrpcConnection.close}."""
        waiter: Deferred[None] = Deferred()
        if self._gone or self.transport is None:
            waiter.callback(None)
            return waiter
        self._gone_waiters.append(waiter)
        self._connection.close("the connection was closed here")
        self._settle()
        return waiter

    # --- the transport

    def connectionMade(self) -> None:
        """Begin, where there is no TLS to be agreed on before."""
        transport: Any = self.transport
        if ITCPTransport.providedBy(transport):
            transport.setTcpNoDelay(True)
            transport.setTcpKeepAlive(True)
        if isinstance(transport, tcp.Connection):
            # larger reads and writes; Twisted's own 64 KiB make twice the system calls
            transport.bufferSize = _PIECE
        if self._may_send is not None:
            guard(transport, self._may_send)
        transport.registerProducer(self, True)
        self._heard = self._clock.seconds()
        self._timer = self._clock.callLater(self._keep_alive.idle_s, self._check)
        if not self._secure:
            self._begin()

    def handshakeCompleted(self) -> None:
        """TLS is agreed on; so must be HTTP/2."""
        transport: Any = self.transport
        if transport.negotiatedProtocol == b"h2":
            self._begin()
        else:
            self._connection.close("the server's TLS does not offer HTTP/2 (ALPN)", PROTOCOL_ERROR)
            self._settle()

    def dataReceived(self, data: bytes) -> None:
        """Obey what came; what is to be sent for it goes out in one piece."""
        if self._gone or self._closing:
            return
        self._heard = self._clock.seconds()
        self._answered = True
        self._corked = True
        try:
            self._connection.receive(data)
        finally:
            self._corked = False
        self._settle()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """All calls end."""
        self._gone = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._connection.lost(f"the connection was lost: {reason.getErrorMessage()}")
        self._tell_ready()
        self._tell_lost()
        waiters, self._gone_waiters = self._gone_waiters, []
        for waiter in waiters:
            waiter.callback(None)

    def pauseProducing(self) -> None:
        """The transport has enough."""
        self._paused = True

    def resumeProducing(self) -> None:
        """The transport has room."""
        self._paused = False
        self._flush()

    def stopProducing(self) -> None:
        """The transport is gone; L{connectionLost} follows."""
        self._paused = True

    # --- within

    def _begin(self) -> None:
        self._corked = False
        self._flush()

    def _flush(self) -> None:
        """Hand on what can be sent, and tell whose bytes went; not from within itself."""
        if self._corked or self._paused or self._flushing or self._gone or self._closing:
            return
        transport: Any = self.transport
        self._flushing = True
        try:
            while not self._paused:
                out = self._connection.take(_PIECE)
                if not out:
                    break
                data = b"".join(out)
                if self._answered:
                    data = self._send_now(transport, data)
                if data:
                    transport.write(data)
                for stream in self._connection.take_drained():
                    if stream.over:
                        stream.over = False
                        stream.events.drained()
        finally:
            self._flushing = False

    def _send_now(self, transport: Any, data: bytes) -> bytes:
        """
        Write to the socket at once; what comes before the next answer is collected by the transport.

        Twisted would write in the reactor's next turn, which is late for a record that is waited for, and no loss while
        many are under way. An error of the socket is not reported here: Twisted meets it again.

        @return: what is left.
        """
        if not isinstance(transport, tcp.Connection) or transport.TLS:
            return data
        # bytes in Twisted's buffers were to be sent before these
        if transport.dataBuffer or transport._tempDataBuffer:
            return data
        if self._may_send is not None and not self._may_send():
            self._abort()
            return b""
        self._answered = False
        try:
            return data[transport.socket.send(data) :]
        except OSError:
            return data

    def _settle(self) -> None:
        """See what the last events made of the connection."""
        connection = self._connection
        self._flush()
        if connection.settled and not self._settled:
            self._settled = True
            if not connection.closed:
                self._tell_ready()
        if connection.draining is not None:
            if not connection.streams and not self._gone and not self._closing:
                connection.close("every call is answered")
                self._hang_up()
            self._tell_lost()

    def _hang_up(self) -> None:
        """Send the goodbye and close; waits for a peer that does not read, but not for long."""
        self._closing = True
        transport: Any = self.transport
        if transport is None:
            return
        transport.write(b"".join(self._connection.take(0)))
        transport.unregisterProducer()
        transport.loseConnection()
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = self._clock.callLater(_CLOSE_SECONDS, transport.abortConnection)

    def _tell_ready(self) -> None:
        if self.ready.called:
            return
        if self._gone or self._connection.closed:
            self.ready.errback(GrpcError(GrpcStatus(UNAVAILABLE, self._connection.draining or "closed"), True))
        else:
            self.ready.callback(self)

    def _tell_lost(self) -> None:
        reason = self._connection.draining
        if reason is not None:
            waiters, self._lost_waiters = self._lost_waiters, []
            for waiter in waiters:
                waiter.callback(GrpcStatus(UNAVAILABLE, reason))

    def _give_up(self, ready: Deferred[GrpcClient]) -> None:
        """Whoever waits for L{ready} does not any more."""
        self._connection.close("given up")
        self._abort()

    def _abort(self) -> None:
        transport: Any = self.transport
        if transport is not None and not self._gone:
            transport.abortConnection()

    def _check(self) -> None:
        """See whether the server was heard of."""
        limits = self._keep_alive
        silent = self._clock.seconds() - self._heard
        if silent < limits.idle_s:
            self._timer = self._clock.callLater(limits.idle_s - silent, self._check)
            return
        self._connection.ping(b"kgw-ping")
        self._flush()
        self._timer = self._clock.callLater(limits.timeout_s, self._check_answer, self._heard)

    def _check_answer(self, heard: float) -> None:
        """Whatever came since the PING shows that somebody is there."""
        if self._heard != heard:
            self._check()
            return
        self._connection.lost(f"the server was silent for {self._keep_alive.idle_s + self._keep_alive.timeout_s:.0f} s")
        self._tell_lost()
        self._abort()

    def _ponged(self, data: bytes) -> None:
        """Bytes came, which is all that counts."""
