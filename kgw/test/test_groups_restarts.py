"""What survives kill -9 of the coordinator, stores that fail for a while, clocks that are set, and groups too large."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kgw.errors import ErrorCode
from kgw.group_model import Leaving
from kgw.groups.coordinator import GroupCoordinator
from kgw.groups.effects import GroupLimits
from kgw.groups.history import GroupHistory
from kgw.groups.journal import MOST_BYTES, GroupJournal
from kgw.test.coordinator_stage import CoordinatorStage
from kgw.test.stage import START, HeldStore


class KillTests(SynchronousTestCase):
    """The process ends at the worst moment."""

    def setUp(self) -> None:
        self.store = HeldStore()
        self.successResultOf(self.store.open())
        self.stage = CoordinatorStage(self, store=self.store)

    def test_generations_are_never_given_out_twice(self) -> None:
        """A generation whose assignments nobody brought counts too, also the first of a group."""
        first = self.stage.get(self.stage.join("g"))
        after = self.stage.restarted()
        self.assertEqual(after.beat("g", first), "UNKNOWN_MEMBER_ID")
        (member,) = after.stable("g", 1)
        self.assertGreater(member.generation_id, first.generation_id)
        later = after.get(after.join("g", member.member_id))
        again = after.restarted()
        self.assertEqual(again.beat("g", member), "ILLEGAL_GENERATION")
        self.assertEqual(again.beat("g", later), "REBALANCE_IN_PROGRESS")
        self.assertGreater(again.get(again.join("g", member.member_id)).generation_id, later.generation_id)

    def test_nobody_hears_of_a_generation_that_is_not_stored(self) -> None:
        """Its members are told when it is durable, or that it could not be stored, and get another then."""
        self.store.hold = True
        waiting = self.stage.join("g")
        self.assertNoResult(waiting)
        self.store.let_one_through()
        member = self.stage.get(waiting)
        self.store.hold, self.store.broken = False, True
        self.stage.get(self.stage.groups.describe("g"))
        other = self.stage.join("g")
        refused = self.stage.join("g", member.member_id)
        self.assertEqual([self.stage.refusal(answer) for answer in (refused, other)], ["COORDINATOR_NOT_AVAILABLE"] * 2)
        self.assertEqual(self.stage.state("g"), "PreparingRebalance")

    def test_a_member_that_left(self) -> None:
        """It is not back after a restart; the others join again."""
        members = self.stage.stable("g", 3)
        self.store.hold = True
        leaving = self.stage.groups.leave("g", [Leaving(members[1].member_id, None)])
        self.assertNoResult(leaving)
        self.store.let_one_through()
        self.assertEqual(self.stage.get(leaving)[0].error, ErrorCode.NONE)
        self.store.hold = False
        after = self.stage.restarted()
        beats = [after.beat("g", member) for member in members]
        self.assertEqual(beats, ["REBALANCE_IN_PROGRESS", "UNKNOWN_MEMBER_ID", "REBALANCE_IN_PROGRESS"])
        joins = [after.join("g", members[place].member_id) for place in (0, 2)]
        joined = [after.get(join) for join in joins]
        for sync in [after.sync("g", each) for each in reversed(joined)]:
            after.get(sync)
        # nothing of the rebalance is left in the store: the next restart goes on without one
        last = after.restarted()
        self.assertEqual([last.beat("g", each) for each in joined], [None, None])

    def test_a_deleted_group_leaves_nothing(self) -> None:
        """Not even the number of its last generation."""
        (member,) = self.stage.stable("g", 1)
        self.stage.get(self.stage.join("g", member.member_id))
        self.stage.leave("g", member.member_id)
        self.stage.get(self.stage.groups.delete_group("g"))
        self.assertEqual(self.stage.facts(), {})

    def test_an_empty_group_is_stored_in_the_end(self) -> None:
        """A store that fails for a while does not bring dead members back."""
        (member,) = self.stage.stable("g", 1)
        self.store.broken = True
        self.stage.clock.advance(10)
        self.assertEqual(self.stage.state("g"), "Empty")
        self.stage.clock.pump([1] * 10)
        self.assertEqual(self.stage.restarted().state("g"), "Stable")
        self.store.broken = False
        self.stage.clock.pump([1] * 10)
        self.assertEqual(self.stage.restarted().state("g"), "Empty")
        self.assertEqual(self.stage.restarted().beat("g", member), "UNKNOWN_MEMBER_ID")

    def test_a_group_being_deleted_is_not_there(self) -> None:
        """Neither described nor listed."""
        (member,) = self.stage.stable("g", 1)
        self.stage.leave("g", member.member_id)
        self.store.hold = True
        deleting = self.stage.groups.delete_group("g")
        self.assertNoResult(deleting)
        self.assertEqual(self.stage.refusal(self.stage.groups.describe("g")), "GROUP_ID_NOT_FOUND")
        self.assertEqual(self.stage.group_ids(), [])
        self.store.let_one_through()
        self.stage.get(deleting)


class SetClockTests(SynchronousTestCase):
    """Somebody sets the time."""

    def test_sessions_go_on(self) -> None:
        """An hour forward ends no session; one that is over by the other clock ends."""
        stage = CoordinatorStage(self)
        elapsed = [5.0]
        stage.groups = GroupCoordinator(stage.store, stage.clock, stage.limits, monotonic=lambda: elapsed[0])
        stage.get(stage.groups.start())
        (member,) = stage.stable("g", 1)
        stage.clock.advance(3600)
        self.assertIsNone(stage.beat("g", member))
        self.assertEqual(stage.groups.history("g")[0].time, START)
        elapsed[0] += 11
        stage.clock.advance(11)
        self.assertEqual(stage.state("g"), "Empty")

    def test_offsets_expire_by_the_calendar(self) -> None:
        """When a group became empty is stored as a date: another process has another clock of its own."""
        stage = CoordinatorStage(self)
        (member,) = stage.stable("g", 1)
        stage.get(stage.begin_commit("g", {("t", 0): 1}, member.generation_id, member.member_id))
        stage.leave("g", member.member_id)
        for days, left in ((6.9, 1), (7.1, 0)):
            clock = Clock()
            clock.advance(START + days * 86400)
            after = CoordinatorStage(self, stage.store, clock)
            other = Clock()
            after.groups = GroupCoordinator(after.store, clock, after.limits, monotonic=other.seconds)
            after.get(after.groups.start())
            clock.advance(600)
            self.assertEqual(len(after.committed("g")), left)


class SizeTests(SynchronousTestCase):
    """What a group may hold."""

    def setUp(self) -> None:
        limits = GroupLimits(initial_rebalance_delay_ms=0, max_bytes=1_000)
        self.stage = CoordinatorStage(self, limits=limits)

    def test_a_member_that_says_too_much(self) -> None:
        """It is turned away for good; the others are not disturbed, and the history says why."""
        (member,) = self.stage.stable("g", 1)
        self.assertEqual(self.stage.refusal(self.stage.join("g", topics=["x" * 900])), "GROUP_MAX_SIZE_REACHED")
        self.assertIsNone(self.stage.beat("g", member))
        self.assertIn("kgw.group.max.bytes", self.stage.texts("g")[-1])

    def test_a_member_that_comes_to_say_too_much(self) -> None:
        """It loses its place, and what it took is free again."""
        (member,) = self.stage.stable("g", 1)
        refused = self.stage.join("g", member.member_id, topics=["x" * 1000])
        self.assertEqual(self.stage.refusal(refused), "GROUP_MAX_SIZE_REACHED")
        self.assertEqual(self.stage.state("g"), "Empty")
        for _ in range(10):
            self.stage.leave("g", self.stage.stable("g", 1, topics=["x" * 400])[0].member_id)

    def test_assignments_that_are_too_large(self) -> None:
        """They are refused as Kafka does; nothing of them is kept."""
        joined = self.stage.get(self.stage.join("g"))
        size = len(joined.member_id)
        large = self.stage.groups.sync(
            self.stage.sync_request("g", joined, {joined.member_id: bytes(1_000), "x" * size: b""})
        )
        self.assertEqual(self.stage.refusal(large), "UNKNOWN_SERVER_ERROR")
        self.assertEqual(self.stage.get(self.stage.sync("g", joined)).assignment, joined.member_id.encode())

    def test_history(self) -> None:
        """Long group ids do not make it large."""
        history = GroupHistory(most_text=10_000)
        for number in range(100):
            history.add(1.0, f"{number:04}" + "x" * 1_000, "text")
        kept = [number for number in range(100) if history.of(f"{number:04}" + "x" * 1_000)]
        self.assertEqual(kept, list(range(92, 100)))

    def test_commits_of_the_journal(self) -> None:
        """What waits goes to the store in commits of a bounded size."""
        store = HeldStore()
        self.successResultOf(store.open())
        store.hold = True
        journal, done = GroupJournal(store), list[object]()
        for number in range(5):
            puts = {f"k{number}.{part}": bytes(MOST_BYTES // 8) for part in range(4)}
            journal.write(puts, (), done.append)
        while store.held:
            self.assertLessEqual(len(store.held[0][1]), 8)
            store.let_one_through()
        self.assertEqual(done, [None] * 5)
