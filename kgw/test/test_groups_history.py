"""The history of groups: what is remembered, how much of it, and what the log says."""

from __future__ import annotations

from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from kgw.group_model import GroupEvent
from kgw.groups.history import MOST_CHARACTERS, GroupHistory


class GroupHistoryTests(SynchronousTestCase):
    """L{GroupHistory}."""

    def texts(self, history: GroupHistory, group_id: str) -> list[str]:
        return [event.text for event in history.of(group_id)]

    def test_in_order(self) -> None:
        """Events of a group with their times, oldest first; a group nobody heard of has none."""
        history = GroupHistory()
        history.add(1.0, "g", "a joins")
        history.add(2.5, "g", "b joins")
        history.add(3.0, "h", "c joins")
        self.assertEqual(history.of("g"), [GroupEvent(1.0, "a joins"), GroupEvent(2.5, "b joins")])
        self.assertEqual(history.of("nobody"), [])

    def test_bounded_per_group(self) -> None:
        """The oldest events of a group make room."""
        history = GroupHistory(most_per_group=3)
        for number in range(10):
            history.add(number, "g", str(number))
        self.assertEqual(self.texts(history, "g"), ["7", "8", "9"])

    def test_bounded_over_all(self) -> None:
        """Groups that are silent for longest make room; a busy one does not push out itself alone."""
        history = GroupHistory(most_per_group=3, most_in_all=4)
        history.add(1, "old", "1")
        history.add(2, "old", "2")
        history.add(3, "new", "3")
        history.add(4, "new", "4")
        history.add(5, "new", "5")
        self.assertEqual(self.texts(history, "old"), ["2"])
        history.add(6, "other", "6")
        self.assertEqual(self.texts(history, "old"), [])
        self.assertEqual(self.texts(history, "new"), ["3", "4", "5"])
        for number in range(100):
            history.add(7, f"group-{number}", "x")
        self.assertEqual(sum(len(history.of(f"group-{number}")) for number in range(100)), 4)

    def test_the_list_is_the_callers(self) -> None:
        """Changing it changes nothing here."""
        history = GroupHistory()
        history.add(1, "g", "a joins")
        history.of("g").clear()
        self.assertEqual(len(history.of("g")), 1)

    def test_what_clients_write(self) -> None:
        """A reason from a client breaks no line of the log and fills no memory."""
        history = GroupHistory()
        history.add(1, "g", "b leaves: bye\n2024 root logged in\x1b[2J")
        history.add(2, "g", "x" * 100_000)
        first, second = self.texts(history, "g")
        self.assertEqual(first, "b leaves: bye?2024 root logged in?[2J")
        self.assertEqual(len(second), MOST_CHARACTERS)

    def test_logged(self) -> None:
        """Each event is a line at info, under a name an operator can filter by."""
        events: list[LogEvent] = []

        @implementer(ILogObserver)
        def observe(event: LogEvent) -> None:
            events.append(event)

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        GroupHistory().add(1, "orders", "a joins {braces}")
        (event,) = events
        self.assertEqual(formatEvent(event), "group orders: a joins {braces}")
        self.assertEqual((event["log_namespace"], event["log_level"]), ("kgw.group", LogLevel.info))
