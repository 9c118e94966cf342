"""Tiny Produces over plain sockets, pipelined: what the server can do when no client library is in the way."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable

from bench.measure import Measured, Stopwatch
from kgw.handlers import create_topics
from kgw.handlers import produce as produce_api
from kgw.handlers.contract import Api
from kgw.wire.record import NewRecord
from kgw.wire.records import build_batch

VERSION = 9
TOPIC = "raw"
#: Client id of two bytes behind key, version and correlation id, then an empty tag section.
_CLIENT = b"\0\2rb\0"
_PATIENCE = 30.0


def frame(api: Api, version: int, request: object) -> bytes:
    """A whole request of a flexible version, with correlation id 7."""
    header = api.key.to_bytes(2, "big") + version.to_bytes(2, "big") + (7).to_bytes(4, "big") + _CLIENT
    body = header + b"".join(api.request_codec(version).encode(request))
    return len(body).to_bytes(4, "big") + body


def ask(connection: socket.socket, request: bytes) -> bytes:
    """Send one request, and read its whole answer."""
    connection.sendall(request)
    with connection.makefile("rb", buffering=0) as stream:
        size = _exactly(stream.read, 4)
        return size + _exactly(stream.read, int.from_bytes(size, "big"))


def _exactly(read: Callable[[int], bytes | None], size: int) -> bytes:
    found = b""
    while len(found) < size:
        piece = read(size - len(found))
        assert piece, "the server closed the connection"
        found += piece
    return found


def tiny_produce() -> bytes:
    """A Produce of one record of 100 bytes, acks=1."""
    batch = build_batch([NewRecord(key=None, value=bytes(100), timestamp=1_700_000_000_000)])
    partition = produce_api.RequestPartition(index=0, records=batch)
    topic = produce_api.RequestTopic(name=TOPIC, partition_data=[partition])
    return frame(produce_api.API, VERSION, produce_api.Request(acks=1, timeout_ms=30_000, topic_data=[topic]))


def produce(port: int, server: int, count: int, connections: int = 4, window: int = 16) -> Measured:
    """
    Send C{count} tiny Produces over C{connections}, each with up to C{window} unanswered.

    Answers are counted by their size, which is the same for all, and the last one is looked at.
    """
    first = socket.create_connection(("127.0.0.1", port), _PATIENCE)
    topic = create_topics.RequestTopic(name=TOPIC, num_partitions=1, replication_factor=1)
    ask(first, frame(create_topics.API, 7, create_topics.Request(topics=[topic])))
    request = tiny_produce()
    answer = ask(first, request)
    _check(answer)
    size = len(answer)
    first.close()

    sockets = [socket.create_connection(("127.0.0.1", port), _PATIENCE) for _ in range(connections)]
    by_number = {each.fileno(): each for each in sockets}
    selector = selectors.DefaultSelector()
    to_send = count - connections * window
    waiting = count
    pending = {each: 0 for each in sockets}
    watch = Stopwatch(server)
    for each in sockets:
        each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(each, selectors.EVENT_READ)
        each.sendall(request * window)
    last = b""
    while waiting:
        ready = selector.select(_PATIENCE)
        assert ready, f"{waiting} answers did not come"
        for key, _ in ready:
            each = by_number[key.fd]
            data = each.recv(65536)
            assert data, "the server closed the connection"
            last = data
            done, pending[each] = divmod(pending[each] + len(data), size)
            waiting -= done
            more = min(done, to_send)
            if more:
                to_send -= more
                each.sendall(request * more)
    measured = watch.stop(count, len(request))
    if len(last) >= size:
        _check(last[-size:])
    for each in sockets:
        each.close()
    return measured


def _check(answer: bytes) -> None:
    """The one partition has no error."""
    value, _ = produce_api.API.response_codec(VERSION).decode(answer, 9)
    code = value.responses[0].partition_responses[0].error_code
    assert not code, f"the server answered error {code}"
