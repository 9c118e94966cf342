"""What records say of their schemas, in front of values and in headers, in all the forms that serializers have."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kgw.schema.framing import (
    FIRST,
    KEY_HEADER,
    MOST_INDEX,
    MOST_INDEXES,
    VALUE_HEADER,
    Framed,
    guid_header,
    index_array,
    of_header,
    of_record,
    of_value,
    prefixed,
    read_indexes,
    readings,
)

GUID = bytes(range(16))
WAYS = st.lists(st.integers(0, 300) | st.integers(0, MOST_INDEX), min_size=1, max_size=MOST_INDEXES).map(tuple)


class PrefixTests(SynchronousTestCase):
    """Magic byte 0 and an id in front of a value."""

    @given(schema_id=st.integers(1, (1 << 31) - 1), payload=st.binary(max_size=40))
    @settings(max_examples=100, deadline=None)
    def test_round_trip(self, schema_id: int, payload: bytes) -> None:
        """What a serializer writes is read as it was."""
        self.assertEqual(of_value(prefixed(schema_id, payload)), Framed(schema_id, None, payload))

    def test_bytes(self) -> None:
        """The format is Confluent's."""
        self.assertEqual(prefixed(258, b"xy"), b"\0\0\0\1\2xy")
        self.assertEqual(prefixed(258, b"xy", (1,)), b"\0\0\0\1\2\2\2xy")

    def test_empty_payload(self) -> None:
        """An Avro record without fields has no bytes."""
        self.assertEqual(of_value(b"\0\0\0\0\7"), Framed(7, None, b""))

    def test_not_framed(self) -> None:
        """Other formats, values that are too short, and ids that no registry gives are none."""
        for value in (b"", b"\0", b"\0\0\0\1", b'{"a": 1}', b"\1\0\0\0\1x", b"\3" + GUID, b"\0" * 5, b"\0\xff\0\0\0x"):
            self.assertIsNone(of_value(value), value)

    @given(st.binary(max_size=60))
    @settings(max_examples=300, deadline=None)
    def test_any_bytes(self, data: bytes) -> None:
        """Nothing that a peer sends is more than no frame."""
        framed = of_value(data)
        if framed is not None and framed.schema_id is not None:
            self.assertEqual(prefixed(framed.schema_id, framed.payload), data)
        of_header(data, data)
        of_record(data, ((VALUE_HEADER, data),))
        for indexes, start in readings(data):
            self.assertTrue(0 <= start <= len(data))
            self.assertTrue(0 < len(indexes) <= MOST_INDEXES)


class HeaderTests(SynchronousTestCase):
    """A GUID in a header, with the value bare."""

    def test_guid(self) -> None:
        """The value is the payload, whatever it begins with."""
        self.assertEqual(of_header(guid_header(GUID), b"\0\0\0\0\1x"), Framed(None, GUID, b"\0\0\0\0\1x"))

    def test_indexes(self) -> None:
        """Of Protobuf the way to the message follows the GUID."""
        for indexes in ((0,), (1,), (2, 1, 0)):
            self.assertEqual(of_header(guid_header(GUID, indexes), b"x"), Framed(None, GUID, b"x", indexes))

    def test_id(self) -> None:
        """Readers take an id in the header as well."""
        self.assertEqual(of_header(prefixed(9, b""), b"x"), Framed(9, None, b"x"))
        self.assertEqual(of_header(prefixed(9, b"", (3,)), b"x"), Framed(9, None, b"x", (3,)))

    def test_something_behind(self) -> None:
        """What follows the GUID and is no way to a message is not taken for one."""
        self.assertEqual(of_header(guid_header(GUID) + b"\2\2\2", b"x"), Framed(None, GUID, b"x"))

    def test_no_guid(self) -> None:
        """Headers that are too short or of another kind say nothing."""
        for header in (b"", b"\1", b"\1" + GUID[1:], b"\2" + GUID, b"text"):
            self.assertIsNone(of_header(header, b"x"))

    def test_of_record(self) -> None:
        """The header counts before the value, the last of a name counts, and each of key and value has its own."""
        value = prefixed(7, b"x")
        mine, other = guid_header(GUID), guid_header(GUID[::-1])
        self.assertEqual(of_record(value), Framed(7, None, b"x"))
        self.assertEqual(of_record(value, (("a", None), (VALUE_HEADER, mine))), Framed(None, GUID, value))
        self.assertEqual(of_record(value, ((VALUE_HEADER, other), (VALUE_HEADER, mine))), Framed(None, GUID, value))
        self.assertEqual(of_record(value, ((KEY_HEADER, mine),)), Framed(7, None, b"x"))
        self.assertEqual(of_record(value, ((KEY_HEADER, mine),), KEY_HEADER), Framed(None, GUID, value))
        self.assertEqual(of_record(value, ((VALUE_HEADER, b"?"),)), Framed(7, None, b"x"))
        self.assertEqual(of_record(value, ((VALUE_HEADER, None),)), Framed(7, None, b"x"))

    def test_null(self) -> None:
        """A tombstone is never framed."""
        self.assertIsNone(of_record(None, ((VALUE_HEADER, guid_header(GUID)),)))


class IndexTests(SynchronousTestCase):
    """The way to a Protobuf message."""

    def test_bytes(self) -> None:
        """As the clients write it: the short form, the second message, one within the second."""
        self.assertEqual(index_array((0,)), b"\0")
        self.assertEqual(index_array((1,)), b"\2\2")
        self.assertEqual(index_array((1, 1)), b"\4\2\2")
        self.assertEqual(index_array((1, 0), zigzag=False), b"\2\1\0")
        self.assertEqual(index_array((200,), zigzag=False), b"\1\xc8\1")

    @given(way=WAYS, zigzag=st.booleans(), rest=st.binary(max_size=10))
    @settings(max_examples=200, deadline=None)
    def test_round_trip(self, way: tuple[int, ...], zigzag: bool, rest: bytes) -> None:
        """Both forms are read as they were written, and the message begins behind them."""
        array = index_array(way, zigzag)
        self.assertEqual(read_indexes(array + rest, zigzag), (way, len(array)))

    def test_no_indexes(self) -> None:
        """Counts below 0, beyond the bytes there are or beyond all bounds are no way; nor are endless varints."""
        for data in (b"", b"\1", b"\2", b"\2\1", b"\4\2", b"\x80" * 20, b"\2" + b"\xff" * 20, b"\xfe\xff\xff\xff\x0f"):
            self.assertIsNone(read_indexes(data), data)
        self.assertIsNone(read_indexes(index_array((0,) * (MOST_INDEXES + 1))))

    def test_readings(self) -> None:
        """In zig-zag first, then plain, then not at all."""
        self.assertEqual(list(readings(b"\0abc")), [(FIRST, 1), (FIRST, 0)])
        self.assertEqual(list(readings(b"\2\2abc")), [((1,), 2), ((2, 97), 3), (FIRST, 0)])
        self.assertEqual(list(readings(b"\1\3abc")), [((3,), 2), (FIRST, 0)])
        self.assertEqual(list(readings(b"")), [(FIRST, 0)])
