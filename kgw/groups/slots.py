"""Which gateway has which groups: slots, as the partitions of Kafka's C{__consumer_offsets} are."""

from __future__ import annotations

from collections.abc import Collection

from kgw.errors import ErrorCode, KafkaError

_MASK = (1 << 32) - 1
_SIGN = 1 << 31


def slot_of(group_id: str, count: int) -> int:
    """
    The slot of a group, of C{count} (Kafka: C{Utils.abs(groupId.hashCode) % numPartitions}).

    Java's hash of a string goes over its UTF-16 units; the absolute value of the least number is 0.
    """
    number = 0
    units = group_id.encode("utf-16-be", "surrogatepass")
    for at in range(0, len(units), 2):
        number = (31 * number + (units[at] << 8 | units[at + 1])) & _MASK
    if number & _SIGN:
        number = -(number - (1 << 32))
    return 0 if number == _SIGN else number % count


class Slots:
    """
    The slots that are here, and those that are being loaded.

    @ivar are_shared: whether there are other gateways that may have some; else all groups are here.
    """

    def __init__(self, count: int | None) -> None:
        """
        @param count: how many there are in all gateways; C{None} where there is this one only.
        """
        self.are_shared = count is not None
        self._count = count or 1
        self._here: set[int] = set()
        self._loading: set[int] = set()

    def of(self, group_id: str) -> int:
        """The slot of a group."""
        return slot_of(group_id, self._count)

    def begin(self, slots: Collection[int]) -> frozenset[int]:
        """They are to be loaded; those that are to be, and are not here already."""
        wanted = frozenset(slots) - self._here - self._loading
        self._loading.update(wanted)
        return wanted

    def taken(self, slots: Collection[int]) -> None:
        """They are here, unless they were released meanwhile."""
        self._here.update(self._loading.intersection(slots))
        self._loading.difference_update(slots)

    def give_up(self, slots: Collection[int]) -> None:
        """They could not be loaded."""
        self._loading.difference_update(slots)

    def release(self, slots: Collection[int]) -> None:
        """They are not here any more."""
        self._here.difference_update(slots)
        self._loading.difference_update(slots)

    def is_loading(self, group_id: str, slots: Collection[int]) -> bool:
        """Whether a group is in one of these slots, which are being loaded."""
        slot = self.of(group_id)
        return slot in slots and slot in self._loading

    def check(self, group_id: str) -> None:
        """
        See whether a group is this gateway's.

        @raise KafkaError: C{COORDINATOR_LOAD_IN_PROGRESS} or C{NOT_COORDINATOR}.
        """
        if not self.are_shared:
            return
        slot = self.of(group_id)
        if slot in self._loading:
            raise KafkaError(ErrorCode.COORDINATOR_LOAD_IN_PROGRESS)
        if slot not in self._here:
            raise KafkaError(ErrorCode.NOT_COORDINATOR, f"group {group_id!r} is another broker's")
