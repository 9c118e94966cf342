"""Whether this gateway may still speak for what it leads: a pure machine."""

from __future__ import annotations

from math import inf


class Lease:
    """
    One incarnation's right to lead, which lasts as long as its heartbeats are written.

    The others take a gateway for dead when they have seen nothing new of it for the session timeout, at the earliest.
    So it is sure of its right for that long from the moment it sent a heartbeat that was written, less a margin. Once
    the right has run out no answer that comes late brings it back: somebody may have acted upon it. Only L{resumed}
    does, for which it has to be shown that nobody has, nor will.

    All times are seconds of one clock of this machine that goes on while the process is stopped.

    @ivar until: the right ends here, if it has not ended already; minus infinity before the first heartbeat.
    """

    __slots__ = ("_lapsed", "_length_s", "_lost", "until")

    def __init__(self, session_s: float, margin_s: float) -> None:
        """
        @param margin_s: for clocks that go at different rates, and for the time between a look at the lease and what
            is done thereupon.
        """
        if not 0 <= margin_s < session_s:
            raise ValueError("the margin must be shorter than the session timeout")
        self._length_s = session_s - margin_s
        self._lapsed = self._lost = False
        self.until = -inf

    def valid(self, now: float) -> bool:
        """Whether the right lasts at C{now}."""
        return now < self.until

    def renewed(self, sent: float, now: float) -> bool:
        """
        A heartbeat that was sent at C{sent} is known at C{now} to be written.

        @return: whether the lease is valid.
        """
        if self.until != -inf and now >= self.until:
            self.lapse()
        if not self._lapsed:
            self.until = max(self.until, sent + self._length_s)
        return self.valid(now)

    def lapse(self) -> None:
        """The right has run out, or is not to be used for now."""
        self._lapsed = True
        self.until = -inf

    def resumed(self, sent: float, now: float) -> bool:
        """
        After it had lapsed: the others have taken nothing away, and will see this incarnation before they do.

        @param sent: when the heartbeat was sent that they will see.
        @return: whether the lease is valid; it stays lapsed where that took too long.
        """
        if not self._lost and now < sent + self._length_s:
            self._lapsed = False
            self.until = sent + self._length_s
        return self.valid(now)

    def lose(self) -> None:
        """Give the right up for good."""
        self._lost = True
        self.lapse()
