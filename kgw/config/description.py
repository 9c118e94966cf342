"""Configs as DescribeConfigs shows them: value, where it comes from, and what else would have given one."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from kgw.config.definition import ConfigType, Definition, Value, text_of
from kgw.config.kafka import GROUP, TOPIC


class ConfigSource(IntEnum):
    """Where a value comes from, by DescribeConfigs' numbers (Kafka: C{DescribeConfigsResponse.ConfigSource})."""

    DYNAMIC_TOPIC_CONFIG = 1
    DYNAMIC_BROKER_CONFIG = 2
    DYNAMIC_DEFAULT_BROKER_CONFIG = 3
    STATIC_BROKER_CONFIG = 4
    DEFAULT_CONFIG = 5
    GROUP_CONFIG = 8


#: The broker properties that were set, by where that was done; what goes first stands in front. Defaults are not there.
Layers = Sequence[tuple[ConfigSource, Mapping[str, str]]]


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
    layers: Layers,
    broker: Mapping[str, Definition],
) -> list[ConfigEntry]:
    """
    Every topic config of a topic, as Kafka's C{ConfigHelper} makes them.

    @param own: what is set on the topic.
    @param inherited: what it has without that.
    """
    entries = []
    for name, definition in TOPIC.items():
        value = text_of(definition.parse(own[name]) if name in own else inherited[name])
        synonyms = _broker_synonyms(definition.synonyms[0], layers, broker) if definition.synonyms else []
        if name in own:
            synonyms.insert(0, ConfigSynonym(name, value, ConfigSource.DYNAMIC_TOPIC_CONFIG))
        docs = (broker[synonym].doc for synonym in definition.synonyms)
        entries.append(_entry(definition, value, False, synonyms, next(filter(None, docs), None)))
    return entries


def group_entries(
    own: Mapping[str, str], values: Mapping[str, Value], layers: Layers, broker: Mapping[str, Definition]
) -> list[ConfigEntry]:
    """
    Every group config of a group; what is not set on it has the value of its broker property.

    @param own: what is set on the group.
    @param values: what is in force, by broker property.
    """
    entries = []
    for name, definition in GROUP.items():
        behind = definition.synonyms[0]
        value = text_of(definition.parse(own[name]) if name in own else values[behind])
        synonyms = _broker_synonyms(behind, layers, broker)
        if name in own:
            synonyms.insert(0, ConfigSynonym(name, value, ConfigSource.GROUP_CONFIG))
        entries.append(_entry(definition, value, False, synonyms, broker[behind].doc or None))
    return entries


def broker_entries(
    values: Mapping[str, Value], layers: Layers, broker: Mapping[str, Definition], alterable: Collection[str]
) -> list[ConfigEntry]:
    """
    Every broker property: Kafka's, kgw's own, and behind them those that were set and are neither.

    The last have no type, so that Kafka takes them for sensitive and hides their values.

    @param values: what is in force, by name.
    @param alterable: the names that can be altered without a restart; the others are read-only.
    """
    entries = []
    for name, definition in broker.items():
        value = None if definition.sensitive else text_of(values.get(name))
        synonyms = _broker_synonyms(name, layers, broker)
        entries.append(_entry(definition, value, name not in alterable, synonyms, definition.doc or None))
    strangers = {name: source for source, texts in reversed(layers) for name in texts if name not in broker}
    for name in sorted(strangers):
        hidden = [ConfigSynonym(name, None, strangers[name])]
        entries.append(_entry(Definition(name, ConfigType.UNKNOWN), None, True, hidden, None, sensitive=True))
    return entries


def default_entries(texts: Mapping[str, str], broker: Mapping[str, Definition]) -> list[ConfigEntry]:
    """The broker properties that were set for the whole cluster while it ran, and nothing else."""
    entries = []
    for name, text in sorted(texts.items()):
        definition = broker[name]
        value = None if definition.sensitive else text
        synonyms = [ConfigSynonym(name, value, ConfigSource.DYNAMIC_DEFAULT_BROKER_CONFIG)]
        entries.append(_entry(definition, value, False, synonyms, definition.doc or None))
    return entries


def _broker_synonyms(name: str, layers: Layers, broker: Mapping[str, Definition]) -> list[ConfigSynonym]:
    family = _FAMILY.get(name, (name,))
    found = [
        ConfigSynonym(member, None if broker[member].sensitive else texts[member], source)
        for source, texts in layers
        for member in family
        if member in texts
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
