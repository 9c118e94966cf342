"""Small makers of what tests need: batches, topics, and a reactor's thread to wait on."""

from __future__ import annotations

import os
import queue
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure
from zope.interface import implementer

from kgw.model import Fetched, Topic
from kgw.wire.records import Header, RecordBatch, build_batch

T = TypeVar("T")

#: When the tests' clocks start, in seconds; timestamps in batches are near it.
EPOCH_S = 1_700_000_000
EPOCH_MS = EPOCH_S * 1000


def raw_batch(*timestamps: int, value: bytes = b"value", **options: Any) -> bytes:
    """
    A batch as a producer sends it, with one record for each timestamp (ms).

    @param options: of L{build_batch}.
    """
    records: list[tuple[bytes | None, bytes | None, Sequence[Header], int]] = [
        (b"key-%d" % n, b"%s-%d" % (value, n), [], timestamp) for n, timestamp in enumerate(timestamps)
    ]
    return build_batch(records, **options)


def batch(*timestamps: int, value: bytes = b"value", **options: Any) -> RecordBatch:
    """The same as L{raw_batch}, parsed; one record at L{EPOCH_MS} where no timestamp is given."""
    return RecordBatch.parse(raw_batch(*(timestamps or (EPOCH_MS,)), value=value, **options))


def idempotent_batch(sequence: int, count: int = 1, producer_id: int = 7, epoch: int = 0) -> RecordBatch:
    """C{count} records of an idempotent producer, from C{sequence} on."""
    return batch(*[EPOCH_MS] * count, producer_id=producer_id, producer_epoch=epoch, base_sequence=sequence)


#: The first half of all topics' ids.
_era = bytes(8)


def new_era() -> None:
    """Topics made from now on are others than those made before: some engines outlive a test, and never forget one."""
    global _era
    _era = os.urandom(8)


def topic(name: str = "orders", partitions: int = 1, number: int = 1) -> Topic:
    """
    A topic.

    @param number: makes its id; another number is another topic.
    """
    return Topic(name, _era + number.to_bytes(8, "big"), partitions, assignments=(0,) * partitions)


def batches_in(fetched: Fetched) -> list[bytes]:
    """The bytes of each batch that a read found, however many buffers they came in."""
    data = b"".join(fetched.records)
    found = []
    offset = 0
    while offset < len(data):
        size = RecordBatch.parse(data, offset).size
        found.append(data[offset : offset + size])
        offset += size
    return found


def offsets_in(fetched: Fetched) -> list[int]:
    """The offsets of all records that a read found."""
    headers = [RecordBatch.parse(data) for data in batches_in(fetched)]
    return [offset for header in headers for offset in range(header.base_offset, header.next_offset)]


@implementer(IReactorFromThreads)
class ThreadQueue:
    """
    Stands for a reactor that threads hand calls to: they run in L{wait}, on the test's own thread.

    @ivar delivered: how many calls it has run.
    """

    def __init__(self) -> None:
        self.delivered = 0
        self._calls: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()

    def callFromThread(self, callable: Callable[..., Any], *args: object, **kwargs: object) -> None:
        """Have it run by L{wait}."""
        self._calls.put(lambda: callable(*args, **kwargs))

    def wait(self, deferred: Deferred[T], timeout_s: float = 10.0) -> T:
        """
        Run what the threads hand in until C{deferred} has fired.

        @return: its result; an error is raised.
        @raise queue.Empty: nothing came for too long.
        """
        results: list[Any] = []
        deferred.addBoth(results.append)
        while not results:
            call = self._calls.get(timeout=timeout_s)
            self.delivered += 1
            call()
        result = results[0]
        if isinstance(result, Failure):
            result.raiseException()
        return result  # type: ignore[no-any-return]
