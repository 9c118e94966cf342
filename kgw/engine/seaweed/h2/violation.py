"""HTTP/2 error codes, and the exception for what a peer must not send."""

from __future__ import annotations

NO_ERROR = 0x0
PROTOCOL_ERROR = 0x1
INTERNAL_ERROR = 0x2
FLOW_CONTROL_ERROR = 0x3
FRAME_SIZE_ERROR = 0x6
REFUSED_STREAM = 0x7
CANCEL = 0x8
COMPRESSION_ERROR = 0x9
ENHANCE_YOUR_CALM = 0xB


class Violation(Exception):
    """
    The peer broke the rules.

    @ivar code: the HTTP/2 error code to tell it.
    @ivar stream_id: the stream that ends for it; 0: the connection does.
    """

    def __init__(self, code: int, message: str, stream_id: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.stream_id = stream_id
