"""The broker's calls about topics and single partitions; what is published goes another way."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

from twisted.internet.defer import Deferred

from kgw.engine.seaweed.calls import Calls
from kgw.engine.seaweed.errors import EngineUnavailable, from_fetch
from kgw.engine.seaweed.filer import Filer
from kgw.engine.seaweed.proto import mq_broker_pb2, mq_schema_pb2
from kgw.engine.seaweed.topic_file import (
    NAMESPACE,
    RING_SIZE,
    ROOT,
    PartitionRange,
    TopicFile,
    topic_directory,
    topic_message,
)
from kgw.errors import ErrorCode, KafkaError
from kgw.schema.columns import RecordOf
from kgw.schema.record_type import merge

__all__ = [
    "NAMESPACE",
    "RING_SIZE",
    "ROOT",
    "Broker",
    "FetchedMessages",
    "PartitionRange",
    "check_count",
    "check_name",
    "check_range",
    "partition_directory",
    "partition_message",
    "topic_directory",
    "topic_message",
]

_SERVICE = "/messaging_pb.SeaweedMessaging/"
_NAME = re.compile(r"[a-zA-Z0-9._-]{1,249}")


class FetchedMessages(NamedTuple):
    """
    What FetchMessage gave.

    @ivar messages: key, value and ts_ns of each.
    @ivar next_offset: the offset behind the last one.
    @ivar high_watermark: the offset the next record gets; 0 too where the engine does not see its own log, see
        L{Broker.high_watermark}.
    """

    messages: list[tuple[bytes, bytes, int]]
    next_offset: int
    high_watermark: int


def check_name(topic: str) -> None:
    """
    The engine takes any name and makes a path of it, so it is looked at before.

    @raise KafkaError: C{INVALID_TOPIC_EXCEPTION}.
    """
    if not _NAME.fullmatch(topic) or topic in (".", ".."):
        raise KafkaError(ErrorCode.INVALID_TOPIC_EXCEPTION, f"no name for an engine topic: {topic!r}")


def check_count(count: int) -> None:
    """
    A count of 0 ends the engine's process, one above 2520 gives ranges that collide.

    @raise KafkaError: C{INVALID_PARTITIONS}.
    """
    if not 1 <= count <= RING_SIZE:
        raise KafkaError(ErrorCode.INVALID_PARTITIONS, f"a topic has 1 to {RING_SIZE} partitions here, not {count}")


def check_range(partition: PartitionRange) -> None:
    """
    A range and generation must be ones the engine gave: it loads logs of others and mixes them up with the right ones.

    @raise KafkaError: C{UNKNOWN_TOPIC_OR_PARTITION}.
    """
    if not 0 <= partition.start < partition.stop <= RING_SIZE or partition.unix_time_ns <= 0:
        raise KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"no partition of the engine: {partition}")


def partition_message(partition: PartitionRange) -> mq_schema_pb2.Partition:
    """A partition, for requests."""
    return mq_schema_pb2.Partition(
        ring_size=RING_SIZE,
        range_start=partition.start,
        range_stop=partition.stop,
        unix_time_ns=partition.unix_time_ns,
    )


def partition_directory(topic: str, partition: PartitionRange) -> str:
    """Where the filer keeps the log files of a partition, as the engine names it."""
    made = datetime.fromtimestamp(partition.unix_time_ns // 1_000_000_000, UTC)
    return f"{ROOT}/{topic}/v{made:%Y-%m-%d-%H-%M-%S}/{partition.start:04d}-{partition.stop:04d}"


class Broker:
    """
    Calls to a broker of the cluster.

    Every broker answers for all topics; L{fetch} and L{high_watermark} ask the one that is given, or the one all calls
    go to. Each method fails with L{EngineUnavailable} while none can be reached.
    """

    def __init__(self, calls: Calls, filer: Filer, address: Callable[[], str]) -> None:
        """
        @param address: says where a broker is now, as host:port; raises L{EngineUnavailable} where that is not known.
            A broker that has only just started must not be named: some calls end its process.
        """
        self._calls = calls
        self._filer = filer
        self._address = address

    def existing(self, topic: str) -> Deferred[list[PartitionRange] | None]:
        """
        The partitions of a topic as the filer keeps them, in the order of their ranges.

        The brokers' own answers come from caches, which go on for half a minute after a topic was removed.

        @return: fires with C{None} where there is no such topic; fails with C{INVALID_TOPIC_EXCEPTION}.
        """
        return Deferred.fromCoroutine(self._existing(topic))

    async def _existing(self, topic: str) -> list[PartitionRange] | None:
        content = await self._content(topic)
        return None if content is None else TopicFile.read(topic, content).ranges

    async def _content(self, topic: str) -> bytes | None:
        check_name(topic)
        entry = await self._filer.lookup(topic_directory(topic), "topic.conf")
        if entry is None:
            return None
        return entry.content or await self._filer.read(topic_directory(topic), "topic.conf")

    def declared(self, topic: str) -> Deferred[tuple[RecordOf, str]]:
        """
        The columns and the format of records that a topic has as the filer keeps them; no columns where it has none.

        @return: fails with C{UNKNOWN_TOPIC_OR_PARTITION}, and with C{INVALID_CONFIG} where they are not understood.
        """
        return Deferred.fromCoroutine(self._declared(topic))

    async def _declared(self, topic: str) -> tuple[RecordOf, str]:
        found = await self._file(topic)
        return found.columns(), found.format

    async def _file(self, topic: str) -> TopicFile:
        content = await self._content(topic)
        if content is None:
            raise KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"there is no engine topic {topic}")
        return TopicFile.read(topic, content)

    def declare(self, topic: str, columns: RecordOf, format: str) -> Deferred[list[str]]:
        """
        Add columns to those that the records of a topic have; the broker is not asked where they are there.

        A broker takes what it is sent for the whole configuration, so all there is goes with it: the same number of
        partitions above all, as another would begin them anew.

        @return: fires with the names of those that stay of another type; fails as L{declared}.
        """
        return Deferred.fromCoroutine(self._declare(topic, columns, format))

    async def _declare(self, topic: str, columns: RecordOf, format: str) -> list[str]:
        found = await self._file(topic)
        there = found.columns()
        wanted, conflicts = merge(there, columns) if there.columns else (columns, [])
        if wanted != there:
            request = found.request(topic, wanted, found.format or format)
            await self._calls.unary(
                self._address(), f"{_SERVICE}ConfigureTopic", request, mq_broker_pb2.ConfigureTopicResponse
            )
        return conflicts

    def configure_topic(self, topic: str, count: int) -> Deferred[list[PartitionRange]]:
        """
        Make a topic of so many partitions, unless it is there already.

        @return: fires with its partitions in the order of their ranges; fails with C{INVALID_TOPIC_EXCEPTION}, or with
            C{INVALID_PARTITIONS} where the topic is there with another count: configuring it anew would orphan its log.
        """
        return Deferred.fromCoroutine(self._configure_topic(topic, count))

    async def _configure_topic(self, topic: str, count: int) -> list[PartitionRange]:
        check_name(topic)
        check_count(count)
        found = await self._existing(topic)
        if not found:
            request = mq_broker_pb2.ConfigureTopicRequest(topic=topic_message(topic), partition_count=count)
            answer = await self._calls.unary(
                self._address(), f"{_SERVICE}ConfigureTopic", request, mq_broker_pb2.ConfigureTopicResponse
            )
            found = sorted(_range_of(row.partition) for row in answer.broker_partition_assignments)
        if len(found) != count:
            raise KafkaError(
                ErrorCode.INVALID_PARTITIONS, f"engine topic {topic} has {len(found)} partitions, not {count}"
            )
        return found

    def leader(self, topic: str, index: int) -> Deferred[str]:
        """
        Which broker leads a partition.

        @param index: of the partition, in the order of ranges.
        @return: fires with host:port; fails with L{EngineUnavailable} where nobody leads it for now.
        """
        return Deferred.fromCoroutine(self._leader(topic, index))

    async def _leader(self, topic: str, index: int) -> str:
        check_name(topic)
        request = mq_broker_pb2.LookupTopicBrokersRequest(topic=topic_message(topic))
        answer = await self._calls.unary(
            self._address(), f"{_SERVICE}LookupTopicBrokers", request, mq_broker_pb2.LookupTopicBrokersResponse
        )
        rows = sorted(answer.broker_partition_assignments, key=lambda row: row.partition.range_start)
        address: str = rows[index].leader_broker if 0 <= index < len(rows) else ""
        if not address:
            raise EngineUnavailable(f"no broker leads partition {index} of engine topic {topic}")
        return address

    def fetch(
        self,
        topic: str,
        partition: PartitionRange,
        offset: int,
        max_messages: int,
        max_bytes: int,
        address: str | None = None,
    ) -> Deferred[FetchedMessages]:
        """
        Ask for messages from an offset on; never waits for more.

        Slow where they come from disk, and their offsets are the engine's guess then. See L{check_range}.

        @param max_messages: 1 to 10000.
        @param max_bytes: 1 to 100 MiB; one message is given even where it is larger.
        @param address: the broker that leads the partition.
        @return: fails with C{OFFSET_OUT_OF_RANGE} for a negative offset.
        """
        return Deferred.fromCoroutine(self._fetch(topic, partition, offset, max_messages, max_bytes, address))

    async def _fetch(
        self,
        topic: str,
        partition: PartitionRange,
        offset: int,
        max_messages: int,
        max_bytes: int,
        address: str | None,
    ) -> FetchedMessages:
        check_name(topic)
        check_range(partition)
        if offset < 0:
            raise KafkaError(ErrorCode.OFFSET_OUT_OF_RANGE, f"no offset: {offset}")
        request = mq_broker_pb2.FetchMessageRequest(
            topic=topic_message(topic),
            partition=partition_message(partition),
            start_offset=offset,
            max_messages=max(1, min(max_messages, 10_000)),
            max_bytes=max(1, min(max_bytes, 100 << 20)),
        )
        answer = await self._calls.unary(
            address or self._address(), f"{_SERVICE}FetchMessage", request, mq_broker_pb2.FetchMessageResponse
        )
        if answer.error or answer.error_code:
            raise from_fetch(answer.error_code, answer.error)
        return FetchedMessages(
            [(message.key, message.value, message.ts_ns) for message in answer.messages],
            answer.next_offset,
            answer.high_water_mark,
        )

    def high_watermark(self, topic: str, partition: PartitionRange, address: str | None = None) -> Deferred[int]:
        """
        The offset the next record gets, right even where L{fetch} sees nothing; 0 for a partition that is not there.

        Wrong after an unclean stop of the engine, until the partition was repaired.
        """
        return Deferred.fromCoroutine(self._high_watermark(topic, partition, address))

    async def _high_watermark(self, topic: str, partition: PartitionRange, address: str | None) -> int:
        check_name(topic)
        check_range(partition)
        request = mq_broker_pb2.GetPartitionRangeInfoRequest(
            topic=topic_message(topic), partition=partition_message(partition)
        )
        answer = await self._calls.unary(
            address or self._address(),
            f"{_SERVICE}GetPartitionRangeInfo",
            request,
            mq_broker_pb2.GetPartitionRangeInfoResponse,
        )
        if answer.error:
            raise EngineUnavailable(f"the bounds of engine topic {topic}, {partition}: {answer.error}")
        return answer.offset_range.high_water_mark


def _range_of(partition: mq_schema_pb2.Partition) -> PartitionRange:
    return PartitionRange(partition.range_start, partition.range_stop, partition.unix_time_ns)
