"""Publishing to one partition: the outbox on a long-lived stream that is opened again whenever it ends."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from kgw.engine.seaweed.broker import NAMESPACE, RING_SIZE, PartitionRange
from kgw.engine.seaweed.errors import PUBLISH_NOT_LEADER, EngineUnavailable
from kgw.engine.seaweed.h2.status import GrpcError
from kgw.engine.seaweed.held import Acknowledged, Broken, Codec, Durable, Effect, Held, Moved, Visible
from kgw.engine.seaweed.interruptions import Interruptions
from kgw.engine.seaweed.outbox import Outbox
from kgw.engine.seaweed.proto import mq_broker_pb2, mq_schema_pb2
from kgw.engine.seaweed.publication import Publication
from kgw.engine.seaweed.session import Session
from kgw.errors import KafkaError
from kgw.model import Buffer

if TYPE_CHECKING:
    from kgw.engine.seaweed.connections import Connections
    from kgw.engine.seaweed.log_file import LogEntry
    from kgw.engine.seaweed.unflushed import Unflushed
    from kgw.interfaces import Columns
    from kgw.wire.records import RecordBatch

PUBLISH = b"/messaging_pb.SeaweedMessaging/PublishMessage"
#: Seconds between two tries to open the stream: at first, and at most.
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
#: Seconds that the engine has to greet on a new stream.
HELLO_TIMEOUT = 10.0
#: Bytes that wait unsent, above which callers do well to hand in no more.
_WAITING = 1 << 20
#: A host and port at the end of what a broker says that is not the leader.
_ADDRESS = re.compile(r"([\w.-]+|\[[0-9a-fA-F:]+\]):(\d{1,5})\W*$")


class Doubt(NamedTuple):
    """
    What a publisher wants to know of the log files before it opens a stream.

    @ivar first_offset: it wants the entries from here on; -1 where it wants none.
    @ivar acknowledged_end: the engine acknowledged everything below. Where the engine is still the one that did, its
        files will have as much: it writes them when the last stream of the partition ends.
    """

    first_offset: int
    acknowledged_end: int


class Prepared(NamedTuple):
    """
    The partition may be touched.

    @ivar end_offset: where the log ends, in its files.
    @ivar last_ts_ns: the latest time a record in them has, 0 where there is none.
    """

    end_offset: int
    last_ts_ns: int


class Owner(Protocol):
    """The partition a publisher works for."""

    def prepare(self, doubt: Doubt, compare: Callable[[list[LogEntry]], None]) -> Deferred[Prepared]:
        """
        Make sure that the engine has written to files what it ever received, and repair what is to be repaired.

        @param compare: to be given all entries of the files from C{doubt.first_offset} to the end, piece by piece.
        """

    def visible(self, end_offset: int, batches: list[Held]) -> None:
        """See L{Visible}."""

    def moved(self, offset: int) -> None:
        """See L{Moved}; comes before the C{visible} that shows what is there now."""


def opening(engine_topic: str, partition: PartitionRange) -> bytes:
    """The first message on a stream, with its gRPC prefix."""
    message: bytes = mq_broker_pb2.PublishMessageRequest(
        init=mq_broker_pb2.PublishMessageRequest.InitMessage(
            topic=mq_schema_pb2.Topic(namespace=NAMESPACE, name=engine_topic),
            partition=mq_schema_pb2.Partition(
                ring_size=RING_SIZE,
                range_start=partition.start,
                range_stop=partition.stop,
                unix_time_ns=partition.unix_time_ns,
            ),
            ack_interval=1,
            publisher_name="kgw",
        )
    ).SerializeToString()
    return b"\0" + len(message).to_bytes(4, "big") + message


class Publisher:
    """
    Publishes batches to one partition, in order, each record once.

    It keeps a stream open all the time, so that the engine keeps the partition loaded, and opens another one whenever
    that ends: after C{prepare} of its owner, with growing pauses.

    @ivar outbox: what is published and in no file yet; to be read only.
    """

    _log = Logger()

    def __init__(
        self,
        name: str,
        first_message: bytes,
        owner: Owner,
        codec: Codec,
        unflushed: Unflushed,
        connections: Connections,
        leader: Callable[[], Deferred[str]],
        clock: IReactorTime,
        now: Callable[[], float] | None = None,
        interruptions: Interruptions | None = None,
    ) -> None:
        """
        @param name: of the partition, for people.
        @param first_message: as L{opening} makes it.
        @param clock: measures pauses.
        @param now: tells the time of records, in seconds since the epoch; C{clock} where none is given.
        @param leader: finds the address of the broker to publish at.
        @param interruptions: told of each; shared by all publishers, but in tests.
        """
        self.outbox = Outbox(codec, unflushed)
        self._name = name
        self._first_message = first_message
        self._owner = owner
        self._codec = codec
        self._unflushed = unflushed
        self._connections = connections
        self._leader = leader
        self._clock = clock
        self._now = now or clock.seconds
        self._session: Session | None = None
        self._opened = False
        self._hint: str | None = None
        self._running: Deferred[None] | None = None
        self._interruptions = interruptions or Interruptions(clock.seconds)
        self._ready: Deferred[None] = Deferred(lambda _: None)
        self._draining: Deferred[bool] | None = None
        self._closed = False
        self._awaited: list[tuple[int, bool, Deferred[None]]] = []

    @property
    def is_open(self) -> bool:
        """Whether what is published goes out now."""
        return self._opened

    def room(self) -> bool:
        """Whether little waits unsent, so that more is welcome."""
        return self.outbox.waiting_bytes < _WAITING

    def start(self) -> Deferred[None]:
        """
        Open the stream, and keep it open; called once.

        @return: fires when it is open for the first time, however long that takes; fails where C{close} is called
            before.
        """
        self._running = Deferred.fromCoroutine(self._run())
        self._running.addErrback(self._died)
        return self._ready

    def publish(
        self, batch: RecordBatch, stored: tuple[int, int] | None = None, columns: Columns | None = None
    ) -> Publication:
        """
        Publish a batch behind those published before; while there is no stream it waits.

        @param stored: where log files have its first records from another time, and how many: not all.
        @param columns: what is stored beside the records.
        @raise KafkaError: C{INVALID_RECORD} or C{CORRUPT_MESSAGE}, nothing is published; C{KAFKA_STORAGE_ERROR} when it
            is closed or draining.
        """
        if self._closed or self._draining is not None:
            raise EngineUnavailable(f"nothing more is published to {self._name}")
        publication = Publication()
        publication.taken(self.outbox.add(batch, publication, self._now_ns(), stored, columns))
        if self._opened:
            self._pump()
        return publication

    def flushed(self, end_offset: int) -> None:
        """Log files have everything below C{end_offset}; see L{Outbox.flushed}."""
        self._perform(self.outbox.flushed(end_offset))

    @property
    def end_offset(self) -> int:
        """Behind the last record the engine is known to have."""
        return self.outbox.end_offset

    @property
    def is_idle(self) -> bool:
        """Whether the stream is open and nothing is on its way, so that the log ends where its end is known to be."""
        return self._opened and not self.outbox.unacknowledged

    def others_wrote(self, end_offset: int) -> None:
        """Somebody else has written to the partition, which ends there now; see L{Outbox.others_wrote}."""
        self._perform(self.outbox.others_wrote(end_offset))

    def when_safe(self, end_offset: int, flushed: bool) -> Deferred[None]:
        """
        Wait for what was published before.

        @param flushed: for log files to have it; else for the engine's acknowledgement.
        @return: fires when everything below C{end_offset} is that safe; fails as a publication does.
        """
        safe: Deferred[None] = Deferred()
        if self._closed:
            safe.errback(EngineUnavailable(f"publishing to {self._name} was ended"))
        else:
            self._awaited.append((end_offset, flushed, safe))
            self._tell_safe()
        return safe

    def _tell_safe(self) -> None:
        outbox, awaited = self.outbox, self._awaited
        acknowledged = outbox.end_offset
        done = [one for one in awaited if one[0] <= (outbox.durable_end if one[1] else acknowledged)]
        if done:
            self._awaited = [one for one in awaited if one not in done]
            for _, _, safe in done:
                safe.callback(None)

    def ends_at(self, end_offset: int) -> bool:
        """See L{Outbox.ends_at}."""
        return self.outbox.ends_at(end_offset)

    @property
    def unflushed_end(self) -> int:
        """Behind the last batch that waits to be in a file; -1 where none is known to the engine."""
        end = self.outbox.acknowledged_end
        return end if end > self.outbox.durable_end else -1

    def tail(self, offset: int, max_bytes: int, leader_epoch: int, at_least_one: bool = True) -> list[Buffer] | None:
        """See L{Outbox.tail}."""
        return self.outbox.tail(offset, max_bytes, leader_epoch, at_least_one)

    def drain(self) -> Deferred[bool]:
        """
        Publish nothing more; have all that was published acknowledged, and end the stream in order.

        When a partition's last stream ends, the engine has written all of it to files. C{flushed} is to be told so by
        the owner, who looks.

        @return: fires with whether that was done: not where C{close} comes first.
        """
        if self._draining is None:
            self._draining = Deferred()
            if self._closed or (self.outbox.is_empty and self._session is None):
                self._over(not self._closed)
            else:
                self._finish_if_drained()
        return self._draining

    def close(self) -> None:
        """End everything now; publications that are not done fail with C{KAFKA_STORAGE_ERROR}."""
        self.abandon(EngineUnavailable(f"publishing to {self._name} was ended"))

    def abandon(self, error: KafkaError) -> None:
        """End everything now; publications that are not done fail with this."""
        if self._closed:
            return
        self._over(False)
        awaited, self._awaited = self._awaited, []
        for _, _, safe in awaited:
            safe.errback(KafkaError(error.code, error.message))
        for held in self.outbox.close():
            cast(Publication, held.token).fail(error)
        self._unflushed.wake()

    def _over(self, drained: bool) -> None:
        self._closed = not drained
        self._opened = False
        self._unflushed.forget(self._pump)
        self._interruptions.forget(self._name)
        session, self._session = self._session, None
        running, self._running = self._running, None
        if running is not None:
            running.cancel()
        if session is not None and session.stream is not None:
            session.stream.cancel()
        if not self._ready.called:
            self._ready.errback(EngineUnavailable(f"publishing to {self._name} was ended"))
        if self._draining is not None and not self._draining.called:
            self._draining.callback(drained)

    # Keeping a stream open.

    async def _run(self) -> None:
        pause = FIRST_PAUSE
        while True:
            worked, began = False, self._clock.seconds()
            try:
                reason = await self._open()
                session, self._opened = self._session, False
                # one that had nothing to do is told from one that is broken off again and again by its age
                aged = self._clock.seconds() - began > LONGEST_PAUSE
                worked = session is not None and (session.worked or aged)
            except (KafkaError, GrpcError) as error:
                reason = error
            except CancelledError:
                raise
            except Exception as error:
                self._log.failure("publishing to {name}: a bug; trying again", name=self._name)
                reason = error
            if reason is None and self._draining is not None and not self.outbox.unacknowledged:
                self._session = self._running = None
                self._over(True)
                return
            self._break_off(reason)
            if worked:
                pause = FIRST_PAUSE
            await deferLater(self._clock, pause, lambda: None)
            pause = min(LONGEST_PAUSE, pause * 2)

    async def _open(self) -> Exception | None:
        """Open a stream, and wait until it ends: why it did."""
        hint, self._hint = self._hint, None
        connection = await self._connections.get(hint or await self._leader())
        doubt = Doubt(self.outbox.recover(), self.outbox.end_offset)
        prepared = await self._owner.prepare(doubt, self.outbox.compare)
        self._codec.learnt(prepared.last_ts_ns)
        effects = self.outbox.resumed(prepared.end_offset)
        self._perform(effects)
        if effects and isinstance(effects[0], Broken):
            raise EngineUnavailable(effects[0].reason)
        session = self._session = Session(self._acknowledged, self._pump)
        hello = cast("Deferred[None]", session.hello)
        session.stream = connection.open(PUBLISH, session)
        session.stream.write(self._first_message)
        await hello.addTimeout(HELLO_TIMEOUT, self._clock, onTimeoutCancel=_no_hello)
        self._opened = True
        self.outbox.opened()
        self._back()
        self._pump()
        self._finish_if_drained()
        return await session.over

    def _break_off(self, reason: Exception | None) -> None:
        """The stream is over, or was never opened."""
        self._opened = False
        session, self._session = self._session, None
        self._unflushed.forget(self._pump)
        self.outbox.lost()
        if session is not None:
            if session.error is not None and session.error.code == PUBLISH_NOT_LEADER:
                found = _ADDRESS.search(session.error.message)
                self._hint = f"{found.group(1)}:{found.group(2)}" if found else None
            if session.stream is not None:
                session.stream.cancel()
        if reason is not None:
            self._interruptions.began(self._name, str(reason))

    def _back(self) -> None:
        self._interruptions.ended(self._name, self.outbox.unacknowledged)
        if not self._ready.called:
            self._ready.callback(None)

    def _died(self, failure: Failure) -> None:
        if failure.check(CancelledError) is None:
            self._log.failure("publishing to {name} has ended by a bug", failure=failure, name=self._name)
            self.close()

    # What goes out and what comes back.

    def _now_ns(self) -> int:
        return int(self._now() * 1e9)

    def _pump(self) -> None:
        """Send what waits, as far as the stream and the engine's backlog have room."""
        session = self._session
        if not self._opened or session is None or session.stream is None:
            return
        stream, outbox = session.stream, self.outbox
        while not stream.full:
            data = outbox.send(self._now_ns())
            if data is None:
                if outbox.wants_room:
                    self._unflushed.wait(self._pump)
                return
            stream.write(data)

    def _acknowledged(self, runs: list[tuple[int, int]]) -> None:
        self._perform(self.outbox.acknowledged(runs))
        self._finish_if_drained()

    def _finish_if_drained(self) -> None:
        session = self._session
        if self._draining is None or not self._opened or session is None or session.stream is None:
            return
        if not self.outbox.unacknowledged:
            # what is half-closed takes nothing more; nothing is left to be sent either
            self._opened = False
            session.stream.finish()

    def _perform(self, effects: list[Effect]) -> None:
        freed = False
        for effect in effects:
            match effect:
                case Acknowledged(held):
                    cast(Publication, held.token).tell_acknowledged()
                case Durable(held):
                    freed = True
                    cast(Publication, held.token).tell_durable()
                case Visible(end_offset, batches):
                    with self._log.failuresHandled("showing what is in {name}", name=self._name):
                        self._owner.visible(end_offset, batches)
                case Moved(offset):
                    self._log.warn("the engine lost records of {name} at {offset}", name=self._name, offset=offset)
                    with self._log.failuresHandled("moving what is in {name}", name=self._name):
                        self._owner.moved(offset)
                case Broken(reason):
                    if self._session is not None:
                        self._session.fail(EngineUnavailable(reason))
        if self._awaited:
            self._tell_safe()
        if freed:
            self._unflushed.wake()


def _no_hello(_result: object, timeout_s: float) -> None:
    raise EngineUnavailable(f"no greeting on the stream within {timeout_s:g} s")
