"""What looking into schematized records costs: C{python -m bench.schema_produce}.

Produces batches of an Avro record with 7 fields to SeaweedMQ with validation none, permissive and strict, and fetches
them again; prints a table for docs/schemas.md, and ends with 1 where a goal was missed. It takes about a minute.
"""

from __future__ import annotations

import io
import json
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import fastavro

from kgw.bench.load import Load, Outcome, pipelined
from kgw.bench.report import table
from kgw.bench.requests import (
    Address,
    ask,
    check_fetched,
    check_produced,
    create_request,
    decode,
    fetch_request,
    produce_request,
)
from kgw.handlers import fetch
from kgw.schema.framing import prefixed
from kgw.test.live.registry import RegistryProcess
from kgw.test.live.server import GatewayProcess
from kgw.test.seaweed import Engine
from kgw.wire.records import NewRecord, build_batch, scan

SCHEMA = {
    "type": "record",
    "name": "Order",
    "namespace": "bench",
    "fields": [
        {"name": "id", "type": "long"},
        {"name": "customer", "type": "string"},
        {"name": "amount", "type": "double"},
        {"name": "paid", "type": "boolean"},
        {"name": "note", "type": ["null", "string"]},
        {"name": "quantity", "type": "int"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    ],
}
POLICIES = ("none", "permissive", "strict")
#: Records of a batch, and different batches; seconds of each run, which is within what is stored without an envelope.
COUNT, BATCHES, SECONDS = 1000, 20, 6.0
#: What docs/schemas.md promises: records a second with strict, and how much of the rate without schemas a Fetch keeps.
GOAL, FETCH_GOAL = 60_000, 0.9
#: Records that are fetched, the first ones, and for how many seconds.
READ, FETCH_SECONDS = 100_000, 3.0


class Found(NamedTuple):
    """
    @ivar produced: records a second, and C{cpu} microseconds of kgw for each.
    @ivar memory: records fetched a second where they are the newest, and C{files} where they are read from log files.
    """

    produced: float
    cpu: float
    memory: float
    files: float


def batches(schema_id: int) -> list[bytes]:
    """Batches of now."""
    parsed = fastavro.parse_schema(SCHEMA)
    now = int(time.time() * 1000)
    found = []
    for number in range(BATCHES):
        records = []
        for index in range(COUNT):
            order = {
                "id": number * COUNT + index,
                "customer": f"customer-{index % 977}",
                "amount": index / 7,
                "paid": index % 2 == 0,
                "note": "to be left at the door" if index % 3 == 0 else None,
                "quantity": index % 50,
                "at": now,
            }
            out = io.BytesIO()
            fastavro.schemaless_writer(out, parsed, order)
            records.append(NewRecord(b"%d" % index, prefixed(schema_id, out.getvalue()), (), now))
        found.append(build_batch(records))
    return found


def produced(address: Address, pid: int, topic: str, made: list[bytes]) -> Outcome:
    """As fast as it takes them, one connection."""
    requests = [produce_request(topic, one) for one in made]
    with address.connect() as connection:
        answer = ask(connection, requests[0])
        check_produced(answer)
    return pipelined(address, Load(requests, len(answer), 1, 8), pid, SECONDS, 1 << 30)


def fetched(address: Address, topic: str, end: int, seconds: float) -> float:
    """Records a second, from the beginning to C{end} again and again, over one connection."""
    total = 0
    with address.connect() as connection:
        begun = time.perf_counter()
        while time.perf_counter() - begun < seconds:
            offset = 0
            while offset < end:
                offset = _next(connection, topic, offset)
            total += offset
    return total / (time.perf_counter() - begun)


def _next(connection: socket.socket, topic: str, offset: int) -> int:
    answer = ask(connection, fetch_request(topic, offset, 1 << 20))
    check_fetched(answer)
    records = decode(fetch.API, answer).responses[0].partitions[0].records
    return max(header.next_offset for _, header in scan(records))


def run(engine: Engine, registry: RegistryProcess, policy: str, schema_id: int, topic: str) -> Found:
    """One policy, with a gateway of its own."""
    with tempfile.TemporaryDirectory(prefix="kgw-bench-") as folder:
        options = ["--masters", ",".join(engine.masters), "--schema-registry", registry.url]
        options += ["--set", f"kgw.schema.validation={policy}", "--set", "kgw.seaweedmq.acks.all=acknowledged"]
        gateway = GatewayProcess(Path(folder), *options)
        gateway.start()
        try:
            address = Address("127.0.0.1", gateway.port)
            with address.connect() as connection:
                ask(connection, create_request([topic]))
            time.sleep(1)
            outcome = produced(address, gateway.pid, topic, batches(schema_id))
            records = outcome.count * COUNT
            from_memory = fetched(address, topic, READ, FETCH_SECONDS)
            gateway.terminate()
            gateway.start()
            # once only: what was read from log files is kept for a while
            from_files = fetched(Address("127.0.0.1", gateway.port), topic, READ, 0.001)
            cpu = (outcome.spent.server or 0.0) / records * 1e6
            return Found(records / outcome.spent.seconds, cpu, from_memory, from_files)
        finally:
            gateway.terminate()


def main() -> int:
    """Run it."""
    engine = Engine().start()
    try:
        with RegistryProcess() as registry:
            found = {}
            for policy in POLICIES:
                topic = f"orders-{policy}"
                body = {"schema": json.dumps(SCHEMA)}
                schema_id = registry.call("POST", f"/subjects/{topic}-value/versions", body)["id"]
                found[policy] = run(engine, registry, policy, schema_id, topic)
    finally:
        engine.discard()
    rows = [
        [name, f"{one.produced:,.0f}", f"{one.cpu:.1f}", f"{one.memory:,.0f}", f"{one.files:,.0f}"]
        for name, one in found.items()
    ]
    print(table(["validation", "records/s produced", "us of CPU each", "fetched from memory", "from log files"], rows))
    ratio = found["strict"].memory / found["none"].memory
    print(f"fetched with strict: {ratio:.2f} of none from memory")
    return int(found["strict"].produced < GOAL or ratio < FETCH_GOAL)


if __name__ == "__main__":
    sys.exit(main())
