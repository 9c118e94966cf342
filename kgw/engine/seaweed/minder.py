"""A program that runs one other and ends it when told to, or when the gateway that wanted it is no more.

It is started with no package of kgw's in reach, so it imports the standard library only::

    python -I -S minder.py GRACE_S DIRECTORY PROGRAM ARGUMENT...

Its standard input is a pipe from the gateway: a byte in it means kill at once, its end (the gateway was killed) means
kill after so many seconds, in which the broker writes to files what it has acknowledged. The program works in that
directory, its pid goes to descriptor 4, and it dies with this one whatever happens.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys

#: What the program inherits; the minder itself does nothing with it.
LOCK_DESCRIPTOR = 3
#: Where the pid of the program is written.
PID_DESCRIPTOR = 4
_PR_SET_PDEATHSIG = 1


def _become(command: list[str], minder: int) -> None:
    """In the child: be the program, and be killed when the minder is."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != minder:
        os._exit(127)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    try:
        os.execv(command[0], command)
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr, flush=True)
        os._exit(127)


def _readable(descriptors: list[int], timeout_s: float | None) -> list[int]:
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return [found for found, _ in poll.poll(None if timeout_s is None else timeout_s * 1000)]


def main(arguments: list[str]) -> int:
    """
    Run the program.

    @return: what it ended with: its exit status, or 128 and the number of the signal.
    """
    grace_s, directory, *command = float(arguments[0]), *arguments[1:]
    os.chdir(directory)
    # Ctrl-C at the gateway's terminal is for the gateway, which still has to drain.
    os.setsid()
    minder = os.getpid()
    pid = os.fork()
    if pid == 0:
        os.close(PID_DESCRIPTOR)
        _become(command, minder)
    os.write(PID_DESCRIPTOR, b"%d\n" % pid)
    os.close(PID_DESCRIPTOR)
    program = os.pidfd_open(pid)
    if program not in _readable([0, program], None):
        told = os.read(0, 1)
        if told or not _readable([program], grace_s):
            os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
