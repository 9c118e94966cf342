"""The brokers of a cluster of several gateways, as the clients of this one are told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from kgw.brokers.member import Member
from kgw.brokers.model import COORDINATORS, NO_VERSION, Slot, State, Version
from kgw.cluster import Arrival, Cluster, NodeStanding
from kgw.groups.slots import slot_of
from kgw.model import Broker, Leader, Topic


class SharedCluster(Cluster):
    """
    All live gateways.

    Those that serve no listener of the name the client came to are not among them, as in Kafka.
    """

    def __init__(
        self, cluster_id: str, member: Member, rack: str | None, advertised: Mapping[str, tuple[str, int]]
    ) -> None:
        """
        @param member: this gateway, which has its node id.
        """
        super().__init__(cluster_id, member.node_id, rack, advertised)
        self._member = member
        #: Partitions by the assignment of this version, by leader; and slots of groups likewise.
        self._counted: tuple[Version, Counter[int], Counter[int]] = (NO_VERSION, Counter(), Counter())

    @property
    def controller_id(self) -> int:
        """The controller's node id, -1 where nobody is known to be it."""
        return self._member.controller_id

    def node_ids(self) -> list[int]:
        """The node ids of all live brokers, in order."""
        return sorted(self._member.brokers())

    def _counts(self) -> tuple[Counter[int], Counter[int]]:
        assignment = self._member.assignment()
        if self._counted[0] != assignment.version:
            partitions: Counter[int] = Counter()
            slots: Counter[int] = Counter()
            for id, led in assignment.topics.items():
                (slots if id == COORDINATORS else partitions).update(led.leaders)
            self._counted = assignment.version, partitions, slots
        return self._counted[1:]

    def standings(self) -> list[NodeStanding]:
        """What there is to tell of each live broker, by their node ids."""
        partitions, slots = self._counts()
        return [
            NodeStanding(
                node_id,
                entry.rack,
                entry.release,
                entry.listeners,
                entry.incarnation,
                entry.state is not State.LIVE,
                self._member.silence_s(node_id),
                partitions[node_id],
                slots[node_id],
            )
            for node_id, entry in sorted(self._member.brokers().items())
        ]

    def unled(self) -> int:
        """How many partitions nobody leads for now, or one that is not alive."""
        partitions, _ = self._counts()
        live = self._member.brokers()
        return sum(count for node_id, count in partitions.items() if node_id not in live)

    def lease_s(self) -> float | None:
        """For how many seconds this node may go on without another heartbeat."""
        return self._member.lease_s()

    def fences(self) -> int:
        """How often this node has had to let go of all that it led."""
        return self._member.fences

    def brokers(self, arrival: Arrival) -> list[Broker]:
        """All live brokers, as the client of this connection is told to reach them."""
        found = []
        for node_id, entry in self._member.brokers().items():
            if node_id == self.node_id:
                found.append(self.here(arrival))
            elif arrival.listener in entry.listeners:
                host, port = entry.listeners[arrival.listener]
                found.append(Broker(node_id, host, port, entry.rack))
        return found

    def leader(self, topic: Topic, index: int) -> Leader:
        """Who leads a partition, as far as is known here."""
        return Leader(*self._member.leader(Slot(topic.id, index)))

    def coordinator(self, group_id: str, arrival: Arrival) -> Broker | None:
        """The broker that coordinates a group; C{None} where none does for now."""
        slots = self._member.coordinator_slots
        if not slots:
            return None
        return self.broker(self._member.coordinator(slot_of(group_id, slots)).node_id, arrival)
