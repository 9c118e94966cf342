"""The gRPC connections of the engine that the reactor drives: one for each address, shared by all partitions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, gatherResults, maybeDeferred, succeed

from kgw.engine.seaweed.errors import EngineUnavailable
from kgw.engine.seaweed.h2.status import GrpcError

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from kgw.engine.seaweed.h2.client import GrpcConnection


class Connections:
    """
    Keeps connections, and makes another one for who asks after the last was lost.

    @ivar made: how many there have been.
    """

    def __init__(self, connect: Callable[[str], Deferred[GrpcConnection]]) -> None:
        """
        @param connect: makes one to C{"host:port"}; fails with L{GrpcError}.
        """
        self.made = 0
        self._connect = connect
        self._kept: dict[str, GrpcConnection] = {}
        self._coming: dict[str, tuple[Deferred[Any], list[Deferred[GrpcConnection]]]] = {}
        self._stopped = False

    def start(self) -> None:
        """Give connections, again where L{stop} was called."""
        self._stopped = False

    def get(self, address: str) -> Deferred[GrpcConnection]:
        """
        The connection to an address.

        @return: fires at once where there is one; fails with L{EngineUnavailable}. Cancelling it leaves those of
            others alone.
        """
        if self._stopped:
            return _failed(EngineUnavailable("the engine's connections are closed"))
        kept = self._kept.get(address)
        if kept is not None:
            if kept.is_open:
                return succeed(kept)
            del self._kept[address]
        waiter: Deferred[GrpcConnection] = Deferred(lambda deferred: self._leave(address, deferred))
        if address in self._coming:
            self._coming[address][1].append(waiter)
            return waiter
        coming: Deferred[Any] = maybeDeferred(self._connect, address)
        self._coming[address] = (coming, [waiter])
        coming.addCallbacks(self._came, self._failed, callbackArgs=(address,), errbackArgs=(address,))
        return waiter

    def stop(self) -> Deferred[None]:
        """Close all; fires when they are gone."""
        self._stopped = True
        for coming, _ in list(self._coming.values()):
            coming.cancel()
        kept, self._kept = list(self._kept.values()), {}
        gone: Deferred[Any] = gatherResults([one.close() for one in kept if one.is_open])
        return gone.addCallback(lambda _: None)

    def _leave(self, address: str, waiter: Deferred[GrpcConnection]) -> None:
        if address in self._coming and waiter in self._coming[address][1]:
            self._coming[address][1].remove(waiter)

    def _came(self, connection: GrpcConnection, address: str) -> None:
        _, waiters = self._coming.pop(address)
        self.made += 1
        if self._stopped:
            connection.close()
            return
        self._kept[address] = connection
        for waiter in waiters:
            waiter.callback(connection)

    def _failed(self, failure: Failure, address: str) -> None:
        _, waiters = self._coming.pop(address)
        error = failure.value
        reason = error.status.message if isinstance(error, GrpcError) else failure.getErrorMessage()
        for waiter in waiters:
            waiter.errback(EngineUnavailable(f"no connection to {address}: {reason}"))


def _failed(error: EngineUnavailable) -> Deferred[Any]:
    deferred: Deferred[Any] = Deferred()
    deferred.errback(error)
    return deferred
