"""What is logged of an outage in which many partitions are interrupted."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from kgw.engine.seaweed.interruptions import Interruptions


class InterruptionsTests(SynchronousTestCase):
    """L{Interruptions}."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.interruptions = Interruptions(self.clock.seconds)

    def test_outage(self) -> None:
        """However many partitions are interrupted: a line for each reason, and one when the last goes on."""
        with capturedLogs() as events:
            for index in range(1000):
                self.interruptions.began(f"t-{index}", "it is gone")
            for turn in range(3):
                self.interruptions.began("t-0", "it is gone")
                self.interruptions.began("t-7", f"it is another one {turn % 2}")
            self.clock.advance(2)
            for index in range(1000):
                self.interruptions.ended(f"t-{index}", 2)
        self.assertEqual(
            [formatEvent(event) for event in events],
            [
                "publishing to t-0 is interrupted: it is gone; trying again",
                "publishing to t-7 is interrupted: it is another one 0; trying again",
                "publishing to t-7 is interrupted: it is another one 1; trying again",
                "publishing goes on after 2.0 s; 1000 partition(s) were interrupted, 2000 batches are to be sent",
            ],
        )
        self.assertEqual([event["log_level"] for event in events], [LogLevel.warn] * 3 + [LogLevel.info])

    def test_next_outage(self) -> None:
        """The next one is told of as the first; one that ends because its partition is deleted is over, too."""
        self.interruptions.began("t-0", "it is gone")
        self.interruptions.ended("t-0", 1)
        self.clock.advance(60)
        with capturedLogs() as events:
            self.interruptions.began("t-0", "it is gone")
            self.clock.advance(1)
            self.interruptions.forget("t-0")
            self.interruptions.forget("t-1")
            self.interruptions.ended("t-2", 0)
        self.assertEqual(
            [formatEvent(event) for event in events],
            [
                "publishing to t-0 is interrupted: it is gone; trying again",
                "publishing goes on after 1.0 s; 1 partition(s) were interrupted, 0 batches are to be sent",
            ],
        )

    def test_many_reasons(self) -> None:
        """Reasons that differ in a name or a number do not fill the log."""
        with capturedLogs() as events:
            for index in range(1000):
                self.interruptions.began(f"t-{index}", f"t-{index} is gone")
        self.assertLess(len(events), 10)
