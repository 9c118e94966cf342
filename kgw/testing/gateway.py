"""A gateway on a reactor that somebody else runs."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

from kgw.config import Config
from kgw.gateway import Gateway

if TYPE_CHECKING:
    from kgw.web.site import WebSite

#: What suits a test better than Kafka's defaults.
DEFAULTS: Mapping[str, str] = {
    "listeners": "PLAINTEXT://127.0.0.1:0",
    "kgw.engine": "memory",
    # the first consumer of a group need not wait for a second one (Kafka waits 3 s)
    "group.initial.rebalance.delay.ms": "0",
    "kgw.shutdown.timeout.ms": "500",
    # many gateways run on one machine at a time; a test that wants it names tcp:0:interface=127.0.0.1
    "kgw.http.endpoint": "",
}


def configure(properties: Mapping[str, str] | None, directory: str | None) -> Config:
    """
    The configuration of a gateway for tests.

    @param properties: by Kafka's names; they win over L{DEFAULTS}.
    @param directory: the data directory; with one, the engine is the local one.
    @raise ConfigError: a property is unknown or its value not allowed.
    """
    chosen = dict(DEFAULTS)
    if directory is not None:
        chosen |= {"kgw.engine": "local", "log.dirs": directory}
    return Config(chosen | dict(properties or {}))


class RunningGateway:
    """
    A gateway that accepts clients.

    @ivar gateway: the service itself, for tests that look inside.
    """

    def __init__(self, gateway: Gateway, temporary: str | None, site: WebSite | None = None) -> None:
        """
        @param temporary: a directory to be removed in the end.
        @param site: its HTTP, where it has any.
        """
        self.gateway = gateway
        self._site = site
        self._temporary = temporary

    @property
    def port(self) -> int:
        """The port clients connect to."""
        return self.gateway.port()

    @property
    def bootstrap(self) -> str:
        """What clients take as C{bootstrap.servers}."""
        return f"127.0.0.1:{self.port}"

    @property
    def http_port(self) -> int:
        """
        The port of metrics, health and the JSON pages.

        @raise KeyError: there is none, which is so unless C{kgw.http.endpoint} was set.
        """
        if self._site is None:
            raise KeyError("kgw.http.endpoint")
        return self._site.port

    def stop(self) -> Deferred[None]:
        """Stop; fires when port, threads and temporary files are gone."""
        return self.gateway.stopService().addBoth(self._remove)

    def _remove(self, result: Any) -> Any:
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)
        return result


def start_gateway(
    reactor: Any, properties: Mapping[str, str] | None = None, directory: str | None = None, *, durable: bool = False
) -> Deferred[RunningGateway]:
    """
    Start a gateway on a free port of 127.0.0.1.

    @param reactor: runs the gateway; it must be running, or about to.
    @param properties: by Kafka's names, C{{"num.partitions": "3"}}.
    @param directory: keeps the data, and they are there again for the next gateway on it.
    @param durable: use the local engine in a temporary directory instead of memory.
    @return: fails with L{StartError<kgw.errors.StartError>} or, for a wrong property, C{ConfigError}.
    """
    return Deferred.fromCoroutine(_start(reactor, properties, directory, durable))


async def _start(
    reactor: Any, properties: Mapping[str, str] | None, directory: str | None, durable: bool
) -> RunningGateway:
    temporary = tempfile.mkdtemp(prefix="kgw-") if durable and directory is None else None
    try:
        gateway = Gateway(configure(properties, directory or temporary), reactor)
        site = None
        if gateway.config.kgw_http_endpoint:
            from kgw.web.site import WebSite  # few tests want it, and all would wait for twisted.web

            site = WebSite(gateway, reactor)
            gateway.accompany(site, early=True)
        running = RunningGateway(gateway, temporary, site)
        gateway.startService()
        await gateway.started
    except BaseException:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        raise
    return running
