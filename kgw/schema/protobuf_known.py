"""The .proto files that schemas import and nobody registers: Google's well-known types and Confluent's own.

The Protobuf serializers have these with them and leave them out of the references they register. google/type is there
where googleapis-common-protos is installed.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.util import find_spec

from google.protobuf import descriptor_pb2, text_format

#: Google's, as modules of google.protobuf.
_WELL_KNOWN = (
    "any",
    "api",
    "compiler/plugin",
    "descriptor",
    "duration",
    "empty",
    "field_mask",
    "source_context",
    "struct",
    "timestamp",
    "type",
    "wrappers",
)
#: As modules of google.type.
_TYPES = (
    "calendar_period",
    "color",
    "date",
    "datetime",
    "dayofweek",
    "decimal",
    "expr",
    "fraction",
    "interval",
    "latlng",
    "localized_text",
    "money",
    "month",
    "phone_number",
    "postal_address",
    "quaternion",
    "timeofday",
)

#: confluent/meta.proto and the types beside it, as Confluent's serializers have them, as text of FileDescriptorProtos.
_EXTENSION = """
extension {{
  name: "{name}" extendee: ".google.protobuf.{extendee}" number: 1088
  label: LABEL_OPTIONAL type: TYPE_MESSAGE type_name: ".confluent.Meta"
}}
"""
_META = """
name: "confluent/meta.proto" package: "confluent" syntax: "proto3"
dependency: "google/protobuf/descriptor.proto"
message_type {
  name: "Meta"
  field { name: "doc" number: 1 label: LABEL_OPTIONAL type: TYPE_STRING }
  field {
    name: "params" number: 2 label: LABEL_REPEATED type: TYPE_MESSAGE type_name: ".confluent.Meta.ParamsEntry"
  }
  field { name: "tags" number: 3 label: LABEL_REPEATED type: TYPE_STRING }
  field { name: "rules" number: 4 label: LABEL_REPEATED type: TYPE_MESSAGE type_name: ".confluent.Rule" }
  nested_type {
    name: "ParamsEntry"
    field { name: "key" number: 1 label: LABEL_OPTIONAL type: TYPE_STRING }
    field { name: "value" number: 2 label: LABEL_OPTIONAL type: TYPE_STRING }
    options { map_entry: true }
  }
}
message_type {
  name: "Rule"
  field { name: "name" number: 1 label: LABEL_OPTIONAL type: TYPE_STRING }
  field { name: "doc" number: 2 label: LABEL_OPTIONAL type: TYPE_STRING }
  field { name: "expr" number: 3 label: LABEL_OPTIONAL type: TYPE_STRING }
  field { name: "sql" number: 4 label: LABEL_OPTIONAL type: TYPE_STRING }
}
""" + "".join(
    _EXTENSION.format(name=name, extendee=extendee)
    for name, extendee in (
        ("file_meta", "FileOptions"),
        ("message_meta", "MessageOptions"),
        ("field_meta", "FieldOptions"),
        ("enum_meta", "EnumOptions"),
        ("enum_value_meta", "EnumValueOptions"),
    )
)
_DECIMAL = """
name: "confluent/type/decimal.proto" package: "confluent.type" syntax: "proto3"
message_type {
  name: "Decimal"
  field { name: "value" number: 1 label: LABEL_OPTIONAL type: TYPE_BYTES }
  field { name: "precision" number: 2 label: LABEL_OPTIONAL type: TYPE_UINT32 }
  field { name: "scale" number: 3 label: LABEL_OPTIONAL type: TYPE_INT32 }
}
"""
_OLD_DECIMAL = """
name: "confluent/types/decimal.proto" syntax: "proto3"
dependency: "confluent/type/decimal.proto" public_dependency: 0
"""
_VARIANT = """
name: "confluent/type/variant.proto" package: "confluent.type" syntax: "proto3"
message_type {
  name: "Variant"
  field { name: "metadata" number: 1 label: LABEL_OPTIONAL type: TYPE_BYTES }
  field { name: "value" number: 2 label: LABEL_OPTIONAL type: TYPE_BYTES }
}
"""
_CONFLUENT = (_META, _DECIMAL, _OLD_DECIMAL, _VARIANT)

#: What begins so is Google's, and taken as it stands here whatever a registry has under the name.
RESERVED = "google/protobuf/"


@cache
def known_files() -> dict[str, bytes]:
    """The files as serialized C{FileDescriptorProto}s, by name; made once, and not to be changed."""
    modules = [f"google.protobuf.{name.replace('/', '.')}_pb2" for name in _WELL_KNOWN]
    # the package google belongs to several distributions, so that its parts are asked for one by one
    if find_spec("google.type") is not None:
        modules += [name for name in (f"google.type.{name}_pb2" for name in _TYPES) if find_spec(name) is not None]
    files = {}
    for module in modules:
        found = import_module(module).DESCRIPTOR
        files[found.name] = bytes(found.serialized_pb)
    for text in _CONFLUENT:
        file = text_format.Parse(text, descriptor_pb2.FileDescriptorProto())
        files[file.name] = file.SerializeToString()
    return files
