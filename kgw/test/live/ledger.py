"""What producers were promised, whether a topic keeps it, and what somebody who followed it saw meanwhile."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import Any, NamedTuple

from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition

from kgw.test.live.clients import Record, confluent_consume, librdkafka

#: Seconds that anything may take, an outage of the engine among it.
PATIENCE = 60.0
#: A writer stops for this long after so many records.
_PAUSE, _BURST = 0.01, 10
#: The first record's timestamp, in 2023; the others follow in steps of a second.
_LONG_AGO = 1_700_000_000_000

#: Records by partition and offset.
Content = dict[tuple[int, int], Record]


class Promise(NamedTuple):
    """
    An acknowledgement.

    @ivar number: of the record among its writer's.
    @ivar at: when it came, as C{time.monotonic} tells.
    @ivar took: seconds since the record was handed over.
    """

    number: int
    record: Record
    at: float
    took: float


class Writer:
    """
    Produces records of all kinds until it is told to stop, and remembers what was acknowledged, when and where.

    @ivar promises: by partition and offset.
    @ivar handed_over: how many records it has produced.
    @ivar failures: what the others failed with.
    """

    def __init__(self, name: str, bootstrap: str, topic: str, partitions: int, **configs: Any) -> None:
        self.name = name
        self.promises: dict[tuple[int, int], Promise] = {}
        self.handed_over = 0
        self.failures: Counter[str] = Counter()
        self._topic = topic
        self._partitions = partitions
        self._enough = threading.Event()
        self._some = threading.Semaphore(0)
        self._producer = Producer(
            librdkafka(
                bootstrap,
                reconnect_backoff_ms=20,
                reconnect_backoff_max_ms=200,
                retry_backoff_ms=20,
                linger_ms=2,
                queue_buffering_max_messages=5000,
                request_timeout_ms=int(PATIENCE * 1000),
                message_timeout_ms=int(PATIENCE * 2000),
                **configs,
            )
        )
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def wait_for_acknowledgements(self, count: int) -> float:
        """Return when C{count} more records have been acknowledged: the seconds it took."""
        begun = time.monotonic()
        for _ in range(count):
            assert self._some.acquire(timeout=PATIENCE), f"{self.name}: nothing is acknowledged; {self.failures}"
        return time.monotonic() - begun

    def forget_acknowledgements(self) -> None:
        """Those that have come are not to be counted by L{wait_for_acknowledgements}."""
        while self._some.acquire(blocking=False):
            continue

    def finish(self) -> None:
        """Stop producing, and wait for the answers that are still to come."""
        self._enough.set()
        self._thread.join()
        left = self._producer.flush(PATIENCE)
        assert not left, f"{self.name}: {left} records neither acknowledged nor failed"

    def number_of(self, record: Record) -> int:
        """Which of this writer's records it is; -1 where it is another's."""
        name, _, rest = (record.value or record.key or b"").partition(b":")
        return int(rest.partition(b":")[0]) if name == self.name.encode() else -1

    def _make(self, number: int) -> Record:
        """Every third has no key, some have no value, some have headers, and some have a time long ago."""
        mark = b"%s:%d:" % (self.name.encode(), number)
        value = None if number % 11 == 5 else mark + b"x" * (number % 300)
        key = None if value and number % 3 == 0 else mark
        headers: tuple[tuple[str, bytes | None], ...] = ()
        if number % 4 == 1:
            headers = (("trace", b"%d" % number), ("empty", b""), ("none", None))
        timestamp = _LONG_AGO + number * 1000 if number % 5 == 2 else int(time.time() * 1000)
        return Record(key, value, timestamp, headers)

    def _run(self) -> None:
        while not self._enough.is_set():
            record = self._make(self.handed_over)
            try:
                self._producer.produce(
                    self._topic,
                    record.value,
                    record.key,
                    partition=self.handed_over % self._partitions,
                    timestamp=record.timestamp,
                    headers=list(record.headers),
                    on_delivery=self._told(self.handed_over, record),
                )
            except BufferError:
                self._producer.poll(0.05)
                continue
            self.handed_over += 1
            self._producer.poll(0)
            if self.handed_over % _BURST == 0:
                self._producer.poll(_PAUSE)

    def _told(self, number: int, record: Record) -> Any:
        begun = time.monotonic()

        def delivered(error: Any, message: Any) -> None:
            if error is not None:
                self.failures[error.name()] += 1
                return
            now = time.monotonic()
            self.promises[message.partition(), message.offset()] = Promise(number, record, now, now - begun)
            self._some.release()

        return delivered


class Follower:
    """
    Reads a topic from its start while it is written.

    @ivar seen: what it was given.
    @ivar again: partition and offset of what it was given twice.
    """

    def __init__(self, bootstrap: str, topic: str, partitions: int) -> None:
        self.seen: Content = {}
        self.again: list[tuple[int, int]] = []
        self._enough = threading.Event()
        self._consumer = Consumer(
            librdkafka(
                bootstrap,
                group_id="follower",
                enable_auto_commit=False,
                check_crcs=True,
                reconnect_backoff_max_ms=200,
                fetch_error_backoff_ms=50,
            )
        )
        self._consumer.assign([TopicPartition(topic, index, OFFSET_BEGINNING) for index in range(partitions)])
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)
        self._thread.start()

    def wait_for(self, count: int) -> None:
        """Return when it has seen so many records."""
        deadline = time.monotonic() + PATIENCE
        while len(self.seen) < count:
            assert time.monotonic() < deadline, f"the follower has {len(self.seen)} of {count} records"
            self._enough.wait(0.02)

    def finish(self) -> None:
        """Read no more."""
        self._enough.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._enough.is_set():
            messages: list[Any] = self._consumer.consume(500, 0.1)
            for message in messages:
                if message.error() is None:
                    where = message.partition(), message.offset()
                    if where in self.seen:
                        self.again.append(where)
                    self.seen[where] = _read(message)
        self._consumer.close()


def _read(message: Any) -> Record:
    headers = tuple(message.headers() or ())
    return Record(message.key(), message.value(), message.timestamp()[1], headers, message.offset())


def content(bootstrap: str, topic: str, partitions: int) -> Content:
    """All records of a topic, of which each partition begins at offset 0 and has no gap."""
    consumer = Consumer(librdkafka(bootstrap, group_id="unused"))
    found: Content = {}
    try:
        for partition in range(partitions):
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), PATIENCE)
            assert low == 0, f"{topic}-{partition} begins at {low}"
            records = confluent_consume(bootstrap, topic, high, partition)
            offsets = [record.offset for record in records]
            assert offsets == list(range(high)), f"{topic}-{partition} has gaps"
            found.update(((partition, record.offset), record) for record in records)
    finally:
        consumer.close()
    return found


class Verdict(NamedTuple):
    """
    What became of a writer's records.

    @ivar lost: promised, and not where they should be.
    @ivar moved: promised for one offset, and found at another one.
    @ivar doubled: numbers of those that are there more than once.
    @ivar disordered: pairs of numbers that follow each other in a partition the wrong way round.
    @ivar changed: pairs of what was promised and what is found in its place, with other fields.
    """

    lost: list[Promise]
    moved: list[int]
    doubled: list[int]
    disordered: list[tuple[int, int]]
    changed: list[tuple[Record, Record]]


def judge(writer: Writer, found: Content) -> Verdict:
    """Compare what a writer was promised with what is there."""
    numbers: dict[int, list[tuple[int, int]]] = {}
    disordered: list[tuple[int, int]] = []
    latest: dict[int, int] = {}
    for where in sorted(found):
        number = writer.number_of(found[where])
        if number < 0:
            continue
        numbers.setdefault(number, []).append(where)
        before = latest.get(where[0], -1)
        if number < before:
            disordered.append((before, number))
        latest[where[0]] = number
    lost = [promise for promise in writer.promises.values() if promise.number not in numbers]
    moved, changed = [], []
    for where, promise in writer.promises.items():
        if promise.number not in numbers:
            continue
        if where not in numbers[promise.number]:
            moved.append(promise.number)
        elif found[where] != promise.record:
            changed.append((promise.record, found[where]))
    doubled = [number for number, places in numbers.items() if len(places) > 1]
    return Verdict(lost, moved, doubled, disordered, changed)
