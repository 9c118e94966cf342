"""Where the cluster's filer and broker are, and whether they can be used: asked of the masters again and again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from kgw.engine.seaweed.addresses import Server, parse_server
from kgw.engine.seaweed.calls import Calls
from kgw.engine.seaweed.errors import EngineUnavailable
from kgw.engine.seaweed.proto import filer_pb2, master_pb2, mq_broker_pb2
from kgw.errors import KafkaError

#: Seconds between two looks while all is well, and while it is not.
POLL_S = 3.0
RETRY_S = 0.25
#: A broker that has only just found the balancer ends its process at a call about topics: it is given this long.
SETTLE_S = 1.5
#: A broker that has been there for so long needs no such care.
_GROWN_UP_S = 60.0
#: So many different reasons are told of one outage.
_REASONS = 10
#: How long one question may take.
_ASK_S = 5.0

_log = Logger("kgw.engine.seaweed")


class Engine(NamedTuple):
    """
    What of the cluster is used.

    @ivar filer: the filer.
    @ivar broker: host:port of the broker.
    @ivar incarnation: when the broker joined, in ns since the epoch by the master's clock. A broker that was started
        again has another one, always; one that went on while the master was started again has too, so another
        incarnation does not prove that anything was lost. A connection to the broker that is still open proves that
        it is the same process.
    """

    filer: Server
    broker: str
    incarnation: int


class Discovery:
    """
    Asks the masters who is there, and those who are there whether they can be used.

    The order is gentle, as a broker's process ends where it is asked about topics too early: the masters' list, the
    filer, then the broker for its balancer until it knows one, a while, and only then for its topics. What was found
    stays in use while no master answers, until somebody suspects it. A broker that is suspected, or has left the list,
    is nobody's until it was looked at or another has come: in its place may be one that has only just started, which
    must be asked nothing. It would remember for half a minute that nobody leads a partition, or end.
    """

    def __init__(self, calls: Calls, clock: IReactorTime, masters: Sequence[str]) -> None:
        """
        @param masters: host:port of HTTP, or host:port.grpcport, of at least one.
        @raise ValueError: a master's address that is none.
        """
        if not masters:
            raise ValueError("no master is named")
        self._calls = calls
        self._clock = clock
        self._masters = [parse_server(master) for master in masters]
        self._engine: Engine | None = None
        #: C{_engine} is right as far as is known; its broker may be asked about topics.
        self._usable = False
        #: A look that a caller waits for must begin after this many.
        self._begun = 0
        #: What was found by a look before this one may be wrong.
        self._believed = 0
        self._waiting: list[tuple[int, Deferred[int]]] = []
        self._listeners: list[Callable[[], None]] = []
        self._alarm: IDelayedCall | None = None
        self._looking: Deferred[Engine] | None = None
        self._running = False
        #: Why it could not be used since it could last.
        self._said: set[str] = set()

    def start(self) -> None:
        """Begin to look."""
        self._running = True
        self._look()

    def stop(self) -> None:
        """Look no more; whoever waits is told C{EngineUnavailable}."""
        self._running = False
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if self._looking is not None:
            self._looking.cancel()
        while self._waiting:
            self._waiting.pop()[1].errback(EngineUnavailable("kgw is stopping"))

    @property
    def usable(self) -> bool:
        """Whether filer and broker could be used when they were last looked at."""
        return self._usable

    @property
    def incarnation(self) -> int:
        """L{Engine.incarnation} of the broker in use; 0 where there was none yet."""
        return 0 if self._engine is None else self._engine.incarnation

    def filer_address(self) -> str:
        """Host:port of the filer's gRPC; L{EngineUnavailable} is raised where none was found yet."""
        return self._known().filer.grpc

    def filer_http(self) -> str:
        """Host:port of the filer's HTTP; as L{filer_address}."""
        return self._known().filer.http

    def broker_address(self) -> str:
        """Host:port of the broker; L{EngineUnavailable} is raised while it cannot be used."""
        broker = self._known().broker
        if not self._usable:
            raise EngineUnavailable(f"broker {broker} is not known to work")
        return broker

    def ready(self) -> Deferred[None]:
        """Fires when filer and broker can be used, at once where they could when they were last looked at."""
        if self._usable:
            return succeed(None)
        return self._wait(0).addCallback(lambda incarnation: None)

    def suspect(self) -> Deferred[int]:
        """
        Something about the engine failed: look at once; the broker cannot be used until then.

        @return: fires when filer and broker can be used, by a look that began after this call, with the incarnation;
            fails with L{EngineUnavailable} only when L{stop} is called. May be cancelled.
        """
        self._believed = self._begun + 1
        waited_for = self._wait(self._believed)
        self._usable = False
        if self._looking is None:
            self._look()
        return waited_for

    def watch(self, listener: Callable[[], None]) -> None:
        """Call C{listener} when addresses or incarnation are others and can be used."""
        self._listeners.append(listener)

    def unwatch(self, listener: Callable[[], None]) -> None:
        """Stop calling C{listener}; nothing happens where it is not watching."""
        if listener in self._listeners:
            self._listeners.remove(listener)

    def _known(self) -> Engine:
        if self._engine is None:
            raise EngineUnavailable("no filer and broker were found yet")
        return self._engine

    def _wait(self, look: int) -> Deferred[int]:
        if not self._running:
            return fail(EngineUnavailable("nobody looks for the engine now"))
        waiter: Deferred[int] = Deferred(lambda gone: self._waiting.remove(row))
        row = (look, waiter)
        self._waiting.append(row)
        return waiter

    def _look(self) -> None:
        """Begin a look; none is going on."""
        if not self._running:
            return
        if self._alarm is not None:
            if self._alarm.active():
                self._alarm.cancel()
            self._alarm = None
        self._begun += 1
        looking = self._looking = Deferred.fromCoroutine(self._find())
        looking.addCallbacks(self._found, self._failed)

    def _found(self, engine: Engine) -> None:
        self._looking = None
        before, self._engine, self._usable = self._engine, engine, self._begun >= self._believed
        if engine != before or self._said:
            self._said.clear()
            _log.info("SeaweedMQ: broker {broker}, filer {filer}", broker=engine.broker, filer=engine.filer.grpc)
        done = [row for row in self._waiting if row[0] <= self._begun]
        # the alarm stands before anyone is called, so that who asks for a look now moves it
        self._alarm = self._clock.callLater(0 if len(done) < len(self._waiting) else POLL_S, self._look)
        if engine != before:
            for listener in self._listeners[:]:
                listener()
        for row in done:
            # whoever was called may have cancelled others, or asked for a look that answered them
            if row in self._waiting:
                self._waiting.remove(row)
                row[1].callback(engine.incarnation)

    def _failed(self, failure: Failure) -> None:
        self._looking = None
        if not self._running:
            return
        self._usable = False
        self._alarm = self._clock.callLater(RETRY_S, self._look)
        if not failure.check(KafkaError):
            _log.failure("looking for SeaweedMQ", failure)
        elif str(failure.value) not in self._said and len(self._said) < _REASONS:
            # once for each reason, of which several may take turns
            self._said.add(str(failure.value))
            _log.warn("SeaweedMQ cannot be used: {reason}", reason=failure.value)

    async def _find(self) -> Engine:
        suspicious = bool(self._waiting) or not self._usable
        known = self._engine
        try:
            filers = await self._nodes("filer")
            brokers = await self._nodes("broker")
        except EngineUnavailable:
            if known is None:
                raise
            # No master answers, which hinders nobody who knows where the others are; but a broker that was started
            # again meanwhile cannot be told from the old one, so while something is amiss a master has to answer.
            if suspicious:
                raise
            return known
        filer = await self._filer(_servers(filers), known, suspicious)
        if known is not None and brokers.get(known.broker) == known.incarnation:
            if suspicious:
                await self._balancer(known.broker)
                await self._topics(known.broker)
            return known._replace(filer=filer)
        if not brokers:
            raise EngineUnavailable("the masters know no broker")
        broker = known.broker if known is not None and known.broker in brokers else min(brokers)
        self._usable = False
        await self._balancer(broker)
        if self._clock.seconds() - brokers[broker] / 1e9 < _GROWN_UP_S:
            await self._sleep(SETTLE_S)
            await self._balancer(broker)
        await self._topics(broker)
        return Engine(filer, broker, brokers[broker])

    async def _nodes(self, kind: str) -> dict[str, int]:
        """When each of a kind joined, by address; from the first master that knows any."""
        request = master_pb2.ListClusterNodesRequest(client_type=kind)
        said: EngineUnavailable | None = None
        for master in self._masters[:]:
            try:
                answer = await self._calls.unary(
                    master.grpc,
                    "/master_pb.Seaweed/ListClusterNodes",
                    request,
                    master_pb2.ListClusterNodesResponse,
                    _ASK_S,
                )
            except EngineUnavailable as failure:
                said = failure
                continue
            if answer.cluster_nodes:
                if master != self._masters[0]:
                    # only the leading master knows; it is the first to be asked from now on
                    self._masters.remove(master)
                    self._masters.insert(0, master)
                return {node.address: node.created_at_ns for node in answer.cluster_nodes}
        if said is not None:
            raise said
        return {}

    async def _filer(self, listed: list[Server], known: Engine | None, suspicious: bool) -> Server:
        """The filer in use while it is listed and answers, else the first that does."""
        if known is not None and known.filer in listed:
            if not suspicious:
                return known.filer
            listed = [known.filer, *(filer for filer in listed if filer != known.filer)]
        said = EngineUnavailable("the masters know no filer")
        for filer in listed:
            try:
                await self._calls.unary(
                    filer.grpc,
                    "/filer_pb.SeaweedFiler/KvGet",
                    filer_pb2.KvGetRequest(key=b"kgw"),
                    filer_pb2.KvGetResponse,
                    _ASK_S,
                )
            except EngineUnavailable as failure:
                said = failure
            else:
                return filer
        raise said

    async def _balancer(self, broker: str) -> None:
        """Safe to ask at any time; only a broker that knows the balancer may be asked about topics."""
        answer = await self._calls.unary(
            broker,
            "/messaging_pb.SeaweedMessaging/FindBrokerLeader",
            mq_broker_pb2.FindBrokerLeaderRequest(),
            mq_broker_pb2.FindBrokerLeaderResponse,
            _ASK_S,
        )
        if not answer.broker:
            raise EngineUnavailable(f"broker {broker} knows no balancer yet")

    async def _topics(self, broker: str) -> None:
        """It answers once everything a call about topics needs is there."""
        await self._calls.unary(
            broker,
            "/messaging_pb.SeaweedMessaging/ListTopics",
            mq_broker_pb2.ListTopicsRequest(),
            mq_broker_pb2.ListTopicsResponse,
            _ASK_S,
        )

    def _sleep(self, seconds: float) -> Deferred[None]:
        waking: Deferred[None] = Deferred(lambda gone: alarm.cancel())
        alarm = self._clock.callLater(seconds, waking.callback, None)
        return waking


def _servers(addresses: Iterable[str]) -> list[Server]:
    try:
        return [parse_server(address) for address in addresses]
    except ValueError as failure:
        raise EngineUnavailable(f"a master names a filer {failure}") from failure
