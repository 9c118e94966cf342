"""The engine's log files: entries one after the other, each a length (4 bytes, big-endian) and a C{LogEntry}."""

from __future__ import annotations

import struct
import sys
from dataclasses import dataclass
from typing import NamedTuple

from kgw.engine.seaweed.envelope import DamagedRecord, read_varint, varint
from kgw.errors import ErrorCode, KafkaError

_LENGTH = struct.Struct(">I")
#: Bytes in front of an entry.
LENGTH_SIZE = 4
#: The engine's own bound of a message; what says more is no length.
MAX_ENTRY_BYTES = 1 << 30

#: An entry as the engine's protobuf library writes it: length, tag of ts_ns, its low two bytes and its upper seven
#: (a time since 1972 has nine), the tag of the key's hash and the ten bytes of a negative one, and
#: the tag of the value and the two bytes of its length.
_HEAD = struct.Struct(">IBBB7s11sBBB")
_HEAD_SIZE = _HEAD.size
#: What a head's hash, as a little-endian number, has where it is ten bytes long: its tag, nine bytes that go on, one
#: that does not.
_LONG_HASH_MASK = int.from_bytes(b"\xff" + b"\x80" * 10, "little")
_LONG_HASH = int.from_bytes(b"\x10" + b"\x80" * 9 + b"\x00", "little")
#: The same where it is five bytes long.
_SHORT_HASH_MASK = int.from_bytes(b"\xff" + b"\x80" * 5, "little")
_SHORT_HASH = int.from_bytes(b"\x10" + b"\x80" * 4 + b"\x00", "little")


class LogEntry(NamedTuple):
    """
    One message as the engine stored it.

    @ivar ts_ns: the engine's own time of it: ns since the epoch, strictly increasing in a partition.
    @ivar key: empty where there is none.
    """

    offset: int
    ts_ns: int
    key: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class LogSpan:
    """
    What some bytes of a log file hold.

    @ivar first_offset: the lowest; -1 where there is no whole entry, like the other two.
    @ivar last_offset: the highest.
    @ivar max_ts_ns: the highest time.
    @ivar count: of whole entries.
    @ivar consumed: bytes they take; what is behind is an entry's beginning.
    """

    first_offset: int
    last_offset: int
    max_ts_ns: int
    count: int
    consumed: int

    @property
    def contiguous(self) -> bool:
        """Whether there is one entry for each offset."""
        return self.count == self.last_offset - self.first_offset + 1


def parse_log(data: bytes, start: int = 0, most: int = sys.maxsize) -> tuple[list[LogEntry], int]:
    """
    Read whole entries from C{start} on, where one begins.

    @param most: stop after so many.
    @return: the entries as they stand in the file, and the place where the last whole one ends: the end of the data,
        or the beginning of an entry that the data cut short.
    @raise KafkaError: C{CORRUPT_MESSAGE}, an entry is damaged, or what is there is no length.
    """
    entries: list[LogEntry] = []
    add, make, unpack, number_of = entries.append, tuple.__new__, _HEAD.unpack_from, int.from_bytes
    at, size = start, len(data)
    # What nearly every entry has in common with one before it is compared, not decoded: the upper bytes of its time
    # (all but the lowest 14 bits, or at least all but 28), its hash where there is no key, the upper bytes of its
    # offset. What is not as usual in any way is left to read_entry, which takes whatever protobuf allows, and knows
    # what is damaged.
    known_time, time_base = _upper(0, 2)
    known_upper, upper_base = _upper(0, 4)
    known_offset, offset_base = _upper(0, 1)
    known_hash = b""
    while size - at >= _HEAD_SIZE and len(entries) < most:
        length, tag, low, middle, time, key_hash, value_tag, n, c = unpack(data, at)
        end = at + length + 4
        if end > size and length <= MAX_ENTRY_BYTES:
            return entries, at
        try:
            if time != known_time and time[2:] == known_upper and time[0] > 127 and time[1] > 127:
                known_time, time_base = time, upper_base + (time[0] << 14) + (time[1] << 21)
            if time == known_time and tag == 0x08 and low > 127 and middle > 127:
                if key_hash == known_hash:
                    place = at + 27
                elif (number := number_of(key_hash, "little")) & _LONG_HASH_MASK == _LONG_HASH:
                    place = at + 27
                    known_hash = key_hash
                elif number & _SHORT_HASH_MASK == _SHORT_HASH:
                    place = at + 22
                    value_tag, n, c = data[at + 20], data[at + 21], data[at + 22]
                elif key_hash[0] == 0x10:
                    place = at + 15
                    while data[place] > 127:
                        place += 1
                    value_tag, n, c = data[place + 1], data[place + 2], data[place + 3]
                    place += 3
                else:
                    value_tag = 0
                if value_tag == 0x1A:
                    if n > 127:
                        if c < 128:
                            n += (c - 1) << 7
                            place += 1
                        else:
                            n, place = read_varint(data, place - 1, end)
                    value = data[place : place + n]
                    place += n
                    n = data[place + 1]
                    if data[place] == 0x22:
                        if n < 128:
                            place += 2
                        else:
                            n, place = read_varint(data, place + 1, end)
                        key = data[place : place + n]
                        place += n
                        n = data[place + 1]
                    else:
                        key = b""
                    # the offset's field fills the entry, so nothing ran over its end
                    if n > 127 and data[place + 2 : end] == known_offset and data[place] == 0x28:
                        add(make(LogEntry, (offset_base + n, time_base + low + (middle << 7), key, value)))
                        at = end
                        continue
        except (IndexError, DamagedRecord):
            pass
        entry = read_entry(data, at, end)
        add(entry)
        at = end
        known_time, time_base = _upper(entry.ts_ns, 2)
        known_upper, upper_base = _upper(entry.ts_ns, 4)
        known_offset, offset_base = _upper(entry.offset, 1)
    while size - at >= LENGTH_SIZE and len(entries) < most:
        (length,) = _LENGTH.unpack_from(data, at)
        end = at + LENGTH_SIZE + length
        if end > size and length <= MAX_ENTRY_BYTES:
            break
        add(read_entry(data, at, end))
        at = end
    return entries, at


def _upper(number: int, count: int) -> tuple[bytes, int]:
    """The bytes of a varint behind the first C{count}, and what to add to those as they are for the whole number."""
    upper = number >> 7 * count
    # each of the first bytes has a bit that says that the number goes on
    return varint(upper), (upper << 7 * count) - sum([0x80 << 7 * place for place in range(count)])


def count_log(data: bytes, start: int = 0) -> LogSpan:
    """
    Find out which offsets some bytes of a log file hold, without looking at each.

    The first and the last entry tell, where the entries between them are as many as the offsets; else all are read.

    @raise KafkaError: C{CORRUPT_MESSAGE} as in L{parse_log}, as far as entries are looked at.
    """
    at, size, count = start, len(data), 0
    last, last_end = start, start
    unpack = _LENGTH.unpack_from
    while size - at >= LENGTH_SIZE:
        (length,) = unpack(data, at)
        end = at + LENGTH_SIZE + length
        if end > size:
            if length > MAX_ENTRY_BYTES:
                raise _damaged(at, f"an entry of {length} bytes")
            break
        last, last_end = at, end
        count += 1
        at = end
    if not count:
        return LogSpan(-1, -1, -1, 0, start)
    (length,) = unpack(data, start)
    first_entry = read_entry(data, start, start + LENGTH_SIZE + length)
    last_entry = read_entry(data, last, last_end)
    span = LogSpan(first_entry.offset, last_entry.offset, max(first_entry.ts_ns, last_entry.ts_ns), count, last_end)
    if span.contiguous:
        return span
    entries, consumed = parse_log(data, start)
    offsets = [entry.offset for entry in entries]
    return LogSpan(min(offsets), max(offsets), max([entry.ts_ns for entry in entries]), count, consumed)


def read_entry(data: bytes, at: int, end: int) -> LogEntry:
    """
    Read the one entry whose length is at C{at} and which ends at C{end}, however it is written.

    @raise KafkaError: C{CORRUPT_MESSAGE}, it is no C{LogEntry}.
    """
    if end - at - LENGTH_SIZE > MAX_ENTRY_BYTES:
        raise _damaged(at, f"an entry of {end - at - LENGTH_SIZE} bytes")
    offset = ts_ns = 0
    key = value = b""
    place = at + LENGTH_SIZE
    try:
        while place < end:
            tag, place = read_varint(data, place, end)
            kind = tag & 7
            if not 8 <= tag < 1 << 32:
                raise DamagedRecord(f"a field of tag {tag}")
            if kind == 0:
                number, place = read_varint(data, place, end)
                if tag == 0x08:
                    ts_ns = number
                elif tag == 0x28:
                    offset = number
            elif kind == 2:
                size, place = read_varint(data, place, end)
                if size > end - place:
                    raise DamagedRecord("a field runs over the end of the entry")
                if tag == 0x1A:
                    value = data[place : place + size]
                elif tag == 0x22:
                    key = data[place : place + size]
                place += size
            elif kind == 1:
                place += 8
            elif kind == 5:
                place += 4
            else:
                raise DamagedRecord(f"a field of wire type {kind}")
    except DamagedRecord as error:
        raise _damaged(at, str(error)) from None
    # a ts_ns or an offset over 63 bits would be negative; the engine writes none, and no entry without a time
    if place != end or not 0 < ts_ns < 1 << 63 or offset >> 63:
        raise _damaged(at, "it is no entry")
    return LogEntry(offset, ts_ns, key, value)


def _damaged(at: int, reason: str) -> KafkaError:
    return KafkaError(ErrorCode.CORRUPT_MESSAGE, f"a log file of the engine is damaged at byte {at}: {reason}")
