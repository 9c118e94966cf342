"""Several members over one meeting place in memory, each with a clock of its own that can stand still."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Mapping

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock, deferLater

from kgw.brokers.duties import Timings
from kgw.brokers.member import Card, Member
from kgw.brokers.memory import MemoryMeetingPlace, MemoryRoom
from kgw.brokers.model import COORDINATORS, Process, Slot

TIMINGS = Timings()
SLOTS = 10


class Worker:
    """
    The duties of one member: it knows what it leads, and how long it takes to let go.

    @ivar led: with the leader epochs; what it acknowledges at this moment, provided that the lease is valid.
    @ivar sluggish_s: how long a release and a replay take.
    """

    def __init__(self, stage: Stage, clock: Clock) -> None:
        self._stage = stage
        self._clock = clock
        self.led: dict[Slot, int] = {}
        self.sluggish_s = 0.0
        self.replayed: list[str] = []
        self.fences = 0

    def topics(self) -> Deferred[Mapping[bytes, int]]:
        """The stage's, with slots for groups."""
        return succeed({**self._stage.topics, COORDINATORS: SLOTS})

    def take(self, gained: Mapping[Slot, int]) -> Deferred[None]:
        """Lead these."""
        self.led.update(gained)
        self._stage.taken(self, gained)
        return succeed(None)

    def release(self, lost: frozenset[Slot]) -> Deferred[None]:
        """Lead these no more, after a while."""
        return self._after(lambda: [self.led.pop(slot, None) for slot in lost])

    def replay(self, incarnation: str) -> Deferred[None]:
        """Note it."""
        self.replayed.append(incarnation)
        self._stage.replayed.add(incarnation)
        return self._after(lambda: None)

    def fenced(self) -> Deferred[None]:
        """Lead nothing; it takes a while until all is cleared away."""
        self.led.clear()
        self.fences += 1
        return self._after(lambda: None)

    def _after(self, work: Callable[[], object]) -> Deferred[None]:
        def done(_: object = None) -> None:
            work()

        if not self.sluggish_s:
            done()
            return succeed(None)
        return deferLater(self._clock, self.sluggish_s).addCallback(done)


class Seat:
    """
    One gateway.

    @ivar clock: its own: timers and answers come when it advances, and it reads the same time as the world's unless the
        gateway is paused.
    """

    def __init__(self, stage: Stage, card: Card, ended: Callable[[Process], bool]) -> None:
        """
        @param ended: whether a process has, as the system would tell.
        """
        self._stage = stage
        self.clock = Clock()
        self.clock.rightNow = stage.clock.rightNow
        self.paused = False
        self.gone = False
        self.stopping = False
        self.door: MemoryMeetingPlace = stage.room.door(self.clock)
        self.worker = Worker(stage, self.clock)
        counter = itertools.count(1)
        number = len(stage.seats) + 1
        self.member = Member(
            self.door,
            self.clock,
            lambda: self.clock.rightNow,
            card,
            TIMINGS,
            self.worker,
            ended,
            lambda size: f"{number:04x}{next(counter):04x}".rjust(2 * size, "0"),
        )

    def leads(self, slot: Slot) -> bool:
        """Whether it would acknowledge something for this slot, were it to run now."""
        # one that stands still reads the world's time when it wakes
        until = self.member.valid_until
        return not self.gone and slot in self.worker.led and self._stage.clock.rightNow < until

    def advance(self) -> None:
        """Come to the world's time, unless it stands still."""
        if not self.paused and not self.gone:
            self.clock.advance(self._stage.clock.rightNow - self.clock.rightNow)


class Stage:
    """
    The world.

    @ivar topics: partitions by topic id.
    """

    def __init__(self, seed: int = 0) -> None:
        self.random = random.Random(seed)
        self.clock = Clock()
        self.clock.rightNow = 1000.0
        self.room = MemoryRoom(self.clock)
        self.topics: dict[bytes, int] = {}
        self.seats: list[Seat] = []
        #: The greatest epoch each slot was ever led with, and by whom it was.
        self.epochs: dict[Slot, tuple[int, Worker, str]] = {}
        #: Whose journals were begun to be replayed: they lead nothing, ever after.
        self.replayed: set[str] = set()
        self.faults: list[str] = []

    def add_topic(self, partitions: int) -> bytes:
        """One more topic."""
        id = (len(self.topics) + 1).to_bytes(16, "big")
        self.topics[id] = partitions
        return id

    def seat(
        self,
        node_id: int | None = None,
        delay_s: float = 0.0,
        port: int = 0,
        ended: Callable[[Process], bool] = lambda process: False,
        process: Process | None = None,
    ) -> Seat:
        """One more gateway, not started."""
        port = port or 9000 + len(self.seats)
        seat = Seat(self, Card(node_id, {"PLAINTEXT": ("gw", port)}, process=process), ended)
        seat.door.delays_s = delay_s, delay_s
        self.seats.append(seat)
        return seat

    def start(self, *node_ids: int | None, delay_s: float = 0.0) -> list[Seat]:
        """Gateways that have joined, and all is calm."""
        seats = [self.seat(node_id, delay_s) for node_id in node_ids]
        for seat in seats:
            seat.member.start()
            self.run(0.2)
        self.run(2)
        return seats

    def live(self) -> list[Seat]:
        """Those that are neither gone nor standing still."""
        return [seat for seat in self.seats if not seat.gone and not seat.paused]

    def run(self, seconds: float, step_s: float = 0.05) -> None:
        """Let time go on, and look at the invariants all the while."""
        for _ in range(round(seconds / step_s)):
            self.clock.advance(step_s)
            for seat in self.random.sample(self.seats, len(self.seats)):
                seat.advance()
            self.check()

    def changed_topics(self) -> None:
        """Tell all of them, as the watcher of the catalog does."""
        for seat in self.live():
            seat.member.topics_changed()

    def taken(self, worker: Worker, gained: Mapping[Slot, int]) -> None:
        """Look at what is taken up: nobody else leads it, and no leader epoch is used twice."""
        seat = next(seat for seat in self.seats if seat.worker is worker)
        for slot, epoch in gained.items():
            for other in self.seats:
                if other is not seat and other.leads(slot):
                    self.faults.append(f"{slot} is led by two nodes at {self.clock.rightNow}")
            before, _, _ = self.epochs.get(slot, (-1, None, ""))
            mine = worker, seat.member.incarnation
            if epoch < before or (epoch == before and self.epochs[slot][1:] != mine):
                self.faults.append(f"{slot} is led with epoch {epoch} after {before}")
            self.epochs[slot] = (epoch, *mine)

    def check(self) -> None:
        """No slot is led by two."""
        leading: dict[Slot, Seat] = {}
        for seat in self.seats:
            if seat.member.incarnation in self.replayed and any(seat.leads(slot) for slot in seat.worker.led):
                self.faults.append(f"{seat.member.incarnation} leads, and its journal was replayed")
            for slot in seat.worker.led:
                if seat.leads(slot) and leading.setdefault(slot, seat) is not seat:
                    self.faults.append(f"{slot} is led by two nodes at {self.clock.rightNow}")

    def slots(self) -> list[Slot]:
        """All there are."""
        return [Slot(id, one) for id, count in {**self.topics, COORDINATORS: SLOTS}.items() for one in range(count)]

    def unled(self) -> list[Slot]:
        """Those that nobody leads now."""
        return [slot for slot in self.slots() if not any(seat.leads(slot) for seat in self.seats)]

    def loads(self) -> list[int]:
        """How many partitions each live gateway leads, slots for groups apart."""
        return sorted(
            sum(slot.topic_id != COORDINATORS and seat.leads(slot) for slot in seat.worker.led) for seat in self.live()
        )
