"""The log of what peers do wrong: nothing goes missing, and nothing fills the disk."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.task import Clock
from twisted.logger import Logger, LogLevel, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from kgw.peer_log import PeerLog


class PeerLogTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.events: list[dict[str, Any]] = []
        self.log = PeerLog(Logger("kgw.test", observer=cast(Any, self.events.append)), self.clock)

    @property
    def lines(self) -> list[str]:
        return [formatEvent(event) for event in self.events]

    def test_few_lines(self) -> None:
        """They are written as they are, and there is no timer."""
        for number in range(10):
            self.log.warn("bad thing {number}", number=number)
        self.assertEqual(self.lines, [f"bad thing {number}" for number in range(10)])
        self.assertEqual({event["log_level"] for event in self.events}, {LogLevel.warn})
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_flood(self) -> None:
        """The first lines, and at the end of their time the number of the others and the last of them."""
        for number in range(5000):
            self.log.info("bad thing {number}", number=number)
        self.assertEqual(len(self.events), 10)
        self.clock.advance(9)
        self.assertEqual(len(self.events), 10)
        self.clock.advance(1)
        self.assertEqual(self.lines[10:], ["4990 more like this in 10.0 s, the last: bad thing 4999"])
        self.assertEqual(self.events[10]["log_level"], LogLevel.info)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_flood_that_goes_on(self) -> None:
        """The log grows by a bounded number of lines in a bounded time."""
        for number in range(6000):
            self.log.warn("bad thing {number}", number=number)
            self.clock.advance(0.01)
        self.clock.advance(10)
        self.assertEqual(len(self.lines), 6 * 11)
        told = sum(int(line.split()[0]) for line in self.lines if " more like this " in line)
        self.assertEqual(told + 60, 6000)

    def test_kinds_do_not_hide_each_other(self) -> None:
        """A flood of one kind leaves room for the others; each is summed up in its time."""
        for number in range(100):
            self.log.warn("bad thing {number}", number=number)
        self.clock.advance(5)
        for number in range(11):
            self.log.warn("worse thing {number}", number=number)
        self.assertEqual(self.lines[10:], [f"worse thing {number}" for number in range(10)])
        self.clock.advance(5)
        self.assertEqual(self.lines[20:], ["90 more like this in 10.0 s, the last: bad thing 99"])
        self.clock.advance(5)
        self.assertEqual(self.lines[21:], ["1 more like this in 10.0 s, the last: worse thing 10"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_failures(self) -> None:
        """Tracebacks are counted too."""
        for _ in range(12):
            self.log.failure("a bug met {peer}", Failure(ZeroDivisionError("a bug")), peer="somebody")
        self.assertEqual(len(self.events), 10)
        self.assertIn("ZeroDivisionError", self.events[0]["log_failure"].getTraceback())
        self.clock.advance(10)
        self.assertIn("2 more like this", self.lines[10])
        self.assertIn("a bug met somebody", self.lines[10])

    def test_stop(self) -> None:
        """What was counted is told at the end, and no timer is left."""
        for number in range(12):
            self.log.warn("bad thing {number}", number=number)
        self.log.flush()
        self.assertEqual(self.lines[10:], ["2 more like this in 0.0 s, the last: bad thing 11"])
        self.assertEqual(self.clock.getDelayedCalls(), [])
