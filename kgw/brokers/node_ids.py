"""Which node id a gateway takes: the one it is told, its former one, or the smallest that is free."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from kgw.brokers.liveness import Liveness
from kgw.brokers.model import MAX_FORMERS, NodeEntry, Process, State

#: The first node id that is given where none is told.
FIRST_NODE_ID = 1


class Claim(NamedTuple):
    """
    Take this node id.

    @ivar formers: the incarnations that had it before and are no more, the last one first.
    @ivar lock_token: of the controller's lock where the one before had it, else empty.
    """

    node_id: int
    formers: tuple[str, ...]
    lock_token: str


class Wait(NamedTuple):
    """Who has it may be gone: look again, at the latest at this time."""

    until: float
    node_id: int


class Refused(NamedTuple):
    """The node id that was told is another gateway's, which is alive."""

    text: str


class Claimant:
    """
    Who asks for a node id.

    @ivar wanted: the node id that is configured, C{None} where any will do.
    @ivar listeners: the addresses that clients are told.
    @ivar own: this process' incarnations before, all of which are no more.
    """

    def __init__(self, wanted: int | None, listeners: Mapping[str, tuple[str, int]]) -> None:
        self.wanted = wanted
        self.listeners = dict(listeners)
        self.own: tuple[str, ...] = ()

    def choose(
        self, entries: Mapping[int, NodeEntry], liveness: Liveness, ended: Callable[[Process], bool]
    ) -> Claim | Wait | Refused:
        """
        Which node id to take, by the entries that were just read and observed.

        @param ended: whether a process is known to have ended.
        """
        if self.wanted is not None:
            return self._claim(self.wanted, entries.get(self.wanted), liveness, ended)
        for node_id in sorted(entries):
            entry = entries[node_id]
            if entry.incarnation in self.own or self._is_mine(entry):
                choice = self._claim(node_id, entry, liveness, ended)
                # one that is alive has the same address, and another place to be
                if not isinstance(choice, Refused):
                    return choice
        node_id = FIRST_NODE_ID
        while node_id in entries and entries[node_id].state is not State.LEFT:
            node_id += 1
        return self._claim(node_id, entries.get(node_id), liveness, ended)

    def _is_mine(self, entry: NodeEntry) -> bool:
        return any(entry.listeners.get(name) == address for name, address in self.listeners.items())

    def _claim(
        self, node_id: int, entry: NodeEntry | None, liveness: Liveness, ended: Callable[[Process], bool]
    ) -> Claim | Wait | Refused:
        if entry is None:
            return Claim(node_id, self.own[:MAX_FORMERS], "")
        before = entry.incarnation
        if (
            before in self.own
            or entry.state is State.LEFT
            or liveness.gone(before)
            or (entry.process is not None and ended(entry.process))
        ):
            formers = dict.fromkeys((*self.own, before, *entry.formers))
            return Claim(node_id, tuple(formers)[:MAX_FORMERS], entry.lock_token)
        deadline = liveness.deadline(before)
        if liveness.stirred(before) or deadline is None:
            addresses = ", ".join(f"{name}://{host}:{port}" for name, (host, port) in sorted(entry.listeners.items()))
            return Refused(
                f"node.id {node_id} is taken by another gateway that is running ({addresses or 'no listeners'}); "
                "give each gateway another node.id, or stop that one"
            )
        return Wait(deadline, node_id)
