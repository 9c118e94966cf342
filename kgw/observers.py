"""What becomes of log events: lines as Kafka writes them or JSON objects, and never a flood."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any, TextIO

from twisted.internet.task import LoopingCall
from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    formatEvent,
)
from zope.interface import implementer

LEVELS = {
    LogLevel.debug: "DEBUG",
    LogLevel.info: "INFO",
    LogLevel.warn: "WARN",
    LogLevel.error: "ERROR",
    LogLevel.critical: "FATAL",
}

#: Events of one kind that are written in a window of so many seconds; the others are counted.
MOST_OF_A_KIND = 200
WINDOW_SECONDS = 10.0

#: What events may carry besides their text, and the name it has in a JSON line.
FIELDS = {
    "remote": "remote",
    "client_id": "client_id",
    "principal": "principal",
    "api": "api",
    "version": "version",
    "group": "group",
    "topic": "topic",
    "partition": "partition",
    "ms": "ms",
}


@implementer(ILogObserver)
class KafkaLogObserver:
    """Writes events as Kafka's log has them: C{[2026-01-01 10:00:00,123] INFO message (kgw.net)}."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __call__(self, event: LogEvent) -> None:
        moment = event.get("log_time", 0.0)
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))
        where = logger_of(event)
        text = f"[{stamp},{int(moment * 1000) % 1000:03}] {_level(event)} {formatEvent(event)} ({where})"
        failure = event.get("log_failure")
        if failure is not None:
            text += f"\n{failure.getTraceback().rstrip()}"
        self._stream.write(f"{text}\n")
        self._stream.flush()


@implementer(ILogObserver)
class JsonLogObserver:
    """
    Writes each event as one JSON object in one line.

    C{ts} (UTC, RFC 3339), C{level}, C{logger} and C{msg} are always there; C{traceback} and what L{FIELDS} names where
    the event has it. Of what a client did C{client_id}, C{principal}, C{api} and C{version} are told together; the
    principal is empty for a client that nobody has asked who it is.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __call__(self, event: LogEvent) -> None:
        moment = event.get("log_time", 0.0)
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment))
        line: dict[str, Any] = {
            "ts": f"{stamp}.{int(moment * 1000) % 1000:03}Z",
            "level": _level(event),
            "logger": logger_of(event),
            "msg": formatEvent(event),
        }
        for name, key in FIELDS.items():
            if name in event:
                line[key] = _plain(event[name])
        if "api" in line:
            line.setdefault("client_id", "")
            line.setdefault("principal", "")
        failure = event.get("log_failure")
        if failure is not None:
            line["traceback"] = failure.getTraceback().rstrip()
        # one write, so that lines of several processes on one stream stay whole
        self._stream.write(json.dumps(line, ensure_ascii=False) + "\n")
        self._stream.flush()


class _Kind:
    """The events of one kind in the window that is open."""

    __slots__ = ("began", "last", "left_out", "written")

    def __init__(self, began: float) -> None:
        self.began = began
        self.written = 0
        self.left_out = 0
        self.last: LogEvent = {}


@implementer(ILogObserver)
class FloodGate:
    """
    Lets through L{MOST_OF_A_KIND} events of a kind in L{WINDOW_SECONDS}, counts the others and says how many.

    Events of one place in the code are of one kind, those of each group, topic and partition for themselves. Whatever
    goes wrong again and again, the log stays readable and the disk does not fill. May be called from any thread.

    What single peers can do is bounded further by L{kgw.peer_log.PeerLog}.
    """

    def __init__(self, observer: ILogObserver, seconds: Callable[[], float] = time.time) -> None:
        """
        @param observer: is given what passes.
        """
        self._observer = observer
        self._seconds = seconds
        self._lock = threading.Lock()
        self._kinds: dict[tuple[object, ...], _Kind] = {}

    def __call__(self, event: LogEvent) -> None:
        now = self._seconds()
        key = tuple(_key(event.get(name)) for name in ("log_namespace", "log_format", "group", "topic", "partition"))
        with self._lock:
            kind = self._kinds.get(key)
            if kind is None:
                kind = self._kinds[key] = _Kind(now)
            passes = kind.written < MOST_OF_A_KIND
            if passes:
                kind.written += 1
            else:
                kind.left_out += 1
                kind.last = event
        if passes:
            self._observer(event)

    def sweep(self) -> None:
        """Say what was left out in windows that are over; to be called now and then."""
        self._sum_up(self._seconds() - WINDOW_SECONDS)

    def flush(self) -> None:
        """Say what was left out in all windows; the process ends."""
        self._sum_up(float("inf"))

    def _sum_up(self, before: float) -> None:
        with self._lock:
            over = [(key, kind) for key, kind in self._kinds.items() if kind.began <= before]
            for key, _ in over:
                del self._kinds[key]
        for _, kind in over:
            if not kind.left_out:
                continue
            last = kind.last
            self._observer(
                {
                    "log_level": last.get("log_level", LogLevel.info),
                    "log_namespace": last.get("log_namespace", "-"),
                    "log_time": self._seconds(),
                    "log_format": "{count} more like this, the last: {last}",
                    "count": kind.left_out,
                    "last": formatEvent(last),
                }
            )


class LogTo:
    """
    The log of the process: to one stream, in one form; kgw's events from info on, and of Twisted's those that warn.

    @ivar observer: to be registered with Twisted.
    @ivar gate: to be swept now and then, and flushed at the end.
    """

    def __init__(self, stream: TextIO, form: str = "text") -> None:
        """
        @param form: C{kgw.log.format}.
        """
        levels = LogLevelFilterPredicate(defaultLogLevel=LogLevel.warn)
        levels.setLogLevelForNamespace("kgw", LogLevel.info)
        # to Conch it is an error that somebody leaves
        levels.setLogLevelForNamespace("twisted.conch", LogLevel.critical)
        self.gate = FloodGate(JsonLogObserver(stream) if form == "json" else KafkaLogObserver(stream))
        self.observer: ILogObserver = FilteringLogObserver(self.gate, [levels])

    def look_after(self, reactor: Any) -> None:
        """Sweep at intervals while C{reactor} runs, and flush when it stops."""
        sweeping = LoopingCall(self.gate.sweep)
        sweeping.clock = reactor
        reactor.callWhenRunning(sweeping.start, WINDOW_SECONDS, now=False)
        reactor.addSystemEventTrigger("after", "shutdown", self.gate.flush)


def logger_of(event: LogEvent) -> str:
    """
    Which part of kgw an event is from: C{kgw.net}, C{kgw.group}, C{kgw.log}, C{kgw.engine} ...

    The modules and classes below these are no names that people would remember, or that would outlive a release.
    """
    namespace = str(event.get("log_namespace", "-"))
    parts = namespace.split(".")
    return ".".join(parts[:2]) if parts[0] == "kgw" else namespace


def _level(event: LogEvent) -> str:
    return LEVELS.get(event.get("log_level", LogLevel.info), "INFO")


def _key(value: object) -> object:
    return value if isinstance(value, str | int) else None


def _plain(value: object) -> object:
    """A value that JSON knows."""
    return value if isinstance(value, str | int | float | bool | None) else str(value)
