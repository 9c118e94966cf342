"""The error gate: one frame in, one answer out; whatever goes wrong in between becomes an error code or a hang-up."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from kgw.errors import ErrorCode, KafkaError, WireError
from kgw.handlers.contract import Api, Call, MakeShortcut, Peer, Services, Shortcut
from kgw.metrics import QUICK, Times
from kgw.net.error_fields import reader_of
from kgw.net.stepping import Started, Timed
from kgw.peer_log import PeerLog
from kgw.wire.compiler import Buffer
from kgw.wire.header import RequestHeader, decode_request_header, encode_response_header, peek_request
from kgw.wire.message import holds_records

#: A whole response, frame size included, as buffers to send in this order; C{None} where the client wants none.
Answer = list[Buffer] | None

#: Told once what became of a request: its answer, or the exception there is instead. Does not raise.
Settled = Callable[[Answer | BaseException], None]
#: Told of each request before it is started, with its frame and connection; C{None} where it is not of interest. Does
#: not raise.
Watcher = Callable[[bytes, Peer], Settled | None]
#: Told of each request that was worked on: its client id, seconds of work, and its size in bytes where its Api
#: C{produces}, else 0. Says for how many milliseconds its connection is not to be read. Does not raise.
Charge = Callable[[str, float, int], int]

#: Bodies up to this size are joined with their header: cheaper than to send two buffers.
_JOIN_MAX = 16 * 1024

#: The most characters of a name that a client made up which go to the log.
_NAME_MAX = 100


class Hangup(Exception):
    """The connection has to be closed; why is in the log already."""


class _Route:
    """One API in one version, with everything looked up."""

    __slots__ = ("api", "decode", "encode", "errors", "flexible", "handle", "shortcut", "tagged", "times", "version")

    def __init__(self, api: Api, version: int, times: Times, shortcut: Shortcut | None = None) -> None:
        self.shortcut = shortcut
        self.times = times
        self.errors = reader_of(api.response)
        self.api = api
        self.version = version
        self.flexible = api.is_flexible(version)
        self.tagged = self.flexible and not api.plain_response_header
        self.decode = api.request_codec(version).decode
        self.encode = api.response_codec(version).encode
        self.handle: Callable[[Any, Call], Coroutine[Deferred[Any], Any, Any]] = api.handle  # type: ignore[assignment]


class Dispatcher:
    """
    Finds the Api of a frame, decodes, handles, encodes (house rule R3, gate out).

    Knows no connection: what it wants closed it says by L{Hangup}.

    @ivar large: the keys, as their two bytes, of the APIs whose requests carry record batches.
    @ivar enter: what connections call: L{dispatch}, or that with the watcher around it while there is one, or one that
        charges clients while there are quotas. So these cost nothing while there are none.
    """

    enter: Callable[[bytes, Peer], Answer | Deferred[Answer]]

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
        self._metrics = services.metrics
        self._now = services.metrics.timer
        self._log = log
        # by the four bytes of key and version
        self._routes: dict[bytes, _Route] = {}
        self._watcher: Watcher | None = None
        self._charge: Charge | None = None
        self._choose()

    def watch(self, watcher: Watcher | None) -> None:
        """
        Have C{watcher} told of every request from now on.

        @param watcher: in place of the one before; C{None} for nobody.
        """
        self._watcher = watcher
        self._choose()

    def throttle(self, charge: Charge | None) -> None:
        """
        Have clients charged for what they do from now on, all of it by the general way.

        @param charge: in place of the one before; C{None} for nobody.
        """
        self._charge = charge
        self._choose()

    def _choose(self) -> None:
        self._way = self.dispatch if self._charge is None else self._dispatch_charged
        self.enter = self._way if self._watcher is None else self._dispatch_watched

    def _dispatch_watched(self, frame: bytes, peer: Peer) -> Answer | Deferred[Answer]:
        settled = self._watcher(frame, peer) if self._watcher is not None else None
        if settled is None:
            return self._way(frame, peer)
        try:
            answer = self._way(frame, peer)
        except BaseException as error:
            settled(error)
            raise
        if isinstance(answer, Deferred):
            return answer.addBoth(_passed_on, settled)
        settled(answer)
        return answer

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
        started = self._now()
        if route.shortcut is not None:
            try:
                short = route.shortcut(frame, peer)
            except Exception as error:
                return self._took(self._refuse(route, *self._read(route, frame, peer, started), error), route, started)
            if isinstance(short, list):  # the commonest, and a Deferred, being abstract, is slow to tell
                # as _took has it
                seconds = self._now() - started
                times = route.times
                times.seconds += seconds
                if seconds < QUICK:
                    times.quick += 1
                else:
                    times.add(seconds)
                return short
            if short is not None:
                return short.addErrback(self._lost, route, frame, peer, started).addCallback(self._took, route, started)
        call, request = self._read(route, frame, peer, started)
        coroutine = route.handle(request, call)
        try:
            waits_for = coroutine.send(None)
        except StopIteration as stop:
            answer = None if stop.value is None else self._encode(route, call, stop.value)
            return self._took(answer, route, started)
        except Exception as error:
            return self._took(self._refuse(route, call, request, error), route, started)
        return Deferred.fromCoroutine(self._wait(route, call, request, Started(coroutine, waits_for), started))

    def _dispatch_charged(self, frame: bytes, peer: Peer) -> Answer | Deferred[Answer]:
        """L{dispatch} while there are quotas."""
        route = self._routes.get(frame[:4])
        if route is None:
            found = self._find(frame, peer)
            if isinstance(found, list):
                return found
            route = found
        started = self._now()
        call, request = self._read(route, frame, peer, started)
        return Deferred.fromCoroutine(self._charged(route, call, request, len(frame), started))

    async def _charged(self, route: _Route, call: Call, request: Any, size: int, started: float) -> Answer:
        work = Timed(route.handle(request, call), self._now)
        work.seconds = self._now() - started
        failed: Exception | None = None
        found = None
        try:
            found = await work
        except Exception as error:
            failed = error
        if self._charge is not None:
            charged = self._charge(call.header.client_id or "", work.seconds, size if route.api.produces else 0)
            call.throttle_ms = max(call.throttle_ms, charged)
        if call.throttle_ms:
            # what comes behind the answer stays unread (KIP-219)
            call.peer.mute(call.throttle_ms / 1000)
        if failed is not None:
            answer = self._refuse(route, call, request, failed)
        else:
            answer = None if found is None else self._encode(route, call, found)
        return self._took(answer, route, started)

    def _took(self, answer: Answer, route: _Route, started: float) -> Answer:
        """Count a request, which is done."""
        seconds = self._now() - started
        times = route.times
        times.seconds += seconds
        if seconds < QUICK:
            times.quick += 1
        else:
            times.add(seconds)
        return answer

    def _read(self, route: _Route, frame: bytes, peer: Peer, started: float) -> tuple[Call, Any]:
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
        return Call(header, peer, self._services, started=started), request

    def _lost(self, failure: Failure, route: _Route, frame: bytes, peer: Peer, started: float) -> Answer:
        """What a shortcut began has failed in a way it does not know."""
        if not isinstance(failure.value, Exception):
            failure.raiseException()
        return self._refuse(route, *self._read(route, frame, peer, started), failure.value)

    async def _wait(self, route: _Route, call: Call, request: Any, rest: Started, started: float) -> Answer:
        try:
            found = await rest
        except Exception as error:
            answer = self._refuse(route, call, request, error)
        else:
            answer = None if found is None else self._encode(route, call, found)
        return self._took(answer, route, started)

    def _encode(self, route: _Route, call: Call, answer: Any) -> list[Buffer]:
        if call.throttle_ms and hasattr(answer, "throttle_time_ms"):
            answer.throttle_time_ms = call.throttle_ms
        if route.errors is not None:
            codes: list[int] = []
            route.errors(answer, codes)
            if codes:
                self._metrics.count_errors(route.api.name, codes)
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
                "The answer to {api} v{version} from {peer} cannot be written; closing", **self._about(route, call)
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
            self._metrics.count_errors(route.api.name, [code])
            # acks=0: the one way to tell the client is to close (Kafka: Produce with acks=0)
            self._log.info(
                "{api} v{version} from {peer} failed and wants no answer: {error}; closing",
                error=error,
                **self._about(route, call),
            )
            raise Hangup from None
        return self._encode(route, call, answer)

    def _failed(self, text: str, route: _Route, call: Call, error: Exception) -> None:
        self._log.failure(text, Failure(error), **self._about(route, call))

    def _about(self, route: _Route, call: Call) -> dict[str, Any]:
        """The fields of a log line about a request."""
        client_id = call.header.client_id or ""
        return {
            "api": route.api.name,
            "version": route.version,
            "peer": describe(call.peer, client_id),
            "client_id": client_id,
            "ms": round((self._now() - call.started) * 1000, 3),
        }

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
            route = self._routes[frame[:4]] = _Route(api, version, self._metrics.times(api.name, version), shortcut)
            return route
        if api is not None and api.answers_unknown_version:
            oldest = _Route(api, api.versions[0], self._metrics.times(api.name, api.versions[0]))
            # of a header in an unknown version no more than this is certain (KIP-511)
            call = Call(RequestHeader(key, version, correlation_id, None, 8), peer, self._services, started=self._now())
            return self._refuse_version(oldest, call)
        try:
            client_id = decode_request_header(frame, False).client_id
        except WireError:
            client_id = None
        self._log.warn(
            "{peer} asked for {api} v{version}, {served}; closing",
            peer=describe(peer, client_id),
            client_id=client_id or "",
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
            client_id=(header.client_id if header else None) or "",
            error=error,
        )
        return Hangup()


def _passed_on(result: Answer | Failure, settled: Settled) -> Answer | Failure:
    """Tell a watcher what a request that had to wait has come to."""
    settled(result.value if isinstance(result, Failure) else result)
    return result


def describe(peer: Peer, client_id: str | None = None) -> str:
    """The peer in the words of the log; names that it made up are quoted and cut."""
    words = [peer.remote]
    if client_id:
        words.append(f"client id {client_id[:_NAME_MAX]!r}")
    if peer.software_name:
        words.append(f"software {peer.software_name[:_NAME_MAX]!r} {peer.software_version[:_NAME_MAX]!r}")
    return words[0] if len(words) == 1 else f"{words[0]} ({', '.join(words[1:])})"
