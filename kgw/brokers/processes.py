"""Which process this is, whether another one on this machine has ended, and a clock that goes on through all of it."""

from __future__ import annotations

import os
import time
from pathlib import Path

from kgw.brokers.model import Process

#: States of a process that does nothing any more: a zombie, and one that is being taken down.
_ENDED = "ZX"
#: Linux' CLOCK_MONOTONIC stands still while the machine is suspended; a lease must not.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def uptime() -> float:
    """Seconds of a clock that is never set, and goes on while the machine sleeps (where the system has such a one)."""
    return time.clock_gettime(_CLOCK)


class Processes:
    """The processes of this machine, as far as they can be told from one another."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc

    def this(self) -> Process | None:
        """This process, C{None} where the system does not tell."""
        try:
            _, start_time = self._stat(os.getpid())
            return Process(self._boot_id(), self._pid_namespace(), os.getpid(), start_time)
        except (OSError, ValueError):
            return None

    def ended(self, process: Process) -> bool:
        """
        Whether a process has ended for sure.

        Of one on another machine, of an earlier start of this one, or in another pid namespace nothing is known.
        """
        try:
            if self._boot_id() != process.boot_id or self._pid_namespace() != process.pid_namespace:
                return False
        except OSError:
            return False
        if process.pid <= 0:
            return False
        try:
            state, start_time = self._stat(process.pid)
        except (OSError, ValueError):
            # /proc may hide the processes of others; signals do not
            return not _takes_signals(process.pid)
        return state in _ENDED or start_time != process.start_time

    def _boot_id(self) -> str:
        return (self._proc / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()

    def _pid_namespace(self) -> str:
        return os.readlink(self._proc / "self/ns/pid")

    def _stat(self, pid: int) -> tuple[str, int]:
        """State and start time (Linux: proc_pid_stat(5), fields 3 and 22)."""
        # the second field is a name in brackets that may hold anything
        fields = (
            (self._proc / str(pid) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        )
        if len(fields) < 20:
            raise ValueError("an unknown form of /proc/<pid>/stat")
        return fields[0], int(fields[19])


def _takes_signals(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
