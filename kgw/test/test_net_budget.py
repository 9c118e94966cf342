"""Room for requests in flight and for frames still coming in, over all connections."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kgw.net.budget import Answers, Budget, Unfinished


class Waiting:
    def __init__(self) -> None:
        self.woken = 0

    def wake(self) -> None:
        self.woken += 1


class Budgeting(SynchronousTestCase):
    def test_free(self) -> None:
        """While there is room nobody has to ask."""
        budget = Budget(100)
        budget.take(99)
        self.assertFalse(budget.busy)
        budget.take(50)
        self.assertTrue(budget.busy)
        budget.give(50)
        self.assertFalse(budget.busy)

    def test_no_limit(self) -> None:
        """-1 is none."""
        budget = Budget(-1)
        budget.take(1 << 50)
        self.assertFalse(budget.busy)

    def test_fair(self) -> None:
        """Those that wait get a turn each, in the order they came; nobody who comes later goes first."""
        budget = Budget(100)
        first, second, third = Waiting(), Waiting(), Waiting()
        budget.take(100)
        self.assertFalse(budget.enter(first))
        self.assertFalse(budget.enter(second))
        self.assertFalse(budget.enter(first))
        budget.give(100)
        self.assertEqual((first.woken, second.woken), (1, 0))
        self.assertFalse(budget.enter(third))
        self.assertTrue(budget.enter(first))
        # one request a turn
        self.assertFalse(budget.enter(first))
        budget.leave(first)
        self.assertEqual((second.woken, third.woken), (1, 0))
        budget.leave(second)
        self.assertEqual(third.woken, 1)
        self.assertTrue(budget.enter(third))
        budget.leave(third)
        self.assertTrue(budget.enter(first))
        budget.leave(first)
        self.assertFalse(budget.busy)

    def test_gone(self) -> None:
        """Who is gone holds nobody up."""
        budget = Budget(100)
        first, second, third = Waiting(), Waiting(), Waiting()
        budget.take(100)
        for waiter in (first, second, third):
            budget.enter(waiter)
        budget.forget(second)
        budget.give(100)
        budget.forget(first)
        self.assertEqual((first.woken, second.woken, third.woken), (1, 0, 1))

    @given(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 60)), max_size=80))
    @settings(deadline=None, max_examples=60)
    def test_nobody_is_forgotten(self, wishes: list[tuple[int, int]]) -> None:
        """Whatever is asked for and given back: everyone starts, and the limit is passed by less than one request."""
        budget = Budget(100)
        waiters = [Waiting() for _ in range(5)]
        todo: list[list[int]] = [[] for _ in waiters]
        for index, size in wishes:
            todo[index].append(size)
        flying: list[int] = []

        def work(index: int) -> None:
            while todo[index]:
                if budget.busy and not budget.enter(waiters[index]):
                    break
                size = todo[index].pop(0)
                self.assertLess(budget.used, 100)
                budget.take(size)
                flying.append(size)
            budget.leave(waiters[index])

        for index in range(5):
            work(index)
        while flying:
            seen = [waiter.woken for waiter in waiters]
            budget.give(flying.pop(0))
            while True:
                woken = [index for index, waiter in enumerate(waiters) if waiter.woken > seen[index]]
                if not woken:
                    break
                seen = [waiter.woken for waiter in waiters]
                for index in woken:
                    work(index)
        self.assertEqual(todo, [[]] * 5)
        self.assertEqual(budget.used, 0)
        self.assertFalse(budget.busy)


class WaitingAnswers(SynchronousTestCase):
    def test_claims(self) -> None:
        """While there is room an answer may be large, then small; never nothing."""
        answers = Answers(100 << 20)
        self.assertEqual(answers.claim(60 << 20), 60 << 20)
        self.assertEqual(answers.claim(60 << 20), 40 << 20)
        self.assertTrue(answers.over)
        self.assertEqual(answers.claim(60 << 20), 1 << 20)
        self.assertEqual(answers.claim(5000), 5000)
        answers.change(-(101 << 20) - 5000)
        self.assertEqual(answers.held, 0)
        self.assertEqual(answers.claim(60 << 20), 60 << 20)

    def test_no_limit(self) -> None:
        """-1 is none."""
        answers = Answers(-1)
        answers.change(1 << 50)
        self.assertEqual(answers.claim(1 << 40), 1 << 40)
        self.assertFalse(answers.over)


class UnfinishedFrames(SynchronousTestCase):
    def test_oldest_goes_on(self) -> None:
        """Over the limit only the frame that began first is read on; then the others."""
        frames = Unfinished(100)
        first, second = Waiting(), Waiting()
        self.assertTrue(frames.grow(first, 60))
        self.assertFalse(frames.grow(second, 60))
        self.assertTrue(frames.grow(first, 500))
        frames.drop(first)
        self.assertEqual(second.woken, 1)
        self.assertTrue(frames.grow(second, 90))
        frames.drop(second)
        self.assertEqual(frames.held, 0)

    def test_next_in_line_while_still_over(self) -> None:
        """When the first one leaves and there is still no room, the next one goes on alone."""
        frames = Unfinished(100)
        first, second, third = Waiting(), Waiting(), Waiting()
        frames.grow(first, 90)
        frames.grow(second, 120)
        frames.grow(third, 120)
        frames.drop(first)
        self.assertEqual((second.woken, third.woken), (1, 0))
        self.assertTrue(frames.grow(second, 130))
        self.assertFalse(frames.grow(third, 130))

    def test_stalled(self) -> None:
        """One that others wait for is named at the second look, one that nobody waits for never."""
        frames = Unfinished(100)
        first, second = Waiting(), Waiting()
        frames.grow(first, 90)
        self.assertIsNone(frames.stalled())
        self.assertIsNone(frames.stalled())
        frames.grow(second, 20)
        self.assertIsNone(frames.stalled())
        self.assertIs(frames.stalled(), first)
        frames.drop(first)
        self.assertIsNone(frames.stalled())
