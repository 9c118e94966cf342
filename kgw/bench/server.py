"""The servers under load: a kgw and a limit server started here as processes, or one that runs already."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kgw.bench import limit
from kgw.bench.requests import PATIENCE, Address, BenchError

#: Where the package of this module is: children run the same kgw, whatever else is installed.
_HOME = Path(__file__).parents[2]

KGW, LIMIT, OTHER = "kgw", "limit", "vs"

_STARTED = "kgw started"
_LISTENER = re.compile(r"listener \S+ 127\.0\.0\.1:(\d+),")

#: Runs a module as the main program; Linux kills it (PR_SET_PDEATHSIG, SIGKILL) when this process is killed.
_LAUNCH = """
import ctypes, runpy, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 9)
module = sys.argv.pop(1)
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""


@dataclass(frozen=True)
class Server:
    """
    A server that accepts clients.

    @ivar name: L{KGW}, L{LIMIT} or L{OTHER}.
    @ivar pid: C{None} where it runs elsewhere.
    """

    name: str
    address: Address
    pid: int | None

    @property
    def keeps_records(self) -> bool:
        """Whether what is sent to it can be found there; not on the limit server."""
        return self.name != LIMIT


class Child:
    """A Python module that runs as a process of its own and says on stdout when it is ready."""

    def __init__(self, module: str, arguments: Sequence[str], log: Path) -> None:
        """
        @param log: its stderr is appended to this file.
        """
        self._command = [sys.executable, "-c", _LAUNCH, module, *arguments]
        self._log = log
        self._process: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int:
        """The process's id; only while it runs."""
        assert self._process is not None
        return self._process.pid

    def start(self, ready: str) -> list[str]:
        """
        Start it and wait for the line that begins with C{ready}.

        @return: its lines up to that one.
        @raise BenchError: it ended, or took too long; with the last line of its stderr.
        """
        own = {name: text for name, text in os.environ.items() if not name.startswith(("KAFKA_", "KGW_"))}
        own["PYTHONPATH"] = str(_HOME)
        with self._log.open("ab") as stderr:
            process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr, text=True, env=own
            )
        self._process = process
        assert process.stdout is not None
        alarm = threading.Timer(PATIENCE, process.kill)
        alarm.start()
        lines: list[str] = []
        try:
            for line in process.stdout:
                lines.append(line.rstrip("\n"))
                if line.startswith(ready):
                    return lines
        finally:
            alarm.cancel()
        self.kill()
        said = self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-1:]
        raise BenchError(f"{self._command[3]} did not start: {' '.join([*lines, *said])}")

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._reap(self._process)

    def terminate(self) -> None:
        """Let it end in order."""
        if self._process is not None:
            self._process.terminate()
            self._reap(self._process)

    def _reap(self, process: subprocess.Popen[str]) -> None:
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
        self._process = None


class Kgw:
    """A kgw of our own on a data directory of its own, which outlives it."""

    def __init__(self, folder: Path, options: Sequence[str] = ()) -> None:
        """
        @param options: of the C{kgw} command.
        """
        own = ["--data", str(folder / "data"), "--listen", "tcp:0:interface=127.0.0.1"]
        # not measured, and its port may be another's
        own += ["--set", "kgw.http.endpoint="]
        self._child = Child("kgw.cli", [*own, *options], folder / "kgw.log")

    def start(self) -> tuple[Server, float]:
        """
        Start it.

        @return: the server, and the seconds from the start of its process until it was ready.
        @raise BenchError: it does not start.
        """
        began = time.perf_counter()
        lines = self._child.start(_STARTED)
        seconds = time.perf_counter() - began
        port = next(int(match[1]) for line in lines if (match := _LISTENER.match(line)))
        return Server(KGW, Address("127.0.0.1", port), self._child.pid), seconds

    def stop(self) -> None:
        """SIGTERM: what is on its way is finished."""
        self._child.terminate()

    def kill(self) -> None:
        """SIGKILL."""
        self._child.kill()


@contextlib.contextmanager
def started_kgw(folder: Path, options: Sequence[str]) -> Iterator[Server]:
    """A fresh kgw, killed in the end."""
    gateway = Kgw(folder, options)
    try:
        yield gateway.start()[0]
    finally:
        gateway.kill()


@contextlib.contextmanager
def started_limit(folder: Path, options: Sequence[str]) -> Iterator[Server]:
    """
    A fresh limit server, ended in the end.

    @param options: of C{python -m kgw.bench.limit}.
    """
    child = Child("kgw.bench.limit", ["--data", str(folder), *options], folder / "limit.log")
    try:
        port = int(child.start(limit.READY)[-1].removeprefix(limit.READY))
        yield Server(LIMIT, Address("127.0.0.1", port), child.pid)
    finally:
        child.kill()
