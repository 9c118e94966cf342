"""One partition in SeaweedMQ: producers, breaks, other writers, trimming, and what is kept besides its records."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from kgw.engine.seaweed.log_file import parse_log
from kgw.engine.seaweed.partition_facts import encoded_producers
from kgw.errors import ErrorCode, KafkaError
from kgw.model import Appended, EpochEnd
from kgw.test.builders import EPOCH_MS, EPOCH_S, batch, batches_in, idempotent_batch, offsets_in, raw_batch
from kgw.test.partition_stage import TOPIC, PartitionStage
from kgw.test.seaweed_log_stage import log_entry
from kgw.wire.records import RecordBatch

NOW_NS = EPOCH_S * 1_000_000_000


class PartitionCase(SynchronousTestCase):
    """A partition, and ways to look at it."""

    def setUp(self) -> None:
        self.stage = PartitionStage()
        self.log = self.stage.log

    def append(self, *batches: RecordBatch) -> list[int]:
        """The base offsets."""
        return [self.successResultOf(self.log.append(one)).base_offset for one in batches]

    def refusal(self, deferred: Deferred[Any]) -> ErrorCode:
        """What it fails with."""
        error = self.failureResultOf(deferred, KafkaError).value
        assert isinstance(error, KafkaError)
        return error.code

    def bounds(self) -> tuple[int, int]:
        """Where it begins and ends."""
        found = self.successResultOf(self.log.bounds())
        return found.log_start_offset, found.high_watermark

    def reopen(self) -> None:
        """Another gateway, where this one was killed."""
        self.log = self.stage.opened()


class ProducerTests(PartitionCase):
    """Idempotent producers over all that may go wrong."""

    def test_a_duplicate_is_as_safe_as_the_first(self) -> None:
        """The answer to a repetition waits for what the first one waits for."""
        self.stage = PartitionStage(acks_all_flushed=True)
        self.log = self.stage.log
        first, again = self.log.append(idempotent_batch(0)), self.log.append(idempotent_batch(0))
        quick = self.log.append(idempotent_batch(0), acks=1)
        self.assertTrue(self.successResultOf(quick).duplicate)
        self.assertNoResult(first)
        self.assertNoResult(again)
        self.stage.flush()
        self.assertEqual(self.successResultOf(first), Appended(0, -1, 0))
        self.assertTrue(self.successResultOf(again).duplicate)

    def test_a_batch_that_cannot_be_published_leaves_no_trace(self) -> None:
        """The producer sends it once more, in order, and it is taken."""
        raw = raw_batch(EPOCH_MS, producer_id=7, producer_epoch=0, base_sequence=0)
        self.assertEqual(
            self.refusal(self.log.append(RecordBatch.parse(raw[:-3] + b"\xff\xff\xff"))), ErrorCode.INVALID_RECORD
        )
        self.assertEqual(self.append(idempotent_batch(0), idempotent_batch(1)), [0, 1])

    def test_half_a_batch(self) -> None:
        """Of a batch that a crash of both has cut, only the rest is sent, also after a refusal in between."""
        self.stage.broker.takes = 2
        lost = self.log.append(idempotent_batch(0, 5))
        self.assertNoResult(lost)
        self.stage.broker.takes = None
        self.reopen()
        self.assertEqual(self.bounds(), (0, 2))
        broken = bytearray(b"".join(idempotent_batch(0, 5).buffers(0, 0)))
        broken[-3:] = b"\xff\xff\xff"
        self.assertEqual(self.refusal(self.log.append(RecordBatch.parse(bytes(broken)))), ErrorCode.INVALID_RECORD)
        self.assertEqual(self.append(idempotent_batch(0, 5)), [0])
        self.assertEqual(self.bounds(), (0, 5))
        self.assertTrue(self.successResultOf(self.log.append(idempotent_batch(0, 5))).duplicate)
        self.assertEqual(self.append(idempotent_batch(5)), [5])

    def test_killed(self) -> None:
        """A gateway that knows nothing but the log files and an old snapshot knows all duplicates."""
        self.append(*(idempotent_batch(n) for n in range(3)))
        self.successResultOf(Deferred.fromCoroutine(self.log.checkpoint(0)))
        self.append(*(idempotent_batch(n) for n in range(3, 6)))
        self.stage.broker.flush()
        self.reopen()
        for n in range(1, 6):
            self.assertEqual(self.successResultOf(self.log.append(idempotent_batch(n))).base_offset, n)
        self.assertEqual(self.append(idempotent_batch(6)), [6])

    def test_no_snapshot_of_what_is_on_its_way(self) -> None:
        """While the engine has not answered nothing is stored that says it has a batch."""
        self.append(idempotent_batch(0))
        broker = self.stage.broker
        broker.answers = False
        self.log.append(idempotent_batch(1))
        before = dict(self.facts())
        self.successResultOf(Deferred.fromCoroutine(self.log.checkpoint(0)))
        self.assertEqual(self.facts(), before)
        broker.answer()
        self.assertNotEqual(self.facts(), before)
        self.successResultOf(Deferred.fromCoroutine(self.log.checkpoint(0)))

    def facts(self) -> dict[str, bytes]:
        """What is stored."""
        found: Deferred[Any] = self.stage.store.scan("seaweed/partitions/")
        return dict(self.successResultOf(found))

    def test_a_snapshot_that_failed_is_taken_again(self) -> None:
        self.append(idempotent_batch(0))
        before = self.facts()
        self.stage.store.broken = True
        self.successResultOf(Deferred.fromCoroutine(self.log.checkpoint(0)))
        self.stage.store.broken = False
        self.assertEqual(self.facts(), before)
        self.successResultOf(Deferred.fromCoroutine(self.log.checkpoint(0)))
        self.assertNotEqual(self.facts(), before)

    def test_closed_while_the_engine_does_not_answer(self) -> None:
        """Closing takes ten seconds then, the batch is refused, and is none of the next gateway's duplicates."""
        self.append(idempotent_batch(0))
        self.stage.broker.answers = False
        waiting = self.log.append(idempotent_batch(1))
        closing = Deferred.fromCoroutine(self.log.close())
        self.stage.clock.advance(9)
        self.assertNoResult(closing)
        self.stage.clock.advance(1)
        self.successResultOf(closing)
        self.assertEqual(self.refusal(waiting), ErrorCode.KAFKA_STORAGE_ERROR)
        self.stage.broker.crash()
        self.stage.broker.answers = True
        for n in range(2):
            self.stage.broker.write(b"theirs-%d" % n, NOW_NS + n)
        self.stage.broker.flush()
        self.reopen()
        self.assertFalse(self.successResultOf(self.log.append(idempotent_batch(1))).duplicate)

    def test_closed_before_all_of_a_batch_was_answered(self) -> None:
        """A snapshot that waited for the batch is not stored as if it were in the log."""
        self.append(idempotent_batch(0))
        self.stage.broker.answers = False
        waiting = self.log.append(idempotent_batch(1, 2), acks=1)
        self.successResultOf(Deferred.fromCoroutine(self.log.checkpoint(0)))
        before = self.facts()
        self.stage.broker.answer(1)
        closing = Deferred.fromCoroutine(self.log.close())
        self.stage.clock.advance(10)
        self.successResultOf(closing)
        self.assertEqual(self.refusal(waiting), ErrorCode.KAFKA_STORAGE_ERROR)
        self.assertEqual(self.facts(), before)


class BreakTests(PartitionCase):
    """The engine crashes."""

    def test_records_are_sent_again(self) -> None:
        """What it lost is at the same offsets afterwards; consumers see nothing, and read on meanwhile."""
        self.append(idempotent_batch(0, 2), batch())
        epoch = self.log.leader_epoch
        self.stage.broker.crash()
        self.assertEqual(offsets_in(self.successResultOf(self.log.read(0, 1 << 20))), [0, 1, 2])
        self.stage.clock.pump([0.2] * 5)
        self.assertEqual((len(self.stage.broker.records), self.log.leader_epoch), (3, epoch))
        self.assertEqual(self.append(idempotent_batch(2)), [3])

    def test_lost_files(self) -> None:
        """Records that consumers have read and nobody has any more: a new leader epoch begins, and is kept."""
        self.append(idempotent_batch(0), batch())
        self.stage.flush()
        seen: list[int] = []
        self.log.watch(seen.append)
        self.stage.broker.lose_files()
        self.stage.clock.pump([0.2] * 5)
        self.assertEqual((self.bounds(), self.log.leader_epoch, seen), ((0, 0), 1, [-1]))
        self.assertEqual(self.successResultOf(self.log.end_of_epoch(0)), EpochEnd(0, 0))
        self.assertEqual(self.append(idempotent_batch(5)), [0])
        self.stage.broker.flush()
        self.reopen()
        self.assertEqual(self.log.leader_epoch, 2)

    def test_lost_files_that_were_read(self) -> None:
        """Nothing of them is remembered: consumers get the records that have their offsets now."""
        broker = self.stage.broker
        for found in ([b"old-0", b"old-1", b"old-2"], [b"new-0", b"new-1"]):
            for value in found:
                broker.write(value, NOW_NS)
            broker.flush()
            self.assertEqual(self.bounds(), (0, len(found)))
            self.assertEqual(self.values(), found)
            broker.lose_files()
            self.stage.clock.pump([0.2] * 5)
            self.assertEqual(self.bounds(), (0, 0))
        broker.write(b"newest", NOW_NS)
        self.assertEqual(self.bounds(), (0, 1))
        self.assertEqual(self.successResultOf(self.log.offset_for_time(0)).offset, 0)

    def values(self) -> list[bytes | None]:
        """Of all records."""
        batches = batches_in(self.successResultOf(self.log.read(0, 1 << 20)))
        return [record.value for one in batches for record in RecordBatch.parse(one).records(1 << 20)]

    def test_others_come_first(self) -> None:
        """Batches that come to other offsets than consumers saw: a new epoch, and producers go on."""
        self.append(idempotent_batch(0, 2), idempotent_batch(2))
        self.stage.broker.crash()
        self.stage.broker.write(b"theirs", NOW_NS)
        self.stage.broker.flush()
        self.stage.clock.pump([0.2] * 5)
        self.assertEqual((self.bounds(), self.log.leader_epoch), ((0, 4), 1))
        self.assertEqual(offsets_in(self.successResultOf(self.log.read(1, 1 << 20))), [1, 2, 3])
        again = self.successResultOf(self.log.append(idempotent_batch(2)))
        self.assertEqual((again.base_offset, again.duplicate), (3, True))
        self.assertEqual(self.append(idempotent_batch(3)), [4])


class OpeningTests(PartitionCase):
    """Taking a partition up."""

    def test_the_engine_is_waited_for(self) -> None:
        self.append(batch())
        self.stage.broker.flush()
        self.stage.broker.away = True
        opening = self.stage.opening()
        self.stage.clock.pump([1] * 20)
        self.assertNoResult(opening)
        self.stage.broker.away = False
        self.stage.clock.pump([1] * 6)
        self.log = self.successResultOf(opening)
        self.assertEqual(self.bounds(), (0, 1))

    def test_given_up(self) -> None:
        """Nothing goes on."""
        self.stage.broker.away = True
        opening = self.stage.opening()
        self.stage.clock.advance(1)
        opening.cancel()
        self.failureResultOf(opening, CancelledError)
        self.assertEqual((self.stage.publishing.forgotten, self.stage.clock.getDelayedCalls()), (1, []))

    def test_the_store_fails(self) -> None:
        """The stream that was opened is closed."""
        self.stage.store.broken = True
        self.assertEqual(self.refusal(self.stage.opening()), ErrorCode.KAFKA_STORAGE_ERROR)
        self.assertFalse(self.stage.publishing.made[-1].is_open)
        self.assertEqual((self.stage.publishing.forgotten, self.stage.clock.getDelayedCalls()), (1, []))

    def test_files_are_looked_through_once(self) -> None:
        """A start takes no longer because there are more records, unless the files are others than before."""
        for _ in range(5):
            self.append(batch())
            self.stage.flush()
        self.reopen()
        filer = self.stage.broker.filer
        *old, newest = (name for name in filer.contents if name.startswith("20"))
        filer.reads.clear()
        self.reopen()
        self.assertEqual({name for name, _, _ in filer.reads} - {newest}, set())
        self.assertEqual(self.bounds(), (0, 5))
        self.assertEqual(self.append(batch()), [5])
        self.stage.flush()
        filer.delete("", newest)
        filer.reads.clear()
        self.reopen()
        self.assertGreater({name for name, _, _ in filer.reads}, set(old))
        self.assertEqual(self.bounds(), (0, 6))

    def test_a_file_that_was_cut(self) -> None:
        """A crash of the machine took records of a file that was looked through: the log ends before them."""
        stage = self.stage
        self.append(*(batch() for _ in range(5)))
        stage.flush()
        stage.opened()
        filer = stage.broker.filer
        name = next(iter(filer.contents))
        entries, _ = parse_log(filer.contents[name])
        filer.delete("", name)
        filer.append(name, b"".join(log_entry(one.offset, one.value, one.ts_ns, one.key) for one in entries[:3]))
        del stage.broker.records[3:]
        self.reopen()
        self.assertEqual(self.bounds(), (0, 3))

    def test_a_snapshot_that_cannot_be_read(self) -> None:
        """Producers are found in the log files then."""
        self.append(idempotent_batch(0), idempotent_batch(1))
        self.stage.broker.flush()
        bad: Any = encoded_producers(TOPIC.id, 0, b"nonsense")
        self.successResultOf(self.stage.store.commit(bad))
        self.reopen()
        self.assertTrue(self.successResultOf(self.log.append(idempotent_batch(1))).duplicate)


class EpochTests(PartitionCase):
    """Which leader epoch consumers are told."""

    def test_old_records(self) -> None:
        """
        No batch reaches behind the end of the epoch that stands in it: a consumer that has read it would ask for that
        end, and take the records behind for lost and read them twice.
        """
        for _ in range(3):
            self.append(batch(*[EPOCH_MS] * 4))
            self.stage.broker.flush()
            self.reopen()
        self.assertEqual(self.log.leader_epoch, 3)
        offset, epochs = 0, []
        for _ in range(2):
            while offset < 12:
                for data in batches_in(self.successResultOf(self.log.read(offset, 1 << 20))):
                    found = RecordBatch.parse(data)
                    self.assertTrue(found.crc_valid())
                    end = self.successResultOf(self.log.end_of_epoch(found.leader_epoch))
                    self.assertGreaterEqual(end.end_offset, found.next_offset)
                    offset = found.next_offset
                    epochs.append(found.leader_epoch)
            offset = 6
        self.assertEqual(max(epochs), 2)


class OtherWritersTests(PartitionCase):
    """Somebody else writes to the partition."""

    def test_they_are_found(self) -> None:
        """Readers who wait are told within a second; whoever asks for the bounds is told at once."""
        broker = self.stage.broker
        seen: list[int] = []
        self.log.watch(seen.append)
        self.stage.clock.pump([0.1] * 50)
        broker.write(b"theirs", NOW_NS)
        self.stage.clock.pump([0.1] * 10)
        self.assertEqual(len(seen), 1)
        self.assertEqual(offsets_in(self.successResultOf(self.log.read(0, 1 << 20))), [0])
        broker.write(b"theirs", NOW_NS + 1)
        self.assertEqual(self.bounds(), (0, 2))
        self.assertEqual(self.append(batch()), [2])

    def test_nobody_asks_the_broker_all_the_time(self) -> None:
        """Readers that come and go many times a second make it one question a second."""
        self.stage.clock.pump([0.1] * 50)
        before = self.stage.broker.looks

        def listener(_: int) -> None:
            """Waits."""

        for _ in range(1000):
            self.log.watch(listener)
            self.stage.clock.advance(0.01)
            self.log.unwatch(listener)
        self.assertLess(self.stage.broker.looks - before, 20)

    def test_a_broker_that_is_away(self) -> None:
        """What is known stands."""
        self.append(batch())
        self.stage.broker.away = True
        self.assertEqual(self.bounds(), (0, 1))


class KeptTests(PartitionCase):
    """What is stored besides records."""

    def test_a_trim_is_stored_before_it_is_answered(self) -> None:
        """Also one to where another is just moving the start."""
        self.append(batch(*[EPOCH_MS] * 5))
        store = self.stage.store
        store.hold = True
        trims = [self.log.trim(3), self.log.trim(3), self.log.trim(2)]
        for trim in trims:
            self.assertNoResult(trim)
        self.assertEqual(self.bounds(), (0, 5))
        store.hold = False
        store.let_one_through()
        self.assertEqual([self.successResultOf(trim) for trim in trims], [3, 3, 3])
        self.stage.broker.flush()
        self.reopen()
        self.assertEqual(self.bounds(), (3, 5))

    def test_a_trim_frees_files(self) -> None:
        """Those that were written since somebody last looked; what cannot be removed goes at the next round."""
        for _ in range(4):
            self.append(batch())
            self.stage.flush()
        filer = self.stage.broker.filer
        self.successResultOf(self.log.trim(2))
        self.assertEqual(len(filer.contents), 2)
        filer.failing = True
        self.successResultOf(self.log.trim(3))
        filer.failing = False
        self.assertEqual(len(filer.contents), 2)
        self.maintain()
        self.assertEqual(len(filer.contents), 1)

    def maintain(self) -> None:
        """What is done now and then."""
        self.successResultOf(Deferred.fromCoroutine(self.log.maintain(0)))

    def test_a_trim_that_cannot_be_stored(self) -> None:
        self.append(batch(*[EPOCH_MS] * 5))
        self.stage.store.broken = True
        self.assertEqual(self.refusal(self.log.trim(3)), ErrorCode.KAFKA_STORAGE_ERROR)
        self.assertEqual(self.bounds(), (0, 5))

    def test_nobody_waits_for_a_trim_any_more(self) -> None:
        """It is done nevertheless."""
        self.append(batch(*[EPOCH_MS] * 5))
        self.stage.store.hold = True
        trim = self.log.trim(3)
        trim.addErrback(lambda _: None)
        trim.cancel()
        self.stage.store.let_one_through()
        self.assertEqual(self.bounds(), (3, 5))

    def test_nothing_is_stored_of_a_deleted_topic(self) -> None:
        """What was being written is waited for, and what waits behind it is not written."""
        self.append(batch(*[EPOCH_MS] * 5))
        store = self.stage.store
        store.hold = True
        trims = [self.log.trim(3), self.log.trim(4)]
        deleted = self.log.delete()
        self.assertNoResult(deleted)
        store.let_one_through()
        self.successResultOf(deleted)
        self.assertEqual(store.held, [])
        self.assertEqual([self.refusal(trim) for trim in trims], [ErrorCode.UNKNOWN_TOPIC_OR_PARTITION] * 2)

    def test_the_first_file_is_attributed(self) -> None:
        """
        The engine does not say which offsets it holds, and so would find nothing once nobody writes any more: kgw
        does so at the next checkpoint, or when it is closed in order, and once.
        """
        self.append(batch(), batch())
        self.checkpoint()
        self.assertEqual(self.stage.broker.filer.writes, [])
        self.stage.flush()
        self.checkpoint()
        filer = self.stage.broker.filer
        (first,) = filer.contents
        self.assertEqual(filer.claimed(first), (0, 1))
        self.append(batch())
        self.stage.flush()
        self.checkpoint()
        self.successResultOf(Deferred.fromCoroutine(self.log.close()))
        self.assertEqual(filer.writes, [first])

    def test_the_first_file_is_attributed_at_the_end(self) -> None:
        """Also where no checkpoint came; the record at offset 0 alone cannot be named."""
        self.append(batch())
        self.stage.flush()
        self.checkpoint()
        self.append(batch())
        self.stage.flush()
        filer = self.stage.broker.filer
        self.assertEqual(filer.writes, [])
        stage = PartitionStage()
        self.successResultOf(stage.log.append(batch(EPOCH_MS, EPOCH_MS)))
        self.successResultOf(Deferred.fromCoroutine(stage.log.close()))
        filer = stage.broker.filer
        self.assertEqual([filer.claimed(name) for name in filer.contents], [(0, 1)])

    def checkpoint(self) -> None:
        """What is done now and then."""
        self.successResultOf(Deferred.fromCoroutine(self.log.checkpoint(0)))

    def test_closed_in_order(self) -> None:
        """Everything is in files, and no new epoch begins with the next start."""
        self.append(batch(), batch())
        self.successResultOf(Deferred.fromCoroutine(self.log.close()))
        self.assertEqual(self.stage.publishing.forgotten, 1)
        self.assertEqual(self.refusal(self.log.append(batch())), ErrorCode.KAFKA_STORAGE_ERROR)
        self.reopen()
        self.assertEqual((self.bounds(), self.log.leader_epoch), ((0, 2), 0))

    def test_closed_while_others_write(self) -> None:
        """
        The engine writes to files when the last stream ends, so where there is another one the end of ours says
        nothing: producers who want their records in a file are answered once they are.
        """
        self.stage = PartitionStage(acks_all_flushed=True)
        self.stage.broker.shared = True
        waiting = self.stage.log.append(batch())
        closing = Deferred.fromCoroutine(self.stage.log.close())
        self.stage.clock.pump([0.1] * 5)
        self.assertNoResult(waiting)
        self.stage.broker.flush()
        self.stage.clock.pump([0.1] * 5)
        self.assertEqual(self.successResultOf(waiting), Appended(0, -1, 0))
        self.successResultOf(closing)

    def test_closed_and_never_written_to_files(self) -> None:
        """It is not waited for longer than for the engine; the next gateway knows that records may be lost."""
        self.stage = PartitionStage(acks_all_flushed=True)
        self.stage.broker.shared = True
        waiting = self.stage.log.append(batch())
        closing = Deferred.fromCoroutine(self.stage.log.close())
        self.stage.clock.pump([0.5] * 30)
        self.successResultOf(closing)
        self.assertEqual(self.refusal(waiting), ErrorCode.KAFKA_STORAGE_ERROR)
        self.stage.broker.flush()
        self.assertEqual(self.stage.opened().leader_epoch, 1)

    def test_the_store_fails_while_it_is_closed(self) -> None:
        """It is told, and everything is let go of all the same."""
        self.append(batch())
        self.stage.store.broken = True
        closing = Deferred.fromCoroutine(self.log.close())
        self.assertEqual(self.refusal(closing), ErrorCode.KAFKA_STORAGE_ERROR)
        self.assertEqual(self.stage.publishing.forgotten, 1)
