"""How many of one kind can each have a partner of their own of another kind."""

from __future__ import annotations

from collections.abc import Sequence


def most_matched(fitting: Sequence[Sequence[int]], partners: int) -> int:
    """
    The size of a largest matching, by augmenting paths, without recursion.

    @param fitting: for each one the partners that fit it.
    @param partners: how many there are.
    """
    taken: list[int | None] = [None] * partners
    matched = 0
    for start in range(len(fitting)):
        # breadth first from one without a partner to a partner that is free
        came: dict[int, int] = {}
        queue = [start]
        free: int | None = None
        for one in queue:
            for partner in fitting[one]:
                if partner in came:
                    continue
                came[partner] = one
                holder = taken[partner]
                if holder is None:
                    free = partner
                    break
                queue.append(holder)
            if free is not None:
                break
        if free is None:
            continue
        matched += 1
        mine = {holder: partner for partner, holder in enumerate(taken) if holder is not None}
        at: int | None = free
        while at is not None:
            one = came[at]
            taken[at] = one
            at = mine.get(one)
    return matched
