"""What a handler module is: an L{Api}, and the L{Call} its C{handle} gets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime

from kgw.errors import ErrorCode, KafkaError
from kgw.group_model import Caller
from kgw.metrics import Metrics
from kgw.wire.compiler import Buffer, Codec
from kgw.wire.header import RequestHeader

if TYPE_CHECKING:
    from kgw.cluster import Cluster
    from kgw.config import Config
    from kgw.groups.coordinator import GroupCoordinator
    from kgw.interfaces import ILogEngine, IPartitionLog
    from kgw.log.dynamic_configs import DynamicConfigs
    from kgw.log.fetch_session import FetchSessions
    from kgw.log.producer_ids import ProducerIds
    from kgw.log.topics import TopicCatalog
    from kgw.peer_log import PeerLog
    from kgw.quotas.client_quotas import ClientQuotas
    from kgw.schema.validation import SchemaPolicy

T = TypeVar("T")


@dataclass(slots=True)
class Services:
    """
    Everything behind the handlers, joined by C{kgw.gateway}.

    @ivar config: the configuration in force; another takes its place when a broker's configs are altered.
    @ivar clock: the time; C{seconds()} is epoch seconds.
    @ivar peer_log: where a handler writes about what a client did, which it may do again and again.
    @ivar apis: what ApiVersions promises: C{kgw.handlers.registry.ALL}.
    @ivar dynamic_configs: what brokers and groups were told while kgw ran.
    @ivar metrics: what is counted of requests and records.
    @ivar quotas: how fast clients may be.
    @ivar schemas: looks into records that name a schema; C{None} without a schema registry.
    """

    config: Config
    clock: IReactorTime
    cluster: Cluster
    topics: TopicCatalog
    logs: ILogEngine
    producer_ids: ProducerIds
    fetch_sessions: FetchSessions
    groups: GroupCoordinator
    peer_log: PeerLog
    apis: tuple[Api, ...]
    dynamic_configs: DynamicConfigs
    quotas: ClientQuotas
    metrics: Metrics = field(default_factory=Metrics, kw_only=True)
    schemas: SchemaPolicy | None = field(default=None, kw_only=True)


class Peer(Protocol):
    """
    The connection a request came in on, as far as handlers may see it.

    @ivar listener: the name of the listener, C{PLAINTEXT} where it has no other.
    @ivar local_host: the address, on this machine, that the client connected to.
    @ivar remote: the client's address and port, for people.
    @ivar software_name: what the client called itself in ApiVersions (KIP-511), or C{""}.
    @ivar client_id: the one it gave in ApiVersions, for people; C{""} where it has not sent that.
    """

    listener: str
    local_host: str
    local_port: int
    remote: str
    software_name: str
    software_version: str
    client_id: str

    def watch_end(self, ended: Callable[[], None]) -> None:
        """
        Have a request that waits for something to happen told when it should wait no more, but answer.

        @param ended: called at most once, inside this call where the end has begun; does not raise. Another than those
            that watch already.
        """

    def unwatch_end(self, ended: Callable[[], None]) -> None:
        """Forget C{ended}; nothing where it was called or is not known."""

    def claim_answer(self, size: int) -> int:
        """
        Set memory apart for an answer that may be of any size (Fetch), before it is made.

        @param size: the most bytes the client takes.
        @return: bytes to use at most; little where clients do not take their answers. To be given back.
        """

    def give_back_answer(self, claimed: int) -> None:
        """What L{claim_answer} returned is not needed any more: the answer is made, or none is."""

    def mute(self, seconds: float) -> None:
        """Start no more requests for so long from now (KIP-219); what was started goes on, and is answered."""


@dataclass(slots=True)
class Call:
    """
    One request on its way through a handler.

    @ivar throttle_ms: how long its connection is not to be read for what the client did; the answer says so.
    @ivar started: when work on it began, in the seconds of C{services.metrics.timer}.
    """

    header: RequestHeader
    peer: Peer
    services: Services
    throttle_ms: int = 0
    started: float = 0.0

    @property
    def version(self) -> int:
        """The request's version, which is one of those the Api serves."""
        return self.header.api_version

    @property
    def caller(self) -> Caller:
        """Who sent the request, as groups show it: the client's address without its port, as Kafka writes it."""
        peer = self.peer
        host = peer.remote.rpartition(":")[0].strip("[]") or peer.local_host
        return Caller(self.header.client_id or "", f"/{host}", f"{peer.software_name} {peer.software_version}".strip())

    def log_of(self, topic: str, partition: int, current_leader_epoch: int = -1) -> IPartitionLog:
        """
        The log of a partition that a request names.

        @param current_leader_epoch: the leader epoch the client knows, -1 where it does not say (KIP-320).
        @raise KafkaError: C{UNKNOWN_TOPIC_OR_PARTITION}, C{FENCED_LEADER_EPOCH} or C{UNKNOWN_LEADER_EPOCH}.
        """
        log = self.services.logs.partition(topic, partition)
        if current_leader_epoch >= 0 and current_leader_epoch != log.leader_epoch:
            if current_leader_epoch < log.leader_epoch:
                raise KafkaError(ErrorCode.FENCED_LEADER_EPOCH, f"{topic}-{partition} is led in a later epoch")
            raise KafkaError(ErrorCode.UNKNOWN_LEADER_EPOCH, f"{topic}-{partition} is not yet led in that epoch")
        return log

    async def before(self, deadline: float, start: Callable[[], Deferred[T]]) -> T:
        """
        Start a change of the cluster and wait for it as long as the client does.

        @param deadline: in the clock's seconds; from then on nothing is started (Kafka's controller drops a request
            whose C{timeout_ms} is over before it comes to it, so 0 changes nothing).
        @param start: starts the change, which goes on where the wait for it is given up.
        @raise KafkaError: C{REQUEST_TIMED_OUT}, or what the change fails with.
        """
        left = deadline - self.services.clock.seconds()
        if left <= 0:
            raise KafkaError(ErrorCode.REQUEST_TIMED_OUT)
        try:
            return await start().addTimeout(left, self.services.clock)
        except TimeoutError:
            raise KafkaError(ErrorCode.REQUEST_TIMED_OUT) from None


#: Answers a frame with the bytes that the general way would give, at once or later; C{None} sends it the general way.
Shortcut = Callable[[bytes, "Peer"], "list[Buffer] | Deferred[list[Buffer]] | None"]
#: Makes the shortcut of one version.
MakeShortcut = Callable[[Services, int], Shortcut]

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
    @ivar parks: a request may wait for something to happen (a long poll), and then has it end where the gateway stops:
        by L{Peer.watch_end}, or as groups do, which answer all who wait when they stop.
    @ivar produces: the size of its requests is what quotas mean by bytes that a client produces (KIP-13).
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
    parks: bool = False
    produces: bool = False
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
