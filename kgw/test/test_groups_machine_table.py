"""What each request gets in each state of a classic group: every cell of the table."""

from __future__ import annotations

from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from kgw.errors import ErrorCode, KafkaError
from kgw.group_model import Joined, Synced
from kgw.groups.standing import LEGAL_FROM, Standing, State
from kgw.test.machine_stage import MachineStage, offers

#: The members of each group of the table: a leader, a follower and a static follower.
MEMBERS = (None, None, "static")
LEADER, FOLLOWER, STATIC = range(3)

OTHER = offers("range", metadata=b"\0\0\0\0\0\0")
FOREIGN = offers("roundrobin")


class Cell:
    """A group in some state, and one request to it."""

    def __init__(self, state: str) -> None:
        self.stage = stage = MachineStage()
        if state == "Empty":
            self.ids = stage.stable(*MEMBERS)
            for member_id in self.ids:
                stage.leave(member_id)
        elif state == "PreparingRebalance":
            self.ids = stage.preparing(*MEMBERS)
        elif state == "CompletingRebalance":
            self.ids = stage.completing(*MEMBERS)
        else:
            self.ids = stage.stable(*MEMBERS)
        self.pending = stage.new_id("pending")
        if state == "Dead":
            stage.perform(stage.machine.stop(stage.now))
        if stage.machine.state != state:
            raise AssertionError(stage.machine.state)

    def ask(self, request: Callable[[Cell], str | ErrorCode | None]) -> str:
        """What the request gets, and the state after it where that is another."""
        before = self.stage.machine.state
        try:
            outcome = self._describe(request(self))
        except KafkaError as error:
            outcome = error.code.name
        after = self.stage.machine.state
        return outcome if after == before else f"{outcome} -> {after.value}"

    def _describe(self, result: str | ErrorCode | None) -> str:
        if not isinstance(result, str):
            return "ok" if result in (None, ErrorCode.NONE) else ErrorCode(result).name
        answer = self.stage.answers.get(result)
        if answer is None:
            return "waits"
        if isinstance(answer, KafkaError):
            return answer.code.name
        if isinstance(answer, Synced):
            return f"assignment {answer.assignment.decode()!r}"
        if answer.error == ErrorCode.MEMBER_ID_REQUIRED:
            return f"id, {answer.error.name}"
        return f"generation{self._role(answer)}"

    def _role(self, answer: Joined) -> str:
        if answer.generation_id != self.stage.machine.generation_id:
            return f" {answer.generation_id}"
        return ", as the leader" if answer.members else ""

    def commit(self, member: int | None, generation: int | None = None) -> None:
        """Ask whether offsets may be committed, as a member or as nobody."""
        machine = self.stage.machine
        if member is None:
            machine.check_commit(self.stage.now, -1, "", None)
        else:
            generation_id = machine.generation_id if generation is None else generation
            machine.check_commit(self.stage.now, generation_id, self.ids[member], None)

    def everything(self) -> dict[str, bytes]:
        """What a leader assigns."""
        return {member_id: b"new" for member_id in self.ids}


REQUESTS: dict[str, Callable[[Cell], str | ErrorCode | None]] = {
    "join, new": lambda cell: cell.stage.join(client_id="new"),
    "join, new, older client": lambda cell: cell.stage.join(client_id="new", needs_member_id=False),
    "join, new, static": lambda cell: cell.stage.join(instance_id="other"),
    "join, pending": lambda cell: cell.stage.join(cell.pending, client_id="pending"),
    "join, leader": lambda cell: cell.stage.join(cell.ids[LEADER]),
    "join, follower": lambda cell: cell.stage.join(cell.ids[FOLLOWER]),
    "join, follower, changed": lambda cell: cell.stage.join(cell.ids[FOLLOWER], OTHER),
    "join, static": lambda cell: cell.stage.join(cell.ids[STATIC], instance_id="static"),
    "join, static, restarted": lambda cell: cell.stage.join(instance_id="static"),
    "join, static, fenced": lambda cell: cell.stage.join("former", instance_id="static"),
    "join, unknown": lambda cell: cell.stage.join("stranger"),
    "join, other protocols": lambda cell: cell.stage.join(protocols=FOREIGN),
    "join, other type": lambda cell: cell.stage.join(protocol_type="connect"),
    "join, session too short": lambda cell: cell.stage.join(session=5.9),
    "join, session too long": lambda cell: cell.stage.join(session=1800.1),
    "sync, leader": lambda cell: cell.stage.sync(cell.ids[LEADER], cell.everything()),
    "sync, follower": lambda cell: cell.stage.sync(cell.ids[FOLLOWER]),
    "sync, old generation": lambda cell: cell.stage.sync(cell.ids[FOLLOWER], generation=0),
    "sync, other type": lambda cell: cell.stage.sync(cell.ids[FOLLOWER], protocol_type="connect"),
    "sync, other protocol": lambda cell: cell.stage.sync(cell.ids[FOLLOWER], protocol_name="sticky"),
    "sync, pending": lambda cell: cell.stage.sync(cell.pending),
    "sync, fenced": lambda cell: cell.stage.sync("former", instance_id="static"),
    "heartbeat": lambda cell: cell.stage.heartbeat(cell.ids[FOLLOWER]),
    "heartbeat, static": lambda cell: cell.stage.heartbeat(cell.ids[STATIC], instance_id="static"),
    "heartbeat, old generation": lambda cell: cell.stage.heartbeat(cell.ids[FOLLOWER], generation=0),
    "heartbeat, unknown": lambda cell: cell.stage.heartbeat("stranger"),
    "heartbeat, unknown instance": lambda cell: cell.stage.heartbeat(cell.ids[FOLLOWER], instance_id="nobody"),
    "heartbeat, fenced": lambda cell: cell.stage.heartbeat("former", instance_id="static"),
    "leave": lambda cell: cell.stage.leave(cell.ids[FOLLOWER]).error,
    "leave, by instance": lambda cell: cell.stage.leave(instance_id="static").error,
    "leave, pending": lambda cell: cell.stage.leave(cell.pending).error,
    "leave, unknown": lambda cell: cell.stage.leave("stranger").error,
    "leave, unknown instance": lambda cell: cell.stage.leave(instance_id="nobody").error,
    "leave, fenced": lambda cell: cell.stage.leave("former", instance_id="static").error,
    "commit": lambda cell: cell.commit(FOLLOWER),
    "commit, old generation": lambda cell: cell.commit(FOLLOWER, 0),
    "commit, nobody": lambda cell: cell.commit(None),
    "delete": lambda cell: cell.stage.perform(cell.stage.machine.delete(cell.stage.now)),
    "stop": lambda cell: cell.stage.perform(cell.stage.machine.stop(cell.stage.now)),
}

#: What the words of the table stand for; a word after ">" is the state that the group is in then.
WORDS = {
    "ok": "ok",
    "id": "id, MEMBER_ID_REQUIRED",
    "waits": "waits",
    "lead": "generation, as the leader",
    "follow": "generation",
    "0": "assignment '0'",
    "1": "assignment '1'",
    "new": "assignment 'new'",
    "unknown": "UNKNOWN_MEMBER_ID",
    "fenced": "FENCED_INSTANCE_ID",
    "old": "ILLEGAL_GENERATION",
    "rebalance": "REBALANCE_IN_PROGRESS",
    "clash": "INCONSISTENT_GROUP_PROTOCOL",
    "session": "INVALID_SESSION_TIMEOUT",
    "not empty": "NON_EMPTY_GROUP",
    "no group": "GROUP_ID_NOT_FOUND",
    "gone": "COORDINATOR_NOT_AVAILABLE",
}
STATES = {
    "Empty": "Empty",
    "Preparing": "PreparingRebalance",
    "Completing": "CompletingRebalance",
    "Stable": "Stable",
    "Dead": "Dead",
}

TABLE = """
                            | Empty             | Preparing         | Completing        | Stable            | Dead
join, new                   | id                | id                | id                | id                | gone
join, new, older client     | lead > Completing | waits             | waits > Preparing | waits > Preparing | gone
join, new, static           | lead > Completing | waits             | waits > Preparing | waits > Preparing | gone
join, pending               | lead > Completing | waits             | waits > Preparing | waits > Preparing | gone
join, leader                | unknown           | waits             | lead              | waits > Preparing | gone
join, follower              | unknown           | waits             | follow            | follow            | gone
join, follower, changed     | unknown           | waits             | waits > Preparing | waits > Preparing | gone
join, static                | unknown           | waits             | follow            | follow            | gone
join, static, restarted     | lead > Completing | waits             | waits > Preparing | follow            | gone
join, static, fenced        | unknown           | fenced            | fenced            | fenced            | gone
join, unknown               | unknown           | unknown           | unknown           | unknown           | gone
join, other protocols       | id                | clash             | clash             | clash             | gone
join, other type            | id                | clash             | clash             | clash             | gone
join, session too short     | session       | session       | session       | session       | session
join, session too long      | session       | session       | session       | session       | session
sync, leader                | unknown           | rebalance         | new > Stable      | 0                 | gone
sync, follower              | unknown           | rebalance         | waits             | 1                 | gone
sync, old generation        | unknown           | old               | old               | old               | gone
sync, other type            | unknown           | clash             | clash             | clash             | gone
sync, other protocol        | unknown           | clash             | clash             | clash             | gone
sync, pending               | unknown           | unknown           | unknown           | unknown           | gone
sync, fenced                | unknown           | fenced            | fenced            | fenced            | gone
heartbeat                   | unknown           | rebalance         | ok                | ok                | gone
heartbeat, static           | unknown           | rebalance         | ok                | ok                | gone
heartbeat, old generation   | unknown           | old               | old               | old               | gone
heartbeat, unknown          | unknown           | unknown           | unknown           | unknown           | gone
heartbeat, unknown instance | unknown           | unknown           | unknown           | unknown           | gone
heartbeat, fenced           | unknown           | fenced            | fenced            | fenced            | gone
leave                       | unknown           | ok                | ok > Preparing    | ok > Preparing    | gone
leave, by instance          | unknown           | ok                | ok > Preparing    | ok > Preparing    | gone
leave, pending              | ok                | ok                | ok                | ok                | gone
leave, unknown              | unknown           | unknown           | unknown           | unknown           | gone
leave, unknown instance     | unknown           | unknown           | unknown           | unknown           | gone
leave, fenced               | unknown           | fenced            | fenced            | fenced            | gone
commit                      | unknown           | ok                | rebalance         | ok                | gone
commit, old generation      | unknown           | old               | old               | old               | gone
commit, nobody              | ok                | unknown           | unknown           | unknown           | gone
delete                      | ok > Dead         | not empty         | not empty         | not empty         | no group
stop                        | ok > Dead         | ok > Dead         | ok > Dead         | ok > Dead         | ok
"""


def read_table() -> dict[str, dict[str, str]]:
    """What each request gets, by state and request, in the words of L{Cell}."""
    head, *rows = TABLE.strip("\n").splitlines()
    states = [STATES[word.strip()] for word in head.split("|")[1:]]
    table: dict[str, dict[str, str]] = {state: {} for state in states}
    for row in rows:
        request, *cells = (cell.strip() for cell in row.split("|"))
        for state, cell in zip(states, cells, strict=True):
            word, _, after = cell.partition(" > ")
            table[state][request] = WORDS[word] + (f" -> {STATES[after]}" if after else "")
    return table


class TableTests(SynchronousTestCase):
    """Every request in every state."""

    maxDiff = None

    def check(self, state: str) -> None:
        """Hold one column of the table against a group in that state, made anew for each cell."""
        expected = read_table()[state]
        self.assertEqual(list(expected), list(REQUESTS))
        self.assertEqual({name: Cell(state).ask(request) for name, request in REQUESTS.items()}, expected)

    def test_empty(self) -> None:
        """Nobody is known; whoever brings no member id is welcome, and anybody may commit."""
        self.check("Empty")

    def test_preparing(self) -> None:
        """Joins wait for the others; all else is told to join, or works for the old generation."""
        self.check("PreparingRebalance")

    def test_completing(self) -> None:
        """Syncs wait for the leader's; heartbeats are fine, commits are not yet."""
        self.check("CompletingRebalance")

    def test_stable(self) -> None:
        """Members get what they have; who changes the group begins a rebalance."""
        self.check("Stable")

    def test_dead(self) -> None:
        """All are sent to look for the coordinator anew."""
        self.check("Dead")

    def test_legal_transitions(self) -> None:
        """Only Kafka's transitions are possible."""
        paths = {
            State.EMPTY: [],
            State.PREPARING: [State.PREPARING],
            State.COMPLETING: [State.PREPARING, State.COMPLETING],
            State.STABLE: [State.PREPARING, State.COMPLETING, State.STABLE],
            State.DEAD: [State.DEAD],
        }
        for before, path in paths.items():
            for after in State:
                group = Standing(0.0, "g")
                for state in path:
                    group.enter(state)
                if before in LEGAL_FROM[after]:
                    group.enter(after)
                    self.assertEqual(group.state, after)
                else:
                    with self.assertRaises(RuntimeError):
                        group.enter(after)
