"""How the engine runs calls that block, such as C{fdatasync}, away from the reactor's thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, execute
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool
from zope.interface import Interface, implementer


class IBridge(Interface):
    """Runs blocking calls. Only plain values cross it, in both directions."""

    def start() -> None:
        """Make ready for calls."""

    def stop() -> None:
        """Wait for the calls that were begun, and take no more."""

    def call(function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        """
        Run C{function(*args)}.

        @return: fires on the reactor's thread with what it returned, or fails with what it raised.
        """


@implementer(IBridge)
class ThreadBridge:
    """A pool of our own, so that a slow disk never takes the threads that look up names."""

    def __init__(self, reactor: IReactorFromThreads, threads: int = 2, name: str = "kgw-disk") -> None:
        """
        @param threads: at most this many calls run at a time; others wait in order.
        """
        self._reactor = reactor
        self._pool = ThreadPool(minthreads=0, maxthreads=threads, name=name)

    def start(self) -> None:
        """Make ready for calls."""
        self._pool.start()

    def stop(self) -> None:
        """Wait for the calls that were begun, and take no more."""
        self._pool.stop()

    def call(self, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        """Run C{function(*args)} in one of the threads."""
        return deferToThreadPool(self._reactor, self._pool, function, *args)


@implementer(IBridge)
class InlineBridge:
    """Runs each call at once on the thread that asks, for tests and tools without a reactor."""

    def start(self) -> None:
        """There is nothing to make ready."""

    def stop(self) -> None:
        """There is nothing to wait for."""

    def call(self, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        """Run C{function(*args)} now."""
        return execute(function, *args)
