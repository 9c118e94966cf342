"""Making what was appended to one partition survive the end of the machine, off the reactor's thread."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from kgw.engine.local.rounds import Rounds
from kgw.engine.local.segment import Segment
from kgw.engine.local.surroundings import Surroundings
from kgw.errors import ErrorCode, KafkaError
from kgw.model import Appended, LogConfig

#: How C{flush.messages} and C{flush.ms} say that there is no limit.
NEVER = (1 << 63) - 1
_CHUNK = 1 << 20


class _Part(NamedTuple):
    """What is to be made durable of one file: a descriptor of its own, and from where to where."""

    descriptor: int
    begin: int
    end: int


@dataclass(slots=True)
class _Work:
    """
    One round's work, for a thread.

    @ivar folder: make the names of the files in it durable, too.
    @ivar doubtful: an earlier round failed, and its bytes could not be written again.
    """

    parts: list[_Part]
    folder: str | None
    doubtful: bool
    sync: Callable[[int], None] = field(repr=False)

    def run(self) -> None:
        """
        Make it durable; blocks.

        A kernel that could not write a page may call it clean all the same: the next C{fdatasync} then reports
        success, and the page is not on the disk. It still is in the page cache. So with a failure, all that was
        not durable before is written once more from there, for the next round to be worth its result.

        @raise OSError: nothing is known to be durable. C{doubtful} says whether it was written again.
        """
        try:
            if self.doubtful:
                self._write_again()
            try:
                if self.folder is not None:
                    self._sync_folder(self.folder)
                for part in self.parts:
                    self.sync(part.descriptor)
            except OSError:
                self._write_again()
                raise
        finally:
            for part in self.parts:
                os.close(part.descriptor)

    def _sync_folder(self, folder: str) -> None:
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self.sync(descriptor)
        finally:
            os.close(descriptor)

    def _write_again(self) -> None:
        self.doubtful = True
        for descriptor, begin, end in self.parts:
            position = begin
            while position < end:
                data = os.pread(descriptor, min(_CHUNK, end - position), position)
                if not data:
                    # The file was cut since: whoever did that wanted nothing of this.
                    break
                position += os.pwrite(descriptor, data, position)
        self.doubtful = False


class Durability:
    """
    The C{fdatasync} of one partition's files, in rounds, so that one serves many appends.

    @ivar synced: offsets below it survive the end of the machine.
    @ivar records: how many were appended since the last round began.
    """

    _log = Logger()

    def __init__(
        self,
        folder: str,
        around: Surroundings,
        extent: Callable[[], tuple[int, Segment]],
        synced: int,
        sealed: list[Segment],
    ) -> None:
        """
        @param extent: the log's end offset and its active segment, now.
        @param sealed: segments in front of the active one that were not made durable yet.
        """
        self.synced = synced
        self.records = 0
        self._folder = folder
        self._around = around
        self._extent = extent
        self._sealed = sealed
        self._new_files = False
        #: Something besides new batches is to be made durable: that a file has become shorter.
        self._shorter = False
        self._doubtful = False
        self._rounds = Rounds(f"{folder} cannot be flushed", self._sync)
        self._timer: IDelayedCall | None = None
        self._abandoned: tuple[ErrorCode, str] | None = None

    def acknowledge(self, appended: Appended, records: int, config: LogConfig) -> Deferred[Appended]:
        """
        Take note of so many records, just appended.

        @return: fires with C{appended} when C{flush.messages} allows it.
        """
        self.records += records
        # flush.ms=0 leaves no time between an append and its flush, so it is waited for
        if self.records >= config.flush_messages or not config.flush_ms:
            return self.sync().addCallback(lambda _: appended)
        if config.flush_ms < NEVER and self._timer is None:
            self._timer = self._around.clock.callLater(config.flush_ms / 1000, self._on_time)
        return succeed(appended)

    def _on_time(self) -> None:
        self._timer = None
        # A failure is logged where it is found, and nobody waits for this one.
        self.sync().addErrback(lambda _: None)

    def abandon(self, error: tuple[ErrorCode, str]) -> None:
        """The log is deleted: who waits for a round that did not begin is told so."""
        self._abandoned = error

    def stop(self) -> None:
        """Flush nothing any more but when asked."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def sealed(self, segment: Segment) -> None:
        """A segment was sealed, and another file begun."""
        self._sealed.append(segment)
        self._new_files = True

    def shortened(self) -> None:
        """The active segment's file now ends where the log does."""
        self._shorter = True

    def forget(self, segment: Segment) -> bool:
        """
        It is being removed.

        @return: whether all of it was durable; if not, a thread may still be reading and writing its file.
        """
        if segment not in self._sealed:
            return True
        self._sealed.remove(segment)
        return False

    def sync(self) -> Deferred[None]:
        """
        Make durable all that is appended now.

        @return: fails with C{KAFKA_STORAGE_ERROR}.
        """
        return self._rounds.join()

    def _sync(self) -> Deferred[None]:
        if self._abandoned is not None:
            return fail(KafkaError(*self._abandoned))
        end, active = self._extent()
        if end <= self.synced and not self._sealed and not self._shorter:
            return succeed(None)
        self.records = 0
        segments = [*self._sealed, active]
        parts: list[_Part] = []
        try:
            for segment in segments:
                # A descriptor of its own, for the segment's may be closed meanwhile.
                parts.append(_Part(os.dup(segment.descriptor()), segment.flushed, segment.position))
        except OSError as error:
            for part in parts:
                os.close(part.descriptor)
            return fail(error)
        work = _Work(parts, self._folder if self._new_files else None, self._doubtful, self._around.sync)
        self._new_files = self._shorter = False
        flushes, asked = self._around.flushes, time.monotonic()

        def failed(failure: Failure) -> Failure:
            flushes.failures += 1
            self._new_files = self._shorter = True
            self._doubtful = work.doubtful
            reason = failure.getErrorMessage()
            self._log.error("{folder} cannot be flushed: {reason}", folder=self._folder, reason=reason)
            return failure

        def synced(_: None) -> None:
            flushes.count += 1
            flushes.seconds += time.monotonic() - asked
            self._doubtful = False
            self.synced = max(self.synced, end)
            for segment, part in zip(segments, parts, strict=True):
                segment.flushed = max(segment.flushed, part.end)
            done = segments[:-1]
            self._sealed = [segment for segment in self._sealed if segment not in done]

        return self._around.bridge.call(work.run).addCallbacks(synced, failed)
