"""Locks that the filers keep in memory: taken for some seconds, renewed with a new token each time, lost with a filer.

A lock keeps gateways out of each other's way; it does not keep a stopped one from going on where it was. Whoever
changes something under a lock asks L{Holding.valid} at each write.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from kgw.engine.seaweed.addresses import parse_server
from kgw.engine.seaweed.calls import Calls
from kgw.engine.seaweed.errors import EngineUnavailable
from kgw.engine.seaweed.proto import filer_pb2
from kgw.errors import KafkaError

T = TypeVar("T")

_SERVICE = "/filer_pb.SeaweedFiler/"
#: How long one call may take: less than what a lock is taken for.
_CALL_S = 3.0
#: Seconds between two tries for a lock that another has: at first, and at most.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 0.5
#: A lock counts for so much of its time, by our own clock; the rest is for clocks that run at different speeds.
_TRUSTED = 0.9

_log = Logger("kgw.engine.seaweed")


class LockHeld(EngineUnavailable):
    """
    The lock is not ours: somebody else has it, or what was ours is not known any more.

    @ivar owner: who has it, as far as that was said; empty where nobody is named.
    """

    def __init__(self, name: str, owner: str, reason: str) -> None:
        self.owner = owner
        super().__init__(f"the lock {name} is refused: {reason}" + (f" (held by {owner})" if owner else ""))


class Lock(NamedTuple):
    """
    A lock of ours.

    @ivar token: renews or releases it, once.
    @ivar generation: grows with each holder, as long as no filer is started again.
    """

    token: str
    generation: int


class FilerLocks:
    """
    Takes, renews and releases locks. Every method fails with L{EngineUnavailable} while the filer does not answer.

    Each lock is kept by one of the filers. The others pass on what they are asked, and say who keeps it: that one is
    asked first from then on.
    """

    def __init__(self, calls: Calls, address: Callable[[], str], suffix: str = "") -> None:
        """
        @param address: says where the filer's gRPC is now, as host:port; raises L{EngineUnavailable} where that is not
            known.
        @param suffix: behind all names of locks in the filer, where others use the same names.
        """
        self._calls = calls
        self._suffix = suffix
        self._address = address
        self._hosts: dict[str, str] = {}

    def take(self, name: str, owner: str, seconds: int, token: str = "") -> Deferred[Lock]:
        """
        Take a lock, or renew it.

        @param owner: who we are, for others to read.
        @param seconds: how long it is ours from now on, at least 1.
        @param token: of the last time, where it is ours; each is good for once.
        @return: fails with L{LockHeld} where somebody else has it, and where C{token} is not the last one or the
            filer that kept the lock was started again.
        """
        if seconds < 1:
            raise ValueError(f"a lock for {seconds} seconds")
        request = filer_pb2.LockRequest(
            name=name + self._suffix, seconds_to_lock=seconds, renew_token=token, owner=owner
        )
        return Deferred.fromCoroutine(self._take(request))

    async def _take(self, request: filer_pb2.LockRequest) -> Lock:
        answer = await self._ask(request.name, "DistributedLock", request, filer_pb2.LockResponse)
        if answer.error:
            raise LockHeld(request.name, answer.lock_owner, answer.error)
        return Lock(answer.renew_token, answer.generation)

    def release(self, name: str, token: str) -> Deferred[None]:
        """Give a lock back; fails with L{LockHeld} where it is not ours by this token."""
        return Deferred.fromCoroutine(self._release(name, token))

    async def _release(self, name: str, token: str) -> None:
        request = filer_pb2.UnlockRequest(name=name + self._suffix, renew_token=token)
        answer = await self._ask(name, "DistributedUnlock", request, filer_pb2.UnlockResponse)
        if answer.error:
            raise LockHeld(name, "", answer.error)

    def owner(self, name: str) -> Deferred[str]:
        """Fires with who has a lock; fails with a L{KafkaError} where nobody has, as where it cannot be told."""
        return Deferred.fromCoroutine(self._owner(name))

    async def _owner(self, name: str) -> str:
        request = filer_pb2.FindLockOwnerRequest(name=name + self._suffix)
        answer = await self._ask(name, "FindLockOwner", request, filer_pb2.FindLockOwnerResponse)
        owner: str = answer.owner
        return owner

    async def _ask(self, name: str, method: str, request: Any, response_type: type[Any]) -> Any:
        path = f"{_SERVICE}{method}"
        host = self._hosts.get(name)
        if host is not None:
            try:
                return await self._asked(name, host, path, request, response_type)
            except EngineUnavailable:
                # gone, perhaps; whoever the masters name knows who keeps its locks now
                self._hosts.pop(name, None)
        return await self._asked(name, self._address(), path, request, response_type)

    async def _asked(self, name: str, address: str, path: str, request: Any, response_type: type[Any]) -> Any:
        answer = await self._calls.unary(address, path, request, response_type, _CALL_S)
        moved_to = _address_of(getattr(answer, "lock_host_moved_to", "") or getattr(answer, "moved_to", ""))
        if moved_to and moved_to != address:
            self._hosts[name] = moved_to
            if answer.error:
                # it may not have been passed on
                return await self._calls.unary(moved_to, path, request, response_type, _CALL_S)
        return answer


def _address_of(server: str) -> str:
    try:
        return parse_server(server).grpc if server else ""
    except ValueError:
        return ""


class Holding:
    """A lock while it is held for some work."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._until = 0.0
        self._over = False
        self._listeners: list[Callable[[], None]] = []

    def valid(self) -> bool:
        """Whether the lock is ours for sure, now."""
        return not self._over and self._now() < self._until

    def when_lost(self, listener: Callable[[], None]) -> None:
        """Call C{listener} when the lock is found lost while the work goes on; at most once."""
        self._listeners.append(listener)

    def held_until(self, moment: float) -> None:
        """It was taken or renewed."""
        self._until = moment

    def lost(self) -> None:
        """It is not ours any more."""
        if not self._over:
            self._over = True
            for listener in self._listeners:
                listener()

    def over(self) -> None:
        """The work is done."""
        self._over = True


class Sections:
    """Work that one gateway at a time does: under a lock, which is renewed as long as it takes."""

    def __init__(
        self, locks: FilerLocks, clock: IReactorTime, owner: str, now: Callable[[], float] = time.monotonic
    ) -> None:
        """
        @param owner: who we are, for others to read.
        @param now: seconds of a clock that nobody sets.
        """
        self._locks = locks
        self._clock = clock
        self._owner = owner
        self._now = now

    def run(
        self,
        name: str,
        work: Callable[[Holding], Coroutine[Deferred[Any], Any, T]],
        ttl_s: int = 5,
        wait_s: float = 15.0,
    ) -> Deferred[T]:
        """
        Take a lock, do the work, and release the lock.

        @param work: is given the L{Holding} to ask before each write.
        @param ttl_s: how long the lock stays where we vanish; it is renewed three times as often.
        @param wait_s: how long it is waited for.
        @return: fires with what the work returned; fails as it did, or with L{EngineUnavailable} where the lock was
            not to be had in time: L{LockHeld} where somebody else had it.
        """
        # a Deferred of its own: who gives up waiting must not break off the work half way
        answer: Deferred[T] = Deferred()
        Deferred.fromCoroutine(self._run(name, work, ttl_s, wait_s)).addCallbacks(answer.callback, answer.errback)
        return answer

    async def _run(
        self, name: str, work: Callable[[Holding], Coroutine[Deferred[Any], Any, T]], ttl_s: int, wait_s: float
    ) -> T:
        hold = Holding(self._now)
        keeping = _Keeping(self._locks, self._clock, self._now, name, self._owner, ttl_s, hold)
        await self._wait(keeping, wait_s)
        keeping.start()
        try:
            return await work(hold)
        finally:
            hold.over()
            await keeping.end()

    async def _wait(self, keeping: _Keeping, wait_s: float) -> None:
        deadline = self._now() + wait_s
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                await keeping.take()
                return
            except EngineUnavailable:
                if self._now() + pause_s > deadline:
                    raise
            await deferLater(self._clock, pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


class _Keeping:
    """Renews one lock."""

    def __init__(
        self,
        locks: FilerLocks,
        clock: IReactorTime,
        now: Callable[[], float],
        name: str,
        owner: str,
        ttl_s: int,
        hold: Holding,
    ) -> None:
        self._locks = locks
        self._clock = clock
        self._now = now
        self._name = name
        self._owner = owner
        self._ttl_s = ttl_s
        self._hold = hold
        self._token = ""
        self._alarm: IDelayedCall | None = None
        self._renewing: Deferred[None] | None = None
        self._ended = False

    async def take(self) -> None:
        """Take or renew it."""
        begun = self._now()
        lock = await self._locks.take(self._name, self._owner, self._ttl_s, self._token)
        self._token = lock.token
        self._hold.held_until(begun + self._ttl_s * _TRUSTED)

    def start(self) -> None:
        """Renew it from time to time."""
        self._alarm = self._clock.callLater(self._ttl_s / 3, self._renew)

    async def end(self) -> None:
        """Give it back; where that fails its time runs out."""
        self._ended = True
        if self._alarm is not None and self._alarm.active():
            self._alarm.cancel()
        if self._renewing is not None:
            await self._renewing
        if self._token:
            try:
                await self._locks.release(self._name, self._token)
            except KafkaError as error:
                _log.debug("{error}; its time runs out", error=error)

    def _renew(self) -> None:
        self._renewing = Deferred.fromCoroutine(self.take()).addCallbacks(self._renewed, self._not_renewed)

    def _renewed(self, _: None) -> None:
        self._renewing = None
        if not self._ended:
            self.start()

    def _not_renewed(self, failure: Failure) -> None:
        self._renewing = None
        if failure.check(LockHeld) or not failure.check(KafkaError):
            self._token = ""
            if not self._ended:
                _log.warn("lock {name} was lost: {reason}", name=self._name, reason=failure.getErrorMessage())
            self._hold.lost()
        elif not self._hold.valid():
            self._hold.lost()
        elif not self._ended:
            # an answer that was lost may have changed the token, which the next renewal finds out
            self._alarm = self._clock.callLater(self._ttl_s / 10, self._renew)
