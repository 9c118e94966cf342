"""Under which subject the registry must have a schema before values of it are taken (Confluent's naming strategies)."""

from __future__ import annotations

import json

from kgw.schema.model import ResolvedSchema, SchemaType

TOPIC_NAME, RECORD_NAME, TOPIC_RECORD_NAME = (
    "TopicNameStrategy",
    "RecordNameStrategy",
    "TopicRecordNameStrategy",
)


def value_subject(topic: str) -> str:
    """The subject of a topic's values where the topic alone names it."""
    return f"{topic}-value"


def subject_of(strategy: str, topic: str, record: str) -> str | None:
    """
    The subject of a value.

    @param record: the full name of its type, empty where it has none.
    @return: C{None}: it has none, for want of that name.
    """
    if strategy == TOPIC_NAME:
        return value_subject(topic)
    if not record:
        return None
    return record if strategy == RECORD_NAME else f"{topic}-{record}"


def record_name(resolved: ResolvedSchema) -> str:
    """
    The full name of what a schema of Avro or JSON Schema describes, as Confluent's serializers take it: the name of a
    record, enum or fixed with its namespace; the C{title}.

    @return: empty where it has none. Of Protobuf each message has its own (L{kgw.schema.protobuf}).
    """
    try:
        found = json.loads(resolved.schema.text)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(found, dict):
        return ""
    if resolved.schema.type is SchemaType.JSON:
        title = found.get("title")
        return title if isinstance(title, str) else ""
    name, space = found.get("name"), found.get("namespace")
    if not isinstance(name, str):
        return ""
    return f"{space}.{name}" if isinstance(space, str) and space and "." not in name else name
