"""The shortcut of Produce: it gives byte for byte what the general way gives, and leaves the same log."""

from __future__ import annotations

import struct
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from kgw.errors import ErrorCode, KafkaError
from kgw.handlers.produce import API, Request, RequestPartition, RequestTopic
from kgw.handlers.produce_shortcut import ProduceShortcut
from kgw.handlers.registry import BY_KEY, SHORTCUTS
from kgw.interfaces import Columns
from kgw.model import Appended
from kgw.net.dispatcher import Dispatcher
from kgw.test.stage import START, Stage
from kgw.wire.compression import CompressionType
from kgw.wire.records import RecordBatch, build_batch

NOW = int(START * 1000)


def batch(value: bytes = b"v", **fields: Any) -> bytes:
    """A batch as a producer sends it."""
    return build_batch([(b"k", value, (), fields.pop("timestamp", NOW))], **fields)


def frame_of(request: Request, version: int, correlation_id: int = 7, client_id: bytes | None = b"test") -> bytes:
    """A request without its size."""
    name = struct.pack(">h", -1) if client_id is None else struct.pack(">h", len(client_id)) + client_id
    tags = b"\0" if API.is_flexible(version) else b""
    header = struct.pack(">hhi", 0, version, correlation_id) + name + tags
    return header + b"".join(API.request_codec(version).encode(request))


class Pair:
    """Two nodes alike, of which one has the shortcut."""

    def __init__(self, test: SynchronousTestCase) -> None:
        self.test = test
        self.stages = [Stage(test), Stage(test)]
        for stage in self.stages:
            stage.create("t", 2)
            stage.create("stamped", 1, {"message.timestamp.type": "LogAppendTime"})
        self.dispatchers = [
            Dispatcher(BY_KEY, stage.services, stage.services.peer_log, shortcuts)
            for stage, shortcuts in zip(self.stages, ({}, SHORTCUTS), strict=True)
        ]

    def send(self, version: int, request: Request, **header: Any) -> bytes:
        """The answer both give to a request; the topic id is that of each node's own topic."""
        answers = []
        for stage, dispatcher in zip(self.stages, self.dispatchers, strict=True):
            for topic in request.topic_data:
                known = stage.topics.get(topic.name)
                topic.topic_id = known.id if known is not None else bytes(16)
            answer = dispatcher.dispatch(frame_of(request, version, **header), stage.peer)
            if isinstance(answer, Deferred):
                answer = self.test.successResultOf(answer)
            assert answer is not None
            whole = b"".join(answer)
            for topic in request.topic_data:
                whole = whole.replace(topic.topic_id, b"topic id of test")
            answers.append(whole)
        self.test.assertEqual(answers[1], answers[0])
        return answers[0]

    def logs(self) -> list[list[bytes]]:
        """What each node has stored."""
        return [
            [
                b"".join(self.test.successResultOf(stage.engine.partition(name, index).read(0, 1 << 20)).records)
                for name, index in (("t", 0), ("t", 1), ("stamped", 0))
            ]
            for stage in self.stages
        ]


def one(records: bytes | None, topic: str = "t", partition: int = 0, acks: int = -1) -> Request:
    """A request with one batch for one partition."""
    return Request(
        acks=acks, timeout_ms=1000, topic_data=[RequestTopic(topic, b"", [RequestPartition(partition, records)])]
    )


class SameAnswerTests(SynchronousTestCase):
    """Both ways side by side."""

    def test_every_version(self) -> None:
        """The first request goes the general way, those after it the short one, with the same answers."""
        pair = Pair(self)
        for version in range(3, 14):
            for correlation_id in (1, -5, 1 << 30):
                pair.send(version, one(batch()), correlation_id=correlation_id)
                pair.send(version, one(batch(), "stamped"), correlation_id=correlation_id)
        left, right = pair.logs()
        self.assertEqual(left, right)

    def test_headers(self) -> None:
        """Client ids of any length, and none."""
        pair = Pair(self)
        for version in (7, 9, 13):
            for client_id in (b"a", b"", None, b"x" * 300, "grün".encode()):
                for _ in range(2):
                    pair.send(version, one(batch()), client_id=client_id)

    def test_refusals(self) -> None:
        """What is wrong with a batch is told the same way after the partition is known."""
        pair = Pair(self)
        good = batch()
        bad: list[Request] = [
            one(None),
            one(b""),
            one(good[:-1]),
            one(good + good),
            one(good[:30] + b"\xff" + good[31:]),
            one(batch(base_offset=1)),
            one(batch(timestamp=NOW + 10_000_000)),
            one(batch(producer_id=1, producer_epoch=0, base_sequence=5)),
            one(batch(producer_id=1, producer_epoch=0, base_sequence=9)),
            one(good, "nowhere"),
            one(good, partition=9),
        ]
        for version in (5, 8, 11, 13):
            pair.send(version, one(good))
            for request in bad:
                pair.send(version, request)
        left, right = pair.logs()
        self.assertEqual(left, right)

    def test_deleted_and_created_again(self) -> None:
        """A partition that was known and is no more is told so; one with its name is another."""
        for version in (7, 13):
            pair = Pair(self)
            for _ in range(2):
                pair.send(version, one(batch()))
            for stage in pair.stages:
                self.successResultOf(stage.topics.delete("t"))
            pair.send(version, one(batch()))
            for stage in pair.stages:
                stage.create("t", 1)
            for _ in range(2):
                pair.send(version, one(batch()))

    @settings(deadline=None, max_examples=60)
    @given(
        st.lists(
            st.tuples(
                st.sampled_from([5, 7, 8, 9, 11, 12, 13]),
                st.sampled_from(["t", "stamped", "nowhere", "a-much-longer-name"]),
                st.integers(0, 2),
                st.binary(max_size=300),
                st.sampled_from(list(CompressionType)),
                st.booleans(),
            ),
            max_size=20,
        )
    )
    def test_any_sequence(self, requests: list[tuple[int, str, int, bytes, CompressionType, bool]]) -> None:
        """Any sequence of requests is answered alike and leaves the same logs."""
        pair = Pair(self)
        for version, topic, partition, value, compression, double in requests:
            request = one(batch(value, compression=compression), topic, partition)
            if double:
                request.topic_data.append(RequestTopic("t", b"", [RequestPartition(1, batch(value))]))
            pair.send(version, request)
        left, right = pair.logs()
        self.assertEqual(left, right)


class SlowLog:
    """A partition log whose appends wait for the test."""

    def __init__(self, log: Any) -> None:
        self.config = log.config
        self.waiting: list[Deferred[Appended]] = []

    def append(self, batch: RecordBatch, acks: int = -1, columns: Columns | None = None) -> Deferred[Appended]:
        """Wait."""
        self.waiting.append(Deferred())
        return self.waiting[-1]


class SlowLogTests(SynchronousTestCase):
    """Appends that are not done at once, as with flush.messages=1."""

    def setUp(self) -> None:
        """A shortcut that has met its partition, whose log is slow from now on."""
        self.stage = Stage(self)
        self.stage.create("t")
        self.shortcut = ProduceShortcut(self.stage.services, 7)
        self.frame = frame_of(one(batch()), 7)
        self.assertIsNone(self.shortcut(self.frame, self.stage.peer), "the first one is learnt from")
        self.log = SlowLog(self.stage.engine.partition("t", 0))
        self.patch(self.stage.engine, "partition", lambda name, index: self.log)

    def begin(self) -> Deferred[Any]:
        """A request that waits for its append."""
        answer = self.shortcut(self.frame, self.stage.peer)
        assert isinstance(answer, Deferred)
        self.assertNoResult(answer)
        return answer

    def test_answer(self) -> None:
        """The answer comes when the append is done."""
        answer = self.begin()
        self.log.waiting[0].callback(Appended(41, -1, 3))
        whole = b"".join(self.successResultOf(answer))
        response, _ = API.response_codec(7).decode(whole, 8)
        row = response.responses[0].partition_responses[0]
        self.assertEqual((row.error_code, row.base_offset, row.log_start_offset), (0, 41, 3))
        self.assertEqual(struct.unpack(">ii", whole[:8]), (len(whole) - 4, 7))

    def test_storage_error(self) -> None:
        """An append that fails is answered with its error."""
        answer = self.begin()
        self.log.waiting[0].errback(KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, "disk full"))
        whole = b"".join(self.successResultOf(answer))
        response, _ = API.response_codec(7).decode(whole, 8)
        row = response.responses[0].partition_responses[0]
        self.assertEqual((row.error_code, row.base_offset), (ErrorCode.KAFKA_STORAGE_ERROR, -1))

    def test_a_defect(self) -> None:
        """A log that fails with anything else is answered UNKNOWN_SERVER_ERROR and logged, by the dispatcher."""
        services = self.stage.services
        for broken in (lambda batch, acks: fail(ZeroDivisionError()), lambda batch, acks: 1 // 0):
            dispatcher = Dispatcher(BY_KEY, services, services.peer_log, SHORTCUTS)
            self.log.append = lambda *_: succeed(Appended(0, -1, 0))  # type: ignore[method-assign]
            dispatcher.dispatch(self.frame, self.stage.peer)
            self.log.append = broken  # type: ignore[method-assign,assignment]
            answer = dispatcher.dispatch(self.frame, self.stage.peer)
            whole = self.successResultOf(answer) if isinstance(answer, Deferred) else answer
            assert whole is not None
            response, _ = API.response_codec(7).decode(b"".join(whole), 8)
            code = response.responses[0].partition_responses[0].error_code
            self.assertEqual(code, ErrorCode.UNKNOWN_SERVER_ERROR)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
