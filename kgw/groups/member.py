"""One member of a classic group: what it offers, what it was given, and which of its requests waits."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from kgw.group_model import Caller, DescribedMember, GroupProtocol, JoinedMember, JoinRequest
from kgw.groups.effects import MemberSnapshot, Ticket


def name_caller(name: str, caller: Caller, instance_id: str | None = None) -> str:
    """A member in words, for the history: its id, who it says it is, and from where."""
    who = caller.software or (f"client {caller.client_id}" if caller.client_id else "a client without a name")
    static = "" if instance_id is None else f", instance {instance_id}"
    return f"{name} ({who} at {caller.host}{static})"


@dataclass(slots=True, eq=False)
class Member:
    """
    A member.

    @ivar protocols: all it offers, best first.
    @ivar assignment: what the leader last gave it.
    @ivar is_new: it was in no generation yet.
    @ivar knows_id: the client was told C{member_id}, so it can come again by it.
    @ivar join_ticket: its JoinGroup that waits for the generation, C{None} where none does.
    @ivar sync_ticket: its SyncGroup that waits for the leader's.
    """

    member_id: str
    instance_id: str | None
    caller: Caller
    session_timeout_ms: int
    rebalance_timeout_ms: int
    protocols: tuple[GroupProtocol, ...]
    assignment: bytes = b""
    is_new: bool = True
    knows_id: bool = True
    join_ticket: Ticket | None = None
    sync_ticket: Ticket | None = None

    @classmethod
    def asking(cls, member_id: str, request: JoinRequest) -> Member:
        """The member that C{request} makes."""
        return cls(
            member_id=member_id,
            instance_id=request.instance_id,
            caller=request.caller,
            session_timeout_ms=request.session_timeout_ms,
            rebalance_timeout_ms=rebalance_timeout(request),
            protocols=request.protocols,
            # a static member is found again by its instance id
            knows_id=bool(request.member_id) or request.instance_id is not None,
        )

    @classmethod
    def restored(cls, snapshot: MemberSnapshot) -> Member:
        """The member as it was before the process ended."""
        return cls(
            member_id=snapshot.member_id,
            instance_id=snapshot.instance_id,
            caller=snapshot.caller,
            session_timeout_ms=snapshot.session_timeout_ms,
            rebalance_timeout_ms=snapshot.rebalance_timeout_ms,
            protocols=snapshot.protocols,
            assignment=snapshot.assignment,
            is_new=False,
        )

    @property
    def is_static(self) -> bool:
        """Whether it has a C{group.instance.id} (KIP-345)."""
        return self.instance_id is not None

    @property
    def is_parked(self) -> bool:
        """Whether one of its requests waits here: it cannot be expected to heartbeat."""
        return self.join_ticket is not None or self.sync_ticket is not None

    @property
    def label(self) -> str:
        """The member in words."""
        return name_caller(self.member_id, self.caller, self.instance_id)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the protocols it offers, best first."""
        return tuple(protocol.name for protocol in self.protocols)

    @property
    def size(self) -> int:
        """The bytes of what it says, about."""
        return request_size(self.member_id, self.caller, self.protocols)

    def metadata(self, protocol_name: str | None) -> bytes:
        """What it says to the leader under a protocol; empty where it does not offer that."""
        for protocol in self.protocols:
            if protocol.name == protocol_name:
                return protocol.metadata
        return b""

    def vote(self, candidates: Collection[str]) -> str | None:
        """The candidate it likes best."""
        return next((name for name in self.names if name in candidates), None)

    def as_joined(self, protocol_name: str | None) -> JoinedMember:
        """The member as the leader is told of it."""
        return JoinedMember(self.member_id, self.instance_id, self.metadata(protocol_name))

    def as_described(self, protocol_name: str | None) -> DescribedMember:
        """The member as admin clients are told of it."""
        return DescribedMember(
            member_id=self.member_id,
            instance_id=self.instance_id,
            client_id=self.caller.client_id,
            client_host=self.caller.host,
            metadata=self.metadata(protocol_name),
            assignment=self.assignment,
        )

    def as_snapshot(self) -> MemberSnapshot:
        """The member as it must survive the process."""
        return MemberSnapshot(
            member_id=self.member_id,
            instance_id=self.instance_id,
            caller=self.caller,
            session_timeout_ms=self.session_timeout_ms,
            rebalance_timeout_ms=self.rebalance_timeout_ms,
            protocols=self.protocols,
            assignment=self.assignment,
        )


def request_size(member_id: str, caller: Caller, protocols: Sequence[GroupProtocol] = ()) -> int:
    """The bytes of what a member says, about; texts count by their characters."""
    said = sum(len(protocol.name) + len(protocol.metadata) for protocol in protocols)
    return len(member_id) + len(caller.client_id) + len(caller.software) + said


def rebalance_timeout(request: JoinRequest) -> int:
    """How long others wait for this member in a rebalance, in ms; clients of old say their session timeout only."""
    if request.rebalance_timeout_ms < 0:
        return request.session_timeout_ms
    return request.rebalance_timeout_ms


#: Reasons come from clients; a history keeps so many characters of one (KIP-800).
_MAX_REASON = 255


def because(reason: str | None) -> str:
    """What a client gave as its reason, to go at the end of a sentence."""
    return f": {reason[:_MAX_REASON]}" if reason else ""


def labels(members: Sequence[Member]) -> str:
    """Members in words, the first few of them."""
    named = ", ".join(member.label for member in members[:5])
    return named if len(members) <= 5 else f"{named} and {len(members) - 5} more"
