"""The state store of one of several gateways on the same facts: its journal is its incarnation's, while it has one.

Most keys are in the hands of whoever leads what they are about. Those that any gateway changes in its turn go through
a journal that all share, which whoever has the next turn finishes first: else what one that died in its turn had
journalled would be written over what others changed after it, once its own journal is replayed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import Deferred, DeferredList, DeferredLock, fail
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from kgw.engine.seaweed.filer_state import ROOT, FilerStateStore
from kgw.engine.seaweed.locks import Holding
from kgw.engine.seaweed.state_files import Entries, Facts, Route
from kgw.engine.seaweed.state_guard import GuardedEntries
from kgw.engine.seaweed.state_journals import OLD, Journals
from kgw.engine.state_limits import check_keys, check_puts
from kgw.errors import ErrorCode, KafkaError
from kgw.interfaces import IStateStore

T = TypeVar("T")

#: The journal of what is changed in turns. The others are named as incarnations, which have 32 digits.
COMMON = "common"
#: The lock under which a journal is finished that its own store cannot finish any more.
JOURNAL_LOCK = "kgw-journal"


class Alone(Protocol):
    """What is used of L{kgw.engine.seaweed.locks.Sections}."""

    def run(self, name: str, work: Callable[[Holding], Coroutine[Deferred[Any], Any, T]]) -> Deferred[T]:
        """Run something under a lock."""


@implementer(IStateStore)
class SharedStateStore:
    """
    Answers what is there while it is open, and takes commits between L{enter} and L{leave}.

    Who changes common keys has the turn to do so, calls L{recover} before anything and waits for L{drained} at the end.
    """

    def __init__(
        self,
        filer: Entries,
        clock: IReactorTime,
        sections: Alone,
        may_write: Callable[[], bool],
        own: Collection[str],
        root: str = ROOT,
        routes: Iterable[Route] = (),
    ) -> None:
        """
        @param may_write: asked before each call that changes anything in the filer, save by L{recover}, L{replay} and
            L{open}, which are under locks as well.
        @param own: prefixes of the keys that are changed by whoever leads what they are about, without a turn.
        """
        self._filer = filer
        self._clock = clock
        self._sections = sections
        self._may_write = may_write
        self._prefixes = tuple(own)
        self._root = root
        self._routes = list(routes)
        self._facts = Facts(filer, root, self._routes)
        self._mine: FilerStateStore | None = None
        self._common: FilerStateStore | None = None
        self._changing = DeferredLock()
        self._is_open = False

    # As one store of one process

    def open(self) -> Deferred[None]:
        """Put in their places what a single store of an earlier version left; reads are answered then."""
        return Deferred.fromCoroutine(self._open())

    async def _open(self) -> None:
        await self._finish_old()
        self._is_open = True

    async def _finish_old(self) -> None:
        if OLD in await Journals(self._filer, self._facts, self._root).names():
            await self._finish(OLD)

    def close(self) -> Deferred[None]:
        """Leave, and answer nothing more."""
        self._is_open = False
        return self.leave()

    def get(self, key: str) -> Deferred[bytes | None]:
        """See L{IStateStore.get}."""
        check_keys((key,))
        if not self._is_open:
            return fail(_closed())
        store = self._mine if self._is_own(key) else self._common
        return Deferred.fromCoroutine(self._facts.get(key)) if store is None else store.get(key)

    def scan(self, prefix: str) -> Deferred[list[tuple[str, bytes]]]:
        """See L{IStateStore.scan}."""
        check_keys((prefix,))
        if not self._is_open:
            return fail(_closed())
        return Deferred.fromCoroutine(self._scan(prefix))

    async def _scan(self, prefix: str) -> list[tuple[str, bytes]]:
        if self._is_own(prefix):
            return await self._scanned(self._mine, prefix)
        found = await self._scanned(self._common, prefix)
        if not any(one.startswith(prefix) for one in self._prefixes):
            return found
        others = [pair for pair in found if not self._is_own(pair[0])]
        mine = [pair for pair in await self._scanned(self._mine, prefix) if self._is_own(pair[0])]
        return sorted([*others, *mine])

    async def _scanned(self, store: FilerStateStore | None, prefix: str) -> list[tuple[str, bytes]]:
        return sorted((await self._facts.scan(prefix)).items()) if store is None else await store.scan(prefix)

    def commit(self, puts: Mapping[str, bytes], deletes: Collection[str] = ()) -> Deferred[None]:
        """See L{IStateStore.commit}; keys that are changed in turns are not committed together with others."""
        check_puts(puts)
        check_keys(deletes)
        mine = self._mine
        if mine is None:
            return fail(KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, "this gateway is not one of the cluster now"))
        if all(self._is_own(key) for key in (*puts, *deletes)):
            return mine.commit(puts, deletes)
        # a Deferred of its own: who gives up waiting must not break it off
        answer: Deferred[None] = Deferred()
        self._changing.run(self._commit, dict(puts), list(deletes)).addCallbacks(answer.callback, answer.errback)
        return answer

    async def _commit(self, puts: Mapping[str, bytes], deletes: Collection[str]) -> None:
        if self._common is None:
            self._common = await self._opened(COMMON)
        await self._common.commit(puts, deletes)

    def _is_own(self, key: str) -> bool:
        return key.startswith(self._prefixes)

    # As one of several

    def enter(self, journal: str) -> Deferred[None]:
        """
        Take commits from now on, and open before where that is not done.

        @param journal: this gateway's incarnation; no two have the same.
        @return: fails with C{KAFKA_STORAGE_ERROR}; what was entered before was left then.
        """
        return self._changing.run(self._enter, journal)

    async def _enter(self, journal: str) -> None:
        await self._leave()
        if not self._is_open:
            await self._open()
        self._mine = await self._opened(journal)

    def leave(self) -> Deferred[None]:
        """Take no more commits; fires when none is under way, and never fails."""
        # at once: who waits for something to be in its place, and keeps others waiting, would wait for ever by now
        closing = [store.close() for store in (self._mine, self._common) if store is not None]
        return DeferredList(closing).addCallback(lambda _: self._changing.run(self._leave))

    async def _leave(self) -> None:
        mine, self._mine = self._mine, None
        common, self._common = self._common, None
        for store in (mine, common):
            if store is not None:
                await store.close()

    async def _opened(self, journal: str) -> FilerStateStore:
        store = FilerStateStore(
            self._filer, self._clock, self._root, self._routes, journal=journal, may_write=self._may_write
        )
        await store.open()
        return store

    def recover(self) -> Deferred[None]:
        """
        Put in their places what another gateway left that died in its turn; called at the beginning of each turn.

        @return: fails with C{KAFKA_STORAGE_ERROR}.
        """
        return self._changing.run(self._recover)

    async def _recover(self) -> None:
        # nothing is open there unless an earlier turn of ours was cut short, and its turn is over
        await self._close_common()
        guarded = GuardedEntries(self._filer, self._may_write)
        await Journals(guarded, Facts(guarded, self._root, self._routes), self._root).finish(COMMON)

    def drained(self) -> Deferred[None]:
        """
        Wait until everything that was committed before is where all gateways read it.

        @return: fails with C{KAFKA_STORAGE_ERROR} where that is not known.
        """
        return self._changing.run(self._drained)

    async def _drained(self) -> None:
        if self._mine is not None:
            await self._mine.drained()
        if self._common is not None:
            await self._common.drained()
        await self._close_common()

    def turn_over(self) -> Deferred[None]:
        """
        Write no more of what was changed in a turn; what is not in its place yet stays in the journal that whoever has
        the next turn finishes.

        @return: fires, never with a failure, when nothing of it is under way.
        """
        return self._changing.run(self._close_common)

    async def _close_common(self) -> None:
        common, self._common = self._common, None
        if common is not None:
            await common.close()

    def replay(self, journal: str) -> Deferred[None]:
        """See L{FilerStateStore.replay}; one gateway at a time does it."""
        return Deferred.fromCoroutine(self._finish(journal))

    async def _finish(self, journal: str) -> None:
        async def work(holding: Holding) -> None:
            guarded = GuardedEntries(self._filer, holding.valid)
            await Journals(guarded, Facts(guarded, self._root, self._routes), self._root).finish(journal)

        await self._sections.run(JOURNAL_LOCK, work)

    def journals(self) -> Deferred[list[str]]:
        """The names of the journals of incarnations, of which some may be no more."""
        names = Deferred.fromCoroutine(Journals(self._filer, self._facts, self._root).names())
        return names.addCallback(lambda found: [name for name in found if name not in (OLD, COMMON)])


def _closed() -> KafkaError:
    return KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, "the state store is closed")
