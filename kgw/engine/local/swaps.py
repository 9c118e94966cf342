"""Putting a cleaned segment in the place of those it was made of, so that a crash at any point leaves one or the other.

A cleaned segment is written to BASE.log.cleaned. Once that is on the disk it is renamed to BASE.log.swap; from then on
it is what counts, and whoever finds that name finishes the exchange. The names are Kafka's.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

from kgw.engine.local.checkpoint import sync_folder
from kgw.engine.local.segment import (
    CLEANED,
    DAMAGED,
    INDEX,
    LOG,
    RECYCLED,
    SWAP,
    TIME_INDEX,
    file_name,
    unlink_if_there,
)
from kgw.errors import WireError
from kgw.wire.records import HEADER_SIZE, peek

_INDEXES = (INDEX, TIME_INDEX)
_CHUNK = 1 << 16


def commit(stem: str) -> None:
    """
    Make a cleaned segment, which is on the disk, the one that counts; blocks.

    @raise OSError: it does not count, but may be found to by the next start, which is as well.
    """
    for ending in (*_INDEXES, LOG):
        os.rename(stem + ending + CLEANED, stem + ending + SWAP)
    sync_folder(os.path.dirname(stem))


def put_in_place(stem: str, link: Callable[[str, str], None] = os.link) -> None:
    """
    Give a cleaned segment its own name; that of the segments it replaces is free.

    BASE.log.swap stays beside it, as a second name of the file, until L{settle}: a power cut might bring back the
    names of old segments, and with that one there the next start removes them again. Where the file system has no
    second names, that is left to the order in which it brings the names to the disk.
    """
    for ending in _INDEXES:
        os.rename(stem + ending + SWAP, stem + ending)
    try:
        link(stem + LOG + SWAP, stem + LOG)
    except OSError:
        os.rename(stem + LOG + SWAP, stem + LOG)


def settle(stem: str) -> None:
    """The exchange is over; blocks."""
    sync_folder(os.path.dirname(stem))
    unlink_if_there(stem + LOG + SWAP)


def discard(stem: str) -> None:
    """Remove what was written of a cleaned segment that is not wanted; blocks."""
    for ending in (LOG, *_INDEXES):
        unlink_if_there(stem + ending + CLEANED)


def finish(folder: str, names: Iterable[str]) -> bool:
    """
    Finish the exchanges that were cut short.

    @param names: the files in the folder.
    @return: whether there were any.
    """
    names = list(names)
    swaps = sorted(int(name[:20]) for name in names if name[20:] == LOG + SWAP and name[:20].isdigit())
    bases = sorted(int(name[:20]) for name in names if name[20:] == LOG and name[:20].isdigit())
    for base in swaps:
        stem = os.path.join(folder, file_name(base))
        end = _end_of(stem + LOG + SWAP, base)
        for old in {base, *(other for other in bases if base <= other < end)}:
            for ending in (INDEX, TIME_INDEX, DAMAGED, RECYCLED, LOG):
                unlink_if_there(os.path.join(folder, file_name(old)) + ending)
        # Its indexes are made anew: which of two they belong to nothing says.
        os.rename(stem + LOG + SWAP, stem + LOG)
    return bool(swaps)


def _end_of(path: str, base: int) -> int:
    """The offset behind the last batch of a file."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    end, position, data, start = base, 0, b"", 0
    try:
        while True:
            if not start <= position <= start + len(data) - HEADER_SIZE:
                data, start = os.pread(descriptor, _CHUNK, position), position
                if len(data) < HEADER_SIZE:
                    return end
            header = peek(data, position - start)
            end = header.next_offset
            position += header.size
    except WireError:
        return end
    finally:
        os.close(descriptor)
