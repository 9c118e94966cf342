"""One incarnation of this gateway in the cluster: its heartbeats, its readings, and what follows from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from kgw.brokers.alarms import Alarms
from kgw.brokers.controller import Controller
from kgw.brokers.duties import Duties, Timings
from kgw.brokers.handover import Handover, Release, Report
from kgw.brokers.interfaces import IMeetingPlace
from kgw.brokers.lease import Lease
from kgw.brokers.liveness import ENDED_S, Liveness, Witness
from kgw.brokers.model import Assignment, NodeEntry, Sighting, Slot, State, Version
from kgw.brokers.suspension import Lost, Proven, Suspension
from kgw.brokers.work import Work, broken
from kgw.errors import KafkaError

log = Logger("kgw.cluster")

#: Behind a deadline, so that a reading begun then is begun behind it however the numbers are rounded.
_ROUNDING_S = 0.001


class Membership:
    """
    From the first writing of its entry until it is fenced or has left.

    A lease that runs out suspends it: nothing is acknowledged, published or written, but what is led is kept until it
    is known whether it may go on (L{Suspension}) or is fenced.

    Writings of the entry follow one upon the other, readings likewise. Everything else is done as soon as a reading
    asks for it: the place tells of changes, and is read at least with every heartbeat.
    """

    def __init__(
        self,
        place: IMeetingPlace,
        clock: IReactorTime,
        monotonic: Callable[[], float],
        timings: Timings,
        duties: Duties,
        liveness: Liveness,
        entry: NodeEntry,
        stamp: Callable[[], str],
        on_fenced: Callable[[str], None],
        on_change: Callable[[], None],
        witness: Witness,
    ) -> None:
        """
        @param monotonic: seconds of a clock that goes on while the process, or the machine, is stopped.
        @param entry: as it was written first.
        @param on_fenced: called once, with the reason, when this may lead nothing any more.
        @param on_change: called after each reading.
        """
        self._place = place
        self._clock = clock
        self._monotonic = monotonic
        self._timings = timings
        self._duties = duties
        self._liveness = liveness
        self._on_fenced = on_fenced
        self._on_change = on_change
        self._witness = witness
        self._alarms = Alarms(clock)
        self.node_id = entry.node_id
        self.incarnation = entry.incarnation
        self.lease = Lease(timings.session_s, timings.margin_s)
        self.handover = Handover(entry.node_id, entry.incarnation, entry.applied)
        self._work = Work(
            duties, self._alarms, timings.session_s, entry.node_id, self._released, self.handover.refused, self.fence
        )
        self.controller = Controller(
            place, monotonic, self._alarms, timings, duties, liveness, self, stamp, entry.lock_token
        )
        self.sighting: Sighting | None = None
        self._entry = entry
        self._counter = entry.counter
        self._state = State.LIVE
        self._report: Version = entry.applied
        self._raised: dict[Slot, int] = {}
        self._writing = self._write_again = False
        self._reading = self._read_again = False
        self._readings = self._seen = 0
        self._last_read = monotonic()
        self._advancing = self._advance_again = False
        self._ended = False
        self._suspension: Suspension | None = None
        self._leaving: Deferred[None] | None = None
        self._parting: Deferred[None] | None = None

    def begin(self, sent: float) -> None:
        """
        The entry is written.

        @param sent: when that was asked for.
        """
        now = self._monotonic()
        if not self.lease.renewed(sent, now):
            self.fence("it took too long to register")
            return
        self._alarms.set("lapse", self.lease.until - now, self._lapse)
        self._last_read = now
        self._place.watch(self.look)
        self._tick()

    # What others ask.

    def leads(self, slot: Slot) -> int:
        """The leader epoch of what is led here now, -1 where it is not."""
        if not self.lease.valid(self._monotonic()) or slot in self.handover.releasing:
            return -1
        epoch = self.handover.held.get(slot, -1)
        return epoch if epoch < 0 else max(epoch, self._raised.get(slot, -1))

    def may_act(self) -> bool:
        """Whether the lease is valid."""
        return not self._ended and self.lease.valid(self._monotonic())

    @property
    def is_alone(self) -> bool:
        """Whether nobody else leads anything by the assignment that it obeys."""
        return not self._ended and self.handover.target.members.keys() <= {self.node_id}

    def is_leaving(self) -> bool:
        """Whether it is about to stop."""
        return self._state is not State.LIVE

    def obeyed(self) -> Assignment:
        """The assignment that it obeys."""
        return self.handover.target

    def readings(self) -> int:
        """How many readings were begun."""
        return self._readings

    @property
    def entry(self) -> NodeEntry:
        """As it was written last."""
        return self._entry

    def raise_epoch(self, slot: Slot, epoch: int) -> None:
        """Something led here has a greater leader epoch than the assignment says; the others are told."""
        if self.handover.held.get(slot, epoch) < epoch:
            self._raised[slot] = epoch
            self.beat()

    # Heartbeats.

    def _tick(self) -> None:
        self._alarms.set("tick", self._timings.heartbeat_s, self._tick)
        if self._suspension is None and self._monotonic() - self._last_read > self._timings.session_s:
            # the others would wait for it for ever
            self._suspend("the meeting place could not be read for a session timeout")
        self.look()
        if self._suspension is not None:
            return
        renewed = self.controller.tick()
        if self.controller.lock_token:
            # a renewal gives another token, which the entry should tell; but the heartbeat does not wait for long
            self._alarms.set("beat", self._timings.retry_s, self.beat)
            renewed.addCallback(self._renewed)
        else:
            self.beat()

    def _renewed(self, _: None) -> None:
        if "beat" in self._alarms:
            self._alarms.cancel("beat")
            self.beat()

    def beat(self) -> None:
        """Write the entry, once more where that is being done."""
        if self._ended or self._suspension is not None:
            return
        if self._writing:
            self._write_again = True
            return
        self._send()

    def _send(self) -> None:
        self._writing = True
        self._write_again = False
        self._counter += 1
        held = self.handover.held
        self._raised = {slot: epoch for slot, epoch in self._raised.items() if held.get(slot, epoch) < epoch}
        entry = replace(
            self._entry,
            counter=self._counter,
            state=self._state,
            applied=self._report,
            epochs=self._raised,
            lock_token=self.controller.lock_token,
        )
        if self._suspension is not None:
            self._suspension.sending(entry.counter)
        sent = self._monotonic()
        self._place.write(entry).addCallbacks(self._written, self._unwritten, (entry, sent)).addErrback(broken)

    def _written(self, _: None, entry: NodeEntry, sent: float) -> None:
        self._writing = False
        if self._ended:
            self._tell_parting()
            return
        self._entry = entry
        self.handover.reported(entry.applied)
        if self._suspension is not None:
            self._suspension.written(entry.counter, sent, self._readings)
            self.look()
            return
        now = self._monotonic()
        if not self.lease.renewed(sent, now):
            self._lapse()
            return
        self._alarms.set("lapse", self.lease.until - now, self._lapse)
        if self._write_again:
            self.beat()
        self._advance()

    def _unwritten(self, failure: Failure, *_: object) -> None:
        failure.trap(KafkaError)
        self._writing = False
        log.debug("a heartbeat was not written: {error}", error=failure.value)
        if self._ended:
            self._tell_parting()
        elif self._suspension is not None:
            self._suspension.unwritten()
            self._alarms.set("look", self._timings.retry_s, self.look)
        else:
            self._alarms.set("beat", self._timings.retry_s, self.beat)

    def _tell_parting(self) -> None:
        parting, self._parting = self._parting, None
        if parting is not None:
            parting.callback(None)

    def _lapse(self) -> None:
        if self.lease.valid(self._monotonic()):
            self._alarms.set("lapse", self.lease.until - self._monotonic(), self._lapse)
        elif self._suspension is None:
            self._suspend("no heartbeat was written in time")

    def _suspend(self, reason: str) -> None:
        """Lead nothing for now, until it is known whether this may go on."""
        self._suspension = Suspension(self.node_id, self.incarnation)
        self.lease.lapse()
        for name in ("lapse", "beat", "release", "witness", "deadline"):
            self._alarms.cancel(name)
        log.warn("node {node} leads nothing for now: {reason}", node=self.node_id, reason=reason)
        self._on_change()
        self.look()

    def _may_go_on(self, suspension: Suspension, sighting: Sighting, number: int) -> bool:
        verdict = suspension.judge(sighting, self.handover.target, number)
        if isinstance(verdict, Lost):
            self.fence(verdict.reason)
        elif isinstance(verdict, Proven) and self.lease.resumed(verdict.sent, self._monotonic()):
            return True
        elif verdict is not None and not self._writing:
            self._send()
        if self._read_again:
            self.look()
        return False

    def _resume(self) -> None:
        now = self._monotonic()
        self._suspension = None
        self._alarms.set("lapse", self.lease.until - now, self._lapse)
        if self.handover.releasing:
            self._work.watch_release()
        # the others may not have been able to write, either
        self._liveness.excuse(now)
        self.controller.tick()
        log.info("node {node} goes on: nobody has taken anything meanwhile", node=self.node_id)

    # Readings.

    def look(self) -> None:
        """Read the meeting place, once more where that is being done."""
        if self._ended:
            return
        if self._reading:
            self._read_again = True
            return
        self._reading = True
        self._read_again = False
        self._readings += 1
        asked = self._monotonic()
        reading = self._place.read()
        reading.addCallbacks(self._read, self._unread, (asked, self._readings)).addErrback(broken)

    def _read(self, sighting: Sighting, asked: float, number: int) -> None:
        self._reading = False
        if self._ended:
            return
        if self._suspension is not None:
            if not self._may_go_on(self._suspension, sighting, number):
                return
            self._resume()
        now = self._monotonic()
        if not self.lease.valid(now):
            self._lapse()
            return
        self._last_read = now
        self._seen = number
        if not self._check_own(sighting.entries.get(self.node_id)):
            return
        others = [entry for node_id, entry in sighting.entries.items() if node_id != self.node_id]
        # also another incarnation of this node id: whether that is no more is to be seen
        members = {one: name for one, name in sighting.assignment.members.items() if name != self.incarnation}
        self._liveness.observe(others, members, asked, now)
        for incarnation in self._witness.gone([one for one in others if not self._liveness.gone(one.incarnation)], now):
            self._liveness.ended(incarnation, now)
        if self._witness.is_waiting:
            self._alarms.set("witness", ENDED_S + _ROUNDING_S, self.look)
        self.sighting = sighting
        deadline = self._liveness.next_deadline()
        if deadline is not None:
            self._alarms.set("deadline", max(deadline - now, 0.0) + _ROUNDING_S, self.look)
        self._advance()
        if self._read_again:
            self.look()

    def _unread(self, failure: Failure) -> None:
        failure.trap(KafkaError)
        self._reading = False
        log.debug("the meeting place was not read: {error}", error=failure.value)
        if not self._ended:
            self._alarms.set("look", self._timings.retry_s, self.look)

    def _check_own(self, own: NodeEntry | None) -> bool:
        """Whether the node id is still this incarnation's."""
        if own is None:
            self.beat()
        elif own.incarnation != self.incarnation:
            late = own.incarnation in self._entry.formers or self._liveness.gone(own.incarnation)
            if not late or self.incarnation in own.formers:
                self.fence(f"another gateway has taken node id {self.node_id}")
                return False
            self.beat()
        return True

    # What follows.

    def _advance(self) -> None:
        self._advance_again = True
        if self._advancing:
            return
        self._advancing = True
        try:
            while self._advance_again and not self._ended:
                self._advance_again = False
                self._step()
        finally:
            self._advancing = False

    def _step(self) -> None:
        if self.sighting is None:
            return
        if not self.may_act():
            self._lapse()
            return
        for effect in self.handover.see(self.sighting, self._liveness.stirred):
            if isinstance(effect, Release):
                self._work.release(effect.slots)
            elif isinstance(effect, Report):
                self._report = effect.version
                self.beat()
            else:
                self._work.take(effect.slots)
            if self._ended:
                return
        self.controller.consider(self.sighting, self._seen)
        self._on_change()
        has_nothing = not self.handover.held and self.handover.is_calm and self._entry.state is not State.LIVE
        if self._leaving is not None and has_nothing:
            leaving, self._leaving = self._leaving, None
            leaving.callback(None)

    def _released(self) -> None:
        self.handover.released()
        self._advance()

    # The end.

    def leave(self) -> Deferred[None]:
        """
        Be given nothing more, and have all that is led here given to others.

        @return: fires when nothing is held any more; never where nobody can be given it.
        """
        self._leaving = Deferred()
        leaving = self._leaving
        self._state = State.LEAVING
        self.beat()
        self._advance()
        return leaving

    def part(self) -> Deferred[None]:
        """
        Let go of what is still held, give the controller's lock back, and say in the entry that all is let go of.

        @return: fires when that is done; fails where it could not be done, and then this is fenced.
        """
        return Deferred.fromCoroutine(self._part())

    async def _part(self) -> None:
        rest = frozenset(self.handover.held)
        self.end(False)
        try:
            if rest:
                await self._duties.release(rest).addTimeout(self._timings.session_s, self._clock)
            await self.controller.stop()
            if self._writing:
                # lest an older word of this gateway's come after its last one
                self._parting = Deferred()
                await self._parting
            entry = replace(
                self._entry, counter=self._counter + 1, state=State.LEFT, applied=self._report, epochs={}, lock_token=""
            )
            await self._place.write(entry)
        finally:
            self.lease.lose()

    def fence(self, reason: str) -> None:
        """Lead nothing from this moment on."""
        if not self._ended:
            self.end()
            self._on_fenced(reason)
            leaving, self._leaving = self._leaving, None
            if leaving is not None:
                leaving.callback(None)

    def end(self, lose: bool = True) -> None:
        """
        Do nothing any more.

        @param lose: the lease, too.
        """
        self._ended = True
        if lose:
            self.lease.lose()
        self._alarms.clear()
        self._place.unwatch(self.look)
        self.controller.abandon()
