"""Protobuf schemas for tests, and what their messages are as values of columns, told by google.protobuf's own means."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf import descriptor_pb2, message_factory
from google.protobuf.descriptor import FieldDescriptor
from hypothesis import strategies as st

from kgw.schema.model import RegisteredSchema, ResolvedSchema, SchemaType
from kgw.schema.protobuf_files import file_descriptor

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)

#: Something of every kind.
EVERYTHING = """
syntax = "proto3";
package shop;
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";
enum Colour { NONE = 0; RED = 3; BLUE = -2; }
message Everything {
  bool truth = 1;
  int32 small = 2;
  sint32 zigzag = 3;
  sfixed32 fixed_signed = 4;
  int64 large = 5;
  sint64 large_zigzag = 6;
  sfixed64 large_fixed = 7;
  uint32 unsigned = 8;
  fixed32 unsigned_fixed = 9;
  uint64 huge = 10;
  fixed64 huge_fixed = 11;
  float single = 12;
  double number = 13;
  string text = 14;
  bytes raw = 15;
  Colour colour = 16;
  optional int32 maybe = 17;
  optional string maybe_text = 18;
  optional double maybe_number = 19;
  Inner inner = 20;
  repeated int32 numbers = 21;
  repeated string texts = 22 ;
  repeated Inner inners = 23;
  repeated Colour colours = 24;
  repeated uint64 huges = 25;
  map<string, int64> counts = 26;
  map<int32, Inner> by_number = 27;
  map<bool, bytes> by_truth = 28;
  map<uint64, double> by_huge = 29;
  oneof choice {
    string name = 30;
    uint32 number_of_it = 31;
    Inner inner_of_it = 32;
  }
  google.protobuf.Timestamp at = 33;
  google.protobuf.StringValue wrapped = 34;
  repeated bool truths = 35;
  repeated float singles = 36;
  Empty nothing = 37;
  Tree tree = 38;
  message Inner {
    int64 id = 2;
    string label = 1;
    repeated bytes parts = 3;
    Deeper deeper = 4;
    message Deeper { optional bool yes = 1; }
  }
  message Empty {}
}
message Tree {
  string name = 1;
  Tree left = 2;
  repeated Tree others = 3;
  map<string, Tree> named = 4;
}
"""


def schema_of(text: str) -> RegisteredSchema:
    """A schema as a registry gives it."""
    return RegisteredSchema(1, SchemaType.PROTOBUF, text)


def resolved(text: str, imports: Mapping[str, str] | None = None) -> ResolvedSchema:
    """A schema with what it imports, texts by name."""
    return ResolvedSchema(schema_of(text), {name: schema_of(other) for name, other in (imports or {}).items()})


def as_base64(descriptor: Any) -> str:
    """A file's descriptor as the Protobuf serializer of Python registers it."""
    return base64.b64encode(descriptor.serialized_pb).decode()


def descriptor_text(file: descriptor_pb2.FileDescriptorProto) -> str:
    """The same of a C{FileDescriptorProto}."""
    return base64.b64encode(file.SerializeToString()).decode()


def message_class(schema: ResolvedSchema, name: str) -> Any:
    """The class of a message, of a pool that no codec has."""
    return message_factory.GetMessageClass(file_descriptor(schema).pool.FindMessageTypeByName(name))


def values_of(message: Any, within: frozenset[str] = frozenset()) -> dict[str, Any]:
    """
    What a message is as a row, by what C{ListFields} says is in it.

    @param within: the full names of the messages it stands in, which are bytes when they come again.
    """
    path = within | {message.DESCRIPTOR.full_name}
    row: dict[str, Any] = {}
    for field, value in message.ListFields():
        inner = field.message_type
        if inner is not None and inner.GetOptions().map_entry:
            one = _value_of(inner.fields_by_name["value"], path)
            row[field.name] = [{"key": _signed(key), "value": one(value[key])} for key in sorted(value)]
        elif field.is_repeated:
            row[field.name] = list(map(_value_of(field, path), value))
        else:
            row[field.name] = _value_of(field, path)(value)
    return row


def _value_of(field: Any, path: frozenset[str]) -> Callable[[Any], Any]:
    if field.message_type is None:
        return _signed
    if field.message_type.full_name in path:
        return lambda message: message.SerializeToString(deterministic=True)
    return lambda message: values_of(message, path)


def _signed(value: Any) -> Any:
    """Numbers from 2**63 up are negative in columns."""
    too_large = isinstance(value, int) and not isinstance(value, bool) and value >= 1 << 63
    return value - (1 << 64) if too_large else value


def _integers(bits: int, signed: bool) -> st.SearchStrategy[int]:
    edge = 1 << bits - 1 if signed else 1 << bits
    low = -edge if signed else 0
    return st.integers(low, edge - 1) | st.sampled_from((0, 1, low, edge - 1))


_T = FieldDescriptor
SCALARS: dict[int, st.SearchStrategy[Any]] = {
    _T.TYPE_BOOL: st.booleans(),
    **dict.fromkeys((_T.TYPE_INT32, _T.TYPE_SINT32, _T.TYPE_SFIXED32), _integers(32, True)),
    **dict.fromkeys((_T.TYPE_INT64, _T.TYPE_SINT64, _T.TYPE_SFIXED64), _integers(64, True)),
    **dict.fromkeys((_T.TYPE_UINT32, _T.TYPE_FIXED32), _integers(32, False)),
    **dict.fromkeys((_T.TYPE_UINT64, _T.TYPE_FIXED64), _integers(64, False)),
    # enums are open
    _T.TYPE_ENUM: st.sampled_from((0, 3, -2)) | _integers(32, True),
    _T.TYPE_FLOAT: st.floats(width=32, allow_nan=False),
    _T.TYPE_DOUBLE: st.floats(allow_nan=False),
    _T.TYPE_STRING: TEXT | TEXT.map(lambda text: text * 60),
    _T.TYPE_BYTES: st.binary(max_size=6) | st.binary(min_size=250, max_size=300),
}


@st.composite
def messages(draw: st.DrawFn, made: Any, depth: int = 0) -> Any:
    """Messages of a class, with some of its fields; deeper than three there are none within."""
    message = made()
    fields = list(made.DESCRIPTOR.fields)
    if not fields:
        return message
    for field in draw(st.lists(st.sampled_from(fields), max_size=6, unique_by=lambda field: str(field.name))):
        value_field, inner = field, field.message_type
        if inner is not None and inner.GetOptions().map_entry:
            value_field = inner.fields_by_name["value"]
            keys = draw(st.lists(SCALARS[inner.fields_by_name["key"].type], max_size=3))
            _fill_map(draw, getattr(message, field.name), keys, value_field, depth)
            continue
        if inner is not None and depth >= 3:
            continue
        one = _values(value_field, depth)
        if field.is_repeated:
            getattr(message, field.name).extend(draw(st.lists(one, max_size=3)))
        elif inner is not None:
            getattr(message, field.name).CopyFrom(draw(one))
        else:
            setattr(message, field.name, draw(one))
    return message


def _values(field: Any, depth: int) -> st.SearchStrategy[Any]:
    inner = field.message_type
    return SCALARS[field.type] if inner is None else messages(message_factory.GetMessageClass(inner), depth + 1)


def _fill_map(draw: st.DrawFn, place: Any, keys: list[Any], field: Any, depth: int) -> None:
    for key in keys:
        if field.message_type is None:
            place[key] = draw(_values(field, depth))
        elif depth < 3:
            place[key].CopyFrom(draw(_values(field, depth)))
