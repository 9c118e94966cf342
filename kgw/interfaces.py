"""The seams of kgw: what an engine must do, whichever it is.

Each interface has a contract mixin in C{kgw.test.contracts} that every implementation passes. Methods return
a Deferred where the work may have to wait; the operation has started when they return.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from kgw.model import (
    ActiveProducer,
    Appended,
    Bounds,
    EpochEnd,
    Fetched,
    LogConfig,
    LogDir,
    TimestampOffset,
    Topic,
    TopicPartition,
)

if TYPE_CHECKING:
    from kgw.schema.columns import RecordOf
    from kgw.wire.records import RecordBatch

#: Of each record of a batch the fields of its row (C{kgw.schema.codec.Codec.row}), C{None} for one that has none.
Columns = Sequence[bytes | None]


class IPartitionLog(Interface):
    """
    One partition's log: record batches at contiguous offsets.

    Every method raises or fires with L{KafkaError}: C{KAFKA_STORAGE_ERROR} while the log cannot be written or
    read, C{UNKNOWN_TOPIC_OR_PARTITION} once its topic was deleted.
    """

    config = Attribute("The L{LogConfig} in force; the engine replaces it when the topic's configs change.")
    leader_epoch = Attribute("The current leader epoch, 0 or more.")
    extent = Attribute("The L{kgw.model.Extent} as far as it is in memory; also of a log that cannot be used now.")

    def append(batch: RecordBatch, acks: int = -1, columns: Columns | None = None) -> Deferred[Appended]:
        """
        Append one batch from a client, whole or not at all, in the order of the calls.

        The log checks the producer's id, epoch and sequence (C{kgw.log.producer_state}), gives the records their
        offsets, and stores the batch; C{batch} is already checked for form, CRC, size and timestamps.

        Durable when it fires: survives the end of the process; survives the end of the machine as far as
        C{flush.messages} and C{flush.ms} ask for it. A distributed engine may answer C{acks} of 0 and 1 when a
        broker has the batch in memory, as Kafka's leaders do.

        @param acks: what the producer asked for: -1, 0 or 1.
        @param columns: what to keep beside each record; as long as the batch. Readers of the log never see it, and
            engines without L{ILogEngine.tables} pass it over.
        @return: fires with L{Appended}; fails with C{OUT_OF_ORDER_SEQUENCE_NUMBER}, C{INVALID_PRODUCER_EPOCH},
            C{UNKNOWN_PRODUCER_ID} or C{KAFKA_STORAGE_ERROR}.
        """

    def read(offset: int, max_bytes: int, at_least_one: bool = True) -> Deferred[Fetched]:
        """
        Read whole batches from the one that holds C{offset}, at most C{max_bytes} of them.

        @param at_least_one: return the first batch even where it is larger than C{max_bytes} (KIP-74).
        @return: fires with L{Fetched}, empty where C{offset} is the high watermark; fails with
            C{OFFSET_OUT_OF_RANGE} outside the bounds, C{CORRUPT_MESSAGE} in a damaged range.
        """

    def bounds() -> Deferred[Bounds]:
        """The log's bounds now."""

    def offset_for_time(timestamp: int) -> Deferred[TimestampOffset]:
        """
        The first record at or behind C{timestamp} (ms since the epoch), L{NO_OFFSET} where there is none.
        """

    def offset_of_max_timestamp() -> Deferred[TimestampOffset]:
        """The record with the largest timestamp (KIP-734), L{NO_OFFSET} in an empty log."""

    def end_of_epoch(leader_epoch: int) -> Deferred[EpochEnd]:
        """Where an epoch ends (Kafka: OffsetForLeaderEpoch)."""

    def trim(offset: int) -> Deferred[int]:
        """
        Move the log start offset up to C{offset} (Kafka: DeleteRecords); -1 means the high watermark.

        Durable when it fires.

        @return: fires with the new log start offset; fails with C{OFFSET_OUT_OF_RANGE} above the high watermark.
        """

    def producers() -> Deferred[list[ActiveProducer]]:
        """The idempotent producers that are remembered now, by their ids (Kafka: DescribeProducers)."""

    def watch(listener: Callable[[int], None]) -> None:
        """
        Call C{listener} with the number of new bytes after each append that readers may see, and with -1 when the
        log is trimmed, goes away or comes back; on the reactor's thread, never from within C{watch}.
        """

    def unwatch(listener: Callable[[int], None]) -> None:
        """Stop calling C{listener}; nothing happens where it is not watching."""


class Tables(Protocol):
    """Where an engine declares what columns the records of a topic have."""

    def declare(self, topic: str, columns: RecordOf, format: str) -> Deferred[list[str]]:
        """
        Have a topic's type cover these columns, beside those it has; nothing is sent where it does.

        @param format: the engine's name for how the values are written, C{AVRO} for instance.
        @return: fires, when it is durable for all partitions there are, with the names of the columns that stay of
            another type; those added later get the same. Fails with C{UNKNOWN_TOPIC_OR_PARTITION}, with
            C{INVALID_CONFIG} where the type that is declared has something in it that kgw does not understand and
            leaves alone, and with C{KAFKA_STORAGE_ERROR} while the engine is away.
        """


class ILogEngine(Interface):
    """The keeper of all partition logs. It stores records; which topics there are is told to it."""

    tables = Attribute("The L{Tables} of the columns of records; C{None} where the engine keeps none.")

    def start(topics: Iterable[tuple[Topic, LogConfig]]) -> Deferred[None]:
        """
        Open the logs of these topics, recovering what an unclean stop left.

        Logs of topics that are not named are forgotten, not destroyed: the deletion of their topics was cut short, or
        C{topics} is not all there should be. Partitions made later never begin with them.

        @return: fires when all partitions can be read and written; fails with C{KAFKA_STORAGE_ERROR}.
        """

    def stop() -> Deferred[None]:
        """Make everything durable, close it; appends afterwards fail with C{KAFKA_STORAGE_ERROR}."""

    def create(topic: Topic, config: LogConfig) -> Deferred[None]:
        """
        Make the partition logs of C{topic} that are not there yet (a new topic, or one with more partitions).

        Durable when it fires; L{partition} knows all of them from then on and none before. Fails with
        C{KAFKA_STORAGE_ERROR}, having removed what was made.
        """

    def configure(topic: Topic, config: LogConfig) -> None:
        """Obey other configs from now on."""

    def check_config(config: LogConfig) -> None:
        """
        See whether logs here can obey these configs; asked before a topic gets them, or all topics do.

        @raise KafkaError: C{INVALID_CONFIG}; says which config this engine does not offer, and what to do about it.
        """

    def delete(topic: Topic) -> Deferred[None]:
        """
        Remove the topic's logs: readers and writers fail at once, listeners are called, the disk is freed soon.

        Nothing happens for a topic the engine does not hold. Fails with C{KAFKA_STORAGE_ERROR} where the engine is not
        running.
        """

    def partition(name: str, index: int) -> IPartitionLog:
        """
        The log of one partition.

        @raise KafkaError: C{UNKNOWN_TOPIC_OR_PARTITION}.
        """

    def log_dir(wanted: Collection[TopicPartition] | None = None) -> Deferred[LogDir]:
        """
        Where the logs are, and what each takes there now (Kafka: DescribeLogDirs).

        What an engine has in memory on its way there need not be counted.

        @param wanted: the partitions to look at, all where it is C{None}; those that are not here are left out.
        @return: fails with C{KAFKA_STORAGE_ERROR} where the place cannot be looked at, or the engine is not running.
        """

    def measure() -> Mapping[str, float]:
        """The engine's own numbers, by the names of their metrics (docs/metrics.md); from memory, at once."""

    def describe() -> str:
        """The engine's kind and place in a few words, for people: C{"local, /var/lib/kgw"}."""


class ISharedLogs(Interface):
    """
    The further side of an engine (L{ILogEngine}) whose partitions several gateways lead, each some of them.

    C{start}, C{create} and C{delete} change or read what all gateways share; only what is led here can be written and
    read, C{partition} of another one of a topic that is known raises C{NOT_LEADER_OR_FOLLOWER}.
    """

    def learn(topic: Topic, config: LogConfig) -> Deferred[None]:
        """
        Another gateway has created, extended or altered C{topic}; fails with C{KAFKA_STORAGE_ERROR}.
        """

    def forget(topic: Topic) -> Deferred[None]:
        """Another gateway has deleted C{topic}; fires when nothing more is stored of it from here. Never fails."""

    def lead(topic: Topic, epochs: Mapping[int, int]) -> Deferred[None]:
        """
        Open these partitions, which no other gateway has open any more.

        @param epochs: leader epochs by partition; larger than all that the partition had.
        @return: fires when all can be read and written; fails with C{KAFKA_STORAGE_ERROR}, and those that were opened
            stay so. May be called again, for those that are open nothing happens.
        """

    def resign(topic: Topic, indexes: Collection[int]) -> Deferred[None]:
        """
        Close these partitions, in order as far as that is possible: what is on its way is finished first, no more is
        taken. Fires when nothing more is written of them from here; never fails.
        """

    def fence() -> Deferred[None]:
        """
        Let go of all partitions at once, as they are: others may have them open by now. When this returns nothing more
        is written or acknowledged; who waits is told C{NOT_LEADER_OR_FOLLOWER}.

        @return: fires when the engine is ready for another to open them, this gateway once more perhaps; never fails.
        """

    def tidy(topics: Collection[Topic]) -> Deferred[None]:
        """
        Remove what belongs to no topic; for one gateway at a time, while nobody creates or deletes topics.

        @param topics: all that there are.
        @return: fails with C{KAFKA_STORAGE_ERROR}; it may be tried again.
        """

    def epochs() -> Mapping[tuple[bytes, int], int]:
        """The leader epochs of what is led here, by topic id and partition."""


class IStateStore(Interface):
    """
    Small durable facts by key: topics, producer ids, later committed offsets.

    Keys are text, sorted by code point; values are bytes of at most 1 MiB.
    """

    def open() -> Deferred[None]:
        """Make ready; fails with C{KAFKA_STORAGE_ERROR}."""

    def close() -> Deferred[None]:
        """Finish what was begun and let go of the files."""

    def get(key: str) -> Deferred[bytes | None]:
        """The value last committed, or C{None}."""

    def scan(prefix: str) -> Deferred[list[tuple[str, bytes]]]:
        """All pairs whose key starts with C{prefix}, in the order of the keys."""

    def commit(puts: Mapping[str, bytes], deletes: Collection[str] = ()) -> Deferred[None]:
        """
        Write all of these or none, after every commit called before it.

        Durable when it fires: survives the end of the process. Fails with C{KAFKA_STORAGE_ERROR}.
        """
