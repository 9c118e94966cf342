"""The SeaweedMQ engine against a real one: the contracts, and what it alone promises."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kgw.engine.seaweed.incoming import decode_entry
from kgw.engine.seaweed.log_file import LogEntry
from kgw.errors import ErrorCode, KafkaError
from kgw.interfaces import ILogEngine
from kgw.model import Fetched, LogConfig
from kgw.test.builders import EPOCH_MS, batch, batches_in
from kgw.test.contracts import LogEngineContract, PartitionLogContract, ProducerContract
from kgw.test.seaweed_log_stage import records_in
from kgw.test.seaweed_stage import Parts, spin

T = TypeVar("T")


class _Seaweed:
    """On the shared engine; topics of all tests have the same names, which the layout keeps apart."""

    _parts: Parts | None = None

    def wait(self, deferred: Deferred[T]) -> T:
        """The result; the real reactor turns meanwhile."""
        return spin(deferred)

    def make_engine(self, clock: Clock) -> ILogEngine:
        """On the same state store as the one before."""
        before = self._parts
        if before is not None:
            before.close()
        self._parts = Parts(clock)
        return self._parts.engine

    def kept(self, fetched: Fetched, offset: int) -> Sequence[object]:
        """The records: an engine that stores each for itself makes other batches of them after a restart."""
        return [record for record in records_in(batches_in(fetched)) if record.offset >= offset]

    def tearDown(self) -> None:
        """Let go of the last one; its engine is stopped by then or soon."""
        assert self._parts is not None
        spin(self._parts.engine.stop())
        self._parts.close()


class SeaweedPartitionLogTests(_Seaweed, PartitionLogContract, SynchronousTestCase):
    """The contract of one log."""


class SeaweedProducerTests(_Seaweed, ProducerContract, SynchronousTestCase):
    """The contract of idempotent producers."""


class SeaweedLogEngineTests(_Seaweed, LogEngineContract, SynchronousTestCase):
    """The contract of the engine."""

    def test_no_compaction(self) -> None:
        """It is refused in words that say what to do."""
        for policy in (("compact",), ("delete", "compact")):
            error = self.assertRaises(KafkaError, self.engine.check_config, LogConfig(cleanup_policy=policy))
            self.assertEqual(error.code, ErrorCode.INVALID_CONFIG)
            self.assertIn("use cleanup.policy=delete", error.message)

    def test_describe(self) -> None:
        self.assertEqual(self.engine.describe(), "seaweedmq, test")

    def test_the_engine_finds_the_records_of_a_new_partition(self) -> None:
        """Once kgw has stopped and the broker has let go of the partition, its own readers see all of it."""
        self.wait(self.log.append(batch(*[EPOCH_MS] * 3)))
        parts = self._parts
        assert parts is not None
        (place,) = parts.layout.places(self.topic)
        self.wait(self.engine.stop())
        found = self.wait(parts.broker.fetch(place.engine_topic, place.range, 0, 100, 1 << 20))
        self.assertEqual((found.high_watermark, found.next_offset), (3, 3))
        entries = [LogEntry(offset, ts_ns, key, value) for offset, (key, value, ts_ns) in enumerate(found.messages)]
        self.assertEqual([decode_entry(entry).value for entry in entries], [b"value-0", b"value-1", b"value-2"])
