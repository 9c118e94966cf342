"""A classic group from one generation to the next: who joins, what they are told, and what an operator can read."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kgw.errors import ErrorCode, KafkaError
from kgw.groups.effects import GroupLimits, Persist, Reply
from kgw.test.machine_stage import DELAY, EAGER, LIMITS, RANGE, REBALANCE, SESSION, MachineStage, offers, subscription

COOPERATIVE = offers("cooperative-sticky")
TOPICS = offers("range", metadata=subscription("orders", "payments"))


class MemberIdTests(SynchronousTestCase):
    """Ids are handed out first (KIP-394)."""

    def test_new_member_is_given_an_id_and_joins_by_it(self) -> None:
        stage = MachineStage()
        member_id = stage.new_id("orders-app")
        self.assertEqual(member_id, "orders-app-uuid1")
        self.assertEqual((stage.machine.member_count, stage.machine.pending_count), (0, 1))
        self.assertEqual(stage.joined(stage.join(member_id)).leader, member_id)
        self.assertEqual((stage.machine.member_count, stage.machine.pending_count), (1, 0))

    def test_answer_with_an_id_names_no_generation(self) -> None:
        stage = MachineStage()
        answer = stage.joined(stage.join(), ErrorCode.MEMBER_ID_REQUIRED)
        self.assertEqual((answer.generation_id, answer.protocol_type, answer.protocol_name), (-1, None, None))

    def test_id_not_used_expires(self) -> None:
        stage = MachineStage()
        member_id = stage.new_id()
        stage.advance(SESSION)
        self.assertEqual(stage.machine.pending_count, 0)
        self.assertIsNone(stage.machine.next_deadline())
        with self.assertRaises(KafkaError) as raised:
            stage.join(member_id)
        self.assertEqual(raised.exception.code, ErrorCode.UNKNOWN_MEMBER_ID)

    def test_static_member_has_its_instance_in_its_id_and_needs_no_second_round(self) -> None:
        stage = MachineStage()
        self.assertEqual(stage.joined(stage.join(instance_id="rack1")).member_id, "rack1-uuid1")

    def test_rebalance_waits_for_an_id_that_was_handed_out(self) -> None:
        stage = MachineStage()
        leader, follower = stage.stable(None, None)
        stage.new_id(session=20)
        tickets = [stage.join(leader), stage.join(follower)]
        self.assertNotIn(tickets[0], stage.answers)
        stage.advance(20)
        self.assertEqual(len(stage.joined(tickets[0]).members), 2)

    def test_rebalance_goes_on_when_the_id_is_given_back(self) -> None:
        stage = MachineStage()
        (leader,) = stage.stable(None)
        pending = stage.new_id()
        ticket = stage.join(leader)
        self.assertEqual(stage.leave(pending).error, ErrorCode.NONE)
        self.assertEqual(stage.joined(ticket).member_id, leader)

    def test_id_that_is_given_back_leaves_nothing_behind(self) -> None:
        stage = MachineStage()
        stage.leave(stage.new_id())
        self.assertEqual(stage.machine.state, "Empty")
        self.assertIsNone(stage.machine.next_deadline())

    def test_two_members_of_one_client_id_are_two_members(self) -> None:
        """A gateway that told members apart by client id gave all of them all partitions."""
        stage = MachineStage(LIMITS)
        tickets = [stage.join(stage.new_id("same")) for _ in range(2)]
        stage.advance(2 * DELAY)
        first, second = (stage.joined(ticket) for ticket in tickets)
        self.assertNotEqual(first.member_id, second.member_id)
        self.assertEqual([member.member_id for member in first.members], [first.member_id, second.member_id])
        wait = stage.sync(second.member_id)
        stage.sync(first.member_id, {first.member_id: b"p0", second.member_id: b"p1"})
        self.assertEqual(stage.synced(wait).assignment, b"p1")


class InitialRebalanceTests(SynchronousTestCase):
    """An empty group waits a little for more members (group.initial.rebalance.delay.ms)."""

    def test_lone_member_waits_the_delay(self) -> None:
        stage = MachineStage(LIMITS)
        ticket = stage.join(stage.new_id())
        stage.advance(DELAY - 0.1)
        self.assertNotIn(ticket, stage.answers)
        stage.advance(0.1)
        self.assertEqual(stage.joined(ticket).generation_id, 1)

    def test_delay_is_extended_while_members_join(self) -> None:
        stage = MachineStage(LIMITS)
        tickets = [stage.join(needs_member_id=False)]
        stage.advance(2)
        tickets.append(stage.join(needs_member_id=False))
        stage.advance(3)
        self.assertEqual(stage.answers, {})
        stage.advance(1)
        self.assertEqual([stage.joined(ticket).generation_id for ticket in tickets], [1, 1])

    def test_delay_is_bounded_by_the_rebalance_timeout(self) -> None:
        stage = MachineStage(LIMITS)
        first = stage.join(needs_member_id=False, rebalance=10)
        for second in range(1, 10):
            stage.advance(1)
            stage.join(needs_member_id=False, rebalance=10)
            self.assertNotIn(first, stage.answers, f"after {second} s")
        stage.advance(1)
        self.assertEqual(len(stage.joined(first).members), 10)

    def test_only_an_empty_group_waits(self) -> None:
        stage = MachineStage(LIMITS)
        (leader,) = stage.stable(None)
        second = stage.join(stage.new_id())
        stage.join(leader)
        self.assertEqual(stage.joined(second).generation_id, 2)

    def test_group_is_empty_again_when_all_go_within_the_delay(self) -> None:
        stage = MachineStage(LIMITS)
        member_id = stage.new_id()
        ticket = stage.join(member_id)
        stage.leave(member_id)
        self.assertEqual(stage.refused(ticket), ErrorCode.UNKNOWN_MEMBER_ID)
        self.assertEqual((stage.machine.state, stage.machine.generation_id), ("Empty", 1))
        self.assertIsNone(stage.machine.next_deadline())


class GenerationTests(SynchronousTestCase):
    """From one generation to the next."""

    def test_leader_is_told_of_all_members_and_followers_of_none(self) -> None:
        stage = MachineStage()
        leader, follower = stage.stable(None, "rack1")
        tickets = [stage.join(leader), stage.join(follower, instance_id="rack1")]
        led, followed = (stage.joined(ticket) for ticket in tickets)
        metadata = RANGE[0].metadata
        self.assertEqual(led.members, ((leader, None, metadata), (follower, "rack1", metadata)))
        self.assertEqual((followed.members, followed.leader), ((), leader))
        self.assertEqual((led.protocol_type, led.protocol_name), ("consumer", "range"))

    def test_protocol_with_most_votes_that_all_offer(self) -> None:
        stage = MachineStage(LIMITS)
        tickets = [
            stage.join(needs_member_id=False, protocols=offers(*names))
            for names in (("odd", "sticky", "range"), ("range", "sticky"), ("range", "sticky", "even"))
        ]
        stage.advance(2 * DELAY)
        self.assertEqual({stage.joined(ticket).protocol_name for ticket in tickets}, {"range"})

    def test_protocol_type_and_names_pass_through(self) -> None:
        """Connect and the Schema Registry have their own."""
        stage = MachineStage()
        protocols = offers("v0", metadata=b"\x00\xffanything")
        ticket = stage.join(needs_member_id=False, protocols=protocols, protocol_type="sr")
        joined = stage.joined(ticket)
        self.assertEqual((joined.protocol_type, joined.protocol_name), ("sr", "v0"))
        self.assertEqual(joined.members[0].metadata, b"\x00\xffanything")
        stage.sync(joined.member_id, {joined.member_id: b"\xfe"}, protocol_type="sr", protocol_name="v0")
        self.assertIsNone(stage.machine.subscribed_topics())
        self.assertFalse(stage.machine.is_subscribed("orders"))

    def test_follower_that_syncs_first_waits_for_the_leader(self) -> None:
        stage = MachineStage()
        leader, follower = stage.completing(None, None)
        wait = stage.sync(follower)
        self.assertNotIn(wait, stage.answers)
        own = stage.sync(leader, {leader: b"a", follower: b"b"})
        self.assertEqual([stage.synced(ticket).assignment for ticket in (own, wait)], [b"a", b"b"])
        self.assertEqual(stage.synced(wait).protocol_name, "range")

    def test_assignments_are_stored_before_they_are_told(self) -> None:
        stage = MachineStage()
        leader, follower = stage.completing(None, None)
        stage.sync(follower)
        stage.performed.clear()
        stage.sync(leader, {leader: b"a", follower: b"b"})
        self.assertEqual([type(effect) for effect in stage.performed], [Persist, Reply, Reply])
        snapshot = stage.persisted[0]
        assert snapshot is not None
        self.assertEqual(
            {member.member_id: member.assignment for member in snapshot.members}, {leader: b"a", follower: b"b"}
        )
        self.assertEqual((snapshot.generation_id, snapshot.leader), (stage.machine.generation_id, leader))

    def test_assignment_of_strangers_is_dropped_and_a_missing_one_is_empty(self) -> None:
        stage = MachineStage()
        leader, follower = stage.completing(None, None)
        wait = stage.sync(follower)
        stage.sync(leader, {leader: b"a", "stranger": b"c"})
        self.assertEqual(stage.synced(wait).assignment, b"")
        self.assertTrue(any("gives nothing to" in note and follower in note for note in stage.notes))
        self.assertTrue(any("stranger" in note for note in stage.notes))

    def test_rejoin_does_not_wipe_the_assignment(self) -> None:
        """A follower that joins again with nothing new keeps what it has, and so do the others."""
        stage = MachineStage()
        leader, follower = stage.stable(None, None)
        generation = stage.machine.generation_id
        joined = stage.joined(stage.join(follower))
        self.assertEqual((joined.generation_id, joined.members), (generation, ()))
        self.assertEqual(stage.synced(stage.sync(follower)).assignment, b"1")
        self.assertEqual(stage.synced(stage.sync(leader)).assignment, b"0")
        self.assertEqual(stage.machine.state, "Stable")

    def test_no_empty_assignment_amid_a_rebalance(self) -> None:
        """Who asks while assignments are made waits, or is told to join; it never gets none."""
        stage = MachineStage()
        leader, follower = stage.completing(None, None)
        again = stage.joined(stage.join(follower))
        wait = stage.sync(follower, generation=again.generation_id)
        self.assertNotIn(wait, stage.answers)
        late = stage.join(needs_member_id=False)
        self.assertEqual(stage.refused(wait), ErrorCode.REBALANCE_IN_PROGRESS)
        self.assertNotIn(late, stage.answers)
        with self.assertRaises(KafkaError) as raised:
            stage.sync(leader, {leader: b"a"})
        self.assertEqual(raised.exception.code, ErrorCode.REBALANCE_IN_PROGRESS)

    def test_late_joiner_is_not_orphaned(self) -> None:
        """One that comes while assignments are made is in the next generation, with an assignment."""
        stage = MachineStage()
        leader, follower = stage.completing(None, None)
        late = stage.join(needs_member_id=False)
        tickets = [stage.join(leader), stage.join(follower), late]
        generations = {stage.joined(ticket).generation_id for ticket in tickets}
        self.assertEqual(generations, {stage.machine.generation_id})
        joined = stage.joined(late)
        wait = stage.sync(joined.member_id)
        stage.sync(leader, {leader: b"a", follower: b"b", joined.member_id: b"c"})
        self.assertEqual(stage.synced(wait).assignment, b"c")

    def test_changed_metadata_begin_a_rebalance(self) -> None:
        stage = MachineStage()
        leader, follower = stage.stable(None, None)
        changed = stage.join(follower, TOPICS)
        self.assertEqual(stage.machine.state, "PreparingRebalance")
        led = stage.joined(stage.join(leader))
        self.assertEqual(led.members[1].metadata, TOPICS[0].metadata)
        self.assertEqual(stage.joined(changed).generation_id, led.generation_id)
        self.assertEqual(stage.machine.subscribed_topics(), {"orders", "payments"})

    def test_second_request_of_a_member_supersedes_the_first(self) -> None:
        """The first came by a connection that is dead; whoever may still be there is told to ask again."""
        stage = MachineStage()
        _, follower, third = stage.preparing(None, None, None)
        one, two = stage.join(follower), stage.join(follower)
        self.assertEqual(stage.refused(one), ErrorCode.REBALANCE_IN_PROGRESS)
        stage.join(third)
        self.assertEqual(stage.joined(two).generation_id, stage.machine.generation_id)
        one, two = stage.sync(follower), stage.sync(follower)
        self.assertEqual(stage.refused(one), ErrorCode.REBALANCE_IN_PROGRESS)
        self.assertNotIn(two, stage.answers)

    def test_generation_grows_beyond_an_empty_group(self) -> None:
        stage = MachineStage()
        (member_id,) = stage.stable(None)
        stage.leave(member_id)
        self.assertEqual((stage.machine.state, stage.machine.generation_id), ("Empty", 2))
        snapshot = stage.persisted[-1]
        assert snapshot is not None
        self.assertEqual((snapshot.generation_id, snapshot.protocol_name, snapshot.members), (2, None, ()))
        self.assertEqual(snapshot.state_time, stage.now)
        self.assertEqual(stage.machine.subscribed_topics(), frozenset())
        self.assertEqual(stage.joined(stage.join(needs_member_id=False)).generation_id, 3)

    def test_other_kind_of_members_after_it_was_empty(self) -> None:
        stage = MachineStage()
        (member_id,) = stage.stable(None)
        stage.leave(member_id)
        joined = stage.joined(
            stage.join(needs_member_id=False, protocol_type="connect", protocols=offers("compatible"))
        )
        self.assertEqual((joined.protocol_type, joined.protocol_name), ("connect", "compatible"))

    def test_description(self) -> None:
        stage = MachineStage()
        leader, _ = stage.stable(None, "rack1")
        told = stage.machine.describe()
        self.assertEqual((told.state, told.protocol_type, told.protocol_name), ("Stable", "consumer", "range"))
        self.assertEqual([member.assignment for member in told.members], [b"0", b"1"])
        self.assertEqual((told.members[1].instance_id, told.members[1].client_host), ("rack1", "/10.0.0.1"))
        stage.join(leader)
        told = stage.machine.describe()
        self.assertEqual((told.state, told.protocol_name, told.members[0].metadata), ("PreparingRebalance", "", b""))


class ProtocolClashTests(SynchronousTestCase):
    """Members that have nothing in common (INCONSISTENT_GROUP_PROTOCOL)."""

    def test_clash_names_who_offers_what(self) -> None:
        stage = MachineStage()
        stage.join(needs_member_id=False, client_id="java", software="apache-kafka-java 4.0")
        ticket = stage.join(protocols=COOPERATIVE, client_id="go", software="franz-go 1.18")
        self.assertEqual(stage.refused(ticket), ErrorCode.INCONSISTENT_GROUP_PROTOCOL)
        note = stage.notes[-1]
        for word in ("franz-go 1.18", "cooperative-sticky", "apache-kafka-java 4.0", "range", "java-uuid1"):
            self.assertIn(word, note)
        self.assertEqual(stage.machine.member_count, 1)

    def test_other_protocol_type_is_named(self) -> None:
        stage = MachineStage()
        stage.join(needs_member_id=False)
        stage.join(protocol_type="connect")
        self.assertIn("of type 'connect', the group of type 'consumer'", stage.notes[-1])

    def test_nothing_offered(self) -> None:
        stage = MachineStage()
        for ticket in (stage.join(protocols=()), stage.join(protocol_type="")):
            self.assertEqual(stage.refused(ticket), ErrorCode.INCONSISTENT_GROUP_PROTOCOL)

    def test_member_cannot_give_up_the_only_common_protocol(self) -> None:
        stage = MachineStage()
        leader, follower = stage.stable(None, None)
        self.assertEqual(stage.refused(stage.join(follower, COOPERATIVE)), ErrorCode.INCONSISTENT_GROUP_PROTOCOL)
        self.assertEqual(stage.machine.state, "Stable")
        self.assertEqual(stage.synced(stage.sync(leader)).assignment, b"0")


class SizeTests(SynchronousTestCase):
    """group.max.size."""

    def test_group_that_is_full(self) -> None:
        stage = MachineStage(GroupLimits(initial_rebalance_delay_ms=0, max_size=2))
        stage.stable(None, None)
        self.assertEqual(stage.refused(stage.join()), ErrorCode.GROUP_MAX_SIZE_REACHED)
        self.assertIn("group.max.size", stage.notes[-1])
        self.assertEqual(stage.machine.state, "Stable")

    def test_members_of_a_full_group_may_rejoin(self) -> None:
        stage = MachineStage(GroupLimits(initial_rebalance_delay_ms=0, max_size=2))
        leader, follower = stage.stable(None, None)
        tickets = [stage.join(leader), stage.join(follower)]
        self.assertEqual({stage.joined(ticket).generation_id for ticket in tickets}, {3})

    def test_group_that_has_become_too_large_shrinks(self) -> None:
        large = MachineStage()
        members = large.stable(None, None, None)
        stage = MachineStage(GroupLimits(initial_rebalance_delay_ms=0, max_size=2), large.persisted[-1])
        self.assertEqual(stage.machine.state, "PreparingRebalance")
        tickets = [stage.join(member_id) for member_id in members]
        self.assertEqual(stage.refused(tickets[2]), ErrorCode.GROUP_MAX_SIZE_REACHED)
        self.assertEqual(len(stage.joined(tickets[0]).members), 2)

    def test_id_that_finds_no_room_is_forgotten(self) -> None:
        stage = MachineStage(GroupLimits(initial_rebalance_delay_ms=0, max_size=2))
        (leader,) = stage.stable(None)
        pending = stage.new_id()
        second = stage.join(needs_member_id=False)
        ticket = stage.join(leader)
        self.assertEqual(stage.refused(stage.join(pending)), ErrorCode.GROUP_MAX_SIZE_REACHED)
        self.assertEqual({stage.joined(each).generation_id for each in (ticket, second)}, {2})
        self.assertEqual(stage.machine.pending_count, 0)


class HistoryTests(SynchronousTestCase):
    """What an operator can read."""

    def test_life_of_a_group(self) -> None:
        stage = MachineStage()
        stage.join(client_id="app", needs_member_id=False, software="librdkafka 2.3", reason="first start")
        self.assertEqual(
            stage.notes,
            [
                "app-uuid1 (librdkafka 2.3 at /10.0.0.1) joins: first start",
                "rebalance after generation 0: app-uuid1 is new",
                "generation 1: 1 members, range, led by app-uuid1, after 0.0 s",
            ],
        )

    def test_slow_member_is_named(self) -> None:
        stage = MachineStage()
        leader, follower = stage.stable(None, None)
        stage.join(leader)
        stage.beat(20, follower)
        stage.join(follower)
        self.assertIn(f"after 20.0 s, the last to join was {follower}", stage.notes[-1])

    def test_reasons_are_cut_and_kept_on_a_line(self) -> None:
        stage = MachineStage(EAGER)
        stage.join(needs_member_id=False, reason="a\nb" + 10_000 * "c")
        self.assertTrue(stage.notes[0].endswith("joins: a b" + 252 * "c"))

    def test_long_lists_of_members_are_cut(self) -> None:
        stage = MachineStage()
        leader, *others = stage.stable(*[None] * 8)
        stage.join(leader)
        stage.beat(REBALANCE, *others)
        self.assertTrue(any("did not join in time" in note and "and 2 more" in note for note in stage.notes))
