"""Fetch (key 1): reads of many partitions, with long poll and incremental sessions (KIP-74, KIP-227, KIP-516)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from twisted.internet.task import deferLater

from kgw.errors import ErrorCode, KafkaError
from kgw.handlers.contract import Api, Call
from kgw.handlers.fetch_waiting import Waiting
from kgw.handlers.leadership import MOVED, current_leader, endpoints
from kgw.interfaces import IPartitionLog
from kgw.metrics import TopicMeter
from kgw.wire.message import array, field, message
from kgw.wire.primitives import INT8, INT16, INT32, INT64, RECORDS, STRING, UUID

if TYPE_CHECKING:
    from kgw.log.fetch_session import FetchPartition, FetchSession, PartitionKey, Partitions

Records = bytes | bytearray | memoryview | list[bytes | bytearray | memoryview]

#: The first version that names topics by id (KIP-516).
_TOPIC_IDS = 13

#: The epoch of a request that ends its session (KIP-227).
_FINAL_EPOCH = -1

_READ_COMMITTED = 1

#: Errors for which nobody asks the broker: they are not counted as failed requests (Kafka leaves out one more, that its
#: disk fails, which it counts elsewhere).
_EXPECTED = frozenset(
    {
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        ErrorCode.UNKNOWN_TOPIC_ID,
        ErrorCode.INCONSISTENT_TOPIC_ID,
        ErrorCode.NOT_LEADER_OR_FOLLOWER,
        ErrorCode.UNKNOWN_LEADER_EPOCH,
        ErrorCode.FENCED_LEADER_EPOCH,
        ErrorCode.OFFSET_OUT_OF_RANGE,
    }
)

#: After so many partitions of one request others get their turn.
_BREATH = 1000


@message
class RequestReplicaState:
    replica_id: int = field(INT32, since=15, default=-1)
    replica_epoch: int = field(INT64, since=15, default=-1)


@message
class RequestPartition:
    partition: int = field(INT32)
    current_leader_epoch: int = field(INT32, since=9, default=-1)
    fetch_offset: int = field(INT64)
    last_fetched_epoch: int = field(INT32, since=12, default=-1)
    log_start_offset: int = field(INT64, since=5, default=-1)
    partition_max_bytes: int = field(INT32)
    replica_directory_id: bytes = field(UUID, since=17, tag=0)
    high_watermark: int = field(INT64, since=18, tag=1, default=(1 << 63) - 1)


@message
class RequestTopic:
    topic: str = field(STRING, until=12)
    topic_id: bytes = field(UUID, since=13)
    partitions: list[RequestPartition] = field(array(RequestPartition))


@message
class RequestForgottenTopic:
    topic: str = field(STRING, since=7, until=12)
    topic_id: bytes = field(UUID, since=13)
    partitions: list[int] = field(array(INT32), since=7)


@message
class Request:
    cluster_id: str | None = field(STRING, since=12, nullable=12, tag=0, default=None)
    replica_id: int = field(INT32, until=14, default=-1)
    replica_state: RequestReplicaState = field(RequestReplicaState, since=15, tag=1)
    max_wait_ms: int = field(INT32)
    min_bytes: int = field(INT32)
    max_bytes: int = field(INT32, since=3, default=(1 << 31) - 1)
    isolation_level: int = field(INT8, since=4, default=0)
    session_id: int = field(INT32, since=7, default=0)
    session_epoch: int = field(INT32, since=7, default=-1)
    topics: list[RequestTopic] = field(array(RequestTopic))
    forgotten_topics_data: list[RequestForgottenTopic] = field(array(RequestForgottenTopic), since=7)
    rack_id: str = field(STRING, since=11, default="")


@message
class ResponseDivergingEpoch:
    epoch: int = field(INT32, since=12, default=-1)
    end_offset: int = field(INT64, since=12, default=-1)


@message
class ResponseCurrentLeader:
    leader_id: int = field(INT32, since=12, default=-1)
    leader_epoch: int = field(INT32, since=12, default=-1)


@message
class ResponseSnapshotId:
    end_offset: int = field(INT64, default=-1)
    epoch: int = field(INT32, default=-1)


@message
class ResponseAbortedTransaction:
    producer_id: int = field(INT64, since=4)
    first_offset: int = field(INT64, since=4)


@message
class ResponsePartition:
    partition_index: int = field(INT32)
    error_code: int = field(INT16, default=ErrorCode.NONE)
    high_watermark: int = field(INT64)
    last_stable_offset: int = field(INT64, since=4, default=-1)
    log_start_offset: int = field(INT64, since=5, default=-1)
    diverging_epoch: ResponseDivergingEpoch = field(ResponseDivergingEpoch, since=12, tag=0)
    current_leader: ResponseCurrentLeader = field(ResponseCurrentLeader, since=12, tag=1)
    snapshot_id: ResponseSnapshotId = field(ResponseSnapshotId, since=12, tag=2)
    aborted_transactions: list[ResponseAbortedTransaction] | None = field(
        array(ResponseAbortedTransaction), since=4, nullable=4
    )
    preferred_read_replica: int = field(INT32, since=11, default=-1)
    records: Records | None = field(RECORDS, nullable=0)


@message
class ResponseTopic:
    topic: str = field(STRING, until=12)
    topic_id: bytes = field(UUID, since=13)
    partitions: list[ResponsePartition] = field(array(ResponsePartition))


@message
class ResponseNodeEndpoint:
    node_id: int = field(INT32, since=16)
    host: str = field(STRING, since=16)
    port: int = field(INT32, since=16)
    rack: str | None = field(STRING, since=16, nullable=16, default=None)


@message
class Response:
    throttle_time_ms: int = field(INT32, since=1)
    error_code: int = field(INT16, since=7, default=ErrorCode.NONE)
    session_id: int = field(INT32, since=7, default=0)
    responses: list[ResponseTopic] = field(array(ResponseTopic))
    node_endpoints: list[ResponseNodeEndpoint] = field(array(ResponseNodeEndpoint), since=16, tag=0)


async def handle(request: Request, call: Call) -> Response:
    """
    Answer as soon as C{min_bytes} are there, a partition fails or diverges, or C{max_wait_ms} are over.

    @raise KafkaError: the errors of fetch sessions.
    """
    session = _session(request, call)
    reading = _Reading(request, session, call)
    await reading.read_all()
    if reading.should_wait():
        waiting = Waiting(reading.logs, call)
        try:
            waiting.begin(request.max_wait_ms / 1000)
            while True:
                # what was appended between the read and the watch would wake nobody: look once more
                await reading.read_all()
                waiting.need(reading.least - reading.size)
                if waiting.over or not reading.should_wait():
                    break
                await waiting.wait()
        finally:
            waiting.end()
    if call.services.quotas.active and not _may_have(reading.size, call):
        # nothing was told, so the next request of the session finds the same; a new one is not begun
        if session.incremental:
            return Response(session_id=session.id)
        call.services.fetch_sessions.begin(session.id, _FINAL_EPOCH, {}, (), False, call.services.clock.seconds())
        return Response()
    return reading.answer()


def _may_have(size: int, call: Call) -> bool:
    """Whether the client may have what was found now, as its quota has it; if not, it is to come again (KIP-219)."""
    call.throttle_ms, may = call.services.quotas.fetched(call.header.client_id or "", size)
    return may


def _session(request: Request, call: Call) -> FetchSession:
    """The session of a request; a client that keeps none gets one that is forgotten at once."""
    services = call.services
    by_id = call.version >= _TOPIC_IDS
    sessions = services.fetch_sessions
    asked: Partitions = {}
    for topic in request.topics:
        name = topic.topic_id if by_id else topic.topic
        for p in topic.partitions:
            asked[sessions.key(name, p.partition)] = sessions.partition(
                p.fetch_offset, p.partition_max_bytes, p.current_leader_epoch, p.last_fetched_epoch
            )
    forgotten = [
        sessions.key(topic.topic_id if by_id else topic.topic, partition)
        for topic in request.forgotten_topics_data
        for partition in topic.partitions
    ]
    return sessions.begin(request.session_id, request.session_epoch, asked, forgotten, by_id, services.clock.seconds())


@dataclass(slots=True)
class _Row:
    """What the last read found of one partition."""

    partition: ResponsePartition
    size: int
    meter: TopicMeter


class _Reading:
    """
    The reads of one request.

    @ivar logs: the logs of the partitions that could be read.
    @ivar least: bytes the client wants to wait for.
    @ivar size: bytes found by the last read.
    """

    def __init__(self, request: Request, session: FetchSession, call: Call) -> None:
        self._call = call
        self._session = session
        self._most = max(min(request.max_bytes, call.services.config.fetch_max_bytes), 0)
        quotas = call.services.quotas
        if quotas.active:
            # more could never be sent
            self._most = int(min(self._most, quotas.fetch_room(call.header.client_id or "")))
        self._room = 0  # for all that one read finds
        self._committed = request.isolation_level == _READ_COMMITTED
        self._may_wait = request.max_wait_ms > 0 and bool(session.partitions)
        self._rows: dict[PartitionKey, _Row] = {}
        self._at_once = False
        #: Of partitions that are led elsewhere.
        self._leaders: set[int] = set()
        self.least = min(request.min_bytes, self._most)
        self.size = 0
        self.logs: list[IPartitionLog] = []

    def should_wait(self) -> bool:
        """Whether the client would rather wait than have what was found."""
        return self._may_wait and not self._at_once and self.size < self.least

    async def read_all(self) -> None:
        """Read every partition of the session in its order, as far as there is room in the answer."""
        self.size = 0
        self.logs.clear()
        self._leaders.clear()
        # a copy, for another request of the session may come while a read waits
        partitions = list(self._session.partitions.items())
        # not less than one byte, which is what a first batch of any size asks for
        wish = min(self._most, max(sum([wanted.max_bytes for _, wanted in partitions]), 1))
        peer = self._call.peer
        self._room = peer.claim_answer(wish)
        if self._room < wish:
            self.least = min(self.least, self._room)
        try:
            await self._read_each(partitions)
        finally:
            peer.give_back_answer(self._room)

    async def _read_each(self, partitions: list[tuple[PartitionKey, FetchPartition]]) -> None:
        for count, (key, wanted) in enumerate(partitions, 1):
            if not count % _BREATH:
                await deferLater(self._call.services.clock, 0)
            try:
                row = await self._read(key, wanted)
            except KafkaError as error:
                self._at_once = True
                row = _Row(self._refused(key, error.code), 0, self._meter(key.topic))
            self._rows[key] = row
            self.size += row.size

    async def _read(self, key: PartitionKey, wanted: FetchPartition) -> _Row:
        name = self._name(key.topic)
        log = self._call.log_of(name, key.partition, wanted.current_leader_epoch)
        meter = self._call.services.metrics.topics.of(name)
        self.logs.append(log)
        if wanted.last_fetched_epoch >= 0:
            end = await log.end_of_epoch(wanted.last_fetched_epoch)
            if end.end_offset < 0:
                raise KafkaError(ErrorCode.OFFSET_OUT_OF_RANGE, f"no epoch {wanted.last_fetched_epoch} in this log")
            if end.leader_epoch != wanted.last_fetched_epoch or end.end_offset < wanted.fetch_offset:
                return await self._diverging(log, meter, key.partition, end.leader_epoch, end.end_offset)
        room = self._room - self.size
        found = await log.read(wanted.fetch_offset, max(min(wanted.max_bytes, room), 0), not self.size and room > 0)
        bounds = found.bounds
        return _Row(
            ResponsePartition(
                partition_index=key.partition,
                high_watermark=bounds.high_watermark,
                last_stable_offset=bounds.last_stable_offset,
                log_start_offset=bounds.log_start_offset,
                aborted_transactions=[] if self._committed else None,
                records=found.records,
            ),
            found.size,
            meter,
        )

    def _meter(self, topic: str | bytes) -> TopicMeter:
        """The meter of a topic that may not be there."""
        topics, meters = self._call.services.topics, self._call.services.metrics.topics
        found = topics.get(topic) if isinstance(topic, str) else topics.by_id(topic)
        return meters.unknown if found is None else meters.of(found.name)

    def _name(self, topic: str | bytes) -> str:
        if isinstance(topic, str):
            return topic
        found = self._call.services.topics.by_id(topic)
        if found is None:
            raise KafkaError(ErrorCode.UNKNOWN_TOPIC_ID)
        return found.name

    async def _diverging(
        self, log: IPartitionLog, meter: TopicMeter, partition: int, epoch: int, end_offset: int
    ) -> _Row:
        """The client has records that this log does not have: tell it where they part (KIP-595)."""
        self._at_once = True
        bounds = await log.bounds()
        return _Row(
            ResponsePartition(
                partition_index=partition,
                high_watermark=bounds.high_watermark,
                last_stable_offset=bounds.last_stable_offset,
                log_start_offset=bounds.log_start_offset,
                diverging_epoch=ResponseDivergingEpoch(epoch, end_offset),
                aborted_transactions=[] if self._committed else None,
                records=[],
            ),
            0,
            meter,
        )

    def _refused(self, key: PartitionKey, code: ErrorCode) -> ResponsePartition:
        row = _refused(key.partition, code)
        if code in MOVED:
            leader = current_leader(key.topic, key.partition, self._call.services)
            row.current_leader = ResponseCurrentLeader(leader.node_id, leader.epoch)
            self._leaders.add(leader.node_id)
        return row

    def answer(self) -> Response:
        """The answer, with the rows that the session has to tell."""
        topics: list[ResponseTopic] = []
        last: str | bytes = ""
        for key, row in self._rows.items():
            partition = row.partition
            meter = row.meter
            meter.fetch_requests += 1
            meter.bytes_out += row.size
            if partition.error_code:
                meter.failed_fetch_requests += partition.error_code not in _EXPECTED
            told = self._session.must_tell(
                key, partition.error_code, row.size, partition.high_watermark, partition.log_start_offset
            )
            if not (told or partition.diverging_epoch.epoch >= 0):
                continue
            if not topics or key.topic != last:
                last = key.topic
                topics.append(ResponseTopic(topic=last) if isinstance(last, str) else ResponseTopic(topic_id=last))
            topics[-1].partitions.append(partition)
        nodes = [
            ResponseNodeEndpoint(one.node_id, one.host, one.port, one.rack)
            for one in endpoints(self._leaders, self._call.services, self._call.peer)
        ]
        return Response(session_id=self._session.id, responses=topics, node_endpoints=nodes)


def _refused(partition: int, code: ErrorCode) -> ResponsePartition:
    return ResponsePartition(
        partition_index=partition,
        error_code=code,
        high_watermark=-1,
        last_stable_offset=-1,
        log_start_offset=-1,
        aborted_transactions=None,
        records=[],
    )


def refuse(request: Request, code: ErrorCode) -> Response:
    """
    The error for the whole request; before version 7, which has no place for it, for every partition.
    """
    topics = [
        ResponseTopic(t.topic, t.topic_id, [_refused(p.partition, code) for p in t.partitions]) for t in request.topics
    ]
    return Response(error_code=code, responses=topics)


API = Api(
    key=1,
    name="Fetch",
    versions=range(4, 19),
    flexible=12,
    request=Request,
    response=Response,
    handle=handle,
    refuse=refuse,
    parks=True,
)
