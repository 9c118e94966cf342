"""Frozen values of consumer groups that cross the seams between handlers and the coordinator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from kgw.errors import ErrorCode


class GroupProtocol(NamedTuple):
    """One protocol (an assignor, for consumers) that a member offers, and what it says to the leader under it."""

    name: str
    metadata: bytes


@dataclass(frozen=True, slots=True)
class Caller:
    """
    Who sent a request, for descriptions and the history.

    @ivar host: the client's address as Kafka writes it, C{"/10.0.0.1"}.
    @ivar software: what the client called itself in ApiVersions, name and version, or C{""}.
    """

    client_id: str
    host: str
    software: str = ""


@dataclass(frozen=True, slots=True)
class JoinRequest:
    """
    A member wants to be in the next generation (Kafka: JoinGroup).

    @ivar member_id: empty for a member that has none yet.
    @ivar instance_id: C{group.instance.id} of a static member (KIP-345).
    @ivar needs_member_id: a new dynamic member is first given an id and told to come again (KIP-394, from v4 on).
    @ivar may_skip_assignment: the client knows C{skip_assignment} (KIP-814, from v9 on).
    """

    group_id: str
    member_id: str
    instance_id: str | None
    session_timeout_ms: int
    rebalance_timeout_ms: int
    protocol_type: str
    protocols: tuple[GroupProtocol, ...]
    caller: Caller
    reason: str = ""
    needs_member_id: bool = True
    may_skip_assignment: bool = False


class JoinedMember(NamedTuple):
    """A member as the leader is told of it."""

    member_id: str
    instance_id: str | None
    metadata: bytes


@dataclass(frozen=True, slots=True)
class Joined:
    """
    The answer to a join: the member is in a generation.

    @ivar error: C{NONE}, or C{MEMBER_ID_REQUIRED} where C{member_id} is to be used in the next attempt; all other
        errors are raised.
    @ivar members: all members for the leader, empty for followers.
    """

    error: ErrorCode
    generation_id: int
    protocol_type: str | None
    protocol_name: str | None
    leader: str
    member_id: str
    skip_assignment: bool = False
    members: tuple[JoinedMember, ...] = ()


@dataclass(frozen=True, slots=True)
class SyncRequest:
    """
    A member wants its assignment; the leader brings everybody's (Kafka: SyncGroup).

    @ivar protocol_type: what the client believes it to be, C{None} where its version does not say (KIP-559).
    """

    group_id: str
    generation_id: int
    member_id: str
    instance_id: str | None
    protocol_type: str | None
    protocol_name: str | None
    assignments: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Synced:
    """A member's assignment, opaque to the broker."""

    protocol_type: str | None
    protocol_name: str | None
    assignment: bytes


class Leaving(NamedTuple):
    """One member that leaves; a static one may be named by its instance id alone (KIP-345)."""

    member_id: str
    instance_id: str | None
    reason: str | None = None


class Left(NamedTuple):
    """What became of one L{Leaving}."""

    member_id: str
    instance_id: str | None
    error: ErrorCode


class CommittedOffset(NamedTuple):
    """
    How far a group has come in a partition.

    @ivar leader_epoch: of the last record consumed, -1 unknown.
    @ivar metadata: whatever the client keeps with it.
    """

    offset: int
    leader_epoch: int = -1
    metadata: str = ""


#: What is not committed.
NO_COMMITTED_OFFSET = CommittedOffset(-1, -1, "")


@dataclass(frozen=True, slots=True)
class CommitRequest:
    """
    Offsets to be kept (Kafka: OffsetCommit).

    @ivar generation_id: below 0, with an empty C{member_id}, from a consumer outside any generation (assign(), admin).
    @ivar offsets: by topic name and partition.
    @ivar retention_ms: how long to keep them, -1 for C{offsets.retention.minutes} (v2 to v4).
    """

    group_id: str
    generation_id: int
    member_id: str
    instance_id: str | None
    offsets: Mapping[tuple[str, int], CommittedOffset]
    caller: Caller
    retention_ms: int = -1


@dataclass(frozen=True, slots=True)
class DescribedMember:
    """A member as admin clients are told of it; metadata and assignment under the chosen protocol, when stable."""

    member_id: str
    instance_id: str | None
    client_id: str
    client_host: str
    metadata: bytes
    assignment: bytes


@dataclass(frozen=True, slots=True)
class GroupDescription:
    """
    A group as admin clients are told of it.

    @ivar state: Kafka's word: Empty, PreparingRebalance, CompletingRebalance, Stable, Dead.
    """

    group_id: str
    state: str
    protocol_type: str
    protocol_name: str
    members: tuple[DescribedMember, ...]


class GroupListing(NamedTuple):
    """One row of a list of groups; C{group_type} is Kafka's word, C{"classic"}."""

    group_id: str
    protocol_type: str
    state: str
    group_type: str


class GroupEvent(NamedTuple):
    """
    Something an operator may want to know of a group.

    @ivar time: epoch seconds.
    @ivar text: a sentence: who joined, left, timed out, was slow; which protocols clashed; with reasons given.
    """

    time: float
    text: str


class GroupCensus(NamedTuple):
    """
    A group in numbers.

    @ivar state: Kafka's word.
    @ivar offsets: how many places it has committed offsets for.
    """

    group_id: str
    state: str
    members: int
    offsets: int
