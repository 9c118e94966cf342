"""The shell of one group: performs what its machine wants done, in order, and wakes it in time."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from kgw.errors import ErrorCode, KafkaError
from kgw.group_model import CommitRequest, Joined, JoinRequest, Leaving, Left, Synced, SyncRequest
from kgw.groups.effects import Amend, Effect, GroupSnapshot, Note, Persist, Reply
from kgw.groups.facts import (
    Amendment,
    KeptOffset,
    Stored,
    amendment_key,
    encode_amendment,
    encode_offset,
    encode_state,
    group_prefix,
    offset_key,
    state_key,
)
from kgw.groups.machine import GroupMachine
from kgw.groups.offsets import Audience, OffsetTable, Place
from kgw.groups.surroundings import Surroundings

log = Logger("kgw.group")

#: When to look again after a machine broke while it was woken, in seconds.
_AFTER_A_BUG = 1.0

#: A state that could not be stored is tried again after so many seconds, then after twice as many, and so on.
_FIRST_RETRY = 1.0
_LAST_RETRY = 60.0

#: The end of time as it is stored, in epoch milliseconds.
_LATEST_MS = (1 << 63) - 1


class _Answer(NamedTuple):
    """An answer that waits in the queue of effects, for what the machine has no tickets for."""

    waiter: Deferred[Any]
    value: object


class Group:
    """
    One group as the coordinator drives it: its machine, its alarm, and its committed offsets.

    Effects of all calls go through one queue. While the group's state is being stored nothing behind it is
    performed, so nobody is told what a crash could take back.

    @ivar machine: the rules; called by this class only, but for questions.
    @ivar offsets: what is durable.
    """

    __slots__ = (
        "_alarm",
        "_alarm_time",
        "_around",
        "_back_off",
        "_before_deletion",
        "_prefix",
        "_queue",
        "_retry",
        "_stored",
        "_storing",
        "_working",
        "_writing",
        "machine",
        "offsets",
    )

    def __init__(self, machine: GroupMachine, around: Surroundings, stored: Stored | None = None) -> None:
        """
        @param stored: what the store holds of it.
        """
        self.machine = machine
        self.offsets = OffsetTable()
        self._around = around
        self._prefix = group_prefix(machine.group_id)
        self._stored = stored or Stored()
        self._queue: deque[Effect | _Answer] = deque()
        self._retry: IDelayedCall | None = None
        self._back_off = 0.0
        self._working = False
        self._storing = False
        # offsets on their way to the store, in the order in which they get there
        self._writing: deque[Mapping[Place, KeptOffset]] = deque()
        self._alarm: IDelayedCall | None = None
        self._alarm_time = 0.0
        self._before_deletion: GroupSnapshot | None = None
        self._set_alarm()

    @property
    def id(self) -> str:
        """The group id."""
        return self.machine.group_id

    @property
    def is_nothing(self) -> bool:
        """Whether there is nothing to remember of it: no members now or soon, no offsets, no state in the store."""
        machine, stored = self.machine, self._stored
        return not (stored.parts or stored.amended or machine.member_count or machine.pending_count) and not (
            self.offsets or self._writing or self._queue
        )

    @property
    def is_idle(self) -> bool:
        """Whether it may be forgotten: nobody is in it or about to be, and it has no offsets."""
        machine = self.machine
        return machine.state == "Empty" and not (machine.pending_count or self.offsets or self._writing)

    def join(self, request: JoinRequest) -> Deferred[Joined]:
        """
        Have a member join.

        @raise KafkaError: it is refused at once.
        """
        ticket: Deferred[Joined] = Deferred(self._cancelled)
        self._perform(self.machine.join(self._now(), request, ticket))
        return ticket

    def sync(self, request: SyncRequest) -> Deferred[Synced]:
        """
        Get a member its assignment.

        @raise KafkaError: it is refused at once.
        """
        ticket: Deferred[Synced] = Deferred(self._cancelled)
        self._perform(self.machine.sync(self._now(), request, ticket))
        return ticket

    def heartbeat(self, generation_id: int, member_id: str, instance_id: str | None) -> None:
        """
        Note that a member is alive.

        @raise KafkaError: it is refused, or is to join again.
        """
        effects = self.machine.heartbeat(self._now(), generation_id, member_id, instance_id)
        # Usually there are none. Then the machine's deadline can only have become later, the alarm may go off too
        # early once, and is set anew then: it need not be looked at here.
        if effects:
            self._perform(effects)

    def leave(self, leavings: Sequence[Leaving]) -> Deferred[list[Left]]:
        """
        Have members leave; fires when that is durable.

        @raise KafkaError: it is refused at once.
        """
        left, effects = self.machine.leave(self._now(), leavings)
        return self._perform_and_answer(effects, left)

    def commit(self, request: CommitRequest) -> Deferred[dict[Place, ErrorCode]]:
        """
        Keep offsets, all that can be kept or none; fires when they are durable.

        @raise KafkaError: the member, or the group as it is, may not commit.
        """
        self.machine.check_commit(self._now(), request.generation_id, request.member_id, request.instance_id)
        now_ms = int(self._around.clock.seconds() * 1000)
        expire_ms = min(now_ms + request.retention_ms, _LATEST_MS) if request.retention_ms >= 0 else -1
        takes, prefix = self._around.offset_limits.takes, self._prefix
        codes: dict[Place, ErrorCode] = {}
        kept: dict[Place, KeptOffset] = {}
        puts: dict[str, bytes] = {}
        for place, committed in request.offsets.items():
            if takes(committed.metadata):
                codes[place] = ErrorCode.NONE
                kept[place] = keeping = KeptOffset(committed, now_ms, expire_ms)
                puts[offset_key(prefix, *place)] = encode_offset(keeping)
            else:
                codes[place] = ErrorCode.OFFSET_METADATA_TOO_LARGE
        if not puts:
            return succeed(codes)
        answer: Deferred[dict[Place, ErrorCode]] = Deferred()
        self._writing.append(kept)
        self._around.journal.write(puts, (), partial(self._committed, answer, codes))
        return answer

    def drop(self, places: Collection[Place]) -> Deferred[None]:
        """Forget these offsets, and commits of them that are on their way; fires when that is durable."""
        answer: Deferred[None] = Deferred()
        if not places:
            return succeed(None)

        def dropped(error: KafkaError | None) -> None:
            if error is None:
                self.offsets.drop(places)
                _fire(answer, None)
            else:
                _fire(answer, error)

        self._around.journal.write({}, [offset_key(self._prefix, *place) for place in places], dropped)
        return answer

    def forget(self) -> Deferred[None]:
        """
        Forget the group and its offsets; fires when that is durable.

        @raise KafkaError: C{NON_EMPTY_GROUP}; C{GROUP_ID_NOT_FOUND} where it is just being forgotten.
        """
        before = self.machine.snapshot()
        effects = self.machine.delete(self._now())
        self._before_deletion = before
        return self._perform_and_answer(effects, None)

    def places_of(self, topic: str) -> list[Place]:
        """The partitions of a topic with an offset here, durable or on its way."""
        on_their_way = (place for kept in self._writing for place in kept if place[0] == topic)
        return list(dict.fromkeys(chain(self.offsets.of_topic(topic), on_their_way)))

    def expired(self) -> list[Place]:
        """The offsets that nobody needs any more; none of which is just being committed."""
        machine, around = self.machine, self._around
        since_ms = int(around.to_epoch(machine.state_time) * 1000)
        audience = Audience(machine.protocol_type, machine.state, since_ms, machine.subscribed_topics())
        now_ms = int(around.clock.seconds() * 1000)
        found = self.offsets.expired(now_ms, around.offset_limits.retention_ms, audience)
        if not found or not self._writing:
            return found
        renewed = set(chain.from_iterable(self._writing))
        return [place for place in found if place not in renewed]

    def note(self, text: str) -> None:
        """Add to the group's history."""
        self._around.history.add(self._around.clock.seconds(), self.id, text)

    def stop(self) -> None:
        """Tell all who wait that this node coordinates no more, and let no alarm go off."""
        effects = self.machine.stop(self._now())
        self._perform(effects)
        self.silence()

    def silence(self) -> None:
        """Set no alarm any more, and try nothing again."""
        self._cancel_alarm()
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def _cancel_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _now(self) -> float:
        return self._around.monotonic()

    def _cancelled(self, ticket: Deferred[Any]) -> None:
        self._perform(self.machine.cancel(self._now(), ticket))

    def _perform_and_answer(self, effects: Iterable[Effect], value: Any) -> Deferred[Any]:
        waiter: Deferred[Any] = Deferred()
        self._queue.extend(effects)
        self._perform((_Answer(waiter, value),))
        return waiter

    def _perform(self, effects: Iterable[Effect | _Answer]) -> None:
        self._queue.extend(effects)
        self._work()
        self._set_alarm()

    def _work(self) -> None:
        """Perform what is in the queue, as far as it need not wait for the store."""
        if self._working:
            return  # called from an answer: who answers goes on with the queue
        self._working = True
        queue = self._queue
        try:
            while queue and not self._storing:
                effect = queue.popleft()
                if isinstance(effect, Reply):
                    assert isinstance(effect.ticket, Deferred)
                    _fire(effect.ticket, effect.answer)
                elif isinstance(effect, _Answer):
                    _fire(effect.waiter, effect.value)
                elif isinstance(effect, Note):
                    self.note(effect.text)
                elif isinstance(effect, Amend):
                    self._amend(effect.generation_id)
                else:
                    self._store(effect.snapshot)
        finally:
            self._working = False

    def _store(self, snapshot: GroupSnapshot | None) -> None:
        if snapshot is None and self.machine.state != "Dead":
            raise RuntimeError(f"group {self.id!r} is {self.machine.state} and must not be forgotten")
        prefix = self._prefix
        parts: list[bytes] = []
        stored = Stored()
        if snapshot is not None:
            parts = encode_state(replace(snapshot, state_time=self._around.to_epoch(snapshot.state_time)))
            stored = Stored(len(parts), tuple(member.member_id for member in snapshot.members))
        puts = {state_key(prefix, number): part for number, part in enumerate(parts)}
        deletes = [state_key(prefix, number) for number in range(len(parts), self._stored.parts)]
        if self._stored.amended:
            deletes.append(amendment_key(prefix))
        # until it is known how the write ended, either state may be in the store
        self._stored = replace(self._stored, parts=max(self._stored.parts, len(parts)))
        if snapshot is None:
            places = set(self.offsets).union(*self._writing)
            deletes += [offset_key(prefix, *place) for place in places]
        self._write(puts, deletes, stored, snapshot is None)

    def _amend(self, generation_id: int) -> None:
        has_member = self.machine.has_member
        left = [place for place, member_id in enumerate(self._stored.member_ids) if not has_member(member_id)]
        # also where the write fails: it may be there
        self._stored = replace(self._stored, amended=True)
        amendment = encode_amendment(Amendment(generation_id, tuple(left)))
        self._write({amendment_key(self._prefix): amendment}, (), self._stored, False)

    def _write(self, puts: Mapping[str, bytes], deletes: Collection[str], stored: Stored, forgets: bool) -> None:
        """
        Let nothing be performed until these are stored.

        @param stored: what the store holds then.
        @param forgets: that is nothing.
        """

        def done(error: KafkaError | None) -> None:
            self._storing = False
            if error is not None:
                self._not_stored(forgets)
            else:
                self._stored = stored
                self._back_off = 0.0
                if forgets:
                    self._around.forgotten(self)
            self._work()

        self._storing = True
        if puts or deletes:
            self._around.journal.write(puts, deletes, done)
        else:
            done(None)

    def _not_stored(self, forgets: bool) -> None:
        """The state could not be stored: nobody who waits for it gets what depends on it."""
        waiting = list(self._queue)
        self._queue.clear()
        for effect in waiting:
            if isinstance(effect, _Answer):
                self._queue.append(effect._replace(value=_unavailable()))
            elif isinstance(effect, Reply):
                refused = isinstance(effect.answer, KafkaError)
                self._queue.append(effect if refused else Reply(effect.ticket, _unavailable()))
            elif isinstance(effect, Persist) and effect.snapshot is not None and effect.snapshot.members:
                continue  # its members are refused what it holds
            else:
                self._queue.append(effect)
        now = self._now()
        if forgets and self._before_deletion is not None:
            self.machine = GroupMachine.restored(now, self._before_deletion, self._around.limits)
            self.note("the group could not be deleted, its facts cannot be written")
        else:
            self._queue.extend(self.machine.unsaved(now))
            if self._retry is None and self.machine.state != "Dead":
                self._back_off = min(2 * self._back_off or _FIRST_RETRY, _LAST_RETRY)
                self._retry = self._around.clock.callLater(self._back_off, self._store_again)
        self._set_alarm()

    def _store_again(self) -> None:
        self._retry = None
        self._perform(self.machine.save())

    def _committed(
        self, answer: Deferred[dict[Place, ErrorCode]], codes: dict[Place, ErrorCode], error: KafkaError | None
    ) -> None:
        kept = self._writing.popleft()
        if error is None:
            self.offsets.put(kept)
            _fire(answer, codes)
        else:
            _fire(answer, error)

    def _set_alarm(self) -> None:
        """
        See to it that the machine is woken by its deadline.

        An alarm that is early does no harm, so only one that is late is moved.
        """
        deadline = self.machine.next_deadline()
        alarm = self._alarm
        if deadline is None:
            self._cancel_alarm()
        elif alarm is None:
            delay = max(0.0, deadline - self._now())
            self._alarm_time = deadline
            self._alarm = self._around.clock.callLater(delay, self._ring)
        elif deadline < self._alarm_time:
            self._alarm_time = deadline
            alarm.reset(max(0.0, deadline - self._now()))

    def _ring(self) -> None:
        self._alarm = None
        try:
            self._perform(self.machine.tick(self._now()))
        except Exception:
            log.failure("waking group {group}", group=self.id)
            if self._alarm is None:
                self._alarm = self._around.clock.callLater(_AFTER_A_BUG, self._ring)


def _unavailable() -> KafkaError:
    return KafkaError(ErrorCode.COORDINATOR_NOT_AVAILABLE, "the state of the group could not be stored")


def _fire(waiter: Deferred[Any], answer: object) -> None:
    """Answer one who waits, if it still does: it may have been cancelled."""
    if waiter.called:
        return
    if isinstance(answer, KafkaError):
        waiter.errback(answer)
    else:
        waiter.callback(answer)
