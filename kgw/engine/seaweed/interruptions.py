"""What an operator is told when publishing is interrupted: an outage is one thing, however many partitions have it."""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger

#: So many different reasons are told of one outage.
_REASONS = 5

_log = Logger("kgw.engine.seaweed")


class Interruptions:
    """
    Told by the publishers of all partitions. It says when the first of them is interrupted, each reason once, and when
    the last of them goes on.

    @ivar outages: how many there were; C{retries}, how often it was told of one partition.
    """

    def __init__(self, seconds: Callable[[], float]) -> None:
        """
        @param seconds: tells the time.
        """
        self._seconds = seconds
        self._out: set[str] = set()
        self._reasons: set[str] = set()
        self._since = 0.0
        self._partitions = 0
        self._batches = 0
        self.outages = self.retries = 0

    @property
    def partitions(self) -> int:
        """How many are interrupted now."""
        return len(self._out)

    def began(self, name: str, reason: str) -> None:
        """Publishing to a partition is interrupted, or could not be taken up again, for this reason."""
        self.retries += 1
        if not self._out:
            self.outages += 1
            self._since = self._seconds()
            self._partitions = self._batches = 0
            self._reasons.clear()
        if name not in self._out:
            self._out.add(name)
            self._partitions += 1
        if reason not in self._reasons and len(self._reasons) < _REASONS:
            self._reasons.add(reason)
            _log.warn("publishing to {name} is interrupted: {reason}; trying again", name=name, reason=reason)

    def ended(self, name: str, batches: int) -> None:
        """
        Publishing goes on.

        @param batches: how many are to be sent.
        """
        self._batches += batches
        self._gone(name)

    def forget(self, name: str) -> None:
        """Nothing more will be published to a partition."""
        self._gone(name)

    def _gone(self, name: str) -> None:
        if name not in self._out:
            return
        self._out.remove(name)
        if not self._out:
            _log.info(
                "publishing goes on after {seconds:.1f} s; {partitions} partition(s) were interrupted,"
                " {batches} batches are to be sent",
                seconds=self._seconds() - self._since,
                partitions=self._partitions,
                batches=self._batches,
            )
