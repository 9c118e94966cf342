"""Plain Produce requests to a fleet: what is answered, by whom, and from when on; each record is remembered."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, NamedTuple

from kgw.errors import ErrorCode
from kgw.handlers import produce
from kgw.test.live.fleet import GLANCE_S, Fleet, wait_until
from kgw.test.live.raw import RawClient, framed
from kgw.wire.records import build_batch

#: With current_leader and node_endpoints (KIP-951).
VERSION = 10


def produce_request(topic: str, values: dict[int, bytes], acks: int = -1) -> produce.Request:
    """A Produce of one record for each of these partitions, made now."""
    now_ms = int(time.time() * 1000)
    rows = [
        produce.RequestPartition(index, build_batch([(None, value, [], now_ms)])) for index, value in values.items()
    ]
    return produce.Request(acks=acks, timeout_ms=10_000, topic_data=[produce.RequestTopic(topic, partition_data=rows)])


class Shot(NamedTuple):
    """
    One request that was sent, and not answered yet.

    @ivar values: by partition.
    """

    client: RawClient
    values: dict[int, bytes]


class Probe:
    """
    Produces single records that are never sent again.

    @ivar promised: values by partition and offset.
    @ivar sent: all values, with their partitions.
    @ivar refused: values that the gateway that got them had no right to write any more.
    """

    def __init__(self, fleet: Fleet, topic: str, partitions: int) -> None:
        self.promised: dict[tuple[int, int], bytes] = {}
        self.sent: dict[bytes, int] = {}
        self.refused: set[bytes] = set()
        self._fleet = fleet
        self._topic = topic
        self._partitions = partitions

    def led_by(self, node_id: int) -> list[int]:
        """The partitions that a node leads, as all say; waits for them to agree."""
        view = self._fleet.calm((), (self._topic,))
        return [index for (_, index), (leader, _) in view.leaders.items() if leader == node_id]

    def connect(self, port: int) -> RawClient:
        """A connection to shoot with; the caller closes it."""
        return RawClient(port)

    def shoot(self, client: RawClient, indexes: Iterable[int], acks: int = -1) -> Shot:
        """Send one record for each of these partitions."""
        values = {}
        for index in indexes:
            value = b"probe:%d" % len(self.sent)
            self.sent[value] = index
            values[index] = value
        client.send(framed(produce.API, VERSION, produce_request(self._topic, values, acks)))
        return Shot(client, values)

    def hits(self, shot: Shot) -> dict[int, Any]:
        """
        Read the answer to a shot: its rows by partition.

        @raise OSError: there is none in time.
        @raise EOFError: the connection is closed instead.
        """
        (told,) = shot.client.answer(produce.API, VERSION).responses
        rows = {row.index: row for row in told.partition_responses}
        for index, row in rows.items():
            if not row.error_code:
                self.promised[index, row.base_offset] = shot.values[index]
            elif row.error_code == ErrorCode.NOT_LEADER_OR_FOLLOWER:
                self.refused.add(shot.values[index])
        return rows

    def writable(self, begun: float, patience: float = 60.0) -> float:
        """
        Produce to each partition, at whom any gateway names as its leader, until each has answered once.

        @param begun: a time by C{time.monotonic}.
        @return: the seconds from then until all had.
        """
        missing = set(range(self._partitions))
        wait_until("all partitions can be written", lambda: self._written(missing), patience, 0.02)
        return time.monotonic() - begun

    def _written(self, missing: set[int]) -> bool:
        for view in self._fleet.views((), (self._topic,)).values():
            for node_id, port in view.brokers.items():
                mine = [index for index in missing if view.leaders.get((self._topic, index), (-1, 0))[0] == node_id]
                if not mine or not self._fleet.ship(node_id).speaks:
                    continue
                try:
                    with RawClient(port) as client:
                        client.socket.settimeout(2 * GLANCE_S)
                        rows = self.hits(self.shoot(client, mine, acks=1))
                except (OSError, EOFError):
                    continue
                missing.difference_update(index for index, row in rows.items() if not row.error_code)
        return not missing
