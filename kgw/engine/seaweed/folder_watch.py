"""Word of each change below a folder of the filer, whoever made it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from kgw.engine.seaweed.metadata_events import Event, MetadataEvents

if TYPE_CHECKING:
    from kgw.engine.seaweed.connections import Connections

_log = Logger("kgw.engine.seaweed")


class FolderListener(Protocol):
    """Who wants to know."""

    def changed(self, directory: str, name: str, content: bytes | None) -> None:
        """
        An entry was written or removed.

        @param content: what it holds now; C{None} where it is gone. Empty for a directory, and for a file that is kept
            in chunks.
        """

    def look_anew(self) -> None:
        """
        Anything may have changed, so everything has to be read again: now, at the beginning, as after each time
        without word of the filer. What changes from now on is told.
        """


class FolderWatch:
    """
    Tells a listener of changes below a folder; nothing is kept here, so a slow listener costs no memory.

    Changes of one entry come in their order; where another filer is asked, those of the last seconds come once more.
    """

    def __init__(
        self,
        connections: Connections,
        address: Callable[[], str],
        clock: IReactorTime,
        folder: str,
        listener: FolderListener,
    ) -> None:
        """
        @param address: of the filer's gRPC port, now.
        @param clock: C{seconds()} is epoch seconds.
        @param folder: absolute, without a slash at the end.
        """
        self._folder = folder
        self._listener = listener
        self._events = MetadataEvents(
            connections, address, clock, f"{folder}/", f"changes in {folder}", self._event, self._anew
        )

    def start(self) -> None:
        """Begin to tell."""
        self._events.start()

    def stop(self) -> None:
        """Tell nothing more."""
        self._events.stop()

    def _anew(self) -> None:
        with _log.failuresHandled("looking at {folder} anew", folder=self._folder):
            self._listener.look_anew()

    def _event(self, event: Event) -> None:
        what = event.event_notification
        is_there, was_there = what.HasField("new_entry"), what.HasField("old_entry")
        directory = what.new_parent_path or event.directory
        with _log.failuresHandled("telling of a change in {directory}", directory=event.directory):
            if was_there and (
                not is_there or (directory, what.new_entry.name) != (event.directory, what.old_entry.name)
            ):
                # removed, or moved away
                self._tell(event.directory, what.old_entry.name, None)
            if is_there:
                self._tell(directory, what.new_entry.name, what.new_entry.content)

    def _tell(self, directory: str, name: str, content: bytes | None) -> None:
        if name and f"{directory}/".startswith(f"{self._folder}/"):
            self._listener.changed(directory, name, content)
