"""Where gateways meet: entries and assignments as small files in the filer, and the filer's locks."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

from kgw.brokers.interfaces import IMeetingPlace
from kgw.brokers.model import Assignment, Hold, NodeEntry, Sighting, Taken, Version
from kgw.engine.seaweed.folder_watch import FolderListener
from kgw.engine.seaweed.locks import FilerLocks, LockHeld
from kgw.engine.seaweed.state_files import Entries
from kgw.errors import ErrorCode, KafkaError

if TYPE_CHECKING:
    from kgw.engine.seaweed.filer import Entry

S = TypeVar("S")
T = TypeVar("T")

ROOT = "/topics/kafka/.meta/kgw/cluster"
_NODES, _ASSIGNMENTS = "nodes", "assignments"


class Watching(Protocol):
    """What is used of L{kgw.engine.seaweed.folder_watch.FolderWatch}."""

    def start(self) -> None:
        """Begin to tell."""

    def stop(self) -> None:
        """Tell nothing more."""


@implementer(IMeetingPlace)
class FilerMeetingPlace:
    """
    Files C{nodes/<node id>} and C{assignments/<version>} in one folder.

    A file is there whole or not at all, and is seen by whoever lists the folder after it was written.
    """

    def __init__(
        self,
        filer: Entries,
        locks: FilerLocks,
        watching: Callable[[str, FolderListener], Watching],
        clock: IReactorTime,
        root: str = ROOT,
    ) -> None:
        """
        @param filer: whose calls fail within seconds, and do not wait for those of others.
        @param watching: makes what tells a listener of changes below a folder.
        @param root: the folder for it all.
        """
        self._filer = filer
        self._locks = locks
        self._clock = clock
        self._nodes = f"{root}/{_NODES}"
        self._assignments = f"{root}/{_ASSIGNMENTS}"
        self._watching = watching(root, self)
        self._listeners: list[Callable[[], None]] = []
        self._telling: IDelayedCall | None = None
        #: The assignment read last: it is read again and again, and what stands under a version never changes.
        self._known = Assignment()

    # What is there

    def read(self) -> Deferred[Sighting]:
        """See L{IMeetingPlace.read}."""
        return Deferred.fromCoroutine(self._read())

    async def _read(self) -> Sighting:
        versions = {_understood(Version.of, entry, entry.name): entry for entry in await self._list(self._assignments)}
        # of one listing of the nodes only, begun when the assignments were known
        entries = {}
        for entry in await self._list(self._nodes):
            node = _understood(NodeEntry.decode, entry, entry.content)
            entries[node.node_id] = node
        newest = max(versions, default=None)
        assignment = Assignment()
        if newest is not None:
            if newest != self._known.version:
                self._known = _understood(Assignment.decode, versions[newest], versions[newest].content)
            assignment = self._known
        return Sighting(assignment, tuple(sorted(versions)), entries)

    async def _list(self, folder: str) -> list[Entry]:
        return [entry for entry in await self._filer.list(folder) if not entry.is_directory]

    def write(self, entry: NodeEntry) -> Deferred[None]:
        """See L{IMeetingPlace.write}."""
        return self._filer.put(self._nodes, str(entry.node_id), entry.encode())

    def remove(self, node_id: int) -> Deferred[None]:
        """See L{IMeetingPlace.remove}."""
        return self._filer.delete(self._nodes, str(node_id))

    def publish(self, assignment: Assignment) -> Deferred[None]:
        """See L{IMeetingPlace.publish}."""
        return self._filer.put(self._assignments, assignment.version.name, assignment.encode())

    def withdraw(self, version: Version) -> Deferred[None]:
        """See L{IMeetingPlace.withdraw}."""
        return self._filer.delete(self._assignments, version.name)

    # Locks

    def lock(self, name: str, owner: str, ttl_s: float) -> Deferred[Hold | Taken]:
        """See L{IMeetingPlace.lock}; the filer counts in whole seconds, of which it is given the next."""
        return Deferred.fromCoroutine(self._lock(name, owner, ttl_s))

    async def _lock(self, name: str, owner: str, ttl_s: float) -> Hold | Taken:
        try:
            return Hold(*await self._locks.take(name, owner, _seconds(ttl_s)))
        except LockHeld as refused:
            return Taken(refused.owner)

    def renew(self, name: str, owner: str, token: str, ttl_s: float) -> Deferred[Hold | None]:
        """See L{IMeetingPlace.renew}."""
        return Deferred.fromCoroutine(self._renew(name, owner, token, ttl_s))

    async def _renew(self, name: str, owner: str, token: str, ttl_s: float) -> Hold | None:
        try:
            return Hold(*await self._locks.take(name, owner, _seconds(ttl_s), token)) if token else None
        except LockHeld:
            return None

    def unlock(self, name: str, owner: str, token: str) -> Deferred[None]:
        """See L{IMeetingPlace.unlock}."""
        return Deferred.fromCoroutine(self._unlock(name, token))

    async def _unlock(self, name: str, token: str) -> None:
        try:
            await self._locks.release(name, token)
        except LockHeld:
            # it was lost before
            return

    # Changes

    def watch(self, listener: Callable[[], None]) -> None:
        """See L{IMeetingPlace.watch}."""
        if not self._listeners:
            self._watching.start()
        self._listeners.append(listener)

    def unwatch(self, listener: Callable[[], None]) -> None:
        """See L{IMeetingPlace.unwatch}."""
        if listener not in self._listeners:
            return
        self._listeners.remove(listener)
        if not self._listeners:
            self._watching.stop()
            if self._telling is not None:
                self._telling.cancel()
                self._telling = None

    def changed(self, directory: str, name: str, content: bytes | None) -> None:
        """See L{FolderListener.changed}."""
        self.look_anew()

    def look_anew(self) -> None:
        """See L{FolderListener.look_anew}."""
        if self._telling is None and self._listeners:
            # once for all that came together
            self._telling = self._clock.callLater(0, self._tell)

    def _tell(self) -> None:
        self._telling = None
        for listener in tuple(self._listeners):
            listener()


def _seconds(ttl_s: float) -> int:
    return max(1, math.ceil(ttl_s))


def _understood(decode: Callable[[S], T], entry: Entry, value: S) -> T:
    try:
        return decode(value)
    except ValueError as error:
        what = f"{entry.name} in the cluster's folder cannot be understood: {error}"
        raise KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, what) from error
