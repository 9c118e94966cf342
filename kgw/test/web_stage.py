"""What a test of the HTTP site stands on: a gateway in memory and in virtual time, and requests as bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from kgw.config import Config
from kgw.gateway import Gateway
from kgw.web.site import WebSite


@dataclass(frozen=True)
class Got:
    """An answer as a client reads it; the names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body's value."""
        return json.loads(self.body)


class AbortableTransport(StringTransport):
    """A transport that notes whether its connection was cut."""

    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True
        super().abortConnection()


class Client:
    """One connection to a site."""

    def __init__(self, factory: Any) -> None:
        self.transport = AbortableTransport(peerAddress=IPv4Address("TCP", "127.0.0.1", 50000))
        self.protocol = factory.buildProtocol(self.transport.getPeer())
        self.protocol.makeConnection(self.transport)

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self.protocol.dataReceived(data)

    def leave(self) -> None:
        """The connection is gone."""
        self.protocol.connectionLost(Failure(ConnectionDone()))

    def answers(self, *methods: str) -> list[Got]:
        """What has come since the last call, complete; C{methods} are those of the requests, GET where it says none."""
        data = self.transport.value()
        self.transport.clear()
        found: list[Got] = []
        while data:
            head, _, data = data.partition(b"\r\n\r\n")
            lines = head.decode().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
            method = methods[len(found)] if len(methods) > len(found) else "GET"
            size = 0 if method == "HEAD" else int(headers["content-length"])
            found.append(Got(int(lines[0].split()[1]), headers, data[:size]))
            data = data[size:]
        return found


class WebStage:
    """
    A gateway of its own for one test, and its site.

    @ivar reactor: runs no I/O; its time is moved by the test.
    @ivar gateway: started, unless the test asks for one that is not.
    """

    def __init__(self, test: SynchronousTestCase, start: bool = True, **properties: str) -> None:
        """
        @param properties: further ones; underscores stand for dots.
        """
        self.reactor: Any = MemoryReactorClock()
        self.reactor.advance(1_700_000_000)
        given = {name.replace("_", "."): value for name, value in properties.items()}
        config = Config(
            {
                "kgw.engine": "memory",
                "listeners": "PLAINTEXT://127.0.0.1:9092",
                "kgw.http.endpoint": "tcp:8088:interface=127.0.0.1",
                "group.initial.rebalance.delay.ms": "0",
            }
            | given
        )
        self._test = test
        self.gateway = Gateway(config, self.reactor)
        self.site = WebSite(self.gateway, self.reactor)
        if start:
            self.gateway.accompany(self.site, early=True)
            self.gateway.startService()
            test.successResultOf(self.gateway.started)
            test.addCleanup(lambda: test.successResultOf(self.gateway.stopService()))
        else:
            # as while it waits for its engine
            self.gateway.started.addErrback(lambda _: None)
            test.successResultOf(Deferred.fromCoroutine(self.site.start()))

    def factory(self, port: int = 8088) -> Any:
        """What listens on a port."""
        return next(factory for number, factory, _, _ in self.reactor.tcpServers if number == port)

    def connect(self) -> Client:
        """A connection to the site."""
        return Client(self.factory())

    def request(self, target: str, method: str = "GET", headers: str = "") -> Got:
        """The answer to a request, after as many turns of the reactor as it takes, in no time."""
        client = self.connect()
        client.send(f"{method} {target} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n".encode())
        for _ in range(2000):
            if client.transport.value():
                break
            self.reactor.advance(0)
        (answer,) = client.answers(method)
        return answer

    def get(self, target: str) -> Any:
        """The JSON value of a page that is there."""
        got = self.request(target)
        self._test.assertEqual(got.status, 200, got.body)
        return got.json
