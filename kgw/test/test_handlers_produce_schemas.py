"""Produce to topics whose records are looked into: what a client is told, by both ways of answering."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from kgw.engine.bridge import InlineBridge
from kgw.errors import ErrorCode
from kgw.handlers import create_topics, metadata
from kgw.handlers.produce import API, Request, RequestPartition, RequestTopic, ResponsePartition
from kgw.handlers.registry import BY_KEY, SHORTCUTS
from kgw.net.dispatcher import Dispatcher
from kgw.schema.codecs import Codecs
from kgw.schema.formats import codec_of
from kgw.schema.framing import prefixed
from kgw.schema.model import RegistryUnavailable
from kgw.schema.registry_memory import MemorySchemaRegistry
from kgw.schema.validation import SchemaPolicy
from kgw.test.schema_stage import NUMBER, SEVEN
from kgw.test.stage import START, Stage
from kgw.test.test_handlers_produce_shortcut import frame_of
from kgw.wire.records import RecordBatch, build_batch

NOW = int(START * 1000)
STRICT = {"kgw.schema.validation": "strict"}


def batch(*values: bytes | None, headers: tuple[tuple[str, bytes | None], ...] = ()) -> bytes:
    """A batch of these values, as a producer sends it."""
    return build_batch([(b"k", value, headers, NOW) for value in values])


class SchemaCase(SynchronousTestCase):
    """All services over the memory engine, with a registry in memory."""

    def setUp(self) -> None:
        self.stage = Stage(self)
        self.registry = MemorySchemaRegistry()
        self.registry.start()
        self.serve()
        self.number = prefixed(self.registry.book.register("t-value", NUMBER).id, SEVEN)

    def serve(self, **options: Any) -> None:
        """Have records looked into."""
        codecs = Codecs(self.registry, InlineBridge().call, self.stage.clock, codec_of)
        policy = SchemaPolicy(self.registry, codecs, self.stage.engine, self.stage.clock, **options)
        self.stage.services.schemas = policy

    def request(self, records: bytes, acks: int = -1, name: str = "t") -> Request:
        """A request with one batch."""
        topic = self.stage.topics.get(name)
        assert topic is not None
        data = [RequestTopic(name, topic.id, [RequestPartition(0, records)])]
        return Request(acks=acks, timeout_ms=1000, topic_data=data)

    def produce(self, records: bytes, version: int = 11, name: str = "t") -> ResponsePartition:
        """The answer's row."""
        response = self.stage.call(API, version, self.request(records, name=name))
        row: ResponsePartition = response.responses[0].partition_responses[0]
        return row

    def stored(self, name: str = "t") -> list[bytes]:
        """The tails of the batches in a log."""
        data = b"".join(self.successResultOf(self.stage.engine.partition(name, 0).read(0, 1 << 20)).records)
        found, at = [], 0
        while at < len(data):
            one = RecordBatch.parse(data, at)
            found.append(one.tail)
            at += one.size
        return found


class ProduceTests(SchemaCase):
    """Requests."""

    def test_each_version_names_the_records_that_it_can_name(self) -> None:
        self.stage.create("t", configs=STRICT)
        for version in range(3, 14):
            row = self.produce(batch(self.number, b"plain", None), version)
            self.assertEqual((row.error_code, row.base_offset), (ErrorCode.INVALID_RECORD, -1))
            if version < 8:
                self.assertEqual(row.record_errors, [])
                continue
            self.assertEqual([one.batch_index for one in row.record_errors], [1, 2])
            self.assertIn("names no schema", row.record_errors[0].batch_index_error_message or "")
            self.assertIn("record 1", row.error_message or "")
        self.assertEqual(self.stored(), [])
        self.assertEqual(self.stage.services.metrics.topics.of("t").failed_produce_requests, 11)

    def test_nobody_is_told_with_acks_0(self) -> None:
        self.stage.create("t", configs=STRICT)
        failure = self.failureResultOf(self.stage.begin(API, 9, self.request(batch(b"plain"), acks=0)))
        self.assertEqual(failure.value.code, ErrorCode.INVALID_RECORD)

    def test_a_registry_that_is_away(self) -> None:
        self.stage.create("t", configs=STRICT)
        self.registry.failure = RegistryUnavailable("gone")
        row = self.produce(batch(self.number))
        self.assertEqual(ErrorCode(row.error_code), ErrorCode.REQUEST_TIMED_OUT)
        self.assertIn("gone", row.error_message or "")

    def test_the_policy_of_a_topic_can_be_altered(self) -> None:
        topic = self.stage.create("t", configs=STRICT)
        self.assertTrue(self.produce(batch(b"plain")).error_code)
        changed = {"kgw.schema.validation": "none"}
        self.stage.engine.configure(topic, self.stage.config.log_config(changed))
        self.assertFalse(self.produce(batch(b"plain")).error_code)

    def test_topics_of_systems_are_left_alone(self) -> None:
        self.stage.create("_schemas", configs=STRICT)
        self.assertFalse(self.produce(batch(b"plain"), name="_schemas").error_code)

    def test_the_short_way_gives_way(self) -> None:
        self.stage.create("t", configs=STRICT)
        self.stage.create("plain", configs={"kgw.schema.validation": "none"})
        dispatcher = Dispatcher(BY_KEY, self.stage.services, self.stage.services.peer_log, SHORTCUTS)
        for name, good, bad in (("t", self.number, b"plain"), ("plain", b"plain", b"plain")):
            for _ in range(3):
                for value in (good, bad):
                    frame = frame_of(self.request(batch(value), name=name), 9)
                    answering: Any = dispatcher.dispatch(frame, self.stage.peer)
                    if isinstance(answering, Deferred):
                        self.successResultOf(answering)
        self.assertEqual((len(self.stored()), len(self.stored("plain"))), (3, 6))

    @settings(deadline=None, max_examples=60)
    @given(
        st.lists(
            st.none()
            | st.binary(max_size=30)
            | st.builds(prefixed, st.integers(1, 3), st.binary(max_size=10))
            | st.just(prefixed(1, SEVEN)),
            min_size=1,
            max_size=20,
        ),
        st.lists(st.tuples(st.just("__value_schema_id"), st.none() | st.binary(max_size=20)), max_size=2),
    )
    def test_what_is_permitted_is_kept_byte_for_byte(
        self, values: list[bytes | None], headers: list[tuple[str, bytes | None]]
    ) -> None:
        if self.stage.topics.get("t") is None:
            self.stage.create("t")
        sent = batch(*values, headers=tuple(headers))
        self.assertEqual(self.produce(sent).error_code, 0)
        self.assertEqual(self.stored()[-1], sent[21:])


class TopicTests(SchemaCase):
    """Topics that need a subject."""

    def setUp(self) -> None:
        super().setUp()
        self.serve(need_subject=True)

    def created(self, name: str) -> int:
        """The error of CreateTopics."""
        new = create_topics.RequestTopic(name=name, num_partitions=1, replication_factor=1)
        response = self.stage.call(create_topics.API, 5, create_topics.Request(topics=[new]))
        code: int = response.topics[0].error_code
        return code

    def test_creation(self) -> None:
        self.assertEqual(self.created("u"), ErrorCode.POLICY_VIOLATION)
        self.assertEqual(self.created("t"), ErrorCode.NONE)
        self.assertEqual(self.created("t"), ErrorCode.TOPIC_ALREADY_EXISTS)
        self.assertEqual(self.created("_internal"), ErrorCode.NONE)
        self.registry.failure = RegistryUnavailable("gone")
        self.assertEqual(self.created("v"), ErrorCode.REQUEST_TIMED_OUT)

    def test_creation_by_use(self) -> None:
        for name, wanted in (("u", ErrorCode.POLICY_VIOLATION), ("t", ErrorCode.NONE)):
            asked = metadata.Request(topics=[metadata.RequestTopic(name=name)], allow_auto_topic_creation=True)
            response = self.stage.call(metadata.API, 9, asked)
            self.assertEqual(response.topics[0].error_code, wanted)
