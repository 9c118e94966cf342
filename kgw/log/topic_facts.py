"""The facts of topics: what is stored of one, and how."""

from __future__ import annotations

import base64
import json
from uuid import uuid4

from kgw.errors import ErrorCode, KafkaError
from kgw.log.topic_rules import MAX_PARTITIONS, check_name
from kgw.model import Topic

#: What the keys begin with, in front of the topic's name.
PREFIX = "topics/"

#: The largest fact that a state store takes, in bytes.
_MAX_FACT_BYTES = 1 << 20


def new_id() -> bytes:
    """A random topic id; none that starts with "-" in base64url, which command lines take for an option."""
    while True:
        made = uuid4().bytes
        if not base64.urlsafe_b64encode(made).startswith(b"-"):
            return made


def encode_topic(topic: Topic) -> bytes:
    """
    A topic as its fact's value.

    @raise KafkaError: C{INVALID_CONFIG}: its configs are too large.
    """
    fact = {
        "id": base64.urlsafe_b64encode(topic.id).decode().rstrip("="),
        "partitions": topic.partitions,
        "configs": dict(topic.configs),
    }
    encoded = json.dumps(fact, sort_keys=True).encode()
    if len(encoded) > _MAX_FACT_BYTES:
        raise KafkaError(ErrorCode.INVALID_CONFIG, f"The configs of topic '{topic.name}' are too large.")
    return encoded


def found_topic(name: str, partitions: int) -> tuple[str, bytes]:
    """
    The fact, key and value, of a topic that an engine was found to hold, with a new id.

    It is committed before L{TopicCatalog.start} by whoever opens the engine, unless there is such a key.

    @raise KafkaError: C{INVALID_TOPIC_EXCEPTION} or C{INVALID_PARTITIONS}: there cannot be such a topic.
    """
    check_name(name)
    if not 0 < partitions <= MAX_PARTITIONS:
        raise KafkaError(ErrorCode.INVALID_PARTITIONS, f"{partitions} partitions")
    return PREFIX + name, encode_topic(Topic(name, new_id(), partitions, {}, ()))


def stored_topic(key: str, value: bytes) -> Topic:
    """
    A topic by its fact, without its replicas.

    @raise KafkaError: C{KAFKA_STORAGE_ERROR}: it is damaged.
    """
    try:
        fact = json.loads(value)
        id = base64.b64decode(fact["id"] + "==", altchars=b"-_", validate=True)
        count = int(fact["partitions"])
        configs = {str(name): str(text) for name, text in fact["configs"].items()}
        if len(id) != 16 or not 0 < count <= MAX_PARTITIONS:
            raise ValueError("the id or the number of partitions is out of bounds")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, f"the stored fact {key!r} is damaged: {error}") from error
    return Topic(key.removeprefix(PREFIX), id, count, configs, ())
