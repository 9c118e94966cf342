"""The scalar types of Kafka's wire format and its variable-length integers."""

from __future__ import annotations

from dataclasses import dataclass

from kgw.errors import WireError


@dataclass(frozen=True, slots=True)
class Scalar:
    """
    One scalar type.

    @ivar name: its name in Kafka's message definitions.
    @ivar code: its C{struct} code, or C{""} where the length is on the wire.
    @ivar size: its least size in bytes in any version.
    @ivar zero: the value a field of this type has when nothing else is said.
    """

    name: str
    code: str
    size: int
    zero: object


BOOL = Scalar("bool", "?", 1, False)
INT8 = Scalar("int8", "b", 1, 0)
INT16 = Scalar("int16", "h", 2, 0)
UINT16 = Scalar("uint16", "H", 2, 0)
INT32 = Scalar("int32", "i", 4, 0)
UINT32 = Scalar("uint32", "I", 4, 0)
INT64 = Scalar("int64", "q", 8, 0)
FLOAT64 = Scalar("float64", "d", 8, 0.0)
#: 16 raw bytes; never null, L{ZERO_UUID} stands for "none".
UUID = Scalar("uuid", "16s", 16, bytes(16))
STRING = Scalar("string", "", 1, "")
BYTES = Scalar("bytes", "", 1, b"")
#: Record batches: read as a C{memoryview} of the frame, written from one buffer or a list of buffers.
RECORDS = Scalar("records", "", 1, None)

ZERO_UUID = bytes(16)

#: The longest unsigned varint of a 32-bit number.
MAX_UVARINT_BYTES = 5


def _uvarint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


_UVARINTS = [_uvarint(n) for n in range(16384)]


def encode_uvarint(number: int) -> bytes:
    """
    Encode an unsigned varint (Kafka: C{ByteUtils.writeUnsignedVarint}, KIP-482).

    @param number: 0 or more.
    """
    return _UVARINTS[number] if number < 16384 else _uvarint(number)


def decode_uvarint(data: bytes, offset: int) -> tuple[int, int]:
    """
    Decode the unsigned 32-bit varint at C{offset}.

    @return: the number, and the offset behind it.
    @raise WireError: it is longer than five bytes or does not fit 32 bits.
    @raise IndexError: the data end inside it.
    """
    number = shift = 0
    for _ in range(MAX_UVARINT_BYTES):
        byte = data[offset]
        offset += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            if number > 0xFFFFFFFF:
                break
            return number, offset
        shift += 7
    raise WireError("a variable-length integer does not fit 32 bits")


def decode_varlong(data: bytes, offset: int) -> tuple[int, int]:
    """
    Decode the zig-zag 64-bit varint at C{offset} (record fields, KIP-98).

    @return: the number, and the offset behind it.
    @raise WireError: it is longer than ten bytes, does not fit 64 bits, or the data end inside it.
    """
    number = shift = 0
    try:
        for _ in range(10):
            byte = data[offset]
            offset += 1
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                if number > 0xFFFFFFFFFFFFFFFF:
                    break
                return (number >> 1) ^ -(number & 1), offset
            shift += 7
    except IndexError:
        raise WireError("the data end inside a variable-length integer") from None
    raise WireError("a variable-length integer does not fit 64 bits")


def encode_varlong(number: int) -> bytes:
    """
    Encode a signed number as a zig-zag varint (record fields, KIP-98).

    @param number: within 64 bits.
    """
    return encode_uvarint((number << 1) ^ (number >> 63))
