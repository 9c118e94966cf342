"""What the state store says of engine topics: which of them hold a Kafka topic, and which names are used up."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from kgw.errors import ErrorCode, KafkaError
from kgw.model import Topic

T = TypeVar("T")

TOPICS_PREFIX = "seaweed/layout/"
RETIRED_PREFIX = "seaweed/retired/"


@dataclass(frozen=True, slots=True)
class Part:
    """
    Neighbouring partitions of a Kafka topic that one engine topic holds.

    @ivar topic: the engine topic.
    @ivar first: the first of them.
    @ivar count: how many, which is how many ranges the engine topic has.
    @ivar generation: the C{unix_time_ns} it was found or made with, 0 while that has not happened.
    @ivar adopted: somebody else made it.
    """

    topic: str
    first: int
    count: int
    generation: int = 0
    adopted: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """What one Kafka topic is made of; the parts follow one another from partition 0."""

    name: str
    parts: tuple[Part, ...] = ()

    @property
    def partitions(self) -> int:
        """How many partitions the parts hold."""
        return sum(part.count for part in self.parts)


@dataclass(frozen=True, slots=True)
class Retired:
    """
    An engine topic that must never be used again under its name.

    @ivar at: when, in seconds since the epoch.
    @ivar removed_at: when its directory was removed last, 0 where it was not.
    @ivar gone: the directory was found to have stayed away.
    """

    at: float
    removed_at: float = 0
    gone: bool = False


def topic_key(id: bytes) -> str:
    """The key of a Kafka topic's entry."""
    return TOPICS_PREFIX + id.hex()


def retired_key(engine_topic: str) -> str:
    """The key of an engine topic that is used up."""
    return RETIRED_PREFIX + engine_topic


def encode_entry(entry: Entry) -> bytes:
    """The bytes of an entry."""
    parts = [
        {"topic": part.topic, "first": part.first, "count": part.count}
        | ({"generation": part.generation} if part.generation else {})
        | ({"adopted": True} if part.adopted else {})
        for part in entry.parts
    ]
    return json.dumps({"name": entry.name, "parts": parts}).encode()


def decode_entry(key: str, value: bytes) -> tuple[bytes, Entry]:
    """
    The id of a topic, and its entry.

    @raise KafkaError: C{KAFKA_STORAGE_ERROR}: damaged.
    """

    def read(fact: Any) -> tuple[bytes, Entry]:
        parts = tuple(
            Part(
                str(part["topic"]),
                int(part["first"]),
                int(part["count"]),
                int(part.get("generation", 0)),
                bool(part.get("adopted", False)),
            )
            for part in fact["parts"]
        )
        entry = Entry(str(fact["name"]), parts)
        if [part.first for part in parts] != [sum(one.count for one in parts[:at]) for at in range(len(parts))]:
            raise ValueError("its parts do not follow one another")
        return bytes.fromhex(key.removeprefix(TOPICS_PREFIX)), entry

    return _decoded(key, value, read)


def encode_retired(retired: Retired) -> bytes:
    """The bytes of the fact that an engine topic is used up."""
    return json.dumps({"at": retired.at, "removed_at": retired.removed_at, "gone": retired.gone}).encode()


def decode_retired(key: str, value: bytes) -> tuple[str, Retired]:
    """
    An engine topic, and what is known of its end.

    @raise KafkaError: C{KAFKA_STORAGE_ERROR}: damaged.
    """

    def read(fact: Any) -> tuple[str, Retired]:
        retired = Retired(float(fact["at"]), float(fact["removed_at"]), bool(fact["gone"]))
        return key.removeprefix(RETIRED_PREFIX), retired

    return _decoded(key, value, read)


def candidates(topic: Topic, first: int) -> list[str]:
    """
    Names for an engine topic that holds partitions from C{first} on, the best first.

    Kafka's own name is one only for a topic's first partitions, and where it does not begin with a dot, as the engine's
    own folders do. The others have as much of the topic's id as makes them nobody else's.
    """
    suffix = f".p{first}" if first else ""
    names = [] if first or topic.name.startswith(".") else [topic.name]
    stem = f"dot{topic.name}" if topic.name.startswith(".") else topic.name
    for digits in (8, 16, 32):
        tail = f".{topic.id.hex()[:digits]}{suffix}"
        names.append(stem[: _NAME_LENGTH - len(tail)] + tail)
    return names


_NAME_LENGTH = 249


def _decoded(key: str, value: bytes, read: Callable[[Any], T]) -> T:
    try:
        return read(json.loads(value))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, f"the stored fact {key!r} is damaged: {error}") from error
