"""What the publishers of all partitions share: connections, the bound on what is unflushed, word of log files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IReactorTime

from kgw.engine.seaweed.broker import Broker
from kgw.engine.seaweed.codec import RecordCodec
from kgw.engine.seaweed.connections import Connections
from kgw.engine.seaweed.discovery import Discovery
from kgw.engine.seaweed.filer import Filer
from kgw.engine.seaweed.flushes import Flushes
from kgw.engine.seaweed.h2.client import GrpcConnection, connect
from kgw.engine.seaweed.h2.security import Security
from kgw.engine.seaweed.interruptions import Interruptions
from kgw.engine.seaweed.layout import Place
from kgw.engine.seaweed.publisher import Owner, Publisher, opening
from kgw.engine.seaweed.unflushed import Unflushed


class Publishing:
    """Makes publishers, and has them told what of theirs is in log files."""

    def __init__(
        self,
        *,
        reactor: Any,
        clock: IReactorTime,
        timer: IReactorTime | None = None,
        discovery: Discovery,
        broker: Broker,
        filer: Filer,
        security: Security | None = None,
        unflushed_max_bytes: int = 256 << 20,
        timeout_s: float = 10.0,
        may_send: Callable[[], bool] | None = None,
    ) -> None:
        """
        @param reactor: makes connections.
        @param clock: C{seconds()} is epoch seconds; the times of records come from it.
        @param timer: measures pauses, where that is another one.
        @param unflushed_max_bytes: of batches sent and in no log file (C{kgw.seaweedmq.unflushed.max.bytes}).
        @param timeout_s: to make a connection.
        @param may_send: asked at the moment when something published goes to a socket; where it says no, it does not.
        """
        self._clock = clock
        self._timer = timer or clock
        self._discovery = discovery
        self._broker = broker

        def to_broker(address: str) -> Deferred[GrpcConnection]:
            return connect(reactor, address, security, timeout_s, may_send=may_send)

        def to_filer(address: str) -> Deferred[GrpcConnection]:
            return connect(reactor, address, security, timeout_s)

        self._connections = Connections(to_broker)
        self._listening = Connections(to_filer)
        self._unflushed = Unflushed(unflushed_max_bytes)
        self._interruptions = Interruptions(self._timer.seconds)
        self._flushes = Flushes(self._listening, discovery.filer_address, filer, self._timer)

    def start(self) -> None:
        """Listen for word of log files; after L{stop} again."""
        self._connections.start()
        self._listening.start()
        self._flushes.start()

    def stop(self) -> Deferred[None]:
        """Close all connections; fires when they are gone."""
        self._flushes.stop()
        stopped: Deferred[Any] = gatherResults([self._connections.stop(), self._listening.stop()])
        return stopped.addCallback(lambda _: None)

    def measure(self) -> dict[str, float]:
        """Numbers for operators, by the names of their metrics."""
        return {
            "kgw_partitions_offline": self._interruptions.partitions,
            "kgw_seaweedmq_unflushed_bytes": self._unflushed.used,
            "kgw_seaweedmq_waiting_bytes": self._unflushed.waiting,
            "kgw_seaweedmq_interruptions_total": self._interruptions.outages,
            "kgw_seaweedmq_publish_retries_total": self._interruptions.retries,
            "kgw_seaweedmq_connections_total": self._connections.made + self._listening.made,
        }

    def publisher(self, name: str, place: Place, owner: Owner) -> Publisher:
        """
        A publisher to one partition, not started.

        @param name: of the partition, for people.
        """
        publisher = Publisher(
            name,
            opening(place.engine_topic, place.range),
            owner,
            RecordCodec(),
            self._unflushed,
            self._connections,
            _Leader(self._discovery),
            self._timer,
            self._clock.seconds,
            self._interruptions,
        )
        self._flushes.watch(place.directory, publisher)
        return publisher

    def forget(self, place: Place) -> None:
        """Nothing is published there any more."""
        self._flushes.unwatch(place.directory)


class _Leader:
    """Finds the broker for one publisher; one that comes to the wrong broker is told the right one."""

    def __init__(self, discovery: Discovery) -> None:
        self._discovery = discovery
        self._asked = False

    def __call__(self) -> Deferred[str]:
        """
        Fires with its address, once it can be asked.

        Who comes again has lost a stream: the broker may have been started again, however quickly, and has to be
        looked at before anyone touches it.
        """
        discovery = self._discovery
        found: Deferred[Any] = discovery.suspect() if self._asked else discovery.ready()
        self._asked = True
        return found.addCallback(lambda _: discovery.broker_address())
