"""Quotas as clients on connections meet them: answers that say how long, and connections that are not read so long."""

from __future__ import annotations

import struct
from itertools import count, cycle
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address
from twisted.internet.testing import StringTransport
from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from kgw.errors import ErrorCode
from kgw.handlers import fetch, find_coordinator, metadata, produce
from kgw.handlers.contract import Api
from kgw.handlers.registry import BY_KEY, SHORTCUTS
from kgw.metrics import Metrics
from kgw.net.connections import Connections, Limits
from kgw.net.dispatcher import Dispatcher
from kgw.net.protocol import KafkaFactory, KafkaProtocol
from kgw.peer_log import PeerLog
from kgw.quotas.client_quotas import Alteration
from kgw.test import connection_stage
from kgw.test.builders import raw_batch
from kgw.test.stage import Stage

#: Of what is sent here: headers without a client id.
VERSIONS = {0: 9, 1: 12, 3: 9, 10: 4}


class Client:
    """One connection of a client without a client id."""

    def __init__(self, factory: KafkaFactory) -> None:
        peer = IPv4Address("TCP", "10.0.0.9", 5000)
        self.transport = StringTransport(peerAddress=peer)
        self.protocol: Any = factory.buildProtocol(peer)
        self.protocol.makeConnection(self.transport)
        self.asked: list[Api] = []

    def ask(self, api: Api, request: Any) -> None:
        """Send a request."""
        version = VERSIONS[api.key]
        body = b"".join(api.request_codec(version).encode(request))
        header = struct.pack(">hhih", api.key, version, len(self.asked), -1) + b"\0" * api.is_flexible(version)
        self.asked.append(api)
        self.protocol.dataReceived(struct.pack(">i", len(header) + len(body)) + header + body)

    def answers(self) -> list[Any]:
        """All that was answered so far."""
        data, found = self.transport.value(), []
        while data:
            size, number = struct.unpack_from(">ii", data)
            api = self.asked[number]
            version = VERSIONS[api.key]
            codec = api.response_codec(version)
            value, end = codec.decode(data, 8 + api.is_flexible(version))
            assert end == size + 4
            found.append(value)
            data = data[end:]
        return found

    @property
    def is_read(self) -> bool:
        return self.transport.producerState == "producing"


class EnforcementCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.stage = Stage(self)
        self.clock = self.stage.clock
        self.stage.create("t")
        self.stage.services.metrics = Metrics(timer=self.clock.seconds)
        log = PeerLog(Logger("kgw.test"), self.clock)
        self.dispatcher = Dispatcher(BY_KEY, self.stage.services, log, SHORTCUTS)
        self.connections = Connections(Limits(), self.clock, log)
        self.factory = KafkaFactory(self.dispatcher, self.connections)
        self.stage.quotas.watch(self.obey)
        self.client = Client(self.factory)

    def obey(self) -> None:
        """As the gateway does."""
        quotas = self.stage.quotas
        self.dispatcher.throttle(quotas.charge if quotas.active else None)
        self.connections.may_connect = quotas.connected if quotas.limits_connections else None

    def limit(self, key: str, value: float | None, kind: str = "client-id") -> None:
        """Set a default limit, or remove it."""
        alteration: Alteration = ({kind: None}, [(key, value)])
        results = self.successResultOf(self.stage.quotas.alter([alteration]))
        self.assertEqual(list(results.values()), [None])

    def produce(self, size: int, acks: int = -1, client: Client | None = None) -> None:
        """Send one batch of about so many bytes."""
        records = raw_batch(int(self.clock.seconds() * 1000), value=b"x" * size)
        topic = produce.RequestTopic(name="t", partition_data=[produce.RequestPartition(0, records)])
        (client or self.client).ask(produce.API, produce.Request(acks=acks, timeout_ms=1000, topic_data=[topic]))

    def fetch(self, offset: int, most: int = 1 << 20) -> None:
        """Ask for records and do not wait."""
        partition = fetch.RequestPartition(partition=0, fetch_offset=offset, partition_max_bytes=most)
        topic = fetch.RequestTopic(topic="t", partitions=[partition])
        self.client.ask(
            fetch.API, fetch.Request(max_wait_ms=0, min_bytes=1, max_bytes=most, session_epoch=0, topics=[topic])
        )


class ProducerTests(EnforcementCase):
    """Bytes that come in."""

    def test_no_quota(self) -> None:
        """Nobody waits, and requests go the way they always go."""
        self.assertEqual(self.dispatcher.enter, self.dispatcher.dispatch)
        self.produce(50_000)
        self.produce(50_000)
        self.assertEqual([one.throttle_time_ms for one in self.client.answers()], [0, 0])

    def test_muted(self) -> None:
        """What is too much is appended and answered; what comes behind it waits as long as the answer says."""
        self.limit("producer_byte_rate", 1000)
        self.produce(14_800)
        (answer,) = self.client.answers()
        self.assertEqual(answer.responses[0].partition_responses[0].error_code, 0)
        self.assertTrue(4800 < answer.throttle_time_ms < 5200, answer.throttle_time_ms)
        self.assertFalse(self.client.is_read)
        self.client.ask(metadata.API, metadata.Request())
        self.clock.advance(answer.throttle_time_ms / 1000 - 0.01)
        self.assertEqual(len(self.client.answers()), 1)
        self.clock.advance(0.02)
        self.assertEqual(len(self.client.answers()), 2)
        self.assertTrue(self.client.is_read)

    def test_burst(self) -> None:
        """A client that begins may send what the windows hold without a wait."""
        self.limit("producer_byte_rate", 1000)
        for _ in range(4):
            self.produce(2000)
        self.assertEqual([one.throttle_time_ms for one in self.client.answers()], [0] * 4)

    def test_without_answers(self) -> None:
        """With acks=0 nothing says so, but the connection is not read either."""
        self.limit("producer_byte_rate", 1000)
        self.produce(20_000, acks=0)
        self.assertEqual(self.client.answers(), [])
        self.assertFalse(self.client.is_read)

    def test_others_go_on(self) -> None:
        """Another connection is read; as its client has the same quota, it waits once it has sent something."""
        self.limit("producer_byte_rate", 1000)
        self.produce(20_000)
        other = Client(self.factory)
        other.ask(metadata.API, metadata.Request())
        self.assertEqual([one.throttle_time_ms for one in other.answers()], [0])
        self.produce(10, client=other)
        self.assertGreater(other.answers()[1].throttle_time_ms, 9000)

    def test_removed(self) -> None:
        """Without quotas requests go the short way again."""
        self.limit("producer_byte_rate", 1000)
        self.limit("producer_byte_rate", None)
        self.assertEqual(self.dispatcher.enter, self.dispatcher.dispatch)
        self.produce(50_000)
        self.assertEqual(self.client.answers()[0].throttle_time_ms, 0)

    def test_gone_while_muted(self) -> None:
        """A connection that ends while it is muted leaves nothing behind; so does a stop."""
        self.limit("producer_byte_rate", 1000)
        self.produce(20_000)
        stopping = Client(self.factory)
        self.produce(20_000, client=stopping)
        self.client.protocol.connectionLost()
        stopped = self.connections.stop()
        self.assertTrue(stopping.transport.disconnecting)
        stopping.protocol.connectionLost()
        self.successResultOf(stopped)
        # an alarm would fail on a connection that is not there
        self.clock.advance(60)
        self.assertEqual(len(self.connections), 0)


class GateTests(EnforcementCase):
    """Every way a request can go, while clients are charged."""

    def setUp(self) -> None:
        super().setUp()
        self.limit("producer_byte_rate", 1000)

    def wait_for_records(self) -> None:
        """Send a Fetch that waits for up to five seconds."""
        partition = fetch.RequestPartition(partition=0, fetch_offset=0, partition_max_bytes=1 << 20)
        topic = fetch.RequestTopic(topic="t", partitions=[partition])
        self.client.ask(
            fetch.API, fetch.Request(max_wait_ms=5000, min_bytes=1, max_bytes=1 << 20, session_epoch=-1, topics=[topic])
        )

    def test_refused(self) -> None:
        """A request that is refused as a whole says how long, too."""
        self.produce(20_000, acks=5)
        (answer,) = self.client.answers()
        (row,) = answer.responses[0].partition_responses
        self.assertEqual(row.error_code, ErrorCode.INVALID_REQUIRED_ACKS)
        self.assertGreater(answer.throttle_time_ms, 9000)
        self.assertFalse(self.client.is_read)

    def test_long_poll(self) -> None:
        """A request that waits ends as always, by what it waits for or by time."""
        self.wait_for_records()
        self.assertEqual(self.client.answers(), [])
        self.produce(100, client=Client(self.factory))
        self.clock.advance(0)
        self.assertTrue(self.client.answers()[0].responses[0].partitions[0].records)
        self.wait_for_records()
        self.assertEqual(len(self.client.answers()), 2)

    def test_gone_while_waiting(self) -> None:
        """A connection that ends takes its requests with it."""
        self.wait_for_records()
        self.client.protocol.connectionLost()
        self.produce(100, client=Client(self.factory))
        self.clock.advance(10)
        self.assertEqual(self.client.answers(), [])

    def test_unreadable(self) -> None:
        """Bytes that are no request end the connection."""
        self.client.protocol.dataReceived(struct.pack(">ihhih", 10, 0, 9, 1, 77))
        self.assertTrue(self.client.transport.disconnecting)

    def test_watched(self) -> None:
        """Who watches sees the same answers."""
        seen: list[Any] = []
        self.dispatcher.watch(lambda frame, peer: seen.append)
        self.produce(20_000)
        (answer,) = self.client.answers()
        self.assertGreater(answer.throttle_time_ms, 9000)
        self.assertEqual(b"".join(seen[0]), self.client.transport.value())
        self.dispatcher.watch(None)
        self.limit("producer_byte_rate", None)
        self.assertEqual(self.dispatcher.enter, self.dispatcher.dispatch)


class ConsumerTests(EnforcementCase):
    """Bytes that go out."""

    def setUp(self) -> None:
        super().setUp()
        for _ in range(8):
            self.produce(2000)
        self.client = Client(self.factory)
        self.limit("consumer_byte_rate", 1000)

    def test_too_fast(self) -> None:
        """An answer has what the windows hold; the next has nothing but how long to wait, and then it comes."""
        self.fetch(0)
        first = self.client.answers()[0]
        self.assertEqual(first.throttle_time_ms, 0)
        size = sum(map(len, [bytes(first.responses[0].partitions[0].records)]))
        self.assertTrue(6000 < size <= 10_000, size)
        self.fetch(4)
        second = self.client.answers()[1]
        self.assertEqual((second.responses, second.session_id, second.error_code), ([], 0, 0))
        self.assertGreater(second.throttle_time_ms, 2000)
        self.assertEqual(len(self.stage.services.fetch_sessions), 1)
        self.fetch(4)
        self.assertEqual(len(self.client.answers()), 2)
        self.clock.advance(12)
        third = self.client.answers()[2]
        self.assertEqual(third.throttle_time_ms, 0)
        self.assertGreater(len(third.responses[0].partitions[0].records), 6000)

    def test_large_batch(self) -> None:
        """A batch that is more than all windows hold comes too."""
        self.limit("consumer_byte_rate", 10)
        self.fetch(0)
        (answer,) = self.client.answers()
        self.assertGreater(len(answer.responses[0].partitions[0].records), 2000)
        self.assertGreater(answer.throttle_time_ms, 100_000)


class OtherTests(EnforcementCase):
    """Work and connections."""

    def test_requests(self) -> None:
        """Whoever keeps the gateway busy waits, whatever it asks for, and is told in every answer."""
        self.limit("request_percentage", 1)
        # every look at the timer finds it a second later
        seconds = count()
        self.stage.services.metrics = Metrics(timer=lambda: float(next(seconds)))
        dispatcher = Dispatcher(BY_KEY, self.stage.services, self.stage.services.peer_log)
        dispatcher.throttle(self.stage.quotas.charge)
        self.factory = KafkaFactory(dispatcher, self.connections)
        client = Client(self.factory)
        client.ask(metadata.API, metadata.Request())
        self.assertEqual(client.answers()[0].throttle_time_ms, 1000)
        client.ask(find_coordinator.API, find_coordinator.Request(coordinator_keys=["g"]))
        self.clock.advance(1)
        self.assertEqual(client.answers()[1].throttle_time_ms, 1000)

    def test_connections(self) -> None:
        """Who connects too fast is turned away, until it has been slow enough."""
        self.limit("connection_creation_rate", 1, kind="ip")
        peer = IPv4Address("TCP", "10.0.0.77", 5000)
        made = [isinstance(self.factory.buildProtocol(peer), KafkaProtocol) for _ in range(12)]
        self.assertEqual(made, [True] * 10 + [False] * 2)
        self.clock.advance(12)
        self.assertIsInstance(self.factory.buildProtocol(peer), KafkaProtocol)
        self.limit("connection_creation_rate", None, kind="ip")
        self.assertIs(self.connections.may_connect, None)


class MutingTests(SynchronousTestCase):
    """Connections, with handlers that do what the test wants."""

    @given(
        kinds=st.lists(st.sampled_from(["now", "wait", "silent", "kafka"]), min_size=1, max_size=20),
        waits=st.lists(st.sampled_from([0, 0, 10, 1000]), min_size=1, max_size=5),
        data=st.data(),
    )
    @settings(deadline=None, max_examples=60)
    def test_order(self, kinds: list[str], waits: list[int], data: st.DataObject) -> None:
        """However often it is muted, each request is answered once and in its turn, and none starts meanwhile."""
        stage = connection_stage.Stage(connection_max_requests=data.draw(st.integers(1, 6)))
        muted_until = 0.0
        charges = cycle(waits)

        def charge(client_id: str, work: float, produced: int) -> int:
            nonlocal muted_until
            self.assertEqual((client_id, produced), ("tester", 0))
            wait = next(charges)
            muted_until = max(muted_until, stage.clock.seconds() + wait / 1000)
            return wait

        def not_muted(request: Any) -> None:
            self.assertGreaterEqual(stage.clock.seconds(), muted_until)

        stage.dispatcher.throttle(charge)
        stage.during = not_muted
        protocol, transport = stage.connect()
        names = [f"{kind}-{i}" if kind == "wait" else kind for i, kind in enumerate(kinds)]
        protocol.dataReceived(b"".join(connection_stage.frame(i, name) for i, name in enumerate(names)))
        while len(stage.started) < len(names) or stage.waiting:
            choices = sorted(stage.waiting)
            fire_one = bool(choices) and data.draw(st.booleans())
            if fire_one:
                stage.fire(data.draw(st.sampled_from(choices)))
            else:
                stage.clock.advance(0.5)
                if choices and not stage.clock.getDelayedCalls():
                    stage.fire(choices[0])
        expected = [
            (i, 41, "refused") if kind == "kafka" else (i, 0, name.removeprefix("wait-"))
            for i, (kind, name) in enumerate(zip(kinds, names, strict=True))
            if kind != "silent"
        ]
        self.assertEqual(connection_stage.read_answers(transport.value()), expected)
        stage.clock.advance(2)
        self.assertEqual(transport.producerState, "producing")
