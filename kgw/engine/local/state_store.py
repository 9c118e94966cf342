"""Small facts in one SQLite file, written by a thread of its own that commits in groups."""

from __future__ import annotations

import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from itertools import groupby
from os import PathLike, fspath
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure
from zope.interface import implementer

from kgw.engine.state_limits import check_keys, check_puts
from kgw.errors import ErrorCode, KafkaError
from kgw.interfaces import IStateStore

T = TypeVar("T")

#: How much may wait for the writer thread before more is refused: calls, and bytes of their values.
MAX_WAITING_CALLS = 10_000
MAX_WAITING_BYTES = 64 << 20
#: How many commits share one transaction at most, so that the first of them does not wait for ever.
MAX_GROUP = 1000

#: The version of our tables, kept as SQLite's C{user_version}; 0 is a new file.
_FORMAT = 1
_WAL_BYTES = 4 << 20
_LAST_CODE_POINT = 0x10FFFF


class _Call:
    """One call on its way through the thread: what to do, and the Deferred that waits for it."""

    __slots__ = ("deferred", "size", "work", "writes")

    def __init__(self, work: Callable[[sqlite3.Connection], object], size: int, writes: bool) -> None:
        self.work = work
        self.size = size
        self.writes = writes
        # Without a canceller: who cancels stops waiting, but what was called is still done.
        self.deferred: Deferred[Any] = Deferred()


@implementer(IStateStore)
class SqliteStateStore:
    """
    A state store in a SQLite database (WAL).

    Calls go through one queue to one thread, so each sees what was called before it. All commits that wait when the
    thread gets to them go into one transaction. If it fails all of them fail with C{KAFKA_STORAGE_ERROR}; the file is
    opened anew for the calls behind them, so a later one may succeed.

    What has fired survives the end of the process, and with C{full} the end of the machine too.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        reactor: IReactorFromThreads,
        full: bool = False,
        busy_timeout_s: float = 5.0,
    ) -> None:
        """
        @param path: of the database file, in a folder that exists; SQLite puts two more files beside it.
        @param reactor: delivers the results, on its own thread.
        @param full: sync the disk on every commit (C{synchronous=FULL} instead of C{NORMAL}).
        @param busy_timeout_s: how long to wait, in the thread, for another process that has the file locked.
        """
        self.path = fspath(path)
        self._reactor = reactor
        self._full = full
        self._busy_timeout_s = busy_timeout_s
        self._thread: threading.Thread | None = None
        self._accepting = False
        self._closed: Deferred[None] = Deferred()
        # The rest is shared with the thread, under _wake.
        self._wake = threading.Condition()
        self._queue: deque[_Call] = deque()
        self._waiting_bytes = 0
        self._ending = False

    def open(self) -> Deferred[None]:
        """
        Open the file, making it where it is not there yet.

        @return: fails with C{KAFKA_STORAGE_ERROR} where it cannot be opened or is no database of ours.
        """
        if self._thread is not None:
            return fail(self._error("it is open already, or just being closed"))
        self._ending = False
        self._accepting = True
        self._thread = threading.Thread(target=self._run, name=f"state store {self.path}", daemon=True)
        self._thread.start()

        def failed(failure: Failure) -> Deferred[None]:
            return self.close().addCallback(lambda _: failure)

        return self._call(_nothing).addErrback(failed)

    def close(self) -> Deferred[None]:
        """Finish all calls made before, then let go of the file; later calls fail."""
        if not self._accepting:
            return succeed(None)
        self._accepting = False
        self._closed = Deferred()
        with self._wake:
            self._ending = True
            self._wake.notify()
        return self._closed

    def get(self, key: str) -> Deferred[bytes | None]:
        """The value last committed, or C{None}."""
        check_keys((key,))

        def work(connection: sqlite3.Connection) -> bytes | None:
            row = connection.execute("SELECT value FROM facts WHERE key = ?", (key,)).fetchone()
            return None if row is None else row[0]

        return self._call(work)

    def scan(self, prefix: str) -> Deferred[list[tuple[str, bytes]]]:
        """All pairs whose key starts with C{prefix}, by the code points of the keys."""
        check_keys((prefix,))
        end = _successor(prefix)

        def work(connection: sqlite3.Connection) -> list[tuple[str, bytes]]:
            return connection.execute(
                "SELECT key, value FROM facts WHERE key >= :prefix AND (:end IS NULL OR key < :end) ORDER BY key",
                {"prefix": prefix, "end": end},
            ).fetchall()

        return self._call(work)

    def commit(self, puts: Mapping[str, bytes], deletes: Collection[str] = ()) -> Deferred[None]:
        """
        Write all of these or none, after every commit called before it; a key in both is put.

        @raise ValueError: a value is larger than 1 MiB.
        """
        check_puts(puts)
        check_keys(deletes)
        rows = [(key, bytes(value)) for key, value in puts.items()]
        keys = [(key,) for key in deletes]

        def work(connection: sqlite3.Connection) -> None:
            connection.executemany("DELETE FROM facts WHERE key = ?", keys)
            connection.executemany("INSERT OR REPLACE INTO facts (key, value) VALUES (?, ?)", rows)

        return self._call(work, sum(len(value) for _, value in rows), writes=True)

    def _error(self, what: object) -> KafkaError:
        return KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, f"state store {self.path}: {what}")

    def _call(self, work: Callable[[sqlite3.Connection], T], size: int = 0, writes: bool = False) -> Deferred[T]:
        if not self._accepting:
            return fail(self._error("it is closed"))
        call = _Call(work, size, writes)
        with self._wake:
            crowded = self._waiting_bytes + size > MAX_WAITING_BYTES or len(self._queue) >= MAX_WAITING_CALLS
            if crowded and self._queue:
                return fail(self._error("too many calls wait for the disk"))
            self._queue.append(call)
            self._waiting_bytes += size
            self._wake.notify()
        return call.deferred

    def _deliver(self, done: list[tuple[_Call, object]]) -> None:
        for call, result in done:
            if isinstance(result, Exception):
                call.deferred.errback(result)
            else:
                call.deferred.callback(result)

    def _ended(self) -> None:
        # The thread's last act was to call this, so joining it takes no time.
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()
        self._closed.callback(None)

    # What follows runs on the thread.

    def _run(self) -> None:
        connection: sqlite3.Connection | None = None
        while calls := self._taken():
            done: list[tuple[_Call, object]] = []
            for writes, group in groupby(calls, key=_writes):
                # Reads are no part of a transaction: they must not see what may yet be rolled back.
                for together in [list(group)] if writes else [[call] for call in group]:
                    try:
                        if connection is None:
                            connection = self._connected()
                        done += zip(together, _performed(connection, together, writes), strict=True)
                    except Exception as error:
                        _discard(connection)
                        connection = None
                        reason = self._error(error) if isinstance(error, sqlite3.Error) else error
                        done += ((call, reason) for call in together)
            self._reactor.callFromThread(self._deliver, done)
        _discard(connection)
        self._reactor.callFromThread(self._ended)

    def _taken(self) -> list[_Call]:
        """Wait for calls and take them; none are left when it returns none."""
        with self._wake:
            while not self._queue and not self._ending:
                self._wake.wait()
            calls = [self._queue.popleft() for _ in range(min(len(self._queue), MAX_GROUP))]
            self._waiting_bytes -= sum(call.size for call in calls)
            return calls

    def _connected(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=self._busy_timeout_s, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA synchronous = {'FULL' if self._full else 'NORMAL'}")
            connection.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES}")
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version > _FORMAT:
                raise self._error(f"it has format {version}, this version of kgw knows {_FORMAT}; use a newer one")
            if version < _FORMAT:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("CREATE TABLE facts (key TEXT PRIMARY KEY NOT NULL, value BLOB NOT NULL)")
                connection.execute(f"PRAGMA user_version = {_FORMAT}")
                connection.execute("COMMIT")
        except BaseException:
            _discard(connection)
            raise
        return connection


def _writes(call: _Call) -> bool:
    return call.writes


def _nothing(_: sqlite3.Connection) -> None:
    """Opening the file is all there is to do."""


def _performed(connection: sqlite3.Connection, calls: list[_Call], writes: bool) -> list[object]:
    """Their results; with C{writes}, all of them are one transaction."""
    if not writes:
        return [call.work(connection) for call in calls]
    connection.execute("BEGIN IMMEDIATE")
    results = [call.work(connection) for call in calls]
    connection.execute("COMMIT")
    return results


def _discard(connection: sqlite3.Connection | None) -> None:
    """Close, which rolls back what is open. On a failing disk that may fail too, and there is nothing to add then."""
    if connection is not None:
        with suppress(sqlite3.Error):
            connection.close()


def _successor(prefix: str) -> str | None:
    """The first key behind all that start with C{prefix}; C{None} where there is none."""
    kept = prefix.rstrip(chr(_LAST_CODE_POINT))
    if not kept:
        return None
    last = ord(kept[-1]) + 1
    # Surrogates are no characters, UTF-8 cannot spell them.
    return kept[:-1] + chr(0xE000 if last == 0xD800 else last)
