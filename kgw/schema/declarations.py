"""What columns each topic's records have, told to the engine before the first record that has them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from kgw.errors import ErrorCode, KafkaError
from kgw.interfaces import Tables
from kgw.schema.columns import RecordOf

#: A type of rows, and the engine's name for how values of it are written.
RowType: TypeAlias = tuple[RecordOf, str]

#: Types that are remembered of one topic, and topics; beyond that all of them are told anew.
_MOST_TYPES = 1000
_MOST_TOPICS = 10_000
#: Seconds in which the engine is not told again what it did not take, in which it refused for good, and in which an
#: answer of it is waited for at most.
PAUSE_S = 2.0
REFUSED_S = 300.0


class Declarations:
    """
    Remembers what the engine was told, and tells it the rest; of a topic one thing at a time.
    """

    def __init__(self, tables: Tables, clock: IReactorTime, tell: Callable[[str, str, str], None]) -> None:
        """
        @param tell: writes a line about a topic, once: topic, what is wrong, and why.
        """
        self._tables = tables
        self._clock = clock
        self._tell = tell
        #: By topic, and by the identity of the type, which is the same object each time; it is held, or another
        #: could have that identity.
        self._told: dict[str, dict[int, RecordOf]] = {}
        self._running: dict[tuple[str, int], list[Deferred[None]]] = {}
        self._failed: dict[tuple[str, int], tuple[float, KafkaError, RecordOf]] = {}

    def knows(self, topic: str, record: RecordOf) -> bool:
        """Whether the engine was told."""
        told = self._told.get(topic)
        return told is not None and id(record) in told

    def has_any(self, topic: str) -> bool:
        """Whether the engine was told of any columns of a topic, by this gateway."""
        return bool(self._told.get(topic))

    def ensure(self, topic: str, types: Iterable[RowType]) -> Deferred[None]:
        """
        Tell the engine what it does not know.

        Cancelling gives up waiting only.

        @return: fails as L{Tables.declare}, at once where it has just failed so.
        """
        return Deferred.fromCoroutine(self._ensure(topic, list(types)))

    async def _ensure(self, topic: str, types: list[RowType]) -> None:
        for record, format in types:
            if not self.knows(topic, record):
                await self._one(topic, record, format)

    def _one(self, topic: str, record: RecordOf, format: str) -> Deferred[None]:
        key = topic, id(record)
        failed = self._failed.get(key)
        answer: Deferred[None] = Deferred()
        if failed is not None:
            until, error, _ = failed
            if self._clock.seconds() < until:
                answer.errback(KafkaError(error.code, error.message))
                return answer
            del self._failed[key]
        waiting = self._running.get(key)
        if waiting is not None:
            waiting.append(answer)
            return answer
        self._running[key] = [answer]
        telling = self._tables.declare(topic, record, format)
        telling.addBoth(self._done, topic, record)
        return answer

    def _done(self, result: list[str] | Failure, topic: str, record: RecordOf) -> None:
        key = topic, id(record)
        waiting = self._running.pop(key)
        if isinstance(result, Failure):
            error = result.value
            if not isinstance(error, KafkaError):
                error = KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, result.getErrorMessage())
            if len(self._failed) >= _MOST_TOPICS:
                self._failed.clear()
            wait = PAUSE_S if error.code.retriable else REFUSED_S
            self._failed[key] = self._clock.seconds() + wait, error, record
            self._tell(topic, "columns are not declared", error.message)
            for one in waiting:
                one.errback(KafkaError(error.code, error.message))
            return
        if result:
            self._tell(topic, "columns stay of another type", ", ".join(result[:20]))
        if topic not in self._told and len(self._told) >= _MOST_TOPICS:
            self._told.clear()
        told = self._told.setdefault(topic, {})
        if len(told) >= _MOST_TYPES:
            told.clear()
        told[id(record)] = record
        for one in waiting:
            one.callback(None)

    def forget(self, topic: str) -> Deferred[None]:
        """The topic was deleted; another of its name begins without columns."""
        self._told.pop(topic, None)
        for key in [key for key in self._failed if key[0] == topic]:
            del self._failed[key]
        return succeed(None)
