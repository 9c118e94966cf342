"""Word of flushes: from events of a filer of the test, and from a real engine."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail, gatherResults, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from kgw.engine.bridge import ThreadBridge
from kgw.engine.seaweed.broker import Broker, partition_directory
from kgw.engine.seaweed.calls import Calls
from kgw.engine.seaweed.codec import RecordCodec
from kgw.engine.seaweed.connections import Connections
from kgw.engine.seaweed.errors import EngineUnavailable
from kgw.engine.seaweed.filer import Entry, Filer
from kgw.engine.seaweed.flushes import Flushes, last_offset
from kgw.engine.seaweed.h2.client import connect
from kgw.engine.seaweed.h2.status import UNAVAILABLE, GrpcStatus
from kgw.engine.seaweed.held import Held
from kgw.engine.seaweed.log_file import LogEntry, parse_log
from kgw.engine.seaweed.proto import filer_pb2
from kgw.engine.seaweed.publisher import Doubt, Prepared, Publisher, opening
from kgw.engine.seaweed.unflushed import Unflushed
from kgw.test.seaweed import engine
from kgw.wire.records import NewRecord, RecordBatch, build_batch

DIRECTORY = "/topics/kafka/t/v2026-01-01-00-00-00/0000-2520"
FILE = "2027-01-15-08-00-01"
NOW = 1_800_000_000.0


def end_of_file(offset: int) -> bytes:
    """The last bytes of a log file whose last record has this offset."""
    data: bytes = filer_pb2.LogEntry(ts_ns=1, data=b"a value", key=b"a key", offset=offset).SerializeToString()
    return data[-11:]


def event(
    name: str, claimed: int | None, directory: str = DIRECTORY, size: int = 500
) -> filer_pb2.SubscribeMetadataResponse:
    """A file was written."""
    entry = filer_pb2.Entry(name=name, attributes=filer_pb2.FuseAttributes(file_size=size))
    if claimed is not None:
        entry.extended["offset_max"] = claimed.to_bytes(8, "big")
    notification = filer_pb2.EventNotification(new_entry=entry)
    return filer_pb2.SubscribeMetadataResponse(directory=directory, event_notification=notification, ts_ns=1)


class FakeFiler:
    """
    Log files that all end with one offset.

    @ivar whole: what all files hold; C{None} where only their end is of interest.
    """

    def __init__(self) -> None:
        self.last = 0
        self.whole: bytes | None = None
        self.reads: list[tuple[str, int]] = []
        self.away = False

    def read(self, directory: str, name: str, offset: int = 0, size: int = -1) -> Deferred[bytes]:
        """A part of a file, or its end."""
        self.reads.append((name, offset))
        if self.whole is not None:
            return succeed(self.whole[offset:][:size])
        return fail(EngineUnavailable("away")) if self.away else succeed(end_of_file(self.last))

    def list(self, directory: str, start_after: str = "", limit: int | None = None) -> Deferred[Any]:
        """A log file, and what else may be there."""
        names = ["2027-01-15-07-59-59", FILE, "checkpoint.offset", "2027-01-15-08-00-01.parquet"]
        raw = filer_pb2.Entry()
        return succeed([Entry(name, False, 400, b"", {}, 0, raw) for name in names if name > start_after])


class FakeConnection:
    """A connection whose streams the test talks on."""

    is_open = True

    def __init__(self) -> None:
        self.streams: list[FakeConnection] = []
        self.receiver: Any = None
        self.written = b""

    def open(self, path: bytes, receiver: Any) -> FakeConnection:
        """Open a stream."""
        stream = FakeConnection()
        stream.receiver = receiver
        self.streams.append(stream)
        return stream

    def write(self, data: bytes) -> None:
        """Take the request."""
        self.written += data

    def finish(self) -> None:
        """There is one request only."""

    def cancel(self) -> None:
        """End it."""
        self.receiver.ended(GrpcStatus(1))

    def tell(self, *messages: filer_pb2.SubscribeMetadataResponse) -> None:
        """Events arrive."""
        data = [message.SerializeToString() for message in messages]
        self.receiver.received(b"".join(b"\0" + len(one).to_bytes(4, "big") + one for one in data))


class FakeWaiting:
    """Somebody who waits for flushes."""

    def __init__(self) -> None:
        self.told: list[int] = []
        self.unflushed_end = -1
        self.boundary = -1

    def ends_at(self, end_offset: int) -> bool:
        """Whether a batch ends there."""
        return end_offset == self.boundary

    def flushed(self, end_offset: int) -> None:
        """Take note."""
        self.told.append(end_offset)


class LastOffsetTests(SynchronousTestCase):
    """The last offset is read off the end of a file."""

    @settings(deadline=None)
    @given(st.integers(1, (1 << 63) - 1), st.binary(max_size=9))
    def test_entry(self, offset: int, before: bytes) -> None:
        """Whatever the offset, and whatever stands before it."""
        data = before + filer_pb2.LogEntry(key=b"(", offset=offset).SerializeToString()
        self.assertEqual(last_offset(data[-11:]), offset)

    def test_none(self) -> None:
        """Offset 0 is not written, and a file that was cut ends anyhow."""
        for end in (b"", b"(", b"\x05\x80", b"\x22\x01", b"\xff" * 10 + b"\x01"):
            self.assertIsNone(last_offset(end))


class FlushesTests(SynchronousTestCase):
    """Events become what publishers are told."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.connection = FakeConnection()
        self.filer = FakeFiler()
        connections = Connections(lambda _: succeed(self.connection))  # type: ignore[arg-type]
        self.flushes = Flushes(connections, lambda: "filer:1", self.filer, self.clock)  # type: ignore[arg-type]
        self.waiting = FakeWaiting()
        self.flushes.watch(DIRECTORY, self.waiting)
        self.flushes.start()
        self.addCleanup(self.flushes.stop)

    @property
    def stream(self) -> FakeConnection:
        """The subscription."""
        return self.connection.streams[-1]

    def test_claim(self) -> None:
        """What lies below the largest offset claimed is flushed; the file is not read where nobody waits for more."""
        self.stream.tell(event(FILE, 41))
        self.assertEqual((self.waiting.told, self.filer.reads), ([41], []))

    def test_last_record(self) -> None:
        """Where a batch ends with the record claimed, the end of the file says whether it is there."""
        self.waiting.boundary = 42
        self.filer.last = 41
        self.stream.tell(event(FILE, 41))
        self.assertEqual((self.waiting.told, self.filer.reads), ([41, 42], [(FILE, 489)]))

    def test_one_too_high(self) -> None:
        """A claim that is one too high is not believed."""
        self.waiting.boundary = 42
        self.filer.last = 40
        self.stream.tell(event(FILE, 41))
        self.assertEqual(self.waiting.told, [41, 41])

    def test_first_file(self) -> None:
        """A partition's first file claims nothing, and is read."""
        self.filer.last = 4
        self.stream.tell(event(FILE, None))
        self.assertEqual(self.waiting.told, [5])

    def test_first_record_alone(self) -> None:
        """A partition's first record may be alone in its file; its offset is 0, whatever its key looks like."""
        for key in (b"", b"key", b"(5"):
            one = filer_pb2.LogEntry(ts_ns=1, data=b"a value", key=key).SerializeToString()
            self.filer.whole = len(one).to_bytes(4, "big") + one
            self.stream.tell(event(FILE, None, size=len(self.filer.whole)))
            self.assertEqual(self.waiting.told.pop(), 1)
        two = filer_pb2.LogEntry(ts_ns=2, data=b"another", offset=1).SerializeToString()
        self.filer.whole += len(two).to_bytes(4, "big") + two
        self.stream.tell(event(FILE, None, size=len(self.filer.whole)))
        self.assertEqual(self.waiting.told.pop(), 2)

    def test_batch_of_events(self) -> None:
        """A filer that is behind sends several events in one message."""
        message = event(FILE, 10)
        message.events.append(event(FILE, 20))
        self.stream.tell(message, event(FILE, 30))
        self.assertEqual(self.waiting.told, [10, 20, 30])

    def test_others(self) -> None:
        """Other files and other directories tell nothing; nor does a directory after C{unwatch}."""
        self.stream.tell(event("checkpoint.offset", None), event(FILE + ".parquet", 9), event(FILE, 9, "/topics/x"))
        self.flushes.unwatch(DIRECTORY)
        self.stream.tell(event(FILE, 9))
        self.assertEqual((self.waiting.told, self.filer.reads), ([], []))

    def test_subscribes_again(self) -> None:
        """After a break it goes on from the last event, and looks at the files of those who wait."""
        self.waiting.unflushed_end = 8
        self.filer.last = 7
        self.stream.tell(event(FILE, 3))
        self.stream.receiver.ended(GrpcStatus(UNAVAILABLE, "gone"))
        self.clock.advance(1)
        self.assertEqual(len(self.connection.streams), 2)
        self.assertEqual(self.waiting.told, [3, 8])
        first, second = (
            filer_pb2.SubscribeMetadataRequest.FromString(stream.written[5:]) for stream in self.connection.streams
        )
        self.assertEqual((second.client_id, second.client_epoch), (first.client_id, first.client_epoch + 1))

    def test_lost_event(self) -> None:
        """Who waits for long without an event is looked after, and again where that fails."""
        self.waiting.unflushed_end = 8
        self.filer.last, self.filer.away = 7, True
        self.clock.pump([5, 5])
        self.assertEqual((len(self.filer.reads), self.waiting.told), (1, []))
        self.filer.away = False
        self.clock.advance(5)
        self.assertEqual((self.waiting.told, self.filer.reads[-1][0]), ([8], FILE))

    def test_lost_events_while_more_comes(self) -> None:
        """Files are looked at without events, too, where publishing goes on all the time; not where events come."""
        for events, reads in ((True, 0), (False, 2)):
            for _ in range(4):
                self.waiting.unflushed_end += 10
                if events:
                    self.stream.tell(event(FILE, self.waiting.unflushed_end - 5))
                self.filer.last = self.waiting.unflushed_end - 1
                self.clock.advance(5)
            self.assertEqual(len(self.filer.reads), reads)
        self.assertEqual(self.waiting.told[-1], self.waiting.unflushed_end - 10)


class Owner:
    """A partition that looks at its log files itself."""

    def __init__(self, filer: Filer, directory: str) -> None:
        self.filer = filer
        self.directory = directory

    async def stored(self) -> list[LogEntry]:
        """All that is in files."""
        found: list[LogEntry] = []
        for entry in await self.filer.list(self.directory):
            if entry.name.startswith("2") and "." not in entry.name:
                found += parse_log(await self.filer.read(self.directory, entry.name))[0]
        return found

    def prepare(self, doubt: Doubt, compare: Callable[[list[LogEntry]], None]) -> Deferred[Prepared]:
        """A new partition is empty."""
        return succeed(Prepared(0, 0))

    def visible(self, end_offset: int, batches: list[Held]) -> None:
        """Nobody reads."""

    def moved(self, offset: int) -> None:
        """Never here."""
        raise AssertionError(offset)


class EngineTests(TestCase):
    """Publishing to a real engine."""

    timeout = 120

    async def test_publish(self) -> None:
        """
        Batches are acknowledged and flushed at the offsets foretold, also one record alone in the first file; draining
        flushes all.
        """
        weed = engine()
        bridge = ThreadBridge(reactor, 2)  # type: ignore[arg-type]
        bridge.start()
        calls = Calls(bridge, None)
        filer = Filer(calls, lambda: weed.filer)
        broker = Broker(calls, filer, lambda: weed.broker)
        connections = Connections(lambda address: connect(reactor, address))
        clock = cast(IReactorTime, reactor)
        flushes = Flushes(connections, lambda: weed.filer, filer, clock)
        flushes.start()
        try:
            name = f"flushes-{time.time_ns()}"
            (place,) = await broker.configure_topic(name, 1)
            directory = partition_directory(name, place)
            owner = Owner(filer, directory)
            first_message, codec, unflushed = opening(name, place), RecordCodec(), Unflushed(1 << 20)
            publisher = Publisher(
                name, first_message, owner, codec, unflushed, connections, lambda: broker.leader(name, 0), clock
            )
            flushes.watch(directory, publisher)
            await publisher.start()
            values = [b"%d" % number for number in range(21)]
            first = publisher.publish(self.batch(values[:1]))
            self.assertEqual(await first.acknowledged, 0)
            self.assertEqual(await first.flushed, 0)
            rest = [publisher.publish(self.batch(values[at : at + 5])) for at in range(1, 21, 5)]
            self.assertEqual(await gatherResults([one.flushed for one in rest]), [1, 6, 11, 16])
            last = publisher.publish(self.batch([b"last"]))
            self.assertTrue(await publisher.drain())
            self.assertEqual(await last.acknowledged, 21)
            stored = await owner.stored()
            self.assertEqual([entry.offset for entry in stored], list(range(22)))
            self.assertEqual([entry.value for entry in stored], [*values, b"last"])
            publisher.flushed(22)
            self.assertTrue(publisher.outbox.is_empty)
            publisher.close()
        finally:
            flushes.stop()
            await connections.stop()
            calls.stop()
            bridge.stop()

    def batch(self, values: list[bytes]) -> RecordBatch:
        """A batch of records of now, which are stored as they are."""
        return RecordBatch.parse(build_batch([NewRecord(b"k", one, (), int(time.time() * 1000)) for one in values]))
