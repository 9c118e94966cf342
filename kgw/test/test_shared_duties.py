"""The work of leading: what a member asks for comes to the right logs and groups, also when it is taken back midway."""

from __future__ import annotations

from collections.abc import Mapping

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from kgw.brokers.model import COORDINATORS, Slot
from kgw.errors import ErrorCode, KafkaError
from kgw.groups.slots import slot_of
from kgw.model import NewTopic, Topic
from kgw.shared.duties import LeadingDuties
from kgw.test.shared_stage import Node, SharedStage

A, B = "a" * 32, "b" * 32
SLOTS = 10
GROUP = Slot(COORDINATORS, slot_of("billing", SLOTS))


class LeadingDutiesTests(SynchronousTestCase):
    """The duties of a gateway beside another one, which makes topics."""

    def setUp(self) -> None:
        self.stage = SharedStage(self)
        self.other = self.stage.started()
        self.node = self.lone(self.stage)
        self.topic = self.made("orders", 3)
        self.node.store.calls.clear()
        self.node.logs.calls.clear()

    def lone(self, stage: SharedStage) -> Node:
        """A gateway whose duties are asked for by the test alone."""
        node = stage.node(offsets_topic_num_partitions=str(SLOTS))
        node.join()
        node.begin()
        # it hears of nothing that it is given
        node.door.cut = True
        self.incarnation = A
        self.duties = LeadingDuties(
            node.store, node.logs, node.groups, node.catalog, SLOTS, lambda: self.incarnation, A
        )
        return node

    def made(self, name: str, partitions: int) -> Topic:
        """A topic that the other gateway has made."""
        return self.other.create(name, partitions)

    def take(self, gained: Mapping[Slot, int]) -> None:
        self.successResultOf(self.duties.take(gained))

    def slots(self, *indexes: int, epoch: int = 5) -> dict[Slot, int]:
        return {Slot(self.topic.id, index): epoch for index in indexes}

    def refusal(self, group: str) -> str:
        """How a question about a group is refused; empty where it is answered."""
        codes: list[str] = []
        asked = self.node.groups.committed(group)
        asked.addCallbacks(lambda _: codes.append(""), lambda failure: codes.append(ErrorCode(failure.value.code).name))
        (code,) = codes
        return code

    def test_topics(self) -> None:
        """Read anew: those that others made, and the slots of groups."""
        self.assertEqual(self.successResultOf(self.duties.topics()), {self.topic.id: 3, COORDINATORS: SLOTS})

    def test_take(self) -> None:
        """Logs are opened by topic with their epochs, of a topic not known yet too; groups are answered for."""
        self.assertIs(self.node.catalog.get("orders"), None)
        self.assertEqual(self.refusal("billing"), "NOT_COORDINATOR")
        self.take({**self.slots(0, 2), GROUP: 7})
        self.assertEqual(self.node.logs.calls, ["learn orders/3", "lead orders [0, 2]"])
        self.assertEqual(self.node.logs.epochs(), {(self.topic.id, 0): 5, (self.topic.id, 2): 5})
        self.assertEqual(self.refusal("billing"), "")

    def test_a_topic_that_is_gone(self) -> None:
        """It is passed over: the next assignment knows."""
        self.take({Slot(b"?" * 16, 0): 1, **self.slots(1)})
        self.assertEqual(self.node.logs.epochs(), {(self.topic.id, 1): 5})
        self.successResultOf(self.duties.release([Slot(b"?" * 16, 0)]))

    def test_release(self) -> None:
        """It is done when the logs are closed, and all that was committed is where the next one reads it."""
        self.take({**self.slots(0, 1), GROUP: 7})
        self.node.logs.closing = Deferred()
        self.node.store.undrained = Deferred()
        releasing = self.duties.release([Slot(self.topic.id, 1), GROUP])
        self.assertEqual(self.refusal("billing"), "NOT_COORDINATOR")
        self.assertEqual(self.node.logs.epochs(), {(self.topic.id, 0): 5})
        self.assertNotIn("drained", self.node.store.calls)
        self.node.logs.closing.callback(None)
        self.assertNoResult(releasing)
        self.assertEqual(self.node.store.calls, ["drained"])
        self.node.store.undrained.callback(None)
        self.successResultOf(releasing)

    def test_a_release_that_fails(self) -> None:
        """It is not taken for done, or another would lead what is still open here."""
        self.take(self.slots(0))
        self.node.logs.closing = Deferred()
        releasing = self.duties.release(self.slots(0))
        self.node.logs.closing.errback(KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, "it is stuck"))
        self.failureResultOf(releasing, KafkaError)

    def test_released_while_it_is_taken_up(self) -> None:
        """What was given back before its topic was known is not opened afterwards: another has it by then."""
        self.node.store.slow = Deferred()
        taking = self.duties.take({**self.slots(0, 1), GROUP: 7})
        self.successResultOf(self.duties.release([Slot(self.topic.id, 0), GROUP]))
        self.node.store.slow.callback(None)
        self.successResultOf(taking)
        self.assertEqual(self.node.logs.epochs(), {(self.topic.id, 1): 5})
        self.assertEqual(self.refusal("billing"), "NOT_COORDINATOR")

    def test_fenced_while_it_is_taken_up(self) -> None:
        """The same for all of it, at whatever point that was."""
        self.node.store.slow = Deferred()
        taking = self.duties.take(self.slots(0, 1))
        self.successResultOf(self.duties.fenced())
        self.incarnation = ""
        self.node.store.slow.callback(None)
        self.successResultOf(taking)
        self.assertEqual(self.node.logs.epochs(), {})
        self.failureResultOf(self.duties.take(self.slots(0)), KafkaError)
        self.assertNotIn("enter ", self.node.store.calls)

    def test_taken_once_more_meanwhile(self) -> None:
        """Only the last time counts."""
        self.node.store.slow = Deferred()
        first = self.duties.take(self.slots(0))
        self.successResultOf(self.duties.release(self.slots(0)))
        second = self.duties.take(self.slots(0, epoch=8))
        self.node.store.slow.callback(None)
        self.successResultOf(first)
        self.successResultOf(second)
        self.assertEqual(self.node.logs.epochs(), {(self.topic.id, 0): 8})
        self.assertEqual(self.node.logs.calls.count("lead orders [0]"), 1)

    def test_fenced(self) -> None:
        """Logs, groups and the store are let go of at once."""
        self.take({**self.slots(0), GROUP: 7})
        self.successResultOf(self.duties.fenced())
        self.assertEqual(self.node.logs.epochs(), {})
        self.assertEqual(self.node.store.calls[-1], "leave")
        self.assertEqual(self.refusal("billing"), "NOT_COORDINATOR")

    def test_another_incarnation(self) -> None:
        """It has a journal of its own, and reads what others changed, before it leads anything; once."""
        self.take(self.slots(0))
        self.successResultOf(self.duties.fenced())
        self.incarnation = B
        self.node.logs.calls.clear()
        self.made("more", 1)
        self.take(self.slots(0, epoch=9))
        self.take(self.slots(1, epoch=9))
        self.assertEqual([call for call in self.node.store.calls if call.startswith("enter")], [f"enter {B}"])
        self.assertEqual(self.node.logs.calls, ["learn more/1", "lead orders [0]", "lead orders [1]"])

    def test_facts_that_cannot_be_read(self) -> None:
        """Topics have to wait, which the member is told; groups do not wait for topics. Nothing is left unhandled."""
        self.node.store.broken = ("topics/",)
        self.failureResultOf(self.duties.take({**self.slots(0), GROUP: 7}), KafkaError)
        self.assertEqual(self.refusal("billing"), "")
        self.node.store.broken = ()
        self.take({**self.slots(0), GROUP: 7})
        self.assertEqual(self.node.logs.epochs(), {(self.topic.id, 0): 5})

    def test_a_log_that_cannot_be_opened(self) -> None:
        """The member is told, who asks again."""
        self.node.logs.failing = KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, "no broker")
        self.failureResultOf(self.duties.take(self.slots(0, 1)), KafkaError)

    def test_replay(self) -> None:
        """The store does it."""
        self.successResultOf(self.duties.replay(B))
        self.assertEqual(self.node.store.calls, [f"replay {B}"])

    def test_deleted_topics_are_not_resigned(self) -> None:
        """They were forgotten as they went."""
        self.take(self.slots(0))
        self.successResultOf(self.other.catalog.delete("orders"))
        self.successResultOf(self.node.catalog.refresh())
        self.node.logs.calls.clear()
        self.successResultOf(self.duties.release(self.slots(0)))
        self.assertEqual(self.node.logs.calls, [])
        self.assertIs(self.node.catalog.get("orders"), None)
        creating = self.other.catalog.create(NewTopic("orders", 1))
        self.stage.run(1)
        self.assertNotEqual(self.successResultOf(creating).id, self.topic.id)
