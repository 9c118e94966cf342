"""The committed offsets of one group and when they expire, in memory."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from kgw.group_model import NO_COMMITTED_OFFSET, CommittedOffset
from kgw.groups.facts import KeptOffset

#: A topic name and a partition.
Place = tuple[str, int]


@dataclass(frozen=True, slots=True)
class OffsetLimits:
    """
    What a node keeps of committed offsets, by Kafka's properties.

    @ivar retention_ms: C{offsets.retention.minutes}, in milliseconds.
    @ivar check_interval_s: C{offsets.retention.check.interval.ms}, in seconds.
    @ivar max_metadata: C{offset.metadata.max.bytes}; Kafka counts UTF-16 code units, not bytes.
    """

    retention_ms: int = 7 * 24 * 3600 * 1000
    check_interval_s: float = 600.0
    max_metadata: int = 4096

    def takes(self, metadata: str) -> bool:
        """Whether the metadata of an offset is short enough."""
        if 2 * len(metadata) <= self.max_metadata:
            return True
        return len(metadata.encode("utf-16-le")) // 2 <= self.max_metadata


@dataclass(frozen=True, slots=True)
class Audience:
    """
    Who may still need the offsets of a group, as far as their retention goes.

    @ivar protocol_type: C{None} for a group that never had members.
    @ivar state: Kafka's word.
    @ivar state_ms: when it came to this state, epoch milliseconds.
    @ivar topics: what its members subscribe to, C{None} where that is not known.
    """

    protocol_type: str | None
    state: str
    state_ms: int
    topics: frozenset[str] | None


class OffsetTable:
    """The committed offsets of one group."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: dict[Place, KeptOffset] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def __iter__(self) -> Iterator[Place]:
        return iter(self._kept)

    def put(self, kept: Mapping[Place, KeptOffset]) -> None:
        """Replace these."""
        self._kept.update(kept)

    def drop(self, places: Iterable[Place]) -> None:
        """Forget these; nothing happens for those that are not there."""
        for place in places:
            self._kept.pop(place, None)

    def get(self, place: Place) -> CommittedOffset:
        """What is committed there, or L{NO_COMMITTED_OFFSET}."""
        kept = self._kept.get(place)
        return NO_COMMITTED_OFFSET if kept is None else kept.committed

    def read(self, places: Sequence[Place] | None) -> dict[Place, CommittedOffset]:
        """
        What is committed.

        @param places: those asked for, each of which is in the answer; C{None} for all there are.
        """
        if places is None:
            return {place: kept.committed for place, kept in self._kept.items()}
        return {place: self.get(place) for place in places}

    def of_topic(self, topic: str) -> list[Place]:
        """The partitions of a topic that have an offset here."""
        return [place for place in self._kept if place[0] == topic]

    def expired(self, now_ms: int, retention_ms: int, audience: Audience) -> list[Place]:
        """
        What nobody needs any more (Kafka: C{ClassicGroup.offsetExpirationCondition}, KIP-211).

        A group that had members keeps its offsets while it has some, and for the retention time after it became
        empty. Without members ever, an offset is kept for the retention time after its commit; so it is in a stable
        group of consumers, for topics that they no longer subscribe to. Where a client gave a time itself, that
        holds instead of the retention time.
        """
        if audience.protocol_type is None:
            since_ms = None
        elif audience.state == "Empty":
            since_ms = audience.state_ms
        elif audience.state == "Stable" and audience.topics is not None:
            since_ms = None
        else:
            return []
        subscribed: Collection[str] = audience.topics or ()
        latest = now_ms - retention_ms
        return [
            place
            for place, kept in self._kept.items()
            if place[0] not in subscribed
            and (
                now_ms >= kept.expire_ms
                if kept.expire_ms >= 0
                else (kept.commit_ms if since_ms is None else since_ms) <= latest
            )
        ]
