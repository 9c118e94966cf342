"""The columns of a Protobuf message: field by field in the order declared, messages within as records.

bool, float, double, string and bytes are what they are. Integers of 32 bits are INT32 and those of 64 bits INT64, but
C{uint32} and C{fixed32} INT64, so that none changes its value, and C{uint64} and C{fixed64} INT64 in two's complement,
so that those from 2**63 up read as negative. An enum is INT32, its number. Members of a oneof are columns as others.
A map is a list of records with C{key} and C{value}, which is what Protobuf itself takes a map to be: columns are named
once for all rows, keys keep their type, and values of messages have their columns.

Where a message has itself within, or is too deep, or would have more columns than there may be, it is one column of
BYTES with the message as Protobuf writes it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from kgw.schema.columns import Column, ColumnType, ListOf, RecordOf, Scalar

#: How many columns a message has, those of messages within it included. Messages may share others without end, so that
#: a schema of a page would have more columns than there is memory.
MOST_COLUMNS = 2048
#: How many messages stand in one another and still have columns. L{kgw.schema.record_type.MOST_DEPTH} bounds it: a map
#: of messages takes three of those.
MOST_LEVELS = 10
#: A field with a longer name has no column: names stand in each row.
MOST_NAME = 255

_SCALARS = {
    FieldDescriptor.TYPE_BOOL: Scalar.BOOL,
    FieldDescriptor.TYPE_INT32: Scalar.INT32,
    FieldDescriptor.TYPE_SINT32: Scalar.INT32,
    FieldDescriptor.TYPE_SFIXED32: Scalar.INT32,
    FieldDescriptor.TYPE_ENUM: Scalar.INT32,
    FieldDescriptor.TYPE_INT64: Scalar.INT64,
    FieldDescriptor.TYPE_SINT64: Scalar.INT64,
    FieldDescriptor.TYPE_SFIXED64: Scalar.INT64,
    FieldDescriptor.TYPE_UINT32: Scalar.INT64,
    FieldDescriptor.TYPE_FIXED32: Scalar.INT64,
    FieldDescriptor.TYPE_UINT64: Scalar.INT64,
    FieldDescriptor.TYPE_FIXED64: Scalar.INT64,
    FieldDescriptor.TYPE_FLOAT: Scalar.FLOAT,
    FieldDescriptor.TYPE_DOUBLE: Scalar.DOUBLE,
    FieldDescriptor.TYPE_STRING: Scalar.STRING,
    FieldDescriptor.TYPE_BYTES: Scalar.BYTES,
}


@dataclass(slots=True)
class FieldColumn:
    """
    A field that has a column.

    @ivar descriptor: Protobuf's C{FieldDescriptor}.
    @ivar key: of a map the C{FieldDescriptor} of its keys; C{None}: it is no map.
    @ivar value: the C{FieldDescriptor} of one value: of a map that of its values, else C{descriptor}.
    @ivar message: the columns of the message that a value is; C{None}: it is none, or one that is cut to its bytes.
    """

    descriptor: Any
    key: Any
    value: Any
    message: MessageColumns | None = None

    @property
    def element(self) -> ColumnType:
        """The type of one value."""
        if self.message is not None:
            return self.message.record
        return Scalar.BYTES if self.value.message_type is not None else scalar_of(self.value)

    @property
    def column(self) -> Column:
        """The column as it is declared."""
        kind = self.element
        if self.key is not None:
            entry = RecordOf((Column("key", scalar_of(self.key), required=True), Column("value", kind)))
            return Column(self.descriptor.name, ListOf(entry))
        if self.descriptor.is_repeated:
            return Column(self.descriptor.name, ListOf(kind))
        return Column(self.descriptor.name, kind, required=bool(self.descriptor.is_required))


_NONE_YET = RecordOf()


@dataclass(slots=True)
class MessageColumns:
    """
    The columns of a message.

    @ivar descriptor: Protobuf's C{Descriptor}.
    @ivar within: the full names of the messages it stands in, and its own.
    @ivar fields: those that have columns, in the order declared.
    @ivar record: the columns, once all are known.
    @ivar size: how many they are, with those of messages within.
    """

    descriptor: Any
    within: frozenset[str]
    fields: list[FieldColumn] = field(default_factory=list)
    record: RecordOf = _NONE_YET
    size: int = 0


def scalar_of(descriptor: Any) -> Scalar:
    """The type that one value of a field has, which is no message."""
    return _SCALARS[descriptor.type]


def is_map_entry(message: Any) -> bool:
    """Whether a message is what a map is made of, and was never written in a .proto file."""
    return bool(message.has_options and message.GetOptions().map_entry)


def message_columns(descriptor: Any) -> MessageColumns:
    """
    The columns of a message and of those within it; found level by level, so that the deepest are what is cut.

    @param descriptor: Protobuf's C{Descriptor}.
    """
    root = MessageColumns(descriptor, frozenset((descriptor.full_name,)))
    root.fields = _fields(descriptor)[:MOST_COLUMNS]
    left = MOST_COLUMNS - len(root.fields)
    found, level = [root], [root]
    for _ in range(MOST_LEVELS - 1):
        places = [(above, one) for above in level for one in above.fields if _may_have_columns(above, one)]
        wanted = sum(len(one.value.message_type.fields) for _above, one in places)
        # messages without fields count too: there may be as many of them
        wanted += len(places)
        if not places or wanted > left:
            break
        left -= wanted
        level = []
        for above, one in places:
            inner = one.value.message_type
            one.message = MessageColumns(inner, above.within | {inner.full_name}, _fields(inner))
            level.append(one.message)
        found += level
    for message in reversed(found):
        message.record = RecordOf(tuple(one.column for one in message.fields))
        inner_sizes = (one.message.size for one in message.fields if one.message is not None)
        message.size = len(message.fields) + sum(inner_sizes)
    return root


def _may_have_columns(above: MessageColumns, one: FieldColumn) -> bool:
    inner = one.value.message_type
    return inner is not None and inner.full_name not in above.within


def _fields(message: Any) -> list[FieldColumn]:
    found = []
    for descriptor in message.fields:
        if len(descriptor.name) > MOST_NAME:
            continue
        inner = descriptor.message_type
        if inner is not None and is_map_entry(inner):
            names = inner.fields_by_name
            found.append(FieldColumn(descriptor, names["key"], names["value"]))
        else:
            found.append(FieldColumn(descriptor, None, descriptor))
    return found
