"""Which engine topics hold the partitions of a Kafka topic: made when needed, found again, and thrown away."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from twisted.internet.defer import Deferred, DeferredList, DeferredLock, DeferredSemaphore
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from kgw.engine.seaweed.broker import RING_SIZE, ROOT, PartitionRange, check_name, partition_directory
from kgw.engine.seaweed.errors import EngineUnavailable
from kgw.engine.seaweed.layout_table import (
    RETIRED_PREFIX,
    TOPICS_PREFIX,
    Entry,
    Part,
    Retired,
    candidates,
    decode_entry,
    decode_retired,
    encode_entry,
    encode_retired,
    retired_key,
    topic_key,
)
from kgw.errors import ErrorCode, KafkaError
from kgw.interfaces import IStateStore
from kgw.model import Topic

if TYPE_CHECKING:
    from kgw.engine.seaweed import filer

    Listing = list[filer.Entry]

T = TypeVar("T")

#: How long a directory stays when its topic is not used any more. The brokers' caches forget it within half a minute,
#: their idle partitions after five minutes, looked for every minute; until then they write into it again.
KEPT_S = 6 * 60.0
_CALLS_AT_A_TIME = 16


class Place(NamedTuple):
    """
    Where one partition's records are.

    @ivar directory: of its log files, in the filer.
    """

    engine_topic: str
    range: PartitionRange
    directory: str


class Topics(Protocol):
    """What the layout needs of L{kgw.engine.seaweed.broker.Broker}."""

    def configure_topic(self, topic: str, count: int) -> Deferred[list[PartitionRange]]:
        """Make an engine topic, unless it is there."""

    def existing(self, topic: str) -> Deferred[list[PartitionRange] | None]:
        """The ranges of an engine topic."""


class Directories(Protocol):
    """What the layout needs of L{kgw.engine.seaweed.filer.Filer}."""

    def lookup(self, directory: str, name: str) -> Deferred[filer.Entry | None]:
        """One entry."""

    def list(self, directory: str) -> Deferred[Listing]:
        """All entries of a directory."""

    def delete(self, directory: str, name: str, recursive: bool = False) -> Deferred[None]:
        """Remove an entry."""


class Layout:
    """
    The table of engine topics, in memory and in the state store; its only writer, or the only one at a time: then
    L{refresh} comes before each change.

    A Kafka topic is an engine topic of its name with a range for each partition, which SeaweedFS's own tools and its
    Kafka gateway read. The engine can neither add ranges nor use a name twice, so partitions that are added, and
    topics whose name was used before, live in engine topics with a part of the topic's id in their names. A name is
    in the table before the engine hears of it, so what a crash leaves half made is found again.

    Changes run one after the other; each is durable when its Deferred fires, and fails with C{KAFKA_STORAGE_ERROR}
    while the engine or the store does not answer.
    """

    log = Logger()

    def __init__(self, store: IStateStore, broker: Topics, filer: Directories, clock: IReactorTime) -> None:
        """
        @param clock: tells the seconds since the epoch.
        """
        self._store = store
        self._broker = broker
        self._filer = filer
        self._clock = clock
        self._entries: dict[bytes, Entry] = {}
        self._retired: dict[str, Retired] = {}
        self._used: set[str] = set()
        self._ranges: dict[str, list[PartitionRange]] = {}
        self._lock = DeferredLock()
        self._calls = DeferredSemaphore(_CALLS_AT_A_TIME)
        self._strangers: set[str] = set()
        # Topics that came into the table in this process and were not extended since.
        self._fresh: set[bytes] = set()

    def load(self) -> Deferred[None]:
        """
        Read the table, and the ranges of its engine topics.

        Where an engine topic is not there, or not the one it was, the topic has no places until L{create} was called.

        @return: fails with C{KAFKA_STORAGE_ERROR}, also where the table is damaged.
        """
        return self._change(self._load, False)

    def refresh(self) -> Deferred[None]:
        """
        Read the table anew, which other gateways may have changed; only engine topics that are new are asked for.

        @return: fails with C{KAFKA_STORAGE_ERROR}, also where the table is damaged.
        """
        return self._change(self._load, True)

    def known(self) -> list[bytes]:
        """The ids of all topics in the table."""
        return list(self._entries)

    def places(self, topic: Topic) -> list[Place]:
        """
        Where the partitions of a topic are, by their numbers.

        @raise KafkaError: C{UNKNOWN_TOPIC_OR_PARTITION} where not all of them are made.
        """
        entry = self._entries.get(topic.id)
        places: list[Place] = []
        for part in entry.parts if entry else ():
            for range in self._ranges.get(part.topic, ()):
                places.append(Place(part.topic, range, partition_directory(part.topic, range)))
        if entry is None or len(places) != entry.partitions or len(places) < topic.partitions:
            raise KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"topic {topic.name} is not made in the engine")
        return places[: topic.partitions]

    def create(self, topic: Topic) -> Deferred[list[Place]]:
        """
        Make what is missing of a topic; called for an existing one with more partitions, those.

        An engine topic of its name that is in nobody's use and has as many ranges as the topic has partitions is
        taken over with its records. One of ours whose directory somebody removed is replaced by an empty one.

        @return: fires with a place for each partition; fails with C{INVALID_TOPIC_EXCEPTION}, C{INVALID_PARTITIONS}, or
            C{KAFKA_STORAGE_ERROR}, also where somebody configured one of its engine topics anew: its records are in a
            generation that the engine does not serve any more.
        """
        return self._change(self._create, topic)

    def abandon(self, topic: Topic) -> Deferred[None]:
        """
        Let go of a topic that could not be created: what was made is retired, what was taken over stays as it was.

        Nothing happens for a topic that is not in the table, or was there before or extended since: the engine topics
        of an extension that failed stay for the next one.
        """
        return self._change(self._abandon, topic)

    def retire(self, topic: Topic) -> Deferred[None]:
        """
        Take a topic out of the table, for good; its records go when L{sweep} finds them due.

        Nobody must use its places any more. Nothing happens for a topic that is not in the table.
        """
        return self._change(self._retire, topic, False)

    def sweep(self) -> Deferred[int]:
        """
        Remove the directories of engine topics that were retired long enough ago; to be called every minute or so.

        It looks again as much later, as a broker may have made them anew.

        @return: fires with how many were removed.
        """
        return self._change(self._sweep)

    def adopt(self) -> Deferred[list[tuple[str, int]]]:
        """
        The engine topics in Kafka's namespace that are in nobody's use: those of the Go gateway, for instance.

        @return: fires with their names, which are fit for Kafka, and how many partitions they have. Nothing is changed:
            L{create} takes them over.
        """
        return self._change(self._adopt)

    def _change(self, work: Callable[..., Coroutine[Deferred[Any], Any, T]], *args: object) -> Deferred[T]:
        # a Deferred of its own: who gives up waiting must not break off a change half way
        answer: Deferred[T] = Deferred()
        self._lock.run(work, *args).addCallbacks(answer.callback, answer.errback)
        return answer

    async def _load(self, keep: bool) -> None:
        facts = await self._store.scan(TOPICS_PREFIX)
        entries = dict(decode_entry(key, value) for key, value in facts)
        retired = dict(decode_retired(key, value) for key, value in await self._store.scan(RETIRED_PREFIX))
        parts = [part for entry in entries.values() for part in entry.parts]
        held = {part.topic: self._ranges[part.topic] for part in parts if keep and part.topic in self._ranges}
        ranges = {
            part.topic: held[part.topic] for part in parts if part.topic in held and _fits(part, held[part.topic])
        }
        new = [part for part in parts if part.topic not in ranges]
        for part, found in zip(new, await self._existing([part.topic for part in new]), strict=True):
            # One without a generation was being made when an earlier gateway ended: create() goes on with it.
            if not part.generation:
                continue
            if found is not None and _fits(part, found):
                ranges[part.topic] = found
            else:
                self.log.error(
                    "engine topic {topic} is not the one it was, or not there", topic=part.topic, found=found
                )
        self._entries, self._retired, self._ranges = entries, retired, ranges
        self._used = {part.topic for part in parts}

    async def _create(self, topic: Topic) -> list[Place]:
        check_name(topic.name)
        if topic.partitions < 1:
            raise KafkaError(ErrorCode.INVALID_PARTITIONS, f"a topic has at least 1 partition, not {topic.partitions}")
        known = self._entries.get(topic.id)
        if known is None:
            self._fresh.add(topic.id)
        elif known.partitions < topic.partitions:
            self._fresh.discard(topic.id)
        entry = known or Entry(topic.name)
        for part in entry.parts:
            if part.topic not in self._ranges and part.generation:
                entry = await self._found(topic, entry, part)
        while entry.partitions < topic.partitions:
            count = min(topic.partitions - entry.partitions, RING_SIZE)
            part = await self._planned(topic, entry.partitions, count)
            entry = replace(entry, parts=(*entry.parts, part))
        await self._keep(topic.id, entry)
        for part in entry.parts:
            if part.topic not in self._ranges:
                entry = await self._made(topic, entry, part)
        await self._keep(topic.id, entry)
        return self.places(topic)

    async def _found(self, topic: Topic, entry: Entry, part: Part) -> Entry:
        """Look for an engine topic that was there; one that was removed gets a successor."""
        found = await self._broker.existing(part.topic)
        if found is not None:
            if not _fits(part, found):
                raise KafkaError(
                    ErrorCode.KAFKA_STORAGE_ERROR,
                    f"engine topic {part.topic} was configured anew by somebody else: it has {len(found)} range(s), "
                    f"and the records of topic {topic.name} are in generation {part.generation}",
                )
            self._ranges[part.topic] = found
            return entry
        self.log.error(
            "the directory of engine topic {engine_topic} was removed, {count} partition(s) of {topic} from {first} "
            "on start empty",
            engine_topic=part.topic,
            count=part.count,
            topic=topic.name,
            first=part.first,
        )
        successor = await self._planned(topic, part.first, part.count)
        parts = tuple(successor if one is part else one for one in entry.parts)
        changed = replace(entry, parts=parts)
        await self._keep(topic.id, changed, {part.topic: Retired(self._clock.seconds())})
        return changed

    async def _planned(self, topic: Topic, first: int, count: int) -> Part:
        """A part under a name that is free, or that somebody else's engine topic has which is just as asked for."""
        for name in candidates(topic, first):
            if name in self._used or name in self._retired:
                continue
            if await self._filer.lookup(ROOT, name) is None:
                return Part(name, first, count)
            if name == topic.name:
                found = await self._broker.existing(name)
                if found is not None and _sound(found) and len(found) == count == topic.partitions:
                    self.log.info("taking over the engine topic of {topic}", topic=name)
                    return Part(name, first, count, found[0].unix_time_ns, adopted=True)
        raise KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, f"no name is left for an engine topic of {topic.name}")

    async def _made(self, topic: Topic, entry: Entry, part: Part) -> Entry:
        """Have the engine make a part, or find it made."""
        try:
            ranges = await self._broker.configure_topic(part.topic, part.count)
        except KafkaError as error:
            if error.code is not ErrorCode.INVALID_PARTITIONS or part.generation:
                raise
            # Somebody else was quicker to use that name, with another count.
            other = await self._planned(topic, part.first, part.count)
            changed = replace(entry, parts=tuple(other if one is part else one for one in entry.parts))
            await self._keep(topic.id, changed)
            return await self._made(topic, changed, other)
        if len(ranges) != part.count or not _sound(ranges):
            raise KafkaError(
                ErrorCode.KAFKA_STORAGE_ERROR, f"the engine gave {part.topic} unsound ranges for {part.count}: {ranges}"
            )
        generation = ranges[0].unix_time_ns
        if part.generation not in (0, generation):
            raise KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, f"engine topic {part.topic} was made anew just now")
        self._ranges[part.topic] = ranges
        certain = replace(part, generation=generation)
        return replace(entry, parts=tuple(certain if one is part else one for one in entry.parts))

    async def _keep(self, id: bytes, entry: Entry, retired: dict[str, Retired] | None = None) -> None:
        """Store an entry, where it is another one, and what it does not use any more."""
        retired = retired or {}
        if self._entries.get(id) == entry and not retired:
            return
        puts = {retired_key(name): encode_retired(fact) for name, fact in retired.items()}
        puts[topic_key(id)] = encode_entry(entry)
        await self._store.commit(puts)
        self._entries[id] = entry
        self._retired |= retired
        self._used |= {part.topic for part in entry.parts}

    async def _abandon(self, topic: Topic) -> None:
        if topic.id in self._fresh:
            await self._retire(topic, True)

    async def _retire(self, topic: Topic, give_back: bool) -> None:
        entry = self._entries.get(topic.id)
        if entry is None:
            return
        now = self._clock.seconds()
        retired: dict[str, Retired] = {}
        for part in entry.parts:
            # A name the engine never heard of can be used by another. It may hear of it yet, of a call that had no
            # answer: then an engine topic is there that nobody has written to.
            unheard = not part.generation and await self._broker.existing(part.topic) is None
            if not unheard and not (give_back and part.adopted):
                retired[part.topic] = Retired(now)
        puts = {retired_key(name): encode_retired(fact) for name, fact in retired.items()}
        await self._store.commit(puts, [topic_key(topic.id)])
        del self._entries[topic.id]
        self._fresh.discard(topic.id)
        self._retired |= retired
        for part in entry.parts:
            self._used.discard(part.topic)
            self._ranges.pop(part.topic, None)

    async def _sweep(self) -> int:
        removed = 0
        failed: KafkaError | None = None
        for name, fact in list(self._retired.items()):
            now = self._clock.seconds()
            if fact.gone or now - max(fact.at, fact.removed_at) < KEPT_S:
                continue
            try:
                if await self._filer.lookup(ROOT, name) is None:
                    changed = replace(fact, gone=True)
                else:
                    await self._filer.delete(ROOT, name, True)
                    self.log.info("removed the directory of engine topic {topic}", topic=name)
                    removed += 1
                    changed = replace(fact, removed_at=now)
                await self._store.commit({retired_key(name): encode_retired(changed)})
            except KafkaError as error:
                failed = error
            else:
                self._retired[name] = changed
        if failed is not None:
            raise failed
        return removed

    async def _adopt(self) -> list[tuple[str, int]]:
        entries = await self._filer.list(ROOT)
        names = [
            entry.name
            for entry in entries
            if entry.is_directory
            and not entry.name.startswith(".")
            and entry.name not in self._used
            and entry.name not in self._retired
        ]
        fit = [name for name in names if self._fit(name)]
        adopted: list[tuple[str, int]] = []
        for name, found in zip(fit, await self._existing(fit), strict=True):
            if found and _sound(found):
                adopted.append((name, len(found)))
            elif found is not None:
                self._pass_over(name, "its ranges are not those of a topic made at once")
        return adopted

    def _fit(self, name: str) -> bool:
        try:
            check_name(name)
        except KafkaError:
            self._pass_over(name, "that is no name for a Kafka topic")
            return False
        return True

    def _pass_over(self, name: str, reason: str) -> None:
        if name not in self._strangers:
            self._strangers.add(name)
            self.log.warn("leaving the engine topic {topic} alone: {reason}", topic=name, reason=reason)

    async def _existing(self, names: list[str]) -> list[list[PartitionRange] | None]:
        """The ranges of each, none at all where the engine's file of them is not understood."""
        calls = [self._calls.run(self._broker.existing, name) for name in names]
        found: list[list[PartitionRange] | None] = []
        for name, (_, result) in zip(names, await DeferredList(calls, consumeErrors=True), strict=True):
            if not isinstance(result, Failure):
                found.append(result)
            elif isinstance(result.value, KafkaError) and not isinstance(result.value, EngineUnavailable):
                self.log.error("engine topic {topic}: {error}", topic=name, error=result.value)
                found.append([])
            else:
                result.raiseException()
        return found


def _fits(part: Part, found: list[PartitionRange]) -> bool:
    """Whether these are the ranges of a part as it was found or made."""
    return len(found) == part.count and _sound(found) and part.generation in (0, found[0].unix_time_ns)


def _sound(ranges: list[PartitionRange]) -> bool:
    """
    Whether ranges are the whole ring in one generation.

    With more ranges than slots some are empty, and collide.
    """
    edges = [0, *(range.stop for range in ranges)]
    return (
        len({range.unix_time_ns for range in ranges}) == 1
        and [range.start for range in ranges] == edges[:-1]
        and edges[-1] == RING_SIZE
        and all(range.start < range.stop for range in ranges)
    )
