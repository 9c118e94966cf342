"""The columns that the engine has of every type: as declared, in the records, and in the parquet of its own tool."""

from __future__ import annotations

import io
import json
from typing import Any

from pyarrow import parquet

from kgw.schema.columns import Column, RecordOf, Scalar
from kgw.schema.framing import prefixed
from kgw.test.live import tables
from kgw.test.live.schematized import SchematizedTestCase, sent
from kgw.test.schema_cases import (
    AVRO,
    AVRO_TABLE,
    JSON,
    JSON_TABLE,
    PROTOBUF,
    PROTOBUF_TABLE,
    Typed,
    avro,
    avro_table,
    columns_of,
    json_table,
    protobuf_table,
    record,
    row_of,
)
from kgw.test.seaweed import Engine, engine

TABLES: dict[str, tuple[str, list[Typed], tuple[str, bytes]]] = {
    AVRO: ("AVRO", AVRO_TABLE, avro_table()),
    JSON: ("JSON_SCHEMA", JSON_TABLE, json_table()),
    PROTOBUF: ("PROTOBUF", PROTOBUF_TABLE, protobuf_table()),
}


class TypeTests(SchematizedTestCase):
    """A column for each type, written through kgw and read by the engine's own description of its records."""

    engine = "seaweedmq"

    def check(self, kind: str) -> None:
        format, table, (schema, payload) = TABLES[kind]
        gateway = self.gateway("strict")
        self.create(gateway.bootstrap)
        records = sent([self.value(kind, schema, payload)] * 5)
        self.assertEqual(self.produce(gateway.bootstrap, records), [""] * 5)
        self.assertEqual(tables.topic_conf(engine(), self.topic)["schemaFormat"], format)
        declared = tables.columns(engine(), self.topic)
        self.assertEqual([one.name for one in declared.columns], [one.name for one in columns_of(table).columns])
        self.assertEqual(tables.by_name(declared), tables.by_name(columns_of(table)))
        for one in tables.stored(engine(), self.topic, 5):
            self.assertTrue(one.key, "the engine's tables pass over what has no key")
            self.assertEqual(one.row, row_of(table))

    def test_avro(self) -> None:
        self.check(AVRO)

    def test_json(self) -> None:
        self.check(JSON)

    def test_protobuf(self) -> None:
        self.check(PROTOBUF)

    def test_versions(self) -> None:
        """A topic has the columns of all versions, numbers widened; what cannot be both stays what it was."""
        gateway = self.gateway("strict")
        self.create(gateway.bootstrap)
        first, later = record("int", "string", "int"), record("long", "double", "int", ["null", "string"])
        values = [
            self.value(AVRO, json.dumps(first), avro(first, {"a": 1, "b": "x", "c": 2})),
            self.value(AVRO, json.dumps(later), avro(later, {"a": 1 << 40, "b": 0.5, "c": 3, "d": "new"})),
        ]
        self.assertEqual(self.produce(gateway.bootstrap, sent(values)), ["", ""])
        wanted = (
            Column("a", Scalar.INT64, True),
            Column("b", Scalar.STRING, True),
            Column("c", Scalar.INT32, True),
            Column("d", Scalar.STRING),
        )
        self.assertEqual(tables.columns(engine(), self.topic), RecordOf(wanted))
        before = tables.topic_conf(engine(), self.topic)
        # another start finds the same
        gateway.terminate()
        gateway.start()
        self.assertEqual(self.produce(gateway.bootstrap, sent(values)), ["", ""])
        self.assertEqual(tables.topic_conf(engine(), self.topic), before)
        rows = [one.row for one in tables.stored(engine(), self.topic, 4)]
        self.assertEqual(rows, [{"a": 1, "b": "x", "c": 2}, {"a": 1 << 40, "b": 0.5, "c": 3, "d": "new"}] * 2)


class ParquetTests(SchematizedTestCase):
    """An engine for this test only: one whose log files were compacted may end when they are read."""

    def test_compacted(self) -> None:
        """The parquet that C{mq.topic.compact} makes has the right columns and values."""
        own = Engine().start()
        self.addCleanup(own.discard)
        gateway = self.gateway("strict", "--engine", "seaweedmq", "--masters", ",".join(own.masters))
        topics = {kind: f"{kind.lower()}-types" for kind in TABLES}
        self.create(gateway.bootstrap, *topics.values())
        for kind, topic in topics.items():
            schema, payload = TABLES[kind][2]
            value = prefixed(self.register(kind, schema, topic), payload)
            self.assertEqual(self.produce(gateway.bootstrap, sent([value] * 5), topic), [""] * 5)
        # what was acknowledged is in log files
        gateway.terminate()
        for kind, topic in topics.items():
            tables.compact(own, topic)
            (archive,) = tables.archives(own, topic)
            rows: list[dict[str, Any]] = parquet.read_table(io.BytesIO(archive)).to_pylist()
            self.assertEqual(len(rows), 5)
            for row in rows:
                self.assertTrue(row.pop("_key"))
                self.assertGreater(row.pop("_ts_ns"), 1 << 60)
                wanted = {one.name: one.archived for one in TABLES[kind][1] if one.column is not None}
                self.assertEqual(row, wanted)
