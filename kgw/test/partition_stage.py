"""One partition over a broker and a filer in memory: its publisher, files and readers are the real ones."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, DeferredSemaphore, fail, succeed
from twisted.internet.task import Clock

from kgw.engine.bridge import InlineBridge
from kgw.engine.seaweed.broker import FetchedMessages, PartitionRange
from kgw.engine.seaweed.codec import RecordCodec
from kgw.engine.seaweed.connections import Connections
from kgw.engine.seaweed.errors import EngineUnavailable
from kgw.engine.seaweed.h2.status import UNAVAILABLE, GrpcStatus
from kgw.engine.seaweed.history_cache import HistoryCache
from kgw.engine.seaweed.layout import Place
from kgw.engine.seaweed.opening import open_partition
from kgw.engine.seaweed.partition import SeaweedPartitionLog
from kgw.engine.seaweed.proto import mq_broker_pb2
from kgw.engine.seaweed.publisher import Publisher, opening
from kgw.engine.seaweed.surroundings import Surroundings
from kgw.engine.seaweed.unflushed import Unflushed
from kgw.engine.tail import TailBudget
from kgw.model import LogConfig, Topic
from kgw.test.builders import EPOCH_S
from kgw.test.seaweed_log_stage import DIRECTORY, LogFiler, file_name, log_entry
from kgw.test.stage import HeldStore

PLACE = Place("orders", PartitionRange(0, 2520, 1), DIRECTORY)
TOPIC = Topic("orders", b"i" * 16, 1)


class Stream:
    """A publish stream as the broker sees it."""

    def __init__(self, broker: MemoryBroker, receiver: Any) -> None:
        self.full = False
        self.over = False
        self._broker = broker
        self._receiver = receiver

    def write(self, data: bytes) -> None:
        """Messages: the first is greeted, each of the others is stored and acknowledged."""
        at = 0
        while at < len(data):
            end = at + 5 + int.from_bytes(data[at + 1 : at + 5], "big")
            request = mq_broker_pb2.PublishMessageRequest.FromString(data[at + 5 : end])
            at = end
            if request.HasField("init"):
                self._receiver.received(b"\0\0\0\0\0")
            else:
                self._broker.receive(self, request.data)

    def acknowledge(self, offset: int) -> None:
        """Say that a record is there."""
        message: bytes = mq_broker_pb2.PublishMessageResponse(
            ack_ts_ns=1_790_000_000_000_000_000, assigned_offset=offset
        ).SerializeToString()
        self._receiver.received(b"\0" + len(message).to_bytes(4, "big") + message)

    def finish(self) -> None:
        """The last stream ends: everything is written to files before that is told."""
        if self._broker.answers:
            if not self._broker.shared:
                self._broker.flush()
            self.end(0)

    def cancel(self) -> None:
        """Ended by the client."""
        self.end(1)

    def end(self, code: int) -> None:
        """It is over."""
        if not self.over:
            self.over = True
            self._receiver.ended(GrpcStatus(code, ""))


class MemoryBroker:
    """
    A broker with one partition, which is also the connection to it.

    @ivar records: key, value and time of each; those in files are the first ones.
    @ivar answers: whether it acknowledges, and ends streams that are finished.
    @ivar takes: how many records it still takes before it crashes.
    @ivar away: whether calls fail.
    @ivar shared: whether somebody else has a stream, so that nothing is written to files when one ends.
    """

    def __init__(self) -> None:
        self.filer = LogFiler()
        self.records: list[tuple[bytes, bytes, int]] = []
        self.answers = self.is_open = True
        self.takes: int | None = None
        self.away = self.shared = False
        self.looks = 0
        self._flushed = self._files = 0
        self._streams: list[Stream] = []
        self._unanswered: list[tuple[Stream, int]] = []

    def open(self, path: bytes, receiver: Any) -> Any:
        """See L{GrpcConnection.open}."""
        stream = Stream(self, receiver)
        self._streams.append(stream)
        return stream

    def close(self) -> Deferred[None]:
        """See L{GrpcConnection.close}."""
        return succeed(None)

    def receive(self, stream: Stream, data: Any) -> None:
        """A record is published."""
        if self.takes is not None:
            if not self.takes:
                self.flush()
                self.crash()
                return
            self.takes -= 1
        if stream.over:
            return
        self.records.append((data.key, data.value, data.ts_ns))
        self._unanswered.append((stream, len(self.records) - 1))
        if self.answers:
            self.answer()

    def answer(self, most: int | None = None) -> None:
        """Acknowledge what was received; no more than so many records."""
        for _ in range(len(self._unanswered) if most is None else most):
            stream, offset = self._unanswered.pop(0)
            stream.acknowledge(offset)

    def write(self, value: bytes, ts_ns: int) -> None:
        """Somebody else publishes a record."""
        self.records.append((b"k", value, ts_ns))

    def flush(self) -> None:
        """Write to a file what is in none."""
        first, new = self._flushed, self.records[self._flushed :]
        if new:
            entries = [log_entry(first + n, value, ts_ns, key) for n, (key, value, ts_ns) in enumerate(new)]
            self._flushed = len(self.records)
            claimed = (first, self._flushed - 1) if first else None
            self.filer.append(file_name(self._files), b"".join(entries), claimed)
            self._files += 1

    def crash(self) -> None:
        """Lose what is in no file, and all streams."""
        del self.records[self._flushed :]
        self._unanswered.clear()
        for stream in self._streams:
            stream.end(UNAVAILABLE)

    def lose_files(self) -> None:
        """Lose everything."""
        self.filer.entries.clear()
        self.filer.contents.clear()
        self._flushed = 0
        self.crash()

    def high_watermark(self, topic: str, partition: PartitionRange) -> Deferred[int]:
        """See L{kgw.engine.seaweed.broker.Broker}."""
        self.looks += 1
        return fail(EngineUnavailable("no broker")) if self.away else succeed(len(self.records))

    def fetch(self, topic: str, partition: PartitionRange, offset: int, count: int, size: int) -> Deferred[Any]:
        """See L{kgw.engine.seaweed.broker.Broker}."""
        if self.away:
            return fail(EngineUnavailable("no broker"))
        found = self.records[offset : offset + count]
        return succeed(FetchedMessages(found, offset + len(found), len(self.records)))


class MemoryPublishing:
    """
    Makes publishers to a L{MemoryBroker}.

    @ivar made: all of them.
    @ivar forgotten: how many are over.
    """

    def __init__(self, broker: MemoryBroker, clock: Clock) -> None:
        self._clock = clock
        connection: Any = broker
        self._connections = Connections(lambda address: succeed(connection))
        self.made: list[Publisher] = []
        self.forgotten = 0

    def publisher(self, name: str, place: Place, owner: Any) -> Publisher:
        """See L{kgw.engine.seaweed.publishing.Publishing}."""

        def leader() -> Deferred[str]:
            return succeed("broker:1")

        first = opening(place.engine_topic, place.range)
        unflushed = Unflushed(1 << 20)
        made = Publisher(name, first, owner, RecordCodec(), unflushed, self._connections, leader, self._clock)
        self.made.append(made)
        return made

    def forget(self, place: Place) -> None:
        """See L{kgw.engine.seaweed.publishing.Publishing}."""
        self.forgotten += 1


class PartitionStage:
    """
    One partition, opened.

    @ivar log: the one opened last.
    """

    def __init__(self, acks_all_flushed: bool = False) -> None:
        self.clock = Clock()
        self.clock.advance(EPOCH_S)
        self.broker = MemoryBroker()
        self.store = HeldStore()
        self.store.open()
        self._acks_all_flushed = acks_all_flushed
        self.log = self.opened()

    def opened(self) -> SeaweedPartitionLog:
        """Open it, as another gateway does."""
        logs: list[SeaweedPartitionLog] = []
        self.opening().addCallback(logs.append)
        (self.log,) = logs
        return self.log

    def opening(self) -> Deferred[SeaweedPartitionLog]:
        """Begin to."""
        publishing: Any = MemoryPublishing(self.broker, self.clock)
        self.publishing: MemoryPublishing = publishing
        broker: Any = self.broker
        filer: Any = self.broker.filer
        around = Surroundings(
            clock=self.clock,
            timer=self.clock,
            store=self.store,
            filer=filer,
            broker=broker,
            publishing=publishing,
            cache=HistoryCache(InlineBridge(), 1 << 30),
            tail=TailBudget(1 << 20),
            opening=DeferredSemaphore(16),
            acks_all_flushed=self._acks_all_flushed,
            producer_id_expiration_ms=86_400_000,
        )
        return Deferred.fromCoroutine(open_partition(TOPIC, 0, PLACE, LogConfig(), around))

    def flush(self) -> None:
        """Have the broker write all to files, and the partition told."""
        self.broker.flush()
        self.publishing.made[-1].flushed(len(self.broker.records))
