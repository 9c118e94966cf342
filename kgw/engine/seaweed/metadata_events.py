"""The filer's stream of what happens to entries below a folder: subscribed to, and again whenever that ends."""

from __future__ import annotations

from collections.abc import Callable
from random import SystemRandom
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from kgw.engine.seaweed.h2.grpc import IGrpcReceiver
from kgw.engine.seaweed.h2.status import GrpcError
from kgw.engine.seaweed.proto import filer_pb2
from kgw.errors import KafkaError

if TYPE_CHECKING:
    from kgw.engine.seaweed.connections import Connections
    from kgw.engine.seaweed.h2.grpc import GrpcStream
    from kgw.engine.seaweed.h2.status import GrpcStatus

SUBSCRIBE = b"/filer_pb.SeaweedFiler/SubscribeMetadata"
#: Seconds between two tries to subscribe.
_PAUSE = 1.0
#: How far back events are wanted of a filer that was not heard before, for clocks that differ.
_EARLIER_NS = 10_000_000_000

Event = filer_pb2.SubscribeMetadataResponse


@implementer(IGrpcReceiver)
class _Subscription:
    """One stream of events."""

    def __init__(self, told: Callable[[Event], None]) -> None:
        self.over: Deferred[GrpcStatus] = Deferred()
        self.stream: GrpcStream | None = None
        self._told = told

    def received(self, data: bytes) -> None:
        """Events."""
        at = 0
        try:
            while at < len(data):
                end = at + 5 + int.from_bytes(data[at + 1 : at + 5], "big")
                message = Event.FromString(data[at + 5 : end])
                at = end
                self._told(message)
                for event in message.events:
                    self._told(event)
        except DecodeError:
            if self.stream is not None:
                self.stream.cancel()

    def drained(self) -> None:
        """There is no more to write."""

    def ended(self, status: GrpcStatus) -> None:
        """The stream is over."""
        self.stream = None
        self.over.callback(status)


class MetadataEvents:
    """
    Follows what happens to the entries below a folder.

    Some events may come again, in their order, and one may never come: a filer that dies takes its newest ones with
    it, so whoever follows has to look at everything anew each time that C{subscribed} is called. What happens after
    that is in events.
    """

    _log = Logger()

    def __init__(
        self,
        connections: Connections,
        address: Callable[[], str],
        clock: IReactorTime,
        prefix: str,
        what: str,
        told: Callable[[Event], None],
        subscribed: Callable[[], None],
    ) -> None:
        """
        @param address: of the filer's gRPC port, now.
        @param clock: C{seconds()} is epoch seconds.
        @param prefix: of the paths watched.
        @param what: this is word of, for people.
        @param told: is called with each event, not from within L{start}.
        @param subscribed: is called at each beginning of a stream, before its events.
        """
        self._connections = connections
        self._address = address
        self._clock = clock
        self._prefix = prefix
        self._what = what
        self._told = told
        self._subscribed = subscribed
        self._since_ns = 0
        self._heard_from = ""
        self._id = SystemRandom().randrange(1, 1 << 31)
        self._epoch = 0
        self._subscription: _Subscription | None = None
        self._running: Deferred[None] | None = None

    def start(self) -> None:
        """Subscribe, and again whenever that ends."""
        self._heard_from = ""
        self._since_ns = int(self._clock.seconds() * 1e9)
        self._running = Deferred.fromCoroutine(self._run())
        self._running.addErrback(self._died)

    def stop(self) -> None:
        """Tell nothing more."""
        running, self._running = self._running, None
        if running is not None:
            running.cancel()
        subscription, self._subscription = self._subscription, None
        if subscription is not None and subscription.stream is not None:
            subscription.stream.cancel()

    def _died(self, failure: Failure) -> None:
        if failure.check(CancelledError) is None:
            self._log.failure("word of {what} has ended by a bug", failure, what=self._what)

    async def _run(self) -> None:
        out = False
        while True:
            try:
                address = self._address()
                connection = await self._connections.get(address)
                if address != self._heard_from:
                    # another filer has another clock
                    self._since_ns -= _EARLIER_NS
                    self._heard_from = address
                subscription = self._subscription = _Subscription(self._event)
                subscription.stream = connection.open(SUBSCRIBE, subscription)
                subscription.stream.write(self._request())
                subscription.stream.finish()
                out = False
                self._subscribed()
                status = await subscription.over
                reason = f"{status.message} (gRPC status {status.code})"
            except (KafkaError, GrpcError) as error:
                reason = str(error)
            self._subscription = None
            if not out:
                out = True
                self._log.warn("no word of {what}: {reason}; subscribing again", what=self._what, reason=reason)
            await deferLater(self._clock, _PAUSE, lambda: None)

    def _request(self) -> bytes:
        self._epoch += 1
        request: bytes = filer_pb2.SubscribeMetadataRequest(
            client_name="kgw",
            path_prefix=self._prefix,
            since_ns=self._since_ns,
            client_id=self._id,
            client_epoch=self._epoch,
        ).SerializeToString()
        return b"\0" + len(request).to_bytes(4, "big") + request

    def _event(self, event: Event) -> None:
        self._since_ns = max(self._since_ns, event.ts_ns)
        self._told(event)
