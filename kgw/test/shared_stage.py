"""Several gateways over one meeting place, one lot of facts and logs that each leads some of; in virtual time."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Coroutine, Mapping
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from kgw.brokers.memory import MemoryMeetingPlace, MemoryRoom
from kgw.cluster import Cluster
from kgw.config import Config
from kgw.engine.memory import MemoryLogEngine
from kgw.engine.memory_state import MemoryStateStore
from kgw.errors import ErrorCode, KafkaError
from kgw.groups.coordinator import GroupCoordinator
from kgw.interfaces import ILogEngine, IPartitionLog, ISharedLogs, IStateStore
from kgw.log.dynamic_configs import DynamicConfigs
from kgw.log.producer_ids import ProducerIds
from kgw.log.topics import TopicCatalog
from kgw.model import LogConfig, NewTopic, Topic
from kgw.quotas.client_quotas import ClientQuotas
from kgw.quotas.rate import Windows
from kgw.shared.cluster import SharedCluster
from kgw.shared.sharing import Ground, Sharing

T = TypeVar("T")

START = 1_700_000_000.0


class Lock:
    """
    A lock while it is held.

    @ivar held: whether it is; a test takes it away with L{lose}.
    """

    def __init__(self) -> None:
        self.held = True
        self._listeners: list[Callable[[], None]] = []

    def valid(self) -> bool:
        """Whether it is held."""
        return self.held

    def when_lost(self, listener: Callable[[], None]) -> None:
        """Call this when it is lost."""
        self._listeners.append(listener)

    def lose(self) -> None:
        """Somebody else may have it from now on."""
        self.held = False
        for listener in self._listeners:
            listener()


class TurnLocks:
    """
    Locks of the whole cluster, one work at a time under each name.

    @ivar missing: nobody gets any.
    @ivar holding: the lock of each name that is held.
    """

    def __init__(self) -> None:
        self.missing = False
        self.holding: dict[str, Lock] = {}
        self._waiting: dict[str, list[Deferred[None]]] = {}

    def run(self, name: str, work: Callable[[Any], Coroutine[Deferred[Any], Any, T]]) -> Deferred[T]:
        """Do this while nobody else does anything under this name."""
        return Deferred.fromCoroutine(self._run(name, work))

    async def _run(self, name: str, work: Callable[[Any], Coroutine[Deferred[Any], Any, T]]) -> T:
        if self.missing:
            raise KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, f"lock {name} was not to be had in time")
        while name in self.holding:
            turn: Deferred[None] = Deferred()
            self._waiting.setdefault(name, []).append(turn)
            await turn
        self.holding[name] = Lock()
        try:
            return await work(self.holding[name])
        finally:
            del self.holding[name]
            waiting = self._waiting.get(name, [])
            if waiting:
                waiting.pop(0).callback(None)


@implementer(IStateStore)
class Desk:
    """
    One gateway's way to the facts that all share.

    @ivar broken: what begins with one of these cannot be read, and nothing can be committed.
    @ivar calls: what was asked of it as one of several.
    @ivar left: the journals that are there.
    @ivar undrained: where it is not C{None}, L{drained} waits for this.
    """

    def __init__(self, facts: MemoryStateStore) -> None:
        self.facts = facts
        self.broken: tuple[str, ...] = ()
        self.calls: list[str] = []
        self.left: list[str] = []
        self.undrained: Deferred[None] | None = None
        self.slow: Deferred[None] | None = None

    def open(self) -> Deferred[None]:
        """Nothing is to be opened."""
        return succeed(None)

    def close(self) -> Deferred[None]:
        """Nothing is to be closed."""
        return succeed(None)

    def get(self, key: str) -> Deferred[bytes | None]:
        """See L{IStateStore.get}."""
        return self._refused() if key.startswith(self.broken) else self.facts.get(key)

    def scan(self, prefix: str) -> Deferred[list[tuple[str, bytes]]]:
        """See L{IStateStore.scan}; waits for C{slow} where there is some."""
        if prefix.startswith(self.broken):
            return self._refused()
        if self.slow is not None:
            waiting: Deferred[None] = Deferred()
            self.slow.addCallback(lambda _: waiting.callback(None))
            return waiting.addCallback(lambda _: self.facts.scan(prefix))
        return self.facts.scan(prefix)

    def commit(self, puts: Mapping[str, bytes], deletes: Collection[str] = ()) -> Deferred[None]:
        """See L{IStateStore.commit}."""
        return self._refused() if self.broken else self.facts.commit(puts, deletes)

    def _refused(self) -> Deferred[Any]:
        return fail(KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, "the filer does not answer"))

    def enter(self, journal: str) -> Deferred[None]:
        """Noted."""
        return self._noted(f"enter {journal}")

    def leave(self) -> Deferred[None]:
        """Noted."""
        return self._noted("leave")

    def recover(self) -> Deferred[None]:
        """Noted."""
        return self._noted("recover")

    def drained(self) -> Deferred[None]:
        """Noted; waits where the test has it wait."""
        self.calls.append("drained")
        return succeed(None) if self.undrained is None else self.undrained

    def turn_over(self) -> Deferred[None]:
        """Noted."""
        return self._noted("over")

    def replay(self, journal: str) -> Deferred[None]:
        """Noted."""
        return self._noted(f"replay {journal}")

    def journals(self) -> Deferred[list[str]]:
        """What the test says."""
        return succeed(list(self.left))

    def _noted(self, call: str) -> Deferred[None]:
        self.calls.append(call)
        return succeed(None)


@implementer(ILogEngine, ISharedLogs)
class SharedMemoryLogs(MemoryLogEngine):
    """
    Logs in memory, of which some are led.

    @ivar led: leader epochs by topic id and partition.
    @ivar calls: what was asked of it as one of several.
    @ivar failing: what L{lead} fails with.
    @ivar closing: where it is not C{None}, L{resign} waits for this.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.led: dict[tuple[bytes, int], int] = {}
        self.calls: list[str] = []
        self.failing: Exception | None = None
        self.closing: Deferred[None] | None = None
        self._names: dict[str, Topic] = {}

    def partition(self, name: str, index: int) -> IPartitionLog:
        """See L{ISharedLogs}."""
        log = super().partition(name, index)
        held = self._topics[name][0]
        if (held, index) not in self.led:
            raise KafkaError(ErrorCode.NOT_LEADER_OR_FOLLOWER, f"{name}-{index} is not led here")
        log.leader_epoch = self.led[held, index]
        return log

    def learn(self, topic: Topic, config: LogConfig) -> Deferred[None]:
        """See L{ISharedLogs.learn}."""
        self.calls.append(f"learn {topic.name}/{topic.partitions}")
        self._opened(topic, config)
        self.configure(topic, config)
        return succeed(None)

    def forget(self, topic: Topic) -> Deferred[None]:
        """See L{ISharedLogs.forget}."""
        self.calls.append(f"forget {topic.name}")
        return self.delete(topic)

    def lead(self, topic: Topic, epochs: Mapping[int, int]) -> Deferred[None]:
        """See L{ISharedLogs.lead}."""
        self.calls.append(f"lead {topic.name} {sorted(epochs)}")
        if self.failing is not None:
            return fail(self.failing)
        self.led.update({(topic.id, index): epoch for index, epoch in epochs.items()})
        return succeed(None)

    def resign(self, topic: Topic, indexes: Collection[int]) -> Deferred[None]:
        """See L{ISharedLogs.resign}."""
        self.calls.append(f"resign {topic.name} {sorted(indexes)}")
        for index in indexes:
            self.led.pop((topic.id, index), None)
        return succeed(None) if self.closing is None else self.closing

    def fence(self) -> Deferred[None]:
        """See L{ISharedLogs.fence}."""
        self.calls.append("fence")
        self.led.clear()
        return succeed(None)

    def tidy(self, topics: Collection[Topic]) -> Deferred[None]:
        """See L{ISharedLogs.tidy}."""
        self.calls.append(f"tidy {sorted(topic.name for topic in topics)}")
        return succeed(None)

    def epochs(self) -> Mapping[tuple[bytes, int], int]:
        """See L{ISharedLogs.epochs}."""
        return dict(self.led)


class Node:
    """
    One gateway, as far as it is one of several.

    @ivar door: its way to the meeting place.
    """

    def __init__(self, stage: SharedStage, properties: Mapping[str, str]) -> None:
        self._stage = stage
        self._test = stage.test
        self.clock = stage.clock
        self.config = Config({"listeners": f"PLAINTEXT://gw{len(stage.nodes)}:9092", **properties})
        self.door: MemoryMeetingPlace = stage.room.door()
        self.store = Desk(stage.facts)
        self.logs = SharedMemoryLogs(self.clock)
        self.sharing = Sharing(self.config, self.clock, self.clock.seconds)
        self.ground = Ground(self.door, stage.locks, self.store, self.logs)
        self.cluster: Cluster

    def join(self, bound: Mapping[str, tuple[str, int]] | None = None) -> Deferred[int]:
        """Register."""
        given = bound or {listener.name: (f"gw{self._stage.nodes.index(self)}", 9092) for listener in self.listeners()}
        return self.sharing.join(self.ground, given)

    def listeners(self) -> Any:
        """Those that are configured."""
        return self.config.listeners

    def begin(self) -> None:
        """Have something to lead things with."""
        get = self._test.successResultOf
        get(self.sharing.enter())
        turns, node_id = self.sharing.turns, self.sharing.member.node_id
        self.configs = DynamicConfigs(self.store, self.config, node_id, self.logs.check_config, turns)
        get(self.configs.start())
        self.catalog = TopicCatalog(self.store, self.logs, self.config, node_id, turns, self.sharing)
        get(self.catalog.start())
        slots = self.config.offsets_topic_num_partitions
        self.groups = GroupCoordinator.configured(self.config, self.store, self.clock, slots=slots)
        get(self.groups.start())
        self.quotas = ClientQuotas(self.store, Windows(), self.clock.seconds, turns)
        get(self.quotas.start())
        self.producer_ids = ProducerIds(self.store, turns)
        self.catalog.watch_deletions(self.groups.topic_deleted)
        self.sharing.begin(self.groups, self.catalog, self.configs, self.quotas)
        self.cluster = SharedCluster(
            "sharedSharedShared0001", self.sharing.member, self.config.broker_rack, self.config.advertised_listeners
        )

    def create(self, name: str, partitions: int = 1) -> Topic:
        """Create a topic, and let time go on until it is led."""
        creating = self.catalog.create(NewTopic(name, partitions))
        self._stage.run(1)
        topic: Topic = self._test.successResultOf(creating)
        return topic

    def leads(self) -> int:
        """How many partitions it leads."""
        return len(self.logs.led)


class SharedStage:
    """
    The world.

    @ivar clock: everybody's.
    """

    def __init__(self, test: SynchronousTestCase) -> None:
        self.test = test
        self.clock = Clock()
        self.clock.advance(START)
        self.room = MemoryRoom(self.clock)
        self.facts = MemoryStateStore()
        test.successResultOf(self.facts.open())
        self.locks = TurnLocks()
        self.nodes: list[Node] = []

    def node(self, **properties: str) -> Node:
        """One more gateway, which has not joined; underscores stand for dots."""
        node = Node(self, {name.replace("_", "."): text for name, text in properties.items()})
        self.nodes.append(node)
        return node

    def started(self, **properties: str) -> Node:
        """One that has joined and leads its share."""
        node = self.node(**properties)
        joining = node.join()
        self.run(0.5)
        self.test.successResultOf(joining)
        node.begin()
        self.run(3)
        return node

    def run(self, seconds: float, step_s: float = 0.01) -> None:
        """Let time go on."""
        self.clock.pump([step_s] * round(seconds / step_s))

    def fact(self, key: str) -> Any:
        """What a fact says."""
        value = self.test.successResultOf(self.facts.get(key))
        return None if value is None else json.loads(value)
