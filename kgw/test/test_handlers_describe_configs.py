from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from kgw.errors import ErrorCode
from kgw.handlers import describe_configs
from kgw.handlers.config_resource import ResourceType
from kgw.handlers.describe_configs import (
    MAX_GROUPS_WITHOUT_CONFIGS,
    Request,
    RequestResource,
    Response,
    ResponseConfig,
    ResponseResult,
)
from kgw.model import ConfigChange, ConfigOperation
from kgw.test.stage import Stage

TOPIC_CONFIG, STATIC_BROKER_CONFIG, DEFAULT_CONFIG = 1, 4, 5
LONG, LIST = 5, 7


class DescribeConfigsTests(SynchronousTestCase):
    def describe(self, stage: Stage, version: int, *resources: RequestResource, **fields: Any) -> list[ResponseResult]:
        request = Request(resources=list(resources), **fields)
        response: Response = stage.call(describe_configs.API, version, request)
        return response.results

    def by_name(self, row: ResponseResult) -> dict[str, ResponseConfig]:
        self.assertEqual((row.error_code, row.error_message), (0, None))
        return {config.name: config for config in row.configs}

    def test_every_version_describes_a_topic(self) -> None:
        for version in describe_configs.API.versions:
            stage = Stage(self, {"log.retention.ms": "7200000"})
            stage.create("orders", configs={"cleanup.policy": "compact"})
            (row,) = self.describe(stage, version, RequestResource(ResourceType.TOPIC, "orders", None))
            self.assertEqual((row.resource_type, row.resource_name), (ResourceType.TOPIC, "orders"))
            configs = self.by_name(row)
            self.assertEqual(
                (configs["cleanup.policy"].value, configs["cleanup.policy"].config_source), ("compact", TOPIC_CONFIG)
            )
            self.assertEqual(
                (configs["retention.ms"].value, configs["retention.ms"].config_source),
                ("7200000", STATIC_BROKER_CONFIG),
            )
            self.assertEqual(configs["segment.ms"].config_source, DEFAULT_CONFIG)
            self.assertEqual([config.synonyms for config in row.configs], [[]] * len(row.configs))
            if version >= 3:
                self.assertEqual(configs["cleanup.policy"].config_type, LIST)
                self.assertEqual(configs["retention.ms"].config_type, LONG)
                self.assertIsNone(configs["retention.ms"].documentation)

    def test_names_choose_and_an_empty_list_chooses_all(self) -> None:
        stage = Stage(self)
        stage.create("orders")
        some, empty, unknown = (
            self.describe(stage, 4, RequestResource(ResourceType.TOPIC, "orders", names))[0]
            for names in (["retention.ms", "cleanup.policy"], [], ["no.such.config"])
        )
        self.assertEqual(set(self.by_name(some)), {"retention.ms", "cleanup.policy"})
        self.assertGreater(len(self.by_name(empty)), 20)
        self.assertEqual(self.by_name(unknown), {})

    def test_named_again(self) -> None:
        """A resource is told once, however often a request names it."""
        stage = Stage(self)
        stage.create("orders")
        topic, broker = RequestResource(ResourceType.TOPIC, "orders", None), RequestResource(ResourceType.BROKER, "1")
        rows = self.describe(stage, 4, *[topic, broker] * 100)
        self.assertEqual(
            [(row.resource_type, row.resource_name) for row in rows],
            [(ResourceType.TOPIC, "orders"), (ResourceType.BROKER, "1")],
        )

    def test_a_broker_spelled_otherwise(self) -> None:
        """It is told once too."""
        stage = Stage(self)
        (row,) = self.describe(stage, 4, *(RequestResource(ResourceType.BROKER, name) for name in ("1", "01", "+1")))
        self.assertEqual((row.resource_name, row.error_code), ("1", ErrorCode.NONE))

    def test_groups_without_end(self) -> None:
        """Groups that nobody has configured are told so often; those that have configs always."""
        stage = Stage(self)
        timeout = ConfigChange("consumer.session.timeout.ms", ConfigOperation.SET, "50000")
        self.successResultOf(stage.dynamic_configs.alter_group("own", [timeout]))
        names = [f"g{number}" for number in range(MAX_GROUPS_WITHOUT_CONFIGS + 1)]
        asked = [RequestResource(ResourceType.GROUP, name) for name in [*names, "own"]]
        telling = stage.begin(describe_configs.API, 4, Request(resources=asked))
        # others get their turn meanwhile
        self.assertNoResult(telling)
        stage.clock.pump([0] * 100)
        rows = self.successResultOf(telling).results
        told = [row.resource_name for row in rows if row.error_code == ErrorCode.NONE]
        self.assertEqual(told, [*names[:-1], "own"])
        self.assertEqual(rows[-2].error_code, ErrorCode.INVALID_REQUEST)

    def test_synonyms_say_where_a_value_would_come_from(self) -> None:
        stage = Stage(self, {"log.retention.ms": "7200000"})
        stage.create("orders", configs={"retention.ms": "60000"})
        wanted = RequestResource(ResourceType.TOPIC, "orders", ["retention.ms"])
        (row,) = self.describe(stage, 4, wanted, include_synonyms=True)
        synonyms = self.by_name(row)["retention.ms"].synonyms
        self.assertEqual(
            [(one.name, one.value, one.source) for one in synonyms][:2],
            [("retention.ms", "60000", TOPIC_CONFIG), ("log.retention.ms", "7200000", STATIC_BROKER_CONFIG)],
        )

    def test_documentation_comes_where_it_is_asked_for(self) -> None:
        stage = Stage(self)
        stage.create("orders")
        wanted = RequestResource(ResourceType.TOPIC, "orders", ["retention.ms"])
        (row,) = self.describe(stage, 3, wanted, include_documentation=True)
        self.assertTrue(self.by_name(row)["retention.ms"].documentation)

    def test_this_broker_and_the_cluster_wide_defaults(self) -> None:
        stage = Stage(self, {"num.partitions": "7"})
        this, default = self.describe(
            stage,
            4,
            RequestResource(ResourceType.BROKER, str(stage.node_id), ["num.partitions", "log.retention.ms"]),
            RequestResource(ResourceType.BROKER, "", None),
        )
        configs = self.by_name(this)
        self.assertEqual(
            (configs["num.partitions"].value, configs["num.partitions"].config_source), ("7", STATIC_BROKER_CONFIG)
        )
        self.assertEqual(self.by_name(default), {})

    def test_any_group_has_what_the_broker_says(self) -> None:
        stage = Stage(self, {"group.consumer.session.timeout.ms": "46000"})
        (row,) = self.describe(stage, 4, RequestResource(ResourceType.GROUP, "g", None), include_synonyms=True)
        configs = self.by_name(row)
        session, heartbeat = configs["consumer.session.timeout.ms"], configs["consumer.heartbeat.interval.ms"]
        self.assertEqual((session.value, session.config_source), ("46000", STATIC_BROKER_CONFIG))
        self.assertEqual((heartbeat.value, heartbeat.config_source), ("5000", DEFAULT_CONFIG))
        self.assertEqual(
            [(one.name, one.value) for one in session.synonyms],
            [("group.consumer.session.timeout.ms", "46000"), ("group.consumer.session.timeout.ms", "45000")],
        )

    def test_what_is_not_there_is_refused_row_by_row(self) -> None:
        stage = Stage(self)
        stage.create("orders")
        asked = [
            (ResourceType.TOPIC, "missing", ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
            (ResourceType.TOPIC, "a b", ErrorCode.INVALID_TOPIC_EXCEPTION),
            (ResourceType.BROKER, str(stage.node_id + 1), ErrorCode.INVALID_REQUEST),
            (ResourceType.BROKER, "first", ErrorCode.INVALID_REQUEST),
            (ResourceType.GROUP, "", ErrorCode.INVALID_REQUEST),
            (ResourceType.CLIENT_METRICS, "m", ErrorCode.INVALID_REQUEST),
            (ResourceType.BROKER_LOGGER, str(stage.node_id), ErrorCode.INVALID_REQUEST),
            (99, "x", ErrorCode.INVALID_REQUEST),
            (ResourceType.TOPIC, "orders", ErrorCode.NONE),
        ]
        rows = self.describe(stage, 4, *(RequestResource(kind, name, None) for kind, name, _ in asked))
        self.assertEqual([(row.resource_type, row.resource_name, row.error_code) for row in rows], asked)
        self.assertIn("CLIENT_METRICS", rows[5].error_message or "")

    def test_refusal_names_every_resource(self) -> None:
        request = Request(
            resources=[RequestResource(ResourceType.TOPIC, "a"), RequestResource(ResourceType.BROKER, "1")]
        )
        for version in describe_configs.API.versions:
            response = Stage(self).refuse(describe_configs.API, version, request, ErrorCode.UNKNOWN_SERVER_ERROR)
            self.assertEqual(
                [(row.resource_type, row.resource_name, row.error_code) for row in response.results],
                [
                    (ResourceType.TOPIC, "a", ErrorCode.UNKNOWN_SERVER_ERROR),
                    (ResourceType.BROKER, "1", ErrorCode.UNKNOWN_SERVER_ERROR),
                ],
            )
