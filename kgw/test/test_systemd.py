"""What systemd is told, the sockets it passes, and its unit files: processes as systemd would run them."""

from __future__ import annotations

import configparser
import json
import os
import re
import socket
import sys
import tempfile
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.error import ConnectionDone
from twisted.trial.unittest import SynchronousTestCase, TestCase

import kgw
from kgw.systemd import Supervisor
from kgw.tap import GatewayService
from kgw.test.test_cli_process import TWISTD, Run
from kgw.test.test_tap import FakeGateway, StoppableReactor

ROOT = Path(kgw.__file__).parent
UNITS = next(path for path in (ROOT / "docs" / "systemd", ROOT.parent / "docs" / "systemd") if path.exists())

#: No HTTP: several run at a time.
QUIET = ("--set", "kgw.http.endpoint=")

#: As systemd starts a service: LISTEN_PID is only known in the process itself.
_ACTIVATED = """
import os, runpy, sys
os.environ["LISTEN_PID"] = str(os.getpid())
runpy.run_module("kgw.cli", run_name="__main__", alter_sys=True)
"""


class Listening:
    """A datagram socket that stands for systemd."""

    def __init__(self, case: SynchronousTestCase, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        case.addCleanup(self.socket.close)
        self.socket.bind(address)
        self.socket.setblocking(False)

    def heard(self) -> list[str]:
        """The first line of each message so far."""
        found = []
        while True:
            try:
                found.append(self.socket.recv(4096).decode().splitlines()[0])
            except BlockingIOError:
                return found


class SupervisorTests(SynchronousTestCase):
    """The words, and when they are said."""

    def short_path(self) -> str:
        folder = tempfile.TemporaryDirectory(prefix="kgw-")
        self.addCleanup(folder.cleanup)
        return f"{folder.name}/notify"

    def test_path_and_abstract(self) -> None:
        """Both kinds of address that systemd uses."""
        path, name = self.short_path(), f"kgw-test-{os.getpid()}"
        for address, shown in ((path, path), (f"\0{name}", f"@{name}")):
            systemd = Listening(self, address)
            supervisor = Supervisor({"NOTIFY_SOCKET": shown})
            supervisor.started()
            supervisor.stopping()
            self.assertEqual(systemd.heard(), ["READY=1", "STOPPING=1"])

    def test_nobody(self) -> None:
        """Without systemd nothing is said, and where it has gone nothing fails."""
        Supervisor({}).started()
        Supervisor({"NOTIFY_SOCKET": self.short_path()}).started()

    def test_service(self) -> None:
        """Ready is when clients may come, stopping when the stop begins."""
        path = self.short_path()
        systemd = Listening(self, path)
        gateway = FakeGateway()
        supervisor = Supervisor({"NOTIFY_SOCKET": path})
        service = GatewayService(gateway, StoppableReactor(), lambda lines: None, print, supervisor)
        service.startService()
        self.assertEqual(systemd.heard(), [])
        gateway.started.callback(None)
        self.assertEqual(systemd.heard(), ["READY=1"])
        service.stopService()
        self.assertEqual(systemd.heard(), ["STOPPING=1"])


class ProcessTests(TestCase):
    """Real processes."""

    timeout = 60

    def run_python(self, *arguments: str, files: dict[int, int] | None = None, **environ: str) -> Run:
        given = {name: text for name, text in os.environ.items() if not name.startswith(("KAFKA_", "KGW_"))}
        given |= {"PYTHONPATH": str(ROOT.parent), **environ}
        process = Run()
        process.ready.addErrback(lambda failure: failure.trap(ConnectionDone) and None)
        descriptors: dict[int, int | str] = {0: "w", 1: "r", 2: "r", **(files or {})}
        reactor.spawnProcess(process, sys.executable, [sys.executable, *arguments], given, childFDs=descriptors)
        return process

    async def test_socket_activation(self) -> None:
        """kgw serves on the socket it is passed, says so, and tells systemd when it is ready and when it stops."""
        folder = tempfile.TemporaryDirectory(prefix="kgw-")
        self.addCleanup(folder.cleanup)
        systemd = Listening(self, f"{folder.name}/notify")
        with socket.create_server(("127.0.0.1", 0)) as listening:
            port = listening.getsockname()[1]
            process = self.run_python(
                "-c", _ACTIVATED, "--engine", "memory", *QUIET, "--listen", "systemd:domain=INET:name=kafka",
                "--log-format", "json",
                files={3: listening.fileno()}, LISTEN_FDS="1", LISTEN_FDNAMES="kafka",
                NOTIFY_SOCKET=f"{folder.name}/notify",
            )  # fmt: skip
            await process.ready
        self.assertIn(f"listener PLAINTEXT 127.0.0.1:{port}, clients are told 127.0.0.1:{port}\n".encode(), process.out)
        self.assertEqual(systemd.heard(), ["READY=1"])
        with socket.create_connection(("127.0.0.1", port), timeout=10):
            process.transport.signalProcess("TERM")
            self.assertEqual(await process.ended, 0, process.err)
        self.assertEqual(systemd.heard(), ["STOPPING=1"])
        for line in process.err.splitlines():
            self.assertIn("logger", json.loads(line))

    async def test_no_such_socket(self) -> None:
        """A name that systemd has not passed is one line and exit status 2."""
        process = self.run_python(
            "-m", "kgw.cli", "--engine", "memory", *QUIET, "--listen", "systemd:domain=INET:name=kafka"
        )
        self.assertEqual(await process.ended, 2)
        self.assertRegex(process.err, rb"\Akgw: listener PLAINTEXT cannot use systemd:.*FileDescriptorName.*\n\Z")

    async def test_twistd_json(self) -> None:
        """Under twistd the log has kgw's form where that is set."""
        # an engine that starts no sooner than the reactor, which handles signals
        options = (*QUIET, "--data", self.mktemp(), "--listen", "tcp:0:interface=127.0.0.1")
        process = self.run_python(*TWISTD, *options, "--log-format", "json")
        await process.ready
        process.transport.signalProcess("TERM")
        # twistd ends by the signal that stopped it
        await process.ended
        lines = [json.loads(line) for line in process.out.splitlines()]
        self.assertIn("kgw started", [line["msg"] for line in lines])
        self.assertLessEqual({line["logger"].partition(".")[0] for line in lines}, {"kgw"})


class UnitTests(SynchronousTestCase):
    """docs/systemd."""

    def unit(self, name: str) -> configparser.ConfigParser:
        parser = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",))
        parser.optionxform = str  # type: ignore[assignment, method-assign]
        parser.read_string((UNITS / name).read_text(encoding="utf-8"))
        return parser

    def test_they_fit(self) -> None:
        """The service asks for the socket by the name that the socket unit gives it, and waits to be told."""
        service, sockets = self.unit("kgw.service")["Service"], self.unit("kgw.socket")["Socket"]
        (name,) = re.findall(r"systemd:domain=INET6:name=(\w+)", service["ExecStart"])
        self.assertEqual((name, service["Type"]), (sockets["FileDescriptorName"], "notify"))
