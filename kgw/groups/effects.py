"""What a group machine wants done, in order, and the frozen values it stands on: limits and snapshots."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from kgw.errors import ErrorCode, KafkaError
from kgw.group_model import Caller, GroupProtocol, Joined, Synced

#: What the shell knows a waiting request by, anything but C{None}; the machine only hands it back.
Ticket = Hashable


@dataclass(frozen=True, slots=True)
class GroupLimits:
    """
    What a node allows its groups, by Kafka's properties.

    @ivar min_session_timeout_ms: C{group.min.session.timeout.ms}.
    @ivar max_session_timeout_ms: C{group.max.session.timeout.ms}.
    @ivar initial_rebalance_delay_ms: C{group.initial.rebalance.delay.ms}.
    @ivar max_size: C{group.max.size}.
    @ivar max_bytes: C{kgw.group.max.bytes}: what the members of a group say, and are given, together.
    """

    min_session_timeout_ms: int = 6_000
    max_session_timeout_ms: int = 1_800_000
    initial_rebalance_delay_ms: int = 3_000
    max_size: int = (1 << 31) - 1
    max_bytes: int = 1 << 24

    def check_session_timeout(self, session_timeout_ms: int) -> None:
        """
        Refuse a member whose session would be too short or too long.

        @raise KafkaError: C{INVALID_SESSION_TIMEOUT}.
        """
        if not self.min_session_timeout_ms <= session_timeout_ms <= self.max_session_timeout_ms:
            raise KafkaError(
                ErrorCode.INVALID_SESSION_TIMEOUT,
                f"session.timeout.ms {session_timeout_ms} is not between {self.min_session_timeout_ms} and"
                f" {self.max_session_timeout_ms} (group.min.session.timeout.ms, group.max.session.timeout.ms)",
            )


@dataclass(frozen=True, slots=True)
class MemberSnapshot:
    """
    A member as it must survive the process.

    @ivar protocols: all it offers, in its order of preference.
    @ivar assignment: what the leader gave it in the snapshot's generation.
    """

    member_id: str
    instance_id: str | None
    caller: Caller
    session_timeout_ms: int
    rebalance_timeout_ms: int
    protocols: tuple[GroupProtocol, ...]
    assignment: bytes


@dataclass(frozen=True, slots=True)
class GroupSnapshot:
    """
    A group as it must survive the process: Empty when there are no members, else Stable, unless it is unsettled.

    @ivar protocol_type: C{None} for a group that never had members.
    @ivar protocol_name: C{None} for an empty group.
    @ivar leader: a member id, C{None} for an empty group.
    @ivar state_time: when the group entered its state, in the seconds of its machine, in a store in epoch seconds; an
        empty group's offsets expire from then.
    @ivar members: in the order in which they joined.
    @ivar unsettled: the assignments are not valid any more: a member left since, or a later generation was given out.
    """

    group_id: str
    generation_id: int
    protocol_type: str | None
    protocol_name: str | None
    leader: str | None
    state_time: float
    members: tuple[MemberSnapshot, ...] = ()
    unsettled: bool = False


@dataclass(frozen=True, slots=True)
class Persist:
    """
    Make this durable before any later effect is performed.

    @ivar snapshot: C{None} where the group is to be forgotten.
    """

    snapshot: GroupSnapshot | None


@dataclass(frozen=True, slots=True)
class Amend:
    """
    Make durable, before any later effect is performed, how the group differs from its last snapshot: who is not in it
    any more, and that a generation was given out.
    """

    generation_id: int


@dataclass(frozen=True, slots=True)
class Reply:
    """
    Answer a waiting request; its ticket is known no more.

    @ivar answer: a value for the one who waits, or an error to raise there.
    """

    ticket: Ticket
    answer: Joined | Synced | KafkaError


@dataclass(frozen=True, slots=True)
class Note:
    """A sentence for the history of the group."""

    text: str


Effect = Persist | Amend | Reply | Note
