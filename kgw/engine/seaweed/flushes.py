"""Word of log files as the engine writes them, from the filer's stream of metadata events.

A file's attribute C{offset_max} may be one too high: it names the record whose arrival sealed the file, which is in the
next one. So what lies below it is known to be in the file, and for that last record itself the file's own end is read.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from kgw.engine.seaweed.filer import entry_of
from kgw.engine.seaweed.log_file import LENGTH_SIZE, parse_log
from kgw.engine.seaweed.metadata_events import Event, MetadataEvents
from kgw.errors import KafkaError

if TYPE_CHECKING:
    from kgw.engine.seaweed.connections import Connections
    from kgw.engine.seaweed.filer import Filer

#: A log file's name is the time of its first record; others in the directory are not meant.
LOG_FILE = re.compile(r"\d{4}-\d\d-\d\d-\d\d-\d\d-\d\d")
#: Seconds after which one whose records are in no file yet is looked after: events may be lost with a filer.
_CHECK = 5.0
#: Seconds: what has waited to be in a file is in none that was begun so long ago.
_RECENT = 600.0
#: The offset is an entry's last field: a tag and a number of at most 10 bytes.
_END = 11
_OFFSET = 0x28


class Waiting(Protocol):
    """A partition's publisher."""

    @property
    def unflushed_end(self) -> int:
        """Behind the last batch that waits to be in a file; -1 where none does."""

    def ends_at(self, end_offset: int) -> bool:
        """Whether it matters that the record just below is in a file, too."""

    def flushed(self, end_offset: int) -> None:
        """Log files have everything below."""


def last_offset(end: bytes) -> int | None:
    """
    The offset of a log file's last record.

    @param end: the last bytes of the file, 11 where it has as many.
    @return: C{None} where the file does not end with an offset: that is 0, or the file was cut.
    """
    at = len(end) - 1
    if at < 1 or end[at] > 127:
        return None
    number = end[at]
    at -= 1
    while at >= 0 and end[at] > 127:
        number = number << 7 | end[at] & 127
        at -= 1
    return number if at >= 0 and end[at] == _OFFSET else None


class Flushes:
    """Tells publishers what of theirs is in log files."""

    _log = Logger()

    def __init__(
        self,
        connections: Connections,
        address: Callable[[], str],
        filer: Filer,
        clock: IReactorTime,
        prefix: str = "/topics/kafka/",
    ) -> None:
        """
        @param address: of the filer's gRPC port, now.
        @param prefix: of the directories watched.
        """
        self._filer = filer
        self._clock = clock
        self._watched: dict[str, Waiting] = {}
        #: Whose file is being looked at, and which one then.
        self._looking: dict[str, tuple[str, int] | None] = {}
        #: As far as they were told of.
        self._told: dict[str, int] = {}
        #: What waited to be in a file at an earlier check.
        self._stuck: dict[str, int] = {}
        #: Whose files are known to have more than the record at offset 0.
        self._begun: set[str] = set()
        # what went on before a subscription may be in no event: a filer that dies takes its newest ones with it
        self._events = MetadataEvents(connections, address, clock, prefix, "flushes", self._event, self._look_at_all)
        self._checking = LoopingCall(self._check)
        self._checking.clock = clock

    def start(self) -> None:
        """Subscribe, and again whenever that ends."""
        self._events.start()
        self._checking.start(_CHECK, now=False)

    def stop(self) -> None:
        """Tell nothing more."""
        if self._checking.running:
            self._checking.stop()
        self._events.stop()

    def watch(self, directory: str, waiting: Waiting) -> None:
        """Tell C{waiting} of the log files in this directory."""
        self._watched[directory] = waiting

    def unwatch(self, directory: str) -> None:
        """Tell nothing of it any more."""
        self._watched.pop(directory, None)
        self._stuck.pop(directory, None)
        self._told.pop(directory, None)
        self._begun.discard(directory)

    def _event(self, event: Event) -> None:
        waiting = self._watched.get(event.directory)
        if waiting is None:
            return
        entry = event.event_notification.new_entry
        if entry.is_directory or LOG_FILE.fullmatch(entry.name) is None:
            return
        claimed = entry.extended.get("offset_max", b"")
        end = int.from_bytes(claimed, "big") if len(claimed) == 8 else 0
        if end > 1:
            self._begun.add(event.directory)
        if end:
            self._tell(event.directory, waiting, end)
        if not end or waiting.ends_at(end + 1):
            self._look(event.directory, entry.name, entry_of(entry).size)

    def _tell(self, directory: str, waiting: Waiting, end_offset: int) -> None:
        self._told[directory] = max(end_offset, self._told.get(directory, 0))
        waiting.flushed(end_offset)

    def _look_at_all(self) -> None:
        for directory, waiting in list(self._watched.items()):
            if waiting.unflushed_end >= 0:
                self._look(directory)

    def _check(self) -> None:
        """Look after those who still wait for what they waited for the last time, whatever has come behind that."""
        stuck = {}
        for directory, waiting in list(self._watched.items()):
            end = waiting.unflushed_end
            if end >= 0:
                stuck[directory] = end
                earlier = self._stuck.get(directory, 0)
                if end == earlier or self._told.get(directory, 0) < earlier:
                    self._look(directory)
        self._stuck = stuck

    def _look(self, directory: str, name: str = "", size: int = 0) -> None:
        """Read where a file ends; the newest one where none is named. One at a time for each directory."""
        if directory in self._looking:
            self._looking[directory] = name, size
            return
        self._looking[directory] = None
        looking = Deferred.fromCoroutine(self._end_of(directory, name, size))
        looking.addCallback(self._looked, directory)
        looking.addErrback(self._not_looked, directory)

    def _looked(self, end_offset: int, directory: str) -> None:
        again = self._looking.pop(directory)
        waiting = self._watched.get(directory)
        if waiting is not None:
            if end_offset > 1:
                self._begun.add(directory)
            self._tell(directory, waiting, end_offset)
        if again is not None:
            self._look(directory, *again)

    def _not_looked(self, failure: Failure, directory: str) -> None:
        # the next event asks again, or the look at those who wait too long
        self._looking.pop(directory, None)
        if failure.check(KafkaError) is None:
            self._log.failure("looking at the log files of {directory}", failure, directory=directory)

    async def _end_of(self, directory: str, name: str, size: int) -> int:
        """The offset behind the last record of a file; 0 where it cannot be told."""
        if not name:
            recent = datetime.fromtimestamp(self._clock.seconds() - _RECENT, UTC).strftime("%Y-%m-%d-%H-%M-%S")
            entries = await self._filer.list(directory, start_after=recent)
            logs = [entry for entry in entries if LOG_FILE.fullmatch(entry.name)]
            if not logs:
                return 0
            name, size = logs[-1].name, logs[-1].size
        if directory not in self._begun:
            # The offset 0 is not written: a first record alone in its file ends with its key or its value, and those
            # may look like another offset.
            length = int.from_bytes((await self._filer.read(directory, name, 0, LENGTH_SIZE))[:LENGTH_SIZE], "big")
            if length + LENGTH_SIZE == size:
                records, _ = parse_log(await self._filer.read(directory, name, 0, size))
                return records[-1].offset + 1 if records else 0
        offset = last_offset(await self._filer.read(directory, name, max(0, size - _END), _END))
        return 0 if offset is None else offset + 1
