"""A SeaweedFS of the gateway's own: it runs, comes back when it is killed, and leaves nothing behind."""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from errno import ENOSPC
from functools import partial
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.defer import succeed
from twisted.internet.task import Clock, deferLater
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from kgw.engine.bridge import InlineBridge, ThreadBridge
from kgw.engine.seaweed import minder, weed
from kgw.engine.seaweed.calls import Calls
from kgw.engine.seaweed.child import Child
from kgw.engine.seaweed.embedded import Embedded
from kgw.engine.seaweed.proto import mq_broker_pb2
from kgw.errors import KafkaError, StartError

reactor: Any = global_reactor


def alive(pid: int) -> bool:
    """Whether there is such a process."""
    return os.path.exists(f"/proc/{pid}")


@implementer(ILogObserver)
class Lines:
    """Keeps the lines that tell of the engine's processes."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines

    def __call__(self, event: LogEvent) -> None:
        if event.get("log_namespace") == "kgw.engine.seaweed":
            self._lines.append(formatEvent(event))


class Logged(TestCase):
    """
    Collects what the engine's processes are said to do.

    @ivar lines: in the log, of this engine.
    """

    timeout = 120

    def setUp(self) -> None:
        self.lines: list[str] = []
        listener = Lines(self.lines)
        globalLogPublisher.addObserver(listener)
        self.addCleanup(globalLogPublisher.removeObserver, listener)

    async def until(self, true: Callable[[], bool]) -> None:
        """Wait for it."""
        while not true():
            await deferLater(reactor, 0.05)


class EmbeddedTests(Logged):
    """With real processes."""

    def setUp(self) -> None:
        super().setUp()
        bridge = ThreadBridge(reactor, 2, "weed-test")
        bridge.start()
        self.addCleanup(bridge.stop)
        self.calls = Calls(bridge, None, 5.0)
        self.addCleanup(self.calls.stop)
        self.directory = os.path.abspath(self.mktemp())

    def embedded(self) -> Embedded:
        made = Embedded(reactor, self.directory, self.calls, 1 << 30)
        self.addCleanup(made.stop)
        return made

    def came_back(self, embedded: Embedded, name: str, before: int) -> bool:
        """Whether a process is another one."""
        return embedded.pids.get(name, before) != before

    async def find_balancer(self, embedded: Embedded) -> None:
        """Wait until the engine can be used, as far as it can tell without topics."""
        with open(os.path.join(self.directory, "ports.json"), encoding="utf-8") as file:
            ports = weed.Ports(**json.load(file))
        request, method = mq_broker_pb2.FindBrokerLeaderRequest(), "/messaging_pb.SeaweedMessaging/FindBrokerLeader"
        while True:
            try:
                await self.calls.unary(ports.broker_address, method, request, mq_broker_pb2.FindBrokerLeaderResponse)
                return
            except KafkaError:
                await deferLater(reactor, 0.1)

    async def test_killed_and_stopped(self) -> None:
        """Each process comes back after SIGKILL with its last lines in the log, and a stop leaves none."""
        embedded = self.embedded()
        await embedded.start()
        await self.find_balancer(embedded)
        first = dict(embedded.pids)
        self.assertEqual(set(first), {"server", "broker"})
        for name in ("broker", "server"):
            os.kill(first[name], signal.SIGKILL)
            await self.until(partial(self.came_back, embedded, name, first[name]))
            await self.find_balancer(embedded)
            (told,) = [line for line in self.lines if line.startswith(f"weed {name} has ended (signal 9)")]
            self.assertIn("its last lines:\nI", told)
        second = dict(embedded.pids)
        self.assertEqual([name for name in first if first[name] == second[name]], [])
        begun = reactor.seconds()
        await embedded.stop()
        self.assertLess(reactor.seconds() - begun, 5)
        self.assertEqual([pid for pid in (*first.values(), *second.values()) if alive(pid)], [])
        with open(os.path.join(self.directory, "weed.log"), encoding="utf-8") as file:
            written = file.read()
        self.assertIn("server: I", written)
        self.assertIn("broker: I", written)


class DirectoryTests(SynchronousTestCase):
    """What is found out before anything is started."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.path = self.mktemp()

    def embedded(self) -> Embedded:
        made = Embedded(self.clock, self.path, Calls(InlineBridge(), None))
        self.addCleanup(made.stop)
        return made

    def test_in_use(self) -> None:
        """A directory that others hold is waited for a while, for they may be on their way out, and then refused."""
        os.mkdir(self.path)
        holder = os.open(os.path.join(self.path, ".lock"), os.O_RDWR | os.O_CREAT)
        self.addCleanup(os.close, holder)
        fcntl.flock(holder, fcntl.LOCK_EX)
        started = self.embedded().start()
        self.clock.pump([0.5] * 10)
        self.assertNoResult(started)
        self.clock.pump([0.5] * 12)
        self.assertIn("in use by another kgw", str(self.failureResultOf(started, StartError).value))

    def test_given_up(self) -> None:
        """Waiting for it can be cut short."""
        os.mkdir(self.path)
        holder = os.open(os.path.join(self.path, ".lock"), os.O_RDWR | os.O_CREAT)
        self.addCleanup(os.close, holder)
        fcntl.flock(holder, fcntl.LOCK_EX)
        embedded = self.embedded()
        started = embedded.start()
        started.cancel()
        self.failureResultOf(started)
        self.successResultOf(embedded.stop())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_no_directory(self) -> None:
        """A path that cannot be one is refused with the system's reason."""
        with open(self.path, "w", encoding="ascii"):
            pass
        text = str(self.failureResultOf(self.embedded().start(), StartError).value)
        self.assertIn(os.path.abspath(self.path), text)
        self.assertIn("File exists", text)


class ChildTests(Logged):
    """Supervision, of programs that are quicker than weed."""

    def child(self, *command: str) -> Child:
        self.written: list[str] = []
        self.full = False
        directory = os.path.abspath(self.mktemp())
        os.mkdir(directory)
        lock = os.open(os.path.join(directory, "lock"), os.O_RDWR | os.O_CREAT)
        self.addCleanup(os.close, lock)
        variables = {"PATH": os.defpath}
        made = Child(reactor, "demo", command, variables, directory, lock, self.record, lambda: succeed(None))
        self.addCleanup(made.stop)
        return made

    def record(self, line: str) -> None:
        if self.full:
            raise OSError(ENOSPC, os.strerror(ENOSPC))
        self.written.append(line)

    async def test_ends_again_and_again(self) -> None:
        """It is started again after ever longer pauses; the log has how it ended, and its last lines."""
        child = self.child("/bin/sh", "-c", "pwd; echo to stderr >&2; printf 'not ended'; exit 3")
        child.start()
        await self.until(lambda: sum("has ended" in line for line in self.lines) == 2)
        await child.stop()
        told = [line for line in self.lines if "has ended" in line]
        self.assertIn("(exit status 3) and is started again in 0.5 s", told[0])
        self.assertIn("again in 1.0 s", told[1])
        self.assertIn("demo: to stderr", self.written)
        self.assertIn("demo: not ended", self.written)
        self.assertIn("to stderr", told[0])

    async def test_cannot_be_recorded(self) -> None:
        """A full disk below its log, which is told once, does not end a process: its pipes stay open."""
        child = self.child("/bin/sh", "-c", "echo one; sleep 0.2; echo two || exit 9; sleep 0.2; exit 3")
        self.full = True
        child.start()
        await self.until(lambda: any("has ended" in line for line in self.lines))
        await child.stop()
        self.assertIn("(exit status 3)", self.lines[-1])
        self.assertIn("one\ntwo", self.lines[-1])
        self.assertEqual(sum("No space left" in line for line in self.lines), 1)

    async def test_not_there(self) -> None:
        """A program that cannot be run is told as such."""
        self.child("/no/such/weed").start()
        await self.until(lambda: any("has ended" in line for line in self.lines))
        self.assertIn("/no/such/weed: No such file or directory", self.lines[-1])

    async def test_stopped(self) -> None:
        """A stop kills it, whatever it does with signals."""
        child = self.child("/bin/sh", "-c", "trap '' TERM INT HUP; echo ready; while :; do sleep 1; done")
        child.start()
        await self.until(lambda: bool(child.pid) and "demo: ready" in self.written)
        pid = child.pid
        await child.stop()
        self.assertFalse(alive(pid))
        self.assertEqual(child.pid, 0)


class MinderTests(SynchronousTestCase):
    """A program whose gateway is no more."""

    def setUp(self) -> None:
        line = 'exec "$0" -I -S "$1" 0.2 / /bin/sleep 600 3</dev/null 4>&1'
        self.minder = subprocess.Popen(
            ["/bin/sh", "-c", line, sys.executable, minder.__file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self.minder.stdout is not None and self.minder.stdin is not None
        self.addCleanup(self.minder.stdout.close)
        self.addCleanup(self.minder.stdin.close)
        self.addCleanup(self.minder.wait)
        self.addCleanup(self.minder.kill)
        self.pid = int(self.minder.stdout.readline())
        self.program = os.pidfd_open(self.pid)
        self.addCleanup(os.close, self.program)

    def ended(self) -> bool:
        """Whether the program ends within some seconds."""
        return bool(select.select([self.program], [], [], 20)[0])

    def test_gateway_killed(self) -> None:
        """It is given a moment, and killed."""
        self.assertTrue(alive(self.pid))
        assert self.minder.stdin is not None
        self.minder.stdin.close()
        self.assertTrue(self.ended())
        self.assertEqual(self.minder.wait(), 128 + signal.SIGKILL)

    def test_minder_killed(self) -> None:
        """It dies with its minder."""
        self.minder.kill()
        self.assertTrue(self.ended())

    def test_program_killed(self) -> None:
        """The minder ends with it and tells how."""
        os.kill(self.pid, signal.SIGTERM)
        self.assertEqual(self.minder.wait(), 128 + signal.SIGTERM)


class PortsTests(SynchronousTestCase):
    """Ports of an engine."""

    def test_kept(self) -> None:
        """They are the same at every start, as long as nobody else took one of them."""
        directory = self.mktemp()
        os.mkdir(directory)
        first = weed.kept_ports(directory)
        self.assertEqual(weed.kept_ports(directory), first)
        self.assertEqual(len(set(first.all())), 7)
        with socket.create_server(("127.0.0.1", first.filer + weed.GRPC_SHIFT)):
            second = weed.kept_ports(directory)
            self.assertFalse(set(second.all()) & {first.filer, first.filer + weed.GRPC_SHIFT})
        self.assertEqual(weed.kept_ports(directory), second)

    def test_environment(self) -> None:
        """weed takes flags from variables, so it gets none but a few."""
        self.assertEqual(set(weed.environment("/d")), {"PATH", "HOME", "TMPDIR"})
        self.assertEqual(weed.environment("/d", 5)["GOMEMLIMIT"], "5")
