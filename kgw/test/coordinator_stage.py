"""What a test of the group coordinator stands on: virtual time, a store, and members that join and sync."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kgw.engine.memory_state import MemoryStateStore
from kgw.errors import ErrorCode, KafkaError
from kgw.group_model import (
    Caller,
    CommitRequest,
    CommittedOffset,
    GroupProtocol,
    Joined,
    JoinRequest,
    Leaving,
    Left,
    Synced,
    SyncRequest,
)
from kgw.groups.coordinator import GroupCoordinator
from kgw.groups.effects import GroupLimits
from kgw.interfaces import IStateStore
from kgw.test.stage import START

T = TypeVar("T")

DAY_MS = 86_400_000
CALLER = Caller("client", "/10.0.0.1", "tester 1.0")


def subscription(topics: Sequence[str]) -> bytes:
    """What a consumer tells its leader."""
    names = b"".join(struct.pack(">h", len(name)) + name.encode() for name in topics)
    return struct.pack(">hi", 0, len(topics)) + names + struct.pack(">i", -1)


class CoordinatorStage:
    """
    A coordinator over a store, for one test; the first rebalance of a group does not wait for more members.

    @ivar clock: moved by the test only.
    @ivar session_ms: of members that join.
    """

    session_ms = 10_000

    def __init__(
        self,
        test: SynchronousTestCase,
        store: IStateStore | None = None,
        clock: Clock | None = None,
        topic_exists: Callable[[str], bool] | None = None,
        limits: GroupLimits | None = None,
        slots: int | None = None,
    ) -> None:
        """
        @param store: open; another than a fresh one in memory.
        @param slots: of which none are here at first; C{None} where all groups are.
        """
        self.test = test
        if clock is None:
            clock = Clock()
            clock.advance(START)
        if store is None:
            store = MemoryStateStore()
            test.successResultOf(store.open())
        self.clock = clock
        self.store = store
        self.limits = limits or GroupLimits(initial_rebalance_delay_ms=0)
        self.groups = GroupCoordinator(store, clock, self.limits, slots=slots)
        test.successResultOf(self.groups.start(topic_exists))

    def restarted(self, topic_exists: Callable[[str], bool] | None = None) -> CoordinatorStage:
        """Another coordinator over what the store holds; this one is let be, as if killed."""
        clock = Clock()
        clock.advance(self.clock.seconds())
        return CoordinatorStage(self.test, self.store, clock, topic_exists, self.limits)

    def get(self, answer: Deferred[T]) -> T:
        """What a question was answered with, at once."""
        result: T = self.test.successResultOf(answer)
        return result

    def refusal(self, answer: Deferred[Any]) -> str | None:
        """The name of the error that was answered at once, C{None} where there was none."""
        codes: list[str | None] = []
        answer.addCallbacks(lambda _: codes.append(None), lambda failure: codes.append(_code(failure.value)))
        self.test.assertEqual(len(codes), 1, "there is no answer yet")
        return codes[0]

    def join(
        self,
        group_id: str,
        member_id: str = "",
        instance_id: str | None = None,
        topics: Sequence[str] = ("t",),
        protocol_type: str = "consumer",
    ) -> Deferred[Joined]:
        """Ask to be in the next generation, by an old version where there is no member id yet."""
        return self.groups.join(
            JoinRequest(
                group_id=group_id,
                member_id=member_id,
                instance_id=instance_id,
                session_timeout_ms=self.session_ms,
                rebalance_timeout_ms=60_000,
                protocol_type=protocol_type,
                protocols=(GroupProtocol("range", subscription(topics)),),
                caller=CALLER,
                needs_member_id=False,
            )
        )

    def sync(self, group_id: str, joined: Joined, instance_id: str | None = None) -> Deferred[Synced]:
        """Ask for an assignment; the leader gives each member its own id."""
        assignments = {member.member_id: member.member_id.encode() for member in joined.members}
        return self.groups.sync(self.sync_request(group_id, joined, assignments, instance_id))

    def sync_request(
        self, group_id: str, joined: Joined, assignments: Mapping[str, bytes], instance_id: str | None = None
    ) -> SyncRequest:
        """The request of a leader with these assignments."""
        return SyncRequest(group_id, joined.generation_id, joined.member_id, instance_id, None, None, assignments)

    def stable(
        self, group_id: str, size: int, topics: Sequence[str] = ("t",), protocol_type: str = "consumer"
    ) -> list[Joined]:
        """A stable group of so many members, the leader first."""
        members: list[Joined] = []
        for _ in range(size):
            newcomer = self.join(group_id, "", None, topics, protocol_type)
            others = [self.join(group_id, each.member_id, None, topics, protocol_type) for each in members]
            members = [self.get(answer) for answer in [*others, newcomer]]
            for waiting in [self.sync(group_id, each) for each in reversed(members)]:
                self.get(waiting)
        return members

    def beat(self, group_id: str, member: Joined) -> str | None:
        """A heartbeat; the name of the error, if it was refused."""
        return self.refusal(self.groups.heartbeat(group_id, member.generation_id, member.member_id))

    def leave(self, group_id: str, member_id: str) -> list[Left]:
        """Leave a group."""
        return self.get(self.groups.leave(group_id, [Leaving(member_id, None)]))

    def commit_request(
        self,
        group_id: str,
        offsets: Mapping[tuple[str, int], CommittedOffset],
        generation_id: int = -1,
        member_id: str = "",
        retention_ms: int = -1,
    ) -> CommitRequest:
        """Offsets to be kept."""
        return CommitRequest(group_id, generation_id, member_id, None, offsets, CALLER, retention_ms)

    def commit(
        self, group_id: str, offsets: Mapping[tuple[str, int], CommittedOffset]
    ) -> dict[tuple[str, int], ErrorCode]:
        """Commit from outside any generation."""
        return self.get(self.groups.commit(self.commit_request(group_id, offsets)))

    def begin_commit(
        self, group_id: str, offsets: Mapping[tuple[str, int], int], generation_id: int, member_id: str
    ) -> Deferred[Any]:
        """Commit plain offsets."""
        plain = {place: CommittedOffset(offset) for place, offset in offsets.items()}
        return self.groups.commit(self.commit_request(group_id, plain, generation_id, member_id))

    def committed(
        self, group_id: str, places: Sequence[tuple[str, int]] | None = None
    ) -> dict[tuple[str, int], CommittedOffset]:
        """What a group has committed."""
        return self.get(self.groups.committed(group_id, places))

    def group_ids(self) -> list[str]:
        """The groups there are."""
        return [listing.group_id for listing in self.get(self.groups.list_groups())]

    def state(self, group_id: str) -> str:
        """The state of a group."""
        return self.get(self.groups.describe(group_id)).state

    def texts(self, group_id: str) -> list[str]:
        """The history of a group."""
        return [event.text for event in self.groups.history(group_id)]

    def facts(self) -> dict[str, bytes]:
        """What the store holds of groups."""
        pairs = self.get(self.store.scan("groups/"))
        return dict(pairs)

    def pass_days(self, days: float, *alive: Joined, group_id: str = "g") -> None:
        """Let time go by in steps of ten minutes; these members of C{group_id} heartbeat after each."""
        end = self.clock.seconds() + days * 86400
        while self.clock.seconds() < end:
            self.clock.advance(600)
            for member in alive:
                self.test.assertIsNone(self.beat(group_id, member))


def _code(error: BaseException) -> str:
    assert isinstance(error, KafkaError), error
    return error.code.name
