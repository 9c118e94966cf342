"""What peers do wrong, in the log: each kind of line so often at most, the rest as a number."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger, LogLevel, formatEvent
from twisted.python.failure import Failure

#: Lines of one kind are counted over so many seconds.
WINDOW_SECONDS = 10.0

#: So many of them are written, the others counted.
LINES_PER_WINDOW = 10


class _Kind:
    """The lines of one text since its window began."""

    __slots__ = ("began", "last", "left_out", "level", "written")

    def __init__(self, began: float, level: Any) -> None:
        self.began = began
        self.level = level
        self.written = 0
        self.left_out = 0
        self.last: dict[str, Any] = {}


class PeerLog:
    """
    The log for whatever a peer can make happen as often as it likes.

    Lines with the same text (before its values are put in) are of one kind. Of each kind
    L{LINES_PER_WINDOW} are written in L{WINDOW_SECONDS}; the others are counted, and one line at the end of that
    time says how many there were and what the last one said. So peers cannot fill a disk by filling the log, and
    nothing that happens once goes missing.
    """

    def __init__(self, log: Logger, clock: IReactorTime) -> None:
        self._log = log
        self._clock = clock
        self._kinds: dict[str, _Kind] = {}
        self._alarm: IDelayedCall | None = None

    def debug(self, text: str, **values: Any) -> None:
        """Write or count a line for whoever looks closely."""
        if self._admit(text, LogLevel.debug, values):
            self._log.debug(text, **values)

    def info(self, text: str, **values: Any) -> None:
        """Write or count a line that is worth knowing."""
        if self._admit(text, LogLevel.info, values):
            self._log.info(text, **values)

    def warn(self, text: str, **values: Any) -> None:
        """Write or count a line about something a peer did wrong."""
        if self._admit(text, LogLevel.warn, values):
            self._log.warn(text, **values)

    def failure(self, text: str, failure: Failure | None = None, **values: Any) -> None:
        """
        Write a line with its traceback, or count it.

        @param failure: C{None} for the exception being handled.
        """
        if self._admit(text, LogLevel.critical, values):
            self._log.failure(text, failure, **values)

    def flush(self) -> None:
        """Say now what was left out; the gateway stops."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        for text, kind in self._kinds.items():
            self._sum_up(text, kind)
        self._kinds.clear()

    def _admit(self, text: str, level: Any, values: dict[str, Any]) -> bool:
        now = self._clock.seconds()
        kind = self._kinds.get(text)
        if kind is not None and now - kind.began >= WINDOW_SECONDS:
            self._sum_up(text, kind)
            kind = None
        if kind is None:
            kind = self._kinds[text] = _Kind(now, level)
        if kind.written < LINES_PER_WINDOW:
            kind.written += 1
            return True
        kind.left_out += 1
        kind.last = values
        if self._alarm is None:
            self._alarm = self._clock.callLater(kind.began + WINDOW_SECONDS - now, self._windows_end)
        return False

    def _windows_end(self) -> None:
        """Sum up what is over; come back where lines of other windows are counted still."""
        self._alarm = None
        now = self._clock.seconds()
        for text, kind in list(self._kinds.items()):
            if now - kind.began >= WINDOW_SECONDS:
                del self._kinds[text]
                self._sum_up(text, kind)
        waiting = [kind.began for kind in self._kinds.values() if kind.left_out]
        if waiting:
            self._alarm = self._clock.callLater(min(waiting) + WINDOW_SECONDS - now, self._windows_end)

    def _sum_up(self, text: str, kind: _Kind) -> None:
        if kind.left_out:
            self._log.emit(
                kind.level,
                "{count} more like this in {seconds} s, the last: {last}",
                count=kind.left_out,
                seconds=round(self._clock.seconds() - kind.began, 1),
                last=formatEvent({"log_format": text, **kind.last}),
            )
