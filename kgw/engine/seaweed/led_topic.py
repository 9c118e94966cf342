"""What one gateway leads of a topic: the logs that are open, those that are being opened, and by which epochs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, DeferredList
from twisted.python.failure import Failure

from kgw.engine.seaweed.partition import SeaweedPartitionLog
from kgw.errors import KafkaError
from kgw.model import LogConfig, Topic

T = TypeVar("T")

#: What became of opening a partition: an error, or none.
Taking = Deferred[KafkaError | None]


class LedTopic:
    """
    A topic, and what of it is led here.

    @ivar logs: those that are open, by partition.
    @ivar given: the leader epochs that partitions are to be led with; only where gateways share them.
    @ivar taking: those that are being opened.
    """

    def __init__(self, topic: Topic, config: LogConfig, logs: Sequence[SeaweedPartitionLog] = ()) -> None:
        """
        @param logs: of the first partitions.
        """
        self.topic = topic
        self.config = config
        self.logs = dict(enumerate(logs))
        self.given: dict[int, int] = {}
        self.taking: dict[int, Taking] = {}

    def configure(self, config: LogConfig) -> None:
        """Obey other configs from now on."""
        self.config = config
        for log in self.logs.values():
            log.config = config

    def give_up(self) -> list[Taking]:
        """What is being opened is not wanted; it is still to be cancelled."""
        taking, self.taking = list(self.taking.values()), {}
        self.given.clear()
        return taking


def broken_off(running: Deferred[Any]) -> Deferred[None]:
    """Fires when it has ended, having been cancelled."""
    ended: Deferred[None] = Deferred()
    running.addBoth(lambda _: ended.callback(None))
    running.cancel()
    return ended


async def together(running: list[Deferred[T]], undo: Callable[[T], None]) -> list[T]:
    """
    All results; where one fails the others are cancelled, and once all have ended the first failure is raised.

    @param undo: called with each result there is then.
    """
    failures: list[Failure] = []

    def failed(failure: Failure) -> None:
        failures.append(failure)
        if len(failures) == 1:
            for one in running:
                one.cancel()

    for one in running:
        one.addErrback(failed)
    results = [result for _, result in await DeferredList(running)]
    if failures:
        for result in results:
            if result is not None:
                undo(result)
        failures[0].raiseException()
    return results
