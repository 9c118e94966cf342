"""A classic group as it stands: members, state, deadlines and what is to be done; not the rules of who may come."""

from __future__ import annotations

from enum import StrEnum

from kgw.errors import ErrorCode, KafkaError
from kgw.group_model import GroupDescription, Joined, Synced
from kgw.groups.deadlines import Deadlines
from kgw.groups.effects import Amend, Effect, GroupSnapshot, Note, Persist, Reply, Ticket
from kgw.groups.member import Member
from kgw.groups.roster import Roster
from kgw.groups.subscription import CONSUMER, parse_topics

#: A new member whose first join waits longer is sent away to come again, in seconds (Kafka:
#: C{group.new.member.join.timeout}, 5 minutes, not a property).
NEW_MEMBER_JOIN_SECONDS = 300.0


#: Notes name what clients chose; more characters than this are not kept.
MAX_NOTE = 2_000


class State(StrEnum):
    """Kafka's names of the states of a classic group."""

    EMPTY = "Empty"
    PREPARING = "PreparingRebalance"
    COMPLETING = "CompletingRebalance"
    STABLE = "Stable"
    DEAD = "Dead"


#: The states each state may follow.
LEGAL_FROM = {
    State.EMPTY: {State.PREPARING},
    State.PREPARING: {State.EMPTY, State.COMPLETING, State.STABLE},
    State.COMPLETING: {State.PREPARING},
    State.STABLE: {State.COMPLETING},
    State.DEAD: set(State),
}


class Standing:
    """
    One group, and the means to change it that keep it whole.

    @ivar now: the time of the call that is under way, in seconds of a clock that only goes forward.
    @ivar generation_id: 0 before the first generation; only grows.
    @ivar protocol_type: C{None} before the first member.
    @ivar protocol_name: of the current generation, C{None} where it has no members.
    @ivar topics: that the generation subscribes to, C{None} where that cannot be known.
    @ivar state_time: when the group entered its state, by the same clock.
    @ivar pending_sync: members of the generation that have not asked for their assignment yet.
    @ivar tickets: whose request waits, by ticket.
    @ivar sessions: of members none of whose requests waits, of new ones that join, and of ids handed out.
    @ivar phase_deadline: of the join phase while preparing, of the sync phase after it.
    """

    def __init__(self, now: float, group_id: str, snapshot: GroupSnapshot | None = None) -> None:
        """
        @param snapshot: what the group was; else it is Empty, of generation 0.
        """
        self.now = now
        self.group_id = group_id
        self.generation_id = 0
        self.protocol_type: str | None = None
        self.protocol_name: str | None = None
        self.topics: frozenset[str] | None = None
        self.state_time = now
        self.roster = Roster()
        self.pending_sync: set[str] = set()
        self.tickets: dict[Ticket, Member] = {}
        self.sessions = Deadlines()
        self.phase_deadline: float | None = None
        self._state = State.STABLE if snapshot is not None and snapshot.members else State.EMPTY
        self._effects: list[Effect] = []
        if snapshot is not None:
            self._restore(snapshot)

    def _restore(self, snapshot: GroupSnapshot) -> None:
        self.generation_id = snapshot.generation_id
        self.protocol_type = snapshot.protocol_type
        self.protocol_name = snapshot.protocol_name
        self.state_time = snapshot.state_time
        for each in snapshot.members:
            member = Member.restored(each)
            self.roster.add(member)
            self.renew(member)
        if snapshot.leader in self.roster.members:
            self.roster.leader = snapshot.leader
        self.topics = self.compute_topics()

    @property
    def state(self) -> State:
        """Changed by L{enter} only."""
        return self._state

    def describe(self) -> GroupDescription:
        """The group as admin clients are told of it: protocol and metadata while Stable only, as in Kafka."""
        shown = self.protocol_name if self.state is State.STABLE else None
        return GroupDescription(
            group_id=self.group_id,
            state=self.state.value,
            protocol_type=self.protocol_type or "",
            protocol_name=shown or "",
            members=tuple(member.as_described(shown) for member in self.roster.members.values()),
        )

    def snapshot(self) -> GroupSnapshot | None:
        """The group as it must survive the process; C{None} amid a rebalance, when an older one is the truth."""
        if self.state not in (State.EMPTY, State.STABLE):
            return None
        return GroupSnapshot(
            group_id=self.group_id,
            generation_id=self.generation_id,
            protocol_type=self.protocol_type,
            protocol_name=self.protocol_name,
            leader=self.roster.leader,
            state_time=self.state_time,
            members=tuple(member.as_snapshot() for member in self.roster.members.values()),
        )

    def is_subscribed(self, topic: str) -> bool:
        """Whether offsets of this topic are in use; consumers whose topics are not known may use any."""
        if self.topics is None:
            return self.protocol_type == CONSUMER
        return topic in self.topics

    def compute_topics(self) -> frozenset[str] | None:
        """The topics of all members together; C{None} where they cannot be known."""
        if self.protocol_type != CONSUMER:
            return None
        topics: set[str] = set()
        for member in self.roster.members.values():
            subscribed = parse_topics(member.metadata(self.protocol_name))
            if subscribed is None:
                return None
            topics |= subscribed
        return frozenset(topics)

    def enter(self, state: State) -> None:
        """Go on to another state."""
        if self._state not in LEGAL_FROM[state]:
            raise RuntimeError(f"a group does not go from {self._state} to {state}")
        self._state = state
        self.state_time = self.now

    def renew(self, member: Member) -> None:
        """Begin the session of a member anew, unless one of its requests waits here."""
        if not member.is_parked:
            self.sessions.set(member.member_id, self.now + member.session_timeout_ms / 1000)

    def await_phase(self, timeout_ms: int) -> None:
        """Set the deadline of the phase that begins."""
        # At least a moment, so that a phase that is begun again cannot go round in one tick.
        self.phase_deadline = self.now + max(timeout_ms, 1) / 1000

    def park_join(self, member: Member, ticket: Ticket) -> None:
        """Let a join wait for the generation; a member that is new gets a time for that."""
        self._supersede(self.roster.take_join(member))
        self.tickets[ticket] = member
        self.roster.park_join(member, ticket)
        self.sessions.discard(member.member_id)
        if member.is_new:
            self.sessions.set(member.member_id, self.now + NEW_MEMBER_JOIN_SECONDS)

    def park_sync(self, member: Member, ticket: Ticket) -> None:
        """Let a sync wait for the leader's."""
        self._supersede(member.sync_ticket)
        self.tickets[ticket] = member
        member.sync_ticket = ticket
        self.sessions.discard(member.member_id)

    def end_sync(self, member: Member, answer: Synced | KafkaError) -> None:
        """Answer a member's sync, if it waits for one."""
        ticket, member.sync_ticket = member.sync_ticket, None
        if ticket is not None:
            self.answer(ticket, answer)
            self.renew(member)

    def _supersede(self, ticket: Ticket | None) -> None:
        """The same member asked again: whoever may still wait for the earlier answer is to ask again, too."""
        if ticket is not None:
            self.answer(ticket, KafkaError(ErrorCode.REBALANCE_IN_PROGRESS, "the member has asked again since"))

    def refuse_parked(self, member: Member, code: ErrorCode, why: str) -> None:
        """Answer whatever a member waits for with an error."""
        for ticket in (self.roster.take_join(member), member.sync_ticket):
            if ticket is not None:
                self.answer(ticket, KafkaError(code, why))
        member.sync_ticket = None

    def remove(self, member: Member) -> None:
        """Let a member go, with all there is of it."""
        self.refuse_parked(member, ErrorCode.UNKNOWN_MEMBER_ID, "the member is removed")
        self.roster.remove(member)
        self.pending_sync.discard(member.member_id)
        self.sessions.discard(member.member_id)

    def forget_pending(self, member_id: str) -> None:
        """Forget an id that was handed out, if it was."""
        if self.roster.take_back(member_id):
            self.sessions.discard(member_id)

    def die(self) -> None:
        """Let go of everything; there is no way back."""
        self.enter(State.DEAD)
        self.roster = Roster()
        self.pending_sync.clear()
        self.sessions.clear()
        self.phase_deadline = None

    def joined(
        self, member: Member, with_members: bool = False, skip_assignment: bool = False, leader: str | None = None
    ) -> Joined:
        """
        What a member is told of its generation.

        @param leader: to be named instead of the real one.
        """
        member.knows_id = True
        members = self.roster.members.values() if with_members else ()
        return Joined(
            error=ErrorCode.NONE,
            generation_id=self.generation_id,
            protocol_type=self.protocol_type,
            protocol_name=self.protocol_name,
            leader=leader or self.roster.leader or "",
            member_id=member.member_id,
            skip_assignment=skip_assignment,
            members=tuple(each.as_joined(self.protocol_name) for each in members),
        )

    def synced(self, member: Member) -> Synced:
        """What a member is told of its assignment."""
        return Synced(self.protocol_type, self.protocol_name, member.assignment)

    def answer(self, ticket: Ticket, answer: Joined | Synced | KafkaError) -> None:
        """Answer a request that has waited."""
        del self.tickets[ticket]
        self.reply(ticket, answer)

    def reply(self, ticket: Ticket, answer: Joined | Synced | KafkaError) -> None:
        """Answer a request."""
        self._effects.append(Reply(ticket, answer))

    def persist(self) -> None:
        """Have the group stored as it is now."""
        self._effects.append(Persist(self.snapshot()))

    def amend(self) -> None:
        """Have stored who is not in the group any more, and its generation."""
        self._effects.append(Amend(self.generation_id))

    def forget(self) -> None:
        """Have nothing of the group stored any more."""
        self._effects.append(Persist(None))

    def note(self, text: str) -> None:
        """Add a sentence to the history."""
        self._effects.append(Note(" ".join(text[:MAX_NOTE].splitlines())))

    def flush(self) -> list[Effect]:
        """The effects since the last time."""
        effects, self._effects = self._effects, []
        return effects
