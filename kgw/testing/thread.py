"""A gateway with a reactor and a thread of its own, for tests that have neither."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from kgw.testing.gateway import RunningGateway, start_gateway

#: How long a start or a stop may take, in seconds.
PATIENCE = 30.0


def _new_reactor() -> Any:
    """
    A reactor that is not installed as the process's, so that many can be, and one that the tests run stays alone.
    """
    if sys.platform == "linux":
        from twisted.internet.epollreactor import EPollReactor

        return EPollReactor()
    from twisted.internet.selectreactor import SelectReactor

    return SelectReactor()


class KafkaGateway:
    """
    A Kafka broker for as long as a C{with} block lasts.

    May be made, entered and left on any thread; several may run at a time.

    @ivar bootstrap: what clients take as C{bootstrap.servers}.
    @ivar port: the port on 127.0.0.1.
    """

    def __init__(
        self, properties: Mapping[str, str] | None = None, directory: str | None = None, *, durable: bool = False
    ) -> None:
        """
        @param properties: by Kafka's names, C{{"num.partitions": "3"}}.
        @param directory: keeps the data, and they are there again for the next gateway on it.
        @param durable: use the local engine in a temporary directory instead of memory.
        """
        self._properties = properties
        self._directory = directory
        self._durable = durable
        self._reactor: Any = None
        self._thread: threading.Thread | None = None
        self._running: RunningGateway | None = None

    @property
    def port(self) -> int:
        """The port on 127.0.0.1."""
        return self._started().port

    @property
    def bootstrap(self) -> str:
        """What clients take as C{bootstrap.servers}."""
        return self._started().bootstrap

    @property
    def http_port(self) -> int:
        """
        The port of metrics, health and the JSON pages.

        @raise KeyError: there is none, which is so unless C{kgw.http.endpoint} was set.
        """
        return self._started().http_port

    def start(self) -> Self:
        """
        Start; clients are accepted when this returns.

        @raise StartError: it cannot start; C{ConfigError} for a wrong property.
        """
        self._reactor = _new_reactor()
        self._thread = threading.Thread(target=self._reactor.run, args=(False,), name="kgw", daemon=True)
        self._thread.start()
        try:
            self._running = self._call(
                lambda: start_gateway(self._reactor, self._properties, self._directory, durable=self._durable)
            )
        except BaseException:
            self._end()
            raise
        return self

    def stop(self) -> None:
        """Stop; the port, the thread and temporary files are gone when this returns."""
        running, self._running = self._running, None
        if running is not None:
            try:
                self._call(running.stop)
            finally:
                self._end()

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()

    def _started(self) -> RunningGateway:
        if self._running is None:
            raise RuntimeError("this KafkaGateway is not running: use it in a with statement, or call start()")
        return self._running

    def _call(self, function: Callable[[], Deferred[Any]]) -> Any:
        """Run C{function} on the reactor's thread and wait for what its Deferred brings."""
        answer: Future[Any] = Future()

        def failed(failure: Failure) -> None:
            answer.set_exception(failure.value)

        def run() -> None:
            try:
                function().addCallbacks(answer.set_result, failed)
            except Exception as error:
                answer.set_exception(error)

        self._reactor.callFromThread(run)
        return answer.result(PATIENCE)

    def _end(self) -> None:
        self._reactor.callFromThread(self._reactor.stop)
        if self._thread is not None:
            self._thread.join(PATIENCE)
