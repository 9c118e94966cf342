"""What comes back on a publish stream: acknowledgements by the thousand, walked without decoding each.

One message answers one record: C{PublishMessageResponse{ack_ts_ns 1, error 2, should_close 3, error_code 4,
assigned_offset 5}} behind gRPC's prefix of 5 bytes. Offsets come in order, so a stretch of messages of one length
holds contiguous offsets exactly if its last one is as far from its first as there are messages between them; only
those two are decoded. Per message well below 0.1 us.
"""

from __future__ import annotations

from typing import NamedTuple

#: gRPC's prefix: one byte "compressed", four bytes of length.
PREFIX = 5
_ACK_TS = 0x08
_OFFSET = 0x28
#: Tag and varint of a time in nanoseconds, of any year from 1972 to 2262.
_TS_SIZE = 10
#: The bits of its bytes that say whether another one follows, and what they are.
_TS_MARKS, _TS_MORE = 0x808080808080808080, 0x808080808080808000


class StreamError(NamedTuple):
    """
    An error that the engine told on a stream that is otherwise in order.

    @ivar code: 2 unknown topic or another generation, 6 not the leader, 42 no init message, 102 a follower cannot be
        reached; 0 where it only asks to close the stream.
    """

    code: int
    message: str


class Acks(NamedTuple):
    """
    What one chunk says.

    @ivar runs: offsets assigned, as pairs of the first and the one behind the last; contiguous within a pair.
    @ivar hellos: how many messages were empty; the first answer on a stream is one.
    @ivar error: the first error; nothing behind it is looked at.
    """

    runs: list[tuple[int, int]]
    hellos: int = 0
    error: StreamError | None = None


class BadAcks(Exception):
    """The bytes are no whole messages, or none of this kind."""


def walk(data: bytes) -> Acks:
    """
    Read one or more whole messages, each with its gRPC prefix.

    @raise BadAcks: they are not.
    """
    runs: list[tuple[int, int]] = []
    hellos = at = 0
    size = len(data)
    while at < size:
        length = int.from_bytes(data[at + 1 : at + PREFIX], "big")
        end = at + PREFIX + length
        if end > size or data[at]:
            raise BadAcks(f"{size - at} bytes begin with a message of {length}")
        if not length:
            hellos += 1
            at = end
            continue
        alike = _alike(data, at, length) if length < 128 else 1
        first, error = _decode(data[at + PREFIX : end])
        if error is not None:
            return Acks(runs, hellos, error)
        stride = PREFIX + length
        at += alike * stride
        last = first
        if alike > 1:
            last, error = _decode(data[at - length : at])
        if error is not None or last - first != alike - 1:
            if (error := _one_by_one(data[at - alike * stride : at], stride, runs)) is not None:
                return Acks(runs, hellos, error)
            continue
        _add(runs, first, last + 1)
    return Acks(runs, hellos)


def _alike(data: bytes, at: int, length: int) -> int:
    """How many messages from C{at} on have this length, and the two fields of a plain acknowledgement only."""
    stride = PREFIX + length
    if length <= _TS_SIZE or data[at + PREFIX] != _ACK_TS or data[at + PREFIX + _TS_SIZE] != _OFFSET:
        return 1
    count = (len(data) - at) // stride
    columns = ((3, 0), (4, length), (PREFIX, _ACK_TS), (PREFIX + _TS_SIZE, _OFFSET))
    for column, value in columns:
        stop = at + count * stride
        found = data[at + column : stop : stride]
        count -= len(found.lstrip(bytes((value,))))
        if count <= 1:
            return 1
    return count


def _one_by_one(data: bytes, stride: int, runs: list[tuple[int, int]]) -> StreamError | None:
    for end in range(stride, len(data) + 1, stride):
        offset, error = _decode(data[end - stride + PREFIX : end])
        if error is not None:
            return error
        _add(runs, offset, offset + 1)
    return None


def _add(runs: list[tuple[int, int]], start: int, stop: int) -> None:
    if runs and runs[-1][1] == start:
        runs[-1] = (runs[-1][0], stop)
    else:
        runs.append((start, stop))


def _decode(message: bytes) -> tuple[int, StreamError | None]:
    """The assigned offset, and the error where there is one."""
    size = len(message)
    if (
        size > _TS_SIZE + 1
        and message[0] == _ACK_TS
        and int.from_bytes(message[1:_TS_SIZE], "big") & _TS_MARKS == _TS_MORE
        and message[_TS_SIZE] == _OFFSET
        and message[-1] < 128
    ):
        # the usual one, read without looking at each field
        offset, at = _varint(message, _TS_SIZE + 1)
        if at == size:
            return offset, None
    at = offset = code = closing = 0
    text = b""
    try:
        while at < size:
            tag, at = _varint(message, at)
            kind = tag & 7
            if kind == 0:
                number, at = _varint(message, at)
                if tag == _OFFSET:
                    offset = number
                elif tag == 0x18:
                    closing = number
                elif tag == 0x20:
                    code = number
            elif kind == 2:
                length, at = _varint(message, at)
                if tag == 0x12:
                    text = message[at : at + length]
                at += length
            else:
                raise BadAcks(f"an acknowledgement with a field of kind {kind}")
    except IndexError:
        raise BadAcks("an acknowledgement ends inside a field") from None
    if at != size:
        raise BadAcks("an acknowledgement ends inside a field")
    if code or text or closing:
        return 0, StreamError(code, text.decode(errors="replace") or "the engine asks to close the stream")
    return offset, None


def _varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, at
        shift += 7
        if shift > 63:
            raise BadAcks("a number of an acknowledgement does not fit 64 bits")
