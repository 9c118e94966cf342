"""Consumer groups as clients use them: a group of one that joins, syncs, beats, commits, leaves and is deleted."""

from __future__ import annotations

import uuid
from typing import Any

from kgw.doctor.connection import NoAnswer
from kgw.doctor.visit import Visit, code_name
from kgw.errors import ErrorCode
from kgw.handlers import (
    delete_groups,
    find_coordinator,
    heartbeat,
    join_group,
    leave_group,
    offset_commit,
    offset_fetch,
    sync_group,
)
from kgw.handlers.contract import Api

#: Of these APIs, the last versions that ask for one group, and name topics by name.
_FIND, _COMMIT, _OFFSETS, _LEAVE = 3, 9, 7, 5
_SESSION_MS = 10_000
_PROTOCOL = "range"
#: What the one member is given, opaque to the broker.
_ASSIGNMENT = b"kgw-doctor"
_OFFSET = 1


class _Refused(Exception):
    """A step was answered with an error; says which."""


class GroupTrial:
    """
    A consumer group of the doctor's own, with one member.

    @ivar name: what it is called; nobody has one of that name.
    """

    def __init__(self, visit: Visit, topic: str | None) -> None:
        """
        @param topic: one that exists, for which to commit an offset.
        """
        self.name = f"kgw-doctor-{uuid.uuid4().hex[:12]}"
        self._visit = visit
        self._topic = topic
        self._coordinator = -1
        self._member = ""

    def run(self) -> None:
        """Go through a member's life, and away with the group."""
        findings = self._visit.findings
        try:
            self._find()
            generation = self._join()
            self._sync(generation)
            self._ask("Heartbeat", heartbeat.API, heartbeat.Request(self.name, generation, self._member))
            findings.ok("group", "a consumer can join a group, get its assignment and stay")
            if self._topic is not None:
                self._commit(generation)
        except (NoAnswer, _Refused) as error:
            findings.problem("group", str(error), self._change(error))
        finally:
            self._leave()

    def _change(self, error: Exception) -> str | None:
        if "INVALID_SESSION_TIMEOUT" in str(error):
            return f"group.min.session.timeout.ms and group.max.session.timeout.ms: {_SESSION_MS} ms shall be allowed"
        return None

    def _ask(self, step: str, api: Api, request: Any, newest: int | None = None, patience: float | None = None) -> Any:
        answer = self._visit.ask(api, request, self._coordinator, newest, patience)
        code = getattr(answer, "error_code", ErrorCode.NONE)
        if code:
            raise _Refused(f"{step} is refused: {code_name(code)}")
        return answer

    def _find(self) -> None:
        answer = self._ask("FindCoordinator", find_coordinator.API, find_coordinator.Request(key=self.name), _FIND)
        if answer.node_id not in self._visit.brokers:
            raise _Refused(f"the coordinator of groups is broker {answer.node_id}, which Metadata does not know")
        self._coordinator = answer.node_id

    def _join(self) -> int:
        request = join_group.Request(
            group_id=self.name,
            session_timeout_ms=_SESSION_MS,
            rebalance_timeout_ms=_SESSION_MS,
            member_id="",
            protocol_type="consumer",
            protocols=[join_group.RequestProtocol(_PROTOCOL, b"")],
        )
        # the first member of a group waits for others
        delay = float(self._visit.configs.get("group.initial.rebalance.delay.ms", "3000")) / 1000
        patience = self._visit.patience + delay
        answer = self._visit.ask(join_group.API, request, self._coordinator, None, patience)
        if answer.error_code == ErrorCode.MEMBER_ID_REQUIRED:
            request.member_id = answer.member_id
            answer = self._visit.ask(join_group.API, request, self._coordinator, None, patience)
        self._member = answer.member_id
        if answer.error_code:
            raise _Refused(f"JoinGroup is refused: {code_name(answer.error_code)}")
        generation: int = answer.generation_id
        return generation

    def _sync(self, generation: int) -> None:
        request = sync_group.Request(
            group_id=self.name,
            generation_id=generation,
            member_id=self._member,
            protocol_type="consumer",
            protocol_name=_PROTOCOL,
            assignments=[sync_group.RequestAssignment(self._member, _ASSIGNMENT)],
        )
        answer = self._ask("SyncGroup", sync_group.API, request)
        if bytes(answer.assignment) != _ASSIGNMENT:
            raise _Refused("SyncGroup brings another assignment than the one that was given")

    def _commit(self, generation: int) -> None:
        assert self._topic is not None
        partition = offset_commit.RequestPartition(0, _OFFSET, committed_metadata="")
        request = offset_commit.Request(
            group_id=self.name,
            generation_id_or_member_epoch=generation,
            member_id=self._member,
            topics=[offset_commit.RequestTopic(self._topic, partitions=[partition])],
        )
        answer = self._ask("OffsetCommit", offset_commit.API, request, _COMMIT)
        seconds = self._visit.seconds
        code = answer.topics[0].partitions[0].error_code
        if code:
            raise _Refused(f"OffsetCommit is refused: {code_name(code)}")
        asked = offset_fetch.Request(self.name, [offset_fetch.RequestTopic(self._topic, [0])])
        row = self._ask("OffsetFetch", offset_fetch.API, asked, _OFFSETS).topics[0].partitions[0]
        if row.error_code or row.committed_offset != _OFFSET:
            raise _Refused(f"offset {_OFFSET} was committed, but OffsetFetch says {row.committed_offset}")
        self._visit.findings.ok("offsets", "offsets can be committed and read", seconds)

    def _leave(self) -> None:
        """The member goes, then the group, whether or not they ever came to be."""
        if not self._member:
            return
        visit = self._visit
        try:
            leaving = leave_group.Request(self.name, self._member, [leave_group.RequestMember(self._member)])
            visit.ask(leave_group.API, leaving, self._coordinator, _LEAVE)
            gone = visit.ask(delete_groups.API, delete_groups.Request([self.name]), self._coordinator)
            code = gone.results[0].error_code
            if code in (ErrorCode.NONE, ErrorCode.GROUP_ID_NOT_FOUND):
                return
            reason = code_name(code)
        except NoAnswer as refusal:
            reason = str(refusal)
        visit.findings.note("cleanup", f"group {self.name} is left behind, it cannot be deleted: {reason}")
