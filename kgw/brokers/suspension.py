"""How a gateway whose lease has run out finds out whether it may go on as it was: a pure machine."""

from __future__ import annotations

from typing import NamedTuple

from kgw.brokers.model import Assignment, Sighting


class Lost(NamedTuple):
    """It may not: somebody may have taken something already."""

    reason: str


class Beat(NamedTuple):
    """Write a heartbeat, and read once more when it is written."""


class Proven(NamedTuple):
    """It may, by the heartbeat that was sent then."""

    sent: float


class Suspension:
    """
    One time that the lease of an incarnation was not valid.

    The meeting place may have been out of reach for all. When it can be read again, the entry of this incarnation and
    the assignment that it obeyed have to be as they were. Then it writes a heartbeat, and once that is written it reads
    again: if still nothing has changed it goes on. For whoever takes it for dead publishes first an assignment by which
    it is no member, and looks at its entry after that, before anything of its is given to others or done in its place.
    Of the two, at least one sees what the other did.
    """

    def __init__(self, node_id: int, incarnation: str) -> None:
        self._node_id = node_id
        self._incarnation = incarnation
        #: The heartbeat by which it wants to go on, -1 where there is none; when it was sent, and how many readings had
        #: been begun when it was known to be written, -1 where it is not.
        self._counter = self._readings = -1
        self._sent = 0.0

    def sending(self, counter: int) -> None:
        """The heartbeat of this number is on its way."""
        self._counter, self._readings = counter, -1

    def written(self, counter: int, sent: float, readings: int) -> None:
        """
        A heartbeat is written.

        @param readings: how many readings were begun before this was known.
        """
        if counter == self._counter:
            self._sent, self._readings = sent, readings

    def unwritten(self) -> None:
        """It may be written or not; another one is needed."""
        self._counter = -1

    def judge(self, sighting: Sighting, target: Assignment, number: int) -> Lost | Beat | Proven | None:
        """
        See what a reading says.

        @param target: the assignment that was obeyed.
        @param number: of the reading.
        @return: C{None} where it is too early to say.
        """
        own = sighting.entries.get(self._node_id)
        if sighting.assignment.version != target.version or sighting.contested:
            return Lost("there is another assignment by now")
        if own is None or own.incarnation != self._incarnation:
            return Lost(f"another gateway has taken node id {self._node_id}")
        if target.members.get(self._node_id) != self._incarnation:
            return Lost("it was given nothing yet")
        if self._counter < 0:
            return Beat()
        if not 0 <= self._readings < number:
            return None
        # else something that was sent earlier was written later
        return Proven(self._sent) if own.counter == self._counter else Beat()
