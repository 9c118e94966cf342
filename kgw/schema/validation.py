"""What becomes of records that name a schema, before a log takes them: checked, made rows of columns, or refused."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from kgw.errors import ErrorCode, KafkaError
from kgw.interfaces import ILogEngine, IPartitionLog
from kgw.model import Appended, LogConfig
from kgw.schema.codecs import Codecs, Found, Key, Known
from kgw.schema.counts import Counts
from kgw.schema.declarations import Declarations
from kgw.schema.examination import Examination, Examined, Refusal
from kgw.schema.framing import Framed
from kgw.schema.interfaces import ISchemaRegistry
from kgw.schema.model import RegistryUnavailable
from kgw.schema.subjects import TOPIC_NAME, record_name, subject_of, value_subject
from kgw.schema.turnstile import Room, Turnstile

if TYPE_CHECKING:
    from kgw.wire.records import RecordBatch

#: Seconds for which records that are kept in any case wait for the registry, and for the engine to take their columns.
PATIENCE_S = 1.0
#: Schemas with bugs that are written down, each once.
_MOST_BUGS = 100

_log = Logger("kgw.schema")

T = TypeVar("T")


class SchemaPolicy:
    """
    Looks into the batches of topics that want it (C{kgw.schema.validation}), and appends them.

    With C{permissive} every record is kept: with columns where its value can be read, as it is where not, and where the
    registry does not answer. With C{strict} a batch with a record that is not what it should be is refused; where the
    registry does not answer, the client is to try again.

    @ivar counts: what became of records.
    @ivar registry: the one that is asked.
    """

    def __init__(
        self,
        registry: ISchemaRegistry,
        codecs: Codecs,
        logs: ILogEngine,
        clock: IReactorTime,
        *,
        timeout_s: float = 5.0,
        need_subject: bool = False,
        timer: Callable[[], float] = time.perf_counter,
        room: Room | None = None,
    ) -> None:
        """
        @param timeout_s: for which an answer of the registry is waited for at most, with C{strict}.
        @param need_subject: topics are made only where the registry has a subject for their values.
        @param timer: seconds of a clock that only goes forward.
        """
        self.registry = registry
        self.counts = Counts()
        self._clock = clock
        self._timer = timer
        self._timeout = timeout_s
        self._need_subject = need_subject
        self._turnstile = Turnstile(clock, timer, room)
        self._codecs = codecs
        tables = logs.tables
        self._declarations = None if tables is None else Declarations(tables, clock, self._not_declared)
        self._bugs: set[Key] = set()

    # For handlers

    def looks_into(self, topic: str, config: LogConfig) -> bool:
        """Whether batches for a topic are to come here; those with a leading underscore are not, as systems' own."""
        return config.kgw_schema_validation != "none" and not topic.startswith("_")

    def append(
        self, log: IPartitionLog, where: tuple[str, int], batch: RecordBatch, acks: int, timeout_s: float
    ) -> Deferred[Appended]:
        """
        Append a batch once it was looked into, behind all that came before it for the partition.

        Cancelling it does not keep the batch from the log, as it would not with a log of Kafka's.

        @param where: topic and partition.
        @param timeout_s: for which the client waits.
        @return: as L{IPartitionLog.append}; also fails with C{INVALID_RECORD} (L{kgw.errors.Rejected}),
            C{CORRUPT_MESSAGE}, or C{REQUEST_TIMED_OUT} where the registry does not answer or too much waits for it.
        """
        until = self._clock.seconds() + min(self._timeout, max(timeout_s, 0.0))
        return self._turnstile.enter(
            where,
            batch.size,
            partial(self._examine, log.config, where[0], batch, until),
            lambda columns: log.append(batch, acks, columns),
        )

    async def check_topic(self, name: str) -> None:
        """
        See whether a topic of this name may be made.

        @raise KafkaError: C{POLICY_VIOLATION}: the registry has no subject for its values, as
            C{kgw.schema.topics.need.subject} asks for; C{REQUEST_TIMED_OUT}: it does not say.
        """
        if not self._need_subject or name.startswith("_"):
            return
        subject = value_subject(name)
        if not await self._in_time(self.registry.exists(subject), self._clock.seconds() + self._timeout):
            raise KafkaError(
                ErrorCode.POLICY_VIOLATION,
                f"the schema registry has no subject {subject}: register a schema there first"
                " (kgw.schema.topics.need.subject=true)",
            )

    def topic_deleted(self, name: str) -> Deferred[None]:
        """Forget what is known of a topic; fires at once."""
        self.counts.forget(name)
        if self._declarations is not None:
            return self._declarations.forget(name)
        done: Deferred[None] = Deferred()
        done.callback(None)
        return done

    # For those who watch

    def measure(self) -> Mapping[str, float]:
        """The policy's and the registry's numbers, by the names of their metrics; those of results have labels."""
        return {
            **self.registry.measure(),
            "kgw_schema_codecs": len(self._codecs),
            "kgw_schema_batches_waiting": len(self._turnstile),
            "kgw_schema_bytes_waiting": self._turnstile.waiting_bytes,
            "kgw_schema_refused_batches_total": self.counts.refused,
            "kgw_schema_undeclared_total": self.counts.undeclared,
        }

    # Examining

    async def _examine(
        self, config: LogConfig, topic: str, batch: RecordBatch, until: float
    ) -> list[bytes | None] | None:
        strict = config.kgw_schema_validation == "strict"
        rows = self._declarations is not None
        if not strict:
            until = self._clock.seconds() + PATIENCE_S
        examination = Examination(self, self._timer, topic, config, until, rows)
        try:
            examined = await examination.run(batch)
        except Refusal as refusal:
            self.counts.refused += 1
            self.counts.add(topic, refusal.found)
            raise
        if examined.types:
            await self._declare(topic, examined, strict, until if strict else self._clock.seconds() + PATIENCE_S)
        self.counts.add(topic, examined.found)
        columns = examined.columns
        if self._declarations is not None and self._declarations.has_any(topic):
            # a row without entries: of a topic with columns the engine's tools take bytes for damage
            if columns is None:
                return [b""] * batch.count
            if None in columns:
                return [one or b"" for one in columns]
        return columns

    async def _declare(self, topic: str, examined: Examined, strict: bool, until: float) -> None:
        declarations = self._declarations
        assert declarations is not None
        unknown = [one for one in examined.types if not declarations.knows(topic, one[0])]
        if not unknown:
            return
        try:
            await self._in_time(declarations.ensure(topic, unknown), until)
        except KafkaError as error:
            self.counts.undeclared += 1
            # what the engine never takes keeps no record out; what it does not take now may be declared a little later
            if strict and error.code.retriable:
                raise

    def _not_declared(self, topic: str, what: str, why: str) -> None:
        self.counts.tell(topic, what, why)

    # See L{kgw.schema.examination.Around}

    def known(self, key: Key) -> Found | None:
        """See L{kgw.schema.examination.Around.known}."""
        return self._codecs.known(key)

    async def find(self, key: Key, until: float, patient: bool) -> Found:
        """
        See L{kgw.schema.examination.Around.find}.

        Who has no patience does not wait twice for what is slow, nor while the registry is known to be away.
        """
        if not patient:
            until = min(until, self._codecs.began(key) + (0.0 if self._codecs.unavailable else PATIENCE_S))
        return await self._in_time(self._codecs.find(key), until)

    async def is_under(self, known: Known, framed: Framed, topic: str, strategy: str, until: float) -> str | None:
        """See L{kgw.schema.examination.Around.is_under}."""
        named = ""
        if strategy != TOPIC_NAME:
            if known.message_name is not None:
                named = known.message_name(framed.payload, framed.indexes)
            else:
                named = record_name(known.resolved)
        subject = subject_of(strategy, topic, named)
        shown = known.key if isinstance(known.key, int) else known.key.hex()
        if subject is None:
            return f"schema {shown} has no name, which {strategy} asks for"
        if await self._in_time(self.registry.is_under(known.key, subject), until):
            return None
        return f"schema {shown} is not registered under subject {subject}"

    def pause(self) -> Awaitable[object]:
        """See L{kgw.schema.examination.Around.pause}."""
        return deferLater(self._clock, 0)

    def bug(self, known: Known) -> None:
        """See L{kgw.schema.examination.Around.bug}."""
        if known.key not in self._bugs and len(self._bugs) < _MOST_BUGS:
            self._bugs.add(known.key)
            shown = known.key if isinstance(known.key, int) else known.key.hex()
            _log.failure("a value of schema {key} cannot be read because of a bug; said once", key=shown)

    async def _in_time(self, asked: Deferred[T], until: float) -> T:
        if asked.called:
            return await asked
        left = until - self._clock.seconds()
        if left <= 0:
            asked.addErrback(lambda _: None)
            asked.cancel()
            raise RegistryUnavailable("the schema registry has not answered in time")
        try:
            return await asked.addTimeout(left, self._clock)
        except TimeoutError:
            raise RegistryUnavailable("the schema registry has not answered in time") from None
