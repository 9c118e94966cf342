"""A gRPC client on a transport in memory, and the h2 library as the server at its other end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import h2.config
import h2.connection
import h2.events
from h2.settings import SettingCodes, Settings
from hyperframe.frame import Frame, GoAwayFrame
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from kgw.engine.seaweed.h2.framing import frame
from kgw.engine.seaweed.h2.grpc import GrpcStream, IGrpcReceiver
from kgw.engine.seaweed.h2.protocol import GrpcClient, KeepAlive
from kgw.engine.seaweed.h2.status import GrpcStatus

PATH = b"/test.T/M"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
RESPONSE = [(":status", "200"), ("content-type", "application/grpc")]
TRAILERS = [("grpc-status", "0")]


def frames(data: bytes) -> list[Frame]:
    """The frames in C{data}, which may begin with the preface."""
    view = memoryview(data.removeprefix(PREFACE))
    found = []
    while view:
        one, size = Frame.parse_frame_header(view[:9])
        one.parse_body(view[9 : 9 + size])
        found.append(one)
        view = view[9 + size :]
    return found


@implementer(IGrpcReceiver)
class Receiver:
    """
    Keeps what it is told, and minds the order.

    @ivar status: how the call ended.
    @ivar drains: how often there was room again.
    """

    def __init__(self, on_received: Callable[[], object] = lambda: None) -> None:
        self.data = b""
        self.drains = 0
        self.status: GrpcStatus | None = None
        self._on_received = on_received

    def received(self, data: bytes) -> None:
        """Whole messages."""
        assert self.status is None
        position = 0
        while position < len(data):
            position += 5 + int.from_bytes(data[position + 1 : position + 5], "big")
        assert position == len(data) and data, "not whole messages"
        self.data += data
        self._on_received()

    def drained(self) -> None:
        """Room."""
        assert self.status is None
        self.drains += 1

    def ended(self, status: GrpcStatus) -> None:
        """The end."""
        assert self.status is None, "ended twice"
        self.status = status


class Transport(StringTransport):
    """Also ends at once when told to."""

    protocol: GrpcClient
    aborted = False
    gone = False

    def abortConnection(self) -> None:
        """Gone."""
        self.aborted = True
        self.hang_up()

    def hang_up(self) -> None:
        """The connection is gone."""
        if not self.gone:
            self.gone = True
            self.protocol.connectionLost(Failure(ConnectionDone()))


class Stage:
    """
    Client and server.

    @ivar server: the h2 library's.
    @ivar data: what the server received, by stream.
    @ivar headers: the headers it received, by stream.
    @ivar resets: streams that the client reset, with the code.
    @ivar finished: streams whose client's side ended.
    """

    def __init__(
        self,
        settings: dict[SettingCodes, int] | None = None,
        keep_alive: KeepAlive | None = None,
        max_message: int = 1 << 24,
    ) -> None:
        self.clock = Clock()
        self.transport = Transport()
        self.client = GrpcClient(self.clock, b"engine:1", keep_alive=keep_alive, max_message=max_message)
        self.transport.protocol = self.client
        config = h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        self.server = h2.connection.H2Connection(config)
        if settings:
            self.server.local_settings = Settings(client=False, initial_values=settings)
            self.server.max_inbound_frame_size = settings.get(SettingCodes.MAX_FRAME_SIZE, 16384)
        self.server.initiate_connection()
        self.data: dict[int, bytes] = {}
        self.headers: dict[int, dict[str, str]] = {}
        self.resets: dict[int, int] = {}
        self.finished: set[int] = set()
        self.gives_room = True
        self.client.makeConnection(self.transport)

    @property
    def hung_up(self) -> bool:
        """Whether the client closed the connection."""
        return bool(self.transport.disconnecting or self.transport.aborted)

    def open(self, receiver: Receiver, timeout_s: float | None = None) -> GrpcStream:
        """Begin a call."""
        return self.client.open(PATH, receiver, timeout_s)

    def pump(self, cut: Callable[[bytes], list[bytes]] = lambda data: [data]) -> None:
        """Carry bytes both ways until there are none; C{cut} says in which pieces the client gets them."""
        while True:
            moved = self.to_server()
            out = self.server.data_to_send()
            for piece in cut(out) if out else []:
                self.client.dataReceived(piece)
            if not moved and not out:
                return

    def to_server(self) -> bool:
        """Carry what the client wrote."""
        data = self.transport.value()
        self.transport.clear()
        if data:
            for event in self.server.receive_data(data):
                self._obey(event)
        return bool(data)

    def _obey(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.RequestReceived):
            self.headers[event.stream_id] = {str(name): str(value) for name, value in event.headers}
            self.data[event.stream_id] = b""
        elif isinstance(event, h2.events.DataReceived):
            self.data[event.stream_id] += event.data
            if self.gives_room and event.flow_controlled_length:
                self.server.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            self.finished.add(event.stream_id)
        elif isinstance(event, h2.events.StreamReset):
            self.resets[event.stream_id] = event.error_code

    def answer(self, stream_id: int, *messages: bytes, end: bool = True, trailers: Any = TRAILERS) -> None:
        """Have the server answer a call."""
        self.server.send_headers(stream_id, RESPONSE)
        for message in messages:
            self.send(stream_id, frame(message))
        if end:
            self.server.send_headers(stream_id, trailers, end_stream=True)
        self.pump()

    def send(self, stream_id: int, data: bytes, padding: int = 0) -> None:
        """Have the server send bytes as fast as it may; the client is given what makes room for the rest."""
        while data:
            room = min(self.server.local_flow_control_window(stream_id), self.server.max_outbound_frame_size)
            room -= padding + 1 if padding else 0
            if room <= 0:
                self.pump()
                continue
            piece, data = data[:room], data[room:]
            self.server.send_data(stream_id, piece, pad_length=padding or None)

    def raw(self, *out: Frame | bytes) -> None:
        """Have the server send these, right or wrong."""
        self.client.dataReceived(b"".join(one if isinstance(one, bytes) else one.serialize() for one in out))

    def goodbye(self) -> GoAwayFrame | None:
        """The client's GOAWAY, if that is the last it wrote."""
        found = frames(self.transport.value())
        return found[-1] if found and isinstance(found[-1], GoAwayFrame) else None
