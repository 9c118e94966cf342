"""The publisher's stream: greeting, acknowledgements, breaks, errors, room, drain; and the acknowledgements' bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kgw.engine.seaweed.acks import Acks, BadAcks, StreamError, walk
from kgw.engine.seaweed.broker import PartitionRange
from kgw.engine.seaweed.codec import RecordCodec
from kgw.engine.seaweed.connections import Connections
from kgw.engine.seaweed.h2.status import UNAVAILABLE, GrpcError, GrpcStatus
from kgw.engine.seaweed.held import Held
from kgw.engine.seaweed.log_file import LogEntry
from kgw.engine.seaweed.proto import mq_broker_pb2
from kgw.engine.seaweed.publisher import Doubt, Prepared, Publisher, opening
from kgw.engine.seaweed.unflushed import Unflushed
from kgw.errors import ErrorCode, KafkaError
from kgw.wire.records import NewRecord, RecordBatch, build_batch

HELLO = b"\0\0\0\0\0"
NOW = 1_800_000_000.0


def framed(message: Any) -> bytes:
    """A message with gRPC's prefix."""
    data: bytes = message.SerializeToString()
    return b"\0" + len(data).to_bytes(4, "big") + data


def ack(offset: int) -> bytes:
    """One acknowledgement."""
    return framed(mq_broker_pb2.PublishMessageResponse(ack_ts_ns=1_790_000_000_000_000_000, assigned_offset=offset))


def acks(start: int, stop: int) -> bytes:
    """One for each offset."""
    return b"".join(map(ack, range(start, stop)))


def batch_of(*values: bytes) -> RecordBatch:
    """A batch with one record for each value."""
    return RecordBatch.parse(build_batch([NewRecord(None, value, (), int(NOW * 1000)) for value in values]))


class FakeStream:
    """A stream whose other end is the test."""

    def __init__(self, receiver: Any) -> None:
        self.receiver = receiver
        self.written: list[Any] = []
        self.full = self.finished = self.over = False

    def write(self, data: bytes) -> None:
        """Take messages apart."""
        at = 0
        while at < len(data):
            end = at + 5 + int.from_bytes(data[at + 1 : at + 5], "big")
            self.written.append(mq_broker_pb2.PublishMessageRequest.FromString(data[at + 5 : end]))
            at = end

    def finish(self) -> None:
        """Half-close."""
        self.finished = True

    def cancel(self) -> None:
        """End it here."""
        self.end(1, "cancelled")

    def end(self, code: int = 0, message: str = "") -> None:
        """End it there."""
        if not self.over:
            self.over = True
            self.receiver.ended(GrpcStatus(code, message))

    @property
    def values(self) -> list[bytes]:
        """What was published on it; each record here is stored as it is."""
        return [message.data.value for message in self.written[1:]]


class FakeConnection:
    """A connection on which streams open at once."""

    def __init__(self) -> None:
        self.is_open = True
        self.streams: list[FakeStream] = []

    def open(self, path: bytes, receiver: Any) -> Any:
        """Open a stream."""
        self.streams.append(FakeStream(receiver))
        return self.streams[-1]

    def close(self) -> Deferred[None]:
        """Close it."""
        self.is_open = False
        return succeed(None)


class Owner:
    """A partition whose log files the test writes."""

    def __init__(self) -> None:
        self.files: list[LogEntry] = []
        self.doubts: list[Doubt] = []
        self.end_offset = 0
        self.failing: KafkaError | None = None

    def prepare(self, doubt: Doubt, compare: Callable[[list[LogEntry]], None]) -> Deferred[Prepared]:
        """Everything is in files already."""
        self.doubts.append(doubt)
        if self.failing is not None:
            return fail(self.failing)
        if doubt.first_offset >= 0:
            compare(self.files[doubt.first_offset :])
        return succeed(Prepared(len(self.files), self.files[-1].ts_ns if self.files else 0))

    def visible(self, end_offset: int, batches: list[Held]) -> None:
        """Readers may see more."""
        self.end_offset = end_offset

    def moved(self, offset: int) -> None:
        """Never here."""
        raise AssertionError(offset)


class PublisherTests(SynchronousTestCase):
    """One partition's publisher over streams of the test."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.connection = FakeConnection()
        self.asked: list[str] = []
        self.owner = Owner()
        self.unflushed = Unflushed(1000)
        self.publisher = self.make(self.owner)

    def make(self, owner: Owner) -> Publisher:
        """A publisher."""

        def connect(address: str) -> Deferred[Any]:
            self.asked.append(address)
            return succeed(self.connection)

        return Publisher(
            "t-0",
            opening("t", PartitionRange(0, 2520, 7)),
            owner,
            RecordCodec(),
            self.unflushed,
            Connections(connect),
            lambda: succeed("broker:1"),
            self.clock,
        )

    @property
    def stream(self) -> FakeStream:
        """The stream opened last."""
        return self.connection.streams[-1]

    def open(self) -> None:
        """Start it, and have the engine greet."""
        started = self.publisher.start()
        self.stream.receiver.received(HELLO)
        self.successResultOf(started)

    def test_acknowledged_and_flushed(self) -> None:
        """A batch goes out behind the init message and fires in two steps, with its base offset."""
        self.owner.files = [LogEntry(0, 1, b"", b"old"), LogEntry(1, 2, b"", b"older")]
        self.open()
        publication = self.publisher.publish(batch_of(b"a", b"b"))
        self.assertEqual(self.stream.written[0].init.topic.name, "t")
        self.assertEqual(self.stream.values[1:], [b"b"])
        self.stream.receiver.received(acks(2, 4))
        self.assertEqual(self.successResultOf(publication.acknowledged), 2)
        self.assertEqual(self.owner.end_offset, 4)
        flushed = publication.flushed
        safe = self.publisher.when_safe(4, True)
        self.assertNoResult(flushed)
        self.assertNoResult(safe)
        self.assertEqual(self.publisher.unflushed_end, 4)
        self.publisher.flushed(4)
        self.assertEqual(self.successResultOf(flushed), 2)
        self.successResultOf(safe)
        self.assertEqual(self.publisher.unflushed_end, -1)

    def test_nothing_before_the_greeting(self) -> None:
        """What is published early waits for the engine's greeting."""
        started = self.publisher.start()
        self.publisher.publish(batch_of(b"a"))
        self.assertEqual(self.stream.values, [])
        self.assertNoResult(started)
        self.stream.receiver.received(HELLO + b"")
        self.assertEqual(len(self.stream.values), 1)

    def test_break(self) -> None:
        """After a break the files are compared, and only what they do not have is sent again."""
        self.open()
        first = self.publisher.publish(batch_of(b"a", b"b"))
        second = self.publisher.publish(batch_of(b"c"))
        sent = self.stream.written[1:]
        self.stream.receiver.received(acks(0, 1))
        self.owner.files = [LogEntry(n, sent[n].data.ts_ns, b"", sent[n].data.value) for n in range(2)]
        self.stream.end(UNAVAILABLE, "gone")
        third = self.publisher.publish(batch_of(b"d"))
        self.clock.advance(0.1)
        self.assertEqual(self.owner.doubts[-1], Doubt(0, 1))
        self.assertEqual(self.successResultOf(first.flushed), 0)
        self.assertEqual(self.stream.values, [])
        self.stream.receiver.received(HELLO)
        self.assertEqual(len(self.stream.values), 2)
        self.assertEqual(self.stream.written[1].data.ts_ns > sent[1].data.ts_ns, True)
        self.stream.receiver.received(acks(2, 4))
        self.assertEqual([self.successResultOf(one.acknowledged) for one in (second, third)], [2, 3])

    def test_pauses_grow(self) -> None:
        """While the engine is away it is tried ever more seldom, and forever."""
        self.owner.failing = KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, "away")
        started = self.publisher.start()
        tries = []
        for _ in range(400):
            self.clock.advance(0.1)
            tries.append(len(self.owner.doubts))
        self.assertEqual(tries[10] > 2, True)
        self.assertTrue(10 < tries[-1] < 16, tries[-1])
        self.owner.failing = None
        self.clock.advance(5)
        self.stream.receiver.received(HELLO)
        self.successResultOf(started)

    def test_silent_engine(self) -> None:
        """A stream on which nobody greets is given up."""
        self.publisher.start()
        self.clock.advance(10)
        self.assertTrue(self.stream.over)
        self.clock.advance(0.1)
        self.assertEqual(len(self.connection.streams), 2)

    def test_not_leader(self) -> None:
        """Another broker leads: that one is asked next, once."""
        self.publisher.start()
        error = mq_broker_pb2.PublishMessageResponse(error="not leader, it is 10.0.0.7:17777", error_code=6)
        self.stream.receiver.received(framed(error))
        self.clock.advance(0.1)
        self.assertEqual(self.asked, ["broker:1", "10.0.0.7:17777"])

    def test_bound(self) -> None:
        """Above the bound batches wait unsent, in order, until others are in files."""
        self.open()
        other = self.make(Owner())
        started = other.start()
        theirs = self.stream
        theirs.receiver.received(HELLO)
        self.successResultOf(started)
        mine = self.connection.streams[0]
        first = self.publisher.publish(batch_of(b"a" * 1100))
        self.publisher.publish(batch_of(b"b"))
        other.publish(batch_of(b"c"))
        self.assertEqual((len(mine.values), len(theirs.values)), (1, 0))
        mine.receiver.received(acks(0, 1))
        self.publisher.flushed(1)
        self.assertEqual(self.successResultOf(first.flushed), 0)
        self.assertEqual((len(mine.values), len(theirs.values)), (2, 1))

    def test_full_stream(self) -> None:
        """What a stream has no room for waits until it is drained."""
        self.open()
        self.stream.full = True
        self.publisher.publish(batch_of(b"a"))
        self.assertEqual(self.stream.values, [])
        self.stream.full = False
        self.stream.receiver.drained()
        self.assertEqual(len(self.stream.values), 1)

    def test_drain(self) -> None:
        """Draining waits for acknowledgements, then for the end of the stream; flushes count even then."""
        self.open()
        publication = self.publisher.publish(batch_of(b"a"))
        drained = self.publisher.drain()
        self.assertFalse(self.stream.finished)
        self.assertRaises(KafkaError, self.publisher.publish, batch_of(b"b"))
        self.stream.receiver.received(acks(0, 1))
        self.assertTrue(self.stream.finished)
        self.assertNoResult(drained)
        self.stream.end()
        self.assertTrue(self.successResultOf(drained))
        self.publisher.flushed(1)
        self.assertEqual(self.successResultOf(publication.flushed), 0)
        self.publisher.close()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_close(self) -> None:
        """What is not done when it is closed fails, and gives its room back."""
        self.open()
        publication = self.publisher.publish(batch_of(b"a"))
        acknowledged, safe = publication.acknowledged, self.publisher.when_safe(1, False)
        self.publisher.close()
        for waiting in (acknowledged, publication.flushed, safe):
            error = self.failureResultOf(waiting, KafkaError).value
            self.assertEqual(error.code, ErrorCode.KAFKA_STORAGE_ERROR)
        self.assertEqual((self.unflushed.used, self.clock.getDelayedCalls()), (0, []))
        self.assertTrue(self.stream.over)

    def test_closed(self) -> None:
        """After it was closed nothing waits, and nothing is said to be drained."""
        self.open()
        self.publisher.publish(batch_of(b"a"))
        self.publisher.close()
        self.failureResultOf(self.publisher.when_safe(1, True), KafkaError)
        self.assertFalse(self.successResultOf(self.publisher.drain()))
        self.assertRaises(KafkaError, self.publisher.publish, batch_of(b"b"))
        self.failureResultOf(self.publisher.when_safe(1, True), KafkaError)

    def test_idle_stream_breaks(self) -> None:
        """A stream that was open for long is opened again soon, however often that was and though nothing was sent."""
        self.open()
        for _ in range(8):
            self.clock.advance(3600)
            self.stream.end(UNAVAILABLE, "gone")
            self.clock.advance(0.1)
            self.stream.receiver.received(HELLO)
        self.assertEqual(len(self.connection.streams), 9)
        self.assertTrue(self.publisher.is_open)


class ConnectionsTests(SynchronousTestCase):
    """One connection for each address."""

    def test_shared(self) -> None:
        """Those who ask while it is made get the same; after its end another is made; failures reach all."""
        made: list[Deferred[Any]] = []

        def connect(_: str) -> Deferred[Any]:
            made.append(Deferred())
            return made[-1]

        connections = Connections(connect)
        one, other, gone = connections.get("a:1"), connections.get("a:1"), connections.get("a:1")
        gone.cancel()
        self.failureResultOf(gone)
        connection = FakeConnection()
        made[0].callback(connection)
        self.assertIs(self.successResultOf(one), connection)
        self.assertIs(self.successResultOf(other), connection)
        connection.close()
        again = connections.get("a:1")
        made[1].errback(GrpcError(GrpcStatus(UNAVAILABLE, "refused")))
        error = self.failureResultOf(again, KafkaError).value
        self.assertIn("refused", error.message)
        self.successResultOf(connections.stop())
        self.failureResultOf(connections.get("a:1"), KafkaError)


class AcksTests(SynchronousTestCase):
    """Acknowledgements are walked, not decoded one by one, and mean the same."""

    @settings(deadline=None, max_examples=100)
    @given(st.lists(st.tuples(st.sampled_from([0, 100, 16300, 2097100, 1 << 40]), st.integers(1, 200)), max_size=4))
    def test_runs(self, pieces: list[tuple[int, int]]) -> None:
        """Whatever lengths the offsets have, and wherever there are gaps."""
        offsets = [start + number for start, count in pieces for number in range(count)]
        runs: list[tuple[int, int]] = []
        for offset in offsets:
            if runs and runs[-1][1] == offset:
                runs[-1] = (runs[-1][0], offset + 1)
            else:
                runs.append((offset, offset + 1))
        self.assertEqual(walk(b"".join(map(ack, offsets))), Acks(runs))

    def test_gap_inside(self) -> None:
        """A gap between two offsets of one length is found."""
        self.assertEqual(walk(acks(300, 310) + acks(311, 330)), Acks([(300, 310), (311, 330)]))

    def test_error(self) -> None:
        """What was acknowledged in front of an error counts."""
        error = mq_broker_pb2.PublishMessageResponse(error="no", error_code=2)
        self.assertEqual(walk(HELLO + acks(0, 3) + framed(error)), Acks([(0, 3)], 1, StreamError(2, "no")))

    @settings(deadline=None, max_examples=200)
    @given(st.binary(max_size=60))
    def test_anything(self, data: bytes) -> None:
        """Any bytes are acknowledgements or not."""
        try:
            walk(data)
        except BadAcks:
            return
