"""Configs altered while kgw runs: what a change makes of those that were set, and whether it may."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from kgw.config.definition import ConfigType, Definition, InvalidValue, Value
from kgw.config.kafka import GROUP, TOPIC
from kgw.errors import ErrorCode, KafkaError
from kgw.model import ConfigChange, ConfigOperation

#: Bounds of a group config: the broker properties that hold the least and the most.
_GROUP_BOUNDS = {
    "consumer.heartbeat.interval.ms": (
        "group.consumer.min.heartbeat.interval.ms",
        "group.consumer.max.heartbeat.interval.ms",
    ),
    "consumer.session.timeout.ms": ("group.consumer.min.session.timeout.ms", "group.consumer.max.session.timeout.ms"),
}

#: The longest string of Kafka's protocol: requests hold no longer value, nor could DescribeConfigs answer with one.
_MAX_VALUE_BYTES = 32_767

#: Broker properties that are altered without a restart besides those that topics inherit: who uses them is told.
_WATCHED = ("max.connections", "max.connections.per.ip")


def alterable(known: Iterable[Definition], topic_configs: Collection[str]) -> frozenset[str]:
    """
    The broker properties that can be altered without a restart: Kafka alters them, and here they then have effect.

    @param known: all properties.
    @param topic_configs: the topic configs that logs obey.
    """
    inherited = {synonym for name in topic_configs for synonym in TOPIC[name].synonyms}
    return frozenset(one.name for one in known if one.dynamic and (one.name in inherited or one.name in _WATCHED))


def altered(
    current: Mapping[str, str], changes: Iterable[ConfigChange], known: Mapping[str, Definition]
) -> dict[str, str]:
    """
    What is set after these changes, unchecked but for the lists.

    To a list that is not set, items are added to its default, as Kafka does, be the inherited one what it may.

    @param known: what may be set, by name.
    @raise KafkaError: C{INVALID_CONFIG}: items are to be added to what is no list, or taken from it; or to a list that
        is longer than any answer could tell.
    """
    configs = dict(current)
    for name, operation, value in changes:
        if operation is ConfigOperation.SET:
            configs[name] = value
        elif operation is ConfigOperation.DELETE:
            configs.pop(name, None)
        else:
            definition = known.get(name)
            if definition is None or definition.type is not ConfigType.LIST:
                raise KafkaError(
                    ErrorCode.INVALID_CONFIG,
                    f"Can't {operation.name} to key {name} because its type is not LIST.",
                )
            old = _items(configs.get(name, definition.default or ""))
            given = _items(value)
            items = ",".join(_with(old, given) if operation is ConfigOperation.APPEND else _without(old, given))
            if operation is ConfigOperation.APPEND and len(items.encode()) > _MAX_VALUE_BYTES:
                raise KafkaError(
                    ErrorCode.INVALID_CONFIG, f"The list {name} would be longer than {_MAX_VALUE_BYTES} bytes."
                )
            configs[name] = items
    return configs


def _items(text: str) -> list[str]:
    return [item for item in (part.strip() for part in text.split(",")) if item]


def _with(old: list[str], given: list[str]) -> list[str]:
    there = set(old)
    return old + [item for item in dict.fromkeys(given) if item not in there]


def _without(old: list[str], given: list[str]) -> list[str]:
    """Each item that is given takes away the first that is equal to it, if any."""
    taken = Counter(given)
    kept = []
    for item in old:
        if taken[item]:
            taken[item] -= 1
        else:
            kept.append(item)
    return kept


def check_broker(configs: Mapping[str, str], known: Mapping[str, Definition], names: Collection[str]) -> None:
    """
    Check properties that are to be set on a broker, each by itself.

    @param names: those that may be.
    @raise KafkaError: C{INVALID_REQUEST}, with Kafka's own sentences; it does not say C{INVALID_CONFIG} of brokers.
    """
    unknown = sorted(configs.keys() - known.keys())
    if unknown:
        raise KafkaError(ErrorCode.INVALID_REQUEST, f"Unknown broker config name: {unknown[0]}")
    fixed = sorted(configs.keys() - names)
    if fixed:
        raise KafkaError(ErrorCode.INVALID_REQUEST, f"Cannot update these configs dynamically: Set({', '.join(fixed)})")
    values = _parse(configs, known, ErrorCode.INVALID_REQUEST)
    for name in _WATCHED:
        if values.get(name) == 0:
            # Kafka takes it: its controllers, which have listeners of their own, can still be told
            raise KafkaError(
                ErrorCode.INVALID_REQUEST,
                f"Invalid value 0 for configuration {name}: nobody could connect any more to alter it again",
            )


def check_group(configs: Mapping[str, str], broker: Mapping[str, Value]) -> None:
    """
    Check configs that are to be set on a group (Kafka: C{GroupConfig.validate}).

    @param broker: what is in force, by broker property.
    @raise KafkaError: C{INVALID_CONFIG}, with Kafka's own sentences, and for configs of share groups, which are not
        served here.
    """
    for name in configs:
        if name not in GROUP:
            raise KafkaError(ErrorCode.INVALID_CONFIG, f"Unknown group config name: {name}")
        if name not in _GROUP_BOUNDS:
            raise KafkaError(ErrorCode.INVALID_CONFIG, f"{name} is not available: this server has no share groups")
    own = _parse(configs, GROUP, ErrorCode.INVALID_CONFIG)
    values = {name: own.get(name, broker[GROUP[name].synonyms[0]]) for name in _GROUP_BOUNDS}
    for name, (least, most) in _GROUP_BOUNDS.items():
        value, minimum, maximum = values[name], broker[least], broker[most]
        assert isinstance(value, int) and isinstance(minimum, int) and isinstance(maximum, int)
        if value < minimum:
            raise KafkaError(ErrorCode.INVALID_CONFIG, f"{name} must be greater than or equal to {least}")
        if value > maximum:
            raise KafkaError(ErrorCode.INVALID_CONFIG, f"{name} must be less than or equal to {most}")
    session, heartbeat = values["consumer.session.timeout.ms"], values["consumer.heartbeat.interval.ms"]
    assert isinstance(session, int) and isinstance(heartbeat, int)
    if session <= heartbeat:
        raise KafkaError(
            ErrorCode.INVALID_CONFIG,
            "consumer.session.timeout.ms must be greater than consumer.heartbeat.interval.ms",
        )


def _parse(configs: Mapping[str, str], known: Mapping[str, Definition], code: ErrorCode) -> dict[str, Value]:
    values = {}
    for name, text in configs.items():
        try:
            values[name] = known[name].parse(text)
        except InvalidValue as reason:
            shown = "[hidden]" if known[name].sensitive else text
            raise KafkaError(code, f"Invalid value {shown} for configuration {name}: {reason}") from None
    return values
