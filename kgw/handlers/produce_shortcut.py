"""The commonest Produce, one batch for one partition, answered without the general decoder and encoder.

A producer that sends batch after batch to a partition sends the same bytes again and again in front of each batch,
and is answered with the same bytes around three numbers. Both are learnt from the general codecs when such a request
is first met, so nothing of the wire format stands here a second time. Whatever is out of the ordinary goes the
general way; a test holds that both ways give the same bytes.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from kgw.errors import KafkaError, WireError
from kgw.handlers.admission import admit
from kgw.handlers.produce import (
    API,
    EXPECTED,
    RequestPartition,
    Response,
    ResponsePartition,
    ResponseTopic,
    tell_leaders,
)
from kgw.metrics import TopicMeter
from kgw.model import Appended, Buffer
from kgw.wire.header import decode_request_header, encode_response_header
from kgw.wire.primitives import decode_uvarint
from kgw.wire.records import RecordBatch

if TYPE_CHECKING:
    from kgw.handlers.contract import Peer, Services

_INT32 = struct.Struct(">i")
_CLIENT_ID = struct.Struct(">h")
_ROW = struct.Struct(">qqq")
#: Stands in a learnt answer for base offset, append time and log start offset: no real answer has such numbers.
_MARK = _ROW.pack(-0x0123456789ABCDEF, -0x1122334455667788, -0x2468ACE013579BDF)

#: The ends of partition, topic and request in a flexible version: empty tag sections.
_TRAILER = b"\0\0\0"
#: The first version whose answers have the three numbers side by side.
_FIRST = 5
#: Partitions that are remembered, and lengths of what stands in front of a batch (one for each length of a topic's
#: name, mostly). Beyond these all is forgotten, and learnt anew.
_MAX_KNOWN = 10_000
_MAX_LENGTHS = 8


class _Known(NamedTuple):
    """
    A partition that batches have come for.

    @ivar size: the size of the answer's frame.
    @ivar head: of the answer behind the correlation id, up to the three numbers.
    @ivar tail: of the answer behind them.
    """

    topic: str
    topic_id: bytes
    partition: int
    acks: int
    meter: TopicMeter
    size: bytes
    head: bytes
    tail: bytes


class ProduceShortcut:
    """
    The short way for one version of Produce (house rule R7).

    Calling it appends the batch and gives the whole answer, at once or as a Deferred; C{None} where the request is to
    go the general way, and then nothing has happened yet.
    """

    __slots__ = ("_flexible", "_known", "_lengths", "_services", "_version")

    def __init__(self, services: Services, version: int) -> None:
        self._services = services
        self._version = version
        self._flexible = API.is_flexible(version)
        self._known: dict[bytes, _Known] = {}
        self._lengths: list[int] = []

    def __call__(self, frame: bytes, peer: Peer) -> list[Buffer] | Deferred[list[Buffer]] | None:
        """
        Answer a request, if it is of the common kind.

        @param frame: the request without its size, at least ten bytes of it.
        @param peer: who sent it.
        """
        services = self._services
        try:
            (client_id,) = _CLIENT_ID.unpack_from(frame, 8)
            body = 10 + (client_id if client_id > 0 else 0) + self._flexible
            for length in self._lengths:
                at = body + length
                known = self._known.get(frame[body:at])
                if known is not None:
                    break
            else:
                self._learn(frame)
                return None
            if self._flexible:
                if frame[body - 1] or not frame.endswith(_TRAILER):
                    return None
                size, at = decode_uvarint(frame, at)
                size -= 1
                end = at + size + len(_TRAILER)
            else:
                (size,) = _INT32.unpack_from(frame, at)
                at += 4
                end = at + size
            if size <= 0 or end != len(frame):
                return None
            name = self._name(known)
            log = services.logs.partition(name, known.partition)
            if services.schemas is not None and services.schemas.looks_into(name, log.config):
                return None
            now_ms = int(services.clock.seconds() * 1000)
            batch = admit(memoryview(frame)[at : at + size], log.config, self._version, now_ms)
        except (KafkaError, WireError, IndexError, struct.error):
            # the general way says what is wrong
            return None
        appending = log.append(batch, known.acks)
        meter = known.meter
        meter.produce_requests += 1
        if appending.called and isinstance(appending.result, Appended):
            meter.messages_in += batch.last_offset_delta + 1
            meter.bytes_in += size
            return [self._answer(frame, known, appending.result)]
        return appending.addCallbacks(self._answers, self._refusal, (frame, known, batch), {}, (frame, known, peer))

    def _name(self, known: _Known) -> str:
        """The topic's name; looked up anew where it is named by id, for it may have been deleted."""
        return known.topic or self._name_of(known.topic_id)

    def _name_of(self, topic_id: bytes) -> str:
        topic = self._services.topics.by_id(topic_id)
        return "" if topic is None else topic.name

    def _answer(self, frame: bytes, known: _Known, appended: Appended) -> bytes:
        row = _ROW.pack(appended.base_offset, appended.log_append_time_ms, appended.log_start_offset)
        # the correlation id comes back as it was sent
        return b"".join((known.size, frame[4:8], known.head, row, known.tail))

    def _answers(self, appended: Appended, frame: bytes, known: _Known, batch: RecordBatch) -> list[Buffer]:
        known.meter.messages_in += batch.last_offset_delta + 1
        known.meter.bytes_in += batch.size
        return [self._answer(frame, known, appended)]

    def _refusal(self, failure: Failure, frame: bytes, known: _Known, peer: Peer) -> list[Buffer]:
        """The answer to a batch that the log did not take; anything but L{KafkaError} is the dispatcher's."""
        error = failure.value
        if not isinstance(error, KafkaError):
            failure.raiseException()
        known.meter.failed_produce_requests += error.code not in EXPECTED
        self._services.metrics.count_errors(API.name, [error.code])
        row = ResponsePartition(known.partition, error.code, -1, error_message=error.message or None)
        response = Response([ResponseTopic(known.topic, known.topic_id, [row])])
        tell_leaders(response, self._services, peer)
        buffers = _encode(self._version, response)
        (correlation_id,) = _INT32.unpack_from(frame, 4)
        return [encode_response_header(sum(map(len, buffers)), correlation_id, self._flexible), *buffers]

    def _learn(self, frame: bytes) -> None:
        """Remember a partition, if the request is of the common kind."""
        version = self._version
        if version < _FIRST:
            return
        try:
            header = decode_request_header(frame, self._flexible)
            request, _ = API.request_codec(version).decode(frame, header.body)
        except WireError:
            return
        if request.transactional_id is not None or request.acks not in (-1, 1) or len(request.topic_data) != 1:
            return
        (topic,) = request.topic_data
        if len(topic.partition_data) != 1:
            return
        index = topic.partition_data[0].index
        try:
            name = topic.name or self._name_of(topic.topic_id)
            self._services.logs.partition(name, index)
        except KafkaError:
            return
        meter = self._services.metrics.topics.of(name)
        known = _Known(topic.name, topic.topic_id, index, request.acks, meter, b"", b"", b"")
        # without records the request ends with a null, and with the trailer where it is flexible: four bytes
        topic.partition_data = [RequestPartition(index, None)]
        prefix = b"".join(API.request_codec(version).encode(request))[:-4]
        if not frame.startswith(prefix, header.body):
            return
        if len(self._known) >= _MAX_KNOWN or (len(prefix) not in self._lengths and len(self._lengths) >= _MAX_LENGTHS):
            # what is in use now is soon learnt again
            self._known.clear()
            self._lengths.clear()
        if len(prefix) not in self._lengths:
            self._lengths.append(len(prefix))
        row = ResponsePartition(index, 0, *_ROW.unpack(_MARK))
        answer = b"".join(_encode(version, Response([ResponseTopic(topic.name, topic.topic_id, [row])])))
        whole = encode_response_header(len(answer), 0, self._flexible) + answer
        head, _, tail = whole.partition(_MARK)
        self._known[prefix] = known._replace(size=head[:4], head=head[8:], tail=tail)


def _encode(version: int, response: Response) -> list[Buffer]:
    return API.response_codec(version).encode(response)
