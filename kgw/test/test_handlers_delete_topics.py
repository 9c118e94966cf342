from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kgw.errors import ErrorCode
from kgw.handlers import delete_topics
from kgw.handlers.delete_topics import Request, RequestTopic, Response, ResponseTopic
from kgw.test.stage import Stage
from kgw.wire.primitives import ZERO_UUID

HOUR = 3_600_000


class DeleteTopicsTests(SynchronousTestCase):
    def delete(self, stage: Stage, version: int, request: Request) -> list[ResponseTopic]:
        response: Response = stage.call(delete_topics.API, version, request)
        return response.responses

    def by_name(self, version: int, *names: str) -> Request:
        if version >= 6:
            return Request(topics=[RequestTopic(name=name) for name in names], timeout_ms=HOUR)
        return Request(topic_names=list(names), timeout_ms=HOUR)

    def test_every_version_deletes_by_name(self) -> None:
        for version in delete_topics.API.versions:
            stage = Stage(self)
            topic = stage.create("orders")
            rows = self.delete(stage, version, self.by_name(version, "orders", "missing"))
            self.assertEqual(
                [(row.name, row.error_code) for row in rows],
                [("orders", 0), ("missing", ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)],
            )
            if version >= 6:
                self.assertEqual([row.topic_id for row in rows], [topic.id, ZERO_UUID])
            self.assertIsNone(stage.topics.get("orders"))
            self.assertIsNone(stage.topics.by_id(topic.id))

    def test_by_id(self) -> None:
        stage = Stage(self)
        topic = stage.create("orders")
        wanted = [RequestTopic(topic_id=topic.id), RequestTopic(topic_id=b"x" * 16)]
        rows = self.delete(stage, 6, Request(topics=wanted, timeout_ms=HOUR))
        self.assertEqual(
            [(row.name, row.topic_id, row.error_code) for row in rows],
            [("orders", topic.id, 0), (None, b"x" * 16, ErrorCode.UNKNOWN_TOPIC_ID)],
        )
        self.assertEqual(stage.topics.all(), [])

    def test_neither_name_nor_id_and_both(self) -> None:
        stage = Stage(self)
        topic = stage.create("orders")
        wanted = [RequestTopic(), RequestTopic("orders", topic.id)]
        rows = self.delete(stage, 6, Request(topics=wanted, timeout_ms=HOUR))
        self.assertEqual(
            [(row.name, row.error_code, row.error_message) for row in rows],
            [
                (None, ErrorCode.INVALID_REQUEST, "Neither topic name nor id were specified."),
                ("orders", ErrorCode.INVALID_REQUEST, "You may not specify both topic name and topic id."),
            ],
        )
        self.assertIsNotNone(stage.topics.get("orders"))

    def test_what_is_asked_for_twice_is_refused_once(self) -> None:
        stage = Stage(self)
        one, two = stage.create("one"), stage.create("two")
        wanted = [
            RequestTopic("one"),
            RequestTopic(topic_id=two.id),
            RequestTopic("one"),
            RequestTopic(topic_id=two.id),
        ]
        rows = self.delete(stage, 6, Request(topics=wanted, timeout_ms=HOUR))
        self.assertEqual(
            [(row.name, row.topic_id, row.error_message) for row in rows],
            [("one", ZERO_UUID, "Duplicate topic name."), (None, two.id, "Duplicate topic id.")],
        )
        self.assertEqual(stage.topics.all(), [one, two])

    def test_a_name_and_its_id_in_one_request(self) -> None:
        stage = Stage(self)
        topic = stage.create("orders")
        wanted = [RequestTopic("orders"), RequestTopic(topic_id=topic.id)]
        rows = self.delete(stage, 6, Request(topics=wanted, timeout_ms=HOUR))
        self.assertEqual(
            [(row.name, row.topic_id, row.error_code) for row in rows],
            [("orders", topic.id, ErrorCode.INVALID_REQUEST), ("orders", topic.id, 0)],
        )

    def test_deletion_can_be_switched_off(self) -> None:
        expected = {2: ErrorCode.INVALID_REQUEST, 3: ErrorCode.TOPIC_DELETION_DISABLED}
        for version, code in expected.items():
            stage = Stage(self, {"delete.topic.enable": "false"})
            stage.create("orders")
            rows = self.delete(stage, version, self.by_name(version, "orders"))
            self.assertEqual([(row.name, row.error_code) for row in rows], [("orders", code)])
            self.assertIsNotNone(stage.topics.get("orders"))

    def test_a_time_of_zero_deletes_nothing(self) -> None:
        stage = Stage(self)
        stage.create("orders")
        (row,) = self.delete(stage, 1, Request(topic_names=["orders"], timeout_ms=0))
        self.assertEqual(row.error_code, ErrorCode.REQUEST_TIMED_OUT)
        self.assertIsNotNone(stage.topics.get("orders"))

    def test_refusal_names_every_topic(self) -> None:
        for version in delete_topics.API.versions:
            request = self.by_name(version, "a", "b")
            response = Stage(self).refuse(delete_topics.API, version, request, ErrorCode.NOT_CONTROLLER)
            self.assertEqual(
                [(row.name, row.error_code) for row in response.responses],
                [("a", ErrorCode.NOT_CONTROLLER), ("b", ErrorCode.NOT_CONTROLLER)],
            )
