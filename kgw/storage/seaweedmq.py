"""The storage in SeaweedMQ: found or started, waited for, and what others keep there made known to the catalog."""

from __future__ import annotations

import base64
import os
import socket
import uuid
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from OpenSSL import SSL, crypto
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger

from kgw.brokers.interfaces import CATALOG_LOCK
from kgw.config import Config
from kgw.engine.bridge import IBridge, ThreadBridge
from kgw.engine.seaweed.broker import Broker
from kgw.engine.seaweed.calls import Calls
from kgw.engine.seaweed.connections import Connections
from kgw.engine.seaweed.discovery import Discovery
from kgw.engine.seaweed.embedded import Embedded
from kgw.engine.seaweed.filer import Filer
from kgw.engine.seaweed.filer_state import ROOT as STATE_ROOT
from kgw.engine.seaweed.folder_watch import FolderListener, FolderWatch
from kgw.engine.seaweed.h2.client import GrpcConnection, connect
from kgw.engine.seaweed.h2.security import Security, certificates, client_options, read_security
from kgw.engine.seaweed.history_cache import HistoryCache
from kgw.engine.seaweed.layout import Layout
from kgw.engine.seaweed.locks import FilerLocks, Sections
from kgw.engine.seaweed.meeting_place import FilerMeetingPlace
from kgw.engine.seaweed.offset_files import OffsetFact, OffsetFiles, OffsetKey
from kgw.engine.seaweed.partition_facts import PREFIX as PARTITIONS_PREFIX
from kgw.engine.seaweed.publishing import Publishing
from kgw.engine.seaweed.shared_engine import SharedSeaweedLogEngine
from kgw.engine.seaweed.shared_state import SharedStateStore
from kgw.errors import KafkaError, StartError
from kgw.group_model import CommittedOffset
from kgw.groups import facts as group_facts
from kgw.log.topic_facts import found_topic, stored_topic
from kgw.model import HEALTH_FACTS
from kgw.shared.sharing import Ground, Sharing
from kgw.storage import Storage

log = Logger("kgw.engine.seaweed")

#: How often an operator is told that nothing can be served yet, and why.
_COMPLAIN_S = 5.0
_RETRY_S = 1.0
_CLUSTER_KEY = "cluster/id"
#: The lock under which the columns of topics are changed.
_COLUMNS_LOCK = "kgw-columns"
#: What the keys begin with that one gateway at a time has in its hands; all others are changed in turns.
OWN_KEYS = (group_facts.PREFIX, group_facts.QUARANTINE_PREFIX, PARTITIONS_PREFIX, HEALTH_FACTS)
#: How long a call may take by which gateways learn of one another, in seconds.
_MEETING_S = 3.0


class Parts(NamedTuple):
    """
    What an engine on SeaweedMQ is made of; all of it is the storage's, which stops it after the engine.

    @ivar where: which SeaweedFS it is, for people.
    @ivar decoder: where log files are decoded, so that no call waits for a thread because of it.
    @ivar place: where gateways meet; C{sections} is what one of them at a time does.
    @ivar may_lead: whether this gateway may publish and acknowledge at this moment.
    @ivar may_wait: whether what it may not at this moment may wait for C{when_known}; see
        L{kgw.engine.seaweed.surroundings.Surroundings}.
    """

    where: str
    decoder: IBridge
    calls: Calls
    discovery: Discovery
    filer: Filer
    broker: Broker
    layout: Layout
    store: SharedStateStore
    security: Security | None
    place: FilerMeetingPlace
    sections: Sections
    may_lead: Callable[[], bool]
    may_wait: Callable[[], bool] = lambda: False
    when_known: Callable[[], Deferred[None]] = lambda: succeed(None)


def make_engine(parts: Parts, config: Config, reactor: Any) -> SharedSeaweedLogEngine:
    """The engine on these parts, not started."""
    publishing = Publishing(
        reactor=reactor,
        clock=reactor,
        discovery=parts.discovery,
        broker=parts.broker,
        filer=parts.filer,
        security=parts.security,
        unflushed_max_bytes=config.kgw_seaweedmq_unflushed_max_bytes,
        timeout_s=config.kgw_seaweedmq_timeout_ms / 1000,
        may_send=parts.may_lead,
    )
    return SharedSeaweedLogEngine(
        alone=lambda work: parts.sections.run(_COLUMNS_LOCK, lambda _: _awaited(work)),
        may_lead=parts.may_lead,
        may_wait=parts.may_wait,
        when_known=parts.when_known,
        where=parts.where,
        layout=parts.layout,
        broker=parts.broker,
        filer=parts.filer,
        store=parts.store,
        publishing=publishing,
        cache=HistoryCache(parts.decoder, config.kgw_seaweedmq_history_cache_bytes),
        clock=reactor,
        acks_all_flushed=config.kgw_seaweedmq_acks_all == "flushed",
        tail_bytes=config.kgw_tail_bytes,
        retention_check_ms=config.log_retention_check_interval_ms,
        producer_id_expiration_ms=config.producer_id_expiration_ms,
        snapshot_ms=config.log_flush_offset_checkpoint_interval_ms,
    )


class SeaweedStorage(Storage):
    """
    Logs in SeaweedMQ, facts in SeaweedFS' filer.

    It is waited for, however long it takes: an engine that is not there is no reason to end, as it would be none for
    a broker that has lost its disk's other half. Only what an operator has to change in the configuration is.

    Other gateways may be on the same SeaweedMQ.
    """

    is_shared = True

    def __init__(
        self,
        config: Config,
        reactor: Any,
        engine: Callable[[Parts, Config, Any], Any] = make_engine,
    ) -> None:
        """
        @param engine: makes the engine of its parts, which is both L{ILogEngine} and L{ISharedLogs}.
        @raise StartError: C{weed} or a certificate cannot be used.
        """
        self._config = config
        self._reactor = reactor
        self._engine = engine
        self._security = _security(config)
        self._bridge = ThreadBridge(reactor, config.kgw_seaweedmq_threads, "kgw-weed")
        self._calls = Calls(self._bridge, self._security, config.kgw_seaweedmq_timeout_ms / 1000)
        self._decoder = ThreadBridge(reactor, 1, "kgw-decode")
        self._embedded: Embedded | None = None
        if config.kgw_seaweedmq_embedded_dir:
            self._embedded = Embedded(
                reactor, config.kgw_seaweedmq_embedded_dir, self._calls, config.kgw_seaweedmq_embedded_memory_bytes
            )
        # what keeps a gateway's lease waits for nobody else's calls
        self._meeting_bridge = ThreadBridge(reactor, 2, "kgw-meet")
        self._meeting_calls = Calls(self._meeting_bridge, self._security, _MEETING_S)
        self._connections = Connections(self._connected)
        self._sharing: Sharing | None = None
        self._watch: FolderWatch | None = None
        self._parts: Parts | None = None
        self._masters: tuple[str, ...] = ()
        self._made: Any = None
        self._bridges = (self._bridge, self._decoder, self._meeting_bridge)
        self._running = False
        self._why = ""

    async def _open(self) -> None:
        for bridge in self._bridges:
            bridge.start()
        self._connections.start()
        self._running = True
        masters = self._config.kgw_seaweedmq_masters
        if self._embedded is not None:
            await self._embedded.start()
            masters = tuple(self._embedded.masters)
        parts = self._parts = self._compose(masters)
        self.facts = parts.store
        self.logs = self._made = self._engine(parts, self._config, self._reactor)
        parts.discovery.start()
        self._masters = masters
        await self._until_done(parts.discovery.ready)

    def join(self, sharing: Sharing, bound: Mapping[str, tuple[str, int]]) -> Deferred[None]:
        """See L{Storage.join}; the engine is waited for."""
        return Deferred.fromCoroutine(self._join(sharing, bound))

    async def _join(self, sharing: Sharing, bound: Mapping[str, tuple[str, int]]) -> None:
        parts, engine = self._parts, self._made
        assert parts is not None, "it was not opened"
        self._sharing = sharing
        ground = Ground(parts.place, parts.sections, parts.store, engine)

        async def join() -> None:
            await parts.discovery.ready()
            await sharing.join(ground, bound)

        async def read(_: object) -> None:
            await self._read(parts, sharing)

        await self._until_done(lambda: Deferred.fromCoroutine(join()))
        # others may be about to do the same
        await self._until_done(lambda: parts.sections.run(CATALOG_LOCK, read))
        listener = _TopicListener(sharing.changed)
        self._watch = self._watching(parts.discovery, f"{STATE_ROOT}/topics", listener)
        self._watch.start()

    def while_away(self, work: Callable[[], Deferred[None]]) -> Deferred[None]:
        """See L{Storage.while_away}: an engine that has just gone is waited for as one that is not there yet."""
        return Deferred.fromCoroutine(self._until_done(work))

    async def _close(self) -> None:
        parts, self._parts = self._parts, None
        if self._watch is not None:
            self._watch.stop()
        try:
            if parts is not None:
                await self.logs.stop()
                await parts.store.close()
        finally:
            if parts is not None:
                parts.discovery.stop()
                parts.filer.stop()
            await self._connections.stop()
            self._calls.stop()
            self._meeting_calls.stop()
            # last of all: until here records were written to it
            if self._embedded is not None:
                await self._embedded.stop()
            if self._running:
                self._running = False
                for bridge in self._bridges:
                    bridge.stop()

    def _compose(self, masters: tuple[str, ...]) -> Parts:
        calls, reactor = self._calls, self._reactor

        def may_write() -> bool:
            return self._sharing is not None and self._sharing.may_write()

        try:
            discovery = Discovery(calls, reactor, masters)
        except ValueError as error:
            raise StartError(f"kgw.seaweedmq.masters: {error}") from error
        filer = Filer(calls, discovery.filer_address, discovery.filer_http, may_write=may_write)
        broker = Broker(calls, filer, discovery.broker_address)
        meeting_filer = Filer(self._meeting_calls, discovery.filer_address, discovery.filer_http)
        locks = FilerLocks(self._meeting_calls, discovery.filer_address)
        sections = Sections(locks, reactor, f"{socket.gethostname()} {os.getpid()}")
        store = SharedStateStore(filer, reactor, sections, may_write, OWN_KEYS, routes=[offset_files()])
        return Parts(
            where=self._embedded.directory if self._embedded is not None else ",".join(masters),
            decoder=self._decoder,
            calls=calls,
            discovery=discovery,
            filer=filer,
            broker=broker,
            layout=Layout(store, broker, filer, reactor),
            store=store,
            security=self._security,
            place=FilerMeetingPlace(
                meeting_filer, locks, lambda folder, listener: self._watching(discovery, folder, listener), reactor
            ),
            sections=sections,
            may_lead=lambda: self._sharing is not None and self._sharing.may_lead(),
            may_wait=lambda: self._sharing is not None and self._sharing.may_wait(),
            when_known=lambda: succeed(None) if self._sharing is None else self._sharing.when_known(),
        )

    def _connected(self, address: str) -> Deferred[GrpcConnection]:
        return connect(self._reactor, address, self._security, _MEETING_S)

    def _watching(self, discovery: Discovery, folder: str, listener: FolderListener) -> FolderWatch:
        return FolderWatch(self._connections, discovery.filer_address, self._reactor, folder, listener)

    async def _until_done(self, work: Callable[[], Deferred[None]]) -> None:
        """Do something again and again where the engine goes away meanwhile; an operator is told that it is away."""
        complaint = LoopingCall(self._complain)
        complaint.clock = self._reactor
        complaint.start(_COMPLAIN_S, now=False)
        try:
            while True:
                try:
                    await work()
                except KafkaError as error:
                    self._why = error.message
                    await deferLater(self._reactor, _RETRY_S)
                else:
                    self._why = ""
                    return
        finally:
            complaint.stop()

    async def _read(self, parts: Parts, sharing: Sharing) -> None:
        await sharing.enter()
        await parts.store.recover()
        self.cluster_id = await self._identify(parts.store)
        await parts.layout.load()
        await self._adopt(parts)
        await parts.store.drained()

    async def _identify(self, store: SharedStateStore) -> str:
        """The cluster's id, kept in the filer from the first gateway on."""
        kept, wanted = await store.get(_CLUSTER_KEY), self._config.kgw_cluster_id
        if kept is None:
            made = wanted or base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
            await store.commit({_CLUSTER_KEY: made.encode()})
            return made
        found = kept.decode("ascii", "replace")
        if wanted and wanted != found:
            raise StartError(f"this SeaweedFS belongs to cluster {found}, not to {wanted}: see kgw.cluster.id")
        return found

    async def _adopt(self, parts: Parts) -> None:
        """Tell the catalog of engine topics that others made, such as SeaweedFS' own Kafka gateway."""
        for name, partitions in await parts.layout.adopt():
            try:
                key, fact = found_topic(name, partitions)
            except KafkaError as error:
                log.warn("engine topic {topic} is no topic of kgw's: {reason}", topic=name, reason=error.message)
                continue
            kept = await parts.store.get(key)
            if kept is None:
                await parts.store.commit({key: fact})
                log.info("found topic {topic} with {count} partition(s) in SeaweedMQ", topic=name, count=partitions)
            topic = stored_topic(key, kept or fact)
            if topic.id not in parts.layout.known():
                # also what a gateway that ended just here has left to do
                await parts.layout.create(topic)

    def _complain(self) -> None:
        if self._embedded is not None:
            where = f"the embedded SeaweedFS in {self._embedded.directory}"
            advice = "weed.log there tells what it does"
        else:
            where = f"SeaweedMQ, masters {','.join(self._masters)}"
            advice = "start 'weed server -filer' and 'weed mq.broker' there, or set kgw.seaweedmq.masters (--masters)"
        # an embedded engine takes longer than that every time
        tell = log.warn if self._embedded is None or self._why else log.info
        tell(
            "no clients yet: waiting for {where}; {advice}{why}",
            where=where,
            advice=advice,
            why=f" ({self._why})" if self._why else "",
        )


async def _awaited(work: Callable[[], Deferred[Any]]) -> Any:
    return await work()


class _TopicListener:
    """Told of changes in the folder of topics; it matters only that there are some."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed

    def changed(self, directory: str, name: str, content: bytes | None) -> None:
        """See L{FolderListener.changed}."""
        self._changed()

    def look_anew(self) -> None:
        """See L{FolderListener.look_anew}."""
        self._changed()


def _security(config: Config) -> Security | None:
    """What TLS needs; C{None} without an authority, which is the switch for it."""
    if not config.kgw_seaweedmq_tls_ca_file:
        return None
    try:
        security = read_security(
            config.kgw_seaweedmq_tls_ca_file,
            config.kgw_seaweedmq_tls_cert_file or None,
            config.kgw_seaweedmq_tls_key_file or None,
            check_name=config.kgw_seaweedmq_tls_check_names,
        )
        if not certificates(security.ca_pem or b""):
            raise ValueError(f"no certificate is in {config.kgw_seaweedmq_tls_ca_file}")
        # every connection would fail with what is wrong in them
        client_options("localhost", security)
    except OSError as error:
        raise StartError(f"kgw.seaweedmq.tls: {error.filename}: {error.strerror}") from error
    except (SSL.Error, crypto.Error, ValueError) as error:
        raise StartError(f"the files of kgw.seaweedmq.tls cannot be used: {error or 'no PEM'}") from error
    return security


def offset_files() -> OffsetFiles:
    """Where committed offsets are: as the facts of groups have them, in files as SeaweedFS' gateway has them."""

    def parse(key: str) -> OffsetKey | None:
        place = group_facts.place_of(key)
        return OffsetKey(*place) if isinstance(place, group_facts.OffsetPlace) else None

    def spell(group: str, topic: str, partition: int) -> str:
        return group_facts.offset_key(group_facts.group_prefix(group), topic, partition)

    def encode(fact: OffsetFact) -> bytes:
        committed = CommittedOffset(fact.offset, fact.leader_epoch, fact.metadata)
        return group_facts.encode_offset(group_facts.KeptOffset(committed, fact.commit_ms, fact.expire_ms))

    def decode(value: bytes) -> OffsetFact:
        committed, commit_ms, expire_ms = group_facts.decode_offset(value)
        return OffsetFact(*committed, commit_ms, expire_ms)

    return OffsetFiles(group_facts.PREFIX, parse, spell, encode, decode)
