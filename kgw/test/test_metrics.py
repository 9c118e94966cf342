"""What is counted, and how little of it is kept."""

from __future__ import annotations

import math
import struct

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kgw.errors import ErrorCode
from kgw.handlers import fetch, metadata, produce
from kgw.handlers.produce_shortcut import ProduceShortcut
from kgw.metrics import QUICK, REQUEST_BOUNDS, ReactorLag, Times, TopicMeters
from kgw.net.dispatcher import Dispatcher, Hangup
from kgw.net.error_fields import reader_of
from kgw.test.builders import EPOCH_MS, raw_batch
from kgw.test.connection_stage import Stage as ConnectionStage
from kgw.test.connection_stage import frame
from kgw.test.stage import Stage, StagePeer


def _wanted(offset: int) -> fetch.RequestPartition:
    """Partition 0 from an offset on."""
    return fetch.RequestPartition(0, fetch_offset=offset, partition_max_bytes=1 << 20)


class TimesTests(SynchronousTestCase):
    """Histograms of durations."""

    @settings(deadline=None, max_examples=50)
    @given(st.lists(st.floats(0, 100)))
    def test_buckets(self, durations: list[float]) -> None:
        """Each bound has all durations that are not above it, and the last one all."""
        times = Times()
        for seconds in durations:
            if seconds < QUICK:
                times.quick += 1
            else:
                times.add(seconds)
        found = dict(times.cumulative())
        self.assertEqual(list(found), [*REQUEST_BOUNDS, math.inf])
        for bound, count in found.items():
            self.assertEqual(count, sum(seconds <= bound for seconds in durations))
        self.assertEqual(times.count, len(durations))


class TopicMetersTests(SynchronousTestCase):
    """Meters of topics come and go."""

    def setUp(self) -> None:
        """Two may be there."""
        self.topics = {"a", "b", "c"}
        self.meters = TopicMeters(2)
        self.meters.exists = self.topics.__contains__

    def count(self, name: str) -> None:
        """One record for a topic."""
        self.meters.of(name).messages_in += 1

    def seen(self) -> dict[str, int]:
        """Records by topic."""
        return {name: meter.messages_in for name, meter in self.meters.items()}

    def test_bounded(self) -> None:
        """Topics above the bound share a meter."""
        for name in "abcc":
            self.count(name)
        self.assertEqual((self.seen(), self.meters.other.messages_in), ({"a": 1, "b": 1}, 2))
        self.assertEqual(self.meters.total().messages_in, 4)

    def test_deleted(self) -> None:
        """A deleted topic has no row, its records stay in the total, and its place is another's."""
        for name in "ab":
            self.count(name)
        self.topics.remove("a")
        self.meters.deleted("a")
        self.assertEqual(self.seen(), {"b": 1})
        self.count("c")
        self.assertEqual(self.seen(), {"b": 1, "c": 1})
        self.assertEqual(self.meters.total().messages_in, 3)

    def test_created_again(self) -> None:
        """A topic that comes back goes on where it was, also for those who hold its meter."""
        held = self.meters.of("a")
        self.meters.deleted("a")
        held.messages_in += 1
        self.count("b")
        self.count("c")
        self.assertEqual(self.seen(), {"a": 1, "b": 1})
        self.assertEqual(self.meters.total().messages_in, 3)


class ReactorLagTests(SynchronousTestCase):
    """How late the reactor is."""

    def test_late(self) -> None:
        """A call that comes two seconds late is counted as such, and so is the time the thread worked."""
        clock = Clock()
        now, cpu = [0.0], [0.0]
        lag = ReactorLag(lambda: now[0], lambda: cpu[0], 1.0)
        self.assertEqual(lag.idle_ratio, 1.0)
        lag.start(clock)
        now[0], cpu[0] = 1.0, 0.25
        clock.advance(1)
        now[0], cpu[0] = 4.0, 1.0
        clock.advance(1)
        self.assertEqual((lag.times.count, lag.times.seconds), (2, 2.0))
        self.assertEqual(dict(lag.times.cumulative())[1.0], 1)
        self.assertEqual((lag.busy_seconds, lag.idle_ratio), (1.0, 0.75))
        lag.stop()
        self.assertEqual(clock.getDelayedCalls(), [])


class ErrorFieldsTests(SynchronousTestCase):
    """Error codes are found wherever a message has them."""

    def test_nested(self) -> None:
        """In the message and in the rows of its rows, and nowhere where all went well."""
        reader = reader_of(fetch.Response)
        assert reader is not None
        rows = [fetch.ResponsePartition(0, code, -1) for code in (0, 1, 3)]
        answer = fetch.Response(error_code=70, responses=[fetch.ResponseTopic("t", b"", rows)])
        codes: list[int] = []
        reader(answer, codes)
        self.assertEqual(codes, [70, 1, 3])
        codes.clear()
        reader(fetch.Response(), codes)
        self.assertEqual(codes, [])

    def test_none(self) -> None:
        """Messages without codes are not looked at."""
        self.assertIsNone(reader_of(metadata.RequestTopic))


class DispatcherTests(SynchronousTestCase):
    """What the dispatcher counts."""

    def setUp(self) -> None:
        """Small APIs."""
        self.stage = ConnectionStage()

    def counts(self) -> dict[tuple[str, int], tuple[int, float]]:
        """Requests and seconds by API and version."""
        return {key: (times.count, times.seconds) for key, times in self.stage.metrics.all_times}

    def dispatch(self, what: str, size: int = 0) -> object:
        """One request."""
        return self.stage.dispatcher.dispatch(frame(1, what, size)[4:], StagePeer())

    def test_times(self) -> None:
        """A request that waits takes as long as it waits, and counts when it is answered."""
        self.dispatch("hello")
        waiting = self.dispatch("wait-hello")
        assert isinstance(waiting, Deferred)
        self.assertEqual(self.counts(), {("Ask", 0): (1, 0.0)})
        self.stage.clock.advance(2.5)
        self.stage.fire("wait-hello")
        self.assertEqual(self.counts(), {("Ask", 0): (2, 2.5)})

    def test_errors(self) -> None:
        """Error codes are counted by API, also where the answer is that there is none."""
        for what in ("kafka", "kafka", "bug"):
            self.dispatch(what)
        self.flushLoggedErrors()
        with self.assertRaises(Hangup):
            self.dispatch("kafka", -1)
        found = {(api, ErrorCode(code).name): count for (api, code), count in self.stage.metrics.errors}
        self.assertEqual(found, {("Ask", "NOT_CONTROLLER"): 3, ("Ask", "UNKNOWN_SERVER_ERROR"): 1})


class RecordTests(SynchronousTestCase):
    """Records in and out, the general way and the short one."""

    def setUp(self) -> None:
        """One topic."""
        self.stage = Stage(self)
        self.stage.create("orders")
        self.meters = self.stage.services.metrics.topics

    def produce(self, dispatcher: Dispatcher, records: bytes, topic: str = "orders", version: int = 8) -> None:
        """One batch, as a client sends it."""
        request = produce.Request(
            acks=-1,
            timeout_ms=1000,
            topic_data=[produce.RequestTopic(topic, b"", [produce.RequestPartition(0, records)])],
        )
        head = struct.pack(">hhih1s", 0, version, 7, 1, b"c")
        dispatcher.dispatch(head + b"".join(produce.API.request_codec(version).encode(request)), StagePeer())

    def test_both_ways(self) -> None:
        """The first batch of a partition goes the general way, the others the short one; all are counted alike."""
        for shortcuts in ({}, {0: ProduceShortcut}):
            dispatcher = Dispatcher(
                {0: produce.API}, self.stage.services, self.stage.services.peer_log, shortcuts=shortcuts
            )
            before = self.meters.of("orders").messages_in
            records = raw_batch(*[EPOCH_MS] * 3)
            for _ in range(4):
                self.produce(dispatcher, records)
            self.assertEqual(self.meters.of("orders").messages_in - before, 12)
        meter = self.meters.of("orders")
        self.assertEqual((meter.bytes_in, meter.produce_requests), (8 * len(records), 8))
        self.assertEqual(meter.failed_produce_requests, 0)
        self.assertEqual(self.stage.services.metrics.errors, [])

    def test_failed(self) -> None:
        """What a client gets wrong in a usual way is an error, and no failure; other errors are both."""
        dispatcher = Dispatcher({0: produce.API}, self.stage.services, self.stage.services.peer_log)
        records = raw_batch(EPOCH_MS)
        self.produce(dispatcher, records[:-1] + b"?")
        self.produce(dispatcher, records, "ghosts")
        self.produce(dispatcher, raw_batch(EPOCH_MS, producer_id=7, producer_epoch=0, base_sequence=5))
        self.produce(dispatcher, raw_batch(EPOCH_MS, producer_id=7, producer_epoch=0, base_sequence=9))
        meter = self.meters.of("orders")
        self.assertEqual((meter.produce_requests, meter.failed_produce_requests, meter.messages_in), (3, 1, 1))
        self.assertEqual([name for name, _ in self.meters.items()], ["orders"])
        self.assertEqual(self.meters.total().produce_requests, 4)
        found = {ErrorCode(code) for (_, code), _ in self.stage.services.metrics.errors}
        wanted = {
            ErrorCode.CORRUPT_MESSAGE,
            ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
            ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER,
        }
        self.assertEqual(found, wanted)

    def test_fetch(self) -> None:
        """Bytes out are those of the batches that were sent."""
        self.stage.append("orders", records=3)
        size = self.stage.engine.partition("orders", 0).extent.size
        for offset, name in ((0, "orders"), (9, "orders"), (0, "ghosts")):
            self.stage.call(
                fetch.API,
                11,
                fetch.Request(
                    max_wait_ms=0,
                    min_bytes=1,
                    topics=[fetch.RequestTopic(name, partitions=[_wanted(offset)])],
                ),
            )
        meter = self.meters.of("orders")
        self.assertEqual((meter.bytes_out, meter.fetch_requests, meter.failed_fetch_requests), (size, 2, 0))
        self.assertEqual(self.meters.unknown.fetch_requests, 1)
