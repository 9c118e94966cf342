"""Kafka's own broker, topic and group properties (4.3), read from the table C{kafka.json}, and kgw's topic configs."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from kgw.config.definition import ConfigType, Definition


def _definition(row: Mapping[str, Any]) -> Definition:
    return Definition(
        name=row["name"],
        type=ConfigType[row["type"]],
        default=row["default"],
        minimum=row.get("min"),
        maximum=row.get("max"),
        also=tuple(row.get("or", ())),
        choices=tuple(row.get("in", ())),
        item_choices=tuple(row.get("list_in", ())),
        replicas=row.get("rule") == "ThrottledReplicaListValidator",
        synonyms=tuple(row.get("broker", ())),
        dynamic="update" in row,
    )


#: Topic configs of kgw's own; the broker property behind each has the same name.
_OWN_TOPIC = (
    Definition(
        "kgw.schema.subject.name.strategy",
        ConfigType.STRING,
        default="TopicNameStrategy",
        choices=("TopicNameStrategy", "RecordNameStrategy", "TopicRecordNameStrategy"),
        synonyms=("kgw.schema.subject.name.strategy",),
    ),
    Definition(
        "kgw.schema.validation",
        ConfigType.STRING,
        default="permissive",
        choices=("none", "permissive", "strict"),
        synonyms=("kgw.schema.validation",),
    ),
)


def _table() -> tuple[Mapping[str, Definition], ...]:
    rows = json.loads(files("kgw.config").joinpath("kafka.json").read_text("utf-8"))
    return tuple(
        MappingProxyType({row["name"]: _definition(row) for row in rows[part]}) for part in ("topic", "broker", "group")
    )


#: Kafka's topic configs, broker properties and group configs by name, in alphabetical order.
_KAFKAS_TOPIC, BROKER, GROUP = _table()
#: Kafka's topic configs and kgw's own by name, in alphabetical order.
TOPIC: Mapping[str, Definition] = MappingProxyType(
    dict(sorted({**_KAFKAS_TOPIC, **{own.name: own for own in _OWN_TOPIC}}.items()))
)

#: Properties that a server.properties of some Kafka, old or new, may hold though L{BROKER} has not got them:
#: families whose names carry a listener, a provider or a plugin, and those of other releases.
_ELSEWHERE = re.compile(
    r"(zookeeper|controller|listener\.name|config\.providers|metrics|metadata|kafka\.metrics|security|ssl|sasl"
    r"|authorizer|rsm\.config|rlmm\.config|remote\.log|group\.share|group\.streams|group\.consumer|group\.coordinator"
    r"|share\.coordinator|replica|client\.quota|password\.encoder|delegation\.token|unstable|confluent"
    r")\.[A-Za-z0-9_.-]+\Z"
    r"|(advertised\.host\.name|advertised\.port|allow\.everyone\.if\.no\.acl\.found|auto\.include\.jmx\.reporter"
    r"|broker\.id\.generation\.enable|control\.plane\.listener\.name|cordoned\.log\.dirs|host\.name"
    r"|inter\.broker\.protocol\.version|log\.initial\.task\.delay\.ms|log\.message\.downconversion\.enable"
    r"|log\.message\.format\.version|log\.message\.timestamp\.difference\.max\.ms|port"
    r"|producer\.id\.expiration\.check\.interval\.ms|reserved\.broker\.max\.id|super\.users)\Z"
)


def is_kafkas(name: str) -> bool:
    """Whether some release of Kafka takes a broker property of this name."""
    return name in BROKER or _ELSEWHERE.match(name) is not None
