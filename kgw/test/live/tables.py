"""What the engine has of a topic: its declared columns, its rows as stored, and the parquet of its own tool."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple, TypeVar

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from kgw.engine.bridge import InlineBridge
from kgw.engine.seaweed.broker import Broker
from kgw.engine.seaweed.calls import Calls
from kgw.engine.seaweed.filer import Filer
from kgw.engine.seaweed.weed import environment, find_weed
from kgw.schema.columns import ColumnType, ListOf, RecordOf
from kgw.schema.record_type import from_json
from kgw.test.seaweed import Engine

T = TypeVar("T")

#: The fetch of a test takes no longer.
_PATIENCE_S = 20.0


class Stored(NamedTuple):
    """
    A record as the engine has it.

    @ivar row: what the engine's C{RecordValue} says, by column; records within are the same.
    """

    key: bytes
    value: bytes
    row: dict[str, Any]


def _now(waiting: Deferred[T]) -> T:
    """What has been got, as everything is here that is done in line."""
    found: list[T | Failure] = []
    waiting.addBoth(found.append)
    (result,) = found
    if isinstance(result, Failure):
        result.raiseException()
    return result


@contextmanager
def _control(engine: Engine) -> Iterator[tuple[Filer, Broker]]:
    calls = Calls(InlineBridge(), None, timeout_s=_PATIENCE_S)
    filer = Filer(calls, lambda: engine.filer, lambda: engine.filer_http)
    try:
        yield filer, Broker(calls, filer, lambda: engine.broker)
    finally:
        filer.stop()
        calls.stop()


def topic_conf(engine: Engine, engine_topic: str) -> Any:
    """What the filer's C{topic.conf} says."""
    with _control(engine) as (filer, _):
        entry = _now(filer.lookup(f"/topics/kafka/{engine_topic}", "topic.conf"))
        assert entry is not None, f"{engine_topic} has no topic.conf"
        return json.loads(entry.content)


def columns(engine: Engine, engine_topic: str) -> RecordOf:
    """The columns that are declared."""
    return from_json(topic_conf(engine, engine_topic)["messageRecordType"])


def by_name(kind: ColumnType) -> Any:
    """A type without the order of its columns: those within records stand as the engine needs them."""
    if isinstance(kind, ListOf):
        return [by_name(kind.element)]
    if isinstance(kind, RecordOf):
        return {column.name: (by_name(column.type), column.required) for column in kind.columns}
    return kind


def stored(engine: Engine, topic: str, count: int) -> list[Stored]:
    """The first records of partition 0, by the broker's own FetchMessage."""
    record_value = _record_value(engine.broker)
    with _control(engine) as (_, broker):
        ranges = _now(broker.existing(topic))
        assert ranges, f"{topic} is not there"
        found: list[Stored] = []
        while len(found) < count:
            fetched = _now(broker.fetch(topic, ranges[0], len(found), count, 1 << 20))
            assert fetched.messages, f"only {len(found)} of {count} records are there"
            for key, value, _ in fetched.messages:
                found.append(Stored(key, value, _row(record_value.FromString(value))))
        return found


@cache
def _record_value(broker: str) -> Any:
    """The engine's C{RecordValue}, as the broker itself describes it."""
    with grpc.insecure_channel(broker) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        asked = reflection_pb2.ServerReflectionRequest(file_containing_symbol="schema_pb.RecordValue")
        (answer,) = stub.ServerReflectionInfo(iter([asked]), timeout=10)
    pool = descriptor_pool.DescriptorPool()
    for file in answer.file_descriptor_response.file_descriptor_proto:
        pool.Add(descriptor_pb2.FileDescriptorProto.FromString(file))
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("schema_pb.RecordValue"))


def _row(record: Any) -> dict[str, Any]:
    return {name: _cell(value) for name, value in record.fields.items()}


def _cell(value: Any) -> Any:
    kind = value.WhichOneof("kind")
    found = getattr(value, kind)
    if kind == "list_value":
        return [_cell(one) for one in found.values]
    return _row(found) if kind == "record_value" else found


def compact(engine: Engine, topic: str) -> str:
    """
    Have C{weed shell} make a parquet file of a topic's log files; after that the engine had better not be used.

    @return: what it said.
    """
    command = f"mq.topic.compact -namespace kafka -topic {topic} -timeAgo 0s\n"
    options = [f"-master={engine.masters[0]}", f"-filer={engine.filer_http}"]
    done = subprocess.run(
        [find_weed(), "shell", *options],
        input=command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=60,
        text=True,
        cwd=engine.directory,
        env=dict(environment(engine.directory)),
        check=False,
    )
    assert not done.returncode, done.stdout[-3000:]
    return done.stdout


def archives(engine: Engine, topic: str) -> list[bytes]:
    """The parquet files of a topic, the oldest first."""
    found: list[tuple[str, bytes]] = []
    with _control(engine) as (filer, _):
        waiting = [f"/topics/kafka/{topic}"]
        while waiting:
            folder = waiting.pop()
            for entry in _now(filer.list(folder)):
                if entry.is_directory:
                    waiting.append(f"{folder}/{entry.name}")
                elif entry.name.endswith(".parquet"):
                    found.append((entry.name, _now(filer.read(folder, entry.name))))
    return [content for _, content in sorted(found)]
