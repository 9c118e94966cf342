"""The kgw command: serves in the foreground and says on the terminal what it does."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    formatEvent,
    globalLogBeginner,
)
from twisted.python.usage import UsageError
from zope.interface import implementer

from kgw.config import Config
from kgw.errors import StartError
from kgw.tap import EXIT_CANNOT_START, GatewayService, Options, Startable, installed_reactor, make_gateway

_LEVELS = {
    LogLevel.debug: "DEBUG",
    LogLevel.info: "INFO",
    LogLevel.warn: "WARN",
    LogLevel.error: "ERROR",
    LogLevel.critical: "FATAL",
}


class CommandOptions(Options):
    """The options of C{kgw}, whose help also names what else it can do."""

    synopsis = "Usage: kgw [options]\n       kgw bench [options], see kgw bench --help"


@implementer(ILogObserver)
class KafkaLogObserver:
    """Writes events as Kafka's log has them: C{[2026-01-01 10:00:00,123] INFO message (kgw.net)}."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __call__(self, event: LogEvent) -> None:
        moment = event.get("log_time", 0.0)
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))
        level = _LEVELS.get(event.get("log_level", LogLevel.info), "INFO")
        namespace = event.get("log_namespace", "-")
        text = f"[{stamp},{int(moment * 1000) % 1000:03}] {level} {formatEvent(event)} ({namespace})"
        failure = event.get("log_failure")
        if failure is not None:
            text += f"\n{failure.getTraceback().rstrip()}"
        self._stream.write(f"{text}\n")
        self._stream.flush()


def log_to(stream: TextIO) -> ILogObserver:
    """What goes to the terminal: kgw's events from info on, and of Twisted's those that warn."""
    levels = LogLevelFilterPredicate(defaultLogLevel=LogLevel.warn)
    levels.setLogLevelForNamespace("kgw", LogLevel.info)
    return FilteringLogObserver(KafkaLogObserver(stream), [levels])


def main(arguments: Sequence[str] | None = None) -> int:
    """
    The console script.

    @param arguments: those behind the command's name; C{None} for the process's own.
    @return: the exit status: 0 after an orderly stop, 2 where kgw could not start.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if arguments[:1] == ["bench"]:
        from kgw.bench import main as bench

        return bench(arguments[1:])
    options = CommandOptions()
    try:
        options.parseOptions(arguments)
    except UsageError as error:
        _refuse(f"{error}; see kgw --help")
        return EXIT_CANNOT_START
    return serve(options, os.environ)


def serve(options: Options, environ: Mapping[str, str]) -> int:
    """Run kgw until a signal ends it."""
    try:
        config = options.configuration(environ)
    except StartError as error:
        _refuse(str(error))
        return EXIT_CANNOT_START
    globalLogBeginner.beginLoggingTo([log_to(sys.stderr)], redirectStandardIO=False)
    return run(config, installed_reactor(), make_gateway)


def run(config: Config, reactor: Any, gateway: Any) -> int:
    """
    Start a gateway when the reactor runs, stop it before the reactor stops.

    @param gateway: makes one of a configuration and a reactor.
    @return: the exit status.
    """
    made: Startable = gateway(config, reactor)
    service = GatewayService(made, reactor, _print_lines, _refuse)
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    reactor.callWhenRunning(service.startService)
    reactor.run()
    return service.exit_status


def _print_lines(lines: list[str]) -> None:
    print("\n".join(lines), flush=True)


def _refuse(message: str) -> None:
    print(f"kgw: {message}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
