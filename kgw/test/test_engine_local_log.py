"""What the embedded engine's logs do with time, disks and files, beyond what every engine does."""

from __future__ import annotations

import base64
import errno
import os
import resource
import shutil
import stat
import struct
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from kgw.engine.local.engine import LocalLogEngine
from kgw.errors import ErrorCode
from kgw.model import Appended, LogConfig
from kgw.test.builders import EPOCH_MS, batch, idempotent_batch, topic
from kgw.test.disk import HeldBridge, OnePartition

_DAY_MS = 86_400_000


class FilesTests(OnePartition, SynchronousTestCase):
    """The files are Kafka's."""

    def test_layout(self) -> None:
        self.append(*(batch(EPOCH_MS + n) for n in range(10)))
        self.successResultOf(self.engine.stop())
        folder = Path(self.path, "orders-0")
        self.assertEqual(
            sorted(os.listdir(folder)),
            [
                "00000000000000000000.index",
                "00000000000000000000.log",
                "00000000000000000000.timeindex",
                "00000000000000000010.snapshot",
                "leader-epoch-checkpoint",
                "partition.metadata",
            ],
        )
        topic_id = base64.urlsafe_b64encode(self.topic.id).decode().rstrip("=")
        self.assertEqual((folder / "partition.metadata").read_text(), f"version: 0\ntopic_id: {topic_id}\n")
        self.assertEqual((folder / "leader-epoch-checkpoint").read_text(), "0\n1\n0 0\n")
        self.assertEqual((folder / "00000000000000000000.log").stat().st_size, 10 * batch().size)
        self.assertEqual(Path(self.path, "recovery-point-offset-checkpoint").read_text(), "0\n1\norders 0 10\n")

    def test_indexes(self) -> None:
        """An entry names a batch's last offset and position, behind more than 200 bytes; a time and its offset."""
        size = batch(EPOCH_MS, EPOCH_MS).size
        self.assertEqual(size, 99)
        self.append(*(batch(EPOCH_MS + n, EPOCH_MS) for n in range(7)))
        self.successResultOf(self.engine.stop())
        found = list(struct.iter_unpack(">ii", Path(self.files(".index")[0]).read_bytes()))
        self.assertEqual(found, [(7, 3 * size), (13, 6 * size)])
        times = list(struct.iter_unpack(">qi", Path(self.files(".timeindex")[0]).read_bytes()))
        self.assertEqual(times, [(EPOCH_MS + 3, 7), (EPOCH_MS + 6, 13)])

    def test_a_deleted_topic_leaves_nothing(self) -> None:
        self.append(batch())
        self.successResultOf(self.engine.delete(self.topic))
        self.assertEqual([name for name in os.listdir(self.path) if name.startswith("orders")], [])
        self.assertEqual(Path(self.path, "recovery-point-offset-checkpoint").read_text(), "0\n0\n")

    def test_a_deletion_cut_short_is_finished_by_the_next_start(self) -> None:
        self.append(batch())
        shutil.copytree(os.path.join(self.path, "orders-0"), os.path.join(self.path, "orders-0.0123-delete"))
        self.crash()
        self.assertEqual([name for name in os.listdir(self.path) if name.endswith("-delete")], [])
        self.assertEqual(self.offsets(), [0])

    def test_folders_of_others_are_left_alone(self) -> None:
        for name in ("notes", "notes-1"):
            os.mkdir(os.path.join(self.path, name))
        self.crash()
        self.assertLess({"notes", "notes-1"}, set(os.listdir(self.path)))

    def test_a_topic_that_cannot_be_a_folder(self) -> None:
        refused = self.refusal(lambda: self.engine.create(topic("../orders", number=2), LogConfig()))
        self.assertEqual(refused, ErrorCode.INVALID_TOPIC_EXCEPTION)

    def test_few_files_are_open_at_a_time(self) -> None:
        self.successResultOf(self.engine.stop())
        assert self.directory is not None
        bridge = HeldBridge()
        self.engine = LocalLogEngine(self.directory, self.clock, bridge, tail_bytes=0, open_files=5)
        many = topic("many", partitions=30, number=2)
        config = LogConfig(segment_bytes=300, index_interval_bytes=0)
        self.successResultOf(self.engine.start([(many, config)]))
        before = len(os.listdir("/proc/self/fd"))
        logs = [self.engine.partition("many", index) for index in range(30)]
        for n in range(12):
            for log in logs:
                self.assertEqual(self.successResultOf(log.append(batch())).base_offset, n)
        for n in range(12):
            for log in logs:
                self.assertEqual(self.successResultOf(log.read(n, 1)).size, batch().size)
        self.assertLessEqual(len(os.listdir("/proc/self/fd")), before + 5)


class RollingTests(OnePartition, SynchronousTestCase):
    """When a new segment begins."""

    def bases(self) -> list[int]:
        """The base offsets of the segments."""
        return [int(os.path.basename(path)[:20]) for path in self.files()]

    def test_by_size(self) -> None:
        self.engine.configure(self.topic, LogConfig(segment_bytes=3 * batch().size))
        self.append(*[batch()] * 7)
        self.assertEqual(self.bases(), [0, 3, 6])

    def test_a_batch_larger_than_a_segment(self) -> None:
        self.engine.configure(self.topic, LogConfig(segment_bytes=300))
        self.append(batch(), batch(value=bytes(500)), batch())
        self.assertEqual(self.bases(), [0, 1, 2])
        self.assertEqual(self.offsets(), [0, 1, 2])

    def test_by_the_time_between_timestamps(self) -> None:
        self.engine.configure(self.topic, LogConfig(segment_ms=1000))
        self.append(*(batch(EPOCH_MS + ms) for ms in (0, 999, 1000, 1001, 1500, 2002)))
        self.assertEqual(self.bases(), [0, 3, 5])

    def test_by_time_across_a_restart(self) -> None:
        self.append(batch(EPOCH_MS))
        self.restart()
        self.engine.configure(self.topic, LogConfig(segment_ms=1000))
        self.append(batch(EPOCH_MS + 1001))
        self.assertEqual(self.bases(), [0, 1])

    def test_by_a_full_index(self) -> None:
        self.engine.configure(self.topic, LogConfig(segment_index_bytes=32, index_interval_bytes=0))
        self.append(*[batch()] * 12)
        self.assertGreater(len(self.bases()), 2)
        self.successResultOf(self.engine.stop())
        self.assertLessEqual(max(os.path.getsize(path) for path in self.files(".index")), 32)

    def test_a_roll_is_soon_followed_by_a_checkpoint(self) -> None:
        self.engine.configure(self.topic, LogConfig(segment_bytes=3 * batch().size))
        self.append(*[batch()] * 4)
        self.clock.advance(1)
        self.assertEqual(Path(self.path, "recovery-point-offset-checkpoint").read_text(), "0\n1\norders 0 4\n")


class RetentionTests(OnePartition, SynchronousTestCase):
    """What is kept, and for how long."""

    config = LogConfig(segment_bytes=2 * batch().size, file_delete_delay_ms=60_000)

    def check(self) -> None:
        """Let the time of the next retention check come."""
        self.clock.advance(300)

    def test_old_segments_go(self) -> None:
        self.append(*(batch(EPOCH_MS + hours * 3_600_000) for hours in (0, 1, 2, 40, 41, 42)))
        self.engine.configure(self.topic, LogConfig(retention_ms=_DAY_MS, segment_bytes=300))
        seen: list[int] = []
        self.log.watch(seen.append)
        self.clock.advance(30 * 3600)
        self.assertEqual((self.bounds(), self.offsets(2), seen), ((2, 6), [2, 3, 4, 5], [-1]))
        self.assertEqual(self.refusal(lambda: self.log.read(1, 1000)), ErrorCode.OFFSET_OUT_OF_RANGE)

    def test_a_log_that_is_old_altogether_is_emptied(self) -> None:
        self.append(batch(), batch(), batch())
        self.engine.configure(self.topic, LogConfig(retention_ms=1000))
        self.check()
        self.assertEqual((self.bounds(), self.offsets(3)), ((3, 3), []))
        for again in (self.crash, self.restart):
            again()
            self.assertEqual(self.bounds(), (3, 3))
        self.assertEqual(self.append(batch()), [Appended(3, -1, 3)])

    def test_the_oldest_go_when_they_are_too_many(self) -> None:
        self.append(*[batch()] * 9)
        self.engine.configure(self.topic, LogConfig(retention_bytes=5 * batch().size, retention_ms=-1))
        self.check()
        self.assertEqual(self.bounds(), (4, 9))
        self.restart()
        self.assertEqual((self.bounds(), self.offsets(4)), ((4, 9), [4, 5, 6, 7, 8]))

    def test_nothing_goes_where_nothing_says_so(self) -> None:
        self.append(*[batch()] * 5)
        for config in (LogConfig(retention_ms=-1), LogConfig(cleanup_policy=("compact",), retention_ms=1)):
            self.engine.configure(self.topic, config)
            self.check()
            self.assertEqual(self.bounds(), (0, 5))

    def test_files_go_after_a_delay(self) -> None:
        self.append(*[batch()] * 5)
        self.successResultOf(self.log.trim(4))
        self.assertEqual((len(self.files()), len(self.files(".log.deleted"))), (1, 2))
        self.clock.advance(60)
        self.assertEqual((len(self.files()), len(self.files(".deleted"))), (1, 0))

    def test_files_go_when_the_engine_stops_before(self) -> None:
        self.append(*[batch()] * 5)
        self.successResultOf(self.log.trim(4))
        self.successResultOf(self.engine.stop())
        self.assertEqual(self.files(".deleted"), [])

    def test_a_trimmed_log_frees_its_disk(self) -> None:
        self.append(*[batch()] * 5)
        self.successResultOf(self.log.trim(-1))
        self.assertEqual([os.path.getsize(path) for path in self.files()], [0])
        self.assertEqual(self.append(batch()), [Appended(5, -1, 5)])

    def test_what_a_reader_got_outlives_its_segment(self) -> None:
        self.append(*[batch()] * 5)
        found = self.successResultOf(self.log.read(0, 2 * batch().size))
        self.successResultOf(self.log.trim(-1))
        self.clock.advance(60)
        self.assertEqual(sum(len(piece) for piece in found.records), 2 * batch().size)

    def test_idle_producers_are_forgotten(self) -> None:
        self.append(idempotent_batch(0), idempotent_batch(1))
        self.clock.advance(2 * _DAY_MS / 1000)
        self.assertEqual(self.append(idempotent_batch(7))[0].duplicate, False)


class FlushTests(OnePartition, SynchronousTestCase):
    """Acknowledgements that wait for the disk."""

    config = LogConfig(flush_messages=1)

    def make_held(self) -> HeldBridge:
        """Start an engine whose calls to the disk wait."""
        bridge = HeldBridge()
        self.successResultOf(self.engine.stop())
        self.engine = self.make_engine(self.clock, bridge)
        self.successResultOf(self.engine.start([(self.topic, self.config)]))
        return bridge

    def test_appends_share_a_flush(self) -> None:
        bridge = self.make_held()
        bridge.held = True
        waiting = [self.log.append(batch()) for _ in range(10)]
        self.assertEqual([len(bridge.calls), bridge.run()], [1, 1])
        self.assertEqual(self.successResultOf(waiting[0]).base_offset, 0)
        self.assertNoResult(waiting[1])
        self.assertEqual(bridge.run(), 1)
        self.assertEqual([self.successResultOf(one).base_offset for one in waiting[1:]], list(range(1, 10)))
        self.assertEqual(bridge.calls, [])
        bridge.held = False

    def test_no_time_between_append_and_flush(self) -> None:
        """flush.ms=0 acknowledges what is flushed, as flush.messages=1 does."""
        bridge = self.make_held()
        self.engine.configure(self.topic, LogConfig(flush_ms=0))
        bridge.held = True
        waiting = self.log.append(batch())
        self.assertNoResult(waiting)
        self.assertEqual(bridge.run(), 1)
        self.assertEqual(self.successResultOf(waiting).base_offset, 0)
        bridge.held = False

    def test_a_failed_flush_is_not_acknowledged(self) -> None:
        bridge = self.make_held()
        bridge.broken = True
        self.assertEqual(self.refusal(lambda: self.log.append(idempotent_batch(0))), ErrorCode.KAFKA_STORAGE_ERROR)
        # The batch is in the log, but a repetition is as good as a first attempt.
        self.assertEqual(self.refusal(lambda: self.log.append(idempotent_batch(0))), ErrorCode.KAFKA_STORAGE_ERROR)
        bridge.broken = False
        self.assertEqual(self.append(idempotent_batch(0)), [Appended(0, -1, 0, duplicate=True)])

    def test_every_so_many_records(self) -> None:
        bridge = self.make_held()
        self.engine.configure(self.topic, LogConfig(flush_messages=4))
        bridge.held = True
        started = [self.log.append(batch(EPOCH_MS, EPOCH_MS)) for _ in range(2)]
        self.successResultOf(started[0])
        self.assertNoResult(started[1])
        bridge.run()
        self.successResultOf(started[1])
        bridge.held = False

    def test_every_so_often(self) -> None:
        bridge = self.make_held()
        self.engine.configure(self.topic, LogConfig(flush_ms=500))
        bridge.held = True
        self.append(batch(), batch())
        self.clock.advance(0.499)
        self.assertEqual(bridge.calls, [])
        self.clock.advance(0.001)
        self.assertEqual(bridge.run(), 1)
        self.clock.advance(5)
        self.assertEqual(bridge.calls, [])
        bridge.held = False

    def test_a_stop_that_cannot_flush_leaves_no_mark_of_a_clean_one(self) -> None:
        bridge = self.make_held()
        self.engine.configure(self.topic, LogConfig())
        self.append(batch())
        bridge.broken = True
        self.assertEqual(self.refusal(self.engine.stop), ErrorCode.KAFKA_STORAGE_ERROR)
        self.assertFalse(self.directory is not None and self.directory.was_clean)
        self.crash()
        self.assertEqual(self.offsets(), [0])


class FailedFlushTests(OnePartition, SynchronousTestCase):
    """
    After a flush that failed, the kernel may take for clean what it could not write.

    So all of it has to be written once more before the next flush counts. Files get a time of modification of 0, so
    that a write is seen.
    """

    config = LogConfig(segment_bytes=3 * batch().size)

    def setUp(self) -> None:
        """Have three segments, the first of them flushed."""
        super().setUp()
        self.failing = False
        self.read_only = False
        self.synced: dict[int, float] = {}
        self.restart(sync=self.sync)
        self.append(*[batch()] * 4)
        self.clock.advance(60)
        self.append(*[batch()] * 4)
        for path in self.files():
            os.utime(path, (0, 0))

    def sync(self, descriptor: int) -> None:
        """Take note of the time, or fail; and have the file refuse to be written, if asked to."""
        if self.failing and stat.S_ISREG(os.fstat(descriptor).st_mode):
            if self.read_only:
                same = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY)
                os.dup2(same, descriptor)
                os.close(same)
            raise OSError(errno.EIO, "the disk is on fire")
        found = os.fstat(descriptor)
        self.synced[found.st_ino] = found.st_mtime
        os.fdatasync(descriptor)

    def fail_once(self) -> None:
        """Let the checkpoint that follows a roll fail."""
        self.failing = True
        self.clock.advance(1)
        self.failing = False

    def written(self) -> list[bool]:
        """Which files were written again."""
        return [os.stat(path).st_mtime > 0 for path in self.files()]

    def test_what_was_not_durable_is_written_again(self) -> None:
        before = [Path(path).read_bytes() for path in self.files()]
        self.fail_once()
        self.assertEqual(self.written(), [False, True, True])
        self.assertEqual([Path(path).read_bytes() for path in self.files()], before)
        self.append(batch())
        self.crash()
        self.assertEqual(self.offsets(), list(range(9)))

    def test_before_the_next_flush_if_it_cannot_be_done_at_once(self) -> None:
        self.read_only = True
        self.fail_once()
        self.assertEqual(self.written(), [False, False, False])
        self.synced.clear()
        self.clock.advance(60)
        # What the flush saw had been written again.
        times = [self.synced.get(os.stat(path).st_ino) for path in self.files()]
        self.assertEqual([bool(time) for time in times], [False, True, True])

    def test_waiters_are_told_and_a_later_flush_is_good(self) -> None:
        self.engine.configure(self.topic, LogConfig(flush_messages=1))
        self.failing = True
        for _ in range(3):
            self.assertEqual(self.refusal(lambda: self.log.append(batch())), ErrorCode.KAFKA_STORAGE_ERROR)
        self.failing = False
        self.assertEqual(self.append(batch()), [Appended(11, -1, 0)])


class FullDiskTests(OnePartition, SynchronousTestCase):
    """A disk that takes no more."""

    _LIMIT = 4 << 20

    def full(self, limit: int) -> None:
        """Let no file of this process grow beyond C{limit}; as a full disk does, that lets a write end midway."""
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))

    def setUp(self) -> None:
        """Set the limit, for this test only."""
        super().setUp()
        soft = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
        self.addCleanup(self.full, soft)
        self.full(self._LIMIT)
        self.large = batch(value=bytes(1_000_000))

    def test_producers_are_told_and_nothing_is_lost(self) -> None:
        self.append(*[self.large] * 4)
        for _ in range(2):
            self.assertEqual(self.refusal(lambda: self.log.append(self.large)), ErrorCode.KAFKA_STORAGE_ERROR)
        self.assertEqual((self.bounds(), self.offsets()), ((0, 4), [0, 1, 2, 3]))
        self.assertEqual(os.path.getsize(self.files()[0]), 4 * self.large.size)
        self.assertEqual(self.append(batch()), [Appended(4, -1, 0)])
        self.full(self._LIMIT * 2)
        self.assertEqual(self.append(self.large), [Appended(5, -1, 0)])
        self.crash()
        self.assertEqual(self.offsets(), [0, 1, 2, 3, 4, 5])

    def test_a_batch_that_was_not_written_can_be_sent_again(self) -> None:
        self.append(*[self.large] * 4)
        self.append(idempotent_batch(0))
        large = batch(value=bytes(1_000_000), producer_id=7, producer_epoch=0, base_sequence=1)
        self.assertEqual(self.refusal(lambda: self.log.append(large)), ErrorCode.KAFKA_STORAGE_ERROR)
        self.full(self._LIMIT * 2)
        self.assertEqual(self.append(large, large), [Appended(5, -1, 0), Appended(5, -1, 0, duplicate=True)])

    def test_a_crash_right_after(self) -> None:
        self.append(*[self.large] * 4)
        self.assertEqual(self.refusal(lambda: self.log.append(self.large)), ErrorCode.KAFKA_STORAGE_ERROR)
        self.crash()
        self.assertEqual(self.offsets(), [0, 1, 2, 3])


class RefusingDiskTests(OnePartition, SynchronousTestCase):
    """A disk that does not make or write some file; there is a folder in its place."""

    config = LogConfig(segment_bytes=200)

    def refuse(self, *names: str) -> None:
        """Let there be no such files in the partition's folder."""
        for name in names:
            os.mkdir(os.path.join(self.path, "orders-0", name))

    def give_way(self, *names: str) -> None:
        """Let there be such files again."""
        for name in names:
            os.rmdir(os.path.join(self.path, "orders-0", name))

    def test_another_segment_cannot_begin(self) -> None:
        """Neither the new file, nor what is known of producers, nor the indexes of the old one can be written."""
        first, second = f"{0:020d}", f"{2:020d}"
        for name in (second + ".log", second + ".snapshot.tmp", first + ".index", first + ".timeindex"):
            self.successResultOf(self.engine.delete(self.topic))
            self.topic = topic(number=ord(name[19]) + len(name))
            self.successResultOf(self.engine.create(self.topic, self.config))
            self.append(*(idempotent_batch(n) for n in range(2)))
            self.refuse(name)
            for _ in range(3):
                refused = self.refused(self.log.append(idempotent_batch(2, 3)))
                self.assertEqual(refused, ErrorCode.KAFKA_STORAGE_ERROR, name)
            self.assertEqual((self.bounds(), self.offsets()), ((0, 2), [0, 1]))
            self.give_way(name)
            self.assertEqual(self.append(*[idempotent_batch(2, 3)] * 2)[1], Appended(2, -1, 0, duplicate=True))
            self.append(*(idempotent_batch(n) for n in range(5, 9)))
            for again in (self.crash, self.restart):
                again()
                self.assertEqual(self.offsets(), list(range(9)))

    def points(self) -> str:
        """The recovery points on the disk."""
        return Path(self.path, "recovery-point-offset-checkpoint").read_text()

    def test_a_checkpoint_that_cannot_be_written(self) -> None:
        self.append(batch(), batch())
        names = ("../recovery-point-offset-checkpoint.tmp", f"{2:020d}.snapshot.tmp")
        for name in names:
            self.refuse(name)
            self.clock.advance(60)
            self.assertEqual(self.points(), "0\n0\n")
            self.give_way(name)
        self.append(batch())
        self.clock.advance(60)
        self.assertEqual(self.points(), "0\n1\norders 0 3\n")
        self.crash()
        self.assertEqual(self.offsets(), [0, 1, 2])

    def test_log_start_offsets_that_cannot_be_written(self) -> None:
        self.append(*[batch()] * 5)
        self.refuse("../log-start-offset-checkpoint.tmp")
        self.assertEqual(self.refusal(lambda: self.log.trim(3)), ErrorCode.KAFKA_STORAGE_ERROR)
        self.give_way("../log-start-offset-checkpoint.tmp")
        self.assertEqual(self.successResultOf(self.log.trim(4)), 4)
        self.crash()
        self.assertEqual(self.bounds(), (4, 5))

    def test_a_stop_that_cannot_write(self) -> None:
        self.append(*[batch()] * 3)
        name = f"{3:020d}.snapshot.tmp"
        self.refuse(name)
        self.assertEqual(self.refusal(self.engine.stop), ErrorCode.KAFKA_STORAGE_ERROR)
        self.give_way(name)
        self.start_again()
        self.assertEqual(self.offsets(), [0, 1, 2])

    def test_retention_that_cannot_begin_another_segment(self) -> None:
        self.engine.configure(self.topic, LogConfig(segment_bytes=300, retention_ms=1000))
        self.append(*[batch()] * 7)
        name = f"{7:020d}.log"
        self.refuse(name)
        self.clock.advance(300)
        self.give_way(name)
        self.clock.advance(300)
        self.assertEqual(self.bounds(), (7, 7))
        self.append(batch())
        self.crash()
        self.assertEqual(self.offsets(7), [7])

    def test_snapshots_removed_by_hand(self) -> None:
        for n in range(20):
            self.append(idempotent_batch(n))
            for path in self.files(".snapshot"):
                os.unlink(path)
        self.crash()
        self.assertEqual(self.offsets(), list(range(20)))
