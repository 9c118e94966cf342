"""Who computes assignments, and how one is made and published."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from kgw.brokers.alarms import Alarms
from kgw.brokers.balance import expulsion, next_assignment
from kgw.brokers.duties import Duties, Timings
from kgw.brokers.handover import settled
from kgw.brokers.interfaces import CONTROLLER_LOCK, IMeetingPlace
from kgw.brokers.liveness import Liveness
from kgw.brokers.model import COORDINATORS, Assignment, Hold, Sighting, Slot, State, Taken, Version
from kgw.errors import KafkaError

log = Logger("kgw.cluster")

#: How many former assignments are kept, for people to look at.
KEPT_ASSIGNMENTS = 3
_OWNER = "node "


class Standing(Protocol):
    """What a controller asks of the membership that it belongs to."""

    node_id: int
    incarnation: str

    def may_act(self) -> bool:
        """Whether this incarnation's lease is valid."""

    def is_leaving(self) -> bool:
        """Whether it is about to stop."""

    def obeyed(self) -> Assignment:
        """The assignment that it obeys."""

    def look(self) -> None:
        """Read the meeting place soon."""

    def readings(self) -> int:
        """How many readings were begun."""

    def beat(self) -> None:
        """Write the entry soon, with the token of the lock."""


class Controller:
    """
    One incarnation's part in controlling the cluster: it tries to get the lock, and does the work while it has it.

    Nothing goes wrong where two believe that they have it: both publish, and one of the assignments is the greater.
    """

    def __init__(
        self,
        place: IMeetingPlace,
        monotonic: Callable[[], float],
        alarms: Alarms,
        timings: Timings,
        duties: Duties,
        liveness: Liveness,
        standing: Standing,
        stamp: Callable[[], str],
        token: str,
    ) -> None:
        """
        @param stamp: 8 random hexadecimal digits.
        @param token: of the lock, where the incarnation before had it; else empty.
        """
        self._place = place
        self._monotonic = monotonic
        self._alarms = alarms
        self._timings = timings
        self._duties = duties
        self._liveness = liveness
        self._standing = standing
        self._stamp = stamp
        self._hold: Hold | None = Hold(token, 0) if token else None
        self._held_until = monotonic() + timings.session_s if token else 0.0
        self._owner: int | None = None
        self._asking = False
        self._sighting: Sighting | None = None
        self._reading = 0
        #: No reading begun before this one, by number, shows what was published last.
        self._blind_until = 0
        self._topics: Mapping[bytes, int] | None = None
        self._topics_read = 0.0
        self._replayed: set[str] = set()
        self._working = False
        self._again = False
        self._stopped = False
        self._told = False
        #: What the last look found nothing to do about.
        self._content: object = None

    @property
    def is_held(self) -> bool:
        """Whether this gateway has the lock, as far as it knows."""
        return self._hold is not None and self._standing.may_act()

    @property
    def lock_token(self) -> str:
        """What renews the lock, empty where it is not held."""
        return self._hold.token if self._hold is not None else ""

    @property
    def controller_id(self) -> int:
        """The controller's node id, -1 where nobody is known to be it."""
        if self.is_held:
            return self._standing.node_id
        return self._owner if self._owner is not None and self._is_alive(self._owner) else -1

    def tick(self) -> Deferred[None]:
        """
        Renew the lock or try to get it.

        @return: fires, never with a failure, when that is known.
        """
        if self._asking or self._stopped:
            return succeed(None)
        self._asking = True
        return Deferred.fromCoroutine(self._ask()).addErrback(self._failed)

    def topics_changed(self) -> None:
        """There are other topics now, or other partitions."""
        self._topics = None
        self._content = None
        self._consider()

    def consider(self, sighting: Sighting, reading: int) -> None:
        """
        See what a reading asks for.

        @param reading: its number.
        """
        self._sighting = sighting
        self._reading = reading
        self._consider()

    def _consider(self) -> None:
        sighting = self._sighting
        if sighting is None or self._stopped or not self._standing.may_act():
            return
        if self._hold is None:
            if (self._owner is None or not self._is_alive(self._owner)) and "lock" not in self._alarms:
                self._alarms.set("lock", self._timings.retry_s, self.tick)
        elif self._working:
            self._again = True
        elif self._reading > self._blind_until and (self._topics is None or self._is_news(sighting)):
            self._working = True
            Deferred.fromCoroutine(self._work()).addErrback(self._failed).addCallback(self._worked)

    def stop(self) -> Deferred[None]:
        """Do nothing any more, and give the lock back; fires when that is done or has failed."""
        self._stopped = True
        hold, self._hold = self._hold, None
        if hold is None:
            return succeed(None)
        return self._place.unlock(CONTROLLER_LOCK, self._name(), hold.token).addErrback(self._failed)

    def abandon(self) -> None:
        """Do nothing any more; the lock runs out, or the next incarnation goes on with it."""
        self._stopped = True

    # The lock.

    def _name(self) -> str:
        return f"{_OWNER}{self._standing.node_id}"

    def _is_alive(self, node_id: int) -> bool:
        # this node without the lock is a former incarnation
        return node_id in self._liveness.alive() and node_id != self._standing.node_id

    async def _ask(self) -> None:
        asked = self._monotonic()
        had = self._hold is not None
        try:
            answer: Hold | Taken | None = None
            if self._hold is not None:
                answer = await self._place.renew(
                    CONTROLLER_LOCK, self._name(), self._hold.token, self._timings.session_s
                )
            if answer is None and not self._stopped:
                self._hold = None
                answer = await self._lock()
        except KafkaError as error:
            log.debug("the controller's lock: {error}", error=error)
            if self._monotonic() >= self._held_until:
                self._hold = None
        else:
            self._answered(answer, asked, had)
        finally:
            self._asking = False
        self._consider()

    async def _lock(self) -> Hold | Taken:
        answer = await self._place.lock(CONTROLLER_LOCK, self._name(), self._timings.session_s)
        if isinstance(answer, Hold) or not (token := self._token_of_dead(answer.owner)):
            return answer
        # it will not be renewed, so nobody need wait for it to run out
        await self._place.unlock(CONTROLLER_LOCK, answer.owner, token)
        return await self._place.lock(CONTROLLER_LOCK, self._name(), self._timings.session_s)

    def _token_of_dead(self, owner: str) -> str:
        """The token of a lock whose owner is no more, empty where it is not known."""
        sighting, number = self._sighting, owner.removeprefix(_OWNER)
        entry = sighting.entries.get(int(number)) if sighting is not None and number.isdecimal() else None
        return entry.lock_token if entry is not None and self._liveness.gone(entry.incarnation) else ""

    def _answered(self, answer: Hold | Taken | None, asked: float, had: bool) -> None:
        if isinstance(answer, Hold):
            self._hold = answer
            self._held_until = asked + self._timings.session_s
            self._owner = self._standing.node_id
            if asked - self._topics_read > self._timings.session_s:
                # should nobody have told of a change
                self._topics = None
            if not had:
                log.info("node {node} is the controller", node=self._standing.node_id)
                self._topics = None
                # whoever comes after this one, should it die, is to know the token
                self._standing.beat()
        elif isinstance(answer, Taken):
            owner = answer.owner.removeprefix(_OWNER)
            self._owner = int(owner) if owner.isdecimal() else None

    # The work.

    def _inputs(self, sighting: Sighting) -> tuple[Assignment, bool, dict[int, str], set[int]]:
        """What there is to start from, whether that is contested, who lives, and who of them may lead."""
        base = sighting.assignment
        if self._standing.obeyed().version > base.version:
            base = self._standing.obeyed()
        contested = sighting.contested and base.version == sighting.assignment.version
        members = {}
        nodes = set()
        for node_id, (incarnation, entry) in self._liveness.alive().items():
            # one that died long ago may look alive to a gateway that has just come; it holds nothing by what all obey
            if base.members.get(node_id) != incarnation and not contested and not self._liveness.stirred(incarnation):
                continue
            members[node_id] = incarnation
            if entry is None or entry.state is State.LIVE:
                nodes.add(node_id)
        own = self._standing.node_id
        members[own] = self._standing.incarnation
        nodes.discard(own)
        if not self._standing.is_leaving():
            nodes.add(own)
        return base, contested, members, nodes

    def _is_news(self, sighting: Sighting) -> bool:
        """Whether anything that an assignment depends on is other than when there was nothing to do."""
        base, contested, members, nodes = self._inputs(sighting)
        return self._content != (base.version, contested, members, nodes)

    def _draft(self) -> tuple[Assignment | None, list[str]]:
        """The assignment that should be published, and whose journals have to be replayed before."""
        sighting, topics = self._sighting, self._topics
        if sighting is None or topics is None:
            return None, []
        base, contested, members, nodes = self._inputs(sighting)
        raised: dict[Slot, int] = {}
        for entry in sighting.entries.values():
            for slot, epoch in entry.epochs.items():
                raised[slot] = max(epoch, raised.get(slot, 0))
        all_applied = settled(base, sighting.entries, self._liveness.stirred, self._standing.node_id)
        version = Version(base.version.number + 1, self._standing.node_id, self._stamp())
        # this gateway counts as any other: it may be about to let go of something
        own = sighting.entries.get(self._standing.node_id)
        all_applied = all_applied and own is not None and own.applied >= base.version
        self._content = None
        left = {entry.incarnation for entry in sighting.entries.values() if entry.state is State.LEFT}
        former = {one: node_id for node_id, one in base.members.items() if members.get(node_id) != one}
        silent = {}
        for one, node_id in former.items():
            if one not in left and not self._liveness.finally_gone(one):
                if not self._liveness.gone(one):
                    # one whose place another has taken may be alive for a while
                    return None, []
                silent[one] = node_id
        if silent:
            # they may be about to go on: first they are to see that they may not, or be seen
            return expulsion(base, silent, raised, all_applied, contested, version), []
        for one, node_id in base.parting.items():
            said = sighting.entries.get(node_id)
            if said is not None and said.incarnation == one and said.applied >= base.version:
                left.add(one)
            elif not self._liveness.gone(one):
                # it went on before it could see that it is no member, and has not let go of everything yet
                return None, []
        draft = next_assignment(base, topics, members, nodes, raised, all_applied, contested, version)
        self._content = (base.version, contested, members, nodes) if draft is None else None
        return draft, [one for one in (*former, *base.parting) if one not in self._replayed and one not in left]

    async def _work(self) -> None:
        try:
            self._topics_read = self._monotonic()
            self._topics = await self._duties.topics()
            draft, former = self._draft()
            while draft is not None and former:
                for incarnation in former:
                    await self._duties.replay(incarnation)
                    self._replayed.add(incarnation)
                draft, former = self._draft()
            if draft is None or not self.is_held or self._stopped or self._reading <= self._blind_until:
                return
            await self._publish(draft)
        except KafkaError as error:
            # once: it is tried again several times a second, and that the engine is away is said elsewhere
            tell = log.debug if self._told or self._topics is None else log.warn
            tell("no assignment could be published, it is tried again: {error}", error=error)
            self._told = self._told or self._topics is not None
            if not self._stopped:
                self._alarms.set("plan", self._timings.retry_s, self._retry)
                self._standing.look()
            return
        log.info(
            "assignment {version}: {topics} topic(s), nodes {nodes}",
            version=draft.version.name,
            topics=len(draft.topics.keys() - {COORDINATORS}),
            nodes=sorted(draft.members),
        )
        self._tidy(draft)
        self._standing.look()

    async def _publish(self, draft: Assignment) -> None:
        try:
            await self._place.publish(draft)
            self._replayed.clear()
            self._told = False
        finally:
            # it may be there even where this failed
            self._blind_until = self._standing.readings()

    def _retry(self) -> None:
        self._topics = None
        self._consider()

    def _tidy(self, published: Assignment) -> None:
        """Remove old assignments, and entries of those that died long ago."""
        sighting = self._sighting
        if sighting is None:
            return
        for version in sighting.versions:
            if version.number < published.version.number - KEPT_ASSIGNMENTS:
                self._place.withdraw(version).addErrback(self._untidy)
        for node_id, entry in sighting.entries.items():
            since = self._liveness.gone_since(entry.incarnation)
            if (
                since is not None
                and entry.state is not State.LEFT
                and self._monotonic() - since > self._timings.forget_s
            ):
                self._place.remove(node_id).addErrback(self._untidy)

    def _untidy(self, failure: Failure) -> None:
        failure.trap(KafkaError)
        log.debug("something old stays in the meeting place: {error}", error=failure.value)

    def _worked(self, _: None) -> None:
        self._working = False
        again, self._again = self._again, False
        if again:
            self._consider()

    def _failed(self, failure: Failure) -> None:
        if failure.check(KafkaError) is None:
            log.failure("the controller's work failed", failure)
        else:
            log.debug("the controller's work failed: {error}", error=failure.value)
