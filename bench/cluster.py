"""What one, two and three gateways on one SeaweedMQ do side by side on this machine; C{python -m bench.cluster}.

librdkafka produces to a topic of twelve partitions and reads it again, each number of gateways on an engine of its own.
All of it shares this machine, so this says what a record costs each process, and not how fast many machines are.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import cycle, islice
from pathlib import Path
from typing import Any, NamedTuple

from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition

from kgw.bench.machine import cpu_of, describe
from kgw.brokers.model import Assignment, Led, Version
from kgw.test.live.fleet import Fleet
from kgw.test.live.raw import create
from kgw.test.seaweed import Engine

_TOPIC, _PARTITIONS, _SIZE = "t", 12, 100
_PATIENCE = 60.0
#: How long nothing happens, to see what gateways take then, in seconds.
_IDLE_S = 20.0
_MILLION = 1e6


class Cost(NamedTuple):
    """
    What something took.

    @ivar gateways: CPU of all gateways, in seconds; so are the others.
    @ivar server: of C{weed server}, which is the filer.
    """

    seconds: float
    gateways: float
    broker: float
    server: float
    client: float


class Row(NamedTuple):
    """The numbers of so many gateways."""

    gateways: int
    produced: Cost
    consumed: Cost
    idle: Cost


def _costing(engine: Engine, fleet: Fleet, work: Callable[[], None]) -> Cost:
    def now() -> Cost:
        gateways = sum(cpu_of(ship.pid) for ship in fleet.ships)
        weed = cpu_of(engine.broker_pid), cpu_of(engine.server_pid)
        return Cost(time.perf_counter(), gateways, *weed, time.process_time())

    before = now()
    work()
    return Cost(*(after - then for after, then in zip(now(), before, strict=True)))


def _produce(bootstrap: str, count: int) -> None:
    failed: list[Any] = []
    producer = Producer(
        {
            "bootstrap.servers": bootstrap,
            "acks": 1,
            "linger.ms": 5,
            "queue.buffering.max.messages": 2_000_000,
            "delivery.report.only.error": True,
            "on_delivery": lambda error, _: failed.append(error),
        }
    )
    digits = random.Random(_SIZE)
    values = [digits.randbytes(_SIZE // 2).hex().encode() for _ in range(1000)]
    for number, value in enumerate(islice(cycle(values), count)):
        # in runs, as a partitioner of today does it
        producer.produce(_TOPIC, value, partition=number // 100 % _PARTITIONS)
        if number % 1000 == 0:
            producer.poll(0)
    left = producer.flush(_PATIENCE)
    if left or failed:
        raise SystemExit(f"{left or len(failed)} records were not acknowledged: {failed[:1]}")


def _consume(bootstrap: str, count: int) -> None:
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "unused",
            "enable.auto.commit": False,
            "fetch.queue.backoff.ms": 2,
            "fetch.wait.max.ms": 100,
        }
    )
    try:
        consumer.assign([TopicPartition(_TOPIC, index, OFFSET_BEGINNING) for index in range(_PARTITIONS)])
        seen = 0
        while seen < count:
            messages = consumer.consume(10_000, _PATIENCE)
            if not messages:
                raise SystemExit(f"only {seen} of {count} records came")
            seen += sum(message.error() is None for message in messages)
    finally:
        consumer.close()


def _measure(gateways: int, count: int) -> Row:
    engine = Engine().start()
    with tempfile.TemporaryDirectory(prefix="kgw-cluster-") as folder:
        fleet = Fleet(Path(folder), engine.masters, gateways)
        try:
            fleet.start()
            create(fleet.ships[0].port, _TOPIC, _PARTITIONS)
            fleet.calm((), (_TOPIC,))
            _produce(fleet.bootstrap, count // 10)
            produced = _costing(engine, fleet, lambda: _produce(fleet.bootstrap, count))
            consumed = _costing(engine, fleet, lambda: _consume(fleet.bootstrap, count + count // 10))
            time.sleep(3.0)
            idle = _costing(engine, fleet, lambda: time.sleep(_IDLE_S))
        finally:
            fleet.kill()
            engine.discard()
    return Row(gateways, produced, consumed, idle)


def _assignments() -> list[str]:
    """How large assignments are, and how long they take to be read."""
    lines = ["| partitions | bytes in the filer | decoding, ms |", "| --: | --: | --: |"]
    chance = random.Random(1)
    members = {node_id: chance.randbytes(16).hex() for node_id in range(1, 11)}
    for topics in (10, 100, 1000):
        led = {
            chance.randbytes(16): Led(
                tuple(chance.randrange(1, 11) for _ in range(10)), tuple(chance.randrange(5) for _ in range(10)), 10
            )
            for _ in range(topics)
        }
        encoded = Assignment(Version(1, 1, "00000000"), members, led).encode()
        begun = time.perf_counter()
        for _ in range(10):
            Assignment.decode(encoded)
        lines.append(f"| {topics * 10:,} | {len(encoded):,} | {(time.perf_counter() - begun) * 100:.1f} |")
    return lines


def main() -> int:
    """Measure, and print tables in Markdown."""
    parser = argparse.ArgumentParser(prog="python -m bench.cluster", description=__doc__)
    parser.add_argument("--records", type=int, default=500_000, help="how many each run has (500,000)")
    parser.add_argument("--gateways", default="1,2,3", help="how many, in turn (1,2,3)")
    options = parser.parse_args()
    print(json.dumps(describe()))
    print(
        "| gateways | produce, records/s | us/record: kgw | broker | client | consume, records/s | us/record: kgw |"
        " idle, % of a core: each kgw | filer |"
    )
    print("| --: " * 9 + "|")
    count = options.records
    for gateways in map(int, options.gateways.split(",")):
        row = _measure(gateways, count)
        made, read, idle = row.produced, row.consumed, row.idle
        each, seen = _MILLION / count, count + count // 10
        print(
            f"| {gateways} | {count / made.seconds:,.0f} | {made.gateways * each:.2f} | {made.broker * each:.2f} |"
            f" {made.client * each:.2f} | {seen / read.seconds:,.0f} | {read.gateways * _MILLION / seen:.2f} |"
            f" {100 * idle.gateways / idle.seconds / gateways:.1f} | {100 * idle.server / idle.seconds:.1f} |",
            flush=True,
        )
    print("\n".join(["", *_assignments()]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
