"""Log compaction: what goes, what stays, when it runs, and what a crash or other work on the log does to it."""

from __future__ import annotations

import errno
import os
import resource
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from twisted.internet.defer import Deferred, fail
from twisted.trial.unittest import SynchronousTestCase

from kgw.engine.bridge import InlineBridge
from kgw.engine.local.cleaner import CleanerLimits
from kgw.engine.local.cleaning import clean, newest_offsets
from kgw.engine.local.swaps import commit, put_in_place, settle
from kgw.errors import ErrorCode
from kgw.model import TopicPartition
from kgw.test.builders import EPOCH_MS, batches_in, topic
from kgw.test.cleaning_stage import DAY_MS, WHILE, OneCompacted, keyed
from kgw.test.disk import HeldBridge
from kgw.wire.records import RecordBatch

ORDERS = TopicPartition("orders", 0)


class _Poisoned(InlineBridge):
    """
    Runs calls, but for compactions of one log.

    @ivar poison: a part of its folder's name.
    @ivar poisonous: what fails, and the first segment with which it does.
    """

    def __init__(self) -> None:
        self.poison = "orders-0"
        self.poisonous: tuple[Callable[..., Any], int] = (newest_offsets, 0)

    def call(self, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        """Run the call, or fail."""
        which, first = self.poisonous
        if (
            function is which
            and args[0][0].view.base_offset >= first
            and self.poison
            and self.poison in args[0][0].view.stem
        ):
            return fail(MemoryError())
        return super().call(function, *args)


class RuleTests(OneCompacted, SynchronousTestCase):
    """Which records go."""

    def test_the_last_of_each_key_stays_at_its_offset(self) -> None:
        self.write((b"a", b"1"), (b"b", b"1"))
        self.write((b"a", b"2"))
        self.write((b"c", b"1"), (b"b", b"2"), (b"c", b"2"))
        self.roll()
        self.clean()
        found = [(record.offset, record.key, record.value) for record in self.check() if record.key != b"filler"]
        self.assertEqual(found, [(2, b"a", b"2"), (4, b"b", b"2"), (5, b"c", b"2")])

    def test_the_active_segment_is_left_alone(self) -> None:
        self.write((b"a", b"1"))
        self.write((b"a", b"2"))
        self.clean()
        self.assertEqual(self.keys(), [b"a", b"a"])
        self.assertEqual(self.local.cleaned_to, 0)

    def test_batches_that_lose_nothing_keep_their_bytes(self) -> None:
        self.write((b"a", b"1"), compression=4, producer_id=5, producer_epoch=2, base_sequence=0)
        self.write((b"b", b"1"))
        self.write((b"b", b"2"))
        before = batches_in(self.successResultOf(self.log.read(0, 1 << 20)))
        self.roll()
        self.clean()
        after = batches_in(self.successResultOf(self.log.read(0, 1 << 20)))
        self.assertEqual(after[:2], [before[0], before[2]])

    def test_a_batch_that_loses_records_keeps_all_else(self) -> None:
        pairs = [(b"k%d" % n, b"value") for n in range(9)]
        for codec in range(5):
            with self.subTest(codec=codec):
                sequence = {"producer_id": codec + 5, "producer_epoch": 3, "base_sequence": 17}
                base = self.write(*pairs, compression=codec, **sequence)
                self.write(*pairs[1:4], *pairs[5:])
                self.roll()
                self.clean()
                (data, *_) = batches_in(self.successResultOf(self.log.read(base, 1 << 20)))
                left = RecordBatch.parse(data)
                self.assertTrue(left.crc_valid())
                self.assertEqual((left.base_offset, left.last_offset), (base, base + 8))
                self.assertEqual((left.compression, left.count), (codec, 2))
                found = (left.producer_id, left.producer_epoch, left.base_sequence)
                self.assertEqual(found, tuple(sequence.values()))
                self.assertEqual([record.offset for record in left.records(1000)], [base, base + 4])

    def test_tombstones_stay_for_delete_retention_ms(self) -> None:
        self.write((b"a", b"1"))
        self.write((b"a", None), (b"b", b"1"))
        self.roll()
        self.clean()
        (data, *_) = batches_in(self.successResultOf(self.log.read(1, 1 << 20)))
        batch = RecordBatch.parse(data)
        self.assertTrue(batch.has_delete_horizon)
        self.assertEqual(batch.base_timestamp, EPOCH_MS + 61_000 + DAY_MS)
        self.assertEqual(self.keys(), [b"a", b"b"])
        for days, expected in ((0.5, [b"a", b"b"]), (0.6, [b"b"])):
            self.clock.advance(days * 86400)
            self.roll()
            self.clean()
            self.assertEqual(self.keys(), expected)

    def test_the_last_batch_of_a_producer_stays_without_records(self) -> None:
        """So that its next batch is recognised even where snapshots are lost."""
        facts = {"producer_id": 5, "producer_epoch": 0}
        self.write((b"a", b"1"), (b"a", b"2"), **facts, base_sequence=0)
        self.write((b"a", b"3"))
        self.roll()
        self.clean()
        (data, *_) = batches_in(self.successResultOf(self.log.read(0, 1 << 20)))
        left = RecordBatch.parse(data)
        self.assertEqual((left.count, left.last_offset, left.producer_id), (0, 1, 5))
        self.successResultOf(self.engine.stop())
        for path in self.files(".snapshot"):
            os.unlink(path)
        self.start_again()
        again = keyed((b"a", b"1"), (b"a", b"2"), **facts, base_sequence=0)
        self.assertTrue(self.append(again)[0].duplicate)
        wrong = keyed((b"a", b"1"), **facts, base_sequence=9)
        self.assertEqual(self.refusal(lambda: self.log.append(wrong)), ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER)

    def test_records_without_a_key_go(self) -> None:
        """They came before the topic was compacted."""
        self.write((None, b"1"), (b"a", b"1"))
        self.roll()
        self.clean()
        self.assertEqual([record.key for record in self.read_all()][:1], [b"a"])

    def test_what_has_no_timestamp_grows_no_younger(self) -> None:
        """C{retention.ms} counts its age by the file's time."""
        self.engine.configure(self.topic, replace(self.config, cleanup_policy=("compact", "delete")))
        for n in range(10):
            self.write((b"a", b"%d" % n), (b"%d" % n, bytes(300)), timestamp=-1)
        old = len(self.files()) - 1
        start = int(os.path.basename(self.files()[old])[:20])
        for path in self.files()[:old]:
            os.utime(path, (self.clock.seconds() - 8 * 86400,) * 2)
        self.clean()
        self.assertEqual(self.engine.cleaner.facts.runs, 1)
        self.clock.advance(300)
        self.assertEqual(self.bounds()[0], start)

    def test_a_damaged_batch_is_not_made_sound(self) -> None:
        self.write((b"a", b"1"), (b"b", b"1"))
        self.write((b"b", b"2"))
        self.roll()
        # for the checkpoint behind a roll, and not for the cleaner
        self.clock.advance(2)
        with open(self.files()[0], "r+b") as file:
            file.seek(70)
            file.write(b"\xff")
        self.clock.advance(WHILE)
        (data, *_) = batches_in(self.successResultOf(self.log.read(0, 1 << 20)))
        self.assertFalse(RecordBatch.parse(data).crc_valid())

    def test_small_segments_become_one(self) -> None:
        for _ in range(5):
            self.write((b"a", bytes(600)))
            self.roll()
        self.clean()
        self.assertEqual(len(self.files()), 2)
        self.check()

    def test_what_is_clean_is_not_written_again(self) -> None:
        for n in range(10):
            self.write((b"%d" % n, bytes(400)))
        before = [os.stat(path).st_ino for path in self.files()]
        self.clean()
        self.assertEqual(self.engine.cleaner.facts.runs, 1)
        self.assertEqual([os.stat(path).st_ino for path in self.files()], before)
        self.check()


class PassTests(OneCompacted, SynchronousTestCase):
    """Little memory for keys."""

    options: ClassVar[dict[str, Any]] = {"cleaner_limits": CleanerLimits(dedupe_bytes=1, sleep=lambda _: None)}

    def test_it_takes_several_passes(self) -> None:
        for n in range(3):
            for key in range(6):
                self.write((b"%d" % key, b"%d" % n))
        self.roll()
        self.clean()
        self.assertGreater(self.engine.cleaner.facts.runs, 6)
        self.assertEqual(sorted(map(bytes, filter(None, self.keys()))), [b"%d" % key for key in range(6)])


class WhenTests(OneCompacted, SynchronousTestCase):
    """Which logs, and when."""

    def fill(self, key: bytes = b"a") -> None:
        """Write two records of which one can go, in a segment of their own."""
        self.write((key, b"1"))
        self.write((key, b"2"))
        self.roll()

    def test_numbers_for_operators(self) -> None:
        """What /metrics tells of compactions."""
        self.fill()
        before = self.engine.measure()
        self.clean()
        after = self.engine.measure()
        told = "kgw_local_compactions_total", "kafka_log_logcleanermanager_uncleanable_partitions_count"
        self.assertEqual([[numbers[name] for name in told] for numbers in (before, after)], [[0, 0], [1, 0]])
        kept, looked_at = after["kgw_local_compaction_kept_bytes_total"], after["kgw_local_compacted_bytes_total"]
        self.assertTrue(0 < kept < looked_at)
        self.assertEqual(after["kafka_log_logcleanermanager_max_dirty_percent"], 0)

    def test_a_log_must_be_dirty_enough(self) -> None:
        self.engine.configure(self.topic, replace(self.config, min_cleanable_dirty_ratio=0.6))
        for n in range(4):
            self.write((b"%d" % n, bytes(400)))
        self.roll()
        self.clean()
        facts = self.engine.cleaner.facts
        self.assertEqual((facts.runs, facts.max_dirty_ratio), (1, 0.0))
        self.write((b"0", bytes(900)))
        self.roll()
        self.clean()
        self.assertEqual(facts.runs, 1)
        self.assertGreater(facts.logs[ORDERS].dirty_ratio, 0.2)
        for _ in range(5):
            self.fill()
            self.clean()
        self.assertGreater(facts.runs, 1)

    def test_another_policy(self) -> None:
        self.engine.configure(self.topic, replace(self.config, cleanup_policy=("delete",)))
        self.fill()
        self.clean()
        self.assertEqual(self.keys(), [b"a", b"a"])
        self.engine.configure(self.topic, replace(self.config, cleanup_policy=("compact", "delete")))
        self.clean()
        self.assertEqual(self.keys(), [b"a"])

    def test_min_compaction_lag_ms(self) -> None:
        self.engine.configure(self.topic, replace(self.config, min_compaction_lag_ms=DAY_MS))
        self.fill()
        self.clean()
        self.assertEqual(self.keys(), [b"a", b"a"])
        self.clock.advance(86400)
        self.clean()
        self.assertEqual(self.keys(), [b"a"])

    def test_max_compaction_lag_ms(self) -> None:
        lag = replace(self.config, max_compaction_lag_ms=DAY_MS, min_cleanable_dirty_ratio=1.0)
        self.engine.configure(self.topic, lag)
        self.write((b"a", b"1"))
        self.write((b"a", b"2"))
        self.clock.advance(86401)
        # the segment has become too old, though it is not full
        self.write((b"a", b"3"))
        self.assertEqual(len(self.files()), 2)
        self.clean()
        self.assertEqual([record.value for record in self.check()], [b"2", b"3"])

    def test_switched_off(self) -> None:
        self.restart(cleaner_limits=CleanerLimits(enabled=False))
        self.fill()
        self.clean()
        self.assertEqual(self.keys(), [b"a", b"a"])

    def test_how_far_it_came_is_kept(self) -> None:
        self.fill()
        self.clean()
        done = self.local.cleaned_to
        path = Path(self.path, "cleaner-offset-checkpoint")
        self.assertEqual(path.read_text(), f"0\n1\norders 0 {done}\n")
        self.crash()
        self.clean()
        self.assertEqual((self.local.cleaned_to, self.engine.cleaner.facts.runs), (done, 0))
        self.successResultOf(self.engine.delete(self.topic))
        self.assertEqual(Path(self.path, path.name).read_text(), "0\n0\n")

    def test_without_the_checkpoint_it_begins_anew(self) -> None:
        self.fill()
        self.clean()
        self.successResultOf(self.engine.stop())
        os.unlink(os.path.join(self.path, "cleaner-offset-checkpoint"))
        self.start_again()
        self.clean()
        self.assertEqual(self.engine.cleaner.facts.runs, 1)
        self.assertEqual(self.keys(), [b"a"])

    def test_the_dirtiest_comes_first(self) -> None:
        other = topic("payments", number=2)
        self.successResultOf(self.engine.create(other, self.config))
        self.fill()
        log = self.engine.partition("payments", 0)
        for _ in range(9):
            self.successResultOf(log.append(keyed((b"k", bytes(400)))))
        self.clean()
        facts = self.engine.cleaner.facts
        self.assertEqual((facts.runs, sorted(facts.logs)), (2, [ORDERS, ("payments", 0)]))
        self.assertLess(facts.bytes_after, facts.bytes_before)

    def test_damage_ends_what_is_cleaned(self) -> None:
        self.fill()
        self.fill()
        with open(self.files()[1], "r+b") as file:
            file.seek(80)
            file.write(b"\xff" * 9)
        self.crash()
        self.clean()
        damaged = int(os.path.basename(self.files()[1])[:20])
        self.assertEqual(self.refusal(lambda: self.log.read(damaged, 1)), ErrorCode.CORRUPT_MESSAGE)
        self.assertEqual(self.local.cleaned_to, damaged)


class RecoveryTests(OneCompacted, SynchronousTestCase):
    """Crashes, and starts that check everything."""

    def fill(self) -> None:
        """Several segments with much that can go."""
        for n in range(12):
            self.write((b"a", b"%d" % n), (b"%d" % n, b"x" * 100), compression=n % 5)
            if not n % 3:
                self.roll()

    def test_holes_are_no_damage(self) -> None:
        """Not even where no checkpoint says that they were checked before."""
        self.fill()
        self.clean()
        before = self.check()
        image = self.image()
        for name in ("recovery-point-offset-checkpoint", "cleaner-offset-checkpoint"):
            os.unlink(os.path.join(image, name))
        for path in Path(image, "orders-0").glob("*.*index"):
            path.unlink()
        self.crash(image=image)
        self.assertEqual(self.check(), before)
        self.assertEqual(self.files(".damaged"), [])
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_damage_in_a_compacted_segment_is_found(self) -> None:
        self.fill()
        self.clean()
        image = self.image()
        os.unlink(os.path.join(image, "recovery-point-offset-checkpoint"))
        path = sorted(Path(image, "orders-0").glob("*.log"))[0]
        data = path.read_bytes()
        sizes = [len(one) for one in batches_in(self.successResultOf(self.log.read(0, len(data))))]
        cut = sum(sizes) - sizes[-1]
        path.write_bytes(data[:cut])
        self.crash(image=image)
        self.assertEqual(len(self.files(".damaged")), 1)

    def test_a_crash_at_each_step(self) -> None:
        """Whatever is on the disk after any step of the thread's or the reactor's, nothing is lost."""
        held = HeldBridge()
        self.restart(cleaning=held)
        self.fill()
        held.held = True
        self.clean()
        images = []
        while held.run():
            images.append(self.image())
        self.assertGreater(len(images), 5)
        there = [name for image in images for name in os.listdir(os.path.join(image, "orders-0"))]
        self.assertTrue(any(name.endswith(".log.swap") for name in there))
        for image in images:
            self.crash(image=image)
            self.check()
            self.assertEqual([name for ending in (".swap", ".cleaned", ".deleted") for name in self.files(ending)], [])
            self.clean()
            self.check()

    def test_old_names_that_come_back(self) -> None:
        """A power cut may forget that old segments were removed, while it keeps the new one's name."""
        held = HeldBridge()
        self.restart(cleaning=held)
        self.fill()
        before = self.image()
        held.held = True
        self.clean()
        while held.run():
            image = self.image()
            folder = Path(image, "orders-0")
            if not any(folder.glob("*.log.swap")) or not any(folder.glob("*.log.deleted")):
                continue
            for path in Path(before, "orders-0").glob("*.log"):
                if not (folder / path.name).exists():
                    shutil.copy(path, folder)
            self.crash(image=image)
            self.check()
            return
        self.fail("nothing was exchanged")


class LinklessTests(SynchronousTestCase):
    """A file system where a file has one name only."""

    def test_the_exchange_is_made(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        stem = str(folder / "00000000000000000000")
        for ending in (".log", ".index", ".timeindex"):
            Path(stem + ending + ".cleaned").write_text(ending)
        commit(stem)

        def link(_: str, to: str) -> None:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), to)

        put_in_place(stem, link)
        settle(stem)
        found = {path.name[20:]: path.read_text() for path in folder.iterdir()}
        self.assertEqual(found, {ending: ending for ending in (".log", ".index", ".timeindex")})


class MeanwhileTests(OneCompacted, SynchronousTestCase):
    """What happens to the log while it is compacted."""

    def setUp(self) -> None:
        """Have a compaction on its way."""
        super().setUp()
        self.held = HeldBridge()
        self.restart(cleaning=self.held)
        for n in range(12):
            self.write((b"a", b"%d" % n), (b"%d" % n, b"x" * 200))
        self.roll()
        self.held.held = True
        self.clean()

    def each_step(self) -> range:
        """So many steps a compaction has, at least."""
        return range(5)

    def finish(self) -> None:
        """Let it come to its end."""
        while self.held.run():
            continue

    def test_appends_and_reads(self) -> None:
        self.write((b"a", b"new"))
        while self.held.run():
            self.write((b"a", b"newer"))
            self.check()
        self.assertEqual(self.engine.cleaner.facts.runs, 1)
        self.check()

    def test_trims(self) -> None:
        for step in self.each_step():
            with self.subTest(step=step):
                self.held.run()
                start, end = self.bounds()
                self.successResultOf(self.log.trim((start + end) // 2))
                self.check()
        self.finish()
        self.clean()
        self.finish()
        self.check()
        self.crash()
        self.check()

    def test_all_is_removed(self) -> None:
        for steps in self.each_step():
            with self.subTest(steps=steps):
                self.doCleanups()
                self.path, self.directory = "", None
                self.setUp()
                for _ in range(steps):
                    self.held.run()
                self.successResultOf(self.log.trim(-1))
                self.finish()
                self.assertEqual(self.read_all(), [])
                self.assertEqual(len(self.files()), 1)
                self.assertEqual(self.files(".swap") + self.files(".cleaned"), [])

    def test_deleted_and_made_again(self) -> None:
        for steps in self.each_step():
            with self.subTest(steps=steps):
                self.doCleanups()
                self.path, self.directory = "", None
                self.setUp()
                for _ in range(steps):
                    self.held.run()
                self.successResultOf(self.engine.delete(self.topic))
                self.topic = topic(number=steps + 2)
                self.successResultOf(self.engine.create(self.topic, self.config))
                self.history.records.clear()
                self.write((b"a", b"anew"))
                self.finish()
                self.assertEqual([record.value for record in self.check()], [b"anew"])
                self.restart(cleaning=self.held)
                self.assertEqual([record.value for record in self.check()], [b"anew"])

    def test_stopped(self) -> None:
        for steps in self.each_step():
            with self.subTest(steps=steps):
                self.doCleanups()
                self.path, self.directory = "", None
                self.setUp()
                for _ in range(steps):
                    self.held.run()
                stopped = self.engine.stop()
                self.finish()
                self.successResultOf(stopped)
                self.held.held = False
                self.start_again()
                self.assertEqual(self.files(".swap") + self.files(".cleaned"), [])
                self.check()

    def test_another_policy(self) -> None:
        """A topic that is compacted no longer loses nothing more."""
        for steps in range(2):
            with self.subTest(steps=steps):
                self.doCleanups()
                self.path, self.directory = "", None
                self.setUp()
                before = self.read_all()
                for _ in range(steps):
                    self.held.run()
                self.engine.configure(self.topic, replace(self.config, cleanup_policy=("delete",)))
                self.finish()
                self.assertEqual(self.read_all(), before)
                self.assertEqual(self.files(".swap") + self.files(".cleaned"), [])

    def test_a_disk_that_fails(self) -> None:
        """It is told in the log; the next round tries again."""
        self.held.broken = True
        self.held.run()
        self.held.broken = self.held.held = False
        self.check()
        self.clean()
        self.assertEqual(self.engine.cleaner.facts.runs, 1)
        self.check()

    def test_a_disk_that_fails_while_files_are_exchanged(self) -> None:
        """Only a start can tell what they are now."""
        self.held.run()
        self.held.broken = True
        self.held.run()
        self.assertEqual(self.refusal(self.log.bounds), ErrorCode.KAFKA_STORAGE_ERROR)
        self.assertEqual(self.engine.measure()["kgw_partitions_offline"], 1)
        self.held.broken = self.held.held = False
        # Nobody knows that all of it is on the disk, so the stop is not a clean one.
        self.assertEqual(self.refusal(self.engine.stop), ErrorCode.KAFKA_STORAGE_ERROR)
        self.start_again()
        self.check()
        self.clean()
        self.check()


class FullDiskTests(OneCompacted, SynchronousTestCase):
    """A disk that does not take what is left."""

    def test_nothing_is_lost(self) -> None:
        """Nothing stays of what was begun, and a later round tries again."""
        self.write((b"a", b"1"), (b"b", bytes(5 << 20)))
        self.write((b"a", b"2"))
        self.roll()
        before = self.check()
        self.restart()
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_FSIZE, limits)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4 << 20, limits[1]))
        self.clock.advance(15)
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        self.assertEqual(self.engine.cleaner.facts.runs, 0)
        self.assertEqual(self.files(".swap") + self.files(".cleaned"), [])
        self.assertEqual(self.check(), before)
        self.clock.advance(15)
        self.assertEqual(self.engine.cleaner.facts.runs, 1)
        self.assertEqual(self.keys(), [b"b", b"a"])


class RemovedMeanwhileTests(OneCompacted, SynchronousTestCase):
    """A segment is removed while a thread looks for keys in it."""

    def test_nothing_is_compacted_by_what_was_found(self) -> None:
        """Its file may have been written again meanwhile."""
        self.write((b"big", bytes(1000)))
        self.roll()
        for n in range(9):
            self.write((b"a", bytes(100)), (b"%d" % n, bytes(100)))
        self.roll()
        starts = [int(os.path.basename(path)[:20]) for path in self.files()]

        def sleep(_: float) -> None:
            if self.bounds()[0] < starts[1]:
                self.successResultOf(self.log.trim(starts[1]))

        self.restart(cleaner_limits=CleanerLimits(sleep=sleep, bytes_per_second=1e6))
        self.clock.advance(15)
        self.assertEqual(self.bounds()[0], starts[1])
        self.assertEqual(self.engine.cleaner.facts.runs, 0)
        self.clean()
        self.assertEqual(self.engine.cleaner.facts.runs, 1)
        self.check()


class PoisonedTests(OneCompacted, SynchronousTestCase):
    """A log that nobody thought of."""

    def setUp(self) -> None:
        """Two dirty logs, the dirtier one poisoned."""
        super().setUp()
        self.bridge = _Poisoned()
        self.restart(cleaning=self.bridge)
        self.fill()
        self.clean()

    def fill(self) -> None:
        """Make a log dirty."""
        for n in range(12):
            self.write((b"a", b"%d" % n), (b"%d" % n, b"x" * 200))
        self.roll()

    def test_others_are_compacted(self) -> None:
        self.assertEqual(len(self.flushLoggedErrors(MemoryError)), 1)
        self.assertEqual(self.engine.cleaner.facts.uncleanable, [ORDERS])
        self.successResultOf(self.engine.create(topic("payments", number=2), self.config))
        log = self.engine.partition("payments", 0)
        for _ in range(9):
            self.successResultOf(log.append(keyed((b"k", bytes(400)))))
        self.clean()
        self.assertEqual(self.engine.cleaner.facts.runs, 1)
        self.check()

    def test_when_a_part_of_it_is_done(self) -> None:
        self.flushLoggedErrors(MemoryError)
        self.bridge.poisonous = (clean, 1)
        self.restart(cleaning=self.bridge)
        self.clock.advance(15)
        self.assertEqual(len(self.flushLoggedErrors(MemoryError)), 1)
        self.assertEqual(self.engine.cleaner.facts.uncleanable, [ORDERS])
        self.check()

    def test_deleted_and_made_again(self) -> None:
        """What was wrong with a topic is not held against another of its name."""
        self.flushLoggedErrors(MemoryError)
        self.bridge.poison = ""
        self.successResultOf(self.engine.delete(self.topic))
        self.topic = topic(number=2)
        self.successResultOf(self.engine.create(self.topic, self.config))
        self.history.records.clear()
        self.fill()
        self.clean()
        self.assertEqual(self.engine.cleaner.facts.runs, 1)
        self.check()
