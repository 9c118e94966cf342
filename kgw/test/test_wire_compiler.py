"""What compiled codecs do with lawful, odd and broken messages."""

from __future__ import annotations

import struct
import tracemalloc

from twisted.trial.unittest import SynchronousTestCase

from kgw.errors import WireError
from kgw.wire.compiler import Codec
from kgw.wire.decoder import MAX_ELEMENTS
from kgw.wire.message import array, field, message
from kgw.wire.primitives import (
    BOOL,
    BYTES,
    FLOAT64,
    INT8,
    INT16,
    INT32,
    INT64,
    RECORDS,
    STRING,
    UINT16,
    UINT32,
    UUID,
    encode_uvarint,
)

Records = bytes | memoryview | list[bytes | memoryview]


@message
class Point:
    x: int = field(INT32, default=-1)
    y: int = field(INT64, since=1, default=-2)


@message
class Sample:
    """Flexible from version 2 on."""

    flag: bool = field(BOOL)
    small: int = field(INT8)
    port: int = field(UINT16, since=1)
    mask: int = field(UINT32, since=1)
    ratio: float = field(FLOAT64, since=1)
    name: str | None = field(STRING, nullable=1, default=None)
    old: str = field(STRING, until=1, default="gone")
    blob: bytes | None = field(BYTES, nullable=1)
    id: bytes = field(UUID, since=1)
    numbers: list[int] = field(array(INT16))
    words: list[str] | None = field(array(STRING), nullable=1)
    points: list[Point] = field(array(Point))
    origin: Point | None = field(Point, since=1, nullable=1, default=None)
    legacy: str = field(STRING, since=2, flexible=False)
    note: str | None = field(STRING, since=2, nullable=2, tag=0, default=None)
    count: int = field(INT32, since=2, tag=1, default=7)
    corner: Point = field(Point, since=2, tag=2)
    marks: list[int] = field(array(INT8), since=2, tag=5)


@message
class Batches:
    first: Records | None = field(RECORDS, nullable=0)
    between: str = field(STRING)
    second: Records | None = field(RECORDS, nullable=0)


V0, V1, V2 = (Codec(Sample, version, version >= 2) for version in range(3))
FULL = Sample(
    flag=True,
    small=-5,
    port=65535,
    mask=0xFFFFFFFF,
    ratio=0.5,
    name="größe",
    blob=b"\0\1",
    id=bytes(range(16)),
    numbers=[1, -2],
    words=["a", "", "b" * 200],
    points=[Point(1, 2), Point(3, 4)],
    origin=Point(5, 6),
    legacy="x",
    note="n",
    count=8,
    corner=Point(9, 10),
    marks=[1, 2],
)


def joined(codec: Codec[Sample], value: Sample) -> bytes:
    return b"".join(codec.encode(value))


class RoundTripTests(SynchronousTestCase):
    """What is written can be read."""

    def test_all_fields(self) -> None:
        """A flexible version carries every field it has; others come back as their defaults."""
        raw = joined(V2, FULL)
        self.assertEqual(V2.decode(raw), (FULL, len(raw)))
        self.assertEqual(FULL.old, "gone")

    def test_absent_in_version(self) -> None:
        """A field the version does not have is not written and reads as its default."""
        raw = joined(V0, Sample(flag=True, name="n", port=9, points=[Point(1, 2)], note="lost", count=3))
        value, end = V0.decode(raw)
        self.assertEqual(end, len(raw))
        self.assertEqual((value.name, value.port, value.note, value.count), ("n", 0, None, 7))
        self.assertEqual(value.points, [Point(1, -2)])
        self.assertEqual(value.corner, Point())

    def test_defaults_are_not_shared(self) -> None:
        """Two decoded messages have lists and structs of their own."""
        raw = joined(V0, Sample(name=""))
        one, other = V0.decode(raw)[0], V0.decode(raw)[0]
        one.marks.append(1)
        one.corner.x = 5
        self.assertEqual((other.marks, other.corner), ([], Point()))

    def test_known_bytes(self) -> None:
        """An old and a flexible version, spelled out."""
        value = Sample(small=1, name="n", old="o", blob=b"b", numbers=[2], words=["w"], points=[Point(3)])
        self.assertEqual(
            joined(V0, value).hex(" "),
            "00 01 00 01 6e 00 01 6f 00 00 00 01 62 00 00 00 01 00 02 00 00 00 01 00 01 77 00 00 00 01 00 00 00 03",
        )
        value.count = 8
        self.assertEqual(
            joined(V2, value).hex(" "),
            "00 01 00 00 00 00 00 00 00 00 00 00 00 00 00 00 02 6e 02 62 " + "00 " * 16 + "02 00 02 02 02 77 "
            "02 00 00 00 03 ff ff ff ff ff ff ff fe 00 ff 00 00 01 01 04 00 00 00 08",
        )

    def test_any_byte_is_true(self) -> None:
        """A boolean is true for every byte but zero, as Kafka reads it."""
        raw = joined(V0, Sample(name=""))
        self.assertIs(V0.decode(b"\x7f" + raw[1:])[0].flag, True)


class NullTests(SynchronousTestCase):
    """Null is lawful from the version on that says so."""

    def test_nulls(self) -> None:
        """String, bytes, array and struct, in old and in compact form."""
        value = Sample(name=None, blob=None, words=None, origin=None)
        for codec in (V1, V2):
            got, _ = codec.decode(joined(codec, value))
            self.assertEqual((got.name, got.blob, got.words, got.origin), (None, None, None, None))

    def test_not_written(self) -> None:
        """A null where none may be is the caller's error."""
        for broken in (
            Sample(name=None),
            Sample(name="", blob=None),
            Sample(name="", words=None),
            Sample(name="", numbers=None),  # type: ignore[arg-type]
            Sample(name="", points=[None]),  # type: ignore[list-item]
        ):
            self.assertRaises(ValueError, V0.encode, broken)
        self.assertRaises(ValueError, V2.encode, Sample(corner=None))  # type: ignore[arg-type]
        self.assertRaises(ValueError, V2.encode, Sample(marks=None))  # type: ignore[arg-type]

    def test_not_read(self) -> None:
        """A null where none may be is a WireError."""
        self.assertRaisesRegex(WireError, "name must not be null", V0.decode, b"\0\0\xff\xff" + bytes(40))
        start = joined(V2, Sample())
        # the count of numbers, behind name (null), blob (empty) and id
        at = 16 + 1 + 1 + 16
        self.assertEqual(start[at], 1)
        self.assertRaisesRegex(WireError, "null", V2.decode, start[:at] + b"\0" + start[at + 1 :])


class ValueTests(SynchronousTestCase):
    """Values that do not fit their fields."""

    def test_refused(self) -> None:
        """Encoding fails with ValueError, whatever is wrong."""
        for broken in (
            Sample(name="", small=128),
            Sample(name="", numbers=[1 << 15]),
            Sample(name="", numbers=["x"]),  # type: ignore[list-item]
            Sample(name="x" * 32768),
            Sample(name=b"bytes"),  # type: ignore[arg-type]
            Sample(name="\ud800"),
            Sample(name="", blob="text"),  # type: ignore[arg-type]
            Sample(name="", points=[3]),  # type: ignore[list-item]
        ):
            self.assertRaises(ValueError, V0.encode, broken)

    def test_not_utf8(self) -> None:
        """A string that is not UTF-8 is a WireError."""
        self.assertRaisesRegex(WireError, "UTF-8", V0.decode, b"\0\0\0\1\xff" + bytes(40))


class TagTests(SynchronousTestCase):
    """The tag section (KIP-482)."""

    def setUp(self) -> None:
        self.raw = joined(V2, Sample())
        self.assertEqual(self.raw[-1], 0)

    def decode(self, section: bytes) -> Sample:
        value, end = V2.decode(self.raw[:-1] + section + b"behind")
        self.assertEqual(end, len(self.raw) - 1 + len(section))
        return value

    def test_defaults_left_out(self) -> None:
        """Tagged fields with their defaults take no bytes; any other value is written."""
        self.assertEqual(self.decode(b"\0"), Sample())
        for other in (Sample(note=""), Sample(count=0), Sample(corner=Point(y=0)), Sample(marks=[0])):
            raw = joined(V2, other)
            self.assertEqual(raw[len(self.raw) - 1], 1)
            self.assertEqual(V2.decode(raw)[0], other)

    def test_unknown_skipped(self) -> None:
        """Tags of later versions are skipped, between known ones too, with any number."""
        got = self.decode(b"\4" + b"\1\4\0\0\0\5" + b"\3\2zz" + b"\5\3\3\1\2" + b"\xff\xff\xff\xff\x0f\0")
        self.assertEqual(got, Sample(count=5, marks=[1, 2]))

    def test_size_must_fit(self) -> None:
        """A known field that is shorter or longer than its tag says is a WireError."""
        self.assertRaisesRegex(WireError, "count does not fill", self.decode, b"\1\1\5\0\0\0\5\0")
        self.assertRaisesRegex(WireError, "count does not fill", self.decode, b"\1\1\3\0\0\0\5")

    def test_beyond_the_end(self) -> None:
        """Sizes and counts are held against the bytes that are left."""
        self.assertRaisesRegex(WireError, "tagged field", self.decode, b"\1\x09\x7f")
        self.assertRaisesRegex(WireError, "tag section", self.decode, b"\xff\xff\xff\xff\x0f")
        self.assertRaises(WireError, self.decode, b"\xff\xff\xff\xff\xff\xff")

    def test_records_cannot_be_tagged(self) -> None:
        """Such a declaration is refused when it is compiled."""

        @message
        class Bad:
            batch: Records | None = field(RECORDS, nullable=0, tag=0, default=None)

        self.assertRaisesRegex(TypeError, "batch", Codec, Bad, 0, True)


class LimitTests(SynchronousTestCase):
    """Bytes that promise more than they hold."""

    def test_truncated_anywhere(self) -> None:
        """The end of the data at any byte is a WireError."""
        for codec in (V0, V1, V2):
            raw = joined(codec, FULL)
            for end in range(len(raw)):
                self.assertRaises(WireError, codec.decode, raw[:end])

    def test_huge_counts_allocate_nothing(self) -> None:
        """A count or length of two thousand million in a few bytes is refused before anything is allocated."""
        start = b"\0\0\0\0\0\0\0\0\0\0"
        huge = struct.pack(">i", (1 << 31) - 1)
        tracemalloc.start()
        try:
            for head in (b"\0\0\0\0\0\0", start, start + bytes(4), start + bytes(8)):
                self.assertRaisesRegex(WireError, "larger than the bytes left", V0.decode, head + huge + bytes(2000))
            self.assertLess(tracemalloc.get_traced_memory()[1], 1 << 20)
        finally:
            tracemalloc.stop()

    def test_count_against_least_size(self) -> None:
        """A count is refused when its elements cannot fit at their least size."""
        start = b"\0" * 10 + bytes(4) + bytes(4)
        self.assertRaisesRegex(WireError, "points", V0.decode, start + struct.pack(">i", 3) + bytes(11))
        self.assertEqual(len(V0.decode(start + struct.pack(">i", 3) + bytes(12))[0].points), 3)

    def test_elements_of_all_arrays(self) -> None:
        """What the bytes left would hold is refused where it would become too many objects, wherever it stands."""
        half = MAX_ELEMENTS // 2
        words = [""] * half
        most = Sample(numbers=[1] * half, words=words, points=[])
        read, _ = V2.decode(b"".join(V2.encode(most)))
        self.assertEqual((read.numbers, read.words), (most.numbers, words))
        for more in (
            Sample(numbers=[1] * half, words=[*words, ""]),
            Sample(numbers=[1] * half, words=words, points=[Point()]),
            Sample(words=words, marks=[1] * half),
        ):
            raised = self.assertRaises(WireError, V2.decode, b"".join(V2.encode(more)))
            self.assertIn(str(MAX_ELEMENTS), str(raised))

    def test_many_unknown_tags(self) -> None:
        """They cost time though they make no objects."""
        start = b"".join(V2.encode(Sample()))[:-1]
        tags = b"\x09\0" * MAX_ELEMENTS
        self.assertEqual(V2.decode(start + encode_uvarint(MAX_ELEMENTS) + tags)[0], Sample(old="gone"))
        self.assertRaises(WireError, V2.decode, start + encode_uvarint(MAX_ELEMENTS + 1) + tags + b"\x09\0")

    def test_long_strings(self) -> None:
        """The compact form could carry longer ones; Kafka refuses them too."""
        longest = Sample(note="x" * 0x7FFF)
        self.assertEqual(V2.decode(b"".join(V2.encode(longest)))[0].note, longest.note)
        self.assertRaises(WireError, V2.decode, b"".join(V2.encode(Sample(note="x" * 0x8000))))

    def test_negative(self) -> None:
        """No length is below -1."""
        self.assertRaises(WireError, V0.decode, b"\0\0\xff\xfe" + bytes(40))
        self.assertRaises(WireError, V0.decode, b"\0" * 6 + b"\xff\xff\xff\xfe" + bytes(40))

    def test_elements_of_no_size(self) -> None:
        """An array whose elements take no bytes cannot be declared: any count would be lawful."""

        @message
        class Nothing:
            late: int = field(INT8, since=5)

        @message
        class Bad:
            items: list[Nothing] = field(array(Nothing))

        self.assertRaisesRegex(TypeError, "no bytes", Codec, Bad, 0, False)
        self.assertEqual(Codec(Bad, 0, True).decode(b"\3\0\0\0")[0], Bad(items=[Nothing(), Nothing()]))


class RecordsTests(SynchronousTestCase):
    """Record batches are neither copied nor looked into."""

    def test_view(self) -> None:
        """They are read as views of the frame."""
        frame = b"\5abcd\2-\3ef\0"
        value, end = Codec(Batches, 0, True).decode(frame)
        self.assertEqual(end, len(frame))
        self.assertIsInstance(value.first, memoryview)
        assert isinstance(value.first, memoryview) and value.second is not None
        self.assertIs(value.first.obj, frame)
        self.assertEqual((bytes(value.first), value.between), (b"abcd", "-"))

    def test_written_as_they_are(self) -> None:
        """The buffers handed in stand in what is to be sent, several in a row as one field."""
        one, two = bytes(100), memoryview(b"yy")
        chunks = Codec(Batches, 0, False).encode(Batches(first=[one, two], between="-", second=None))
        self.assertIs(chunks[1], one)
        self.assertIs(chunks[2], two)
        self.assertEqual(b"".join(chunks), b"\0\0\0\x66" + one + b"yy" + b"\0\1-" + b"\xff\xff\xff\xff")
