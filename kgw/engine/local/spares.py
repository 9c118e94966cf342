"""The files of deleted segments, kept to be written again: cheaper than fresh pages and blocks."""

from __future__ import annotations

import os
from dataclasses import dataclass

from twisted.logger import Logger
from twisted.python.failure import Failure

from kgw.engine.bridge import IBridge
from kgw.engine.local.checkpoint import sync_folder
from kgw.engine.local.pages import PageReads
from kgw.errors import WireError
from kgw.wire.records import CRC_END, HEADER_SIZE, peek

#: What the last byte of a checksum is changed by.
SPOILT = 0xFF
#: Files kept for one log.
_MOST = 2
#: The most batches for each as many bytes as the smallest file has: batches of 8 KiB where that has 1 MiB.
_BATCHES = 128


@dataclass(slots=True, eq=False)
class _Spare:
    path: str
    size: int
    ready: bool = False


class Spares:
    """
    All that are kept, for each folder its own.

    A file goes back to the log it came from, with what was in it; its old batches must never be taken for new
    ones. All of them are below the log's start, and offsets of one log only grow, so an old batch as a whole has
    an offset that recovery does not ask for. But the checksum does not cover the first 21 bytes: of a batch that
    was torn there, the new offset and an old batch right behind it would make a sound one, if both began at the
    same byte. So the checksum of each old batch is spoiled first, in its last byte; whatever of a new batch is in
    front of that byte, and wherever it is torn, the sum is wrong.

    Both that and the file's new name have to be on the disk before it is written, lest a power cut brings back an
    old batch that is sound, or the old name with new batches behind it.

    A file that has left the page cache is not worth keeping: to write a few bytes of a page, the kernel would
    read the page. Nor is one of many small batches, which are too many to spoil, and gain the least.

    @ivar used: bytes in them.
    """

    _log = Logger()

    def __init__(self, bridge: IBridge, pages: PageReads, limit: int, least: int) -> None:
        """
        @param limit: bytes in all of them; 0 keeps none.
        @param least: files with fewer bytes are not worth it.
        """
        self.used = 0
        self._bridge = bridge
        self._pages = pages
        self._limit = limit
        self._least = least
        self._shelves: dict[str, list[_Spare]] = {}

    def keep(self, path: str, size: int) -> bool:
        """
        Keep a file that was renamed already, if there is room for it.

        @return: false where it is the caller's to remove.
        """
        folder = os.path.dirname(path)
        shelf = self._shelves.get(folder, [])
        if size < self._least or len(shelf) >= _MOST or self.used + size > self._limit:
            return False
        spare = _Spare(path, size)
        self._shelves.setdefault(folder, []).append(spare)
        self.used += size

        def ready(warm: bool) -> None:
            if warm and spare in self._shelves.get(folder, ()):
                spare.ready = True
            else:
                self._remove(folder, spare)

        def failed(failure: Failure) -> None:
            self._log.debug("{path} is not kept: {reason}", path=path, reason=failure.getErrorMessage())
            self._remove(folder, spare)

        self._bridge.call(_make_ready, self._pages, path, size, size * _BATCHES // self._least).addCallback(
            ready
        ).addErrback(failed)
        return True

    def take(self, folder: str) -> tuple[str, int] | None:
        """A file to write again, and how long it is; C{None} where there is none."""
        for spare in [spare for spare in self._shelves.get(folder, ()) if spare.ready]:
            try:
                warm = self._pages.holds(spare.path, spare.size)
            except OSError:
                warm = False
            if warm:
                self._drop(folder, spare)
                return spare.path, spare.size
            self._remove(folder, spare)
        return None

    def release(self, folder: str | None = None) -> None:
        """Remove what is kept for one folder, or for all: the disk is full, or there is nobody to write it."""
        for each in list(self._shelves) if folder is None else [folder]:
            for spare in list(self._shelves.get(each, ())):
                self._remove(each, spare)

    def _drop(self, folder: str, spare: _Spare) -> None:
        shelf = self._shelves.get(folder, [])
        if spare in shelf:
            shelf.remove(spare)
            self.used -= spare.size
            if not shelf:
                del self._shelves[folder]

    def _remove(self, folder: str, spare: _Spare) -> None:
        self._drop(folder, spare)
        self._bridge.call(unlink_all, [spare.path]).addErrback(
            lambda failure: self._log.error("{path} stays: {r}", path=spare.path, r=failure.getErrorMessage())
        )


def _make_ready(pages: PageReads, path: str, size: int, most: int) -> bool:
    """
    Spoil a file's batches, and make that and its new name durable; blocks.

    @param most: batches.
    @return: whether the file is worth keeping.
    """
    if not pages.holds(path, size):
        return False
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        if not spoil(descriptor, size, most):
            return False
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)
    sync_folder(os.path.dirname(path))
    return True


def spoil(descriptor: int, size: int, most: int) -> bool:
    """
    Spoil the checksum of each batch in a file; false where there are more than C{most}, or they do not fill it.
    """
    position = 0
    while position < size and most > 0:
        try:
            header = peek(os.pread(descriptor, HEADER_SIZE, position))
        except WireError:
            return False
        os.pwrite(descriptor, bytes([header.crc & 0xFF ^ SPOILT]), position + CRC_END - 1)
        position += header.size
        most -= 1
    return position == size


def unlink_all(paths: list[str]) -> None:
    """Remove files, or find them gone; blocks."""
    for path in paths:
        try:
            os.unlink(path)
        except FileNotFoundError:
            # Its topic was deleted meanwhile, folder and all.
            continue
