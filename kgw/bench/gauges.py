"""The measurements without a rate: an idle server, many connections, memory under steady load, time to start."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kgw.bench import load, requests
from kgw.bench.cases import topic_on
from kgw.bench.machine import Stopwatch, memory_of
from kgw.bench.server import Kgw, Server

#: The partitions and the connections of a server that is idle.
IDLE_PARTITIONS, IDLE_CONNECTIONS = 100, 100
MANY_CONNECTIONS = 1000
_TINY = 170
_STEADY_RATE = 1000.0
_MEGA = 1e6
#: What each slice of a steady load is, in seconds.
_SLICE = 1.0
#: Sent before a steady load is looked at: more than servers keep in memory, so that this is full from the start.
_FILLING = 100_000_000
#: A steady load does not fill the disk.
_RETAINED = {"segment.bytes": "33554432", "retention.bytes": "67108864"}


@dataclass(frozen=True)
class Gauge:
    """
    One value of one server.

    @ivar server: its name.
    @ivar unit: C{%}, C{MB}, C{s} ...
    """

    name: str
    server: str
    value: float
    unit: str


IDLE = "idle CPU"
CONNECTIONS = f"{MANY_CONNECTIONS} idle connections, memory"
GROWTH, AT_THE_END = "steady load, growth of memory", "steady load, memory at the end"
EMPTY = "start, nothing on disk"


def idle(server: Server, seconds: float) -> list[Gauge]:
    """CPU of a server with connections and partitions on which nothing happens, in percent of one core."""
    with topic_on(server, IDLE_PARTITIONS), load.idle(server.address, IDLE_CONNECTIONS):
        # what the beginning has left to do
        time.sleep(1.0)
        watch = Stopwatch(server.pid)
        time.sleep(seconds)
        spent = watch.stop()
    return [Gauge(IDLE, server.name, 100 * (spent.server or 0.0) / spent.seconds, "%")]


def connections(server: Server) -> list[Gauge]:
    """Memory that idle connections cost."""
    assert server.pid is not None
    with load.idle(server.address, 10):
        before = memory_of(server.pid)
    with load.idle(server.address, MANY_CONNECTIONS):
        after = memory_of(server.pid)
    grown = (after.resident - before.resident) / _MEGA
    return [Gauge(CONNECTIONS, server.name, grown, "MB")]


def steady(server: Server, seconds: float) -> list[Gauge]:
    """
    Memory that a server has gained between the first third and the end of a steady load.

    What a server keeps of recent records is full before. The load is 1,000 Produces of 1 KB per second and Fetches of
    64 KB in turn, each second on connections of its own.
    """
    assert server.pid is not None
    batch = requests.batch_of(1100, 1000)
    seen = []
    with topic_on(server, configs=_RETAINED) as topic:
        request = requests.produce_request(topic, batch)
        with server.address.connect() as connection:
            answer = requests.produced_first(connection, request)
        filling = load.Load([request], len(answer), connections=4, window=16)
        load.pipelined(server.address, filling, server.pid, min(10.0, seconds), _FILLING // len(request))
        produce = load.Load([request], len(answer))
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            load.paced(server.address, produce, server.pid, _SLICE, _STEADY_RATE)
            _read(server, topic, answer_of=request, size=64 * len(batch))
            seen.append(memory_of(server.pid))
    first, last = seen[len(seen) // 3], seen[-1]
    return [
        Gauge(GROWTH, server.name, (last.anonymous - first.anonymous) / _MEGA, "MB"),
        Gauge(AT_THE_END, server.name, last.resident / _MEGA, "MB"),
    ]


def _read(server: Server, topic: str, answer_of: bytes, size: int) -> None:
    """Read the newest records a hundred times."""
    with server.address.connect() as connection:
        newest = requests.check_produced(requests.ask(connection, answer_of))
        fetch = requests.fetch_request(topic, max(0, newest - 100), size)
        for _ in range(100):
            requests.check_fetched(requests.ask(connection, fetch))


def start(folder: Path, options: Sequence[str], partitions: int) -> list[Gauge]:
    """
    Seconds until a new process is ready with records on disk in each of many partitions: after an orderly stop, and
    after a crash that followed writes to all of them.
    """
    gateway = Kgw(folder, options)
    try:
        server, empty = gateway.start()
        _write_everywhere(server, partitions)
        gateway.stop()
        server, stopped = gateway.start()
        _write_everywhere(server, partitions, create=False)
        gateway.kill()
        _, crashed = gateway.start()
    finally:
        gateway.kill()
    return [
        Gauge(name, server.name, seconds, "s")
        for name, seconds in zip(_start_names(partitions), (empty, stopped, crashed), strict=True)
    ]


def _start_names(partitions: int) -> list[str]:
    return [
        EMPTY,
        f"start, {partitions:,} partitions, after a stop",
        f"start, {partitions:,} partitions, after kill -9",
    ]


def _write_everywhere(server: Server, partitions: int, create: bool = True) -> None:
    batch = requests.batch_of(_TINY, 100)
    with server.address.connect() as connection:
        for number in range(0, partitions, 100):
            topic = f"start-{number:05}"
            if create:
                requests.create_topics_on(connection, [topic], 100)
            requests.check_produced(
                requests.ask(connection, requests.produce_to_all(topic, batch, range(min(100, partitions - number))))
            )


#: What is measured on every server whose process is known.
Measure = Callable[[Server], list[Gauge]]


@dataclass(frozen=True)
class GaugePlan:
    """
    How long gauges take, in seconds, and of how many partitions a start is.

    @ivar idle_seconds: over a minute, so that what a server does once a minute is in it.
    """

    idle_seconds: float = 62.0
    steady_seconds: float = 60.0
    partitions: int = 1000


QUICK = GaugePlan(idle_seconds=3.0, steady_seconds=5.0, partitions=200)


def measures(plan: GaugePlan) -> dict[str, Measure]:
    """By the name of their group."""
    return {
        "idle": lambda server: idle(server, plan.idle_seconds),
        "connections": connections,
        "steady": lambda server: steady(server, plan.steady_seconds),
    }


def names(plan: GaugePlan) -> list[str]:
    """Of all gauges."""
    return [IDLE, CONNECTIONS, GROWTH, AT_THE_END, *_start_names(plan.partitions)]
