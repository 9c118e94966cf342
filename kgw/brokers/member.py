"""This gateway as one of several: it joins, is fenced and joins again, leaves; and what it knows of the others."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from kgw.brokers.balance import expulsion
from kgw.brokers.duties import Duties, Timings
from kgw.brokers.interfaces import NODES_LOCK, IMeetingPlace
from kgw.brokers.liveness import Liveness, Witness
from kgw.brokers.membership import Membership
from kgw.brokers.model import (
    COORDINATORS,
    MAX_FORMERS,
    Assignment,
    Hold,
    NodeEntry,
    Process,
    Sighting,
    Slot,
    State,
    Version,
)
from kgw.brokers.node_ids import Claim, Claimant, Refused, Wait
from kgw.brokers.processes import Processes
from kgw.errors import KafkaError, StartError

log = Logger("kgw.cluster")

_NODES_LOCK_S = 10.0
#: How often a node id that may become free is looked at.
_WAIT_S = 0.5


@dataclass(frozen=True, slots=True)
class Card:
    """
    What a gateway says of itself.

    @ivar node_id: the one that is configured, C{None} where any will do.
    @ivar listeners: host and port by listener name, as clients are to reach it.
    @ivar release: of kgw, for people.
    @ivar process: this process, C{None} where the system does not tell.
    """

    node_id: int | None
    listeners: Mapping[str, tuple[str, int]]
    rack: str | None = None
    release: str = ""
    process: Process | None = None


class Leadership(NamedTuple):
    """
    Who leads something, as far as is known here.

    @ivar node_id: -1 where nobody does, or the one that should is not alive.
    @ivar epoch: the leader epoch, -1 where there never was one.
    """

    node_id: int
    epoch: int


NO_LEADER = Leadership(-1, -1)


class Member:
    """
    This gateway in the cluster.

    @ivar node_id: -1 until it has one.
    @ivar fences: how often it has had to let go of everything.
    """

    def __init__(
        self,
        place: IMeetingPlace,
        clock: IReactorTime,
        monotonic: Callable[[], float],
        card: Card,
        timings: Timings,
        duties: Duties,
        ended: Callable[[Process], bool] | None = None,
        random: Callable[[int], str] = secrets.token_hex,
    ) -> None:
        """
        @param monotonic: seconds of a clock that goes on while the process, or better the whole machine, is stopped.
        @param ended: whether a process is known to have ended; asks the system where C{None}.
        @param random: as many random bytes, in hexadecimal digits.
        """
        self._place = place
        self._clock = clock
        self._monotonic = monotonic
        self._card = card
        self._timings = timings
        self._duties = duties
        self._process_ended = ended or Processes().ended
        self._random = random
        self._liveness = Liveness(timings.session_s)
        self._claimant = Claimant(card.node_id, card.listeners)
        self._membership: Membership | None = None
        self._sighting: Sighting | None = None
        self._obeyed = Assignment()
        self._joining: Deferred[None] | None = None
        self._stopping = False
        self._listeners: list[Callable[[], None]] = []
        self.fences = 0
        self.node_id = -1 if card.node_id is None else card.node_id

    def start(self) -> Deferred[int]:
        """
        Register.

        @return: fires with the node id, when this gateway may be given something to lead; fails with L{StartError}
            where the node id is another's, with C{KAFKA_STORAGE_ERROR} where the meeting place does not answer.
        """
        answer = Deferred.fromCoroutine(self._join(True))
        return answer.addCallback(lambda _: self.node_id)

    def stop(self) -> Deferred[None]:
        """
        Hand over what is led here, and leave.

        @return: fires when others may lead it, or when nobody took it in C{Timings.stop_s}; never fails.
        """
        self._stopping = True
        membership = self._membership
        if membership is None:
            # where it is joining again it looks up soon, and gives up
            stopped: Deferred[None] = Deferred()
            if self._joining is None:
                return succeed(None)
            self._joining.addCallback(stopped.callback)
            return stopped
        return Deferred.fromCoroutine(self._leave(membership)).addErrback(self._left_badly)

    def topics_changed(self) -> None:
        """There are other topics or partitions: the controller is to assign them."""
        if self._membership is not None:
            self._membership.controller.topics_changed()

    def raise_epoch(self, slot: Slot, epoch: int) -> None:
        """Something led here has a greater leader epoch than it was given; the others are told."""
        if self._membership is not None:
            self._membership.raise_epoch(slot, epoch)

    def watch(self, listener: Callable[[], None]) -> None:
        """Call C{listener} when something may have changed of what this tells; it must not fail."""
        self._listeners.append(listener)

    # What is known.

    def leads(self, slot: Slot) -> int:
        """
        The leader epoch with which this gateway leads something at this moment, -1 where it does not.

        Asked before anything new is begun for it. What was begun before its release may be finished during that, and
        is acknowledged, published or written while L{may_act}.
        """
        return self._membership.leads(slot) if self._membership is not None else -1

    def may_act(self) -> bool:
        """Whether this gateway's lease is valid at this moment."""
        return self._membership is not None and self._membership.may_act()

    def may_wait(self) -> bool:
        """
        Whether something that this gateway leads may wait here for its lease to be valid again.

        Where others are, clients had better ask them: they may lead it by now.
        """
        return self._membership is not None and self._membership.is_alone

    @property
    def valid_until(self) -> float:
        """Until when the lease is valid as it stands, by the monotonic clock; minus infinity where it is not."""
        return self._membership.lease.until if self._membership is not None else float("-inf")

    def lease_s(self) -> float:
        """For how many seconds the lease is valid as it stands; 0 where it is not."""
        return max(self.valid_until - self._monotonic(), 0.0)

    def silence_s(self, node_id: int) -> float | None:
        """
        Seconds since something new was seen of a gateway; of this one, since it sent the last heartbeat that counts.

        @return: C{None} where nothing is known of it, or it is no more.
        """
        now, timings = self._monotonic(), self._timings
        if node_id == self.node_id:
            until = self.valid_until
            return None if until == float("-inf") else now - (until - timings.session_s + timings.margin_s)
        incarnation, _ = self._liveness.alive().get(node_id, ("", None))
        deadline = self._liveness.deadline(incarnation)
        return None if deadline is None else now - (deadline - timings.session_s)

    @property
    def incarnation(self) -> str:
        """This gateway's incarnation, empty while it has none."""
        return self._membership.incarnation if self._membership is not None else ""

    @property
    def controller_id(self) -> int:
        """The controller's node id, -1 where nobody is known to be it."""
        return self._membership.controller.controller_id if self._membership is not None else -1

    def assignment(self) -> Assignment:
        """The greatest assignment that was seen."""
        return self._obeyed

    def is_calm(self) -> bool:
        """Whether all that the greatest assignment seen asks of this gateway is done."""
        return self._membership is not None and self._membership.handover.is_calm

    def brokers(self) -> dict[int, NodeEntry]:
        """The entries of all gateways that are alive, as far as is known, by node id."""
        members = self._obeyed.members
        found = {}
        for node_id, (incarnation, entry) in self._liveness.alive().items():
            known = members.get(node_id) == incarnation or self._liveness.stirred(incarnation)
            if entry is not None and known and node_id != self.node_id:
                found[node_id] = entry
        if self._membership is not None and (self.may_act() or self.may_wait()):
            found[self.node_id] = self._membership.entry
        return dict(sorted(found.items()))

    def leader(self, slot: Slot) -> Leadership:
        """Who leads something."""
        node_id, epoch = self._obeyed.leader(slot)
        if node_id < 0:
            return Leadership(-1, epoch)
        if node_id == self.node_id:
            led = self.leads(slot)
            known = self.may_act() or self.may_wait()
            return Leadership(node_id, max(led, epoch)) if known else Leadership(-1, epoch)
        incarnation, entry = self._liveness.alive().get(node_id, ("", None))
        if incarnation != self._obeyed.members.get(node_id):
            return Leadership(-1, epoch)
        return Leadership(node_id, epoch if entry is None else max(epoch, entry.epochs.get(slot, -1)))

    def coordinator(self, slot: int) -> Leadership:
        """Who coordinates the groups of one of the L{coordinator_slots}."""
        return self.leader(Slot(COORDINATORS, slot))

    @property
    def coordinator_slots(self) -> int:
        """How many shares all groups are in; 0 where nothing is assigned yet."""
        led = self._obeyed.topics.get(COORDINATORS)
        return 0 if led is None else len(led.leaders)

    # Joining.

    async def _join(self, first: bool) -> None:
        while not self._stopping:
            choice: Claim | Wait | Refused | None = None
            try:
                choice = await self._survey()
                if isinstance(choice, Refused):
                    if first:
                        raise StartError(choice.text)
                    log.warn("cannot join again: {text}", text=choice.text)
                elif isinstance(choice, Claim) and await self._claim(choice):
                    return
            except KafkaError as error:
                if first:
                    raise
                log.debug("cannot join again yet: {error}", error=error)
            await deferLater(self._clock, self._delay_s(choice if isinstance(choice, Wait) else None))
        if first:
            raise StartError("kgw was stopped while it was joining the cluster")

    def _delay_s(self, choice: Wait | None) -> float:
        if choice is None:
            return self._timings.retry_s
        return min(_WAIT_S, max(choice.until - self._monotonic(), 0.0) + 0.001)

    async def _survey(self) -> Claim | Wait | Refused:
        asked = self._monotonic()
        sighting = await self._place.read()
        self._sighting = sighting
        entries = sighting.entries
        self._liveness.observe(entries.values(), sighting.assignment.members, asked, self._monotonic())
        return self._claimant.choose(entries, self._liveness, self._process_ended)

    async def _claim(self, choice: Claim) -> bool:
        """Whether the node id could be taken: under a lock, so that of two only one does."""
        incarnation = self._random(16)
        asked = self._monotonic()
        held = await self._place.lock(NODES_LOCK, incarnation, _NODES_LOCK_S)
        if not isinstance(held, Hold):
            return False
        try:
            if await self._survey() != choice or self._sighting is None:
                return False
            if not await self._is_free(choice, self._sighting):
                return False
            entry = NodeEntry(
                choice.node_id,
                incarnation,
                self._card.listeners,
                self._card.rack,
                self._card.release,
                self._card.process,
                # it holds nothing, and by what there is it will be given nothing
                applied=self._sighting.assignment.version,
                formers=choice.formers[:MAX_FORMERS],
                lock_token=choice.lock_token,
            )
            # should this fail, it may be there all the same: then it is one of our own
            self._disown(incarnation)
            sent = self._monotonic()
            if sent - asked > 0.8 * _NODES_LOCK_S:
                # somebody else may have the lock, and the node id, by now
                return False
            await self._place.write(entry)
            written = (await self._place.read()).entries.get(choice.node_id)
            if written is None or written.incarnation != incarnation:
                return False
            if self._stopping:
                await self._place.write(replace(entry, counter=1, state=State.LEFT))
                return False
        finally:
            self._place.unlock(NODES_LOCK, incarnation, held.token).addErrback(self._unlocked)
        self._begin(entry, sent)
        return True

    async def _is_free(self, choice: Claim, sighting: Sighting) -> bool:
        """Whether who was a member by this node id is gone for good: one that is silent is to be no member first."""
        base, before = sighting.assignment, sighting.entries.get(choice.node_id)
        name = base.members.get(choice.node_id)
        if name is None or name in self._claimant.own or self._liveness.finally_gone(name):
            return True
        if (
            before is not None
            and before.incarnation == name
            and before.process is not None
            and self._process_ended(before.process)
        ):
            return True
        if self._liveness.gone(name):
            raised: dict[Slot, int] = {}
            for entry in sighting.entries.values():
                for slot, epoch in entry.epochs.items():
                    raised[slot] = max(epoch, raised.get(slot, 0))
            version = Version(base.version.number + 1, choice.node_id, self._random(4))
            silent = {name: choice.node_id}
            await self._place.publish(expulsion(base, silent, raised, False, sighting.contested, version))
        return False

    def _begin(self, entry: NodeEntry, sent: float) -> None:
        now = self._monotonic()
        for former in entry.formers:
            self._liveness.ended(former, now)
        self.node_id = entry.node_id
        self._membership = Membership(
            self._place,
            self._clock,
            self._monotonic,
            self._timings,
            self._duties,
            self._liveness,
            entry,
            lambda: self._random(4),
            self._fenced,
            self._changed,
            Witness(self._process_ended),
        )
        again = " again" if self.fences else ""
        log.info(
            "node {node} joined the cluster{again} as incarnation {incarnation}",
            node=entry.node_id,
            again=again,
            incarnation=entry.incarnation[:8],
        )
        self._membership.begin(sent)

    def _disown(self, incarnation: str) -> None:
        self._claimant.own = (incarnation, *self._claimant.own)[:MAX_FORMERS]

    def _unlocked(self, failure: Failure) -> None:
        failure.trap(KafkaError)

    # Staying.

    def _changed(self) -> None:
        membership = self._membership
        if membership is not None:
            self._obeyed = membership.handover.target
        for listener in tuple(self._listeners):
            listener()

    def _fenced(self, reason: str) -> None:
        membership, self._membership = self._membership, None
        self.fences += 1
        log.warn("node {node} fenced itself: {reason}", node=self.node_id, reason=reason)
        self._joining = Deferred.fromCoroutine(self._abandon(membership)).addErrback(self._lost)
        self._joining.addCallback(self._joined)

    async def _abandon(self, membership: Membership | None) -> None:
        if membership is not None:
            self._liveness.ended(membership.incarnation, self._monotonic())
        await self._duties.fenced()
        for listener in tuple(self._listeners):
            listener()
        await self._join(False)

    def _joined(self, _: None) -> None:
        self._joining = None

    def _lost(self, failure: Failure) -> None:
        log.failure("this gateway is out of the cluster for good", failure)

    # Leaving.

    async def _leave(self, membership: Membership) -> None:
        leaving = membership.leave()
        overdue = self._clock.callLater(self._timings.stop_s, leaving.cancel)
        try:
            await leaving
        except CancelledError:
            log.warn("nobody took over what node {node} led in time", node=self.node_id)
        finally:
            if overdue.active():
                overdue.cancel()
        if self._membership is not membership:
            # it was fenced meanwhile, and holds nothing
            return
        await membership.part()
        self._membership = None
        log.info("node {node} left the cluster", node=self.node_id)

    def _left_badly(self, failure: Failure) -> None:
        self._membership = None
        log.warn("node {node} left without saying so: {error}", node=self.node_id, error=failure.value)
