"""Header blocks of one HTTP/2 connection: HPACK both ways, cut into frames and joined again."""

from __future__ import annotations

from collections.abc import Iterable

from hpack import Decoder, Encoder, HPACKError
from hyperframe.frame import ContinuationFrame, HeadersFrame

from kgw.engine.seaweed.h2.violation import COMPRESSION_ERROR, ENHANCE_YOUR_CALM, PROTOCOL_ERROR, Violation

Headers = list[tuple[bytes, bytes]]

#: The most that the headers of one answer may take, unpacked, as HTTP/2 counts them; told to the peer.
MAX_HEADER_LIST = 64 * 1024

#: The most that one block may take packed, and the most frames it may come in.
_MAX_BLOCK = 32 * 1024
_MAX_FRAMES = 64

#: The largest table the encoder keeps, whatever the peer allows.
_TABLE_MOST = 4096


class HeaderEncoder:
    """Packs what we send."""

    def __init__(self) -> None:
        self._encoder = Encoder()
        self._allowed = _TABLE_MOST
        self._least = _TABLE_MOST

    def allow(self, size: int) -> None:
        """The peer's SETTINGS_HEADER_TABLE_SIZE."""
        self._allowed = min(size, _TABLE_MOST)
        self._least = min(self._least, self._allowed)

    def frames(self, stream_id: int, headers: Iterable[tuple[bytes, bytes]], max_frame: int) -> bytes:
        """
        The frames that open a stream; it stays open on our side.

        Values of C{grpc-timeout} differ from call to call and are kept out of the table.
        """
        encoder = self._encoder
        # The next block says the smallest size since the last one, and the final one (RFC 7541, 4.2). Setting the
        # size that is set makes the library forget what it was to say.
        for size in (self._least, self._allowed):
            if size != encoder.header_table_size:
                encoder.header_table_size = size
        self._least = self._allowed
        block = encoder.encode([(name, value, name == b"grpc-timeout") for name, value in headers])
        first = HeadersFrame(stream_id, block[:max_frame])
        frames: list[HeadersFrame | ContinuationFrame] = [first]
        for begin in range(max_frame, len(block), max_frame):
            frames.append(ContinuationFrame(stream_id, block[begin : begin + max_frame]))
        frames[-1].flags.add("END_HEADERS")
        return b"".join(frame.serialize() for frame in frames)


class HeaderDecoder:
    """
    Joins and unpacks what the peer sends.

    @ivar stream_id: whose block is not complete, 0: none. Until it is, no other frame may come.
    """

    def __init__(self) -> None:
        self.stream_id = 0
        self._decoder = Decoder(MAX_HEADER_LIST)
        self._end_stream = False
        self._pieces: list[bytes] = []

    def begin(self, frame: HeadersFrame) -> tuple[Headers, bool] | None:
        """
        Take a HEADERS frame.

        @return: the headers and whether they end the stream, once the block is complete.
        @raise Violation: ends the connection.
        """
        self.stream_id = frame.stream_id
        self._end_stream = "END_STREAM" in frame.flags
        self._pieces = []
        return self._add(frame.data, "END_HEADERS" in frame.flags)

    def go_on(self, frame: ContinuationFrame) -> tuple[Headers, bool] | None:
        """Take a CONTINUATION frame, as L{begin} does a HEADERS frame."""
        if not self.stream_id or frame.stream_id != self.stream_id:
            raise Violation(PROTOCOL_ERROR, "CONTINUATION without a header block")
        return self._add(frame.data, "END_HEADERS" in frame.flags)

    def _add(self, piece: bytes, complete: bool) -> tuple[Headers, bool] | None:
        self._pieces.append(piece)
        if len(self._pieces) > _MAX_FRAMES or sum(map(len, self._pieces)) > _MAX_BLOCK:
            raise Violation(ENHANCE_YOUR_CALM, "a header block that is too large")
        if not complete:
            return None
        block = b"".join(self._pieces)
        self.stream_id = 0
        self._pieces = []
        try:
            headers: Headers = [(bytes(name), bytes(value)) for name, value in self._decoder.decode(block, raw=True)]
        except HPACKError as error:
            raise Violation(COMPRESSION_ERROR, f"a header block that does not parse: {error}") from error
        return headers, self._end_stream
