"""Several state stores on one filer: journals of their own, what one leaves that dies, and what it may not write."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kgw.engine.seaweed import state_journal
from kgw.engine.seaweed.filer_state import ROOT, FilerStateStore
from kgw.errors import ErrorCode, KafkaError
from kgw.interfaces import IStateStore
from kgw.test.contracts import StateStoreContract
from kgw.test.contracts.cases import WaitingCase
from kgw.test.seaweed_fakes import FakeFiler, Tree

A, B = "a" * 32, "b" * 32
JOURNALS = f"{ROOT}/+journal"


class NamedJournalTests(StateStoreContract, SynchronousTestCase):
    """The contract, with a journal of its own."""

    def setUp(self) -> None:
        self.tree = Tree()
        super().setUp()

    def make_store(self) -> IStateStore:
        """A store on this test's tree."""
        return FilerStateStore(FakeFiler(self.tree), Clock(), journal=A)


class WritersTests(WaitingCase, SynchronousTestCase):
    """Two stores."""

    def setUp(self) -> None:
        self.tree = Tree()
        self.filer = FakeFiler(self.tree)
        self.a = self.opened(A, self.filer)

    def opened(self, journal: str, filer: FakeFiler | None = None, **options: Any) -> FilerStateStore:
        """A store with this journal."""
        store = FilerStateStore(filer or FakeFiler(self.tree), Clock(), journal=journal, **options)
        self.wait(store.open())
        return store

    def journalled(self) -> list[str]:
        """Who has a journal."""
        return self.wait(self.a.journals())

    def test_what_is_drained_is_seen_by_others(self) -> None:
        b = self.opened(B)
        self.filer.held = True
        committing = self.a.commit({"x": b"1", "y": b"1"})
        draining = self.a.drained()
        self.filer.step()
        self.wait(committing)
        self.assertNoResult(draining)
        self.assertEqual(self.wait(b.scan("")), [])
        self.filer.run()
        self.wait(draining)
        self.assertEqual(self.wait(b.scan("")), [("x", b"1"), ("y", b"1")])
        self.filer.held = False
        self.wait(b.commit({"x": b"2", "z": b"2"}))
        self.assertEqual(self.wait(self.a.scan("")), [("x", b"2"), ("y", b"1"), ("z", b"2")])

    def test_draining_does_not_wait_for_what_comes_after(self) -> None:
        self.filer.held = True
        first = self.a.commit({"x": b"1", "y": b"1"})
        self.filer.step()
        self.wait(first)
        draining = self.a.drained()
        # the journal takes another one while the places are written
        self.a.commit({"v": b"2", "w": b"2"})
        self.filer.step(-1)
        for _ in range(4):
            self.filer.step()
        self.wait(draining)
        self.filer.run()

    def test_draining_waits_for_a_filer_that_comes_back(self) -> None:
        clock = Clock()
        filer = FakeFiler(self.tree)
        store = FilerStateStore(filer, clock, journal=B)
        self.wait(store.open())
        filer.refused.add(f"{ROOT}/=x")
        self.wait(store.commit({"x": b"1", "y": b"1"}))
        draining = store.drained()
        clock.advance(3)
        self.assertNoResult(draining)
        filer.refused.clear()
        clock.advance(5)
        self.wait(draining)
        filer.refused.add(f"{ROOT}/=x")
        self.wait(store.commit({"x": b"2", "y": b"2"}))
        draining = store.drained()
        self.wait(store.close())
        self.assertEqual(self.failureResultOf(draining, KafkaError).value.code, ErrorCode.KAFKA_STORAGE_ERROR)

    def test_what_may_come_to_light_counts_for_nothing_once_drained(self) -> None:
        self.filer.held = True
        committing = self.a.commit({"x": b"1", "y": b"1"})
        (put,) = [path for what, path in self.filer.calls if what == "put" and path.endswith("1".zfill(16))]
        self.filer.held = False
        self.filer.writes_left = 0
        self.filer.run()
        self.failureResultOf(committing, KafkaError)
        self.filer.restore()
        self.wait(self.a.drained())
        self.tree.put(put, state_journal.encode({"x": b"1", "y": b"1"}))
        b = self.opened(B)
        self.wait(b.commit({"x": b"2"}))
        self.wait(b.replay(A))
        self.assertEqual(self.wait(b.scan("")), [("x", b"2")])

    def test_each_replays_its_own_only(self) -> None:
        self.filer.refused.add(f"{ROOT}/=x")
        self.wait(self.a.commit({"x": b"1", "y": b"1"}))
        b = self.opened(B)
        self.assertIs(self.wait(b.get("x")), None)
        self.assertEqual(self.journalled(), [A, B])
        self.wait(b.replay(A))
        self.assertEqual(self.wait(b.get("x")), b"1")
        self.assertEqual(self.journalled(), [B])
        self.wait(b.replay(A))
        self.assertEqual(self.refusal(b.replay, B), ErrorCode.KAFKA_STORAGE_ERROR)

    def test_one_that_closes_leaves_no_journal(self) -> None:
        b = self.opened(B)
        self.wait(b.commit({"x": b"1", "y": b"1"}))
        self.wait(b.close())
        self.assertEqual(self.journalled(), [A])
        self.assertEqual([path for path in self.tree.folders if B in path], [])
        self.wait(b.open())
        self.assertEqual(self.wait(b.get("x")), b"1")

    def test_the_journal_of_an_earlier_version_is_finished_by_one(self) -> None:
        old = self.opened("", old_filer := FakeFiler(self.tree))
        old_filer.refused.add(f"{ROOT}/=x")
        self.wait(old.commit({"x": b"1", "y": b"1"}))
        ran: list[str] = []

        def alone(name: str) -> Callable[[Callable[[], Coroutine[Deferred[Any], Any, None]]], Deferred[None]]:
            def run(work: Callable[[], Coroutine[Deferred[Any], Any, None]]) -> Deferred[None]:
                ran.append(name)
                return Deferred.fromCoroutine(work())

            return run

        stores = [self.opened(name * 32, alone=alone(name)) for name in "cd"]
        self.assertEqual(ran, ["c"])
        self.assertEqual(self.wait(stores[1].get("x")), b"1")
        self.assertEqual(self.journalled(), [A, "c" * 32, "d" * 32])

    def test_nothing_is_written_by_one_that_may_not(self) -> None:
        """Also what was waiting for its turn when that was said."""
        allowed = [True]
        filer = FakeFiler(self.tree)
        store = self.opened(B, filer, may_write=lambda: allowed[0])
        filer.held = True
        first = store.commit({"x": b"1", "y": b"1"})
        later = [store.commit({"x": b"2"}), store.commit({}, ["y"])]
        # what the filer was asked before is done
        allowed[0] = False
        writes = [call for call in filer.calls if call[0] != "list"]
        filer.run()
        self.wait(first)
        for one in later:
            self.assertEqual(self.failureResultOf(one, KafkaError).value.code, ErrorCode.KAFKA_STORAGE_ERROR)
        self.failureResultOf(store.commit({"z": b"3"}), KafkaError)
        self.assertEqual([call for call in filer.calls if call[0] != "list"], writes)
        filer.held = False
        self.assertEqual(self.wait(store.get("x")), b"1")
        self.wait(store.close())
        self.wait(self.a.replay(B))
        self.assertEqual(self.wait(self.a.scan("")), [("x", b"1"), ("y", b"1")])

    def test_a_damaged_journal_is_an_error(self) -> None:
        self.tree.put(f"{JOURNALS}/{B}/{'1'.zfill(16)}/head", b"{")
        self.assertEqual(self.refusal(self.a.replay, B), ErrorCode.KAFKA_STORAGE_ERROR)


_KEYS = ["a", "b", "t/x", "t/y"]
_COMMITS = st.lists(
    st.dictionaries(st.sampled_from(_KEYS), st.one_of(st.none(), st.binary(max_size=3)), min_size=1, max_size=4),
    min_size=1,
    max_size=6,
)


class DeathTests(WaitingCase, SynchronousTestCase):
    """A store dies between any two writes; whoever finishes its journal dies as well, and another one does it."""

    @settings(deadline=None, max_examples=250)
    @given(
        commits=_COMMITS,
        order=st.lists(st.integers(0, 20), max_size=30),
        writes=st.integers(0, 30),
        counts=st.booleans(),
        again=st.lists(st.tuples(st.integers(0, 10), st.booleans()), max_size=3),
    )
    def test_death(
        self,
        commits: list[dict[str, bytes | None]],
        order: list[int],
        writes: int,
        counts: bool,
        again: list[tuple[int, bool]],
    ) -> None:
        filer = FakeFiler()
        tree = filer.tree
        dying = FilerStateStore(filer, Clock(), journal=A)
        self.wait(dying.open())
        filer.held = True
        filer.writes_left, filer.last_write_counts = writes, counts
        answered: list[bool] = []
        for changes in commits:
            puts = {key: value for key, value in changes.items() if value is not None}
            committing = dying.commit(puts, [key for key, value in changes.items() if value is None])
            committing.addCallbacks(lambda _: answered.append(True), lambda _: answered.append(False))
        for index in order:
            filer.step(index)
        while filer.step():
            pass
        # those who finish it and are broken off
        for left, done in again:
            broken = FakeFiler(tree)
            other = FilerStateStore(broken, Clock(), journal=B)
            self.wait(other.open())
            broken.writes_left, broken.last_write_counts = left, done
            other.replay(A).addErrback(lambda failure: failure.trap(KafkaError))
        last = FakeFiler(tree)
        store = FilerStateStore(last, Clock(), journal=B)
        self.wait(store.open())
        self.wait(store.replay(A))
        found = self.facts(store)
        possible = []
        for count in range(answered.count(True), len(commits) + 1):
            facts: dict[str, bytes | None] = {}
            for changes in commits[:count]:
                facts.update(changes)
            possible.append({key: value for key, value in facts.items() if value is not None})
        self.assertIn(found, possible)
        # from now on others write these keys: neither finishing it again nor a late write of the dead one undoes that
        newer = dict.fromkeys(_KEYS, b"newer")
        self.wait(store.commit(newer))
        late = state_journal.encode(dict.fromkeys(_KEYS, b"late"))
        for number in range(1, 9):
            tree.put(f"{JOURNALS}/{A}/{'1'.zfill(16)}/{str(number).zfill(16)}", late)
        for _ in range(2):
            self.wait(store.replay(A))
        self.assertEqual(self.facts(store), newer)
        self.assertEqual([path for path in (*tree.files, *tree.folders) if A in path], [])

    def facts(self, store: FilerStateStore) -> dict[str, bytes]:
        """All that is there."""
        found = self.wait(store.scan(""))
        return dict(found)
