"""Fetch: long poll, limits, sessions, and what each wrong request is answered."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from kgw.errors import ErrorCode, KafkaError
from kgw.handlers.fetch import (
    API,
    Request,
    RequestForgottenTopic,
    RequestPartition,
    RequestTopic,
    Response,
    ResponsePartition,
)
from kgw.test.stage import Stage
from kgw.wire.records import RecordBatch


class FetchTests(SynchronousTestCase):
    """Requests on one topic C{t} with two partitions."""

    def setUp(self) -> None:
        """The services and the topic."""
        self.stage = Stage(self)
        self.topic = self.stage.create("t", 2)
        self.timers = len(self.stage.clock.getDelayedCalls())

    def assertNoTimer(self) -> None:
        """No request has left a timer behind."""
        self.assertEqual(len(self.stage.clock.getDelayedCalls()), self.timers)

    def request(self, *offsets: int, wait: int = 0, **fields: Any) -> Request:
        """A request for partitions 0, 1 ... from these offsets on."""
        limit = fields.pop("partition_max_bytes", 1 << 20)
        partitions = [
            RequestPartition(index, fetch_offset=offset, partition_max_bytes=limit)
            for index, offset in enumerate(offsets)
        ]
        topics = [RequestTopic("t", self.topic.id, partitions)] if partitions else []
        fields.setdefault("min_bytes", 1)
        fields.setdefault("max_bytes", 1 << 20)
        return Request(max_wait_ms=wait, topics=topics, **fields)

    def rows(self, response: Response) -> list[ResponsePartition]:
        """The partitions of an answer."""
        return [row for topic in response.responses for row in topic.partitions]

    def fetch(self, request: Request, version: int = 16) -> list[ResponsePartition]:
        """The partitions of an answer that is there at once."""
        return self.rows(self.stage.call(API, version, request))

    def park(self, request: Request) -> Deferred[Response]:
        """Begin a request that must wait."""
        waiting = self.stage.begin(API, 16, request)
        self.assertNoResult(waiting)
        return waiting

    def first_offset(self, row: ResponsePartition) -> int:
        """The base offset of the first batch in a row."""
        assert row.records is not None
        return RecordBatch.parse(bytes(row.records)).base_offset  # type: ignore[arg-type]

    def test_every_version(self) -> None:
        """All served versions give the records and the bounds."""
        self.stage.append("t", 0, 3)
        for version in API.versions:
            (row,) = self.fetch(self.request(0), version)
            self.assertEqual((row.error_code, row.high_watermark), (0, 3), f"v{version}")
            self.assertEqual(self.first_offset(row), 0)

    def test_inside_a_batch(self) -> None:
        """An offset inside a batch returns the whole batch, or the consumer would hang for ever."""
        self.stage.append("t", 0, 3)
        self.stage.append("t", 0, 3)
        (row,) = self.fetch(self.request(4))
        self.assertEqual(self.first_offset(row), 3)

    def test_isolation(self) -> None:
        """Only a read_committed consumer is told of aborted transactions, of which there are none."""
        self.stage.append("t")
        for level, aborted in ((0, None), (1, [])):
            (row,) = self.fetch(self.request(0, isolation_level=level))
            self.assertEqual((row.aborted_transactions, row.last_stable_offset), (aborted, 1))

    def test_out_of_range(self) -> None:
        """An offset outside the log is an error at once, whatever the wait."""
        for offset in (-1, 1):
            (row,) = self.fetch(self.request(offset, wait=500))
            self.assertEqual((row.error_code, row.high_watermark), (ErrorCode.OFFSET_OUT_OF_RANGE, -1))

    def test_unknown(self) -> None:
        """Unknown partitions and topic ids are told by row."""
        self.assertEqual(self.fetch(self.request(0, 0, 0))[2].error_code, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        request = self.request(0)
        request.topics[0].topic_id = b"no such topic id"
        self.assertEqual(self.fetch(request)[0].error_code, ErrorCode.UNKNOWN_TOPIC_ID)
        request.topics[0].topic = "x"
        self.assertEqual(self.fetch(request, 12)[0].error_code, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)

    def test_leader_epochs(self) -> None:
        """A client that knows another leader epoch is told so (KIP-320)."""
        request = self.request(0)
        request.topics[0].partitions[0].current_leader_epoch = 3
        self.assertEqual(self.fetch(request)[0].error_code, ErrorCode.UNKNOWN_LEADER_EPOCH)
        request.topics[0].partitions[0].current_leader_epoch = 0
        self.assertEqual(self.fetch(request)[0].error_code, 0)

    def test_diverging(self) -> None:
        """A client with more records of an epoch than the log has learns where they part."""
        self.stage.append("t")
        request = self.request(5, wait=500)
        request.topics[0].partitions[0].last_fetched_epoch = 0
        (row,) = self.fetch(request)
        self.assertEqual((row.error_code, row.diverging_epoch.epoch, row.diverging_epoch.end_offset), (0, 0, 1))
        request.topics[0].partitions[0].last_fetched_epoch = 7
        self.assertEqual(self.fetch(request)[0].error_code, ErrorCode.OFFSET_OUT_OF_RANGE)

    def test_limits(self) -> None:
        """The first batch comes whole however small the limits; the others only as far as there is room."""
        for partition in (0, 1):
            self.stage.append("t", partition)
            self.stage.append("t", partition)
        one = self.stage.append("t", 0).base_offset  # three batches in partition 0
        self.assertEqual(one, 2)
        sizes = [len(row.records or b"") for row in self.fetch(self.request(0, 0, max_bytes=1))]
        self.assertGreater(sizes[0], 1)
        self.assertEqual(sizes[1], 0)
        size = sizes[0]
        sizes = [len(row.records or b"") for row in self.fetch(self.request(0, 0, partition_max_bytes=size))]
        self.assertEqual(sizes, [size, size])
        sizes = [len(row.records or b"") for row in self.fetch(self.request(0, 0, max_bytes=4 * size))]
        self.assertEqual(sizes, [3 * size, size])

    def test_fetch_max_bytes(self) -> None:
        """The server's own limit holds for clients that ask for more."""
        self.stage = Stage(self, {"fetch.max.bytes": "1024"})
        self.topic = self.stage.create("t", 1)
        for _ in range(100):
            self.stage.append("t")
        (row,) = self.fetch(self.request(0, max_bytes=1 << 30))
        self.assertLessEqual(len(row.records or b""), 1024)

    def test_long_poll_is_woken(self) -> None:
        """A parked request is answered by the next append, in the next turn of the reactor."""
        waiting = self.park(self.request(0, wait=500))
        self.stage.append("t")
        self.assertNoResult(waiting)
        self.stage.clock.advance(0)
        self.assertEqual(self.first_offset(self.rows(self.successResultOf(waiting))[0]), 0)
        self.assertNoTimer()

    def test_long_poll_times_out(self) -> None:
        """With nothing to read the answer comes when the wait is over, and is empty."""
        waiting = self.park(self.request(0, wait=500))
        self.stage.clock.advance(0.499)
        self.assertNoResult(waiting)
        self.stage.clock.advance(0.002)
        (row,) = self.rows(self.successResultOf(waiting))
        self.assertEqual((row.error_code, row.records), (0, b""))

    def hold_reads(self, partition: int) -> list[Deferred[None]]:
        """Let reads of a partition wait for the test, as those of old records wait for the disk."""
        held: list[Deferred[None]] = []
        log: Any = self.stage.engine.partition("t", partition)
        read = log.read

        def hold(*wanted: Any) -> Deferred[Any]:
            held.append(Deferred())
            return held[-1].addCallback(lambda _: read(*wanted))

        self.patch(log, "read", hold)
        return held

    def test_woken_during_a_read(self) -> None:
        """What is appended while a read of another partition waits for the disk wakes the request all the same."""
        held = self.hold_reads(1)
        waiting = self.park(self.request(0, 0, wait=30_000))
        held[0].callback(None)
        self.stage.append("t", 0)
        self.stage.clock.advance(0)
        held[1].callback(None)
        held[2].callback(None)
        self.assertEqual(self.first_offset(self.rows(self.successResultOf(waiting))[0]), 0)
        self.assertNoTimer()

    def test_two_requests_of_a_session(self) -> None:
        """A request that changes the session while another one of it reads does not hurt that one."""
        first: Response = self.stage.call(API, 16, self.request(0, session_epoch=0))
        self.stage.append("t", 0)
        held = self.hold_reads(0)
        waiting = self.park(self.request(session_id=first.session_id, session_epoch=1, wait=500))
        second = self.park(self.request(0, 0, session_id=first.session_id, session_epoch=2))
        for read in held:
            read.callback(None)
        self.assertEqual([row.partition_index for row in self.rows(self.successResultOf(waiting))], [0])
        self.assertEqual(len(self.rows(self.successResultOf(second))), 2)

    def test_very_many_partitions(self) -> None:
        """A request for very many partitions lets others have their turn between."""
        request = self.request(*[0] * 2500)
        waiting = self.park(request)
        self.stage.clock.advance(0)
        rows = self.rows(self.successResultOf(waiting))
        self.assertEqual(sum(not row.error_code for row in rows), 2)
        self.assertEqual(len(rows), 2500)

    def test_min_bytes(self) -> None:
        """A parked request is not answered before as many bytes are there as it asks for."""
        self.stage.append("t", 1)
        size = len(self.fetch(self.request(0, 0))[1].records or b"")
        waiting = self.park(self.request(0, 0, wait=500, min_bytes=3 * size))
        self.stage.append("t", 0)
        self.stage.clock.advance(0)
        self.assertNoResult(waiting)
        self.stage.append("t", 1)
        self.stage.clock.advance(0)
        self.assertEqual(
            [len(row.records or b"") for row in self.rows(self.successResultOf(waiting))], [size, 2 * size]
        )

    def test_no_wait(self) -> None:
        """A client that does not wait is answered with what there is."""
        (row,) = self.fetch(self.request(0, wait=0))
        self.assertEqual(row.records, b"")
        self.stage.append("t")
        (row,) = self.fetch(self.request(0, wait=500, min_bytes=0))
        self.assertTrue(row.records)

    def test_deleting_a_topic_ends_the_wait(self) -> None:
        """A request parked on a topic that is deleted is answered at once."""
        waiting = self.park(self.request(0, wait=30_000))
        self.successResultOf(self.stage.topics.delete("t"))
        self.stage.clock.advance(0)
        self.assertEqual(self.rows(self.successResultOf(waiting))[0].error_code, ErrorCode.UNKNOWN_TOPIC_ID)

    def test_the_gateway_stops(self) -> None:
        """A parked request is answered with what there is, so that answers behind it can be sent."""
        waiting = self.park(self.request(0, wait=30_000, min_bytes=1 << 20))
        self.stage.append("t")
        (ended,) = self.stage.peer.end_watchers
        ended()
        (row,) = self.rows(self.successResultOf(waiting))
        self.assertEqual((row.error_code, self.first_offset(row)), (0, 0))
        self.assertEqual(self.stage.peer.end_watchers, [])
        self.assertNoTimer()

    def test_clients_do_not_take_their_answers(self) -> None:
        """Where memory for answers is short one gets little, but always a first batch; no wait for more."""
        for _ in range(5):
            self.stage.append("t")
        (whole,) = self.fetch(self.request(0))
        self.stage.peer.room = 1
        (row,) = self.fetch(self.request(0, wait=30_000, min_bytes=10_000))
        assert row.records is not None and whole.records is not None
        self.assertEqual(len(bytes(row.records)) * 5, len(bytes(whole.records)))  # type: ignore[arg-type]
        self.assertEqual(self.stage.peer.claimed, 0)

    def test_cancelled(self) -> None:
        """A peer that vanishes leaves nothing behind: no timer, no watcher."""
        waiting = self.park(self.request(0, wait=30_000))
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.assertNoTimer()
        self.stage.append("t")
        self.assertNoTimer()

    def test_session(self) -> None:
        """An incremental session answers with what changed, and waits while nothing does."""
        first: Response = self.stage.call(API, 16, self.request(0, 0, session_epoch=0))
        self.assertNotEqual(first.session_id, 0)
        self.assertEqual(len(self.rows(first)), 2)
        quiet: Response = self.stage.call(API, 16, self.request(session_id=first.session_id, session_epoch=1))
        self.assertEqual((quiet.session_id, self.rows(quiet)), (first.session_id, []))
        waiting = self.park(self.request(session_id=first.session_id, session_epoch=2, wait=500))
        self.stage.append("t", 1)
        self.stage.clock.advance(0)
        self.assertEqual([row.partition_index for row in self.rows(self.successResultOf(waiting))], [1])

    def test_session_forgets(self) -> None:
        """Partitions a client forgets are not served any more."""
        first: Response = self.stage.call(API, 16, self.request(0, 0, session_epoch=0))
        self.stage.append("t", 0)
        self.stage.append("t", 1)
        request = self.request(session_id=first.session_id, session_epoch=1)
        request.forgotten_topics_data = [RequestForgottenTopic("t", self.topic.id, [0])]
        self.assertEqual([row.partition_index for row in self.fetch(request)], [1])

    def test_session_errors(self) -> None:
        """Errors of sessions are the whole answer's."""
        request = self.request(session_id=77, session_epoch=1)
        failure = self.failureResultOf(self.stage.begin(API, 16, request), KafkaError)
        self.assertEqual(failure.value.code, ErrorCode.FETCH_SESSION_ID_NOT_FOUND)
        refused = self.stage.refuse(API, 16, request, failure.value.code)
        self.assertEqual(refused.error_code, ErrorCode.FETCH_SESSION_ID_NOT_FOUND)
