"""What happened to each group lately, for operators: a bounded memory and a line in the log."""

from __future__ import annotations

from collections import OrderedDict, deque

from twisted.logger import Logger

from kgw.group_model import GroupEvent

log = Logger("kgw.group")

#: Events kept of one group, and of all groups together; the oldest go first.
MOST_PER_GROUP = 100
MOST_IN_ALL = 20_000
#: Characters of all events and group ids together, with something for each; group ids are as long as clients like.
MOST_TEXT = 8 << 20
_FOR_EACH = 100
#: Characters of one event; reasons come from clients and may be of any length.
MOST_CHARACTERS = 500


class GroupHistory:
    """
    The events of all groups, also of those that are deleted by now, and the log of them at info.

    It does not survive the process; the log does.
    """

    def __init__(
        self, most_per_group: int = MOST_PER_GROUP, most_in_all: int = MOST_IN_ALL, most_text: int = MOST_TEXT
    ) -> None:
        self._most_per_group = most_per_group
        self._most_in_all = most_in_all
        self._most_text = most_text
        # by group id, the group that was silent for longest first
        self._events: OrderedDict[str, deque[GroupEvent]] = OrderedDict()
        self._count = 0
        self._text = 0

    def add(self, now: float, group_id: str, text: str) -> None:
        """
        Remember and log one event.

        @param now: epoch seconds.
        @param text: a sentence; characters that would break a line of the log are replaced.
        """
        text = _one_line(text)
        events = self._events.get(group_id)
        if events is None:
            events = self._events[group_id] = deque()
            self._text += len(group_id) + _FOR_EACH
        else:
            self._events.move_to_end(group_id)
        events.append(GroupEvent(now, text))
        self._count += 1
        self._text += len(text) + _FOR_EACH
        if len(events) > self._most_per_group:
            self._forget_oldest(events)
        while self._events and (self._count > self._most_in_all or self._text > self._most_text):
            self._forget_one()
        log.info("group {group}: {text}", group=_one_line(group_id), text=text)

    def of(self, group_id: str) -> list[GroupEvent]:
        """What is remembered of a group, oldest first; the list is the caller's."""
        return list(self._events.get(group_id, ()))

    def _forget_one(self) -> None:
        group_id, events = next(iter(self._events.items()))
        self._forget_oldest(events)
        if not events:
            del self._events[group_id]
            self._text -= len(group_id) + _FOR_EACH

    def _forget_oldest(self, events: deque[GroupEvent]) -> None:
        self._count -= 1
        self._text -= len(events.popleft().text) + _FOR_EACH


def _one_line(text: str) -> str:
    if len(text) > MOST_CHARACTERS:
        text = text[: MOST_CHARACTERS - 3] + "..."
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else "?" for character in text)
