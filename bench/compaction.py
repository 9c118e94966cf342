"""What compaction costs: its speed, its memory, and what producers notice; C{python -m bench.compaction}.

A kgw of its own gets a compacted topic of so many MB, in which one record in a hundred has a key that is new. Its
cleaner waits until all is written; then a client produces single records of 100 bytes to another topic, so many in a
second, first while nothing else happens, then while the topic is compacted.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from kgw.wire.records import build_batch

_SIZE = struct.Struct(">i")
_LISTENER = re.compile(r"listener \S+ 127\.0\.0\.1:(\d+)")
#: What the goals are: MB/s, MB, times.
_SPEED, _GROWTH, _TIMES = 50.0, 100.0, 3.0
_RECORD = 1000
_IN_BATCH = 64
_SEGMENT = 128 << 20


def _frame(api: int, version: int, body: bytes) -> bytes:
    header = struct.pack(">hhih", api, version, 1, 5) + b"bench"
    return _SIZE.pack(len(header) + len(body)) + header + body


def _text(text: str) -> bytes:
    return struct.pack(">h", len(text)) + text.encode()


def _produce(topic: str, batch: bytes) -> bytes:
    """A Produce request, v3."""
    row = struct.pack(">ii", 0, len(batch)) + batch
    body = struct.pack(">hhii", -1, -1, 30_000, 1) + _text(topic) + _SIZE.pack(1) + row
    return _frame(0, 3, body)


def _create(topic: str, configs: dict[str, str]) -> bytes:
    """A CreateTopics request, v2."""
    rows = b"".join(_text(name) + _text(value) for name, value in configs.items())
    body = _SIZE.pack(1) + _text(topic) + struct.pack(">ihi", 1, 1, 0) + _SIZE.pack(len(configs)) + rows
    return _frame(19, 2, body + struct.pack(">ib", 30_000, 0))


def _answer(link: socket.socket) -> bytes:
    data = b""
    while len(data) < 4 or len(data) < 4 + _SIZE.unpack_from(data)[0]:
        more = link.recv(1 << 16)
        if not more:
            raise ConnectionError("kgw has closed the connection")
        data += more
    return data


def _ask(link: socket.socket, request: bytes) -> bytes:
    link.sendall(request)
    return _answer(link)


def _fill(link: socket.socket, megabytes: int) -> int:
    """Write the topic; returns the bytes in its batches."""
    chance = random.Random(7)
    values = [chance.randbytes(_RECORD // 2).hex().encode() for _ in range(100)]
    records = megabytes * 1_000_000 // _RECORD
    unique = max(1, records // 100)
    written = waiting = 0
    for number in range(0, records, _IN_BATCH):
        now = int(time.time() * 1000)
        rows = [
            (b"key-%d" % chance.randrange(unique), values[(number + n) % 100], (), now)
            for n in range(min(_IN_BATCH, records - number))
        ]
        batch = build_batch(rows)
        link.sendall(_produce("compacted", batch))
        written += len(batch)
        waiting += 1
        if waiting == 16:
            for _ in range(waiting):
                _answer_one(link)
            waiting = 0
    for _ in range(waiting):
        _answer_one(link)
    return written


def _exactly(link: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = link.recv(size - len(data))
        if not more:
            raise ConnectionError("kgw has closed the connection")
        data += more
    return data


def _answer_one(link: socket.socket) -> bytes:
    return _exactly(link, _SIZE.unpack(_exactly(link, 4))[0])


def _latencies(link: socket.socket, rate: int, until: float, done: Path | None, pattern: str) -> list[float]:
    """
    Produce at a fixed rate, and how long each took, in ms, from when it was to be sent.

    @param done: ends it when a line in this file matches C{pattern}.
    """
    request = _produce("steady", build_batch([(b"k", bytes(100), (), int(time.time() * 1000))]))
    found: list[float] = []
    began = time.perf_counter()
    while time.perf_counter() < until:
        due = began + len(found) / rate
        while (left := due - time.perf_counter()) > 0:
            time.sleep(left)
        _ask(link, request)
        found.append((time.perf_counter() - due) * 1000)
        if done is not None and not len(found) % 50 and re.search(pattern, done.read_text()):
            break
    return found


def _at(values: Sequence[float], part: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


def _memory(pid: int, what: str) -> float:
    """A line of /proc/PID/status, in MB."""
    found = re.search(rf"{what}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1000 if found else 0.0


def _ready(process: subprocess.Popen[str], log: Path) -> int:
    assert process.stdout is not None
    port = 0
    for line in process.stdout:
        if match := _LISTENER.match(line):
            port = int(match[1])
        if line.startswith("kgw started"):
            return port
    raise ConnectionError(f"kgw did not start: {log.read_text()}")


def measure(megabytes: int, rate: int, folder: Path) -> dict[str, float]:
    """All of it, on a data directory in C{folder}."""
    log = folder / "log"
    # The cleaner looks for work so long after the start that all is written by then.
    wait_ms = max(30_000, megabytes * 60)
    options = [f"--set=log.cleaner.backoff.ms={wait_ms}", "--set=kgw.tail.bytes=1000000", "--set=kgw.http.endpoint="]
    command = [sys.executable, "-m", "kgw.cli", "--data", str(folder / "data"), "--listen", "tcp:0:interface=127.0.0.1"]
    began = time.perf_counter()
    with log.open("w") as stderr:
        process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=stderr, text=True)
    try:
        port = _ready(process, log)
        with socket.create_connection(("127.0.0.1", port)) as link:
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            segment = str(min(_SEGMENT, megabytes * 1_000_000 // 8))
            _ask(link, _create("compacted", {"cleanup.policy": "compact", "segment.bytes": segment}))
            _ask(link, _create("steady", {}))
            written = _fill(link, megabytes)
            # by then a checkpoint has flushed all but the active segment, and the system has written it
            until = began + wait_ms / 1000 - 1
            time.sleep(max(0.0, until - 15 - time.perf_counter()))
            idle = _latencies(link, rate, until, None, "")
            before = _memory(process.pid, "VmRSS")
            while time.perf_counter() < began + wait_ms / 1000:
                time.sleep(0.05)
            Path(f"/proc/{process.pid}/clear_refs").write_text("5")
            pattern = r"compacted compacted-0 .*? (\d+) bytes are (\d+) now, (\d+) keys, ([\d.]+) s"
            busy = _latencies(link, rate, time.perf_counter() + 600, log, pattern)
            found = re.search(pattern, log.read_text())
            if found is None:
                raise TimeoutError(f"nothing was compacted: {log.read_text()}")
            peak = _memory(process.pid, "VmHWM")
            return {
                "topic MB": written / 1e6,
                "compacted MB": int(found[1]) / 1e6,
                "left MB": int(found[2]) / 1e6,
                "keys": int(found[3]),
                "seconds": float(found[4]),
                "MB/s": int(found[1]) / 1e6 / max(0.1, float(found[4])),
                "memory growth MB": peak - before,
                "p99 idle ms": _at(idle, 0.99),
                "p99 compacting ms": _at(busy, 0.99),
                "p50 idle ms": _at(idle, 0.5),
                "p50 compacting ms": _at(busy, 0.5),
            }
    finally:
        process.terminate()
        process.wait()


def main() -> int:
    """Measure, print, and say with the exit status whether the goals were met."""
    parser = argparse.ArgumentParser(prog="python -m bench.compaction", description=__doc__)
    parser.add_argument("--mb", type=int, default=1000, help="size of the topic")
    parser.add_argument("--rate", type=int, default=500, help="produced records a second meanwhile")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        row = measure(arguments.mb, arguments.rate, Path(folder))
    for name, value in row.items():
        print(f"{name:20} {value:12,.2f}")
    times = row["p99 compacting ms"] / row["p99 idle ms"]
    met = row["MB/s"] >= _SPEED and row["memory growth MB"] < _GROWTH and times < _TIMES
    print(f"p99 is {times:.1f} times the idle one; goals {'met' if met else 'missed'}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
