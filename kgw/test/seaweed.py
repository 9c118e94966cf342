"""A real SeaweedMQ for tests: one that a test process shares, and others to kill and restart at will."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cache
from typing import Any

import grpc

from kgw.engine.seaweed.h2.security import Security
from kgw.engine.seaweed.security import channel
from kgw.engine.seaweed.weed import (
    Ports,
    broker_command,
    environment,
    find_weed,
    free_ports,
    prepare,
    server_command,
)
from kgw.errors import StartError

#: A start takes about 7 seconds, on a busy machine some times that.
_START_TIMEOUT_S = 90.0
#: The broker's methods that ask for the balancer kill it in the first moments after it has one.
_GENTLE_S = 1.5

#: Becomes the program in the arguments, which Linux kills with the tests (PR_SET_PDEATHSIG, SIGKILL). A process of its
#: own does this, as code between fork and exec would run in a copy of this one, which has threads of gRPC.
_LAUNCH = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


class Engine:
    """
    C{weed server -filer} and C{weed mq.broker} over a temporary directory, on loopback ports of their own.

    All methods block. Start it from the main thread: the system ends it with the thread that began it.

    @ivar directory: everything it has: C{data} of the server, and what each process wrote to its log.
    @ivar masters: the masters' addresses (host and HTTP port), as C{kgw.seaweedmq.masters} takes them.
    @ivar filer: the filer's gRPC address.
    @ivar filer_http: the filer's HTTP address.
    @ivar broker: the broker's gRPC address.
    @ivar server_pid: of the running C{weed server}.
    @ivar broker_pid: of the running C{weed mq.broker}.
    """

    def __init__(self, security: Security | None = None) -> None:
        """
        @param security: how to reach it where a C{security.toml} was put into its directory.
        """
        self._security = security
        try:
            self._weed = find_weed()
        except StartError as error:
            raise AssertionError(
                "these tests drive a real SeaweedMQ, which is not installed: pip install 'kgw[test]'"
            ) from error
        self.directory = tempfile.mkdtemp(prefix="kgw-weed-")
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        atexit.register(self.discard)
        self._take_ports(free_ports())

    def _take_ports(self, ports: Ports) -> None:
        self.ports = ports
        self.masters = [ports.master_address]
        self.filer = ports.filer_grpc
        self.filer_http = ports.filer_http
        self.broker = ports.broker_address

    @property
    def server_pid(self) -> int:
        """The process that is master, volumes and filer."""
        return self._running["server"].pid

    @property
    def broker_pid(self) -> int:
        """The broker's process."""
        return self._running["broker"].pid

    def start(self) -> Engine:
        """Start what does not run, on the same directory and ports as ever; returns when it can be used."""
        prepare(self.directory)
        deadline = time.monotonic() + _START_TIMEOUT_S
        self._spawn("server", server_command(self._weed, self.directory, self.ports))
        self._until(deadline, "the filer", self._filer_stores)
        fresh = self._spawn("broker", broker_command(self._weed, self.ports))
        self._until(deadline, "the broker's balancer", lambda: self._ask_broker("FindBrokerLeader", 0.1))
        if fresh:
            time.sleep(_GENTLE_S)
        self._until(deadline, "the broker", lambda: self._ask_broker("ListTopics", 0.2))
        return self

    def kill(self) -> None:
        """SIGKILL to both, as a crash of the machine; what the broker has not flushed is lost."""
        self._signal(signal.SIGKILL, "broker", "server")

    def kill_broker(self) -> None:
        """SIGKILL to the broker alone; start() brings it back."""
        self._signal(signal.SIGKILL, "broker")

    def terminate(self, grace_s: float | None = None) -> None:
        """
        SIGTERM to both, and their ends waited for; it takes 15 seconds and flushes nothing.

        @param grace_s: what still runs after so long is killed, as service managers do.
        """
        self._signal(signal.SIGTERM, "broker", "server", grace_s=grace_s)

    def restart(self) -> Engine:
        """Kill what runs, and start."""
        self.kill()
        return self.start()

    def discard(self) -> None:
        """End it for good and remove its directory; what has not been discarded is at exit."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)
        atexit.unregister(self.discard)

    def output(self, which: str = "broker", lines: int = 30) -> str:
        """The last lines that a process wrote: C{"server"} or C{"broker"}."""
        path = os.path.join(self.directory, f"{which}.out")
        if not os.path.exists(path):
            return ""
        with open(path, encoding="utf-8", errors="replace") as file:
            return "".join(file.readlines()[-lines:])

    def _spawn(self, name: str, command: list[str]) -> bool:
        """Start one process unless it runs; whether it did not."""
        running = self._running.get(name)
        if running is not None and running.poll() is None:
            return False
        with open(os.path.join(self.directory, f"{name}.out"), "ab") as out:
            self._running[name] = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _LAUNCH, str(os.getpid()), *command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=self.directory,
                env=dict(environment(self.directory)),
                start_new_session=True,
            )
        return True

    def _signal(self, number: signal.Signals, *names: str, grace_s: float | None = None) -> None:
        processes = [self._running.pop(name) for name in names if name in self._running]
        for process in processes:
            if process.poll() is None:
                process.send_signal(number)
        for process in processes:
            try:
                process.wait(grace_s)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _until(self, deadline: float, what: str, attempt: Callable[[], bool]) -> None:
        while not attempt():
            for name, process in self._running.items():
                if process.poll() is not None:
                    raise AssertionError(f"weed's {name} ended with {process.returncode}:\n{self.output(name)}")
            if time.monotonic() > deadline:
                logs = "\n".join(self.output(name) for name in self._running)
                raise AssertionError(f"{what} was not ready after {_START_TIMEOUT_S:.0f} s:\n{logs}")

    def _filer_stores(self) -> bool:
        put = b"\x0a\x09kgw-ready\x12\x01y"  # KvPutRequest: key, value
        return self._call(self.filer, "/filer_pb.SeaweedFiler/KvPut", put, 0.05)

    def _ask_broker(self, method: str, pause_s: float) -> bool:
        return self._call(self.broker, f"/messaging_pb.SeaweedMessaging/{method}", b"", pause_s)

    def _call(self, address: str, method: str, request: bytes, pause_s: float) -> bool:
        """Whether a unary call succeeds; after a failure a pause is made."""
        # A channel that has failed waits ever longer before it dials again: each attempt has its own.
        try:
            with channel(address, self._security, (), 2.0) as made:
                call: Any = made.unary_unary(method)
                call(request, timeout=2.0)
        except (grpc.RpcError, OSError):
            time.sleep(pause_s)
            return False
        return True


@cache
def engine() -> Engine:
    """The engine that all tests of a process share, started when first asked for; each test uses topics of its own."""
    return Engine().start()
