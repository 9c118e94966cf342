"""A real kgw process for tests with real clients: start, kill, start again, and always gone at the end."""

from __future__ import annotations

import functools
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from twisted.trial.unittest import SynchronousTestCase

import kgw
from kgw.test import seaweed
from kgw.test.live.clearing import clear

READY = "kgw started"
#: Seconds a start or an orderly stop may take before the test fails.
PATIENCE = 20.0

#: Runs C{python -m kgw.cli}; Linux kills it (PR_SET_PDEATHSIG, SIGKILL) when the tests are killed, which then
#: cannot clean up. The first argument is the limit of a file's size; only the soft one, which can be raised again.
_LAUNCH = """
import ctypes, resource, runpy, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 9)
limit = int(sys.argv.pop(1))
if limit >= 0:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
runpy.run_module("kgw.cli", run_name="__main__", alter_sys=True)
"""

_LISTENER = re.compile(r"listener (\S+) 127\.0\.0\.1:(\d+),")


class GatewayProcess:
    """
    A C{kgw} process on a data directory of its own.

    @cvar patience: seconds that a start may take.
    @ivar port: the TCP port it is bound to; the same after a restart.
    @ivar ports: those of all its TCP listeners, by name.
    @ivar banner: what it printed when it started.
    @ivar data: its data directory.
    @ivar directory: the folder above it, the test's own.
    @ivar file_limit: what the next start is given.
    """

    patience = PATIENCE

    def __init__(self, directory: Path, *options: str, file_limit: int = -1) -> None:
        """
        @param directory: a folder of the test's own.
        @param options: further command line options.
        @param file_limit: the largest file it may write, in bytes (C{RLIMIT_FSIZE}); -1 is any.
        """
        self.directory = directory
        self.file_limit = file_limit
        self.data = directory / "data"
        self.port = 0
        self.ports: dict[str, int] = {}
        self.banner: list[str] = []
        self._options = options
        self._log = directory / "stderr"
        self._process: subprocess.Popen[str] | None = None

    @property
    def bootstrap(self) -> str:
        """What clients are told."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The process's id; only while it runs."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """
        Start the process and wait until it accepts clients.

        @raise AssertionError: it ended, or took too long; says what it wrote to stderr.
        """
        # several run at a time; a test that wants HTTP names an endpoint
        command = [sys.executable, "-c", _LAUNCH, str(self.file_limit), "--set", "kgw.http.endpoint="]
        command += ["--data", str(self.data)]
        command += ["--listen", f"tcp:{self.port}:interface=127.0.0.1", *self._options]
        # properties of whoever runs the tests are none of the test's
        environment = {name: text for name, text in os.environ.items() if not name.startswith(("KGW_", "KAFKA_"))}
        # the kgw that runs these tests, installed or not
        environment["PYTHONPATH"] = str(Path(kgw.__file__).parent.parent)
        with self._log.open("ab") as stderr:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                env=environment,
            )
        assert self._process.stdout is not None
        lines = self._until_ready(self._process, self._process.stdout)
        found = [match for line in lines if (match := _LISTENER.match(line))]
        if not lines or lines[-1] != READY or not found:
            self.kill()
            raise AssertionError(f"kgw did not start: {lines}\n{self.stderr()}")
        self.banner = lines
        self.ports = {match[1]: int(match[2]) for match in found}
        self.port = int(found[0][2])

    def _until_ready(self, process: subprocess.Popen[str], stdout: IO[str]) -> list[str]:
        alarm = threading.Timer(self.patience, process.kill)
        alarm.start()
        lines = []
        try:
            for line in stdout:
                lines.append(line.rstrip("\n"))
                if lines[-1] == READY:
                    break
        finally:
            alarm.cancel()
        return lines

    def kill(self) -> None:
        """End it as a crash would (SIGKILL), and wait."""
        self._end(signal.SIGKILL)

    def terminate(self) -> int:
        """
        Ask it to stop (SIGTERM), and wait.

        @return: its exit status.
        @raise subprocess.TimeoutExpired: it does not stop.
        """
        return self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> int:
        process = self._process
        if process is None:
            return 0
        process.send_signal(number)
        try:
            status = process.wait(PATIENCE)
        finally:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
            self._process = None
        return status

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def memory(self) -> int:
        """What it has in memory now (RSS), in bytes."""
        (line,) = [line for line in self._about("status").splitlines() if line.startswith("VmRSS:")]
        return int(line.split()[1]) << 10

    @property
    def descriptors(self) -> int:
        """How many files and sockets it has open."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def open_files(self) -> list[str]:
        """What is behind its descriptors."""
        found = []
        for descriptor in Path(f"/proc/{self.pid}/fd").iterdir():
            try:
                found.append(os.readlink(descriptor))
            except FileNotFoundError:
                continue  # closed meanwhile
        return sorted(found)

    @property
    def logged(self) -> int:
        """Bytes that all its processes have written to stderr."""
        return self._log.stat().st_size

    def _about(self, name: str) -> str:
        return Path(f"/proc/{self.pid}/{name}").read_text(encoding="ascii")

    def log_lines(self, start: int) -> list[str]:
        """The lines of stderr from this byte on."""
        return self._log.read_bytes()[start:].decode("utf-8", "replace").splitlines()

    def stderr(self) -> str:
        """The end of what all its processes have logged."""
        return self._log.read_text(encoding="utf-8", errors="replace")[-8000:]

    def history(self, group_id: str) -> list[str]:
        """What all its processes have logged of a group."""
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        return [line for line in lines if f"group {group_id}: " in line]


def _with_logs(test: Callable[[Any], None]) -> Callable[[Any], None]:
    """The test, which shows what its servers have logged when it fails."""

    @functools.wraps(test)
    def run(case: LiveTestCase) -> None:
        try:
            test(case)
        except BaseException:
            print(f"\n--- {case.id()}\n{case.account()}", file=sys.stderr)
            raise

    return run


class LiveTestCase(SynchronousTestCase):
    """
    A test with kgw processes, whose log is shown when it fails. Blocking: the server is another process.

    @cvar engine: what its servers keep their logs with (C{kgw.engine}). With C{"seaweedmq"} that is the cluster which
        all tests of this process share, so a test has one server at a time, which begins without topics and groups:
        those of earlier tests are deleted through it, as a user would.
    @ivar servers: the processes this test has started.
    """

    engine = "local"

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name, member in list(vars(cls).items()):
            if name.startswith("test_"):
                setattr(cls, name, _with_logs(member))

    def setUp(self) -> None:
        self.servers: list[GatewayProcess] = []

    def account(self) -> str:
        """What is shown when a test fails."""
        parts = [f"--- stderr of kgw\n{server.stderr()}" for server in self.servers]
        if self.engine == "seaweedmq":
            parts += [f"--- weed's {which}\n{seaweed.engine().output(which)}" for which in ("server", "broker")]
        return "\n".join(parts)

    def serve(self, *options: str, file_limit: int = -1) -> GatewayProcess:
        """A started kgw that ends with the test; the parameters are L{GatewayProcess}'s."""
        shared = self.engine == "seaweedmq"
        if shared:
            options = ("--engine", self.engine, "--masters", ",".join(seaweed.engine().masters), *options)
            for earlier in self.servers:
                earlier.kill()
        folder = tempfile.TemporaryDirectory(prefix="kgw-live-")
        self.addCleanup(folder.cleanup)
        server = GatewayProcess(Path(folder.name), *options, file_limit=file_limit)
        self.servers.append(server)
        self.addCleanup(server.kill)
        server.start()
        if shared:
            clear(server.port)
        return server
