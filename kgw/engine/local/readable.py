"""What a log on the local disk is asked: batches by offset, records by time, bounds and epochs."""

from __future__ import annotations

import errno
from bisect import bisect_right
from collections.abc import Callable, Sequence

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from kgw.engine.local.files import LogFiles
from kgw.engine.local.pages import NotInMemory
from kgw.engine.local.reads import Reads
from kgw.engine.local.retention import first_at, newest
from kgw.engine.local.segment import Segment
from kgw.engine.local.surroundings import Surroundings
from kgw.engine.tail import Tail
from kgw.errors import ErrorCode, KafkaError
from kgw.log.producer_state import ProducerStates
from kgw.model import ActiveProducer, Bounds, Buffer, EpochEnd, Fetched, TimestampOffset, TopicPartition

_NEVER = (1 << 63) - 1


class ReadableLog:
    """
    The half of a partition's log that only reads; L{kgw.engine.local.partition} writes it, and sets its attributes.

    @ivar leader_epoch: the current one.
    """

    _log = Logger()

    name: TopicPartition
    leader_epoch: int
    _around: Surroundings
    _clock: IReactorTime
    _files: LogFiles
    _reads: Reads
    _tail: Tail
    _producers: ProducerStates
    _start: int
    _end: int
    _epochs: list[tuple[int, int]]
    #: As they are; C{None} where something has changed since.
    _bounds: Bounds | None
    #: What everything is refused with, once the log is closed or deleted.
    _gone: tuple[ErrorCode, str] | None

    def read(self, offset: int, max_bytes: int, at_least_one: bool = True) -> Deferred[Fetched]:
        """See L{IPartitionLog.read}."""
        if self._gone is not None:
            return fail(KafkaError(*self._gone))
        bounds = self._bounds
        if bounds is None:
            bounds = self._now()
        if offset == self._end:
            return succeed(Fetched([], 0, bounds))
        if not self._start <= offset < self._end:
            return fail(self._out_of_range(offset))
        if 0 <= self._tail.first <= offset:
            records, size = self._tail.read(offset, max_bytes, at_least_one)
            return succeed(Fetched(records, size, bounds))
        try:
            records, size = self._files.read(offset, max_bytes, at_least_one, self._around.pages.read)
        except NotInMemory:
            return self._read_in_thread(offset, max_bytes, at_least_one)
        except KafkaError as error:
            return fail(error)
        except OSError as error:
            return fail(self._read_failed(error))
        return succeed(Fetched(records, size, bounds))

    def _read_in_thread(self, offset: int, max_bytes: int, at_least_one: bool) -> Deferred[Fetched]:
        def found(result: tuple[list[Buffer], int]) -> Fetched:
            self._check(offset)
            return Fetched(*result, self._bounds or self._now())

        return self._reads.read(offset, max_bytes, at_least_one).addCallbacks(found, self._not_found, (), {}, (offset,))

    def _check(self, offset: int) -> None:
        """The log may have been deleted or trimmed since a thread was asked to read."""
        if self._gone is not None:
            raise KafkaError(*self._gone)
        if offset < self._start:
            raise self._out_of_range(offset)

    def _not_found(self, failure: Failure, offset: int) -> Failure:
        if failure.check(CancelledError) is None:
            self._check(offset)
        if isinstance(failure.value, OSError):
            raise self._read_failed(failure.value)
        return failure

    def _read_failed(self, error: OSError) -> KafkaError:
        if error.errno != errno.ENOENT:
            self._log.error("{name} cannot be read: {reason}", name=self.name, reason=error.strerror)
        return KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, f"{self.name} cannot be read: {error.strerror}")

    def _out_of_range(self, offset: int) -> KafkaError:
        return KafkaError(
            ErrorCode.OFFSET_OUT_OF_RANGE, f"offset {offset} is outside of {self.name}, {self._start} to {self._end}"
        )

    def bounds(self) -> Deferred[Bounds]:
        """See L{IPartitionLog.bounds}."""
        if self._gone is not None:
            return fail(KafkaError(*self._gone))
        return succeed(self._now())

    def _now(self) -> Bounds:
        at = bisect_right(self._epochs, self._start, key=lambda pair: pair[1])
        start_epoch = self._epochs[at - 1][0] if at else -1
        self._bounds = bounds = Bounds(self._start, self._end, self._end, self.leader_epoch, start_epoch)
        return bounds

    def offset_for_time(self, timestamp: int) -> Deferred[TimestampOffset]:
        """See L{IPartitionLog.offset_for_time}."""
        return self._look(lambda segments, start: first_at(segments, timestamp, start))

    def offset_of_max_timestamp(self) -> Deferred[TimestampOffset]:
        """See L{IPartitionLog.offset_of_max_timestamp}."""
        return self._look(newest)

    def _look(self, search: Callable[[Sequence[Segment], int], TimestampOffset]) -> Deferred[TimestampOffset]:
        if self._gone is not None:
            return fail(KafkaError(*self._gone))

        def found(result: TimestampOffset) -> TimestampOffset:
            self._check(_NEVER)
            return result

        looking = self._reads.look(search, lambda: self._start)
        return looking.addCallbacks(found, self._not_found, (), {}, (_NEVER,))

    def end_of_epoch(self, leader_epoch: int) -> Deferred[EpochEnd]:
        """See L{IPartitionLog.end_of_epoch}; by the rules of Kafka's C{LeaderEpochFileCache.endOffsetFor}."""
        if self._gone is not None:
            return fail(KafkaError(*self._gone))
        if leader_epoch == self.leader_epoch:
            return succeed(EpochEnd(leader_epoch, self._end))
        if leader_epoch < 0 or leader_epoch > self.leader_epoch:
            return succeed(EpochEnd(-1, -1))
        at = bisect_right(self._epochs, leader_epoch, key=lambda pair: pair[0])
        known = self._epochs[at - 1][0] if at else leader_epoch
        return succeed(EpochEnd(known, self._epochs[at][1]))

    def producers(self) -> Deferred[list[ActiveProducer]]:
        """See L{IPartitionLog.producers}."""
        if self._gone is not None:
            return fail(KafkaError(*self._gone))
        return succeed(self._producers.active(int(self._clock.seconds() * 1000)))
