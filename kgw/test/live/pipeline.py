"""A client of plain sockets, for requests that no library sends: many on their way at once, of several members."""

from __future__ import annotations

import itertools
import socket
import struct
from typing import Any

from kgw.handlers.contract import Api
from kgw.handlers.registry import BY_KEY

PATIENCE = 20.0


class RawClient:
    """
    One connection. Requests are sent without waiting; answers are read in the order in which they come.

    @ivar timeout: seconds to wait for an answer.
    """

    def __init__(self, port: int, client_id: str = "raw", timeout: float = PATIENCE) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout)
        self._file = self._socket.makefile("rb")
        self._client_id = client_id.encode()
        self._numbers = itertools.count(1)
        self._waiting: dict[int, tuple[Api, int]] = {}

    def frame(self, module: Any, version: int, request: Any) -> tuple[int, bytes]:
        """A request's correlation id and its bytes."""
        api: Api = module.API
        number = next(self._numbers)
        head = struct.pack(">hhih", api.key, version, number, len(self._client_id)) + self._client_id
        body = b"".join(api.request_codec(version).encode(request))
        if api.is_flexible(version):
            head += b"\0"
        self._waiting[number] = BY_KEY[api.key], version
        return number, struct.pack(">i", len(head) + len(body)) + head + body

    def send(self, module: Any, version: int, request: Any) -> int:
        """Send one request; its correlation id."""
        number, data = self.frame(module, version, request)
        self._socket.sendall(data)
        return number

    def send_together(self, *requests: tuple[Any, int, Any]) -> list[int]:
        """Send several in one write; their correlation ids."""
        frames = [self.frame(*request) for request in requests]
        self._socket.sendall(b"".join(data for _, data in frames))
        return [number for number, _ in frames]

    def receive(self) -> tuple[int, Any]:
        """The next answer: its correlation id and what it says."""
        (size,) = struct.unpack(">i", self._read(4))
        data = self._read(size)
        (number,) = struct.unpack_from(">i", data)
        api, version = self._waiting.pop(number)
        start = 5 if api.is_flexible(version) and not api.plain_response_header else 4
        answer, end = api.response_codec(version).decode(data, start)
        assert end == size, f"{size - end} bytes behind the answer"
        return number, answer

    def ask(self, module: Any, version: int, request: Any) -> Any:
        """Send one request and read its answer; nothing else may be on its way."""
        number = self.send(module, version, request)
        got, answer = self.receive()
        assert got == number, f"the answer to {got} came instead of that to {number}"
        return answer

    def close(self) -> None:
        """End the connection."""
        self._file.close()
        self._socket.close()

    def _read(self, size: int) -> bytes:
        data = self._file.read(size)
        assert len(data) == size, "the connection has ended"
        return data
