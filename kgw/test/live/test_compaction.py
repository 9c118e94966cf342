"""Compaction under kill -9, and real clients on a log with holes."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from twisted.trial.unittest import SynchronousTestCase

import kgw
from kgw.engine.local.cleaner import CleanerLimits
from kgw.test.cleaning_stage import History, OneCompacted
from kgw.test.live import compacting
from kgw.test.live.clients import CLIENTS, PATIENCE, Record, confluent_produce, librdkafka
from kgw.test.live.server import LiveTestCase
from kgw.wire import records

#: How often the process is killed.
KILLS = int(os.environ.get("KGW_COMPACTION_KILLS", "3"))


class KillTests(OneCompacted, SynchronousTestCase):
    """C{kill -9} at random moments of many compactions."""

    config = compacting.CONFIG
    options: ClassVar[dict[str, Any]] = {"cleaner_limits": CleanerLimits(enabled=False)}

    def test_nothing_is_lost(self) -> None:
        self.topic = compacting.TOPIC
        self.successResultOf(self.engine.stop())
        self.path = os.path.abspath(self.mktemp())
        ledger = Path(self.mktemp()).absolute()
        chance = random.Random()
        cleaned = 0
        for _ in range(KILLS):
            assert self.directory is not None
            self.directory.close()
            self.run_and_kill(ledger, chance.uniform(0.1, 1.0))
            self.start_again()
            self.history = self.read(ledger)
            self.check()
            cleaned = max(cleaned, self.local.cleaned_to)
            self.successResultOf(self.engine.stop())
        self.assertGreater(cleaned, 0)

    def run_and_kill(self, ledger: Path, seconds: float) -> None:
        """Let it work so long."""
        environment = {**os.environ, "PYTHONPATH": str(Path(kgw.__file__).parent.parent)}
        command = [sys.executable, "-m", "kgw.test.live.compacting", self.path, str(ledger)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
            try:
                assert process.stdout is not None
                self.assertEqual(process.stdout.readline(), b"ready\n")
                # it ends by itself where something is wrong
                self.assertRaises(subprocess.TimeoutExpired, process.wait, seconds)
            finally:
                process.kill()

    def read(self, ledger: Path) -> History:
        """What was acknowledged, and what the log has behind that."""
        history = History()
        for line in ledger.read_bytes().splitlines():
            offset, key, value = line.split(b" ")
            row = records.Record(int(offset), 1000, key, None if value == b"-" else value, ())
            history.records[row.offset] = row
        acknowledged = max(history.records, default=-1)
        # the last batch may have come in and not into the ledger; later rounds must find it, too
        with ledger.open("ab") as file:
            for record in self.read_all(min(acknowledged + 1, self.bounds()[1])):
                if record.offset > acknowledged:
                    history.records[record.offset] = record
                    file.write(b"%d %s %s\n" % (record.offset, record.key, record.value or b"-"))
        history.since_ms = dict.fromkeys(history.records, 0)
        return history


class HolesTests(LiveTestCase):
    """Consumers where records, batches and whole segments are gone."""

    def test_clients_read_over_holes(self) -> None:
        fast = ["--set=log.cleaner.backoff.ms=100", "--set=log.flush.offset.checkpoint.interval.ms=100"]
        server = self.serve(*fast, "--set=kgw.tail.bytes=0", "--set=log.cleaner.min.cleanable.ratio=0.01")
        admin = AdminClient(librdkafka(server.bootstrap))
        configs = {"cleanup.policy": "compact", "segment.bytes": "1048576"}
        admin.create_topics([NewTopic("t", 1, 1, config=configs)])["t"].result(PATIENCE)
        written: list[Record] = []
        for codec, size in (("none", 40_000), ("zstd", 40_000), ("lz4", 60_000), ("none", 50_000)):
            count, offset = 25, len(written)
            written += [
                Record(b"%d" % (n % 4 if n % 12 else offset + n), os.urandom(size), offset + n, offset=offset + n)
                for n in range(count)
            ]
            confluent_produce(server.bootstrap, "t", written[offset:], codec)
        active = self.wait_until_compacted(server.data / "t-0")
        newest = {record.key: record.offset for record in written if record.offset < active}
        expected = [one for one in written if one.offset >= active or newest[one.key] == one.offset]
        self.assertLess(len(expected), len(written) // 2 + 1)
        for reader in CLIENTS:
            found = reader.consume(server.bootstrap, "t", len(expected))
            self.assertEqual([one.offset for one in found], [one.offset for one in expected], reader.name)
            self.assertEqual(found, expected, reader.name)
        consumer = Consumer(librdkafka(server.bootstrap, group_id="g", auto_offset_reset="error"))
        self.addCleanup(consumer.close)
        for offset in range(0, active, 9):
            consumer.assign([TopicPartition("t", 0, offset)])
            message = consumer.poll(PATIENCE)
            assert message is not None
            self.assertEqual(message.offset(), next(one.offset for one in expected if one.offset >= offset))

    def wait_until_compacted(self, folder: Path) -> int:
        """The offset of the active segment, when all in front of it is compacted."""
        checkpoint = folder.parent / "cleaner-offset-checkpoint"
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            active = max(int(path.name[:20]) for path in folder.glob("*.log"))
            if checkpoint.exists() and checkpoint.read_text() == f"0\n1\nt 0 {active}\n":
                return active
            time.sleep(0.05)
        raise AssertionError("it is not compacted")
