"""Reads of one log's files that wait for the disk, in a thread, so that nobody waits for them but who asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from kgw.engine.bridge import IBridge
from kgw.engine.local.files import LogFiles
from kgw.engine.local.segment import Segment
from kgw.model import NO_OFFSET, Buffer, TimestampOffset

T = TypeVar("T")


class _Wanted:
    """Whether the one who asked still waits; set on the reactor's thread, looked at by another."""

    __slots__ = ("yes",)

    def __init__(self) -> None:
        self.yes = True

    def forget(self, _: Deferred[T]) -> None:
        """As the canceller of a Deferred."""
        self.yes = False


class Reads:
    """
    The slow reads of one log.

    A thread works on views of segments, which are its own. Meanwhile the log goes on: a segment may be sealed,
    removed, and its file written again. So what was found counts only if, back on the reactor's thread, the
    segments are still in the log; else the read begins anew.
    """

    def __init__(self, files: LogFiles, bridge: IBridge) -> None:
        self._files = files
        self._bridge = bridge

    def read(self, offset: int, max_bytes: int, at_least_one: bool) -> Deferred[tuple[list[Buffer], int]]:
        """
        As L{LogFiles.read}, from one segment at most.

        @return: fails with C{CORRUPT_MESSAGE}, with C{OSError}, and with C{LookupError} where C{offset} is no longer
            in the log. When it is cancelled, a read that was not begun is not made.
        """
        wanted = _Wanted()
        answer: Deferred[tuple[list[Buffer], int]] = Deferred(wanted.forget)
        self._read(offset, max_bytes, at_least_one, wanted, answer)
        return answer

    def _read(
        self,
        offset: int,
        max_bytes: int,
        at_least_one: bool,
        wanted: _Wanted,
        answer: Deferred[tuple[list[Buffer], int]],
    ) -> None:
        if self._files.closed or offset < self._files.bases[0]:
            answer.errback(LookupError(offset))
            return
        segment = self._files.holding(offset)
        view = segment.view()

        def work() -> tuple[Buffer, int, bool]:
            return view.read(offset, max_bytes, at_least_one) if wanted.yes else (b"", 0, False)

        def done(result: tuple[Buffer, int, bool] | Failure) -> None:
            segment.adopt(view)
            if not wanted.yes:
                return
            if segment.gone:
                self._read(offset, max_bytes, at_least_one, wanted, answer)
                return
            if isinstance(result, Failure):
                answer.errback(result)
                return
            found, size, at_end = result
            behind = self._files.behind(segment)
            if not size and at_end and behind is not None:
                self._read(behind.base_offset, max_bytes, at_least_one, wanted, answer)
            else:
                answer.callback(([found] if size else [], size))

        self._bridge.call(work).addBoth(done)

    def look(
        self, search: Callable[[Sequence[Segment], int], TimestampOffset], start_offset: Callable[[], int]
    ) -> Deferred[TimestampOffset]:
        """
        Search the segments for a record at or behind the log start offset, which may move meanwhile.

        @return: fails with what C{search} raises.
        """
        wanted = _Wanted()
        answer: Deferred[TimestampOffset] = Deferred(wanted.forget)
        self._look(search, start_offset, wanted, answer)
        return answer

    def _look(
        self,
        search: Callable[[Sequence[Segment], int], TimestampOffset],
        start_offset: Callable[[], int],
        wanted: _Wanted,
        answer: Deferred[TimestampOffset],
    ) -> None:
        segments = list(self._files.segments)
        views = [segment.view() for segment in segments]
        start = start_offset()

        def work() -> TimestampOffset:
            return search(views, start) if wanted.yes else NO_OFFSET

        def done(result: TimestampOffset | Failure) -> None:
            for segment, view in zip(segments, views, strict=True):
                segment.adopt(view)
            if not wanted.yes:
                return
            if self._files.closed:
                answer.errback(LookupError(start))
            elif any(segment.gone for segment in segments) or start != start_offset():
                self._look(search, start_offset, wanted, answer)
            elif isinstance(result, Failure):
                answer.errback(result)
            else:
                answer.callback(result)

        self._bridge.call(work).addBoth(done)
