"""What a registry's answers say: schemas, versions, and errors in all the shapes there are."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from kgw.schema.model import Reference, RegisteredSchema, RegistryUnavailable, SchemaNotFound, SchemaType

#: Characters of a registry's own words that go into a message.
_MOST_WORDS = 200
#: References that one schema may name.
MOST_REFERENCES = 256


class Answer(NamedTuple):
    """
    An answer over HTTP that is no failure of the registry's.

    @ivar status: of HTTP.
    """

    status: int
    body: bytes


class _Strange(Exception):
    """An answer is none that a schema registry gives; the message says what is wrong."""


def parse(answer: Answer) -> Any:
    """
    The JSON of an answer.

    @raise RegistryUnavailable: it is none, so that this is no registry.
    """
    try:
        return json.loads(answer.body)
    except (ValueError, RecursionError) as error:
        raise RegistryUnavailable(
            f"not an answer of a schema registry: HTTP {answer.status}, {words(answer.body)!r}"
        ) from error


def error_code(answer: Answer) -> int:
    """The registry's own number of an error, such as 40403; 0 where there is none."""
    try:
        code = json.loads(answer.body).get("error_code")
    except (ValueError, RecursionError, AttributeError):
        return 0
    return code if isinstance(code, int) else 0


def words(body: bytes) -> str:
    """
    What an error says, in a line for people.

    A registry says C{{"message": "..."}} or C{{"message": [...]}}, and others in front of it a bare string or a page.
    """
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        said = body[: 4 * _MOST_WORDS].decode("utf-8", "replace")
    if isinstance(said, Mapping):
        said = said.get("message", said.get("detail", ""))
    if isinstance(said, list):
        said = "; ".join(str(one.get("msg", one)) if isinstance(one, Mapping) else str(one) for one in said[:10])
    text = " ".join("".join(c if c.isprintable() else " " for c in str(said)[: 4 * _MOST_WORDS]).split())
    return text if len(text) <= _MOST_WORDS else f"{text[:_MOST_WORDS]} ..."


def registered(said: Any, what: str) -> RegisteredSchema:
    """
    A schema as any of the calls tells it.

    @param what: it was that was asked for, to begin an error with.
    @raise RegistryUnavailable: that is no schema.
    @raise SchemaNotFound: it is of a kind that kgw does not know.
    """
    try:
        return _registered(said, what)
    except _Strange as error:
        raise RegistryUnavailable(f"{what}: not an answer of a schema registry, {error}") from error


def _registered(said: Any, what: str) -> RegisteredSchema:
    if not isinstance(said, Mapping):
        raise _Strange("no object")
    text, kind = said.get("schema"), said.get("schemaType") or SchemaType.AVRO
    if not isinstance(text, str) or not isinstance(kind, str):
        raise _Strange("it has no schema")
    references = said.get("references") or []
    if not isinstance(references, list):
        raise _Strange("its references are no list")
    if len(references) > MOST_REFERENCES:
        raise SchemaNotFound(f"{what} refers to more than {MOST_REFERENCES} others")
    if kind.upper() not in SchemaType.__members__:
        raise SchemaNotFound(f"{what} is of type {kind[:_MOST_WORDS]}, which is none of {', '.join(SchemaType)}")
    return RegisteredSchema(
        id=_number(said, "id"),
        type=SchemaType(kind.upper()),
        text=text,
        references=tuple(_reference(one) for one in references),
        guid=_guid(said.get("guid")),
        version=_number(said, "version"),
    )


def known_as(schema: RegisteredSchema, schema_id: int = 0, guid: bytes | None = None) -> RegisteredSchema:
    """The schema with what it was asked for by, where the registry did not say that again."""
    return replace(schema, id=schema_id or schema.id, guid=guid or schema.guid)


def _number(said: Mapping[str, Any], name: str) -> int:
    number = said.get(name, 0)
    return number if isinstance(number, int) and not isinstance(number, bool) and 0 < number < 1 << 31 else 0


def _guid(text: object) -> bytes | None:
    try:
        return uuid.UUID(text).bytes if isinstance(text, str) else None
    except ValueError:
        return None


def _reference(said: object) -> Reference:
    if not isinstance(said, Mapping):
        raise _Strange("a reference is no object")
    name, subject, version = said.get("name"), said.get("subject"), said.get("version")
    if not isinstance(name, str) or not isinstance(subject, str) or not isinstance(version, int):
        raise _Strange("a reference has no name, subject or version")
    return Reference(name, subject, version)


def versions(said: Any, what: str) -> list[tuple[str, int]]:
    """
    Subjects and versions of a schema: C{[{"subject": ..., "version": ...}]}.

    @raise RegistryUnavailable: they are none.
    """
    if not isinstance(said, list):
        raise RegistryUnavailable(f"{what}: not an answer of a schema registry, no list")
    found = []
    for one in said:
        if not isinstance(one, Mapping) or not isinstance(one.get("subject"), str):
            raise RegistryUnavailable(f"{what}: not an answer of a schema registry, a version has no subject")
        found.append((one["subject"], _number(one, "version")))
    return found
