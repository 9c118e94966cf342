"""Turns of gateways that change the same facts, and producer ids that are given out in them."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from kgw.engine.memory_state import MemoryStateStore
from kgw.errors import ErrorCode, KafkaError
from kgw.log.producer_ids import BLOCK_SIZE, ProducerIds
from kgw.shared.turns import ClusterTurns
from kgw.test.shared_stage import TurnLocks


class Journal:
    """
    What is done in turns, in order.

    @ivar undrained: where it is not C{None}, others cannot read what was changed before this fires.
    """

    def __init__(self, lines: list[str], name: str) -> None:
        self.lines = lines
        self.name = name
        self.undrained: Deferred[None] | None = None

    def refresh(self) -> Deferred[None]:
        """Noted."""
        self.lines.append(f"{self.name} reads")
        return succeed(None)

    def drained(self) -> Deferred[None]:
        """Noted."""
        self.lines.append(f"{self.name} drains")
        return succeed(None) if self.undrained is None else self.undrained

    def over(self) -> Deferred[None]:
        """Noted."""
        self.lines.append(f"{self.name} is done")
        return succeed(None)


class ClusterTurnsTests(SynchronousTestCase):
    """Two gateways under the same locks."""

    def setUp(self) -> None:
        self.locks = TurnLocks()
        self.lines: list[str] = []
        self.first, self.second = self.gateway("a"), self.gateway("b")

    def gateway(self, name: str) -> tuple[Journal, ClusterTurns]:
        journal = Journal(self.lines, name)
        turns = ClusterTurns(self.locks, journal.drained, journal.over)
        turns.refreshing = [journal.refresh]
        return journal, turns

    def lose(self) -> None:
        (lock,) = self.locks.holding.values()
        lock.lose()

    def work(self, line: str, until: Deferred[Any] | None = None) -> Deferred[str]:
        self.lines.append(line)
        return succeed(line) if until is None else until.addCallback(lambda _: line)

    def code(self, running: Deferred[Any]) -> ErrorCode:
        error = self.failureResultOf(running, KafkaError).value
        return ErrorCode(error.code)

    def test_one_at_a_time(self) -> None:
        """What others changed is read before, and others can read what was changed before their turn comes."""
        until: Deferred[None] = Deferred()
        one = self.first[1].run(self.work, "a changes", until)
        two = self.second[1].run(self.work, "b changes")
        three = self.first[1].run(self.work, "a changes again")
        self.assertEqual(self.lines, ["a reads", "a changes"])
        until.callback(None)
        self.assertEqual(self.successResultOf(one), "a changes")
        for each in (two, three):
            self.successResultOf(each)
        self.assertEqual(
            self.lines,
            [
                *("a reads", "a changes", "a drains", "a is done"),
                *("b reads", "b changes", "b drains", "b is done"),
                *("a reads", "a changes again", "a drains", "a is done"),
            ],
        )

    def test_an_error_ends_the_turn(self) -> None:
        """Whoever is next comes to it, and the error is what the work failed with."""

        def wrong() -> Deferred[None]:
            raise KafkaError(ErrorCode.TOPIC_ALREADY_EXISTS)

        self.assertEqual(self.code(self.first[1].run(wrong)), ErrorCode.TOPIC_ALREADY_EXISTS)
        self.assertEqual(self.lines, ["a reads", "a is done"])
        self.successResultOf(self.second[1].run(self.work, "b changes"))

    def test_the_lock_is_lost(self) -> None:
        """From then on nothing is written, what may have been written is not acknowledged, and it goes on after it."""
        until: Deferred[None] = Deferred()
        turns = self.first[1]
        self.assertTrue(turns.may_write())
        running = turns.run(self.work, "a changes", until)
        self.assertTrue(turns.may_write())
        self.lose()
        self.assertFalse(turns.may_write())
        until.callback(None)
        self.assertEqual(self.code(running), ErrorCode.KAFKA_STORAGE_ERROR)
        self.assertTrue(turns.may_write())
        self.assertEqual(self.lines[-1], "a is done")

    def test_the_lock_is_lost_while_others_cannot_read_it(self) -> None:
        """What may not be written any more will never be where others read it: nobody waits for that."""
        journal, turns = self.first
        journal.undrained = Deferred()
        running = turns.run(self.work, "a changes")
        self.assertNoResult(running)
        self.lose()
        self.assertEqual(self.code(running), ErrorCode.KAFKA_STORAGE_ERROR)
        journal.undrained = None
        self.successResultOf(turns.run(self.work, "a changes again"))

    def test_the_lock_is_not_to_be_had(self) -> None:
        """Nothing was done, which the client may try again."""
        self.locks.missing = True
        self.assertEqual(self.code(self.first[1].run(self.work, "a changes")), ErrorCode.REQUEST_TIMED_OUT)
        self.assertEqual(self.lines, [])
        self.locks.missing = False
        self.successResultOf(self.first[1].run(self.work, "a changes"))

    def test_cancelled_while_it_waits(self) -> None:
        """Who gives up waiting for his turn has changed nothing, and is not waited for."""
        until: Deferred[None] = Deferred()
        one = self.first[1].run(self.work, "a changes", until)
        two = self.first[1].run(self.work, "never")
        two.addErrback(lambda _: None)
        two.cancel()
        until.callback(None)
        self.successResultOf(one)
        self.assertNotIn("never", self.lines)
        self.successResultOf(self.first[1].run(self.work, "a changes again"))


class ProducerIdTests(SynchronousTestCase):
    """Blocks of producer ids, reserved by several gateways."""

    def test_no_id_is_given_out_twice(self) -> None:
        """Each gateway has blocks of its own, also where both ask at a time."""
        store = MemoryStateStore()
        self.successResultOf(store.open())
        locks = TurnLocks()
        turns = [ClusterTurns(locks, lambda: succeed(None), lambda: succeed(None)) for _ in range(2)]
        sources = [ProducerIds(store, one) for one in turns]
        waiting: Deferred[None] = Deferred()
        # both wait for somebody else's turn
        turns[0].run(lambda: waiting)
        asked = [source.next() for _ in range(BLOCK_SIZE + 1) for source in sources]
        self.assertNoResult(asked[0])
        waiting.callback(None)
        given = [self.successResultOf(one) for one in asked]
        self.assertEqual(len(set(given)), len(given))
        self.assertLess(max(given), 4 * BLOCK_SIZE)

    def test_no_turn(self) -> None:
        """The client is told so, and the next one is given an id."""
        store = MemoryStateStore()
        self.successResultOf(store.open())
        locks = TurnLocks()
        locks.missing = True
        source = ProducerIds(store, ClusterTurns(locks, lambda: succeed(None), lambda: succeed(None)))
        self.failureResultOf(source.next(), KafkaError)
        locks.missing = False
        self.assertEqual(self.successResultOf(source.next()), 0)
