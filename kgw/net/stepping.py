"""Handlers run step by step: the first by hand, or each of them timed."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from typing import Any

from twisted.internet.defer import Deferred


class Started:
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


class Timed:
    """
    Awaits a coroutine and adds up how long it works.

    @ivar seconds: the time it did not wait.
    """

    __slots__ = ("_coroutine", "_now", "seconds")

    def __init__(self, coroutine: Coroutine[Deferred[Any], Any, Any], now: Callable[[], float]) -> None:
        self._coroutine = coroutine
        self._now = now
        self.seconds = 0.0

    def __await__(self) -> Generator[Deferred[Any], Any, Any]:
        coroutine, now = self._coroutine, self._now
        step: Callable[[Any], Deferred[Any]] = coroutine.send
        result: Any = None
        while True:
            began = now()
            try:
                waits_for = step(result)
            except StopIteration as stop:
                return stop.value
            finally:
                self.seconds += now() - began
            try:
                result = yield waits_for
            except GeneratorExit:
                coroutine.close()
                raise
            except BaseException as error:
                step, result = coroutine.throw, error
            else:
                step = coroutine.send
