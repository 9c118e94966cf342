"""AlterConfigs and IncrementalAlterConfigs: effects at once, Kafka's refusals, and what a restart finds."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from kgw.engine.memory import MemoryLogEngine
from kgw.errors import ErrorCode, KafkaError
from kgw.handlers import alter_configs, create_topics, describe_configs, incremental_alter_configs
from kgw.handlers.config_resource import ResourceType
from kgw.model import LogConfig
from kgw.test.stage import Stage

SET, DELETE, APPEND, SUBTRACT = range(4)
TOPIC, BROKER, GROUP = ResourceType.TOPIC, ResourceType.BROKER, ResourceType.GROUP
MINUTE_S = 60

Row = tuple[int, str, list[Any]]


class ConfigTestCase(SynchronousTestCase):
    def incremental(self, stage: Stage, *resources: Row, version: int = 1, **fields: Any) -> list[tuple[int, Any]]:
        """
        Change configs.

        @param resources: type, name, and name, operation and value of each config.
        @return: error code and message of each row.
        """
        module = incremental_alter_configs
        rows = [
            module.RequestResource(kind, name, [module.RequestConfig(*one) for one in configs])
            for kind, name, configs in resources
        ]
        response = stage.call(module.API, version, module.Request(resources=rows, **fields))
        self.assertEqual(
            [(row.resource_type, row.resource_name) for row in response.responses],
            list(dict.fromkeys((kind, name) for kind, name, _ in resources)),
        )
        return [(row.error_code, row.error_message) for row in response.responses]

    def replace(self, stage: Stage, *resources: Row, version: int = 2, **fields: Any) -> list[tuple[int, Any]]:
        """The same with AlterConfigs; a config is a name and a value."""
        module = alter_configs
        rows = [
            module.RequestResource(kind, name, [module.RequestConfig(*one) for one in configs])
            for kind, name, configs in resources
        ]
        response = stage.call(module.API, version, module.Request(resources=rows, **fields))
        return [(row.error_code, row.error_message) for row in response.responses]

    def own(self, stage: Stage, name: str = "t") -> dict[str, str]:
        """What is set on a topic."""
        topic = stage.topics.get(name)
        assert topic is not None
        return dict(topic.configs)

    def described(self, stage: Stage, kind: int, name: str) -> dict[str, tuple[str | None, int]]:
        """Value and source by name."""
        asked = describe_configs.RequestResource(kind, name, None)
        (row,) = stage.call(describe_configs.API, 4, describe_configs.Request(resources=[asked])).results
        self.assertEqual(row.error_code, 0)
        return {one.name: (one.value, one.config_source) for one in row.configs}


class TopicTests(ConfigTestCase):
    """Configs of topics."""

    def test_every_version_sets_what_logs_obey(self) -> None:
        """The log has the new configs when the answer is there."""
        for version in incremental_alter_configs.API.versions:
            stage = Stage(self)
            stage.create("t", 2)
            change = (TOPIC, "t", [("max.message.bytes", SET, "900"), ("compression.type", SET, "lz4")])
            self.assertEqual(self.incremental(stage, change, version=version), [(0, None)])
            for index in range(2):
                config = stage.engine.partition("t", index).config
                self.assertEqual((config.max_message_bytes, config.compression_type), (900, "lz4"))
            self.assertEqual(self.own(stage), {"max.message.bytes": "900", "compression.type": "lz4"})
            self.assertEqual(self.described(stage, TOPIC, "t")["max.message.bytes"], ("900", 1))
        for version in alter_configs.API.versions:
            stage = Stage(self)
            stage.create("t", configs={"retention.ms": "5"})
            self.assertEqual(
                self.replace(stage, (TOPIC, "t", [("max.message.bytes", "800")]), version=version), [(0, None)]
            )
            self.assertEqual(self.own(stage), {"max.message.bytes": "800"})
            config = stage.engine.partition("t", 0).config
            self.assertEqual((config.max_message_bytes, config.retention_ms), (800, 604_800_000))

    def test_retention_takes_records(self) -> None:
        """A shorter retention removes old records soon, without a restart."""
        stage = Stage(self)
        stage.create("t")
        for _ in range(3):
            stage.append("t")
            stage.clock.advance(10 * MINUTE_S)
        log = stage.engine.partition("t", 0)
        self.assertEqual(self.successResultOf(log.bounds()).log_start_offset, 0)
        self.incremental(stage, (TOPIC, "t", [("retention.ms", SET, "60000")]))
        stage.clock.advance(6 * MINUTE_S)
        self.assertEqual(self.successResultOf(log.bounds()).log_start_offset, 3)

    def test_a_restart_finds_them(self) -> None:
        stage = Stage(self)
        stage.create("t", configs={"segment.ms": "7"})
        self.incremental(stage, (TOPIC, "t", [("retention.ms", SET, "60000"), ("segment.ms", DELETE, None)]))
        again = Stage(self, store=stage.store)
        self.assertEqual(self.own(again), {"retention.ms": "60000"})
        self.assertEqual(again.engine.partition("t", 0).config.retention_ms, 60_000)

    def test_lists(self) -> None:
        stage = Stage(self)
        stage.create("t")
        self.incremental(stage, (TOPIC, "t", [("cleanup.policy", APPEND, "compact")]))
        self.assertEqual(stage.engine.partition("t", 0).config.cleanup_policy, ("delete", "compact"))
        self.incremental(stage, (TOPIC, "t", [("cleanup.policy", SUBTRACT, "delete")]))
        self.assertEqual(stage.engine.partition("t", 0).config.cleanup_policy, ("compact",))

    def test_all_changes_of_a_resource_or_none(self) -> None:
        stage = Stage(self)
        stage.create("t")
        stage.create("u")
        bad = (TOPIC, "t", [("retention.ms", SET, "1"), ("segment.ms", SET, "soon")])
        good = (TOPIC, "u", [("retention.ms", SET, "2")])
        self.assertEqual(
            self.incremental(stage, bad, good),
            [
                (
                    ErrorCode.INVALID_CONFIG,
                    "Invalid value soon for configuration segment.ms: Not a number of type LONG",
                ),
                (0, None),
            ],
        )
        self.assertEqual((self.own(stage, "t"), self.own(stage, "u")), ({}, {"retention.ms": "2"}))

    def test_validate_only(self) -> None:
        stage = Stage(self)
        stage.create("t")
        row = (TOPIC, "t", [("retention.ms", SET, "1")])
        self.assertEqual(self.incremental(stage, row, validate_only=True), [(0, None)])
        self.assertEqual(self.replace(stage, (TOPIC, "t", [("retention.ms", "1")]), validate_only=True), [(0, None)])
        self.assertEqual(self.own(stage), {})
        bad = (TOPIC, "t", [("retention.ms", SET, "-2")])
        self.assertEqual(self.incremental(stage, bad, validate_only=True)[0][0], ErrorCode.INVALID_CONFIG)

    def test_refusals(self) -> None:
        """Row by row, with Kafka's codes and words."""
        stage = Stage(self)
        stage.create("t")
        one = [("retention.ms", SET, "1")]
        cases: list[tuple[Row, ErrorCode, str]] = [
            ((TOPIC, "missing", one), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, "The topic 'missing' does not exist."),
            ((TOPIC, "", one), ErrorCode.INVALID_REQUEST, "Default topic resources are not allowed."),
            ((TOPIC, "t", [("no.such", SET, "1")]), ErrorCode.INVALID_CONFIG, "Unknown topic config name: no.such"),
            ((TOPIC, "t", one + one), ErrorCode.INVALID_REQUEST, "Error due to duplicate config keys"),
            (
                (TOPIC, "t", [("retention.ms", SET, None), ("segment.ms", APPEND, None)]),
                ErrorCode.INVALID_REQUEST,
                "Null value not supported for : retention.ms, segment.ms",
            ),
            ((TOPIC, "t", [("x", 9, "1")]), ErrorCode.INVALID_REQUEST, "Unknown operation 9 on config x"),
        ]
        for row, code, message in cases:
            self.assertEqual(self.incremental(stage, row), [(code, message)])
        self.assertEqual(self.incremental(stage, (TOPIC, "a b", one))[0][0], ErrorCode.INVALID_TOPIC_EXCEPTION)
        self.assertEqual(
            self.incremental(stage, (TOPIC, "t", one), (TOPIC, "t", one)),
            [(ErrorCode.INVALID_REQUEST, "Each resource must appear at most once.")],
        )
        self.assertEqual(
            self.replace(stage, (TOPIC, "t", [("retention.ms", None)])),
            [(ErrorCode.INVALID_REQUEST, "Null value not supported for : retention.ms")],
        )
        self.assertEqual(self.own(stage), {})
        for kind in (ResourceType.UNKNOWN, ResourceType.BROKER_LOGGER, ResourceType.CLIENT_METRICS, 99):
            ((answer, text),) = self.incremental(stage, (kind, "x", [("a", SET, "b")]))
            self.assertEqual(answer, ErrorCode.INVALID_REQUEST)
            self.assertIn("TOPIC, BROKER and GROUP", text)

    def test_an_answer_that_repeats_long_texts(self) -> None:
        """It is cut to what an answer can hold, and the other rows are there."""
        stage = Stage(self)
        stage.create("t")
        long = "€" * 10_900
        bad, good = (TOPIC, "t", [("retention.ms", SET, long)]), (TOPIC, long, [("retention.ms", SET, "1")])
        for version in (0, 1):
            codes = [code for code, _ in self.incremental(stage, bad, good, version=version)]
            self.assertEqual(codes, [ErrorCode.INVALID_CONFIG, ErrorCode.INVALID_TOPIC_EXCEPTION])

    def test_a_list_longer_than_any_answer(self) -> None:
        """Items are added up to what can be described again, for all versions."""
        stage = Stage(self)
        stage.create("t")
        name = "leader.replication.throttled.replicas"
        first, second = ((TOPIC, "t", [(name, APPEND, f"{number}:{'1' * 20_000}")]) for number in (1, 2))
        self.assertEqual(self.incremental(stage, first), [(0, None)])
        ((code, _),) = self.incremental(stage, second)
        self.assertEqual(code, ErrorCode.INVALID_CONFIG)
        self.assertEqual(len(self.own(stage)[name]), 20_002)

    def test_many_resources(self) -> None:
        """Others get their turn while a request that names very many is worked on."""
        stage = Stage(self)
        rows = [incremental_alter_configs.RequestResource(TOPIC, f"t{number}") for number in range(200)]
        altering = stage.begin(incremental_alter_configs.API, 1, incremental_alter_configs.Request(rows))
        self.assertNoResult(altering)
        stage.clock.pump([0] * 10)
        self.assertEqual(len(self.successResultOf(altering).responses), 200)

    def test_an_engine_that_cannot(self) -> None:
        """It is asked before a topic is created or altered, and before all topics inherit it."""

        class Uncompacted(MemoryLogEngine):
            def check_config(self, config: LogConfig) -> None:
                if "compact" in config.cleanup_policy:
                    raise KafkaError(ErrorCode.INVALID_CONFIG, "no compaction here")

        fresh = Stage(self)
        stage = Stage(self, engine=Uncompacted(fresh.clock, 86_400_000, 300.0))
        stage.create("t")
        refusal = (ErrorCode.INVALID_CONFIG, "no compaction here")
        rows = [
            (TOPIC, "t", [("cleanup.policy", APPEND, "compact")]),
            (BROKER, "", [("log.cleanup.policy", SET, "compact")]),
        ]
        self.assertEqual(self.incremental(stage, *rows), [refusal, refusal])
        asked = create_topics.RequestTopic("u", 1, 1, [], [create_topics.RequestConfig("cleanup.policy", "compact")])
        (row,) = stage.call(create_topics.API, 7, create_topics.Request(topics=[asked])).topics
        self.assertEqual((row.error_code, row.error_message), refusal)
        self.assertIsNone(stage.topics.get("u"))


class BrokerTests(ConfigTestCase):
    """Properties of this broker and of all brokers."""

    def test_topics_inherit_them(self) -> None:
        """Those that set no value of their own, at once and after a restart; new ones too."""
        stage = Stage(self, {"log.retention.ms": "5000"})
        stage.create("t")
        stage.create("own", configs={"retention.ms": "9"})
        rows = [(BROKER, "", [("log.retention.ms", SET, "700")]), (BROKER, "1", [("message.max.bytes", SET, "900")])]
        self.assertEqual(self.incremental(stage, *rows), [(0, None), (0, None)])
        stage.create("new")
        for each in (stage, Stage(self, {"log.retention.ms": "5000"}, store=stage.store)):
            retained = [each.engine.partition(name, 0).config.retention_ms for name in ("t", "own", "new")]
            self.assertEqual(retained, [700, 9, 700])
            self.assertEqual(each.engine.partition("t", 0).config.max_message_bytes, 900)
            self.assertEqual(self.described(each, BROKER, "1")["log.retention.ms"], ("700", 3))
            self.assertEqual(self.described(each, BROKER, "1")["message.max.bytes"], ("900", 2))
            self.assertEqual(self.described(each, TOPIC, "t")["retention.ms"], ("700", 3))
            self.assertEqual(self.described(each, BROKER, ""), {"log.retention.ms": ("700", 3)})
        self.assertEqual(self.replace(stage, (BROKER, "", [])), [(0, None)])
        self.assertEqual(stage.engine.partition("t", 0).config.retention_ms, 5000)
        self.assertEqual(self.described(stage, BROKER, "1")["log.retention.ms"], ("5000", 4))

    def test_refusals(self) -> None:
        stage = Stage(self)
        cases: list[tuple[str, str, str, ErrorCode, str]] = [
            (
                "2",
                "max.connections",
                "1",
                ErrorCode.INVALID_REQUEST,
                "Unexpected broker id, expected 1, but received 2",
            ),
            ("x", "max.connections", "1", ErrorCode.INVALID_REQUEST, "Node id must be an integer, but it is: x"),
            (
                "1",
                "num.partitions",
                "3",
                ErrorCode.INVALID_REQUEST,
                "Cannot update these configs dynamically: Set(num.partitions)",
            ),
            ("", "no.such", "3", ErrorCode.INVALID_REQUEST, "Unknown broker config name: no.such"),
        ]
        for name, config, value, code, message in cases:
            self.assertEqual(self.incremental(stage, (BROKER, name, [(config, SET, value)])), [(code, message)])
            self.assertEqual(self.replace(stage, (BROKER, name, [(config, value)])), [(code, message)])

    def test_a_secret_is_not_repeated(self) -> None:
        """Not in the refusal of one that would be set."""
        answer = self.incremental(Stage(self), (BROKER, "1", [("ssl.key.password", SET, "hunter2")]))
        self.assertEqual(answer[0][0], ErrorCode.INVALID_REQUEST)
        self.assertNotIn("hunter2", repr(answer))


class GroupTests(ConfigTestCase):
    """Configs of groups."""

    def test_set_described_kept_and_reset(self) -> None:
        stage = Stage(self)
        name = "consumer.session.timeout.ms"
        self.assertEqual(self.incremental(stage, (GROUP, "g", [(name, SET, "50000")])), [(0, None)])
        for each in (stage, Stage(self, store=stage.store)):
            self.assertEqual(self.described(each, GROUP, "g")[name], ("50000", 8))
            self.assertEqual(self.described(each, GROUP, "h")[name], ("45000", 5))
        self.assertEqual(self.incremental(stage, (GROUP, "g", [(name, DELETE, None)])), [(0, None)])
        self.assertEqual(self.described(stage, GROUP, "g")[name], ("45000", 5))

    def test_refusals(self) -> None:
        stage = Stage(self)
        self.assertEqual(
            self.incremental(stage, (GROUP, "", []), (GROUP, "g", [("no.such", SET, "1")])),
            [
                (ErrorCode.INVALID_REQUEST, "Default group resources are not allowed."),
                (ErrorCode.INVALID_CONFIG, "Unknown group config name: no.such"),
            ],
        )


class RefusalTests(SynchronousTestCase):
    """C{refuse}."""

    def test_every_resource_is_named(self) -> None:
        for module in (alter_configs, incremental_alter_configs):
            resources = [module.RequestResource(TOPIC, "a"), module.RequestResource(BROKER, "1")]
            for version in module.API.versions:
                request = module.Request(resources=resources)
                response = Stage(self).refuse(module.API, version, request, ErrorCode.UNKNOWN_SERVER_ERROR)
                self.assertEqual(
                    [(row.resource_type, row.resource_name, row.error_code) for row in response.responses],
                    [(TOPIC, "a", ErrorCode.UNKNOWN_SERVER_ERROR), (BROKER, "1", ErrorCode.UNKNOWN_SERVER_ERROR)],
                )
