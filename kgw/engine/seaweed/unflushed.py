"""The bound on what all partitions together keep in memory because no log file has it yet."""

from __future__ import annotations

from collections.abc import Callable


class Unflushed:
    """
    Counts the bytes of batches that were sent and are in no log file yet.

    What was sent is counted until it is in a file; where there is no room, partitions wait with what they have not
    sent. The bound may be passed by one batch. What waits is bounded, too: producers that give up waiting for an
    answer send once more, again and again while the engine is away. So are the messages that are made for what waits,
    which are many times as large as batches that compress well: beyond that they are made when they are sent.

    @ivar limit: bytes (C{kgw.seaweedmq.unflushed.max.bytes}).
    @ivar used: bytes now.
    @ivar waiting: bytes of all batches that are not sent.
    @ivar encoded: bytes of the messages made for those; the bound may be passed by those of one batch.
    """

    def __init__(self, limit: int, most_waiting: int | None = None) -> None:
        """
        @param most_waiting: bytes that may wait; C{limit} by default.
        """
        self._most_waiting = limit if most_waiting is None else most_waiting
        self.limit = limit
        self.used = 0
        self.waiting = 0
        self.encoded = 0
        self._most_encoded = limit // 4
        self._waiting: dict[Callable[[], None], None] = {}

    @property
    def has_room(self) -> bool:
        """Whether one more batch may be sent."""
        return self.used < self.limit

    @property
    def may_encode(self) -> bool:
        """Whether messages may be made before they are sent."""
        return self.encoded < self._most_encoded

    def is_full(self, size: int) -> bool:
        """Whether a batch of so many bytes is one too many to wait; where nothing waits any size is welcome."""
        return self.waiting > 0 and self.waiting + size > self._most_waiting

    def take(self, size: int) -> None:
        """A batch of so many bytes is being sent."""
        self.used += size

    def give(self, size: int) -> None:
        """So many bytes are in a file now, or given up; L{wake} is to follow."""
        self.used -= size

    def wait(self, go_on: Callable[[], None]) -> None:
        """Have C{go_on} called once by a later L{wake}; who waits already keeps its place."""
        self._waiting.setdefault(go_on)

    def forget(self, go_on: Callable[[], None]) -> None:
        """It waits no more."""
        self._waiting.pop(go_on, None)

    def wake(self) -> None:
        """Let those who wait go on, in their order, while there is room; who needs more waits at the end again."""
        for go_on in tuple(self._waiting):
            if self.used >= self.limit:
                return
            if go_on in self._waiting:
                del self._waiting[go_on]
                go_on()
