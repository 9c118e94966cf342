"""Configs altered while kgw runs: lists, checks, and what DescribeConfigs then says."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kgw.config import Config, ConfigEntry, ConfigSource
from kgw.config.alteration import altered
from kgw.config.config import alterable
from kgw.config.kafka import TOPIC
from kgw.errors import ErrorCode, KafkaError
from kgw.model import ConfigChange, ConfigOperation

SET, DELETE, APPEND, SUBTRACT = ConfigOperation
NODE, CLUSTER = ConfigSource.DYNAMIC_BROKER_CONFIG, ConfigSource.DYNAMIC_DEFAULT_BROKER_CONFIG
STATIC, DEFAULT = ConfigSource.STATIC_BROKER_CONFIG, ConfigSource.DEFAULT_CONFIG

#: A list with an empty default, and what may stand in it.
REPLICAS = "leader.replication.throttled.replicas"
ITEMS = st.lists(st.sampled_from(["0:1", "1:1", "2:1", "3:1"]), max_size=6)


def naive(old: list[str], operation: ConfigOperation, given: list[str]) -> list[str]:
    """What Kafka's controller does, one item after the other."""
    items = list(old)
    for item in given:
        if operation is APPEND:
            if item not in items:
                items.append(item)
        elif item in items:
            items.remove(item)
    return items


class ChangesTests(SynchronousTestCase):
    """C{altered}."""

    def test_set_and_delete(self) -> None:
        """A set config has its value, a deleted one none; others stay."""
        before = {"retention.ms": "1", "segment.ms": "2", "flush.ms": "3"}
        changes = [
            ConfigChange("retention.ms", SET, "9"),
            ConfigChange("segment.ms", DELETE, ""),
            ConfigChange("max.message.bytes", DELETE, ""),
        ]
        self.assertEqual(altered(before, changes, TOPIC), {"retention.ms": "9", "flush.ms": "3"})
        self.assertEqual(before["retention.ms"], "1")

    @settings(deadline=None, max_examples=200)
    @given(ITEMS, st.lists(st.tuples(st.sampled_from([APPEND, SUBTRACT]), ITEMS), max_size=6))
    def test_lists_as_kafka_does(self, old: list[str], steps: list[tuple[ConfigOperation, list[str]]]) -> None:
        """Items come once and go once, in their order, however they are written."""
        configs, want = {REPLICAS: ",".join(old)}, old
        for operation, items in steps:
            configs = altered(configs, [ConfigChange(REPLICAS, operation, " , ".join(items))], TOPIC)
            want = naive(want, operation, items)
            self.assertEqual(configs, {REPLICAS: ",".join(want)})

    @settings(deadline=None, max_examples=50)
    @given(ITEMS)
    def test_append_and_subtract_undo_each_other(self, items: list[str]) -> None:
        """What was added to a list of others can be taken away again."""
        before = {REPLICAS: "7:1,8:1"}
        once = ",".join(dict.fromkeys(items))
        longer = altered(before, [ConfigChange(REPLICAS, APPEND, once)], TOPIC)
        self.assertEqual(altered(longer, [ConfigChange(REPLICAS, SUBTRACT, once)], TOPIC), before)

    def test_lists_that_are_not_set_begin_with_their_default(self) -> None:
        """As in Kafka: cleanup.policy is delete where nothing else is set."""
        appended = altered({}, [ConfigChange("cleanup.policy", APPEND, "compact")], TOPIC)
        self.assertEqual(appended, {"cleanup.policy": "delete,compact"})
        self.assertEqual(
            altered(appended, [ConfigChange("cleanup.policy", SUBTRACT, "delete")], TOPIC),
            {"cleanup.policy": "compact"},
        )

    def test_what_is_no_list(self) -> None:
        """Kafka's words."""
        for operation, name in ((APPEND, "retention.ms"), (SUBTRACT, "no.such.config")):
            error = self.assertRaises(KafkaError, altered, {}, [ConfigChange(name, operation, "1")], TOPIC)
            self.assertEqual(
                (error.code, error.message),
                (ErrorCode.INVALID_CONFIG, f"Can't {operation.name} to key {name} because its type is not LIST."),
            )

    def test_long_lists_are_no_burden(self) -> None:
        """A megabyte of items is taken away at once; nothing is added beyond what an answer could tell."""
        items = ",".join(f"{number}:1" for number in range(100_000))
        self.assertEqual(altered({REPLICAS: items}, [ConfigChange(REPLICAS, SUBTRACT, items)], TOPIC), {REPLICAS: ""})
        error = self.assertRaises(KafkaError, altered, {}, [ConfigChange(REPLICAS, APPEND, items)], TOPIC)
        self.assertEqual(error.code, ErrorCode.INVALID_CONFIG)
        fitting = items[:32_767].rpartition(",")[0]
        self.assertEqual(altered({}, [ConfigChange(REPLICAS, APPEND, fitting)], TOPIC), {REPLICAS: fitting})


class BrokerTests(SynchronousTestCase):
    """C{Config.with_dynamic}."""

    def refused(self, **properties: str) -> tuple[ErrorCode, str]:
        texts = {name.replace("_", "."): text for name, text in properties.items()}
        error = self.assertRaises(KafkaError, Config().with_dynamic, texts, {})
        return error.code, error.message

    def test_nobody_is_locked_out(self) -> None:
        """No limit is set that nobody could connect any more to lift, for it outlives a restart."""
        for name in ("max.connections", "max.connections.per.ip"):
            self.assertEqual(
                self.refused(**{name.replace(".", "_"): "0"}),
                (
                    ErrorCode.INVALID_REQUEST,
                    f"Invalid value 0 for configuration {name}: nobody could connect any more to alter it again",
                ),
            )
            self.assertEqual(getattr(Config().with_dynamic({name: "1"}, {}), name.replace(".", "_")), 1)

    def described(self, config: Config, topic: bool = False) -> dict[str, ConfigEntry]:
        entries = config.describe_topic({}) if topic else config.describe_broker()
        return {entry.name: entry for entry in entries}

    def test_only_what_takes_effect(self) -> None:
        """Topic defaults and limits of connections may be altered; what is read at the start only may not."""
        for name in ("log.retention.ms", "message.max.bytes", "log.segment.bytes", "max.connections.per.ip"):
            self.assertIn(name, alterable())
        for name in ("num.partitions", "listeners", "num.io.threads", "log.retention.hours", "kgw.engine"):
            self.assertNotIn(name, alterable())
        for name, entry in self.described(Config()).items():
            self.assertEqual(entry.read_only, name not in alterable(), name)

    def test_attributes_and_logs_obey(self) -> None:
        """The new value is there wherever the old one was; the first configuration is as it was."""
        before = Config({"log.retention.hours": "1"})
        after = before.with_dynamic({"max.connections": "7"}, {"log.retention.ms": "5", "message.max.bytes": "900"})
        self.assertEqual((after.max_connections, after.log_retention_ms, after.message_max_bytes), (7, 5, 900))
        self.assertEqual((after.log_config({}).retention_ms, after.log_config({}).max_message_bytes), (5, 900))
        self.assertEqual(after.log_config({"retention.ms": "6"}).retention_ms, 6)
        self.assertEqual(before.log_config({}).retention_ms, 3_600_000)
        self.assertEqual(after.with_dynamic({}, {}).log_config({}), before.log_config({}))
        self.assertEqual(after.with_dynamic({}, {}).max_connections, before.max_connections)

    def test_this_broker_goes_first(self) -> None:
        """This broker, all brokers, what was read at the start, the default: in that order, each with its source."""
        config = Config({"message.max.bytes": "300"})
        both = config.with_dynamic({"message.max.bytes": "100"}, {"message.max.bytes": "200"})
        synonyms = [
            ("message.max.bytes", "100", NODE),
            ("message.max.bytes", "200", CLUSTER),
            ("message.max.bytes", "300", STATIC),
            ("message.max.bytes", "1048588", DEFAULT),
        ]
        for name, topic in (("message.max.bytes", False), ("max.message.bytes", True)):
            entry = self.described(both, topic)[name]
            self.assertEqual((entry.value, entry.source, entry.synonyms), ("100", NODE, tuple(synonyms)))
            entry = self.described(both.with_dynamic({}, {"message.max.bytes": "200"}), topic)[name]
            self.assertEqual((entry.value, entry.source, entry.synonyms), ("200", CLUSTER, tuple(synonyms[1:])))
        (entry,) = both.describe_cluster()
        self.assertEqual(
            (entry.name, entry.value, entry.source, entry.synonyms, entry.read_only),
            ("message.max.bytes", "200", CLUSTER, (("message.max.bytes", "200", CLUSTER),), False),
        )

    def test_another_unit(self) -> None:
        """An altered log.retention.ms goes before log.retention.hours from the start."""
        config = Config({"log.retention.hours": "1"}).with_dynamic({}, {"log.retention.ms": "5"})
        entry = self.described(config, topic=True)["retention.ms"]
        self.assertEqual((entry.value, entry.source), ("5", CLUSTER))
        self.assertEqual(
            [(one.name, one.value) for one in entry.synonyms],
            [("log.retention.ms", "5"), ("log.retention.hours", "1"), ("log.retention.hours", "168")],
        )

    def test_refusals(self) -> None:
        """With Kafka's code and words."""
        self.assertEqual(
            self.refused(num_partitions="3", listeners="x"),
            (ErrorCode.INVALID_REQUEST, "Cannot update these configs dynamically: Set(listeners, num.partitions)"),
        )
        self.assertEqual(self.refused(no_such="3"), (ErrorCode.INVALID_REQUEST, "Unknown broker config name: no.such"))
        self.assertEqual(
            self.refused(message_max_bytes="many"),
            (
                ErrorCode.INVALID_REQUEST,
                "Invalid value many for configuration message.max.bytes: Not a number of type INT",
            ),
        )
        code, message = self.refused(log_retention_ms="0")
        self.assertEqual(code, ErrorCode.INVALID_REQUEST)
        self.assertTrue(message.startswith("Invalid value 0 for configuration log.retention.ms: "), message)
        code, message = self.refused(ssl_key_password="hunter2")
        self.assertNotIn("hunter2", message)


class GroupTests(SynchronousTestCase):
    """C{Config.altered_group} and C{Config.describe_group}."""

    def refused(self, name: str, value: str) -> str:
        error = self.assertRaises(KafkaError, Config().altered_group, {}, [ConfigChange(name, SET, value)])
        self.assertEqual(error.code, ErrorCode.INVALID_CONFIG)
        return str(error.message)

    def test_own_configs_are_described(self) -> None:
        """The group's own goes before the broker's."""
        own = Config().altered_group({}, [ConfigChange("consumer.session.timeout.ms", SET, "50000")])
        entries = {entry.name: entry for entry in Config().describe_group(own)}
        entry = entries["consumer.session.timeout.ms"]
        self.assertEqual((entry.value, entry.source), ("50000", ConfigSource.GROUP_CONFIG))
        self.assertEqual(
            entry.synonyms,
            (
                ("consumer.session.timeout.ms", "50000", ConfigSource.GROUP_CONFIG),
                ("group.consumer.session.timeout.ms", "45000", DEFAULT),
            ),
        )
        self.assertEqual(entries["consumer.heartbeat.interval.ms"].source, DEFAULT)

    def test_bounds(self) -> None:
        """Those of the broker, and of the two against each other."""
        self.assertEqual(
            self.refused("consumer.session.timeout.ms", "44999"),
            "consumer.session.timeout.ms must be greater than or equal to group.consumer.min.session.timeout.ms",
        )
        self.assertEqual(
            self.refused("consumer.heartbeat.interval.ms", "15001"),
            "consumer.heartbeat.interval.ms must be less than or equal to group.consumer.max.heartbeat.interval.ms",
        )
        close = Config({"group.consumer.min.session.timeout.ms": "1"})
        error = self.assertRaises(
            KafkaError, close.altered_group, {}, [ConfigChange("consumer.session.timeout.ms", SET, "5000")]
        )
        self.assertEqual(
            error.message, "consumer.session.timeout.ms must be greater than consumer.heartbeat.interval.ms"
        )

    def test_unknown(self) -> None:
        """Names that are none, values that are none, and what belongs to share groups."""
        self.assertEqual(self.refused("no.such", "1"), "Unknown group config name: no.such")
        self.assertEqual(
            self.refused("consumer.session.timeout.ms", "x"),
            "Invalid value x for configuration consumer.session.timeout.ms: Not a number of type INT",
        )
        self.assertIn("no share groups", self.refused("share.session.timeout.ms", "50000"))
