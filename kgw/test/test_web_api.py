"""The JSON pages: numbers against what clients did, pages of long lists, and nothing secret."""

from __future__ import annotations

import struct

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kgw.group_model import (
    Caller,
    CommitRequest,
    CommittedOffset,
    GroupProtocol,
    JoinRequest,
    Leaving,
    SyncRequest,
)
from kgw.handlers import api_versions
from kgw.model import NewTopic
from kgw.test.builders import EPOCH_MS, batch
from kgw.test.web_stage import Client, WebStage
from kgw.web.assignment import parse_assignment

CALLER = Caller("billing-1", "/10.0.0.1")


def assignment(parts: dict[str, list[int]]) -> bytes:
    """An assignment as consumers write it (version 1, no user data)."""
    out = struct.pack(">hi", 1, len(parts))
    for name, indexes in parts.items():
        encoded = name.encode()
        out += struct.pack(">h", len(encoded)) + encoded + struct.pack(f">i{len(indexes)}i", len(indexes), *indexes)
    return out + struct.pack(">i", -1)


class ApiTests(SynchronousTestCase):
    """What the pages show."""

    def setUp(self) -> None:
        self.stage = WebStage(self, node_id="7", broker_rack="r1")
        self.services = self.stage.gateway.services

    def create(self, name: str, partitions: int = 1, **configs: str) -> None:
        named = {config.replace("_", "."): value for config, value in configs.items()}
        self.successResultOf(self.services.topics.create(NewTopic(name, partitions, configs=named)))

    def append(self, topic: str, partition: int, records: int) -> None:
        log = self.services.logs.partition(topic, partition)
        self.successResultOf(log.append(batch(*[EPOCH_MS] * records)))

    def commit(self, group: str, offsets: dict[tuple[str, int], int], member: str = "", generation: int = -1) -> None:
        kept = {place: CommittedOffset(offset, 3, "m") for place, offset in offsets.items()}
        self.successResultOf(self.services.groups.commit(CommitRequest(group, generation, member, None, kept, CALLER)))

    def join(self, group: str, parts: dict[str, list[int]]) -> tuple[str, int]:
        """A group of one consumer that is assigned these; its member id and generation."""
        request = JoinRequest(
            group, "", None, 30000, 30000, "consumer", (GroupProtocol("range", b""),), CALLER, needs_member_id=False
        )
        joining = self.services.groups.join(request)
        self.stage.reactor.advance(0)
        joined = self.successResultOf(joining)
        self.successResultOf(
            self.services.groups.sync(
                SyncRequest(
                    group,
                    joined.generation_id,
                    joined.member_id,
                    None,
                    "consumer",
                    "range",
                    {joined.member_id: assignment(parts)},
                )
            )
        )
        return joined.member_id, joined.generation_id

    def test_topics(self) -> None:
        """Topics by name with what is set on them; kgw's own is in no list."""
        self.create("payments")
        self.create("orders", 3, retention_ms="1000")
        self.stage.get("/readyz")
        page = self.stage.get("/api/topics")
        self.assertEqual((page["total"], page["next_offset"]), (2, None))
        self.assertEqual([topic["topic"] for topic in page["topics"]], ["orders", "payments"])
        self.assertEqual(page["topics"][0]["partition_count"], 3)
        self.assertEqual(page["topics"][0]["configs"], {"retention.ms": "1000"})
        self.assertTrue(self.stage.get("/api/topics/__kgw_health")["internal"])

    def test_topic(self) -> None:
        """One topic's partitions, and what it obeys with where that comes from."""
        self.create("orders", 2, retention_ms="1000")
        self.append("orders", 1, 5)
        self.successResultOf(self.services.logs.partition("orders", 1).trim(2))
        page = self.stage.get("/api/topics/orders")
        (first, second) = page["partitions"]["items"]
        self.assertEqual((first["high_watermark"], first["leader"], first["leader_epoch"]), (0, 7, 0))
        self.assertEqual((second["partition"], second["log_start_offset"], second["high_watermark"]), (1, 2, 5))
        configs = {config["name"]: (config["value"], config["source"]) for config in page["effective_configs"]}
        self.assertEqual(configs["retention.ms"], ("1000", "DYNAMIC_TOPIC_CONFIG"))
        self.assertEqual(configs["cleanup.policy"], ("delete", "DEFAULT_CONFIG"))

    def test_group(self) -> None:
        """Members and what they read, how far behind each partition is, and what happened."""
        self.create("orders", 2)
        self.append("orders", 0, 10)
        self.append("orders", 1, 4)
        member, generation = self.join("billing", {"orders": [0, 1]})
        self.commit("billing", {("orders", 0): 7, ("orders", 1): 4, ("gone", 0): 3}, member, generation)
        page = self.stage.get("/api/groups/billing")
        self.assertEqual((page["state"], page["protocol"], page["total_lag"]), ("Stable", "range", 3))
        self.assertEqual(page["members"]["total"], 1)
        self.assertEqual(page["members"]["items"][0]["assignment"], {"orders": [0, 1]})
        self.assertEqual(page["members"]["items"][0]["client_id"], "billing-1")
        rows = {(row["topic"], row["partition"]): row for row in page["offsets"]["items"]}
        self.assertEqual(
            [(rows[place]["committed_offset"], rows[place]["lag"]) for place in sorted(rows)],
            [(3, None), (7, 3), (4, 0)],
        )
        self.assertIn("join", " ".join(event["event"] for event in page["history"]))
        listed = self.stage.get("/api/groups")["groups"]
        self.assertEqual([(one["group"], one["members"], one["total_lag"]) for one in listed], [("billing", 1, 3)])

    def test_deleted_group(self) -> None:
        """What happened to a group that is gone can still be read."""
        self.join("billing", {})
        member = self.stage.get("/api/groups/billing")["members"]["items"][0]["member_id"]
        self.successResultOf(self.services.groups.leave("billing", [Leaving(member, None)]))
        self.successResultOf(self.services.groups.delete_group("billing"))
        page = self.stage.get("/api/groups/billing")
        self.assertEqual((page["state"], page["members"]["total"]), ("Dead", 0))
        self.assertTrue(page["history"])

    def test_names_of_any_kind(self) -> None:
        """A group may be called anything, slashes and all."""
        self.create("orders")
        for name in ("a/b", "grün & 日本", "..", "50%", " "):
            self.commit(name, {("orders", 0): 0})
        for path in ("a%2Fb", "gr%C3%BCn%20&%20%E6%97%A5%E6%9C%AC", "..", "50%25", "%20"):
            self.assertEqual(self.stage.request(f"/api/groups/{path}").status, 200, path)

    def test_connections(self) -> None:
        """Who is connected, by what it said of itself."""
        client = Client(self.stage.factory(9092))
        request = api_versions.Request(client_software_name="librdkafka", client_software_version="2.6.0")
        body = b"".join(api_versions.API.request_codec(3).encode(request))
        frame = struct.pack(">hhih", 18, 3, 1, 4) + b"me-1" + b"\0" + body
        client.send(struct.pack(">i", len(frame)) + frame)
        page = self.stage.get("/api/connections")
        (one,) = page["connections"]
        self.assertEqual((one["software_name"], one["software_version"]), ("librdkafka", "2.6.0"))
        self.assertEqual((one["listener"], one["remote"]), ("PLAINTEXT", "127.0.0.1:50000"))
        self.assertEqual((one["requests"], one["in_flight"], page["total"]), (1, 0, 1))
        client.leave()
        self.assertEqual(self.stage.get("/api/connections")["connections"], [])

    def test_brokers(self) -> None:
        """This node, where it listens, and what clients are told."""
        stage = WebStage(self, node_id="7", advertised_listeners="PLAINTEXT://kgw.example.com:19092")
        page = stage.get("/api/brokers")
        (broker,) = page["brokers"]
        self.assertEqual((page["controller_id"], broker["node_id"]), (7, 7))
        (listener,) = broker["listeners"]
        self.assertEqual((listener["name"], listener["advertised"]), ("PLAINTEXT", "kgw.example.com:19092"))
        (listener,) = self.stage.get("/api/brokers")["brokers"][0]["listeners"]
        self.assertIsNone(listener["advertised"])

    def test_no_secrets(self) -> None:
        """Properties that hold passwords are there without their values."""
        stage = WebStage(self, ssl_keystore_password="hunter2", ssl_key_password="hunter3")
        self.assertNotIn(b"hunter", stage.request("/api/config?limit=1000").body)
        page = stage.get("/api/config?limit=1000")
        configs = {config["name"]: config for config in page["configs"]}
        self.assertEqual(configs["ssl.keystore.password"]["value"], None)
        self.assertTrue(configs["ssl.keystore.password"]["sensitive"])
        self.assertEqual(configs["kgw.engine"]["value"], "memory")
        self.assertEqual(configs["kgw.engine"]["source"], "STATIC_BROKER_CONFIG")

    def test_paging(self) -> None:
        """A long list is read page by page, each item once."""
        for number in range(25):
            self.create(f"topic-{number:02}")
        found: list[str] = []
        offset: int | None = 0
        while offset is not None:
            page = self.stage.get(f"/api/topics?limit=10&offset={offset}")
            found += [topic["topic"] for topic in page["topics"]]
            offset = page["next_offset"]
        self.assertEqual(found, [f"topic-{number:02}" for number in range(25)])
        self.assertEqual(self.stage.get("/api/topics?offset=1000")["topics"], [])

    def test_large(self) -> None:
        """A group that reads 10,000 partitions is looked at in turns with others, and shown a page at a time."""
        self.create("large", 10_000)
        self.commit("large", {("large", index): 0 for index in range(10_000)})
        self.append("large", 9_999, 3)
        client = self.stage.connect()
        client.send(b"GET /api/groups/large HTTP/1.1\r\nHost: localhost\r\n\r\n")
        turns = 0

        def other() -> None:
            nonlocal turns
            if not client.transport.value():
                turns += 1
                self.stage.reactor.callLater(0, other)

        other()
        self.stage.reactor.advance(0)
        self.assertGreaterEqual(turns, 50)
        (got,) = client.answers()
        self.assertEqual((got.json["total_lag"], len(got.json["offsets"]["items"])), (3, 100))
        self.assertEqual(got.json["offsets"]["next_offset"], 100)

    def test_client_that_leaves(self) -> None:
        """Nobody works on for a client that has gone."""
        self.create("large", 1000)
        client = self.stage.connect()
        calls = len(self.stage.reactor.getDelayedCalls())
        client.send(b"GET /api/topics/large?limit=1000 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self.assertEqual(client.transport.value(), b"")
        client.leave()
        self.assertLessEqual(len(self.stage.reactor.getDelayedCalls()), calls)


class AssignmentTests(SynchronousTestCase):
    """What consumers are assigned."""

    @settings(deadline=None, max_examples=50)
    @given(st.dictionaries(st.text(max_size=10), st.lists(st.integers(0, 1 << 30), max_size=5), max_size=4))
    def test_read_back(self, parts: dict[str, list[int]]) -> None:
        """What was written is read."""
        self.assertEqual(parse_assignment(assignment(parts)), parts)

    @settings(deadline=None, max_examples=200)
    @given(st.binary(max_size=60))
    def test_any_bytes(self, data: bytes) -> None:
        """Any bytes are an assignment or none, at once."""
        self.assertIsInstance(parse_assignment(data), dict | None)

    def test_lies(self) -> None:
        """Numbers that promise more than there is cost nothing."""
        self.assertIsNone(parse_assignment(struct.pack(">hih1si", 0, 1, 1, b"a", (1 << 31) - 1)))
        self.assertIsNone(parse_assignment(b""))
