"""
Whether what was written with an original Protobuf schema means the same by an updated one: Confluent's rules on fields.

Beyond Confluent's newest, numeric fields that become repeated or cease to be are seen (by a name that it has for that,
C{FIELD_NUMERIC_LABEL_CHANGED}), and optional ones that become required. Messages of imported files are compared where
fields use them.

Source: Confluent's C{Difference.Type} of Protobuf, https://protobuf.dev/programming-guides/proto3/#updating
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pb2 import FieldDescriptorProto

from kgw.schema.compatibility.findings import Findings, Pairs, UnusableSchema, found, joined, under
from kgw.schema.model import RegistryUnavailable, ResolvedSchema, Undecodable
from kgw.schema.protobuf_files import file_descriptor

#: Scalar types in groups, within which a value is read as another one of the same bytes.
_SCALARS: dict[int, str] = {
    FieldDescriptor.TYPE_INT32: "varint",
    FieldDescriptor.TYPE_INT64: "varint",
    FieldDescriptor.TYPE_UINT32: "varint",
    FieldDescriptor.TYPE_UINT64: "varint",
    FieldDescriptor.TYPE_BOOL: "varint",
    FieldDescriptor.TYPE_ENUM: "varint",
    FieldDescriptor.TYPE_SINT32: "zigzag varint",
    FieldDescriptor.TYPE_SINT64: "zigzag varint",
    FieldDescriptor.TYPE_STRING: "string or bytes",
    FieldDescriptor.TYPE_BYTES: "string or bytes",
    FieldDescriptor.TYPE_FIXED32: "32 bits",
    FieldDescriptor.TYPE_SFIXED32: "32 bits",
    FieldDescriptor.TYPE_FIXED64: "64 bits",
    FieldDescriptor.TYPE_SFIXED64: "64 bits",
    FieldDescriptor.TYPE_FLOAT: "float",
    FieldDescriptor.TYPE_DOUBLE: "double",
}
_TEXT = "string or bytes"


def read(schema: ResolvedSchema) -> Any:
    """
    The descriptor of a schema's file; it blocks, as text is compiled.

    @raise UnusableSchema: it is no Protobuf schema, or cannot be compiled here.
    """
    try:
        return file_descriptor(schema)
    except Undecodable as error:
        raise UnusableSchema(error.reason) from error
    except RegistryUnavailable as error:
        raise UnusableSchema(error.message or "it cannot be compiled here") from error


def unreadable(reader: Any, writer: Any) -> Findings:
    """
    What of a writer's data a reader would lose or take for something else; nothing if all is right.

    @param reader: the descriptor of its file.
    @param writer: likewise.
    @raise UnusableSchema: they are too intricate.
    """
    return joined(_Comparison(writer, reader).files())


class _Comparison:
    """One original file against one update."""

    def __init__(self, original: Any, update: Any) -> None:
        self._original = original
        self._update = update
        self._pairs = Pairs()

    def files(self) -> Iterator[Findings]:
        """The findings of the two files."""
        was, now = self._original, self._update
        if was.package != now.package:
            yield found("PACKAGE_CHANGED", f"the package was {was.package or 'none'}, is {now.package or 'none'}")
        yield from self._messages(was.message_types_by_name, now.message_types_by_name)

    def _messages(self, was: Any, now: Any) -> Iterator[Findings]:
        """Messages by name, of files or within messages."""
        for name, message in was.items():
            if _is_entry(message):
                continue  # it belongs to the field that is the map
            if name in now:
                yield under(name, self._message(message, now[name]))
            else:
                yield found("MESSAGE_REMOVED", "the message is gone", f"/{name}")

    def _message(self, original: Any, update: Any) -> Findings:
        return self._pairs.judge((original, update), lambda: joined(self._compared(original, update)))

    def _compared(self, original: Any, update: Any) -> Iterator[Findings]:
        was = {field.number: field for field in original.fields}
        now = {field.number: field for field in update.fields}
        for number, field in sorted(now.items()):
            if number in was:
                yield under(str(number), self._field(was[number], field))
            elif field.is_required:
                yield found("REQUIRED_FIELD_ADDED", f"{field.name} is new and required", f"/{number}")
        for number, field in sorted(was.items()):
            if number in now:
                continue
            oneof = _oneof(field)
            if field.is_required:
                yield found("REQUIRED_FIELD_REMOVED", f"{field.name}, which was required, is gone", f"/{number}")
            elif oneof is not None and oneof.name in _oneofs(update):
                text = f"{field.name} is gone from oneof {oneof.name}"
                yield found("ONEOF_FIELD_REMOVED", text, f"/{oneof.name}/{number}")
        yield from _moved(was, update)
        yield from self._messages(original.nested_types_by_name, update.nested_types_by_name)

    def _field(self, original: Any, update: Any) -> Findings:
        before, after = _kind(original), _kind(update)
        if before != after:
            return found("FIELD_KIND_CHANGED", f"{update.name} was {_named(original)}, is {_named(update)}")
        changed: list[Findings] = []
        if update.is_required and not original.is_required:
            changed.append(found("REQUIRED_FIELD_ADDED", f"{update.name} is required now"))
        if before == "map":
            for step in ("key", "value"):
                sides = (one.message_type.fields_by_name[step] for one in (original, update))
                changed.append(under(step, self._field(*sides)))
        elif before == "scalar":
            changed.append(_scalar(original, update))
        else:
            changed.append(self._named_type(original, update))
        return joined(changed)

    def _named_type(self, original: Any, update: Any) -> Findings:
        was, now = original.message_type, update.message_type
        if _local_name(was) != _local_name(now):
            text = f"{update.name} was {was.full_name}, is {now.full_name}"
            return found("FIELD_NAMED_TYPE_CHANGED", text)
        if was.file.name == self._original.name and now.file.name == self._update.name:
            return ()  # compared where it stands
        below = self._message(was, now)
        if not below:
            return ()
        return joined([below, found("FIELD_NAMED_TYPE_CHANGED", f"{now.full_name}, which {update.name} is, changed")])


def _moved(was: dict[int, Any], update: Any) -> Iterator[Findings]:
    """Fields that came into a oneof, where each wipes out what others had."""
    for name, oneof in _oneofs(update).items():
        known = [was[field.number] for field in oneof.fields if field.number in was]
        outside = [field for field in known if _oneof(field) is None]
        names = ", ".join(field.name for field in outside)
        if len(outside) > 1:
            yield found("MULTIPLE_FIELDS_MOVED_TO_ONEOF", f"{names} are in oneof {name} now", f"/{name}")
        elif outside and len(known) > 1:
            yield found("FIELD_MOVED_TO_EXISTING_ONEOF", f"{names} is in oneof {name} now", f"/{name}")
        elif len({_oneof(field).name for field in known if _oneof(field) is not None}) > 1:
            text = f"fields of several oneofs are in oneof {name} now"
            yield found("MULTIPLE_FIELDS_MOVED_TO_ONEOF", text, f"/{name}")


def _scalar(original: Any, update: Any) -> Findings:
    before, after = _SCALARS[original.type], _SCALARS[update.type]
    if before != after:
        text = f"{update.name} was {_named(original)}, is {_named(update)}"
        return found("FIELD_SCALAR_KIND_CHANGED", text)
    if before != _TEXT and original.is_repeated != update.is_repeated:
        text = f"{update.name}, a number, {'became repeated' if update.is_repeated else 'was repeated'}"
        return found("FIELD_NUMERIC_LABEL_CHANGED", text)
    return ()


def _kind(field: Any) -> str:
    """What must not change: a message does not even stand on the wire as a group does."""
    if field.type == FieldDescriptor.TYPE_GROUP:
        return "group"
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        return "map" if _is_entry(field.message_type) else "message"
    return "scalar"


def _named(field: Any) -> str:
    kind = _kind(field)
    return kind if kind != "scalar" else FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()


def _is_entry(message: Any) -> bool:
    """Whether a message is what a map is made of."""
    return bool(message.GetOptions().map_entry)


def _local_name(message: Any) -> str:
    """A message's full name without its package."""
    package: str = message.file.package
    name: str = message.full_name
    return name.removeprefix(f"{package}.") if package else name


def _oneof(field: Any) -> Any:
    """The oneof around a field; an optional one of proto3 stands in one that nobody wrote."""
    oneof = field.containing_oneof
    return None if oneof is None or _is_made_up(oneof) else oneof


def _oneofs(message: Any) -> dict[str, Any]:
    return {oneof.name: oneof for oneof in message.oneofs if not _is_made_up(oneof)}


def _is_made_up(oneof: Any) -> bool:
    return len(oneof.fields) == 1 and oneof.name == f"_{oneof.fields[0].name}" and oneof.fields[0].has_presence
