"""State stores of several gateways: incarnations that come and go, and what is changed in turns."""

from __future__ import annotations

from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kgw.engine.seaweed.calls import Calls
from kgw.engine.seaweed.filer_state import ROOT, FilerStateStore
from kgw.engine.seaweed.locks import FilerLocks, Sections
from kgw.engine.seaweed.shared_state import SharedStateStore
from kgw.errors import ErrorCode, KafkaError
from kgw.interfaces import IStateStore
from kgw.test.contracts import StateStoreContract
from kgw.test.contracts.cases import WaitingCase
from kgw.test.seaweed_fakes import FakeFiler, FakeLocks, Tree

A, B, C = "a" * 32, "b" * 32, "c" * 32
OWN = ("groups/", "seaweed/partitions/")


def shared(tree: Tree, locks: FakeLocks, filer: FakeFiler | None = None, may_write: Any = None) -> SharedStateStore:
    """A gateway's store."""
    sections = Sections(FilerLocks(cast(Calls, locks), lambda: "one:18888"), locks.clock, "me", locks.clock.seconds)
    return SharedStateStore(filer or FakeFiler(tree), Clock(), sections, may_write or (lambda: True), OWN)


class Entered(SharedStateStore):
    """One that is a gateway's as soon as it is open, for the contract of any store."""

    def open(self) -> Any:
        """Open and enter."""
        return super().open().addCallback(lambda _: self.enter(A))


class SharedContractTests(StateStoreContract, SynchronousTestCase):
    """The contract, while it is entered; keys of both kinds."""

    def setUp(self) -> None:
        self.tree = Tree()
        self.locks = FakeLocks(Clock())
        super().setUp()

    def make_store(self) -> IStateStore:
        """A store on this test's tree."""
        sections = Sections(FilerLocks(cast(Calls, self.locks), lambda: "one:18888"), self.locks.clock, "me")
        return Entered(FakeFiler(self.tree), Clock(), sections, lambda: True, ("a", "k", "t"))


class SharedStateTests(WaitingCase, SynchronousTestCase):
    """Two gateways."""

    def setUp(self) -> None:
        self.tree = Tree()
        self.locks = FakeLocks(Clock())
        self.filer = FakeFiler(self.tree)
        self.allowed = True
        self.a = self.opened(A, self.filer)
        self.b = self.opened(B)

    def opened(self, journal: str, filer: FakeFiler | None = None) -> SharedStateStore:
        """One that has entered."""
        store = shared(self.tree, self.locks, filer, lambda: self.allowed)
        self.wait(store.open())
        self.wait(store.enter(journal))
        return store

    def test_commits_only_between_entering_and_leaving(self) -> None:
        store = shared(self.tree, self.locks)
        self.wait(store.open())
        self.assertEqual(self.refusal(store.commit, {"groups/x": b"1"}), ErrorCode.KAFKA_STORAGE_ERROR)
        self.assertEqual(self.wait(store.scan("")), [])
        self.wait(store.enter(C))
        self.wait(store.commit({"groups/x": b"1", "groups/y": b"1"}))
        self.wait(store.leave())
        self.wait(store.leave())
        self.assertEqual(self.refusal(store.commit, {"topics/x": b"1"}), ErrorCode.KAFKA_STORAGE_ERROR)
        self.assertEqual(self.wait(store.get("groups/x")), b"1")
        self.assertEqual(self.wait(store.journals()), [A, B])

    def test_another_incarnation(self) -> None:
        """After it was fenced: what it had journalled is replayed by whoever controls, it writes under a new name."""
        self.filer.refused.add(f"{ROOT}/groups/=x")
        self.wait(self.a.commit({"groups/x": b"1", "groups/y": b"1"}))
        self.allowed = False
        self.assertEqual(self.refusal(self.a.commit, {"groups/y": b"2"}), ErrorCode.KAFKA_STORAGE_ERROR)
        self.wait(self.a.close())
        self.assertEqual(self.refusal(self.a.get, "groups/x"), ErrorCode.KAFKA_STORAGE_ERROR)
        self.allowed = True
        self.filer.refused.clear()
        self.assertIs(self.wait(self.b.get("groups/x")), None)
        self.wait(self.b.replay(A))
        self.wait(self.b.replay(A))
        self.wait(self.a.enter(C))
        self.assertEqual(self.wait(self.a.scan("groups/")), [("groups/x", b"1"), ("groups/y", b"1")])
        self.wait(self.a.commit({"groups/y": b"3"}))
        self.assertEqual(self.wait(self.a.journals()), [B, C])

    def test_what_is_changed_in_turns(self) -> None:
        self.wait(self.a.recover())
        self.wait(self.a.commit({"topics/x": b"1", "layout/x": b"1"}))
        self.assertEqual(self.wait(self.a.get("topics/x")), b"1")
        self.wait(self.a.commit({"groups/x": b"1", "groups/y": b"1"}))
        both = [("groups/x", b"1"), ("groups/y", b"1"), ("layout/x", b"1"), ("topics/x", b"1")]
        self.assertEqual(self.wait(self.a.scan("")), both)
        self.wait(self.a.drained())
        self.wait(self.b.recover())
        self.assertEqual(self.wait(self.b.scan("")), both)
        self.wait(self.b.commit({"topics/x": b"2", "layout/x": b"2"}))
        self.wait(self.b.drained())
        self.assertEqual(self.wait(self.a.get("topics/x")), b"2")
        self.assertEqual(self.wait(self.a.journals()), [A, B])

    def test_one_that_dies_in_its_turn(self) -> None:
        """The next turn begins with what that one had promised, and nothing of it comes back afterwards."""
        self.filer.refused.add(f"{ROOT}/topics/=x")
        self.wait(self.a.commit({"groups/x": b"1", "groups/y": b"1"}))
        self.wait(self.a.commit({"topics/x": b"1", "layout/x": b"1"}))
        self.wait(self.b.recover())
        self.assertEqual(self.wait(self.b.get("topics/x")), b"1")
        self.wait(self.b.commit({"topics/x": b"2"}))
        self.wait(self.b.drained())
        self.wait(self.b.replay(A))
        self.assertEqual(self.wait(self.b.get("topics/x")), b"2")
        self.wait(self.b.recover())
        self.assertEqual(self.wait(self.b.get("topics/x")), b"2")

    def test_the_journal_of_an_earlier_version(self) -> None:
        filer = FakeFiler(tree := Tree())
        old = FilerStateStore(filer, Clock())
        self.wait(old.open())
        filer.refused.add(f"{ROOT}/topics/=x")
        self.wait(old.commit({"topics/x": b"1", "groups/y": b"1"}))
        store = shared(tree, self.locks)
        self.wait(store.open())
        self.assertEqual(self.wait(store.get("topics/x")), b"1")
        self.assertEqual(self.wait(store.journals()), [])

    @settings(deadline=None, max_examples=150)
    @given(writes=st.integers(0, 14), counts=st.booleans(), again=st.integers(0, 14), size=st.integers(1, 3))
    def test_a_turn_is_cut_off_anywhere(self, writes: int, counts: bool, again: int, size: int) -> None:
        """Its changes are there whole or not at all, and what comes after them stays."""
        self.setUp()
        old = {f"topics/{n}": b"old" for n in range(size)}
        new = {f"topics/{n}": b"new" for n in range(size)}
        self.wait(self.b.commit(old))
        self.wait(self.b.drained())
        self.filer.writes_left, self.filer.last_write_counts = writes, counts
        done: list[bool] = []
        self.a.commit(new).addCallbacks(lambda _: done.append(True), lambda failure: failure.trap(KafkaError))
        broken = FakeFiler(self.tree)
        broken.writes_left, broken.last_write_counts = again, counts
        sections: Any = None
        other = SharedStateStore(broken, Clock(), sections, lambda: True, OWN)
        other.recover().addErrback(lambda failure: failure.trap(KafkaError))
        self.wait(self.b.recover())
        found = dict(self.wait(self.b.scan("topics/")) or ())
        self.assertIn(found, [new] if done else [old, new])
        self.wait(self.b.commit({"topics/0": b"newer"}))
        self.wait(self.b.drained())
        for store in (self.b, other):
            broken.restore()
            self.wait(store.recover())
        self.assertEqual(self.wait(self.b.get("topics/0")), b"newer")


class LeavingTests(WaitingCase, SynchronousTestCase):
    """A gateway that may not write any more, with something that is not in its place yet."""

    def setUp(self) -> None:
        self.tree = Tree()
        self.filer = FakeFiler(self.tree)
        self.allowed = True
        self.store = shared(self.tree, FakeLocks(Clock()), self.filer, lambda: self.allowed)
        self.wait(self.store.open())
        self.wait(self.store.enter(A))

    def undrained(self, key: str, other: str) -> Any:
        """Somebody who waits until these are in their places, which they will not be."""
        self.filer.refused.add(f"{ROOT}/{key.replace('/', '/=')}")
        self.wait(self.store.commit({key: b"1", other: b"1"}))
        draining = self.store.drained()
        self.assertNoResult(draining)
        return draining

    def test_left_while_somebody_waits(self) -> None:
        """Leaving does not wait for what waits for ever, which fails; another incarnation may enter then."""
        for key, other, journal in (("groups/x", "groups/y", B), ("topics/x", "topics/y", C)):
            draining = self.undrained(key, other)
            self.allowed = False
            self.wait(self.store.leave())
            self.failureResultOf(draining, KafkaError)
            self.allowed = True
            self.filer.refused.clear()
            self.wait(self.store.enter(journal))
            self.wait(self.store.commit({"groups/z": b"1"}))

    def test_the_turn_is_over(self) -> None:
        """What was not put in its place in a turn is done by whoever has the next one, not by this gateway later."""
        draining = self.undrained("topics/x", "topics/y")
        draining.addErrback(lambda _: None)
        self.allowed = False
        draining.cancel()
        self.wait(self.store.turn_over())
        self.allowed = True
        self.filer.refused.clear()
        self.assertIs(self.wait(self.store.get("topics/x")), None)
        self.wait(self.store.recover())
        self.assertEqual(self.wait(self.store.get("topics/x")), b"1")
