"""Writes to the filer that are made only while a gateway may make them: asked at the very moment of each."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, fail

from kgw.engine.seaweed.state_files import Entries
from kgw.errors import ErrorCode, KafkaError

if TYPE_CHECKING:
    from kgw.engine.seaweed.filer import Entry

    Listing = list[Entry]


class GuardedEntries:
    """A filer whose entries are written and removed only while that is allowed; reading always is."""

    def __init__(self, filer: Entries, may_write: Callable[[], bool]) -> None:
        self._filer = filer
        self._may_write = may_write

    def lookup(self, directory: str, name: str) -> Deferred[Entry | None]:
        """One entry."""
        return self._filer.lookup(directory, name)

    def list(self, directory: str) -> Deferred[Listing]:
        """All entries of a folder."""
        return self._filer.list(directory)

    def put(self, directory: str, name: str, content: bytes) -> Deferred[None]:
        """Write an entry; fails with C{KAFKA_STORAGE_ERROR} where that is not allowed now."""
        return self._filer.put(directory, name, content) if self._may_write() else fail(_refusal(directory, name))

    def delete(self, directory: str, name: str, recursive: bool = False) -> Deferred[None]:
        """Remove an entry; fails with C{KAFKA_STORAGE_ERROR} where that is not allowed now."""
        return self._filer.delete(directory, name, recursive) if self._may_write() else fail(_refusal(directory, name))


def _refusal(directory: str, name: str) -> KafkaError:
    return KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, f"{directory}/{name}: this gateway may not write any more")
