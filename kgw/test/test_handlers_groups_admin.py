"""DescribeGroups, ListGroups and DeleteGroups: what admin clients see of groups and do to them."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from kgw.errors import ErrorCode
from kgw.handlers import delete_groups, describe_groups, list_groups
from kgw.model import GROUP_OPERATIONS, OPERATIONS_OMITTED
from kgw.test.group_stage import GroupStage, subscription
from kgw.test.stage import StagePeer


class DescribeGroupsTests(SynchronousTestCase):
    """One group in full."""

    def describe(self, stage: GroupStage, version: int, *groups: str, operations: bool = False) -> list[Any]:
        """The rows of an answer."""
        request = describe_groups.Request(groups=list(groups), include_authorized_operations=operations)
        rows: list[Any] = stage.answered(describe_groups, version, request).groups
        return rows

    def test_stable_in_every_version(self) -> None:
        """State, protocol, and the member with its address, what it said and what it got."""
        for version in describe_groups.API.versions:
            stage = GroupStage(self)
            joined = stage.stable(instance_id="one")
            (row,) = self.describe(stage, version, "g")
            self.assertEqual(
                (
                    row.error_code,
                    row.error_message,
                    row.group_id,
                    row.group_state,
                    row.protocol_type,
                    row.protocol_data,
                ),
                (0, None, "g", "Stable", "consumer", "range"),
            )
            (member,) = row.members
            self.assertEqual(member.member_id, joined.member_id)
            self.assertEqual((member.client_id, member.client_host), ("stage", "/10.0.0.99"))
            self.assertEqual((member.member_metadata, member.member_assignment), (subscription("t"), b"all"))
            self.assertEqual(member.group_instance_id, "one" if version >= 4 else None)
            self.assertEqual(row.authorized_operations, OPERATIONS_OMITTED)

    def test_client_hosts(self) -> None:
        """Addresses as Kafka writes them: a slash, no port."""
        for remote, host in (("[2001:db8::7]:5", "/2001:db8::7"), ("192.0.2.1:65535", "/192.0.2.1")):
            stage = GroupStage(self)
            stage.peer = StagePeer(remote=remote)
            stage.stable()
            self.assertEqual(self.describe(stage, 5, "g")[0].members[0].client_host, host)

    def test_states(self) -> None:
        """While a group is between generations nobody says anything; what each had is told until it has another."""
        stage = GroupStage(self)
        joined = stage.join()
        (row,) = self.describe(stage, 5, "g")
        self.assertEqual((row.group_state, row.members[0].member_assignment), ("CompletingRebalance", b""))
        self.successResultOf(stage.syncing(joined, {joined.member_id: b"all"}))
        stage.joining(version=3)
        (row,) = self.describe(stage, 5, "g")
        self.assertEqual((row.group_state, len(row.members)), ("PreparingRebalance", 2))
        self.assertEqual(
            sorted((member.member_metadata, member.member_assignment) for member in row.members),
            [(b"", b""), (b"", b"all")],
        )

    def test_empty(self) -> None:
        """A group that all have left is Empty, and still of its type."""
        stage = GroupStage(self)
        stage.leave(stage.stable().member_id)
        (row,) = self.describe(stage, 6, "g")
        self.assertEqual(
            (row.error_code, row.group_state, row.protocol_type, row.members), (0, "Empty", "consumer", [])
        )

    def test_not_there(self) -> None:
        """Dead without an error before v6, and GROUP_ID_NOT_FOUND since (KIP-1043); also for the empty group id."""
        stage = GroupStage(self)
        for version in describe_groups.API.versions:
            for row in self.describe(stage, version, "nowhere", ""):
                code = ErrorCode.GROUP_ID_NOT_FOUND if version >= 6 else ErrorCode.NONE
                self.assertEqual((row.error_code, row.group_state, row.members), (code, "Dead", []))
                self.assertEqual(row.error_message, f"Group {row.group_id} not found." if version >= 6 else None)

    def test_authorized_operations(self) -> None:
        """Asked for, they are all that a group knows; of a group that is an error, none (KIP-430)."""
        stage = GroupStage(self)
        stage.stable()
        for version in range(3, 7):
            there, missing = self.describe(stage, version, "g", "nowhere", operations=True)
            self.assertEqual(there.authorized_operations, GROUP_OPERATIONS)
            want = OPERATIONS_OMITTED if version >= 6 else GROUP_OPERATIONS
            self.assertEqual(missing.authorized_operations, want)

    def test_refusal(self) -> None:
        """The error for every group."""
        request = describe_groups.Request(groups=["a", "b"])
        for version in describe_groups.API.versions:
            answer = GroupStage(self).refuse(describe_groups.API, version, request, ErrorCode.UNKNOWN_SERVER_ERROR)
            self.assertEqual([(row.group_id, row.error_code) for row in answer.groups], [("a", -1), ("b", -1)])


class ListGroupsTests(SynchronousTestCase):
    """All groups in short."""

    def setUp(self) -> None:
        """One group is stable, one empty, one waits for its leader's assignment."""
        self.stage = GroupStage(self)
        self.stage.stable("stable")
        self.stage.leave(self.stage.stable("empty").member_id, group="empty")
        self.stage.join(group="completing", protocol_type="connect")

    def names(self, version: int, **filters: list[str]) -> set[str]:
        """The ids of the groups that pass."""
        answer = self.stage.call(list_groups.API, version, list_groups.Request(**filters))
        self.assertEqual(answer.error_code, ErrorCode.NONE)
        return {row.group_id for row in answer.groups}

    def test_every_version(self) -> None:
        """Ids and protocol types, from v4 on states, from v5 on types."""
        for version in list_groups.API.versions:
            answer = self.stage.call(list_groups.API, version, list_groups.Request())
            rows = {(row.group_id, row.protocol_type, row.group_state, row.group_type) for row in answer.groups}
            want = {
                ("stable", "consumer", "Stable", "classic"),
                ("empty", "consumer", "Empty", "classic"),
                ("completing", "connect", "CompletingRebalance", "classic"),
            }
            cut = {
                (group, protocol, state if version >= 4 else "", kind if version >= 5 else "")
                for group, protocol, state, kind in want
            }
            self.assertEqual(rows, cut)

    def test_states(self) -> None:
        """In any case, of any number; a word that is no state lets nothing pass."""
        for version in (4, 5):
            self.assertEqual(self.names(version, states_filter=["Stable"]), {"stable"})
            self.assertEqual(self.names(version, states_filter=["sTABLE", " empty "]), {"stable", "empty"})
            self.assertEqual(self.names(version, states_filter=["completingrebalance"]), {"completing"})
            self.assertEqual(self.names(version, states_filter=["Sleeping"]), set())

    def test_types(self) -> None:
        """All groups here are classic ones."""
        self.assertEqual(self.names(5, types_filter=["Classic"]), {"stable", "empty", "completing"})
        self.assertEqual(self.names(5, types_filter=["consumer"]), set())
        self.assertEqual(self.names(5, types_filter=["classic"], states_filter=["EMPTY"]), {"empty"})


class DeleteGroupsTests(SynchronousTestCase):
    """Groups go."""

    def test_every_version(self) -> None:
        """Groups with members stay, others go, each with its own error; a group named twice has one row."""
        for version in delete_groups.API.versions:
            stage = GroupStage(self)
            stage.stable("busy")
            stage.leave(stage.stable("old").member_id, group="old")
            request = delete_groups.Request(["busy", "old", "nowhere", "old"])
            answer = stage.answered(delete_groups, version, request)
            self.assertEqual(
                [(row.group_id, row.error_code) for row in answer.results],
                [
                    ("busy", ErrorCode.NON_EMPTY_GROUP),
                    ("old", ErrorCode.NONE),
                    ("nowhere", ErrorCode.GROUP_ID_NOT_FOUND),
                ],
            )
            left = stage.call(list_groups.API, 5, list_groups.Request()).groups
            self.assertEqual([row.group_id for row in left], ["busy"])

    def test_refusal(self) -> None:
        """The error for every group."""
        request = delete_groups.Request(["a", "b", "a"])
        for version in delete_groups.API.versions:
            answer = GroupStage(self).refuse(delete_groups.API, version, request, ErrorCode.NOT_COORDINATOR)
            self.assertEqual([(row.group_id, row.error_code) for row in answer.results], [("a", 16), ("b", 16)])
