"""What C{kgw bench} makes of its samples: medians, ratios, verdicts, tables; and its command line."""

from __future__ import annotations

import json
import sys
from io import StringIO
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from kgw.bench import gauges
from kgw.bench.cases import CASES, Sample
from kgw.bench.gauges import Gauge, GaugePlan
from kgw.bench.goals import GOALS, Goal, judge
from kgw.bench.report import BEGIN, END, Report, put_into, table
from kgw.bench.requests import BenchError
from kgw.bench.results import Results, Row
from kgw.cli import main
from kgw.test.pages import page

MACHINE = {"cpu": "some CPU", "cores": 2, "memory_gib": 8, "kernel": "6.1", "python": "3.11", "load_before": 0.1}
SETTINGS = {"kgw": "1", "librdkafka": None, "rounds": 3, "seconds": 2.0, "awake": True, "note": "Quiet."}


def sample(count: int, seconds: float = 1.0, cpu: float | None = 0.5, name: str = "run", paced: bool = False) -> Sample:
    """A run of requests of 1,000 bytes."""
    return Sample(name, count, 1000, seconds, cpu, 0.25, 0.001, 0.002, 0.0, paced)


class ResultsTests(SynchronousTestCase):
    """Rows from rounds."""

    def setUp(self) -> None:
        self.results = Results()

    def row(self, server: str = "kgw") -> Row:
        """The row of one server."""
        return next(row for row in self.results.rows() if row.server == server)

    def test_medians(self) -> None:
        """One bad round among three changes nothing but itself."""
        for count in (2000, 100, 2100):
            self.results.add("kgw", [sample(count)])
        row = self.row()
        self.assertEqual((row.rounds, row.rate, row.best_rate, row.mb_s), (3, 2000.0, 2100.0, 2.0))
        self.assertAlmostEqual(row.server_us or 0.0, 250.0)
        self.assertEqual((row.server_cores, row.client_cores, row.p50_ms, row.p99_ms), (0.5, 0.25, 1.0, 2.0))
        self.assertIsNone(row.of_limit)

    def test_ratios_of_pairs(self) -> None:
        """Ratios are taken within each round: a machine that was slow in one of them does not tilt them."""
        for slow in (1, 10, 3):
            self.results.add("limit", [sample(6000 // slow)])
            self.results.add("vs", [sample(600 // slow)])
            self.results.add("kgw", [sample(3000 // slow)])
        self.assertAlmostEqual(self.row().of_limit or 0.0, 0.5)
        self.assertAlmostEqual(self.row().of_other or 0.0, 5.0)
        self.assertAlmostEqual(self.row("vs").of_limit or 0.0, 0.1)
        self.assertIsNone(self.row("limit").of_limit)

    def test_fixed_rate(self) -> None:
        """Where the generator chose the rate, it says nothing about servers."""
        self.results.add("kgw", [sample(500, paced=True)])
        self.results.add("limit", [sample(500, paced=True)])
        self.assertIsNone(self.row().of_limit)

    def test_server_elsewhere(self) -> None:
        """Without its process there is no CPU to speak of."""
        self.results.add("vs", [sample(500, cpu=None)])
        self.assertEqual((self.row("vs").server_us, self.row("vs").server_cores), (None, None))


class GoalTests(SynchronousTestCase):
    """Goals against results."""

    def test_judge(self) -> None:
        """Upper and lower bounds; what was not measured is neither met nor missed; only kgw is judged."""
        results = Results()
        results.add("kgw", [sample(1000)])
        results.add("vs", [sample(9000)])
        goals = [
            Goal("run", "rate", 1000, True),
            Goal("run", "server_us", 499, False),
            Goal("run", "of_limit", 0.5, True),
            Goal("idle CPU", "value", 0.3, False),
            Goal("another run", "rate", 1, True),
        ]
        verdicts = judge(results.rows(), [Gauge("idle CPU", "kgw", 0.2, "%"), Gauge("idle CPU", "vs", 9, "%")], goals)
        self.assertEqual([(one.measured, one.met) for one in verdicts], [(1000.0, True), (500.0, False), (0.2, True)])
        self.assertEqual(verdicts[0].text, "run: at least 1,000 records/s")
        self.assertEqual(verdicts[2].text, "idle CPU: at most 0.3 %")

    def test_sources(self) -> None:
        """Every goal is for something that is measured."""
        runs = {f"{verb} {case.name}" for case in CASES for verb in ("produce", "consume")}
        runs |= {case.name for case in CASES}
        values = set(gauges.names(GaugePlan()))
        self.assertEqual([goal.source for goal in GOALS if goal.source not in runs | values], [])


class ReportTests(SynchronousTestCase):
    """Tables and pages."""

    def report(self) -> Report:
        """A small one."""
        results = Results()
        results.add("kgw", [sample(1_234_567)])
        found = [Gauge("idle CPU", "kgw", 0.0512, "%")]
        verdicts = judge(results.rows(), found, [Goal("run", "rate", 2e6, True)])
        return Report(MACHINE, SETTINGS, results.rows(), found, verdicts, ["a run: no answer"])

    def test_markdown(self) -> None:
        """Numbers can be read, and nothing is hidden that went wrong."""
        text = self.report().markdown()
        for part in (
            "some CPU, 2 cores",
            "kept awake",
            "spinner. Quiet.\n",
            "not installed",
            "| 1,234,567 |",
            "0.051 %",
            "NO |",
        ):
            self.assertIn(part, text)
        self.assertTrue(text.endswith("Did not come to an end: a run: no answer\n"))

    def test_table(self) -> None:
        """All lines have the same width; numbers stand to the right."""
        text = table(("a", "b", "number"), [("x", "yy", "1"), ("xxx", "y", "22,222,222")])
        lines = text.splitlines()
        self.assertEqual({len(line) for line in lines}, {len(lines[0])})
        self.assertEqual(lines[1], "| --- | -- | ---------: |")
        self.assertEqual(lines[2], "| x   | yy |          1 |")

    def test_json(self) -> None:
        """The same for programs."""
        found = json.loads(json.dumps(self.report().as_json()))
        self.assertEqual(found["rows"][0]["rate"], 1_234_567)
        self.assertEqual(found["verdicts"][0]["met"], False)

    def test_page(self) -> None:
        """What stands between the marks is replaced, again and again; a page without marks is refused."""
        path = Path(self.mktemp())
        path.write_text(f"# Page\n\n{BEGIN}\nold\n{END}\n\nrest\n", encoding="utf-8")
        put_into(path, "one\n")
        put_into(path, "two\n")
        self.assertEqual(path.read_text(encoding="utf-8"), f"# Page\n\n{BEGIN}\n\ntwo\n\n{END}\n\nrest\n")
        path.write_text("# Page\n", encoding="utf-8")
        self.assertRaises(BenchError, put_into, path, "two\n")

    def test_documentation(self) -> None:
        """docs/performance.md has the marks."""
        text = page("performance.md")
        self.assertLess(text.index(BEGIN), text.index(END))


class CommandTests(SynchronousTestCase):
    """The command line."""

    def bench(self, *arguments: str) -> int:
        """C{kgw bench}; its output is in C{out} and C{err}."""
        self.out, self.err = StringIO(), StringIO()
        self.patch(sys, "stdout", self.out)
        self.patch(sys, "stderr", self.err)
        return main(["bench", *arguments])

    def test_list(self) -> None:
        """Runs are chosen by parts of their names or by their groups."""
        self.assertEqual(self.bench("--list", "--only", "16 kb", "--only", "connections"), 0)
        self.assertEqual(self.out.getvalue(), "raw: Produce 16 KB 4x4\nconnections\n")

    def test_misuse(self) -> None:
        """Status 2 and a line that says why."""
        self.assertEqual(self.bench("--vs", "nowhere"), 2)
        self.assertEqual(self.err.getvalue(), "kgw bench: --vs nowhere: HOST:PORT is wanted\n")
        self.assertEqual(self.bench("--quicker"), 2)

    def test_run(self) -> None:
        """A whole run, servers started and all: both in the table, the ratio between them, and the JSON."""
        path = self.mktemp()
        status = self.bench("--only", "tiny 1x1", "--rounds", "1", "--seconds", "0.1", "--no-awake", "--json", path)
        self.assertEqual(status, 0, self.out.getvalue())
        found = json.loads(Path(path).read_text(encoding="utf-8"))
        self.assertEqual([row["server"] for row in found["rows"]], ["kgw", "limit"])
        self.assertGreater(found["rows"][0]["of_limit"], 0.0)
        self.assertIn("| Produce tiny 1x1 | limit ", self.out.getvalue())
        self.assertEqual(self.err.getvalue(), "")

    def test_server_gone(self) -> None:
        """A server that is not there fails its runs, and is said so."""
        status = self.bench("--only", "tiny 1x1", "--rounds", "1", "--seconds", "0.1", "--vs", "127.0.0.1:1")
        self.assertEqual(status, 1)
        self.assertIn("Did not come to an end: Produce tiny 1x1: cannot connect to 127.0.0.1:1", self.out.getvalue())
