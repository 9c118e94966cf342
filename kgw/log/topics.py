"""Which topics exist: the catalog, the only writer of topic facts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from twisted.internet.defer import Deferred, DeferredLock, fail, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from kgw.errors import ErrorCode, KafkaError
from kgw.interfaces import ILogEngine, IStateStore
from kgw.log.topic_facts import PREFIX, encode_topic, new_id, stored_topic
from kgw.log.topic_rules import TopicRules, check_name
from kgw.model import HEALTH_TOPIC, ConfigChange, LogConfig, NewTopic, Topic
from kgw.turns import OwnTurns, Turns

if TYPE_CHECKING:
    from kgw.config import Config

T = TypeVar("T")


def _metric_name(name: str) -> str:
    """Names that are equal in this form would be one name in Kafka's metrics, so only one of them may exist."""
    return name.replace(".", "_")


class Others(Protocol):
    """What there is to do where other gateways have the same topics."""

    def learn(self, topic: Topic, config: LogConfig) -> Deferred[None]:
        """See L{kgw.interfaces.ISharedLogs.learn}."""

    def forget(self, topic: Topic) -> Deferred[None]:
        """See L{kgw.interfaces.ISharedLogs.forget}."""

    def nodes(self) -> Collection[int]:
        """The node ids of all live gateways."""

    def settled(self, topic: Topic) -> Deferred[None]:
        """Fires when a new topic's partitions are led, or that takes too long; never fails."""


class TopicCatalog:
    """
    The topics of this node, in memory and in the state store.

    Look-ups are synchronous. Changes run one after the other; each is durable when its Deferred fires. A topic is
    seen only while all its logs exist: its fact is stored, then its logs are made, then it is shown; when it is
    deleted the fact goes first. What a crash leaves in between is put right by L{start}.

    Cancelling a Deferred of this class gives up waiting; the change itself goes on.
    """

    log = Logger()

    def __init__(
        self,
        store: IStateStore,
        engine: ILogEngine,
        config: Config,
        node_id: int,
        turns: Turns | None = None,
        others: Others | None = None,
    ) -> None:
        """
        @param node_id: this node.
        @param turns: where other gateways change topics, too.
        @param others: what else is to be done then.
        """
        self._store = store
        self._engine = engine
        self._config = config
        self._rules = TopicRules(config, others.nodes if others is not None else lambda: (node_id,))
        self._node_id = node_id
        self._topics: dict[str, Topic] = {}
        self._by_id: dict[bytes, Topic] = {}
        self._metric_names: dict[str, str] = {}
        self._sorted: list[Topic] | None = []
        self._lock = DeferredLock()
        self._turns = turns or OwnTurns()
        self._others = others
        self._auto: dict[str, list[Deferred[Topic]]] = {}
        self._deletion_listeners: list[Callable[[str], Deferred[None]]] = []

    def start(self) -> Deferred[None]:
        """
        Read the facts and have the engine open the logs of all topics.

        @return: fires when every topic can be used; fails with C{KAFKA_STORAGE_ERROR}.
        """
        return self._lock.run(self._start)

    def refresh(self) -> Deferred[None]:
        """
        Read the facts anew, which other gateways may have changed.

        @return: fires when what they created is shown, what they altered is obeyed, and what they deleted is gone with
            all that belonged to it here; fails with C{KAFKA_STORAGE_ERROR}.
        """
        return self._lock.run(self._refresh)

    def watch_deletions(self, listener: Callable[[str], Deferred[None]]) -> None:
        """
        Have C{listener} called with the name of each topic that is deleted.

        @param listener: its Deferred fires when what belonged to the topic is gone, and must not fail; until then
            the deletion is not answered and no topic is created under that name.
        """
        self._deletion_listeners.append(listener)

    def get(self, name: str) -> Topic | None:
        """The topic of this name, or C{None}."""
        return self._topics.get(name)

    def by_id(self, id: bytes) -> Topic | None:
        """The topic with these 16 bytes as its id, or C{None}."""
        return self._by_id.get(id)

    def all(self) -> list[Topic]:
        """All topics by name, but for internal ones; the list is the caller's."""
        if self._sorted is None:
            shown = (self._topics[name] for name in sorted(self._topics))
            self._sorted = [topic for topic in shown if not topic.is_internal]
        return list(self._sorted)

    def known(self) -> list[Topic]:
        """All topics, internal ones too, in no order."""
        return list(self._topics.values())

    def partition_counts(self) -> dict[bytes, int]:
        """How many partitions each topic has, by its id; internal ones too."""
        return {id: topic.partitions for id, topic in self._by_id.items()}

    def check_name(self, name: str) -> None:
        """
        Check that C{name} may be the name of a topic, be there one or not.

        @raise KafkaError: C{INVALID_TOPIC_EXCEPTION}.
        """
        check_name(name)

    def create(self, new: NewTopic, validate_only: bool = False) -> Deferred[Topic]:
        """
        Create a topic, or with C{validate_only} say what would be created.

        @return: fails with C{INVALID_TOPIC_EXCEPTION}, C{TOPIC_ALREADY_EXISTS}, C{INVALID_CONFIG},
            C{INVALID_PARTITIONS}, C{INVALID_REPLICATION_FACTOR}, C{INVALID_REPLICA_ASSIGNMENT},
            C{INVALID_REQUEST} or C{KAFKA_STORAGE_ERROR}.
        """
        creating = self._change(self._create, new, validate_only)
        return creating if validate_only else creating.addCallback(self._settle)

    def auto_create(self, name: str) -> Deferred[Topic]:
        """
        The topic of this name, created with the server's defaults where there is none.

        Any number of callers that ask for one name at a time share one creation.

        @return: fails as L{create} does, but never with C{TOPIC_ALREADY_EXISTS}; with C{UNKNOWN_TOPIC_OR_PARTITION}
            for the topic of kgw's own, which the server's defaults would be wrong for.
        """
        topic = self._topics.get(name)
        if topic is not None:
            return succeed(topic)
        if name == HEALTH_TOPIC:
            return fail(KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION))
        answer: Deferred[Topic] = Deferred()
        waiting = self._auto.setdefault(name, [])
        waiting.append(answer)
        if len(waiting) == 1:
            creating: Deferred[Topic] = self._turns.run(self._lock.run, self._auto_create, name)
            creating.addCallback(self._settle).addBoth(self._auto_created, name)
        return answer

    def extend(
        self,
        name: str,
        count: int,
        assignments: Sequence[Sequence[int]] | None = None,
        validate_only: bool = False,
    ) -> Deferred[Topic]:
        """
        Give a topic more partitions.

        @param count: how many it is to have.
        @param assignments: the replicas of each partition to be added, or C{None} where the server chooses.
        @return: fires with the topic as it is then; fails with C{UNKNOWN_TOPIC_OR_PARTITION},
            C{INVALID_PARTITIONS}, C{INVALID_REPLICA_ASSIGNMENT} or C{KAFKA_STORAGE_ERROR}.
        """
        extending = self._change(self._extend, name, count, assignments, validate_only)
        return extending if validate_only else extending.addCallback(self._settle)

    def alter(
        self, name: str, changes: Iterable[ConfigChange], replacing: bool = False, validate_only: bool = False
    ) -> Deferred[Topic]:
        """
        Alter a topic's own configs; its logs obey them when this fires.

        @param replacing: what is not among C{changes} is not set any more.
        @return: fires with the topic as it is then; fails with C{INVALID_TOPIC_EXCEPTION}, C{INVALID_CONFIG},
            C{UNKNOWN_TOPIC_OR_PARTITION} or C{KAFKA_STORAGE_ERROR}.
        """
        return self._change(self._alter, name, tuple(changes), replacing, validate_only)

    def reconfigure(self, config: Config) -> Deferred[None]:
        """
        Obey another configuration from now on, topics that exist by what they inherit.

        @return: fires when all logs do.
        """
        # no fact is changed, so it is always our turn
        return self._lock.run(self._reconfigure, config)

    def delete(self, name: str, id: bytes | None = None) -> Deferred[Topic]:
        """
        Delete a topic and its records.

        @param id: delete it only if this is its id.
        @return: fires with the topic that was deleted; fails with C{UNKNOWN_TOPIC_OR_PARTITION},
            C{UNKNOWN_TOPIC_ID} where another topic has the name by now, or C{KAFKA_STORAGE_ERROR}.
        """
        return self._change(self._delete, name, id)

    def _change(self, work: Callable[..., Coroutine[Deferred[Any], Any, T]], *args: object) -> Deferred[T]:
        # a Deferred of its own: a client that goes away must not break off a change half way
        answer: Deferred[T] = Deferred()
        self._turns.run(self._lock.run, work, *args).addCallbacks(answer.callback, answer.errback)
        return answer

    def _settle(self, topic: Topic) -> Deferred[Topic]:
        """Clients that have just created a topic go on with it at once."""
        if self._others is None:
            return succeed(topic)
        return self._others.settled(topic).addCallback(lambda _: topic)

    async def _refresh(self) -> None:
        others = self._others
        assert others is not None, "nobody else changes topics"
        found = {topic.name: topic for topic in [self._decode(*fact) for fact in await self._store.scan(PREFIX)]}
        for topic in list(self._topics.values()):
            there = found.get(topic.name)
            if there is None or there.id != topic.id:
                self._hide(topic)
                await others.forget(topic)
                for listener in self._deletion_listeners:
                    await listener(topic.name)
        for topic in found.values():
            before = self._topics.get(topic.name)
            if topic != before:
                await others.learn(topic, self._config.log_config(topic.configs))
                self._show(topic)

    async def _start(self) -> None:
        topics = [self._decode(key, value) for key, value in await self._store.scan(PREFIX)]
        await self._engine.start([(topic, self._config.log_config(topic.configs)) for topic in topics])
        for topic in topics:
            self._show(topic)

    def _decode(self, key: str, value: bytes) -> Topic:
        topic = stored_topic(key, value)
        return self._topic(topic.name, topic.id, topic.partitions, topic.configs)

    def _topic(self, name: str, id: bytes, count: int, configs: Mapping[str, str]) -> Topic:
        return Topic(name, id, count, configs, (self._node_id,) * count)

    def _show(self, topic: Topic) -> None:
        self._topics[topic.name] = self._by_id[topic.id] = topic
        self._metric_names[_metric_name(topic.name)] = topic.name
        self._sorted = None

    def _hide(self, topic: Topic) -> None:
        del self._topics[topic.name], self._by_id[topic.id], self._metric_names[_metric_name(topic.name)]
        self._sorted = None

    async def _create(self, new: NewTopic, validate_only: bool) -> Topic:
        topic = self._plan(new)
        fact = encode_topic(topic)
        if validate_only:
            return topic
        key = PREFIX + topic.name
        await self._store.commit({key: fact})
        try:
            await self._engine.create(topic, self._config.log_config(topic.configs))
        except Exception:
            await self._take_back({}, [key])
            await self._free(topic)
            raise
        self._show(topic)
        self.log.info("created topic {topic} with {count} partition(s)", topic=topic.name, count=topic.partitions)
        return topic

    async def _auto_create(self, name: str) -> Topic:
        return self._topics.get(name) or await self._create(NewTopic(name), False)

    def _auto_created(self, result: Topic | Failure, name: str) -> None:
        for answer in self._auto.pop(name):
            answer.callback(result)

    async def _extend(
        self, name: str, count: int, assignments: Sequence[Sequence[int]] | None, validate_only: bool
    ) -> Topic:
        topic = self._topics.get(name)
        if topic is None:
            raise KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        self._rules.check_growth(topic, count, assignments)
        longer = replace(topic, partitions=count, assignments=(self._node_id,) * count)
        if validate_only:
            return longer
        key = PREFIX + name
        await self._store.commit({key: encode_topic(longer)})
        try:
            await self._engine.create(longer, self._config.log_config(longer.configs))
        except Exception:
            await self._take_back({key: encode_topic(topic)}, [])
            raise
        self._show(longer)
        self.log.info("extended topic {topic} to {count} partition(s)", topic=name, count=count)
        return longer

    async def _alter(self, name: str, changes: tuple[ConfigChange, ...], replacing: bool, validate_only: bool) -> Topic:
        check_name(name)
        topic = self._topics.get(name)
        before = {} if topic is None else topic.configs
        configs = self._rules.altered({} if replacing else before, changes)
        if topic is None:
            # only now, as Kafka's controller does
            raise KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"The topic '{name}' does not exist.")
        config = self._config.log_config(configs)
        self._engine.check_config(config)
        altered = replace(topic, configs=configs)
        fact = encode_topic(altered)
        if validate_only or configs == before:
            return altered
        await self._store.commit({PREFIX + name: fact})
        self._engine.configure(altered, config)
        self._show(altered)
        names = (one for one in before.keys() | configs.keys() if before.get(one) != configs.get(one))
        self.log.info("altered {names} of topic {topic}", names=", ".join(sorted(names)), topic=name)
        return altered

    async def _reconfigure(self, config: Config) -> None:
        before, self._config = self._config, config
        self._rules.config = config
        for topic in self._topics.values():
            inherits = config.log_config(topic.configs)
            if inherits != before.log_config(topic.configs):
                self._engine.configure(topic, inherits)

    async def _delete(self, name: str, id: bytes | None) -> Topic:
        topic = self._topics.get(name)
        if topic is None:
            raise KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION if id is None else ErrorCode.UNKNOWN_TOPIC_ID)
        if id is not None and topic.id != id:
            raise KafkaError(ErrorCode.UNKNOWN_TOPIC_ID)
        await self._store.commit({}, [PREFIX + name])
        self._hide(topic)
        await self._free(topic)
        for listener in self._deletion_listeners:
            await listener(name)
        self.log.info("deleted topic {topic}", topic=name)
        return topic

    async def _take_back(self, puts: Mapping[str, bytes], deletes: Sequence[str]) -> None:
        """Undo a commit; where that fails too, the next start makes what the facts then say."""
        try:
            await self._store.commit(puts, deletes)
        except KafkaError as error:
            self.log.error("cannot take back a change of topics: {error}", error=error)

    async def _free(self, topic: Topic) -> None:
        """Remove the logs of a topic that has no fact any more; what stays is set aside by the next start."""
        try:
            await self._engine.delete(topic)
        except KafkaError as error:
            self.log.error(
                "the logs of topic {topic} stay until the next start: {error}", topic=topic.name, error=error
            )

    def _plan(self, new: NewTopic) -> Topic:
        """The topic that C{new} asks for, checked; in the order in which Kafka's controller looks at things."""
        check_name(new.name)
        if new.name in self._topics:
            raise KafkaError(ErrorCode.TOPIC_ALREADY_EXISTS, f"Topic '{new.name}' already exists.")
        other = self._metric_names.get(_metric_name(new.name))
        if other is not None:
            raise KafkaError(
                ErrorCode.INVALID_TOPIC_EXCEPTION, f"Topic '{new.name}' collides with existing topic: {other}"
            )
        configs = self._rules.configs(new.configs)
        self._engine.check_config(self._config.log_config(configs))
        return self._topic(new.name, new_id(), self._rules.partitions(new), configs)
