"""ListOffsets and OffsetForLeaderEpoch: where logs begin, end, and what was written when."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kgw.errors import ErrorCode
from kgw.handlers import offset_for_leader_epoch
from kgw.handlers.list_offsets import API, Request, RequestPartition, RequestTopic, ResponsePartition
from kgw.test.stage import START, Stage

NOW = int(START * 1000)


class ListOffsetsTests(SynchronousTestCase):
    """Requests on C{t}-0, which has records at NOW (0, 1), NOW + 1000 (2) and NOW + 2000 (3, 4)."""

    def setUp(self) -> None:
        """The services and the records."""
        self.stage = Stage(self)
        self.stage.create("t")
        for records in (2, 1, 2):
            self.stage.append("t", 0, records)
            self.stage.clock.advance(1)

    def find(self, timestamp: int, version: int = 11, partition: int = 0, epoch: int = -1) -> ResponsePartition:
        """The answer for one timestamp."""
        request = Request(replica_id=-1, topics=[RequestTopic("t", [RequestPartition(partition, epoch, timestamp)])])
        row: ResponsePartition = self.stage.call(API, version, request).topics[0].partitions[0]
        return row

    def test_ends(self) -> None:
        """Latest and earliest, in every version."""
        for version in API.versions:
            self.assertEqual(self.find(-1, version).offset, 5)
            self.assertEqual(self.find(-2, version).offset, 0)
        self.successResultOf(self.stage.engine.partition("t", 0).trim(3))
        self.assertEqual((self.find(-2).offset, self.find(-4).offset), (3, 3))

    def test_by_time(self) -> None:
        """The first record at or behind a time; none behind the last."""
        for timestamp, offset, found in (
            (0, 0, NOW),
            (NOW, 0, NOW),
            (NOW + 1, 2, NOW + 1000),
            (NOW + 2000, 3, NOW + 2000),
        ):
            row = self.find(timestamp)
            self.assertEqual((row.error_code, row.offset, row.timestamp), (0, offset, found))
        row = self.find(NOW + 2001)
        self.assertEqual((row.error_code, row.offset, row.timestamp), (0, -1, -1))

    def test_max_timestamp(self) -> None:
        """The record with the largest timestamp (KIP-734)."""
        row = self.find(-3)
        self.assertEqual((row.offset, row.timestamp), (3, NOW + 2000))

    def test_tiered(self) -> None:
        """Nothing is tiered, and nothing waits to be."""
        self.assertEqual([(self.find(t).error_code, self.find(t).offset) for t in (-5, -6)], [(0, -1), (0, -1)])

    def test_sentinels_have_versions(self) -> None:
        """A sentinel that a version does not know is refused."""
        for timestamp, version in ((-3, 6), (-4, 7), (-5, 8), (-6, 10), (-7, 11)):
            self.assertEqual(self.find(timestamp, version).error_code, ErrorCode.UNSUPPORTED_VERSION)

    def test_errors(self) -> None:
        """Unknown partitions, wrong epochs, and a partition that is named twice."""
        self.assertEqual(self.find(-1, partition=4).error_code, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        self.assertEqual(self.find(-1, epoch=9).error_code, ErrorCode.UNKNOWN_LEADER_EPOCH)
        twice = [RequestPartition(0, -1, -1), RequestPartition(0, -1, -2)]
        answer = self.stage.call(API, 11, Request(topics=[RequestTopic("t", twice)]))
        self.assertEqual([row.error_code for row in answer.topics[0].partitions], [ErrorCode.INVALID_REQUEST] * 2)


class OffsetForLeaderEpochTests(SynchronousTestCase):
    """OffsetForLeaderEpoch."""

    def test_ends(self) -> None:
        """The current epoch ends where the log does; one that was never is not known."""
        module = offset_for_leader_epoch
        stage = Stage(self)
        stage.create("t")
        stage.append("t", 0, 3)
        for version in module.API.versions:
            rows = [
                module.RequestPartition(partition=0, leader_epoch=0),
                module.RequestPartition(partition=0, leader_epoch=5),
                module.RequestPartition(partition=0, current_leader_epoch=5, leader_epoch=0),
                module.RequestPartition(partition=8, leader_epoch=0),
            ]
            answer = stage.call(module.API, version, module.Request(topics=[module.RequestTopic("t", rows)]))
            self.assertEqual(
                [(row.error_code, row.end_offset) for row in answer.topics[0].partitions],
                [
                    (0, 3),
                    (0, -1),
                    (ErrorCode.UNKNOWN_LEADER_EPOCH, -1),
                    (ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, -1),
                ],
            )
