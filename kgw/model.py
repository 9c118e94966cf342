"""Frozen values that cross the seams between rooms; none of them knows the wire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

Buffer = bytes | bytearray | memoryview

#: What Kafka's configs say for "no limit" where -1 does not (C{Long.MAX_VALUE}).
_NEVER = (1 << 63) - 1

#: The topic that readiness probes write to and read from.
HEALTH_TOPIC = "__kgw_health"
#: What the keys of facts begin with that each node keeps for its health checks alone.
HEALTH_FACTS = "health/"


class TopicPartition(NamedTuple):
    """One partition of a topic, by name."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}"


@dataclass(frozen=True, slots=True)
class Topic:
    """
    A topic as it was created.

    @ivar id: its 16 bytes; a name that is deleted and created again gets another id (KIP-516).
    @ivar partitions: how many it has, numbered from 0.
    @ivar configs: what was set on the topic itself (source DYNAMIC_TOPIC_CONFIG), by Kafka's names, as text.
    @ivar assignments: the node id of each partition's only replica.
    """

    name: str
    id: bytes
    partitions: int
    configs: Mapping[str, str] = field(default_factory=dict)
    assignments: tuple[int, ...] = ()

    @property
    def is_internal(self) -> bool:
        """Whether it is kgw's own: there by its name, and in no list of all topics."""
        return self.name == HEALTH_TOPIC


@dataclass(frozen=True, slots=True)
class NewTopic:
    """
    A topic to be created, as a client asks for it.

    @ivar partitions: how many; -1 stands for C{num.partitions}, and must be there where C{assignments} are given.
    @ivar replication_factor: -1 stands for C{default.replication.factor}, as above.
    @ivar assignments: partition and the node ids of its replicas, for each partition; empty where the server chooses.
    @ivar configs: by Kafka's names. A null value is refused.
    """

    name: str
    partitions: int = -1
    replication_factor: int = -1
    assignments: Sequence[tuple[int, Sequence[int]]] = ()
    configs: Mapping[str, str | None] = field(default_factory=dict)


class ConfigOperation(IntEnum):
    """What is done to a config, by IncrementalAlterConfigs' numbers (Kafka: C{AlterConfigOp.OpType}, KIP-339)."""

    SET = 0
    DELETE = 1
    APPEND = 2
    SUBTRACT = 3


class ConfigChange(NamedTuple):
    """
    One config to be changed.

    @ivar value: the new value, or the items to be added to a list or taken from it; not looked at by C{DELETE}.
    """

    name: str
    operation: ConfigOperation
    value: str


@dataclass(frozen=True, slots=True)
class LogConfig:
    """
    The topic configs a partition log obeys, resolved (topic over broker over default) and typed.

    Times are milliseconds, sizes bytes, as in Kafka; -1 is "no limit" for the retention ones.
    """

    cleanup_policy: tuple[str, ...] = ("delete",)
    compression_type: str = "producer"
    delete_retention_ms: int = 86_400_000
    file_delete_delay_ms: int = 60_000
    flush_messages: int = _NEVER
    flush_ms: int = _NEVER
    index_interval_bytes: int = 4096
    max_compaction_lag_ms: int = _NEVER
    max_message_bytes: int = 1_048_588
    message_timestamp_after_max_ms: int = 3_600_000
    message_timestamp_before_max_ms: int = _NEVER
    message_timestamp_type: str = "CreateTime"
    min_cleanable_dirty_ratio: float = 0.5
    min_compaction_lag_ms: int = 0
    min_insync_replicas: int = 1
    preallocate: bool = False
    retention_bytes: int = -1
    retention_ms: int = 604_800_000
    segment_bytes: int = 1 << 30
    segment_index_bytes: int = 10 << 20
    segment_jitter_ms: int = 0
    segment_ms: int = 604_800_000
    compression_gzip_level: int = -1
    compression_lz4_level: int = 9
    compression_zstd_level: int = 3
    kgw_schema_subject_name_strategy: str = "TopicNameStrategy"
    kgw_schema_validation: str = "permissive"

    #: Whether batches are stored as they come, once their header is in order: nothing asks for a look at single
    #: records, and nothing is converted.
    verbatim: bool = field(init=False)

    def __post_init__(self) -> None:
        """Work out what the path of every batch would else ask again and again."""
        verbatim = (
            self.compression_type == "producer"
            and self.message_timestamp_type == "CreateTime"
            and self.message_timestamp_before_max_ms == _NEVER
            and "compact" not in self.cleanup_policy
        )
        object.__setattr__(self, "verbatim", verbatim)


class Bounds(NamedTuple):
    """
    Where a partition log begins and ends.

    @ivar log_start_offset: the first offset a consumer may ask for.
    @ivar high_watermark: the offset the next record will have that readers may see.
    @ivar last_stable_offset: as far as C{read_committed} readers see; equal to the high watermark while
        there are no transactions.
    @ivar leader_epoch: the current one.
    @ivar start_epoch: the leader epoch of the record at the log start offset, -1 where the log does not tell.
    """

    log_start_offset: int
    high_watermark: int
    last_stable_offset: int
    leader_epoch: int
    start_epoch: int = -1


class Extent(NamedTuple):
    """
    What is known of a partition log without asking anybody, for those who watch it.

    @ivar start: the log start offset.
    @ivar end: the offset the next record will have.
    @ivar size: bytes of its batches, -1 where that is kept elsewhere.
    """

    start: int
    end: int
    size: int


class Appended(NamedTuple):
    """
    One batch is in the log.

    @ivar base_offset: the offset of its first record; for a duplicate, that of the batch already there.
    @ivar log_append_time_ms: the time it was given, or -1 where the topic keeps CreateTime.
    @ivar duplicate: the producer had sent this batch before, nothing was written (KIP-98).
    """

    base_offset: int
    log_append_time_ms: int
    log_start_offset: int
    duplicate: bool = False


class Fetched(NamedTuple):
    """
    What one read found.

    @ivar records: whole record batches in offset order, to send as they are; empty at the end of the log.
    @ivar size: bytes in C{records}.
    @ivar bounds: the log's bounds at the moment of the read.
    """

    records: list[Buffer]
    size: int
    bounds: Bounds


@dataclass(frozen=True, slots=True)
class TimestampOffset:
    """
    Answer to "which record is this": its timestamp in ms, its offset and the leader epoch of its batch.

    C{(-1, -1, -1)} says that there is none.
    """

    timestamp: int
    offset: int
    leader_epoch: int


NO_OFFSET = TimestampOffset(-1, -1, -1)


@dataclass(frozen=True, slots=True)
class EpochEnd:
    """
    The largest epoch at or below the one asked for, and the offset where it ends (KIP-101, KIP-279).

    C{(-1, -1)} where the log knows no such epoch.
    """

    leader_epoch: int
    end_offset: int


@dataclass(frozen=True, slots=True)
class LogDir:
    """
    Where an engine keeps partition logs, and what they take there.

    @ivar path: a directory, or the name of a place that is none.
    @ivar sizes: bytes of records by partition.
    @ivar total_bytes: of the volume, -1 where there is none or it is not known; C{usable_bytes} are those left to us.
    """

    path: str
    sizes: Mapping[TopicPartition, int]
    total_bytes: int = -1
    usable_bytes: int = -1


class ActiveProducer(NamedTuple):
    """
    An idempotent producer that one partition remembers.

    @ivar last_sequence: of the last record it wrote, -1 where none is known of its epoch.
    @ivar last_ms: when its last batch was written, in ms since the epoch.
    """

    producer_id: int
    epoch: int
    last_sequence: int
    last_ms: int


class Feature(NamedTuple):
    """
    A feature of the cluster that clients and nodes agree on a level of (KIP-584).

    @ivar minimum: the lowest level this program knows, 0 where it can do without; C{maximum} is the highest.
    @ivar level: the one in force.
    """

    minimum: int
    maximum: int
    level: int


# Kafka's AclOperation numbers, as the bits of an "authorized operations" field (KIP-430). Without an authorizer
# every operation that a resource type knows is allowed.
_READ, _WRITE, _CREATE, _DELETE, _ALTER, _DESCRIBE, _CLUSTER_ACTION = 3, 4, 5, 6, 7, 8, 9
_DESCRIBE_CONFIGS, _ALTER_CONFIGS, _IDEMPOTENT_WRITE = 10, 11, 12


def _bits(*operations: int) -> int:
    return sum(1 << operation for operation in operations)


TOPIC_OPERATIONS = _bits(_READ, _WRITE, _CREATE, _DELETE, _ALTER, _DESCRIBE, _DESCRIBE_CONFIGS, _ALTER_CONFIGS)
CLUSTER_OPERATIONS = _bits(
    _CREATE, _ALTER, _DESCRIBE, _CLUSTER_ACTION, _DESCRIBE_CONFIGS, _ALTER_CONFIGS, _IDEMPOTENT_WRITE
)
GROUP_OPERATIONS = _bits(_READ, _DELETE, _DESCRIBE, _DESCRIBE_CONFIGS, _ALTER_CONFIGS)
#: An "authorized operations" field that nobody asked for.
OPERATIONS_OMITTED = -(1 << 31)


@dataclass(frozen=True, slots=True)
class Broker:
    """One broker as clients see it."""

    node_id: int
    host: str
    port: int
    rack: str | None


class Leader(NamedTuple):
    """
    Who leads a partition.

    @ivar node_id: -1 where nobody does for now.
    @ivar epoch: the leader epoch, as far as it is known here; -1 where it is not.
    """

    node_id: int
    epoch: int


NO_LEADER = Leader(-1, -1)
