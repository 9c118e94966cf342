"""What a test of the schema policy stands on: a registry that answers when it is told to, codecs of Avro, and logs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from kgw.engine.bridge import InlineBridge
from kgw.interfaces import Columns
from kgw.model import Appended, LogConfig
from kgw.schema.codec import Codec
from kgw.schema.codecs import Codecs
from kgw.schema.columns import RecordOf
from kgw.schema.formats import codec_of
from kgw.schema.framing import prefixed
from kgw.schema.model import ResolvedSchema
from kgw.schema.registry_memory import MemorySchemaRegistry
from kgw.schema.turnstile import Room
from kgw.schema.validation import SchemaPolicy
from kgw.wire.records import NewRecord, RecordBatch, build_batch

#: A record with one field, C{n}, of which 7 is written as C{0E}.
NUMBER = '{"type": "record", "name": "Number", "namespace": "test", "fields": [{"name": "n", "type": "int"}]}'
#: The same with another field.
TWO = (
    '{"type": "record", "name": "Number", "namespace": "test",'
    ' "fields": [{"name": "n", "type": "int"}, {"name": "s", "type": "string"}]}'
)
SEVEN = b"\x0e"
#: The row of it: C{n}, an INT32.
ROW_OF_SEVEN = b"\x0a\x07\x0a\x01n\x12\x02\x10\x07"


class SlowRegistry(MemorySchemaRegistry):
    """
    @ivar slow: schemas are told when the test says so.
    @ivar waiting: what was asked for, with what tells it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.slow = False
        self.waiting: list[tuple[int, Deferred[ResolvedSchema]]] = []

    def by_id(self, schema_id: int) -> Deferred[ResolvedSchema]:
        """See L{ISchemaRegistry.by_id}."""
        if not self.slow:
            return super().by_id(schema_id)
        told: Deferred[ResolvedSchema] = Deferred()
        self.waiting.append((schema_id, told))
        return told

    def tell(self) -> None:
        """Answer all that wait, as things are now."""
        waiting, self.waiting = self.waiting, []
        for schema_id, told in waiting:
            super().by_id(schema_id).addCallbacks(told.callback, told.errback)


class StageTables:
    """
    @ivar declared: topic, columns and format, of each call.
    @ivar answers: what the calls answer; at once with nothing where there are none.
    """

    def __init__(self) -> None:
        self.declared: list[tuple[str, RecordOf, str]] = []
        self.answers: list[Deferred[list[str]]] = []

    def declare(self, topic: str, columns: RecordOf, format: str) -> Deferred[list[str]]:
        """See L{kgw.interfaces.Tables.declare}."""
        self.declared.append((topic, columns, format))
        return self.answers.pop(0) if self.answers else succeed([])


class StageLog:
    """
    A log that takes everything.

    @ivar batches: the records of each batch, with their columns.
    """

    def __init__(self, **configs: Any) -> None:
        self.config = LogConfig(**configs)
        self.batches: list[tuple[list[bytes | None], Columns | None]] = []
        self.answers: list[Deferred[Appended]] = []

    def append(self, batch: RecordBatch, acks: int = -1, columns: Columns | None = None) -> Deferred[Appended]:
        """See L{kgw.interfaces.IPartitionLog.append}."""
        self.batches.append(([record.value for record in batch.records(1 << 20)], columns))
        return self.answers.pop(0) if self.answers else succeed(Appended(len(self.batches), -1, 0))

    @property
    def values(self) -> list[list[bytes | None]]:
        """The values of each batch."""
        return [values for values, _ in self.batches]


def batch_of(*values: bytes | None, headers: Sequence[tuple[str, bytes | None]] = ()) -> RecordBatch:
    """A batch with these values."""
    return RecordBatch.parse(build_batch([NewRecord(b"key", value, headers, 1000) for value in values]))


class PolicyStage:
    """
    A policy, its registry and its engine.

    @ivar number: a value of the schema that is registered under C{t-value}.
    @ivar time: of the policy's timer, which the test moves.
    @ivar made: how many codecs, by C{make}.
    """

    def __init__(self, tables: bool = True, room: Room | None = None, **options: Any) -> None:
        self.clock = Clock()
        self.time = 0.0
        self.registry = SlowRegistry()
        self.registry.start()
        self.tables = StageTables()
        self.made = 0
        self.make: Callable[[ResolvedSchema], Codec] = codec_of
        logs: Any = SimpleNamespace(tables=self.tables if tables else None)
        self.codecs = Codecs(self.registry, InlineBridge().call, self.clock, self._make)
        timer: Callable[[], float] = options.pop("timer", lambda: self.time)
        self.policy = SchemaPolicy(self.registry, self.codecs, logs, self.clock, timer=timer, room=room, **options)
        self.schema = self.registry.book.register("t-value", NUMBER)
        self.number = prefixed(self.schema.id, SEVEN)

    def _make(self, resolved: ResolvedSchema) -> Codec:
        self.made += 1
        return self.make(resolved)

    def append(
        self, log: StageLog, *values: bytes | None, partition: int = 0, topic: str = "t", timeout_s: float = 30.0
    ) -> Deferred[Appended]:
        """Append a batch with these values."""
        anything: Any = log
        return self.policy.append(anything, (topic, partition), batch_of(*values), -1, timeout_s)


def strict(**configs: Any) -> StageLog:
    """A log that takes no other values than those of registered schemas."""
    return StageLog(kgw_schema_validation="strict", **configs)
