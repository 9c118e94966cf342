"""What brokers and groups were told while kgw ran: kept, and the configuration that it makes."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, unquote

from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger

from kgw.errors import ErrorCode, KafkaError
from kgw.interfaces import IStateStore
from kgw.model import ConfigChange, LogConfig
from kgw.turns import OwnTurns, Turns

if TYPE_CHECKING:
    from kgw.config import Config

T = TypeVar("T")

#: All facts: C{configs/cluster} for all brokers, C{configs/brokers/<node id>}, C{configs/groups/<group id, escaped>};
#: each is a JSON object of texts by config name.
_PREFIX = "configs/"
_CLUSTER_KEY = f"{_PREFIX}cluster"
_GROUPS = f"{_PREFIX}groups/"

#: The largest fact that a state store takes, in bytes.
_MAX_FACT_BYTES = 1 << 20

#: Most groups that may have configs of their own; they are all in memory, and nobody ever has to delete them.
MAX_GROUPS = 100_000


class DynamicConfigs:
    """
    The configs of brokers and of groups, in memory and in the state store.

    Look-ups are synchronous. Changes run one after the other; each is durable and obeyed when its Deferred fires.
    Cancelling a Deferred of this class gives up waiting; the change itself goes on.

    @ivar config: the configuration in force.
    """

    log = Logger()

    def __init__(
        self,
        store: IStateStore,
        config: Config,
        node_id: int,
        check: Callable[[LogConfig], None],
        turns: Turns | None = None,
    ) -> None:
        """
        @param config: what was read at the start.
        @param node_id: this broker.
        @param check: raises L{KafkaError} where the engine cannot offer what topics are to inherit.
        @param turns: where other gateways change these facts, too.
        """
        self.config = config
        self._store = store
        self._node_id = node_id
        self._check = check
        self._cluster: dict[str, str] = {}
        self._node: dict[str, str] = {}
        self._groups: dict[str, dict[str, str]] = {}
        #: As they were read last.
        self._facts: dict[str, bytes] | None = None
        #: What is not obeyed, by key, name and text, so that it is said once.
        self._refused: set[tuple[str, str, str]] = set()
        self._lock = DeferredLock()
        self._turns = turns or OwnTurns()
        self._listeners: list[Callable[[Config], Deferred[None]]] = []

    def start(self) -> Deferred[None]:
        """
        Read the facts. What this kgw cannot obey stays in the store, and the log says so.

        @return: fires when C{config} is what was in force last; fails with C{KAFKA_STORAGE_ERROR}.
        """
        return self._lock.run(self._start)

    def refresh(self) -> Deferred[None]:
        """
        Read the facts anew, which another gateway may have changed, and obey them.

        @return: fails with C{KAFKA_STORAGE_ERROR}.
        """
        return self._lock.run(self._refresh)

    def watch(self, listener: Callable[[Config], Deferred[None]]) -> None:
        """
        Have C{listener} called with each configuration that takes the place of another.

        @param listener: its Deferred fires when the new one is obeyed, and must not fail; until then the change is not
            answered.
        """
        self._listeners.append(listener)

    def groups(self) -> list[str]:
        """The groups that have configs of their own, in order."""
        return sorted(self._groups)

    def group(self, group_id: str) -> Mapping[str, str]:
        """What is set on a group, as text by config name; nothing for most."""
        return self._groups.get(group_id, {})

    def alter_broker(
        self,
        changes: Iterable[ConfigChange],
        cluster: bool = False,
        replacing: bool = False,
        validate_only: bool = False,
    ) -> Deferred[None]:
        """
        Alter the properties of this broker, or of all brokers, which goes behind what is set for one.

        @param replacing: what is not among C{changes} is not set any more.
        @return: fails with C{INVALID_REQUEST}, C{INVALID_CONFIG} or C{KAFKA_STORAGE_ERROR}.
        """
        return self._change(self._alter_broker, tuple(changes), cluster, replacing, validate_only)

    def alter_group(
        self, group_id: str, changes: Iterable[ConfigChange], replacing: bool = False, validate_only: bool = False
    ) -> Deferred[None]:
        """
        Alter the configs of a group, be it there or not.

        @param replacing: as in L{alter_broker}.
        @return: fails with C{INVALID_CONFIG}, C{POLICY_VIOLATION} where too many groups have some, or
            C{KAFKA_STORAGE_ERROR}.
        """
        return self._change(self._alter_group, group_id, tuple(changes), replacing, validate_only)

    def _change(self, work: Callable[..., Coroutine[Deferred[Any], Any, T]], *args: object) -> Deferred[T]:
        # a Deferred of its own: a client that goes away must not break off a change half way
        answer: Deferred[T] = Deferred()
        self._turns.run(self._lock.run, work, *args).addCallbacks(answer.callback, answer.errback)
        return answer

    async def _refresh(self) -> None:
        before = self._node, self._cluster
        await self._start()
        if (self._node, self._cluster) != before:
            for listener in self._listeners:
                await listener(self.config)

    async def _start(self) -> None:
        facts = dict(await self._store.scan(_PREFIX))
        if facts == self._facts:
            return
        cluster = _decode(_CLUSTER_KEY, facts.get(_CLUSTER_KEY))
        node = _decode(self._node_key, facts.get(self._node_key))
        self._groups = {
            unquote(key.removeprefix(_GROUPS)): _decode(key, value)
            for key, value in facts.items()
            if key.startswith(_GROUPS)
        }
        self._facts = facts
        self._node, self._cluster = {}, {}
        self.config = self._obeying(self._node, self._cluster)
        refused: set[tuple[str, str, str]] = set()
        # property by property: one that an older or newer kgw took must not cost all the others
        for texts, kept, key in ((cluster, self._cluster, _CLUSTER_KEY), (node, self._node, self._node_key)):
            for name, text in sorted(texts.items()):
                kept[name] = text
                try:
                    self.config = self._obeying(self._node, self._cluster)
                except KafkaError as error:
                    del kept[name]
                    refused.add((key, name, text))
                    if (key, name, text) not in self._refused:
                        self.log.warn(
                            "{key}: {name} was altered once and is not obeyed: {reason}",
                            key=key,
                            name=name,
                            reason=error.message,
                        )
        self._refused = refused

    @property
    def _node_key(self) -> str:
        return f"{_PREFIX}brokers/{self._node_id}"

    def _obeying(self, node: Mapping[str, str], cluster: Mapping[str, str]) -> Config:
        config = self.config.with_dynamic(node, cluster)
        self._check(config.log_config({}))
        return config

    async def _alter_broker(
        self, changes: tuple[ConfigChange, ...], cluster: bool, replacing: bool, validate_only: bool
    ) -> None:
        before = self._cluster if cluster else self._node
        after = self.config.altered_broker({} if replacing else before, changes)
        node, default = (self._node, after) if cluster else (after, self._cluster)
        config = self._obeying(node, default)
        if validate_only or after == before:
            return
        await self._keep(_CLUSTER_KEY if cluster else self._node_key, after)
        self._node, self._cluster, self.config = node, default, config
        whose = "all brokers" if cluster else f"broker {self._node_id}"
        self.log.info("altered {names} of {whose}", names=_altered(before, after), whose=whose)
        for listener in self._listeners:
            await listener(config)

    async def _alter_group(
        self, group_id: str, changes: tuple[ConfigChange, ...], replacing: bool, validate_only: bool
    ) -> None:
        before = self._groups.get(group_id, {})
        after = self.config.altered_group({} if replacing else before, changes)
        if after and not before and len(self._groups) >= MAX_GROUPS:
            raise KafkaError(
                ErrorCode.POLICY_VIOLATION, f"{MAX_GROUPS} groups have configs of their own; no more may have some."
            )
        if validate_only or after == before:
            return
        await self._keep(f"{_GROUPS}{quote(group_id, safe='')}", after)
        if after:
            self._groups[group_id] = after
        else:
            self._groups.pop(group_id, None)
        self.log.info("altered {names} of group {group}", names=_altered(before, after), group=group_id)

    async def _keep(self, key: str, configs: Mapping[str, str]) -> None:
        self._facts = None
        if not configs:
            await self._store.commit({}, [key])
            return
        fact = json.dumps(configs, sort_keys=True).encode()
        if len(fact) > _MAX_FACT_BYTES:
            raise KafkaError(ErrorCode.INVALID_CONFIG, "The configs are too large.")
        await self._store.commit({key: fact})


def _decode(key: str, value: bytes | None) -> dict[str, str]:
    if value is None:
        return {}
    try:
        return {str(name): str(text) for name, text in json.loads(value).items()}
    except (ValueError, AttributeError) as error:
        raise KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, f"the stored fact {key!r} is damaged: {error}") from error


def _altered(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """The names of what is not as it was, for people."""
    return ", ".join(sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name)))
