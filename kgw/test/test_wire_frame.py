"""Frames are cut from any chunks, at once refused when they are too large, and kept while nobody takes them."""

from __future__ import annotations

import struct
import time

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kgw.errors import WireError
from kgw.wire.frame import FrameReader

LIMIT = 1000


def framed(*frames: bytes) -> bytes:
    return b"".join(struct.pack(">i", len(frame)) + frame for frame in frames)


def drain(reader: FrameReader) -> list[bytes]:
    frames = []
    while (frame := reader.take()) is not None:
        frames.append(frame)
    return frames


class FrameReaderTests(SynchronousTestCase):
    def refusal(self, data: bytes, limit: int = LIMIT) -> str:
        reader = FrameReader(limit)
        reader.feed(data)
        return str(self.assertRaises(WireError, reader.take))

    def test_many_frames_in_one_chunk(self) -> None:
        reader = FrameReader(LIMIT)
        reader.feed(framed(b"one", b"", b"three"))
        self.assertEqual(drain(reader), [b"one", b"", b"three"])
        self.assertEqual((reader.buffered, reader.incomplete), (0, 0))

    def test_a_frame_of_the_limit_is_taken(self) -> None:
        reader = FrameReader(LIMIT)
        reader.feed(framed(bytes(LIMIT)))
        self.assertEqual(drain(reader), [bytes(LIMIT)])

    def test_one_byte_at_a_time(self) -> None:
        frames = [b"", b"a", b"x" * 300, b"last"]
        reader = FrameReader(LIMIT)
        got = []
        for byte in framed(*frames):
            reader.feed(bytes((byte,)))
            got += drain(reader)
        self.assertEqual(got, frames)

    def test_what_an_unfinished_frame_wants(self) -> None:
        reader = FrameReader(LIMIT)
        reader.feed(framed(b"done") + framed(bytes(500))[:3])
        self.assertEqual(drain(reader), [b"done"])
        self.assertEqual((reader.buffered, reader.incomplete), (3, 1))
        reader.feed(framed(bytes(500))[3:104])
        self.assertIsNone(reader.take())
        self.assertEqual((reader.buffered, reader.incomplete), (100, 400))
        reader.feed(bytes(400) + b"\0")
        self.assertEqual(reader.take(), bytes(500))
        self.assertEqual(reader.buffered, 1)

    def test_frames_wait_while_nobody_takes_them(self) -> None:
        frames = [bytes((i,)) * 50 for i in range(40)]
        data = framed(*frames)
        reader = FrameReader(LIMIT)
        reader.feed(data[:70])
        self.assertEqual(reader.take(), frames[0])
        for start in range(70, len(data), 70):
            reader.feed(data[start : start + 70])
        self.assertEqual(reader.buffered, len(data) - 54)
        self.assertEqual(drain(reader), frames[1:])
        self.assertEqual(reader.buffered, 0)

    def test_small_requests_have_a_limit_of_their_own(self) -> None:
        """A frame over it is taken where its API key is one of the large ones, and refused at that key elsewhere."""
        large, small = b"\0\0" + bytes(500), b"\0\3" + bytes(500)
        reader = FrameReader(LIMIT, 100, frozenset([b"\0\0"]))
        reader.feed(framed(b"\0\3" + bytes(98), large, large, b"last"))
        self.assertEqual(drain(reader), [b"\0\3" + bytes(98), large, large, b"last"])
        for start in range(1, 5):
            reader = FrameReader(LIMIT, 100, frozenset([b"\0\0"]))
            reader.feed(framed(b"") + framed(small)[:start])
            self.assertEqual(reader.take(), b"")
            self.assertIsNone(reader.take())
            self.assertEqual(reader.incomplete, 4 - start if start < 4 else 2)
            reader.feed(framed(small)[start:5])
            self.assertIsNone(reader.take())
            self.assertEqual(reader.incomplete, 1)
            reader.feed(framed(small)[5:6])
            refused = str(self.assertRaises(WireError, reader.take))
            for part in ("502 bytes", "key 3", "100", "kgw.control.request.max.bytes"):
                self.assertIn(part, refused)
            self.assertEqual(str(self.assertRaises(WireError, reader.take)), refused)

    def test_large_requests_in_drops(self) -> None:
        """Wherever they are cut."""
        frames = [b"\0\0" + bytes(300), b"", b"\0\0" + bytes(101), b"\0\3"]
        reader = FrameReader(LIMIT, 100, frozenset([b"\0\0"]))
        got = []
        for byte in framed(*frames):
            reader.feed(bytes((byte,)))
            got += drain(reader)
        self.assertEqual(got, frames)

    def test_too_large_a_size_is_refused_before_its_bytes_come(self) -> None:
        self.assertIn("1001 bytes", self.refusal(struct.pack(">i", LIMIT + 1)))

    def test_a_negative_size_is_refused(self) -> None:
        self.assertIn("-1", self.refusal(struct.pack(">i", -1)))

    def test_a_size_that_comes_in_pieces_is_refused_too(self) -> None:
        reader = FrameReader(LIMIT)
        reader.feed(framed(b"fine") + b"\x7f\xff")
        self.assertEqual(drain(reader), [b"fine"])
        reader.feed(b"\xff\xff")
        self.assertRaises(WireError, reader.take)
        self.assertRaises(WireError, reader.take)

    def test_other_protocols_are_called_by_their_name(self) -> None:
        hundred_mib = 100 << 20
        self.assertIn("look like HTTP", self.refusal(b"GET / HTTP/1.1\r\n", hundred_mib))
        self.assertIn("HTTP", self.refusal(b"POST /topics HTTP/1.1\r\n", hundred_mib))
        self.assertIn("TLS", self.refusal(bytes.fromhex("16030102000100"), hundred_mib))
        self.assertIn("SSH", self.refusal(b"SSH-2.0-OpenSSH_9.6\r\n", hundred_mib))

    def test_a_large_frame_is_joined_once(self) -> None:
        # joining at every chunk would copy 10 GB here
        size = 50 << 20
        data = struct.pack(">i", size) + bytes(size)
        chunks = [data[start : start + 65536] for start in range(0, len(data), 65536)]
        reader = FrameReader(size)
        begun = time.process_time()
        frame = None
        for chunk in chunks:
            reader.feed(chunk)
            frame = reader.take()
        self.assertLess(time.process_time() - begun, 1.0)
        self.assertIsNotNone(frame)
        self.assertEqual(len(frame or b""), size)

    @settings(deadline=None, max_examples=150)
    @given(
        st.lists(st.binary(max_size=40) | st.binary(min_size=200, max_size=300), max_size=12),
        st.lists(st.integers(1, 90), min_size=1, max_size=10),
        st.lists(st.booleans(), min_size=1, max_size=10),
    )
    def test_any_chunks_give_the_same_frames(self, frames: list[bytes], cuts: list[int], pauses: list[bool]) -> None:
        data = framed(*frames)
        reader = FrameReader(LIMIT)
        got: list[bytes] = []
        offset = turn = 0
        while offset < len(data):
            size = cuts[turn % len(cuts)]
            reader.feed(data[offset : offset + size])
            offset += size
            if not pauses[turn % len(pauses)]:
                got += drain(reader)
                if reader.buffered or reader.incomplete:
                    self.assertGreater(reader.incomplete, 0)
            turn += 1
        self.assertEqual(got + drain(reader), frames)
        self.assertEqual((reader.buffered, reader.incomplete), (0, 0))

    @settings(deadline=None, max_examples=150)
    @given(st.lists(st.binary(min_size=1, max_size=60), max_size=8))
    def test_any_bytes_are_frames_or_refused(self, chunks: list[bytes]) -> None:
        reader = FrameReader(LIMIT)
        taken = 0
        try:
            for chunk in chunks:
                reader.feed(chunk)
                taken += sum(len(frame) + 4 for frame in drain(reader))
        except WireError:
            return
        self.assertLessEqual(taken + reader.buffered, len(b"".join(chunks)))
