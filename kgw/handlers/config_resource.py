"""What has configs, and how the configs of one are altered, for AlterConfigs and IncrementalAlterConfigs alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from enum import IntEnum
from typing import TypeVar

from twisted.internet.task import deferLater

from kgw.errors import ErrorCode, KafkaError
from kgw.handlers.contract import Call
from kgw.model import ConfigChange, ConfigOperation

T = TypeVar("T")

#: So many resources are worked on before others get their turn; each takes up to half a millisecond.
_SLICE = 50


class ResourceType(IntEnum):
    """What has configs (Kafka: C{ConfigResource.Type})."""

    UNKNOWN = 0
    TOPIC = 2
    BROKER = 4
    BROKER_LOGGER = 8
    CLIENT_METRICS = 16
    GROUP = 32


def unsupported(resource_type: int) -> KafkaError:
    """The refusal of a type that has no configs here, known to Kafka or not."""
    known = {kind.value: kind.name for kind in ResourceType}
    return KafkaError(
        ErrorCode.INVALID_REQUEST,
        f"Unsupported resource type: {known.get(resource_type, str(resource_type))};"
        " this server has configs of TOPIC, BROKER and GROUP",
    )


async def by_turns(items: Sequence[T], call: Call) -> AsyncIterator[T]:
    """The items one by one; between slices of them the reactor does other things, for a request may hold very many."""
    for number, item in enumerate(items):
        if number and number % _SLICE == 0:
            await deferLater(call.services.clock, 0)
        yield item


def check_broker(name: str, node_id: int, or_empty: bool = False) -> None:
    """
    Check that the name of a broker is that of this one.

    @param or_empty: the refusal says that it might be empty too.
    @raise KafkaError: C{INVALID_REQUEST}.
    """
    what = "Broker id" if or_empty else "Node id"
    try:
        asked = int(name)
    except ValueError:
        raise KafkaError(ErrorCode.INVALID_REQUEST, f"{what} must be an integer, but it is: {name}") from None
    if asked != node_id:
        expected = f"{node_id} or empty string" if or_empty else f"{node_id}"
        raise KafkaError(ErrorCode.INVALID_REQUEST, f"Unexpected broker id, expected {expected}, but received {name}")


def changes_of(configs: Iterable[tuple[str, int, str | None]]) -> list[ConfigChange]:
    """
    What a request wants to be changed of one resource.

    @param configs: name, number of the operation, value.
    @raise KafkaError: C{INVALID_REQUEST}: a name is there twice, a value is missing or an operation is none.
    """
    rows = list(configs)
    names = Counter(name for name, _, _ in rows)
    if len(names) < len(rows):
        raise KafkaError(ErrorCode.INVALID_REQUEST, "Error due to duplicate config keys")
    nulls = [name for name, operation, value in rows if value is None and operation != ConfigOperation.DELETE]
    if nulls:
        raise KafkaError(ErrorCode.INVALID_REQUEST, f"Null value not supported for : {', '.join(nulls)}")
    changes = []
    for name, number, value in rows:
        try:
            operation = ConfigOperation(number)
        except ValueError:
            raise KafkaError(ErrorCode.INVALID_REQUEST, f"Unknown operation {number} on config {name}") from None
        changes.append(ConfigChange(name, operation, value or ""))
    return changes


async def alter(
    resource_type: int, name: str, changes: Sequence[ConfigChange], replacing: bool, validate_only: bool, call: Call
) -> None:
    """
    Alter the configs of one resource; durable and obeyed when this returns.

    @param replacing: what is not among C{changes} is not set any more.
    @param validate_only: nothing changes.
    @raise KafkaError: as the topic catalog and L{kgw.log.dynamic_configs} do; C{INVALID_REQUEST} for what has none.
    """
    services = call.services
    if resource_type == ResourceType.TOPIC:
        if not name:
            raise KafkaError(ErrorCode.INVALID_REQUEST, "Default topic resources are not allowed.")
        await services.topics.alter(name, changes, replacing, validate_only)
    elif resource_type == ResourceType.BROKER:
        if name:
            check_broker(name, services.cluster.node_id)
        await services.dynamic_configs.alter_broker(changes, not name, replacing, validate_only)
    elif resource_type == ResourceType.GROUP:
        if not name:
            raise KafkaError(ErrorCode.INVALID_REQUEST, "Default group resources are not allowed.")
        await services.dynamic_configs.alter_group(name, changes, replacing, validate_only)
    else:
        raise unsupported(resource_type)
