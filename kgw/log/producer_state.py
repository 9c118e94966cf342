"""What one partition remembers of idempotent producers, so that a batch sent twice is stored once."""

from __future__ import annotations

import struct
import zlib
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from kgw.errors import ErrorCode, KafkaError
from kgw.model import ActiveProducer

if TYPE_CHECKING:
    from kgw.wire.records import BatchHeader

#: How many of its last batches a producer may repeat, which bounds its requests in flight (Kafka:
#: C{ProducerStateEntry.NUM_BATCHES_TO_RETAIN}).
RETAINED_BATCHES = 5
#: Sequence numbers run from 0 to this one and start again at 0 (Kafka: C{DefaultRecordBatch.incrementSequence}).
MAX_SEQUENCE = (1 << 31) - 1

_SNAPSHOT_VERSION = 1
_PREFIX = struct.Struct(">HII")  # version, CRC-32 of what follows it, number of producers
_CRC_COVERS_FROM = 6
_PRODUCER = struct.Struct(">qhqB")  # id, epoch, last seen in ms, number of batches
_BATCH = struct.Struct(">iiqqq")  # first and last sequence, base and last offset, log append time in ms


class BatchMetadata(NamedTuple):
    """
    One batch a producer wrote.

    @ivar first_sequence: that of its first record.
    @ivar last_sequence: that of its last record; less than C{first_sequence} where the numbers start again.
    @ivar log_append_time_ms: the time its records were given, or -1 where they keep the producer's own.
    """

    first_sequence: int
    last_sequence: int
    base_offset: int
    last_offset: int
    log_append_time_ms: int


class _Producer:
    """One producer id: its epoch, the sequence that comes next, and its last batches, the oldest first."""

    __slots__ = ("batches", "epoch", "next_sequence", "seen_ms")

    def __init__(self, epoch: int, seen_ms: int) -> None:
        self.epoch = epoch
        self.seen_ms = seen_ms
        #: -1 while no batch of this epoch is known.
        self.next_sequence = -1
        self.batches: deque[BatchMetadata] = deque(maxlen=RETAINED_BATCHES)


class ProducerStates:
    """
    The idempotent producers of one partition (KIP-98, KIP-360).

    The rules are those of Kafka 4.x, C{ProducerAppendInfo.checkSequence} and C{ProducerStateManager}, as far as
    they are about batches that clients append without a transaction:

      - A batch with the epoch and exactly the sequence range of one of the producer's last five is a duplicate.
      - A producer id that is not known may start at any epoch and any sequence: its state may have expired or
        gone with the records it wrote, and a client could do nothing about that.
      - A lower epoch is C{INVALID_PRODUCER_EPOCH}; a higher one must start at sequence 0.
      - Otherwise the sequence must follow the last one, or it is C{OUT_OF_ORDER_SEQUENCE_NUMBER}; that goes for
        repetitions of batches older than the last five too.

    So C{UNKNOWN_PRODUCER_ID} and C{DUPLICATE_SEQUENCE_NUMBER} are never raised: Kafka 4 keeps both codes for the
    answers of old brokers only.

    When the log start offset moves up nothing is forgotten (Kafka: C{onLogStartOffsetIncremented}), so that a
    producer goes on where its records are deleted sooner than it writes new ones; what bounds the memory is
    L{expire}. Nothing here reads a clock, waits or does I/O.
    """

    __slots__ = ("_producers", "expiration_ms")

    def __init__(self, expiration_ms: int) -> None:
        """
        @param expiration_ms: how long a producer id is remembered after its last batch
            (C{producer.id.expiration.ms}).
        """
        self.expiration_ms = expiration_ms
        self._producers: dict[int, _Producer] = {}

    def __len__(self) -> int:
        """How many producer ids are known."""
        return len(self._producers)

    def __contains__(self, producer_id: int) -> bool:
        return producer_id in self._producers

    def check(self, batch: BatchHeader, now_ms: int) -> BatchMetadata | None:
        """
        Decide whether a batch from a client may be appended; remembers nothing yet.

        @param batch: without a producer id (-1) it is always welcome.
        @return: the batch that was stored earlier, where this one repeats it: it is not to be appended, the
            client gets that one's offset. Else C{None}.
        @raise KafkaError: C{INVALID_PRODUCER_EPOCH}, C{OUT_OF_ORDER_SEQUENCE_NUMBER}, or C{INVALID_RECORD} where
            a producer id comes without an epoch or a sequence.
        """
        producer_id = batch.producer_id
        if producer_id < 0:
            return None
        producer = self._producers.get(producer_id)
        sequence = batch.base_sequence
        if (
            producer is not None
            and sequence == producer.next_sequence
            and batch.producer_epoch == producer.epoch
            and sequence >= 0
        ):
            return None
        return self._examine(producer, batch, now_ms)

    def _examine(self, producer: _Producer | None, batch: BatchHeader, now_ms: int) -> BatchMetadata | None:
        sequence, epoch = batch.base_sequence, batch.producer_epoch
        if sequence < 0 or epoch < 0:
            raise KafkaError(
                ErrorCode.INVALID_RECORD,
                f"Producer {batch.producer_id} sent epoch {epoch} and sequence {sequence}; neither may be negative.",
            )
        if producer is None or now_ms - producer.seen_ms >= self.expiration_ms:
            return None
        if epoch < producer.epoch:
            raise KafkaError(
                ErrorCode.INVALID_PRODUCER_EPOCH,
                f"Producer {batch.producer_id} sent epoch {epoch}, but epoch {producer.epoch} has been seen.",
            )
        if epoch > producer.epoch:
            if sequence != 0:
                raise KafkaError(
                    ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER,
                    f"Producer {batch.producer_id} started epoch {epoch} with sequence {sequence} instead of 0.",
                )
            return None
        last_sequence = (sequence + batch.last_offset_delta) & MAX_SEQUENCE
        for earlier in producer.batches:
            if earlier.first_sequence == sequence and earlier.last_sequence == last_sequence:
                return earlier
        # A producer whose epoch is known from a control batch alone has no last sequence: 0 comes next.
        expected = max(producer.next_sequence, 0)
        if sequence != expected:
            raise KafkaError(
                ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER,
                f"Producer {batch.producer_id} sent sequence {sequence} where {expected} comes next.",
            )
        return None

    def appended(self, batch: BatchHeader, base_offset: int, now_ms: int) -> None:
        """
        Remember a batch that L{check} let pass and that is now in the log.

        @param base_offset: the offset its first record got.
        @param now_ms: when it was written, in ms since the epoch.
        """
        producer_id = batch.producer_id
        if producer_id < 0:
            return
        epoch = batch.producer_epoch
        producer = self._producers.get(producer_id)
        if producer is None:
            producer = self._producers[producer_id] = _Producer(epoch, now_ms)
        elif producer.epoch != epoch or producer.next_sequence != batch.base_sequence:
            # a new epoch, or a producer that had expired and came back
            producer.epoch = epoch
            producer.batches.clear()
        producer.seen_ms = now_ms
        first, delta = batch.base_sequence, batch.last_offset_delta
        last = (first + delta) & MAX_SEQUENCE
        producer.next_sequence = (last + 1) & MAX_SEQUENCE
        append_time = batch.max_timestamp if batch.is_log_append_time else -1
        producer.batches.append(BatchMetadata(first, last, base_offset, base_offset + delta, append_time))

    def replay(self, batch: BatchHeader, seen_ms: int) -> None:
        """
        Remember a batch found in the log while it is recovered, in the order of the offsets.

        It was checked when it came in, so it is taken as it is (Kafka: C{AppendOrigin.REPLICATION}).

        @param batch: as stored, with its own base offset; only its header is looked at.
        @param seen_ms: when it was written, as far as the caller knows. Kafka takes the batch's own timestamp;
            the time the segment was last written is better, for a producer may well write old events now.
        """
        if batch.producer_id < 0:
            return
        if not batch.is_control:
            self.appended(batch, batch.base_offset, seen_ms)
            return
        # The end of a transaction has no sequence, but its epoch counts.
        producer = self._producers.get(batch.producer_id)
        if producer is None:
            producer = self._producers[batch.producer_id] = _Producer(batch.producer_epoch, seen_ms)
        elif producer.epoch != batch.producer_epoch:
            producer.epoch = batch.producer_epoch
            producer.next_sequence = -1
            producer.batches.clear()
        producer.seen_ms = seen_ms

    def last_offsets(self) -> dict[int, int]:
        """The last offset of each producer id's newest batch, which compaction keeps, if without records."""
        return {
            producer_id: producer.batches[-1].last_offset
            for producer_id, producer in self._producers.items()
            if producer.batches
        }

    def active(self, now_ms: int) -> list[ActiveProducer]:
        """Those that L{expire} would not forget, by their ids."""
        limit = now_ms - self.expiration_ms
        return [
            ActiveProducer(producer_id, one.epoch, (one.next_sequence - 1) & MAX_SEQUENCE, one.seen_ms)
            if one.next_sequence >= 0
            else ActiveProducer(producer_id, one.epoch, -1, one.seen_ms)
            for producer_id, one in sorted(self._producers.items())
            if one.seen_ms > limit
        ]

    def expire(self, now_ms: int) -> int:
        """
        Forget the producers that wrote nothing for C{expiration_ms}; to be called now and then.

        @return: how many.
        """
        limit = now_ms - self.expiration_ms
        expired = [producer_id for producer_id, producer in self._producers.items() if producer.seen_ms <= limit]
        for producer_id in expired:
            del self._producers[producer_id]
        return len(expired)

    def truncate(self, end_offset: int) -> None:
        """
        Forget batches at and behind C{end_offset}: the log was found to end there.

        A producer that has no batch left is forgotten with its epoch, so that what it sends next is taken.
        """
        for producer_id, producer in list(self._producers.items()):
            batches = producer.batches
            while batches and batches[-1].last_offset >= end_offset:
                batches.pop()
            if batches:
                producer.next_sequence = (batches[-1].last_sequence + 1) & MAX_SEQUENCE
            else:
                del self._producers[producer_id]

    def clear(self) -> None:
        """Forget everything."""
        self._producers.clear()

    def snapshot(self) -> bytes:
        """
        All of it as bytes for L{restore}: 19 bytes for a producer and 32 for each of its batches, at most 179.
        """
        pieces = [piece for item in self._producers.items() for piece in _encoded(*item)]
        body = struct.pack(">I", len(self._producers)) + b"".join(pieces)
        return struct.pack(">HI", _SNAPSHOT_VERSION, zlib.crc32(body)) + body

    def restore(self, data: bytes) -> None:
        """
        Take over a snapshot in place of what is known; nothing changes when it fails.

        @raise ValueError: the snapshot is damaged, or of a version this program does not know.
        """
        try:
            version, crc, count = _PREFIX.unpack_from(data)
            if version != _SNAPSHOT_VERSION:
                raise ValueError(f"the producer snapshot has version {version}, known is {_SNAPSHOT_VERSION}")
            if zlib.crc32(memoryview(data)[_CRC_COVERS_FROM:]) != crc:
                raise ValueError("the producer snapshot is damaged: its CRC does not match")
            producers: dict[int, _Producer] = {}
            offset = _PREFIX.size
            for _ in range(count):
                producer_id, epoch, seen_ms, batches = _PRODUCER.unpack_from(data, offset)
                offset += _PRODUCER.size
                producer = producers[producer_id] = _Producer(epoch, seen_ms)
                for _ in range(batches):
                    producer.batches.append(BatchMetadata._make(_BATCH.unpack_from(data, offset)))
                    offset += _BATCH.size
                if producer.batches:
                    producer.next_sequence = (producer.batches[-1].last_sequence + 1) & MAX_SEQUENCE
        except struct.error as error:
            raise ValueError(f"the producer snapshot is cut short: {error}") from error
        if offset != len(data):
            raise ValueError(f"the producer snapshot has {len(data) - offset} bytes too many")
        self._producers = producers


def _encoded(producer_id: int, producer: _Producer) -> Iterator[bytes]:
    yield _PRODUCER.pack(producer_id, producer.epoch, producer.seen_ms, len(producer.batches))
    for batch in producer.batches:
        yield _BATCH.pack(*batch)
