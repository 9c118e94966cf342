from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from kgw.config import Config
from kgw.engine.memory import MemoryLogEngine
from kgw.errors import ErrorCode, KafkaError
from kgw.log.topic_rules import check_name
from kgw.log.topics import TopicCatalog
from kgw.model import HEALTH_TOPIC, ConfigChange, ConfigOperation, LogConfig, NewTopic, Topic
from kgw.test.stage import HeldStore

NODE = 1


class FullEngine(MemoryLogEngine):
    """A memory engine that cannot make logs while C{full}, and notes what it was told to delete."""

    full = False

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.deleted: list[str] = []

    def create(self, topic: Topic, config: LogConfig) -> Deferred[None]:
        if self.full:
            return fail(KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, "no space left"))
        return super().create(topic, config)

    def delete(self, topic: Topic) -> Deferred[None]:
        self.deleted.append(topic.name)
        return super().delete(topic)


class CatalogTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.store = HeldStore()
        self.successResultOf(self.store.open())
        self.catalog = self.open()

    def open(self, properties: Mapping[str, str] | None = None) -> TopicCatalog:
        """A catalog over the store as it is, and a fresh engine."""
        self.engine = FullEngine(Clock())
        catalog = TopicCatalog(self.store, self.engine, Config(properties or {}), NODE)
        self.successResultOf(catalog.start())
        return catalog

    def create(self, name: str, partitions: int = -1, **fields: Any) -> Topic:
        return self.successResultOf(self.catalog.create(NewTopic(name, partitions, **fields)))

    def refused(self, work: Deferred[Topic]) -> tuple[ErrorCode, str]:
        error = self.failureResultOf(work, KafkaError).value
        return error.code, error.message

    def has_log(self, name: str, partition: int) -> bool:
        try:
            self.engine.partition(name, partition)
        except KafkaError as error:
            self.assertEqual(error.code, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
            return False
        return True

    def stored(self) -> list[str]:
        return [key for key, _ in self.successResultOf(self.store.scan("topics/"))]


class ChangesTests(CatalogTestCase):
    def test_a_created_topic_is_found_by_name_and_id(self) -> None:
        topic = self.create("orders", 3, configs={"retention.ms": "1000"})
        self.assertEqual((topic.name, topic.partitions, topic.configs), ("orders", 3, {"retention.ms": "1000"}))
        self.assertEqual(topic.assignments, (NODE, NODE, NODE))
        self.assertIs(self.catalog.get("orders"), topic)
        self.assertIs(self.catalog.by_id(topic.id), topic)
        self.assertEqual(self.engine.partition("orders", 2).config.retention_ms, 1000)

    def test_all_is_in_the_order_of_names(self) -> None:
        for name in ("b", "c", "a"):
            self.create(name)
        names = [topic.name for topic in self.catalog.all()]
        self.assertEqual(names, ["a", "b", "c"])
        self.catalog.all().clear()
        self.assertEqual(len(self.catalog.all()), 3)

    def test_ids_are_new_each_time(self) -> None:
        first = self.create("orders")
        self.successResultOf(self.catalog.delete("orders"))
        second = self.create("orders")
        self.assertNotEqual(first.id, second.id)
        self.assertEqual((len(second.id), self.catalog.by_id(first.id)), (16, None))

    def test_a_topic_is_seen_only_when_it_is_durable_and_has_its_logs(self) -> None:
        self.store.hold = True
        work = self.catalog.create(NewTopic("orders", 1))
        self.assertNoResult(work)
        self.assertEqual((self.catalog.get("orders"), self.catalog.all(), self.has_log("orders", 0)), (None, [], False))
        self.store.let_one_through()
        self.assertIs(self.successResultOf(work), self.catalog.get("orders"))

    def test_changes_run_one_after_the_other(self) -> None:
        self.store.hold = True
        first, second = self.catalog.create(NewTopic("a.b")), self.catalog.create(NewTopic("a_b"))
        third = self.catalog.delete("a.b")
        self.assertEqual(len(self.store.held), 1)
        self.store.let_one_through()
        self.successResultOf(first)
        self.assertEqual(self.refused(second)[0], ErrorCode.INVALID_TOPIC_EXCEPTION)
        self.assertNoResult(third)
        self.store.let_one_through()
        self.assertEqual(self.successResultOf(third).name, "a.b")

    def test_giving_up_a_wait_does_not_break_off_the_change(self) -> None:
        self.store.hold = True
        work = self.catalog.create(NewTopic("orders"))
        work.addErrback(lambda _: None)
        work.cancel()
        self.store.let_one_through()
        self.assertIsNotNone(self.catalog.get("orders"))

    def test_validate_only_changes_nothing(self) -> None:
        topic = self.successResultOf(self.catalog.create(NewTopic("orders", 2), validate_only=True))
        self.assertEqual((topic.name, topic.partitions), ("orders", 2))
        self.assertEqual((self.catalog.all(), self.stored(), self.has_log("orders", 0)), ([], [], False))

    def test_extending_keeps_the_topic_and_adds_logs(self) -> None:
        before = self.create("orders", 1, configs={"retention.ms": "1000"})
        after = self.successResultOf(self.catalog.extend("orders", 3, [[NODE], [NODE]]))
        self.assertEqual((after.id, after.partitions, after.configs), (before.id, 3, before.configs))
        self.assertIs(self.catalog.by_id(before.id), after)
        self.assertEqual([topic.partitions for topic in self.catalog.all()], [3])
        self.assertTrue(self.has_log("orders", 2))

    def test_deleting_takes_the_fact_and_the_logs(self) -> None:
        topic = self.create("orders")
        self.assertEqual(self.successResultOf(self.catalog.delete("orders", topic.id)), topic)
        self.assertEqual((self.catalog.get("orders"), self.catalog.by_id(topic.id)), (None, None))
        self.assertEqual((self.stored(), self.has_log("orders", 0)), ([], False))

    def test_deleting_what_is_not_there(self) -> None:
        topic = self.create("orders")
        self.assertEqual(self.refused(self.catalog.delete("other"))[0], ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        self.assertEqual(self.refused(self.catalog.delete("other", topic.id))[0], ErrorCode.UNKNOWN_TOPIC_ID)
        self.assertEqual(self.refused(self.catalog.delete("orders", b"x" * 16))[0], ErrorCode.UNKNOWN_TOPIC_ID)
        self.assertIs(self.catalog.get("orders"), topic)

    def test_automatic_creation_happens_once_for_all_who_ask(self) -> None:
        self.catalog = self.open({"num.partitions": "4"})
        self.store.hold = True
        asked = [self.catalog.auto_create("orders") for _ in range(3)]
        asked[1].addErrback(lambda _: None)
        asked[1].cancel()
        self.assertEqual(len(self.store.held), 1)
        self.store.let_one_through()
        topic = self.successResultOf(asked[0])
        self.assertEqual(topic.partitions, 4)
        self.assertIs(self.successResultOf(asked[2]), topic)
        self.assertIs(self.successResultOf(self.catalog.auto_create("orders")), topic)
        self.assertEqual(self.store.held, [])

    def test_automatic_creation_finds_what_was_created_while_it_waited(self) -> None:
        self.store.hold = True
        explicit, automatic = self.catalog.create(NewTopic("orders", 7)), self.catalog.auto_create("orders")
        self.store.let_one_through()
        self.assertIs(self.successResultOf(automatic), self.successResultOf(explicit))

    def test_automatic_creation_of_a_bad_name_fails_for_all_and_can_be_tried_again(self) -> None:
        for _ in range(2):
            self.assertEqual(self.refused(self.catalog.auto_create("a b"))[0], ErrorCode.INVALID_TOPIC_EXCEPTION)

    def test_the_health_topic_is_not_made_for_whoever_names_it(self) -> None:
        """It has configs of its own, which only those who probe give it."""
        self.assertEqual(self.refused(self.catalog.auto_create(HEALTH_TOPIC))[0], ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        topic = self.create(HEALTH_TOPIC)
        self.assertIs(self.successResultOf(self.catalog.auto_create(HEALTH_TOPIC)), topic)


class RestartTests(CatalogTestCase):
    def test_topics_are_there_after_a_restart(self) -> None:
        self.create("plain")
        self.create("set", 3, configs={"cleanup.policy": "compact", "max.message.bytes": "2048"})
        self.successResultOf(self.catalog.extend("plain", 2))
        before = self.catalog.all()
        self.catalog = self.open()
        self.assertEqual(self.catalog.all(), before)
        self.assertEqual(self.catalog.by_id(before[1].id), before[1])
        self.assertEqual(self.engine.partition("set", 2).config.max_message_bytes, 2048)
        self.assertTrue(self.has_log("plain", 1))

    def test_facts_can_be_read_by_people(self) -> None:
        self.create("orders", 2, configs={"retention.ms": "1000"})
        ((key, value),) = self.successResultOf(self.store.scan("topics/"))
        self.assertEqual(key, "topics/orders")
        fact = json.loads(value)
        self.assertEqual((fact["partitions"], fact["configs"]), (2, {"retention.ms": "1000"}))

    def test_a_creation_cut_short_is_finished_by_the_next_start(self) -> None:
        self.store.hold = True
        self.catalog.create(NewTopic("orders", 2))
        # the commit reached the disk, and the process ended before it heard of it
        _, puts, deletes = self.store.held.pop()
        self.store.hold = False
        self.successResultOf(self.store.facts.commit(puts, deletes))
        self.catalog = self.open()
        self.assertIsNotNone(self.catalog.get("orders"))
        self.assertTrue(self.has_log("orders", 1))

    def test_a_damaged_fact_stops_the_start_and_is_named(self) -> None:
        for value in (b"", b"\xff", b"[]", b'{"id": "AAAA", "partitions": 1, "configs": {}}', b'{"partitions": 1}'):
            self.successResultOf(self.store.commit({"topics/orders": value}))
            catalog = TopicCatalog(self.store, FullEngine(Clock()), Config({}), NODE)
            error = self.failureResultOf(catalog.start(), KafkaError).value
            self.assertEqual(error.code, ErrorCode.KAFKA_STORAGE_ERROR)
            self.assertIn("topics/orders", error.message)
            self.assertEqual(catalog.all(), [])


class FailureTests(CatalogTestCase):
    def test_no_topic_where_its_fact_cannot_be_stored(self) -> None:
        self.store.broken = True
        self.assertEqual(
            self.refused(self.catalog.create(NewTopic("orders"))), (ErrorCode.KAFKA_STORAGE_ERROR, "no space left")
        )
        self.assertEqual((self.catalog.get("orders"), self.has_log("orders", 0)), (None, False))
        self.store.broken = False
        self.create("orders")

    def test_no_topic_where_its_logs_cannot_be_made(self) -> None:
        self.engine.full = True
        self.assertEqual(self.refused(self.catalog.create(NewTopic("orders")))[0], ErrorCode.KAFKA_STORAGE_ERROR)
        self.assertEqual((self.catalog.get("orders"), self.stored()), (None, []))
        self.assertEqual(self.engine.deleted, ["orders"])
        self.engine.full = False
        self.create("orders")

    def test_a_topic_stays_as_it_was_where_it_cannot_be_extended(self) -> None:
        topic = self.create("orders", 1)
        facts = self.successResultOf(self.store.scan("topics/"))
        self.engine.full = True
        self.assertEqual(self.refused(self.catalog.extend("orders", 5))[0], ErrorCode.KAFKA_STORAGE_ERROR)
        self.assertIs(self.catalog.get("orders"), topic)
        self.assertEqual(self.successResultOf(self.store.scan("topics/")), facts)

    def test_a_topic_stays_where_its_deletion_cannot_be_stored(self) -> None:
        topic = self.create("orders")
        self.store.broken = True
        self.assertEqual(self.refused(self.catalog.delete("orders"))[0], ErrorCode.KAFKA_STORAGE_ERROR)
        self.assertIs(self.catalog.get("orders"), topic)
        self.assertTrue(self.has_log("orders", 0))

    def test_configs_too_large_to_keep_are_refused(self) -> None:
        huge = {"leader.replication.throttled.replicas": ",".join(["0:1"] * 300_000)}
        code, _ = self.refused(self.catalog.create(NewTopic("orders", configs=huge), validate_only=True))
        self.assertEqual(code, ErrorCode.INVALID_CONFIG)


class AlterTests(CatalogTestCase):
    def alter(self, name: str, config: str, value: str, **fields: Any) -> Deferred[Topic]:
        return self.catalog.alter(name, [ConfigChange(config, ConfigOperation.SET, value)], **fields)

    def test_the_topic_stays_the_same_one(self) -> None:
        before = self.create("orders", 2)
        altered = self.successResultOf(self.alter("orders", "retention.ms", "7"))
        self.assertEqual((altered.id, altered.partitions, altered.configs), (before.id, 2, {"retention.ms": "7"}))
        self.assertIs(self.catalog.get("orders"), altered)
        self.assertIs(self.catalog.by_id(before.id), altered)
        self.assertEqual(self.catalog.all(), [altered])

    def test_logs_obey_when_it_is_durable(self) -> None:
        self.create("orders", 1)
        self.store.hold = True
        change = self.alter("orders", "retention.ms", "7")
        log = self.engine.partition("orders", 0)
        self.assertNoResult(change)
        self.assertEqual(log.config.retention_ms, LogConfig().retention_ms)
        self.store.let_one_through()
        self.successResultOf(change)
        self.assertEqual(log.config.retention_ms, 7)

    def test_partitions_added_later_obey(self) -> None:
        self.create("orders", 1)
        self.successResultOf(self.alter("orders", "retention.ms", "7"))
        self.successResultOf(self.catalog.extend("orders", 2))
        self.assertEqual(self.engine.partition("orders", 1).config.retention_ms, 7)

    def test_a_topic_stays_as_it_was_where_the_change_cannot_be_stored(self) -> None:
        before = self.create("orders", 1)
        self.store.broken = True
        self.assertEqual(self.refused(self.alter("orders", "retention.ms", "7"))[0], ErrorCode.KAFKA_STORAGE_ERROR)
        self.assertIs(self.catalog.get("orders"), before)
        self.assertEqual(self.engine.partition("orders", 0).config, LogConfig())

    def test_configs_too_large_to_keep_are_refused(self) -> None:
        self.create("orders", 1)
        long = ",".join(f"{number}:1" for number in range(200_000))
        code, message = self.refused(self.alter("orders", "leader.replication.throttled.replicas", long))
        self.assertEqual((code, message), (ErrorCode.INVALID_CONFIG, "The configs of topic 'orders' are too large."))

    def test_another_configuration_is_obeyed_by_those_that_inherit(self) -> None:
        self.create("inherits", 2)
        self.create("own", 1, configs={"retention.ms": "7"})
        self.successResultOf(self.catalog.reconfigure(Config().with_dynamic({}, {"log.retention.ms": "9"})))
        self.create("new", 1)
        retained = [
            self.engine.partition(*place).config.retention_ms for place in (("inherits", 1), ("own", 0), ("new", 0))
        ]
        self.assertEqual(retained, [9, 7, 9])


class RulesTests(CatalogTestCase):
    def test_kafkas_words_for_bad_names(self) -> None:
        long = "x" * 250
        words = {
            "": "the empty string is not allowed",
            ".": "'.' is not allowed",
            "..": "'..' is not allowed",
            long: f"the length of '{long}' is longer than the max allowed length 249",
            "a b": "'a b' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'",
            "ü": "'ü' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'",
            "a\n": "'a\n' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'",
        }
        for name, problem in words.items():
            expected = (ErrorCode.INVALID_TOPIC_EXCEPTION, f"Topic name is invalid: {problem}")
            self.assertEqual(self.refused(self.catalog.create(NewTopic(name))), expected)

    @settings(deadline=None, max_examples=100)
    @given(st.from_regex(r"[a-zA-Z0-9._-]{1,249}", fullmatch=True))
    def test_all_other_names_are_good(self, name: str) -> None:
        if name in (".", ".."):
            self.assertRaises(KafkaError, check_name, name)
        else:
            check_name(name)

    def test_names_that_differ_in_dots_and_underscores_collide(self) -> None:
        self.create("a.b_c")
        self.assertEqual(
            self.refused(self.catalog.create(NewTopic("a_b.c"))),
            (ErrorCode.INVALID_TOPIC_EXCEPTION, "Topic 'a_b.c' collides with existing topic: a.b_c"),
        )
        self.create("a-b_c")
        self.successResultOf(self.catalog.delete("a.b_c"))
        self.create("a_b.c")

    def test_a_topic_that_is_there(self) -> None:
        self.create("orders")
        self.assertEqual(
            self.refused(self.catalog.create(NewTopic("orders", 0))),
            (ErrorCode.TOPIC_ALREADY_EXISTS, "Topic 'orders' already exists."),
        )

    def test_numbers_out_of_bounds(self) -> None:
        cases = {
            (0, 1): ErrorCode.INVALID_PARTITIONS,
            (-2, 1): ErrorCode.INVALID_PARTITIONS,
            (100_001, 1): ErrorCode.INVALID_PARTITIONS,
            (1, 0): ErrorCode.INVALID_REPLICATION_FACTOR,
            (1, -2): ErrorCode.INVALID_REPLICATION_FACTOR,
        }
        for (partitions, replicas), code in cases.items():
            self.assertEqual(self.refused(self.catalog.create(NewTopic("orders", partitions, replicas)))[0], code)

    def test_manual_assignments(self) -> None:
        here = [NODE]
        topic = self.create("orders", assignments=[(1, here), (0, here)])
        self.assertEqual((topic.partitions, topic.assignments), (2, (NODE, NODE)))
        wrong: dict[str, list[tuple[int, list[int]]]] = {
            "Found multiple manual partition assignments for partition 0": [(0, here), (0, here)],
            "partitions should be a consecutive 0-based integer sequence": [(0, here), (2, here)],
            "The manual partition assignment includes an empty replica list.": [(0, [])],
            "The manual partition assignment includes the broker 1 more than once.": [(0, [1, 1])],
            "The manual partition assignment includes broker 5, but no such broker is registered.": [(0, [5])],
            "The manual partition assignment includes a partition with 2 replica(s), but this is not consistent with "
            "previous partitions, which have 1 replica(s).": [(0, here), (1, [1, 2])],
        }
        for message, assignments in wrong.items():
            work = self.catalog.create(NewTopic("other", assignments=assignments))
            self.assertEqual(self.refused(work), (ErrorCode.INVALID_REPLICA_ASSIGNMENT, message))

    def test_assignments_together_with_numbers(self) -> None:
        for numbers, what in {(1, -1): "numPartitions", (-1, 1): "replication factor"}.items():
            work = self.catalog.create(NewTopic("orders", *numbers, assignments=[(0, [NODE])]))
            message = f"A manual partition assignment was specified, but {what} was not set to -1."
            self.assertEqual(self.refused(work), (ErrorCode.INVALID_REQUEST, message))

    def test_more_replicas_than_nodes_become_one_with_one_line_in_the_log(self) -> None:
        lines: list[LogEvent] = []

        @implementer(ILogObserver)
        def observe(event: LogEvent) -> None:
            lines.append(event)

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        self.create("one", 1, replication_factor=3)
        self.create("two", assignments=[(0, [2, NODE, 3])])
        self.successResultOf(self.catalog.extend("two", 2, [[NODE, 2, 3]]))
        self.assertEqual(len([line for line in lines if "strict" in str(line["log_format"])]), 1)

    def test_strict_replication_gives_kafkas_errors(self) -> None:
        self.catalog = self.open({"kgw.strict.replication": "true"})
        message = (
            "Unable to replicate the partition 3 time(s): The target replication factor of 3 cannot be reached "
            "because only 1 broker(s) are registered."
        )
        self.assertEqual(
            self.refused(self.catalog.create(NewTopic("orders", 1, 3))),
            (ErrorCode.INVALID_REPLICATION_FACTOR, message),
        )
        self.assertEqual(
            self.refused(self.catalog.create(NewTopic("orders", assignments=[(0, [NODE, 2])])))[0],
            ErrorCode.INVALID_REPLICA_ASSIGNMENT,
        )

    def test_configs_are_checked(self) -> None:
        cases: list[dict[str, str | None]] = [{"no.such.config": "1"}, {"retention.ms": "soon"}, {"retention.ms": None}]
        for configs in cases:
            code, message = self.refused(self.catalog.create(NewTopic("orders", configs=configs)))
            self.assertEqual(code, ErrorCode.INVALID_CONFIG)
            self.assertTrue(message)
