"""What a test of handlers stands on: all services over the memory engine, and calls through the codecs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from kgw.cluster import Cluster
from kgw.config import Config
from kgw.engine.memory import MemoryLogEngine
from kgw.engine.memory_state import MemoryStateStore
from kgw.errors import ErrorCode, KafkaError
from kgw.groups.coordinator import GroupCoordinator
from kgw.handlers.contract import Api, Call, Services
from kgw.handlers.registry import ALL
from kgw.interfaces import ILogEngine, IStateStore
from kgw.log.dynamic_configs import DynamicConfigs
from kgw.log.fetch_session import FetchSessions
from kgw.log.producer_ids import ProducerIds
from kgw.log.topics import TopicCatalog
from kgw.model import Appended, NewTopic, Topic
from kgw.peer_log import PeerLog
from kgw.quotas.client_quotas import ClientQuotas
from kgw.quotas.rate import Windows
from kgw.wire.compiler import Codec
from kgw.wire.header import RequestHeader
from kgw.wire.records import RecordBatch, build_batch

#: What the clock says when a test begins, in seconds.
START = 1_700_000_000.0


@dataclass
class StagePeer:
    """A connection that came to 10.0.0.7:9092."""

    listener: str = "PLAINTEXT"
    local_host: str = "10.0.0.7"
    local_port: int = 9092
    remote: str = "10.0.0.99:50000"
    software_name: str = ""
    software_version: str = ""
    client_id: str = ""
    room: int = 1 << 30
    claimed: int = 0
    muted: list[float] = field(default_factory=list)
    end_watchers: list[Callable[[], None]] = field(default_factory=list)

    def watch_end(self, ended: Callable[[], None]) -> None:
        """See L{kgw.handlers.contract.Peer}; the test calls what it finds in C{end_watchers}."""
        self.end_watchers.append(ended)

    def unwatch_end(self, ended: Callable[[], None]) -> None:
        """See L{kgw.handlers.contract.Peer}."""
        self.end_watchers.remove(ended)

    def claim_answer(self, size: int) -> int:
        """As much as C{room} at most."""
        claimed = min(size, self.room)
        self.claimed += claimed
        return claimed

    def give_back_answer(self, claimed: int) -> None:
        """See L{kgw.handlers.contract.Peer}."""
        self.claimed -= claimed

    def mute(self, seconds: float) -> None:
        """Remembers for how long."""
        self.muted.append(seconds)


@implementer(IStateStore)
class HeldStore:
    """
    A memory store whose commits wait for the test, where it wants them to.

    @ivar hold: let commits wait until L{let_one_through}.
    @ivar broken: let them fail instead.
    @ivar held: those that wait.
    """

    def __init__(self) -> None:
        self.facts = MemoryStateStore()
        self.held: list[tuple[Deferred[None], Mapping[str, bytes], Collection[str]]] = []
        self.hold = False
        self.broken = False

    def open(self) -> Deferred[None]:
        return self.facts.open()

    def close(self) -> Deferred[None]:
        return self.facts.close()

    def get(self, key: str) -> Deferred[bytes | None]:
        return self.facts.get(key)

    def scan(self, prefix: str) -> Deferred[list[tuple[str, bytes]]]:
        return self.facts.scan(prefix)

    def commit(self, puts: Mapping[str, bytes], deletes: Collection[str] = ()) -> Deferred[None]:
        if self.broken:
            return fail(KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, "no space left"))
        if not self.hold:
            return self.facts.commit(puts, deletes)
        waiter: Deferred[None] = Deferred()
        self.held.append((waiter, puts, deletes))
        return waiter

    def let_one_through(self) -> None:
        """Do the first of the commits that wait."""
        waiter, puts, deletes = self.held.pop(0)
        self.facts.commit(puts, deletes).chainDeferred(waiter)


class Stage:
    """
    The services of one node for one test, in memory and in virtual time.

    Requests and responses go through the codecs of their version, so what a test sees is what is on the wire.

    @ivar clock: moved by the test only.
    @ivar config: Kafka's defaults and what the test gave.
    @ivar peer: the connection that calls come in on; a test may put another one here.
    @ivar client_id: what the request header of calls says.
    """

    def __init__(
        self,
        test: SynchronousTestCase,
        properties: Mapping[str, str] | None = None,
        engine: ILogEngine | None = None,
        store: IStateStore | None = None,
    ) -> None:
        """
        @param properties: the configuration, by property name.
        @param engine: another engine than a fresh one in memory.
        @param store: another, open, store than a fresh one in memory; with the facts of an earlier run, say.
        """
        self.test = test
        self.clock = Clock()
        self.clock.advance(START)
        self.config = Config(properties or {})
        self.node_id = self.config.node_id
        if engine is None:
            engine = MemoryLogEngine(
                self.clock,
                self.config.producer_id_expiration_ms,
                self.config.log_retention_check_interval_ms / 1000,
            )
        self.engine = engine
        if store is None:
            store = MemoryStateStore()
            test.successResultOf(store.open())
        self.store = store
        self.dynamic_configs = DynamicConfigs(self.store, self.config, self.node_id, self.engine.check_config)
        test.successResultOf(self.dynamic_configs.start())
        self.config = self.dynamic_configs.config
        self.topics = TopicCatalog(self.store, self.engine, self.config, self.node_id)
        self.groups = GroupCoordinator.configured(self.config, self.store, self.clock)
        self.topics.watch_deletions(self.groups.topic_deleted)
        self.cluster = Cluster("stageStageStageStage01", self.node_id, self.config.broker_rack, {}, logs=self.engine)
        windows = Windows(self.config.quota_window_num, self.config.quota_window_size_seconds)
        self.quotas = ClientQuotas(self.store, windows, self.clock.seconds)
        test.successResultOf(self.quotas.start())
        self.services = Services(
            config=self.config,
            clock=self.clock,
            cluster=self.cluster,
            topics=self.topics,
            logs=self.engine,
            producer_ids=ProducerIds(self.store),
            fetch_sessions=FetchSessions(self.config.max_incremental_fetch_session_cache_slots),
            groups=self.groups,
            peer_log=PeerLog(Logger("kgw.test"), self.clock),
            apis=ALL,
            dynamic_configs=self.dynamic_configs,
            quotas=self.quotas,
        )
        self.dynamic_configs.watch(self._obey)
        self.peer = StagePeer()
        self.client_id: str | None = "stage"
        test.successResultOf(self.topics.start())
        test.successResultOf(self.groups.start(self.has_topic))

    def _obey(self, config: Config) -> Deferred[None]:
        self.services.config = config
        return self.topics.reconfigure(config)

    def create(self, name: str, partitions: int = 1, configs: Mapping[str, str] | None = None) -> Topic:
        """Create a topic; it can be used when this returns."""
        return self.test.successResultOf(self.topics.create(NewTopic(name, partitions, configs=configs or {})))

    def has_topic(self, name: str) -> bool:
        """Whether there is a topic of this name."""
        return self.topics.get(name) is not None

    def append(self, topic: str, partition: int = 0, records: int = 1) -> Appended:
        """Append one batch of so many records, C{b"0"}, C{b"1"} and so on, with the time of the clock."""
        now_ms = int(self.clock.seconds() * 1000)
        data = build_batch([(None, b"%d" % number, (), now_ms) for number in range(records)])
        return self.test.successResultOf(self.engine.partition(topic, partition).append(RecordBatch.parse(data)))

    def begin(self, api: Api, version: int, request: Any) -> Deferred[Any]:
        """
        Hand a request to its handler.

        @return: fires with the response as the client reads it, C{None} where there is none; fails as the handler does.
        """
        sent = _through(api.request_codec(version), request)
        call = Call(RequestHeader(api.key, version, 1, self.client_id, 0), self.peer, self.services)

        async def answer() -> Any:
            response = await api.handle(sent, call)
            return None if response is None else _through(api.response_codec(version), response)

        return Deferred.fromCoroutine(answer())

    def call(self, api: Api, version: int, request: Any) -> Any:
        """The response, as the client reads it, to a request that is answered without waiting."""
        return self.test.successResultOf(self.begin(api, version, request))

    def refuse(self, api: Api, version: int, request: Any, code: ErrorCode) -> Any:
        """The response, as the client reads it, that refuses a request."""
        response = api.refuse(_through(api.request_codec(version), request), code)
        return _through(api.response_codec(version), response)


def _through(codec: Codec[Any], value: Any) -> Any:
    """What the other side reads where this one writes C{value}."""
    encoded = b"".join(codec.encode(value))
    read, end = codec.decode(encoded)
    if end != len(encoded):
        raise AssertionError(f"{codec.cls.__qualname__} v{codec.version}: {len(encoded) - end} bytes are left over")
    return read
