"""A guard at the socket: whether bytes may be sent is asked at the very moment the system is handed them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet import tcp
from twisted.protocols.policies import ProtocolWrapper


def guard(transport: Any, may_send: Callable[[], bool]) -> None:
    """
    Have a connection aborted where it is about to send and may not.

    Twisted keeps what is written until the socket takes it, in the reactor's next turn at the earliest. A process that
    is stopped in between goes on with that whenever it is woken up. An aborted connection sends nothing more, and the
    system drops what it has not sent yet.

    @param transport: TCP, or TLS over it; others are left alone.
    """
    while isinstance(transport, ProtocolWrapper):
        transport = transport.transport
    if not isinstance(transport, tcp.Connection):
        return
    # below everything that keeps bytes; Twisted has no other place to ask
    connection: Any = transport
    send = connection.writeSomeData

    def write(data: bytes) -> Any:
        if may_send():
            return send(data)
        connection.abortConnection()
        return 0

    connection.writeSomeData = write
