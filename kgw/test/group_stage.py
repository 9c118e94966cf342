"""What a test of group handlers stands on: the stage with members that join, sync, heartbeat and leave on the wire."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from kgw.errors import ErrorCode, KafkaError
from kgw.handlers import heartbeat, join_group, leave_group, sync_group
from kgw.interfaces import ILogEngine, IStateStore
from kgw.test.stage import Stage

#: The timeouts of every member, where a test does not say otherwise.
SESSION_MS = 10_000
REBALANCE_MS = 30_000


def subscription(*topics: str) -> bytes:
    """What a consumer tells its leader: that it wants these topics."""
    names = b"".join(struct.pack(">h", len(name.encode())) + name.encode() for name in topics)
    return struct.pack(">hi", 0, len(topics)) + names + struct.pack(">i", -1)


class GroupStage(Stage):
    """A stage whose groups do not wait for more members at first."""

    def __init__(
        self,
        test: SynchronousTestCase,
        properties: Mapping[str, str] | None = None,
        engine: ILogEngine | None = None,
        store: IStateStore | None = None,
    ) -> None:
        super().__init__(test, {"group.initial.rebalance.delay.ms": "0", **(properties or {})}, engine, store)

    def answering(self, module: Any, version: int, request: Any) -> Deferred[Any]:
        """Hand a request to a handler; fires with the response, which is the refusal where the handler raises."""

        def refused(failure: Failure) -> Any:
            failure.trap(KafkaError)
            error = failure.value
            assert isinstance(error, KafkaError)
            return self.refuse(module.API, version, request, error.code)

        return self.begin(module.API, version, request).addErrback(refused)

    def answered(self, module: Any, version: int, request: Any) -> Any:
        """The response, or the refusal, to a request that is answered without waiting."""
        return self.test.successResultOf(self.answering(module, version, request))

    def joining(
        self,
        member_id: str = "",
        version: int = 9,
        group: str = "g",
        instance_id: str | None = None,
        topics: Sequence[str] = ("t",),
        protocols: Sequence[str] = ("range",),
        protocol_type: str = "consumer",
        session_timeout_ms: int = SESSION_MS,
    ) -> Deferred[Any]:
        """Send one JoinGroup."""
        request = join_group.Request(
            group_id=group,
            session_timeout_ms=session_timeout_ms,
            rebalance_timeout_ms=REBALANCE_MS,
            member_id=member_id,
            group_instance_id=instance_id,
            protocol_type=protocol_type,
            protocols=[join_group.RequestProtocol(name, subscription(*topics)) for name in protocols],
        )
        return self.answering(join_group, version, request)

    def join(self, member_id: str = "", version: int = 9, **fields: Any) -> Any:
        """The answer to a JoinGroup that does not wait, come again with the member id that was given (KIP-394)."""
        joined = self.test.successResultOf(self.joining(member_id, version, **fields))
        if joined.error_code == ErrorCode.MEMBER_ID_REQUIRED:
            joined = self.test.successResultOf(self.joining(joined.member_id, version, **fields))
        self.test.assertEqual(joined.error_code, ErrorCode.NONE)
        return joined

    def syncing(
        self, joined: Any, assignments: Mapping[str, bytes] | None = None, version: int = 5, **fields: Any
    ) -> Deferred[Any]:
        """
        Send the SyncGroup of a member that has joined.

        @param fields: of the request, where they differ.
        """
        given = [sync_group.RequestAssignment(name, data) for name, data in (assignments or {}).items()]
        request = {
            "group_id": "g",
            "generation_id": joined.generation_id,
            "member_id": joined.member_id,
            "protocol_type": "consumer",
            "protocol_name": "range",
            "assignments": given,
        }
        return self.answering(sync_group, version, sync_group.Request(**(request | fields)))

    def stable(
        self,
        group: str = "g",
        version: int = 9,
        instance_id: str | None = None,
        protocol_type: str = "consumer",
        **fields: Any,
    ) -> Any:
        """The answer to the JoinGroup of the only member of a group, which has got C{b"all"} since."""
        joined = self.join(version=version, group=group, instance_id=instance_id, protocol_type=protocol_type, **fields)
        synced = self.test.successResultOf(
            self.syncing(
                joined,
                {joined.member_id: b"all"},
                group_id=group,
                group_instance_id=instance_id,
                protocol_type=protocol_type,
            )
        )
        self.test.assertEqual((synced.error_code, synced.assignment), (ErrorCode.NONE, b"all"))
        return joined

    def beat(self, joined: Any, version: int = 4, group: str = "g", group_instance_id: str | None = None) -> ErrorCode:
        """What the heartbeat of a member that has joined is answered."""
        request = heartbeat.Request(group, joined.generation_id, joined.member_id, group_instance_id)
        return ErrorCode(self.answered(heartbeat, version, request).error_code)

    def leave(self, *member_ids: str, version: int = 5, group: str = "g") -> Any:
        """The answer to a LeaveGroup; before v3 it names one member."""
        request = leave_group.Request(
            group_id=group,
            member_id=member_ids[0],
            members=[leave_group.RequestMember(member_id) for member_id in member_ids],
        )
        return self.answered(leave_group, version, request)
