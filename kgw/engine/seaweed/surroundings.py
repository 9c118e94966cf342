"""What all partitions of the engine share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from twisted.internet.defer import DeferredSemaphore
from twisted.internet.interfaces import IReactorTime

from kgw.engine.tail import TailBudget
from kgw.interfaces import IStateStore

if TYPE_CHECKING:
    from kgw.engine.seaweed.broker import Broker
    from kgw.engine.seaweed.filer import Filer
    from kgw.engine.seaweed.history_cache import HistoryCache
    from kgw.engine.seaweed.publishing import Publishing


@dataclass(slots=True)
class Surroundings:
    """
    @ivar clock: tells the time of records: C{seconds()} is epoch seconds.
    @ivar timer: measures pauses; the same as C{clock}, save in tests.
    @ivar tail: the bound on what the newest batches of all partitions take in memory.
    @ivar opening: how many partitions are looked at anew at a time, after a start or a break.
    @ivar acks_all_flushed: whether C{acks=all} is answered when the records are in a log file
        (C{kgw.seaweedmq.acks.all=flushed}).
    """

    clock: IReactorTime
    timer: IReactorTime
    store: IStateStore
    filer: Filer
    broker: Broker
    publishing: Publishing
    cache: HistoryCache
    tail: TailBudget
    opening: DeferredSemaphore
    acks_all_flushed: bool
    producer_id_expiration_ms: int
