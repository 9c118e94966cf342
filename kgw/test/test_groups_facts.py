"""How groups are kept: every key and value comes back, and what is damaged is told from what is not."""

from __future__ import annotations

from zlib import crc32

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from kgw.engine.memory_state import MemoryStateStore
from kgw.engine.state_limits import MAX_VALUE_BYTES
from kgw.errors import ErrorCode, KafkaError
from kgw.group_model import Caller, CommittedOffset, GroupProtocol
from kgw.groups.effects import GroupSnapshot, MemberSnapshot
from kgw.groups.facts import (
    QUARANTINE_PREFIX,
    DamagedFact,
    KeptOffset,
    OffsetPlace,
    StatePlace,
    decode_offset,
    decode_state,
    encode_offset,
    encode_state,
    group_prefix,
    offset_key,
    place_of,
    state_key,
)
from kgw.groups.shelf import Shelf, load

#: What a client can put into a string of the protocol.
TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
INT32 = st.integers(-(1 << 31), (1 << 31) - 1)
KEPT = st.builds(KeptOffset, st.builds(CommittedOffset, INT64, INT32, TEXT), INT64, INT64)
MEMBER = st.builds(
    MemberSnapshot,
    member_id=TEXT,
    instance_id=st.none() | TEXT,
    caller=st.builds(Caller, TEXT, TEXT, TEXT),
    session_timeout_ms=INT32,
    rebalance_timeout_ms=INT32,
    protocols=st.lists(st.builds(GroupProtocol, TEXT, st.binary(max_size=50)), max_size=3).map(tuple),
    assignment=st.binary(max_size=50),
)
SNAPSHOT = st.builds(
    GroupSnapshot,
    group_id=TEXT,
    generation_id=st.integers(0, (1 << 31) - 1),
    protocol_type=st.none() | TEXT,
    protocol_name=st.none() | TEXT,
    leader=st.none() | TEXT,
    state_time=st.floats(0, 4e9),
    members=st.lists(MEMBER, max_size=4).map(tuple),
)
FEW = settings(deadline=None, max_examples=60)


class KeyTests(SynchronousTestCase):
    """Keys."""

    @FEW
    @given(TEXT, TEXT, st.integers(0, (1 << 31) - 1))
    def test_round_trip(self, group_id: str, topic: str, number: int) -> None:
        """A key says of which group, topic and partition it is, whatever characters their names have."""
        prefix = group_prefix(group_id)
        self.assertEqual(place_of(offset_key(prefix, topic, number)), OffsetPlace(group_id, topic, number))
        self.assertEqual(place_of(state_key(prefix, number)), StatePlace(group_id, number))

    @FEW
    @given(TEXT, TEXT)
    def test_no_group_is_within_another(self, one: str, other: str) -> None:
        """The keys of a group start with its prefix, and those of no other do."""
        if one != other:
            self.assertFalse(state_key(group_prefix(one), 0).startswith(group_prefix(other)))

    def test_tricky_ids(self) -> None:
        """Ids that look like parts of keys stay apart."""
        ids = ["", "a", "a/", "a/state", "a/offsets/t/0", "%2F", "a%2Fstate", "/", "ä", "a b"]
        self.assertEqual(len({group_prefix(id) for id in ids}), len(ids))

    def test_what_a_later_version_may_know(self) -> None:
        """Another noun below a group is not ours, and not damaged."""
        self.assertIsNone(place_of("groups/g/transactions/17/t/0"))

    def test_damaged(self) -> None:
        """A key that was never written."""
        for rest in ("g/offsets/t/-1", "g/offsets/t/01", "g/offsets/t/x", "g", "%zz/state"):
            self.assertRaises(DamagedFact, place_of, f"groups/{rest}")


class ValueTests(SynchronousTestCase):
    """Values."""

    @FEW
    @given(KEPT)
    def test_offset(self, kept: KeptOffset) -> None:
        """An offset comes back as it was."""
        self.assertEqual(decode_offset(encode_offset(kept)), kept)

    @FEW
    @given(SNAPSHOT)
    def test_state(self, snapshot: GroupSnapshot) -> None:
        """A group's state comes back as it was."""
        self.assertEqual(decode_state(snapshot.group_id, encode_state(snapshot)), snapshot)

    @FEW
    @given(KEPT, st.data())
    def test_one_damaged_bit(self, kept: KeptOffset, data: st.DataObject) -> None:
        """No bit can flip and leave another offset behind."""
        value = bytearray(encode_offset(kept))
        bit = data.draw(st.integers(0, len(value) * 8 - 1))
        value[bit // 8] ^= 1 << bit % 8
        self.assertRaises(DamagedFact, decode_offset, bytes(value))

    @FEW
    @given(st.binary(max_size=60))
    def test_any_bytes(self, value: bytes) -> None:
        """Bytes from elsewhere are damaged, never an error of another kind."""
        self.assertRaises(DamagedFact, decode_offset, value)
        self.assertRaises(DamagedFact, decode_state, "g", [value])

    def test_a_group_larger_than_a_fact(self) -> None:
        """A state of several MiB is kept in parts; with one of them missing or from elsewhere it is damaged."""
        snapshot = large_group()
        parts = encode_state(snapshot)
        self.assertGreater(len(parts), 2)
        self.assertLess(max(map(len, parts)), MAX_VALUE_BYTES)
        self.assertEqual(decode_state("g", parts), snapshot)
        for wrong in (parts[:-1], parts[1:], [*parts, parts[-1]], [parts[1], parts[0], *parts[2:]]):
            self.assertRaises(DamagedFact, decode_state, "g", wrong)


def large_group() -> GroupSnapshot:
    """A group whose state takes more than two facts."""
    caller = Caller("client", "/10.0.0.1")
    protocols = (GroupProtocol("range", bytes(9_000)),)
    members = tuple(
        MemberSnapshot(f"member-{number}", None, caller, 10_000, 60_000, protocols, b"%d" % number)
        for number in range(200)
    )
    return GroupSnapshot("g", 7, "consumer", "range", "member-0", 5.0, members)


def load_now(store: MemoryStateStore) -> Deferred[Shelf]:
    """What a start reads."""
    return Deferred.fromCoroutine(load(store))


class ShelfTests(SynchronousTestCase):
    """What a start finds."""

    def setUp(self) -> None:
        self.store = MemoryStateStore()
        self.successResultOf(self.store.open())
        self.kept = KeptOffset(CommittedOffset(42, 3, "m"), 1_000)

    def stored(self, prefix: str) -> dict[str, bytes]:
        pairs = self.successResultOf(self.store.scan(prefix))
        return dict(pairs)

    def put(self, facts: dict[str, bytes]) -> None:
        self.successResultOf(self.store.commit(facts))

    def test_damaged_facts(self) -> None:
        """They are moved aside with their bytes and logged; all others are there; the next start is silent."""
        prefix = group_prefix("g")
        good = {offset_key(prefix, "t", 0): encode_offset(self.kept)}
        parts = encode_state(large_group())
        bad = {
            offset_key(prefix, "t", 1): b"\0" + encode_offset(self.kept),
            "groups/g/offsets/nonsense": b"x",
            **{state_key(prefix, number): part for number, part in enumerate(parts) if number != 1},
        }
        self.put(good | bad)
        shelf = self.successResultOf(load_now(self.store))
        self.assertEqual(shelf.offsets, {"g": {("t", 0): self.kept}})
        self.assertEqual(shelf.states, {})
        self.assertEqual(self.stored("groups/"), good)
        kept_aside = {QUARANTINE_PREFIX + key: value for key, value in bad.items()}
        self.assertEqual(self.stored(QUARANTINE_PREFIX), kept_aside)
        self.assertEqual(self.successResultOf(load_now(self.store)).damaged, {})

    def test_a_later_version(self) -> None:
        """What a later kgw wrote keeps this one from starting, so that nothing of it is lost."""
        body = b"\x02whatever"
        from_the_future = body + crc32(body).to_bytes(4, "big")
        self.put({offset_key(group_prefix("g"), "t", 0): from_the_future})
        error = self.failureResultOf(load_now(self.store), KafkaError).value
        self.assertEqual(error.code, ErrorCode.KAFKA_STORAGE_ERROR)
        self.assertIn("newer", error.message)

    def test_an_unknown_noun(self) -> None:
        """It stays where it is."""
        self.put({"groups/g/transactions/17/t/0": b"?"})
        self.assertEqual(self.successResultOf(load_now(self.store)).damaged, {})
        self.assertEqual(len(self.stored("groups/g/transactions/")), 1)
