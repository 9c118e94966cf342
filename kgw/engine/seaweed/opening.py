"""Taking up a partition: its notes in the engine put right, its state found, its stream opened."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.internet.task import deferLater
from twisted.logger import Logger

from kgw.engine.seaweed.errors import EngineUnavailable
from kgw.engine.seaweed.history import History
from kgw.engine.seaweed.incoming import decode_entry
from kgw.engine.seaweed.log_file import LogEntry
from kgw.engine.seaweed.partition import SeaweedPartitionLog
from kgw.engine.seaweed.partition_facts import encoded_facts, encoded_producers, former_keys, load_facts
from kgw.engine.seaweed.publisher import Doubt, Prepared
from kgw.engine.seaweed.reading import Reading
from kgw.engine.seaweed.repair import Repaired, Trusted, attribute_first, repair
from kgw.engine.seaweed.sequences import Sequences
from kgw.model import LogConfig, Topic

if TYPE_CHECKING:
    from kgw.engine.seaweed.layout import Place
    from kgw.engine.seaweed.surroundings import Surroundings

#: Seconds between two looks whether a broker has written all it has to files, and how long it may take.
_PAUSE, _PATIENCE = 0.15, 60.0

_log = Logger("kgw.engine.seaweed")


class Preparation:
    """
    Makes a partition fit to be touched, at the start and after each break of its stream.

    @ivar place: where the partition's records are.
    @ivar trusted: what is known of its log files by now.
    """

    def __init__(
        self,
        name: str,
        place: Place,
        history: History,
        around: Surroundings,
        trusted: Trusted | None = None,
        just_left: bool = False,
    ) -> None:
        """
        @param trusted: from an earlier gateway; for nothing where its file is not there, or is shorter.
        @param just_left: another gateway may have had a stream until a moment ago.
        """
        self._just_left = just_left
        self.trusted = trusted
        self._is_known = trusted is None
        self._name = name
        self.place = place
        self._history = history
        self._around = around
        self._is_attributed = False

    async def prepare(self, doubt: Doubt, compare: Callable[[list[LogEntry]], None]) -> Prepared:
        """
        See L{kgw.engine.seaweed.publisher.Owner.prepare}.

        @raise KafkaError: the engine is away; to be tried again.
        """
        if not self._is_known and self.trusted is not None:
            there = await self._around.filer.lookup(self.place.directory, self.trusted.name)
            if there is None or there.size < self.trusted.size:
                self.trusted = None
            self._is_known = True
        found = await self._settled(after_break=doubt.first_offset >= 0 or self._just_left)
        self._just_left = False
        if doubt.first_offset >= 0:
            await self._history.entries(doubt.first_offset, compare)
        return Prepared(found.end_offset, found.last_ts_ns)

    async def attribute(self) -> None:
        """
        Have the engine find the partition's records should it let go of it, where the first of them came after
        C{prepare}; nothing happens once that is done.

        @raise KafkaError: the engine is away.
        """
        if not self._is_attributed:
            self._is_attributed = await attribute_first(self._history)

    async def written(self, end_offset: int, patience_s: float) -> bool:
        """
        Wait until log files have everything below C{end_offset}.

        @return: whether they have, before C{patience_s} are over.
        @raise KafkaError: the engine is away.
        """
        clock = self._around.timer
        deadline = clock.seconds() + patience_s
        while True:
            await self._history.refresh()
            if self._history.end >= end_offset:
                return True
            if clock.seconds() >= deadline:
                return False
            await deferLater(clock, _PAUSE)

    async def _settled(self, after_break: bool) -> Repaired:
        """The log files, once they have all that the engine has received, and its notes agree with them."""
        clock = self._around.timer
        deadline = clock.seconds() + _PATIENCE
        known = -1
        while True:
            found = await repair(self._history, self.trusted)
            self.trusted = found.trusted
            self._is_attributed = any([file.claimed is not None for file in self._history.files])
            # the first thing that makes a broker look at the partition, so not before the repair
            end = await self._around.broker.high_watermark(self.place.engine_topic, self.place.range)
            # a broker that lives goes on with what it has received, and writes it when its last stream has ended
            if end <= found.end_offset and (end == known or not after_break):
                return found
            if clock.seconds() > deadline:
                raise EngineUnavailable(
                    f"{self._name}: the broker has records up to {end}, and its log files up to {found.end_offset}"
                )
            known = end
            await deferLater(clock, _PAUSE)


async def open_partition(
    topic: Topic, index: int, place: Place, config: LogConfig, around: Surroundings, epoch: int | None = None
) -> SeaweedPartitionLog:
    """
    Take up one partition; however long the engine lets it wait. May be cancelled.

    @param epoch: the leader epoch to begin, which is stored before anybody is served; see L{PartitionFacts.take_up}.
    @raise KafkaError: C{KAFKA_STORAGE_ERROR}, the store cannot be read or holds what is damaged.
    """
    name = f"{topic.name}-{index}"
    history = History(around.filer, place, around.cache, name)
    facts = await load_facts(around.store, topic.id, index)
    sequences = Sequences(around.producer_id_expiration_ms)
    if facts.producers:
        try:
            sequences.restore(facts.producers)
        except ValueError as error:
            _log.warn("{name}: producers are looked for in all log files: {reason}", name=name, reason=error)
    trusted = Trusted(*facts.trusted) if facts.trusted is not None else None
    preparation = Preparation(name, place, history, around, trusted, just_left=epoch is not None)
    reading = Reading(name, place, history, around.broker)
    log = SeaweedPartitionLog(name, topic.id, index, config, around, reading, preparation, facts, sequences)
    publisher = around.publishing.publisher(name, place, log)
    try:
        await publisher.start()
        end = publisher.outbox.end_offset
        sequences.truncate(end)
        await _replay(history, sequences, end, int(around.clock.seconds() * 1000))
        facts.start = min(facts.start, end)
        facts.take_up(end, epoch)
        facts.trusted = preparation.trusted
        producers = encoded_producers(topic.id, index, sequences.snapshot()(end), facts.reign)
        puts = {**encoded_facts(topic.id, index, facts), **producers}
        await around.store.commit(puts, former_keys(topic.id, index, facts))
    except Exception:
        publisher.close()
        around.publishing.forget(place)
        reading.forget()
        raise
    log.opened(publisher)
    return log


async def _replay(history: History, sequences: Sequences, end: int, now_ms: int) -> None:
    """Find the batches of idempotent producers that the snapshot does not know."""

    def receive(entries: list[LogEntry]) -> None:
        sequences.replay([decode_entry(entry) for entry in entries if entry.offset < end], end, now_ms)

    await history.entries(sequences.covered, receive)
    sequences.covered = end
