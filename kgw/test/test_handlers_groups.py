"""JoinGroup, SyncGroup, Heartbeat and LeaveGroup: what members are answered, in every version."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kgw.errors import ErrorCode
from kgw.handlers import find_coordinator, heartbeat, join_group, leave_group, sync_group
from kgw.test.group_stage import REBALANCE_MS, SESSION_MS, GroupStage, subscription


class JoinGroupTests(SynchronousTestCase):
    """What a member gets when it joins."""

    def test_alone_in_every_version(self) -> None:
        """The first member leads the first generation, and is told of itself."""
        for version in join_group.API.versions:
            joined = GroupStage(self).join(version=version)
            self.assertEqual((joined.error_code, joined.generation_id, joined.protocol_name), (0, 1, "range"), version)
            self.assertEqual(joined.leader, joined.member_id)
            self.assertEqual(
                [(one.member_id, one.metadata) for one in joined.members], [(joined.member_id, subscription("t"))]
            )
            self.assertEqual(joined.protocol_type, "consumer" if version >= 7 else None)
            self.assertFalse(joined.skip_assignment)

    def test_member_id_comes_first(self) -> None:
        """From v4 on a new member is given an id that starts with its client id, and comes again (KIP-394)."""
        for version in join_group.API.versions:
            stage = GroupStage(self)
            answer = self.successResultOf(stage.joining(version=version))
            want = ErrorCode.MEMBER_ID_REQUIRED if version >= 4 else ErrorCode.NONE
            self.assertEqual(answer.error_code, want, version)
            self.assertTrue(answer.member_id.startswith("stage-"), answer.member_id)
            if want:
                self.assertEqual((answer.generation_id, answer.leader, answer.members), (-1, "", []))
                self.assertEqual(answer.protocol_name, None if version >= 7 else "")

    def test_refused_with_kafkas_fields(self) -> None:
        """A refusal has generation -1, no leader, and the member id that the client came with."""
        for version in join_group.API.versions:
            stage = GroupStage(self)
            for fields, code in (
                ({"group": ""}, ErrorCode.INVALID_GROUP_ID),
                ({"session_timeout_ms": 1}, ErrorCode.INVALID_SESSION_TIMEOUT),
                ({"session_timeout_ms": 1 << 30}, ErrorCode.INVALID_SESSION_TIMEOUT),
                ({}, ErrorCode.UNKNOWN_MEMBER_ID),
            ):
                answer = self.successResultOf(stage.joining("stranger", version=version, **fields))
                self.assertEqual(answer.error_code, code, (version, fields))
                self.assertEqual((answer.generation_id, answer.leader, answer.member_id), (-1, "", "stranger"))
                self.assertEqual((answer.protocol_name, answer.members), (None if version >= 7 else "", []))

    def test_group_is_full(self) -> None:
        """One member too many is refused, and keeps no id."""
        stage = GroupStage(self, {"group.max.size": "1"})
        stage.stable(version=3)
        answer = self.successResultOf(stage.joining(version=3))
        self.assertEqual((answer.error_code, answer.member_id), (ErrorCode.GROUP_MAX_SIZE_REACHED, ""))

    def test_clashing_protocols(self) -> None:
        """A member that shares no protocol with the others, or has another type, is refused."""
        stage = GroupStage(self)
        stage.stable()
        for fields in ({"protocols": ["sticky"]}, {"protocol_type": "connect"}):
            answer = self.successResultOf(stage.joining(version=3, **fields))
            self.assertEqual(answer.error_code, ErrorCode.INCONSISTENT_GROUP_PROTOCOL, fields)

    def test_version_0_waits_as_long_as_a_session(self) -> None:
        """Version 0 has no rebalance timeout: who does not come again within the session timeout is out."""
        stage = GroupStage(self)
        first = stage.stable(version=0)
        second = stage.joining(version=0)
        self.assertNoResult(second)
        for _ in range(SESSION_MS // 1000 - 1):
            self.assertEqual(stage.beat(first), ErrorCode.REBALANCE_IN_PROGRESS)
            stage.clock.advance(1)
        self.assertNoResult(second)
        stage.clock.advance(1)
        self.assertEqual(len(self.successResultOf(second).members), 1)

    def test_version_1_waits_as_long_as_it_says(self) -> None:
        """Later ones have their own."""
        stage = GroupStage(self)
        first = stage.stable(version=3)
        second = stage.joining(version=3)
        for _ in range(REBALANCE_MS // 1000 - 1):
            self.assertEqual(stage.beat(first), ErrorCode.REBALANCE_IN_PROGRESS)
            stage.clock.advance(1)
        self.assertNoResult(second)
        stage.clock.advance(1)
        self.assertEqual(len(self.successResultOf(second).members), 1)

    def test_everybody_comes_again(self) -> None:
        """A second member starts a generation; the leader hears of both, the other of none."""
        stage = GroupStage(self)
        first = stage.stable()
        second = stage.joining(self.successResultOf(stage.joining()).member_id)
        self.assertNoResult(second)
        self.assertEqual(stage.beat(first), ErrorCode.REBALANCE_IN_PROGRESS)
        leader = stage.join(first.member_id)
        follower = self.successResultOf(second)
        self.assertEqual((leader.generation_id, follower.generation_id), (2, 2))
        self.assertEqual({one.member_id for one in leader.members}, {leader.member_id, follower.member_id})
        self.assertEqual((follower.leader, follower.members), (leader.member_id, []))

    def test_gone_while_it_waits(self) -> None:
        """A client whose connection ends while it waits gets no answer; the others go on without it in time."""
        stage = GroupStage(self)
        first = stage.stable()
        waiting = stage.joining(self.successResultOf(stage.joining()).member_id)
        waiting.cancel()
        self.failureResultOf(waiting)
        again = stage.joining(first.member_id)
        stage.clock.pump([1] * (REBALANCE_MS // 1000))
        self.assertEqual(self.successResultOf(again).leader, first.member_id)

    def test_a_stop_ends_the_wait(self) -> None:
        """Both that wait for others may be ended by a gateway that stops."""
        self.assertEqual(
            [module.API.parks for module in (join_group, sync_group, heartbeat, leave_group)],
            [True, True, False, False],
        )


class StaticMemberTests(SynchronousTestCase):
    """Members with C{group.instance.id} (KIP-345)."""

    def test_comes_back(self) -> None:
        """A static member that starts anew gets the generation and the assignment it had; its old self is fenced."""
        for version in (5, 7, 9):
            stage = GroupStage(self)
            first = stage.stable(instance_id="one")
            again = self.successResultOf(stage.joining(version=version, instance_id="one"))
            self.assertEqual((again.error_code, again.generation_id), (0, first.generation_id), version)
            self.assertNotEqual(again.member_id, first.member_id)
            assigned = self.successResultOf(stage.syncing(again, group_instance_id="one"))
            self.assertEqual(assigned.assignment, b"all")
            self.assertEqual(stage.beat(first, group_instance_id="one"), ErrorCode.FENCED_INSTANCE_ID)
            self.assertEqual(stage.beat(again, group_instance_id="one"), ErrorCode.NONE)

    def test_leader_may_skip_the_assignment(self) -> None:
        """From v9 on the leader that comes back is told that its assignment stands (KIP-814)."""
        stage = GroupStage(self)
        stage.stable(instance_id="one")
        again = self.successResultOf(stage.joining(version=9, instance_id="one"))
        self.assertTrue(again.skip_assignment)
        self.assertEqual([one.group_instance_id for one in again.members], ["one"])

    def test_leaves_by_its_name(self) -> None:
        """An admin removes a static member by its instance id alone."""
        stage = GroupStage(self)
        stage.stable(instance_id="one")
        request = leave_group.Request(
            group_id="g",
            members=[
                leave_group.RequestMember("", "one", "scaled down"),
                leave_group.RequestMember("", "two"),
            ],
        )
        rows = stage.answered(leave_group, 5, request).members
        self.assertEqual(
            [(one.group_instance_id, one.error_code) for one in rows],
            [("one", ErrorCode.NONE), ("two", ErrorCode.UNKNOWN_MEMBER_ID)],
        )


class SyncGroupTests(SynchronousTestCase):
    """Who gets which assignment."""

    def test_every_version(self) -> None:
        """The leader's bytes come back as they are."""
        for version in sync_group.API.versions:
            stage = GroupStage(self)
            joined = stage.join()
            synced = self.successResultOf(stage.syncing(joined, {joined.member_id: b"\0\1mine"}, version))
            self.assertEqual((synced.error_code, synced.assignment), (0, b"\0\1mine"), version)
            want = ("consumer", "range") if version >= 5 else (None, None)
            self.assertEqual((synced.protocol_type, synced.protocol_name), want)

    def test_followers_wait_for_the_leader(self) -> None:
        """And get theirs, or nothing where the leader forgot them."""
        stage = GroupStage(self)
        first = stage.stable()
        others = [stage.joining(self.successResultOf(stage.joining()).member_id) for _ in range(2)]
        leader = stage.join(first.member_id)
        second, third = (self.successResultOf(one) for one in others)
        waiting = [stage.syncing(second), stage.syncing(third)]
        self.assertNoResult(waiting[0])
        own = self.successResultOf(stage.syncing(leader, {leader.member_id: b"1", second.member_id: b"2"}))
        self.assertEqual(own.assignment, b"1")
        self.assertEqual([self.successResultOf(one).assignment for one in waiting], [b"2", b""])

    def test_protocol_has_to_be_named(self) -> None:
        """From v5 on protocol type and name are there, and those of the group (KIP-559)."""
        stage = GroupStage(self)
        joined = stage.stable()
        for type_, name in ((None, "range"), ("consumer", None), ("connect", "range"), ("consumer", "sticky")):
            synced = self.successResultOf(stage.syncing(joined, protocol_type=type_, protocol_name=name))
            self.assertEqual(synced.error_code, ErrorCode.INCONSISTENT_GROUP_PROTOCOL, (type_, name))
            self.assertEqual((synced.protocol_type, synced.protocol_name, synced.assignment), (None, None, b""))

    def test_refused(self) -> None:
        """Strangers, other generations, empty group ids."""
        for version in sync_group.API.versions:
            stage = GroupStage(self)
            joined = stage.stable()
            for fields, code in (
                ({"member_id": "stranger"}, ErrorCode.UNKNOWN_MEMBER_ID),
                ({"generation_id": 7}, ErrorCode.ILLEGAL_GENERATION),
                ({"group_id": ""}, ErrorCode.INVALID_GROUP_ID),
                ({"group_id": "other"}, ErrorCode.UNKNOWN_MEMBER_ID),
            ):
                request = sync_group.Request(
                    **{
                        "group_id": "g",
                        "generation_id": joined.generation_id,
                        "member_id": joined.member_id,
                        "protocol_type": "consumer",
                        "protocol_name": "range",
                        **fields,
                    }
                )
                answer = stage.answered(sync_group, version, request)
                self.assertEqual((answer.error_code, answer.assignment), (code, b""), (version, fields))


class HeartbeatTests(SynchronousTestCase):
    """Who lives."""

    def test_every_version(self) -> None:
        """A member of the generation is told that all is well; others what is wrong."""
        stage = GroupStage(self)
        joined = stage.stable()
        for version in heartbeat.API.versions:
            self.assertEqual(stage.beat(joined, version), ErrorCode.NONE)
            self.assertEqual(stage.beat(joined, version, group=""), ErrorCode.INVALID_GROUP_ID)
            self.assertEqual(stage.beat(joined, version, group="other"), ErrorCode.UNKNOWN_MEMBER_ID)
        joined.generation_id += 1
        self.assertEqual(stage.beat(joined), ErrorCode.ILLEGAL_GENERATION)
        joined.member_id = "stranger"
        self.assertEqual(stage.beat(joined), ErrorCode.UNKNOWN_MEMBER_ID)

    def test_a_session_ends(self) -> None:
        """Who does not beat is forgotten; who does is not."""
        stage = GroupStage(self)
        joined = stage.stable()
        for _ in range(5):
            stage.clock.advance(SESSION_MS / 1000 - 0.1)
            self.assertEqual(stage.beat(joined), ErrorCode.NONE)
        stage.clock.advance(SESSION_MS / 1000)
        self.assertEqual(stage.beat(joined), ErrorCode.UNKNOWN_MEMBER_ID)


class LeaveGroupTests(SynchronousTestCase):
    """Who goes."""

    def test_one_in_every_version(self) -> None:
        """Who has gone is a stranger, and told so: in its row, or as the answer's error before v3."""
        for version in leave_group.API.versions:
            stage = GroupStage(self)
            joined = stage.stable()
            for want in (ErrorCode.NONE, ErrorCode.UNKNOWN_MEMBER_ID):
                answer = stage.leave(joined.member_id, version=version)
                if version >= 3:
                    rows = [(one.member_id, one.error_code) for one in answer.members]
                    self.assertEqual((answer.error_code, rows), (0, [(joined.member_id, want)]), version)
                else:
                    self.assertEqual(answer.error_code, want, version)
            self.assertEqual(stage.beat(joined), ErrorCode.UNKNOWN_MEMBER_ID)

    def test_several(self) -> None:
        """Each has its own error."""
        stage = GroupStage(self)
        joined = stage.stable()
        answer = stage.leave("stranger", joined.member_id)
        self.assertEqual(
            [(one.member_id, one.error_code) for one in answer.members],
            [("stranger", ErrorCode.UNKNOWN_MEMBER_ID), (joined.member_id, ErrorCode.NONE)],
        )

    def test_no_group(self) -> None:
        """An empty group id is an error of the whole request."""
        stage = GroupStage(self)
        for version in leave_group.API.versions:
            answer = stage.leave("m", version=version, group="")
            self.assertEqual((answer.error_code, answer.members), (ErrorCode.INVALID_GROUP_ID, []))

    def test_leaving_ends_the_own_wait(self) -> None:
        """A member that leaves while its JoinGroup waits is answered: pipelined requests never hang one another."""
        stage = GroupStage(self)
        stage.stable()
        given = self.successResultOf(stage.joining())
        waiting = stage.joining(given.member_id)
        self.assertNoResult(waiting)
        self.assertEqual(stage.leave(given.member_id).members[0].error_code, ErrorCode.NONE)
        self.assertEqual(self.successResultOf(waiting).error_code, ErrorCode.UNKNOWN_MEMBER_ID)


class FindCoordinatorTests(SynchronousTestCase):
    """Where groups are kept."""

    def test_several_groups(self) -> None:
        """From v4 on each key has its row; even the empty group has a coordinator, as in Kafka."""
        stage = GroupStage(self)
        request = find_coordinator.Request(key="g", coordinator_keys=["g", "", "ß"])
        for version in find_coordinator.API.versions:
            answer = stage.call(find_coordinator.API, version, request)
            rows = answer.coordinators if version >= 4 else [answer]
            self.assertEqual(
                [(one.error_code, one.node_id, one.host, one.port) for one in rows],
                [(0, stage.node_id, "10.0.0.7", 9092)] * (3 if version >= 4 else 1),
            )
            if version >= 4:
                self.assertEqual([one.key for one in rows], ["g", "", "ß"])
