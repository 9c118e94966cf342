"""HTTP/2 frames of the rarer kinds, taken apart and checked for form."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from hyperframe.exceptions import HyperframeError, InvalidFrameError
from hyperframe.frame import Frame, SettingsFrame

from kgw.engine.seaweed.h2.blocks import Headers
from kgw.engine.seaweed.h2.violation import FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR, PROTOCOL_ERROR, Violation

#: The largest window there may be (RFC 9113, 6.9.1).
MAX_WINDOW = (1 << 31) - 1


def parse(data: bytes) -> Frame:
    """
    Take one whole frame apart.

    @raise Violation: it has not the form its kind must have.
    """
    view = memoryview(data)
    try:
        frame, _ = Frame.parse_frame_header(view[:9])
        frame.parse_body(view[9:])
    except InvalidFrameError as error:
        raise Violation(FRAME_SIZE_ERROR, str(error)) from error
    except HyperframeError as error:
        raise Violation(PROTOCOL_ERROR, str(error)) from error
    return frame


def settings(data: bytes) -> Iterator[tuple[int, int]]:
    """
    The settings in a whole SETTINGS frame, in order; a setting may come twice.

    @raise Violation: a value that must not be.
    """
    for name, value in struct.iter_unpack(">HI", memoryview(data)[9:]):
        if name == SettingsFrame.MAX_FRAME_SIZE and not 16384 <= value < 1 << 24:
            raise Violation(PROTOCOL_ERROR, f"SETTINGS_MAX_FRAME_SIZE of {value}")
        if name == SettingsFrame.INITIAL_WINDOW_SIZE and value > MAX_WINDOW:
            raise Violation(FLOW_CONTROL_ERROR, f"SETTINGS_INITIAL_WINDOW_SIZE of {value}")
        yield name, value


def increment(body: bytes, stream_id: int) -> int:
    """
    What a WINDOW_UPDATE with this body adds.

    @raise Violation: it is of another length, or adds nothing, which ends the stream only.
    """
    if len(body) != 4:
        raise Violation(FRAME_SIZE_ERROR, "WINDOW_UPDATE of another length than 4")
    value = int.from_bytes(body, "big") & MAX_WINDOW
    if not value:
        raise Violation(PROTOCOL_ERROR, "WINDOW_UPDATE by nothing", stream_id)
    return value


def unpadded(body: bytes) -> bytes:
    """
    The bytes of a padded DATA frame.

    @raise Violation: more padding than there is frame.
    """
    if not body or body[0] >= len(body):
        raise Violation(PROTOCOL_ERROR, "more padding than frame")
    return body[1 : len(body) - body[0]]


def check_first(data: bytes) -> None:
    """
    What the peer sends must begin with its settings.

    @param data: at least nine bytes of it.
    @raise Violation: it does not.
    """
    if data.startswith(b"HTTP/"):
        raise Violation(PROTOCOL_ERROR, "an answer in HTTP/1, no HTTP/2")
    if data[3] != SettingsFrame.type or data[4] & 1:
        raise Violation(PROTOCOL_ERROR, "no SETTINGS at the beginning")


def is_interim(headers: Headers, end: bool, stream_id: int) -> bool:
    """
    Whether these headers of an answer, which has none yet, are followed by others (HTTP status 1xx).

    @raise Violation: they are no headers of an answer; ends the stream.
    """
    statuses = [value for name, value in headers if name == b":status"]
    if len(statuses) != 1 or len(statuses[0]) != 3 or not statuses[0].isdigit():
        raise Violation(PROTOCOL_ERROR, "an answer without a status", stream_id)
    if not statuses[0].startswith(b"1"):
        return False
    if end:
        raise Violation(PROTOCOL_ERROR, "an answer that ends before its status", stream_id)
    return True


def check_trailers(headers: Headers, end: bool, stream_id: int) -> None:
    """
    See that these can stand behind an answer.

    @raise Violation: they cannot; ends the stream.
    """
    if not end or any(name.startswith(b":") for name, _ in headers):
        raise Violation(PROTOCOL_ERROR, "malformed trailers", stream_id)
