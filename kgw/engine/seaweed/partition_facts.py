"""What one partition keeps in the state store besides its records: where it starts, its epochs, its producers.

Each leader keeps it under keys of its own, which hold the leader epoch it began with, and the greatest counts: what a
former leader writes late is read by nobody.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from dataclasses import dataclass, field

from kgw.errors import ErrorCode, KafkaError
from kgw.interfaces import IStateStore
from kgw.model import EpochEnd, Topic

PREFIX = "seaweed/partitions/"
_FACTS, _PRODUCERS = "facts", "producers"
#: A state store takes values of 1 MiB.
_PART_BYTES = 1 << 20
#: Behind the partition's part of a key: the reign, where it was not an earlier version that wrote it, and what it is.
_REIGN = re.compile(r"(?:([0-9]{10})/)?([a-z].*)")
#: Of facts that an earlier version stored, which knew of no other leaders.
_NO_REIGN = -1


@dataclass(slots=True)
class PartitionFacts:
    """
    @ivar start: the log start offset.
    @ivar epochs: leader epochs and the offsets they begin at, in order. A new one begins where records that readers
        have seen may have been lost, so that consumers find out (KIP-320).
    @ivar clean_end: where the log ended when it was closed in order; -1 while it is open, and after a crash.
    @ivar trusted: which log files were put right already: the members of C{kgw.engine.seaweed.repair.Trusted}; C{None}
        for none.
    @ivar producers: a snapshot of C{Sequences}, empty where there is none.
    @ivar reign: the leader epoch that its leader began with, by which the keys of its facts differ from those of
        former leaders.
    @ivar stored: all keys under which something was found, also by former leaders.
    """

    start: int = 0
    epochs: list[tuple[int, int]] = field(default_factory=lambda: [(0, 0)])
    clean_end: int = -1
    trusted: tuple[str, int, int, int] | None = None
    producers: bytes = b""
    reign: int = 0
    stored: tuple[str, ...] = field(default=(), compare=False)

    @property
    def leader_epoch(self) -> int:
        """The current one."""
        return self.epochs[-1][0]

    def epoch_at(self, offset: int) -> int:
        """The leader epoch of the record at an offset."""
        return self.epochs[max(bisect_right(self.epochs, offset, key=lambda one: one[1]) - 1, 0)][0]

    def begin_epoch(self, offset: int, epoch: int = 0) -> None:
        """
        A new leader epoch begins at C{offset}; those that would begin behind it never did.

        @param epoch: which one; the next where that is not above the current one.
        """
        epoch = max(epoch, self.leader_epoch + 1)
        self.epochs = [one for one in self.epochs if one[1] < offset]
        self.epochs.append((epoch, offset))

    def take_up(self, end: int, epoch: int | None = None) -> None:
        """
        A leader takes up the partition, whose log ends there.

        @param epoch: the leader epoch that it was given, C{None} where there are no other leaders: then a new one
            begins only where the log was not closed in order. One that is not above the epochs there were is passed
            over, so L{leader_epoch} may be another afterwards.
        """
        # else what was acknowledged from memory may be lost, and consumers may have read it
        is_clean = self.clean_end == end or not end
        if epoch is None:
            if not is_clean:
                self.begin_epoch(end)
        elif epoch != self.reign or not is_clean:
            self.begin_epoch(end, epoch)
            self.reign = self.leader_epoch
        self.clean_end = -1

    def begin_at(self, start: int) -> None:
        """The log starts there now; epochs that end before are forgotten."""
        self.start = start
        self.epochs = self.epochs[max(bisect_right(self.epochs, start, key=lambda one: one[1]) - 1, 0) :]

    def end_of(self, leader_epoch: int, log_end: int) -> EpochEnd:
        """Where the largest epoch at or below this one ends (KIP-101); one older than all ends where those begin."""
        if not 0 <= leader_epoch <= self.leader_epoch:
            return EpochEnd(-1, -1)
        for number in range(len(self.epochs) - 1, -1, -1):
            epoch, _ = self.epochs[number]
            if epoch <= leader_epoch:
                following = self.epochs[number + 1 :]
                return EpochEnd(epoch, following[0][1] if following else log_end)
        return EpochEnd(leader_epoch, self.epochs[0][1])


def _prefix(topic_id: bytes, index: int) -> str:
    return f"{PREFIX}{topic_id.hex()}/{index}/"


def _reign(topic_id: bytes, index: int, reign: int) -> str:
    return f"{_prefix(topic_id, index)}{reign:010}/"


async def load_facts(store: IStateStore, topic_id: bytes, index: int) -> PartitionFacts:
    """
    The facts of a partition by its last leader; of a new one where nothing is stored.

    @raise KafkaError: C{KAFKA_STORAGE_ERROR}.
    """
    prefix = _prefix(topic_id, index)
    stored: dict[int, list[tuple[str, bytes]]] = {}
    keys = []
    for key, value in await store.scan(prefix):
        keys.append(key)
        match = _REIGN.fullmatch(key, len(prefix))
        if match is not None:
            reign = _NO_REIGN if match[1] is None else int(match[1])
            stored.setdefault(reign, []).append((key, value))
    newest = max(stored, default=_NO_REIGN)
    found = PartitionFacts(reign=max(newest, 0), stored=tuple(keys))
    parts = []
    for key, value in stored.get(newest, ()):
        noun = key.removeprefix(prefix if newest == _NO_REIGN else _reign(topic_id, index, newest))
        if noun == _FACTS:
            try:
                fact = json.loads(value)
                found.start, found.clean_end = int(fact["start"]), int(fact["clean_end"])
                found.epochs = [(int(epoch), int(offset)) for epoch, offset in fact["epochs"]] or found.epochs
                if fact.get("trusted"):
                    name, size, end_offset, last_ts_ns = fact["trusted"]
                    found.trusted = str(name), int(size), int(end_offset), int(last_ts_ns)
            except (ValueError, KeyError, TypeError) as error:
                raise KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, f"the fact {key!r} is damaged: {error}") from error
        elif noun.startswith(_PRODUCERS):
            parts.append(value)
    whole = b"".join(parts)
    # parts of a longer one may be left behind it
    found.producers = whole[8 : 8 + int.from_bytes(whole[:8], "big")]
    return found


def former_keys(topic_id: bytes, index: int, facts: PartitionFacts) -> list[str]:
    """The keys of what former leaders stored, which nobody needs once this one's facts are stored."""
    ours = _reign(topic_id, index, facts.reign)
    return [key for key in facts.stored if not key.startswith(ours)]


def encoded_facts(topic_id: bytes, index: int, facts: PartitionFacts) -> dict[str, bytes]:
    """What to store of a partition, save its producers."""
    fact = {"start": facts.start, "epochs": facts.epochs, "clean_end": facts.clean_end, "trusted": facts.trusted}
    return {_reign(topic_id, index, facts.reign) + _FACTS: json.dumps(fact, separators=(",", ":")).encode()}


def encoded_producers(topic_id: bytes, index: int, snapshot: bytes, reign: int = 0) -> dict[str, bytes]:
    """
    What to store of its producers, in as many parts as it takes, with its length in front.

    @param reign: of the facts it belongs to.
    """
    whole = len(snapshot).to_bytes(8, "big") + snapshot
    return {
        f"{_reign(topic_id, index, reign)}{_PRODUCERS}/{at // _PART_BYTES:04d}": whole[at : at + _PART_BYTES]
        for at in range(0, len(whole), _PART_BYTES)
    }


async def forget_facts(store: IStateStore, topic: Topic) -> None:
    """
    Remove what is stored of all partitions of a topic that is gone.

    @raise KafkaError: C{KAFKA_STORAGE_ERROR}.
    """
    stored = await store.scan(f"{PREFIX}{topic.id.hex()}/")
    if stored:
        await store.commit({}, [key for key, _ in stored])
