"""What every keeper of partition logs must do."""

from __future__ import annotations

from dataclasses import replace

from zope.interface.verify import verifyObject

from kgw.errors import ErrorCode
from kgw.interfaces import ILogEngine
from kgw.model import Appended, LogConfig, TopicPartition
from kgw.schema.columns import Column, ListOf, RecordOf, Scalar
from kgw.test.builders import (
    EPOCH_MS,
    batch,
    idempotent_batch,
    topic,
)
from kgw.test.contracts.cases import EngineCase
from kgw.web.families import FAMILIES
from kgw.wire.compression import CompressionType


class LogEngineContract(EngineCase):
    """What L{ILogEngine} promises."""

    def test_interface(self) -> None:
        self.assertTrue(verifyObject(ILogEngine, self.engine))

    def test_columns_are_declared(self) -> None:
        tables = self.engine.tables
        if tables is None:
            return
        columns = RecordOf((Column("n", Scalar.INT32), Column("tags", ListOf(Scalar.STRING))))
        for _ in range(2):
            self.assertEqual(self.wait(tables.declare("orders", columns, "AVRO")), [])
        other = RecordOf((Column("n", Scalar.STRING), Column("more", RecordOf())))
        self.assertEqual(self.wait(tables.declare("orders", other, "AVRO")), ["n"])
        self.assertEqual(
            self.refusal(tables.declare, "payments", columns, "AVRO"), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        )

    def test_it_can_be_named(self) -> None:
        self.assertRegex(self.engine.describe(), r"^[a-z]+")

    def test_unknown_partitions(self) -> None:
        for name, index in (("orders", 1), ("orders", -1), ("payments", 0), ("", 0)):
            self.assertEqual(self.refusal(self.engine.partition, name, index), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)

    def test_partitions_are_apart(self) -> None:
        self.created(topic("payments", partitions=3, number=2))
        for index in range(3):
            log = self.engine.partition("payments", index)
            for _ in range(index + 1):
                self.wait(log.append(batch()))
        ends = [self.wait(self.engine.partition("payments", index).bounds()).high_watermark for index in range(3)]
        self.assertEqual((ends, self.bounds()), ([1, 2, 3], (0, 0)))

    def sizes(self) -> dict[str, int]:
        """The bytes of all partitions, once nothing is on its way to where they are kept: after a restart."""
        self.reopen(self.topic, topic("payments", partitions=2, number=2))
        found = self.wait(self.engine.log_dir())
        self.assertTrue(found.path)
        return {str(name): size for name, size in found.sizes.items()}

    def test_the_size_of_each_partition(self) -> None:
        self.created(topic("payments", partitions=2, number=2))
        self.assertEqual(self.sizes(), {"orders-0": 0, "payments-0": 0, "payments-1": 0})
        self.append(batch(), batch())
        self.wait(self.engine.partition("payments", 1).append(batch(value=bytes(5000))))
        first = self.sizes()
        self.assertEqual(first["payments-0"], 0)
        self.assertTrue(5000 <= first["payments-1"] <= 7000)
        self.assertTrue(2 * len(b"key-0value-0") < first["orders-0"] < 1000)
        self.append(batch(), batch())
        second = self.sizes()
        self.assertGreater(second["orders-0"], first["orders-0"])
        self.assertEqual(second["payments-1"], first["payments-1"])

    def test_the_size_of_some_partitions(self) -> None:
        self.created(topic("payments", partitions=2, number=2))
        wanted = [TopicPartition("payments", 1), TopicPartition("payments", 9), TopicPartition("ghosts", 0)]
        self.assertEqual(self.wait(self.engine.log_dir(wanted)).sizes, {TopicPartition("payments", 1): 0})
        self.assertEqual(self.wait(self.engine.log_dir([])).sizes, {})
        self.wait(self.engine.delete(self.topic))
        self.assertNotIn(TopicPartition("orders", 0), self.wait(self.engine.log_dir()).sizes)

    def test_the_volume(self) -> None:
        found = self.wait(self.engine.log_dir([]))
        if found.total_bytes == -1:
            self.assertEqual(found.usable_bytes, -1)
        else:
            self.assertTrue(0 <= found.usable_bytes <= found.total_bytes)

    def test_numbers_for_operators(self) -> None:
        """What is known without asking: where a log is, and the engine's own numbers by names that are documented."""
        self.append(batch(), batch(EPOCH_MS, EPOCH_MS))
        self.wait(self.log.trim(1))
        extent = self.log.extent
        self.assertEqual((extent.start, extent.end), (1, 3))
        self.assertTrue(extent.size == -1 or extent.size > 60)
        numbers = self.engine.measure()
        self.assertEqual(numbers["kgw_partitions_offline"], 0)
        self.assertLessEqual(numbers.keys(), FAMILIES.keys())
        self.wait(self.engine.delete(self.topic))
        self.assertEqual(self.engine.measure().keys(), numbers.keys())

    def test_more_partitions(self) -> None:
        self.append(batch())
        self.topic = replace(self.topic, partitions=3)
        self.created(self.topic)
        self.wait(self.engine.partition("orders", 2).append(batch()))
        self.assertEqual(self.offsets(0), [0])
        self.reopen(self.topic)
        ends = [self.wait(self.engine.partition("orders", index).bounds()).high_watermark for index in range(3)]
        self.assertEqual(ends, [1, 0, 1])

    def test_creating_again_changes_nothing(self) -> None:
        self.append(batch())
        self.created(self.topic)
        self.assertEqual(self.offsets(0), [0])

    def test_configure(self) -> None:
        self.assertEqual(self.log.config, LogConfig())
        self.engine.configure(self.topic, LogConfig(max_message_bytes=77))
        self.assertEqual(self.log.config.max_message_bytes, 77)
        self.assertEqual(self.engine.partition("orders", 0).config.max_message_bytes, 77)

    def test_check_config(self) -> None:
        for config in (LogConfig(), LogConfig(retention_ms=-1, compression_type="zstd", segment_bytes=1 << 20)):
            self.engine.check_config(config)

    def test_delete(self) -> None:
        self.append(batch())
        self.wait(self.engine.delete(self.topic))
        self.assertEqual(self.refusal(self.engine.partition, "orders", 0), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        for call in (
            lambda: self.log.append(batch()),
            lambda: self.log.read(0, 1000),
            self.log.bounds,
            lambda: self.log.offset_for_time(0),
            self.log.offset_of_max_timestamp,
            lambda: self.log.end_of_epoch(0),
            lambda: self.log.trim(0),
            self.log.producers,
        ):
            self.assertEqual(self.refusal(call), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)

    def test_delete_tells_those_who_wait(self) -> None:
        seen: list[int] = []
        refused: list[ErrorCode] = []

        def listener(new_bytes: int) -> None:
            seen.append(new_bytes)
            refused.append(self.refusal(self.log.read, 0, 1000))

        self.log.watch(listener)
        self.wait(self.engine.delete(self.topic))
        self.clock.advance(0)
        self.assertEqual((seen, refused), ([-1], [ErrorCode.UNKNOWN_TOPIC_OR_PARTITION]))
        self.log.unwatch(listener)

    def test_deleting_what_is_not_there(self) -> None:
        self.wait(self.engine.delete(topic("payments", number=2)))
        self.wait(self.engine.delete(self.topic))
        self.wait(self.engine.delete(self.topic))

    def test_a_new_topic_of_an_old_name_is_empty(self) -> None:
        self.append(idempotent_batch(0), batch())
        self.wait(self.engine.delete(self.topic))
        self.log = self.created(topic(number=2))
        self.assertEqual(self.bounds(), (0, 0))
        self.assertEqual(self.append(idempotent_batch(5)), [Appended(0, -1, 0)])
        self.topic = topic(number=2)
        self.reopen(self.topic)
        self.assertEqual(self.offsets(0), [0])

    def test_a_deletion_that_comes_late_spares_the_new_topic(self) -> None:
        self.wait(self.engine.delete(self.topic))
        self.log = self.created(topic(number=2))
        self.append(batch())
        self.wait(self.engine.delete(topic(number=1)))
        self.assertEqual(self.offsets(0), [0])

    def test_stop(self) -> None:
        seen: list[int] = []
        self.log.watch(seen.append)
        self.wait(self.engine.stop())
        self.clock.advance(0)
        self.assertEqual(seen, [-1])
        self.assertEqual(self.refusal(self.log.append, batch()), ErrorCode.KAFKA_STORAGE_ERROR)
        self.assertEqual(self.refusal(self.log.producers), ErrorCode.KAFKA_STORAGE_ERROR)
        self.assertEqual(self.refusal(self.engine.log_dir), ErrorCode.KAFKA_STORAGE_ERROR)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_records_survive_a_restart(self) -> None:
        self.append(batch(EPOCH_MS, EPOCH_MS + 1), batch(EPOCH_MS + 2, compression=CompressionType.GZIP), batch())
        before = self.kept(self.wait(self.log.read(1, 1 << 20)), 1)
        self.wait(self.log.trim(1))
        self.reopen(self.topic)
        self.assertEqual(self.bounds(), (1, 4))
        self.assertEqual(self.kept(self.wait(self.log.read(1, 1 << 20)), 1), before)
        self.assertEqual(self.wait(self.log.offset_for_time(EPOCH_MS + 2)).offset, 2)
        self.assertEqual(self.wait(self.log.offset_of_max_timestamp()).offset, 2)
        self.assertEqual([one.base_offset for one in self.append(batch())], [4])

    def test_offsets_go_on_after_all_was_trimmed(self) -> None:
        self.append(batch(*[EPOCH_MS] * 5))
        self.wait(self.log.trim(-1))
        for _ in range(2):
            self.reopen(self.topic)
            self.assertEqual(self.bounds(), (5, 5))
        self.assertEqual([one.base_offset for one in self.append(batch())], [5])

    def test_topics_that_are_not_named_are_forgotten(self) -> None:
        payments = topic("payments", number=2)
        self.wait(self.created(payments).append(batch()))
        self.append(batch())
        self.reopen(self.topic)
        self.assertEqual(self.refusal(self.engine.partition, "payments", 0), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        self.assertEqual(self.offsets(0), [0])
        self.reopen(self.topic, payments)
        self.assertEqual(self.wait(self.engine.partition("payments", 0).bounds()).high_watermark, 0)

    def test_a_topic_that_is_another_by_now_starts_empty(self) -> None:
        self.append(batch())
        self.topic = topic(number=2)
        self.reopen(self.topic)
        self.assertEqual(self.bounds(), (0, 0))

    def test_a_topic_whose_creation_was_cut_short_is_made(self) -> None:
        self.append(batch())
        self.topic = replace(self.topic, partitions=2)
        self.reopen(self.topic, topic("payments", number=2))
        self.assertEqual(self.offsets(0), [0])
        for name, index in (("orders", 1), ("payments", 0)):
            self.assertEqual(self.wait(self.engine.partition(name, index).append(batch())).base_offset, 0)
