"""What the SeaweedMQ record codec costs: microseconds for each record, from Kafka batch to messages and back.

  python -m bench.seaweed_records

Produce: a batch is decoded and made into gRPC messages. Consume: bytes of a log file are made into batches. The best of
many runs, in one thread. It ends with 1 where a goal was missed.
"""

from __future__ import annotations

import struct
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from kgw.engine.seaweed.incoming import batches_of
from kgw.engine.seaweed.log_file import count_log, parse_log
from kgw.engine.seaweed.outgoing import Stamps, encode_batch
from kgw.engine.seaweed.proto import filer_pb2, mq_broker_pb2
from kgw.test.seaweed_records import key_hash
from kgw.wire.records import NewRecord, RecordBatch, build_batch

COUNT, RUNS = 2000, 15
NOW_MS = 1_790_000_000_000
HEADERS = (("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00"), ("origin", b"checkout"))


def cases() -> dict[str, tuple[list[NewRecord], dict[str, Any]]]:
    """Records and options of a batch, by name."""
    recent = [NOW_MS - 5 + n // 500 for n in range(COUNT)]
    idempotent = {"producer_id": 1, "producer_epoch": 0, "base_sequence": 0}
    return {
        "plain, 100 B": ([NewRecord(None, b"x" * 100, (), at) for at in recent], {}),
        "plain, 100 B, idempotent": ([NewRecord(None, b"x" * 100, (), at) for at in recent], idempotent),
        "keyed, 100 B": ([NewRecord(b"key-%06d" % n, b"x" * 100, (), at) for n, at in enumerate(recent)], {}),
        "plain, 1 KB": ([NewRecord(None, b"x" * 1024, (), at) for at in recent], {}),
        "plain, 100 B, zstd": ([NewRecord(None, b"x" * 100, (), at) for at in recent], {"compression": 4}),
        "two headers, 100 B": ([NewRecord(None, b"x" * 100, HEADERS, at) for at in recent], {}),
        "plain, 100 B, 1 per ms": ([NewRecord(None, b"x" * 100, (), NOW_MS - n) for n in range(COUNT, 0, -1)], {}),
        "old times, 100 B": ([NewRecord(None, b"x" * 100, (), at - 86_400_000) for at in recent], {}),
    }


#: Microseconds that the plain cases may take to produce and to consume.
GOALS = {"plain, 100 B": (2.0, 1.5)}


def log_file(messages: bytes) -> bytes:
    """What the engine makes of messages."""
    pieces = []
    at, offset = 0, 1_000_000
    while at < len(messages):
        (size,) = struct.unpack_from(">I", messages, at + 1)
        data = mq_broker_pb2.PublishMessageRequest.FromString(messages[at + 5 : at + 5 + size]).data
        entry = filer_pb2.LogEntry(
            ts_ns=data.ts_ns, partition_key_hash=key_hash(data.key), data=data.value, key=data.key, offset=offset
        ).SerializeToString()
        pieces.append(struct.pack(">I", len(entry)) + entry)
        at, offset = at + 5 + size, offset + 1
    return b"".join(pieces)


def best(call: Callable[[], object]) -> float:
    """Microseconds for each record."""
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times) / COUNT * 1e6


def measured(records: Sequence[NewRecord], options: dict[str, Any]) -> tuple[float, float, float, float]:
    """Produce, consume, and of the latter: parsing alone, counting alone."""
    batch = RecordBatch.parse(build_batch(records, **options))
    now_ns = NOW_MS * 1_000_000
    data = log_file(encode_batch(batch, 0, Stamps(), now_ns).data)
    return (
        best(lambda: encode_batch(batch, 0, Stamps(), now_ns)),
        best(lambda: batches_of(data)),
        best(lambda: parse_log(data)),
        best(lambda: count_log(data)),
    )


def main() -> int:
    """Print a table."""
    missed = False
    print(f"{'us per record':28} {'produce':>8} {'consume':>8} {'parse':>8} {'count':>8}")
    for name, (records, options) in cases().items():
        found = measured(records, options)
        slow = any(value > goal for value, goal in zip(found, GOALS.get(name, ()), strict=False))
        missed |= slow
        print(f"{name:28} " + " ".join([f"{value:8.2f}" for value in found]) + ("  MISSED" if slow else ""))
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
