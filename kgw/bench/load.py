"""The raw load generator: requests made beforehand, sent as fast as answers come or at a fixed rate.

It must cost less than the server it loads. So it builds nothing while it runs, sends what one read has made room for in
one call, and counts answers by their size, which is the same for all: the first one is asked for by itself to learn it.
"""

from __future__ import annotations

import contextlib
import select
import socket
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from time import perf_counter

from kgw.bench.machine import Spent, Stopwatch
from kgw.bench.requests import PATIENCE, Address, BenchError, ask, versions_request

_READ = 1 << 20
#: So long before the next request, in seconds, the generator stops sleeping and spins.
_SPIN = 0.0003


@dataclass(frozen=True)
class Load:
    """
    What to send.

    @ivar requests: sent in turn; answers to all have the same size.
    @ivar answer_size: bytes of one whole answer.
    @ivar window: requests that each connection has unanswered at most.
    """

    requests: Sequence[bytes]
    answer_size: int
    connections: int = 1
    window: int = 1


@dataclass(frozen=True)
class Outcome:
    """
    What a load has brought.

    @ivar count: requests, all of them answered.
    @ivar size: bytes of one request and its answer together.
    @ivar p50: time to the answer, in seconds; in a pipelined load the time in queues is part of it.
    @ivar late: how late the generator itself was with one request in a hundred, in seconds; at a fixed rate only.
    """

    count: int
    size: int
    spent: Spent
    p50: float
    p99: float
    late: float = 0.0


def percentile(weighted: Iterable[tuple[float, int]], share: float) -> float:
    """
    The least value that C{share} of all values do not exceed; 0 where there are none.

    @param weighted: values, and how many times each is there.
    """
    ordered = sorted(weighted)
    left = share * sum(weight for _, weight in ordered)
    for value, weight in ordered:
        left -= weight
        if left <= 1e-9:
            return value
    return ordered[-1][0] if ordered else 0.0


@contextlib.contextmanager
def connected(address: Address, count: int) -> Iterator[list[socket.socket]]:
    """Many connections, closed in the end."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(address.connect()) for _ in range(count)]


@contextlib.contextmanager
def idle(address: Address, count: int) -> Iterator[None]:
    """Many connections that have each asked for ApiVersions, as clients do, and then say nothing more."""
    request = versions_request()
    with connected(address, count) as connections:
        for connection in connections:
            ask(connection, request)
        yield


def pipelined(address: Address, load: Load, pid: int | None, seconds: float, most: int) -> Outcome:
    """
    Keep every connection's window full for a while, then wait for the last answers.

    @param pid: the server's process, if it is here.
    @param most: requests to send at most.
    @raise BenchError: the server closes a connection, or answers do not come or are of another size.
    """
    with connected(address, load.connections) as connections, contextlib.closing(select.epoll()) as epoll:
        return _Pipelined(connections, epoll, load).run(pid, seconds, most)


class _Pipelined:
    """The loop of L{pipelined}."""

    def __init__(self, connections: list[socket.socket], epoll: select.epoll, load: Load) -> None:
        self._load = load
        self._epoll = epoll
        self._sockets = {each.fileno(): each for each in connections}
        #: bytes of an answer that is not whole yet
        self._partial = dict.fromkeys(self._sockets, 0)
        #: when requests were sent that wait for an answer, and how many at once
        self._sent: dict[int, deque[list[float]]] = {fd: deque() for fd in self._sockets}
        self._turn = cycle(load.requests)
        one = load.requests[0]
        self._ready = [one * count for count in range(load.window + 1)] if len(load.requests) == 1 else None
        for fd in self._sockets:
            epoll.register(fd, select.EPOLLIN)

    def _next(self, count: int) -> bytes:
        return self._ready[count] if self._ready else b"".join(islice(self._turn, count))

    def run(self, pid: int | None, seconds: float, most: int) -> Outcome:
        load, sockets, partial, sent = self._load, self._sockets, self._partial, self._sent
        poll, now, size = self._epoll.poll, perf_counter, load.answer_size
        buffer = bytearray(_READ)
        latencies: list[tuple[float, int]] = []
        most = max(most, len(sockets) * load.window)
        to_send, waiting = most, 0
        watch = Stopwatch(pid)
        deadline = now() + seconds
        for fd, each in sockets.items():
            sent[fd].append([now(), load.window])
            each.sendall(self._next(load.window))
            to_send -= load.window
            waiting += load.window
        while waiting:
            ready = poll(PATIENCE)
            if not ready:
                raise BenchError(f"{waiting} answers did not come, or had another size than the first")
            for fd, _ in ready:
                each = sockets[fd]
                got = each.recv_into(buffer)
                if not got:
                    raise BenchError("the server has closed the connection")
                done, partial[fd] = divmod(partial[fd] + got, size)
                if not done:
                    continue
                moment = now()
                waiting -= done
                _account(sent[fd], done, moment, latencies)
                more = min(done, to_send) if moment < deadline else 0
                if more:
                    to_send -= more
                    waiting += more
                    sent[fd].append([moment, more])
                    each.sendall(self._next(more))
        spent = watch.stop()
        if any(partial.values()):
            raise BenchError("answers had another size than the first")
        whole = len(load.requests[0]) + size
        return Outcome(most - to_send, whole, spent, percentile(latencies, 0.5), percentile(latencies, 0.99))


def _account(sent: deque[list[float]], done: int, moment: float, latencies: list[tuple[float, int]]) -> None:
    """Note how long the C{done} requests took that have waited longest."""
    while done:
        first = sent[0]
        count = min(done, int(first[1]))
        latencies.append((moment - first[0], count))
        done -= count
        first[1] -= count
        if not first[1]:
            sent.popleft()


def paced(address: Address, load: Load, pid: int | None, seconds: float, rate: float) -> Outcome:
    """
    Send at a fixed rate over one connection, whether answers come or not.

    Latency counts from the moment a request was to be sent, so that a server that stalls does not stop the clock.

    @param rate: requests per second.
    @raise BenchError: the server closes the connection, or answers do not come.
    """
    total = max(1, round(seconds * rate))
    request, size = load.requests[0], load.answer_size
    latencies: list[tuple[float, int]] = []
    late: list[tuple[float, int]] = []
    waiting: deque[float] = deque()
    buffer = bytearray(_READ)
    partial = sent = 0
    with address.connect() as connection:
        watch = Stopwatch(pid)
        start = due = perf_counter()
        while sent < total or waiting:
            moment = perf_counter()
            if sent < total and moment >= due:
                connection.sendall(request)
                late.append((moment - due, 1))
                waiting.append(due)
                sent += 1
                due = start + sent / rate
                continue
            # asleep until shortly before the next request: a generator that spins while it waits for an answer may
            # have the very core that the server was put on, and keep it for a whole time slice
            timeout = max(due - moment - _SPIN, 0.0) if sent < total else PATIENCE
            if not select.select([connection], [], [], timeout)[0]:
                if sent == total:
                    raise BenchError(f"{len(waiting)} answers did not come")
                continue
            got = connection.recv_into(buffer)
            if not got:
                raise BenchError("the server has closed the connection")
            done, partial = divmod(partial + got, size)
            moment = perf_counter()
            for _ in range(done):
                latencies.append((moment - waiting.popleft(), 1))
        spent = watch.stop()
    p50, p99 = percentile(latencies, 0.5), percentile(latencies, 0.99)
    return Outcome(total, len(request) + size, spent, p50, p99, percentile(late, 0.99))
