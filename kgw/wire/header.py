"""Request and response headers (KIP-482, KIP-511)."""

from __future__ import annotations

import struct
from typing import NamedTuple

from kgw.errors import WireError
from kgw.wire.primitives import decode_uvarint

#: Kafka's request headers have no tag yet.
_MAX_TAGS = 1000

_START = struct.Struct(">hhi")
_CLIENT_ID = struct.Struct(">h")
_RESPONSE = struct.Struct(">ii")
_FLEXIBLE_RESPONSE = struct.Struct(">iix")


class RequestHeader(NamedTuple):
    """
    The header of a request.

    @ivar body: where in the frame the body starts.
    """

    api_key: int
    api_version: int
    correlation_id: int
    client_id: str | None
    body: int


def peek_request(frame: bytes) -> tuple[int, int, int]:
    """
    API key, version and correlation id, which every header version starts with.

    @raise WireError: the frame is shorter than that.
    """
    try:
        return _START.unpack_from(frame, 0)
    except struct.error:
        raise WireError(f"a frame of {len(frame)} bytes holds no request header") from None


def decode_request_header(frame: bytes, flexible: bool) -> RequestHeader:
    """
    Read the header of a request (v2 where C{flexible}, else v1).

    @param frame: the request without its size.
    @raise WireError: the bytes are no request header.
    """
    try:
        key, version, correlation = _START.unpack_from(frame, 0)
        (length,) = _CLIENT_ID.unpack_from(frame, 8)
        offset = 10
        client_id = None
        if length >= 0:
            if length > len(frame) - offset:
                raise WireError("the client id is longer than its request")
            # the one string that stays in the old form in flexible headers
            client_id = frame[offset : offset + length].decode()
            offset += length
        elif length < -1:
            raise WireError("the client id has a negative length")
        if flexible:
            offset = _skip_tags(frame, offset)
    except (struct.error, IndexError):
        raise WireError("the data end inside the request header") from None
    except UnicodeDecodeError as error:
        raise WireError(f"the client id is not UTF-8: {error}") from None
    return RequestHeader(key, version, correlation, client_id, offset)


def _skip_tags(frame: bytes, offset: int) -> int:
    if not frame[offset]:
        return offset + 1
    count, offset = decode_uvarint(frame, offset)
    if count * 2 > len(frame) - offset:
        raise WireError("the request header counts more tags than it has bytes")
    if count > _MAX_TAGS:
        raise WireError(f"the request header has {count} tags")
    for _ in range(count):
        _, offset = decode_uvarint(frame, offset)
        size, offset = decode_uvarint(frame, offset)
        if size > len(frame) - offset:
            raise WireError("a tag of the request header is longer than its request")
        offset += size
    return offset


def encode_response_header(size: int, correlation_id: int, flexible: bool) -> bytes:
    """
    The frame size and header in front of a response (header v1 where C{flexible}, else v0).

    @param size: bytes of the body.
    """
    if flexible:
        return _FLEXIBLE_RESPONSE.pack(size + 5, correlation_id)
    return _RESPONSE.pack(size + 4, correlation_id)
