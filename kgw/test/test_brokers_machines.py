"""The lease, the observation of others, what is handed over when, and which node id is taken."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from kgw.brokers.duties import Timings
from kgw.brokers.handover import Handover, Release, Report, Take
from kgw.brokers.lease import Lease
from kgw.brokers.liveness import Liveness
from kgw.brokers.model import Assignment, Led, NodeEntry, Process, Sighting, Slot, State, Version
from kgw.brokers.node_ids import Claim, Claimant, Refused, Wait
from kgw.brokers.processes import Processes, uptime
from kgw.brokers.suspension import Beat, Lost, Proven, Suspension

TOPIC = b"t" * 16


def name(number: int) -> str:
    """An incarnation."""
    return f"{number:032x}"


def entry(node_id: int, counter: int = 0, applied: int = 0, incarnation: int = 0, port: int = 9092) -> NodeEntry:
    """The entry of a gateway whose incarnation is its node id, where none is named."""
    return NodeEntry(
        node_id,
        name(incarnation or node_id),
        {"PLAINTEXT": (f"gw{node_id}", port)},
        counter=counter,
        applied=Version(applied, 1, "00000000"),
    )


class LeaseTests(SynchronousTestCase):
    """How long a gateway may speak."""

    def test_it_lasts_from_the_sending(self) -> None:
        lease = Lease(9, 1)
        self.assertFalse(lease.valid(0))
        self.assertTrue(lease.renewed(100, 103))
        self.assertTrue(lease.valid(107.9))
        self.assertFalse(lease.valid(108))

    def test_an_answer_that_is_late_does_not_bring_it_back(self) -> None:
        lease = Lease(9, 1)
        lease.renewed(100, 100)
        self.assertFalse(lease.renewed(107, 108))
        self.assertFalse(lease.renewed(108, 108))
        self.assertFalse(lease.valid(108))

    def test_it_goes_on_from_a_heartbeat_that_the_others_will_see(self) -> None:
        lease = Lease(9, 1)
        lease.renewed(100, 100)
        lease.lapse()
        self.assertFalse(lease.valid(101))
        self.assertFalse(lease.resumed(110, 118))
        self.assertFalse(lease.renewed(118, 118))
        self.assertTrue(lease.resumed(120, 121))
        self.assertTrue(lease.renewed(122, 122))
        self.assertTrue(lease.valid(129.9))

    def test_answers_out_of_order_do_not_shorten_it(self) -> None:
        lease = Lease(9, 1)
        lease.renewed(104, 104.5)
        lease.renewed(102, 104.6)
        self.assertTrue(lease.valid(111.9))

    def test_lost_is_lost(self) -> None:
        lease = Lease(9, 1)
        lease.renewed(100, 100)
        lease.lose()
        self.assertFalse(lease.renewed(101, 101))
        self.assertFalse(lease.resumed(102, 102))
        self.assertRaises(ValueError, Lease, 9, 9)


class TimingsTests(SynchronousTestCase):
    """The configs as seconds."""

    def test_kafkas_defaults(self) -> None:
        timings = Timings.of(2000, 9000)
        self.assertEqual((timings.heartbeat_s, timings.session_s, timings.margin_s), (2.0, 9.0, 0.9))

    def test_a_session_too_short_for_its_heartbeats(self) -> None:
        error = self.assertRaises(ValueError, Timings.of, 2000, 5999)
        self.assertIn("broker.session.timeout.ms (5999)", str(error))


class LivenessTests(SynchronousTestCase):
    """Who is alive."""

    def setUp(self) -> None:
        self.liveness = Liveness(9)

    def observe(self, now: float, *entries: NodeEntry, members: dict[int, str] | None = None, took: float = 0) -> None:
        self.liveness.observe(entries, members or {}, now - took, now)

    def test_it_is_gone_when_nothing_changes_for_a_session_timeout(self) -> None:
        self.observe(100, entry(1))
        self.observe(104, entry(1, 1))
        self.assertEqual(self.liveness.next_deadline(), 113)
        self.observe(112.9, entry(1, 1))
        self.assertEqual(set(self.liveness.alive()), {1})
        self.observe(113, entry(1, 1))
        self.assertEqual(set(self.liveness.alive()), set())
        self.assertTrue(self.liveness.gone(name(1)))
        self.assertFalse(self.liveness.finally_gone(name(1)))
        # it was late, and is to be reckoned with
        self.observe(114, entry(1, 2))
        self.assertFalse(self.liveness.gone(name(1)))
        self.assertTrue(self.liveness.stirred(name(1)))
        self.observe(123, entry(1, 2))
        self.assertTrue(self.liveness.gone(name(1)))

    def test_who_ended_for_sure_does_not_come_back(self) -> None:
        self.observe(100, entry(1))
        self.liveness.ended(name(1), 101)
        self.observe(102, entry(1, 1))
        self.assertTrue(self.liveness.finally_gone(name(1)))
        self.assertEqual(self.liveness.alive(), {})

    def test_nobody_is_gone_who_could_not_be_seen(self) -> None:
        self.observe(100, entry(1))
        self.liveness.excuse(120)
        self.observe(121, entry(1))
        self.assertFalse(self.liveness.gone(name(1)))
        self.observe(129, entry(1))
        self.assertTrue(self.liveness.gone(name(1)))

    def test_who_could_not_read_knows_nothing(self) -> None:
        self.observe(100, entry(1))
        self.observe(200, entry(1, 50))
        self.assertEqual(set(self.liveness.alive()), {1})

    def test_a_reading_that_took_long_proves_nothing(self) -> None:
        self.observe(100, entry(1))
        self.observe(112, entry(1), took=4)
        self.assertEqual(set(self.liveness.alive()), {1})

    def test_who_says_that_it_left_is_gone(self) -> None:
        self.observe(100, entry(1))
        self.observe(101, replace(entry(1, 1), state=State.LEFT))
        self.assertTrue(self.liveness.gone(name(1)))

    def test_a_next_incarnation_knows_of_those_before(self) -> None:
        self.observe(100, entry(1, incarnation=11))
        self.observe(101, replace(entry(1, incarnation=12), formers=(name(11),)))
        self.assertTrue(self.liveness.gone(name(11)))
        self.assertEqual(self.liveness.alive()[1][0], name(12))

    def test_what_is_written_over_is_not_gone_at_once(self) -> None:
        """A zombie's late writing says nothing of its successor."""
        self.observe(100, entry(1, incarnation=12))
        self.observe(101, entry(1, incarnation=11))
        self.assertEqual(self.liveness.alive()[1][0], name(12))
        self.observe(102)
        self.assertEqual(self.liveness.alive()[1][0], name(12))
        self.observe(109)
        self.assertTrue(self.liveness.gone(name(12)))

    def test_who_is_there_at_first_may_be_dead(self) -> None:
        self.observe(100, entry(1))
        self.observe(101, entry(1), entry(2))
        self.assertFalse(self.liveness.stirred(name(1)))
        self.assertTrue(self.liveness.stirred(name(2)))
        self.observe(102, entry(1, 1), entry(2))
        self.assertTrue(self.liveness.stirred(name(1)))

    def test_a_member_without_an_entry_is_waited_for(self) -> None:
        self.observe(100, members={3: name(3)})
        self.assertEqual(self.liveness.alive(), {3: (name(3), None)})
        self.observe(109, members={3: name(3)})
        self.assertEqual(self.liveness.alive(), {})


def assigned(number: int, *leaders: int, fresh: int = 99, members: tuple[int, ...] = (1, 2, 3)) -> Assignment:
    """An assignment of one topic; the leader epochs are 10 and its leader's node id."""
    led = Led(leaders, tuple(10 + max(leader, 0) for leader in leaders), fresh)
    return Assignment(Version(number, 1, "00000000"), {one: name(one) for one in members}, {TOPIC: led})


def seen(assignment: Assignment, *entries: NodeEntry, contested: bool = False) -> Sighting:
    """A reading."""
    rival = (assignment.version._replace(node_id=0),) if contested else ()
    return Sighting(assignment, (*rival, assignment.version), {one.node_id: one for one in entries})


class HandoverTests(SynchronousTestCase):
    """Node 1 among three."""

    def setUp(self) -> None:
        self.handover = Handover(1, name(1))
        self.alive = {name(1), name(2), name(3)}

    def see(self, sighting: Sighting) -> list[Release | Report | Take]:
        return self.handover.see(sighting, self.alive.__contains__)

    def hold(self, *partitions: int) -> None:
        """Hold these by assignment 1."""
        given = assigned(1, *[1 if one in partitions else 2 for one in range(4)], fresh=0)
        self.see(seen(given, entry(1), entry(2), entry(3)))
        self.handover.reported(given.version)
        self.assertEqual({slot.partition for slot in self.handover.held}, set(partitions))

    def test_first_it_lets_go_then_says_so_then_takes_up(self) -> None:
        self.hold(0, 1)
        change = assigned(2, 1, 2, 1, 3)
        others = entry(2, applied=2), entry(3, applied=2)
        self.assertEqual(self.see(seen(change, entry(1), *others)), [Release(frozenset({Slot(TOPIC, 1)}))])
        self.assertEqual(self.see(seen(change, entry(1), *others)), [])
        self.handover.released()
        self.assertEqual(self.see(seen(change, entry(1), *others)), [Report(change.version)])
        self.assertEqual(self.see(seen(change, entry(1), *others)), [])
        self.handover.reported(change.version)
        self.assertEqual(self.see(seen(change, entry(1), *others)), [Take({Slot(TOPIC, 2): 11})])
        self.assertTrue(self.handover.is_calm)
        self.assertEqual(self.handover.held, {Slot(TOPIC, 0): 11, Slot(TOPIC, 2): 11})

    def taken(self, sighting: Sighting) -> bool:
        """Whether what node 1 is newly given is taken up, once it has said that it let go."""
        effects = self.see(sighting)
        self.handover.reported(sighting.assignment.version)
        return any(isinstance(effect, Take) for effect in effects + self.see(sighting))

    def test_it_waits_for_every_other(self) -> None:
        change = assigned(2, 1, 1)
        self.assertFalse(self.taken(seen(change, entry(1), entry(2, applied=2), entry(3, applied=1))))
        self.assertTrue(self.taken(seen(change, entry(1), entry(2, applied=2), entry(3, applied=3))))

    def test_a_member_that_is_gone_is_waited_for(self) -> None:
        """Its journal is not replayed: the next assignment is without it."""
        self.alive.discard(name(3))
        change = assigned(2, 1, 1)
        self.assertFalse(self.taken(seen(change, entry(1), entry(2, applied=2), entry(3, applied=1))))
        without = assigned(3, 1, 1, members=(1, 2))
        self.assertTrue(self.taken(seen(without, entry(1), entry(2, applied=3), entry(3, applied=1))))

    def test_a_member_that_is_not_there_or_another_by_now_is_waited_for(self) -> None:
        change = assigned(2, 1, 1)
        self.assertFalse(self.taken(seen(change, entry(1), entry(2, applied=2))))
        self.assertFalse(self.taken(seen(change, entry(1), entry(2, applied=2), entry(3, applied=2, incarnation=33))))

    def test_one_that_has_left_is_not_waited_for(self) -> None:
        left = replace(entry(3, applied=1), state=State.LEFT)
        self.assertTrue(self.taken(seen(assigned(2, 1, 1), entry(1), entry(2, applied=2), left)))

    def test_one_that_is_alive_and_no_member_is_waited_for(self) -> None:
        change = assigned(2, 1, 1, members=(1, 2))
        self.assertFalse(self.taken(seen(change, entry(1), entry(2, applied=2), entry(3, applied=1))))

    def test_what_is_new_is_taken_up_at_once(self) -> None:
        change = assigned(2, 1, 1, 1, fresh=1)
        effects = self.see(seen(change, entry(1), entry(2), entry(3)))
        self.assertEqual(effects[1:], [Take({Slot(TOPIC, 1): 11, Slot(TOPIC, 2): 11})])

    def test_nothing_is_taken_up_while_it_is_contested(self) -> None:
        change = assigned(2, 1, 1, fresh=0)
        self.assertFalse(self.taken(seen(change, entry(1), entry(2, applied=2), entry(3, applied=2), contested=True)))
        self.assertTrue(self.taken(seen(change, entry(1), entry(2, applied=2), entry(3, applied=2))))

    def test_an_older_assignment_is_not_obeyed(self) -> None:
        self.hold(0)
        self.assertEqual(self.see(seen(Assignment(), entry(1))), [])
        self.assertEqual(set(self.handover.held), {Slot(TOPIC, 0)})

    def test_another_incarnation_is_given_nothing(self) -> None:
        again = Handover(1, name(111))
        effects = again.see(seen(assigned(1, 1, 1, fresh=0), entry(2), entry(3)), self.alive.__contains__)
        self.assertEqual(effects, [Report(Version(1, 1, "00000000"))])

    def test_another_epoch_is_another_leadership(self) -> None:
        self.hold(0)
        change = replace(assigned(2, 1), topics={TOPIC: Led((1,), (50,), 1)})
        self.assertEqual(self.see(seen(change, entry(1))), [Release(frozenset({Slot(TOPIC, 0)}))])

    def test_what_was_refused_is_asked_for_again(self) -> None:
        self.hold(0)
        self.handover.refused({Slot(TOPIC, 0): 11})
        given = assigned(1, 1, 2, 2, 2, fresh=0)
        self.assertEqual(self.see(seen(given, entry(1))), [Take({Slot(TOPIC, 0): 11})])


class NodeIdTests(SynchronousTestCase):
    """Which node id is taken."""

    def setUp(self) -> None:
        self.liveness = Liveness(9)
        self.ended: Callable[[Process], bool] = lambda process: False

    def choose(
        self, wanted: int | None, *entries: NodeEntry, now: float = 100, host: str = "gw9"
    ) -> Claim | Wait | Refused:
        claimant = Claimant(wanted, {"PLAINTEXT": (host, 9092)})
        self.liveness.observe(entries, {}, now, now)
        return claimant.choose({one.node_id: one for one in entries}, self.liveness, self.ended)

    def test_the_smallest_that_is_free(self) -> None:
        self.assertEqual(self.choose(None), Claim(1, (), ""))
        self.assertEqual(self.choose(None, entry(1), entry(3)), Claim(2, (), ""))

    def test_one_that_was_left(self) -> None:
        left = replace(entry(1), state=State.LEFT, formers=(name(11),))
        self.assertEqual(self.choose(None, left, entry(2)), Claim(1, (name(1), name(11)), ""))

    def test_its_former_one_by_its_address(self) -> None:
        left = replace(entry(7), state=State.LEFT)
        self.assertEqual(self.choose(None, left, host="gw7"), Claim(7, (name(7),), ""))

    def test_its_former_one_when_that_is_gone(self) -> None:
        self.assertEqual(self.choose(None, entry(7), host="gw7"), Wait(109, 7))
        self.assertEqual(self.choose(None, entry(7), host="gw7", now=109), Claim(7, (name(7),), ""))

    def test_another_one_with_its_address_is_alive(self) -> None:
        self.choose(None, entry(7), host="gw7")
        self.assertEqual(self.choose(None, entry(7, 1), host="gw7", now=102), Claim(1, (), ""))

    def test_its_former_process_has_ended(self) -> None:
        self.ended = lambda process: process.pid == 77
        before = replace(entry(7), process=Process("b", "p", 77, 5), lock_token="token")
        self.assertEqual(self.choose(7, before), Claim(7, (name(7),), "token"))
        self.assertIsInstance(self.choose(7, replace(before, process=Process("b", "p", 78, 5))), Wait)

    def test_the_one_it_is_told_is_taken(self) -> None:
        self.assertEqual(self.choose(7, entry(7)), Wait(109, 7))
        refused = self.choose(7, entry(7, 1), now=102)
        assert isinstance(refused, Refused)
        self.assertIn("node.id 7 is taken by another gateway that is running (PLAINTEXT://gw7:9092)", refused.text)


class ProcessTests(SynchronousTestCase):
    """Which processes have ended; on Linux."""

    def test_this_one_has_not(self) -> None:
        processes = Processes()
        this = processes.this()
        assert this is not None
        self.assertEqual(this.pid, os.getpid())
        self.assertFalse(processes.ended(this))
        # a later process with the same number
        self.assertTrue(processes.ended(this._replace(start_time=this.start_time - 1)))

    def test_one_that_has(self) -> None:
        processes = Processes()
        this = processes.this()
        assert this is not None
        child = subprocess.Popen([sys.executable, "-c", ""])
        child.wait()
        self.assertTrue(processes.ended(this._replace(pid=child.pid)))

    def test_nothing_is_known_of_other_machines(self) -> None:
        processes = Processes()
        this = processes.this()
        assert this is not None
        self.assertFalse(processes.ended(this._replace(boot_id="another", start_time=1)))
        self.assertFalse(processes.ended(this._replace(pid_namespace="another", start_time=1)))

    def test_the_clock_goes_on(self) -> None:
        before = uptime()
        self.assertGreaterEqual(uptime(), before)

    def test_a_system_that_does_not_tell(self) -> None:
        nowhere = Processes(Path("/nowhere"))
        self.assertIs(nowhere.this(), None)
        self.assertFalse(nowhere.ended(Process("b", "p", 1, 1)))


class SuspensionTests(SynchronousTestCase):
    """Whether one whose lease has run out may go on."""

    def setUp(self) -> None:
        self.target = Assignment(Version(5, 2, "00000000"), {1: name(1), 2: name(2)})
        self.suspension = Suspension(1, name(1))

    def judge(self, number: int, *entries: NodeEntry, **other: Any) -> object:
        versions = other.get("versions", (self.target.version,))
        entries_by_id = {one.node_id: one for one in entries}
        sighting = Sighting(other.get("assignment", self.target), versions, entries_by_id)
        return self.suspension.judge(sighting, self.target, number)

    def test_a_heartbeat_and_a_reading_after_it(self) -> None:
        self.assertEqual(self.judge(1, entry(1, 7)), Beat())
        self.suspension.sending(8)
        self.assertIs(self.judge(2, entry(1, 8)), None)
        self.suspension.written(8, 100.0, 3)
        # begun before it was known to be written
        self.assertIs(self.judge(3, entry(1, 8)), None)
        self.assertEqual(self.judge(4, entry(1, 8)), Proven(100.0))

    def test_an_older_heartbeat_that_is_written_late(self) -> None:
        self.suspension.sending(8)
        self.suspension.written(7, 90.0, 1)
        self.assertIs(self.judge(2, entry(1, 7)), None)
        self.suspension.written(8, 100.0, 2)
        self.assertEqual(self.judge(3, entry(1, 7)), Beat())

    def test_a_heartbeat_of_which_nothing_is_known(self) -> None:
        self.suspension.sending(8)
        self.suspension.unwritten()
        self.assertEqual(self.judge(2, entry(1, 8)), Beat())

    def test_what_others_did(self) -> None:
        newer = Assignment(Version(6, 2, "00000000"), {2: name(2)})
        beside = Version(5, 1, "00000000")
        stranger = Assignment(self.target.version, {2: name(2)})
        self.assertIsInstance(self.judge(1, entry(1, 7), assignment=newer), Lost)
        self.assertIsInstance(self.judge(1, entry(1, 7), versions=(beside, self.target.version)), Lost)
        self.assertIsInstance(self.judge(1, entry(1, incarnation=9)), Lost)
        self.assertIsInstance(self.judge(1), Lost)
        self.target = stranger
        self.assertIsInstance(self.judge(1, entry(1, 7)), Lost)
