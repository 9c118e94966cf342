"""Several kgw processes on one SeaweedMQ, to be killed, stopped, paused and started again, and what each says."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from kgw.errors import ErrorCode
from kgw.handlers import describe_cluster, find_coordinator, list_offsets, metadata
from kgw.test.live.raw import RawClient
from kgw.test.live.server import GatewayProcess

#: Seconds until something that must happen has to have happened.
PATIENCE = 60.0
#: An observer waits no longer than this for an answer, in seconds: it may have asked one that is paused.
GLANCE_S = 2.0


def wait_until(what: str, happened: Callable[[], Any], patience: float = PATIENCE, pause: float = 0.05) -> float:
    """
    Wait for the first true value of C{happened}.

    @param what: to be told where it does not come.
    @return: the seconds it took.
    """
    begun = time.monotonic()
    while not happened():
        assert time.monotonic() < begun + patience, f"after {patience} s still not: {what}"
        time.sleep(pause)
    return time.monotonic() - begun


class View(NamedTuple):
    """
    What one gateway tells its clients of the cluster.

    @ivar brokers: port by node id.
    @ivar leaders: leader and leader epoch of each partition, by topic and index.
    @ivar coordinators: of the groups that were asked for; -1 where there is none.
    """

    brokers: dict[int, int]
    controller: int
    leaders: dict[tuple[str, int], tuple[int, int]]
    coordinators: dict[str, int]

    def is_whole(self) -> bool:
        """Whether everything has a leader that is among the brokers."""
        led = {leader for leader, _ in self.leaders.values()} | set(self.coordinators.values())
        return led <= set(self.brokers) and self.controller in self.brokers


def look(port: int, groups: Sequence[str] = (), topics: Sequence[str] | None = None) -> View:
    """
    Ask a gateway how it sees the cluster.

    @param topics: those to ask for, all where C{None}.
    @raise OSError: it does not answer in L{GLANCE_S}.
    @raise EOFError: it closes the connection.
    """
    wanted = None if topics is None else [metadata.RequestTopic(name=name) for name in topics]
    with RawClient(port) as client:
        client.socket.settimeout(GLANCE_S)
        told = client.ask(metadata.API, 9, metadata.Request(topics=wanted, allow_auto_topic_creation=False))
        found = client.ask(find_coordinator.API, 4, find_coordinator.Request(coordinator_keys=list(groups)))
    leaders = {
        (topic.name, row.partition_index): (row.leader_id, row.leader_epoch)
        for topic in told.topics
        for row in topic.partitions
    }
    coordinators = {row.key: -1 if row.error_code else row.node_id for row in found.coordinators}
    brokers = {broker.node_id: broker.port for broker in told.brokers}
    return View(brokers, told.controller_id, leaders, coordinators)


def described(port: int) -> tuple[dict[int, int], int]:
    """What DescribeCluster says: port by node id, and the controller's node id."""
    with RawClient(port) as client:
        told = client.ask(describe_cluster.API, 1, describe_cluster.Request())
    return {broker.broker_id: broker.port for broker in told.brokers}, told.controller_id


def ends(port: int, topic: str, indexes: Sequence[int]) -> dict[int, tuple[int, int]]:
    """Error code and end of partitions, as the gateway at this port says."""
    rows = [list_offsets.RequestPartition(index, timestamp=-1) for index in indexes]
    request = list_offsets.Request(replica_id=-1, topics=[list_offsets.RequestTopic(topic, rows)], timeout_ms=1000)
    with RawClient(port) as client:
        client.socket.settimeout(GLANCE_S)
        (told,) = client.ask(list_offsets.API, 5, request).topics
    return {row.partition_index: (row.error_code, row.offset) for row in told.partitions}


class Ship(GatewayProcess):
    """
    One gateway of a fleet.

    @ivar node_id: what it was given when it started first; -1 before.
    @ivar paused: whether it is stopped as by SIGSTOP.
    """

    # others run on the same machine, and it joins them before it says that it has started
    patience = PATIENCE

    def __init__(self, directory: Path, *options: str) -> None:
        super().__init__(directory, *options)
        self.node_id = -1
        self.paused = False

    @property
    def speaks(self) -> bool:
        """Whether it runs, and is not paused."""
        return self.alive and not self.paused

    def start(self) -> None:
        """See L{GatewayProcess.start}; it must have the node id it had before."""
        self.paused = False
        super().start()
        node_id = int(self.banner[0].rpartition(" ")[2])
        assert self.node_id in (-1, node_id), f"node id {self.node_id} became {node_id}"
        self.node_id = node_id

    def pause(self) -> None:
        """Stop it as it stands (SIGSTOP)."""
        self.paused = True
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on (SIGCONT)."""
        os.kill(self.pid, signal.SIGCONT)
        self.paused = False

    def kill(self) -> None:
        """See L{GatewayProcess.kill}."""
        super().kill()
        self.paused = False


class Fleet:
    """
    Gateways on one engine.

    @ivar ships: all of them, whether they run or not.
    """

    def __init__(self, directory: Path, masters: Sequence[str], count: int, *options: str) -> None:
        """
        @param directory: a folder of the test's own.
        @param options: of each gateway.
        """
        self.ships: list[Ship] = []
        self._directory = directory
        self._options = ("--engine", "seaweedmq", "--masters", ",".join(masters), *options)
        for _ in range(count):
            self.add()

    def add(self, *options: str) -> Ship:
        """
        One more, not started.

        @param options: further ones of its own.
        """
        folder = self._directory / f"ship-{len(self.ships)}"
        folder.mkdir()
        ship = Ship(folder, *self._options, *options)
        self.ships.append(ship)
        return ship

    def start(self) -> None:
        """Start those that do not run, one after the other."""
        for ship in self.ships:
            if not ship.alive:
                ship.start()

    def kill(self) -> None:
        """End all of them."""
        for ship in self.ships:
            ship.kill()

    @property
    def bootstrap(self) -> str:
        """What clients are told: all of them."""
        return ",".join(ship.bootstrap for ship in self.ships)

    def speaking(self) -> list[Ship]:
        """Those that run and are not paused."""
        return [ship for ship in self.ships if ship.speaks]

    def ship(self, node_id: int) -> Ship:
        """The one with this node id."""
        return next(ship for ship in self.ships if ship.node_id == node_id)

    def views(self, groups: Sequence[str] = (), topics: Sequence[str] | None = None) -> dict[int, View]:
        """How each that speaks sees the cluster, by node id; without those that did not answer."""
        found = {}
        for ship in self.speaking():
            try:
                found[ship.node_id] = look(ship.port, groups, topics)
            except (OSError, EOFError):
                continue
        return found

    def agreed(self, groups: Sequence[str] = (), topics: Sequence[str] | None = None) -> View | None:
        """What all that speak say with one voice: they are the brokers, and lead everything; else C{None}."""
        views = list(self.views(groups, topics).values())
        expected = {ship.node_id: ship.port for ship in self.speaking()}
        if len(views) == len(expected) and all(view == views[0] for view in views):
            view = views[0]
            if view.brokers == expected and view.is_whole():
                return view
        return None

    def calm(self, groups: Sequence[str] = (), topics: Sequence[str] | None = None, patience: float = PATIENCE) -> View:
        """
        Wait until all that speak agree.

        @raise AssertionError: they do not in this time; says what each thinks.
        """
        deadline = time.monotonic() + patience
        while (view := self.agreed(groups, topics)) is None:
            assert time.monotonic() < deadline, f"no agreement after {patience} s: {self.views(groups, topics)}"
            time.sleep(0.05)
        return view

    def serves(self, topic: str, partitions: int) -> bool:
        """Whether each partition of a topic is answered for by the one that leads it, as all agree."""
        view = self.agreed((), (topic,))
        if view is None or len(view.leaders) != partitions:
            return False
        by_leader: dict[int, list[int]] = {}
        for (_, index), (leader, _) in view.leaders.items():
            by_leader.setdefault(leader, []).append(index)
        try:
            return all(
                code == ErrorCode.NONE
                for leader, indexes in by_leader.items()
                for code, _ in ends(view.brokers[leader], topic, indexes).values()
            )
        except (OSError, EOFError):
            return False

    def account(self) -> str:
        """What they have logged last."""
        return "\n".join(f"--- node {ship.node_id}, stderr\n{ship.stderr()}" for ship in self.ships)
