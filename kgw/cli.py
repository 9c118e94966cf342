"""The kgw command: serves in the foreground and says on the terminal what it does."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.logger import globalLogBeginner
from twisted.python.usage import UsageError

from kgw.config import Config
from kgw.errors import StartError
from kgw.observers import LogTo
from kgw.systemd import Supervisor
from kgw.tap import EXIT_CANNOT_START, GatewayService, Options, Startable, installed_reactor, make_gateway


class CommandOptions(Options):
    """The options of C{kgw}, whose help also names what else it can do."""

    synopsis = (
        "Usage: kgw [options]\n"
        "       kgw doctor HOST:PORT    what is wrong with a broker, from where you are\n"
        "       kgw apis                the APIs and versions served, --diff HOST:PORT those of another broker\n"
        "       kgw dump-log FILE       what is in a segment, an index or a producer snapshot\n"
        "       kgw compatible NEW OLD  whether schemas in files are compatible, as a schema registry asks\n"
        "       kgw bench               how fast it is here; each of these has a --help of its own"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """
    The console script.

    @param arguments: those behind the command's name; C{None} for the process's own.
    @return: the exit status: 0 after an orderly stop, 2 where kgw could not start.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    command = _command(arguments[0]) if arguments else None
    if command is not None:
        return command(arguments[1:])
    options = CommandOptions()
    try:
        options.parseOptions(arguments)
    except UsageError as error:
        _refuse(f"{error}; see kgw --help")
        return EXIT_CANNOT_START
    return serve(options, os.environ)


def _command(name: str) -> Callable[[Sequence[str]], int] | None:
    """What runs C{kgw NAME}; imported only then, as a server needs none of it."""
    if name == "bench":
        from kgw.bench import main as bench

        return bench
    if name == "doctor":
        from kgw.doctor import main as doctor

        return doctor
    if name == "apis":
        from kgw.doctor import apis

        return apis
    if name == "dump-log":
        from kgw.dump import main as dump_log

        return dump_log
    if name == "compatible":
        from kgw.schema.compatibility.command import run as compatible

        return compatible
    return None


def serve(options: Options, environ: Mapping[str, str]) -> int:
    """Run kgw until a signal ends it."""
    try:
        config = options.configuration(environ)
    except StartError as error:
        _refuse(str(error))
        return EXIT_CANNOT_START
    reactor = installed_reactor()
    written = LogTo(sys.stderr, config.kgw_log_format)
    globalLogBeginner.beginLoggingTo([written.observer], redirectStandardIO=False)
    written.look_after(reactor)
    return run(config, reactor, make_gateway)


def run(config: Config, reactor: Any, gateway: Any) -> int:
    """
    Start a gateway when the reactor runs, stop it before the reactor stops.

    @param gateway: makes one of a configuration and a reactor.
    @return: the exit status.
    """
    try:
        made: Startable = gateway(config, reactor)
    except StartError as error:
        _refuse(str(error))
        return EXIT_CANNOT_START
    service = GatewayService(made, reactor, _print_lines, _refuse, Supervisor(os.environ))
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
