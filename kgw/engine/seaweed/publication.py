"""What became of one batch that was published."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from kgw.errors import KafkaError

if TYPE_CHECKING:
    from kgw.engine.seaweed.held import Held


class Publication:
    """
    One batch, from its publication until it is in a log file. Ask for what is wanted only: a Deferred nobody asked for
    costs nothing.
    """

    __slots__ = ("_acknowledged", "_durable", "_error", "_flushed", "_held", "_told")

    def __init__(self) -> None:
        self._held: Held | None = None
        self._acknowledged: Deferred[int] | None = None
        self._flushed: Deferred[int] | None = None
        self._told = self._durable = False
        self._error: KafkaError | None = None

    @property
    def held(self) -> Held:
        """Where the batch stands."""
        if self._held is None:
            raise ValueError("nothing is published yet")
        return self._held

    @property
    def base_offset(self) -> int:
        """The offset of its first record: expected until that is in the engine."""
        return self.held.base_offset

    @property
    def acknowledged(self) -> Deferred[int]:
        """
        Fires with the base offset when the engine has all of it, in memory at least.

        Fails with C{KAFKA_STORAGE_ERROR} where the publisher is closed before.
        """
        if self._acknowledged is None:
            self._acknowledged = self._asked(self._told)
        return self._acknowledged

    @property
    def flushed(self) -> Deferred[int]:
        """Fires with the base offset when log files have all of it; fails as C{acknowledged}."""
        if self._flushed is None:
            self._flushed = self._asked(self._durable)
        return self._flushed

    def _asked(self, done: bool) -> Deferred[int]:
        deferred: Deferred[int] = Deferred()
        if done:
            deferred.callback(self.base_offset)
        elif self._error is not None:
            deferred.errback(KafkaError(self._error.code, self._error.message))
        return deferred

    # For the publisher.

    def taken(self, held: Held) -> None:
        """The outbox has it."""
        self._held = held

    def tell_acknowledged(self) -> None:
        """The engine has it."""
        self._told = True
        if self._acknowledged is not None:
            self._acknowledged.callback(self.base_offset)

    def tell_durable(self) -> None:
        """Log files have it."""
        self._durable = True
        if self._flushed is not None:
            self._flushed.callback(self.base_offset)

    def fail(self, error: KafkaError) -> None:
        """Nobody will ever know."""
        self._error = error
        if self._acknowledged is not None and not self._told:
            self._acknowledged.errback(KafkaError(error.code, error.message))
        if self._flushed is not None and not self._durable:
            self._flushed.errback(KafkaError(error.code, error.message))
