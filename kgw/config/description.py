"""Configs as DescribeConfigs shows them: value, where it comes from, and what else would have given one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from kgw.config.definition import ConfigType, Definition, Value, text_of
from kgw.config.kafka import GROUP, TOPIC


class ConfigSource(IntEnum):
    """Where a value comes from, by DescribeConfigs' numbers (Kafka: C{DescribeConfigsResponse.ConfigSource})."""

    DYNAMIC_TOPIC_CONFIG = 1
    STATIC_BROKER_CONFIG = 4
    DEFAULT_CONFIG = 5


class ConfigSynonym(NamedTuple):
    """A property that gives the value, or would if those before it were not set; C{None} hides a sensitive value."""

    name: str
    value: str | None
    source: ConfigSource


@dataclass(frozen=True, slots=True)
class ConfigEntry:
    """
    One config as a client is told it.

    @ivar value: its text; C{None} where it has none or is sensitive.
    @ivar source: where the value comes from, as far as C{synonyms} can tell: Kafka says DEFAULT_CONFIG of a topic
        config that the broker has under a name of another unit, such as log.retention.hours.
    @ivar synonyms: the first is the one in force.
    @ivar documentation: one sentence; C{None} where kgw makes no use of it.
    """

    name: str
    value: str | None
    read_only: bool
    source: ConfigSource
    sensitive: bool
    type: ConfigType
    synonyms: tuple[ConfigSynonym, ...]
    documentation: str | None


#: Broker properties that are one setting in several units, the one that goes first in front.
_FAMILIES: tuple[tuple[str, ...], ...] = (
    ("log.roll.ms", "log.roll.hours"),
    ("log.roll.jitter.ms", "log.roll.jitter.hours"),
    ("log.flush.interval.ms", "log.flush.scheduler.interval.ms"),
    ("log.retention.ms", "log.retention.minutes", "log.retention.hours"),
)
_FAMILY = {name: family for family in _FAMILIES for name in family}
# Kafka puts log.flush.scheduler.interval.ms behind log.flush.interval.ms, and not the other way round.
_FAMILY["log.flush.scheduler.interval.ms"] = ("log.flush.scheduler.interval.ms",)


def topic_entries(
    own: Mapping[str, str],
    inherited: Mapping[str, Value],
    static: Mapping[str, str],
    broker: Mapping[str, Definition],
) -> list[ConfigEntry]:
    """
    Every topic config of a topic, as Kafka's C{ConfigHelper} makes them.

    @param own: what is set on the topic.
    @param inherited: what it has without that.
    @param static: the broker properties that were set.
    """
    entries = []
    for name, definition in TOPIC.items():
        value = text_of(definition.parse(own[name]) if name in own else inherited[name])
        synonyms = _broker_synonyms(definition.synonyms[0], static, broker) if definition.synonyms else []
        if name in own:
            synonyms.insert(0, ConfigSynonym(name, value, ConfigSource.DYNAMIC_TOPIC_CONFIG))
        docs = (broker[synonym].doc for synonym in definition.synonyms)
        entries.append(_entry(definition, value, False, synonyms, next(filter(None, docs), None)))
    return entries


def group_entries(
    values: Mapping[str, Value], static: Mapping[str, str], broker: Mapping[str, Definition]
) -> list[ConfigEntry]:
    """
    Every group config, for any group: none can be set on one, so each has the value of its broker property.

    @param values: what is in force, by broker property.
    """
    entries = []
    for definition in GROUP.values():
        synonym = definition.synonyms[0]
        synonyms = _broker_synonyms(synonym, static, broker)
        entries.append(_entry(definition, text_of(values[synonym]), False, synonyms, broker[synonym].doc or None))
    return entries


def broker_entries(
    values: Mapping[str, Value], static: Mapping[str, str], broker: Mapping[str, Definition]
) -> list[ConfigEntry]:
    """
    Every broker property: Kafka's, kgw's own, and behind them those that were set and are neither.

    The last have no type, so that Kafka takes them for sensitive and hides their values.

    @param values: what is in force, by name.
    """
    entries = []
    for name, definition in broker.items():
        value = None if definition.sensitive else text_of(values.get(name))
        synonyms = _broker_synonyms(name, static, broker)
        entries.append(_entry(definition, value, not definition.dynamic, synonyms, definition.doc or None))
    for name in sorted(static.keys() - broker.keys()):
        synonyms = [ConfigSynonym(name, None, ConfigSource.STATIC_BROKER_CONFIG)]
        entries.append(_entry(Definition(name, ConfigType.UNKNOWN), None, True, synonyms, None, sensitive=True))
    return entries


def _broker_synonyms(name: str, static: Mapping[str, str], broker: Mapping[str, Definition]) -> list[ConfigSynonym]:
    family = _FAMILY.get(name, (name,))
    found = [
        ConfigSynonym(member, None if broker[member].sensitive else static[member], ConfigSource.STATIC_BROKER_CONFIG)
        for member in family
        if member in static
    ]
    for member in family:
        if broker[member].default is not None:
            shown = None if broker[member].sensitive else broker[member].default
            found.append(ConfigSynonym(member, shown, ConfigSource.DEFAULT_CONFIG))
    # Kafka begins with the property itself and drops what goes before it.
    first = next((index for index, synonym in enumerate(found) if synonym.name == name), len(found))
    return found[first:]


def _entry(
    definition: Definition,
    value: str | None,
    read_only: bool,
    synonyms: Sequence[ConfigSynonym],
    documentation: str | None,
    sensitive: bool | None = None,
) -> ConfigEntry:
    return ConfigEntry(
        name=definition.name,
        value=value,
        read_only=read_only,
        source=synonyms[0].source if synonyms else ConfigSource.DEFAULT_CONFIG,
        sensitive=definition.sensitive if sensitive is None else sensitive,
        type=definition.type,
        synonyms=tuple(synonyms),
        documentation=documentation,
    )
