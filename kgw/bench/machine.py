"""What the operating system says about a process: CPU time and memory; and how cores are kept awake. Linux only."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_TICKS = os.sysconf("SC_CLK_TCK")
_KILO = re.compile(r"^(VmRSS|RssAnon):\s+(\d+) kB$", re.MULTILINE)

#: Ends with its parent, however that ends.
_SPIN = "import os, sys\nos.nice(19)\nparent = int(sys.argv[1])\nwhile os.getppid() == parent: pass"


class Memory(NamedTuple):
    """
    Memory of a process, in bytes.

    @ivar resident: all of it, mapped files included.
    @ivar anonymous: without files, which the system may drop when it needs room.
    """

    resident: int
    anonymous: int


def cpu_of(pid: int) -> float:
    """
    Seconds of CPU that all threads of a process have used, to the nanosecond where the kernel counts so.

    Threads that have ended are missing from the fine count; then the coarse one, in ticks of 10 ms, is larger.
    """
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    ticks = (int(fields[11]) + int(fields[12])) / _TICKS
    fine = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        # a thread may end between the two looks
        with contextlib.suppress(OSError):
            fine += int((task / "schedstat").read_text(encoding="ascii").split()[0])
    seconds = fine / 1e9
    return seconds if seconds > ticks - 0.1 else ticks


def memory_of(pid: int) -> Memory:
    """The memory a process holds now."""
    found = dict(_KILO.findall(Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")))
    return Memory(int(found["VmRSS"]) * 1024, int(found.get("RssAnon", 0)) * 1024)


class Spent(NamedTuple):
    """
    What went by between two moments, in seconds.

    @ivar server: CPU of the server; C{None} where it is not known.
    @ivar client: CPU of this process.
    """

    seconds: float
    server: float | None
    client: float


class Stopwatch:
    """Starts when it is made; L{stop} says what has gone by."""

    def __init__(self, pid: int | None) -> None:
        """
        @param pid: the server's; C{None} where it runs elsewhere.
        """
        self._pid = pid
        self._server = cpu_of(pid) if pid is not None else 0.0
        self._client = time.process_time()
        self._started = time.perf_counter()

    def stop(self) -> Spent:
        """What has gone by; may be called again."""
        seconds = time.perf_counter() - self._started
        client = time.process_time() - self._client
        return Spent(seconds, cpu_of(self._pid) - self._server if self._pid is not None else None, client)


@contextlib.contextmanager
def awake(wanted: bool) -> Iterator[None]:
    """
    Keep cores from falling asleep, with a process of the lowest priority that spins.

    Waking a core is slow, most of all in virtual machines: whatever goes back and forth between two processes is two
    to four times slower where both sleep meanwhile.
    """
    if not wanted:
        yield
        return
    spinner = subprocess.Popen([sys.executable, "-c", _SPIN, str(os.getpid())])
    try:
        yield
    finally:
        spinner.kill()
        spinner.wait()


def allow_files(count: int) -> None:
    """
    Let this process, and those it starts from now on, have this many files open.

    @raise OSError: the system allows fewer.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        if hard != resource.RLIM_INFINITY and hard < count:
            raise OSError(f"{count} open files are needed, and the system allows {hard}")
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def describe() -> dict[str, str | int | float]:
    """This machine in a few words: no names, no addresses."""
    cpu = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    model = re.search(r"^model name\s*:\s*(.+)$", cpu, re.MULTILINE)
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cpu": model[1] if model else platform.machine(),
        "cores": os.cpu_count() or 0,
        "memory_gib": round(pages / (1 << 30)),
        "kernel": platform.release().partition("-")[0],
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
    }
