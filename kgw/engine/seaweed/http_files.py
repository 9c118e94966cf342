"""Files of the filer, read over its HTTP port by ranges; blocking, for the bridge's threads."""

from __future__ import annotations

import http.client
from collections import deque
from http import HTTPStatus
from urllib.parse import quote

from kgw.engine.seaweed.errors import EngineUnavailable

#: The most bytes one call reads.
MOST_BYTES = 16 << 20
#: Connections that are kept for the next call.
_MOST_IDLE = 16


class HttpFiles:
    """Keeps connections between reads. Threads may share it."""

    def __init__(self, timeout_s: float) -> None:
        """
        @param timeout_s: how long the filer may be silent.
        """
        self._timeout_s = timeout_s
        # appending and popping are atomic; a connection is used by whoever has popped it
        self._idle: deque[tuple[str, http.client.HTTPConnection]] = deque(maxlen=_MOST_IDLE)

    def read(self, address: str, path: str, offset: int, size: int) -> bytes:
        """
        Read at most C{size} bytes of a file, and at most L{MOST_BYTES}; -1 asks for those.

        @param address: host:port.
        @return: empty where there is no such file, or it ends at or before C{offset}.
        @raise EngineUnavailable: no answer, or not what was asked for.
        """
        size = MOST_BYTES if size < 0 else min(size, MOST_BYTES)
        if not size:
            return b""
        while True:
            connection, kept = self._connection(address)
            try:
                connection.request("GET", quote(path), headers={"Range": f"bytes={offset}-{offset + size - 1}"})
                return self._answer(address, connection, path, offset, size)
            except (http.client.HTTPException, OSError) as failure:
                connection.close()
                # the filer may have closed a connection while it was not used
                if not kept:
                    reason = str(failure) or type(failure).__name__
                    raise EngineUnavailable(f"reading {path} from {address}: {reason}") from failure

    def close(self) -> None:
        """Close the connections that are kept."""
        while self._idle:
            self._idle.pop()[1].close()

    def _connection(self, address: str) -> tuple[http.client.HTTPConnection, bool]:
        """A connection, and whether it was used before."""
        while True:
            try:
                known, connection = self._idle.pop()
            except IndexError:
                return http.client.HTTPConnection(address, timeout=self._timeout_s), False
            if known == address:
                return connection, True
            connection.close()

    def _answer(self, address: str, connection: http.client.HTTPConnection, path: str, offset: int, size: int) -> bytes:
        response = connection.getresponse()
        if response.status == HTTPStatus.PARTIAL_CONTENT:
            data = response.read()
        elif response.status == HTTPStatus.OK:
            # the filer answers so for an empty file, and a server that knows no ranges sends all
            data = response.read(offset + size)[offset:]
            if not response.isclosed():
                connection.close()
        elif response.status in (HTTPStatus.NOT_FOUND, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE):
            response.read()
            data = b""
        else:
            said = response.read(200).decode("utf-8", "replace").strip()
            connection.close()
            raise EngineUnavailable(f"reading {path} from {address}: HTTP {response.status} {said}")
        if len(data) > size:
            connection.close()
            raise EngineUnavailable(f"reading {path} from {address}: {len(data)} bytes where {size} were asked for")
        if connection.sock is not None:
            self._idle.append((address, connection))
        return data
