"""Disk space ahead of the writer, and old files written again: faster, and never to be noticed otherwise."""

from __future__ import annotations

import errno
import os
import random
import resource
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.logger import ILogObserver, LogEvent, LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import provider

from kgw.engine.local.allocation import Stretch
from kgw.errors import ErrorCode
from kgw.model import Appended, LogConfig
from kgw.test.builders import EPOCH_MS, batch, batches_in, topic
from kgw.test.disk import HeldBridge, OnePartition, largest_open_file
from kgw.wire.records import CRC_END, RecordBatch

_KIB = 1 << 10


class Room(OnePartition):
    """An engine for which a few kilobytes are much, in a log whose batches are all different."""

    options: ClassVar[dict[str, int]] = {"small_bytes": 16 * _KIB}
    config = LogConfig(segment_bytes=64 * _KIB, index_interval_bytes=4096, retention_ms=-1, file_delete_delay_ms=0)

    def setUp(self) -> None:
        """Take note of what is appended, and of what is logged."""
        super().setUp()
        self.random = random.Random(5)
        #: By base offset, what a batch's CRC covers.
        self.kept: dict[int, bytes] = {}
        self.warnings: list[LogEvent] = []

        @provider(ILogObserver)
        def observe(event: LogEvent) -> None:
            if event.get("log_level", LogLevel.info) >= LogLevel.warn:
                self.warnings.append(event)

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)

    def make(self, size: int = 1000) -> RecordBatch:
        """A batch of about so many bytes, unlike all others."""
        return batch(EPOCH_MS, EPOCH_MS + 1, value=self.random.randbytes(max(0, size - 120) // 2))

    def fill(self, size: int, step: int = 1000) -> None:
        """Append so many bytes."""
        for _ in range(size // step):
            one = self.make(step)
            self.kept[self.append(one)[0].base_offset] = one.tail

    def check(self, durable: int = 0) -> int:
        """
        Every batch from the log's start to its end is what was appended at its offset, or is told to be damaged.

        @param durable: batches below this offset are there and sound.
        @return: how many offsets are damaged.
        """
        damaged = 0
        offset, end = self.bounds()
        self.assertGreaterEqual(end, durable)
        while offset < end:
            try:
                found = batches_in(self.successResultOf(self.log.read(offset, 1 << 20)))
            except self.failureException:
                self.assertEqual(self.refused(self.log.read(offset, 1 << 20)), ErrorCode.CORRUPT_MESSAGE)
                self.assertGreaterEqual(offset, durable)
                offset += 1
                damaged += 1
                continue
            self.assertGreater(len(found), 0)
            for data in found:
                header = RecordBatch.parse(data)
                self.assertEqual(data[CRC_END:], self.kept[header.base_offset])
                self.assertLessEqual(header.base_offset, offset)
                offset = header.next_offset
        return damaged

    def excess(self) -> int:
        """How much longer the last file is than the log in it."""
        sizes = sum(len(data) + CRC_END for offset, data in self.kept.items() if offset >= self.last())
        return os.path.getsize(self.files()[-1]) - sizes

    def last(self) -> int:
        """The base offset of the last segment."""
        return int(os.path.basename(self.files()[-1])[:20])

    def flush(self) -> None:
        """Make everything durable."""
        self.clock.advance(60)

    def recycle(self, step: int = 9000) -> os.stat_result:
        """Have the log begin a segment in the file of an older one; returns what that was like."""
        self.fill(3 * 64 * _KIB, step)
        self.flush()
        old = os.stat(self.files()[0])
        self.successResultOf(self.log.trim(self.last()))
        self.kept = {offset: data for offset, data in self.kept.items() if offset >= self.last()}
        before = self.last()
        while self.last() == before:
            self.fill(step, step)
        return old


class AllocationTests(Room, SynchronousTestCase):
    """Space ahead of the writer."""

    def test_a_small_log_has_none(self) -> None:
        self.fill(15 * _KIB)
        self.assertEqual(self.excess(), 0)

    def test_a_log_that_grows_has(self) -> None:
        self.fill(20 * _KIB)
        self.assertGreater(self.excess(), 16 * _KIB)
        self.check()

    def test_no_more_than_the_segment_may_have(self) -> None:
        self.fill(30 * _KIB)
        self.assertEqual(os.path.getsize(self.files()[0]), 64 * _KIB)

    def test_a_sealed_file_has_none(self) -> None:
        self.fill(70 * _KIB)
        self.assertEqual(len(self.files()), 2)
        sealed = sum(len(data) + CRC_END for offset, data in self.kept.items() if offset < self.last())
        self.assertEqual(os.path.getsize(self.files()[0]), sealed)

    def test_a_clean_stop_leaves_none(self) -> None:
        for _ in range(2):
            self.fill(20 * _KIB)
            self.flush()
            self.successResultOf(self.engine.stop())
            self.assertEqual(self.excess(), 0)
            self.start_again()
            self.check(self.bounds()[1])

    def test_a_crash_leaves_nothing_to_speak_of(self) -> None:
        self.fill(20 * _KIB)
        end = self.bounds()[1]
        self.crash()
        self.assertEqual((self.bounds(), self.excess(), self.warnings), ((0, end), 0, []))
        self.check(end)

    def test_a_torn_batch_in_front_of_zeros(self) -> None:
        self.fill(20 * _KIB)
        end, whole = self.bounds()[1], os.path.getsize(self.files()[0]) - self.excess()
        with open(self.files()[0], "r+b") as file:
            file.seek(whole)
            file.write(self.make().tail[:300])
        self.crash()
        self.assertEqual((self.bounds(), self.excess(), len(self.warnings)), ((0, end), 0, 1))

    def test_retention_counts_the_log(self) -> None:
        self.engine.configure(self.topic, LogConfig(segment_bytes=1 << 20, retention_bytes=200 * _KIB, retention_ms=-1))
        self.fill(150 * _KIB)
        self.assertGreater(self.excess(), 200 * _KIB)
        self.clock.advance(300)
        self.assertEqual(self.bounds()[0], 0)

    def test_a_whole_segment_where_the_topic_asks_for_it(self) -> None:
        asking = LogConfig(segment_bytes=64 * _KIB, preallocate=True)
        self.engine.configure(self.topic, asking)
        self.assertEqual(os.path.getsize(self.files()[0]), 64 * _KIB)
        self.fill(70 * _KIB)
        self.assertEqual(os.path.getsize(self.files()[1]), 64 * _KIB)
        self.crash((self.topic, asking))
        self.check(self.bounds()[1])
        self.assertEqual(self.warnings, [])

    def test_a_roll_while_a_thread_allocates(self) -> None:
        disk = HeldBridge()
        self.restart(disk)
        disk.held = True
        self.fill(70 * _KIB)
        self.assertEqual(len(self.files()), 2)
        length = os.path.getsize(self.files()[0])
        disk.run()
        disk.held = False
        self.assertEqual(os.path.getsize(self.files()[0]), length)
        self.restart()
        self.check(self.bounds()[1])

    def test_what_was_called_off(self) -> None:
        path = Path(self.mktemp())
        path.touch()
        stretch = Stretch()
        stretch.call_off()
        self.assertTrue(stretch.run(os.open(path, os.O_RDWR), 0, 4096, 0))
        self.assertEqual(path.stat().st_size, 0)

    def test_space_is_left_to_those_in_need(self) -> None:
        path = Path(self.mktemp())
        path.touch()
        self.assertTrue(Stretch().run(os.open(path, os.O_RDWR), 0, 4096, 1 << 62))
        self.assertEqual(path.stat().st_size, 0)
        self.assertTrue(Stretch().run(os.open(path, os.O_RDWR), 0, 4096, 4096))
        self.assertEqual(path.stat().st_size, 4096)

    def test_a_disk_that_is_full(self) -> None:
        """No file may grow beyond a limit: there is no space ahead, and producers notice only at the end of it."""
        limit = largest_open_file() + 40 * _KIB
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_FSIZE, (soft, hard))
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        self.engine.configure(self.topic, LogConfig(segment_bytes=10 * limit))
        # a made batch is only about as long as asked for, and the limit may be some hundred of them
        self.fill((limit - 2 * _KIB) // self.make().size * 1000)
        self.assertEqual((self.excess(), self.warnings), (0, []))
        self.assertEqual(self.refusal(lambda: self.log.append(self.make(8000))), ErrorCode.KAFKA_STORAGE_ERROR)
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        self.fill(40 * _KIB)
        self.check(self.bounds()[1])


class RecyclingTests(Room, SynchronousTestCase):
    """Old files written again."""

    def test_a_new_segment_begins_in_an_old_file(self) -> None:
        old = self.recycle()
        new = os.stat(self.files()[-1])
        self.assertEqual((new.st_ino, new.st_size), (old.st_ino, old.st_size))
        self.check(self.bounds()[1])
        self.fill(20 * _KIB)
        self.assertEqual(os.stat(self.files()[-1]).st_size, old.st_size)
        self.check(self.bounds()[1])

    def test_again_and_again(self) -> None:
        for _ in range(5):
            self.recycle()
            self.assertEqual(self.files(".recycled"), [self.files()[-1].replace(".log", ".recycled")])
        self.fill(10 * _KIB)
        for again in (self.restart, self.crash, self.restart):
            again()
            self.check(self.bounds()[1])
            self.fill(10 * _KIB)
        self.assertEqual(self.warnings, [])

    def test_a_sealed_file_ends_where_its_log_does(self) -> None:
        self.recycle()
        self.engine.configure(self.topic, LogConfig(segment_bytes=20 * _KIB))
        sealed = self.files()[-1]
        self.fill(30 * _KIB)
        self.assertLess(os.path.getsize(sealed), 25 * _KIB)
        self.assertNotIn(sealed.replace(".log", ".recycled"), self.files(".recycled"))
        self.restart()
        self.check(self.bounds()[1])

    def test_a_clean_stop_leaves_nothing_of_it(self) -> None:
        self.recycle()
        self.successResultOf(self.engine.stop())
        self.assertEqual((self.excess(), self.files(".recycled"), self.files(".deleted")), (0, [], []))

    def test_no_more_than_allowed(self) -> None:
        for limit, kept in ((0, 0), (100 * _KIB, 1), (1 << 30, 2)):
            self.restart(recycle_bytes=limit)
            self.fill(5 * 64 * _KIB, 9000)
            self.flush()
            self.successResultOf(self.log.trim(-1))
            self.clock.advance(1)
            self.assertEqual(len(self.files(".deleted")), kept)

    def test_what_is_not_flushed_is_not_kept(self) -> None:
        """A thread that flushes may have to write it once more."""

        def sync(descriptor: int) -> None:
            raise OSError(errno.EIO, "the disk is on fire")

        self.successResultOf(self.engine.stop())
        self.start_again(sync=sync)
        self.fill(2 * 64 * _KIB, 9000)
        self.flush()
        self.successResultOf(self.log.trim(-1))
        self.clock.advance(5)
        self.assertEqual(self.files(".deleted"), [])
        self.crash()
        self.check(self.bounds()[1])

    def test_small_files_are_not_kept(self) -> None:
        self.engine.configure(self.topic, LogConfig(segment_bytes=10 * _KIB, file_delete_delay_ms=0))
        self.fill(40 * _KIB)
        self.flush()
        self.successResultOf(self.log.trim(-1))
        self.clock.advance(1)
        self.assertEqual(self.files(".deleted"), [])

    def test_a_deleted_topic_leaves_nothing_to_the_next_of_its_name(self) -> None:
        self.fill(3 * 64 * _KIB, 9000)
        self.flush()
        self.successResultOf(self.log.trim(self.last()))
        self.successResultOf(self.engine.delete(self.topic))
        self.topic = topic(number=2)
        self.successResultOf(self.engine.create(self.topic, self.config))
        self.kept.clear()
        self.fill(70 * _KIB)
        self.check(self.bounds()[1])
        self.assertEqual(self.files(".recycled"), [])

    def test_a_reader_never_gets_what_is_written_over_what_it_wanted(self) -> None:
        disk = HeldBridge()
        self.fill(3 * 64 * _KIB, 9000)
        self.restart(reader=disk)
        disk.held = True
        reading = self.log.read(0, 5000)
        looking = self.log.offset_for_time(0)
        self.recycle()
        calls, disk.held = len(disk.calls), False
        self.assertGreater(calls, 0)
        disk.run()
        self.assertEqual(self.refused(reading), ErrorCode.OFFSET_OUT_OF_RANGE)
        self.assertEqual(self.successResultOf(looking).offset, self.bounds()[0])

    def test_they_are_given_up_where_the_disk_is_full(self) -> None:
        """There is another log, whose file takes nothing."""
        another = topic("another", number=2)
        self.successResultOf(self.engine.create(another, LogConfig()))
        self.successResultOf(self.engine.stop())
        path = Path(self.path, "another-0", f"{0:020d}.log")
        path.unlink()
        path.symlink_to("/dev/full")
        self.start_again((self.topic, self.config), (another, LogConfig()))
        self.fill(3 * 64 * _KIB, 9000)
        self.flush()
        self.successResultOf(self.log.trim(self.last()))
        self.assertEqual(len(self.files(".log.deleted")), 2)
        refused = self.refusal(lambda: self.engine.partition("another", 0).append(self.make()))
        self.assertEqual((refused, self.files(".log.deleted")), (ErrorCode.KAFKA_STORAGE_ERROR, []))
        self.fill(70 * _KIB)
        self.check(self.bounds()[1])

    def test_a_file_that_was_taken_away(self) -> None:
        self.fill(3 * 64 * _KIB, 9000)
        self.flush()
        self.successResultOf(self.log.trim(self.last()))
        for path in self.files(".deleted"):
            os.unlink(path)
        self.fill(70 * _KIB)
        self.check(self.bounds()[1])


class RecycledCrashTests(Room, SynchronousTestCase):
    """Crashes with old batches behind, and with a power cut among, the new ones."""

    def setUp(self) -> None:
        """A recycled file with few new batches in it, and what it was before."""
        super().setUp()
        self.recycle()
        self.flush()
        self.durable = self.bounds()[1]
        self.before = Path(self.files()[-1]).read_bytes()
        self.begin = self.last()

    def written(self) -> tuple[bytes, int]:
        """The file, and the bytes of the log in it."""
        content = Path(self.files()[-1]).read_bytes()
        return content, len(content) - self.excess()

    def tear(self, size: int, lengths: Iterable[int]) -> None:
        """Append a batch and crash with so many bytes of it written."""
        self.fill(36_000, 9000)
        end = self.bounds()[1]
        before, whole = self.written()
        last = self.make(size)
        self.append(last)
        after, behind = Path(self.files()[-1]).read_bytes(), whole + last.size
        for length in lengths:
            torn = after[: whole + length] + before[whole + length :]
            if torn[:behind] == after[:behind]:
                # What was there before happens to end as the batch does.
                continue
            Path(self.files()[-1]).write_bytes(torn)
            self.crash()
            self.assertEqual((self.bounds()[1], self.excess(), self.warnings), (end, 0, []), length)
            # The next round needs the old batches again.
            Path(os.path.join(self.path, "orders-0", f"{self.begin:020d}.recycled")).touch()
        self.check(end)

    def test_a_batch_torn_at_every_byte(self) -> None:
        self.tear(0, range(self.make(0).size))

    def test_a_batch_torn_right_on_an_old_one(self) -> None:
        """With its header torn, an old batch that begins at the same byte and is as long must not complete it."""
        old = self.before[: self.written()[1]]
        self.assertEqual(len(old) % 9000, len(old))
        self.tear(9000, [*range(70), *range(70, 9000, 1000)])

    def test_every_page_lost_to_a_power_cut(self) -> None:
        """Pages that were not flushed may be what they were before, each for itself."""
        self.fill(30 * _KIB, 1500)
        self.fill(18_000, 9000)
        after, behind = self.written()
        pristine = self.image()
        for page in range(0, behind, 4096):
            self.lose(pristine, after, [page])

    def lose(self, pristine: str, after: bytes, pages: list[int]) -> None:
        """Crash with these pages of the file as they were before."""
        content = bytearray(after)
        for page in pages:
            content[page : page + 4096] = self.before[page : page + 4096]
        image = self.mktemp()
        shutil.copytree(pristine, image)
        Path(image, "orders-0", f"{self.begin:020d}.log").write_bytes(content)
        kept, self.kept = self.kept, dict(self.kept)
        self.crash(image=image)
        self.check(self.durable)
        # And life goes on.
        end = self.bounds()[1]
        self.kept = {offset: data for offset, data in self.kept.items() if offset < end}
        self.fill(5000)
        self.crash()
        self.check(self.durable)
        self.kept = kept

    def test_many_pages_lost_to_a_power_cut(self) -> None:
        self.fill(40 * _KIB, 700)
        after, behind = self.written()
        pristine, kept = self.image(), self.kept

        @settings(deadline=None, max_examples=25)
        @given(st.sets(st.integers(0, behind // 4096)))
        def lose(pages: set[int]) -> None:
            self.kept = kept
            self.lose(pristine, after, [page * 4096 for page in pages])

        lose()

    def test_damage_in_front_of_new_batches(self) -> None:
        """What is damaged is told, and what is behind it is found: the old batches come only after that."""
        self.fill(20 * _KIB)
        end = self.bounds()[1]
        path = Path(self.files()[-1])
        content = bytearray(path.read_bytes())
        content[8000] ^= 0xFF
        path.write_bytes(content)
        os.unlink(os.path.join(self.path, "recovery-point-offset-checkpoint"))
        self.crash()
        self.assertEqual((self.bounds()[1], self.excess()), (end, 0))
        self.assertEqual(len(self.warnings), 1)
        self.assertGreater(self.check(), 0)

    def test_the_mark_of_a_recycled_file_is_lost(self) -> None:
        self.fill(10 * _KIB)
        end = self.bounds()[1]
        os.unlink(self.files(".recycled")[0])
        self.crash()
        self.assertEqual((self.bounds()[1], self.excess()), (end, 0))
        self.check(end)
        self.assertEqual(self.append(self.make()), [Appended(end, -1, self.bounds()[0])])
