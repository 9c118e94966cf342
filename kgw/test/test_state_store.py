"""The state stores: the contract for both, and what the one on disk does when the disk does not."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from kgw.engine.local.state_store import MAX_WAITING_BYTES, SqliteStateStore
from kgw.engine.memory_state import MemoryStateStore
from kgw.errors import ErrorCode
from kgw.interfaces import IStateStore
from kgw.test.builders import ThreadQueue
from kgw.test.contracts import StateStoreContract

T = TypeVar("T")


class MemoryStateStoreTests(StateStoreContract, SynchronousTestCase):
    """The contract."""

    _made: MemoryStateStore | None = None

    def make_store(self) -> IStateStore:
        """The same store each time: it is its own place."""
        if self._made is None:
            self._made = MemoryStateStore()
        return self._made


class _Sqlite:
    threads: ThreadQueue
    path: str

    def wait(self, deferred: Deferred[T]) -> T:
        """Let the store's thread deliver what it has done."""
        return self.threads.wait(deferred)

    def make_store(self) -> IStateStore:
        """A store on this test's file."""
        return self.on_disk()

    def on_disk(self, full: bool = False) -> SqliteStateStore:
        """A store on this test's file that waits for a lock for a moment only."""
        return SqliteStateStore(self.path, self.threads, full, busy_timeout_s=0.05)


class SqliteStateStoreTests(_Sqlite, StateStoreContract, SynchronousTestCase):
    """The contract, and SQLite's own troubles."""

    def setUp(self) -> None:
        """Open a store in a folder of its own."""
        self.threads = ThreadQueue()
        folder = self.mktemp()
        os.makedirs(folder)
        self.path = os.path.join(folder, "state.db")
        super().setUp()

    def test_nothing_is_left_running_or_lying_about(self) -> None:
        self.commit({"a": b"1"})
        self.wait(self.store.close())
        self.assertEqual([one for one in threading.enumerate() if self.path in one.name], [])
        self.assertEqual(os.listdir(os.path.dirname(self.path)), ["state.db"])

    def test_full_sync(self) -> None:
        self.wait(self.store.close())
        self.store = self.on_disk(full=True)
        self.wait(self.store.open())
        self.commit({"a": b"1"})
        self.assertEqual(self.wait(self.store.get("a")), b"1")

    def test_opening_twice(self) -> None:
        self.assertEqual(self.refusal(self.store.open), ErrorCode.KAFKA_STORAGE_ERROR)
        self.commit({"a": b"1"})

    def test_closing_and_opening_the_same_store(self) -> None:
        self.commit({"a": b"1"})
        self.wait(self.store.close())
        self.wait(self.store.open())
        self.assertEqual(self.wait(self.store.get("a")), b"1")

    def test_a_locked_file_fails_all_that_wait_and_heals(self) -> None:
        other = sqlite3.connect(self.path, isolation_level=None)
        self.addCleanup(other.close)
        other.execute("BEGIN IMMEDIATE")
        started = [self.store.commit({"a": b"1"}), self.store.commit({"b": b"2"})]
        for one in started:
            self.assertEqual(self.refusal(lambda one=one: one), ErrorCode.KAFKA_STORAGE_ERROR)
        self.assertEqual(self.keys(""), [])
        other.execute("ROLLBACK")
        self.commit({"c": b"3"})
        self.assertEqual(self.keys(""), ["c"])

    def test_commits_that_wait_share_a_transaction(self) -> None:
        self.wait(self.store.close())
        self.store = SqliteStateStore(self.path, self.threads)
        self.wait(self.store.open())
        other = sqlite3.connect(self.path, isolation_level=None)
        self.addCleanup(other.close)
        other.execute("BEGIN IMMEDIATE")
        started = [self.store.commit({f"{n:03}": b""}) for n in range(500)]
        before = self.threads.delivered
        other.execute("ROLLBACK")
        for one in started:
            self.wait(one)
        # One for what the thread had taken when the file was locked, one for all the rest.
        self.assertLessEqual(self.threads.delivered - before, 2)
        self.assertEqual(len(self.keys("")), 500)

    def test_too_much_that_waits_is_refused(self) -> None:
        value = bytes(1 << 20)
        other = sqlite3.connect(self.path, isolation_level=None)
        self.addCleanup(other.close)
        other.execute("BEGIN IMMEDIATE")
        started = [self.store.commit({"a": value}) for _ in range(MAX_WAITING_BYTES // len(value) + 3)]
        refused = [self.refusal(lambda one=one: one) for one in started]
        self.assertEqual(set(refused), {ErrorCode.KAFKA_STORAGE_ERROR})
        other.execute("ROLLBACK")
        self.commit({"a": value})

    def test_a_file_that_is_no_database(self) -> None:
        self.wait(self.store.close())
        with open(self.path, "wb") as file:
            file.write(b"this is no database, it is a letter to my aunt\n" * 100)
        self.store = self.make_store()
        error = self.error(self.store.open)
        self.assertIn(self.path, str(error))
        self.assertIn("not a database", str(error))
        self.assertEqual(self.refusal(self.store.get, "a"), ErrorCode.KAFKA_STORAGE_ERROR)

    def test_a_folder_that_is_not_there(self) -> None:
        self.path = os.path.join(self.mktemp(), "nowhere", "state.db")
        store = self.make_store()
        self.assertEqual(self.refusal(store.open), ErrorCode.KAFKA_STORAGE_ERROR)
        os.makedirs(os.path.dirname(self.path))
        self.wait(store.open())
        self.wait(store.close())

    def test_a_file_of_a_newer_version(self) -> None:
        self.wait(self.store.close())
        with sqlite3.connect(self.path) as other:
            other.execute("PRAGMA user_version = 99")
        other.close()
        self.store = self.make_store()
        self.assertIn("format 99", str(self.error(self.store.open)))


#: Commits until it is refused or done, prints what it was told is durable, and is killed.
_WRITER = """
import os, resource, signal, sys
from kgw.engine.local.state_store import SqliteStateStore
from kgw.errors import KafkaError
from kgw.test.builders import ThreadQueue

def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

threads = ThreadQueue()
store = SqliteStateStore(sys.argv[1], threads)
threads.wait(store.open())
limit(int(sys.argv[2]))
for n in range(100):
    try:
        threads.wait(store.commit({f"{n:03}": bytes(10_000)}))
    except KafkaError as error:
        print(error, file=sys.stderr)
        limit(resource.RLIM_INFINITY)
        threads.wait(store.commit({"healed": b""}))
        print("healed")
        break
    print(f"{n:03}")
sys.stdout.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""


class SqliteCrashTests(SynchronousTestCase):
    """What another process leaves behind that was killed while it had the store open."""

    def left_by(self, file_size: int) -> tuple[list[str], list[str], str]:
        """The keys it was told are durable, those that are there, and its complaints."""
        folder = self.mktemp()
        os.makedirs(folder)
        path = os.path.join(folder, "state.db")
        ended = subprocess.run(
            [sys.executable, "-c", _WRITER, path, str(file_size)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        self.assertEqual(ended.returncode, -signal.SIGKILL, ended.stderr)
        threads = ThreadQueue()
        store = SqliteStateStore(path, threads)
        threads.wait(store.open())
        self.addCleanup(lambda: threads.wait(store.close()))
        return ended.stdout.split(), [key for key, _ in threads.wait(store.scan(""))], ended.stderr

    def test_what_fired_survives(self) -> None:
        told, there, complaints = self.left_by(file_size=resource.RLIM_INFINITY)
        self.assertEqual((len(told), complaints), (100, ""))
        self.assertEqual(there, told)

    def test_a_full_disk_is_an_error_and_heals(self) -> None:
        told, there, complaints = self.left_by(file_size=300_000)
        self.assertIn("KAFKA_STORAGE_ERROR", complaints)
        self.assertEqual(told[-1:], ["healed"])
        self.assertGreater(len(told), 5)
        self.assertEqual(there, told)
