"""Invariants of a classic group under random joins, syncs, heartbeats, leaves, crashes, restarts and clock steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from twisted.trial.unittest import SynchronousTestCase

from kgw.errors import ErrorCode, KafkaError
from kgw.group_model import Caller, GroupProtocol, Joined, JoinRequest, Leaving, Synced, SyncRequest
from kgw.groups.effects import Amend, Effect, GroupLimits, GroupSnapshot, Persist, Reply
from kgw.groups.machine import GroupMachine
from kgw.groups.standing import State
from kgw.test.machine_stage import START, offers, subscription

#: 10,000 steps and more.
RUNS, STEPS = 150, 100

CLIENTS = 6

#: All have range in common, so that members clash now and then only.
OFFERS: list[tuple[GroupProtocol, ...]] = [
    offers("range"),
    offers("range", "sticky"),
    offers("sticky", "range", metadata=subscription("payments")),
    offers("sticky"),
]

clients = st.integers(0, CLIENTS - 1)


@dataclass
class Client:
    """
    One client, with what it knows.

    @ivar waiting: its ticket that is not answered yet.
    @ivar assigned: the generation it has an assignment for.
    """

    name: str
    instance_id: str | None = None
    older: bool = False
    skips: bool = False
    protocols: tuple[GroupProtocol, ...] = OFFERS[0]
    member_id: str = ""
    generation: int = -1
    members: Sequence[str] = ()
    waiting: int | None = None
    assigned: int = -1

    def forget(self) -> None:
        """Lose its place in the group."""
        self.member_id, self.generation, self.members, self.assigned = "", -1, (), -1


@dataclass
class Asked:
    """A request that is to be answered: whose, and for a sync in which generation."""

    client: Client
    kind: str
    generation: int


class GroupLife(RuleBasedStateMachine):
    """Clients do what they like; the group stays whole."""

    def __init__(self) -> None:
        super().__init__()
        self.now = START
        self.limits = GroupLimits()
        self.clients: list[Client] = []
        self.open: dict[int, Asked] = {}
        self.tickets = 0
        self.names = 0
        self.generation = 0
        self.snapshot: GroupSnapshot | None = None

    @initialize(delay=st.sampled_from([0, 3000]), size=st.sampled_from([3, 4, 100]))
    def begin(self, delay: int, size: int) -> None:
        """An empty group and some clients: dynamic, of old, and static."""
        self.limits = GroupLimits(initial_rebalance_delay_ms=delay, max_size=size)
        self.machine = GroupMachine(self.now, "g", self.limits)
        self.clients = [
            Client("one"),
            Client("one"),
            Client("old", older=True),
            Client("s1", instance_id="rack1"),
            Client("s2", instance_id="rack2", skips=True),
            Client("double", instance_id="rack2"),
        ]

    # What clients do.

    def ask_join(self, client: Client, reconnect: bool = False) -> None:
        if client.waiting is not None and not reconnect:
            return
        request = JoinRequest(
            "g",
            client.member_id,
            client.instance_id,
            10_000,
            30_000,
            "consumer",
            client.protocols,
            Caller(client.name, "/10.0.0.1"),
            needs_member_id=not client.older,
            may_skip_assignment=client.skips,
        )
        ticket = self.begin_request(client, "join", -1)
        try:
            self.perform(self.machine.join(self.now, request, ticket))
        except KafkaError as error:
            self.refuse(ticket, error)

    def ask_sync(self, client: Client) -> None:
        if client.waiting is not None or client.generation < 0:
            return
        assignments = {member_id: f"{client.generation}".encode() for member_id in client.members}
        request = SyncRequest(
            "g", client.generation, client.member_id, client.instance_id, "consumer", None, assignments
        )
        ticket = self.begin_request(client, "sync", client.generation)
        try:
            self.perform(self.machine.sync(self.now, request, ticket))
        except KafkaError as error:
            self.refuse(ticket, error)

    def ask_heartbeat(self, client: Client) -> None:
        try:
            self.perform(self.machine.heartbeat(self.now, client.generation, client.member_id, client.instance_id))
        except KafkaError as error:
            self.obey(client, error)

    def begin_request(self, client: Client, kind: str, generation: int) -> int:
        self.tickets += 1
        client.waiting = self.tickets
        self.open[self.tickets] = Asked(client, kind, generation)
        return self.tickets

    def refuse(self, ticket: int, error: KafkaError) -> None:
        asked = self.open.pop(ticket)
        if asked.client.waiting == ticket:
            asked.client.waiting = None
            self.obey(asked.client, error)

    def obey(self, client: Client, error: KafkaError) -> None:
        if error.code in (ErrorCode.UNKNOWN_MEMBER_ID, ErrorCode.GROUP_MAX_SIZE_REACHED, ErrorCode.FENCED_INSTANCE_ID):
            client.forget()
        else:
            client.generation, client.assigned = -1, -1

    def perform(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Persist):
                assert effect.snapshot is not None
                assert effect.snapshot.generation_id <= self.machine.generation_id
                self.snapshot = effect.snapshot
            elif isinstance(effect, Amend):
                assert effect.generation_id <= self.machine.generation_id
                before = self.snapshot or GroupSnapshot("g", 0, None, None, None, START)
                members = tuple(one for one in before.members if self.machine.has_member(one.member_id))
                self.snapshot = replace(before, generation_id=effect.generation_id, members=members, unsettled=True)
            elif isinstance(effect, Reply):
                assert isinstance(effect.ticket, int)
                assert effect.ticket in self.open, "answered twice, or after it was cancelled"
                if isinstance(effect.answer, KafkaError):
                    self.refuse(effect.ticket, effect.answer)
                else:
                    self.take(self.open.pop(effect.ticket), effect.ticket, effect.answer)

    def take(self, asked: Asked, ticket: int, answer: Joined | Synced) -> None:
        client = asked.client
        known = client.waiting == ticket
        if known:
            client.waiting = None
        if isinstance(answer, Synced):
            assert asked.kind == "sync"
            # nothing, or what the leader of this very generation gave
            assert answer.assignment in (b"", str(asked.generation).encode())
            if known:
                client.assigned = asked.generation
            return
        assert asked.kind == "join"
        if answer.error == ErrorCode.NONE:
            self.check_joined(answer)
        if known:
            client.member_id, client.generation = answer.member_id, answer.generation_id
            client.members = [] if answer.skip_assignment else [member.member_id for member in answer.members]
            client.assigned = -1

    def check_joined(self, answer: Joined) -> None:
        told = {member.member_id for member in self.machine.describe().members}
        assert answer.member_id in told
        if answer.members:
            assert answer.leader == answer.member_id == self.machine.leader, "two leaders"
            assert {member.member_id for member in answer.members} == told
        elif answer.leader != self.machine.leader:
            # a static leader of old that came back
            assert self.machine.leader == answer.member_id

    @rule(which=clients, protocols=st.sampled_from(OFFERS))
    def join(self, which: int, protocols: tuple[GroupProtocol, ...]) -> None:
        """A client joins, or joins again, with whatever it offers now."""
        self.clients[which].protocols = protocols
        self.ask_join(self.clients[which])

    @rule(which=clients)
    def rejoin(self, which: int) -> None:
        """A client joins as before."""
        self.ask_join(self.clients[which])

    @rule(which=clients)
    def join_by_another_connection(self, which: int) -> None:
        """Its former request is still there, by a connection nobody reads."""
        self.ask_join(self.clients[which], reconnect=True)

    @rule(which=clients)
    def sync(self, which: int) -> None:
        """A client asks for its assignment; a leader brings everybody's."""
        self.ask_sync(self.clients[which])

    @rule(which=clients)
    def heartbeat(self, which: int) -> None:
        """A client says that it is alive."""
        self.ask_heartbeat(self.clients[which])

    @rule()
    def behave(self) -> None:
        """All do what they should do next."""
        for client in self.clients:
            if client.waiting is None:
                if client.generation < 0:
                    self.ask_join(client)
                elif client.assigned < 0:
                    self.ask_sync(client)
                else:
                    self.ask_heartbeat(client)

    @rule()
    def settle(self) -> None:
        """All do what they should for a while, as they mostly do."""
        for _ in range(6):
            self.behave()
            self.advance(1)

    @rule(which=clients)
    def commit(self, which: int) -> None:
        """A client commits; in its own generation only."""
        client = self.clients[which]
        try:
            self.machine.check_commit(self.now, client.generation, client.member_id, client.instance_id)
        except KafkaError:
            return
        assert client.generation in (-1, self.machine.generation_id)

    @rule(which=clients, by_instance=st.booleans())
    def leave(self, which: int, by_instance: bool) -> None:
        """A client leaves, whatever it waits for."""
        client = self.clients[which]
        leaving = Leaving("" if by_instance else client.member_id, client.instance_id)
        rows, effects = self.machine.leave(self.now, [leaving])
        assert len(rows) == 1
        self.perform(effects)
        if rows[0].error == ErrorCode.NONE:
            client.forget()

    @rule(which=clients, noticed=st.booleans())
    def crash(self, which: int, noticed: bool) -> None:
        """A client dies, and another takes its place; its connection is closed, or hangs."""
        client = self.clients[which]
        if client.waiting is not None and noticed:
            self.cancel(client.waiting)
        client.waiting = None
        client.forget()

    def cancel(self, ticket: int) -> None:
        del self.open[ticket]
        self.perform(self.machine.cancel(self.now, ticket))

    # What else happens.

    @rule(seconds=st.floats(0, 40))
    def advance(self, seconds: float) -> None:
        """Time goes by."""
        end = self.now + seconds
        while (deadline := self.machine.next_deadline()) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            self.perform(self.machine.tick(self.now))
            after = self.machine.next_deadline()
            assert after is None or after > self.now, "a tick leaves nothing undone"
        self.now = end

    @rule()
    def fail_to_store(self) -> None:
        """The store is full, say."""
        self.perform(self.machine.unsaved(self.now))

    @rule()
    def restart(self) -> None:
        """The node dies and comes back: requests that waited are lost, what was stored is there."""
        self.open.clear()
        for client in self.clients:
            client.waiting = None
        if self.snapshot is None:
            self.machine = GroupMachine(self.now, "g", self.limits)
        else:
            self.machine = GroupMachine.restored(self.now, self.snapshot, self.limits)
            assert self.machine.generation_id == self.snapshot.generation_id

    @invariant()
    def is_whole(self) -> None:
        """What is true after every step."""
        if not self.clients:
            return
        machine, state = self.machine, self.machine.state
        assert machine.generation_id >= self.generation, "generations only grow"
        self.generation = machine.generation_id
        # static members that are away keep their places beside those that joined
        dynamic = [member for member in machine.describe().members if member.instance_id is None]
        assert len(dynamic) <= self.limits.max_size or state is State.PREPARING
        if machine.member_count == 0:
            assert state is State.EMPTY or (state is State.PREPARING and machine.pending_count)
            assert machine.leader is None
        else:
            assert state is not State.EMPTY
            members = {member.member_id for member in machine.describe().members}
            assert machine.leader in members
            assert machine.next_deadline() is not None, "nobody waits for ever"
        if state is State.EMPTY and not machine.pending_count:
            assert machine.next_deadline() is None, "a deadline is left behind"
        kinds = {asked.kind for asked in self.open.values()}
        allowed = {State.PREPARING: {"join"}, State.COMPLETING: {"sync"}}.get(state, set())
        assert kinds <= allowed, f"{kinds} wait in {state}"

    def teardown(self) -> None:
        """Clients that behave come to an agreement in the end; when all are gone, nothing is left behind."""
        if not self.clients:
            return
        crowd = self.clients[: min(len(self.clients) - 1, self.limits.max_size)]
        self.clients = crowd
        for client in crowd:
            client.protocols = OFFERS[1]
        for _ in range(200):
            self.behave()
            self.advance(3)
        assert self.machine.state == "Stable"
        assert {client.assigned for client in crowd} == {self.machine.generation_id}
        assert self.machine.member_count == len(crowd)
        for ticket in list(self.open):
            self.cancel(ticket)
        for _ in range(10):
            self.advance(400)
        assert self.machine.state == "Empty"
        assert self.machine.next_deadline() is None
        self.perform(self.machine.stop(self.now))
        assert not self.open
        assert self.machine.next_deadline() is None


class GroupLifeTests(SynchronousTestCase):
    """The machine against its invariants."""

    def test_invariants_hold(self) -> None:
        """Whatever clients do, each request is answered once, and the group stays whole."""
        run_state_machine_as_test(
            GroupLife,
            settings=settings(
                deadline=None,
                max_examples=RUNS,
                stateful_step_count=STEPS,
                suppress_health_check=list(HealthCheck),
            ),
        )
