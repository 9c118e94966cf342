"""One connection: order, backpressure, cancellation."""

from __future__ import annotations

import struct
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from kgw.test.connection_stage import Answers, Stage, frame, read_answers


def texts(transport: StringTransport) -> list[str]:
    """The answers so far."""
    return [what for _, _, what in read_answers(transport.value())]


class FullTransport(StringTransport):
    """Is full after a megabyte."""

    def write(self, data: bytes) -> None:
        super().write(data)
        if len(self.value()) > 1 << 20:
            producer: Any = self.producer
            producer.pauseProducing()


class Order(SynchronousTestCase):
    def setUp(self) -> None:
        self.stage = Stage()
        self.protocol, self.transport = self.stage.connect()

    def test_at_once(self) -> None:
        """Requests that come together are answered together, in order."""
        self.protocol.dataReceived(b"".join(frame(i, f"r{i}") for i in range(5)))
        self.assertEqual(read_answers(self.transport.value()), [(i, 0, f"r{i}") for i in range(5)])

    def test_later_ones_start_and_wait(self) -> None:
        """A parked request does not stop what comes after it from starting, but from being answered."""
        self.protocol.dataReceived(frame(1, "wait-a", key=1) + frame(2, "b") + frame(3, "wait-c"))
        self.protocol.dataReceived(frame(4, "silent") + frame(5, "e"))
        self.assertEqual(self.stage.started, ["wait-a", "b", "wait-c", "silent", "e"])
        self.stage.fire("wait-c")
        self.assertEqual(texts(self.transport), [])
        self.stage.fire("wait-a")
        self.assertEqual(texts(self.transport), ["a", "b", "c", "e"])
        self.assertEqual(self.protocol.in_flight, 0)

    def test_each_other_way(self) -> None:
        """A request that ends an earlier one of its own connection while it starts is no recursion and no disorder."""
        self.protocol.dataReceived(frame(1, "wait-a", key=1))

        def end_the_first(request: Any) -> None:
            if "wait-a" in self.stage.waiting:
                self.stage.fire("wait-a")

        self.stage.during = end_the_first
        self.protocol.dataReceived(frame(2, "b") + frame(3, "c"))
        self.assertEqual(texts(self.transport), ["a", "b", "c"])

    def test_many_connections_wake_each_other(self) -> None:
        """However many connections one request lets go on, the stack does not grow with them."""
        stage = Stage(connection_max_requests=1)
        connections = [stage.connect() for _ in range(600)]
        for number, (protocol, _) in enumerate(connections):
            protocol.dataReceived(frame(1, f"wait-{number}") + frame(2, f"then-{number}"))

        def end_the_next(request: Any) -> None:
            kind, _, number = request.what.partition("-")
            following = f"wait-{int(number) + 1}"
            if kind == "then" and following in stage.waiting:
                stage.fire(following)

        stage.during = end_the_next
        stage.fire("wait-0")
        for number, (_, transport) in enumerate(connections):
            self.assertEqual(texts(transport), [str(number), f"then-{number}"])

    @given(
        kinds=st.lists(st.sampled_from(["now", "wait", "silent", "kafka"]), min_size=1, max_size=20),
        data=st.data(),
    )
    @settings(deadline=None, max_examples=80)
    def test_any_chunks_any_order(self, kinds: list[str], data: st.DataObject) -> None:
        """Chopped anywhere and finished in any order: each answered exactly once, in arrival order."""
        stage = Stage(connection_max_requests=data.draw(st.integers(1, 6)), queued_max_bytes=200)
        protocol, transport = stage.connect()
        names = [f"{kind}-{i}" if kind == "wait" else kind for i, kind in enumerate(kinds)]
        stream = b"".join(frame(i, name) for i, name in enumerate(names))
        cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
        chunks = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
        while chunks or stage.waiting:
            choices = sorted(stage.waiting)
            if chunks and (not choices or data.draw(st.booleans())):
                chunk = chunks.pop(0)
                if chunk:
                    protocol.dataReceived(chunk)
            elif choices:
                stage.fire(data.draw(st.sampled_from(choices)))
        expected: Answers = []
        for i, (kind, name) in enumerate(zip(kinds, names, strict=True)):
            if kind == "kafka":
                expected.append((i, 41, "refused"))
            elif kind != "silent":
                expected.append((i, 0, name.removeprefix("wait-")))
        self.assertEqual(read_answers(transport.value()), expected)
        self.assertEqual(stage.started, names)
        self.assertEqual(transport.producerState, "producing")
        self.assertEqual(stage.connections.budget.used, 0)


class Backpressure(SynchronousTestCase):
    def test_requests_in_flight(self) -> None:
        """At the bound reading pauses; frames that came already wait; then everything goes on."""
        stage = Stage(connection_max_requests=2)
        protocol, transport = stage.connect()
        protocol.dataReceived(b"".join(frame(i, f"wait-{i}") for i in range(5)))
        self.assertEqual(len(stage.started), 2)
        self.assertEqual(transport.producerState, "paused")
        stage.fire("wait-0")
        self.assertEqual(len(stage.started), 3)
        self.assertEqual(transport.producerState, "paused")
        stage.fire("wait-1")
        stage.fire("wait-2")
        self.assertEqual(transport.producerState, "paused")
        stage.fire("wait-3")
        self.assertEqual(transport.producerState, "producing")
        stage.fire("wait-4")
        self.assertEqual(texts(transport), ["0", "1", "2", "3", "4"])

    def test_long_polls(self) -> None:
        """Few long polls of one connection are under way at a time, as each may bring a large answer."""
        stage = Stage()
        protocol, transport = stage.connect()
        protocol.dataReceived(b"".join(frame(i, f"wait-{i}", key=1) for i in range(10)))
        self.assertEqual(len(stage.started), 8)
        self.assertEqual(transport.producerState, "paused")
        stage.fire("wait-5")
        self.assertEqual(len(stage.started), 9)
        for name in sorted(stage.waiting):
            stage.fire(name)
        stage.fire("wait-9")
        self.assertEqual([what for _, _, what in read_answers(transport.value())], [str(i) for i in range(10)])
        self.assertEqual(transport.producerState, "producing")

    def test_bytes_in_flight(self) -> None:
        """The bytes of a connection's requests count."""
        stage = Stage(connection_max_bytes=1000)
        protocol, transport = stage.connect()
        protocol.dataReceived(frame(1, "wait-a", padding=900) + frame(2, "wait-b", padding=900) + frame(3, "c"))
        self.assertEqual(stage.started, ["wait-a", "wait-b"])
        self.assertEqual(transport.producerState, "paused")
        stage.fire("wait-b")
        self.assertEqual(stage.started, ["wait-a", "wait-b", "c"])
        self.assertEqual(transport.producerState, "producing")

    def test_answers_that_wait_for_earlier_ones(self) -> None:
        """So do the bytes of answers that are ready and may not be sent yet."""
        stage = Stage(connection_max_bytes=1000)
        protocol, transport = stage.connect()
        protocol.dataReceived(frame(1, "wait-a") + b"".join(frame(2, "b", size=600) for _ in range(5)))
        self.assertEqual(stage.started, ["wait-a", "b", "b"])
        self.assertEqual(transport.producerState, "paused")
        stage.fire("wait-a")
        self.assertEqual(texts(transport), ["a"] + ["b"] * 5)
        self.assertEqual(transport.producerState, "producing")

    def test_all_connections(self) -> None:
        """queued.max.request.bytes stops everyone, and everyone goes on in turn."""
        stage = Stage(queued_max_bytes=1000)
        first, _ = stage.connect()
        others = [stage.connect() for _ in range(3)]
        first.dataReceived(frame(1, "wait-big", padding=1000))
        for number, (protocol, transport) in enumerate(others):
            protocol.dataReceived(frame(1, f"wait-{number}", padding=600) + frame(2, f"wait-again-{number}"))
            self.assertEqual(transport.producerState, "paused")
        self.assertEqual(stage.started, ["wait-big"])
        stage.fire("wait-big")
        self.assertEqual(stage.started, ["wait-big", "wait-0", "wait-1"])
        stage.fire("wait-0")
        self.assertEqual(stage.started[3:], ["wait-2"])
        for what in ("wait-1", "wait-2"):
            stage.fire(what)
        for number in range(3):
            stage.fire(f"wait-again-{number}")
        for number, (_, transport) in enumerate(others):
            self.assertEqual(texts(transport), [str(number), f"again-{number}"])
            self.assertEqual(transport.producerState, "producing")
        self.assertEqual(stage.connections.budget.used, 0)

    def test_peer_that_does_not_read(self) -> None:
        """While the transport is full nothing is started, read or written; then everything."""
        stage = Stage()
        protocol, transport = stage.connect()
        assert transport.producer is not None
        self.assertTrue(transport.streaming)
        producer: Any = transport.producer
        producer.pauseProducing()
        protocol.dataReceived(frame(1, "a") + frame(2, "b"))
        self.assertEqual(stage.started, [])
        self.assertEqual(transport.producerState, "paused")
        producer.resumeProducing()
        self.assertEqual(texts(transport), ["a", "b"])
        self.assertEqual(transport.producerState, "producing")

    def test_answers_of_requests_in_flight_stay_here(self) -> None:
        """What becomes ready while the transport is full is not pushed into it."""
        stage = Stage()
        protocol, transport = stage.connect()
        producer: Any = transport.producer
        protocol.dataReceived(frame(1, "wait-a", size=100_000))
        producer.pauseProducing()
        stage.fire("wait-a")
        self.assertEqual(transport.value(), b"")
        self.assertGreater(protocol.unsent, 100_000)
        producer.resumeProducing()
        self.assertEqual(texts(transport), ["a"])

    def test_one_read_does_not_become_a_mountain(self) -> None:
        """Many small requests with large answers are not all answered before the first bytes go out."""
        stage = Stage()
        protocol, _ = stage.connect(transport=FullTransport())
        protocol.dataReceived(b"".join(frame(i, "a", size=400_000) for i in range(100)))
        self.assertLess(len(stage.started), 8)
        self.assertLess(protocol.unsent, 3 << 20)

    def test_answers_of_all_connections(self) -> None:
        """
        Where peers take no answers one more may be small only; others start requests as ever; what is held is given
        back when it is taken and when its peer is gone.
        """
        stage = Stage(answers_max_bytes=4 << 20)
        answers = stage.connections.answers
        peers = [stage.connect() for _ in range(3)]
        for protocol, transport in peers:
            protocol.dataReceived(frame(1, "wait-a", size=2 << 20))
            producer: Any = transport.producer
            producer.pauseProducing()
            stage.fire("wait-a")
        self.assertGreater(answers.held, 6 << 20)
        good, good_transport = stage.connect()
        self.assertEqual(good.claim_answer(50 << 20), 1 << 20)
        good.give_back_answer(1 << 20)
        good.dataReceived(frame(1, "one") + frame(2, "two", size=2 << 20))
        self.assertEqual(texts(good_transport), ["one", "two"])
        peers[0][1].producer.resumeProducing()  # type: ignore[union-attr]
        peers[1][0].connectionLost()
        self.assertLess(answers.held, 3 << 20)
        peers[2][0].abort()
        peers[2][0].connectionLost()
        self.assertEqual(answers.held, 0)

    def test_ready_answers_while_room_is_short(self) -> None:
        """A connection that holds answers behind an unfinished request starts no more; nobody else has to wait."""
        stage = Stage(answers_max_bytes=100_000)
        protocol, transport = stage.connect()
        protocol.dataReceived(frame(1, "wait-a", key=1) + frame(2, "b", size=200_000))
        protocol.dataReceived(frame(3, "c"))
        self.assertEqual(stage.started, ["wait-a", "b"])
        self.assertEqual(transport.producerState, "paused")
        other, other_transport = stage.connect()
        other.dataReceived(frame(1, "wait-x") + frame(2, "y"))
        stage.fire("wait-x")
        self.assertEqual(texts(other_transport), ["x", "y"])
        stage.fire("wait-a")
        self.assertEqual(texts(transport), ["a", "b", "c"])
        self.assertEqual(stage.connections.answers.held, 0)

    def test_unfinished_frames_of_all_connections(self) -> None:
        """Large frames that come in at the same time take turns when memory is short."""
        stage = Stage(queued_max_bytes=300_000)
        first, first_transport = stage.connect()
        second, second_transport = stage.connect()
        one, two = frame(1, "one", padding=250_000), frame(2, "two", padding=250_000)
        first.dataReceived(one[:200_000])
        second.dataReceived(two[:200_000])
        self.assertEqual((first_transport.producerState, second_transport.producerState), ("producing", "paused"))
        small, small_transport = stage.connect()
        small.dataReceived(frame(3, "small"))
        self.assertEqual(texts(small_transport), ["small"])
        first.dataReceived(one[200_000:])
        self.assertEqual(texts(first_transport), ["one"])
        self.assertEqual(second_transport.producerState, "producing")
        second.dataReceived(two[200_000:])
        self.assertEqual(texts(second_transport), ["two"])

    def test_unfinished_frame_of_a_peer_that_vanishes(self) -> None:
        """Those that waited for it go on."""
        stage = Stage(queued_max_bytes=300_000)
        first, _ = stage.connect()
        second, second_transport = stage.connect()
        two = frame(2, "two", padding=250_000)
        first.dataReceived(frame(1, "one", padding=250_000)[:200_000])
        second.dataReceived(two[:200_000])
        self.assertEqual(second_transport.producerState, "paused")
        first.connectionLost()
        self.assertEqual(second_transport.producerState, "producing")


class Ends(SynchronousTestCase):
    def test_peer_vanishes(self) -> None:
        """Everything it waited for is cancelled, its room given back, and the log has nothing to say."""
        stage = Stage(queued_max_bytes=1000)
        protocol, transport = stage.connect()
        other, other_transport = stage.connect()
        protocol.dataReceived(frame(1, "wait-a", padding=1000, key=1))
        other.dataReceived(frame(2, "b"))
        self.assertEqual(other_transport.value(), b"")
        protocol.connectionLost()
        self.assertEqual(stage.cancelled, ["wait-a"])
        self.assertEqual(texts(other_transport), ["b"])
        self.assertEqual(stage.lines, [])
        self.assertEqual(len(stage.connections), 1)
        self.assertEqual(transport.value(), b"")

    def test_nothing_after_the_end(self) -> None:
        """Calls of the transport that come late change nothing."""
        stage = Stage()
        protocol, transport = stage.connect()
        producer: Any = transport.producer
        protocol.dataReceived(frame(1, "wait-a"))
        protocol.abort()
        protocol.connectionLost()
        protocol.connectionLost()
        producer.resumeProducing()
        protocol.dataReceived(frame(2, "b"))
        protocol.abort()
        self.assertEqual(stage.started, ["wait-a"])
        self.assertEqual(transport.value(), b"")
        self.assertTrue(transport.disconnected)

    def test_bad_size(self) -> None:
        """A frame over the limit closes at its size, after what came before it was answered."""
        stage = Stage(request_max_bytes=1000)
        protocol, transport = stage.connect()
        protocol.dataReceived(frame(1, "a") + struct.pack(">i", 1001))
        self.assertEqual(texts(transport), ["a"])
        self.assertTrue(transport.disconnecting)
        (line,) = stage.lines
        for part in ("192.168.1.1:54321", "1001", "1000"):
            self.assertIn(part, line)

    def test_unreadable_request(self) -> None:
        """What came before is answered in its time, what comes after is not started, then the connection closes."""
        stage = Stage()
        protocol, transport = stage.connect()
        other, other_transport = stage.connect()
        protocol.dataReceived(frame(1, "wait-a") + frame(2, "x", key=77) + frame(3, "c"))
        protocol.dataReceived(frame(4, "d"))
        self.assertFalse(transport.disconnecting)
        stage.fire("wait-a")
        self.assertEqual(texts(transport), ["a"])
        self.assertTrue(transport.disconnecting)
        self.assertEqual(stage.started, ["wait-a"])
        other.dataReceived(frame(1, "fine"))
        self.assertEqual(texts(other_transport), ["fine"])

    def test_bug_in_one_request(self) -> None:
        """It is answered and its connection serves on."""
        stage = Stage()
        protocol, transport = stage.connect()
        protocol.dataReceived(frame(1, "bug") + frame(2, "b"))
        self.assertEqual(texts(transport), ["refused", "b"])
        self.assertFalse(transport.disconnecting)

    def test_late_hangup(self) -> None:
        """A request that fails after a wait and has no answer closes; those behind it are cancelled."""
        stage = Stage()
        protocol, transport = stage.connect()
        protocol.dataReceived(frame(1, "wait-a") + frame(2, "wait-kafka", size=-1) + frame(3, "wait-c"))
        stage.fire("wait-kafka")
        self.assertFalse(transport.disconnecting)
        stage.fire("wait-a")
        self.assertEqual(texts(transport), ["a"])
        self.assertEqual(stage.cancelled, ["wait-c"])
        self.assertTrue(transport.disconnecting)

    def test_last_answers_of_a_slow_peer(self) -> None:
        """A connection that is to be closed is closed when its answers are out."""
        stage = Stage()
        protocol, transport = stage.connect()
        producer: Any = transport.producer
        protocol.dataReceived(frame(1, "wait-a") + frame(2, "x", key=77))
        producer.pauseProducing()
        stage.fire("wait-a")
        self.assertFalse(transport.disconnecting)
        producer.resumeProducing()
        self.assertEqual(texts(transport), ["a"])
        self.assertTrue(transport.disconnecting)
        # a TLS transport has to read the peer's consent before it can close
        self.assertEqual(transport.producerState, "producing")


class Addresses(SynchronousTestCase):
    def test_both_ends(self) -> None:
        """IPv4 in any spelling, IPv6 and UNIX sockets."""
        stage = Stage()
        for host, peer, local, remote, ip in (
            (
                IPv4Address("TCP", "10.0.0.1", 9092),
                IPv4Address("TCP", "10.0.0.2", 5),
                ("10.0.0.1", 9092),
                "10.0.0.2:5",
                "10.0.0.2",
            ),
            (
                IPv6Address("TCP", "::ffff:10.0.0.1", 9092),
                IPv6Address("TCP", "::ffff:10.0.0.2", 5),
                ("10.0.0.1", 9092),
                "10.0.0.2:5",
                "10.0.0.2",
            ),
            (
                IPv6Address("TCP", "fe80::1", 9092),
                IPv6Address("TCP", "fe80::2", 5),
                ("fe80::1", 9092),
                "[fe80::2]:5",
                "fe80::2",
            ),
            (UNIXAddress("/run/kgw.sock"), UNIXAddress(None), ("localhost", 0), "unix", ""),
        ):
            protocol, transport = stage.connect(host, peer)
            self.assertEqual((protocol.local_host, protocol.local_port), local)
            self.assertEqual((protocol.remote, protocol.ip), (remote, ip))
            self.assertEqual(protocol.listener, "PLAINTEXT")
            protocol.dataReceived(frame(1, "a"))
            self.assertEqual(texts(transport), ["a"])
