"""The newest batches in memory: what is read is what was kept, and there is never too much of it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kgw.engine.tail import Tail, TailBudget

#: Which of three partitions, records and bytes of a batch.
_APPENDS = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 5), st.integers(1, 2000)), max_size=200)


class TailTests(SynchronousTestCase):
    """Tails that share a budget."""

    @settings(deadline=None, max_examples=60)
    @given(_APPENDS, st.integers(0, 20_000), st.integers(0, 5000), st.booleans())
    def test_reads(self, appends: list[tuple[int, int, int]], limit: int, max_bytes: int, at_least_one: bool) -> None:
        budget = TailBudget(limit)
        tails = [Tail(budget) for _ in range(3)]
        logs: list[list[tuple[int, int, bytes]]] = [[], [], []]
        for number, (which, count, size) in enumerate(appends):
            log = logs[which]
            base = log[-1][1] if log else 0
            data = number.to_bytes(4, "big") + bytes(size)
            log.append((base, base + count, data))
            tails[which].append(base, data[:4], data[4:], len(data))
            self.assertLessEqual(budget.used, limit)
        for tail, log in zip(tails, logs, strict=True):
            if tail.first < 0:
                continue
            for at, (base, end, data) in enumerate(log):
                if base < tail.first:
                    continue
                expected = b""
                for _, _, more in log[at:]:
                    if len(expected) + len(more) > max_bytes and (expected or not at_least_one):
                        break
                    expected += more
                for offset in range(base, end):
                    found, size = tail.read(offset, max_bytes, at_least_one)
                    self.assertEqual((b"".join(found), size), (expected, len(expected)), data)
        for tail in tails:
            tail.clear()
        self.assertEqual(budget.used, 0)

    def test_the_oldest_goes_first(self) -> None:
        budget = TailBudget(3000)
        idle, busy = Tail(budget), Tail(budget)
        idle.append(0, b"head", b"tail", 8)
        for offset in range(100):
            busy.append(offset, b"head", b"tail", 8)
        self.assertEqual((idle.first, 80 <= busy.first <= 95), (-1, True))

    def test_a_batch_larger_than_the_budget_is_not_kept(self) -> None:
        tail = Tail(TailBudget(1000))
        tail.append(0, b"head", bytes(5000), 5004)
        self.assertEqual(tail.first, -1)
        tail.append(1, b"head", b"tail", 8)
        self.assertEqual(tail.first, 1)

    def test_what_was_cleared_makes_room(self) -> None:
        budget = TailBudget(100_000)
        tail, other = Tail(budget), Tail(budget)
        for offset in range(50):
            tail.append(offset, b"head", bytes(96), 100)
        tail.clear()
        for offset in range(50, 60):
            tail.append(offset, b"head", bytes(96), 100)
            other.append(offset, b"head", bytes(96), 100)
        self.assertEqual((tail.first, other.first), (50, 50))
