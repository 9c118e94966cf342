"""gRPC's messages on a stream: one byte that says compressed or not, four of length, the message."""

from __future__ import annotations

import struct

from kgw.engine.seaweed.h2.status import INTERNAL, RESOURCE_EXHAUSTED, UNIMPLEMENTED, GrpcStatus

_PREFIX = struct.Struct(">BI")
#: Bytes before each message.
PREFIX_BYTES = _PREFIX.size


def frame(message: bytes) -> bytes:
    """The message with its prefix, not compressed."""
    return _PREFIX.pack(0, len(message)) + message


class Malformed(Exception):
    """
    These bytes are not messages we take.

    @ivar status: what the call ends with.
    """

    def __init__(self, status: GrpcStatus) -> None:
        super().__init__(status.message)
        self.status = status


class Deframer:
    """Cuts a stream of bytes behind whole messages; keeps the rest, which is never more than one message."""

    __slots__ = ("_held", "_most", "_pieces", "_wanted")

    def __init__(self, most: int) -> None:
        """
        @param most: the largest message taken, in bytes.
        """
        self._most = most
        self._pieces: list[bytes] = []
        self._held = 0
        self._wanted = 0

    @property
    def held(self) -> int:
        """Bytes of a message that is not complete."""
        return self._held

    def feed(self, data: bytes) -> bytes:
        """
        Take more bytes.

        @return: the messages that are complete now with their prefixes, one behind the other; perhaps nothing.
        @raise Malformed: a message that is too large or compressed.
        """
        if self._held:
            self._pieces.append(data)
            self._held += len(data)
            if self._held < self._wanted:
                return b""
            data = b"".join(self._pieces)
            self._pieces = []
            self._held = 0
        position, end = 0, len(data)
        unpack, most = _PREFIX.unpack_from, self._most
        self._wanted = PREFIX_BYTES
        while end - position >= 5:
            compressed, size = unpack(data, position)
            if compressed or size > most:
                raise Malformed(_refusal(compressed, size, most))
            following = position + 5 + size
            if following > end:
                self._wanted = 5 + size
                break
            position = following
        if position == end:
            return data
        rest = data[position:]
        self._pieces.append(rest)
        self._held = len(rest)
        return data[:position]


def _refusal(compressed: int, size: int, most: int) -> GrpcStatus:
    if compressed == 1:
        return GrpcStatus(UNIMPLEMENTED, "the server sent a compressed message, which nobody asked for")
    if compressed:
        return GrpcStatus(INTERNAL, "the server sent bytes that are no gRPC message")
    return GrpcStatus(RESOURCE_EXHAUSTED, f"the server sent a message of {size} bytes, more than {most}")
