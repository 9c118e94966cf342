"""DescribeClientQuotas and AlterClientQuotas: what an operator sets, sees again, and is told where it is wrong."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kgw.errors import ErrorCode, KafkaError
from kgw.handlers import alter_client_quotas as altering
from kgw.handlers import describe_client_quotas as describing
from kgw.test.stage import HeldStore, Stage

Names = dict[str, str | None]
EXACT, DEFAULT, ANY = 0, 1, 2


def entry(names: Names, **limits: float | None) -> altering.RequestEntry:
    """Limits to be set, or removed where they are C{None}."""
    return altering.RequestEntry(
        [altering.RequestEntity(kind, name) for kind, name in names.items()],
        [altering.RequestOp(key, value or 0.0, value is None) for key, value in limits.items()],
    )


class QuotaCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.stage = Stage(self)

    def alter(self, *entries: altering.RequestEntry, validate_only: bool = False) -> list[str]:
        """What is said of each entity: nothing, or Kafka's sentence."""
        response = self.stage.call(altering.API, 1, altering.Request(list(entries), validate_only))
        for row in response.entries:
            self.assertEqual(bool(row.error_code), bool(row.error_message))
            self.assertIn(row.error_code, (ErrorCode.NONE, ErrorCode.INVALID_REQUEST))
        return [row.error_message or "" for row in response.entries]

    def answer(self, *components: tuple[str, int, str | None], strict: bool = False) -> describing.Response:
        request = describing.Request([describing.RequestComponent(*one) for one in components], strict)
        answer: describing.Response = self.stage.call(describing.API, 1, request)
        return answer

    def described(
        self, *components: tuple[str, int, str | None], strict: bool = False
    ) -> list[tuple[Names, dict[str, float]]]:
        response = self.answer(*components, strict=strict)
        self.assertEqual((response.error_code, response.error_message), (0, None))
        assert response.entries is not None
        return [
            ({one.entity_type: one.entity_name for one in row.entity}, {one.key: one.value for one in row.values})
            for row in response.entries
        ]


class AlterTests(QuotaCase):
    """What is set."""

    def test_set_and_remove(self) -> None:
        """Limits are added, changed and removed; an entity without any is gone."""
        who: Names = {"client-id": "c"}
        self.assertEqual(self.alter(entry(who, producer_byte_rate=1000, request_percentage=12.5)), [""])
        self.assertEqual(self.described(), [(who, {"producer_byte_rate": 1000, "request_percentage": 12.5})])
        self.assertTrue(self.stage.quotas.active)
        self.assertEqual(self.alter(entry(who, producer_byte_rate=None, request_percentage=50)), [""])
        self.assertEqual(self.described(), [(who, {"request_percentage": 50})])
        self.assertEqual(self.alter(entry(who, producer_byte_rate=None, request_percentage=None)), [""])
        self.assertEqual(self.described(), [])
        self.assertFalse(self.stage.quotas.active)

    def test_restart(self) -> None:
        """Another gateway on the same facts has them, defaults too."""
        self.alter(
            entry({"user": None, "client-id": "ключ"}, consumer_byte_rate=7),
            entry({"ip": "10.0.0.1"}, connection_creation_rate=3),
        )
        before = self.described()
        self.stage = Stage(self, store=self.stage.store)
        self.assertEqual(self.described(), before)
        self.assertEqual(len(before), 2)
        self.assertTrue(self.stage.quotas.active and self.stage.quotas.limits_connections)

    def test_validate_only(self) -> None:
        """It is looked at, and nothing happens."""
        good, bad = entry({"user": "u"}, producer_byte_rate=1), entry({"user": "v"}, producer_byte_rate=0)
        self.assertEqual(
            self.alter(good, bad, validate_only=True), ["", "Quota producer_byte_rate must be greater than 0"]
        )
        self.assertEqual(self.described(), [])

    def test_each_for_itself(self) -> None:
        """One entity's mistake costs the others nothing, and itself everything it asked for."""
        self.alter(
            entry({"user": "a"}, producer_byte_rate=1, consumer_byte_rate=-1),
            entry({"user": "b"}, producer_byte_rate=2),
        )
        self.assertEqual(self.described(), [({"user": "b"}, {"producer_byte_rate": 2})])

    def test_refusals(self) -> None:
        """Kafka's sentences."""
        user: Names = {"user": "u"}
        for asked, sentence in (
            (entry({}, producer_byte_rate=1), "Invalid empty client quota entity"),
            (entry({"group": "g"}, producer_byte_rate=1), "Unhandled client quota entity type: group"),
            (entry({"user": ""}, producer_byte_rate=1), "Empty user not supported"),
            (
                entry({"user": "u", "ip": None}, producer_byte_rate=1),
                "Invalid quota entity combination: {ip=null, user=u}",
            ),
            (entry({"ip": "nowhere"}, connection_creation_rate=1), "nowhere is not a valid IP or resolvable host."),
            (entry({"ip": "10.0.0.1"}, producer_byte_rate=1), "Invalid configuration key producer_byte_rate"),
            (entry(user, connection_creation_rate=1), "Invalid configuration key connection_creation_rate"),
            (entry(user, controller_mutation_rate=1), "Invalid configuration key controller_mutation_rate"),
            (entry(user, producer_byte_rate=float("nan")), "Quota producer_byte_rate must be greater than 0"),
            (entry(user, producer_byte_rate=1.5), "producer_byte_rate cannot be a fractional value."),
            (entry(user, consumer_byte_rate=1e30), "Proposed value for consumer_byte_rate is too large for a LONG."),
            (
                entry({"ip": None}, connection_creation_rate=1e10),
                "Proposed value for connection_creation_rate is too large for an INT.",
            ),
        ):
            self.assertEqual(self.alter(asked), [sentence])
        self.assertEqual(self.described(), [])

    def test_twice(self) -> None:
        """An entity has one answer, and a key is named once."""
        (answer,) = self.alter(entry({"user": "u"}, producer_byte_rate=1), entry({"user": "u"}, producer_byte_rate=2))
        self.assertEqual(answer, "Ignoring duplicate entity ClientQuotaEntity(entries={user=u})")
        twice = entry({"user": "v"}, producer_byte_rate=1)
        twice.ops *= 2
        (answer,) = self.alter(twice)
        self.assertEqual(
            answer,
            "Duplicate quota key producer_byte_rate not updated for this entity ClientQuotaEntity(entries={user=v})",
        )
        self.assertEqual(self.described(), [({"user": "u"}, {"producer_byte_rate": 1})])

    def test_not_durable(self) -> None:
        """What the store does not take is not in force."""
        store = HeldStore()
        self.successResultOf(store.open())
        self.stage = Stage(self, store=store)
        store.broken = True
        request = altering.Request([entry({"user": "u"}, producer_byte_rate=1)])
        failure = self.failureResultOf(self.stage.begin(altering.API, 0, request), KafkaError)
        self.assertEqual(failure.value.code, ErrorCode.KAFKA_STORAGE_ERROR)
        self.assertFalse(self.stage.quotas.active)
        refused = self.stage.refuse(altering.API, 0, request, failure.value.code)
        self.assertEqual([row.error_code for row in refused.entries], [ErrorCode.KAFKA_STORAGE_ERROR])


class DescribeTests(QuotaCase):
    """What a filter takes."""

    def setUp(self) -> None:
        super().setUp()
        self.all: list[Names] = [
            {"user": "a"},
            {"user": None},
            {"client-id": "c", "user": "a"},
            {"client-id": None, "user": "a"},
            {"client-id": "c"},
            {"client-id": None},
        ]
        self.assertEqual(self.alter(*[entry(names, producer_byte_rate=1) for names in self.all]), [""] * 6)

    def names(self, *components: tuple[str, int, str | None], strict: bool = False) -> list[int]:
        return [self.all.index(names) for names, _ in self.described(*components, strict=strict)]

    def test_filters(self) -> None:
        """Exact names, defaults, any name; strict or not."""
        self.assertEqual(self.names(), [0, 1, 2, 3, 4, 5])
        self.assertEqual(self.names(strict=True), [])
        self.assertEqual(self.names(("user", EXACT, "a")), [0, 2, 3])
        self.assertEqual(self.names(("user", EXACT, "a"), strict=True), [0])
        self.assertEqual(self.names(("user", DEFAULT, None)), [1])
        self.assertEqual(self.names(("user", ANY, None)), [0, 1, 2, 3])
        self.assertEqual(self.names(("user", ANY, None), strict=True), [0, 1])
        self.assertEqual(self.names(("user", ANY, None), ("client-id", ANY, None)), [2, 3])
        self.assertEqual(self.names(("user", EXACT, "a"), ("client-id", DEFAULT, None)), [3])
        self.assertEqual(self.names(("ip", ANY, None)), [])

    def test_refusals(self) -> None:
        """Kafka's sentences, and no entries."""
        for components, sentence in (
            ([("", ANY, None)], "Invalid empty entity type."),
            (
                [("user", ANY, None), ("user", EXACT, "a")],
                "Entity type user cannot appear more than once in the filter.",
            ),
            ([("user", EXACT, None)], "Request specified MATCH_TYPE_EXACT, but set match string to null."),
            ([("user", DEFAULT, "a")], "Request specified MATCH_TYPE_DEFAULT, but also specified a match string."),
            ([("user", ANY, "a")], "Request specified MATCH_TYPE_SPECIFIED, but also specified a match string."),
            ([("user", 9, None)], "Unknown match type 9"),
            (
                [("user", ANY, None), ("ip", ANY, None)],
                "Invalid entity filter component combination. IP filter component should not be used with user or"
                " clientId filter component.",
            ),
        ):
            response = self.answer(*components)
            self.assertEqual(
                (response.error_code, response.error_message, response.entries),
                (ErrorCode.INVALID_REQUEST, sentence, None),
            )
        self.assertEqual(self.answer(("group", ANY, None)).error_code, ErrorCode.UNSUPPORTED_VERSION)
