"""Cuts what arrives on one connection into Kafka's frames: an int32 size and that many bytes."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Set as AbstractSet

from kgw.errors import WireError

_SIZE = struct.Struct(">i")
_PREFIX = _SIZE.size
#: Bytes of the API key, which every request starts with.
_KEY = 2

#: Chunks smaller than this are joined while they wait.
_SMALL = 4096

#: What clients of other protocols send first.
_FOREIGN = (
    (b"\x16\x03", "TLS: this listener speaks plain text"),
    (b"SSH-", "SSH: this port speaks the Kafka protocol"),
    *(
        (start, "HTTP: this port speaks the Kafka protocol")
        for start in (b"GET ", b"POST", b"HEAD", b"PUT ", b"DELE", b"OPTI", b"PATC", b"CONN", b"PRI ")
    ),
)


class FrameReader:
    """
    The receiving side of one connection: chunks go in with L{feed}, whole frames come out of L{take}.

    Chunks of an unfinished frame wait in a queue and are joined once, when it is complete. Nothing is taken
    out unless asked for, so a connection that is paused leaves its complete frames here; what waits is bounded
    by what was fed.

    A small frame of tiny elements becomes many times its size in objects, so what carries no record batches has a
    limit of its own, which is held against a frame as soon as its size and API key are there.

    @ivar limit: the most bytes a frame may have (C{socket.request.max.bytes}).
    @ivar control_limit: the most bytes of a frame whose API is none of C{large}
        (C{kgw.control.request.max.bytes}).
    """

    __slots__ = ("_at", "_chunk", "_large", "_later", "_later_bytes", "_wanted", "control_limit", "limit")

    def __init__(self, limit: int, control_limit: int | None = None, large: AbstractSet[bytes] = frozenset()) -> None:
        """
        @param control_limit: C{None} for one limit alone.
        @param large: the API keys, as their two bytes, for which C{limit} holds.
        """
        self.limit = limit
        self.control_limit = limit if control_limit is None else min(control_limit, limit)
        self._large = large
        self._chunk = b""  # frames are cut from here, from _at on
        self._at = 0
        self._later: deque[bytes] = deque()
        self._later_bytes = 0
        self._wanted = -1  # bytes of the frame whose size was read and taken off, or -1

    @property
    def buffered(self) -> int:
        """Bytes held, in frames and parts of frames."""
        return len(self._chunk) - self._at + self._later_bytes

    @property
    def incomplete(self) -> int:
        """
        Bytes that the frame being received still wants, or 0.

        It is known as soon as L{take} has returned C{None}. While only part of a size is there, or of the API key of
        a frame that may be too large for its API, that is what is wanted.
        """
        if self._wanted >= 0:
            return max(0, self._wanted - self.buffered)
        held = self.buffered
        if not 0 < held < _PREFIX + _KEY:
            return 0
        return (_PREFIX if held < _PREFIX else _PREFIX + _KEY) - held

    def feed(self, data: bytes) -> None:
        """Add the next bytes of the connection; they are kept as they are unless they are few."""
        later = self._later
        if self._at == len(self._chunk) and not later:
            self._chunk = data
            self._at = 0
            return
        self._later_bytes += len(data)
        if later and len(data) < _SMALL and len(later[-1]) < _SMALL:
            # a frame that comes in drops would cost many times its size in objects
            later[-1] += data
        else:
            later.append(data)

    def take(self) -> bytes | None:
        """
        The next whole frame, without its size; C{None} when more bytes are needed.

        @raise WireError: the size is negative or over its limit. It is raised again by every further call.
        """
        if self._wanted < 0:
            chunk = self._chunk
            start = self._at + 4
            if start <= len(chunk):
                (size,) = _SIZE.unpack_from(chunk, start - 4)
                if not 0 <= size <= self.control_limit:
                    return self._take_across()
                end = start + size
                if end < len(chunk):
                    self._at = end
                    return chunk[start:end]
                if end == len(chunk):
                    self._chunk = b""
                    self._at = 0
                    return chunk[start:]
        return self._take_across()

    def _take_across(self) -> bytes | None:
        """Like L{take}, for a frame that does not lie in the first chunk as a whole."""
        if self._wanted < 0:
            if not self._gather(_PREFIX):
                return None
            (size,) = _SIZE.unpack_from(self._chunk, self._at)
            if not 0 <= size <= self.limit:
                raise self._refusal(size)
            if size > self.control_limit:
                if not self._gather(_PREFIX + _KEY):
                    return None
                key = self._chunk[self._at + _PREFIX : self._at + _PREFIX + _KEY]
                if key not in self._large:
                    raise WireError(
                        f"a frame of {size} bytes for API key {int.from_bytes(key, 'big', signed=True)}, which carries"
                        f" no records; the limit is {self.control_limit} (kgw.control.request.max.bytes)"
                    )
            self._at += _PREFIX
            self._wanted = size
        wanted = self._wanted
        if self.buffered < wanted:
            self._drop_taken()
            return None
        self._wanted = -1
        return self._cut(wanted)

    def _gather(self, size: int) -> bool:
        """Have the next C{size} bytes in one piece; false where they are not there yet."""
        while len(self._chunk) - self._at < size and self._later:
            # at most five bytes stand in front of the chunk they are joined with
            self._chunk = self._chunk[self._at :] + self._next_chunk()
            self._at = 0
        if len(self._chunk) - self._at < size:
            self._drop_taken()
            return False
        return True

    def _cut(self, size: int) -> bytes:
        pieces = [memoryview(self._chunk)[self._at : self._at + size]]
        self._at += len(pieces[0])
        missing = size - len(pieces[0])
        while missing:
            self._chunk = self._next_chunk()
            self._at = min(missing, len(self._chunk))
            pieces.append(memoryview(self._chunk)[: self._at])
            missing -= self._at
        frame = b"".join(pieces)
        if self._at == len(self._chunk):
            self._chunk = self._next_chunk() if self._later else b""
            self._at = 0
        return frame

    def _next_chunk(self) -> bytes:
        chunk = self._later.popleft()
        self._later_bytes -= len(chunk)
        return chunk

    def _drop_taken(self) -> None:
        """Let go of the frames already taken from the first chunk, so that a waiting connection holds little."""
        if self._at:
            self._chunk = self._chunk[self._at :]
            self._at = 0

    def _refusal(self, size: int) -> WireError:
        start = self._chunk[self._at : self._at + _PREFIX]
        for first, name in _FOREIGN:
            if start.startswith(first):
                return WireError(f"the first bytes look like {name}")
        if size < 0:
            return WireError(f"a frame of negative size {size}")
        return WireError(f"a frame of {size} bytes; the limit is {self.limit} (socket.request.max.bytes)")
