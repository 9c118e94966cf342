"""What all connections together may hold in memory: requests, frames still coming in, answers not yet taken."""

from __future__ import annotations

import sys
from typing import Protocol

#: What an answer may always have, in bytes, so that everyone gets on.
_SMALL_ANSWER = 1 << 20


class Waiter(Protocol):
    """A connection that waits for room."""

    def wake(self) -> None:
        """There is room, or a turn: look again. May be called at any time; does not raise."""


class Budget:
    """
    Bytes of requests in flight on all connections (C{queued.max.request.bytes}).

    As in Kafka's memory pool a request may start while anything is left, so the limit is passed by less than one
    request. Connections that find it reached wait in one line; each gets a turn for one request, then the next.

    @ivar used: bytes in flight now.
    @ivar busy: whether L{enter} has to be asked before a request is started; read before each request, hence
        an attribute.
    """

    def __init__(self, limit: int) -> None:
        """
        @param limit: bytes; none where it is not positive.
        """
        self.limit = limit if limit > 0 else sys.maxsize
        self.used = 0
        self.busy = False
        self._line: dict[Waiter, None] = {}
        self._turn: Waiter | None = None

    def enter(self, waiter: Waiter) -> bool:
        """
        Whether C{waiter} may start one request now; else it stands in line and is woken at its turn.
        """
        if self._turn is waiter:
            self._turn = None
            self._settle()
            return True
        if not self.busy:
            return True
        self._line[waiter] = None
        return False

    def take(self, size: int) -> None:
        """A request of C{size} bytes is in flight."""
        self.used += size
        self._settle()

    def give(self, size: int) -> None:
        """A request of C{size} bytes is no longer in flight."""
        self.used -= size
        if self.busy:
            self._pass_on()

    def leave(self, waiter: Waiter) -> None:
        """C{waiter} made what it could of its turn; the next one has its."""
        if self._turn is waiter:
            self._turn = None
        self._pass_on()

    def forget(self, waiter: Waiter) -> None:
        """C{waiter} is gone."""
        self._line.pop(waiter, None)
        self.leave(waiter)

    def _pass_on(self) -> None:
        if self._turn is None and self._line and self.used < self.limit:
            self._turn = turn = next(iter(self._line))
            del self._line[turn]
            self._settle()
            turn.wake()
        else:
            self._settle()

    def _settle(self) -> None:
        self.busy = self.used >= self.limit or self._turn is not None or bool(self._line)


class Answers:
    """
    Bytes of answers that wait to be sent, on all connections (C{kgw.queued.max.response.bytes}).

    Peers that do not read can fill this, and nobody can be made to take an answer. So nobody waits for room here:
    where it is short, answers that may be of any size are small. The limit is passed by at most a small answer, or a
    first record batch, for each request under way.

    @ivar held: bytes that wait, and those claimed for answers that are being made.
    """

    def __init__(self, limit: int) -> None:
        """
        @param limit: bytes; none where it is not positive.
        """
        self.limit = limit if limit > 0 else sys.maxsize
        self.held = 0

    @property
    def over(self) -> bool:
        """Whether nothing is left."""
        return self.held >= self.limit

    def claim(self, size: int) -> int:
        """
        Set bytes apart for an answer that is to be made.

        @param size: the most it may become.
        @return: what it may become; to be given back by C{change(-claimed)} once it is made.
        """
        claimed = min(size, max(self.limit - self.held, _SMALL_ANSWER))
        self.held += claimed
        return claimed

    def change(self, size: int) -> None:
        """So many bytes more are held, or, where it is negative, less."""
        self.held += size


class Unfinished:
    """
    Bytes of frames that have begun and are not complete, on all connections.

    Over the limit only the connection whose frame began first goes on reading, so that it can end; the others
    wait. L{stalled} names one that does not get on while others wait for it.
    """

    def __init__(self, limit: int) -> None:
        """
        @param limit: bytes; none where it is not positive.
        """
        self.limit = limit if limit > 0 else sys.maxsize
        self.held = 0
        self._sizes: dict[Waiter, int] = {}
        self._waiting: set[Waiter] = set()
        self._suspect: Waiter | None = None

    def grow(self, waiter: Waiter, size: int) -> bool:
        """
        C{waiter} holds C{size} bytes of its unfinished frame.

        @return: whether it may go on reading; else it is woken when it may.
        """
        self.held += size - self._sizes.get(waiter, 0)
        self._sizes[waiter] = size
        if self.held < self.limit or next(iter(self._sizes)) is waiter:
            self._waiting.discard(waiter)
            return True
        self._waiting.add(waiter)
        return False

    def drop(self, waiter: Waiter) -> None:
        """The frame of C{waiter} is complete, or its connection gone."""
        size = self._sizes.pop(waiter, None)
        if size is None:
            return
        self.held -= size
        self._waiting.discard(waiter)
        if self._suspect is waiter:
            self._suspect = None
        if self._waiting and self.held < self.limit:
            for other in list(self._waiting):
                other.wake()
        elif self._waiting:
            next(iter(self._sizes)).wake()

    def stalled(self) -> Waiter | None:
        """
        Called at intervals: the connection that others wait for and already waited for at the call before.
        """
        first = next(iter(self._sizes)) if self._waiting else None
        if first is not None and first is self._suspect:
            return first
        self._suspect = first
        return None
