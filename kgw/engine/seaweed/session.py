"""One publish stream: the engine's greeting, its acknowledgements, its errors, its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from zope.interface import implementer

from kgw.engine.seaweed.acks import BadAcks, StreamError, walk
from kgw.engine.seaweed.errors import EngineUnavailable, from_publish
from kgw.engine.seaweed.h2.grpc import IGrpcReceiver

if TYPE_CHECKING:
    from kgw.engine.seaweed.h2.grpc import GrpcStream
    from kgw.engine.seaweed.h2.status import GrpcStatus


@implementer(IGrpcReceiver)
class Session:
    """
    One stream.

    @ivar hello: fires when the engine has greeted.
    @ivar over: fires with the reason when the stream has ended; C{None} where it ended in order.
    @ivar worked: something was acknowledged on it.
    """

    def __init__(self, acknowledged: Callable[[list[tuple[int, int]]], None], drained: Callable[[], None]) -> None:
        """
        @param acknowledged: told which offsets were assigned, in order.
        @param drained: called when the stream has room again.
        """
        self.hello: Deferred[None] | None = Deferred()
        self.over: Deferred[Exception | None] = Deferred()
        self.stream: GrpcStream | None = None
        self.worked = False
        self.error: StreamError | None = None
        self._acknowledged = acknowledged
        self._reason: Exception | None = None
        self.drained = drained

    def received(self, data: bytes) -> None:
        """The greeting, acknowledgements, an error."""
        try:
            acks = walk(data)
        except BadAcks as error:
            self.fail(EngineUnavailable(str(error)))
            return
        if acks.hellos and self.hello is not None:
            hello, self.hello = self.hello, None
            hello.callback(None)
        if acks.runs:
            self.worked = True
            self._acknowledged(acks.runs)
        if acks.error is not None:
            self.error = acks.error
            self.fail(from_publish(acks.error.code, acks.error.message))

    def fail(self, reason: Exception) -> None:
        """Go on with another stream."""
        if self._reason is None:
            self._reason = reason
        if self.stream is not None:
            self.stream.cancel()

    def ended(self, status: GrpcStatus) -> None:
        """The stream is over."""
        self.stream = None
        reason = self._reason
        if reason is None and status.code:
            reason = EngineUnavailable(f"the stream ended: {status.message} (gRPC status {status.code})")
        if self.hello is not None:
            hello, self.hello = self.hello, None
            hello.errback(reason or EngineUnavailable("the stream ended without a greeting"))
        self.over.callback(reason)
