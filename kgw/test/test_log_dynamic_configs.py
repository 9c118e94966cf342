"""What brokers and groups were told is kept, obeyed, and there again after a restart."""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from kgw.config import Config
from kgw.errors import ErrorCode, KafkaError
from kgw.log.dynamic_configs import DynamicConfigs
from kgw.model import ConfigChange, ConfigOperation, LogConfig
from kgw.test.stage import HeldStore

NODE = 1


def put(name: str, value: str) -> ConfigChange:
    return ConfigChange(name, ConfigOperation.SET, value)


def reset(name: str) -> ConfigChange:
    return ConfigChange(name, ConfigOperation.DELETE, "")


class DynamicConfigsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.store = HeldStore()
        self.successResultOf(self.store.open())
        self.told: list[Config] = []
        self.configs = self.open()

    def open(self, node: int = NODE) -> DynamicConfigs:
        """As a start finds the store."""
        configs = DynamicConfigs(self.store, Config(), node, self.check)
        self.successResultOf(configs.start())
        configs.watch(self.watch)
        return configs

    def check(self, config: LogConfig) -> None:
        if "compact" in config.cleanup_policy:
            raise KafkaError(ErrorCode.INVALID_CONFIG, "no compaction here")

    def watch(self, config: Config) -> Deferred[None]:
        self.told.append(config)
        return succeed(None)

    def refused(self, work: Deferred[None]) -> tuple[ErrorCode, str]:
        error = self.failureResultOf(work, KafkaError).value
        return error.code, error.message

    def stored(self) -> dict[str, bytes]:
        found = self.successResultOf(self.store.scan("configs/"))
        return dict(found)

    def test_obeyed_at_once_and_after_a_restart(self) -> None:
        """This broker's and all brokers'."""
        self.successResultOf(self.configs.alter_broker([put("message.max.bytes", "100")]))
        self.successResultOf(self.configs.alter_broker([put("log.retention.ms", "200")], cluster=True))
        for configs in (self.configs, self.open()):
            self.assertEqual((configs.config.message_max_bytes, configs.config.log_retention_ms), (100, 200))
        self.assertEqual([config.message_max_bytes for config in self.told], [100, 100])
        self.assertEqual([config.log_retention_ms for config in self.told], [None, 200])
        other = self.open(node=2).config
        self.assertEqual((other.message_max_bytes, other.log_retention_ms), (1_048_588, 200))

    def test_reset(self) -> None:
        """What is reset leaves nothing behind; replacing resets what is not named."""
        self.successResultOf(self.configs.alter_broker([put("message.max.bytes", "100"), put("max.connections", "5")]))
        self.successResultOf(self.configs.alter_broker([put("max.connections", "6")], replacing=True))
        self.assertEqual((self.configs.config.message_max_bytes, self.configs.config.max_connections), (1_048_588, 6))
        self.successResultOf(self.configs.alter_broker([reset("max.connections")]))
        self.assertEqual(self.stored(), {})
        self.assertEqual(self.open().config.max_connections, Config().max_connections)

    def test_seen_when_durable(self) -> None:
        """Nobody is told before the store has it, and changes run one after the other."""
        self.store.hold = True
        first = self.configs.alter_broker([put("max.connections", "5")])
        second = self.configs.alter_broker([put("max.connections.per.ip", "3")])
        self.assertNoResult(first)
        self.assertEqual((len(self.store.held), self.told), (1, []))
        self.store.let_one_through()
        self.successResultOf(first)
        self.assertNoResult(second)
        self.store.let_one_through()
        self.successResultOf(second)
        self.assertEqual([(c.max_connections, c.max_connections_per_ip) for c in self.told][-1], (5, 3))

    def test_giving_up_a_wait_does_not_break_off_the_change(self) -> None:
        self.store.hold = True
        self.configs.alter_broker([put("max.connections", "5")]).addErrback(lambda _: None).cancel()
        self.store.let_one_through()
        self.assertEqual(self.configs.config.max_connections, 5)

    def test_nothing_changes_where_it_cannot_be_stored(self) -> None:
        self.store.broken = True
        for work in (
            self.configs.alter_broker([put("max.connections", "5")]),
            self.configs.alter_group("g", [put("consumer.session.timeout.ms", "50000")]),
        ):
            self.assertEqual(self.refused(work)[0], ErrorCode.KAFKA_STORAGE_ERROR)
        self.assertEqual(self.configs.config.max_connections, Config().max_connections)
        self.assertEqual((self.configs.groups(), self.told), ([], []))

    def test_validate_only(self) -> None:
        self.successResultOf(self.configs.alter_broker([put("max.connections", "5")], validate_only=True))
        self.successResultOf(self.configs.alter_group("g", [put("consumer.session.timeout.ms", "50000")], False, True))
        self.assertEqual((self.stored(), self.told, self.configs.groups()), ({}, [], []))
        bad = self.configs.alter_broker([put("max.connections", "many")], validate_only=True)
        self.assertEqual(self.refused(bad)[0], ErrorCode.INVALID_REQUEST)

    def test_what_the_engine_cannot_do(self) -> None:
        """All topics would inherit it."""
        work = self.configs.alter_broker([put("log.cleanup.policy", "compact")], cluster=True)
        self.assertEqual(self.refused(work), (ErrorCode.INVALID_CONFIG, "no compaction here"))
        self.assertEqual(self.stored(), {})

    def test_what_a_start_cannot_obey_costs_nothing_else(self) -> None:
        """Property by property: of another release, of another engine, out of bounds."""
        fact = b'{"log.cleanup.policy":"compact","max.connections":"5","message.max.bytes":"x","no.such":"1"}'
        self.successResultOf(self.store.commit({"configs/cluster": fact}))
        configs = self.open()
        self.assertEqual((configs.config.max_connections, configs.config.log_cleanup_policy), (5, ("delete",)))
        self.assertEqual(configs.config.message_max_bytes, 1_048_588)

    def test_a_damaged_fact_stops_the_start_and_is_named(self) -> None:
        for fact in (b"{", b"[]"):
            self.successResultOf(self.store.commit({"configs/groups/g": fact}))
            error = self.failureResultOf(DynamicConfigs(self.store, Config(), 1, self.check).start(), KafkaError).value
            self.assertEqual(error.code, ErrorCode.KAFKA_STORAGE_ERROR)
            self.assertIn("configs/groups/g", error.message)

    def test_groups(self) -> None:
        """Any text may be the name of a group."""
        names = ["a/b", "größe", "plain", "%2F"]
        for name in names:
            self.successResultOf(self.configs.alter_group(name, [put("consumer.session.timeout.ms", "50000")]))
        for configs in (self.configs, self.open()):
            self.assertEqual(configs.groups(), sorted(names))
            self.assertEqual(configs.group("a/b"), {"consumer.session.timeout.ms": "50000"})
            self.assertEqual(configs.group("other"), {})
        self.successResultOf(self.configs.alter_group("a/b", [reset("consumer.session.timeout.ms")]))
        self.assertEqual(self.open().groups(), sorted(names[1:]))
        self.assertEqual(
            self.refused(self.configs.alter_group("g", [put("no.such", "1")])),
            (ErrorCode.INVALID_CONFIG, "Unknown group config name: no.such"),
        )
