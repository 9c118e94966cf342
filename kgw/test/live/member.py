"""C{python -m kgw.test.live.member}: one consumer of a group as a process of its own, to be killed; tells what it does.

Each line it prints is a JSON object: what happened (C{event}), when (C{at}, of the clock that all processes share), and
what it was about.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import signal
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

import aiokafka
import kafka
from aiokafka.coordinator.assignors.range import RangePartitionAssignor as AioRangeAssignor
from aiokafka.errors import KafkaError as AioKafkaError
from confluent_kafka import Consumer, KafkaException, TopicPartition
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.errors import KafkaError as PythonKafkaError
from kafka.errors import UnknownBrokerIdError

#: Records and seconds after which what was consumed is committed.
BATCH = 200
SOON = 0.1


def say(event: str, **about: Any) -> None:
    """Print one line."""
    print(json.dumps({"event": event, "at": time.monotonic(), **about}), flush=True)


class Asked:
    """
    Whether the process was asked to leave the group (SIGTERM).

    @ivar to_leave: it was.
    """

    def __init__(self) -> None:
        self.to_leave = False
        signal.signal(signal.SIGTERM, self._leave)

    def _leave(self, *_: object) -> None:
        self.to_leave = True


def ranges(places: Iterable[tuple[int, int]]) -> dict[int, tuple[int, int]]:
    """First and last offset by partition; what a client hands out of a partition in one go has no gaps but those of
    control records and compaction, of which there are none here."""
    found: dict[int, tuple[int, int]] = {}
    for partition, offset in places:
        first, _ = found.get(partition, (offset, offset))
        found[partition] = (first, offset)
    return found


class Progress:
    """
    What this member has consumed and not yet committed: a commit that fails, as it does while the gateway is away, is
    done again with the next.

    @ivar due: the offsets to commit, by partition.
    """

    def __init__(self) -> None:
        self.due: dict[int, int] = {}

    def consumed(self, places: Iterable[tuple[int, int]]) -> dict[int, int]:
        """Say what was consumed; the offsets to commit now."""
        found = ranges(places)
        if found:
            say("consumed", ranges=found)
            self.due.update({partition: last + 1 for partition, (_, last) in found.items()})
        return dict(self.due)

    def committed(self, offsets: dict[int, int]) -> None:
        """Say that these are committed."""
        say("committed", offsets=offsets)
        self.due.clear()

    def revoked(self, partitions: Iterable[int]) -> None:
        """Partitions go to others: what was not committed of them is theirs to consume again."""
        for partition in partitions:
            self.due.pop(partition, None)


def run_confluent(bootstrap: str, group: str, topic: str, options: dict[str, Any]) -> None:
    """librdkafka."""
    asked = Asked()
    progress = Progress()
    configs: dict[str, Any] = {
        "bootstrap.servers": bootstrap,
        "group.id": group,
        "client.id": options["client_id"],
        "partition.assignment.strategy": options["assignor"],
        "session.timeout.ms": options["session_ms"],
        "heartbeat.interval.ms": options["session_ms"] // 12,
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
        "fetch.wait.max.ms": 100,
        "reconnect.backoff.max.ms": 300,
        "log_level": 0,
    }
    if options["instance"]:
        configs["group.instance.id"] = options["instance"]
    consumer = Consumer(configs)

    def teller(event: str) -> Callable[[Any, list[Any]], None]:
        def tell(_: Any, partitions: list[Any]) -> None:
            if event != "assigned":
                progress.revoked(one.partition for one in partitions)
            say(event, partitions=[one.partition for one in partitions], member_id=consumer.memberid())

        return tell

    consumer.subscribe([topic], on_assign=teller("assigned"), on_revoke=teller("revoked"), on_lost=teller("lost"))
    while not asked.to_leave:
        messages: list[Any] = consumer.consume(BATCH, SOON)
        offsets = progress.consumed((one.partition(), one.offset()) for one in messages if one.error() is None)
        if offsets:
            try:
                consumer.commit(
                    offsets=[TopicPartition(topic, partition, offset) for partition, offset in offsets.items()],
                    asynchronous=False,
                )
            except KafkaException as error:
                say("not committed", error=str(error))
            else:
                progress.committed(offsets)
    consumer.close()


def run_kafka_python(bootstrap: str, group: str, topic: str, options: dict[str, Any]) -> None:
    """kafka-python."""
    asked = Asked()
    progress = Progress()

    class Listener(kafka.ConsumerRebalanceListener):  # type: ignore[misc]
        """Tells what the coordinator gives and takes."""

        def on_partitions_revoked(self, revoked: Any) -> None:
            progress.revoked(one.partition for one in revoked)
            say("revoked", partitions=[one.partition for one in revoked])

        def on_partitions_assigned(self, assigned: Any) -> None:
            now = consumer.group_metadata()
            say(
                "assigned",
                partitions=[one.partition for one in assigned],
                generation=now.generation_id,
                member_id=now.member_id,
            )

    def consume() -> kafka.KafkaConsumer:
        made = kafka.KafkaConsumer(
            bootstrap_servers=bootstrap.split(","),
            group_id=group,
            client_id=options["client_id"],
            group_instance_id=options["instance"],
            partition_assignment_strategy=(RangePartitionAssignor,),
            session_timeout_ms=options["session_ms"],
            heartbeat_interval_ms=options["session_ms"] // 12,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=100,
            reconnect_backoff_max_ms=300,
        )
        made.subscribe([topic], listener=Listener())
        return made

    consumer = consume()
    while not asked.to_leave:
        try:
            records = consumer.poll(timeout_ms=int(SOON * 1000), max_records=BATCH)
        except UnknownBrokerIdError as error:
            # it never fetches from this broker again (kafka-python 3.0.12): its request counts as sent, and was not
            say("begins anew", error=str(error))
            lost = [one.partition for one in consumer.assignment()]
            progress.revoked(lost)
            say("revoked", partitions=lost)
            consumer.close(autocommit=False)
            consumer = consume()
            continue
        except PythonKafkaError as error:
            # while the gateway is away its connections are refused, which this library raises at times
            say("not polled", error=str(error))
            time.sleep(0.1)
            continue
        offsets = progress.consumed((where.partition, one.offset) for where, some in records.items() for one in some)
        if offsets:
            try:
                consumer.commit(
                    {
                        kafka.TopicPartition(topic, partition): kafka.OffsetAndMetadata(offset, "", -1)
                        for partition, offset in offsets.items()
                    }
                )
            except PythonKafkaError as error:
                say("not committed", error=str(error))
            else:
                progress.committed(offsets)
    consumer.close(autocommit=False)


def run_aiokafka(bootstrap: str, group: str, topic: str, options: dict[str, Any]) -> None:
    """aiokafka."""
    asked = Asked()
    progress = Progress()

    class Listener(aiokafka.ConsumerRebalanceListener):  # type: ignore[misc]
        """Tells what the coordinator gives and takes."""

        def on_partitions_revoked(self, revoked: Any) -> None:
            progress.revoked(one.partition for one in revoked)
            say("revoked", partitions=[one.partition for one in revoked])

        def on_partitions_assigned(self, assigned: Any) -> None:
            say("assigned", partitions=[one.partition for one in assigned])

    async def consume() -> None:
        consumer = aiokafka.AIOKafkaConsumer(
            bootstrap_servers=bootstrap,
            group_id=group,
            client_id=options["client_id"],
            group_instance_id=options["instance"],
            partition_assignment_strategy=(AioRangeAssignor,),
            session_timeout_ms=options["session_ms"],
            heartbeat_interval_ms=options["session_ms"] // 12,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=100,
        )
        await consumer.start()
        consumer.subscribe([topic], listener=Listener())
        while not asked.to_leave:
            records = await consumer.getmany(timeout_ms=int(SOON * 1000), max_records=BATCH)
            places = ((where.partition, one.offset) for where, some in records.items() for one in some)
            offsets = progress.consumed(places)
            if offsets:
                try:
                    await consumer.commit(
                        {aiokafka.TopicPartition(topic, partition): offset for partition, offset in offsets.items()}
                    )
                except AioKafkaError as error:
                    say("not committed", error=str(error))
                else:
                    progress.committed(offsets)
        await consumer.stop()

    asyncio.run(consume())


RUNNERS = {"confluent-kafka": run_confluent, "kafka-python": run_kafka_python, "aiokafka": run_aiokafka}


def main() -> None:
    """Be a member until SIGTERM comes."""
    if sys.platform == "linux":
        # gone with the tests, should they be killed (PR_SET_PDEATHSIG, SIGKILL)
        ctypes.CDLL(None).prctl(1, 9)
    library, bootstrap, group, topic, options = sys.argv[1:]
    RUNNERS[library](bootstrap, group, topic, json.loads(options))
    say("left")


if __name__ == "__main__":
    main()
