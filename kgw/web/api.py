"""The JSON pages: topics, groups, connections, configuration and brokers, as they are right now."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

from kgw import __version__
from kgw.cluster import NodeStanding
from kgw.config import ConfigEntry
from kgw.errors import ErrorCode, KafkaError
from kgw.gateway import Gateway
from kgw.group_model import CommittedOffset, DescribedMember, GroupDescription
from kgw.handlers.contract import Services
from kgw.model import Bounds, Topic
from kgw.net.protocol import KafkaProtocol
from kgw.web.assignment import parse_assignment
from kgw.web.paging import Page, in_turns
from kgw.web.server import HttpError

Json = dict[str, Any]
Place = tuple[str, int]

#: So many groups are looked at before others get their turn; each may have committed offsets of many partitions.
_GROUPS_SLICE = 10


class Pages:
    """
    The pages of one gateway that has started.

    Each takes the part of its list that is asked for, and none changes anything.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    @property
    def _services(self) -> Services:
        return self._gateway.services

    async def index(self, page: Page) -> Json:
        """Who this is, and what else there is to see."""
        names = ("brokers", "config", "connections", "groups", "groups/{id}", "topics", "topics/{name}")
        return {
            "kgw": __version__,
            "cluster_id": self._services.cluster.cluster_id,
            "node_id": self._services.cluster.node_id,
            "pages": [f"/api/{name}" for name in names],
        }

    async def brokers(self, page: Page) -> Json:
        """The nodes, their listeners, what clients of each are told, and how much each leads."""
        config, cluster = self._gateway.config, self._services.cluster
        listeners = []
        for listener in config.listeners:
            advertised = config.advertised_listeners.get(listener.name)
            try:
                port: int | None = self._gateway.port(listener.name)
            except KeyError:  # a UNIX socket has none
                port = None
            listeners.append(
                {
                    "name": listener.name,
                    "security_protocol": listener.security_protocol,
                    "endpoint": listener.endpoint,
                    "port": port,
                    # null: each client is told the address it came to
                    "advertised": f"{advertised[0]}:{advertised[1]}" if advertised else None,
                }
            )
        standings = cluster.standings()
        if all(node.node_id != cluster.node_id for node in standings):
            # it is out of the cluster for now, which is when somebody looks
            standings.append(NodeStanding(cluster.node_id, cluster.rack, __version__, {}, partitions=0, slots=0))
        nodes = [
            _broker(node, listeners if node.node_id == cluster.node_id else _told(node), cluster.controller_id)
            for node in standings
        ]
        lease_s = cluster.lease_s()
        return {
            "cluster_id": cluster.cluster_id,
            "node_id": cluster.node_id,
            "controller_id": cluster.controller_id,
            # null: it is alone and needs none
            "lease_seconds": None if lease_s is None else round(lease_s, 3),
            "fences": cluster.fences(),
            "unled_partitions": cluster.unled(),
            "brokers": nodes,
        }

    async def config(self, page: Page) -> Json:
        """All properties, without the values of those that are secret."""
        entries = self._services.config.describe_broker()
        return {**page.frame(len(entries)), "configs": [_config(entry) for entry in page.of(entries)]}

    async def connections(self, page: Page) -> Json:
        """Who is connected."""
        live = list(self._gateway.connections)
        shown = [
            {
                "remote": one.remote,
                "listener": one.listener,
                "client_id": one.client_id,
                "software_name": one.software_name,
                "software_version": one.software_version,
                "requests": one.requests,
                "in_flight": one.in_flight,
                "unsent_bytes": one.unsent,
            }
            for one in page.of(live)
            if isinstance(one, KafkaProtocol)
        ]
        return {**page.frame(len(live)), "connections": shown}

    async def topics(self, page: Page) -> Json:
        """The topics, and what is set on each."""
        topics = self._services.topics.all()
        return {**page.frame(len(topics)), "topics": [_topic(topic) for topic in page.of(topics)]}

    async def topic(self, name: str, page: Page) -> Json:
        """
        One topic with its configs and its partitions.

        @raise HttpError: 404.
        """
        topic = self._services.topics.get(name)
        if topic is None:
            raise HttpError(404, f"there is no topic {name!r}")
        partitions = []
        async for index in in_turns(page.of(range(topic.partitions)), self._services.clock):
            bounds = await self._bounds((name, index))
            leader = self._services.cluster.leader(topic, index)
            partitions.append(
                {
                    "partition": index,
                    "leader": leader.node_id,
                    # offsets are known where it is led
                    "leader_epoch": bounds.leader_epoch if bounds else leader.epoch,
                    "log_start_offset": bounds and bounds.log_start_offset,
                    "high_watermark": bounds and bounds.high_watermark,
                    "last_stable_offset": bounds and bounds.last_stable_offset,
                }
            )
        return {
            **_topic(topic),
            "effective_configs": [_config(entry) for entry in self._services.config.describe_topic(topic.configs)],
            "partitions": {**page.frame(topic.partitions), "items": partitions},
        }

    async def groups(self, page: Page) -> Json:
        """The groups, with the number of their members and how far each is behind."""
        listed = await self._services.groups.list_groups()
        shown = []
        async for one in in_turns(page.of(listed), self._services.clock, _GROUPS_SLICE):
            try:
                described = await self._services.groups.describe(one.group_id)
                committed = await self._services.groups.committed(one.group_id)
            except KafkaError:
                continue  # deleted meanwhile
            shown.append(
                {
                    "group": one.group_id,
                    "type": one.group_type,
                    "state": one.state,
                    "protocol_type": one.protocol_type,
                    "members": len(described.members),
                    "total_lag": await self._total_lag(committed),
                }
            )
        return {**page.frame(len(listed)), "groups": shown}

    async def group(self, group_id: str, page: Page) -> Json:
        """
        One group: its members and what each reads, how far it is in each partition, what happened to it lately.

        @raise HttpError: 404.
        """
        groups = self._services.groups
        history = [{"time": _time(event.time), "event": event.text} for event in groups.history(group_id)]
        try:
            described = await groups.describe(group_id)
        except KafkaError as error:
            if error.code is not ErrorCode.GROUP_ID_NOT_FOUND or not history:
                raise HttpError(404, f"there is no group {group_id!r}") from None
            described = GroupDescription(group_id, "Dead", "", "", ())
        committed = await groups.committed(group_id)
        places = sorted(committed)
        offsets = []
        async for place in in_turns(page.of(places), self._services.clock):
            offsets.append(_offset(place, committed[place], await self._bounds(place)))
        members = described.members
        return {
            "group": group_id,
            "state": described.state,
            "protocol_type": described.protocol_type,
            "protocol": described.protocol_name,
            "members": {**page.frame(len(members)), "items": [_member(one) for one in page.of(members)]},
            "total_lag": await self._total_lag(committed),
            "offsets": {**page.frame(len(places)), "items": offsets},
            "history": history,
        }

    async def _total_lag(self, committed: dict[Place, CommittedOffset]) -> int | None:
        """Over all partitions that can be read; C{None} where another node leads some of them, who knows it."""
        total = 0
        cluster, topics = self._services.cluster, self._services.topics
        async for place in in_turns(list(committed), self._services.clock):
            bounds = await self._bounds(place)
            topic = topics.get(place[0])
            if bounds is None and topic is not None and cluster.leader(topic, place[1]).node_id != cluster.node_id:
                return None
            total += _lag(committed[place], bounds) or 0
        return total

    async def _bounds(self, place: Place) -> Bounds | None:
        """The bounds of a log; C{None} where it is not there or cannot be read now."""
        try:
            return await self._services.logs.partition(*place).bounds()
        except KafkaError:
            return None


def _broker(node: NodeStanding, listeners: list[Json], controller_id: int) -> Json:
    return {
        "node_id": node.node_id,
        "rack": node.rack,
        "release": node.release,
        "incarnation": node.incarnation or None,
        "controller": node.node_id == controller_id,
        "leaving": node.is_leaving,
        "heartbeat_age_seconds": None if node.silence_s is None else round(node.silence_s, 3),
        # null: it is alone and leads all
        "partitions_led": node.partitions,
        "group_slots": node.slots,
        "listeners": listeners,
    }


def _told(node: NodeStanding) -> list[Json]:
    """What another node lets others know of its listeners."""
    return [{"name": name, "advertised": f"{host}:{port}"} for name, (host, port) in sorted(node.listeners.items())]


def _topic(topic: Topic) -> Json:
    return {
        "topic": topic.name,
        "id": base64.urlsafe_b64encode(topic.id).decode().rstrip("="),
        "internal": topic.is_internal,
        "partition_count": topic.partitions,
        "configs": dict(topic.configs),
    }


def _config(entry: ConfigEntry) -> Json:
    return {
        "name": entry.name,
        "value": None if entry.sensitive else entry.value,
        "source": entry.source.name,
        "sensitive": entry.sensitive,
        "read_only": entry.read_only,
    }


def _member(member: DescribedMember) -> Json:
    return {
        "member_id": member.member_id,
        "instance_id": member.instance_id,
        "client_id": member.client_id,
        "host": member.client_host,
        # null: it has none yet, or what only this kind of client understands
        "assignment": parse_assignment(member.assignment),
    }


def _offset(place: Place, committed: CommittedOffset, bounds: Bounds | None) -> Json:
    return {
        "topic": place[0],
        "partition": place[1],
        "committed_offset": committed.offset,
        "leader_epoch": committed.leader_epoch,
        "metadata": committed.metadata,
        "log_start_offset": bounds and bounds.log_start_offset,
        "high_watermark": bounds and bounds.high_watermark,
        "lag": _lag(committed, bounds),
    }


def _lag(committed: CommittedOffset, bounds: Bounds | None) -> int | None:
    """What is still to be read, as Kafka's tools count it; not below 0, also where records were lost."""
    return None if bounds is None else max(bounds.high_watermark - committed.offset, 0)


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
