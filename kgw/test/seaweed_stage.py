"""The engine's parts on the shared real SeaweedMQ, for tests that drive the real reactor by hand."""

from __future__ import annotations

import os
import time
from functools import cache
from typing import Any, TypeVar

from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from kgw.engine.bridge import ThreadBridge
from kgw.engine.seaweed.broker import Broker
from kgw.engine.seaweed.calls import Calls
from kgw.engine.seaweed.discovery import Discovery
from kgw.engine.seaweed.engine import SeaweedLogEngine
from kgw.engine.seaweed.filer import Filer
from kgw.engine.seaweed.filer_state import FilerStateStore
from kgw.engine.seaweed.history_cache import HistoryCache
from kgw.engine.seaweed.layout import Layout
from kgw.engine.seaweed.publishing import Publishing
from kgw.test import seaweed

T = TypeVar("T")

reactor: Any = installed
#: Seconds that anything may take.
PATIENCE = 12.0
#: Of the state store: what was used by an earlier test is known to be used.
ROOT = f"/topics/kafka/.meta/kgw-test/{os.getpid()}"


def spin(deferred: Deferred[T], patience: float = PATIENCE) -> T:
    """The result, while the reactor turns."""
    outcome: list[Any] = []
    deferred.addBoth(outcome.append)
    deadline = time.monotonic() + patience
    while not outcome:
        if time.monotonic() > deadline:
            raise AssertionError(f"nothing came of {deferred!r} within {patience} s")
        reactor.iterate(0.02)
    if isinstance(outcome[0], Failure):
        outcome[0].raiseException()
    result: T = outcome[0]
    return result


def turn(seconds: float) -> None:
    """Let the reactor turn for so long."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        reactor.iterate(0.01)


class Links:
    """
    Ways to one SeaweedMQ: threads, connections, and where it is. Several engines, one after the other, may use them.

    What is found out once stays known, so that only the first has to wait as long as a young broker needs.

    @ivar decoder: where log files are decoded.
    """

    def __init__(self, weed: seaweed.Engine) -> None:
        self._bridge = ThreadBridge(reactor, 8)
        self.decoder = ThreadBridge(reactor, 1)
        for bridge in (self._bridge, self.decoder):
            bridge.start()
        self.calls = Calls(self._bridge, None)
        self.discovery = Discovery(self.calls, reactor, weed.masters)
        self.filer = Filer(self.calls, self.discovery.filer_address, self.discovery.filer_http)
        self.broker = Broker(self.calls, self.filer, self.discovery.broker_address)
        self._users = 0

    def use(self) -> None:
        """Find the engine, where that is not done, and keep looking where it is."""
        self._users += 1
        if self._users == 1:
            self.discovery.start()
        spin(self.discovery.ready())

    def leave(self) -> None:
        """Look no more once nobody needs it: a timer of the reactor's would be in the way of other tests."""
        self._users -= 1
        if not self._users:
            self.discovery.stop()

    def close(self) -> None:
        """Let go of threads and connections."""
        self.filer.stop()
        self.calls.stop()
        for bridge in (self._bridge, self.decoder):
            bridge.stop()


@cache
def shared_links() -> Links:
    """Those to the engine that all tests of a process share; let go of when the reactor is shut down."""
    links = Links(seaweed.engine())
    reactor.addSystemEventTrigger("during", "shutdown", links.close)
    return links


class Parts:
    """
    What an engine is made of, with a state store in the shared filer.

    @ivar store: open.
    """

    def __init__(
        self,
        clock: IReactorTime,
        weed: seaweed.Engine | None = None,
        acks_all_flushed: bool = False,
        **options: Any,
    ) -> None:
        """
        @param clock: of what is published.
        @param weed: the shared one where none is given.
        @param options: of L{Publishing}.
        """
        self._own = weed is not None
        self._links = Links(weed) if weed is not None else shared_links()
        self._links.use()
        self.calls, self.discovery = self._links.calls, self._links.discovery
        self.filer, self.broker = self._links.filer, self._links.broker
        self.store = FilerStateStore(self.filer, reactor, ROOT)
        spin(self.store.open())
        self.layout = Layout(self.store, self.broker, self.filer, clock)
        publishing = Publishing(
            reactor=reactor,
            clock=clock,
            timer=reactor,
            discovery=self.discovery,
            broker=self.broker,
            filer=self.filer,
            **options,
        )
        self.engine = SeaweedLogEngine(
            where="test",
            layout=self.layout,
            broker=self.broker,
            filer=self.filer,
            store=self.store,
            publishing=publishing,
            cache=HistoryCache(self._links.decoder, 32 << 20),
            clock=clock,
            timer=reactor,
            acks_all_flushed=acks_all_flushed,
        )

    def close(self) -> None:
        """Let go of what is not shared; the engine was stopped before."""
        spin(self.store.close())
        self._links.leave()
        if self._own:
            self._links.close()
