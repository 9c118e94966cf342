"""How groups and their offsets are kept in the state store: keys, and bytes that tell when they are damaged."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import quote, unquote
from zlib import crc32

from kgw.errors import ErrorCode, KafkaError
from kgw.group_model import Caller, CommittedOffset, GroupProtocol
from kgw.groups.effects import GroupSnapshot, MemberSnapshot

#: All facts of groups start with this: C{groups/<group id>/state}, C{groups/<group id>/state/<part>},
#: C{groups/<group id>/since} for what changed since the state was stored whole, and
#: C{groups/<group id>/offsets/<topic>/<partition>}. Offsets that wait for the end of a transaction, once there are
#: transactions, get a noun of their own beside C{offsets}.
PREFIX = "groups/"
#: Where a fact that cannot be read is moved to, with its whole key behind it.
QUARANTINE_PREFIX = "damaged/"

#: The most of a group's state in one fact; a state store takes 1 MiB.
PART_BYTES = 1_000_000

_VERSION = 1
_OFFSET = struct.Struct(">Bqiqq")
_PART = struct.Struct(">BHH")
_CRC_BYTES = 4


class DamagedFact(ValueError):
    """A key or a value is not what this module ever wrote."""


class KeptOffset(NamedTuple):
    """
    A committed offset as it is kept.

    @ivar commit_ms: when it was committed, epoch milliseconds.
    @ivar expire_ms: when it expires if its client said so (OffsetCommit v2 to v4), else -1.
    """

    committed: CommittedOffset
    commit_ms: int
    expire_ms: int = -1


class OffsetPlace(NamedTuple):
    """What the key of an offset says."""

    group_id: str
    topic: str
    partition: int


class StatePlace(NamedTuple):
    """What the key of (a part of) a group's state says."""

    group_id: str
    part: int


class AmendmentPlace(NamedTuple):
    """What the key of an amendment says."""

    group_id: str


class Amendment(NamedTuple):
    """
    What became of a group since its state was stored.

    @ivar generation_id: the last that was given out.
    @ivar left: the members of the state that are not in the group any more, by their places there.
    """

    generation_id: int
    left: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Stored:
    """
    What the store holds of a group's state.

    @ivar parts: how many facts it takes.
    @ivar member_ids: of its members, in its order.
    @ivar amended: whether there may be an amendment to it.
    """

    parts: int = 0
    member_ids: tuple[str, ...] = ()
    amended: bool = False


def group_prefix(group_id: str) -> str:
    """What the keys of one group start with, and those of no other: group ids are any text, and escaped."""
    return f"{PREFIX}{_escaped(group_id)}/"


def offset_key(prefix: str, topic: str, partition: int) -> str:
    """
    The key of a committed offset.

    @param prefix: the group's, from L{group_prefix}.
    """
    return f"{prefix}offsets/{_escaped(topic)}/{partition}"


def state_key(prefix: str, part: int) -> str:
    """
    The key of one part of a group's state.

    @param prefix: the group's, from L{group_prefix}.
    """
    return f"{prefix}state/{part}" if part else f"{prefix}state"


def amendment_key(prefix: str) -> str:
    """
    The key of what changed since the group's state was stored.

    @param prefix: the group's, from L{group_prefix}.
    """
    return f"{prefix}since"


def place_of(key: str) -> OffsetPlace | StatePlace | AmendmentPlace | None:
    """
    What a key stands for; C{None} where a later kgw knows it, perhaps.

    @raise DamagedFact: it is no key of a group at all.
    """
    group_id, _, rest = key.removeprefix(PREFIX).partition("/")
    noun, *path = rest.split("/")
    try:
        if noun == "offsets":
            topic, partition = path
            return OffsetPlace(_plain(group_id), _plain(topic), _number(partition))
        if noun == "state":
            (part,) = path or ("0",)
            return StatePlace(_plain(group_id), _number(part))
        if noun == "since" and not path:
            return AmendmentPlace(_plain(group_id))
    except ValueError as error:
        raise DamagedFact(f"the key {key!r}: {error}") from error
    if not noun or not key.startswith(PREFIX):
        raise DamagedFact(f"the key {key!r} names nothing")
    return None


def encode_offset(kept: KeptOffset) -> bytes:
    """The bytes of a committed offset."""
    (offset, leader_epoch, metadata), commit_ms, expire_ms = kept
    body = _OFFSET.pack(_VERSION, offset, leader_epoch, commit_ms, expire_ms) + metadata.encode()
    return body + crc32(body).to_bytes(_CRC_BYTES, "big")


def decode_offset(value: bytes) -> KeptOffset:
    """
    What L{encode_offset} was given.

    @raise DamagedFact: the bytes are not what was written.
    @raise KafkaError: C{KAFKA_STORAGE_ERROR}: a later version of kgw wrote them.
    """
    body = _unsealed(value)
    try:
        _, offset, leader_epoch, commit_ms, expire_ms = _OFFSET.unpack_from(body)
        metadata = body[_OFFSET.size :].decode()
    except (struct.error, UnicodeDecodeError) as error:
        raise DamagedFact(str(error)) from error
    return KeptOffset(CommittedOffset(offset, leader_epoch, metadata), commit_ms, expire_ms)


def encode_amendment(amendment: Amendment) -> bytes:
    """The bytes of an amendment."""
    fact = {"generation": amendment.generation_id, "left": amendment.left}
    body = bytes([_VERSION]) + json.dumps(fact, separators=(",", ":")).encode()
    return body + crc32(body).to_bytes(_CRC_BYTES, "big")


def decode_amendment(value: bytes) -> Amendment:
    """
    What L{encode_amendment} was given.

    @raise DamagedFact: the bytes are not what was written.
    @raise KafkaError: C{KAFKA_STORAGE_ERROR}: a later version of kgw wrote them.
    """
    body = _unsealed(value)
    try:
        fact = json.loads(body[1:])
        return Amendment(int(fact["generation"]), tuple(int(place) for place in fact["left"]))
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedFact(str(error)) from error


def encode_state(snapshot: GroupSnapshot) -> list[bytes]:
    """
    The bytes of a group's state, in parts that a state store takes; the first goes under part 0, and so on.

    The number of parts does not survive with any one of them alone: write and delete them in one commit.
    """
    fact = {
        "type": "classic",
        "generation": snapshot.generation_id,
        "protocol_type": snapshot.protocol_type,
        "protocol": snapshot.protocol_name,
        "leader": snapshot.leader,
        "since": snapshot.state_time,
        "members": [
            {
                "id": member.member_id,
                "instance": member.instance_id,
                "client": [member.caller.client_id, member.caller.host, member.caller.software],
                "session_ms": member.session_timeout_ms,
                "rebalance_ms": member.rebalance_timeout_ms,
                "protocols": [[protocol.name, _text(protocol.metadata)] for protocol in member.protocols],
                "assignment": _text(member.assignment),
            }
            for member in snapshot.members
        ],
    }
    data = json.dumps(fact, separators=(",", ":")).encode()
    pieces = [data[start : start + PART_BYTES] for start in range(0, len(data), PART_BYTES)]
    parts = []
    for index, piece in enumerate(pieces):
        body = _PART.pack(_VERSION, index, len(pieces)) + piece
        parts.append(body + crc32(body).to_bytes(_CRC_BYTES, "big"))
    return parts


def decode_state(group_id: str, parts: Sequence[bytes]) -> GroupSnapshot:
    """
    What L{encode_state} was given.

    @param parts: all parts that are there, by their number.
    @raise DamagedFact: they are not what was written, or do not belong together.
    @raise KafkaError: C{KAFKA_STORAGE_ERROR}: a later version of kgw wrote them.
    """
    bodies = [_unsealed(part) for part in parts]
    try:
        if [_PART.unpack_from(body)[1:] for body in bodies] != [(at, len(parts)) for at in range(len(parts))]:
            raise DamagedFact("its parts do not belong together")
        fact = json.loads(b"".join(body[_PART.size :] for body in bodies))
        if fact["type"] != "classic":
            raise _too_new(f"a group of type {fact['type']!r}")
        return GroupSnapshot(
            group_id=group_id,
            generation_id=int(fact["generation"]),
            protocol_type=fact["protocol_type"],
            protocol_name=fact["protocol"],
            leader=fact["leader"],
            state_time=float(fact["since"]),
            members=tuple(_member(member) for member in fact["members"]),
        )
    except (struct.error, ValueError, KeyError, TypeError) as error:
        raise DamagedFact(str(error)) from error


def _member(fact: dict[str, Any]) -> MemberSnapshot:
    client_id, host, software = fact["client"]
    return MemberSnapshot(
        member_id=fact["id"],
        instance_id=fact["instance"],
        caller=Caller(client_id, host, software),
        session_timeout_ms=int(fact["session_ms"]),
        rebalance_timeout_ms=int(fact["rebalance_ms"]),
        protocols=tuple(GroupProtocol(name, _bytes(metadata)) for name, metadata in fact["protocols"]),
        assignment=_bytes(fact["assignment"]),
    )


def _unsealed(value: bytes) -> bytes:
    """A value without its checksum, in a version that is known here."""
    body, crc = value[:-_CRC_BYTES], value[-_CRC_BYTES:]
    if not body or crc32(body) != int.from_bytes(crc, "big"):
        raise DamagedFact(f"the checksum of its {len(value)} bytes is wrong")
    if body[0] > _VERSION:
        raise _too_new(f"version {body[0]} of a group's fact")
    return body


def _too_new(what: str) -> KafkaError:
    return KafkaError(
        ErrorCode.KAFKA_STORAGE_ERROR,
        f"the state store holds {what}, which this version of kgw does not know; use a newer one",
    )


@lru_cache(maxsize=10_000)
def _escaped(name: str) -> str:
    """Any text without a slash: in percent signs as in URLs."""
    return quote(name, safe="")


def _plain(escaped: str) -> str:
    plain = unquote(escaped, errors="strict")
    if quote(plain, safe="") != escaped:
        raise ValueError(f"{escaped!r} is no name")
    return plain


def _number(digits: str) -> int:
    if not (digits.isascii() and digits.isdigit()) or str(int(digits)) != digits:
        raise ValueError(f"{digits!r} is no number")
    return int(digits)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
