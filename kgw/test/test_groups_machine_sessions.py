"""Members of a classic group that are slow, die, leave, or are there again after a restart of the node."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kgw.errors import ErrorCode, KafkaError
from kgw.group_model import Leaving
from kgw.groups.effects import GroupSnapshot
from kgw.test.machine_stage import REBALANCE, SESSION, START, MachineStage

#: When a new member's join that waits is ended, in seconds.
NEW_MEMBER = 300


class SlowMemberTests(SynchronousTestCase):
    """Members that do not come in time."""

    def test_member_that_does_not_rejoin_is_removed_at_the_rebalance_timeout(self) -> None:
        stage = MachineStage()
        leader, follower = stage.stable(None, None)
        ticket = stage.join(leader)
        stage.beat(REBALANCE - 1, follower)
        self.assertNotIn(ticket, stage.answers)
        stage.beat(1, follower)
        self.assertEqual([member.member_id for member in stage.joined(ticket).members], [leader])
        self.assertTrue(any("did not join in time" in note and follower in note for note in stage.notes))

    def test_longest_rebalance_timeout_counts(self) -> None:
        stage = MachineStage()
        leader, follower = stage.stable(None, None)
        ticket = stage.join(leader, rebalance=2 * REBALANCE)
        stage.beat(2 * REBALANCE - 1, follower)
        self.assertNotIn(ticket, stage.answers)
        stage.beat(1, follower)
        self.assertIn(ticket, stage.answers)

    def test_dead_member_does_not_block_a_quick_restart(self) -> None:
        """Its session ends, which is long before the rebalance timeout, and the others go on."""
        stage = MachineStage()
        stage.stable(None)
        restarted = stage.join(stage.new_id(session=20), session=20)
        stage.advance(SESSION)
        joined = stage.joined(restarted)
        self.assertEqual(joined.leader, joined.member_id)

    def test_crash_while_it_waits_is_noticed_by_the_session(self) -> None:
        stage = MachineStage()
        leader, follower, third = stage.stable(None, None, None)
        ticket = stage.join(leader)
        gone = stage.join(follower)
        stage.cancel(gone)
        stage.beat(SESSION - 1, third)
        stage.join(third)
        stage.advance(1)
        self.assertEqual(len(stage.joined(ticket).members), 2)
        self.assertNotIn(gone, stage.answers)

    def test_newcomer_that_hangs_up_before_it_knows_its_id_is_forgotten_at_once(self) -> None:
        stage = MachineStage()
        (leader,) = stage.stable(None)
        stage.cancel(stage.join(needs_member_id=False))
        self.assertEqual(stage.joined(stage.join(leader)).members[0].member_id, leader)
        self.assertEqual(stage.machine.member_count, 1)

    def test_waiting_members_have_no_session(self) -> None:
        stage = MachineStage()
        leader, follower, third = stage.stable(None, None, None)
        ticket = stage.join(leader)
        stage.beat(5 * SESSION, follower, third)
        self.assertEqual(stage.machine.member_count, 3)
        stage.join(follower)
        stage.join(third)
        self.assertIn(ticket, stage.answers)
        stage.sync(follower)
        stage.beat(5 * SESSION, leader, third)
        self.assertEqual(stage.machine.member_count, 3)

    def test_new_member_is_sent_away_after_five_minutes(self) -> None:
        stage = MachineStage()
        (leader,) = stage.stable(None)
        stage.join(leader, rebalance=2 * NEW_MEMBER)
        stage.sync(leader)
        ticket = stage.join(needs_member_id=False)
        stage.beat(NEW_MEMBER - 1, leader)
        self.assertNotIn(ticket, stage.answers)
        stage.beat(1, leader)
        self.assertEqual(stage.refused(ticket), ErrorCode.UNKNOWN_MEMBER_ID)

    def test_session_ends_without_heartbeats(self) -> None:
        stage = MachineStage()
        leader, follower = stage.stable(None, None)
        stage.beat(SESSION, leader)
        self.assertEqual(stage.machine.member_count, 1)
        self.assertEqual(stage.machine.state, "PreparingRebalance")
        self.assertTrue(any(follower in note and "timed out" in note for note in stage.notes))
        with self.assertRaises(KafkaError) as raised:
            stage.heartbeat(follower)
        self.assertEqual(raised.exception.code, ErrorCode.UNKNOWN_MEMBER_ID)

    def test_heartbeats_amid_a_rebalance_keep_the_session(self) -> None:
        stage = MachineStage()
        _, follower = stage.preparing(None, None)
        for _ in range(5):
            stage.advance(SESSION - 1)
            with self.assertRaises(KafkaError) as raised:
                stage.heartbeat(follower)
            self.assertEqual(raised.exception.code, ErrorCode.REBALANCE_IN_PROGRESS)
        self.assertEqual(stage.machine.member_count, 2)

    def test_commits_keep_the_session(self) -> None:
        stage = MachineStage()
        (leader,) = stage.stable(None)
        for _ in range(5):
            stage.advance(SESSION - 1)
            stage.machine.check_commit(stage.now, 1, leader, None)
        self.assertEqual(stage.machine.member_count, 1)

    def test_leader_that_does_not_sync_in_time_is_removed(self) -> None:
        stage = MachineStage()
        leader, follower = stage.completing(None, None)
        wait = stage.sync(follower)
        stage.beat(REBALANCE, leader)
        self.assertEqual(stage.refused(wait), ErrorCode.REBALANCE_IN_PROGRESS)
        self.assertTrue(any("did not ask for their assignment" in note and leader in note for note in stage.notes))
        self.assertEqual(stage.joined(stage.join(follower)).leader, follower)

    def test_follower_that_never_syncs_is_removed_from_a_stable_group(self) -> None:
        stage = MachineStage()
        leader, follower = stage.completing(None, None)
        stage.sync(leader, {leader: b"a", follower: b"b"})
        self.assertEqual(stage.machine.state, "Stable")
        stage.beat(REBALANCE, leader, follower)
        self.assertEqual((stage.machine.state, stage.machine.member_count), ("PreparingRebalance", 1))

    def test_sync_in_time_ends_the_wait_for_syncs(self) -> None:
        stage = MachineStage()
        leader, follower = stage.completing(None, None)
        stage.sync(leader, {leader: b"a", follower: b"b"})
        stage.sync(follower)
        stage.beat(3 * REBALANCE, leader, follower)
        self.assertEqual(stage.machine.state, "Stable")

    def test_member_that_dies_amid_sync_is_replaced(self) -> None:
        stage = MachineStage()
        leader, follower = stage.completing(None, None)
        wait = stage.sync(follower)
        stage.advance(SESSION)
        self.assertEqual(stage.refused(wait), ErrorCode.REBALANCE_IN_PROGRESS)
        joined = stage.joined(stage.join(follower))
        self.assertEqual((joined.leader, len(joined.members)), (follower, 1))
        self.assertNotEqual(leader, follower)

    def test_follower_that_hangs_up_amid_sync_can_come_again(self) -> None:
        stage = MachineStage()
        leader, follower = stage.completing(None, None)
        lost = stage.sync(follower)
        stage.cancel(lost)
        wait = stage.sync(follower)
        stage.sync(leader, {leader: b"a", follower: b"b"})
        self.assertEqual(stage.synced(wait).assignment, b"b")
        self.assertNotIn(lost, stage.answers)

    def test_everybody_dead_leaves_an_empty_group_without_timers(self) -> None:
        for prepare in ("stable", "preparing", "completing"):
            stage = MachineStage()
            getattr(stage, prepare)(None, "rack1", None)
            stage.advance(4 * NEW_MEMBER)
            # members whose request waits do not time out: they are there, as far as anyone knows
            for number in range(30):
                stage.cancel(f"join{number}")
            stage.advance(4 * NEW_MEMBER)
            self.assertEqual(stage.machine.state, "Empty", prepare)
            self.assertIsNone(stage.machine.next_deadline())


class LeaveTests(SynchronousTestCase):
    """Members that say goodbye."""

    def test_leader_that_leaves_is_followed_by_another(self) -> None:
        stage = MachineStage()
        leader, second, third = stage.stable(None, None, None)
        self.assertEqual(stage.leave(leader, reason="shutting down").error, ErrorCode.NONE)
        tickets = [stage.join(third), stage.join(second)]
        self.assertEqual({stage.joined(ticket).leader for ticket in tickets}, {second})
        self.assertTrue(any("leaves: shutting down" in note for note in stage.notes))

    def test_waiting_requests_of_one_that_leaves_are_answered(self) -> None:
        stage = MachineStage()
        leader, follower = stage.completing(None, None)
        wait = stage.sync(follower)
        stage.leave(follower)
        self.assertEqual(stage.refused(wait), ErrorCode.UNKNOWN_MEMBER_ID)
        ticket = stage.join(leader)
        self.assertEqual(len(stage.joined(ticket).members), 1)

    def test_rows_are_answered_one_by_one(self) -> None:
        stage = MachineStage()
        leader, _ = stage.stable(None, "rack1")
        leavings = [
            Leaving("", "rack1"),
            Leaving("", "rack2"),
            Leaving("x", None),
            Leaving(leader, None),
            Leaving("", None),
        ]
        rows, effects = stage.machine.leave(stage.now, leavings)
        stage.perform(effects)
        self.assertEqual([(row.member_id, row.instance_id) for row in rows], [leaving[:2] for leaving in leavings])
        unknown = ErrorCode.UNKNOWN_MEMBER_ID
        self.assertEqual([row.error for row in rows], [ErrorCode.NONE, unknown, unknown, ErrorCode.NONE, unknown])
        self.assertEqual(stage.machine.state, "Empty")
        self.assertIsNone(stage.machine.next_deadline())

    def test_last_one_missing_from_the_join_phase_leaves(self) -> None:
        stage = MachineStage()
        leader, follower = stage.stable(None, None)
        ticket = stage.join(leader)
        stage.leave(follower)
        self.assertEqual(len(stage.joined(ticket).members), 1)


class RestartTests(SynchronousTestCase):
    """What survives, and what happens where it cannot be kept."""

    def restart(self, stage: MachineStage) -> MachineStage:
        """A machine from what was stored last, a minute later."""
        snapshot = stage.persisted[-1]
        later = MachineStage(snapshot=snapshot)
        later.now = stage.now
        return later

    def test_stable_group_goes_on(self) -> None:
        stage = MachineStage()
        leader, follower = stage.stable(None, "rack1")
        later = self.restart(stage)
        self.assertEqual((later.machine.state, later.machine.generation_id), ("Stable", 2))
        self.assertEqual(later.machine.snapshot(), stage.persisted[-1])
        later.heartbeat(leader)
        self.assertEqual(later.synced(later.sync(follower, instance_id="rack1")).assignment, b"1")
        self.assertEqual(later.joined(later.join(follower, instance_id="rack1")).generation_id, 2)
        self.assertEqual(later.machine.leader, leader)
        self.assertTrue(later.machine.is_subscribed("orders"))
        self.assertFalse(later.machine.is_subscribed("payments"))

    def test_members_that_did_not_survive_time_out(self) -> None:
        stage = MachineStage()
        leader, follower = stage.stable(None, None)
        later = self.restart(stage)
        later.beat(SESSION, leader)
        self.assertEqual(later.machine.member_count, 1)
        later.advance(SESSION)
        self.assertEqual((later.machine.state, later.machine.generation_id), ("Empty", 3))
        self.assertNotEqual(leader, follower)
        self.assertIsNone(later.machine.next_deadline())

    def test_empty_group_keeps_its_generation_and_the_time(self) -> None:
        stage = MachineStage()
        (member_id,) = stage.stable(None)
        stage.leave(member_id)
        later = self.restart(stage)
        self.assertEqual((later.machine.state, later.machine.generation_id), ("Empty", 2))
        self.assertEqual((later.machine.protocol_type, later.machine.state_time), ("consumer", START))
        self.assertIsNone(later.machine.next_deadline())

    def test_nothing_to_store_amid_a_rebalance(self) -> None:
        stage = MachineStage()
        stage.preparing(None, None)
        self.assertIsNone(stage.machine.snapshot())

    def test_assignments_that_could_not_be_stored_are_made_anew(self) -> None:
        stage = MachineStage()
        leader, follower = stage.stable(None, None)
        stage.perform(stage.machine.unsaved(stage.now))
        self.assertEqual(stage.machine.state, "PreparingRebalance")
        with self.assertRaises(KafkaError) as raised:
            stage.heartbeat(follower)
        self.assertEqual(raised.exception.code, ErrorCode.REBALANCE_IN_PROGRESS)
        stage.join(leader)
        self.assertEqual(stage.joined(stage.join(follower)).generation_id, 3)

    def test_empty_group_that_could_not_be_stored_stays(self) -> None:
        stage = MachineStage()
        stage.perform(stage.machine.unsaved(stage.now))
        self.assertEqual(stage.machine.state, "Empty")
        self.assertEqual(stage.notes, ["the group could not be stored"])

    def test_stop_tells_all_who_wait_to_look_for_another_coordinator(self) -> None:
        for prepare, ask in (("preparing", "join"), ("completing", "sync")):
            stage = MachineStage()
            _, follower, _ = getattr(stage, prepare)(None, None, None)
            ticket = getattr(stage, ask)(follower)
            stored = list(stage.persisted)
            stage.perform(stage.machine.stop(stage.now))
            self.assertEqual(stage.refused(ticket), ErrorCode.NOT_COORDINATOR)
            self.assertEqual(stage.persisted, stored)
            self.assertIsNone(stage.machine.next_deadline())

    def test_deleted_group_is_forgotten(self) -> None:
        stage = MachineStage()
        (member_id,) = stage.stable(None)
        stage.leave(member_id)
        stage.new_id()
        stage.perform(stage.machine.delete(stage.now))
        self.assertEqual((stage.persisted[-1], stage.machine.pending_count), (None, 0))
        self.assertIsNone(stage.machine.next_deadline())

    def test_snapshot_without_its_leader(self) -> None:
        stage = MachineStage()
        members = stage.stable(None, None)
        snapshot = stage.persisted[-1]
        assert snapshot is not None
        odd = GroupSnapshot("g", 2, "consumer", "range", "gone", START, snapshot.members)
        self.assertEqual(MachineStage(snapshot=odd).machine.leader, members[0])
