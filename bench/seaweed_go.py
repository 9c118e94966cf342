"""kgw against SeaweedFS' own gateway in Go, each on an engine of its own: C{python -m bench.seaweed_go}.

  python -m bench.seaweed_go --quick                        small counts, one round: does it work?
  python -m bench.seaweed_go                                100,000 records, three rounds: about a quarter of an hour
  python -m bench.seaweed_go --into docs/performance.md     the numbers go between the page's marks

What is measured, and how: docs/performance.md, "SeaweedMQ". Needs confluent-kafka; Linux only.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from kgw.bench.machine import Spent, Stopwatch, awake, describe, memory_of
from kgw.bench.report import table
from kgw.test.live.go_gateway import GoGateway
from kgw.test.live.server import GatewayProcess
from kgw.test.seaweed import Engine

BEGIN, END = "<!-- seaweed: begin -->", "<!-- seaweed: end -->"
KGW, GO = "kgw", "Go"
PATIENCE = 120.0
#: Different values, together larger than the window of any codec: the engine compresses what it writes to files.
VALUES = 1000
SIZES = (100, 1000)
RATE = 500
#: Seconds after which the engine has written all there is to files, once a gateway that does not say so has ended.
SETTLE = 3.0


class Side:
    """
    A gateway on an engine of its own.

    @ivar name: L{KGW} or L{GO}.
    @ivar topics: what was produced and is still to be read as history: the topic's name, by case.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.engine = Engine().start()
        self._gateway: GatewayProcess | GoGateway
        if name == KGW:
            self._gateway = GatewayProcess(folder, "--masters", ",".join(self.engine.masters))
        else:
            self._gateway = GoGateway(self.engine.masters)
        self._gateway.start()
        self.topics: list[tuple[int, str]] = []

    @property
    def bootstrap(self) -> str:
        """What clients are told."""
        return self._gateway.bootstrap

    @property
    def pid(self) -> int:
        """The gateway's process."""
        return self._gateway.pid

    def restart(self) -> None:
        """Everything is in files afterwards: the gateway ends, the engine is killed, and both are started."""
        self._stop_gateway()
        time.sleep(SETTLE)
        self.engine.restart()
        self._gateway.start()

    def end(self) -> None:
        """Stop the gateway and remove the engine."""
        self._stop_gateway()
        if isinstance(self._gateway, GoGateway):
            self._gateway.discard()
        self.engine.discard()

    def _stop_gateway(self) -> None:
        if isinstance(self._gateway, GoGateway):
            self._gateway.stop()
        else:
            self._gateway.terminate()


@dataclass
class Samples:
    """
    One row: what each side came to in each round.

    @ivar more: whether more is better.
    @ivar goal: what the ratio of kgw to the Go gateway is to be, at least or (where less is better) at most.
    @ivar bound: what kgw's own number is to be, at most.
    """

    name: str
    more: bool = True
    goal: float | None = None
    bound: float | None = None
    of: dict[str, list[float]] = field(default_factory=lambda: {KGW: [], GO: []})

    def ratio(self) -> float | None:
        """The median of the ratios within the rounds."""
        pairs = [(mine, other) for mine, other in zip(self.of[KGW], self.of[GO], strict=False) if other]
        return median([mine / other for mine, other in pairs]) if pairs else None

    def cells(self) -> list[str]:
        """The row of the table."""
        ratio = self.ratio()
        cells = [self.name, ""]
        for side in (KGW, GO):
            found = self.of[side]
            value = median(found) if found else None
            cells.append("-" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.3g}")
        cells.append("-" if ratio is None else f"{ratio:.3g}")
        if self.bound is not None:
            return [*cells, f"kgw at most {self.bound:g}", "yes" if median(self.of[KGW]) <= self.bound else "NO"]
        if self.goal is None or ratio is None:
            return [*cells, "-", "-"]
        met = ratio >= self.goal if self.more else ratio <= self.goal
        return [*cells, f"{'at least' if self.more else 'at most'} {self.goal:g}", "yes" if met else "NO"]


# Clients


def values(size: int) -> list[bytes]:
    """Records that compress about as well as text."""
    digits = random.Random(size)
    return [digits.randbytes(size // 2).hex().encode() for _ in range(VALUES)]


def create(side: Side, topic: str) -> None:
    """Make a topic of one partition."""
    admin = AdminClient({"bootstrap.servers": side.bootstrap})
    for created in admin.create_topics([NewTopic(topic, 1, 1)]).values():
        created.result(PATIENCE)


def produce(side: Side, topic: str, count: int, size: int) -> Spent:
    """Hand over C{count} records, and wait until all are acknowledged (acks=1)."""
    refused: list[Any] = []
    producer = Producer(
        {
            "bootstrap.servers": side.bootstrap,
            "acks": 1,
            "linger.ms": 5,
            "queue.buffering.max.messages": 10_000_000,
            "queue.buffering.max.kbytes": 2_000_000,
            "delivery.report.only.error": True,
            "on_delivery": lambda error, _: refused.append(error),
        }
    )
    producer.list_topics(topic, timeout=PATIENCE)
    send, poll = producer.produce, producer.poll
    watch = Stopwatch(side.pid)
    for number, value in enumerate(islice(cycle(values(size)), count)):
        send(topic, value, partition=0)
        if number % 10_000 == 0:
            poll(0)
    left = producer.flush(PATIENCE)
    spent = watch.stop()
    if left or refused:
        raise SystemExit(f"{side.name}: {left or len(refused)} records were not acknowledged: {refused[:1]}")
    return spent


def consume(side: Side, topic: str, count: int) -> Spent:
    """Read a topic from its start, and see that it has as many records as were sent, each at its offset."""
    consumer = Consumer(
        {
            "bootstrap.servers": side.bootstrap,
            "group.id": "unused",
            "enable.auto.commit": False,
            # by default librdkafka pauses for a second whenever its queue is full
            "fetch.queue.backoff.ms": 2,
        }
    )
    try:
        consumer.list_topics(topic, PATIENCE)
        watch = Stopwatch(side.pid)
        consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
        seen = 0
        while seen < count:
            messages = consumer.consume(min(10_000, count - seen), PATIENCE)
            if not messages or messages[0].error() is not None:
                said = messages[0].error() if messages else "nothing more"
                raise SystemExit(f"{side.name}: only {seen} of {count} records of {topic} came: {said}")
            seen += len(messages)
            if messages[-1].offset() != seen - 1:
                raise SystemExit(f"{side.name}: {topic} has record {seen - 1} at {messages[-1].offset()}")
        return watch.stop()
    finally:
        consumer.close()


def latencies(side: Side, topic: str, seconds: float) -> list[float]:
    """Milliseconds from handing over a record to its acknowledgement, at a fixed rate of single ones."""
    found: list[float] = []
    producer = Producer({"bootstrap.servers": side.bootstrap, "acks": 1, "linger.ms": 0})
    producer.list_topics(topic, timeout=PATIENCE)
    value = values(100)[0]
    begun = time.perf_counter()
    for number in range(int(RATE * seconds)):
        due = begun + number / RATE
        while (left := due - time.perf_counter()) > 0:
            producer.poll(left)
        sent = time.perf_counter()

        def delivered(error: Any, _: object, sent: float = sent) -> None:
            if error is not None:
                raise SystemExit(f"{side.name}: a record was not acknowledged: {error}")
            found.append((time.perf_counter() - sent) * 1e3)

        producer.produce(topic, value, partition=0, on_delivery=delivered)
    producer.flush(PATIENCE)
    # the first ones open what is opened only once
    return found[len(found) // 10 :]


# What is measured


class Bench:
    """
    All of it.

    @ivar rows: by name, in the order in which they were first measured.
    """

    def __init__(self, sides: list[Side], count: int, rounds: int) -> None:
        self.rows: dict[str, Samples] = {}
        self._sides = sides
        self._count = count
        self._rounds = rounds

    def run(self, seconds: float) -> None:
        """All rounds; within each the sides take turns, and the first of one round is the last of the next."""
        for number in range(self._rounds):
            turns = self._sides if number % 2 == 0 else self._sides[::-1]
            with awake(True):
                for size in SIZES:
                    for side in turns:
                        self._fresh(side, f"fresh-{size}-{number}", size)
                for side in turns:
                    topic = f"single-{number}"
                    create(side, topic)
                    found = sorted(latencies(side, topic, seconds))
                    self._add(side, f"p50 at {RATE}/s, ms", found[len(found) // 2], more=False, goal=1.1)
                    self._add(side, f"p99 at {RATE}/s, ms", found[len(found) * 99 // 100], more=False)
            for side in turns:
                topic = f"idle-{number}"
                create(side, topic)
                spent = produce(side, topic, self._count, 100)
                self._add(side, "produce 100 B, cores asleep, records/s", self._count / spent.seconds, goal=20)
        for side in self._sides:
            side.restart()
        with awake(True):
            for number in range(self._rounds):
                for size in SIZES:
                    for side in self._sides if number % 2 == 0 else self._sides[::-1]:
                        spent = consume(side, f"fresh-{size}-{number}", self._count)
                        goal = 4 if size == 100 else None
                        self._add(side, f"consume {size} B, history, records/s", self._count / spent.seconds, goal=goal)

    def _fresh(self, side: Side, topic: str, size: int) -> None:
        create(side, topic)
        spent = produce(side, topic, self._count, size)
        goal = 8 if size == 100 else None
        self._add(side, f"produce {size} B, records/s", self._count / spent.seconds, goal=goal)
        bound = 5 if size == 100 else None
        self._add(side, f"produce {size} B, gateway CPU us/record", self._us(spent), more=False, bound=bound)
        spent = consume(side, topic, self._count)
        goal = 6 if size == 100 else None
        self._add(side, f"consume {size} B, tail, records/s", self._count / spent.seconds, goal=goal)
        self._add(side, f"consume {size} B, tail, gateway CPU us/record", self._us(spent), more=False)

    def _us(self, spent: Spent) -> float:
        return (spent.server or 0.0) / self._count * 1e6

    def _add(
        self,
        side: Side,
        name: str,
        value: float,
        more: bool = True,
        goal: float | None = None,
        bound: float | None = None,
    ) -> None:
        row = self.rows.setdefault(name, Samples(name, more, goal, bound))
        row.of[side.name].append(value)
        print(f"{side.name:4} {name}: {value:,.2f}", flush=True)


class MemoryWatch:
    """
    Looks at processes' resident memory ten times a second.

    @ivar seen: in bytes, by name.
    """

    def __init__(self, pids: Mapping[str, int]) -> None:
        self.seen: dict[str, list[int]] = {name: [] for name in pids}
        self._pids = pids
        self._done = threading.Event()
        self._look()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def stop(self) -> None:
        """Look once more, and no more."""
        self._done.set()
        self._thread.join()
        self._look()

    def _watch(self) -> None:
        while not self._done.wait(0.1):
            self._look()

    def _look(self) -> None:
        for name, pid in self._pids.items():
            self.seen[name].append(memory_of(pid).resident)


def memory_while_flowing(side: Side, count: int) -> str:
    """How much memory gateway and engine take while so many records of 100 bytes flow through, and are read again."""
    create(side, "flow")
    pids = {"kgw": side.pid, "weed server": side.engine.server_pid, "weed mq.broker": side.engine.broker_pid}
    watch = MemoryWatch(pids)
    try:
        with awake(True):
            written = produce(side, "flow", count, 100)
            read = consume(side, "flow", count)
    finally:
        watch.stop()
    rows = [
        [name, "", *[f"{value / 1e6:,.0f} MB" for value in (seen[0], max(seen), seen[-1])]]
        for name, seen in watch.seen.items()
    ]
    said = (
        f"{count:,} records of 100 bytes, written in {written.seconds:.1f} s and then read in {read.seconds:.1f} s;"
        f" {(written.server or 0.0) / count * 1e6:.2f} and {(read.server or 0.0) / count * 1e6:.2f} us of kgw's CPU."
    )
    return f"{said}\n\n{table(['resident memory', '', 'before', 'highest', 'at the end'], rows)}"


def report(bench: Bench, memory: str, count: int, rounds: int, before: dict[str, Any]) -> str:
    """The whole in Markdown."""
    lines = [
        f"{before['cpu']}, {before['cores']} cores, {before['memory_gib']} GiB, Linux {before['kernel']}, Python"
        f" {before['python']}; load {before['load_before']} before, {os.getloadavg()[0]:.2f} after. {count:,} records a"
        f" run, {rounds} rounds.",
        "",
        table(["run", "", "kgw", "Go", "ratio", "goal", "met"], [row.cells() for row in bench.rows.values()]),
        "",
        memory,
        "",
    ]
    return "\n".join(lines)


def put_into(page: Path, text: str) -> None:
    """Replace what stands between the marks."""
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"{page} has no lines {BEGIN} and {END}")
    page.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}", encoding="utf-8")


@contextlib.contextmanager
def sides() -> Iterator[list[Side]]:
    """Both, until they are not needed any more."""
    with tempfile.TemporaryDirectory(prefix="kgw-bench-") as folder, contextlib.ExitStack() as stack:
        both: list[Side] = []
        for name in (KGW, GO):
            both.append(Side(name, Path(folder)))
            stack.callback(both[-1].end)
        yield both


def main(arguments: list[str]) -> None:
    """Run it."""
    parser = argparse.ArgumentParser(prog="python -m bench.seaweed_go", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="20,000 records, one round")
    parser.add_argument("--records", type=int, default=100_000, help="of each run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--flow", type=int, default=2_000_000, help="records that flow while memory is watched")
    parser.add_argument("--seconds", type=float, default=5.0, help=f"at {RATE} records a second")
    parser.add_argument("--into", type=Path, metavar="PAGE", help="put the numbers between the marks of a page")
    options = parser.parse_args(arguments)
    if options.quick:
        options.records, options.rounds, options.flow, options.seconds = 20_000, 1, 50_000, 2.0
    before = describe()
    with sides() as both:
        bench = Bench(both, options.records, options.rounds)
        bench.run(options.seconds)
        memory = memory_while_flowing(both[0], options.flow)
    text = report(bench, memory, options.records, options.rounds, before)
    print(text)
    if options.into:
        put_into(options.into, text)


if __name__ == "__main__":
    main(sys.argv[1:])
