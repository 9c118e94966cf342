"""The runs that have a rate: what is sent, how, and which limit server stands beside it."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from kgw.bench import clients, load, requests
from kgw.bench.server import Server
from kgw.wire.records import peek

_NUMBERS = itertools.count(1)

#: Requests per second of the latency runs.
LATENCY_RATE = 500.0
#: No run writes more than this, in bytes.
_MOST_BYTES = 1_500_000_000
#: What is read again and again: within what kgw keeps in memory, and well beyond it.
_RECENT_BYTES = 16_000_000
_OLD_BYTES, _OLD_READ_BYTES = 160_000_000, 64_000_000


@dataclass(frozen=True)
class Plan:
    """
    How much of everything.

    @ivar share: of the records that librdkafka runs handle.
    @ivar seconds: that a raw run takes.
    @ivar latency_seconds: that a run at a fixed rate takes.
    """

    rounds: int = 3
    share: float = 1.0
    seconds: float = 2.0
    latency_seconds: float = 10.0


QUICK = Plan(rounds=1, share=0.2, seconds=0.5, latency_seconds=1.5)


@dataclass(frozen=True)
class Sample:
    """
    One run against one server.

    @ivar name: of the run.
    @ivar count: records or requests.
    @ivar size: bytes of each.
    @ivar server_cpu: seconds, all threads; C{None} where it is not known.
    @ivar p50: seconds; 0 where latency was not measured.
    @ivar late: how late the generator was with one request in a hundred, in seconds.
    @ivar paced: the generator chose the rate.
    """

    name: str
    count: int
    size: int
    seconds: float
    server_cpu: float | None
    client_cpu: float
    p50: float = 0.0
    p99: float = 0.0
    late: float = 0.0
    paced: bool = False


Run = Callable[[Server, Plan], list[Sample]]


@dataclass(frozen=True)
class Case:
    """
    Something to be measured on each server.

    @ivar group: C{librdkafka}, C{raw} or C{latency}.
    @ivar limit: options of the limit server beside it, or C{None} where none makes sense.
    @ivar quick: whether it is part of C{--quick}.
    """

    group: str
    name: str
    run: Run
    limit: tuple[str, ...] | None = ()
    quick: bool = True


def records_in(batch: bytes) -> int:
    """How many offsets a batch takes."""
    return peek(batch).last_offset + 1


@contextlib.contextmanager
def topic_on(server: Server, partitions: int = 1, configs: Mapping[str, str] | None = None) -> Iterator[str]:
    """A new topic with a name of fixed length, deleted in the end."""
    name = f"kgw-bench-{os.getpid() % 10_000_000:07}-{next(_NUMBERS) % 1000:03}"
    with server.address.connect() as connection:
        requests.create_topics_on(connection, [name], partitions, configs)
    try:
        yield name
    finally:
        with server.address.connect() as connection:
            requests.ask(connection, requests.delete_request(name))
        # the deletion is not to be part of what comes next
        time.sleep(0.1)


def _sample(name: str, outcome: load.Outcome, paced: bool = False) -> Sample:
    spent = outcome.spent
    return Sample(
        name,
        outcome.count,
        outcome.size,
        spent.seconds,
        spent.server,
        spent.client,
        outcome.p50,
        outcome.p99,
        outcome.late,
        paced,
    )


@dataclass(frozen=True)
class Produce:
    """
    Produces of equal batches over plain sockets.

    @ivar size: bytes of a batch, about.
    @ivar record: bytes of each record's value in it.
    @ivar rate: requests per second; 0 for as many as go.
    """

    name: str
    size: int
    record: int
    connections: int = 1
    window: int = 1
    rate: float = 0.0
    configs: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, server: Server, plan: Plan) -> list[Sample]:
        """
        Run it.

        @raise BenchError: the server refuses, or has not kept what it acknowledged.
        """
        batch = requests.batch_of(self.size, self.record)
        with topic_on(server, configs=self.configs) as topic:
            request = requests.produce_request(topic, batch)
            with server.address.connect() as connection:
                answer = requests.produced_first(connection, request)
                what = load.Load([request], len(answer), self.connections, self.window)
                if self.rate:
                    outcome = load.paced(server.address, what, server.pid, plan.latency_seconds, self.rate)
                else:
                    most = _MOST_BYTES // len(request)
                    outcome = load.pipelined(server.address, what, server.pid, plan.seconds, most)
                offset = requests.check_produced(requests.ask(connection, request))
            expected = (1 + outcome.count) * records_in(batch)
            if server.keeps_records and offset != expected:
                raise requests.BenchError(f"{self.name}: the partition ends at {offset} instead of {expected}")
        return [_sample(self.name, outcome, paced=bool(self.rate))]


@dataclass(frozen=True)
class Fetch:
    """
    Fetches of one batch each over plain sockets, from place to place in a partition.

    @ivar size: bytes of a batch, about.
    @ivar stored: bytes that the partition holds.
    @ivar read: bytes of it, from the start, that are read.
    """

    name: str
    size: int
    connections: int
    stored: int = _RECENT_BYTES
    read: int = _RECENT_BYTES

    def __call__(self, server: Server, plan: Plan) -> list[Sample]:
        """
        Run it.

        @raise BenchError: the server refuses, or answers no records.
        """
        batch = requests.batch_of(self.size, 1000)
        records = records_in(batch)
        with topic_on(server) as topic:
            request = requests.produce_request(topic, batch)
            with server.address.connect() as connection:
                requests.produced_first(connection, request)
                for _ in range(self.stored // len(batch) - 1 if server.keeps_records else 0):
                    requests.ask(connection, request)
                offsets = range(0, self.read // len(batch) * records, records)
                asked = [requests.fetch_request(topic, offset, len(batch)) for offset in offsets]
                answer = requests.ask(connection, asked[0])
                if requests.check_fetched(answer) != len(batch):
                    raise requests.BenchError(f"{self.name}: a Fetch brought another number of bytes than one batch")
            what = load.Load(asked, len(answer), self.connections)
            outcome = load.pipelined(server.address, what, server.pid, plan.seconds, 1 << 60)
        return [_sample(self.name, outcome)]


@dataclass(frozen=True)
class Librdkafka:
    """
    Records produced and then consumed by librdkafka.

    @ivar name: what follows "produce" and "consume" in the names of its samples.
    @ivar count: of records, at a share of 1.
    @ivar size: bytes of each.
    """

    name: str
    count: int
    size: int
    codec: str = "none"
    partitions: int = 1

    def __call__(self, server: Server, plan: Plan) -> list[Sample]:
        """
        Run it.

        @raise BenchError: records are refused or do not come.
        """
        count = max(1000, int(self.count * plan.share))
        with topic_on(server, self.partitions) as topic:
            produced = clients.produce(server, topic, count, self.size, self.codec)
            consumed = clients.consume(server, topic, count, self.partitions)
        return [
            Sample(f"{verb} {self.name}", count, self.size, *spent)
            for verb, spent in (("produce", produced), ("consume", consumed))
        ]


def _librdkafka() -> Iterator[Case]:
    for partitions in (1, 4):
        for label, count, size in (("100 B", 2_000_000, 100), ("1 KB", 500_000, 1000)):
            for codec in ("none", "lz4"):
                name = f"{label} {codec} {partitions} part."
                run = Librdkafka(name, count, size, codec, partitions)
                quick = partitions == 1 and codec == "none"
                yield Case("librdkafka", name, run, None, quick)


def _produce(
    name: str, size: int, connections: int, window: int, limit: tuple[str, ...] = (), quick: bool = True
) -> Case:
    record = 100 if size < 200 else 1000
    return Case("raw", name, Produce(name, size, record, connections, window), limit, quick)


def _fetch(name: str, size: int, connections: int, old: bool = False) -> Case:
    run = Fetch(name, size, connections, _OLD_BYTES, _OLD_READ_BYTES) if old else Fetch(name, size, connections)
    limit = ("--fetch-bytes", str(size), "--read", "file" if old else "memory")
    return Case("raw", name, run, limit, not old)


def _latency(name: str, configs: Mapping[str, str], limit: tuple[str, ...] | None) -> Case:
    return Case("latency", name, Produce(name, 170, 100, rate=LATENCY_RATE, configs=configs), limit)


CASES: tuple[Case, ...] = (
    *_librdkafka(),
    _produce("Produce tiny 4x16", 170, 4, 16),
    _produce("Produce tiny 1x1", 170, 1, 1),
    _produce("Produce tiny 200x1", 170, 200, 1, quick=False),
    _produce("Produce 16 KB 4x4", 16_000, 4, 4),
    _produce("Produce 1 MB 1x4", 1_000_000, 1, 4),
    _produce("Produce 1 MB 1x4, limit recycles", 1_000_000, 1, 4, ("--store", "recycle"), quick=False),
    _fetch("Fetch 64 KB 4x1", 65_536, 4),
    _fetch("Fetch 1 MB 2x1", 1_000_000, 2),
    _fetch("Fetch 1 MB 2x1, old", 1_000_000, 2, old=True),
    _latency("500/s", {}, ()),
    _latency("500/s flush.messages=1", {"flush.messages": "1"}, None),
)
