"""What one partition knows of idempotent producers, with the batches that a crash has left half stored."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import NamedTuple

from kgw.engine.seaweed.envelope import BatchFacts
from kgw.engine.seaweed.incoming import StoredRecord
from kgw.log.producer_state import BatchMetadata, ProducerStates
from kgw.model import ActiveProducer
from kgw.wire.records import LOG_APPEND_TIME, BatchHeader

_VERSION = 1
_PREFIX = struct.Struct(">HqI")
_HALF = struct.Struct(">qhiiqi")


class Half(NamedTuple):
    """
    A batch of which a crash has left only the first records in the log; its producer was never told that it is there.

    @ivar have: how many of its C{records} are stored, from C{base_offset} on.
    """

    producer_epoch: int
    base_sequence: int
    records: int
    base_offset: int
    have: int


class Sequences:
    """
    L{ProducerStates}, and what is known of halves.

    A producer repeats a batch that it has no answer for: of one that is half stored only the rest is then sent, so
    that nothing is doubled. Where the producer goes on with something else, the half stays as it is.

    @ivar covered: offsets below are taken into account.
    """

    def __init__(self, expiration_ms: int) -> None:
        """
        @param expiration_ms: how long a producer id is remembered (C{producer.id.expiration.ms}).
        """
        self.covered = 0
        self._states = ProducerStates(expiration_ms)
        self._halves: dict[int, Half] = {}

    def check(self, batch: BatchHeader, now_ms: int) -> BatchMetadata | None:
        """
        See L{ProducerStates.check}.

        @raise KafkaError: see there.
        """
        return self._states.check(batch, now_ms)

    def half_of(self, batch: BatchHeader) -> Half | None:
        """What is stored of this batch already, if it is half stored."""
        half = self._halves.get(batch.producer_id)
        if half is None or (batch.producer_epoch, batch.base_sequence, batch.count) != half[:3]:
            return None
        return half

    def appended(self, batch: BatchHeader, base_offset: int, now_ms: int) -> None:
        """
        See L{ProducerStates.appended}; for a batch that is published, and will be stored.

        What was half stored of this producer is no half any more: this is its rest, or the producer has gone on.
        """
        self._halves.pop(batch.producer_id, None)
        self._states.appended(batch, base_offset, now_ms)

    def active(self, now_ms: int) -> list[ActiveProducer]:
        """See L{ProducerStates.active}."""
        return self._states.active(now_ms)

    def expire(self, now_ms: int) -> None:
        """Forget who wrote nothing for long; to be called now and then."""
        self._states.expire(now_ms)

    def truncate(self, end_offset: int) -> None:
        """Forget what was published at and behind C{end_offset} and is lost."""
        self._states.truncate(end_offset)
        self._halves = {one: half for one, half in self._halves.items() if half.base_offset + half.have <= end_offset}
        self.covered = min(self.covered, end_offset)

    def replay(self, records: Iterable[StoredRecord], end_offset: int, seen_ms: int) -> None:
        """
        Take into account what is found in the log, in the order of the offsets; records without facts say nothing.

        @param end_offset: where the log ends, which may be within the last batch.
        @param seen_ms: when they were written, as far as is known.
        """
        for record in records:
            if record.facts is not None:
                self._replay(record, record.facts, end_offset, seen_ms)
        self.covered = max(self.covered, end_offset)

    def _replay(self, record: StoredRecord, facts: BatchFacts, end_offset: int, seen_ms: int) -> None:
        half = self._halves.pop(facts.producer_id, None)
        base = record.offset
        if facts.index:
            # the rest of a batch whose beginning was stored before a crash
            if half is None or half[:3] != (facts.producer_epoch, facts.base_sequence, facts.count):
                return
            base = half.base_offset
        have = facts.index + end_offset - record.offset
        if have < facts.count:
            self._halves[facts.producer_id] = Half(facts.producer_epoch, facts.base_sequence, facts.count, base, have)
            return
        header = BatchHeader(
            base_offset=base,
            size=0,
            leader_epoch=0,
            magic=2,
            crc=0,
            attributes=LOG_APPEND_TIME if record.is_log_append_time else 0,
            last_offset_delta=facts.count - 1,
            base_timestamp=record.timestamp,
            max_timestamp=record.timestamp,
            producer_id=facts.producer_id,
            producer_epoch=facts.producer_epoch,
            base_sequence=facts.base_sequence,
            count=facts.count,
        )
        self._states.replay(header, seen_ms)

    def snapshot(self) -> Callable[[int], bytes]:
        """
        All of it as of now.

        Batches that were published are taken to be in the log, so it may be used once they are.

        @return: gives the bytes for L{restore}, told the offset behind the last batch published: C{covered} for then.
        """
        halves = [_HALF.pack(producer_id, *half) for producer_id, half in self._halves.items()]
        states = self._states.snapshot()

        def encode(covered: int) -> bytes:
            return b"".join((_PREFIX.pack(_VERSION, covered, len(halves)), *halves, states))

        return encode

    def restore(self, data: bytes) -> None:
        """
        Take over a snapshot in place of what is known; nothing changes when it fails.

        @raise ValueError: the snapshot is damaged, or of a version this program does not know.
        """
        try:
            version, covered, count = _PREFIX.unpack_from(data)
            if version != _VERSION:
                raise ValueError(f"the snapshot has version {version}, known is {_VERSION}")
            at = _PREFIX.size
            halves: dict[int, Half] = {}
            for _ in range(count):
                producer_id, *rest = _HALF.unpack_from(data, at)
                halves[producer_id] = Half(*rest)
                at += _HALF.size
        except struct.error as error:
            raise ValueError(f"the snapshot is cut short: {error}") from error
        self._states.restore(data[at:])
        self.covered, self._halves = covered, halves
