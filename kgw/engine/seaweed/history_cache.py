"""Decoded sections of all partitions' log files, kept by how recently they were read, bounded in bytes."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred, DeferredSemaphore

from kgw.engine.bridge import IBridge

#: What a section costs besides its batches.
_OVERHEAD = 512
#: Where a batch says how far behind its base offset its last one is.
_LAST_DELTA = slice(23, 27)
#: How many pieces are read and decoded at a time, over all partitions.
_LOADS = 4


@dataclass(slots=True, eq=False)
class Section:
    """
    Records that follow each other in the log files of a partition, as Kafka batches.

    @ivar first: the first offset, C{next} the one behind the last.
    @ivar batches: whole batches of format v2, in order.
    @ivar starts: their base offsets.
    @ivar leader_epoch: that stands in them.
    @ivar size: bytes it takes.
    """

    first: int
    next: int
    batches: list[bytes]
    starts: list[int]
    leader_epoch: int
    size: int

    @classmethod
    def of(cls, batches: list[bytes], next_offset: int, leader_epoch: int) -> Section:
        """
        @param batches: one at least.
        """
        starts = [int.from_bytes(batch[:8], "big") for batch in batches]
        size = sum(map(len, batches)) + _OVERHEAD
        return cls(starts[0], next_offset, batches, starts, leader_epoch, size)

    def take(self, offset: int, max_bytes: int, at_least_one: bool, leader_epoch: int) -> tuple[list[bytes], int, int]:
        """
        The batches from the one that holds C{offset} on, as many as fit.

        @return: the batches, their bytes, and the offset behind them, which is C{offset} where none fits.
        """
        at = max(bisect_right(self.starts, offset) - 1, 0)
        if self.starts[at] + int.from_bytes(self.batches[at][_LAST_DELTA], "big") < offset:
            at += 1  # the offset is in a gap behind that batch
        taken: list[bytes] = []
        size = 0
        while at < len(self.batches):
            batch = self.batches[at]
            if size + len(batch) > max_bytes and (taken or not at_least_one):
                return taken, size, self.starts[at] if taken else offset
            if leader_epoch != self.leader_epoch:
                # not covered by the CRC
                batch = batch[:12] + leader_epoch.to_bytes(4, "big", signed=True) + batch[16:]
            taken.append(batch)
            size += len(batch)
            at += 1
        return taken, size, self.next


class HistoryCache:
    """
    Shared by the histories of all partitions: their memory, their way off the reactor's thread, their turns.

    @ivar limit: bytes it keeps at most; what is being read comes on top, a few pieces of 4 MiB and their batches.
    @ivar size: bytes it keeps.
    @ivar loads: how many pieces of log files were asked for.
    """

    def __init__(self, bridge: IBridge, limit: int) -> None:
        """
        @param bridge: where files are decoded; started and stopped by its owner.
        """
        self._bridge = bridge
        self.limit = limit
        self.size = 0
        self.loads = 0
        self._kept: OrderedDict[Section, Callable[[Section], None]] = OrderedDict()
        self._turns = DeferredSemaphore(_LOADS)

    def call(self, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        """Run C{function(*args)} away from the reactor's thread."""
        return self._bridge.call(function, *args)

    def in_turn(self, load: Callable[[], Deferred[Any]]) -> Deferred[Any]:
        """Run C{load} when not too many others are loading."""
        self.loads += 1
        return self._turns.run(load)

    def keep(self, section: Section, forget: Callable[[Section], None]) -> None:
        """
        Keep a section as long as there is room.

        @param forget: called once when it has to go, maybe at once; not after L{drop}.
        """
        self._kept[section] = forget
        self.size += section.size
        while self.size > self.limit:
            oldest, told = self._kept.popitem(last=False)
            self.size -= oldest.size
            told(oldest)

    def used(self, section: Section) -> None:
        """It was read from; the others go first."""
        if section in self._kept:
            self._kept.move_to_end(section)

    def drop(self, section: Section) -> None:
        """Its owner needs it no more."""
        if self._kept.pop(section, None) is not None:
            self.size -= section.size
