"""The columns of Kafka topics, declared in all engine topics that hold one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

from twisted.internet.defer import Deferred, DeferredLock

if TYPE_CHECKING:
    from kgw.schema.columns import RecordOf

T = TypeVar("T")


#: Runs something while nobody else in the cluster runs anything by it.
Alone: TypeAlias = Callable[[Callable[[], Deferred[Any]]], Deferred[Any]]


class Declaring(Protocol):
    """What is needed of L{kgw.engine.seaweed.broker.Broker}."""

    def declared(self, topic: str) -> Deferred[tuple[RecordOf, str]]:
        """The columns and the format of an engine topic."""

    def declare(self, topic: str, columns: RecordOf, format: str) -> Deferred[list[str]]:
        """Add columns to those of an engine topic."""


class SeaweedTables:
    """
    See L{kgw.interfaces.Tables}.

    One change at a time: each reads what is there, and sends all of it back with what is new.
    """

    def __init__(
        self, broker: Declaring, engine_topics: Callable[[str], Sequence[str]], alone: Alone | None = None
    ) -> None:
        """
        @param engine_topics: those that hold a Kafka topic, in the order of its partitions; raises
            C{UNKNOWN_TOPIC_OR_PARTITION}.
        @param alone: keeps other gateways from changing columns meanwhile, where there are some.
        """
        self._alone = alone
        self._broker = broker
        self._engine_topics = engine_topics
        self._lock = DeferredLock()

    def declare(self, topic: str, columns: RecordOf, format: str) -> Deferred[list[str]]:
        """See L{kgw.interfaces.Tables.declare}."""
        return self._change(lambda: Deferred.fromCoroutine(self._declare(topic, columns, format)))

    async def _declare(self, topic: str, columns: RecordOf, format: str) -> list[str]:
        conflicts: dict[str, None] = {}
        for engine_topic in self._engine_topics(topic):
            conflicts.update(dict.fromkeys(await self._broker.declare(engine_topic, columns, format)))
        return list(conflicts)

    def spread(self, engine_topics: Sequence[str]) -> Deferred[None]:
        """
        Declare in all of these what is declared in the first one.

        @return: fails as L{kgw.engine.seaweed.broker.Broker.declare}.
        """
        return self._change(lambda: Deferred.fromCoroutine(self._spread(engine_topics)))

    async def _spread(self, engine_topics: Sequence[str]) -> None:
        columns, format = await self._broker.declared(engine_topics[0])
        if columns.columns:
            for engine_topic in engine_topics[1:]:
                await self._broker.declare(engine_topic, columns, format)

    def _change(self, work: Callable[[], Deferred[T]]) -> Deferred[T]:
        # a Deferred of its own: who gives up waiting must not break off a change half way
        answer: Deferred[T] = Deferred()
        changing: Deferred[T] = self._lock.run(work) if self._alone is None else self._lock.run(self._alone, work)
        changing.addCallbacks(answer.callback, answer.errback)
        return answer
