"""What all groups of a node share: clocks, limits, the way to the store, and the history."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IReactorTime

from kgw.groups.effects import GroupLimits
from kgw.groups.history import GroupHistory
from kgw.groups.journal import GroupJournal
from kgw.groups.offsets import OffsetLimits

if TYPE_CHECKING:
    from kgw.groups.group import Group


@dataclass(frozen=True, slots=True)
class Surroundings:
    """
    What all groups of a node share.

    @ivar clock: wakes groups, and says what the time is where that is told or stored.
    @ivar monotonic: seconds of a clock that only goes forward: deadlines must not move when the time is set.
    @ivar forgotten: called with a group whose facts are gone, the group is not used any more.
    """

    clock: IReactorTime
    monotonic: Callable[[], float]
    journal: GroupJournal
    history: GroupHistory
    limits: GroupLimits
    offset_limits: OffsetLimits
    forgotten: Callable[[Group], None]

    def to_epoch(self, moment: float) -> float:
        """A moment of L{monotonic} in epoch seconds."""
        return self.clock.seconds() - (self.monotonic() - moment)

    def from_epoch(self, seconds: float) -> float:
        """A moment of L{monotonic}, given in epoch seconds."""
        return self.monotonic() - (self.clock.seconds() - seconds)
