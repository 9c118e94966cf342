"""Room for the next batch of a log: when another segment begins, and in which file."""

from __future__ import annotations

import errno
import os

from twisted.logger import Logger
from twisted.python.failure import Failure

from kgw.engine.local.allocation import FREE, LEAST, MOST, Stretch
from kgw.engine.local.files import LogFiles
from kgw.engine.local.segment import MAX_RELATIVE, Segment
from kgw.engine.local.surroundings import Surroundings
from kgw.log.producer_state import ProducerStates
from kgw.model import LogConfig

_NEVER = (1 << 63) - 1


class Room:
    """
    Says beforehand which append needs more than the active segment has.

    A batch may be appended as it is if it ends at or before the position C{bytes}, has no timestamp above
    C{timestamp} and no offset above C{offset}; else L{is_over} tells whether the segment is full or wants to
    L{grow}. So that what is asked for each batch is three comparisons.

    @ivar bytes: the least of where the segment is full and where more of it should be allocated.
    """

    __slots__ = (
        "_allocates",
        "_around",
        "_config",
        "_files",
        "_full",
        "_jitter",
        "_longest_ms",
        "_stretch",
        "bytes",
        "offset",
        "timestamp",
    )

    _log = Logger()

    def __init__(self, files: LogFiles, around: Surroundings, config: LogConfig) -> None:
        self._files = files
        self._around = around
        self._stretch: Stretch | None = None
        self.configure(config)

    def configure(self, config: LogConfig) -> None:
        """Obey these configs from now on."""
        self._config = config
        self._allocates = True
        # Kafka: LogConfig.maxSegmentMs
        self._longest_ms = config.segment_ms
        if "compact" in config.cleanup_policy:
            self._longest_ms = min(config.segment_ms, config.max_compaction_lag_ms)
        self._jitter = int(self._around.random.random() * min(config.segment_jitter_ms, self._longest_ms))
        self.measure()
        if config.preallocate:
            self.grow()

    def measure(self) -> None:
        """Work out the limits of the active segment; to be called when it has its first batch, too."""
        segment, config = self._files.active, self._config
        if not segment.position:
            # A batch larger than segment.bytes gets a segment of its own.
            self._full = self.timestamp = _NEVER
        else:
            oldest = segment.first_timestamp
            self.timestamp = oldest + self._longest_ms - self._jitter if oldest >= 0 else _NEVER
            # Each batch that is indexed is longer than the interval, so this is where the index is full.
            entries = config.segment_index_bytes // 8
            self._full = min(config.segment_bytes, max(1, entries) * max(config.index_interval_bytes, 61))
        self.offset = segment.base_offset + MAX_RELATIVE
        self._next_growth()

    def _next_growth(self) -> None:
        """Where the segment should grow: when half of what was allocated last is used, if it is to grow at all."""
        segment = self._files.active
        ahead = segment.allocated - segment.position
        at = max(self._around.small_bytes, segment.allocated - max(LEAST, min(ahead, MOST)) // 2)
        self.bytes = min(self._full, at if self._allocates and self._around.allocates else _NEVER)

    def is_over(self, end: int, timestamp: int, last_offset: int) -> bool:
        """Whether a batch belongs into the next segment."""
        return bool(self._files.active.position) and (
            end > self._full or timestamp > self.timestamp or last_offset > self.offset
        )

    def grow(self) -> None:
        """Have more of the active segment allocated, in a thread; nobody waits for it, or for more than it got."""
        segment, config, around = self._files.active, self._config, self._around
        begin = max(segment.position, segment.allocated)
        if config.preallocate:
            end, free = config.segment_bytes, config.segment_bytes
        else:
            end = min(begin + min(max(segment.position, LEAST), MOST), config.segment_bytes)
            free = (end - begin) * FREE
        if end - begin < (1 if config.preallocate else around.small_bytes) or not around.allocates:
            self._allocates = False
            self._next_growth()
            return
        try:
            descriptor = os.dup(segment.descriptor())
        except OSError:
            self._allocates = False
            self._next_growth()
            return
        stretch = self._stretch = Stretch()
        segment.allocated = end
        self._next_growth()

        def done(possible: bool) -> None:
            around.allocates = around.allocates and possible

        def failed(failure: Failure) -> None:
            self._log.failure("{folder}: no space was allocated", failure, folder=self._files.folder)

        around.bridge.call(stretch.run, descriptor, begin, end - begin, free).addCallbacks(done, failed)

    def settle(self) -> bool:
        """
        Let the active segment's file end where the log does.

        @return: whether it was longer.
        @raise OSError: it still is.
        """
        if self._stretch is not None:
            self._stretch.call_off()
            self._stretch = None
        return self._files.active.trim()

    def roll(self, end_offset: int, producers: ProducerStates) -> Segment:
        """
        Begin another segment.

        @return: the one that was sealed.
        @raise OSError: there is none, and nothing has changed.
        """
        if self._stretch is not None:
            self._stretch.call_off()
            self._stretch = None
        sealed = self._files.roll(end_offset, producers, self._around.spares.take(self._files.folder))
        self._allocates = True
        self.measure()
        if self._config.preallocate:
            self.grow()
        return sealed

    def write_failed(self, error: OSError) -> None:
        """Give back what is allocated and not used; other logs may need it."""
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            self._around.spares.release()
        if self._stretch is not None:
            self._stretch.call_off()
            self._stretch = None
        segment = self._files.active
        segment.allocated = 0
        self._allocates = False
        self._next_growth()
        if segment.fd >= 0:
            os.ftruncate(segment.fd, segment.position)
