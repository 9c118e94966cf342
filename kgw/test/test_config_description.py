"""What DescribeConfigs is told: values, sources and synonyms as Kafka 4.3 answers."""

from __future__ import annotations

from collections.abc import Mapping

from twisted.trial.unittest import SynchronousTestCase

from kgw.config import Config, ConfigEntry, ConfigSource, ConfigType
from kgw.config.kafka import BROKER, TOPIC

TOPIC_CONFIG = ConfigSource.DYNAMIC_TOPIC_CONFIG
STATIC = ConfigSource.STATIC_BROKER_CONFIG
DEFAULT = ConfigSource.DEFAULT_CONFIG


class TopicTests(SynchronousTestCase):
    """C{Config.describe_topic}."""

    def described(self, properties: Mapping[str, str], own: Mapping[str, str]) -> dict[str, ConfigEntry]:
        return {entry.name: entry for entry in Config(properties).describe_topic(own)}

    def test_all(self) -> None:
        """Every topic config is there, once, none read-only or sensitive."""
        entries = Config().describe_topic({})
        self.assertEqual([entry.name for entry in entries], list(TOPIC))
        self.assertEqual({(entry.read_only, entry.sensitive) for entry in entries}, {(False, False)})

    def test_default(self) -> None:
        """A default has the broker property behind it as its synonym."""
        entry = self.described({}, {})["max.message.bytes"]
        self.assertEqual((entry.value, entry.source, entry.type), ("1048588", DEFAULT, ConfigType.INT))
        self.assertEqual(entry.synonyms, (("message.max.bytes", "1048588", DEFAULT),))
        self.assertEqual(entry.documentation, "The largest record batch, as it is stored.")

    def test_order_of_synonyms(self) -> None:
        """The topic's own, then the broker's that was set, then the default."""
        entry = self.described({"message.max.bytes": "2000"}, {"max.message.bytes": " 1000 "})["max.message.bytes"]
        self.assertEqual((entry.value, entry.source), ("1000", TOPIC_CONFIG))
        self.assertEqual(
            entry.synonyms,
            (
                ("max.message.bytes", "1000", TOPIC_CONFIG),
                ("message.max.bytes", "2000", STATIC),
                ("message.max.bytes", "1048588", DEFAULT),
            ),
        )
        entry = self.described({"message.max.bytes": "2000"}, {})["max.message.bytes"]
        self.assertEqual((entry.value, entry.source), ("2000", STATIC))

    def test_several_units(self) -> None:
        """Synonyms begin with the broker property of the config's own unit; without it Kafka shows none."""
        entry = self.described({}, {})["retention.ms"]
        self.assertEqual((entry.value, entry.source, entry.synonyms), ("604800000", DEFAULT, ()))
        entry = self.described({"log.retention.hours": "1"}, {})["retention.ms"]
        self.assertEqual((entry.value, entry.source, entry.synonyms), ("3600000", DEFAULT, ()))
        entry = self.described({"log.retention.hours": "1", "log.retention.ms": "9"}, {})["retention.ms"]
        self.assertEqual((entry.value, entry.source), ("9", STATIC))
        self.assertEqual(
            entry.synonyms,
            (
                ("log.retention.ms", "9", STATIC),
                ("log.retention.hours", "1", STATIC),
                ("log.retention.hours", "168", DEFAULT),
            ),
        )

    def test_no_broker_property(self) -> None:
        """Some configs have none behind them."""
        entry = self.described({}, {"remote.log.copy.disable": "TRUE"})["remote.log.copy.disable"]
        self.assertEqual((entry.value, entry.source), ("true", TOPIC_CONFIG))
        self.assertEqual(self.described({}, {})["remote.log.copy.disable"].synonyms, ())


class BrokerTests(SynchronousTestCase):
    """C{Config.describe_broker}."""

    def described(self, properties: Mapping[str, str]) -> dict[str, ConfigEntry]:
        return {entry.name: entry for entry in Config(properties).describe_broker()}

    def test_all(self) -> None:
        """Every broker property of Kafka's is there, and kgw's own."""
        entries = self.described({})
        self.assertEqual(BROKER.keys() - entries.keys(), set())
        self.assertEqual(entries["kgw.engine"].value, "local")
        self.assertNotIn("log.message.format.version", entries)

    def test_source(self) -> None:
        """What was set says so, in front of its default."""
        entry = self.described({"num.partitions": "7"})["num.partitions"]
        self.assertEqual((entry.value, entry.source, entry.read_only), ("7", STATIC, True))
        self.assertEqual(entry.synonyms, (("num.partitions", "7", STATIC), ("num.partitions", "1", DEFAULT)))
        entry = self.described({})["message.max.bytes"]
        self.assertEqual((entry.value, entry.source, entry.read_only), ("1048588", DEFAULT, False))

    def test_null(self) -> None:
        """A property without a default has no value and no synonym."""
        entry = self.described({})["log.retention.ms"]
        self.assertEqual((entry.value, entry.source, entry.synonyms), (None, DEFAULT, ()))

    def test_aliases(self) -> None:
        """node.id and broker.id agree, whichever was set."""
        entries = self.described({"broker.id": "5"})
        self.assertEqual((entries["node.id"].value, entries["broker.id"].value), ("5", "5"))

    def test_sensitive(self) -> None:
        """A secret's value is null wherever it would stand."""
        entry = self.described({"ssl.key.password": "hunter2"})["ssl.key.password"]
        self.assertEqual((entry.value, entry.sensitive, entry.type), (None, True, ConfigType.PASSWORD))
        self.assertEqual(entry.synonyms, (("ssl.key.password", None, STATIC),))

    def test_unknown_type(self) -> None:
        """A property of another release is shown without its value, as Kafka cannot tell whether it is a secret."""
        entry = self.described({"zookeeper.connect": "zk:2181"})["zookeeper.connect"]
        self.assertEqual((entry.value, entry.sensitive, entry.type), (None, True, ConfigType.UNKNOWN))
        self.assertEqual(entry.source, STATIC)
