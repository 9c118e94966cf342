"""The C{kgw bench} command: which runs, on which servers, in which order."""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from kgw import __version__
from kgw.bench import cases, clients, gauges, machine
from kgw.bench.cases import CASES, Case, Plan
from kgw.bench.gauges import Gauge, GaugePlan
from kgw.bench.goals import judge
from kgw.bench.report import Report, line_of, put_into
from kgw.bench.requests import Address, BenchError
from kgw.bench.results import Results
from kgw.bench.server import OTHER, Server, started_kgw, started_limit

_EPILOG = """
Groups of runs: librdkafka, raw, latency, idle, connections, steady, start. CPU per request ("server us": all threads of
the server) tells more about a server than its rate, which falls with every neighbour on the machine; and ratios tell
more than both, as servers take turns within each round. docs/performance.md says how to read the numbers.
"""

_MOST_FILES = 4096
EXIT_FAILED = 1
EXIT_USAGE = 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kgw bench",
        description="Measure kgw on this machine, beside a bare limit server and, if you like, beside another broker.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--quick", action="store_true", help="the main runs, one short round of each: under a minute")
    add("--only", action="append", default=[], metavar="TEXT", help="runs or groups with TEXT in it; may be repeated")
    add("--list", action="store_true", help="name the runs, and do nothing")
    add("--rounds", type=int, help="how often each run is repeated (3)")
    add("--seconds", type=float, help="how long each raw run takes (2)")
    add("--steady", type=float, metavar="SECONDS", help="how long the steady load takes (60)")
    add("--vs", metavar="HOST:PORT", help="another broker (one node) to run the same on, in turn with kgw")
    add("--vs-pid", type=int, metavar="PID", help="its process, if it is on this machine: for its CPU and memory")
    add("--no-limit", dest="limit", action="store_false", help="do not run the limit server")
    add("--no-awake", dest="awake", action="store_false", help="let cores fall asleep: no nice-19 spinner")
    add("--data", metavar="DIR", help="where data directories are made, instead of the system's temporary folder")
    add("--option", action="append", default=[], help="a further option of kgw: --option=--engine=memory")
    add("--note", default="", metavar="TEXT", help="a sentence for the report: what else ran on the machine")
    add("--json", type=Path, metavar="FILE", help="write everything to FILE")
    add("--markdown", action="store_true", help="print nothing but the final report; progress goes to stderr")
    add("--into", type=Path, metavar="PAGE", help="put the report between the marks of a page in Markdown")
    return parser


def run(arguments: Sequence[str]) -> int:
    """
    Do what the command line says.

    @return: the exit status: 0; 1 where a run did not come to an end; 2 where the command is not understood.
    """
    parser = _parser()
    try:
        options = parser.parse_args(arguments)
        other = _other(options.vs, options.vs_pid)
    except SystemExit as end:
        return int(end.code or 0)
    except ValueError as error:
        print(f"kgw bench: {error}", file=sys.stderr)
        return EXIT_USAGE
    bench = Bench(options, other)
    if options.list:
        print("\n".join(bench.names()))
        return 0
    try:
        report = bench.run()
        if options.json:
            options.json.write_text(json.dumps(report.as_json(), indent=1) + "\n", encoding="utf-8")
        if options.into:
            put_into(options.into, report.markdown())
    except (BenchError, OSError) as error:
        print(f"kgw bench: {error}", file=sys.stderr)
        return EXIT_FAILED
    print(report.markdown(), end="")
    return EXIT_FAILED if report.failures else 0


def _other(address: str | None, pid: int | None) -> Server | None:
    if address is None:
        return None
    host, _, port = address.rpartition(":")
    if not (host and port.isdecimal()):
        raise ValueError(f"--vs {address}: HOST:PORT is wanted")
    return Server(OTHER, Address(host.strip("[]"), int(port)), pid)


class Bench:
    """One C{kgw bench}: all runs that were asked for, one after the other."""

    def __init__(self, options: argparse.Namespace, other: Server | None) -> None:
        """
        @param other: the server of C{--vs}.
        """
        self._options = options
        self._other = other
        self._library = clients.library()
        plan, gauge_plan = (cases.QUICK, gauges.QUICK) if options.quick else (Plan(), GaugePlan())
        if options.seconds:
            plan = replace(plan, seconds=options.seconds)
        self._plan = replace(plan, rounds=options.rounds or plan.rounds)
        self._gauge_plan = replace(gauge_plan, steady_seconds=options.steady or gauge_plan.steady_seconds)
        self._results = Results()
        self._gauges: list[Gauge] = []
        self._failures: list[str] = []

    def names(self) -> list[str]:
        """What will be run, with the group in front."""
        groups = [*gauges.measures(self._gauge_plan), "start"]
        return [f"{case.group}: {case.name}" for case in self._cases()] + [
            name for name in groups if self._wanted(name)
        ]

    def run(self) -> Report:
        """Run everything; what fails is in the report."""
        machine.allow_files(_MOST_FILES)
        described = machine.describe()
        with machine.awake(self._options.awake):
            for case in self._cases():
                self._attempt(case.name, partial(self._rates, case))
        # a spinner says nothing here, and takes its share of the CPU
        for name, measure in gauges.measures(self._gauge_plan).items():
            if self._wanted(name):
                self._attempt(name, partial(self._measure, name, measure))
        if self._wanted("start"):
            self._attempt("start", self._start)
        rows = self._results.rows()
        settings = {
            "kgw": __version__,
            "librdkafka": self._library,
            "rounds": self._plan.rounds,
            "seconds": self._plan.seconds,
            "awake": self._options.awake,
            "vs": self._options.vs,
            "options": self._options.option,
            "note": self._options.note,
        }
        return Report(described, settings, rows, self._gauges, judge(rows, self._gauges), self._failures)

    def _cases(self) -> list[Case]:
        wanted = [
            case
            for case in CASES
            if self._wanted(case.group, case.name) and (case.quick or self._options.only or not self._options.quick)
        ]
        if self._library is None and any(case.group == "librdkafka" for case in wanted):
            self._say("the librdkafka runs are left out: they need confluent-kafka (pip install confluent-kafka)")
            wanted = [case for case in wanted if case.group != "librdkafka"]
        return wanted

    def _wanted(self, *names: str) -> bool:
        only: list[str] = self._options.only
        return not only or any(text.lower() in name.lower() for text in only for name in names)

    def _say(self, text: str) -> None:
        print(text, file=sys.stderr if self._options.markdown else sys.stdout, flush=True)

    def _attempt(self, name: str, action: Callable[[], None]) -> None:
        try:
            action()
        except (BenchError, OSError) as error:
            self._failures.append(f"{name}: {error}")
            self._say(f"{name}: {error}")

    @contextlib.contextmanager
    def _folder(self) -> Iterator[Path]:
        folder = tempfile.mkdtemp(prefix="kgw-bench-", dir=self._options.data)
        try:
            yield Path(folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @contextlib.contextmanager
    def _servers(self, limit: tuple[str, ...] | None) -> Iterator[list[Server]]:
        """A fresh kgw, a fresh limit server and the other one, as far as they are wanted."""
        with self._folder() as folder, contextlib.ExitStack() as stack:
            servers = [stack.enter_context(started_kgw(folder, self._options.option))]
            if self._other is not None:
                servers.append(self._other)
            if limit is not None and self._options.limit:
                servers.append(stack.enter_context(started_limit(folder, limit)))
            yield servers

    def _rates(self, case: Case) -> None:
        """One case, all rounds: the servers in turn, in the reverse order every other round."""
        names: set[str] = set()
        with self._servers(case.limit) as servers:
            for number in range(self._plan.rounds):
                for server in servers if number % 2 == 0 else reversed(servers):
                    samples = case.run(server, self._plan)
                    self._results.add(server.name, samples)
                    names.update(sample.name for sample in samples)
        for row in self._results.rows():
            if row.name in names:
                self._say(line_of(row))

    def _measure(self, name: str, measure: gauges.Measure) -> None:
        found = []
        # a limit server has no memory or timers worth a look, save for what connections cost it
        with self._servers(() if name == "connections" else None) as servers:
            for server in servers:
                if server.pid is not None:
                    found += measure(server)
        self._show(found)

    def _start(self) -> None:
        with self._folder() as folder:
            self._show(gauges.start(folder, self._options.option, self._gauge_plan.partitions))

    def _show(self, found: list[Gauge]) -> None:
        self._gauges += found
        for one in found:
            self._say(f"{one.name}, {one.server}: {one.value:.3g} {one.unit}")
