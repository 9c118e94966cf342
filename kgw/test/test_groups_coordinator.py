"""The coordinator, groups over a store: durability, alarms, restarts, administration, start and stop."""

from __future__ import annotations

from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kgw.errors import ErrorCode
from kgw.group_model import CommittedOffset, GroupListing, Joined, Leaving
from kgw.groups.coordinator import GroupCoordinator
from kgw.groups.effects import GroupLimits
from kgw.test.coordinator_stage import CoordinatorStage
from kgw.test.stage import HeldStore, Stage

T0 = ("t", 0)


class MembershipTests(SynchronousTestCase):
    """Joining, syncing, heartbeats and leaving, end to end."""

    def setUp(self) -> None:
        self.stage = CoordinatorStage(self)

    def test_a_generation(self) -> None:
        """Members join, the leader assigns, each gets its own."""
        first = self.stage.stable("g", 1)[0]
        second = self.stage.join("g")
        self.assertNoResult(second)
        self.assertEqual(self.stage.beat("g", first), "REBALANCE_IN_PROGRESS")
        again = self.stage.join("g", first.member_id)
        leader, follower = self.stage.get(again), self.stage.get(second)
        self.assertEqual((leader.generation_id, follower.generation_id), (2, 2))
        self.assertEqual({member.member_id for member in leader.members}, {leader.member_id, follower.member_id})
        waiting = self.stage.sync("g", follower)
        self.assertNoResult(waiting)
        for answer, member in ((self.stage.sync("g", leader), leader), (waiting, follower)):
            self.assertEqual(self.stage.get(answer).assignment, member.member_id.encode())
        self.assertEqual([self.stage.beat("g", member) for member in (leader, follower)], [None, None])

    def test_without_a_group(self) -> None:
        """A group id is needed, and a group, by all but a new member."""
        member = Joined(ErrorCode.NONE, 1, None, None, "m", "m")
        for group_id, code in (("", "INVALID_GROUP_ID"), ("nobody", "UNKNOWN_MEMBER_ID")):
            self.assertEqual(self.stage.refusal(self.stage.join(group_id, "m")), code)
            self.assertEqual(self.stage.refusal(self.stage.sync(group_id, member)), code)
            self.assertEqual(self.stage.beat(group_id, member), code)
            self.assertEqual(self.stage.refusal(self.stage.groups.leave(group_id, [Leaving("m", None)])), code)
        self.assertEqual(self.stage.group_ids(), [])

    def test_a_refused_join_makes_no_group(self) -> None:
        """Nothing is remembered for who offers nothing, or asks for a session that is not allowed."""
        self.assertEqual(self.stage.refusal(self.stage.join("g", protocol_type="")), "INCONSISTENT_GROUP_PROTOCOL")
        self.stage.session_ms = 1
        self.assertEqual(self.stage.refusal(self.stage.join("g")), "INVALID_SESSION_TIMEOUT")
        self.assertEqual(self.stage.group_ids(), [])

    def test_leaving(self) -> None:
        """The others are told to join again; with the last one the group is empty."""
        members = self.stage.stable("g", 2)
        (left,) = self.stage.leave("g", members[1].member_id)
        self.assertEqual((left.member_id, left.error), (members[1].member_id, ErrorCode.NONE))
        self.assertEqual(self.stage.beat("g", members[0]), "REBALANCE_IN_PROGRESS")
        self.stage.leave("g", members[0].member_id)
        self.assertEqual(self.stage.state("g"), "Empty")
        (row,) = self.stage.leave("g", members[0].member_id)
        self.assertEqual(row.error, ErrorCode.UNKNOWN_MEMBER_ID)

    def test_a_client_that_goes_away(self) -> None:
        """A connection that ends while its join waits does not hold the group up for longer than its session."""
        members = self.stage.stable("g", 2)
        waiting = self.stage.join("g", members[0].member_id)
        self.assertNoResult(waiting)
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        other = self.stage.join("g", members[1].member_id)
        self.stage.clock.advance(10)
        self.assertEqual(self.stage.get(other).leader, members[1].member_id)

    def test_history(self) -> None:
        """It tells who did what, by which software, and stays when the group is deleted."""
        member = self.stage.stable("g", 1)[0]
        self.stage.groups.leave("g", [Leaving(member.member_id, None, "done for today")])
        self.stage.get(self.stage.groups.delete_group("g"))
        text = "\n".join(self.stage.texts("g"))
        for part in (member.member_id, "tester 1.0", "done for today", "deleted"):
            self.assertIn(part, text)
        self.assertEqual(self.stage.texts("nobody"), [])


class AlarmTests(SynchronousTestCase):
    """One alarm per group, moved only when it must be."""

    def setUp(self) -> None:
        self.stage = CoordinatorStage(self)
        self.idle = len(self.stage.clock.getDelayedCalls())

    def alarms(self) -> int:
        return len(self.stage.clock.getDelayedCalls()) - self.idle

    def test_one_per_group(self) -> None:
        """However many members a group has; none without members."""
        self.stage.stable("g", 5)
        self.stage.stable("h", 1)
        self.assertEqual(self.alarms(), 2)
        self.stage.clock.advance(10)
        self.assertEqual((self.stage.state("g"), self.stage.state("h")), ("Empty", "Empty"))
        self.assertEqual(self.alarms(), 0)

    def test_heartbeats_leave_it_alone(self) -> None:
        """A heartbeat neither makes nor moves a timer, and the session ends when it should all the same."""
        (member,) = self.stage.stable("g", 1)
        before = self.stage.clock.getDelayedCalls()
        times = [call.getTime() for call in before]
        for _ in range(5):
            self.stage.clock.advance(1)
            self.assertIsNone(self.stage.beat("g", member))
        after = self.stage.clock.getDelayedCalls()
        self.assertEqual([id(call) for call in after], [id(call) for call in before])
        self.assertEqual([call.getTime() for call in after], times)
        self.stage.clock.advance(9.9)
        self.assertEqual(self.stage.state("g"), "Stable")
        self.stage.clock.advance(0.1)
        self.assertEqual(self.stage.state("g"), "Empty")

    def test_an_earlier_deadline(self) -> None:
        """A member with a shorter session is not waited for longer."""
        members = self.stage.stable("g", 1)
        self.stage.session_ms = 6_000
        short = self.stage.join("g")
        joined = self.stage.get(self.stage.join("g", members[0].member_id)), self.stage.get(short)
        for waiting in [self.stage.sync("g", member) for member in reversed(joined)]:
            self.stage.get(waiting)
        self.stage.clock.advance(5)
        self.stage.beat("g", joined[0])
        self.stage.clock.advance(1.1)
        self.assertEqual(self.stage.beat("g", joined[0]), "REBALANCE_IN_PROGRESS")
        self.assertEqual(self.stage.beat("g", joined[1]), "UNKNOWN_MEMBER_ID")


class DurabilityTests(SynchronousTestCase):
    """Nobody is told what a crash could take back."""

    def setUp(self) -> None:
        self.store = HeldStore()
        self.successResultOf(self.store.open())
        self.stage = CoordinatorStage(self, store=self.store)

    def two_joined(self) -> tuple[Joined, Joined]:
        """The leader and a follower of a generation that has no assignments yet."""
        (first,) = self.stage.stable("g", 1)
        other = self.stage.join("g")
        return self.stage.get(self.stage.join("g", first.member_id)), self.stage.get(other)

    def test_assignments_wait_for_the_store(self) -> None:
        """No member is told its assignment before it is durable, neither one that asks meanwhile."""
        leader, follower = self.two_joined()
        self.store.hold = True
        leads = self.stage.sync("g", leader)
        follows = self.stage.sync("g", follower)
        self.assertNoResult(leads)
        self.assertNoResult(follows)
        self.assertIsNone(self.stage.beat("g", leader))
        self.store.let_one_through()
        self.assertEqual(self.stage.get(leads).assignment, leader.member_id.encode())
        self.assertEqual(self.stage.get(follows).assignment, follower.member_id.encode())

    def test_assignments_that_cannot_be_stored(self) -> None:
        """Those who wait are refused, nobody keeps an assignment that was not stored, the group recovers."""
        leader, follower = self.two_joined()
        follows = self.stage.sync("g", follower)
        self.store.broken = True
        leads = self.stage.sync("g", leader)
        self.assertEqual(self.stage.refusal(leads), "COORDINATOR_NOT_AVAILABLE")
        self.assertEqual(self.stage.refusal(follows), "COORDINATOR_NOT_AVAILABLE")
        self.assertEqual(self.stage.beat("g", leader), "REBALANCE_IN_PROGRESS")
        self.assertEqual(self.stage.beat("g", follower), "REBALANCE_IN_PROGRESS")
        self.store.broken = False
        other = self.stage.join("g", follower.member_id)
        leader = self.stage.get(self.stage.join("g", leader.member_id))
        self.assertEqual(leader.generation_id, self.stage.get(other).generation_id)
        self.assertEqual(self.stage.get(self.stage.sync("g", leader)).assignment, leader.member_id.encode())

    def test_leaving_waits_for_the_store(self) -> None:
        """The last member's leave is answered when the group is durably empty, or refused."""
        (member,) = self.stage.stable("g", 1)
        self.store.hold = True
        leaving = self.stage.groups.leave("g", [Leaving(member.member_id, None)])
        self.assertNoResult(leaving)
        self.store.let_one_through()
        self.assertEqual(self.stage.get(leaving)[0].error, ErrorCode.NONE)
        self.store.hold = False
        (member,) = self.stage.stable("h", 1)
        self.store.broken = True
        leaving = self.stage.groups.leave("h", [Leaving(member.member_id, None)])
        self.assertEqual(self.stage.refusal(leaving), "COORDINATOR_NOT_AVAILABLE")
        self.assertEqual(self.stage.state("h"), "Empty")

    def test_cancelled_while_it_is_stored(self) -> None:
        """A client that goes away meanwhile disturbs nobody."""
        leader, follower = self.two_joined()
        follows = self.stage.sync("g", follower)
        self.store.hold = True
        leads = self.stage.sync("g", leader)
        leads.cancel()
        self.failureResultOf(leads, CancelledError)
        self.store.let_one_through()
        self.assertEqual(self.stage.get(follows).assignment, follower.member_id.encode())
        self.assertEqual(self.stage.state("g"), "Stable")

    def test_a_static_member_that_restarts(self) -> None:
        """Its new id is durable before it hears of it, so the next restart finds it."""
        first = self.stage.get(self.stage.join("g", instance_id="one"))
        self.stage.get(self.stage.sync("g", first, "one"))
        self.store.hold = True
        again = self.stage.join("g", instance_id="one")
        self.assertNoResult(again)
        self.store.let_one_through()
        second = self.stage.get(again)
        self.assertNotEqual(second.member_id, first.member_id)
        self.assertEqual(second.generation_id, first.generation_id)
        self.store.hold = False
        after = self.stage.restarted()
        self.assertEqual(self.stage.get(after.sync("g", second, "one")).assignment, first.member_id.encode())


class RestartTests(SynchronousTestCase):
    """Another process over the same facts."""

    def setUp(self) -> None:
        self.stage = CoordinatorStage(self)

    def test_a_stable_group_goes_on(self) -> None:
        """Members heartbeat, commit and sync in the same generation, nobody joins again."""
        members = self.stage.stable("g", 3)
        self.stage.get(self.stage.begin_commit("g", {T0: 5}, members[0].generation_id, members[0].member_id))
        before = self.stage.get(self.stage.groups.describe("g"))
        after = self.stage.restarted()
        for member in members:
            self.assertIsNone(after.beat("g", member))
            self.assertEqual(after.get(after.sync("g", member)).assignment, member.member_id.encode())
        after.get(after.begin_commit("g", {T0: 6}, members[1].generation_id, members[1].member_id))
        self.assertEqual(after.get(after.groups.describe("g")), before)
        self.assertEqual(after.restarted().committed("g"), {T0: CommittedOffset(6)})

    def test_members_that_did_not_come_back(self) -> None:
        """They time out as ever."""
        members = self.stage.stable("g", 2)
        after = self.stage.restarted()
        after.clock.advance(9)
        self.assertIsNone(after.beat("g", members[0]))
        after.clock.advance(1)
        self.assertEqual(after.beat("g", members[0]), "REBALANCE_IN_PROGRESS")

    def test_amid_a_rebalance(self) -> None:
        """The last stable generation is what there was; its members join again from there."""
        members = self.stage.stable("g", 2)
        self.stage.join("g")
        self.stage.join("g", members[0].member_id)
        after = self.stage.restarted()
        self.assertEqual(after.state("g"), "Stable")
        self.assertIsNone(after.beat("g", members[1]))
        leader = after.join("g", members[0].member_id)
        self.assertEqual(after.beat("g", members[1]), "REBALANCE_IN_PROGRESS")
        after.join("g", members[1].member_id)
        self.assertGreater(after.get(leader).generation_id, members[0].generation_id)

    def test_an_empty_group(self) -> None:
        """It stays empty, and generations go on from where they were."""
        (member,) = self.stage.stable("g", 1)
        self.stage.commit("h", {T0: CommittedOffset(1)})
        self.stage.leave("g", member.member_id)
        after = self.stage.restarted()
        self.assertEqual([after.state(group_id) for group_id in ("g", "h")], ["Empty", "Empty"])
        self.assertGreater(after.stable("g", 1)[0].generation_id, member.generation_id)

    def test_a_damaged_state(self) -> None:
        """The group's members join anew; its offsets, and all other groups, are as they were; the log says so."""
        (member,) = self.stage.stable("g", 1)
        (other,) = self.stage.stable("h", 1)
        self.stage.get(self.stage.begin_commit("g", {T0: 5}, member.generation_id, member.member_id))
        self.stage.get(self.stage.store.commit({"groups/g/state": b"nonsense"}))
        after = self.stage.restarted()
        self.assertEqual(after.beat("g", member), "UNKNOWN_MEMBER_ID")
        self.assertIsNone(after.beat("h", other))
        self.assertEqual(after.committed("g"), {T0: CommittedOffset(5)})
        self.assertEqual(after.get(after.store.get("damaged/groups/g/state")), b"nonsense")

    def test_a_group_of_several_facts(self) -> None:
        """A group too large for one fact comes back whole, shrinks, and leaves nothing behind when it is deleted."""
        topics = [f"topic-{number:06}-{'x' * 200}" for number in range(2_000)]
        members = self.stage.stable("g", 3, topics=topics)
        self.assertIn("groups/g/state/1", self.stage.facts())
        after = self.stage.restarted()
        for member in members:
            self.assertIsNone(after.beat("g", member))
        for member in members:
            after.leave("g", member.member_id)
        self.assertEqual(list(after.facts()), ["groups/g/state"])
        after.get(after.groups.delete_group("g"))
        self.assertEqual(after.facts(), {})


class AdminTests(SynchronousTestCase):
    """Describing, listing and deleting groups."""

    def setUp(self) -> None:
        self.store = HeldStore()
        self.successResultOf(self.store.open())
        self.stage = CoordinatorStage(self, store=self.store)

    def test_describe(self) -> None:
        """Members with their hosts and assignments; an unknown group is an error."""
        (member,) = self.stage.stable("g", 1)
        description = self.stage.get(self.stage.groups.describe("g"))
        self.assertEqual((description.state, description.protocol_type), ("Stable", "consumer"))
        (shown,) = description.members
        self.assertEqual(
            (shown.member_id, shown.client_id, shown.client_host, shown.assignment),
            (member.member_id, "client", "/10.0.0.1", member.member_id.encode()),
        )
        self.assertEqual(self.stage.refusal(self.stage.groups.describe("nobody")), "GROUP_ID_NOT_FOUND")

    def test_list(self) -> None:
        """By state and type, in any case."""
        self.stage.stable("b", 1)
        self.stage.commit("a", {T0: CommittedOffset(1)})
        stable, empty = GroupListing("b", "consumer", "Stable", "classic"), GroupListing("a", "", "Empty", "classic")
        listed = self.stage.groups.list_groups
        self.assertEqual(self.stage.get(listed()), [empty, stable])
        self.assertEqual(self.stage.get(listed(["stable"])), [stable])
        self.assertEqual(self.stage.get(listed(["Empty", "Dead"], ["Classic"])), [empty])
        self.assertEqual(self.stage.get(listed(["NoSuchState"])), [])
        self.assertEqual(self.stage.get(listed([], ["consumer"])), [])

    def test_delete(self) -> None:
        """An empty group goes with all it has, also what is on its way to the store; one with members stays."""
        (member,) = self.stage.stable("g", 1)
        self.assertEqual(self.stage.refusal(self.stage.groups.delete_group("g")), "NON_EMPTY_GROUP")
        self.assertEqual(self.stage.refusal(self.stage.groups.delete_group("nobody")), "GROUP_ID_NOT_FOUND")
        self.stage.leave("g", member.member_id)
        self.stage.commit("g", {T0: CommittedOffset(1)})
        self.store.hold = True
        late = self.stage.begin_commit("g", {("t", 1): 2}, -1, "")
        deleted = self.stage.groups.delete_group("g")
        self.assertNoResult(deleted)
        while self.store.held:
            self.store.let_one_through()
        self.successResultOf(late)
        self.successResultOf(deleted)
        self.assertEqual(self.stage.group_ids(), [])
        self.assertEqual(self.stage.committed("g"), {})
        self.assertEqual(self.stage.facts(), {})

    def test_delete_under_way(self) -> None:
        """Meanwhile nobody joins or commits, and it is not deleted twice."""
        self.stage.commit("g", {T0: CommittedOffset(1)})
        self.store.hold = True
        deleted = self.stage.groups.delete_group("g")
        self.assertEqual(self.stage.refusal(self.stage.join("g")), "COORDINATOR_NOT_AVAILABLE")
        self.assertEqual(self.stage.refusal(self.stage.begin_commit("g", {T0: 1}, -1, "")), "COORDINATOR_NOT_AVAILABLE")
        self.assertEqual(self.stage.refusal(self.stage.groups.delete_group("g")), "GROUP_ID_NOT_FOUND")
        self.store.let_one_through()
        self.successResultOf(deleted)
        self.store.hold = False
        self.assertEqual(self.stage.stable("g", 1)[0].generation_id, 1)

    def test_delete_that_cannot_be_stored(self) -> None:
        """The group is there as before."""
        (member,) = self.stage.stable("g", 1)
        self.stage.leave("g", member.member_id)
        self.stage.commit("g", {T0: CommittedOffset(1)})
        self.store.broken = True
        self.assertEqual(self.stage.refusal(self.stage.groups.delete_group("g")), "COORDINATOR_NOT_AVAILABLE")
        self.store.broken = False
        self.assertEqual(self.stage.state("g"), "Empty")
        self.assertEqual(self.stage.committed("g"), {T0: CommittedOffset(1)})
        self.assertGreater(self.stage.stable("g", 1)[0].generation_id, member.generation_id)


class LifeTests(SynchronousTestCase):
    """Before the start, and after the stop."""

    def test_loading(self) -> None:
        """Whoever comes too early is told to come again."""
        store = HeldStore()
        groups = GroupCoordinator(store, Clock())
        stage = CoordinatorStage(self)
        self.assertEqual(stage.refusal(groups.heartbeat("g", 1, "m")), "COORDINATOR_LOAD_IN_PROGRESS")
        self.assertEqual(stage.refusal(groups.committed("g")), "COORDINATOR_LOAD_IN_PROGRESS")
        self.assertEqual(stage.refusal(groups.start()), "KAFKA_STORAGE_ERROR")
        self.successResultOf(groups.stop())

    def test_stop(self) -> None:
        """All who wait are told, no timer is left, what is on its way gets to the store."""
        store = HeldStore()
        self.successResultOf(store.open())
        stage = CoordinatorStage(self, store=store, limits=GroupLimits(initial_rebalance_delay_ms=3_000))
        waiting = stage.join("g")
        self.assertNoResult(waiting)
        store.hold = True
        commit = stage.begin_commit("h", {T0: 5}, -1, "")
        stopped = stage.groups.stop()
        self.assertEqual(stage.refusal(waiting), "NOT_COORDINATOR")
        self.assertNoResult(stopped)
        self.assertEqual(stage.clock.getDelayedCalls(), [])
        self.assertEqual(stage.refusal(stage.join("g")), "COORDINATOR_NOT_AVAILABLE")
        self.assertEqual(stage.refusal(stage.begin_commit("h", {T0: 5}, -1, "")), "COORDINATOR_NOT_AVAILABLE")
        store.let_one_through()
        self.successResultOf(stopped)
        self.successResultOf(commit)
        store.hold = False
        self.assertEqual(stage.restarted().committed("h"), {T0: CommittedOffset(5)})

    def test_with_the_catalog(self) -> None:
        """Deleting a topic through the catalog takes the offsets with it."""
        stage = Stage(self)
        stage.create("t")
        groups = CoordinatorStage(self)
        request = groups.commit_request("g", {T0: CommittedOffset(5)})
        self.successResultOf(stage.groups.commit(request))
        self.successResultOf(stage.topics.delete("t"))
        self.assertEqual(self.successResultOf(stage.groups.committed("g")), {})
