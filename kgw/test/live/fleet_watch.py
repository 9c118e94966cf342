"""An eye on a fleet, all the while: who leads and coordinates by each gateway's word, and how one group does."""

from __future__ import annotations

import threading
import time
from collections import Counter

from kgw.errors import ErrorCode
from kgw.handlers import describe_groups, offset_fetch
from kgw.test.live.fleet import GLANCE_S, Fleet, Ship, look
from kgw.test.live.membership import assigned_partitions
from kgw.test.live.raw import RawClient

#: What a gateway may say that is not the group's coordinator, or not yet.
_ELSEWHERE = {ErrorCode.COORDINATOR_LOAD_IN_PROGRESS, ErrorCode.COORDINATOR_NOT_AVAILABLE, ErrorCode.NOT_COORDINATOR}
_PAUSE_S = 0.25


class FleetWatch:
    """
    Asks every gateway that speaks, one after the other, again and again, for the offsets and members of a group, which
    only its coordinator may answer, and how it sees the cluster.

    @ivar wrong: what must not be.
    @ivar committed: the last committed offsets seen, by partition.
    @ivar answers: how often a node answered for the group, by node id.
    @ivar refusals: how often another error came, by its name.
    @ivar stable: how often the group was seen stable.
    """

    def __init__(self, fleet: Fleet, group: str, topic: str) -> None:
        self.wrong: list[str] = []
        self.committed: dict[int, int] = {}
        self.answers: Counter[int] = Counter()
        self.refusals: Counter[str] = Counter()
        self.stable = 0
        self._fleet = fleet
        self._group = group
        self._topic = topic
        #: Who led something with an epoch, by topic, partition and epoch.
        self._leaders: dict[tuple[str, int, int], int] = {}
        self._clients: dict[int, RawClient] = {}
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fleet watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._enough.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._enough.wait(_PAUSE_S):
            for ship in self._fleet.speaking():
                try:
                    self._ask(ship)
                except (OSError, EOFError):
                    # it was killed or paused, or is about to stop
                    client = self._clients.pop(ship.port, None)
                    if client is not None:
                        client.socket.close()
                except Exception as error:
                    self.wrong.append(f"the watch failed: {error!r}")
                    raise
        for client in self._clients.values():
            client.socket.close()

    def _ask(self, ship: Ship) -> None:
        client = self._clients.get(ship.port)
        if client is None:
            client = self._clients[ship.port] = RawClient(ship.port)
            client.socket.settimeout(GLANCE_S)
        self._look_at_offsets(client, ship.node_id)
        self._look_at_members(client, ship.node_id)
        view = look(ship.port, (), (self._topic,))
        for (topic, index), (leader, epoch) in view.leaders.items():
            if leader >= 0 and leader not in view.brokers:
                self.wrong.append(f"node {ship.node_id} names {leader} as a leader, which is not among {view.brokers}")
            before = self._leaders.setdefault((topic, index, epoch), leader) if leader >= 0 else leader
            if before != leader:
                self.wrong.append(f"{topic}-{index} was led with epoch {epoch} by {before} and {leader}")

    def _told(self, code: int, node_id: int, of: str) -> bool:
        if code:
            self.refusals[ErrorCode(code).name] += 1
            if code not in _ELSEWHERE:
                self.wrong.append(f"node {node_id} said {ErrorCode(code).name} of {of}")
        return not code

    def _look_at_offsets(self, client: RawClient, node_id: int) -> None:
        asked = offset_fetch.Request(groups=[offset_fetch.RequestGroup(self._group, topics=None)])
        (offsets,) = client.ask(offset_fetch.API, 8, asked).groups
        if not self._told(offsets.error_code, node_id, "offsets"):
            return
        self.answers[node_id] += 1
        found = {row.partition_index: row.committed_offset for topic in offsets.topics for row in topic.partitions}
        for partition, before in self.committed.items():
            now = found.get(partition, -1)
            if now < before:
                self.wrong.append(f"node {node_id}: the committed offset of {partition} went from {before} to {now}")
        self.committed.update(found)

    def _look_at_members(self, client: RawClient, node_id: int) -> None:
        (group,) = client.ask(describe_groups.API, 5, describe_groups.Request(groups=[self._group])).groups
        if not self._told(group.error_code, node_id, "the group") or group.group_state != "Stable":
            return
        self.stable += 1
        owners = {one.member_id: assigned_partitions(one.member_assignment) for one in group.members}
        owned = [partition for partitions in owners.values() for partition in partitions]
        if len(owned) != len(set(owned)):
            self.wrong.append(f"{time.monotonic():.1f}: partitions with two owners: {owners}")
