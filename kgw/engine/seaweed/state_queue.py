"""The calls that wait for the state store, in their order: how many may, and which are done together."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.defer import Deferred

from kgw.errors import KafkaError

#: How much may wait for the filer before more is refused: calls, and bytes of their values.
MAX_WAITING_CALLS = 10_000
MAX_WAITING_BYTES = 64 << 20
#: How many commits, and about how many bytes, share one entry of the journal.
MAX_GROUP = 1000
MAX_GROUP_BYTES = 4 << 20


@dataclass(slots=True)
class Commit:
    """
    Changes that take effect together.

    @ivar size: about how many bytes.
    @ivar done: without a canceller: who cancels stops waiting, but what was called is still done.
    """

    changes: dict[str, bytes | None]
    size: int
    done: Deferred[None] = field(default_factory=Deferred)


@dataclass(slots=True)
class Read:
    """Something that is done between two commits."""

    work: Callable[[], Coroutine[Deferred[Any], Any, Any]]
    done: Deferred[Any] = field(default_factory=Deferred)


class CallQueue:
    """Calls in the order in which they were made."""

    def __init__(self) -> None:
        self._calls: deque[Commit | Read] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._calls)

    def is_full(self, size: int) -> bool:
        """Whether a commit of so many bytes is too much."""
        if not self._calls:
            return False
        return len(self._calls) >= MAX_WAITING_CALLS or self._bytes + size > MAX_WAITING_BYTES

    def add(self, call: Commit | Read) -> None:
        """The last one."""
        self._calls.append(call)
        if isinstance(call, Commit):
            self._bytes += call.size

    def reads(self) -> list[Read]:
        """Take the reads in front, none where a commit is."""
        reads: list[Read] = []
        while self._calls and isinstance(call := self._calls[0], Read):
            self._calls.popleft()
            reads.append(call)
        return reads

    def group(self) -> list[Commit]:
        """Take the commits in front that are done together, none where a read is."""
        group: list[Commit] = []
        size = 0
        while self._calls and len(group) < MAX_GROUP and isinstance(call := self._calls[0], Commit):
            if group and size + call.size > MAX_GROUP_BYTES:
                break
            size += call.size
            group.append(call)
            self._calls.popleft()
        self._bytes -= size
        return group


class Milestones:
    """Those who wait until a number that grows has come to another."""

    def __init__(self, now: Callable[[], int]) -> None:
        """
        @param now: the number.
        """
        self._now = now
        self._waiting: list[tuple[int, Deferred[None]]] = []

    def reached(self, number: int) -> Deferred[None]:
        """Fires when it is there; fails as L{give_up} says."""
        waiter: Deferred[None] = Deferred()
        self._waiting.append((number, waiter))
        self.tell()
        return waiter

    def tell(self) -> None:
        """It has grown."""
        done = [one for one in self._waiting if one[0] <= self._now()]
        self._waiting = [one for one in self._waiting if one not in done]
        for _, waiter in done:
            waiter.callback(None)

    def give_up(self, error: KafkaError) -> None:
        """It does not grow any more."""
        waiting, self._waiting = self._waiting, []
        for _, waiter in waiting:
            waiter.errback(error)
