"""The codec of Protobuf: messages in Confluent's framing, found by their indexes, as columns and rows."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from google.protobuf import message_factory
from google.protobuf.message import DecodeError

from kgw.schema.columns import RecordOf
from kgw.schema.framing import FIRST, readings
from kgw.schema.model import ResolvedSchema, Undecodable
from kgw.schema.protobuf_columns import MOST_COLUMNS, is_map_entry, message_columns
from kgw.schema.protobuf_files import file_descriptor
from kgw.schema.protobuf_rows import row_writer

#: How many columns of messages a codec keeps, all together: more than those of any one message. Beyond it they are made
#: anew for a message that comes again.
MOST_KEPT = 2 * MOST_COLUMNS
_NO_MESSAGE = "it is no message of a type that the schema has"
_NO_SUCH_TYPE = "it names a message type that the schema does not have"
_INCOMPLETE = "a field that the schema requires is missing"
_NO_TEXT = "the keys of a map are no text in UTF-8"


class MessageType:
    """
    One type of messages, ready to be read and written.

    @ivar name: in full, with the package in front.
    @ivar record: its columns.
    @ivar size: how many, with those within.
    @ivar parse: bytes to message; raises C{DecodeError}.
    @ivar write: a message to the fields of a C{RecordValue}.
    @ivar whole: whether a message has all fields that proto2 requires.
    @ivar may_lack: there are fields that proto2 requires, which the parser does not look after.
    """

    __slots__ = ("may_lack", "name", "parse", "record", "size", "whole", "write")

    def __init__(self, descriptor: Any) -> None:
        columns = message_columns(descriptor)
        self.name: str = descriptor.full_name
        self.record = columns.record
        self.size = columns.size
        made = message_factory.GetMessageClass(descriptor)
        self.parse: Callable[[bytes], Any] = made.FromString
        # of the class: messages may have fields that are called so
        self.whole: Callable[[Any], bool] = made.IsInitialized
        self.write = row_writer(columns)
        self.may_lack = _has_required(descriptor)


class ProtobufCodec:
    """
    Reads the messages of one schema (L{kgw.schema.codec.Codec}).

    To make one may take tens of milliseconds, in which the thread waits for another process
    (L{kgw.schema.protobuf_compiler}); any thread may. To read messages blocks nobody, and may be done on any as well.

    Which message of the file a value is stands in front of it. What stands there is a guess (L{readings}): the first
    reading of which a message comes out is taken. Unknown fields are no error, as they are none to Protobuf; bytes that
    are no fields, text of proto3 that is no UTF-8, and the lack of a field that proto2 requires are.
    """

    format = "PROTOBUF"

    def __init__(self, resolved: ResolvedSchema) -> None:
        """
        @raise Undecodable: the schema cannot be used.
        @raise kgw.schema.protobuf_compiler.CompilerUnavailable: it cannot be compiled for now.
        """
        self._messages = _Messages(file_descriptor(resolved))
        self._lock = threading.Lock()
        self._types: dict[tuple[int, ...], tuple[MessageType, ...]] = {}
        # the types of payloads that begin with a way of one short index, by those two bytes
        self._short: dict[bytes, MessageType] = {}
        self._kept = 0
        if not self._messages:
            raise Undecodable("the schema has no messages")
        (self._first,) = self._types_at(FIRST)

    def check(self, payload: bytes, indexes: tuple[int, ...] | None = None) -> None:
        """See whether a value is a message of the schema; see L{kgw.schema.codec.Codec.check}."""
        self._read(payload, indexes)

    def row(self, payload: bytes, indexes: tuple[int, ...] | None = None) -> tuple[RecordOf, bytes]:
        """A message as columns; see L{kgw.schema.codec.Codec.row}."""
        kind, message = self._read(payload, indexes)
        try:
            return kind.record, kind.write(message)
        except UnicodeDecodeError as error:
            raise Undecodable(_NO_TEXT) from error

    def message_name(self, payload: bytes, indexes: tuple[int, ...] | None = None) -> str:
        """
        The full name of the type that a value is of, which subjects may be named by; arguments as of L{check}.

        @return: empty where it is none. A name does not say that L{check} will find nothing wrong.
        """
        if indexes is None and payload[:1] == b"\0":
            return self._first.name
        try:
            return self._read(payload, indexes)[0].name
        except Undecodable:
            return ""

    def _read(self, payload: bytes, indexes: tuple[int, ...] | None) -> tuple[MessageType, Any]:
        # by far the most: the short form of the first message
        if indexes is None and payload[:1] == b"\0" and not self._first.may_lack:
            try:
                return self._first, self._first.parse(payload[1:])
            except DecodeError as error:
                # no message begins with a zero byte, so there is no other reading
                raise Undecodable(_NO_MESSAGE) from error
        if indexes is None:
            short = self._short.get(payload[:2])
            if short is not None:
                try:
                    return short, short.parse(payload[2:])
                except DecodeError:
                    # there may be another reading
                    return self._search(payload, None)
        return self._search(payload, indexes)

    def _search(self, payload: bytes, indexes: tuple[int, ...] | None) -> tuple[MessageType, Any]:
        """The first reading of which a message comes out."""
        ways = readings(payload) if indexes is None else iter(((indexes, 0),))
        wrong = _NO_SUCH_TYPE
        for way, start in ways:
            data = payload[start:]
            for kind in self._types_at(way):
                try:
                    message = kind.parse(data)
                except DecodeError:
                    if wrong != _INCOMPLETE:
                        wrong = _NO_MESSAGE
                    continue
                if not kind.may_lack or kind.whole(message):
                    if start == 2 and payload[0] == 2 and not kind.may_lack:
                        self._short[payload[:2]] = kind
                    return kind, message
                wrong = _INCOMPLETE
        raise Undecodable(wrong)

    def _types_at(self, way: tuple[int, ...]) -> tuple[MessageType, ...]:
        """The types that indexes may mean, the likeliest first; made where they are asked for the first time."""
        found = self._types.get(way)
        if found is not None:
            return found
        descriptors = self._messages.at(way)
        if not descriptors:
            return ()
        with self._lock:
            found = self._types.get(way)
            if found is None:
                found = tuple(map(MessageType, descriptors))
                self._kept += sum(kind.size + 1 for kind in found)
                if self._kept > MOST_KEPT:
                    # those of the first message stay
                    self._types = {FIRST: self._types[FIRST]} if FIRST in self._types else {}
                    self._short = {}
                    self._kept = sum(kind.size + 1 for kind in found)
                self._types[way] = found
        return found


class _Messages:
    """
    The messages of a file by the ways to them.

    There are two counts. Descriptors have the entries of maps among the messages within a message: clients that count
    in descriptors count them, Java's serializer counts the messages in the text of the file.
    """

    def __init__(self, file: Any) -> None:
        self._top = list(file.message_types_by_name.values())
        # made once for each, since any record may ask
        self._within: dict[str, tuple[list[Any], list[Any]]] = {}

    def __len__(self) -> int:
        return len(self._top)

    def at(self, way: tuple[int, ...]) -> list[Any]:
        """What a way leads to, at most two, the likeliest first. No value is the entry of a map itself."""
        found: list[Any] = []
        for count in (0, 1):
            message = self._at(way, count)
            if message is not None and not is_map_entry(message) and message not in found:
                found.append(message)
        return found

    def _at(self, way: tuple[int, ...], count: int) -> Any:
        messages, found = self._top, None
        for index in way:
            if index >= len(messages):
                return None
            found = messages[index]
            counts = self._within.get(found.full_name)
            if counts is None:
                within = list(found.nested_types)
                counts = within, [message for message in within if not is_map_entry(message)]
                self._within[found.full_name] = counts
            messages = counts[count]
        return found


def _has_required(descriptor: Any) -> bool:
    """Whether a message, or any within it, has fields that have to be there; extensions are not looked at."""
    seen = {descriptor.full_name}
    left = [descriptor]
    while left:
        for field in left.pop().fields:
            if field.is_required:
                return True
            inner = field.message_type
            if inner is not None and inner.full_name not in seen:
                seen.add(inner.full_name)
                left.append(inner)
    return False
