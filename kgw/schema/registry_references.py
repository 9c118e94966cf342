"""Follows the references of a schema to all that it needs, within bounds."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred

from kgw.schema.model import Reference, RegisteredSchema, ResolvedSchema, SchemaNotFound
from kgw.schema.registry_answers import MOST_REFERENCES

#: How far references may lead from the schema, and how much text all of them may have.
MOST_DEPTH = 32
MOST_BYTES = 16 << 20

Fetch = Callable[[str, int], Deferred[RegisteredSchema]]


async def resolve(schema: RegisteredSchema, fetch: Fetch) -> ResolvedSchema:
    """
    A schema with everything it refers to.

    A name that is there already is not asked for again, be it of another version: the first one counts, as for
    Confluent's serialisers (C{AbstractSchemaProvider.resolveReferences}).

    @param fetch: a version of a subject, deleted ones too; -1 is the latest.
    @raise SchemaNotFound: it refers to itself, to too much, or to what is not there.
    """
    walk = _Walk(schema, fetch)
    await walk.follow(schema, {})
    return ResolvedSchema(schema, walk.imports)


class _Walk:
    """
    One schema being resolved.

    @ivar imports: as L{ResolvedSchema} has them.
    """

    def __init__(self, schema: RegisteredSchema, fetch: Fetch) -> None:
        self.imports: dict[str, RegisteredSchema] = {}
        self._name = f"schema {schema.id or (schema.guid or b'').hex()}"
        self._fetch = fetch
        self._bytes = 0
        self._asked = 0

    async def follow(self, schema: RegisteredSchema, way: dict[str, Reference]) -> None:
        """
        Add what a schema refers to.

        @param way: the references that lead to it, by name.
        """
        if schema.references and len(way) >= MOST_DEPTH:
            raise SchemaNotFound(f"{self._name} refers to others over more than {MOST_DEPTH} steps")
        for reference in schema.references:
            if reference.name in self.imports:
                continue
            if reference.name in way:
                if way[reference.name] == reference:
                    raise SchemaNotFound(f"{self._name} refers to {reference.name}, which refers to itself")
                continue
            found = await self._read(reference)
            await self.follow(found, {**way, reference.name: reference})
            self.imports[reference.name] = found

    async def _read(self, reference: Reference) -> RegisteredSchema:
        self._asked += 1
        if self._asked > MOST_REFERENCES:
            raise SchemaNotFound(f"{self._name} refers to more than {MOST_REFERENCES} others")
        try:
            found = await self._fetch(reference.subject, reference.version)
        except SchemaNotFound as error:
            raise SchemaNotFound(f"{self._name} refers to {reference.name}: {error.message}") from error
        self._bytes += len(found.text)
        if self._bytes > MOST_BYTES:
            raise SchemaNotFound(f"{self._name} refers to more than {MOST_BYTES} bytes of others")
        return found
