"""Groups that several gateways share: which one has which, and how a group goes from one to another."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kgw.engine.memory_state import MemoryStateStore
from kgw.group_model import CommittedOffset
from kgw.groups.slots import slot_of
from kgw.test.coordinator_stage import CoordinatorStage
from kgw.test.stage import START, HeldStore

SLOTS = 50


def java_hash(text: str) -> int:
    """C{String.hashCode}, as its documentation has it."""
    encoded = text.encode("utf-16-be", "surrogatepass")
    units = [int.from_bytes(encoded[at : at + 2], "big") for at in range(0, len(encoded), 2)]
    number: int = sum([unit * 31**power for power, unit in enumerate(reversed(units))]) % (1 << 32)
    return number - (1 << 32) if number >= 1 << 31 else number


class SlotTests(SynchronousTestCase):
    """The slot of a group is the partition of C{__consumer_offsets} that Kafka would keep it in."""

    def test_known(self) -> None:
        """Numbers that Kafka's own tools give."""
        self.assertEqual([slot_of(name, 50) for name in ("", "test-group", "console-consumer-1")], [0, 12, 24])

    def test_the_least_number(self) -> None:
        """Java has no absolute value of it, and Kafka takes 0."""
        self.assertEqual(java_hash("polygenelubricants"), -(1 << 31))
        self.assertEqual(slot_of("polygenelubricants", 50), 0)

    @settings(deadline=None, max_examples=200)
    @given(st.text(alphabet=st.characters(), max_size=40))
    def test_any(self, name: str) -> None:
        """As computed by the definition."""
        number = java_hash(name)
        self.assertEqual(slot_of(name, SLOTS), 0 if number == -(1 << 31) else abs(number) % SLOTS)


class SharedGroupsTests(SynchronousTestCase):
    """Two coordinators over one store."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(START)
        self.store = HeldStore()
        self.successResultOf(self.store.open())
        self.first, self.second = (CoordinatorStage(self, self.store, self.clock, slots=SLOTS) for _ in range(2))
        self.slot = slot_of("g", SLOTS)

    def take(self, stage: CoordinatorStage) -> None:
        self.successResultOf(stage.groups.take([self.slot]))

    def refusals(self, stage: CoordinatorStage) -> set[str | None]:
        """How all that may be asked about a group is refused."""
        member = self.member
        groups = stage.groups
        return {
            stage.refusal(stage.join("g")),
            stage.refusal(stage.join("g", member.member_id)),
            stage.refusal(stage.sync("g", member)),
            stage.beat("g", member),
            stage.refusal(stage.begin_commit("g", {("t", 0): 9}, -1, "")),
            stage.refusal(groups.committed("g")),
            stage.refusal(groups.describe("g")),
            stage.refusal(groups.delete_group("g")),
            stage.refusal(groups.delete_offsets("g", [("t", 0)])),
        }

    def test_only_one_has_a_group(self) -> None:
        """Whoever asks another gateway is told to look for the coordinator; so he is after the group went on."""
        self.take(self.first)
        (self.member,) = self.first.stable("g", 1)
        self.assertEqual(self.refusals(self.second), {"NOT_COORDINATOR"})
        self.successResultOf(self.first.groups.release([self.slot]))
        self.assertEqual(self.refusals(self.first), {"NOT_COORDINATOR"})

    def test_a_group_goes_on_elsewhere(self) -> None:
        """Members keep their generation, and offsets their place."""
        self.take(self.first)
        member, other = self.first.stable("g", 2)
        self.first.get(self.first.begin_commit("g", {("t", 0): 7}, member.generation_id, member.member_id))
        self.successResultOf(self.first.groups.release([self.slot]))
        self.take(self.second)
        self.assertEqual([self.second.beat("g", one) for one in (member, other)], [None, None])
        self.assertEqual(self.second.get(self.second.groups.committed("g")), {("t", 0): CommittedOffset(7)})
        self.assertEqual(self.first.groups.census(), [])

    def test_who_waits_is_told(self) -> None:
        """A member that waits for the others does not wait for a coordinator that is none any more."""
        self.take(self.first)
        self.first.stable("g", 1)
        waiting = self.first.join("g")
        self.assertNoResult(waiting)
        self.first.groups.release([self.slot])
        self.assertEqual(self.first.refusal(waiting), "NOT_COORDINATOR")

    def test_what_is_on_its_way_is_stored_first(self) -> None:
        """The next coordinator may read once a release has fired, and not before."""
        self.take(self.first)
        self.store.hold = True
        committing = self.first.begin_commit("g", {("t", 0): 7}, -1, "")
        released = self.first.groups.release([self.slot])
        self.assertNoResult(released)
        self.store.let_one_through()
        self.successResultOf(released)
        self.assertIsNone(self.first.refusal(committing))
        self.store.hold = False
        self.take(self.second)
        self.assertEqual(self.second.get(self.second.groups.committed("g")), {("t", 0): CommittedOffset(7)})

    def test_other_groups_stay(self) -> None:
        """A slot that goes takes no other one with it, and one that comes brings no other one."""
        other = next(name for name in map(str, range(99)) if slot_of(name, SLOTS) != self.slot)
        self.successResultOf(self.first.groups.take([self.slot, slot_of(other, SLOTS)]))
        for name in ("g", other):
            self.first.stable(name, 1)
        self.successResultOf(self.first.groups.release([self.slot]))
        self.take(self.second)
        self.assertEqual((self.first.group_ids(), self.second.group_ids()), ([other], ["g"]))

    def test_no_session_ends_meanwhile(self) -> None:
        """A group that is not here any more has no alarm here: it does not throw out members that beat elsewhere."""
        self.take(self.first)
        (member,) = self.first.stable("g", 1)
        self.successResultOf(self.first.groups.release([self.slot]))
        self.take(self.second)
        for _ in range(4):
            self.clock.advance(5)
            self.assertIsNone(self.second.beat("g", member))
        third = CoordinatorStage(self, self.store, self.clock, slots=SLOTS)
        self.take(third)
        self.assertIsNone(third.beat("g", member))

    def test_a_store_that_cannot_be_read(self) -> None:
        """The slot is not taken, and may be later."""
        closed = MemoryStateStore()
        stage = CoordinatorStage(self, closed_later(self, closed), self.clock, slots=SLOTS)
        self.successResultOf(closed.close())
        self.assertEqual(stage.refusal(stage.groups.take([self.slot])), "KAFKA_STORAGE_ERROR")
        self.assertEqual(stage.refusal(stage.join("g")), "NOT_COORDINATOR")
        self.successResultOf(closed.open())
        self.take(stage)
        self.assertEqual(len(stage.stable("g", 1)), 1)


def closed_later(test: SynchronousTestCase, store: MemoryStateStore) -> MemoryStateStore:
    """A store that is open for now."""
    test.successResultOf(store.open())
    return store
