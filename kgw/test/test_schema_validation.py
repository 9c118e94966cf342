"""What becomes of batches in topics that are looked into: kept with columns, kept as they are, or refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import provider

from kgw.errors import ErrorCode, KafkaError, Rejected
from kgw.schema.codec import Codec
from kgw.schema.columns import RecordOf
from kgw.schema.examination import MAX_QUESTIONS, MAX_ROW_BYTES
from kgw.schema.framing import VALUE_HEADER, guid_header, prefixed
from kgw.schema.model import RegistryUnauthorised, RegistryUnavailable, ResolvedSchema
from kgw.schema.turnstile import Room
from kgw.test.schema_stage import NUMBER, ROW_OF_SEVEN, SEVEN, TWO, PolicyStage, StageLog, batch_of, strict


class PolicyCase(SynchronousTestCase):
    """With a policy over a registry in memory."""

    def setUp(self) -> None:
        self.stage = PolicyStage()
        self.log = StageLog()

    def refusal(self, deferred: Deferred[Any]) -> KafkaError:
        """What it failed with."""
        error = self.failureResultOf(deferred).value
        assert isinstance(error, KafkaError)
        return error

    def results(self) -> dict[str, int]:
        """How many records there were of each result."""
        return {name: count for name, count in self.stage.policy.counts.records.items() if count}


class PermissiveTests(PolicyCase):
    """Everything is kept."""

    def test_a_value_that_can_be_read_has_columns(self) -> None:
        appended = self.successResultOf(self.stage.append(self.log, self.stage.number, self.stage.number))
        self.assertEqual(appended.base_offset, 1)
        self.assertEqual(self.log.batches, [([self.stage.number] * 2, [ROW_OF_SEVEN] * 2)])
        ((topic, columns, format),) = self.stage.tables.declared
        self.assertEqual((topic, [column.name for column in columns.columns], format), ("t", ["n"], "AVRO"))
        self.assertEqual(self.results(), {"decoded": 2})

    def test_a_value_that_names_its_schema_in_a_header(self) -> None:
        assert self.stage.schema.guid is not None
        log: Any = self.log
        batch = batch_of(SEVEN, headers=[(VALUE_HEADER, guid_header(self.stage.schema.guid))])
        self.successResultOf(self.stage.policy.append(log, ("t", 0), batch, -1, 30.0))
        self.assertEqual(self.log.batches, [([SEVEN], [ROW_OF_SEVEN])])

    def test_what_cannot_be_read_is_kept_as_it_is(self) -> None:
        values = [b"plain", None, b"", prefixed(99, b"x"), prefixed(self.stage.schema.id, b""), self.stage.number]
        self.successResultOf(self.stage.append(self.log, *values))
        # no entries, but a row: others have columns
        self.assertEqual(self.log.batches, [(values, [b""] * 5 + [ROW_OF_SEVEN])])
        wanted = {"unframed": 2, "null": 1, "unknown_schema": 1, "undecodable": 1, "decoded": 1}
        self.assertEqual(self.results(), wanted)

    def test_a_batch_without_columns_says_so(self) -> None:
        self.successResultOf(self.stage.append(self.log, b"plain"))
        self.assertEqual(self.log.batches, [([b"plain"], None)])

    def test_a_batch_without_columns_in_a_topic_with_columns(self) -> None:
        self.successResultOf(self.stage.append(self.log, self.stage.number))
        self.successResultOf(self.stage.append(self.log, b"plain", None))
        self.successResultOf(self.stage.append(self.log, b"plain", topic="another"))
        self.assertEqual([columns for _, columns in self.log.batches], [[ROW_OF_SEVEN], [b"", b""], None])

    def test_a_schema_that_is_none(self) -> None:
        wrong = self.stage.registry.book.register("t-value", '{"type": "nonsense"}')
        for _ in range(3):
            self.successResultOf(self.stage.append(self.log, prefixed(wrong.id, b"x")))
        self.assertEqual((self.results(), self.stage.made), ({"unusable_schema": 3}, 1))

    def test_nobody_waits_long_for_the_registry(self) -> None:
        self.stage.registry.slow = True
        first = self.stage.append(self.log, self.stage.number)
        self.stage.clock.advance(0.9)
        self.assertNoResult(first)
        self.stage.clock.advance(0.2)
        self.successResultOf(first)
        # who comes later does not wait for it at all
        self.successResultOf(self.stage.append(self.log, self.stage.number))
        self.assertEqual(len(self.stage.registry.waiting), 1)
        self.stage.registry.tell()
        self.successResultOf(self.stage.append(self.log, self.stage.number))
        self.assertEqual([columns for _, columns in self.log.batches], [None, None, [ROW_OF_SEVEN]])

    def test_records_have_columns_again_when_the_registry_is_back(self) -> None:
        self.stage.registry.failure = RegistryUnavailable("gone")
        for _ in range(3):
            self.successResultOf(self.stage.append(self.log, self.stage.number))
        # asked once: the others came too soon behind it
        self.assertEqual(self.stage.registry.asked, 1)
        self.stage.registry.failure = None
        self.stage.clock.advance(2)
        self.successResultOf(self.stage.append(self.log, self.stage.number))
        self.assertEqual([columns for _, columns in self.log.batches], [None, None, None, [ROW_OF_SEVEN]])
        self.assertEqual(self.results(), {"unavailable": 3, "decoded": 1})

    def test_a_registry_that_does_not_let_kgw_in(self) -> None:
        self.stage.registry.failure = RegistryUnauthorised("who are you")
        self.successResultOf(self.stage.append(self.log, self.stage.number))
        self.assertEqual(self.results(), {"unavailable": 1})

    def test_it_is_said_once_for_each_topic_and_result(self) -> None:
        lines: list[str] = []

        @provider(ILogObserver)
        def observe(event: LogEvent) -> None:
            lines.append(formatEvent(event))

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        for topic in ("t", "u"):
            for _ in range(3):
                self.stage.append(self.log, b"plain", prefixed(99, b""), topic=topic)
        self.assertEqual(
            [line.partition(" (")[0] for line in lines],
            [
                "records of topic t: unframed",
                "records of topic t: unknown schema",
                "records of topic u: unframed",
                "records of topic u: unknown schema",
            ],
        )
        self.assertEqual(self.stage.policy.counts.topics["u"], {"unframed": 3, "unknown_schema": 3})

    def test_damaged_records(self) -> None:
        batch = batch_of(b"plain")
        batch.tail = batch.tail[:40] + b"\xff"
        log: Any = self.log
        error = self.refusal(self.stage.policy.append(log, ("t", 0), batch, -1, 30.0))
        self.assertEqual((error.code, self.log.batches), (ErrorCode.CORRUPT_MESSAGE, []))

    def test_an_engine_without_columns(self) -> None:
        stage = PolicyStage(tables=False)
        self.successResultOf(stage.append(self.log, stage.number))
        self.assertEqual(self.log.batches, [([stage.number], None)])
        self.assertEqual(stage.policy.counts.records["decoded"], 1)

    def test_which_topics_are_looked_into(self) -> None:
        looks = self.stage.policy.looks_into
        self.assertTrue(looks("t", StageLog().config))
        self.assertFalse(looks("_schemas", StageLog().config))
        self.assertFalse(looks("t", StageLog(kgw_schema_validation="none").config))


class DeclaringTests(PolicyCase):
    """The engine is told of columns before it gets them."""

    def test_it_is_told_once(self) -> None:
        for _ in range(3):
            self.successResultOf(self.stage.append(self.log, self.stage.number))
        self.successResultOf(self.stage.append(self.log, self.stage.number, topic="u"))
        self.assertEqual([topic for topic, _, _ in self.stage.tables.declared], ["t", "u"])

    def test_again_for_another_schema_and_for_a_topic_that_was_deleted(self) -> None:
        two = self.stage.registry.book.register("t-value", TWO)
        self.successResultOf(self.stage.append(self.log, self.stage.number, prefixed(two.id, SEVEN + b"\x02x")))
        self.assertEqual([len(columns.columns) for _, columns, _ in self.stage.tables.declared], [1, 2])
        self.successResultOf(self.stage.policy.topic_deleted("t"))
        self.successResultOf(self.stage.append(self.log, self.stage.number))
        self.assertEqual(len(self.stage.tables.declared), 3)

    def test_a_slow_engine_keeps_nobody_waiting_long(self) -> None:
        answer: Deferred[list[str]] = Deferred()
        self.stage.tables.answers.append(answer)
        first, second = (self.stage.append(self.log, self.stage.number, partition=one) for one in (0, 1))
        self.assertNoResult(first)
        self.stage.clock.advance(1.1)
        self.successResultOf(first)
        self.successResultOf(second)
        answer.callback([])
        self.assertEqual(len(self.stage.tables.declared), 1)

    def test_a_failure_is_not_repeated_at_once(self) -> None:
        for _ in range(3):
            answer: Deferred[list[str]] = Deferred()
            answer.errback(KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, "away"))
            self.stage.tables.answers.append(answer)
            answer.addErrback(lambda failure: failure)
        self.successResultOf(self.stage.append(self.log, self.stage.number))
        self.successResultOf(self.stage.append(self.log, self.stage.number))
        self.assertEqual(len(self.stage.tables.declared), 1)
        self.stage.clock.advance(3)
        log = strict()
        error = self.refusal(self.stage.append(log, self.stage.number))
        self.assertEqual((error.code, log.batches), (ErrorCode.KAFKA_STORAGE_ERROR, []))
        self.assertEqual((len(self.stage.tables.declared), self.stage.policy.counts.undeclared), (2, 3))
        self.stage.tables.answers.pop().addErrback(lambda _: None)

    def test_what_the_engine_never_takes_keeps_no_record_out(self) -> None:
        answer: Deferred[list[str]] = Deferred()
        answer.errback(KafkaError(ErrorCode.INVALID_CONFIG, "a type of others"))
        self.stage.tables.answers.append(answer)
        log = strict()
        self.successResultOf(self.stage.append(log, self.stage.number))
        self.assertEqual(log.batches, [([self.stage.number], [ROW_OF_SEVEN])])


class StrictTests(PolicyCase):
    """Only what is as it should be is taken, and all of a batch or nothing."""

    def setUp(self) -> None:
        super().setUp()
        self.log = strict()

    def rejected(self, *values: bytes | None, log: StageLog | None = None) -> Rejected:
        """What a batch with these values is refused with."""
        log = log or self.log
        error = self.refusal(self.stage.append(log, *values))
        assert isinstance(error, Rejected)
        self.assertEqual((error.code, log.batches), (ErrorCode.INVALID_RECORD, []))
        return error

    def test_what_is_registered_is_taken(self) -> None:
        self.successResultOf(self.stage.append(self.log, self.stage.number))
        self.assertEqual(self.log.batches, [([self.stage.number], [ROW_OF_SEVEN])])

    def test_each_wrong_record_is_named(self) -> None:
        good = self.stage.number
        error = self.rejected(good, b"plain", good, prefixed(99, b""), prefixed(self.stage.schema.id, b""), None)
        self.assertEqual([index for index, _ in error.records], [1, 3, 4, 5])
        self.assertIn("names no schema", error.records[0][1])
        self.assertIn("99", error.records[1][1])
        self.assertIn("null-forbidden", error.records[3][1])
        self.assertIn("record 1", error.message)
        self.assertEqual(self.stage.policy.counts.refused, 1)

    def test_so_many_are_named_and_no_more(self) -> None:
        self.assertEqual(len(self.rejected(*[b"plain"] * 5000).records), 100)

    def test_tombstones_are_for_compacted_topics(self) -> None:
        log = strict(cleanup_policy=("compact",))
        self.successResultOf(self.stage.append(log, None, self.stage.number))
        self.assertEqual(log.batches, [([None, self.stage.number], [b"", ROW_OF_SEVEN])])

    def test_the_subject_of_the_topic(self) -> None:
        error = self.refusal(self.stage.append(self.log, self.stage.number, topic="u"))
        self.assertEqual(error.code, ErrorCode.INVALID_RECORD)
        self.assertIn("u-value", error.message)

    def test_the_subject_of_the_record(self) -> None:
        by_record = strict(kgw_schema_subject_name_strategy="RecordNameStrategy")
        self.assertIn("subject test.Number", self.rejected(self.stage.number, log=by_record).message)
        self.stage.registry.book.register("test.Number", NUMBER)
        self.successResultOf(self.stage.append(by_record, self.stage.number))
        by_both = strict(kgw_schema_subject_name_strategy="TopicRecordNameStrategy")
        self.assertIn("subject t-test.Number", self.rejected(self.stage.number, log=by_both).message)
        self.stage.registry.book.register("t-test.Number", NUMBER)
        self.successResultOf(self.stage.append(by_both, self.stage.number))

    def test_a_registry_that_is_away(self) -> None:
        self.stage.registry.failure = RegistryUnavailable("gone")
        error = self.refusal(self.stage.append(self.log, self.stage.number))
        self.assertEqual((error.code, self.log.batches), (ErrorCode.REQUEST_TIMED_OUT, []))
        self.assertTrue(error.code.retriable)
        self.stage.registry.failure = None
        self.stage.clock.advance(2)
        self.successResultOf(self.stage.append(self.log, self.stage.number))

    def test_a_registry_that_is_slow_is_waited_for_as_long_as_the_client_waits(self) -> None:
        self.stage.registry.slow = True
        hasty = self.stage.append(self.log, self.stage.number, timeout_s=2.0, partition=1)
        patient = self.stage.append(self.log, self.stage.number)
        self.stage.clock.advance(2.1)
        self.assertEqual(self.refusal(hasty).code, ErrorCode.REQUEST_TIMED_OUT)
        self.assertNoResult(patient)
        self.stage.clock.advance(3)
        self.assertEqual(self.refusal(patient).code, ErrorCode.REQUEST_TIMED_OUT)
        self.assertEqual(self.log.batches, [])

    def test_it_is_taken_when_the_registry_answers_in_time(self) -> None:
        self.stage.registry.slow = True
        waiting = self.stage.append(self.log, self.stage.number)
        self.stage.clock.advance(4)
        self.stage.registry.tell()
        self.successResultOf(waiting)


class OrderTests(PolicyCase):
    """Batches of a partition keep their order, and nobody else waits for them."""

    def setUp(self) -> None:
        super().setUp()
        self.stage.registry.slow = True

    def test_nobody_overtakes_what_waits(self) -> None:
        waiting = [self.stage.append(self.log, value) for value in (self.stage.number, b"second", b"third")]
        other = self.stage.append(StageLog(), b"elsewhere", partition=1)
        self.successResultOf(other)
        self.assertEqual(self.log.batches, [])
        self.stage.registry.tell()
        self.assertEqual([self.successResultOf(one).base_offset for one in waiting], [1, 2, 3])
        self.assertEqual(self.log.values, [[self.stage.number], [b"second"], [b"third"]])
        self.assertEqual((self.stage.policy.measure()["kgw_schema_batches_waiting"]), 0)

    def test_a_slow_log_keeps_nobody_waiting(self) -> None:
        answer: Deferred[Any] = Deferred()
        self.log.answers.append(answer)
        first = self.stage.append(self.log, b"first")
        self.successResultOf(self.stage.append(self.log, b"second"))
        self.assertNoResult(first)

    def test_a_refused_batch_lets_the_next_one_through(self) -> None:
        self.log = strict()
        wrong = prefixed(self.stage.schema.id, b"")
        waiting = [self.stage.append(self.log, value) for value in (wrong, self.stage.number)]
        self.stage.registry.tell()
        self.assertEqual(self.refusal(waiting[0]).code, ErrorCode.INVALID_RECORD)
        self.successResultOf(waiting[1])
        self.assertEqual(self.log.values, [[self.stage.number]])

    def test_a_client_that_goes_away_leaves_what_it_sent(self) -> None:
        first = self.stage.append(self.log, self.stage.number)
        second = self.stage.append(self.log, b"second")
        for one in (first, second):
            one.cancel()
            self.failureResultOf(one)
        self.stage.registry.tell()
        self.assertEqual(self.log.values, [[self.stage.number], [b"second"]])

    def test_so_much_waits_and_no_more(self) -> None:
        size = batch_of(self.stage.number).size
        for room in (Room(lane=3), Room(lane_bytes=3 * size), Room(bytes=3 * size)):
            stage = PolicyStage(room=room)
            stage.registry.slow = True
            waiting = [stage.append(self.log, stage.number) for _ in range(4)]
            self.assertEqual(self.refusal(waiting.pop()).code, ErrorCode.REQUEST_TIMED_OUT)
            stage.registry.tell()
            for one in waiting:
                self.successResultOf(one)
            self.assertEqual(stage.policy.measure()["kgw_schema_bytes_waiting"], 0)

    def test_a_large_batch_lets_others_have_their_turn(self) -> None:
        ticks = iter(range(1 << 30))
        stage = PolicyStage(timer=lambda: next(ticks) * 0.001)
        self.successResultOf(stage.append(StageLog(), stage.number))
        large = stage.append(self.log, *[stage.number] * 5000)
        behind = stage.append(self.log, b"behind")
        self.assertNoResult(large)
        others: list[bool] = []
        stage.clock.callLater(0, lambda: others.append(large.called))
        stage.clock.advance(0)
        self.successResultOf(large)
        self.successResultOf(behind)
        self.assertEqual(others, [False])
        self.assertEqual(self.log.values, [[stage.number] * 5000, [b"behind"]])

    def test_what_waited_passes_in_turns(self) -> None:
        ticks = iter(range(1 << 30))
        stage = PolicyStage(timer=lambda: next(ticks) * 0.0005)
        stage.registry.slow = True
        waiting = [stage.append(self.log, stage.number), *(stage.append(self.log, b"%d" % n) for n in range(200))]
        stage.registry.tell()
        self.assertLess(sum(one.called for one in waiting), 100)
        stage.clock.advance(0)
        for one in waiting:
            self.successResultOf(one)
        self.assertEqual(self.log.values[1:], [[b"%d" % n] for n in range(200)])


class BrokenCodec:
    """
    One with a bug, or with very large rows.

    @ivar row_of: gives the fields of a row.
    """

    format = "AVRO"

    def __init__(self, row_of: Callable[[bytes], bytes]) -> None:
        self.row_of = row_of
        self.columns = RecordOf()

    def check(self, payload: bytes, indexes: tuple[int, ...] | None = None) -> None:
        """See L{Codec.check}."""

    def row(self, payload: bytes, indexes: tuple[int, ...] | None = None) -> tuple[RecordOf, bytes]:
        """See L{Codec.row}."""
        return self.columns, self.row_of(payload)


class StrangeTests(PolicyCase):
    """What strangers and bugs can bring about."""

    def test_a_schema_is_asked_for_and_made_once(self) -> None:
        self.stage.registry.slow = True
        waiting = [self.stage.append(StageLog(), self.stage.number, partition=one) for one in range(5)]
        self.assertEqual(len(self.stage.registry.waiting), 1)
        self.stage.registry.tell()
        for one in waiting:
            self.successResultOf(one)
        self.assertEqual(self.stage.made, 1)

    def test_a_codec_that_cannot_be_made_because_of_a_bug(self) -> None:
        def make(resolved: ResolvedSchema) -> Codec:
            raise ZeroDivisionError

        self.stage.make = make
        for _ in range(2):
            self.successResultOf(self.stage.append(self.log, self.stage.number))
        self.assertEqual(self.results(), {"unusable_schema": 2})
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_a_value_that_cannot_be_read_because_of_a_bug(self) -> None:
        self.stage.make = lambda resolved: BrokenCodec(lambda payload: bytes(1 // 0))
        self.successResultOf(self.stage.append(self.log, *[self.stage.number] * 3))
        self.assertEqual(self.log.batches, [([self.stage.number] * 3, None)])
        log = strict()
        self.assertEqual(self.refusal(self.stage.append(log, self.stage.number)).code, ErrorCode.INVALID_RECORD)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_rows_that_are_too_large_are_left_out(self) -> None:
        self.stage.make = lambda resolved: BrokenCodec(lambda payload: bytes(MAX_ROW_BYTES + (payload == b"large")))
        small, large = (prefixed(self.stage.schema.id, payload) for payload in (b"small", b"large"))
        self.successResultOf(self.stage.append(self.log, large, *[small] * 9, large))
        ((_, columns),) = self.log.batches
        assert columns is not None
        self.assertEqual([not fields for fields in columns], [True, *[False] * 8, True, True])
        self.assertEqual(self.results(), {"too_large": 3, "decoded": 8})

    def test_a_batch_asks_for_so_many_schemas_and_no_more(self) -> None:
        values = [prefixed(1000 + number, b"") for number in range(300)]
        self.successResultOf(self.stage.append(self.log, *values))
        self.assertEqual(self.stage.registry.asked, MAX_QUESTIONS)
        self.assertEqual(self.results(), {"unknown_schema": 300})

    def test_a_batch_waits_no_longer_for_many_than_for_one(self) -> None:
        self.stage.registry.slow = True
        waiting = self.stage.append(self.log, *[prefixed(1000 + number, b"") for number in range(50)])
        self.stage.clock.advance(1.1)
        self.successResultOf(waiting)


class TopicTests(PolicyCase):
    """Topics that may be made only where the registry has a subject for them."""

    def test_without_a_subject(self) -> None:
        policy = PolicyStage(need_subject=True).policy
        self.successResultOf(Deferred.fromCoroutine(policy.check_topic("t")))
        self.successResultOf(Deferred.fromCoroutine(policy.check_topic("_system")))
        error = self.refusal(Deferred.fromCoroutine(policy.check_topic("u")))
        self.assertEqual(error.code, ErrorCode.POLICY_VIOLATION)
        self.assertIn("u-value", error.message)
        self.successResultOf(Deferred.fromCoroutine(self.stage.policy.check_topic("u")))

    def test_a_registry_that_is_away(self) -> None:
        stage = PolicyStage(need_subject=True)
        stage.registry.failure = RegistryUnavailable("gone")
        self.assertTrue(self.refusal(Deferred.fromCoroutine(stage.policy.check_topic("t"))).code.retriable)
