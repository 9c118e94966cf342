"""A call with one message each way, as a Deferred."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from zope.interface import implementer

from kgw.engine.seaweed.h2.framing import PREFIX_BYTES
from kgw.engine.seaweed.h2.grpc import GrpcStream, IGrpcReceiver
from kgw.engine.seaweed.h2.status import INTERNAL, OK, GrpcError, GrpcStatus


@implementer(IGrpcReceiver)
class Unary:
    """
    Waits for the one message of an answer.

    @ivar stream: the call, once it was opened.
    @ivar answer: fires with the message; fails with L{GrpcError}.
    """

    def __init__(self) -> None:
        self.stream: GrpcStream | None = None
        self.answer: Deferred[bytes] = Deferred(self._cancel)
        self._message: bytes | None = None

    def received(self, data: bytes) -> None:
        """The answer, which counts when the call ended well."""
        if self._message is not None or len(data) != PREFIX_BYTES + int.from_bytes(data[1:5], "big"):
            self._fail(GrpcStatus(INTERNAL, "more than one message in answer to a single call"))
            if self.stream is not None:
                self.stream.cancel()
        else:
            self._message = data[PREFIX_BYTES:]

    def drained(self) -> None:
        """There is nothing more to send."""

    def ended(self, status: GrpcStatus) -> None:
        """The call is over."""
        if self.answer.called:
            return
        if status.code != OK:
            self._fail(status)
        elif self._message is None:
            self._fail(GrpcStatus(INTERNAL, "no message in answer to a single call"))
        else:
            self.answer.callback(self._message)

    def _fail(self, status: GrpcStatus) -> None:
        if not self.answer.called:
            self.answer.errback(GrpcError(status, self.stream is not None and self.stream.unprocessed))

    def _cancel(self, answer: Deferred[bytes]) -> None:
        """The answer is not wanted; L{ended} is told C{CANCELLED}."""
        if self.stream is not None:
            self.stream.cancel()
