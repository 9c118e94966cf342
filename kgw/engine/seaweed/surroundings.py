"""What all partitions of the engine share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from twisted.internet.defer import Deferred, DeferredSemaphore, succeed
from twisted.internet.interfaces import IReactorTime

from kgw.engine.tail import TailBudget
from kgw.errors import ErrorCode, KafkaError
from kgw.interfaces import IStateStore

if TYPE_CHECKING:
    from kgw.engine.seaweed.broker import Broker
    from kgw.engine.seaweed.filer import Filer
    from kgw.engine.seaweed.history_cache import HistoryCache
    from kgw.engine.seaweed.publishing import Publishing


T = TypeVar("T")


@dataclass(slots=True)
class Surroundings:
    """
    @ivar clock: tells the time of records: C{seconds()} is epoch seconds.
    @ivar timer: measures pauses; the same as C{clock}, save in tests.
    @ivar tail: the bound on what the newest batches of all partitions take in memory.
    @ivar opening: how many partitions are looked at anew at a time, after a start or a break.
    @ivar acks_all_flushed: whether C{acks=all} is answered when the records are in a log file
        (C{kgw.seaweedmq.acks.all=flushed}).
    @ivar may_lead: asked before anything is published or acknowledged: whether this gateway still is the leader of what
        it was given, for sure.
    @ivar may_wait: whether what is not allowed at this moment may wait here, for nobody else leads it.
    @ivar when_known: fires, never with a failure, when that has changed: either may be so then.
    @ivar drain_s: how many seconds the engine has to write a partition to files when it is closed.
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
    may_lead: Callable[[], bool] = lambda: True
    drain_s: float = 10.0
    may_wait: Callable[[], bool] = lambda: False
    when_known: Callable[[], Deferred[None]] = lambda: succeed(None)

    def check_taking(self, name: str) -> None:
        """
        Something new is to be taken, which is published when that is allowed.

        @param name: of the partition it is about, for messages.
        @raise KafkaError: C{NOT_LEADER_OR_FOLLOWER}, for another may lead it.
        """
        if not self.may_lead() and not self.may_wait():
            raise _lost(name)

    def check_leading(self, result: T, name: str) -> T | Deferred[T]:
        """
        Pass C{result} on, now or when it is known that this is allowed.

        @param name: of the partition it is about, for messages.
        @raise KafkaError: C{NOT_LEADER_OR_FOLLOWER}, for L{may_lead} says no; what is returned fails with it, too.
        """
        if self.may_lead():
            return result
        if not self.may_wait():
            raise _lost(name)
        return self.when_known().addCallback(lambda _: self.check_leading(result, name))


def _lost(name: str) -> KafkaError:
    return KafkaError(ErrorCode.NOT_LEADER_OR_FOLLOWER, f"another may lead {name} by now")
