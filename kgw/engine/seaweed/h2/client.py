"""gRPC connections on Twisted: C{connect}, streams of many small messages, single calls, and when it is over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from twisted.internet.abstract import isIPAddress
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from kgw.engine.seaweed.h2.grpc import GrpcStream
from kgw.engine.seaweed.h2.protocol import MAX_MESSAGE, GrpcClient, KeepAlive
from kgw.engine.seaweed.h2.security import Security, client_options
from kgw.engine.seaweed.h2.status import UNAVAILABLE, GrpcError, GrpcStatus


class GrpcConnection(Protocol):
    """A connection to one server, for any number of calls at a time."""

    @property
    def is_open(self) -> bool:
        """Whether calls can be made on it."""

    def open(
        self,
        path: bytes,
        receiver: Any,
        timeout_s: float | None = None,
        metadata: Sequence[tuple[bytes, bytes]] = (),
        max_message: int | None = None,
    ) -> GrpcStream:
        """
        Begin a call.

        @param path: C{b"/package.Service/Method"}.
        @param receiver: an L{IGrpcReceiver}.
        @param timeout_s: it ends with C{DEADLINE_EXCEEDED} after so long, the server is told, too.
        @param metadata: more headers; names in lower case.
        @param max_message: the largest message taken, in bytes; by default the connection's.
        @raise GrpcError: C{UNAVAILABLE} where this is not open, C{RESOURCE_EXHAUSTED} where too many calls wait for
            the server to allow them; the receiver is told nothing then.
        """

    def unary(
        self, path: bytes, request: bytes, timeout_s: float | None = None, metadata: Sequence[tuple[bytes, bytes]] = ()
    ) -> Deferred[bytes]:
        """
        Make a call with one message each way, both without prefix.

        @return: fires with the answer; fails with L{GrpcError}. Cancelling it cancels the call.
        """

    def lost(self) -> Deferred[GrpcStatus]:
        """
        @return: fires as soon as no call can be made any more: the server says that it will close, the connection
            is lost or closed. Calls that were begun may go on where the server only said so.
        """

    def close(self) -> Deferred[None]:
        """
        End all calls with C{UNAVAILABLE} and the connection.

        @return: fires when it is gone, after a second or so at most.
        """


def split_address(address: str) -> tuple[str, int]:
    """
    Host and port of C{"host:port"} or C{"[address]:port"}.

    @raise ValueError: it is neither.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"no host:port: {address!r}")
    return host.removeprefix("[").removesuffix("]"), int(port)


def connect(
    reactor: Any,
    address: str,
    security: Security | None = None,
    timeout_s: float = 10.0,
    keep_alive: KeepAlive | None = None,
    max_message: int = MAX_MESSAGE,
    may_send: Callable[[], bool] | None = None,
) -> Deferred[GrpcConnection]:
    """
    Connect to a gRPC server.

    @param address: C{"host:port"}.
    @param security: TLS, and with what; C{None}: none.
    @param timeout_s: for all of it: looking up the name, TCP, TLS, and the first word of HTTP/2.
    @param max_message: the largest message taken on it, in bytes.
    @param may_send: asked whenever bytes are about to go to the socket; where it says no the connection is aborted, and
        nothing more is sent.
    @return: fires when the server has shown that it speaks HTTP/2; fails with L{GrpcError} C{UNAVAILABLE}. Cancelling
        it gives up.
    @raise ValueError: an address that is none.
    """
    host, port = split_address(address)
    # The alarm below is for all of it, so the endpoint's own is not to come first.
    way: IStreamClientEndpoint
    if isIPAddress(host):
        # no name to look up, which takes a thread
        way = TCP4ClientEndpoint(reactor, host, port, timeout=timeout_s + 1)
    else:
        way = HostnameEndpoint(reactor, host, port, timeout=timeout_s + 1)
    if security is not None:
        way = wrapClientTLS(client_options(host, security), way)
    client = GrpcClient(reactor, address.encode("ascii"), security is not None, keep_alive, max_message, may_send)
    result: Deferred[Any] = way.connect(Factory.forProtocol(lambda: client))
    result.addCallback(lambda _: client.ready)
    late = False

    def expired() -> None:
        nonlocal late
        late = True
        result.cancel()

    alarm = reactor.callLater(timeout_s, expired)

    def done(value: Any) -> Any:
        if alarm.active():
            alarm.cancel()
        if not isinstance(value, Failure):
            return value
        error = value.value
        if isinstance(error, GrpcError) or (isinstance(error, CancelledError) and not late):
            return value
        words = f"no answer within {timeout_s:g} s" if late else str(error) or type(error).__name__
        raise GrpcError(GrpcStatus(UNAVAILABLE, f"cannot connect to {address}: {words}"), True)

    return result.addBoth(done)


__all__ = ["GrpcConnection", "GrpcError", "GrpcStatus", "GrpcStream", "KeepAlive", "Security", "connect"]
