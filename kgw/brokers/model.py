"""Frozen values that gateways tell one another by way of the meeting place, and their form there."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

from kgw.errors import ErrorCode, KafkaError

#: The most bytes that one entry takes; the filer keeps larger ones badly.
MAX_ENTRY_BYTES = 900_000
#: Assignments above so many bytes are written deflated; smaller ones stay readable for people.
PLAIN_BYTES = 64 << 10
#: What a deflated assignment may become, in bytes.
MAX_INFLATED_BYTES = 64 << 20
#: Kafka's node ids are 32 bits with a sign, and -1 stands for none.
MAX_NODE_ID = (1 << 31) - 1
#: How many former incarnations an entry names.
MAX_FORMERS = 16

#: The id under which the groups' coordinators are assigned as if they were the partitions of a topic; in no catalog.
COORDINATORS = b"kgw:coordinators"

_INCARNATION = re.compile(r"[0-9a-f]{32}")
_STAMP = re.compile(r"[0-9a-f]{8}")
_VERSION_NAME = re.compile(r"([0-9]{16})-([0-9]{1,10})-([0-9a-f]{8})")


class Slot(NamedTuple):
    """What is led: a partition of a topic by its id (16 bytes), or a share of the groups, of L{COORDINATORS}."""

    topic_id: bytes
    partition: int


class Version(NamedTuple):
    """
    Which assignment it is; the greatest is obeyed.

    @ivar number: one more than that of the assignment it was made from.
    @ivar node_id: who published it.
    @ivar stamp: 8 random hexadecimal digits, new with each attempt, so that what stands under one version never
        changes.
    """

    number: int
    node_id: int
    stamp: str

    @property
    def name(self) -> str:
        """As the meeting place names it; names sort as numbers do."""
        return f"{self.number:016}-{self.node_id}-{self.stamp}"

    @classmethod
    def of(cls, name: str) -> Version:
        """
        The version of this name.

        @raise ValueError: it is no such name.
        """
        match = _VERSION_NAME.fullmatch(name)
        if match is None or int(match[2]) > MAX_NODE_ID:
            raise ValueError(f"{name!r} is no version of an assignment")
        return cls(int(match[1]), int(match[2]), match[3])


#: Before the first assignment.
NO_VERSION = Version(0, 0, "00000000")


class State(Enum):
    """
    Where a gateway is in its life.

    C{LEAVING}: it is about to stop, and is to be given nothing more. C{LEFT}: it has let go of everything; the entry
    stays for its node id to be found again.
    """

    LIVE = "live"
    LEAVING = "leaving"
    LEFT = "left"


class Process(NamedTuple):
    """
    Which process it is, so that another on the same machine can tell that it is no more.

    @ivar boot_id: of the machine's start (Linux: /proc/sys/kernel/random/boot_id).
    @ivar pid_namespace: within which C{pid} is meant.
    @ivar start_time: in clock ticks since the machine's start, which tells it from a later process of that pid.
    """

    boot_id: str
    pid_namespace: str
    pid: int
    start_time: int


@dataclass(frozen=True, slots=True)
class NodeEntry:
    """
    What a gateway says of itself; it alone writes it.

    @ivar incarnation: 32 hexadecimal digits, new with each start and each rejoining.
    @ivar listeners: host and port by listener name, as clients are to reach it.
    @ivar release: the version of kgw, for people.
    @ivar process: C{None} where the system does not tell.
    @ivar counter: grows with every writing of this incarnation.
    @ivar applied: holds nothing but what this assignment, or a greater one, gives it.
    @ivar epochs: leader epochs that are above those of the assignment, of what it leads.
    @ivar lock_token: of the controller's lock, empty where another has it.
    @ivar formers: incarnations before it of this node id that are known to be no more, the last one first.
    """

    node_id: int
    incarnation: str
    listeners: Mapping[str, tuple[str, int]]
    rack: str | None = None
    release: str = ""
    process: Process | None = None
    counter: int = 0
    state: State = State.LIVE
    applied: Version = NO_VERSION
    epochs: Mapping[Slot, int] = field(default_factory=dict)
    lock_token: str = ""
    formers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """
        Check the bounds.

        @raise ValueError: a value is out of them.
        """
        incarnations = (self.incarnation, *self.formers)
        _check(0 <= self.node_id <= MAX_NODE_ID, "node id")
        _check(all(_INCARNATION.fullmatch(one) for one in incarnations), "incarnation")
        _check(len(self.formers) <= MAX_FORMERS, "formers")
        _check(len(self.listeners) <= 64, "listeners")
        for name, (host, port) in self.listeners.items():
            _check(0 < len(name) <= 249 and len(host) <= 255 and 0 <= port <= 65535, "listener")
        _check(self.rack is None or len(self.rack) <= 1000, "rack")
        _check(0 <= self.counter < 1 << 63, "counter")
        for slot, epoch in self.epochs.items():
            _check(len(slot.topic_id) == 16 and slot.partition >= 0 and 0 <= epoch < 1 << 31, "epoch")

    def encode(self) -> bytes:
        """
        Its form in the meeting place.

        @raise KafkaError: C{KAFKA_STORAGE_ERROR}: it is too large.
        """
        epochs: dict[str, dict[str, int]] = {}
        for slot, epoch in self.epochs.items():
            epochs.setdefault(slot.topic_id.hex(), {})[str(slot.partition)] = epoch
        return _bounded(
            {
                "node": self.node_id,
                "incarnation": self.incarnation,
                "listeners": {name: list(address) for name, address in self.listeners.items()},
                "rack": self.rack,
                "release": self.release,
                "process": None if self.process is None else list(self.process),
                "counter": self.counter,
                "state": self.state.value,
                "applied": self.applied.name,
                "epochs": epochs,
                "lock": self.lock_token,
                "formers": list(self.formers),
            }
        )

    @classmethod
    def decode(cls, value: bytes) -> NodeEntry:
        """
        Read what L{encode} wrote; fields it does not know are passed over.

        @raise ValueError: it is no such entry.
        """
        try:
            fact = json.loads(value)
            process = fact.get("process")
            return cls(
                _int(fact["node"]),
                str(fact["incarnation"]),
                {str(name): (str(host), _int(port)) for name, (host, port) in fact["listeners"].items()},
                None if fact.get("rack") is None else str(fact["rack"]),
                str(fact.get("release", "")),
                None if process is None else _process(*process),
                _int(fact["counter"]),
                State(fact["state"]),
                Version.of(str(fact["applied"])),
                {
                    Slot(bytes.fromhex(id), int(partition)): _int(epoch)
                    for id, partitions in fact.get("epochs", {}).items()
                    for partition, epoch in partitions.items()
                },
                str(fact.get("lock", "")),
                tuple(str(one) for one in fact.get("formers", ())),
            )
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"no entry of a gateway: {error!r}") from error


@dataclass(frozen=True, slots=True)
class Led:
    """
    Who leads the partitions of one topic.

    @ivar leaders: node ids by partition, -1 where there is nobody.
    @ivar epochs: the leader epochs, by partition.
    @ivar fresh: partitions from this one on were in no assignment before, so nobody else can hold them.
    """

    leaders: tuple[int, ...]
    epochs: tuple[int, ...]
    fresh: int

    def __post_init__(self) -> None:
        """
        Check the bounds.

        @raise ValueError: a value is out of them.
        """
        _check(len(self.leaders) == len(self.epochs) and self.fresh >= 0, "partitions")
        _check(not self.leaders or (min(self.leaders) >= -1 and max(self.leaders) <= MAX_NODE_ID), "leader")
        _check(not self.epochs or (min(self.epochs) >= 0 and max(self.epochs) < 1 << 31), "leader epoch")


@dataclass(frozen=True, slots=True)
class Assignment:
    """
    Who leads what.

    @ivar members: incarnations by node id: those it speaks of, and no others, may lead by it. Whoever was a member
        before and is none now has nothing left in its journal, unless it is in C{parting}.
    @ivar topics: by topic id, and by L{COORDINATORS} for groups.
    @ivar grown: since an assignment that everybody had applied, topics and partitions were only added.
    @ivar parting: node ids by the incarnations that were members until they fell silent, and may still be about to see
        that they are none. What they led is nobody's until there is an assignment without them here.
    """

    version: Version = NO_VERSION
    members: Mapping[int, str] = field(default_factory=dict)
    topics: Mapping[bytes, Led] = field(default_factory=dict)
    grown: bool = True
    parting: Mapping[str, int] = field(default_factory=dict)

    def leader(self, slot: Slot) -> tuple[int, int]:
        """The leader's node id and the leader epoch, C{(-1, -1)} where it names none."""
        led = self.topics.get(slot.topic_id)
        if led is None or not 0 <= slot.partition < len(led.leaders):
            return -1, -1
        return led.leaders[slot.partition], led.epochs[slot.partition]

    def given(self, node_id: int, incarnation: str) -> dict[Slot, int]:
        """What it gives to a gateway, with the leader epochs; nothing to another incarnation than it knows."""
        if self.members.get(node_id) != incarnation:
            return {}
        return {
            Slot(id, partition): led.epochs[partition]
            for id, led in self.topics.items()
            for partition, leader in enumerate(led.leaders)
            if leader == node_id
        }

    def encode(self) -> bytes:
        """
        Its form in the meeting place: about 3 bytes a partition, and 40 a topic.

        @raise KafkaError: C{KAFKA_STORAGE_ERROR}: it is too large.
        """
        nodes = sorted(self.members)
        places = {node_id: place for place, node_id in enumerate(nodes)}
        fact = {
            "version": self.version.name,
            "members": [[node_id, self.members[node_id]] for node_id in nodes],
            "grown": self.grown,
            "parting": [[node_id, incarnation] for incarnation, node_id in self.parting.items()],
            "topics": {
                id.hex(): [
                    [places.get(leader, -1) for leader in led.leaders],
                    _steps(led.epochs),
                    led.fresh,
                ]
                for id, led in self.topics.items()
            },
        }
        return _bounded(fact, PLAIN_BYTES)

    @classmethod
    def decode(cls, value: bytes) -> Assignment:
        """
        Read what L{encode} wrote.

        @raise ValueError: it is no assignment.
        """
        try:
            fact = json.loads(value if value[:1] == b"{" else _inflated(value))
            members = {_int(node_id): str(incarnation) for node_id, incarnation in fact["members"]}
            _check(all(0 <= one <= MAX_NODE_ID for one in members), "node id")
            _check(all(_INCARNATION.fullmatch(one) for one in members.values()), "incarnation")
            parting = {str(incarnation): _int(node_id) for node_id, incarnation in fact.get("parting", ())}
            _check(all(_INCARNATION.fullmatch(one) for one in parting), "incarnation")
            nodes = sorted(members)
            topics = {}
            for id, (places, steps, fresh) in fact["topics"].items():
                topic_id = bytes.fromhex(id)
                _check(len(topic_id) == 16, "topic id")
                leaders = tuple([-1 if place < 0 else nodes[place] for place in places])
                topics[topic_id] = Led(leaders, _sums(steps), _int(fresh))
            return cls(Version.of(str(fact["version"])), members, topics, bool(fact["grown"]), parting)
        except (KeyError, TypeError, AttributeError, IndexError, RecursionError, zlib.error) as error:
            raise ValueError(f"no assignment: {error!r}") from error


@dataclass(frozen=True, slots=True)
class Sighting:
    """
    What one reading of the meeting place found.

    @ivar assignment: the greatest, L{NO_VERSION} where there is none.
    @ivar versions: of all that are there, sorted.
    @ivar entries: by node id; each was read after C{assignment} and C{versions} were.
    """

    assignment: Assignment
    versions: tuple[Version, ...]
    entries: Mapping[int, NodeEntry]

    @property
    def contested(self) -> bool:
        """Whether two assignments have the greatest number: made from one base by two who did not know it."""
        return len(self.versions) > 1 and self.versions[-1].number == self.versions[-2].number


class Hold(NamedTuple):
    """
    A lock that one has.

    @ivar token: what renews or releases it; another one after each renewal.
    @ivar generation: grows with each new holder; 0 where the meeting place does not tell.
    """

    token: str
    generation: int


class Taken(NamedTuple):
    """A lock that somebody else has; C{owner} is what that one called itself."""

    owner: str


def _check(holds: object, what: str) -> None:
    if not holds:
        raise ValueError(f"{what} out of bounds")


def _int(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{value!r} is no whole number")
    return value


def _process(boot_id: Any, pid_namespace: Any, pid: Any, start_time: Any) -> Process:
    return Process(str(boot_id), str(pid_namespace), _int(pid), _int(start_time))


def _bounded(fact: Mapping[str, object], plain_bytes: int = MAX_ENTRY_BYTES) -> bytes:
    encoded = json.dumps(fact, separators=(",", ":")).encode()
    if len(encoded) > plain_bytes:
        encoded = zlib.compress(encoded)
    if len(encoded) > MAX_ENTRY_BYTES:
        raise KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, f"{len(encoded)} bytes are more than one entry takes")
    return encoded


def _inflated(value: bytes) -> bytes:
    inflater = zlib.decompressobj()
    inflated = inflater.decompress(value, MAX_INFLATED_BYTES)
    _check(inflater.eof, "deflated bytes")
    return inflated


def _steps(epochs: tuple[int, ...]) -> list[int]:
    """The first, and then each as the difference from the one before: mostly one digit."""
    return [epoch - before for epoch, before in zip(epochs, (0, *epochs), strict=False)]


def _sums(steps: list[int]) -> tuple[int, ...]:
    sums = []
    total = 0
    for step in steps:
        total += _int(step)
        sums.append(total)
    return tuple(sums)
