"""What a registry has said: so much of it and no more, for ever or for a while."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")

#: What an entry takes besides what it holds, bytes.
_ENTRY_BYTES = 500


class _Held(NamedTuple, Generic[T]):
    value: T
    size: int
    until: float


class Cache(Generic[T]):
    """
    Values by key, a machine without a clock; what was not used for longest goes first.

    @ivar size: bytes of all values, as they were said to take, with something for each entry.
    """

    def __init__(self, most: int, most_bytes: int) -> None:
        """
        @param most: entries that are kept.
        @param most_bytes: that they may take; a value that takes more by itself is not kept.
        """
        self.size = 0
        self._most = most
        self._most_bytes = most_bytes
        self._held: OrderedDict[Hashable, _Held[T]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: Hashable, now: float) -> T | None:
        """What is kept, C{None} where there is nothing or its time has passed."""
        held = self._held.get(key)
        if held is None:
            return None
        if held.until <= now:
            self.drop(key)
            return None
        self._held.move_to_end(key)
        return held.value

    def put(self, key: Hashable, value: T, size: int = 0, until: float = float("inf")) -> None:
        """
        Keep a value in place of any before it.

        @param size: bytes it takes.
        @param until: when it is forgotten, by the clock of L{get}.
        """
        self.drop(key)
        size += _ENTRY_BYTES
        if size > self._most_bytes:
            return
        self._held[key] = _Held(value, size, until)
        self.size += size
        while len(self._held) > self._most or self.size > self._most_bytes:
            _, dropped = self._held.popitem(last=False)
            self.size -= dropped.size

    def drop(self, key: Hashable) -> None:
        """Forget a value, if there is one."""
        held = self._held.pop(key, None)
        if held is not None:
            self.size -= held.size

    def clear(self) -> None:
        """Forget everything."""
        self._held.clear()
        self.size = 0
