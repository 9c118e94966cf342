"""What became of records that were looked into, in numbers, and once in the log for each topic and result."""

from __future__ import annotations

from collections.abc import Mapping

from twisted.logger import Logger

#: What may become of a record: nothing else does, so that there are so many numbers and no more.
RESULTS: Mapping[str, str] = {
    "decoded": "read, and its columns kept where the engine keeps columns",
    "no_columns": "as its schema says, but no columns can hold it as it is",
    "null": "null",
    "unframed": "names no schema",
    "unknown_schema": "the registry has no such schema",
    "unusable_schema": "kgw cannot use its schema",
    "undecodable": "not what its schema says",
    "too_large": "its columns are too large to be kept",
    "wrong_subject": "its schema is not registered under the topic's subject",
    "unavailable": "the registry did not answer in time",
}
#: Those that an operator wants to know of.
_TOLD = frozenset(RESULTS) - {"decoded", "null"}
#: Topics that are told about, and counted by name.
_MOST_TOPICS = 1000

_log = Logger("kgw.schema")


class Counts:
    """
    Counts records by result.

    @ivar records: all of them.
    @ivar refused: batches that were refused (strict).
    @ivar undeclared: how often a topic's columns could not be declared.
    """

    def __init__(self) -> None:
        self.records = dict.fromkeys(RESULTS, 0)
        self.refused = self.undeclared = 0
        self._topics: dict[str, dict[str, int]] = {}
        self._told: dict[str, set[str]] = {}

    def add(self, topic: str, found: Mapping[str, tuple[int, str]]) -> None:
        """
        One batch was looked into.

        @param found: by result how many records, and a reason of one of them for people.
        """
        mine = self._topics.get(topic)
        if mine is None and len(self._topics) < _MOST_TOPICS:
            mine = self._topics[topic] = {}
        for result, (count, reason) in found.items():
            self.records[result] += count
            if mine is not None:
                mine[result] = mine.get(result, 0) + count
            if result in _TOLD:
                self.tell(topic, result, reason)

    def tell(self, topic: str, what: str, reason: str) -> None:
        """Write a line, where none of the same topic and kind was written before."""
        told = self._told.get(topic)
        if told is None:
            if len(self._told) >= _MOST_TOPICS:
                return
            told = self._told[topic] = set()
        if what not in told:
            told.add(what)
            _log.warn(
                "records of topic {topic}: {what} ({reason}); said once",
                topic=topic,
                what=what.replace("_", " "),
                reason=reason or RESULTS.get(what, ""),
            )

    def forget(self, topic: str) -> None:
        """The topic was deleted."""
        self._topics.pop(topic, None)
        self._told.pop(topic, None)

    @property
    def topics(self) -> Mapping[str, Mapping[str, int]]:
        """The numbers of single topics, the first thousand that had any."""
        return self._topics
