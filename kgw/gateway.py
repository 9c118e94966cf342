"""The composition root: the only file, besides kgw.storage, that names concrete classes and joins them to a service."""

from __future__ import annotations

import errno
import time
from typing import TYPE_CHECKING, Any, Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress, IListeningPort
from twisted.internet.protocol import Factory
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.logger import Logger

from kgw import __version__
from kgw.cluster import Cluster
from kgw.config import Config, Listener
from kgw.errors import KafkaError, StartError
from kgw.groups.coordinator import GroupCoordinator
from kgw.handlers.contract import Services
from kgw.handlers.registry import ALL, BY_KEY, SHORTCUTS
from kgw.interfaces import IStateStore
from kgw.log.dynamic_configs import DynamicConfigs
from kgw.log.fetch_session import FetchSessions
from kgw.log.producer_ids import ProducerIds
from kgw.log.topics import TopicCatalog
from kgw.metrics import Metrics
from kgw.net.connections import Connections, Limits
from kgw.net.dispatcher import Dispatcher
from kgw.net.protocol import KafkaFactory
from kgw.net.trace import Traces
from kgw.peer_log import PeerLog
from kgw.quotas.client_quotas import ClientQuotas
from kgw.quotas.rate import Windows
from kgw.shared.cluster import SharedCluster
from kgw.shared.sharing import Sharing
from kgw.storage import Storage, storage_of
from kgw.turns import Turns

if TYPE_CHECKING:
    from kgw.schema.composition import Schemas

log = Logger("kgw.gateway")

#: What may be missing where kgw was installed without its extra for schemas.
_SCHEMA_PACKAGES = ("treq", "jsonschema", "referencing", "re2", "google", "grpc_tools", "fastavro")


class Companion(Protocol):
    """What runs beside the listeners of a gateway, for those who look after it."""

    async def start(self) -> None:
        """
        Begin; the gateway's listeners are open, or nothing is yet where it starts early.

        @raise StartError: it cannot, so the gateway does not start either.
        """

    async def stop(self) -> None:
        """Let go of everything; also called where L{start} failed or was never called. Raises nothing."""

    def banner(self) -> list[str]:
        """Lines for people, once it has started."""


class Gateway(Service):
    """
    One kgw: its storage, the services on top of it, and its listeners.

    @ivar started: fires with C{None} when clients are accepted, fails with L{StartError} where they never will be.
    @ivar services: what handlers work with; there once the gateway has started.
    @ivar traces: those who watch requests; there once the gateway has started.
    @ivar connections: of all listeners.
    """

    services: Services
    traces: Traces

    def __init__(self, config: Config, reactor: Any) -> None:
        """
        @param reactor: tells the time, runs threads and listens.
        """
        self.setName("kgw")
        self.config = config
        self.started: Deferred[None] = Deferred()
        self._reactor = reactor
        self._storage: Storage | None = None
        self._starting: Deferred[None] | None = None
        self._groups: GroupCoordinator | None = None
        self._schemas: Schemas | None = None
        self._ports: dict[str, IListeningPort] = {}
        self._doors: dict[str, _Door] = {}
        self._sharing: Sharing | None = None
        self._peer_log = PeerLog(Logger("kgw.net"), reactor)
        self._metrics = Metrics(config.kgw_metrics_max_topics)
        self.connections = Connections(Limits.of(config), reactor, self._peer_log)
        self._early: list[Companion] = []
        self._companions: list[Companion] = []

    @property
    def facts(self) -> IStateStore:
        """The state store; there once the gateway has started."""
        assert self._storage is not None, "the gateway has not started"
        return self._storage.facts

    def accompany(self, companion: Companion, early: bool = False) -> None:
        """
        Have C{companion} start behind the listeners and stop before them; to be called before the gateway starts.

        @param early: start it before all else, the storage too: it finds a gateway that has not started yet.
        """
        (self._early if early else self._companions).append(companion)

    def startService(self) -> None:
        """Start; L{started} tells how it went."""
        Service.startService(self)
        self._starting = Deferred.fromCoroutine(self._start())
        self._starting.addErrback(self.started.errback)

    def stopService(self) -> Deferred[None]:
        """
        Accept nobody any more, answer what is in flight, make everything durable.

        @return: fires when the data directory is free for another process.
        """
        Service.stopService(self)
        return Deferred.fromCoroutine(self._stop())

    def port(self, listener: str = "PLAINTEXT") -> int:
        """
        The TCP port a listener is bound to.

        @raise KeyError: there is no such listener, or it has no port.
        """
        address = self._ports[listener].getHost()
        if not hasattr(address, "port"):
            raise KeyError(listener)
        return int(address.port)

    def banner(self) -> list[str]:
        """What an operator wants to see first, a line each; to be asked once L{started} has fired."""
        storage = self._storage
        assert storage is not None, "the gateway has not started"
        lines = [
            f"kgw {__version__}, cluster {storage.cluster_id}, node {self.services.cluster.node_id}",
            f"engine {storage.logs.describe()}, {len(self.services.topics.all())} topics",
        ]
        if self._sharing is not None:
            nodes = self.services.cluster.node_ids()
            control = self.services.cluster.controller_id
            lines.append(f"one of {len(nodes)} gateway(s): nodes {', '.join(map(str, nodes))}, controlled by {control}")
        if self._schemas is not None:
            lines.append(self._schemas.describe())
        lines += [self._describe(listener) for listener in self.config.listeners]
        return lines + [line for companion in [*self._early, *self._companions] for line in companion.banner()]

    def _describe(self, listener: Listener) -> str:
        port = self._ports[listener.name]
        address: Any = port.getHost()
        if hasattr(address, "port"):
            host = f"[{address.host}]" if ":" in address.host else address.host
            where = f"{host}:{address.port}"
        else:
            where = listener.endpoint
        advertised = self.config.advertised_listeners.get(listener.name)
        told = f"{advertised[0]}:{advertised[1]}" if advertised else "the address they came to"
        if advertised is None and hasattr(address, "port") and address.host not in ("0.0.0.0", "::"):
            told = where
        return f"listener {listener.name} {where}, clients are told {told}"

    async def _start(self) -> None:
        try:
            for companion in self._early:
                await companion.start()
            storage = self._storage = storage_of(self.config, self._reactor)
            await storage.open()
            if storage.is_shared:
                # its place among the others is that of its ports
                await self._listen()
                self._sharing = Sharing(self.config, self._reactor)
                await storage.join(self._sharing, self._bound())
            await self._begin(storage, self._sharing)
            if self._sharing is not None:
                await self._sharing.settled()
            else:
                await self._listen()
            self._open_doors()
            for companion in self._companions:
                await companion.start()
        except (KafkaError, OSError) as error:
            await self._abandon()
            raise StartError(error.message if isinstance(error, KafkaError) else str(error)) from error
        except BaseException:
            await self._abandon()
            raise
        self.started.callback(None)

    async def _begin(self, storage: Storage, sharing: Sharing | None) -> None:
        config = self.config
        node_id = config.node_id
        turns: Turns | None = None
        slots: int | None = None
        if sharing is not None:
            node_id, turns, slots = sharing.member.node_id, sharing.turns, config.offsets_topic_num_partitions
        # what topics inherit must be what the engine can do; what they are given later is looked at then
        storage.logs.check_config(config.log_config({}))
        dynamic_configs = DynamicConfigs(storage.facts, config, node_id, storage.logs.check_config, turns)
        await storage.while_away(dynamic_configs.start)
        config = dynamic_configs.config
        topics = TopicCatalog(storage.facts, storage.logs, config, node_id, turns, sharing)
        await storage.while_away(topics.start)
        groups = self._groups = GroupCoordinator.configured(config, storage.facts, self._reactor, time.monotonic, slots)
        topics.watch_deletions(groups.topic_deleted)
        topics.watch_deletions(self._no_more_metered)
        self._metrics.topics.exists = lambda name: topics.get(name) is not None
        self._metrics.lag.start(self._reactor)
        # it reads everything before it begins with any of it
        await storage.while_away(lambda: groups.start(lambda name: topics.get(name) is not None))
        windows = Windows(config.quota_window_num, config.quota_window_size_seconds)
        quotas = ClientQuotas(storage.facts, windows, self._metrics.timer, turns)
        await storage.while_away(quotas.start)
        if sharing is not None:
            sharing.begin(groups, topics, dynamic_configs, quotas)
            cluster: Cluster = SharedCluster(
                storage.cluster_id, sharing.member, config.broker_rack, config.advertised_listeners
            )
        else:
            cluster = Cluster(
                storage.cluster_id, node_id, config.broker_rack, config.advertised_listeners, logs=storage.logs
            )
        schemas = self._schemas = _schemas_of(config, self._reactor, storage)
        if schemas is not None:
            topics.watch_deletions(schemas.policy.topic_deleted)
            await schemas.start()
        self.services = Services(
            config=config,
            clock=self._reactor,
            cluster=cluster,
            topics=topics,
            logs=storage.logs,
            producer_ids=ProducerIds(storage.facts, turns),
            fetch_sessions=FetchSessions(config.max_incremental_fetch_session_cache_slots),
            groups=groups,
            peer_log=self._peer_log,
            apis=ALL,
            dynamic_configs=dynamic_configs,
            quotas=quotas,
            metrics=self._metrics,
            schemas=None if schemas is None else schemas.policy,
        )
        self.connections.limits = Limits.of(config)
        dynamic_configs.watch(self._obey)

    def _no_more_metered(self, topic: str) -> Deferred[None]:
        self._metrics.topics.deleted(topic)
        return succeed(None)

    def _obey(self, config: Config) -> Deferred[None]:
        """Have another configuration take the place of the one in force."""
        self.services.config = config
        self.connections.limits = Limits.of(config)
        return self.services.topics.reconfigure(config)

    def _open_doors(self) -> None:
        """Let clients in."""
        dispatcher = Dispatcher(BY_KEY, self.services, self._peer_log, SHORTCUTS)
        quotas = self.services.quotas

        def limit() -> None:
            dispatcher.throttle(quotas.charge if quotas.active else None)
            self.connections.may_connect = quotas.connected if quotas.limits_connections else None

        quotas.watch(limit)
        limit()
        self.traces = Traces(BY_KEY, self._reactor, dispatcher.watch)
        for name, door in self._doors.items():
            door.behind = KafkaFactory(dispatcher, self.connections, name)

    def _bound(self) -> dict[str, tuple[str, int]]:
        """Host and port of the listeners that have some."""
        addresses: dict[str, Any] = {name: port.getHost() for name, port in self._ports.items()}
        return {name: (at.host, at.port) for name, at in addresses.items() if hasattr(at, "port")}

    async def _listen(self) -> None:
        for listener in self.config.listeners:
            door = self._doors[listener.name] = _Door()
            try:
                endpoint = serverFromString(self._reactor, listener.endpoint)
                self._ports[listener.name] = await endpoint.listen(door)
            except CannotListenError as error:
                reason = error.socketError
                in_use = isinstance(reason, OSError) and reason.errno == errno.EADDRINUSE
                hint = "; stop what uses that port or choose another with --listen" if in_use else ""
                raise StartError(
                    f"listener {listener.name} cannot listen on {listener.endpoint}: {_reason(reason)}{hint}"
                ) from error
            except (OSError, ValueError, TypeError) as error:
                raise StartError(
                    f"listener {listener.name} cannot use {listener.endpoint}: {_reason(error)}"
                ) from error
            except LookupError as error:  # what systemd: endpoints raise
                raise StartError(
                    f"listener {listener.name} cannot use {listener.endpoint}: systemd has passed no such socket; see"
                    " FileDescriptorName= in the socket unit"
                ) from error
            portless = not hasattr(self._ports[listener.name].getHost(), "port")
            if portless and listener.name not in self.config.advertised_listeners:
                log.warn(
                    "clients of listener {name} are told an address that leads nowhere: set advertised.listeners",
                    name=listener.name,
                )

    async def _stop(self) -> None:
        if self._starting is not None and not self.started.called:
            # the start lets go of what it has opened, and only then is there nothing left to do
            self._starting.cancel()
            await self._starting
        log.info("stopping: no more clients, answering what is in flight")
        await self._stop_companions()
        if self._sharing is not None:
            # clients are let in until others lead what was led here, and are told so
            await self._sharing.stop()
        await self._close_ports()
        ended = self.connections.stop()
        if self._groups is not None:
            # members that wait for others are told to come again, or their connections would not end
            self._groups.stop()
        if self._schemas is not None:
            # what waits for the registry is answered without it
            await self._schemas.hurry()
        await ended
        self._peer_log.flush()
        await self._abandon()

    async def _stop_companions(self) -> None:
        for companion in reversed([*self._early, *self._companions]):
            await companion.stop()

    async def _close_ports(self) -> None:
        for port in self._ports.values():
            await maybeDeferred(port.stopListening)
        self._ports.clear()

    async def _abandon(self) -> None:
        """Let go of whatever was opened."""
        self._metrics.lag.stop()
        await self._stop_companions()
        await self._close_ports()
        sharing, self._sharing = self._sharing, None
        if sharing is not None:
            await sharing.stop()
        storage, self._storage = self._storage, None
        if storage is None:
            return
        groups, self._groups = self._groups, None
        schemas, self._schemas = self._schemas, None
        try:
            if groups is not None:
                await groups.stop()
            if schemas is not None:
                await schemas.hurry()
                schemas.stop()
        finally:
            await storage.close()


class _Door(Factory):
    """
    Keeps clients out for now.

    @ivar behind: what lets them in.
    """

    noisy = False

    def __init__(self) -> None:
        self.behind: KafkaFactory | None = None

    def buildProtocol(self, addr: IAddress | None) -> TwistedProtocol | None:
        """Closes the connection where there is nobody to answer yet."""
        return None if self.behind is None else self.behind.buildProtocol(addr)


def _schemas_of(config: Config, reactor: Any, storage: Storage) -> Schemas | None:
    """
    What works with the schema registry; C{None} where none is configured.

    @raise StartError: it cannot be had here.
    """
    if not config.kgw_schema_registry_url:
        return None
    try:
        from kgw.schema.composition import Schemas
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _SCHEMA_PACKAGES:
            raise
        raise StartError(
            f"kgw.schema.registry.url needs {package}, which is not installed: pip install 'kgw[schema]'"
        ) from error
    return Schemas(config, reactor, storage.logs)


def _reason(error: BaseException) -> str:
    """What the system says, without the names it says it with."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
