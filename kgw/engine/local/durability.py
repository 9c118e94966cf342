"""Making what was appended to one partition survive the end of the machine, off the reactor's thread."""

from __future__ import annotations

import os
from collections.abc import Callable

from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from kgw.engine.local.bridge import IBridge
from kgw.engine.local.rounds import Rounds
from kgw.engine.local.segment import Segment


def sync_files(descriptors: list[int], folder: str | None) -> None:
    """
    Make files durable and close these descriptors of them; blocks.

    @param folder: make the names of the files in it durable, too.
    """
    try:
        if folder is not None:
            descriptors.insert(0, os.open(folder, os.O_RDONLY | os.O_CLOEXEC))
        for descriptor in descriptors:
            os.fdatasync(descriptor)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


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
        bridge: IBridge,
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
        self._bridge = bridge
        self._extent = extent
        self._sealed = sealed
        self._new_files = False
        self._rounds = Rounds(f"{folder} cannot be flushed", self._sync)

    def sealed(self, segment: Segment) -> None:
        """A segment was sealed, and another file begun."""
        self._sealed.append(segment)
        self._new_files = True

    def forget(self, segments: list[Segment]) -> None:
        """These are being removed."""
        self._sealed = [segment for segment in self._sealed if segment not in segments]

    def sync(self) -> Deferred[None]:
        """
        Make durable all that is appended now.

        @return: fails with C{KAFKA_STORAGE_ERROR}.
        """
        return self._rounds.join()

    def _sync(self) -> Deferred[None]:
        end, active = self._extent()
        if end <= self.synced and not self._sealed:
            return succeed(None)
        self.records = 0
        sealed = list(self._sealed)
        descriptors: list[int] = []
        try:
            for segment in [*sealed, active]:
                # A descriptor of its own, for the segment's may be closed meanwhile.
                descriptors.append(os.dup(segment.descriptor()))
        except OSError as error:
            for descriptor in descriptors:
                os.close(descriptor)
            return fail(error)
        folder = self._folder if self._new_files else None
        self._new_files = False

        def failed(failure: Failure) -> Failure:
            self._new_files = True
            reason = failure.getErrorMessage()
            self._log.error("{folder} cannot be flushed: {reason}", folder=self._folder, reason=reason)
            return failure

        def synced(_: None) -> None:
            self.synced = max(self.synced, end)
            self._sealed = [segment for segment in self._sealed if segment not in sealed]

        return self._bridge.call(sync_files, descriptors, folder).addCallbacks(synced, failed)
