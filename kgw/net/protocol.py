"""One connection: requests start in arrival order, are answered in that order, and cost no more than the limits say."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IAddress, ITCPTransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from kgw.errors import WireError
from kgw.net.addresses import ip_of, name_of, plain
from kgw.net.connections import Connections
from kgw.net.dispatcher import Answer, Dispatcher, Hangup, describe
from kgw.net.sender import Sender
from kgw.wire.frame import FrameReader

#: What one read may bring, in bytes; the larger where that much of a frame is still missing.
_READ = 64 * 1024
_LARGE_READ = 256 * 1024

#: Answers are collected while requests that came together are worked on, up to this many bytes.
_CORK_MAX = 1 << 20

#: Long polls one connection may have under way. What each will answer is not known before, so the limit on bytes does
#: not hold them back; no client has more than one.
_MAX_PARKED = 8

#: How long a connection that is being closed may take to get rid of its last answers, in seconds.
_CLOSE_SECONDS = 30.0


class _InFlight:
    """
    A request that is being worked on, or waits for its turn to be answered.

    @ivar size: bytes of the request, then bytes of its answer.
    @ivar cut: there is no answer and the connection ends here.
    """

    __slots__ = ("answer", "cut", "deferred", "done", "parks", "size")

    def __init__(self, size: int, deferred: Deferred[Answer] | None, parks: bool) -> None:
        self.size = size
        self.deferred = deferred
        self.parks = parks
        self.answer: Answer = None
        self.done = False
        self.cut = False


class KafkaProtocol(Protocol):
    """
    One connection; what handlers may see of it is L{kgw.handlers.contract.Peer}.

    Everything that happens (bytes, answers, room) only notes itself and asks L{Connections.schedule} for a call of
    L{work}, the one place where requests start and answers leave.
    """

    ip = ""
    remote = ""
    local_host = ""
    local_port = 0
    software_name = ""
    software_version = ""
    client_id = ""
    scheduled = False
    received = 0

    def __init__(self, dispatcher: Dispatcher, connections: Connections, listener: str) -> None:
        self.listener = listener
        self.muted = False
        self._dispatcher = dispatcher
        self._connections = connections
        self._limits = connections.limits
        self._budget = connections.budget
        self._answers = connections.answers
        self._reader = FrameReader(self._limits.request_max_bytes, self._limits.control_max_bytes, dispatcher.large)
        self._queue: deque[_InFlight] = deque()
        self._bytes = 0  # of what is in the queue
        self._ready = 0  # of these, bytes of answers
        self._held = 0  # what the bound on all answers knows of this one's
        self._end_watchers: dict[Callable[[], None], None] = {}
        self._stopping = False
        self._parked = 0  # long polls in the queue that are not done
        self._open = False
        self._ending = False  # no request is started any more
        self._closing = False  # nothing is answered any more, what was handed on is still sent
        self._working = False
        self._reading = True
        self._held_back = False  # by other unfinished frames
        self._counted = False  # among the unfinished frames
        self._active = False  # bytes came in since the last check
        self._since = 0.0  # the time of the last check that found activity
        self._frames = 0
        self._slow_frame = -1  # the number of the frame found unfinished by the last check
        self._slow_since = 0.0

    @property
    def in_flight(self) -> int:
        """Requests that are not answered yet."""
        return len(self._queue)

    @property
    def requests(self) -> int:
        """Requests that have come in so far."""
        return self._frames

    @property
    def sent(self) -> int:
        """Bytes of answers that were handed on."""
        return self._sender.sent

    @property
    def unsent(self) -> int:
        """Bytes of answers that the peer has not made room for."""
        return self._sender.pending

    def connectionMade(self) -> None:
        """Take note of both ends, and begin."""
        transport: Any = self.transport
        host, peer = transport.getHost(), transport.getPeer()
        if isinstance(host, IPv4Address | IPv6Address):
            self.local_host, self.local_port = plain(host.host), host.port
            if ITCPTransport.providedBy(transport):
                transport.setTcpNoDelay(True)
                transport.setTcpKeepAlive(True)
        else:
            self.local_host = "localhost"
        self.ip, self.remote = ip_of(peer), name_of(peer)
        self._since = self._connections.clock.seconds()
        self._sender = Sender(transport, self.wake)
        self._open = True
        self._connections.opened(self)

    def dataReceived(self, data: bytes) -> None:
        """Keep the bytes; L{work} cuts them to requests."""
        self.received += len(data)
        if not self._ending:
            self._active = True
            self._reader.feed(data)
            self._connections.schedule(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The peer is gone, or half of it: cancel whatever it was waiting for."""
        if not self._open:
            return
        self._open = False
        self._ending = self._closing = True
        self._sender.close()
        self._cancel_all()
        self._count_answers()
        self._reader = FrameReader(0)
        self._connections.closed(self)

    def wake(self) -> None:
        """There is room: for requests, for answers, or for the rest of a frame."""
        self._held_back = False
        if self._open:
            self._connections.schedule(self)

    def work(self) -> None:
        """Start what may start, answer what can be answered in turn, pause or resume reading."""
        if self._open:
            self._working = True
            try:
                paused = self._closing or self._pump()
                self._sender.flush()
            finally:
                self._working = False
            if self._budget.busy:
                self._budget.leave(self)
            if self._held or self._ready or self._sender.pending:
                self._count_answers()
            if self._closing:
                self._finish()
            else:
                self._set_reading(paused)

    def _pump(self) -> bool:
        """
        The loop of L{work}; as flat as it is because every request passes here.

        @return: whether it ended for want of room, not of requests.
        """
        queue, sender, budget = self._queue, self._sender, self._budget
        take, dispatch = self._reader.take, self._dispatcher.enter
        while True:
            while queue and queue[0].done:
                first = queue.popleft()
                self._bytes -= first.size
                self._ready -= first.size
                if first.cut:
                    self._close()
                    return True
                if first.answer is not None:
                    sender.add(first.answer)
            if sender.pending >= _CORK_MAX:
                sender.flush()
            if self._ending:
                if not queue:
                    self._close()
                return True
            if self.muted or sender.blocked or (queue and self._is_full()) or (budget.busy and not budget.enter(self)):
                return True
            try:
                frame = take()
                if frame is None:
                    return False
                self._frames += 1
                answer = dispatch(frame, self)
            except WireError as error:
                self._connections.log.warn("{peer}: {error}; closing", peer=describe(self), error=error)
                self._end()
                continue
            except Hangup:
                self._end()
                continue
            if isinstance(answer, list):  # the commonest, and a Deferred, being abstract, is slow to tell
                if queue:
                    self._put_done(answer)
                else:
                    sender.add(answer)
            elif answer is not None:
                self._put(_InFlight(len(frame), answer, self._dispatcher.parks(frame)))

    def _is_full(self) -> bool:
        """Whether as much is in flight as may be."""
        return (
            len(self._queue) >= self._limits.connection_max_requests
            or self._bytes >= self._limits.connection_max_bytes
            or self._parked >= _MAX_PARKED
            or (self._ready > 0 and self._answers.over)
        )

    def _count_answers(self) -> None:
        """Let the bound on all answers know what waits here."""
        held = self._ready + self._sender.pending
        self._answers.change(held - self._held)
        self._held = held

    def _put(self, request: _InFlight) -> None:
        """A request has started and is not done."""
        self._queue.append(request)
        self._bytes += request.size
        self._parked += request.parks
        self._budget.take(request.size)
        assert request.deferred is not None
        request.deferred.addBoth(self._settled, request)

    def _put_done(self, answer: Answer) -> None:
        """A request is done before the ones in front of it."""
        request = _InFlight(0, None, False)
        self._queue.append(request)
        self._set_answer(request, answer)

    def _set_answer(self, request: _InFlight, answer: Answer) -> None:
        request.done = True
        request.answer = answer
        size = sum(map(len, answer)) if answer is not None else 0
        self._bytes += size - request.size
        self._ready += size
        request.size = size

    def _settled(self, result: Answer | Failure, request: _InFlight) -> None:
        """A request is done that was not when it started."""
        request.deferred = None
        self._parked -= request.parks
        self._budget.give(request.size)
        if self._closing:
            return
        if isinstance(result, Failure):
            if result.check(Hangup, CancelledError) is None:
                self._connections.log.failure("A request from {peer} got lost", result, peer=describe(self))
            self._set_answer(request, None)
            request.cut = True
            self._ending = True
        else:
            self._set_answer(request, result)
        if not self._working:
            self._connections.schedule(self)

    def _end(self) -> None:
        """Start nothing any more; close when what came before is answered."""
        self._ending = True
        self._reader = FrameReader(0)

    def _close(self) -> None:
        """Answer nothing any more; L{_finish} follows."""
        self._ending = self._closing = True
        self._since = self._connections.clock.seconds()
        self._cancel_all()
        self._set_reading(True)

    def _finish(self) -> None:
        """Close the transport once the last answers are handed on."""
        if not self._sender.pending:
            self._sender.finish()
            transport: Any = self.transport
            if not self._reading:
                # TLS has to read to see that the peer agrees to the end
                self._reading = True
                transport.resumeProducing()
            transport.loseConnection()

    def _cancel_all(self) -> None:
        waiting = [request.deferred for request in self._queue if request.deferred is not None]
        self._queue.clear()
        self._bytes = self._ready = 0
        for deferred in waiting:
            deferred.cancel()

    def _set_reading(self, paused: bool) -> None:
        """Read or do not, and how much at a time."""
        missing = self._reader.incomplete
        held = self._reader.buffered
        if missing and held >= _READ:
            self._counted = True
            self._held_back = not self._connections.unfinished.grow(self, held)
        elif self._counted:
            self._counted = self._held_back = False
            self._connections.unfinished.drop(self)
        transport: Any = self.transport
        if self._sender.direct:
            size = _LARGE_READ if missing > _READ else _READ
            if transport.bufferSize != size:
                transport.bufferSize = size
        reading = not (paused or self._held_back)
        if reading is not self._reading:
            self._reading = reading
            if reading:
                transport.resumeProducing()
            else:
                transport.pauseProducing()

    def check(self, now: float) -> None:
        """Close where nothing has happened for too long; called at intervals."""
        idle_max = self._limits.idle_max_seconds
        if self._closing:
            if now - self._since >= _CLOSE_SECONDS:
                self.abort()
        elif self._active or self._sender.moved or self._queue:
            self._active = self._sender.moved = False
            self._since = now
            if idle_max > 0:
                self._check_frame(now)
        elif 0 < idle_max <= now - self._since:
            self._connections.log.debug(
                "{peer} was idle for {seconds} s; closing", peer=describe(self), seconds=idle_max
            )
            self._end()
            self._connections.schedule(self)

    def _check_frame(self, now: float) -> None:
        """Close where bytes come but no request ever gets complete."""
        if not (self._reading and self._reader.incomplete):
            self._slow_frame = -1
        elif self._slow_frame != self._frames:
            self._slow_frame = self._frames
            self._slow_since = now
        elif now - self._slow_since >= self._limits.idle_max_seconds:
            self._connections.log.warn(
                "{peer} has not completed a request in {seconds} s; closing",
                peer=describe(self),
                seconds=self._limits.idle_max_seconds,
            )
            self.abort()

    def stop(self) -> None:
        """Start no more requests; have long polls end; close when all are answered."""
        self._end()
        self._stopping = True
        watchers, self._end_watchers = self._end_watchers, {}
        for ended in watchers:
            ended()
        if self._open:
            self._connections.schedule(self)

    def watch_end(self, ended: Callable[[], None]) -> None:
        """See L{kgw.handlers.contract.Peer.watch_end}."""
        if self._stopping:
            ended()
        else:
            self._end_watchers[ended] = None

    def unwatch_end(self, ended: Callable[[], None]) -> None:
        """See L{kgw.handlers.contract.Peer.unwatch_end}."""
        self._end_watchers.pop(ended, None)

    def claim_answer(self, size: int) -> int:
        """See L{kgw.handlers.contract.Peer.claim_answer}."""
        return self._answers.claim(size)

    def give_back_answer(self, claimed: int) -> None:
        """See L{kgw.handlers.contract.Peer.give_back_answer}."""
        self._answers.change(-claimed)

    def mute(self, seconds: float) -> None:
        """See L{kgw.handlers.contract.Peer.mute}."""
        self._connections.mute(self, seconds)

    def abort(self) -> None:
        """Close now, whatever is in flight or unsent."""
        if self._open:
            self._ending = self._closing = True
            self._cancel_all()
            self._sender.finish()
            transport: Any = self.transport
            transport.abortConnection()


class _Refused(Protocol):
    """A connection too many: closed as soon as it is there (a factory under TLS has no other way to refuse)."""

    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.loseConnection()


class KafkaFactory(Factory):
    """The connections of one listener."""

    noisy = False

    def __init__(self, dispatcher: Dispatcher, connections: Connections, listener: str = "PLAINTEXT") -> None:
        """
        @param connections: shared by all listeners.
        @param listener: its name, as in C{listeners}.
        """
        self.listener = listener
        self._dispatcher = dispatcher
        self._connections = connections

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        """Admit or refuse."""
        if self._connections.admit(ip_of(addr)):
            return KafkaProtocol(self._dispatcher, self._connections, self.listener)
        return _Refused()
