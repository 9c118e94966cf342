from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from kgw.errors import ErrorCode
from kgw.handlers import create_topics
from kgw.handlers.create_topics import Request, RequestAssignment, RequestConfig, RequestTopic, Response, ResponseTopic
from kgw.test.stage import HeldStore, Stage


class CreateTopicsTests(SynchronousTestCase):
    def create(self, stage: Stage, version: int, *topics: RequestTopic, **fields: Any) -> list[ResponseTopic]:
        request = Request(topics=list(topics), **fields)
        response: Response = stage.call(create_topics.API, version, request)
        return response.topics

    def codes(self, rows: list[ResponseTopic]) -> list[tuple[str, ErrorCode]]:
        return [(row.name, ErrorCode(row.error_code)) for row in rows]

    def test_every_version_creates_a_topic_that_can_be_used(self) -> None:
        for version in create_topics.API.versions:
            stage = Stage(self)
            (row,) = self.create(stage, version, RequestTopic("orders", 3, 1))
            self.assertEqual((row.name, row.error_code, row.error_message), ("orders", 0, None))
            topic = stage.topics.get("orders")
            assert topic is not None
            self.assertEqual(topic.partitions, 3)
            self.assertEqual(self.successResultOf(stage.engine.partition("orders", 2).bounds()).high_watermark, 0)
            if version >= 7:
                self.assertEqual(row.topic_id, topic.id)

    def test_from_version_5_on_the_answer_describes_the_topic(self) -> None:
        stage = Stage(self, {"log.retention.ms": "7200000"})
        configs = [RequestConfig("cleanup.policy", "compact"), RequestConfig("max.message.bytes", "2048")]
        (row,) = self.create(stage, 5, RequestTopic("orders", 2, 1, configs=configs))
        self.assertEqual((row.num_partitions, row.replication_factor), (2, 1))
        assert row.configs is not None
        told = {one.name: (one.value, one.config_source) for one in row.configs}
        self.assertEqual(told["cleanup.policy"], ("compact", 1))
        self.assertEqual(told["max.message.bytes"], ("2048", 1))
        self.assertEqual(told["retention.ms"], ("7200000", 4))
        self.assertEqual(told["segment.bytes"], ("1073741824", 5))
        self.assertEqual([one.name for one in row.configs], sorted(told))

    def test_defaults_come_from_the_server(self) -> None:
        stage = Stage(self, {"num.partitions": "5"})
        (row,) = self.create(stage, 7, RequestTopic("orders", -1, -1))
        self.assertEqual((row.error_code, row.num_partitions, row.replication_factor), (0, 5, 1))

    def test_validate_only_answers_and_creates_nothing(self) -> None:
        stage = Stage(self)
        rows = self.create(stage, 7, RequestTopic("orders", 4, 1), RequestTopic("a b", 1, 1), validate_only=True)
        self.assertEqual(self.codes(rows), [("orders", ErrorCode.NONE), ("a b", ErrorCode.INVALID_TOPIC_EXCEPTION)])
        self.assertEqual(rows[0].num_partitions, 4)
        self.assertEqual(stage.topics.all(), [])

    def test_one_bad_topic_does_not_stop_the_others(self) -> None:
        stage = Stage(self)
        stage.create("there")
        rows = self.create(
            stage,
            7,
            RequestTopic("there", 1, 1),
            RequestTopic("..", 1, 1),
            RequestTopic("none", 0, 1),
            RequestTopic("badly", 1, 1, configs=[RequestConfig("retention.ms", "soon")]),
            RequestTopic("nothing", 1, 1, configs=[RequestConfig("retention.ms", None)]),
            RequestTopic("both", 1, -1, assignments=[RequestAssignment(0, [1])]),
            RequestTopic("good", 1, 1),
        )
        self.assertEqual(
            self.codes(rows),
            [
                ("there", ErrorCode.TOPIC_ALREADY_EXISTS),
                ("..", ErrorCode.INVALID_TOPIC_EXCEPTION),
                ("none", ErrorCode.INVALID_PARTITIONS),
                ("badly", ErrorCode.INVALID_CONFIG),
                ("nothing", ErrorCode.INVALID_CONFIG),
                ("both", ErrorCode.INVALID_REQUEST),
                ("good", ErrorCode.NONE),
            ],
        )
        self.assertEqual(rows[0].error_message, "Topic 'there' already exists.")
        self.assertEqual((rows[0].num_partitions, rows[0].replication_factor), (-1, -1))
        self.assertEqual([topic.name for topic in stage.topics.all()], ["good", "there"])

    def test_a_name_asked_for_twice_is_refused_once_and_not_created(self) -> None:
        stage = Stage(self)
        rows = self.create(stage, 7, RequestTopic("a", 1, 1), RequestTopic("b", 1, 1), RequestTopic("a", 2, 1))
        self.assertEqual(self.codes(rows), [("a", ErrorCode.INVALID_REQUEST), ("b", ErrorCode.NONE)])
        self.assertIsNone(stage.topics.get("a"))

    def test_manual_assignments_to_this_node(self) -> None:
        stage = Stage(self)
        both = [RequestAssignment(1, [stage.node_id]), RequestAssignment(0, [stage.node_id])]
        (row,) = self.create(stage, 7, RequestTopic("orders", -1, -1, assignments=both))
        self.assertEqual((row.error_code, row.num_partitions), (0, 2))

    def test_too_many_partitions_in_one_request(self) -> None:
        stage = Stage(self)
        rows = self.create(stage, 7, RequestTopic("a", 6000, 1), RequestTopic("b", 6000, 1))
        self.assertEqual(self.codes(rows), [("a", ErrorCode.POLICY_VIOLATION), ("b", ErrorCode.POLICY_VIOLATION)])
        self.assertEqual(rows[0].error_message, "Excessively large number of partitions per request.")

    def test_nothing_is_started_once_the_clients_time_is_over(self) -> None:
        stage = Stage(self)
        rows = self.create(stage, 7, RequestTopic("late", 1, 1), timeout_ms=0)
        self.assertEqual(self.codes(rows), [("late", ErrorCode.REQUEST_TIMED_OUT)])
        self.assertIsNone(stage.topics.get("late"))

    def test_a_client_that_waited_long_enough_is_told_so_and_the_topic_comes_later(self) -> None:
        store = HeldStore()
        self.successResultOf(store.open())
        stage = Stage(self, store=store)
        store.hold = True
        request = Request(topics=[RequestTopic("slow", 1, 1), RequestTopic("next", 1, 1)], timeout_ms=5000)
        work = stage.begin(create_topics.API, 7, request)
        stage.clock.advance(4.9)
        self.assertNoResult(work)
        stage.clock.advance(0.2)
        self.assertEqual(
            self.codes(self.successResultOf(work).topics),
            [("slow", ErrorCode.REQUEST_TIMED_OUT), ("next", ErrorCode.REQUEST_TIMED_OUT)],
        )
        store.let_one_through()
        self.assertEqual([topic.name for topic in stage.topics.all()], ["slow"])

    def test_refusal_names_every_topic(self) -> None:
        request = Request(topics=[RequestTopic("a", 1, 1), RequestTopic("b", 1, 1)])
        for version in create_topics.API.versions:
            response = Stage(self).refuse(create_topics.API, version, request, ErrorCode.NOT_CONTROLLER)
            self.assertEqual(
                self.codes(response.topics), [("a", ErrorCode.NOT_CONTROLLER), ("b", ErrorCode.NOT_CONTROLLER)]
            )
