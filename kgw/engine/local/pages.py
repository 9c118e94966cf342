"""Reads of files that do not wait for the disk, where the system can tell."""

from __future__ import annotations

import errno
import os

from kgw.model import Buffer

#: File systems that are nothing but memory, and do not take the flag on every kernel.
_MEMORY = (b"tmpfs", b"ramfs", b"devtmpfs")
#: In how many places a file is looked at.
_PROBES = 8


class NotInMemory(Exception):
    """What is wanted has to come from the disk, for which a thread has to wait."""


class PageReads:
    """
    Reads what is in the page cache, for the reactor's thread (Linux: C{RWF_NOWAIT}).

    What a file system can do is found out once. One that is memory is simply read; any other one that cannot tell
    may block with each read, so all reads are left to the threads.
    """

    def __init__(self, path: str) -> None:
        """
        @param path: a folder of the file system.
        """
        self._flag = getattr(os, "RWF_NOWAIT", 0)
        self._memory = is_memory(path)

    def read(self, descriptor: int, size: int, position: int) -> Buffer:
        """
        As C{os.pread}.

        @raise NotInMemory: not all of it is in the page cache.
        """
        if self._memory:
            return os.pread(descriptor, size, position)
        if not self._flag:
            raise NotInMemory
        data = bytearray(size)
        try:
            found = os.preadv(descriptor, (data,), position, self._flag)
        except OSError as error:
            if error.errno in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                self._flag = 0
            elif error.errno != errno.EAGAIN:
                raise
            raise NotInMemory from None
        if found != size:
            # At the end of the file, too: the thread finds out.
            raise NotInMemory
        return data

    def holds(self, path: str, size: int) -> bool:
        """Whether a file seems to be in memory, from a look at a few places of it."""
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            for probe in range(_PROBES):
                self.read(descriptor, 1, (size - 1) * probe // (_PROBES - 1))
        except NotInMemory:
            return False
        finally:
            os.close(descriptor)
        return True


def is_memory(path: str) -> bool:
    """Whether a folder is on a file system that is nothing but memory (Linux; elsewhere nobody knows)."""
    device = os.stat(path).st_dev
    number = b"%d:%d" % (os.major(device), os.minor(device))
    try:
        with open("/proc/self/mountinfo", "rb") as mounts:
            # "36 35 98:0 /root /point options - type source options", with more fields in front of the dash.
            return any(line.split()[2] == number and line.partition(b" - ")[2].split()[0] in _MEMORY for line in mounts)
    except (FileNotFoundError, IndexError):
        return False
