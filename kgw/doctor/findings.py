"""What an examination found: one line of plain words for each check, and which line of the configuration to change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

#: Seconds from which on an answer is called slow.
SLOW = 1.0


class Level(Enum):
    """How it stands with one thing."""

    OK = "ok"
    #: Worth knowing, but clients can live with it.
    NOTE = "note"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """
    One thing that was looked at.

    @ivar check: what was looked at, a word for scripts: C{connection}, C{address}, C{topic} ...
    @ivar text: what was found, in plain words.
    @ivar change: what to change: as a rule, a line of C{server.properties}.
    @ivar seconds: how long it took, where that says something.
    """

    check: str
    level: Level
    text: str
    change: str | None = None
    seconds: float | None = None


class Findings:
    """
    All that was found, in order.

    @ivar rows: the findings.
    @ivar reached: whether a Kafka broker answered at all.
    """

    def __init__(self) -> None:
        self.rows: list[Finding] = []
        self.reached = False

    def ok(self, check: str, text: str, seconds: float | None = None) -> None:
        """All is well; or slow, which is worth a note."""
        if seconds is not None and seconds >= SLOW:
            self.note(check, f"{text}. That is slow: {_time(seconds)}", seconds=seconds)
        else:
            self.rows.append(Finding(check, Level.OK, text, None, seconds))

    def note(self, check: str, text: str, change: str | None = None, seconds: float | None = None) -> None:
        """Something worth knowing."""
        self.rows.append(Finding(check, Level.NOTE, text, change, seconds))

    def problem(self, check: str, text: str, change: str | None = None) -> None:
        """Something that clients will suffer from."""
        self.rows.append(Finding(check, Level.PROBLEM, text, change))

    @property
    def problems(self) -> int:
        """How many there are."""
        return sum(row.level is Level.PROBLEM for row in self.rows)

    @property
    def status(self) -> int:
        """The exit status: 0 where all is well, 1 with problems, 2 where no Kafka broker answered."""
        return 2 if not self.reached else min(self.problems, 1)


def as_text(address: str, findings: Findings) -> str:
    """What stands on the terminal."""
    lines = [f"kgw doctor {address}", ""]
    for row in findings.rows:
        word = row.level.value.upper() if row.level is Level.PROBLEM else row.level.value
        took = f" ({_time(row.seconds)})" if row.seconds is not None and row.level is Level.OK else ""
        lines.append(f"{word:8} {row.check:11} {row.text}{took}")
        if row.change:
            lines.append(f"{'':8} {'':11} change: {row.change}")
    lines += ["", _verdict(findings)]
    return "\n".join(lines) + "\n"


def as_value(address: str, findings: Findings) -> dict[str, Any]:
    """The same for scripts, to be written as JSON."""
    return {
        "address": address,
        "status": findings.status,
        "problems": findings.problems,
        "findings": [_row(row) for row in findings.rows],
    }


def _row(row: Finding) -> dict[str, Any]:
    return asdict(row) | {"level": row.level.value}


def _verdict(findings: Findings) -> str:
    if not findings.reached:
        return "No Kafka broker answers there."
    notes = sum(row.level is Level.NOTE for row in findings.rows)
    told = [_count(findings.problems, "problem")] if findings.problems else ["No problems"]
    told += [_count(notes, "note")] if notes else []
    return ", ".join(told) + "."


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' if number != 1 else ''}"


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def listed(names: Sequence[str]) -> str:
    """Some names in a sentence, the first few of many."""
    if len(names) > 5:
        return f"{', '.join(names[:5])} and {len(names) - 5} more"
    return ", ".join(names)
