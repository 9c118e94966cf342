"""Which of the other gateways are alive, by this gateway's own observation: a pure machine."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from kgw.brokers.model import NodeEntry, Process, State

#: How many incarnations are remembered that are no more.
MAX_GONE = 10_000


#: How long a process has ended before its gateway is taken for dead: what it had sent may still be on its way.
ENDED_S = 1.0


class Witness:
    """Sees the ends of gateways on this machine by those of their processes, sooner than by their silence."""

    def __init__(self, ended: Callable[[Process], bool]) -> None:
        """
        @param ended: whether a process is known to have ended.
        """
        self._ended = ended
        #: When the ends were seen first, by incarnation.
        self._since: dict[str, float] = {}

    @property
    def is_waiting(self) -> bool:
        """Whether somebody has ended not long enough ago."""
        return bool(self._since)

    def gone(self, entries: Iterable[NodeEntry], now: float) -> list[str]:
        """The incarnations among these whose processes ended so long ago that nothing of theirs is on its way."""
        ended = [one.incarnation for one in entries if one.process is not None and self._ended(one.process)]
        self._since = {incarnation: self._since.get(incarnation, now) for incarnation in ended}
        gone = [incarnation for incarnation, since in self._since.items() if now - since >= ENDED_S]
        for incarnation in gone:
            del self._since[incarnation]
        return gone


@dataclass(slots=True)
class _Seen:
    node_id: int
    entry: NodeEntry | None
    changed_at: float
    changes: int


class Liveness:
    """
    Watches the entries of others change.

    An incarnation is gone when its entry says that it has left, when an incarnation after it says that it knows it to
    be no more, when a L{Witness} saw its process end, or when a reading that was asked for a whole session timeout
    after the last change was seen finds nothing new; by then its own lease has run out, see L{kgw.brokers.lease}. Who
    is gone by silence comes back where something new is seen of it, see L{kgw.brokers.membership}; all other ends are
    final. Nobody else's word and no wall clock is believed. An entry that is merely missing, or written over by one
    that says nothing of it, counts as one that does not change.
    """

    def __init__(self, session_s: float) -> None:
        self._session_s = session_s
        self._seen: dict[str, _Seen] = {}
        #: When each went, oldest first.
        self._gone: dict[str, float] = {}
        #: The counters of those that are gone by silence, -1 where there was no entry.
        self._silent: dict[str, int] = {}
        self._began = False

    def observe(self, entries: Iterable[NodeEntry], members: Mapping[int, str], asked: float, now: float) -> None:
        """
        Take in one reading.

        @param entries: all of them, but for this gateway's own.
        @param members: of the assignment in force, but for this gateway: they count as seen, entry or none.
        @param asked: when the reading was begun.
        """
        present = {entry.incarnation: entry for entry in entries}
        for entry in present.values():
            for former in entry.formers:
                self._went(former, now)
            if entry.state is State.LEFT:
                self._went(entry.incarnation, now)
        for incarnation, entry in present.items():
            if incarnation in self._gone:
                if self._silent.get(incarnation, entry.counter) != entry.counter:
                    del self._gone[incarnation], self._silent[incarnation]
                    self._seen[incarnation] = _Seen(entry.node_id, entry, now, 1)
                continue
            seen = self._seen.get(incarnation)
            if seen is None:
                # what was not there before has just come
                self._seen[incarnation] = _Seen(entry.node_id, entry, now, int(self._began))
            elif seen.entry is None or seen.entry.counter != entry.counter:
                seen.entry = entry
                seen.changed_at = now
                seen.changes += 1
        for node_id, incarnation in members.items():
            if incarnation not in self._seen and incarnation not in self._gone:
                self._seen[incarnation] = _Seen(node_id, None, now, 0)
        self._began = True
        for incarnation, seen in tuple(self._seen.items()):
            if asked - seen.changed_at >= self._session_s:
                self._went(incarnation, now, -1 if seen.entry is None else seen.entry.counter)

    def excuse(self, now: float) -> None:
        """Nobody could be seen for a while: who was not seen to do anything is given a whole session timeout anew."""
        for seen in self._seen.values():
            seen.changed_at = max(seen.changed_at, now)

    def ended(self, incarnation: str, now: float) -> None:
        """It is known otherwise to be no more, as this gateway's own incarnations before this one are."""
        self._went(incarnation, now)

    def gone(self, incarnation: str) -> bool:
        """Whether it is known to be no more, or has been silent for so long that its lease has run out."""
        return incarnation in self._gone

    def finally_gone(self, incarnation: str) -> bool:
        """Whether it is known to be no more, and not by its silence."""
        return incarnation in self._gone and incarnation not in self._silent

    def gone_since(self, incarnation: str) -> float | None:
        """When it was found to be no more, C{None} where it was not."""
        return self._gone.get(incarnation)

    def stirred(self, incarnation: str) -> bool:
        """Whether it is alive, and was seen to do something: what the first reading found may be long dead."""
        seen = self._seen.get(incarnation)
        return seen is not None and seen.changes > 0

    def deadline(self, incarnation: str) -> float | None:
        """When it is gone unless something new is seen of it; C{None} where it is gone, or was never seen."""
        seen = self._seen.get(incarnation)
        return None if seen is None else seen.changed_at + self._session_s

    def alive(self) -> dict[int, tuple[str, NodeEntry | None]]:
        """
        The incarnations by node id that may be alive, with their entries as last seen.

        Of two with one node id it is the one that was seen first: the other has yet to prove that it is gone.
        """
        alive: dict[int, tuple[str, NodeEntry | None]] = {}
        for incarnation, seen in self._seen.items():
            alive.setdefault(seen.node_id, (incarnation, seen.entry))
        return alive

    def next_deadline(self) -> float | None:
        """When a reading should next be asked for, lest somebody's end be noticed late."""
        earliest = min((seen.changed_at for seen in self._seen.values()), default=None)
        return None if earliest is None else earliest + self._session_s

    def _went(self, incarnation: str, now: float, silent: int | None = None) -> None:
        self._seen.pop(incarnation, None)
        if silent is None:
            self._silent.pop(incarnation, None)
        else:
            self._silent[incarnation] = silent
        if incarnation not in self._gone:
            self._gone[incarnation] = now
            if len(self._gone) > MAX_GONE:
                oldest = next(iter(self._gone))
                del self._gone[oldest]
                self._silent.pop(oldest, None)
