"""The schema registry's twin in memory, for tests of what asks one."""

from __future__ import annotations

from collections.abc import Mapping

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from kgw.schema.interfaces import ISchemaRegistry
from kgw.schema.model import (
    RegisteredSchema,
    RegistryState,
    RegistryUnavailable,
    ResolvedSchema,
    SchemaNotFound,
)
from kgw.schema.registry_book import SchemaBook
from kgw.schema.registry_references import resolve


@implementer(ISchemaRegistry)
class MemorySchemaRegistry:
    """
    Answers at once from a book that the test writes, or not at all.

    @ivar book: what is registered.
    @ivar failure: what every question fails with while it is set: an error of L{kgw.schema.model}'s.
    @ivar asked: how many questions there were.
    """

    def __init__(self, book: SchemaBook | None = None) -> None:
        self.book = book or SchemaBook()
        self.failure: Exception | None = RegistryUnavailable("the schema registry is not asked now")
        self.asked = self.errors = 0
        self._held: dict[object, ResolvedSchema] = {}

    @property
    def state(self) -> RegistryState:
        """See L{ISchemaRegistry}."""
        return RegistryState() if self.failure is None else RegistryState(False, str(self.failure))

    def start(self) -> Deferred[None]:
        """See L{ISchemaRegistry.start}."""
        self.failure = None
        return succeed(None)

    def stop(self) -> Deferred[None]:
        """See L{ISchemaRegistry.stop}."""
        self.failure = RegistryUnavailable("the schema registry is not asked any more")
        return succeed(None)

    def by_id(self, schema_id: int) -> Deferred[ResolvedSchema]:
        """See L{ISchemaRegistry.by_id}."""
        return self._resolved(schema_id, self.book.by_id(schema_id), f"schema {schema_id}")

    def by_guid(self, guid: bytes) -> Deferred[ResolvedSchema]:
        """See L{ISchemaRegistry.by_guid}."""
        return self._resolved(guid, self.book.by_guid(guid), f"schema {guid.hex()}")

    def latest(self, subject: str) -> Deferred[RegisteredSchema]:
        """See L{ISchemaRegistry.latest}."""
        return self._one(self.book.version(subject, -1), f"latest version of subject {subject}")

    def is_under(self, schema: int | bytes, subject: str) -> Deferred[bool]:
        """See L{ISchemaRegistry.is_under}."""
        known = self.book.by_id(schema) if isinstance(schema, int) else self.book.by_guid(schema)
        return self._answer(known is not None and any(name == subject for name, _ in self.book.places(known.id)))

    def exists(self, subject: str) -> Deferred[bool]:
        """See L{ISchemaRegistry.exists}."""
        return self._answer(bool(self.book.versions(subject)))

    def measure(self) -> Mapping[str, float]:
        """See L{ISchemaRegistry.measure}."""
        return {
            "kgw_schema_registry_up": float(self.state.available),
            "kgw_schema_registry_requests_total": self.asked,
            "kgw_schema_registry_errors_total": self.errors,
        }

    def describe(self) -> str:
        """See L{ISchemaRegistry.describe}."""
        return "memory"

    def _answer(self, value: bool) -> Deferred[bool]:
        return fail(self.failure) if self._fails() else succeed(value)

    def _one(self, found: RegisteredSchema | None, what: str) -> Deferred[RegisteredSchema]:
        if self._fails():
            return fail(self.failure)
        if found is None:
            return fail(SchemaNotFound(f"the schema registry has no {what}"))
        return succeed(found)

    def _resolved(self, key: object, found: RegisteredSchema | None, what: str) -> Deferred[ResolvedSchema]:
        if self._fails():
            return fail(self.failure)
        if found is None:
            return fail(SchemaNotFound(f"the schema registry has no {what}"))
        if key in self._held:
            return succeed(self._held[key])

        def fetch(subject: str, version: int) -> Deferred[RegisteredSchema]:
            return self._one(
                self.book.version(subject, version, deleted=True), f"version {version} of subject {subject}"
            )

        async def read(schema: RegisteredSchema) -> ResolvedSchema:
            self._held[key] = resolved = await resolve(schema, fetch)
            return resolved

        return Deferred.fromCoroutine(read(found))

    def _fails(self) -> bool:
        self.asked += 1
        self.errors += self.failure is not None
        return self.failure is not None
