"""Wall-clock and CPU time of one load, for client and server apart."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Measured:
    """
    What one load took.

    @ivar count: records or requests.
    @ivar size: bytes of each.
    @ivar server_cpu: seconds, all threads of the server.
    @ivar client_cpu: seconds of this process.
    """

    count: int
    size: int
    seconds: float
    server_cpu: float
    client_cpu: float

    @property
    def rate(self) -> float:
        """Per second."""
        return self.count / self.seconds


def cpu_of(pid: int) -> float:
    """Seconds of CPU a process has used, in user and kernel mode."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


class Stopwatch:
    """Starts when it is made; L{stop} gives what has gone by."""

    def __init__(self, server: int) -> None:
        self._server = server
        self._server_cpu = cpu_of(server)
        self._client_cpu = time.process_time()
        self._started = time.perf_counter()

    def stop(self, count: int, size: int) -> Measured:
        """What C{count} records of C{size} bytes took."""
        seconds = time.perf_counter() - self._started
        return Measured(
            count, size, seconds, cpu_of(self._server) - self._server_cpu, time.process_time() - self._client_cpu
        )


@contextlib.contextmanager
def awake(wanted: bool) -> Iterator[None]:
    """Keep cores from falling asleep with a spinning process of the lowest priority."""
    if not wanted:
        yield
        return
    spinner = subprocess.Popen([sys.executable, "-c", "import os\nos.nice(19)\nwhile os.getppid() != 1: pass"])
    try:
        yield
    finally:
        spinner.kill()
        spinner.wait()
