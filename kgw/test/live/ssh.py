"""A small SSH client for the manhole: one prompt, what it prints, and the keys to open it."""

from __future__ import annotations

import re
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ed25519
from twisted.conch.ssh.channel import SSHChannel
from twisted.conch.ssh.connection import SSHConnection
from twisted.conch.ssh.keys import Key
from twisted.conch.ssh.transport import SSHClientTransport
from twisted.conch.ssh.userauth import SSHUserAuthClient
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import ClientFactory, connectionDone
from twisted.python.failure import Failure

PROMPT = ">>> "

#: All but the end of a line and its wiping out.
_CONTROL = re.compile(r"\x1b\[(?!2K)[0-9;?]*[A-Za-z]|\x1b[c=>]")


def new_key() -> Key:
    """A key pair of a test's own."""
    return Key(ed25519.Ed25519PrivateKey.generate())


def _plain(printed: str) -> str:
    """What a terminal shows in the end: of what moves the cursor, only lines that are wiped out matter here."""
    lines = [""]
    for part in re.split(r"(\x1b\[2K|\n|\x1bE)", _CONTROL.sub("", printed).replace("\r", "")):
        if part in ("\n", "\x1bE"):
            lines.append("")
        elif part == "\x1b[2K":
            lines[-1] = ""
        else:
            lines[-1] += part
    return "\n".join(lines)


class _Auth(SSHUserAuthClient):
    def __init__(self, key: Key, connection: SSHConnection) -> None:
        super().__init__(b"operator", connection)
        self._key = key
        self._offered = False

    def getPublicKey(self) -> Key | None:
        if self._offered:
            return None
        self._offered = True
        offered: Key = self._key.public()
        return offered

    def getPrivateKey(self) -> Deferred[Key]:
        return succeed(self._key)

    def getPassword(self, prompt: bytes | None = None) -> None:
        return None


class _Connection(SSHConnection):
    def __init__(self, prompt: Prompt) -> None:
        super().__init__()
        self._prompt = prompt

    def serviceStarted(self) -> None:
        super().serviceStarted()
        self.openChannel(self._prompt)


class Prompt(SSHChannel):
    """
    The far end of a session.

    @ivar opened: fires when there is a prompt, fails with C{ConnectionDone} where nobody is let in.
    @ivar ended: fires when the session has ended.
    @ivar text: all that was printed, without what moves the cursor.
    """

    name = b"session"

    def __init__(self) -> None:
        super().__init__()
        self.opened: Deferred[None] = Deferred()
        self.ended: Deferred[None] = Deferred()
        self.text = ""
        self._raw = ""
        self._since = 0
        self._waits: tuple[re.Pattern[str], Deferred[str]] | None = None

    def channelOpen(self, specificData: bytes) -> None:
        assert self.conn is not None
        self.conn.sendRequest(self, b"shell", b"", wantReply=True).addCallback(self._started)

    def _started(self, _: object) -> None:
        self.until(f"{PROMPT}$").addCallback(lambda _: None).chainDeferred(self.opened)

    def dataReceived(self, data: bytes) -> None:
        self._raw += data.decode()
        self.text = _plain(self._raw)
        self._look()

    def closed(self) -> None:
        self.ended.callback(None)

    def until(self, pattern: str) -> Deferred[str]:
        """
        Wait for something to be printed since the last line was asked for.

        @param pattern: a regular expression.
        @return: fires with all that was printed since then.
        """
        assert self._waits is None, "one at a time"
        waits: Deferred[str] = Deferred()
        self._waits = (re.compile(pattern, re.DOTALL), waits)
        self._look()
        return waits

    def _look(self) -> None:
        if self._waits is None:
            return
        pattern, waits = self._waits
        printed = self.text[self._since :]
        if pattern.search(printed):
            self._waits = None
            waits.callback(printed)

    async def ask(self, command: str, later: str = "") -> str:
        """
        What one line prints, up to the next prompt.

        @param later: a regular expression to wait for, where the answer takes a while.
        """
        self._since = self.text.rfind("\n") + 1
        self.write(command.encode() + b"\n")
        # what was typed comes back first
        echo = re.escape(f"{command}\n")
        printed = await self.until(
            f"{echo}.*{later}.*(^|\n)(>>>|\\.\\.\\.) $" if later else f"{echo}(.*\n)?(>>>|\\.\\.\\.) $"
        )
        return printed.partition(f"{command}\n")[2].rpartition("\n")[0]

    def type(self, keys: bytes) -> None:
        """Send keys, without waiting for anything."""
        self.write(keys)


class _Transport(SSHClientTransport):
    factory: _Factory

    def verifyHostKey(self, hostKey: bytes, fingerprint: bytes) -> Deferred[int]:
        self.factory.host_key = hostKey
        return succeed(1)

    def connectionSecure(self) -> None:
        self.requestService(_Auth(self.factory.key, _Connection(self.factory.prompt)))

    def connectionLost(self, reason: Failure | None = connectionDone) -> None:
        super().connectionLost(reason)
        prompt = self.factory.prompt
        if not prompt.opened.called:
            prompt.opened.errback(ConnectionDone("nobody is let in"))
        if not prompt.ended.called:
            prompt.ended.callback(None)


class _Factory(ClientFactory):
    def __init__(self, key: Key) -> None:
        self.protocol: Any = _Transport
        self.key = key
        self.host_key = b""
        self.prompt = Prompt()


class Visit:
    """
    One SSH connection, and the prompt it opens.

    @ivar prompt: as soon as it is opened.
    """

    def __init__(self, reactor: Any, key: Key, port: int = 0, path: str = "") -> None:
        """
        @param path: of a UNIX socket, instead of a port of 127.0.0.1.
        """
        self._factory = _Factory(key)
        self.prompt = self._factory.prompt
        if path:
            self._connector = reactor.connectUNIX(path, self._factory)
        else:
            self._connector = reactor.connectTCP("127.0.0.1", port, self._factory)

    @property
    def host_key(self) -> bytes:
        """What the server showed."""
        return self._factory.host_key

    def leave(self) -> Deferred[None]:
        """Hang up."""
        self._connector.disconnect()
        return self.prompt.ended
