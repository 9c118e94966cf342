"""Which limit is a client's, who shares it, and how little is remembered of whom."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from kgw.quotas.entities import Entity, entity_of
from kgw.quotas.meters import Meters
from kgw.quotas.rate import Windows

ME = "ANONYMOUS"
PRODUCE, FETCH, REQUESTS = "producer_byte_rate", "consumer_byte_rate", "request_percentage"

#: From the most specific on, as Kafka has it.
PRECEDENCE: list[dict[str, str | None]] = [
    {"user": ME, "client-id": "c"},
    {"user": ME, "client-id": None},
    {"user": ME},
    {"user": None, "client-id": "c"},
    {"user": None, "client-id": None},
    {"user": None},
    {"client-id": "c"},
    {"client-id": None},
]


class LimitTests(SynchronousTestCase):
    """The limit of one client."""

    def limit(self, meters: Meters, client_id: str = "c") -> float | None:
        meter = meters.caller(ME, client_id, 0.0).produce
        return None if meter is None else meter.limit

    @given(st.sets(st.integers(0, 7)))
    @settings(deadline=None, max_examples=100)
    def test_precedence(self, which: set[int]) -> None:
        """The most specific entity that is set wins."""
        meters = Meters()
        meters.set({entity_of(PRECEDENCE[number]): {PRODUCE: number + 1.0} for number in which})
        self.assertEqual(self.limit(meters), min(which) + 1.0 if which else None)

    def test_others(self) -> None:
        """Limits of other clients, other users and other keys are not mine."""
        meters = Meters()
        others: dict[Entity, dict[str, float]] = {
            entity_of({"user": "somebody"}): {PRODUCE: 1},
            entity_of({"client-id": "d"}): {PRODUCE: 1},
            entity_of({"user": ME}): {FETCH: 1},
            entity_of({"user": "somebody", "client-id": "c"}): {PRODUCE: 1},
        }
        meters.set(others)
        self.assertEqual(self.limit(meters), None)

    def test_no_client_id(self) -> None:
        """A client without an id has the default of clients."""
        meters = Meters()
        meters.set({entity_of({"user": ME}): {PRODUCE: 5}, entity_of({"user": ME, "client-id": None}): {PRODUCE: 7}})
        self.assertEqual(self.limit(meters, ""), 7)

    def test_keys_apart(self) -> None:
        """Each key has the most specific entity that sets it."""
        meters = Meters()
        meters.set({entity_of({"client-id": "c"}): {PRODUCE: 5}, entity_of({"client-id": None}): {FETCH: 7}})
        caller = meters.caller(ME, "c", 0.0)
        assert caller.produce is not None and caller.fetch is not None
        self.assertEqual((caller.produce.limit, caller.fetch.limit, caller.requests), (5, 7, None))

    def test_altered(self) -> None:
        """Another limit holds at once, and what was done before goes on to count."""
        meters = Meters()
        meters.set({entity_of({"client-id": "c"}): {PRODUCE: 100}})
        self.assertEqual(meters.charge(ME, "c", 0.0, 1000, 0.0), 0)
        meters.set({entity_of({"client-id": "c"}): {PRODUCE: 50}})
        self.assertEqual(meters.charge(ME, "c", 0.0, 1, 0.0), 1001 / 50 - 10)
        meters.set({})
        self.assertEqual(meters.charge(ME, "c", 0.0, 100_000, 0.0), 0)


class SharingTests(SynchronousTestCase):
    """Who counts together."""

    def waits(self, names: dict[str, str | None]) -> bool:
        """Whether one client waits for what another has sent."""
        meters = Meters()
        meters.set({entity_of(names): {PRODUCE: 1}})
        self.assertGreater(meters.charge(ME, "a", 0.0, 1000, 0.0), 0)
        return meters.charge(ME, "b", 0.0, 1, 0.0) > 0

    def test_clients(self) -> None:
        """A user's clients share what is the user's; a default of clients is for each of them."""
        self.assertTrue(self.waits({"user": ME}))
        self.assertTrue(self.waits({"user": None}))
        self.assertFalse(self.waits({"client-id": None}))
        self.assertFalse(self.waits({"user": ME, "client-id": None}))
        self.assertFalse(self.waits({"user": None, "client-id": None}))

    def test_long_client_ids(self) -> None:
        """Long ones are told apart."""
        meters = Meters()
        meters.set({entity_of({"client-id": None}): {PRODUCE: 1}})
        first, second = "x" * 30_000 + "1", "x" * 30_000 + "2"
        self.assertGreater(meters.charge(ME, first, 0.0, 1000, 0.0), 0)
        self.assertEqual(meters.charge(ME, second, 0.0, 1, 0.0), 0)
        self.assertGreater(meters.charge(ME, first, 0.0, 1, 0.0), 0)


class BoundTests(SynchronousTestCase):
    """However many clients there are, little is remembered."""

    def setUp(self) -> None:
        self.meters = Meters(Windows(), 100)
        self.meters.set({entity_of({"client-id": None}): {PRODUCE: 1}})

    def test_idle_first(self) -> None:
        """Who was idle for as long as counts is forgotten before anybody else."""
        for number in range(99):
            self.meters.charge(ME, f"early-{number}", 0.0, 1000, 0.0)
        self.meters.charge(ME, "busy", 0.0, 1000, 10.0)
        self.meters.charge(ME, "new", 0.0, 1, 12.0)
        self.assertEqual(len(self.meters), 2)
        self.assertGreater(self.meters.charge(ME, "busy", 0.0, 1, 12.0), 0)

    def test_longest_silent(self) -> None:
        """Where all are busy, those silent longest begin anew."""
        for number in range(1000):
            self.meters.charge(ME, f"c-{number}", 0.0, 1000, number / 1000)
            self.assertLessEqual(len(self.meters), 100)
        self.assertGreater(self.meters.charge(ME, "c-999", 0.0, 1, 1.0), 0)
        self.assertEqual(self.meters.charge(ME, "c-0", 0.0, 1, 1.0), 0)


class FetchTests(SynchronousTestCase):
    """What a Fetch may answer."""

    def setUp(self) -> None:
        self.meters = Meters()
        self.meters.set({entity_of({"client-id": "c"}): {FETCH: 100}})

    def test_room(self) -> None:
        """One answer holds what the windows do, and is not limited for others."""
        self.assertEqual(self.meters.fetch_room(ME, "c", 0.0), 1000)
        self.assertEqual(self.meters.fetch_room(ME, "d", 0.0), float("inf"))

    def test_too_fast(self) -> None:
        """What is not answered does not count: after the wait it is."""
        self.assertEqual(self.meters.fetched(ME, "c", 1000, 0.0), (0, True))
        wait, may = self.meters.fetched(ME, "c", 300, 0.0)
        self.assertEqual((wait, may), (3.0, False))
        # the windows are ten seconds and what has passed of the last, so after three seconds too much counts still
        self.assertEqual(self.meters.fetched(ME, "c", 300, 13.0), (0, True))

    def test_nothing(self) -> None:
        """An answer without records is always given."""
        self.meters.fetched(ME, "c", 1000, 0.0)
        self.assertEqual(self.meters.fetched(ME, "c", 0, 0.0), (0, True))

    def test_one_large_batch(self) -> None:
        """A batch that no window holds comes nonetheless, and is waited for."""
        wait, may = self.meters.fetched(ME, "c", 5000, 0.0)
        self.assertEqual((wait, may), (40.0, True))
        self.assertFalse(self.meters.fetched(ME, "c", 5000, 0.5)[1])


class OtherTests(SynchronousTestCase):
    """Work and connections."""

    def test_requests(self) -> None:
        """So many percent of one second's work a second; no wait is longer than a window."""
        meters = Meters()
        meters.set({entity_of({"client-id": "c"}): {REQUESTS: 10}})
        self.assertEqual(meters.charge(ME, "c", 1.0, 0, 0.0), 0)
        self.assertAlmostEqual(meters.charge(ME, "c", 0.05, 0, 0.0), 0.5)
        self.assertEqual(meters.charge(ME, "c", 50, 0, 0.0), 1.0)

    def test_longer_wait_counts(self) -> None:
        """Of two limits, the one that asks for more."""
        meters = Meters()
        meters.set({entity_of({"client-id": "c"}): {REQUESTS: 1, PRODUCE: 10}})
        self.assertEqual(meters.charge(ME, "c", 1.0, 130, 0.0), 3.0)
        self.assertEqual(meters.charge(ME, "c", 1.0, 0, 0.0), 1.0)

    def test_connections(self) -> None:
        """Of an address that has a limit, of all others by the default; those turned away do not count."""
        meters = Meters(Windows(2, 1.0))
        rate = "connection_creation_rate"
        meters.set({entity_of({"ip": "::1"}): {rate: 1}, entity_of({"ip": None}): {rate: 2}})
        self.assertEqual([meters.connected("::1", 0.0) for _ in range(3)], [True, False, False])
        self.assertEqual([meters.connected("10.0.0.1", 0.0) for _ in range(3)], [True, True, False])
        self.assertEqual([meters.connected("10.0.0.2", 0.0) for _ in range(3)], [True, True, False])
        self.assertEqual([meters.connected("::1", 2.0) for _ in range(2)], [True, False])
