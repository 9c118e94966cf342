"""What one partition keeps in the state store besides its records: where it starts, its epochs, its producers."""

from __future__ import annotations

import json
from bisect import bisect_right
from dataclasses import dataclass, field

from kgw.errors import ErrorCode, KafkaError
from kgw.interfaces import IStateStore
from kgw.model import EpochEnd, Topic

_PREFIX = "seaweed/partitions/"
_FACTS, _PRODUCERS = "facts", "producers"
#: A state store takes values of 1 MiB.
_PART_BYTES = 1 << 20


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
    """

    start: int = 0
    epochs: list[tuple[int, int]] = field(default_factory=lambda: [(0, 0)])
    clean_end: int = -1
    trusted: tuple[str, int, int, int] | None = None
    producers: bytes = b""

    @property
    def leader_epoch(self) -> int:
        """The current one."""
        return self.epochs[-1][0]

    def epoch_at(self, offset: int) -> int:
        """The leader epoch of the record at an offset."""
        return self.epochs[max(bisect_right(self.epochs, offset, key=lambda one: one[1]) - 1, 0)][0]

    def begin_epoch(self, offset: int) -> None:
        """A new leader epoch begins at C{offset}; those that would begin behind it never did."""
        epoch = self.leader_epoch + 1
        self.epochs = [one for one in self.epochs if one[1] < offset]
        self.epochs.append((epoch, offset))

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


def _key(topic_id: bytes, index: int, noun: str) -> str:
    return f"{_PREFIX}{topic_id.hex()}/{index}/{noun}"


async def load_facts(store: IStateStore, topic_id: bytes, index: int) -> PartitionFacts:
    """
    The facts of a partition; of a new one where nothing is stored.

    @raise KafkaError: C{KAFKA_STORAGE_ERROR}.
    """
    stored = await store.scan(_key(topic_id, index, ""))
    found = PartitionFacts()
    parts = []
    for key, value in stored:
        noun = key.removeprefix(_key(topic_id, index, ""))
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


def encoded_facts(topic_id: bytes, index: int, facts: PartitionFacts) -> dict[str, bytes]:
    """What to store of a partition, save its producers."""
    fact = {"start": facts.start, "epochs": facts.epochs, "clean_end": facts.clean_end, "trusted": facts.trusted}
    return {_key(topic_id, index, _FACTS): json.dumps(fact, separators=(",", ":")).encode()}


def encoded_producers(topic_id: bytes, index: int, snapshot: bytes) -> dict[str, bytes]:
    """What to store of its producers, in as many parts as it takes, with its length in front."""
    whole = len(snapshot).to_bytes(8, "big") + snapshot
    return {
        _key(topic_id, index, f"{_PRODUCERS}/{at // _PART_BYTES:04d}"): whole[at : at + _PART_BYTES]
        for at in range(0, len(whole), _PART_BYTES)
    }


async def forget_facts(store: IStateStore, topic: Topic) -> None:
    """
    Remove what is stored of all partitions of a topic that is gone.

    @raise KafkaError: C{KAFKA_STORAGE_ERROR}.
    """
    stored = await store.scan(f"{_PREFIX}{topic.id.hex()}/")
    if stored:
        await store.commit({}, [key for key, _ in stored])
