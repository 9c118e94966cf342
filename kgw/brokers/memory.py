"""A meeting place in memory, for gateways in one process: for tests, which can have it fail, dawdle and forget."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from kgw.brokers.interfaces import IMeetingPlace
from kgw.brokers.model import Assignment, Hold, NodeEntry, Sighting, Taken, Version
from kgw.errors import ErrorCode, KafkaError

T = TypeVar("T")


class MemoryRoom:
    """
    What all doors of one place lead to.

    @ivar entries: encoded, by node id.
    @ivar assignments: encoded, by version.
    @ivar failing: everything that arrives fails, without having been done.
    """

    def __init__(self, clock: IReactorTime) -> None:
        """
        @param clock: the place's own, by which locks run out.
        """
        self.clock = clock
        self.entries: dict[int, bytes] = {}
        self.assignments: dict[Version, bytes] = {}
        self.failing = False
        self._locks: dict[str, tuple[str, str, float]] = {}
        self._generation = 0
        self._tokens = 0
        self._doors: list[MemoryMeetingPlace] = []

    def door(self, clock: IReactorTime | None = None) -> MemoryMeetingPlace:
        """
        A way in for one gateway.

        @param clock: the gateway's: answers and calls of its listeners come when this has come to them, so a gateway
            whose clock stands still hears nothing. The place's own where it is C{None}.
        """
        door = MemoryMeetingPlace(self, clock or self.clock)
        self._doors.append(door)
        return door

    def restart(self) -> None:
        """Forget all locks, as a filer does that restarts."""
        self._locks.clear()

    def changed(self) -> None:
        """Tell all listeners."""
        for door in self._doors:
            door.notify()

    def owner(self, name: str) -> str | None:
        """Who has a lock, C{None} where nobody has."""
        held = self._locks.get(name)
        return held[0] if held is not None and held[2] > self.clock.seconds() else None

    def lock(self, name: str, owner: str, ttl_s: float) -> Hold | Taken:
        """Take a lock that is free."""
        holder = self.owner(name)
        if holder is not None:
            return Taken(holder)
        self._generation += 1
        return self._hold(name, owner, ttl_s)

    def renew(self, name: str, owner: str, token: str, ttl_s: float) -> Hold | None:
        """Keep a lock that is held by this token."""
        if self.owner(name) != owner or self._locks[name][1] != token:
            return None
        return self._hold(name, owner, ttl_s)

    def unlock(self, name: str, owner: str, token: str) -> None:
        """Free a lock that is held by this token."""
        if self.owner(name) == owner and self._locks[name][1] == token:
            del self._locks[name]

    def _hold(self, name: str, owner: str, ttl_s: float) -> Hold:
        self._tokens += 1
        token = f"token {self._tokens}"
        self._locks[name] = owner, token, self.clock.seconds() + ttl_s
        return Hold(token, self._generation)


@implementer(IMeetingPlace)
class MemoryMeetingPlace:
    """
    One gateway's way into a L{MemoryRoom}.

    @ivar delays_s: how long a call takes to arrive, and its answer to come back; both 0: done before the call returns.
    @ivar cut: what this gateway calls from now on does not arrive and fails.
    @ivar blind: reading fails.
    @ivar deaf: what arrives is done but its answers are failures, as with a connection that breaks at the wrong moment.
    """

    def __init__(self, room: MemoryRoom, clock: IReactorTime) -> None:
        """
        @param clock: the gateway's.
        """
        self._room = room
        self._clock = clock
        self._listeners: list[Callable[[], None]] = []
        self._notified = False
        self.delays_s = (0.0, 0.0)
        self.cut = False
        self.deaf = False
        self.blind = False

    def read(self) -> Deferred[Sighting]:
        """All that is there; assignments and entries are of one moment here."""
        return self._call(self._read)

    def write(self, entry: NodeEntry) -> Deferred[None]:
        """Put an entry in its node id's place."""

        def work() -> None:
            self._room.entries[entry.node_id] = entry.encode()
            self._room.changed()

        return self._call(work)

    def remove(self, node_id: int) -> Deferred[None]:
        """Remove an entry."""

        def work() -> None:
            if self._room.entries.pop(node_id, None) is not None:
                self._room.changed()

        return self._call(work)

    def publish(self, assignment: Assignment) -> Deferred[None]:
        """Put an assignment beside those that are there."""

        def work() -> None:
            self._room.assignments[assignment.version] = assignment.encode()
            self._room.changed()

        return self._call(work)

    def withdraw(self, version: Version) -> Deferred[None]:
        """Remove an assignment."""

        def work() -> None:
            if self._room.assignments.pop(version, None) is not None:
                self._room.changed()

        return self._call(work)

    def lock(self, name: str, owner: str, ttl_s: float) -> Deferred[Hold | Taken]:
        """Try to take a lock."""
        return self._call(lambda: self._room.lock(name, owner, ttl_s))

    def renew(self, name: str, owner: str, token: str, ttl_s: float) -> Deferred[Hold | None]:
        """Keep a lock."""
        return self._call(lambda: self._room.renew(name, owner, token, ttl_s))

    def unlock(self, name: str, owner: str, token: str) -> Deferred[None]:
        """Give a lock back."""
        return self._call(lambda: self._room.unlock(name, owner, token))

    def watch(self, listener: Callable[[], None]) -> None:
        """Call C{listener} after changes."""
        self._listeners.append(listener)

    def unwatch(self, listener: Callable[[], None]) -> None:
        """Stop calling C{listener}."""
        if listener in self._listeners:
            self._listeners.remove(listener)

    def notify(self) -> None:
        """Have the listeners called soon, once for all that happens until then."""
        if not self._notified and not self.cut and self._listeners:
            self._notified = True
            self._clock.callLater(self.delays_s[1], self._notify)

    def _notify(self) -> None:
        self._notified = False
        for listener in tuple(self._listeners):
            listener()

    def _read(self) -> Sighting:
        if self.blind:
            raise KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, "the meeting place cannot be read")
        versions = tuple(sorted(self._room.assignments))
        newest = Assignment.decode(self._room.assignments[versions[-1]]) if versions else Assignment()
        entries = {node_id: NodeEntry.decode(value) for node_id, value in self._room.entries.items()}
        return Sighting(newest, versions, entries)

    def _call(self, work: Callable[[], T]) -> Deferred[T]:
        # without a canceller: who cancels stops waiting, but what was called is still done
        answer: Deferred[T] = Deferred()
        there_s, back_s = self.delays_s
        cut = self.cut

        def arrive() -> None:
            result: T | KafkaError
            if cut or self._room.failing:
                result = KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, "the meeting place does not answer")
            else:
                try:
                    result = work()
                except KafkaError as error:
                    result = error
                if self.deaf:
                    result = KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, "the connection to the meeting place broke")
            if there_s or back_s:
                # by the gateway's clock even where it takes no time
                self._clock.callLater(back_s, deliver, result)
            else:
                deliver(result)

        def deliver(result: T | KafkaError) -> None:
            if isinstance(result, KafkaError):
                answer.errback(result)
            else:
                answer.callback(result)

        if there_s:
            self._room.clock.callLater(there_s, arrive)
        else:
            arrive()
        return answer
