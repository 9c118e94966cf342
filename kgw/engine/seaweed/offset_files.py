"""Committed offsets where and as the Go gateway of SeaweedFS keeps them, so that each reads what the other wrote."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import NamedTuple

from kgw.engine.seaweed.state_paths import Place
from kgw.errors import KafkaError

#: The Go gateway's folder (SeaweedFS: C{weed/mq/kafka/consumer_offset}).
ROOT = "/topics/kafka/.meta/consumer_offsets"
_FILE = "offset"
_NAME_BYTES = 255
_INT32 = range(-(1 << 31), 1 << 31)
_INT64 = range(-(1 << 63), 1 << 63)


class OffsetKey(NamedTuple):
    """Whose offset it is."""

    group: str
    topic: str
    partition: int


class OffsetFact(NamedTuple):
    """
    A committed offset.

    @ivar leader_epoch: -1 where it is not known.
    @ivar commit_ms: when it was committed, epoch milliseconds.
    @ivar expire_ms: when it expires, epoch milliseconds, if its client said so, else -1.
    """

    offset: int
    leader_epoch: int
    metadata: str
    commit_ms: int
    expire_ms: int


class OffsetFiles:
    """
    The L{kgw.engine.seaweed.state_files.Route} of committed offsets.

    Each is a file C{<group>/<topic>/<partition>/offset} that holds JSON: C{type} C{"offset"}, C{value},
    C{committed_at} and C{metadata} as the Go gateway writes and reads them; it passes over our C{leader_epoch} and
    C{expire_at}, which are left out where they say nothing. It puts a group's id into the path as it is; a group
    that this would lead elsewhere (C{..}, C{a//b}) is kept with the other facts.

    A value that is no offset is kept as it is, and what is there and no offset is given as it is: whoever reads the
    facts finds it damaged.
    """

    keeps = 0

    def __init__(
        self,
        prefix: str,
        parse: Callable[[str], OffsetKey | None],
        spell: Callable[[str, str, int], str],
        encode: Callable[[OffsetFact], bytes],
        decode: Callable[[bytes], OffsetFact],
        root: str = ROOT,
    ) -> None:
        """
        @param prefix: what the keys of offsets, and perhaps of others, start with.
        @param parse: what a key stands for, C{None} or C{ValueError} where it is not an offset's.
        @param spell: the key of an offset, by group, topic and partition.
        @param encode: the value that the facts' owner keeps for an offset.
        @param decode: its inverse; C{ValueError} or L{KafkaError} where the value is none of these.
        """
        self.prefix = prefix
        self.root = root
        self._parse = parse
        self._spell = spell
        self._encode = encode
        self._decode = decode

    def place_of(self, key: str) -> Place | None:
        """Where the offset of this key is kept; C{None} where it is no offset, or one of a group kept elsewhere."""
        try:
            parsed = self._parse(key)
        except ValueError:
            return None
        if parsed is None or not _plain(parsed.group):
            return None
        return Place(f"{self.root}/{parsed.group}/{parsed.topic}/{parsed.partition}", _FILE)

    def key_of(self, folders: Sequence[str], name: str) -> str | None:
        """The key of the offset in a file; C{None} where it is no such file."""
        if name != _FILE or len(folders) < 3:
            return None
        *group, topic, partition = folders
        if not (partition.isascii() and partition.isdecimal()) or str(int(partition)) != partition:
            return None
        if int(partition) not in _INT32:
            return None
        try:
            key = self._spell("/".join(group), topic, int(partition))
        except UnicodeEncodeError:
            return None
        # What would be looked for elsewhere is not found here.
        return key if self.place_of(key) == ("/".join((self.root, *folders)), name) else None

    def may_hold(self, folders: Sequence[str], prefix: str) -> bool:
        """Whether there may be keys that start with C{prefix} below these folders: yes, all of them are read."""
        return True

    def encode(self, value: bytes) -> bytes:
        """The JSON of an offset."""
        try:
            fact = self._decode(value)
        except (ValueError, KafkaError):
            return value
        members: dict[str, object] = {
            "type": "offset",
            "value": fact.offset,
            "committed_at": fact.commit_ms,
            "metadata": fact.metadata,
        }
        if fact.leader_epoch >= 0:
            members["leader_epoch"] = fact.leader_epoch
        if fact.expire_ms >= 0:
            members["expire_at"] = fact.expire_ms
        return json.dumps(members, separators=(",", ":")).encode()

    def decode(self, content: bytes) -> bytes | None:
        """The value for the JSON of an offset; C{None} where it says a position of another type."""
        try:
            members = json.loads(content)
            if members["type"] != "offset":
                return None
            fact = OffsetFact(
                offset=_integer(members["value"], _INT64),
                leader_epoch=_integer(members.get("leader_epoch", -1), _INT32),
                metadata=str(members.get("metadata", "")),
                commit_ms=_integer(members["committed_at"], _INT64),
                expire_ms=_integer(members.get("expire_at", -1), _INT64),
            )
            return self._encode(fact)
        except (ValueError, KeyError, TypeError, AttributeError):
            return content


def _plain(group: str) -> bool:
    """Whether a group's id is the names of folders, none of which can be taken for the file of an offset."""
    first, *others = group.split("/")
    return (
        all(name not in ("", ".", "..") and len(name.encode()) <= _NAME_BYTES for name in (first, *others))
        and _FILE not in others
        and group.isprintable()
    )


def _integer(value: object, bounds: range) -> int:
    if type(value) is not int or value not in bounds:
        raise ValueError(f"{value!r} is no number in its bounds")
    return value
