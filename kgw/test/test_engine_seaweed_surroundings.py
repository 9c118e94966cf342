"""Whether a partition may take, publish and acknowledge, as its gateway's lease stands."""

from __future__ import annotations

from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from kgw.engine.seaweed.surroundings import Surroundings
from kgw.errors import ErrorCode, KafkaError


class LeadingTests(SynchronousTestCase):
    """While it leads, while it does not know, and when another does."""

    def setUp(self) -> None:
        self.leads, self.waits = True, False
        self.known: Deferred[None] = Deferred()
        parts: Any = dict.fromkeys(
            ("clock", "timer", "store", "filer", "broker", "publishing", "cache", "tail", "opening")
        )
        self.around = Surroundings(
            **parts,
            acks_all_flushed=True,
            producer_id_expiration_ms=1,
            may_lead=lambda: self.leads,
            may_wait=lambda: self.waits,
            when_known=lambda: self.known,
        )

    def assertRefused(self, error: BaseException) -> None:
        self.assertIs(cast(KafkaError, error).code, ErrorCode.NOT_LEADER_OR_FOLLOWER)
        self.assertIn("orders-0", str(error))

    def waiting(self) -> Deferred[int]:
        """An acknowledgement that comes while it is not known who leads."""
        self.leads, self.waits = False, True
        answer = self.around.check_leading(5, "orders-0")
        assert isinstance(answer, Deferred)
        self.assertNoResult(answer)
        return answer

    def test_who_leads(self) -> None:
        self.around.check_taking("orders-0")
        self.assertEqual(self.around.check_leading(5, "orders-0"), 5)

    def test_where_another_may_lead(self) -> None:
        self.leads = False
        self.assertRefused(self.assertRaises(KafkaError, self.around.check_taking, "orders-0"))
        self.assertRefused(self.assertRaises(KafkaError, self.around.check_leading, 5, "orders-0"))

    def test_an_answer_waits_until_it_leads_again(self) -> None:
        answer = self.waiting()
        self.around.check_taking("orders-0")
        self.leads = True
        self.known.callback(None)
        self.assertEqual(self.successResultOf(answer), 5)

    def test_an_answer_is_refused_when_another_leads(self) -> None:
        answer = self.waiting()
        self.waits = False
        self.known.callback(None)
        self.assertRefused(self.failureResultOf(answer, KafkaError).value)
