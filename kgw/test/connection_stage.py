"""A connection without a socket, and small APIs whose handlers do what a test tells them to."""

from __future__ import annotations

import struct
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import Logger, formatEvent

from kgw.errors import ErrorCode, KafkaError, WireError
from kgw.handlers.contract import Api, Call, Services
from kgw.metrics import Metrics
from kgw.net.connections import Connections, Limits
from kgw.net.dispatcher import Dispatcher
from kgw.net.protocol import KafkaFactory, KafkaProtocol
from kgw.peer_log import PeerLog
from kgw.wire.compiler import Codec
from kgw.wire.message import field, message
from kgw.wire.primitives import INT16, INT32, RECORDS, STRING


@message
class Request:
    what: str = field(STRING)
    size: int = field(INT32)
    padding: bytes | memoryview | None = field(RECORDS, nullable=0)


@message
class Response:
    error_code: int = field(INT16, default=ErrorCode.NONE)
    what: str = field(STRING)
    padding: bytes | None = field(RECORDS, nullable=0)


#: Their correlation ids, error codes and texts.
Answers = list[tuple[int, int, str]]


def frame(correlation_id: int, what: str, size: int = 0, padding: int = 0, key: int = 3, version: int = 0) -> bytes:
    """A request with its size; C{size} is that of the answer, C{padding} makes the request that much longer."""
    body = b"".join(Codec(Request, version, version > 0).encode(Request(what, size, bytes(padding))))
    header = struct.pack(">hhih6s", key, version, correlation_id, 6, b"tester") + (b"\0" if version > 0 else b"")
    return struct.pack(">i", len(header) + len(body)) + header + body


def read_answers(data: bytes, version: int = 0, plain: bool = False) -> Answers:
    """What a client reads; fails on anything that is not whole answers."""
    answers = []
    while data:
        (size,) = struct.unpack_from(">i", data)
        whole, data = data[4 : 4 + size], data[4 + size :]
        assert len(whole) == size, "half an answer"
        (correlation_id,) = struct.unpack_from(">i", whole)
        start = 5 if version > 0 and not plain else 4
        response, end = Codec(Response, version, version > 0).decode(whole, start)
        assert end == size
        answers.append((correlation_id, response.error_code, response.what))
    return answers


class Stage:
    """
    A dispatcher with two APIs, and connections to it.

    The text of a request says what its handler does: C{wait...} waits for L{fire}, C{kafka}, C{bug}, C{wire},
    C{cancel} fail, C{silent} has no answer, C{bad} one that cannot be written; anything else is answered at once.
    Key 3 is C{Ask}; key 1 is C{Poll}, a long poll, whose C{wait...} also ends where the gateway stops.

    @ivar started: the texts of the requests whose handlers were called, in that order.
    @ivar waiting: what they wait for, by text.
    """

    def __init__(self, **limits: Any) -> None:
        self.clock = Clock()
        self.events: list[dict[str, Any]] = []
        self.log = PeerLog(Logger("kgw.test", observer=cast(Any, self.events.append)), self.clock)
        self.started: list[str] = []
        self.cancelled: list[str] = []
        self.waiting: dict[str, Deferred[None]] = {}
        self.during: Callable[[Request], None] = lambda request: None
        self.metrics = Metrics(timer=self.clock.seconds)
        self.services = cast(Services, SimpleNamespace(clock=self.clock, metrics=self.metrics))
        ask = Api(
            key=3,
            name="Ask",
            versions=range(2),
            flexible=1,
            request=Request,
            response=Response,
            handle=self._handle,
            refuse=self._refuse,
        )
        poll = Api(
            key=1,
            name="Poll",
            versions=range(2),
            flexible=1,
            request=Request,
            response=Response,
            handle=self._handle,
            refuse=self._refuse,
            parks=True,
        )
        versions = Api(
            key=18,
            name="Versions",
            versions=range(2),
            flexible=1,
            request=Request,
            response=Response,
            handle=self._handle,
            refuse=self._refuse,
            plain_response_header=True,
            answers_unknown_version=True,
        )
        self.apis = {3: ask, 1: poll, 18: versions}
        self.dispatcher = Dispatcher(self.apis, self.services, self.log)
        self.connections = Connections(Limits(**limits), self.clock, self.log)
        self.factory = KafkaFactory(self.dispatcher, self.connections)

    @property
    def lines(self) -> list[str]:
        """The log so far."""
        return [formatEvent(event) for event in self.events]

    def connect(
        self, host: IAddress | None = None, peer: IAddress | None = None, transport: StringTransport | None = None
    ) -> tuple[Any, StringTransport]:
        """A new connection and its transport."""
        transport = transport or StringTransport(host, peer)
        protocol = self.factory.buildProtocol(transport.getPeer())
        protocol.makeConnection(transport)
        return cast(KafkaProtocol, protocol), transport

    def fire(self, what: str) -> None:
        """Let the handler that waits under this text go on."""
        self.waiting.pop(what).callback(None)

    async def _handle(self, request: Request, call: Call) -> Response | None:
        what = request.what
        self.started.append(what)
        self.during(request)
        if what.startswith("wait"):
            self.waiting[what] = Deferred(lambda _: self.cancelled.append(what))
            await self._wait(what, call)
            what = what.removeprefix("wait-")
        if what == "kafka":
            raise KafkaError(ErrorCode.NOT_CONTROLLER, "ask another")
        if what == "bug":
            raise ZeroDivisionError("a bug in a handler")
        if what == "wire":
            raise WireError("not a batch")
        if what == "silent":
            return None
        if what == "bad":
            return Response(what=None)  # type: ignore[arg-type]
        return Response(what=what, padding=bytes(request.size))

    async def _wait(self, what: str, call: Call) -> None:
        if call.header.api_key != 1:
            await self.waiting[what]
            return

        def ended() -> None:
            self.fire(what)

        call.peer.watch_end(ended)
        try:
            await self.waiting[what]
        finally:
            call.peer.unwatch_end(ended)

    @staticmethod
    def _refuse(request: Request | None, code: ErrorCode) -> Response | None:
        if request is not None and request.size == -1:
            return None
        if request is not None and request.size == -2:
            raise ZeroDivisionError("a bug in a refusal")
        return Response(error_code=code, what="refused")
