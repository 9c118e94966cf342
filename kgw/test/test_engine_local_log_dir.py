"""What the embedded engine says of its directory: the bytes of its logs and of the volume."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from kgw.errors import ErrorCode
from kgw.model import LogConfig, LogDir, TopicPartition
from kgw.test.builders import batch
from kgw.test.disk import HeldBridge, OnePartition

ORDERS = TopicPartition("orders", 0)


class LogDirTests(OnePartition, SynchronousTestCase):
    """C{log_dir}, where segments roll with every third batch."""

    config = LogConfig(segment_bytes=3 * batch().size)

    def log_dir(self) -> LogDir:
        """What the engine says now."""
        found: LogDir = self.successResultOf(self.engine.log_dir())
        return found

    def test_the_bytes_of_all_segments(self) -> None:
        self.append(*[batch()] * 7)
        self.assertEqual(self.log_dir().sizes, {ORDERS: 7 * batch().size})
        self.successResultOf(self.engine.stop())
        # once the room set apart ahead of the log is given back
        files = Path(self.path, "orders-0").glob("*.log")
        self.assertEqual(sorted(file.stat().st_size for file in files), [one * batch().size for one in (1, 3, 3)])
        self.start_again()
        self.assertEqual(self.log_dir().sizes, {ORDERS: 7 * batch().size})

    def test_deleted_segments_count_no_more(self) -> None:
        self.append(*[batch()] * 7)
        self.successResultOf(self.log.trim(4))
        self.assertEqual(self.log_dir().sizes, {ORDERS: 4 * batch().size})

    def test_the_volume_is_the_file_systems(self) -> None:
        found, volume = self.log_dir(), os.statvfs(self.path)
        self.assertEqual(found.path, os.path.abspath(self.path))
        self.assertEqual(found.total_bytes, volume.f_blocks * volume.f_frsize)
        self.assertTrue(0 < found.usable_bytes <= found.total_bytes)

    def test_a_topic_deleted_while_the_disk_is_asked(self) -> None:
        bridge = HeldBridge()
        self.restart(bridge)
        bridge.held = True
        asked = self.engine.log_dir()
        self.assertNoResult(asked)
        bridge.held = False
        self.successResultOf(self.engine.delete(self.topic))
        bridge.run()
        self.assertEqual(self.successResultOf(asked).sizes, {})

    def test_a_disk_that_fails(self) -> None:
        bridge = HeldBridge()
        self.restart(bridge)
        bridge.broken = True
        self.assertEqual(self.refusal(self.engine.log_dir), ErrorCode.KAFKA_STORAGE_ERROR)
        bridge.broken = False
        self.assertEqual(self.log_dir().sizes, {ORDERS: 0})
