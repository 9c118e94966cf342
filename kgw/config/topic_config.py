"""Topic configs: what they default to on this node, whether one may be set, and what a log makes of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from kgw.config.definition import ConfigError, InvalidValue, Value, text_of
from kgw.config.kafka import TOPIC
from kgw.errors import ErrorCode, KafkaError
from kgw.model import LogConfig

_MINUTE_MS = 60_000
_HOUR_MS = 60 * _MINUTE_MS
#: What one of these broker properties counts, in the milliseconds of the topic config.
_FACTORS = {"log.retention.minutes": _MINUTE_MS}
_FACTORS.update(dict.fromkeys(("log.retention.hours", "log.roll.hours", "log.roll.jitter.hours"), _HOUR_MS))

#: LogConfig's fields by topic config name.
FIELDS = {field.name.replace("_", "."): field.name for field in fields(LogConfig) if field.init}


def defaults(broker: Mapping[str, Value], shown: Callable[[str], str]) -> dict[str, Value]:
    """
    What a topic has that sets nothing: of the broker properties behind each config the first that is set, converted.

    @param broker: values by broker property, unset ones missing.
    @param shown: a broker property, its value and place, to begin an error with.
    @raise ConfigError: a time in hours or minutes is none of the topic config's values.
    """
    resolved: dict[str, Value] = {}
    for name, definition in TOPIC.items():
        value = None if definition.default is None else definition.parse(definition.default)
        for synonym in definition.synonyms:
            given = broker.get(synonym)
            if given is None:
                continue
            value = given * _FACTORS.get(synonym, 1) if isinstance(given, int) and synonym in _FACTORS else given
            if name == "retention.ms" and isinstance(value, int) and value < 0:
                value = -1  # Kafka: any negative time is "no limit"
            try:
                definition.parse(text_of(value) or "")
            except InvalidValue as reason:
                raise ConfigError(f"{shown(synonym)}: {reason}; allowed for {name}: {definition.allowed()}") from None
            if name == "retention.ms" and value == 0:
                raise ConfigError(f"{shown(synonym)}: allowed: -1 for no limit, or 1 and more")
            break
        resolved[name] = value
    return resolved


def parse(configs: Mapping[str, str | None]) -> dict[str, Value]:
    """
    A topic's own configs, typed.

    @raise KafkaError: C{INVALID_CONFIG}: a name that is none, or a value that is not allowed; Kafka's sentences.
    """
    values: dict[str, Value] = {}
    for name, text in configs.items():
        definition = TOPIC.get(name)
        if definition is None:
            raise KafkaError(ErrorCode.INVALID_CONFIG, f"Unknown topic config name: {name}")
        if text is None:
            raise KafkaError(ErrorCode.INVALID_CONFIG, f"Null value not supported for topic configs: {name}")
        try:
            values[name] = definition.parse(text)
        except InvalidValue as reason:
            raise KafkaError(
                ErrorCode.INVALID_CONFIG, f"Invalid value {text} for configuration {name}: {reason}"
            ) from None
    return values


def validate(configs: Mapping[str, str | None], inherited: Mapping[str, Value]) -> None:
    """
    Check a topic's own configs, each by itself and with what it inherits (Kafka: C{LogConfig.validate}).

    @raise KafkaError: C{INVALID_CONFIG}.
    """
    own = parse(configs)
    least, most = ({**inherited, **own}[name] for name in ("min.compaction.lag.ms", "max.compaction.lag.ms"))
    if isinstance(least, int) and isinstance(most, int) and least > most:
        raise KafkaError(
            ErrorCode.INVALID_CONFIG,
            f"conflict topic config setting min.compaction.lag.ms ({least}) > max.compaction.lag.ms ({most})",
        )
    if own.get("remote.storage.enable"):
        raise KafkaError(
            ErrorCode.INVALID_CONFIG,
            "Tiered Storage functionality is disabled in the broker."
            " Topic cannot be configured with remote log storage.",
        )


def resolve(own: Mapping[str, Value], inherited: Mapping[str, Value]) -> LogConfig:
    """What a log obeys, of a topic's own configs and those it inherits."""
    chosen: dict[str, Any] = {field: own.get(name, inherited[name]) for name, field in FIELDS.items()}
    return LogConfig(**chosen)
