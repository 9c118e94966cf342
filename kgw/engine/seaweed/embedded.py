"""A SeaweedFS of the gateway's own: its directory, its two processes, and the file with what they write."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.logfile import LogFile

from kgw.engine.seaweed.calls import Calls
from kgw.engine.seaweed.child import Child
from kgw.engine.seaweed.proto import filer_pb2
from kgw.engine.seaweed.weed import broker_command, environment, find_weed, kept_ports, prepare, server_command
from kgw.errors import KafkaError, StartError

log = Logger("kgw.engine.seaweed")

#: How long the processes of a gateway that was killed are waited for; some more than they outlive it.
_PATIENCE_S = 10.0
_LOG_BYTES = 8 << 20


class Embedded:
    """
    C{weed server -filer} and C{weed mq.broker} on loopback, over one directory, for as long as the gateway lives.

    The gateway and both processes hold one lock together, so that no two engines ever share the directory.

    @ivar directory: absolute; C{data} in it is SeaweedFS', C{weed.log} and C{weed.log.1} are what the processes wrote.
    @ivar masters: what the engine is found by; known once L{start} has fired.
    """

    def __init__(self, reactor: Any, directory: str, calls: Calls, memory_bytes: int = 0) -> None:
        """
        @param reactor: starts processes and tells the time.
        @param calls: asks the filer whether it works; stopped by its owner, after L{stop} has fired.
        @param memory_bytes: what each process should not grow beyond; 0 is no bound.
        @raise StartError: there is no C{weed}, or this system cannot keep it.
        """
        if not hasattr(os, "pidfd_open"):
            raise StartError("an embedded SeaweedFS needs Linux: start one, and name it with --masters HOST:9333")
        self.directory = os.path.abspath(directory)
        self.masters: list[str] = []
        self._reactor = reactor
        self._calls = calls
        self._memory_bytes = memory_bytes
        self._weed = find_weed()
        self._lock = -1
        self._log: LogFile | None = None
        self._children: list[Child] = []

    @property
    def pids(self) -> Mapping[str, int]:
        """The processes that run now: C{server} and C{broker}."""
        return {child.name: child.pid for child in self._children if child.pid}

    def start(self) -> Deferred[None]:
        """
        Start the processes and keep them running, the broker whenever the filer works.

        @return: fires when the first of them is on its way (when they can be used is for C{Discovery} to find out);
            fails with L{StartError} where the directory cannot be used, or is in use. It may be cancelled, and L{stop}
            is called in any case.
        """
        return Deferred.fromCoroutine(self._start())

    def stop(self) -> Deferred[None]:
        """
        Kill the processes; what the gateway still wants stored has to be stored before.

        @return: fires when they are gone and the directory is free.
        """
        return Deferred.fromCoroutine(self._stop())

    async def _start(self) -> None:
        await self._take_directory()
        try:
            prepare(self.directory)
            ports = kept_ports(self.directory)
            self._log = LogFile("weed.log", self.directory, rotateLength=_LOG_BYTES, maxRotatedFiles=1)
        except OSError as error:
            raise self._unusable(error) from error
        self.masters = [ports.master_address]
        filer = ports.filer_grpc
        server = self._child("server", server_command(self._weed, self.directory, ports), lambda: succeed(None))
        broker = self._child("broker", broker_command(self._weed, ports), lambda: self._until_works(filer))
        self._children = [server, broker]
        log.warn(
            "SeaweedFS runs in {directory}; port {port} of all addresses of this machine is its broker's, which trusts"
            " whoever reaches it: see docs/engines.md",
            directory=self.directory,
            port=ports.broker,
        )
        for child in self._children:
            child.start()

    async def _stop(self) -> None:
        children, self._children = self._children, []
        # the broker first: without a filer it would only complain
        for child in reversed(children):
            await child.stop()
        if self._log is not None:
            self._log.close()
            self._log = None
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _child(self, name: str, command: list[str], ready: Callable[[], Deferred[None]]) -> Child:
        variables = environment(self.directory, self._memory_bytes)
        return Child(self._reactor, name, command, variables, self.directory, self._lock, self._record, ready)

    def _record(self, line: str) -> None:
        if self._log is not None:
            self._log.write(f"{line}\n")

    def _until_works(self, filer: str) -> Deferred[None]:
        """Fires when the filer answers; a broker that finds none is not of use before 20 s have passed."""
        return Deferred.fromCoroutine(self._ask(filer))

    async def _ask(self, filer: str) -> None:
        request = filer_pb2.KvGetRequest(key=b"kgw-ready")
        method = "/filer_pb.SeaweedFiler/KvGet"
        while True:
            try:
                await self._calls.unary(filer, method, request, filer_pb2.KvGetResponse, timeout_s=2.0)
            except KafkaError:
                await deferLater(self._reactor, 0.1)
            else:
                return

    async def _take_directory(self) -> None:
        """Lock the directory; processes of a gateway that was killed hold it until they have ended."""
        deadline = self._reactor.seconds() + _PATIENCE_S
        try:
            os.makedirs(self.directory, mode=0o700, exist_ok=True)
            self._lock = os.open(os.path.join(self.directory, ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._unusable(error) from error
        while not self._locked():
            if self._reactor.seconds() > deadline:
                raise StartError(f"the directory {self.directory} is in use by another kgw")
            await deferLater(self._reactor, 0.2)

    def _locked(self) -> bool:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            raise self._unusable(error) from error
        return True

    def _unusable(self, error: OSError) -> StartError:
        return StartError(f"the directory {self.directory} cannot be used: {error.strerror or error}")
