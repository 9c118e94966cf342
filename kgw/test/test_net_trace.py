"""Traces: what is shown of whom, how much of it, and that clients notice nothing."""

from __future__ import annotations

import struct

from twisted.internet.address import IPv4Address
from twisted.trial.unittest import SynchronousTestCase

from kgw.handlers import heartbeat
from kgw.handlers.registry import BY_KEY
from kgw.net.dispatcher import Dispatcher
from kgw.net.trace import REQUESTS_PER_SECOND, Traces
from kgw.test.connection_stage import Stage, frame, read_answers


class TraceTests(SynchronousTestCase):
    """A connection of the client C{tester}, and somebody who watches."""

    def setUp(self) -> None:
        self.stage = Stage()
        self.dispatcher = self.stage.dispatcher
        self.apis = self.stage.apis
        self.traces = Traces(self.apis, self.stage.clock, self.dispatcher.watch)
        self.lines: list[str] = []
        self.protocol, self.transport = self.stage.connect(peer=IPv4Address("TCP", "10.0.0.2", 5000))

    def ask(self, what: str, **options: int) -> None:
        self.protocol.dataReceived(frame(7, what, **options))

    def test_request_and_answer(self) -> None:
        """One line each, with the time between them."""
        self.traces.add("tester", self.lines.append)
        self.ask("wait-hello")
        self.stage.clock.advance(0.25)
        self.stage.fire("wait-hello")
        self.assertEqual(
            [line.partition(" ")[2] for line in self.lines],
            [
                "10.0.0.2:5000 tester > Ask v0 #7 what='wait-hello' padding=<0 bytes>",
                "10.0.0.2:5000 tester < Ask v0 #7 250.0 ms what='hello' padding=<0 bytes>",
            ],
        )
        self.assertEqual(read_answers(self.transport.value()), [(7, 0, "hello")])

    def test_whom(self) -> None:
        """By client id, by address, by address and port; others are left alone."""
        for what, lines in (("tester", 2), ("10.0.0.2", 2), ("10.0.0.2:5000", 2), ("test", 0), ("10.0.0.2:500", 0)):
            self.lines.clear()
            trace = self.traces.add(what, self.lines.append)
            self.ask("hello")
            self.traces.remove(trace)
            self.assertEqual(len(self.lines), lines, what)

    def test_flexible_answers(self) -> None:
        """Answers of all header flavours are read where they begin."""
        self.traces.add("tester", self.lines.append)
        self.ask("hello", version=1)
        self.ask("hello", version=1, key=18)
        self.assertEqual([line.count("what='hello'") for line in self.lines], [1] * 4)

    def test_without_answer(self) -> None:
        """A request that wants none, one that cannot be answered, and one whose client has gone."""
        self.traces.add("tester", self.lines.append)
        self.ask("silent")
        self.assertTrue(self.lines[-1].endswith("no answer wanted"))
        self.ask("wait-hello")
        self.ask("kafka", size=-1)
        self.assertTrue(self.lines[-1].endswith("no answer: Hangup"))
        self.protocol.connectionLost()
        self.assertTrue(self.lines[-1].endswith("no answer: CancelledError"))

    def test_nobody_watches(self) -> None:
        """Before the first trace and after the last one connections call the dispatcher itself."""
        self.assertEqual(self.dispatcher.enter, self.dispatcher.dispatch)
        traces = [self.traces.add(what, self.lines.append) for what in ("tester", "else")]
        self.assertNotEqual(self.dispatcher.enter, self.dispatcher.dispatch)
        self.traces.remove(traces[0])
        self.assertNotEqual(self.dispatcher.enter, self.dispatcher.dispatch)
        for trace in traces:
            self.traces.remove(trace)
        self.assertEqual(self.dispatcher.enter, self.dispatcher.dispatch)
        self.ask("hello")
        self.assertEqual(self.lines, [])

    def test_too_fast(self) -> None:
        """So many in a second are shown, the others told as a number."""
        self.traces.add("tester", self.lines.append)
        for _ in range(REQUESTS_PER_SECOND + 10):
            self.ask("hello")
        self.assertEqual(len(self.lines), 2 * REQUESTS_PER_SECOND)
        self.stage.clock.advance(1)
        self.ask("hello")
        self.assertIn("10 requests left out", self.lines[2 * REQUESTS_PER_SECOND])

    def test_no_room(self) -> None:
        """Whoever does not read gets no more; what is left out is told when the trace ends."""
        trace = self.traces.add("tester", self.lines.append, lambda: False)
        self.ask("hello")
        self.assertEqual(self.lines, [])
        self.traces.remove(trace)
        self.assertIn("1 requests left out", self.lines[0])

    def test_ends_by_itself(self) -> None:
        """A trace that somebody forgot is over some time."""
        self.traces.add("tester", self.lines.append, most=2)
        for _ in range(3):
            self.ask("hello")
        self.assertEqual(len(self.lines), 5)
        self.assertIn("has ended", self.lines[-1])
        self.assertEqual(len(self.traces), 0)

    def test_large_messages(self) -> None:
        """A message that is very large is told by its size."""
        self.traces.add("tester", self.lines.append)
        self.ask("hello", padding=2 << 20)
        self.assertRegex(self.lines[0], r"\(\d+ bytes\)$")

    def test_trace_that_fails(self) -> None:
        """It ends, the log says why, and the client is answered."""
        said: list[str] = []

        def write(line: str) -> None:
            if " > " in line:
                raise ZeroDivisionError("a broken terminal")
            said.append(line)

        self.traces.add("tester", write)
        self.ask("hello")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(read_answers(self.transport.value()), [(7, 0, "hello")])
        self.assertEqual((len(self.traces), said), (0, ["*** the trace failed and has ended; the log says why"]))

    def test_unreadable(self) -> None:
        """What is no request is the dispatcher's business."""
        self.traces.add("10.0.0.2", self.lines.append)
        self.protocol.dataReceived(struct.pack(">ihhi", 8, 99, 0, 1))
        self.assertEqual(self.lines, [])
        self.assertTrue(self.transport.disconnecting)


class GroupTests(SynchronousTestCase):
    """Traces of consumer groups."""

    def test_members(self) -> None:
        """A connection that names the group is shown from then on, whatever it asks."""
        stage = Stage()
        lines: list[str] = []
        dispatcher = Dispatcher(BY_KEY, stage.services, stage.log)
        traces = Traces(BY_KEY, stage.clock, dispatcher.watch)
        traces.add("billing", lines.append)
        protocol, _ = stage.connect()

        def ask(key: int, version: int, body: bytes) -> None:
            whole = struct.pack(">hhih1s", key, version, 1, 1, b"c") + body
            # what the handler makes of it is not the point: this stage has no groups
            dispatcher.enter(whole, protocol)

        def beat(group: str) -> None:
            ask(12, 0, b"".join(heartbeat.API.request_codec(0).encode(heartbeat.Request(group, 1, "m"))))

        ask(18, 0, b"")
        beat("orders")
        self.assertEqual(lines, [])
        beat("billing")
        ask(18, 0, b"")
        self.assertEqual([line.split()[4] for line in lines if " > " in line], ["Heartbeat", "ApiVersions"])
        self.assertIn("group_id='billing'", lines[0])
