"""Reading a partition's older records: limits, what is not to be seen yet, times, retention."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from kgw.engine.seaweed.broker import FetchedMessages, PartitionRange
from kgw.engine.seaweed.errors import EngineUnavailable
from kgw.engine.seaweed.layout import Place
from kgw.engine.seaweed.partition_facts import PartitionFacts
from kgw.engine.seaweed.reading import Reading
from kgw.errors import ErrorCode, KafkaError
from kgw.model import NO_OFFSET, Bounds, Fetched, LogConfig, TimestampOffset
from kgw.test.builders import raw_batch
from kgw.test.seaweed_log_stage import BEGIN_NS, DIRECTORY, LogFiler, history_of, records_in, ts_ns_of, value_of
from kgw.wire.records import RecordBatch

T = TypeVar("T")

BEGIN_MS = BEGIN_NS // 1_000_000
MANY = 1 << 30


class FakeBroker:
    """
    Has the records behind those in files.

    @ivar first: the first it has, and behind the last.
    @ivar meanwhile: called when it is asked.
    """

    def __init__(self) -> None:
        self.first = self.end = 0
        self.away = False
        self.asked: list[tuple[int, int, int]] = []
        self.flushed_meanwhile: tuple[LogFiler, int, range] | None = None

    def fetch(self, topic: str, partition: PartitionRange, offset: int, count: int, size: int) -> Deferred[Any]:
        """As the engine: from the first record it has at or behind the offset."""
        self.asked.append((offset, count, size))
        if self.away:
            return fail(EngineUnavailable("no broker"))
        if self.flushed_meanwhile is not None:
            filer, number, offsets = self.flushed_meanwhile
            filer.records(number, offsets)
        offsets = range(max(offset, self.first), min(self.end, offset + count))
        messages = [(b"k", value_of(n), ts_ns_of(n)) for n in offsets]
        return succeed(FetchedMessages(messages, offsets.stop if messages else offset, self.end))

    def high_watermark(self, topic: str, partition: PartitionRange) -> Deferred[int]:
        """Where it ends."""
        return succeed(self.end)


class ReadingCase(SynchronousTestCase):
    """Files with offsets 0-9, 10-29 and 30-59, in three seconds."""

    def setUp(self) -> None:
        self.filer = LogFiler()
        for number, offsets in enumerate((range(10), range(10, 30), range(30, 60))):
            self.filer.records(number, offsets)
        self.broker = FakeBroker()
        broker: Any = self.broker
        self.history = history_of(self.filer)
        self.reading = Reading("orders-0", Place("orders", PartitionRange(0, 2520, 1), DIRECTORY), self.history, broker)

    def wait(self, work: Coroutine[Deferred[Any], Any, T]) -> T:
        """The result."""
        return self.successResultOf(Deferred.fromCoroutine(work))

    def offsets(self, offset: int, end: int, max_bytes: int = MANY, at_least_one: bool = True) -> list[int]:
        """Of the records that a read finds, which are as they were written."""
        batches = self.wait(self.reading.read(offset, end, max_bytes, 3, at_least_one))
        records = records_in(batches)
        self.assertEqual([record.value for record in records], [value_of(record.offset) for record in records])
        return [record.offset for record in records]


class ReadTests(ReadingCase):
    """Records."""

    def test_files_that_were_written_meanwhile(self) -> None:
        self.assertEqual(self.offsets(0, 60)[0], 0)
        self.filer.records(3, range(60, 70))
        self.assertEqual(self.offsets(65, 70)[-1], 69)
        self.assertEqual(self.broker.asked, [])

    def test_nothing_behind_the_end(self) -> None:
        """Files may have records that readers must not see: half of a batch, or what others wrote just now."""
        for end in (1, 9, 10, 11, 45, 59):
            self.assertEqual(self.offsets(0, end), list(range(end)))
        self.assertEqual(self.offsets(44, 45)[-1], 44)

    def test_limits(self) -> None:
        first = len(self.wait(self.reading.read(0, 60, 1, 3, True))[0])
        self.assertEqual(self.offsets(0, 60, first, False), self.offsets(0, 60, 1))
        self.assertEqual(self.offsets(0, 60, first - 1, False), [])

    def test_from_the_broker(self) -> None:
        """What is in no file yet; no more than may be seen, nor than is asked for at a time."""
        self.broker.first, self.broker.end = 60, 100_000
        self.assertEqual(self.offsets(60, 65), [60, 61, 62, 63, 64])
        self.assertEqual(len(self.offsets(61, 100_000)), 10_000)
        self.assertEqual(self.broker.asked[0][:2], (60, 5))
        self.wait(self.reading.read(60, 100_000, 0, 3, True))
        self.assertEqual(self.broker.asked[-1][2], 1)

    def test_written_to_a_file_just_now(self) -> None:
        """Neither in the files that were looked at nor with the broker: it is in a file now."""
        self.broker.first = self.broker.end = 70
        self.broker.flushed_meanwhile = (self.filer, 3, range(60, 70))
        self.assertEqual(self.offsets(62, 70)[-1], 69)

    def test_nowhere(self) -> None:
        """An error, so that the consumer asks again, and no records from elsewhere."""
        for first in (60, 75):
            self.broker.first = self.broker.end = first
            self.broker.end += 10 * (first > 60)
            reading = Deferred.fromCoroutine(self.reading.read(65, 90, MANY, 3, True))
            error = self.failureResultOf(reading, KafkaError).value
            assert isinstance(error, KafkaError)
            self.assertEqual(error.code, ErrorCode.KAFKA_STORAGE_ERROR)
            self.assertIn("65", error.message)

    def test_away(self) -> None:
        """What is known of files is read while the broker is away; the rest fails."""
        self.broker.away = True
        self.assertEqual(self.offsets(10, 60)[-1], 59)
        self.failureResultOf(Deferred.fromCoroutine(self.reading.read(60, 90, MANY, 3, True)), EngineUnavailable)
        self.filer.failing = True
        self.failureResultOf(Deferred.fromCoroutine(self.reading.read(60, 90, MANY, 3, True)), EngineUnavailable)


class Newest:
    """A log whose records behind those in files are in memory."""

    def __init__(self, reading: Reading, end: int) -> None:
        self._reading = reading
        self._end = end
        self.asked: list[int] = []

    def read(self, offset: int, max_bytes: int) -> Deferred[Fetched]:
        """See L{IPartitionLog.read}."""
        self.asked.append(offset)

        async def read() -> Fetched:
            batches = await self._reading.read(offset, self._end, max_bytes, 0, True)
            return Fetched(list(batches), 0, Bounds(0, 0, 0, 0))

        return Deferred.fromCoroutine(read())


class Memory:
    """A log that has batches in memory, from an offset on."""

    def __init__(self, batches: list[RecordBatch], offset: int) -> None:
        self._batches: list[tuple[int, RecordBatch]] = []
        for one in batches:
            self._batches.append((offset, one))
            offset += one.count

    def read(self, offset: int, max_bytes: int) -> Deferred[Fetched]:
        """See L{IPartitionLog.read}."""
        (found,) = [one.buffers(base, 0) for base, one in self._batches if base <= offset < base + one.count]
        return succeed(Fetched(list(found), 0, Bounds(0, 0, 0, 0)))


class TimeTests(ReadingCase):
    """Records by their times: one each millisecond."""

    def setUp(self) -> None:
        super().setUp()
        self.broker.first, self.broker.end = 60, 80
        self.log: Any = Newest(self.reading, 80)
        self.facts = PartitionFacts()
        self.facts.begin_epoch(50)

    def at(self, timestamp: int, end: int = 80) -> TimestampOffset:
        """What is found."""
        return self.wait(self.reading.offset_for_time(self.log, self.facts, end, BEGIN_MS + timestamp))

    def latest(self, end: int) -> TimestampOffset:
        """What is found."""
        return self.wait(self.reading.offset_of_max_timestamp(self.log, self.facts, end))

    def test_in_files_and_behind(self) -> None:
        self.assertEqual(self.at(20), TimestampOffset(BEGIN_MS + 20, 20, 0))
        self.assertEqual(self.at(55), TimestampOffset(BEGIN_MS + 55, 55, 1))
        self.assertEqual(self.log.asked, [])
        self.assertEqual(self.at(75), TimestampOffset(BEGIN_MS + 75, 75, 1))
        self.assertEqual(self.at(80), NO_OFFSET)
        self.assertGreaterEqual(min(self.log.asked), 60)

    def test_trimmed(self) -> None:
        self.facts.begin_at(40)
        self.assertEqual(self.at(0).offset, 40)
        self.facts.begin_at(70)
        self.assertEqual(self.at(0).offset, 70)
        self.facts.begin_at(80)
        self.assertEqual((self.at(0), self.latest(80)), (NO_OFFSET, NO_OFFSET))

    def test_not_to_be_seen_yet(self) -> None:
        """Nothing at or behind the end is found, though files have it."""
        self.log = Newest(self.reading, 55)
        self.assertEqual(self.at(54, 55).offset, 54)
        self.assertEqual(self.at(55, 55), NO_OFFSET)
        self.assertEqual(self.latest(55).offset, 54)

    def test_the_latest(self) -> None:
        self.assertEqual(self.latest(80), TimestampOffset(BEGIN_MS + 79, 79, 1))
        self.assertEqual(self.latest(60), TimestampOffset(BEGIN_MS + 59, 59, 1))

    def test_batches_that_are_too_old_are_not_decoded(self) -> None:
        """Much may be in memory, and its batches say how late their records are; else it is done in another thread."""
        early, late = (
            raw_batch(*[BEGIN_MS + n for n in offsets], value=b"v") for offsets in (range(60, 70), range(70, 80))
        )
        damaged = RecordBatch.parse(early[:-3] + b"\xff\xff\xff")
        self.log = Memory([damaged, RecordBatch.parse(late)], 60)
        self.assertEqual(self.at(75), TimestampOffset(BEGIN_MS + 75, 75, 1))
        refused = Deferred.fromCoroutine(self.reading.offset_for_time(self.log, self.facts, 80, BEGIN_MS + 65))
        self.failureResultOf(refused, KafkaError)
        self.log = Memory([RecordBatch.parse(late), damaged], 60)
        self.assertEqual(self.latest(80), TimestampOffset(BEGIN_MS + 79, 69, 1))

    def test_files_are_not_read_record_by_record(self) -> None:
        """A file that was written since the last look is looked through as one."""
        self.at(0)
        self.filer.records(3, range(60, 80))
        self.broker.first = 80
        self.assertEqual(self.at(75).offset, 75)
        self.assertEqual(self.log.asked, [])


class RetentionTests(ReadingCase):
    """Where the log is to start."""

    def start(self, now: int = 0, start: int = 0, **config: int) -> int:
        """By these configs, C{now} ms after record 0."""
        resolved = LogConfig(**{"retention_ms": -1, "retention_bytes": -1, **config})  # type: ignore[arg-type]
        return self.wait(self.reading.retained_from(resolved, BEGIN_MS + now, start))

    def test_time(self) -> None:
        """Whole files, all of whose records are too old, and never the last one."""
        starts = [self.start(now, retention_ms=1000) for now in (1000, 1009, 1010, 1029, 1030, 99_999)]
        self.assertEqual(starts, [0, 0, 10, 10, 30, 30])

    def test_size(self) -> None:
        sizes = [len(content) for content in self.filer.contents.values()]
        kept = (sum(sizes), sum(sizes[1:]) + 1, sum(sizes[1:]), sizes[2], 0)
        self.assertEqual([self.start(retention_bytes=size) for size in kept], [0, 0, 10, 30, 30])

    def test_no_limit(self) -> None:
        self.assertEqual(self.start(1 << 40), 0)

    def test_files_that_were_trimmed_count_no_more(self) -> None:
        self.assertEqual(self.start(1010, 10, retention_ms=1000), 10)
        self.assertEqual(self.start(1010, 15, retention_ms=1000), 15)
        self.assertEqual(self.start(1030, 15, retention_ms=1000), 30)

    def test_files_that_somebody_else_has_removed(self) -> None:
        """They count no more, and those behind them are looked at."""
        self.assertEqual(self.start(), 0)
        for name in list(self.filer.contents)[:2]:
            self.filer.delete("", name)
        self.assertEqual(self.start(1010, retention_ms=1000), 0)
        self.filer.records(3, range(60, 70))
        self.assertEqual(self.start(1060, retention_ms=1000), 60)

    def test_files_that_cannot_be_removed(self) -> None:
        """It is said, and nothing else comes of it."""
        self.wait(self.reading.retained_from(LogConfig(), BEGIN_MS, 0))
        self.reading.free_below(30)
        self.assertEqual(len(self.filer.contents), 1)
        self.filer.failing = True
        self.reading.free_below(60)
