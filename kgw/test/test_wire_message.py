"""Declarations, and the varints and headers that need none."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kgw.errors import WireError
from kgw.wire.header import decode_request_header, peek_request
from kgw.wire.message import array, describe, field, fields_of, holds_records, least_size, message, split_fields
from kgw.wire.primitives import (
    INT16,
    INT32,
    INT64,
    RECORDS,
    STRING,
    UUID,
    decode_uvarint,
    decode_varlong,
    encode_uvarint,
    encode_varlong,
)


@message
class Inner:
    id: bytes = field(UUID, since=3)
    name: str | None = field(STRING, nullable=2)


@message
class Outer:
    first: int = field(INT16, until=2)
    inner: list[Inner] | None = field(array(Inner), since=1, nullable=2)
    single: Inner | None = field(Inner, since=2, nullable=2, default=None)
    late: int = field(INT32, since=3, tag=1, default=-1)
    early: str = field(STRING, since=3, tag=0)


class DeclarationTests(SynchronousTestCase):
    """C{@message} and C{field}."""

    def test_all_may_be_left_out(self) -> None:
        """Without arguments every field has its zero or its declared default."""
        self.assertEqual(Outer(), Outer(first=0, inner=[], single=None, late=-1, early=""))
        self.assertEqual(Inner(), Inner(id=bytes(16), name=""))

    def test_slots(self) -> None:
        """A misspelt attribute is an error, not a new one."""
        self.assertRaises(AttributeError, setattr, Outer(), "frist", 1)

    def test_presence(self) -> None:
        """Regular fields come in the order of the wire, tagged ones in the order of their tags."""
        names = [[spec.name for spec in part] for part in split_fields(Outer, 3, True)]
        self.assertEqual(names, [["inner", "single"], ["early", "late"]])
        names = [[spec.name for spec in part] for part in split_fields(Outer, 1, False)]
        self.assertEqual(names, [["first", "inner"], []])

    def test_nullable_from(self) -> None:
        """Nullability has a first version of its own."""
        inner = fields_of(Outer)[1]
        self.assertEqual([inner.may_be_null(version) for version in range(4)], [False, False, True, True])

    def test_bad_declarations(self) -> None:
        """Mistakes are found where they are made."""
        self.assertRaisesRegex(
            TypeError, "not declared", message, type("Bad", (), {"__annotations__": {"a": "int"}, "a": 3})
        )
        bad = type("Bad", (), {"__annotations__": {"a": "list"}, "a": field(array(INT16), default=[])})
        self.assertRaisesRegex(TypeError, "no default but null", message, bad)
        self.assertRaisesRegex(TypeError, "has no tags", split_fields, Outer, 3, False)
        self.assertRaisesRegex(TypeError, "is not a @message", fields_of, int)

    def test_least_size(self) -> None:
        """The smallest element: what a count is held against."""
        self.assertEqual(least_size(Inner, 2, False), 2)
        self.assertEqual(least_size(Inner, 3, True), 16 + 1 + 1)
        self.assertEqual(least_size(Outer, 2, False), 2 + 4 + 1)
        self.assertEqual(least_size(INT64, 0, True), 8)

    def test_describe(self) -> None:
        """Declarations print in the form of Kafka's message definitions."""
        rows = {row["name"]: row for row in describe(Outer)}
        self.assertEqual(rows["first"], {"name": "first", "type": "int16", "versions": "0-2", "default": "0"})
        self.assertEqual(rows["late"]["tagged"], "3+")
        self.assertEqual((rows["inner"]["type"], rows["inner"]["nullable"]), ("[]struct", "2+"))
        self.assertEqual([row["name"] for row in rows["single"]["fields"]], ["id", "name"])
        self.assertEqual(rows["single"]["default"], "null")

    def test_holds_records(self) -> None:
        """Records are found however deep they are."""

        @message
        class Deep:
            batch: bytes | None = field(RECORDS, nullable=0)

        @message
        class Above:
            rows: list[Deep] = field(array(Deep))

        self.assertTrue(holds_records(Above))
        self.assertFalse(holds_records(Outer))


class VarintTests(SynchronousTestCase):
    """Variable-length integers."""

    def test_known(self) -> None:
        """Encodings that the protocol guide shows."""
        for number, raw in ((0, "00"), (127, "7f"), (128, "8001"), (300, "ac02"), (0xFFFFFFFF, "ffffffff0f")):
            self.assertEqual(encode_uvarint(number).hex(), raw)
            self.assertEqual(decode_uvarint(b"-" + bytes.fromhex(raw), 1), (number, 1 + len(raw) // 2))
        for number, raw in ((0, "00"), (-1, "01"), (1, "02"), (-64, "7f"), (64, "8001")):
            self.assertEqual(encode_varlong(number).hex(), raw)

    @settings(deadline=None, max_examples=200)
    @given(st.integers(0, 0xFFFFFFFF), st.integers(-(1 << 63), (1 << 63) - 1))
    def test_round_trip(self, short: int, long: int) -> None:
        """What is written is read, however long."""
        self.assertEqual(decode_uvarint(encode_uvarint(short), 0), (short, len(encode_uvarint(short))))
        self.assertEqual(decode_varlong(encode_varlong(long), 0), (long, len(encode_varlong(long))))

    def test_too_long(self) -> None:
        """More than 32 or 64 bits are refused."""
        self.assertRaises(WireError, decode_uvarint, b"\xff\xff\xff\xff\x1f", 0)
        self.assertRaises(WireError, decode_uvarint, b"\x80\x80\x80\x80\x80\x00", 0)
        self.assertRaises(WireError, decode_varlong, b"\xff" * 9 + b"\x7f", 0)
        self.assertRaises(WireError, decode_varlong, b"\xff" * 11, 0)
        self.assertRaises(WireError, decode_varlong, b"\xff", 0)


class HeaderTests(SynchronousTestCase):
    """Request headers."""

    RAW = bytes.fromhex("00030009 0000002a 0003 616263")

    def test_tags_skipped(self) -> None:
        """Tags in a request header are skipped; the body starts behind them."""
        header = decode_request_header(self.RAW + b"\2\0\1x\x07\0" + b"body", True)
        self.assertEqual(header, (3, 9, 42, "abc", len(self.RAW) + 6))

    def test_broken(self) -> None:
        """Headers that end early, or promise more than there is, are WireErrors."""
        whole = self.RAW + b"\1\0\1x"
        for end in range(len(whole)):
            self.assertRaises(WireError, decode_request_header, whole[:end], True)
        self.assertRaises(WireError, peek_request, self.RAW[:7])
        self.assertRaises(WireError, decode_request_header, self.RAW[:8] + b"\xff\xfe" + bytes(20), False)
        self.assertRaises(WireError, decode_request_header, self.RAW[:8] + b"\x7f\xff" + bytes(20), False)
        self.assertRaises(WireError, decode_request_header, self.RAW[:8] + b"\0\1\xff" + bytes(20), False)
        self.assertRaises(WireError, decode_request_header, self.RAW + b"\xff\xff\xff\xff\x0f", True)
        self.assertRaises(WireError, decode_request_header, self.RAW + b"\1\0\x7f", True)

    @settings(deadline=None, max_examples=300)
    @given(st.binary(max_size=60), st.booleans())
    def test_any_bytes(self, raw: bytes, flexible: bool) -> None:
        """Any bytes are a header or a WireError."""
        try:
            header = decode_request_header(raw, flexible)
        except WireError:
            return
        self.assertLessEqual(header.body, len(raw))
