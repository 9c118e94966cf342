"""What one partition has published and the engine may still lose, as a pure machine.

Every batch is held from L{Outbox.add} until log files have all of its records. On the way it waits, is sent, is
acknowledged (the engine has it in memory) and becomes durable. After a break the log files decide which records are
stored; the rest is sent once more, in order. The machine knows no time, no network and no Deferred: its shell
(L{kgw.engine.seaweed.publisher}) tells it what happened and carries out the effects it answers with, in their order.

Offsets are the engine's. While only the gateway writes, they come out as expected. A foreign record in between
shifts what follows it; a batch with one inside is not contiguous and is not served from here.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable
from itertools import chain
from typing import TYPE_CHECKING

from kgw.engine.seaweed.comparison import Comparison
from kgw.engine.seaweed.errors import EngineUnavailable
from kgw.engine.seaweed.held import Acknowledged, Broken, Codec, Durable, Effect, Held, Moved, Visible
from kgw.engine.seaweed.unflushed import Unflushed
from kgw.errors import ErrorCode, KafkaError
from kgw.model import Buffer

if TYPE_CHECKING:
    from kgw.engine.seaweed.log_file import LogEntry
    from kgw.interfaces import Columns
    from kgw.wire.records import RecordBatch

#: Durable batches are let go of in the lists at once, and their places when there are so many.
_COMPACT = 256


class Outbox:
    """
    The batches of one partition that no log file is known to have, in the order they were published.

    It begins broken: nothing is sent before C{recover}, C{resumed} and C{opened}.

    @ivar end_offset: behind the last record the engine is known to have.
    @ivar next_offset: expected of the record published next.
    @ivar durable_end: everything below is in log files.
    @ivar visible_end: everything below may be seen by readers.
    @ivar waiting_bytes: of batches that are not sent.
    """

    def __init__(self, codec: Codec, unflushed: Unflushed) -> None:
        self.end_offset = 0
        self.next_offset = 0
        self.durable_end = 0
        self.visible_end = 0
        self.waiting_bytes = 0
        self._codec = codec
        self._unflushed = unflushed
        self._connected = False
        #: Where the record sent next is expected.
        self._send_offset = 0
        self._waiting: deque[Held] = deque()
        self._sent: deque[Held] = deque()
        #: Acknowledged; in front of the head are those that became durable.
        self._kept: list[Held] = []
        self._ends: list[int] = []
        self._head = 0
        self._comparison: Comparison | None = None
        #: As told since the comparison began.
        self._flushed_end = 0
        #: Since the last break batches came to other offsets than before.
        self._moved = False

    @property
    def is_empty(self) -> bool:
        """Whether everything published is in log files."""
        return not (self._waiting or self._sent or self._head < len(self._kept))

    @property
    def unacknowledged(self) -> int:
        """How many batches are waiting or sent."""
        return len(self._waiting) + len(self._sent)

    @property
    def acknowledged_end(self) -> int:
        """Behind the last batch that is acknowledged and not known to be durable; C{durable_end} without one."""
        return self._ends[-1] if self._head < len(self._ends) else self.durable_end

    @property
    def held(self) -> list[Held]:
        """All batches that are held, in order."""
        return [*self._kept[self._head :], *self._sent, *self._waiting]

    # Publishing.

    def add(
        self,
        batch: RecordBatch,
        token: object,
        now_ns: int,
        stored: tuple[int, int] | None = None,
        columns: Columns | None = None,
    ) -> Held:
        """
        Take a batch; C{send} gives it out when its turn comes.

        @param stored: where log files have its first records from another time, and how many: not all.
        @param columns: what is stored beside the records.
        @raise KafkaError: a record cannot be read, or too much waits over all partitions (C{KAFKA_STORAGE_ERROR}, which
            producers try again); nothing was taken.
        """
        held = Held(batch, token, self.next_offset, columns)
        if self._unflushed.is_full(held.size):
            raise EngineUnavailable("the engine does not keep up, and too many batches wait for it")
        if batch.count < 1:
            raise KafkaError(ErrorCode.INVALID_RECORD, "a batch without records")
        if stored is not None and not 0 < stored[1] < batch.count:
            raise ValueError(f"{stored[1]} of {batch.count} records cannot be stored")
        # Times are given in the order of encoding, so nothing is encoded before what is sent before it.
        early = self._unflushed.may_encode and (not self._waiting or self._waiting[-1].data is not None)
        if early and self._connected:
            held.data = self._codec.encode(batch, self.next_offset, now_ns, stored[1] if stored else 0, columns)
            self._unflushed.encoded += len(held.data)
        else:
            self._codec.check(batch, now_ns)
        if stored is not None:
            base_offset, have = stored
            held.keep([(base_offset, base_offset + have)], have, held.data)
        self.next_offset += held.count - held.acknowledged
        self._waits(held.size)
        self._waiting.append(held)
        return held

    def _waits(self, size: int) -> None:
        """So many more bytes wait, or fewer."""
        self.waiting_bytes += size
        self._unflushed.waiting += size

    def send(self, now_ns: int) -> bytes | None:
        """
        The messages to be written next.

        @return: C{None} where nothing waits, the stream is broken, or there is no room: see C{wants_room}.
        """
        if not self._connected or not self._waiting:
            return None
        held = self._waiting[0]
        if not held.counted:
            if not self._unflushed.has_room:
                return None
            held.counted = True
            self._unflushed.take(held.size)
        self._waiting.popleft()
        self._waits(-held.size)
        data, held.data = held.data, None
        if data is None:
            data = self._codec.encode(held.batch, self._send_offset, now_ns, held.acknowledged, held.columns)
        else:
            self._unflushed.encoded -= len(data)
        held.attempted = True
        self._send_offset += held.count - held.acknowledged
        self._sent.append(held)
        return data

    @property
    def wants_room(self) -> bool:
        """Whether the batch to be sent next waits for others to become durable."""
        return bool(self._connected and self._waiting and not self._waiting[0].counted and not self._unflushed.has_room)

    # What the engine says.

    def acknowledged(self, runs: Iterable[tuple[int, int]]) -> list[Effect]:
        """
        The engine has the next records sent, at these offsets (pairs of the first and the one behind the last).
        """
        if not self._connected:
            return []
        done: list[Held] = []
        broken: Broken | None = None
        for first, stop in runs:
            start = first
            gap = start - self.end_offset
            if gap < 0:
                broken = Broken(f"offset {start} was acknowledged behind {self.end_offset - 1}")
                break
            if gap:
                self._send_offset += gap
                self.next_offset += gap
            while start < stop and self._sent:
                held = self._sent[0]
                taken = min(held.count - held.acknowledged, stop - start)
                held.add(start, start + taken)
                start += taken
                if held.acknowledged == held.count:
                    self._sent.popleft()
                    done.append(held)
            self.end_offset = start
            if start < stop:
                broken = Broken(f"{stop - start} records were acknowledged that were not sent")
                break
        effects = self._keep(done)
        if broken is not None:
            effects.append(broken)
        return effects

    def _keep(self, done: list[Held]) -> list[Effect]:
        if not done:
            return []
        new: list[Held] = []
        effects: list[Effect] = []
        moved = -1
        for held in done:
            self._kept.append(held)
            self._ends.append(held.next_offset)
            if not held.told:
                new.append(held)
                effects.append(Acknowledged(held))
            elif self._moved or held.told != held.runs:
                if not self._moved:
                    self._moved = True
                    moved = min(held.told[0][0], held.base_offset)
                new.append(held)
            held.told = list(held.runs)
        if moved >= 0:
            self.visible_end = 0
        if new:
            self.visible_end = max(self.visible_end, new[-1].next_offset)
            effects.insert(0, Visible(self.visible_end, new))
        if moved >= 0:
            effects.insert(0, Moved(moved))
        return effects + self._let_go()

    def flushed(self, end_offset: int) -> list[Effect]:
        """
        Log files have everything below C{end_offset}; it may be told before the acknowledgements arrive.

        Nothing follows from it between a break and the next stream.
        """
        self._flushed_end = max(self._flushed_end, end_offset)
        if not self._connected:
            # The engine may have lost what it acknowledged, and have something else in its place: that is for the
            # comparison to see.
            return []
        self.durable_end = max(self.durable_end, end_offset)
        return self._let_go()

    def _let_go(self) -> list[Effect]:
        head = self._head
        past = bisect_right(self._ends, self.durable_end, head)
        if past == head:
            return []
        effects: list[Effect] = [Durable(held) for held in self._kept[head:past]]
        self._unflushed.give(sum([held.size for held in self._kept[head:past]]))
        self._head = past
        if past == len(self._kept) or (past >= _COMPACT and past * 2 >= len(self._kept)):
            del self._kept[:past], self._ends[:past]
            self._head = 0
        else:
            self._kept[head:past] = [self._kept[past]] * (past - head)  # so that they hold nothing
        return effects

    def ends_at(self, end_offset: int) -> bool:
        """Whether a batch waits for just the record below C{end_offset} to be in a file, or may come to."""
        if self._sent and self.end_offset < end_offset:
            return True
        place = bisect_right(self._ends, end_offset, self._head) - 1
        return place >= self._head and self._ends[place] == end_offset

    def others_wrote(self, end_offset: int) -> list[Effect]:
        """
        The engine has records of others up to C{end_offset}; nothing happens where something is on its way to it.
        """
        if not self._connected or self._sent or self._waiting or end_offset <= self.end_offset:
            return []
        self.end_offset = self._send_offset = self.next_offset = end_offset
        if end_offset <= self.visible_end:
            return []
        self.visible_end = end_offset
        return [Visible(end_offset, [])]

    # Breaks.

    def lost(self) -> None:
        """The stream is gone, and with it the knowledge which of the batches sent the engine received."""
        self._connected = False
        for held in self._waiting:
            if held.data is None:
                break  # nor have those behind it
            self._unflushed.encoded -= len(held.data)
            held.data = None

    def recover(self) -> int:
        """
        Begin to compare with the log files; begin anew where it was begun before.

        @return: the offset from which L{compare} wants their entries, -1 where it wants none.
        """
        self._comparison = Comparison(self.held, self.end_offset, self._codec)
        self._flushed_end = 0
        return self._comparison.first_offset

    def compare(self, entries: Iterable[LogEntry]) -> None:
        """These entries are in the log; pieces follow one another by rising offsets."""
        if self._comparison is None:
            raise ValueError("entries without a recovery")
        self._comparison.entries(entries)

    def resumed(self, end_offset: int) -> list[Effect]:
        """
        All entries below C{end_offset}, where the log ends, have been compared; what it does not have waits again.

        @return: L{Broken} alone, with nothing changed, where the log was not at its end: the engine was still writing
            what it had received before the break. Then recover once more.
        """
        if self._comparison is None:
            raise ValueError("resumed without a recovery")
        if self._flushed_end > end_offset:
            return [Broken(f"the log was said to end at {end_offset}, and reaches to {self._flushed_end}")]
        held = self.held
        whole = self._comparison.apply()
        self._comparison = None
        self._codec.forget()
        stored, rest = held[:whole], held[whole:]
        self._kept, self._ends, self._head = [], [], 0
        self._sent.clear()
        self._waiting = deque(rest)
        self._waits(sum([one.size for one in rest]) - self.waiting_bytes)
        self.end_offset = self._send_offset = self.durable_end = offset = end_offset
        for one in rest:
            if not one.runs:
                one.base_offset = offset
            offset += one.count - one.acknowledged
        self.next_offset = offset
        self._moved = False
        effects = self._keep(stored)
        # Whoever reads may see what is in the files, but no part of a batch.
        half = rest[0].runs if rest else []
        visible = half[0][0] if half and half[-1][1] == end_offset else end_offset
        if self.visible_end > self.next_offset:
            self._moved = True
            self.visible_end = 0
            effects.append(Moved(end_offset))
        if visible > self.visible_end:
            self.visible_end = visible
            effects.append(Visible(visible, []))
        return effects

    def opened(self) -> None:
        """A stream is open: C{send} gives out what waits."""
        self._connected = True

    def close(self) -> list[Held]:
        """
        Hold nothing any more.

        @return: what was held, in order.
        """
        held = self.held
        self._unflushed.give(sum([one.size for one in held if one.counted]))
        self.lost()
        self._comparison = None
        self._codec.forget()
        self._kept, self._ends, self._head = [], [], 0
        self._sent.clear()
        self._waiting.clear()
        self._waits(-self.waiting_bytes)
        return held

    # Reading.

    def tail(self, offset: int, max_bytes: int, leader_epoch: int, at_least_one: bool = True) -> list[Buffer] | None:
        """
        Acknowledged batches from the one that holds C{offset}, as the client sent them.

        @return: two buffers for each batch, at most C{max_bytes} in all; C{None} where C{offset} is not held here in a
            contiguous batch.
        """
        at = bisect_right(self._ends, offset, self._head)
        buffers: list[Buffer] = []
        size, expected = 0, -1
        for held in chain(self._kept[at : at + 1], self._from(at + 1)):
            if not held.contiguous or (held.base_offset > offset if expected < 0 else held.base_offset != expected):
                break
            expected = held.next_offset
            size += held.batch.size
            if size > max_bytes and (buffers or not at_least_one):
                break
            buffers += held.batch.buffers(held.base_offset, leader_epoch)
        return None if expected < 0 else buffers

    def _from(self, at: int) -> Iterable[Held]:
        for place in range(at, len(self._kept)):
            yield self._kept[place]
