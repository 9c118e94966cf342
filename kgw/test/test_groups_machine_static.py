"""Static members of a classic group (KIP-345)."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kgw.errors import ErrorCode, KafkaError
from kgw.groups.effects import Persist, Reply
from kgw.test.machine_stage import REBALANCE, MachineStage, offers, subscription

TOPICS = offers("range", metadata=subscription("orders", "payments"))


class StaticMemberTests(SynchronousTestCase):
    """Members with a group.instance.id (KIP-345)."""

    def test_follower_restarts_without_a_rebalance(self) -> None:
        stage = MachineStage()
        leader, follower = stage.stable(None, "rack1")
        generation = stage.machine.generation_id
        stage.performed.clear()
        joined = stage.joined(stage.join(instance_id="rack1"))
        self.assertNotEqual(joined.member_id, follower)
        self.assertEqual((joined.generation_id, joined.leader, joined.members), (generation, leader, ()))
        self.assertEqual([type(effect) for effect in stage.performed], [Persist, Reply])
        self.assertEqual(stage.synced(stage.sync(joined.member_id, instance_id="rack1")).assignment, b"1")
        stage.heartbeat(leader)
        snapshot = stage.persisted[-1]
        assert snapshot is not None
        self.assertEqual([member.assignment for member in snapshot.members], [b"0", b"1"])

    def test_former_self_is_fenced(self) -> None:
        stage = MachineStage()
        _, follower = stage.stable(None, "rack1")
        stage.join(instance_id="rack1")
        for ask in (stage.heartbeat, stage.sync, stage.join):
            with self.assertRaises(KafkaError) as raised:
                ask(follower, instance_id="rack1")
            self.assertEqual(raised.exception.code, ErrorCode.FENCED_INSTANCE_ID)
        self.assertEqual(stage.leave(follower, "rack1").error, ErrorCode.FENCED_INSTANCE_ID)
        with self.assertRaises(KafkaError) as raised:
            stage.heartbeat(follower)
        self.assertEqual(raised.exception.code, ErrorCode.UNKNOWN_MEMBER_ID)

    def test_doubled_instance_fences_the_one_that_waits(self) -> None:
        stage = MachineStage()
        leader, _ = stage.stable(None, "rack1")
        stage.join(leader, TOPICS)
        follower = next(member.member_id for member in stage.machine.describe().members if member.instance_id)
        stage.new_id()
        first = stage.join(follower, instance_id="rack1")
        second = stage.join(instance_id="rack1")
        self.assertEqual(stage.refused(first), ErrorCode.FENCED_INSTANCE_ID)
        self.assertNotIn(second, stage.answers)

    def test_leader_restarts_with_a_newer_client(self) -> None:
        """It is told of the members, and that there is nothing to assign (KIP-814)."""
        stage = MachineStage()
        leader, follower = stage.stable("rack1", None)
        joined = stage.joined(stage.join(instance_id="rack1", may_skip_assignment=True))
        self.assertTrue(joined.skip_assignment)
        self.assertEqual(joined.leader, joined.member_id)
        self.assertEqual({member.member_id for member in joined.members}, {joined.member_id, follower})
        self.assertNotEqual(joined.member_id, leader)
        self.assertEqual(stage.synced(stage.sync(joined.member_id)).assignment, b"0")

    def test_leader_restarts_with_an_older_client(self) -> None:
        """It must not assign, so it is told that its former self leads."""
        stage = MachineStage()
        leader, _ = stage.stable("rack1", None)
        joined = stage.joined(stage.join(instance_id="rack1"))
        self.assertEqual((joined.leader, joined.members, joined.skip_assignment), (leader, (), False))
        self.assertEqual(stage.machine.leader, joined.member_id)
        self.assertEqual(stage.synced(stage.sync(joined.member_id)).assignment, b"0")

    def test_follower_restarts_with_a_newer_client(self) -> None:
        stage = MachineStage()
        stage.stable(None, "rack1")
        joined = stage.joined(stage.join(instance_id="rack1", may_skip_assignment=True))
        self.assertEqual((joined.skip_assignment, joined.members), (False, ()))

    def test_other_owned_partitions_do_not_matter(self) -> None:
        """What a consumer owned last differs after every restart."""
        stage = MachineStage()
        stage.stable(None, "rack1")
        owned = offers("range", metadata=b"\0\3" + subscription("orders")[2:] + b"owned")
        self.assertIn("rack1", stage.joined(stage.join(instance_id="rack1", protocols=owned)).member_id)
        self.assertEqual(stage.machine.state, "Stable")

    def test_other_topics_begin_a_rebalance(self) -> None:
        stage = MachineStage()
        stage.stable(None, "rack1")
        ticket = stage.join(instance_id="rack1", protocols=TOPICS)
        self.assertNotIn(ticket, stage.answers)
        self.assertEqual(stage.machine.state, "PreparingRebalance")

    def test_other_protocol_begins_a_rebalance(self) -> None:
        stage = MachineStage()
        both = offers("range", "sticky")
        leader, _ = stage.stable(None, "rack1", protocols=both)
        ticket = stage.join(instance_id="rack1", protocols=offers("sticky"))
        self.assertEqual(stage.machine.state, "PreparingRebalance")
        stage.join(leader, both)
        self.assertEqual(stage.joined(ticket).protocol_name, "sticky")

    def test_restart_amid_sync_begins_a_rebalance(self) -> None:
        """The leader may be about to assign to the former self."""
        stage = MachineStage()
        leader, follower = stage.completing(None, "rack1")
        wait = stage.sync(follower, instance_id="rack1")
        ticket = stage.join(instance_id="rack1")
        self.assertEqual(stage.refused(wait), ErrorCode.FENCED_INSTANCE_ID)
        self.assertEqual(stage.machine.state, "PreparingRebalance")
        stage.join(leader)
        self.assertIn("rack1", stage.joined(ticket).member_id)

    def test_restart_before_the_first_sync_counts_as_the_same_member(self) -> None:
        """Its former self is not waited for any more; its new one is."""
        for syncs, state in ((True, "Stable"), (False, "PreparingRebalance")):
            stage = MachineStage()
            leader, static = stage.completing(None, "rack1")
            stage.sync(leader, {leader: b"a", static: b"b"})
            joined = stage.joined(stage.join(instance_id="rack1"))
            if syncs:
                self.assertEqual(stage.synced(stage.sync(joined.member_id)).assignment, b"b")
            stage.beat(REBALANCE, leader, joined.member_id)
            self.assertEqual(stage.machine.state, state)

    def test_member_that_is_away_is_kept_until_its_session_ends(self) -> None:
        stage = MachineStage()
        leader, static, third = stage.stable(None, "rack1", None)
        stage.join(leader, rebalance=8)
        ticket = stage.join(third, rebalance=8)
        stage.join(static, instance_id="rack1", rebalance=8)
        stage.sync(leader, {static: b"s"})
        stage.sync(third)
        stage.sync(static)
        stage.leave(third)
        ticket = stage.join(leader, rebalance=8)
        stage.advance(8)
        self.assertEqual({member.instance_id for member in stage.joined(ticket).members}, {None, "rack1"})
        self.assertTrue(any("away: " in note and "instance rack1" in note for note in stage.notes))

    def test_nobody_but_static_members_that_are_away(self) -> None:
        """There is no leader to be had: the group waits until one comes, or all are gone."""
        stage = MachineStage()
        leader, static = stage.stable(None, "rack1")
        stage.heartbeat(static)
        stage.join(leader, rebalance=3)
        stage.join(static, instance_id="rack1", rebalance=3, session=100)
        stage.sync(leader, {static: b"s"})
        stage.sync(static)
        stage.leave(leader)
        stage.advance(10)
        self.assertEqual((stage.machine.state, stage.machine.member_count), ("PreparingRebalance", 1))
        joined = stage.joined(stage.join(instance_id="rack1"))
        self.assertEqual(joined.leader, joined.member_id)

    def test_unknown_instance_is_a_new_member(self) -> None:
        stage = MachineStage()
        stage.stable(None, "rack1")
        stage.join(instance_id="rack2")
        self.assertEqual((stage.machine.member_count, stage.machine.state), (3, "PreparingRebalance"))
