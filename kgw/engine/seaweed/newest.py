"""The newest batches of a partition, as their producers sent them, for readers at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kgw.engine.tail import Tail, TailBudget

if TYPE_CHECKING:
    from kgw.engine.seaweed.held import Held


class Newest(Tail):
    """
    What was published last, without a gap up to the end of the log; nothing where its offsets did not come out so.
    """

    def __init__(self, budget: TailBudget) -> None:
        super().__init__(budget)
        self._log_end = 0

    def extend(self, batches: list[Held], end_offset: int, leader_epoch: int) -> int:
        """
        Take what readers may see from now on.

        @param end_offset: where the log ends then.
        @return: the bytes of the batches.
        """
        size = 0
        for held in batches:
            if not held.contiguous or (self.first >= 0 and held.base_offset != self._log_end):
                self.clear()
            if held.contiguous:
                header = held.batch.header(held.base_offset, leader_epoch)
                self.append(held.base_offset, header, held.batch.tail, held.batch.size)
                self._log_end = held.next_offset
            size += held.batch.size
        if self.first >= 0 and self._log_end != end_offset:
            self.clear()
        return size
