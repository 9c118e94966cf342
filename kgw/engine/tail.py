"""The newest batches of all partitions, kept in memory for the consumers that keep up."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque

from kgw.model import Buffer

#: What a batch costs in memory besides its bytes.
_OVERHEAD = 256


class TailBudget:
    """
    The bound on what all tails together keep; the batch that came first goes first, whoever's it is.

    @ivar used: bytes kept now, by estimate.
    """

    __slots__ = ("_arrivals", "limit", "used")

    def __init__(self, limit: int) -> None:
        """
        @param limit: bytes; 0 keeps nothing.
        """
        self.limit = limit
        self.used = 0
        self._arrivals: deque[Tail] = deque()

    def added(self, tail: Tail, size: int) -> None:
        """Take note of a batch, and let the oldest go."""
        self._arrivals.append(tail)
        self.used += size + _OVERHEAD
        while self.used > self.limit:
            self._arrivals.popleft().drop_first()


class Tail:
    """
    The newest batches of one partition, without a gap up to the log's end.

    @ivar first: the offset from which on reads are served here; -1 where there is nothing.
    """

    __slots__ = ("_bases", "_budget", "_buffers", "_ends", "_head", "_total", "first")

    def __init__(self, budget: TailBudget) -> None:
        self._budget = budget
        self._bases: list[int] = []
        self._buffers: list[Buffer] = []
        self._ends: list[int] = []
        self._head = 0
        self._total = 0
        self.first = -1

    def append(self, base_offset: int, header: bytes, rest: Buffer, size: int) -> None:
        """Keep one batch, which follows what was kept before; the buffers are kept, not copied."""
        if self.first < 0:
            self.first = base_offset
        self._bases.append(base_offset)
        self._buffers.append(header)
        self._buffers.append(rest)
        self._total += size
        self._ends.append(self._total)
        self._budget.added(self, size)

    def read(self, offset: int, max_bytes: int, at_least_one: bool) -> tuple[list[Buffer], int]:
        """
        Whole batches from the one that holds C{offset}, which is at or behind C{first} and below the log's end.

        @return: the buffers as they were kept, two for each batch, and the number of bytes.
        """
        low = bisect_right(self._bases, offset, self._head) - 1
        before = self._ends[low - 1] if low else 0
        high = bisect_right(self._ends, before + max_bytes, low)
        if high == low:
            if not at_least_one:
                return [], 0
            high = low + 1
        return self._buffers[2 * low : 2 * high], self._ends[high - 1] - before

    def drop_first(self) -> None:
        """Let the oldest batch go."""
        head = self._head
        if head == len(self._bases):
            return
        freed = self._ends[head] - (self._ends[head - 1] if head else 0)
        self._budget.used -= freed + _OVERHEAD
        self._buffers[2 * head] = self._buffers[2 * head + 1] = b""
        self._head = head = head + 1
        if head == len(self._bases):
            self.clear()
        else:
            self.first = self._bases[head]
            if head >= 256 and head * 2 >= len(self._bases):
                # One entry stays in front: the end of the batch before the first.
                drop = head - 1
                del self._bases[:drop], self._ends[:drop], self._buffers[: 2 * drop]
                self._head = 1

    def clear(self) -> None:
        """Keep nothing."""
        head, ends = self._head, self._ends
        if head < len(ends):
            kept = ends[-1] - (ends[head - 1] if head else 0)
            self._budget.used -= kept + _OVERHEAD * (len(ends) - head)
        self._bases, self._buffers, self._ends = [], [], []
        self._head = self._total = 0
        self.first = -1
