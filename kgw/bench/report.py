"""Results for people, as tables in Markdown, and for programs, as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kgw.bench.gauges import Gauge
from kgw.bench.goals import Verdict
from kgw.bench.requests import BenchError
from kgw.bench.results import Row

#: What generated tables stand between in a page.
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"

_NONE = "-"
_ROW_HEAD = (
    "run",
    "server",
    "per second",
    "best",
    "MB/s",
    "server us",
    "server cores",
    "client cores",
    "p50 ms",
    "p99 ms",
    "late ms",
    "x of limit",
)


@dataclass(frozen=True)
class Report:
    """
    Everything one C{kgw bench} has found.

    @ivar machine: from L{kgw.bench.machine.describe}.
    @ivar settings: how it was run.
    @ivar failures: runs that did not come to an end, and why.
    """

    machine: Mapping[str, Any]
    settings: Mapping[str, Any]
    rows: Sequence[Row]
    gauges: Sequence[Gauge]
    verdicts: Sequence[Verdict]
    failures: Sequence[str] = ()

    def as_json(self) -> dict[str, Any]:
        """For C{json.dumps}."""
        return asdict(self)

    def markdown(self) -> str:
        """Tables that also read well as they are."""
        parts = [_conditions(self.machine, self.settings)]
        if self.rows:
            parts.append(table(*rates(self.rows)))
        if self.gauges:
            values = [(one.name, one.server, f"{_short(one.value)} {one.unit}") for one in self.gauges]
            parts.append(table(("measurement", "server", "value"), values))
        if self.verdicts:
            lines = [(one.text, _short(one.measured), "yes" if one.met else "NO") for one in self.verdicts]
            parts.append(table(("goal", "measured", "met"), lines))
        parts += [f"Did not come to an end: {failure}" for failure in self.failures]
        return "\n\n".join(parts) + "\n"


def rates(rows: Sequence[Row]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Head and lines of the table of rates; ratios to another server where there was one."""
    compared = any(row.of_other is not None for row in rows)
    lines: list[tuple[str, ...]] = []
    for row in rows:
        line: tuple[str, ...] = (
            row.name,
            row.server,
            f"{row.rate:,.0f}",
            f"{row.best_rate:,.0f}",
            f"{row.mb_s:,.0f}",
            _short(row.server_us),
            _short(row.server_cores),
            _short(row.client_cores),
            _short(row.p50_ms or None),
            _short(row.p99_ms or None),
            _short(row.late_ms or None),
            _short(row.of_limit),
        )
        lines.append((*line, _short(row.of_other)) if compared else line)
    head: tuple[str, ...] = (*_ROW_HEAD, "x of vs") if compared else _ROW_HEAD
    return head, lines


def line_of(row: Row) -> str:
    """One row in short, for whoever waits."""
    parts = [f"{row.name}, {row.server}: {row.rate:,.0f}/s, {row.mb_s:,.0f} MB/s"]
    if row.server_us is not None:
        parts.append(f"{_short(row.server_us)} us of CPU each")
    if row.p50_ms:
        parts.append(f"p50 {_short(row.p50_ms)} ms, p99 {_short(row.p99_ms)} ms")
    parts += [
        f"x{_short(ratio)} of {other}"
        for other, ratio in (("limit", row.of_limit), ("vs", row.of_other))
        if ratio is not None
    ]
    return ", ".join(parts)


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table in Markdown; the columns from the third on are numbers, and stand to the right."""
    rows = [tuple(head), *map(tuple, lines)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    text = [
        "| "
        + " | ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        + " |"
        for row in rows
    ]
    marks = ["-" * width if column < 2 else "-" * (width - 1) + ":" for column, width in enumerate(widths)]
    return "\n".join([text[0], "| " + " | ".join(marks) + " |", *text[1:]])


def put_into(page: Path, text: str) -> None:
    """
    Replace what stands between the marks of a page.

    @raise BenchError: the page has no marks.
    """
    old = page.read_text(encoding="utf-8")
    before, begin, rest = old.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise BenchError(f"{page} has no lines {BEGIN} and {END}")
    page.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}", encoding="utf-8")


def _short(value: float | None) -> str:
    """Three digits that matter, and no more."""
    if value is None:
        return _NONE
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"


def _conditions(machine: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, Linux {machine['kernel']},"
        f" Python {machine['python']}; load before the first run {machine['load_before']}."
        f" kgw {settings['kgw']}, librdkafka {settings['librdkafka'] or 'not installed'}."
        f" {settings['rounds']} rounds of {settings['seconds']:g} s each, servers in turn;"
        f" cores {'kept awake by one nice-19 spinner' if settings['awake'] else 'left to sleep'}."
        f" {settings['note']}".rstrip()
    )
