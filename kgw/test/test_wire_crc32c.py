"""The checksum is CRC-32C, whichever library computes it."""

from __future__ import annotations

from crcmod.predefined import mkPredefinedCrcFun
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kgw.wire.crc32c import IMPLEMENTATION, crc32c, fast, portable

#: From RFC 3720, appendix B.4.
RFC_3720 = (
    (bytes(32), 0x8A9136AA),
    (b"\xff" * 32, 0x62A8AB43),
    (bytes(range(32)), 0x46DD794E),
    (bytes(range(31, -1, -1)), 0x113FDB5C),
    (b"123456789", 0xE3069283),
    (b"", 0),
)


class Crc32cTests(SynchronousTestCase):
    def test_known_sums(self) -> None:
        for data, expected in RFC_3720:
            self.assertEqual(crc32c(data), expected)

    def test_the_portable_function_computes_the_same_sums(self) -> None:
        function = portable()
        for data, expected in RFC_3720:
            self.assertEqual(function(data), expected)

    def test_the_fast_library_is_in_use_where_it_is_there(self) -> None:
        self.assertEqual(IMPLEMENTATION, "crcmod" if fast() is None else "google-crc32c")

    @settings(deadline=None, max_examples=100)
    @given(st.binary(max_size=3000))
    def test_both_libraries_agree(self, data: bytes) -> None:
        self.assertEqual(crc32c(data), mkPredefinedCrcFun("crc-32c")(data))
