"""What was produced is fetched, to the byte, whatever a value is, and whether the registry is there or not."""

from __future__ import annotations

import json
from collections.abc import Callable

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from kgw.schema.framing import prefixed
from kgw.test.avro_strategies import Made, for_fastavro, text_of, written
from kgw.test.json_schemas import ANYTHING
from kgw.test.live.schematized import SchematizedTestCase, Sent, sent
from kgw.test.protobuf_schemas import EVERYTHING, message_class, messages, resolved
from kgw.test.schema_cases import AVRO, JSON, PROTOBUF, avro, cases, record


def _gathered(count: int, gather: Callable[[st.DataObject], None]) -> None:
    """Have Hypothesis make something some times."""
    settings(max_examples=count, deadline=None, database=None, phases=[Phase.generate])(given(st.data())(gather))()


class LocalIdentityTests(SchematizedTestCase):
    """On kgw's own log."""

    def values(self, sound_only: bool) -> list[tuple[str, bytes]]:
        """All cases, with what they are."""
        return [
            (case.name, self.value(case.type, case.schema, case.payload))
            for case in cases()
            if case.sound or not sound_only
        ]

    def made(self) -> list[tuple[str, bytes]]:
        """Values that Hypothesis makes, all of them sound."""
        found: list[tuple[str, bytes]] = []
        everything = message_class(resolved(EVERYTHING), "shop.Everything")
        protobuf_id, json_id = self.register(PROTOBUF, EVERYTHING), self.register(JSON, "{}")

        def with_avro(data: st.DataObject) -> None:
            made = Made(data)
            schema = made.schema()
            text = text_of(schema)
            schema_id = self.register(AVRO, json.dumps(text))
            for _ in range(3):
                payload = written(text, for_fastavro(schema, made.value(schema)))
                found.append((json.dumps(text), prefixed(schema_id, payload)))

        def with_json(data: st.DataObject) -> None:
            text = json.dumps(data.draw(ANYTHING), ensure_ascii=data.draw(st.booleans()))
            found.append((text, prefixed(json_id, text.encode())))

        def with_protobuf(data: st.DataObject) -> None:
            message = data.draw(messages(everything))
            found.append((str(message), prefixed(protobuf_id, message.SerializeToString(), (0,))))

        for gather in (with_avro, with_json, with_protobuf):
            _gathered(25, gather)
        return found

    def check(self, policy: str, values: list[tuple[str, bytes]], *more: bytes | None) -> None:
        """They come back, over a restart, without a registry."""
        gateway = self.gateway(policy)
        self.create(gateway.bootstrap)
        records = sent([value for _, value in values] + list(more))
        names = [name for name, _ in values] + [repr(value) for value in more]
        for name, error in zip(names, self.produce(gateway.bootstrap, records), strict=True):
            self.assertEqual(error, "", name)
        self._compare(names, self.consume(gateway.bootstrap, len(records)), records)
        self.registry.stop()
        gateway.terminate()
        gateway.start()
        self._compare(names, self.consume(gateway.bootstrap, len(records)), records)

    def _compare(self, names: list[str], found: list[Sent], wanted: list[Sent]) -> None:
        for name, one, other in zip(names, found, wanted, strict=True):
            self.assertEqual(one, other, name)

    def test_permissive(self) -> None:
        """Everything, also what is not what its schema says, names no schema, or one that nobody knows."""
        unknown = prefixed(1 << 20, b"\x02")
        self.check("permissive", self.values(False) + self.made(), None, b"", b"\0", b"plain", b"\0\0\0\0\0", unknown)

    def test_strict(self) -> None:
        """Everything that is sound; the rest is refused, each for itself, and nothing of it is written."""
        made = self.made()
        self.check("strict", self.values(True) + made)
        gateway = self.servers[-1]
        gateway.terminate()
        self.registry.start()
        gateway.start()
        wrong = [case for case in cases() if not case.sound]
        records = sent([self.value(case.type, case.schema, case.payload) for case in wrong])
        errors = self.produce(gateway.bootstrap, records, together=False)
        self.assertEqual(
            dict(zip([case.name for case in wrong], errors, strict=True)),
            {case.name: "INVALID_RECORD" for case in wrong},
        )
        sound = sent([self.value(AVRO, json.dumps(record("int")), avro(record("int"), {"a": 7}))])
        self.assertEqual(self.produce(gateway.bootstrap, sound), [""])
        count = sum(case.sound for case in cases()) + len(made)
        self.assertEqual(self.consume(gateway.bootstrap, count + 1)[-1:], sound)


class SeaweedIdentityTests(LocalIdentityTests):
    """The same on SeaweedMQ, where they are stored with columns."""

    engine = "seaweedmq"
