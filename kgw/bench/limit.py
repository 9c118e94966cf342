"""The bare limit server: the least a Python server can do with a Kafka request, as the measure of what kgw adds.

It reads whole frames, appends each to a file with a write of its own (an answer promises as much), and answers fixed
bytes. It decodes nothing but the API key, checks nothing, keeps no offsets and serves the load generator only.

C{python -m kgw.bench.limit --store append --read memory --fetch-bytes 1000000}
"""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import socket
import sys
import tempfile
from collections.abc import Sequence

from kgw.bench.requests import batch_of, encode_answer
from kgw.handlers import api_versions, create_topics, delete_topics, fetch, produce

#: How it begins the line that says which port it listens on.
READY = "limit on port "
#: A file is begun anew after this many bytes; recycled files are overwritten instead.
_FILE_MAX = 2 << 30
_RECYCLED = 64 << 20
#: Bytes that fetches go through in turn, in memory or in a file: more than most processor caches hold.
_MEMORY_BYTES, _FILE_BYTES = 16_000_000, 64_000_000
_READ = 64 * 1024
_LARGE_READ = 256 * 1024
#: How often an idle server looks whether it is to stop, in seconds.
_TICK = 0.5
#: Every bench topic has a name of this length, so that answers have the size of the real ones.
_TOPIC = "kgw-bench-0000000-000"


class Store:
    """
    Where frames go.

    C{append}: a file that grows; C{recycle}: a small file that is overwritten again and again, whose pages are there;
    C{drop}: nowhere.
    """

    def __init__(self, directory: str, kind: str) -> None:
        self._fd = os.open(os.path.join(directory, "frames"), os.O_RDWR | os.O_CREAT)
        self._kind = kind
        self._size = 0
        if kind == "recycle":
            for _ in range(_RECYCLED >> 20):
                os.write(self._fd, bytes(1 << 20))
            os.lseek(self._fd, 0, os.SEEK_SET)

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    def put(self, frame: bytes) -> None:
        """Write one frame."""
        if self._kind == "drop":
            return
        os.write(self._fd, frame)
        self._size += len(frame)
        if self._kind == "recycle":
            if self._size >= _RECYCLED:
                os.lseek(self._fd, 0, os.SEEK_SET)
                self._size = 0
        elif self._size >= _FILE_MAX:
            os.ftruncate(self._fd, 0)
            os.lseek(self._fd, 0, os.SEEK_SET)
            self._size = 0


class Answers:
    """The fixed bytes, by API key; those of Fetch from memory or from a file."""

    def __init__(self, directory: str, fetch_bytes: int, from_file: bool) -> None:
        """
        @param fetch_bytes: of the records in each answer to a Fetch, about.
        """
        records = batch_of(fetch_bytes, 1000)
        self.fixed = {
            produce.API.key: encode_answer(produce.API, _produced()),
            api_versions.API.key: encode_answer(api_versions.API, api_versions.Response(api_keys=[])),
            create_topics.API.key: encode_answer(create_topics.API, create_topics.Response(topics=[])),
            delete_topics.API.key: encode_answer(delete_topics.API, delete_topics.Response(responses=[])),
        }
        whole = encode_answer(fetch.API, _fetched(records))
        self._head, _, self._tail = whole.partition(records)
        self._size = len(records)
        self._turn = 0
        self._fd = -1
        self._copies: list[bytes] = []
        if from_file:
            self._fd = os.open(os.path.join(directory, "records"), os.O_RDWR | os.O_CREAT)
            self._batches = max(1, _FILE_BYTES // self._size)
            for _ in range(self._batches):
                os.write(self._fd, records)
        else:
            # not the same bytes again, which would stay in the processor's cache
            self._batches = max(1, _MEMORY_BYTES // self._size)
            self._copies = [bytes(bytearray(records)) for _ in range(self._batches)]

    def fetched(self) -> list[bytes]:
        """The answer to a Fetch, in pieces."""
        self._turn = (self._turn + 1) % self._batches
        if self._fd < 0:
            return [self._head, self._copies[self._turn], self._tail]
        return [self._head, os.pread(self._fd, self._size, self._turn * self._size), self._tail]

    def close(self) -> None:
        """Close the file, if there is one."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _produced() -> produce.Response:
    row = produce.ResponsePartition(index=0, base_offset=0)
    return produce.Response(responses=[produce.ResponseTopic(name=_TOPIC, partition_responses=[row])])


def _fetched(records: bytes) -> fetch.Response:
    row = fetch.ResponsePartition(
        partition_index=0, high_watermark=1, last_stable_offset=1, log_start_offset=0, records=records
    )
    return fetch.Response(responses=[fetch.ResponseTopic(topic=_TOPIC, partitions=[row])])


class Connection:
    """One connection: chunks are kept until a frame is whole, then joined once; unsent bytes wait for room."""

    def __init__(self, sock: socket.socket, store: Store, answers: Answers) -> None:
        self.unsent: list[bytes | memoryview] = []
        self._socket = sock
        self._put = store.put
        self._answers = answers
        self._chunks: list[bytes] = []
        self._missing = 0
        self._read = _READ

    def receive(self) -> bool:
        """
        Frames in, answers out: all answers to what one read has brought in one call.

        @return: whether the peer is still there.
        """
        try:
            data = self._socket.recv(self._read)
        except BlockingIOError:
            return True
        if not data:
            return False
        if self._chunks:
            self._chunks.append(data)
            self._missing -= len(data)
            if self._missing > 0:
                return True
            data = b"".join(self._chunks)
            self._chunks = []
            self._read = _READ
        offset, have = 0, len(data)
        out: list[bytes | memoryview] = []
        fixed = self._answers.fixed
        while have - offset >= 4:
            end = offset + 4 + int.from_bytes(data[offset : offset + 4], "big")
            if end > have:
                break
            key = data[offset + 5]
            if key == 0:
                self._put(data[offset:end])
                out.append(fixed[0])
            elif key == 1:
                out += self._answers.fetched()
            else:
                out.append(fixed[key])
            offset = end
        if offset < have:
            self._keep(data[offset:] if offset else data)
        if out:
            if self.unsent:
                self.unsent += out
            else:
                self.unsent = [b"".join(out)] if len(out) > 3 and sum(map(len, out)) <= _READ else out
                self.send()
        return True

    def _keep(self, rest: bytes) -> None:
        size = 4 + int.from_bytes(rest[:4], "big") if len(rest) >= 4 else 4
        self._chunks.append(rest)
        self._missing = size - len(rest)
        if self._missing > _READ:
            self._read = _LARGE_READ

    def send(self) -> None:
        """As much as the socket takes."""
        try:
            sent = self._socket.sendmsg(self.unsent[:1024])
        except BlockingIOError:
            return
        while self.unsent and sent >= len(self.unsent[0]):
            sent -= len(self.unsent.pop(0))
        if sent:
            self.unsent[0] = memoryview(self.unsent[0])[sent:]


class LimitServer:
    """
    Serves until L{stop}; blocking.

    @ivar port: on 127.0.0.1.
    """

    def __init__(self, store: Store, answers: Answers) -> None:
        self._store = store
        self._answers = answers
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=2000)
        self._listening.setblocking(False)
        self.port: int = self._listening.getsockname()[1]
        self._connections: dict[int, tuple[socket.socket, Connection]] = {}
        self._serving = True

    def serve(self) -> None:
        """Accept, read, answer."""
        connections, acceptor = self._connections, self._listening.fileno()
        with contextlib.closing(select.epoll()) as epoll, self._listening:
            epoll.register(acceptor, select.EPOLLIN)
            while self._serving:
                for fd, event in epoll.poll(_TICK):
                    if fd == acceptor:
                        self._accept(epoll)
                        continue
                    sock, connection = connections[fd]
                    full = bool(connection.unsent)
                    if event & select.EPOLLOUT:
                        connection.send()
                    if event & ~select.EPOLLOUT and not self._receive(connection):
                        del connections[fd]
                        sock.close()
                    elif bool(connection.unsent) is not full:
                        epoll.modify(fd, select.EPOLLIN | (0 if full else select.EPOLLOUT))
            for sock, _ in connections.values():
                sock.close()

    def stop(self) -> None:
        """End L{serve} soon; from any thread."""
        self._serving = False

    def _accept(self, epoll: select.epoll) -> None:
        sock, _ = self._listening.accept()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connections[sock.fileno()] = (sock, Connection(sock, self._store, self._answers))
        epoll.register(sock.fileno(), select.EPOLLIN)

    @staticmethod
    def _receive(connection: Connection) -> bool:
        try:
            return connection.receive()
        except ConnectionError:
            return False


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve on a free port of 127.0.0.1 until killed."""
    parser = argparse.ArgumentParser(prog="kgw.bench.limit", description="A bare limit server.")
    parser.add_argument("--store", choices=["append", "recycle", "drop"], default="append")
    parser.add_argument("--read", choices=["memory", "file"], default="memory")
    parser.add_argument("--fetch-bytes", type=int, default=16_000)
    parser.add_argument("--data", help="the folder of its files")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="kgw-limit-", dir=options.data) as folder:
        answers = Answers(folder, options.fetch_bytes, options.read == "file")
        server = LimitServer(Store(folder, options.store), answers)
        print(f"{READY}{server.port}", flush=True)
        server.serve()
    return 0


if __name__ == "__main__":
    sys.exit(main())
