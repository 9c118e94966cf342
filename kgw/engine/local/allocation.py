"""Disk space given to a segment ahead of its writer, off the reactor's thread."""

from __future__ import annotations

import ctypes
import errno
import os
from threading import Lock

#: The least and the most that is allocated at a time, in bytes; between them as much as the segment has.
LEAST, MOST = 8 << 20, 64 << 20
#: Unasked, nothing is allocated where less than this many times as much is free: it is there for those in need.
FREE = 16


def _find_fallocate() -> ctypes._NamedFuncPointer | None:
    """
    The C library's C{fallocate}.

    Not C{os.posix_fallocate}: where the file system cannot do it, glibc writes a zero into every block, over what
    the reactor's thread may be writing at that moment.
    """
    library = ctypes.CDLL(None, use_errno=True)
    for name in ("fallocate64", "fallocate"):
        if hasattr(library, name):
            function: ctypes._NamedFuncPointer = getattr(library, name)
            function.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
            return function
    return None


_fallocate = _find_fallocate()


def allocate(descriptor: int, position: int, size: int) -> None:
    """
    Give a file blocks for C{size} bytes from C{position} on, that read as zeros; it grows accordingly.

    @raise OSError: there is no space, or no such call.
    """
    if _fallocate is None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
    while _fallocate(descriptor, 0, position, size):
        number = ctypes.get_errno()
        if number != errno.EINTR:
            raise OSError(number, os.strerror(number))


class Stretch:
    """
    One allocation ahead of a writer.

    It runs in a thread, while the reactor's may find that the file is to end where the log does: the file's length
    belongs to whoever has the lock.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._off = False

    def run(self, descriptor: int, position: int, size: int, free: int) -> bool:
        """
        Allocate, unless it was called off, and close the descriptor; blocks.

        @param free: bytes that the file system must have free.
        @return: false where it is no use to try again: the file system cannot do this.
        """
        try:
            with self._lock:
                if not self._off and _is_roomy(descriptor, free):
                    allocate(descriptor, position, size)
        except OSError as error:
            # A full disk is no error: whoever writes finds out, should it matter.
            return error.errno not in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
        finally:
            os.close(descriptor)
        return True

    def call_off(self) -> None:
        """Nothing is allocated any more when this returns."""
        with self._lock:
            self._off = True


def _is_roomy(descriptor: int, free: int) -> bool:
    found = os.fstatvfs(descriptor)
    return found.f_bavail * found.f_frsize >= free
