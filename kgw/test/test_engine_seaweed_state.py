"""The state store on a filer: the contract, and what is there after it ended at any point of its work."""

from __future__ import annotations

from typing import TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kgw.engine.bridge import ThreadBridge
from kgw.engine.seaweed import state_journal, state_paths
from kgw.engine.seaweed.calls import Calls
from kgw.engine.seaweed.filer import Filer
from kgw.engine.seaweed.filer_state import ROOT, FilerStateStore
from kgw.errors import ErrorCode, KafkaError
from kgw.interfaces import IStateStore
from kgw.test import seaweed
from kgw.test.builders import ThreadQueue
from kgw.test.contracts import StateStoreContract
from kgw.test.contracts.cases import WaitingCase
from kgw.test.seaweed_fakes import FakeFiler, Tree

T = TypeVar("T")


class FakeFilerStateStoreTests(StateStoreContract, SynchronousTestCase):
    """The contract, with a filer in memory."""

    def setUp(self) -> None:
        """Open a store on an empty tree."""
        self.tree = Tree()
        super().setUp()

    def make_store(self) -> IStateStore:
        """A store on this test's tree."""
        return FilerStateStore(FakeFiler(self.tree), Clock())


class HeldFilerStateStoreTests(StateStoreContract, SynchronousTestCase):
    """The contract, with a filer in memory that answers the last call first."""

    def setUp(self) -> None:
        """Open a store on an empty tree."""
        self.filer = FakeFiler()
        self.filer.held = True
        super().setUp()

    def wait(self, deferred: Deferred[T]) -> T:
        """Have the filer do what it was asked, late calls first."""
        while not deferred.called and self.filer.step(-1):
            pass
        self.filer.run()
        return self.successResultOf(deferred)

    def make_store(self) -> IStateStore:
        """A store on this test's tree."""
        return FilerStateStore(self.filer, Clock())


class RealFilerStateStoreTests(StateStoreContract, SynchronousTestCase):
    """The contract, with a filer of SeaweedFS."""

    def setUp(self) -> None:
        """Open a store in a folder of its own."""
        engine = seaweed.engine()
        self.threads = ThreadQueue()
        bridge = ThreadBridge(self.threads, 32, "test-filer")
        bridge.start()
        self.addCleanup(bridge.stop)
        self.calls = Calls(bridge, None)
        self.addCleanup(self.calls.stop)
        self.filer = Filer(self.calls, lambda: engine.filer, lambda: engine.filer_http)
        self.addCleanup(self.filer.stop)
        self.root = f"/test/{self.id()}"
        super().setUp()

    def wait(self, deferred: Deferred[T]) -> T:
        """Let the threads deliver what they have done."""
        return self.threads.wait(deferred, 60)

    def make_store(self) -> IStateStore:
        """A store in this test's folder."""
        return FilerStateStore(self.filer, Clock(), self.root)


_KEYS = ["a", "b", "t/x", "t/y", "g/deep/er"]
_COMMITS = st.lists(
    st.dictionaries(st.sampled_from(_KEYS), st.one_of(st.none(), st.binary(max_size=3)), min_size=1, max_size=4),
    min_size=1,
    max_size=8,
)
Changes = dict[str, bytes | None]


def after(commits: list[Changes]) -> dict[str, bytes]:
    """What is there when all of these are done."""
    facts: Changes = {}
    for changes in commits:
        facts.update(changes)
    return {key: value for key, value in facts.items() if value is not None}


def committed(store: FilerStateStore, changes: Changes) -> Deferred[None]:
    """Commit these changes."""
    puts = {key: value for key, value in changes.items() if value is not None}
    return store.commit(puts, [key for key, value in changes.items() if value is None])


class Outcome:
    """Whether a commit was answered, and how."""

    def __init__(self, committing: Deferred[None]) -> None:
        self.done: bool | None = None
        committing.addCallbacks(self._did, self._failed)

    def _did(self, _: None) -> None:
        self.done = True

    def _failed(self, failure: object) -> None:
        self.done = False


class CrashTests(WaitingCase, SynchronousTestCase):
    """A store that ends, or whose filer does, between any two writes, in any order in which the filer did them."""

    def opened(self, tree: Tree) -> FilerStateStore:
        """Another store on what one left."""
        store = FilerStateStore(FakeFiler(tree), Clock())
        self.wait(store.open())
        return store

    def facts(self, store: FilerStateStore) -> dict[str, bytes]:
        """All that is there."""
        found = self.wait(store.scan(""))
        return dict(found)

    def cut(
        self, commits: list[Changes], bursts: list[int], order: list[int], writes: int, counts: bool
    ) -> tuple[Tree, int]:
        """Commit, in bursts, until the filer takes no more writes; the tree, and how many commits were answered."""
        filer = FakeFiler()
        store = FilerStateStore(filer, Clock())
        self.wait(store.open())
        filer.held = True
        filer.writes_left = writes
        filer.last_write_counts = counts
        outcomes: list[Outcome] = []
        steps = iter(order)
        waiting = list(commits)
        for burst in bursts:
            for changes in waiting[:burst]:
                outcomes.append(Outcome(committed(store, changes)))
            del waiting[:burst]
            for _ in range(burst):
                filer.step(next(steps, 0))
        while filer.step(next(steps, 0)):
            pass
        done = [outcome.done for outcome in outcomes]
        answered = done.index(False) if False in done else len(done)
        self.assertNotIn(True, done[answered:], "a commit was done after one that was not")
        return filer.tree, answered

    @settings(deadline=None, max_examples=300)
    @given(
        commits=_COMMITS,
        bursts=st.lists(st.integers(1, 4), min_size=1, max_size=8),
        order=st.lists(st.integers(0, 40), max_size=40),
        writes=st.integers(0, 40),
        counts=st.booleans(),
        again=st.one_of(st.none(), st.integers(0, 12)),
    )
    def test_what_is_found_is_what_some_of_the_commits_in_their_order_left(
        self,
        commits: list[Changes],
        bursts: list[int],
        order: list[int],
        writes: int,
        counts: bool,
        again: int | None,
    ) -> None:
        tree, answered = self.cut(commits, bursts, order, writes, counts)
        if again is not None:
            # The store that comes next ends too, while it is putting things right.
            filer = FakeFiler(tree)
            filer.writes_left = again
            filer.last_write_counts = counts
            FilerStateStore(filer, Clock()).open().addErrback(lambda failure: failure.trap(KafkaError))
        found = self.facts(self.opened(tree))
        possible = [after(commits[:n]) for n in range(answered, len(commits) + 1)]
        self.assertIn(found, possible)
        self.assertEqual(self.facts(self.opened(tree)), found)

    @settings(deadline=None, max_examples=200)
    @given(
        before=_COMMITS,
        behind=_COMMITS,
        writes=st.integers(0, 20),
        counts=st.booleans(),
    )
    def test_a_commit_that_failed_does_not_come_back_after_a_later_one(
        self, before: list[Changes], behind: list[Changes], writes: int, counts: bool
    ) -> None:
        filer = FakeFiler()
        clock = Clock()
        store = FilerStateStore(filer, clock)
        self.wait(store.open())
        filer.writes_left = writes
        filer.last_write_counts = counts
        # Of two keys each, so that all of them go through the journal.
        done = []
        for n, changes in enumerate(before):
            both: Changes = {**changes, "n": b"%d" % n, "m": b"%d" % n}
            if self.outcome(committed(store, both)):
                done.append(both)
        filer.restore()
        for n, changes in enumerate(behind):
            # Of one key, which needs no journal, or of several.
            later: Changes = {"n": b"later %d" % n} if len(changes) == 1 else {**changes, "n": b"later %d" % n}
            self.wait(committed(store, later))
            done.append(later)
        self.assertEqual(self.facts(store), after(done))
        # It ends without a word; perhaps the filer had even more to do.
        self.assertEqual(self.facts(self.opened(filer.tree.copy())), after(done))
        clock.advance(10)
        self.wait(store.close())
        self.assertEqual(self.facts(self.opened(filer.tree)), after(done))

    def test_every_point_of_a_journal_of_several_entries(self) -> None:
        commits: list[Changes] = [{"a": b"%d" % n, "b": b"%d" % n} for n in range(4)]
        for writes in range(20):
            for counts in (False, True):
                for order in (0, -1):
                    filer = FakeFiler()
                    store = FilerStateStore(filer, Clock())
                    self.wait(store.open())
                    filer.held = True
                    filer.writes_left = writes
                    filer.last_write_counts = counts
                    outcomes = []
                    for changes in commits:
                        # The places of the first wait while the journal gets the others.
                        outcomes.append(Outcome(committed(store, changes)))
                        filer.step(-1)
                    while filer.step(order):
                        pass
                    answered = len([outcome for outcome in outcomes if outcome.done])
                    possible = [after(commits[:n]) for n in range(answered, len(commits) + 1)]
                    self.assertIn(self.facts(self.opened(filer.tree)), possible, (writes, counts, order))

    def outcome(self, committing: Deferred[None]) -> bool:
        """Whether it was done; it must be answered by now."""
        outcome = Outcome(committing)
        self.assertIsNot(outcome.done, None)
        return bool(outcome.done)

    def test_a_late_write_to_the_journal_is_not_heard(self) -> None:
        filer = FakeFiler()
        store = FilerStateStore(filer, Clock())
        self.wait(store.open())
        filer.held = True
        committing = store.commit({"a": b"1", "b": b"1"})
        filer.held = False
        filer.writes_left = 0
        filer.run()
        self.assertEqual(self.failureResultOf(committing, KafkaError).value.code, ErrorCode.KAFKA_STORAGE_ERROR)
        (put,) = [path for what, path in filer.calls if what == "put" and path.endswith("1".zfill(16))]
        filer.restore()
        self.wait(store.commit({"a": b"2"}))
        filer.tree.put(put, state_journal.encode({"a": b"1", "b": b"1"}))
        self.assertEqual(self.facts(self.opened(filer.tree)), {"a": b"2"})


class JournalTests(WaitingCase, SynchronousTestCase):
    """What users of the store notice of its journal."""

    def setUp(self) -> None:
        """Open a store."""
        super().setUp()
        self.filer = FakeFiler()
        self.clock = Clock()
        self.store = FilerStateStore(self.filer, self.clock)
        self.wait(self.store.open())

    def test_facts_that_cannot_be_moved_are_kept_and_tried_again(self) -> None:
        blocked = f"{ROOT}/=a"
        self.filer.refused.add(blocked)
        self.wait(self.store.commit({"a": b"1", "b": b"1"}))
        self.wait(self.store.commit({"a": b"2", "c": b"2"}))
        found = self.wait(self.store.scan(""))
        self.assertEqual(found, [("a", b"2"), ("b", b"1"), ("c", b"2")])
        self.assertEqual(self.wait(self.store.get("a")), b"2")
        self.assertNotIn(blocked, self.filer.tree.files)
        self.filer.refused.clear()
        self.clock.advance(5)
        self.assertEqual(self.filer.tree.files[blocked], b"2")
        journal = [path for path in self.filer.tree.files if "journal" in path]
        self.assertEqual([path.rpartition("/")[2] for path in journal], ["head"])

    def test_what_cannot_be_moved_at_the_end_is_there_the_next_time(self) -> None:
        self.filer.refused.add(f"{ROOT}/=a")
        self.wait(self.store.commit({"a": b"1", "b": b"1"}))
        self.wait(self.store.close())
        self.assertEqual(self.clock.getDelayedCalls(), [])
        next_store = FilerStateStore(FakeFiler(self.filer.tree), Clock())
        self.wait(next_store.open())
        found = self.wait(next_store.scan(""))
        self.assertEqual(found, [("a", b"1"), ("b", b"1")])

    def test_a_commit_of_one_key_is_one_write(self) -> None:
        before = len(self.filer.calls)
        self.wait(self.store.commit({"topics/orders": b"1"}))
        self.assertEqual(self.filer.calls[before:], [("put", f"{ROOT}/topics/=orders")])

    def test_commits_that_wait_are_joined(self) -> None:
        self.filer.held = True
        started = [self.store.commit({f"k/{n % 10}": b"%d" % n}) for n in range(200)]
        before = len(self.filer.calls)
        self.filer.run()
        for one in started:
            self.wait(one)
        # one alone, one for the journal, ten places, and the journal's end
        self.assertLess(len(self.filer.calls) - before, 20)
        self.filer.held = False
        found = self.wait(self.store.scan("k/"))
        self.assertEqual(found, [(f"k/{n}", b"%d" % (190 + n)) for n in range(10)])

    def test_commits_are_answered_before_they_are_in_their_places(self) -> None:
        self.filer.held = True
        committing = self.store.commit({"a": b"1", "b": b"1"})
        self.filer.step()
        self.assertTrue(committing.called)
        self.assertNotIn(f"{ROOT}/=a", self.filer.tree.files)

    def test_too_many_that_wait_are_refused(self) -> None:
        self.filer.held = True
        megabyte = bytes(1 << 20)
        started = [Outcome(self.store.commit({f"{n}": megabyte, "x": b""})) for n in range(80)]
        refused = [outcome for outcome in started if outcome.done is False]
        self.assertGreater(len(refused), 5)
        self.assertLess(len(refused), 20)
        self.filer.run()
        self.assertEqual(len([outcome for outcome in started if outcome.done]), 80 - len(refused))

    def test_commits_wait_for_room_in_the_journal(self) -> None:
        self.filer.held = True
        outcomes = []
        for n in range(40):
            outcomes.append(Outcome(self.store.commit({f"{n}/{k}": b"" for k in range(500)})))
            # The journal first: the last call that waits.
            self.filer.step(-1)
        self.filer.run()
        self.assertEqual([outcome.done for outcome in outcomes], [True] * 40)
        self.filer.held = False
        self.assertEqual(len(self.wait(self.store.scan(""))), 20_000)

    def test_commits_fail_when_the_journal_cannot_be_emptied(self) -> None:
        self.filer.refused.add(f"{ROOT}/=stuck")
        outcomes = [
            Outcome(self.store.commit({"stuck": b"%d" % n, **{f"{n}/{k}": b"" for k in range(500)}})) for n in range(40)
        ]
        for n in range(1200):
            outcomes.append(Outcome(self.store.commit({"stuck": b"%d" % n, "n": b""})))
        done = [outcome.done for outcome in outcomes]
        self.assertEqual(set(done), {True, False})
        self.assertGreater(done.index(False), 1000)
        self.filer.refused.clear()
        self.wait(self.store.commit({"stuck": b"free", "n": b""}))
        self.assertEqual(self.wait(self.store.get("stuck")), b"free")
        self.wait(self.store.close())
        self.assertEqual(self.filer.tree.files[f"{ROOT}/=stuck"], b"free")

    def test_folders_that_hold_nothing_are_removed(self) -> None:
        self.wait(self.store.commit({"groups/g/state": b"1", "groups/g/state/1": b"2", "groups/h/state": b"3"}))
        self.wait(self.store.commit({}, ["groups/g/state", "groups/g/state/1"]))
        self.assertNotIn(f"{ROOT}/groups/g", self.filer.tree.folders)
        self.wait(self.store.commit({}, ["groups/h/state"]))
        self.assertNotIn(f"{ROOT}/groups/h", self.filer.tree.folders)
        self.assertIn(f"{ROOT}/groups", self.filer.tree.folders)

    def test_a_damaged_journal_is_an_error(self) -> None:
        (head,) = [path for path in self.filer.tree.files if path.endswith("/head")]
        for name, content in [("head", b"{"), ("1".zfill(16), b"kgj\x01 damaged"), ("what", b"")]:
            tree = self.filer.tree.copy()
            tree.put(head.replace("head", name), content)
            store = FilerStateStore(FakeFiler(tree), Clock())
            self.assertEqual(self.refusal(store.open), ErrorCode.KAFKA_STORAGE_ERROR)
            self.assertEqual(self.refusal(store.get, "a"), ErrorCode.KAFKA_STORAGE_ERROR)

    def test_a_filer_that_does_not_answer_can_be_opened_later(self) -> None:
        filer = FakeFiler(self.filer.tree)
        filer.writes_left = 0
        store = FilerStateStore(filer, Clock())
        self.assertEqual(self.refusal(store.open), ErrorCode.KAFKA_STORAGE_ERROR)
        filer.restore()
        self.wait(store.open())
        self.assertEqual(self.refusal(store.open), ErrorCode.KAFKA_STORAGE_ERROR)


class FormatTests(SynchronousTestCase):
    """Keys as paths, and the bytes of the journal."""

    @settings(deadline=None, max_examples=300)
    @given(
        key=st.one_of(
            st.text(st.characters(exclude_categories=["Cs"]), max_size=300),
            st.text(st.sampled_from("a./=+,%é\U0001f600"), max_size=500),
            st.text(st.sampled_from("ä"), min_size=30, max_size=300),
        ),
        cut=st.integers(0, 300),
    )
    def test_a_key_is_a_path_of_good_names_and_back(self, key: str, cut: int) -> None:
        directory, name = state_paths.place_of("/root", key)
        *folders, last = f"{directory}/{name}".removeprefix("/root/").split("/")
        for one in (*folders, last):
            self.assertRegex(one, r"\A[A-Za-z0-9._~=+,%-]{1,255}\Z")
            self.assertNotIn(one, (".", ".."))
        self.assertFalse(any(folder.startswith("=") for folder in folders))
        self.assertTrue(last.startswith("="))
        self.assertEqual(state_paths.key_of(folders, last), key)
        for depth in range(len(folders) + 1):
            self.assertTrue(state_paths.may_hold(folders[:depth], key[:cut]))

    def test_other_names_are_no_keys(self) -> None:
        for folders, name in [([], "a"), (["%2f"], "=a"), ([], "=%zz"), ([], "=%FF"), (["+journal", "1"], "head")]:
            self.assertIs(state_paths.key_of(folders, name), None)
        self.assertFalse(state_paths.may_hold(["seaweed", "producers"], "seaweed/layout/"))

    @settings(deadline=None, max_examples=100)
    @given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.one_of(st.none(), st.binary())))
    def test_a_journal_entry_and_back(self, changes: Changes) -> None:
        data = state_journal.encode(changes)
        self.assertEqual(state_journal.decode(data), changes)
        self.assertRaises(KafkaError, state_journal.decode, data[:-1])
        self.assertRaises(KafkaError, state_journal.decode, data[:5] + b"!" + data[5:])
