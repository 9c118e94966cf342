from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kgw.errors import ErrorCode
from kgw.handlers import delete_records
from kgw.handlers.delete_records import Request, RequestPartition, RequestTopic, Response
from kgw.test.stage import Stage


class DeleteRecordsTests(SynchronousTestCase):
    def trim(self, stage: Stage, version: int, topic: str, *partitions: tuple[int, int]) -> list[tuple[int, int, int]]:
        rows = [RequestPartition(index, offset) for index, offset in partitions]
        request = Request(topics=[RequestTopic(topic, rows)], timeout_ms=30_000)
        response: Response = stage.call(delete_records.API, version, request)
        (answer,) = response.topics
        self.assertEqual(answer.name, topic)
        return [(row.partition_index, row.low_watermark, row.error_code) for row in answer.partitions]

    def test_every_version_moves_the_start_of_each_log(self) -> None:
        for version in delete_records.API.versions:
            stage = Stage(self)
            stage.create("orders", 3)
            for partition in range(3):
                stage.append("orders", partition, records=10)
            rows = self.trim(stage, version, "orders", (0, 4), (1, -1), (2, 0))
            self.assertEqual(rows, [(0, 4, 0), (1, 10, 0), (2, 0, 0)])
            starts = [
                self.successResultOf(stage.engine.partition("orders", partition).bounds()).log_start_offset
                for partition in range(3)
            ]
            self.assertEqual(starts, [4, 10, 0])

    def test_what_is_gone_already_is_no_error(self) -> None:
        stage = Stage(self)
        stage.create("orders")
        stage.append("orders", records=10)
        self.assertEqual(self.trim(stage, 2, "orders", (0, 6)), [(0, 6, 0)])
        self.assertEqual(self.trim(stage, 2, "orders", (0, 3)), [(0, 6, 0)])

    def test_offsets_that_are_none(self) -> None:
        stage = Stage(self)
        stage.create("orders")
        stage.append("orders", records=10)
        for offset in (11, -2):
            self.assertEqual(self.trim(stage, 2, "orders", (0, offset)), [(0, -1, ErrorCode.OFFSET_OUT_OF_RANGE)])

    def test_unknown_topics_and_partitions(self) -> None:
        stage = Stage(self)
        stage.create("orders")
        unknown = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        self.assertEqual(self.trim(stage, 2, "orders", (1, 0), (0, 0)), [(1, -1, unknown), (0, 0, 0)])
        self.assertEqual(self.trim(stage, 2, "other", (0, 0)), [(0, -1, unknown)])

    def test_a_compacted_topic_keeps_its_records(self) -> None:
        stage = Stage(self)
        stage.create("compacted", configs={"cleanup.policy": "compact"})
        stage.create("both", configs={"cleanup.policy": "compact,delete"})
        for topic in ("compacted", "both"):
            stage.append(topic, records=10)
        self.assertEqual(self.trim(stage, 2, "compacted", (0, 5)), [(0, -1, ErrorCode.POLICY_VIOLATION)])
        self.assertEqual(self.trim(stage, 2, "both", (0, 5)), [(0, 5, 0)])

    def test_refusal_names_every_partition(self) -> None:
        request = Request(topics=[RequestTopic("a", [RequestPartition(0, 1), RequestPartition(3, 1)])])
        for version in delete_records.API.versions:
            response = Stage(self).refuse(delete_records.API, version, request, ErrorCode.UNKNOWN_SERVER_ERROR)
            self.assertEqual(
                [(row.partition_index, row.low_watermark, row.error_code) for row in response.topics[0].partitions],
                [(0, -1, ErrorCode.UNKNOWN_SERVER_ERROR), (3, -1, ErrorCode.UNKNOWN_SERVER_ERROR)],
            )
