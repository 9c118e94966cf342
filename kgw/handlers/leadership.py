"""Who leads a partition now, for clients that asked another broker (KIP-951)."""

from __future__ import annotations

from collections.abc import Iterable

from kgw.errors import ErrorCode
from kgw.handlers.contract import Peer, Services
from kgw.model import NO_LEADER, Broker, Leader

#: Errors with which Produce and Fetch say who leads the partition.
MOVED = frozenset({ErrorCode.NOT_LEADER_OR_FOLLOWER, ErrorCode.FENCED_LEADER_EPOCH})


def current_leader(name: str | bytes, index: int, services: Services) -> Leader:
    """
    The leader of a partition as far as it is known here.

    @param name: the topic's name, or its id.
    """
    topics = services.topics
    topic = topics.get(name) if isinstance(name, str) else topics.by_id(name)
    if topic is None or not 0 <= index < topic.partitions:
        return NO_LEADER
    return services.cluster.leader(topic, index)


def endpoints(leaders: Iterable[int], services: Services, peer: Peer) -> list[Broker]:
    """The brokers of these node ids, each once, as the client is told to reach them; without those that are gone."""
    wanted = set(leaders)
    return [broker for broker in services.cluster.brokers(peer) if broker.node_id in wanted] if wanted else []
