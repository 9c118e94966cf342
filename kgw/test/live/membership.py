"""A crowd of consumers in processes of their own, records that flow to them, and an eye on what the group does."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

import kgw
from kgw.errors import ErrorCode
from kgw.handlers import describe_groups, offset_fetch
from kgw.test.live.clients import librdkafka
from kgw.test.live.raw import RawClient, create
from kgw.test.live.server import GatewayProcess, LiveTestCase

TOPIC, GROUP = "t", "g"
PARTITIONS = 12
#: Of all members: as short as Kafka's default lets it be, so that the dead are soon missed.
SESSION_MS = 6_000
LIBRARIES = ("confluent-kafka", "kafka-python", "aiokafka")
#: Seconds until something that must happen has to have happened.
PATIENCE = 40.0


def wait_for(what: str, happened: Callable[[], Any], patience: float = PATIENCE) -> Any:
    """
    The first true value of C{happened}.

    @param what: to be told where it does not come.
    """
    deadline = time.monotonic() + patience
    while True:
        found = happened()
        if found:
            return found
        assert time.monotonic() < deadline, f"after {patience} s still not: {what}"
        time.sleep(0.05)


class Member:
    """
    One process of L{kgw.test.live.member}.

    @ivar events: what it has said so far.
    @ivar ended: when it was killed, or ended by itself; C{None} while it runs.
    """

    def __init__(self, name: str, library: str, bootstrap: str, folder: Path, **options: Any) -> None:
        self.name = f"{name} ({library})"
        self.library = library
        self.events: list[dict[str, Any]] = []
        self.ended: float | None = None
        self._stderr = folder / f"{name}.stderr"
        given = {"client_id": "same", "instance": None, "assignor": "range", "session_ms": SESSION_MS, **options}
        with self._stderr.open("ab") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "kgw.test.live.member", library, bootstrap, GROUP, TOPIC, json.dumps(given)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=dict(os.environ, PYTHONPATH=str(Path(kgw.__file__).parent.parent)),
            )
        self._reader = threading.Thread(target=self._read, name=self.name)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            # a process that is killed may leave half a line
            if line.endswith(b"\n"):
                self.events.append(json.loads(line))
        self.ended = self.ended or time.monotonic()

    def kill(self) -> None:
        """End it as a crash would (SIGKILL)."""
        self._end(signal.SIGKILL)

    def leave(self) -> None:
        """Have it leave the group and end (SIGTERM)."""
        self._end(signal.SIGTERM)
        assert self.events and self.events[-1]["event"] == "left", f"{self.name} did not leave: {self.stderr()}"

    def _end(self, number: signal.Signals) -> None:
        if self._process.poll() is None:
            self._process.send_signal(number)
        try:
            self._process.wait(PATIENCE)
        finally:
            self._process.kill()
            self._process.wait()
            self._reader.join()
            if self._process.stdout is not None:
                self._process.stdout.close()

    def said(self, event: str) -> list[dict[str, Any]]:
        """Its events of one kind."""
        return [one for one in list(self.events) if one["event"] == event]

    def owned(self) -> set[int]:
        """The partitions it has now."""
        found: set[int] = set()
        for event in list(self.events):
            if event["event"] == "assigned":
                found |= set(event["partitions"])
            elif event["event"] in ("revoked", "lost"):
                found -= set(event["partitions"])
        return found

    def ownerships(self) -> list[tuple[int, float, float]]:
        """Partition, begin and end of each time that it owned one."""
        since: dict[int, float] = {}
        found = []
        for event in list(self.events):
            if event["event"] == "assigned":
                since.update({partition: event["at"] for partition in event["partitions"]})
            elif event["event"] in ("revoked", "lost"):
                found += [(one, since.pop(one), event["at"]) for one in event["partitions"] if one in since]
        end = self.ended or float("inf")
        return found + [(partition, begin, end) for partition, begin in since.items()]

    def stderr(self) -> str:
        """The end of what it has complained of."""
        return self._stderr.read_text(encoding="utf-8", errors="replace")[-2000:]


class Flow:
    """
    Records that flow to all partitions, a few hundred a second, through whatever happens to the server.

    @ivar acknowledged: the offsets that are durable, by partition.
    """

    def __init__(self, bootstrap: str) -> None:
        self.acknowledged: dict[int, set[int]] = defaultdict(set)
        self._enough = threading.Event()
        self._producer = Producer(
            librdkafka(bootstrap, enable_idempotence=True, linger_ms=5, reconnect_backoff_max_ms=300)
        )
        self._thread = threading.Thread(target=self._run, name="flow")
        self._thread.start()

    def _run(self) -> None:
        number = 0
        while not self._enough.wait(0.02):
            for partition in range(PARTITIONS):
                self._producer.produce(TOPIC, b"%d" % number, partition=partition, on_delivery=self._delivered)
                number += 1
            self._producer.poll(0)

    def _delivered(self, error: Any, message: Any) -> None:
        if error is None:
            self.acknowledged[message.partition()].add(message.offset())

    def stop(self) -> None:
        """Produce no more; wait for what is on its way."""
        self._enough.set()
        self._thread.join()
        assert not self._producer.flush(PATIENCE), "records neither acknowledged nor failed"


@dataclass
class Sight:
    """What the observer saw at one moment: who had which partitions, by member id, while the group was stable."""

    at: float
    owners: dict[str, list[int]] = field(default_factory=dict)


#: What the observer may be told while the server starts anew.
_STARTING = {ErrorCode.COORDINATOR_LOAD_IN_PROGRESS, ErrorCode.COORDINATOR_NOT_AVAILABLE, ErrorCode.NOT_COORDINATOR}


def assigned_partitions(assignment: bytes) -> list[int]:
    """The partitions in what a consumer was given (Kafka: ConsumerProtocolAssignment), sorted."""
    found: list[int] = []
    _, topics = struct.unpack_from(">hi", assignment)
    position = 6
    for _ in range(topics):
        (name,) = struct.unpack_from(">h", assignment, position)
        (count,) = struct.unpack_from(">i", assignment, position + 2 + name)
        position += 6 + name
        found += struct.unpack_from(f">{count}i", assignment, position)
        position += 4 * count
    return sorted(found)


class Observer:
    """
    Asks again and again how the group does, on a plain connection: librdkafka's admin client aborts the whole process
    (an assertion of its own), or never ends a request, when the server goes away under one.

    @ivar wrong: what must not be.
    @ivar committed: the last committed offsets seen.
    @ivar sights: the stable assignments seen.
    """

    def __init__(self, port: int) -> None:
        self.wrong: list[str] = []
        self.committed: dict[int, int] = {}
        self.sights: list[Sight] = []
        self._port = port
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._run, name="observer")
        self._thread.start()

    def _run(self) -> None:
        while not self._enough.wait(0.2):
            try:
                with RawClient(self._port) as client:
                    while not self._enough.wait(0.2):
                        self._look(client)
            except (EOFError, OSError):
                continue  # the server is killed and started again
            except Exception as error:
                self.wrong.append(f"the observer failed: {error!r}")
                raise

    def _told(self, code: int, of: str) -> bool:
        """Whether an answer is one."""
        if code and code not in _STARTING:
            self.wrong.append(f"the observer was told {ErrorCode(code).name} of {of}")
        return not code

    def _look(self, client: RawClient) -> None:
        asked = offset_fetch.Request(groups=[offset_fetch.RequestGroup(GROUP, topics=None)])
        (offsets,) = client.ask(offset_fetch.API, 8, asked).groups
        if self._told(offsets.error_code, "offsets"):
            for topic in offsets.topics:
                for one in topic.partitions:
                    self._committed(one.partition_index, one.committed_offset)
        (group,) = client.ask(describe_groups.API, 5, describe_groups.Request(groups=[GROUP])).groups
        if self._told(group.error_code, "the group") and group.group_state == "Stable":
            self._check({one.member_id: assigned_partitions(one.member_assignment) for one in group.members})

    def _committed(self, partition: int, offset: int) -> None:
        before = self.committed.get(partition, -1)
        if offset < before:
            self.wrong.append(f"the committed offset of {partition} went back from {before} to {offset}")
        self.committed[partition] = offset

    def _check(self, owners: dict[str, list[int]]) -> None:
        owned = sorted(partition for partitions in owners.values() for partition in partitions)
        if len(owned) != len(set(owned)):
            self.wrong.append(f"partitions with two owners: {owners}")
        self.sights.append(Sight(time.monotonic(), owners))

    def stop(self) -> None:
        """Look no more."""
        self._enough.set()
        self._thread.join()


class MembershipTestCase(LiveTestCase):
    """
    A server with a topic of twelve partitions, members in processes, and what has to hold whatever happens to them.

    @ivar members: all that ever were.
    """

    def setUp(self) -> None:
        super().setUp()
        folder = tempfile.TemporaryDirectory(prefix="kgw-members-")
        self.addCleanup(folder.cleanup)
        self._folder = Path(folder.name)
        self.members: list[Member] = []

    def begin(self) -> tuple[GatewayProcess, Flow, Observer]:
        """A server, records and an observer, which end with the test."""
        server = self.serve("--set", "group.initial.rebalance.delay.ms=500")
        port = int(server.bootstrap.rpartition(":")[2])
        create(port, TOPIC, PARTITIONS)
        observer = Observer(port)
        self.addCleanup(observer.stop)
        flow = Flow(server.bootstrap)
        self.addCleanup(flow.stop)
        return server, flow, observer

    def member(self, library: str = "confluent-kafka", **options: Any) -> Member:
        """One more member."""
        name = f"member-{len(self.members)}"
        member = Member(name, library, self.servers[-1].bootstrap, self._folder, **options)
        self.members.append(member)
        self.addCleanup(member.kill)
        return member

    def alive(self) -> list[Member]:
        """The members whose processes run."""
        return [member for member in self.members if member.ended is None]

    def settled(self) -> None:
        """Wait until those that live share all partitions, and nobody else has any."""

        def shared() -> bool:
            owned = [member.owned() for member in self.alive()]
            return all(owned) and sorted(one for some in owned for one in some) == list(range(PARTITIONS))

        wait_for("the living share all partitions", shared)

    def consumed(self) -> dict[int, set[int]]:
        """The offsets that members were handed, by partition."""
        found: dict[int, set[int]] = defaultdict(set)
        for member in self.members:
            for event in member.said("consumed"):
                for partition, (first, last) in event["ranges"].items():
                    found[int(partition)].update(range(first, last + 1))
        return found

    def drained(self, flow: Flow, observer: Observer) -> None:
        """End production, wait until all that was acknowledged is consumed and committed, and check all that holds."""
        flow.stop()
        ends = {partition: max(offsets) + 1 for partition, offsets in flow.acknowledged.items()}

        def missing() -> dict[int, int]:
            consumed = self.consumed()
            lost = {one: len(offsets - consumed[one]) for one, offsets in flow.acknowledged.items()}
            return {one: count for one, count in lost.items() if count}

        wait_for("all records are consumed", lambda: not missing())
        wait_for(
            "all records are committed",
            lambda: all(observer.committed.get(partition, -1) >= end for partition, end in ends.items()),
        )
        observer.stop()
        self.check(observer)

    def check(self, observer: Observer) -> None:
        """No commit was lost or went back, and nothing had two owners."""
        self.assertEqual(observer.wrong, [])
        self.assertGreater(len(observer.sights), 3)
        for member in self.members:
            for event in member.said("committed"):
                for partition, offset in event["offsets"].items():
                    self.assertLessEqual(offset, observer.committed[int(partition)], f"a commit of {member.name}")
        self.assertEqual(self.doubled(), [])
        generations = [
            (event["generation"], event["at"])
            for member in self.members
            for event in member.said("assigned")
            if "generation" in event
        ]
        by_time = [generation for generation, _ in sorted(generations, key=lambda one: one[1])]
        self.assertEqual(by_time, sorted(by_time), "generations only grow")

    def doubled(self) -> list[str]:
        """Partitions that two members owned at the same time."""
        found = []
        spans: dict[int, list[tuple[float, float, str]]] = defaultdict(list)
        for member in self.members:
            for partition, begin, end in member.ownerships():
                spans[partition].append((begin, end, member.name))
        for partition, owners in spans.items():
            owners.sort()
            for (_, end, one), (begin, _, other) in pairwise(owners):
                if begin < end:
                    found.append(f"{partition} went to {other} {end - begin:.3f} s before {one} gave it up")
        return found

    def account(self) -> str:
        """What the members have said, shortly, and the group's history."""
        lines = []
        for member in self.members:
            lines.append(f"--- {member.name}, ended: {member.ended}: {member.stderr()}")
            lines += [str(event) for event in member.events if event["event"] not in ("consumed", "committed")]
        lines += [f"--- history of {GROUP}", *(line for server in self.servers for line in server.history(GROUP))]
        return "\n".join([super().account(), *lines])
