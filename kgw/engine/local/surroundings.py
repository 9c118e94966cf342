"""What all partition logs of one engine share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from kgw.engine.local.bridge import IBridge
from kgw.engine.local.segment import Handles
from kgw.engine.local.tail import TailBudget

if TYPE_CHECKING:
    from kgw.engine.local.partition import LocalPartitionLog


@dataclass(slots=True)
class Surroundings:
    """
    What all partition logs of an engine share.

    @ivar persist_starts: writes down all log start offsets; durable when it fires.
    @ivar checkpoint_due: is told that a log was rolled, so that a checkpoint soon saves work.
    @ivar unlink_later: removes files after a delay in ms.
    @ivar random: for C{segment.jitter.ms}.
    """

    clock: IReactorTime
    bridge: IBridge
    budget: TailBudget
    handles: Handles
    persist_starts: Callable[[], Deferred[None]]
    unlink_later: Callable[[list[str], int], None]
    checkpoint_due: Callable[[LocalPartitionLog], None]
    random: Random = field(default_factory=Random)
