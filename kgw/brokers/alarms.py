"""Alarms by name, all of which can be put off together."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime


class Alarms:
    """Calls to come, at most one of each name."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._calls: dict[str, IDelayedCall] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._calls

    def set(self, name: str, delay_s: float, call: Callable[[], object]) -> None:
        """Call this after some time, and not what was to be called by this name."""
        self.cancel(name)

        def ring() -> None:
            del self._calls[name]
            call()

        self._calls[name] = self._clock.callLater(max(0.0, delay_s), ring)

    def cancel(self, name: str) -> None:
        """Do not call it, if it is to be called."""
        call = self._calls.pop(name, None)
        if call is not None:
            call.cancel()

    def clear(self) -> None:
        """Call none of them."""
        for name in tuple(self._calls):
            self.cancel(name)
