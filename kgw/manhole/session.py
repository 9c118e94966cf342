"""One session of the manhole: a Python prompt at the end of an SSH channel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.conch.insults.insults import ServerProtocol, modes
from twisted.conch.manhole import Manhole as ConchManhole
from twisted.conch.manhole import ManholeInterpreter
from twisted.conch.manhole_ssh import TerminalSession
from twisted.internet.defer import Deferred
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from kgw.engine.bridge import IBridge
from kgw.gateway import Gateway
from kgw.manhole.names import Names, in_words

log = Logger("kgw.manhole")

#: Bytes that wait for the other end to take them; above it, traces are silent.
_MOST_UNSENT = 256 << 10
#: Characters of one value.
_MOST_CHARACTERS = 64 << 10
#: A terminal whose size is not told.
_WIDTH, _HEIGHT = 80, 24


def _text(value: object) -> str:
    """A value as the prompt shows it: cut where it is large beyond use."""
    text = repr(value)
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}... ({len(text)} characters)"


class Leave:
    """What ends the session, called or not: C{exit} and C{quit}."""

    def __call__(self) -> None:
        """Leave."""
        raise SystemExit

    def __repr__(self) -> str:
        return "exit() or Ctrl-D to leave; kgw goes on"


class Interpreter(ManholeInterpreter):
    """Runs what is typed. Whatever it raises is shown in the session and goes no further."""

    def push(self, line: bytes) -> bool:
        """See C{ManholeInterpreter.push}."""
        try:
            return bool(super().push(line))
        except Exception as error:
            # not a text, or nested too deeply to be compiled
            self.resetBuffer()
            self.write(in_words(error))
            return False

    def runcode(self, code: Any) -> None:
        """Run one statement; the end of the program that it may ask for is that of the session."""
        try:
            super().runcode(code)
        except SystemExit:
            self.handler.handle_QUIT()

    def displayhook(self, value: Any) -> None:
        """Show the value of an expression; that of a Deferred when it is there."""
        self.locals["_"] = value
        if isinstance(value, Deferred):
            here = True

            def show(result: Any) -> Any:
                if isinstance(result, Failure):
                    assert result.value is not None
                    self.write(in_words(result.value), not here)
                    return None
                self.locals["_"] = result
                if result is not None:
                    self.write(_text(result), not here)
                return result

            value.addBoth(show)
            here = False
        elif value is not None:
            self.write(_text(value))


class Session(ConchManhole):
    """The prompt, its names, and what ends with it."""

    ps = (b">>> ", b"... ")

    def __init__(self, gateway: Gateway, unsent: Callable[[], int], who: str, bridge: IBridge) -> None:
        """
        @param unsent: how many bytes the other end has not taken yet.
        @param who: for the log.
        @param bridge: runs what would keep clients waiting.
        """
        super().__init__()
        self._gateway = gateway
        self._unsent = unsent
        self._who = who
        self._bridge = bridge
        self._names: Names | None = None

    def connectionMade(self) -> None:
        """Begin with the names of this session."""
        names = self._names = Names(self._gateway, self._line, self._has_room, self._bridge)
        leave = Leave()
        self.namespace = {**names.namespace(), "exit": leave, "quit": leave, "__name__": "manhole"}
        super().connectionMade()
        self.interpreter = Interpreter(self, self.namespace)
        log.info("{who} has come into the manhole", who=self._who)

    def initializeScreen(self) -> None:
        """A word of welcome, below what stands on the terminal."""
        self.terminal.write(
            f"kgw, node {self._gateway.services.cluster.node_id}; help() names what there is\n".encode()
        )
        self.terminal.write(self.ps[self.pn])
        self.setInsertMode()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """End what the session has begun."""
        names, self._names = self._names, None
        if names is not None:
            names.untrace()
            log.info("{who} has left the manhole", who=self._who)

    def terminalSize(self, width: int, height: int) -> None:
        """The terminal has this size; what stands on it is left alone."""
        self.width, self.height = width, height

    def keystrokeReceived(self, keyID: bytes, modifier: object) -> None:
        """A key; one that means nothing here is passed over (Conch logs it)."""
        if keyID in self.keyHandlers or keyID in self._printableChars:
            super().keystrokeReceived(keyID, modifier)

    def addOutput(self, data: str | bytes, isAsync: bool | None = None) -> None:
        """Print; at the prompt where it comes by itself."""
        if self._names is not None:
            super().addOutput(data, isAsync)

    def _line(self, text: str) -> None:
        self.addOutput(f"{text}\n", True)

    def _has_room(self) -> bool:
        return self._unsent() < _MOST_UNSENT


class Terminal(ServerProtocol):
    """The far terminal; it keeps what stands on it when the session ends (Conch's is reset)."""

    def loseConnection(self) -> None:
        """Leave insert mode, and go."""
        self.resetModes([modes.IRM])
        transport: Any = self.transport
        transport.loseConnection()


class Channel(TerminalSession):
    """
    What an SSH client may ask for: a prompt, with a terminal or without.

    @ivar gateway: set by the realm.
    @ivar who: likewise.
    @ivar bridge: likewise.
    """

    gateway: Gateway
    who: str
    bridge: IBridge
    width, height = _WIDTH, _HEIGHT
    chainedProtocolFactory: Any

    def __init__(self, original: Any) -> None:
        super().__init__(original)
        self._prompt: Terminal | None = None

    def openShell(self, proto: Any) -> None:
        """Begin a session."""
        channel = proto.session
        prompt = Terminal(Session, self.gateway, lambda: len(channel.buf or b""), self.who, self.bridge)
        self.chainedProtocolFactory = lambda: prompt
        super().openShell(proto)
        self._prompt = prompt

    def windowChanged(self, newWindowSize: Any) -> None:
        """The terminal has another size, which changes nothing here."""

    def eofReceived(self) -> None:
        """No more input comes: all of it has been answered."""
        if self._prompt is not None:
            self._prompt.loseConnection()

    def closed(self) -> None:
        """The channel or its connection is gone; Conch tells nobody else."""
        prompt, self._prompt = self._prompt, None
        if prompt is not None:
            prompt.connectionLost(connectionDone)
