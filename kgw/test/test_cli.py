"""The kgw command: what it prints, logs and exits with."""

from __future__ import annotations

import re
import sys
from io import StringIO

from twisted.internet.testing import MemoryReactorClock
from twisted.logger import Logger, LogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from kgw import __version__
from kgw.cli import main, run
from kgw.config import Config
from kgw.errors import StartError
from kgw.observers import LogTo
from kgw.test.test_tap import FakeGateway


class LogTests(SynchronousTestCase):
    """What stands on the terminal."""

    def setUp(self) -> None:
        self.stream = StringIO()
        self.publisher = LogPublisher(LogTo(self.stream).observer)

    def test_form(self) -> None:
        """Lines look like those of Kafka's own log."""
        Logger("kgw.net", observer=self.publisher).warn("closing {peer}", peer="127.0.0.1:5")
        self.assertRegex(
            self.stream.getvalue(),
            r"\A\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}\] WARN closing 127\.0\.0\.1:5 \(kgw\.net\)\n\Z",
        )

    def test_levels(self) -> None:
        """kgw's events from info on, Twisted's from warn on."""
        for namespace in ("kgw.net", "twisted.internet.protocol"):
            log = Logger(namespace, observer=self.publisher)
            for level in ("debug", "info", "warn", "error", "critical"):
                getattr(log, level)(level)
        levels = re.findall(r"\] ([A-Z]+) \w+ \(([a-z]+)\.", self.stream.getvalue())
        kgw, twisted = (["INFO", "WARN", "ERROR", "FATAL"], ["WARN", "ERROR", "FATAL"])
        self.assertEqual(levels, [(level, "kgw") for level in kgw] + [(level, "twisted") for level in twisted])

    def test_traceback(self) -> None:
        """A failure brings its traceback."""
        try:
            raise ZeroDivisionError("oops")
        except ZeroDivisionError:
            Logger("kgw.net", observer=self.publisher).failure("a handler raised", Failure())
        first, *_, last = self.stream.getvalue().splitlines()
        self.assertTrue(first.endswith("FATAL a handler raised (kgw.net)"))
        self.assertIn("ZeroDivisionError: oops", last)


class Reactor(MemoryReactorClock):
    """A run of it is a start and at once a stop, with the triggers of both."""

    def stop(self) -> None:
        super().stop()
        for trigger, arguments, keywords in self.triggers["before"]["shutdown"]:
            trigger(*arguments, **keywords)


class RunTests(SynchronousTestCase):
    """From start to stop."""

    def test_refused(self) -> None:
        """A gateway that cannot start is exit status 2."""
        stderr = StringIO()
        self.patch(sys, "stderr", stderr)
        status = run(Config(), Reactor(), lambda config, reactor: FakeGateway(StartError("port 9092 is in use")))
        self.assertEqual((status, stderr.getvalue()), (2, "kgw: port 9092 is in use\n"))

    def test_stopped(self) -> None:
        """The gateway is stopped before the reactor; exit status 0."""
        stdout = StringIO()
        self.patch(sys, "stdout", stdout)
        gateway = FakeGateway()
        gateway.started.callback(None)
        self.assertEqual(run(Config(), Reactor(), lambda config, reactor: gateway), 0)
        self.assertEqual(stdout.getvalue(), "kgw 1.2.3\nkgw started\n")
        self.assertEqual(gateway.calls, ["start", "stop"])


class MainTests(SynchronousTestCase):
    """Errors before anything starts."""

    def refused(self, *arguments: str) -> tuple[int, str]:
        stderr = StringIO()
        self.patch(sys, "stderr", stderr)
        return main(arguments), stderr.getvalue()

    def test_bad_option(self) -> None:
        """One line, exit status 2."""
        self.assertEqual(self.refused("--bogus"), (2, "kgw: option --bogus not recognized; see kgw --help\n"))

    def test_bad_configuration(self) -> None:
        """One line, exit status 2."""
        status, text = self.refused("--set", "num.partition=3")
        self.assertEqual(status, 2)
        self.assertEqual(
            text, "kgw: num.partition (--set) is no property of kgw or Kafka; did you mean num.partitions?\n"
        )

    def test_version(self) -> None:
        """The version alone."""
        stdout = StringIO()
        self.patch(sys, "stdout", stdout)
        self.assertEqual(self.assertRaises(SystemExit, main, ["--version"]).code, 0)
        self.assertEqual(stdout.getvalue(), f"kgw {__version__}\n")
