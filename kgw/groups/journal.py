"""Writes of all groups on their way to the state store: what comes while one commit is under way shares the next."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from kgw.errors import ErrorCode, KafkaError
from kgw.interfaces import IStateStore

log = Logger("kgw.group")

#: Facts in one commit, but for a single write that has more.
MOST_FACTS = 10_000
#: Bytes of keys and values in one commit, but for a single write that has more.
MOST_BYTES = 4 << 20

#: Called when a write is durable, with C{None}, or when it failed, with what to tell the client.
Done = Callable[[KafkaError | None], None]


class _Batch:
    """What goes into one commit."""

    __slots__ = ("deletes", "done", "puts", "size")

    def __init__(self) -> None:
        self.puts: dict[str, bytes] = {}
        self.deletes: set[str] = set()
        self.done: list[Done] = []
        self.size = 0

    @property
    def is_full(self) -> bool:
        """Whether the next write goes into another one."""
        return len(self.puts) + len(self.deletes) >= MOST_FACTS or self.size >= MOST_BYTES


class GroupJournal:
    """
    The way of groups to the state store.

    Writes become durable in the order of the calls, each whole or not at all. One commit is under way at a time;
    where it fails, all that share it fail, and those behind it are tried on their own.
    """

    def __init__(self, store: IStateStore) -> None:
        """
        @param store: open, for as long as there are writes.
        """
        self._store = store
        self._waiting: deque[_Batch] = deque()
        self._committing = False
        self._when_idle: list[Deferred[None]] = []

    def write(self, puts: Mapping[str, bytes], deletes: Iterable[str], done: Done) -> None:
        """
        Write all of these or none, after everything written before; a key in both is put.

        @param done: called once, maybe before this returns.
        """
        waiting = self._waiting
        if not waiting or waiting[-1].is_full:
            waiting.append(_Batch())
        batch = waiting[-1]
        for key in deletes:
            batch.puts.pop(key, None)
            batch.deletes.add(key)
        # a key that was deleted in this batch before is put now: puts win within a commit
        batch.puts.update(puts)
        batch.size += sum(len(key) + len(value) for key, value in puts.items())
        batch.done.append(done)
        if not self._committing:
            self._commit_waiting()

    def idle(self) -> Deferred[None]:
        """Fires when nothing is under way and nothing waits."""
        if not self._committing:
            return succeed(None)
        waiter: Deferred[None] = Deferred()
        self._when_idle.append(waiter)
        return waiter

    def _commit_waiting(self) -> None:
        self._committing = True
        while self._waiting:
            batch = self._waiting.popleft()
            commit = maybeDeferred(self._store.commit, batch.puts, batch.deletes)
            if not commit.called:
                commit.addBoth(self._later, batch)
                return
            commit.addBoth(self._finish, batch)
        self._committing = False
        waiters, self._when_idle = self._when_idle, []
        for waiter in waiters:
            waiter.callback(None)

    def _later(self, result: Failure | None, batch: _Batch) -> None:
        self._finish(result, batch)
        self._commit_waiting()

    def _finish(self, result: Failure | None, batch: _Batch) -> None:
        failed = isinstance(result, Failure)
        if isinstance(result, Failure):
            if result.check(KafkaError):
                log.error("cannot store what groups committed: {error}", error=result.value)
            else:
                log.failure("storing what groups committed", failure=result)
        for done in batch.done:
            try:
                done(_not_stored() if failed else None)
            except Exception:
                # the others of this batch, and the batches behind it, must not suffer
                log.failure("after storing what a group committed")


def _not_stored() -> KafkaError:
    # what Kafka tells where it cannot write its offsets topic: clients come again
    return KafkaError(ErrorCode.COORDINATOR_NOT_AVAILABLE, "the state store does not take writes at the moment")
