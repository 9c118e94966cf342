"""One process that is to run: started, brought back when it ends, its last words told, and stopped for good."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IProcessTransport
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from kgw.engine.seaweed import minder

log = Logger("kgw.engine.seaweed")

#: So long the process outlives a gateway that was killed: the broker flushes every second.
_GRACE_S = 3.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 15.0
#: A process that has lived so long is no longer one that cannot start.
_HEALTHY_S = 30.0
#: A killed process is gone at once; where the disk hangs its minder is killed too, and it goes when it can.
_KILL_S = 5.0
_LAST_LINES = 20
_LONGEST_LINE = 4096


class Child:
    """
    A supervised process, under a minder (C{kgw.engine.seaweed.minder}) so that it cannot outlive the gateway.

    @ivar name: for people.
    @ivar pid: of the process; 0 while it does not run.
    """

    def __init__(
        self,
        reactor: Any,
        name: str,
        command: Sequence[str],
        variables: Mapping[str, str],
        directory: str,
        lock: int,
        record: Callable[[str], None],
        ready: Callable[[], Deferred[None]],
    ) -> None:
        """
        @param reactor: starts processes and tells the time.
        @param variables: the whole environment of the process.
        @param directory: the one it works in.
        @param lock: a descriptor that the process inherits, so that whoever wants the lock waits for its end.
        @param record: is given each line it writes, with its name in front.
        @param ready: fires when it is worth starting.
        """
        self.name = name
        self.pid = 0
        self._reactor = reactor
        self._command = command
        self._variables = variables
        self._directory = directory
        self._lock = lock
        self._record = record
        self._ready = ready
        self._pause_s = _FIRST_PAUSE_S
        self._begun_s = 0.0
        self._last: deque[str] = deque(maxlen=_LAST_LINES)
        self._transport: IProcessTransport | None = None
        self._beginning: Deferred[None] | None = None
        self._gone: Deferred[None] | None = None
        self._stopping = False
        self._unrecorded = False

    def start(self) -> None:
        """Run it, and again whenever it ends, until L{stop}."""
        self._begin(0.0)

    def stop(self) -> Deferred[None]:
        """
        Kill it, and do not bring it back.

        @return: fires when it is gone.
        """
        self._stopping = True
        gone = self._gone = Deferred()
        if self._beginning is not None:
            self._beginning.cancel()
        if self._transport is None:
            gone.callback(None)
            return gone
        with suppress(KeyError):  # its pipe is gone already: it is ending by itself
            self._transport.writeToChild(0, b"k")
        alarm: IDelayedCall = self._reactor.callLater(_KILL_S, self._kill_minder)

        def silence(_: None) -> None:
            if alarm.active():
                alarm.cancel()

        return gone.addCallback(silence)

    def _begin(self, pause_s: float) -> None:
        beginning = self._beginning = Deferred.fromCoroutine(self._run(pause_s))
        beginning.addErrback(self._not_begun)

    async def _run(self, pause_s: float) -> None:
        await deferLater(self._reactor, pause_s)
        await self._ready()
        self._beginning = None
        self._last.clear()
        self._begun_s = self._reactor.seconds()
        self._transport = self._reactor.spawnProcess(
            _Run(self),
            sys.executable,
            # isolated, and without the site packages, whose import would take longer than all the rest
            [sys.executable, "-I", "-S", minder.__file__, str(_GRACE_S), self._directory, *self._command],
            env=dict(self._variables),
            childFDs={0: "w", 1: "r", 2: "r", minder.LOCK_DESCRIPTOR: self._lock, minder.PID_DESCRIPTOR: "r"},
        )

    def _not_begun(self, failure: Failure) -> None:
        self._beginning = None
        if failure.check(CancelledError) and self._stopping:
            return
        log.error("weed {name} cannot be started: {reason}", name=self.name, reason=failure.getErrorMessage())
        self._again()

    def _again(self) -> None:
        pause_s, self._pause_s = self._pause_s, min(self._pause_s * 2, _LONGEST_PAUSE_S)
        self._begin(pause_s)

    def _kill_minder(self) -> None:
        if self._transport is not None:
            self._transport.signalProcess("KILL")

    def told_pid(self, pid: int) -> None:
        """The process runs."""
        self.pid = pid
        log.info("weed {name} runs as process {pid}", name=self.name, pid=pid)

    def wrote(self, line: str) -> None:
        """The process wrote a line."""
        line = line[:_LONGEST_LINE]
        self._last.append(line)
        try:
            self._record(f"{self.name}: {line}")
        except (OSError, ValueError) as error:
            # raised further it would close the process's pipes, and with them the process
            if not self._unrecorded:
                log.warn("what weed {name} writes cannot be kept: {reason}", name=self.name, reason=error)
            self._unrecorded = True
        else:
            self._unrecorded = False

    def ended(self, reason: Failure) -> None:
        """The process and its minder are gone."""
        self._transport = None
        self.pid = 0
        if self._stopping:
            if self._gone is not None and not self._gone.called:
                self._gone.callback(None)
            return
        if self._reactor.seconds() - self._begun_s > _HEALTHY_S:
            self._pause_s = _FIRST_PAUSE_S
        log.error(
            "weed {name} has ended ({how}) and is started again in {pause} s; its last lines:\n{lines}",
            name=self.name,
            how=_how(reason),
            pause=self._pause_s,
            lines="\n".join(self._last) or "(none)",
        )
        self._again()


class _Run(ProcessProtocol):
    """One life of a child."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self._partial: dict[int, bytes] = {}

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """Cut what came into lines, one stream at a time."""
        *lines, rest = (self._partial.get(childFD, b"") + data).split(b"\n")
        if len(rest) > _LONGEST_LINE:
            lines.append(rest)
            rest = b""
        self._partial[childFD] = rest
        for line in lines:
            self._line(childFD, line)

    def processEnded(self, reason: Failure) -> None:
        """All its pipes are closed, which those who inherited them held open as well."""
        for descriptor, rest in self._partial.items():
            if rest:
                self._line(descriptor, rest)
        self._child.ended(reason)

    def _line(self, descriptor: int, line: bytes) -> None:
        if descriptor == minder.PID_DESCRIPTOR:
            self._child.told_pid(int(line))
        else:
            self._child.wrote(line.decode("utf-8", "replace"))


def _how(reason: Failure) -> str:
    """What a minder's end says about its program's."""
    code = getattr(reason.value, "exitCode", None)
    if code is None:
        return reason.getErrorMessage()
    return f"signal {code - 128}" if code > 128 else f"exit status {code}"
