"""The columns that the records of a topic have in SeaweedMQ: its C{RecordType}, without its wire format."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias


class Scalar(IntEnum):
    """SeaweedMQ's C{ScalarType}, as far as kgw declares columns so; the numbers are the engine's."""

    BOOL = 0
    INT32 = 1
    INT64 = 3
    FLOAT = 4
    DOUBLE = 5
    BYTES = 6
    STRING = 7


@dataclass(frozen=True, slots=True)
class ListOf:
    """A column that has a list in each row."""

    element: ColumnType


@dataclass(frozen=True, slots=True)
class RecordOf:
    """
    A column that has columns itself, or the columns of a topic.

    @ivar columns: in the order in which the schema declares them, their names all different.
    """

    columns: tuple[Column, ...] = ()


ColumnType: TypeAlias = Scalar | ListOf | RecordOf


@dataclass(frozen=True, slots=True)
class Column:
    """
    One column.

    @ivar required: every row has a value.
    """

    name: str
    type: ColumnType
    required: bool = False
