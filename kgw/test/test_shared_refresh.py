"""Catalogs, configurations and quotas of several gateways over one lot of facts: what one changes the others obey."""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from kgw.config import Config
from kgw.errors import ErrorCode, KafkaError
from kgw.log.topics import TopicCatalog
from kgw.model import ConfigChange, ConfigOperation, NewTopic, Topic
from kgw.test.shared_stage import SharedStage


def setting(name: str, value: str) -> ConfigChange:
    return ConfigChange(name, ConfigOperation.SET, value)


class CatalogTests(SynchronousTestCase):
    """Two catalogs; the second learns when the test has it read."""

    def setUp(self) -> None:
        self.stage = SharedStage(self)
        self.first, self.second = self.stage.started(), self.stage.started()
        self.gone: list[str] = []
        self.second.catalog.watch_deletions(self.deleted)
        self.second.logs.calls.clear()

    def deleted(self, name: str) -> Deferred[None]:
        self.gone.append(name)
        return succeed(None)

    def create(self, name: str, partitions: int = 1) -> Topic:
        """Create a topic without letting time go on, so that nobody has heard of it."""
        creating = self.first.catalog.create(NewTopic(name, partitions))
        creating.addErrback(lambda failure: self.fail(failure.getErrorMessage()))
        topic = self.first.catalog.get(name)
        assert topic is not None
        return topic

    def refreshed(self) -> list[str]:
        """Read anew; the topics that are known then."""
        self.successResultOf(self.second.catalog.refresh())
        return [topic.name for topic in self.second.catalog.all()]

    def code(self, changing: Deferred[Topic]) -> ErrorCode:
        error = self.failureResultOf(changing, KafkaError).value
        return ErrorCode(error.code)

    def test_created(self) -> None:
        """It is known with its id, and once it is read again nothing more happens."""
        topic = self.create("orders", 3)
        self.assertIs(self.second.catalog.get("orders"), None)
        self.assertEqual(self.refreshed(), ["orders"])
        known = self.second.catalog.by_id(topic.id)
        assert known is not None
        self.assertEqual((known.name, known.partitions), ("orders", 3))
        self.refreshed()
        self.assertEqual(self.second.logs.calls, ["learn orders/3"])

    def test_extended_and_altered(self) -> None:
        """The logs obey it."""
        topic = self.create("orders", 1)
        self.refreshed()
        self.first.catalog.extend("orders", 2)
        self.successResultOf(self.first.catalog.alter("orders", [setting("retention.ms", "1000")]))
        self.refreshed()
        known = self.second.catalog.by_id(topic.id)
        assert known is not None
        self.assertEqual((known.partitions, known.configs), (2, {"retention.ms": "1000"}))
        self.second.logs.led[topic.id, 1] = 0
        self.assertEqual(self.second.logs.partition("orders", 1).config.retention_ms, 1000)

    def test_deleted(self) -> None:
        """What belonged to it here is gone, by name and by id, and so is its name's claim in metrics."""
        topic = self.create("my.orders")
        self.refreshed()
        self.successResultOf(self.first.catalog.delete("my.orders"))
        self.assertEqual(self.refreshed(), [])
        self.assertIs(self.second.catalog.by_id(topic.id), None)
        self.assertEqual(self.gone, ["my.orders"])
        self.assertEqual(self.second.logs.calls[-1], "forget my.orders")
        self.create("my_orders")
        self.assertEqual(self.refreshed(), ["my_orders"])

    def test_deleted_and_created_anew(self) -> None:
        """Another topic of that name: what belonged to the former one is gone before it is known."""
        before = self.create("orders", 2)
        self.refreshed()
        self.successResultOf(self.first.catalog.delete("orders"))
        after = self.create("orders", 1)
        self.assertEqual(self.refreshed(), ["orders"])
        self.assertEqual(self.gone, ["orders"])
        self.assertEqual(self.second.logs.calls, ["learn orders/2", "forget orders", "learn orders/1"])
        self.assertIs(self.second.catalog.by_id(before.id), None)
        self.assertIsNot(self.second.catalog.by_id(after.id), None)

    def test_another_name_of_one_metric(self) -> None:
        """One is deleted, one that is alike in metrics created, both between two looks: no claim is left or lost."""
        self.create("my.orders")
        self.refreshed()
        self.successResultOf(self.first.catalog.delete("my.orders"))
        self.create("my_orders")
        self.assertEqual(self.refreshed(), ["my_orders"])
        self.assertEqual(
            self.code(self.second.catalog.create(NewTopic("my.orders", 1))), ErrorCode.INVALID_TOPIC_EXCEPTION
        )

    def test_changes_are_made_on_what_others_did(self) -> None:
        """A gateway that has not heard of a topic yet does not make it a second time, nor undo what was altered."""
        self.create("orders", 1)
        self.assertEqual(self.code(self.second.catalog.create(NewTopic("orders", 1))), ErrorCode.TOPIC_ALREADY_EXISTS)
        self.assertEqual(self.code(self.second.catalog.create(NewTopic("un.heard", 0))), ErrorCode.INVALID_PARTITIONS)
        self.successResultOf(self.first.catalog.alter("orders", [setting("retention.ms", "1000")]))
        altered = self.successResultOf(self.second.catalog.alter("orders", [setting("retention.bytes", "5")]))
        self.assertEqual(altered.configs, {"retention.ms": "1000", "retention.bytes": "5"})
        self.successResultOf(self.first.catalog.delete("orders"))
        self.assertEqual(self.code(self.second.catalog.delete("orders")), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)

    def test_auto_created_by_two(self) -> None:
        """Both have the same topic."""
        made = [node.catalog.auto_create("orders") for node in self.stage.nodes]
        self.stage.run(6)
        self.assertEqual(len({self.successResultOf(one).id for one in made}), 1)

    def test_a_damaged_fact(self) -> None:
        """Nothing is changed by half; what is known stays known."""
        self.create("orders")
        self.refreshed()
        self.create("more")
        self.successResultOf(self.stage.facts.commit({"topics/broken": b"{"}))
        self.failureResultOf(self.second.catalog.refresh(), KafkaError)
        self.assertEqual([topic.name for topic in self.second.catalog.all()], ["orders"])
        self.successResultOf(self.stage.facts.commit({}, ["topics/broken"]))
        self.assertEqual(self.refreshed(), ["more", "orders"])

    def test_inherited_configs(self) -> None:
        """A topic that is learnt obeys what this gateway is configured with by now."""
        self.successResultOf(self.first.configs.alter_broker([setting("log.retention.ms", "777000")], cluster=True))
        self.second.configs.watch(self.second.catalog.reconfigure)
        self.successResultOf(self.second.configs.refresh())
        topic = self.create("orders")
        self.refreshed()
        self.second.logs.led[topic.id, 0] = 0
        self.assertEqual(self.second.logs.partition("orders", 0).config.retention_ms, 777000)

    def test_no_others(self) -> None:
        """A catalog of one gateway is never asked to read anew."""
        node = self.first
        catalog = TopicCatalog(node.store, node.logs, Config(), 1)
        self.failureResultOf(catalog.refresh(), AssertionError)
        self.flushLoggedErrors()


class ConfigsTests(SynchronousTestCase):
    """Properties of all brokers, and of groups."""

    def setUp(self) -> None:
        self.stage = SharedStage(self)
        self.first, self.second = self.stage.started(), self.stage.started()
        self.told: list[int | None] = []
        self.second.configs.watch(self.note)

    def note(self, config: Config) -> Deferred[None]:
        self.told.append(config.log_retention_ms)
        return succeed(None)

    def alter(self, text: str, cluster: bool = True) -> None:
        self.successResultOf(self.first.configs.alter_broker([setting("log.retention.ms", text)], cluster=cluster))

    def refresh(self) -> None:
        self.successResultOf(self.second.configs.refresh())

    def test_all_brokers(self) -> None:
        """Obeyed here, said once, and taken back again."""
        self.alter("1000")
        self.refresh()
        self.refresh()
        self.assertEqual(self.told, [1000])
        delete = ConfigChange("log.retention.ms", ConfigOperation.DELETE, "")
        self.successResultOf(self.first.configs.alter_broker([delete], cluster=True))
        self.refresh()
        self.assertEqual(len(self.told), 2)
        self.assertNotEqual(self.told[1], 1000)

    def test_altered_back(self) -> None:
        """What another one takes back is as it was, also for the one that had set it."""
        self.refresh()
        change = setting("log.retention.ms", "1000")
        self.successResultOf(self.second.configs.alter_broker([change], cluster=True))
        delete = ConfigChange("log.retention.ms", ConfigOperation.DELETE, "")
        self.successResultOf(self.first.configs.alter_broker([delete], cluster=True))
        self.refresh()
        self.assertNotEqual(self.second.configs.config.log_retention_ms, 1000)

    def test_another_broker(self) -> None:
        """What is set on one is not the others'."""
        self.alter("1000", cluster=False)
        self.refresh()
        self.assertEqual(self.told, [])
        self.assertEqual(self.first.configs.config.log_retention_ms, 1000)

    def test_groups(self) -> None:
        """Known here afterwards."""
        change = setting("consumer.session.timeout.ms", "50000")
        self.successResultOf(self.first.configs.alter_group("billing", [change]))
        self.assertEqual(self.second.configs.group("billing"), {})
        self.refresh()
        self.assertEqual(self.second.configs.group("billing"), {"consumer.session.timeout.ms": "50000"})
        self.assertEqual(self.told, [])

    def test_facts_that_cannot_be_read(self) -> None:
        """What was obeyed stays obeyed."""
        self.alter("1000")
        self.refresh()
        self.second.store.broken = ("configs/",)
        self.failureResultOf(self.second.configs.refresh(), KafkaError)
        self.second.store.broken = ()
        change = setting("log.retention.bytes", "5000")
        self.successResultOf(self.second.configs.alter_broker([change], cluster=True))
        self.assertEqual(self.second.configs.config.log_retention_ms, 1000)
        self.assertEqual(
            self.stage.fact("configs/cluster"), {"log.retention.bytes": "5000", "log.retention.ms": "1000"}
        )

    def test_a_property_that_is_not_understood(self) -> None:
        """One that a newer kgw took is passed over, which is said once and not with every look."""
        self.successResultOf(self.stage.facts.commit({"configs/cluster": b'{"of.the.future": "1"}'}))
        lines: list[object] = []
        self.patch(self.second.configs, "log", _Lines(lines))
        for _ in range(3):
            self.refresh()
        self.assertEqual(len(lines), 1)
        self.assertEqual(self.told, [])


class _Lines:
    """A log that only counts warnings."""

    def __init__(self, lines: list[object]) -> None:
        self.lines = lines

    def warn(self, text: str, **named: object) -> None:
        self.lines.append(text)

    def info(self, text: str, **named: object) -> None:
        """Not counted."""


class QuotasTests(SynchronousTestCase):
    """Quotas of clients."""

    def setUp(self) -> None:
        self.stage = SharedStage(self)
        self.first, self.second = self.stage.started(), self.stage.started()
        self.told = 0
        self.second.quotas.watch(self.note)

    def note(self) -> None:
        self.told += 1

    def test_refresh(self) -> None:
        """Enforced here, said once, and no more once it is taken back."""
        entity = {"client-id": "billing"}
        self.successResultOf(self.first.quotas.alter([(entity, [("producer_byte_rate", 1000.0)])]))
        for _ in range(3):
            self.successResultOf(self.second.quotas.refresh())
        self.assertEqual((self.second.quotas.active, self.told), (True, 1))
        self.assertGreater(self.second.quotas.charge("billing", 0.0, 1_000_000), 0)
        self.successResultOf(self.first.quotas.alter([(entity, [("producer_byte_rate", None)])]))
        self.successResultOf(self.second.quotas.refresh())
        self.assertEqual((self.second.quotas.active, self.told), (False, 2))

    def test_alterations_of_two(self) -> None:
        """Neither undoes the other's."""
        for node, name in zip(self.stage.nodes, ("a", "b"), strict=True):
            self.successResultOf(node.quotas.alter([({"client-id": name}, [("producer_byte_rate", 1000.0)])]))
        self.successResultOf(self.first.quotas.refresh())
        for node in self.stage.nodes:
            self.assertEqual(len(node.quotas.describe([("client-id", 2, None)], False)), 2)

    def test_damaged(self) -> None:
        """What was enforced stays so, and it is read when it can be."""
        self.successResultOf(self.first.quotas.alter([({"client-id": "a"}, [("producer_byte_rate", 1000.0)])]))
        self.successResultOf(self.second.quotas.refresh())
        good = self.successResultOf(self.stage.facts.get("client-quotas"))
        assert good is not None
        self.successResultOf(self.stage.facts.commit({"client-quotas": b"{"}))
        for _ in range(2):
            self.failureResultOf(self.second.quotas.refresh(), KafkaError)
        self.assertTrue(self.second.quotas.active)
        self.assertEqual(len(self.second.quotas.describe([("client-id", 2, None)], False)), 1)
