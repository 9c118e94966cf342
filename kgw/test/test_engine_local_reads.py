"""Reads of old records that wait for the disk: nobody else waits, and nobody gets what is not there any more."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from kgw.engine.bridge import InlineBridge
from kgw.engine.local.pages import NotInMemory, PageReads, is_memory
from kgw.errors import ErrorCode
from kgw.model import Fetched, LogConfig, TimestampOffset
from kgw.test.builders import EPOCH_MS, batch, offsets_in, topic
from kgw.test.disk import HeldBridge, OnePartition


class SlowDiskTests(OnePartition, SynchronousTestCase):
    """What is not in memory is read by a bridge that the test holds."""

    config = LogConfig(segment_bytes=3 * batch().size, index_interval_bytes=0, retention_ms=-1)

    def setUp(self) -> None:
        """Nine records in three segments, read by nobody since the start."""
        super().setUp()
        self.append(*(batch(EPOCH_MS + n) for n in range(9)))
        self.disk = HeldBridge()
        self.restart(InlineBridge(), reader=self.disk)
        self.disk.held = True
        self.addCleanup(setattr, self.disk, "held", False)

    def old(self, offset: int = 0) -> Deferred[Fetched]:
        """A read that has to wait."""
        reading = self.log.read(offset, 2 * batch().size)
        self.assertNoResult(reading)
        return reading

    def test_a_slow_consumer_delays_nobody(self) -> None:
        reading = [self.old(offset) for offset in (0, 1, 3)]
        self.append(batch())
        self.assertEqual(self.offsets(9), [9])
        self.assertEqual(self.offsets(6), [6, 7, 8, 9])
        self.assertEqual(self.successResultOf(self.log.trim(0)), 0)
        self.disk.run()
        self.assertEqual([offsets_in(self.successResultOf(one)) for one in reading], [[0, 1], [1, 2], [3, 4]])

    def test_bounds_are_those_of_the_end_of_the_read(self) -> None:
        reading = self.old()
        self.append(batch(), batch())
        self.disk.run()
        self.assertEqual(self.successResultOf(reading).bounds.high_watermark, 11)

    def test_what_a_thread_found_is_at_hand_from_then_on(self) -> None:
        reading = self.old()
        self.disk.run()
        self.successResultOf(reading)
        self.assertEqual(offsets_in(self.successResultOf(self.log.read(1, 2 * batch().size))), [1, 2])
        self.assertEqual(self.disk.calls, [])

    def test_what_is_in_memory_goes_on_ahead_of_what_is_not(self) -> None:
        reading = self.old(3)
        self.disk.run()
        self.successResultOf(reading)
        # The segment behind is not in memory, and this reader has something to work on.
        self.assertEqual(offsets_in(self.successResultOf(self.log.read(4, 1 << 20))), [4, 5, 6, 7, 8])
        self.assertEqual(offsets_in(self.successResultOf(self.log.read(5, 1 << 20))), [5, 6, 7, 8])

    def test_trimmed_meanwhile(self) -> None:
        below, above, inside = self.old(1), self.old(3), self.old(2)
        self.successResultOf(self.log.trim(2))
        self.disk.run()
        self.assertEqual(self.refused(below), ErrorCode.OFFSET_OUT_OF_RANGE)
        self.assertEqual(offsets_in(self.successResultOf(above)), [3, 4])
        self.assertEqual(offsets_in(self.successResultOf(inside)), [2])

    def test_segments_removed_meanwhile(self) -> None:
        below, above = self.old(1), self.old(3)
        self.engine.configure(self.topic, LogConfig(retention_bytes=5 * batch().size, retention_ms=-1))
        self.clock.advance(300)
        self.assertEqual(self.bounds(), (3, 9))
        self.clock.advance(60)
        self.assertEqual(len(self.files()), 2)
        self.disk.run()
        self.assertEqual(self.refused(below), ErrorCode.OFFSET_OUT_OF_RANGE)
        self.assertEqual(offsets_in(self.successResultOf(above)), [3, 4])

    def test_deleted_meanwhile(self) -> None:
        reading, looking = self.old(), self.log.offset_for_time(EPOCH_MS)
        self.successResultOf(self.engine.delete(self.topic))
        self.disk.run()
        for one in (reading, looking):
            self.assertEqual(self.refused(one), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)

    def test_stopped_meanwhile(self) -> None:
        reading, looking = self.old(), self.log.offset_for_time(EPOCH_MS)
        self.successResultOf(self.engine.stop())
        self.disk.run()
        for one in (reading, looking):
            self.assertEqual(self.refused(one), ErrorCode.KAFKA_STORAGE_ERROR)

    def test_cancelled(self) -> None:
        before = len(os.listdir("/proc/self/fd"))
        for reading in (self.old(), self.log.offset_for_time(EPOCH_MS)):
            reading.cancel()
            self.failureResultOf(reading, CancelledError)
        self.disk.run()
        self.assertLessEqual(len(os.listdir("/proc/self/fd")), before)

    def test_a_disk_that_cannot_be_read(self) -> None:
        reading = self.old()
        self.disk.calls.clear()
        self.disk.broken = True
        self.assertEqual(self.refusal(lambda: self.log.read(0, 100)), ErrorCode.KAFKA_STORAGE_ERROR)
        self.assertNoResult(reading)

    def test_a_damaged_file(self) -> None:
        reading = self.old()
        Path(self.files()[0]).write_bytes(bytes(3 * batch().size))
        self.disk.run()
        self.assertEqual(self.refused(reading), ErrorCode.CORRUPT_MESSAGE)

    def test_indexes_made_anew(self) -> None:
        for path in self.files(".index") + self.files(".timeindex"):
            os.unlink(path)
        reading = self.old(2)
        self.disk.run()
        self.assertEqual(offsets_in(self.successResultOf(reading)), [2])
        self.assertIn(os.path.basename(self.files()[0])[:20] + ".index", map(os.path.basename, self.files(".index")))

    def looking(self, ms: int) -> Deferred[TimestampOffset]:
        """A search by time."""
        looking = self.log.offset_for_time(EPOCH_MS + ms)
        self.assertNoResult(looking)
        return looking

    def test_searches_by_time(self) -> None:
        looking, newest = self.looking(4), self.log.offset_of_max_timestamp()
        self.append(batch(EPOCH_MS + 100))
        self.disk.run()
        self.assertEqual(self.successResultOf(looking), TimestampOffset(EPOCH_MS + 4, 4, 0))
        self.assertIn(self.successResultOf(newest).offset, (8, 9))

    def test_a_search_in_a_log_that_is_trimmed(self) -> None:
        looking = self.looking(1)
        self.successResultOf(self.log.trim(4))
        self.assertEqual(self.disk.run(), 1)
        self.assertNoResult(looking)
        self.disk.run()
        self.assertEqual(self.successResultOf(looking).offset, 4)

    def test_ages_are_looked_up_in_a_thread(self) -> None:
        self.engine.configure(self.topic, LogConfig(retention_ms=1000))
        self.clock.advance(300)
        self.assertEqual(self.bounds(), (0, 9))
        self.disk.run()
        self.assertEqual(self.bounds(), (9, 9))

    def test_flushes_do_not_wait_for_reads(self) -> None:
        self.old()
        self.engine.configure(self.topic, LogConfig(flush_messages=1))
        self.assertEqual(self.append(batch())[0].base_offset, 9)


class PageReadsTests(SynchronousTestCase):
    """Reads that do not wait."""

    def setUp(self) -> None:
        """Make a file."""
        self.path = self.mktemp()
        self.content = os.urandom(300_000)
        Path(self.path).write_bytes(self.content)
        self.pages = PageReads(os.path.dirname(os.path.abspath(self.path)))
        self.descriptor = os.open(self.path, os.O_RDWR)
        self.addCleanup(os.close, self.descriptor)

    def test_what_was_just_written_is_there(self) -> None:
        for position, size in ((0, 300_000), (5, 10), (299_999, 1), (4096, 100_000)):
            found = self.pages.read(self.descriptor, size, position)
            self.assertEqual(bytes(found), self.content[position : position + size])
        self.assertTrue(self.pages.holds(self.path, 300_000))

    def test_the_end_of_the_file_is_for_a_thread_to_find(self) -> None:
        for position in (299_999, 300_000):
            try:
                found = bytes(self.pages.read(self.descriptor, 2, position))
            except NotInMemory:
                continue
            self.assertEqual(found, self.content[position : position + 2])

    def test_what_left_the_memory_is_never_made_up(self) -> None:
        os.fdatasync(self.descriptor)
        os.posix_fadvise(self.descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        told = 0
        for position in range(0, 300_000, 4096):
            size = min(4096, 300_000 - position)
            try:
                found = bytes(self.pages.read(self.descriptor, size, position))
            except NotInMemory:
                told += 1
                found = os.pread(self.descriptor, size, position)
            self.assertEqual(found, self.content[position : position + size])
        if not is_memory(os.path.dirname(os.path.abspath(self.path))):
            self.assertGreater(told, 0)

    def test_file_systems_that_are_memory(self) -> None:
        self.assertFalse(is_memory("/proc"))
        self.assertTrue(is_memory("/dev/shm"))


class TopicsTests(OnePartition, SynchronousTestCase):
    """Topics that go while they are in use."""

    tail_bytes = 1 << 20

    def test_a_topic_deleted_under_load(self) -> None:
        disk = HeldBridge()
        self.engine.configure(self.topic, LogConfig(flush_messages=1, segment_bytes=500))
        self.restart(disk)
        disk.held = True
        self.addCleanup(setattr, disk, "held", False)
        log = self.log
        self.engine.configure(self.topic, LogConfig(flush_messages=1, segment_bytes=500))
        waiting = [log.append(batch()) for _ in range(20)]
        woken: list[int] = []
        log.watch(woken.append)
        deleting = self.engine.delete(self.topic)
        self.assertEqual(woken, [-1])
        for late in (log.append(batch()), log.read(0, 100), log.bounds(), log.trim(1)):
            self.assertEqual(self.refused(late), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        # A topic of the same name begins anew, while what is left of the old one is still on its way.
        again = topic(number=2)
        creating = self.engine.create(again, LogConfig())
        while disk.run():
            pass
        self.successResultOf(deleting)
        self.successResultOf(creating)
        self.assertEqual(self.append(batch())[0].base_offset, 0)
        # The flush that had begun was finished.
        self.assertEqual(self.successResultOf(waiting[0]).base_offset, 0)
        for one in waiting[1:]:
            self.assertEqual(self.refused(one), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        self.topic = again
        self.crash()
        self.assertEqual(self.offsets(), [0])
        self.assertEqual([name for name in os.listdir(self.path) if name.endswith("-delete")], [])
