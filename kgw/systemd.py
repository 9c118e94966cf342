"""What systemd wants to know of a service: that it has started, that it stops (sd_notify(3))."""

from __future__ import annotations

import socket
from collections.abc import Mapping

from twisted.logger import Logger

log = Logger("kgw.start")


class Supervisor:
    """
    Whoever started the process and waits for word of it; nobody, where C{NOTIFY_SOCKET} is not set.

    @ivar address: of the socket that takes the word, C{""} where nobody waits.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.address = environ.get("NOTIFY_SOCKET", "")

    def started(self) -> None:
        """Clients may come."""
        self._tell("READY=1\nSTATUS=serving clients")

    def stopping(self) -> None:
        """No client is accepted any more."""
        self._tell("STOPPING=1\nSTATUS=answering what is in flight")

    def _tell(self, state: str) -> None:
        """Send one datagram; a supervisor that is gone is no reason to fail."""
        address = self.address
        if not address:
            return
        if address[0] == "@":  # Linux's abstract sockets, whose names begin with a zero byte
            address = f"\0{address[1:]}"
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                # a full queue must not hold up the service
                sender.setblocking(False)
                sender.sendto(state.encode(), address)
        except OSError as error:
            log.warn("cannot notify {address}: {reason}", address=self.address, reason=error.strerror or str(error))
