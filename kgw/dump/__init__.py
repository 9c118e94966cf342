"""C{kgw dump-log}: what is in the files of the local engine, decoded; damage is shown as such."""

from __future__ import annotations

from collections.abc import Sequence


def main(arguments: Sequence[str]) -> int:
    """
    Run C{kgw dump-log}.

    @param arguments: those behind C{kgw dump-log}.
    @return: the exit status: 0, 1 where something is damaged, 2 where a file cannot be read.
    """
    from kgw.dump.command import run

    return run(arguments)
