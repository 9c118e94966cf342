"""Log lines: Kafka's form and JSON, the names of loggers, and that repetition is summed up."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, Logger, LogPublisher, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from kgw.net.dispatcher import Hangup
from kgw.observers import MOST_OF_A_KIND, WINDOW_SECONDS, FloodGate, LogTo
from kgw.test.connection_stage import Stage, frame
from kgw.test.test_net_dispatcher import Peer


@implementer(ILogObserver)
class Kept:
    """Keeps the text of events."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, event: LogEvent) -> None:
        self.lines.append(formatEvent(event))


class JsonTests(SynchronousTestCase):
    """One object a line."""

    def setUp(self) -> None:
        self.stream = StringIO()
        self.publisher = LogPublisher(LogTo(self.stream, "json").observer)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]

    def test_plain(self) -> None:
        """Time, level, logger and text, whatever is in the text."""
        Logger("kgw.net", observer=self.publisher).warn("closing {peer}", peer='10.0.0.2 "\n"')
        (line,) = self.lines()
        self.assertEqual(list(line), ["ts", "level", "logger", "msg"])
        self.assertRegex(line["ts"], r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\Z")
        self.assertEqual((line["level"], line["logger"], line["msg"]), ("WARN", "kgw.net", 'closing 10.0.0.2 "\n"'))

    def test_fields(self) -> None:
        """What an event knows of a request stands in fields of its own."""
        Logger("kgw.net", observer=self.publisher).info("slow", client_id="c", api="Fetch", version=4, ms=1.5, x=1)
        (line,) = self.lines()
        self.assertEqual(
            {name: line[name] for name in list(line)[4:]},
            {"client_id": "c", "api": "Fetch", "version": 4, "ms": 1.5, "principal": ""},
        )

    def test_request_that_is_not_served(self) -> None:
        """What the dispatcher logs of a client has those fields."""
        stage = Stage()
        self.assertRaises(Hangup, stage.dispatcher.dispatch, frame(7, "hello", version=2)[4:], Peer())
        for event in stage.events:
            self.publisher({**event, "log_namespace": "kgw.net"})
        (line,) = self.lines()
        self.assertEqual((line["client_id"], line["api"], line["version"], line["principal"]), ("tester", "Ask", 2, ""))

    def test_traceback(self) -> None:
        """A failure brings its traceback in the same line."""
        try:
            raise ZeroDivisionError("oops")
        except ZeroDivisionError:
            Logger("kgw.net", observer=self.publisher).failure("a handler raised", Failure())
        (line,) = self.lines()
        self.assertEqual((line["level"], line["msg"]), ("FATAL", "a handler raised"))
        self.assertIn("ZeroDivisionError: oops", line["traceback"])

    def test_names(self) -> None:
        """Parts of kgw have one name each, whichever module writes."""
        for namespace in ("kgw.engine.local.partition.LocalPartition", "kgw.log", "twisted.internet.base"):
            Logger(namespace, observer=self.publisher).error("x")
        self.assertEqual([line["logger"] for line in self.lines()], ["kgw.engine", "kgw.log", "twisted.internet.base"])


class FloodTests(SynchronousTestCase):
    """Events that come again and again."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.kept = Kept()
        self.gate = FloodGate(self.kept, self.clock.seconds)
        self.log = Logger("kgw.engine", observer=self.gate)

    def test_summed_up(self) -> None:
        """So many are written in a window, and one line says how many more there were."""
        for number in range(MOST_OF_A_KIND + 5):
            self.log.error("disk full ({number})", number=number)
        self.assertEqual(len(self.kept.lines), MOST_OF_A_KIND)
        self.gate.sweep()
        self.assertEqual(len(self.kept.lines), MOST_OF_A_KIND)
        self.clock.advance(WINDOW_SECONDS)
        self.gate.sweep()
        self.assertEqual(
            self.kept.lines[MOST_OF_A_KIND:], [f"5 more like this, the last: disk full ({MOST_OF_A_KIND + 4})"]
        )
        self.log.error("disk full ({number})", number=0)
        self.assertEqual(self.kept.lines[-1], "disk full (0)")

    def test_kinds(self) -> None:
        """Other places, groups and partitions are other kinds."""
        for number in range(MOST_OF_A_KIND + 1):
            self.log.info("group {group}: {text}", group="noisy", text=number)
        self.log.info("group {group}: {text}", group="quiet", text="one line")
        self.assertEqual(self.kept.lines[-1], "group quiet: one line")

    def test_end(self) -> None:
        """What was left out is told at the end, and nothing where nothing was."""
        self.log.info("once")
        for _ in range(MOST_OF_A_KIND + 1):
            self.log.info("often")
        self.gate.flush()
        self.gate.flush()
        self.assertEqual(self.kept.lines[-1], "1 more like this, the last: often")
        self.assertEqual(len(self.kept.lines), MOST_OF_A_KIND + 2)
