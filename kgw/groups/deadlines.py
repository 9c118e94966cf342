"""When the sessions of a group's members end, made so that a heartbeat costs next to nothing."""

from __future__ import annotations

from math import inf


class Deadlines:
    """
    Points in time by name, in seconds.

    Deadlines are mostly put off and rarely met, so the earliest is kept as a lower bound: it is exact after
    L{take_due}, and may be too early, never too late, in between.
    """

    __slots__ = ("_bound", "_times")

    def __init__(self) -> None:
        self._times: dict[str, float] = {}
        self._bound = inf

    def __contains__(self, name: object) -> bool:
        return name in self._times

    def set(self, name: str, time: float) -> None:
        """Set or move a deadline."""
        self._times[name] = time
        if time < self._bound:
            self._bound = time

    def discard(self, name: str) -> None:
        """Forget a deadline, if there is one."""
        self._times.pop(name, None)
        if not self._times:
            self._bound = inf

    def clear(self) -> None:
        """Forget all of them."""
        self._times.clear()
        self._bound = inf

    def earliest(self) -> float | None:
        """No deadline comes before this; C{None} where there is none at all."""
        return None if self._bound == inf else self._bound

    def take_due(self, now: float) -> list[str]:
        """The names whose time has come, in the order of their times; they are forgotten."""
        if self._bound > now:
            return []
        due = sorted((time, name) for name, time in self._times.items() if time <= now)
        for _, name in due:
            del self._times[name]
        self._bound = min(self._times.values(), default=inf)
        return [name for _, name in due]
