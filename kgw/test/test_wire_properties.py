"""Properties of all decoders: what is written is read; any bytes are a value or a WireError, soon."""

from __future__ import annotations

import time
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kgw.errors import WireError
from kgw.handlers.registry import ALL
from kgw.test.strategies import messages
from kgw.wire.compiler import Codec

#: Every compiled codec: its name for people, itself, whether it is flexible.
CODECS: list[tuple[str, Codec[Any], bool]] = [
    (f"{api.name} {kind} v{version}", codec, api.is_flexible(version))
    for api in ALL
    for version in api.versions
    for kind, codec in (("request", api.request_codec(version)), ("response", api.response_codec(version)))
]

#: Seconds one small frame may take; thousands of times what it does take.
SOON = 0.5


def a_message() -> st.SearchStrategy[tuple[Codec[Any], Any]]:
    """Any message of any version of any API, with its codec."""
    return st.sampled_from(CODECS).flatmap(
        lambda entry: st.tuples(st.just(entry[1]), messages(entry[1].cls, entry[1].version, entry[2]))
    )


class RoundTripTests(SynchronousTestCase):
    """Lawful messages."""

    def test_every_version(self) -> None:
        """What is written is read, and ends where it ended."""
        for name, codec, flexible in CODECS:
            self.check(name, codec, flexible)

    def check(self, name: str, codec: Codec[Any], flexible: bool) -> None:
        @settings(deadline=None, max_examples=8, database=None)
        @given(messages(codec.cls, codec.version, flexible))
        def round_trip(value: Any) -> None:
            raw = b"".join(codec.encode(value))
            self.assertEqual(codec.decode(raw), (value, len(raw)), name)

        round_trip()


class HostileTests(SynchronousTestCase):
    """Frames from someone who does not mean well."""

    def decode(self, codec: Codec[Any], raw: bytes) -> None:
        started = time.perf_counter()
        try:
            _, end = codec.decode(raw)
        except WireError:
            pass
        else:
            self.assertLessEqual(end, len(raw))
        self.assertLess(time.perf_counter() - started, SOON)

    @settings(deadline=None, max_examples=600)
    @given(st.sampled_from(CODECS), st.binary(max_size=300))
    def test_any_bytes(self, entry: tuple[str, Codec[Any], bool], raw: bytes) -> None:
        """Random bytes."""
        self.decode(entry[1], raw)

    @settings(deadline=None, max_examples=600)
    @given(a_message(), st.data())
    def test_mutated(self, made: tuple[Codec[Any], Any], data: st.DataObject) -> None:
        """A lawful message with some bytes replaced."""
        codec, value = made
        raw = bytearray(b"".join(codec.encode(value)) or b"\0")
        for _ in range(data.draw(st.integers(1, 4))):
            at = data.draw(st.integers(0, len(raw) - 1))
            raw[at] = data.draw(st.sampled_from((0, 1, 0x7F, 0x80, 0xFE, 0xFF)) | st.integers(0, 255))
        self.decode(codec, bytes(raw))

    @settings(deadline=None, max_examples=300)
    @given(a_message(), st.data())
    def test_truncated(self, made: tuple[Codec[Any], Any], data: st.DataObject) -> None:
        """A lawful message cut short is a WireError, wherever it is cut."""
        codec, value = made
        raw = b"".join(codec.encode(value))
        if raw:
            end = data.draw(st.integers(0, len(raw) - 1))
            self.assertRaises(WireError, codec.decode, raw[:end])

    def test_same_byte_throughout(self) -> None:
        """Long runs of one byte: the largest counts and lengths of every form."""
        for byte in (0, 1, 2, 0x7F, 0x80, 0xFF):
            raw = bytes([byte]) * 20_000
            for _, codec, _ in CODECS:
                self.decode(codec, raw)
