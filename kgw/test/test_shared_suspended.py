"""A gateway whose lease has run out: what waits at it, and what does not."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from kgw.test.shared_stage import SharedStage

#: Longer than a lease lasts, in seconds.
LONG = 12


class SuspendedTests(SynchronousTestCase):
    """The place where gateways meet is away for longer than a lease."""

    def setUp(self) -> None:
        self.stage = SharedStage(self)
        self.node = self.stage.started()

    def test_one_that_is_alone(self) -> None:
        """Clients are told of it as before, and what waits there goes on when the place is back."""
        topic = self.node.create("orders", 4)
        member = self.node.sharing.member
        before = member.incarnation
        self.node.door.cut = True
        self.stage.run(LONG)
        self.assertFalse(self.node.sharing.may_lead() or self.node.sharing.may_write())
        self.assertTrue(self.node.sharing.may_wait())
        self.assertEqual(self.node.cluster.node_ids(), [member.node_id])
        self.assertEqual(self.node.cluster.leader(topic, 0).node_id, member.node_id)
        known, given_up = self.node.sharing.when_known(), self.node.sharing.when_known()
        given_up.addErrback(lambda _: None)
        given_up.cancel()
        self.assertNoResult(known)
        self.node.door.cut = False
        self.stage.run(1)
        self.successResultOf(known)
        self.assertTrue(self.node.sharing.may_lead())
        self.assertEqual((member.incarnation, self.node.leads()), (before, 4))

    def test_a_stop_meanwhile(self) -> None:
        """Nothing waits for ever."""
        self.node.door.cut = True
        self.stage.run(LONG)
        known = self.node.sharing.when_known()
        stopping = self.node.sharing.stop()
        self.stage.run(2 * LONG)
        self.successResultOf(stopping)
        self.successResultOf(known)
        self.assertFalse(self.node.sharing.may_lead() or self.node.sharing.may_wait())

    def test_one_of_several(self) -> None:
        """Another may lead by now: clients had better ask there."""
        second = self.stage.started()
        second.door.cut = True
        self.stage.run(LONG)
        self.assertFalse(second.sharing.may_lead() or second.sharing.may_wait())
        self.successResultOf(second.sharing.when_known())
