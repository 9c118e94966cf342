"""Committed offsets: who may commit, what is kept and for how long, and that no restart takes any of them back."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from kgw.errors import ErrorCode
from kgw.group_model import CommittedOffset
from kgw.groups.facts import KeptOffset
from kgw.groups.offsets import Audience, OffsetLimits, OffsetTable
from kgw.test.coordinator_stage import DAY_MS, CoordinatorStage
from kgw.test.stage import HeldStore

T0, T1, U0 = ("t", 0), ("t", 1), ("u", 0)


class OffsetTableTests(SynchronousTestCase):
    """L{OffsetTable}, which knows what expires."""

    def setUp(self) -> None:
        self.table = OffsetTable()
        self.table.put({T0: KeptOffset(CommittedOffset(1), 1_000), U0: KeptOffset(CommittedOffset(2), 2_000)})

    def expired(self, now_ms: int, audience: Audience) -> list[tuple[str, int]]:
        return self.table.expired(now_ms, 5_000, audience)

    def test_no_group_management(self) -> None:
        """Without members ever, each offset has its time from its commit."""
        simple = Audience(None, "Empty", 0, None)
        self.assertEqual(self.expired(5_999, simple), [])
        self.assertEqual(self.expired(6_000, simple), [T0])
        self.assertEqual(self.expired(7_000, simple), [T0, U0])

    def test_empty_group(self) -> None:
        """All offsets of a group that became empty have their time from then, however old the commits are."""
        for topics in (None, frozenset[str]()):
            empty = Audience("consumer", "Empty", 100_000, topics)
            self.assertEqual(self.expired(104_999, empty), [])
            self.assertEqual(self.expired(105_000, empty), [T0, U0])

    def test_stable_consumers(self) -> None:
        """While there are consumers, only offsets of topics that none of them subscribes to expire."""
        stable = Audience("consumer", "Stable", 0, frozenset({"t"}))
        self.assertEqual(self.expired(6_999, stable), [])
        self.assertEqual(self.expired(7_000, stable), [U0])

    def test_others(self) -> None:
        """Amid a rebalance, and while members are no consumers or say nothing of topics, nothing expires."""
        for audience in (
            Audience("consumer", "PreparingRebalance", 0, frozenset()),
            Audience("consumer", "CompletingRebalance", 0, frozenset()),
            Audience("consumer", "Stable", 0, None),
            Audience("connect", "Stable", 0, None),
        ):
            self.assertEqual(self.expired(1 << 60, audience), [])

    def test_a_time_of_its_own(self) -> None:
        """What a client of old said itself goes first, be it shorter or longer."""
        self.table.put({T0: KeptOffset(CommittedOffset(1), 1_000, 3_000)})
        self.table.put({U0: KeptOffset(CommittedOffset(1), 1_000, 50_000)})
        for audience in (Audience(None, "Empty", 0, None), Audience("consumer", "Empty", 0, frozenset())):
            self.assertEqual(self.expired(2_999, audience), [])
            self.assertEqual(self.expired(3_000, audience), [T0])
            self.assertEqual(self.expired(50_000, audience), [T0, U0])

    def test_metadata_in_utf_16_units(self) -> None:
        """The limit is Kafka's: Java's length of the string."""
        limits = OffsetLimits(max_metadata=4)
        for metadata, allowed in {
            "": True,
            "abcd": True,
            "abcde": False,
            "ääää": True,
            "😀😀": True,
            "😀😀a": False,
        }.items():
            self.assertEqual(limits.takes(metadata), allowed, metadata)


class CommitTests(SynchronousTestCase):
    """Commits and reads through the coordinator."""

    def setUp(self) -> None:
        self.stage = CoordinatorStage(self)

    def test_what_is_kept(self) -> None:
        """Offset, leader epoch and metadata come back; what was not committed is -1; all can be asked for."""
        self.assertEqual(
            self.stage.commit("g", {T0: CommittedOffset(5, 3, "here"), U0: CommittedOffset(7)}),
            {T0: ErrorCode.NONE, U0: ErrorCode.NONE},
        )
        self.assertEqual(
            self.stage.committed("g", [U0, T1]), {U0: CommittedOffset(7, -1, ""), T1: CommittedOffset(-1, -1, "")}
        )
        self.assertEqual(self.stage.committed("g"), {T0: CommittedOffset(5, 3, "here"), U0: CommittedOffset(7)})

    def test_unknown_group(self) -> None:
        """A group nobody committed to has no offsets, and is not made by asking."""
        self.assertEqual(self.stage.committed("nobody", [T0]), {T0: CommittedOffset(-1)})
        self.assertEqual(self.stage.committed("nobody"), {})
        self.assertEqual(self.stage.group_ids(), [])

    def test_without_group_management(self) -> None:
        """A consumer outside any group, or an admin client, makes a group that has only offsets."""
        self.stage.commit("simple", {T0: CommittedOffset(5)})
        (listing,) = self.stage.get(self.stage.groups.list_groups())
        self.assertEqual(listing, ("simple", "", "Empty", "classic"))
        self.stage.commit("", {T0: CommittedOffset(6)})
        self.assertEqual(self.stage.committed("", [T0]), {T0: CommittedOffset(6)})

    def test_a_generation_of_no_group(self) -> None:
        """Whoever believes to be in a group that is not there is told so."""
        self.assertEqual(self.stage.refusal(self.stage.begin_commit("g", {T0: 5}, 3, "m")), "GROUP_ID_NOT_FOUND")
        self.assertEqual(self.stage.refusal(self.stage.begin_commit("g", {T0: 5}, -1, "m")), None)

    def test_a_group_with_members(self) -> None:
        """Members of the generation may commit; others, and other generations, may not."""
        member = self.stage.stable("g", 1)[0]
        generation = member.generation_id
        begin = self.stage.begin_commit
        self.assertEqual(self.stage.refusal(begin("g", {T0: 5}, generation, member.member_id)), None)
        self.assertEqual(self.stage.refusal(begin("g", {T0: 6}, -1, "")), "UNKNOWN_MEMBER_ID")
        self.assertEqual(self.stage.refusal(begin("g", {T0: 6}, generation, "stranger")), "UNKNOWN_MEMBER_ID")
        self.assertEqual(
            self.stage.refusal(begin("g", {T0: 6}, generation - 1, member.member_id)), "ILLEGAL_GENERATION"
        )
        self.assertEqual(self.stage.committed("g"), {T0: CommittedOffset(5)})

    def test_metadata_too_large(self) -> None:
        """It is refused for its partition, the others are kept."""
        codes = self.stage.commit("g", {T0: CommittedOffset(5, -1, "x" * 4097), T1: CommittedOffset(6, -1, "x" * 4096)})
        self.assertEqual(codes, {T0: ErrorCode.OFFSET_METADATA_TOO_LARGE, T1: ErrorCode.NONE})
        self.assertEqual(list(self.stage.committed("g")), [T1])
        self.assertEqual(
            self.stage.commit("other", {T0: CommittedOffset(5, -1, "x" * 4097)}),
            {T0: ErrorCode.OFFSET_METADATA_TOO_LARGE},
        )
        self.assertEqual(self.stage.group_ids(), ["g"])

    def test_nothing_to_commit(self) -> None:
        """An empty commit is checked and answered, and makes no group."""
        self.assertEqual(self.stage.commit("g", {}), {})
        self.assertEqual(self.stage.group_ids(), [])

    def test_a_commit_keeps_a_member_alive(self) -> None:
        """As a heartbeat does."""
        member = self.stage.stable("g", 1)[0]
        for _ in range(5):
            self.stage.clock.advance(8)
            self.stage.get(self.stage.begin_commit("g", {T0: 5}, member.generation_id, member.member_id))
        self.assertEqual(self.stage.state("g"), "Stable")


class DurabilityTests(SynchronousTestCase):
    """Answers wait for the store, and a restart brings everything back."""

    def setUp(self) -> None:
        self.store = HeldStore()
        self.successResultOf(self.store.open())
        self.stage = CoordinatorStage(self, store=self.store)

    def begin(self, offset: int, place: tuple[str, int] = T0) -> Deferred[object]:
        return self.stage.begin_commit("g", {place: offset}, -1, "")

    def test_not_before_it_is_stored(self) -> None:
        """A commit is neither answered nor seen before it is durable."""
        self.store.hold = True
        answer = self.begin(5)
        self.assertNoResult(answer)
        self.assertEqual(self.stage.committed("g"), {})
        self.store.let_one_through()
        self.successResultOf(answer)
        self.assertEqual(self.stage.committed("g"), {T0: CommittedOffset(5)})

    def test_commits_share_a_write(self) -> None:
        """What comes while one write is under way goes into the next one together, and the last of them counts."""
        self.store.hold = True
        answers = [self.begin(number) for number in range(20)] + [self.begin(9, T1)]
        self.assertEqual(len(self.store.held), 1)
        self.store.let_one_through()
        self.successResultOf(answers[0])
        self.assertEqual([len(puts) for _, puts, _ in self.store.held], [2])
        self.store.let_one_through()
        for answer in answers[1:]:
            self.successResultOf(answer)
        self.assertEqual(self.stage.committed("g"), {T0: CommittedOffset(19), T1: CommittedOffset(9)})

    def test_all_partitions_in_one_write(self) -> None:
        """The offsets of one request are kept together or not at all."""
        self.store.hold = True
        self.stage.begin_commit("g", {T0: 1, T1: 2, U0: 3}, -1, "")
        self.assertEqual([len(puts) for _, puts, _ in self.store.held], [3])

    def test_a_store_that_fails(self) -> None:
        """The commit is refused so that clients try again; nothing of it is seen, and the next one succeeds."""
        self.begin(5)
        self.store.broken = True
        self.assertEqual(self.stage.refusal(self.begin(6)), "COORDINATOR_NOT_AVAILABLE")
        self.assertEqual(self.stage.committed("g"), {T0: CommittedOffset(5)})
        self.store.broken = False
        self.assertEqual(self.stage.refusal(self.begin(7)), None)
        self.assertEqual(self.stage.restarted().committed("g"), {T0: CommittedOffset(7)})

    def test_a_client_that_does_not_wait(self) -> None:
        """Its commit is kept all the same."""
        self.store.hold = True
        answer = self.begin(5)
        answer.cancel()
        self.failureResultOf(answer)
        self.store.let_one_through()
        self.assertEqual(self.stage.committed("g"), {T0: CommittedOffset(5)})

    @settings(deadline=None, max_examples=40)
    @given(st.lists(st.tuples(st.sampled_from(["g", "h", "g/h", ""]), st.integers(0, 3), st.integers(0, 99))))
    def test_restart(self, commits: list[tuple[str, int, int]]) -> None:
        """After a restart every group has exactly what was answered last."""
        stage = CoordinatorStage(self)
        expected: dict[str, dict[tuple[str, int], CommittedOffset]] = {}
        for group_id, partition, offset in commits:
            committed = CommittedOffset(offset, offset % 3, f"m{offset}")
            stage.commit(group_id, {("t", partition): committed})
            expected.setdefault(group_id, {})["t", partition] = committed
        after = stage.restarted()
        self.assertEqual(after.group_ids(), sorted(expected))
        for group_id, offsets in expected.items():
            self.assertEqual(after.committed(group_id), offsets)


class ExpiryTests(SynchronousTestCase):
    """offsets.retention.minutes, seven days in Kafka's defaults, looked at every ten minutes."""

    def setUp(self) -> None:
        self.stage = CoordinatorStage(self)
        self.stage.session_ms = 1_800_000

    def test_simple_group(self) -> None:
        """Offsets go after their time, the group with the last of them; also in the store."""
        self.stage.commit("g", {T0: CommittedOffset(5)})
        self.stage.pass_days(4)
        self.stage.commit("g", {T1: CommittedOffset(6)})
        self.stage.pass_days(3.1)
        self.assertEqual(list(self.stage.committed("g")), [T1])
        self.stage.pass_days(4)
        self.assertEqual(self.stage.group_ids(), [])
        self.assertEqual(self.stage.facts(), {})

    def test_members_keep_their_offsets(self) -> None:
        """While a consumer subscribes to the topic its offsets stay; others of the group go."""
        member = self.stage.stable("g", 1, topics=("t",))[0]
        self.stage.get(self.stage.begin_commit("g", {T0: 5, U0: 6}, member.generation_id, member.member_id))
        self.stage.pass_days(20, member)
        self.assertEqual(self.stage.committed("g"), {T0: CommittedOffset(5)})

    def test_empty_group(self) -> None:
        """They go seven days after the last member did, and the group with them; a restart does not begin anew."""
        member = self.stage.stable("g", 1, topics=("t",))[0]
        self.stage.get(self.stage.begin_commit("g", {T0: 5}, member.generation_id, member.member_id))
        self.stage.pass_days(20, member)
        self.stage.leave("g", member.member_id)
        self.stage.pass_days(5)
        stage = self.stage.restarted()
        stage.pass_days(1.9)
        self.assertEqual(stage.committed("g"), {T0: CommittedOffset(5)})
        stage.pass_days(0.2)
        self.assertEqual(stage.committed("g"), {})
        self.assertEqual(stage.group_ids(), [])
        self.assertEqual(stage.facts(), {})
        self.assertIn("1 committed offset(s) expired, of t", stage.texts("g"))

    def test_a_time_of_its_own(self) -> None:
        """OffsetCommit v2 to v4 may say how long."""
        request = self.stage.commit_request("g", {T0: CommittedOffset(5)}, retention_ms=3 * DAY_MS)
        self.stage.get(self.stage.groups.commit(request))
        self.stage.pass_days(2.9)
        self.assertEqual(list(self.stage.committed("g")), [T0])
        self.stage.pass_days(0.2)
        self.assertEqual(self.stage.committed("g"), {})

    def test_an_empty_group_without_offsets(self) -> None:
        """It is forgotten by the next look."""
        member = self.stage.stable("g", 1)[0]
        self.stage.leave("g", member.member_id)
        self.assertEqual(self.stage.group_ids(), ["g"])
        self.stage.clock.advance(600)
        self.assertEqual(self.stage.group_ids(), [])
        self.assertEqual(self.stage.facts(), {})

    def test_a_commit_under_way(self) -> None:
        """An offset that is just being committed anew does not expire."""
        store = HeldStore()
        self.successResultOf(store.open())
        stage = CoordinatorStage(self, store=store)
        stage.commit("g", {T0: CommittedOffset(5)})
        stage.clock.advance(7 * 86400 - 300)
        store.hold = True
        answer = stage.begin_commit("g", {T0: 6}, -1, "")
        stage.clock.advance(600)
        while store.held:
            store.let_one_through()
        self.successResultOf(answer)
        self.assertEqual(stage.committed("g"), {T0: CommittedOffset(6)})

    def test_a_store_that_fails(self) -> None:
        """What could not be forgotten stays, and is forgotten by a later look."""
        store = HeldStore()
        self.successResultOf(store.open())
        stage = CoordinatorStage(self, store=store)
        stage.commit("g", {T0: CommittedOffset(5)})
        store.broken = True
        stage.pass_days(8)
        self.assertEqual(list(stage.committed("g")), [T0])
        store.broken = False
        stage.clock.advance(600)
        self.assertEqual(stage.facts(), {})


class DeletionTests(SynchronousTestCase):
    """Offsets deleted by an admin, or with their topic."""

    def setUp(self) -> None:
        self.store = HeldStore()
        self.successResultOf(self.store.open())
        self.stage = CoordinatorStage(self, store=self.store)

    def test_delete_offsets(self) -> None:
        """Those named go for good; one that is not there is no error."""
        self.stage.commit("g", {T0: CommittedOffset(5), T1: CommittedOffset(6)})
        codes = self.stage.get(self.stage.groups.delete_offsets("g", [T0, U0]))
        self.assertEqual(codes, {T0: ErrorCode.NONE, U0: ErrorCode.NONE})
        self.assertEqual(self.stage.restarted().committed("g"), {T1: CommittedOffset(6)})

    def test_delete_offsets_of_consumers(self) -> None:
        """Topics they subscribe to are refused, others are not."""
        member = self.stage.stable("g", 1, topics=("t",))[0]
        self.stage.get(self.stage.begin_commit("g", {T0: 5, U0: 6}, member.generation_id, member.member_id))
        codes = self.stage.get(self.stage.groups.delete_offsets("g", [T0, U0]))
        self.assertEqual(codes, {T0: ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC, U0: ErrorCode.NONE})
        self.assertEqual(list(self.stage.committed("g")), [T0])

    def test_delete_offsets_refused(self) -> None:
        """No such group; members of another kind; a store that fails."""
        delete = self.stage.groups.delete_offsets
        self.assertEqual(self.stage.refusal(delete("g", [T0])), "GROUP_ID_NOT_FOUND")
        self.assertEqual(self.stage.refusal(delete("", [T0])), "INVALID_GROUP_ID")
        self.stage.stable("workers", 1, protocol_type="connect")
        self.assertEqual(self.stage.refusal(delete("workers", [T0])), "NON_EMPTY_GROUP")
        self.stage.commit("g", {T0: CommittedOffset(5)})
        self.store.broken = True
        self.assertEqual(self.stage.refusal(delete("g", [T0])), "COORDINATOR_NOT_AVAILABLE")
        self.assertEqual(list(self.stage.committed("g")), [T0])

    def test_with_their_topic(self) -> None:
        """In all groups, members or not; other topics keep theirs; commits on their way go as well."""
        member = self.stage.stable("g", 1, topics=("t",))[0]
        self.stage.get(self.stage.begin_commit("g", {T0: 5, U0: 6}, member.generation_id, member.member_id))
        self.stage.commit("simple", {T0: CommittedOffset(5)})
        self.store.hold = True
        late = self.stage.begin_commit("simple", {T1: 6}, -1, "")
        gone = self.stage.groups.topic_deleted("t")
        self.assertNoResult(gone)
        while self.store.held:
            self.store.let_one_through()
        self.successResultOf(gone)
        self.successResultOf(late)
        self.assertEqual(self.stage.committed("g"), {U0: CommittedOffset(6)})
        self.assertEqual(self.stage.committed("simple"), {})
        self.assertEqual([key for key in self.stage.facts() if "/t/" in key], [])

    def test_with_their_topic_while_the_store_fails(self) -> None:
        """Nobody reads them any more, and they go from the store when it works again, unless committed anew."""
        self.stage.commit("g", {T0: CommittedOffset(5), T1: CommittedOffset(5)})
        self.store.broken = True
        self.successResultOf(self.stage.groups.topic_deleted("t"))
        self.assertEqual(self.stage.committed("g"), {})
        self.store.broken = False
        self.stage.commit("g", {T1: CommittedOffset(0)})
        self.stage.clock.advance(600)
        self.assertEqual(self.stage.restarted().committed("g"), {T1: CommittedOffset(0)})

    def test_a_topic_deleted_just_before_a_crash(self) -> None:
        """What is left of its offsets goes with the next start."""
        self.stage.commit("g", {T0: CommittedOffset(5), U0: CommittedOffset(6)})
        after = self.stage.restarted(topic_exists=lambda name: name == "u")
        self.assertEqual(after.committed("g"), {U0: CommittedOffset(6)})
        self.assertEqual([key for key in after.facts() if "/t/" in key], [])
