"""What a handler module is: an L{Api}, and the L{Call} its C{handle} gets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.interfaces import IReactorTime

from kgw.errors import ErrorCode
from kgw.wire.compiler import Codec
from kgw.wire.header import RequestHeader

if TYPE_CHECKING:
    from kgw.cluster import Cluster
    from kgw.config import Config
    from kgw.interfaces import ILogEngine
    from kgw.log.fetch_session import FetchSessions
    from kgw.log.producer_ids import ProducerIds
    from kgw.log.topics import TopicCatalog


@dataclass(slots=True)
class Services:
    """
    Everything behind the handlers, joined by C{kgw.gateway}.

    @ivar clock: the time; C{seconds()} is epoch seconds.
    """

    config: Config
    clock: IReactorTime
    cluster: Cluster
    topics: TopicCatalog
    logs: ILogEngine
    producer_ids: ProducerIds
    fetch_sessions: FetchSessions


class Peer(Protocol):
    """
    The connection a request came in on, as far as handlers may see it.

    @ivar listener: the name of the listener, C{PLAINTEXT} where it has no other.
    @ivar local_host: the address, on this machine, that the client connected to.
    @ivar remote: the client's address and port, for people.
    @ivar software_name: what the client called itself in ApiVersions (KIP-511), or C{""}.
    """

    listener: str
    local_host: str
    local_port: int
    remote: str
    software_name: str
    software_version: str


@dataclass(slots=True)
class Call:
    """One request on its way through a handler."""

    header: RequestHeader
    peer: Peer
    services: Services

    @property
    def version(self) -> int:
        """The request's version, which is one of those the Api serves."""
        return self.header.api_version


Handle = Callable[[Any, Call], Awaitable[Any]]
Refuse = Callable[[Any, ErrorCode], Any]


@dataclass(frozen=True, eq=False, slots=True)
class Api:
    """
    One Kafka API, all its versions.

    @ivar versions: the versions whose meaning C{handle} honours, and which ApiVersions promises.
    @ivar flexible: the first flexible version (KIP-482), or C{None}.
    @ivar handle: answers a request; C{None} for an answer means that the client wants none. Raises
        L{KafkaError} only.
    @ivar refuse: the answer that carries one error for all that a request asked for.
    @ivar plain_response_header: answers have header v0 in flexible versions too (ApiVersions).
    @ivar answers_unknown_version: a request of a version outside C{versions} gets a v0 answer with
        C{UNSUPPORTED_VERSION} instead of the end of its connection (ApiVersions, KIP-511).
    """

    key: int
    name: str
    versions: range
    flexible: int | None
    request: type
    response: type
    handle: Handle
    refuse: Refuse
    plain_response_header: bool = False
    answers_unknown_version: bool = False
    _request_codecs: dict[int, Codec[Any]] = field(default_factory=dict, repr=False)
    _response_codecs: dict[int, Codec[Any]] = field(default_factory=dict, repr=False)

    def is_flexible(self, version: int) -> bool:
        """Whether messages of this version carry tags and compact lengths."""
        return self.flexible is not None and version >= self.flexible

    def request_codec(self, version: int) -> Codec[Any]:
        """The request's codec; compiled when first used."""
        codec = self._request_codecs.get(version)
        if codec is None:
            codec = self._request_codecs[version] = Codec(self.request, version, self.is_flexible(version))
        return codec

    def response_codec(self, version: int) -> Codec[Any]:
        """The response's codec; compiled when first used."""
        codec = self._response_codecs.get(version)
        if codec is None:
            codec = self._response_codecs[version] = Codec(self.response, version, self.is_flexible(version))
        return codec
