"""Blocking calls to the engine, made in threads: gRPC through grpcio, with a deadline, errors by the table."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from threading import Lock
from typing import Any, Protocol, Self, TypeVar

import grpc
from google.protobuf.message import DecodeError
from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from kgw.engine.bridge import IBridge
from kgw.engine.seaweed.errors import EngineUnavailable, from_status
from kgw.engine.seaweed.h2.security import Security
from kgw.engine.seaweed.security import channel
from kgw.errors import ErrorCode, KafkaError

T = TypeVar("T")


class Message(Protocol):
    """What is used of protobuf's messages."""

    def SerializeToString(self) -> bytes:
        """The message's bytes."""

    @classmethod
    def FromString(cls, data: bytes, /) -> Self:
        """The message that has these bytes."""


M = TypeVar("M", bound=Message)

#: gRPC's own limit of 4 MiB an answer is less than the engine's messages may have.
_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # a channel made after a failure connects anew instead of waiting out the back-off of the one before
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)


class _Link:
    """A channel, made by the first call that uses it, closed when it is retired and no call uses it any more."""

    def __init__(self, make: Callable[[float], grpc.Channel]) -> None:
        self._make = make
        self._lock = Lock()
        self._channel: grpc.Channel | None = None
        self._refusal = ""
        self.retired = False
        self._calls = 0

    def channel(self, timeout_s: float) -> grpc.Channel:
        """
        The channel, for a thread; where it is just being made, or could not be, the others share the outcome.

        @raise OSError: it cannot be made.
        """
        with self._lock:
            if self._refusal:
                raise ConnectionError(self._refusal)
            if self._channel is None:
                try:
                    self._channel = self._make(timeout_s)
                except OSError as error:
                    self._refusal = str(error) or type(error).__name__
                    raise
            return self._channel

    def begin(self) -> None:
        """A call uses the channel from now on."""
        self._calls += 1

    def end(self) -> None:
        """A call uses it no more."""
        self._calls -= 1
        self._close_if_done()

    def retire(self) -> None:
        """No call will begin again."""
        self.retired = True
        self._close_if_done()

    def _close_if_done(self) -> None:
        if self.retired and not self._calls and self._channel is not None:
            self._channel.close()


class Calls:
    """
    Makes blocking calls in the bridge's threads.

    All methods belong on the reactor's thread. Channels are kept per address; one that failed to reach its server is
    replaced at the next call, so that nothing waits for gRPC's idea of when to connect again.
    """

    def __init__(self, bridge: IBridge, security: Security | None, timeout_s: float = 10.0) -> None:
        """
        @param bridge: started and stopped by its owner.
        @param timeout_s: how long a call may take; waiting for a thread does not count.
        """
        self._bridge = bridge
        self._security = security
        self._links: dict[str, _Link] = {}
        self._stopped = False
        self.timeout_s = timeout_s

    def unary(
        self,
        address: str,
        method_path: str,
        request: Message,
        response_type: type[M],
        timeout_s: float | None = None,
        may_call: Callable[[], bool] | None = None,
    ) -> Deferred[M]:
        """
        Call a method that answers once.

        @param address: host:port.
        @param method_path: C{"/package.Service/Method"}.
        @param timeout_s: instead of the usual one.
        @param may_call: asked in the thread that makes the call, after all waiting: where it says no none is made.
        @return: fires with the answer; fails with L{EngineUnavailable} or another L{KafkaError}.
        """
        how = _unary if may_call is None else partial(_unary_while, may_call)
        return self._make(address, method_path, how, request.SerializeToString(), response_type, timeout_s)

    def stream(
        self, address: str, method_path: str, request: Message, response_type: type[M], timeout_s: float | None = None
    ) -> Deferred[list[M]]:
        """
        Call a method that answers with a stream, and take it to its end; what bounds it is in the request.

        @return: fires with all answers; fails as L{unary}.
        """
        return self._make(address, method_path, _stream, request.SerializeToString(), response_type, timeout_s)

    def blocking(self, function: Callable[..., T], *args: Any) -> Deferred[T]:
        """
        Run C{function(*args)}, which speaks to the engine in another way and keeps a deadline itself.

        @return: fires with what it returned; fails with L{EngineUnavailable} where it raised C{OSError}.
        """
        if self._stopped:
            return fail(EngineUnavailable("kgw is stopping"))
        running: Deferred[T] = self._bridge.call(function, *args)
        return running.addErrback(_unreachable)

    def stop(self) -> None:
        """Take no more calls and close the channels; calls under way end by themselves or at their deadline."""
        self._stopped = True
        links, self._links = self._links, {}
        for link in links.values():
            link.retire()

    def _make(self, address: str, method_path: str, how: Callable[..., Any], *args: Any) -> Deferred[Any]:
        if self._stopped:
            return fail(EngineUnavailable("kgw is stopping"))
        link = self._links.get(address)
        if link is None:
            link = self._links[address] = _Link(lambda wait_s: channel(address, self._security, _OPTIONS, wait_s))
        link.begin()
        *rest, timeout_s = args
        timeout_s = self.timeout_s if timeout_s is None else timeout_s
        running = self._bridge.call(how, link, method_path, *rest, timeout_s)
        return running.addBoth(self._ended, address, method_path, link)

    def _ended(self, result: Any, address: str, method_path: str, link: _Link) -> Any:
        link.end()
        if not isinstance(result, Failure):
            return result
        if result.check(DecodeError):
            # what answers there is not the engine we know
            return Failure(EngineUnavailable(f"{method_path} at {address}: the answer does not parse"))
        if result.check(OSError):
            self._give_up(address, link)
            return Failure(EngineUnavailable(f"{method_path} at {address}: {result.getErrorMessage()}"))
        # an RpcError of grpcio's calls is a grpc.Call as well, which is where its status is
        if not isinstance(result.value, grpc.RpcError) or not isinstance(result.value, grpc.Call):
            return result
        status = result.value.code()
        if status in _LINK_FAILED:
            self._give_up(address, link)
        return Failure(from_status(status.value[0], result.value.details() or "", f"{method_path} at {address}"))

    def _give_up(self, address: str, link: _Link) -> None:
        """The next call makes another channel."""
        if self._links.get(address) is link:
            del self._links[address]
            link.retire()


#: After these the channel is not used again.
_LINK_FAILED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


def _unary(link: _Link, path: str, request: bytes, response_type: type[M], timeout_s: float) -> M:
    answer: bytes = link.channel(timeout_s).unary_unary(path)(request, timeout=timeout_s)
    return response_type.FromString(answer)


def _unary_while(
    may_call: Callable[[], bool], link: _Link, path: str, request: bytes, response_type: type[M], timeout_s: float
) -> M:
    if not may_call():
        raise KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, f"{path}: this gateway may not write any more")
    return _unary(link, path, request, response_type, timeout_s)


def _stream(link: _Link, path: str, request: bytes, response_type: type[M], timeout_s: float) -> list[M]:
    answers: Iterable[bytes] = link.channel(timeout_s).unary_stream(path)(request, timeout=timeout_s)
    return [response_type.FromString(answer) for answer in answers]


def _unreachable(failure: Failure) -> Failure:
    if failure.check(OSError):
        return Failure(EngineUnavailable(str(failure.value)))
    return failure
