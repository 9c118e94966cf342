"""What consumer groups cost: how fast a large one forms, what heartbeats take, how many commits go through.

  python -m bench.groups                  everything, against a kgw it starts
  python -m bench.groups --only commits --json out.json

Members are simulated: each speaks JoinGroup, SyncGroup and Heartbeat as a client would, a few to a connection. Client
and server share the machine; "server cores" (CPU of all threads of the server, from /proc) says what the server takes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import queue
import struct
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kgw.engine.local.state_store import SqliteStateStore
from kgw.errors import ErrorCode
from kgw.handlers import create_topics, heartbeat, join_group, offset_commit, sync_group
from kgw.handlers.contract import Api
from kgw.test.live.server import GatewayProcess

TOPIC = "t"
BEAT_SECONDS = 3.0
_TICKS = os.sysconf("SC_CLK_TCK")
_SESSION_MS, _REBALANCE_MS = 45_000, 60_000
#: Codes after which a client joins again.
_AGAIN = (ErrorCode.REBALANCE_IN_PROGRESS, ErrorCode.ILLEGAL_GENERATION, ErrorCode.MEMBER_ID_REQUIRED)


@dataclass(frozen=True)
class Result:
    """
    One number, and what it should be.

    @ivar goal: what it must reach, or must not exceed where C{at_least} is false; C{None} where it is only told.
    """

    name: str
    value: float
    unit: str
    goal: float | None = None
    at_least: bool = True

    @property
    def met(self) -> bool:
        """Whether it is as it should be."""
        if self.goal is None:
            return True
        return self.value >= self.goal if self.at_least else self.value <= self.goal

    def __str__(self) -> str:
        wanted = "" if self.goal is None else f"  ({'>=' if self.at_least else '<='} {self.goal:g})"
        return f"{self.name:52} {self.value:12,.2f} {self.unit}{wanted}{'' if self.met else '  MISSED'}"


def cpu_of(pid: int) -> float:
    """Seconds of CPU a process has used, in user and kernel mode."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def frame(api: Api, version: int, request: object, client_id: bytes = b"bench") -> bytes:
    """A whole request, with correlation id 7: answers come in the order of the requests."""
    body = struct.pack(">hhih", api.key, version, 7, len(client_id)) + client_id
    if api.is_flexible(version):
        body += b"\0"
    body += b"".join(api.request_codec(version).encode(request))
    return struct.pack(">i", len(body)) + body


class Connection(asyncio.Protocol):
    """One connection, on which any number of requests may wait for their answers."""

    def __init__(self) -> None:
        self._waiting: deque[Callable[[bytes], None]] = deque()
        self._buffer = bytearray()
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep it."""
        self._transport: Any = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Whoever waits, waits for nothing."""
        self.lost = True

    def send(self, request: bytes, answered: Callable[[bytes], None]) -> None:
        """Send a request; C{answered} gets the answer without its size."""
        if self.lost:
            raise RuntimeError("the server has closed a connection")
        self._waiting.append(answered)
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Hand out whole answers."""
        buffer = self._buffer
        buffer += data
        start = 0
        while len(buffer) - start >= 4:
            end = start + 4 + int.from_bytes(buffer[start : start + 4], "big")
            if end > len(buffer):
                break
            self._waiting.popleft()(bytes(buffer[start + 4 : end]))
            start = end
        del buffer[:start]

    async def ask(self, api: Api, version: int, request: object) -> Any:
        """The answer to one request."""
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.send(frame(api, version, request), answer.set_result)
        return decoded(api, version, await answer)


def decoded(api: Api, version: int, answer: bytes) -> Any:
    """What an answer says."""
    start = 5 if api.is_flexible(version) and not api.plain_response_header else 4
    return api.response_codec(version).decode(answer, start)[0]


async def connect(port: int, count: int) -> list[Connection]:
    """So many connections."""
    loop = asyncio.get_running_loop()
    return [(await loop.create_connection(Connection, "127.0.0.1", port))[1] for _ in range(count)]


class Member:
    """
    A member of a group, as far as the coordinator can tell.

    @ivar size: of the generation it is in, where it leads it.
    """

    def __init__(self, connection: Connection, group: str) -> None:
        self._connection = connection
        self._group = group
        self.id = ""
        self.generation = -1
        self.size = 0

    async def join(self) -> None:
        """Join until it has an assignment."""
        while True:
            protocols = [join_group.RequestProtocol("range", b"\0\0\0\0\0\1\0\1t\xff\xff\xff\xff")]
            joined = await self._connection.ask(
                join_group.API,
                9,
                join_group.Request(
                    group_id=self._group,
                    session_timeout_ms=_SESSION_MS,
                    rebalance_timeout_ms=_REBALANCE_MS,
                    member_id=self.id,
                    protocol_type="consumer",
                    protocols=protocols,
                ),
            )
            self.id, self.generation, self.size = joined.member_id, joined.generation_id, len(joined.members)
            if joined.error_code in _AGAIN:
                continue
            _check(joined.error_code, "JoinGroup")
            assignments = [
                sync_group.RequestAssignment(one.member_id, one.member_id.encode()) for one in joined.members
            ]
            synced = await self._connection.ask(
                sync_group.API,
                5,
                sync_group.Request(
                    group_id=self._group,
                    generation_id=self.generation,
                    member_id=self.id,
                    protocol_type="consumer",
                    protocol_name="range",
                    assignments=assignments,
                ),
            )
            if synced.error_code in _AGAIN:
                continue
            _check(synced.error_code, "SyncGroup")
            if synced.assignment != self.id.encode():
                raise RuntimeError(f"{self.id} was handed an assignment that is not its own")
            return

    def beat(self, failed: list[int]) -> None:
        """Send a heartbeat."""
        request = frame(heartbeat.API, 4, heartbeat.Request(self._group, self.generation, self.id))

        def answered(answer: bytes) -> None:
            code = decoded(heartbeat.API, 4, answer).error_code
            if code:
                failed.append(code)

        self._connection.send(request, answered)


def _check(code: int, what: str) -> None:
    if code:
        raise RuntimeError(f"{what} was answered {ErrorCode(code).name}")


async def joining(server: GatewayProcess, members: int, connections: int) -> list[Result]:
    """All members come at once, and are in one generation."""
    lines = await connect(server.port, connections)
    crowd = [Member(lines[number % connections], "crowd") for number in range(members)]
    started, cpu = time.perf_counter(), cpu_of(server.pid)
    await asyncio.gather(*(member.join() for member in crowd))
    while len({member.generation for member in crowd}) > 1:
        newest = max(member.generation for member in crowd)
        await asyncio.gather(*(member.join() for member in crowd if member.generation < newest))
    seconds = time.perf_counter() - started
    if max(member.size for member in crowd) != members:
        raise RuntimeError("the leader does not know of all members")
    return [
        Result(f"{members:,} members join one group", seconds, "s", 5.0, at_least=False),
        Result("  its generation", max(member.generation for member in crowd), ""),
        Result("  CPU of the server", cpu_of(server.pid) - cpu, "s"),
    ]


async def beating(server: GatewayProcess, groups: int, size: int, connections: int, seconds: float) -> list[Result]:
    """Members of many groups beat; a rebalance fails the run."""
    lines = await connect(server.port, connections)
    # those of one connection are far from each other in turn, so that each heartbeat is a write and a read of its own
    share = groups * size // connections
    members = [Member(lines[number // share], f"group-{number // size}") for number in range(groups * size)]
    started = time.perf_counter()
    # some groups at a time, so that all members of a group come within its initial delay
    for first in range(0, len(members), 100 * size):
        await asyncio.gather(*(member.join() for member in members[first : first + 100 * size]))
    joined = time.perf_counter() - started
    failed: list[int] = []
    rounds = max(1, round(seconds / BEAT_SECONDS))
    turn = share
    step = BEAT_SECONDS / turn
    begun, cpu = time.perf_counter(), cpu_of(server.pid)
    for number in range(rounds * turn):
        for member in members[number % turn :: turn]:
            member.beat(failed)
        await asyncio.sleep(max(0.0, begun + (number + 1) * step - time.perf_counter()))
    took = time.perf_counter() - begun
    cores = (cpu_of(server.pid) - cpu) / took
    if failed:
        raise RuntimeError(f"{len(failed)} heartbeats were answered {ErrorCode(failed[0]).name} and the like")
    sent = rounds * len(members)
    return [
        Result(f"{len(members):,} members in {groups:,} groups join", joined, "s"),
        Result(f"they beat every {BEAT_SECONDS:g} s", cores, "server cores", 0.5, at_least=False),
        Result("  heartbeats", sent / took, "/s"),
        Result("  CPU of the server for each", cores * took / sent * 1e6, "us"),
    ]


async def committing(
    server: GatewayProcess, seconds: float, connections: int, window: int, goal: float, title: str
) -> list[Result]:
    """Requests of one offset each, of many groups, a few on their way on each connection."""
    lines = await connect(server.port, connections)
    topic = create_topics.RequestTopic(name=TOPIC, num_partitions=1, replication_factor=1)
    await lines[0].ask(create_topics.API, 5, create_topics.Request(topics=[topic]))
    done = 0
    end = 0.0
    finished = asyncio.get_running_loop().create_future()
    waiting = connections * window

    def start(line: Connection, group: str) -> None:
        request = offset_commit.Request(
            group_id=group,
            topics=[offset_commit.RequestTopic(TOPIC, partitions=[offset_commit.RequestPartition(0, 12345, -1, "")])],
        )
        data = frame(offset_commit.API, 8, request)
        checked = False

        def answered(answer: bytes) -> None:
            nonlocal done, waiting, checked
            done += 1
            if not checked:
                checked = True
                _check(decoded(offset_commit.API, 8, answer).topics[0].partitions[0].error_code, "OffsetCommit")
            if time.perf_counter() < end:
                line.send(data, answered)
                return
            waiting -= 1
            if not waiting:
                finished.set_result(None)

        line.send(data, answered)

    begun, cpu = time.perf_counter(), cpu_of(server.pid)
    end = begun + seconds
    for number, line in enumerate(lines):
        for place in range(window):
            start(line, f"group-{number}-{place}")
    await finished
    took = time.perf_counter() - begun
    spent = cpu_of(server.pid) - cpu
    return [
        Result(f"OffsetCommit, {title}", done / took, "/s", goal),
        Result("  CPU of the server for each", spent / done * 1e6, "us"),
    ]


class _Calls:
    """What a state store needs of a reactor: calls from its thread, made in this one."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[tuple[Callable[..., object], tuple[Any, ...]]] = queue.SimpleQueue()

    def callFromThread(self, function: Callable[..., object], *args: object) -> None:
        """Queue a call."""
        self._calls.put((function, args))

    def work(self) -> None:
        """Make the next call."""
        function, args = self._calls.get(timeout=30)
        function(*args)


def bare_commits(seconds: float, window: int, full: bool) -> float:
    """Commits per second of one fact each that the store does by itself, with so many on their way."""
    with tempfile.TemporaryDirectory(prefix="kgw-bench-") as folder:
        calls: Any = _Calls()
        store = SqliteStateStore(f"{folder}/state.sqlite", calls, full=full)
        done = waiting = 0
        end = time.perf_counter() + seconds
        begun = time.perf_counter()

        def start(key: str) -> None:
            def committed(_: object) -> None:
                nonlocal done, waiting
                done += 1
                waiting -= 1
                if time.perf_counter() < end:
                    start(key)

            nonlocal waiting
            waiting += 1
            store.commit({key: bytes(40)}).addCallback(committed)

        store.open()
        for number in range(window):
            start(f"groups/group-{number}/offsets/t/0")
        while waiting:
            calls.work()
        took = time.perf_counter() - begun
        closed = store.close()
        while not closed.called:
            calls.work()
        return done / took


def _commits(server: GatewayProcess, seconds: float, full: bool) -> list[Result]:
    title, goal = ("with fsync", 1_000.0) if full else ("page cache", 5_000.0)
    connections, window = 16, 16
    found = asyncio.run(committing(server, seconds, connections, window, goal, title))
    bare = bare_commits(seconds, connections * window, full)
    return [
        *found,
        Result("  commits of the bare store", bare, "/s"),
        Result("  ratio", found[0].value / bare, ""),
    ]


def main() -> int:
    """Run what was asked for; 1 where a goal was missed."""
    parser = argparse.ArgumentParser(prog="python -m bench.groups", description=__doc__.partition("\n")[0])
    parser.add_argument("--only", choices=["join", "heartbeats", "commits"], help="one of them")
    parser.add_argument("--seconds", type=float, default=12.0, help="of heartbeats; commits take half of it")
    parser.add_argument("--data", help="where data directories are made, instead of the system's temporary folder")
    parser.add_argument("--json", type=Path, help="write the numbers to this file too")
    options = parser.parse_args()

    def on(work: Callable[[GatewayProcess], list[Result]], *settings: str) -> list[Result]:
        with tempfile.TemporaryDirectory(prefix="kgw-bench-", dir=options.data) as folder:
            flags = [flag for setting in settings for flag in ("--set", setting)]
            server = GatewayProcess(Path(folder), *flags)
            server.start()
            try:
                found = work(server)
            finally:
                server.kill()
            for one in found:
                print(one, flush=True)
            return found

    results: list[Result] = []
    delay = "group.initial.rebalance.delay.ms=500"
    if options.only in (None, "join"):
        results += on(lambda server: asyncio.run(joining(server, 1000, 100)), delay)
    if options.only in (None, "heartbeats"):
        results += on(lambda server: asyncio.run(beating(server, 1000, 10, 200, options.seconds)), delay)
    if options.only in (None, "commits"):
        results += on(lambda server: _commits(server, options.seconds / 2, False))
        results += on(lambda server: _commits(server, options.seconds / 2, True), "kgw.state.sync=true")
    if options.json:
        options.json.write_text(json.dumps([asdict(one) for one in results], indent=1) + "\n", encoding="utf-8")
    return 0 if all(one.met for one in results) else 1


if __name__ == "__main__":
    sys.exit(main())
