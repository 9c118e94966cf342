"""Which engine topics hold a Kafka topic: names, growth, deletion, and what a crash leaves half made."""

from __future__ import annotations

from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from kgw.engine.bridge import ThreadBridge
from kgw.engine.memory_state import MemoryStateStore
from kgw.engine.seaweed.broker import RING_SIZE, ROOT, Broker, PartitionRange
from kgw.engine.seaweed.calls import Calls
from kgw.engine.seaweed.filer import Filer
from kgw.engine.seaweed.filer_state import FilerStateStore
from kgw.engine.seaweed.layout import KEPT_S, Layout, Place
from kgw.errors import ErrorCode
from kgw.interfaces import IStateStore
from kgw.model import Topic
from kgw.test import seaweed
from kgw.test.builders import EPOCH_S, ThreadQueue
from kgw.test.contracts.cases import WaitingCase
from kgw.test.seaweed_fakes import FakeBroker, FakeFiler

T = TypeVar("T")

ID = bytes(range(0x10, 0x20))
OTHER = bytes(range(0x20, 0x30))


def topic(name: str = "orders", partitions: int = 3, id: bytes = ID) -> Topic:
    """A topic."""
    return Topic(name, id, partitions)


def names(places: list[Place]) -> list[str]:
    """The engine topics, each once."""
    return list(dict.fromkeys(place.engine_topic for place in places))


class LayoutCase(WaitingCase, SynchronousTestCase):
    """A layout on a fake engine."""

    def setUp(self) -> None:
        """Load one that knows nothing."""
        super().setUp()
        self.clock = Clock()
        self.clock.advance(EPOCH_S)
        self.store: IStateStore = MemoryStateStore()
        self.wait(self.store.open())
        self.filer = FakeFiler()
        self.broker = FakeBroker(self.filer)
        self.layout = self.loaded()

    def loaded(self) -> Layout:
        """Another layout on what there is, as after a restart."""
        layout = Layout(self.store, self.broker, self.filer, self.clock)
        self.wait(layout.load())
        return layout

    def made(self, topic: Topic) -> list[Place]:
        """Create a topic, and see that its places are the same after a restart."""
        places = self.wait(self.layout.create(topic))
        self.assertEqual(len(places), topic.partitions)
        self.assertEqual(self.layout.places(topic), places)
        self.assertEqual(self.loaded().places(topic), places)
        return places


class NamesTests(LayoutCase):
    """How engine topics are called."""

    def test_a_new_topic_is_an_engine_topic_of_its_name(self) -> None:
        places = self.made(topic(partitions=4))
        self.assertEqual(names(places), ["orders"])
        self.assertEqual([place.range[:2] for place in places], [(0, 630), (630, 1260), (1260, 1890), (1890, 2520)])
        self.assertRegex(places[1].directory, r"\A/topics/kafka/orders/v2023-11-14-\d\d-\d\d-\d\d/0630-1260\Z")

    def test_names_that_only_look_alike(self) -> None:
        for n, name in enumerate(
            ["Orders", "orders", "ORDERS", "a.b.c", "orders.10111213", "_schemas", "-", "x" * 249]
        ):
            self.assertEqual(names(self.made(topic(name, id=bytes([n]) * 16))), [name])

    def test_names_with_a_dot_in_front_stay_out_of_the_engines_own_folders(self) -> None:
        self.assertEqual(names(self.made(topic(".meta"))), ["dot.meta.10111213"])
        self.assertEqual(names(self.made(topic("...", id=OTHER))), ["dot....20212223"])

    def test_a_deleted_name_is_not_used_again(self) -> None:
        self.made(topic())
        self.wait(self.layout.retire(topic()))
        self.assertEqual(self.refusal(self.layout.places, topic()), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        again = topic(id=OTHER)
        self.assertEqual(names(self.made(again)), ["orders.20212223"])
        self.wait(self.layout.retire(again))
        self.layout = self.loaded()
        self.assertEqual(names(self.made(topic(id=bytes(16)))), ["orders.00000000"])

    def test_a_suffixed_name_that_is_taken_gets_more_of_the_id(self) -> None:
        self.made(topic("orders.20212223", id=bytes(16)))
        self.made(topic("orders", 1))
        self.wait(self.layout.retire(topic("orders", 1)))
        self.assertEqual(names(self.made(topic(id=OTHER))), ["orders.2021222324252627"])

    def test_a_long_name_leaves_room_for_its_suffix(self) -> None:
        long = "x" * 249
        self.made(topic(long))
        self.wait(self.layout.retire(topic(long)))
        (name,) = names(self.made(topic(long, id=OTHER)))
        self.assertEqual((len(name), name[-10:]), (249, "x.20212223"))

    def test_names_that_would_lead_elsewhere_never_reach_the_engine(self) -> None:
        for name in ["", ".", "..", "a/b", "a b", "é", "x" * 250]:
            self.assertEqual(self.refusal(self.layout.create, topic(name)), ErrorCode.INVALID_TOPIC_EXCEPTION, name)
        self.assertEqual(self.refusal(self.layout.create, topic(partitions=0)), ErrorCode.INVALID_PARTITIONS)
        self.assertEqual((self.broker.configured, self.layout.known()), ([], []))


class GrowthTests(LayoutCase):
    """Topics with more partitions than an engine topic was made with."""

    def test_partitions_are_added_beside(self) -> None:
        before = self.made(topic(partitions=3))
        after = self.made(topic(partitions=5))
        self.assertEqual(after[:3], before)
        self.assertEqual(names(after), ["orders", "orders.10111213.p3"])
        self.assertEqual(after[3].range[:2], (0, 1260))
        more = self.made(topic(partitions=6))
        self.assertEqual((more[:5], names(more)[2:]), (after, ["orders.10111213.p5"]))

    def test_creating_again_changes_nothing(self) -> None:
        places = self.made(topic())
        configured = list(self.broker.configured)
        self.assertEqual(self.made(topic()), places)
        self.assertEqual(self.broker.configured, configured)

    def test_partitions_of_an_extension_that_was_taken_back_are_used_by_the_next(self) -> None:
        self.made(topic(partitions=1))
        longer = self.made(topic(partitions=3))
        self.assertEqual(self.made(topic(partitions=1)), longer[:1])
        self.assertEqual(names(self.made(topic(partitions=4))), ["orders", "orders.10111213.p1", "orders.10111213.p3"])

    def test_more_partitions_than_the_ring_has_slots(self) -> None:
        places = self.made(topic(partitions=RING_SIZE + 2))
        self.assertEqual(names(places), ["orders", "orders.10111213.p2520"])
        self.assertEqual(self.broker.configured[:2], [("orders", RING_SIZE), ("orders.10111213.p2520", 2)])


class StrangersTests(LayoutCase):
    """Engine topics that somebody else made."""

    def test_they_are_found_for_adoption(self) -> None:
        self.broker.make("_schemas", 1)
        self.broker.make("Events.v1", 4)
        self.broker.make("not fit", 1)
        self.filer.tree.put(f"{ROOT}/.meta/consumer_offsets/g/t/0/offset", b"")
        self.filer.tree.put(f"{ROOT}/no-topic/v2023/file", b"")
        self.broker.place("collides", [PartitionRange(0, 0, 1), PartitionRange(0, 2520, 1)])
        self.broker.place("mixed", [PartitionRange(0, 1260, 1), PartitionRange(1260, 2520, 2)])
        self.made(topic())
        self.made(topic("gone", id=OTHER))
        self.wait(self.layout.retire(topic("gone", id=OTHER)))
        self.assertEqual(self.wait(self.layout.adopt()), [("Events.v1", 4), ("_schemas", 1)])

    def test_creating_one_takes_it_over(self) -> None:
        ranges = self.broker.make("events", 4)
        places = self.made(topic("events", 4))
        self.assertEqual([place.range for place in places], ranges)
        self.assertEqual(self.wait(self.layout.adopt()), [])

    def test_one_with_another_count_is_left_alone(self) -> None:
        self.broker.make("events", 4)
        self.assertEqual(names(self.made(topic("events", 3))), ["events.10111213"])
        self.assertEqual(self.wait(self.layout.adopt()), [("events", 4)])

    def test_one_in_another_topics_use_is_left_alone(self) -> None:
        self.made(topic("events", 4))
        # as where the catalog was lost and the table was not
        self.assertEqual(names(self.made(topic("events", 4, OTHER))), ["events.20212223"])

    def test_what_was_taken_over_is_given_back_when_the_topic_cannot_be_created(self) -> None:
        self.broker.make("events", 4)
        self.made(topic("events", 4))
        self.wait(self.layout.abandon(topic("events", 4)))
        self.clock.advance(2 * KEPT_S)
        self.wait(self.layout.sweep())
        self.assertEqual(self.wait(self.layout.adopt()), [("events", 4)])

    def test_a_topic_that_was_there_before_is_never_abandoned(self) -> None:
        places = self.made(topic(partitions=1))
        self.layout = self.loaded()
        self.wait(self.layout.abandon(topic(partitions=1)))
        self.assertEqual(self.layout.places(topic(partitions=1)), places)
        self.layout = self.loaded()
        self.made(topic("new", 1, OTHER))
        self.made(topic("new", 2, OTHER))
        self.wait(self.layout.abandon(topic("new", 2, OTHER)))
        self.assertEqual(len(self.layout.places(topic("new", 2, OTHER))), 2)

    def test_one_of_ours_that_was_configured_anew_is_an_error(self) -> None:
        self.made(topic())
        # In the same second: only the stamp tells the generations apart, not the names of their directories.
        self.broker.make("orders", 3)
        self.layout = self.loaded()
        self.assertEqual(self.refusal(self.layout.places, topic()), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        self.assertEqual(self.refusal(self.layout.create, topic()), ErrorCode.KAFKA_STORAGE_ERROR)

    def test_one_of_ours_that_was_removed_starts_empty_under_another_name(self) -> None:
        self.made(topic(partitions=1))
        before = self.made(topic(partitions=2))
        self.wait(self.filer.delete(ROOT, "orders", True))
        self.layout = self.loaded()
        places = self.made(topic(partitions=2))
        self.assertEqual(names(places), ["orders.10111213", "orders.10111213.p1"])
        self.assertEqual(places[1], before[1])


class FailureTests(LayoutCase):
    """A broker that does not answer, and gateways that end half way."""

    def test_what_the_broker_made_without_an_answer_is_found(self) -> None:
        for done in (False, True):
            self.setUp()
            self.broker.failures = 1
            self.broker.done_nevertheless = done
            self.assertEqual(self.refusal(self.layout.create, topic()), ErrorCode.KAFKA_STORAGE_ERROR)
            self.assertEqual(self.refusal(self.layout.places, topic()), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
            self.layout = self.loaded()
            self.assertEqual(names(self.made(topic())), ["orders"])

    def test_half_of_an_extension_is_finished(self) -> None:
        self.made(topic(partitions=1))
        self.broker.failures = 1
        self.broker.done_nevertheless = True
        self.assertEqual(self.refusal(self.layout.create, topic(partitions=2)), ErrorCode.KAFKA_STORAGE_ERROR)
        self.layout = self.loaded()
        self.assertEqual(names(self.made(topic(partitions=1))), ["orders"])
        self.assertEqual(names(self.made(topic(partitions=2))), ["orders", "orders.10111213.p1"])

    def test_a_name_the_engine_never_heard_of_can_be_used_again(self) -> None:
        self.broker.failures = 1
        self.assertEqual(self.refusal(self.layout.create, topic()), ErrorCode.KAFKA_STORAGE_ERROR)
        self.wait(self.layout.abandon(topic()))
        self.assertEqual(names(self.made(topic(id=OTHER))), ["orders"])

    def test_a_name_the_engine_did_hear_of_can_not(self) -> None:
        self.broker.failures = 1
        self.broker.done_nevertheless = True
        self.assertEqual(self.refusal(self.layout.create, topic()), ErrorCode.KAFKA_STORAGE_ERROR)
        self.wait(self.layout.abandon(topic()))
        self.assertEqual(names(self.made(topic(id=OTHER))), ["orders.20212223"])

    def test_somebody_else_takes_the_name_in_between(self) -> None:
        self.broker.failures = 1
        self.assertEqual(self.refusal(self.layout.create, topic()), ErrorCode.KAFKA_STORAGE_ERROR)
        self.broker.make("orders", 7)
        self.layout = self.loaded()
        self.assertEqual(names(self.made(topic())), ["orders.10111213"])

    def test_a_damaged_table_is_an_error(self) -> None:
        for key, value in [
            (f"seaweed/layout/{ID.hex()}", b"{"),
            (f"seaweed/layout/{ID.hex()}", b'{"name": "a", "parts": [{"topic": "a", "first": 1, "count": 1}]}'),
            ("seaweed/layout/xyz", b'{"name": "a", "parts": []}'),
            ("seaweed/retired/a", b"{}"),
        ]:
            self.wait(self.store.commit({key: value}))
            layout = Layout(self.store, self.broker, self.filer, self.clock)
            self.assertEqual(self.refusal(layout.load), ErrorCode.KAFKA_STORAGE_ERROR)
            self.wait(self.store.commit({}, [key]))

    def test_a_store_that_fails_leaves_the_table_as_it_was(self) -> None:
        places = self.made(topic())
        self.wait(self.store.close())
        self.assertEqual(self.refusal(self.layout.create, topic(partitions=4)), ErrorCode.KAFKA_STORAGE_ERROR)
        self.assertEqual(self.refusal(self.layout.retire, topic()), ErrorCode.KAFKA_STORAGE_ERROR)
        self.assertEqual(self.layout.places(topic()), places)


class SweepTests(LayoutCase):
    """When the records of a deleted topic go."""

    def test_directories_go_six_minutes_after(self) -> None:
        self.made(topic(partitions=1))
        self.made(topic(partitions=2))
        self.wait(self.layout.retire(topic(partitions=2)))
        self.clock.advance(KEPT_S - 1)
        self.assertEqual(self.wait(self.layout.sweep()), 0)
        self.layout = self.loaded()
        self.clock.advance(1)
        self.assertEqual(self.wait(self.layout.sweep()), 2)
        self.assertEqual([path for path in self.filer.tree.files if path.startswith(ROOT)], [])

    def test_one_that_comes_back_is_removed_again(self) -> None:
        self.made(topic())
        self.wait(self.layout.retire(topic()))
        self.clock.advance(KEPT_S)
        self.assertEqual(self.wait(self.layout.sweep()), 1)
        self.filer.tree.put(f"{ROOT}/orders/v2023/0000-2520/checkpoint.offset", b"")
        self.clock.advance(KEPT_S)
        self.assertEqual([self.wait(self.layout.sweep()) for _ in range(2)], [1, 0])
        self.clock.advance(KEPT_S)
        self.assertEqual(self.wait(self.layout.sweep()), 0)
        calls = len(self.filer.calls)
        self.clock.advance(KEPT_S)
        self.assertEqual((self.wait(self.layout.sweep()), len(self.filer.calls)), (0, calls))
        self.assertEqual(names(self.made(topic(id=OTHER))), ["orders.20212223"])

    def test_a_filer_that_fails_is_tried_again(self) -> None:
        self.made(topic())
        self.wait(self.layout.retire(topic()))
        self.clock.advance(KEPT_S)
        self.filer.writes_left = 0
        self.assertEqual(self.refusal(self.layout.sweep), ErrorCode.KAFKA_STORAGE_ERROR)
        self.filer.restore()
        self.assertEqual(self.wait(self.layout.sweep()), 1)

    def test_topics_that_are_not_known_are_nothing_to_do(self) -> None:
        self.wait(self.layout.retire(topic()))
        self.wait(self.layout.abandon(topic()))
        self.assertEqual(self.wait(self.layout.sweep()), 0)


class RealLayoutTests(WaitingCase, SynchronousTestCase):
    """A layout on a real engine."""

    def wait(self, deferred: Deferred[T]) -> T:
        """Let the threads deliver what they have done."""
        return self.threads.wait(deferred, 60)

    def setUp(self) -> None:
        """Make the calls."""
        engine = seaweed.engine()
        self.threads = ThreadQueue()
        bridge = ThreadBridge(self.threads, 8, "test-engine")
        bridge.start()
        self.addCleanup(bridge.stop)
        calls = Calls(bridge, None)
        self.addCleanup(calls.stop)
        self.clock = Clock()
        self.clock.advance(EPOCH_S)
        self.filer = Filer(calls, lambda: engine.filer, lambda: engine.filer_http)
        self.broker = Broker(calls, self.filer, lambda: engine.broker)
        self.store = FilerStateStore(self.filer, self.clock, f"/test/{self.id()}")
        self.wait(self.store.open())
        self.addCleanup(lambda: self.wait(self.store.close()))

    def loaded(self) -> Layout:
        """A layout, as after a start."""
        layout = Layout(self.store, self.broker, self.filer, self.clock)
        self.wait(layout.load())
        return layout

    def test_from_creation_to_removal(self) -> None:
        layout = self.loaded()
        first = self.wait(layout.create(topic("Real.Layout_1", 3)))
        five = self.wait(layout.create(topic("Real.Layout_1", 5)))
        self.assertEqual((five[:3], len(five)), (first, 5))
        layout = self.loaded()
        self.assertEqual(layout.places(topic("Real.Layout_1", 5)), five)
        self.wait(layout.retire(topic("Real.Layout_1", 5)))
        again = self.wait(layout.create(topic("Real.Layout_1", 3, OTHER)))
        self.assertEqual(names(again), ["Real.Layout_1.20212223"])
        self.clock.advance(KEPT_S)
        self.assertEqual(self.wait(layout.sweep()), 2)
        left = [entry.name for entry in self.wait(self.filer.list(ROOT))]
        self.assertNotIn("Real.Layout_1", left)
        self.assertIn("Real.Layout_1.20212223", left)

    def test_one_that_somebody_else_made(self) -> None:
        ranges = self.wait(self.broker.configure_topic("_real_stranger", 4))
        layout = self.loaded()
        self.assertIn(("_real_stranger", 4), self.wait(layout.adopt()))
        places = self.wait(layout.create(topic("_real_stranger", 4)))
        self.assertEqual([place.range for place in places], ranges)
        self.assertNotIn(("_real_stranger", 4), self.wait(layout.adopt()))
        self.assertEqual(
            names(self.wait(layout.create(topic("_real_stranger", 2, OTHER)))), ["_real_stranger.20212223"]
        )
