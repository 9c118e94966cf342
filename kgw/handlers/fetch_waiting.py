"""How a Fetch waits until there is enough to read."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall

from kgw.handlers.contract import Call
from kgw.interfaces import IPartitionLog


class Waiting:
    """
    One parked request: watches its logs, and is woken by enough new bytes, a log's end, time, or a gateway that stops.

    @ivar over: the time is over, the gateway stops, or a log was trimmed or went away.
    """

    def __init__(self, logs: list[IPartitionLog], call: Call) -> None:
        self._logs = list(logs)
        self._peer = call.peer
        self._call_later: Callable[..., IDelayedCall] = call.services.clock.callLater
        self._need = 0
        self._woken: Deferred[None] | None = None
        self._alarm: IDelayedCall | None = None
        self._soon: IDelayedCall | None = None
        self._missed = False
        self.over = False

    def begin(self, seconds: float) -> None:
        """Watch the logs for at most C{seconds}."""
        self._alarm = self._call_later(seconds, self._time_is_over)
        for log in self._logs:
            log.watch(self._changed)
        self._peer.watch_end(self._time_is_over)

    def end(self) -> None:
        """Stop watching."""
        self._peer.unwatch_end(self._time_is_over)
        for log in self._logs:
            log.unwatch(self._changed)
        for call in (self._alarm, self._soon):
            if call is not None and call.active():
                call.cancel()

    def need(self, size: int) -> None:
        """Be woken by this many new bytes."""
        self._need = size

    def wait(self) -> Deferred[None]:
        """Fires when there may be enough to read, or no more time; at once where that came up during a read."""
        if self._missed:
            self._missed = False
            return succeed(None)
        self._woken = Deferred()
        return self._woken

    def _changed(self, size: int) -> None:
        self._need -= size
        if size < 0:
            self.over = True
        if (self._need <= 0 or self.over) and self._soon is None:
            # not from inside the append that woke us: the producer's answer goes first, and one turn of the
            # reactor may append more
            self._soon = self._call_later(0, self._wake)

    def _time_is_over(self) -> None:
        self.over = True
        self._wake()

    def _wake(self) -> None:
        self._soon = None
        woken, self._woken = self._woken, None
        if woken is None:
            self._missed = True
        else:
            woken.callback(None)
