"""No more room on the disk: producers are told, readers go on, and writing goes on when there is room again."""

from __future__ import annotations

import resource
import time

from kgw.errors import ErrorCode
from kgw.handlers import create_topics, fetch, produce
from kgw.test.live.raw import RawClient, create, fetch_frame, produce_frame
from kgw.test.live.server import GatewayProcess, LiveTestCase

#: The largest file kgw may write: a full disk, as a process without privileges can have it.
ROOM = 1 << 20
#: One batch's value, in bytes.
VALUE = 50_000


class FullDiskTests(LiveTestCase):
    """C{RLIMIT_FSIZE} stands in for the end of the disk."""

    def produce(self, client: RawClient, topic: str, value: bytes) -> produce.ResponsePartition:
        """What the answer says of one record."""
        client.send(produce_frame(topic, value))
        (row,) = client.answer(produce.API, 8).responses[0].partition_responses
        assert isinstance(row, produce.ResponsePartition)
        return row

    def fill(self, client: RawClient, topic: str) -> list[bytes]:
        """Produce until kgw cannot write; the values it has acknowledged, by offset."""
        acknowledged: list[bytes] = []
        for number in range(100):
            value = b"%06d" % number + bytes(VALUE)
            row = self.produce(client, topic, value)
            if row.error_code:
                self.assertEqual(row.error_code, ErrorCode.KAFKA_STORAGE_ERROR, row)
                return acknowledged
            self.assertEqual(row.base_offset, len(acknowledged))
            acknowledged.append(value)
        self.fail("the disk does not become full")

    def read(self, port: int, topic: str, count: int) -> list[bytes]:
        """The values at the offsets 0 to C{count}."""
        values = []
        with RawClient(port) as client:
            for offset in range(count):
                client.send(fetch_frame(topic, offset, max_bytes=1))
                (row,) = client.answer(fetch.API, 11).responses[0].partitions
                self.assertEqual(row.error_code, 0)
                values.append(bytes(row.records)[-1 - 6 - VALUE : -1])
        return values

    def set_room(self, server: GatewayProcess, limit: int) -> None:
        """Move the end of the disk while kgw runs."""
        hard = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)[1]
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (limit, hard))

    def test_full_and_free_again(self) -> None:
        """Nothing acknowledged is lost, now or after a crash, and no restart is needed to go on."""
        server = self.serve(file_limit=ROOM)
        create(server.port, "t")
        with RawClient(server.port) as client:
            acknowledged = self.fill(client, "t")
            self.assertGreater(len(acknowledged), 10)
            for _ in range(5):
                self.assertEqual(self.produce(client, "t", bytes(VALUE)).error_code, ErrorCode.KAFKA_STORAGE_ERROR)
            self.assertTrue(server.alive)
            self.assertEqual(self.read(server.port, "t", len(acknowledged)), acknowledged)
            self.set_room(server, resource.RLIM_INFINITY)
            for number in range(20):
                value = b"again%d" % (number % 10) + bytes(VALUE)
                self.written(client, "t", value, len(acknowledged))
                acknowledged.append(value)
        self.assertEqual(self.read(server.port, "t", len(acknowledged)), acknowledged)
        server.kill()
        server.file_limit = -1
        server.start()
        self.assertEqual(self.read(server.port, "t", len(acknowledged)), acknowledged)

    def written(self, client: RawClient, topic: str, value: bytes, offset: int) -> None:
        """Produce, as a client does that tries again: a partition may be away for a moment after it failed."""
        for _ in range(100):
            row = self.produce(client, topic, value)
            if not row.error_code:
                self.assertEqual(row.base_offset, offset)
                return
            self.assertEqual(row.error_code, ErrorCode.KAFKA_STORAGE_ERROR)
            time.sleep(0.05)
        self.fail("it is not written again")

    def test_other_partitions(self) -> None:
        """A file that cannot grow is one partition's; others are written to until their own end."""
        server = self.serve(file_limit=ROOM)
        create(server.port, "full")
        create(server.port, "other")
        with RawClient(server.port) as client:
            self.fill(client, "full")
            row = self.produce(client, "other", b"there is room")
            self.assertEqual((row.error_code, row.base_offset), (0, 0))

    def test_crash_while_full(self) -> None:
        """Killed on a full disk and started on it, kgw has all it acknowledged, and still says it is full."""
        server = self.serve(file_limit=ROOM)
        create(server.port, "t")
        with RawClient(server.port) as client:
            acknowledged = self.fill(client, "t")
        server.kill()
        server.start()
        self.assertEqual(self.read(server.port, "t", len(acknowledged)), acknowledged)
        with RawClient(server.port) as client:
            self.assertEqual(self.produce(client, "t", bytes(VALUE)).error_code, ErrorCode.KAFKA_STORAGE_ERROR)
            self.set_room(server, resource.RLIM_INFINITY)
            self.written(client, "t", b"after all", len(acknowledged))

    def test_no_room_for_facts(self) -> None:
        """Where the catalog cannot be written, creating a topic is refused, and the others live."""
        server = self.serve()
        create(server.port, "t")
        self.set_room(server, 1)
        wanted = create_topics.RequestTopic("more", 1, 1)
        with RawClient(server.port) as client:
            answer = client.ask(create_topics.API, 4, create_topics.Request(topics=[wanted], timeout_ms=10_000))
            self.assertEqual(answer.topics[0].error_code, ErrorCode.KAFKA_STORAGE_ERROR)
            self.assertEqual(self.produce(client, "t", b"x").error_code, ErrorCode.KAFKA_STORAGE_ERROR)
            self.set_room(server, resource.RLIM_INFINITY)
            answer = client.ask(create_topics.API, 4, create_topics.Request(topics=[wanted], timeout_ms=10_000))
            self.assertEqual(answer.topics[0].error_code, 0)
            self.written(client, "t", b"x", 0)
            self.written(client, "more", b"x", 0)

    def test_log_is_not_filled(self) -> None:
        """Thousands of refused records are a few lines."""
        server = self.serve(file_limit=ROOM)
        create(server.port, "t")
        with RawClient(server.port) as client:
            self.fill(client, "t")
            logged = server.logged
            client.send(b"".join(produce_frame("t", bytes(VALUE)) for _ in range(200)))
            for _ in range(200):
                client.answer(produce.API, 8)
            self.assertLess(server.logged - logged, 5000)
