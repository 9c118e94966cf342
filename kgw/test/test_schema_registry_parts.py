"""What the registry's client is made of: whom it asks, what it remembers, who waits, what answers say."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from kgw.schema.model import (
    Reference,
    RegisteredSchema,
    RegistryUnavailable,
    ResolvedSchema,
    SchemaNotFound,
    SchemaType,
)
from kgw.schema.registry_answers import MOST_REFERENCES, Answer, error_code, parse, registered, versions, words
from kgw.schema.registry_cache import Cache
from kgw.schema.registry_endpoints import Endpoints
from kgw.schema.registry_flights import Flights, Turns
from kgw.schema.registry_references import MOST_BYTES, MOST_DEPTH, resolve


class EndpointsTests(SynchronousTestCase):
    """Whom to ask."""

    def test_the_first_is_preferred(self) -> None:
        """One that fails is asked last until it answers again."""
        endpoints = Endpoints(["a", "b", "c"])
        self.assertEqual(endpoints.order(0), ["a", "b", "c"])
        endpoints.failed("a", 0)
        self.assertEqual(endpoints.order(0), ["b", "c", "a"])
        self.assertEqual(endpoints.order(100), ["b", "c", "a"])
        endpoints.answered("a")
        self.assertEqual(endpoints.order(100), ["a", "b", "c"])

    def test_nobody_is_asked_while_all_are_down(self) -> None:
        """For a second at first, then longer and longer, though never for long."""
        endpoints = Endpoints(["a"])
        now, pauses = 0.0, []
        for _ in range(6):
            endpoints.failed("a", now)
            began = now
            while not endpoints.order(now):
                now += 0.5
            pauses.append(now - began)
        self.assertEqual(pauses, [1, 2, 4, 8, 10, 10])

    def test_failures_at_the_same_time_count_once(self) -> None:
        endpoints = Endpoints(["a"])
        for _ in range(8):
            endpoints.failed("a", 5)
        self.assertEqual(endpoints.order(6), ["a"])

    def test_who_failed_first_is_tried_first(self) -> None:
        endpoints = Endpoints(["a", "b"])
        endpoints.failed("b", 0)
        endpoints.failed("a", 0.5)
        self.assertEqual(endpoints.order(1), ["b", "a"])


class CacheTests(SynchronousTestCase):
    """What is remembered."""

    def test_used_last_stays_longest(self) -> None:
        cache: Cache[str] = Cache(2, 1 << 20)
        cache.put("a", "A")
        cache.put("b", "B")
        cache.get("a", 0)
        cache.put("c", "C")
        self.assertEqual([cache.get(key, 0) for key in "abc"], ["A", None, "C"])

    def test_time(self) -> None:
        """What is believed for a while is forgotten then."""
        cache: Cache[bool] = Cache(9, 1 << 20)
        cache.put("a", False, until=10)
        self.assertIs(cache.get("a", 9.9), False)
        self.assertIs(cache.get("a", 10), None)
        self.assertEqual((len(cache), cache.size), (0, 0))

    @settings(deadline=None, max_examples=50)
    @given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 5000)), max_size=60))
    def test_bounds(self, puts: list[tuple[int, int]]) -> None:
        """Whatever is kept, it never is more than allowed, and the last that fits is there."""
        cache: Cache[int] = Cache(5, 8000)
        for key, size in puts:
            cache.put(key, size, size)
            self.assertLessEqual(len(cache), 5)
            self.assertLessEqual(cache.size, 8000)
            self.assertEqual(cache.get(key, 0), size)
        cache.put("large", 1, 8001)
        self.assertIs(cache.get("large", 0), None)
        cache.clear()
        self.assertEqual((len(cache), cache.size), (0, 0))


class FlightsTests(SynchronousTestCase):
    """One question for all who ask it."""

    def setUp(self) -> None:
        self.flights: Flights[str] = Flights(3)
        self.sent: list[Deferred[str]] = []
        self.cancelled: list[Deferred[str]] = []

    def ask(self) -> Deferred[str]:
        self.sent.append(Deferred(self.cancelled.append))
        return self.sent[-1]

    def test_one_question(self) -> None:
        """All who wait get the one answer; who asks later sends it anew."""
        waiting = [self.flights.join("k", self.ask) for _ in range(3)]
        self.assertEqual(len(self.sent), 1)
        self.sent[0].callback("answer")
        self.assertEqual([self.successResultOf(one) for one in waiting], ["answer"] * 3)
        self.flights.join("k", self.ask)
        self.assertEqual(len(self.sent), 2)

    def test_answered_at_once(self) -> None:
        self.assertEqual(self.successResultOf(self.flights.join("k", lambda: succeed("now"))), "now")
        self.failureResultOf(self.flights.join("k", lambda: fail(SchemaNotFound("no"))), SchemaNotFound)
        self.assertEqual(len(self.flights), 0)

    def test_failure(self) -> None:
        waiting = [self.flights.join("k", self.ask) for _ in range(2)]
        self.sent[0].errback(SchemaNotFound("no"))
        for one in waiting:
            self.failureResultOf(one, SchemaNotFound)

    def test_cancelling_one_does_not_fail_the_others(self) -> None:
        first, second = (self.flights.join("k", self.ask) for _ in range(2))
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.assertEqual(self.cancelled, [])
        self.sent[0].callback("answer")
        self.assertEqual(self.successResultOf(second), "answer")

    def test_the_last_one_cancels_the_question(self) -> None:
        waiting = [self.flights.join("k", self.ask) for _ in range(2)]
        for one in waiting:
            one.cancel()
            self.failureResultOf(one, CancelledError)
        self.assertEqual(self.cancelled, self.sent)
        self.assertEqual(len(self.flights), 0)

    def test_asked_again_behind_a_cancelled_one(self) -> None:
        """A question that is slow to end does not answer the next."""
        self.failureResultOf(self._cancelled(self.flights.join("k", self.ask)), CancelledError)
        again = self.flights.join("k", self.ask)
        self.assertEqual(len(self.sent), 2)
        self.sent[1].callback("second")
        self.assertEqual(self.successResultOf(again), "second")

    def _cancelled(self, deferred: Deferred[str]) -> Deferred[str]:
        deferred.cancel()
        return deferred

    def test_not_too_many(self) -> None:
        waiting = [self.flights.join(key, self.ask) for key in range(4)]
        self.failureResultOf(waiting[3], RegistryUnavailable)
        self.sent[0].callback("answer")
        self.assertNoResult(self.flights.join("next", self.ask))

    def test_stop(self) -> None:
        """Those who wait are told that nobody answers, not that they had cancelled."""
        waiting = [self.flights.join(key, self.ask) for key in "ab"]
        self.flights.stop()
        for one in waiting:
            self.failureResultOf(one, RegistryUnavailable)


class TurnsTests(SynchronousTestCase):
    """Few at a time."""

    def test_order(self) -> None:
        """Those who wait come in their order, and not if they have gone."""
        turns = Turns(2)
        waiting = [turns.acquire() for _ in range(5)]
        self.assertEqual([one.called for one in waiting], [True, True, False, False, False])
        waiting[2].cancel()
        self.failureResultOf(waiting[2], CancelledError)
        turns.release()
        self.assertEqual([one.called for one in waiting[3:]], [True, False])
        turns.release()
        self.assertTrue(waiting[4].called)

    def test_thousands_at_once(self) -> None:
        """Each ends its turn as it comes to it."""
        turns = Turns(1)
        self.successResultOf(turns.acquire())
        waiting = [turns.acquire().addCallback(lambda _: turns.release()) for _ in range(5000)]
        turns.release()
        for one in waiting:
            self.assertIs(self.successResultOf(one), None)
        self.successResultOf(turns.acquire())


class AnswersTests(SynchronousTestCase):
    """What answers say."""

    def test_errors_in_all_shapes(self) -> None:
        """Each is a line for people."""
        shapes = {
            b'{"error_code":40403,"message":"Schema 7 not found"}': (40403, "Schema 7 not found"),
            b'{"error_code":422,"message":[{"msg":"field required"},"and more"]}': (422, "field required; and more"),
            b'"Not Found"': (0, "Not Found"),
            b"<html>\n<b>502</b>\x1b[0m</html>": (0, "<html> <b>502</b> [0m</html>"),
            b"": (0, ""),
            b"\xff\xfe": (0, "\ufffd\ufffd"),
            b"[1,": (0, "[1,"),
            b'{"error_code":"x","message":null}': (0, "None"),
            b"[" * 100_000: (0, "[" * 200 + " ..."),
        }
        for body, (code, text) in shapes.items():
            self.assertEqual((error_code(Answer(404, body)), words(body)), (code, text), body[:40])

    def test_a_schema(self) -> None:
        said = {
            "id": 7,
            "guid": "0189e2a0-1111-2222-3333-444455556666",
            "version": 3,
            "schemaType": "JSON",
            "schema": "{}",
            "references": [{"name": "n", "subject": "s", "version": 2}],
            "metadata": {"properties": {}},
        }
        self.assertEqual(
            registered(said, "schema 7"),
            RegisteredSchema(
                7,
                SchemaType.JSON,
                "{}",
                (Reference("n", "s", 2),),
                bytes.fromhex("0189e2a0111122223333444455556666"),
                3,
            ),
        )
        self.assertEqual(registered({"schema": "x"}, ""), RegisteredSchema(0, SchemaType.AVRO, "x"))
        plain = {"schema": "x", "schemaType": None, "references": None, "guid": "none", "id": True}
        self.assertEqual(registered(plain, ""), RegisteredSchema(0, SchemaType.AVRO, "x"))

    def test_no_schema(self) -> None:
        """Something else answers there."""
        strange: list[Any] = [None, [], "x", {}, {"schema": 7}, {"schema": "x", "schemaType": 7}]
        strange += [{"schema": "x", "references": references} for references in ("x", ["x"], [{"name": "n"}])]
        for said in strange:
            error = self.assertRaises(RegistryUnavailable, registered, said, "schema 7")
            self.assertIn("schema 7: not an answer of a schema registry", str(error))
        for body in (b"<html>", b"", b"[" * 100_000, b"9" * 10_000, b"\xff"):
            self.assertRaises(RegistryUnavailable, parse, Answer(200, body))
        no_versions: list[Any] = [{}, [7], [{"version": 1}]]
        for wrong in no_versions:
            self.assertRaises(RegistryUnavailable, versions, wrong, "x")

    def test_no_schema_of_use(self) -> None:
        """Another kind, or too many references."""
        self.assertRaises(SchemaNotFound, registered, {"schema": "x", "schemaType": "THRIFT"}, "schema 7")
        many = [{"name": "n", "subject": "s", "version": 1}] * (MOST_REFERENCES + 1)
        self.assertRaises(SchemaNotFound, registered, {"schema": "x", "references": many}, "schema 7")

    @settings(deadline=None, max_examples=100)
    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(),
            lambda inner: (
                st.lists(inner)
                | st.dictionaries(
                    st.sampled_from(
                        ["schema", "schemaType", "references", "name", "subject", "version", "id", "guid", "message"]
                    ),
                    inner,
                )
            ),
            max_leaves=12,
        )
    )
    def test_anything(self, said: Any) -> None:
        """Whatever is answered is a schema or an error."""
        words(json.dumps(said).encode())
        error_code(Answer(404, json.dumps(said).encode()))
        try:
            registered(said, "x")
        except (RegistryUnavailable, SchemaNotFound):
            return


class ReferencesTests(SynchronousTestCase):
    """What schemas refer to."""

    def setUp(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self.there: dict[str, RegisteredSchema] = {}

    def fetch(self, subject: str, version: int) -> Deferred[RegisteredSchema]:
        self.asked.append((subject, version))
        return succeed(self.there[subject])

    def resolved(self, *references: Reference) -> Deferred[ResolvedSchema]:
        top = RegisteredSchema(7, SchemaType.AVRO, "top", references)
        return Deferred.fromCoroutine(resolve(top, self.fetch))

    def chain(self, steps: int) -> Reference:
        for step in range(steps):
            further = (Reference(f"n{step - 1}", f"s{step - 1}", 1),) if step else ()
            self.there[f"s{step}"] = RegisteredSchema(step + 1, SchemaType.AVRO, "x", further)
        return Reference(f"n{steps - 1}", f"s{steps - 1}", 1)

    def test_deep(self) -> None:
        """So deep and no deeper."""
        found = self.successResultOf(self.resolved(self.chain(MOST_DEPTH)))
        self.assertEqual(len(found.imports), MOST_DEPTH)
        error = self.failureResultOf(self.resolved(self.chain(MOST_DEPTH + 1)), SchemaNotFound)
        self.assertIn("over more than 32 steps", error.getErrorMessage())

    def test_a_name_counts_once(self) -> None:
        """The first of a name, in the order of the references."""
        self.there = {
            "one": RegisteredSchema(1, SchemaType.AVRO, "1"),
            "two": RegisteredSchema(2, SchemaType.AVRO, "2"),
        }
        found = self.successResultOf(self.resolved(Reference("n", "one", 1), Reference("n", "two", 1)))
        self.assertEqual({name: one.text for name, one in found.imports.items()}, {"n": "1"})
        self.assertEqual(self.asked, [("one", 1)])

    def test_a_name_on_the_way(self) -> None:
        """An older version of what leads to it is no circle."""
        self.there = {
            "one": RegisteredSchema(1, SchemaType.JSON, "1", (Reference("n", "old", 1),)),
            "old": RegisteredSchema(2, SchemaType.JSON, "2"),
        }
        found = self.successResultOf(self.resolved(Reference("n", "one", 2)))
        self.assertEqual({name: one.text for name, one in found.imports.items()}, {"n": "1"})

    def test_many(self) -> None:
        """So many and no more, however they are spread."""
        leaves = [Reference(f"l{index}", "leaf", 1) for index in range(300)]
        self.there["leaf"] = RegisteredSchema(1, SchemaType.AVRO, "x")
        self.there["left"] = RegisteredSchema(2, SchemaType.AVRO, "x", tuple(leaves[:150]))
        self.there["right"] = RegisteredSchema(3, SchemaType.AVRO, "x", tuple(leaves[150:]))
        self.failureResultOf(
            self.resolved(Reference("left", "left", 1), Reference("right", "right", 1)), SchemaNotFound
        )
        self.assertLessEqual(len(self.asked), MOST_REFERENCES)

    def test_large(self) -> None:
        self.there["big"] = RegisteredSchema(1, SchemaType.AVRO, "x" * (MOST_BYTES // 2 + 1))
        references = [Reference(f"n{index}", "big", 1) for index in range(2)]
        error = self.failureResultOf(self.resolved(*references), SchemaNotFound)
        self.assertIn("bytes of others", error.getErrorMessage())
