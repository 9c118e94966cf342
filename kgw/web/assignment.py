"""The partitions in what a consumer was assigned: the one thing inside an assignment that people look for."""

from __future__ import annotations

import struct

_HEAD = struct.Struct(">hi")
_LENGTH = struct.Struct(">h")
_COUNT = struct.Struct(">i")


def parse_assignment(assignment: bytes) -> dict[str, list[int]] | None:
    """
    Partitions by topic (Kafka: C{ConsumerProtocolAssignment}).

    All versions begin as version 0 does: a version, then an array of names with an array of partitions each.

    @return: C{None} where the bytes are no assignment.
    """
    found: dict[str, list[int]] = {}
    try:
        version, topics = _HEAD.unpack_from(assignment)
        if version < 0 or topics < 0:
            return None
        at = _HEAD.size
        for _ in range(topics):
            (length,) = _LENGTH.unpack_from(assignment, at)
            at += _LENGTH.size
            if length < 0 or at + length > len(assignment):
                return None
            name = assignment[at : at + length].decode()
            at += length
            (count,) = _COUNT.unpack_from(assignment, at)
            at += _COUNT.size
            # looked at before anything is made of it: the number may be any
            if count < 0 or at + 4 * count > len(assignment):
                return None
            found.setdefault(name, []).extend(struct.unpack_from(f">{count}i", assignment, at))
            at += 4 * count
    except (struct.error, UnicodeDecodeError):
        return None
    return found
