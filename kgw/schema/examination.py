"""One batch, record by record: which schema each value names, whether it is what that says, and its columns."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from kgw.errors import ErrorCode, KafkaError, Rejected, WireError
from kgw.schema.codecs import Found, Key, Known, MessageName, Unusable
from kgw.schema.columns import RecordOf
from kgw.schema.framing import PREFIX_BYTES, Framed, of_record
from kgw.schema.model import Undecodable
from kgw.schema.subjects import TOPIC_NAME

if TYPE_CHECKING:
    from kgw.model import LogConfig
    from kgw.wire.records import Record, RecordBatch

#: As large as a batch's records may become when they are decompressed to be looked at.
MAX_DECOMPRESSED_BYTES = 128 << 20
#: Columns of one record beyond this are not kept, and of one batch.
MAX_ROW_BYTES = 4 << 20
MAX_ROWS_BYTES = 32 << 20
#: Schemas that are asked for, for one batch.
MAX_QUESTIONS = 100
#: Refused records that are told; those behind them are not looked at any more.
MAX_REASONS = 100
#: So many records are looked at, at the most, between two looks at the time.
_STRIDE = 32
#: Seconds for which records are looked at before others have their turn.
SLICE_S = 0.002


class Around(Protocol):
    """What an examination needs of the policy."""

    def known(self, key: Key) -> Found | None:
        """What is known of a schema at once."""

    async def find(self, key: Key, until: float, patient: bool) -> Found:
        """
        A schema that is not known, waited for no longer than C{until}.

        @param patient: wait for it also where others have waited long.
        @raise KafkaError: it cannot be had in time.
        """

    async def is_under(self, known: Known, framed: Framed, topic: str, strategy: str, until: float) -> str | None:
        """
        Whether a schema may be used in a topic.

        @return: why not, C{None} where it may.
        @raise KafkaError: nobody can tell in time.
        """

    def pause(self) -> Awaitable[object]:
        """Let others have a turn."""

    def bug(self, known: Known) -> None:
        """Write down the exception that a codec has raised, once for each schema."""


@dataclass(frozen=True, slots=True)
class Examined:
    """
    What was found in a batch that may be appended.

    @ivar columns: of each record; C{None} where none has any.
    @ivar types: of the rows, with the names of their formats.
    @ivar found: by result how many records, and a reason.
    """

    columns: list[bytes | None] | None
    types: list[tuple[RecordOf, str]]
    found: dict[str, tuple[int, str]]


class Refusal(Rejected):
    """
    A batch with records that are not what they should be.

    @ivar found: by result how many records, and a reason.
    """

    def __init__(self, topic: str, records: list[tuple[int, str]], found: dict[str, tuple[int, str]]) -> None:
        index, reason = records[0]
        others = f", and {len(records) - 1} more" if len(records) > 1 else ""
        super().__init__(
            ErrorCode.INVALID_RECORD,
            f"topic {topic} takes values of registered schemas only: record {index}{others}: {reason}",
            records,
        )
        self.found = found


class Examination:
    """
    Looks into one batch; made for it and used once.
    """

    def __init__(
        self,
        around: Around,
        timer: Callable[[], float],
        topic: str,
        config: LogConfig,
        until: float,
        rows: bool,
    ) -> None:
        """
        @param until: when to give up waiting for the registry, by the time of C{around}.
        @param rows: whether columns are wanted, or only to know whether values are what they should be.
        """
        self._around = around
        self._timer = timer
        self._topic = topic
        self._strict = config.kgw_schema_validation == "strict"
        self._strategy = config.kgw_schema_subject_name_strategy
        self._by_name = self._strategy != TOPIC_NAME
        self._tombstones = "compact" in config.cleanup_policy
        self._until = until
        self._rows = rows
        self._found: dict[str, tuple[int, str]] = {}
        self._refused: list[tuple[int, str]] = []
        self._columns: list[bytes | None] = []
        self._size = 0
        self._types: dict[int, tuple[RecordOf, str]] = {}
        # what was asked once is not asked again for this batch, whatever the answer
        self._schemas: dict[Key, Found | KafkaError] = {}
        self._subjects: dict[object, str | None] = {}
        self._asked = 0
        # by what stands in front of a value: how its schema reads it; and the type of the row before
        self._quick: dict[bytes, Callable[[bytes, None], tuple[RecordOf, bytes]]] = {}
        self._last: RecordOf | None = None

    async def run(self, batch: RecordBatch) -> Examined:
        """
        Look at all records.

        @raise KafkaError: C{INVALID_RECORD} (L{Refusal}), C{CORRUPT_MESSAGE}; C{REQUEST_TIMED_OUT} where the registry
            has to be asked and does not answer.
        """
        try:
            records = batch.records(MAX_DECOMPRESSED_BYTES)
        except WireError as error:
            raise KafkaError(ErrorCode.CORRUPT_MESSAGE, str(error)) from None
        timer, began, at = self._timer, self._timer(), 0
        while at < len(records):
            end = min(at + _STRIDE, len(records))
            at = self._stride(records, at, end)
            if at < end:
                await self._ask(records[at])
            elif len(self._refused) >= MAX_REASONS:
                break
            elif timer() - began > SLICE_S and at < len(records):
                await self._around.pause()
                began = timer()
        if self._refused:
            raise Refusal(self._topic, self._refused, self._found)
        return Examined(self._columns if self._types else None, list(self._types.values()), self._found)

    def _stride(self, records: list[Record], at: int, end: int) -> int:
        """
        Look at records as long as nobody has to be asked.

        @return: the index of the one that needs it, C{end} where none does.
        """
        plain = not self._strict
        schemas, columns = self._schemas, self._columns
        quick = self._quick
        decoded = 0
        while at < end:
            record = records[at]
            value = record.value
            # nearly all records are like the one before: what that took several steps to find is looked up here
            read = quick.get(value[:PREFIX_BYTES]) if value and not record.headers else None
            if read is not None:
                assert value is not None
                try:
                    record_type, fields = read(value[PREFIX_BYTES:], None)
                except Exception:
                    read = None  # the long way says what is wrong
                else:
                    size = self._size + len(fields)
                    if record_type is self._last and size <= MAX_ROWS_BYTES and len(fields) <= MAX_ROW_BYTES:
                        self._size = size
                        columns.append(fields)
                        decoded += 1
                        at += 1
                        continue
            framed = of_record(value, record.headers)
            if framed is None:
                self._unframed(at, record.value)
                at += 1
                continue
            key: Key | None = framed.schema_id if framed.guid is None else framed.guid
            assert key is not None
            schema = schemas.get(key)
            if schema is None:
                schema = self._around.known(key)
                if schema is None:
                    break
                schemas[key] = schema
            if type(schema) is not Known:
                self._useless(at, schema)
                at += 1
                continue
            if not plain:
                verdict = self._subjects.get(self._place(schema, framed), _UNASKED)
                if verdict is not None:
                    if verdict is _UNASKED:
                        break
                    self._note(at, "wrong_subject", str(verdict))
                    at += 1
                    continue
            try:
                if self._rows:
                    decoded += self._row(schema, framed)
                    if framed.guid is None and not record.headers and (plain or self._named(schema) is None):
                        assert value is not None
                        quick[value[:PREFIX_BYTES]] = schema.codec.row
                else:
                    schema.codec.check(framed.payload, framed.indexes)
                    columns.append(None)
                    decoded += 1
            except Undecodable as error:
                self._undecodable(at, schema, framed, error)
            except Exception:
                self._around.bug(schema)
                self._note(at, "undecodable", "it cannot be read here")
            at += 1
        if decoded:
            count, _ = self._found.get("decoded", (0, ""))
            self._found["decoded"] = count + decoded, ""
        return at

    def _row(self, schema: Known, framed: Framed) -> int:
        """Add the row of a value; whether there was room for it."""
        record_type, fields = schema.codec.row(framed.payload, framed.indexes)
        if len(fields) > MAX_ROW_BYTES or self._size + len(fields) > MAX_ROWS_BYTES:
            self._columns.append(None)
            self._count("too_large", f"{len(fields)} bytes of columns")
            return 0
        self._size += len(fields)
        self._columns.append(fields)
        self._last = record_type
        self._types[id(record_type)] = record_type, schema.codec.format
        return 1

    async def _ask(self, record: Record) -> None:
        """Find out what is missing to go on with a record; the answer is kept, a failure too where it may be."""
        framed = of_record(record.value, record.headers)
        assert framed is not None
        key = framed.schema_id if framed.guid is None else framed.guid
        assert key is not None
        schema = self._schemas.get(key)
        if schema is None:
            self._asked += 1
            if self._asked > MAX_QUESTIONS:
                schema = Unusable("unknown_schema", f"the batch names more than {MAX_QUESTIONS} schemas", 0.0)
            else:
                try:
                    schema = await self._around.find(key, self._until, patient=self._strict)
                except KafkaError as error:
                    if self._strict:
                        raise
                    schema = error
            self._schemas[key] = schema
        if self._strict and type(schema) is Known:
            place = self._place(schema, framed)
            if place not in self._subjects:
                self._subjects[place] = await self._around.is_under(
                    schema, framed, self._topic, self._strategy, self._until
                )

    def _place(self, schema: Known, framed: Framed) -> object:
        """What the subject of a value depends on, besides the topic."""
        named = self._named(schema)
        return schema.key if named is None else (schema.key, named(framed.payload, framed.indexes))

    def _named(self, schema: Known) -> MessageName | None:
        """What tells the name of a value's type, where the subject depends on it and it is not that of the schema."""
        return schema.message_name if self._by_name else None

    def _unframed(self, index: int, value: bytes | None) -> None:
        if value is not None:
            self._note(index, "unframed", "the value names no schema")
        elif self._tombstones or not self._strict:
            self._columns.append(None)
            self._count("null", "")
        else:
            self._note(index, "null", "null-forbidden: a value is null, and the topic is not compacted")

    def _useless(self, index: int, schema: Found | KafkaError) -> None:
        if isinstance(schema, Unusable):
            self._note(index, schema.result, schema.reason)
        elif isinstance(schema, KafkaError):
            self._note(index, "unavailable", schema.message)

    def _undecodable(self, index: int, schema: Known, framed: Framed, error: Undecodable) -> None:
        if self._rows:
            # what no columns can hold may be all right for its readers
            try:
                schema.codec.check(framed.payload, framed.indexes)
            except Undecodable as wrong:
                error = wrong
            else:
                self._columns.append(None)
                self._count("no_columns", error.reason)
                return
        self._note(index, "undecodable", error.reason)

    def _note(self, index: int, result: str, reason: str) -> None:
        """A record that is not as it should be: refused, or kept as it is."""
        self._count(result, reason)
        self._columns.append(None)
        if self._strict and len(self._refused) < MAX_REASONS:
            self._refused.append((index, reason))

    def _count(self, result: str, reason: str) -> None:
        count, first = self._found.get(result, (0, reason))
        self._found[result] = count + 1, first


_UNASKED: Any = object()
