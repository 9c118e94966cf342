"""The registry's client in virtual time: what it asks, what it remembers, whom it asks when one is down."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from treq.testing import RequestTraversalAgent
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.iweb import IAgent
from zope.interface import implementer

from kgw.errors import ErrorCode
from kgw.schema.model import Reference, RegistryUnauthorised, RegistryUnavailable, SchemaNotFound, SchemaType
from kgw.schema.registry import Memory, SchemaRegistryClient
from kgw.schema.registry_http import RegistryHttp, basic, bearer
from kgw.test.registry import Behaviour, StubRegistry

ONE, TWO = "http://one.example:8081", "http://two.example:8081/registry"


@implementer(IAgent)
class Network:
    """
    Leads to registries by their hosts.

    @ivar down: hosts where nothing listens.
    @ivar silent: hosts that never answer.
    @ivar asked: the hosts that were asked, in order.
    @ivar given_up: how many requests to silent hosts were cancelled.
    """

    def __init__(self, **hosts: StubRegistry) -> None:
        self.down: set[str] = set()
        self.silent: set[str] = set()
        self.asked: list[str] = []
        self.given_up = 0
        self._agents = {name: RequestTraversalAgent(stub) for name, stub in hosts.items()}

    def request(self, method: bytes, uri: bytes, headers: Any = None, bodyProducer: Any = None) -> Deferred[Any]:
        """Send one request."""
        host = uri.decode().split("/")[2].partition(".")[0]
        self.asked.append(host)
        if host in self.down:
            return fail(ConnectionRefusedError())
        if host in self.silent:
            return Deferred(self._cancelled)
        answered: Deferred[Any] = self._agents[host].request(method, uri, headers, bodyProducer)
        return answered

    def _cancelled(self, _: Deferred[Any]) -> None:
        self.given_up += 1


class ClientCase(SynchronousTestCase):
    """A client of two registries that hold the same."""

    urls: tuple[str, ...] = (ONE,)
    memory = Memory()
    authorization: str | None = None

    def setUp(self) -> None:
        self.clock = Clock()
        self.one, self.two = StubRegistry(), StubRegistry()
        self.two.book = self.book = self.one.book
        # registries stand behind a path now and then
        self.net = Network(one=self.one, two=_Below(self.two))
        http = RegistryHttp(self.urls, self.net, self.clock, self.authorization, timeout_s=5)
        self.client = SchemaRegistryClient(http, self.clock, self.memory)
        self.successResultOf(self.client.start())
        self.one.asked.clear()
        self.two.asked.clear()
        self.net.asked.clear()

    def number(self, name: str) -> float:
        """One of the client's own numbers."""
        return self.client.measure()[f"kgw_schema_registry_{name}"]

    def again(self, question: Callable[[], Deferred[Any]], seconds: float) -> int:
        """How many requests a question takes that is asked again after a while."""
        self.clock.advance(seconds)
        before = len(self.one.asked)
        question().addErrback(lambda _: None)
        return len(self.one.asked) - before


class _Below(StubRegistry):
    """A registry below C{/registry}."""

    def __init__(self, registry: StubRegistry) -> None:
        super().__init__()
        self._registry = registry

    def render(self, request: Any) -> Any:
        assert request.postpath.pop(0) == b"registry"
        return self._registry.render(request)


class MemoryTests(ClientCase):
    """What is remembered, and for how long."""

    def test_schemas_for_ever(self) -> None:
        """Numbers never change their meaning; it is not asked again, be the registry there or not."""
        made = self.book.register("a-value", '"string"')
        found = self.successResultOf(self.client.by_id(made.id))
        self.net.down.add("one")
        self.clock.advance(1e9)
        self.assertIs(self.successResultOf(self.client.by_id(made.id)), found)
        self.assertEqual(self.one.uris(), ["GET /schemas/ids/1"])
        self.assertEqual((self.number("cache_hits_total"), self.number("cache_schemas")), (1, 1))

    def test_references_are_asked_for_once(self) -> None:
        """What several schemas refer to, with the versions that are deleted."""
        self.book.register("base/x", '"int"')
        for text in ('"string"', '"long"'):
            made = self.book.register("a-value", text, references=[Reference("Base", "base/x", 1)])
            self.successResultOf(self.client.by_id(made.id))
        self.assertEqual(
            self.one.uris(),
            ["GET /schemas/ids/2", "GET /subjects/base%2Fx/versions/1?deleted=true", "GET /schemas/ids/3"],
        )

    def test_missing_for_seconds(self) -> None:
        """A schema that was just registered can be used at once, or almost."""
        for question in (
            lambda: self.client.by_id(1),
            lambda: self.client.latest("a-value"),
            lambda: self.client.exists("a-value"),
            lambda: self.client.is_under(1, "a-value"),
        ):
            self.assertEqual([self.again(question, seconds) for seconds in (0, 4.9, 0.2)], [1, 0, 1])
        self.book.register("a-value", '"string"')
        self.clock.advance(5)
        self.successResultOf(self.client.by_id(1))
        self.assertTrue(self.successResultOf(self.client.exists("a-value")))

    def test_subjects_for_a_while(self) -> None:
        """A new version is the latest soon, and a deleted one is none soon."""
        self.book.register("a-value", '"string"')
        for question in (
            lambda: self.client.latest("a-value"),
            lambda: self.client.exists("a-value"),
            lambda: self.client.is_under(1, "a-value"),
        ):
            self.assertEqual([self.again(question, seconds) for seconds in (0, 29.9, 0.2)], [1, 0, 1])
        self.book.register("a-value", '"int"')
        self.clock.advance(30)
        self.assertEqual(self.successResultOf(self.client.latest("a-value")).version, 2)

    def test_failures_are_not_remembered(self) -> None:
        """It is asked again as soon as it may be there again."""
        self.book.register("a-value", '"string"')
        self.one.behaviour = Behaviour.FAILING
        self.failureResultOf(self.client.by_id(1), RegistryUnavailable)
        self.one.behaviour = Behaviour.WELL
        self.clock.advance(1)
        self.successResultOf(self.client.by_id(1))

    def test_names_that_are_none(self) -> None:
        """Nobody is asked for them."""
        for name in ("", "x" * 1001):
            self.failureResultOf(self.client.exists(name), SchemaNotFound)
        self.assertEqual(self.one.asked, [])


class SmallMemoryTests(ClientCase):
    """Bounds that an operator has set."""

    memory = Memory(schemas=2, schema_bytes=5000, latest_s=0, missing_s=0)

    def test_schemas(self) -> None:
        for number in range(4):
            self.book.register("a-value", f'"t{number}"')
            self.successResultOf(self.client.by_id(number + 1))
        self.assertEqual(self.number("cache_schemas"), 2)
        self.assertEqual(self.again(lambda: self.client.by_id(4), 0), 0)
        self.assertEqual(self.again(lambda: self.client.by_id(1), 0), 1)

    def test_bytes(self) -> None:
        self.book.register("a-value", f'"{"x" * 6000}"')
        self.assertEqual([self.again(lambda: self.client.by_id(1), 0) for _ in range(2)], [1, 1])
        self.assertEqual(self.number("cache_bytes"), 0)

    def test_what_is_not_there_drives_nothing_out(self) -> None:
        """Values that look as if they named schemas do no harm to those that do."""
        self.book.register("a-value", '"string"')
        self.successResultOf(self.client.by_id(1))
        for number in range(2, 30):
            self.failureResultOf(self.client.by_id(number), SchemaNotFound)
        self.assertEqual(self.again(lambda: self.client.by_id(1), 0), 0)

    def test_no_time(self) -> None:
        """Nothing is believed that may change."""
        self.book.register("a-value", '"string"')
        self.assertEqual([self.again(lambda: self.client.latest("a-value"), 0) for _ in range(2)], [1, 1])
        self.assertEqual([self.again(lambda: self.client.by_id(9), 0) for _ in range(2)], [1, 1])


class QuestionTests(ClientCase):
    """What goes over the wire, and who waits for it."""

    def test_headers(self) -> None:
        self.failureResultOf(self.client.by_id(1), SchemaNotFound)
        (asked,) = self.one.asked
        self.assertIn("application/vnd.schemaregistry.v1+json", asked.headers["accept"])
        self.assertIn("application/json", asked.headers["accept"])
        self.assertNotIn("authorization", asked.headers)

    def test_look_up(self) -> None:
        """A registry that cannot tell where a schema is registered is asked for its text, as clients do."""
        self.one.lacking = ("GET /schemas/ids/2/versions",)
        self.book.register("base", '"int"')
        self.book.register("a-value", '"string"', SchemaType.JSON, [Reference("Base", "base", 1)])
        self.assertTrue(self.successResultOf(self.client.is_under(2, "a-value")))
        asked = self.one.asked[-1]
        self.assertEqual((asked.method, asked.uri), ("POST", "/subjects/a-value"))
        references = [{"name": "Base", "subject": "base", "version": 1}]
        self.assertEqual(asked.body, {"schema": '"string"', "schemaType": "JSON", "references": references})
        self.assertEqual(asked.headers["content-type"], "application/vnd.schemaregistry.v1+json")

    def test_one_question_for_all(self) -> None:
        """Many records that name the same schema ask once; who gives up does not take it from the others."""
        self.net.silent.add("one")
        waiting = [self.client.by_id(1) for _ in range(3)]
        self.assertEqual((len(self.net.asked), self.number("waiting")), (1, 1))
        waiting[0].cancel()
        self.failureResultOf(waiting[0], CancelledError)
        self.assertEqual(self.net.given_up, 0)
        for one in waiting[1:]:
            one.cancel()
            self.failureResultOf(one, CancelledError)
        self.assertEqual((self.net.given_up, self.number("waiting")), (1, 0))

    def test_few_at_a_time(self) -> None:
        """A flood of numbers is no flood of requests."""
        self.net.silent.add("one")
        waiting = [self.client.by_id(number + 1) for number in range(1001)]
        self.assertEqual(len(self.net.asked), 8)
        self.failureResultOf(waiting[1000], RegistryUnavailable)
        self.successResultOf(self._stopped())
        for one in waiting[:1000]:
            self.failureResultOf(one, RegistryUnavailable)
        self.assertEqual(self.net.given_up, 8)

    def _stopped(self) -> Deferred[None]:
        stopped = self.client.stop()
        self.clock.advance(0)
        return stopped


class TroubleTests(ClientCase):
    """One registry that is not well."""

    def test_silence(self) -> None:
        """It is waited for so long, and for a while not asked again at all."""
        self.net.silent.add("one")
        waiting = self.client.by_id(1)
        self.clock.advance(4.9)
        self.assertNoResult(waiting)
        self.clock.advance(0.1)
        failure = self.failureResultOf(waiting, RegistryUnavailable)
        self.assertIn(f"{ONE}: no answer within 5 s", failure.getErrorMessage())
        self.assertEqual(failure.value.code, ErrorCode.REQUEST_TIMED_OUT)
        self.assertEqual((self.net.given_up, self.number("up"), self.number("errors_total")), (1, 0, 1))
        again = self.failureResultOf(self.client.by_id(2), RegistryUnavailable)
        self.assertIn("no answer within 5 s", again.getErrorMessage())
        self.assertEqual(len(self.net.asked), 1)
        self.net.silent.clear()
        self.clock.advance(1)
        self.failureResultOf(self.client.by_id(2), SchemaNotFound)
        self.assertEqual((self.number("up"), self.client.state.why), (1, ""))

    def test_many_wait(self) -> None:
        """All who wait for their turn are told as soon as it is known that nobody answers."""
        self.net.silent.add("one")
        waiting = [self.client.by_id(number + 1) for number in range(900)]
        self.clock.advance(5)
        for one in waiting:
            self.failureResultOf(one, RegistryUnavailable)
        self.assertEqual((len(self.net.asked), self.number("waiting")), (8, 0))

    def test_state(self) -> None:
        """Operators are told why, once, and when it is over."""
        self.net.down.add("one")
        for _ in range(3):
            self.failureResultOf(self.client.by_id(1), RegistryUnavailable)
            self.clock.advance(20)
        self.assertFalse(self.client.state.available)
        self.assertIn(f"{ONE}: Connection was refused by other side", self.client.state.why)

    def test_errors_of_its_own(self) -> None:
        for behaviour, words in (
            (Behaviour.FAILING, "HTTP 500 Error in the backend data store"),
            (Behaviour.ELSEWHERE, "HTTP 302"),
            (Behaviour.A_PAGE, "not an answer of a schema registry: HTTP 200, '<html>Welcome to nginx"),
            (Behaviour.HUGE, "an answer of more than 16777216 bytes"),
        ):
            self.one.behaviour = behaviour
            failure = self.failureResultOf(self.client.by_id(1), RegistryUnavailable)
            self.assertIn(words, failure.getErrorMessage())
            self.assertEqual(self.number("up"), 0)
            self.clock.advance(20)

    def test_something_else(self) -> None:
        """A page that says that it is not there is none about a schema, but for calls that not all registries have."""
        self.one.behaviour = Behaviour.NO_PAGE
        failure = self.failureResultOf(self.client.by_id(1), RegistryUnavailable)
        self.assertIn("not an answer of a schema registry: HTTP 404", failure.getErrorMessage())
        self.failureResultOf(self.client.by_guid(b"x" * 16), SchemaNotFound)

    def test_not_let_in(self) -> None:
        """That is the operator's to change; it is not asked again at once for the same."""
        self.one.behaviour = Behaviour.UNAUTHORISED
        failure = self.failureResultOf(self.client.by_id(1), RegistryUnauthorised)
        self.assertIn(f"{ONE} does not let kgw in: HTTP 401", failure.getErrorMessage())
        self.assertEqual(failure.value.code, ErrorCode.REQUEST_TIMED_OUT)
        self.assertEqual((self.number("up"), self.number("errors_total")), (0, 1))
        self.failureResultOf(self.client.by_id(1), RegistryUnauthorised)
        self.assertEqual(len(self.one.asked), 1)

    def test_bare_words(self) -> None:
        """A registry without the call says so in its own way: there is no such schema."""
        self.one.behaviour = Behaviour.MISSING
        failure = self.failureResultOf(self.client.by_guid(b"x" * 16), SchemaNotFound)
        self.assertIn("Not Found", failure.getErrorMessage())


class AuthorisedTests(ClientCase):
    """Who kgw is."""

    authorization = basic("kgw:s:cret ü")

    def test_basic(self) -> None:
        self.one.authorization = "Basic a2d3OnM6Y3JldCDDvA=="
        self.failureResultOf(self.client.by_id(1), SchemaNotFound)

    def test_bearer(self) -> None:
        self.assertEqual(bearer("t.o.ken"), "Bearer t.o.ken")


class FailoverTests(ClientCase):
    """Two URLs."""

    urls = (ONE, TWO + "/")

    def test_the_next_is_asked(self) -> None:
        """Whatever is wrong with the first, and it is asked last for a while."""
        self.book.register("a-value", '"string"')
        self.net.down.add("one")
        self.successResultOf(self.client.by_id(1))
        self.assertTrue(self.successResultOf(self.client.exists("a-value")))
        self.assertEqual(self.net.asked, ["one", "two", "two"])
        self.assertTrue(self.client.state.available)
        self.net.down = {"two"}
        self.failureResultOf(self.client.by_id(2), SchemaNotFound)
        self.assertEqual(self.net.asked[3:], ["two", "one"])

    def test_a_registry_that_fails(self) -> None:
        self.book.register("a-value", '"string"')
        self.one.behaviour = Behaviour.FAILING
        self.successResultOf(self.client.by_id(1))

    def test_what_one_says_is_so(self) -> None:
        """No schema is no reason to ask another."""
        self.failureResultOf(self.client.by_id(1), SchemaNotFound)
        self.assertEqual(self.net.asked, ["one"])

    def test_all_down(self) -> None:
        """It is said what is wrong with each."""
        self.net.down = {"one", "two"}
        failure = self.failureResultOf(self.client.by_id(1), RegistryUnavailable)
        self.assertIn(f"{ONE}: Connection was refused", failure.getErrorMessage())
        self.assertIn(f"{TWO}: Connection was refused", failure.getErrorMessage())
        self.assertEqual(self.client.describe(), f"{ONE}, {TWO}")
