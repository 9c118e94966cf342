"""What samples come to: the middle of the rounds, and ratios between servers that took turns."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from kgw.bench.cases import Sample
from kgw.bench.server import KGW, LIMIT, OTHER

_MEGA = 1e6


@dataclass(frozen=True)
class Row:
    """
    One run on one server, all rounds of it; each value is the median over the rounds.

    @ivar rate: records or requests per second.
    @ivar server_us: CPU of the server for each, in microseconds.
    @ivar server_cores: cores that the server used meanwhile.
    @ivar late_ms: how late the generator itself was with one request in a hundred: part of what p99 says.
    @ivar of_limit: rate in proportion to the limit server's in the same round.
    @ivar of_other: the same for the server of C{--vs}.
    """

    name: str
    server: str
    rounds: int
    rate: float
    best_rate: float
    mb_s: float
    server_us: float | None
    server_cores: float | None
    client_cores: float
    p50_ms: float
    p99_ms: float
    late_ms: float
    of_limit: float | None
    of_other: float | None


class Results:
    """The samples of all rounds, as they come in."""

    def __init__(self) -> None:
        self._samples: dict[tuple[str, str], list[Sample]] = {}

    def add(self, server: str, samples: Iterable[Sample]) -> None:
        """One more round on a server, by its name."""
        for sample in samples:
            self._samples.setdefault((sample.name, server), []).append(sample)

    def names(self) -> list[str]:
        """Of all runs so far, each once."""
        return list(dict.fromkeys(name for name, _ in self._samples))

    def rows(self) -> list[Row]:
        """One for each run and server, servers side by side."""
        return [
            self._row(name, server)
            for name in self.names()
            for server in (KGW, OTHER, LIMIT)
            if (name, server) in self._samples
        ]

    def _row(self, name: str, server: str) -> Row:
        samples = self._samples[name, server]
        rates = [sample.count / sample.seconds for sample in samples]
        rate = statistics.median(rates)
        cpu = [(one.server_cpu / one.count, one.server_cpu / one.seconds) for one in samples if one.server_cpu]
        return Row(
            name,
            server,
            len(samples),
            rate,
            max(rates),
            rate * samples[0].size / _MEGA,
            statistics.median(each for each, _ in cpu) * 1e6 if cpu else None,
            statistics.median(cores for _, cores in cpu) if cpu else None,
            statistics.median(one.client_cpu / one.seconds for one in samples),
            statistics.median(one.p50 for one in samples) * 1e3,
            statistics.median(one.p99 for one in samples) * 1e3,
            statistics.median(one.late for one in samples) * 1e3,
            self._ratio(name, rates, LIMIT) if server != LIMIT else None,
            self._ratio(name, rates, OTHER) if server == KGW else None,
        )

    def _ratio(self, name: str, rates: list[float], other: str) -> float | None:
        """The median of the ratios of each round; the rounds of both servers came in the same order."""
        theirs = self._samples.get((name, other))
        if theirs is None or theirs[0].paced:
            return None
        pairs = zip(rates, theirs, strict=False)
        return statistics.median(rate * sample.seconds / sample.count for rate, sample in pairs)
