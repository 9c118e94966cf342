"""The memory engine: the contracts, and what it alone promises."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kgw.engine.memory import MemoryLogEngine
from kgw.errors import ErrorCode
from kgw.interfaces import ILogEngine
from kgw.model import Appended, LogConfig
from kgw.test.builders import EPOCH_MS, batch, batches_in, idempotent_batch, topic
from kgw.test.contracts import LogEngineContract, PartitionLogContract, ProducerContract
from kgw.wire.records import RecordBatch

_HOUR_MS = 3_600_000


class _Memory:
    _made: MemoryLogEngine | None = None

    def make_engine(self, clock: Clock) -> ILogEngine:
        """The same engine each time: it is its own place."""
        if self._made is None:
            self._made = MemoryLogEngine(clock)
        return self._made


class MemoryPartitionLogTests(_Memory, PartitionLogContract, SynchronousTestCase):
    """The contract of one log."""

    def test_a_listener_that_fails_harms_nobody(self) -> None:
        seen: list[int] = []

        def broken(_: int) -> None:
            raise ZeroDivisionError

        self.log.watch(broken)
        self.log.watch(seen.append)
        self.assertEqual(self.append(batch()), [Appended(0, -1, 0)])
        self.log.unwatch(broken)
        self.assertEqual(len(seen), 1)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_a_damaged_batch_is_said_to_be_corrupt(self) -> None:
        damaged = batch(EPOCH_MS, EPOCH_MS)
        damaged.tail = damaged.tail[:-1] + b"\x7f"
        self.append(damaged)
        self.assertEqual(self.refusal(self.log.offset_for_time, 0), ErrorCode.CORRUPT_MESSAGE)
        self.assertEqual(self.refusal(self.log.offset_of_max_timestamp), ErrorCode.CORRUPT_MESSAGE)


class MemoryProducerTests(_Memory, ProducerContract, SynchronousTestCase):
    """The contract of idempotent producers."""


class MemoryLogEngineTests(_Memory, LogEngineContract, SynchronousTestCase):
    """The contract of the engine."""

    def test_describe(self) -> None:
        self.assertEqual(self.engine.describe(), "memory")

    def test_what_is_held_counts_at_once(self) -> None:
        self.append(batch(), batch(EPOCH_MS, EPOCH_MS))
        found = self.wait(self.engine.log_dir())
        self.assertEqual(list(found.sizes.values()), [batch().size + batch(EPOCH_MS, EPOCH_MS).size])
        self.wait(self.log.trim(1))
        found = self.wait(self.engine.log_dir())
        self.assertEqual(list(found.sizes.values()), [batch(EPOCH_MS, EPOCH_MS).size])
        self.assertEqual((found.path, found.total_bytes, found.usable_bytes), ("memory", -1, -1))

    def test_partitions_are_served_again_after_a_stop(self) -> None:
        self.append(batch())
        seen: list[int] = []
        self.log.watch(seen.append)
        log = self.log
        self.reopen(self.topic)
        self.assertEqual(seen, [-1, -1])
        self.assertEqual(self.wait(log.bounds()).high_watermark, 1)


class RetentionTests(SynchronousTestCase):
    """Memory is bounded as the topic's configs say."""

    def setUp(self) -> None:
        """An engine that looks every 300 seconds."""
        self.clock = Clock()
        self.clock.advance(EPOCH_MS / 1000)
        self.engine = MemoryLogEngine(self.clock, producer_expiration_ms=_HOUR_MS)
        self.successResultOf(self.engine.start([]))

    def created(self, config: LogConfig) -> None:
        """The topic with this config; its partition is C{self.log}."""
        self.successResultOf(self.engine.create(topic(), config))
        self.log = self.engine.partition("orders", 0)

    def start(self) -> int:
        """The log start offset."""
        offset: int = self.successResultOf(self.log.bounds()).log_start_offset
        return offset

    def test_old_batches_go(self) -> None:
        self.created(LogConfig(retention_ms=_HOUR_MS))
        seen: list[int] = []
        for minutes in (0, 10, 20):
            self.successResultOf(self.log.append(batch(EPOCH_MS + minutes * 60_000)))
        self.log.watch(seen.append)
        starts = {}
        for minutes in range(0, 100, 5):
            starts[minutes] = self.start()
            self.clock.advance(300)
        self.assertEqual([minutes for minutes in starts if starts[minutes] == 1], [65, 70])
        self.assertEqual([minutes for minutes in starts if starts[minutes] == 2], [75, 80])
        self.assertEqual((self.start(), seen), (3, [-1, -1, -1]))

    def test_a_batch_without_timestamps_ages_from_when_it_came(self) -> None:
        self.created(LogConfig(retention_ms=_HOUR_MS))
        self.successResultOf(self.log.append(batch(-1)))
        self.clock.pump([300] * 12)
        self.assertEqual(self.start(), 0)
        self.clock.pump([300] * 2)
        self.assertEqual(self.start(), 1)

    def test_the_oldest_go_where_there_are_too_many_bytes(self) -> None:
        size = batch().size
        self.created(LogConfig(retention_bytes=3 * size))
        starts = []
        for _ in range(6):
            self.successResultOf(self.log.append(batch()))
            starts.append(self.start())
        self.assertEqual(starts, [0, 0, 0, 1, 2, 3])
        self.engine.configure(topic(), LogConfig(retention_bytes=size + 1))
        self.clock.advance(300)
        self.assertEqual(self.start(), 4)

    def test_the_newest_stays_however_large(self) -> None:
        self.created(LogConfig(retention_bytes=10))
        self.successResultOf(self.log.append(batch()))
        self.successResultOf(self.log.append(batch()))
        self.assertEqual(self.start(), 1)

    def test_no_limits(self) -> None:
        self.created(LogConfig(retention_bytes=-1, retention_ms=-1))
        self.successResultOf(self.log.append(batch(0)))
        self.clock.pump([300] * 10)
        self.assertEqual(self.start(), 0)

    def test_a_compacted_topic(self) -> None:
        """The last record of each key stays at its offset, and the newest batch as it is."""
        self.created(LogConfig(cleanup_policy=("compact",)))
        for count in (1, 2, 1):
            self.successResultOf(self.log.append(batch(*range(count))))
        self.clock.advance(300)
        (first, second) = batches_in(self.successResultOf(self.log.read(0, 1 << 20)))
        self.assertEqual([record.offset for record in RecordBatch.parse(first).records(1000)], [1, 2])
        self.assertEqual(RecordBatch.parse(second).base_offset, 3)
        self.assertEqual(self.start(), 0)

    def test_a_compacted_topic_keeps_its_records(self) -> None:
        self.created(LogConfig(cleanup_policy=("compact",), retention_bytes=10, retention_ms=1))
        self.successResultOf(self.log.append(batch(0)))
        self.successResultOf(self.log.append(batch(0)))
        self.clock.pump([300] * 10)
        self.assertEqual(self.start(), 0)

    def test_idle_producers_are_forgotten(self) -> None:
        self.created(LogConfig())
        self.successResultOf(self.log.append(idempotent_batch(0)))
        self.clock.pump([300] * 13)
        appended = self.successResultOf(self.log.append(idempotent_batch(40)))
        self.assertEqual(appended, Appended(1, -1, 0))
