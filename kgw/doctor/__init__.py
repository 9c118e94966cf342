"""C{kgw doctor} and C{kgw apis}: a broker looked at from outside, as a client sees it, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence


def main(arguments: Sequence[str]) -> int:
    """
    Run C{kgw doctor}.

    @param arguments: those behind C{kgw doctor}.
    @return: the exit status: 0 where all is well, 1 with problems, 2 where no Kafka broker answers.
    """
    from kgw.doctor.command import run

    return run(arguments)


def apis(arguments: Sequence[str]) -> int:
    """
    Run C{kgw apis}.

    @param arguments: those behind C{kgw apis}.
    @return: the exit status: 0, 1 where there is a difference, 2 where no Kafka broker answers.
    """
    from kgw.doctor.comparison import run

    return run(arguments)
