"""Reads the golden data beside it: bytes and tables that other programs made."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

from kgw.wire.message import Array, FieldType, fields_of
from kgw.wire.primitives import BYTES, RECORDS, UUID, Scalar

HERE = Path(__file__).parent


def load(name: str) -> Any:
    """The content of one file, C{vectors/Fetch} or C{errors} for instance."""
    return json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))


def build(kind: FieldType, value: Any) -> Any:
    """The message, or the value of a field, that a vector's JSON stands for."""
    if value is None:
        return None
    if isinstance(kind, Array):
        return [build(kind.element, item) for item in value]
    if isinstance(kind, Scalar):
        if kind is UUID:
            return uuid.UUID(value).bytes
        return bytes.fromhex(value) if kind in (BYTES, RECORDS) else value
    return kind(**{spec.name: build(spec.type, value[spec.name]) for spec in fields_of(kind) if spec.name in value})
