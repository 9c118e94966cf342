"""What all partition logs of one engine share."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from kgw.engine.bridge import IBridge
from kgw.engine.local.pages import PageReads
from kgw.engine.local.segment import Handles
from kgw.engine.local.spares import Spares
from kgw.engine.tail import TailBudget

if TYPE_CHECKING:
    from kgw.engine.local.partition import LocalPartitionLog


@dataclass(slots=True)
class Flushes:
    """How often partitions were made durable, how long that took in seconds, and how often it failed."""

    count: int = 0
    seconds: float = 0.0
    failures: int = 0


@dataclass(slots=True)
class Surroundings:
    """
    What all partition logs of an engine share.

    @ivar persist_starts: writes down all log start offsets; durable when it fires.
    @ivar checkpoint_due: is told that a log was rolled, so that a checkpoint soon saves work.
    @ivar unlink_later: removes files after a delay in ms.
    @ivar reader: runs reads that wait for the disk, so that flushes need not wait for them.
    @ivar pages: reads without waiting.
    @ivar spares: old files to write again.
    @ivar small_bytes: segments with fewer get no space ahead, and their files are not written again.
    @ivar allocates: whether the file system can allocate space ahead.
    @ivar sync: C{os.fdatasync}, or what a test puts in its place.
    @ivar random: for C{segment.jitter.ms}.
    @ivar flushes: for those who watch.
    """

    clock: IReactorTime
    bridge: IBridge
    reader: IBridge
    pages: PageReads
    spares: Spares
    budget: TailBudget
    handles: Handles
    persist_starts: Callable[[], Deferred[None]]
    unlink_later: Callable[[list[str], int], None]
    checkpoint_due: Callable[[LocalPartitionLog], None]
    small_bytes: int = 1 << 20
    allocates: bool = True
    sync: Callable[[int], None] = os.fdatasync
    random: Random = field(default_factory=Random)
    flushes: Flushes = field(default_factory=Flushes)
