"""The error gate: one frame in, one answer out; whatever goes wrong in between becomes an error code or a hang-up."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator, Mapping
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from kgw.errors import ErrorCode, KafkaError, WireError
from kgw.handlers.contract import Api, Call, MakeShortcut, Peer, Services, Shortcut
from kgw.peer_log import PeerLog
from kgw.wire.compiler import Buffer
from kgw.wire.header import RequestHeader, decode_request_header, encode_response_header, peek_request
from kgw.wire.message import holds_records

#: A whole response, frame size included, as buffers to send in this order; C{None} where the client wants none.
Answer = list[Buffer] | None

#: Bodies up to this size are joined with their header: cheaper than to send two buffers.
_JOIN_MAX = 16 * 1024

#: The most characters of a name that a client made up which go to the log.
_NAME_MAX = 100


class Hangup(Exception):
    """The connection has to be closed; why is in the log already."""


class _Route:
    """One API in one version, with everything looked up."""

    __slots__ = ("api", "decode", "encode", "flexible", "handle", "shortcut", "tagged", "version")

    def __init__(self, api: Api, version: int, shortcut: Shortcut | None = None) -> None:
        self.shortcut = shortcut
        self.api = api
        self.version = version
        self.flexible = api.is_flexible(version)
        self.tagged = self.flexible and not api.plain_response_header
        self.decode = api.request_codec(version).decode
        self.encode = api.response_codec(version).encode
        self.handle: Callable[[Any, Call], Coroutine[Deferred[Any], Any, Any]] = api.handle  # type: ignore[assignment]


class _Started:
    """Awaits the rest of a coroutine whose first step was run by hand and ended in waiting."""

    __slots__ = ("_coroutine", "_waits_for")

    def __init__(self, coroutine: Coroutine[Deferred[Any], Any, Any], waits_for: Deferred[Any]) -> None:
        self._coroutine = coroutine
        self._waits_for = waits_for

    def __await__(self) -> Generator[Deferred[Any], Any, Any]:
        coroutine, waits_for = self._coroutine, self._waits_for
        while True:
            try:
                result = yield waits_for
            except GeneratorExit:
                coroutine.close()
                raise
            except BaseException as error:
                step: Callable[[Any], Deferred[Any]] = coroutine.throw
                result = error
            else:
                step = coroutine.send
            try:
                waits_for = step(result)
            except StopIteration as stop:
                return stop.value


class Dispatcher:
    """
    Finds the Api of a frame, decodes, handles, encodes (house rule R3, gate out).

    Knows no connection: what it wants closed it says by L{Hangup}.

    @ivar large: the keys, as their two bytes, of the APIs whose requests carry record batches.
    """

    def __init__(
        self,
        apis: Mapping[int, Api],
        services: Services,
        log: PeerLog,
        shortcuts: Mapping[int, MakeShortcut] | None = None,
    ) -> None:
        """
        @param apis: by key.
        @param shortcuts: short ways for the commonest requests, by key.
        """
        self._shortcuts = dict(shortcuts or {})
        self.large = frozenset(key.to_bytes(2, "big") for key, api in apis.items() if holds_records(api.request))
        self._apis = apis
        self._services = services
        self._log = log
        # by the four bytes of key and version
        self._routes: dict[bytes, _Route] = {}

    def parks(self, frame: bytes) -> bool:
        """Whether the request may wait for something to happen (a long poll), so that a stop should end it."""
        route = self._routes.get(frame[:4])
        return route is not None and route.api.parks

    def dispatch(self, frame: bytes, peer: Peer) -> Answer | Deferred[Answer]:
        """
        Start one request.

        Most requests are done when this returns, and then there is no Deferred at all: it would cost as much as
        decoding and encoding a small Produce. A cancelled Deferred cancels what the handler waits for.

        @param frame: the request without its size; owned by the request, fields of it are views of the frame.
        @return: the answer, or a Deferred of it that fails with L{Hangup} or C{CancelledError} only.
        @raise Hangup: the bytes are no request that is served here, or there is no way to answer.
        """
        route = self._routes.get(frame[:4])
        if route is None:
            found = self._find(frame, peer)
            if isinstance(found, list):
                return found
            route = found
        if route.shortcut is not None:
            try:
                short = route.shortcut(frame)
            except Exception as error:
                return self._refuse(route, *self._read(route, frame, peer), error)
            if isinstance(short, list):  # the commonest, and a Deferred, being abstract, is slow to tell
                return short
            if short is not None:
                return short.addErrback(self._lost, route, frame, peer)
        call, request = self._read(route, frame, peer)
        coroutine = route.handle(request, call)
        try:
            waits_for = coroutine.send(None)
        except StopIteration as stop:
            if stop.value is None:
                return None
            return self._encode(route, call, stop.value)
        except Exception as error:
            return self._refuse(route, call, request, error)
        return Deferred.fromCoroutine(self._wait(route, call, request, _Started(coroutine, waits_for)))

    def _read(self, route: _Route, frame: bytes, peer: Peer) -> tuple[Call, Any]:
        """
        The call and its request.

        @raise Hangup: the bytes are no such request.
        """
        header: RequestHeader | None = None
        try:
            header = decode_request_header(frame, route.flexible)
            request, _ = route.decode(frame, header.body)
        except WireError as error:
            raise self._unreadable(route, header, peer, error) from None
        return Call(header, peer, self._services), request

    def _lost(self, failure: Failure, route: _Route, frame: bytes, peer: Peer) -> Answer:
        """What a shortcut began has failed in a way it does not know."""
        if not isinstance(failure.value, Exception):
            failure.raiseException()
        return self._refuse(route, *self._read(route, frame, peer), failure.value)

    async def _wait(self, route: _Route, call: Call, request: Any, started: _Started) -> Answer:
        try:
            answer = await started
        except Exception as error:
            return self._refuse(route, call, request, error)
        return None if answer is None else self._encode(route, call, answer)

    def _encode(self, route: _Route, call: Call, answer: Any) -> list[Buffer]:
        try:
            buffers = route.encode(answer)
            first = buffers[0]
            size = len(first) if len(buffers) == 1 else sum(map(len, buffers))
            head = encode_response_header(size, call.header.correlation_id, route.tagged)
            # where records follow, the first buffer is the small one in front of them
            if len(first) <= _JOIN_MAX:
                buffers[0] = head + first
            else:
                buffers.insert(0, head)
        except Exception:
            self._log.failure(
                "The answer to {api} v{version} from {peer} cannot be written; closing",
                api=route.api.name,
                version=route.version,
                peer=describe(call.peer, call.header.client_id),
            )
            raise Hangup from None
        return buffers

    def _refuse(self, route: _Route, call: Call, request: Any, error: Exception) -> Answer:
        """The answer to a request whose handler raised C{error}."""
        if isinstance(error, CancelledError):
            raise error
        if isinstance(error, WireError):
            raise self._unreadable(route, call.header, call.peer, error)
        if isinstance(error, KafkaError):
            code = error.code
        else:
            code = ErrorCode.UNKNOWN_SERVER_ERROR
            self._failed("{api} v{version} from {peer} failed; answering UNKNOWN_SERVER_ERROR", route, call, error)
        try:
            answer = route.api.refuse(request, code)
        except Exception as second:
            self._failed("{api} v{version} from {peer} cannot even be refused; closing", route, call, second)
            raise Hangup from None
        if answer is None:
            # acks=0: the one way to tell the client is to close (Kafka: Produce with acks=0)
            self._log.info(
                "{api} v{version} from {peer} failed and wants no answer: {error}; closing",
                api=route.api.name,
                version=route.version,
                peer=describe(call.peer, call.header.client_id),
                error=error,
            )
            raise Hangup from None
        return self._encode(route, call, answer)

    def _failed(self, text: str, route: _Route, call: Call, error: Exception) -> None:
        peer = describe(call.peer, call.header.client_id)
        self._log.failure(text, Failure(error), api=route.api.name, version=route.version, peer=peer)

    def _find(self, frame: bytes, peer: Peer) -> _Route | list[Buffer]:
        """The route of a frame that is the first of its kind, or the answer of L{Api.answers_unknown_version}."""
        try:
            key, version, correlation_id = peek_request(frame)
        except WireError as error:
            self._log.warn("Unreadable request from {peer}: {error}; closing", peer=describe(peer), error=error)
            raise Hangup from None
        api = self._apis.get(key)
        if api is not None and version in api.versions:
            make = self._shortcuts.get(key)
            shortcut = make(self._services, version) if make is not None else None
            route = self._routes[frame[:4]] = _Route(api, version, shortcut)
            return route
        if api is not None and api.answers_unknown_version:
            oldest = _Route(api, api.versions[0])
            # of a header in an unknown version no more than this is certain (KIP-511)
            call = Call(RequestHeader(key, version, correlation_id, None, 8), peer, self._services)
            return self._refuse_version(oldest, call)
        try:
            client_id = decode_request_header(frame, False).client_id
        except WireError:
            client_id = None
        self._log.warn(
            "{peer} asked for {api} v{version}, {served}; closing",
            peer=describe(peer, client_id),
            api=api.name if api else f"the API with key {key}",
            version=version,
            served=f"served are v{api.versions[0]} to v{api.versions[-1]}" if api else "which is not served here",
        )
        raise Hangup

    def _refuse_version(self, oldest: _Route, call: Call) -> list[Buffer]:
        unsupported = KafkaError(ErrorCode.UNSUPPORTED_VERSION)
        answer = self._refuse(oldest, call, None, unsupported)
        if answer is None:
            raise Hangup
        return answer

    def _unreadable(self, route: _Route, header: RequestHeader | None, peer: Peer, error: WireError) -> Hangup:
        self._log.warn(
            "Unreadable {api} v{version} from {peer}: {error}; closing",
            api=route.api.name,
            version=route.version,
            peer=describe(peer, header.client_id if header else None),
            error=error,
        )
        return Hangup()


def describe(peer: Peer, client_id: str | None = None) -> str:
    """The peer in the words of the log; names that it made up are quoted and cut."""
    words = [peer.remote]
    if client_id:
        words.append(f"client id {client_id[:_NAME_MAX]!r}")
    if peer.software_name:
        words.append(f"software {peer.software_name[:_NAME_MAX]!r} {peer.software_version[:_NAME_MAX]!r}")
    return words[0] if len(words) == 1 else f"{words[0]} ({', '.join(words[1:])})"
