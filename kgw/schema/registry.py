"""The schema registry as kgw asks it: over HTTP, each thing once, and never again while it is remembered."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Coroutine, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast
from urllib.parse import quote

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from kgw.schema import registry_answers as answers
from kgw.schema.interfaces import ISchemaRegistry
from kgw.schema.model import (
    RegisteredSchema,
    RegistryState,
    RegistryUnauthorised,
    RegistryUnavailable,
    ResolvedSchema,
    SchemaNotFound,
)
from kgw.schema.registry_answers import Answer
from kgw.schema.registry_cache import Cache
from kgw.schema.registry_flights import Flights
from kgw.schema.registry_http import RegistryHttp
from kgw.schema.registry_references import resolve

log = Logger("kgw.schema")

T = TypeVar("T")
_Refusal = SchemaNotFound | RegistryUnauthorised

#: Different questions that may wait at a time, and things remembered that are no schemas.
_MOST_QUESTIONS = 1000
_MOST_FACTS = 10_000
_MOST_FACT_BYTES = 16 << 20
#: The longest name of a subject that is asked for.
_MOST_SUBJECT = 1000


@dataclass(frozen=True, slots=True)
class Memory:
    """
    What is remembered, and for how long.

    @ivar schemas: how many at most, and C{schema_bytes} of their text.
    @ivar latest_s: seconds for which it is believed what a subject has.
    @ivar missing_s: seconds for which it is believed that something is not there.
    """

    schemas: int = 1000
    schema_bytes: int = 64 << 20
    latest_s: float = 30.0
    missing_s: float = 5.0


@implementer(ISchemaRegistry)
class SchemaRegistryClient:
    """L{ISchemaRegistry} over HTTP, of any registry with Confluent's API."""

    def __init__(
        self,
        http: RegistryHttp,
        clock: IReactorTime,
        memory: Memory | None = None,
        close: Callable[[], Deferred[None]] | None = None,
    ) -> None:
        """
        @param close: ends the connections of C{http}, behind all else.
        """
        self._http = http
        self._clock = clock
        self._memory = memory = memory or Memory()
        self._close = close
        self._running = False
        self._hits = 0
        self._probe: Deferred[None] | None = None
        # what strangers name and is not there must not drive out what is
        self._schemas: Cache[object] = Cache(memory.schemas, memory.schema_bytes)
        self._facts: Cache[object] = Cache(_MOST_FACTS, _MOST_FACT_BYTES)
        self._refusals: Cache[_Refusal] = Cache(_MOST_FACTS, _MOST_FACT_BYTES)
        self._flights: Flights[Any] = Flights(_MOST_QUESTIONS)

    @property
    def state(self) -> RegistryState:
        """See L{ISchemaRegistry}."""
        return self._http.state

    def start(self) -> Deferred[None]:
        """See L{ISchemaRegistry.start}; asks once whether it is there, for those who read the log."""
        self._running = True
        self._probe = Deferred.fromCoroutine(self._look())
        self._probe.addErrback(_looked)
        return succeed(None)

    def stop(self) -> Deferred[None]:
        """See L{ISchemaRegistry.stop}."""
        return Deferred.fromCoroutine(self._stop())

    def by_id(self, schema_id: int) -> Deferred[ResolvedSchema]:
        """See L{ISchemaRegistry.by_id}."""
        if not 0 < schema_id < 1 << 31:
            return fail(SchemaNotFound(f"{schema_id} is the number of no schema"))
        return self._schema(("id", schema_id), lambda: self._by_id(schema_id))

    def by_guid(self, guid: bytes) -> Deferred[ResolvedSchema]:
        """See L{ISchemaRegistry.by_guid}."""
        if len(guid) != 16:
            return fail(SchemaNotFound(f"{guid[:32].hex()} is the GUID of no schema"))
        return self._schema(("guid", guid), lambda: self._by_guid(guid))

    def latest(self, subject: str) -> Deferred[RegisteredSchema]:
        """See L{ISchemaRegistry.latest}."""
        return self._fact(("latest", subject), lambda: self._version(subject, "latest"))

    def is_under(self, schema: int | bytes, subject: str) -> Deferred[bool]:
        """See L{ISchemaRegistry.is_under}."""
        return self._fact(("under", schema, subject), lambda: self._is_under(schema, subject))

    def exists(self, subject: str) -> Deferred[bool]:
        """See L{ISchemaRegistry.exists}."""
        return self._fact(("exists", subject), lambda: self._exists(subject))

    def measure(self) -> Mapping[str, float]:
        """See L{ISchemaRegistry.measure}."""
        return {
            "kgw_schema_registry_up": float(self.state.available),
            "kgw_schema_registry_requests_total": self._http.requests,
            "kgw_schema_registry_errors_total": self._http.errors,
            "kgw_schema_registry_waiting": len(self._flights),
            "kgw_schema_registry_cache_hits_total": self._hits,
            "kgw_schema_registry_cache_schemas": len(self._schemas),
            "kgw_schema_registry_cache_bytes": self._schemas.size,
        }

    def describe(self) -> str:
        """See L{ISchemaRegistry.describe}."""
        return ", ".join(self._http.urls)

    async def _look(self) -> None:
        try:
            answer = await self._http.get("/schemas/types")
            if answer.status == 404:
                log.warn("{url} may be no schema registry: it has no /schemas/types", url=self.describe())
        except RegistryUnauthorised as error:
            # of 401 the state has said so
            if self.state.available:
                log.warn("the schema registry: {why}", why=error.message)
        except RegistryUnavailable as error:
            if self.state.available and self._running:
                log.warn("the schema registry: {why}", why=error.message)

    async def _stop(self) -> None:
        self._running = False
        probe, self._probe = self._probe, None
        busy = bool(len(self._flights)) or (probe is not None and not probe.called)
        self._http.stop()
        self._flights.stop()
        if probe is not None:
            probe.cancel()
        if busy:
            # connections that were broken off are closed in the reactor's next turn
            await deferLater(self._clock, 0)
        for cache in (self._schemas, self._facts, self._refusals):
            cache.clear()
        if self._close is not None:
            await self._close()

    def _schema(self, key: Hashable, read: Callable[[], Coroutine[Any, Any, T]]) -> Deferred[T]:
        """A schema, which is kept for as long as there is room."""

        def keep(found: T) -> T:
            self._schemas.put(key, found, _size(found))
            return found

        return self._ask(key, self._schemas, read, keep)

    def _fact(self, key: tuple[str | int | bytes, ...], read: Callable[[], Coroutine[Any, Any, T]]) -> Deferred[T]:
        """What a subject has, which is believed for a while."""
        subject = str(key[-1])
        if not subject or len(subject) > _MOST_SUBJECT:
            return fail(SchemaNotFound(f"{subject[:100]!r} is the name of no subject"))

        def keep(found: T) -> T:
            wait = self._memory.missing_s if found is False else self._memory.latest_s
            if wait > 0:
                self._facts.put(key, found, _size(found) + len(subject), self._clock.seconds() + wait)
            return found

        return self._ask(key, self._facts, read, keep)

    def _ask(
        self,
        key: Hashable,
        cache: Cache[object],
        read: Callable[[], Coroutine[Any, Any, T]],
        keep: Callable[[T], T],
    ) -> Deferred[T]:
        if not self._running:
            return fail(RegistryUnavailable("the schema registry is not asked now"))
        now = self._clock.seconds()
        held = cache.get(key, now)
        if held is not None:
            self._hits += 1
            return succeed(cast("T", held))
        refusal = self._refusals.get(key, now)
        if refusal is not None:
            self._hits += 1
            # an exception of its own for each: they are raised again, and grow with it
            return fail(type(refusal)(refusal.message))
        joined: Deferred[T] = self._flights.join(key, lambda: Deferred.fromCoroutine(self._read(key, read, keep)))
        return joined

    async def _read(self, key: Hashable, read: Callable[[], Coroutine[Any, Any, T]], keep: Callable[[T], T]) -> T:
        try:
            return keep(await read())
        except (SchemaNotFound, RegistryUnauthorised) as error:
            if self._memory.missing_s > 0:
                until = self._clock.seconds() + self._memory.missing_s
                self._refusals.put(key, type(error)(error.message), len(error.message), until)
            raise

    async def _by_id(self, schema_id: int) -> ResolvedSchema:
        what = f"schema {schema_id}"
        said = await self._get(f"/schemas/ids/{schema_id}", what)
        return await self._resolved(answers.known_as(answers.registered(said, what), schema_id=schema_id))

    async def _by_guid(self, guid: bytes) -> ResolvedSchema:
        what = f"schema {uuid.UUID(bytes=guid)}"
        # older registries have no such call, and say so in any way
        said = await self._get(f"/schemas/guids/{uuid.UUID(bytes=guid)}", what, known_call=False)
        return await self._resolved(answers.known_as(answers.registered(said, what), guid=guid))

    async def _resolved(self, schema: RegisteredSchema) -> ResolvedSchema:
        def fetch(subject: str, version: int) -> Deferred[RegisteredSchema]:
            if version == -1:
                return self._fact(("newest", subject), lambda: self._version(subject, "latest", deleted=True))
            key = ("version", subject, version)
            return self._schema(key, lambda: self._version(subject, str(version), deleted=True))

        return await resolve(schema, fetch)

    async def _version(self, subject: str, version: str, deleted: bool = False) -> RegisteredSchema:
        what = f"version {version} of subject {subject}"
        query = "?deleted=true" if deleted else ""
        said = await self._get(f"/subjects/{_encoded(subject)}/versions/{version}{query}", what)
        return answers.registered(said, what)

    async def _is_under(self, schema: int | bytes, subject: str) -> bool:
        if isinstance(schema, int):
            if not 0 < schema < 1 << 31:
                return False
            what = f"the versions of schema {schema}"
            answer = await self._http.get(f"/schemas/ids/{schema}/versions")
            if answer.status == 200:
                return any(name == subject for name, _ in answers.versions(answers.parse(answer), what))
            if answer.status == 404 and answers.error_code(answer):
                return False
            if answer.status not in (404, 405, 501):
                raise _odd(answer, what)
        # a registry without that call, or one that is asked by GUID
        return await self._is_found_under(schema, subject)

    async def _is_found_under(self, schema: int | bytes, subject: str) -> bool:
        """Have the registry look a schema's text up among the versions of a subject."""
        try:
            known = (await (self.by_id(schema) if isinstance(schema, int) else self.by_guid(schema))).schema
        except SchemaNotFound:
            return False
        body: dict[str, object] = {"schema": known.text, "schemaType": known.type.value}
        if known.references:
            body["references"] = [one._asdict() for one in known.references]
        what = f"subject {subject}"
        answer = await self._http.post(f"/subjects/{_encoded(subject)}", body)
        if answer.status == 404:
            return False
        if answer.status != 200:
            raise _odd(answer, what)
        found = answers.registered({**body, **_object(answers.parse(answer))}, what)
        if isinstance(schema, int):
            return found.id == schema
        return found.guid in (None, schema)

    async def _exists(self, subject: str) -> bool:
        what = f"subject {subject}"
        try:
            said = await self._get(f"/subjects/{_encoded(subject)}/versions", what)
        except SchemaNotFound:
            return False
        if not isinstance(said, list):
            raise RegistryUnavailable(f"{what}: not an answer of a schema registry, no list")
        return bool(said)

    async def _get(self, path: str, what: str, known_call: bool = True) -> Any:
        """
        The JSON of an answer, where it is no error.

        @param known_call: every registry has the call.
        """
        answer = await self._http.get(path)
        if 200 <= answer.status < 300:
            return answers.parse(answer)
        if answer.status in (404, 405, 422, 501):
            if known_call and answer.body:
                # what is no JSON at all is said by something else that answers there
                answers.parse(answer)
            said = answers.words(answer.body)
            raise SchemaNotFound(f"the schema registry has no {what}" + (f": {said}" if said else ""))
        raise _odd(answer, what)


def _looked(failure: Failure) -> None:
    if not failure.check(CancelledError):
        log.failure("a defect in asking the schema registry", failure)


def _odd(answer: Answer, what: str) -> RegistryUnavailable:
    return RegistryUnavailable(f"{what}: the schema registry answers HTTP {answer.status} {answers.words(answer.body)}")


def _object(said: Any) -> dict[str, Any]:
    return said if isinstance(said, dict) else {}


def _encoded(subject: str) -> str:
    """A subject as a segment of a path: it may hold slashes, colons and percent signs."""
    # "." and ".." would be taken for steps of the path
    return quote(subject, safe="").replace(".", "%2E") if not subject.strip(".") else quote(subject, safe="")


def _size(found: object) -> int:
    if isinstance(found, ResolvedSchema):
        return len(found.schema.text) + sum(len(one.text) for one in found.imports.values())
    return len(found.text) if isinstance(found, RegisteredSchema) else 0
