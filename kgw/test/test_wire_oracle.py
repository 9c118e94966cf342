"""Every served version of every API against kafka-python's own schemas, which nobody here wrote."""

from __future__ import annotations

import uuid
from typing import Any

from hypothesis import given, settings
from kafka.protocol import admin, consumer, metadata, producer
from kafka.protocol.api_message import ApiMessage
from twisted.trial.unittest import SynchronousTestCase

from kgw.handlers.contract import Api
from kgw.handlers.registry import ALL
from kgw.test.strategies import messages
from kgw.wire.message import Array, FieldType, split_fields
from kgw.wire.primitives import UUID, ZERO_UUID, Scalar

ORACLES: dict[str, Any] = {**vars(admin), **vars(consumer), **vars(metadata), **vars(producer)}


def plain(kind: FieldType, value: Any, version: int, flexible: bool, theirs: Any) -> Any:
    """
    A value of ours as kafka-python's C{to_dict} gives it: only what this version carries, C{None} for the zero uuid
    and for a tagged struct of defaults, which is not on the wire, and sets of bits for authorized operations.

    @param theirs: their class for the struct, or their field for anything else.
    """
    if value is None:
        return None
    if isinstance(kind, Array):
        return [plain(kind.element, item, version, flexible, theirs) for item in value]
    if isinstance(kind, Scalar):
        if kind is UUID:
            return None if value == ZERO_UUID else uuid.UUID(bytes=value)
        return value
    fields = (theirs if hasattr(theirs, "API_KEY") else theirs.data_class).fields
    found: dict[str, Any] = {}
    regular, tagged = split_fields(kind, version, flexible)
    for spec in regular + tagged:
        item = getattr(value, spec.name)
        if spec.name not in fields or spec.name == "authorized_operations":
            bits = {bit for bit in range(32) if item >> bit & 1}
            found["authorized_operations"] = None if bits == {31} else bits
        elif spec.tag is not None and isinstance(spec.type, type) and item == spec.type():
            found[spec.name] = None
        else:
            found[spec.name] = plain(spec.type, item, version, flexible, fields[spec.name])
    return found


def built(cls: Any, version: int, value: dict[str, Any]) -> Any:
    """kafka-python's message with these values."""
    found: dict[str, Any] = {}
    for name, item in value.items():
        spec = cls.fields[name]
        if item is None and spec.default is None:
            continue
        if item is None or not (spec.is_struct() or spec.is_struct_array()):
            found[name] = item
        elif spec.is_struct_array():
            found[name] = [built(spec.data_class, version, inner) for inner in item]
        else:
            found[name] = built(spec.data_class, version, item)
    return cls(version=version, **found)


def same(ours: Any, theirs: Any) -> Any:
    """Their value, with what is only another type for the same thing turned into ours."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return {name: same(ours.get(name), value) for name, value in theirs.items()}
    if isinstance(ours, list) and isinstance(theirs, list):
        return [same(a, b) for a, b in zip(ours, theirs, strict=True)]
    return bytes(theirs) if isinstance(ours, bytes) and theirs is not None else theirs


class OracleTests(SynchronousTestCase):
    """Hypothesis makes the values, both sides read and write them."""

    def compare(self, api: Api, cls: type, version: int, value: Any, oracle: Any) -> None:
        flexible = api.is_flexible(version)
        codec = api.request_codec(version) if cls is api.request else api.response_codec(version)
        raw = b"".join(codec.encode(value))
        # their ApiVersionsResponse overrides decode to read every error as version 0; the schema is asked here
        theirs = ApiMessage.decode.__func__(oracle, raw, version=version)
        ours = plain(cls, value, version, flexible, oracle)
        self.assertEqual(same(ours, theirs.to_dict(json=False)), ours)
        again = bytes(built(oracle, version, ours).encode(version=version))
        self.assertEqual(codec.decode(again), (value, len(again)))

    def check(self, api: Api, cls: type, version: int) -> None:
        oracle = ORACLES[f"{api.name}{cls.__name__}"]

        @settings(deadline=None, max_examples=12, database=None)
        @given(messages(cls, version, api.is_flexible(version)))
        def compare(value: Any) -> None:
            self.compare(api, cls, version, value, oracle)

        compare()

    def test_requests(self) -> None:
        """Requests of all APIs and versions."""
        for api in ALL:
            for version in api.versions:
                self.check(api, api.request, version)

    def test_responses(self) -> None:
        """Responses of all APIs and versions."""
        for api in ALL:
            for version in api.versions:
                self.check(api, api.response, version)
