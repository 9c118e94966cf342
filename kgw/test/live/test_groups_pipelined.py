"""Group requests that share one connection: none may keep another from being worked on."""

from __future__ import annotations

import time
from typing import Any

from kgw.errors import ErrorCode
from kgw.handlers import find_coordinator, heartbeat, join_group, leave_group, offset_commit, sync_group
from kgw.test.group_stage import subscription
from kgw.test.live.pipeline import RawClient
from kgw.test.live.server import GatewayProcess, LiveTestCase

SESSION_MS = 6_000


def joining(member_id: str = "", group: str = "g", instance_id: str | None = None) -> join_group.Request:
    """A JoinGroup of a consumer."""
    return join_group.Request(
        group_id=group,
        session_timeout_ms=SESSION_MS,
        rebalance_timeout_ms=30_000,
        member_id=member_id,
        group_instance_id=instance_id,
        protocol_type="consumer",
        protocols=[join_group.RequestProtocol("range", subscription("t"))],
    )


def syncing(joined: Any, **assignments: bytes) -> sync_group.Request:
    """The SyncGroup of a member that has joined."""
    return sync_group.Request(
        group_id="g",
        generation_id=joined.generation_id,
        member_id=joined.member_id,
        protocol_type="consumer",
        protocol_name="range",
        assignments=[sync_group.RequestAssignment(member_id, data) for member_id, data in assignments.items()],
    )


def beating(joined: Any) -> heartbeat.Request:
    """A heartbeat of a member that has joined."""
    return heartbeat.Request("g", joined.generation_id, joined.member_id)


class PipelinedTests(LiveTestCase):
    """Requests behind a JoinGroup or SyncGroup that waits."""

    def setUp(self) -> None:
        super().setUp()
        self.server: GatewayProcess = self.serve("--set", "group.initial.rebalance.delay.ms=0")

    def client(self, client_id: str = "raw") -> RawClient:
        """A connection of its own."""
        client = RawClient(self.server.port, client_id)
        self.addCleanup(client.close)
        return client

    def stable(self, client: RawClient) -> Any:
        """The first member, with its assignment."""
        joined = client.ask(join_group, 3, joining())
        synced = client.ask(sync_group, 5, syncing(joined, **{joined.member_id: b"all"}))
        self.assertEqual(synced.assignment, b"all")
        return joined

    def soon(self, started: float) -> None:
        """Well before any session or rebalance ends."""
        self.assertLess(time.monotonic() - started, SESSION_MS / 1000 / 2)

    def test_leave_behind_a_join(self) -> None:
        """A member whose JoinGroup waits leaves on the same connection: both are answered, in their order, at once."""
        first = self.client()
        leader = self.stable(first)
        second = self.client()
        given = second.ask(join_group, 9, joining())
        self.assertEqual(given.error_code, ErrorCode.MEMBER_ID_REQUIRED)
        started = time.monotonic()
        sent = second.send_together(
            (join_group, 9, joining(given.member_id)),
            (heartbeat, 4, heartbeat.Request("g", 1, given.member_id)),
            (find_coordinator, 4, find_coordinator.Request(coordinator_keys=["g"])),
            (leave_group, 5, leave_group.Request("g", members=[leave_group.RequestMember(given.member_id)])),
        )
        answers = [second.receive() for _ in sent]
        self.soon(started)
        self.assertEqual([number for number, _ in answers], sent)
        joined, _, found, left = (answer for _, answer in answers)
        self.assertEqual(joined.error_code, ErrorCode.UNKNOWN_MEMBER_ID)
        self.assertEqual(found.coordinators[0].error_code, ErrorCode.NONE)
        self.assertEqual(left.members[0].error_code, ErrorCode.NONE)
        # the one that is left goes on
        again = first.ask(join_group, 9, joining(leader.member_id))
        self.assertEqual([one.member_id for one in again.members], [leader.member_id])

    def test_two_members_on_one_connection(self) -> None:
        """Join, sync and beat of both, all sent before any is answered: each waits for the other's and gets it."""
        first = self.client()
        leader = self.stable(first)
        given = first.ask(join_group, 9, joining()).member_id
        started = time.monotonic()
        sent = first.send_together(
            (join_group, 9, joining(given)),
            (heartbeat, 4, beating(leader)),
            (join_group, 9, joining(leader.member_id)),
        )
        answers = dict(first.receive() for _ in sent)
        self.assertEqual(list(answers), sent)
        follower, beat, leader = answers.values()
        self.assertEqual(beat.error_code, ErrorCode.REBALANCE_IN_PROGRESS)
        self.assertEqual((follower.generation_id, leader.generation_id), (2, 2))
        self.assertEqual({one.member_id for one in leader.members}, {follower.member_id, leader.member_id})
        sent = first.send_together(
            (sync_group, 5, syncing(follower)),
            (heartbeat, 4, beating(follower)),
            (sync_group, 5, syncing(leader, **{follower.member_id: b"f", leader.member_id: b"l"})),
            (heartbeat, 4, beating(leader)),
            (heartbeat, 4, beating(follower)),
        )
        answers = dict(first.receive() for _ in sent)
        self.soon(started)
        self.assertEqual(list(answers), sent)
        got = list(answers.values())
        self.assertEqual((got[0].assignment, got[2].assignment), (b"f", b"l"))
        self.assertEqual([got[3].error_code, got[4].error_code], [ErrorCode.NONE, ErrorCode.NONE])

    def test_many_groups_on_one_connection(self) -> None:
        """A group that waits keeps no other group waiting."""
        first = self.client()
        self.stable(first)
        second = self.client()
        given = second.ask(join_group, 9, joining()).member_id
        waiting = second.send(join_group, 9, joining(given))
        third = self.client()
        started = time.monotonic()
        for number in range(50):
            joined = third.ask(join_group, 3, joining(group=f"other-{number}"))
            self.assertEqual(joined.error_code, ErrorCode.NONE)
        self.soon(started)
        first.close()
        # the leader beats no more: the one that waits goes on without it
        number, joined = second.receive()
        self.assertEqual((number, joined.leader), (waiting, given))

    def test_commits_behind_a_join(self) -> None:
        """A member may still commit in the generation that ends, behind the JoinGroup for the next one."""
        first = self.client()
        leader = self.stable(first)
        second = self.client()
        given = second.ask(join_group, 9, joining()).member_id
        second.send(join_group, 9, joining(given))
        wanted = offset_commit.Request(
            group_id="g", generation_id_or_member_epoch=leader.generation_id, member_id=leader.member_id
        )
        partition = offset_commit.RequestPartition(0, 7, -1, "")
        wanted.topics = [offset_commit.RequestTopic("no-such-topic", partitions=[partition])]
        sent = first.send_together((offset_commit, 9, wanted), (join_group, 9, joining(leader.member_id)))
        answers = dict(first.receive() for _ in sent)
        self.assertEqual(answers[sent[0]].topics[0].partitions[0].error_code, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        self.assertEqual(answers[sent[1]].generation_id, 2)
        self.assertEqual(second.receive()[1].generation_id, 2)

    def test_same_client_id(self) -> None:
        """Clients with one client id, at one address, are members of their own."""
        self.server = self.serve("--set", "group.initial.rebalance.delay.ms=500")
        clients = [self.client("same") for _ in range(3)]
        given = [client.ask(join_group, 9, joining()).member_id for client in clients]
        self.assertEqual(len(set(given)), 3)
        for client, member_id in zip(clients, given, strict=True):
            client.send(join_group, 9, joining(member_id))
        answers = [client.receive()[1] for client in clients]
        self.assertEqual([answer.member_id for answer in answers], given)
        self.assertEqual({answer.generation_id for answer in answers}, {1})
        leader = max(answers, key=lambda answer: len(answer.members))
        self.assertEqual({one.member_id for one in leader.members}, set(given))

    def test_a_stop_with_parked_requests(self) -> None:
        """A gateway that is asked to stop does not wait for a group; the group is there again afterwards."""
        first = self.client()
        leader = self.stable(first)
        second = self.client()
        given = second.ask(join_group, 9, joining()).member_id
        second.send(join_group, 9, joining(given))
        started = time.monotonic()
        self.assertEqual(self.server.terminate(), 0)
        self.soon(started)
        self.server.start()
        third = self.client()
        self.assertIn(third.ask(heartbeat, 4, beating(leader)).error_code, (0, ErrorCode.REBALANCE_IN_PROGRESS))
