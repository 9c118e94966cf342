"""The composition root: the only file, besides kgw.storage, that names concrete classes and joins them to a service."""

from __future__ import annotations

import errno
import time
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger

from kgw import __version__
from kgw.cluster import Cluster
from kgw.config import Config, Listener
from kgw.errors import KafkaError, StartError
from kgw.groups.coordinator import GroupCoordinator
from kgw.handlers.contract import Services
from kgw.handlers.registry import ALL, BY_KEY, SHORTCUTS
from kgw.log.fetch_session import FetchSessions
from kgw.log.producer_ids import ProducerIds
from kgw.log.topics import TopicCatalog
from kgw.net.connections import Connections, Limits
from kgw.net.dispatcher import Dispatcher
from kgw.net.protocol import KafkaFactory
from kgw.peer_log import PeerLog
from kgw.storage import Storage, storage_of

log = Logger("kgw.gateway")


class Gateway(Service):
    """
    One kgw: its storage, the services on top of it, and its listeners.

    @ivar started: fires with C{None} when clients are accepted, fails with L{StartError} where they never will be.
    @ivar services: what handlers work with; there once the gateway has started.
    """

    services: Services

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
        self._ports: dict[str, IListeningPort] = {}
        self._peer_log = PeerLog(Logger("kgw.net"), reactor)
        self._connections = Connections(Limits.of(config), reactor, self._peer_log)

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
            f"kgw {__version__}, cluster {storage.cluster_id}, node {self.config.node_id}",
            f"engine {storage.logs.describe()}, {len(self.services.topics.all())} topics",
        ]
        return lines + [self._describe(listener) for listener in self.config.listeners]

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
            storage = self._storage = storage_of(self.config, self._reactor)
            await storage.open()
            await self._begin(storage)
            await self._listen()
        except (KafkaError, OSError) as error:
            await self._abandon()
            raise StartError(error.message if isinstance(error, KafkaError) else str(error)) from error
        except BaseException:
            await self._abandon()
            raise
        self.started.callback(None)

    async def _begin(self, storage: Storage) -> None:
        config = self.config
        topics = TopicCatalog(storage.facts, storage.logs, config, config.node_id)
        await storage.while_away(topics.start)
        groups = self._groups = GroupCoordinator.configured(config, storage.facts, self._reactor, time.monotonic)
        topics.watch_deletions(groups.topic_deleted)
        # it reads everything before it begins with any of it
        await storage.while_away(lambda: groups.start(lambda name: topics.get(name) is not None))
        self.services = Services(
            config=config,
            clock=self._reactor,
            cluster=Cluster(storage.cluster_id, config.node_id, config.broker_rack, config.advertised_listeners),
            topics=topics,
            logs=storage.logs,
            producer_ids=ProducerIds(storage.facts),
            fetch_sessions=FetchSessions(config.max_incremental_fetch_session_cache_slots),
            groups=groups,
            peer_log=self._peer_log,
            apis=ALL,
        )

    async def _listen(self) -> None:
        dispatcher = Dispatcher(BY_KEY, self.services, self._peer_log, SHORTCUTS)
        for listener in self.config.listeners:
            factory = KafkaFactory(dispatcher, self._connections, listener.name)
            try:
                endpoint = serverFromString(self._reactor, listener.endpoint)
                self._ports[listener.name] = await endpoint.listen(factory)
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
        await self._close_ports()
        ended = self._connections.stop()
        if self._groups is not None:
            # members that wait for others are told to come again, or their connections would not end
            self._groups.stop()
        await ended
        self._peer_log.flush()
        await self._abandon()

    async def _close_ports(self) -> None:
        for port in self._ports.values():
            await maybeDeferred(port.stopListening)
        self._ports.clear()

    async def _abandon(self) -> None:
        """Let go of whatever was opened."""
        await self._close_ports()
        storage, self._storage = self._storage, None
        if storage is None:
            return
        groups, self._groups = self._groups, None
        try:
            if groups is not None:
                await groups.stop()
        finally:
            await storage.close()


def _reason(error: BaseException) -> str:
    """What the system says, without the names it says it with."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
