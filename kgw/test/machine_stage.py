"""What a test of a group machine stands on: virtual time, requests in few words, and the effects performed."""

from __future__ import annotations

from collections.abc import Sequence

from kgw.errors import ErrorCode, KafkaError
from kgw.group_model import Caller, GroupProtocol, Joined, JoinRequest, Leaving, Left, Synced, SyncRequest
from kgw.groups.effects import Effect, GroupLimits, GroupSnapshot, Note, Persist, Reply
from kgw.groups.machine import GroupMachine

START = 1_700_000_000.0

#: Sessions of members in tests, and how long rebalances wait for them, in seconds.
SESSION = 10
REBALANCE = 60
DELAY = 3

LIMITS = GroupLimits()
EAGER = GroupLimits(initial_rebalance_delay_ms=0)


def subscription(*topics: str) -> bytes:
    """What a consumer of version 0 tells its leader."""
    names = b"".join(len(topic).to_bytes(2) + topic.encode() for topic in topics)
    return bytes(2) + len(topics).to_bytes(4) + names + bytes(4)


def offers(*names: str, metadata: bytes = subscription("orders")) -> tuple[GroupProtocol, ...]:
    """Protocols of these names."""
    return tuple(GroupProtocol(name, metadata) for name in names)


RANGE = offers("range")


class MachineStage:
    """
    One machine in virtual time.

    @ivar answers: by ticket; a ticket that is answered twice is an error.
    @ivar performed: all effects but notes, in order.
    @ivar notes: all notes.
    """

    def __init__(self, limits: GroupLimits = EAGER, snapshot: GroupSnapshot | None = None) -> None:
        self.now = START
        self.limits = limits
        self.answers: dict[object, Joined | Synced | KafkaError] = {}
        self.performed: list[Effect] = []
        self.notes: list[str] = []
        self._tickets = 0
        self._uuids = 0
        if snapshot is None:
            self.machine = GroupMachine(self.now, "g", limits, self._uuid)
        else:
            self.machine = GroupMachine.restored(self.now, snapshot, limits, self._uuid)

    def _uuid(self) -> str:
        self._uuids += 1
        return f"uuid{self._uuids}"

    def perform(self, effects: Sequence[Effect]) -> None:
        """Remember what is to be done."""
        for effect in effects:
            if isinstance(effect, Note):
                self.notes.append(effect.text)
                continue
            self.performed.append(effect)
            if isinstance(effect, Reply):
                if effect.ticket in self.answers:
                    raise AssertionError(f"{effect.ticket} is answered twice")
                self.answers[effect.ticket] = effect.answer

    @property
    def persisted(self) -> list[GroupSnapshot | None]:
        """What was to be stored, oldest first."""
        return [effect.snapshot for effect in self.performed if isinstance(effect, Persist)]

    def ticket(self, kind: str) -> str:
        """A new one."""
        self._tickets += 1
        return f"{kind}{self._tickets}"

    def join(
        self,
        member_id: str = "",
        protocols: tuple[GroupProtocol, ...] = RANGE,
        instance_id: str | None = None,
        client_id: str = "client",
        protocol_type: str = "consumer",
        needs_member_id: bool = True,
        may_skip_assignment: bool = False,
        session: float = SESSION,
        rebalance: float = REBALANCE,
        reason: str = "",
        software: str = "",
    ) -> str:
        """Ask to join; returns the ticket."""
        ticket = self.ticket("join")
        request = JoinRequest(
            group_id="g",
            member_id=member_id,
            instance_id=instance_id,
            session_timeout_ms=int(session * 1000),
            rebalance_timeout_ms=int(rebalance * 1000),
            protocol_type=protocol_type,
            protocols=protocols,
            caller=Caller(client_id, "/10.0.0.1", software),
            reason=reason,
            needs_member_id=needs_member_id,
            may_skip_assignment=may_skip_assignment,
        )
        self.perform(self.machine.join(self.now, request, ticket))
        return ticket

    def new_id(self, client_id: str = "client", session: float = SESSION) -> str:
        """Ask for a member id (KIP-394)."""
        return self.joined(self.join(client_id=client_id, session=session), ErrorCode.MEMBER_ID_REQUIRED).member_id

    def sync(
        self,
        member_id: str,
        assignments: dict[str, bytes] | None = None,
        generation: int | None = None,
        instance_id: str | None = None,
        protocol_type: str | None = None,
        protocol_name: str | None = None,
    ) -> str:
        """Ask for the assignment; returns the ticket."""
        ticket = self.ticket("sync")
        generation_id = self.machine.generation_id if generation is None else generation
        request = SyncRequest(
            "g", generation_id, member_id, instance_id, protocol_type, protocol_name, assignments or {}
        )
        self.perform(self.machine.sync(self.now, request, ticket))
        return ticket

    def heartbeat(self, member_id: str, generation: int | None = None, instance_id: str | None = None) -> None:
        """Be alive."""
        generation_id = self.machine.generation_id if generation is None else generation
        self.perform(self.machine.heartbeat(self.now, generation_id, member_id, instance_id))

    def leave(self, member_id: str = "", instance_id: str | None = None, reason: str | None = None) -> Left:
        """Leave alone."""
        rows, effects = self.machine.leave(self.now, [Leaving(member_id, instance_id, reason)])
        self.perform(effects)
        return rows[0]

    def cancel(self, ticket: str) -> None:
        """Be gone while a request waits."""
        self.perform(self.machine.cancel(self.now, ticket))

    def advance(self, seconds: float) -> None:
        """Let time go by, with a tick whenever the machine asks for one."""
        end = self.now + seconds
        while (deadline := self.machine.next_deadline()) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            self.perform(self.machine.tick(self.now))
        self.now = end

    def beat(self, seconds: float, *member_ids: str) -> None:
        """Let time go by while these members heartbeat every three seconds, whatever they are told."""
        while seconds > 0:
            step = min(seconds, 3.0)
            self.advance(step)
            seconds -= step
            for member_id in member_ids:
                try:
                    self.heartbeat(member_id)
                except KafkaError:
                    continue

    def joined(self, ticket: str, error: ErrorCode = ErrorCode.NONE) -> Joined:
        """The answer to a join."""
        answer = self.answers[ticket]
        if not isinstance(answer, Joined) or answer.error != error:
            raise AssertionError(f"{ticket} got {answer!r}")
        return answer

    def synced(self, ticket: str) -> Synced:
        """The answer to a sync."""
        answer = self.answers[ticket]
        if not isinstance(answer, Synced):
            raise AssertionError(f"{ticket} got {answer!r}")
        return answer

    def refused(self, ticket: str) -> ErrorCode:
        """The error a ticket was answered with."""
        answer = self.answers[ticket]
        if not isinstance(answer, KafkaError):
            raise AssertionError(f"{ticket} got {answer!r}")
        return answer.code

    def stable(self, *instance_ids: str | None, protocols: tuple[GroupProtocol, ...] = RANGE) -> list[str]:
        """
        A Stable group of so many members, dynamic where C{None} stands; the first one leads.

        Each is assigned its number.
        """
        tickets: list[str] = []
        member_ids: list[str] = []
        for number, instance_id in enumerate(instance_ids):
            tickets.append(
                self.join(instance_id=instance_id, protocols=protocols, client_id=f"c{number}", needs_member_id=False)
            )
            # each generation begins when all are there
            for at, member_id in enumerate(member_ids):
                tickets[at] = self.join(member_id, protocols, instance_ids[at], f"c{at}")
            if number == 0 and tickets[0] not in self.answers:
                self.advance(self.limits.initial_rebalance_delay_ms / 1000)
            member_ids = [self.joined(ticket).member_id for ticket in tickets]
        assignments = {member_id: str(number).encode() for number, member_id in enumerate(member_ids)}
        for member_id in reversed(member_ids):
            self.sync(member_id, assignments)
        if self.machine.state != "Stable":
            raise AssertionError(self.machine.state)
        return member_ids

    def completing(self, *instance_ids: str | None) -> list[str]:
        """A group in CompletingRebalance: as L{stable}, but the leader joined again, and all the others."""
        member_ids = self.stable(*instance_ids)
        for member_id, instance_id in zip(member_ids, instance_ids, strict=True):
            self.join(member_id, instance_id=instance_id)
        return member_ids

    def preparing(self, *instance_ids: str | None) -> list[str]:
        """A group in PreparingRebalance: as L{stable}, but the leader joined again."""
        member_ids = self.stable(*instance_ids)
        self.join(member_ids[0], instance_id=instance_ids[0])
        return member_ids
