"""The filers' locks: what is refused, how long work may rely on them, and a real filer's own idea of them."""

from __future__ import annotations

import time
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase

from kgw.engine.bridge import ThreadBridge
from kgw.engine.seaweed.calls import Calls
from kgw.engine.seaweed.locks import FilerLocks, Holding, LockHeld, Sections
from kgw.errors import ErrorCode, KafkaError
from kgw.test import seaweed
from kgw.test.builders import ThreadQueue
from kgw.test.seaweed_fakes import FakeLocks


class LockTests(SynchronousTestCase):
    """Single calls."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.filers = FakeLocks(self.clock)
        self.locks = FilerLocks(cast(Calls, self.filers), lambda: "one:18888")

    def test_each_token_is_good_for_once(self) -> None:
        first = self.successResultOf(self.locks.take("l", "a", 5))
        second = self.successResultOf(self.locks.take("l", "a", 5, first.token))
        self.assertEqual(first.generation, second.generation)
        self.assertNotEqual(first.token, second.token)
        self.failureResultOf(self.locks.take("l", "a", 5, first.token), LockHeld)
        refused = self.failureResultOf(self.locks.take("l", "b", 5), LockHeld).value
        self.assertEqual(refused.owner, "a")
        self.assertEqual(self.successResultOf(self.locks.owner("l")), "a")
        self.failureResultOf(self.locks.release("l", first.token), LockHeld)
        self.successResultOf(self.locks.release("l", second.token))
        self.successResultOf(self.locks.take("l", "b", 5))
        self.assertRaises(ValueError, self.locks.take, "l", "b", 0)

    def test_a_filer_that_was_started_again_knows_nothing(self) -> None:
        lock = self.successResultOf(self.locks.take("l", "a", 5))
        self.filers.restart()
        self.failureResultOf(self.locks.take("l", "a", 5, lock.token), LockHeld)
        self.successResultOf(self.locks.take("l", "a", 5))

    def test_a_lock_that_another_filer_keeps(self) -> None:
        """That one is asked from then on, and the one the masters name again when it is away."""
        for passes_on in (True, False):
            self.filers.passes_on, self.filers.keeper = passes_on, "two:8888.18888"
            self.filers.asked.clear()
            lock = self.successResultOf(self.locks.take("l", "a", 5))
            lock = self.successResultOf(self.locks.take("l", "a", 5, lock.token))
            self.assertEqual(self.filers.asked, ["one:18888", *["two:18888"] * (1 if passes_on else 2)])
            self.filers.away.add("two:18888")
            self.filers.keeper = ""
            self.successResultOf(self.locks.take("l", "a", 5, lock.token))
            self.assertEqual(self.filers.asked[-2:], ["two:18888", "one:18888"])
            self.filers.away.clear()
            self.filers.restart()


class SectionTests(SynchronousTestCase):
    """Work under a lock."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.filers = FakeLocks(self.clock)
        self.locks = FilerLocks(cast(Calls, self.filers), lambda: "one:18888")
        self.sections = Sections(self.locks, self.clock, "me", self.clock.seconds)
        self.holds: list[Holding] = []
        self.lost: list[float] = []

    async def work(self, hold: Holding) -> str:
        """Ten seconds of it."""
        self.holds.append(hold)
        hold.when_lost(lambda: self.lost.append(self.clock.seconds()))
        await deferLater(self.clock, 10)
        return "done"

    def pass_time(self, seconds: float) -> None:
        """In small steps."""
        self.clock.pump([0.25] * int(seconds * 4))

    def test_the_lock_is_renewed_and_released(self) -> None:
        running = self.sections.run("l", self.work)
        for _ in range(38):
            self.pass_time(0.25)
            self.assertTrue(self.holds[0].valid())
            self.failureResultOf(self.locks.take("l", "other", 5), LockHeld)
        self.pass_time(1)
        self.assertEqual(self.successResultOf(running), "done")
        self.assertEqual((self.holds[0].valid(), self.lost), (False, []))
        self.successResultOf(self.locks.take("l", "other", 5))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_one_at_a_time(self) -> None:
        running = [self.sections.run("l", self.work) for _ in range(2)]
        self.pass_time(9)
        self.assertEqual(len(self.holds), 1)
        self.pass_time(2)
        self.assertEqual(len(self.holds), 2)
        self.pass_time(10)
        self.assertEqual([self.successResultOf(one) for one in running], ["done", "done"])

    def test_waiting_is_bounded(self) -> None:
        self.successResultOf(self.locks.take("l", "other", 60))
        running = self.sections.run("l", self.work, wait_s=3)
        self.pass_time(2)
        self.assertNoResult(running)
        self.pass_time(2)
        self.assertEqual(self.failureResultOf(running, LockHeld).value.owner, "other")

    def test_the_work_is_told_that_the_lock_was_lost(self) -> None:
        """A filer that was started again has forgotten it."""
        running = self.sections.run("l", self.work)
        self.filers.restart()
        self.pass_time(2)
        self.assertEqual((len(self.lost), self.holds[0].valid()), (1, False))
        self.pass_time(9)
        self.assertEqual(self.successResultOf(running), "done")

    def test_while_no_filer_answers_it_is_ours_for_its_time_only(self) -> None:
        running = self.sections.run("l", self.work)
        self.filers.away.add("one:18888")
        self.pass_time(4)
        self.assertTrue(self.holds[0].valid())
        self.pass_time(1)
        self.assertFalse(self.holds[0].valid())
        self.pass_time(1)
        self.assertEqual(len(self.lost), 1)
        self.pass_time(6)
        self.assertEqual(self.successResultOf(running), "done")

    def test_work_that_fails_releases_it(self) -> None:
        async def failing(hold: Holding) -> None:
            raise KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, "no")

        self.failureResultOf(self.sections.run("l", failing), KafkaError)
        self.successResultOf(self.locks.take("l", "other", 5))

    def test_who_gives_up_waiting_does_not_break_it_off(self) -> None:
        running = self.sections.run("l", self.work)
        running.addErrback(lambda _: None)
        running.cancel()
        self.pass_time(5)
        self.assertTrue(self.holds[0].valid())
        self.pass_time(6)
        self.successResultOf(self.locks.take("l", "other", 5))


class RealLockTests(SynchronousTestCase):
    """A filer of SeaweedFS does as the fake ones do."""

    def test_a_real_filer(self) -> None:
        engine = seaweed.engine()
        threads = ThreadQueue()
        bridge = ThreadBridge(threads, 4, "test-locks")
        bridge.start()
        self.addCleanup(bridge.stop)
        calls = Calls(bridge, None)
        self.addCleanup(calls.stop)
        locks = FilerLocks(calls, lambda: engine.filer)

        def done(deferred: Deferred[Any]) -> Any:
            return threads.wait(deferred, 60)

        def refused(deferred: Deferred[Any]) -> LockHeld:
            deferred.addCallbacks(self.fail, lambda failure: failure.trap(LockHeld) and failure.value)
            error = done(deferred)
            assert isinstance(error, LockHeld)
            return error

        name = self.id()
        first = done(locks.take(name, "a", 60))
        second = done(locks.take(name, "a", 60, first.token))
        self.assertEqual(first.generation, second.generation)
        self.assertNotEqual(first.token, second.token)
        refused(locks.take(name, "a", 60, first.token))
        self.assertEqual(refused(locks.take(name, "b", 60)).owner, "a")
        self.assertEqual(done(locks.owner(name)), "a")
        refused(locks.release(name, first.token))
        done(locks.release(name, second.token))
        third = done(locks.take(name, "b", 1))
        deadline = time.monotonic() + 20
        while True:
            try:
                fourth = done(locks.take(name, "c", 60))
                break
            except LockHeld:
                self.assertLess(time.monotonic(), deadline)
        self.assertGreater(fourth.generation, third.generation)
        refused(locks.take(name, "b", 60, third.token))
        done(locks.release(name, fourth.token))
