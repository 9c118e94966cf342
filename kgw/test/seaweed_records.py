"""What the engine does with published records, by protobuf's own code: the oracle of the record codec's tests."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import strategies as st

from kgw.engine.seaweed.log_file import LogEntry
from kgw.engine.seaweed.proto import filer_pb2, mq_broker_pb2
from kgw.wire.records import NewRecord

NOW_MS = 1_790_000_000_000
NOW_NS = NOW_MS * 1_000_000 + 123_456

_FNV_OFFSET, _FNV_PRIME = 2166136261, 16777619


def key_hash(key: bytes) -> int:
    """FNV-1a of 32 bits as a signed number: what the engine writes of a key."""
    number = _FNV_OFFSET
    for byte in key:
        number = (number ^ byte) * _FNV_PRIME & 0xFFFFFFFF
    return number - (1 << 32) if number >> 31 else number


def messages_of(data: bytes, shortest: bool = True) -> list[tuple[bytes, bytes, int]]:
    """
    Key, value and ts_ns of each message as a gRPC server reads them.

    @param shortest: they are written as protobuf itself writes them.
    """
    found = []
    at = 0
    while at < len(data):
        compressed, size = struct.unpack_from(">BI", data, at)
        at += 5
        request = mq_broker_pb2.PublishMessageRequest.FromString(data[at : at + size])
        if compressed or size > len(data) - at or (shortest and request.SerializeToString() != data[at : at + size]):
            raise AssertionError("protobuf would have written it otherwise")
        found.append((request.data.key, request.data.value, request.data.ts_ns))
        at += size
    return found


def stored(data: bytes, first_offset: int, shortest: bool = True) -> list[LogEntry]:
    """The entries that come of messages."""
    messages = enumerate(messages_of(data, shortest), first_offset)
    return [LogEntry(offset, ts_ns, key, value) for offset, (key, value, ts_ns) in messages]


def entry_bytes(entry: LogEntry) -> bytes:
    """One entry without its length, as the engine writes it."""
    data: bytes = filer_pb2.LogEntry(
        ts_ns=entry.ts_ns,
        partition_key_hash=key_hash(entry.key),
        data=entry.value,
        key=entry.key,
        offset=entry.offset,
    ).SerializeToString()
    return data


def log_bytes(entries: Iterable[LogEntry]) -> bytes:
    """A log file."""
    return framed([entry_bytes(entry) for entry in entries])


def framed(entries: Sequence[bytes]) -> bytes:
    """Entries with their lengths in front."""
    return b"".join(struct.pack(">I", len(entry)) + entry for entry in entries)


def record_value(data: bytes) -> Any:
    """
    Read C{data} as a C{RecordValue} that has columns in field 1 and the envelope in field 1000.

    The message's fields are C{fields} (here: any bytes) and C{envelope}.
    """
    return _RECORD_VALUE.FromString(data)


def _record_value_class() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="kgw/test/record_value.proto", package="kgw.test", syntax="proto3")
    message = file.message_type.add(name="RecordValue")
    kind = descriptor_pb2.FieldDescriptorProto
    message.field.add(name="fields", number=1, type=kind.TYPE_BYTES, label=kind.LABEL_REPEATED)
    message.field.add(name="envelope", number=1000, type=kind.TYPE_BYTES, label=kind.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("kgw.test.RecordValue"))


_RECORD_VALUE = _record_value_class()

#: Bytes of all kinds of lengths, and such as begin like an envelope.
blobs = st.one_of(
    st.binary(max_size=20),
    st.integers(0, 300).map(lambda size: b"x" * size),
    st.integers(16_380, 16_390).map(bytes),
    st.binary(max_size=20).map(lambda tail: b"\xc2\x3e" + tail),
    st.binary(max_size=20).map(lambda tail: b"\xc2\x3e\x10kg\x01" + tail),
)
timestamps = st.one_of(
    st.integers(NOW_MS - 50, NOW_MS + 150),
    st.integers(NOW_MS - 11_000, NOW_MS + 1_000),
    st.sampled_from([-1, 0, 1, -5_000]),
    st.integers(-(1 << 61), 1 << 61),
)
header_lists = st.one_of(
    st.just(()),
    st.lists(st.tuples(st.text(max_size=8), st.none() | st.binary(max_size=8) | st.just(b"h" * 200)), max_size=4).map(
        tuple
    ),
)
new_records = st.one_of(
    st.builds(NewRecord, st.none() | blobs, st.none() | blobs, header_lists, timestamps),
    # plain ones, so that there are stretches of them
    st.builds(NewRecord, st.none(), st.just(b"value"), st.just(()), st.just(NOW_MS)),
)
record_lists = st.lists(new_records, min_size=1, max_size=12)
