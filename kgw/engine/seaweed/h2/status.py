"""How a gRPC call ended: status codes, and what becomes a status where the server did not send one."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import unquote_to_bytes

OK = 0
CANCELLED = 1
UNKNOWN = 2
INVALID_ARGUMENT = 3
DEADLINE_EXCEEDED = 4
NOT_FOUND = 5
ALREADY_EXISTS = 6
PERMISSION_DENIED = 7
RESOURCE_EXHAUSTED = 8
FAILED_PRECONDITION = 9
ABORTED = 10
OUT_OF_RANGE = 11
UNIMPLEMENTED = 12
INTERNAL = 13
UNAVAILABLE = 14
DATA_LOSS = 15
UNAUTHENTICATED = 16

#: HTTP answers without a gRPC status (gRPC: http-grpc-status-mapping.md); others are C{UNKNOWN}.
_OF_HTTP = {
    b"400": INTERNAL,
    b"401": UNAUTHENTICATED,
    b"403": PERMISSION_DENIED,
    b"404": UNIMPLEMENTED,
    b"429": UNAVAILABLE,
    b"502": UNAVAILABLE,
    b"503": UNAVAILABLE,
    b"504": UNAVAILABLE,
}

#: HTTP/2 error codes in RST_STREAM (gRPC: PROTOCOL-HTTP2.md, "Errors"); others are C{INTERNAL}.
_OF_RESET = {
    0x7: UNAVAILABLE,  # REFUSED_STREAM
    0x8: CANCELLED,  # CANCEL
    0xB: RESOURCE_EXHAUSTED,  # ENHANCE_YOUR_CALM
    0xC: PERMISSION_DENIED,  # INADEQUATE_SECURITY
    0xD: UNKNOWN,  # HTTP_1_1_REQUIRED
}


class GrpcStatus(NamedTuple):
    """
    How a call ended.

    @ivar code: 0 to 16, as gRPC numbers them; a server may send others.
    @ivar message: the server's words, or ours; may be empty.
    """

    code: int
    message: str = ""


class GrpcError(Exception):
    """
    A call that did not end with C{OK}.

    @ivar status: how it ended.
    @ivar unprocessed: the server has certainly not begun with the call, so it may be made again whatever it does.
    """

    def __init__(self, status: GrpcStatus, unprocessed: bool = False) -> None:
        super().__init__(f"gRPC status {status.code}: {status.message}")
        self.status = status
        self.unprocessed = unprocessed


def of_http(http_status: bytes) -> GrpcStatus:
    """The status of an answer that has none of its own."""
    shown = http_status.decode("ascii", "replace")
    return GrpcStatus(_OF_HTTP.get(http_status, UNKNOWN), f"the server answered HTTP {shown} and no gRPC status")


def of_reset(code: int) -> GrpcStatus:
    """The status of a stream that the server reset with this HTTP/2 error code."""
    return GrpcStatus(_OF_RESET.get(code, INTERNAL), f"the server reset the stream with HTTP/2 error code {code}")


def of_trailers(code: bytes, message: bytes) -> GrpcStatus:
    """
    The status in C{grpc-status} and C{grpc-message}, whose words are percent-encoded UTF-8 (errors are replaced).
    """
    words = unquote_to_bytes(message).decode("utf-8", "replace")
    if not code.isdigit() or len(code) > 9:
        return GrpcStatus(UNKNOWN, f"malformed grpc-status {code[:32]!r} {words}".rstrip())
    return GrpcStatus(int(code), words)


def timeout_value(seconds: float) -> bytes:
    """What C{grpc-timeout} says for this time: at most eight digits and a unit, never more than was asked for."""
    micros = max(1, int(seconds * 1e6))
    for unit, size in ((b"u", 1), (b"m", 1_000), (b"S", 1_000_000), (b"M", 60_000_000)):
        if micros // size < 100_000_000:
            return b"%d%s" % (micros // size, unit)
    return b"%dH" % min(micros // 3_600_000_000, 99_999_999)
