"""C{kgw bench}: what kgw, or another Kafka server, can do on this machine, and how far from the limit that is."""

from __future__ import annotations

from collections.abc import Sequence


def main(arguments: Sequence[str]) -> int:
    """
    Run C{kgw bench}.

    @param arguments: those behind C{kgw bench}.
    @return: the exit status.
    """
    from kgw.bench.command import run

    return run(arguments)
