"""Writes to a log and compacts it until it is killed: C{python -m kgw.test.live.compacting DIRECTORY LEDGER}."""

from __future__ import annotations

import os
import random
import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from kgw.engine.bridge import ThreadBridge
from kgw.engine.local.cleaner import CleanerLimits
from kgw.engine.local.directory import DataDirectory
from kgw.engine.local.engine import LocalLogEngine
from kgw.model import LogConfig, Topic
from kgw.wire.records import RecordBatch, build_batch

TOPIC = Topic("orders", bytes(16), 1, assignments=(1,))
#: Small segments, so that files are exchanged many times a second; tombstones go as soon as they may.
CONFIG = LogConfig(
    cleanup_policy=("compact",),
    segment_bytes=6000,
    index_interval_bytes=500,
    delete_retention_ms=0,
    min_cleanable_dirty_ratio=0.0,
    file_delete_delay_ms=20,
    retention_ms=-1,
)


async def run(reactor: Any, path: str, ledger: int) -> None:
    """Write until killed; each record in the ledger was acknowledged, with C{offset key value} or C{-} for a null."""
    bridge, cleaning = ThreadBridge(reactor), ThreadBridge(reactor, 1, name="kgw-clean")
    for each in (bridge, cleaning):
        each.start()
        reactor.addSystemEventTrigger("after", "shutdown", each.stop)
    limits = CleanerLimits(backoff_ms=5, dedupe_bytes=192 * 40, chunk_bytes=2000)
    engine = LocalLogEngine(
        DataDirectory.open(path, 1), reactor, bridge, checkpoint_ms=20, cleaning=cleaning, cleaner_limits=limits
    )
    await engine.start([(TOPIC, CONFIG)])
    log = engine.partition(TOPIC.name, 0)
    chance = random.Random()
    number = (await log.bounds()).high_watermark

    async def append() -> None:
        nonlocal number
        pairs: list[tuple[bytes, bytes | None]] = []
        for _ in range(chance.randrange(1, 8)):
            key = b"%d" % min(chance.randrange(60), chance.randrange(60))
            pairs.append((key, None if chance.random() < 0.2 else b"%d-" % number + b"x" * chance.randrange(80)))
            number += 1
        one = build_batch([(key, value, (), 1000) for key, value in pairs], compression=chance.randrange(5))
        base = (await log.append(RecordBatch.parse(one))).base_offset
        rows = [b"%d %s %s\n" % (base + n, key, value or b"-") for n, (key, value) in enumerate(pairs)]
        os.write(ledger, b"".join(rows))

    os.write(1, b"ready\n")
    await LoopingCall(lambda: Deferred.fromCoroutine(append())).start(0.001)


if __name__ == "__main__":
    from twisted.internet import reactor

    descriptor = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    work = Deferred.fromCoroutine(run(reactor, sys.argv[1], descriptor))
    work.addErrback(lambda failure: os.write(2, failure.getTraceback().encode()) and os._exit(1))
    reactor.run()
