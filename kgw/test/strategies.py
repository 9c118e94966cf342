"""Hypothesis strategies derived from declared messages."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from kgw.wire.message import Array, FieldSpec, FieldType, split_fields
from kgw.wire.primitives import (
    BOOL,
    BYTES,
    FLOAT64,
    INT8,
    INT16,
    INT32,
    INT64,
    RECORDS,
    STRING,
    UINT16,
    UINT32,
    UUID,
    Scalar,
)

#: No lone surrogates: they are no text in UTF-8.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)

SCALARS: dict[Scalar, st.SearchStrategy[Any]] = {
    BOOL: st.booleans(),
    INT8: st.integers(-(1 << 7), (1 << 7) - 1),
    INT16: st.integers(-(1 << 15), (1 << 15) - 1),
    UINT16: st.integers(0, (1 << 16) - 1),
    INT32: st.integers(-(1 << 31), (1 << 31) - 1),
    UINT32: st.integers(0, (1 << 32) - 1),
    INT64: st.integers(-(1 << 63), (1 << 63) - 1),
    FLOAT64: st.floats(allow_nan=False),
    UUID: st.binary(min_size=16, max_size=16),
    # long ones too, for lengths of two bytes in compact form
    STRING: TEXT | TEXT.map(lambda text: text * 40),
    BYTES: st.binary(max_size=200),
    RECORDS: st.binary(max_size=200),
}


def values(kind: FieldType, version: int, flexible: bool) -> st.SearchStrategy[Any]:
    """Values of a field type that are not null."""
    if isinstance(kind, Array):
        return st.lists(values(kind.element, version, flexible), max_size=3)
    if isinstance(kind, Scalar):
        return SCALARS[kind]
    return messages(kind, version, flexible)


def field_values(spec: FieldSpec, version: int, flexible: bool) -> st.SearchStrategy[Any]:
    """Lawful values of a field, null where it may be."""
    found = values(spec.type, version, flexible)
    return st.none() | found if spec.may_be_null(version) else found


def messages(cls: type, version: int, flexible: bool) -> st.SearchStrategy[Any]:
    """
    Messages as they can be in one version: fields it does not carry keep their defaults, and so may tagged ones.
    """
    regular, tagged = split_fields(cls, version, flexible)
    always = {spec.name: field_values(spec, version, flexible) for spec in regular}
    perhaps = {spec.name: field_values(spec, version, flexible) for spec in tagged}
    return st.fixed_dictionaries(always, optional=perhaps).map(lambda found: cls(**found))
