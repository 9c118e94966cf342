"""After a break: which of the held batches the log files have, found by walking both side by side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from kgw.engine.seaweed.held import Codec, Held

if TYPE_CHECKING:
    from kgw.engine.seaweed.log_file import LogEntry


class Comparison:
    """
    Walks the records that were sent, in their order, along the entries of the log, in theirs.

    Those the log has are the first ones of those sent: a broken connection delivers a beginning of what was written to
    it, and a crash loses an end of what was delivered. So the walk ends for good at the first record that is missing.
    Where the engine had acknowledged a record, its entry is looked for at that offset alone; behind the last
    acknowledgement the entries of others are passed over.
    """

    def __init__(self, held: Sequence[Held], end: int, codec: Codec) -> None:
        """
        @param held: in order, first those that were sent.
        @param end: behind the last offset the engine acknowledged.
        """
        self._held = held
        self._end = end
        self._codec = codec
        self._over = False
        #: The next record to be found, and what was found of its batch and of those in front.
        self._at = -1
        self._index = 0
        self._runs: list[tuple[int, int]] = []
        self._found: list[list[tuple[int, int]]] = []
        self._next()

    @property
    def first_offset(self) -> int:
        """Entries below are not needed; -1 where none is."""
        if not self._held:
            return -1
        first = self._held[0]
        known = first.offset_of(first.settled)
        if known >= 0:
            return known
        return self._end if first.attempted else -1

    def entries(self, entries: Iterable[LogEntry]) -> None:
        """Walk on along these entries, which follow those given before."""
        same = self._codec.same
        for entry in entries:
            if self._over or self._at == len(self._held):
                return
            held, index, offset = self._held[self._at], self._index, entry.offset
            known = held.offset_of(index)
            if known >= 0:
                if offset < known:
                    continue
                if offset > known or not same(held.batch, index, entry):
                    self._over = True
                    return
            elif not held.attempted:
                self._over = True
                return
            elif offset < self._end or not same(held.batch, index, entry):
                continue
            self._stored(held, offset)

    def _stored(self, held: Held, offset: int) -> None:
        runs = self._runs
        if runs and runs[-1][1] == offset:
            runs[-1] = (runs[-1][0], offset + 1)
        else:
            runs.append((offset, offset + 1))
        self._index += 1
        if self._index == held.count:
            self._found.append(runs)
            self._next()

    def _next(self) -> None:
        self._at += 1
        self._index, self._runs = 0, []
        if self._at < len(self._held):
            held = self._held[self._at]
            self._index, self._runs = held.settled, held.settled_runs()

    def apply(self) -> int:
        """
        Write down in each batch what the log has of it.

        @return: how many batches it has whole.
        """
        whole = len(self._found)
        for position, held in enumerate(self._held):
            if position < whole:
                held.keep(self._found[position], held.count)
            elif position == whole:
                held.keep(self._runs, self._index)
            else:
                held.keep(held.settled_runs(), held.settled)
        return whole
