"""Mutated, truncated and invented frames of every API against a running kgw, while a good client is served."""

from __future__ import annotations

import os
import random
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from kgw.errors import WireError
from kgw.handlers import api_versions, create_topics, delete_topics, metadata
from kgw.handlers.contract import Api
from kgw.handlers.registry import ALL, BY_KEY
from kgw.test import golden
from kgw.test.live.raw import Prober, RawClient, create, framed
from kgw.test.live.server import GatewayProcess, LiveTestCase
from kgw.wire.header import decode_request_header, peek_request
from kgw.wire.primitives import encode_uvarint

#: How many frames are sent; C{KGW_FUZZ_FRAMES=200000} is the long run.
FRAMES = int(os.environ.get("KGW_FUZZ_FRAMES", "40000"))
SEED = int(os.environ.get("KGW_FUZZ_SEED", "2"))

#: So many frames go out on one connection before their answers are read.
PIPELINE = 40
#: A connection whose last answer has not come by then is cut, in seconds: it has a Fetch that waits for long.
GIVE_UP = 0.5
#: What kgw may have more in memory after the run than after its warm-up, in bytes.
GROWTH = 48 << 20
#: An answer to the good client may take so long, in seconds. Worst where the test machine is busy, not where kgw is.
LATENCY = 3.0
#: Bytes of log for each ten seconds of run, beside a fixed amount: some lines of each kind, and their numbers.
LOG_RATE = 60_000

#: The last of every pipeline; its answer says that all before it were seen.
_LAST = framed(api_versions.API, 0, api_versions.Request(), 0x7FFFFFF0)


def corpus() -> list[bytes]:
    """A good frame of every golden request vector in every version, without its size."""
    frames = []
    for api in ALL:
        for vector in golden.load(f"vectors/{api.name}"):
            if vector["kind"] == "request":
                for version in vector["versions"]:
                    head = struct.pack(">hhih4s", api.key, version, 7, 4, b"fuzz")
                    frames.append(head + (b"\0" if api.is_flexible(version) else b"") + bytes.fromhex(vector["hex"]))
    return frames


class Mutator:
    """Makes bad frames of good ones; the same ones for the same seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._corpus = corpus()
        # names that are there let a frame come further than an unknown topic
        self._named = [frame for frame in (self._with_topic(f) for f in self._corpus) if frame is not None]
        self._ways: tuple[Callable[[bytearray], bytes], ...] = (
            self._flip,
            self._flip,
            self._overwrite,
            self._truncate,
            self._extend,
            self._insert,
            self._remove,
            self._large_number,
            self._deep_tags,
            self._header,
            self._garbage,
            self._as_it_is,
        )

    def frames(self) -> Iterator[bytes]:
        """Frames with their sizes, without end."""
        while True:
            source = self._random.choice(self._corpus if self._random.random() < 0.6 else self._named)
            frame = self._random.choice(self._ways)(bytearray(source))
            if self._random.random() < 0.3:
                frame = self._random.choice(self._ways)(bytearray(frame))
            yield struct.pack(">i", len(frame)) + frame

    def _with_topic(self, frame: bytes) -> bytes | None:
        """The frame with every topic it names called C{t}."""
        api = BY_KEY[peek_request(frame)[0]]
        version = peek_request(frame)[1]
        body = decode_request_header(frame, api.is_flexible(version)).body
        request, _ = api.request_codec(version).decode(frame, body)
        for field in ("topics", "topic_data"):
            for topic in getattr(request, field, None) or ():
                for name in ("name", "topic"):
                    if isinstance(getattr(topic, name, None), str):
                        setattr(topic, name, "t")
        encoded = frame[:body] + b"".join(api.request_codec(version).encode(request))
        return encoded if encoded != frame else None

    def _where(self, frame: bytearray) -> int:
        """A place behind API key and version, which have a mutation of their own."""
        return self._random.randrange(4, len(frame)) if len(frame) > 4 else 0

    def _flip(self, frame: bytearray) -> bytes:
        for _ in range(self._random.randint(1, 4) if frame else 0):
            frame[self._where(frame)] ^= 1 << self._random.randrange(8)
        return bytes(frame)

    def _overwrite(self, frame: bytearray) -> bytes:
        start = self._where(frame)
        frame[start : start + 4] = self._random.choice((b"\xff" * 4, b"\x7f\xff\xff\xff", bytes(4), b"\x80\0\0\0"))
        return bytes(frame)

    def _truncate(self, frame: bytearray) -> bytes:
        return bytes(frame[: self._random.randrange(len(frame) + 1)])

    def _extend(self, frame: bytearray) -> bytes:
        return bytes(frame) + self._random.randbytes(self._random.choice((1, 10, 1000)))

    def _insert(self, frame: bytearray) -> bytes:
        start = self._where(frame)
        frame[start:start] = self._random.randbytes(self._random.randint(1, 8))
        return bytes(frame)

    def _remove(self, frame: bytearray) -> bytes:
        start = self._where(frame)
        del frame[start : start + self._random.randint(1, 8)]
        return bytes(frame)

    def _large_number(self, frame: bytearray) -> bytes:
        """A count or length of which few bytes follow, or none."""
        start = self._where(frame)
        count = self._random.choice((1000, 1 << 15, 1 << 20, 1 << 31, (1 << 32) - 1))
        number = encode_uvarint(count) if self._random.random() < 0.5 else struct.pack(">I", count & 0xFFFFFFFF)
        frame[start : start + self._random.choice((0, len(number)))] = number
        return bytes(frame) + bytes(self._random.choice((0, 2000)))

    def _deep_tags(self, frame: bytearray) -> bytes:
        """A tag section with many tags, or with one that is long, at the end or in the middle."""
        count = self._random.choice((1, 5, 300, 1000))
        tags = b"".join(encode_uvarint(self._random.randrange(1 << 14)) + b"\2ab" for _ in range(count))
        section = encode_uvarint(count) + tags
        if self._random.random() < 0.5 and frame:
            return bytes(frame[:-1]) + section
        start = self._where(frame)
        return bytes(frame[:start]) + section + bytes(frame[start:])

    def _header(self, frame: bytearray) -> bytes:
        """Another API key or version over the same body."""
        key = self._random.choice((*BY_KEY, *BY_KEY, 4, 8, 11, 50, -1, 0x7FFF))
        api = BY_KEY.get(key)
        versions = (api.versions[0], api.versions[-1], api.versions[-1] + 1) if api else (0,)
        version = self._random.choice((*versions, *versions, 0x7FFF, -1))
        return struct.pack(">hh", key, version) + bytes(frame[4:])

    def _garbage(self, frame: bytearray) -> bytes:
        return self._random.randbytes(self._random.choice((0, 1, 3, 9, 100, 5000)))

    def _as_it_is(self, frame: bytearray) -> bytes:
        return bytes(frame)


def understood(frame: bytes) -> tuple[Api, int, Any] | None:
    """What kgw makes of a frame; C{None} where it closes the connection."""
    try:
        key, version, _ = peek_request(frame)
        api = BY_KEY.get(key)
        if api is None:
            return None
        if version not in api.versions:
            return (api, 0, None) if api.answers_unknown_version else None
        header = decode_request_header(frame, api.is_flexible(version))
        return api, version, api.request_codec(version).decode(frame, header.body)[0]
    except WireError:
        return None


def too_much(request: Any) -> bool:
    """A lawful wish for so many partitions that their files would be all this test measures."""
    if isinstance(request, create_topics.Request):
        return any(topic.num_partitions > 20 or len(topic.assignments) > 20 for topic in request.topics)
    return any(getattr(topic, "count", 0) > 20 for topic in getattr(request, "topics", None) or ())


class FuzzTests(LiveTestCase):
    """Nothing that arrives on a socket may hurt anyone but its sender."""

    def test_frames(self) -> None:
        """Alive, no larger, no descriptor more, a log of bounded size, and the good client answered in time."""
        server = self.serve("--set", "auto.create.topics.enable=false", "--set", "log.retention.check.interval.ms=5000")
        create(server.port, "t", 2)
        mutator = Mutator(SEED).frames()
        # what is there once only: generated codecs, arenas, lines of the log
        self.attack(server, mutator, min(FRAMES // 3, 3000))
        self.sweep(server)
        memory, descriptors, logged = server.memory, server.descriptors, server.logged
        started = time.monotonic()
        good = Prober(server.port)
        self.addCleanup(good.finish)
        ends: Counter[str] = Counter()
        sent = 0
        while sent < FRAMES:
            ends.update(self.attack(server, mutator, min(2000, FRAMES - sent)))
            sent += min(2000, FRAMES - sent)
            self.sweep(server)
        slowest = good.finish()
        took = time.monotonic() - started
        self.assertTrue(server.alive)
        self.assertLess(slowest, LATENCY, "the good client waited")
        self.assertGreater(ends["answered"], FRAMES // 500, ends)
        self.assertGreater(ends["closed"], FRAMES // 500, ends)
        self.assertEqual(self.still_open(server, descriptors + 2), 0, server.open_files())
        self.assertLess(server.memory - memory, GROWTH, f"memory grew; it was {memory}")
        self.assertLess(server.logged - logged, 200_000 + LOG_RATE * (1 + took / 10))
        self.assertEqual(server.terminate(), 0)
        if FRAMES >= 100_000:
            print(
                f"\n{sent} frames in {took:.0f} s: {dict(ends)}; memory {memory >> 20} MiB before,"
                f" the log grew by {server.logged - logged} bytes, the good client waited {slowest * 1000:.0f} ms at"
                f" most in {len(good.seconds)} requests"
            )
        self.assertNotIn("Traceback", server.stderr())

    def attack(self, server: GatewayProcess, frames: Iterator[bytes], count: int) -> Counter[str]:
        """Send so many frames that kgw gets to see; how the connections ended."""
        ends: Counter[str] = Counter()
        readable: list[bytes] = []
        while count > 0:
            frame = next(frames)
            found = understood(frame[4:])
            if found is not None and too_much(found[2]):
                continue
            readable.append(frame)
            # a Produce that wants no answer and fails ends its connection too
            closing = found is None or getattr(found[2], "acks", -1) == 0
            if closing:
                # nothing behind it will be looked at; now and then some go before it
                pipeline = readable[-4:] if len(readable) % 8 == 5 else [frame]
                del readable[-len(pipeline) :]
            elif len(readable) >= min(PIPELINE, count):
                pipeline, readable = readable, []
            else:
                continue
            count -= len(pipeline)
            end = self.converse(server, b"".join(pipeline) + _LAST)
            ends[end] += 1
            if found is None:
                self.assertNotEqual(end, "answered", f"after {frame.hex()}")
        return ends

    def converse(self, server: GatewayProcess, data: bytes) -> str:
        """Send a pipeline and read to its end, in one way or the other."""
        with RawClient(server.port) as client:
            client.socket.settimeout(GIVE_UP)
            try:
                client.send(data)
                while True:
                    (correlation_id,) = struct.unpack_from(">i", client.receive())
                    if correlation_id == 0x7FFFFFF0:
                        return "answered"
            except EOFError:
                return "closed"
            except (TimeoutError, ConnectionError) as error:
                return type(error).__name__

    def sweep(self, server: GatewayProcess) -> None:
        """Delete the topics that mutated requests have made, or made larger, and begin with C{t} again."""
        with RawClient(server.port) as client:
            names = [t.name for t in client.ask(metadata.API, 5, metadata.Request(topics=None)).topics]
            doomed = [name for name in names if name != "good"]
            answer = client.ask(delete_topics.API, 3, delete_topics.Request(topic_names=doomed, timeout_ms=60_000))
            self.assertEqual([row for row in answer.responses if row.error_code], [])
        create(server.port, "t", 2)

    def still_open(self, server: GatewayProcess, most: int) -> int:
        """Descriptors above C{most}, once connections had the time to end."""
        for _ in range(100):
            if server.descriptors <= most:
                return 0
            time.sleep(0.05)
        return server.descriptors - most


class FloodTests(LiveTestCase):
    """A peer that sends nothing but garbage."""

    def test_log(self) -> None:
        """Thousands of bad connections fill no log."""
        server = self.serve()
        before = server.logged
        for number in range(3000):
            with RawClient(server.port) as client:
                client.send(
                    (b"GET / HTTP/1.1\r\n\r\n", struct.pack(">ihh", 100, 99, 0) + bytes(96), bytes(8))[number % 3]
                )
                self.assertTrue(client.closed())
        self.assertLess(server.logged - before, 20_000 * 2)
