"""Every compression is what other implementations read and write, stops at its limit, and fails with WireError only."""

from __future__ import annotations

import gzip
import resource
import struct
import zlib

import cramjam
import lz4.frame
import snappy
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st
from kafka import codec as kafka_codec
from twisted.trial.unittest import SynchronousTestCase

from kgw.errors import WireError
from kgw.wire.compression import CompressionType, compress, decompress

TEXT = b"".join(b'{"id": %d, "name": "user%d"}' % (i, i * 7919 % 1000) for i in range(5000))
SAMPLES = (b"", b"a", TEXT, bytes(100_000), bytes(range(256)) * 3)
MIB = 1 << 20

#: Compressed by other implementations, in each form that clients send.
FOREIGN = {
    "gzip of the standard library": (CompressionType.GZIP, gzip.compress),
    "gzip of kafka-python": (CompressionType.GZIP, kafka_codec.gzip_encode),
    "snappy without framing": (CompressionType.SNAPPY, snappy.compress),
    "snappy of kafka-python": (CompressionType.SNAPPY, kafka_codec.snappy_encode),
    "lz4 frame": (CompressionType.LZ4, lz4.frame.compress),
    "lz4 frame with linked blocks, sums and size": (
        CompressionType.LZ4,
        lambda data: lz4.frame.compress(
            data, block_linked=True, content_checksum=True, block_checksum=True, store_size=True
        ),
    ),
    "lz4 of kafka-python": (CompressionType.LZ4, kafka_codec.lz4_encode),
    "zstd with its size": (CompressionType.ZSTD, zstandard.ZstdCompressor().compress),
    "zstd without its size": (
        CompressionType.ZSTD,
        zstandard.ZstdCompressor(write_content_size=False, write_checksum=True).compress,
    ),
    "zstd of kafka-python": (CompressionType.ZSTD, kafka_codec.zstd_encode),
}

#: Other implementations that read what we write.
READERS = {
    CompressionType.GZIP: (gzip.decompress, kafka_codec.gzip_decode),
    CompressionType.SNAPPY: (kafka_codec.snappy_decode,),
    CompressionType.LZ4: (lz4.frame.decompress, kafka_codec.lz4_decode),
    CompressionType.ZSTD: (
        lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
        kafka_codec.zstd_decode,
    ),
}


class CompressionTypeTests(SynchronousTestCase):
    def test_names_of_configs(self) -> None:
        names = {name: CompressionType.of(name) for name in ("none", "uncompressed", "gzip", "snappy", "lz4", "zstd")}
        self.assertEqual(list(names.values()), [0, 0, 1, 2, 3, 4])
        self.assertEqual([kind.text for kind in CompressionType], ["none", "gzip", "snappy", "lz4", "zstd"])

    def test_unknown_names_and_numbers(self) -> None:
        self.assertRaises(ValueError, CompressionType.of, "producer")
        self.assertRaises(ValueError, compress, 5, b"x")
        self.assertRaises(WireError, decompress, 5, b"x", MIB)


class CompressionTests(SynchronousTestCase):
    def test_round_trip(self) -> None:
        for kind in CompressionType:
            for sample in SAMPLES:
                packed = compress(kind, sample)
                self.assertEqual(decompress(kind, packed, MIB), sample)
                self.assertEqual(decompress(kind, memoryview(packed), MIB), sample)

    def test_other_implementations_are_read(self) -> None:
        for name, (kind, pack) in FOREIGN.items():
            for sample in SAMPLES:
                self.assertEqual(decompress(kind, pack(sample), MIB), sample, name)

    def test_other_implementations_read_ours(self) -> None:
        for kind, readers in READERS.items():
            for read in readers:
                for sample in SAMPLES[1:]:
                    self.assertEqual(bytes(read(compress(kind, sample))), sample, kind.text)

    def test_lz4_blocks_are_independent(self) -> None:
        # Kafka's Java reader refuses others
        self.assertFalse(lz4.frame.get_frame_info(compress(CompressionType.LZ4, TEXT))["block_linked"])

    def test_levels(self) -> None:
        for kind, levels in (
            (CompressionType.GZIP, (-1, 1, 9)),
            (CompressionType.LZ4, (1, 9, 17)),
            (CompressionType.ZSTD, (-131072, 1, 3, 22)),
        ):
            for level in levels:
                self.assertEqual(decompress(kind, compress(kind, TEXT, level), MIB), TEXT, f"{kind.text} {level}")
        self.assertLess(len(compress(CompressionType.GZIP, TEXT, 9)), len(compress(CompressionType.GZIP, TEXT, 1)))
        self.assertLess(len(compress(CompressionType.LZ4, TEXT, 17)), len(compress(CompressionType.LZ4, TEXT)))
        self.assertLess(len(compress(CompressionType.ZSTD, TEXT, 19)), len(compress(CompressionType.ZSTD, TEXT)))

    def test_the_limit_is_exact(self) -> None:
        for kind in CompressionType:
            packed = compress(kind, TEXT)
            self.assertEqual(decompress(kind, packed, len(TEXT)), TEXT)
            self.assertRaises(WireError, decompress, kind, packed, len(TEXT) - 1)
            self.assertRaises(WireError, decompress, kind, packed, 0)
            self.assertEqual(decompress(kind, compress(kind, b""), 0), b"")

    def test_a_bomb_stops_at_the_limit(self) -> None:
        # half a GiB of zeros each, made of one MiB that is repeated
        deflate = zlib.compressobj(9, zlib.DEFLATED, 31)
        start, block = (deflate.compress(bytes(MIB)) + deflate.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
        xerial = b"\x82SNAPPY\x00" + struct.pack(">ii", 1, 1)
        packed = [
            (CompressionType.GZIP, start + block * 511),
            (CompressionType.LZ4, compress(CompressionType.LZ4, bytes(MIB)) * 512),
            (CompressionType.ZSTD, compress(CompressionType.ZSTD, bytes(MIB)) * 512),
            # snappy says how long a block will be; these claim 4 GiB
            (CompressionType.SNAPPY, b"\xff\xff\xff\xff\x0f" + bytes(100)),
            (CompressionType.SNAPPY, xerial + struct.pack(">i", 8) + b"\xff\xff\xff\xff\x0f\0\0\0"),
            (CompressionType.SNAPPY, compress(CompressionType.SNAPPY, bytes(9 * MIB))),
        ]
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for kind, data in packed:
            self.assertRaises(WireError, decompress, kind, data, 8 * MIB)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        self.assertLess(grown * 1024, 64 * MIB)

    def test_output_larger_than_usual_is_whole(self) -> None:
        sample = bytes(5 * MIB) + TEXT
        for kind in CompressionType:
            self.assertEqual(decompress(kind, compress(kind, sample), 100 * MIB), sample)

    def test_damage_is_a_wire_error(self) -> None:
        for kind in list(CompressionType)[1:]:
            packed = compress(kind, TEXT)
            self.assertRaises(WireError, decompress, kind, packed[:-1], MIB)
            self.assertRaises(WireError, decompress, kind, packed[: len(packed) // 2], MIB)
            self.assertRaises(WireError, decompress, kind, packed + b"more", MIB)
            self.assertRaises(WireError, decompress, kind, b"no such thing", MIB)
            self.assertRaises(WireError, decompress, kind, b"", MIB)

    def test_damaged_snappy_framing(self) -> None:
        header = b"\x82SNAPPY\x00" + struct.pack(">ii", 1, 1)
        block = bytes(cramjam.snappy.compress_raw(b"records"))
        self.assertEqual(decompress(2, header + struct.pack(">i", len(block)) + block, 10), b"records")
        for size in (-1, 0, len(block) + 1, 2**31 - 1, -(2**31)):
            self.assertRaises(WireError, decompress, 2, header + struct.pack(">i", size) + block, 10)
        self.assertRaises(WireError, decompress, 2, header + b"\0\0", 10)

    @settings(deadline=None, max_examples=100)
    @given(st.sampled_from(CompressionType), st.binary(max_size=2000) | st.binary(max_size=20).map(lambda b: b * 3000))
    def test_any_bytes_come_back(self, kind: CompressionType, data: bytes) -> None:
        self.assertEqual(decompress(kind, compress(kind, data), MIB), data)

    @settings(deadline=None, max_examples=300)
    @given(st.sampled_from(CompressionType), st.binary(max_size=100))
    @example(CompressionType.SNAPPY, b"\x82SNAPPY\x00")
    @example(CompressionType.LZ4, b"\x04\x22\x4d\x18")
    @example(CompressionType.ZSTD, b"\x28\xb5\x2f\xfd")
    def test_any_bytes_give_bytes_or_a_wire_error(self, kind: CompressionType, data: bytes) -> None:
        self.check(kind, data)

    @settings(deadline=None, max_examples=400)
    @given(
        st.sampled_from(sorted(FOREIGN)),
        st.lists(st.tuples(st.integers(0, 10_000), st.integers(1, 255)), min_size=1, max_size=3),
        st.integers(0, 10_000),
    )
    def test_flipped_bits_give_bytes_or_a_wire_error(self, name: str, flips: list[tuple[int, int]], cut: int) -> None:
        kind, pack = FOREIGN[name]
        data = bytearray(pack(TEXT[:3000]))
        for place, bits in flips:
            data[place % len(data)] ^= bits
        self.check(kind, bytes(data[: cut % len(data)] if cut % 3 == 0 else data))

    def check(self, kind: CompressionType, data: bytes) -> None:
        limit = 64 * 1024
        try:
            output = decompress(kind, data, limit)
        except WireError:
            return
        self.assertIsInstance(output, bytes)
        self.assertLessEqual(len(output), limit)
