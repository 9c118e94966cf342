"""After a crash of the engine its notes about a partition are made to agree with the log files, and offsets go on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from itertools import count
from typing import TypeVar
from uuid import uuid4

import grpc
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from kgw.engine.bridge import InlineBridge
from kgw.engine.seaweed.broker import Broker, PartitionRange, partition_directory, partition_message, topic_message
from kgw.engine.seaweed.calls import Calls
from kgw.engine.seaweed.filer import Filer
from kgw.engine.seaweed.history import History
from kgw.engine.seaweed.history_cache import HistoryCache
from kgw.engine.seaweed.proto import mq_broker_pb2
from kgw.engine.seaweed.repair import Repaired, Trusted, repair
from kgw.errors import ErrorCode, KafkaError
from kgw.test.seaweed import Engine, engine
from kgw.test.seaweed_log_stage import (
    Directory,
    LogFiler,
    file_name,
    history_of,
    log_entries,
    log_entry,
    records_in,
    ts_ns_of,
    value_of,
)

T = TypeVar("T")


class RepairTests(SynchronousTestCase):
    """L{repair} of what is in memory."""

    def setUp(self) -> None:
        self.filer = LogFiler()

    def repaired(self, trusted: Trusted | None = None, piece_bytes: int = 1000) -> Repaired:
        """Repair with a history of its own, as after a start of kgw."""
        return self.successResultOf(repair(history_of(self.filer, piece_bytes), trusted))

    def test_nothing_there(self) -> None:
        """A partition that was never written to is left alone."""
        self.assertEqual(self.repaired(), Repaired(0, 0, None, 0, 0))
        self.assertEqual(self.filer.writes, [])

    def test_attributes_and_checkpoint(self) -> None:
        """All say what the entries do: where there was nothing, one too many, or what is wrong."""
        self.filer.append(file_name(1), log_entries(range(0, 100)))
        self.filer.records(2, range(100, 200), slip=1)
        self.filer.append(file_name(3), log_entries(range(200, 210)), (205, 209))
        self.filer.records(4, range(210, 220))
        self.filer.inline("checkpoint.offset", (199).to_bytes(8, "big"))
        done = self.repaired()
        self.assertEqual((done.end_offset, done.last_ts_ns, done.changed), (220, ts_ns_of(219), 4))
        self.assertEqual(
            [self.filer.claimed(file_name(number)) for number in (1, 2, 3, 4)],
            [(0, 99), (100, 199), (200, 209), (210, 219)],
        )
        self.assertEqual(self.filer.checkpoint, 219)

    def test_checkpoint_too_high(self) -> None:
        """Records were acknowledged and lost: their offsets are given again."""
        self.filer.records(1, range(0, 100))
        self.filer.inline("checkpoint.offset", (150).to_bytes(8, "big"))
        self.assertEqual(self.repaired().end_offset, 100)
        self.assertEqual(self.filer.checkpoint, 99)

    def test_no_checkpoint(self) -> None:
        """It is made."""
        self.filer.records(1, range(0, 100))
        self.repaired()
        self.assertEqual(self.filer.checkpoint, 99)

    def test_all_was_lost(self) -> None:
        """There is nothing in any file, so there is to be no note of a last offset."""
        self.filer.inline("checkpoint.offset", (150).to_bytes(8, "big"))
        self.assertEqual(self.repaired().end_offset, 0)
        self.assertIsNone(self.filer.checkpoint)

    def test_again(self) -> None:
        """Nothing is written the second time."""
        self.filer.append(file_name(1), log_entries(range(0, 100)))
        self.filer.records(2, range(100, 200), slip=1)
        first = self.repaired()
        self.filer.writes.clear()
        second = self.repaired()
        self.assertEqual(self.filer.writes, [])
        self.assertEqual(second, first._replace(changed=0))

    def test_trusted(self) -> None:
        """Only what is new since is read, and the end and the last time are known all the same."""
        for number in range(50):
            self.filer.records(number, range(number * 10, number * 10 + 10))
        first = self.repaired()
        self.filer.reads.clear()
        second = self.repaired(first.trusted)
        self.assertEqual((second.end_offset, second.last_ts_ns, second.files_read), (500, ts_ns_of(499), 0))
        self.assertEqual(second.trusted, first.trusted)
        self.assertEqual(self.filer.reads, [])
        self.filer.append(file_name(49), log_entries(range(500, 510)), (490, 510))
        self.filer.records(60, range(510, 520))
        third = self.repaired(first.trusted)
        self.assertEqual((third.end_offset, third.files_read), (520, 2))
        self.assertEqual({name for name, _, _ in self.filer.reads}, {file_name(49), file_name(60)})
        self.assertEqual(self.filer.claimed(file_name(49)), (490, 509))

    def test_trusted_file_is_gone(self) -> None:
        """Retention took it: what is behind it is read."""
        self.filer.records(1, range(0, 10))
        trusted = self.repaired().trusted
        self.filer.records(2, range(10, 20), slip=1)
        self.filer.delete("", file_name(1))
        done = self.repaired(trusted)
        self.assertEqual((done.end_offset, self.filer.claimed(file_name(2))), (20, (10, 19)))

    def test_files_are_lost(self) -> None:
        """Offsets of records that were there once are not given to others."""
        self.filer.records(1, range(0, 10))
        self.filer.records(2, range(10, 20))
        trusted = self.repaired().trusted
        self.filer.delete("", file_name(2))
        self.assertEqual(self.repaired(trusted).end_offset, 20)
        self.assertEqual(self.filer.checkpoint, 19)

    def test_torn(self) -> None:
        """Half a record is none."""
        self.filer.append(file_name(1), log_entries(range(10)) + log_entry(10)[:20], (0, 10))
        done = self.repaired()
        self.assertEqual((done.end_offset, self.filer.claimed(file_name(1))), (10, (0, 9)))

    def test_damaged_file(self) -> None:
        """It is told, its attributes stay, and the others are put right."""
        self.filer.append(file_name(1), b"\xff" * 100, (0, 9))
        self.filer.records(2, range(10, 20), slip=1)
        done = self.repaired()
        self.assertEqual((done.end_offset, self.filer.claimed(file_name(1))), (20, (0, 9)))
        self.assertEqual(len(self.flushLoggedErrors()), 0)

    def test_engine_writes_meanwhile(self) -> None:
        """Nothing that it appends is lost, and the attributes include it."""
        self.filer.records(1, range(0, 10), slip=1)
        self.filer.append(file_name(1), log_entries(range(10, 20)), (0, 20))
        self.filer.meanwhile = lambda: self.filer.append(file_name(1), log_entries(range(20, 25)), (0, 25))
        history = history_of(self.filer)
        done = self.successResultOf(repair(history))
        self.assertEqual((done.end_offset, self.filer.claimed(file_name(1))), (25, (0, 24)))
        batches = self.successResultOf(history.read(0, 1 << 20, 0)) or []
        self.assertEqual([record.offset for record in records_in(batches)], list(range(25)))

    def test_filer_away(self) -> None:
        """It is to be tried again."""
        self.filer.failing = True
        failure = self.failureResultOf(repair(history_of(self.filer)), KafkaError)
        self.assertEqual(failure.value.code, ErrorCode.KAFKA_STORAGE_ERROR)

    @settings(deadline=None, max_examples=40)
    @given(
        st.lists(st.tuples(st.integers(1, 30), st.booleans(), st.sampled_from([None, 0, 1])), min_size=1, max_size=8),
        st.integers(0, 300),
        st.integers(0, 8),
    )
    def test_whatever_was_left(
        self, flushes: list[tuple[int, bool, int | None]], checkpoint: int, covered: int
    ) -> None:
        """Afterwards all notes agree with the files, with and without a part of them being trusted."""
        filer, following, number = LogFiler(), 0, 1
        trusted: Trusted | None = None
        files: dict[str, list[int]] = {}
        for index, (size, same_file, slip) in enumerate(flushes):
            if index == covered:
                trusted = self.successResultOf(repair(history_of(filer))).trusted
            number += not same_file
            here = range(following, following + size)
            filer.append(
                file_name(number), log_entries(here), None if slip is None else (here[0] + slip, here[-1] + slip)
            )
            files.setdefault(file_name(number), []).extend(here)
            following += size
        filer.inline("checkpoint.offset", checkpoint.to_bytes(8, "big"))
        done = self.successResultOf(repair(history_of(filer, 200), trusted))
        self.assertEqual((done.end_offset, done.last_ts_ns), (following, ts_ns_of(following - 1)))
        self.assertEqual(filer.checkpoint, following - 1)
        for name, held in files.items():
            self.assertIn(filer.claimed(name), [(held[0], held[-1]), None] if held[-1] == 0 else [(held[0], held[-1])])


class EngineCase(SynchronousTestCase):
    """A real engine."""

    def use(self, engine: Engine) -> None:
        """Work with this one."""
        self.engine = engine
        calls = Calls(InlineBridge(), None, timeout_s=20.0)
        self.addCleanup(calls.stop)
        self.filer = Filer(calls, lambda: engine.filer, lambda: engine.filer_http)
        self.addCleanup(self.filer.stop)
        self.broker = Broker(calls, self.filer, lambda: engine.broker)
        self.cache = HistoryCache(InlineBridge(), 32 << 20)

    def get(self, waiting: Deferred[T]) -> T:
        """A result that is there, as calls run inline."""
        return self.successResultOf(waiting)

    def topic(self) -> tuple[str, PartitionRange]:
        """A new one of one partition."""
        name = f"t-{uuid4().hex[:12]}"
        (partition,) = self.get(self.broker.configure_topic(name, 1))
        return name, partition

    def history(self, topic: str, partition: PartitionRange, piece_bytes: int = 4 << 20) -> History:
        """What is in its log files."""
        place = Directory(partition_directory(topic, partition))
        return History(self.filer, place, self.cache, topic, piece_bytes)

    def publish(
        self,
        topic: str,
        partition: PartitionRange,
        values: Iterable[bytes],
        acknowledged: Callable[[int], bool] = lambda _: False,
    ) -> list[int]:
        """
        Publish over one stream; its regular end flushes.

        @param acknowledged: is given the number of records that are; whether the stream is to be left behind so.
        @return: the offsets that were assigned.
        """
        init = mq_broker_pb2.PublishMessageRequest.InitMessage(
            topic=topic_message(topic), partition=partition_message(partition), publisher_name="test"
        )
        stamps = count(time.time_ns())

        def requests() -> Iterable[bytes]:
            yield mq_broker_pb2.PublishMessageRequest(init=init).SerializeToString()
            for value in values:
                data = mq_broker_pb2.DataMessage(key=b"k", value=value, ts_ns=next(stamps))
                yield mq_broker_pb2.PublishMessageRequest(data=data).SerializeToString()

        offsets: list[int] = []
        with grpc.insecure_channel(self.engine.broker) as channel:
            call = channel.stream_stream("/messaging_pb.SeaweedMessaging/PublishMessage")
            answers = call(iter(requests()), timeout=60)
            next(answers)
            for answer in answers:
                reply = mq_broker_pb2.PublishMessageResponse.FromString(answer)
                self.assertEqual(reply.error, "")
                offsets.append(reply.assigned_offset)
                if acknowledged(len(offsets)):
                    break
        return offsets

    def values(self, history: History, offset: int = 0, max_bytes: int = 1 << 20) -> list[bytes | None]:
        """The values of all records from an offset on, whose offsets have no gap."""
        found: list[bytes | None] = []
        following = offset
        while (batches := self.get(history.read(following, max_bytes, 0))) is not None:
            for record in records_in(batches):
                if record.offset >= following:
                    self.assertEqual(record.offset, following)
                    found.append(record.value)
                    following += 1
        return found


class EngineHistoryTests(EngineCase):
    """What a real engine wrote."""

    def setUp(self) -> None:
        self.use(engine())

    def test_reads_what_was_published(self) -> None:
        """Several thousand records in several files: all of them, from the start and from the middle of a file."""
        topic, partition = self.topic()
        published: list[bytes] = []
        history = self.history(topic, partition, piece_bytes=50_000)
        while len(history.files) < 4:
            values = list(map(value_of, range(len(published), len(published) + 700)))
            offsets = self.publish(topic, partition, values)
            self.assertEqual(offsets, list(range(len(published), len(published) + 700)))
            published += values
            self.get(history.refresh())
            self.assertEqual(history.end, len(published))
        for offset in (0, 1, 699, 700, 701, 1234, len(published) - 1):
            fresh = self.history(topic, partition, piece_bytes=50_000)
            self.get(fresh.refresh())
            self.assertEqual(fresh.end, len(published))
            self.assertEqual(self.values(fresh, offset, 10_000), published[offset:])
        self.assertEqual(self.values(history), published)
        removed = self.get(history.delete_before(1500))
        self.assertEqual(self.values(history, 1500), published[1500:])
        self.get(history.refresh(whole=True))
        self.assertLess(removed, 4)
        self.assertLessEqual(history.files[0].first, 1500)

    def test_repair_while_it_writes(self) -> None:
        """A repair in the middle of publishing loses nothing and changes no offset."""
        topic, partition = self.topic()
        history = self.history(topic, partition)
        ends: list[int] = []

        def acknowledged(number: int) -> bool:
            if number % 1500 == 0:
                ends.append(self.get(repair(self.history(topic, partition))).end_offset)
            return False

        values = list(map(value_of, range(9000)))
        self.assertEqual(self.publish(topic, partition, values, acknowledged), list(range(9000)))
        self.assertEqual(self.get(repair(history)).end_offset, 9000)
        self.assertEqual(self.values(history), values)
        self.assertEqual(ends, sorted(ends))


class EngineCrashTests(EngineCase):
    """Killed while it is written to, and started again."""

    def test_offsets_go_on(self) -> None:
        """
        Whatever the engine noted before the crash, the next record gets the offset behind the last one that is in a
        file, and all are read: where its checkpoint is too high, too low, where a burst was cut short, where there is
        one record, and where none is left.
        """
        crashing = Engine().start()
        self.addCleanup(crashing.discard)
        self.use(crashing)
        topics = [self.topic() for _ in range(5)]
        high, low, burst, one, lost = topics
        before: dict[str, list[bytes]] = {}
        for topic, size in ((high, 500), (low, 500), (one, 1)):
            before[topic[0]] = list(map(value_of, range(size)))
            self.publish(*topic, before[topic[0]])
        before[lost[0]] = []
        sent = list(map(value_of, range(60_000)))
        before[burst[0]] = sent

        def kill(number: int) -> bool:
            if number == 40_000:
                crashing.kill_broker()
            return number >= 40_000

        self.publish(*burst, sent, kill)
        for topic, checkpoint in ((high, 599), (low, 399), (lost, 99)):
            directory = partition_directory(*topic)
            entry = self.get(self.filer.lookup(directory, "checkpoint.offset"))
            content = checkpoint.to_bytes(8, "big")
            if entry is None:
                self.get(self.filer.put(directory, "checkpoint.offset", content))
            else:
                self.get(self.filer.write_content(directory, entry, content))
        crashing.restart()
        for topic in topics:
            history = self.history(*topic)
            done = self.get(repair(history))
            end = done.end_offset
            stored: list[bytes | None] = [*before[topic[0]][:end]]
            self.assertEqual(self.values(history), stored)
            if topic is not burst:
                self.assertEqual(stored, before[topic[0]])
            again = self.get(repair(self.history(*topic), done.trusted))
            self.assertEqual((again.end_offset, again.changed, again.files_read), (end, 0, 0))
            for number in range(2):
                new = list(map(value_of, range(end, end + 50)))
                offsets = self.publish(*topic, new)
                self.assertEqual(offsets, list(range(end, end + 50)), (topic, number))
                end += 50
                stored += new
            self.get(history.refresh())
            self.assertEqual(self.values(history), stored)
            self.assertEqual(self.get(self.broker.high_watermark(*topic)), end)
