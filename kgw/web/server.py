"""HTTP as the site speaks it: requests without bodies, bounds on what a connection may cost, and answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote_to_bytes

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import http

log = Logger("kgw.web")

#: What is read of a body before its connection is closed: no route has use for one.
MOST_BODY_BYTES = 64 * 1024
#: A request is whole so many seconds after its first byte.
REQUEST_SECONDS = 10.0
#: A connection that has been silent for so long, and has not taken its answer either, is closed.
IDLE_SECONDS = 60.0

JSON = "application/json"
METHODS = ("GET", "HEAD")
#: Reasons that twisted.web has no words for.
_WORDS = {421: b"Misdirected Request"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client gets."""

    body: bytes
    content_type: str = JSON
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Asked:
    """
    A request, as far as answers depend on it.

    @ivar path: its segments, decoded one by one: a slash that was written as C{%2F} is a part of a name.
    @ivar query: the first value of each parameter.
    @ivar host: the C{Host} header, C{None} where there is none.
    """

    method: str
    path: tuple[str, ...]
    query: Mapping[str, str]
    host: str | None = None


class HttpError(Exception):
    """An answer that is an error, with a sentence for people; raised by what makes answers."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.answer = Answer(encode({"error": message, "status": status}), status=status, headers=headers or {})


#: Makes the answer to a request; raises L{HttpError}.
Respond = Callable[[Asked], Coroutine[Deferred[Any], Any, Answer]]


def encode(value: Any) -> bytes:
    """A JSON text, with a line feed at its end for those who read it in a terminal."""
    return json.dumps(value, indent=2, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def parse(method: bytes, target: bytes, host: str | None) -> Asked:
    """
    What a request line asks for.

    @raise HttpError: 400: it is no path, or no text.
    """
    path, _, query = target.partition(b"?")
    try:
        if not path.startswith(b"/"):
            raise ValueError
        segments = tuple(unquote_to_bytes(part).decode() for part in path[1:].split(b"/"))
        found = parse_qs(query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=20)
    except ValueError:  # as is what bytes that are no text raise
        raise HttpError(400, "this is no path that can be asked for") from None
    return Asked(method.decode("ascii", "replace"), segments, {name: values[0] for name, values in found.items()}, host)


class Request(http.Request):
    """One request: its body is thrown away, its answer made by the site and given whole."""

    channel: Channel

    def __init__(self, channel: Channel, *args: Any, **kwargs: Any) -> None:
        super().__init__(channel, *args, **kwargs)
        self._body = 0
        self._gone = False

    def handleContentChunk(self, data: bytes) -> None:
        """Throw it away, and its sender too where there is no end of it."""
        self._body += len(data)
        if self._body > MOST_BODY_BYTES:
            self.channel.transport.abortConnection()

    def process(self) -> None:
        """Have the site answer."""
        answering = Deferred.fromCoroutine(self._answer())
        self.notifyFinish().addErrback(self._left, answering)
        answering.addCallbacks(self._send, self._failed)

    async def _answer(self) -> Answer:
        try:
            host = self.requestHeaders.getRawHeaders("Host")
            asked = parse(self.method, self.uri, host[0] if host else None)
            if asked.method not in METHODS:
                raise HttpError(405, f"{asked.method} changes nothing here; use GET", {"Allow": ", ".join(METHODS)})
            return await self.channel.respond(asked)
        except HttpError as error:
            return error.answer

    def _left(self, _: Failure, answering: Deferred[Answer]) -> None:
        self._gone = True
        answering.cancel()

    def _failed(self, failure: Failure) -> None:
        if self._gone and failure.check(CancelledError):
            return
        log.failure("a page cannot be made", failure)
        self._send(HttpError(500, "kgw has failed to make this page; its log says why").answer)

    def _send(self, answer: Answer) -> None:
        if self._gone:
            return
        self.setResponseCode(answer.status, _WORDS.get(answer.status))
        headers = {
            "Content-Type": answer.content_type,
            "Content-Length": str(len(answer.body)),
            "Cache-Control": "no-store",
            "Server": "kgw",
            "X-Content-Type-Options": "nosniff",
            **answer.headers,
        }
        for name, value in headers.items():
            self.setHeader(name, value)
        # twisted.web sends no body where HEAD was asked for
        self.write(answer.body)
        self.finish()


class Channel(http.HTTPChannel):
    """One connection."""

    respond: Respond
    site: Server
    transport: Any

    def __init__(self) -> None:
        super().__init__()
        self._alarm: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """Begin, unless there are too many already."""
        self.site.connections.add(self)
        if len(self.site.connections) > self.site.most_connections:
            self.transport.abortConnection()
            return
        super().connectionMade()

    def dataReceived(self, data: bytes) -> None:
        """Take in a part of a request, which is to be whole soon: also one that comes a byte at a time."""
        if self._alarm is None:
            self._alarm = self.callLater(REQUEST_SECONDS, self._too_slow)
        super().dataReceived(data)

    def allContentReceived(self) -> None:
        """A request is whole."""
        self._quiet()
        super().allContentReceived()

    def timeoutConnection(self) -> None:
        """Nothing has come for too long; what was not taken of answers by now is lost."""
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The client is gone."""
        self._quiet()
        self.site.connections.discard(self)
        super().connectionLost(reason)

    def _too_slow(self) -> None:
        self._alarm = None
        self.transport.abortConnection()

    def _quiet(self) -> None:
        alarm, self._alarm = self._alarm, None
        if alarm is not None:
            alarm.cancel()


class Server(http.HTTPFactory):
    """
    Makes a connection of each client.

    There is no log of requests: probes and scrapers come every few seconds.

    @ivar connections: all there are.
    """

    noisy = False
    protocol = Channel  # type: ignore[assignment]

    def __init__(self, respond: Respond, clock: IReactorTime, most_connections: int) -> None:
        """
        @param most_connections: those above it are closed at once.
        """
        super().__init__(timeout=IDLE_SECONDS, reactor=clock)
        self.most_connections = most_connections
        self.connections: set[Channel] = set()
        self._respond = respond

    def startFactory(self) -> None:
        """Nothing: twisted.web would open its log of requests."""

    def stopFactory(self) -> None:
        """Nothing, as L{startFactory}."""

    def log(self, request: http.Request) -> None:
        """Nothing, as L{startFactory}."""

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """A connection."""
        channel: Any = super().buildProtocol(addr)
        channel.requestFactory = Request
        channel.site = self
        channel.respond = self._respond
        return channel

    def close(self) -> None:
        """End all connections."""
        for channel in list(self.connections):
            channel.transport.abortConnection()
