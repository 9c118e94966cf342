"""All connections together: how many, how long idle, and how they end."""

from __future__ import annotations

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from kgw.config import Config
from kgw.net.connections import Limits
from kgw.test.connection_stage import Stage, frame, read_answers


class Numbers(SynchronousTestCase):
    def test_max_connections(self) -> None:
        """One too many is closed at once; when one leaves there is room again."""
        stage = Stage(max_connections=2)
        first, _ = stage.connect()
        stage.connect()
        _, refused = stage.connect()
        self.assertTrue(refused.disconnecting)
        self.assertEqual(len(stage.connections), 2)
        first.connectionLost()
        _, admitted = stage.connect()
        self.assertFalse(admitted.disconnecting)

    def test_max_connections_per_ip(self) -> None:
        """Counted by address, whichever way it is written; others are not refused."""
        stage = Stage(max_connections_per_ip=2)
        first, _ = stage.connect(peer=IPv4Address("TCP", "10.0.0.2", 1))
        stage.connect(peer=IPv6Address("TCP", "::ffff:10.0.0.2", 2))
        _, refused = stage.connect(peer=IPv4Address("TCP", "10.0.0.2", 3))
        _, other = stage.connect(peer=IPv4Address("TCP", "10.0.0.3", 1))
        self.assertEqual((refused.disconnecting, other.disconnecting), (True, False))
        first.connectionLost()
        _, admitted = stage.connect(peer=IPv4Address("TCP", "10.0.0.2", 4))
        self.assertFalse(admitted.disconnecting)

    def test_refusals_do_not_flood_the_log(self) -> None:
        """Some are logged, then a number."""
        stage = Stage(max_connections=1)
        stage.connect()
        for _ in range(50):
            stage.connect()
        self.assertEqual(len(stage.lines), 10)
        for part in ("max.connections (1)", "192.168.1.1"):
            self.assertIn(part, stage.lines[0])
        stage.clock.advance(11)
        self.assertEqual(len(stage.lines), 11)
        self.assertIn("40 more", stage.lines[10])
        self.assertIn("max.connections (1)", stage.lines[10])

    def test_limits_of_the_configuration(self) -> None:
        """Times become seconds."""
        config = Config({"connections.max.idle.ms": "5000", "max.connections": "7"})
        limits = Limits.of(config)
        self.assertEqual((limits.idle_max_seconds, limits.max_connections), (5.0, 7))


class Idle(SynchronousTestCase):
    def setUp(self) -> None:
        self.stage = Stage(idle_max_seconds=600.0)

    def pass_time(self, seconds: int) -> None:
        self.stage.clock.pump([10] * (seconds // 10))

    def test_idle(self) -> None:
        """A connection without a byte is closed, not before its time."""
        _, transport = self.stage.connect()
        self.pass_time(590)
        self.assertFalse(transport.disconnecting)
        self.pass_time(90)
        self.assertTrue(transport.disconnecting)

    def test_busy(self) -> None:
        """Bytes keep it, so does a request in flight, however long."""
        talking, talking_transport = self.stage.connect()
        waiting, waiting_transport = self.stage.connect()
        waiting.dataReceived(frame(1, "wait-a"))
        for _ in range(10):
            talking.dataReceived(frame(1, "a"))
            self.pass_time(500)
        self.assertFalse(talking_transport.disconnecting)
        self.assertFalse(waiting_transport.disconnecting)
        self.stage.fire("wait-a")
        self.assertEqual(len(read_answers(waiting_transport.value())), 1)
        self.pass_time(800)
        self.assertTrue(waiting_transport.disconnecting)

    def test_never_ending_frame(self) -> None:
        """A peer that sends byte after byte of a frame is closed all the same."""
        protocol, transport = self.stage.connect()
        whole = frame(1, "a", padding=10_000)
        for index in range(100):
            protocol.dataReceived(whole[index : index + 1])
            self.pass_time(10)
        self.assertTrue(transport.disconnected)
        self.assertIn("has not completed a request in 600", self.stage.lines[-1])

    def test_busy_with_frames_cut_anywhere(self) -> None:
        """One that always has a part of a frame here, but completes them, is not."""
        protocol, transport = self.stage.connect()
        whole = frame(1, "a")
        protocol.dataReceived(whole[:5])
        for _ in range(200):
            protocol.dataReceived(whole[5:] + whole[:5])
            self.pass_time(10)
        self.assertFalse(transport.disconnecting)

    def test_a_frame_that_others_wait_for(self) -> None:
        """Where memory is short, a frame that does not get on gives way to those that wait."""
        stage = Stage(idle_max_seconds=600.0, queued_max_bytes=200_000)
        whole = frame(1, "a", padding=300_000)
        slow, slow_transport = stage.connect()
        slow.dataReceived(whole[:150_000])
        quick, quick_transport = stage.connect()
        quick.dataReceived(whole[:150_000])
        self.assertEqual(quick_transport.producerState, "paused")
        stage.clock.pump([10] * 13)
        self.assertTrue(slow_transport.disconnected)
        slow.connectionLost()
        self.assertEqual(quick_transport.producerState, "producing")
        quick.dataReceived(whole[150_000:])
        self.assertEqual(len(read_answers(quick_transport.value())), 1)

    def test_closing_peer_that_does_not_read(self) -> None:
        """A connection that is being closed does not stay because its peer takes nothing."""
        _, transport = self.stage.connect()
        self.pass_time(650)
        self.assertTrue(transport.disconnecting)
        self.assertFalse(transport.disconnected)
        self.pass_time(60)
        self.assertTrue(transport.disconnected)

    def test_no_connection_no_timer(self) -> None:
        """One timer for all, none for nobody."""
        connections = [self.stage.connect() for _ in range(3)]
        self.assertEqual(len(self.stage.clock.getDelayedCalls()), 1)
        self.pass_time(300)
        self.assertEqual(len(self.stage.clock.getDelayedCalls()), 1)
        for protocol, _ in connections:
            protocol.connectionLost()
        self.assertEqual(self.stage.clock.getDelayedCalls(), [])

    def test_off(self) -> None:
        """A limit that is not positive is none."""
        stage = Stage(idle_max_seconds=-0.001)
        _, transport = stage.connect()
        stage.clock.pump([60] * 1000)
        self.assertFalse(transport.disconnecting)


class Stop(SynchronousTestCase):
    def test_nobody_there(self) -> None:
        """It is over at once, nobody comes in afterwards."""
        stage = Stage()
        self.successResultOf(stage.connections.stop())
        _, transport = stage.connect()
        self.assertTrue(transport.disconnecting)

    def test_idle_connections(self) -> None:
        """They are closed at once."""
        stage = Stage()
        protocol, transport = stage.connect()
        done = stage.connections.stop()
        self.assertTrue(transport.disconnecting)
        self.assertNoResult(done)
        protocol.connectionLost()
        self.successResultOf(done)
        self.assertEqual(stage.clock.getDelayedCalls(), [])

    def test_in_flight(self) -> None:
        """What has started is answered, nothing else starts."""
        stage = Stage()
        protocol, transport = stage.connect()
        protocol.dataReceived(frame(1, "wait-a") + frame(2, "b"))
        done, again = stage.connections.stop(), stage.connections.stop()
        protocol.dataReceived(frame(3, "c"))
        self.assertFalse(transport.disconnecting)
        stage.fire("wait-a")
        self.assertEqual([what for _, _, what in read_answers(transport.value())], ["a", "b"])
        self.assertTrue(transport.disconnecting)
        protocol.connectionLost()
        self.successResultOf(done)
        self.successResultOf(again)
        self.assertEqual(stage.started, ["wait-a", "b"])

    def test_long_polls(self) -> None:
        """They end with an answer, and what was asked before and behind them is answered."""
        stage = Stage()
        protocol, transport = stage.connect()
        protocol.dataReceived(frame(1, "wait-a") + frame(2, "wait-poll", key=1) + frame(3, "b") + frame(4, "wait-c"))
        stage.connections.stop()
        self.assertEqual(set(stage.waiting), {"wait-a", "wait-c"})
        stage.fire("wait-c")
        stage.fire("wait-a")
        self.assertEqual([what for _, _, what in read_answers(transport.value())], ["a", "poll", "b", "c"])
        self.assertEqual(stage.cancelled, [])
        self.assertTrue(transport.disconnecting)
        self.assertEqual(stage.lines, [])

    def test_long_poll_that_begins_to_wait_late(self) -> None:
        """A request that comes to its wait after the stop has begun does not wait."""
        stage = Stage()
        protocol, _ = stage.connect()
        protocol.dataReceived(frame(1, "wait-a"))
        stage.connections.stop()
        ends: list[None] = []
        protocol.watch_end(lambda: ends.append(None))
        self.assertEqual(len(ends), 1)

    def test_time_is_over(self) -> None:
        """What is not answered in time is cut off, with a line in the log."""
        stage = Stage(stop_max_seconds=4.0)
        connections = [stage.connect() for _ in range(2)]
        for protocol, _ in connections:
            protocol.dataReceived(frame(1, "wait-a"))
        done = stage.connections.stop()
        stage.clock.advance(3.9)
        self.assertFalse(connections[0][1].disconnected)
        stage.clock.advance(0.2)
        for protocol, transport in connections:
            self.assertTrue(transport.disconnected)
            protocol.connectionLost()
        self.successResultOf(done)
        (line,) = stage.lines
        self.assertIn("2 connection(s)", line)

    def test_connection_that_fails(self) -> None:
        """A fault of the connection itself ends that connection, and others are served."""

        class Broken(StringTransport):
            def write(self, data: bytes) -> None:
                raise RuntimeError("the transport is broken")

        stage = Stage()
        broken, broken_transport = stage.connect(transport=Broken())
        other, transport = stage.connect()
        broken.dataReceived(frame(1, "a"))
        other.dataReceived(frame(1, "b"))
        self.assertTrue(broken_transport.disconnected)
        self.assertEqual(len(read_answers(transport.value())), 1)
        self.assertIn("the transport is broken", stage.events[0]["log_failure"].getTraceback())
