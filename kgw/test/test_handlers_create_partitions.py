from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from kgw.errors import ErrorCode
from kgw.handlers import create_partitions
from kgw.handlers.create_partitions import Request, RequestAssignment, RequestTopic, Response, ResponseResult
from kgw.test.stage import Stage


class CreatePartitionsTests(SynchronousTestCase):
    def extend(self, stage: Stage, version: int, *topics: RequestTopic, **fields: Any) -> list[ResponseResult]:
        fields.setdefault("timeout_ms", 30_000)
        response: Response = stage.call(create_partitions.API, version, Request(topics=list(topics), **fields))
        return response.results

    def test_every_version_adds_partitions_that_can_be_used(self) -> None:
        for version in create_partitions.API.versions:
            stage = Stage(self)
            before = stage.create("orders", 1)
            (row,) = self.extend(stage, version, RequestTopic("orders", 3, None))
            self.assertEqual((row.name, row.error_code, row.error_message), ("orders", 0, None))
            topic = stage.topics.get("orders")
            assert topic is not None
            self.assertEqual((topic.partitions, topic.id), (3, before.id))
            self.assertEqual(self.successResultOf(stage.engine.partition("orders", 2).bounds()).high_watermark, 0)

    def test_the_count_must_grow(self) -> None:
        stage = Stage(self)
        for name in ("same", "less", "more"):
            stage.create(name, 4)
        rows = self.extend(
            stage,
            3,
            RequestTopic("same", 4, None),
            RequestTopic("less", 3, None),
            RequestTopic("missing", 3, None),
            RequestTopic("more", 100_001, None),
        )
        self.assertEqual(
            [(row.error_code, row.error_message) for row in rows],
            [
                (ErrorCode.INVALID_PARTITIONS, "Topic already has 4 partition(s)."),
                (
                    ErrorCode.INVALID_PARTITIONS,
                    "The topic less currently has 4 partition(s); 3 would not be an increase.",
                ),
                (ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, None),
                (ErrorCode.INVALID_PARTITIONS, "A topic can have at most 100000 partitions, not 100001."),
            ],
        )

    def test_assignments_are_for_the_new_partitions(self) -> None:
        stage = Stage(self)
        stage.create("orders", 1)
        here = RequestAssignment([stage.node_id])
        (row,) = self.extend(stage, 3, RequestTopic("orders", 3, [here]))
        self.assertEqual(
            (row.error_code, row.error_message),
            (
                ErrorCode.INVALID_REPLICA_ASSIGNMENT,
                "Attempted to add 2 additional partition(s), but only 1 assignment(s) were specified.",
            ),
        )
        (row,) = self.extend(stage, 3, RequestTopic("orders", 2, [RequestAssignment([stage.node_id + 1])]))
        self.assertEqual(row.error_code, ErrorCode.INVALID_REPLICA_ASSIGNMENT)
        (row,) = self.extend(stage, 3, RequestTopic("orders", 3, [here, here]))
        self.assertEqual(row.error_code, ErrorCode.NONE)
        self.assertEqual([topic.partitions for topic in stage.topics.all()], [3])

    def test_validate_only_changes_nothing(self) -> None:
        stage = Stage(self)
        topic = stage.create("orders", 2)
        rows = self.extend(
            stage, 3, RequestTopic("orders", 5, None), RequestTopic("missing", 5, None), validate_only=True
        )
        self.assertEqual([row.error_code for row in rows], [0, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION])
        self.assertEqual(stage.topics.get("orders"), topic)

    def test_a_name_asked_for_twice_is_refused_once(self) -> None:
        stage = Stage(self)
        stage.create("orders", 1)
        rows = self.extend(stage, 3, RequestTopic("orders", 2, None), RequestTopic("orders", 3, None))
        self.assertEqual(
            [(row.name, row.error_code, row.error_message) for row in rows],
            [("orders", ErrorCode.INVALID_REQUEST, "Duplicate topic name.")],
        )

    def test_a_time_of_zero_changes_nothing(self) -> None:
        stage = Stage(self)
        topic = stage.create("orders", 1)
        (row,) = self.extend(stage, 3, RequestTopic("orders", 2, None), timeout_ms=0)
        self.assertEqual(row.error_code, ErrorCode.REQUEST_TIMED_OUT)
        self.assertEqual(stage.topics.get("orders"), topic)

    def test_refusal_names_every_topic(self) -> None:
        request = Request(topics=[RequestTopic("a", 2, None), RequestTopic("b", 2, [])])
        for version in create_partitions.API.versions:
            response = Stage(self).refuse(create_partitions.API, version, request, ErrorCode.NOT_CONTROLLER)
            self.assertEqual(
                [(row.name, row.error_code) for row in response.results],
                [("a", ErrorCode.NOT_CONTROLLER), ("b", ErrorCode.NOT_CONTROLLER)],
            )
