"""A client that does what no library would: frames as they are, or as they should not be, on plain sockets."""

from __future__ import annotations

import socket
import struct
import threading
import time
from types import TracebackType
from typing import Any

from kgw.handlers import api_versions, create_topics, fetch, produce
from kgw.handlers.contract import Api
from kgw.wire.records import build_batch

#: Seconds an answer may take before a test fails.
PATIENCE = 20.0


def framed(api: Api, version: int, request: Any, correlation_id: int = 1) -> bytes:
    """A request on the wire, its size in front."""
    body = b"".join(api.request_codec(version).encode(request))
    header = struct.pack(">hhih", api.key, version, correlation_id, -1) + (b"\0" if api.is_flexible(version) else b"")
    return struct.pack(">i", len(header) + len(body)) + header + body


class RawClient:
    """
    One connection; closed at the end of its C{with} block.

    @ivar socket: blocking, with L{PATIENCE} as its time limit.
    """

    def __init__(self, port: int, receive_buffer: int = 0) -> None:
        """
        @param receive_buffer: the kernel's buffer for what comes in, in bytes; 0 is its own choice.
        """
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(("127.0.0.1", port))

    def __enter__(self) -> RawClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Hand bytes to the kernel, all of them."""
        self.socket.sendall(data)

    def receive(self) -> bytes:
        """
        The next answer, without its size.

        @raise EOFError: the server has closed the connection.
        """
        (size,) = struct.unpack(">i", self._exactly(4))
        return self._exactly(size)

    def closed(self) -> bool:
        """Wait for the server to close the connection; false where it sends something else."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionError:
            return True

    def ask(self, api: Api, version: int, request: Any) -> Any:
        """Send a request and read its answer."""
        self.send(framed(api, version, request))
        return self.answer(api, version)

    def answer(self, api: Api, version: int) -> Any:
        """Read the next answer, which is one of this API."""
        start = 5 if api.is_flexible(version) and not api.plain_response_header else 4
        return api.response_codec(version).decode(self.receive(), start)[0]

    def _exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            try:
                more = self.socket.recv(min(size - len(data), 1 << 20))
            except ConnectionError:
                more = b""
            if not more:
                raise EOFError(f"the server has closed the connection, {len(data)} of {size} bytes had come")
            data += more
        return bytes(data)


def create(port: int, topic: str, partitions: int = 1, **configs: str) -> None:
    """Make a topic; underscores in the names of configs stand for dots."""
    wanted = create_topics.RequestTopic(
        name=topic,
        num_partitions=partitions,
        replication_factor=1,
        configs=[create_topics.RequestConfig(name.replace("_", "."), value) for name, value in configs.items()],
    )
    with RawClient(port) as client:
        answer = client.ask(create_topics.API, 4, create_topics.Request(topics=[wanted], timeout_ms=10_000))
    assert answer.topics[0].error_code == 0, answer


def produce_frame(topic: str, *values: bytes, partition: int = 0, acks: int = -1, correlation_id: int = 1) -> bytes:
    """A Produce of one batch, of records made now."""
    now_ms = int(time.time() * 1000)
    row = produce.RequestPartition(partition, build_batch([(None, value, [], now_ms) for value in values]))
    topics = [produce.RequestTopic(topic, partition_data=[row])]
    request = produce.Request(acks=acks, timeout_ms=10_000, topic_data=topics)
    return framed(produce.API, 8, request, correlation_id)


def fetch_frame(
    topic: str, offset: int = 0, wait_ms: int = 0, max_bytes: int = 1 << 20, correlation_id: int = 1
) -> bytes:
    """A Fetch of partition 0 that waits for one byte."""
    row = fetch.RequestPartition(fetch_offset=offset, partition_max_bytes=max_bytes)
    request = fetch.Request(
        max_wait_ms=wait_ms,
        min_bytes=1,
        max_bytes=max_bytes,
        session_epoch=-1,
        topics=[fetch.RequestTopic(topic, partitions=[row])],
    )
    return framed(fetch.API, 11, request, correlation_id)


class Prober:
    """
    A good client: asks for ApiVersions, produces and fetches, again and again, and takes the time of each.

    @ivar seconds: how long each answer took.
    @ivar failed: what went wrong, once.
    """

    def __init__(self, port: int, topic: str = "good", interval: float = 0.02) -> None:
        """
        @param topic: one of its own, made here.
        @param interval: seconds between two rounds.
        """
        create(port, topic)
        self.seconds: list[float] = []
        self.failed: BaseException | None = None
        self._port = port
        self._topic = topic
        self._interval = interval
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._run, name="prober", daemon=True)
        self._thread.start()

    def finish(self) -> float:
        """
        Stop asking.

        @return: the longest time an answer took, in seconds.
        @raise AssertionError: a request was answered wrongly, or not at all.
        """
        self._enough.set()
        self._thread.join()
        if self.failed is not None:
            raise AssertionError(f"the good client suffered: {self.failed!r}") from self.failed
        assert self.seconds, "the good client was never answered"
        return max(self.seconds)

    def _run(self) -> None:
        try:
            with RawClient(self._port) as client:
                offset = 0
                while not self._enough.wait(self._interval):
                    self._round(client, offset)
                    offset += 1
        except BaseException as error:
            self.failed = error

    def _round(self, client: RawClient, offset: int) -> None:
        start = time.monotonic()
        answer = client.ask(api_versions.API, 0, api_versions.Request())
        assert answer.error_code == 0 and answer.api_keys, answer
        asked = time.monotonic()
        value = b"record %d" % offset
        client.send(produce_frame(self._topic, value))
        (topic,) = client.answer(produce.API, 8).responses
        (row,) = topic.partition_responses
        assert (row.error_code, row.base_offset) == (0, offset), row
        written = time.monotonic()
        client.send(fetch_frame(self._topic, offset))
        (topic,) = client.answer(fetch.API, 11).responses
        (read,) = topic.partitions
        assert read.error_code == 0 and bytes(read.records).endswith(value + b"\0"), read
        self.seconds += (asked - start, written - asked, time.monotonic() - written)
