"""A fleet under producers and a group of consumers, whose gateways are killed, stopped and paused; and the verdict."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from kgw.test.live.fleet import PATIENCE, Fleet, Ship, wait_until
from kgw.test.live.fleet_watch import FleetWatch
from kgw.test.live.ledger import content
from kgw.test.live.membership import GROUP, PARTITIONS, TOPIC, Member
from kgw.test.live.probe import Probe, Shot
from kgw.test.live.raw import create
from kgw.test.live.sources import SOURCES, Source

#: Where single records that are never sent again go to.
PROBED, PROBED_PARTITIONS = "probed", 6


class Event(NamedTuple):
    """
    Something that was done to a gateway.

    @ivar at: when, as C{time.monotonic} tells.
    @ivar was: what it was at that time, besides a leader: controller, coordinator of the group, or nothing.
    @ivar written_s: seconds until each partition could be written, wherever it was led.
    @ivar served_s: seconds until all gateways that speak agreed who leads what and coordinates, and each leader
        answered.
    @ivar returned_s: seconds from when the gateway went on, or was started (its start included), until all agreed that
        it is back; 0 where it was never away.
    """

    kind: str
    node_id: int
    at: float
    was: str
    written_s: float
    served_s: float
    returned_s: float

    def __str__(self) -> str:
        return (
            f"{self.at:.1f} {self.kind} of node {self.node_id}{f' ({self.was})' if self.was else ''}: written after"
            f" {self.written_s:.2f} s, served after {self.served_s:.2f} s; whole {self.returned_s:.2f} s after its"
            " return"
        )


class Chaos:
    """
    What is done to a fleet, and what has to hold whatever that is.

    @ivar events: what was done so far.
    @ivar wrong: what must not be.
    """

    def __init__(self, fleet: Fleet, folder: Path, session_s: float, member_session_ms: int, timeout_ms: int) -> None:
        """
        @param session_s: the gateways' C{broker.session.timeout.ms}, in seconds.
        @param member_session_ms: C{session.timeout.ms} of the group's members.
        @param timeout_ms: how long producers wait for an answer before they send again.
        """
        self.fleet = fleet
        self.events: list[Event] = []
        self.wrong: list[str] = []
        self.session_s = session_s
        self._at = 0.0
        self._folder = folder
        self._member_session_ms = member_session_ms
        self._timeout_ms = timeout_ms
        self.members: list[Member] = []
        self.sources: list[Source] = []

    def begin(self) -> None:
        """Make the topics; let records flow, and be consumed."""
        fleet = self.fleet
        create(fleet.ships[0].port, TOPIC, PARTITIONS)
        create(fleet.ships[-1].port, PROBED, PROBED_PARTITIONS)
        fleet.calm((GROUP,))
        self.probe = Probe(fleet, PROBED, PROBED_PARTITIONS)
        self.watch = FleetWatch(fleet, GROUP, TOPIC)
        for library, kind in SOURCES.items():
            self.sources.append(kind(library, fleet.bootstrap, TOPIC, PARTITIONS, timeout_ms=self._timeout_ms))
            name = f"member-{len(self.members)}"
            options = {"session_ms": self._member_session_ms, "client_id": name}
            self.members.append(Member(name, library, fleet.bootstrap, self._folder, **options))
        wait_until("the members share all partitions", self.is_shared)
        for source in self.sources:
            wait_until(f"{source.name} is promised something", partial(self._is_promised, source))

    def _is_promised(self, source: Source) -> bool:
        return len(source.promises) > 100

    def is_shared(self) -> bool:
        """Whether the members have each partition once."""
        owned = [member.owned() for member in self.members]
        return all(owned) and sorted(one for some in owned for one in some) == list(range(PARTITIONS))

    def end(self) -> None:
        """Let nothing run on, whatever happened."""
        for source in self.sources:
            source.enough.set()
        if hasattr(self, "watch"):
            self.watch.stop()
        for member in self.members:
            member.kill()

    # What is done to a gateway.

    def _role(self, ship: Ship) -> str:
        view = self.fleet.calm((GROUP,))
        self._at = time.monotonic()
        roles = {"controller": view.controller, "coordinator": view.coordinators[GROUP]}
        return " and ".join(role for role, node_id in roles.items() if node_id == ship.node_id)

    def _away(self, begun: float) -> tuple[float, float]:
        written = self.probe.writable(begun)
        wait_until("all is served", lambda: self.fleet.serves(TOPIC, PARTITIONS))
        self.fleet.calm((GROUP,))
        return written, time.monotonic() - begun

    def _back(self, begun: float) -> float:
        self.fleet.calm((GROUP,))
        wait_until("all is served", lambda: self.fleet.serves(TOPIC, PARTITIONS))
        return time.monotonic() - begun

    def _done(self, kind: str, ship: Ship, was: str, away: tuple[float, float], returned_s: float) -> None:
        self.events.append(Event(kind, ship.node_id, self._at, was, *away, returned_s))

    def kill(self, ship: Ship) -> None:
        """SIGKILL; a start when the others have all of it."""
        was, begun = self._role(ship), time.monotonic()
        ship.kill()
        away = self._away(begun)
        begun = time.monotonic()
        ship.start()
        self._done("kill -9", ship, was, away, self._back(begun))

    def crash(self, ship: Ship) -> None:
        """SIGKILL and a start at once, as by a supervisor."""
        was, begun = self._role(ship), time.monotonic()
        ship.kill()
        written: list[float] = []
        # the process has to be started here: the system ends it with the thread that began it
        probing = threading.Thread(target=lambda: written.append(self.probe.writable(begun)), name="probe")
        probing.start()
        try:
            ship.start()
        finally:
            probing.join()
        assert written, "the partitions could not be written again"
        served = self._back(begun)
        self._done("kill -9 and start", ship, was, (written[0], served), served)

    def stop(self, ship: Ship) -> None:
        """SIGTERM; a start when the others have all of it."""
        was, begun = self._role(ship), time.monotonic()
        status = ship.terminate()
        if status:
            self.wrong.append(f"node {ship.node_id} ended with {status}")
        away = self._away(begun)
        begun = time.monotonic()
        ship.start()
        self._done("planned stop", ship, was, away, self._back(begun))

    def doze(self, ship: Ship) -> None:
        """A pause that is shorter than the lease: nothing may change hands."""
        before = self.fleet.calm((GROUP,))
        was, begun = self._role(ship), time.monotonic()
        ship.pause()
        time.sleep(self.session_s / 3)
        ship.resume()
        self._done("short pause", ship, was, self._away(begun), 0.0)
        if self.fleet.calm((GROUP,)) != before:
            self.wrong.append(f"a pause of {self.session_s / 3:.1f} s moved something")

    def pause(self, ship: Ship) -> None:
        """
        A pause that is longer than the lease.

        What it was asked just before may be promised when it wakes, and is there once then; what it was asked
        meanwhile must be refused.
        """
        was = self._role(ship)
        mine = self.probe.led_by(ship.node_id)
        with self.probe.connect(ship.port) as early, self.probe.connect(ship.port) as late:
            shot = self.probe.shoot(early, mine)
            begun = time.monotonic()
            ship.pause()
            meanwhile = self.probe.shoot(late, mine)
            away = self._away(begun)
            time.sleep(max(0.0, begun + 1.3 * self.session_s - time.monotonic()))
            begun = time.monotonic()
            ship.resume()
            self._answered(ship, shot, False)
            self._answered(ship, meanwhile, True)
        self._done("long pause", ship, was, away, self._back(begun))

    def _answered(self, ship: Ship, shot: Shot, must_refuse: bool) -> None:
        """Read a zombie's answer, if it has one."""
        try:
            rows = self.probe.hits(shot)
        except (OSError, EOFError):
            return
        promised = [index for index, row in rows.items() if not row.error_code]
        if must_refuse and promised:
            self.wrong.append(f"node {ship.node_id} woke up and acknowledged what it was sent meanwhile: {promised}")

    # The end.

    def finish(self, say: Callable[[str], None]) -> Mapping[str, int]:
        """
        Have production end and everything consumed, and look whether all was kept; C{wrong} has what was not.

        @return: what was counted.
        """
        for source in self.sources:
            source.finish()
            self.wrong += source.wrong
        say("production has ended")
        found = self._content(TOPIC, PARTITIONS)
        for source in self.sources:
            self._judge(source, found)
        self._judge_probe()
        say("all records are read")
        self._drain(found)
        self._judge_members()
        self.watch.stop()
        self.wrong += self.watch.wrong
        failed = sum(sum(source.failures.values()) for source in self.sources)
        if failed:
            self.wrong.append(f"records that failed: { {source.name: source.failures for source in self.sources} }")
        return {
            "events": len(self.events),
            **{
                f"acknowledged to {source.name}": source.answered - sum(source.failures.values())
                for source in self.sources
            },
            "of them without an offset": sum(len(source.unplaced) for source in self.sources),
            "acknowledged to the probe": len(self.probe.promised),
            "refused to the probe": len(self.probe.refused),
            "records in the topic": len(found),
            "records failed": failed,
            "looks at the group": sum(self.watch.answers.values()),
            "of them stable": self.watch.stable,
            "commits": sum(len(member.said("committed")) for member in self.members),
            "commits refused": sum(len(member.said("not committed")) for member in self.members),
            "assignments to members": sum(len(member.said("assigned")) for member in self.members),
        }

    def _content(self, topic: str, partitions: int) -> dict[tuple[int, int], bytes]:
        found = content(self.fleet.bootstrap, topic, partitions)
        return {where: record.value or b"" for where, record in found.items()}

    def _judge(self, source: Source, found: Mapping[tuple[int, int], bytes]) -> None:
        """Each promise is kept where it was said, nothing is there twice, and each partition is in order."""
        lost = [
            (where, promise.number, found.get(where))
            for where, promise in source.promises.items()
            if found.get(where) != source.value(promise.number)
        ]
        if lost:
            self.wrong.append(f"{source.name}: {len(lost)} promises not kept, such as {lost[:5]}")
        there = {(partition, value) for (partition, _), value in found.items()}
        missing = [one for one in source.unplaced if (one[0], source.value(one[1])) not in there]
        if missing:
            self.wrong.append(f"{source.name}: {len(missing)} promises not kept, (partition, number) {missing[:5]}")
        by_partition: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for (partition, offset), value in sorted(found.items()):
            number = source.number_of(value)
            if number >= 0:
                by_partition[partition].append((number, offset))
        for partition, places in by_partition.items():
            bad = [(one, other) for one, other in pairwise(places) if one[0] >= other[0]]
            twice = len(places) - len({number for number, _ in places})
            if bad:
                promises = [source.promises.get((partition, offset)) for pair in bad[:2] for _, offset in pair]
                self.wrong.append(
                    f"{source.name}: {twice} twice and {len(bad)} times out of order in {partition}, such as"
                    f" (number, offset) {bad[:5]}, promised {promises}"
                )

    def _judge_probe(self) -> None:
        found = self._content(PROBED, PROBED_PARTITIONS)
        times: dict[bytes, int] = defaultdict(int)
        for value in found.values():
            times[value] += 1
        probe = self.probe
        lost = [(where, value) for where, value in probe.promised.items() if found.get(where) != value]
        if lost:
            self.wrong.append(f"probe: {len(lost)} promises not kept, such as {lost[:5]}")
        twice = [value for value, count in times.items() if count > 1]
        if twice:
            self.wrong.append(f"probe: sent once, and there twice: {twice[:5]}")

    def _drain(self, found: Mapping[tuple[int, int], bytes]) -> None:
        last: dict[int, int] = {}
        for partition, offset in found:
            last[partition] = max(last.get(partition, -1), offset)
        try:
            wait_until(
                "everything is committed",
                lambda: all(self.watch.committed.get(one, -1) == offset + 1 for one, offset in last.items()),
                PATIENCE,
            )
        except AssertionError as error:
            self.wrong.append(f"{error}: {self.watch.committed} of {last}")
        consumed: dict[int, set[int]] = defaultdict(set)
        for member in self.members:
            for event in member.said("consumed"):
                for partition, (first, end) in event["ranges"].items():
                    consumed[int(partition)].update(range(first, end + 1))
        missed = [where for where in found if where[1] not in consumed[where[0]]]
        if missed:
            self.wrong.append(f"{len(missed)} records were never consumed, such as {missed[:5]}")

    def _judge_members(self) -> None:
        for member in self.members:
            for event in member.said("committed"):
                for partition, offset in event["offsets"].items():
                    if offset > self.watch.committed.get(int(partition), -1):
                        self.wrong.append(f"a commit of {member.name} is gone: {partition}@{offset}")
        spans: dict[int, list[tuple[float, float, str]]] = defaultdict(list)
        for member in self.members:
            for partition, begin, end in member.ownerships():
                spans[partition].append((begin, end, member.name))
        for partition, owners in spans.items():
            owners.sort()
            for (_, end, one), (begin, _, other) in pairwise(owners):
                if begin < end:
                    self.wrong.append(
                        f"{partition} went to {other} {end - begin:.3f} s before {one} gave it up, at {begin:.1f}"
                    )
