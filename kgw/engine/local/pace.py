"""How fast a thread may work through a log: in short slices, below a rate, and only for as long as it is wanted."""

from __future__ import annotations

import time
from collections.abc import Callable

#: Seconds of work at a stretch. A thread that computes has the interpreter to itself until it lets go, so this is
#: what each of the reactor's system calls may have to wait for.
_SLICE = 0.0002
#: Seconds of rest behind a slice; and so much longer, in parts of what a rest took too long, where others work.
_REST = 0.0001
_COURTESY = 2.0
_LONGEST_REST = 0.01
#: Seconds after which it is looked again whether the work is still wanted.
_LONGEST_SLEEP = 0.2


class NotWanted(Exception):
    """Whoever wanted the work no longer does."""


class Pace:
    """
    Asked again and again by one thread, between steps that take microseconds each.

    A rest that takes longer than it should says that another thread was at work; the next one is then longer, so
    that a busy reactor gets most of the time and an idle one costs little.
    """

    def __init__(
        self,
        wanted: Callable[[], bool] = lambda: True,
        bytes_per_second: float = float("inf"),
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """
        @param wanted: asked from the thread.
        @param bytes_per_second: of reading and writing together (C{log.cleaner.io.max.bytes.per.second}).
        @param clock: seconds, rising.
        """
        self._wanted = wanted
        self._rate = bytes_per_second
        self._sleep = sleep
        self._clock = clock
        self._began = self._slice = clock()
        self._bytes = 0

    def step(self) -> None:
        """
        Rest, where it is time to.

        @raise NotWanted: stop.
        """
        now = self._clock()
        if now - self._slice < _SLICE:
            return
        if not self._wanted():
            raise NotWanted
        self._sleep(_REST)
        late = self._clock() - now - _REST
        if late > _REST:
            self._sleep(min(late * _COURTESY, _LONGEST_REST))
        self._slice = self._clock()

    def moved(self, size: int) -> None:
        """
        Take note of so many bytes read or written, and wait where that was too fast.

        @raise NotWanted: stop.
        """
        self._bytes += size
        self.step()
        if self._rate == float("inf"):
            return
        while (ahead := self._began + self._bytes / self._rate - self._clock()) > 0:
            self._sleep(min(ahead, _LONGEST_SLEEP))
            if not self._wanted():
                raise NotWanted
        if self._clock() - self._began > 1:
            # What was not used is not saved up.
            self._began, self._bytes = self._clock(), 0
