"""What one partition needs to send its batches and to know them again: times, and the records last compared."""

from __future__ import annotations

from kgw.engine.seaweed.envelope import BatchFacts
from kgw.engine.seaweed.incoming import LogEntry, decode_entry
from kgw.engine.seaweed.outgoing import MAX_RECORDS_BYTES, Stamps, encode_batch
from kgw.errors import ErrorCode, KafkaError, WireError
from kgw.interfaces import Columns
from kgw.wire.records import Record, RecordBatch


class RecordCodec:
    """
    The codec of one partition (L{kgw.engine.seaweed.held.Codec}).

    @ivar stamps: the times given; set from the log when the partition is taken up.
    """

    __slots__ = ("_batch", "_limit", "_records", "stamps")

    def __init__(self, stamps: Stamps | None = None, limit: int = MAX_RECORDS_BYTES) -> None:
        """
        @param limit: the most bytes that the records of a batch may have, decompressed.
        """
        self.stamps = stamps or Stamps()
        self._limit = limit
        self._batch: RecordBatch | None = None
        self._records: list[Record] = []

    def encode(
        self, batch: RecordBatch, expected_offset: int, now_ns: int, skip: int = 0, columns: Columns | None = None
    ) -> bytes:
        """
        The engine messages of the records from number C{skip} on; see L{encode_batch}.

        @raise KafkaError: see there.
        """
        return encode_batch(batch, expected_offset, self.stamps, now_ns, skip, self._limit, columns).data

    def check(self, batch: RecordBatch, now_ns: int) -> None:
        """
        See whether C{encode} will do; no time is given.

        @raise KafkaError: see L{encode_batch}.
        """
        encode_batch(batch, 0, Stamps(), now_ns, 0, self._limit)

    def same(self, batch: RecordBatch, index: int, entry: LogEntry) -> bool:
        """
        See L{same}; the batch of the last call is not decoded again.

        @raise KafkaError: C{CORRUPT_MESSAGE}, the batch cannot be decoded.
        """
        if batch is not self._batch:
            self._records = _records(batch, self._limit)
            self._batch = batch
        return _same(batch, self._records[index], index, entry)

    def learnt(self, last_ts_ns: int) -> None:
        """A record in the log has this time: those given from now on are later."""
        self.stamps.last_ts_ns = max(self.stamps.last_ts_ns, last_ts_ns)

    def forget(self) -> None:
        """Let go of the batch that was compared last."""
        self._batch, self._records = None, []


def same(batch: RecordBatch, index: int, entry: LogEntry, limit: int = MAX_RECORDS_BYTES) -> bool:
    """
    Whether an entry of a log file is record C{index} of this batch, whichever offset it has.

    @return: an entry that is damaged is none.
    @raise KafkaError: C{CORRUPT_MESSAGE}, the batch cannot be decoded.
    """
    return _same(batch, _records(batch, limit)[index], index, entry)


def _records(batch: RecordBatch, limit: int) -> list[Record]:
    try:
        return batch.records(limit)
    except WireError as error:
        raise KafkaError(ErrorCode.CORRUPT_MESSAGE, str(error)) from None


def _same(batch: RecordBatch, record: Record, index: int, entry: LogEntry) -> bool:
    try:
        stored = decode_entry(entry)
    except KafkaError:
        return False
    facts = stored.facts
    if facts is None:
        # the first record always has them
        if batch.producer_id >= 0 and not index:
            return False
    elif facts != BatchFacts(batch.producer_id, batch.producer_epoch, batch.base_sequence, batch.count, index):
        return False
    return (
        stored.value == record.value
        and stored.key == record.key
        and stored.timestamp == record.timestamp
        and stored.is_log_append_time == batch.is_log_append_time
        and stored.header_pairs == record.headers
    )
