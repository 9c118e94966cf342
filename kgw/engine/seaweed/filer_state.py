"""Small facts in the filer of SeaweedFS: journalled, so that a commit of many is there whole or not at all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Mapping
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, DeferredLock, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from kgw.engine.seaweed import state_journal
from kgw.engine.seaweed.state_files import Entries, Facts, Route
from kgw.engine.seaweed.state_guard import GuardedEntries
from kgw.engine.seaweed.state_journals import OLD, Journals, head, name_of, raise_any
from kgw.engine.seaweed.state_queue import CallQueue, Commit, Milestones, Read
from kgw.engine.state_limits import check_keys, check_puts
from kgw.errors import ErrorCode, KafkaError
from kgw.interfaces import IStateStore

ROOT = "/topics/kafka/.meta/kgw/state"

#: How much may stand in the journal that is not yet in its place: its entries, keys, and bytes of their values.
MAX_BEHIND_ENTRIES = 1000
MAX_BEHIND_KEYS = 5000
MAX_BEHIND_BYTES = 32 << 20

_RETRY_S = 0.1
_MAX_RETRY_S = 5.0

_Changes = dict[str, bytes | None]


@implementer(IStateStore)
class FilerStateStore:
    """
    A state store whose facts are entries of the filer.

    Calls take effect in their order. The commits that wait when the filer has finished the ones before are joined:
    if they change one key only it is written to its place, else all of them go into one entry of the journal, after
    which they are durable and answered; then, while further ones may be journalled, the facts are written to their
    places, the latest value of each key. Reads look at what is journalled first.

    The journal is a folder with numbered entries (L{Journals}): each store makes one when it opens. When a write to
    the journal fails nobody knows whether it will come to light in the end, so a new folder is made before the next
    commit.

    Several stores may be on one root, each with a journal of its own, as long as no two have the same key in their
    hands: whoever lets go of keys waits for L{drained} before another takes them up, and what one that died left in
    its journal is put in its places by L{replay} before.
    """

    log = Logger()

    def __init__(
        self,
        filer: Entries,
        clock: IReactorTime,
        root: str = ROOT,
        routes: Iterable[Route] = (),
        *,
        journal: str = OLD,
        may_write: Callable[[], bool] | None = None,
        alone: Callable[[Callable[[], Coroutine[Deferred[Any], Any, None]]], Awaitable[None]] | None = None,
    ) -> None:
        """
        @param clock: waits before what could not be written to its place is tried again.
        @param root: the folder for it all.
        @param routes: which facts are kept elsewhere, and how.
        @param journal: the name of its journal, which no other store has while it is open, and which is no number: the
            gateway's incarnation, for instance. L{OLD} where there is one store at a time on the root.
        @param may_write: asked before each call that changes anything in the filer: where it says no that call is not
            made, and what it was for fails with C{KAFKA_STORAGE_ERROR}.
        @param alone: runs something while no other gateway runs anything by it; needed where there may be others.
        """
        self._filer = filer = filer if may_write is None else GuardedEntries(filer, may_write)
        self._clock = clock
        self._journal = journal
        self._alone = alone
        self._facts = Facts(filer, root, routes)
        self._journals = Journals(filer, self._facts, root)
        self._queue = CallQueue()
        self._accepting = False
        self._opened = False
        self._working: Deferred[None] | None = None
        self._closing: Deferred[None] | None = None
        # The journal: its folder, the numbers of the entries not wholly in their places yet, and whether a write
        # of one may still come to light.
        self._folder = self._newest = 0
        self._first = self._next = 1
        self._doubtful = False
        # What the journal holds and the places do not: waiting, and being written just now.
        self._behind: _Changes = {}
        self._moving: _Changes = {}
        self._behind_bytes = 0
        self._moves = DeferredLock()
        self._turns: list[Deferred[None]] = []
        self._catching_up: Deferred[None] | None = None
        self._pause: Deferred[None] | None = None
        self._settling = DeferredLock()
        self._placed = Milestones(lambda: self._first)

    def enter(self, journal: str) -> Deferred[None]:
        """Close in order, as far as that can be done, and L{open} with another journal; both may be done again."""

        def begin(_: None) -> Deferred[None]:
            self._journal = journal
            return self.open()

        return self.close().addCallback(begin)

    def open(self) -> Deferred[None]:
        """
        Put in their places what an earlier store left in this journal, and what a single store of earlier versions
        did.

        @return: fails with C{KAFKA_STORAGE_ERROR} where the filer does not answer or the journal is damaged.
        """
        if self._opened:
            return fail(_error("the state store is open already"))
        self._opened = True
        return Deferred.fromCoroutine(self._open())

    def close(self) -> Deferred[None]:
        """Finish all calls made before; what the filer does not take stays in the journal for the next store."""
        closing = self._closing
        if closing is None:
            if not self._accepting:
                return succeed(None)
            self._accepting = False
            closing = self._closing = Deferred()
            Deferred.fromCoroutine(self._close()).addBoth(self._closed)
        answer: Deferred[None] = Deferred()
        closing.addCallback(_passed_on, answer)
        return answer

    def get(self, key: str) -> Deferred[bytes | None]:
        """The value last committed, or C{None}."""
        check_keys((key,))

        async def work() -> bytes | None:
            for newer in (self._behind, self._moving):
                if key in newer:
                    return newer[key]
            return await self._facts.get(key)

        return self._enqueue(Read(work))

    def scan(self, prefix: str) -> Deferred[list[tuple[str, bytes]]]:
        """All pairs whose key starts with C{prefix}, by the code points of the keys."""
        check_keys((prefix,))

        async def work() -> list[tuple[str, bytes]]:
            # No commit is journalled during a read, and what is moved meanwhile does not change its value.
            newer = {key: value for key, value in {**self._moving, **self._behind}.items() if key.startswith(prefix)}
            found = {**await self._facts.scan(prefix), **newer}
            return sorted((key, value) for key, value in found.items() if value is not None)

        return self._enqueue(Read(work))

    def commit(self, puts: Mapping[str, bytes], deletes: Collection[str] = ()) -> Deferred[None]:
        """
        Write all of these or none, after every commit called before it; a key in both is put.

        @return: fails with C{KAFKA_STORAGE_ERROR}; whether it was written then is known once the store was opened
            again, and until then it is taken for not written, unless it was of one key.
        @raise ValueError: a value is larger than 1 MiB.
        """
        check_puts(puts)
        check_keys(deletes)
        changes: _Changes = dict.fromkeys(deletes)
        changes.update((key, bytes(value)) for key, value in puts.items())
        size = sum(len(key) + len(value or b"") for key, value in changes.items())
        if self._queue.is_full(size):
            return fail(_error("too many calls wait for the filer"))
        return self._enqueue(Commit(changes, size))

    def drained(self) -> Deferred[None]:
        """
        Wait until all that was committed before is in its place, where every store finds it.

        @return: fails with C{KAFKA_STORAGE_ERROR} where that is not known: the filer has to be asked once more.
        """

        async def work() -> int:
            await self._settling.run(self._settle)
            return self._next

        return self._enqueue(Read(work)).addCallback(self._placed.reached)

    def journals(self) -> Deferred[list[str]]:
        """The names of all journals that are there: of stores that are open, and of some that are no more."""
        return Deferred.fromCoroutine(self._journals.names())

    def replay(self, journal: str) -> Deferred[None]:
        """
        Put in their places what a store left that is no more, and remove its journal; nothing happens where there is
        none.

        Until it fires nobody may take up the keys that store had in its hands, and when it fires no earlier call of
        it, anywhere, may be under way. What the dead store writes into its journal afterwards counts for nothing.

        @return: fails with C{KAFKA_STORAGE_ERROR}; to be called again then.
        """
        if journal == self._journal and self._opened:
            return fail(_error("the journal of a store that is open is not finished by others"))
        return Deferred.fromCoroutine(self._journals.finish(journal))

    # The queue.

    def _enqueue(self, call: Commit | Read) -> Deferred[Any]:
        if not self._accepting:
            return fail(_error("the state store is closed"))
        self._queue.add(call)
        if self._working is None:
            self._working = Deferred()
            Deferred.fromCoroutine(self._work()).addErrback(self._broken)
        return call.done

    async def _work(self) -> None:
        while self._queue:
            for reading in [Deferred.fromCoroutine(self._read(call)) for call in self._queue.reads()]:
                await reading
            group = self._queue.group()
            if group:
                await self._write(group)
        done, self._working = self._working, None
        if done is not None:
            done.callback(None)

    async def _read(self, call: Read) -> None:
        try:
            result = await call.work()
        except Exception:
            call.done.errback(Failure())
        else:
            call.done.callback(result)

    async def _write(self, group: list[Commit]) -> None:
        changes: _Changes = {}
        for commit in group:
            changes.update(commit.changes)
        try:
            if self._doubtful:
                await self._renew()
            if len(changes) == 1 and self._first == self._next:
                raise_any(await self._facts.write(changes))
            elif changes:
                await self._journalled(changes)
        except Exception:
            # Whoever called is told, of a bug as of a filer that does not answer.
            failure = Failure()
            for commit in group:
                commit.done.errback(failure)
        else:
            for commit in group:
                commit.done.callback(None)

    def _broken(self, failure: Failure) -> None:
        self.log.failure("the state store does no more work", failure)

    # The journal.

    async def _journalled(self, changes: _Changes) -> None:
        while self._crowded():
            try:
                if self._moves.locked:
                    # The next move takes over what is behind now, and makes room as it begins.
                    turn: Deferred[None] = Deferred()
                    self._turns.append(turn)
                    await turn
                else:
                    await self._moves.run(self._move)
            except KafkaError:
                # One fact that cannot be moved does not keep the others from making room.
                if self._crowded():
                    raise
        number = self._next
        try:
            await self._filer.put(self._path(), name_of(number), state_journal.encode(changes))
        except BaseException:
            self._doubtful = True
            raise
        self._next = number + 1
        self._behind.update(changes)
        self._behind_bytes += sum(len(value or b"") for value in changes.values())
        if self._catching_up is None:
            self._catching_up = Deferred()
            Deferred.fromCoroutine(self._catch_up()).addErrback(self._broken)

    def _crowded(self) -> bool:
        return (
            len(self._behind) > MAX_BEHIND_KEYS
            or self._behind_bytes > MAX_BEHIND_BYTES
            or self._next - self._first > MAX_BEHIND_ENTRIES
        )

    async def _renew(self) -> None:
        """Make a new folder, when everything that is in this one for sure is in its place."""
        while self._first < self._next:
            await self._moves.run(self._move)
        old = self._folder
        await self._begin()
        await self._journals.clear(self._journal, [name_of(old)])

    async def _begin(self) -> None:
        """Make a new folder, which thereby is in force."""
        self._newest += 1
        await self._journals.begin(self._journal, self._newest)
        self._folder = self._newest
        self._first = self._next = 1
        self._doubtful = False

    async def _settle(self) -> None:
        if self._doubtful:
            await self._renew()

    async def _catch_up(self) -> None:
        """Move facts from the journal to their places until all are there."""
        told = False
        delay_s = _RETRY_S
        try:
            while self._first < self._next:
                try:
                    await self._moves.run(self._move)
                    delay_s = _RETRY_S
                except KafkaError as error:
                    if self._closing is not None:
                        return
                    if not told:
                        self.log.warn("committed facts stay in the journal for now: {error}", error=error)
                        told = True
                    self._pause = deferLater(self._clock, delay_s)
                    await self._pause
                    delay_s = min(2 * delay_s, _MAX_RETRY_S)
            if told:
                self.log.info("all committed facts are in their places again")
        except CancelledError:
            # The store is being closed, and tries once more itself.
            return
        finally:
            self._pause = None
            done, self._catching_up = self._catching_up, None
            if done is not None:
                done.callback(None)

    async def _move(self) -> None:
        """Write what is journalled to its places, then forget the journal up to there."""
        self._moving, self._behind = self._behind, {}
        self._behind_bytes = 0
        end = self._next
        self._take_turns(None)
        try:
            await self._place(end)
        except BaseException:
            self._take_turns(Failure())
            raise

    async def _place(self, end: int) -> None:
        left: Collection[str] = self._moving
        try:
            errors = await self._facts.write(self._moving)
            left = errors
        finally:
            again = {key: self._moving[key] for key in left}
            self._behind = {**again, **self._behind}
            self._behind_bytes += sum(len(value or b"") for value in again.values())
            self._moving = {}
        raise_any(errors)
        written = [(self._path(), name_of(number)) for number in range(self._first, end)]
        if len(written) > 1:
            # From here on none of them counts any more, in whichever order they go.
            await self._filer.put(self._path(), "head", head(end - 1))
        await self._facts.remove(written)
        self._first = end
        self._placed.tell()

    def _take_turns(self, result: Failure | None) -> None:
        """Tell commits that wait for room that there may be some, or that there will be none."""
        turns, self._turns = self._turns, []
        for turn in turns:
            if result is None:
                turn.callback(None)
            else:
                turn.errback(result)

    def _path(self) -> str:
        return f"{self._journals.path(self._journal)}/{name_of(self._folder)}"

    # The beginning and the end.

    async def _open(self) -> None:
        try:
            self._behind = {}
            self._behind_bytes = 0
            if self._journal != OLD and OLD in await self._journals.names():
                await self._finish_old()
            folders = await self._journals.folders(self._journal)
            if folders:
                self._newest = max(self._newest, int(folders[-1]))
                await self._journals.replay(self._journal, folders[-1])
            await self._begin()
            await self._journals.clear(self._journal, folders)
        except BaseException:
            self._opened = False
            raise
        self._accepting = True

    async def _finish_old(self) -> None:
        async def work() -> None:
            await self._journals.finish(OLD)

        await (work() if self._alone is None else self._alone(work))

    async def _close(self) -> None:
        if self._working is not None:
            await self._working
        if self._pause is not None:
            self._pause.cancel()
        if self._catching_up is not None:
            await self._catching_up
        if self._first < self._next:
            try:
                await self._moves.run(self._move)
            except KafkaError as error:
                self.log.warn("committed facts stay in the journal until the next start: {error}", error=error)
        if self._journal != OLD and self._first == self._next:
            await self._journals.clear(self._journal, [name_of(self._folder)], whole=True)

    def _closed(self, result: object) -> None:
        self._opened = False
        closing, self._closing = self._closing, None
        self._placed.give_up(_error("the state store is closed"))
        if isinstance(result, Failure):
            self._broken(result)
        if closing is not None:
            closing.callback(None)


def _passed_on(result: None, answer: Deferred[None]) -> None:
    answer.callback(result)


def _error(what: str) -> KafkaError:
    return KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, what)
