"""What every implementation of a seam must do: one mixin of tests for each interface."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from kgw.errors import ErrorCode, KafkaError
from kgw.interfaces import ILogEngine, IPartitionLog, IStateStore
from kgw.model import NO_OFFSET, Appended, Bounds, EpochEnd, LogConfig, TimestampOffset, Topic
from kgw.test.builders import (
    EPOCH_MS,
    EPOCH_S,
    batch,
    batches_in,
    idempotent_batch,
    offsets_in,
    raw_batch,
    topic,
)
from kgw.wire.compression import CompressionType
from kgw.wire.records import RecordBatch

# The mixins call a test case's methods, but must not be collected as test cases themselves.
if TYPE_CHECKING:
    _Case = SynchronousTestCase
else:
    _Case = object

T = TypeVar("T")

#: A batch's bytes 0-7 are its base offset and 12-15 its leader epoch; a log may change nothing else.
_LENGTH = slice(8, 12)
_REST = slice(16, None)


class _Waiting(_Case):
    def wait(self, deferred: Deferred[T]) -> T:
        """The result; an implementation that takes threads or time says how to wait for it."""
        return self.successResultOf(deferred)

    def refusal(self, call: Callable[..., Any], *args: Any) -> ErrorCode:
        """The code of the L{KafkaError} that the call raises or fires with."""
        caught = self.assertRaises(KafkaError, lambda: self.wait(maybeDeferred(call, *args).addErrback(_raised)))
        code: ErrorCode = caught.code
        return code


class _Engine(_Waiting):
    """
    A started engine with the topic C{orders}; C{self.log} is its only partition.

    Concrete tests say how to make an engine.
    """

    clock: Clock
    engine: ILogEngine
    log: IPartitionLog
    topic: Topic

    def make_engine(self, clock: Clock) -> ILogEngine:
        """
        An engine over this test's own place, not started.

        The first finds it empty; each further one finds what the one before it left when it stopped.
        """
        raise NotImplementedError

    def setUp(self) -> None:
        """Start an engine and make the topic."""
        super().setUp()
        self.clock = Clock()
        self.clock.advance(EPOCH_S)
        self.engine = self.make_engine(self.clock)
        self.wait(self.engine.start([]))
        self.addCleanup(lambda: self.wait(self.engine.stop()))
        self.topic = topic()
        self.log = self.created(self.topic)

    def created(self, topic: Topic, config: LogConfig | None = None) -> IPartitionLog:
        """The first partition of a new topic."""
        self.wait(self.engine.create(topic, config or LogConfig()))
        log: IPartitionLog = self.engine.partition(topic.name, 0)
        return log

    def reopen(self, *topics: Topic) -> None:
        """Stop the engine and start another one on the same place, which is told of these topics."""
        self.wait(self.engine.stop())
        self.engine = self.make_engine(self.clock)
        self.wait(self.engine.start([(topic, LogConfig()) for topic in topics]))
        if self.topic in topics:
            self.log = self.engine.partition(self.topic.name, 0)

    def append(self, *batches: RecordBatch) -> list[Appended]:
        """Append each and wait for it."""
        appended = [self.wait(self.log.append(one)) for one in batches]
        self.clock.advance(0)
        return appended

    def offsets(self, offset: int, max_bytes: int = 1 << 20, at_least_one: bool = True) -> list[int]:
        """The offsets of the records that a read finds."""
        return offsets_in(self.wait(self.log.read(offset, max_bytes, at_least_one)))

    def bounds(self) -> tuple[int, int]:
        """Log start offset and high watermark."""
        bounds = self.wait(self.log.bounds())
        return bounds.log_start_offset, bounds.high_watermark


class PartitionLogContract(_Engine):
    """What L{IPartitionLog} promises, save what is about producers."""

    def test_interface(self) -> None:
        self.assertTrue(verifyObject(IPartitionLog, self.log))

    def test_an_empty_log(self) -> None:
        bounds = self.wait(self.log.bounds())
        self.assertEqual(replace(bounds, start_epoch=-1), Bounds(0, 0, 0, self.log.leader_epoch, -1))
        found = self.wait(self.log.read(0, 1000))
        self.assertEqual((list(found.records), found.size), ([], 0))
        self.assertEqual(self.wait(self.log.offset_for_time(0)), NO_OFFSET)
        self.assertEqual(self.wait(self.log.offset_of_max_timestamp()), NO_OFFSET)

    def test_offsets_are_contiguous(self) -> None:
        appended = self.append(batch(EPOCH_MS), batch(*[EPOCH_MS] * 3), batch(*[EPOCH_MS] * 2))
        self.assertEqual(appended, [Appended(0, -1, 0), Appended(1, -1, 0), Appended(4, -1, 0)])
        bounds = self.wait(self.log.bounds())
        epoch = self.log.leader_epoch
        self.assertEqual(bounds, Bounds(0, 6, 6, epoch, epoch))

    def test_appends_that_were_not_waited_for_keep_their_order(self) -> None:
        started = [self.log.append(batch(*[EPOCH_MS] * count)) for count in (2, 1, 3)]
        self.assertEqual([self.wait(one).base_offset for one in started], [0, 2, 3])

    def test_a_batch_keeps_its_bytes(self) -> None:
        sent = [
            raw_batch(EPOCH_MS, EPOCH_MS - 5, value=b"a"),
            raw_batch(EPOCH_MS, value=b"b" * 3000, compression=CompressionType.GZIP),
            raw_batch(EPOCH_MS, producer_id=1 << 40, producer_epoch=3, base_sequence=17),
        ]
        offsets = [one.base_offset for one in self.append(*map(RecordBatch.parse, sent))]
        kept = batches_in(self.wait(self.log.read(0, 1 << 20)))
        self.assertEqual(len(kept), len(sent))
        for given, got, offset in zip(sent, kept, offsets, strict=True):
            self.assertEqual((got[_LENGTH], got[_REST]), (given[_LENGTH], given[_REST]))
            header = RecordBatch.parse(got)
            self.assertEqual((header.base_offset, header.leader_epoch), (offset, self.log.leader_epoch))
            self.assertTrue(header.crc_valid())

    def test_the_callers_batch_is_left_alone(self) -> None:
        one = batch(EPOCH_MS, EPOCH_MS)
        self.append(one, one)
        self.assertEqual(one.base_offset, 0)
        self.assertEqual(self.offsets(0), [0, 1, 2, 3])

    def test_reading_at_every_offset(self) -> None:
        self.append(batch(*[EPOCH_MS] * 3), batch(EPOCH_MS), batch(*[EPOCH_MS] * 2))
        starts = [0, 0, 0, 3, 4, 4]
        self.assertEqual([self.offsets(offset) for offset in range(6)], [list(range(n, 6)) for n in starts])
        self.assertEqual(self.offsets(6), [])

    def test_max_bytes(self) -> None:
        self.append(*[batch(EPOCH_MS, EPOCH_MS)] * 3)
        size = batch(EPOCH_MS, EPOCH_MS).size
        for at_least_one in (True, False):
            self.assertEqual(self.offsets(0, 3 * size, at_least_one), [0, 1, 2, 3, 4, 5])
            self.assertEqual(self.offsets(0, 3 * size - 1, at_least_one), [0, 1, 2, 3])
            self.assertEqual(self.offsets(3, 2 * size, at_least_one), [2, 3, 4, 5])
            self.assertEqual(self.offsets(0, size, at_least_one), [0, 1])
        for too_small in (size - 1, 1, 0):
            self.assertEqual(self.offsets(1, too_small, True), [0, 1])
            self.assertEqual(self.offsets(1, too_small, False), [])

    def test_the_size_of_what_was_read(self) -> None:
        self.append(*[batch(EPOCH_MS)] * 3)
        found = self.wait(self.log.read(1, 1 << 20))
        self.assertEqual(found.size, 2 * batch(EPOCH_MS).size)
        self.assertEqual(found.size, sum(len(piece) for piece in found.records))
        self.assertEqual((found.bounds.log_start_offset, found.bounds.high_watermark), (0, 3))

    def test_out_of_range(self) -> None:
        self.append(batch(EPOCH_MS, EPOCH_MS))
        for offset in (-1, 3, 1 << 40):
            self.assertEqual(self.refusal(self.log.read, offset, 1000), ErrorCode.OFFSET_OUT_OF_RANGE)

    def test_a_large_batch(self) -> None:
        given = raw_batch(EPOCH_MS, value=random.Random(1).randbytes(1_000_000))
        self.append(batch(), RecordBatch.parse(given), batch())
        self.assertEqual(batches_in(self.wait(self.log.read(1, 1)))[0][_REST], given[_REST])
        self.assertEqual(self.offsets(0, 10_000, at_least_one=False), [0])

    def test_many_batches_read_from_everywhere(self) -> None:
        chance = random.Random(20)
        sizes, first = [], []
        for _ in range(60):
            count = chance.randint(1, 9)
            one = batch(*[EPOCH_MS] * count, value=bytes(chance.randint(0, 400)))
            (appended,) = self.append(one)
            first += [len(sizes)] * count
            sizes.append((one.size, list(range(appended.base_offset, appended.base_offset + count))))
        for offset, index in enumerate(first):
            max_bytes = chance.choice((0, 100, 1000, 5000, 1 << 20))
            expected, left = sizes[index][1], max_bytes - sizes[index][0]
            for size, offsets in sizes[index + 1 :]:
                left -= size
                if left < 0:
                    break
                expected = expected + offsets
            self.assertEqual(self.offsets(offset, max_bytes), expected)

    def test_what_was_read_outlives_the_log(self) -> None:
        given = raw_batch(EPOCH_MS, EPOCH_MS)
        self.append(RecordBatch.parse(given))
        found = self.wait(self.log.read(0, 1000))
        self.wait(self.log.trim(-1))
        self.wait(self.engine.delete(self.topic))
        self.assertEqual(b"".join(found.records)[_REST], given[_REST])

    # Time

    def test_the_time_a_batch_was_given(self) -> None:
        stamped = batch(1000, 2000).with_timestamp_type(EPOCH_MS + 7)
        self.assertEqual(self.append(stamped), [Appended(0, EPOCH_MS + 7, 0)])
        found = TimestampOffset(EPOCH_MS + 7, 0, self.log.leader_epoch)
        self.assertEqual(self.wait(self.log.offset_for_time(1500)), found)
        self.assertEqual(self.wait(self.log.offset_of_max_timestamp()), found)

    def found_at(self, timestamp: int) -> tuple[int, int]:
        """Offset and timestamp of the first record at or behind C{timestamp}, both since L{EPOCH_MS}."""
        found = self.wait(self.log.offset_for_time(EPOCH_MS + timestamp))
        if found == NO_OFFSET:
            return -1, -1
        self.assertEqual(found.leader_epoch, self.log.leader_epoch)
        return found.offset, found.timestamp - EPOCH_MS

    def test_offset_for_time(self) -> None:
        self.append(
            batch(EPOCH_MS + 10, EPOCH_MS + 20),
            batch(EPOCH_MS + 30, EPOCH_MS + 40, EPOCH_MS + 50, compression=CompressionType.GZIP),
            batch(EPOCH_MS + 60),
        )
        expected = {0: (0, 10), 10: (0, 10), 11: (1, 20), 21: (2, 30), 31: (3, 40), 50: (4, 50), 51: (5, 60)}
        self.assertEqual({time: self.found_at(time) for time in expected}, expected)
        self.assertEqual(self.wait(self.log.offset_for_time(EPOCH_MS + 61)), NO_OFFSET)

    def test_offset_for_time_where_timestamps_go_back(self) -> None:
        self.append(batch(EPOCH_MS + 50, EPOCH_MS + 10), batch(EPOCH_MS + 20, EPOCH_MS + 70), batch(EPOCH_MS + 30))
        expected = {5: (0, 50), 15: (0, 50), 50: (0, 50), 51: (3, 70), 70: (3, 70), 71: (-1, -1)}
        self.assertEqual({time: self.found_at(time) for time in expected}, expected)

    def test_times_of_trimmed_records_are_not_found(self) -> None:
        self.append(batch(EPOCH_MS + 90, EPOCH_MS + 10, EPOCH_MS + 20), batch(EPOCH_MS + 30))
        self.wait(self.log.trim(1))
        self.assertEqual((self.found_at(0), self.found_at(15), self.found_at(40)), ((1, 10), (2, 20), (-1, -1)))
        self.wait(self.log.trim(-1))
        self.assertEqual(self.wait(self.log.offset_for_time(0)), NO_OFFSET)
        self.assertEqual(self.wait(self.log.offset_of_max_timestamp()), NO_OFFSET)

    def test_offset_of_max_timestamp(self) -> None:
        epoch = self.log.leader_epoch
        self.append(batch(EPOCH_MS + 10), batch(EPOCH_MS + 5, EPOCH_MS + 80, EPOCH_MS + 80), batch(EPOCH_MS + 80))
        self.assertEqual(self.wait(self.log.offset_of_max_timestamp()), TimestampOffset(EPOCH_MS + 80, 2, epoch))
        self.append(batch(EPOCH_MS + 81))
        self.assertEqual(self.wait(self.log.offset_of_max_timestamp()), TimestampOffset(EPOCH_MS + 81, 5, epoch))

    def test_end_of_epoch(self) -> None:
        self.append(batch(EPOCH_MS, EPOCH_MS))
        epoch = self.log.leader_epoch
        self.assertEqual(self.wait(self.log.end_of_epoch(epoch)), EpochEnd(epoch, 2))
        self.assertEqual(self.wait(self.log.end_of_epoch(epoch + 1)), EpochEnd(-1, -1))
        self.assertEqual(self.wait(self.log.end_of_epoch(-1)), EpochEnd(-1, -1))

    # Trimming

    def test_trim(self) -> None:
        self.append(batch(EPOCH_MS), batch(*[EPOCH_MS] * 3), batch(EPOCH_MS))
        self.assertEqual(self.wait(self.log.trim(2)), 2)
        self.assertEqual(self.bounds(), (2, 5))
        self.assertEqual(self.refusal(self.log.read, 1, 1000), ErrorCode.OFFSET_OUT_OF_RANGE)
        self.assertEqual(self.offsets(2), [1, 2, 3, 4])
        self.assertEqual(self.append(batch(EPOCH_MS)), [Appended(5, -1, 2)])

    def test_trim_never_goes_back(self) -> None:
        self.append(batch(*[EPOCH_MS] * 4))
        self.wait(self.log.trim(3))
        self.assertEqual([self.wait(self.log.trim(offset)) for offset in (0, 2, 3)], [3, 3, 3])

    def test_trim_all(self) -> None:
        self.append(batch(*[EPOCH_MS] * 4))
        self.assertEqual(self.wait(self.log.trim(-1)), 4)
        self.assertEqual(self.bounds(), (4, 4))
        self.assertEqual(self.offsets(4), [])
        self.append(batch(EPOCH_MS))
        self.assertEqual(self.offsets(4), [4])

    def test_trim_outside_the_log(self) -> None:
        self.append(batch(EPOCH_MS))
        for offset in (2, -2):
            self.assertEqual(self.refusal(self.log.trim, offset), ErrorCode.OFFSET_OUT_OF_RANGE)
        self.assertEqual(self.bounds(), (0, 1))

    # Watching

    def test_watch(self) -> None:
        seen: list[int] = []
        self.log.watch(seen.append)
        self.clock.advance(0)
        self.assertEqual(seen, [])
        self.append(batch(EPOCH_MS))
        self.append(batch(EPOCH_MS, EPOCH_MS))
        self.assertEqual(seen, [batch(EPOCH_MS).size, batch(EPOCH_MS, EPOCH_MS).size])
        self.wait(self.log.trim(1))
        self.clock.advance(0)
        self.assertEqual(seen[2:], [-1])

    def test_a_listener_can_read_what_it_is_told_of(self) -> None:
        seen: list[Deferred[Any]] = []
        self.log.watch(lambda _: seen.append(self.log.read(0, 1000)))
        self.append(batch(EPOCH_MS))
        self.assertEqual([offsets_in(self.wait(read)) for read in seen], [[0]])

    def test_unwatch(self) -> None:
        first: list[int] = []
        second: list[int] = []
        self.log.watch(first.append)
        self.log.watch(second.append)
        self.log.unwatch(first.append)
        self.append(batch(EPOCH_MS))
        self.assertEqual((len(first), len(second)), (0, 1))
        self.log.unwatch(first.append)
        self.log.unwatch(second.append)
        self.append(batch(EPOCH_MS))
        self.assertEqual((len(first), len(second)), (0, 1))

    def test_listeners_may_stop_while_they_are_called(self) -> None:
        seen: list[str] = []

        def once(_: int) -> None:
            seen.append("once")
            self.log.unwatch(once)

        def always(_: int) -> None:
            seen.append("always")

        self.log.watch(once)
        self.log.watch(always)
        self.append(batch(EPOCH_MS))
        self.append(batch(EPOCH_MS))
        self.assertEqual(seen, ["once", "always", "always"])


class ProducerContract(_Engine):
    """What L{IPartitionLog} promises to idempotent producers (KIP-98)."""

    def test_batches_in_sequence(self) -> None:
        appended = self.append(idempotent_batch(0, 3), idempotent_batch(3), idempotent_batch(4, 2))
        self.assertEqual([(one.base_offset, one.duplicate) for one in appended], [(0, False), (3, False), (4, False)])

    def test_any_of_the_last_five_is_a_duplicate(self) -> None:
        self.append(*(idempotent_batch(2 * n, 2) for n in range(7)))
        seen: list[int] = []
        self.log.watch(seen.append)
        repeated = self.append(*(idempotent_batch(2 * n, 2) for n in range(2, 7)))
        self.assertEqual(repeated, [Appended(2 * n, -1, 0, duplicate=True) for n in range(2, 7)])
        self.assertEqual((self.bounds(), seen), ((0, 14), []))
        for n in (0, 1):
            refused = self.refusal(self.log.append, idempotent_batch(2 * n, 2))
            self.assertEqual(refused, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)

    def test_a_duplicate_has_the_time_of_the_first(self) -> None:
        first = idempotent_batch(0).with_timestamp_type(EPOCH_MS + 1)
        again = idempotent_batch(0).with_timestamp_type(EPOCH_MS + 9)
        self.assertEqual([one.log_append_time_ms for one in self.append(first, again)], [EPOCH_MS + 1] * 2)

    def test_a_repeated_start_of_another_length_is_no_duplicate(self) -> None:
        self.append(idempotent_batch(0, 2))
        self.assertEqual(
            self.refusal(self.log.append, idempotent_batch(0, 3)), ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
        )

    def test_a_gap_is_refused_and_leaves_no_trace(self) -> None:
        self.append(idempotent_batch(0))
        self.assertEqual(self.refusal(self.log.append, idempotent_batch(2)), ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
        self.assertEqual([one.base_offset for one in self.append(idempotent_batch(1), idempotent_batch(2))], [1, 2])

    def test_requests_in_flight(self) -> None:
        started = [self.log.append(idempotent_batch(n)) for n in (0, 1, 1, 2)]
        self.assertEqual([self.wait(one).base_offset for one in started], [0, 1, 1, 2])

    def test_epochs(self) -> None:
        self.append(idempotent_batch(0), idempotent_batch(1), idempotent_batch(0, epoch=4))
        for sequence in (1, 2, 0):
            refused = self.refusal(self.log.append, idempotent_batch(sequence, epoch=3))
            self.assertEqual(refused, ErrorCode.INVALID_PRODUCER_EPOCH)
        refused = self.refusal(self.log.append, idempotent_batch(1, epoch=5))
        self.assertEqual(refused, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
        self.assertEqual([one.base_offset for one in self.append(idempotent_batch(1, epoch=4))], [3])

    def test_sequences_start_again_after_the_largest(self) -> None:
        largest = (1 << 31) - 1
        self.append(idempotent_batch(largest - 1, 3), idempotent_batch(1))
        self.assertTrue(self.append(idempotent_batch(largest - 1, 3))[0].duplicate)
        self.assertEqual(self.append(idempotent_batch(2)), [Appended(4, -1, 0)])

    def test_an_unknown_producer_starts_anywhere(self) -> None:
        self.assertEqual(self.append(idempotent_batch(1000, epoch=9)), [Appended(0, -1, 0)])

    def test_producers_do_not_meet(self) -> None:
        self.append(idempotent_batch(0, producer_id=1), idempotent_batch(0, producer_id=2), batch(), batch())
        self.append(idempotent_batch(1, producer_id=1), idempotent_batch(1, producer_id=2))
        self.assertEqual(self.bounds(), (0, 6))

    def test_trimmed_batches_are_still_duplicates(self) -> None:
        self.append(idempotent_batch(0), idempotent_batch(1))
        self.wait(self.log.trim(-1))
        self.assertTrue(self.append(idempotent_batch(1))[0].duplicate)
        self.assertEqual(self.append(idempotent_batch(2)), [Appended(2, -1, 2)])

    def test_producers_survive_a_restart(self) -> None:
        self.append(*(idempotent_batch(n, epoch=2) for n in range(6)))
        self.reopen(self.topic)
        repeated = self.append(*(idempotent_batch(n, epoch=2) for n in range(1, 6)))
        self.assertEqual([(one.base_offset, one.duplicate) for one in repeated], [(n, True) for n in range(1, 6)])
        refused = self.refusal(self.log.append, idempotent_batch(7, epoch=2))
        self.assertEqual(refused, ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)
        self.assertEqual(
            self.refusal(self.log.append, idempotent_batch(6, epoch=1)), ErrorCode.INVALID_PRODUCER_EPOCH
        )
        self.assertEqual(self.append(idempotent_batch(6, epoch=2)), [Appended(6, -1, 0)])

    def test_producers_survive_a_restart_of_a_trimmed_log(self) -> None:
        self.append(idempotent_batch(0), idempotent_batch(1))
        self.wait(self.log.trim(-1))
        self.reopen(self.topic)
        self.assertEqual(
            self.refusal(self.log.append, idempotent_batch(5)), ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
        )
        self.assertEqual([one.base_offset for one in self.append(idempotent_batch(2))], [2])


class LogEngineContract(_Engine):
    """What L{ILogEngine} promises."""

    def test_interface(self) -> None:
        self.assertTrue(verifyObject(ILogEngine, self.engine))

    def test_it_can_be_named(self) -> None:
        self.assertRegex(self.engine.describe(), r"^[a-z]+")

    def test_unknown_partitions(self) -> None:
        for name, index in (("orders", 1), ("orders", -1), ("payments", 0), ("", 0)):
            self.assertEqual(
                self.refusal(self.engine.partition, name, index), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
            )

    def test_partitions_are_apart(self) -> None:
        self.created(topic("payments", partitions=3, number=2))
        for index in range(3):
            log = self.engine.partition("payments", index)
            for _ in range(index + 1):
                self.wait(log.append(batch()))
        ends = [self.wait(self.engine.partition("payments", index).bounds()).high_watermark for index in range(3)]
        self.assertEqual((ends, self.bounds()), ([1, 2, 3], (0, 0)))

    def test_more_partitions(self) -> None:
        self.append(batch())
        self.topic = replace(self.topic, partitions=3)
        self.created(self.topic)
        self.wait(self.engine.partition("orders", 2).append(batch()))
        self.assertEqual(self.offsets(0), [0])
        self.reopen(self.topic)
        ends = [self.wait(self.engine.partition("orders", index).bounds()).high_watermark for index in range(3)]
        self.assertEqual(ends, [1, 0, 1])

    def test_creating_again_changes_nothing(self) -> None:
        self.append(batch())
        self.created(self.topic)
        self.assertEqual(self.offsets(0), [0])

    def test_configure(self) -> None:
        self.assertEqual(self.log.config, LogConfig())
        self.engine.configure(self.topic, LogConfig(max_message_bytes=77))
        self.assertEqual(self.log.config.max_message_bytes, 77)
        self.assertEqual(self.engine.partition("orders", 0).config.max_message_bytes, 77)

    def test_delete(self) -> None:
        self.append(batch())
        self.wait(self.engine.delete(self.topic))
        self.assertEqual(self.refusal(self.engine.partition, "orders", 0), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        for call in (
            lambda: self.log.append(batch()),
            lambda: self.log.read(0, 1000),
            self.log.bounds,
            lambda: self.log.offset_for_time(0),
            self.log.offset_of_max_timestamp,
            lambda: self.log.end_of_epoch(0),
            lambda: self.log.trim(0),
        ):
            self.assertEqual(self.refusal(call), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)

    def test_delete_tells_those_who_wait(self) -> None:
        seen: list[int] = []
        refused: list[ErrorCode] = []

        def listener(new_bytes: int) -> None:
            seen.append(new_bytes)
            refused.append(self.refusal(self.log.read, 0, 1000))

        self.log.watch(listener)
        self.wait(self.engine.delete(self.topic))
        self.clock.advance(0)
        self.assertEqual((seen, refused), ([-1], [ErrorCode.UNKNOWN_TOPIC_OR_PARTITION]))
        self.log.unwatch(listener)

    def test_deleting_what_is_not_there(self) -> None:
        self.wait(self.engine.delete(topic("payments", number=2)))
        self.wait(self.engine.delete(self.topic))
        self.wait(self.engine.delete(self.topic))

    def test_a_new_topic_of_an_old_name_is_empty(self) -> None:
        self.append(idempotent_batch(0), batch())
        self.wait(self.engine.delete(self.topic))
        self.log = self.created(topic(number=2))
        self.assertEqual(self.bounds(), (0, 0))
        self.assertEqual(self.append(idempotent_batch(5)), [Appended(0, -1, 0)])
        self.topic = topic(number=2)
        self.reopen(self.topic)
        self.assertEqual(self.offsets(0), [0])

    def test_a_deletion_that_comes_late_spares_the_new_topic(self) -> None:
        self.wait(self.engine.delete(self.topic))
        self.log = self.created(topic(number=2))
        self.append(batch())
        self.wait(self.engine.delete(topic(number=1)))
        self.assertEqual(self.offsets(0), [0])

    def test_stop(self) -> None:
        seen: list[int] = []
        self.log.watch(seen.append)
        self.wait(self.engine.stop())
        self.clock.advance(0)
        self.assertEqual(seen, [-1])
        self.assertEqual(self.refusal(self.log.append, batch()), ErrorCode.KAFKA_STORAGE_ERROR)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_records_survive_a_restart(self) -> None:
        self.append(batch(EPOCH_MS, EPOCH_MS + 1), batch(EPOCH_MS + 2, compression=CompressionType.GZIP), batch())
        before = batches_in(self.wait(self.log.read(0, 1 << 20)))
        self.wait(self.log.trim(1))
        self.reopen(self.topic)
        self.assertEqual(self.bounds(), (1, 4))
        self.assertEqual(batches_in(self.wait(self.log.read(1, 1 << 20))), before)
        self.assertEqual(self.wait(self.log.offset_for_time(EPOCH_MS + 2)).offset, 2)
        self.assertEqual(self.wait(self.log.offset_of_max_timestamp()).offset, 2)
        self.assertEqual([one.base_offset for one in self.append(batch())], [4])

    def test_offsets_go_on_after_all_was_trimmed(self) -> None:
        self.append(batch(*[EPOCH_MS] * 5))
        self.wait(self.log.trim(-1))
        for _ in range(2):
            self.reopen(self.topic)
            self.assertEqual(self.bounds(), (5, 5))
        self.assertEqual([one.base_offset for one in self.append(batch())], [5])

    def test_topics_that_are_not_named_are_forgotten(self) -> None:
        payments = topic("payments", number=2)
        self.wait(self.created(payments).append(batch()))
        self.append(batch())
        self.reopen(self.topic)
        self.assertEqual(self.refusal(self.engine.partition, "payments", 0), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        self.assertEqual(self.offsets(0), [0])
        self.reopen(self.topic, payments)
        self.assertEqual(self.wait(self.engine.partition("payments", 0).bounds()).high_watermark, 0)

    def test_a_topic_that_is_another_by_now_starts_empty(self) -> None:
        self.append(batch())
        self.topic = topic(number=2)
        self.reopen(self.topic)
        self.assertEqual(self.bounds(), (0, 0))

    def test_a_topic_whose_creation_was_cut_short_is_made(self) -> None:
        self.append(batch())
        self.topic = replace(self.topic, partitions=2)
        self.reopen(self.topic, topic("payments", number=2))
        self.assertEqual(self.offsets(0), [0])
        for name, index in (("orders", 1), ("payments", 0)):
            self.assertEqual(self.wait(self.engine.partition(name, index).append(batch())).base_offset, 0)


class StateStoreContract(_Waiting):
    """What L{IStateStore} promises."""

    store: IStateStore

    def make_store(self) -> IStateStore:
        """A store over this test's own place, not open; each finds what the one before it left when it closed."""
        raise NotImplementedError

    def setUp(self) -> None:
        """Open a store."""
        super().setUp()
        self.store = self.make_store()
        self.wait(self.store.open())
        self.addCleanup(lambda: self.wait(self.store.close()))

    def reopen(self) -> None:
        """Close the store and open another one on the same place."""
        self.wait(self.store.close())
        self.store = self.make_store()
        self.wait(self.store.open())

    def keys(self, prefix: str) -> list[str]:
        """The keys a scan finds."""
        return [key for key, _ in self.wait(self.store.scan(prefix))]

    def commit(self, puts: dict[str, bytes], deletes: Iterable[str] = ()) -> None:
        """Commit and wait."""
        self.wait(self.store.commit(puts, tuple(deletes)))

    def test_interface(self) -> None:
        self.assertTrue(verifyObject(IStateStore, self.store))

    def test_nothing_there(self) -> None:
        self.assertIs(self.wait(self.store.get("a")), None)
        self.assertEqual(self.wait(self.store.scan("")), [])

    def test_what_is_committed_is_there(self) -> None:
        self.commit({"a": b"1", "b": b"\x00\xff", "c": b""})
        self.commit({"a": b"2"}, ["b", "never there"])
        for _ in range(2):
            self.assertEqual(self.wait(self.store.scan("")), [("a", b"2"), ("c", b"")])
            self.assertEqual(self.wait(self.store.get("a")), b"2")
            self.assertIs(self.wait(self.store.get("b")), None)
            self.reopen()

    def test_a_key_in_both_is_put(self) -> None:
        self.commit({"a": b"1"})
        self.commit({"a": b"2"}, ["a"])
        self.assertEqual(self.wait(self.store.get("a")), b"2")

    def test_an_empty_commit(self) -> None:
        self.commit({})
        self.assertEqual(self.wait(self.store.scan("")), [])

    def test_scan_takes_what_starts_with_the_prefix(self) -> None:
        keys = ["t", "t/", "t/a", "t/a/b", "t/b", "t0", "T/a", "t%", "t_", "s/z", "t/\U0010ffff", "t/\U0010ffff!"]
        self.commit(dict.fromkeys(keys, b""))
        for prefix in ["", "t", "t/", "t/a", "t%", "t_", "u", "t/\U0010ffff", "\U0010ffff"]:
            self.assertEqual(self.keys(prefix), sorted(key for key in keys if key.startswith(prefix)), repr(prefix))

    def test_keys_sort_by_code_point(self) -> None:
        # UTF-16 would put the third and fourth the other way round, a locale the first two.
        keys = ["Z", "a", "\uffee", "\U0001f600", "\U0010ffff"]
        self.commit(dict.fromkeys(reversed(keys), b""))
        self.assertEqual(self.keys(""), keys)
        self.assertEqual(self.keys("\ud7ff"), [])

    def test_commits_keep_their_order(self) -> None:
        started = [self.store.commit({"a": b"%d" % n, f"n/{n:03}": b""}, ["n/%03d" % (n - 1)]) for n in range(50)]
        self.assertEqual(self.wait(self.store.get("a")), b"49")
        for one in started:
            self.wait(one)
        self.assertEqual(self.keys("n/"), ["n/049"])

    def test_a_read_sees_the_commits_called_before_it(self) -> None:
        self.store.commit({"a": b"1"})
        first = self.store.get("a")
        self.store.commit({"a": b"2"})
        second = self.store.get("a")
        self.assertEqual((self.wait(first), self.wait(second)), (b"1", b"2"))

    def test_what_is_committed_is_a_copy(self) -> None:
        puts = {"a": b"1"}
        committing = self.store.commit(puts)
        puts["a"] = b"2"
        puts["b"] = b"3"
        self.wait(committing)
        self.assertEqual(self.wait(self.store.scan("")), [("a", b"1")])

    def test_the_largest_value(self) -> None:
        largest = random.Random(3).randbytes(1 << 20)
        self.commit({"a": largest})
        self.reopen()
        self.assertEqual(self.wait(self.store.get("a")), largest)

    def test_a_value_that_is_too_large_writes_nothing(self) -> None:
        puts = {"a": b"1", "b": bytes((1 << 20) + 1)}
        self.assertRaises(ValueError, lambda: self.wait(self.store.commit(puts)))
        self.assertEqual(self.wait(self.store.scan("")), [])

    def test_a_key_that_is_no_text_writes_nothing(self) -> None:
        self.assertRaises(ValueError, lambda: self.wait(self.store.commit({"a": b"1", "\ud800": b""})))
        self.assertEqual(self.wait(self.store.scan("")), [])

    def test_closing_finishes_what_was_begun(self) -> None:
        committing = [self.store.commit({f"{n:02}": b""}) for n in range(20)]
        closing = self.store.close()
        self.wait(closing)
        for one in committing:
            self.wait(one)
        self.store = self.make_store()
        self.wait(self.store.open())
        self.assertEqual(len(self.keys("")), 20)

    def test_a_closed_store_refuses(self) -> None:
        self.commit({"a": b"1"})
        self.wait(self.store.close())
        self.wait(self.store.close())
        self.assertEqual(self.refusal(self.store.get, "a"), ErrorCode.KAFKA_STORAGE_ERROR)
        self.assertEqual(self.refusal(self.store.scan, ""), ErrorCode.KAFKA_STORAGE_ERROR)
        self.assertEqual(self.refusal(self.store.commit, {"a": b"2"}), ErrorCode.KAFKA_STORAGE_ERROR)


def _raised(failure: Any) -> None:
    failure.raiseException()
