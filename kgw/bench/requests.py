"""Requests and answers as bytes, in versions that kgw and today's Kafka brokers share; all have correlation id 7."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kgw.errors import ErrorCode
from kgw.handlers import api_versions, create_topics, delete_topics, fetch, produce
from kgw.handlers.contract import Api
from kgw.wire.header import encode_response_header
from kgw.wire.record import NewRecord
from kgw.wire.records import build_batch

#: How long a server may take for one answer, in seconds.
PATIENCE = 30.0
CORRELATION = 7
#: As far as these go, all are flexible and topics have names, not ids.
VERSIONS = {"Produce": 9, "Fetch": 12, "ApiVersions": 3, "CreateTopics": 5, "DeleteTopics": 5}

#: Client id of two bytes, then an empty tag section.
_CLIENT = b"\0\2kb\0"
#: Of a record around its value, where there are no key and no headers: a few varints, the more the larger it is.
_RECORD_OVERHEAD = 9
_BATCH_OVERHEAD = 61

#: What a server that has only just made a topic may answer.
_NOT_YET = (
    ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
    ErrorCode.LEADER_NOT_AVAILABLE,
    ErrorCode.NOT_LEADER_OR_FOLLOWER,
)


class BenchError(Exception):
    """A run cannot go on: the server refuses, answers nonsense, or is gone. The message is for people."""


@dataclass(frozen=True)
class Address:
    """Where a server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    def connect(self) -> socket.socket:
        """
        A new connection.

        @raise BenchError: nobody listens.
        """
        try:
            connection = socket.create_connection((self.host, self.port), PATIENCE)
        except OSError as error:
            raise BenchError(f"cannot connect to {self}: {error}") from None
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection


def encode(api: Api, request: object) -> bytes:
    """A whole request, its size in front."""
    version = VERSIONS[api.name]
    header = api.key.to_bytes(2, "big") + version.to_bytes(2, "big") + CORRELATION.to_bytes(4, "big") + _CLIENT
    body = header + b"".join(api.request_codec(version).encode(request))
    return len(body).to_bytes(4, "big") + body


def encode_answer(api: Api, response: object) -> bytes:
    """A whole answer, as a server sends it."""
    body = b"".join(api.response_codec(VERSIONS[api.name]).encode(response))
    return encode_response_header(len(body), CORRELATION, not api.plain_response_header) + body


def decode(api: Api, answer: bytes) -> Any:
    """
    What an answer says.

    @param answer: whole, its size in front.
    """
    value, _ = api.response_codec(VERSIONS[api.name]).decode(answer, 8 if api.plain_response_header else 9)
    return value


def ask(connection: socket.socket, request: bytes) -> bytes:
    """
    Send one request and read its whole answer.

    @raise BenchError: there is none.
    """
    try:
        connection.sendall(request)
        size = _exactly(connection, 4)
        return size + _exactly(connection, int.from_bytes(size, "big"))
    except OSError as error:
        raise BenchError(f"no answer: {error}") from None


def _exactly(connection: socket.socket, size: int) -> bytes:
    found = bytearray()
    while len(found) < size:
        piece = connection.recv(min(size - len(found), 1 << 20))
        if not piece:
            raise BenchError("the server has closed the connection")
        found += piece
    return bytes(found)


def batch_of(size: int, record: int) -> bytes:
    """
    A batch of about C{size} bytes in records of C{record} bytes; always of the same size for the same numbers.

    Its values are hexadecimal digits drawn at random, which compress about as well as text.
    """
    count = max(1, (size - _BATCH_OVERHEAD) // (record + _RECORD_OVERHEAD))
    digits = random.Random(size)
    now = int(time.time() * 1000)
    return build_batch([NewRecord(key=None, value=digits.randbytes(record // 2).hex().encode(), timestamp=now)] * count)


def produce_request(topic: str, batch: bytes, partition: int = 0) -> bytes:
    """A Produce of one batch, acks=all."""
    return produce_to_all(topic, batch, range(partition, partition + 1))


def produce_to_all(topic: str, batch: bytes, partitions: range) -> bytes:
    """A Produce of one batch to each of many partitions, acks=all."""
    rows = [produce.RequestPartition(index=partition, records=batch) for partition in partitions]
    data = [produce.RequestTopic(name=topic, partition_data=rows)]
    return encode(produce.API, produce.Request(acks=-1, timeout_ms=30_000, topic_data=data))


def fetch_request(topic: str, offset: int, size: int) -> bytes:
    """A Fetch outside any session, of at most C{size} bytes of partition 0; it does not wait."""
    row = fetch.RequestPartition(partition=0, fetch_offset=offset, partition_max_bytes=size)
    request = fetch.Request(
        max_wait_ms=0, min_bytes=1, max_bytes=size, topics=[fetch.RequestTopic(topic=topic, partitions=[row])]
    )
    return encode(fetch.API, request)


def versions_request() -> bytes:
    """The question every client begins with."""
    return encode(api_versions.API, api_versions.Request(client_software_name="kgw-bench", client_software_version="1"))


def create_request(topics: list[str], partitions: int = 1, configs: Mapping[str, str] | None = None) -> bytes:
    """CreateTopics, one replica of each partition."""
    rows = [create_topics.RequestConfig(name=name, value=value) for name, value in (configs or {}).items()]
    new = [
        create_topics.RequestTopic(name=name, num_partitions=partitions, replication_factor=1, configs=rows)
        for name in topics
    ]
    return encode(create_topics.API, create_topics.Request(topics=new))


def delete_request(topic: str) -> bytes:
    """DeleteTopics of one topic."""
    return encode(delete_topics.API, delete_topics.Request(topic_names=[topic], timeout_ms=30_000))


def create_topics_on(
    connection: socket.socket, topics: list[str], partitions: int = 1, configs: Mapping[str, str] | None = None
) -> None:
    """
    Create topics.

    @raise BenchError: the server refuses.
    """
    response = decode(create_topics.API, ask(connection, create_request(topics, partitions, configs)))
    for row in response.topics:
        if row.error_code:
            raise BenchError(f"topic {row.name} was refused: {ErrorCode(row.error_code).name} {row.error_message}")


def check_produced(answer: bytes) -> int:
    """
    Take an answer to a Produce of one partition for good.

    @return: the offset its first record got.
    @raise BenchError: the server refused the batch.
    """
    row = decode(produce.API, answer).responses[0].partition_responses[0]
    if row.error_code:
        raise BenchError(f"the server answered {ErrorCode(row.error_code).name}: {row.error_message}")
    offset: int = row.base_offset
    return offset


def check_fetched(answer: bytes) -> int:
    """
    Take an answer to a Fetch of one partition for good.

    @return: how many bytes of records it brought.
    @raise BenchError: there is an error or there are no records.
    """
    response = decode(fetch.API, answer)
    code = response.error_code or response.responses[0].partitions[0].error_code
    if code:
        raise BenchError(f"the server answered {ErrorCode(code).name}")
    found = len(response.responses[0].partitions[0].records or b"")
    if not found:
        raise BenchError("the server answered no records")
    return found


def produced_first(connection: socket.socket, request: bytes) -> bytes:
    """
    The answer to the first Produce into a new topic, which is asked again while the partition has no leader yet.

    @raise BenchError: it is refused for another reason, or for too long.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        answer = ask(connection, request)
        code = decode(produce.API, answer).responses[0].partition_responses[0].error_code
        if code not in _NOT_YET or time.monotonic() > deadline:
            check_produced(answer)
            return answer
        time.sleep(0.05)
