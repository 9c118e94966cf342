"""Partition folders: none is destroyed that was not deleted, and thousands come and go without holding anyone up."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from kgw.engine.local.engine import LocalLogEngine
from kgw.errors import ErrorCode, KafkaError
from kgw.model import LogConfig, Topic
from kgw.test.builders import batch, topic
from kgw.test.disk import HeldBridge, OnePartition


class StrayTests(OnePartition, SynchronousTestCase):
    """Folders that belong to no topic."""

    def strays(self, name: str = "orders-0") -> list[Path]:
        """What the folder of this name has become."""
        return sorted(Path(self.path).glob(f"{name}.*-stray"))

    def start_without_topics(self) -> list[str]:
        """Start again as if there were no topics; returns the lines about it in the log."""
        self.successResultOf(self.engine.stop())
        self.engine = self.make_engine(self.clock)
        with capturedLogs() as events:
            self.successResultOf(self.engine.start([]))
        return [line for event in events if (line := formatEvent(event)) and "belong to no topic" in line]

    def test_a_topic_that_nobody_names_is_kept(self) -> None:
        self.append(*(batch() for _ in range(5)))
        content = Path(self.files()[0]).read_bytes()
        lines = self.start_without_topics()
        self.assertEqual(len(lines), 1)
        self.assertIn("1 partition folder(s) belong to no topic and are named NAME.HEX-stray", lines[0])
        self.assertIn("by hand when nobody needs them: orders-0", lines[0])
        [stray] = self.strays()
        self.assertEqual((stray / "00000000000000000000.log").read_bytes(), content)
        self.assertEqual(self.start_without_topics(), [])
        self.assertEqual(self.strays(), [stray])

    def test_it_is_whole_when_it_is_named_again(self) -> None:
        self.append(*(batch() for _ in range(5)))
        self.start_without_topics()
        self.successResultOf(self.engine.stop())
        os.rename(self.strays()[0], os.path.join(self.path, "orders-0"))
        self.start_again()
        self.assertEqual(self.offsets(), [0, 1, 2, 3, 4])

    def test_many_are_told_in_one_line(self) -> None:
        self.successResultOf(self.engine.create(topic("many", partitions=60, number=2), self.config))
        [line] = self.start_without_topics()
        self.assertIn("61 partition folder(s)", line)
        self.assertLess(len(line), 1000)

    def test_the_partition_of_another_topic_of_that_name(self) -> None:
        self.append(batch())
        self.crash((topic(number=2), self.config))
        self.assertEqual(self.bounds(), (0, 0))
        self.assertEqual(len(self.strays()), 1)

    def test_a_folder_in_the_way_of_a_new_partition(self) -> None:
        folder = Path(self.path, "payments-0")
        folder.mkdir()
        (folder / "00000000000000000000.log").write_text("precious")
        self.crash()
        self.successResultOf(self.engine.create(topic("payments", number=2), self.config))
        [stray] = self.strays("payments-0")
        self.assertEqual((stray / "00000000000000000000.log").read_text(), "precious")

    def test_damaged_metadata_do_not_cost_a_partition(self) -> None:
        self.append(batch(), batch())
        self.successResultOf(self.engine.stop())
        metadata = Path(self.path, "orders-0", "partition.metadata")
        whole = metadata.read_text()
        metadata.write_text("")
        self.start_again()
        self.assertEqual(self.offsets(), [0, 1])
        self.assertEqual(metadata.read_text(), whole)


class ManyPartitionsTests(OnePartition, SynchronousTestCase):
    """Topics with many partitions, made and deleted a few at a time."""

    #: The folder of partition 100 would have a name that is too long.
    long = "x" * 252

    def setUp(self) -> None:
        """Have the disk wait."""
        super().setUp()
        self.disk = HeldBridge()
        self.restart(self.disk)
        self.disk.held = True
        self.addCleanup(setattr, self.disk, "held", False)
        self.many = topic("many", partitions=120, number=2)

    def folders(self, name: str = "many") -> list[str]:
        """The folders of a topic, whatever has become of them."""
        return [entry for entry in os.listdir(self.path) if entry.startswith(name)]

    def finish(self) -> int:
        """Let the disk do all there is to do; returns how many calls that were."""
        count = 0
        while calls := self.disk.run():
            count += calls
        return count

    def made(self, topic: Topic) -> Deferred[None]:
        """The creation of a topic, which was given all the time it wants."""
        creating = self.engine.create(topic, LogConfig())
        self.finish()
        return creating

    def unknown(self, name: str, index: int, engine: LocalLogEngine) -> bool:
        """Whether nobody can reach a partition."""
        try:
            engine.partition(name, index)
        except KafkaError as error:
            return error.code is ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        return False

    def test_all_are_there_at_once(self) -> None:
        creating = self.engine.create(self.many, LogConfig())
        for _ in range(3):
            self.assertTrue(all(self.unknown("many", index, self.engine) for index in (0, 49, 50, 119)))
            self.assertNoResult(creating)
            self.assertEqual(self.disk.run(), 1)
        self.successResultOf(creating)
        for index in (0, 49, 50, 119):
            self.assertEqual(self.successResultOf(self.engine.partition("many", index).append(batch())).base_offset, 0)

    def test_a_failure_leaves_nothing(self) -> None:
        creating = self.made(topic(self.long, partitions=120, number=2))
        self.assertEqual(self.refused(creating), ErrorCode.KAFKA_STORAGE_ERROR)
        self.assertEqual(self.folders(self.long), [])
        self.assertTrue(self.unknown(self.long, 0, self.engine))

    def test_a_failure_to_extend_leaves_what_was(self) -> None:
        few = topic(self.long, partitions=3, number=2)
        self.successResultOf(self.made(few))
        self.successResultOf(self.engine.partition(self.long, 2).append(batch()))
        extending = self.made(replace(few, partitions=120))
        self.assertEqual(self.refused(extending), ErrorCode.KAFKA_STORAGE_ERROR)
        self.assertEqual(len(self.folders(self.long)), 3)
        self.assertTrue(self.unknown(self.long, 3, self.engine))
        log = self.engine.partition(self.long, 2)
        self.assertEqual(self.successResultOf(log.append(batch())).base_offset, 1)

    def test_a_stop_meanwhile(self) -> None:
        creating = self.engine.create(self.many, LogConfig())
        self.disk.run()
        stopping = self.engine.stop()
        self.finish()
        self.successResultOf(stopping)
        self.assertEqual(self.refused(creating), ErrorCode.KAFKA_STORAGE_ERROR)
        self.assertEqual(self.folders(), [])

    def test_a_deletion_while_it_is_extended(self) -> None:
        extending = self.engine.create(replace(self.topic, partitions=120), LogConfig())
        deleting = self.engine.delete(self.topic)
        self.finish()
        self.successResultOf(deleting)
        self.assertEqual(self.refused(extending), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        self.assertTrue(self.unknown("orders", 0, self.engine) and self.unknown("orders", 100, self.engine))
        self.assertEqual(self.folders("orders"), [])

    def test_deletion(self) -> None:
        self.successResultOf(self.made(self.many))
        logs = [self.engine.partition("many", index) for index in range(120)]
        deleting = self.engine.delete(self.many)
        for log in logs:
            self.assertEqual(self.refused(log.append(batch())), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        self.assertNoResult(deleting)
        self.disk.run()
        self.assertEqual(len([name for name in self.folders() if name.endswith("-delete")]), 50)
        self.finish()
        self.successResultOf(deleting)
        self.assertEqual(self.folders(), [])

    def test_a_deletion_that_cannot_rename(self) -> None:
        shutil.rmtree(os.path.join(self.path, "orders-0"))
        deleting = self.engine.delete(self.topic)
        with capturedLogs() as events:
            self.finish()
        self.successResultOf(deleting)
        self.assertIn("files of a deleted topic stay: ", str([formatEvent(event) for event in events]))

    def test_a_stop_writes_nothing_for_empty_partitions(self) -> None:
        self.successResultOf(self.made(self.many))
        stopping = self.engine.stop()
        # Recovery points, log start offsets and the mark; "orders" is empty, too.
        self.assertLess(self.finish(), 5)
        self.successResultOf(stopping)
        self.assertEqual(
            sorted(os.listdir(os.path.join(self.path, "many-7"))),
            ["00000000000000000000.log", "leader-epoch-checkpoint", "partition.metadata"],
        )
        self.start_again((self.many, LogConfig()))
        log = self.engine.partition("many", 7)
        bounds = self.successResultOf(log.bounds())
        self.assertEqual((bounds.high_watermark, bounds.leader_epoch), (0, 0))
        self.assertEqual(self.successResultOf(log.append(batch())).base_offset, 0)
