"""SeaweedFS' own gateway in Go reads what kgw stored with columns, where it can give back the bytes of such a value."""

from __future__ import annotations

import json
from typing import Any

from kgw.schema.framing import prefixed
from kgw.test.live.clients import confluent_consume
from kgw.test.live.go_gateway import GoGateway
from kgw.test.live.schematized import SchematizedTestCase, Sent, sent
from kgw.test.schema_cases import AVRO, avro, logical, record
from kgw.test.seaweed import Engine

_INNER = record("int", "string", name="kgw.Inner")
_ENUM = {"type": "enum", "name": "kgw.E", "symbols": ["A", "B"]}
_FIXED = {"type": "fixed", "name": "kgw.F", "size": 3}
_DEFAULT = {"name": "b", "type": ["null", "string"], "default": None}

#: Schemas and values. Of others (decimals, nulls without a default, C{[null, T]} with a value) it makes JSON.
SAME: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "scalars": (
        record("boolean", "int", "long", "float", "double", "bytes", "string"),
        {"a": True, "b": -5, "c": 1 << 40, "d": 1.5, "e": 0.1, "f": b"\0\xff", "g": "grün"},
    ),
    "enum-and-fixed": (record(_ENUM, _FIXED), {"a": "B", "b": b"abc"}),
    "nested": (record("int", _INNER), {"a": 1, "b": {"a": 2, "b": "x"}}),
    "union": (record("int", ["int", "string"]), {"a": 1, "b": "s"}),
    "array": (record("int", {"type": "array", "items": "string"}), {"a": 1, "b": ["p", "q"]}),
    "null-of-a-default": (record("int", _DEFAULT), {"a": 1, "b": None}),
    "dates": (
        record(logical("int", "date"), logical("int", "time-millis"), logical("long", "time-micros")),
        {"a": 19_000, "b": 1000, "c": 2},
    ),
    "timestamps": (
        record(logical("long", "timestamp-millis"), logical("long", "timestamp-micros"), logical("string", "uuid")),
        {"a": 1_700_000_000_123, "b": 1_700_000_000_123_456, "c": "6f2c1e9a-0000-4000-8000-000000000001"},
    ),
}


class GoTests(SchematizedTestCase):
    """Both on one engine, with one registry."""

    def test_same_bytes(self) -> None:
        own = Engine().start()
        self.addCleanup(own.discard)
        go = GoGateway(own.masters, self.registry.url).start()
        self.addCleanup(go.discard)
        kgw = self.gateway("strict", "--engine", "seaweedmq", "--masters", ",".join(own.masters)).bootstrap
        self.create(kgw, *SAME)
        for topic, (schema, fields) in SAME.items():
            value = prefixed(self.register(AVRO, json.dumps(schema), topic), avro(schema, fields))
            records = [Sent(b"key", value, (), one.timestamp) for one in sent([value] * 3)]
            self.assertEqual(self.produce(kgw, records, topic), [""] * 3)
            # it knows of no schema before it has written one itself
            self.assertEqual(self.produce(go.bootstrap, records[:1], topic), [""])
            found = confluent_consume(go.bootstrap, topic, 3)
            self.assertEqual([(one.key, one.value) for one in found], [(b"key", value)] * 3, topic)
