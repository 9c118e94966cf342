"""Rates over sliding windows, and the waits that bring them down."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kgw.quotas.rate import Rate, Windows


class RateTests(SynchronousTestCase):
    """Kafka's eleven windows of a second."""

    def setUp(self) -> None:
        self.rate = Rate(Windows())

    def test_burst(self) -> None:
        """A client that begins may send what ten seconds allow, and not a byte more."""
        self.rate.record(1000, 5.0)
        self.assertEqual(self.rate.excess(100, 5.0), 0)
        self.rate.record(100, 5.0)
        self.assertEqual(self.rate.excess(100, 5.0), 1.0)

    def test_wait(self) -> None:
        """A rate is over ten seconds and what has passed of one more, as Kafka has it, however young it is."""
        self.rate.record(1500, 0.0)
        self.assertEqual(self.rate.excess(100, 0.0), 5.0)
        self.assertEqual(self.rate.excess(100, 4.5), 4.5)
        self.assertEqual(self.rate.excess(100, 10.5), 4.5)
        self.assertEqual(self.rate.excess(100, 11.0), 0)

    def test_forgets(self) -> None:
        """What is older than all windows does not count."""
        self.rate.record(5000, 0.0)
        self.rate.record(10, 6.0)
        self.assertEqual(self.rate.counted(10.9), 5010)
        self.assertEqual(self.rate.counted(11.0), 10)
        self.assertFalse(self.rate.is_idle(16.9))
        self.assertTrue(self.rate.is_idle(17.0))

    def test_taken_back(self) -> None:
        """What was not used after all does not count."""
        self.rate.record(2000, 1.0)
        self.rate.record(-2000, 1.0)
        self.assertEqual(self.rate.excess(1, 1.0), 0)

    def test_one_window(self) -> None:
        """The shortest memory there can be."""
        rate = Rate(Windows(1, 2.0))
        rate.record(10, 0.0)
        self.assertGreater(rate.excess(10, 0.0), 0.9)
        self.assertEqual(rate.excess(10, 1.0), 0)

    @given(
        limit=st.integers(1, 1000),
        windows=st.builds(Windows, st.integers(2, 11), st.sampled_from([1.0, 2.0, 5.0])),
        steps=st.lists(st.tuples(st.floats(0, 3), st.floats(0.1, 3)), min_size=1, max_size=40),
    )
    @settings(deadline=None, max_examples=80)
    def test_obedient_client(self, limit: int, windows: Windows, steps: list[tuple[float, float]]) -> None:
        """Who waits as it is told never has more than its limit and the burst it may begin with."""
        rate, now, total, largest = Rate(windows), 0.0, 0.0, 0.0
        for pause, size in steps:
            now += pause
            amount = size * limit
            rate.record(amount, now)
            total, largest = total + amount, max(largest, amount)
            wait = rate.excess(limit, now)
            if total <= limit * windows.least:
                self.assertEqual(wait, 0)
            now += wait
            # a window that is forgotten is forgotten whole
            self.assertLessEqual(total, limit * (now + 2 * windows.count * windows.seconds) + largest + 1e-6)
