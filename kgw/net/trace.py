"""Traces: the requests and answers of some connections, as they happen, for somebody who watches.

While nobody watches, nothing of this is called (L{Dispatcher.watch}).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakSet

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from kgw.errors import WireError
from kgw.handlers.contract import Api, Peer
from kgw.net.dispatcher import Answer, Settled, Watcher
from kgw.net.excerpt import excerpt
from kgw.wire.header import RequestHeader, decode_request_header, peek_request
from kgw.wire.message import fields_of, holds_records

log = Logger("kgw.net")

#: Requests of one trace that are shown in a second; each is two lines.
REQUESTS_PER_SECOND = 25
#: Requests after which a trace ends by itself: somebody may have forgotten it.
MOST_REQUESTS = 5000
#: Bytes of a message that is taken apart; a larger one is told by its size. Record batches cost little.
_MOST_BYTES = 64 << 10
_MOST_BYTES_WITH_RECORDS = 1 << 20
#: Fields of requests that name groups, or members of a list that do.
_NAMING_GROUPS = ("group_id", "key", "coordinator_keys", "groups", "groups_names")


class Trace:
    """
    One wish to see what happens.

    @ivar what: a client id, a group id, or the other end of connections: C{address:port} or the address alone.
    @ivar shown: requests shown so far.
    @ivar left_out: requests that came too fast to be shown, and were not told of yet.
    """

    def __init__(self, what: str, write: Callable[[str], None], has_room: Callable[[], bool], most: int) -> None:
        """
        @param write: is given each line.
        @param has_room: whether lines can be written now; what comes meanwhile is left out.
        @param most: requests after which the trace ends.
        """
        self.what = what
        self.shown = 0
        self.left_out = 0
        self.active = True
        self._write = write
        self._has_room = has_room
        self._most = most
        self._second = 0
        self._in_second = 0
        # connections that have named the group
        self._members: WeakSet[Any] = WeakSet()

    @property
    def is_over(self) -> bool:
        """Whether all that may be shown has been."""
        return self.shown >= self._most

    def wants(self, peer: Peer, header: RequestHeader, groups: Callable[[], list[str]]) -> bool:
        """
        Whether a request is to be shown.

        @param groups: finds out which groups the request names.
        """
        what = self.what
        if what in (header.client_id, peer.remote, peer.remote.rpartition(":")[0]) or peer in self._members:
            return True
        if what not in groups():
            return False
        # a member's Fetches on the same connection are its group's, too
        self._members.add(peer)
        return True

    def admit(self, now: float) -> bool:
        """Count a request that is wanted; whether it is shown."""
        if int(now) != self._second:
            self._second, self._in_second = int(now), 0
        if self._in_second >= REQUESTS_PER_SECOND or not self._has_room():
            self.left_out += 1
            return False
        self._in_second += 1
        self.shown += 1
        self.tell_left_out()
        return True

    def tell_left_out(self) -> None:
        """Write how many requests were left out, if any were."""
        if self.left_out:
            self._write(f"... {self.left_out} requests left out: too many in a second")
            self.left_out = 0

    def line(self, text: str) -> None:
        """Write one line, unless the trace has ended."""
        if self.active:
            self._write(text)


class Traces:
    """All traces there are; watches the dispatcher as long as there is one."""

    def __init__(self, apis: Mapping[int, Api], clock: IReactorTime, watch: Callable[[Watcher | None], None]) -> None:
        """
        @param apis: by key.
        @param watch: L{Dispatcher.watch}.
        """
        self._apis = apis
        self._clock = clock
        self._watch = watch
        self._traces: dict[Trace, None] = {}

    def __len__(self) -> int:
        return len(self._traces)

    def add(
        self,
        what: str,
        write: Callable[[str], None],
        has_room: Callable[[], bool] = lambda: True,
        most: int = MOST_REQUESTS,
    ) -> Trace:
        """Begin a trace; the parameters are L{Trace}'s."""
        trace = Trace(what, write, has_room, most)
        self._traces[trace] = None
        self._watch(self._began)
        return trace

    def remove(self, trace: Trace) -> None:
        """End a trace; nothing happens where it has ended."""
        if self._traces.pop(trace, self) is self:
            return
        trace.tell_left_out()
        trace.active = False
        if not self._traces:
            self._watch(None)

    def _began(self, frame: bytes, peer: Peer) -> Settled | None:
        """See L{Watcher}. No error of a trace reaches the client: all traces end instead."""
        try:
            return self._begin(frame, peer)
        except Exception:
            self._broke()
            return None

    def _broke(self) -> None:
        log.failure("a trace failed; all traces have ended")
        for trace in list(self._traces):
            trace.line("*** the trace failed and has ended; the log says why")
            self.remove(trace)

    def _begin(self, frame: bytes, peer: Peer) -> Settled | None:
        try:
            key, version, _ = peek_request(frame)
            api = self._apis.get(key)
            if api is None or version not in api.versions:
                return None
            header = decode_request_header(frame, api.is_flexible(version))
        except WireError:
            return None  # the dispatcher logs it and closes
        groups: list[str] | None = None

        def named() -> list[str]:
            nonlocal groups
            if groups is None:
                groups = _groups_of(api, frame, header)
            return groups

        now = self._clock.seconds()
        wanting = [trace for trace in self._traces if trace.wants(peer, header, named) and trace.admit(now)]
        if not wanting:
            return None
        name = f"{peer.remote} {_shown(header.client_id)}"
        call = f"{api.name} v{version} #{header.correlation_id}"
        text = _request(api, frame, header)
        for trace in wanting:
            trace.line(f"{_clock_time(now)} {name} > {call} {text}".rstrip())

        def settled(result: Answer | BaseException) -> None:
            try:
                then = self._clock.seconds()
                outcome = _outcome(api, header, result)
                for trace in wanting:
                    trace.line(f"{_clock_time(then)} {name} < {call} {(then - now) * 1000:.1f} ms {outcome}".rstrip())
                    if trace.is_over and trace in self._traces:
                        trace.line(f"*** {trace.shown} requests shown, the trace of {trace.what!r} has ended")
                        self.remove(trace)
            except Exception:
                self._broke()

        return settled


def _groups_of(api: Api, frame: bytes, header: RequestHeader) -> list[str]:
    """The groups that a request names."""
    fields = {spec.name for spec in fields_of(api.request)}.intersection(_NAMING_GROUPS)
    if not fields or len(frame) > _MOST_BYTES:
        return []
    try:
        request, _ = api.request_codec(header.api_version).decode(frame, header.body)
    except WireError:
        return []
    found: list[str] = []
    for name in fields:
        value = getattr(request, name)
        for item in value if isinstance(value, list) else [value]:
            found.append(item if isinstance(item, str) else getattr(item, "group_id", ""))
    return [group for group in found if group]


def _request(api: Api, frame: bytes, header: RequestHeader) -> str:
    if len(frame) > (_MOST_BYTES_WITH_RECORDS if holds_records(api.request) else _MOST_BYTES):
        return f"({len(frame)} bytes)"
    try:
        request, _ = api.request_codec(header.api_version).decode(frame, header.body)
    except WireError as error:
        return f"unreadable: {error}"
    return excerpt(request, header.api_version)


def _outcome(api: Api, header: RequestHeader, result: Answer | BaseException) -> str:
    if result is None:
        return "no answer wanted"
    if isinstance(result, BaseException):
        return f"no answer: {type(result).__name__}"
    size = sum(map(len, result))
    if size > (_MOST_BYTES_WITH_RECORDS if holds_records(api.response) else _MOST_BYTES):
        return f"({size} bytes)"
    whole = b"".join(result)
    version = header.api_version
    # size and correlation id, and an empty tag section where the header is flexible
    body = 8 + (api.is_flexible(version) and not api.plain_response_header)
    try:
        answer, _ = api.response_codec(version).decode(whole, body)
    except WireError:
        return f"({size} bytes)"  # ApiVersions answers in version 0 what it does not know
    return excerpt(answer, version)


def _shown(client_id: str | None) -> str:
    return "-" if client_id is None else repr(client_id[:60])[1:-1] or "''"


def _clock_time(now: float) -> str:
    return f"{time.strftime('%H:%M:%S', time.localtime(now))}.{int(now * 1000) % 1000:03}"
