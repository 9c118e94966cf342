"""All connections of a gateway: how many there may be, which of them works, which is idle, and how they end."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from kgw.config import Config
from kgw.net.budget import Answers, Budget, Unfinished, Waiter
from kgw.peer_log import PeerLog


@dataclass(frozen=True, slots=True)
class Limits:
    """
    What one peer, and all of them, may cost.

    @ivar request_max_bytes: the largest frame (C{socket.request.max.bytes}).
    @ivar control_max_bytes: the largest frame of an API that carries no record batches
        (C{kgw.control.request.max.bytes}).
    @ivar queued_max_bytes: requests in flight on all connections, and again frames still coming in
        (C{queued.max.request.bytes}); no limit where it is not positive.
    @ivar answers_max_bytes: answers that wait to be sent, on all connections (C{kgw.queued.max.response.bytes}); no
        limit where it is not positive.
    @ivar connection_max_bytes: requests in flight on one connection, and answers that wait for earlier ones.
    @ivar connection_max_requests: requests in flight on one connection.
    @ivar idle_max_seconds: a connection without a byte or a request for so long is closed, so is one that does
        not complete a frame in that time (C{connections.max.idle.ms}); no limit where it is not positive.
    @ivar stop_max_seconds: what a stop gives to requests in flight.
    """

    request_max_bytes: int = 100 << 20
    control_max_bytes: int = 4 << 20
    queued_max_bytes: int = -1
    answers_max_bytes: int = -1
    connection_max_bytes: int = 100 << 20
    connection_max_requests: int = 100
    idle_max_seconds: float = 600.0
    max_connections: int = (1 << 31) - 1
    max_connections_per_ip: int = (1 << 31) - 1
    stop_max_seconds: float = 4.0

    @classmethod
    def of(cls, config: Config) -> Limits:
        """What the configuration says."""
        return cls(
            request_max_bytes=config.socket_request_max_bytes,
            control_max_bytes=config.kgw_control_request_max_bytes,
            queued_max_bytes=config.queued_max_request_bytes,
            answers_max_bytes=config.kgw_queued_max_response_bytes,
            connection_max_bytes=config.kgw_connection_max_in_flight_bytes,
            connection_max_requests=config.kgw_max_in_flight_requests_per_connection,
            idle_max_seconds=config.connections_max_idle_ms / 1000,
            max_connections=config.max_connections,
            max_connections_per_ip=config.max_connections_per_ip,
            stop_max_seconds=config.kgw_shutdown_timeout_ms / 1000,
        )


class Connection(Waiter, Protocol):
    """
    A connection as L{Connections} needs it.

    @ivar ip: the peer's address, or C{""} where it has none (a UNIX socket).
    @ivar scheduled: it is in line to work; set by L{Connections} only.
    @ivar muted: it starts no requests; set by L{Connections} only.
    @ivar received: bytes that came in.
    @ivar sent: bytes that were handed on to go out.
    @ivar in_flight: requests that are not answered yet.
    @ivar listener: as are C{software_name} and C{software_version}, see L{kgw.handlers.contract.Peer}.
    """

    ip: str
    scheduled: bool
    muted: bool
    received: int
    listener: str
    software_name: str
    software_version: str

    @property
    def sent(self) -> int:
        """See above."""

    @property
    def in_flight(self) -> int:
        """See above."""

    def work(self) -> None:
        """Start requests, send answers, pause or resume reading."""

    def check(self, now: float) -> None:
        """Close where nothing has happened for too long."""

    def stop(self) -> None:
        """Start no more requests; have long polls end; close when those in flight are answered."""

    def abort(self) -> None:
        """Close now."""


class Connections:
    """
    The connections of all listeners.

    Their work is done one after the other and never inside each other, however they wake one another: a Produce
    that ends a hundred parked Fetches is no recursion, and each connection sends all that became ready at once.

    @ivar limits: what connections obey.
    @ivar budget: requests in flight on all of them.
    @ivar unfinished: frames still coming in on all of them.
    @ivar answers: what all of them hold of answers that wait to be sent.
    @ivar accepted: how many there have been.
    @ivar refused: how many were turned away for a bound on their number.
    @ivar may_connect: whether one more from an address is not too fast; C{None} where that has no bounds.
    """

    def __init__(self, limits: Limits, clock: IReactorTime, log: PeerLog) -> None:
        self.limits = limits
        self.clock = clock
        self.log = log
        self.budget = Budget(limits.queued_max_bytes)
        self.unfinished = Unfinished(limits.queued_max_bytes)
        self.answers = Answers(limits.answers_max_bytes)
        self.stopping = False
        self.may_connect: Callable[[str], bool] | None = None
        self.accepted = self.refused = 0
        self._received = self._sent = 0  # by those that are gone
        self._live: dict[Connection, None] = {}
        self._muted: dict[Connection, IDelayedCall] = {}
        self._by_ip: Counter[str] = Counter()
        self._ready: deque[Connection] = deque()
        self._working = False
        idle = limits.idle_max_seconds
        self._interval = min(max(idle / 4, 1.0), 60.0) if idle > 0 else 60.0
        self._sweep_call: IDelayedCall | None = None
        self._stopped: Deferred[None] | None = None
        self._stop_alarm: IDelayedCall | None = None

    def __len__(self) -> int:
        return len(self._live)

    def __iter__(self) -> Iterator[Connection]:
        return iter(list(self._live))

    def admit(self, ip: str) -> bool:
        """
        Whether there is room for one more connection.

        @param ip: as in L{Connection.ip}.
        """
        limits = self.limits
        if self.stopping:
            return False
        if len(self._live) >= limits.max_connections:
            self._log_refusal(ip, f"max.connections ({limits.max_connections})")
            return False
        if ip and self._by_ip[ip] >= limits.max_connections_per_ip:
            self._log_refusal(ip, f"max.connections.per.ip ({limits.max_connections_per_ip})")
            return False
        if self.may_connect is not None and not self.may_connect(ip):
            self._log_refusal(ip, "connection_creation_rate")
            return False
        return True

    def opened(self, connection: Connection) -> None:
        """C{connection} was admitted and is there."""
        self.accepted += 1
        self._live[connection] = None
        self._by_ip[connection.ip] += 1
        if self._sweep_call is None:
            self._sweep_call = self.clock.callLater(self._interval, self._sweep)

    def closed(self, connection: Connection) -> None:
        """C{connection} is gone."""
        self._received += connection.received
        self._sent += connection.sent
        del self._live[connection]
        alarm = self._muted.pop(connection, None)
        if alarm is not None:
            alarm.cancel()
        self._by_ip[connection.ip] -= 1
        if not self._by_ip[connection.ip]:
            del self._by_ip[connection.ip]
        self.budget.forget(connection)
        self.unfinished.drop(connection)
        if not self._live:
            if self._sweep_call is not None:
                self._sweep_call.cancel()
                self._sweep_call = None
            self._end_stop()

    def traffic(self) -> tuple[int, int]:
        """Bytes received and sent by all there have been."""
        received, sent = self._received, self._sent
        for connection in self._live:
            received += connection.received
            sent += connection.sent
        return received, sent

    def mute(self, connection: Connection, seconds: float) -> None:
        """Have C{connection} start no requests for so long, or longer where it was muted for longer."""
        if connection not in self._live:
            return
        alarm = self._muted.get(connection)
        if alarm is None:
            connection.muted = True
            self._muted[connection] = self.clock.callLater(seconds, self._unmute, connection)
        elif alarm.getTime() < self.clock.seconds() + seconds:
            alarm.reset(seconds)

    def _unmute(self, connection: Connection) -> None:
        del self._muted[connection]
        connection.muted = False
        connection.wake()

    def schedule(self, connection: Connection) -> None:
        """Let C{connection} work: at once, or when the one that works now is done."""
        if not connection.scheduled:
            connection.scheduled = True
            self._ready.append(connection)
        if self._working:
            return
        self._working = True
        ready = self._ready
        try:
            while ready:
                connection = ready.popleft()
                connection.scheduled = False
                try:
                    connection.work()
                except Exception:
                    self.log.failure("A connection failed; closing it")
                    connection.abort()
        finally:
            self._working = False

    def stop(self) -> Deferred[None]:
        """
        End all connections: no new requests, what is in flight is answered, long polls with what they have.

        @return: fires when the last one is gone, at the latest C{stop_max_seconds} from now.
        """
        self.stopping = True
        if not self._live:
            return succeed(None)
        done: Deferred[None] = Deferred()
        if self._stopped is None:
            self._stopped = Deferred()
            self._stop_alarm = self.clock.callLater(self.limits.stop_max_seconds, self._give_up)
            for connection in self:
                connection.stop()
        # the last one may be gone by now
        if not self._live:
            return succeed(None)
        self._stopped.chainDeferred(done)
        return done

    def _give_up(self) -> None:
        self._stop_alarm = None
        self.log.warn(
            "{count} connection(s) still have requests in flight after {seconds} s; closing them",
            count=len(self._live),
            seconds=self.limits.stop_max_seconds,
        )
        for connection in self:
            connection.abort()

    def _end_stop(self) -> None:
        if self._stop_alarm is not None:
            self._stop_alarm.cancel()
            self._stop_alarm = None
        stopped, self._stopped = self._stopped, None
        if stopped is not None:
            stopped.callback(None)

    def _sweep(self) -> None:
        self._sweep_call = self.clock.callLater(self._interval, self._sweep)
        now = self.clock.seconds()
        for connection in self:
            connection.check(now)
        stalled = self.unfinished.stalled()
        if stalled is not None and stalled in self._live:
            self.log.warn(
                "A frame that others wait for (queued.max.request.bytes is {limit}) does not get complete; closing",
                limit=self.limits.queued_max_bytes,
            )
            next(c for c in self._live if c is stalled).abort()

    def _log_refusal(self, ip: str, limit: str) -> None:
        self.refused += 1
        self.log.warn("Refused a connection from {ip}: {limit} is reached", ip=ip or "a local socket", limit=limit)
