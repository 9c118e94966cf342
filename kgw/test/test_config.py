"""Config: values, bounds, what depends on what, and errors that help."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any, get_args, get_origin, get_type_hints

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kgw.config import Config, ConfigError
from kgw.config import config as declared
from kgw.config.definition import InvalidValue, text_of
from kgw.config.kafka import BROKER, TOPIC
from kgw.model import LogConfig


class DefaultTests(SynchronousTestCase):
    """A Config of nothing."""

    def test_kafkas_defaults(self) -> None:
        """Where nobody says otherwise, Kafka's defaults hold."""
        config = Config()
        self.assertEqual(config.num_partitions, 1)
        self.assertEqual(config.message_max_bytes, 1_048_588)
        self.assertEqual(config.socket_request_max_bytes, 104_857_600)
        self.assertEqual(config.connections_max_idle_ms, 600_000)
        self.assertEqual(config.producer_id_expiration_ms, 86_400_000)
        self.assertIs(config.auto_create_topics_enable, True)
        self.assertIsNone(config.broker_rack)
        self.assertEqual(config.log_config({}), LogConfig())

    def test_our_own_defaults(self) -> None:
        """kgw differs from Kafka in its directory, its node id and a bound on memory."""
        config = Config()
        self.assertEqual(config.data_directory, "./kgw-data")
        self.assertEqual((config.node_id, config.broker_id), (1, 1))
        self.assertEqual(config.queued_max_request_bytes, 256 << 20)
        self.assertEqual(config.kgw_engine, "local")
        self.assertEqual(config.unused, ())

    def test_attributes_are_of_their_types(self) -> None:
        """What an attribute holds is what it is declared to hold, by its default as by its type."""
        config = Config()
        for attribute, hint in get_type_hints(Config).items():
            if attribute not in declared.settings():
                continue
            (inner,) = get_args(hint)
            allowed = get_args(inner) if isinstance(inner, types.UnionType) else (inner,)
            kinds = tuple(get_origin(kind) or kind for kind in allowed)
            value = getattr(config, attribute)
            self.assertIsInstance(value, kinds, attribute)
            self.assertTrue(bool in kinds or not isinstance(value, bool), attribute)

    def test_cannot_be_changed(self) -> None:
        """A configuration stays what it was at the start."""
        config = Config()
        with self.assertRaises(AttributeError):
            config.num_partitions = 3
        self.assertEqual(config.num_partitions, 1)


class ValueTests(SynchronousTestCase):
    """What is set, and what may be."""

    def refusal(self, properties: Mapping[str, str], origins: Mapping[str, str] | None = None) -> str:
        return str(self.assertRaises(ConfigError, Config, properties, origins))

    def test_set(self) -> None:
        """Texts become values of their type, blanks around them do not count."""
        config = Config({"num.partitions": " 12 ", "auto.create.topics.enable": "FALSE", "broker.rack": "b1"})
        self.assertEqual(config.num_partitions, 12)
        self.assertIs(config.auto_create_topics_enable, False)
        self.assertEqual(config.broker_rack, "b1")

    def test_unknown(self) -> None:
        """A name nobody knows is an error that says where it stands and which name is near."""
        self.assertEqual(
            self.refusal({"num.partition": "3"}, {"num.partition": "server.properties:7"}),
            "num.partition (server.properties:7) is no property of kgw or Kafka; did you mean num.partitions?",
        )
        self.assertIn("did you mean kgw.tail.bytes?", self.refusal({"kgw.tial.bytes": "3"}))
        self.assertEqual(self.refusal({"xyzzy": "1"}), "xyzzy is no property of kgw or Kafka")

    def test_bad_values(self) -> None:
        """An error names the property, its value, where it stands and what is allowed."""
        self.assertEqual(
            self.refusal({"num.partitions": "many"}, {"num.partitions": "--set"}),
            "num.partitions=many (--set): Not a number of type INT; allowed: a whole number from 1",
        )
        self.assertIn("Value must be at least 1;", self.refusal({"num.partitions": "0"}))
        self.assertIn("Not a number of type INT", self.refusal({"num.partitions": "2147483648"}))
        self.assertIn("allowed: one of: local, memory, seaweedmq", self.refusal({"kgw.engine": "steam"}))
        self.assertIn("allowed: true or false", self.refusal({"delete.topic.enable": "yes"}))
        self.assertIn("a whole number from 1 to 9, or -1", self.refusal({"compression.gzip.level": "0"}))
        self.assertIn("num.io.threads=x", self.refusal({"num.io.threads": "x"}))

    def test_secrets_are_not_shown(self) -> None:
        """A password never stands in an error or a repr."""
        config = Config({"ssl.key.password": "hunter2"})
        self.assertNotIn("hunter2", repr(config))
        self.assertNotIn("hunter2", repr(config.describe_broker()))

    def test_unused(self) -> None:
        """Kafka's properties that mean nothing here are accepted and can be told."""
        names = ["controller.quorum.voters", "num.io.threads", "process.roles", "zookeeper.connect"]
        values = ["1@localhost:9093", "8", "broker,controller", "localhost:2181"]
        config = Config({**dict(zip(names, values, strict=True)), "num.partitions": "2"})
        self.assertEqual(config.unused, tuple(names))

    def test_node_id(self) -> None:
        """broker.id is another name of node.id."""
        self.assertEqual(Config({"broker.id": "7"}).node_id, 7)
        self.assertEqual(Config({"node.id": "7"}).broker_id, 7)
        self.assertEqual(Config({"node.id": "7", "broker.id": "7"}).node_id, 7)
        self.assertIn("differ", self.refusal({"node.id": "7", "broker.id": "8"}))

    def test_data_directory(self) -> None:
        """log.dirs goes over log.dir; there is one directory."""
        self.assertEqual(Config({"log.dir": "/a"}).data_directory, "/a")
        self.assertEqual(Config({"log.dir": "/a", "log.dirs": "/b"}).data_directory, "/b")
        self.assertIn("one data directory", self.refusal({"log.dirs": "/a,/b"}))

    def test_largest_request_fits(self) -> None:
        """Bounds on memory admit one request of the largest size, or it could never be read."""
        config = Config({"socket.request.max.bytes": str(1 << 30)})
        self.assertEqual(config.queued_max_request_bytes, 1 << 30)
        self.assertEqual(config.kgw_connection_max_in_flight_bytes, 1 << 30)
        for name in ("queued.max.request.bytes", "kgw.connection.max.in.flight.bytes"):
            self.assertIn("is less than socket.request.max.bytes", self.refusal({name: "1000"}))
        self.assertEqual(Config({"queued.max.request.bytes": "-1"}).queued_max_request_bytes, -1)

    def test_cluster_id(self) -> None:
        """One given for a fresh directory has the form of Kafka's."""
        self.assertEqual(Config({"kgw.cluster.id": "4L6g3nShT-eMCtK--X86sw"}).kgw_cluster_id, "4L6g3nShT-eMCtK--X86sw")
        self.assertIn("base64", self.refusal({"kgw.cluster.id": "my cluster"}))


class LogTimeTests(SynchronousTestCase):
    """One setting in several units."""

    def resolved(self, **properties: str) -> LogConfig:
        return Config({name.replace("_", "."): text for name, text in properties.items()}).log_config({})

    def test_retention(self) -> None:
        """Milliseconds go over minutes, minutes over hours; a negative time is no limit."""
        self.assertEqual(self.resolved(log_retention_hours="24").retention_ms, 86_400_000)
        self.assertEqual(self.resolved(log_retention_hours="24", log_retention_minutes="5").retention_ms, 300_000)
        self.assertEqual(self.resolved(log_retention_minutes="5", log_retention_ms="7").retention_ms, 7)
        self.assertEqual(self.resolved(log_retention_hours="-1").retention_ms, -1)
        self.assertRaises(ConfigError, self.resolved, log_retention_ms="0")

    def test_roll(self) -> None:
        """Segments' age and its jitter likewise."""
        self.assertEqual(self.resolved(log_roll_hours="2", log_roll_jitter_hours="1").segment_ms, 7_200_000)
        self.assertEqual(self.resolved(log_roll_hours="2", log_roll_ms="9").segment_ms, 9)
        self.assertEqual(self.resolved(log_roll_jitter_hours="1").segment_jitter_ms, 3_600_000)
        self.assertRaises(ConfigError, self.resolved, log_roll_ms="0")

    def test_flush(self) -> None:
        """log.flush.interval.ms goes over the scheduler's."""
        self.assertEqual(self.resolved(log_flush_scheduler_interval_ms="50").flush_ms, 50)
        self.assertEqual(self.resolved(log_flush_scheduler_interval_ms="50", log_flush_interval_ms="5").flush_ms, 5)


class TextTests(SynchronousTestCase):
    """Texts and values."""

    def test_doubles(self) -> None:
        """Numbers are shown as Java shows them."""
        shown = {
            0.5: "0.5",
            1.0: "1.0",
            1e-5: "1.0E-5",
            1.5e7: "1.5E7",
            1.7976931348623157e308: "1.7976931348623157E308",
        }
        self.assertEqual({number: text_of(number) for number in shown}, shown)

    def test_defaults_are_values(self) -> None:
        """Every default in Kafka's table is allowed there, and shown as it stands."""
        for definition in [*BROKER.values(), *TOPIC.values()]:
            if definition.default is not None:
                self.assertEqual(text_of(definition.parse(definition.default)), definition.default, definition.name)

    @settings(deadline=None, max_examples=60)
    @given(st.sampled_from(sorted(BROKER)), st.text(max_size=30))
    def test_any_text(self, name: str, text: str) -> None:
        """Any text is a value or an InvalidValue; a value that is shown is read as the same one."""
        definition = BROKER[name]
        try:
            value = definition.parse(text)
        except InvalidValue:
            return
        shown: Any = text_of(value)
        self.assertEqual(text_of(definition.parse(shown)), shown)
