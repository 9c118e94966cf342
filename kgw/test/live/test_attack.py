"""Clients that mean harm, or are broken: memory stays bounded, others are served, and everything is given back."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from kgw.errors import ErrorCode
from kgw.handlers import api_versions, fetch, join_group, produce
from kgw.test.live.raw import Prober, RawClient, create, fetch_frame, framed, produce_frame
from kgw.test.live.server import GatewayProcess, LiveTestCase

#: An answer to the good client may take so long, in seconds; far more than it does, for busy test machines.
LATENCY = 2.0

_VERSIONS = framed(api_versions.API, 0, api_versions.Request())


class AttackTests(LiveTestCase):
    """One attack each."""

    @contextmanager
    def unhurt(self, server: GatewayProcess, growth: int) -> Iterator[None]:
        """
        While the block runs, a good client is served; after it, descriptors and memory are as before.

        @param growth: what the process may keep in memory, in bytes: arenas that are not handed back to the system.
        """
        good = Prober(server.port)
        self.addCleanup(good.finish)
        self.wait_until(lambda: len(good.seconds) > 20)
        descriptors, memory = server.descriptors, server.memory
        yield
        self.assertLess(good.finish(), LATENCY)
        self.wait_until(lambda: server.descriptors <= descriptors)
        self.assertLess(server.memory - memory, growth)
        self.assertNotIn("Traceback", server.stderr())
        with RawClient(server.port) as client:
            self.assertEqual(client.ask(api_versions.API, 0, api_versions.Request()).error_code, 0)

    def wait_until(self, condition: object, seconds: float = 10.0) -> None:
        """Look again and again."""
        assert callable(condition)
        end = time.monotonic() + seconds
        while not condition():
            self.assertLess(time.monotonic(), end, "it does not come to that")
            time.sleep(0.02)

    def fill(self, server: GatewayProcess, topic: str, megabytes: int) -> None:
        """Produce so much in batches of 512 KiB."""
        create(server.port, topic)
        with RawClient(server.port) as client:
            for _ in range(2 * megabytes):
                client.send(produce_frame(topic, bytes(512 << 10)))
                (row,) = client.answer(produce.API, 8).responses[0].partition_responses
                self.assertEqual(row.error_code, 0)

    def test_slow_readers(self) -> None:
        """Consumers that ask for 4 MiB sixty times and read nothing hold a few answers each at most."""
        server = self.serve("--set", "kgw.tail.bytes=1048576")
        self.fill(server, "t", 16)
        with self.unhurt(server, 64 << 20), ExitStack() as stack:
            before = server.memory
            for _ in range(10):
                client = stack.enter_context(RawClient(server.port, receive_buffer=4096))
                client.send(b"".join(fetch_frame("t", max_bytes=4 << 20) for _ in range(60)))
            time.sleep(1)
            self.assertLess(server.memory - before, 160 << 20)

    def test_slow_readers_of_large_answers(self) -> None:
        """However many consumers ask for 50 MB and read nothing, what waits for them stays within its bound."""
        server = self.serve("--set", "kgw.tail.bytes=1048576", "--set", "kgw.queued.max.response.bytes=67108864")
        self.fill(server, "t", 52)
        with self.unhurt(server, 128 << 20), ExitStack() as stack:
            before = server.memory
            for _ in range(12):
                client = stack.enter_context(RawClient(server.port, receive_buffer=4096))
                client.send(b"".join(fetch_frame("t", max_bytes=50 << 20) for _ in range(4)))
            time.sleep(1)
            self.assertLess(server.memory - before, 160 << 20)
            with RawClient(server.port) as good:
                good.send(fetch_frame("t", max_bytes=50 << 20))
                self.assertGreater(len(good.receive()), 512 << 10)

    def test_stop_behind_a_long_poll(self) -> None:
        """A Produce behind a Fetch that waits is acknowledged when the gateway is told to stop."""
        server = self.serve()
        create(server.port, "t")
        create(server.port, "u")
        with RawClient(server.port) as client:
            client.send(fetch_frame("u", wait_ms=30_000, correlation_id=7) + produce_frame("t", b"kept"))
            with RawClient(server.port) as reader:
                reader.send(fetch_frame("t", wait_ms=10_000))
                (row,) = reader.answer(fetch.API, 11).responses[0].partitions
                self.assertIn(b"kept", bytes(row.records))
            self.assertEqual(server.terminate(), 0)
            self.assertEqual(struct.unpack_from(">i", client.receive()), (7,))
            (done,) = client.answer(produce.API, 8).responses[0].partition_responses
            self.assertEqual((done.error_code, done.base_offset), (0, 0))
            self.assertTrue(client.closed())

    def test_stop_behind_a_join(self) -> None:
        """So is one behind a JoinGroup that waits; its member is told to look for its coordinator again."""
        server = self.serve("--set", "group.initial.rebalance.delay.ms=60000")
        create(server.port, "t")
        with RawClient(server.port) as client:
            join = join_group.Request(
                group_id="g",
                session_timeout_ms=30_000,
                rebalance_timeout_ms=30_000,
                protocol_type="consumer",
                protocols=[join_group.RequestProtocol("range", b"")],
            )
            client.send(framed(join_group.API, 3, join) + produce_frame("t", b"kept"))
            with RawClient(server.port) as reader:
                reader.send(fetch_frame("t", wait_ms=10_000))
                reader.answer(fetch.API, 11)
            self.assertEqual(server.terminate(), 0)
            self.assertEqual(client.answer(join_group.API, 3).error_code, ErrorCode.NOT_COORDINATOR)
            (done,) = client.answer(produce.API, 8).responses[0].partition_responses
            self.assertEqual((done.error_code, done.base_offset), (0, 0))

    def test_slow_reader_gets_everything(self) -> None:
        """One that reads slowly misses nothing."""
        server = self.serve()
        self.fill(server, "t", 4)
        with RawClient(server.port, receive_buffer=4096) as client:
            client.send(b"".join(fetch_frame("t", max_bytes=1 << 20, correlation_id=n) for n in range(20)))
            for number in range(20):
                frame = client.receive()
                self.assertEqual(struct.unpack_from(">i", frame), (number,))
                self.assertGreater(len(frame), 512 << 10)

    def test_slow_writers(self) -> None:
        """Requests that come a byte at a time keep nobody else waiting, and are answered when they are whole."""
        server = self.serve()
        with self.unhurt(server, 16 << 20), ExitStack() as stack:
            clients = [stack.enter_context(RawClient(server.port)) for _ in range(50)]
            for byte in _VERSIONS:
                for client in clients:
                    client.send(bytes((byte,)))
                time.sleep(0.02)
            for client in clients:
                self.assertEqual(client.answer(api_versions.API, 0).error_code, 0)

    def test_peers_that_say_nothing(self) -> None:
        """Idle connections, half a frame, and a peer that vanished without a word are closed in time."""
        server = self.serve("--set", "connections.max.idle.ms=1000")
        with self.unhurt(server, 16 << 20), ExitStack() as stack:
            clients = [stack.enter_context(RawClient(server.port)) for _ in range(60)]
            for number, client in enumerate(clients):
                client.send(b"" if number % 2 else _VERSIONS[:9])
            for client in clients:
                self.assertTrue(client.closed())

    def test_resets(self) -> None:
        """Peers that go away with a reset while requests wait for them."""
        server = self.serve()
        create(server.port, "t")
        with self.unhurt(server, 16 << 20):
            for _ in range(200):
                with RawClient(server.port) as client:
                    client.send(fetch_frame("t", wait_ms=30_000) + _VERSIONS * 3)
                    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def test_churn(self) -> None:
        """Two thousand connections come and go."""
        server = self.serve()
        with self.unhurt(server, 16 << 20):
            for number in range(2000):
                with RawClient(server.port) as client:
                    client.send((b"", _VERSIONS, _VERSIONS[:10], _VERSIONS * 3)[number % 4])

    def test_many_idle(self) -> None:
        """Five hundred connections that do nothing cost little memory."""
        server = self.serve()
        with self.unhurt(server, 32 << 20), ExitStack() as stack:
            before = server.memory
            clients = [stack.enter_context(RawClient(server.port)) for _ in range(500)]
            for client in (clients[0], clients[-1]):
                self.assertEqual(client.ask(api_versions.API, 0, api_versions.Request()).error_code, 0)
            self.assertLess(server.memory - before, 30 << 20)

    def test_too_large(self) -> None:
        """A frame over its limit ends its connection when its size is known, whatever it would carry."""
        server = self.serve()
        with self.unhurt(server, 16 << 20):
            for start in (
                struct.pack(">i", -1),
                struct.pack(">i", (100 << 20) + 1),
                struct.pack(">ih", (4 << 20) + 1, 3),
                struct.pack(">ih", 100 << 20, 77),
            ):
                with RawClient(server.port) as client:
                    client.send(start)
                    self.assertTrue(client.closed())

    def test_never_ending_frames(self) -> None:
        """Large frames that stop short of their end are held within queued.max.request.bytes."""
        server = self.serve(
            "--set", "socket.request.max.bytes=8388608", "--set", "queued.max.request.bytes=16777216",
        )  # fmt: skip
        with self.unhurt(server, 64 << 20), ExitStack() as stack:
            before = server.memory
            for _ in range(30):
                client = stack.enter_context(RawClient(server.port))
                client.socket.settimeout(0.1)
                try:
                    client.send(struct.pack(">ih", 8 << 20, 0) + bytes(7 << 20))
                except TimeoutError:
                    continue
            self.assertLess(server.memory - before, 60 << 20)

    def test_tiny_elements(self) -> None:
        """The most elements that are let in take a bounded time; one more ends the connection."""
        server = self.serve()
        row = produce.RequestPartition(0, None)
        with self.unhurt(server, 100 << 20), RawClient(server.port) as client:
            topics = [produce.RequestTopic("none", partition_data=[row] * 99_999)]
            answer = client.ask(produce.API, 9, produce.Request(acks=-1, topic_data=topics))
            self.assertEqual(len(answer.responses[0].partition_responses), 99_999)
            topics[0].partition_data.append(row)
            client.send(framed(produce.API, 9, produce.Request(acks=-1, topic_data=topics)))
            self.assertTrue(client.closed())

    def test_pipelines(self) -> None:
        """Far more requests at once than may be in flight are all answered, in order, also behind one that waits."""
        server = self.serve()
        create(server.port, "t")
        with self.unhurt(server, 32 << 20), RawClient(server.port) as client:
            asked = [framed(api_versions.API, 0, api_versions.Request(), number) for number in range(1, 3000)]
            client.send(fetch_frame("t", wait_ms=500, correlation_id=0) + b"".join(asked))
            for number in range(3000):
                self.assertEqual(struct.unpack_from(">i", client.receive()), (number,))

    def test_many_parked(self) -> None:
        """Five hundred Fetches that wait for one topic are all woken by one record."""
        server = self.serve()
        create(server.port, "t")
        with self.unhurt(server, 32 << 20), ExitStack() as stack:
            clients = [stack.enter_context(RawClient(server.port)) for _ in range(500)]
            for client in clients:
                client.send(fetch_frame("t", wait_ms=15_000))
            with RawClient(server.port) as writer:
                writer.send(produce_frame("t", b"the one"))
                writer.answer(produce.API, 8)
            start = time.monotonic()
            for client in clients:
                (row,) = client.answer(fetch.API, 11).responses[0].partitions
                self.assertIn(b"the one", bytes(row.records))
            self.assertLess(time.monotonic() - start, LATENCY)

    def test_max_connections(self) -> None:
        """One more is closed at once; where another went there is room again; the log says it a few times only."""
        for name in ("max.connections", "max.connections.per.ip"):
            server = self.serve("--set", f"{name}=20")
            with ExitStack() as stack:
                clients = [stack.enter_context(RawClient(server.port)) for _ in range(20)]
                self.assertEqual(clients[-1].ask(api_versions.API, 0, api_versions.Request()).error_code, 0)
                logged = server.logged
                for _ in range(300):
                    with RawClient(server.port) as refused:
                        self.assertTrue(refused.closed())
                self.assertLess(server.logged - logged, 3000)
                self.assertIn(f"{name} (20) is reached", server.stderr())
                clients[0].socket.close()
                clients[1].ask(api_versions.API, 0, api_versions.Request())
                with RawClient(server.port) as client:
                    self.assertEqual(client.ask(api_versions.API, 0, api_versions.Request()).error_code, 0)
