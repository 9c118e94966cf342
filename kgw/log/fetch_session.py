"""Incremental fetch sessions: the broker remembers what a consumer fetches, so that it names only changes (KIP-227)."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from kgw.errors import ErrorCode, KafkaError

INVALID_SESSION_ID = 0
INITIAL_EPOCH = 0
FINAL_EPOCH = -1
_MAX_EPOCH = (1 << 31) - 1

#: A session that nobody used for so long, in seconds, makes room for any other (Kafka:
#: C{MIN_INCREMENTAL_FETCH_SESSION_EVICTION_MS}).
EVICTION_SECONDS = 120.0

#: Partitions remembered over all sessions, each a few hundred bytes. A consumer beyond them is served without a
#: session.
MAX_PARTITIONS = 200_000


class PartitionKey(NamedTuple):
    """
    A partition as the client names it.

    @ivar topic: the topic's id (bytes) from Fetch v13 on, its name before.
    """

    topic: str | bytes
    partition: int


@dataclass(slots=True)
class FetchPartition:
    """
    What a consumer wants of a partition, and what it was last told.

    @ivar high_watermark: as last told, -1 before the first answer and after an error.
    @ivar log_start_offset: as last told.
    """

    fetch_offset: int
    max_bytes: int
    current_leader_epoch: int
    last_fetched_epoch: int
    high_watermark: int = -1
    log_start_offset: int = -1

    def follow(self, newer: FetchPartition) -> None:
        """Take over what a later request of the session says."""
        self.fetch_offset = newer.fetch_offset
        self.max_bytes = newer.max_bytes
        self.current_leader_epoch = newer.current_leader_epoch
        self.last_fetched_epoch = newer.last_fetched_epoch


Partitions = dict[PartitionKey, FetchPartition]


class FetchSession:
    """
    One session: the partitions of one consumer in the order in which they are served.

    @ivar id: 0 where the client keeps no session.
    @ivar epoch: the epoch the client's next request must carry.
    @ivar incremental: answers name only the partitions that changed.
    """

    __slots__ = ("created", "epoch", "id", "incremental", "partitions", "used", "uses_topic_ids")

    def __init__(self, session_id: int, partitions: Partitions, uses_topic_ids: bool, now: float) -> None:
        self.id = session_id
        self.epoch = 1
        self.incremental = False
        self.partitions = partitions
        self.uses_topic_ids = uses_topic_ids
        self.created = self.used = now

    def must_tell(self, key: PartitionKey, error: int, size: int, high_watermark: int, log_start_offset: int) -> bool:
        """
        Whether the answer names this partition; remembers what the client is told then.

        A partition with records goes to the end of the order, so that each gets its turn when answers are full.
        """
        partition = self.partitions.get(key)
        if partition is None:
            return True
        tell = size > 0 or not self.incremental
        if partition.high_watermark != high_watermark:
            tell = True
            partition.high_watermark = high_watermark
        if partition.log_start_offset != log_start_offset:
            tell = True
            partition.log_start_offset = log_start_offset
        if error:
            # told every time, and once more when the error has gone
            tell = True
            partition.high_watermark = -1
        if size > 0 and self.incremental:
            self.partitions[key] = self.partitions.pop(key)
        return tell


class FetchSessions:
    """
    The sessions of this broker, at most C{slots} of them.

    Time is passed in, in seconds.
    """

    def __init__(self, slots: int) -> None:
        """
        @param slots: Kafka's C{max.incremental.fetch.session.cache.slots}.
        """
        self._slots = slots
        self._sessions: dict[int, FetchSession] = {}
        self._remembered = 0

    def __len__(self) -> int:
        return len(self._sessions)

    #: Made here, so that handlers get them with the service.
    key = PartitionKey
    partition = FetchPartition

    def begin(
        self,
        session_id: int,
        epoch: int,
        asked: Partitions,
        forgotten: Iterable[PartitionKey],
        uses_topic_ids: bool,
        now: float,
    ) -> FetchSession:
        """
        Find or make the session of one request.

        @param asked: the partitions the request names.
        @param uses_topic_ids: Fetch v13 and later.
        @return: the session to serve; its C{id} goes into the answer.
        @raise KafkaError: C{FETCH_SESSION_ID_NOT_FOUND}, C{INVALID_FETCH_SESSION_EPOCH} or
            C{FETCH_SESSION_TOPIC_ID_ERROR}.
        """
        if epoch in (INITIAL_EPOCH, FINAL_EPOCH):
            self._end(self._sessions.get(session_id))
            if epoch == FINAL_EPOCH or not asked:
                return FetchSession(INVALID_SESSION_ID, asked, uses_topic_ids, now)
            return self._make(asked, uses_topic_ids, now)
        session = self._sessions.get(session_id)
        if session is None:
            raise KafkaError(ErrorCode.FETCH_SESSION_ID_NOT_FOUND, f"no fetch session {session_id}")
        if session.uses_topic_ids != uses_topic_ids:
            raise KafkaError(ErrorCode.FETCH_SESSION_TOPIC_ID_ERROR, "the session names its topics the other way")
        if session.epoch != epoch:
            raise KafkaError(
                ErrorCode.INVALID_FETCH_SESSION_EPOCH, f"fetch session {session_id} is at epoch {session.epoch}"
            )
        before = len(session.partitions)
        for key in forgotten:
            session.partitions.pop(key, None)
        self._remembered += len(session.partitions) - before
        new = sum(key not in session.partitions for key in asked)
        if self._remembered + new > MAX_PARTITIONS:
            self._end(session)
            raise KafkaError(ErrorCode.FETCH_SESSION_ID_NOT_FOUND, "there is no room for more partitions in sessions")
        self._remembered += new
        for key, partition in asked.items():
            known = session.partitions.get(key)
            if known is None:
                session.partitions[key] = partition
            else:
                known.follow(partition)
        if not session.partitions:
            self._end(session)
            return FetchSession(INVALID_SESSION_ID, {}, uses_topic_ids, now)
        session.incremental = True
        session.epoch = 1 if epoch == _MAX_EPOCH else epoch + 1
        session.used = now
        return session

    def _end(self, session: FetchSession | None) -> None:
        if session is not None:
            del self._sessions[session.id]
            self._remembered -= len(session.partitions)

    def _make(self, asked: Partitions, uses_topic_ids: bool, now: float) -> FetchSession:
        if self._remembered + len(asked) > MAX_PARTITIONS:
            return FetchSession(INVALID_SESSION_ID, asked, uses_topic_ids, now)
        if len(self._sessions) >= self._slots and not self._evict(len(asked), now):
            return FetchSession(INVALID_SESSION_ID, asked, uses_topic_ids, now)
        session_id = random.randint(1, _MAX_EPOCH)
        while session_id in self._sessions:
            session_id = random.randint(1, _MAX_EPOCH)
        session = self._sessions[session_id] = FetchSession(session_id, asked, uses_topic_ids, now)
        self._remembered += len(asked)
        return session

    def _evict(self, size: int, now: float) -> bool:
        """
        Make room for a session of C{size} partitions, if one may go: the stalest, or a smaller one that has had
        its time (Kafka: C{FetchSessionCacheShard.tryEvict}).
        """
        if not self._sessions:
            return False
        stalest = min(self._sessions.values(), key=lambda session: session.used)
        if now - stalest.used < EVICTION_SECONDS:
            old = [session for session in self._sessions.values() if now - session.created >= EVICTION_SECONDS]
            stalest = min(old, key=lambda session: len(session.partitions), default=stalest)
            if not old or len(stalest.partitions) >= size:
                return False
        self._end(stalest)
        return True
