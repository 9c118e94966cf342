"""The filer: entries in directories, with small contents, attributes of their own, and files read over HTTP."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from twisted.internet.defer import Deferred

from kgw.engine.seaweed.calls import Calls, M, Message
from kgw.engine.seaweed.errors import EngineUnavailable
from kgw.engine.seaweed.http_files import HttpFiles
from kgw.engine.seaweed.proto import filer_pb2
from kgw.errors import ErrorCode, KafkaError

_SERVICE = "/filer_pb.SeaweedFiler/"
#: How many entries one call lists.
_PAGE = 1024
#: Mode of a file of ours, as the Go gateway writes it.
_FILE_MODE = 0o644

Listing = list["Entry"]


class Entry(NamedTuple):
    """
    An entry of a directory, as it was when it was looked up.

    @ivar size: bytes of the file.
    @ivar content: what is kept in the entry itself; empty for a file in chunks.
    @ivar extended: attributes by name.
    @ivar mtime_s: seconds since the epoch.
    @ivar raw: the whole entry, with what kgw does not know; not to be changed.
    """

    name: str
    is_directory: bool
    size: int
    content: bytes
    extended: dict[str, bytes]
    mtime_s: int
    raw: filer_pb2.Entry


def entry_of(raw: filer_pb2.Entry) -> Entry:
    """What an entry of the engine says; C{raw} belongs to it from now on."""
    size = max((chunk.offset + chunk.size for chunk in raw.chunks), default=0)
    size = max(size, raw.attributes.file_size, len(raw.content))
    return Entry(raw.name, raw.is_directory, size, raw.content, dict(raw.extended), raw.attributes.mtime, raw)


class Filer:
    """
    Calls to a filer of the cluster.

    Directories are absolute paths without a slash at the end. Each method fails with
    L{kgw.engine.seaweed.errors.EngineUnavailable} while no filer can be reached.
    """

    def __init__(
        self,
        calls: Calls,
        address: Callable[[], str],
        http_address: Callable[[], str] | None = None,
        clock: Callable[[], float] = time.time,
        may_write: Callable[[], bool] | None = None,
    ) -> None:
        """
        @param address: says where the filer's gRPC is now, as host:port; raises L{EngineUnavailable} where that is not
            known.
        @param http_address: the same for HTTP; as SeaweedFS has it by default, 10000 below gRPC, where C{None}.
        @param clock: seconds since the epoch, for the times of entries.
        @param may_write: asked in the thread that is about to make a call that changes anything: where it says no, none
            is made, and what it was for fails with C{KAFKA_STORAGE_ERROR}.
        """
        self._may_write = may_write
        self._calls = calls
        self._address = address
        self._http_address = http_address or self._usual_http_address
        self._clock = clock
        self._files = HttpFiles(calls.timeout_s)

    async def _lookup(self, directory: str, name: str) -> Entry | None:
        request = filer_pb2.LookupDirectoryEntriesRequest(
            requests=[filer_pb2.LookupDirectoryEntryRequest(directory=directory, name=name)]
        )
        answer = await self._calls.unary(
            self._address(), f"{_SERVICE}LookupDirectoryEntries", request, filer_pb2.LookupDirectoryEntriesResponse
        )
        if len(answer.results) != 1:
            raise EngineUnavailable(f"the filer answered a lookup of one entry with {len(answer.results)}")
        (result,) = answer.results
        if result.error:
            raise EngineUnavailable(f"lookup of {directory}/{name}: {result.error}")
        return entry_of(result.entry) if result.found else None

    async def _list(self, directory: str, start_after: str, limit: int | None) -> Listing:
        found: Listing = []
        while limit is None or len(found) < limit:
            page = _PAGE if limit is None else min(_PAGE, limit - len(found))
            request = filer_pb2.ListEntriesRequest(directory=directory, startFromFileName=start_after, limit=page)
            answers = await self._calls.stream(
                self._address(), f"{_SERVICE}ListEntries", request, filer_pb2.ListEntriesResponse
            )
            found += [entry_of(answer.entry) for answer in answers]
            if len(answers) < page:
                break
            start_after = answers[-1].entry.name
        return found

    async def _put(self, directory: str, name: str, content: bytes, extended: Mapping[str, bytes] | None) -> None:
        now = int(self._clock())
        entry = filer_pb2.Entry(
            name=name,
            content=content,
            extended=extended or {},
            attributes=filer_pb2.FuseAttributes(file_size=len(content), mtime=now, crtime=now, file_mode=_FILE_MODE),
        )
        request = filer_pb2.CreateEntryRequest(directory=directory, entry=entry)
        answer = await self._change("CreateEntry", request, filer_pb2.CreateEntryResponse)
        if answer.error_code:
            # one of the few that no repetition heals: a name too long, a directory in the way
            raise KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, f"{directory}/{name}: {answer.error}")
        if answer.error:
            raise EngineUnavailable(f"{directory}/{name}: {answer.error}")

    async def _update(self, directory: str, entry: Entry, changed: filer_pb2.Entry) -> None:
        # a log file may have grown since it was looked up: then its new chunks must not be lost
        unchanged = filer_pb2.WriteCondition.Clause(
            kind=filer_pb2.WriteCondition.IF_CHUNKS_EQUAL, fids=[chunk.file_id for chunk in entry.raw.chunks]
        )
        request = filer_pb2.UpdateEntryRequest(
            directory=directory, entry=changed, condition=filer_pb2.WriteCondition(clauses=[unchanged])
        )
        await self._change("UpdateEntry", request, filer_pb2.UpdateEntryResponse)

    async def _delete(self, directory: str, name: str, recursive: bool) -> None:
        request = filer_pb2.DeleteEntryRequest(
            directory=directory, name=name, is_delete_data=True, is_recursive=recursive
        )
        answer = await self._change("DeleteEntry", request, filer_pb2.DeleteEntryResponse)
        if answer.error:
            raise EngineUnavailable(f"removing {directory}/{name}: {answer.error}")

    def _change(self, method: str, request: Message, response_type: type[M]) -> Deferred[M]:
        return self._calls.unary(
            self._address(), f"{_SERVICE}{method}", request, response_type, may_call=self._may_write
        )

    def lookup(self, directory: str, name: str) -> Deferred[Entry | None]:
        """
        Look one entry up.

        @return: fires with C{None} where it, or its directory, is not there.
        """
        return Deferred.fromCoroutine(self._lookup(directory, name))

    def list(self, directory: str, start_after: str = "", limit: int | None = None) -> Deferred[Listing]:
        """
        The entries of a directory in the order of their names; none where it is not there.

        @param start_after: only names behind this one.
        @param limit: at most so many; C{None} for all. A listing of many takes several calls and is no snapshot.
        """
        return Deferred.fromCoroutine(self._list(directory, start_after, limit))

    def put(
        self, directory: str, name: str, content: bytes, extended: Mapping[str, bytes] | None = None
    ) -> Deferred[None]:
        """
        Write an entry whole, whether or not it is there; the filer makes the directories above.

        A file among the directories above becomes a directory, so callers keep names of files and directories apart.

        @return: fires when the filer has it in its store; fails with C{KAFKA_STORAGE_ERROR} where a directory has that
            name.
        """
        return Deferred.fromCoroutine(self._put(directory, name, content, extended))

    def set_extended(self, directory: str, entry: Entry, extended: Mapping[str, bytes]) -> Deferred[None]:
        """
        Set attributes of an entry, beside those it has, and leave its content alone.

        @param entry: as it was looked up; fails with L{kgw.engine.seaweed.errors.EntryChanged} where its chunks are
            others by now.
        """
        changed = filer_pb2.Entry()
        changed.CopyFrom(entry.raw)
        for name, value in extended.items():
            changed.extended[name] = value
        return Deferred.fromCoroutine(self._update(directory, entry, changed))

    def write_content(self, directory: str, entry: Entry, content: bytes) -> Deferred[None]:
        """
        Replace what an entry holds and leave its attributes alone.

        @param entry: one without chunks, as it was looked up; fails with
            L{kgw.engine.seaweed.errors.EntryChanged} where it has chunks by now.
        """
        changed = filer_pb2.Entry()
        changed.CopyFrom(entry.raw)
        changed.content = content
        changed.attributes.file_size = len(content)
        changed.attributes.mtime = int(self._clock())
        return Deferred.fromCoroutine(self._update(directory, entry, changed))

    def delete(self, directory: str, name: str, recursive: bool = False) -> Deferred[None]:
        """
        Remove an entry; nothing happens where it is not there.

        @param recursive: with all that is below; otherwise a directory with entries in it fails.
        """
        return Deferred.fromCoroutine(self._delete(directory, name, recursive))

    async def _read(self, directory: str, name: str, offset: int, size: int) -> bytes:
        return await self._calls.blocking(self._files.read, self._http_address(), f"{directory}/{name}", offset, size)

    def read(self, directory: str, name: str, offset: int = 0, size: int = -1) -> Deferred[bytes]:
        """
        Read from a file.

        @param size: at most so many bytes, and never more than L{kgw.engine.seaweed.http_files.MOST_BYTES} at a time;
            -1 asks for as many as that.
        @return: fires with fewer bytes, or none, at the end of the file, and with none where there is no such file.
        """
        return Deferred.fromCoroutine(self._read(directory, name, offset, size))

    def stop(self) -> None:
        """Close the connections that are kept for reading."""
        self._files.close()

    def _usual_http_address(self) -> str:
        host, _, port = self._address().rpartition(":")
        return f"{host}:{int(port) - 10000}"
