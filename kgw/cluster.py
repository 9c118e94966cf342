"""Who this node is, and what address the clients of each connection are told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from kgw.model import Feature


class Arrival(Protocol):
    """Where a connection came in: the listener's name and the local address and port the client reached."""

    listener: str
    local_host: str
    local_port: int


@dataclass(frozen=True, slots=True)
class Broker:
    """One broker as clients see it."""

    node_id: int
    host: str
    port: int
    rack: str | None


class Cluster:
    """
    The brokers of this cluster: today this node alone.

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
    ) -> None:
        """
        @param advertised: host and port by listener name, from C{advertised.listeners}.
        """
        self.cluster_id = cluster_id
        self.node_id = node_id
        self.rack = rack
        self.features = dict(features or {})
        self._advertised = dict(advertised)

    @property
    def controller_id(self) -> int:
        """The node that admin clients send their changes to."""
        return self.node_id

    def here(self, arrival: Arrival) -> Broker:
        """This node, as the client of this connection is told to reach it."""
        host, port = self._advertised.get(arrival.listener) or (arrival.local_host, arrival.local_port)
        return Broker(self.node_id, host, port, self.rack)

    def brokers(self, arrival: Arrival) -> list[Broker]:
        """All live brokers, as the client of this connection is told to reach them."""
        return [self.here(arrival)]
