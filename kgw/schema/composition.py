"""Joins the schema registry and what is done with it to a service; imported where a registry is configured only."""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL, crypto
from twisted.internet.defer import Deferred

from kgw.config import Config
from kgw.engine.bridge import ThreadBridge
from kgw.errors import StartError
from kgw.interfaces import ILogEngine
from kgw.schema.codecs import Codecs
from kgw.schema.formats import codec_of
from kgw.schema.interfaces import ISchemaRegistry
from kgw.schema.registry import Memory, SchemaRegistryClient
from kgw.schema.registry_http import Connections, RegistryHttp, basic, bearer
from kgw.schema.registry_security import RegistryPolicy
from kgw.schema.validation import SchemaPolicy

#: Threads that make codecs: a compiler of Protobuf runs for each.
_THREADS = 2


class Schemas:
    """
    A registry's client and the policy, with the threads that make codecs.

    @ivar policy: for handlers.
    """

    def __init__(self, config: Config, reactor: Any, logs: ILogEngine) -> None:
        """
        @raise StartError: a file of C{kgw.schema.registry.ssl} cannot be used.
        """
        self._config = config
        self._bridge = ThreadBridge(reactor, _THREADS, name="kgw-schema")
        self._registry = registry_of(config, reactor)
        self.policy = SchemaPolicy(
            self._registry,
            Codecs(self._registry, self._bridge.call, reactor, codec_of),
            logs,
            reactor,
            timeout_s=config.kgw_schema_registry_request_timeout_ms / 1000,
            need_subject=config.kgw_schema_topics_need_subject,
        )
        self._running = False

    def start(self) -> Deferred[None]:
        """Begin; whether the registry is there makes no difference."""
        self._running = True
        self._bridge.start()
        return self._registry.start()

    def hurry(self) -> Deferred[None]:
        """Wait for the registry no more: what waits for it goes on without it, or is refused. Fires when it is left."""
        return self._registry.stop()

    def stop(self) -> None:
        """Let go of the threads; to be called behind L{hurry}."""
        if self._running:
            self._running = False
            self._bridge.stop()

    def describe(self) -> str:
        """Which registry it is, and what is done with records, for people."""
        return f"schema registry {self._registry.describe()}, validation {self._config.kgw_schema_validation}"


def registry_of(config: Config, reactor: Any) -> ISchemaRegistry:
    """
    The client of the registry that is configured, not started.

    @raise StartError: a file of C{kgw.schema.registry.ssl} cannot be used.
    """
    timeout = config.kgw_schema_registry_request_timeout_ms / 1000
    connections = Connections(reactor, _policy(config), timeout)
    authorization = None
    if config.kgw_schema_registry_basic_auth_user_info:
        authorization = basic(config.kgw_schema_registry_basic_auth_user_info)
    elif config.kgw_schema_registry_bearer_auth_token:
        authorization = bearer(config.kgw_schema_registry_bearer_auth_token)
    http = RegistryHttp(config.kgw_schema_registry_url, connections.agent, reactor, authorization, timeout)
    memory = Memory(
        schemas=config.kgw_schema_registry_cache_capacity,
        schema_bytes=config.kgw_schema_registry_cache_max_bytes,
        latest_s=config.kgw_schema_registry_latest_cache_ttl_ms / 1000,
        missing_s=config.kgw_schema_registry_missing_cache_ttl_ms / 1000,
    )
    return SchemaRegistryClient(http, reactor, memory, connections.close)


def _policy(config: Config) -> RegistryPolicy:
    try:
        return RegistryPolicy(
            _content(config.kgw_schema_registry_ssl_ca_location),
            _content(config.kgw_schema_registry_ssl_certificate_location),
            _content(config.kgw_schema_registry_ssl_key_location) or b"",
        )
    except OSError as error:
        raise StartError(f"kgw.schema.registry.ssl: {error.filename}: {error.strerror}") from error
    except (SSL.Error, crypto.Error, ValueError) as error:
        raise StartError(f"the files of kgw.schema.registry.ssl cannot be used: {error or 'no PEM'}") from error


def _content(path: str) -> bytes | None:
    if not path:
        return None
    with open(path, "rb") as file:
        return file.read()
