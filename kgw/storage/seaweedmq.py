"""The storage in SeaweedMQ: found or started, waited for, and what others keep there made known to the catalog."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Callable
from typing import Any, NamedTuple

from OpenSSL import SSL, crypto
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger

from kgw.config import Config
from kgw.engine.bridge import IBridge, ThreadBridge
from kgw.engine.seaweed.broker import Broker
from kgw.engine.seaweed.calls import Calls
from kgw.engine.seaweed.discovery import Discovery
from kgw.engine.seaweed.embedded import Embedded
from kgw.engine.seaweed.engine import SeaweedLogEngine
from kgw.engine.seaweed.filer import Filer
from kgw.engine.seaweed.filer_state import FilerStateStore
from kgw.engine.seaweed.h2.security import Security, certificates, client_options, read_security
from kgw.engine.seaweed.history_cache import HistoryCache
from kgw.engine.seaweed.layout import Layout
from kgw.engine.seaweed.offset_files import OffsetFact, OffsetFiles, OffsetKey
from kgw.engine.seaweed.publishing import Publishing
from kgw.errors import KafkaError, StartError
from kgw.group_model import CommittedOffset
from kgw.groups import facts as group_facts
from kgw.interfaces import ILogEngine
from kgw.log.topics import found_topic
from kgw.storage import Storage

log = Logger("kgw.engine.seaweed")

#: How often an operator is told that nothing can be served yet, and why.
_COMPLAIN_S = 5.0
_RETRY_S = 1.0
_CLUSTER_KEY = "cluster/id"


class Parts(NamedTuple):
    """
    What an engine on SeaweedMQ is made of; all of it is the storage's, which stops it after the engine.

    @ivar where: which SeaweedFS it is, for people.
    @ivar decoder: where log files are decoded, so that no call waits for a thread because of it.
    """

    where: str
    decoder: IBridge
    calls: Calls
    discovery: Discovery
    filer: Filer
    broker: Broker
    layout: Layout
    store: FilerStateStore
    security: Security | None


def make_engine(parts: Parts, config: Config, reactor: Any) -> ILogEngine:
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
    )
    return SeaweedLogEngine(
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
    """

    def __init__(
        self,
        config: Config,
        reactor: Any,
        engine: Callable[[Parts, Config, Any], ILogEngine] = make_engine,
    ) -> None:
        """
        @param engine: makes the engine of its parts.
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
        self._parts: Parts | None = None
        self._masters: tuple[str, ...] = ()
        self._running = self._read_store = False
        self._why = ""

    async def _open(self) -> None:
        for bridge in (self._bridge, self._decoder):
            bridge.start()
        self._running = True
        masters = self._config.kgw_seaweedmq_masters
        if self._embedded is not None:
            await self._embedded.start()
            masters = tuple(self._embedded.masters)
        parts = self._parts = self._compose(masters)
        self.facts = parts.store
        self.logs = self._engine(parts, self._config, self._reactor)
        parts.discovery.start()
        self._masters = masters

        async def read() -> None:
            await parts.discovery.ready()
            await self._read(parts)

        await self._until_done(lambda: Deferred.fromCoroutine(read()))

    def while_away(self, work: Callable[[], Deferred[None]]) -> Deferred[None]:
        """See L{Storage.while_away}: an engine that has just gone is waited for as one that is not there yet."""
        return Deferred.fromCoroutine(self._until_done(work))

    async def _close(self) -> None:
        parts, self._parts = self._parts, None
        try:
            if parts is not None:
                await self.logs.stop()
                await parts.store.close()
        finally:
            if parts is not None:
                parts.discovery.stop()
                parts.filer.stop()
            self._calls.stop()
            # last of all: until here records were written to it
            if self._embedded is not None:
                await self._embedded.stop()
            if self._running:
                self._running = False
                for bridge in (self._bridge, self._decoder):
                    bridge.stop()

    def _compose(self, masters: tuple[str, ...]) -> Parts:
        calls, reactor = self._calls, self._reactor
        try:
            discovery = Discovery(calls, reactor, masters)
        except ValueError as error:
            raise StartError(f"kgw.seaweedmq.masters: {error}") from error
        filer = Filer(calls, discovery.filer_address, discovery.filer_http)
        broker = Broker(calls, filer, discovery.broker_address)
        store = FilerStateStore(filer, reactor, routes=[offset_files()])
        layout = Layout(store, broker, filer, reactor)
        where = self._embedded.directory if self._embedded is not None else ",".join(masters)
        return Parts(where, self._decoder, calls, discovery, filer, broker, layout, store, self._security)

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

    async def _read(self, parts: Parts) -> None:
        if not self._read_store:
            await parts.store.open()
            self._read_store = True
        self.cluster_id = await self._identify(parts.store)
        await parts.layout.load()
        await self._adopt(parts)

    async def _identify(self, store: FilerStateStore) -> str:
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
            if await parts.store.get(key) is None:
                await parts.store.commit({key: fact})
                log.info("found topic {topic} with {count} partition(s) in SeaweedMQ", topic=name, count=partitions)

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
