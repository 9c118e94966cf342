"""The program that compiles .proto files for L{kgw.schema.protobuf_compiler}: protoc within bounds, in a process.

It is run as a file and not as a module of kgw: C{python -I -S protobuf_child.py SITE arguments of protoc...}, which
starts in a third of the time that C{python -m grpc_tools.protoc} takes. SITE is the folder that has grpc_tools in it.
"""

from __future__ import annotations

import resource
import sys

#: Seconds of CPU; a schema of a megabyte takes less than one.
MOST_CPU_SECONDS = 10
#: Bytes of memory, interpreter and libraries included.
MOST_MEMORY = 2 << 30
#: Bytes of what it writes: the descriptors, or what it has to complain of.
MOST_OUTPUT = 64 << 20


def main(arguments: list[str]) -> int:
    """
    Run protoc within bounds.

    @param arguments: of the command line, the folder first.
    @return: the status to end with: 0, or 1 where protoc finds fault with the files.
    """
    for which, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, MOST_CPU_SECONDS),
        (resource.RLIMIT_AS, MOST_MEMORY),
        (resource.RLIMIT_FSIZE, MOST_OUTPUT),
    ):
        hard = resource.getrlimit(which)[1]
        # who started kgw may have bound it closer than this
        bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(which, (bound, bound))
    sys.path.append(arguments[0])
    # this part of grpc_tools only: the rest is not needed, and takes longer to load than schemas take to compile
    from grpc_tools import _protoc_compiler

    return int(_protoc_compiler.run_main([argument.encode() for argument in ("protoc", *arguments[1:])]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
