"""The site of one gateway: what stands where, who may ask, and where it listens."""

from __future__ import annotations

import errno
import ipaddress
from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger

from kgw import __version__
from kgw.errors import KafkaError, StartError
from kgw.gateway import Gateway
from kgw.web.api import Pages
from kgw.web.paging import Page, page_of
from kgw.web.readiness import Readiness
from kgw.web.server import Answer, Asked, HttpError, Server, encode

log = Logger("kgw.web")

_ENDPOINT = "kgw.http.endpoint"
#: Where other brokers and schema registries have theirs.
READY = (("readyz",), ("status", "ready"), ("v1", "status", "ready"), ("_health",))

Make = Callable[[Page], Coroutine[Deferred[Any], Any, Any]]
MakeNamed = Callable[[str, Page], Coroutine[Deferred[Any], Any, Any]]


class WebSite:
    """
    The HTTP of one gateway; a L{kgw.gateway.Companion} that starts early, so that who asks for life gets an answer
    while the gateway waits for its engine.
    """

    def __init__(self, gateway: Gateway, reactor: Any) -> None:
        self._gateway = gateway
        self._reactor = reactor
        self._pages = Pages(gateway)
        self._readiness: Readiness | None = None
        self._server: Server | None = None
        self._port: IListeningPort | None = None
        self._local = True
        self._told = ""

    @property
    def port(self) -> int:
        """
        The TCP port it is bound to.

        @raise KeyError: it has none.
        """
        address: Any = self._port.getHost() if self._port is not None else None
        if not hasattr(address, "port"):
            raise KeyError("port")
        return int(address.port)

    async def start(self) -> None:
        """
        Listen; nothing happens where no endpoint is set.

        @raise StartError: it cannot. Where nobody has asked for this endpoint by name, that it is in use already is
            only logged: another kgw on this machine has it.
        """
        config = self._gateway.config
        endpoint = config.kgw_http_endpoint
        if not endpoint:
            return
        server = self._server = Server(self.respond, self._reactor, config.kgw_http_max_connections)
        try:
            self._port = await serverFromString(self._reactor, endpoint).listen(server)
        except CannotListenError as error:
            reason = error.socketError
            in_use = isinstance(reason, OSError) and reason.errno == errno.EADDRINUSE
            if in_use and _ENDPOINT not in config.properties:
                self._told = f"http none, {endpoint} is in use; choose another with {_ENDPOINT}"
                log.warn("no HTTP: {endpoint} is in use; choose another with kgw.http.endpoint", endpoint=endpoint)
                return
            hint = f"; stop what uses that port or choose another with {_ENDPOINT}" if in_use else ""
            words = (reason.strerror if isinstance(reason, OSError) else None) or str(reason)
            raise StartError(f"{_ENDPOINT} cannot listen on {endpoint}: {words}{hint}") from error
        except (OSError, ValueError, TypeError) as error:
            raise StartError(f"{_ENDPOINT} cannot use {endpoint}: {error}") from error
        except LookupError as error:  # what systemd: endpoints raise
            raise StartError(f"{_ENDPOINT} cannot use {endpoint}: systemd has passed no such socket") from error
        address: Any = self._port.getHost()
        if hasattr(address, "port"):
            host = f"[{address.host}]" if ":" in address.host else address.host
            self._told = f"http {host}:{address.port}"
            self._local = ipaddress.ip_address(address.host).is_loopback
        else:
            self._told = f"http {endpoint}"
            self._local = False

    async def stop(self) -> None:
        """Answer nobody any more."""
        port, self._port = self._port, None
        if port is not None:
            await maybeDeferred(port.stopListening)
        if self._server is not None:
            self._server.close()

    def banner(self) -> list[str]:
        """Where it listens, or why it does not."""
        return [self._told] if self._told else []

    async def respond(self, asked: Asked) -> Answer:
        """
        The answer to a request.

        @raise HttpError: there is nothing to see there, or not for them.
        """
        if self._local and asked.host is not None and not _is_here(asked.host):
            # a page that somebody's browser shows may ask us under a name that leads here (DNS rebinding)
            raise HttpError(421, "only addresses and localhost are answered here, for this endpoint is a local one")
        path = asked.path[:-1] if len(asked.path) > 1 and not asked.path[-1] else asked.path
        if path == ("livez",):
            return Answer(encode({"status": "alive"}))
        if path in READY:
            return await self._ready()
        if path == ("",):
            pages = ["/livez", "/readyz", "/metrics", "/api/"]
            return Answer(encode({"kgw": __version__, "pages": pages}))
        if path == ("metrics",):
            return await self._metrics()
        if path[0] == "api":
            return await self._api(path[1:], asked)
        raise HttpError(404, "there is no such page; / names them all")

    async def _ready(self) -> Answer:
        if not self._has_started:
            return Answer(
                encode({"status": "not ready", "reasons": ["kgw is starting"], "checks": {}}),
                status=503,
                headers={"Retry-After": "1"},
            )
        if self._readiness is None:
            self._readiness = Readiness(self._gateway.services, self._gateway.facts)
        report = await self._readiness.report()
        reasons = [f"{name}: {finding.reason}" for name, finding in report.items() if not finding.ok]
        checks = {name: {"ok": f.ok, "milliseconds": round(f.seconds * 1000, 1)} for name, f in report.items()}
        body = {"status": "not ready" if reasons else "ready", "reasons": reasons, "checks": checks}
        return Answer(encode(body), status=503 if reasons else 200)

    async def _metrics(self) -> Answer:
        self._check_started()
        # what is imported with it is wanted by scrapers only
        from kgw.web import metrics_page

        body = await metrics_page.render_in_turns(self._gateway, self._reactor)
        return Answer(body, metrics_page.CONTENT_TYPE)

    async def _api(self, path: tuple[str, ...], asked: Asked) -> Answer:
        page = page_of(asked.query)
        pages = self._pages
        plain: dict[tuple[str, ...], Make] = {
            (): pages.index,
            ("brokers",): pages.brokers,
            ("config",): pages.config,
            ("connections",): pages.connections,
            ("groups",): pages.groups,
            ("topics",): pages.topics,
        }
        named: dict[str, MakeNamed] = {"groups": pages.group, "topics": pages.topic}
        self._check_started()
        try:
            if path in plain:
                return Answer(encode(await plain[path](page)))
            if len(path) == 2 and path[0] in named:
                return Answer(encode(await named[path[0]](path[1], page)))
        except KafkaError as error:
            raise HttpError(503, str(error)) from error
        raise HttpError(404, "there is no such page; /api/ names them all")

    @property
    def _has_started(self) -> bool:
        return self._gateway.started.called

    def _check_started(self) -> None:
        if not self._has_started:
            raise HttpError(503, "kgw is starting", {"Retry-After": "1"})


def _is_here(host: str) -> bool:
    """Whether a C{Host} header names an address, which nobody can lead elsewhere, or this machine."""
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() and not host.endswith("]") else host
    name = name.removeprefix("[").removesuffix("]").removesuffix(".").lower()
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")
    return True
