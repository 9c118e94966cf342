"""What kgw is to reach on a machine of two cores, and whether it has."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from kgw.bench.gauges import Gauge
from kgw.bench.results import Row
from kgw.bench.server import KGW


@dataclass(frozen=True)
class Goal:
    """
    A bound on one value of kgw's.

    @ivar source: the name of the run or the gauge.
    @ivar metric: a field of L{Row}, or C{value} for a gauge.
    @ivar at_least: whether the bound is a lower one.
    """

    source: str
    metric: str
    bound: float
    at_least: bool


@dataclass(frozen=True)
class Verdict:
    """
    A goal and what was measured.

    @ivar text: the goal in words.
    """

    text: str
    bound: float
    measured: float
    met: bool


def _least(source: str, metric: str, bound: float) -> Goal:
    return Goal(source, metric, bound, True)


def _most(source: str, metric: str, bound: float) -> Goal:
    return Goal(source, metric, bound, False)


GOALS: tuple[Goal, ...] = (
    _least("produce 100 B none 1 part.", "rate", 900_000),
    _most("produce 100 B none 1 part.", "server_cores", 0.4),
    _least("consume 100 B none 1 part.", "rate", 1_300_000),
    _most("consume 100 B none 1 part.", "server_cores", 0.4),
    _least("produce 1 KB none 1 part.", "rate", 250_000),
    _least("consume 1 KB none 1 part.", "rate", 650_000),
    _least("Produce tiny 4x16", "of_limit", 0.6),
    _most("Produce tiny 4x16", "server_us", 10.0),
    _least("Produce 16 KB 4x4", "of_limit", 0.7),
    _least("Produce 1 MB 1x4", "of_limit", 0.7),
    _least("Fetch 1 MB 2x1", "of_limit", 0.7),
    _most("500/s", "p50_ms", 0.15),
    _most("500/s", "p99_ms", 3.0),
    _most("500/s flush.messages=1", "p50_ms", 0.6),
    _most("500/s flush.messages=1", "p99_ms", 3.0),
    _most("idle CPU", "value", 0.3),
    _most("1000 idle connections, memory", "value", 60.0),
    # measured from one third on; what a healthy process moves by, over any length of time
    _most("steady load, growth of memory", "value", 8.0),
    _most("start, 1,000 partitions, after a stop", "value", 1.0),
    _most("start, 1,000 partitions, after kill -9", "value", 1.0),
)

_WORDS = {
    "rate": "records/s",
    "of_limit": "of the limit server's rate",
    "server_us": "us of CPU per request",
    "server_cores": "cores used by kgw",
    "p50_ms": "ms p50",
    "p99_ms": "ms p99",
}


def judge(rows: Iterable[Row], gauges: Iterable[Gauge], goals: Iterable[Goal] = GOALS) -> list[Verdict]:
    """
    Hold kgw's results against the goals; goals for which nothing was measured are left out.
    """
    ours = {row.name: row for row in rows if row.server == KGW}
    values = {gauge.name: gauge for gauge in gauges if gauge.server == KGW}
    verdicts = []
    for goal in goals:
        if goal.source in values:
            gauge = values[goal.source]
            measured: float | None = gauge.value
            unit = gauge.unit
        else:
            measured = getattr(ours.get(goal.source), goal.metric, None)
            unit = _WORDS.get(goal.metric, "")
        if measured is not None:
            met = measured >= goal.bound if goal.at_least else measured <= goal.bound
            sense = "at least" if goal.at_least else "at most"
            verdicts.append(Verdict(f"{goal.source}: {sense} {goal.bound:,.10g} {unit}", goal.bound, measured, met))
    return verdicts
