"""kgw as a Twisted service: options -> configuration -> gateway -> service; the only importer of the reactor."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TextIO, cast

from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorCore
from twisted.logger import ILogObserver, LogEvent, Logger, globalLogPublisher
from twisted.python.failure import Failure
from twisted.python.logfile import LogFile
from twisted.python.usage import Options as UsageOptions
from twisted.python.usage import UsageError
from zope.interface import implementer

from kgw import __version__
from kgw.config import Config, load
from kgw.config.sources import Given
from kgw.errors import StartError
from kgw.observers import LogTo
from kgw.systemd import Supervisor

if TYPE_CHECKING:
    from kgw.gateway import Companion, Gateway

log = Logger("kgw.start")

#: What a process that could not start exits with.
EXIT_CANNOT_START = 2
#: The options that are one property each.
_SHORTCUTS = {
    "data": "log.dirs",
    "engine": "kgw.engine",
    "masters": "kgw.seaweedmq.masters",
    "embedded": "kgw.seaweedmq.embedded.dir",
    "schema-registry": "kgw.schema.registry.url",
    "log-format": "kgw.log.format",
}
#: The line that people and scripts wait for; it never changes.
READY = "kgw started"


class Options(UsageOptions):
    """
    What may stand on the command line, of C{kgw} and of C{twistd kgw} alike.

    @ivar assignments: C{name=value} of each C{--set}.
    @ivar endpoints: of each C{--listen}.
    """

    longdesc = (
        "Serves Kafka clients from an embedded log or from SeaweedMQ. Properties have Kafka's names; they come from"
        " --config, then the environment (KAFKA_*, KAFKA_CFG_*, KGW_*), then --set, then the options below, later ones"
        " over earlier ones."
    )
    optParameters: ClassVar[list[list[str | None]]] = [
        ["config", "c", None, "A server.properties file."],
        ["data", None, None, "The data directory (log.dirs); without it ./kgw-data."],
        ["engine", None, None, "What keeps the logs (kgw.engine): local (the default), memory or seaweedmq."],
        ["masters", None, None, "Keep the logs in this SeaweedFS (kgw.seaweedmq.masters): HOST:9333,..."],
        ["embedded", None, None, "Keep the logs in a SeaweedFS of kgw's own, in this directory."],
        ["schema-registry", None, None, "The schema registry (kgw.schema.registry.url): http://HOST:8081,..."],
        ["log-format", None, None, "How log lines are written (kgw.log.format): text (the default) or json."],
    ]

    def __init__(self) -> None:
        super().__init__()
        self.assignments: list[str] = []
        self.endpoints: list[str] = []

    def opt_set(self, assignment: str) -> None:
        """Set one property, as name=value. May be repeated."""
        self.assignments.append(assignment)

    opt_s = opt_set

    def opt_listen(self, endpoint: str) -> None:
        """Listen here (listeners): tcp:9092:interface=127.0.0.1, PLAINTEXT://:9092 ... May be repeated."""
        self.endpoints.append(endpoint)

    def opt_version(self) -> None:
        """Print the version and exit."""
        print(f"kgw {__version__}")
        raise SystemExit(0)

    def parseArgs(self, *arguments: str) -> None:
        """No argument stands by itself."""
        if arguments:
            raise UsageError(f"{arguments[0]!r} is no option")

    def configuration(self, environ: Mapping[str, str]) -> Config:
        """
        What these options, the file they name and C{environ} make together.

        @raise ConfigError: something is not understood.
        """
        shortcuts = [
            Given(name, self[option], f"--{option}") for option, name in _SHORTCUTS.items() if self[option] is not None
        ]
        for option in ("masters", "embedded"):
            if self[option] is not None and self["engine"] is None:
                shortcuts.append(Given("kgw.engine", "seaweedmq", f"--{option}"))
        if self.endpoints:
            shortcuts.append(Given("listeners", ",".join(self.endpoints), "--listen"))
        return load(self["config"], environ, self.assignments, shortcuts)


class Startable(Protocol):
    """What this module needs of C{kgw.gateway.Gateway}."""

    started: Deferred[None]

    def startService(self) -> None:
        """Begin to start; may raise L{StartError}."""

    def stopService(self) -> Deferred[None] | None:
        """Stop: take no more, answer what is on its way, make it durable."""

    def banner(self) -> list[str]:
        """Lines for people, once it has started."""


class GatewayService(Service):
    """
    A gateway that says once that it has started, or once why it cannot.

    @ivar exit_status: what the process is to exit with.
    """

    name = "kgw"

    def __init__(
        self,
        gateway: Startable,
        reactor: IReactorCore,
        announce: Callable[[list[str]], None],
        refuse: Callable[[str], None],
        supervisor: Supervisor | None = None,
    ) -> None:
        """
        @param announce: is given the banner and the ready line.
        @param refuse: is given one line that says why there will be no start.
        @param supervisor: is told of the start and the stop.
        """
        self._gateway = gateway
        self._reactor = reactor
        self._announce = announce
        self._refuse = refuse
        self._supervisor = supervisor or Supervisor({})
        self.exit_status = 0

    def startService(self) -> None:
        """Start the gateway; the reactor is stopped where it cannot."""
        super().startService()
        try:
            self._gateway.startService()
        except StartError:
            self._failed(Failure())
            return
        self._gateway.started.addCallbacks(self._started, self._failed)

    def stopService(self) -> Deferred[None] | None:
        """Stop the gateway; fires when nothing is left to do. One that could not start has let go of everything."""
        super().stopService()
        if self.exit_status:
            return None
        self._supervisor.stopping()
        return self._gateway.stopService()

    def _started(self, _: None) -> None:
        self._supervisor.started()
        self._announce([*self._gateway.banner(), READY])

    def _failed(self, failure: Failure) -> None:
        if not self.running:
            return  # stopped while it was starting: nobody waits for it any more
        if failure.check(StartError):
            self._refuse(failure.getErrorMessage())
        else:
            log.failure("kgw cannot start: a defect in kgw", failure)
            self._refuse(f"a defect in kgw, see the log: {failure.getErrorMessage()}")
        self.exit_status = EXIT_CANNOT_START
        # Not at once: twistd starts its services before it runs the reactor, which cannot be stopped until then.
        self._reactor.callWhenRunning(self._reactor.stop)


class TwistdService(GatewayService):
    """
    The same under twistd, whose log it may write.

    @ivar log_to: takes twistd's log events in place of twistd's own observer, if not C{None}.
    """

    log_to: ILogObserver | None = None

    def setServiceParent(self, parent: Any) -> None:
        """Join an application, which twistd is about to ask where its log goes."""
        super().setServiceParent(parent)
        if self.log_to is not None:
            parent.setComponent(ILogObserver, self.log_to)


@implementer(ILogObserver)
class ExitStatus:
    """
    Gives twistd an exit status, for which it has no other way.

    When its reactor has stopped and its pid file is gone, twistd logs one last event. This observer answers it with
    SystemExit, which passes through the log and through twistd's C{main}.
    """

    def __init__(self, service: GatewayService) -> None:
        self._service = service

    def __call__(self, event: LogEvent) -> None:
        last = (
            str(event.get("log_namespace", "")).endswith("AppLogger") and event.get("log_format") == "Server Shut Down."
        )
        if last and self._service.exit_status:
            raise SystemExit(self._service.exit_status)


def installed_reactor() -> Any:
    """The process's reactor; installed by the first call, so that C{--help} costs nothing."""
    from twisted.internet import reactor

    return reactor


def make_gateway(config: Config, reactor: Any) -> Startable:
    """The real gateway; imported here, so that C{--help} and a bad option need not wait for it."""
    from kgw.gateway import Gateway

    if config.unused:
        log.warn("these properties of Kafka's have no effect here: {names}", names=", ".join(config.unused))
    gateway = Gateway(config, reactor)
    if config.kgw_http_endpoint:
        from kgw.web.site import WebSite

        # early: it says that kgw lives while that waits for its engine
        gateway.accompany(WebSite(gateway, reactor), early=True)
    if config.kgw_manhole_endpoint:
        gateway.accompany(_manhole(gateway, reactor))
    return gateway


def _manhole(gateway: Gateway, reactor: Any) -> Companion:
    try:
        from kgw.manhole import Manhole
    except ImportError as error:
        raise StartError(
            f"kgw.manhole.endpoint needs Twisted's SSH, and {error.name} is not installed: pip install 'kgw[manhole]'"
        ) from error
    return Manhole(gateway, reactor)


def makeService(options: Options) -> IService:
    """
    The service that twistd runs.

    @raise SystemExit: the configuration is not understood; one line on stderr says why.
    """
    reactor = installed_reactor()
    try:
        config = options.configuration(os.environ)
        gateway = make_gateway(config, reactor)
    except StartError as error:
        _refuse(str(error))
        raise SystemExit(EXIT_CANNOT_START) from None
    service = TwistdService(gateway, reactor, _log_lines, _refuse, Supervisor(os.environ))
    if "kgw.log.format" in config.properties:
        service.log_to = twistd_log(options.parent or {}, config.kgw_log_format, reactor)
    globalLogPublisher.addObserver(ExitStatus(service))
    return service


def twistd_log(chosen: Mapping[str, Any], form: str, reactor: Any) -> ILogObserver | None:
    """
    The log where twistd is told to write it, in a form of kgw's.

    @param chosen: twistd's own options.
    @param form: C{kgw.log.format}.
    @return: C{None} where twistd is told to log in a way of its own (C{--syslog}, C{--logger}).
    """
    if chosen.get("syslog") or chosen.get("logger"):
        return None
    name = chosen.get("logfile")
    stdout = name == "-" or (not name and chosen.get("nodaemon"))
    # twistd's own names and places
    stream = sys.stdout if stdout else LogFile.fromFullPath(name or "twistd.log")
    written = LogTo(cast("TextIO", stream), form)
    written.look_after(reactor)
    return written.observer


def _log_lines(lines: list[str]) -> None:
    for line in lines:
        log.info("{line}", line=line)


def _refuse(message: str) -> None:
    # twistd has made sys.stderr a part of its log, and a daemon has none at all.
    log.error("cannot start: {message}", message=message)
    print(f"kgw: {message}", file=sys.__stderr__ or sys.stderr, flush=True)
