"""Asks a registry over HTTP: its URLs one after the other, each answer within bounds of time and size."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from http.cookiejar import DefaultCookiePolicy
from typing import Any, cast

from treq.client import HTTPClient
from treq.cookies import IndexableCookieJar
from twisted.internet.defer import CancelledError, Deferred, TimeoutError, succeed
from twisted.internet.error import ConnectError, ConnectionClosed, DNSLookupError
from twisted.internet.interfaces import IConsumer, IReactorTime
from twisted.internet.protocol import Protocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.client import (
    Agent,
    HTTPConnectionPool,
    RequestGenerationFailed,
    RequestTransmissionFailed,
    ResponseDone,
    ResponseFailed,
    ResponseNeverReceived,
)
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IPolicyForHTTPS, IResponse
from zope.interface import implementer

from kgw.schema.model import RegistryState, RegistryUnauthorised, RegistryUnavailable
from kgw.schema.registry_answers import Answer, parse, words
from kgw.schema.registry_endpoints import Endpoints
from kgw.schema.registry_flights import Turns

log = Logger("kgw.schema")

#: The largest answer, and requests at a time over all URLs.
MOST_BODY_BYTES = 16 << 20
_MOST_REQUESTS = 8
#: Connections that are kept for further requests, and for how long; registries close them after 30 s.
_IDLE_CONNECTIONS = 4
_IDLE_S = 25

_ACCEPT = "application/vnd.schemaregistry.v1+json, application/vnd.schemaregistry+json;q=0.9, application/json;q=0.8"
_CONTENT_TYPE = "application/vnd.schemaregistry.v1+json"

#: What HTTP wraps the failures of a connection in.
_WRAPPED = (RequestGenerationFailed, RequestTransmissionFailed, ResponseFailed, ResponseNeverReceived)
#: What HTTP and all below it fail with.
_FAILURES = (OSError, TimeoutError, ConnectError, ConnectionClosed, DNSLookupError, *_WRAPPED)


def basic(user_info: str) -> str:
    """The header C{Authorization} of a user and a password, C{USER:PASSWORD} (RFC 7617)."""
    return f"Basic {base64.b64encode(user_info.encode()).decode()}"


def bearer(token: str) -> str:
    """The header C{Authorization} of a token (RFC 6750)."""
    return f"Bearer {token}"


class TooLarge(OSError):
    """An answer is larger than any schema may be."""


#: What Twisted's interface of protocols wants as a default; the reason is always given.
_ENDED = Failure(ConnectionClosed())


class _Body(Protocol):
    """
    Collects the body of one answer.

    @ivar collected: fires with it, or fails; cancelled, the connection ends.
    """

    def __init__(self) -> None:
        self.collected: Deferred[bytes] = Deferred(lambda _: self._abort())
        self._data = bytearray()

    def dataReceived(self, data: bytes) -> None:
        if self.collected.called:
            return
        self._data += data
        if len(self._data) > MOST_BODY_BYTES:
            self._abort()
            self.collected.errback(TooLarge(f"an answer of more than {MOST_BODY_BYTES} bytes"))

    def connectionLost(self, reason: Failure = _ENDED) -> None:
        if self.collected.called:
            return
        # without a length the end of the connection is the end of the answer
        if reason.check(ResponseDone, PotentialDataLoss):
            self.collected.callback(bytes(self._data))
        else:
            self.collected.errback(reason)

    def _abort(self) -> None:
        transport: Any = self.transport
        if transport is not None:
            # a connection has it, what is on the way to one need not
            getattr(transport, "abortConnection", transport.loseConnection)()


@implementer(IBodyProducer)
class _Question:
    """
    The body of a request, sent at once; treq's own producers work in turns of the process's reactor.

    @ivar length: bytes.
    """

    def __init__(self, body: bytes) -> None:
        self.length = len(body)
        self._body = body

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        consumer.write(self._body)
        return succeed(None)

    def pauseProducing(self) -> None:
        """It is sent already."""

    def resumeProducing(self) -> None:
        """It is sent already."""

    def stopProducing(self) -> None:
        """It is sent already."""


class Connections:
    """
    What requests go over: an agent of Twisted's with connections that are kept.

    @ivar agent: makes requests.
    """

    def __init__(self, reactor: Any, policy: IPolicyForHTTPS, timeout_s: float) -> None:
        """
        @param timeout_s: seconds until a connection must be there.
        """
        self._pool = HTTPConnectionPool(reactor)
        self._pool.maxPersistentPerHost = _IDLE_CONNECTIONS
        self._pool.cachedConnectionTimeout = _IDLE_S
        self.agent: IAgent = Agent(reactor, policy, connectTimeout=timeout_s, pool=self._pool)

    def close(self) -> Deferred[None]:
        """End those that are kept; fires when they are closed."""
        closed: Deferred[None] = self._pool.closeCachedConnections()
        return closed


class RegistryHttp:
    """
    The calls of one registry, which may have several URLs.

    @ivar state: how the last call went.
    @ivar requests: sent so far, to all URLs; C{errors} of them were not answered, or not by a registry that is well.
    """

    def __init__(
        self,
        urls: Sequence[str],
        agent: IAgent,
        clock: IReactorTime,
        authorization: str | None = None,
        timeout_s: float = 5.0,
    ) -> None:
        """
        @param urls: base URLs; paths are put behind them.
        @param authorization: the header of that name.
        @param timeout_s: seconds until one URL must have answered.
        """
        self.state = RegistryState()
        self.requests = self.errors = 0
        self.urls = tuple(url.rstrip("/") for url in urls)
        self._endpoints = Endpoints(self.urls)
        # cookies are none of a registry's business, and would be kept
        jar = IndexableCookieJar(policy=DefaultCookiePolicy(allowed_domains=[]))
        self._client = HTTPClient(agent, jar)
        self._clock = clock
        self._timeout_s = timeout_s
        self._turns = Turns(_MOST_REQUESTS)
        self._stopped = False
        self._headers = {"Accept": _ACCEPT, "User-Agent": "kgw"}
        if authorization is not None:
            self._headers["Authorization"] = authorization

    def stop(self) -> None:
        """Send nothing any more: what waits for its turn fails when that comes."""
        self._stopped = True

    async def get(self, path: str) -> Answer:
        """
        Ask with C{GET}.

        @param path: and query, URL-encoded.
        @return: any answer of a registry that is well, errors such as 404 too.
        @raise RegistryUnauthorised: 401 or 403.
        @raise RegistryUnavailable: no URL answers, or only with what a registry says that is not well.
        """
        return await self._call("GET", path, None)

    async def post(self, path: str, body: Mapping[str, object]) -> Answer:
        """Ask with C{POST} what changes nothing; as L{get}."""
        return await self._call("POST", path, json.dumps(body).encode())

    async def _call(self, method: str, path: str, body: bytes | None) -> Answer:
        await self._turns.acquire()
        try:
            return await self._ask(method, path, body)
        finally:
            self._turns.release()

    async def _ask(self, method: str, path: str, body: bytes | None) -> Answer:
        if self._stopped:
            raise RegistryUnavailable("the schema registry is not asked any more")
        urls = self._endpoints.order(self._clock.seconds())
        if not urls:
            raise RegistryUnavailable(f"the schema registry is not available: {self.state.why}")
        reasons = []
        for url in urls:
            self.requests += 1
            asked = Deferred.fromCoroutine(self._request(method, url, path, body))
            try:
                answer = await asked.addTimeout(self._timeout_s, self._clock)
            except _FAILURES as error:
                reason = self._reason(error)
            else:
                if answer.status in (401, 403):
                    self._refused(url, answer)
                reason = _trouble(answer)
                if not reason:
                    self._answered(url)
                    return answer
            self.errors += 1
            self._endpoints.failed(url, self._clock.seconds())
            reasons.append(f"{url}: {reason}")
        why = "; ".join(reasons)
        self._now(RegistryState(False, why))
        raise RegistryUnavailable(f"the schema registry is not available: {why}")

    async def _request(self, method: str, url: str, path: str, body: bytes | None) -> Answer:
        headers = Headers({name: [value] for name, value in self._headers.items()})
        if body is not None:
            headers.setRawHeaders("Content-Type", [_CONTENT_TYPE])
        try:
            response: IResponse = await self._client.request(
                method,
                url + path,
                headers=headers,
                data=None if body is None else _Question(body),
                allow_redirects=False,
                unbuffered=True,
                # it would take the process's reactor else, for timeouts that are not used
                reactor=cast("Any", self._clock),
            )
            collector = _Body()
            response.deliverBody(collector)
            return Answer(response.code, await collector.collected)
        except _WRAPPED as error:
            if any(reason.check(CancelledError) for reason in error.reasons):
                # nobody waits any more: that is no failure of the registry's
                raise CancelledError from error
            raise

    def _reason(self, error: BaseException) -> str:
        """What went wrong, without the exceptions that others are wrapped in."""
        if isinstance(error, TimeoutError):
            return f"no answer within {self._timeout_s:g} s"
        reasons = getattr(error, "reasons", None)
        if reasons:
            return self._reason(reasons[0].value)
        # what OpenSSL says is a list of triples, at whose end stands what they came to
        said = error.args[0] if error.args else ""
        if isinstance(said, list) and said and isinstance(said[-1], tuple):
            said = said[-1][-1]
        return f"{said or error or type(error).__name__}"[:300]

    def _refused(self, url: str, answer: Answer) -> None:
        self.errors += 1
        self._endpoints.answered(url)
        why = f"{url} does not let kgw in: HTTP {answer.status} {words(answer.body)}".rstrip()
        # of 403 one subject alone may be meant
        if answer.status == 401:
            self._now(RegistryState(False, why))
        raise RegistryUnauthorised(why)

    def _answered(self, url: str) -> None:
        self._endpoints.answered(url)
        self._now(RegistryState())

    def _now(self, state: RegistryState) -> None:
        before, self.state = self.state, state
        if before.available and not state.available:
            log.warn("the schema registry is not available: {why}", why=state.why)
        elif state.available and not before.available:
            log.info("the schema registry is available again")


def _trouble(answer: Answer) -> str:
    """What is wrong with an answer that tells nothing about what was asked, empty where it does."""
    status = answer.status
    if 200 <= status < 300:
        try:
            parse(answer)
        except RegistryUnavailable as error:
            return error.message
        return ""
    # 501 says that there is no such call
    if (400 <= status < 500 and status not in (408, 429)) or status == 501:
        return ""
    return f"HTTP {status} {words(answer.body)}".rstrip()
