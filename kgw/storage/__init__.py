"""What keeps a gateway's data: each engine with its state store, opened before all else and closed after it."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred

from kgw.config import Config
from kgw.engine.bridge import ThreadBridge
from kgw.engine.local.cleaner import CleanerLimits
from kgw.engine.local.directory import DataDirectory
from kgw.engine.local.engine import LocalLogEngine
from kgw.engine.local.state_store import SqliteStateStore
from kgw.engine.memory import MemoryLogEngine
from kgw.engine.memory_state import MemoryStateStore
from kgw.errors import StartError
from kgw.interfaces import ILogEngine, IStateStore
from kgw.shared.sharing import Sharing

#: Where the data directory keeps topics, committed offsets and other small facts.
_FACTS_FILE = "state.sqlite"

#: What may be missing where kgw was installed without its extra.
_SEAWEED_PACKAGES = ("grpc", "google", "h2", "hpack", "hyperframe")


class Storage:
    """
    An engine and a state store.

    @ivar cluster_id: which cluster the data are of; known once L{open} has fired, as are the others.
    @ivar logs: not started, which is the topic catalog's to do.
    @ivar facts: open.
    @cvar is_shared: whether other gateways have the same data; then L{join} is called once L{open} has fired.
    """

    cluster_id: str
    logs: ILogEngine
    facts: IStateStore
    is_shared = False

    def open(self) -> Deferred[None]:
        """
        Make the data ready; may be cancelled.

        @return: fails with L{StartError} or C{KAFKA_STORAGE_ERROR}; L{close} is called in any case.
        """
        return Deferred.fromCoroutine(self._open())

    def while_away(self, work: Callable[[], Deferred[None]]) -> Deferred[None]:
        """
        Do a part of the start that needs the engine, again where that has gone away meanwhile; may be cancelled.

        @param work: what can be done again when it has failed.
        @return: fails as C{work} does, save where the engine is waited for.
        """
        return work()

    def join(self, sharing: Sharing, bound: Mapping[str, tuple[str, int]]) -> Deferred[None]:
        """
        Become one of the gateways that share the data; may be cancelled.

        @param bound: host and port of the listeners that have some.
        @return: fails with L{StartError}.
        """
        raise TypeError("nobody shares these data")

    def close(self) -> Deferred[None]:
        """Stop the engine, close the store and let go of everything; of what was opened, where that is not all."""
        return Deferred.fromCoroutine(self._close())

    async def _open(self) -> None:
        await self.facts.open()

    async def _close(self) -> None:
        await self.logs.stop()
        await self.facts.close()


def storage_of(config: Config, reactor: Any) -> Storage:
    """
    The storage that the configuration asks for.

    @raise StartError: it cannot be had here.
    @raise KafkaError: C{KAFKA_STORAGE_ERROR}: the data directory cannot be used.
    """
    if config.kgw_engine == "memory":
        return MemoryStorage(config, reactor)
    if config.kgw_engine == "local":
        return LocalStorage(config, reactor)
    try:
        from kgw.storage.seaweedmq import SeaweedStorage
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _SEAWEED_PACKAGES:
            raise
        raise StartError(
            f"kgw.engine=seaweedmq needs {package}, which is not installed: pip install 'kgw[seaweed]'"
        ) from error
    return SeaweedStorage(config, reactor)


class MemoryStorage(Storage):
    """Nothing outlives the gateway."""

    def __init__(self, config: Config, reactor: Any) -> None:
        made = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        self.cluster_id = config.kgw_cluster_id or made
        self.logs = MemoryLogEngine(
            reactor, config.producer_id_expiration_ms, config.log_retention_check_interval_ms / 1000
        )
        self.facts = MemoryStateStore()


class LocalStorage(Storage):
    """The data directory, locked while this is there."""

    def __init__(self, config: Config, reactor: Any) -> None:
        directory = self._directory = DataDirectory.open(
            config.data_directory, config.node_id, config.kgw_cluster_id or None, _FACTS_FILE
        )
        try:
            bridge, reader, cleaning = self._bridges = (
                ThreadBridge(reactor),
                ThreadBridge(reactor, name="kgw-read"),
                ThreadBridge(reactor, 1, name="kgw-clean"),
            )
            self.cluster_id = directory.cluster_id
            self.logs = LocalLogEngine(
                directory,
                reactor,
                bridge,
                tail_bytes=config.kgw_tail_bytes,
                retention_check_ms=config.log_retention_check_interval_ms,
                producer_id_expiration_ms=config.producer_id_expiration_ms,
                checkpoint_ms=config.log_flush_offset_checkpoint_interval_ms,
                recycle_bytes=config.kgw_recycle_max_bytes,
                reader=reader,
                cleaning=cleaning,
                cleaner_limits=CleanerLimits(
                    enabled=config.log_cleaner_enable,
                    backoff_ms=config.log_cleaner_backoff_ms,
                    dedupe_bytes=config.log_cleaner_dedupe_buffer_size,
                    bytes_per_second=config.log_cleaner_io_max_bytes_per_second,
                    chunk_bytes=config.log_cleaner_io_buffer_size,
                ),
            )
            self.facts = SqliteStateStore(f"{directory.path}/{_FACTS_FILE}", reactor, full=config.kgw_state_sync)
            for each in self._bridges:
                each.start()
        except BaseException:
            directory.close()
            raise

    async def _close(self) -> None:
        try:
            await super()._close()
        finally:
            for bridge in self._bridges:
                bridge.stop()
            self._directory.close()
