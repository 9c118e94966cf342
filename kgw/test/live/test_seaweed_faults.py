"""SeaweedMQ and kgw killed, stopped and started again under load: what was acknowledged is there, once and in order."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from functools import cache
from math import inf
from typing import Any

from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

from kgw.handlers import list_offsets
from kgw.test.live.clients import librdkafka
from kgw.test.live.ledger import Content, Follower, Writer, content, judge
from kgw.test.live.raw import RawClient
from kgw.test.live.server import GatewayProcess, LiveTestCase
from kgw.test.seaweed import Engine

#: How often each fault comes in its test; C{KGW_FAULT_ROUNDS=10} is the long run.
ROUNDS = int(os.environ.get("KGW_FAULT_ROUNDS", "1"))
#: A kgw is back within 2 seconds, so it is killed more often.
GATEWAY_ROUNDS = 2 * ROUNDS
PARTITIONS = 3
#: What is acknowledged before the first fault, between two, and behind the last.
SOME = 100
#: Seconds: the broker's flush interval (1) and what it takes to write a file, see docs/engines.md.
LOSS_WINDOW = 3.0
#: Seconds from when the engine runs until records flow again: about 1, but at times its broker needs 25 for itself.
RECOVERY = 45.0
#: A partition that nobody writes to for 5 minutes is put out of the broker's memory; it looks once a minute.
IDLE = 390.0
#: Lines that kgw may log in one outage.
LINES = 30
#: Longer than a gateway's lease lasts without the filer, in seconds.
LONG = 13.0


@cache
def _engine() -> Engine:
    """The one that these tests break, and nobody else."""
    return Engine()


class FaultCase(LiveTestCase):
    """kgw processes on a SeaweedMQ that belongs to these tests alone."""

    def setUp(self) -> None:
        super().setUp()
        self.weed = _engine().start()

    def account(self) -> str:
        """What is shown when a test fails."""
        return f"{super().account()}\n--- broker\n{self.weed.output('broker')}"

    def gateway(self, *options: str) -> GatewayProcess:
        """A started kgw on the engine."""
        masters = ",".join(self.weed.masters)
        return self.serve("--masters", masters, "--set", "log.flush.offset.checkpoint.interval.ms=2000", *options)

    def create(self, server: GatewayProcess, topic: str, partitions: int = PARTITIONS) -> None:
        admin = AdminClient(librdkafka(server.bootstrap))
        for future in admin.create_topics([NewTopic(topic, partitions, 1)]).values():
            future.result(20)

    def write(self, server: GatewayProcess, topic: str, name: str = "whole", partitions: int = PARTITIONS) -> Writer:
        """An idempotent producer, C{acks=all}, that goes on through all faults."""
        writer = Writer(name, server.bootstrap, topic, partitions, enable_idempotence=True, acks=-1)
        self.addCleanup(writer.finish)
        return writer

    def write_fast(self, server: GatewayProcess, topic: str, name: str, **configs: Any) -> Writer:
        """A producer with C{acks=1} that sends nothing twice."""
        writer = Writer(name, server.bootstrap, topic, PARTITIONS, acks=1, retries=0, **configs)
        self.addCleanup(writer.finish)
        return writer

    def follow(self, server: GatewayProcess, topic: str) -> Follower:
        follower = Follower(server.bootstrap, topic, PARTITIONS)
        self.addCleanup(follower.finish)
        return follower

    def assertKept(self, writer: Writer, found: Content) -> None:
        """Everything acknowledged is where its acknowledgement said, as it was sent, once, and in order."""
        self.assertGreater(len(writer.promises), 0, writer.name)
        verdict = judge(writer, found)._asdict()
        some = {fault: records[:3] for fault, records in verdict.items() if records}
        self.assertEqual(some, {}, f"{writer.name}, {len(writer.promises)} records")

    def assertAllKept(self, writer: Writer, found: Content) -> None:
        """As L{assertKept}, and nothing that was handed over has failed."""
        self.assertEqual(dict(writer.failures), {}, writer.name)
        self.assertEqual(len(writer.promises), writer.handed_over, writer.name)
        self.assertKept(writer, found)

    def epoch(self, server: GatewayProcess, topic: str) -> int:
        """The leader epoch at the end of partition 0."""
        partition = list_offsets.RequestPartition(0, timestamp=list_offsets.Sentinel.LATEST)
        with RawClient(server.port) as client:
            request = list_offsets.Request(-1, topics=[list_offsets.RequestTopic(topic, [partition])])
            found = client.ask(list_offsets.API, 4, request).topics[0].partitions[0]
        self.assertEqual(found.error_code, 0)
        epoch: int = found.leader_epoch
        return epoch

    def tell(self, what: str, seconds: list[float]) -> None:
        """Show measured times where the long run is made."""
        if ROUNDS > 1:
            ordered = sorted(seconds)
            print(f"\n{what}: median {ordered[len(ordered) // 2]:.2f} s, longest {ordered[-1]:.2f} s of {len(ordered)}")


class OutageCase(FaultCase):
    """The engine fails, kgw lives: nobody notices more than a pause, with C{acks=1} either."""

    def through(self, topic: str, fault: Callable[[], None]) -> None:
        """Let the engine fail under load, and check everything afterwards."""
        chance = random.Random(topic)
        server = self.gateway()
        self.create(server, topic)
        follower = self.follow(server, topic)
        writers = [self.write(server, topic), self.write_fast(server, topic, "fast")]
        for writer in writers:
            writer.wait_for_acknowledgements(SOME)
        back = []
        for _ in range(ROUNDS):
            time.sleep(chance.random() * 1.5)
            before = server.logged
            fault()
            begun = time.monotonic()
            self.weed.start()
            usable = time.monotonic()
            for writer in writers:
                writer.forget_acknowledgements()
            for writer in writers:
                writer.wait_for_acknowledgements(SOME)
            back.append(time.monotonic() - usable)
            self.tell(f"{topic}, the engine's start", [usable - begun])
            self.assertClear(server, before)
        for writer in writers:
            writer.finish()
        self.tell(f"{topic}, records flow again after the engine runs", back)
        self.assertLess(max(back), RECOVERY)
        found = content(server.bootstrap, topic, PARTITIONS)
        for writer in writers:
            self.assertAllKept(writer, found)
        follower.wait_for(len(found))
        follower.finish()
        self.assertEqual(follower.again, [])
        self.assertEqual(follower.seen, found)

    def assertClear(self, server: GatewayProcess, before: int) -> None:
        """The log says what happened, and not over and over."""
        lines = server.log_lines(before)
        said = "\n".join(lines)
        self.assertRegex(said, r"publishing to \S+ is interrupted: ")
        self.assertRegex(said, r"publishing goes on after [\d.]+ s; \d+ partition\(s\)")
        self.assertNotIn("Traceback", said)
        self.assertLessEqual(len(lines), LINES, said)


class EngineFaultTests(OutageCase):
    """All of the engine fails."""

    def test_engine_killed(self) -> None:
        """SIGKILL to all of the engine: kgw sends again what only the broker's memory had."""
        self.through("engine-killed", self.weed.kill)

    def test_engine_terminated(self) -> None:
        """
        SIGTERM to all of the engine, which goes on acknowledging after it can write nothing any more, and SIGKILL to
        what is left of it after a while; in the long run it is given all the time it takes.
        """
        self.through("engine-terminated", lambda: self.weed.terminate(3.0 if ROUNDS == 1 else None))


class LongFaultTests(OutageCase):
    """All of the engine is away for longer than the gateway's lease lasts."""

    def assertClear(self, server: GatewayProcess, before: int) -> None:
        """It was suspended, and nothing of what it held was thrown away."""
        super().assertClear(server, before)
        said = "\n".join(server.log_lines(before))
        self.assertIn("leads nothing for now: ", said)
        self.assertIn("goes on: nobody has taken anything meanwhile", said)
        self.assertNotIn("fenced itself", said)

    def test_engine_away_for_long(self) -> None:
        """kgw waits for it, and sends again what only the broker's memory had."""

        def fault() -> None:
            self.weed.kill()
            time.sleep(LONG)

        self.through("engine-away", fault)


class GatewayFaultTests(FaultCase):
    """kgw dies, with the engine or alone."""

    def test_gateway_killed(self) -> None:
        """SIGKILL to kgw: the engine has what it acknowledged, and a producer's repetitions are recognised."""
        chance = random.Random(1)
        server = self.gateway()
        self.create(server, "kgw-killed")
        whole = self.write(server, "kgw-killed")
        fast = [self.write_fast(server, "kgw-killed", "fast-0")]
        starts, back = [], []
        for turn in range(GATEWAY_ROUNDS):
            for writer in (whole, fast[-1]):
                writer.wait_for_acknowledgements(SOME)
            time.sleep(chance.random() * 1.5)
            server.kill()
            begun = time.monotonic()
            server.start()
            starts.append(time.monotonic() - begun)
            whole.forget_acknowledgements()
            back.append(whole.wait_for_acknowledgements(1))
            fast[-1].finish()
            fast.append(self.write_fast(server, "kgw-killed", f"fast-{turn + 1}"))
        for writer in (whole, fast[-1]):
            writer.wait_for_acknowledgements(SOME)
            writer.finish()
        self.tell("kgw's start after SIGKILL", starts)
        self.tell("the first acknowledgement after it", back)
        found = content(server.bootstrap, "kgw-killed", PARTITIONS)
        self.assertAllKept(whole, found)
        for writer in fast:
            self.assertKept(writer, found)

    def test_both_killed(self) -> None:
        """
        SIGKILL to kgw and the engine: C{acks=all} has lost nothing. C{acks=1} may have lost what was acknowledged in
        the last moments; what is left is in order, and a new leader epoch says that something may be missing.
        """
        chance = random.Random(2)
        server = self.gateway()
        self.create(server, "both-killed")
        whole = self.write(server, "both-killed")
        fast: list[Writer] = []
        killed: list[float] = []
        for turn in range(ROUNDS):
            fast.append(self.write_fast(server, "both-killed", f"fast-{turn}"))
            for writer in (whole, fast[-1]):
                writer.wait_for_acknowledgements(SOME)
            time.sleep(chance.random() * 1.5)
            epoch = self.epoch(server, "both-killed")
            self.weed.kill()
            killed.append(time.monotonic())
            server.kill()
            self.weed.start()
            server.start()
            fast[-1].finish()
            self.assertGreater(self.epoch(server, "both-killed"), epoch)
            whole.forget_acknowledgements()
            whole.wait_for_acknowledgements(SOME)
        whole.finish()
        found = content(server.bootstrap, "both-killed", PARTITIONS)
        self.assertAllKept(whole, found)
        lost: list[float] = []
        for writer in fast:
            verdict = judge(writer, found)
            self.assertEqual((verdict.moved, verdict.doubled, verdict.disordered, verdict.changed), ([], [], [], []))
            # a writer goes on for a moment after its kill, so the next may be the one
            lost += [min([at - one.at for at in killed if at >= one.at], default=inf) for one in verdict.lost]
        self.assertLess(max(lost, default=0.0), LOSS_WINDOW, "lost, though it was acknowledged long before")
        if ROUNDS > 1:
            print(f"\nacks=1: {len(lost)} of {sum(len(writer.promises) for writer in fast)} records lost")
            self.tell("acks=1, lost though acknowledged so long before a kill", lost or [0.0])

    def test_topics_changed(self) -> None:
        """A topic deleted, made again with the same name, and grown: each has its own records, after a crash too."""
        server = self.gateway()
        admin = AdminClient(librdkafka(server.bootstrap))
        for turn in range(2):
            self.create(server, "again")
            writer = self.write(server, "again", f"life-{turn}")
            writer.wait_for_acknowledgements(SOME)
            writer.finish()
            self.assertAllKept(writer, content(server.bootstrap, "again", PARTITIONS))
            if turn == 0:
                for future in admin.delete_topics(["again"]).values():
                    future.result(20)
        for future in admin.create_partitions([NewPartitions("again", PARTITIONS + 2)]).values():
            future.result(20)
        grown = self.write(server, "again", "grown", PARTITIONS + 2)
        grown.wait_for_acknowledgements(SOME)
        if ROUNDS > 1:
            self.weed.kill()
        server.kill()
        self.weed.start()
        server.start()
        grown.forget_acknowledgements()
        grown.wait_for_acknowledgements(SOME)
        grown.finish()
        found = content(server.bootstrap, "again", PARTITIONS + 2)
        self.assertEqual(len(found), len(writer.promises) + len(grown.promises))
        for each in (writer, grown):
            self.assertAllKept(each, found)


class PartialFaultTests(OutageCase):
    """
    A part of the engine fails. Last of all, as its other tests would have to wait: once a broker was killed nothing
    can be created for 20 seconds, because it has to get back a lock that it has itself.
    """

    def test_broker_killed(self) -> None:
        """SIGKILL to the broker alone."""
        self.through("broker-killed", self.weed.kill_broker)


class IdleTests(FaultCase):
    """What takes minutes; made only where C{KGW_SLOW=1} says so."""

    def test_idle_partition(self) -> None:
        """A partition that nobody writes to for over 5 minutes is read and written as before, and after a crash too."""
        server = self.gateway()
        self.create(server, "idle")
        first = self.write(server, "idle", "first")
        first.wait_for_acknowledgements(SOME)
        first.finish()
        time.sleep(IDLE)
        self.assertAllKept(first, content(server.bootstrap, "idle", PARTITIONS))
        second = self.write(server, "idle", "second")
        second.wait_for_acknowledgements(SOME)
        server.kill()
        server.start()
        second.wait_for_acknowledgements(SOME)
        second.finish()
        found = content(server.bootstrap, "idle", PARTITIONS)
        for writer in (first, second):
            self.assertAllKept(writer, found)


if os.environ.get("KGW_SLOW") != "1":
    del IdleTests
