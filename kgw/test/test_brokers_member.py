"""Members of a cluster: how soon they notice, what a stop costs, how they come back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from twisted.trial.unittest import SynchronousTestCase

from kgw.brokers.interfaces import CONTROLLER_LOCK
from kgw.brokers.model import COORDINATORS, NodeEntry, Process, Slot, State
from kgw.errors import ErrorCode, KafkaError, StartError
from kgw.test.brokers_stage import SLOTS, TIMINGS, Seat, Stage

DELAY_S = 0.002


class MemberCase(SynchronousTestCase):
    """Three gateways and some topics."""

    def setUp(self) -> None:
        self.stage = Stage(1)
        self.topic = self.stage.add_topic(12)
        self.stage.add_topic(1)
        self.stage.add_topic(87)
        self.seats = self.stage.start(1, 2, 3, delay_s=DELAY_S)
        self.assertEqual(self.stage.unled(), [])

    def tearDown(self) -> None:
        self.assertEqual(self.stage.faults, [])

    def until(self, condition: Callable[[], object], most_s: float, step_s: float = 0.05) -> float:
        """How long it takes."""
        began = self.stage.clock.seconds()
        while not condition():
            self.assertLess(self.stage.clock.seconds() - began, most_s)
            self.stage.run(step_s, step_s)
        return self.stage.clock.seconds() - began

    def kill(self, seat: Seat) -> None:
        """kill -9"""
        seat.gone = seat.door.cut = True

    def entry(self, node_id: int) -> NodeEntry:
        return NodeEntry.decode(self.stage.room.entries[node_id])

    def all_led(self) -> bool:
        return not self.stage.unled()


class ClusterTests(MemberCase):
    """What they know of one another."""

    def test_all_say_the_same(self) -> None:
        members = [seat.member for seat in self.seats]
        for slot in self.stage.slots():
            leaders = {member.leader(slot) for member in members}
            self.assertEqual(len(leaders), 1)
            (leader,) = leaders
            epochs = {member.node_id: member.leads(slot) for member in members}
            self.assertEqual(epochs, {1: -1, 2: -1, 3: -1, leader.node_id: leader.epoch})
        self.assertEqual({member.controller_id for member in members}, {1})
        for member in members:
            self.assertEqual(list(member.brokers()), [1, 2, 3])
            self.assertEqual(member.coordinator_slots, SLOTS)
            self.assertTrue(member.is_calm())
        self.assertEqual(members[0].brokers()[3].listeners, {"PLAINTEXT": ("gw", 9002)})
        self.assertEqual(self.stage.loads(), [33, 33, 34])
        coordinators = {members[0].coordinator(slot).node_id for slot in range(SLOTS)}
        self.assertEqual(coordinators, {1, 2, 3})

    def test_what_nobody_assigned(self) -> None:
        self.assertEqual(self.seats[0].member.leader(Slot(b"?" * 16, 0)), (-1, -1))
        self.assertEqual(self.seats[0].member.leader(Slot(self.topic, 12)), (-1, -1))

    def test_a_new_topic_is_led_at_once(self) -> None:
        self.stage.add_topic(9)
        self.stage.changed_topics()
        self.assertLess(self.until(self.all_led, 1, 0.01), 0.1)

    def test_a_new_topic_is_led_at_once_although_one_is_dead_that_nobody_knows_of(self) -> None:
        self.kill(self.seats[2])
        before = len(self.stage.unled())
        for _ in range(3):
            id = self.stage.add_topic(2)
            self.stage.changed_topics()
            self.stage.run(0.2, 0.01)
            dead = [slot for slot in self.stage.unled() if slot.topic_id == id]
            self.assertTrue(all(self.seats[0].member.leader(slot).node_id == 3 for slot in dead))
        self.assertLessEqual(len(self.stage.unled()) - before, 3)

    def test_raised_epochs_are_told(self) -> None:
        slot = next(iter(self.seats[1].worker.led))
        self.seats[1].member.raise_epoch(slot, 77)
        self.stage.run(0.2)
        for seat in self.seats:
            self.assertEqual(seat.member.leader(slot), (2, 77))
        self.assertEqual(self.seats[1].member.leads(slot), 77)
        self.kill(self.seats[1])
        self.until(self.all_led, TIMINGS.session_s + 1)
        self.assertGreater(self.seats[0].member.leader(slot).epoch, 77)


class RecoveryTests(MemberCase):
    """After a gateway dies."""

    def test_within_the_session_timeout_and_little_more(self) -> None:
        for seat in (self.seats[0], self.seats[2]):
            # the controller is the first to die
            self.kill(seat)
            self.assertLess(self.until(self.all_led, 30), TIMINGS.session_s + 0.5)
            self.stage.run(3)
        self.assertEqual(self.stage.loads(), [100])
        self.assertEqual(self.seats[1].member.controller_id, 2)
        self.assertEqual(list(self.seats[1].member.brokers()), [2])

    def test_sooner_where_its_process_is_seen_to_have_ended(self) -> None:
        stage = self.stage = Stage()
        stage.add_topic(12)
        ended: set[Process] = set()
        processes = [Process("boot", "pid:[1]", number, number) for number in range(3)]
        self.seats = [stage.seat(ended=ended.__contains__, process=process) for process in processes]
        for seat in self.seats:
            seat.member.start()
            stage.run(0.2)
        self.until(self.all_led, 5)
        # the controller, and then one that is none
        for seat, process in ((self.seats[0], processes[0]), (self.seats[2], processes[2])):
            self.kill(seat)
            ended.add(process)
            took = self.until(self.all_led, 30)
            self.assertGreater(took, 1)
            self.assertLess(took, TIMINGS.heartbeat_s + 1.5)
        self.assertEqual(stage.faults, [])

    def test_journals_are_replayed_before_anything_is_taken_up(self) -> None:
        dead = self.seats[2].member.incarnation
        for seat in self.seats[:2]:
            seat.worker.sluggish_s = 3.0
        self.kill(self.seats[2])
        self.until(lambda: self.seats[0].worker.replayed, TIMINGS.session_s + 0.5)
        self.assertEqual(self.seats[0].worker.replayed, [dead])
        self.stage.run(2.9)
        self.assertNotEqual(self.stage.unled(), [])
        self.until(self.all_led, 0.5)

    def test_who_died_long_ago_is_given_nothing_by_one_who_has_just_come(self) -> None:
        self.kill(self.seats[2])
        self.stage.run(15)
        new = self.stage.seat(4, DELAY_S)
        new.member.start()
        self.stage.run(1)
        for seat in self.seats[:2]:
            seat.member.stop()
            self.stage.run(1)
            seat.gone = True
            self.assertEqual(self.stage.unled(), [])
        self.assertEqual(new.member.controller_id, 4)
        self.assertEqual(list(new.member.brokers()), [4])
        self.assertNotIn(3, new.member.assignment().members)

    def test_topics_that_nobody_told_of_are_led_soon(self) -> None:
        self.stage.add_topic(3)
        self.until(self.all_led, TIMINGS.session_s + 3)

    def test_a_restart_on_the_same_machine_does_not_wait(self) -> None:
        self.kill(self.seats[0])
        self.stage.room.entries[1] = replace(self.entry(1), process=Process("b", "p", 77, 5)).encode()
        again = self.stage.seat(1, DELAY_S, 9000, ended=lambda process: process.pid == 77)
        again.member.start()
        self.assertLess(self.until(self.all_led, 3), 0.5)
        # it goes on with the lock, too
        self.assertEqual(self.stage.room.owner(CONTROLLER_LOCK), "node 1")
        self.assertEqual(self.seats[1].member.controller_id, 1)
        self.assertEqual(again.worker.replayed, [self.seats[0].member.incarnation])
        self.assertEqual(self.stage.loads(), [33, 33, 34])

    def test_a_restart_just_after_it_became_the_controller_does_not_wait_either(self) -> None:
        stage = self.stage = Stage()
        stage.add_topic(12)
        process = Process("boot", "pid:[1]", 1, 1)
        seat = stage.seat(1, DELAY_S, process=process)
        seat.member.start()
        self.until(self.all_led, 2, 0.005)
        self.kill(seat)
        stage.seat(1, DELAY_S, ended=lambda one: one == process).member.start()
        self.assertLess(self.until(self.all_led, 20), 0.5)
        self.assertEqual(stage.faults, [])

    def test_a_restart_elsewhere_waits_for_the_end_of_the_lease(self) -> None:
        self.kill(self.seats[2])
        again = self.stage.seat(3, DELAY_S)
        starting = again.member.start()
        self.stage.run(6)
        self.assertNoResult(starting)
        self.until(lambda: starting.called, 4)
        self.assertEqual(self.successResultOf(starting), 3)
        self.stage.run(0.2)
        self.assertEqual(self.stage.loads(), [33, 33, 34])

    def test_a_filer_that_restarts_loses_nothing(self) -> None:
        before = dict(self.stage.epochs)
        self.stage.room.restart()
        self.stage.run(20)
        self.assertEqual(self.stage.epochs, before)
        self.assertEqual(self.stage.loads(), [33, 33, 34])
        owner = self.stage.room.owner(CONTROLLER_LOCK)
        self.assertEqual({f"node {seat.member.controller_id}" for seat in self.seats}, {owner})

    def test_an_outage_shorter_than_the_lease_harms_nobody(self) -> None:
        before = dict(self.stage.epochs)
        self.stage.room.failing = True
        self.stage.run(5.5)
        self.assertEqual(self.stage.unled(), [])
        self.stage.room.failing = False
        self.stage.run(20)
        self.assertEqual(self.stage.epochs, before)

    def test_after_a_long_outage_all_go_on_as_they_were(self) -> None:
        before = dict(self.stage.epochs)
        self.stage.room.failing = True
        self.stage.run(60)
        self.assertEqual(len(self.stage.unled()), len(self.stage.slots()))
        self.stage.room.restart()
        self.stage.room.failing = False
        self.assertLess(self.until(self.all_led, 3, 0.01), 0.5)
        self.stage.run(20)
        self.assertEqual([seat.worker.fences for seat in self.seats], [0, 0, 0])
        self.assertEqual(self.stage.epochs, before)
        self.assertEqual(self.stage.loads(), [33, 33, 34])

    def test_one_that_dies_in_a_long_outage_is_replaced_after_it(self) -> None:
        self.stage.room.failing = True
        self.stage.run(15)
        self.kill(self.seats[0])
        self.stage.run(15)
        self.stage.room.failing = False
        self.assertLess(self.until(self.all_led, 30), TIMINGS.session_s + 1)
        self.assertEqual([seat.worker.fences for seat in self.seats[1:]], [0, 0])
        self.assertEqual(self.stage.loads(), [50, 50])

    def test_one_that_cannot_be_reached_by_its_own_is_replaced_and_begins_anew(self) -> None:
        """The others reach the meeting place all the while."""
        seat = self.seats[2]
        seat.door.cut = True
        self.assertLess(self.until(lambda: not seat.member.may_act(), 10), TIMINGS.session_s)
        self.assertEqual(seat.member.leader(next(iter(seat.worker.led))).node_id, -1)
        self.assertFalse(seat.member.may_wait())
        self.until(self.all_led, 3)
        self.assertEqual(seat.worker.fences, 0)
        seat.door.cut = False
        self.until(lambda: seat.worker.fences, 1)
        self.stage.run(2)
        self.assertEqual(self.stage.loads(), [33, 33, 34])

    def test_one_that_comes_back_just_before_it_would_have_been_replaced(self) -> None:
        before = dict(self.stage.epochs)
        seat = self.seats[2]
        seat.door.cut = True
        self.until(lambda: not seat.member.may_act(), 10, 0.01)
        seat.door.cut = False
        self.assertLess(self.until(seat.member.may_act, 1, 0.01), 0.5)
        self.stage.run(20)
        self.assertEqual(seat.worker.fences, 0)
        self.assertEqual(self.stage.epochs, before)

    def test_one_that_can_write_and_not_read_is_replaced(self) -> None:
        seat = self.seats[2]
        seat.door.blind = True
        self.until(lambda: not seat.member.may_act(), TIMINGS.session_s + TIMINGS.heartbeat_s + 1)
        self.assertLess(self.until(self.all_led, 30), TIMINGS.session_s + 3)
        seat.door.blind = False
        self.until(lambda: seat.worker.fences, 3)
        self.stage.run(2)
        self.assertEqual(self.stage.loads(), [33, 33, 34])


class PauseTests(MemberCase):
    """A gateway that stands still, and wakes."""

    def test_shorter_than_the_lease(self) -> None:
        before = dict(self.stage.epochs)
        self.seats[1].paused = True
        self.stage.run(5.5)
        self.seats[1].paused = False
        self.stage.run(20)
        self.assertEqual(self.stage.epochs, before)

    def test_longer_than_the_lease(self) -> None:
        seat = self.seats[1]
        slot = next(iter(seat.worker.led))
        incarnation = seat.member.incarnation
        seat.paused = True
        lapsed_s = self.until(self.stage.unled, TIMINGS.session_s)
        self.assertLess(lapsed_s + self.until(self.all_led, 5), TIMINGS.session_s + 0.5)
        # it wakes, and is asked before any of its alarms rings
        seat.clock.rightNow = self.stage.clock.seconds()
        self.assertEqual(seat.member.leads(slot), -1)
        self.assertFalse(seat.member.may_act())
        self.assertEqual(seat.member.leader(slot).node_id, -1)
        self.assertIsNot(self.seats[0].member.leader(slot).node_id, 2)
        seat.paused = False
        self.stage.run(2)
        self.assertEqual(seat.worker.fences, 1)
        self.assertNotEqual(seat.member.incarnation, incarnation)
        self.assertEqual(self.stage.loads(), [33, 33, 34])


class StopTests(MemberCase):
    """A planned stop."""

    def test_it_costs_next_to_nothing(self) -> None:
        for seat in (self.seats[0], self.seats[1]):
            stopping = seat.member.stop()
            unled: dict[Slot, float] = {}
            while not stopping.called:
                self.stage.run(0.002, 0.002)
                for slot in self.stage.unled():
                    unled[slot] = unled.get(slot, 0) + 0.002
            self.successResultOf(stopping)
            seat.gone = True
            self.stage.run(0.1, 0.002)
            self.assertEqual(self.stage.unled(), [])
            self.assertLess(max(unled.values()), 20 * DELAY_S)
            self.assertIs(self.entry(seat.member.node_id).state, State.LEFT)
            self.stage.run(3)
        self.assertEqual(self.stage.loads(), [100])
        self.assertEqual(self.seats[2].member.controller_id, 3)
        self.assertEqual(self.seats[2].worker.replayed, [])

    def test_the_last_one_leaves_too(self) -> None:
        for seat in self.seats:
            stopping = seat.member.stop()
            self.stage.run(3)
            self.successResultOf(stopping)
            seat.gone = True
        self.assertEqual({self.entry(node).state for node in (1, 2, 3)}, {State.LEFT})
        self.assertIs(self.stage.room.owner(CONTROLLER_LOCK), None)

    def test_what_is_led_is_released_although_nobody_takes_it(self) -> None:
        self.stage.room.failing = True
        stopping = self.seats[0].member.stop()
        self.stage.run(TIMINGS.stop_s + 1)
        self.successResultOf(stopping)
        self.assertFalse(self.seats[0].member.may_act())

    def test_a_stop_while_it_joins_again(self) -> None:
        self.stage.room.failing = True
        self.stage.run(12)
        stopping = self.seats[0].member.stop()
        self.stage.room.failing = False
        self.stage.run(15)
        self.successResultOf(stopping)
        self.assertEqual(list(self.seats[1].member.brokers()), [2, 3])
        self.assertEqual(self.stage.loads()[1:], [50, 50])


class JoinTests(MemberCase):
    """A gateway more."""

    def test_it_gets_its_share_and_no_more(self) -> None:
        before = {slot: led[1] for slot, led in self.stage.epochs.items() if slot.topic_id != COORDINATORS}
        new = self.stage.seat(None, DELAY_S)
        starting = new.member.start()
        self.assertLess(self.until(lambda: new.worker.led, 2), 0.5)
        self.assertEqual(self.successResultOf(starting), 4)
        self.stage.run(1)
        self.assertEqual(self.stage.loads(), [25, 25, 25, 25])
        moved = sum(self.stage.epochs[slot][1] is not worker for slot, worker in before.items())
        self.assertEqual(moved, 25)

    def test_a_node_id_that_is_taken(self) -> None:
        new = self.stage.seat(2, DELAY_S)
        starting = new.member.start()
        self.stage.run(3)
        error = self.failureResultOf(starting, StartError).value
        self.assertIn("node.id 2 is taken by another gateway that is running (PLAINTEXT://gw:9001)", str(error))
        self.assertEqual(self.stage.loads()[1:], [33, 33, 34])

    def test_no_meeting_place(self) -> None:
        self.stage.room.failing = True
        new = self.stage.seat(4, DELAY_S)
        starting = new.member.start()
        self.stage.run(1)
        error = self.failureResultOf(starting, KafkaError).value
        self.assertIs(error.code, ErrorCode.KAFKA_STORAGE_ERROR)

    def test_two_at_once_get_two_node_ids(self) -> None:
        new = [self.stage.seat(None, DELAY_S) for _ in range(2)]
        for seat in new:
            seat.member.start()
        self.stage.run(3)
        self.assertEqual(sorted(seat.member.node_id for seat in new), [4, 5])
        self.assertEqual(self.stage.loads(), [20] * 5)

    def test_an_entry_that_is_written_over_does_not_make_its_gateway_dead(self) -> None:
        """Whoever claimed its node id without knowing of it waits, as controller too, until its lease has ended."""
        seat = self.seats[2]
        seat.door.cut = True
        self.stage.run(1)
        stolen = replace(self.entry(3), incarnation="f" * 32, counter=0, formers=())
        self.stage.room.entries[3] = stolen.encode()
        self.stage.run(3)
        for other in self.seats[:2]:
            self.assertEqual(other.worker.replayed, [])
            self.assertEqual(other.member.assignment().members[3], seat.member.incarnation)
        seat.door.cut = False
        self.until(lambda: seat.worker.fences, 3)

    def test_its_node_id_is_kept_over_a_stop(self) -> None:
        new = self.stage.seat(None, DELAY_S, 9999)
        new.member.start()
        self.stage.run(2)
        new.member.stop()
        self.stage.run(2)
        new.gone = True
        again = self.stage.seat(None, DELAY_S, 9999)
        starting = again.member.start()
        self.stage.run(2)
        self.assertEqual(self.successResultOf(starting), 4)
