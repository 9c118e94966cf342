"""What every store of small facts must do."""

from __future__ import annotations

import random
from collections.abc import Iterable

from zope.interface.verify import verifyObject

from kgw.errors import ErrorCode
from kgw.interfaces import IStateStore
from kgw.test.contracts.cases import WaitingCase


class StateStoreContract(WaitingCase):
    """What L{IStateStore} promises."""

    store: IStateStore

    def make_store(self) -> IStateStore:
        """A store over this test's own place, not open; each finds what the one before it left when it closed."""
        raise NotImplementedError

    def setUp(self) -> None:
        """Open a store."""
        super().setUp()
        self.store = self.make_store()
        self.wait(self.store.open())
        self.addCleanup(lambda: self.wait(self.store.close()))

    def reopen(self) -> None:
        """Close the store and open another one on the same place."""
        self.wait(self.store.close())
        self.store = self.make_store()
        self.wait(self.store.open())

    def keys(self, prefix: str) -> list[str]:
        """The keys a scan finds."""
        return [key for key, _ in self.wait(self.store.scan(prefix))]

    def commit(self, puts: dict[str, bytes], deletes: Iterable[str] = ()) -> None:
        """Commit and wait."""
        self.wait(self.store.commit(puts, tuple(deletes)))

    def test_interface(self) -> None:
        self.assertTrue(verifyObject(IStateStore, self.store))

    def test_nothing_there(self) -> None:
        self.assertIs(self.wait(self.store.get("a")), None)
        self.assertEqual(self.wait(self.store.scan("")), [])

    def test_what_is_committed_is_there(self) -> None:
        self.commit({"a": b"1", "b": b"\x00\xff", "c": b""})
        self.commit({"a": b"2"}, ["b", "never there"])
        for _ in range(2):
            self.assertEqual(self.wait(self.store.scan("")), [("a", b"2"), ("c", b"")])
            self.assertEqual(self.wait(self.store.get("a")), b"2")
            self.assertIs(self.wait(self.store.get("b")), None)
            self.reopen()

    def test_a_key_in_both_is_put(self) -> None:
        self.commit({"a": b"1"})
        self.commit({"a": b"2"}, ["a"])
        self.assertEqual(self.wait(self.store.get("a")), b"2")

    def test_an_empty_commit(self) -> None:
        self.commit({})
        self.assertEqual(self.wait(self.store.scan("")), [])

    def test_scan_takes_what_starts_with_the_prefix(self) -> None:
        keys = ["t", "t/", "t/a", "t/a/b", "t/b", "t0", "T/a", "t%", "t_", "s/z", "t/\U0010ffff", "t/\U0010ffff!"]
        self.commit(dict.fromkeys(keys, b""))
        for prefix in ["", "t", "t/", "t/a", "t%", "t_", "u", "t/\U0010ffff", "\U0010ffff"]:
            self.assertEqual(self.keys(prefix), sorted(key for key in keys if key.startswith(prefix)), repr(prefix))

    def test_keys_sort_by_code_point(self) -> None:
        # UTF-16 would put the third and fourth the other way round, a locale the first two.
        keys = ["Z", "a", "\uffee", "\U0001f600", "\U0010ffff"]
        self.commit(dict.fromkeys(reversed(keys), b""))
        self.assertEqual(self.keys(""), keys)
        self.assertEqual(self.keys("\ud7ff"), [])

    def test_commits_keep_their_order(self) -> None:
        started = [self.store.commit({"a": b"%d" % n, f"n/{n:03}": b""}, [f"n/{n - 1:03}"]) for n in range(50)]
        self.assertEqual(self.wait(self.store.get("a")), b"49")
        for one in started:
            self.wait(one)
        self.assertEqual(self.keys("n/"), ["n/049"])

    def test_a_read_sees_the_commits_called_before_it(self) -> None:
        self.store.commit({"a": b"1"})
        first = self.store.get("a")
        self.store.commit({"a": b"2"})
        second = self.store.get("a")
        self.assertEqual((self.wait(first), self.wait(second)), (b"1", b"2"))

    def test_what_is_committed_is_a_copy(self) -> None:
        puts = {"a": b"1"}
        committing = self.store.commit(puts)
        puts["a"] = b"2"
        puts["b"] = b"3"
        self.wait(committing)
        self.assertEqual(self.wait(self.store.scan("")), [("a", b"1")])

    def test_the_largest_value(self) -> None:
        largest = random.Random(3).randbytes(1 << 20)
        self.commit({"a": largest})
        self.reopen()
        self.assertEqual(self.wait(self.store.get("a")), largest)

    def test_a_value_that_is_too_large_writes_nothing(self) -> None:
        puts = {"a": b"1", "b": bytes((1 << 20) + 1)}
        self.assertIsInstance(self.error(self.store.commit, puts), ValueError)
        self.assertEqual(self.wait(self.store.scan("")), [])

    def test_a_key_that_is_no_text_writes_nothing(self) -> None:
        self.assertIsInstance(self.error(self.store.commit, {"a": b"1", "\ud800": b""}), ValueError)
        self.assertEqual(self.wait(self.store.scan("")), [])

    def test_closing_finishes_what_was_begun(self) -> None:
        committing = [self.store.commit({f"{n:02}": b""}) for n in range(20)]
        closing = self.store.close()
        self.wait(closing)
        for one in committing:
            self.wait(one)
        self.store = self.make_store()
        self.wait(self.store.open())
        self.assertEqual(len(self.keys("")), 20)

    def test_a_closed_store_refuses(self) -> None:
        self.commit({"a": b"1"})
        self.wait(self.store.close())
        self.wait(self.store.close())
        self.assertEqual(self.refusal(self.store.get, "a"), ErrorCode.KAFKA_STORAGE_ERROR)
        self.assertEqual(self.refusal(self.store.scan, ""), ErrorCode.KAFKA_STORAGE_ERROR)
        self.assertEqual(self.refusal(self.store.commit, {"a": b"2"}), ErrorCode.KAFKA_STORAGE_ERROR)
