"""How long an answer to Produce takes with SeaweedMQ, by what it waits for: C{python -m bench.seaweed_acks}.

Prints a table for docs/engines.md, "SeaweedMQ: what is safe when". Needs confluent-kafka; takes about a minute.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from kgw.bench.report import table
from kgw.test.live.server import GatewayProcess
from kgw.test.seaweed import Engine

PARTITIONS = 3
#: Records a second, each by itself, and for how many seconds.
RATE, SECONDS = 40, 15
#: Records handed over at once, for the rate.
FLOW = 100_000
PATIENCE = 120.0
CASES = (("1", "flushed"), ("all", "acknowledged"), ("all", "flushed"))


def producer(gateway: GatewayProcess, acks: str, linger_ms: int) -> Producer:
    """A producer of librdkafka's that does nothing of its own accord."""
    return Producer(
        {
            "bootstrap.servers": gateway.bootstrap,
            "acks": acks,
            "linger.ms": linger_ms,
            "queue.buffering.max.messages": 2 * FLOW,
        }
    )


def latencies(gateway: GatewayProcess, topic: str, acks: str) -> list[float]:
    """Milliseconds from handing over a record to its answer, sorted."""
    found: list[float] = []
    client = producer(gateway, acks, 0)
    client.list_topics(topic, timeout=PATIENCE)
    begun = time.perf_counter()
    for number in range(RATE * SECONDS):
        due = begun + number / RATE
        while (left := due - time.perf_counter()) > 0:
            client.poll(left)

        def delivered(error: Any, _: object, sent: float = time.perf_counter()) -> None:
            if error is not None:
                raise SystemExit(f"a record was not acknowledged: {error}")
            found.append((time.perf_counter() - sent) * 1e3)

        client.produce(topic, b"x" * 100, partition=number % PARTITIONS, on_delivery=delivered)
    client.flush(PATIENCE)
    return sorted(found[len(found) // 10 :])


def rate(gateway: GatewayProcess, topic: str, acks: str) -> float:
    """Records a second with as many under way as the client likes."""
    client = producer(gateway, acks, 5)
    client.list_topics(topic, timeout=PATIENCE)
    begun = time.perf_counter()
    for number in range(FLOW):
        client.produce(topic, b"x" * 100, partition=number % PARTITIONS)
    left = client.flush(PATIENCE)
    if left:
        raise SystemExit(f"{left} records were not acknowledged")
    return FLOW / (time.perf_counter() - begun)


def main() -> None:
    """Run it."""
    rows = []
    engine = Engine().start()
    try:
        for number, (acks, setting) in enumerate(CASES):
            with tempfile.TemporaryDirectory(prefix="kgw-bench-") as folder:
                options = ["--masters", ",".join(engine.masters), "--set", f"kgw.seaweedmq.acks.all={setting}"]
                gateway = GatewayProcess(Path(folder), *options)
                gateway.start()
                try:
                    topic = f"acks-{number}"
                    admin = AdminClient({"bootstrap.servers": gateway.bootstrap})
                    for created in admin.create_topics([NewTopic(topic, PARTITIONS, 1)]).values():
                        created.result(PATIENCE)
                    found = latencies(gateway, topic, acks)
                    flow = rate(gateway, topic, acks)
                finally:
                    gateway.terminate()
            name = f"`acks={acks}`" + (f", `{setting}`" if acks == "all" else "")
            cells = [f"{found[len(found) * share // 100]:.3g}" for share in (50, 90, 99)]
            rows.append([name, "", *cells, f"{flow:,.0f}"])
    finally:
        engine.discard()
    print(table(["answered as", "", "p50", "p90", "p99", "records/s, many under way"], rows))


if __name__ == "__main__":
    main()
