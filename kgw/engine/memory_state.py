"""Small facts in memory: for tests, and for C{--engine memory}."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from kgw.engine.state_limits import check_keys, check_puts
from kgw.errors import ErrorCode, KafkaError
from kgw.interfaces import IStateStore


@implementer(IStateStore)
class MemoryStateStore:
    """A state store that forgets all with the process; closing and opening it again forgets nothing."""

    def __init__(self) -> None:
        self._facts: dict[str, bytes] = {}
        self._open = False

    def open(self) -> Deferred[None]:
        """Make ready."""
        self._open = True
        return succeed(None)

    def close(self) -> Deferred[None]:
        """Refuse everything until it is opened again."""
        self._open = False
        return succeed(None)

    def get(self, key: str) -> Deferred[bytes | None]:
        """The value last committed, or C{None}."""
        check_keys((key,))
        return succeed(self._facts.get(key)) if self._open else fail(_closed())

    def scan(self, prefix: str) -> Deferred[list[tuple[str, bytes]]]:
        """All pairs whose key starts with C{prefix}, by the code points of the keys."""
        check_keys((prefix,))
        if not self._open:
            return fail(_closed())
        return succeed(sorted(item for item in self._facts.items() if item[0].startswith(prefix)))

    def commit(self, puts: Mapping[str, bytes], deletes: Collection[str] = ()) -> Deferred[None]:
        """
        Write all of these; a key in both is put.

        @raise ValueError: a value is larger than 1 MiB.
        """
        check_puts(puts)
        check_keys(deletes)
        if not self._open:
            return fail(_closed())
        for key in deletes:
            self._facts.pop(key, None)
        self._facts.update((key, bytes(value)) for key, value in puts.items())
        return succeed(None)


def _closed() -> KafkaError:
    return KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, "the state store is closed")
