"""How a classic group gets from one generation to the next: a join phase, a sync phase, and who is late for them."""

from __future__ import annotations

from collections.abc import Mapping

from kgw.errors import ErrorCode, KafkaError
from kgw.groups.effects import GroupLimits
from kgw.groups.member import labels, name_caller
from kgw.groups.standing import NEW_MEMBER_JOIN_SECONDS, Standing, State

#: A join phase that is longer, in seconds, says who was the last to join.
SLOW_SECONDS = 1.0


class Rebalance:
    """The rebalances of one group (Kafka: C{GroupMetadataManager}, C{prepareRebalance} and what follows)."""

    def __init__(self, group: Standing, limits: GroupLimits) -> None:
        self._group = group
        self._limits = limits
        # the first rebalance of an empty group waits for more members
        self._initial = False
        self._grew = False
        self._delay_ms = 0
        self._delay_left_ms = 0

    def count_new_member(self) -> None:
        """Somebody new is here: an initial rebalance waits a little longer."""
        self._grew = True

    def go_on(self, reason: str) -> None:
        """Members changed: begin a rebalance, or see whether the one under way can go on."""
        if self._group.state is State.PREPARING:
            self.complete_if_all_joined()
        else:
            self.begin(reason)

    def begin(self, reason: str) -> None:
        """Have all members join again."""
        if self._group.state is State.COMPLETING:
            for member in self._group.roster.members.values():
                member.assignment = b""
                self._group.end_sync(member, KafkaError(ErrorCode.REBALANCE_IN_PROGRESS, "join again"))
        self._group.pending_sync.clear()
        self._initial = self._group.state is State.EMPTY
        self._group.enter(State.PREPARING)
        self._group.note(f"rebalance after generation {self._group.generation_id}: {reason}")
        timeout_ms = self._group.roster.rebalance_timeout_ms
        if self._initial:
            self._grew = False
            self._delay_ms = self._limits.initial_rebalance_delay_ms
            self._delay_left_ms = max(timeout_ms - self._delay_ms, 0)
            self._group.await_phase(self._delay_ms)
            if self._delay_ms <= 0:
                self._complete()
        elif self._group.roster.all_joined:
            self._complete()
        else:
            self._group.await_phase(timeout_ms)

    def complete_if_all_joined(self) -> None:
        """End the join phase early, where nobody is missing."""
        if self._group.state is not State.PREPARING or not self._group.roster.all_joined:
            return
        # An initial rebalance has its delay, unless everybody has gone again.
        if not self._initial or not self._group.roster.members:
            self._complete()

    def _complete(self) -> None:
        """End the join phase with those that are there; static members may be away until their session ends."""
        group = self._group
        group.phase_deadline = None
        missing = [member for member in group.roster.members.values() if member.join_ticket is None]
        late = [member for member in missing if not member.is_static]
        for member in late:
            group.remove(member)
        if late:
            group.note(f"removed, as they did not join in time: {labels(late)}")
        if group.roster.members and not group.roster.elect_joined():
            # Only static members are left, and all are away: until one is back or their sessions have ended.
            self._initial = False
            group.await_phase(group.roster.rebalance_timeout_ms)
            return
        group.generation_id += 1
        group.protocol_name = group.roster.select_protocol()
        group.topics = group.compute_topics()
        if not group.roster.members:
            group.enter(State.EMPTY)
            group.note(f"the group is empty, as generation {group.generation_id}")
            group.persist()
            return
        waited = self._describe_wait()
        group.enter(State.COMPLETING)
        away = [member for member in missing if member.is_static]
        group.note(
            f"generation {group.generation_id}: {len(group.roster)} members, {group.protocol_name}, led by"
            f" {group.roster.leader}, {waited}" + (f"; away: {labels(away)}" if away else "")
        )
        # before anybody hears of it: no number is ever given out twice
        group.amend()
        for member in group.roster.members.values():
            joined = group.roster.take_join(member)
            if joined is not None:
                group.answer(joined, group.joined(member, with_members=member.member_id == group.roster.leader))
            member.is_new = False
            group.renew(member)
            group.pending_sync.add(member.member_id)
        group.await_phase(group.roster.rebalance_timeout_ms)

    def check_size(self, assignments: Mapping[str, bytes]) -> None:
        """
        Whether what the leader brings may be kept.

        @raise KafkaError: C{UNKNOWN_SERVER_ERROR}, as Kafka answers what its log does not take; clients give up.
        """
        roster, most = self._group.roster, self._limits.max_bytes
        size = roster.size + sum(len(data) for name, data in assignments.items() if name in roster.members)
        if size > most:
            text = f"the group would take {size} bytes with its assignments, {most} are allowed (kgw.group.max.bytes)"
            self._group.note(text)
            raise KafkaError(ErrorCode.UNKNOWN_SERVER_ERROR, text)

    def assign(self, assignments: Mapping[str, bytes]) -> None:
        """The leader brought the assignments."""
        group = self._group
        members = group.roster.members.values()
        without = [member for member in members if member.member_id not in assignments]
        if without:
            group.note(f"the leader gives nothing to: {labels(without)}")
        strangers = [name for name in assignments if name not in group.roster.members]
        if strangers:
            group.note(f"the leader gives something to {len(strangers)} that are no members, {strangers[0]} first")
        for member in members:
            member.assignment = bytes(assignments.get(member.member_id, b""))
        group.enter(State.STABLE)
        group.note(f"generation {group.generation_id} is stable")
        group.persist()
        for member in members:
            group.end_sync(member, group.synced(member))

    def end_phase(self) -> None:
        """The time of the join phase, or of the sync phase, is over."""
        self._group.phase_deadline = None
        if self._group.state is not State.PREPARING:
            slow = [self._group.roster.members[member_id] for member_id in sorted(self._group.pending_sync)]
            for member in slow:
                self._group.remove(member)
            self.begin(f"removed, as they did not ask for their assignment in time: {labels(slow)}")
        elif self._initial and self._grew and self._delay_left_ms > 0:
            # More members came while the group waited for members: perhaps there are still more.
            self._grew = False
            delay_ms = min(self._limits.initial_rebalance_delay_ms, self._delay_left_ms)
            self._delay_left_ms = max(self._delay_left_ms - self._delay_ms, 0)
            self._delay_ms = delay_ms
            self._group.await_phase(delay_ms)
        else:
            self._complete()

    def expire_session(self, member_id: str) -> None:
        """The time of a member, or of an id that was handed out, is over."""
        member = self._group.roster.members.get(member_id)
        if member is not None:
            if member.is_parked:
                self._group.note(f"{member.label} waited {NEW_MEMBER_JOIN_SECONDS:.0f} s to join, and is removed")
            else:
                self._group.note(f"{member.label} timed out after {member.session_timeout_ms} ms without a heartbeat")
            self._group.remove(member)
            self.go_on(f"{member.label} timed out")
        elif member_id in self._group.roster.pending:
            caller = self._group.roster.pending[member_id]
            self._group.note(f"{name_caller(member_id, caller)} was given an id and never joined by it")
            self._group.forget_pending(member_id)
            self.complete_if_all_joined()

    def _describe_wait(self) -> str:
        """How long the join phase was, and for whom others waited where that was long."""
        seconds = self._group.now - self._group.state_time
        last = next(reversed(self._group.tickets.values()))
        if self._initial or seconds < SLOW_SECONDS or len(self._group.roster) == 1:
            return f"after {seconds:.1f} s"
        return f"after {seconds:.1f} s, the last to join was {last.label}"
