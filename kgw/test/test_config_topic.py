"""Topic configs: resolved over the broker's, checked with Kafka's sentences."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kgw.config import Config
from kgw.errors import ErrorCode, KafkaError


class ResolveTests(SynchronousTestCase):
    """C{Config.log_config}."""

    def test_topic_over_broker_over_default(self) -> None:
        """Each goes over the next."""
        config = Config(
            {"message.max.bytes": "5000", "log.retention.hours": "1", "log.cleanup.policy": "compact,delete"}
        )
        resolved = config.log_config({"retention.ms": "42", "preallocate": "true"})
        self.assertEqual(resolved.retention_ms, 42)
        self.assertEqual(resolved.max_message_bytes, 5000)
        self.assertEqual(resolved.cleanup_policy, ("compact", "delete"))
        self.assertIs(resolved.preallocate, True)
        self.assertEqual(resolved.segment_bytes, 1 << 30)

    def test_every_field(self) -> None:
        """What a topic sets is what its log obeys, whichever config it is."""
        own = {
            "cleanup.policy": "compact",
            "compression.type": "zstd",
            "compression.gzip.level": "3",
            "compression.lz4.level": "4",
            "compression.zstd.level": "-5",
            "file.delete.delay.ms": "6",
            "flush.messages": "7",
            "flush.ms": "8",
            "index.interval.bytes": "9",
            "max.message.bytes": "10",
            "message.timestamp.after.max.ms": "11",
            "message.timestamp.before.max.ms": "12",
            "message.timestamp.type": "LogAppendTime",
            "min.insync.replicas": "2",
            "preallocate": "true",
            "retention.bytes": "13",
            "retention.ms": "14",
            "segment.bytes": "1048576",
            "segment.index.bytes": "15",
            "segment.jitter.ms": "16",
            "segment.ms": "17",
        }
        resolved = Config().log_config(own)
        for name, text in own.items():
            value = getattr(resolved, name.replace(".", "_"))
            self.assertEqual("compact" if value == ("compact",) else str(value).replace("True", "true"), text, name)


class ValidateTests(SynchronousTestCase):
    """C{Config.validate_topic_configs}."""

    def refusal(self, **configs: str | None) -> str:
        named = {name.replace("_", "."): text for name, text in configs.items()}
        error = self.assertRaises(KafkaError, Config().validate_topic_configs, named)
        self.assertEqual(error.code, ErrorCode.INVALID_CONFIG)
        return str(error.message)

    def test_allowed(self) -> None:
        """Everything Kafka takes, with effect here or without."""
        Config().validate_topic_configs(
            {
                "retention.ms": " -1 ",
                "cleanup.policy": "compact, delete",
                "min.cleanable.dirty.ratio": "0.25",
                "follower.replication.throttled.replicas": "0:1,2:3",
                "leader.replication.throttled.replicas": "*",
                "unclean.leader.election.enable": "TRUE",
            }
        )

    def test_unknown(self) -> None:
        """A name that is none, or one that Kafka 4 has dropped."""
        self.assertEqual(self.refusal(foo="1"), "Unknown topic config name: foo")
        self.assertEqual(
            self.refusal(message_format_version="3.0"), "Unknown topic config name: message.format.version"
        )

    def test_values(self) -> None:
        """Kafka's own sentences, which admin clients print."""
        sentences = {
            ("retention.ms", "soon"): "Not a number of type LONG",
            ("retention.ms", "-2"): "Value must be at least -1",
            ("compression.type", "brotli"): ("String must be one of: uncompressed, zstd, lz4, snappy, gzip, producer"),
            ("compression.zstd.level", "23"): "Value must be no more than 22",
            ("cleanup.policy", "delete,shred"): "String must be one of: compact, delete",
            ("preallocate", "perhaps"): "Expected value to be either true or false",
            ("segment.bytes", "99"): "Value must be at least 1048576",
            ("min.cleanable.dirty.ratio", "half"): "Not a number of type DOUBLE",
        }
        for (name, text), reason in sentences.items():
            error = self.assertRaises(KafkaError, Config().validate_topic_configs, {name: text})
            self.assertEqual(error.code, ErrorCode.INVALID_CONFIG)
            self.assertEqual(error.message, f"Invalid value {text} for configuration {name}: {reason}")

    def test_null(self) -> None:
        """A config is set to a value."""
        self.assertEqual(self.refusal(retention_ms=None), "Null value not supported for topic configs: retention.ms")

    def test_together(self) -> None:
        """Values that are allowed each by itself may contradict each other, or ask for what is not there."""
        self.assertIn(
            "min.compaction.lag.ms (9) > max.compaction.lag.ms (5)",
            self.refusal(min_compaction_lag_ms="9", max_compaction_lag_ms="5"),
        )
        self.assertIn("Tiered Storage functionality is disabled", self.refusal(remote_storage_enable="true"))
