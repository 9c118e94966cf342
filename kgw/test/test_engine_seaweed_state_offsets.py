"""Committed offsets in the files of the Go gateway: what it wrote is read, and it can read what we write."""

from __future__ import annotations

import json

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kgw.engine.bridge import ThreadBridge
from kgw.engine.seaweed.calls import Calls
from kgw.engine.seaweed.filer import Filer
from kgw.engine.seaweed.filer_state import ROOT as STATE_ROOT
from kgw.engine.seaweed.filer_state import FilerStateStore
from kgw.engine.seaweed.offset_files import ROOT, OffsetFact, OffsetFiles, OffsetKey
from kgw.group_model import CommittedOffset
from kgw.groups import facts, shelf
from kgw.groups.facts import KeptOffset, OffsetPlace
from kgw.test import seaweed
from kgw.test.builders import ThreadQueue
from kgw.test.contracts.cases import WaitingCase
from kgw.test.seaweed_fakes import FakeFiler


def key_of(group: str, topic: str, partition: int) -> str:
    """The key of an offset."""
    return facts.offset_key(facts.group_prefix(group), topic, partition)


def parsed(key: str) -> OffsetKey | None:
    """What a key stands for."""
    place = facts.place_of(key)
    return OffsetKey(*place) if isinstance(place, OffsetPlace) else None


def encoded(fact: OffsetFact) -> bytes:
    """The value of an offset in the facts of groups."""
    committed = CommittedOffset(fact.offset, fact.leader_epoch, fact.metadata)
    return facts.encode_offset(KeptOffset(committed, fact.commit_ms, fact.expire_ms))


def decoded(value: bytes) -> OffsetFact:
    """The offset of such a value."""
    (offset, leader_epoch, metadata), commit_ms, expire_ms = facts.decode_offset(value)
    return OffsetFact(offset, leader_epoch, metadata, commit_ms, expire_ms)


def offset_files(root: str = ROOT) -> OffsetFiles:
    """The route as a gateway makes it."""
    return OffsetFiles(facts.PREFIX, parsed, key_of, encoded, decoded, root)


_TEXT = st.text(st.characters(exclude_categories=["Cs"]))
_INT64 = st.integers(-(1 << 63), (1 << 63) - 1)


class OffsetFileTests(WaitingCase, SynchronousTestCase):
    """A store with committed offsets in their files."""

    def setUp(self) -> None:
        """Open a store."""
        super().setUp()
        self.filer = FakeFiler()
        self.store = FilerStateStore(self.filer, Clock(), routes=[offset_files()])
        self.wait(self.store.open())

    def test_what_is_written_is_what_the_go_gateway_writes(self) -> None:
        value = encoded(OffsetFact(42, -1, "where I was", 1_700_000_000_123, -1))
        self.wait(self.store.commit({key_of("billing", "orders", 3): value}))
        self.assertEqual(
            self.filer.tree.files[f"{ROOT}/billing/orders/3/offset"],
            b'{"type":"offset","value":42,"committed_at":1700000000123,"metadata":"where I was"}',
        )
        self.assertEqual(self.wait(self.store.get(key_of("billing", "orders", 3))), value)

    def test_what_the_go_gateway_wrote_is_read(self) -> None:
        content = b'{"type":"offset","value":1002,"committed_at":1763722800000,"metadata":""}'
        self.filer.tree.put(f"{ROOT}/billing/orders/0/offset", content)
        self.filer.tree.put(f"{ROOT}/a/b/orders/0/offset", content)
        # what it may come to write, and what is no offset at all
        self.filer.tree.put(f"{ROOT}/billing/orders/1/offset", b'{"type":"timestamp","value":5,"committed_at":6}')
        self.filer.tree.put(f"{ROOT}/billing/orders/notes", b"")
        self.filer.tree.put(f"{ROOT}/billing/orders/x/offset", content)
        shelved = self.wait(Deferred.fromCoroutine(shelf.load(self.store)))
        kept = KeptOffset(CommittedOffset(1002, -1, ""), 1763722800000)
        self.assertEqual(shelved.offsets, {"billing": {("orders", 0): kept}, "a/b": {("orders", 0): kept}})
        self.assertEqual(shelved.damaged, {})

    def test_a_damaged_file_is_put_aside_with_what_it_holds(self) -> None:
        for n, content in enumerate([b"", b"{", b"[]", b'{"type":"offset","value":"1","committed_at":1}', b"\xff"]):
            self.filer.tree.put(f"{ROOT}/billing/orders/{n}/offset", content)
        shelved = self.wait(Deferred.fromCoroutine(shelf.load(self.store)))
        self.assertEqual(len(shelved.damaged), 5)
        self.assertEqual(self.wait(self.store.get("damaged/" + key_of("billing", "orders", 1))), b"{")
        self.assertEqual(self.wait(self.store.scan(facts.PREFIX)), [])

    def test_deleting_offsets_leaves_nothing(self) -> None:
        keys = [key_of("billing", topic, partition) for topic in ("orders", "bills") for partition in range(3)]
        value = encoded(OffsetFact(1, 2, "", 3, 4))
        self.wait(self.store.commit(dict.fromkeys(keys, value)))
        self.wait(self.store.commit({}, keys[:3]))
        self.assertEqual([key for key, _ in self.wait(self.store.scan(facts.PREFIX))], sorted(keys[3:]))
        self.assertNotIn(f"{ROOT}/billing/orders", self.filer.tree.folders)
        self.wait(self.store.commit({}, keys[3:]))
        self.assertNotIn(f"{ROOT}/billing", self.filer.tree.folders)

    def test_a_groups_state_is_kept_with_the_other_facts(self) -> None:
        prefix = facts.group_prefix("billing")
        self.wait(self.store.commit({facts.state_key(prefix, 0): b"1", facts.amendment_key(prefix): b"2"}))
        self.assertIn(f"{STATE_ROOT}/groups/billing/=state", self.filer.tree.files)
        self.assertEqual(len(self.wait(self.store.scan(prefix))), 2)

    def test_groups_with_odd_names(self) -> None:
        names = [
            "",
            ".",
            "..",
            "/",
            "a/",
            "a//b",
            "../x",
            "a/..",
            "x/offset",
            "offset",
            "a/b",
            "é",
            "a b",
            "+",
            "%41",
            "g" * 300,
            "\n",
            "a",
            "a/t/0",
            "=a",
            "*",
        ]
        puts = {key_of(name, "t", 0): encoded(OffsetFact(n, n, name, n, n)) for n, name in enumerate(names)}
        self.wait(self.store.commit(puts))
        again = FilerStateStore(FakeFiler(self.filer.tree), Clock(), routes=[offset_files()])
        self.wait(again.open())
        found = self.wait(again.scan(facts.PREFIX))
        self.assertEqual(found, sorted(puts.items()))
        for key, value in puts.items():
            self.assertEqual(self.wait(again.get(key)), value)
        for path in self.filer.tree.files:
            self.assertFalse({"", ".", ".."} & set(path.removeprefix("/").split("/")), path)
        self.assertIn(f"{ROOT}/é/t/0/offset", self.filer.tree.files)

    @settings(deadline=None, max_examples=200)
    @given(
        fact=st.builds(OffsetFact, _INT64, st.integers(-1, (1 << 31) - 1), _TEXT, _INT64, st.integers(-1, 1 << 62)),
        group=_TEXT,
        partition=st.integers(0, (1 << 31) - 1),
    )
    def test_an_offset_and_back(self, fact: OffsetFact, group: str, partition: int) -> None:
        route = offset_files("/root")
        content = route.encode(encoded(fact))
        self.assertEqual(json.loads(content)["value"], fact.offset)
        self.assertEqual(decoded(route.decode(content) or b""), fact)
        key = key_of(group, "orders", partition)
        place = route.place_of(key)
        if place is not None:
            folders = place.directory.removeprefix("/root/").split("/")
            self.assertEqual(route.key_of(folders, place.name), key)

    @settings(deadline=None, max_examples=200)
    @given(content=st.binary())
    def test_anything_else_is_given_as_it_is(self, content: bytes) -> None:
        route = offset_files()
        self.assertEqual(route.encode(content), content)
        self.assertIn(route.decode(content), (content, None))


class RealOffsetFileTests(WaitingCase, SynchronousTestCase):
    """The same, in a filer of SeaweedFS."""

    def test_commit_read_and_delete(self) -> None:
        engine = seaweed.engine()
        threads = ThreadQueue()
        bridge = ThreadBridge(threads, 32, "test-filer")
        bridge.start()
        self.addCleanup(bridge.stop)
        calls = Calls(bridge, None)
        self.addCleanup(calls.stop)
        filer = Filer(calls, lambda: engine.filer, lambda: engine.filer_http)
        root = f"/test/{self.id()}"
        store = FilerStateStore(filer, Clock(), f"{root}/state", [offset_files(f"{root}/offsets")])
        threads.wait(store.open())
        groups = ["billing", "a/b", "é ü", "%41", "..", "*", "g" * 300]
        puts = {key_of(group, "orders", n): encoded(OffsetFact(n, 0, "", 1, -1)) for group in groups for n in range(20)}
        threads.wait(store.commit(puts))
        found = threads.wait(store.scan(facts.PREFIX))
        self.assertEqual(found, sorted(puts.items()))
        entry = threads.wait(filer.lookup(f"{root}/offsets/billing/orders/7", "offset"))
        assert entry is not None
        self.assertEqual(json.loads(entry.content)["value"], 7)
        threads.wait(store.commit({}, list(puts)))
        self.assertEqual(threads.wait(store.scan("")), [])
        threads.wait(store.close())
        self.assertEqual(threads.wait(filer.list(f"{root}/offsets")), [])
