"""Idempotent producers of three libraries that go on through everything, and remember what they were promised."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import Counter
from typing import Any, NamedTuple

import aiokafka
import kafka
from confluent_kafka import Producer

from kgw.test.live.clients import librdkafka

#: Seconds that a record may take until it is acknowledged.
PATIENCE = 120.0
#: So many records at most are on their way at a time.
_WINDOW = 3000


class Promise(NamedTuple):
    """
    An acknowledgement.

    @ivar number: of the record among its producer's.
    @ivar handed_over: when the record was, as C{time.monotonic} tells.
    @ivar at: when the acknowledgement came.
    """

    number: int
    handed_over: float
    at: float


class Source:
    """
    Produces numbered records to all partitions in turn until it is told to stop (C{acks=all}).

    @ivar promises: by partition and offset.
    @ivar unplaced: partitions and numbers of records that are acknowledged, their offsets untold.
    @ivar answered: how many records were acknowledged, or have failed.
    @ivar failures: what records failed with, and how many.
    @ivar wrong: what must not be.
    """

    def __init__(
        self, name: str, bootstrap: str, topic: str, partitions: int, pause: float = 0.1, timeout_ms: int = 5000
    ) -> None:
        """
        @param pause: seconds between two records of a partition.
        @param timeout_ms: how long an answer is waited for before the request is sent again.
        """
        self.name = name
        self.promises: dict[tuple[int, int], Promise] = {}
        self.unplaced: list[tuple[int, int]] = []
        self.answered = 0
        self.handed_over = 0
        self.failures: Counter[str] = Counter()
        self.wrong: list[str] = []
        #: Times that the client's own code broke.
        self.library_errors = 0
        self.bootstrap = bootstrap
        self.topic = topic
        self.partitions = partitions
        self.pause = pause
        self.timeout_ms = timeout_ms
        self.enough = threading.Event()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def value(self, number: int) -> bytes:
        """What a record says."""
        return b"%s:%d" % (self.name.encode(), number)

    def number_of(self, value: bytes) -> int:
        """Which of this source's records it is; -1 where it is another's."""
        name, _, number = value.partition(b":")
        return int(number) if name == self.name.encode() else -1

    def is_full(self) -> bool:
        """Whether too many records are on their way."""
        return self.handed_over - self.answered > _WINDOW

    def promised(self, number: int, handed_over: float, partition: int, offset: int) -> None:
        """A record is acknowledged."""
        self.answered += 1
        if offset < 0:
            # librdkafka knows of a batch that was sent again that it is there, and not always where
            self.unplaced.append((partition, number))
            return
        promise = Promise(number, handed_over, time.monotonic())
        before = self.promises.get((partition, offset))
        if before is not None:
            self.wrong.append(f"{self.name}: {partition}@{offset} was promised twice: {before} and {promise}")
        self.promises[partition, offset] = promise

    def failed(self, error: Any) -> None:
        """A record is not acknowledged, and will not be."""
        self.failures[str(error)] += 1
        self.answered += 1

    def finish(self) -> None:
        """
        Stop producing, and wait for what is on its way.

        @raise AssertionError: something is neither acknowledged nor has failed.
        """
        self.enough.set()
        self._thread.join(PATIENCE)
        left = self.handed_over - self.answered
        if self.library_errors:
            # what the library's own bug has swallowed is neither promised nor refused
            left = 0
        told = f"{self.name}: {left} records without an answer; {self.wrong} {dict(self.failures)}"
        assert not self._thread.is_alive() and not left, told

    def _work(self) -> None:
        try:
            self.run()
        except BaseException as error:
            self.wrong.append(f"{self.name} gave up at {time.time():.1f}: {error!r}")

    def run(self) -> None:
        """Produce until C{enough} is set, then wait for the answers."""
        raise NotImplementedError


class ConfluentSource(Source):
    """librdkafka."""

    def run(self) -> None:
        """See L{Source.run}."""
        producer = Producer(
            librdkafka(
                self.bootstrap,
                enable_idempotence=True,
                acks=-1,
                linger_ms=5,
                reconnect_backoff_ms=20,
                reconnect_backoff_max_ms=300,
                retry_backoff_ms=20,
                request_timeout_ms=self.timeout_ms,
                socket_timeout_ms=self.timeout_ms,
                message_timeout_ms=int(PATIENCE * 1000),
            )
        )
        while not self.enough.is_set():
            for partition in range(self.partitions):
                producer.produce(
                    self.topic,
                    self.value(self.handed_over),
                    partition=partition,
                    on_delivery=self._told(self.handed_over),
                )
                self.handed_over += 1
            self._poll(producer, self.pause)
            until = time.monotonic() + PATIENCE
            while self.is_full() and not self.enough.is_set() and time.monotonic() < until:
                self._poll(producer, 0.1)
        until = time.monotonic() + PATIENCE
        while len(producer) and time.monotonic() < until:
            self._poll(producer, 0.1)

    def _poll(self, producer: Producer, seconds: float) -> None:
        """
        Have answers told.

        confluent-kafka 2.16 now and then raises "exception <class 'str'> is not a BaseException subclass", an error of
        its own C code; librdkafka below goes on.
        """
        try:
            producer.poll(seconds)
        except SystemError:
            self.library_errors += 1

    def _told(self, number: int) -> Any:
        begun = time.monotonic()

        def delivered(error: Any, message: Any) -> None:
            if error is not None:
                self.failed(error)
            else:
                self.promised(number, begun, message.partition(), message.offset())

        return delivered


class KafkaPythonSource(Source):
    """kafka-python."""

    def run(self) -> None:
        """See L{Source.run}."""
        producer = kafka.KafkaProducer(
            bootstrap_servers=self.bootstrap.split(","),
            enable_idempotence=True,
            acks="all",
            linger_ms=5,
            reconnect_backoff_ms=20,
            reconnect_backoff_max_ms=300,
            request_timeout_ms=self.timeout_ms,
            delivery_timeout_ms=int(PATIENCE * 1000),
            max_block_ms=int(PATIENCE * 1000),
        )
        while not self.enough.is_set():
            for partition in range(self.partitions):
                number, begun = self.handed_over, time.monotonic()
                self.handed_over += 1
                future = producer.send(self.topic, self.value(number), partition=partition)
                future.add_callback(self._delivered, number, begun)
                future.add_errback(self.failed)
            self.enough.wait(self.pause)
            while self.is_full() and not self.enough.wait(0.1):
                continue
        producer.close(PATIENCE)

    def _delivered(self, number: int, begun: float, told: Any) -> None:
        self.promised(number, begun, told.partition, told.offset)


class AioKafkaSource(Source):
    """aiokafka."""

    def run(self) -> None:
        """See L{Source.run}."""
        # it warns of each request that is to be sent again, and says so in several lines
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
        asyncio.run(self._produce())

    async def _produce(self) -> None:
        producer = aiokafka.AIOKafkaProducer(
            bootstrap_servers=self.bootstrap.split(","),
            enable_idempotence=True,
            acks="all",
            linger_ms=5,
            # records fail after this time, too, where their partition has no leader
            request_timeout_ms=max(30_000, self.timeout_ms),
        )
        await producer.start()
        while not self.enough.is_set():
            for partition in range(self.partitions):
                number, begun = self.handed_over, time.monotonic()
                try:
                    future = await producer.send(self.topic, self.value(number), partition=partition)
                except aiokafka.errors.KafkaTimeoutError:
                    # no room for more, as nothing goes out: this one was not handed over
                    continue
                self.handed_over += 1
                future.add_done_callback(self._told(number, begun))
            await asyncio.sleep(self.pause)
            while self.is_full() and not self.enough.is_set():
                await asyncio.sleep(0.1)
        await asyncio.wait_for(producer.stop(), PATIENCE)

    def _told(self, number: int, begun: float) -> Any:
        def done(future: Any) -> None:
            error = future.exception()
            if error is not None:
                self.failed(repr(error))
            else:
                told = future.result()
                self.promised(number, begun, told.partition, told.offset)

        return done


#: By the names that L{kgw.test.live.member} gives the libraries.
SOURCES: dict[str, type[Source]] = {
    "confluent-kafka": ConfluentSource,
    "kafka-python": KafkaPythonSource,
    "aiokafka": AioKafkaSource,
}
