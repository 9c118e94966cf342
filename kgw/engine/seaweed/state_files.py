"""Facts as entries of the filer, each where its kind belongs: reading, finding and writing them, so many at a time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from twisted.internet.defer import Deferred, DeferredList, DeferredSemaphore
from twisted.python.failure import Failure

from kgw.engine.seaweed import state_paths
from kgw.engine.seaweed.state_journal import Changes
from kgw.engine.seaweed.state_paths import Place
from kgw.errors import KafkaError

if TYPE_CHECKING:
    from kgw.engine.seaweed.filer import Entry

    Listing = list[Entry]

T = TypeVar("T")

#: How many calls to the filer one store makes at a time.
CALLS_AT_A_TIME = 32


class Entries(Protocol):
    """What the state store needs of L{kgw.engine.seaweed.filer.Filer}."""

    def lookup(self, directory: str, name: str) -> Deferred[Entry | None]:
        """One entry."""

    def list(self, directory: str) -> Deferred[Listing]:
        """All entries of a folder, none where it is not there."""

    def put(self, directory: str, name: str, content: bytes) -> Deferred[None]:
        """Write an entry."""

    def delete(self, directory: str, name: str, recursive: bool = False) -> Deferred[None]:
        """Remove an entry."""


class Route(Protocol):
    """
    How the facts of one kind are kept.

    @ivar prefix: what the keys it may be asked about start with.
    @ivar root: the folder that holds all of its entries.
    @ivar keeps: folders below the root, so many levels deep, stay when they are empty.
    """

    prefix: str
    root: str
    keeps: int

    def place_of(self, key: str) -> Place | None:
        """Where the value of this key is kept; C{None} where it is of another kind."""

    def key_of(self, folders: Sequence[str], name: str) -> str | None:
        """The key whose value an entry holds, by the folders from C{root} down; C{None} where it is none of these."""

    def may_hold(self, folders: Sequence[str], prefix: str) -> bool:
        """Whether there may be keys that start with C{prefix} below these folders."""

    def encode(self, value: bytes) -> bytes:
        """The content of the entry that keeps a value."""

    def decode(self, content: bytes) -> bytes | None:
        """The value that an entry keeps; C{None} where it holds something that is no fact of this kind."""


class PlainRoute:
    """Keeps any fact: its key escaped, its value as it is."""

    prefix = ""
    keeps = 1

    def __init__(self, root: str) -> None:
        self.root = root

    def place_of(self, key: str) -> Place | None:
        """Where the value of this key is kept."""
        return state_paths.place_of(self.root, key)

    def key_of(self, folders: Sequence[str], name: str) -> str | None:
        """The key whose value an entry holds."""
        return state_paths.key_of(folders, name)

    def may_hold(self, folders: Sequence[str], prefix: str) -> bool:
        """Whether there may be keys that start with C{prefix} below these folders."""
        return state_paths.may_hold(folders, prefix)

    def encode(self, value: bytes) -> bytes:
        """The value."""
        return value

    def decode(self, content: bytes) -> bytes | None:
        """The content."""
        return content


class Facts:
    """
    All facts, by key.

    Every method raises L{KafkaError} C{KAFKA_STORAGE_ERROR} while the filer cannot be reached.
    """

    def __init__(self, filer: Entries, root: str, routes: Iterable[Route] = ()) -> None:
        """
        @param root: the folder of facts that no route takes.
        @param routes: asked in this order.
        """
        self._filer = filer
        self._routes: list[Route] = [*routes, PlainRoute(root)]
        self._calls = DeferredSemaphore(CALLS_AT_A_TIME)

    async def get(self, key: str) -> bytes | None:
        """The value of one key."""
        route, place = self._place(key)
        entry = await self._calls.run(self._filer.lookup, *place)
        return None if entry is None or entry.is_directory else route.decode(entry.content)

    async def scan(self, prefix: str) -> dict[str, bytes]:
        """All facts whose key starts with C{prefix}, in no order."""
        found: dict[str, bytes] = {}
        for route in self._routes:
            if prefix.startswith(route.prefix) or route.prefix.startswith(prefix):
                await self._walk(route, prefix, found)
        return found

    async def write(self, changes: Changes) -> dict[str, KafkaError]:
        """
        Write each of these, in no order.

        @return: what could not be written, perhaps it was, by key. Anything but a L{KafkaError} is raised.
        """
        failed: dict[str, KafkaError] = {}
        emptied: dict[str, int] = {}
        outcomes = await self._all([(self._write_one, (key, value)) for key, value in changes.items()])
        for (key, value), outcome in zip(changes.items(), outcomes, strict=True):
            if isinstance(outcome, KafkaError):
                failed[key] = outcome
            elif value is None:
                route, place = self._place(key)
                emptied[place.directory] = route.root.count("/") + route.keeps
        await self._tidy(emptied)
        return failed

    async def remove(self, places: Iterable[tuple[str, str]]) -> None:
        """Remove these entries, in no order; the first error is raised when all were tried."""
        for outcome in await self._all([(self._filer.delete, place) for place in places]):
            if isinstance(outcome, KafkaError):
                raise outcome

    async def _walk(self, route: Route, prefix: str, found: dict[str, bytes]) -> None:
        """Find the facts of one kind, level by level."""
        level: list[tuple[str, ...]] = [()]
        while level:
            listings = await self._all([(self._filer.list, ("/".join((route.root, *names)),)) for names in level])
            below: list[tuple[str, ...]] = []
            for names, entries in zip(level, listings, strict=True):
                if isinstance(entries, KafkaError):
                    raise entries
                for entry in entries:
                    if entry.is_directory:
                        deeper = (*names, entry.name)
                        if route.may_hold(deeper, prefix):
                            below.append(deeper)
                        continue
                    key = route.key_of(names, entry.name)
                    if key is None or not key.startswith(prefix) or key in found:
                        continue
                    value = route.decode(entry.content)
                    if value is not None:
                        found[key] = value
            level = below

    async def _tidy(self, emptied: dict[str, int]) -> None:
        """
        Remove folders that hold nothing any more, so that groups that come and go leave nothing behind.

        The filer refuses to remove one that is not empty. That, and its absence, end the climb; a folder that stays
        does no harm.

        @param emptied: by path, how many names of it stay in any case.
        """
        while emptied:
            folders = [folder for folder, stays in emptied.items() if folder.count("/") > stays]
            outcomes = await self._all([(self._filer.delete, tuple(folder.rsplit("/", 1))) for folder in folders])
            emptied = {
                folder.rsplit("/", 1)[0]: emptied[folder]
                for folder, outcome in zip(folders, outcomes, strict=True)
                if not isinstance(outcome, KafkaError)
            }

    def _place(self, key: str) -> tuple[Route, Place]:
        for route in self._routes:
            if key.startswith(route.prefix) and (place := route.place_of(key)) is not None:
                return route, place
        raise AssertionError("the last route takes every key")

    def _write_one(self, key: str, value: bytes | None) -> Deferred[None]:
        route, place = self._place(key)
        if value is None:
            return self._filer.delete(*place)
        return self._filer.put(*place, route.encode(value))

    async def _all(self, calls: Collection[tuple[Callable[..., Deferred[T]], tuple[Any, ...]]]) -> list[T | KafkaError]:
        """What each call gave, or the L{KafkaError} it failed with; anything else is raised."""
        results = await DeferredList([self._calls.run(call, *args) for call, args in calls], consumeErrors=True)
        outcomes: list[T | KafkaError] = []
        for _, result in results:
            if not isinstance(result, Failure):
                outcomes.append(result)
            elif isinstance(result.value, KafkaError):
                outcomes.append(result.value)
            else:
                result.raiseException()
        return outcomes
