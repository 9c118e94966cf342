"""How many messages the engine's gRPC client takes through one stream: C{python -m bench.h2}.

The server is a process of its own that answers each message of the stream with a small one in a frame of its own, as
SeaweedMQ's broker acknowledges records; it is written for this and does no more than it must. "client cores" says what
share of a core the client took, so messages a second divided by it are what one core can do.

  python -m bench.h2                      100 bytes, 1,000 messages a write
  python -m bench.h2 --size 1000 --batch 100 --seconds 5
"""

from __future__ import annotations

import argparse
import os
import socket
import struct
import sys
import time
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater, react
from zope.interface import implementer

from kgw.engine.seaweed.h2.client import connect
from kgw.engine.seaweed.h2.framing import frame
from kgw.engine.seaweed.h2.grpc import IGrpcReceiver
from kgw.engine.seaweed.h2.status import GrpcStatus

_HEADER = struct.Struct(">IBI")
_ACK = frame(bytes([0x08]) + b"\xff" * 8 + b"\x7f" + b"\x28\xff\xff\xff\x7f")
#: Messages that may be under way: about what producers with acks=1 keep.
_WINDOW = 20_000


def serve(to_parent: Connection) -> None:
    """The server: one connection, any number of messages; all of one size."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        to_parent.send(listener.getsockname()[1])
        size = 5 + to_parent.recv()
        peer, _ = listener.accept()
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    peer.sendall(_HEADER.pack((6 << 8) | 4, 0, 0) + struct.pack(">HI", 4, 0x7FFFFFFF))
    peer.sendall(_HEADER.pack((4 << 8) | 8, 0, 0) + struct.pack(">I", 0x7FFFFFFF - 65535))
    answer = _HEADER.pack(len(_ACK) << 8, 0, 1) + _ACK
    data, rest, room = b"", -24, 0
    headers = b"\x88\x5f\x10application/grpc"
    while True:
        piece = peer.recv(1 << 18)
        if not piece:
            return
        data += piece
        if rest < 0:
            data, rest = data[24:], 0
        position = count = 0
        while len(data) - position >= 9:
            head, _, _ = _HEADER.unpack_from(data, position)
            if len(data) - position - 9 < head >> 8:
                break
            position += 9 + (head >> 8)
            if head & 0xFF == 1:
                peer.sendall(_HEADER.pack((len(headers) << 8) | 1, 4, 1) + headers)
            elif not head & 0xFF:
                rest += head >> 8
        data = data[position:]
        count, rest = divmod(rest, size)
        room += count * size
        if count:
            peer.sendall(answer * count)
        if room > 1 << 29:
            peer.sendall(b"".join(_HEADER.pack((4 << 8) | 8, 0, i) + struct.pack(">I", room) for i in (0, 1)))
            room = 0


@implementer(IGrpcReceiver)
class Load:
    """Keeps messages under way."""

    def __init__(self, size: int, batch: int) -> None:
        self._write = frame(b"x" * size) * batch
        self._batch = batch
        self.sent = self.answered = 0
        self.stream: Any = None

    def go_on(self) -> None:
        """Write while there is room."""
        while self.sent - self.answered < _WINDOW and not self.stream.full:
            self.stream.write(self._write)
            self.sent += self._batch

    def received(self, data: bytes) -> None:
        """Answers, walked through as one does who looks at each."""
        position, end = 0, len(data)
        while position < end:
            position += 5 + int.from_bytes(data[position + 1 : position + 5], "big")
            self.answered += 1
        self.go_on()

    def drained(self) -> None:
        """Room."""
        self.go_on()

    def ended(self, status: GrpcStatus) -> None:
        """The end."""


async def run(reactor: Any, size: int, batch: int, seconds: float) -> None:
    """Measure, and print it."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    server = context.Process(target=serve, args=(theirs,), daemon=True)
    server.start()
    try:
        port = ours.recv()
        ours.send(size)
        connection = await connect(reactor, f"127.0.0.1:{port}")
        load = Load(size, batch)
        load.stream = connection.open(b"/bench/Messages", load)
        began, cpu = time.perf_counter(), time.process_time()
        load.go_on()
        while time.perf_counter() - began < seconds:
            before = load.answered
            await _sleep(reactor, seconds / 5)
            if load.answered == before:
                sys.exit("nothing is answered any more")
        took, used = time.perf_counter() - began, time.process_time() - cpu
        print(f"{size} bytes, {batch} a write, {os.cpu_count()} CPUs")
        print(f"  messages/s       {load.answered / took:>12,.0f}")
        print(f"  client cores     {used / took:>12.2f}")
        print(f"  messages/s/core  {load.answered / used:>12,.0f}")
        await connection.close()
    finally:
        server.terminate()
        server.join()


async def _sleep(reactor: Any, seconds: float) -> None:
    await deferLater(reactor, seconds)


def main() -> None:
    """Read the options and run."""
    parser = argparse.ArgumentParser(prog="python -m bench.h2", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--size", type=int, default=100, help="bytes of a message")
    parser.add_argument("--batch", type=int, default=1000, help="messages written at once")
    parser.add_argument("--seconds", type=float, default=3.0, help="how long")
    options = parser.parse_args()
    react(lambda reactor: _started(run(reactor, options.size, options.batch, options.seconds)))


def _started(work: Any) -> Any:
    return Deferred.fromCoroutine(work)


if __name__ == "__main__":
    main()
