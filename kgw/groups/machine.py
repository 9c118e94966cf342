"""One classic consumer group as a pure machine: requests and time go in, effects come out (Kafka 4.3: ClassicGroup)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from uuid import uuid4

from kgw.errors import ErrorCode, KafkaError
from kgw.group_model import GroupDescription, JoinRequest, Leaving, Left, SyncRequest
from kgw.groups.effects import Effect, GroupLimits, GroupSnapshot, Ticket
from kgw.groups.joining import Joining
from kgw.groups.member import Member, because, labels
from kgw.groups.rebalance import Rebalance
from kgw.groups.standing import Standing, State


class GroupMachine:
    """
    One classic group.

    Every request is answered in one of three ways: by the value a method returns, by a L{KafkaError} that it raises,
    or by a C{Reply} to its ticket, at once or later, exactly once. A refusal is raised where nothing changed and is a
    C{Reply} where there is something to do besides.

    The effects of all calls make one queue: what stands behind a C{Persist} that is not durable yet waits, whichever
    call it came from; so with C{Amend}. If one fails, the shell answers the C{Joined} and C{Synced} that wait behind
    it with C{COORDINATOR_NOT_AVAILABLE}, calls L{unsaved} and, until something could be stored again, L{save}.
    """

    def __init__(self, now: float, group_id: str, limits: GroupLimits, new_uuid: Callable[[], object] = uuid4) -> None:
        """
        An Empty group of generation 0.

        @param now: seconds of a clock that only goes forward, here as everywhere.
        @param new_uuid: makes the second part of member ids.
        """
        self._limits = limits
        self._new_uuid = new_uuid
        self._stand(Standing(now, group_id))

    @classmethod
    def restored(
        cls, now: float, snapshot: GroupSnapshot, limits: GroupLimits, new_uuid: Callable[[], object] = uuid4
    ) -> GroupMachine:
        """
        The group as it was when C{snapshot} was made: Stable with every session begun anew, or Empty.

        One that is unsettled or has become too large begins a rebalance; the next call returns what there is to note.
        """
        machine = cls(now, snapshot.group_id, limits, new_uuid)
        machine._stand(Standing(now, snapshot.group_id, snapshot))
        size = len(snapshot.members)
        if size > limits.max_size:
            machine._rebalance.begin(f"{size} members are more than the {limits.max_size} of group.max.size")
        elif snapshot.unsettled and size:
            machine._rebalance.begin("the node was restarted amid a rebalance")
        return machine

    def _stand(self, group: Standing) -> None:
        self._group = group
        self._rebalance = Rebalance(group, self._limits)
        self._joining = Joining(group, self._rebalance, self._limits, self._new_uuid)

    @property
    def group_id(self) -> str:
        """The group's name."""
        return self._group.group_id

    @property
    def generation_id(self) -> int:
        """0 before the first generation; only grows."""
        return self._group.generation_id

    @property
    def protocol_type(self) -> str | None:
        """C{None} before the first member."""
        return self._group.protocol_type

    @property
    def state_time(self) -> float:
        """When the group entered its state, in the seconds that calls are given."""
        return self._group.state_time

    @property
    def state(self) -> State:
        """Kafka's word for the state."""
        return self._group.state

    @property
    def member_count(self) -> int:
        """How many members there are, without ids handed out."""
        return len(self._group.roster)

    @property
    def pending_count(self) -> int:
        """How many ids were handed out to members that have not joined yet (KIP-394)."""
        return len(self._group.roster.pending)

    @property
    def leader(self) -> str | None:
        """The member id of the leader, C{None} while there are no members."""
        return self._group.roster.leader

    def has_member(self, member_id: str) -> bool:
        """Whether this is one of the members."""
        return member_id in self._group.roster.members

    def next_deadline(self) -> float | None:
        """
        When to call L{tick}: never too late, now and then too early; C{None} while nothing can time out.

        It moves to an earlier time only by a call on the machine, and heartbeats leave it where it is.
        """
        session, phase = self._group.sessions.earliest(), self._group.phase_deadline
        if session is None or phase is None:
            return phase if session is None else session
        return min(session, phase)

    def describe(self) -> GroupDescription:
        """The group as admin clients are told of it: protocol and metadata while Stable only, as in Kafka."""
        return self._group.describe()

    def snapshot(self) -> GroupSnapshot | None:
        """The group as it must survive the process; C{None} amid a rebalance, when an older one is the truth."""
        return self._group.snapshot()

    def subscribed_topics(self) -> frozenset[str] | None:
        """The topics of the current generation; C{None} where that cannot be known (no consumers, odd metadata)."""
        return self._group.topics

    def is_subscribed(self, topic: str) -> bool:
        """Whether offsets of this topic are in use; consumers whose topics are not known may use any."""
        return self._group.is_subscribed(topic)

    def join(self, now: float, request: JoinRequest, ticket: Ticket) -> list[Effect]:
        """
        A member wants to be in the next generation; answered by a C{Joined} (Kafka: JoinGroup).

        @raise KafkaError: C{INVALID_SESSION_TIMEOUT}, C{COORDINATOR_NOT_AVAILABLE}, C{UNKNOWN_MEMBER_ID} or
            C{FENCED_INSTANCE_ID}; C{INCONSISTENT_GROUP_PROTOCOL} and C{GROUP_MAX_SIZE_REACHED} come as L{Reply}.
        """
        self._group.now = now
        self._limits.check_session_timeout(request.session_timeout_ms)
        self._refuse_if_dead()
        self._joining.join(request, ticket)
        return self._group.flush()

    def sync(self, now: float, request: SyncRequest, ticket: Ticket) -> list[Effect]:
        """
        A member wants its assignment, the leader brings everybody's; answered by a C{Synced} (Kafka: SyncGroup).

        @raise KafkaError: C{COORDINATOR_NOT_AVAILABLE}, C{UNKNOWN_MEMBER_ID}, C{FENCED_INSTANCE_ID},
            C{ILLEGAL_GENERATION}, C{INCONSISTENT_GROUP_PROTOCOL} (KIP-559) or C{REBALANCE_IN_PROGRESS};
            C{UNKNOWN_SERVER_ERROR} for a leader whose assignments are too large, as in Kafka.
        """
        self._group.now = now
        self._refuse_if_dead()
        member = self._group.roster.find(request.member_id, request.instance_id)
        self._check_generation(request.generation_id)
        self._check_same("protocol type", request.protocol_type, self._group.protocol_type)
        self._check_same("protocol", request.protocol_name, self._group.protocol_name)
        if self._group.state is State.PREPARING:
            raise KafkaError(ErrorCode.REBALANCE_IN_PROGRESS, "join again")
        if self._group.state is State.COMPLETING and member.member_id == self._group.roster.leader:
            self._rebalance.check_size(request.assignments)
        self._group.pending_sync.discard(member.member_id)
        if self._group.state is State.STABLE:
            self._group.renew(member)
            self._group.reply(ticket, self._group.synced(member))
        else:
            self._group.park_sync(member, ticket)
            if member.member_id == self._group.roster.leader:
                self._rebalance.assign(request.assignments)
        if not self._group.pending_sync:
            self._group.phase_deadline = None
        return self._group.flush()

    def heartbeat(self, now: float, generation_id: int, member_id: str, instance_id: str | None) -> list[Effect]:
        """
        A member is alive (Kafka: Heartbeat).

        @raise KafkaError: C{COORDINATOR_NOT_AVAILABLE}, C{UNKNOWN_MEMBER_ID}, C{FENCED_INSTANCE_ID},
            C{ILLEGAL_GENERATION}, or C{REBALANCE_IN_PROGRESS}, which renews the session all the same.
        """
        self._group.now = now
        self._refuse_if_dead()
        member = self._group.roster.find(member_id, instance_id)
        self._check_generation(generation_id)
        self._group.renew(member)
        if self._group.state is State.PREPARING:
            raise KafkaError(ErrorCode.REBALANCE_IN_PROGRESS, "join again")
        return self._group.flush()

    def leave(self, now: float, leavings: Sequence[Leaving]) -> tuple[list[Left], list[Effect]]:
        """
        Members leave, or are removed by an administrator (Kafka: LeaveGroup, KIP-345).

        @raise KafkaError: C{COORDINATOR_NOT_AVAILABLE}; all else is told row by row.
        """
        self._group.now = now
        self._refuse_if_dead()
        rows: list[Left] = []
        gone: list[Member] = []
        for leaving in leavings:
            error = ErrorCode.NONE
            try:
                gone += self._leave(leaving)
            except KafkaError as refusal:
                error = refusal.code
            rows.append(Left(leaving.member_id, leaving.instance_id, error))
        # An id that was only handed out is in no generation: others go on without noticing.
        if gone:
            self._rebalance.go_on(f"{labels(gone)} left")
            if self._group.state is State.PREPARING:
                # in any other state the rebalance has it stored
                self._group.amend()
        else:
            self._rebalance.complete_if_all_joined()
        return rows, self._group.flush()

    def cancel(self, now: float, ticket: Ticket) -> list[Effect]:
        """
        Whoever waits for this ticket is gone: it is not answered any more, and its member's session runs again.

        A new member that was never told its id cannot come back and is removed at once. Unknown tickets do nothing.
        """
        self._group.now = now
        member = self._group.tickets.pop(ticket, None)
        if member is not None:
            if member.join_ticket == ticket:
                self._group.roster.take_join(member)
            else:
                member.sync_ticket = None
            self._group.renew(member)
            if member.knows_id:
                self._group.note(f"{member.label} went away while its request waited")
            else:
                self._group.note(f"{member.label} went away before it was told its member id, and is removed")
                self._group.remove(member)
                self._rebalance.complete_if_all_joined()
        return self._group.flush()

    def check_commit(self, now: float, generation_id: int, member_id: str, instance_id: str | None) -> None:
        """
        Whether offsets may be committed (Kafka: C{validateOffsetCommit}); a member's commit renews its session.

        @param generation_id: below 0 from who is in no generation: allowed while the group is Empty.
        @raise KafkaError: C{COORDINATOR_NOT_AVAILABLE}, C{UNKNOWN_MEMBER_ID}, C{FENCED_INSTANCE_ID},
            C{ILLEGAL_GENERATION} or C{REBALANCE_IN_PROGRESS}.
        """
        self._group.now = now
        self._refuse_if_dead()
        if self._group.state is State.EMPTY and generation_id < 0:
            return
        if generation_id < 0 and not member_id and instance_id is None:
            raise KafkaError(ErrorCode.UNKNOWN_MEMBER_ID, "the group has members; only they may commit")
        member = self._group.roster.find(member_id, instance_id)
        self._check_generation(generation_id)
        if self._group.state is State.COMPLETING:
            raise KafkaError(ErrorCode.REBALANCE_IN_PROGRESS, "assignments are not known yet")
        self._group.renew(member)

    def check_delete(self) -> None:
        """
        Whether the group may be deleted.

        @raise KafkaError: C{NON_EMPTY_GROUP} or C{GROUP_ID_NOT_FOUND}.
        """
        if self._group.state is State.DEAD:
            raise KafkaError(ErrorCode.GROUP_ID_NOT_FOUND, f"there is no group {self._group.group_id!r}")
        if self._group.state is not State.EMPTY:
            raise KafkaError(ErrorCode.NON_EMPTY_GROUP, f"the group has {len(self._group.roster)} members")

    def delete(self, now: float) -> list[Effect]:
        """
        Forget the group; ids that were handed out are forgotten with it.

        @raise KafkaError: as L{check_delete}.
        """
        self._group.now = now
        self.check_delete()
        self._group.die()
        self._group.note("the group is deleted")
        self._group.forget()
        return self._group.flush()

    def stop(self, now: float) -> list[Effect]:
        """The node stops or hands the group over: whoever waits is told C{NOT_COORDINATOR}; what is stored stays."""
        self._group.now = now
        for member in self._group.roster.members.values():
            self._group.refuse_parked(member, ErrorCode.NOT_COORDINATOR, "the coordinator stops")
        self._group.die()
        return self._group.flush()

    def unsaved(self, now: float) -> list[Effect]:
        """
        A L{Persist} or an L{Amend} failed: an assignment or a generation number that could not be kept is not valid,
        so members join again.
        """
        self._group.now = now
        if self._group.state is State.STABLE:
            for member in self._group.roster.members.values():
                member.assignment = b""
            self._rebalance.begin("the assignments could not be stored")
        elif self._group.state is State.COMPLETING:
            self._rebalance.begin("the generation could not be stored")
        elif self._group.state is not State.DEAD:
            self._group.note("the group could not be stored")
        return self._group.flush()

    def save(self) -> list[Effect]:
        """Have the group stored as it is."""
        if self._group.state in (State.EMPTY, State.STABLE):
            self._group.persist()
        elif self._group.state is not State.DEAD:
            self._group.amend()
        return self._group.flush()

    def tick(self, now: float) -> list[Effect]:
        """Do what is due."""
        self._group.now = now
        acted = True
        while acted:
            acted = False
            for member_id in self._group.sessions.take_due(now):
                # An earlier one of these may have led to a new session, or to the end of the member.
                if member_id not in self._group.sessions:
                    self._rebalance.expire_session(member_id)
                    acted = True
            if self._group.phase_deadline is not None and self._group.phase_deadline <= now:
                self._rebalance.end_phase()
                acted = True
        return self._group.flush()

    def _leave(self, leaving: Leaving) -> list[Member]:
        """Let one go; returns the member that is missing from the group now, if any."""
        if not leaving.member_id:
            member = self._group.roster.find_instance(leaving.instance_id)
            if member is None:
                raise KafkaError(ErrorCode.UNKNOWN_MEMBER_ID, f"no member has the instance id {leaving.instance_id!r}")
        elif leaving.member_id in self._group.roster.pending:
            self._group.forget_pending(leaving.member_id)
            return []
        else:
            member = self._group.roster.find(leaving.member_id, leaving.instance_id)
        self._group.note(f"{member.label} leaves{because(leaving.reason)}")
        self._group.remove(member)
        return [member]

    def _refuse_if_dead(self) -> None:
        if self._group.state is State.DEAD:
            raise KafkaError(ErrorCode.COORDINATOR_NOT_AVAILABLE, "the group is gone")

    def _check_generation(self, generation_id: int) -> None:
        if generation_id != self._group.generation_id:
            raise KafkaError(ErrorCode.ILLEGAL_GENERATION, f"the group is at generation {self._group.generation_id}")

    def _check_same(self, what: str, told: str | None, known: str | None) -> None:
        if told is not None and known is not None and told != known:
            raise KafkaError(ErrorCode.INCONSISTENT_GROUP_PROTOCOL, f"the group's {what} is {known!r}, not {told!r}")
