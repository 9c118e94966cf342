"""A rate over the last few seconds, as Kafka measures it, and how long to wait until it is a given one again."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Windows:
    """
    What rates are measured over (Kafka: C{MetricConfig}).

    @ivar count: windows that are kept, at least 1 (C{quota.window.num}).
    @ivar seconds: each of them (C{quota.window.size.seconds}).
    """

    count: int = 11
    seconds: float = 1.0

    @property
    def least(self) -> float:
        """Seconds that a rate is measured over at least, so that a client which begins may send a burst."""
        return (self.count - 1) * self.seconds


#: A rate over no time at all is one over so many seconds (Kafka: C{Rate.windowSize}).
_SHORTEST = 0.001


class Rate:
    """
    An amount for each second (Kafka: C{Rate} over C{WindowedSum}).

    Knows no time: C{now} is in seconds and does not fall.
    """

    __slots__ = ("_sums", "_windows")

    def __init__(self, windows: Windows) -> None:
        self._windows = windows
        self._sums: deque[list[float]] = deque()  # of each window, the oldest first: when it began, and its amount

    def record(self, amount: float, now: float) -> None:
        """
        Count an amount.

        @param amount: negative takes back what was counted.
        """
        sums = self._sums
        if not sums or now - sums[-1][0] >= self._windows.seconds:
            if len(sums) >= self._windows.count:
                sums.popleft()
            sums.append([now, 0.0])
        sums[-1][1] += amount

    def is_idle(self, now: float) -> bool:
        """Whether nothing that was counted counts any more."""
        self._purge(now)
        return not self._sums

    def counted(self, now: float) -> float:
        """The amounts that count now."""
        self._purge(now)
        return sum([amount for _, amount in self._sums])

    def excess(self, limit: float, now: float) -> float:
        """
        How long nothing may be counted until the rate is C{limit} (Kafka: C{QuotaUtils.throttleTime}).

        @param limit: an amount a second, more than 0.
        @return: seconds; 0 where the rate is not above it.
        """
        counted = self.counted(now)
        windows = self._windows
        elapsed = 0.0
        if self._sums:
            elapsed = now - self._sums[0][0]
        full = int(elapsed / windows.seconds)
        if full < windows.count - 1:
            elapsed += (windows.count - 1 - full) * windows.seconds
        elapsed = max(elapsed, _SHORTEST)
        return max(counted / limit - elapsed, 0.0)

    def _purge(self, now: float) -> None:
        sums = self._sums
        oldest = now - self._windows.count * self._windows.seconds
        while sums and sums[0][0] <= oldest:
            sums.popleft()
