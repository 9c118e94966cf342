"""Looking now and then whether somebody else has written to a partition, while there is anyone who wants to know."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

#: Seconds between two looks: after one that found something, and at most.
SOON, LATE = 0.02, 1.0

_log = Logger("kgw.engine.seaweed")


class Lookout:
    """
    Looks again and again, sooner after it found something; one look at a time.

    Readers come and go many times a second, so starting it anew makes no look come sooner.
    """

    def __init__(self, name: str, look: Callable[[], Coroutine[Deferred[Any], Any, bool]], timer: IReactorTime) -> None:
        """
        @param name: of what is looked at, for messages.
        @param look: says whether it found something.
        """
        self._name = name
        self._look = look
        self._timer = timer
        self._wanted = self._is_looking = False
        self._alarm: IDelayedCall | None = None
        self._pause, self._next = SOON, 0.0

    def start(self) -> None:
        """Look, at once where the last look is long ago; nothing happens where it was started already."""
        self._wanted = True
        if self._alarm is None and not self._is_looking:
            self._alarm = self._timer.callLater(max(self._next - self._timer.seconds(), 0), self._begin)

    def stop(self) -> None:
        """Begin no look any more."""
        self._wanted = False
        alarm, self._alarm = self._alarm, None
        if alarm is not None:
            alarm.cancel()

    def _begin(self) -> None:
        self._alarm, self._is_looking = None, True
        Deferred.fromCoroutine(self._look()).addErrback(self._failed).addCallback(self._looked)

    def _failed(self, failure: Failure) -> bool:
        _log.failure("{name}: looking for new records", failure, name=self._name)
        return False

    def _looked(self, found: bool) -> None:
        self._is_looking = False
        self._pause = SOON if found else min(self._pause * 2, LATE)
        self._next = self._timer.seconds() + self._pause
        if self._wanted:
            self.start()
