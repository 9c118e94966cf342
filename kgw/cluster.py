"""Who this node is, and what address the clients of each connection are told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from kgw import __version__
from kgw.model import Broker, Feature, Leader, Topic

if TYPE_CHECKING:
    from kgw.interfaces import ILogEngine


class Arrival(Protocol):
    """Where a connection came in: the listener's name and the local address and port the client reached."""

    listener: str
    local_host: str
    local_port: int


@dataclass(frozen=True, slots=True)
class NodeStanding:
    """
    What an operator is told of one broker.

    @ivar listeners: host and port that others tell clients, by listener name; empty where there are no others.
    @ivar release: of kgw.
    @ivar incarnation: random, another one after each start and each fencing; empty where there are no others.
    @ivar is_leaving: whether it is about to stop.
    @ivar silence_s: seconds since a heartbeat of it was seen; C{None} where it sends none.
    @ivar partitions: how many it leads; C{None} where it leads all.
    @ivar slots: of groups that it coordinates (C{offsets.topic.num.partitions}); C{None} where it has all groups.
    """

    node_id: int
    rack: str | None
    release: str
    listeners: Mapping[str, tuple[str, int]]
    incarnation: str = ""
    is_leaving: bool = False
    silence_s: float | None = None
    partitions: int | None = None
    slots: int | None = None


class Cluster:
    """
    The brokers of this cluster: this node alone.

    A client is told to come back to the address it has just reached, unless C{advertised.listeners} names another
    one for its listener. So the wildcard addresses 0.0.0.0 and :: are never told to anybody.

    @ivar cluster_id: 22 characters of base64url (a uuid), as Kafka's.
    @ivar node_id: this node's C{node.id}.
    @ivar features: by name. There are none: no level of any feature of Kafka's is one that this program would act upon.
    """

    def __init__(
        self,
        cluster_id: str,
        node_id: int,
        rack: str | None,
        advertised: Mapping[str, tuple[str, int]],
        features: Mapping[str, Feature] | None = None,
        logs: ILogEngine | None = None,
    ) -> None:
        """
        @param advertised: host and port by listener name, from C{advertised.listeners}.
        @param logs: the partitions that this node leads.
        """
        self.cluster_id = cluster_id
        self.node_id = node_id
        self.rack = rack
        self.features = dict(features or {})
        self._advertised = dict(advertised)
        self._logs = logs

    @property
    def controller_id(self) -> int:
        """The node that admin clients send their changes to."""
        return self.node_id

    def node_ids(self) -> list[int]:
        """The node ids of all live brokers, in order."""
        return [self.node_id]

    def standings(self) -> list[NodeStanding]:
        """What there is to tell of each live broker, by their node ids."""
        return [NodeStanding(self.node_id, self.rack, __version__, {})]

    def unled(self) -> int:
        """How many partitions nobody leads for now."""
        return 0

    def lease_s(self) -> float | None:
        """For how many seconds this node may go on as it is; C{None} where it may do so for ever, being alone."""
        return None

    def fences(self) -> int:
        """How often this node has had to let go of all that it led."""
        return 0

    def here(self, arrival: Arrival) -> Broker:
        """This node, as the client of this connection is told to reach it."""
        host, port = self._advertised.get(arrival.listener) or (arrival.local_host, arrival.local_port)
        return Broker(self.node_id, host, port, self.rack)

    def brokers(self, arrival: Arrival) -> list[Broker]:
        """All live brokers, as the client of this connection is told to reach them."""
        return [self.here(arrival)]

    def broker(self, node_id: int, arrival: Arrival) -> Broker | None:
        """One live broker, as the client of this connection is told to reach it; C{None} where there is no such one."""
        return next((broker for broker in self.brokers(arrival) if broker.node_id == node_id), None)

    def leader(self, topic: Topic, index: int) -> Leader:
        """Who leads a partition of a topic that is there."""
        return Leader(self.node_id, -1 if self._logs is None else self._logs.partition(topic.name, index).leader_epoch)

    def coordinator(self, group_id: str, arrival: Arrival) -> Broker | None:
        """The broker that coordinates a group; C{None} where none does for now."""
        return self.here(arrival)
