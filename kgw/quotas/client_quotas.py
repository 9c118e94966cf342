"""The quotas of all clients: kept in the state store, described, altered, and asked by handlers and connections."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger

from kgw.errors import ErrorCode, KafkaError
from kgw.interfaces import IStateStore
from kgw.quotas.entities import CLIENT_ID, IP, USER, Entity, Filter, check_entity, check_limit, entity_of, shown
from kgw.quotas.meters import Meters
from kgw.quotas.rate import Windows
from kgw.turns import OwnTurns, Turns

#: The one fact: a JSON list of objects, C{{"entity": {"user": ...}, "limits": {"producer_byte_rate": ...}}}.
_KEY = "client-quotas"
#: The largest fact that a state store takes, in bytes.
_MAX_FACT_BYTES = 1 << 20

#: The user of a client that has not said who it is (Kafka: C{KafkaPrincipal.ANONYMOUS}); nobody can yet.
ANONYMOUS = "ANONYMOUS"

#: Entities that one line of the log names, and characters of each.
_MAX_LISTED = 5
_MAX_SHOWN = 200

#: The most milliseconds that fit an answer.
_MAX_MS = (1 << 31) - 1

#: An entity by type and name, and what is to become of its limits: a number, or C{None} for none any more.
Alteration = tuple[Mapping[str, str | None], Sequence[tuple[str, float | None]]]


class ClientQuotas:
    """
    The quotas that are set, and how long clients wait because of them.

    Alterations run one after the other; each is durable and in force when its Deferred fires. Cancelling a Deferred of
    this class gives up waiting; the alteration goes on.

    @ivar active: whether there are quotas of clients; where not, there is no need to ask.
    @ivar limits_connections: whether there are some of addresses.
    """

    log = Logger()

    def __init__(
        self, store: IStateStore, windows: Windows, now: Callable[[], float], turns: Turns | None = None
    ) -> None:
        """
        @param now: seconds, from any beginning, that never fall.
        @param turns: where other gateways change these facts, too.
        """
        self.active = False
        self.limits_connections = False
        self._store = store
        self._now = now
        self._quotas: dict[Entity, dict[str, float]] = {}
        #: As it was read or written last.
        self._fact: bytes | None = None
        self._meters = Meters(windows)
        self._lock = DeferredLock()
        self._turns = turns or OwnTurns()
        self._listeners: list[Callable[[], None]] = []

    def start(self) -> Deferred[None]:
        """
        Read the fact. What this kgw does not enforce is left out, and the log says so.

        @return: fails with C{KAFKA_STORAGE_ERROR}.
        """
        return self._lock.run(self._start)

    def refresh(self) -> Deferred[None]:
        """
        Read the fact anew, which another gateway may have changed, and enforce it.

        @return: fails with C{KAFKA_STORAGE_ERROR}.
        """
        return self._lock.run(self._start)

    def watch(self, listener: Callable[[], None]) -> None:
        """Have C{listener} called, which does not raise, after every alteration."""
        self._listeners.append(listener)

    def describe(
        self, components: Iterable[tuple[str, int, str | None]], strict: bool
    ) -> list[tuple[Entity, Mapping[str, float]]]:
        """
        The entities that a filter takes, with their limits.

        @param components: as in L{Filter}.
        @raise KafkaError: C{INVALID_REQUEST} or C{UNSUPPORTED_VERSION}.
        """
        wanted = Filter(components, strict)
        return [(entity, limits) for entity, limits in self._quotas.items() if wanted.takes(entity)]

    def alter(
        self, alterations: Iterable[Alteration], validate_only: bool = False
    ) -> Deferred[dict[Entity, KafkaError | None]]:
        """
        Set and remove limits; each entity with all its changes or none.

        @return: what there is to say of each entity: C{INVALID_REQUEST}, or C{POLICY_VIOLATION} where the quotas
            become too many; fails with C{KAFKA_STORAGE_ERROR}.
        """
        answer: Deferred[dict[Entity, KafkaError | None]] = Deferred()
        altering = self._turns.run(self._lock.run, self._alter, tuple(alterations), validate_only)
        altering.addCallbacks(answer.callback, answer.errback)
        return answer

    def charge(self, client_id: str, work: float, produced: int) -> int:
        """
        A client's request was worked on.

        @param work: seconds.
        @param produced: its size in bytes where it carries records to be appended.
        @return: milliseconds for which its connection is not to be read.
        """
        return _ms(self._meters.charge(ANONYMOUS, client_id, work, produced, self._now()))

    def fetch_room(self, client_id: str) -> float:
        """Bytes that one Fetch of a client may ask for."""
        return self._meters.fetch_room(ANONYMOUS, client_id, self._now())

    def fetched(self, client_id: str, size: int) -> tuple[int, bool]:
        """
        A client's Fetch has found so many bytes.

        @return: milliseconds to wait, and whether the answer may have the bytes.
        """
        wait, may = self._meters.fetched(ANONYMOUS, client_id, size, self._now())
        return _ms(wait), may

    def connected(self, address: str) -> bool:
        """
        Whether one more connection from an address is not too fast.

        @param address: C{""} is a local socket, which has no quota.
        """
        return not address or self._meters.connected(address, self._now())

    async def _start(self) -> None:
        fact = await self._store.get(_KEY)
        if fact == self._fact:
            return
        found = [] if fact is None else _decode(fact)
        self._fact = fact
        self._quotas = {}
        for names, limits in found:
            entity = entity_of(names)
            for key, value in limits.items():
                try:
                    check_entity(entity)
                    check_limit(entity, key, value)
                except KafkaError as error:
                    self.log.warn("a quota is not enforced: {reason}", reason=error.message)
                else:
                    self._quotas.setdefault(entity, {})[key] = value
        self._obey()

    def _obey(self) -> None:
        self._meters.set(self._quotas)
        kinds = {kind for entity in self._quotas for kind, _ in entity}
        self.active = bool(kinds & {USER, CLIENT_ID})
        self.limits_connections = IP in kinds
        for listener in self._listeners:
            listener()

    async def _alter(self, alterations: tuple[Alteration, ...], validate_only: bool) -> dict[Entity, KafkaError | None]:
        results: dict[Entity, KafkaError | None] = {}
        after = dict(self._quotas)
        for names, changes in alterations:
            entity = entity_of(names)
            if entity in results:
                results[entity] = KafkaError(ErrorCode.INVALID_REQUEST, f"Ignoring duplicate entity {shown(entity)}")
                continue
            results[entity] = None
            try:
                limits = _altered(entity, after.get(entity, {}), changes)
            except KafkaError as error:
                results[entity] = error
                continue
            if limits:
                after[entity] = limits
            else:
                after.pop(entity, None)
        if after == self._quotas:
            return results
        fact = _encode(after)
        if len(fact) > _MAX_FACT_BYTES:
            full = KafkaError(
                ErrorCode.POLICY_VIOLATION, f"All quotas together take more than {_MAX_FACT_BYTES} bytes."
            )
            return {entity: error or full for entity, error in results.items()}
        if not validate_only:
            await self._store.commit({_KEY: fact})
            altered = [entity for entity in results if after.get(entity) != self._quotas.get(entity)]
            self._quotas, self._fact = after, fact
            self.log.info("altered quotas of {entities}", entities=_listed(altered))
            self._obey()
        return results


def _altered(
    entity: Entity, before: Mapping[str, float], changes: Sequence[tuple[str, float | None]]
) -> dict[str, float]:
    """The limits of an entity after these changes."""
    check_entity(entity)
    limits = dict(before)
    seen: set[str] = set()
    for key, value in changes:
        if key in seen:
            raise KafkaError(
                ErrorCode.INVALID_REQUEST, f"Duplicate quota key {key} not updated for this entity {shown(entity)}"
            )
        seen.add(key)
        if value is None:
            limits.pop(key, None)
        else:
            check_limit(entity, key, value)
            limits[key] = value
    return limits


def _listed(entities: list[Entity]) -> str:
    """The first few of them, for people."""
    more = len(entities) - _MAX_LISTED
    names = [shown(entity)[:_MAX_SHOWN] for entity in entities[:_MAX_LISTED]]
    return ", ".join(names) + (f" and {more} more" if more > 0 else "")


def _encode(quotas: Mapping[Entity, Mapping[str, float]]) -> bytes:
    return json.dumps(
        [{"entity": dict(entity), "limits": limits} for entity, limits in quotas.items()], separators=(",", ":")
    ).encode()


def _decode(fact: bytes) -> list[tuple[dict[str, str | None], dict[str, float]]]:
    try:
        rows: list[Any] = json.loads(fact)
        return [
            (
                {str(kind): None if name is None else str(name) for kind, name in row["entity"].items()},
                {str(key): float(value) for key, value in row["limits"].items()},
            )
            for row in rows
        ]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, f"the stored fact {_KEY!r} is damaged: {error}") from error


def _ms(seconds: float) -> int:
    return min(round(seconds * 1000), _MAX_MS)
