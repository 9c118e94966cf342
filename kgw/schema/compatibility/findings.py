"""What a comparison finds, and the bookkeeping of pairs that keeps recursion and repetition bounded."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import NamedTuple

#: Pairs of types that are compared, at most, for one pair of schemas; a large real schema has a few thousand.
MOST_PAIRS = 50_000
#: How often pairs are asked for, at most, those that are known already among them.
MOST_QUESTIONS = 1_000_000
#: Pairs that are begun and not ended: how deep types may be nested. Each costs a few frames of Python's stack.
MOST_DEPTH = 80
#: Findings that are kept: nobody reads more.
MOST_FINDINGS = 100


class UnusableSchema(Exception):
    """A schema cannot be read, or two cannot be compared within bounds; the text is for people."""


class Finding(NamedTuple):
    """
    What one direction of a comparison found.

    @ivar rule: the name that Confluent's registry has for it.
    @ivar path: where, from the root of the schema down, beginning with a slash.
    @ivar detail: what it is, in words, without the path.
    """

    rule: str
    path: str
    detail: str


Findings = tuple[Finding, ...]


def found(rule: str, detail: str, path: str = "") -> Findings:
    """
    One finding.

    @param path: below the place that is being compared.
    """
    return (Finding(rule, path, detail),)


def under(step: str, findings: Findings) -> Findings:
    """Findings of something below, as seen from above."""
    return tuple(one._replace(path=f"/{step}{one.path}") for one in findings)


def joined(several: Iterable[Findings]) -> Findings:
    """All findings, as many as are kept; what comes behind that is not even looked for."""
    every: list[Finding] = []
    for findings in several:
        every.extend(findings)
        if len(every) >= MOST_FINDINGS:
            return tuple(every[:MOST_FINDINGS])
    return tuple(every)


class Pairs:
    """
    Compares each pair of types once, however often and in whichever circles it is met.

    A pair that is met within itself is taken for compatible. What was concluded from that is kept for as long as the
    assumption stands, and for good only if it turns out true.
    """

    def __init__(self) -> None:
        self._known: dict[Hashable, Findings] = {}
        self._open: dict[Hashable, int] = {}
        #: By pair: its findings, and the depth of the open pair that they assume compatible.
        self._assumed: dict[Hashable, tuple[Findings, int]] = {}
        #: By depth of an open pair: the pairs whose findings assume it.
        self._leaning: dict[int, set[Hashable]] = {}
        self._leans = MOST_DEPTH
        self._count = 0
        self._questions = 0

    def judge(self, pair: Hashable, compare: Callable[[], Findings]) -> Findings:
        """
        The findings of a pair.

        @param compare: compares it, with pairs below by way of this method.
        @raise UnusableSchema: there are too many pairs, or they are nested too deep.
        """
        self._questions += 1
        if self._questions > MOST_QUESTIONS:
            raise UnusableSchema(f"the schemas are too intricate: more than {MOST_QUESTIONS} comparisons")
        if pair in self._known:
            return self._known[pair]
        if pair in self._open:
            self._leans = min(self._leans, self._open[pair])
            return ()
        if pair in self._assumed:
            findings, leans = self._assumed[pair]
            self._leans = min(self._leans, leans)
            return findings
        depth = len(self._open)
        self._count += 1
        if self._count > MOST_PAIRS:
            raise UnusableSchema(f"the schemas are too intricate: more than {MOST_PAIRS} pairs of types to compare")
        if depth >= MOST_DEPTH:
            raise UnusableSchema(f"the schemas are nested too deep: more than {MOST_DEPTH} types within one another")
        outer, self._leans = self._leans, MOST_DEPTH
        self._open[pair] = depth
        findings = compare()
        del self._open[pair]
        self._close(pair, depth, findings, self._leans)
        self._leans = min(outer, self._leans if self._leans < depth else MOST_DEPTH)
        return findings

    def _close(self, pair: Hashable, depth: int, findings: Findings, leans: int) -> None:
        """Keep what was found, and see what becomes of what assumed it compatible."""
        for other in self._leaning.pop(depth, ()):
            concluded, _ = self._assumed.pop(other)
            if not findings:
                self._keep(other, concluded, depth, leans)
        self._keep(pair, findings, depth, leans)

    def _keep(self, pair: Hashable, findings: Findings, depth: int, leans: int) -> None:
        if leans >= depth:
            self._known[pair] = findings
        else:
            self._assumed[pair] = (findings, leans)
            self._leaning.setdefault(leans, set()).add(pair)
