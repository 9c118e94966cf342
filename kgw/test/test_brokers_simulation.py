"""Gateways that die, stand still, wake up, lose the meeting place or their locks: nothing is ever led by two."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from kgw.test.brokers_stage import TIMINGS, Seat, Stage

#: As many schedules; each is another one.
SCHEDULES = 15
ACTIONS = 25


class Chaos:
    """A random schedule of misfortunes for up to five gateways."""

    def __init__(self, seed: int) -> None:
        self.stage = Stage(seed)
        self.random = self.stage.random
        self.pauses: list[tuple[float, Seat]] = []
        self.outage_until = 0.0
        self.story: list[str] = []

    def run(self) -> None:
        """Begin calmly, go through all of it, and wait until it is calm again."""
        stage = self.stage
        for partitions in (1, 5, 12):
            stage.add_topic(partitions)
        for node_id in (1, 2, 3):
            self.start(stage.seat(node_id if self.random.random() < 0.5 else None, self.random.choice([0, 0.004, 0.1])))
            stage.run(0.5)
        for _ in range(ACTIONS):
            self.act()
            self.go_on(self.random.choice([0.1, 0.5, 2.0, 4.0]))
        while self.pauses or stage.room.failing:
            self.go_on(1.0)
        for seat in stage.seats:
            seat.door.deaf = seat.door.blind = False
            seat.door.cut = seat.gone
        if all(seat.stopping for seat in stage.live()):
            self.start(stage.seat(None))
        stage.changed_topics()
        self.go_on(3 * TIMINGS.session_s)

    def go_on(self, seconds: float) -> None:
        """Let time go on, with the ends of pauses and outages in it."""
        end = self.stage.clock.seconds() + seconds
        while self.stage.clock.seconds() < end:
            self.stage.run(0.1, self.random.choice([0.02, 0.05, 0.1]))
            now = self.stage.clock.seconds()
            for pause in [one for one in self.pauses if one[0] <= now]:
                self.pauses.remove(pause)
                pause[1].paused = False
                pause[1].advance()
            if self.stage.room.failing and now >= self.outage_until:
                self.stage.room.failing = False

    def start(self, seat: Seat) -> None:
        """Start a gateway; where the place does not answer it is none."""

        def failed(_: Failure) -> None:
            seat.gone = True

        seat.member.start().addErrback(failed)

    def act(self) -> None:
        """One misfortune, or something planned."""
        stage, random = self.stage, self.random
        live = stage.live()
        names = [
            "pause",
            "long pause",
            "crash",
            "join",
            "stop",
            "outage",
            "locks",
            "deaf",
            "cut",
            "blind",
            "slow",
            "topic",
            "grow",
        ]
        name = random.choice([*names, "delete"])
        self.story.append(f"{stage.clock.seconds():.2f} {name}")
        if name == "join":
            if len(live) < 5:
                free = [seat for seat in stage.seats if seat.gone]
                before = random.choice(free) if free and random.random() < 0.6 else None
                # one that comes back has the address it had
                port = 0 if before is None else 9000 + stage.seats.index(before)
                self.start(stage.seat(None, random.choice([0, 0.004, 0.1]), port))
        elif name == "locks":
            stage.room.restart()
        elif name == "outage":
            stage.room.failing = True
            self.outage_until = stage.clock.seconds() + random.choice([0.3, 3, 7, 12])
        elif name == "topic":
            stage.add_topic(random.randint(1, 7))
            stage.changed_topics()
        elif name == "grow":
            stage.topics[random.choice([*stage.topics])] += 2
            stage.changed_topics()
        elif name == "delete":
            # also what a controller does that knows the topics of some time ago
            id = random.choice([*stage.topics])
            count = stage.topics.pop(id)
            stage.changed_topics()
            self.go_on(random.choice([0.1, 1.0, 5.0]))
            stage.topics[id] = count
            stage.changed_topics()
        elif live:
            self.befall(name, random.choice(live))

    def befall(self, name: str, seat: Seat) -> None:
        """Something happens to one gateway."""
        random = self.random
        if name in ("pause", "long pause"):
            seat.paused = True
            seconds = random.uniform(0.2, 7) if name == "pause" else random.uniform(8, 25)
            self.pauses.append((self.stage.clock.seconds() + seconds, seat))
        elif name == "deaf":
            seat.door.deaf = not seat.door.deaf
        elif name == "cut":
            seat.door.cut = not seat.door.cut
        elif name == "blind":
            seat.door.blind = not seat.door.blind
        elif name == "slow":
            seat.worker.sluggish_s = random.choice([0, 0.3, 3, 12])
            seat.door.delays_s = random.choice([0, 0.01, 0.2, 1.5]), random.choice([0, 0.01, 0.2])
        elif sum(not one.stopping for one in self.stage.live()) > 1:
            if name == "crash":
                seat.gone = seat.door.cut = True
            else:
                self.stop(seat)

    def stop(self, seat: Seat) -> None:
        """A planned stop."""

        def stopped(_: None) -> None:
            seat.gone = True

        if seat.stopping:
            return
        seat.stopping = True
        stopping: Deferred[None] = seat.member.stop()
        stopping.addCallback(stopped)


class ReturnTests(SynchronousTestCase):
    """A gateway that was cut off, and comes back just while it is being replaced."""

    def come_back(self, number: int, delay_s: float) -> bool:
        """Whether it went on as it was."""
        stage = Stage(number)
        stage.add_topic(12)
        seats = stage.start(1, 2, 3, delay_s=delay_s)
        stage.run(6)
        for seat in seats:
            seat.worker.sluggish_s = 0.4
        seat = seats[number % 3]
        seat.door.cut = True
        stage.run(8.9 + number * 0.05, 0.01)
        seat.door.cut = False
        stage.run(2, 0.01)
        stage.run(12)
        self.assertEqual(stage.faults, [], f"{number}, {delay_s}")
        self.assertEqual(stage.unled(), [])
        self.assertEqual(stage.loads(), [4, 4, 4])
        return not seat.worker.fences

    def test_one_of_the_two_sees_the_other(self) -> None:
        went_on = [self.come_back(number, delay_s) for number in range(15) for delay_s in (0.05, 0.2)]
        self.assertEqual(set(went_on), {True, False})


class SimulationTests(SynchronousTestCase):
    """Random schedules; a failure names its own."""

    def calm(self, chaos: Chaos, seed: int) -> None:
        """Everything is led by one live gateway, evenly."""
        stage = chaos.stage
        story = f"schedule {seed}: " + ", ".join(chaos.story)
        self.assertEqual(stage.faults, [], story)
        for seat in stage.seats:
            if seat.worker.sluggish_s >= TIMINGS.session_s:
                # it fences itself each time that it is to release something
                seat.worker.sluggish_s = 0
        chaos.go_on(4 * TIMINGS.session_s)
        self.assertEqual(stage.faults, [], story)
        self.assertEqual(stage.unled(), [], story)
        loads = stage.loads()
        self.assertLessEqual(loads[-1] - loads[0], 1, story)
        self.assertEqual(sum(loads), sum(stage.topics.values()), story)
        assigned = {seat.member.assignment().version for seat in stage.live()}
        self.assertEqual(len(assigned), 1, story)

    def test_nothing_is_led_by_two(self) -> None:
        for seed in range(SCHEDULES):
            chaos = Chaos(seed)
            chaos.run()
            self.calm(chaos, seed)
