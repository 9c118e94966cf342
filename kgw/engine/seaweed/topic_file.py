"""What the filer's topic.conf says of an engine topic: its partitions, the columns of its records, and all the rest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from kgw.engine.seaweed.proto import mq_broker_pb2, mq_schema_pb2
from kgw.errors import ErrorCode, KafkaError
from kgw.schema.columns import RecordOf
from kgw.schema.record_type import UnknownRecordType, from_json, record_type

#: Where Kafka's topics are: the namespace the Go gateway uses too.
NAMESPACE = "kafka"
ROOT = f"/topics/{NAMESPACE}"
#: The engine's ring of hashes, cut into one range for each partition.
RING_SIZE = 2520
#: The column of a type that says no more than that records are bytes.
_VALUE = "_value"


class PartitionRange(NamedTuple):
    """
    One partition of an engine topic.

    @ivar start: the first slot of the ring that is its own.
    @ivar stop: the slot behind its last one.
    @ivar unix_time_ns: when this generation of the topic was made; the same for all of its partitions.
    """

    start: int
    stop: int
    unix_time_ns: int


def topic_message(topic: str) -> mq_schema_pb2.Topic:
    """A topic of Kafka's namespace, for requests."""
    return mq_schema_pb2.Topic(namespace=NAMESPACE, name=topic)


def topic_directory(topic: str) -> str:
    """Where the filer keeps a topic."""
    return f"{ROOT}/{topic}"


@dataclass(frozen=True, slots=True)
class TopicFile:
    """
    The C{topic.conf} of an engine topic.

    @ivar path: for messages.
    @ivar ranges: of its partitions, in order.
    @ivar format: of its records, C{AVRO} for instance; empty where none is declared.
    """

    path: str
    ranges: list[PartitionRange]
    format: str
    _found: Mapping[str, Any]

    @classmethod
    def read(cls, topic: str, content: bytes) -> TopicFile:
        """
        What the file of a topic says, protobuf's JSON, in which zeros are left out or not.

        @raise KafkaError: C{KAFKA_STORAGE_ERROR}: it is not understood.
        """
        path = f"{topic_directory(topic)}/topic.conf"
        try:
            found = json.loads(content)
            rows = found["brokerPartitionAssignments"] or []
            ranges = [
                PartitionRange(int(p.get("rangeStart", 0)), int(p["rangeStop"]), int(p["unixTimeNs"]))
                for p in (row["partition"] for row in rows)
            ]
            return cls(path, sorted(ranges), str(found.get("schemaFormat") or ""), found)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as failure:
            raise KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, f"{path} is not understood: {failure!r}") from failure

    def columns(self) -> RecordOf:
        """
        The columns of its records; none too where they are declared to be bytes.

        @raise KafkaError: C{INVALID_CONFIG}: there is something in them that kgw does not understand.
        """
        try:
            columns = from_json(self._found.get("messageRecordType"))
        except UnknownRecordType as error:
            raise KafkaError(ErrorCode.INVALID_CONFIG, f"{self.path}: {error}") from error
        return RecordOf() if [column.name for column in columns.columns] == [_VALUE] else columns

    def request(self, topic: str, columns: RecordOf, format: str) -> mq_broker_pb2.ConfigureTopicRequest:
        """
        What asks a broker to change the columns, and nothing else.

        @raise KafkaError: C{INVALID_CONFIG}: the engine does not take such columns.
        """
        try:
            declared = mq_schema_pb2.RecordType.FromString(record_type(columns))
        except ValueError as error:
            raise KafkaError(ErrorCode.INVALID_CONFIG, f"{self.path}: {error}") from error
        request = mq_broker_pb2.ConfigureTopicRequest(
            topic=topic_message(topic),
            partition_count=len(self.ranges),
            message_record_type=declared,
            key_columns=self._found.get("keyColumns") or [],
            schema_format=format,
        )
        retention = self._found.get("retention")
        if isinstance(retention, Mapping):
            request.retention.retention_seconds = int(retention.get("retentionSeconds") or 0)
            request.retention.enabled = bool(retention.get("enabled"))
        return request
