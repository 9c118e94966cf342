"""Where gateways meet in the filer: the contract, on a filer in memory and on a real one."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar, cast

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kgw.brokers.interfaces import IMeetingPlace
from kgw.engine.seaweed.calls import Calls
from kgw.engine.seaweed.connections import Connections
from kgw.engine.seaweed.folder_watch import FolderListener, FolderWatch
from kgw.engine.seaweed.h2.client import connect
from kgw.engine.seaweed.locks import FilerLocks
from kgw.engine.seaweed.meeting_place import ROOT, FilerMeetingPlace
from kgw.errors import ErrorCode
from kgw.test.contracts.meeting_place import MeetingPlaceContract, assignment
from kgw.test.seaweed_fakes import FakeFiler, FakeLocks, Tree
from kgw.test.seaweed_stage import reactor, shared_links, spin, turn

T = TypeVar("T")


class TellingTree(Tree):
    """Says when it changes."""

    def __init__(self) -> None:
        super().__init__()
        self.listeners: list[Callable[[str, bytes | None], None]] = []

    def put(self, path: str, content: bytes) -> None:
        """Write a file."""
        super().put(path, content)
        self._tell(path, content)

    def delete(self, path: str, recursive: bool) -> None:
        """Remove a file."""
        super().delete(path, recursive)
        self._tell(path, None)

    def _tell(self, path: str, content: bytes | None) -> None:
        for listener in self.listeners:
            listener(path, content)


class TreeWatch:
    """Word of changes in a L{TellingTree}."""

    def __init__(self, tree: TellingTree, listener: FolderListener) -> None:
        self._tree = tree
        self._listener = listener

    def start(self) -> None:
        """Begin to tell."""
        self._tree.listeners.append(self._tell)

    def stop(self) -> None:
        """Tell nothing more."""
        self._tree.listeners.remove(self._tell)

    def _tell(self, path: str, content: bytes | None) -> None:
        directory, _, name = path.rpartition("/")
        self._listener.changed(directory, name, content)


class FakeFilerMeetingPlaceTests(MeetingPlaceContract, SynchronousTestCase):
    """On a filer in memory."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.tree = TellingTree()
        self.locks = FakeLocks(self.clock)
        super().setUp()

    def make_place(self) -> IMeetingPlace:
        """A way to this test's folder."""
        return FilerMeetingPlace(
            FakeFiler(self.tree),
            FilerLocks(cast(Calls, self.locks), lambda: "one:18888"),
            lambda folder, listener: TreeWatch(self.tree, listener),
            self.clock,
        )

    def pass_time(self, seconds: float) -> None:
        """Let the locks' clock go on."""
        self.clock.advance(seconds)

    def let_happen(self, listener: list[int]) -> None:
        """At once."""
        self.assertEqual(listener, [])
        self.clock.advance(0)
        self.assertEqual(listener, [1])

    def test_what_cannot_be_understood(self) -> None:
        for path in ("nodes/1", "assignments/x", f"assignments/{assignment(1).version.name}"):
            self.tree.put(f"{ROOT}/{path}", b"{}")
            self.assertEqual(self.refusal(self.place.read), ErrorCode.KAFKA_STORAGE_ERROR)
            self.tree.delete(f"{ROOT}/{path}", False)
        self.wait(self.place.read())

    def test_an_assignment_is_decoded_once(self) -> None:
        """It is read with every heartbeat of every gateway, and may have tens of thousands of partitions."""
        self.wait(self.place.publish(assignment(1)))
        first = self.wait(self.place.read()).assignment
        self.assertIs(self.wait(self.place.read()).assignment, first)
        self.wait(self.place.publish(assignment(2)))
        self.assertEqual(self.wait(self.place.read()).assignment, assignment(2))
        self.wait(self.place.withdraw(assignment(2).version))
        self.assertEqual(self.wait(self.place.read()).assignment, first)

    def test_nothing_is_told_once_it_is_not_wanted(self) -> None:
        told: list[int] = []

        def listener() -> None:
            told.append(1)

        self.place.watch(listener)
        self.wait(self.other.publish(assignment(1)))
        self.place.unwatch(listener)
        self.clock.advance(1)
        self.assertEqual((told, self.tree.listeners), ([], []))


class RealMeetingPlaceTests(MeetingPlaceContract, SynchronousTestCase):
    """On a filer of SeaweedFS."""

    def setUp(self) -> None:
        self.links = shared_links()
        self.links.use()
        self.connections = Connections(lambda address: connect(reactor, address))
        self.watches: list[FolderWatch] = []
        self.root = f"/topics/kafka/.meta/kgw-test/{self.id()}-{time.time_ns()}"
        super().setUp()

    def tearDown(self) -> None:
        """Let go of the filer."""
        for watch in self.watches:
            watch.stop()
        spin(self.connections.stop())
        self.links.leave()

    def make_place(self) -> IMeetingPlace:
        """A way to this test's folder, with locks that no other test has."""
        locks = FilerLocks(self.links.calls, self.links.discovery.filer_address, self.root)
        return FilerMeetingPlace(self.links.filer, locks, self.watching, reactor, self.root)

    def watching(self, folder: str, listener: FolderListener) -> FolderWatch:
        """Word of changes."""
        watch = FolderWatch(self.connections, self.links.discovery.filer_address, reactor, folder, listener)
        self.watches.append(watch)
        return watch

    def wait(self, deferred: Deferred[T]) -> T:
        """The result, while the reactor turns."""
        return spin(deferred)

    def pass_time(self, seconds: float) -> None:
        """It is the filer's clock that counts."""
        turn(seconds)

    def let_happen(self, listener: list[int]) -> None:
        """Soon."""
        deadline = time.monotonic() + 10
        while not listener:
            self.assertLess(time.monotonic(), deadline)
            turn(0.02)
