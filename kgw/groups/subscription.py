"""The topics in what a consumer tells its leader, the one thing inside a member's metadata that a broker looks at."""

from __future__ import annotations

import struct

#: The protocol type of consumers (Kafka: C{ConsumerProtocol.PROTOCOL_TYPE}); all others are opaque.
CONSUMER = "consumer"

_HEAD = struct.Struct(">hi")
_LENGTH = struct.Struct(">h")


def parse_topics(metadata: bytes) -> frozenset[str] | None:
    """
    The topics a consumer subscribes to.

    All versions of the subscription begin as version 0 does: a version, then an array of names.

    @return: C{None} where the bytes are not a subscription.
    """
    try:
        version, count = _HEAD.unpack_from(metadata)
        if version < 0 or count < 0:
            return None
        at = _HEAD.size
        topics = set()
        for _ in range(count):
            (length,) = _LENGTH.unpack_from(metadata, at)
            at += _LENGTH.size
            if length < 0 or at + length > len(metadata):
                return None
            topics.add(metadata[at : at + length].decode())
            at += length
    except (struct.error, UnicodeDecodeError):
        return None
    return frozenset(topics)
