"""Three gateways on one SeaweedMQ: what each says of the others, and that nothing is lost whatever happens to them."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from kgw.errors import ErrorCode
from kgw.handlers import (
    alter_client_quotas,
    delete_topics,
    describe_client_quotas,
    describe_configs,
    describe_groups,
    fetch,
    incremental_alter_configs,
    init_producer_id,
    metadata,
    offset_commit,
    produce,
)
from kgw.handlers.config_resource import ResourceType
from kgw.test.live.chaos import Chaos
from kgw.test.live.fleet import Fleet, View, described, wait_until
from kgw.test.live.probe import VERSION, produce_request
from kgw.test.live.raw import RawClient, create, framed
from kgw.test.live.server import LiveTestCase
from kgw.test.seaweed import Engine

#: Of the gateways, short, so that the dead are soon missed.
SESSION_S, HEARTBEAT_S = 3.0, 0.5
#: What one gateway changed is obeyed by the others in so many seconds.
SOON = 6.0
#: How many partitions a test of shares has.
MANY = 100


@cache
def _engine() -> Engine:
    """The one that these tests share, and nobody else."""
    return Engine().start()


class FleetCase(LiveTestCase):
    """
    Gateways on an engine of their own, started with the test.

    @cvar count: how many.
    @cvar options: of each.
    """

    count = 3
    options: Sequence[str] = ()

    def setUp(self) -> None:
        super().setUp()
        folder = tempfile.TemporaryDirectory(prefix="kgw-fleet-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        timings = {"session.timeout": SESSION_S, "heartbeat.interval": HEARTBEAT_S}
        set_them = [word for name, s in timings.items() for word in ("--set", f"broker.{name}.ms={s * 1000:.0f}")]
        self.fleet = Fleet(self.folder, _engine().masters, self.count, *set_them, *self.options)
        self.servers += self.fleet.ships
        self.addCleanup(self._end)
        self.fleet.start()
        self.view = self.fleet.calm()

    def _end(self) -> None:
        # in order, lest the next test waits for the dead
        for ship in self.fleet.ships:
            if ship.speaks:
                ship.terminate()
            ship.kill()

    def ask(self, port: int, api: Any, version: int, request: Any) -> Any:
        """One question, on a connection of its own."""
        with RawClient(port) as client:
            return client.ask(api, version, request)

    def everywhere(self, what: str, holds: Callable[[int], bool], patience: float = SOON) -> float:
        """Wait until something holds at the port of each gateway that speaks; the seconds it took."""
        ships = self.fleet.speaking()
        return wait_until(what, lambda: all(holds(ship.port) for ship in ships), patience)


class FactsTests(FleetCase):
    """What one gateway says or changes, the others know."""

    def test_brokers(self) -> None:
        """Metadata and DescribeCluster name all gateways and one controller, wherever they are asked."""
        expected = {ship.node_id: ship.port for ship in self.fleet.ships}
        self.assertEqual(sorted(expected), [1, 2, 3])
        self.assertEqual(self.view.brokers, expected)
        for ship in self.fleet.ships:
            self.assertEqual(described(ship.port), (expected, self.view.controller))

    def test_topics(self) -> None:
        """A topic made at one is known at the others when its maker is answered; deleted likewise."""
        ports = [ship.port for ship in self.fleet.ships]
        for turn, port in enumerate(ports):
            name = f"made-{turn}"
            create(port, name, 4)
            took = self.everywhere(f"{name} is led", partial(self._is_led, name), 2.0)
            self.assertLess(took, 2.0)
        gone = delete_topics.Request(topic_names=["made-0"], timeout_ms=10_000)
        (deleted,) = self.ask(ports[2], delete_topics.API, 5, gone).responses
        self.assertEqual(deleted.error_code, ErrorCode.NONE)
        self.everywhere("made-0 is gone", lambda port: self._leaders(port, "made-0") < 0, 2.0)
        for other in ("made-1", "made-2"):
            self.everywhere(f"{other} stays", partial(self._is_led, other), 2.0)
        for name in ("made-1", "made-2"):
            self.ask(ports[0], delete_topics.API, 5, delete_topics.Request(topic_names=[name], timeout_ms=10_000))

    def _is_led(self, topic: str, port: int) -> bool:
        return self._leaders(port, topic) == 4

    def _leaders(self, port: int, topic: str) -> int:
        """How many partitions of a topic have leaders by one gateway's word; -1 where there is no such topic."""
        wanted = metadata.Request(topics=[metadata.RequestTopic(name=topic)], allow_auto_topic_creation=False)
        (found,) = self.ask(port, metadata.API, 9, wanted).topics
        if found.error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION:
            return -1
        return sum(row.leader_id >= 0 for row in found.partitions)

    def test_configs(self) -> None:
        """A topic's config, and one of all brokers, altered at one gateway are obeyed by the others."""
        first, second, third = (ship.port for ship in self.fleet.ships)
        create(first, "configured")
        for kind, name, key, value, asked in (
            (ResourceType.TOPIC, "configured", "retention.ms", "123456", "configured"),
            (ResourceType.BROKER, "", "log.retention.ms", "7654321", None),
        ):
            row = incremental_alter_configs.RequestConfig(key, 0, value)
            resource = incremental_alter_configs.RequestResource(kind, name, [row])
            request = incremental_alter_configs.Request([resource])
            (altered,) = self.ask(second, incremental_alter_configs.API, 1, request).responses
            self.assertEqual(altered.error_code, ErrorCode.NONE)
            for port in (first, third):
                node = str(next(ship.node_id for ship in self.fleet.ships if ship.port == port))
                wanted = describe_configs.RequestResource(kind, asked or node, [key])

                def obeyed(port: int = port, wanted: Any = wanted, value: str = value) -> bool:
                    told = self.ask(port, describe_configs.API, 4, describe_configs.Request([wanted]))
                    return [config.value for config in told.results[0].configs] == [value]

                wait_until(f"{key} at {port}", obeyed, SOON)

    def test_quotas(self) -> None:
        """A quota set at one gateway is known at the others, and throttles there."""
        first, _, third = (ship.port for ship in self.fleet.ships)
        entity = [alter_client_quotas.RequestEntity("client-id", None)]
        entry = alter_client_quotas.RequestEntry(entity, [alter_client_quotas.RequestOp("producer_byte_rate", 1000.0)])
        (altered,) = self.ask(first, alter_client_quotas.API, 1, alter_client_quotas.Request([entry])).entries
        self.assertEqual(altered.error_code, ErrorCode.NONE)

        def known(port: int) -> bool:
            told = self.ask(port, describe_client_quotas.API, 1, describe_client_quotas.Request()).entries
            return [value.value for one in told or [] for value in one.values] == [1000.0]

        self.everywhere("the quota is known", known)
        create(first, "throttled", 3)
        view = self.fleet.calm()
        index = next(one for one in range(3) if view.brokers[view.leaders["throttled", one][0]] == third)
        with RawClient(third) as client:
            client.send(framed(produce.API, VERSION, produce_request("throttled", {index: bytes(50_000)}, 1)))
            self.assertGreater(client.answer(produce.API, VERSION).throttle_time_ms, 0)
        removed = alter_client_quotas.RequestOp("producer_byte_rate", 0.0, True)
        request = alter_client_quotas.Request([alter_client_quotas.RequestEntry(entity, [removed])])
        self.ask(third, alter_client_quotas.API, 1, request)

    def test_producer_ids(self) -> None:
        """No producer id is given out twice, by whomever."""
        found: list[int] = []
        with RawClient(self.fleet.ships[0].port) as one, RawClient(self.fleet.ships[1].port) as two:
            for _ in range(300):
                for client in (one, two):
                    told = client.ask(init_producer_id.API, 4, init_producer_id.Request(None, 60_000))
                    self.assertEqual(told.error_code, ErrorCode.NONE)
                    found.append(told.producer_id)
        ship = self.fleet.ships[0]
        ship.kill()
        ship.start()
        with RawClient(ship.port) as client:
            for _ in range(20):
                found.append(client.ask(init_producer_id.API, 4, init_producer_id.Request(None, 60_000)).producer_id)
        self.assertEqual(len(set(found)), len(found))

    def test_wrong_gateway(self) -> None:
        """Who asks the wrong gateway is told so, and by later versions where to go."""
        create(self.fleet.ships[0].port, "asked", 3)
        view = self.fleet.calm(("somebody",))
        for index in range(3):
            leader, epoch = view.leaders["asked", index]
            for ship in self.fleet.ships:
                if ship.node_id != leader:
                    self._check_produce(ship.port, index, leader, epoch, view)
                    self._check_fetch(ship.port, index, leader, epoch, view)
        for ship in self.fleet.ships:
            code = self._commit(ship.port)
            is_here = ship.node_id == view.coordinators["somebody"]
            self.assertEqual(code, ErrorCode.NONE if is_here else ErrorCode.NOT_COORDINATOR)
            (group,) = self.ask(ship.port, describe_groups.API, 5, describe_groups.Request(groups=["somebody"])).groups
            self.assertEqual(group.error_code, ErrorCode.NONE if is_here else ErrorCode.NOT_COORDINATOR)

    def _check_produce(self, port: int, index: int, leader: int, epoch: int, view: View) -> None:
        with RawClient(port) as client:
            client.send(framed(produce.API, VERSION, produce_request("asked", {index: b"x"})))
            told = client.answer(produce.API, VERSION)
        (row,) = told.responses[0].partition_responses
        self.assertEqual(row.error_code, ErrorCode.NOT_LEADER_OR_FOLLOWER)
        self.assertEqual((row.current_leader.leader_id, row.current_leader.leader_epoch), (leader, epoch))
        self.assertEqual([(one.node_id, one.port) for one in told.node_endpoints], [(leader, view.brokers[leader])])

    def _check_fetch(self, port: int, index: int, leader: int, epoch: int, view: View) -> None:
        asked = metadata.Request(topics=[metadata.RequestTopic(name="asked")])
        (topic,) = self.ask(port, metadata.API, 12, asked).topics
        row = fetch.RequestPartition(index, fetch_offset=0, partition_max_bytes=1000)
        topics = [fetch.RequestTopic(topic_id=topic.topic_id, partitions=[row])]
        told = self.ask(port, fetch.API, 16, fetch.Request(max_wait_ms=0, min_bytes=0, session_epoch=-1, topics=topics))
        (answer,) = told.responses[0].partitions
        self.assertEqual(answer.error_code, ErrorCode.NOT_LEADER_OR_FOLLOWER)
        self.assertEqual((answer.current_leader.leader_id, answer.current_leader.leader_epoch), (leader, epoch))
        self.assertEqual([(one.node_id, one.port) for one in told.node_endpoints], [(leader, view.brokers[leader])])

    def _commit(self, port: int) -> int:
        rows = [offset_commit.RequestPartition(0, committed_offset=7)]
        request = offset_commit.Request(
            group_id="somebody", topics=[offset_commit.RequestTopic(name="asked", partitions=rows)]
        )
        told = self.ask(port, offset_commit.API, 8, request)
        return int(told.topics[0].partitions[0].error_code)


class MembershipTests(FleetCase):
    """Gateways that come and go."""

    count = 2

    def test_node_ids_are_kept(self) -> None:
        """Over a planned stop, and over a crash."""
        for ship in self.fleet.ships:
            node_id = ship.node_id
            self.assertEqual(ship.terminate(), 0)
            ship.start()
            self.assertEqual(ship.node_id, node_id)
            ship.kill()
            ship.start()
            self.assertEqual(ship.node_id, node_id)
        self.fleet.calm()

    def test_taken_node_id(self) -> None:
        """A gateway that is told to use the node id of another one that lives does not start, and says why."""
        another = self.fleet.add("--set", f"node.id={self.fleet.ships[0].node_id}")
        raised = self.assertRaises(AssertionError, another.start)
        self.assertIn(f"node.id {self.fleet.ships[0].node_id} is taken", str(raised))
        self.fleet.calm()

    def test_shares(self) -> None:
        """Partitions are spread evenly; who joins is given its share, who leaves gives its own, nothing else moves."""
        port = self.fleet.ships[0].port
        create(port, "many", MANY)
        before = self.fleet.calm((), ("many",), 90.0)
        self._check_spread(before)
        third = self.fleet.add()
        third.start()
        joined = self.fleet.calm((), ("many",), 90.0)
        self._check_spread(joined)
        moved = [where for where, (leader, _) in joined.leaders.items() if before.leaders[where][0] != leader]
        self.assertEqual({joined.leaders[where][0] for where in moved}, {third.node_id})
        self.assertLessEqual(len(moved), MANY // 3 + 1)
        self.assertEqual(third.terminate(), 0)
        left = self.fleet.calm((), ("many",), 90.0)
        self._check_spread(left)
        moved = [where for where, (leader, _) in left.leaders.items() if joined.leaders[where][0] != leader]
        self.assertEqual({joined.leaders[where][0] for where in moved}, {third.node_id})
        self.ask(port, delete_topics.API, 5, delete_topics.Request(topic_names=["many"], timeout_ms=30_000))

    def _check_spread(self, view: View) -> None:
        shares = Counter(leader for leader, _ in view.leaders.values())
        even = MANY / len(view.brokers)
        for node_id in view.brokers:
            self.assertLess(abs(shares[node_id] - even), 0.2 * even, shares)


class ChaosTests(FleetCase):
    """Records and consumers while gateways are killed, stopped, paused and started again, never all at once."""

    options = ("--set", "group.initial.rebalance.delay.ms=500")

    def test_nothing_is_lost(self) -> None:
        """
        What was acknowledged is there once and in order, committed offsets never go back, nobody shares a partition
        with another member, and who was paused for too long acknowledges nothing.
        """
        chaos = Chaos(self.fleet, self.folder, SESSION_S, 12_000, 4000)
        self.addCleanup(chaos.end)
        begun = time.monotonic()
        chaos.begin()
        one, two, three = self.fleet.ships
        # of whoever coordinates the group at that time, what is worse
        for happens, ship in (
            (chaos.kill, one),
            (chaos.stop, two),
            (chaos.pause, three),
            (chaos.doze, two),
            (chaos.crash, one),
        ):
            happens(ship)
            print(f"\n{chaos.events[-1]}", end="")
        counts = chaos.finish(lambda _: None)
        print(f"\n{time.monotonic() - begun:.0f} s, {counts}")
        self.assertEqual(chaos.wrong, [])
        self.assertGreater(counts["acknowledged to confluent-kafka"], 1000)
        for event in chaos.events:
            self.assertLess(event.written_s, SESSION_S + 5, str(event))
