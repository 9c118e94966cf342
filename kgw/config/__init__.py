"""The configuration: Kafka's properties and kgw's own, from a file, the environment and the command line."""

from __future__ import annotations

from kgw.config.config import Config
from kgw.config.definition import ConfigError, ConfigType
from kgw.config.description import ConfigEntry, ConfigSource, ConfigSynonym
from kgw.config.listeners import Listener
from kgw.config.sources import load

__all__ = [
    "Config",
    "ConfigEntry",
    "ConfigError",
    "ConfigSource",
    "ConfigSynonym",
    "ConfigType",
    "Listener",
    "load",
]
