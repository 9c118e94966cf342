"""Whom quotas are for and what they may say: Kafka's checks, with Kafka's own sentences (KIP-546)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from enum import IntEnum

from kgw.errors import ErrorCode, KafkaError

USER, CLIENT_ID, IP = "user", "client-id", "ip"

PRODUCER_BYTE_RATE = "producer_byte_rate"
CONSUMER_BYTE_RATE = "consumer_byte_rate"
REQUEST_PERCENTAGE = "request_percentage"
CONNECTION_CREATION_RATE = "connection_creation_rate"

#: Whom a quota is for: types and names, sorted by type; no name is the default for all that have no quota of their own.
Entity = tuple[tuple[str, str | None], ...]
#: What is limited, by quota key.
Limits = Mapping[str, float]

#: The largest whole number of a key, and Kafka's name of its type; other keys take fractions. Only what is enforced
#: here is a key: Kafka's C{controller_mutation_rate} is not.
_CLIENT_KEYS: dict[str, tuple[int, str] | None] = {
    PRODUCER_BYTE_RATE: ((1 << 63) - 1, "a LONG"),
    CONSUMER_BYTE_RATE: ((1 << 63) - 1, "a LONG"),
    REQUEST_PERCENTAGE: None,
}
_IP_KEYS: dict[str, tuple[int, str] | None] = {CONNECTION_CREATION_RATE: ((1 << 31) - 1, "an INT")}

#: The largest part of one that counts as none (Kafka: C{ClientQuotaControlManager}).
_NO_FRACTION = 1e-6


class MatchType(IntEnum):
    """How a filter names entities (Kafka: C{DescribeClientQuotasRequest})."""

    EXACT = 0
    DEFAULT = 1
    SPECIFIED = 2


def entity_of(names: Mapping[str, str | None]) -> Entity:
    """Whom these names are of, be it allowed or not."""
    return tuple(sorted(names.items()))


def shown(entity: Entity) -> str:
    """An entity as Kafka writes it in errors."""
    return f"ClientQuotaEntity(entries={_entries(entity)})"


def check_entity(entity: Entity) -> None:
    """
    See whether there can be quotas for it (Kafka: C{ClientQuotaControlManager.validateEntity}).

    @raise KafkaError: C{INVALID_REQUEST}.
    """
    if not entity:
        raise _invalid("Invalid empty client quota entity")
    for kind, name in entity:
        if kind not in (USER, CLIENT_ID, IP):
            raise _invalid(f"Unhandled client quota entity type: {kind}")
        if name == "":
            raise _invalid(f"Empty {kind} not supported")
    names = dict(entity)
    if IP in names:
        if len(names) > 1:
            raise _invalid(f"Invalid quota entity combination: {_entries(entity)}")
        address = names[IP]
        if address is not None and plain_ip(address) is None:
            raise _invalid(f"{address} is not a valid IP or resolvable host.")


def check_limit(entity: Entity, key: str, value: float) -> None:
    """
    See whether an entity can have this limit (Kafka: C{ClientQuotaControlManager.validateQuotaKeyValue}).

    @raise KafkaError: C{INVALID_REQUEST}.
    """
    keys = _IP_KEYS if IP in dict(entity) else _CLIENT_KEYS
    if key not in keys:
        raise _invalid(f"Invalid configuration key {key}")
    if not value > 0:
        raise _invalid(f"Quota {key} must be greater than 0")
    whole = keys[key]
    if whole is None:
        return
    largest, what = whole
    if value > largest:
        raise _invalid(f"Proposed value for {key} is too large for {what}.")
    if value % 1.0 > _NO_FRACTION:
        raise _invalid(f"{key} cannot be a fractional value.")


def plain_ip(address: str) -> str | None:
    """An IP address in its one spelling; C{None} where it is none."""
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        return None


class Filter:
    """Which entities a client asks for (Kafka: C{ClientQuotasImage.describe})."""

    def __init__(self, components: Iterable[tuple[str, int, str | None]], strict: bool) -> None:
        """
        @param components: entity type, match type, and the name where that is C{EXACT}.
        @param strict: whether entities with further types are left out.
        @raise KafkaError: C{INVALID_REQUEST}, or C{UNSUPPORTED_VERSION} for an entity type that is not known.
        """
        self._exact: dict[str, str | None] = {}
        self._any: set[str] = set()
        self._strict = strict
        for kind, match_type, name in components:
            self._add(kind, match_type, name)
        if IP in self._kinds and len(self._kinds) > 1:
            raise _invalid(
                "Invalid entity filter component combination. IP filter component should not be used with user or"
                " clientId filter component."
            )

    @property
    def _kinds(self) -> set[str]:
        return self._exact.keys() | self._any

    def _add(self, kind: str, match_type: int, name: str | None) -> None:
        if not kind:
            raise _invalid("Invalid empty entity type.")
        if kind in self._kinds:
            raise _invalid(f"Entity type {kind} cannot appear more than once in the filter.")
        if kind not in (USER, CLIENT_ID, IP):
            raise KafkaError(ErrorCode.UNSUPPORTED_VERSION, f"Unsupported entity type {kind}")
        if match_type == MatchType.EXACT:
            if name is None:
                raise _invalid("Request specified MATCH_TYPE_EXACT, but set match string to null.")
            self._exact[kind] = name
            return
        if match_type not in (MatchType.DEFAULT, MatchType.SPECIFIED):
            raise _invalid(f"Unknown match type {match_type}")
        if name is not None:
            raise _invalid(
                f"Request specified MATCH_TYPE_{MatchType(match_type).name}, but also specified a match string."
            )
        if match_type == MatchType.DEFAULT:
            self._exact[kind] = None
        else:
            self._any.add(kind)

    def takes(self, entity: Entity) -> bool:
        """Whether it is asked for."""
        names = dict(entity)
        if self._strict and len(names) != len(self._kinds):
            return False
        return self._kinds <= names.keys() and all(names[kind] == name for kind, name in self._exact.items())


def _entries(entity: Entity) -> str:
    names = ", ".join(f"{kind}={'null' if name is None else name}" for kind, name in entity)
    return f"{{{names}}}"


def _invalid(sentence: str) -> KafkaError:
    return KafkaError(ErrorCode.INVALID_REQUEST, sentence)
