"""Measures a kgw process: librdkafka produce and consume, and tiny pipelined Produces.

  python bench/run.py                     all cases, three rounds each, against a kgw it starts
  python bench/run.py --quick             a tenth of the records, one round
  python bench/run.py --case raw --json out.json

Client and server share the machine, and on two cores librdkafka is usually the limit: "server us" (server CPU per
record or request, from /proc) tells more about kgw than the rate. Leave --awake on for "raw": where cores fall
asleep, anything that ping-pongs runs two to four times slower.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench import librdkafka, raw
from bench.measure import Measured, awake
from kgw.test.live.server import GatewayProcess

#: Per second, on a machine of two cores.
TARGETS = {
    "produce 100 B": 900_000,
    "consume 100 B": 1_300_000,
    "produce 1 KB": 250_000,
    "consume 1 KB": 650_000,
    "raw tiny produce": 100_000,
}
#: Case, records, bytes of each.
SIZES = {"100": ("100 B", 2_000_000, 100), "1k": ("1 KB", 500_000, 1000)}
RAW_REQUESTS = 300_000


@dataclass
class Row:
    """One line of the table."""

    name: str
    count: int
    best: float
    median: float
    megabytes: float
    server_us: float
    server_cores: float
    client_cores: float
    target: float


def row(name: str, rounds: list[Measured]) -> Row:
    """The rounds of one case in one line: best and median rate, CPU of the best round."""
    best = max(rounds, key=lambda one: one.rate)
    return Row(
        name,
        best.count,
        best.rate,
        statistics.median(one.rate for one in rounds),
        best.rate * best.size / 1e6,
        best.server_cpu / best.count * 1e6,
        best.server_cpu / best.seconds,
        best.client_cpu / best.seconds,
        TARGETS.get(name, 0.0),
    )


def table(rows: list[Row]) -> str:
    """Markdown, right-aligned so that it reads as it is."""
    head = ("case", "count", "best /s", "median /s", "MB/s", "server us", "srv cores", "cli cores", "target /s", "met")
    lines = [head]
    for one in rows:
        lines.append(
            (
                one.name,
                f"{one.count:,}",
                f"{one.best:,.0f}",
                f"{one.median:,.0f}",
                f"{one.megabytes:,.0f}",
                f"{one.server_us:.2f}",
                f"{one.server_cores:.2f}",
                f"{one.client_cores:.2f}",
                f"{one.target:,.0f}",
                f"{one.best / one.target:.2f}x" if one.target else "-",
            )
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    text = [" | ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines]
    return "\n".join([text[0], "-|-".join("-" * width for width in widths), *text[1:]])


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", action="append", choices=["100", "1k", "raw"], help="only these; may be repeated")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a tenth of the records, one round")
    parser.add_argument("--data", help="make the data directory in this folder instead of the system's temporary one")
    parser.add_argument(
        "--option", action="append", default=[], help="a further option for kgw, --option=--engine=memory"
    )
    parser.add_argument("--awake", action=argparse.BooleanOptionalAction, default=True, help="keep the cores awake")
    parser.add_argument("--json", help="write the numbers to this file")
    options = parser.parse_args()
    rounds, share = (1, 10) if options.quick else (options.rounds, 1)
    cases = options.case or ["100", "1k", "raw"]
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="kgw-bench-", dir=options.data) as folder, awake(options.awake):
        for case in cases:
            results: dict[str, list[Measured]] = {}
            for turn in range(rounds):
                run = partial(one_round, case=case, share=share, results=results)
                with_server(Path(folder) / f"{case}-{turn}", options.option, run)
            rows += [row(name, measured) for name, measured in results.items()]
            print(table(rows[-len(results) :]) + "\n", flush=True)
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, ", end="")
    print(f"rounds {rounds}, cores kept awake: {options.awake}\n\n{table(rows)}")
    if options.json:
        Path(options.json).write_text(json.dumps([asdict(one) for one in rows], indent=1) + "\n", encoding="utf-8")
    return 0


def with_server(folder: Path, options: list[str], run: Callable[[GatewayProcess], None]) -> None:
    """Run against a fresh kgw, whose data are removed afterwards."""
    folder.mkdir()
    server = GatewayProcess(folder, *options)
    try:
        server.start()
        run(server)
    finally:
        server.kill()
        shutil.rmtree(folder)


def one_round(server: GatewayProcess, case: str, share: int, results: dict[str, list[Measured]]) -> None:
    """One case once, with a C{share}-th of its records; what is produced is then consumed."""
    if case == "raw":
        measured = raw.produce(server.port, server.pid, RAW_REQUESTS // share)
        results.setdefault("raw tiny produce", []).append(measured)
        return
    label, count, size = SIZES[case]
    produced = librdkafka.produce(server.bootstrap, server.pid, count // share, size)
    results.setdefault(f"produce {label}", []).append(produced)
    consumed = librdkafka.consume(server.bootstrap, server.pid, count // share, size)
    results.setdefault(f"consume {label}", []).append(consumed)


if __name__ == "__main__":
    sys.exit(main())
