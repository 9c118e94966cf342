"""How fast history is read from SeaweedFS: log files to Kafka batches, by one consumer that reads on.

  python -m bench.seaweed_history [records] [bytes of a value]

It starts a weed of its own and writes the log files itself, as the engine writes them. "longest pause" is how long the
reactor's thread did not come round while it read.
"""

from __future__ import annotations

import http.client
import sys
import time
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall, react

from kgw.engine.bridge import ThreadBridge
from kgw.engine.seaweed.calls import Calls
from kgw.engine.seaweed.filer import Filer
from kgw.engine.seaweed.history import History
from kgw.engine.seaweed.history_cache import HistoryCache
from kgw.engine.seaweed.repair import repair
from kgw.test.seaweed import Engine
from kgw.test.seaweed_log_stage import BEGIN_NS, file_name, log_entry
from kgw.wire.records import RecordBatch

DIRECTORY = "/topics/kafka/bench/v2026-11-21-00-00-00/0000-2520"
GOAL = 300_000
PER_FILE = 90_000
#: How many share a millisecond; the gateway puts them one nanosecond apart.
PER_MS = 90
MAX_BYTES = 1 << 20


class _Place(NamedTuple):
    directory: str = DIRECTORY


def _write(engine: Engine, records: int, size: int) -> None:
    value = b"x" * size
    for number, first in enumerate(range(0, records, PER_FILE)):
        data = b"".join(
            log_entry(offset, value, BEGIN_NS + offset // PER_MS * 1_000_000 + offset % PER_MS, b"%d" % offset)
            for offset in range(first, min(first + PER_FILE, records))
        )
        connection = http.client.HTTPConnection(engine.filer_http)
        connection.request("PUT", f"{DIRECTORY}/{file_name(number)}", data)
        answer = connection.getresponse()
        answer.read()
        if answer.status >= 300:
            raise SystemExit(f"the filer does not take a file: {answer.status}")
        connection.close()


async def _measure(reactor: Any, engine: Engine, records: int) -> None:
    bridge = ThreadBridge(reactor, threads=4, name="bench")
    bridge.start()
    calls = Calls(bridge, None)
    filer = Filer(calls, lambda: engine.filer, lambda: engine.filer_http)
    cache = HistoryCache(bridge, 64 << 20)
    pauses = [0.0]
    last = [time.perf_counter()]

    def beat() -> None:
        now = time.perf_counter()
        pauses.append(now - last[0])
        last[0] = now

    beating = LoopingCall(beat)
    try:
        history = History(filer, _Place(), cache, "bench-0")
        begun = time.perf_counter()
        done = await repair(history)
        print(f"repair without trust: {records / (time.perf_counter() - begun):,.0f} records/s, end {done.end_offset}")
        begun = time.perf_counter()
        await repair(History(filer, _Place(), cache, "bench-0"), done.trusted)
        print(f"repair with trust: {(time.perf_counter() - begun) * 1e3:.1f} ms")
        history = History(filer, _Place(), cache, "bench-0")
        await history.refresh()
        last[0] = time.perf_counter()
        beating.start(0.001)
        begun, cpu = time.perf_counter(), time.process_time()
        offset = reads = 0
        while (batches := await history.read(offset, MAX_BYTES, 0)) is not None:
            newest = RecordBatch.parse(batches[-1])
            offset = newest.base_offset + newest.last_offset_delta + 1
            reads += 1
        took, cpu = time.perf_counter() - begun, time.process_time() - cpu
        beating.stop()
        rate = offset / took
        met = "met" if rate >= GOAL else "NOT MET"
        pauses.sort()
        print(
            f"read: {rate:,.0f} records/s (goal {GOAL:,}: {met}), {cpu / offset * 1e6:.2f} us of CPU a record, "
            f"{reads} reads"
        )
        print(
            f"longest pause {pauses[-1] * 1e3:.1f} ms, 99 of 100 below {pauses[int(len(pauses) * 0.99)] * 1e3:.1f} ms, "
            f"cache {cache.size >> 20} MiB"
        )
    finally:
        filer.stop()
        calls.stop()
        bridge.stop()


def main(arguments: list[str]) -> None:
    """Run it."""
    records = int(arguments[0]) if arguments else 1_000_000
    size = int(arguments[1]) if len(arguments) > 1 else 100
    engine = Engine().start()
    try:
        _write(engine, records, size)
        # it ends by SystemExit
        react(lambda reactor: Deferred.fromCoroutine(_measure(reactor, engine, records)))
    finally:
        engine.discard()


if __name__ == "__main__":
    main(sys.argv[1:])
